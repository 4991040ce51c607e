"""What must hold at every moment of a history, whatever faults struck. Pure functions.

Each reads the recorded versions alone; the operator's own word counts for nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from kfarm_controlplane.faults.history import GATE_KINDS, Body, History, Version

GATE = "kfarm.dev/twin-validated"
LABEL_PLAN = "kfarm.dev/placement-plan"
HOST = "kubernetes.io/hostname"
KUEUE_WORKLOAD = "kueue.x-k8s.io/workload"
OPEN_GATE_S = 4.0
"""From a policy's end to the last release that may have been on its way: a look at the policies is
at most 2 s old."""


@dataclass(frozen=True)
class Violation:
    """A promise that was broken: which, by what, and how it shows."""

    rule: str
    subject: str
    message: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.subject}: {self.message}"


def invariants(history: History) -> list[Violation]:
    """Every promise that the history breaks."""
    return [violation for rule in RULES for violation in rule(history)]


def gated(pod: Body) -> bool:
    """Whether a pod carries our gate."""
    return any(g["name"] == GATE for g in (pod.get("spec") or {}).get("schedulingGates") or ())


def lifts(history: History) -> Iterator[tuple[Version, Version]]:
    """Versions of pods before and after our gate was lifted."""
    for (kind, _), life in history.lives.items():
        if kind != "Pod":
            continue
        for before, after in pairwise(life):
            if gated(before.body) and not gated(after.body) and not after.deleted:
                yield before, after


def released_under_a_verdict(history: History) -> Iterator[Violation]:
    """No gate is lifted but under a verdict for that uid, generation and epoch, written before."""
    for _, pod in lifts(history):
        meta = pod.body["metadata"]
        plan_name = (meta.get("labels") or {}).get(LABEL_PLAN, "")
        workload = (meta.get("annotations") or {}).get(KUEUE_WORKLOAD, "")
        wrong = (
            _not_admitted(history, pod, workload)
            if workload
            else _not_approved(history, pod, plan_name)
        )
        if wrong:
            yield Violation("release", f"pod {pod.name}", f"at {pod.number} {wrong}")


def _not_approved(history: History, pod: Version, plan_name: str) -> str | None:
    """Why the plan, as it stood before the release, does not allow it."""
    plan = history.before(pod.number, "PlacementPlan", pod.namespace, plan_name)
    if plan is None:
        return f"released though there is no plan {plan_name!r}"
    status = plan.status
    if status.get("verdict") != "Approved":
        return f"released under verdict {status.get('verdict')}"
    slot, given = _slot_of(status, pod.uid), _given_to(history, plan, pod)
    if slot is None or given is None:
        return "released without a slot"
    about, generation = status.get("observedGeneration"), given.body["metadata"]["generation"]
    if about != generation:
        return f"released under a verdict on generation {about}, given its slot on {generation}"
    pinned = _pinned(pod.body)
    if slot.get("node") != pinned:
        return f"released to node {pinned}, validated for {slot.get('node')}"
    return None


def _given_to(history: History, plan: Version, pod: Version) -> Version | None:
    """The version of the plan in which the pod first stood in a slot, before its release."""
    life = (v for v in history.lives["PlacementPlan", plan.uid] if v.number < pod.number)
    return next((v for v in life if _slot_of(v.status, pod.uid) is not None), None)


def _slot_of(status: Body, uid: str) -> Body | None:
    slots = (s for p in status.get("placements") or () for s in p.get("slots") or ())
    return next((dict(slot) for slot in slots if slot.get("podUid") == uid), None)


def _pinned(pod: Body) -> str:
    return str((pod["spec"].get("nodeSelector") or {}).get(HOST, ""))


def _not_admitted(history: History, pod: Version, name: str) -> str | None:
    """Why the Workload, as it stood before the release, does not allow it."""
    workload = history.before(pod.number, "Workload", pod.namespace, name)
    if workload is None:
        return f"released though there is no Workload {name!r}"
    states = [e.get("state") for e in workload.status.get("admissionChecks") or ()]
    if not states or set(states) != {"Ready"}:
        return f"released while checks of {name} say {states}"
    if not _is_true(workload, "Admitted"):
        return f"released though {name} is not admitted"
    node = _pinned(pod.body)
    if node not in _claimed_by(history, pod.number, workload.uid):
        return f"released to node {node}, which {name} has not claimed"
    return None


def _is_true(version: Version, kind: str) -> bool:
    conditions = version.status.get("conditions") or ()
    return any(c["type"] == kind and c["status"] == "True" for c in conditions)


def _claimed_by(history: History, number: int, uid: str, epoch: int = 0) -> set[str]:
    """Nodes that stood in a ledger for a holder just before a number."""
    names = {version.name for version in history.of_kind("NodeLedger")}
    ledgers = (history.before(number, "NodeLedger", "", name) for name in names)
    return {
        node["node"]
        for ledger in ledgers
        if ledger is not None
        for claim in _claims(ledger)
        if (claim["uid"], claim["epoch"]) == (uid, epoch)
        for node in claim["nodes"]
    }


def one_verdict_per_epoch(history: History) -> Iterator[Violation]:
    """An epoch has one verdict, which stays as it was written; epochs never go back."""
    for life in _plans(history):
        given: dict[int, tuple[Any, ...]] = {}
        latest = -1
        for version in life:
            status = version.status
            epoch = status.get("epoch")
            if epoch is None:
                if latest >= 0 and not version.deleted:
                    yield _of_plan(
                        "verdict-lost", version, f"the verdict of epoch {latest} is gone"
                    )
                continue
            words = ("verdict", "reason", "observedGeneration", "inputsDigest", "decidedAt")
            said = tuple(status.get(word) for word in words)
            if epoch < latest:
                yield _of_plan("epoch-back", version, f"epoch {epoch} after {latest}")
            if given.setdefault(epoch, said) != said:
                yield _of_plan(
                    "two-verdicts", version, f"epoch {epoch}: {given[epoch]}, then {said}"
                )
            latest = max(latest, epoch)


def verdicts_are_current(history: History) -> Iterator[Violation]:
    """A verdict is written only on the generation that it is about, and it is one that can be."""
    for life in _plans(history):
        known: set[int] = set()
        for version in life:
            epoch = version.status.get("epoch")
            if epoch is None or epoch in known or version.change in ("PRESENT", "ADDED"):
                known |= {epoch} if epoch is not None else set()
                continue
            known.add(epoch)
            about = version.status.get("observedGeneration")
            generation = version.body["metadata"].get("generation")
            if about != generation:
                yield _of_plan(
                    "stale-verdict", version, f"on generation {about}, written on {generation}"
                )
            yield from _unproved(version)


def _unproved(version: Version) -> Iterator[Violation]:
    """An approval with a check that did not pass, or whose estimate is no number."""
    if version.status.get("verdict") != "Approved":
        return
    for check in version.status.get("checks") or ():
        finite = _finite(check.get("estimate"))
        if check.get("result") == "NotApplicable":
            continue
        if check.get("result") != "Passed" or not finite:
            yield _of_plan(
                "unproved", version, f"approved though {check.get('metric')} is "
                f"{check.get('result')} with {check.get('estimate')}"
            )  # fmt: skip


def _finite(estimate: object) -> bool:
    if estimate is None:
        return False
    try:
        value = float(str(estimate))
    except ValueError:
        return False
    return value - value == 0


def no_node_claimed_twice(history: History) -> Iterator[Violation]:
    """In no version of a ledger do claims ask more of a node than it has."""
    devices = _devices(history)
    for ledger in history.of_kind("NodeLedger"):
        held: dict[str, int] = {}
        holders: list[str] = []
        for claim in _claims(ledger):
            holders.append(claim["uid"])
            for node in claim["nodes"]:
                held[node["node"]] = held.get(node["node"], 0) + node["accelerators"]
        for node, count in held.items():
            if count > devices.get(node, count):
                yield Violation(
                    "double-claim", f"node {node}",
                    f"{count} of {devices[node]} accelerators claimed at {ledger.number}",
                )  # fmt: skip
        if len(holders) != len(set(holders)):
            yield Violation("double-claim", ledger.name, f"one holder twice at {ledger.number}")


def claims_never_go_back(history: History) -> Iterator[Violation]:
    """No later version of a ledger holds an older epoch of the same claim."""
    latest: dict[tuple[str, str], tuple[int, int]] = {}
    for ledger in history.of_kind("NodeLedger"):
        for claim in _claims(ledger):
            if claim.get("workload"):
                continue
            key, now = (ledger.name, claim["uid"]), (claim["generation"], claim["epoch"])
            if now < latest.get(key, now):
                yield Violation(
                    "claim-back", f"{ledger.name} for {claim['plan']}",
                    f"generation and epoch {now} after {latest[key]} at {ledger.number}",
                )  # fmt: skip
            latest[key] = max(now, latest.get(key, now))


def no_node_overfull(history: History) -> Iterator[Violation]:
    """Released pods that live never ask more of a node than it has."""
    devices = _devices(history)
    holding: dict[str, tuple[str, int]] = {}
    for pod in history.of_kind("Pod"):
        node = str(pod.body["spec"].get("nodeName") or _pinned(pod.body))
        ended = (pod.body.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if pod.deleted or ended or gated(pod.body) or "deletionTimestamp" in pod.body["metadata"]:
            holding.pop(pod.uid, None)
            continue
        news = pod.uid not in holding
        holding[pod.uid] = (node, _asked(pod.body))
        used = sum(count for place, count in holding.values() if place == node)
        if news and used > devices.get(node, used):
            yield Violation(
                "overfull", f"node {node}",
                f"pods hold {used} of {devices[node]} accelerators at {pod.number}",
            )  # fmt: skip


def slots_are_given_under_the_verdict(history: History) -> Iterator[Violation]:
    """A pod gets its slot only while the verdict is about the plan as it stands."""
    for life in _plans(history):
        known: set[str] = set()
        for version in life:
            given = _pods_in_slots(version) - known
            known |= given
            about = version.status.get("observedGeneration")
            generation = version.body["metadata"].get("generation")
            if given and about != generation and version.change == "MODIFIED":
                yield _of_plan(
                    "stale-slot", version, f"given under generation {about} on {generation}"
                )


def _pods_in_slots(version: Version) -> set[str]:
    slots = (s for p in version.status.get("placements") or () for s in p.get("slots") or ())
    return {str(slot["podUid"]) for slot in slots if slot.get("podUid")}


def approved_means_claimed(history: History) -> Iterator[Violation]:
    """When an approval is written, a ledger holds all of its nodes for that very epoch."""
    for life in _plans(history):
        latest = -1
        for version in life:
            epoch = version.status.get("epoch")
            if epoch is None or epoch <= latest:
                continue
            latest = epoch
            if version.status.get("verdict") != "Approved" or version.change != "MODIFIED":
                continue
            placed = version.status.get("placements") or ()
            wanted = {slot["node"] for p in placed for slot in p.get("slots") or ()}
            lacking = wanted - _claimed_by(history, version.number, version.uid, epoch)
            if lacking:
                nodes = ", ".join(sorted(lacking))
                yield _of_plan("unclaimed", version, f"approved without a claim on {nodes}")


def slots_hold_one_pod(history: History) -> Iterator[Violation]:
    """No pod stands in two slots of a plan."""
    for version in history.of_kind("PlacementPlan"):
        slots = [s for p in version.status.get("placements") or () for s in p.get("slots") or ()]
        uids = [slot["podUid"] for slot in slots if slot.get("podUid")]
        if len(uids) != len(set(uids)):
            yield _of_plan("doubled-slot", version, "one pod in two slots")


def no_release_while_the_gate_is_open(history: History) -> Iterator[Violation]:
    """Once a binding of the gate is gone for a while, nothing is released until it is back."""
    gone: dict[str, Version] = {}
    binds = [v for v in history.versions if v.kind in GATE_KINDS and "kfarm" in v.name]
    moments = sorted(
        [(v.number, v) for v in binds] + [(after.number, after) for _, after in lifts(history)],
        key=lambda item: item[0],
    )
    for _, version in moments:
        if version.kind != "Pod":
            if version.deleted:
                gone[version.name] = version
            else:
                gone.pop(version.name, None)
            continue
        for binding in gone.values():
            if version.seen - binding.seen > OPEN_GATE_S:
                yield Violation(
                    "gate-open", f"pod {version.name}", f"released without {binding.name}"
                )


def _plans(history: History) -> Iterator[list[Version]]:
    return (life for (kind, _), life in history.lives.items() if kind == "PlacementPlan")


def _of_plan(rule: str, version: Version, message: str) -> Violation:
    return Violation(rule, f"plan {version.name}", f"at {version.number}: {message}")


def _claims(ledger: Version) -> list[Body]:
    return list((ledger.body.get("spec") or {}).get("claims") or ())


def _devices(history: History) -> dict[str, int]:
    """Accelerators of each node, the most that it ever had."""
    found: dict[str, int] = {}
    for node in history.of_kind("Node"):
        offered = (node.body.get("status") or {}).get("allocatable") or {}
        counts = [int(str(count)) for name, count in offered.items() if "/" in name]
        found[node.name] = max([found.get(node.name, 0), *counts])
    return {name: count for name, count in found.items() if count}


def _asked(pod: Body) -> int:
    total = 0
    for container in pod["spec"].get("containers") or ():
        limits = (container.get("resources") or {}).get("limits") or {}
        total += sum(int(str(count)) for name, count in limits.items() if "/" in name)
    return total


Rule = Callable[[History], Iterator[Violation]]
RULES: tuple[Rule, ...] = (
    released_under_a_verdict,
    one_verdict_per_epoch,
    verdicts_are_current,
    no_node_claimed_twice,
    claims_never_go_back,
    no_node_overfull,
    slots_are_given_under_the_verdict,
    approved_means_claimed,
    slots_hold_one_pod,
    no_release_while_the_gate_is_open,
)
