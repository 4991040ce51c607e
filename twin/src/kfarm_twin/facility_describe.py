"""From a farm's manifest to the numbers of its facility, and what was assumed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from kfarm_api.farm import Cluster, Farm, Plant
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.thermal import Loop, PlantDetails
from kfarm_api.units import format_quantity, parse_decimal, parse_quantity

from kfarm_twin.arrays import Floats
from kfarm_twin.calendar_year import HOURS_PER_YEAR
from kfarm_twin.climate import Climate, climate_named
from kfarm_twin.electric import chain_at, upstream
from kfarm_twin.facility import ClusterPart, Facility
from kfarm_twin.heat_read import plant_heat
from kfarm_twin.plant import PlantNumbers, plant_climate, plant_numbers
from kfarm_twin.request import InputError
from kfarm_twin.tariff import Tariff, tariff_named

KOREA_G_PER_KWH = 417.3
"""Carbon intensity of Korea's grid, 2023, at the point of use [gCO2/kWh] (facts, krgrid, High)."""
AIR_UNIT_W, AIR_FAN_SHARE = 600e3, 19.0 / 600.0
"""Largest fan wall where a cluster describes no air handlers [W], and power of its fans over its
capacity: 14 to 24 kW of 600 kW (facts, Low)."""
AIR_SPARE = 1.1
"""Capacity of such walls over the heat at nameplate (assumption)."""
CDU_SHARE = 0.00612
"""Own power of a CDU over its capacity where no loop is described (CoolIT CHx2000: 12.24 kW of
2 MW; facts, cdu, Medium)."""
PLANT_ABOVE = 1.2
"""Size of a plant that a farm does not describe, over the heat at nameplate (assumption)."""


def facility_of(
    farm: Farm,
    profiles: Sequence[AcceleratorProfile] | dict[str, AcceleratorProfile],
    *,
    climate: Climate | None = None,
    tariff: Tariff | None = None,
    carbon_g_per_kwh: Floats | None = None,
    warm_water: bool = False,
) -> Facility:
    """Numbers of a farm's facility; what is passed goes before what the manifest names.

    Parameters
    ----------
    profiles
        At least those that the clusters name.
    warm_water
        Coolant loops have a water circuit of their own, as warm as their setpoint allows, so that
        outdoor air takes their heat on more days than that of the rooms.

    Raises
    ------
    InputError
        When a climate, tariff or profile is not known, or a figure is impossible.
    """
    where = f"{farm.kind}/{farm.metadata.name}: spec"
    known = (
        profiles
        if isinstance(profiles, dict)
        else {profile.metadata.name: profile for profile in profiles}
    )
    told: list[str] = []
    parts = tuple(
        _cluster_part(cluster, known, f"{where}.clusters[{index}]", told)
        for index, cluster in enumerate(farm.spec.clusters)
    )
    weather = climate or _climate(farm, where, told)
    plant = _plant(farm, parts, where, told)
    power = farm.spec.power
    circuits = _warm_circuits(farm, plant) if warm_water else ()
    stages = power.stages if power else []
    if not stages and not any(part.pdu for part in parts):
        told.append("no stages are given from the PDUs outwards; nothing is lost there")
    return Facility(
        name=farm.metadata.name,
        clusters=parts,
        plant=plant,
        climate=weather,
        plant_year=plant_climate(plant, weather.dry_c, weather.wet_c, weather.pressure_pa),
        tariff=tariff or _tariff(farm, where, told),
        carbon_g_per_kwh=_carbon(farm, told) if carbon_g_per_kwh is None else carbon_g_per_kwh,
        water_price=parse_quantity(power.water_price) if power and power.water_price else math.nan,
        feed=chain_at(stages, "Feed", f"{where}.power.stages"),
        site=chain_at(stages, "Site", f"{where}.power.stages"),
        other_w=parse_quantity(power.other_load) if power else 0.0,
        capacity_w=parse_quantity(power.capacity) if power and power.capacity else math.inf,
        assumptions=grouped(told, [part.name for part in parts]),
        warm_circuits=circuits,
        warm_free=warm_free(circuits, weather.dry_c, weather.wet_c, weather.pressure_pa)
        if circuits
        else None,
    )


def grouped(told: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Sentences that clusters have in common ("cluster: sentence") once, with all their names."""
    found: dict[str, list[str]] = {}
    for text in told:
        name, _, rest = text.partition(": ")
        key, label = (rest, name) if name in names else (text, "")
        found.setdefault(key, []).append(label)
    return tuple(
        f"{', '.join(dict.fromkeys(labels))}: {key}" if labels[0] else key
        for key, labels in found.items()
    )


def _warm_circuits(farm: Farm, plant: PlantNumbers) -> tuple[PlantNumbers, ...]:
    """The plant with the warmest water that each cluster's loops can do with.

    That is their setpoint less their approach; where the plant's own is warmer, it counts.
    """
    found = []
    for cluster in farm.spec.clusters:
        loop = cluster.cooling.loop or Loop()
        warmest = parse_quantity(cluster.cooling.supply_temperature) - parse_quantity(loop.approach)
        found.append(replace(plant, supply_c=max(warmest, plant.supply_c)))
    return tuple(found)


def warm_free(
    circuits: Sequence[PlantNumbers], dry_c: Floats, wet_c: Floats, pressure_pa: float
) -> Floats:
    """[C, H] part of each cluster's liquid heat that outdoor air takes in its own circuit."""
    return np.stack([plant_climate(one, dry_c, wet_c, pressure_pa).free_share for one in circuits])


def node_nameplate_w(cluster: Cluster, profile: AcceleratorProfile) -> float:
    """A node with all devices at TDP, or at their limit, and all else loaded, before its stages."""
    spec = profile.spec
    device = parse_quantity(spec.power.tdp)
    if cluster.accelerator_power_limit is not None:
        device = min(device, parse_quantity(cluster.accelerator_power_limit))
    fans = parse_quantity(spec.node_overhead.fans.power) if spec.node_overhead.fans else 0.0
    return cluster.accelerators_per_node * device + parse_quantity(spec.node_overhead.loaded) + fans


def racks_of(cluster: Cluster) -> int:
    """Racks of a cluster, the last of which may be in part empty."""
    return -(-cluster.nodes // cluster.rack.nodes)


def cluster_it_w(cluster: Cluster, node_w: Sequence[tuple[int, float]], where: str) -> float:
    """IT power of a cluster: nodes' stages, the racks' own load, the racks' stages [W].

    Parameters
    ----------
    node_w
        Numbers of nodes and what each of them draws before its stages [W].
    """
    stages = cluster.feed.stages if cluster.feed else []
    node = chain_at(stages, "Node", f"{where}.feed.stages")
    rack = chain_at(stages, "Rack", f"{where}.feed.stages")
    drawn = sum(count * float(upstream(node, watts)) for count, watts in node_w)
    racks = racks_of(cluster)
    return float(upstream(rack, drawn + racks * parse_quantity(cluster.rack.load), units=racks))


def _cluster_part(
    cluster: Cluster, known: dict[str, AcceleratorProfile], where: str, told: list[str]
) -> ClusterPart:
    profile = known.get(cluster.accelerator)
    if profile is None:
        expected = f"an AcceleratorProfile that is given (given: {', '.join(sorted(known))})"
        raise InputError(f"{where}.accelerator", repr(cluster.accelerator), expected)
    nameplate = cluster_it_w(cluster, [(cluster.nodes, node_nameplate_w(cluster, profile))], where)
    share = cluster.cooling.liquid_share / 100.0
    cdus, cdu_w = _cdus(cluster, told)
    units, capacity, fan = _air(cluster, nameplate * (1.0 - share), told)
    feed = cluster.feed
    return ClusterPart(
        name=cluster.name,
        nodes=cluster.nodes,
        accelerators=cluster.nodes * cluster.accelerators_per_node,
        nameplate_w=nameplate,
        liquid_share=share,
        cdus=cdus,
        cdu_w=cdus * cdu_w,
        air_units=units,
        air_capacity_w=capacity,
        air_fan_w=fan,
        pdu=chain_at(feed.stages if feed else [], "Pdu", f"{where}.feed.stages"),
        pdus=-(-cluster.nodes // feed.nodes_per_pdu) * feed.feeds if feed else 1,
        feeds=feed.feeds if feed else 1,
    )


def _cdus(cluster: Cluster, told: list[str]) -> tuple[int, float]:
    """Number of CDUs and the own power of each [W]."""
    cooling = cluster.cooling
    if cooling.nodes_per_cdu is None or cooling.cdu_capacity is None:
        return 0, 0.0
    count = -(-cluster.nodes // cooling.nodes_per_cdu)
    if cooling.loop is not None:
        return count, parse_quantity(cooling.loop.cdu_power)
    own = CDU_SHARE * parse_quantity(cooling.cdu_capacity)
    told.append(
        f"{cluster.name}: cooling.loop is not given; that each CDU draws {100 * CDU_SHARE:.1f} % "
        "of its capacity is assumed"
    )
    return count, own


def _air(cluster: Cluster, heat_w: float, told: list[str]) -> tuple[int, float, float]:
    """Air handlers that run, capacity and fan power of each [W]."""
    zone = cluster.cooling.air
    if zone is None:
        size = max(AIR_SPARE * heat_w, 1.0)
        units = math.ceil(size / AIR_UNIT_W)
        told.append(
            f"{cluster.name}: cooling.air is not given; fan walls of up to "
            f"{AIR_UNIT_W / 1000:g} kW, {AIR_SPARE:g} times the heat at nameplate, whose fans draw "
            f"{100 * AIR_FAN_SHARE:.2g} % of that, are assumed"
        )
        return units, size / units, size / units * AIR_FAN_SHARE
    zones = -(-cluster.nodes // (zone.nodes_per_zone or cluster.nodes))
    units = zones * (zone.units + zone.redundant_units)
    return units, parse_quantity(zone.unit_capacity), parse_quantity(zone.fan_power)


def _climate(farm: Farm, where: str, told: list[str]) -> Climate:
    name = farm.spec.site.climate
    if name is None:
        told.append("site.climate is not given; that of Seoul is assumed")
        return climate_named("seoul")
    return climate_named(name, f"{where}.site.climate")


def _tariff(farm: Farm, where: str, told: list[str]) -> Tariff | None:
    power = farm.spec.power
    if power is None or power.tariff is None:
        told.append("power.tariff is not given; energy has no cost")
        return None
    return tariff_named(power.tariff, f"{where}.power.tariff")


def _carbon(farm: Farm, told: list[str]) -> Floats:
    power = farm.spec.power
    if power is not None and power.carbon_intensity is not None:
        return np.full(HOURS_PER_YEAR, parse_quantity(power.carbon_intensity))
    told.append(
        f"power.carbonIntensity is not given; {KOREA_G_PER_KWH:g} gCO2/kWh (Korea, 2023) is assumed"
    )
    return np.full(HOURS_PER_YEAR, KOREA_G_PER_KWH)


def _plant(farm: Farm, parts: Sequence[ClusterPart], where: str, told: list[str]) -> PlantNumbers:
    plant = farm.spec.plant
    if plant is None:
        heat = PLANT_ABOVE * sum(part.nameplate_w for part in parts)
        size = parse_decimal(f"{max(heat, 1.0):.0f}")  # nodes that draw nothing have a plant, too
        plant = Plant(chillers=1, chiller_capacity=format_quantity(size))
        told.append(
            f"plant is not given; a chiller of {float(size) / 1e6:.3g} MW, {PLANT_ABOVE:g} times "
            "nameplate, is assumed"
        )
    numbers = plant_numbers(plant, f"{where}.plant")
    water = plant_heat(farm)[0].water_c  # refuses zones that are colder than their water
    if plant.details is None:
        own = PlantDetails()
        told.append(
            f"plant.details are not given; water of {water:g} degC, a COP of {own.cop} at "
            f"{own.cop_outdoor} degC wet bulb, cooling towers with free cooling are assumed"
        )
        numbers = replace(numbers, supply_c=water)
    return numbers
