"""What kfarm keeps of Pods and Nodes: a few fields each, so that 10,000 of them stay small."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any

from kfarm_api.layout import (
    GATE,
    KUEUE_POD_SET,
    KUEUE_WORKLOAD,
    LABEL_CLUSTER,
    LABEL_FARM,
    LABEL_FARM_KIND,
    LABEL_HOSTNAME,
    LABEL_INDEX,
    LABEL_PLAN,
    LABEL_WORKLOAD,
    TAINT,
)
from kfarm_api.snapshot import digest

_BYTES = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15}
_NOT_READY_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_UNDECLARED = ("affinity", "topologySpreadConstraints", "resourceClaims", "overhead", "resources")
FAULT_CONDITIONS = (
    *(f"Gpu{part}Watch" for part in ("Mem", "Thermal", "Pcie", "Power", "Inforom", "Sm", "Nvlink")),
    *(f"Gpu{part}Watch" for part in ("Mcu", "Pmu", "Driver")),
    *("GpuMemoryError", "SysLogsXIDError", "SysLogsSXIDError", "SysLogsGPUFallenOff"),
    *("NVSwitchFatalError", "NVSwitchDown"),
)
"""Conditions that NVSentinel sets on a Node for faults that it calls fatal, while they last."""
_STANDARD_RESOURCES = ("cpu", "memory", "ephemeral-storage")

OUR_NODES: dict[str, Any] = {"labelSelector": LABEL_FARM}
PLANNED_PODS: dict[str, Any] = {"labelSelector": LABEL_PLAN}
FOREIGN_PODS: dict[str, Any] = {
    "labelSelector": f"!{LABEL_PLAN}",
    "fieldSelector": "spec.nodeName!=",
}
"""Queries for the nodes of farms, pods that name a plan, and other pods that hold a node."""


def quantity(text: object) -> Decimal:
    """Read any Kubernetes quantity exactly; NaN for what is none."""
    value = str(text)
    try:
        if value[-2:] in _BYTES:
            return Decimal(value[:-2]) * _BYTES[value[-2:]]
        if value[-1:] in _DECIMAL:
            return Decimal(value[:-1]).scaleb(_DECIMAL[value[-1]])
        return Decimal(value)
    except InvalidOperation:
        return Decimal("NaN")


@dataclass(frozen=True)
class Shape:
    """What decides where a pod may run; compared with what was validated.

    `devices`, `cpu` and `memory` are sums over containers of what they request. `oddities` names
    whatever else could move the pod or change what it needs.
    """

    devices: tuple[tuple[str, int], ...]
    cpu: Decimal
    memory: Decimal
    node_selector: tuple[tuple[str, str], ...]
    tolerations: tuple[tuple[str, str, str, str], ...]
    priority_class: str
    scheduler: str
    oddities: tuple[str, ...]


@dataclass(frozen=True)
class PodView:
    """A pod that names a plan.

    `started` is when the kubelet took it up, `deadline_s` how long it may be active then.
    `admitted_by` is the Kueue Workload that it belongs to and `pod_set` its part of it; empty
    where Kueue has no hand in it.
    """

    namespace: str
    name: str
    uid: str
    resource_version: str
    plan: str
    workload: str
    gated: bool
    other_gates: tuple[str, ...]
    pinned: str | None
    node: str | None
    terminal: bool
    deleting: bool
    order: tuple[int, str]
    shape: Shape
    started: str | None = None
    deadline_s: int | None = None
    admitted_by: str = ""
    pod_set: str = ""

    @property
    def live(self) -> bool:
        """Whether the pod occupies or wants a place."""
        return not self.terminal

    @property
    def released(self) -> bool:
        """Whether our gate is off."""
        return not self.gated

    @property
    def place(self) -> str | None:
        """The node where the pod runs or is pinned to."""
        return self.node or (self.pinned if self.released else None)


@dataclass(frozen=True)
class NodeView:
    """A node of a farm; `allocatable` counts extended resources only.

    `faults` are conditions by which somebody says that its accelerators are not sound.
    """

    name: str
    uid: str
    resource_version: str
    labels: dict[str, str]
    annotations: dict[str, str]
    ready: bool
    schedulable: bool
    taints: tuple[tuple[str, str, str], ...]
    allocatable: tuple[tuple[str, int], ...]
    deleting: bool
    faults: tuple[str, ...] = ()

    @property
    def farm(self) -> tuple[str, str]:
        """Kind and name of the farm it belongs to; empty when none."""
        return self.labels.get(LABEL_FARM_KIND, ""), self.labels.get(LABEL_FARM, "")

    @property
    def cluster(self) -> str:
        """Cluster within the farm."""
        return self.labels.get(LABEL_CLUSTER, "").removeprefix(f"{self.farm[1]}-")

    @property
    def index(self) -> int | None:
        """Index within the cluster, or None where the label is missing or odd."""
        text = self.labels.get(LABEL_INDEX, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else None

    def devices(self, resource: str) -> int:
        """How many devices of this name are allocatable."""
        return dict(self.allocatable).get(resource, 0)

    @cached_property
    def fingerprint(self) -> str:
        """Identity, place, taints and allocatable; not readiness, which flaps and is looked at."""
        place = {
            key: value
            for key, value in self.labels.items()
            if key.startswith("kfarm.dev/") or key == LABEL_HOSTNAME
        }
        content = [self.uid, sorted(self.taints), sorted(self.allocatable), place]
        return digest(content).removeprefix("sha256:")[:16]


@dataclass(frozen=True)
class RunView:
    """A TwinRun: which one it is, and which farms it names."""

    namespace: str
    name: str
    uid: str
    generation: int
    farms: tuple[tuple[str, str], ...]
    deleting: bool


def run_view(body: dict[str, Any]) -> RunView:
    """Keep of a TwinRun what tells an edit."""
    meta = body["metadata"]
    farms = (body.get("spec") or {}).get("farms") or ()
    return RunView(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        generation=meta.get("generation", 0),
        farms=tuple((farm.get("kind", ""), farm.get("name", "")) for farm in farms),
        deleting="deletionTimestamp" in meta,
    )


def pod_view(body: dict[str, Any]) -> PodView:
    """Keep of a pod what decides; see `PodView`."""
    meta, spec, status = body["metadata"], body["spec"], body.get("status") or {}
    labels = meta.get("labels") or {}
    index = labels.get("batch.kubernetes.io/job-completion-index", "")
    gates = [gate["name"] for gate in spec.get("schedulingGates") or ()]
    return PodView(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        resource_version=meta["resourceVersion"],
        plan=labels.get(LABEL_PLAN, ""),
        workload=labels.get(LABEL_WORKLOAD, ""),
        gated=GATE in gates,
        other_gates=tuple(gate for gate in gates if gate != GATE),
        pinned=(spec.get("nodeSelector") or {}).get(LABEL_HOSTNAME),
        node=spec.get("nodeName") or None,
        terminal=status.get("phase") in ("Succeeded", "Failed"),
        deleting="deletionTimestamp" in meta,
        order=(int(index) if index.isascii() and index.isdigit() else -1, meta["name"]),
        started=status.get("startTime"),
        deadline_s=spec.get("activeDeadlineSeconds"),
        shape=shape_of(spec),
        admitted_by=(meta.get("annotations") or {}).get(KUEUE_WORKLOAD, ""),
        pod_set=labels.get(KUEUE_POD_SET, ""),
    )


def _requests(container: dict[str, Any]) -> dict[str, Any]:
    resources = container.get("resources") or {}
    return {**(resources.get("limits") or {}), **(resources.get("requests") or {})}


def shape_of(spec: dict[str, Any]) -> Shape:
    """What a pod's spec, or that of a template, asks for; see `Shape`."""
    totals: dict[str, Decimal] = {}
    for container in spec.get("containers") or ():
        for name, amount in _requests(container).items():
            totals[name] = totals.get(name, Decimal(0)) + quantity(amount)
    selector = dict(spec.get("nodeSelector") or {})
    selector.pop(LABEL_HOSTNAME, None)
    return Shape(
        devices=tuple(
            sorted(
                (name, int(amount) if amount.is_finite() else -1)
                for name, amount in totals.items()
                if name not in _STANDARD_RESOURCES
            )
        ),
        cpu=totals.get("cpu", Decimal(0)),
        memory=totals.get("memory", Decimal(0)),
        node_selector=tuple(sorted(selector.items())),
        tolerations=tuple(sorted(tolerations_of(spec))),
        priority_class=spec.get("priorityClassName") or "",
        scheduler=spec.get("schedulerName") or "default-scheduler",
        oddities=tuple(_oddities(spec)),
    )


def tolerations_of(spec: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Tolerations beside those that Kubernetes and kfarm add."""
    return [
        (t.get("key", ""), t.get("operator") or "Equal", t.get("value", ""), t.get("effect", ""))
        for t in spec.get("tolerations") or ()
        if t.get("key") not in (TAINT, *_NOT_READY_TAINTS)
    ]


def _oddities(spec: dict[str, Any]) -> list[str]:
    """Fields that could move the pod or change its needs, and that no plan can declare."""
    found = [name for name in _UNDECLARED if spec.get(name)]
    for container in spec.get("initContainers") or ():
        if any(name not in _STANDARD_RESOURCES for name in _requests(container)):
            found.append(f"initContainers[{container.get('name')}].resources")
    for container in spec.get("containers") or ():
        if any(port.get("hostPort") for port in container.get("ports") or ()):
            found.append(f"containers[{container.get('name')}].ports.hostPort")
    return found


def node_view(body: dict[str, Any]) -> NodeView:
    """Keep of a node what decides; see `NodeView`."""
    meta, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    taints = spec.get("taints") or ()
    return NodeView(
        name=meta["name"],
        uid=meta["uid"],
        resource_version=meta["resourceVersion"],
        labels=meta.get("labels") or {},
        annotations={
            key: value for key, value in (meta.get("annotations") or {}).items() if "kfarm" in key
        },
        ready=any(
            c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ()
        )
        and not any(t["key"] in _NOT_READY_TAINTS for t in taints),
        schedulable=not spec.get("unschedulable")
        and not any(
            t["key"] not in (TAINT, *_NOT_READY_TAINTS)
            and t.get("effect") in ("NoSchedule", "NoExecute")
            for t in taints
        ),
        taints=tuple(
            (t["key"], t.get("value") or "", t.get("effect") or "")
            for t in taints
            if not t["key"].startswith("node.kubernetes.io/")
        ),
        allocatable=tuple(
            (name, int(quantity(amount)))
            for name, amount in (status.get("allocatable") or {}).items()
            if "/" in name and quantity(amount).is_finite()
        ),
        deleting="deletionTimestamp" in meta,
        faults=tuple(
            c["type"]
            for c in status.get("conditions") or ()
            if c["type"] in FAULT_CONDITIONS and c["status"] == "True"
        ),
    )
