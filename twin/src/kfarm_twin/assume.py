"""What a verdict is worth where its inputs are not known well: draws, influence, break-even.

Each input of `priors` is moved alone to both ends of its central 90 % range, and each of the most
influential ones to where the verdict flips, found by doubling and halving its distance from the
stated value in logarithms. All inputs together are drawn from their priors; the share of draws
that approve is reported. An *unknown* (confidence Low, or no source) that flips an approval within
its own range makes the verdict ``AssumptionDominated`` (docs/adr/0010).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Any

from kfarm_api.plan import AssumedInput, AssumptionResult

from kfarm_twin.judge import FIRST, Judge, Judgement, Stated
from kfarm_twin.priors import CENTRAL_Z, Amounts, Input, draws, uncertain_inputs
from kfarm_twin.simulate import THREAD_WORTH

MOST_INPUTS = 64
"""Inputs that are moved alone, unknowns first."""
MOST_CLASSES = 8
"""Of these, rates, repairs and detections of classes that somebody vouches for."""
REPORTED = 3
"""Influential inputs whose break-even is sought."""
FLOOR = 1e-3
"""Influence below which an input does not count."""
REACH = math.log(64.0)
"""How far a break-even is sought, in logarithms; twice the central range for temperatures."""
TOLERANCE = 0.01
"""Relative width of the bracket that a break-even ends in."""
BUDGET = 1e6
"""Node failures that all draws together may play; beyond it there are fewer draws, then futures."""
LEAST_DRAWS = 16
FAULTS = "survives"
"""Stands for the faults where a check is named."""

Task = Callable[[Judge], Any]


@dataclass(frozen=True)
class _Moved:
    """An input moved alone to both ends of its central range."""

    entry: Input
    low: Judgement
    high: Judgement
    base: Judgement

    @property
    def influence(self) -> float:
        """How much of the least margin it moves."""
        return max(abs(end.margin - self.base.margin) for end in (self.low, self.high))

    @property
    def flips(self) -> bool:
        """Whether the verdict is another at either end."""
        return any(end.approves != self.base.approves for end in (self.low, self.high))

    @property
    def side(self) -> float:
        """Direction in which the verdict is nearest to flipping: 1 up, -1 down."""
        rises = self.high.margin > self.low.margin
        return 1.0 if rises != self.base.approves else -1.0

    @property
    def place(self) -> int:
        """The check (or, last, the faults) that comes nearest to flipping."""
        margins = [
            (margin, place)
            for end in (self.low, self.high)
            for place, margin in enumerate(end.margins)
            if not math.isnan(margin)
        ]
        return min(margins)[1]


@dataclass(frozen=True)
class _Flip:
    """Where an input, moved alone, flips the verdict [standard deviations], if it was found.

    Attributes
    ----------
    side
        1 where it was sought upwards, -1 downwards.
    stays
        Farthest point at which the verdict is still the same.
    changes
        Nearest point at which it is another, or None.
    """

    side: float
    stays: float
    changes: float | None


class _Study:
    """One study of the assumptions behind one verdict."""

    def __init__(self, stated: Stated, draws_wanted: int, futures: int) -> None:
        self.stated = stated
        self.inputs = uncertain_inputs(stated.model.clusters, stated.model.workloads)
        events = max(stated.model.fleet.faults_per_ns * stated.horizon_ns, 1.0)
        fair = int(BUDGET / events)
        self.draws = min(draws_wanted, max(fair // futures, LEAST_DRAWS))
        self.futures = min(futures, max(fair // self.draws, FIRST))
        enough = stated.model.nodes * self.futures * self.draws >= THREAD_WORTH
        self.workers = min(os.cpu_count() or 1, 8) if enough else 1

    def each(self, tasks: Sequence[Task]) -> list[Any]:
        """Results of tasks, in order; the number of threads changes only the time taken."""
        threads = min(self.workers, len(tasks))
        if threads <= 1:
            judge = Judge(self.stated, self.futures)
            return [task(judge) for task in tasks]

        def stripe(first: int) -> list[Any]:
            judge = Judge(self.stated, self.futures)
            return [task(judge) for task in tasks[first::threads]]

        found: list[Any] = [None] * len(tasks)
        with ThreadPoolExecutor(threads) as pool:
            for first, part in enumerate(pool.map(stripe, range(threads))):
                found[first::threads] = part
        return found

    def judged(self, sets: Sequence[Amounts]) -> list[Judgement]:
        """Judgements of sets of amounts."""
        return self.each([_judging(amounts) for amounts in sets])

    def moved(self) -> list[_Moved]:
        """Each input moved alone, the most influential first."""
        chosen = _screened(self.inputs)
        ends = [{entry.key: entry.amount(z)} for entry in chosen for z in (-CENTRAL_Z, CENTRAL_Z)]
        base, *found = self.judged([{}, *ends])
        rows = [
            _Moved(entry, low, high, base)
            for entry, low, high in zip(chosen, found[::2], found[1::2], strict=True)
        ]
        return sorted(rows, key=lambda row: -row.influence)

    def result(self) -> AssumptionResult:
        """Draws, influence and break-even together."""
        if self.stated.hopeless:
            return AssumptionResult(
                draws=self.draws, approving=0, futures=0, message=_hopeless(self.draws)
            )
        sets = draws(self.inputs, self.draws, self.stated.seed)
        found = self.judged(sets)
        rows = self.moved()
        reported = [
            row
            for place, row in enumerate(rows)
            if row.influence > FLOOR and (place < REPORTED or (row.flips and row.entry.unknown))
        ][: 2 * REPORTED]
        flips = self.each([_seeking(row) for row in reported])
        known = {row.entry.key: flip for row, flip in zip(reported, flips, strict=True)}
        approving = sum(judgement.approves for judgement in found)
        most = max([0, *(judgement.futures for judgement in found)])
        told = [_sentence(row, known[row.entry.key]) for row in reported[:REPORTED]]
        lead = (
            f"{approving} of {self.draws} draws of the uncertain inputs approve (at most {most} "
            "futures each)"
        )
        return AssumptionResult(
            draws=self.draws,
            approving=approving,
            futures=most,
            inputs=[self.row(row, known.get(row.entry.key)) for row in rows],
            message="; ".join([lead, *told])[:1024],
        )

    def row(self, row: _Moved, flip: _Flip | None) -> AssumedInput:
        """What is told of an input."""
        entry, place = row.entry, row.place
        checks = [bound.check.metric for bound in self.stated.bounds]
        return AssumedInput(
            input=entry.key[:256],
            name=entry.name[:256],
            unit=entry.unit,
            confidence=entry.confidence,
            unknown=entry.unknown,
            stated=number(float(entry.stated)),
            low=_at(entry, -CENTRAL_Z),
            high=_at(entry, CENTRAL_Z),
            check=[*checks, FAULTS][place],
            margin_stated=_margin(row.base, place),
            margin_low=_margin(row.low, place),
            margin_high=_margin(row.high, place),
            flips=row.flips,
            sought=flip is not None,
            break_even=_held(entry, flip) if flip and flip.changes is not None else None,
            message=_sentence(row, flip)[:512],
        )


def _judging(amounts: Amounts) -> Task:
    return lambda judge: judge.judge(amounts)


def _seeking(row: _Moved) -> Task:
    return lambda judge: _seek(judge, row)


def _screened(inputs: Sequence[Input]) -> list[Input]:
    """Inputs to move alone: unknowns first; of other classes those that take most node time."""
    known = [entry for entry in inputs if not entry.unknown]
    classes = sorted((e for e in known if math.isfinite(e.weight)), key=lambda e: -e.weight)
    rest = [entry for entry in known if math.isinf(entry.weight)]
    unknown = [entry for entry in inputs if entry.unknown]
    return [*unknown, *rest, *classes[:MOST_CLASSES]][:MOST_INPUTS]


def _seek(judge: Judge, row: _Moved) -> _Flip:
    """Bracket the point where the verdict flips, from the end of the central range on."""
    entry, side, same = row.entry, row.side, row.base.approves
    reach = 2.0 * CENTRAL_Z if entry.additive else REACH / entry.spread
    end = row.high if side > 0 else row.low

    def flipped(distance: float) -> bool:
        amounts = {entry.key: entry.amount(side * distance)}
        return judge.judge(amounts).approves != same

    stays, at = 0.0, CENTRAL_Z
    changed = end.approves != same
    while not changed:
        if at >= reach:
            return _Flip(side, side * at, None)
        stays, at = at, min(2.0 * at, reach)
        changed = flipped(at)
    width = TOLERANCE / entry.spread if not entry.additive else TOLERANCE
    while at - stays > width:
        middle = 0.5 * (stays + at)
        if flipped(middle):
            at = middle
        else:
            stays = middle
    return _Flip(side, side * stays, side * at)


def number(value: float, rounding: str = ROUND_HALF_EVEN) -> str:
    """Three significant digits, never as a power of ten."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    exact = Decimal(repr(value))
    step = Decimal(1).scaleb(min(exact.adjusted() - 2, 0))
    return f"{exact.quantize(step, rounding).normalize():f}"


def _at(entry: Input, z: float, rounding: str = ROUND_HALF_EVEN) -> str:
    return number(float(entry.value(entry.amount(z))), rounding)


def _held(entry: Input, flip: _Flip) -> str:
    """Farthest value at which the verdict stays, rounded towards the stated one."""
    return _at(entry, flip.stays, ROUND_FLOOR if flip.side > 0 else ROUND_CEILING)


def _changed(entry: Input, flip: _Flip) -> str:
    """Nearest value at which the verdict is another, rounded away from the stated one."""
    z = flip.stays if flip.changes is None else flip.changes
    return _at(entry, z, ROUND_CEILING if flip.side > 0 else ROUND_FLOOR)


def _margin(judgement: Judgement, place: int) -> str:
    margin = judgement.margins[place]
    return f"{judgement.margin if math.isnan(margin) else margin:.3f}"


def _sentence(row: _Moved, flip: _Flip | None) -> str:
    """Where the verdict flips, in words."""
    entry = row.entry
    of_what = f"{entry.unit} of {entry.name}"
    stated = f"stated {number(float(entry.stated))}"
    span = f"{_at(entry, -CENTRAL_Z)} to {_at(entry, CENTRAL_Z)}"
    if flip is None:
        word = "flips" if row.flips else "does not flip"
        return f"{entry.name}: the verdict {word} within {span} {entry.unit} ({stated})"
    way = "up to" if flip.side > 0 else "down to"
    if row.base.approves:
        least = "at least " if flip.changes is None else ""
        return f"approved {way} {least}{_held(entry, flip)} {of_what} ({stated})"
    if flip.changes is None:
        return f"not approved {way} {_held(entry, flip)} {of_what} ({stated})"
    side = "at or above" if flip.side > 0 else "at or below"
    return f"would be approved {side} {_changed(entry, flip)} {of_what} ({stated})"


def _hopeless(count: int) -> str:
    return (
        f"0 of {count} draws approve: a fault is not survived because of what stands where, which "
        "no uncertain input changes"
    )


def assess(stated: Stated, draws_wanted: int, futures: int) -> AssumptionResult:
    """Study the assumptions behind a verdict.

    Parameters
    ----------
    draws_wanted
        Sets of inputs to draw, at least 1.
    futures
        Most futures per set.
    """
    return _Study(stated, draws_wanted, futures).result()


def domination(result: AssumptionResult) -> str:
    """Why an approval cannot be given: unknown inputs that flip it; empty where there is none."""
    rows = result.unknowns
    if not rows:
        return ""
    told = [
        f"{entry.message}, but its 90 % range is {entry.low} to {entry.high} "
        f"({f'confidence {entry.confidence}' if entry.confidence else 'no source'})"
        for entry in rows[:REPORTED]
    ]
    more = f" and {len(rows) - REPORTED} more" if len(rows) > REPORTED else ""
    return (
        f"all checks pass as stated, but an unknown decides: {'; '.join(told)}{more}. Measure it "
        "and state its confidence, or change plan or policy so that it holds over that range"
    )
