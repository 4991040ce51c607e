"""The chilled-water plant hour by hour: chillers, free cooling, heat rejection, pumps, water.

Each hour is a steady state: heat in [W], outdoor air in, power and water out. What does not depend
on the heat is worked out once a climate (`plant_climate`), what does in a few vector operations
(`plant_hours`), so that a batch of futures costs little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from kfarm_api.farm import Plant
from kfarm_api.thermal import PlantDetails
from kfarm_api.units import parse_quantity

from kfarm_twin.arrays import Floats
from kfarm_twin.psychrometry import evaporation_heat_j_per_kg, latent_share
from kfarm_twin.request import InputError

KELVIN = 273.15
EXCHANGER_K = 3.0
"""Refrigerant below the chilled water and above the condenser's: 3 K each (assumption; flooded
shells have 1 to 3 K)."""
LEAST_LIFT_K = 15.0
"""A chiller keeps at least this between evaporator and condenser, for its oil and its expansion
valve, so that its COP grows no further in the cold (assumption)."""
FIXED_SHARE = 0.1
"""Part of a running chiller's full power that does not fall with its load (assumption; intercepts
of DOE-2's EIR-f(PLR) curves lie at 0.05 to 0.2)."""
LEAST_SPEED = 0.2
"""Fans of towers and dry coolers turn no slower than this share of full speed (assumption)."""
WATER_HEAT = 4180.0
"""Specific heat of water [J/(kg K)]."""
WATER_DENSITY = 997.0
"""Density of water at 25 degC [kg/m3]."""
RISE_FLOW = 1.5
"""Facility water flow [l/min per kW] where the free cooling share is worked out: as that of CDUs
(facts, motivair_mcdu70), a rise of 9.6 K."""
LITRES_PER_M3 = 1000.0
SECONDS_PER_HOUR = 3600.0


def water_rise_k(litres_per_minute_per_kw: float) -> float:
    """Rise of water [K] that takes up a kilowatt at a flow of so many litres per minute."""
    mass_flow = litres_per_minute_per_kw / 60.0 / LITRES_PER_M3 * WATER_DENSITY
    return 1000.0 / (mass_flow * WATER_HEAT)


@dataclass(frozen=True)
class PlantNumbers:
    """A plant in SI units; shares are of heat, `approach_k` that of tower or dry cooler.

    `chillers` run at most, `redundancy` beside them; each carries `chiller_w` of heat.
    """

    chillers: int
    redundancy: int
    chiller_w: float
    supply_c: float
    tower: bool
    free_cooling: bool
    approach_k: float
    cop: float
    cop_outdoor_c: float
    pump_share: float
    fan_share: float
    cycles: float

    @property
    def capacity_w(self) -> float:
        """Heat that the chillers carry without the redundant ones [W]."""
        return self.chillers * self.chiller_w

    @property
    def carnot_share(self) -> float:
        """Stated COP over Carnot's at the same temperatures."""
        return self.cop / float(self.carnot(np.array([self.cop_outdoor_c]))[0])

    def carnot(self, outdoor_c: Floats) -> Floats:
        """Carnot's COP between evaporator and condenser at outdoor temperatures [degC]."""
        evaporator = self.supply_c - EXCHANGER_K
        lift = outdoor_c + self.approach_k + EXCHANGER_K - evaporator
        return (evaporator + KELVIN) / np.maximum(lift, LEAST_LIFT_K)

    def full_load_cop(self, outdoor_c: Floats) -> Floats:
        """COP of a fully loaded chiller; `cop` at `cop_outdoor_c`, falling with the lift."""
        return self.carnot_share * self.carnot(outdoor_c)


def plant_numbers(plant: Plant, where: str) -> PlantNumbers:
    """A plant in SI units; details left out are those of `PlantDetails`.

    Raises
    ------
    InputError
        When the COP is above Carnot's.
    """
    details = plant.details or PlantDetails()
    found = PlantNumbers(
        chillers=plant.chillers - plant.redundancy,
        redundancy=plant.redundancy,
        chiller_w=parse_quantity(plant.chiller_capacity),
        supply_c=parse_quantity(details.supply_temperature),
        tower=details.heat_rejection == "Tower",
        free_cooling=details.free_cooling,
        approach_k=parse_quantity(details.approach),
        cop=parse_quantity(details.cop),
        cop_outdoor_c=parse_quantity(details.cop_outdoor),
        pump_share=parse_quantity(details.pump_power) / 100.0,
        fan_share=parse_quantity(details.fan_power) / 100.0,
        cycles=parse_quantity(details.cycles),
    )
    if found.carnot_share > 1.0:
        most = found.cop / found.carnot_share
        raise InputError(
            f"{where}.details.cop",
            f"{found.cop:g} at {found.cop_outdoor_c:g} degC outdoors",
            f"at most Carnot's {most:.4g} between {EXCHANGER_K:g} K below the supply temperature "
            f"and {EXCHANGER_K:g} K above outdoor air with its approach",
        )
    return found


@dataclass(frozen=True)
class PlantClimate:
    """What the weather of each hour makes of a plant, all [H].

    Attributes
    ----------
    cop
        Of a fully loaded chiller.
    free_share
        Part of the heat that outdoor air takes without a chiller, 0 to 1.
    fan_ease
        Air flow of tower or dry cooler for the same heat, over that at full approach; below 1
        where free cooling has a wider gap.
    litres_per_joule
        Water made up per joule rejected.
    without_chillers_c
        Facility water that outdoor air alone can hold, not below its setpoint [degC].
    """

    cop: Floats
    free_share: Floats
    fan_ease: Floats
    litres_per_joule: Floats
    without_chillers_c: Floats


def plant_climate(
    plant: PlantNumbers, dry_c: Floats, wet_c: Floats, pressure_pa: float
) -> PlantClimate:
    """What does not depend on the heat."""
    outdoor = wet_c if plant.tower else dry_c
    cold = outdoor + plant.approach_k
    rise = water_rise_k(RISE_FLOW)
    share = np.clip((plant.supply_c + rise - cold) / rise, 0.0, 1.0)
    if not plant.free_cooling:
        share = np.zeros_like(share)
    gap = np.maximum(plant.supply_c - outdoor, plant.approach_k)
    litres = np.zeros_like(cold)
    if plant.tower:
        water = np.maximum(cold, np.where(share >= 1.0, plant.supply_c, cold)) + 0.5 * rise
        latent = latent_share(dry_c, wet_c, water, pressure_pa)
        evaporated = latent / evaporation_heat_j_per_kg(water) / WATER_DENSITY * LITRES_PER_M3
        litres = evaporated * plant.cycles / (plant.cycles - 1.0)
    return PlantClimate(
        cop=plant.full_load_cop(outdoor),
        free_share=share,
        fan_ease=np.where(share >= 1.0, plant.approach_k / gap, 1.0),
        litres_per_joule=litres,
        without_chillers_c=np.maximum(cold, plant.supply_c),
    )


@dataclass(frozen=True)
class PlantHours:
    """A plant hour by hour, all [..., H]: powers [W], water [m3 per hour].

    `short_w` is heat beyond what chillers and free cooling carry: water warms where it lasts.
    """

    chillers_w: Floats
    rejection_w: Floats
    pumps_w: Floats
    water_m3: Floats
    short_w: Floats


def plant_hours(
    plant: PlantNumbers, climate: PlantClimate, heat_w: Floats, free_w: Floats | None = None
) -> PlantHours:
    """Power and water of a plant for its heat [..., H].

    Chillers are switched on one after another as the heat needs them and share it evenly; each
    draws cold / COP with a fixed part. Pumps draw their share of the heat (they hold a pressure,
    flow follows the heat); fans the cube of their speed, which follows the heat rejected.

    `free_w` is the heat that needs no chiller where that is not the plant's share of all of it.
    """
    free = heat_w * climate.free_share if free_w is None else free_w
    asked = heat_w - free
    made = np.minimum(asked, plant.capacity_w)
    running = np.ceil(made / plant.chiller_w)
    full = (1.0 - FIXED_SHARE) * made + FIXED_SHARE * running * plant.chiller_w
    chillers = full / climate.cop
    rejected = free + made + chillers
    reference = plant.capacity_w * (1.0 + 1.0 / plant.cop)
    speed = np.maximum(rejected / reference * climate.fan_ease, LEAST_SPEED)
    fans = plant.fan_share * plant.capacity_w * np.where(rejected > 0.0, speed**3, 0.0)
    litres = rejected * climate.litres_per_joule * SECONDS_PER_HOUR
    return PlantHours(
        chillers_w=chillers,
        rejection_w=fans,
        pumps_w=plant.pump_share * (free + made),
        water_m3=litres / LITRES_PER_M3,
        short_w=asked - made,
    )


def chiller_cop(plant: PlantNumbers, outdoor_c: float, heat_w: float) -> float:
    """COP of the chillers at an outdoor temperature (wet bulb for a tower) and a heat [W]."""
    made = min(heat_w, plant.capacity_w)
    running = float(np.ceil(made / plant.chiller_w))
    full = (1.0 - FIXED_SHARE) * made + FIXED_SHARE * running * plant.chiller_w
    return made * float(plant.full_load_cop(np.array([outdoor_c]))[0]) / full
