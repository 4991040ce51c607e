"""Heat: how devices warm, how fans turn, how zones and the plant carry heat away."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kfarm_api.base import Cel, Percent, Strict
from kfarm_api.units import Bounds, Duration, Quantity, parse_duration_ns

Watts = Annotated[Quantity, Bounds("0", "10G", "W")]
Celsius = Annotated[Quantity, Bounds("-50", "200", "degC")]
Kelvin = Annotated[Quantity, Bounds("0", "100", "K")]
KelvinPerWatt = Annotated[Quantity, Bounds("0", "10", "K/W", exclusive_least=True)]
JoulesPerKelvin = Annotated[Quantity, Bounds("0", "1T", "J/K", exclusive_least=True)]
PositiveWatts = Annotated[Quantity, Bounds("0", "10G", "W", exclusive_least=True)]
PositivePercent = Annotated[int, Field(ge=1, le=100)]
_Factor = Annotated[Quantity, Bounds("0.1", "10")]


def positive_duration(field: str) -> Cel:
    """The rule that a duration, where given, is more than nothing."""
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in field)
    return Cel(
        f"!has(self.{field}) || duration(self.{field}) > duration('0s')",
        f"{field} must be more than 0s",
        lambda model: getattr(model, snake) is None or parse_duration_ns(getattr(model, snake)) > 0,
    )


class DevicePosition(Strict):
    """How a place in the node differs: factors on the resistances of die and sink."""

    die: _Factor = "1"
    sink: _Factor = "1"


class ThermalPath(Strict):
    """From die to coolant in two steps, each with a time of its own.

    `die` is the resistance between die and heat sink (or cold plate) [K/W]; what is left of the
    profile's thermalResistance, which holds at full flow, lies between sink and coolant and grows
    as flow^-`flow_exponent`, and its time constant with it. `sink_time` is that at full flow.
    `inlet_rise` is what the air has warmed at the device per watt of all devices of the node, at
    full flow [K/W]; it grows as 1/flow. `positions` are the places of a node in the order of the
    devices' indices, repeated where a node has more.
    """

    die: KelvinPerWatt
    die_time: Duration
    sink_time: Duration
    flow_exponent: Annotated[Quantity, Bounds("0", "2")] = "0.8"
    inlet_rise: Annotated[Quantity, Bounds("0", "1", "K/W")] = "0"
    positions: Annotated[list[DevicePosition], Field(max_length=32)] = Field(default_factory=list)
    rules: ClassVar[tuple[Cel, ...]] = (positive_duration("dieTime"), positive_duration("sinkTime"))


class Thermal(Strict):
    """How a device warms and what it does when it is too hot.

    Resistances differ between devices with a standard deviation of the logarithm of `spread`. A
    device that reached its throttle limit lowers its power, not below `throttle_floor` percent of
    what it would draw above idle; it speeds up again `hysteresis` [K] below. After a shutdown by
    heat the node is back `restart` after it has cooled.
    """

    air: ThermalPath | None = None
    liquid: ThermalPath | None = None
    spread: Annotated[Quantity, Bounds("0", "1")] = "0"
    hysteresis: Annotated[Quantity, Bounds("0.1", "50", "K")] = "3"
    throttle_floor: Percent = 0
    restart: Duration = "10m"


class Fans(Strict):
    """The fans of a node: power goes as speed cubed, from `power` [W] at full speed.

    ``Fixed`` fans turn at `speed` percent. ``Automatic`` ones turn at one of `levels` speeds from
    `least` percent to full: the lowest at which the hottest device stays at `target`; a change
    takes `dwell`. `full_speed` [rpm] ties percent to what a sensor shows.
    """

    power: Watts
    regime: Literal["Fixed", "Automatic"] = "Automatic"
    speed: PositivePercent | None = None
    least: PositivePercent = 20
    target: Celsius | None = None
    levels: Annotated[int, Field(ge=2, le=64)] = 9
    dwell: Duration = "10s"
    full_speed: Annotated[int, Field(ge=1, le=100_000)] | None = None
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "((has(self.regime) ? self.regime : 'Automatic') == 'Fixed') == has(self.speed)",
            "fans: regime Fixed needs speed (percent), Automatic takes none",
            lambda f: (f.regime == "Fixed") == (f.speed is not None),
        ),
        Cel(
            "((has(self.regime) ? self.regime : 'Automatic') == 'Automatic') == has(self.target)",
            "fans: regime Automatic needs target (degC of the hottest device), Fixed takes none",
            lambda f: (f.regime == "Automatic") == (f.target is not None),
        ),
    )


class OverheadPart(Strict):
    """A part of a node's overhead [W]: CPUs, memory, NICs, drives."""

    name: Annotated[str, Field(min_length=1, max_length=32)]
    idle: Watts
    loaded: Watts


class UnitLife(Strict):
    """How often one pump, air handler or chiller stops, and how long it takes to bring back.

    Both are means of exponential times.
    """

    mean_time_between_failures: Duration
    mean_time_to_repair: Duration
    rules: ClassVar[tuple[Cel, ...]] = (
        positive_duration("meanTimeBetweenFailures"),
        positive_duration("meanTimeToRepair"),
    )


class AirZone(Strict):
    """The air side: handlers (CRAHs or fan walls) that serve `nodes_per_zone` nodes.

    `units` are needed, `redundant_units` stand beside them; each carries `unit_capacity` [W] with
    its supply air `approach` [K] above the facility water, and draws `fan_power` [W] at full speed.
    `thermal_mass` is that of the zone's air and what it touches [J/K]; `airflow` what nodes draw
    [m3/s per kW].
    """

    nodes_per_zone: Annotated[int, Field(ge=1, le=65_536)] | None = None
    units: Annotated[int, Field(ge=1, le=1000)] = 1
    redundant_units: Annotated[int, Field(ge=0, le=100)] = 0
    unit_capacity: PositiveWatts
    approach: Annotated[Quantity, Bounds("0.1", "50", "K")] = "6"
    fan_power: Watts = "0"
    thermal_mass: JoulesPerKelvin | None = None
    airflow: Annotated[Quantity, Bounds("0.001", "10", "m3/s per kW")] = "0.0691"
    life: UnitLife | None = None


class Loop(Strict):
    """More about the CDU loops of a liquid-cooled cluster.

    At `cduCapacity` the supply is `approach` [K] above the facility water. `pumps` are needed,
    `redundantPumps` stand beside them. `cdu_power` [W] is drawn by each CDU; `flow` is in litres
    per minute and kW; `thermal_mass` that of coolant and pipes [J/K].
    """

    approach: Annotated[Quantity, Bounds("0.1", "50", "K")] = "4"
    pumps: Annotated[int, Field(ge=1, le=8)] = 1
    cdu_power: Watts = "0"
    flow: Annotated[Quantity, Bounds("0.1", "20", "l/min per kW")] = "1.5"
    thermal_mass: JoulesPerKelvin | None = None
    pump_life: UnitLife | None = None


class PlantDetails(Strict):
    """How the plant makes cold and what that takes.

    Facility water is supplied at `supply_temperature` by chillers with a COP of `cop` at
    `cop_outdoor`; heat is rejected by cooling towers (`approach` [K] over the wet bulb) or dry
    coolers (over the dry bulb). With `free_cooling` chillers rest while the outdoor air is cold
    enough. `pump_power` and `fan_power` are percent of the heat, fans' at full heat. `cycles` are
    the cycles of concentration of tower water. `thermal_mass` [J/K] is that of the water and of
    buffer tanks. A chiller that lost power is back after `restart`.
    """

    supply_temperature: Celsius = "18"
    heat_rejection: Literal["Tower", "DryCooler"] = "Tower"
    free_cooling: bool = True
    approach: Annotated[Quantity, Bounds("0.1", "50", "K")] = "4"
    cop: Annotated[Quantity, Bounds("0.5", "30")] = "6"
    cop_outdoor: Celsius = "25"
    pump_power: Annotated[Quantity, Bounds("0", "50", "percent")] = "1.5"
    fan_power: Annotated[Quantity, Bounds("0", "50", "percent")] = "1"
    cycles: Annotated[Quantity, Bounds("1.1", "100")] = "4"
    thermal_mass: JoulesPerKelvin | None = None
    restart: Duration = "30m"
    chiller_life: UnitLife | None = None
