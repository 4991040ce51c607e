"""A typical year of a farm in figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kfarm_twin.arrays import Floats
from kfarm_twin.calendar_year import HOURS_PER_YEAR


@dataclass(frozen=True)
class Work:
    """What a farm does hour by hour.

    Attributes
    ----------
    load
        [H] load of the accelerators of working nodes [percent].
    cpu_load
        [H] load of those nodes' other parts [percent].
    busy
        Share of the nodes without spares that work; the rest idles.
    start
        Hour of the typical year at which the first hour begins.
    """

    load: Floats
    cpu_load: Floats
    busy: float = 1.0
    start: int = 0

    @classmethod
    def steady(cls, load: float, cpu_load: float | None = None, busy: float = 1.0) -> Work:
        """The same load in all 8,760 hours; `cpu_load` left out is that of the accelerators."""
        other = load if cpu_load is None else cpu_load
        return cls(np.full(HOURS_PER_YEAR, load), np.full(HOURS_PER_YEAR, other), busy)


@dataclass(frozen=True)
class Link:
    """Mean power from one place to the next [W]; the Sankey diagram's bands."""

    source: str
    target: str
    watts: float


@dataclass(frozen=True)
class Month:
    """A month of the typical year; NaN where the span has no hour of it."""

    month: str
    pue: float
    it_kwh: float
    facility_kwh: float
    energy_charge: float
    water_m3: float
    carbon_kg: float
    free_cooling_hours: int
    dry_c: float
    wet_c: float


@dataclass(frozen=True)
class ClusterYear:
    """A cluster's part.

    Attributes
    ----------
    node_w
        Mean power of a working node [W].
    device_c
        Highest steady device temperature of a working node [degC].
    facility_w
        Mean power from the grid that the cluster is the cause of [W]: its IT power with the losses
        on the way, its own CDUs and handlers, and the plant by heat.
    speed
        Of accelerators that heat or a power limit slows; 1 where none does.
    rates
        Dense operations per second of all working accelerators at this speed, by precision.
    yearly_cost
        Energy and nodes (paid off over their life), per year; NaN where a price is missing.
    """

    name: str
    accelerator: str
    cooling: str
    nodes: int
    working_nodes: int
    accelerators: int
    node_w: float
    device_w: float
    device_c: float
    throttled: bool
    it_w: float
    facility_w: float
    speed: float
    rates: dict[str, float]
    energy_cost: float
    node_cost: float
    yearly_cost: float


@dataclass(frozen=True)
class Hourly:
    """Hour by hour, all [H]."""

    it_w: Floats
    facility_w: Floats
    pue: Floats
    free_share: Floats
    dry_c: Floats
    wet_c: Floats
    water_m3: Floats
    price_per_kwh: Floats


@dataclass(frozen=True)
class EnergyYear:
    """The answer for one farm; energies in kWh, costs in the tariff's currency.

    `whole_year` is False where the span is not 8,760 hours: PUE and WUE are then those of the span,
    not those of ISO/IEC 30134. `uses_kwh` sums to `facility_kwh`; `design_peak_w` is the power at
    the site's design weather with the span's highest IT power.
    """

    farm: str
    kind: str
    site: str
    variant: str
    climate: str
    climate_source: str
    tariff: str | None
    currency: str | None
    hours: int
    whole_year: bool
    load: float
    cpu_load: float
    busy: float
    it_kwh: float
    facility_kwh: float
    it_peak_w: float
    facility_peak_w: float
    design_peak_w: float
    capacity_w: float
    pue: float
    wue: float
    water_m3: float
    energy_charge: float
    demand_charge: float
    energy_cost: float
    water_cost: float
    carbon_kg: float
    free_cooling_hours: int
    mixed_hours: int
    chiller_hours: int
    unmet_heat_kwh: float
    accelerator_hours: float
    kwh_per_accelerator_hour: float
    cost_per_accelerator_hour: float
    uses_kwh: dict[str, float]
    months: tuple[Month, ...]
    links: tuple[Link, ...]
    clusters: tuple[ClusterYear, ...]
    hourly: Hourly
    assumptions: tuple[str, ...]


@dataclass(frozen=True)
class Ranked:
    """A cluster of a farm in a ranking: what it does for a watt and for its currency.

    Attributes
    ----------
    precision
        Of the rates that are compared.
    rate
        Dense operations per second of all working accelerators.
    per_watt
        Operations per second and watt from the grid, that is, operations per joule.
    per_currency
        Operations for one unit of the currency: a year's operations over a year's cost of nodes and
        energy; NaN where a price is missing.
    """

    farm: str
    variant: str
    cluster: str
    accelerator: str
    cooling: str
    precision: str
    rate: float
    facility_w: float
    yearly_cost: float
    per_watt: float
    per_currency: float


@dataclass(frozen=True)
class EnergyResult:
    """The answer of ``kfarm energy``.

    Attributes
    ----------
    years
        One for each farm and kind of cooling, in the order asked for.
    ranking
        Clusters by precision, then from most to least operations per watt.
    """

    years: tuple[EnergyYear, ...]
    ranking: tuple[Ranked, ...]
