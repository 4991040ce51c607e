"""What a drill left behind: nodes and Leases as they were before, held against now. Pure.

Heartbeats, renewals and resourceVersions differ always and are left out; so are fields that other
controllers keep for themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kfarm_api.drill_marks import PREFIX

Body = dict[str, Any]
Facts = dict[str, str]
State = dict[str, Facts]
"""By object: each of its fields as text."""
_DRILLED_LEASE = ("holderIdentity", "leaseDurationSeconds")


def state_of(nodes: Iterable[Body], leases: Iterable[Body]) -> State:
    """Everything of nodes and their Leases that a drill could have changed."""
    state: State = {}
    for body in nodes:
        state[f"Node {body['metadata']['name']}"] = _node(body)
    for body in leases:
        if body["metadata"].get("namespace") == "kube-node-lease":
            state[f"Lease {body['metadata']['name']}"] = _lease(body)
    return state


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
    for key, value in (body["metadata"].get("annotations") or {}).items():
        if key.startswith(PREFIX):
            facts[f"annotation {key}"] = value
    return facts
