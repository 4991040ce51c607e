"""The event loop of the farm driver: all ends, changes of speed, all arrivals, then one pass."""

from __future__ import annotations

from kfarm_twin._jit import inner, kernel
from kfarm_twin.kernels import columns as at
from kfarm_twin.kernels import profile as steps
from kfarm_twin.kernels import shelf
from kfarm_twin.kernels.pool import Plan
from kfarm_twin.kernels.replay_easy import backfill, consider, make_room
from kfarm_twin.kernels.replay_jobs import change_speed, enqueue, finish, try_start
from kfarm_twin.kernels.replay_plan import pass_conservative
from kfarm_twin.kernels.replay_state import (
    ARRIVED,
    CHANGED,
    HEAD,
    HELD,
    NONE,
    SHADOW,
    TIME,
    Desk,
    Rules,
    clear,
    sample,
)
from kfarm_twin.kernels.rng import FAR_NS
from kfarm_twin.policy.queue import CONSERVATIVE, EASY, SRTF

PLAYED, MORE, STALLED = 0, 1, 2
"""Status: all is over; call again; jobs are left that nothing will ever start or end."""


@inner
def _schedule(rules: Rules, plan: Plan, desk: Desk) -> None:
    """One pass over the queue."""
    while True:
        head = shelf.first_job(desk.waiting)
        if head == NONE:
            break
        if try_start(rules, plan, desk, head):
            continue
        if rules.order == SRTF and make_room(rules, plan, desk, head):
            try_start(rules, plan, desk, head)
            continue
        if rules.backfill == EASY:
            backfill(rules, plan, desk, head)
        break
    desk.now[HEAD] = head


@inner
def _pass(rules: Rules, plan: Plan, desk: Desk, came: int, early: bool) -> None:
    """Decide; `came` is the one job that came when nothing else happened, else NONE."""
    if rules.backfill == CONSERVATIVE:
        pass_conservative(rules, plan, desk, early)
        return
    head = shelf.first_job(desk.waiting)
    if came != NONE and head == desk.now[HEAD] and head != NONE:
        # The head could not start, and less is free and less time is left than at the last pass.
        if rules.backfill != EASY:
            return
        if desk.now[HELD] != head or desk.now[SHADOW] >= desk.now[TIME]:
            consider(rules, plan, desk, head, came)
            return
    _schedule(rules, plan, desk)


@inner
def _next_time(desk: Desk) -> int:
    """When something happens next."""
    time_ns = shelf.first_key(desk.ends)
    if desk.now[ARRIVED] < desk.jobs.shape[0]:
        time_ns = min(time_ns, desk.jobs[desk.now[ARRIVED], at.SUBMIT])
    if desk.now[CHANGED] < desk.changes.shape[0]:
        time_ns = min(time_ns, desk.changes[desk.now[CHANGED], 0])
    return int(min(time_ns, desk.profile.meta[steps.WAKE]))


@inner
def _instant(rules: Rules, plan: Plan, desk: Desk) -> None:
    """All that happens at one time."""
    now = desk.now[TIME]
    early, ended = False, False
    while shelf.first_key(desk.ends) == now:
        early = finish(rules, plan, desk, shelf.first_job(desk.ends)) or early
        ended = True
    while desk.now[CHANGED] < desk.changes.shape[0]:
        row = desk.now[CHANGED]
        if desk.changes[row, 0] > now:
            break
        change_speed(rules, desk, desk.changes[row, 1], desk.changes[row, 2])
        desk.now[CHANGED] = row + 1
    came, count = NONE, 0
    while desk.now[ARRIVED] < desk.jobs.shape[0]:
        job = desk.now[ARRIVED]
        if desk.jobs[job, at.SUBMIT] > now:
            break
        if desk.jobs[job, at.RUNS] == 1:
            enqueue(rules, desk, job)
            came = job
            count += 1
        desk.now[ARRIVED] = job + 1
    _pass(rules, plan, desk, came if count == 1 and not ended else NONE, early)
    sample(rules, desk)


@kernel
def run_replay(rules: Rules, plan: Plan, desk: Desk, first: bool, most: int) -> int:
    """Play up to `most` instants on from where the last call ended; returns a status."""
    if first:
        clear(rules, plan, desk)
    for _ in range(most):
        time_ns = _next_time(desk)
        if time_ns >= FAR_NS:
            left = (
                desk.waiting.lists[shelf.META, shelf.ENTRIES]
                + desk.ends.lists[shelf.META, shelf.ENTRIES]
            )
            return STALLED if left > 0 else PLAYED
        desk.now[TIME] = time_ns
        _instant(rules, plan, desk)
    return MORE
