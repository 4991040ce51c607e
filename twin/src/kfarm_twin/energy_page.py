"""The page of ``kfarm energy``: where the power goes, the year, air and liquid, the ranking."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from kfarm_twin.energy_cards import folded, four, label, mean_w, money, year_card
from kfarm_twin.energy_flow import power_flow
from kfarm_twin.figures import NONE, figure
from kfarm_twin.pictures.year import Bar, bars
from kfarm_twin.report_page import page
from kfarm_twin.traces.write import replacing

if TYPE_CHECKING:
    from kfarm_twin.energy_result import EnergyResult, EnergyYear, Ranked

STYLES = ("report.css", "compare.css", "pictures.css")
LEAST_WORK = 5e-4
"""Share of work below which two farms do the same."""
_PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))
_BANDS = (
    ("Accelerators", "f-device", "device"),
    ("Rest of the nodes", "f-node", "node"),
    ("Cooling, fans", "f-cooling", "cooling"),
    ("Lost on the way", "f-loss", "loss"),
    ("Other", "f-other", "other"),
)


def write_page(path: Path, result: EnergyResult, command: str) -> None:
    """Write the page, whole or not at all; `command` gives the same result.

    Raises
    ------
    ManifestError
        Where it cannot be written.
    """
    with replacing(path) as stream:
        stream.write(render(result, command).encode())


def render(result: EnergyResult, command: str) -> str:
    """The whole page; every text from a manifest is escaped."""
    first, *more = headline(result.years)
    items = "".join(f"<li>{escape(text)}</li>" for text in more)
    body = (
        '<header class="plain"><p class="kicker">kfarm energy</p>'
        f'<h1 class="finding">{escape(first)}</h1>'
        + (f'<ul class="takeaways">{items}</ul></header>' if items else "</header>")
        + _comparison(result.years)
        + "".join(
            _year(year, len(result.years) > 1, at == 0) for at, year in enumerate(result.years)
        )
        + _ranking(result.ranking, result.years)
        + _assumptions(result.years)
        + f"<section><h2>Reproduce</h2><pre><code>{escape(command)}</code></pre></section>"
    )
    return page("kfarm energy", body, {}, styles=STYLES, scripts=(), plotly=False)


def headline(years: Sequence[EnergyYear]) -> list[str]:
    """The finding, and what else a reader should know, as sentences."""
    told = [_sentence(year) for year in years]
    pairs = [
        (air, liquid)
        for air in years
        for liquid in years
        if air.farm == liquid.farm and (air.variant, liquid.variant) == ("Air", "Liquid")
    ]
    found = [_saving(*pair) for pair in pairs if abs(mean_w(pair[0]) - mean_w(pair[1])) >= 0.5]
    short = [
        f"{label(y)}: {four(y.unmet_heat_kwh)} kWh of heat exceed what the plant can take."
        for y in years
        if y.unmet_heat_kwh > 0.5
    ]
    over = [
        f"{label(y)}: the peak of {figure(y.facility_peak_w, 'W')} exceeds the connection of "
        f"{figure(y.capacity_w, 'W')}."
        for y in years
        if y.facility_peak_w > y.capacity_w
    ]
    return [*found, *told, *short, *over]


def _sentence(year: EnergyYear) -> str:
    span = "a typical year" if year.whole_year else f"{year.hours:,} hours"
    cost = money(year.energy_cost, year.currency)
    bill = "" if cost == NONE else f" for {cost}"
    pue = f"PUE {year.pue:.3f}" if math.isfinite(year.pue) else "no IT power"
    energy = figure(year.facility_kwh * 3.6e6, "J")
    return f"{label(year)}: {pue} over {span}, {energy}{bill}."


def _saving(air: EnergyYear, liquid: EnergyYear) -> str:
    watts, cost = mean_w(air) - mean_w(liquid), air.energy_cost - liquid.energy_cost
    word = "less" if watts >= 0 else "more"
    bill = money(abs(cost), air.currency)
    more = "" if bill == NONE else f", for {bill} {'less' if cost >= 0 else 'more'} a year"
    done = liquid.accelerator_hours / air.accelerator_hours - 1 if air.accelerator_hours else 0.0
    work = (
        "for the same work"
        if abs(done) < LEAST_WORK
        else f"and does {four(100 * abs(done))} % {'more' if done > 0 else 'less'} work"
    )
    return (
        f"{air.farm}: liquid cooling draws {figure(abs(watts), 'W')} {word} than air {work}{more}."
    )


def _comparison(years: Sequence[EnergyYear]) -> str:
    if len(years) < 2:
        return ""
    rows = []
    for year in years:
        sums = dict.fromkeys((kind for _, _, kind in _BANDS), 0.0)
        for end in power_flow(year).ends():
            sums[end.kind] += end.power_w
        pue = f"PUE {year.pue:.3f}" if math.isfinite(year.pue) else NONE
        figures = (figure(mean_w(year), "W"), pue, money(year.energy_cost, year.currency))
        told = " · ".join(text for text in figures if text != NONE)
        parts = tuple((name, style, sums[kind]) for name, style, kind in _BANDS)
        rows.append(Bar(label(year), parts, told))
    return (
        '<section><h2>Side by side</h2><p class="note">Mean power of the whole site by use, on one '
        f"scale.</p>{bars(rows, 'Mean power by use')}</section>"
    )


def _year(year: EnergyYear, several: bool, opened: bool) -> str:
    content = year_card(year)
    if not several:
        return f"<section><h2>{escape(label(year))}</h2>{content}</section>"
    return f"<section>{folded(label(year), content, opened=opened)}</section>"


def _ranking(rows: Sequence[Ranked], years: Sequence[EnergyYear]) -> str:
    if not rows:
        return ""
    by_precision: dict[str, list[Ranked]] = {}
    for row in rows:
        by_precision.setdefault(row.precision, []).append(row)
    widest = max(by_precision, key=lambda name: len(by_precision[name]))
    currency = next((year.currency for year in years if year.currency), None) or "currency"
    tables = "".join(
        f"<details{' open' if name == widest else ''}><summary>{escape(name)}, {len(found)} "
        f"clusters</summary>{_ranked(found, currency)}</details>"
        for name, found in by_precision.items()
    )
    return (
        '<section><h2>Performance per watt and per won</h2><p class="note">Dense nameplate '
        "operations of the working accelerators at the speed that heat and limits leave them, over "
        "power from the grid with cooling and losses, and over the yearly cost of nodes and energy "
        f"where prices are given.</p>{tables}</section>"
    )


def _ranked(rows: Sequence[Ranked], currency: str) -> str:
    best = max((row.per_watt for row in rows if math.isfinite(row.per_watt)), default=0.0) or 1.0
    priced = any(math.isfinite(row.per_currency) for row in rows)
    heads = (
        '<th>Cluster</th><th>Accelerator</th><th>Cooling</th><th class="n">Operations</th>'
        '<th class="n">Site power</th><th class="n">Per watt</th><th></th>'
    )
    if priced:
        heads += f'<th class="n">Per {escape(currency)}</th>'
    lines = "".join(_ranked_row(row, best, priced) for row in rows)
    return (
        f'<div class="scroll"><table class="tight"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def _ranked_row(row: Ranked, best: float, priced: bool) -> str:
    farm = row.farm if row.variant == "as described" else f"{row.farm}, {row.variant}"
    share = 100 * row.per_watt / best if math.isfinite(row.per_watt) else 0.0
    return (
        f'<tr><th scope="row">{escape(row.cluster)}<small>{escape(farm)}</small></th>'
        f"<td>{escape(row.accelerator)}</td><td>{escape(row.cooling)}</td>"
        f'<td class="n">{_rate(row.rate, "/s")}</td>'
        f'<td class="n">{figure(row.facility_w, "W")}</td>'
        f'<td class="n">{_rate(row.per_watt, "/J")}</td>'
        f'<td><span class="meter"><i class="f-device" style="width:{share:.2f}%"></i></span></td>'
        + (f'<td class="n">{_rate(row.per_currency, "")}</td>' if priced else "")
        + "</tr>"
    )


def _rate(value: float, per: str) -> str:
    if not math.isfinite(value):
        return NONE
    for size, prefix in _PREFIXES:
        if abs(value) >= size:
            return f"{four(value / size)} {prefix}op{per}"
    return f"{four(value)} op{per}"


def _assumptions(years: Sequence[EnergyYear]) -> str:
    told: dict[str, list[str]] = {}
    for year in years:
        for text in year.assumptions:
            told.setdefault(text, []).append(label(year))
    if not told:
        return ""
    items = "".join(
        f"<li>{escape(text)}"
        + (f' <span class="soft">({escape(", ".join(who))})</span>' if len(years) > 1 else "")
        + "</li>"
        for text, who in told.items()
    )
    return f'<section><h2>What is assumed</h2><ul class="rules">{items}</ul></section>'
