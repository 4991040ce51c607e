"""The page of ``kfarm cooling``: the N-1 table of each farm, and how long is left."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from kfarm_twin.cooling_text import HOLDS, SHUTS_DOWN, THROTTLES, sentence, state
from kfarm_twin.cooling_view import FAULT_NAMES, fault_row
from kfarm_twin.figures import NONE, brief_span
from kfarm_twin.pictures.faults import fault_table
from kfarm_twin.report_page import page
from kfarm_twin.traces.write import replacing

if TYPE_CHECKING:
    from kfarm_twin.cooling import CoolingRow
    from kfarm_twin.cooling_output import CoolingAnswer

STYLES = ("report.css", "compare.css", "pictures.css")
_WORDS = {SHUTS_DOWN: "end in a shutdown", THROTTLES: "in throttling", HOLDS: "held"}


def write_page(path: Path, answers: Sequence[CoolingAnswer], command: str) -> None:
    """Write the page, whole or not at all; `command` gives the same result.

    Raises
    ------
    ManifestError
        Where it cannot be written.
    """
    with replacing(path) as stream:
        stream.write(render(answers, command).encode())


def render(answers: Sequence[CoolingAnswer], command: str) -> str:
    """The whole page; every text from a manifest is escaped."""
    first, *more = [finding(one) for one in answers]
    items = "".join(f"<li>{escape(text)}</li>" for text in more)
    body = (
        '<header class="plain"><p class="kicker">kfarm cooling</p>'
        f'<h1 class="finding">{escape(first)}</h1>'
        + (f'<ul class="takeaways">{items}</ul></header>' if items else "</header>")
        + "".join(_farm(one) for one in answers)
        + f"<section><h2>Reproduce</h2><pre><code>{escape(command)}</code></pre></section>"
    )
    return page("kfarm cooling", body, {}, styles=STYLES, scripts=(), plotly=False)


def finding(one: CoolingAnswer) -> str:
    """What a farm's table comes to, in a sentence."""
    name, rows = one.farm.metadata.name, one.study.rows
    if not rows:
        return f"{name}: nothing of its cooling is described that could fail."
    counts = {word: sum(len(row.instances) for row in rows if state(row) == word)
              for word in _WORDS}  # fmt: skip
    total = sum(counts.values())
    told = [f"{number:,} {_WORDS[word]}" for word, number in counts.items() if number]
    if counts[HOLDS] == total:
        least = min(row.headroom_k for row in rows)
        return f"{name}: all {total:,} single faults are held, with {least:.1f} K to spare."
    worst = rows[0]
    return f"{name}: {total:,} single faults, {', '.join(told)}; {_soonest(worst)}."


def _soonest(row: CoolingRow) -> str:
    what = f"{FAULT_NAMES.get(row.fault, row.fault).split(',')[0]} {row.instances[0]}"
    if row.dark:
        return f"{what} takes the power of {row.dark:,} nodes"
    if row.shutdown_s is not None:
        return f"nodes go off {brief_span(row.shutdown_s)} after {what} stops"
    return f"devices throttle {brief_span(row.throttle_s or 0.0)} after {what} stops"


def _farm(one: CoolingAnswer) -> str:
    study, question = one.study, one.question
    facts = [
        ("Load", f"{question.load:g} %"),
        (
            "A fault lasts",
            brief_span(question.lasts_s) if question.lasts_s < 1e9 else "until all is steady",
        ),
        ("First throttles", _time(study.throttle_min_s, study.rows, "throttle_s")),
        ("First shuts down", _time(study.shutdown_min_s, study.rows, "shutdown_s")),
    ]
    shown = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts
    )
    table = fault_table([fault_row(row, one.farm.metadata.name) for row in study.rows])
    return (
        f"<section><h2>{escape(one.farm.kind)} {escape(one.farm.metadata.name)}</h2>"
        '<p class="note">Each part of the cooling fails alone, everything at this load and steady '
        f'before; the worst first.</p>{table}<dl class="facts">{shown}</dl>{_words(study.rows)}'
        f"{_assumptions(study.assumptions)}</section>"
    )


def _time(least: float | None, rows: Sequence[CoolingRow], name: str) -> str:
    known = [value for row in rows if (value := getattr(row, name)) is not None]
    return NONE if least is None else brief_span(min(known)) if known else "never"


def _words(rows: Sequence[CoolingRow]) -> str:
    if not rows:
        return ""
    items = "".join(
        f"<li><b>{escape(FAULT_NAMES.get(row.fault, row.fault))}</b>: {escape(sentence(row))}</li>"
        for row in rows
    )
    return f'<details><summary>In words</summary><ul class="rules">{items}</ul></details>'


def _assumptions(told: Sequence[str]) -> str:
    if not told:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in told)
    return f'<details><summary>What is assumed</summary><ul class="rules">{items}</ul></details>'
