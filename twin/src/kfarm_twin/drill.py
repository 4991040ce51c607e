"""What the twin says of a drill before it happens: the cluster's clock, heat, and repairs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from kfarm_api.drill import HEAT, RUNNER_ONLY, DrillFault
from kfarm_api.drill_status import DrillMetric, FaultTargets, PredictedEffect
from kfarm_api.units import parse_duration_ns

from kfarm_twin.arrays import Floats
from kfarm_twin.compile import cluster_refs
from kfarm_twin.drill_cluster import ClusterClock, Departure, NodeTimes, Wave
from kfarm_twin.drill_delays import Delays, Draws
from kfarm_twin.drill_floor import Floor, PlanFloor
from kfarm_twin.drill_heat import DrillHeat, HeatOutcome
from kfarm_twin.drill_metrics import (
    SHARES,
    UNITS,
    Spell,
    all_back,
    covered,
    largest,
    latest,
    most_at_once,
    summarize,
)
from kfarm_twin.drill_repairs import BREAKING, Broken, crews_left, mean_repair_s, mend
from kfarm_twin.drill_request import CurvePoint, DrillPrediction, DrillRequest, PredictedMoment
from kfarm_twin.outcomes import order_statistics

NS = 1e9
SECONDS_PER_HOUR = 3600.0
MOST_TEXTS = 32
MOST_EFFECTS = 1024
DOWN = frozenset({"NodeDown", "RackPower", "Pdu", "LeafSwitch", "Burst"})
NEVER = np.inf


@dataclass(frozen=True)
class _Out:
    """A pod that is out: where it stood, and what came of it, or that it stayed."""

    floor: PlanFloor
    slot: int
    node: NodeTimes
    departure: Departure


@dataclass
class _Found:
    metrics: dict[str, Floats] = field(default_factory=dict)
    moments: list[PredictedMoment] = field(default_factory=list)

    def keep(self, name: str, values: Floats | None) -> None:
        if values is not None:
            self.metrics[name] = values


def predict_json(request: bytes) -> bytes:
    """Entry of the fork server: a `DrillRequest` as JSON in, its `DrillPrediction` as JSON out."""
    found = predict(DrillRequest.model_validate_json(request))
    return found.model_dump_json(by_alias=True).encode()


def predict(request: DrillRequest) -> DrillPrediction:
    """Play a drill's futures.

    Raises
    ------
    InputError
        When farm, profiles and pods do not fit together.
    """
    return _Drill(request).predict()


class _Drill:
    """One prediction, step by step."""

    def __init__(self, request: DrillRequest) -> None:
        self.request, self.spec = request, request.drill.spec
        self.targets = {target.fault: target for target in request.targets}
        simulation = self.spec.simulation
        self.draws = Draws(simulation.seed, simulation.futures)
        self.delays = Delays.of(self.spec.delays, request.measured)
        self.floor = Floor(request)
        self.warnings = list(self.floor.warnings)
        self.assumptions = self.delays.told()
        nodes = request.snapshot.nodes
        self.clock = ClusterClock(
            self.delays,
            self.draws,
            len(nodes),
            sum(not node.ready for node in nodes),
            request.measured.lease_age_s,
        )
        self.heat: dict[str, HeatOutcome] = {}
        self.effects: list[PredictedEffect] = []

    def predict(self) -> DrillPrediction:
        """All metrics, effects and moments."""
        self._play_heat()
        waves = sorted(
            (wave for fault in self.spec.faults for wave in self._waves(fault)),
            key=lambda wave: wave.start,
        )
        times = self.clock.node_times(waves)
        out = self._departures(waves, times)
        self._hold_up([one.departure for one in out])
        found = _Found()
        self._seconds(found, times, out)
        self._counts(found, times, out)
        self._heat_metrics(found)
        self._repairs(found)
        return self._conclude(found)

    def _play_heat(self) -> None:
        faults = [fault for fault in self.spec.faults if fault.action in HEAT]
        if not faults:
            return
        heat = DrillHeat(self.request, self.floor)
        self.assumptions += heat.told
        self.assumptions.append("heat is played once, with the inputs as stated: no interval")
        for fault in faults:
            target = self.targets.get(fault.name)
            outcome = heat.play(fault, target) if target else None
            if outcome is None or target is None:
                self.warnings.append(
                    f"fault {fault.name}: the farm describes nothing it could fail"
                )
                continue
            self.heat[fault.name] = outcome
            self.effects += outcome.effects(target.nodes, _seconds(fault.duration))
        if len(self.effects) > MOST_EFFECTS:
            self.warnings.append(f"only {MOST_EFFECTS} of {len(self.effects)} effects are given")
            self.effects = self.effects[:MOST_EFFECTS]

    def _waves(self, fault: DrillFault) -> list[Wave]:
        """The nodes of a fault, in the waves in which they are hit."""
        target = self.targets.get(fault.name)
        if target is None or not target.nodes or fault.action in RUNNER_ONLY:
            return []
        start, lasts = _seconds(fault.at), _seconds(fault.duration)
        if fault.action in HEAT:
            return self._heat_waves(fault, start, lasts)
        remedy = fault.remedy
        drain = _seconds(remedy.after) if remedy and remedy.action == "Drain" else None
        out = _seconds(remedy.after) if remedy and remedy.action == "OutOfService" else None
        if fault.action in DOWN:
            nodes = tuple(target.nodes)
            return [Wave(fault.name, "Down", nodes, start, start + lasts, drain, out)]
        if fault.action == "Drain":
            step = fault.at_once or 1
            groups = [target.nodes[i : i + step] for i in range(0, len(target.nodes), step)]
            return [
                Wave(
                    fault.name, "Drained", tuple(group), start + i * lasts, start + (i + 1) * lasts
                )
                for i, group in enumerate(groups)
            ]
        return [Wave(fault.name, "Marked", tuple(target.nodes), start, start + lasts, drain)]

    def _heat_waves(self, fault: DrillFault, start: float, lasts: float) -> list[Wave]:
        """Nodes that heat turns off, from the predicted moment to the end of the fault."""
        found: dict[float, list[str]] = {}
        for effect in self.effects:
            if effect.fault == fault.name and effect.effect == "HeatShutdown":
                at = self.heat[fault.name].shutdown_s or 0.0
                found.setdefault(at, []).append(effect.node)
        return [
            Wave(fault.name, "Down", tuple(sorted(nodes)), start + at, start + lasts)
            for at, nodes in found.items()
        ]

    def _departures(self, waves: list[Wave], times: list[NodeTimes]) -> list[_Out]:
        """Pods of all waves: when they leave, and where those go that took their place."""
        known = {(id(one.wave), one.name): one for one in times}
        out: list[_Out] = []
        for wave in waves:
            hit = self.floor.on(wave.nodes)
            mine = [self._leave(floor, slot, known, wave) for floor, slot in hit]
            out += mine
            gone = [name for one in waves if _overlap(one, wave) for name in one.nodes]
            self._replace([one for one in mine if _leaves(one.departure)], gone)
        self.clock.successors([one.departure for one in out])
        return out

    def _leave(
        self, floor: PlanFloor, slot: int, known: dict[tuple[int, str], NodeTimes], wave: Wave
    ) -> _Out:
        name = floor.model.names.nodes[int(floor.slot_node[slot])]
        node, pod = known[id(wave), name], floor.pods[slot]
        label = floor.slot_name(slot)
        never = np.full(self.draws.futures, NEVER)
        departure = Departure(
            slot=label,
            plan=floor.name,
            node=node,
            toleration_s=pod.toleration_s if pod else self.delays.toleration,
            job=f"{floor.name}/{pod.job}" if pod and pod.job else "",
            per_index=pod.backoff_per_index if pod else True,
            when_gone=pod.replaced_when_gone if pod else False,
            evicted=never,
            gone=never,
            failed=never,
            waits=np.zeros(self.draws.futures),
        )
        if pod is None and floor.workload(slot).class_ == "Training":
            departure.job = label
        self.clock.departure(node, departure)
        return _Out(floor, slot, node, departure)

    def _replace(self, leaving: list[_Out], nodes_out: list[str]) -> None:
        """Find room for those that leave; without, they wait until their nodes are back."""
        plans = {one.floor.name: one.floor for one in leaving}
        for name, floor in plans.items():
            mine = [one for one in leaving if one.floor is floor]
            why = self.floor.move(floor, [one.slot for one in mine], nodes_out)
            if why is None:
                continue
            self.warnings.append(
                f"plan {name}: no room for what is lost until nodes are back: {why}"
            )
            back = np.stack([one.node.ready for one in mine]).max(axis=0)
            for one in mine:
                one.departure.waits = back

    def _hold_up(self, departures: list[Departure]) -> None:
        """No verdict and no binding while the API server or the operator is away."""
        for fault in self.spec.faults:
            if fault.action not in RUNNER_ONLY:
                continue
            start = _seconds(fault.at)
            end = start + _seconds(fault.duration)
            for one in departures:
                held = (one.replaced > start) & (one.replaced < end)
                late = np.where(held, end - one.replaced, 0.0)
                one.replaced, one.running = one.replaced + late, one.running + late

    @property
    def _end(self) -> float:
        """When the drill has ended at the latest [s]."""
        waves = [
            _seconds(fault.at) + _seconds(fault.duration) * self._turns(fault)
            for fault in self.spec.faults
        ]
        return min(
            max(waves) + _seconds(self.spec.observe), _seconds(self.spec.limits.time_to_live)
        )

    def _turns(self, fault: DrillFault) -> int:
        target = self.targets.get(fault.name)
        if fault.action != "Drain" or target is None:
            return 1
        return max(-(-len(target.nodes) // (fault.at_once or 1)), 1)

    def _seconds(self, found: _Found, times: list[NodeTimes], out: list[_Out]) -> None:
        """Times from each fault's beginning to the last of what it does; the largest counts."""
        parts: dict[str, list[Floats]] = {}
        for fault in self.spec.faults:
            since = _seconds(fault.at)
            nodes = [one for one in times if one.wave.fault == fault.name]
            mine = [one for one in out if one.node.wave.fault == fault.name]
            gone = [one.departure for one in mine if _leaves(one.departure)]
            if fault.action not in RUNNER_ONLY:
                self._moment(found, "Injected", fault, np.full(self.draws.futures, since))
            rows = (
                ("seconds_to_detect", "Detected", latest([one.missed for one in nodes], since)),
                ("seconds_to_evict", "Evicted", latest([one.evicted for one in gone], since)),
                ("", "Gone", latest([one.gone for one in gone], since)),
                ("seconds_to_replace", "Replaced", latest([one.replaced for one in gone], since)),
                ("", "Running", latest([one.running for one in gone], since)),
                ("seconds_to_recover", "Recovered", self._recovered(mine, since)),
            )
            for name, event, values in rows:
                if values is None:
                    continue
                self._moment(found, event, fault, values + since)
                if name:
                    parts.setdefault(name, []).append(values)
            if fault.action not in RUNNER_ONLY and fault.action != "RepairCrewShortage":
                over = since + _seconds(fault.duration) * self._turns(fault)
                self._moment(found, "FaultEnded", fault, np.full(self.draws.futures, over))
        for name, values_of in parts.items():
            found.keep(name, largest(values_of))

    def _recovered(self, out: list[_Out], since: float) -> Floats | None:
        """Until successors run, or the node of those that stayed is Ready again."""
        ends = [end for one in out for end in (self._pod_end(one),) if end is not None]
        return all_back(ends, since, self._end)

    @staticmethod
    def _pod_end(one: _Out) -> Floats | None:
        """When the place of a pod is filled again; None where it was never out."""
        left = np.isfinite(one.departure.evicted)
        if one.node.wave.kind != "Down" and not left.any():
            return None
        stayed = one.node.ready if one.node.wave.kind == "Down" else np.zeros(len(left))
        return np.where(left, one.departure.running, stayed)

    def _moment(self, found: _Found, event: str, fault: DrillFault, values: Floats) -> None:
        there = values[np.isfinite(values)]
        if len(there) * 2 < len(values) or not len(there):
            return
        low, median, high = (round(x, 3) for x in order_statistics(there, SHARES))
        moment = PredictedMoment(event=event, fault=fault.name, low=low, median=median, high=high)
        found.moments.append(moment)

    def _counts(self, found: _Found, times: list[NodeTimes], out: list[_Out]) -> None:
        futures = self.draws.futures
        down = [Spell(one.missed, one.ready) for one in times if one.wave.kind == "Down"]
        marked = [Spell(one.missed, one.ready) for one in times if one.wave.kind != "Down"]
        if self.floor.plans:
            slots = {(one.floor.name, one.slot) for one in out}
            found.keep("pods_affected", np.full(futures, float(len(slots))))
            found.keep("pods_pending_max", most_at_once(self._pod_spells(out, seen=True), futures))
            found.keep("lost_accelerator_hours", self._lost_hours(out))
        if down:
            found.keep("nodes_down_max", most_at_once(down, futures))
        if down or marked:
            worst = most_at_once(down + marked, futures)
            found.keep("healthy_nodes_min", np.maximum(self._healthy() - worst, 0.0))

    def _healthy(self) -> float:
        """Nodes of the targets' clusters that are fit before the drill."""
        hit = {name for target in self.targets.values() for name in target.nodes}
        nodes = self.request.snapshot.nodes
        clusters = {node.cluster for node in nodes if node.name in hit}
        return float(
            sum(node.ready and node.schedulable for node in nodes if node.cluster in clusters)
        )

    def _pod_spells(self, out: list[_Out], *, seen: bool) -> list[Spell]:
        """When places of pods are not filled: as the cluster sees it, or from the fault itself."""
        spells = []
        for one in out:
            end = self._pod_end(one)
            if end is None:
                continue
            start = one.departure.evicted
            if one.node.wave.kind == "Down":
                begun = np.full(self.draws.futures, one.node.wave.start)
                start = one.node.missed if seen else begun
                start = np.minimum(start, one.departure.evicted) if seen else start
            weight = 1.0 if seen else float(one.floor.accelerators(one.slot))
            spells.append(Spell(start, end, weight))
        return spells

    def _lost_hours(self, out: list[_Out]) -> Floats:
        """Accelerators of gangs that cannot go on, and of other pods that are out, over time."""
        futures, end = self.draws.futures, self._end
        total = np.zeros(futures)
        groups: dict[tuple[str, str], list[_Out]] = {}
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

    def _heat_metrics(self, found: _Found) -> None:
        if not self.heat:
            return
        futures = self.draws.futures
        played = list(self.heat.values())
        times = [one.throttle_s for one in played if one.throttle_s is not None]
        rows = {
            "accelerator_temperature_max": max(one.hottest_c for one in played),
            "throttled_nodes_max": float(len({n for one in played for n in one.throttled})),
            "heat_shutdowns": float(len({n for one in played for n in one.shut_down})),
        }
        if times:
            rows["seconds_to_throttle"] = min(times)
        for name, value in rows.items():
            found.keep(name, np.full(futures, value))

    def _repairs(self, found: _Found) -> None:
        """Per cluster: what broke, and the crews that are left for it."""
        refs = cluster_refs([self.request.farm], self.request.profiles)
        waiting, mended = np.zeros(self.draws.futures), []
        for ref in refs:
            names = {place.name for place in ref.places}
            label = f"{ref.farm.metadata.name}-{ref.cluster.name}"
            broken = [
                Broken(node, _seconds(fault.at))
                for fault in self.spec.faults
                if fault.action in BREAKING
                for node in self._nodes(fault)
                if node in names
            ]
            mean = mean_repair_s(ref)
            if not broken or mean is None:
                continue
            crews = ref.cluster.reliability.crews
            left = crews_left(crews.count if crews else None, self._crews_lost(label))
            repairs = mend(broken, left, mean, self.draws)
            waiting = waiting + repairs.waiting
            mended.append(repairs.all_mended)
        if mended:
            found.keep("repairs_waiting_max", waiting)
            found.keep("seconds_to_repair_all", np.stack(mended).max(axis=0))

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

    def _conclude(self, found: _Found) -> DrillPrediction:
        metrics: list[DrillMetric] = []
        for name in UNITS:
            values = found.metrics.get(name)
            if values is None:
                continue
            summary = summarize(name, values)
            if summary is None:
                share = 100.0 * float(np.isfinite(values).mean())
                self.warnings.append(
                    f"{name} is left out: it comes within the drill in {share:.3g} % of futures"
                )
                continue
            metrics.append(summary)
        return DrillPrediction(
            metrics=metrics,
            effects=self.effects,
            timeline=sorted(found.moments, key=lambda one: (one.median, one.fault, one.event)),
            curve=self._curve(),
            futures=self.draws.futures,
            seed=self.draws.seed,
            inputs_digest=self.request.digest(),
            assumptions=_shortened(self.assumptions),
            warnings=_shortened(self.warnings),
        )

    def _curve(self) -> list[CurvePoint]:
        """Of the fault that gets hottest, up to the end of the drill."""
        if not self.heat:
            return []
        worst = max(self.heat.values(), key=lambda one: one.hottest_c)
        start = next(_seconds(f.at) for f in self.spec.faults if f.name == worst.fault)
        moved = [point.model_copy(update={"at": point.at + start}) for point in worst.curve]
        return [point for point in moved if point.at <= self._end]


def _leaves(departure: Departure) -> bool:
    return bool(np.isfinite(departure.evicted).any())


def _overlap(one: Wave, other: Wave) -> bool:
    """Whether `one` is on when `other` begins."""
    return one.start <= other.start < one.end


def _seconds(text: str) -> float:
    return parse_duration_ns(text) / NS


def _shortened(texts: list[str]) -> list[str]:
    """As many and as long as a status holds, each once."""
    return [text[:512] for text in dict.fromkeys(texts)][:MOST_TEXTS]
