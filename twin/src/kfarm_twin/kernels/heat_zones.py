"""Zones and the plant: how supply moves, and what follows it in all nodes alike.

A zone is regulated (supply at its setpoint) or saturated (supply above it, moving); its motion is
in closed form from `Z_SINCE` on, until heat, units, water or mode change: then the segment is
closed and another one opened. What sinks and dies owe to the supply is the same for all nodes of a
branch and is kept once (`B_SINK`, `B_DIE`); it is still where the supply has long been constant.
"""

from __future__ import annotations

import math

from kfarm_twin._jit import inner
from kfarm_twin.kernels import heat_columns as c
from kfarm_twin.kernels.exponentials import (
    A1,
    A2,
    A3,
    A4,
    C3,
    C4,
    Q1,
    Q2,
    REFERENCE,
    S2,
    S3,
    S4,
    drift,
    first_fall,
    first_rise,
    greatest,
    value,
)
from kfarm_twin.kernels.heat_columns import Heat, HeatState
from kfarm_twin.kernels.heat_times import (
    NS,
    PER_S,
    horizon_s,
    mark_node,
    mark_plant,
    mark_zone,
    plant_entity,
    seconds_since,
    set_due,
    time_after,
    zone_entity,
)
from kfarm_twin.kernels.rng import FAR_NS, exp, ln

HEATED, MOVED, RESCHEDULE = 1, 2, 4
"""Bits of Z_MARK."""
KILO = 0.001
TOLERANCE = 1e-9
"""Temperatures count as equal within this [K]; searches aim at twice as much beyond a threshold."""
SLIGHT = 1e-12
"""Motions of the water count as equal within this share."""
LEAST_STAY = 1_000_000
"""Least time that a zone stays saturated [ns]."""
CALM_AFTER = 50.0
"""A branch is still after so many of its time constants: exp(-50) is 2e-22."""
LEAST_FLOW = 0.01
"""Share of the design flow below which natural convection takes over."""


@inner
def load_zone(hs: HeatState, zone: int) -> None:
    """The supply's motion from the start of its segment, as deviation from REFERENCE, to `w`."""
    w, z = hs.w, hs.zone_c[zone]
    if hs.zone[zone, c.MODE] == c.REGULATED:
        w[REFERENCE] = z[c.SUPPLY]
        w[A1], w[A2], w[Q1], w[Q2], w[S2] = 0.0, 0.0, 0.0, 0.0, 0.0
        return
    w[REFERENCE] = z[c.WATER]
    w[A1], w[Q1] = z[c.W_RATE], z[c.W_PUSH]
    w[A2], w[Q2] = z[c.Z_RATE], z[c.Z_PUSH]
    w[S2] = z[c.SUPPLY] - z[c.WATER]


@inner
def load_branch(heat: Heat, hs: HeatState, branch: int) -> None:
    """The same with what sinks and dies of a branch owe to it."""
    load_zone(hs, heat.branches[branch, c.B_ZONE])
    w, b = hs.w, hs.branch[branch]
    w[A3] = b[c.RATE]
    w[A4] = heat.laws[heat.branches[branch, c.B_CLUSTER], c.DIE_RATE]
    w[S3], w[S4] = b[c.B_SINK] - w[REFERENCE], b[c.B_DIE] - w[REFERENCE]
    w[C3], w[C4] = 0.0, 0.0


@inner
def supply_at(heat: Heat, hs: HeatState, zone: int) -> float:
    """Supply temperature now [degC]."""
    t = seconds_since(hs, hs.zone[zone, c.Z_SINCE])
    if hs.zone[zone, c.MODE] == c.REGULATED or t == 0.0:
        return float(hs.zone_c[zone, c.SUPPLY])
    load_zone(hs, zone)
    return float(hs.w[REFERENCE] + value(hs.w, 2, t))


@inner
def branch_at(heat: Heat, hs: HeatState, branch: int) -> tuple[float, float]:
    """Sink and die of a branch, of devices without power, now [degC]."""
    zone = heat.branches[branch, c.B_ZONE]
    t = seconds_since(hs, hs.zone[zone, c.Z_SINCE])
    if hs.zone[zone, c.STILL] == 1 or t == 0.0:
        return float(hs.branch[branch, c.B_SINK]), float(hs.branch[branch, c.B_DIE])
    load_branch(heat, hs, branch)
    return (
        float(hs.w[REFERENCE] + value(hs.w, 3, t)),
        float(hs.w[REFERENCE] + value(hs.w, 4, t)),
    )


@inner
def stand_at(heat: Heat, hs: HeatState, branch: int, t: float) -> tuple[float, float]:
    """Load a branch's motion anew from `t` [s] after its zone's segment began; sink and die [degC].

    `S3`, `S4`, `C3`, `C4` are then for the caller to set, against REFERENCE.
    """
    load_branch(heat, hs, branch)
    w = hs.w
    reference = w[REFERENCE]
    if t == 0.0:
        return float(reference + w[S3]), float(reference + w[S4])
    sink, die = value(w, 3, t), value(w, 4, t)
    if hs.zone[heat.branches[branch, c.B_ZONE], c.MODE] == c.SATURATED:
        supply, water, push = value(w, 2, t), value(w, 1, t), drift(w, t)
        w[REFERENCE] = reference + water
        w[S2] = supply - water
        w[Q1] = push
    return float(reference + sink), float(reference + die)


@inner
def water_at(hs: HeatState, plant: int) -> float:
    """Temperature of a plant's water now [degC]; loads its motion from the segment's start."""
    p, w = hs.plant_c[plant], hs.w
    w[A1], w[Q1] = p[c.P_RATE], p[c.P_PUSH]
    t = seconds_since(hs, hs.plant[plant, c.P_SINCE])
    if hs.plant[plant, c.P_MODE] == c.REGULATED or t == 0.0:
        return float(p[c.P_WATER])
    return float(p[c.P_WATER] + value(w, 1, t))


@inner
def add_heat(heat: Heat, hs: HeatState, zone: int, more_mw: int) -> None:
    """Heat to a zone, and through it to its plant, changes from now on."""
    if more_mw == 0 or zone == c.NONE:
        return
    now = hs.now[c.TIME]
    row = hs.zone[zone]
    spent = float(row[c.HEAT_MW]) * KILO * (float(now - row[c.HEAT_SINCE]) * NS)
    hs.zone_c[zone, c.IN_J] += spent
    row[c.HEAT_SINCE] = now
    row[c.HEAT_MW] += more_mw
    mark_zone(hs, zone, HEATED)
    plant = int(heat.zones[zone, c.PLANT])
    whole = hs.plant[plant]
    spent = float(whole[c.P_HEAT_MW]) * KILO * (float(now - whole[c.P_HEAT_SINCE]) * NS)
    hs.plant_c[plant, c.P_IN_J] += spent
    whole[c.P_HEAT_SINCE] = now
    whole[c.P_HEAT_MW] += more_mw
    mark_plant(hs, plant)


@inner
def units_share(heat: Heat, hs: HeatState, zone: int) -> float:
    """Flow of a zone as a share of the design's."""
    there = hs.zone[zone, c.THERE] - hs.zone[zone, c.GONE]
    return float(min(max(float(there), 0.0) / heat.zones[zone, c.NEEDED], 1.0))


@inner
def set_flow(heat: Heat, hs: HeatState, branch: int) -> None:
    """Sink resistance and rate of a branch at the present flow."""
    b, path = hs.branch[branch], heat.paths[branch]
    cluster, resistance = heat.branches[branch, c.B_CLUSTER], path[c.SINK]
    if heat.rules[cluster, c.LIQUID] == 1:
        flow = max(units_share(heat, hs, heat.branches[branch, c.B_ZONE]), LEAST_FLOW)
        if flow < 1.0:
            resistance *= exp(-heat.laws[cluster, c.EXPONENT] * ln(flow))
    b[c.R_SINK] = resistance
    b[c.RATE] = 1.0 / (resistance * path[c.CAPACITY])


@inner
def highest_supply(hs: HeatState, zone: int, t: float) -> float:
    """Greatest supply temperature of the first `t` [s] of a zone's segment [degC]."""
    if hs.zone[zone, c.MODE] == c.REGULATED:
        return float(hs.zone_c[zone, c.SUPPLY])
    load_zone(hs, zone)
    return float(hs.w[REFERENCE] + greatest(hs.w, 2, t))


@inner
def supply_bound(hs: HeatState, zone: int) -> float:
    """Bound of the supply to the horizon if nothing changes (maximum principle) [degC]."""
    z, left = hs.zone_c[zone], horizon_s(hs)
    if hs.zone[zone, c.MODE] == c.REGULATED:
        return float(z[c.SUPPLY])
    if z[c.Z_RATE] == 0.0:
        return float(z[c.SUPPLY] + max(z[c.Z_PUSH], 0.0) * left)
    load_zone(hs, zone)
    water = z[c.WATER] + max(value(hs.w, 1, left), 0.0)
    return float(max(z[c.SUPPLY], water + z[c.Z_PUSH] / z[c.Z_RATE]))


@inner
def open_zone(heat: Heat, hs: HeatState, zone: int) -> None:
    """Begin a segment now, in the mode that heat, units and water ask for."""
    row, z, law = hs.zone[zone], hs.zone_c[zone], heat.zones[zone]
    plant = int(law[c.PLANT])
    water = water_at(hs, plant)
    z[c.WATER], z[c.W_RATE] = water, hs.plant_c[plant, c.P_RATE]
    z[c.W_PUSH] = drift(hs.w, seconds_since(hs, hs.plant[plant, c.P_SINCE]))
    share, heat_w = units_share(heat, hs, zone), float(row[c.HEAT_MW]) * KILO
    row[c.Z_SINCE] = hs.now[c.TIME]
    conduct = law[c.U] * share if share > 0.0 else 0.0
    rise = heat_w / conduct if conduct > 0.0 else math.inf
    keeps = conduct > 0.0 and water + rise <= law[c.SETPOINT] + TOLERANCE
    if math.isinf(conduct) or (keeps and z[c.SUPPLY] <= law[c.SETPOINT]):
        if row[c.MODE] == c.SATURATED or z[c.SUPPLY] != law[c.SETPOINT]:
            row[c.STILL], row[c.FLIPPED] = 0, hs.now[c.TIME]
        row[c.MODE], z[c.SUPPLY] = c.REGULATED, law[c.SETPOINT]
    else:
        if row[c.MODE] == c.REGULATED:
            row[c.FLIPPED] = hs.now[c.TIME]
        row[c.MODE] = c.SATURATED
        row[c.STILL] = 0
    z[c.Z_RATE] = conduct / law[c.MASS] if row[c.MODE] == c.SATURATED else 0.0
    z[c.Z_PUSH] = heat_w / law[c.MASS]
    bound = supply_bound(hs, zone)
    for branch in range(heat.first[c.BRANCHES, zone], heat.first[c.BRANCHES, zone + 1]):
        b = hs.branch[branch]
        b[c.SUP] = max(b[c.B_SINK], b[c.B_DIE], bound)


@inner
def watchers(heat: Heat, hs: HeatState, zone: int, bits: int) -> None:
    """Nodes whose crossings were looked for under another motion of the supply look again."""
    for place in range(heat.first[c.OF_ZONE, zone], heat.first[c.OF_ZONE, zone + 1]):
        node = heat.members[c.OF_ZONE, place]
        if bits == c.ALL or hs.node[node, c.WATCH] & bits != 0:
            mark_node(hs, node)


@inner
def reopen(heat: Heat, hs: HeatState, zone: int) -> None:
    """Begin another segment of a zone whose last one is closed; nodes look again where need be.

    Where the supply will be lower than was thought, times of crossings upwards that were found are
    too early, which does no harm: nothing happens then, and they are looked for again.
    """
    hs.zone[zone, c.KEEPS] = 0
    z, before = hs.zone_c[zone], hs.zone[zone, c.MODE]
    push, rate, supply = z[c.Z_PUSH], z[c.Z_RATE], z[c.SUPPLY]
    water, drift, was = z[c.W_PUSH], z[c.W_RATE], z[c.WATER]
    open_zone(heat, hs, zone)
    if z[c.SUPPLY] != supply:  # it jumped, as where its units carry any heat
        watchers(heat, hs, zone, c.ALL)
    elif before != hs.zone[zone, c.MODE]:
        watchers(heat, hs, zone, c.BOTH_WATCH)
    elif hs.zone[zone, c.MODE] == c.SATURATED:
        same = z[c.Z_RATE] == rate and z[c.WATER] <= was + 0.1 * TOLERANCE
        same = same and (z[c.W_RATE] == drift or (water == 0.0 and z[c.W_PUSH] <= 0.0))
        lower = z[c.Z_PUSH] <= push and z[c.W_PUSH] <= water + SLIGHT * abs(water) and same
        watchers(heat, hs, zone, c.FALL_WATCH if lower else c.BOTH_WATCH)
        hs.zone[zone, c.KEEPS] = 1 if lower else 0
    mark_zone(hs, zone, RESCHEDULE)


@inner
def keeps_setpoint(heat: Heat, hs: HeatState, zone: int) -> bool:
    """Whether a regulated zone stays so with its present heat, and its water does not move."""
    z, law, share = hs.zone_c[zone], heat.zones[zone], units_share(heat, hs, zone)
    if share <= 0.0 or hs.zone[zone, c.MODE] != c.REGULATED or z[c.W_PUSH] != 0.0:
        return False
    heat_w = float(hs.zone[zone, c.HEAT_MW]) * KILO
    return bool(z[c.WATER] + heat_w / (law[c.U] * share) <= law[c.SETPOINT] + TOLERANCE)


@inner
def _flip_due(heat: Heat, hs: HeatState, zone: int) -> int:
    """When the supply leaves its setpoint, or is back at it."""
    z, row, law, w = hs.zone_c[zone], hs.zone[zone], heat.zones[zone], hs.w
    share = units_share(heat, hs, zone)
    conduct = law[c.U] * share if share > 0.0 else 0.0
    if row[c.MODE] == c.REGULATED:
        if z[c.W_PUSH] <= 0.0 or math.isinf(conduct) or conduct == 0.0:
            return FAR_NS
        w[A1], w[Q1] = z[c.W_RATE], z[c.W_PUSH]
        level = law[c.SETPOINT] + TOLERANCE - float(row[c.HEAT_MW]) * KILO / conduct
        return time_after(hs, first_rise(w, 1, level - z[c.WATER], horizon_s(hs)), FAR_NS)
    if z[c.Z_RATE] == 0.0:
        return FAR_NS
    if z[c.W_PUSH] >= 0.0 and z[c.WATER] + z[c.Z_PUSH] / z[c.Z_RATE] >= law[c.SETPOINT]:
        return FAR_NS
    load_zone(hs, zone)
    due = time_after(hs, first_fall(w, 2, law[c.SETPOINT] - w[REFERENCE], horizon_s(hs)), FAR_NS)
    return max(due, row[c.FLIPPED] + LEAST_STAY) if due < FAR_NS else FAR_NS


@inner
def _scan_due(hs: HeatState, zone: int) -> int:
    """When the supply leaves the band within which no node has to do anything."""
    z, w, due = hs.zone_c[zone], hs.w, FAR_NS
    if hs.zone[zone, c.MODE] == c.REGULATED:
        return FAR_NS
    left = horizon_s(hs)
    if z[c.Z_HIGH] < math.inf and supply_bound(hs, zone) > z[c.Z_HIGH]:
        load_zone(hs, zone)
        t = first_rise(w, 2, z[c.Z_HIGH] + 2.0 * TOLERANCE - w[REFERENCE], left)
        due = time_after(hs, t, FAR_NS)
    if z[c.Z_LOW] > -math.inf:
        load_zone(hs, zone)
        t = first_fall(w, 2, z[c.Z_LOW] - 2.0 * TOLERANCE - w[REFERENCE], left)
        due = min(due, time_after(hs, t, FAR_NS))
    return due


@inner
def _review_due(heat: Heat, hs: HeatState, zone: int) -> int:
    """When devices of a node that is not watched might reach a limit."""
    due, w, left = FAR_NS, hs.w, horizon_s(hs)
    for branch in range(heat.first[c.BRANCHES, zone], heat.first[c.BRANCHES, zone + 1]):
        b = hs.branch[branch]
        if b[c.B_NODES] == 0.0 or b[c.SUP] <= b[c.B_MARGIN]:
            continue
        if b[c.B_DIE] >= b[c.B_MARGIN]:
            return int(hs.now[c.TIME])
        load_branch(heat, hs, branch)
        hs.now[c.SEARCHES] += 1
        t = first_rise(w, 4, b[c.B_MARGIN] - w[REFERENCE], left)
        due = min(due, time_after(hs, t, FAR_NS))
    return due


@inner
def _calm_due(heat: Heat, hs: HeatState, zone: int) -> int:
    """When what follows a constant supply has come to rest."""
    if hs.zone[zone, c.STILL] == 1 or hs.zone[zone, c.MODE] == c.SATURATED:
        return FAR_NS
    longest = 0.0
    for branch in range(heat.first[c.BRANCHES, zone], heat.first[c.BRANCHES, zone + 1]):
        rate = heat.laws[heat.branches[branch, c.B_CLUSTER], c.DIE_RATE]
        longest = max(longest, 1.0 / rate + 1.0 / hs.branch[branch, c.RATE])
    return int(hs.zone[zone, c.FLIPPED] + int(CALM_AFTER * longest * PER_S))


@inner
def schedule_zone(heat: Heat, hs: HeatState, zone: int) -> None:
    """Set when a zone's next event comes; its segment begins now, or it is still."""
    row = hs.zone[zone]
    row[c.FLIP] = _flip_due(heat, hs, zone)
    row[c.SCAN], row[c.CALM] = FAR_NS, FAR_NS
    if row[c.STILL] == 1:
        row[c.REVIEW] = FAR_NS
    else:
        row[c.SCAN] = _scan_due(hs, zone)
        if row[c.KEEPS] == 0 or row[c.REVIEW] <= hs.now[c.TIME]:
            row[c.REVIEW] = _review_due(heat, hs, zone)
        row[c.CALM] = _calm_due(heat, hs, zone)
    row[c.KEEPS] = 0
    due = min(row[c.FLIP], row[c.SCAN], row[c.REVIEW], row[c.CALM])
    set_due(hs.due, zone_entity(hs, zone), due)


@inner
def open_plant(heat: Heat, hs: HeatState, plant: int) -> bool:
    """Begin a segment of a plant now; True when its water moves otherwise than before."""
    row, p, law, now = hs.plant[plant], hs.plant_c[plant], heat.plants[plant], hs.now[c.TIME]
    units = max(row[c.P_THERE] - row[c.P_GONE], 0)
    capacity = law[c.UNIT_W] * float(units) if units > 0 else 0.0
    heat_w = float(row[c.P_HEAT_MW]) * KILO
    water, mode = water_at(hs, plant), row[c.P_MODE]
    target = p[c.P_TARGET]
    if mode == c.REGULATED and heat_w <= capacity and water == target:
        return False
    at_target = mode == c.REGULATED or math.isinf(capacity)
    water = target if at_target else max(water, target)
    p[c.P_WATER] = water
    p[c.P_HIGHEST] = max(p[c.P_HIGHEST], water)
    row[c.P_SINCE] = now
    if heat_w <= capacity and water <= target:
        row[c.P_MODE] = c.REGULATED
        p[c.P_RATE], p[c.P_PUSH] = 0.0, 0.0
    else:
        row[c.P_MODE] = c.SATURATED
        p[c.P_RATE] = law[c.G] / law[c.WATER_MASS]
        p[c.P_PUSH] = (heat_w - capacity - law[c.G] * (water - target)) / law[c.WATER_MASS]
    return True


@inner
def schedule_plant(heat: Heat, hs: HeatState, plant: int) -> None:
    """Set when a plant's water is back at its target."""
    row, p, due = hs.plant[plant], hs.plant_c[plant], FAR_NS
    if row[c.P_MODE] == c.SATURATED and p[c.P_PUSH] < 0.0:
        hs.w[A1], hs.w[Q1] = p[c.P_RATE], p[c.P_PUSH]
        t = first_fall(hs.w, 1, p[c.P_TARGET] - p[c.P_WATER], horizon_s(hs))
        due = time_after(hs, t, FAR_NS)
    row[c.P_FALL] = due
    set_due(hs.due, plant_entity(hs, plant), due)
