"""Figures of one policy in one replica, from when its jobs started and ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.jobs import WHOLE_MILLI, Jobs
from kfarm_twin.replay import Replay, Shape
from kfarm_twin.whatif_heat import heat_metrics
from kfarm_twin.whatif_result import PERCENTILES, PolicyPart, Series, SizeClass
from kfarm_twin.whatif_stats import Value, significant

if TYPE_CHECKING:
    from kfarm_twin.replay_failures import FailureAccount

GRID_CELLS = 240
SLOWDOWN_FLOOR_S = 10.0
"""Bounded slowdown counts shorter jobs as ten seconds (Feitelson and Rudolph 1998, tau)."""
SIZE_EDGES = (0, 1, 2, 9, 65, 257, 1025)
_SECOND = 1e9


def job_sizes(jobs: Jobs) -> NDArray[np.int64]:
    """Devices that each job holds [J], shared ones rounded up."""
    shared = jobs.gpus * jobs.gpu_milli
    return np.asarray(jobs.pods * -(-shared // 1000), dtype=np.int64)


def measure(
    jobs: Jobs, played: Replay, shape: Shape, edges: Floats, *, keep_series: bool
) -> PolicyPart:
    """All figures of one policy in one replica.

    Parameters
    ----------
    edges
        [G + 1] edges of the common grid [ns].
    """
    ran = played.start_ns >= 0
    wait = (played.start_ns[ran] - jobs.submit_ns[ran]) / _SECOND
    slowdown = bounded_slowdown(jobs, played, ran)
    queued, used, fragmented = _series(jobs, played, ran, shape, edges)
    ends = played.end_ns[played.end_ns >= 0]
    metrics: dict[str, float | None] = {
        "waitMeanS": _mean(wait),
        "waitP50S": _percentile(wait, 50),
        "waitP90S": _percentile(wait, 90),
        "waitP99S": _percentile(wait, 99),
        "waitMaxS": _percentile(wait, 100),
        "slowdownMean": _mean(slowdown),
        "utilisation": _mean(used),
        "queuedMean": _mean(queued),
        "fragmentationMean": None if fragmented is None else _mean(fragmented),
        "makespanS": significant(float(ends.max()) / _SECOND) if ends.size else None,
        "preemptions": float(played.preemptions.sum()),
    }
    if played.failures is not None:
        metrics |= failure_metrics(played.failures)
    if played.heat is not None:
        metrics |= heat_metrics(played.heat)
    return PolicyPart(
        metrics=metrics,
        sizes=size_classes(job_sizes(jobs)[ran], wait, slowdown),
        waits_s=[_percentile(wait, p) or 0.0 for p in PERCENTILES],
        series=_kept(queued, used, fragmented) if keep_series else None,
        never_run=int(np.count_nonzero(~ran)),
    )


def failure_metrics(found: FailureAccount) -> dict[str, Value]:
    """What failures did; the keys of `whatif_result.FAILURE_METRICS`."""
    plain = {
        "goodput": found.goodput,
        "interruptions": float(found.stops),
        "jobsInterrupted": float(found.jobs_interrupted),
        "unfinished": float(found.unfinished),
        "mttiS": found.mtti_s,
        "timeToRecoverMeanS": found.recover_mean_s,
    }
    lost = {
        f"lostAcceleratorHours{cause.capitalize()}": seconds / 3600
        for cause, seconds in found.lost_s.items()
    }
    return {
        name: None if value is None else significant(value)
        for name, value in (plain | lost).items()
    }


def bounded_slowdown(jobs: Jobs, played: Replay, ran: NDArray[np.bool_]) -> Floats:
    """(end - submit) / max(run, 10 s), at least 1, of the jobs that ran.

    Those that had not ended when a run with failures or heat was broken off count as if then.
    """
    end = played.end_ns[ran]
    broken = played.failures or played.heat
    if broken is not None:
        end = np.where(end < 0, int(broken.span_s * _SECOND), end)
    stay = (end - jobs.submit_ns[ran]) / _SECOND
    run = np.maximum(jobs.run_ns[ran] / _SECOND, SLOWDOWN_FLOOR_S)
    return np.maximum(1.0, stay / run)


def size_classes(sizes: NDArray[np.int64], wait: Floats, slowdown: Floats) -> list[SizeClass]:
    """Waits and slowdown by job size; classes without a job are left out."""
    classes = []
    uppers: tuple[int | None, ...] = (*(edge - 1 for edge in SIZE_EDGES[1:]), None)
    for low, high in zip(SIZE_EDGES, uppers, strict=True):
        inside = (sizes >= low) & (sizes <= high if high is not None else True)
        count = int(np.count_nonzero(inside))
        if count:
            mine = wait[inside]
            classes.append(
                SizeClass(
                    label=_label(low, high),
                    gpus_min=low,
                    gpus_max=high,
                    jobs=float(count),
                    wait_mean_s=_mean(mine),
                    wait_p50_s=_percentile(mine, 50),
                    wait_p90_s=_percentile(mine, 90),
                    wait_p99_s=_percentile(mine, 99),
                    slowdown_mean=_mean(slowdown[inside]),
                )
            )
    return classes


def _label(low: int, high: int | None) -> str:
    if high is None:
        return f"more than {low - 1:,}"
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _series(
    jobs: Jobs, played: Replay, ran: NDArray[np.bool_], shape: Shape, edges: Floats
) -> tuple[Floats, Floats, Floats | None]:
    """Jobs queued, share of devices in use, fragmented share of idle; mean of each cell.

    Queue and use follow exactly from starts and ends; where jobs were preempted or nodes fail they
    come from the driver's samples, as the fragmentation always does.
    """
    time = played.time_ns.astype(float)
    stopped = played.heat is not None and bool(
        (played.heat.stopped > 0) or (played.end_ns[ran] < 0).any()
    )
    if played.preemptions.any() or played.failures is not None or stopped:
        queued = cell_means(time, played.queued.astype(float), edges)
        busy = cell_means(time, played.busy_gpus.astype(float), edges)
    else:
        start, end = played.start_ns[ran], played.end_ns[ran]
        ones = np.ones(start.size)
        devices = jobs.pods * jobs.gpus * jobs.gpu_milli / WHOLE_MILLI
        queued = overlap_means(jobs.submit_ns[ran], start, ones, edges)
        busy = overlap_means(start, end, devices[ran].astype(float), edges)
    fragmented = None
    if played.stranded_gpus.any():
        stranded = cell_means(time, played.stranded_gpus.astype(float), edges)
        idle = shape.gpus - cell_means(time, played.busy_gpus.astype(float), edges)
        fragmented = np.clip(
            np.divide(stranded, idle, out=np.zeros_like(idle), where=idle > 0), 0, 1
        )
    return queued, busy / shape.gpus, fragmented


def overlap_means(start: Ints, end: Ints, weight: Floats, edges: Floats) -> Floats:
    """Mean over each cell of the summed weights of the spans [start, end) under way."""
    times = np.concatenate((start, end))
    steps = np.concatenate((weight, -weight))
    order = np.argsort(times, kind="stable")
    return cell_means(times[order].astype(float), np.cumsum(steps[order]), edges)


def cell_means(time: Floats, values: Floats, edges: Floats) -> Floats:
    """Mean of a step function in each cell; a value holds from its time to the next."""
    if not time.size:
        return np.zeros(edges.size - 1)
    times = np.concatenate((np.minimum(time[:1], edges[0]), time, np.maximum(time[-1:], edges[-1])))
    held = np.concatenate((np.zeros(1), values))
    area = np.concatenate((np.zeros(1), np.cumsum(held * np.diff(times))))
    return np.asarray(np.diff(np.interp(edges, times, area)) / np.diff(edges))


def _kept(queued: Floats, used: Floats, fragmented: Floats | None) -> Series:
    return Series(
        queued_jobs=_rounded(queued),
        utilisation=_rounded(used),
        fragmentation=None if fragmented is None else _rounded(fragmented),
    )


def _rounded(values: Floats) -> list[float]:
    return [significant(float(value), 5) for value in values]


def _mean(values: Floats) -> Value:
    return significant(float(values.mean())) if values.size else None


def _percentile(values: Floats, percent: float) -> Value:
    return significant(float(np.percentile(values, percent))) if values.size else None
