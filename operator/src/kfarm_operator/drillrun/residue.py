"""What a drill left behind: nodes and Leases as they were before, held against now. Pure.

Heartbeats, renewals and resourceVersions differ always and are left out; so are fields that other
controllers keep for themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from kfarm_api.drill_marks import ANNOTATION_DRILL, PREFIX

Body = dict[str, Any]
Facts = dict[str, str]
State = dict[str, Facts]
"""By object: each of its fields as text."""
_START = re.compile(r"_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
"""What KWOK adds to the name of its machine at each start of its process."""
_DRILLED_LEASE = ("holderIdentity", "leaseDurationSeconds")


def state_of(nodes: Iterable[Body], leases: Iterable[Body], drill: str = "") -> State:
    """Everything of nodes and their Leases that a drill could have changed.

    Parameters
    ----------
    drill
        Uid of the drill that is looked at. What another one is busy with is left out.
    """
    ours = [body for body in leases if body["metadata"].get("namespace") == "kube-node-lease"]
    state: State = {}
    others: set[str] = set()
    for kind, bodies, facts in (("Node", nodes, _node), ("Lease", ours, _lease)):
        for body in bodies:
            name = str(body["metadata"]["name"])
            state[f"{kind} {name}"] = facts(body)
            mark = (body["metadata"].get("annotations") or {}).get(ANNOTATION_DRILL)
            if mark is not None and mark.rpartition("/")[2] != drill:
                others.add(name)
    return {key: facts for key, facts in state.items() if key.partition(" ")[2] not in others}


def differences(before: Mapping[str, Facts], after: Mapping[str, Facts]) -> list[str]:
    """Fields that are not as they were, in words; objects that came or went do not count."""
    told = []
    for name in sorted(before.keys() & after.keys()):
        old, new = before[name], after[name]
        for field in sorted(old.keys() | new.keys()):
            if old.get(field) != new.get(field):
                was, now = old.get(field, "nothing"), new.get(field, "nothing")
                told.append(f"{name}: {field} was {was}, is {now}")
    return told


def _node(body: Body) -> Facts:
    meta, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    facts = {f"label {key}": value for key, value in (meta.get("labels") or {}).items()}
    for key, value in (meta.get("annotations") or {}).items():
        if key.startswith(PREFIX):
            facts[f"annotation {key}"] = value
    for taint in spec.get("taints") or ():
        facts[f"taint {taint['key']}:{taint['effect']}"] = taint.get("value") or "set"
    facts["unschedulable"] = str(bool(spec.get("unschedulable")))
    for condition in status.get("conditions") or ():
        facts[f"condition {condition['type']}"] = condition["status"]
    for key, value in (status.get("allocatable") or {}).items():
        facts[f"allocatable {key}"] = str(value)
    return facts


def _lease(body: Body) -> Facts:
    spec = body.get("spec") or {}
    facts = {field: str(spec.get(field)) for field in _DRILLED_LEASE}
    facts["holderIdentity"] = _START.sub("", facts["holderIdentity"])
    for key, value in (body["metadata"].get("annotations") or {}).items():
        if key.startswith(PREFIX):
            facts[f"annotation {key}"] = value
    return facts
