"""Next times of many in a tournament of fixed size, and lists of what changed at one instant."""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.arrays import Ints
from kfarm_twin.kernels import heat_columns as c
from kfarm_twin.kernels.heat_columns import HeatState

NS = 1e-9
PER_S = 1e9
FAR_S = 1e9
"""More than 30 years [s]."""


@inner
def set_due(due: Ints, entity: int, time: int) -> None:
    """Set the next time [ns] of an entity."""
    at = due.shape[0] // 2 + entity
    if due[at] == time:
        return
    due[at] = time
    while at > 1:
        at //= 2
        least = min(due[2 * at], due[2 * at + 1])
        if due[at] == least:
            return
        due[at] = least


@inner
def first_due(due: Ints) -> int:
    """The entity that is next; the one with the least number where several are."""
    at, half = 1, due.shape[0] // 2
    while at < half:
        at *= 2
        if due[at + 1] < due[at]:
            at += 1
    return int(at - half)


@inner
def seconds_since(hs: HeatState, then: int) -> float:
    """Time from `then` to now [s]."""
    return float(hs.now[c.TIME] - then) * NS


@inner
def time_after(hs: HeatState, seconds: float, never: int) -> int:
    """Now plus a time [s] rounded up, at least one nanosecond; `never` where it is far."""
    if not seconds < FAR_S:
        return never
    span = int(seconds * PER_S)
    if float(span) < seconds * PER_S:
        span += 1
    return int(hs.now[c.TIME] + max(span, 1))


@inner
def horizon_s(hs: HeatState) -> float:
    """Time left [s]."""
    return float(hs.now[c.HORIZON] - hs.now[c.TIME]) * NS


@inner
def enlist(hs: HeatState, row: int, entity: int) -> None:
    """Add an entity to a list of `dirty`; who calls knows that it is not in it."""
    hs.dirty[row, hs.now[row]] = entity
    hs.now[row] += 1


@inner
def mark_node(hs: HeatState, node: int) -> None:
    """A node is to be looked at before time moves on."""
    if hs.node[node, c.MARK] == 0:
        hs.node[node, c.MARK] = 1
        enlist(hs, c.D_NODES, node)


@inner
def mark_draw(hs: HeatState, node: int) -> None:
    """A node draws other power, or goes at another speed: who books power has to look at it."""
    if hs.node[node, c.DRAWS] == 0:
        hs.node[node, c.DRAWS] = 1
        enlist(hs, c.D_DRAWS, node)


@inner
def mark_zone(hs: HeatState, zone: int, bits: int) -> None:
    """A zone's heat, units, or the times of its events are to be looked at."""
    if hs.zone[zone, c.Z_MARK] == 0:
        enlist(hs, c.D_ZONES, zone)
    hs.zone[zone, c.Z_MARK] |= bits


@inner
def mark_plant(hs: HeatState, plant: int) -> None:
    """A plant's heat, units or target changed."""
    if hs.plant[plant, c.P_MARK] == 0:
        hs.plant[plant, c.P_MARK] = 1
        enlist(hs, c.D_PLANTS, plant)


@inner
def plant_entity(hs: HeatState, plant: int) -> int:
    """Place of a plant in the tournament."""
    return int(hs.unit.shape[0] + plant)


@inner
def zone_entity(hs: HeatState, zone: int) -> int:
    """Place of a zone in the tournament."""
    return int(hs.unit.shape[0] + hs.plant.shape[0] + zone)


@inner
def node_entity(hs: HeatState, node: int) -> int:
    """Place of a node in the tournament."""
    return int(hs.unit.shape[0] + hs.plant.shape[0] + hs.zone.shape[0] + node)
