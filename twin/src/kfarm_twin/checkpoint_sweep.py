"""How often to save: intervals played on the same chance, beside Young, Daly and the optimum."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from kfarm_api.units import parse_duration_ns

from kfarm_twin.answers_result import CheckpointAnswer, IntervalRow, Optimum
from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.checkpoint_text import headline
from kfarm_twin.checkpoints import best_interval, daly_interval, ettr, young_interval
from kfarm_twin.compile import Model
from kfarm_twin.fleetrun import compile_gang, play_model
from kfarm_twin.fleetrun_farm import named_in_run
from kfarm_twin.fleetrun_request import NS_PER_S, FleetRequest, check
from kfarm_twin.outcomes import order_statistics
from kfarm_twin.request import InputError
from kfarm_twin.spares import paired
from kfarm_twin.whatif_stats import significant

TOLERANCE = 0.001
"""ETTR that a good interval may lose: a tenth of a point."""
STEPS = 16
RATIO = 2.0**0.25
"""Between neighbours: `STEPS` of them reach from a quarter of the optimum to four times it."""
LEAST_S = 1
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Stage:
    """A gang that is compiled and placed; intervals are changed in its columns."""

    request: FleetRequest
    model: Model
    placed: Ints
    workers: int | None

    def play(self, interval_s: float) -> dict[str, Floats]:
        """Metrics by name [futures] with this interval."""
        columns = self.model.columns
        interval = columns.workloads.interval_ns.copy()
        interval[0] = round(interval_s) * NS_PER_S
        interval.setflags(write=False)
        workloads = columns.workloads._replace(interval_ns=interval)
        model = replace(self.model, columns=columns._replace(workloads=workloads))
        return play_model(self.request, model, self.placed, None, self.workers).metrics


def answer_checkpoint(
    request: FleetRequest, progress: Progress | None = None, workers: int | None = None
) -> CheckpointAnswer:
    """Play the gang at a grid of intervals about the optimum, on the same chance.

    Raises
    ------
    InputError
        When there is no gang, saving is free, nothing fails, or the horizon is too short.
    """
    gang = request.gang
    if gang is None:
        raise InputError("spec.workload", "no gang", "a gang: its interval is asked for")
    check(request)
    save_s = parse_duration_ns(gang.checkpoint.save) / NS_PER_S
    if save_s <= 0.0:
        raise InputError(
            "spec.workload.gang.checkpoint.save",
            gang.checkpoint.save,
            "more than 0s: where saving is free, the best interval is as short as can be",
        )
    try:
        model, placed = compile_gang(request)
    except InputError as error:
        raise named_in_run(error) from error
    stage = _Stage(request, model, placed, workers)
    guess = _guess(request, model)
    first = stage.play(guess)
    stops = float(first["gang_interruptions"].sum())
    if stops < 1.0:
        raise InputError(
            "spec",
            f"no interruption of the gang in {request.spec.replicas} futures of "
            f"{request.spec.horizon}",
            "failures that stop it, a longer horizon or more futures: without them no save pays",
        )
    stopped = first["time_to_recover_mean"] * first["gang_interruptions"]
    recover_s = float(stopped.sum()) / stops
    mtti_s = float(request.horizon_ns) / NS_PER_S * len(stopped) / stops - recover_s
    return _sweep(stage, save_s, mtti_s, recover_s, progress)


def _guess(request: FleetRequest, model: Model) -> float:
    """An interval to learn the time between interruptions from [s]."""
    declared = int(model.columns.workloads.interval_ns[0]) / NS_PER_S
    return max(LEAST_S, min(declared, request.horizon_ns / NS_PER_S / 4.0))


def grid(middle_s: float, longest_s: float) -> list[int]:
    """Whole seconds in equal ratios about the middle, from `LEAST_S` to `longest_s`."""
    wanted = (round(middle_s * RATIO**step) for step in range(-STEPS // 2, STEPS // 2 + 1))
    return sorted({max(LEAST_S, min(value, int(longest_s))) for value in wanted})


def formula(interval_s: float, save_s: float, recover_s: float, mtti_s: float) -> float:
    """ETTR of a long run that is stopped at random while it works, and only then.

    d / (exp((d + w) / M) - 1) of each M + u, with M the mean time at work (saves included) between
    stops and u the mean time from a stop until work goes on; `checkpoints.ettr` differs in that
    failures also strike while it recovers.
    """
    return (
        math.exp(recover_s / mtti_s)
        * mtti_s
        / (mtti_s + recover_s)
        * ettr(interval_s, save_s, recover_s, mtti_s)
    )


def _sweep(
    stage: _Stage, save_s: float, mtti_s: float, recover_s: float, progress: Progress | None
) -> CheckpointAnswer:
    request = stage.request
    horizon_s = request.horizon_ns / NS_PER_S
    formulas: dict[Literal["young", "daly", "exact"], float] = {
        "young": young_interval(save_s, mtti_s),
        "daly": daly_interval(save_s, mtti_s),
        "exact": best_interval(save_s, mtti_s),
    }
    formulas = {name: max(LEAST_S, min(value, horizon_s / 2)) for name, value in formulas.items()}
    steps = grid(formulas["exact"], horizon_s / 2)
    declared = _declared(request)
    wanted = sorted({*steps, *map(round, formulas.values()), *([declared] if declared else [])})
    played: dict[int, Floats] = {}
    for at, interval in enumerate(wanted):
        if progress is not None:
            progress(at, len(wanted))
        played[interval] = stage.play(interval)["ettr"]
    best = max(steps, key=lambda interval: math.fsum(played[interval]))
    rows = [
        _interval_row(at, played[at], played[best], formula(at, save_s, recover_s, mtti_s))
        for at in wanted
    ]
    loss = {int(row.interval_s): row for row in rows}
    good = _good(steps, loss, best)
    gang = request.gang
    if gang is None:
        raise AssertionError("a gang was compiled")
    found = CheckpointAnswer(
        name=request.name,
        inputs_digest=request.digest(),
        gang_nodes=gang.nodes,
        futures=request.spec.replicas,
        seed=request.spec.seed,
        horizon=request.spec.horizon,
        save_s=save_s,
        restart_s=parse_duration_ns(gang.checkpoint.restart) / NS_PER_S,
        mtti_s=significant(mtti_s),
        recover_s=significant(recover_s),
        best_s=float(best),
        tolerance=TOLERANCE,
        good_from_s=float(good[0]),
        good_to_s=float(good[1]),
        declared_s=None if declared is None else float(declared),
        headline=[],
        rows=rows,
        formulas=[
            Optimum(
                name=name,
                interval_s=significant(value),
                ettr=loss[round(value)].ettr,
                loss=loss[round(value)].loss,
            )
            for name, value in formulas.items()
        ],
        notes=list(stage.model.warnings),
    )
    return found.model_copy(update={"headline": headline(found)})


def _declared(request: FleetRequest) -> int | None:
    """The run's own interval in whole seconds, where it has one."""
    gang = request.gang
    if gang is None or gang.checkpoint.interval is None:
        return None
    return max(LEAST_S, round(parse_duration_ns(gang.checkpoint.interval) / NS_PER_S))


def _interval_row(interval: int, mine: Floats, best: Floats, formula: float) -> IntervalRow:
    loss, low, high = paired(best - mine)
    return IntervalRow(
        interval_s=float(interval),
        ettr=significant(math.fsum(mine) / len(mine)),
        ettr_p05=significant(order_statistics(mine, (0.05,))[0]),
        formula=significant(formula),
        loss=loss,
        loss_low=loss if low is None else low,
        loss_high=loss if high is None else high,
    )


def _good(steps: list[int], rows: dict[int, IntervalRow], best: int) -> tuple[int, int]:
    """Shortest and longest interval around the best between which little is lost."""
    at = steps.index(best)
    low = high = at
    while low > 0 and rows[steps[low - 1]].loss < TOLERANCE:
        low -= 1
    while high < len(steps) - 1 and rows[steps[high + 1]].loss < TOLERANCE:
        high += 1
    return steps[low], steps[high]
