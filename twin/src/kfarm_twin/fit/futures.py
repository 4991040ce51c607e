"""Playing a fitted fleet many times, and what a log of it would have said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from kfarm_twin.arrays import STARTS_UP, Floats, Ints
from kfarm_twin.fit.block import HOUR_NS, reliability
from kfarm_twin.fit.model import Fit, Parameters, best, draw

LOG_ROWS = 1 << 16
FEWEST_WINDOWS = 4
"""Counts are compared in windows of which so many lie in the time looked at."""


@dataclass(frozen=True)
class Record:
    """Closed outages in order of start: times [h], node."""

    start_h: Floats
    end_h: Floats
    node: Ints

    def between(self, since_h: float, until_h: float) -> Record:
        """Those that started in this time and were closed by its end, on its own clock."""
        kept = (self.start_h >= since_h) & (self.end_h <= until_h)
        return Record(self.start_h[kept] - since_h, self.end_h[kept] - since_h, self.node[kept])


def play_record(p: Parameters, nodes: int, span_h: float, seed: int) -> Record:
    """One future of `nodes` nodes, all in service at first, as a log of closed faults has it."""
    from kfarm_twin.fleet import play  # noqa: PLC0415 - kernels load slowly
    from kfarm_twin.fleet_classes import plain_cluster  # noqa: PLC0415
    from kfarm_twin.fleet_tables import compile_fleet  # noqa: PLC0415
    from kfarm_twin.kernels.fleet_columns import CAME_UP, WENT_DOWN  # noqa: PLC0415
    from kfarm_twin.reliability import own_mode  # noqa: PLC0415

    declared = reliability(p)
    cluster = plain_cluster([own_mode(c) for c in declared.classes], declared, nodes)
    fleet = compile_fleet([replace(cluster, start=np.full(nodes, STARTS_UP))])
    rows = LOG_ROWS
    while True:
        result = play(
            fleet, seed=seed, futures=1, horizon_ns=int(span_h * HOUR_NS), warm_ns=0, log=rows
        )
        if len(result.log) < rows:
            break
        rows *= 4
    down = result.log[result.log[:, 1] == WENT_DOWN]
    up = result.log[result.log[:, 1] == CAME_UP]
    # outages of a node do not overlap: its n-th return ends its n-th outage
    down, up = down[np.lexsort((down[:, 0], down[:, 2]))], up[np.lexsort((up[:, 0], up[:, 2]))]
    order = _ordinals(down[:, 2]) < np.bincount(up[:, 2], minlength=nodes)[down[:, 2]]
    start, end, node = down[order, 0] / HOUR_NS, up[:, 0] / HOUR_NS, down[order, 2]
    first = np.argsort(start, kind="stable")
    return Record(start[first], end[first], node[first])


def _ordinals(sorted_nodes: Ints) -> Ints:
    """For sorted values, how many equal ones stand before each."""
    if not sorted_nodes.size:
        return sorted_nodes
    fresh = np.concatenate(([True], sorted_nodes[1:] != sorted_nodes[:-1]))
    begins = np.flatnonzero(fresh)
    return np.asarray(np.arange(sorted_nodes.size) - begins[np.cumsum(fresh) - 1])


def play_fit(
    fit: Fit,
    futures: int,
    seed: int,
    span_h: float,
    *,
    uncertain: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Record]:
    """Futures of the fitted fleet.

    Parameters
    ----------
    uncertain
        Draw parameters anew for each from what the log leaves open; else take the best.
    """
    random = np.random.default_rng([seed, 0x0F17])
    point = best(fit)
    for index in range(futures):
        p = draw(fit, random) if uncertain else point
        yield play_record(p, fit.nodes, span_h, int(random.integers(1 << 62)))
        progress(index + 1, futures)


def observed(fit: Fit) -> Record:
    """The log itself, on the clock of a future."""
    log = fit.log
    closed = ~log.is_open
    return Record(
        log.start_h[closed] - log.since_h, log.end_h[closed] - log.since_h, log.node[closed]
    )


def down_at_once(record: Record, since_h: float, until_h: float) -> Floats:
    """Share of the time between with 0, 1, 2, … nodes down."""
    begin = np.clip(record.start_h, since_h, until_h)
    end = np.clip(record.end_h, since_h, until_h)
    times = np.concatenate(([since_h], begin, end))
    steps = np.concatenate(([0], np.ones(begin.size), -np.ones(end.size)))
    order = np.lexsort((steps, times))
    count = np.cumsum(steps[order]).astype(int)
    spent = np.diff(np.append(times[order], until_h))
    kept = spent > 0
    return np.asarray(np.bincount(count[kept], spent[kept]) / (until_h - since_h))


def quantile(shares: Floats, q: float) -> float:
    """Least number that is not exceeded for so much of the time."""
    return float(np.searchsorted(np.cumsum(shares), q - 1e-9))


def measures(record: Record, nodes: int, since_h: float, until_h: float) -> dict[str, float]:
    """What a record says between two times; outages of those that started in between."""
    down = down_at_once(record, since_h, until_h)
    started = (record.start_h >= since_h) & (record.start_h < until_h)
    start, length = record.start_h[started], (record.end_h - record.start_h)[started]
    hits = np.sort(np.bincount(record.node[started], minlength=nodes))[::-1]
    tenth = max(round(nodes / 10), 1)
    mean = float(down @ np.arange(down.size))
    quantiles = np.quantile(length, (0.25, 0.5, 0.75, 0.9, 0.95)) if length.size else np.zeros(5)
    return {
        "faults": float(start.size),
        "nodesHit": float((hits > 0).sum()),
        "topDecileShare": float(hits[:tenth].sum() / max(start.size, 1)),
        "availability": 1 - mean / nodes,
        "downMean": mean,
        **{
            f"downP{n}": quantile(down, q)
            for n, q in ((5, 0.05), (50, 0.5), (95, 0.95), (99, 0.99))
        },
        "downMost": float(np.flatnonzero(down > 0).max(initial=0)),
        "outageMeanHours": float(length.mean()) if length.size else 0.0,
        **{
            f"outageP{n}Hours": float(value)
            for n, value in zip((25, 50, 75, 90, 95), quantiles, strict=True)
        },
        **_clustering(start - since_h, record.node[started], until_h - since_h),
    }


def _clustering(start: Floats, node: Ints, span_h: float) -> dict[str, float]:
    """How faults come together: dispersion of counts, near neighbours, spread of the gaps."""
    gaps = np.diff(start)
    result = {"gapVariation": float(gaps.std() / gaps.mean()) if gaps.any() else 0.0}
    for name, width in (("Hour", 1.0), ("Day", 24.0), ("Week", 168.0), ("29Days", 696.0)):
        if span_h < FEWEST_WINDOWS * width:
            continue
        counts = np.bincount((start // width).astype(int), minlength=int(span_h // width))
        counts = counts[: max(int(span_h // width), 1)]
        mean = counts.mean()
        result[f"dispersion{name}"] = float(counts.var() / mean) if mean > 0 else 0.0
    near = np.zeros(start.size, np.bool_)
    close = (gaps <= 1.0) & (node[1:] != node[:-1])
    near[1:] |= close
    near[:-1] |= close
    result["nearAnotherShare"] = float(near.mean()) if near.size else 0.0
    return result
