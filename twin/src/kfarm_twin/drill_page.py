"""Pages of drills: what is predicted, and what was predicted beside what was observed."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from kfarm_api.drill_status import DrillMetric, TimelineEntry
from kfarm_api.units import parse_quantity

from kfarm_twin.drill_metrics import UNITS
from kfarm_twin.drill_report import FinishedDrill, error_told
from kfarm_twin.drill_request import PredictedMoment
from kfarm_twin.drill_text import PredictedDrill, interval, metric_name, nodes_told, told
from kfarm_twin.figures import NONE, brief_span
from kfarm_twin.pictures.lanes import (
    Lane,
    Mark,
    Pair,
    curve_picture,
    lanes_picture,
    pair_picture,
    spell_told,
)
from kfarm_twin.report_page import page
from kfarm_twin.traces.write import replacing

STYLES = ("report.css", "pictures.css", "drills.css")
_GOOD = frozenset({"Recovered", "Restored", "Running", "Replaced"})
_BAD = frozenset({"Violated", "Aborted"})
ORDER = (
    "Started", "Predicted", "Injected", "Detected", "Remedied", "Evicted", "Gone", "Requeued",
    "Verdict", "Replaced", "Running", "Recovered", "FaultEnded", "Restored", "Violated", "Aborted",
    "Ended",
)  # fmt: skip
"""Events in the order of the lanes."""
MOST_JOURNAL = 64


def write_predicted(path: Path, found: Sequence[PredictedDrill]) -> None:
    """Write the page of predictions, whole or not at all.

    Raises
    ------
    ManifestError
        Where it cannot be written.
    """
    with replacing(path) as stream:
        stream.write(render_predicted(found).encode())


def write_reports(path: Path, found: Sequence[FinishedDrill]) -> None:
    """Write the page of drills that were run, whole or not at all.

    Raises
    ------
    ManifestError
        Where it cannot be written.
    """
    with replacing(path) as stream:
        stream.write(render_reports(found).encode())


def render_predicted(found: Sequence[PredictedDrill]) -> str:
    """The whole page; every text from a manifest is escaped."""
    body = "".join(_predicted(one) for one in found)
    title = found[0].name if len(found) == 1 else f"{len(found)} drills"
    return page(f"{title}: predicted", body, {}, styles=STYLES, scripts=(), plotly=False)


def render_reports(found: Sequence[FinishedDrill]) -> str:
    """The whole page; with several drills an overview first."""
    body = (_overview(found) if len(found) > 1 else "") + "".join(
        _finished(one, place) for place, one in enumerate(found)
    )
    title = found[0].headline() if len(found) == 1 else f"{len(found)} failure drills"
    return page(title, body, {}, styles=STYLES, scripts=(), plotly=False)


def _number(text: str | None) -> float | None:
    return None if text is None else parse_quantity(text)


def _list(texts: Sequence[str], kind: str) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<ul class="{kind}">{items}</ul>' if items else ""


def _details(name: str, texts: Sequence[str]) -> str:
    if not texts:
        return ""
    return f"<details><summary>{escape(name)}</summary>{_list(texts, 'rules')}</details>"


def _facts(rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in rows
    )
    return f'<dl class="facts">{cells}</dl>'


def _table(heads: Sequence[str], rows: Sequence[str]) -> str:
    """A table; rows are markup."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _badge(word: str) -> str:
    style, mark = {
        "Passed": ("good", "✓"),
        "Failed": ("bad", "✕"),
        "Aborted": ("bad", "✕"),
    }.get(word, ("unsure", "?"))
    return f'<span class="badge {style}"><i aria-hidden="true">{mark}</i>{escape(word)}</span>'


# what is predicted


def _predicted(one: PredictedDrill) -> str:
    prediction = one.prediction
    recover = next((m for m in prediction.metrics if m.name == "seconds_to_recover"), None)
    says = "no pod of its plans is lost for longer than the drill sees"
    if recover is not None:
        says = (
            f"all pods run again after {told(recover.median, recover.unit)}"
            f" (90 %: {interval(recover)})"
        )
    faults = "; ".join(f"{fault.name}: {fault.action}" for fault in one.drill.spec.faults)
    facts = [
        ("Faults", faults),
        ("Futures", str(prediction.futures)),
        ("Seed", str(prediction.seed)),
    ]
    rows = [
        f"<tr><th scope='row'>{escape(metric_name(m.name))}</th><td class='n'>"
        f"{escape(told(m.median, m.unit))}</td><td class='n'>{escape(interval(m))}</td>"
        f"<td>{pair_picture(_pair(m))}</td></tr>"
        for m in prediction.metrics
    ]
    lanes = lanes_picture(_moment_lanes(prediction.timeline), f"What happens when in {one.name}")
    hits = [
        f"{target.fault}: {nodes_told(target.nodes) or ', '.join(target.domains) or NONE}"
        for target in one.targets
    ]
    return (
        f'<header class="plain"><p class="kicker">kfarm drill predict</p><h1>{escape(one.name)}</h1>'
        f'<p class="message">The twin says: {escape(says)}.</p>'
        f"{_list([*one.notes, *prediction.warnings], 'warning')}{_facts(facts)}</header>"
        f'<section><h2>What happens when</h2><p class="note">Bars are what 90 % of the futures'
        f' do, dots their median.</p><div class="scroll">{lanes}</div></section>'
        f"<section><h2>Figures</h2>{_table(('Metric', 'Median', '90 % interval', ''), rows)}</section>"
        f"{_curve(one)}<section><h2>What is hit</h2>{_list(hits, 'rules')}"
        f"{_details('What is assumed', prediction.assumptions)}"
        f"<p class='note'>Inputs: <code>{escape(prediction.inputs_digest)}</code></p></section>"
    )


def _moment_lanes(moments: Sequence[PredictedMoment]) -> list[Lane]:
    lanes = []
    for one in sorted(moments, key=_moment_order):
        marks = [Mark(one.median, None, "seen", f"median {spell_told(one.median, None)}")]
        if one.high > one.low:
            spell = f"90 %: {spell_told(one.low, one.high)}"
            marks.insert(0, Mark(one.low, one.high, "said", spell))
        lanes.append(Lane(f"{one.fault}: {one.event}", tuple(marks)))
    return lanes


def _moment_order(one: PredictedMoment) -> tuple[str, int, float]:
    place = ORDER.index(one.event) if one.event in ORDER else len(ORDER)
    return one.fault, place, one.median


def _curve(one: PredictedDrill) -> str:
    curve = one.prediction.curve
    points = [(point.at, point.hottest) for point in curve]
    drawn = curve_picture(points, [], "Hottest accelerator over the drill")
    if not drawn:
        return ""
    return (
        "<section><h2>Hottest accelerator</h2><p class='note'>Of the fault of the cooling that gets"
        f' hottest, from the heat engine.</p><div class="scroll">{drawn}</div></section>'
    )


# what was observed


def _overview(found: Sequence[FinishedDrill]) -> str:
    compared = sum(len(one.compared) for one in found)
    within = sum(one.within for one in found)
    passed = sum(one.status.verdict == "Passed" for one in found)
    residue = sum(len(one.residue) for one in found)
    share = f"{100 * within / compared:.0f} %" if compared else NONE
    items = "".join(
        f'<li><a href="#drill-{place}">{escape(one.name)}</a> {_badge(one.verdict)}</li>'
        for place, one in enumerate(found)
    )
    facts = [
        ("Passed", f"{passed} of {len(found)}"),
        ("Observed within the predicted 90 % interval", f"{within} of {compared} ({share})"),
        ("Not taken back", str(residue)),
    ]
    return (
        '<header class="plain"><p class="kicker">kfarm drill report</p>'
        f"<h1>{len(found)} failure drills</h1>{_facts(facts)}<nav><ul>{items}</ul></nav></header>"
    )


def _finished(one: FinishedDrill, place: int) -> str:
    status, spec = one.status, one.drill.spec
    style = {"Passed": "good", "Failed": "bad", "Aborted": "bad"}.get(one.verdict, "unsure")
    left = one.residue
    warning = [f"not taken back: {entry.id} ({entry.state})" for entry in left[:8]]
    facts = [
        ("Cluster", status.cluster_name or NONE),
        ("Farm", f"{spec.farm.kind} {spec.farm.name}"),
        ("Touched", str(status.touched or 0)),
        ("Residue", str(len(left))),
        ("Within the interval", f"{one.within} of {len(one.compared)}"),
        ("Started", status.started_at or NONE),
        ("Ended", status.completed_at or NONE),
    ]
    reason = f"<code>{escape(status.reason)}</code>" if status.reason else ""
    return (
        f'<header class="{style}" id="drill-{place}"><p class="kicker">kfarm drill report</p>'
        f"<h1>{escape(one.headline())}</h1>"
        f'<p class="verdict">{_badge(one.verdict)}{reason}</p>'
        f'<p class="message">{escape(status.message or "")}</p>{_list(warning, "warning")}'
        f"{_facts(facts)}</header>{_runbook(one)}{_timeline(one)}{_metrics(one)}"
        f"{_expectations(one)}{_faults(one)}{_journal(one)}"
    )


def _runbook(one: FinishedDrill) -> str:
    if not one.runbook:
        return ""
    text = escape(one.runbook)
    return f'<section><h2>Runbook</h2><p class="runbook">{text}</p></section>'


def _timeline(one: FinishedDrill) -> str:
    lanes = _fault_lanes(one) + _event_lanes(one) + _effect_lanes(one)
    drawn = lanes_picture(lanes, f"What happened when in {one.name}")
    if not drawn:
        return ""
    key = (
        '<ul class="key"><li class="hit"><i></i>a fault is on</li><li class="saw">'
        '<i class="dot"></i>observed</li><li class="said"><i></i>predicted, 90 % of futures'
        "</li></ul>"
    )
    rows = [
        f"<tr><td class='n'>{escape(_after(one, entry))}</td><td>{escape(entry.event)}</td>"
        f"<td>{escape(entry.fault or '')}</td><td>{escape(entry.object or '')}</td>"
        f"<td>{escape(entry.message)}</td></tr>"
        for entry in one.status.timeline
    ]
    table = _table(("After", "Event", "Fault", "Object", ""), rows)
    return (
        f'<section><h2>What happened when</h2><div class="scroll">{drawn}</div>{key}'
        f"<details><summary>{len(rows)} events</summary>{table}</details></section>"
    )


def _after(one: FinishedDrill, entry: TimelineEntry) -> str:
    seconds = one.seconds(entry.at)
    return NONE if seconds is None else brief_span(max(seconds, 0.0))


def _fault_lanes(one: FinishedDrill) -> list[Lane]:
    lanes = []
    actions = {fault.name: fault.action for fault in one.drill.spec.faults}
    for fault in one.status.faults:
        start, end = one.seconds(fault.since), one.seconds(fault.ended_at)
        if start is None:
            continue
        told_text = f"{fault.fault}: {spell_told(start, end)}"
        mark = Mark(start, end, "fault", told_text)
        lanes.append(Lane(f"{fault.fault}: {actions.get(fault.fault, '')}", (mark,)))
    return lanes


_PREDICTED = {
    "Detected": "seconds_to_detect",
    "Evicted": "seconds_to_evict",
    "Replaced": "seconds_to_replace",
    "Recovered": "seconds_to_recover",
}
"""Events whose last moment a metric predicts."""


def _event_lanes(one: FinishedDrill) -> list[Lane]:
    """A lane for each kind of event, with every moment of it as a dot."""
    by_event: dict[str, list[Mark]] = {}
    for entry in one.status.timeline:
        at = one.seconds(entry.at)
        if at is None or at < 0:
            continue
        tone = " good" if entry.event in _GOOD else " bad" if entry.event in _BAD else ""
        what = " ".join(text for text in (entry.event, entry.object, entry.message) if text)
        mark = Mark(at, None, f"seen{tone}", f"{what}, {spell_told(at, None)}")
        by_event.setdefault(entry.event, []).append(mark)
    metrics = {metric.name: metric for metric in one.status.metrics}
    begun = _single_begin(one)
    lanes = []
    for event in ORDER:
        marks = by_event.get(event, [])
        metric = metrics.get(_PREDICTED.get(event, ""))
        if metric is not None and begun is not None and metric.low and metric.high:
            low, high = parse_quantity(metric.low) + begun, parse_quantity(metric.high) + begun
            marks = [Mark(low, high, "said", f"the last, in 90 %: {spell_told(low, high)}"), *marks]
        if marks:
            lanes.append(Lane(event, tuple(marks)))
    return lanes


def _single_begin(one: FinishedDrill) -> float | None:
    """When the only fault began; with several, no moment of the drill can be said."""
    faults = one.status.faults
    return one.seconds(faults[0].since) if len(faults) == 1 else None


def _effect_lanes(one: FinishedDrill) -> list[Lane]:
    """What heat was predicted to do, one lane for each fault and effect."""
    begun = {fault.fault: one.seconds(fault.since) for fault in one.status.faults}
    found: dict[tuple[str, str], list[tuple[float, float | None]]] = {}
    for effect in one.status.effects:
        start = begun.get(effect.fault)
        if start is not None:
            at, until = parse_quantity(effect.at) + start, _number(effect.until)
            over = None if until is None else until + start
            found.setdefault((effect.fault, effect.effect), []).append((at, over))
    return [
        Lane(f"{fault}: {effect}", (_spell(spells),)) for (fault, effect), spells in found.items()
    ]


def _spell(spells: Sequence[tuple[float, float | None]]) -> Mark:
    start = min(at for at, _ in spells)
    ends = [end for _, end in spells if end is not None]
    end = max(ends) if ends else None
    return Mark(start, end, "said", f"{len(spells)} nodes, {spell_told(start, end)}")


def _pair(metric: DrillMetric) -> Pair:
    shown = f"{metric_name(metric.name)}: predicted {interval(metric)}"
    if metric.observed is not None:
        shown += f", observed {told(metric.observed, metric.unit)}"
    return Pair(
        name=metric.name,
        low=_number(metric.low),
        median=_number(metric.median),
        high=_number(metric.high),
        observed=_number(metric.observed),
        told=shown,
    )


def _metrics(one: FinishedDrill) -> str:
    order = {name: place for place, name in enumerate(UNITS)}
    metrics = sorted(one.status.metrics, key=lambda m: order.get(m.name, len(order)))
    if not metrics:
        return ""
    rows = []
    for metric in metrics:
        word = {True: _badge_of("good", "within"), False: _badge_of("bad", "outside"), None: ""}
        rows.append(
            f"<tr><th scope='row'>{escape(metric_name(metric.name))}</th>"
            f"<td class='n'>{escape(told(metric.observed, metric.unit))}</td>"
            f"<td class='n'>{escape(told(metric.median, metric.unit))}</td>"
            f"<td class='n'>{escape(interval(metric))}</td><td>{pair_picture(_pair(metric))}</td>"
            f"<td class='n'>{escape(error_told(metric))}</td><td>{word[metric.within]}</td></tr>"
        )
    heads = ("Metric", "Observed", "Predicted", "90 % interval", "", "Error", "")
    return (
        "<section><h2>Predicted beside observed</h2><p class='note'>The bar is what 90 % of the"
        " twin's futures do, the stroke their median, the dot what was observed. Error: observed"
        f" less median, in percent of the median.</p>{_table(heads, rows)}</section>"
    )


def _badge_of(style: str, word: str) -> str:
    return f'<span class="badge {style}">{escape(word)}</span>'


def _expectations(one: FinishedDrill) -> str:
    if not one.status.expectations:
        return ""
    rows = [
        f"<tr><th scope='row'>{escape(result.name)}</th><td>{_badge(result.result)}</td>"
        f"<td>{escape(result.message)}</td></tr>"
        for result in one.status.expectations
    ]
    return f"<section><h2>Expectations</h2>{_table(('Name', 'Result', ''), rows)}</section>"


def _faults(one: FinishedDrill) -> str:
    hits = {target.fault: target for target in one.status.targets}
    states = {fault.fault: fault for fault in one.status.faults}
    rows = []
    for fault in one.drill.spec.faults:
        target, state = hits.get(fault.name), states.get(fault.name)
        where = nodes_told(target.nodes) if target else NONE
        what = state.message or "" if state else ""
        rows.append(
            f"<tr><th scope='row'>{escape(fault.name)}</th><td>{escape(fault.action)}</td>"
            f"<td>{escape(state.state if state else NONE)}</td><td>{escape(where or NONE)}</td>"
            f"<td>{escape(what)}</td></tr>"
        )
    heads = ("Fault", "Action", "State", "Hit", "")
    assumed = _details("What the twin assumed", one.status.assumptions)
    return f"<section><h2>Faults</h2>{_table(heads, rows)}{assumed}</section>"


def _journal(one: FinishedDrill) -> str:
    entries = one.status.journal
    if not entries:
        return ""
    rows = [
        f"<tr><th scope='row'>{escape(entry.id)}</th><td>{escape(entry.state)}</td><td>"
        + "<br>".join(escape(change.field) for change in entry.changes)
        + f"</td><td class='n'>{escape(entry.applied_at or NONE)}</td>"
        f"<td class='n'>{escape(entry.restored_at or NONE)}</td></tr>"
        for entry in entries[:MOST_JOURNAL]
    ]
    heads = ("Object", "State", "Changed", "Applied", "Taken back")
    return (
        f"<section><h2>Journal</h2><p class='note'>{len(entries)} objects were touched,"
        f" {len(one.residue)} are not taken back.</p>"
        f"<details><summary>Entries</summary>{_table(heads, rows)}</details></section>"
    )
