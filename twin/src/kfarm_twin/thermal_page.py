"""The page of ``kfarm fit thermal``: measured and fitted temperatures, and what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from kfarm_twin.arrays import Floats
from kfarm_twin.cli_fit_tables import cells, number
from kfarm_twin.cli_thermal_tables import parameter_rows
from kfarm_twin.figures import NONE
from kfarm_twin.fit.thermal_fit import ThermalFit
from kfarm_twin.fit.thermal_predict import Prediction
from kfarm_twin.report_page import page

POINTS = 600
"""Samples of a run that are drawn."""
FLOWS = np.linspace(0.2, 1.0, 41)


def render(
    fit: ThermalFit, predictions: Sequence[Prediction], data: Mapping[str, Any], command: str
) -> str:
    """The whole page; text of the files is escaped."""
    title = f"Thermal fit of {data['deviceName'] or 'a device'}"
    what = (
        f"{len(predictions)} runs of a node with {data['devices']} devices,"
        f" {data['regime'].lower()} fans; root mean square of all misses"
        f" {number(data['goodness']['rmseKelvin'])} K. {data['intervals']['method']}."
    )
    options = "".join(
        f'<option value="{at}">{escape(one.run.name)}</option>'
        for at, one in enumerate(predictions)
    )
    body = (
        f'<header><p class="kicker">kfarm fit thermal</p><h1>{escape(title)}</h1>'
        f'<p class="message">{escape(what)}</p>{_notes(data)}</header>'
        '<section><h2>Temperature</h2><p class="note">Measured as dots, fitted as lines; one colour'
        f' for each device.</p><p><label>Run <select id="run">{options}</select></label></p>'
        '<div class="chart tall" id="time"></div></section>'
        '<section><h2>Node power</h2><div class="chart tall" id="power"></div></section>'
        '<section><h2>Resistance and flow</h2><p class="note">Device to inlet, of each position,'
        " with the air's rise at equal power of all devices; the flow that was measured is"
        ' shaded.</p><div class="chart tall" id="flow"></div></section>'
        f"{_parameters(data)}{_positions(data)}{_priors(data)}"
        f"<section><h2>Reproduce</h2><pre><code>{escape(command)}</code></pre></section>"
    )
    numbers = {"runs": [_run(one) for one in predictions], "flow": _flow(fit, predictions)}
    return page(title, body, numbers, styles=("report.css", "fit.css"), scripts=("thermal.js",))


def _notes(data: Mapping[str, Any]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in data["notes"])
    return f'<ul class="warning">{items}</ul>' if items else ""


def _table(name: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th class="n">{escape(text)}</th>' for text in heads[1:])
    lines = "".join(
        f"<tr><th scope='row'>{escape(row[0])}</th>"
        + "".join(f"<td class='n'>{escape(text)}</td>" for text in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        f'<section><h2>{escape(name)}</h2><div class="scroll"><table><thead><tr>'
        f"<th>{escape(heads[0])}</th>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
        "</section>"
    )


def _parameters(data: Mapping[str, Any]) -> str:
    rows = [(name, *cells(one), one["unit"]) for name, one in parameter_rows(data)]
    return _table("Parameters", ("Parameter", "Value", "95 % interval", "Unit"), rows)


def _positions(data: Mapping[str, Any]) -> str:
    keys = ("die", "sink", "sinkTime", "inletShare", "offset")
    heads = ("Device", "Die [K/W]", "Sink [K/W]", "Sink [s]", "Share of heat before", "Offset [K]")
    rows = [
        (
            one["device"] or "device",
            *(f"{cells(one[key])[0]} ({cells(one[key])[1]})" for key in keys),
        )
        for one in data["positions"]
    ]
    return _table("Positions", heads, rows)


def _priors(data: Mapping[str, Any]) -> str:
    rows = [
        (one["name"], number(one["value"]), number(one["spread"]), one["source"])
        for one in data["priors"] if "value" in one
    ]  # fmt: skip
    return _table("Priors", ("Parameter", "Mean", "Spread", "Source"), rows)


def _run(one: Prediction) -> dict[str, Any]:
    run = one.run
    at = np.unique(np.linspace(0, run.samples - 1, min(run.samples, POINTS)).astype(int))
    seen = run.temperature_c[:, at]
    return {
        "time": _numbers(run.time_s[at]),
        "devices": [name or NONE for name in run.devices],
        "seen": [[None if not np.isfinite(v) else float(v) for v in row] for row in seen],
        "said": [_numbers(row) for row in one.temperature_c[:, at]],
        "powerSeen": None if run.node_power_w is None else _numbers(run.node_power_w[at]),
        "powerSaid": _numbers(one.node_power_w[at]),
        "fan": _numbers(100 * one.flow[at]),
    }


def _flow(fit: ThermalFit, predictions: Sequence[Prediction]) -> dict[str, Any]:
    law = fit.law
    own = law.die[:, None] + law.sink[:, None] * FLOWS ** -float(law.exponent)
    rise = float(law.rise) * law.share[:, None] * law.die.size / FLOWS
    every = np.concatenate([one.flow for one in predictions])
    return {
        "flow": _numbers(100 * FLOWS),
        "resistance": [_numbers(1000 * row) for row in own + rise],
        "devices": [name or NONE for name in fit.runs[0].devices],
        "seen": [100 * float(every.min()), 100 * float(every.max())],
    }


def _numbers(values: Floats) -> list[float]:
    return [float(f"{value:.5g}") for value in values.tolist()]
