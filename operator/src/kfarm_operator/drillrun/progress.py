"""What to tell while a drill runs: the difference between two states, line by line. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from kfarm_api.drill_status import DrillMetric, FailureDrillStatus, TimelineEntry

from kfarm_operator.drillrun.moments import moment

MANY = 4
"""So many events of one sort at a time are told one by one; more are counted."""


def news(before: FailureDrillStatus | None, now: FailureDrillStatus) -> Iterator[str]:
    """What is new in a status."""
    if before is None or before.phase != now.phase:
        line = f"phase {now.phase}"
        if now.message:
            line += f": {now.message}"
        yield line
    known = len(before.timeline) if before is not None else 0
    yield from _events(now.timeline[known:], moment(now.started_at))


def _events(entries: list[TimelineEntry], started: datetime | None) -> Iterator[str]:
    groups: dict[tuple[str, str], list[TimelineEntry]] = {}
    for entry in entries:
        groups.setdefault((entry.event, entry.fault or ""), []).append(entry)
    for (event, fault), group in groups.items():
        of = f" ({fault})" if fault else ""
        if len(group) > MANY:
            when = f"{_at(group[0], started)} to {_at(group[-1], started)}"
            yield f"{when}  {event}{of}: {len(group)} objects"
            continue
        for entry in group:
            what = " ".join(part for part in (entry.object, entry.message) if part)
            yield f"{_at(entry, started)}  {event}{of}: {what}".rstrip(": ")


def _at(entry: TimelineEntry, started: datetime | None) -> str:
    at = moment(entry.at)
    if at is None or started is None:
        return entry.at
    return f"{(at - started).total_seconds():+8.1f} s"


def outcome(status: FailureDrillStatus) -> Iterator[str]:
    """Verdict, expectations, and predicted beside observed, as lines of a table."""
    verdict = status.verdict or f"no verdict (phase {status.phase})"
    yield f"{verdict}. {status.message or ''}".rstrip()
    for one in status.expectations:
        yield f"  {one.result:<8}{one.name}: {one.message.removeprefix(f'{one.name}: ')}"
    if status.metrics:
        yield f"  {'metric':<28}{'predicted, 90 % interval':>34}{'observed':>12}{'error':>10}"
    for metric in status.metrics:
        yield f"  {_metric(metric)}"


def _metric(metric: DrillMetric) -> str:
    predicted = metric.median or "-"
    if metric.low is not None and metric.high is not None:
        predicted += f" [{metric.low} .. {metric.high}]"
    unit = f" [{metric.unit}]" if metric.unit else ""
    error = f"{metric.error} %" if metric.error is not None else ""
    observed = metric.observed if metric.observed is not None else "-"
    inside = {True: "", False: "  outside", None: ""}[metric.within]
    return f"{metric.name + unit:<28}{predicted:>34}{observed:>12}{error:>10}{inside}".rstrip()
