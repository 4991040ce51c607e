"""Moist air: vapour pressure, wet bulb, humidity, enthalpy, and the part of heat that evaporates.

Temperatures in degC, pressures in Pa, humidity ratios in kg of vapour per kg of dry air. All
functions take arrays and return arrays of the same shape.
"""

from __future__ import annotations

import numpy as np

from kfarm_twin.arrays import Floats

STANDARD_PA = 101_325.0
VAPOUR_RATIO = 0.621945
"""Molar mass of water over that of dry air (ASHRAE Handbook Fundamentals 2017, chapter 1)."""
PSYCHROMETER = 6.53e-4
"""Coefficient of a ventilated psychrometer [1/K] (WMO-No. 8, 2018, annex 4.B)."""


def saturation_pa(temperature_c: Floats) -> Floats:
    """Vapour pressure over water [Pa] (Magnus form, WMO-No. 8, 2018, annex 4.B)."""
    t = np.asarray(temperature_c, dtype=np.float64)
    return 611.2 * np.exp(17.62 * t / (243.12 + t))


def standard_pressure_pa(elevation_m: float) -> float:
    """Pressure at an elevation [m] in the standard atmosphere [Pa] (ISO 2533)."""
    return STANDARD_PA * float((1.0 - 2.25577e-5 * elevation_m) ** 5.25588)


def wet_bulb_c(dry_c: Floats, vapour_pa: Floats, pressure_pa: Floats | float) -> Floats:
    """Wet bulb [degC] of air at `dry_c` with vapour pressure `vapour_pa`.

    The psychrometer equation e = es(Tw) - A (1 + 0.000944 Tw) p (T - Tw) (WMO-No. 8, 2018,
    annex 4.B) is solved by Newton's method from the dry bulb down: es is convex, so that every
    step stays above the root and eight of them reach 1e-9 K.
    """
    dry = np.asarray(dry_c, dtype=np.float64)
    wet = dry.copy()
    for _ in range(8):
        es = saturation_pa(wet)
        slope = es * 17.62 * 243.12 / (243.12 + wet) ** 2
        factor = PSYCHROMETER * pressure_pa
        scale = 1.0 + 0.000944 * wet
        miss = es - factor * scale * (dry - wet) - vapour_pa
        wet = wet - miss / (slope + factor * (scale - 0.000944 * (dry - wet)))
    return np.minimum(wet, dry)


def humidity_ratio(vapour_pa: Floats, pressure_pa: Floats | float) -> Floats:
    """Kilograms of vapour per kilogram of dry air (ASHRAE Fundamentals 2017, chapter 1)."""
    return VAPOUR_RATIO * vapour_pa / (pressure_pa - vapour_pa)


def enthalpy_j_per_kg(temperature_c: Floats, ratio: Floats) -> Floats:
    """Enthalpy of moist air per kilogram of dry air [J/kg] (ASHRAE Fundamentals, chapter 1)."""
    return 1006.0 * temperature_c + ratio * (2.501e6 + 1860.0 * temperature_c)


def evaporation_heat_j_per_kg(temperature_c: Floats) -> Floats:
    """Heat that a kilogram of water takes to evaporate [J/kg] (linear, WMO-No. 8; 2.5 MJ at 0)."""
    return 2.501e6 - 2361.0 * np.asarray(temperature_c, dtype=np.float64)


def latent_share(
    dry_c: Floats, wet_c: Floats, water_c: Floats, pressure_pa: Floats | float
) -> Floats:
    """Part of a cooling tower's heat that leaves as vapour, 0 to 1.

    Air enters as it is outside and leaves saturated at the mean temperature of the water, as in
    Merkel's model with a large tower. In cold air a third of the heat goes by warming the air.
    """
    vapour = saturation_pa(wet_c) - PSYCHROMETER * (1.0 + 0.000944 * wet_c) * pressure_pa * (
        dry_c - wet_c
    )
    enters = humidity_ratio(np.maximum(vapour, 0.0), pressure_pa)
    leaves = humidity_ratio(saturation_pa(water_c), pressure_pa)
    gained = enthalpy_j_per_kg(water_c, leaves) - enthalpy_j_per_kg(dry_c, enters)
    latent = (leaves - enters) * evaporation_heat_j_per_kg(water_c)
    share = latent / np.maximum(gained, 1e-9)
    return np.clip(np.where(gained > 0.0, share, 1.0), 0.0, 1.0)
