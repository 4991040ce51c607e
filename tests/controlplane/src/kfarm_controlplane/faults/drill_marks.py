"""What a drill leaves on Nodes and Leases while it lasts, read from the objects alone. Pure.

Fields are named as in a drill's journal: ``taint/KEY:EFFECT``, ``condition/TYPE``,
``allocatable/RESOURCE``, ``label/KEY`` and ``lease/FIELD``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kfarm_api.drill_marks import (
    ANNOTATION_DRILL,
    ANNOTATION_UNDO,
    ANNOTATION_UNTIL,
    LEASE_HOLDER,
    PREFIX,
    TAINT_OUT_OF_SERVICE,
)
from kfarm_operator.views import FAULT_CONDITIONS

from kfarm_controlplane.faults.history import Body, Version

BY_HAND = "ByHand"
"""What people of a scenario write on an object that a drill has touched."""
NODE_LEASES = "kube-node-lease"
LOCK_PREFIX = "kfarm-drill-"
MARKS = (ANNOTATION_UNTIL, ANNOTATION_DRILL, ANNOTATION_UNDO)
_LEASE_FIELDS = ("holderIdentity", "leaseDurationSeconds")
_TIMES = ("lastHeartbeatTime", "lastTransitionTime", "timeAdded")
_MOVING = ("renewTime", "acquireTime", "leaseTransitions")


@dataclass(frozen=True)
class Owner:
    """The drill that an object says it is under."""

    namespace: str
    name: str
    uid: str


def owner(body: Body) -> Owner | None:
    """Who marked an object; None of one that nobody did."""
    text = _annotations(body).get(ANNOTATION_DRILL, "")
    parts = text.split("/")
    return Owner(*parts) if len(parts) == 3 else None


def holds_lease(body: Body) -> bool:
    """Whether a Lease is held by a drill."""
    holder = str((body.get("spec") or {}).get("holderIdentity") or "")
    return holder.startswith(LEASE_HOLDER + "/")


def drilled(version: Version) -> dict[str, Any]:
    """Fields as only drills leave them, by name; what people wrote by hand is not among them."""
    if version.kind == "Lease":
        spec = version.body.get("spec") or {}
        held = holds_lease(version.body) and version.namespace == NODE_LEASES
        return {f"lease/{name}": spec.get(name) for name in _LEASE_FIELDS} if held else {}
    if version.kind != "Node":
        return {}
    found = {k: v for k, v in _of_node(version.body) if BY_HAND not in json.dumps(v)}
    return dict(sorted(found.items()))


def _of_node(node: Body) -> Iterator[tuple[str, Any]]:
    for taint in (node.get("spec") or {}).get("taints") or ():
        if taint["key"].startswith(PREFIX) or taint["key"] == TAINT_OUT_OF_SERVICE:
            yield f"taint/{taint['key']}:{taint['effect']}", taint
    status = node.get("status") or {}
    for condition in status.get("conditions") or ():
        told = condition["type"] in FAULT_CONDITIONS and condition["status"] == "True"
        if told or condition["type"].startswith(PREFIX):
            yield f"condition/{condition['type']}", condition
    capacity = status.get("capacity") or {}
    for name, count in (status.get("allocatable") or {}).items():
        if "/" in name and _less(count, capacity.get(name, count)):
            yield f"allocatable/{name}", count
    for name, value in (node["metadata"].get("labels") or {}).items():
        if name.startswith(PREFIX):
            yield f"label/{name}", value


def _less(count: object, most: object) -> bool:
    try:
        return int(str(count)) < int(str(most))
    except ValueError:
        return str(count) != str(most)


def by_hand(body: Body) -> dict[str, Any]:
    """What people wrote by hand on a Node, by the name of the field."""
    return {k: v for k, v in _of_node(body) if BY_HAND in json.dumps(v)}


def marked(body: Body) -> bool:
    """Whether an object carries any annotation of a drill."""
    return any(name.startswith(PREFIX) for name in _annotations(body))


def unmarked(body: Body) -> list[str]:
    """What is wrong with the marks of a touched object: how to take back what, and when."""
    notes = _annotations(body)
    wrong = [f"no annotation {name}" for name in MARKS if name not in notes]
    if not wrong and moment(notes[ANNOTATION_UNTIL]) is None:
        wrong.append(f"{ANNOTATION_UNTIL} is {notes[ANNOTATION_UNTIL]!r}")
    if not wrong and owner(body) is None:
        wrong.append(f"{ANNOTATION_DRILL} is {notes[ANNOTATION_DRILL]!r}")
    return wrong


def undo(body: Body) -> dict[str, Any]:
    """What an object itself says of how to take a drill back: changes by field."""
    try:
        found = json.loads(_annotations(body).get(ANNOTATION_UNDO, "[]"))
        return {str(change["field"]): change for change in found}
    except (ValueError, TypeError, KeyError):
        return {}


def until(body: Body) -> datetime | None:
    """From when on everybody may take a drill back."""
    return moment(_annotations(body).get(ANNOTATION_UNTIL, ""))


def moment(text: object) -> datetime | None:
    """A time in UTC; None of what is none."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo is not None else None


def agrees(noted: object, value: object) -> bool:
    """Whether a value of an object is what a journal notes as JSON.

    Times are left out: whoever writes a condition stamps it. A note may say less than the object.
    """
    if noted is None:
        return value is None
    try:
        said = json.loads(str(noted))
    except ValueError:
        said = noted
    if isinstance(said, Mapping) and isinstance(value, Mapping):
        return all(value.get(k) == v for k, v in said.items() if k not in _TIMES and v is not None)
    if isinstance(value, Mapping):
        return str(said) == str(value.get("value", value.get("status")))
    return str(said) == str(value)


def dump(version: Version) -> Body | None:
    """What can be seen of a Node or Lease, less what moves by itself; None: as good as none.

    Leases of other namespaces are locks of drills: one that nobody holds is none.
    """
    body = version.body
    meta = {
        "labels": body["metadata"].get("labels") or {},
        "annotations": body["metadata"].get("annotations") or {},
    }
    if version.kind == "Lease":
        spec = {k: v for k, v in (body.get("spec") or {}).items() if k not in _MOVING}
        if version.namespace == NODE_LEASES:
            return {**meta, "spec": spec}
        return {"holder": spec["holderIdentity"]} if spec.get("holderIdentity") else None
    spec, status = dict(body.get("spec") or {}), body.get("status") or {}
    taints = spec.pop("taints", None) or []
    return {
        **meta,
        "spec": spec,
        "taints": {f"{t['key']}:{t['effect']}": _still(t) for t in taints},
        "conditions": {c["type"]: _still(c) for c in status.get("conditions") or ()},
        "allocatable": status.get("allocatable") or {},
        "capacity": status.get("capacity") or {},
    }


def _still(found: Body) -> Body:
    return {name: value for name, value in found.items() if name not in _TIMES}


def _annotations(body: Body) -> dict[str, str]:
    return dict(body["metadata"].get("annotations") or {})
