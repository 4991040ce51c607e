"""The status of a drill as it should stand after a step. Pure functions."""

from __future__ import annotations

from collections import Counter
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
from kfarm_operator.drills.clock import moment, read_moment
from kfarm_operator.drills.journal import OPEN
from kfarm_operator.drills.situation import Situation
from kfarm_operator.drills.waves import is_remedy

JSON = dict[str, Any]
Verdict = Literal["Passed", "Failed", "Aborted"]
TIMELINE = 1000
JOURNAL = 640
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


def told(timeline: Sequence[TimelineEntry], *new: TimelineEntry) -> list[TimelineEntry]:
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


def with_entries(status: FailureDrillStatus, entries: Iterable[JournalEntry]) -> FailureDrillStatus:
    """The status with these journal entries in place of the old, new ones at the end."""
    new = {one.id: one for one in entries}
    kept = [new.pop(one.id, one) for one in status.journal]
    journal = _shortened([*kept, *new.values()])
    touched = {one.name for one in journal if one.applied_at or one.state == "Planned"}
    return status.model_copy(update={"journal": journal, "touched": len(touched)})


def _shortened(journal: list[JournalEntry]) -> list[JournalEntry]:
    """The journal without the oldest of what came several times and is taken back."""
    spare = len(journal) - JOURNAL
    if spare <= 0:
        return journal
    again = [e.id for e in journal if e.state not in OPEN and e.id.rpartition("/")[2].isdecimal()]
    gone = frozenset(again[:spare])
    return [entry for entry in journal if entry.id not in gone]


def body_of(status: FailureDrillStatus) -> JSON:
    """The status as a merge patch; explicit nulls clear what stood there before."""
    body: JSON = {
        field.alias or name: None for name, field in FailureDrillStatus.model_fields.items()
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


def skipped(s: Situation, fault: str, why: str) -> FailureDrillStatus:
    """A fault that is left out, and why."""
    known = s.progress.get(fault) or FaultProgress(fault=fault, state="Waiting")
    left = known.model_copy(update={"state": "Skipped", "message": shorten(why, 512)})
    line = entry(s.now, "Violated", fault=fault, message=f"left out: {why}")
    status = with_progress(s.status, [left])
    return status.model_copy(update={"timeline": told(status.timeline, line)})


def injected(s: Situation, one: JournalEntry) -> TimelineEntry:
    """The line of an entry that took effect, with the pods that stood on its node."""
    at = read_moment(one.applied_at or moment(s.now))
    if is_remedy(one):
        return entry(at, "Remedied", fault=one.fault, about=one.name, message="out of service")
    return struck(s, at, one.fault, one.name)


def struck(s: Situation, at: datetime, fault: str, node: str) -> TimelineEntry:
    """The line of a node that was struck, with the pods that stood on it."""
    there = Counter(pod.of for pod in s.pods if pod.node == node and not pod.terminal)
    message = f"{there.total()} pods of the plans stand on it" if s.drill.spec.plans else ""
    if there:
        message += ": " + ", ".join(f"{count} of {of}" for of, count in sorted(there.items()))
    return entry(at, "Injected", fault=fault, about=node, message=message)


def on_node(node: str, of: str) -> str:
    """Where a pod stands, and of which PLAN/WORKLOAD it is."""
    return f"on node {node}, of {of}"


def read_on_node(message: str) -> tuple[str, str]:
    """Node and PLAN/WORKLOAD as `on_node` wrote them; empty where it did not."""
    node, _, of = message.removeprefix("on node ").partition(", of ")
    return (node, of) if message.startswith("on node ") else ("", "")


def read_standing(message: str) -> dict[str, int]:
    """How many pods of which PLAN/WORKLOAD stood on a node, as `struck` wrote it."""
    found = {}
    for part in message.partition(": ")[2].split(", "):
        count, _, of = part.partition(" of ")
        if count.isdecimal() and "/" in of:
            found[of] = int(count)
    return found
