"""How many crews: the latent starts of repairs under each number, and what they make likely.

With ``c`` crews and a queue in order of need, a fault that needs hands begins when one of the ``c``
is free, and that is decided by the recorded ends of those before it. So a log with few crews shows
short waits at idle times and long ones behind a backlog, and one in which later faults are mended
before earlier ones cannot come from few crews, unless the earlier ones waited for parts.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.arrays import Floats
from kfarm_twin.fit.repair import (
    Mixture,
    Outages,
    Repairs,
    View,
    fit_mixture,
    law_cdf,
)
from kfarm_twin.fit.shifts import Calendar

TOGETHER_H = 0.1
"""Ends so close to another [h] were written down, or given back, together: no crew's work ended."""
DROP = 2.0
"""What lies within this of the greatest log likelihood is in the interval (about 95 %)."""
ROUNDS = 2
CANDIDATES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
PLENTY = 0
"""Stands for so many crews that nothing waits."""


def latent_starts(
    out: Outages, calendar: Calendar, law: str, x: dict[str, float], share: Floats, crews: int
) -> Floats:
    """When a crew begins with each outage, if it needs one [h].

    Outages in order of start; each is given to a crew when hands are its most likely kind.
    """
    begin = out.start_h.copy()
    if crews == PLENTY:
        return begin
    alone = View(out, begin, calendar).terms(law, x)
    weight = share[out.kind] * alone.seen
    other = np.maximum(weight[:, 0], weight[:, 2])
    low, high = calendar.worked(out.end_h - 0.25), calendar.worked(out.end_h + 0.25)
    start_worked = calendar.worked(out.start_h)
    end_worked = calendar.worked(out.end_h)
    free: list[tuple[float, float]] = []
    for i in range(begin.size):
        while free and free[0][0] <= out.start_h[i]:
            heapq.heappop(free)
        worked = float(start_worked[i])
        if len(free) >= crews:
            begin[i], worked = sorted(free)[len(free) - crews]
        hands = share[out.kind[i], 1] * _between(law, low[i] - worked, high[i] - worked, x)
        if hands > other[i]:
            heapq.heappush(free, (float(out.end_h[i]), float(end_worked[i])))
    return begin


def _between(law: str, low: float, high: float, x: dict[str, float]) -> float:
    ends = law_cdf(law, np.array([low, high]), x["mean"], x.get("shape", 1.0))
    return float(ends[1] - ends[0])


@dataclass(frozen=True)
class CrewFit:
    """The profile of the likelihood over the number of crews.

    Attributes
    ----------
    profile
        Greatest log likelihood by number, less the greatest of all; `PLENTY`: nobody ever waits.
    busy_most
        Crews that were at work at once when nobody waits.
    low, high
        The numbers that the log does not rule out; `high` None where it sets no upper bound.
    best
        The most likely number; None where having plenty is as likely.
    at, share
        Parameters of the repairs with that many.
    """

    profile: dict[int, float]
    busy_most: int
    low: int
    high: int | None
    best: int | None
    at: dict[str, float]
    share: Floats


def fit_crews(out: Outages, calendar: Calendar, repairs: Repairs) -> CrewFit:
    """Profile over the number of crews, each with parameters of its own."""
    full = replace(out, kind=repairs.group[out.kind], groups=len(repairs.share))
    most = busy_most(full, calendar, repairs)
    alone = ~_together(out.end_h)
    if not alone.any():
        return CrewFit({PLENTY: 0.0}, most, 1, None, None, dict(repairs.best.at), repairs.share)
    grouped = replace(
        full,
        start_h=out.start_h[alone],
        end_h=out.end_h[alone],
        kind=full.kind[alone],
        is_open=out.is_open[alone],
    )
    tried: dict[int, tuple[float, dict[str, float], Floats]] = {}
    for crews in (PLENTY, *[c for c in CANDIDATES if c < most]):
        tried[crews] = _with_crews(grouped, calendar, repairs, crews)
    top = max(value for value, _, _ in tried.values())
    profile = {crews: value - top for crews, (value, _, _) in tried.items()}
    inside = [c for c, drop in profile.items() if c != PLENTY and drop > -DROP]
    unbounded = profile[PLENTY] > -DROP
    low = min(inside, default=most)
    best = None if unbounded else max(inside, key=lambda c: profile[c])
    at, share = (dict(repairs.best.at), repairs.share) if best is None else tried[best][1:]
    return CrewFit(profile, most, low, None if unbounded else max(inside), best, at, share)


def _together(end_h: Floats) -> NDArray[np.bool_]:
    """Outages that ended with another."""
    order = np.argsort(end_h, kind="stable")
    close = np.diff(end_h[order]) < TOGETHER_H
    tied = np.zeros(end_h.size, np.bool_)
    tied[order[1:]] |= close
    tied[order[:-1]] |= close
    return tied


def busy_most(out: Outages, calendar: Calendar, repairs: Repairs) -> int:
    """Most crews at work at once if nobody waited."""
    alone = View(out, out.start_h, calendar).terms(repairs.law, dict(repairs.best.at))
    hands = np.argmax(repairs.share[out.kind] * alone.seen, axis=1) == 1
    times = np.concatenate((out.start_h[hands], out.end_h[hands]))
    steps = np.concatenate((np.ones(hands.sum()), -np.ones(hands.sum())))
    order = np.lexsort((steps, times))
    return int(max(np.cumsum(steps[order]).max(initial=0), 1))


def _with_crews(
    out: Outages, calendar: Calendar, repairs: Repairs, crews: int
) -> tuple[float, dict[str, float], Floats]:
    x, share = dict(repairs.best.at), repairs.share
    if crews == PLENTY:
        view = View(out, out.start_h, calendar)
        found, share, _ = fit_mixture(view, repairs.law, repairs.allowed, x)
        return found.value, dict(found.at), share
    best = (-np.inf, x, share)
    for _ in range(ROUNDS):
        begin = latent_starts(out, calendar, repairs.law, x, share, crews)
        found, share, _ = fit_mixture(View(out, begin, calendar), repairs.law, repairs.allowed, x)
        x = dict(found.at)
        # what counts is the likelihood with the queue that these very parameters make
        begin = latent_starts(out, calendar, repairs.law, x, share, crews)
        mixture = Mixture(out, repairs.allowed)
        mixture.share = share
        value = mixture(View(out, begin, calendar).terms(repairs.law, x), 0)
        best = max(best, (value, x, share), key=lambda one: one[0])
    return best
