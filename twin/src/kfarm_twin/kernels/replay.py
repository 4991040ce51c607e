"""The event loop of the farm driver: all ends, changes of speed, all arrivals, then one pass."""

from __future__ import annotations

from kfarm_twin._jit import inner, kernel
from kfarm_twin.arrays import Ints
from kfarm_twin.kernels import columns as at
from kfarm_twin.kernels import profile as steps
from kfarm_twin.kernels import shelf
from kfarm_twin.kernels.pool import Plan
from kfarm_twin.kernels.replay_easy import backfill, consider, make_room
from kfarm_twin.kernels.replay_faults import break_off, fleet_changes
from kfarm_twin.kernels.replay_jobs import change_speed, come_back, enqueue, finish, try_start
from kfarm_twin.kernels.replay_plan import pass_conservative
from kfarm_twin.kernels.replay_state import (
    ARRIVED,
    CAME,
    CHANGED,
    FAILING,
    HEAD,
    HELD,
    NONE,
    SHADOW,
    SKIP,
    TIME,
    UNTIL,
    Desk,
    Rules,
    clear,
    sample,
)
from kfarm_twin.kernels.rng import FAR_NS
from kfarm_twin.kernels.shelf import Shelf
from kfarm_twin.policy.levels import COUNT
from kfarm_twin.policy.queue import CONSERVATIVE, EASY, SRTF

PLAYED, MORE, STALLED, BROKEN_OFF = 0, 1, 2, 3
"""Status: all is over; call again; jobs are left that nothing will ever start or end; the time is
over, where nodes fail."""


@inner
def one_pass(rules: Rules, plan: Plan, desk: Desk, came: int) -> None:
    """One pass over the queue; `came` is the one job that came and nothing else, or NONE."""
    now = desk.now
    head = shelf.first_job(desk.waiting)
    if came != NONE and head == now[HEAD]:
        # The head could not start, and less is free and less time is left than at the last pass.
        if rules.backfill != EASY:
            return
        holds = now[HELD] != head or now[SHADOW] >= now[TIME]
        if holds and (rules.placement == COUNT or shelf.last_job(desk.waiting) == came):
            consider(rules, plan, desk, head, came)
            return
    now[HEAD] = NONE
    while head != NONE:
        if try_start(rules, plan, desk, head):
            now[HELD] = NONE  # made for another job, from more that was free
        elif rules.order == SRTF and make_room(rules, plan, desk, head):
            continue  # with this head: where saves shift, who gave way may now come before it
        else:
            break
        head = shelf.first_job(desk.waiting)
    now[HEAD] = head
    if head != NONE and rules.backfill == EASY:
        backfill(rules, plan, desk, head)


@inner
def next_time(jobs: Ints, changes: Ints, ends: Shelf, now: Ints, wake: int) -> int:
    """When something happens next."""
    while now[ARRIVED] < jobs.shape[0] and jobs[now[ARRIVED], at.RUNS] == 0:
        now[ARRIVED] += 1  # who can never run does not even cause a pass
    time_ns = min(wake, shelf.first_key(ends))
    if now[ARRIVED] < jobs.shape[0]:
        time_ns = min(time_ns, jobs[now[ARRIVED], at.SUBMIT])
    if now[CHANGED] < changes.shape[0]:
        time_ns = min(time_ns, changes[now[CHANGED], 0])
    return int(time_ns)


@inner
def change_speeds(rules: Rules, desk: Desk) -> None:
    """All changes of speed that are due."""
    while desk.now[CHANGED] < desk.changes.shape[0]:
        row = desk.now[CHANGED]
        if desk.changes[row, 0] > desk.now[TIME]:
            break
        change_speed(rules, desk, desk.changes[row, 1], desk.changes[row, 2])
        desk.now[CHANGED] = row + 1


@inner
def arrive(rules: Rules, jobs: Ints, waiting: Shelf, now: Ints) -> int:
    """All arrivals that are due: how many jobs came."""
    count = 0
    while now[ARRIVED] < jobs.shape[0]:
        job = now[ARRIVED]
        if jobs[job, at.SUBMIT] > now[TIME]:
            break
        if jobs[job, at.RUNS] == 1:
            enqueue(rules, jobs, waiting, job)
            now[CAME] = job
            count += 1
        now[ARRIVED] = job + 1
    return count


@inner
def is_over(desk: Desk) -> bool:
    """Whether all jobs have come and gone."""
    left = desk.waiting.lists[shelf.META, shelf.ENTRIES]
    left += desk.ends.lists[shelf.META, shelf.ENTRIES]
    return bool(left == 0 and desk.now[ARRIVED] == desk.jobs.shape[0])


@kernel
def run_replay(rules: Rules, plan: Plan, desk: Desk, first: bool, most: int) -> int:
    """Play up to `most` instants on from where the last call ended; returns a status."""
    if first:
        clear(rules, plan, desk)
    now = desk.now
    failing = now[FAILING] == 1
    for _ in range(most):
        wake = desk.profile.meta[steps.WAKE]
        time_ns = next_time(desk.jobs, desk.changes, desk.ends, now, wake)
        early, ended = False, False
        if failing:
            if is_over(desk):
                return PLAYED
            if time_ns > now[UNTIL]:
                break_off(rules, desk)
                return BROKEN_OFF
            now[TIME] = time_ns
            ended = fleet_changes(rules, plan, desk)
        elif time_ns >= FAR_NS:
            left = desk.waiting.lists[shelf.META, shelf.ENTRIES]
            left += desk.ends.lists[shelf.META, shelf.ENTRIES]
            return STALLED if left > 0 else PLAYED
        now[TIME] = time_ns
        while shelf.first_key(desk.ends) == time_ns:
            job = shelf.first_job(desk.ends)
            ended = True
            if failing and desk.jobs[job, at.HOLDS] != NONE:
                come_back(rules, plan, desk, job)
            else:
                early = finish(rules, plan, desk, job) or early
        if now[CHANGED] < desk.changes.shape[0] and not failing:
            change_speeds(rules, desk)
        alone = arrive(rules, desk.jobs, desk.waiting, now) == 1 and not ended
        if rules.backfill == CONSERVATIVE:
            pass_conservative(rules, plan, desk, early)
        elif desk.waiting.lists[shelf.META, shelf.ENTRIES] > 0:
            one_pass(rules, plan, desk, now[CAME] if alone else NONE)
        if now[SKIP] > 0:
            now[SKIP] -= 1
        else:
            sample(rules, desk)
    return MORE
