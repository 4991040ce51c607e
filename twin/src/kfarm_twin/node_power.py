"""What a node draws in steady state at a load: devices, fans, other parts, power supplies."""

from __future__ import annotations

from dataclasses import dataclass

from kfarm_api.farm import Cluster
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.thermal import Fans
from kfarm_api.units import parse_quantity

from kfarm_twin.columns_cluster import ClusterFacts, cluster_facts
from kfarm_twin.electric import chain_at, upstream

DIE_SHARE = 1.0 / 3.0
"""Part of the thermal resistance between die and sink where the profile names none (assumption)."""
FLOW_EXPONENT = 0.8
"""Sink's resistance falls as flow to this power where the profile says nothing (turbulent flow)."""


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
    device, throttled = _device_w(cluster, facts, load)
    overhead = profile.spec.node_overhead
    parts = {
        part.name: _between(parse_quantity(part.idle), parse_quantity(part.loaded), cpu_load)
        for part in overhead.parts
    }
    rest = _between(parse_quantity(overhead.idle), parse_quantity(overhead.loaded), cpu_load)
    speed = _fan_speed(cluster, profile, facts, device)
    fans = parse_quantity(overhead.fans.power) * speed**3 if overhead.fans else 0.0
    devices = device * facts.devices
    inside = devices + rest + fans
    stages = cluster.feed.stages if cluster.feed else []
    chain = chain_at(stages, "Node", f"{where}.feed.stages")
    drawn = float(upstream(chain, inside)) if chain else inside
    return NodePower(
        device_w=device,
        devices_w=devices,
        parts_w=parts,
        other_w=rest - sum(parts.values()),
        fans_w=fans,
        supply_loss_w=drawn - inside,
        device_c=facts.inlet_c + _resistance(cluster, profile, facts, speed) * device,
        throttled=throttled,
    )


def _between(idle: float, loaded: float, load: float) -> float:
    return idle + (loaded - idle) * load / 100.0


def _device_w(cluster: Cluster, facts: ClusterFacts, load: float) -> tuple[float, bool]:
    """Power of a device [W], and whether heat keeps it below what is asked."""
    tdp, idle = facts.tdp_device_mw / 1000.0, facts.idle_device_mw / 1000.0
    asked = _between(idle, tdp, load)
    if cluster.accelerator_power_limit is not None:
        asked = max(min(asked, parse_quantity(cluster.accelerator_power_limit)), idle)
    held = (facts.throttle_c - facts.inlet_c) / facts.resistance_k_per_w
    return max(min(asked, held), min(asked, idle)), held < asked


def _sink_share(cluster: Cluster, profile: AcceleratorProfile) -> tuple[float, float]:
    """Part of the resistance between sink and coolant, and its exponent of flow."""
    liquid = cluster.cooling.type == "Liquid"
    resistance = profile.spec.thermal_resistance
    whole = resistance.liquid if liquid else resistance.air
    thermal = profile.spec.thermal
    path = None if thermal is None else (thermal.liquid if liquid else thermal.air)
    if path is None or whole is None:
        return 1.0 - DIE_SHARE, FLOW_EXPONENT
    share = 1.0 - parse_quantity(path.die) / parse_quantity(whole)
    return share, parse_quantity(path.flow_exponent)


def _resistance(
    cluster: Cluster, profile: AcceleratorProfile, facts: ClusterFacts, speed: float
) -> float:
    """Device to coolant at a fan speed [K/W]; liquid does not depend on the node's fans."""
    if cluster.cooling.type == "Liquid" or profile.spec.node_overhead.fans is None:
        return facts.resistance_k_per_w
    share, exponent = _sink_share(cluster, profile)
    return float(facts.resistance_k_per_w * (1.0 - share + share * speed**-exponent))


def _fan_speed(
    cluster: Cluster, profile: AcceleratorProfile, facts: ClusterFacts, device_w: float
) -> float:
    """Speed as a share of full: the lowest level that keeps the device at the target."""
    fans = profile.spec.node_overhead.fans
    if fans is None:
        return 1.0
    if fans.speed is not None:
        return fans.speed / 100.0
    levels = _levels(fans)
    if cluster.cooling.type == "Liquid" or fans.target is None:
        return levels[0]
    target = parse_quantity(fans.target)
    for speed in levels:
        rise = _resistance(cluster, profile, facts, speed) * device_w
        if facts.inlet_c + rise <= target:
            return speed
    return 1.0


def _levels(fans: Fans) -> list[float]:
    step = (100.0 - fans.least) / (fans.levels - 1)
    return [(fans.least + step * index) / 100.0 for index in range(fans.levels)]
