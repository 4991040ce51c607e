"""The cooling of a farm under other inputs, and whether nothing can throttle under them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kfarm_twin.arrays import Farm, Floats
from kfarm_twin.heat_describe import Described, DescribedHeat, describe_heat
from kfarm_twin.heat_tables import HeatCluster, HeatFarm, HeatPlant, HeatRack, HeatZone
from kfarm_twin.kernels import heat_columns as h
from kfarm_twin.priors import (
    ONE,
    Amounts,
    approach_key,
    capacity_key,
    chiller_key,
    die_key,
    recirculation_key,
    sink_time_key,
)

MOST_DIE_SHARE = 0.95
"""Of the whole resistance, however much is drawn."""
MOST_RECIRCULATION = 0.9


def _amount(amounts: Amounts, key: str) -> float:
    return float(amounts.get(key, ONE))


def _cluster(cluster: HeatCluster, ref: Described, amounts: Amounts) -> HeatCluster:
    """Another share of the die in the same whole resistance, another sink time."""
    whole = cluster.die_k_per_w + cluster.sink_k_per_w
    die = min(cluster.die_k_per_w * _amount(amounts, die_key(ref)), MOST_DIE_SHARE * whole)
    if die == cluster.die_k_per_w and sink_time_key(ref) not in amounts:
        return cluster
    return replace(
        cluster,
        die_k_per_w=die,
        sink_k_per_w=whole - die,
        sink_s=cluster.sink_s * _amount(amounts, sink_time_key(ref)),
    )


def _zone(zone: HeatZone, ref: Described, liquid: bool, amounts: Amounts) -> HeatZone:
    capacity = _amount(amounts, capacity_key(ref, liquid))
    approach = _amount(amounts, approach_key(ref, liquid))
    return replace(zone, u_w_per_k=zone.u_w_per_k * capacity / approach)


def _rack(rack: HeatRack, ref: Described, amounts: Amounts) -> HeatRack:
    share = rack.recirculation * _amount(amounts, recirculation_key(ref))
    return replace(rack, recirculation=min(share, MOST_RECIRCULATION))


def _plant(plant: HeatPlant, amounts: Amounts) -> HeatPlant:
    return replace(plant, unit_w=plant.unit_w * _amount(amounts, chiller_key(plant.name)))


def varied_heat(refs: Sequence[Described], amounts: Amounts) -> DescribedHeat:
    """The cooling of clusters whose figures are already those under other inputs."""
    found = describe_heat(refs)
    farm = found.farm
    homes = [
        ref for ref, heat in zip(refs, farm.clusters, strict=True) for _ in np.unique(heat.rack)
    ]
    return replace(
        found,
        farm=HeatFarm(
            clusters=[
                _cluster(c, ref, amounts) for c, ref in zip(farm.clusters, refs, strict=True)
            ],
            racks=[_rack(rack, ref, amounts) for rack, ref in zip(farm.racks, homes, strict=True)],
            zones=[
                _zone(zone, refs[int(cluster)], bool(liquid), amounts)
                for zone, cluster, liquid in zip(
                    farm.zones, found.zone_cluster, found.zone_liquid, strict=True
                )
            ],
            plants=[_plant(plant, amounts) for plant in farm.plants],
            faults=farm.faults,
        ),
    )


def _most_w(farm: Farm, node_fans_w: Floats) -> tuple[Floats, Floats]:
    """Of each cluster the most that one device, and what is beside them in a node, may draw [W]."""
    usable = farm.loads.rank >= 0
    usable[-1] = farm.nodes.others.any()
    need = np.maximum(farm.workloads.need[:, :1], 1)
    device = np.where(usable, farm.loads.device_mw, 0).max(axis=0)
    beside = np.where(usable, -(-farm.loads.beside_mw // need), 0).max(axis=0)
    most = np.maximum(device, farm.clusters.idle_device_mw) / 1000.0
    devices = farm.heat.rules[:, h.DEVICES]
    return most, (farm.clusters.overhead_mw + devices * beside) / 1000.0 + node_fans_w


def never_throttles(farm: Farm) -> bool:
    """Whether no device can reach its limit, whichever nodes are up and wherever pods stand.

    While nothing of the cooling fails; devices that differ by chance are never sure.
    """
    heat = farm.heat
    laws, rules, branches, paths = heat.laws, heat.rules, heat.branches, heat.paths
    if (laws[:, h.SPREAD] > 0.0).any() or len(heat.faults):
        return False
    own = branches[:, h.B_CLUSTER]
    fans = np.zeros(len(rules))
    np.maximum.at(fans, own, paths[:, h.FAN_MW] / 1000.0)
    device, beside = _most_w(farm, fans)
    devices = rules[:, h.DEVICES] * device
    liquid = laws[:, h.LIQUID_SHARE] * devices + laws[:, h.LIQUID_OTHER] * (beside - fans)
    air = devices + beside - liquid
    if not _keep_setpoints(farm, air, liquid):
        return False
    home = heat.nodes[:, h.CLUSTER]
    rack_air = np.zeros(len(heat.racks))
    np.add.at(rack_air, heat.nodes[:, h.RACK], air[home])
    rack_air = rack_air + heat.racks[:, 1] / 1000.0
    inlet = heat.zones[heat.nodes[:, h.INLET_ZONE], h.SETPOINT]
    rise = heat.racks[:, 0] * rack_air
    inlet = inlet + np.where(rules[home, h.LIQUID] == 1, 0.0, rise[heat.nodes[:, h.RACK]])
    worst = np.full(len(rules), -math.inf)
    np.maximum.at(worst, home, inlet)
    for branch in range(len(branches)):
        cluster, level = branches[branch, h.B_CLUSTER], branches[branch, h.B_LEVEL]
        if level < rules[cluster, h.FAN_LEVELS] - 1:
            continue  # fans that could turn faster do
        factors = heat.factors[cluster, : rules[cluster, h.DEVICES]].max(axis=0)
        resistance = laws[cluster, h.DIE] * factors[0] + paths[branch, h.SINK] * factors[1]
        hottest = worst[cluster] + paths[branch, h.RISE] * devices[cluster]
        if hottest + resistance * device[cluster] > laws[cluster, h.THROTTLE]:
            return False
    return True


def _keep_setpoints(farm: Farm, air: Floats, liquid: Floats) -> bool:
    """Whether all zones and plants carry the most heat that nodes may give."""
    heat = farm.heat
    nodes, home = heat.nodes, heat.nodes[:, h.CLUSTER]
    into = heat.zones[:, h.OTHER_MW] / 1000.0
    for column, share in ((h.AIR_ZONE, air), (h.LIQUID_ZONE, liquid)):
        there = nodes[:, column] >= 0
        np.add.at(into, nodes[there, column], share[home[there]])
    first = heat.members[1][heat.first[1, : len(heat.racks)]]
    np.add.at(into, nodes[first, h.AIR_ZONE], heat.racks[:, 1] / 1000.0)
    plant = heat.zones[:, h.PLANT].astype(np.int64)
    water = heat.plants[plant, h.TARGET_C]
    if (water + into / heat.zones[:, h.U] > heat.zones[:, h.SETPOINT]).any():
        return False
    total = np.zeros(len(heat.plants))
    np.add.at(total, plant, into)
    total = total + heat.plants[:, h.PLANT_OTHER_MW] / 1000.0
    return bool((total <= heat.plants[:, h.UNIT_W] * heat.plants[:, h.PLANT_UNITS]).all())
