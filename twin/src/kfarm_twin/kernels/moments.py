"""States of all racks at moments chosen beforehand, for the report's floor map."""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.arrays import EventLog, Farm, State
from kfarm_twin.kernels import heat_columns as h
from kfarm_twin.kernels.extremes import air_zone
from kfarm_twin.kernels.peek import hottest_at_c, supply_at_c, throttled_devices
from kfarm_twin.kernels.power import ABSENT_C


@inner
def _note_heat(farm: Farm, state: State, log: EventLog, at: int, rack: int) -> None:
    moments, time = log.moments, log.moments.time_ns[at]
    hottest, throttled = ABSENT_C, 0
    for place in range(farm.heat.first[h.OF_RACK, rack], farm.heat.first[h.OF_RACK, rack + 1]):
        node = farm.heat.members[h.OF_RACK, place]
        if state.nodes.up[node] == 1:
            hottest = max(hottest, hottest_at_c(farm, state, node, time))
            throttled += throttled_devices(farm, state, node)
    moments.hottest_c[at, rack] = hottest
    moments.throttled[at, rack] = throttled
    supply = supply_at_c(farm, state, air_zone(farm, rack), time)
    moments.inlet_c[at, rack] = supply + state.heat.rack[rack, h.RACK_RISE]


@inner
def note_moments(farm: Farm, state: State, log: EventLog, until: int) -> None:
    """Write the racks at those moments that come before `until`, while the present state lasts."""
    moments = log.moments
    while log.size[2] < moments.time_ns.shape[0]:
        at = log.size[2]
        if moments.time_ns[at] >= until:
            return
        for rack in range(state.nodes.rack_mw.shape[0]):
            moments.rack_mw[at, rack] = state.nodes.rack_mw[rack]
            _note_heat(farm, state, log, at, rack)
        log.size[2] = at + 1
