"""From manifests to `heat_facts`; every default that is taken is told."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kfarm_api.farm import Cooling, Farm, Plant
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.thermal import AirZone, Fans, Loop, PlantDetails, Thermal, ThermalPath, UnitLife
from kfarm_api.units import parse_duration_ns, parse_quantity

from kfarm_twin.columns_cluster import (
    RECIRCULATION_RISE_K,
    ROOM_SUPPLY_C,
    ClusterFacts,
    HasFacts,
)
from kfarm_twin.heat_facts import (
    AIR_APPROACH_K,
    AIR_M3_PER_S_KW,
    AIR_TIME_S,
    CHILLER_RESTART_S,
    DIE_SHARE,
    DIE_TIME_S,
    FLOW_EXPONENT,
    LOOP_APPROACH_K,
    LOOP_TIME_S,
    PLANT_MASS_J_PER_K,
    PLANT_RISE_K,
    PLANT_TIME_S,
    SINK_TIME_S,
    WATER_C,
    ClusterHeat,
    DeviceHeat,
    FanHeat,
    NodeHeat,
    PlantHeat,
    ZoneHeat,
)
from kfarm_twin.request import InputError

NS_PER_S = 1e9
MOST_LABELS = 3
"""Clusters named in one sentence."""
Assumed = tuple[str, str]
"""Of what something is assumed, and what."""


class _Told:
    """Collects what was assumed about one cluster or farm."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.lines: list[Assumed] = []

    def tell(self, text: str) -> None:
        self.lines.append((self.label, text))


def told_once(assumed: Sequence[Assumed]) -> tuple[str, ...]:
    """Sentences, each with all that it is said of."""
    owners: dict[str, dict[str, None]] = {}
    for label, text in assumed:
        owners.setdefault(text, {})[label] = None
    return tuple(f"{_labels(list(labels))}: {text}" for text, labels in owners.items())


def _labels(labels: list[str]) -> str:
    more = len(labels) - MOST_LABELS
    named = ", ".join(labels[:MOST_LABELS])
    return f"{named} and {more} more" if more > 0 else named


def _seconds(text: str) -> float:
    return parse_duration_ns(text) / NS_PER_S


def unit_life(life: UnitLife | None) -> tuple[float, float] | None:
    """Mean times of a unit between failures and to repair [s]."""
    if life is None:
        return None
    return _seconds(life.mean_time_between_failures), _seconds(life.mean_time_to_repair)


def _path(thermal: Thermal | None, kind: str) -> ThermalPath | None:
    if thermal is None:
        return None
    return thermal.liquid if kind == "Liquid" else thermal.air


def _stated_resistance(profile: AcceleratorProfile, kind: str) -> float:
    offered = profile.spec.thermal_resistance
    text = offered.liquid if kind == "Liquid" else offered.air
    return parse_quantity(text) if text is not None else 0.0


def device_heat(ref: HasFacts, profile: AcceleratorProfile, told: list[Assumed]) -> DeviceHeat:
    """Heat path of a device; the whole resistance is that of the compiled figures."""
    facts, kind = ref.facts, ref.cluster.cooling.type
    thermal, path = profile.spec.thermal, _path(profile.spec.thermal, kind)
    share, die_s, sink_s = DIE_SHARE, DIE_TIME_S, SINK_TIME_S[kind]
    exponent, rise = FLOW_EXPONENT, 0.0
    positions: tuple[tuple[float, float], ...] = ((1.0, 1.0),)
    if path is None:
        text = (
            f"thermal.{kind.lower()} is not given; a third of thermalResistance lies in the die "
            f"({die_s:g} s), the rest in the "
            f"{'cold plate' if kind == 'Liquid' else 'heat sink'} ({sink_s:g} s)"
        )
        told.append((f"profile {profile.metadata.name}", text))
    else:
        share = parse_quantity(path.die) / _stated_resistance(profile, kind)
        die_s, sink_s = _seconds(path.die_time), _seconds(path.sink_time)
        exponent, rise = parse_quantity(path.flow_exponent), parse_quantity(path.inlet_rise)
        found = [(parse_quantity(one.die), parse_quantity(one.sink)) for one in path.positions]
        positions = tuple(found) or positions
    settings = thermal or Thermal()
    die = facts.resistance_k_per_w * share
    return DeviceHeat(
        die_k_per_w=die,
        sink_k_per_w=facts.resistance_k_per_w - die,
        die_s=die_s,
        sink_s=sink_s,
        flow_exponent=exponent,
        inlet_rise_k_per_w=rise,
        positions=positions,
        spread=parse_quantity(settings.spread),
        throttle_c=facts.throttle_c,
        shutdown_c=facts.shutdown_c,
        hysteresis_k=parse_quantity(settings.hysteresis),
        floor=settings.throttle_floor / 100.0,
        restart_s=_seconds(settings.restart),
        idle_w=facts.idle_device_mw / 1000.0,
        tdp_w=_full_power(ref, facts),
    )


def _full_power(ref: HasFacts, facts: ClusterFacts) -> float:
    full = facts.tdp_device_mw / 1000.0
    if ref.cluster.accelerator_power_limit is not None:
        full = min(full, parse_quantity(ref.cluster.accelerator_power_limit))
    return max(full, facts.idle_device_mw / 1000.0)


def _fans(fans: Fans | None) -> FanHeat | None:
    if fans is None:
        return None
    target = None if fans.target is None else parse_quantity(fans.target)
    return FanHeat(
        power_w=parse_quantity(fans.power),
        speed=(fans.speed or 100) / 100.0,
        least=fans.least / 100.0,
        target_c=target,
        levels=fans.levels,
        dwell_s=_seconds(fans.dwell),
    )


def check_parts(profile: AcceleratorProfile) -> None:
    """Refuse parts of a node that draw more than the node.

    Raises
    ------
    InputError
        Where the parts together exceed nodeOverhead.idle or nodeOverhead.loaded.
    """
    overhead = profile.spec.node_overhead
    where = f"AcceleratorProfile/{profile.metadata.name}: spec.nodeOverhead.parts"
    for part in overhead.parts:
        if parse_quantity(part.idle) > parse_quantity(part.loaded):
            raise InputError(
                where,
                f"{part.name} with idle {part.idle} W above loaded {part.loaded} W",
                "idle not above loaded",
            )
    for field in ("idle", "loaded"):
        total = sum(parse_quantity(getattr(part, field)) for part in overhead.parts)
        limit = parse_quantity(getattr(overhead, field))
        if total > limit:
            raise InputError(
                where,
                f"parts that draw {total:g} W {field}",
                f"at most nodeOverhead.{field}, {limit:g} W, of which they are parts",
            )


def node_heat(ref: HasFacts, profile: AcceleratorProfile, told: list[Assumed]) -> NodeHeat:
    """A node of a cluster.

    Raises
    ------
    InputError
        Where the parts of its overhead exceed it.
    """
    check_parts(profile)
    return NodeHeat(
        device=device_heat(ref, profile, told),
        devices=ref.cluster.accelerators_per_node,
        overhead_idle_w=ref.facts.idle_overhead_mw / 1000.0,
        overhead_loaded_w=ref.facts.loaded_overhead_mw / 1000.0,
        fans=_fans(profile.spec.node_overhead.fans),
    )


def _room_c(cooling: Cooling, facts: ClusterFacts) -> float:
    """Supply air: as given, else the assumed one, which priors may have moved."""
    if cooling.type == "Air":
        return parse_quantity(cooling.air_supply_temperature or cooling.supply_temperature)
    if cooling.air_supply_temperature is not None:
        return parse_quantity(cooling.air_supply_temperature)
    return ROOM_SUPPLY_C if not facts.air_assumed else facts.rack_inlet_c - _recirculated(cooling)


def _recirculated(cooling: Cooling) -> float:
    return cooling.recirculation / 100.0 * RECIRCULATION_RISE_K


def loop_heat(cooling: Cooling, told: _Told) -> ZoneHeat | None:
    """The CDU loops of a liquid-cooled cluster."""
    if cooling.type != "Liquid" or cooling.cdu_capacity is None:
        return None
    loop = cooling.loop
    if loop is None:
        told.tell(f"cooling.loop is not given; approach {LOOP_APPROACH_K:g} K and one pump")
    approach = parse_quantity(loop.approach) if loop else LOOP_APPROACH_K
    capacity = parse_quantity(cooling.cdu_capacity)
    mass = _loop_mass(loop, capacity / approach, told)
    return ZoneHeat(
        setpoint_c=parse_quantity(cooling.supply_temperature),
        conductance_w_per_k=capacity / approach,
        capacity_w=capacity,
        unit_count=loop.pumps if loop else 1,
        redundant=cooling.redundant_pumps,
        mass_j_per_k=mass,
        life=unit_life(loop.pump_life if loop else None),
        declared=True,
    )


def _loop_mass(loop: Loop | None, conductance: float, told: _Told) -> float:
    if loop is not None and loop.thermal_mass is not None:
        return parse_quantity(loop.thermal_mass)
    told.tell(f"cooling.loop.thermalMass is not given; {LOOP_TIME_S:g} s x capacity / approach")
    return LOOP_TIME_S * conductance


def _air_mass(zone: AirZone | None, conductance: float, told: _Told) -> float:
    if zone is not None and zone.thermal_mass is not None:
        return parse_quantity(zone.thermal_mass)
    told.tell(f"cooling.air.thermalMass is not given; {AIR_TIME_S:g} s x capacity / approach")
    return AIR_TIME_S * conductance


def air_heat(
    cooling: Cooling, facts: ClusterFacts, heat_w: float, water_c: float, told: _Told
) -> ZoneHeat:
    """One zone of air with `heat_w` at nameplate; sized for that where none is described."""
    zone, setpoint = cooling.air, _room_c(cooling, facts)
    if zone is not None:
        approach = parse_quantity(zone.approach)
        capacity = zone.units * parse_quantity(zone.unit_capacity)
        conductance = capacity / approach
    else:
        told.tell("cooling.air is not given; its air handlers hold their supply at nameplate power")
        capacity = max(heat_w, 1.0)
        conductance = capacity / min(AIR_APPROACH_K, max(setpoint - water_c, 0.1))
    return ZoneHeat(
        setpoint_c=setpoint,
        conductance_w_per_k=conductance,
        capacity_w=capacity,
        unit_count=zone.units if zone else 1,
        redundant=zone.redundant_units if zone else 0,
        mass_j_per_k=_air_mass(zone, conductance, told),
        life=unit_life(zone.life if zone else None),
        declared=zone is not None,
    )


def plant_heat(farm: Farm) -> tuple[PlantHeat, list[Assumed]]:
    """Facility water of a farm, and what was assumed."""
    told = _Told(f"{farm.kind}/{farm.metadata.name}")
    plant = farm.spec.plant
    water = _water_c(farm, told)
    if plant is None:
        told.tell(f"no plant is described; facility water stays at {water:g} degC")
        none = PlantHeat(water, math.inf, 0, 0, PLANT_MASS_J_PER_K, 0.0, None, declared=False)
        return none, told.lines
    unit = parse_quantity(plant.chiller_capacity)
    capacity, details = (plant.chillers - plant.redundancy) * unit, plant.details
    return PlantHeat(
        water_c=water,
        unit_w=unit,
        chillers=plant.chillers,
        redundant=plant.redundancy,
        mass_j_per_k=_plant_mass(details, capacity, told),
        restart_s=_seconds(details.restart) if details else CHILLER_RESTART_S,
        life=unit_life(details.chiller_life if details else None),
        declared=True,
    ), told.lines


def _plant_mass(details: PlantDetails | None, capacity: float, told: _Told) -> float:
    if details is not None and details.thermal_mass is not None:
        return parse_quantity(details.thermal_mass)
    told.tell(
        f"plant.details.thermalMass is not given; {PLANT_TIME_S:g} s x capacity / "
        f"{PLANT_RISE_K:g} K"
    )
    return PLANT_TIME_S * capacity / PLANT_RISE_K


def _supplies(farm: Farm) -> list[tuple[str, str, float, float]]:
    """Field, text and value of all supply temperatures of a farm, and the approach of the zone."""
    found = []
    for index, cluster in enumerate(farm.spec.clusters):
        where, cooling = f"spec.clusters[{index}].cooling", cluster.cooling
        air = cooling.air_supply_temperature
        over_water = parse_quantity(cooling.air.approach) if cooling.air else AIR_APPROACH_K
        if cooling.type == "Liquid":
            loop = parse_quantity(cooling.loop.approach) if cooling.loop else LOOP_APPROACH_K
            text = cooling.supply_temperature
            found.append((f"{where}.supplyTemperature", text, parse_quantity(text), loop))
        elif air is None:
            text = cooling.supply_temperature
            found.append((f"{where}.supplyTemperature", text, parse_quantity(text), over_water))
        if air is not None:
            found.append((f"{where}.airSupplyTemperature", air, parse_quantity(air), over_water))
    return found


def _water_c(farm: Farm, told: _Told) -> float:
    """Facility water: as given, else `WATER_C`, or cold enough for every zone at its capacity."""
    plant: Plant | None = farm.spec.plant
    supplies = _supplies(farm)
    if plant is None or plant.details is None:
        water = min(WATER_C, *(value - approach for _, _, value, approach in supplies))
        if plant is not None:
            told.tell(f"plant.details is not given; facility water at {water:g} degC")
        return water
    water = parse_quantity(plant.details.supply_temperature)
    for field, text, value, _ in supplies:
        if value <= water:
            raise InputError(
                f"{farm.kind}/{farm.metadata.name}: {field}",
                f"{text} degC",
                f"more than the facility water's plant.details.supplyTemperature, {water:g} degC: "
                "heat does not flow from cold to warm",
            )
    return water


def cluster_heat(
    ref: HasFacts, profile: AcceleratorProfile, water_c: float, where: str
) -> ClusterHeat:
    """All of a cluster on facility water of `water_c`; `where` names it in errors.

    Raises
    ------
    InputError
        Where parts exceed the node's overhead, or no supply air reaches the racks.
    """
    told, cooling = _Told(ref.label), ref.cluster.cooling
    if cooling.recirculation >= 100:
        raise InputError(
            f"{where}.cooling.recirculation",
            "100 %",
            "less than 100 %: else no supply air reaches the racks",
        )
    node = node_heat(ref, profile, told.lines)
    share = cooling.liquid_share / 100.0
    zone = cooling.air
    per_air = zone.nodes_per_zone if zone and zone.nodes_per_zone else ref.cluster.nodes
    in_air = min(per_air, ref.cluster.nodes) * node.nameplate_w * (1.0 - share)
    return ClusterHeat(
        label=ref.label,
        node=node,
        loop=loop_heat(cooling, told),
        air=air_heat(cooling, ref.facts, in_air, water_c, told),
        liquid_share=share,
        nodes_per_loop=cooling.nodes_per_cdu or 0,
        nodes_per_air=per_air,
        recirculation=cooling.recirculation / 100.0,
        air_m3_per_s_w=(parse_quantity(zone.airflow) if zone else AIR_M3_PER_S_KW) / 1000.0,
        assumed=tuple(told.lines),
    )
