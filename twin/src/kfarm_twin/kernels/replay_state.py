"""Columns of the farm driver: what it is given and what it keeps."""

from __future__ import annotations

from typing import NamedTuple

from kfarm_twin._jit import inner
from kfarm_twin.arrays import Ints
from kfarm_twin.kernels import pool as nodes
from kfarm_twin.kernels import profile as steps
from kfarm_twin.kernels import shelf
from kfarm_twin.kernels.pool import Plan, Pool
from kfarm_twin.kernels.profile import Profile
from kfarm_twin.kernels.rng import FAR_NS
from kfarm_twin.kernels.shelf import Shelf, Sizes

NONE = -1
FULL_PPM = 1_000_000


class Rules(NamedTuple):
    """How a run decides; codes as in `policy.queue` and `policy.levels`."""

    order: int
    backfill: int
    placement: int
    required: int
    preferred: int
    restart_ns: int  # what a preempted job spends before its work goes on
    span_ns: int  # exceeds any limit (for keys of SRTF)
    capacity: int  # in units of `Sizes.weight`
    devices: int  # of a node
    seed: int
    future: int


class Given(NamedTuple):
    """Jobs [J] in order of arrival, and changes of speed [H]."""

    submit_ns: Ints
    run_ns: Ints
    limit_ns: Ints
    rank: Ints  # place in the order (FIFO, SJF), or dense rank of the priority (SRTF)
    runs: Ints  # 0: can never start, left out
    change_ns: Ints  # [H] when
    change_node: Ints  # [H] which node, or NONE for all
    change_ppm: Ints  # [H] new speed


class Work(NamedTuple):
    """Jobs as of now [J]."""

    start_ns: Ints  # first start, or NONE
    end_ns: Ints  # or NONE
    preemptions: Ints
    key: Ints  # in the waiting queue
    due_ns: Ints  # end of the limit while it runs
    done_ns: Ints  # true end while it runs
    since_ns: Ints  # work is known up to here
    left_ns: Ints  # work left, whole nanoseconds at full speed
    left_ppm: Ints  # and millionths of one
    idle_ns: Ints  # restart cost not paid yet, ahead of the work
    speed_ppm: Ints
    running: Ints


class Samples(NamedTuple):
    """Series at some of the passes [T]; `meta`: how many, every how many passes, passes to go."""

    time_ns: Ints
    busy: Ints
    queued: Ints
    stranded: Ints  # free devices on nodes that are partly used
    meta: Ints


class Desk(NamedTuple):
    """All that a run writes."""

    work: Work
    sizes: Sizes
    waiting: Shelf
    expected: Shelf  # running, by end of their limit
    ends: Shelf  # running, by true end
    pool: Pool
    profile: Profile
    samples: Samples
    short: Ints  # [K] bound of what can start now
    long: Ints  # [K] and may outlast the shadow time
    scratch: Ints  # [2]
    roll: Ints  # [J] scratch: jobs that something happens to
    node_ppm: Ints  # [N] speed of each node; [1] where capacity is counted
    now: Ints  # scalars, named below


TIME, FREE, ARRIVED, CHANGED, HELD, SHADOW, EXTRA, HEAD = 0, 1, 2, 3, 4, 5, 6, 7
"""Places of `Desk.now`: time, free capacity, next arrival, next change of speed, head for which the
reservation holds (or NONE), its time, its extra, head that the last pass left waiting (or NONE)."""
COMMON_PPM, FINISHED, DECISIONS = 8, 9, 10
"""Speed of all nodes that have none of their own, jobs that ended, attempts to start a job."""
NOW = 11


@inner
def clear(given: Given, rules: Rules, plan: Plan, desk: Desk) -> None:
    """Before the first event."""
    work = desk.work
    work.start_ns[:] = NONE
    work.end_ns[:] = NONE
    for column in (work.preemptions, work.running, work.left_ppm, work.idle_ns):
        column[:] = 0
    for job in range(given.run_ns.shape[0]):
        work.left_ns[job] = given.run_ns[job]
        desk.sizes.limit[job] = given.limit_ns[job]
    shelf.clear(desk.waiting, shelf.LOWS)
    shelf.clear(desk.expected, shelf.SUMS)
    shelf.clear(desk.ends, shelf.PLAIN)
    desk.now[:] = 0
    desk.now[FREE] = rules.capacity
    desk.now[HELD] = NONE
    desk.now[HEAD] = NONE
    desk.now[COMMON_PPM] = FULL_PPM
    desk.samples.meta[0] = 0
    desk.samples.meta[1] = 1
    desk.samples.meta[2] = 0
    desk.node_ppm[:] = FULL_PPM
    steps.reset(desk.profile, 0, rules.capacity)
    desk.profile.meta[steps.OVERRUN] = 0
    desk.profile.meta[steps.WAKE] = FAR_NS
    desk.profile.planned_ns[:] = FAR_NS
    if rules.placement != 0:
        nodes.clear(plan, desk.pool, rules.devices)


@inner
def sample(rules: Rules, desk: Desk) -> None:
    """Note the state after a pass; where the series is full, every other sample goes."""
    series = desk.samples
    if series.meta[2] > 0:
        series.meta[2] -= 1
        return
    if series.meta[0] == series.time_ns.shape[0]:
        half = series.meta[0] // 2
        for i in range(half):
            for column in (series.time_ns, series.busy, series.queued, series.stranded):
                column[i] = column[2 * i]
        series.meta[0] = half
        series.meta[1] *= 2
    at = series.meta[0]
    series.time_ns[at] = desk.now[TIME]
    series.busy[at] = rules.capacity - desk.now[FREE]
    series.queued[at] = desk.waiting.meta[shelf.ENTRIES]
    series.stranded[at] = 0
    if rules.placement != 0:
        pool = desk.pool
        series.stranded[at] = pool.meta[nodes.FREE] - pool.meta[nodes.WHOLE] * rules.devices
    series.meta[0] = at + 1
    series.meta[2] = series.meta[1] - 1
