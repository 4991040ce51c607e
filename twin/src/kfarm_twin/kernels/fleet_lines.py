"""Waiting lines of the repair shop, and the hours in which crews work."""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.arrays import Ints
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.kernels.fleet_columns import NONE, FleetState
from kfarm_twin.kernels.rng import FAR_NS


@inner
def shift_end(now: int, work: int, start: int, span: int, days: int) -> int:
    """When `work` [ns] that goes on only in shifts is done: the first time at which it is.

    A shift lasts `span` [ns] from `start` [ns after midnight] on the first `days` days of a week;
    time 0 is midnight of the first day. Times may be negative.
    """
    if work <= 0 or (span == c.DAY_NS and days == 7):
        return int(now + max(work, 0))
    if work >= FAR_NS // 64:
        return FAR_NS
    day = now % c.WEEK_NS // c.DAY_NS
    done = (now // c.WEEK_NS * days + min(day, days)) * span
    if day < days:
        done += min(max(now % c.DAY_NS - start, 0), span)
    last = done + work - 1
    shifts = last // span
    return int(shifts // days * c.WEEK_NS + shifts % days * c.DAY_NS + start + last % span + 1)


@inner
def join(state: FleetState, lists: Ints, which: int, head: int, tail: int, patient: int) -> None:
    """Stand at the end of a line."""
    state.patient[patient, c.NEXT] = NONE
    if lists[which, head] == NONE:
        lists[which, head] = patient
    else:
        state.patient[lists[which, tail], c.NEXT] = patient
    lists[which, tail] = patient


@inner
def first_of(state: FleetState, lists: Ints, which: int, head: int) -> int:
    """Who stands first in a line leaves it; NONE when it is empty."""
    patient = lists[which, head]
    if patient != NONE:
        lists[which, head] = state.patient[patient, c.NEXT]
    return int(patient)


@inner
def leave_line(
    state: FleetState, lists: Ints, which: int, head: int, tail: int, patient: int
) -> None:
    """Somebody anywhere in a line leaves it."""
    at, before = lists[which, head], NONE
    while at not in (NONE, patient):
        before = at
        at = state.patient[at, c.NEXT]
    if at == NONE:
        return
    after = state.patient[patient, c.NEXT]
    if before == NONE:
        lists[which, head] = after
    else:
        state.patient[before, c.NEXT] = after
    if after == NONE:
        lists[which, tail] = before
