"""What a future of a fleet came to: outages, nodes down at once, waits; and playing it alone."""

from __future__ import annotations

import math

from kfarm_twin._jit import inner, kernel
from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.kernels.fleet import FULL, begin, end, next_time, step
from kfarm_twin.kernels.fleet_columns import Fleet, FleetState

NS = 1e-9
AVAILABILITY, DOWN_MEAN, DOWN_P50, DOWN_P95, DOWN_P99, DOWN_MOST, FAILURES, NODES_HIT = range(8)
TOP_DECILE, OUTAGE_MEAN, OUTAGE_P50, OUTAGE_P95, WAIT_MEAN = range(8, 13)
MEASURES = 13
"""Columns of what `measure` writes; times in seconds."""
DECILE = 10


@inner
def _sift(values: Ints, at: int, count: int) -> None:
    while True:
        child = 2 * at + 1
        if child >= count:
            return
        if child + 1 < count and values[child + 1] > values[child]:
            child += 1
        if values[at] >= values[child]:
            return
        values[at], values[child] = values[child], values[at]
        at = child


@kernel
def sort(values: Ints, count: int) -> None:
    """Sort the first `count` values, ascending, in place (heapsort)."""
    for at in range(count // 2 - 1, -1, -1):
        _sift(values, at, count)
    for last in range(count - 1, 0, -1):
        values[0], values[last] = values[last], values[0]
        _sift(values, 0, last)


@kernel
def quantile(values: Ints, count: int, share: float) -> float:
    """Least of `count` sorted values that `share` of them do not exceed; NaN without any."""
    if count == 0:
        return math.nan
    at = max(int(math.ceil(share * count - 1e-9)) - 1, 0)  # noqa: RUF046 - compiled: a float
    return float(values[at])


@kernel
def down_quantile(down_ns: Ints, share: float) -> int:
    """Least number of nodes that were down at once for `share` of the time, or fewer."""
    total = 0
    for span in down_ns:
        total += span
    reached, wanted = 0, share * float(total)
    for count in range(down_ns.shape[0]):
        reached += down_ns[count]
        if float(reached) >= wanted - 0.5:
            return count
    return int(down_ns.shape[0] - 1)


@inner
def _top_decile(state: FleetState, scratch: Ints) -> float:
    """Share of the failures that the tenth of the nodes with most failures had."""
    nodes = state.node.shape[0]
    for node in range(nodes):
        scratch[node] = state.node[node, c.FAULTS]
    sort(scratch, nodes)
    top, total = 0, 0
    for place in range(nodes):
        total += scratch[place]
        if place >= nodes - max(nodes // DECILE, 1):
            top += scratch[place]
    return float(top) / float(total) if total > 0 else math.nan


@inner
def measure(fleet: Fleet, state: FleetState, row: Floats, scratch: Ints) -> None:
    """Write the figures of a fleet whose books are closed to `row` [MEASURES].

    `scratch` [N] is overwritten, and the outages are sorted.
    """
    span, held, most = 0, 0.0, 0
    for count in range(state.down_ns.shape[0]):
        span += state.down_ns[count]
        held += float(count) * float(state.down_ns[count])
        if state.down_ns[count] > 0:
            most = count
    nodes = float(state.node.shape[0])
    row[DOWN_MEAN] = held / float(span)
    row[AVAILABILITY] = 1.0 - row[DOWN_MEAN] / nodes
    row[DOWN_P50] = float(down_quantile(state.down_ns, 0.50))
    row[DOWN_P95] = float(down_quantile(state.down_ns, 0.95))
    row[DOWN_P99] = float(down_quantile(state.down_ns, 0.99))
    row[DOWN_MOST] = float(most)
    row[FAILURES] = float(state.now[c.FAILURES])
    row[NODES_HIT] = float(state.now[c.HIT])
    row[TOP_DECILE] = _top_decile(state, scratch)
    ended = state.now[c.ENDED]
    sort(state.outages, ended)
    total, waited, events = 0.0, 0.0, 0.0
    for place in range(ended):
        total += float(state.outages[place]) * NS
    for failed in range(fleet.classes.shape[0]):
        waited += state.tally[failed, c.WAIT_NS] * NS
        events += state.tally[failed, c.EVENTS]
    row[OUTAGE_MEAN] = total / float(ended) if ended > 0 else math.nan
    row[OUTAGE_P50] = quantile(state.outages, ended, 0.50) * NS
    row[OUTAGE_P95] = quantile(state.outages, ended, 0.95) * NS
    row[WAIT_MEAN] = waited / events if events > 0.0 else math.nan


@inner
def _sample(state: FleetState, series: Ints, cell: int, grid: int, until: int) -> int:
    """Note the number of nodes down at all points of the grid before `until`; the next point."""
    while cell < series.shape[0] and cell * grid < until:
        series[cell] = state.now[c.DOWN_COUNT]
        cell += 1
    return cell


@inner
def _copy(state: FleetState, tallies: Floats, histogram: Ints, at: int) -> None:
    for failed in range(state.tally.shape[0]):
        for column in range(state.tally.shape[1]):
            tallies[at, failed, column] = state.tally[failed, column]
    for count in range(state.down_ns.shape[0]):
        histogram[at, count] = state.down_ns[count]


@kernel
def run_alone(
    fleet: Fleet,
    state: FleetState,
    hold: Ints,
    scratch: Ints,
    measures: Floats,
    tallies: Floats,
    histogram: Ints,
    series: Ints,
    log: Ints,
    seed: int,
    first: int,
    row: int,
    futures: int,
    warm_ns: int,
    horizon: int,
) -> int:
    """Play futures of a fleet without work; how many had room.

    Parameters
    ----------
    measures, tallies, histogram, series
        [futures, MEASURES], [futures, K + 1, TALLIES], [futures, N + 1] time by nodes down [ns],
        [futures, points] nodes down at equal steps.
    log
        [capacity, 6] of the last future: time, what, node, class, detail, detection; its first
        row counts the rest.
    """
    points = series.shape[1]
    grid = max(horizon // max(points, 1), 1)
    for index in range(futures):
        if log.shape[0] > 0:
            log[0, 0] = 0
        future = first + index
        if not begin(fleet, state, hold, warm_ns, horizon, seed, future):
            return index
        at, cell = row + index, 0
        while True:
            due = next_time(state)
            cell = _sample(state, series[at], cell, grid, min(due, horizon))
            if due >= horizon:
                break
            changes = step(fleet, state, seed, future)
            if changes == FULL:
                return index
            for change in range(changes):
                if log.shape[0] > 0:
                    _write(state, log, change)
        if not end(fleet, state, horizon):
            return index
        measure(fleet, state, measures[at], scratch)
        _copy(state, tallies, histogram, at)
    return futures


@inner
def _write(state: FleetState, log: Ints, change: int) -> None:
    log[0, 0] += 1
    line = log[0, 0]
    if line < log.shape[0]:
        log[line, 0] = state.now[c.TIME]
        for column in range(c.CHANGE):
            log[line, 1 + column] = state.changes[change, column]
