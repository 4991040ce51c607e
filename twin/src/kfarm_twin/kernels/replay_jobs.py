"""What happens to one job of the farm driver: it starts, slows down, is preempted, ends.

Work is kept exactly: what is left is ``idle_ns + left_ns`` less ``left_ppm`` millionths of a
nanosecond, at full speed. The end is the first nanosecond at which nothing is left.
"""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.kernels import pool as nodes
from kfarm_twin.kernels import profile as steps
from kfarm_twin.kernels import shelf
from kfarm_twin.kernels.pool import Plan
from kfarm_twin.kernels.replay_state import (
    COMMON_PPM,
    DECISIONS,
    FINISHED,
    FREE,
    FULL_PPM,
    HEAD,
    HELD,
    NONE,
    TIME,
    Desk,
    Given,
    Rules,
)
from kfarm_twin.kernels.rng import FAR_NS
from kfarm_twin.policy.levels import COUNT
from kfarm_twin.policy.queue import CONSERVATIVE, NO_BACKFILL, SRTF, srtf_key, time_left


@inner
def looks_ahead(rules: Rules) -> bool:
    """Whether running jobs are kept by the end of their limits."""
    return rules.backfill != NO_BACKFILL or rules.order == SRTF


@inner
def enqueue(given: Given, rules: Rules, desk: Desk, job: int) -> None:
    """A job arrives or comes back."""
    key = given.rank[job]
    if rules.order == SRTF:
        key = srtf_key(given.rank[job], rules.span_ns, desk.sizes.limit[job])
    desk.work.key[job] = key
    shelf.insert(desk.waiting, desk.sizes, key, job)


@inner
def _speed(rules: Rules, desk: Desk, job: int) -> int:
    """Speed of the slowest node of a job [ppm]."""
    if rules.placement == COUNT or desk.pool.first_piece[job] == NONE:
        return int(desk.now[COMMON_PPM])
    slowest = FAR_NS
    piece = desk.pool.first_piece[job]
    while piece != NONE:
        slowest = min(slowest, desk.node_ppm[desk.pool.piece[piece, 0]])
        piece = desk.pool.piece[piece, 2]
    return int(slowest)


@inner
def _finish_time(desk: Desk, job: int, now: int) -> int:
    """When the work that is left will be done at the present speed."""
    work = desk.work
    left = work.idle_ns[job] + work.left_ns[job]
    speed = work.speed_ppm[job]
    if speed == FULL_PPM and work.left_ppm[job] == 0:
        return int(now + left)
    if speed <= 0:
        return FAR_NS
    whole = left // speed
    rest = (left % speed) * FULL_PPM - work.left_ppm[job]
    if whole > FAR_NS // FULL_PPM:
        return FAR_NS
    return int(min(now + whole * FULL_PPM - (-rest // speed), FAR_NS))


@inner
def _settle(desk: Desk, job: int, now: int) -> None:
    """Book the work done since it was last looked at."""
    work = desk.work
    span = now - work.since_ns[job]
    work.since_ns[job] = now
    speed = work.speed_ppm[job]
    rest = (span % FULL_PPM) * speed + work.left_ppm[job]
    done = (span // FULL_PPM) * speed + rest // FULL_PPM
    work.left_ppm[job] = rest % FULL_PPM
    paid = min(done, work.idle_ns[job])
    work.idle_ns[job] -= paid
    work.left_ns[job] -= done - paid


@inner
def begin(given: Given, rules: Rules, desk: Desk, job: int) -> None:
    """Start a waiting job whose devices are taken already."""
    work, now = desk.work, desk.now[TIME]
    shelf.remove(desk.waiting, desk.sizes, work.key[job], job)
    desk.now[FREE] -= desk.sizes.weight[job]
    if work.start_ns[job] == NONE:
        work.start_ns[job] = now
    work.since_ns[job] = now
    work.running[job] = 1
    work.speed_ppm[job] = _speed(rules, desk, job)
    work.done_ns[job] = _finish_time(desk, job, now)
    shelf.insert(desk.ends, desk.sizes, work.done_ns[job], job)
    if looks_ahead(rules):
        work.due_ns[job] = now + desk.sizes.limit[job]
        shelf.insert(desk.expected, desk.sizes, work.due_ns[job], job)


@inner
def try_start(given: Given, rules: Rules, plan: Plan, desk: Desk, job: int) -> bool:
    """Start a waiting job if it can now; the one way in, also for admission by quota."""
    desk.now[DECISIONS] += 1
    if rules.placement == COUNT:
        if desk.sizes.weight[job] > desk.now[FREE]:
            return False
    elif not nodes.place(
        plan,
        desk.pool,
        job,
        desk.sizes.kind[job],
        desk.sizes.value[job],
        rules.required,
        rules.preferred,
        rules.placement,
        rules.seed,
        rules.future,
        desk.scratch,
    ):
        return False
    begin(given, rules, desk, job)
    return True


@inner
def _leave(rules: Rules, plan: Plan, desk: Desk, job: int) -> None:
    """Give devices back."""
    work = desk.work
    work.running[job] = 0
    desk.now[HELD] = NONE
    desk.now[HEAD] = NONE
    desk.now[FREE] += desk.sizes.weight[job]
    shelf.remove(desk.ends, desk.sizes, work.done_ns[job], job)
    if looks_ahead(rules):
        shelf.remove(desk.expected, desk.sizes, work.due_ns[job], job)
    if rules.placement != COUNT:
        nodes.release(plan, desk.pool, job)


@inner
def finish(rules: Rules, plan: Plan, desk: Desk, job: int) -> bool:
    """A job ends; whether before its limit."""
    now = desk.now[TIME]
    _leave(rules, plan, desk, job)
    desk.work.end_ns[job] = now
    desk.now[FINISHED] += 1
    early = desk.work.due_ns[job] > now
    if rules.backfill == CONSERVATIVE and early:
        steps.change(desk.profile, now, desk.work.due_ns[job], desk.sizes.weight[job])
    return bool(early)


@inner
def preempt(given: Given, rules: Rules, plan: Plan, desk: Desk, job: int) -> None:
    """Stop a running job; it waits again with the work done so far, in whole ns, behind it.

    The restart cost comes first when it runs again; one that was cut short is paid anew.
    """
    work, now = desk.work, desk.now[TIME]
    _settle(desk, job, now)
    _leave(rules, plan, desk, job)
    left = max(time_left(work.due_ns[job], now) - work.idle_ns[job], 0)
    work.idle_ns[job] = rules.restart_ns
    work.left_ppm[job] = 0
    work.preemptions[job] += 1
    desk.sizes.limit[job] = left + rules.restart_ns
    enqueue(given, rules, desk, job)


@inner
def _uses(desk: Desk, job: int, node: int) -> bool:
    piece = desk.pool.first_piece[job]
    while piece != NONE:
        if desk.pool.piece[piece, 0] == node:
            return True
        piece = desk.pool.piece[piece, 2]
    return False


@inner
def change_speed(rules: Rules, desk: Desk, node: int, speed_ppm: int) -> None:
    """A node, or all (NONE), change their speed; what runs there ends later or sooner."""
    now = desk.now[TIME]
    if node == NONE:
        desk.now[COMMON_PPM] = speed_ppm
        desk.node_ppm[:] = speed_ppm
    else:
        desk.node_ppm[node] = speed_ppm
    touched = 0
    for place in range(desk.ends.meta[shelf.BLOCKS]):
        block = desk.ends.order[place]
        for i in range(desk.ends.size[block]):
            job = desk.ends.job[block, i]
            if node == NONE or _uses(desk, job, node):
                desk.roll[touched] = job
                touched += 1
    for i in range(touched):
        job = desk.roll[i]
        _settle(desk, job, now)
        shelf.remove(desk.ends, desk.sizes, desk.work.done_ns[job], job)
        desk.work.speed_ppm[job] = _speed(rules, desk, job)
        desk.work.done_ns[job] = _finish_time(desk, job, now)
        shelf.insert(desk.ends, desk.sizes, desk.work.done_ns[job], job)
