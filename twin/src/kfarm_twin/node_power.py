"""What a node draws in steady state at a load: devices, fans, other parts, power supplies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from kfarm_api.farm import Cluster
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.units import parse_quantity

from kfarm_twin.columns_cluster import ClusterFacts, cluster_facts
from kfarm_twin.electric import chain_at, upstream
from kfarm_twin.heat_facts import FanHeat, NodeHeat
from kfarm_twin.heat_read import node_heat
from kfarm_twin.heat_tables import flow_factor


class _Ref(NamedTuple):
    """What `node_heat` reads of a cluster."""

    cluster: Cluster
    facts: ClusterFacts
    label: str


@dataclass(frozen=True)
class NodePower:
    """Power of one node [W]; `other_w` is overhead without a name, `supply_loss_w` its stages'.

    `device_c` is a device's steady temperature [degC] and `throttled` says that it slowed for it.
    """

    device_w: float
    devices_w: float
    parts_w: dict[str, float]
    other_w: float
    fans_w: float
    supply_loss_w: float
    device_c: float
    throttled: bool

    @property
    def output_w(self) -> float:
        """Behind the power supplies."""
        return self.devices_w + sum(self.parts_w.values()) + self.other_w + self.fans_w

    @property
    def input_w(self) -> float:
        """Drawn by the node."""
        return self.output_w + self.supply_loss_w


def node_power(
    cluster: Cluster, profile: AcceleratorProfile, where: str, load: float, cpu_load: float
) -> NodePower:
    """A node at a load of its devices and one of its other parts [percent].

    A device that would be beyond its throttle limit draws what it can hold there; a power limit of
    the cluster comes first.

    Raises
    ------
    InputError
        When the profile does not fit the cluster's cooling, or a stage is impossible.
    """
    facts = cluster_facts(cluster, profile, where)
    heat = node_heat(_Ref(cluster, facts, cluster.name), profile, [])
    liquid = cluster.cooling.type == "Liquid"
    if liquid:  # the air's warming does not reach devices on cold plates
        heat = replace(heat, device=replace(heat.device, inlet_rise_k_per_w=0.0))
    device, throttled = _device_w(cluster, facts, heat, load)
    parts = {
        part.name: _between(parse_quantity(part.idle), parse_quantity(part.loaded), cpu_load)
        for part in profile.spec.node_overhead.parts
    }
    rest = heat.overhead_w(cpu_load)
    speed = _fan_speed(heat, facts.inlet_c, device, liquid)
    fans = heat.fans.power_w * speed**3 if heat.fans else 0.0
    devices = device * facts.devices
    inside = devices + rest + fans
    stages = cluster.feed.stages if cluster.feed else []
    chain = chain_at(stages, "Node", f"{where}.feed.stages")
    drawn = float(upstream(chain, inside)) if chain else inside
    flow = 1.0 if liquid or heat.fans is None else speed
    return NodePower(
        device_w=device,
        devices_w=devices,
        parts_w=parts,
        other_w=rest - sum(parts.values()),
        fans_w=fans,
        supply_loss_w=drawn - inside,
        device_c=facts.inlet_c + _rise_per_w(heat, flow) * device,
        throttled=throttled,
    )


def _between(idle: float, loaded: float, load: float) -> float:
    return idle + (loaded - idle) * load / 100.0


def _device_w(
    cluster: Cluster, facts: ClusterFacts, heat: NodeHeat, load: float
) -> tuple[float, bool]:
    """Power of a device [W], and whether heat keeps it below what is asked."""
    tdp, idle = facts.tdp_device_mw / 1000.0, facts.idle_device_mw / 1000.0
    asked = _between(idle, tdp, load)
    if cluster.accelerator_power_limit is not None:
        asked = max(min(asked, parse_quantity(cluster.accelerator_power_limit)), idle)
    full = 1.0 if heat.fans is None or heat.fans.target_c is not None else heat.fans.speed
    flow = 1.0 if cluster.cooling.type == "Liquid" else full
    held = (facts.throttle_c - facts.inlet_c) / _rise_per_w(heat, flow)
    return max(min(asked, held), min(asked, idle)), held < asked


def _rise_per_w(heat: NodeHeat, flow: float) -> float:
    """Device over inlet per watt of a device, all alike, at a flow as a share of full [K/W]."""
    device = heat.device
    air = device.inlet_rise_k_per_w * heat.devices / flow
    return device.die_k_per_w + device.sink_k_per_w * flow_factor(flow, device.flow_exponent) + air


def _fan_speed(heat: NodeHeat, inlet_c: float, device_w: float, liquid: bool) -> float:
    """Speed as a share of full: the lowest level that keeps the device at the target.

    Fans of nodes whose devices are cooled by liquid stay at their least.
    """
    fans = heat.fans
    if fans is None:
        return 1.0
    if fans.target_c is None:
        return fans.speed
    levels = _levels(fans)
    if liquid:
        return levels[0]
    for speed in levels:
        if inlet_c + _rise_per_w(heat, speed) * device_w <= fans.target_c:
            return speed
    return 1.0


def _levels(fans: FanHeat) -> list[float]:
    return [float(level) for level in np.linspace(fans.least, 1.0, fans.levels)]
