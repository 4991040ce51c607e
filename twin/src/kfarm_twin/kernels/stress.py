"""Heat that wears: hazards of nodes follow the temperature of their devices, where they should."""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.arrays import NOW, OTHERS_LOST, Farm, State
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.kernels import unit_columns as u
from kfarm_twin.kernels.fleet_clocks import set_stress, stress_at
from kfarm_twin.kernels.gangs import RUNNING
from kfarm_twin.kernels.power import FULL_PPM, KILO, pace_ppm
from kfarm_twin.policy.gangs import NONE


@inner
def _busiest_mw(farm: Farm, state: State, node: int) -> int:
    """Power of the busiest device of a node [mW]."""
    cluster = farm.nodes.cluster[node]
    idle, asked = farm.clusters.idle_device_mw[cluster], 0
    others = farm.loads.device_mw.shape[0] - 1
    if farm.nodes.others[node] > state.nodes.health[node, OTHERS_LOST]:
        asked = farm.loads.device_mw[others, cluster] - idle
    slot = state.nodes.first_slot[node]
    while slot != NONE:
        unit = farm.units.slot_unit[slot]
        if state.units.row[unit, u.PHASE] == RUNNING:
            workload = farm.units.workload[unit]
            asked = max(asked, farm.loads.device_mw[workload, cluster] - idle)
        slot = state.units.next_slot[slot]
    return int(idle + asked * pace_ppm(farm, state, node) // FULL_PPM)


@inner
def feel_heat(farm: Farm, state: State) -> bool:
    """Let the hazards of nodes that are up follow their temperature; False without room.

    Nothing is done for clusters whose hazards do not go with temperature.
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
            rise = farm.clusters.resistance_k_per_w[cluster] * (
                _busiest_mw(farm, state, node) * KILO
            )
            celsius = farm.clusters.inlet_c[cluster] + rise
            set_stress(fleet, shop, node, stress_at(fleet, cluster, celsius))
    return bool(shop.now[c.FULL] == 0)
