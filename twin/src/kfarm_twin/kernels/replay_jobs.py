"""What happens to one job of the farm driver: it starts, slows down, is preempted, ends.

Work is kept exactly: what is left is ``idle_ns + left_ns`` less ``left_ppm`` millionths of a
nanosecond, at full speed. The end is the first nanosecond at which nothing is left.
"""

from __future__ import annotations

from kfarm_twin._jit import inlined, inner
from kfarm_twin.arrays import Ints
from kfarm_twin.kernels import columns as at
from kfarm_twin.kernels import pool as nodes
from kfarm_twin.kernels import profile as steps
from kfarm_twin.kernels import replay_saves as saves
from kfarm_twin.kernels import seats, shelf
from kfarm_twin.kernels.pool import Plan
from kfarm_twin.kernels.replay_state import (
    COMMON_PPM,
    DECISIONS,
    FAILING,
    FINISHED,
    FREE,
    FULL_PPM,
    HEAD,
    HELD,
    NONE,
    TIME,
    Desk,
    Rules,
)
from kfarm_twin.kernels.rng import FAR_NS
from kfarm_twin.kernels.shelf import Shelf
from kfarm_twin.policy.levels import COUNT
from kfarm_twin.policy.queue import CONSERVATIVE, NO_BACKFILL, SRTF, srtf_key, time_left


@inlined
def looks_ahead(rules: Rules) -> bool:
    """Whether running jobs are kept by the end of their limits."""
    return rules.backfill != NO_BACKFILL or rules.order == SRTF


@inlined
def enqueue(rules: Rules, jobs: Ints, waiting: Shelf, job: int) -> None:
    """A job arrives or comes back."""
    key = jobs[job, at.RANK]
    if rules.order == SRTF:
        key = srtf_key(key, rules.span_ns, jobs[job, at.LIMIT])
    jobs[job, at.KEY] = key
    shelf.insert(waiting, jobs, key, job)


@inlined
def _speed(rules: Rules, desk: Desk, job: int) -> int:
    """Speed of the slowest node of a job, and of its slowest device [ppm]."""
    if rules.placement == COUNT or desk.jobs[job, at.PIECE] == NONE:
        return int(desk.now[COMMON_PPM])
    slowest = FAR_NS
    piece = desk.jobs[job, at.PIECE]
    while piece != NONE:
        slowest = min(slowest, desk.pool.node[desk.pool.piece[piece, 0], nodes.PPM])
        piece = desk.pool.piece[piece, 2]
    if seats.is_kept(desk.pool.hot):
        slowest = min(slowest, _slowest_seat(desk.pool, desk.jobs[job, at.PIECE], job))
    return int(slowest)


@inner
def _slowest_seat(pool: nodes.Pool, piece: int, job: int) -> int:
    """Speed of the slowest device of a job [ppm]."""
    slowest = seats.FULL_PPM
    while piece != NONE:
        slowest = min(slowest, seats.slowest(pool.node, pool.piece[piece, 0], job))
        piece = pool.piece[piece, 2]
    return int(slowest)


@inner
def _finish_time(desk: Desk, job: int, now: int) -> int:
    """When the work that is left will be done at the present speed."""
    left = desk.jobs[job, at.IDLE] + desk.jobs[job, at.LEFT]
    speed = desk.jobs[job, at.SPEED]
    if speed == FULL_PPM and desk.jobs[job, at.LEFT_PPM] == 0:
        return int(now + left)
    if speed <= 0:
        return FAR_NS
    whole = left // speed
    rest = (left % speed) * FULL_PPM - desk.jobs[job, at.LEFT_PPM]
    if whole > FAR_NS // FULL_PPM:
        return FAR_NS
    return int(min(now + whole * FULL_PPM - (-rest // speed), FAR_NS))


@inner
def settle(desk: Desk, job: int, now: int) -> None:
    """Book the work done since it was last looked at."""
    span = now - desk.jobs[job, at.SINCE]
    desk.jobs[job, at.SINCE] = now
    speed = desk.jobs[job, at.SPEED]
    rest = (span % FULL_PPM) * speed + desk.jobs[job, at.LEFT_PPM]
    done = (span // FULL_PPM) * speed + rest // FULL_PPM
    desk.jobs[job, at.LEFT_PPM] = rest % FULL_PPM
    paid = min(done, desk.jobs[job, at.IDLE])
    desk.jobs[job, at.IDLE] -= paid
    desk.jobs[job, at.LEFT] -= done - paid


@inlined
def begin(rules: Rules, desk: Desk, job: int) -> None:
    """Start a waiting job whose devices are taken already."""
    now = desk.now[TIME]
    shelf.remove(desk.waiting, desk.jobs, desk.jobs[job, at.KEY], job)
    desk.now[FREE] -= desk.jobs[job, at.WEIGHT]
    if desk.jobs[job, at.START] == NONE:
        desk.jobs[job, at.START] = now
    if desk.now[FAILING] == 1:
        saves.open_run(desk, job)
    desk.jobs[job, at.SINCE] = now
    desk.jobs[job, at.SPEED] = _speed(rules, desk, job)
    desk.jobs[job, at.DONE] = _finish_time(desk, job, now)
    shelf.insert(desk.ends, desk.jobs, desk.jobs[job, at.DONE], job)
    if looks_ahead(rules):
        desk.jobs[job, at.DUE] = now + desk.jobs[job, at.LIMIT]
        shelf.insert(desk.expected, desk.jobs, desk.jobs[job, at.DUE], job)


@inner
def try_start(rules: Rules, plan: Plan, desk: Desk, job: int) -> bool:
    """Start a waiting job if it can now; the one way in, also for admission by quota."""
    desk.now[DECISIONS] += 1
    if rules.placement == COUNT:
        if desk.jobs[job, at.WEIGHT] > desk.now[FREE]:
            return False
    elif not nodes.place(
        plan,
        desk.pool,
        job,
        desk.jobs[job, at.KIND],
        desk.jobs[job, at.VALUE],
        rules.required,
        rules.preferred,
        rules.placement,
        rules.seed,
        rules.future,
    ):
        return False
    begin(rules, desk, job)
    return True


@inlined
def _leave(rules: Rules, plan: Plan, desk: Desk, job: int) -> None:
    """Give devices back."""
    desk.now[HELD] = NONE
    desk.now[HEAD] = NONE
    desk.now[FREE] += desk.jobs[job, at.WEIGHT]
    shelf.remove(desk.ends, desk.jobs, desk.jobs[job, at.DONE], job)
    if looks_ahead(rules):
        shelf.remove(desk.expected, desk.jobs, desk.jobs[job, at.DUE], job)
    if rules.placement != COUNT:
        nodes.release(plan, desk.pool, job)


@inlined
def finish(rules: Rules, plan: Plan, desk: Desk, job: int) -> bool:
    """A job ends; whether before its limit."""
    now = desk.now[TIME]
    if desk.now[FAILING] == 1:
        saves.end_run(rules, desk, job)
    _leave(rules, plan, desk, job)
    desk.jobs[job, at.END] = now
    desk.now[FINISHED] += 1
    early = desk.jobs[job, at.DUE] > now
    if rules.backfill == CONSERVATIVE and early:
        steps.change(desk.profile, now, desk.jobs[job, at.DUE], desk.jobs[job, at.WEIGHT])
    return bool(early)


@inner
def come_back(rules: Rules, plan: Plan, desk: Desk, job: int) -> None:
    """A stop by the fleet is known: the job gives back what it holds and queues again."""
    saves.wait_unknown(desk, job)
    desk.now[FREE] -= desk.jobs[job, at.WEIGHT] - desk.jobs[job, at.HOLDS]
    _leave(rules, plan, desk, job)
    desk.jobs[job, at.HOLDS] = saves.AWAY
    enqueue(rules, desk.jobs, desk.waiting, job)


@inner
def _preempt_failing(rules: Rules, plan: Plan, desk: Desk, job: int) -> None:
    """As `preempt`, where nodes fail: the job saves first, and saves and restarts are booked."""
    if desk.jobs[job, at.HOLDS] != NONE:
        come_back(rules, plan, desk, job)
    else:
        settle(desk, job, desk.now[TIME])
        saves.close_run(rules, desk, job, saves.ALL)
        _leave(rules, plan, desk, job)
        enqueue(rules, desk.jobs, desk.waiting, job)
    desk.jobs[job, at.STOPS] += 1


@inner
def preempt(rules: Rules, plan: Plan, desk: Desk, job: int) -> None:
    """Stop a running job; it waits again with the work done so far, in whole ns, behind it.

    The restart cost comes first when it runs again; one that was cut short is paid anew.
    """
    now = desk.now[TIME]
    if desk.now[FAILING] == 1:
        _preempt_failing(rules, plan, desk, job)
        return
    settle(desk, job, now)
    _leave(rules, plan, desk, job)
    left = max(time_left(desk.jobs[job, at.DUE], now) - desk.jobs[job, at.IDLE], 0)
    desk.jobs[job, at.IDLE] = rules.restart_ns
    desk.jobs[job, at.LEFT_PPM] = 0
    desk.jobs[job, at.STOPS] += 1
    desk.jobs[job, at.LIMIT] = left + rules.restart_ns
    enqueue(rules, desk.jobs, desk.waiting, job)


@inner
def uses(desk: Desk, job: int, node: int) -> bool:
    """Whether a job holds devices of a node."""
    piece = desk.jobs[job, at.PIECE]
    while piece != NONE:
        if desk.pool.piece[piece, 0] == node:
            return True
        piece = desk.pool.piece[piece, 2]
    return False


@inner
def seated(desk: Desk, node: int) -> int:
    """Jobs that hold devices of a node, in their order, in the list ROLL: how many (with heat)."""
    count = 0
    for device in range(seats.devices(desk.pool.node)):
        job = desk.pool.node[node, seats.SEATS + device]
        if job < 0:
            continue
        into = count
        while into > 0 and desk.jobs[into - 1, at.ROLL] > job:
            into -= 1
        if into > 0 and desk.jobs[into - 1, at.ROLL] == job:
            continue
        for i in range(count, into, -1):
            desk.jobs[i, at.ROLL] = desk.jobs[i - 1, at.ROLL]
        desk.jobs[into, at.ROLL] = job
        count += 1
    return count


@inner
def change_speed(rules: Rules, desk: Desk, node: int, speed_ppm: int) -> None:
    """A node, or all (NONE), change their speed; what runs there ends later or sooner."""
    if node == NONE:
        desk.now[COMMON_PPM] = speed_ppm
        desk.pool.node[:, nodes.PPM] = speed_ppm
    else:
        desk.pool.node[node, nodes.PPM] = speed_ppm
    apply_speeds(rules, desk, node)


@inner
def apply_speeds(rules: Rules, desk: Desk, node: int) -> None:
    """What runs on a node (NONE: on any) goes on at the speed that it has now."""
    now, touched = desk.now[TIME], 0
    if node != NONE and seats.is_kept(desk.pool.hot):
        _go_on(rules, desk, seated(desk, node), now)
        return
    for place in range(desk.ends.lists[shelf.META, shelf.BLOCKS]):
        block = desk.ends.lists[shelf.ORDER, place]
        for i in range(desk.ends.rows[block, shelf.SIZE]):
            job = desk.ends.rows[block, shelf.JOBS + i]
            if node == NONE or uses(desk, job, node):
                desk.jobs[touched, at.ROLL] = job
                touched += 1
    _go_on(rules, desk, touched, now)


@inner
def _go_on(rules: Rules, desk: Desk, touched: int, now: int) -> None:
    """The first `touched` jobs of the list ROLL go on at the speed that they have now."""
    for i in range(touched):
        job = desk.jobs[i, at.ROLL]
        if desk.now[FAILING] == 1 and desk.jobs[job, at.HOLDS] != NONE:
            continue  # it has stopped, and nobody knows
        settle(desk, job, now)
        shelf.remove(desk.ends, desk.jobs, desk.jobs[job, at.DONE], job)
        desk.jobs[job, at.SPEED] = _speed(rules, desk, job)
        desk.jobs[job, at.DONE] = _finish_time(desk, job, now)
        shelf.insert(desk.ends, desk.jobs, desk.jobs[job, at.DONE], job)
