"""One fault of the cooling, played from the steady state under a load."""

from __future__ import annotations

from typing import NamedTuple

from kfarm_twin._jit import inner, kernel
from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.kernels.heat import (
    begin,
    end,
    hottest_c,
    next_time,
    set_overhead,
    set_plant_units,
    set_power,
    set_up,
    set_zone_units,
    start_steady,
    step,
    supply_c,
)
from kfarm_twin.kernels.heat_columns import THROTTLED, Heat, HeatState

NEVER = -1
# Places of CoolingRun.lost.
OF_PLANT, INDEX, LEFT, BACK, BACK_NS = range(5)
LOST = 5
# Columns of CoolingRun.curve: hottest die [degC], supply of the zone (facility water of a plant's
# first zone), devices that throttle.
CURVE_C, CURVE_SUPPLY, CURVE_THROTTLED = range(3)
CURVE = 3
# Places of CoolingRun.most.
MOST_THROTTLED, BEFORE, EVENTS = range(3)
MOST = 3


class CoolingRun(NamedTuple):
    """What is played, and what comes of it; n nodes, D devices of a node, T times."""

    device_mw: Ints  # [n, D] of all real nodes that one stands for
    overhead_mw: Ints  # [n]
    up: Ints  # [n] before the fault
    dark: Ints  # [n] 1 where the fault takes the power
    weight: Ints  # [clusters] real devices that one device stands for
    lost: Ints  # [LOST] of a plant or zone, which, units left, when back; when [ns] or NEVER
    times: Ints  # [T] when to look [ns], rising
    curve: Floats  # [T, CURVE]
    most: Ints  # [MOST] most devices that throttled at once, those before the fault, events


@inner
def _throttled(hs: HeatState, run: CoolingRun) -> int:
    total = 0
    for cluster in range(run.weight.shape[0]):
        total += hs.cluster[cluster, THROTTLED] * run.weight[cluster]
    return total


@inner
def _load(heat: Heat, hs: HeatState, run: CoolingRun) -> None:
    for node in range(run.up.shape[0]):
        for device in range(run.device_mw.shape[1]):
            if run.device_mw[node, device] > 0:
                set_power(heat, hs, 0, node, device, 1, run.device_mw[node, device])
        set_overhead(heat, hs, 0, node, run.overhead_mw[node])
        if run.up[node] == 0:
            set_up(heat, hs, 0, node, 0)
    start_steady(heat, hs)


@inner
def _set_units(heat: Heat, hs: HeatState, run: CoolingRun, now: int, units: int) -> None:
    if run.lost[OF_PLANT] == 1:
        set_plant_units(heat, hs, now, run.lost[INDEX], units)
    else:
        set_zone_units(heat, hs, now, run.lost[INDEX], units)


@inner
def _look(heat: Heat, hs: HeatState, run: CoolingRun, at: int) -> None:
    """Note what is seen at a time of the curve."""
    now, hottest = run.times[at], -300.0
    for node in range(run.up.shape[0]):
        if run.up[node] == 1:
            hottest = max(hottest, hottest_c(heat, hs, now, node))
    zone = 0 if run.lost[OF_PLANT] == 1 else run.lost[INDEX]
    run.curve[at, CURVE_C] = hottest
    run.curve[at, CURVE_SUPPLY] = supply_c(heat, hs, now, zone)
    run.curve[at, CURVE_THROTTLED] = float(_throttled(hs, run))


@kernel
def play_fault(heat: Heat, hs: HeatState, run: CoolingRun, seed: int, most_events: int) -> bool:
    """Play a fault at time 0; nodes that heat shut down stay off. False: too many events.

    Times of the first throttling and shutdown, and how hot it got, are in `hs`.
    """
    last = run.times.shape[0] - 1
    horizon = run.times[last]
    begin(heat, hs, seed, 0, horizon)
    _load(heat, hs, run)
    next_time(heat, hs)
    run.most[BEFORE] = _throttled(hs, run)
    _set_units(heat, hs, run, 0, run.lost[LEFT])
    for node in range(run.up.shape[0]):
        if run.dark[node] == 1:
            set_up(heat, hs, 0, node, 0)
    for at in range(run.times.shape[0]):
        due = next_time(heat, hs)
        while due <= run.times[at] and run.most[EVENTS] < most_events:
            step(heat, hs, seed, 0)
            run.most[EVENTS] += 1
            due = next_time(heat, hs)
            run.most[MOST_THROTTLED] = max(run.most[MOST_THROTTLED], _throttled(hs, run))
        if run.most[EVENTS] >= most_events:
            return False
        _look(heat, hs, run, at)
        if run.times[at] == run.lost[BACK_NS]:
            _set_units(heat, hs, run, run.times[at], run.lost[BACK])
    end(heat, hs, horizon)
    return True
