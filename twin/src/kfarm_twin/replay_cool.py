"""Thermal-aware placement's view of a farm: headroom of each node, and what heat does to it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.heat_tables import LEAST_FLOW, HeatCluster, HeatFarm, flow_factor
from kfarm_twin.kernels import bits, cool
from kfarm_twin.policy.coolest import STEP_MK, STEPS

if TYPE_CHECKING:
    from kfarm_twin.replay import Shape
    from kfarm_twin.replay_heat import HotNodes

NANO = 1_000_000_000
MOST_NK_PER_W = 100_000_000
"""0.1 K/W: racks and zones are far below."""
NO_LIMIT_C = 100.0
"""Stands for the limit of devices that have none [degC]: it moves all headrooms alike."""


def steps_of(shape: Shape) -> int:
    """Steps of headroom that the index of a farm tells apart."""
    keys = (shape.gpus_per_node + 1) * shape.nodes
    return int(max(min(STEPS, bits.WORD**bits.LEVELS // keys), 1))


def add_headroom(nodes: HotNodes, shape: Shape, table: Ints, room: Ints) -> Ints:
    """Write what thermal-aware placement knows of nodes into their table, and return longer rooms.

    Parameters
    ----------
    table
        [N, ...] of `pool.Pool.node`.
    room
        [2, 2 + K, R] of `pool.Pool.room`; made longer by `cool.ROWS`, and wider where there are
        more racks or zones than domains.
    """
    racks = len(nodes.farm.racks)
    width = max(room.shape[2], racks + 1, len(nodes.farm.zones))
    longer = np.zeros((2, room.shape[1] + cool.ROWS, width), np.int64)
    table[:, cool.HEADROOM : cool.OWN + 1] = _facts(nodes)
    table[:, cool.RACK], table[:, cool.ZONE] = nodes.rack, nodes.inlet_zone
    table[:, cool.MEMBER] = np.argsort(nodes.rack, kind="stable")
    _write_groups(nodes.farm, longer)
    sizes = np.bincount(nodes.rack, minlength=racks)
    longer[0, cool.FIRST, 1 : racks + 1] = np.cumsum(sizes)
    longer[0, cool.HEAD, 0] = steps_of(shape)
    longer[1, cool.HEAD, 0] = _most_headroom(table, longer)
    return longer


def _most_headroom(table: Ints, room: Ints) -> int:
    """Headroom of the best node, all idle [mK]; as `cool.headroom`."""
    rack, zone = table[:, cool.RACK], table[:, cool.ZONE]
    air = room[0, cool.MW, rack] * room[0, cool.NK_PER_W, rack] // NANO
    air += table[:, cool.OWN] * table[:, cool.RISE] // NANO
    known = table[:, cool.HEADROOM] - room[1, cool.EXCESS, zone]
    return int((known - table[:, cool.BREATHES] * air).max())


def worst_k_per_w(cluster: HeatCluster) -> float:
    """Resistance of the worst place of a node, fans at their fastest [K/W]."""
    flow = cluster.fans.levels[-1] if cluster.fans and not cluster.liquid else 1.0
    sink = cluster.sink_k_per_w * flow_factor(flow, cluster.flow_exponent)
    die_of, sink_of = cluster.die_factors or (1.0,), cluster.sink_factors or (1.0,)
    return max(
        cluster.die_k_per_w * die_of[i % len(die_of)] + sink * sink_of[i % len(sink_of)]
        for i in range(cluster.devices)
    )


def _facts(nodes: HotNodes) -> Ints:
    """Columns HEADROOM to OWN of the nodes."""
    rows = []
    for index, cluster in enumerate(nodes.farm.clusters):
        limit = min(cluster.throttle_c, cluster.shutdown_c)
        limit = limit if math.isfinite(limit) else NO_LIMIT_C
        full = cluster.idle_w + nodes.busy_w[index]
        flow = cluster.fans.levels[-1] if cluster.fans and not cluster.liquid else 1.0
        rise = 0.0 if cluster.liquid else cluster.inlet_rise_k_per_w / max(flow, LEAST_FLOW)
        own = rise * cluster.idle_w * cluster.devices
        share = cluster.liquid_share if cluster.liquid else 0.0
        other = cluster.overhead_liquid_share if cluster.liquid else 0.0
        rows.append(
            [
                (limit - worst_k_per_w(cluster) * full - own) * 1e3,
                nodes.busy_w[index] * 1e3,
                nodes.other_w[index] / cluster.devices * 1e3,
                (1.0 - share) * 1e6,
                (1.0 - other) * 1e6,
                (share if cluster.liquid else 1.0) * 1e6,
                (other if cluster.liquid else 1.0) * 1e6,
                rise * 1e9,
                0.0 if cluster.liquid else 1.0,
                0.0,
            ]
        )
    facts = np.array(rows)[nodes.cluster]
    setpoint = np.array([zone.setpoint_c for zone in nodes.farm.zones])
    facts[:, 0] -= setpoint[nodes.inlet_zone] * 1e3
    return np.rint(facts).astype(np.int64)


def _idle_w(farm: HeatFarm) -> tuple[Floats, Floats]:
    """Heat to the air of each rack, and to each zone, all nodes idle and fans at full speed [W]."""
    rack = np.array([rack.other_w for rack in farm.racks])
    zone = np.array([zone.other_w for zone in farm.zones])
    for cluster in farm.clusters:
        devices = cluster.devices * cluster.idle_w
        liquid = 0.0
        if cluster.liquid:
            liquid = cluster.liquid_share * devices
            liquid += cluster.overhead_liquid_share * cluster.overhead_w
            np.add.at(zone, cluster.liquid_zone, liquid)
        fans = cluster.fans.full_w * cluster.fans.levels[-1] ** 3 if cluster.fans else 0.0
        air = devices + cluster.overhead_w + fans - liquid
        np.add.at(rack, cluster.rack, air)
        np.add.at(zone, cluster.air_zone[cluster.air_zone >= 0], air)
    return rack, zone


def _write_groups(farm: HeatFarm, room: Ints) -> None:
    """Rows of racks (level 0) and zones (level 1)."""
    for level, watts in enumerate(_idle_w(farm)):
        room[level, cool.MW, : len(watts)] = np.rint(watts * 1e3)
    for index, rack in enumerate(farm.racks):
        room[0, cool.NK_PER_W, index] = _nanokelvin(rack.inlet_k_per_w)
    for index, zone in enumerate(farm.zones):
        slack = zone.setpoint_c - farm.plants[zone.plant].target_c
        room[1, cool.NK_PER_W, index] = _nanokelvin(1.0 / zone.u_w_per_k)
        room[1, cool.SLACK, index] = round(slack * 1e3)
        warmed = room[1, cool.MW, index] * room[1, cool.NK_PER_W, index] // NANO
        excess = max(int(warmed) - round(slack * 1e3), 0)
        room[1, cool.EXCESS, index] = excess // STEP_MK * STEP_MK


def _nanokelvin(kelvin: float) -> int:
    """Per watt [nK/W]; cut where products would not fit."""
    return min(round(kelvin * 1e9), MOST_NK_PER_W)
