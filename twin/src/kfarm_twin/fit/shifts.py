"""When crews work, told from the hours and days on which repairs end."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kfarm_twin.arrays import Floats

DAY_H, WEEK_H = 24.0, 168.0
FEWEST = 30
"""Repairs below which no calendar is looked for."""
LEAST_GAIN = 30.0
"""Twice the log likelihood ratio that a calendar must reach: the best of some 10,000 tried exceeds
2 ln 10,000 = 18 by chance."""
FEWEST_DAYS = 4
MOST_OFF = 0.5
"""Repairs must end at less than this share of the rate outside the shift for it to count as one."""


@dataclass(frozen=True)
class Calendar:
    """Hours of the day and days of the week on which crews work.

    Attributes
    ----------
    offset_h
        Hour of the log at which the calendar's first day begins [h].
    start, hours, days
        Shift from `start` for `hours` on the first `days` days of the week.
    outside
        Speed of work outside the shift relative to inside: what ends outside is not ignored.
    gain
        Twice the logarithm of the likelihood ratio against work at all hours.
    """

    offset_h: int = 0
    start: int = 0
    hours: int = 24
    days: int = 7
    outside: float = 1.0
    gain: float = 0.0

    @property
    def always(self) -> bool:
        """Whether crews work at all hours."""
        return self.hours >= DAY_H and self.days == 7

    def week(self) -> Floats:
        """Speed of work in each hour of the calendar's week [168]."""
        speed = np.full((7, 24), self.outside)
        speed[: self.days, self.start : self.start + self.hours] = 1.0
        return speed.ravel()

    def worked(self, time_h: Floats) -> Floats:
        """Hours worked from the beginning of the calendar to each time of the log [h]."""
        total = np.concatenate(([0.0], np.cumsum(self.week())))
        local = np.asarray(time_h, dtype=float) - self.offset_h + WEEK_H
        weeks = np.floor(local / WEEK_H)
        within = np.interp(local - weeks * WEEK_H, np.arange(169.0), total)
        return np.asarray(weeks * total[-1] + within)


def fit_calendar(ends_h: Floats) -> Calendar:
    """The shift under which ends of repairs at these times [h] are most likely.

    Ends at the same moment count once: a batch says no more about the clock than one of it. Two
    rates of ends, inside and outside the shift; every start, length and run of days is tried.
    """
    ends = np.unique(np.round(ends_h, 2))
    if ends.size < FEWEST:
        return Calendar()
    counts = np.bincount((np.floor(ends) % WEEK_H).astype(int), minlength=168).reshape(7, 24)
    best, gain = Calendar(), LEAST_GAIN
    for offset in range(168):
        day = np.roll(counts.ravel(), -offset).reshape(7, 24)
        for days in range(FEWEST_DAYS, 8):
            if days == 7 and offset >= 24:
                continue
            hours = np.cumsum(day[:days].sum(axis=0))
            for length in range(4, 25):
                inside = int(hours[length - 1])
                found = _gain(inside, ends.size, length * days / WEEK_H)
                outside = (
                    (ends.size - inside)
                    / max(168 - length * days, 1)
                    * length
                    * days
                    / max(inside, 1)
                )
                if found > gain + 1e-9 and outside < MOST_OFF:
                    best, gain = Calendar(offset, 0, length, days, outside, found), found
    return best


def _gain(inside: int, total: int, share: float) -> float:
    """Twice the log likelihood ratio of `inside` of `total` where `share` is expected."""
    if share >= 1 or inside <= total * share:
        return 0.0
    gain = inside * math.log(inside / (total * share))
    rest = total - inside
    return 2 * (gain + (rest * math.log(rest / (total * (1 - share))) if rest else 0.0))
