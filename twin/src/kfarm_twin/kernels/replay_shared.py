"""The farm driver on nodes with shared devices: pods are placed by ``policy.sharing``.

Jobs, queue and clock are those of the counting driver, which adds up thousandths of devices; here a
job also needs a place on the `Floor`. EASY is its conservative form: the head's reservation is the
shadow time alone, the first end of a limit at which, all releases up to it made, its gang fits. A
later job starts when it fits now and is gone by its limit at that time; jobs that would outlast it
stay. What such a job takes is free again at the shadow time, so that the reservation stands.
"""

from __future__ import annotations

from kfarm_twin._jit import inner, kernel
from kfarm_twin.kernels import columns as at
from kfarm_twin.kernels import pool as named
from kfarm_twin.kernels import shared_floor as hall
from kfarm_twin.kernels import shelf
from kfarm_twin.kernels.pool import Plan
from kfarm_twin.kernels.replay import MORE, PLAYED, STALLED, arrive, change_speeds, next_time
from kfarm_twin.kernels.replay_jobs import begin, finish
from kfarm_twin.kernels.replay_state import (
    DECISIONS,
    FINISHED,
    FREE,
    HEAD,
    HELD,
    NONE,
    SAMPLES,
    SHADOW,
    SKIP,
    TIME,
    Desk,
    Rules,
    clear,
    sample,
)
from kfarm_twin.kernels.rng import FAR_NS
from kfarm_twin.kernels.shared_floor import Floor
from kfarm_twin.kernels.shelf import WIDTH
from kfarm_twin.policy.queue import EASY
from kfarm_twin.policy.sharing_columns import FRAGMENT


@inner
def _known_to_fail(desk: Desk, floor: Floor, job: int) -> bool:
    """Whether as large a gang of the type failed since a job last ended."""
    kind = floor.job[job, hall.TYPE]
    stands = floor.bound[kind, hall.SINCE] == desk.now[FINISHED]
    return bool(stands and floor.job[job, hall.PODS] > floor.bound[kind, hall.MOST])


@inner
def _place(desk: Desk, floor: Floor, policy: int, seed: int, job: int) -> int:
    """How many pods of a job found a place; all hold theirs, or none."""
    desk.now[DECISIONS] += 1
    pods, kind = hall.place(floor, policy, seed, job), floor.job[job, hall.TYPE]
    if pods < floor.job[job, hall.PODS]:
        floor.bound[kind, hall.SINCE] = desk.now[FINISHED]
        floor.bound[kind, hall.MOST] = pods
    return pods


@inner
def _start(rules: Rules, desk: Desk, floor: Floor, policy: int, job: int) -> bool:
    """Start a waiting job if it can now."""
    if desk.jobs[job, at.WEIGHT] > desk.now[FREE] or _known_to_fail(desk, floor, job):
        return False
    if _place(desk, floor, policy, rules.seed, job) < floor.job[job, hall.PODS]:
        return False
    begin(rules, desk, job)
    return True


@inner
def _hold(rules: Rules, desk: Desk, floor: Floor, policy: int, head: int) -> None:
    """The shadow time of a head that cannot start now, unless the last one still holds."""
    now, running = desk.now[TIME], desk.expected
    if desk.now[HELD] == head and desk.now[SHADOW] >= now:
        return
    kind, pods = floor.job[head, hall.TYPE], floor.job[head, hall.PODS]
    # A pod alone that does not fit finds no room; of a gang some pods may.
    room = _place(desk, floor, policy, rules.seed, head) if pods > 1 else 0
    shadow = FAR_NS
    hall.look_ahead(floor)
    for place in range(running.lists[shelf.META, shelf.BLOCKS]):
        block = running.lists[shelf.ORDER, place]
        for i in range(running.rows[block, shelf.SIZE]):
            room += hall.free_ahead(floor, running.rows[block, shelf.JOBS + i], kind)
            if room >= pods:
                shadow = max(running.rows[block, shelf.KEYS + i], now)
                break
        if shadow != FAR_NS:
            break
    desk.now[SHADOW] = shadow
    desk.now[HELD] = head


@inner
def _backfill(rules: Rules, desk: Desk, floor: Floor, policy: int, head: int) -> None:
    """Start what may go before the head, in queue order."""
    if desk.waiting.lists[shelf.META, shelf.ENTRIES] < 2:
        return
    _hold(rules, desk, floor, policy, head)
    waiting, bounds = desk.waiting, desk.pool.bounds
    window, place = desk.now[SHADOW] - desk.now[TIME], 1
    bounds[named.LONG, 0] = NONE
    while True:
        bounds[named.SHORT, 0] = desk.now[FREE]
        place = shelf.next_fit(
            waiting, desk.jobs, place, bounds[named.SHORT], bounds[named.LONG], window
        )
        if place == NONE:
            return
        blocks = waiting.lists[shelf.META, shelf.BLOCKS]
        if not _start(rules, desk, floor, policy, shelf.job_at(waiting, place)):
            place += 1
        elif waiting.lists[shelf.META, shelf.BLOCKS] < blocks:
            place = place // WIDTH * WIDTH


@inner
def _consider(rules: Rules, desk: Desk, floor: Floor, policy: int, head: int, job: int) -> None:
    """Backfill with one job that just came; nothing else has changed."""
    _hold(rules, desk, floor, policy, head)
    if desk.now[TIME] + desk.jobs[job, at.LIMIT] <= desk.now[SHADOW]:
        _start(rules, desk, floor, policy, job)


@inner
def _pass(rules: Rules, desk: Desk, floor: Floor, policy: int, came: int) -> None:
    """Decide; `came` is the one job that came when nothing else happened, else NONE."""
    head = shelf.first_job(desk.waiting)
    if came != NONE and head == desk.now[HEAD] and head != NONE:
        # The head could not start, and nothing was freed since.
        if rules.backfill != EASY:
            return
        if desk.now[HELD] == head and desk.now[SHADOW] >= desk.now[TIME]:
            _consider(rules, desk, floor, policy, head, came)
            return
    while head != NONE and _start(rules, desk, floor, policy, head):
        head = shelf.first_job(desk.waiting)
    if head != NONE and rules.backfill == EASY:
        _backfill(rules, desk, floor, policy, head)
    desk.now[HEAD] = head


@inner
def _instant(rules: Rules, plan: Plan, desk: Desk, floor: Floor, policy: int) -> None:
    """All that happens at one time."""
    now, ended = desk.now[TIME], False
    while shelf.first_key(desk.ends) == now:
        job = shelf.first_job(desk.ends)
        finish(rules, plan, desk, job)
        hall.give_back(floor, job, floor.job[job, hall.PODS])
        ended = True
    change_speeds(rules, desk)
    came, count = arrive(rules, desk)
    _pass(rules, desk, floor, policy, came if count == 1 and not ended else NONE)
    noted = desk.now[SKIP] == 0
    sample(rules, desk)
    if noted:
        desk.series[desk.now[SAMPLES] - 1, 3] = floor.state.counts[FRAGMENT]


@kernel
def run_shared(
    rules: Rules, plan: Plan, desk: Desk, floor: Floor, policy: int, first: bool, most: int
) -> int:
    """Play up to `most` instants on from where the last call ended; returns a status.

    Parameters
    ----------
    rules, plan, desk
        Of a run that counts thousandths of devices; `rules.seed` is that of random choices.
    policy
        Code as in `policy.sharing`.
    """
    if first:
        clear(rules, plan, desk)
    for _ in range(most):
        time_ns = next_time(desk)
        if time_ns >= FAR_NS:
            left = (
                desk.waiting.lists[shelf.META, shelf.ENTRIES]
                + desk.ends.lists[shelf.META, shelf.ENTRIES]
            )
            return STALLED if left > 0 else PLAYED
        desk.now[TIME] = time_ns
        _instant(rules, plan, desk, floor, policy)
    return MORE
