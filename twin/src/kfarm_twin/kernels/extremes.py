"""Extremes over time of heat: fullest loop, hottest rack inlet, devices that throttle."""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.arrays import (
    DIRTY_RACKS,
    INLET,
    INLET_AT,
    LOOP_AT,
    LOOP_LOAD,
    NOW,
    THROTTLED_MAX,
    THROTTLED_TIME,
    Farm,
    State,
)
from kfarm_twin.kernels import heat_columns as h
from kfarm_twin.kernels.heat_times import seconds_since
from kfarm_twin.kernels.heat_zones import highest_supply
from kfarm_twin.kernels.power import note_power

NS = 1e-9


@inner
def air_zone(farm: Farm, rack: int) -> int:
    """The zone whose air a rack takes in."""
    first = farm.heat.first[h.OF_RACK, rack]
    return int(farm.heat.nodes[farm.heat.members[h.OF_RACK, first], h.AIR_ZONE])


@inner
def _note_inlet(farm: Farm, state: State, rack: int, supply: float) -> None:
    inlet = supply + state.heat.rack[rack, h.RACK_RISE]
    if inlet > state.tally.totals[INLET]:
        state.tally.totals[INLET] = inlet
        state.tally.counts[INLET_AT] = rack


@inner
def _note_inlets(farm: Farm, state: State, until: int) -> None:
    """The hottest air at a rack until then; with its zone's supply kept, only where power changed.

    What a zone's supply does between two changes of its heat is one segment, of which the highest
    so far is asked for: nothing else about its racks changed since it began.
    """
    heat, moving = state.heat, state.tally.counts[NOW] == 0
    for zone in range(heat.zone.shape[0]):
        moving = moving or heat.zone[zone, h.MODE] == h.SATURATED
    if not moving:
        for at in range(state.tally.counts[DIRTY_RACKS]):
            rack = state.nodes.rack_dirty[1, at]
            supply = heat.zone_c[air_zone(farm, rack), h.SUPPLY]
            _note_inlet(farm, state, rack, supply)
        return
    for rack in range(heat.rack.shape[0]):
        zone = air_zone(farm, rack)
        span = seconds_since(heat, heat.zone[zone, h.Z_SINCE])
        span += float(until - heat.now[h.TIME]) * NS
        _note_inlet(farm, state, rack, highest_supply(heat, zone, span))


@inner
def _note_loops(farm: Farm, state: State) -> None:
    tally = state.tally
    for loop in range(farm.sites.loop_limit_mw.shape[0]):
        limit = farm.sites.loop_limit_mw[loop]
        if limit > 0 and state.heat.zone[loop, h.HEAT_MW] / limit > tally.totals[LOOP_LOAD]:
            tally.totals[LOOP_LOAD] = state.heat.zone[loop, h.HEAT_MW] / limit
            tally.counts[LOOP_AT] = loop


@inner
def note_extremes(farm: Farm, state: State, until: int) -> None:
    """Update extremes and times with the state that lasts from now `until`."""
    count, total = state.tally.counts, state.tally.totals
    _note_inlets(farm, state, until)
    note_power(farm, state)
    _note_loops(farm, state)
    throttled = 0
    for cluster in range(state.heat.cluster.shape[0]):
        throttled += state.heat.cluster[cluster, h.THROTTLED]
    count[THROTTLED_MAX] = max(count[THROTTLED_MAX], throttled)
    total[THROTTLED_TIME] += float(throttled) * float(until - count[NOW])
