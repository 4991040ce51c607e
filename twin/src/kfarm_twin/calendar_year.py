"""The typical year's calendar: 8,760 hours from 1 January, with the weekdays of 2026."""

from __future__ import annotations

import numpy as np

HOURS_PER_YEAR = 8760
FIRST_WEEKDAY = 3
"""Weekday of 1 January 2026, Monday being 0: a Thursday."""
FIRST_MONDAY = 4
"""Day of the year, from 0, of its first Monday."""
MONTH_DAYS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
MONTH_OF_DAY = np.repeat(np.arange(12), MONTH_DAYS)
"""[365] month of each day, from 0."""
DAY_OF_MONTH = np.concatenate([np.arange(1, days + 1) for days in MONTH_DAYS])
"""[365] day of the month, from 1."""
MONTH_OF_HOUR = np.repeat(MONTH_OF_DAY, 24)
"""[8760] month of each hour, from 0."""
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def weekday(day: int) -> int:
    """Weekday of a day of the year, both from 0; Monday is 0."""
    return (FIRST_WEEKDAY + day) % 7


def start_hour(future: int) -> int:
    """Hour of the year at which a future without a date begins: a Monday, 0 o'clock.

    Futures take the 52 weeks of the year in an order that spreads any number of them evenly (steps
    of 21 weeks, near 52 times the golden ratio's fraction).
    """
    return (FIRST_MONDAY + 7 * (21 * future % 52)) * 24
