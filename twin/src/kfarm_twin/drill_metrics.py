"""Metrics of a drill over its futures: what is counted from when to when, and the intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from kfarm_api.drill_status import DrillMetric
from kfarm_api.units import format_quantity

from kfarm_twin.arrays import Floats
from kfarm_twin.outcomes import order_statistics

SHARES = (0.05, 0.50, 0.95)
"""An interval of 90 %, and the median between."""
UNITS = {
    "seconds_to_detect": "s",
    "seconds_to_evict": "s",
    "seconds_to_replace": "s",
    "seconds_to_recover": "s",
    "pods_affected": "pods",
    "pods_pending_max": "pods",
    "nodes_down_max": "nodes",
    "healthy_nodes_min": "nodes",
    "lost_accelerator_hours": "h",
    "accelerator_temperature_max": "degC",
    "seconds_to_throttle": "s",
    "throttled_nodes_max": "nodes",
    "heat_shutdowns": "nodes",
    "repairs_waiting_max": "nodes",
    "seconds_to_repair_all": "s",
}
"""Unit of each metric of `kfarm_api.drill.Metric`, in its order."""
LEAST_SHARE = 0.5
"""A metric is given where at least this share of the futures has it."""


@dataclass(frozen=True)
class Spell:
    """From when to when something is out in each future, [F]; nothing where `start` is infinite."""

    start: Floats
    end: Floats
    weight: float = 1.0


def quantity(value: float) -> str:
    """A figure to a thousandth, as the API writes it."""
    return format_quantity(Decimal(repr(round(float(value), 3))))


def summarize(name: str, values: Floats) -> DrillMetric | None:
    """Order statistics of a metric; None where too few futures have it.

    Parameters
    ----------
    values
        [F]; NaN: the future has none.
    """
    there = values[np.isfinite(values)]
    if len(there) < LEAST_SHARE * len(values) or not len(there):
        return None
    low, median, high = order_statistics(there, SHARES)
    return DrillMetric(
        name=name,
        unit=UNITS[name],
        low=quantity(low),
        median=quantity(median),
        high=quantity(high),
    )


def latest(times: Iterable[Floats], since: float) -> Floats | None:
    """Seconds from `since` to the last of those that come at all; NaN where none does."""
    known = list(times)
    if not known:
        return None
    table = np.stack(known)
    table = np.where(np.isfinite(table), table - since, -np.inf)
    last = table.max(axis=0)
    return np.where(np.isfinite(last), last, np.nan)


def all_back(times: Iterable[Floats], since: float, end: float) -> Floats | None:
    """Seconds from `since` until all are back; NaN where one is not before the drill's `end`."""
    known = list(times)
    if not known:
        return None
    last = np.stack(known).max(axis=0)
    return np.where(last <= end, last - since, np.nan)


def largest(parts: Sequence[Floats]) -> Floats | None:
    """The largest over the faults in each future; NaN where none has a value."""
    if not parts:
        return None
    table = np.stack([np.where(np.isnan(part), -np.inf, part) for part in parts])
    most = table.max(axis=0)
    return np.where(np.isfinite(most), most, np.nan)


def most_at_once(spells: Sequence[Spell], futures: int) -> Floats:
    """[F] the largest sum of weights of spells that run at the same moment."""
    if not spells:
        return np.zeros(futures)
    starts = np.stack([one.start for one in spells])
    ends = np.stack([one.end for one in spells])
    weights = np.array([one.weight for one in spells])
    most = np.zeros(futures)
    for start in starts:
        on = (starts <= start) & (start < ends) & np.isfinite(start)
        most = np.maximum(most, np.where(on, weights[:, None], 0.0).sum(axis=0))
    return most


def covered(spells: Sequence[Spell], end: float, futures: int) -> Floats:
    """[F] seconds before `end` in which at least one of the spells runs."""
    if not spells:
        return np.zeros(futures)
    starts = np.minimum(np.stack([one.start for one in spells]), end)
    ends = np.minimum(np.stack([one.end for one in spells]), end)
    order = np.argsort(starts, axis=0, kind="stable")
    starts, ends = np.take_along_axis(starts, order, 0), np.take_along_axis(ends, order, 0)
    total, reach = np.zeros(futures), np.full(futures, -np.inf)
    for start, over in zip(starts, ends, strict=True):
        total += np.maximum(over - np.maximum(start, reach), 0.0)
        reach = np.maximum(reach, over)
    return total
