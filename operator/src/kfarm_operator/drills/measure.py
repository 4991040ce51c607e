"""Metrics as observed, set beside what was predicted, and what was expected. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from kfarm_api.drill import Expectation
from kfarm_api.drill_status import (
    DrillMetric,
    ExpectationResult,
    FailureDrillStatus,
    TimelineEntry,
)
from kfarm_api.units import format_quantity, parse_decimal

from kfarm_operator.drills.clock import read_moment
from kfarm_operator.drills.lost import METRIC, lost_hours
from kfarm_operator.drills.observe import pods_of, unit_of, whole
from kfarm_operator.drills.situation import Situation

TIMES = {
    "seconds_to_detect": "Detected",
    "seconds_to_evict": "Evicted",
    "seconds_to_replace": "Replaced",
    "seconds_to_recover": "Recovered",
    "seconds_to_requeue": "Requeued",
    "seconds_to_readmit": "Readmitted",
}


@dataclass(frozen=True)
class Judged:
    """What a drill came to."""

    metrics: list[DrillMetric]
    expectations: list[ExpectationResult]


def seconds_to(
    timeline: Sequence[TimelineEntry], event: str, begun: Mapping[str, datetime] | None = None
) -> Decimal | None:
    """The longest time, over the faults, from a fault's first injection to the last event.

    Parameters
    ----------
    begun
        Faults whose time counts from another moment.
    """
    found: list[Decimal] = []
    for fault in {line.fault for line in timeline if line.event == "Injected" and line.fault}:
        first = min(
            read_moment(x.at) for x in timeline if (x.event, x.fault) == ("Injected", fault)
        )
        began = (begun or {}).get(fault, first)
        last = [read_moment(x.at) for x in timeline if (x.event, x.fault) == (event, fault)]
        if last:
            took = (max(last) - began).total_seconds()
            found.append(Decimal(f"{max(0.0, took):.3f}"))
    return max(found, default=None)


def _heat_since(status: FailureDrillStatus) -> dict[str, datetime]:
    """Since when pumps and chillers are lost: their nodes are struck only once that has told."""
    hot = {one.fault for one in status.effects if one.effect in ("Throttling", "HeatShutdown")}
    return {
        one.fault: read_moment(one.since) for one in status.faults if one.since and one.fault in hot
    }


def measured(s: Situation) -> list[DrillMetric]:
    """All metrics: those predicted, in their order, with what was observed; then the others."""
    values = observed(s.status)
    lost = lost_hours(s)
    if lost is not None:
        values[METRIC] = lost
    known = {one.name: one for one in s.status.metrics}
    names = [*known, *(name for name in values if name not in known)]
    return [
        compared(known.get(name) or DrillMetric(name=name, unit=unit_of(name)), values.get(name))
        for name in names
    ]


def observed(status: FailureDrillStatus) -> dict[str, Decimal]:
    """What was observed, by metric."""
    found = {one.name: parse_decimal(one.observed) for one in status.metrics if one.observed}
    begun = _heat_since(status)
    for name, event in TIMES.items():
        took = seconds_to(status.timeline, event, begun)
        if took is not None:
            found[name] = took
    pods = [pods_of(line) for line in status.timeline if line.event == "Injected"]
    if any(count is not None for count in pods):
        found["pods_affected"] = Decimal(sum(count or 0 for count in pods))
    return found


def compared(metric: DrillMetric, value: Decimal | None) -> DrillMetric:
    """A metric with what was observed, whether that was predicted, and by how much not."""
    if value is None:
        return metric
    update: dict[str, object] = {"observed": format_quantity(value)}
    if metric.low is not None and metric.high is not None:
        update["within"] = parse_decimal(metric.low) <= value <= parse_decimal(metric.high)
    if metric.median is not None and (median := parse_decimal(metric.median)) != 0:
        update["error"] = f"{float((value - median) / abs(median) * 100):.1f}"
    return metric.model_copy(update=update)


def judged(s: Situation) -> Judged:
    """Metrics and expectations at the end."""
    metrics = measured(s)
    known = {one.name: one for one in metrics}
    begun = {one.name: one for one in s.status.expectations}
    results = [
        begun[one.name]
        if one.when == "Start" and one.name in begun
        else result(one, known, "Failed")
        for one in s.drill.spec.expectations
    ]
    return Judged(metrics, results)


def result(
    expected: Expectation, metrics: Mapping[str, DrillMetric], without: str
) -> ExpectationResult:
    """How an expectation came out; `without` is the result where there is no value."""
    metric = metrics.get(expected.metric)
    source = "predicted" if expected.source == "Predicted" else "observed"
    value = None
    if metric is not None:
        value = metric.median if expected.source == "Predicted" else metric.observed
    bound = f"at least {expected.at_least}" if expected.at_least else f"at most {expected.at_most}"
    if value is None:
        message = f"no {source} {expected.metric}; expected {bound}"
        return ExpectationResult(name=expected.name, result=without, message=message)  # type: ignore[arg-type]
    good = holds(expected, parse_decimal(value))
    message = f"{source} {expected.metric} is {value}, expected {bound}"
    return ExpectationResult(
        name=expected.name, result="Passed" if good else "Failed", value=value, message=message
    )


def holds(expected: Expectation, value: Decimal) -> bool:
    """Whether a value keeps to an expectation's bound."""
    if expected.at_least is not None:
        return value >= parse_decimal(expected.at_least)
    return expected.at_most is None or value <= parse_decimal(expected.at_most)


def violated(s: Situation) -> str | None:
    """The first continuous expectation that fails now, in a sentence."""
    known = {one.name: one for one in measured(s)}
    for one in s.drill.spec.expectations:
        if one.when == "Continuous":
            found = result(one, known, "Unknown")
            if found.result == "Failed":
                return f"expectation {one.name}: {found.message}"
    return None


def recovered(s: Situation) -> bool:
    """Whether all is as it should be again: pods run, nodes are Ready."""
    up = all(s.nodes[name].ready == "True" for name in s.struck if name in s.nodes)
    return up and whole(s)
