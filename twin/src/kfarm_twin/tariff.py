"""Electricity tariffs as data: prices by season, weekday and hour, and a charge for the peak."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from kfarm_api.base import Cel, Name, Strict, Text
from kfarm_api.units import Bounds, Quantity, parse_quantity
from pydantic import Field

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.calendar_year import (
    DAY_OF_MONTH,
    HOURS_PER_YEAR,
    MONTH_OF_DAY,
    MONTH_OF_HOUR,
    weekday,
)
from kfarm_twin.load import load_model
from kfarm_twin.request import InputError

Price = Annotated[Quantity, Bounds("-100000", "1000000")]
Letter = Annotated[str, Field(pattern=r"^[a-z]$")]
_SATURDAY, _SUNDAY = 5, 6
W_PER_KW = 1000.0


class Season(Strict):
    """Months with the same prices; `hours` has a letter for each hour of a working day."""

    name: Name
    months: Annotated[list[Annotated[int, Field(ge=1, le=12)]], Field(min_length=1, max_length=12)]
    hours: Annotated[str, Field(pattern=r"^[a-z]{24}$")]
    rates: Annotated[dict[Letter, Price], Field(min_length=1, max_length=26)]
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "true",
            "a season's rates must have a price for each letter of its hours",
            lambda s: set(s.hours) <= set(s.rates),
        ),
    )


class Demand(Strict):
    """A charge for the highest demand [per kW and month].

    Peaks of `months` count in every month of the year, as do those of the month itself; without,
    only the latter.
    """

    rate: Annotated[Quantity, Bounds("0", "1000000")]
    months: Annotated[list[Annotated[int, Field(ge=1, le=12)]], Field(max_length=12)] = Field(
        default_factory=list
    )


class Extra(Strict):
    """An amount on each kWh whatever the hour."""

    name: Text
    rate: Price


class TariffTable(Strict):
    """A tariff as it stands in a file.

    On Saturdays and holidays (and Sundays) letters count as `saturday` and `holiday` say. With
    `mean` each kWh costs so much more, or less, that a load that never varies pays this mean over
    the typical year.
    """

    name: Name
    title: Text
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    effective: Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
    source: Annotated[str, Field(min_length=1, max_length=1024)]
    confidence: Literal["High", "Medium", "Derived", "Low"]
    seasons: Annotated[list[Season], Field(min_length=1, max_length=12)]
    saturday: dict[Letter, Letter] = Field(default_factory=dict)
    holiday: dict[Letter, Letter] = Field(default_factory=dict)
    holidays: Annotated[
        list[Annotated[str, Field(pattern=r"^[0-9]{2}-[0-9]{2}$")]], Field(max_length=60)
    ] = Field(default_factory=list)
    demand: Demand | None = None
    per_kwh: Annotated[list[Extra], Field(max_length=16)] = Field(default_factory=list)
    mean: Annotated[Quantity, Bounds("0", "1000000")] | None = None
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "true",
            "each month must belong to exactly one season",
            lambda t: sorted(m for s in t.seasons for m in s.months) == list(range(1, 13)),
        ),
        Cel(
            "true",
            "what saturday and holiday turn letters into must have a price in every season",
            lambda t: all(
                set(day.values()) <= set(s.rates)
                for s in t.seasons
                for day in (t.saturday, t.holiday)
            ),
        ),
    )


@dataclass(frozen=True)
class Tariff:
    """Prices of the typical year.

    Attributes
    ----------
    price_per_kwh
        [8760] all that is paid per kWh.
    demand_per_kw_month
        Charge for the highest demand.
    demand_months
        [12] True where a month's peak counts all year.
    levelled_by
        What was added to each kWh to meet a stated mean.
    """

    name: str
    title: str
    currency: str
    source: str
    confidence: str
    price_per_kwh: Floats
    demand_per_kw_month: float
    demand_months: Ints
    levelled_by: float = 0.0

    def energy_cost(self, grid_w: Floats, start: int = 0) -> Floats:
        """Cost of energy alone [...] of hourly means [..., H] from hour `start` of the year on."""
        hours = (start + np.arange(grid_w.shape[-1])) % HOURS_PER_YEAR
        return np.asarray(grid_w @ self.price_per_kwh[hours] / W_PER_KW)

    def demand_cost(self, grid_w: Floats, start: int = 0) -> Floats:
        """Demand charge [...] of hourly means [..., H], as long as they last.

        Over a whole year each month pays for the highest hour of its own and of `demand_months`.
        A shorter span pays its own highest hour for the part of the year that it takes.
        """
        hours = grid_w.shape[-1]
        if hours != HOURS_PER_YEAR:
            months = 12.0 * hours / HOURS_PER_YEAR
            return np.asarray(grid_w.max(axis=-1) / W_PER_KW * self.demand_per_kw_month * months)
        month = MONTH_OF_HOUR[(start + np.arange(hours)) % HOURS_PER_YEAR]
        peaks = np.stack([grid_w[..., month == m].max(axis=-1) for m in range(12)], axis=-1)
        lasting = np.where(self.demand_months > 0, peaks, 0.0).max(axis=-1, keepdims=True)
        billed = np.maximum(peaks, lasting).sum(axis=-1)
        return np.asarray(billed / W_PER_KW * self.demand_per_kw_month)

    def cost(self, grid_w: Floats, start: int = 0) -> Floats:
        """Energy and demand together."""
        return self.energy_cost(grid_w, start) + self.demand_cost(grid_w, start)


def tariff_names() -> list[str]:
    """Names of the tariffs that come with kfarm."""
    folder = files("kfarm_twin") / "data" / "tariffs"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def tariff_named(name: str, where: str = "power.tariff") -> Tariff:
    """A tariff that comes with kfarm; `where` names what asked for it in errors.

    Raises
    ------
    InputError
        When there is none of this name.
    """
    if name not in tariff_names():
        expected = f"one of {', '.join(tariff_names())}, or a file with --tariff"
        raise InputError(where, repr(name), expected)
    return _shipped(name)


@cache
def _shipped(name: str) -> Tariff:
    with as_file(files("kfarm_twin") / "data" / "tariffs" / f"{name}.yaml") as path:
        return read_tariff(path)


def read_tariff(path: Path) -> Tariff:
    """Read a tariff of one's own.

    Raises
    ------
    ManifestError
        With every problem of the file.
    """
    return compiled(load_model(path, TariffTable))


def compiled(table: TariffTable) -> Tariff:
    """Prices hour by hour."""
    price = _hourly(table) + sum(parse_quantity(extra.rate) for extra in table.per_kwh)
    demand = parse_quantity(table.demand.rate) if table.demand else 0.0
    months = np.zeros(12, dtype=np.int64)
    if table.demand:
        months[[month - 1 for month in table.demand.months]] = 1
    added = 0.0
    if table.mean is not None:
        flat = float(price.mean()) + demand * 12.0 / HOURS_PER_YEAR
        added = parse_quantity(table.mean) - flat
    return Tariff(
        name=table.name,
        title=table.title,
        currency=table.currency,
        source=table.source,
        confidence=table.confidence,
        price_per_kwh=price + added,
        demand_per_kw_month=demand,
        demand_months=months,
        levelled_by=added,
    )


def _hourly(table: TariffTable) -> Floats:
    """[8760] prices by season, weekday and hour."""
    season = {month: s for s in table.seasons for month in s.months}
    price = np.empty((365, 24))
    for day in range(365):
        month, date = int(MONTH_OF_DAY[day]) + 1, int(DAY_OF_MONTH[day])
        mine = season[month]
        turned: dict[str, str] = {}
        if weekday(day) == _SUNDAY or f"{month:02d}-{date:02d}" in table.holidays:
            turned = table.holiday
        elif weekday(day) == _SATURDAY:
            turned = table.saturday
        price[day] = [parse_quantity(mine.rates[turned.get(h, h)]) for h in mine.hours]
    return price.reshape(-1)
