"""Pieces that the pages of drills share: tables, lists, badges, a metric as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from kfarm_api.drill_status import DrillMetric
from kfarm_api.units import parse_quantity

from kfarm_twin.drill_text import interval, metric_name, told
from kfarm_twin.pictures.lanes import Pair

ORDER = (
    "Started", "Predicted", "Injected", "Detected", "Remedied", "Evicted", "Gone", "Requeued",
    "Verdict", "Readmitted", "Replaced", "Running", "Recovered", "FaultEnded", "Restored",
    "Violated", "Aborted", "Ended",
)  # fmt: skip
"""Events in the order of the lanes."""


def number(text: str | None) -> float | None:
    """A quantity as a number."""
    return None if text is None else parse_quantity(text)


def bullets(texts: Sequence[str], kind: str) -> str:
    """A list of the class `kind`; empty without items."""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<ul class="{kind}">{items}</ul>' if items else ""


def details(name: str, texts: Sequence[str]) -> str:
    """A list that opens on demand."""
    if not texts:
        return ""
    return f"<details><summary>{escape(name)}</summary>{bullets(texts, 'rules')}</details>"


def facts(rows: Sequence[tuple[str, str]]) -> str:
    """The line of figures under a headline."""
    cells = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in rows
    )
    return f'<dl class="facts">{cells}</dl>'


def table(heads: Sequence[str], rows: Sequence[str]) -> str:
    """A table; rows are markup."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def badge(word: str) -> str:
    """A verdict or result with its mark."""
    style, mark = {
        "Passed": ("good", "✓"),
        "Failed": ("bad", "✕"),
        "Aborted": ("bad", "✕"),
    }.get(word, ("unsure", "?"))
    return f'<span class="badge {style}"><i aria-hidden="true">{mark}</i>{escape(word)}</span>'


def pair(metric: DrillMetric) -> Pair:
    """Predicted beside observed of a metric, for its picture."""
    shown = f"{metric_name(metric.name)}: predicted {interval(metric)}"
    if metric.observed is not None:
        shown += f", observed {told(metric.observed, metric.unit)}"
    return Pair(
        name=metric.name,
        low=number(metric.low),
        median=number(metric.median),
        high=number(metric.high),
        observed=number(metric.observed),
        told=shown,
    )
