"""What is free from now on as a step function, for conservative backfill.

A step holds from its time to that of the next; the last one lasts for ever.
"""

from __future__ import annotations

from typing import NamedTuple

from kfarm_twin._jit import inner
from kfarm_twin.arrays import Ints

STEPS, OVERRUN, WAKE = 0, 1, 2
"""Places of `Profile.meta`: steps in use, whether a job ran past its limit at the last pass, time
of the earliest reservation."""
META = 3


class Profile(NamedTuple):
    """Steps as of now."""

    steps: Ints  # [S, 2] time, free from then on
    meta: Ints


@inner
def reset(profile: Profile, now: int, free: int) -> None:
    """One step: all that is free now, for ever."""
    profile.steps[0, 0] = now
    profile.steps[0, 1] = free
    profile.meta[STEPS] = 1


@inner
def forget(profile: Profile, now: int) -> None:
    """Drop the steps before `now` and those that change nothing."""
    steps = profile.meta[STEPS]
    kept = -1
    for i in range(steps):
        if i + 1 < steps and profile.steps[i + 1, 0] <= now:
            continue
        time_ns = max(profile.steps[i, 0], now)
        if kept >= 0 and profile.steps[kept, 1] == profile.steps[i, 1]:
            continue
        kept += 1
        profile.steps[kept, 0] = time_ns
        profile.steps[kept, 1] = profile.steps[i, 1]
    profile.meta[STEPS] = kept + 1


@inner
def _step_at(profile: Profile, time_ns: int) -> int:
    """The step that holds at a time."""
    low, high = 0, profile.meta[STEPS] - 1
    while low < high:
        middle = (low + high + 1) // 2
        if profile.steps[middle, 0] <= time_ns:
            low = middle
        else:
            high = middle - 1
    return int(low)


@inner
def _cut(profile: Profile, time_ns: int) -> int:
    """Make a step begin at a time and return it."""
    at = _step_at(profile, time_ns)
    if profile.steps[at, 0] == time_ns:
        return at
    steps = profile.meta[STEPS]
    for i in range(steps, at + 1, -1):
        profile.steps[i, 0] = profile.steps[i - 1, 0]
        profile.steps[i, 1] = profile.steps[i - 1, 1]
    profile.steps[at + 1, 0] = time_ns
    profile.steps[at + 1, 1] = profile.steps[at, 1]
    profile.meta[STEPS] = steps + 1
    return at + 1


@inner
def change(profile: Profile, begin: int, end: int, amount: int) -> None:
    """Add to what is free from `begin` until `end`."""
    if begin >= end:
        return
    first = _cut(profile, begin)
    last = _cut(profile, end)
    for i in range(first, last):
        profile.steps[i, 1] += amount


@inner
def earliest(profile: Profile, now: int, need: int, span: int) -> int:
    """The first time from `now` on at which `need` is free for `span`."""
    steps = profile.meta[STEPS]
    at = _step_at(profile, now)
    begin = now
    while at < steps:
        if profile.steps[at, 1] < need:
            at += 1
            if at < steps:
                begin = profile.steps[at, 0]
            continue
        if at + 1 >= steps or profile.steps[at + 1, 0] >= begin + span:
            return int(begin)
        at += 1
    return int(begin)
