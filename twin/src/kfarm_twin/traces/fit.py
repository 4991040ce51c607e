"""A generator's model out of a trace, and how well its jobs agree with those of the trace."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.jobs import WHOLE_MILLI, Jobs, JobTrace
from kfarm_twin.traces.cells import NS_PER_S
from kfarm_twin.traces.generate import MOODS
from kfarm_twin.traces.model import (
    GRID,
    HOURS_PER_WEEK,
    RATIO_GRID,
    Arrivals,
    Shape,
    SizeMix,
    TraceModel,
)
from kfarm_twin.traces.summary import (
    HOURS,
    device_hours_of,
    devices_of,
    hour_of_week,
    size_classes,
)

MAX_SHAPES = 256
"""Shapes kept in a size class, the most common ones."""
BANDS = 32
"""Bands of run time with a table of limits each, where a class has enough jobs."""
JOBS_PER_BAND = 32
WEEKS_FOR_WEEKDAYS = 3
DAYS_FOR_HOURS = 3
LAGS = (1, 2, 5, 10, 20, 50, 100)
"""Jobs between two gaps whose ranks are compared."""
SHORTEST_SERIES = 1000
"""Fewer gaps say nothing of bursts."""
_HOUR_NS = 3600 * NS_PER_S
_SHAPE = ("pods", "gpus", "gpu_milli", "cpu_milli", "memory_mib", "models")
_DIGITS = 9


def fit(trace: JobTrace, source: str, *, gpus_per_node: int) -> TraceModel:
    """Fit a model: quantiles of what was seen, no distribution is assumed.

    Parameters
    ----------
    source
        Where the trace comes from, in words.

    Raises
    ------
    ValueError
        For fewer than two jobs, or jobs that all come at once.
    """
    jobs = trace.jobs
    if len(jobs.submit_ns) < 2 or jobs.submit_ns[-1] == jobs.submit_ns[0]:
        raise ValueError("a model needs two jobs at least, and not all at one moment")
    sizes, kept = [], 0
    for size, holds in size_classes(devices_of(jobs)):
        mix, here = _mix(trace, size.label, np.flatnonzero(holds))
        sizes.append(mix)
        kept += here
    return TraceModel(
        source=source,
        gpus_per_node=gpus_per_node,
        left_out_shapes=1 - kept / len(jobs.submit_ns),
        arrivals=_arrivals(trace),
        sizes=tuple(sizes),
    )


def _mix(trace: JobTrace, label: str, rows: Ints) -> tuple[SizeMix, int]:
    """The jobs of a class, and how many of them have a shape that is kept."""
    jobs = trace.jobs
    columns = (getattr(jobs, name)[rows].tolist() for name in _SHAPE)
    shapes = Counter(zip(*columns, strict=True)).most_common(MAX_SHAPES)
    queues = np.bincount(jobs.queue[rows], minlength=len(trace.queues))
    run = jobs.run_ns[rows] / NS_PER_S
    mix = SizeMix(
        label=label,
        weight=len(rows),
        run_s=_table(run, GRID),
        limit_over_run=_ratios(run, jobs.limit_ns[rows] / jobs.run_ns[rows]),
        shapes=tuple(_shape(trace, values, count) for values, count in shapes),
        queues={name: int(n) for name, n in zip(trace.queues, queues, strict=True) if n},
    )
    return mix, sum(count for _, count in shapes)


def _shape(trace: JobTrace, values: tuple[int, ...], weight: int) -> Shape:
    *counts, models = values
    names = tuple(sorted(trace.models[models]))
    return Shape(weight=weight, **dict(zip(_SHAPE[:-1], counts, strict=True)), models=names)


def _table(values: Floats, grid: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(float(value), _DIGITS) for value in np.quantile(values, grid))


def _ratios(run: Floats, ratio: Floats) -> tuple[tuple[float, ...], ...]:
    """Tables of limit over run in bands of run time with equally many jobs."""
    bands = min(BANDS, max(1, len(run) // JOBS_PER_BAND))
    order = np.argsort(run, kind="stable")
    parts = np.array_split(np.maximum(ratio[order], 1.0), bands)
    return tuple(_table(part, RATIO_GRID) for part in parts)


def _arrivals(trace: JobTrace) -> Arrivals:
    """Course of the week first, then gaps in the time in which that course is flat."""
    submit = trace.jobs.submit_ns
    course = _course(trace)
    offset = int(hour_of_week(trace.jobs, trace.start)[0]) - int(submit[0] // _HOUR_NS)
    passed = np.concatenate([[0.0], np.cumsum(course)])
    hours = submit / _HOUR_NS + offset
    week = np.floor(hours / HOURS_PER_WEEK)
    clock = np.interp(hours - week * HOURS_PER_WEEK, np.arange(HOURS_PER_WEEK + 1), passed)
    gaps = np.diff(week * HOURS_PER_WEEK + clock)
    gaps = np.maximum(gaps, 0.0)
    share, length = _moods(np.diff(submit))
    return Arrivals(
        jobs_per_hour=1 / float(gaps.mean()),
        hour_of_week=tuple(round(float(rate), _DIGITS) for rate in course),
        gaps=_table(gaps / gaps.mean(), GRID),
        mood_share=round(share, _DIGITS),
        mood_jobs=round(length, _DIGITS),
    )


def _moods(gaps: Ints) -> tuple[float, float]:
    """Share of gaps that follow a mood, and its mean length in jobs.

    The correlation of ranks at lag k is then (1 - 1/64) share**2 (1 - 1/length)**k; both are fitted
    to the lags of `LAGS` by least squares, the length on a logarithmic grid.
    """
    if len(gaps) < SHORTEST_SERIES:
        return 0.0, 1.0
    _, inverse, times = np.unique(gaps, return_inverse=True, return_counts=True)
    rank = (np.cumsum(times) - (times + 1) / 2)[inverse]
    rank = rank - rank.mean()
    spread = float((rank * rank).mean())
    if spread == 0:
        return 0.0, 1.0
    found = np.array([float((rank[lag:] * rank[:-lag]).mean()) / spread for lag in LAGS])
    best, share, length = np.inf, 0.0, 1.0
    for jobs in np.geomspace(2, 1000, 55):
        course = (1 - 1 / MOODS**2) * (1 - 1 / jobs) ** np.array(LAGS)
        square = min(max(float((course * found).sum() / (course * course).sum()), 0.0), 1.0)
        error = float(((course * square - found) ** 2).sum())
        if error < best:
            best, share, length = error, square**0.5, float(jobs)
    is_noise = share**2 < 3 / len(gaps) ** 0.5  # three standard errors of a correlation of none
    return (0.0, 1.0) if is_noise else (share, length)


def _course(trace: JobTrace) -> Floats:
    """Rate in each hour of the week over its mean [168].

    By hour of the week from three weeks on, by hour of the day from three days on, else flat.
    """
    submit = trace.jobs.submit_ns
    came = hour_of_week(trace.jobs, trace.start)
    first, last = int(submit[0] // _HOUR_NS), int(submit[-1] // _HOUR_NS)
    span = last - first + 1
    lived = (int(came[0]) + np.arange(span)) % HOURS_PER_WEEK
    period = HOURS_PER_WEEK
    if span < WEEKS_FOR_WEEKDAYS * HOURS_PER_WEEK:
        period = HOURS if span >= DAYS_FOR_HOURS * HOURS else 1
    jobs = np.bincount(came % period, minlength=period)
    hours = np.bincount(lived % period, minlength=period)
    rate = np.tile(jobs / hours, HOURS_PER_WEEK // period)
    return np.asarray(rate / rate.mean())


def goodness(trace: JobTrace, made: JobTrace) -> list[dict[str, Any]]:
    """Figures of a trace beside those of one that was generated: what a fit keeps and loses."""
    rows = []
    for name, unit, figure in _FIGURES:
        rows.append(
            {"figure": name, "unit": unit, "trace": figure(trace.jobs), "made": figure(made.jobs)}
        )
    return rows


def _gaps(jobs: Jobs) -> Floats:
    return np.diff(jobs.submit_ns) / NS_PER_S


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else 0.0


def _variation(values: Floats) -> float:
    return float(values.std() / values.mean()) if len(values) and values.mean() > 0 else 0.0


def _dispersion(jobs: Jobs) -> float:
    """Variance over mean of the jobs that come in a whole hour; 1 for a Poisson process."""
    counts = np.bincount((jobs.submit_ns - jobs.submit_ns[0]) // _HOUR_NS)
    whole = counts[:-1] if len(counts) > 1 else counts
    return float(whole.var() / whole.mean())


def _quantile(values: NDArray[Any], probability: float) -> float:
    return float(np.quantile(values, probability))


def _large(jobs: Jobs) -> float:
    """Share of the device-hours in jobs of eight devices or more."""
    hours = device_hours_of(jobs)
    return float(hours[devices_of(jobs) >= 8].sum() / hours.sum()) if hours.sum() > 0 else 0.0


_FIGURES = (
    ("run time, mean", "s", lambda jobs: float(jobs.run_ns.mean()) / NS_PER_S),
    ("run time, p10", "s", lambda jobs: _quantile(jobs.run_ns, 0.1) / NS_PER_S),
    ("run time, p50", "s", lambda jobs: _quantile(jobs.run_ns, 0.5) / NS_PER_S),
    ("run time, p90", "s", lambda jobs: _quantile(jobs.run_ns, 0.9) / NS_PER_S),
    ("run time, p99", "s", lambda jobs: _quantile(jobs.run_ns, 0.99) / NS_PER_S),
    ("limit over run, p50", "1", lambda jobs: _quantile(jobs.limit_ns / jobs.run_ns, 0.5)),
    ("limit over run, p90", "1", lambda jobs: _quantile(jobs.limit_ns / jobs.run_ns, 0.9)),
    ("limit, mean", "s", lambda jobs: float(jobs.limit_ns.mean()) / NS_PER_S),
    ("GPUs, mean", "1", lambda jobs: float(devices_of(jobs).mean())),
    ("GPUs, p99", "1", lambda jobs: _quantile(devices_of(jobs), 0.99)),
    ("GPU-hours a job, mean", "h", lambda jobs: float(device_hours_of(jobs).mean())),
    ("GPU-hours in jobs of 8 or more", "1", _large),
    (
        "jobs that share a GPU",
        "1",
        lambda jobs: float(((jobs.gpus > 0) & (jobs.gpu_milli < WHOLE_MILLI)).mean()),
    ),
    ("gap between jobs, mean", "s", lambda jobs: _mean(_gaps(jobs))),
    ("gap between jobs, variation", "1", lambda jobs: _variation(_gaps(jobs))),
    ("jobs an hour, variance over mean", "1", _dispersion),
)
