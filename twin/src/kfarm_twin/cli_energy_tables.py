"""Tables of ``kfarm energy``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kfarm_twin.energy_result import EnergyYear, Ranked
from kfarm_twin.figures import NONE, digits, figure

if TYPE_CHECKING:
    from rich.table import Table

KG_PER_T = 1000.0


def _number(value: float, unit: str = "") -> str:
    if not math.isfinite(value):
        return NONE
    return f"{digits(value)} {unit}".rstrip()


def _energy(kwh: float) -> str:
    return figure(kwh * 3.6e6, "J")


def _money(value: float, year: EnergyYear) -> str:
    if not math.isfinite(value) or year.currency is None:
        return NONE
    for size, word in ((1e9, "bn "), (1e6, "M ")):
        if abs(value) >= size:
            return f"{value / size:.4g} {word}{year.currency}"
    return f"{digits(value)} {year.currency}"


_ROWS: tuple[tuple[str, Callable[[EnergyYear], str]], ...] = (
    ("PUE", lambda y: _number(y.pue) + ("" if y.whole_year else " (of the span)")),
    ("IT energy", lambda y: _energy(y.it_kwh)),
    ("Energy from the grid", lambda y: _energy(y.facility_kwh)),
    ("  chillers", lambda y: _energy(y.uses_kwh["chillers"])),
    ("  heat rejection", lambda y: _energy(y.uses_kwh["heatRejection"])),
    ("  pumps", lambda y: _energy(y.uses_kwh["pumps"])),
    ("  air handlers, CDUs", lambda y: _energy(y.uses_kwh["airHandlers"] + y.uses_kwh["cdus"])),
    (
        "  losses outside racks",
        lambda y: _energy(sum(y.uses_kwh[name] for name in ("pdus", "ups", "transformer"))),
    ),
    ("IT power, highest", lambda y: figure(y.it_peak_w, "W")),
    ("Power from the grid, highest hour", lambda y: figure(y.facility_peak_w, "W")),
    ("  at the design weather", lambda y: figure(y.design_peak_w, "W")),
    ("  connection", lambda y: figure(y.capacity_w, "W")),
    (
        "Free cooling, mixed, chillers [h]",
        lambda y: f"{y.free_cooling_hours:,} / {y.mixed_hours:,} / {y.chiller_hours:,}",
    ),
    ("Water", lambda y: _number(y.water_m3, "m³")),
    ("WUE", lambda y: _number(y.wue, "l/kWh")),
    ("Cost of energy", lambda y: _money(y.energy_cost, y)),
    ("  of it for the peak", lambda y: _money(y.demand_charge, y)),
    ("Cost of water", lambda y: _money(y.water_cost, y)),
    ("CO2", lambda y: _number(y.carbon_kg / KG_PER_T, "t")),
    ("Accelerator-hours of work", lambda y: _number(y.accelerator_hours)),
    ("  energy of each", lambda y: _number(y.kwh_per_accelerator_hour, "kWh")),
    ("  cost of each", lambda y: _money(y.cost_per_accelerator_hour, y)),
    ("Heat that found no cold", lambda y: _energy(y.unmet_heat_kwh)),
)


def figures_table(years: Sequence[EnergyYear]) -> Table:
    """Figures of all farms side by side."""
    from rich import box  # noqa: PLC0415 - rich loads slowly; JSON does not need it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    first = years[0]
    table = Table(
        title=f"{first.hours:,} hours at a load of {digits(first.load)} %",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("")
    for year in years:
        label = year.farm if year.variant == "as described" else f"{year.farm}\n{year.variant}"
        table.add_column(Text(label), justify="right")
    for label, cell in _ROWS:
        cells = [cell(year) for year in years]
        if any(entry != NONE for entry in cells):
            table.add_row(label, *cells)
    return table


def ranking_table(rows: Sequence[Ranked]) -> Table:
    """Clusters from most to least operations per watt, precision by precision."""
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(
        title="Clusters by what they do for a watt (dense rates of data sheets)",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("For", no_wrap=True)
    for header in ("Farm", "Cluster", "Cooling"):
        table.add_column(header)
    for header in ("Rate\n[Pop/s]", "From the\ngrid [kW]", "Gop/s\nper W", "Pop per\ncurrency"):
        table.add_column(header, justify="right")
    last = ""
    for row in rows:
        name = row.farm if row.variant == "as described" else f"{row.farm}, {row.variant}"
        table.add_row(
            row.precision if row.precision != last else "",
            Text(name),
            Text(f"{row.cluster} ({row.accelerator})"),
            row.cooling,
            _number(row.rate / 1e15),
            _number(row.facility_w / 1e3),
            _number(row.per_watt / 1e9),
            _number(row.per_currency / 1e15),
        )
        last = row.precision
    return table
