"""What nodes draw when their cooling is tried: the same load everywhere, or a plan's pods."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kfarm_twin.arrays import Ints
from kfarm_twin.compile import Model
from kfarm_twin.heat_describe import DescribedHeat

FULL_LOAD = 100.0


@dataclass(frozen=True)
class CoolingLoad:
    """Asked power of each device and of what is beside them, fans left out [mW].

    Attributes
    ----------
    device_mw
        [N, D]; 0 for devices that a node has not.
    overhead_mw
        [N].
    busy
        [N, D] 1 for devices at work.
    up
        [N] 1 for nodes that are up.
    """

    device_mw: Ints
    overhead_mw: Ints
    busy: Ints
    up: Ints


def _empty(heat: DescribedHeat) -> CoolingLoad:
    """All nodes up and idle."""
    nodes = sum(cluster.nodes for cluster in heat.farm.clusters)
    most = max(cluster.devices for cluster in heat.farm.clusters)
    load = CoolingLoad(
        device_mw=np.zeros((nodes, most), np.int64),
        overhead_mw=np.zeros(nodes, np.int64),
        busy=np.zeros((nodes, most), np.int64),
        up=np.ones(nodes, np.int64),
    )
    first = 0
    for cluster in heat.farm.clusters:
        own = slice(first, first + cluster.nodes)
        load.device_mw[own, : cluster.devices] = round(cluster.idle_w * 1000)
        load.overhead_mw[own] = round(cluster.overhead_w * 1000)
        first += cluster.nodes
    return load


def uniform_load(heat: DescribedHeat, percent: float = FULL_LOAD) -> CoolingLoad:
    """All devices and nodes at `percent` between idle and full."""
    load, first = _empty(heat), 0
    for cluster, figures in zip(heat.farm.clusters, heat.clusters, strict=True):
        own = slice(first, first + cluster.nodes)
        load.device_mw[own, : cluster.devices] = round(figures.node.device_w(percent) * 1000)
        load.overhead_mw[own] = round(figures.node.overhead_w(percent) * 1000)
        load.busy[own, : cluster.devices] = 1
        first += cluster.nodes
    return load


def placed_load(heat: DescribedHeat, model: Model, slot_node: Ints, up: Ints) -> CoolingLoad:
    """All pods of a plan at work where they stand, and what others use at full load.

    Parameters
    ----------
    slot_node
        [S] node of each slot, or -1.
    up
        [N] 1 for nodes that are up.
    """
    load = _empty(heat)
    nodes = model.columns.nodes
    filled = np.zeros(model.nodes, np.int64)
    asked: dict[int, list[tuple[int, float, float]]] = {}
    for used in np.flatnonzero(nodes.others).tolist():
        asked[used] = [(int(nodes.others[used]), FULL_LOAD, FULL_LOAD)]
    for slot, node in enumerate(slot_node.tolist()):
        if node >= 0:
            pod = model.workloads[int(model.slot_workload[slot])]
            beside = pod.load if pod.cpu_load is None else pod.cpu_load
            asked.setdefault(node, []).append((pod.accelerators_per_pod, pod.load, beside))
    for node, pods in asked.items():
        figures = heat.clusters[int(nodes.cluster[node])].node
        for devices, percent, cpu in pods:
            first = int(filled[node])
            own = slice(first, min(first + devices, figures.devices))
            load.device_mw[node, own] = round(figures.device_w(percent) * 1000)
            load.busy[node, own] = 1
            span = figures.overhead_loaded_w - figures.overhead_idle_w
            share = devices / figures.devices
            load.overhead_mw[node] += round(span * cpu / 100.0 * share * 1000)
            filled[node] += devices
    load.up[:] = up
    load.busy[up == 0] = 0
    return load
