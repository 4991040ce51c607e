"""The event loop of the farm driver: all ends, changes of speed, all arrivals, then one pass."""

from __future__ import annotations

from kfarm_twin._jit import inner, kernel
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
    Given,
    Rules,
    clear,
    sample,
)
from kfarm_twin.kernels.rng import FAR_NS
from kfarm_twin.policy.queue import CONSERVATIVE, EASY, SRTF

PLAYED, MORE, STALLED = 0, 1, 2
"""Status: all is over; call again; jobs are left that nothing will ever start or end."""


@inner
def _schedule(given: Given, rules: Rules, plan: Plan, desk: Desk) -> None:
    """One pass over the queue."""
    while True:
        head = shelf.first_job(desk.waiting)
        if head == NONE:
            break
        if try_start(given, rules, plan, desk, head):
            continue
        if rules.order == SRTF and make_room(given, rules, plan, desk, head):
            try_start(given, rules, plan, desk, head)
            continue
        if rules.backfill == EASY:
            backfill(given, rules, plan, desk, head)
        break
    desk.now[HEAD] = head


@inner
def _pass(given: Given, rules: Rules, plan: Plan, desk: Desk, came: int, early: bool) -> None:
    """Decide; `came` is the one job that came when nothing else happened, else NONE."""
    if rules.backfill == CONSERVATIVE:
        pass_conservative(given, rules, plan, desk, early)
        return
    head = shelf.first_job(desk.waiting)
    if came != NONE and head == desk.now[HEAD] and head != NONE:
        # The head could not start, and less is free and less time is left than at the last pass.
        if rules.backfill != EASY:
            return
        if desk.now[HELD] != head or desk.now[SHADOW] >= desk.now[TIME]:
            consider(given, rules, plan, desk, head, came)
            return
    _schedule(given, rules, plan, desk)


@inner
def _next_time(given: Given, desk: Desk) -> int:
    """When something happens next."""
    time_ns = shelf.first_key(desk.ends)
    if desk.now[ARRIVED] < given.submit_ns.shape[0]:
        time_ns = min(time_ns, given.submit_ns[desk.now[ARRIVED]])
    if desk.now[CHANGED] < given.change_ns.shape[0]:
        time_ns = min(time_ns, given.change_ns[desk.now[CHANGED]])
    return int(min(time_ns, desk.profile.meta[steps.WAKE]))


@inner
def _instant(given: Given, rules: Rules, plan: Plan, desk: Desk) -> None:
    """All that happens at one time."""
    now = desk.now[TIME]
    early, ended = False, False
    while shelf.first_key(desk.ends) == now:
        early = finish(rules, plan, desk, shelf.first_job(desk.ends)) or early
        ended = True
    while desk.now[CHANGED] < given.change_ns.shape[0]:
        at = desk.now[CHANGED]
        if given.change_ns[at] > now:
            break
        change_speed(rules, desk, given.change_node[at], given.change_ppm[at])
        desk.now[CHANGED] = at + 1
    came, count = NONE, 0
    while desk.now[ARRIVED] < given.submit_ns.shape[0]:
        job = desk.now[ARRIVED]
        if given.submit_ns[job] > now:
            break
        if given.runs[job] == 1:
            enqueue(given, rules, desk, job)
            came = job
            count += 1
        desk.now[ARRIVED] = job + 1
    _pass(given, rules, plan, desk, came if count == 1 and not ended else NONE, early)
    sample(rules, desk)


@kernel
def run_replay(given: Given, rules: Rules, plan: Plan, desk: Desk, first: bool, most: int) -> int:
    """Play up to `most` instants on from where the last call ended; returns a status."""
    if first:
        clear(given, rules, plan, desk)
    for _ in range(most):
        time_ns = _next_time(given, desk)
        if time_ns >= FAR_NS:
            left = desk.waiting.meta[shelf.ENTRIES] + desk.ends.meta[shelf.ENTRIES]
            return STALLED if left > 0 else PLAYED
        desk.now[TIME] = time_ns
        _instant(given, rules, plan, desk)
    return MORE
