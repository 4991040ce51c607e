"""The page itself: one HTML file with style, script and plotly inside; it loads nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from importlib.resources import files
from typing import Any

from kfarm_api.plan import CheckResult

from kfarm_twin.energy_cards import plan_section
from kfarm_twin.figures import NONE, check_figures, figure
from kfarm_twin.pictures.faults import fault_table
from kfarm_twin.pictures.floor import floor_data, floor_section
from kfarm_twin.report_view import Distribution, ReportView

_MARKS = {
    "Approved": ("good", "✓"),
    "Passed": ("good", "✓"),
    "Rejected": ("bad", "✕"),
    "Failed": ("bad", "✕"),
}


def render(view: ReportView) -> str:
    """The whole page.

    Every text that comes from a manifest is escaped, in HTML and inside the data of the script.
    """
    body = "\n".join(
        (
            _header(view),
            floor_section(view.racks, view.moments, _left_out(view)),
            _timelines(view),
            _checks(view),
            plan_section(view.years),
            _rest(view),
        )
    )
    title = f"{view.title}: {view.verdict.verdict}"
    return page(
        title,
        body,
        _data(view),
        styles=("report.css", "compare.css", "pictures.css"),
        scripts=("floor.js", "report.js"),
    )


def page(
    title: str,
    body: str,
    data: dict[str, Any],
    *,
    styles: Sequence[str],
    scripts: Sequence[str],
    plotly: bool = True,
) -> str:
    """One HTML file with style, script and (where asked for) plotly inside; it loads nothing.

    Parameters
    ----------
    title
        Text, not yet escaped.
    body
        HTML.
    data
        What the scripts read from the element ``data``.
    styles, scripts
        Files of ``kfarm_twin/data``.
    """
    style = "".join(_asset(name) for name in styles)
    shared = ("charts.js",) if plotly else ()
    script = "\n".join(_asset(name) for name in (*shared, *scripts))
    library = f"<script>{_plotly()}</script>\n" if plotly else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n"
        f"<style>\n{style}</style>\n</head>\n<body>\n{body}\n"
        f'<script type="application/json" id="data">{_safe_json(data)}</script>\n'
        f"{library}<script>\n{script}</script>\n"
        "</body>\n</html>\n"
    )


def _asset(name: str) -> str:
    return (files("kfarm_twin") / "data" / name).read_text(encoding="utf-8")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 - plotly loads slowly

    return str(get_plotlyjs()).replace("</script", "<\\/script")


def _data(view: ReportView) -> dict[str, Any]:
    """Data of map and charts."""
    return {
        "racks": [asdict(rack) for rack in view.racks],
        "moments": floor_data(view.moments),
        "lines": [asdict(line) for line in view.lines],
        "distributions": [asdict(d) for d in view.distributions],
        "assumptions": [asdict(bar) for bar in view.assumptions],
    }


def _safe_json(value: dict[str, Any]) -> str:
    """JSON that cannot end the script element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _name(metric: str) -> str:
    """A metric's name that may break after its underscores."""
    return escape(metric).replace("_", "_<wbr>")


def _badge(word: str) -> str:
    style, mark = _MARKS.get(word, ("unsure", "?"))
    return f'<span class="badge {style}"><i aria-hidden="true">{mark}</i>{escape(word)}</span>'


def _header(view: ReportView) -> str:
    verdict = view.verdict
    style, _ = _MARKS.get(verdict.verdict, ("unsure", "?"))
    facts = "".join(
        f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>"
        for label, value in view.facts
    )
    items = "".join(f"<li>{escape(text)}</li>" for text in verdict.warnings)
    warnings = f'<ul class="warning">{items}</ul>' if items else ""
    return (
        f'<header class="{style}"><p class="kicker">kfarm validation report</p>'
        f"<h1>{escape(view.title)}</h1>"
        f'<p class="verdict">{_badge(verdict.verdict)}<code>{escape(verdict.reason)}</code></p>'
        f'<p class="message">{escape(verdict.message)}</p>{warnings}'
        f'<dl class="facts">{facts}</dl></header>'
    )


def _left_out(view: ReportView) -> str:
    if not view.racks_left_out:
        return ""
    return (
        f"{view.racks_left_out:,} racks are left out; those of the plan are drawn first, then the "
        "hottest."
    )


def _timelines(view: ReportView) -> str:
    if not view.lines:
        return ""
    worst = view.verdict.worst_future
    which = f"future {worst}" if worst is not None else "a single future"
    charts = "".join(f'<div class="chart" data-line="{i}"></div>' for i in range(len(view.lines)))
    return (
        f'<section><h2>The worst future</h2><p class="note">Replay of {which} of seed '
        f"{view.verdict.seed}, over its whole horizon.</p>{charts}</section>"
    )


def _checks(view: ReportView) -> str:
    return _checks_table(view) + _survivals_table(view) + _cooling(view) + _assumptions(view)


def _checks_table(view: ReportView) -> str:
    rows = "".join(_check_row(check) for check in view.verdict.checks)
    if not rows:
        return ""
    return (
        '<section><h2>Checks</h2><div class="scroll"><table><thead><tr><th>Result</th>'
        '<th>Metric</th><th class="n">Bound</th><th class="n">Estimate</th>'
        '<th class="n">Interval</th><th class="n">Futures met</th><th>What it means</th></tr>'
        f"</thead><tbody>{rows}</tbody></table></div></section>"
    )


def _check_row(check: CheckResult) -> str:
    estimate, interval = check_figures(check)
    return (
        f"<tr><td>{_badge(check.result)}</td><th scope='row'>{_name(check.metric)}</th>"
        f"<td class='n'>{escape(check.bound)}</td><td class='n'>{escape(estimate)}</td>"
        f"<td class='n'>{escape(interval)}</td>"
        f"<td class='n'>{check.futures_met:,} of {check.futures:,}</td>"
        f"<td>{escape(check.message.removeprefix(f'{check.metric}: '))}</td></tr>"
    )


def _survivals_table(view: ReportView) -> str:
    rows = "".join(
        f"<tr><td>{_badge(s.result)}</td><th scope='row'>{escape(s.fault)}</th>"
        f"<td class='n'>{s.survived:,} of {s.instances:,}</td><td>{escape(s.worst or NONE)}</td>"
        f"<td>{escape(s.message)}</td></tr>"
        for s in view.verdict.survives
    )
    if not rows:
        return ""
    return (
        '<section><h2>Injected faults</h2><p class="note">Every instance of each fault is injected '
        'at peak power.</p><div class="scroll"><table><thead><tr><th>Result</th><th>Fault</th>'
        '<th class="n">Survived</th><th>Worst instance</th><th>What it means</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _cooling(view: ReportView) -> str:
    if view.cooling is None:
        return ""
    return (
        '<section id="cooling"><h2>When cooling fails</h2><p class="note">Each pump, CDU, air '
        "handler, chiller, plant and feed that is described fails alone, all workloads running and "
        f"steady before; the worst first.</p>{fault_table(view.cooling)}</section>"
    )


def _assumptions(view: ReportView) -> str:
    found = view.verdict.assumptions
    if found is None:
        return ""
    rows = "".join(
        f"<tr><th scope='row'>{escape(a.name)}</th><td>{escape(a.unit)}</td>"
        f"<td class='n'>{escape(a.stated)}</td>"
        f"<td class='n'>{escape(a.low)} … {escape(a.high)}</td>"
        f"<td class='n'>{escape(a.break_even or NONE)}</td>"
        f"<td>{escape(a.confidence or 'no source')}</td><td>{escape(a.message)}</td></tr>"
        for a in found.inputs
        if a.sought or a.flips
    )
    heads = (
        "<tr><th>Input</th><th>Unit</th><th class='n'>Stated</th><th class='n'>90 % range</th>"
        "<th class='n'>Flips at</th><th>Confidence</th><th>What it means</th></tr>"
    )
    table = (
        f'<div class="scroll"><table><thead>{heads}</thead><tbody>{rows}</tbody></table></div>'
        if rows
        else ""
    )
    height = 74 + 26 * len(view.assumptions)
    chart = (
        '<p class="note">Margin of the check that an input comes nearest to flipping, with that '
        "input alone at either end of its central 90 % range, as a share of the margin as stated; "
        "at 0 the verdict flips. Inputs that move nothing are left out.</p>"
        f'<div id="tornado" style="height:{height}px" role="img" '
        'aria-label="Influence of the uncertain inputs"></div>'
        if view.assumptions
        else ""
    )
    share = f"<b>{found.approving} of {found.draws}</b> sets of inputs drawn from their priors"
    return (
        f"<section><h2>What is not known</h2><p>{share} approve, judged with at most "
        f"{found.futures} futures each.</p>{chart}{table}</section>"
    )


def _rest(view: ReportView) -> str:
    return _distributions(view) + _estimates(view) + _reproduce(view)


def _distributions(view: ReportView) -> str:
    if not view.distributions:
        return ""
    figures = "".join(
        f"<figure><figcaption><b>{_name(d.metric)}</b>{_bound(d)}<span>{escape(d.summary)}</span>"
        f'</figcaption><div class="chart small" data-distribution="{i}"></div></figure>'
        for i, d in enumerate(view.distributions)
    )
    return (
        '<section><h2>Distributions</h2><p class="note">One value for each future played; the line '
        f'is the bound of the check.</p><div class="grid">{figures}</div></section>'
    )


def _bound(distribution: Distribution) -> str:
    if distribution.bound is None:
        return ""
    sign = "≥" if distribution.side == "atLeast" else "≤"
    return f"<em>{sign} {escape(figure(distribution.bound, distribution.unit))}</em>"


def _estimates(view: ReportView) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{_name(name)}</th>"
        + "".join(
            f"<td class='n'>{escape(figure(value, m.unit))}</td>"
            for value in (m.mean, m.p05, m.p50, m.p95, m.p99)
        )
        + f"<td class='n'>{m.applicable:,}</td></tr>"
        for name, m in view.verdict.estimates.items()
    )
    if not rows:
        return ""
    heads = "".join(f'<th class="n">{h}</th>' for h in ("Mean", "5 %", "50 %", "95 %", "99 %"))
    return (
        '<section><h2>All metrics</h2><div class="scroll"><table class="tight"><thead><tr>'
        f'<th>Metric</th>{heads}<th class="n">Futures</th></tr></thead><tbody>{rows}</tbody>'
        "</table></div></section>"
    )


def _reproduce(view: ReportView) -> str:
    verdict = view.verdict
    return (
        "<section><h2>Reproduce</h2><p class='note'>The verdict is a function of manifests, "
        "snapshot and seed.</p>"
        f"<pre><code>{escape(view.command)}</code></pre>"
        f'<dl class="facts"><div><dt>Inputs digest</dt><dd><code>{escape(verdict.inputs_digest)}'
        f"</code></dd></div><div><dt>Seed</dt><dd>{verdict.seed}</dd></div></dl></section>"
    )
