"""Columns of the farm driver, made from jobs, a farm's shape and a discipline."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from kfarm_twin.arrays import CLUSTER, NODE, RACK, SCALABLE_UNIT, Ints
from kfarm_twin.disciplines import Backfill, Level, Order, Placement
from kfarm_twin.jobs import WHOLE_MILLI, Jobs
from kfarm_twin.kernels import bits, pool, profile, replay_state, seats, shelf
from kfarm_twin.kernels import columns as at
from kfarm_twin.kernels.replay_state import Desk, Rules
from kfarm_twin.kernels.rng import FAR_NS
from kfarm_twin.policy import levels, queue
from kfarm_twin.replay import MOST_NS, ReplayError
from kfarm_twin.replay_checks import check_failures, check_heat, check_jobs, too_large
from kfarm_twin.replay_cool import add_headroom, steps_of
from kfarm_twin.replay_failures import (
    Failures,
    fleet_rows,
    intervals,
    last_instant,
    stretched,
)

if TYPE_CHECKING:
    from kfarm_twin.replay import Discipline, Shape, SpeedChanges
    from kfarm_twin.replay_heat import JobHeat

ORDERS = {Order.FIFO: queue.FIFO, Order.SJF: queue.SJF, Order.SRTF: queue.SRTF}
BACKFILLS = {
    Backfill.NONE: queue.NO_BACKFILL,
    Backfill.EASY: queue.EASY,
    Backfill.CONSERVATIVE: queue.CONSERVATIVE,
}
PLACEMENTS = {
    Placement.COUNT: levels.COUNT,
    Placement.FIRST_FIT: levels.FIRST_FIT,
    Placement.BEST_FIT: levels.BEST_FIT,
    Placement.SPREAD: levels.SPREAD,
    Placement.RANDOM: levels.RANDOM,
    Placement.THERMAL_AWARE: levels.THERMAL_AWARE,
}
LEVELS = {Level.NODE: NODE, Level.RACK: RACK, Level.UNIT: SCALABLE_UNIT, Level.CLUSTER: CLUSTER}


@dataclass(frozen=True)
class Columns:
    """What the kernel is given, and the jobs that were not."""

    rules: Rules
    plan: pool.Plan
    desk: Desk
    never: dict[int, str]

    @property
    def finished(self) -> int:
        """Jobs that ended so far."""
        return int(self.desk.now[replay_state.FINISHED])

    @property
    def time_ns(self) -> int:
        """Where the run stands [ns]."""
        return int(self.desk.now[replay_state.TIME])

    @property
    def decisions(self) -> int:
        """Attempts to start a job so far."""
        return int(self.desk.now[replay_state.DECISIONS])


def build(
    jobs: Jobs,
    shape: Shape,
    discipline: Discipline,
    seed: int,
    future: int,
    speeds: SpeedChanges | None,
    samples: int,
    failures: Failures | None = None,
    heat: JobHeat | None = None,
) -> Columns:
    """All columns of a run; see `kfarm_twin.replay.replay`."""
    check_jobs(jobs)
    check_heat(heat, jobs, shape, discipline, speeds)
    if failures is not None:
        check_failures(failures, jobs, shape, discipline, speeds)
    # A reservation takes time: a limit of nothing counts as a nanosecond.
    jobs = jobs._replace(limit_ns=np.maximum(jobs.limit_ns, 1))
    sizes, devices = _sizes(jobs, shape, discipline)
    plan = _plan(shape, discipline, devices)
    never = _never(jobs, shape, discipline, sizes, plan)
    longest = jobs.limit_ns
    if failures is not None:
        discipline = replace(discipline, restart_ns=max(discipline.restart_ns, failures.restart_ns))
        longest = stretched(jobs.limit_ns, intervals(failures, jobs), failures.save_ns)
    rules = _rules(longest, shape, discipline, seed, future)
    table = _table(jobs, sizes, _table_columns(failures, heat))
    table[:, at.RANK] = _rank(jobs, discipline, rules.span_ns)
    table[list(never), at.RUNS] = 0
    changes = _changes(speeds, shape, discipline)
    if failures is not None or heat is not None:
        _add_saves(table, jobs, failures)
    if failures is not None:
        changes = fleet_rows(failures.record)
    if heat is not None:
        table[:, at.GPU_LOAD], table[:, at.CPU_LOAD] = heat.gpu_ppm, heat.cpu_ppm
    desk = _desk(jobs, table, shape, discipline, plan, changes, samples, failures, heat)
    return Columns(rules, plan, desk, never)


def _table_columns(failures: Failures | None, heat: JobHeat | None) -> int:
    if heat is not None:
        return at.HOT_COLUMNS
    return at.COLUMNS if failures is None else at.FAILING_COLUMNS


def _add_saves(table: Ints, jobs: Jobs, failures: Failures | None) -> None:
    """Columns of where nodes fail; work and limits stretch by the saves."""
    interval, save_ns = intervals(failures, jobs), failures.save_ns if failures else 0
    for column, values in (
        (at.INTERVAL, interval),
        (at.WORK, jobs.run_ns),
        (at.ASKED, jobs.limit_ns),
        (at.LEFT, stretched(jobs.run_ns, interval, save_ns)),
        (at.LIMIT, stretched(jobs.limit_ns, interval, save_ns)),
        (at.HOLDS, replay_state.NONE),
        (at.CLEAN, replay_state.NONE),
    ):
        table[:, column] = values


@dataclass(frozen=True)
class Sizes:
    """What each job asks for [J]; see `kernels.columns`."""

    value: Ints
    kind: Ints
    weight: Ints


def _table(jobs: Jobs, sizes: Sizes, columns: int) -> Ints:
    """The table of jobs [J, columns] before the first event."""
    table = _zeros(len(jobs.run_ns), columns)
    for column, values in (
        (at.SUBMIT, jobs.submit_ns),
        (at.RUN, jobs.run_ns),
        (at.LEFT, jobs.run_ns),
        (at.LIMIT, jobs.limit_ns),
        (at.VALUE, sizes.value),
        (at.KIND, sizes.kind),
        (at.WEIGHT, sizes.weight),
        (at.RUNS, 1),
        (at.START, -1),
        (at.END, -1),
        (at.PIECE, -1),
        (at.PLANNED, FAR_NS),
    ):
        table[:, column] = values
    return table


def _column(values: Ints) -> Ints:
    """Own, contiguous and writable: kernels are compiled for one kind of array."""
    return np.array(values, np.int64, order="C", copy=True)


def _zeros(*shape: int) -> Ints:
    return np.zeros(shape, np.int64)


def _sizes(jobs: Jobs, shape: Shape, discipline: Discipline) -> tuple[Sizes, Ints]:
    """What each job asks for, and the devices of a pod of each size class [K]."""
    if discipline.placement is Placement.COUNT:
        # Products of huge columns must not wrap around: cut first, such jobs never run anyway.
        most = shape.gpus * WHOLE_MILLI + 1
        pods, gpus = np.minimum(jobs.pods, most), np.minimum(jobs.gpus, most)
        weight = np.minimum(np.minimum(pods * gpus, most) * jobs.gpu_milli, most)
        return Sizes(weight, np.zeros_like(weight), weight), _zeros(1)
    most = shape.gpus + 1
    pods, gpus = np.minimum(jobs.pods, most), np.minimum(jobs.gpus, most)
    weight = np.where(gpus > 0, np.minimum(pods * gpus, most), 0)
    if discipline.required is Level.NODE:
        gpus, pods = weight, np.ones_like(pods)
    gpus = np.minimum(gpus, shape.gpus_per_node + 1)
    devices, kind = np.unique(gpus, return_inverse=True)
    value = np.where(gpus > 0, pods, 0)
    return Sizes(value, kind, weight), devices.astype(np.int64)


def _plan(shape: Shape, discipline: Discipline, devices: Ints) -> pool.Plan:
    """Domains, and where each index keeps its bits."""
    nodes, classes = shape.nodes, len(devices)
    free = np.arange(shape.gpus_per_node + 1)
    room_of = np.where(devices[:, None] > 0, free // np.maximum(devices[:, None], 1), 0)
    per = [shape.rack_size, shape.unit_size]
    domain = np.stack([np.arange(nodes) // size for size in per]).astype(np.int64)
    count = domain[:, -1] + 1
    first = np.full((2, int(count.max()) + 1), nodes, np.int64)
    for level, size in enumerate(per):
        first[level, : count[level]] = np.arange(count[level]) * size
    asked = {LEVELS[discipline.required]}
    if discipline.preferred is not None:
        asked.add(LEVELS[discipline.preferred])
    named = discipline.placement is not Placement.COUNT
    indexed = np.array(
        [int(named and RACK in asked), int(named and SCALABLE_UNIT in asked)], np.int64
    )
    lengths = [(shape.gpus_per_node + 1) * nodes if named else 1]
    for group in range(classes):
        for level, size in enumerate(per):
            most = int(room_of[group].max()) * size + 1
            lengths.append(most * int(count[level]) if indexed[level] else 1)
    if discipline.placement is Placement.THERMAL_AWARE:
        lengths.append((shape.gpus_per_node + 1) * steps_of(shape) * nodes)
    return pool.Plan(
        domain=domain,
        first=first,
        levels=np.stack([count, indexed]).astype(np.int64),
        classes=np.column_stack([devices, room_of]).astype(np.int64),
        offsets=_offsets(lengths),
    )


def _offsets(lengths: list[int]) -> Ints:
    """Where the levels of each set of bits begin, one set behind the other."""
    rows, at = [], 0
    for length in lengths:
        if length > bits.WORD**bits.LEVELS:
            raise ReplayError(
                f"nodes times devices of a node are {length:,}; give fewer than "
                f"{bits.WORD**bits.LEVELS:,} with named nodes, or choose placement count"
            )
        row, words = [at], length
        for _ in range(bits.LEVELS):
            words = -(-words // bits.WORD)
            at += words
            row.append(at)
        rows.append(row)
    return np.array(rows, np.int64)


def _never(
    jobs: Jobs, shape: Shape, discipline: Discipline, sizes: Sizes, plan: pool.Plan
) -> dict[int, str]:
    """Jobs that even an empty farm does not take, and why."""
    if discipline.placement is Placement.COUNT:
        wrong = sizes.weight > shape.gpus * WHOLE_MILLI
        return {int(row): too_large(jobs, int(row), shape, "") for row in np.flatnonzero(wrong)}
    nodes = shape.nodes
    if discipline.required is Level.RACK:
        nodes = shape.rack_size
    elif discipline.required is Level.UNIT:
        nodes = shape.unit_size
    most = plan.classes[sizes.kind, -1] * nodes
    where = "" if discipline.required is Level.CLUSTER else f" in one {discipline.required.value}"
    wrong = (sizes.weight > 0) & (sizes.value > most)
    return {int(row): too_large(jobs, int(row), shape, where) for row in np.flatnonzero(wrong)}


def _rules(limits: Ints, shape: Shape, discipline: Discipline, seed: int, future: int) -> Rules:
    if not (0 <= seed < 1 << 63 and 0 <= future < 1 << 32):
        raise ReplayError(f"seed {seed}, future {future}: give less than 2**63 and 2**32, from 0")
    counted = discipline.placement is Placement.COUNT
    preferred = LEVELS[discipline.preferred] if discipline.preferred is not None else -1
    longest = int(limits.max()) if len(limits) else 0
    return Rules(
        order=ORDERS[discipline.order],
        backfill=BACKFILLS[discipline.backfill],
        placement=PLACEMENTS[discipline.placement],
        required=LEVELS[discipline.required],
        preferred=preferred,
        restart_ns=discipline.restart_ns,
        span_ns=longest + discipline.restart_ns + 1,
        capacity=shape.gpus * (WHOLE_MILLI if counted else 1),
        devices=shape.gpus_per_node,
        seed=seed,
        future=future,
    )


def _rank(jobs: Jobs, discipline: Discipline, span_ns: int) -> Ints:
    """Place of each job in the order; for SRTF, of its priority among all."""
    if discipline.order is Order.SRTF:
        values, rank = np.unique(-jobs.priority, return_inverse=True)
        if len(values) * span_ns >= 1 << 61:
            raise ReplayError(
                f"{len(values)} priorities and limits of {span_ns / 1e9:.0f} s are too many and "
                "too long for order srtf; use fewer priorities"
            )
        return _column(rank)
    second = jobs.limit_ns if discipline.order is Order.SJF else jobs.submit_ns
    order = np.lexsort((second, -jobs.priority))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank


def _changes(speeds: SpeedChanges | None, shape: Shape, discipline: Discipline) -> Ints:
    if speeds is None:
        return _zeros(0, replay_state.CHANGE_COLUMNS)
    time_ns, node, ppm = (
        _column(values) for values in (speeds.time_ns, speeds.node, speeds.speed_ppm)
    )
    if not len(time_ns) == len(node) == len(ppm):
        raise ReplayError("changes of speed need as many times as nodes as speeds")
    if np.any(np.diff(time_ns) < 0) or np.any((time_ns < 0) | (time_ns >= MOST_NS)):
        raise ReplayError("changes of speed need times from 0 on, ascending")
    most = -1 if discipline.placement is Placement.COUNT else shape.nodes - 1
    if np.any((node < -1) | (node > most)):
        raise ReplayError(f"changes of speed name nodes from -1 (all) to {most} here")
    if np.any((ppm < 0) | (ppm > replay_state.FULL_PPM)):
        raise ReplayError("speeds are 0 to 1,000,000 ppm")
    changes = _zeros(len(time_ns), replay_state.CHANGE_COLUMNS)
    for column, values in (
        (replay_state.WHEN, time_ns),
        (replay_state.WHERE, node),
        (replay_state.DETAIL, ppm),
    ):
        changes[:, column] = values
    return changes


def _shelf(entries: int, classes: int) -> shelf.Shelf:
    blocks = 2 * (entries // shelf.WIDTH) + 4
    return shelf.Shelf(_zeros(blocks, shelf.LOW + classes), _zeros(3, blocks))


def _pool(
    table: Ints,
    shape: Shape,
    plan: pool.Plan,
    discipline: Discipline,
    columns: int,
    heat: JobHeat | None,
) -> pool.Pool:
    classes, named = len(plan.classes), discipline.placement is not Placement.COUNT
    table_of_nodes = _zeros(shape.nodes if named else 1, columns)
    room = _zeros(2, 2 + classes, plan.first.shape[1])
    if heat is not None and discipline.placement is Placement.THERMAL_AWARE:
        room = add_headroom(heat.nodes, shape, table_of_nodes, room)
    return pool.Pool(
        jobs=table,
        node=table_of_nodes,
        words=_zeros(int(plan.offsets[-1, -1])),
        room=room,
        bounds=_zeros(3, classes),
        piece=_zeros(shape.gpus if named else 1, 3),
        meta=_zeros(pool.META),
        span=_zeros(2),
        hot=() if heat is None else (1,),
    )


def _desk(
    jobs: Jobs,
    table: Ints,
    shape: Shape,
    discipline: Discipline,
    plan: pool.Plan,
    changes: Ints,
    samples: int,
    failures: Failures | None,
    heat: JobHeat | None,
) -> Desk:
    """State before the first event; memory that is never touched is never given by the system."""
    count = len(table)
    steps = 8 * count + 8 if discipline.backfill is Backfill.CONSERVATIVE else 1
    columns = pool.FAILING_COLUMNS if failures else pool.NODE_COLUMNS
    if heat is not None:
        columns = seats.SEATS + 2 * shape.gpus_per_node
    return Desk(
        jobs=table,
        waiting=_shelf(count, len(plan.classes)),
        expected=_shelf(count, 1),
        ends=_shelf(count, 1),
        pool=_pool(table, shape, plan, discipline, columns, heat),
        profile=profile.Profile(_zeros(steps, 2), _zeros(profile.META)),
        changes=changes,
        series=_zeros(samples, 4),
        now=_now(failures, last_instant(jobs) if heat else FAR_NS),
    )


def _now(failures: Failures | None, until_ns: int) -> Ints:
    """State of a run that is broken off at `until_ns`, or where the record of failures ends."""
    now = _zeros(replay_state.NOW)
    now[replay_state.UNTIL] = until_ns
    now[replay_state.FAILING] = int(until_ns < FAR_NS)
    if failures is not None:
        now[replay_state.FAILING] = 1
        now[replay_state.SAVE] = failures.save_ns
        now[replay_state.UNTIL] = failures.record.until_ns
    return now
