"""Conservative backfill: every waiting job has a reservation."""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.kernels import columns as at
from kfarm_twin.kernels import profile as steps
from kfarm_twin.kernels import shelf
from kfarm_twin.kernels.pool import Plan
from kfarm_twin.kernels.replay_jobs import try_start
from kfarm_twin.kernels.replay_state import TIME, Desk, Rules
from kfarm_twin.kernels.rng import FAR_NS


@inner
def _forget_promises(rules: Rules, desk: Desk, now: int) -> None:
    """Start from what runs; a job past its limit is taken to end next."""
    steps.reset(desk.profile, now, rules.capacity)
    running = desk.expected
    for place in range(running.lists[shelf.META, shelf.BLOCKS]):
        block = running.lists[shelf.ORDER, place]
        for i in range(running.rows[block, shelf.SIZE]):
            due = max(running.rows[block, shelf.KEYS + i], now + 1)
            weight = desk.jobs[running.rows[block, shelf.JOBS + i], at.WEIGHT]
            steps.change(desk.profile, now, due, -weight)
    waiting = desk.waiting
    for place in range(waiting.lists[shelf.META, shelf.BLOCKS]):
        block = waiting.lists[shelf.ORDER, place]
        for i in range(waiting.rows[block, shelf.SIZE]):
            desk.jobs[waiting.rows[block, shelf.JOBS + i], at.PLANNED] = FAR_NS


@inner
def _plan_all(desk: Desk, now: int, fresh: bool) -> None:
    """In queue order: plan those without a promise, or better the promises there are."""
    waiting, profile = desk.waiting, desk.profile
    for place in range(waiting.lists[shelf.META, shelf.BLOCKS]):
        block = waiting.lists[shelf.ORDER, place]
        for i in range(waiting.rows[block, shelf.SIZE]):
            job = waiting.rows[block, shelf.JOBS + i]
            before = desk.jobs[job, at.PLANNED]
            if (before == FAR_NS) != fresh:
                continue
            need, limit = desk.jobs[job, at.WEIGHT], desk.jobs[job, at.LIMIT]
            if before != FAR_NS:
                steps.change(profile, before, before + limit, need)
            begin = steps.earliest(profile, now, need, limit)
            steps.change(profile, begin, begin + limit, -need)
            desk.jobs[job, at.PLANNED] = begin


@inner
def pass_conservative(rules: Rules, plan: Plan, desk: Desk, early: bool) -> None:
    """Renew the reservations and start those whose time has come."""
    now, profile = desk.now[TIME], desk.profile
    overrun = shelf.first_key(desk.expected) <= now
    if overrun or profile.meta[steps.OVERRUN] == 1:
        _forget_promises(rules, desk, now)
    else:
        steps.forget(profile, now)
        if early:
            _plan_all(desk, now, False)
    _plan_all(desk, now, True)
    profile.meta[steps.OVERRUN] = 1 if overrun else 0
    count, wake = 0, FAR_NS
    waiting = desk.waiting
    for place in range(waiting.lists[shelf.META, shelf.BLOCKS]):
        block = waiting.lists[shelf.ORDER, place]
        for i in range(waiting.rows[block, shelf.SIZE]):
            planned = desk.jobs[waiting.rows[block, shelf.JOBS + i], at.PLANNED]
            if planned <= now:
                desk.jobs[count, at.ROLL] = waiting.rows[block, shelf.JOBS + i]
                count += 1
            else:
                wake = min(wake, planned)
    for i in range(count):
        try_start(rules, plan, desk, desk.jobs[i, at.ROLL])
    profile.meta[steps.WAKE] = FAR_NS if overrun else wake
