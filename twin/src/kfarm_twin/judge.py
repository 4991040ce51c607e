"""Would the verdict be the same under other inputs? Judged with few futures, always the same ones.

A judgement plays futures 0, 1, ... of the verdict's seed, so that two sets of inputs see the same
luck, and the verdict's own first futures are what it is compared with. A set of inputs *approves*
where every fault is survived and, for each check, no more of F futures miss the bound than

- the quantile allows, floor((1 - q) F), or the stated inputs miss, where the verdict passed the
  check over all its futures;
- the quantile allows, but fewer than the stated inputs miss, where it did not.

So the stated inputs are judged as the verdict has it. It ends early: with the first miss too many,
or after `FIRST` futures where each bound is kept by `CLEAR` times the standard deviation over
futures, the larger of the one seen here and that under the stated inputs.

The *margin* of a check says how far from flipping: the distance between bound and quantile, as a
share of that distance under the stated inputs. The quantile is the stated one moved by the mean
difference of paired futures. The margin of the faults is what is left of the time that a restart
may take, likewise, and -1 where one is not survived.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from kfarm_api.policy import Check, Fault, FaultLimits
from kfarm_api.units import parse_duration_ns

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.compile import Model
from kfarm_twin.cooling_metrics import COLUMNS, cooling_study
from kfarm_twin.heat_vary import never_throttles
from kfarm_twin.priors import Amounts
from kfarm_twin.simulate import Simulator
from kfarm_twin.simulate_facility import FACILITY_METRICS
from kfarm_twin.survive import InstanceResult, survive
from kfarm_twin.survive_cooling import cooling_matters
from kfarm_twin.survive_power import power_can_fail
from kfarm_twin.vary import varied
from kfarm_twin.verdict import Decision, meets

FIRST = 3
"""Futures after which a clear case ends."""
CLEAR = 4.0
"""Standard deviations that make a case clear."""
MOST_MARGIN = 10.0
"""Margins are cut here, either way."""


class Bound(Protocol):
    """A check with its numbers."""

    @property
    def check(self) -> Check:
        """As written."""

    @property
    def column(self) -> int:
        """Column of its metric."""

    @property
    def at_least(self) -> float | None:
        """Lower bound."""

    @property
    def at_most(self) -> float | None:
        """Upper bound."""

    def slack(self, values: Floats) -> Floats:
        """Distance to the bound, negative where it is not kept."""


@dataclass(frozen=True)
class Stated:
    """The verdict under the stated inputs.

    Attributes
    ----------
    slot_node
        [S] node of each slot; stays, whatever the inputs.
    metrics
        [futures, METRIC_COUNT] of the futures played, from future 0 on.
    decisions
        How each check came out.
    """

    model: Model
    slot_node: Ints
    seed: int
    horizon_ns: int
    bounds: Sequence[Bound]
    decisions: Sequence[Decision]
    metrics: Floats
    faults: Sequence[Fault]
    limits: FaultLimits
    instances: Sequence[InstanceResult]

    @property
    def hopeless(self) -> bool:
        """Whether a fault is not survived whatever the inputs: a matter of what stands where."""
        return any(row.certain for row in self.instances if not row.survived)

    @cached_property
    def cooling_matters(self) -> bool:
        """Whether a fault of the cooling takes more than what is redundant."""
        return cooling_matters(self.model, self.faults)


@dataclass(frozen=True)
class Judgement:
    """What becomes of the verdict under one set of inputs.

    Attributes
    ----------
    margins
        Of each check, and last of the faults; NaN where no future was played.
    """

    approves: bool
    margins: tuple[float, ...]
    futures: int

    @property
    def margin(self) -> float:
        """The least margin."""
        return min(margin for margin in self.margins if not math.isnan(margin))


@dataclass
class Judge:
    """Judges sets of inputs, one after the other; one for each thread.

    Parameters
    ----------
    futures
        F: most futures per judgement.
    """

    stated: Stated
    futures: int
    _simulator: Simulator = field(init=False)
    _allowed: list[int] = field(init=False)
    _spread: list[float] = field(init=False)
    _slack: list[float] = field(init=False)

    def __post_init__(self) -> None:
        case = self.stated
        self._simulator = Simulator(
            case.model,
            case.slot_node,
            case.seed,
            case.horizon_ns,
            workers=1,
            facility=any(bound.check.metric in FACILITY_METRICS for bound in case.bounds),
        )
        first = case.metrics[: self.futures]
        self._allowed, self._spread, self._slack = [], [], []
        for bound, decision in zip(case.bounds, case.decisions, strict=True):
            values = case.metrics[:, bound.column]
            missed = len(first) - meets(first[:, bound.column], bound.at_least, bound.at_most)
            self._allowed.append(self._allowance(bound, decision, missed))
            self._spread.append(_spread(values))
            slack = np.sort(bound.slack(values))
            share = 1.0 - bound.check.quantile / 100.0
            at = max(math.ceil(share * len(slack) - 1e-9), 1) - 1
            self._slack.append(float(slack[at]))

    def _allowance(self, bound: Bound, decision: Decision, missed: int) -> int:
        """How many of F futures may miss a bound."""
        free = math.floor((100 - bound.check.quantile) * self.futures / 100)
        if decision == "Passed":
            return max(free, missed)
        return min(free, max(missed - 1, 0))

    def judge(self, amounts: Amounts) -> Judgement:
        """Judge one set of inputs."""
        model = varied(self.stated.model, amounts)
        if not self._survives(model):
            return Judgement(False, (*(math.nan for _ in self.stated.bounds), -1.0), 0)
        faults = self._fault_margin(model)
        if not self.stated.bounds:
            return Judgement(True, (faults,), 0)
        self._simulator.model = model
        if any(bound.column in COLUMNS for bound in self.stated.bounds):
            self._simulator.cooling = cooling_study(model, self.stated.slot_node)
        metrics = self._simulator.play(0, min(FIRST, self.futures)).metrics
        missed = self._missed(metrics)
        if self._open(metrics, missed):
            rest = self._simulator.play(len(metrics), self.futures - len(metrics)).metrics
            metrics = np.concatenate([metrics, rest])
            missed = self._missed(metrics)
        approves = all(m <= a for m, a in zip(missed, self._allowed, strict=True))
        return Judgement(approves, (*self._margins(metrics), faults), len(metrics))

    def _missed(self, metrics: Floats) -> list[int]:
        return [
            len(metrics) - meets(metrics[:, b.column], b.at_least, b.at_most)
            for b in self.stated.bounds
        ]

    def _open(self, metrics: Floats, missed: list[int]) -> bool:
        """Whether more futures could change the judgement."""
        if len(metrics) >= self.futures:
            return False
        if any(m > a for m, a in zip(missed, self._allowed, strict=True)):
            return False
        for bound, spread in zip(self.stated.bounds, self._spread, strict=True):
            values = metrics[:, bound.column]
            least = float(np.min(bound.slack(values)))
            if not least >= CLEAR * max(spread, _spread(values)):
                return True
        return False

    def _margins(self, metrics: Floats) -> list[float]:
        count = min(len(metrics), len(self.stated.metrics))
        margins = []
        for bound, slack in zip(self.stated.bounds, self._slack, strict=True):
            now = bound.slack(metrics[:count, bound.column])
            before = bound.slack(self.stated.metrics[:count, bound.column])
            moved = (slack + float(np.mean(now - before))) / (abs(slack) or 1.0)
            margins.append(_cut(moved if math.isfinite(moved) else -MOST_MARGIN))
        return margins

    def _fault_margin(self, model: Model) -> float:
        """Share left of the time that restart after a fault may take; 1 where it plays no part."""
        limit = parse_duration_ns(self.stated.limits.restart)
        stated = _longest(self.stated.model)
        if not self.stated.faults or stated == 0 or limit <= stated:
            return 1.0
        return _cut((limit - _longest(model)) / (limit - stated))

    def _survives(self, model: Model) -> bool:
        """Whether all faults are survived; instances are failed only where that could change."""
        case = self.stated
        if _off(model) - _off(case.model) & _hosts(case.model, case.slot_node):
            return False
        if not case.faults:
            return True
        kept = all(row.survived for row in case.instances)
        powered = not power_can_fail(case.model) or not {"Pdu", "Feed"} & set(case.faults)
        simple = kept and powered and not case.cooling_matters
        slow = _longest(model) > parse_duration_ns(case.limits.restart)
        cool = never_throttles(case.model.columns) and never_throttles(model.columns)
        if simple and not slow and cool:
            return True
        results, _ = survive(model, case.slot_node, list(case.faults), case.limits)
        return all(row.result == "Passed" for row in results)


def _cut(margin: float) -> float:
    return max(-MOST_MARGIN, min(margin, MOST_MARGIN))


def _spread(values: Floats) -> float:
    return float(np.std(values)) if np.isfinite(values).all() else math.inf


def _off(model: Model) -> set[int]:
    """Clusters whose devices overheat even when idle."""
    return {index for index, ref in enumerate(model.clusters) if ref.facts.overheats}


def _hosts(model: Model, slot_node: Ints) -> set[int]:
    """Clusters that slots stand in."""
    return {int(cluster) for cluster in np.unique(model.columns.nodes.cluster[slot_node])}


def _longest(model: Model) -> int:
    """Upper bound of detection and restart of any gang [ns]; 0 without gangs."""
    gangs = model.columns.workloads.gang == 1
    restart = int(model.columns.workloads.restart_ns[gangs].max(initial=0))
    return int(model.columns.clusters.detection_ns.max()) + restart if gangs.any() else 0
