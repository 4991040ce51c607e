"""What the farm driver keeps, and the series that it notes."""

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
from kfarm_twin.kernels.shelf import Shelf

NONE = -1
FULL_PPM = 1_000_000
COUNTED = 0
"""Code of placement without nodes."""


class Rules(NamedTuple):
    """How a run decides; codes as in `policy.queue` and `policy.levels`."""

    order: int
    backfill: int
    placement: int
    required: int
    preferred: int
    restart_ns: int  # what a preempted job spends before its work goes on
    span_ns: int  # exceeds any limit (for keys of SRTF)
    capacity: int  # devices; thousandths where they are counted
    devices: int  # of a node
    seed: int
    future: int


class Desk(NamedTuple):
    """All that a run reads and writes beside the rules."""

    jobs: Ints  # [J, COLUMNS] in order of arrival, see `columns`
    waiting: Shelf
    expected: Shelf  # running, by end of their limit
    ends: Shelf  # running, by true end
    pool: Pool
    profile: Profile
    changes: Ints  # [H, CHANGE_COLUMNS] of speed, or of the fleet where nodes fail
    series: Ints  # [T, 4] after passes: time, busy, queued, devices free on partly used nodes
    now: Ints  # scalars, named below


TIME, FREE, ARRIVED, CHANGED, HELD, SHADOW, EXTRA, HEAD = 0, 1, 2, 3, 4, 5, 6, 7
"""Places of `Desk.now`: time, free capacity, next arrival, next change of speed, head for which the
reservation holds (or NONE), its time, its extra, head that the last pass left waiting (or NONE)."""
COMMON_PPM, FINISHED, DECISIONS, FOUND = 8, 9, 10, 11
"""Speed of all nodes that have none of their own, jobs that ended, attempts to start a job, node of
the domain that preemption makes room in."""
SAMPLES, EVERY, SKIP, CAME = 12, 13, 14, 15
"""Samples in the series, which holds every so many passes; passes until the next; the job that came
last."""
FAILING, SAVE, UNTIL, CORRUPT = 16, 17, 18, 19
"""Given: 1 where nodes fail, what a save takes [ns], when the run is broken off [ns]. Then: nodes
that corrupt work."""
NOW = 20
WHEN, WHERE, DETAIL, WHAT, CLASS, DETECTION, STOPPED = 0, 1, 2, 3, 4, 5, 6
"""Columns of `Desk.changes`: time, node (NONE: all), speed [ppm] or other detail; what, class and
detection as in `fleet_columns`; written: jobs that it stopped."""
CHANGE_COLUMNS = 7


@inner
def clear(rules: Rules, plan: Plan, desk: Desk) -> None:
    """Before the first event; the table of jobs is new."""
    shelf.clear(desk.waiting, shelf.LOWS)
    shelf.clear(desk.expected, shelf.SUMS)
    shelf.clear(desk.ends, shelf.PLAIN)
    for place in range(FAILING):
        desk.now[place] = 0
    desk.now[CORRUPT] = 0
    desk.now[FREE] = rules.capacity
    desk.now[HELD] = NONE
    desk.now[HEAD] = NONE
    desk.now[COMMON_PPM] = FULL_PPM
    desk.now[EVERY] = 1
    steps.reset(desk.profile, 0, rules.capacity)
    desk.profile.meta[steps.OVERRUN] = 0
    desk.profile.meta[steps.WAKE] = FAR_NS
    if rules.placement != COUNTED:
        nodes.clear(plan, desk.pool, rules.devices)
        desk.pool.node[:, nodes.PPM] = FULL_PPM


@inner
def sample(rules: Rules, desk: Desk) -> None:
    """Note the state after a pass; where the series is full, every other sample goes."""
    now, series = desk.now, desk.series
    if now[SAMPLES] == series.shape[0]:
        half = now[SAMPLES] // 2
        for i in range(half):
            for k in range(series.shape[1]):
                series[i, k] = series[2 * i, k]
        now[SAMPLES] = half
        now[EVERY] *= 2
    row = now[SAMPLES]
    series[row, 0] = now[TIME]
    series[row, 1] = rules.capacity - now[FREE]
    series[row, 2] = desk.waiting.lists[shelf.META, shelf.ENTRIES]
    series[row, 3] = 0
    if rules.placement != COUNTED:
        meta = desk.pool.meta
        series[row, 3] = meta[nodes.TOTAL_FREE] - meta[nodes.WHOLE] * rules.devices
    now[SAMPLES] = row + 1
    now[SKIP] = now[EVERY] - 1
