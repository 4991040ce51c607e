"""Where the pods of a drill's plans stand, and where they go: the placement that the gate uses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from kfarm_api.base import Reference
from kfarm_api.farm import GPUFarm, NPUFarm
from kfarm_api.plan import PlacementPlan, Workload, WorkloadTopology

from kfarm_twin.arrays import ACCELERATORS, Ints
from kfarm_twin.compile import Model, compile_farm
from kfarm_twin.drill_request import DrillPod, DrillRequest
from kfarm_twin.place import Shortfall, place
from kfarm_twin.request import InputError


@dataclass
class PlanFloor:
    """One plan: its model, and the node of each of its slots; -1 for none.

    Attributes
    ----------
    pods
        What is known of the pod of each slot; None where the twin made it up.
    kueue
        Whether Kueue admits and places its pods.
    """

    plan: PlacementPlan
    model: Model
    slot_node: Ints
    pods: list[DrillPod | None]
    kueue: bool = False

    @property
    def name(self) -> str:
        """Name of the plan."""
        return self.plan.metadata.name

    def workload(self, slot: int) -> Workload:
        """What a slot is of."""
        return self.model.workloads[int(self.model.slot_workload[slot])]

    def slot_name(self, slot: int) -> str:
        """``PLAN/WORKLOAD-INDEX``, for people and streams."""
        return f"{self.name}/{self.workload(slot).name}-{int(self.model.slot_index[slot])}"

    def admitted_as(self, slot: int) -> str:
        """``PLAN/WORKLOAD`` with which Kueue admits the pod of a slot; empty where it does not."""
        pod = self.pods[slot]
        if not self.kueue or (pod and not pod.kueue):
            return ""
        return f"{self.name}/{pod.kueue if pod else self.workload(slot).name}"

    def accelerators(self, slot: int) -> int:
        """Accelerators of the pod of a slot."""
        return self.workload(slot).accelerators_per_pod


class Floor:
    """All plans of a drill on its farm."""

    def __init__(self, request: DrillRequest) -> None:
        self.request = request
        self.warnings: list[str] = []
        self.plans: list[PlanFloor] = []
        for plan in request.plans:
            self._add(plan)

    def _add(self, plan: PlacementPlan) -> None:
        request = self.request
        farm = request.farm
        if not any((r.kind, r.name) == (farm.kind, farm.metadata.name) for r in plan.spec.farms):
            self.warnings.append(f"plan {plan.metadata.name} is not for farm {farm.metadata.name}")
            return
        own = _on(plan, farm)
        mine = [pod for pod in request.pods if pod.plan == plan.metadata.name]
        kueue = any(pod.kueue for pod in mine)
        kueue |= not request.pods and plan.spec.placement == "Kueue"
        if kueue:
            own = _as_admitted(own, mine)
        snapshot = request.snapshot.model_copy(update={"survivors": []})
        model = compile_farm([farm], request.profiles, own, snapshot)
        if kueue:
            model = _without_spares(model)
        slots = len(model.slot_workload)
        found = PlanFloor(plan, model, np.full(slots, -1, np.int64), [None] * slots, kueue)
        if mine or (request.pods and found.name not in request.coming):
            self._seat(found, mine)
        elif not self._from_status(found):
            self._make_up(found)
        self.plans.append(found)

    def _seat(self, floor: PlanFloor, pods: Sequence[DrillPod]) -> None:
        """Running pods take the slots of their workload in the order of their names."""
        rows = {name: row for row, name in enumerate(floor.model.names.nodes)}
        taken: dict[str, int] = {}
        apart = {floor.workload(slot).name for slot in range(len(floor.slot_node))}
        for pod in sorted(pods, key=lambda one: (one.workload, one.name)):
            workload = _alone(pod) if _alone(pod) in apart else pod.workload
            place_of = taken.get(workload, 0)
            taken[workload] = place_of + 1
            slots = [
                slot
                for slot in range(len(floor.slot_node))
                if floor.workload(slot).name == workload
            ]
            if pod.node not in rows:
                raise InputError(
                    f"pod {pod.name}", f"node {pod.node!r}", "a node of the drill's farm"
                )
            if place_of < len(slots):
                floor.slot_node[slots[place_of]] = rows[pod.node]
                floor.pods[slots[place_of]] = pod

    def _from_status(self, floor: PlanFloor) -> bool:
        """Take the places that the plan's status names; False where it names none of them."""
        status = floor.plan.status
        placements = {p.workload: p.slots for p in (status.placements if status else ())}
        rows = {name: row for row, name in enumerate(floor.model.names.nodes)}
        known = False
        for slot in range(len(floor.slot_node)):
            slots = placements.get(floor.workload(slot).name, [])
            index = int(floor.model.slot_index[slot])
            if index < len(slots) and slots[index].node in rows:
                floor.slot_node[slot] = rows[slots[index].node]
                known = True
        return known

    def _make_up(self, floor: PlanFloor) -> None:
        """Place the plan as the gate would, beside the plans before it."""
        placed = place(self._model(floor, ()))
        if isinstance(placed, Shortfall):
            self.warnings.append(f"plan {floor.name} has no place: {placed.message}")
            return
        floor.slot_node = placed.copy()
        self.warnings.append(
            f"plan {floor.name}: its pods are taken to stand where the twin puts them"
        )

    def _model(self, floor: PlanFloor, out: Iterable[str]) -> Model:
        """The plan's model with nodes out, its slots fixed, and other plans' pods in the way."""
        model = floor.model
        free = model.columns.nodes.free.copy()
        for other in self.plans:
            if other is not floor:
                placed = other.slot_node >= 0
                need = other.model.columns.workloads.need[other.model.slot_workload[placed]]
                np.subtract.at(free, other.slot_node[placed], need)
        ready = model.ready.copy()
        lost = set(out)
        for row, name in enumerate(model.names.nodes):
            if name in lost:
                ready[row] = 0
        columns = model.columns._replace(
            nodes=model.columns.nodes._replace(free=np.maximum(free, 0))
        )
        return replace(model, columns=columns, ready=ready, fixed=floor.slot_node)

    def on(self, nodes: Iterable[str]) -> list[tuple[PlanFloor, int]]:
        """Slots of all plans that stand on some nodes."""
        wanted = set(nodes)
        found = []
        for floor in self.plans:
            rows = [row for row, name in enumerate(floor.model.names.nodes) if name in wanted]
            slots = np.flatnonzero(np.isin(floor.slot_node, rows))
            found += [(floor, int(slot)) for slot in slots]
        return found

    def move(self, floor: PlanFloor, slots: Sequence[int], out: Iterable[str]) -> str | None:
        """Find new nodes for slots of a plan; why there is no room, or None when all found one.

        Without room they stay where they are: that is where they come back.
        """
        before = floor.slot_node.copy()
        floor.slot_node[list(slots)] = -1
        placed = place(self._model(floor, out))
        if isinstance(placed, Shortfall):
            floor.slot_node = before
            return placed.message
        floor.slot_node = placed.copy()
        return None

    def node_accelerators(self) -> Ints:
        """Accelerators that plans hold on each node of the farm's first model."""
        model = self.plans[0].model
        held = np.zeros(model.nodes, np.int64)
        for floor in self.plans:
            placed = floor.slot_node >= 0
            need = floor.model.columns.workloads.need[floor.model.slot_workload[placed]]
            np.add.at(held, floor.slot_node[placed], need[:, ACCELERATORS])
        return held


def _as_admitted(plan: PlacementPlan, pods: Sequence[DrillPod]) -> PlacementPlan:
    """The plan as Kueue places it: each of its Workloads by itself, with as many pods as it has.

    All pods of a Workload stay in one domain of its level, whatever the plan asks for.
    """
    found: dict[str, dict[str, list[DrillPod]]] = {}
    for pod in pods:
        found.setdefault(pod.workload, {}).setdefault(_alone(pod), []).append(pod)
    workloads = []
    for workload in plan.spec.workloads:
        groups = found.get(workload.name, {})
        if not pods:
            workloads.append(workload.model_copy(update={"topology": None}))
        for name, members in groups.items():
            label = workload.name if len(groups) == 1 else name
            workloads.append(_sized(workload, label, members))
    spec = plan.spec.model_copy(update={"workloads": workloads})
    return plan.model_copy(update={"spec": spec})


def _sized(workload: Workload, name: str, members: Sequence[DrillPod]) -> Workload:
    level, count = members[0].within, len(members)
    topology = WorkloadTopology.model_validate({"required": level}) if level else None
    elastic = workload.elastic
    if elastic is not None and elastic.min_pods >= count:
        elastic = None
    return workload.model_copy(
        update={"name": name, "pods": count, "surge": 0, "topology": topology, "elastic": elastic}
    )


def _alone(pod: DrillPod) -> str:
    """Tells apart the Workloads of Kueue that are of one workload of a plan."""
    return f"{pod.workload}/{pod.kueue}" if pod.kueue else pod.workload


def _without_spares(model: Model) -> Model:
    """Kueue knows of no spares: they are held back in its quotas, not among its nodes."""
    nodes = model.columns.nodes
    plain = nodes._replace(spare=np.zeros_like(nodes.spare))
    return replace(model, columns=model.columns._replace(nodes=plain))


def _on(plan: PlacementPlan, farm: GPUFarm | NPUFarm) -> PlacementPlan:
    """The plan on this farm alone: a drill looks at one."""
    only = [Reference(kind=farm.kind, name=farm.metadata.name)]
    return plan.model_copy(update={"spec": plan.spec.model_copy(update={"farms": only})})
