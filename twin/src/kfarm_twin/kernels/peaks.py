"""Meters: the highest mean of windows of 1 s, 1 min and 15 min, in step with the clock.

Power is constant between events; windows are closed when their meter next changes, so that a meter
costs nothing while nothing changes. The last window counts with the mean of what there is of it.
"""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.kernels.grid_columns import (
    BLOCK,
    HIGHEST,
    OPEN,
    SINCE,
    VALUE,
    WINDOW_NS,
    WINDOWS,
    GridState,
)


@inner
def tick(grid: GridState, now: int) -> None:
    """Note which windows are open now."""
    for window in range(WINDOWS):
        grid.block[window] = now // WINDOW_NS[window]


@inner
def bring_up(grid: GridState, meter: int, now: int) -> None:
    """Let a meter count up to `now`, the time of the last `tick`, what it showed."""
    row, energy = grid.meter[meter], grid.energy[meter]
    since = row[SINCE]
    row[SINCE] = now
    for window in range(WINDOWS):
        value, began, block = float(row[VALUE + window]), row[BLOCK + window], grid.block[window]
        if began == block:
            energy[OPEN + window] += value * float(now - since)
            continue
        length = WINDOW_NS[window]
        closed = energy[OPEN + window] + value * float((began + 1) * length - since)
        if block > began + 1:
            closed = max(closed, value * float(length))
        energy[HIGHEST + window] = max(energy[HIGHEST + window], closed)
        energy[OPEN + window] = value * float(now - block * length)
        row[BLOCK + window] = block


@inner
def show(grid: GridState, meter: int, second: int, minute: int, quarter: int, now: int) -> None:
    """Let a meter show other values from `now`, the time of the last `tick`, on [mW]."""
    row = grid.meter[meter]
    if row[VALUE] == second and row[VALUE + 1] == minute and row[VALUE + 2] == quarter:
        return
    if row[SINCE] != now:
        bring_up(grid, meter, now)
    row[VALUE] = second
    row[VALUE + 1] = minute
    row[VALUE + 2] = quarter


@inner
def close_meters(grid: GridState, horizon: int) -> None:
    """Close the open windows of all meters at the end."""
    tick(grid, horizon)
    for meter in range(grid.meter.shape[0]):
        bring_up(grid, meter, horizon)
        for window in range(WINDOWS):
            left, length = horizon - grid.block[window] * WINDOW_NS[window], WINDOW_NS[window]
            if left > 0:
                mean = grid.energy[meter, OPEN + window] / float(left)
                highest = max(grid.energy[meter, HIGHEST + window], mean * float(length))
                grid.energy[meter, HIGHEST + window] = highest


@inner
def peak_mw(energy: float, window: int) -> float:
    """Highest mean power of a window from its highest energy [mW]."""
    return energy / float(WINDOW_NS[window])
