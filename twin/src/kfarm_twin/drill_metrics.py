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
    "seconds_to_requeue": "s",
    "seconds_to_readmit": "s",
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
    """From when to when something is out in each future, [F]; nothing where `start` is infinite.

    Spells of the same `what` count once while they overlap.
    """

    what: str
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
    """[F] the most things that are out at the same moment."""
    by_thing: dict[str, list[Spell]] = {}
    for one in spells:
        by_thing.setdefault(one.what, []).append(one)
    apart = [_apart(own) for own in by_thing.values()]
    if not apart:
        return np.zeros(futures)
    starts = np.concatenate([start for start, _ in apart])
    ends = np.concatenate([end for _, end in apart])
    times = np.concatenate([ends, starts])  # what ends when another begins is over
    counts = np.isfinite(starts).astype(np.float64)
    steps = np.concatenate([-counts, counts])
    order = np.argsort(times, axis=0, kind="stable")
    most = np.take_along_axis(steps, order, axis=0).cumsum(axis=0).max(axis=0)
    return np.asarray(np.maximum(most, 0.0))


def _apart(spells: Sequence[Spell]) -> tuple[Floats, Floats]:
    """[k, F] begins and ends of spells of one thing, cut so that none overlaps; infinite: none."""
    starts = np.stack([one.start for one in spells])
    ends = np.stack([one.end for one in spells])
    order = np.argsort(starts, axis=0, kind="stable")
    starts, ends = np.take_along_axis(starts, order, 0), np.take_along_axis(ends, order, 0)
    reach = np.maximum.accumulate(ends, axis=0)
    starts[1:] = np.maximum(starts[1:], reach[:-1])
    empty = starts >= ends
    return np.where(empty, np.inf, starts), np.where(empty, np.inf, ends)


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
