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
from kfarm_twin.kernels import profile as steps
from kfarm_twin.kernels import shared_floor as hall
from kfarm_twin.kernels import shelf
from kfarm_twin.kernels.pool import Plan
from kfarm_twin.kernels.replay import MORE, PLAYED, STALLED, arrive, change_speeds, next_time
from kfarm_twin.kernels.replay_jobs import begin, finish
from kfarm_twin.kernels.replay_state import (
    CAME,
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
from kfarm_twin.policy.queue import EASY, ends_in_time
from kfarm_twin.policy.sharing_columns import FRAGMENT


@inner
def _start(rules: Rules, desk: Desk, floor: Floor, policy: int, job: int, is_head: bool) -> bool:
    """Start a waiting job if it can now.

    A head is always tried, so that the room that its gang lacks is known as of now; another job not
    where as large a gang of its type failed since a job last ended.
    """
    kind, wanted = floor.job[job, hall.TYPE], floor.job[job, hall.PODS]
    if not is_head:
        stands = floor.bound[kind, hall.SINCE] == desk.now[FINISHED]
        if stands and wanted > floor.bound[kind, hall.MOST]:
            return False
    desk.now[DECISIONS] += 1
    pods = hall.place(floor, policy, rules.seed, job)
    if pods < wanted:
        floor.bound[kind, hall.SINCE] = desk.now[FINISHED]
        floor.bound[kind, hall.MOST] = pods
        return False
    begin(rules, desk, job)
    return True


@inner
def _hold(desk: Desk, floor: Floor, head: int) -> None:
    """The shadow time of a head that just failed, unless the last one still holds."""
    now, running = desk.now[TIME], desk.expected
    if desk.now[HELD] == head and desk.now[SHADOW] >= now:
        return
    kind, pods = floor.job[head, hall.TYPE], floor.job[head, hall.PODS]
    room, shadow = floor.bound[kind, hall.MOST], FAR_NS
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
def _next_short(desk: Desk, place: int) -> int:
    """Place of the next job behind the head that is gone in time and not too large, or NONE."""
    bounds, window = desk.pool.bounds, desk.now[SHADOW] - desk.now[TIME]
    bounds[named.SHORT, 0] = desk.now[FREE]
    bounds[named.LONG, 0] = NONE
    return shelf.next_fit(
        desk.waiting, desk.jobs, place, bounds[named.SHORT], bounds[named.LONG], window
    )


@inner
def _only(rules: Rules, desk: Desk, came: int) -> int:
    """The one job to look at where only `came` came since the last pass; NONE for a full pass.

    Where the head could not start then it cannot now, as nothing was freed since. The head itself
    stands for a pass that has nothing to do.
    """
    head = shelf.first_job(desk.waiting)
    if NONE in (came, head) or head != desk.now[HEAD]:
        return NONE
    if rules.backfill != EASY:
        return head
    if desk.now[HELD] != head or desk.now[SHADOW] < desk.now[TIME]:
        return NONE
    return (
        came if ends_in_time(desk.now[TIME], desk.jobs[came, at.LIMIT], desk.now[SHADOW]) else head
    )


@inner
def _pass(rules: Rules, desk: Desk, floor: Floor, policy: int, came: int) -> None:
    """Heads start while they can; then, with EASY, what may go before the first that cannot.

    There is one place that starts jobs, since all rules of placement are compiled into it.
    """
    waiting, only = desk.waiting, _only(rules, desk, came)
    head = shelf.first_job(waiting)
    job, place = head if only == NONE else only, 0
    if only == head:
        return
    while job != NONE:
        blocks = waiting.lists[shelf.META, shelf.BLOCKS]
        started = _start(rules, desk, floor, policy, job, job == head)
        if only != NONE:
            return
        if place == 0:
            if started:
                desk.now[HELD] = NONE  # what it took may be what the held one waited for
                head = shelf.first_job(waiting)
                job = head
                continue
            if rules.backfill != EASY or waiting.lists[shelf.META, shelf.ENTRIES] < 2:
                break
            _hold(desk, floor, head)
            place = 1
        elif not started:
            place += 1
        elif waiting.lists[shelf.META, shelf.BLOCKS] < blocks:
            place = place // WIDTH * WIDTH
        place = _next_short(desk, place)
        job = shelf.job_at(waiting, place) if place != NONE else NONE
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
    alone = arrive(rules, desk.jobs, desk.waiting, desk.now) == 1 and not ended
    _pass(rules, desk, floor, policy, desk.now[CAME] if alone else NONE)
    if desk.now[SKIP] > 0:
        desk.now[SKIP] -= 1
        return
    sample(rules, desk)
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
        wake = desk.profile.meta[steps.WAKE]
        time_ns = next_time(desk.jobs, desk.changes, desk.ends, desk.now, wake)
        if time_ns >= FAR_NS:
            left = (
                desk.waiting.lists[shelf.META, shelf.ENTRIES]
                + desk.ends.lists[shelf.META, shelf.ENTRIES]
            )
            return STALLED if left > 0 else PLAYED
        desk.now[TIME] = time_ns
        _instant(rules, plan, desk, floor, policy)
    return MORE
