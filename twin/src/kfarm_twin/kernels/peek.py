"""Temperatures as they are at a time, looked at without a trace: nothing is brought up to date.

Whoever looks changes no bit of what is to come, so that a future that is recorded is the same as
one that is not.
"""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.arrays import Farm, State
from kfarm_twin.kernels import heat_columns as h
from kfarm_twin.kernels.exponentials import REFERENCE, pair, value
from kfarm_twin.kernels.heat_nodes import distinct
from kfarm_twin.kernels.heat_zones import load_branch, load_zone
from kfarm_twin.kernels.power import ABSENT_C, KILO
from kfarm_twin.kernels.rng import exp

NS = 1e-9


@inner
def supply_at_c(farm: Farm, state: State, zone: int, at: int) -> float:
    """Supply of a zone at a time not before its last change [degC]."""
    heat = state.heat
    if heat.zone[zone, h.MODE] == h.REGULATED:
        return float(heat.zone_c[zone, h.SUPPLY])
    load_zone(heat, zone)
    return float(heat.w[REFERENCE] + value(heat.w, 2, float(at - heat.zone[zone, h.Z_SINCE]) * NS))


@inner
def _branch_die_c(farm: Farm, state: State, branch: int, at: int) -> float:
    heat, zone = state.heat, farm.heat.branches[branch, h.B_ZONE]
    if heat.zone[zone, h.STILL] == 1:
        return float(heat.branch[branch, h.B_DIE])
    load_branch(farm.heat, heat, branch)
    return float(heat.w[REFERENCE] + value(heat.w, 4, float(at - heat.zone[zone, h.Z_SINCE]) * NS))


@inner
def hottest_at_c(farm: Farm, state: State, node: int, at: int) -> float:
    """A node's hottest device at a time not before its last change [degC]."""
    heat, cluster = state.heat, farm.nodes.cluster[node]
    row = heat.node[node]
    branch, t = row[h.BRANCH], float(at - row[h.SINCE]) * NS
    rate, die_rate = heat.branch[branch, h.RATE], farm.heat.laws[cluster, h.DIE_RATE]
    dies, mixed = exp(-die_rate * t), die_rate * pair(rate, die_rate, t)
    hottest = ABSENT_C
    for device in range(distinct(farm.heat, heat, node)):
        own, watts = heat.own[node, device], float(heat.mw[node, device, h.DRAWN]) * KILO
        rest = heat.node_c[node, h.INLET] + heat.branch[branch, h.R_SINK] * own[h.K_SINK] * watts
        top, away = rest + own[h.R_DIE] * watts, own[h.SINK_C] - rest
        hottest = max(hottest, top + (own[h.DIE_C] - top) * dies + away * mixed)
    return _branch_die_c(farm, state, branch, at) + hottest


@inner
def throttled_devices(farm: Farm, state: State, node: int) -> int:
    """Devices of a node that are slowed."""
    found = 0
    for device in range(farm.nodes.devices[node]):
        if 0 <= state.heat.mw[node, device, h.LEVEL] < h.LEVELS:
            found += 1
    return found


@inner
def hottest_of_all_c(farm: Farm, state: State, at: int) -> float:
    """The hottest device of nodes that are up [degC]."""
    hottest = ABSENT_C
    for node in range(state.nodes.up.shape[0]):
        if state.nodes.up[node] == 1:
            hottest = max(hottest, hottest_at_c(farm, state, node, at))
    return hottest
