"""What drills keep of Nodes, Pods and their own objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from kfarm_api.drill_marks import (
    ANNOTATION_DRILL,
    CONSENT,
    LABEL_CONSENT,
    PREFIX,
    TAINT_DRILL,
    TAINT_OUT_OF_SERVICE,
)
from kfarm_api.drill_signs import SIGNS
from kfarm_api.layout import (
    GATE,
    LABEL_CLUSTER,
    LABEL_FARM,
    LABEL_FARM_KIND,
    LABEL_KWOK,
    LABEL_PLAN,
    LABEL_WORKLOAD,
)

from kfarm_operator.views import FAULT_CONDITIONS, quantity, shape_of

JSON = dict[str, Any]
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
_NOT_READY_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_DAEMONS = ("DaemonSet", "Node")
DEFAULT_TOLERATION_S = 300


@dataclass(frozen=True)
class DrillNode:
    """A node of a farm as drills see it.

    Attributes
    ----------
    ready
        Status of the condition Ready, ``Unknown`` where there is none.
    drill
        The drill that has marked it, as ``NAMESPACE/NAME/UID``; empty for none.
    faults
        Conditions by which somebody says that its accelerators are not sound, drills included.
    kwok
        Whether KWOK plays it.
    marked
        Whether it carries the taint of a drill.
    devices
        Allocatable extended resources.
    """

    name: str
    uid: str
    labels: Mapping[str, str]
    ready: str
    cordoned: bool
    drill: str
    faults: tuple[str, ...]
    kwok: bool
    marked: bool = False
    devices: tuple[tuple[str, int], ...] = ()

    @property
    def farm(self) -> tuple[str, str]:
        """Kind and name of its farm."""
        return self.labels.get(LABEL_FARM_KIND, ""), self.labels.get(LABEL_FARM, "")

    @property
    def cluster(self) -> str:
        """Label of its farm cluster."""
        return self.labels.get(LABEL_CLUSTER, "")

    @property
    def consents(self) -> bool:
        """Whether drills may touch it."""
        return self.labels.get(LABEL_CONSENT) == CONSENT and CONTROL_PLANE not in self.labels

    @property
    def healthy(self) -> bool:
        """Whether it is up, open for pods, without fault and under no drill."""
        return self.ready == "True" and not (self.cordoned or self.drill or self.faults)


@dataclass(frozen=True)
class DrillPod:
    """A pod as drills see it.

    Attributes
    ----------
    toleration_s
        How long it stays on a node that does not answer; None: for ever.
    daemon
        Whether it belongs to the node and is never evicted.
    owner
        ``KIND/NAME`` of its controller.
    gated
        Whether it waits for the twin's verdict.
    """

    namespace: str
    name: str
    uid: str
    plan: str
    workload: str
    node: str
    phase: str
    deleting: bool
    devices: int
    toleration_s: int | None
    daemon: bool
    owner: str
    gated: bool = False

    @property
    def of(self) -> str:
        """``PLAN/WORKLOAD``."""
        return f"{self.plan}/{self.workload}"

    @property
    def running(self) -> bool:
        """Whether it runs and is to stay."""
        return self.phase == "Running" and not self.deleting

    @property
    def terminal(self) -> bool:
        """Whether it has ended by itself."""
        return self.phase in ("Succeeded", "Failed")


@dataclass(frozen=True)
class DrillView:
    """A FailureDrill: which one it is, what it looks at, and whether it is at work."""

    namespace: str
    name: str
    uid: str
    version: str
    farm: tuple[str, str]
    plans: frozenset[str]
    phase: str
    until: str
    open_entries: int
    verdict: str
    parent: str
    deleting: bool = False


@dataclass(frozen=True)
class Lock:
    """The Lease by which a drill holds a farm's cluster; `stale`: nobody needs it any more."""

    name: str
    uid: str
    resource_version: str
    drill: str
    stale: bool


SightingKind = Literal[
    "NodeDown", "NodeUp", "NodeMarked", "Deleting", "Gone", "Bound", "Running",
    "Requeued", "Readmitted",
]  # fmt: skip


@dataclass(frozen=True)
class Sighting:
    """Something that a watch brought: what, when, and on which node.

    Attributes
    ----------
    of
        PLAN/WORKLOAD of a pod.
    before, hosts
        Of a Workload: the hosts that it was and is admitted to.
    note
        What its author says of it.
    """

    number: int
    at: datetime
    kind: SightingKind
    name: str
    node: str = ""
    of: str = ""
    before: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    note: str = ""


def drill_node(body: JSON) -> DrillNode:
    """Keep of a node what drills look at."""
    meta, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    labels, marks = meta.get("labels") or {}, meta.get("annotations") or {}
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    known = {*FAULT_CONDITIONS, *SIGNS}
    return DrillNode(
        name=meta["name"],
        uid=meta["uid"],
        labels=labels,
        ready=conditions.get("Ready", "Unknown"),
        cordoned=bool(spec.get("unschedulable")) or _closed(spec.get("taints") or ()),
        drill=marks.get(ANNOTATION_DRILL, ""),
        faults=tuple(
            sorted(
                kind
                for kind, value in conditions.items()
                if value == "True" and (kind in known or kind.startswith(PREFIX))
            )
        ),
        kwok=LABEL_KWOK in marks,
        marked=any(t["key"] == TAINT_DRILL for t in spec.get("taints") or ()),
        devices=tuple(
            (name, int(amount))
            for name, text in (status.get("allocatable") or {}).items()
            if "/" in name and (amount := quantity(text)).is_finite()
        ),
    )


def _closed(taints: Any) -> bool:
    """Whether a taint says that the node is out of use; a farm's own keeps others away only."""
    return any(t["key"] in (TAINT_DRILL, TAINT_OUT_OF_SERVICE, *_NOT_READY_TAINTS) for t in taints)


def drill_pod(body: JSON) -> DrillPod:
    """Keep of a pod what drills look at."""
    meta, spec, status = body["metadata"], body["spec"], body.get("status") or {}
    labels = meta.get("labels") or {}
    owners = [o for o in meta.get("ownerReferences") or () if o.get("controller")]
    owner = owners[0] if owners else {}
    return DrillPod(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        plan=labels.get(LABEL_PLAN, ""),
        workload=labels.get(LABEL_WORKLOAD, ""),
        node=spec.get("nodeName") or "",
        phase=status.get("phase", "Pending"),
        deleting="deletionTimestamp" in meta,
        devices=sum(max(0, count) for _, count in shape_of(spec).devices),
        toleration_s=_toleration(spec),
        daemon=owner.get("kind") in _DAEMONS,
        owner=f"{owner['kind']}/{owner['name']}" if owner else "",
        gated=any(gate.get("name") == GATE for gate in spec.get("schedulingGates") or ()),
    )


def _toleration(spec: JSON) -> int | None:
    """Seconds that a pod tolerates an unreachable node; 0 when it does not at all."""
    found: list[int] = []
    for item in spec.get("tolerations") or ():
        key, effect = item.get("key", ""), item.get("effect", "")
        if key in ("", "node.kubernetes.io/unreachable") and effect in ("", "NoExecute"):
            seconds = item.get("tolerationSeconds")
            if seconds is None:
                return None
            found.append(max(0, int(seconds)))
    return min(found, default=0)


def drill_view(body: JSON) -> DrillView:
    """Keep of a FailureDrill what tells when to look at it."""
    meta, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    farm = spec.get("farm") or {}
    owners = [o for o in meta.get("ownerReferences") or () if o.get("kind") == "FailureDrill"]
    return DrillView(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        version=meta["resourceVersion"],
        farm=(farm.get("kind", ""), farm.get("name", "")),
        plans=frozenset(spec.get("plans") or ()),
        phase=status.get("phase", ""),
        until=status.get("until") or "",
        open_entries=sum(
            entry.get("state") in ("Planned", "Applied") for entry in status.get("journal") or ()
        ),
        verdict=status.get("verdict") or "",
        parent=owners[0].get("uid", "") if owners else "",
        deleting="deletionTimestamp" in meta,
    )
