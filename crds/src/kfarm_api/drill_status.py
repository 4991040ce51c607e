"""What the operator writes of a FailureDrill: the journal, what was predicted and what came."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from kfarm_api.base import BY_NAME, Conditions, ListOf, Name, Strict
from kfarm_api.units import Quantity

Moment = Annotated[str, Field(max_length=40)]
"""A time in UTC, such as ``2026-01-31T12:00:00.123Z``."""
NodeName = Annotated[str, Field(max_length=253)]
DrillPhase = Literal[
    "Pending",
    "Predicting",
    "DryRun",
    "Waiting",
    "Running",
    "Recovering",
    "Restoring",
    "Completed",
    "Suspended",
    "Scheduled",
]
"""`Waiting`: for a trigger, for the runner, or for another drill on the same cluster. `Recovering`:
all faults have ended, pods are waited for. `Restoring`: what was injected is taken back.
`Scheduled`: the drill only makes runs."""
JournalState = Literal["Planned", "Applied", "Restored", "Foreign", "Gone"]
"""`Foreign`: somebody changed it meanwhile, and what they wrote stays. `Gone`: the object is no
longer there, or is another of the same name."""


class Change(Strict):
    """One field that a drill changes, with the value before and after as JSON; None: not there.

    `field` is ``taint/KEY:EFFECT``, ``condition/TYPE``, ``allocatable/RESOURCE``, ``label/KEY`` or
    ``lease/FIELD``.
    """

    field: Annotated[str, Field(min_length=1, max_length=400)]
    before: Annotated[str, Field(max_length=2048)] | None = None
    after: Annotated[str, Field(max_length=2048)] | None = None


class JournalEntry(Strict):
    """One object that a drill touches: written down before it is, and until it is taken back.

    `id` is ``FAULT/KIND/NAME``, with a number for a fault that comes several times.
    """

    id: Annotated[str, Field(min_length=1, max_length=400)]
    fault: Name
    kind: Literal["Node", "Lease"]
    name: NodeName
    uid: Annotated[str, Field(max_length=64)]
    state: JournalState
    changes: Annotated[list[Change], Field(max_length=8)]
    planned_at: Moment
    applied_at: Moment | None = None
    restored_at: Moment | None = None


class FaultTargets(Strict):
    """What a fault hits, chosen once by the seed: domains and their nodes."""

    fault: Name
    domains: Annotated[list[NodeName], Field(max_length=256)] = Field(default_factory=list)
    nodes: Annotated[list[NodeName], Field(max_length=256)] = Field(default_factory=list)


class FaultProgress(Strict):
    """How far a fault is."""

    fault: Name
    state: Literal["Waiting", "Active", "Ended", "Skipped"]
    since: Moment | None = None
    ended_at: Moment | None = None
    message: Annotated[str, Field(max_length=512)] | None = None


class TimelineEntry(Strict):
    """Something that happened or was done: injected, detected, evicted, replaced or recovered.

    `Requeued`: Kueue took a Workload's admission back; `Readmitted`: it has one again, on
    nodes that no fault struck.
    """

    at: Moment
    event: Literal[
        "Started",
        "Injected",
        "Detected",
        "Evicted",
        "Gone",
        "Replaced",
        "Running",
        "Remedied",
        "Requeued",
        "Readmitted",
        "Verdict",
        "Predicted",
        "FaultEnded",
        "Restored",
        "Recovered",
        "Violated",
        "Aborted",
        "Ended",
    ]
    fault: Annotated[str, Field(max_length=63)] | None = None
    object: Annotated[str, Field(max_length=320)] | None = None
    message: Annotated[str, Field(max_length=512)] = ""


class DrillMetric(Strict):
    """A metric as predicted, with the interval of 90 %, beside what was observed.

    `error` is (observed - median) / median in percent; left out where the median is 0.
    """

    name: Annotated[str, Field(min_length=1, max_length=64)]
    unit: Annotated[str, Field(max_length=16)]
    low: Quantity | None = None
    median: Quantity | None = None
    high: Quantity | None = None
    observed: Quantity | None = None
    within: bool | None = None
    error: Annotated[str, Field(max_length=32)] | None = None


class ExpectationResult(Strict):
    """How an expectation came out, in a sentence."""

    name: Name
    result: Literal["Passed", "Failed", "Unknown"]
    value: Quantity | None = None
    message: Annotated[str, Field(max_length=512)]


class PredictedEffect(Strict):
    """What the twin says will happen to a node, seconds after its fault began."""

    fault: Name
    node: NodeName
    effect: Literal["Throttling", "HeatShutdown", "Down", "DeviceLost"]
    at: Quantity
    until: Quantity | None = None


class DrillRun(Strict):
    """A run that a schedule made."""

    name: Annotated[str, Field(max_length=253)]
    scheduled_for: Moment
    verdict: Literal["Passed", "Failed", "Aborted"] | None = None


class FailureDrillStatus(Strict):
    """Written by the operator alone."""

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    phase: DrillPhase | None = None
    verdict: Literal["Passed", "Failed", "Aborted"] | None = None
    reason: Annotated[str, Field(max_length=64)] | None = None
    message: Annotated[str, Field(max_length=2048)] | None = None
    cluster_name: Annotated[str, Field(max_length=63)] | None = None
    domain: Annotated[str, Field(max_length=63)] | None = None
    started_at: Moment | None = None
    until: Moment | None = None
    completed_at: Moment | None = None
    touched: Annotated[int, Field(ge=0)] | None = None
    targets: Annotated[list[FaultTargets], Field(max_length=16), ListOf(("fault",))] = Field(
        default_factory=list
    )
    faults: Annotated[list[FaultProgress], Field(max_length=16), ListOf(("fault",))] = Field(
        default_factory=list
    )
    journal: Annotated[list[JournalEntry], Field(max_length=1024), ListOf(("id",))] = Field(
        default_factory=list
    )
    effects: Annotated[list[PredictedEffect], Field(max_length=1024)] = Field(default_factory=list)
    timeline: Annotated[list[TimelineEntry], Field(max_length=1024)] = Field(default_factory=list)
    metrics: Annotated[list[DrillMetric], Field(max_length=32), BY_NAME] = Field(
        default_factory=list
    )
    expectations: Annotated[list[ExpectationResult], Field(max_length=16), BY_NAME] = Field(
        default_factory=list
    )
    inputs_digest: Annotated[str, Field(max_length=80)] | None = None
    assumptions: Annotated[list[Annotated[str, Field(max_length=512)]], Field(max_length=32)] = (
        Field(default_factory=list)
    )
    next_run: Moment | None = None
    runs: Annotated[list[DrillRun], Field(max_length=64), BY_NAME] = Field(default_factory=list)
    conditions: Conditions = Field(default_factory=list)
