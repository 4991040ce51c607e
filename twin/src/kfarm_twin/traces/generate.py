"""Jobs drawn from a model: same model and seed, same bytes, on every machine.

Numbers come from Philox4x64-10 with the key (seed, purpose), so that the first jobs of a longer
trace are those of a shorter one, and a change of one column leaves the others alone. Only + - * /
follow, whose results do not depend on the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.jobs import Jobs, JobTrace
from kfarm_twin.traces.build import ModelSets, number_texts, sealed
from kfarm_twin.traces.cells import MAX_TIME_NS, NS_PER_S
from kfarm_twin.traces.model import GRID, HOURS_PER_WEEK, RATIO_GRID, SizeMix, TraceModel

_HOUR_S = 3600
_DOUBLE = 2.0**-53
_HIGH = np.uint64(11)
MOODS = 8
"""Equal parts of the distribution of gaps."""


class Purpose(IntEnum):
    """What a stream of random numbers is for."""

    GAP = 0
    SIZE = 1
    SHAPE = 2
    RUN = 3
    LIMIT = 4
    QUEUE = 5
    MOOD = 6
    CHANGE = 7
    FOLLOW = 8


def uniforms(seed: int, purpose: Purpose, size: int) -> Floats:
    """Numbers in [0, 1), the first `size` of a stream [size]."""
    source = np.random.Philox(key=np.array([seed, purpose], dtype=np.uint64))
    bits: NDArray[np.uint64] = np.asarray(source.random_raw(size), dtype=np.uint64)
    return (bits >> _HIGH).astype(np.float64) * _DOUBLE


def quantile_of(table: Floats, grid: Sequence[float], at: Floats) -> Floats:
    """Values at the probabilities `at` of a table of quantiles, linear between them."""
    points = np.asarray(grid)
    low = np.clip(np.searchsorted(points, at, side="right") - 1, 0, len(points) - 2)
    share = (at - points[low]) / (points[low + 1] - points[low])
    rise = (table[low + 1] - table[low]) * share
    return np.asarray(table[low] + rise, dtype=np.float64)


def _pick(weights: Sequence[float], at: Floats) -> Ints:
    """Index by weight of each number in [0, 1)."""
    total = np.cumsum(np.asarray(weights, dtype=np.float64))
    found = np.searchsorted(total, at * total[-1], side="right")
    return np.asarray(np.minimum(found, len(total) - 1), dtype=np.int64)


def generate(
    model: TraceModel,
    jobs: int,
    seed: int,
    *,
    load: float | None = None,
    nodes: int | None = None,
) -> JobTrace:
    """Draw jobs.

    Parameters
    ----------
    jobs
        How many.
    seed
        Less than 2**64.
    load, nodes
        Device-hours asked for over those that so many nodes of `model.gpus_per_node` devices have:
        the rate of arrival is set to give it. None keeps the model's rate.

    Returns
    -------
    JobTrace
        Ids are numbers from 1; second 0 is a Monday, 00:00.

    Raises
    ------
    ValueError
        For a load without nodes or the reverse, or where jobs come so slowly or last so long that
        times do not fit.
    """
    draws = {purpose: uniforms(seed, purpose, jobs) for purpose in Purpose}
    columns, queues, models = _asked(model, draws, jobs)
    rate = _rate(model, columns, load, nodes)
    columns["submit_ns"] = _submits(model, _gap_places(model, draws), rate)
    made = Jobs(*(sealed(columns[name]) for name in Jobs._fields))
    return JobTrace(made, number_texts(np.arange(1, jobs + 1)), queues, models)


def _asked(
    model: TraceModel, draws: dict[Purpose, Floats], jobs: int
) -> tuple[dict[str, Ints], tuple[str, ...], tuple[frozenset[str], ...]]:
    """All columns but the times of submission [J], names of the queues, sets of models."""
    size = _pick([mix.weight for mix in model.sizes], draws[Purpose.SIZE])
    queues: dict[str, int] = {}
    models = ModelSets()
    columns = {name: np.zeros(jobs, dtype=np.int64) for name in Jobs._fields}
    for number, mix in enumerate(model.sizes):
        rows = np.flatnonzero(size == number)
        drawn = {purpose: column[rows] for purpose, column in draws.items()}
        for name, column in _of_size(mix, drawn, queues, models).items():
            columns[name][rows] = column
    return columns, tuple(queues), models.all


def _of_size(
    mix: SizeMix, drawn: dict[Purpose, Floats], queues: dict[str, int], models: ModelSets
) -> dict[str, Ints]:
    """Columns of the jobs of one size class."""
    shape = _pick([each.weight for each in mix.shapes], drawn[Purpose.SHAPE])
    run_s = quantile_of(np.array(mix.run_s), GRID, drawn[Purpose.RUN])
    bands = np.array(mix.limit_over_run)
    band = np.minimum((drawn[Purpose.RUN] * len(bands)).astype(np.int64), len(bands) - 1)
    ratio = np.ones_like(run_s)
    for number, table in enumerate(bands):
        here = band == number
        ratio[here] = quantile_of(table, RATIO_GRID, drawn[Purpose.LIMIT][here])
    run = np.maximum(_whole_seconds(run_s), NS_PER_S)
    names = np.array([queues.setdefault(name, len(queues)) for name in mix.queues], dtype=np.int64)
    sets = np.array(["|".join(sorted(each.models)) for each in mix.shapes], dtype=np.str_)
    columns = {
        name: np.array([getattr(each, name) for each in mix.shapes], dtype=np.int64)[shape]
        for name in ("pods", "gpus", "gpu_milli", "cpu_milli", "memory_mib")
    }
    return columns | {
        "run_ns": run,
        "limit_ns": np.maximum(_whole_seconds(run_s * ratio), run),
        "queue": names[_pick(list(mix.queues.values()), drawn[Purpose.QUEUE])],
        "models": models.codes_of(sets)[shape],
    }


def _whole_seconds(time_s: Floats) -> Ints:
    """To the nearest second [ns]: traces of real farms have no finer times."""
    longest = MAX_TIME_NS // NS_PER_S
    if (time_s > longest).any():
        message = f"a time of {time_s.max():.3g} s; the longest is {longest:,} s"
        raise ValueError(message)
    return np.rint(time_s).astype(np.int64) * NS_PER_S


def _rate(
    model: TraceModel, columns: dict[str, Ints], load: float | None, nodes: int | None
) -> float:
    """Jobs an hour."""
    if (load is None) != (nodes is None):
        raise ValueError("a load needs a number of nodes, and nodes need a load")
    if load is None or nodes is None:
        return model.arrivals.jobs_per_hour
    devices = columns["pods"] * columns["gpus"] * columns["gpu_milli"] / 1000
    work = float((devices * (columns["run_ns"] // NS_PER_S)).mean()) / _HOUR_S
    if work <= 0:
        raise ValueError("a load needs jobs with devices; the model has none")
    return load * nodes * model.gpus_per_node / work


def _gap_places(model: TraceModel, draws: dict[Purpose, Floats]) -> Floats:
    """Place of each gap in their distribution, in [0, 1), by mood where it follows one [J]."""
    free = draws[Purpose.GAP]
    begins = draws[Purpose.CHANGE] < 1 / model.arrivals.mood_jobs
    since = np.maximum.accumulate(np.where(begins, np.arange(len(free)), 0))
    mood = np.floor(draws[Purpose.MOOD][since] * MOODS)
    return np.where(draws[Purpose.FOLLOW] < model.arrivals.mood_share, (mood + free) / MOODS, free)


def _submits(model: TraceModel, gap: Floats, rate: float) -> Ints:
    """Times of submission [ns] from gaps in a time in which the rate is constant."""
    table = np.array(model.arrivals.gaps)
    gaps = quantile_of(table, GRID, gap) / mean_of(table, GRID)
    hours = np.cumsum(gaps) / rate
    course = np.array(model.arrivals.hour_of_week)
    course = np.maximum(course / course.mean(), 1e-6)  # an hour without jobs takes no time to pass
    passed = np.concatenate([[0.0], np.cumsum(course)])
    passed *= HOURS_PER_WEEK / passed[-1]
    week = np.floor(hours / HOURS_PER_WEEK)
    clock = quantile_of(
        np.arange(HOURS_PER_WEEK + 1.0), passed.tolist(), hours - week * HOURS_PER_WEEK
    )
    return _whole_seconds(np.floor((week * HOURS_PER_WEEK + clock) * _HOUR_S))


def mean_of(table: Floats, grid: Sequence[float]) -> float:
    """Mean of the distribution that a table of quantiles stands for."""
    widths = np.diff(np.asarray(grid))
    return float((widths * (table[1:] + table[:-1]) / 2).sum())
