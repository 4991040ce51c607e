"""Meters: the highest mean of windows of 1 s, 1 min and 15 min, in step with the clock.

Power is constant between events; a window is closed when its meter next changes, so that a meter
costs nothing while nothing changes. The last window counts with the mean of what there is of it.
"""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.kernels.grid_columns import WINDOW_NS, WINDOWS, GridState


@inner
def bring_up(grid: GridState, meter: int, now: int) -> None:
    """Let a meter count up to `now` what it showed."""
    since = grid.since_ns[meter]
    if now == since:
        return
    grid.since_ns[meter] = now
    for window in range(WINDOWS):
        length, began = WINDOW_NS[window], grid.block[window, meter]
        value, close = float(grid.value_mw[window, meter]), (began + 1) * length
        if now < close:
            grid.energy[window, meter] += value * float(now - since)
            continue
        energy = grid.energy[window, meter] + value * float(close - since)
        grid.peak_mw[window, meter] = max(grid.peak_mw[window, meter], energy / float(length))
        block = now // length
        if block > began + 1:
            grid.peak_mw[window, meter] = max(grid.peak_mw[window, meter], value)
        grid.block[window, meter] = block
        grid.energy[window, meter] = value * float(now - block * length)


@inner
def show(grid: GridState, meter: int, window: int, value_mw: int, now: int) -> None:
    """Let a meter show another value from `now` on, for windows of one length."""
    if grid.value_mw[window, meter] != value_mw:
        bring_up(grid, meter, now)
        grid.value_mw[window, meter] = value_mw


@inner
def close_meters(grid: GridState, horizon: int) -> None:
    """Close the open windows of all meters at the end."""
    for meter in range(grid.since_ns.shape[0]):
        bring_up(grid, meter, horizon)
        for window in range(WINDOWS):
            left = horizon - grid.block[window, meter] * WINDOW_NS[window]
            if left > 0:
                mean = grid.energy[window, meter] / float(left)
                grid.peak_mw[window, meter] = max(grid.peak_mw[window, meter], mean)
