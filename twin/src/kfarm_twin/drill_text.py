"""Drills for people: names of metrics, intervals, and tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kfarm_api.drill import FailureDrill
from kfarm_api.drill_status import DrillMetric, FaultTargets
from kfarm_api.units import parse_quantity

from kfarm_twin.drill_request import DrillPrediction
from kfarm_twin.figures import NONE, figure

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = "kfarm.dev/drill/v1"
NAMES = {
    "seconds_to_detect": "Until it is noticed",
    "seconds_to_evict": "Until pods are evicted",
    "seconds_to_replace": "Until pods are replaced",
    "seconds_to_recover": "Until all pods run again",
    "seconds_to_requeue": "Until Kueue takes an admission back",
    "seconds_to_readmit": "Until Kueue admits anew",
    "pods_affected": "Pods affected",
    "pods_pending_max": "Most pods out at once",
    "nodes_down_max": "Most nodes down at once",
    "healthy_nodes_min": "Fewest healthy nodes",
    "lost_accelerator_hours": "Accelerator hours lost",
    "accelerator_temperature_max": "Hottest accelerator",
    "seconds_to_throttle": "Until devices throttle",
    "throttled_nodes_max": "Most nodes throttled",
    "heat_shutdowns": "Nodes shut down by heat",
    "repairs_waiting_max": "Most nodes waiting for a crew",
    "seconds_to_repair_all": "Until all is mended",
}
"""Metrics in words, in the order in which they are told."""
MOST_NODES_TOLD = 8


@dataclass(frozen=True)
class PredictedDrill:
    """A drill with its targets and what the twin says of it."""

    drill: FailureDrill
    targets: tuple[FaultTargets, ...]
    prediction: DrillPrediction
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """``namespace/name``."""
        metadata = self.drill.metadata
        return f"{metadata.namespace or 'default'}/{metadata.name}"

    def as_data(self) -> dict[str, Any]:
        """Keys as in docs/cli.md."""
        return {
            "namespace": self.drill.metadata.namespace or "default",
            "name": self.drill.metadata.name,
            "targets": [one.model_dump(mode="json", by_alias=True) for one in self.targets],
            **self.prediction.model_dump(mode="json", by_alias=True, exclude_none=True),
            "notes": list(self.notes),
        }


def told(text: str | None, unit: str) -> str:
    """A quantity with its unit; counts as plain numbers."""
    if text is None:
        return NONE
    value = parse_quantity(text)
    if unit in ("pods", "nodes", "1"):
        return f"{value:,.4g}"
    return figure(value, unit)


def interval(metric: DrillMetric) -> str:
    """``low … high``, one figure where they are the same."""
    if metric.low is None or metric.high is None:
        return NONE
    low, high = told(metric.low, metric.unit), told(metric.high, metric.unit)
    return low if low == high else f"{low} … {high}"


def metric_name(name: str) -> str:
    """A metric in words."""
    return NAMES.get(name, name)


def nodes_told(nodes: Sequence[str]) -> str:
    """The first of some nodes, and how many more."""
    shown = ", ".join(nodes[:MOST_NODES_TOLD])
    more = len(nodes) - MOST_NODES_TOLD
    return shown + (f" and {more} more" if more > 0 else "")


def print_drill(console: Console, one: PredictedDrill) -> None:
    """Targets, metrics, what happens when, and what is assumed."""
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    prediction = one.prediction
    console.print(f"[bold]{escape(one.name)}[/bold]  {prediction.futures} futures")
    for note in (*one.notes, *prediction.warnings):
        console.print(f"[yellow]![/yellow] {escape(note)}")
    targets = Table(box=None, pad_edge=False)
    for head in ("Fault", "Action", "Hits"):
        targets.add_column(head)
    actions = {fault.name: fault.action for fault in one.drill.spec.faults}
    for target in one.targets:
        hits = nodes_told(target.nodes) or ", ".join(target.domains) or NONE
        targets.add_row(escape(target.fault), actions[target.fault], escape(hits))
    console.print(targets)
    console.print()
    table = Table(box=None, pad_edge=False)
    table.add_column("Metric")
    table.add_column("Median", justify="right")
    table.add_column("90 % of futures", justify="right")
    for metric in prediction.metrics:
        table.add_row(metric_name(metric.name), told(metric.median, metric.unit), interval(metric))
    console.print(table)
    _print_moments(console, prediction)
    for text in prediction.assumptions:
        console.print(f"[dim]· {escape(text)}[/dim]")


def _print_moments(console: Console, prediction: DrillPrediction) -> None:
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console.print()
    table = Table(box=None, pad_edge=False)
    table.add_column("After", justify="right")
    table.add_column("90 % of futures", justify="right")
    table.add_column("Event")
    table.add_column("Fault")
    for moment in prediction.timeline:
        low, high = figure(moment.low, "s"), figure(moment.high, "s")
        between = NONE if low == high else f"{low} … {high}"
        table.add_row(figure(moment.median, "s"), between, moment.event, escape(moment.fault))
    console.print(table)
    console.print()
