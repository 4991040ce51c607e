"""The status of a drill as it should stand after a step. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

from kfarm_api.base import Condition
from kfarm_api.drill_status import (
    DrillPhase,
    FailureDrillStatus,
    FaultProgress,
    JournalEntry,
    TimelineEntry,
)

from kfarm_operator.conditions import condition, shorten
from kfarm_operator.drills.clock import moment
from kfarm_operator.drills.situation import Situation

JSON = dict[str, Any]
Verdict = Literal["Passed", "Failed", "Aborted"]
TIMELINE = 1000
PER_EVENT = 200
"""Entries of one event in a timeline; of more the first and the latest are kept."""


def phase(
    s: Situation, to: DrillPhase, reason: str, message: str, **update: Any
) -> FailureDrillStatus:
    """The status in another phase, with conditions."""
    ready: Any = {"Completed": "True", "Scheduled": "True"}.get(to, "False")
    row = condition(
        "Ready", ready, reason, message,
        generation=s.drill.metadata.generation, before=s.status.conditions, now=s.now,
    )  # fmt: skip
    return s.status.model_copy(
        update={
            "observed_generation": s.drill.metadata.generation,
            "phase": to,
            "reason": reason,
            "message": shorten(message),
            "cluster_name": s.settings.cluster_name or None,
            "conditions": [Condition.model_validate(row)],
            **update,
        }
    )


def told(
    timeline: Sequence[TimelineEntry], *new: TimelineEntry
) -> list[TimelineEntry]:
    """A timeline with further entries, in order of time, and not too long."""
    found = list(timeline)
    for entry in new:
        same = [n for n, old in enumerate(found) if old.event == entry.event]
        if len(same) >= PER_EVENT or len(found) >= TIMELINE:
            if not same:
                continue
            del found[same[-1]]
        found.append(entry)
    return sorted(found, key=lambda entry: entry.at)


def entry(
    at: datetime, event: Any, *, fault: str | None = None, about: str | None = None,
    message: str = "",
) -> TimelineEntry:  # fmt: skip
    """One line of a timeline."""
    return TimelineEntry(
        at=moment(at), event=event, fault=fault, object=about, message=shorten(message, 512)
    )


def with_progress(
    status: FailureDrillStatus, faults: Iterable[FaultProgress]
) -> FailureDrillStatus:
    """The status with these faults' progress in place of the old."""
    new = {one.fault: one for one in faults}
    kept = [new.pop(one.fault, one) for one in status.faults]
    return status.model_copy(update={"faults": [*kept, *new.values()]})


def with_entries(
    status: FailureDrillStatus, entries: Iterable[JournalEntry]
) -> FailureDrillStatus:
    """The status with these journal entries in place of the old, new ones at the end."""
    new = {one.id: one for one in entries}
    kept = [new.pop(one.id, one) for one in status.journal]
    journal = [*kept, *new.values()]
    touched = {one.name for one in journal if one.applied_at or one.state == "Planned"}
    return status.model_copy(update={"journal": journal, "touched": len(touched)})


def body_of(status: FailureDrillStatus) -> JSON:
    """The status as a merge patch; explicit nulls clear what stood there before."""
    body: JSON = {
        field.alias or name: None
        for name, field in FailureDrillStatus.model_fields.items()
    }
    for name, field in FailureDrillStatus.model_fields.items():
        value = getattr(status, name)
        if isinstance(value, list):
            body[field.alias or name] = [
                item.as_manifest() if hasattr(item, "as_manifest") else item for item in value
            ]
        elif value is not None:
            body[field.alias or name] = value
    return body
