"""The part of a page that shows one drill that was run."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from kfarm_api.drill_status import TimelineEntry
from kfarm_api.units import parse_quantity

from kfarm_twin.drill_metrics import UNITS
from kfarm_twin.drill_page_parts import ORDER, badge, bullets, details, facts, number, pair, table
from kfarm_twin.drill_report import FinishedDrill, error_told
from kfarm_twin.drill_text import interval, metric_name, nodes_told, told
from kfarm_twin.figures import NONE, brief_span
from kfarm_twin.pictures.lanes import Lane, Mark, lanes_picture, pair_picture, spell_told

_GOOD = frozenset({"Recovered", "Restored", "Running", "Replaced"})
_BAD = frozenset({"Violated", "Aborted"})
MOST_JOURNAL = 64


def finished_section(one: FinishedDrill, place: int) -> str:
    """A drill that was run; `place` is its number on the page."""
    status, spec = one.status, one.drill.spec
    style = {"Passed": "good", "Failed": "bad", "Aborted": "bad"}.get(one.verdict, "unsure")
    left = one.residue
    warning = [f"not taken back: {entry.id} ({entry.state})" for entry in left[:8]]
    known = [
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
        f'<p class="verdict">{badge(one.verdict)}{reason}</p>'
        f'<p class="message">{escape(status.message or "")}</p>{bullets(warning, "warning")}'
        f"{facts(known)}</header>{_runbook(one)}{_timeline(one)}{_metrics(one)}"
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
    events = table(("After", "Event", "Fault", "Object", ""), rows)
    return (
        f'<section><h2>What happened when</h2><div class="scroll">{drawn}</div>{key}'
        f"<details><summary>{len(rows)} events</summary>{events}</details></section>"
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
    "Requeued": "seconds_to_requeue",
    "Readmitted": "seconds_to_readmit",
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
            at, until = parse_quantity(effect.at) + start, number(effect.until)
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
            f"<td class='n'>{escape(interval(metric))}</td><td>{pair_picture(pair(metric))}</td>"
            f"<td class='n'>{escape(error_told(metric))}</td><td>{word[metric.within]}</td></tr>"
        )
    heads = ("Metric", "Observed", "Predicted", "90 % interval", "", "Error", "")
    return (
        "<section><h2>Predicted beside observed</h2><p class='note'>The bar is what 90 % of the"
        " twin's futures do, the stroke their median, the dot what was observed. Error: observed"
        f" less median, in percent of the median.</p>{table(heads, rows)}</section>"
    )


def _badge_of(style: str, word: str) -> str:
    return f'<span class="badge {style}">{escape(word)}</span>'


def _expectations(one: FinishedDrill) -> str:
    if not one.status.expectations:
        return ""
    rows = [
        f"<tr><th scope='row'>{escape(result.name)}</th><td>{badge(result.result)}</td>"
        f"<td>{escape(result.message)}</td></tr>"
        for result in one.status.expectations
    ]
    return f"<section><h2>Expectations</h2>{table(('Name', 'Result', ''), rows)}</section>"


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
    assumed = details("What the twin assumed", one.status.assumptions)
    return f"<section><h2>Faults</h2>{table(heads, rows)}{assumed}</section>"


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
        f"<details><summary>Entries</summary>{table(heads, rows)}</details></section>"
    )
