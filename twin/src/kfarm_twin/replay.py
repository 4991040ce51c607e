"""The farm driver: plays a trace of jobs on a farm under a scheduling discipline.

`replay` names things, checks them and makes the columns; the rules are in `policy.queue` and
`policy.levels`, the loop in `kernels.replay`. Where pods share devices or nodes differ, nodes are
those of `replay_sharing`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from dataclasses import replace as dc_replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.disciplines import SHARING, Backfill, Level, Order, Placement
from kfarm_twin.jobs import WHOLE_MILLI, Jobs
from kfarm_twin.nodes import NodeTable
from kfarm_twin.replay_summary import Spread, Summary, summarize

if TYPE_CHECKING:
    from kfarm_twin.replay_columns import Columns
    from kfarm_twin.replay_failures import FailureAccount, Failures
    from kfarm_twin.replay_heat import HeatAccount, JobHeat

MOST_NS = 1 << 58
"""Times and limits of a trace stay below nine years, so that sums of a few fit an int64."""
__all__ = [
    "Backfill",
    "Discipline",
    "Level",
    "NodeTable",
    "Order",
    "Placement",
    "Places",
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
    """A farm: equal nodes, or a table of them.

    Attributes
    ----------
    nodes, gpus_per_node
        Nodes, and devices of each.
    nodes_per_rack, nodes_per_unit
        Sizes of racks and scalable units; the last one may be smaller. 0: not divided so, a rack is
        its scalable unit, a unit the whole farm.
    table
        Nodes one by one, for placement with CPU, memory or models, or where nodes differ;
        `gpus_per_node` is then the most of any. See `of`.
    """

    nodes: int
    gpus_per_node: int = 8
    nodes_per_rack: int = 0
    nodes_per_unit: int = 0
    table: NodeTable | None = None

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
        if self.table is not None and len(self.table.gpus) != self.nodes:
            raise ReplayError(f"a table of {len(self.table.gpus)} nodes for {self.nodes} nodes")
        rack, unit = self.nodes_per_rack, self.nodes_per_unit
        if rack and unit and unit % rack and rack < self.nodes:
            raise ReplayError(
                f"nodes_per_unit is {unit}, no multiple of nodes_per_rack, {rack}: a rack would "
                "stand in two scalable units"
            )

    @classmethod
    def of(cls, table: NodeTable) -> Shape:
        """The farm of a table of nodes."""
        return cls(len(table.gpus), int(table.gpus.max()), table=table)

    @property
    def rack_size(self) -> int:
        """Nodes of a rack."""
        return min(self.nodes_per_rack or self.nodes_per_unit or self.nodes, self.nodes)

    @property
    def unit_size(self) -> int:
        """Nodes of a scalable unit."""
        return min(self.nodes_per_unit or self.nodes, self.nodes)

    @property
    def gpus(self) -> int:
        """Devices of the farm."""
        if self.table is not None:
            return int(self.table.gpus.sum())
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
        if self.placement in SHARING:
            self.check_sharing()
        levels = self.required is not Level.CLUSTER or self.preferred is not None
        if levels and self.placement is Placement.COUNT:
            raise ReplayError(
                "topology levels need named nodes; choose placement first-fit, best-fit, spread "
                "or random"
            )
        if not 0 <= self.restart_ns < MOST_NS:
            raise ReplayError(f"restart_ns is {self.restart_ns}; give 0 to {MOST_NS - 1}")

    def check_sharing(self) -> None:
        """Refuse what is not played where pods share devices or nodes differ."""
        if self.order is Order.SRTF:
            raise ReplayError(
                "order srtf preempts, which is not played on nodes with shared devices; choose "
                "order fifo or sjf, or placement count"
            )
        if self.required is not Level.CLUSTER or self.preferred is not None:
            raise ReplayError(
                "topology levels are not looked at on nodes with shared devices; leave them out, "
                "or choose equal nodes, whole devices and placement first-fit, best-fit, spread or "
                "random"
            )


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
class Places:
    """Pods of job j are the rows `first[j]` to `first[j + 1] - 1`.

    Attributes
    ----------
    first
        [J + 1] rows.
    node, gpus
        [pods] node (-1 where it never started) and its devices as bits.
    """

    first: Ints
    node: Ints
    gpus: Ints


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
        that are partly used, of no use to a gang of whole nodes (0 where capacity is counted). On
        shared devices instead those that a pod drawn from the trace could not use, in expectation
        (the fragment of Weng et al., USENIX ATC'23).
    every
        The series holds every so many passes.
    never
        Job -> why it can never run.
    decisions
        Attempts to start a job.
    places
        Where the pods stood, on shared devices; else None.
    failures
        What failures did, where they were played.
    heat
        What heat did, where it was played.
    """

    start_ns: Ints
    end_ns: Ints
    preemptions: Ints
    time_ns: Ints
    busy_gpus: Floats
    queued: Ints
    stranded_gpus: Floats
    every: int
    never: dict[int, str]
    decisions: int
    places: Places | None = None
    failures: FailureAccount | None = None
    heat: HeatAccount | None = None


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
    models: Sequence[frozenset[str]] = (frozenset(),),
    failures: Failures | None = None,
    heat: JobHeat | None = None,
) -> Replay:
    """Play a trace to its end, or with failures to the end of their record at most.

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
    models
        Sets of device models that `Jobs.models` refers to; looked at where the nodes' are known.
    failures
        Without them nothing fails, and nobody saves.
    heat
        Without it nothing warms, and nobody is slowed by heat.

    Raises
    ------
    ReplayError
        Where jobs or changes are out of bounds.
    """
    from kfarm_twin.kernels.replay import MORE, run_replay  # noqa: PLC0415 - numba
    from kfarm_twin.replay_columns import build  # noqa: PLC0415 - likewise

    samples = max(samples, 16)
    if heat is None and discipline.placement is Placement.THERMAL_AWARE:
        raise ReplayError(
            "placement thermal-aware looks at temperatures: play heat, or choose best-fit"
        )
    if uses_sharing(jobs, shape, discipline):
        if heat is not None:
            raise ReplayError(
                "heat is not played on nodes with shared devices, CPU, memory or models; choose "
                "equal nodes, whole devices and placement first-fit, best-fit, spread, random or "
                "thermal-aware"
            )
        if failures is not None:
            raise ReplayError(
                "failures are not played on nodes with shared devices, CPU, memory or models; "
                "choose equal nodes, whole devices and placement first-fit, best-fit, spread or "
                "random"
            )
        from kfarm_twin.replay_sharing import play  # noqa: PLC0415 - numba

        return play(jobs, shape, discipline, seed, future, speeds, samples, progress, models)
    columns = build(jobs, shape, discipline, seed, future, speeds, samples, failures, heat)
    if heat is not None:
        return _play_hot(jobs, shape, discipline, columns, failures, heat, progress)
    first, status = True, MORE
    while status == MORE:
        status = run_replay(columns.rules, columns.plan, columns.desk, first, SLICE)
        first = False
        if progress is not None:
            progress(columns.finished, len(jobs.run_ns))
    return _with_failures(columns, discipline, failures)


def _with_failures(columns: Columns, discipline: Discipline, failures: Failures | None) -> Replay:
    result = result_of(columns, discipline)
    if failures is None:
        return result
    from kfarm_twin.replay_failures import account  # noqa: PLC0415 - numba

    desk = columns.desk
    return dc_replace(result, failures=account(desk.jobs, desk.changes, columns.time_ns, failures))


def _play_hot(
    jobs: Jobs,
    shape: Shape,
    discipline: Discipline,
    columns: Columns,
    failures: Failures | None,
    heat: JobHeat,
    progress: Callable[[int, int], None] | None,
) -> Replay:
    """Play on with the heat engine."""
    from kfarm_twin.kernels.replay import MORE  # noqa: PLC0415 - numba
    from kfarm_twin.kernels.replay_heat import run_hot  # noqa: PLC0415 - likewise
    from kfarm_twin.kernels.replay_state import UNTIL  # noqa: PLC0415 - likewise
    from kfarm_twin.replay_heat import heat_account, hot_columns  # noqa: PLC0415 - likewise

    hot = hot_columns(heat, jobs, shape, int(columns.desk.now[UNTIL]))
    first, status = True, MORE
    while status == MORE:
        status = run_hot(columns.rules, columns.plan, columns.desk, hot, first, SLICE)
        first = False
        if progress is not None:
            progress(columns.finished, len(jobs.run_ns))
    found = heat_account(hot, heat.nodes, columns.time_ns)
    return dc_replace(_with_failures(columns, discipline, failures), heat=found)


def uses_sharing(jobs: Jobs, shape: Shape, discipline: Discipline) -> bool:
    """Whether pods go to nodes with shared devices: by the policy, the nodes or the jobs."""
    if discipline.placement is Placement.COUNT:
        return False
    known = discipline.placement in SHARING or shape.table is not None
    return known or int(shares_devices(jobs).sum()) > 0


def shares_devices(jobs: Jobs) -> NDArray[np.bool_]:
    """Which jobs take less than whole devices [J]."""
    return (jobs.gpus > 0) & (jobs.gpu_milli < WHOLE_MILLI)


def result_of(columns: Columns, discipline: Discipline) -> Replay:
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
        stranded_gpus=series[:, 3].astype(np.float64),
        every=int(now[EVERY]),
        never=columns.never,
        decisions=columns.decisions,
    )
