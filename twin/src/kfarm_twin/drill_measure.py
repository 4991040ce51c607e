"""What is counted in a drill: seconds, pods, nodes, hours lost, heat and repairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from kfarm_api.drill import RUNNER_ONLY, TWIN_ONLY, DrillFault
from kfarm_api.drill_status import FaultTargets
from kfarm_api.units import parse_duration_ns

from kfarm_twin.arrays import Floats
from kfarm_twin.compile import cluster_refs
from kfarm_twin.drill_away import Absence, Arrival
from kfarm_twin.drill_cluster import NodeTimes
from kfarm_twin.drill_delays import Draws
from kfarm_twin.drill_floor import Floor
from kfarm_twin.drill_heat import HeatOutcome
from kfarm_twin.drill_metrics import (
    SHARES,
    Spell,
    all_back,
    covered,
    largest,
    latest,
    most_at_once,
)
from kfarm_twin.drill_out import Out, Turn, leaves
from kfarm_twin.drill_repairs import BREAKING, Broken, crews_left, mean_repair_s, mend
from kfarm_twin.drill_request import DrillRequest, PredictedMoment
from kfarm_twin.outcomes import order_statistics

NS = 1e9
SECONDS_PER_HOUR = 3600.0


@dataclass
class Found:
    """Metrics [F], NaN where a future has none, and moments."""

    metrics: dict[str, Floats] = field(default_factory=dict)
    moments: list[PredictedMoment] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def keep(self, name: str, values: Floats | None) -> None:
        """Add a metric, if there is one."""
        if values is not None:
            self.metrics[name] = values


@dataclass(frozen=True)
class Played:
    """The futures of a drill: times of its nodes, pods that are out, heat.

    Attributes
    ----------
    away, arrivals
        What the runner does, and plans that are rolled out meanwhile.
    nodes_missed
        Whether nodes may be missed although nothing is wrong with them.
    """

    request: DrillRequest
    targets: Mapping[str, FaultTargets]
    draws: Draws
    floor: Floor
    times: list[NodeTimes]
    out: list[Out]
    heats: Sequence[Mapping[str, HeatOutcome]]
    away: Sequence[Absence] = ()
    arrivals: Sequence[Arrival] = ()
    nodes_missed: bool = False
    turns: Sequence[Turn] = ()

    @property
    def end(self) -> float:
        """When the drill has ended at the latest [s]."""
        spec = self.request.drill.spec
        last = max(
            seconds(one.at) + seconds(one.duration) * self.rounds(one) for one in spec.faults
        )
        return min(last + seconds(spec.observe), seconds(spec.limits.time_to_live))

    def rounds(self, fault: DrillFault) -> int:
        """How many times its duration a fault takes: groups of nodes that are drained in turn."""
        target = self.targets.get(fault.name)
        if fault.action != "Drain" or target is None:
            return 1
        return max(-(-len(target.nodes) // (fault.at_once or 1)), 1)


def measure(played: Played) -> Found:
    """All metrics and moments of a drill."""
    found = Found()
    one = _Measure(played)
    one.seconds(found)
    one.counts(found)
    one.heat_metrics(found)
    one.repairs(found)
    return found


class _Measure:
    def __init__(self, played: Played) -> None:
        self.played = played
        self.request, self.spec = played.request, played.request.drill.spec
        self.targets, self.draws = played.targets, played.draws
        self.floor = played.floor

    def seconds(self, found: Found) -> None:
        """Times from each fault's beginning to the last of what it does; the largest counts."""
        parts: dict[str, list[Floats]] = {}
        times, out = self.played.times, self.played.out
        for fault in self.spec.faults:
            since = seconds(fault.at)
            nodes = [one for one in times if one.wave.fault == fault.name]
            mine = [one for one in out if one.node.wave.fault == fault.name]
            gone = [one.departure for one in mine if leaves(one.departure)]
            turns = [one for one in self.played.turns if one.fault == fault.name]
            if fault.action not in RUNNER_ONLY:
                self._moment(found, "Injected", fault, np.full(self.draws.futures, since))
            rows = (
                ("seconds_to_detect", "Detected", latest([one.missed for one in nodes], since)),
                ("seconds_to_evict", "Evicted", latest([one.evicted for one in gone], since)),
                ("seconds_to_requeue", "Requeued", _last([one.requeued for one in turns], since)),
                (
                    "seconds_to_readmit",
                    "Readmitted",
                    _last([one.readmitted for one in turns], since),
                ),
                ("", "Gone", latest([one.gone for one in gone], since)),
                ("seconds_to_replace", "Replaced", latest([one.replaced for one in gone], since)),
                ("", "Running", latest([one.running for one in gone], since)),
                ("seconds_to_recover", "Recovered", self._recovered(fault, mine, since)),
            )
            for name, event, values in rows:
                if values is None:
                    continue
                self._moment(found, event, fault, values + since)
                if name:
                    parts.setdefault(name, []).append(values)
            if fault.action not in RUNNER_ONLY and fault.action != "RepairCrewShortage":
                over = since + seconds(fault.duration) * self.played.rounds(fault)
                self._moment(found, "FaultEnded", fault, np.full(self.draws.futures, over))
        for name, values_of in parts.items():
            found.keep(name, largest(values_of))

    def _recovered(self, fault: DrillFault, out: list[Out], since: float) -> Floats | None:
        """Until successors run, or the node of those that stayed is Ready again.

        After a fault of the runner: until API server and operator are at work and all pods run.
        """
        ends = [end for one in out for end in (self._pod_end(one),) if end is not None]
        if fault.action in RUNNER_ONLY and self.floor.plans:
            (back,) = (one.back for one in self.played.away if one.fault.name == fault.name)
            ends = [back, *(one.running for one in self.played.arrivals)]
            ends += [
                np.where(spell.start < back, spell.end, -np.inf)
                for spell in self._pod_spells(self.played.out, seen=False)
            ]
        return all_back(ends, since, self.played.end)

    @staticmethod
    def _pod_end(one: Out) -> Floats | None:
        """When a pod runs where nothing is wrong: its successor, or it when the fault has ended."""
        left = np.isfinite(one.departure.evicted)
        if one.node.wave.harmless and not left.any():
            return None
        return np.where(left, one.departure.running, one.node.up)

    def _moment(self, found: Found, event: str, fault: DrillFault, values: Floats) -> None:
        there = values[np.isfinite(values)]
        if len(there) * 2 < len(values) or not len(there):
            return
        low, median, high = (round(x, 3) for x in order_statistics(there, SHARES))
        moment = PredictedMoment(event=event, fault=fault.name, low=low, median=median, high=high)
        found.moments.append(moment)

    def counts(self, found: Found) -> None:
        """Pods and nodes that are out, and what they would have computed."""
        futures, times, out = self.draws.futures, self.played.times, self.played.out
        down = [Spell(one.name, one.missed, one.up) for one in times if one.wave.kind == "Down"]
        marked = [_marked(one) for one in times if one.wave.kind != "Down"]
        struck = any(fault.action not in RUNNER_ONLY for fault in self.spec.faults)
        if self.floor.plans:
            pending = self._pod_spells(out, seen=True) + self._waiting()
            found.keep("pods_pending_max", most_at_once(pending, futures))
        if self.floor.plans and struck:
            found.keep("pods_affected", np.full(futures, float(sum(one.struck for one in out))))
            found.keep("lost_accelerator_hours", self._lost_hours(out))
        if self.played.nodes_missed:
            found.warnings.append(
                "nodes are not counted: after an outage as long as the grace period of their"
                " heartbeats all may be missed, or none"
            )
            return
        if down or self._shown():
            found.keep("nodes_down_max", most_at_once(down, futures) + self._down_before())
        if self._targets():
            worst = most_at_once(down + marked, futures)
            found.keep("healthy_nodes_min", np.maximum(self._healthy() - worst, 0.0))

    def _targets(self) -> set[str]:
        """Nodes that faults may strike in the cluster."""
        return {
            name
            for fault in self.spec.faults
            if fault.action not in TWIN_ONLY
            for name in self._nodes(fault)
        }

    def _shown(self) -> bool:
        """Whether nodes are looked at: those of the targets, or all while the runner acts."""
        return bool(self._targets()) or bool(self.played.away)

    def _down_before(self) -> float:
        """Nodes that are not Ready whatever the drill does; of its targets none is."""
        nodes = self.request.snapshot.nodes if self.played.away else []
        return float(sum(bool(node.uid) and not node.ready for node in nodes))

    def _waiting(self) -> list[Spell]:
        """Pods of a first roll-out: all of them wait until its last one runs."""
        before = np.full(self.draws.futures, -1.0)
        return [
            Spell(f"{one.plan}\0{pod}", before, np.maximum(one.running, 0.0))
            for one in self.played.arrivals
            for pod in range(one.pods)
        ]

    def _healthy(self) -> float:
        """Nodes of the targets' clusters that are fit before the drill."""
        hit = {name for target in self.targets.values() for name in target.nodes}
        nodes = self.request.snapshot.nodes
        clusters = {node.cluster for node in nodes if node.name in hit}
        return float(
            sum(node.ready and node.schedulable for node in nodes if node.cluster in clusters)
        )

    def _pod_spells(self, out: list[Out], *, seen: bool) -> list[Spell]:
        """When places of pods are not filled: as the cluster sees it, or from the fault itself."""
        spells = []
        for one in out:
            end = self._pod_end(one)
            if end is None:
                continue
            begun = np.full(self.draws.futures, one.node.wave.start)
            start = begun
            if seen:
                start = one.departure.evicted
                if one.node.wave.kind == "Down":
                    start = np.minimum(one.node.missed, start)
            elif one.node.wave.kind == "Drained":
                start = one.departure.evicted
            weight = 1.0 if seen else float(one.floor.accelerators(one.slot))
            spells.append(Spell(one.floor.slot_name(one.slot), start, end, weight))
        return spells

    def _lost_hours(self, out: list[Out]) -> Floats:
        """Accelerators of gangs that cannot go on, and of other pods that are out, over time."""
        futures, end = self.draws.futures, self.played.end
        total = np.zeros(futures)
        groups: dict[tuple[str, str], list[Out]] = {}
        for one in out:
            groups.setdefault((one.floor.name, one.floor.workload(one.slot).name), []).append(one)
        for members in groups.values():
            workload = members[0].floor.workload(members[0].slot)
            spells = self._pod_spells(members, seen=False)
            if workload.gang and workload.elastic is None:
                whole = float(workload.pods * workload.accelerators_per_pod)
                total += whole * covered(spells, end, futures)
                continue
            for spell in spells:
                total += spell.weight * covered([spell], end, futures)
        return total / SECONDS_PER_HOUR

    def heat_metrics(self, found: Found) -> None:
        """The hottest, the soonest and the most over the faults of the cooling."""
        futures = self.draws.futures
        rows = [_hot(heat) for heat in self.played.heats if heat]
        turns = np.arange(futures) % max(len(rows), 1)
        for name in rows[0] if rows else ():
            found.keep(name, np.array([row[name] for row in rows])[turns])

    def repairs(self, found: Found) -> None:
        """Per cluster: what broke, and the crews that are left for it."""
        refs = cluster_refs([self.request.farm], self.request.profiles)
        waiting, mended = np.zeros(self.draws.futures), []
        for ref in refs:
            names = {place.name for place in ref.places}
            label = f"{ref.farm.metadata.name}-{ref.cluster.name}"
            broken = [
                Broken(node, seconds(fault.at))
                for fault in self.spec.faults
                if fault.action in BREAKING
                for node in self._nodes(fault)
                if node in names
            ]
            mean = mean_repair_s(ref)
            if not broken or mean is None:
                continue
            crews = ref.cluster.reliability.crews
            if crews is None and self._crews_lost(label):
                found.warnings.append(
                    f"cluster {ref.cluster.name} describes no reliability.crews: as many as are"
                    " needed are taken to be there, whatever share is away"
                )
            left = crews_left(crews.count if crews else None, self._crews_lost(label))
            repairs = mend(broken, left, mean, self.draws)
            waiting = waiting + repairs.waiting
            mended.append(repairs.all_mended)
        if not mended:
            self._say_idle(found)
        else:
            found.keep("repairs_waiting_max", waiting)
            found.keep("seconds_to_repair_all", np.stack(mended).max(axis=0))

    def _say_idle(self, found: Found) -> None:
        """A shortage of crews shows only where something breaks."""
        if any(fault.action == "RepairCrewShortage" for fault in self.spec.faults):
            found.warnings.append(
                "nothing breaks in this drill, so that no crew is missed: add a Burst, NodeDown or"
                " DeviceFault (mode Twin touches nothing)"
            )

    def _nodes(self, fault: DrillFault) -> list[str]:
        target = self.targets.get(fault.name)
        return target.nodes if target else []

    def _crews_lost(self, label: str) -> int:
        """Share of a cluster's crews that is away, in percent; the worst of the faults."""
        shares = [
            fault.share or 0
            for fault in self.spec.faults
            if fault.action == "RepairCrewShortage"
            and label in (self.targets.get(fault.name) or FaultTargets(fault=fault.name)).domains
        ]
        return max(shares, default=0)


def _last(times: Sequence[Floats], since: float) -> Floats | None:
    """As `latest`; nothing where no future has any."""
    found = latest(times, since)
    return None if found is None or np.isnan(found).all() else found


def _hot(heat: Mapping[str, HeatOutcome]) -> dict[str, float]:
    """Metrics of one play of all faults of the cooling; NaN for what does not come."""
    played = list(heat.values())
    times = [one.throttle_s for one in played if one.throttle_s is not None]
    return {
        "accelerator_temperature_max": max(one.hottest_c for one in played),
        "throttled_nodes_max": float(len({n for one in played for n in one.throttled})),
        "heat_shutdowns": float(len({n for one in played for n in one.shut_down})),
        "seconds_to_throttle": min(times, default=np.nan),
    }


def _marked(node: NodeTimes) -> Spell:
    """While a node is under a fault; those of a drain's step are given back before the next."""
    if node.wave.kind != "Drained":
        return Spell(node.name, node.missed, node.ready)
    return Spell(node.name, node.missed, np.minimum(node.ready, node.wave.end))


def seconds(text: str) -> float:
    """A duration in seconds."""
    return parse_duration_ns(text) / NS
