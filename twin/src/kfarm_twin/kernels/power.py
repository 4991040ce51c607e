"""Power of nodes, racks, plants and the whole, as it is drawn, kept exact between events.

What a node draws is said by the heat engine: its devices as they are let, what is beside them, its
fans. What is asked for stands in `kernels.warmth`.
"""

from __future__ import annotations

from kfarm_twin._jit import inner, kernel, spliced
from kfarm_twin.arrays import (
    ASKING,
    DIRTY_RACKS,
    LOAD_AT,
    PEAK_MW,
    PLANT_AT,
    PLANT_LOAD,
    RACK_AT,
    RACK_LOAD,
    RACK_PEAK,
    TOTAL_MW,
    Farm,
    Ints,
    State,
)
from kfarm_twin.kernels.grid import flow, node_draw
from kfarm_twin.kernels.grid_columns import ASKED, BRANCH, CAPPED, FIRST_MEMBER, LIMIT_MW
from kfarm_twin.kernels.heat_columns import DEVICES_MW, OTHERS_MW, POWER_MW, SPEED_NOW
from kfarm_twin.policy.gangs import NONE

FULL_PPM = 1_000_000
KILO = 0.001
ABSENT_C = -273.15
"""Temperature of what is not there."""


@kernel
def any_positive(column: Ints) -> bool:
    """Whether any value is above zero."""
    for value in column:  # noqa: SIM110 - generators are not compiled
        if value > 0:
            return True
    return False


@inner
def ask(state: State, node: int) -> None:
    """What runs on a node has changed, so that its devices will ask for other power."""
    asks, count = state.asks, state.tally.counts
    if asks.dirty[0, node] == 0:
        asks.dirty[0, node] = 1
        asks.dirty[1, count[ASKING]] = node
        count[ASKING] += 1


@inner
def pace_ppm(farm: Farm, state: State, node: int) -> int:
    """Share of what its devices ask for above idle that the limit of a node's rack allows."""
    rack = farm.grid.node[node, CAPPED]
    if rack == NONE:
        return FULL_PPM
    return int(state.asks.pace_ppm[rack])


@inner
def redraw(farm: Farm, state: State, node: int) -> None:
    """Bring what a node draws up to date with what its parts take, and note its rack."""
    nodes, grid, heat = state.nodes, state.grid, state.heat
    cluster, branch = farm.nodes.cluster[node], farm.grid.node[node, BRANCH]
    parts = heat.node[node, POWER_MW] - state.asks.loss_mw[node]
    changed = False
    for case in range(grid.node_mw.shape[0]):
        power = 0
        if nodes.up[node] == 1:
            power = parts
            if case > 0:
                speed = pace_ppm(farm, state, node) * heat.node[node, SPEED_NOW] // FULL_PPM
                power += grid.swing_mw[case - 1, node] * speed // FULL_PPM
            power = node_draw(farm.grid, cluster, power)
        if power == grid.node_mw[case, node]:
            continue
        changed = True
        grid.branch_mw[case, branch, ASKED] += power - grid.node_mw[case, node]
        grid.node_mw[case, node] = power
    rack = farm.nodes.rack[node]
    if changed and nodes.rack_dirty[0, rack] == 0:
        nodes.rack_dirty[0, rack] = 1
        nodes.rack_dirty[1, state.tally.counts[DIRTY_RACKS]] = rack
        state.tally.counts[DIRTY_RACKS] += 1


@inner
def _group_draws(farm: Farm, state: State, group: int, speed: int) -> int:
    """What the nodes of a group that are up would draw at a speed [mW], fans as they turn now."""
    total = 0
    for at in range(farm.grid.group[group, FIRST_MEMBER], farm.grid.group[group + 1, FIRST_MEMBER]):
        node = farm.grid.member[at]
        if state.nodes.up[node] == 1:
            row = state.heat.node[node]
            fans = row[POWER_MW] - row[DEVICES_MW] - row[OTHERS_MW]
            asked = state.asks.fixed_mw[node] + state.asks.live_mw[node] * speed // FULL_PPM
            total += node_draw(farm.grid, farm.nodes.cluster[node], asked + max(fans, 0))
    return total


@inner
def group_speed(farm: Farm, state: State, group: int) -> int:
    """Share of what they ask for above idle that the devices of a capped rack may draw [ppm]."""
    limit = farm.grid.group[group, LIMIT_MW]
    if _group_draws(farm, state, group, FULL_PPM) <= limit:
        return FULL_PPM
    low, high = 0, FULL_PPM
    while high - low > 1:
        middle = (low + high) // 2
        if _group_draws(farm, state, group, middle) <= limit:
            low = middle
        else:
            high = middle
    return int(low)


@spliced
def _note_racks(farm: Farm, state: State) -> None:
    nodes, tally = state.nodes, state.tally
    for at in range(tally.counts[DIRTY_RACKS]):
        rack = nodes.rack_dirty[1, at]
        nodes.rack_dirty[0, rack] = 0
        power = nodes.rack_mw[rack]
        if power > tally.counts[RACK_PEAK]:
            tally.counts[RACK_PEAK] = power
            tally.counts[RACK_AT] = rack
        limit = farm.sites.rack_limit_mw[rack]
        if limit > 0 and power / limit > tally.totals[RACK_LOAD]:
            tally.totals[RACK_LOAD] = power / limit
            tally.counts[LOAD_AT] = rack
    tally.counts[DIRTY_RACKS] = 0


@inner
def note_power(farm: Farm, state: State) -> None:
    """Update the extremes of power with the state that is about to last for a while."""
    tally = state.tally
    if tally.counts[DIRTY_RACKS] == 0:
        return
    flow(farm, state)
    tally.counts[PEAK_MW] = max(tally.counts[PEAK_MW], tally.counts[TOTAL_MW])
    _note_racks(farm, state)
    for plant in range(state.nodes.plant_mw.shape[0]):
        limit = farm.sites.plant_limit_mw[plant]
        if limit > 0 and state.nodes.plant_mw[plant] / limit > tally.totals[PLANT_LOAD]:
            tally.totals[PLANT_LOAD] = state.nodes.plant_mw[plant] / limit
            tally.counts[PLANT_AT] = plant
