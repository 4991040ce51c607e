"""Pages of drills: what is predicted, and what was predicted beside what was observed."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from kfarm_twin.drill_page_finished import finished_section
from kfarm_twin.drill_page_parts import ORDER, badge, bullets, details, facts, pair, table
from kfarm_twin.drill_report import FinishedDrill
from kfarm_twin.drill_request import PredictedMoment
from kfarm_twin.drill_text import PredictedDrill, interval, metric_name, nodes_told, told
from kfarm_twin.figures import NONE
from kfarm_twin.pictures.lanes import (
    Lane,
    Mark,
    curve_picture,
    lanes_picture,
    pair_picture,
    spell_told,
)
from kfarm_twin.report_page import page
from kfarm_twin.traces.write import replacing

STYLES = ("report.css", "pictures.css", "drills.css")


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
        finished_section(one, place) for place, one in enumerate(found)
    )
    title = found[0].headline() if len(found) == 1 else f"{len(found)} failure drills"
    return page(title, body, {}, styles=STYLES, scripts=(), plotly=False)


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
    known = [
        ("Faults", faults),
        ("Futures", str(prediction.futures)),
        ("Seed", str(prediction.seed)),
    ]
    heads = ("Metric", "Median", "90 % interval", "")
    rows = [
        f"<tr><th scope='row'>{escape(metric_name(m.name))}</th><td class='n'>"
        f"{escape(told(m.median, m.unit))}</td><td class='n'>{escape(interval(m))}</td>"
        f"<td>{pair_picture(pair(m))}</td></tr>"
        for m in prediction.metrics
    ]
    lanes = lanes_picture(_moment_lanes(prediction.timeline), f"What happens when in {one.name}")
    hits = [
        f"{target.fault}: {nodes_told(target.nodes) or ', '.join(target.domains) or NONE}"
        for target in one.targets
    ]
    return (
        f'<header class="plain"><p class="kicker">kfarm drill predict</p>'
        f"<h1>{escape(one.name)}</h1>"
        f'<p class="message">The twin says: {escape(says)}.</p>'
        f"{bullets([*one.notes, *prediction.warnings], 'warning')}{facts(known)}</header>"
        f'<section><h2>What happens when</h2><p class="note">Bars are what 90 % of the futures'
        f' do, dots their median.</p><div class="scroll">{lanes}</div></section>'
        f"<section><h2>Figures</h2>{table(heads, rows)}</section>"
        f"{_curve(one)}<section><h2>What is hit</h2>{bullets(hits, 'rules')}"
        f"{details('What is assumed', prediction.assumptions)}"
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


def _overview(found: Sequence[FinishedDrill]) -> str:
    compared = sum(len(one.compared) for one in found)
    within = sum(one.within for one in found)
    passed = sum(one.status.verdict == "Passed" for one in found)
    residue = sum(len(one.residue) for one in found)
    share = f"{100 * within / compared:.0f} %" if compared else NONE
    items = "".join(
        f'<li><a href="#drill-{place}">{escape(one.name)}</a> {badge(one.verdict)}</li>'
        for place, one in enumerate(found)
    )
    known = [
        ("Passed", f"{passed} of {len(found)}"),
        ("Observed within the predicted 90 % interval", f"{within} of {compared} ({share})"),
        ("Not taken back", str(residue)),
    ]
    return (
        '<header class="plain"><p class="kicker">kfarm drill report</p>'
        f"<h1>{len(found)} failure drills</h1>{facts(known)}<nav><ul>{items}</ul></nav></header>"
    )
