"""The page of ``kfarm compare``: one HTML file that a planner can take into a meeting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from kfarm_twin.figures import NONE, brief_span, digits
from kfarm_twin.report_page import page
from kfarm_twin.whatif_result import (
    FAILURE_METRICS,
    HEAT_METRICS,
    LOWER_IS_BETTER,
    PolicyResult,
    SizeClass,
    WhatIf,
)
from kfarm_twin.whatif_stats import Difference, Interval, Value

_COLUMNS = (
    ("waitMeanS", "Mean wait", "s"),
    ("waitP99S", "99 % wait at most", "s"),
    ("slowdownMean", "Bounded slowdown", "x"),
    ("utilisation", "Utilisation", "%"),
    ("queuedMean", "Jobs queued", "n"),
    ("fragmentationMean", "Fragmented", "%"),
    ("goodput", "Goodput", "%"),
    ("interruptions", "Interruptions", "n"),
    ("throttledAcceleratorHours", "Throttled device-hours", "n"),
    ("hottestDeviceC", "Hottest device, \N{DEGREE SIGN}C", "n"),
    ("nodeEnergyKWh", "Energy of nodes, kWh", "n"),
)
_BETTER = LOWER_IS_BETTER | FAILURE_METRICS | HEAT_METRICS
_WORDS = {
    "Better": ("good", "✓", "better"),
    "Worse": ("bad", "✕", "worse"),
    "Same": ("unsure", "=", "the same"),
    "Undecided": ("unsure", "?", "may be chance"),
}
_SIZE_FIGURES = (
    ("waitMeanS", "wait_mean_s", "Mean wait"),
    ("waitP50S", "wait_p50_s", "Median wait"),
    ("waitP90S", "wait_p90_s", "90 % wait"),
    ("waitP99S", "wait_p99_s", "99 % wait"),
    ("slowdownMean", "slowdown_mean", "Slowdown"),
)


def render(result: WhatIf, command: str) -> str:
    """The whole page; every text that comes from a file is escaped.

    Parameters
    ----------
    command
        Command line that gives the same result.
    """
    sections = (_header, _table, _waits, _sizes, _time, _rules)
    body = "\n".join(section(result) for section in sections) + _reproduce(result, command)
    title = f"{result.name}: {len(result.policies)} policies compared"
    styles, scripts = ("report.css", "compare.css"), ("compare.js",)
    return page(title, body, result.as_data(), styles=styles, scripts=scripts)


def _header(result: WhatIf) -> str:
    first, *rest = result.headline
    items = "".join(f"<li>{escape(text)}</li>" for text in rest)
    more = f'<ul class="takeaways">{items}</ul>' if items else ""
    notes = "".join(f"<li>{escape(text)}</li>" for text in result.notes)
    warning = f'<ul class="warning">{notes}</ul>' if notes else ""
    facts = "".join(
        f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>"
        for label, value in _facts(result)
    )
    return (
        f'<header class="plain"><p class="kicker">kfarm policy comparison · '
        f'{escape(result.name)}</p><h1 class="finding">{escape(first)}</h1>{more}{warning}'
        f'<dl class="facts">{facts}</dl></header>'
    )


def _facts(result: WhatIf) -> Iterator[tuple[str, str]]:
    work = result.workload
    yield "Farm", result.farm
    yield "Nodes", f"{result.nodes:,} \N{MULTIPLICATION SIGN} {result.accelerators_per_node}"
    yield "Accelerators", f"{result.accelerators:,}"
    yield "Jobs", f"{work.jobs:,}"
    yield "Arriving within", brief_span(work.window_s)
    yield "Offered load", f"{100 * work.offered:.1f} %"
    yield "Replicas", str(result.replicas)
    yield "Seed", str(result.seed)


def _dot(index: int) -> str:
    return f'<i class="dot" data-policy="{index}" aria-hidden="true"></i>'


def _table(result: WhatIf) -> str:
    columns = [column for column in _COLUMNS if _known(result, column[0])]
    first, *rest = (f'<th class="n">{label}</th>' for _, label, _ in columns)
    if _recorded(result):
        first = f'<th class="n">Mean wait, {_replicas(result)}</th>'
    best = {name: _best_rows(result, name) for name, _, _ in columns}
    rows = "".join(
        _row(result, i, policy, columns, best) for i, policy in enumerate(result.policies)
    )
    change = f'<th class="n">Against {escape(result.policies[0].name)}</th>'
    recorded = '<th class="n">Mean wait, recorded</th>' if _recorded(result) else ""
    return (
        '<section><h2>Policies</h2><p class="note">Means over '
        f"{_replicas(result)}; below each its {result.confidence} % confidence interval. "
        "✓ marks the best of a column. Differences are taken replica by replica, on the same "
        'jobs.</p><div class="scroll"><table class="policies"><thead><tr><th>Policy</th>'
        f"{recorded}{first}{change}{''.join(rest)}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _recorded(result: WhatIf) -> bool:
    """Whether replica 0 is a recorded trace and others are not."""
    return result.workload.kind == "Trace" and result.replicas > 1


def _replicas(result: WhatIf) -> str:
    return "one replica" if result.replicas == 1 else f"{result.replicas} replicas"


def _known(result: WhatIf, name: str) -> bool:
    found = [policy.metrics.get(name) for policy in result.policies]
    return any(figure is not None and figure.mean is not None for figure in found)


def _best_rows(result: WhatIf, name: str) -> set[int]:
    """Rows that show the best figure; none when all show the same."""
    shown = [policy.metrics[name].mean for policy in result.policies]
    known = [value for value in shown if value is not None]
    if len(set(known)) < 2:
        return set()
    top = min(known) if _BETTER[name] else max(known)
    return {index for index, value in enumerate(shown) if value == top}


def _row(
    result: WhatIf,
    index: int,
    policy: PolicyResult,
    columns: Sequence[tuple[str, str, str]],
    best: dict[str, set[int]],
) -> str:
    cells = [_cell(policy.metrics[name], unit, index in best[name]) for name, _, unit in columns]
    recorded = ""
    if _recorded(result):
        recorded = (
            f"<td class='n'><b>{_shown(policy.metrics['waitMeanS'].replicas[0], 's')}</b></td>"
        )
    crown = '<span class="badge good"><i aria-hidden="true">★</i>least wait</span>'
    mark = crown if policy.name == result.best and len(result.policies) > 1 else ""
    return (
        f"<tr><th scope='row'><span class='policy'>{_dot(index)}{escape(policy.name)}</span>"
        f"<small>{escape(policy.described)}</small>{mark}</th>{recorded}{cells[0]}"
        f"{_change(policy.differences.get('waitMeanS'))}{''.join(cells[1:])}</tr>"
    )


def _cell(figure: Interval, unit: str, best: bool) -> str:
    mark = '<b class="best" title="best of this column">✓ </b>' if best else ""
    low_high = ""
    if figure.low is not None and figure.high is not None and figure.low != figure.high:
        low_high = f"<small>{_shown(figure.low, unit)} … {_shown(figure.high, unit)}</small>"
    return f"<td class='n'>{mark}<b>{_shown(figure.mean, unit)}</b>{low_high}</td>"


def _change(change: Difference | None) -> str:
    if change is None:
        return "<td class='n soft'>the first</td>"
    style, mark, word = _WORDS[change.word]
    low_high = ""
    if change.low is not None and change.high is not None and change.low != change.high:
        low_high = f"<small>{_signed(change.low)} … {_signed(change.high)}</small>"
    if change.ratio_low is not None and change.ratio_high is not None and change.ratio is not None:
        low_high += (
            f"<small><b>{_percent(change.ratio)}</b> ({_percent(change.ratio_low)} … "
            f"{_percent(change.ratio_high)})</small>"
        )
    badge = f'<span class="badge {style}"><i aria-hidden="true">{mark}</i>{word}</span>'
    count = f"<small>better in {change.better} of {change.replicas}</small>"
    return f"<td class='n change'><b>{_signed(change.mean)}</b>{low_high}{badge}{count}</td>"


def _percent(ratio: float) -> str:
    """A ratio as a change in percent."""
    change = round(100 * (ratio - 1))
    return f"{'+' if change > 0 else chr(0x2212) if change < 0 else '±'}{abs(change):,} %"


def _signed(seconds: Value) -> str:
    if seconds is None:
        return NONE
    sign = "\N{MINUS SIGN}" if seconds < 0 else "+" if seconds > 0 else "±"
    return f"{sign}{brief_span(abs(seconds))}"


def _shown(value: Value, unit: str) -> str:
    if value is None:
        return NONE
    if unit == "s":
        return escape(brief_span(value))
    if unit == "%":
        return f"{100 * value:.1f} %"
    return digits(float(f"{value:.3g}"))


def _legend(result: WhatIf) -> str:
    names = "".join(
        f"<span>{_dot(i)}{escape(policy.name)}</span>" for i, policy in enumerate(result.policies)
    )
    return f'<div class="names">{names}</div>'


def _waits(result: WhatIf) -> str:
    return (
        '<section><h2>Who waits how long</h2><p class="note">Share of jobs that waited at most so '
        f"long, mean of {_replicas(result)}. A curve further left and up is better; where it meets "
        "the left edge, that share started within a second.</p>"
        f'{_legend(result)}<div class="chart tall" id="ecdf"></div></section>'
    )


def _sizes(result: WhatIf) -> str:
    buttons = "".join(
        f'<button type="button" data-size="{key}" aria-pressed="{str(not i).lower()}">{label}'
        "</button>"
        for i, (key, _, label) in enumerate(_SIZE_FIGURES)
    )
    heads = "".join(f'<th class="n">{escape(p.name)}</th>' for p in result.policies)
    rows = "".join(_size_row(result, size) for size in result.policies[0].sizes)
    return (
        '<section><div class="heading"><h2>By job size</h2><div class="toggle" role="group" '
        f'aria-label="Figure by job size">{buttons}</div></div>'
        '<p class="note">Jobs by the number of accelerators that they ask for.</p>'
        f'{_legend(result)}<div class="chart tall" id="sizes"></div>'
        '<div class="scroll"><table class="tight sizes"><thead><tr><th>Accelerators</th>'
        f'<th class="n">Jobs</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
        '<p class="note under">Mean wait, and below it what 99 % of the jobs wait at most.</p>'
        "</section>"
    )


def _size_row(result: WhatIf, size: SizeClass) -> str:
    cells = []
    for policy in result.policies:
        mine = next((item for item in policy.sizes if item.label == size.label), None)
        mean, tail = (mine.wait_mean_s, mine.wait_p99_s) if mine else (None, None)
        cells.append(
            f"<td class='n'><b>{_shown(mean, 's')}</b><small>{_shown(tail, 's')}</small></td>"
        )
    jobs = digits(round(size.jobs, 1))
    head = f"<th scope='row'>{escape(size.label)}</th><td class='n'>{jobs}</td>"
    return f"<tr>{head}{''.join(cells)}</tr>"


def _time(result: WhatIf) -> str:
    which = "the trace as recorded" if result.workload.kind == "Trace" else "the first replica"
    series = [policy.series for policy in result.policies if policy.series is not None]
    if not series or not result.grid_s:
        return ""
    charts = '<div class="chart" data-series="queuedJobs"></div>'
    charts += '<div class="chart" data-series="utilisation"></div>'
    if any(item.fragmentation for item in series):
        charts += '<div class="chart" data-series="fragmentation"></div>'
    return (
        f'<section><h2>Over time</h2><p class="note">Replica 0, {which}: jobs in the queue, share '
        "of the accelerators in use, and the fragmented share of the idle ones where a policy "
        f"knows nodes.</p>{_legend(result)}{charts}</section>"
    )


def _rules(result: WhatIf) -> str:
    work = result.workload
    kind = f"{work.format} trace" if work.format else "generator"
    saved = _saved(result)
    lines = [
        f"Workload: {work.source} ({kind}), {work.jobs:,} jobs in replica 0.",
        f"Between replicas: {work.between_replicas}.",
        "At one instant: all ends, then all arrivals, then one scheduling pass. The scheduler sees "
        "the run time that the user asked for; the true one ends the job.",
        "Mean wait, percentiles and slowdown are over jobs that started; bounded slowdown is "
        "(wait + run) / max(run, 10 s), at least 1.",
        "Utilisation, queue and fragmentation are over the time in which jobs arrive, so that the "
        "emptying at the end counts for no policy.",
        f"Intervals are Student's t over replicas, {result.confidence} %, not corrected for the "
        "number of policies. Better or worse means that the interval of the difference leaves out "
        "zero or that of the ratio (on logarithms, where all figures are positive) leaves out one.",
        "Intervals speak of chance within this workload model, not of other seasons, users or "
        "hardware.",
        *([saved] if saved else []),
    ]
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return (
        f'<section><h2>Rules and inputs</h2><ul class="rules">{items}</ul>{_left_out(result)}'
        "</section>"
    )


def _saved(result: WhatIf) -> str:
    known = [
        (policy.name, change.variance_saved)
        for policy in result.policies
        if (change := policy.differences.get("waitMeanS")) and change.variance_saved is not None
    ]
    if not known:
        return ""
    shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in known)
    return f"Variance of the difference in mean wait that the common jobs save: {shares}."


def _left_out(result: WhatIf) -> str:
    left = result.workload.left_out
    if not left:
        return "<h3>What was left out</h3><p>Nothing: every record of the source became a job.</p>"
    items = "".join(
        f"<li>{count:,} \N{MULTIPLICATION SIGN} {escape(reason)}</li>"
        for reason, count in sorted(left.items())
    )
    return f"<h3>What was left out</h3><ul class='rules'>{items}</ul>"


def _reproduce(result: WhatIf, command: str) -> str:
    facts: tuple[tuple[str, Any], ...] = (
        ("Inputs digest", result.inputs_digest),
        ("Seed", result.seed),
        ("Horizon", result.horizon),
    )
    items = "".join(
        f"<div><dt>{label}</dt><dd><code>{escape(str(value))}</code></dd></div>"
        for label, value in facts
    )
    return (
        "\n<section><h2>Reproduce</h2><p class='note'>The result is a function of farm, workload, "
        f"policies, replicas and seed.</p><pre><code>{escape(command)}</code></pre>"
        f'<dl class="facts">{items}</dl></section>'
    )
