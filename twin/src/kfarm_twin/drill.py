"""What the twin says of a drill before it happens: the cluster's clock, heat, and repairs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from kfarm_api.drill import HEAT, RUNNER_ONLY, DrillFault, Flapping
from kfarm_api.drill_status import DrillMetric, PredictedEffect
from kfarm_api.units import parse_quantity

from kfarm_twin.drill_away import absences, arrivals, hold_up, nodes_are_missed, told
from kfarm_twin.drill_cluster import ClusterClock, Departure, NodeTimes, Wave
from kfarm_twin.drill_delays import Delays, Draws, KueueDelays
from kfarm_twin.drill_floor import Floor, PlanFloor
from kfarm_twin.drill_heat import DrillHeat, HeatOutcome, other_inputs
from kfarm_twin.drill_kueue import Kueue
from kfarm_twin.drill_measure import Found, Played, measure, seconds
from kfarm_twin.drill_metrics import (
    UNITS,
    summarize,
)
from kfarm_twin.drill_out import Out, leaves
from kfarm_twin.drill_request import CurvePoint, DrillPrediction, DrillRequest

MOST_TEXTS = 32
MOST_EFFECTS = 1024
MOST_FLAPS = 64
DOWN = frozenset({"NodeDown", "RackPower", "Pdu", "LeafSwitch", "Burst"})
NEVER = np.inf


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
        self.away = absences(request, self.delays, self.draws)
        self.assumptions = [
            *self.delays.told(),
            *told(self.away, self.delays, coming=bool(request.coming)),
        ]
        nodes = request.snapshot.nodes
        self.clock = ClusterClock(
            self.delays,
            self.draws,
            len(nodes),
            sum(not node.ready for node in nodes),
            request.measured.lease_age_s,
        )
        kueue = KueueDelays.of(self.spec.delays, request.measured)
        self.kueue = Kueue(self.clock, kueue, self.floor)
        if any(floor.kueue for floor in self.floor.plans):
            self.assumptions += kueue.told()
        self.heat: dict[str, HeatOutcome] = {}
        self.heats: list[dict[str, HeatOutcome]] = []
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
        with_others, turns = self.kueue.conclude()
        out += with_others
        self.warnings += self.kueue.warnings
        hold_up(self.away, [one.departure for one in out])
        played = Played(
            self.request,
            self.targets,
            self.draws,
            self.floor,
            times,
            out,
            self.heats or [self.heat],
            self.away,
            arrivals(self.request, self.floor, self.away, self.delays, self.draws),
            nodes_missed=nodes_are_missed(self.away, self.delays),
            turns=turns,
        )
        return self._conclude(measure(played), played.end)

    def _play_heat(self) -> None:
        faults = [fault for fault in self.spec.faults if fault.action in HEAT]
        if not faults:
            return
        heat = DrillHeat(self.request, self.floor)
        self.assumptions += heat.told
        self.heat = self._heats(heat, faults)
        for fault in faults:
            if fault.name not in self.heat:
                told = f"fault {fault.name}: the farm describes nothing it could fail"
                self.warnings.append(told)
                continue
            shown = self.targets[fault.name].nodes
            self.effects += self.heat[fault.name].effects(shown, seconds(fault.duration))
        if len(self.effects) > MOST_EFFECTS:
            self.warnings.append(f"only {MOST_EFFECTS} of {len(self.effects)} effects are given")
            self.effects = self.effects[:MOST_EFFECTS]
        sets = other_inputs(self.floor, self.draws.seed)
        self.heats = [
            self._heats(DrillHeat(self.request, self.floor, amounts), faults) for amounts in sets
        ]
        if sets:
            self.assumptions.append(
                f"intervals of heat are over {len(sets)} draws of the inputs that are not known"
                " well; effects are those of the inputs as stated"
            )

    def _heats(self, heat: DrillHeat, faults: list[DrillFault]) -> dict[str, HeatOutcome]:
        found = {}
        for fault in faults:
            target = self.targets.get(fault.name)
            outcome = heat.play(fault, target) if target else None
            if outcome is not None:
                found[fault.name] = outcome
        return found

    def _waves(self, fault: DrillFault) -> list[Wave]:
        """The nodes of a fault, in the waves in which they are hit."""
        target = self.targets.get(fault.name)
        if target is None or not target.nodes or fault.action in RUNNER_ONLY:
            return []
        start, lasts = seconds(fault.at), seconds(fault.duration)
        remedy = fault.remedy
        drain = seconds(remedy.after) if remedy and remedy.action == "Drain" else None
        out = seconds(remedy.after) if remedy and remedy.action == "OutOfService" else None
        if fault.action in HEAT:
            sooner = self._seen_sooner(fault)
            return [
                replace(
                    one,
                    drain_after=drain,
                    out_of_service_after=None if out is None else max(out - sooner, 0.0),
                )
                for one in self._heat_waves(fault, start, lasts)
            ]
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
        if fault.action == "LinkFlap":
            return list(_flaps(fault, tuple(target.nodes), start, lasts))
        return [Wave(fault.name, "Marked", tuple(target.nodes), start, start + lasts, drain)]

    def _heat_waves(self, fault: DrillFault, start: float, lasts: float) -> list[Wave]:
        """Nodes that heat slows, and those that it turns off until the end of the fault."""
        found: dict[tuple[str, str, str | None], list[str]] = {}
        for effect in self.effects:
            if effect.fault == fault.name:
                key = (effect.effect, effect.at, effect.until)
                found.setdefault(key, []).append(effect.node)
        waves = []
        for (what, at, until), nodes in found.items():
            down = what == "HeatShutdown"
            end = start + min(parse_quantity(until), lasts) if until else start + lasts
            waves.append(
                Wave(
                    fault.name,
                    "Down" if down else "Marked",
                    tuple(sorted(nodes)),
                    start + parse_quantity(at),
                    end,
                    harmless=not down,
                )
            )
        return waves

    def _seen_sooner(self, fault: DrillFault) -> float:
        """How long before it is missed a node that goes off by heat was seen to throttle [s]."""
        heat = self.heat.get(fault.name)
        if heat is None or heat.throttle_s is None or heat.shutdown_s is None:
            return 0.0
        return heat.shutdown_s - heat.throttle_s + self.delays.grace - self.delays.renew

    def _departures(self, waves: list[Wave], times: list[NodeTimes]) -> list[Out]:
        """Pods of all waves: when they leave, and where those go that took their place."""
        known = {(id(one.wave), one.name): one for one in times}
        out: list[Out] = []
        for wave in waves:
            hit = self.floor.on(wave.nodes)
            mine = [self._leave(floor, slot, known, wave) for floor, slot in hit]
            out += mine
            gone = [name for one in waves if _overlap(one, wave) for name in one.nodes]
            own = [one for one in mine if not one.departure.kueue]
            self._replace([one for one in own if leaves(one.departure)], gone)
            self.kueue.strike(wave, [one for one in mine if one.departure.kueue], gone)
        self.clock.successors([one.departure for one in out if not one.departure.kueue])
        return out

    def _leave(
        self, floor: PlanFloor, slot: int, known: dict[tuple[int, str], NodeTimes], wave: Wave
    ) -> Out:
        name = floor.model.names.nodes[int(floor.slot_node[slot])]
        node, pod = known[id(wave), name], floor.pods[slot]
        label, workload = floor.slot_name(slot), floor.workload(slot)
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
            gang=f"{floor.name}/{workload.name}" if workload.gang else "",
            kueue=floor.admitted_as(slot),
        )
        if pod is None and workload.class_ == "Training":
            departure.job = departure.kueue or label
        self.clock.departure(node, departure)
        return Out(floor, slot, node, departure)

    def _replace(self, leaving: list[Out], nodes_out: list[str]) -> None:
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

    def _conclude(self, found: Found, end: float) -> DrillPrediction:
        metrics: list[DrillMetric] = []
        self.warnings += found.warnings
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
            curve=self._curve(end),
            futures=self.draws.futures,
            seed=self.draws.seed,
            inputs_digest=self.request.digest(),
            assumptions=_shortened(self.assumptions),
            warnings=_shortened(self.warnings),
        )

    def _curve(self, end: float) -> list[CurvePoint]:
        """Of the fault that gets hottest, up to the end of the drill."""
        if not self.heat:
            return []
        worst = max(self.heat.values(), key=lambda one: one.hottest_c)
        start = next(seconds(f.at) for f in self.spec.faults if f.name == worst.fault)
        moved = [point.model_copy(update={"at": point.at + start}) for point in worst.curve]
        return [point for point in moved if point.at <= end]


def _flaps(fault: DrillFault, nodes: tuple[str, ...], start: float, lasts: float) -> Iterator[Wave]:
    """A link is down and up in turn, as long as the fault lasts; of very many turns some."""
    rhythm = fault.flapping or Flapping()
    down, up = seconds(rhythm.down), seconds(rhythm.up)
    turns = math.ceil(lasts / (down + up))
    for turn in [*range(min(turns, MOST_FLAPS) - 1), turns - 1]:
        first = turn * (down + up)
        over = start + min(first + down, lasts)
        yield Wave(fault.name, "Marked", nodes, start + first, over, harmless=True)


def _overlap(one: Wave, other: Wave) -> bool:
    """Whether `one` is on when `other` begins."""
    return one.start <= other.start < one.end


def _shortened(texts: list[str]) -> list[str]:
    """As many and as long as a status holds, each once."""
    return [text[:512] for text in dict.fromkeys(texts)][:MOST_TEXTS]
