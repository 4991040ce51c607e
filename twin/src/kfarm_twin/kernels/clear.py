"""The empty state from which a future of gangs begins."""

from __future__ import annotations

from kfarm_twin._jit import inner, spliced
from kfarm_twin.arrays import (
    CORRUPT_CLASS,
    FAILED_CLASS,
    INLET,
    LOST_DEVICES,
    SLOW_CLASS,
    SPEED_PPM,
    Farm,
    State,
)
from kfarm_twin.kernels import unit_columns as u
from kfarm_twin.kernels.grid import clear_grid
from kfarm_twin.kernels.power import ABSENT_C, FULL_PPM
from kfarm_twin.kernels.rng import FAR_NS
from kfarm_twin.kernels.unit_columns import RUNNING
from kfarm_twin.policy.gangs import NONE


@spliced
def _clear_nodes(farm: Farm, state: State) -> None:
    nodes, asks = state.nodes, state.asks
    for column in (nodes.up, nodes.plant_mw, nodes.cluster_mw, asks.fixed_mw, asks.live_mw):
        column[:] = 0
    nodes.first_slot[:] = NONE
    asks.hot_since[:] = NONE
    asks.dirty[:, :] = 0
    asks.loss_mw[:] = 0
    asks.pace_ppm[:] = FULL_PPM
    asks.pace_dirty[:] = 1
    clear_grid(farm, state)
    for node in range(nodes.free.shape[0]):
        for resource in range(nodes.free.shape[1]):
            nodes.free[node, resource] = farm.nodes.free[node, resource]
        if nodes.health[node, LOST_DEVICES] > 0:
            nodes.devices[node] = 0
        nodes.health[node] = 0
        nodes.health[node, FAILED_CLASS] = NONE
        nodes.health[node, SPEED_PPM] = FULL_PPM
        nodes.health[node, SLOW_CLASS] = NONE
        nodes.health[node, CORRUPT_CLASS] = NONE


@inner
def clear_state(farm: Farm, state: State) -> None:
    """Bring a state to before time 0: nodes off and empty, units at work, nothing counted."""
    units, tally = state.units, state.tally
    tally.counts[:] = 0
    _clear_nodes(farm, state)
    for unit in range(units.row.shape[0]):
        units.row[unit] = 0
        units.row[unit, u.PHASE] = RUNNING
        units.row[unit, u.RATE] = FULL_PPM
        units.row[unit, u.BLAMED] = NONE
        units.row[unit, u.SLOWED_BY] = NONE
        units.row[unit, u.SPOILT_BY] = NONE
        units.row[unit, u.CLEAN] = FAR_NS
    units.slot_node[:] = NONE
    tally.totals[:] = 0.0
    tally.totals[INLET] = ABSENT_C
    tally.stops[:, :] = 0
    for lost in (tally.class_down_ns, tally.class_gang_ns, tally.lost_ns):
        lost[:] = 0.0
    for table in (tally.class_lost_ns, tally.workload_lost_ns):
        table[:, :] = 0.0
