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
    nodes, count = state.nodes, state.tally.counts
    if nodes.asks[0, node] == 0:
        nodes.asks[0, node] = 1
        nodes.asks[1, count[ASKING]] = node
        count[ASKING] += 1


@inner
def redraw(farm: Farm, state: State, node: int, power_mw: int) -> None:
    """Let a node draw `power_mw` from now on, and its rack, plant and the whole with it."""
    nodes = state.nodes
    change = power_mw - nodes.power_mw[node]
    if change == 0:
        return
    rack = farm.nodes.rack[node]
    nodes.power_mw[node] = power_mw
    nodes.rack_mw[rack] += change
    if nodes.rack_dirty[0, rack] == 0:
        nodes.rack_dirty[0, rack] = 1
        nodes.rack_dirty[1, state.tally.counts[DIRTY_RACKS]] = rack
        state.tally.counts[DIRTY_RACKS] += 1
    nodes.plant_mw[farm.nodes.plant[node]] += change
    nodes.cluster_mw[farm.nodes.cluster[node]] += change
    state.tally.counts[TOTAL_MW] += change


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
    tally.counts[PEAK_MW] = max(tally.counts[PEAK_MW], tally.counts[TOTAL_MW])
    _note_racks(farm, state)
    for plant in range(state.nodes.plant_mw.shape[0]):
        limit = farm.sites.plant_limit_mw[plant]
        if limit > 0 and state.nodes.plant_mw[plant] / limit > tally.totals[PLANT_LOAD]:
            tally.totals[PLANT_LOAD] = state.nodes.plant_mw[plant] / limit
            tally.counts[PLANT_AT] = plant
