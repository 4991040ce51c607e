"""The farm driver: plays a trace of jobs on a farm under a scheduling discipline.

`replay` names things, checks them and makes the columns; the rules are in `policy.queue` and
`policy.levels`, the loop in `kernels.replay`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.disciplines import Backfill, Level, Order, Placement
from kfarm_twin.jobs import WHOLE_MILLI, Jobs

if TYPE_CHECKING:
    from kfarm_twin.replay_columns import Columns

MOST_NS = 1 << 58
"""Times and limits of a trace stay below nine years, so that sums of a few fit an int64."""
__all__ = [
    "Backfill",
    "Discipline",
    "Level",
    "Order",
    "Placement",
    "Replay",
    "ReplayError",
    "Shape",
    "SpeedChanges",
    "Spread",
    "Summary",
    "replay",
    "summarize",
]
SLICE = 100_000
"""Instants per call of the kernel: between two calls progress is shown and Ctrl-C is heard."""


class ReplayError(ValueError):
    """A farm or a discipline that cannot be played; the message says what to change."""


@dataclass(frozen=True)
class Shape:
    """A farm of equal nodes.

    Attributes
    ----------
    nodes, gpus_per_node
        Nodes, and devices of each.
    nodes_per_rack, nodes_per_unit
        Sizes of racks and scalable units; the last one may be smaller. 0: all nodes are in one.
    """

    nodes: int
    gpus_per_node: int = 8
    nodes_per_rack: int = 0
    nodes_per_unit: int = 0

    def __post_init__(self) -> None:
        for name, least, most in (
            ("nodes", 1, 1 << 20),
            ("gpus_per_node", 1, 1024),
            ("nodes_per_rack", 0, 1 << 20),
            ("nodes_per_unit", 0, 1 << 20),
        ):
            found = getattr(self, name)
            if not least <= found <= most:
                raise ReplayError(f"{name} is {found}; give {least} to {most}")
        rack, unit = self.nodes_per_rack, self.nodes_per_unit
        if rack and unit and unit % rack and rack < self.nodes:
            raise ReplayError(
                f"nodes_per_unit is {unit}, no multiple of nodes_per_rack, {rack}: a rack would "
                "stand in two scalable units"
            )

    @property
    def gpus(self) -> int:
        """Devices of the farm."""
        return self.nodes * self.gpus_per_node


@dataclass(frozen=True)
class Discipline:
    """How jobs are ordered, backfilled and placed.

    Attributes
    ----------
    required, preferred
        Topology levels of all gangs; they matter on named nodes only.
    restart_ns
        What a preempted job spends, on its devices, before its work goes on [ns].
    """

    order: Order = Order.FIFO
    backfill: Backfill = Backfill.NONE
    placement: Placement = Placement.COUNT
    required: Level = Level.CLUSTER
    preferred: Level | None = None
    restart_ns: int = 0

    def __post_init__(self) -> None:
        conservative = self.backfill is Backfill.CONSERVATIVE
        if conservative and self.order is Order.SRTF:
            raise ReplayError(
                "backfill conservative promises starts that order srtf would break by preemption; "
                "choose order fifo or sjf, or backfill easy"
            )
        if conservative and self.placement is not Placement.COUNT:
            raise ReplayError(
                "backfill conservative counts devices; choose placement count, or backfill easy"
            )
        levels = self.required is not Level.CLUSTER or self.preferred is not None
        if levels and self.placement is Placement.COUNT:
            raise ReplayError(
                "topology levels need named nodes; choose placement first-fit, best-fit, spread "
                "or random"
            )
        if not 0 <= self.restart_ns < MOST_NS:
            raise ReplayError(f"restart_ns is {self.restart_ns}; give 0 to {MOST_NS - 1}")


@dataclass(frozen=True)
class SpeedChanges:
    """When nodes slow down or recover: what a heat model tells the driver [H].

    Attributes
    ----------
    time_ns
        When, ascending.
    node
        Which node, -1 for all. Where capacity is counted only -1 will do.
    speed_ppm
        Speed from then on [ppm]; 0 stands still. A gang runs at the speed of its slowest node.
    """

    time_ns: Ints
    node: Ints
    speed_ppm: Ints


@dataclass(frozen=True)
class Replay:
    """What became of the jobs.

    Attributes
    ----------
    start_ns, end_ns
        [J] first start and end; -1 where there was none.
    preemptions
        [J] how often a job was stopped.
    time_ns, busy_gpus, queued, stranded_gpus
        [T] series after passes: time, devices in use, jobs that wait, and free devices on nodes
        that are partly used, of no use to a gang of whole nodes (0 where capacity is counted).
    every
        The series holds every so many passes.
    never
        Job -> why it can never run.
    decisions
        Attempts to start a job.
    """

    start_ns: Ints
    end_ns: Ints
    preemptions: Ints
    time_ns: Ints
    busy_gpus: Floats
    queued: Ints
    stranded_gpus: Ints
    every: int
    never: dict[int, str]
    decisions: int


def replay(
    jobs: Jobs,
    shape: Shape,
    discipline: Discipline,
    *,
    seed: int = 0,
    future: int = 0,
    speeds: SpeedChanges | None = None,
    samples: int = 4096,
    progress: Callable[[int, int], None] | None = None,
) -> Replay:
    """Play a trace to its end.

    Parameters
    ----------
    jobs
        Jobs by time of submission.
    seed, future
        Of the random numbers of placement `random`; nothing else is drawn.
    speeds
        Changes of speed; without them all nodes run at full speed.
    samples
        Most samples of the series.
    progress
        Told now and then how many of how many jobs are done.

    Raises
    ------
    ReplayError
        Where jobs or changes are out of bounds.
    """
    from kfarm_twin.kernels.replay import MORE, run_replay  # noqa: PLC0415 - numba
    from kfarm_twin.replay_columns import build  # noqa: PLC0415 - likewise

    columns = build(jobs, shape, discipline, seed, future, speeds, max(samples, 16))
    first, status = True, MORE
    while status == MORE:
        status = run_replay(columns.rules, columns.plan, columns.desk, first, SLICE)
        first = False
        if progress is not None:
            progress(columns.finished, len(jobs.run_ns))
    return _result(columns, discipline)


def _result(columns: Columns, discipline: Discipline) -> Replay:
    from kfarm_twin.kernels import columns as at  # noqa: PLC0415 - numba
    from kfarm_twin.kernels.replay_state import EVERY, SAMPLES  # noqa: PLC0415

    table, now = columns.desk.jobs, columns.desk.now
    series = columns.desk.series[: now[SAMPLES]].copy()
    counted = discipline.placement is Placement.COUNT
    return Replay(
        start_ns=table[:, at.START].copy(),
        end_ns=table[:, at.END].copy(),
        preemptions=table[:, at.STOPS].copy(),
        time_ns=series[:, 0],
        busy_gpus=series[:, 1] / (WHOLE_MILLI if counted else 1),
        queued=series[:, 2],
        stranded_gpus=series[:, 3],
        every=int(now[EVERY]),
        never=columns.never,
        decisions=columns.decisions,
    )


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
