"""The head of the queue gets a reservation, and jobs behind it may go first (EASY); preemption."""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.arrays import RACK
from kfarm_twin.kernels import columns as at
from kfarm_twin.kernels import pool as nodes
from kfarm_twin.kernels import reserve, shelf
from kfarm_twin.kernels.pool import Plan
from kfarm_twin.kernels.replay_jobs import preempt, try_start
from kfarm_twin.kernels.replay_state import (
    EXTRA,
    FOUND,
    FREE,
    HEAD,
    HELD,
    NONE,
    SHADOW,
    TIME,
    Desk,
    Rules,
)
from kfarm_twin.kernels.rng import FAR_NS
from kfarm_twin.kernels.shelf import WIDTH
from kfarm_twin.policy.levels import COUNT
from kfarm_twin.policy.queue import ends_in_time, gives_way, srtf_key, time_left


@inner
def _hold_counted(desk: Desk, head: int, now: int) -> None:
    """Shadow time and extra, from the sums of the running jobs' blocks."""
    need, have = desk.jobs[head, at.WEIGHT], desk.now[FREE]
    running = desk.expected
    shadow = FAR_NS
    for place in range(running.lists[shelf.META, shelf.BLOCKS]):
        block = running.lists[shelf.ORDER, place]
        last = running.rows[block, shelf.KEYS + running.rows[block, shelf.SIZE] - 1]
        if have + running.rows[block, shelf.TOTAL] < need or (shadow != FAR_NS and last <= shadow):
            have += running.rows[block, shelf.TOTAL]
            continue
        for i in range(running.rows[block, shelf.SIZE]):
            due = running.rows[block, shelf.KEYS + i]
            if due > shadow:
                break
            have += desk.jobs[running.rows[block, shelf.JOBS + i], at.WEIGHT]
            if shadow == FAR_NS and have >= need:
                shadow = max(due, now)
        if last > shadow:
            break
    desk.now[SHADOW] = shadow
    desk.now[EXTRA] = have - need


@inner
def _hold_named(rules: Rules, plan: Plan, desk: Desk, head: int, now: int) -> None:
    """Shadow time, and the nodes that are kept for the head."""
    group, pods = desk.jobs[head, at.KIND], desk.jobs[head, at.VALUE]
    running = desk.expected
    reserve.begin(desk.pool)
    shadow, where = FAR_NS, NONE
    for place in range(running.lists[shelf.META, shelf.BLOCKS]):
        block = running.lists[shelf.ORDER, place]
        if running.rows[block, shelf.KEYS + 0] > shadow:
            break
        for i in range(running.rows[block, shelf.SIZE]):
            due = running.rows[block, shelf.KEYS + i]
            if due > shadow:
                break
            job = running.rows[block, shelf.JOBS + i]
            found = reserve.free_job(plan, desk.pool, job, group, pods, rules.required)
            if where == NONE and found != NONE:
                where, shadow = found, max(due, now)
    if where != NONE:
        reserve.reserve(plan, desk.pool, group, pods, rules.required, where)
    desk.now[SHADOW] = shadow


@inner
def hold(rules: Rules, plan: Plan, desk: Desk, head: int) -> None:
    """Make the head's reservation, unless the last one still holds."""
    now = desk.now[TIME]
    if desk.now[HELD] == head and desk.now[SHADOW] >= now:
        return
    if rules.placement == COUNT:
        _hold_counted(desk, head, now)
    else:
        _hold_named(rules, plan, desk, head, now)
    desk.now[HELD] = head


@inner
def short_bounds(rules: Rules, plan: Plan, desk: Desk) -> None:
    """The largest gang of each class that could start now, reservations apart."""
    for group in range(plan.classes.shape[0]):
        if rules.placement == COUNT:
            desk.pool.bounds[nodes.SHORT, group] = desk.now[FREE]
        else:
            desk.pool.bounds[nodes.SHORT, group] = nodes.most_pods(
                plan, desk.pool, group, rules.required
            )


@inner
def _long_bounds(rules: Rules, plan: Plan, desk: Desk) -> None:
    """And among those, the largest that may outlast the shadow time."""
    if rules.placement == COUNT:
        desk.pool.bounds[nodes.LONG, 0] = min(desk.pool.bounds[nodes.SHORT, 0], desk.now[EXTRA])
        return
    reserve.long_rooms(plan, desk.pool)
    for group in range(plan.classes.shape[0]):
        desk.pool.bounds[nodes.LONG, group] = min(
            desk.pool.bounds[nodes.LONG, group], desk.pool.bounds[nodes.SHORT, group]
        )


@inner
def _backfill_one(rules: Rules, plan: Plan, desk: Desk, job: int) -> bool:
    """Start a job behind the head if it does not delay the head's reservation."""
    limit = desk.jobs[job, at.LIMIT]
    short = ends_in_time(desk.now[TIME], limit, desk.now[SHADOW])
    weight = desk.jobs[job, at.WEIGHT]
    if rules.placement != COUNT:
        if short:
            reserve.show(plan, desk.pool)
        else:
            reserve.hide(plan, desk.pool)
    elif not short and weight > desk.now[EXTRA]:
        return False
    if not try_start(rules, plan, desk, job):
        return False
    if rules.placement != COUNT:
        # Made anew, the reservation may leave nodes to jobs that were passed over: look again.
        reserve.show(plan, desk.pool)
        desk.now[HELD] = NONE
        desk.now[HEAD] = NONE
    elif not short:
        desk.now[EXTRA] -= weight
    return True


@inner
def consider(rules: Rules, plan: Plan, desk: Desk, head: int, job: int) -> None:
    """Backfill with one job that just came; nothing else has changed."""
    short_bounds(rules, plan, desk)
    if desk.jobs[job, at.VALUE] > desk.pool.bounds[nodes.SHORT, desk.jobs[job, at.KIND]]:
        return
    hold(rules, plan, desk, head)
    _backfill_one(rules, plan, desk, job)
    if rules.placement != COUNT:
        reserve.show(plan, desk.pool)


@inner
def _next_candidate(rules: Rules, plan: Plan, desk: Desk, head: int, place: int) -> int:
    """The first job from `place` on that fits now, whatever its limit, and bounds for the rest."""
    bounds = desk.pool.bounds
    short_bounds(rules, plan, desk)
    place = shelf.next_fit(
        desk.waiting, desk.jobs, place, bounds[nodes.SHORT], bounds[nodes.SHORT], FAR_NS
    )
    if place != NONE:
        hold(rules, plan, desk, head)
        _long_bounds(rules, plan, desk)
    return place


@inner
def backfill(rules: Rules, plan: Plan, desk: Desk, head: int) -> None:
    """Start what may go before the head, in queue order."""
    waiting, bounds = desk.waiting, desk.pool.bounds
    place = _next_candidate(rules, plan, desk, head, 1)
    while place != NONE:
        window = desk.now[SHADOW] - desk.now[TIME]
        place = shelf.next_fit(
            waiting, desk.jobs, place, bounds[nodes.SHORT], bounds[nodes.LONG], window
        )
        if place == NONE:
            break
        job = shelf.job_at(waiting, place)
        blocks = waiting.lists[shelf.META, shelf.BLOCKS]
        if _backfill_one(rules, plan, desk, job):
            if waiting.lists[shelf.META, shelf.BLOCKS] < blocks:
                place = place // WIDTH * WIDTH
            place = _next_candidate(rules, plan, desk, head, place)
        else:
            group, value = desk.jobs[job, at.KIND], desk.jobs[job, at.VALUE]
            bounds[nodes.LONG, group] = min(bounds[nodes.LONG, group], value - 1)
            if desk.jobs[job, at.LIMIT] <= window:
                bounds[nodes.SHORT, group] = min(bounds[nodes.SHORT, group], value - 1)
            place += 1
    if rules.placement != COUNT:
        reserve.show(plan, desk.pool)


@inner
def _next_rank(desk: Desk, below: int) -> int:
    """The largest rank of a running job under `below`, or NONE."""
    found = NONE
    running = desk.expected
    for place in range(running.lists[shelf.META, shelf.BLOCKS]):
        block = running.lists[shelf.ORDER, place]
        for i in range(running.rows[block, shelf.SIZE]):
            rank = desk.jobs[running.rows[block, shelf.JOBS + i], at.RANK]
            if found < rank < below:
                found = rank
    return int(found)


@inner
def _choose_victims(rules: Rules, plan: Plan, desk: Desk, head: int) -> int:
    """Running jobs after the head, last first, until it fits: how many in ROLL, or NONE.

    `Desk.now[FOUND]` is then a node of the domain that takes the head.
    """
    now, need = desk.now[TIME], desk.jobs[head, at.WEIGHT]
    group, pods = desk.jobs[head, at.KIND], desk.jobs[head, at.VALUE]
    have, count = desk.now[FREE], 0
    running = desk.expected
    if rules.placement != COUNT:
        reserve.begin(desk.pool)
        desk.now[HELD] = NONE
    rank = _next_rank(desk, FAR_NS)
    while rank >= desk.jobs[head, at.RANK]:
        for back in range(running.lists[shelf.META, shelf.BLOCKS]):
            block = running.lists[shelf.ORDER, running.lists[shelf.META, shelf.BLOCKS] - 1 - back]
            for k in range(running.rows[block, shelf.SIZE]):
                job = running.rows[block, shelf.JOBS + running.rows[block, shelf.SIZE] - 1 - k]
                if desk.jobs[job, at.RANK] != rank or desk.jobs[job, at.WEIGHT] == 0:
                    continue
                left = time_left(desk.jobs[job, at.DUE], now)
                if not gives_way(desk.jobs[head, at.KEY], srtf_key(rank, rules.span_ns, left)):
                    continue
                desk.jobs[count, at.ROLL] = job
                count += 1
                have += desk.jobs[job, at.WEIGHT]
                if rules.placement == COUNT:
                    if have >= need:
                        return count
                    continue
                found = reserve.free_job(plan, desk.pool, job, group, pods, rules.required)
                if found != NONE:
                    desk.now[FOUND] = found
                    return count
        rank = _next_rank(desk, rank)
    return NONE


@inner
def _in_domain(rules: Rules, plan: Plan, desk: Desk, job: int, node: int) -> bool:
    """Whether a job holds devices in the domain of `node` at the required level."""
    if rules.required != RACK and rules.required != RACK + 1:
        return True
    level = rules.required - RACK
    piece = desk.jobs[job, at.PIECE]
    while piece != NONE:
        if plan.domain[level, desk.pool.piece[piece, 0]] == plan.domain[level, node]:
            return True
        piece = desk.pool.piece[piece, 2]
    return False


@inner
def make_room(rules: Rules, plan: Plan, desk: Desk, head: int) -> bool:
    """Preempt for the head, if that helps; whether it did."""
    count = _choose_victims(rules, plan, desk, head)
    if count == NONE:
        return False
    node = desk.now[FOUND]
    for i in range(count):
        job = desk.jobs[i, at.ROLL]
        if rules.placement == COUNT or _in_domain(rules, plan, desk, job, node):
            preempt(rules, plan, desk, job)
    return True
