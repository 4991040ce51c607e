"""A farm at rest: the gang loop's beginning, with nodes up and pods placed as given."""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.arrays import Farm, Ints, Stand, State
from kfarm_twin.kernels import heat
from kfarm_twin.kernels import heat_columns as h
from kfarm_twin.kernels.clear import clear_state
from kfarm_twin.kernels.extremes import air_zone
from kfarm_twin.kernels.grid import flow
from kfarm_twin.kernels.members import attach
from kfarm_twin.kernels.peek import hottest_at_c, supply_at_c, throttled_devices
from kfarm_twin.kernels.power import ABSENT_C, ask
from kfarm_twin.kernels.rng import FAR_NS
from kfarm_twin.kernels.warmth import follow, start_warm
from kfarm_twin.policy.gangs import NONE

NODE_HOTTEST, NODE_THROTTLED = 0, 1
"""Columns of `Stand.nodes`: hottest device [degC], devices that are slowed."""


@inner
def stand(farm: Farm, slot_node: Ints, state: State, rest: Stand) -> None:
    """All slots with a node [S] have worked for long, on nodes that are up; written to `rest`.

    Devices are those of future 0 of seed 0, where they differ.
    """
    clear_state(farm, state)
    heat.prepare(farm.heat, state.heat, 0, 0, FAR_NS)
    for slot in range(slot_node.shape[0]):
        if slot_node[slot] != NONE:
            attach(farm, state, slot, slot_node[slot])
    for node in range(rest.up.shape[0]):
        state.nodes.up[node] = rest.up[node]
        ask(state, node)
    follow(farm, state)
    start_warm(farm, state)
    flow(farm, state)
    for node in range(rest.up.shape[0]):
        rest.nodes[node, NODE_HOTTEST] = ABSENT_C
        if rest.up[node] == 1:
            rest.nodes[node, NODE_HOTTEST] = hottest_at_c(farm, state, node, 0)
        rest.nodes[node, NODE_THROTTLED] = float(throttled_devices(farm, state, node))
    for rack in range(rest.inlet_c.shape[0]):
        supply = supply_at_c(farm, state, air_zone(farm, rack), 0)
        rest.inlet_c[rack] = supply + state.heat.rack[rack, h.RACK_RISE]
