"""The whole answer: compile, place, inject faults, play futures until every check is decided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from kfarm_api.metrics import METRICS
from kfarm_api.plan import AssumptionResult, Slot, WorkloadPlacement
from kfarm_api.policy import Check
from kfarm_api.units import parse_duration_ns, parse_quantity

from kfarm_twin.arrays import METRIC_ORDER, WORST_LOOP, Ints, Outcome
from kfarm_twin.assume import assess, domination
from kfarm_twin.compile import Model, compile_farm
from kfarm_twin.cooling_metrics import cooling_notes, cooling_study
from kfarm_twin.explain import check_result, survival_sentence
from kfarm_twin.judge import Stated
from kfarm_twin.live_start import corrected, room_from
from kfarm_twin.moments import most_moments
from kfarm_twin.outcomes import join_outcomes, order_statistics
from kfarm_twin.place import Shortfall, place
from kfarm_twin.request import MetricSummary, ValidationRequest, Verdict
from kfarm_twin.simulate import Simulator
from kfarm_twin.simulate_facility import FACILITY_METRICS
from kfarm_twin.steady import running_nodes, steady
from kfarm_twin.survive import InstanceResult, survive
from kfarm_twin.verdict import Sequence, meets

if TYPE_CHECKING:
    from kfarm_twin.cooling import CoolingStudy
    from kfarm_twin.results import Replay

BATCH = 32
"""Futures per batch after the first."""
MAX_SLOTS = 65_536
MAX_EVENTS = 2e9
"""Node events over all futures that one validation may need."""
SHARES = (0.05, 0.50, 0.95, 0.99)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Detail:
    """What the report shows beside the verdict; parts are None where the run ended early.

    Attributes
    ----------
    futures
        Arrow table, one row of metrics per future.
    replay
        The worst future in full.
    racks
        Arrow table of racks with all workloads running.
    instances
        One row per failed instance of the policy's faults.
    cooling
        All single faults of the cooling with all workloads running.
    """

    model: Model | None = None
    slot_node: Ints | None = None
    futures: Any = None
    replay: Replay | None = None
    racks: Any = None
    instances: tuple[InstanceResult, ...] = ()
    cooling: CoolingStudy | None = None


@dataclass(frozen=True)
class _Bound:
    """A check with its numbers."""

    check: Check
    column: int
    at_least: float | None
    at_most: float | None

    @classmethod
    def of(cls, check: Check) -> _Bound:
        least = None if check.at_least is None else parse_quantity(check.at_least)
        most = None if check.at_most is None else parse_quantity(check.at_most)
        return cls(check, METRIC_ORDER.index(check.metric), least, most)

    def slack(self, values: Any) -> Any:
        """Distance to the bound, negative where it is not kept."""
        if self.at_least is not None:
            return values - self.at_least
        return np.asarray(self.at_most) - values


class _Run:
    """One validation, step by step."""

    def __init__(
        self, request: ValidationRequest, progress: Progress | None, *, detailed: bool
    ) -> None:
        self.request = request
        self.detailed = detailed
        self.progress = progress
        self.policy = request.policy.spec
        self.horizon_ns = parse_duration_ns(self.policy.simulation.horizon)
        farms, told = corrected(list(request.farms), request.snapshot)
        model = compile_farm(farms, request.profiles, request.plan, request.snapshot)
        self.model = replace(model, warnings=(*told, *model.warnings))
        checks = self.policy.checks
        self.bounds = [_Bound.of(check) for check in checks]
        self.sequences = [
            Sequence(check.quantile / 100.0, (1.0 - check.confidence / 100.0) / len(checks))
            for check in checks
        ]

    def verdict(self, word: str, reason: str, message: str, **more: Any) -> Verdict:
        """A verdict with what is common to all."""
        return Verdict.model_validate(
            {
                "verdict": word,
                "reason": reason,
                "message": message,
                "futures": 0,
                "seed": self.request.effective_seed,
                "horizon": self.policy.simulation.horizon,
                "inputs_digest": self.request.digest(),
                "warnings": list(self.model.warnings),
            }
            | more
        )

    def obstacle(self) -> Verdict | None:
        """Why there is nothing to simulate, if so."""
        longest = max(
            (parse_duration_ns(w.duration) for w in self.model.workloads if w.duration), default=0
        )
        if 2 * self.horizon_ns < 3 * longest:
            return self.verdict(
                "Inconclusive",
                "HorizonTooShort",
                f"the horizon of {self.policy.simulation.horizon} is less than 1.5 times "
                "the longest duration in the plan; set simulation.horizon to "
                f"{_hours(3 * longest / 2)} or more",
            )
        fleet = self.model.fleet
        events = fleet.faults_per_ns * (self.horizon_ns + fleet.warm_ns)
        slots = len(self.model.slot_workload)
        if slots > MAX_SLOTS or events * self.request.futures_range[0] > MAX_EVENTS:
            return self.verdict(
                "Inconclusive",
                "TooLarge",
                f"{slots} pods and about {events:.3g} failures per future are more than one run "
                f"takes (at most {MAX_SLOTS} pods and {MAX_EVENTS:g} failures in all); split the "
                "plan, or shorten the horizon",
            )
        return None

    def inapplicable(self) -> Verdict | None:
        """Checks whose metric has no value here, if any."""
        probe = self.simulator.play(0, 1).metrics[0]
        names = [b.check.metric for b in self.bounds if np.isnan(probe[b.column])]
        if not names:
            return None
        reasons = "; ".join(f"{name} {_lack(name)}" for name in names)
        return self.verdict(
            "Inconclusive",
            "MetricNotApplicable",
            f"the policy checks what the plan or its farms do not have: {reasons}. Leave these "
            "checks out of the policy, or describe what they need",
            survives=self.survives,
        )

    def play(self) -> Outcome:
        """Play batches until all checks are decided or the most futures are reached."""
        least, most = self.request.futures_range
        parts: list[Outcome] = []
        played = 0
        while True:
            size = min(least if played == 0 else BATCH, most - played)
            part = self.simulator.play(played, size)
            parts.append(part)
            played += size
            for bound, sequence in zip(self.bounds, self.sequences, strict=True):
                met = meets(part.metrics[:, bound.column], bound.at_least, bound.at_most)
                sequence.add(met, size - met)
            if self.progress is not None:
                self.progress(played, most)
            if played >= most or all(s.decision != "Undecided" for s in self.sequences):
                return join_outcomes(parts)

    def worst_future(self, outcome: Outcome) -> int:
        """The future that is nearest to (or farthest beyond) a bound, in units of spread."""
        distance = np.full(len(outcome.metrics), np.inf)
        for bound in self.bounds:
            values = outcome.metrics[:, bound.column]
            spread = float(np.std(values))
            if spread > 0:
                distance = np.minimum(distance, bound.slack(values) / spread)
        if np.isinf(distance).all():
            return int(np.argmax(outcome.metrics[:, METRIC_ORDER.index("lost_accelerator_hours")]))
        return int(np.argmin(distance))

    def run(self) -> tuple[Verdict, Detail]:
        """All steps."""
        early = self.obstacle()
        if early is not None:
            return early, Detail(model=self.model)
        placed = place(self.model)
        if isinstance(placed, Shortfall):
            message = placed.message + room_from(self.model, self.request.snapshot)
            return self.verdict("Rejected", "Unplaceable", message), Detail(model=self.model)
        self.simulator = Simulator(self.model, placed, self.request.effective_seed, self.horizon_ns)
        self.simulator.cooling = cooling_study(self.model, placed)
        self.survives, instances = survive(
            self.model, placed, list(self.policy.survives), self.policy.fault_limits
        )
        early = self.inapplicable()
        if early is not None:
            return early, Detail(model=self.model, slot_node=placed, instances=tuple(instances))
        outcome = self.play()
        worst = self.worst_future(outcome)
        self.assumptions = self.assume(placed, outcome, instances)
        verdict = self.conclude(placed, outcome, worst)
        if not self.detailed:
            return verdict, Detail(model=self.model, slot_node=placed)
        return verdict, self.detail(placed, outcome, worst, tuple(instances))

    def assume(
        self, placed: Ints, outcome: Outcome, instances: list[InstanceResult]
    ) -> AssumptionResult | None:
        """What the verdict is worth where inputs are not known well; None where not asked for."""
        asked = self.policy.assumptions
        if asked.draws == 0:
            return None
        stated = Stated(
            model=self.model,
            slot_node=placed,
            seed=self.request.effective_seed,
            horizon_ns=self.horizon_ns,
            bounds=self.bounds,
            decisions=[sequence.decision for sequence in self.sequences],
            metrics=outcome.metrics,
            faults=self.policy.survives,
            limits=self.policy.fault_limits,
            instances=instances,
        )
        return assess(stated, asked.draws, asked.futures)

    def detail(
        self, placed: Ints, outcome: Outcome, worst: int, instances: tuple[InstanceResult, ...]
    ) -> Detail:
        """Tables for the report; a bare verdict does without Arrow and its threads."""
        from kfarm_twin.results import futures_table, rack_table  # noqa: PLC0415

        state = steady(self.model, placed, running_nodes(self.model))
        return Detail(
            model=self.model,
            slot_node=placed,
            futures=futures_table(outcome.metrics),
            replay=self.simulator.replay(worst, most_moments(len(self.model.names.racks))),
            racks=rack_table(self.model, state),
            instances=instances,
            cooling=self.simulator.cooling,
        )

    def conclude(self, placed: Ints, outcome: Outcome, worst: int) -> Verdict:
        """Put the decisions together."""
        checks = [
            check_result(self.model, bound.check, sequence, outcome, self.notes())
            for bound, sequence in zip(self.bounds, self.sequences, strict=True)
        ]
        failed = [check.message for check in checks if check.result == "Failed"]
        broken = [row for row in self.survives if row.result == "Failed"]
        undecided = [check.metric for check in checks if check.result == "Undecided"]
        word, reason, message = "Approved", "AllChecksPassed", self._approval(placed, checks)
        if failed:
            word, reason, message = "Rejected", "ChecksFailed", " ".join(failed)
        elif broken:
            message = " ".join(survival_sentence(row) for row in broken)
            word, reason = "Rejected", "FaultsNotSurvived"
        elif undecided:
            word, reason = "Inconclusive", "Undecided"
            message = (
                f"{len(outcome.metrics)} futures do not decide {', '.join(undecided)}: the "
                "share that meets the bound lies close to the quantile; raise "
                "simulation.futures.max, or move the bound"
            )
        elif self.assumptions is not None and (unknown := domination(self.assumptions)):
            word, reason, message = "Inconclusive", "AssumptionDominated", unknown
        return self.verdict(
            word,
            reason,
            message[:2048],
            checks=checks,
            survives=self.survives,
            assumptions=self.assumptions,
            placements=self.placements(placed),
            futures=len(outcome.metrics),
            worst_future=worst,
            estimates=summaries(outcome),
            warnings=[
                *self.model.warnings,
                *self._facility_notes(),
                *self._vacuous(),
                *self._overloads(outcome),
            ],
        )

    def notes(self) -> dict[str, str]:
        """Who is behind metrics that come from faults of the cooling."""
        return cooling_notes(self.simulator.cooling) if self.simulator.cooling else {}

    def _approval(self, placed: Ints, checks: list[Any]) -> str:
        nodes = len(np.unique(placed))
        futures = self.sequences[0].futures if self.sequences else self.request.futures_range[0]
        return (
            f"{len(placed)} pods on {nodes} nodes keep all {len(checks)} checks over "
            f"{futures} futures and survive all {len(self.survives)} kinds of fault"
        )

    def _facility_notes(self) -> list[str]:
        """What was assumed about facilities, where a check asks for their figures."""
        asked = any(bound.check.metric in FACILITY_METRICS for bound in self.bounds)
        return list(self.simulator.facility_assumptions) if asked else []

    def _overloads(self, outcome: Outcome) -> list[str]:
        """The loop that is asked for most beyond its capacity, if any: cold water may hide it."""
        loads = outcome.metrics[:, METRIC_ORDER.index("cdu_load_max")]
        if not (loads > 1.0).any():
            return []
        worst = int(np.nanargmax(loads))
        loop = self.model.names.loops[outcome.places[worst, WORST_LOOP]]
        return [
            f"{loop} carries {100 * loads[worst]:.0f} % of its cduCapacity: it holds its supply "
            "only as far as the facility water is colder than the approach asks for; set a check "
            "cdu_load_max atMost 1 where pumps or the vendor's rating forbid that"
        ]

    def _vacuous(self) -> list[str]:
        return [
            f"survives {row.fault}: {row.message}" for row in self.survives if row.instances == 0
        ]

    def placements(self, placed: Ints) -> list[WorkloadPlacement]:
        """Node of each slot, by workload."""
        names = self.model.names.nodes
        return [
            WorkloadPlacement(
                workload=workload.name,
                slots=[
                    Slot(node=names[node]) for node in placed[self.model.slot_workload == index]
                ],
            )
            for index, workload in enumerate(self.model.workloads)
        ]


def _hours(span_ns: float) -> str:
    return f"{int(-(-span_ns // (3600 * 10**9)))}h"


def _lack(metric: str) -> str:
    needs = METRICS[metric].needs
    if needs is not None:
        return f"needs a workload of class {needs}"
    what = {
        "rack_power_load_max": "a rack.powerLimit",
        "cdu_load_max": "a liquid-cooled cluster",
        "plant_load_max": "a plant",
        "pdu_power_load_max": "a feed.pduLimit",
        "feed_power_load_max": "a feed.feedLimit",
        "site_power_load_max": "a power.capacity",
        "energy_cost": "a power.tariff",
        "cost_per_accelerator_hour": "a power.tariff",
        "time_to_throttle_min": "CDUs, described air handlers or a plant",
        "time_to_shutdown_min": "CDUs, described air handlers or a plant",
    }
    return f"needs {what.get(metric, 'more than the farm describes')}"


def summaries(outcome: Outcome) -> dict[str, MetricSummary]:
    """Mean and order statistics of all metrics."""
    found = {}
    for column, name in enumerate(METRIC_ORDER):
        values = outcome.metrics[:, column]
        values = values[np.isfinite(values)]
        unit = METRICS[name].unit
        if not len(values):
            found[name] = MetricSummary(unit=unit, applicable=0)
            continue
        p05, p50, p95, p99 = order_statistics(values, SHARES)
        mean = float(np.sum(np.sort(values)) / len(values))
        found[name] = MetricSummary(
            unit=unit, applicable=len(values), mean=mean, p05=p05, p50=p50, p95=p95, p99=p99
        )
    return found


def validate_detailed(
    request: ValidationRequest, progress: Progress | None = None
) -> tuple[Verdict, Detail]:
    """The verdict, with all that a report shows; see `validate`."""
    return _Run(request, progress, detailed=True).run()


def validate(request: ValidationRequest, progress: Progress | None = None) -> Verdict:
    """Whether a plan may be released under a policy, and why (not).

    Parameters
    ----------
    progress
        Called with (futures played, most futures) after each batch.

    Raises
    ------
    InputError
        When the request names what is not there.
    """
    return _Run(request, progress, detailed=False).run()[0]
