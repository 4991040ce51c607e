"""How many crews: the latent starts of repairs under each number, and what they make likely.

With ``c`` crews and a queue in order of need, a fault that needs hands begins when one of the ``c``
is free, and that is decided by the recorded ends of those before it. So a log with few crews shows
short waits at idle times and long ones behind a backlog, and one in which later faults are mended
before earlier ones cannot come from few crews, unless the earlier ones waited for parts.
"""

from __future__ import annotations

import heapq
import math

import numpy as np

from kfarm_twin.arrays import Floats
from kfarm_twin.fit.repair import Outages, Terms, law_cdf, terms
from kfarm_twin.fit.shifts import Calendar

SHORTEST_H = 0.5
"""Work shorter than this behind a queue is no evidence of one: the two were released together."""
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
    alone = terms(out, begin, calendar, law, x)
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
            if end_worked[i] - worked < SHORTEST_H:
                begin[i] = out.end_h[i] + 1.0
                continue
        hands = share[out.kind[i], 1] * _between(law, low[i] - worked, high[i] - worked, x)
        if hands > other[i]:
            heapq.heappush(free, (float(out.end_h[i]), float(end_worked[i])))
    return begin


def _between(law: str, low: float, high: float, x: dict[str, float]) -> float:
    ends = law_cdf(law, np.array([low, high]), x["mean"], x.get("shape", 1.0))
    return float(ends[1] - ends[0])
