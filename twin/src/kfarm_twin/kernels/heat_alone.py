"""A farm's heat alone: a schedule of powers and faults in, temperatures and changes out."""

from __future__ import annotations

from kfarm_twin._jit import inner, kernel
from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.kernels import heat_columns as c
from kfarm_twin.kernels.heat import (
    begin,
    device_c,
    end,
    inlet_c,
    next_time,
    set_overhead,
    set_plant_target,
    set_plant_units,
    set_power,
    set_up,
    set_zone_units,
    start_steady,
    step,
    supply_c,
    water_c,
)
from kfarm_twin.kernels.heat_columns import Heat, HeatState

# Kinds of rows of a schedule: (TIME, KIND, ENTITY, FIRST, COUNT, VALUE).
POWER, OVERHEAD, SWITCH, ZONE_UNITS, PLANT_UNITS, TARGET = range(6)
"""VALUE in mW, mW, 0 or 1, units, units, millidegrees; FIRST and COUNT are devices (POWER)."""
ROW = 6
LOG = 5
"""Columns of the log: time [ns] and those of `HeatState.changes`."""


@inner
def _act(heat: Heat, hs: HeatState, row: Ints) -> None:
    """Let a row of the schedule happen."""
    now, kind, entity, value = row[0], row[1], row[2], row[5]
    if kind == POWER:
        set_power(heat, hs, now, entity, row[3], row[4], value)
    elif kind == OVERHEAD:
        set_overhead(heat, hs, now, entity, value)
    elif kind == SWITCH:
        set_up(heat, hs, now, entity, value)
    elif kind == ZONE_UNITS:
        set_zone_units(heat, hs, now, entity, value)
    elif kind == PLANT_UNITS:
        set_plant_units(heat, hs, now, entity, value)
    else:
        set_plant_target(heat, hs, now, entity, float(value) * 0.001)


@inner
def _sample(
    heat: Heat, hs: HeatState, now: int, dies: Floats, power: Ints, inlets: Floats,
    supplies: Floats, waters: Floats,
) -> None:  # fmt: skip
    """Write what there is to see at `now` [ns]; tables without rows are left out."""
    for node in range(dies.shape[0]):
        for device in range(heat.rules[heat.nodes[node, c.CLUSTER], c.DEVICES]):
            dies[node, device] = device_c(heat, hs, now, node, device)
        inlets[node] = inlet_c(heat, hs, now, node)
        power[node] = hs.node[node, c.POWER_MW]
    for zone in range(supplies.shape[0]):
        supplies[zone] = supply_c(heat, hs, now, zone)
    for plant in range(waters.shape[0]):
        waters[plant] = water_c(heat, hs, now, plant)


@kernel
def run_heat(
    heat: Heat,
    hs: HeatState,
    schedule: Ints,
    at: Ints,
    dies: Floats,
    power: Ints,
    inlets: Floats,
    supplies: Floats,
    waters: Floats,
    log: Ints,
    seed: int,
    future: int,
    horizon: int,
    steady: int,
    restarts: int,
) -> int:
    """Play one future; how many changes there were.

    Parameters
    ----------
    schedule
        [rows, ROW] in order of time.
    at
        [samples] times to sample at, rising [ns].
    dies, power, inlets, supplies, waters
        [samples, N, D], [samples, N], [samples, N], [samples, Z], [samples, P]; N may be 0.
    log
        [capacity, LOG] the first changes.
    steady
        1: what is scheduled at time 0 has long been so.
    restarts
        1: a node that has cooled after a shutdown by heat is switched on at once.
    """
    begin(heat, hs, seed, future, horizon)
    line, sample, logged = 0, 0, 0
    while line < schedule.shape[0] and schedule[line, 0] <= 0:
        _act(heat, hs, schedule[line])
        line += 1
    if steady == 1:
        start_steady(heat, hs)
    while True:
        due = min(next_time(heat, hs), horizon)
        if line < schedule.shape[0]:
            due = min(due, schedule[line, 0])
        while sample < at.shape[0] and at[sample] < due:
            _sample(heat, hs, at[sample], dies[sample], power[sample], inlets[sample],
                    supplies[sample], waters[sample])  # fmt: skip
            sample += 1
        if due >= horizon:
            break
        if line < schedule.shape[0] and schedule[line, 0] == due:
            _act(heat, hs, schedule[line])
            line += 1
            continue
        changes = step(heat, hs, seed, future)
        for change in range(changes):
            if logged < log.shape[0]:
                log[logged, 0] = due
                for column in range(c.CHANGE):
                    log[logged, 1 + column] = hs.changes[change, column]
            logged += 1
        for change in range(changes):
            if restarts == 1 and hs.changes[change, 0] == c.COOL:
                set_up(heat, hs, due, hs.changes[change, 1], 1)
    end(heat, hs, horizon)
    while sample < at.shape[0]:
        _sample(heat, hs, horizon, dies[sample], power[sample], inlets[sample], supplies[sample],
                waters[sample])  # fmt: skip
        sample += 1
    return logged
