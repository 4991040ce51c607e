"""Heat that wears: hazards of nodes follow the temperature of their devices, where they should."""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.arrays import NOW, Farm, State
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.kernels.fleet_clocks import set_stress, stress_at
from kfarm_twin.kernels.warmth import rest_c


@inner
def feel_heat(farm: Farm, state: State) -> bool:
    """Let the hazards of nodes that are up follow their temperature; False without room.

    Taken is the temperature that a node's hottest device tends to with its present power, air and
    coolant: it is there within minutes, and hazards act over days. Nothing is done for clusters
    whose hazards do not go with temperature.
    """
    fleet, shop = farm.fleet, state.fleet
    for cluster in range(fleet.clusters.shape[0]):
        if fleet.rates[cluster, c.STRESS_LAW] == c.NO_STRESS:
            continue
        shop.now[c.TIME] = state.tally.counts[NOW]
        first = fleet.clusters[cluster, c.FIRST_NODE]
        for node in range(first, first + fleet.clusters[cluster, c.NODES]):
            if shop.node[node, c.CAUSES] > 0:
                continue
            celsius = rest_c(farm, state, node)
            set_stress(fleet, shop, node, stress_at(fleet, cluster, celsius))
    return bool(shop.now[c.FULL] == 0)
