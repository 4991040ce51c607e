"""Faults that a placement must survive: each instance is failed with all workloads running."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from kfarm_api.plan import SurvivalResult
from kfarm_api.policy import Fault, FaultLimits
from kfarm_api.units import parse_duration_ns

from kfarm_twin.arrays import Ints
from kfarm_twin.compile import Model
from kfarm_twin.cooling import CoolingRow
from kfarm_twin.cooling_faults import COOLING
from kfarm_twin.policy.gangs import NONE, filter_nodes, place_gang
from kfarm_twin.steady import Steady, running_nodes, steady
from kfarm_twin.survive_cooling import CoolingInjector, CoolingVerdict, certain
from kfarm_twin.survive_power import PowerLoss, feed_losses, pdu_losses

NS_PER_S = 1e9
SHUTDOWN = "shutdown"
NO_ROOM = "no room"
SLOW = "slow"
THROTTLED = "throttled"

_REMEDY = {
    "Node": "keep more spares in the domain that the gang requires",
    "RackPower": "keep a rack's worth of nodes free in the domain that the gang requires",
    "Pdu": "give the racks a second feed, or what is left room for all: fewer nodes on it, larger "
    "limits or power supplies, a lower acceleratorPowerLimit",
    "CduPump": "give the CDU a redundant pump",
    "Cdu": "give faultLimits.lasts if it is back sooner, place the plan elsewhere or leave Cdu out",
    "LeafSwitch": "keep a scalable unit's worth of nodes free in the domain that the gang requires",
    "Chiller": "add a chiller, or place less on the farm",
    "Crah": "give the room a redundant air handler, or place less there",
    "Plant": "give faultLimits.lasts if it is back sooner, or the water a buffer tank "
    "(plant.details.thermalMass)",
    "Feed": "give racks and chillers a second feed with room for all, a lower "
    "acceleratorPowerLimit, or the water a buffer tank",
}


@dataclass(frozen=True)
class Instance:
    """One domain that is failed.

    Attributes
    ----------
    nodes
        Nodes that go down with it.
    shutdown
        Whether going down is itself a shutdown that the fault must not cause.
    why
        Why its nodes go down, where that is not plain.
    """

    label: str
    nodes: Ints
    shutdown: bool
    touches: bool
    why: str = ""


@dataclass(frozen=True)
class InstanceResult:
    """What came of one instance; the row of the report.

    Attributes
    ----------
    plain
        Whether nodes go down because nothing is there in place of what was lost.
    cooling
        How hot it got and when, for faults of the cooling.
    """

    fault: Fault
    instance: str
    nodes: int
    pods: int
    throttled_share: float
    restart_s: float
    survived: bool
    cause: str
    text: str
    plain: bool = False
    cooling: CoolingRow | None = None

    @property
    def certain(self) -> bool:
        """Whether it is not survived whatever the inputs: a matter of what stands where."""
        if self.cooling is not None:
            return self.cause == SHUTDOWN and certain(self.cooling)
        return self.cause == NO_ROOM or (
            self.cause == SHUTDOWN and self.plain and self.fault in ("Pdu", "Feed")
        )

    @property
    def severity(self) -> tuple[float, ...]:
        """Sorts the worst last."""
        heat = self.cooling
        if heat is None:
            return (float(self.pods), self.throttled_share)
        sooner = (
            -math.inf if time is None else -time for time in (heat.shutdown_s, heat.throttle_s)
        )
        return (float(self.pods), *sooner, self.throttled_share, -heat.headroom_k)


def _members(column: Ints, labels: tuple[str, ...]) -> Iterator[tuple[str, Ints]]:
    for index, label in enumerate(labels):
        yield label, np.flatnonzero(column == index)


class _Injector:
    def __init__(self, model: Model, slot_node: Ints, limits: FaultLimits) -> None:
        self.model = model
        self.slot_node = slot_node
        self.limits = limits
        self._cooling: CoolingInjector | None = None
        self.limit_ns = parse_duration_ns(limits.restart)
        self.limit_text = limits.restart
        self.throttled_limit = limits.throttled / 100.0
        self.up = running_nodes(model)
        self.calm = steady(model, slot_node, self.up)
        self.hosts = np.zeros(model.nodes, bool)
        self.hosts[slot_node] = True
        columns = model.columns
        self.free = columns.nodes.free.copy()
        np.subtract.at(self.free, slot_node, columns.workloads.need[model.slot_workload])
        self.scratch = np.zeros((3, int(columns.domains.max())), np.int64)

    def instances(self, fault: Fault) -> list[Instance]:
        """All domains of a kind of fault."""
        model, trees = self.model, self.model.trees
        found: dict[Fault, Callable[[], list[Instance]]] = {
            "Node": lambda: self._lost(enumerate_nodes(model)),
            "RackPower": lambda: self._lost(_members(trees.node_rack, model.names.racks)),
            "LeafSwitch": lambda: self._lost(self._leaves()),
            "Pdu": lambda: self._powerless(pdu_losses(model, self.calm, self.up)),
            "Feed": lambda: self._powerless(feed_losses(model, self.calm, self.up)),
        }
        return found[fault]()

    def _leaves(self) -> Iterator[tuple[str, Ints]]:
        fabric = np.array([ref.cluster.fabric is not None for ref in self.model.clusters])
        for label, nodes in _members(self.model.trees.node_unit, self.model.names.units):
            if fabric[self.model.columns.nodes.cluster[nodes[0]]]:
                yield label, nodes

    def _lost(self, domains: Iterator[tuple[str, Ints]]) -> list[Instance]:
        return [
            Instance(label, nodes, False, bool(self.hosts[nodes].any())) for label, nodes in domains
        ]

    def _powerless(self, losses: Iterator[PowerLoss]) -> list[Instance]:
        return [
            Instance(one.label, one.dark, True, bool(self.hosts[one.nodes].any()), one.why)
            for one in losses
        ]

    def _replace(self, workload: int, slots: Ints, slot_node: Ints, up: Ints, free: Ints) -> bool:
        """Find nodes for the missing members of a unit; all or none."""
        farm, nodes = self.model.columns, self.model.columns.nodes
        required = farm.workloads.required[workload]
        preferred = farm.workloads.preferred[workload]
        staying = slot_node[slots]
        missing, staying = slots[staying < 0], staying[staying >= 0]
        self.scratch[2] = 0
        self.scratch[2][nodes.domain[preferred][staying]] = 1
        fixed = int(nodes.domain[required][staying[0]]) if len(staying) else NONE
        usable, out = up * self.model.ready, np.zeros(len(missing), np.int64)
        rooms = np.zeros(self.model.nodes, np.int64)
        for rank in range(int(farm.loads.rank[workload].max()) + 1):
            ranks = np.ascontiguousarray(farm.loads.rank[workload][nodes.cluster])
            need = farm.workloads.need[workload]
            filter_nodes(usable, nodes.spare, ranks, rank, True, free, need, rooms)
            if place_gang(
                rooms,
                nodes.spare,
                nodes.domain[required],
                farm.domains[required],
                nodes.domain[preferred],
                farm.domains[preferred],
                fixed,
                self.scratch,
                out,
            ):
                slot_node[missing] = out
                np.subtract.at(free, out, need)
                return True
        return False

    def _recover(self, lost: Ints) -> tuple[Ints, Ints, list[str], int]:
        """Slots after replacement, nodes up, gangs without room, longest restart [ns]."""
        model, farm = self.model, self.model.columns
        up, free, slot_node = self.up.copy(), self.free.copy(), self.slot_node.copy()
        up[lost] = 0
        hit = np.isin(slot_node, lost)
        homes = slot_node[hit]
        slot_node[hit] = NONE
        stranded, longest = [], 0
        detection = farm.clusters.detection_ns[farm.nodes.cluster[homes]].max(initial=0)
        for unit in np.unique(farm.units.slot_unit[hit]):
            first = farm.units.first_slot[unit]
            slots = np.arange(first, first + farm.units.slots[unit])
            workload = int(farm.units.workload[unit])
            placed = self._replace(workload, slots, slot_node, up, free)
            if farm.workloads.gang[workload] == 0:
                continue
            if not placed:
                stranded.append(model.workloads[workload].name)
            longest = max(longest, int(detection + farm.workloads.restart_ns[workload]))
        return slot_node, up, stranded, longest

    def inject(self, fault: Fault, instance: Instance) -> InstanceResult:
        """Fail one instance and see what comes of it."""
        lost = instance.nodes
        if not instance.touches:
            text = "no pod of the plan stands there"
            return InstanceResult(fault, instance.label, len(lost), 0, 0.0, 0.0, True, "", text)
        slot_node, up, stranded, longest = self._recover(lost)
        after = steady(self.model, slot_node, up) if len(lost) else self.calm
        share = _throttled_share(after)
        pods = int(np.isin(self.slot_node, lost).sum())
        cause, text = self._judge(instance, stranded, longest, share, after)
        seconds = longest / NS_PER_S
        return InstanceResult(
            fault, instance.label, len(lost), pods, share, seconds, cause == "", cause, text,
            len(lost) > 0 and not instance.why,
        )  # fmt: skip

    def cool(self, fault: Fault) -> list[InstanceResult]:
        """Play all instances of a fault of the cooling."""
        if self._cooling is None:
            self._cooling = CoolingInjector(self.model, self.slot_node, self.up, self.limits)
        return [self._cooled(fault, one) for one in self._cooling.verdicts(fault)]

    def _cooled(self, fault: Fault, one: CoolingVerdict) -> InstanceResult:
        share, cause, text = one.row.throttled, "", one.text
        if not one.touches:
            share, text = 0.0, "no pod of the plan stands there"
        elif one.lost:
            cause = SHUTDOWN
        elif share > self.throttled_limit:
            cause = THROTTLED
            text += f", more than faultLimits.throttled {100 * self.throttled_limit:g} %"
        lost, ok = one.lost if one.touches else 0, cause == ""
        return InstanceResult(
            fault, one.label, lost, one.pods, share, 0.0, ok, cause, text, cooling=one.row
        )

    def _judge(
        self, instance: Instance, stranded: list[str], longest: int, share: float, after: Steady
    ) -> tuple[str, str]:
        lost = len(instance.nodes)
        if instance.shutdown and lost:
            why = f": {instance.why}" if instance.why else ""
            return SHUTDOWN, f"{_nodes(lost)} shut down{why}"
        beyond = self._overheated(after)
        if beyond:
            return SHUTDOWN, f"{beyond} nodes beyond it shut down: they get too hot"
        if stranded:
            return NO_ROOM, (
                f"{', '.join(stranded)} finds no replacement for what stood on {_nodes(lost)} lost "
                "within its required domain"
            )
        if longest > self.limit_ns:
            return SLOW, (
                f"restart takes {longest / NS_PER_S:g} s, more than faultLimits.restart "
                f"{self.limit_text}"
            )
        if share > self.throttled_limit:
            return THROTTLED, (
                f"{100 * share:.3g} % of accelerators at work throttle, more than "
                f"faultLimits.throttled {100 * self.throttled_limit:g} %"
            )
        return "", f"{_nodes(lost)} lost, back after {longest / NS_PER_S:g} s"

    def _overheated(self, after: Steady) -> int:
        return int(after.overheats.sum())


def enumerate_nodes(model: Model) -> Iterator[tuple[str, Ints]]:
    """Every node as a domain of its own."""
    for index, name in enumerate(model.names.nodes):
        yield name, np.array([index])


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def _throttled_share(state: Steady) -> float:
    busy = int(state.busy.sum())
    return int(state.throttled.sum()) / busy if busy else 0.0


def _summary(fault: Fault, rows: list[InstanceResult]) -> SurvivalResult:
    survived = sum(row.survived for row in rows)
    failed = [row for row in rows if not row.survived]
    worst = max(failed or rows, key=lambda row: row.severity, default=None)
    if not rows:
        message = f"the farms describe nothing that {fault} could fail"
    elif failed and worst is not None:
        message = (
            f"{survived} of {len(rows)} survived. Losing {worst.instance} is not survived: "
            f"{worst.text}. "
            f"Remedy: {_remedy(fault, worst)}."
        )
    else:
        message = f"all {len(rows)} survived"
        if worst is not None and (worst.pods or worst.cooling is not None):
            message += f"; the worst, {worst.instance}: {worst.text}"
    return SurvivalResult(
        fault=fault,
        instances=len(rows),
        survived=survived,
        result="Failed" if failed else "Passed",
        worst=worst.instance if worst else None,
        message=message[:1024],
    )


def _remedy(fault: Fault, row: InstanceResult) -> str:
    if row.cause == SLOW:
        return "shorten checkpoint.restart or reliability.detection, or raise faultLimits.restart"
    if row.cause == THROTTLED:
        return "spread the plan over more loops, raise cduCapacity or faultLimits.throttled"
    return _REMEDY[fault]


def survive(
    model: Model, slot_node: Ints, faults: list[Fault], limits: FaultLimits
) -> tuple[list[SurvivalResult], list[InstanceResult]]:
    """Fail every instance of each fault; a summary per fault and a row per instance."""
    injector = _Injector(model, slot_node, limits)
    summaries, rows = [], []
    for fault in faults:
        mine = injector.cool(fault) if fault in COOLING else []
        if fault not in COOLING or fault == "Feed":  # a feed is both: power and the chillers on it
            mine += [injector.inject(fault, instance) for instance in injector.instances(fault)]
        summaries.append(_summary(fault, mine))
        rows += mine
    return summaries, rows
