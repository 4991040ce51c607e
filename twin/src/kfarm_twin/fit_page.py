"""The page of ``kfarm fit failures``: the log beside futures of the fleet fitted to it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from kfarm_twin.arrays import Floats
from kfarm_twin.cli_fit_tables import ABSENT, GOODNESS, number, rows
from kfarm_twin.cli_fit_tables import cells as figure_cells
from kfarm_twin.figures import NONE
from kfarm_twin.fit.futures import Record, down_at_once, observed
from kfarm_twin.fit.model import Fit
from kfarm_twin.report_page import page

POINTS = 700
SHOWN = 3
"""Futures drawn beside the log."""


def render(fit: Fit, records: list[Record], data: Mapping[str, Any], command: str) -> str:
    """The whole page; text of the log is escaped."""
    log = data["log"]
    title = f"Faults of {data['file'].rsplit('/', 1)[-1]}"
    what = (
        f"{log['faults']:,} faults on {log['nodesWithFault']:,} of {log['nodes']:,} nodes in"
        f" {log['days']:,.4g} days; {len(records):,} futures of the fitted fleet, each with"
        " parameters drawn from what the log leaves open."
    )
    charts = "".join(
        f'<section><h2>{name}</h2><p class="note">{note}</p>'
        f'<div class="chart tall" id="{key}"></div></section>'
        for key, name, note in CHARTS
    )
    body = (
        f'<header><p class="kicker">kfarm fit failures</p><h1>{escape(title)}</h1>'
        f'<p class="message">{escape(what)}</p>{_warnings(data)}</header>{charts}'
        f"{_goodness(data)}{_parameters(data)}"
        f"<section><h2>Reproduce</h2><pre><code>{escape(command)}</code></pre></section>"
    )
    numbers = _data(fit, records)
    return page(title, body, numbers, styles=("report.css", "fit.css"), scripts=("fit.js",))


CHARTS = (
    ("time", "Nodes down at once", "The log and three of the futures."),
    (
        "share",
        "How much of the time at least so many are down",
        "The log against the middle half and the central 95 % of the futures.",
    ),
    (
        "survival",
        "Outages longer than",
        "Share of outages that last longer; the log against the central 95 % of the futures.",
    ),
    (
        "qq",
        "Quantiles of outages",
        "Each quantile of the log against the same of the futures; on the line they are equal.",
    ),
)


def _warnings(data: Mapping[str, Any]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in data["warnings"])
    return f'<ul class="warning">{items}</ul>' if items else ""


def _goodness(data: Mapping[str, Any]) -> str:
    lines = []
    for key, name in GOODNESS.items():
        if key not in data["goodness"]:
            continue
        one = data["goodness"][key]
        value, span = figure_cells(one["simulated"])
        style, word = ("good", "✓ within") if one["within"] else ("bad", "✕ outside")
        lines.append(
            f"<tr><th scope='row'>{escape(name)}</th><td class='n'>{number(one['observed'])}</td>"
            f"<td class='n'>{value}</td><td class='n'>{span}</td>"
            f"<td><span class='badge {style}'>{word}</span></td></tr>"
        )
    return (
        '<section><h2>Goodness of fit</h2><div class="scroll"><table><thead><tr><th>Figure</th>'
        '<th class="n">Log</th><th class="n">Median of futures</th><th class="n">Interval</th>'
        f"<th></th></tr></thead><tbody>{''.join(lines)}</tbody></table></div></section>"
    )


def _parameters(data: Mapping[str, Any]) -> str:
    lines = []
    for name, figure in rows(data["parameters"]):
        value, span = figure_cells(figure) if figure is not None else (NONE, ABSENT)
        lines.append(
            f"<tr><th scope='row'>{escape(name)}</th><td class='n'>{value}</td>"
            f"<td class='n'>{span}</td></tr>"
        )
    return (
        '<section><h2>Parameters</h2><div class="scroll"><table><thead><tr><th>Parameter</th>'
        '<th class="n">Value</th><th class="n">Interval</th></tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div></section>"
    )


def _data(fit: Fit, records: list[Record]) -> dict[str, Any]:
    span, seen = fit.log.span_h, observed(fit)
    at = np.linspace(0.0, span, POINTS)
    tails = [_at_least(down_at_once(record, 0.0, span)) for record in (seen, *records)]
    size = max(tail.size for tail in tails)
    table = np.array([np.pad(tail, (0, size - tail.size)) for tail in tails])
    lengths = np.geomspace(0.1, max(float((seen.end_h - seen.start_h).max()) * 2, 1.0), 120)
    longer = np.array([_longer(record, lengths) for record in (seen, *records) if record.node.size])
    chance = np.linspace(0.005, 0.995, 199)
    equal = np.array(
        [_quantiles(record, chance) for record in (seen, *records) if record.node.size]
    )
    return {
        "days": _numbers(at / 24),
        "series": [_numbers(_series(r, at)) for r in (seen, *records[:SHOWN])],
        "share": _band(table[0], table[1:]),
        "lengths": _numbers(lengths),
        "longer": _band(longer[0], longer[1:]),
        "equal": _band(equal[0], equal[1:]),
    }


def _series(record: Record, at: Floats) -> Floats:
    begun = np.searchsorted(np.sort(record.start_h), at, side="right")
    over = np.searchsorted(np.sort(record.end_h), at, side="right")
    return np.asarray(begun - over, dtype=float)


def _at_least(shares: Floats) -> Floats:
    return np.asarray(np.cumsum(shares[::-1])[::-1])


def _longer(record: Record, lengths: Floats) -> Floats:
    mine = np.sort(record.end_h - record.start_h)
    return np.asarray(1 - np.searchsorted(mine, lengths, side="right") / mine.size)


def _quantiles(record: Record, chance: Floats) -> Floats:
    return np.asarray(np.quantile(record.end_h - record.start_h, chance))


def _band(seen: Floats, played: Floats) -> dict[str, list[float]]:
    names = {"low": 0.025, "quarter": 0.25, "middle": 0.5, "threeQuarters": 0.75, "high": 0.975}
    return {
        "seen": _numbers(seen),
        **{name: _numbers(np.quantile(played, q, axis=0)) for name, q in names.items()},
    }


def _numbers(values: Floats) -> list[float]:
    return [float(f"{value:.5g}") for value in values.tolist()]
