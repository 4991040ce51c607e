"""The page of ``kfarm sweep``: where the verdict turns, and how the figures run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import product
from typing import Any

from kfarm_twin.figures import NONE, brief_span, digits, figure
from kfarm_twin.pictures.grid import Mark, Spot, grid_lines, grid_map
from kfarm_twin.report_page import page
from kfarm_twin.sweep.grid import Axis, Scalar
from kfarm_twin.sweep.output import check_columns, headline, unit_of
from kfarm_twin.sweep.result import Outcome, SweepResult, check_names, number

STYLES = ("report.css", "compare.css", "pictures.css")
MOST_MAPS = 12
MOST_ROWS = 400
_MARKS: dict[str, Mark] = {
    "Approved": "good", "Compared": "good", "Passed": "good", "Rejected": "bad", "Failed": "bad",
    "Inconclusive": "unsure", "Undecided": "unsure", "BadInput": "fault",
}  # fmt: skip
_WAITS = (
    ("waitMeanS", "Mean wait", "s"),
    ("waitP99S", "Wait that 99 % of the jobs keep within", "s"),
    ("utilisation", "Share of the accelerators in use", "%"),
    ("goodput", "Goodput", "%"),
    ("hottestDeviceC", "Hottest device", "degC"),
)


@dataclass(frozen=True)
class Layer:
    """One figure over the whole grid.

    Attributes
    ----------
    spots
        By policy (one without a name where there are none), then by point.
    coloured
        Whether values give the colour; else the marks do.
    """

    title: str
    note: str
    unit: str
    spots: dict[str, list[Spot]]
    coloured: bool = True


def render(result: SweepResult, command: str) -> str:
    """The whole page; every text from a manifest is escaped."""
    moving = [axis for axis in result.axes if len(axis.values) > 1]
    body = _header(result, moving)
    body += "".join(_section(result, layer, moving) for layer in _layers(result) if moving)
    body += _table(result)
    body += (
        "<section><h2>Reproduce</h2><p class='note'>Every point is a function of its manifests; "
        "where it is played does not matter.</p>"
        f"<pre><code>{escape(command)}</code></pre></section>"
    )
    return page(f"{result.name}: sweep", body, {}, styles=STYLES, scripts=(), plotly=False)


def _header(result: SweepResult, moving: Sequence[Axis]) -> str:
    facts = [("Question", result.question), ("Points", f"{len(result.outcomes):,}")]
    facts += [("kfarm", result.kfarm)]
    shown = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts
    )
    rows = "".join(
        f"<tr><th scope='row'>{escape(axis.label)}</th>"
        f"<td>{escape(axis.kind)}/{escape(axis.name)}</td><td><code>{escape(axis.path)}</code></td>"
        f"<td>{escape(_listed(axis.values))}</td></tr>"
        for axis in result.axes
    )
    fixed = len(result.axes) - len(moving)
    note = f"<p class='note'>{fixed} of them with one value only.</p>" if fixed else ""
    return (
        '<header class="plain"><p class="kicker">kfarm sweep</p>'
        f'<h1 class="finding">{escape(headline(result))}</h1>'
        f'<dl class="facts">{shown}</dl></header>'
        "<section><h2>Parameters</h2>" + note + '<div class="scroll"><table class="tight"><thead>'
        "<tr><th>Name</th><th>Object</th><th>Field</th><th>Values</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _listed(values: Sequence[Scalar]) -> str:
    words = [str(value) for value in values]
    return ", ".join(words) if len(words) <= 12 else f"{', '.join(words[:10])}, … {words[-1]}"


def _layers(result: SweepResult) -> Iterator[Layer]:
    words = [
        Spot(None, o.word, _told(result, o, o.told or _message(o)), _MARKS[o.word])
        for o in result.outcomes
    ]
    if result.question == "validate" or any(o.played.result is None for o in result.outcomes):
        note = "✓ approved, ✕ rejected or failed, ? inconclusive, ! inputs that do not fit."
        yield Layer("Verdict", note, "", {"": words}, coloured=False)
    yield from _checks(result) if result.question == "validate" else _policies(result)


def _message(outcome: Outcome) -> str:
    return str((outcome.played.result or {}).get("message", ""))


def _told(result: SweepResult, outcome: Outcome, more: str) -> str:
    values = ", ".join(f"{label} {value}" for label, value in result.values(outcome).items())
    return f"{values}: {outcome.word}. {more}".strip()


def _checks(result: SweepResult) -> Iterator[Layer]:
    for name in check_columns(result):
        spots, bounds, unit = [], set(), "1"
        for outcome in result.outcomes:
            found = outcome.played.result
            named = dict(zip(check_names(found), found["checks"], strict=True)) if found else {}
            check = named.get(name)
            if check is not None:
                bounds.add(str(check["bound"]))
                unit = unit_of(check["metric"])
            spots.append(_check_spot(result, outcome, check))
        note = f"Bound: {' or '.join(sorted(bounds))}. ✓ kept, ✕ not kept, ? undecided."
        yield Layer(name.removeprefix("check "), note, unit, {"": spots})


def _check_spot(result: SweepResult, outcome: Outcome, check: dict[str, Any] | None) -> Spot:
    if check is None:
        return Spot(None, "", _told(result, outcome, outcome.told), _MARKS[outcome.word])
    estimate = number(check["estimate"])
    return Spot(
        estimate,
        figure(estimate, unit_of(check["metric"])),
        _told(result, outcome, check["message"]),
        _MARKS.get(check["result"], "unsure"),
        number(check["low"]),
        number(check["high"]),
    )


def _policies(result: SweepResult) -> Iterator[Layer]:
    results = [outcome.played.result for outcome in result.outcomes]
    names = dict.fromkeys(p["name"] for found in results if found for p in found["policies"])
    for key, title, unit in _WAITS:
        spots = {name: [_policy_spot(result, o, name, key, unit) for o in result.outcomes]
                 for name in names}  # fmt: skip
        if any(spot.value is not None for listed in spots.values() for spot in listed):
            note = "Mean over replicas; lines carry its 95 % confidence interval."
            yield Layer(title, note, unit, spots)


def _policy_spot(result: SweepResult, outcome: Outcome, name: str, key: str, unit: str) -> Spot:
    policies = (outcome.played.result or {}).get("policies", ())
    found = next((policy for policy in policies if policy["name"] == name), None)
    metric = (found or {}).get("metrics", {}).get(key) or {}
    value = metric.get("mean")
    told = _told(result, outcome, f"{name} {_shown(value, unit)}")
    mark: Mark = "" if found else _MARKS[outcome.word]
    return Spot(value, _shown(value, unit), told, mark, metric.get("low"), metric.get("high"))


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return NONE
    if unit == "%":
        return f"{digits(round(100 * value, 1))} %"
    return brief_span(value) if unit == "s" else figure(value, unit)


def _section(result: SweepResult, layer: Layer, moving: Sequence[Axis]) -> str:
    """Lines for one parameter, maps for more."""
    lines = len(moving) == 1 and layer.coloured
    inside = _lines(result, layer, moving[0]) if lines else _maps(result, layer, moving)
    if not inside:
        return ""
    return (
        f"<section><h2>{escape(layer.title)}</h2><p class='note'>{escape(layer.note)}</p>"
        f"{inside}</section>"
    )


def _lines(result: SweepResult, layer: Layer, axis: Axis) -> str:
    columns = [str(value) for value in axis.values]
    factor, above = _scaled(layer)
    series = [
        (name, [_times(spot, factor) for spot in spots]) for name, spots in layer.spots.items()
    ]
    drawn = grid_lines(columns, series, axis.label, above, f"{layer.title} by {axis.label}")
    names = [name for name in layer.spots if name]
    key = "".join(f"<span><i class='s{i % 6}'></i>{escape(n)}</span>" for i, n in enumerate(names))
    return (f"<div class='key'>{key}</div>" if names else "") + drawn


def _scaled(layer: Layer) -> tuple[float, str]:
    """Factor and name of the unit that an axis counts in."""
    known = [abs(s.value) for spots in layer.spots.values() for s in spots if s.value is not None]
    top = max(known, default=0.0)
    if layer.unit == "%":
        return 100.0, "percent"
    if layer.unit == "degC":
        return 1.0, "°C"
    if layer.unit == "s":
        sizes = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))
        size, name = next((s for s in sizes if top >= 2 * s[0]), sizes[-1])
        return 1.0 / size, name
    if layer.unit in ("W", "J"):
        size, prefix = next((s for s in ((1e6, "M"), (1e3, "k")) if top >= s[0]), (1.0, ""))
        return 1.0 / size, f"{prefix}{layer.unit}"
    return 1.0, "" if layer.unit == "1" else layer.unit


def _times(spot: Spot, factor: float) -> Spot:
    value, low, high = (v if v is None else v * factor for v in (spot.value, spot.low, spot.high))
    return Spot(value, spot.text, spot.told, spot.mark, low, high)


def _maps(result: SweepResult, layer: Layer, moving: Sequence[Axis]) -> str:
    """A map for each value of the parameters beside the last two, and for each policy."""
    across = moving[-1]
    down = moving[-2] if len(moving) > 1 else None
    rest = list(moving[:-2])
    known = [s.value for spots in layer.spots.values() for s in spots if s.value is not None]
    span = (min(known), max(known)) if known and layer.coloured else None
    maps = []
    for name, spots in layer.spots.items():
        placed = {o.point.values: spot for o, spot in zip(result.outcomes, spots, strict=True)}
        for fixed in product(*(axis.values for axis in rest)):
            told = [name] if name else []
            told += [f"{axis.label} {value}" for axis, value in zip(rest, fixed, strict=True)]
            chosen = dict(zip((axis.label for axis in rest), fixed, strict=True))
            cells = [
                [placed[_at(result, chosen, across, x, down, y)] for x in across.values]
                for y in (down.values if down else (None,))
            ]
            columns = [str(value) for value in across.values]
            rows = [str(value) for value in down.values] if down else [""]
            below = down.label if down else ""
            title = ", ".join([layer.title, *told])
            drawn = grid_map(columns, rows, cells, across.label, below, span, title)
            maps.append(f"<div><h3>{escape(', '.join(told))}</h3>{drawn}</div>")
    left = len(maps) - MOST_MAPS
    more = f"<p class='note'>{left} further maps are left out; the table has all.</p>"
    return f"<div class='facets'>{''.join(maps[:MOST_MAPS])}</div>" + (more if left > 0 else "")


def _at(
    result: SweepResult,
    chosen: dict[str, Scalar],
    across: Axis,
    x: Scalar,
    down: Axis | None,
    y: Scalar | None,
) -> tuple[Scalar, ...]:
    """The values of a point from where its cell stands."""
    values = dict(chosen) | {across.label: x}
    if down is not None and y is not None:
        values[down.label] = y
    return tuple(values.get(axis.label, axis.values[0]) for axis in result.axes)


def _table(result: SweepResult) -> str:
    """All points with their figures, up to a number that a page can show."""
    rows = result.rows()
    left_out = ("message", "inputs_digest")
    names = [n for n in (rows[0] if rows else {}) if n not in left_out and not _minor(n)]
    heads = "".join(f"<th>{escape(name)}</th>" for name in names)
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(_cell(row[name]))}</td>" for name in names) + "</tr>"
        for row in rows[:MOST_ROWS]
    )
    more = len(rows) - MOST_ROWS
    note = f"<p class='note'>{more:,} further rows stand in the files.</p>" if more > 0 else ""
    return (
        '<section><h2>Points</h2><div class="scroll"><table class="tight"><thead><tr>'
        f"{heads}</tr></thead><tbody>{lines}</tbody></table></div>{note}</section>"
    )


def _minor(name: str) -> bool:
    """Columns that the page leaves to the files."""
    return name.endswith((" p05", " p50", " p95", " p99", " low", " high"))


def _cell(value: object) -> str:
    if value is None:
        return NONE
    return digits(value) if isinstance(value, float) else str(value)
