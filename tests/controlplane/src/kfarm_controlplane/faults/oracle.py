"""Judges a play: the end it should have had, what was made on the way, and what must always hold.

The end of a play is what anybody can see of its objects, less what varies without meaning: uids,
times, versions, digests. It has to equal the end of the same scenario without a fault. How often
things were made, deleted and evicted is compared as well, since an end state alone does not show
what was done twice and undone.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kfarm_controlplane.faults.drill_invariants import drill_invariants
from kfarm_controlplane.faults.drill_residue import Edit, residue
from kfarm_controlplane.faults.history import Body, History, Scope, Version
from kfarm_controlplane.faults.invariants import (
    HOST,
    LABEL_PLAN,
    Violation,
    gated,
    invariants,
    lifts,
)

State = dict[str, Body]
Counts = dict[str, int]
_RANDOM = re.compile(r"-[a-z0-9]{5}$")
_NODE = re.compile(r"<farm>-[a-z0-9-]+-\d{4,}")


@dataclass(frozen=True)
class Masks:
    """What of a scenario's end is free to differ.

    Attributes
    ----------
    drop
        Names of fields, at any depth.
    nodes
        Whether it is left open which nodes are chosen; how many, and that no two plans share one,
        is not.
    uncounted
        Beginnings of names in `Counts` that are not compared.
    roles
        Names of objects by the part that they played, as ``{"first": "winner"}``.
    edit
        What people do to Nodes and Leases in the play; all else has to be at the end what it was
        before. None where no drill touches them.
    """

    drop: frozenset[str] = frozenset()
    nodes: bool = False
    uncounted: tuple[str, ...] = ()
    roles: Callable[[History], Mapping[str, str]] = field(default=lambda _: {})
    edit: Edit | None = None


@dataclass(frozen=True)
class Reference:
    """What an undisturbed run came to."""

    state: State
    counts: Counts


def reference(history: History, scope: Scope, masks: Masks) -> Reference:
    """What this run came to, to hold others against."""
    own = history.within(scope)
    return Reference(end_state(own, scope, masks), counts(own, scope, masks))


def judge(
    history: History, scope: Scope, expected: Reference | None, masks: Masks
) -> list[Violation]:
    """All that is wrong with a play; without a reference only what must always hold."""
    own = history.within(scope)
    found = [*invariants(own), *leftovers(own), *drill_invariants(own)]
    if masks.edit is not None:
        found += residue(own, masks.edit)
    if expected is not None:
        seen = reference(own, scope, masks)
        found += compare(seen.state, expected.state)
        found += compare_counts(seen.counts, expected.counts)
    return found


def end_state(history: History, scope: Scope, masks: Masks | None = None) -> State:
    """What is there at the end, by kind and name, with all names masked."""
    masks = masks or Masks()
    renamed = _Names.of(history, scope, masks)
    state: State = {}
    for version in history.end().values():
        shape = _SHAPES.get(version.kind)
        if shape is None or _is_empty(version):
            continue
        names = replace(renamed, nodes=False) if version.kind == "Node" else renamed
        body = names(_less(shape(version.body), masks.drop))
        state[names.text(f"{version.kind} {_name(version)}")] = body
    return dict(sorted(state.items()))


def compare(seen: State, expected: State) -> list[Violation]:
    """Where two ends differ, field by field."""
    found = []
    for name in sorted({*seen, *expected}):
        for where, one, other in _differences(seen.get(name), expected.get(name), ""):
            found.append(Violation("end", name, f"{where or 'it'} is {one}, should be {other}"))
    return found


def counts(history: History, scope: Scope, masks: Masks | None = None) -> Counts:
    """How often objects were made, deleted, released and evicted, and verdicts given."""
    masks = masks or Masks()
    renamed = _Names.of(history, scope, masks)
    found: Counter[str] = Counter()
    for (kind, _), life in history.lives.items():
        if kind not in _SHAPES:
            continue
        name = f"{kind} {_name(life[0])}"
        found[f"create {name}"] += life[0].change == "ADDED" and kind != "NodeLedger"
        found[f"delete {name}"] += life[-1].deleted
        found[f"evict {name}"] += kind == "Pod" and any(_evicted(v.body) for v in life)
        if kind == "PlacementPlan":
            epochs = {v.status.get("epoch") for v in life} - {None}
            found[f"verdicts {name}"] += len(epochs)
    for _, pod in lifts(history):
        found[f"release Pod {_name(pod)}"] += 1
    summed: Counter[str] = Counter()
    for name, count in found.items():
        masked = renamed.text(name)
        if count and not masked.startswith(masks.uncounted or ("\0",)):
            summed[masked] += count
    return dict(sorted(summed.items()))


def compare_counts(seen: Counts, expected: Counts) -> list[Violation]:
    """What was done more or less often than without a fault."""
    return [
        Violation("count", name, f"{seen.get(name, 0)} times, should be {expected.get(name, 0)}")
        for name in sorted({*seen, *expected})
        if seen.get(name, 0) != expected.get(name, 0)
    ]


def leftovers(history: History) -> list[Violation]:
    """At the end every claim has its holder, and every approved slot that is held its claim."""
    there = history.end()
    holders = {v.uid for v in there.values() if v.kind in ("PlacementPlan", "Workload")}
    found = []
    for version in there.values():
        if version.kind != "NodeLedger":
            continue
        for claim in (version.body.get("spec") or {}).get("claims") or ():
            if claim["uid"] not in holders:
                what = f"a claim of {claim['plan']} ({claim['uid']}), which is gone"
                found.append(Violation("orphan", version.name, what))
    return found


def noise(history: History, since: int) -> list[Version]:
    """What the operator wrote after a number, where nothing was left to do."""
    ours = ("PlacementPlan", "NodeLedger", "GPUFarm", "FailureDrill")
    return [v for v in history.since(since).versions if v.kind in ours or _told_by_us(v)]


def _told_by_us(version: Version) -> bool:
    source = version.body.get("source") or {}
    return version.kind == "Event" and source.get("component") == "kfarm"


@dataclass(frozen=True)
class _Names:
    """Masks names, so that two plays can be compared."""

    known: Mapping[str, str]
    pattern: re.Pattern[str]
    roles: Mapping[str, str]
    nodes: bool

    @classmethod
    def of(cls, history: History, scope: Scope, masks: Masks) -> _Names:
        """Names and uids of everything that a history has."""
        known = {scope.namespace: "<ns>", scope.farm: "<farm>"}
        number: Counter[tuple[str, str]] = Counter()
        for (kind, uid), life in history.lives.items():
            if kind in _SHAPES:
                name = _name(life[0])
                number[kind, name] += 1
                known[uid] = f"<{kind} {name} {number[kind, name]}>"
                if name != life[0].name:
                    known.setdefault(life[0].name, name)
        ordered = sorted(known, key=len, reverse=True)
        pattern = re.compile("|".join(re.escape(name) for name in ordered))
        return cls(known, pattern, masks.roles(history), masks.nodes)

    def text(self, text: str) -> str:
        """A string with names masked."""
        masked = self.pattern.sub(lambda found: self.known[found[0]], text)
        masked = self.pattern.sub(lambda found: self.known[found[0]], masked)
        for name, role in self.roles.items():
            masked = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w])", role, masked)
        return masked if not self.nodes else _NODE.sub("<node>", masked)

    def __call__(self, body: Body) -> Body:
        """An object with names masked everywhere; lists that have no order are sorted anew."""
        found = json.loads(self.text(json.dumps(body, ensure_ascii=False)))
        return dict(_sorted(found))


def _name(version: Version) -> str:
    """Name of an object; of one that a controller named by chance, after its owner."""
    owners = version.body["metadata"].get("ownerReferences") or ()
    if not owners or version.kind not in ("Pod", "Workload"):
        return version.name
    return _RANDOM.sub("", version.name)


def _is_empty(version: Version) -> bool:
    """Whether it is a ledger of no claims; that is as good as none."""
    return version.kind == "NodeLedger" and not (version.body.get("spec") or {}).get("claims")


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(item) for key, item in value.items()}
    if isinstance(value, list):
        items = [_sorted(item) for item in value]
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
    return value


def _less(value: Any, names: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {key: _less(item, names) for key, item in value.items() if key not in names}
    if isinstance(value, list):
        return [_less(item, names) for item in value]
    return value


def _differences(one: Any, other: Any, where: str) -> list[tuple[str, Any, Any]]:
    if isinstance(one, dict) and isinstance(other, dict):
        found = []
        for key in sorted({*one, *other}):
            found += _differences(one.get(key), other.get(key), f"{where}.{key}".lstrip("."))
        return found
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    return [] if same else [(where, one, other)]


def _evicted(pod: Body) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(
        c["type"] == "DisruptionTarget" and c.get("reason") == "EvictionByEvictionAPI"
        for c in conditions
    )


def _conditions(body: Body) -> Body:
    status = body.get("status") or {}
    return {c["type"]: [c["status"], c.get("reason")] for c in status.get("conditions") or ()}


def _plan(body: Body) -> Body:
    status = body.get("status") or {}
    kept = ("observedGeneration", "verdict", "reason", "epoch", "slots", "released", "bound",
            "attempts", "futures", "seed", "worstFuture")  # fmt: skip
    return {
        "uid": body["metadata"]["uid"],
        "generation": body["metadata"].get("generation"),
        **{name: status.get(name) for name in kept},
        "checks": [[c["metric"], c["result"]] for c in status.get("checks") or ()],
        "conditions": _conditions(body),
        "placements": {
            p["workload"]: [
                {"node": s.get("node"), "pod": s.get("podUid")} for s in p.get("slots") or ()
            ]
            for p in status.get("placements") or ()
        },
    }


def _pod(body: Body) -> Body:
    spec, meta = body["spec"], body["metadata"]
    return {
        "uid": meta["uid"],
        "plan": (meta.get("labels") or {}).get(LABEL_PLAN),
        "gated": gated(body),
        "gates": len(spec.get("schedulingGates") or ()),
        "pinned": (spec.get("nodeSelector") or {}).get(HOST),
        "node": spec.get("nodeName"),
        "deleting": "deletionTimestamp" in meta,
    }


def _ledger(body: Body) -> Body:
    kept = ("namespace", "plan", "uid", "generation", "epoch", "workload", "nodes")
    claims = (body.get("spec") or {}).get("claims") or ()
    return {"claims": [{name: claim.get(name) for name in kept} for claim in claims]}


def _node(body: Body) -> Body:
    meta, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    ours = {k: v for k, v in (meta.get("labels") or {}).items() if k.startswith("kfarm.dev/")}
    offered = status.get("allocatable") or {}
    return {
        "labels": ours,
        "taints": [t["key"] for t in spec.get("taints") or () if _is_ours(t["key"])],
        "ready": (_conditions(body).get("Ready") or [None])[0],
        "devices": {name: str(count) for name, count in offered.items() if "/" in name},
    }


def _is_ours(taint: str) -> bool:
    """Whether Kubernetes has no hand in a taint."""
    return not taint.startswith("node.kubernetes.io/")


def _farm(body: Body) -> Body:
    status = body.get("status") or {}
    return {
        "generation": body["metadata"].get("generation"),
        "observedGeneration": status.get("observedGeneration"),
        "finalizers": body["metadata"].get("finalizers"),
        "deleting": "deletionTimestamp" in body["metadata"],
        "nodes": status.get("nodes"),
        "conditions": _conditions(body),
    }


def _workload(body: Body) -> Body:
    status = body.get("status") or {}
    entries = status.get("admissionChecks") or ()
    return {
        "uid": body["metadata"]["uid"],
        "active": (body.get("spec") or {}).get("active", True),
        "checks": [[e["name"], e["state"]] for e in entries],
        "conditions": {kind: found[0] for kind, found in _conditions(body).items()},
        "admitted": bool(status.get("admission")),
    }


def _drill(body: Body) -> Body:
    status, spec = body.get("status") or {}, body["spec"]
    kept = ("observedGeneration", "phase", "verdict", "reason", "touched")
    journal = status.get("journal") or ()
    return {
        "generation": body["metadata"].get("generation"),
        "finalizers": body["metadata"].get("finalizers"),
        "deleting": "deletionTimestamp" in body["metadata"],
        "armed": bool(spec.get("confirm")),
        **{name: status.get(name) for name in kept},
        "conditions": _conditions(body),
        "targets": {t["fault"]: t.get("nodes") or [] for t in status.get("targets") or ()},
        "faults": {f["fault"]: f["state"] for f in status.get("faults") or ()},
        "journal": [[e["fault"], e["kind"], e["name"], e["state"]] for e in journal],
        "expectations": {e["name"]: e["result"] for e in status.get("expectations") or ()},
    }


_SHAPES: Mapping[str, Callable[[Body], Body]] = {
    "PlacementPlan": _plan,
    "Pod": _pod,
    "NodeLedger": _ledger,
    "Node": _node,
    "GPUFarm": _farm,
    "Workload": _workload,
    "FailureDrill": _drill,
}
