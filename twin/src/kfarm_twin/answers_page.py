"""Pages of the failure twin: findings, charts, tables; one HTML file that loads nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from kfarm_twin.answers_result import CheckpointAnswer, Spares
from kfarm_twin.figures import NONE, brief_span
from kfarm_twin.fleetrun_text import number, percent
from kfarm_twin.report_page import page

Chart = dict[str, Any]


def line(name: str, y: Sequence[float | None], colour: int, **more: Any) -> Chart:
    """A line of a chart; `low` and `high` shade a band about it."""
    return {"name": name, "kind": "line", "y": list(y), "colour": colour, **more}


def bar(name: str, y: Sequence[float], colour: int) -> Chart:
    """Bars of a chart."""
    return {"name": name, "kind": "bar", "y": list(y), "colour": colour}


def chart(
    name: str, x: Sequence[Any], titles: tuple[str, str], series: Sequence[Chart], **more: Any
) -> Chart:
    """A chart for the element `name`; `titles` of its axes."""
    return {
        "id": name,
        "x": list(x),
        "xTitle": titles[0],
        "yTitle": titles[1],
        "xType": "linear",
        "format": ".4~g",
        "series": list(series),
        **more,
    }


def assemble(
    kicker: str,
    headline: Sequence[str],
    facts: Iterable[tuple[str, str]],
    sections: Sequence[str],
    charts: Sequence[Chart],
    command: str,
    notes: Sequence[str] = (),
) -> str:
    """The whole page; every text is escaped here or in `section` and `table`."""
    first, *rest = headline
    items = "".join(f"<li>{escape(text)}</li>" for text in rest)
    told = "".join(f"<li>{escape(text)}</li>" for text in notes)
    shown = "".join(
        f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in facts
    )
    body = (
        f'<header class="plain"><p class="kicker">{escape(kicker)}</p>'
        f'<h1 class="finding">{escape(first)}</h1><ul class="takeaways">{items}</ul>'
        + (f'<ul class="warning">{told}</ul>' if told else "")
        + f'<dl class="facts">{shown}</dl></header>'
        + "".join(sections)
        + f"<section><h2>Reproduce</h2><pre><code>{escape(command)}</code></pre></section>"
    )
    styles, scripts = ("report.css", "compare.css"), ("answers.js",)
    return page(kicker, body, {"charts": list(charts)}, styles=styles, scripts=scripts)


def section(title: str, note: str, content: str) -> str:
    """A card; `content` is HTML."""
    return f'<section><h2>{escape(title)}</h2><p class="note">{escape(note)}</p>{content}</section>'


def place(name: str) -> str:
    """Where a chart is drawn."""
    return f'<div class="chart tall" id="{escape(name)}"></div>'


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], bold: int | None = None) -> str:
    """A table whose first column names the row; `bold` marks one."""
    head = "".join(
        f"<th{' class=n' if at else ''}>{escape(h)}</th>" for at, h in enumerate(headers)
    )
    lines = []
    for index, row in enumerate(rows):
        name, *cells = (escape(cell) for cell in row)
        mark = ' class="best"' if index == bold else ""
        values = "".join(f'<td class="n">{cell}</td>' for cell in cells)
        lines.append(f"<tr{mark}><th>{name}</th>{values}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def render_spares(found: Spares, command: str) -> str:
    """The page of ``kfarm spares``."""
    rows = found.rows
    x = [row.spares for row in rows]
    left = _positive(row.none_left for row in rows)
    marks = [] if found.answer is None else [{"x": found.answer, "text": "answer"}]
    goal = [] if found.target_ettr is None else [
        line("target", [found.target_ettr] * len(rows), 6, dash="dot")
    ]  # fmt: skip
    charts = [
        chart(
            "ettr", x, ("spare nodes", "ETTR"),
            [
                line("mean", [row.ettr for row in rows], 0, dots=True),
                line("95 % of futures reach", [row.ettr_p05 for row in rows], 1, dots=True),
                *goal,
            ],
            marks=marks,
        ),
        chart(
            "waits", x, ("spare nodes", "share of time"),
            [
                line("none left, simulated", left, 0, dots=True),
                line("independent repairs", [row.textbook.independent for row in rows], 2),
                line("Erlang B", [row.textbook.erlang_b for row in rows], 4, dash="dash"),
                line("Erlang C", [row.textbook.erlang_c for row in rows], 3, dash="dash"),
                line("gang waits, simulated", _positive(row.waiting for row in rows), 1, dots=True),
            ],
            tickFormat=".3~%", format=".3~%", yType="log",
        ),
    ]  # fmt: skip
    headers = ("Spares", "ETTR", "95 % reach", "Gain [points]", "Waits", "Futures that wait",
               "None left", "Independent", "Erlang B", "Erlang C", "Down p95", "p99",
               "max")  # fmt: skip
    sections = [
        section("What a spare buys", "ETTR by number of spare nodes, on the same chance.",
                place("ettr")),
        section("When none is left",
                "Share of the time with no spare for the next failure, beside the textbook.",
                place("waits")),
        section("Figures", "Gain is of mean ETTR over one spare less.",
                table(headers, (_spare_row(row) for row in rows), found.answer)),
    ]  # fmt: skip
    facts = [
        ("Gang", f"{found.gang_nodes:,} nodes"),
        ("Futures", f"{found.futures:,} of {found.horizon}"),
        ("Nodes out on average", f"{found.offered_load:.3g}"),
        ("Seed", str(found.seed)),
    ]
    kicker = f"kfarm spares · {found.name}"
    return assemble(kicker, found.headline, facts, sections, charts, command, found.notes)


def _positive(values: Iterable[float]) -> list[float | None]:
    """Values that a logarithmic axis can hold."""
    return [value if value > 0.0 else None for value in values]


def _spare_row(row: Any) -> list[str]:
    book = row.textbook
    return [
        str(row.spares),
        f"{row.ettr:.4f}",
        f"{row.ettr_p05:.4f}",
        NONE if row.gain is None else f"{100 * row.gain:+.2f}",
        percent(row.waiting, 2),
        percent(row.futures_waiting, 0),
        percent(row.none_left, 2),
        *(percent(value, 2) for value in (book.independent, book.erlang_b, book.erlang_c)),
        *(number(v) for v in (row.nodes_down_p95, row.nodes_down_p99, row.nodes_down_max)),
    ]


def render_checkpoint(found: CheckpointAnswer, command: str) -> str:
    """The page of ``kfarm checkpoint``."""
    rows = found.rows
    x = [row.interval_s for row in rows]
    best = next(row for row in rows if row.interval_s == found.best_s)
    marks = [{"x": found.best_s, "text": f"best {brief_span(found.best_s)}"}]
    marks += [
        {"x": rule.interval_s, "text": f"{rule.name} {brief_span(rule.interval_s)}"}
        for rule in found.formulas
    ]
    if found.declared_s is not None:
        marks.append({"x": found.declared_s, "text": f"run {brief_span(found.declared_s)}"})
    ticks = [[at, brief_span(at)] for at in _spread_out(x)]
    common = {"xType": "log", "ticks": ticks, "spans": [[found.good_from_s, found.good_to_s]]}
    charts = [
        chart(
            "ettr", x, ("work between saves", "ETTR"),
            [
                line("mean", [row.ettr for row in rows], 0, dots=True),
                line("95 % of futures reach", [row.ettr_p05 for row in rows], 1, dots=True),
                line("formula", [row.formula for row in rows], 2, dash="dash"),
            ],
            marks=marks, **common,
        ),
        chart(
            "loss", x, ("work between saves", "points of ETTR lost"),
            [line("lost", [100 * row.loss for row in rows], 0, dots=True,
                  low=[100 * row.loss_low for row in rows],
                  high=[100 * row.loss_high for row in rows])],
            fromZero=True, **common,
        ),
    ]  # fmt: skip
    headers = ("Interval", "ETTR", "95 % reach", "Formula", "Lost [points]", "95 % interval")
    sections = [
        section("ETTR by interval", "The same futures for every interval; shaded: loses less than "
                f"{100 * found.tolerance:g} points.", place("ettr")),
        section("What another interval loses", "Mean of paired differences to the best, shaded by "
                "its 95 % interval.", place("loss")),
        section("Figures", "Formula: a renewal argument with the simulated time between stops and "
                "time to recover.",
                table(headers, (_interval_cells(row) for row in rows), rows.index(best))),
    ]  # fmt: skip
    facts = [
        ("Gang", f"{found.gang_nodes:,} nodes"),
        ("Save", brief_span(found.save_s)),
        ("A stop every", brief_span(found.mtti_s)),
        ("Back after", brief_span(found.recover_s)),
        ("Futures", f"{found.futures:,} of {found.horizon}"),
        ("Seed", str(found.seed)),
    ]
    kicker = f"kfarm checkpoint · {found.name}"
    return assemble(kicker, found.headline, facts, sections, charts, command, found.notes)


def _spread_out(values: Sequence[float]) -> list[float]:
    """Every value that is at least 1.4 times the one before."""
    kept: list[float] = []
    for value in values:
        if not kept or value >= 1.4 * kept[-1]:
            kept.append(value)
    return kept


def _interval_cells(row: Any) -> list[str]:
    return [
        brief_span(row.interval_s),
        f"{row.ettr:.4f}",
        f"{row.ettr_p05:.4f}",
        f"{row.formula:.4f}",
        f"{100 * row.loss:.2f}",
        f"{100 * row.loss_low:.2f} … {100 * row.loss_high:.2f}",
    ]
