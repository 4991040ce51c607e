"""What the report shows, as plain data: no arrays, no tables, no HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kfarm_twin.energy_result import EnergyYear
from kfarm_twin.pictures.faults import FaultRow
from kfarm_twin.pictures.floor import RackCell
from kfarm_twin.pictures.moments import Moments
from kfarm_twin.request import ValidationRequest, Verdict

LEAST_INFLUENCE = 0.005
"""Difference of margins below which an input is not drawn."""


@dataclass(frozen=True)
class Line:
    """A time series of the worst future; each value holds until the next.

    Attributes
    ----------
    limits
        Bounds of the checks on this quantity: (label, value).
    count
        Whether the value counts something, so that its axis begins at zero.
    """

    title: str
    unit: str
    hours: list[float]
    values: list[float | None]
    limits: list[tuple[str, float]] = field(default_factory=list)
    count: bool = False


@dataclass(frozen=True)
class Distribution:
    """One metric over all futures, and the bound that a check sets.

    Attributes
    ----------
    side
        ``atLeast`` or ``atMost``, or None without a check.
    """

    metric: str
    summary: str
    unit: str
    values: list[float]
    bound: float | None = None
    side: str | None = None
    quantile: int | None = None


@dataclass(frozen=True)
class Influence:
    """One bar of the tornado: margin [1] with one input at either end of its central range.

    Attributes
    ----------
    stated, low, high
        Margin as stated (1 or -1), at the lower and at the upper end; 0 where the verdict flips.
    low_text, high_text
        Values of the input there.
    """

    name: str
    check: str
    stated: float
    low: float
    high: float
    low_text: str
    high_text: str
    unknown: bool


@dataclass(frozen=True)
class ReportView:
    """All that the page shows.

    Attributes
    ----------
    command
        Command line that gives the same verdict.
    moments
        The worst future rack by rack, in the order of `racks`.
    years
        A typical year of each farm with the plan on it.
    cooling
        Single faults of the cooling, or None where none was played.
    """

    title: str
    verdict: Verdict
    command: str
    facts: list[tuple[str, str]]
    racks: list[RackCell]
    lines: list[Line]
    distributions: list[Distribution]
    assumptions: list[Influence] = field(default_factory=list)
    moments: list[Moments] = field(default_factory=list)
    years: list[EnergyYear] = field(default_factory=list)
    cooling: list[FaultRow] | None = None
    racks_left_out: int = 0


def influences(verdict: Verdict, most: int = 15) -> list[Influence]:
    """Inputs that move the margin of a check, the most influential first."""
    found = verdict.assumptions.inputs if verdict.assumptions else []
    bars = [
        Influence(
            name=f"rate of {entry.name}" if "failures" in entry.unit else entry.name,
            check=entry.check,
            stated=float(entry.margin_stated),
            low=float(entry.margin_low),
            high=float(entry.margin_high),
            low_text=f"{entry.low} {entry.unit}",
            high_text=f"{entry.high} {entry.unit}",
            unknown=entry.unknown,
        )
        for entry in found
    ]
    return [bar for bar in bars if abs(bar.high - bar.low) >= LEAST_INFLUENCE][:most]


def summary_facts(request: ValidationRequest, verdict: Verdict) -> list[tuple[str, str]]:
    """The line of figures under the headline."""
    workloads = request.plan.spec.workloads
    devices = sum(w.pods * w.accelerators_per_pod for w in workloads)
    placed = {slot.node for placement in verdict.placements for slot in placement.slots}
    return [
        ("Policy", request.policy.metadata.name),
        ("Farms", ", ".join(farm.name for farm in request.plan.spec.farms)),
        ("Workloads", ", ".join(w.name for w in workloads)),
        ("Pods", f"{sum(w.pods for w in workloads):,}"),
        ("Accelerators", f"{devices:,}"),
        ("Nodes chosen", f"{len(placed):,}"),
        ("Futures played", f"{verdict.futures:,}"),
        ("Horizon", verdict.horizon),
        ("Seed", str(verdict.seed)),
    ]


def thin(values: Sequence[Any], most: int) -> list[int]:
    """Indices of at most `most` values, evenly spread, first and last kept."""
    count = len(values)
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})
