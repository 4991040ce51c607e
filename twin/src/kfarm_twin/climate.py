"""A typical year of outdoor air at a site, hour by hour, made from climate normals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from kfarm_api.base import Name, Strict, Text
from kfarm_api.units import Bounds, Quantity, parse_quantity
from pydantic import Field

from kfarm_twin.arrays import Floats
from kfarm_twin.calendar_year import HOURS_PER_YEAR, MONTH_DAYS, MONTH_OF_DAY
from kfarm_twin.load import load_model
from kfarm_twin.psychrometry import saturation_pa, standard_pressure_pa, wet_bulb_c
from kfarm_twin.request import InputError

WARMEST_HOUR = 15
"""Hour of local time at which the air is warmest: mid-afternoon."""
DAY_TO_DAY_MEMORY = 0.65
"""Correlation of a day's mean temperature with that of the day before (assumption; mid-latitudes
0.6 to 0.8)."""
_SEED = 1991_2020

_Celsius = Annotated[Quantity, Bounds("-60", "60", "degC")]
_Monthly = Field(min_length=12, max_length=12)


class Design(Strict):
    """What a plant is laid out for [degC]."""

    dry: _Celsius
    wet: _Celsius


class Normals(Strict):
    """Climate normals of a station, January to December."""

    name: Name
    title: Text
    places: Text
    latitude: Annotated[Quantity, Bounds("-90", "90", "deg")]
    longitude: Annotated[Quantity, Bounds("-180", "180", "deg")]
    elevation: Annotated[Quantity, Bounds("-500", "6000", "m")]
    source: Annotated[str, Field(min_length=1, max_length=1024)]
    confidence: Literal["High", "Medium", "Derived", "Low"]
    mean_temperature: Annotated[list[_Celsius], _Monthly]
    daily_high: Annotated[list[_Celsius], _Monthly]
    daily_low: Annotated[list[_Celsius], _Monthly]
    relative_humidity: Annotated[list[Annotated[Quantity, Bounds("1", "100", "percent")]], _Monthly]
    day_to_day: Annotated[list[Annotated[Quantity, Bounds("0", "15", "K")]], _Monthly]
    design: Design


@dataclass(frozen=True)
class Climate:
    """Outdoor air of 8,760 hours from 1 January 0 o'clock local time.

    Attributes
    ----------
    name, title, source, confidence
        For people.
    dry_c, wet_c
        [8760] dry and wet bulb [degC].
    pressure_pa
        Air pressure, taken as constant [Pa].
    design_dry_c, design_wet_c
        What a plant is laid out for [degC].
    """

    name: str
    title: str
    source: str
    confidence: str
    dry_c: Floats
    wet_c: Floats
    pressure_pa: float
    design_dry_c: float
    design_wet_c: float


def climate_names() -> list[str]:
    """Names of the climates that come with kfarm."""
    folder = files("kfarm_twin") / "data" / "climates"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def climate_named(name: str, where: str = "site.climate") -> Climate:
    """A climate that comes with kfarm; `where` names what asked for it in errors.

    Raises
    ------
    InputError
        When there is none of this name.
    """
    if name not in climate_names():
        expected = f"one of {', '.join(climate_names())}, or an EPW file with --epw"
        raise InputError(where, repr(name), expected)
    return _shipped(name)


@cache
def _shipped(name: str) -> Climate:
    with as_file(files("kfarm_twin") / "data" / "climates" / f"{name}.yaml") as path:
        return typical_year(read_normals(path))


def read_normals(path: Path) -> Normals:
    """Read a file of normals.

    Raises
    ------
    ManifestError
        With every problem of the file.
    """
    return load_model(path, Normals)


def typical_year(normals: Normals, *, weather: bool = True) -> Climate:
    """Hours from normals: season, day, weather, humidity.

    1. Season: straight lines through a value at the middle of each month, chosen so that the mean
       over each month is the normal (a 12 x 12 system).
    2. Day: a cosine of half the normal daily range, warmest at 15 h.
    3. Weather: daily deviations of a first-order autoregression with the normals' standard
       deviation, the same for all hours of a day, shifted so that no month's mean moves. Left out
       without `weather`. They come from a counter-based generator: the same on every machine.
    4. Humidity: one vapour pressure a day, with the month's factor chosen such that the mean of the
       hourly relative humidity is the normal; wet bulb by the psychrometer equation.
    """
    mean, high, low = (
        _numbers(column)
        for column in (normals.mean_temperature, normals.daily_high, normals.daily_low)
    )
    day = _season(mean)
    if weather:
        day = day + _weather(_numbers(normals.day_to_day))
    swing = np.repeat(_season(0.5 * (high - low)), 24)
    clock = np.cos(2.0 * np.pi * (np.tile(np.arange(24), 365) - WARMEST_HOUR) / 24.0)
    dry = np.repeat(day, 24) + np.maximum(swing, 0.0) * clock
    pressure = standard_pressure_pa(parse_quantity(normals.elevation))
    vapour = _vapour(dry, day, _numbers(normals.relative_humidity) / 100.0)
    return Climate(
        name=normals.name,
        title=normals.title,
        source=normals.source,
        confidence=normals.confidence,
        dry_c=dry,
        wet_c=wet_bulb_c(dry, vapour, pressure),
        pressure_pa=pressure,
        design_dry_c=parse_quantity(normals.design.dry),
        design_wet_c=parse_quantity(normals.design.wet),
    )


def _numbers(texts: list[Any]) -> Floats:
    return np.array([parse_quantity(text) for text in texts])


def _season(monthly: Floats) -> Floats:
    """[365] daily values on straight lines between mid-months, with the given monthly means."""
    days = np.arange(365) + 0.5
    middles = np.cumsum(MONTH_DAYS) - 0.5 * MONTH_DAYS
    around = np.concatenate(([middles[-1] - 365.0], middles, [middles[0] + 365.0]))
    basis = np.empty((365, 12))
    for month in range(12):
        nodes = np.eye(12)[month]
        basis[:, month] = np.interp(days, around, np.concatenate(([nodes[-1]], nodes, [nodes[0]])))
    means = np.stack([basis[month == MONTH_OF_DAY].mean(axis=0) for month in range(12)])
    return np.asarray(basis @ np.linalg.solve(means, monthly))


def _weather(spread_k: Floats) -> Floats:
    """[365] deviations of daily means [K]; each month's mean is 0."""
    shocks = _normals(2 * 365)
    keep = math.sqrt(1.0 - DAY_TO_DAY_MEMORY**2)
    state, path = 0.0, np.empty(2 * 365)
    for index, shock in enumerate(shocks):
        state = DAY_TO_DAY_MEMORY * state + keep * shock
        path[index] = state
    found = path[365:] * np.maximum(_season(spread_k), 0.0)
    for month in range(12):
        mine = month == MONTH_OF_DAY
        found[mine] -= found[mine].mean()
    return found


def _normals(count: int) -> Floats:
    """Standard normal numbers from Philox' raw words by Box and Muller's method."""
    words = np.random.Philox(key=_SEED).random_raw(2 * count).reshape(2, count)
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53
    found = np.sqrt(-2.0 * np.log(uniform[0])) * np.cos(2.0 * np.pi * uniform[1])
    return np.asarray(found)


def _vapour(dry: Floats, day: Floats, humidity: Floats) -> Floats:
    """[8760] vapour pressure [Pa] with the month's mean relative humidity."""
    saturated = saturation_pa(dry)
    daily = np.repeat(saturation_pa(day), 24)
    month = np.repeat(MONTH_OF_DAY, 24)
    factor = humidity.copy()
    for _ in range(20):
        vapour = np.minimum(daily * factor[month], saturated)
        got = np.array([(vapour / saturated)[month == m].mean() for m in range(12)])
        factor = factor * humidity / got
    return np.minimum(daily * factor[month], saturated)


def hours_from(climate: Climate, start: int, hours: int) -> tuple[Floats, Floats]:
    """Dry and wet bulb [hours] from hour `start` of the year on, the year repeated."""
    index = (start + np.arange(hours)) % HOURS_PER_YEAR
    return climate.dry_c[index], climate.wet_c[index]
