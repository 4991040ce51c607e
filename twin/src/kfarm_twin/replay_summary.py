"""Figures of a run of the farm driver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.jobs import WHOLE_MILLI, Jobs

if TYPE_CHECKING:
    from kfarm_twin.replay import Replay, Shape


@dataclass(frozen=True)
class Spread:
    """A distribution over jobs."""

    mean: float
    median: float
    p90: float
    p99: float
    max: float

    @staticmethod
    def of(values: NDArray[np.float64]) -> Spread | None:
        """None for no values; quantiles by linear interpolation."""
        if not len(values):
            return None
        median, p90, p99 = (float(q) for q in np.quantile(values, (0.5, 0.9, 0.99)))
        return Spread(float(values.mean()), median, p90, p99, float(values.max()))


BOUND_S = 10.0
"""tau of the bounded slowdown [s] (Feitelson et al., JSSPP 1997)."""


@dataclass(frozen=True)
class Summary:
    """One run in figures; times [s].

    Attributes
    ----------
    wait
        First start less submission, of jobs that started; None without any.
    slowdown
        Bounded slowdown of jobs that ended: max(1, (end - submission) / max(run, tau)) with the run
        time at full speed, so that preemption and throttling count.
    waited
        Jobs that did not start at once.
    last_end_s
        When the last job ended, on the trace's clock.
    makespan_s
        From the first submission to the last end.
    utilisation
        Device time that jobs needed at full speed, over devices times makespan.
    """

    jobs: int
    started: int
    ended: int
    never: int
    waited: int
    preemptions: int
    wait: Spread | None
    slowdown: Spread | None
    last_end_s: float
    makespan_s: float
    utilisation: float
    stranded_share: float


def summarize(jobs: Jobs, result: Replay, shape: Shape) -> Summary:
    """Figures of a run."""
    started = result.start_ns >= 0
    ended = result.end_ns >= 0
    wait_ns = result.start_ns[started] - jobs.submit_ns[started]
    run_s = jobs.run_ns[ended] / 1e9
    response_s = (result.end_ns[ended] - jobs.submit_ns[ended]) / 1e9
    slowdown = np.maximum(1.0, response_s / np.maximum(run_s, BOUND_S))
    last_ns = int(result.end_ns[ended].max()) if ended.any() else 0
    span_s = (last_ns - int(jobs.submit_ns[ended].min())) / 1e9 if ended.any() else 0.0
    gpus = (jobs.pods * jobs.gpus)[ended] * jobs.gpu_milli[ended] / WHOLE_MILLI
    work_s = float((gpus * run_s).sum())
    return Summary(
        jobs=len(jobs.run_ns),
        started=int(started.sum()),
        ended=int(ended.sum()),
        never=len(result.never),
        waited=int((wait_ns > 0).sum()),
        preemptions=int(result.preemptions.sum()),
        wait=Spread.of(wait_ns / 1e9),
        slowdown=Spread.of(slowdown),
        last_end_s=last_ns / 1e9,
        makespan_s=span_s,
        utilisation=work_s / (shape.gpus * span_s) if span_s > 0 else 0.0,
        stranded_share=_stranded_share(result, shape),
    )


def _stranded_share(result: Replay, shape: Shape) -> float:
    """Mean over time of free devices on partly used nodes, as a share of all devices."""
    spans = np.diff(result.time_ns)
    if not spans.sum():
        return 0.0
    held = float((result.stranded_gpus[:-1] * spans).sum()) / float(spans.sum())
    return held / shape.gpus
