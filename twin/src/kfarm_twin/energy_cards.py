"""Cards about a year of energy, which the page of ``kfarm energy`` and reports share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from kfarm_twin.energy_flow import power_flow
from kfarm_twin.figures import NONE, digits, figure
from kfarm_twin.pictures.sankey import sankey
from kfarm_twin.pictures.year import HOURS, Year, scale_of, year_drawing

if TYPE_CHECKING:
    from kfarm_twin.energy_result import EnergyYear

PLAN_FACTS = ("PUE", "WUE", "Energy", "Cost", "Carbon", "Peak", "Without chillers", "Climate")


def label(year: EnergyYear) -> str:
    """The farm, and how it is cooled where that is not as described."""
    return year.farm if year.variant == "as described" else f"{year.farm}, {year.variant}"


def mean_w(year: EnergyYear) -> float:
    """Mean power of the whole site [W]."""
    return year.facility_kwh * 1000.0 / year.hours


def money(value: float, currency: str | None) -> str:
    """An amount in the unit that reads best."""
    if not math.isfinite(value) or currency is None:
        return NONE
    size, name = scale_of(value)
    return " ".join(word for word in (four(value / size), name, currency) if word)


def four(value: float) -> str:
    """Four significant digits."""
    return digits(float(f"{value:.4g}"))


def facts(year: EnergyYear, wanted: Sequence[str] = ()) -> str:
    """Figures by name; those `wanted`, or all."""

    def known(value: float, text: str) -> str:
        return text if math.isfinite(value) else NONE

    told = [
        ("PUE" if year.whole_year else "PUE of the span", known(year.pue, f"{year.pue:.4f}")),
        ("WUE", known(year.wue, f"{year.wue:.3f} l/kWh")),
        ("Energy", figure(year.facility_kwh * 3.6e6, "J")),
        ("Cost", money(year.energy_cost, year.currency)),
        ("Carbon", known(year.carbon_kg, f"{four(year.carbon_kg / 1000)} t")),
        ("Water", known(year.water_m3, f"{four(year.water_m3)} m³")),
        ("Peak", figure(year.facility_peak_w, "W")),
        ("Peak at design weather", figure(year.design_peak_w, "W")),
        ("Connection", figure(year.capacity_w, "W")),
        ("Without chillers", f"{year.free_cooling_hours:,} h, in part {year.mixed_hours:,} h"),
        (
            "Per accelerator-hour",
            known(year.kwh_per_accelerator_hour, f"{four(year.kwh_per_accelerator_hour)} kWh"),
        ),
        ("Load", f"{four(year.load)} % of accelerators, {100 * year.busy:.0f} % of nodes work"),
        ("Site", year.site),
        ("Climate", year.climate),
        ("Tariff", year.tariff or NONE),
    ]
    shown = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in told
        if not wanted or name in wanted
    )
    return f'<dl class="facts">{shown}</dl>'


def _flow(year: EnergyYear) -> str:
    return (
        '<h3>Where the power goes</h3><p class="note">Mean power from the grid to the chip; what '
        f"enters a station leaves it.</p>{sankey(power_flow(year))}"
    )


def _over_time(year: EnergyYear) -> str:
    hourly = year.hourly
    if len(hourly.it_w) != HOURS:
        return ""
    priced = bool(np.isfinite(hourly.price_per_kwh).all())
    drawn = Year(
        facility_w=hourly.facility_w,
        it_w=hourly.it_w,
        wet_bulb_c=hourly.wet_c,
        dry_bulb_c=hourly.dry_c,
        free_cooling=hourly.free_share,
        cost=hourly.facility_w / 1000.0 * hourly.price_per_kwh if priced else None,
        currency=year.currency or "",
    )
    demand = money(year.demand_charge, year.currency)
    more = (
        f" Not in the monthly cost: demand charge of {demand}." if priced and demand != NONE else ""
    )
    return (
        '<h3>PUE over the year</h3><p class="note">Daily mean on a band from the lowest to the '
        "highest hour, with monthly means (energy over energy). Shaded below: the share of the "
        f"heat that needs no chiller.{escape(more)}</p>{year_drawing(drawn)}"
    )


def plan_section(years: Sequence[EnergyYear]) -> str:
    """The card of a validation report: the plan's farms, with nothing but the plan, for a year."""
    if not years:
        return ""
    cards = [year_card(year, PLAN_FACTS) for year in years]
    if len(years) > 1:
        cards = [
            folded(label(year), card, opened=at == 0)
            for at, (year, card) in enumerate(zip(years, cards, strict=True))
        ]
    return (
        '<section id="energy"><h2>Power and PUE</h2><p class="note">As if the plan, and nothing '
        "else, ran on its farms for a typical year; nodes without a pod of the plan are idle. The "
        f"metric pue is that of the futures.</p>{''.join(cards)}</section>"
    )


def year_card(year: EnergyYear, wanted: Sequence[str] = ()) -> str:
    """Figures, power diagram and curve of a year; only the `wanted` figures, or all."""
    return facts(year, wanted) + _flow(year) + _over_time(year)


def folded(title: str, content: str, *, opened: bool) -> str:
    """Content that a reader may fold away."""
    attribute = " open" if opened else ""
    return (
        f'<details class="farm"{attribute}><summary><h2>{escape(title)}</h2></summary>{content}'
        "</details>"
    )
