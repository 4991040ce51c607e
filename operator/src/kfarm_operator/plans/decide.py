"""The next step for a plan, from what was observed. Pure functions.

::

    references missing ─▶ Wait
    new generation ─▶ Evict what is released but unbound ─▶ Simulate
    Rejected / Inconclusive ─▶ inputs changed? Simulate (next epoch) : Report
    Approved ─▶ a pinned node lost its footing? Evict the unbound pod
             ─▶ a free slot cannot be filled as validated? Simulate (next epoch)
             ─▶ Assign pods to slots (written down first) ─▶ Release ─▶ Report

Every step is repeated from a fresh observation until there is nothing left but to report, so a
crash between two steps loses nothing and doubles nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

from kfarm_api.plan import PlacementPlanStatus
from kfarm_twin.work.backend import ELSEWHERE

from kfarm_operator.conditions import parse_timestamp
from kfarm_operator.plans.footing import footing, unselected
from kfarm_operator.plans.match import mismatch
from kfarm_operator.plans.observe import Observed, SlotView, expired, hostname
from kfarm_operator.plans.request import build_request, find_survivors, unsound
from kfarm_operator.views import NodeView, PodView

MAX_ATTEMPTS = 3
RETRY_S = 5.0
PLACED_BY_KUEUE = (
    "Kueue places these workloads; the verdict on each stands in admissionChecks of its Workload"
)
TWIN_REASONS = ("DeadlineExceeded", "MemoryExceeded", "Crashed", *sorted(ELSEWHERE))


@dataclass(frozen=True)
class Wait:
    """Nothing can be decided yet."""

    reason: str
    message: str
    again_s: float | None = None


@dataclass(frozen=True)
class Evict:
    """Released but unbound pods that may no longer go where they are pinned to."""

    pods: tuple[PodView, ...]
    why: str


@dataclass(frozen=True)
class Simulate:
    """Ask the twin, for the next epoch."""

    epoch: int
    why: str
    attempts: int = 0


@dataclass(frozen=True)
class Assign:
    """Write down which pod gets which slot."""

    pairs: tuple[tuple[SlotView, PodView], ...]


@dataclass(frozen=True)
class Release:
    """Lift the gate of pods and pin each to the node of its slot."""

    pairs: tuple[tuple[SlotView, PodView, str], ...]


@dataclass(frozen=True)
class Report:
    """Nothing to do but say how things stand.

    `waiting` pods have no slot; `mismatched` are (pod, in what it differs).
    """

    reason: str
    message: str
    surplus: tuple[PodView, ...] = ()
    mismatched: tuple[tuple[PodView, str], ...] = ()
    again_s: float | None = field(default=None)


Decision = Wait | Evict | Simulate | Assign | Release | Report


def decide(observed: Observed) -> Decision:
    """The next step for the plan."""
    if observed.placed_by_kueue:
        return _missing_farm(observed) or Report("PlacedByKueue", PLACED_BY_KUEUE)
    waiting = _missing_reference(observed)
    if waiting is not None:
        return waiting
    status = observed.plan.status or PlacementPlanStatus()
    current = status.observed_generation == observed.plan.metadata.generation
    if status.verdict is None or not current:
        return _first_verdict(observed, status)
    if status.verdict != "Approved":
        return _after_refusal(observed, status)
    return _after_approval(observed, status)


def next_epoch(status: PlacementPlanStatus | None) -> int:
    """Epochs only ever grow."""
    return 0 if status is None or status.epoch is None else status.epoch + 1


def _missing_reference(observed: Observed) -> Wait | None:
    if observed.policy is None:
        return Wait(
            "PolicyNotFound",
            f"no ValidationPolicy named {observed.plan.spec.policy!r}; apply it or correct "
            "spec.policy",
        )
    return _missing_farm(observed)


def _missing_farm(observed: Observed) -> Wait | None:
    for (kind, farm_name), farm in observed.farms.items():
        if farm is None or farm.metadata.deletion_timestamp:
            return Wait(
                "FarmNotFound", f"no {kind} named {farm_name!r}; apply it or correct spec.farms"
            )
        absent = [
            c.accelerator for c in farm.spec.clusters if c.accelerator not in observed.profiles
        ]
        if absent:
            return Wait(
                "ProfileNotFound",
                f"{kind} {farm_name} names AcceleratorProfile {absent[0]!r}, which does not exist; "
                "apply it (examples/catalogue has the usual ones)",
            )
    return None


def _unmade_farm(observed: Observed) -> Wait | None:
    for (kind, name), farm in observed.farms.items():
        if farm is None:
            continue
        wanted = sum(cluster.nodes for cluster in farm.spec.clusters)
        status = farm.status
        made = status is not None and status.observed_generation == farm.metadata.generation
        if not made or status is None or (status.nodes or 0) < wanted:
            there = (status.nodes or 0) if status else 0
            return Wait("FarmNotReady", f"{kind} {name} has {there} of {wanted} nodes so far", 2.0)
    return None


def _released_unbound(observed: Observed) -> tuple[PodView, ...]:
    return tuple(
        pod
        for pod in observed.pods
        if pod.live and pod.released and pod.node is None and not pod.deleting
    )


def _first_verdict(observed: Observed, status: PlacementPlanStatus) -> Decision:
    unbound = _released_unbound(observed)
    if unbound:
        return Evict(unbound, "the plan was edited before they were bound")
    return _unmade_farm(observed) or Simulate(next_epoch(status), "new generation")


def _held_off(observed: Observed) -> float | None:
    """Seconds until the plan may be simulated again, so that flapping inputs cost little."""
    if observed.hold_until is None or observed.hold_until <= observed.now:
        return None
    return (observed.hold_until - observed.now).total_seconds()


def _after_refusal(observed: Observed, status: PlacementPlanStatus) -> Decision:
    report = _report(observed, status.reason or "", status.message or "")
    attempts = status.attempts or 0
    request = build_request(observed, find_survivors(observed), status.epoch or 0)
    changed = request.digest() != status.inputs_digest
    failed = status.reason in TWIN_REASONS
    if not changed and not (failed and attempts < MAX_ATTEMPTS):
        return report
    delay = _held_off(observed)
    if failed and not changed and status.decided_at:
        due = parse_timestamp(status.decided_at) + timedelta(seconds=RETRY_S * 2**attempts)
        delay = max(delay or 0.0, (due - observed.now).total_seconds())
    if delay is not None and delay > 0:
        return Report(report.reason, report.message, report.surplus, report.mismatched, delay)
    unmade = _unmade_farm(observed)
    if unmade is not None:
        return unmade
    why = "its inputs changed" if changed else "the twin failed"
    return Simulate(next_epoch(status), why, 0 if changed else attempts)


def _after_approval(observed: Observed, status: PlacementPlanStatus) -> Decision:
    stranded = tuple(
        pod
        for pod in _released_unbound(observed)
        if footing(observed, observed.hostnames.get(pod.pinned or ""), None) is not None
    )
    if stranded:
        return Evict(stranded, "the node that they are pinned to is not usable any more")
    free = [view for view in observed.slots if view.free]
    candidates, mismatched = _candidates(observed)
    unused = not any(view.assigned for view in observed.slots)
    wanting = {pod.workload for pod in candidates}
    short = _short_gangs(observed, free, candidates)
    wanted = [
        view
        for view in free
        if (view.workload in wanting or (unused and not wanting))
        and not (view.vacated and view.workload in short)
    ]
    broken = _broken(observed, status, wanted, bool(candidates)) if wanted else None
    if broken is not None:
        return _reopen(observed, status, broken, mismatched)
    gated = [view for view in observed.slots if view.pod is not None and view.pod.gated]
    if gated:
        unfit = _unfit(observed, status, gated)
        return unfit or _release(observed, gated)
    return _fill(observed, status, free, candidates, mismatched, short)


def _short_gangs(
    observed: Observed, free: list[SlotView], candidates: list[PodView]
) -> frozenset[str]:
    """Gangs of which pods are still missing; only whole ones are worth another simulation."""
    pods = Counter(pod.workload for pod in candidates)
    slots = Counter(view.workload for view in free)
    return frozenset(
        name
        for name, workload in observed.workloads.items()
        if workload.gang and pods[name] < slots[name]
    )


def _unfit(
    observed: Observed, status: PlacementPlanStatus, gated: list[SlotView]
) -> Decision | None:
    """A pod that was given a slot but whose place no longer holds is validated again."""
    broken = _broken(observed, status, gated, claimed=True)
    return _reopen(observed, status, broken, ()) if broken is not None else None


def _reopen(
    observed: Observed,
    status: PlacementPlanStatus,
    why: str,
    mismatched: tuple[tuple[PodView, str], ...],
) -> Decision:
    if status.specs_digest != observed.specs_digest:
        unbound = _released_unbound(observed)
        if unbound:
            return Evict(unbound, "what was validated has changed before they were bound")
    unmade = _unmade_farm(observed)
    if unmade is not None:
        return unmade
    delay = _held_off(observed)
    if delay is not None:
        return _report(observed, "Revalidating", f"{why}; validated again shortly", delay)
    return Simulate(next_epoch(status), why)


def _broken(
    observed: Observed, status: PlacementPlanStatus, free: list[SlotView], claimed: bool
) -> str | None:
    """Why the free slots can no longer be filled under this verdict, or None."""
    if status.specs_digest != observed.specs_digest:
        return "the plan's policy, farms or profiles changed"
    if claimed and any(view.vacated for view in free):
        return "a pod was replaced"
    for view in free:
        if view.vacated and not claimed:
            continue
        reason = footing(observed, view.slot.node, view.slot.node_digest)
        reason = reason or unselected(observed, view) or unsound(observed, view.slot.node)
        if reason is not None:
            return reason
    if claimed and expired(status.expires_at, observed.now):
        return "the verdict expired"
    if claimed and not _claims_hold(observed, status, free):
        return "the claim on its nodes is gone"
    return None


def _claims_hold(observed: Observed, status: PlacementPlanStatus, free: list[SlotView]) -> bool:
    """Whether the ledger still holds every free slot for this very verdict."""
    held: set[str] = set()
    for farm in observed.farms:
        claim = observed.claim(farm)
        if claim is None or expired(claim.expires_at, observed.now):
            continue
        generation = observed.plan.metadata.generation
        if (claim.generation, claim.epoch) == (generation, status.epoch):
            held |= {item.node for item in claim.nodes}
    return all(view.slot.node in held for view in free)


def _candidates(
    observed: Observed,
) -> tuple[list[PodView], tuple[tuple[PodView, str], ...]]:
    """Gated pods without a slot: those that match their workload, and those that do not."""
    seated = {view.slot.pod_uid for view in observed.slots if view.pod is not None}
    good: list[PodView] = []
    bad: list[tuple[PodView, str]] = []
    for pod in observed.pods:
        if not pod.live or pod.deleting or not pod.gated or pod.uid in seated:
            continue
        workload = observed.workloads.get(pod.workload)
        if workload is None:
            bad.append((pod, f"names workload {pod.workload!r}, which the plan does not have"))
            continue
        difference = mismatch(pod, workload, observed.profiles)
        if difference is None:
            good.append(pod)
        else:
            bad.append((pod, difference))
    return good, tuple(bad)


def _fill(
    observed: Observed,
    status: PlacementPlanStatus,
    free: list[SlotView],
    candidates: list[PodView],
    mismatched: tuple[tuple[PodView, str], ...],
    gangs: frozenset[str],
) -> Decision:
    """Give slots to pods; `gangs` are those of which pods are still missing."""
    pairs: list[tuple[SlotView, PodView]] = []
    surplus: list[PodView] = []
    short: list[str] = []
    for name, workload in observed.workloads.items():
        pods = [pod for pod in candidates if pod.workload == name]
        slots = [view for view in free if view.workload == name and not view.vacated]
        if pods and name in gangs:
            held = sum(view.workload == name and not view.free for view in observed.slots)
            short.append(f"{name}: {held + len(pods)} of {workload.pods} pods are there")
            continue
        taken, rest = _seat(observed, slots, pods)
        if workload.gang and pods and len(taken) < len(slots):
            short.append(f"{name}: {len(rest)} pods request what no free slot's node has")
            continue
        pairs += taken
        surplus += rest
    if pairs:
        return Assign(tuple(pairs))
    if short:
        message = f"the gang is released once it is whole; {'; '.join(short)}"
        return _report(observed, "WaitingForPods", message, mismatched=mismatched)
    return _report(
        observed,
        status.reason or "Approved",
        status.message or "",
        surplus=tuple(surplus),
        mismatched=mismatched,
    )


def _seat(
    observed: Observed, slots: list[SlotView], pods: list[PodView]
) -> tuple[list[tuple[SlotView, PodView]], list[PodView]]:
    """Pair pods with slots in order; a pod fits where its resource is on offer."""
    left = list(slots)
    pairs: list[tuple[SlotView, PodView]] = []
    rest: list[PodView] = []
    for pod in pods:
        wanted = pod.shape.devices[0][0]
        seat = next((v for v in left if _offers(observed.nodes.get(v.slot.node), wanted)), None)
        if seat is None:
            rest.append(pod)
        else:
            left.remove(seat)
            pairs.append((seat, pod))
    return pairs, rest


def _offers(node: NodeView | None, resource: str) -> bool:
    return node is not None and node.devices(resource) > 0


def _release(observed: Observed, gated: list[SlotView]) -> Release:
    return Release(
        tuple(
            (view, view.pod, hostname(observed.nodes[view.slot.node]))
            for view in gated
            if view.pod is not None
        )
    )


def _report(
    observed: Observed,
    reason: str,
    message: str,
    again_s: float | None = None,
    *,
    surplus: tuple[PodView, ...] = (),
    mismatched: tuple[tuple[PodView, str], ...] | None = None,
) -> Report:
    if mismatched is None:
        mismatched = _candidates(observed)[1]
    return Report(reason, message, surplus, mismatched, again_s)
