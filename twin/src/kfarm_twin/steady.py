"""The farm with all workloads running: power, heat and throttling of one moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kfarm_twin.arrays import ACCELERATORS, NEVER_UP, Floats, Ints
from kfarm_twin.compile import Model
from kfarm_twin.kernels.grid_columns import FARM, ONE_SECOND, RACK_CLUSTER
from kfarm_twin.kernels.power import FULL_PPM, loop_speed_ppm
from kfarm_twin.steady_grid import capped_paces, node_draws, rack_draws


@dataclass(frozen=True)
class Steady:
    """One moment; arrays per node [N], per loop [U], per plant [F].

    Attributes
    ----------
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
    loop_asked_mw: Ints
    loop_speed_ppm: Ints
    plant_mw: Ints


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
    farm, nodes = model.columns, model.columns.nodes
    count, loops = model.nodes, len(farm.sites.loop_limit_mw)
    placed = slot_node >= 0
    placed[placed] = up[slot_node[placed]] == 1
    where, what = slot_node[placed], model.slot_workload[placed]
    cluster = nodes.cluster
    others = len(farm.loads.rank) - 1
    pods_mw = np.zeros(count, np.int64)
    np.add.at(pods_mw, where, farm.loads.pod_mw[what, cluster[where]])
    pods_mw += up * nodes.others * farm.loads.pod_mw[others][cluster]
    busy = up * nodes.others
    np.add.at(busy, where, farm.workloads.need[what, ACCELERATORS])
    idle_mw = up * farm.clusters.base_mw[cluster]
    asked = _sum(nodes.loop, idle_mw + pods_mw, loops)
    loop_idle = _sum(nodes.loop, idle_mw, loops)
    limits = farm.sites.loop_limit_mw
    speeds = [
        loop_speed_ppm(int(limit), int(idle), int(total - idle))
        for limit, idle, total in zip(limits, loop_idle, asked, strict=True)
    ]
    speed = np.array(speeds, np.int64)
    pace = capped_paces(model, idle_mw, pods_mw, up, speed[nodes.loop])
    load = idle_mw + pods_mw * pace // FULL_PPM
    power = node_draws(model, load, up)
    racks = rack_draws(model, power)
    hottest, throttled = _devices(model, where, what, up, (speed[nodes.loop], pace))
    return Steady(
        load_mw=load,
        swing_mw=_swings(model, where, what) * pace // FULL_PPM,
        power_mw=power,
        rack_mw=racks,
        hottest_c=hottest,
        busy=busy,
        throttled=throttled,
        loop_asked_mw=asked,
        loop_speed_ppm=speed,
        plant_mw=_sum(
            farm.grid.cluster[farm.grid.rack[:-1, RACK_CLUSTER], FARM],
            racks,
            len(farm.sites.plant_limit_mw),
        ),
    )


def _swings(model: Model, where: Ints, what: Ints) -> Ints:
    """What pods on nodes draw above their mean in their highest second [N, mW]."""
    found, table = np.zeros(model.nodes, np.int64), model.columns.grid.swing_mw
    if len(table):
        swing = table[ONE_SECOND, what, model.columns.nodes.cluster[where]]
        np.add.at(found, where, swing)
    return found


def _sum(index: Ints, values: Ints, length: int) -> Ints:
    total = np.zeros(length, np.int64)
    np.add.at(total, index, values)
    return total


def _devices(
    model: Model, where: Ints, what: Ints, up: Ints, paces: tuple[Ints, Ints]
) -> tuple[Floats, Ints]:
    """Hottest device and number of throttled devices of each node.

    `paces` are those that heat allows and, at most as much, those that power allows too [N, ppm].
    """
    farm, nodes = model.columns, model.columns.nodes
    clusters, cluster = farm.clusters, nodes.cluster
    others = len(farm.loads.rank) - 1
    used = np.flatnonzero(up * nodes.others)
    where = np.concatenate([where, used])
    what = np.concatenate([what, np.full(len(used), others)])
    pods = np.concatenate([np.ones(len(where) - len(used), np.int64), nodes.others[used]])
    home, cool, pace = cluster[where], paces[0][where], paces[1][where]
    idle = clusters.idle_device_mw[home]
    device_mw = idle + (farm.loads.device_mw[what, home] - idle) * pace // FULL_PPM
    hottest = clusters.inlet_c[cluster] + clusters.resistance_k_per_w[cluster] * (
        up * clusters.idle_device_mw[cluster] * 0.001
    )
    running = clusters.inlet_c[home] + clusters.resistance_k_per_w[home] * (device_mw * 0.001)
    np.maximum.at(hottest, where, running)
    slowed = (cool < FULL_PPM) | (farm.loads.hot[what, home] == 1)
    throttled = np.zeros(model.nodes, np.int64)
    np.add.at(throttled, where, slowed * pods * farm.workloads.need[what, ACCELERATORS])
    return hottest, throttled
