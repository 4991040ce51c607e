"""At which moments of a future the racks are looked at. Arrays only."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from kfarm_twin.arrays import EventLog, Floats, Ints

MAX_VALUES = 120_000
"""Most values of one quantity in a page (rack-moments); each takes 2.7 bytes."""
MAX_MOMENTS, LEAST_MOMENTS = 240, 24


def most_moments(racks: int) -> int:
    """How many moments a page of so many racks may show."""
    return max(LEAST_MOMENTS, min(MAX_MOMENTS, MAX_VALUES // max(racks, 1)))


def chosen_moments(log: EventLog, most: int, horizon_ns: int) -> Ints:
    """Moments of a future that was played with samples: even steps and what stands out [ns].

    Half of them are evenly spaced, since temperatures move between events; the others are where
    the hottest device (or the power, where no temperature is known) is highest or lowest in each
    stretch of time.
    """
    count = int(log.size[1])
    time_ns, curve = log.sample_ns[:count], log.sample_c[:count]
    known = curve[np.isfinite(curve)]
    if known.size == 0 or known.min() == known.max():
        curve = log.sample_mw[:count].astype(float)
    return choose(time_ns, curve, most, horizon_ns)


def choose(time_ns: Ints, curve: Floats, most: int, horizon_ns: int) -> Ints:
    """At most `most` moments from samples [n] that last until the next one or the horizon [ns].

    All samples are among them where there are few enough; the first always is, and the highest.
    """
    count = len(time_ns)
    if count == 0:
        return np.zeros(0, np.int64)
    if count <= most:
        kept = set(range(count))
    else:
        kept = _standing_out(time_ns, curve, max(most // 4, 1), horizon_ns)
    room = max(most - len(kept), 0)
    even = np.arange(room, dtype=np.int64) * (horizon_ns // max(room, 1))
    return np.unique(np.concatenate([time_ns[sorted(kept)], even]))


def _standing_out(time_ns: Ints, curve: Floats, stretches: int, horizon_ns: int) -> set[int]:
    """The samples with the extremes of each stretch of time, first and highest of all."""
    seen = np.where(np.isfinite(curve), curve, np.nan)
    kept = {0}
    if np.isfinite(seen).any():
        kept.add(int(np.nanargmax(seen)))
    cuts = np.arange(stretches, dtype=np.int64) * (horizon_ns // stretches)
    edges = [*np.searchsorted(time_ns, cuts).tolist(), len(time_ns)]
    for low, high in pairwise(edges):
        part = seen[low:high]
        if np.isfinite(part).any():
            kept |= {low + int(np.nanargmin(part)), low + int(np.nanargmax(part))}
    return kept
