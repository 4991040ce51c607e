"""The head of the queue gets a reservation, and jobs behind it may go first (EASY); preemption."""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.arrays import RACK
from kfarm_twin.kernels import pool as nodes
from kfarm_twin.kernels import reserve, shelf
from kfarm_twin.kernels.pool import Plan
from kfarm_twin.kernels.replay_jobs import preempt, try_start
from kfarm_twin.kernels.replay_state import (
    EXTRA,
    FREE,
    HELD,
    NONE,
    SHADOW,
    TIME,
    Desk,
    Given,
    Rules,
)
from kfarm_twin.kernels.rng import FAR_NS
from kfarm_twin.kernels.shelf import BLOCKS, WIDTH
from kfarm_twin.policy.levels import COUNT
from kfarm_twin.policy.queue import ends_in_time, gives_way, srtf_key, time_left


@inner
def _hold_counted(desk: Desk, head: int, now: int) -> None:
    """Shadow time and extra, from the sums of the running jobs' blocks."""
    need, have = desk.sizes.weight[head], desk.now[FREE]
    running = desk.expected
    shadow = FAR_NS
    for place in range(running.meta[BLOCKS]):
        block = running.order[place]
        last = running.key[block, running.size[block] - 1]
        if have + running.total[block] < need or (shadow != FAR_NS and last <= shadow):
            have += running.total[block]
            continue
        for i in range(running.size[block]):
            due = running.key[block, i]
            if due > shadow:
                break
            have += desk.sizes.weight[running.job[block, i]]
            if shadow == FAR_NS and have >= need:
                shadow = max(due, now)
        if last > shadow:
            break
    desk.now[SHADOW] = shadow
    desk.now[EXTRA] = have - need


@inner
def _hold_named(rules: Rules, plan: Plan, desk: Desk, head: int, now: int) -> None:
    """Shadow time, and the nodes that are kept for the head."""
    group, pods = desk.sizes.kind[head], desk.sizes.value[head]
    running = desk.expected
    reserve.begin(desk.pool)
    shadow, where = FAR_NS, NONE
    for place in range(running.meta[BLOCKS]):
        block = running.order[place]
        if running.key[block, 0] > shadow:
            break
        for i in range(running.size[block]):
            due = running.key[block, i]
            if due > shadow:
                break
            job = running.job[block, i]
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
    for group in range(desk.short.shape[0]):
        if rules.placement == COUNT:
            desk.short[group] = desk.now[FREE]
        else:
            desk.short[group] = nodes.most_pods(plan, desk.pool, group, rules.required)


@inner
def _long_bounds(rules: Rules, plan: Plan, desk: Desk) -> None:
    """And among those, the largest that may outlast the shadow time."""
    if rules.placement == COUNT:
        desk.long[0] = min(desk.short[0], desk.now[EXTRA])
        return
    reserve.long_rooms(plan, desk.pool, desk.long)
    for group in range(desk.short.shape[0]):
        desk.long[group] = min(desk.long[group], desk.short[group])


@inner
def _backfill_one(given: Given, rules: Rules, plan: Plan, desk: Desk, job: int) -> bool:
    """Start a job behind the head if it does not delay the head's reservation."""
    limit = desk.sizes.limit[job]
    short = ends_in_time(desk.now[TIME], limit, desk.now[SHADOW])
    if rules.placement == COUNT:
        weight = desk.sizes.weight[job]
        if not short and weight > desk.now[EXTRA]:
            return False
        if not try_start(given, rules, plan, desk, job):
            return False
        if not short:
            desk.now[EXTRA] -= weight
        return True
    if short:
        reserve.show(plan, desk.pool)
        return try_start(given, rules, plan, desk, job)
    reserve.hide(plan, desk.pool)
    if not try_start(given, rules, plan, desk, job):
        return False
    reserve.outlast(desk.pool, job)
    return True


@inner
def consider(given: Given, rules: Rules, plan: Plan, desk: Desk, head: int, job: int) -> None:
    """Backfill with one job that just came; nothing else has changed."""
    short_bounds(rules, plan, desk)
    if desk.sizes.value[job] > desk.short[desk.sizes.kind[job]]:
        return
    hold(rules, plan, desk, head)
    _backfill_one(given, rules, plan, desk, job)
    reserve.show(plan, desk.pool)


@inner
def _renew(rules: Rules, plan: Plan, desk: Desk) -> None:
    """Bounds after a start; they only fall within a pass."""
    if rules.placement != COUNT:
        reserve.show(plan, desk.pool)
    short_bounds(rules, plan, desk)
    _long_bounds(rules, plan, desk)


@inner
def backfill(given: Given, rules: Rules, plan: Plan, desk: Desk, head: int) -> None:
    """Start what may go before the head, in queue order."""
    short_bounds(rules, plan, desk)
    waiting = desk.waiting
    place = shelf.next_fit(waiting, desk.sizes, 1, desk.short, desk.short, FAR_NS)
    if place == NONE:
        return
    hold(rules, plan, desk, head)
    _long_bounds(rules, plan, desk)
    while True:
        window = desk.now[SHADOW] - desk.now[TIME]
        place = shelf.next_fit(waiting, desk.sizes, place, desk.short, desk.long, window)
        if place == NONE:
            break
        job = shelf.job_at(waiting, place)
        blocks = waiting.meta[BLOCKS]
        if _backfill_one(given, rules, plan, desk, job):
            if waiting.meta[BLOCKS] < blocks:
                place = place // WIDTH * WIDTH
            _renew(rules, plan, desk)
        else:
            group, value = desk.sizes.kind[job], desk.sizes.value[job]
            desk.long[group] = min(desk.long[group], value - 1)
            if desk.sizes.limit[job] <= window:
                desk.short[group] = min(desk.short[group], value - 1)
            place += 1
    if rules.placement != COUNT:
        reserve.show(plan, desk.pool)


@inner
def _next_rank(given: Given, desk: Desk, below: int) -> int:
    """The largest rank of a running job under `below`, or NONE."""
    found = NONE
    running = desk.expected
    for place in range(running.meta[BLOCKS]):
        block = running.order[place]
        for i in range(running.size[block]):
            rank = given.rank[running.job[block, i]]
            if found < rank < below:
                found = rank
    return int(found)


@inner
def _choose_victims(given: Given, rules: Rules, plan: Plan, desk: Desk, head: int) -> int:
    """Running jobs after the head, last first, until it fits: how many in `roll`, or NONE.

    `scratch[0]` is then a node of the domain that takes the head.
    """
    now, need = desk.now[TIME], desk.sizes.weight[head]
    group, pods = desk.sizes.kind[head], desk.sizes.value[head]
    have, count = desk.now[FREE], 0
    running = desk.expected
    if rules.placement != COUNT:
        reserve.begin(desk.pool)
        desk.now[HELD] = NONE
    rank = _next_rank(given, desk, FAR_NS)
    while rank >= given.rank[head]:
        for back in range(running.meta[BLOCKS]):
            block = running.order[running.meta[BLOCKS] - 1 - back]
            for k in range(running.size[block]):
                job = running.job[block, running.size[block] - 1 - k]
                if given.rank[job] != rank:
                    continue
                left = time_left(desk.work.due_ns[job], now)
                if not gives_way(desk.work.key[head], srtf_key(rank, rules.span_ns, left)):
                    continue
                desk.roll[count] = job
                count += 1
                have += desk.sizes.weight[job]
                if rules.placement == COUNT:
                    if have >= need:
                        return count
                    continue
                found = reserve.free_job(plan, desk.pool, job, group, pods, rules.required)
                if found != NONE:
                    desk.scratch[0] = found
                    return count
        rank = _next_rank(given, desk, rank)
    return NONE


@inner
def _in_domain(rules: Rules, plan: Plan, desk: Desk, job: int, node: int) -> bool:
    """Whether a job holds devices in the domain of `node` at the required level."""
    if rules.required != RACK and rules.required != RACK + 1:
        return True
    level = rules.required - RACK
    piece = desk.pool.first_piece[job]
    while piece != NONE:
        if plan.domain[level, desk.pool.piece[piece, 0]] == plan.domain[level, node]:
            return True
        piece = desk.pool.piece[piece, 2]
    return False


@inner
def make_room(given: Given, rules: Rules, plan: Plan, desk: Desk, head: int) -> bool:
    """Preempt for the head, if that helps; whether it did."""
    count = _choose_victims(given, rules, plan, desk, head)
    if count == NONE:
        return False
    node = desk.scratch[0]
    for i in range(count):
        job = desk.roll[i]
        if rules.placement == COUNT or _in_domain(rules, plan, desk, job, node):
            preempt(given, rules, plan, desk, job)
    return True
