"""A farm at rest: the gang loop's beginning, with nodes up and pods placed as given."""

from __future__ import annotations

from kfarm_twin._jit import kernel
from kfarm_twin.arrays import Farm, Floats, Ints, State
from kfarm_twin.kernels import heat
from kfarm_twin.kernels import heat_columns as h
from kfarm_twin.kernels.clear import clear_state
from kfarm_twin.kernels.extremes import air_zone
from kfarm_twin.kernels.members import attach
from kfarm_twin.kernels.power import ABSENT_C, ask
from kfarm_twin.kernels.rng import FAR_NS
from kfarm_twin.kernels.warmth import follow, start_warm
from kfarm_twin.policy.gangs import NONE

NODE_HOTTEST, NODE_THROTTLED = 0, 1
"""Columns of what `stand` finds of nodes: hottest device [degC], devices that are slowed."""


@kernel
def stand(
    farm: Farm, slot_node: Ints, up: Ints, state: State, found: Floats, inlet_c: Floats
) -> None:
    """All slots with a node [S] work for long, on nodes that are up [N]; into `found` [N, 2].

    `inlet_c` [R] is the air at racks. Devices are those of future 0 of seed 0, where they differ.
    """
    clear_state(farm, state)
    heat.begin(farm.heat, state.heat, 0, 0, FAR_NS)
    for slot in range(slot_node.shape[0]):
        if slot_node[slot] != NONE:
            attach(farm, state, slot, slot_node[slot])
    for node in range(up.shape[0]):
        state.nodes.up[node] = up[node]
        ask(state, node)
    follow(farm, state)
    start_warm(farm, state)
    for node in range(up.shape[0]):
        found[node, NODE_HOTTEST] = ABSENT_C
        if up[node] == 1:
            found[node, NODE_HOTTEST] = heat.hottest_c(farm.heat, state.heat, 0, node)
        found[node, NODE_THROTTLED] = 0.0
        for device in range(farm.nodes.devices[node]):
            if state.heat.mw[node, device, h.LEVEL] != h.FREE:
                found[node, NODE_THROTTLED] += 1.0
    for rack in range(inlet_c.shape[0]):
        supply = heat.supply_c(farm.heat, state.heat, 0, air_zone(farm, rack))
        inlet_c[rack] = supply + state.heat.rack[rack, h.RACK_RISE]
