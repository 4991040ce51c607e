"""The farm with all workloads running: power, heat and throttling of one moment.

What the gang loop begins with, seen at rest: one law for both. Faults of cooling that do not come
to rest (no heat leaves) are played instead, see `survive`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kfarm_twin.arrays import ACCELERATORS, NEVER_UP, Floats, Ints, State
from kfarm_twin.compile import Model
from kfarm_twin.kernels import heat_columns as h
from kfarm_twin.kernels.grid_columns import ONE_SECOND
from kfarm_twin.kernels.power import FULL_PPM
from kfarm_twin.kernels.rest import NODE_HOTTEST, NODE_THROTTLED
from kfarm_twin.simulate import stand_still


@dataclass(frozen=True)
class Steady:
    """One moment; arrays per node [N], per loop [U], per plant [F], per rack [R].

    Attributes
    ----------
    throttled
        Devices that are slowed.
    overheats
        1 where a node's devices are beyond their shutdown temperature.
    load_mw, power_mw
        What the parts of a node take, and what it draws for that.
    swing_mw
        What they take above that in the highest second of jobs' phases.
    rack_mw
        [R] drawn by racks.
    """

    load_mw: Ints
    swing_mw: Ints
    power_mw: Ints
    rack_mw: Ints
    hottest_c: Floats
    busy: Ints
    throttled: Ints
    overheats: Ints
    loop_heat_mw: Ints
    plant_mw: Ints
    inlet_c: Floats


def running_nodes(model: Model) -> Ints:
    """[N] 1 for nodes that are up at the peak: all but those off for good."""
    return np.asarray(model.columns.nodes.start != NEVER_UP, np.int64)


def steady(model: Model, slot_node: Ints, up: Ints) -> Steady:
    """State with all slots that stand on a node that is up at work.

    Parameters
    ----------
    slot_node
        [S] node of each slot, -1 for none.
    up
        [N] 1 for nodes that are up.
    """
    farm = model.columns
    placed = slot_node >= 0
    placed[placed] = up[slot_node[placed]] == 1
    state, rest = stand_still(model, np.where(placed, slot_node, -1), up)
    busy = up * farm.nodes.others
    what = model.slot_workload[placed]
    np.add.at(busy, slot_node[placed], farm.workloads.need[what, ACCELERATORS])
    shutdown = farm.heat.laws[farm.nodes.cluster, h.SHUTDOWN]
    hottest = rest.nodes[:, NODE_HOTTEST]
    return Steady(
        load_mw=np.where(up == 1, state.heat.node[:, h.POWER_MW] - state.asks.loss_mw, 0),
        swing_mw=_swings(state),
        power_mw=state.nodes.power_mw,
        rack_mw=state.nodes.rack_mw.copy(),
        hottest_c=hottest,
        busy=busy,
        throttled=rest.nodes[:, NODE_THROTTLED].astype(np.int64),
        overheats=((hottest > shutdown) & (up == 1)).astype(np.int64),
        loop_heat_mw=state.heat.zone[: len(farm.sites.loop_limit_mw), h.HEAT_MW].copy(),
        plant_mw=state.nodes.plant_mw.copy(),
        inlet_c=rest.inlet_c,
    )


def _swings(state: State) -> Ints:
    """What nodes take above their mean in the highest second [N, mW], as fast as they are."""
    asked = state.grid.swing_mw
    if not len(asked):
        return np.zeros(len(state.nodes.up), np.int64)
    speed: Ints = asked[ONE_SECOND] * state.heat.node[:, h.SPEED_NOW] // FULL_PPM
    return speed
