"""Heat of a cluster in SI units, and the defaults where its manifest is silent, with sources.

The sources named are those of the collection of published figures (``facts/*.yaml``); what is
marked *from memory* there has not been measured by anybody we could cite. Resistances hold at full
flow.
"""

from __future__ import annotations

from dataclasses import dataclass

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
PLANT_MASS_J_PER_K = 1e9
"""Where no plant is described, nothing depends on it."""
WATER_C = 18.0
"""Facility water where no plant is described [degC]: the default of plant.details."""
AIR_M3_PER_S_KW = 0.0691
"""Air that nodes draw: 12 K of rise (facility.yaml, racks_cooling.air, derived)."""
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

    def device_w(self, load: float) -> float:
        """A device at `load` percent between idle and full power."""
        return self.device.idle_w + (self.device.tdp_w - self.device.idle_w) * load / 100.0

    def overhead_w(self, load: float) -> float:
        """What is beside the devices, without described fans, at `load` percent."""
        span = self.overhead_loaded_w - self.overhead_idle_w
        return self.overhead_idle_w + span * load / 100.0


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
    life: tuple[float, float] | None
    declared: bool


@dataclass(frozen=True)
class PlantHeat:
    """Facility water of a farm; `unit_w` is of one chiller, infinite where none is described."""

    water_c: float
    unit_w: float
    chillers: int
    redundant: int
    mass_j_per_k: float
    restart_s: float
    life: tuple[float, float] | None
    declared: bool


@dataclass(frozen=True)
class ClusterHeat:
    """All of a cluster; `loop` is None for air, `air` is the room of either kind.

    `assumed` says of what something was assumed, and what.
    """

    label: str
    node: NodeHeat
    loop: ZoneHeat | None
    air: ZoneHeat
    liquid_share: float
    nodes_per_loop: int
    nodes_per_air: int
    recirculation: float
    air_m3_per_s_w: float
    assumed: tuple[tuple[str, str], ...]
