"""Histories of drills written by hand: a drill, its journal, nodes and Leases."""

from __future__ import annotations

import copy
import json
from typing import Any

from kfarm_controlplane.faults.history import Change, Version
from unit.faults.histories import SPACE, Body, Story

UNTIL = "2026-01-31T12:00:00Z"
XID = "SysLogsGPUFallenOff"
RESOURCE = "nvidia.com/gpu"
TAINT = {"key": "drill.kfarm.dev/fault", "value": "DeviceFault", "effect": "NoSchedule"}
CONDITION = {"type": XID, "status": "True", "reason": "drill", "lastTransitionTime": "T1"}
READY = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
TAINT_FIELD = "taint/drill.kfarm.dev/fault:NoSchedule"
CHANGES = [
    {"field": TAINT_FIELD, "before": None, "after": json.dumps(TAINT)},
    {"field": f"condition/{XID}", "before": None, "after": json.dumps(CONDITION)},
    {"field": f"allocatable/{RESOURCE}", "before": '"8"', "after": '"7"'},
]
HELD = [
    {"field": "lease/holderIdentity", "before": '"kwok"', "after": '"kfarm-drill/uid-d"'},
    {"field": "lease/leaseDurationSeconds", "before": "4", "after": "60"},
]


def marks(changes: list[Body], drill: str = "d") -> dict[str, str]:
    """Annotations of a touched object."""
    return {
        "drill.kfarm.dev/until": UNTIL,
        "drill.kfarm.dev/drill": f"{SPACE}/{drill}/uid-{drill}",
        "drill.kfarm.dev/undo": json.dumps(changes),
    }


def entry(
    state: str = "Planned", *, node: str = "f1-c-0000", kind: str = "Node", uid: str = "",
    changes: list[Body] | None = None, fault: str = "f",
) -> Body:  # fmt: skip
    """A journal's entry."""
    return {
        "id": f"{fault}/{kind}/{node}",
        "fault": fault,
        "kind": kind,
        "name": node,
        "uid": uid or f"{kind}-{node}",
        "state": state,
        "changes": CHANGES if changes is None else changes,
        "plannedAt": "2026-01-31T11:50:00.000Z",
    }


class DrillStory(Story):
    """Two healthy nodes of one rack that consent, their Leases, and a drill."""

    def __init__(self, *, consent: bool = True, **limits: Any) -> None:
        self.versions: list[Version] = []
        labels = {"kfarm.dev/drill": "allowed"} if consent else {}
        for name in ("f1-c-0000", "f1-c-0001"):
            self.labels = {"kfarm.dev/farm": "f1", "kfarm.dev/rack": "r0", **labels}
            self.node(name, change="PRESENT")
            self.lease(name, change="PRESENT")
        self.limits = {"maxNodes": 1, "maxPercent": 50, "domains": 1, "minHealthy": 50, **limits}
        self.drill(change="ADDED")

    def node(
        self, name: str = "f1-c-0000", *, taints: tuple[Body, ...] = (),
        conditions: tuple[Body, ...] = (), left: str = "8", ready: bool = True, uid: str = "",
        notes: dict[str, str] | None = None, change: Change = "MODIFIED",
    ) -> Version:  # fmt: skip
        """A version of a node."""
        health = {**READY, "status": "True" if ready else "False"}
        status = {
            "conditions": [health, *conditions],
            "allocatable": {RESOURCE: left, "cpu": "4"},
            "capacity": {RESOURCE: "8", "cpu": "4"},
        }
        spec = {"taints": list(taints)}
        return self.add(
            "Node", name, {"spec": spec, "status": status}, change, uid=uid,
            labels=self.labels, annotations=notes or {},
        )  # fmt: skip

    def lease(
        self, name: str = "f1-c-0000", *, holder: str = "kwok", seconds: int = 4,
        notes: dict[str, str] | None = None, change: Change = "MODIFIED",
    ) -> Version:  # fmt: skip
        """A version of a node's Lease."""
        spec = {"holderIdentity": holder, "leaseDurationSeconds": seconds, "renewTime": "T"}
        return self.add(
            "Lease", name, {"spec": spec}, change, space="kube-node-lease",
            annotations=notes or {},
        )  # fmt: skip

    def drill(
        self, *entries: Body, name: str = "d", change: Change = "MODIFIED", **status: Any
    ) -> Version:
        """A version of a drill."""
        fault = {"name": "f", "action": "DeviceFault"}
        body = {
            "spec": {"faults": [fault], "limits": self.limits},
            "status": {"until": UNTIL, "journal": copy.deepcopy(list(entries)), **status},
        }
        return self.add("FailureDrill", name, body, change, uid=f"uid-{name}", space=SPACE)

    def marked(self, node: str = "f1-c-0000", **more: Any) -> Version:
        """A node with the drill's taint and marks."""
        return self.node(node, **{"taints": (TAINT,), "notes": marks(CHANGES), **more})

    def faulty(self, node: str = "f1-c-0000", **more: Any) -> Version:
        """A node with all that a device fault shows."""
        return self.marked(node, **{"conditions": (CONDITION,), "left": "7", **more})


def by_the_book() -> DrillStory:
    """Journal, touch, done; undo, done, over."""
    story = DrillStory()
    story.drill(entry(), phase="Running")
    story.marked()
    story.faulty()
    story.drill(entry("Applied"), phase="Running")
    story.marked()
    story.node()
    story.drill(entry("Restored"), phase="Completed")
    return story
