"""Heat of a cluster in SI units, from its manifest; where that is silent, defaults with a source.

Every default that is taken is told in `assumptions`, so that a verdict can say what it rests on.
The sources named are those of the collection of published figures (``facts/*.yaml``); what is
marked *from memory* there has not been measured by anybody we could cite.
"""

from __future__ import annotations

from dataclasses import dataclass

from kfarm_api.farm import Cooling, Farm, Plant
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.thermal import AirZone, Fans, Loop, PlantDetails, Thermal, ThermalPath
from kfarm_api.units import parse_duration_ns, parse_quantity

from kfarm_twin.columns_cluster import ROOM_SUPPLY_C, ClusterFacts, HasFacts
from kfarm_twin.request import InputError

NS_PER_S = 1e9
DIE_SHARE = 1.0 / 3.0
"""Part of the whole resistance that lies between die and sink where no path is given: a choice."""
DIE_TIME_S = 5.0
"""Time constant of a die [s]: within tau_die_s 2 to 10 (twin_defaults, from memory)."""
SINK_TIME_S = {"Air": 90.0, "Liquid": 12.0}
"""Of a heat sink in air (60 to 120) and of a cold plate (5 to 20) [s] (twin_defaults)."""
FLOW_EXPONENT = 0.8
"""Turbulent convection: h goes as flow^0.8 (Dittus and Boelter, 1930)."""
LOOP_APPROACH_K = 4.0
"""CDU supply over facility water at capacity: 3 to 5 K in data sheets (facility.yaml, cdus)."""
AIR_APPROACH_K = 6.0
"""Supply air over facility water at capacity where no zone is described: a choice."""
LOOP_TIME_S = 60.0
"""Thermal mass of a loop over capacity / approach [s]: coolant of about one minute; a choice."""
AIR_TIME_S = 300.0
"""The same of a zone of air and what it touches: room_or_loop 300 to 1200 s (from memory)."""
PLANT_TIME_S = 300.0
"""One circulation of the facility water [s]; with `PLANT_RISE_K` about 11 l per kW: a choice."""
PLANT_RISE_K = 6.0
"""Warming of facility water at full capacity [K]: a usual design."""
WATER_C = 18.0
"""Facility water where no plant is described [degC]: the default of plant.details."""
AIR_M3_PER_S_KW = 0.0691
"""Air that nodes draw: 12 K of rise (facility.yaml, racks_cooling.air, derived)."""
RESTART_S = 600.0
"""Node back after an overheat where the profile says nothing [s]: the API's default."""
CHILLER_RESTART_S = 1800.0
"""Chiller back after a loss of power [s]: 30 minutes (facility.yaml, chiller_restart_min)."""


@dataclass(frozen=True)
class DeviceHeat:
    """Heat path, limits and power of one device; `positions` hold factors of die and sink."""

    die_k_per_w: float
    sink_k_per_w: float
    die_s: float
    sink_s: float
    flow_exponent: float
    inlet_rise_k_per_w: float
    positions: tuple[tuple[float, float], ...]
    spread: float
    throttle_c: float
    shutdown_c: float
    hysteresis_k: float
    floor: float
    restart_s: float
    idle_w: float
    tdp_w: float


@dataclass(frozen=True)
class FanHeat:
    """Fans of a node: power at full speed, and how they turn; fixed where `target_c` is None."""

    power_w: float
    speed: float
    least: float
    target_c: float | None
    levels: int
    dwell_s: float


@dataclass(frozen=True)
class NodeHeat:
    """A node: its devices, what it draws beside them [W], its fans."""

    device: DeviceHeat
    devices: int
    overhead_idle_w: float
    overhead_loaded_w: float
    fans: FanHeat | None

    @property
    def nameplate_w(self) -> float:
        """All devices at full power, the node loaded, fans at full speed."""
        fans = self.fans.power_w if self.fans else 0.0
        return self.devices * self.device.tdp_w + self.overhead_loaded_w + fans


@dataclass(frozen=True)
class ZoneHeat:
    """A CDU loop or a zone of air.

    `conductance_w_per_k` to the facility water is of all needed units. `unit_count` are needed,
    `redundant` stand beside them. `declared` is False where the manifest describes no such zone.
    """

    setpoint_c: float
    conductance_w_per_k: float
    capacity_w: float
    unit_count: int
    redundant: int
    mass_j_per_k: float
    declared: bool


@dataclass(frozen=True)
class PlantHeat:
    """Facility water of a farm; `capacity_w` (no redundant chiller counted) is inf without one."""

    water_c: float
    capacity_w: float
    chillers: int
    redundant: int
    mass_j_per_k: float
    restart_s: float
    declared: bool


@dataclass(frozen=True)
class ClusterHeat:
    """All of a cluster; `loop` is None for air, `air` is the room of either kind."""

    label: str
    node: NodeHeat
    loop: ZoneHeat | None
    air: ZoneHeat
    liquid_share: float
    nodes_per_loop: int
    nodes_per_air: int
    recirculation: float
    air_m3_per_s_w: float
    assumptions: tuple[str, ...]


class _Told:
    """Collects what was assumed about one cluster or farm."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.lines: list[str] = []

    def tell(self, text: str) -> None:
        self.lines.append(f"{self.label}: {text}")


def _seconds(text: str) -> float:
    return parse_duration_ns(text) / NS_PER_S


def _path(thermal: Thermal | None, kind: str) -> ThermalPath | None:
    if thermal is None:
        return None
    return thermal.liquid if kind == "Liquid" else thermal.air


def _stated_resistance(profile: AcceleratorProfile, kind: str) -> float:
    offered = profile.spec.thermal_resistance
    text = offered.liquid if kind == "Liquid" else offered.air
    return parse_quantity(text) if text is not None else 0.0


def device_heat(ref: HasFacts, profile: AcceleratorProfile, told: list[str]) -> DeviceHeat:
    """Heat path of a device; the whole resistance is that of the compiled figures."""
    facts, kind = ref.facts, ref.cluster.cooling.type
    thermal, path = profile.spec.thermal, _path(profile.spec.thermal, kind)
    share, die_s, sink_s = DIE_SHARE, DIE_TIME_S, SINK_TIME_S[kind]
    exponent, rise, positions = FLOW_EXPONENT, 0.0, ((1.0, 1.0),)
    if path is None:
        told.append(
            f"{profile.metadata.name}: thermal.{kind.lower()} is not given; a third of "
            f"thermalResistance lies in the die ({die_s:g} s), the rest in the "
            f"{'cold plate' if kind == 'Liquid' else 'heat sink'} ({sink_s:g} s)"
        )
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


def node_heat(ref: HasFacts, profile: AcceleratorProfile, told: list[str]) -> NodeHeat:
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
    from kfarm_twin.columns_cluster import RECIRCULATION_RISE_K  # noqa: PLC0415

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
        declared=True,
    )


def _loop_mass(loop: Loop | None, conductance: float, told: _Told) -> float:
    if loop is not None and loop.thermal_mass is not None:
        return parse_quantity(loop.thermal_mass)
    told.tell(f"thermal mass of a loop is that of {LOOP_TIME_S:g} s x capacity / approach")
    return LOOP_TIME_S * conductance


def _air_mass(zone: AirZone | None, conductance: float, told: _Told) -> float:
    if zone is not None and zone.thermal_mass is not None:
        return parse_quantity(zone.thermal_mass)
    told.tell(f"thermal mass of an air zone is that of {AIR_TIME_S:g} s x capacity / approach")
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
        told.tell(
            "cooling.air is not given; its air handlers hold their supply at nameplate power"
        )
        capacity = max(heat_w, 1.0)
        conductance = capacity / min(AIR_APPROACH_K, max(setpoint - water_c, 0.1))
    return ZoneHeat(
        setpoint_c=setpoint,
        conductance_w_per_k=conductance,
        capacity_w=capacity,
        unit_count=zone.units if zone else 1,
        redundant=zone.redundant_units if zone else 0,
        mass_j_per_k=_air_mass(zone, conductance, told),
        declared=zone is not None,
    )


def plant_heat(farm: Farm) -> tuple[PlantHeat, list[str]]:
    """Facility water of a farm, and what was assumed."""
    told = _Told(f"{farm.kind}/{farm.metadata.name}")
    plant = farm.spec.plant
    water = _water_c(farm, told)
    if plant is None:
        told.tell(f"no plant is described; facility water stays at {water:g} degC")
        return PlantHeat(water, float("inf"), 0, 0, float("inf"), 0.0, declared=False), told.lines
    capacity = (plant.chillers - plant.redundancy) * parse_quantity(plant.chiller_capacity)
    details = plant.details
    return PlantHeat(
        water_c=water,
        capacity_w=capacity,
        chillers=plant.chillers,
        redundant=plant.redundancy,
        mass_j_per_k=_plant_mass(details, capacity, told),
        restart_s=_seconds(details.restart) if details else CHILLER_RESTART_S,
        declared=True,
    ), told.lines


def _plant_mass(details: PlantDetails | None, capacity: float, told: _Told) -> float:
    if details is not None and details.thermal_mass is not None:
        return parse_quantity(details.thermal_mass)
    told.tell(
        f"thermal mass of the facility water is that of {PLANT_TIME_S:g} s x capacity / "
        f"{PLANT_RISE_K:g} K"
    )
    return PLANT_TIME_S * capacity / PLANT_RISE_K


def _setpoints(farm: Farm) -> list[tuple[str, str, float]]:
    """Field, text and value of all supply temperatures of a farm."""
    found = []
    for index, cluster in enumerate(farm.spec.clusters):
        where, cooling = f"spec.clusters[{index}].cooling", cluster.cooling
        air = cooling.air_supply_temperature
        if cooling.type == "Liquid" or air is None:
            text = cooling.supply_temperature
            found.append((f"{where}.supplyTemperature", text, parse_quantity(text)))
        if air is not None:
            found.append((f"{where}.airSupplyTemperature", air, parse_quantity(air)))
    return found


def _water_c(farm: Farm, told: _Told) -> float:
    """Facility water: as given, else `WATER_C`, or as far below the coolest supply as needed."""
    plant: Plant | None = farm.spec.plant
    supplies = _setpoints(farm)
    if plant is None or plant.details is None:
        coolest = min(value for _, _, value in supplies) - AIR_APPROACH_K
        water = min(WATER_C, coolest)
        if plant is not None:
            told.tell(f"plant.details is not given; facility water at {water:g} degC")
        return water
    water = parse_quantity(plant.details.supply_temperature)
    for field, text, value in supplies:
        if value <= water:
            raise InputError(
                f"{farm.kind}/{farm.metadata.name}: {field}",
                f"{text} degC",
                f"more than the facility water's plant.details.supplyTemperature, {water:g} degC: "
                "heat does not flow from cold to warm",
            )
    return water


def cluster_heat(ref: HasFacts, profile: AcceleratorProfile, water_c: float) -> ClusterHeat:
    """All of a cluster on facility water of `water_c`.

    Raises
    ------
    InputError
        Where parts exceed the node's overhead, or no supply air reaches the racks.
    """
    told, cooling = _Told(ref.label), ref.cluster.cooling
    if cooling.recirculation >= 100:  # noqa: PLR2004 - percent
        farm, _, name = ref.label.partition("/")
        raise InputError(
            f"{farm}: cluster {name}: cooling.recirculation",
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
        assumptions=tuple(told.lines),
    )
