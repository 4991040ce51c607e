"""Fields of Nodes and Leases that a drill changes: read, set and taken back exactly.

A field is named as in `kfarm_api.drill_status.Change`; its value is JSON, None where it is not
there. Nothing here talks to the API server: bodies in, merge patches out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kfarm_api.drill_marks import ANNOTATION_DRILL, ANNOTATION_UNDO, ANNOTATION_UNTIL
from kfarm_api.drill_status import Change, JournalEntry

JSON = dict[str, Any]
OPEN = frozenset({"Planned", "Applied"})
"""States of entries that have not been taken back."""
_TAINT_KEYS = ("key", "value", "effect")


def canonical(value: object) -> str:
    """JSON in one form, so that equal values are equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def read_field(body: JSON, field: str) -> str | None:
    """The present value of a field.

    Raises
    ------
    ValueError
        When there is no such field.
    """
    kind, _, rest = field.partition("/")
    value: object
    match kind:
        case "taint":
            key, _, effect = rest.rpartition(":")
            value = next((t for t in _taints(body) if _is(t, key, effect)), None)
            value = value and {k: value[k] for k in _TAINT_KEYS if value.get(k)}
        case "condition":
            value = next((c for c in _conditions(body) if c.get("type") == rest), None)
        case "allocatable":
            value = ((body.get("status") or {}).get("allocatable") or {}).get(rest)
        case "label":
            value = ((body.get("metadata") or {}).get("labels") or {}).get(rest)
        case "lease":
            value = (body.get("spec") or {}).get(rest)
        case _:
            raise ValueError(f"{field}: no such field; known are taint, condition, allocatable, "
                             "label and lease")  # fmt: skip
    return None if value is None else canonical(value)


def equal(field: str, one: str | None, other: str | None) -> bool:
    """Whether two values of a field are the same but for what beats all the time."""
    if one is None or other is None or not field.startswith("condition/"):
        return one == other
    return _still(one) == _still(other)


def _still(condition: str) -> JSON:
    # the API server drops empty texts
    return {k: v for k, v in json.loads(condition).items() if k != "lastHeartbeatTime" and v != ""}


def _taints(body: JSON) -> list[JSON]:
    return list((body.get("spec") or {}).get("taints") or ())


def _conditions(body: JSON) -> list[JSON]:
    return list((body.get("status") or {}).get("conditions") or ())


def _is(taint: JSON, key: str, effect: str) -> bool:
    return taint.get("key") == key and taint.get("effect", "") == effect


@dataclass(frozen=True)
class Patches:
    """Merge patches of one object: of itself, and of its status; None where there is nothing."""

    main: JSON | None
    status: JSON | None


def patches(
    body: JSON, wanted: Mapping[str, str | None], marks: Mapping[str, str | None]
) -> Patches:
    """What sets fields to `wanted` and annotations to `marks`, based on the object as it is."""
    spec = _taints_patch(body, wanted) | _lease_patch(body, wanted)
    meta: JSON = {}
    annotations = (body["metadata"].get("annotations")) or {}
    changed = {key: value for key, value in marks.items() if annotations.get(key) != value}
    if changed:
        meta["annotations"] = changed
    labels = {
        field.partition("/")[2]: _load(value)
        for field, value in wanted.items()
        if field.startswith("label/") and read_field(body, field) != value
    }
    if labels:
        meta["labels"] = labels
    main = {"metadata": meta, "spec": spec} if meta or spec else None
    status = _status_patch(body, wanted)
    return Patches(
        {key: value for key, value in main.items() if value} if main else None,
        {"status": status} if status else None,
    )


def _load(value: str | None) -> Any:
    return None if value is None else json.loads(value)


def _taints_patch(body: JSON, wanted: Mapping[str, str | None]) -> JSON:
    taints = _taints(body)
    touched = False
    for field, value in wanted.items():
        kind, _, rest = field.partition("/")
        if kind != "taint" or read_field(body, field) == value:
            continue
        key, _, effect = rest.rpartition(":")
        kept = [t for t in taints if not _is(t, key, effect)]
        taints = [*kept, json.loads(value)] if value is not None else kept
        touched = True
    return {"taints": taints} if touched else {}


def _lease_patch(body: JSON, wanted: Mapping[str, str | None]) -> JSON:
    return {
        field.partition("/")[2]: _load(value)
        for field, value in wanted.items()
        if field.startswith("lease/") and read_field(body, field) != value
    }


def _status_patch(body: JSON, wanted: Mapping[str, str | None]) -> JSON:
    conditions, touched = _conditions(body), False
    allocatable: JSON = {}
    for field, value in wanted.items():
        kind, _, rest = field.partition("/")
        if equal(field, read_field(body, field), value):
            continue
        if kind == "condition":
            conditions = [c for c in conditions if c.get("type") != rest]
            conditions += [json.loads(value)] if value is not None else []
            touched = True
        elif kind == "allocatable":
            allocatable[rest] = _load(value)
    found: JSON = {"conditions": conditions} if touched else {}
    return found | ({"allocatable": allocatable} if allocatable else {})


def marks_of(open_entries: Iterable[JournalEntry], drill: str, until: str) -> dict[str, str | None]:
    """Annotations of an object with these entries not yet taken back; none of them: taken off."""
    changes = [change.as_manifest() for entry in open_entries for change in entry.changes]
    if not changes:
        return {ANNOTATION_UNTIL: None, ANNOTATION_DRILL: None, ANNOTATION_UNDO: None}
    return {
        ANNOTATION_UNTIL: until,
        ANNOTATION_DRILL: drill,
        ANNOTATION_UNDO: canonical(changes),
    }


@dataclass(frozen=True)
class Undone:
    """What taking an entry back means for the object as it is.

    Attributes
    ----------
    wanted
        Fields to set back; those that somebody else changed are not among them.
    state
        What the entry becomes once `wanted` holds.
    """

    wanted: dict[str, str | None]
    state: Literal["Restored", "Foreign", "Gone"]


def undo(entry: JournalEntry, body: JSON | None) -> Undone:
    """Set back what still stands as it was written; leave what somebody changed meanwhile."""
    if body is None or body["metadata"].get("uid") != entry.uid:
        return Undone({}, "Gone")
    wanted: dict[str, str | None] = {}
    foreign = False
    for change in entry.changes:
        now = read_field(body, change.field)
        if equal(change.field, now, change.after):
            wanted[change.field] = change.before
        elif not equal(change.field, now, change.before):
            foreign = True
    return Undone(wanted, "Foreign" if foreign else "Restored")


def redo(entry: JournalEntry, body: JSON) -> dict[str, str | None]:
    """Fields to set for an entry that is to take effect: those that stand as they were before."""
    return {
        change.field: change.after
        for change in entry.changes
        if equal(change.field, read_field(body, change.field), change.before)
        or equal(change.field, read_field(body, change.field), change.after)
    }


def changes_of(body: JSON, after: Mapping[str, str | None], taken: Sequence[str]) -> list[Change]:
    """The changes that lead to `after`, without fields that are `taken` by another entry.

    A Lease's fields are noted also where they stay: its duration is cut short on the way back.
    """
    found = []
    for field, value in after.items():
        before = read_field(body, field)
        stays = equal(field, before, value) and not field.startswith("lease/")
        if field not in taken and not stays:
            found.append(Change(field=field, before=before, after=value))
    return found
