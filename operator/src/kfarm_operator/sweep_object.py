"""What the sweeper does to an object that a drill left behind. Pure.

All that it needs stands on the object itself: the moment from which everybody may take the drill's
changes back, and each changed field with its value before and after. A field that is no longer as
the drill left it was changed by somebody else and stays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from kfarm_api.drill_marks import (
    ANNOTATION_DRILL,
    ANNOTATION_UNDO,
    ANNOTATION_UNTIL,
    LEASE_HOLDER,
    PREFIX,
)

JSON = dict[str, Any]
UNTIL_FORM = "%Y-%m-%dT%H:%M:%SZ"
KWOK_ROUND = 0.26
"""KWOK looks after a Lease every quarter of its duration, and up to 4 % later."""
KWOK_MORE_S = 5.0
PATIENCE_S = 60.0
"""Where the Lease's own duration is not known."""
MOST_PATIENCE_S = 300.0
LOCK_GRACE_S = 120.0
"""A drill gives its lock back itself, once everything is taken back."""


class Unreadable(ValueError):
    """The way back that an object carries cannot be read."""


@dataclass(frozen=True)
class Field:
    """A field that a drill changed: its kind, its name within the kind, before and after."""

    kind: str
    name: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Sweep:
    """What to write, and in which order: status first, then the object itself.

    Attributes
    ----------
    status, main
        Merge patches without preconditions; None where there is nothing to write.
    kept
        Fields that somebody changed meanwhile, which stay.
    problem
        Why not everything could be taken back; empty when it could.
    """

    status: JSON | None
    main: JSON | None
    kept: tuple[str, ...] = ()
    problem: str = ""


@dataclass
class _Node:
    """A node's lists while fields are set back."""

    taints: list[JSON]
    conditions: list[JSON]
    labels: JSON = field(default_factory=dict)
    allocatable: JSON = field(default_factory=dict)


def marks(body: Mapping[str, Any]) -> dict[str, str]:
    """The annotations under our prefix."""
    annotations = body["metadata"].get("annotations") or {}
    return {key: str(value) for key, value in annotations.items() if key.startswith(PREFIX)}


def overdue(body: Mapping[str, Any], now: datetime) -> bool:
    """Whether its drill should have taken it back; also where the end cannot be read."""
    found = marks(body)
    if not found.keys() & {ANNOTATION_UNTIL, ANNOTATION_DRILL, ANNOTATION_UNDO}:
        return False
    until = _moment(found.get(ANNOTATION_UNTIL, ""))
    return until is None or until <= now


def _moment(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, UNTIL_FORM).replace(tzinfo=UTC)
    except ValueError:
        return None


def lock_overdue(body: Mapping[str, Any], now: datetime) -> bool:
    """Whether a lock outlived its drill; one without a readable end is nobody's."""
    until = _moment(marks(body).get(ANNOTATION_UNTIL, ""))
    return until is None or until + timedelta(seconds=LOCK_GRACE_S) <= now


def fields(text: str) -> list[Field]:
    """Read the way back.

    Raises
    ------
    Unreadable
        When it is no list of changes as drills write them.
    """
    try:
        changes = json.loads(text)
        return [_field(change) for change in changes]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Unreadable(f"{ANNOTATION_UNDO} is not a list of changes: {error}") from error


def _field(change: Mapping[str, Any]) -> Field:
    kind, slash, name = str(change["field"]).partition("/")
    if not slash or not name:
        raise ValueError(f"{change['field']!r} is not KIND/NAME")
    before, after = _value(change.get("before")), _value(change.get("after"))
    wanted = {"taint": dict, "condition": dict}.get(kind)
    for value in (before, after):
        if wanted is not None and value is not None and not isinstance(value, wanted):
            raise ValueError(f"the value of {kind}/{name} is no object")
    return Field(kind, name, before, after)


def _value(text: object) -> Any:
    return None if text is None else json.loads(str(text))


def sweep_node(body: JSON) -> Sweep:
    """Take back what a node carries of its drill."""
    given = body.get("status") or {}
    node = _Node(
        list((body.get("spec") or {}).get("taints") or ()), list(given.get("conditions") or ())
    )
    before = (list(node.taints), list(node.conditions))
    kept: list[str] = []
    try:
        found, problem = fields(marks(body).get(ANNOTATION_UNDO, "")), ""
    except Unreadable as error:
        found, problem = [], f"{error}; only what is named {PREFIX}… was taken away"
        node.taints = [t for t in node.taints if not str(t.get("key")).startswith(PREFIX)]
        node.conditions = [c for c in node.conditions if not str(c.get("type")).startswith(PREFIX)]
    for item in found:
        if not _restore(node, body, item):
            kept.append(f"{item.kind}/{item.name}")
    return _patches(body, node, before, kept, problem)


def _patches(
    body: JSON,
    node: _Node,
    before: tuple[list[JSON], list[JSON]],
    kept: Sequence[str],
    problem: str,
) -> Sweep:
    status: JSON = {}
    if node.conditions != before[1]:
        status["conditions"] = node.conditions
    if node.allocatable:
        status["allocatable"] = node.allocatable
    meta: JSON = {"annotations": dict.fromkeys(marks(body))}
    own = {key for key in body["metadata"].get("labels") or {} if key.startswith(PREFIX)}
    gone = node.labels if not problem else dict.fromkeys(own)
    if gone:
        meta["labels"] = gone
    main: JSON = {"metadata": meta}
    if node.taints != before[0]:
        main["spec"] = {"taints": node.taints}
    return Sweep({"status": status} if status else None, main, tuple(kept), problem)


def _restore(node: _Node, body: JSON, item: Field) -> bool:
    """Set a field back; False where it is neither as the drill left it nor as it was before."""
    match item.kind:
        case "taint":
            key, _, effect = item.name.rpartition(":")
            same = [t for t in node.taints if (t.get("key"), t.get("effect", "")) == (key, effect)]
            return _replace(node.taints, same, item, _still_taint)
        case "condition":
            same = [c for c in node.conditions if c.get("type") == item.name]
            return _replace(node.conditions, same, item, _still_condition)
        case "allocatable":
            return _restore_allocatable(node, body, item)
        case "label":
            now = (body["metadata"].get("labels") or {}).get(item.name)
            if now == item.after:
                node.labels[item.name] = item.before
            return now in (item.after, item.before)
    return False


def _still_taint(taint: JSON) -> JSON:
    return {key: taint[key] for key in ("key", "value", "effect") if taint.get(key)}


def _still_condition(condition: JSON) -> JSON:
    # the API server leaves out what is empty
    return {key: value for key, value in condition.items() if value and key != "lastHeartbeatTime"}


def _replace(entries: list[JSON], same: list[JSON], item: Field, still: Any) -> bool:
    now = still(same[0]) if same else None
    if now != (None if item.after is None else still(item.after)):
        return bool(now == (None if item.before is None else still(item.before)))
    place = entries.index(same[0]) if same else len(entries)
    entries[place : place + len(same)] = [] if item.before is None else [item.before]
    return True


def _restore_allocatable(node: _Node, body: JSON, item: Field) -> bool:
    status = body.get("status") or {}
    now = (status.get("allocatable") or {}).get(item.name)
    if now != item.after:
        return bool(now == item.before)
    node.allocatable[item.name] = _at_most(
        item.before, (status.get("capacity") or {}).get(item.name)
    )
    return True


def _at_most(before: Any, capacity: Any) -> Any:
    """What was allocatable, or less where the node has less by now."""
    counts = [str(value) for value in (before, capacity)]
    if all(text.isascii() and text.isdigit() for text in counts):
        return before if int(counts[0]) <= int(counts[1]) else capacity
    return before


def sweep_lease(body: JSON, now: datetime) -> Sweep | None:
    """Take back what a node's Lease carries of its drill; None: whoever plays the node will first.

    A Lease that has run out KWOK takes by itself, and only then plays what its pods missed; were
    its name written back, it would not notice that it had been away. So it is given its time.
    """
    main: JSON = {"metadata": {"annotations": dict.fromkeys(marks(body))}}
    spec = body.get("spec") or {}
    holder = str(spec.get("holderIdentity") or "")
    if not holder.startswith(f"{LEASE_HOLDER}/"):
        return Sweep(None, main)
    try:
        found = {item.name: item for item in fields(marks(body).get(ANNOTATION_UNDO, ""))}
        problem = ""
    except Unreadable as error:
        # nobody's: whoever plays the node takes it
        found, problem = {}, str(error)
        main["spec"] = {"holderIdentity": None}
    if now < _expires(spec) + timedelta(seconds=_patience_s(found.get("leaseDurationSeconds"))):
        return None
    kept = []
    for name, item in found.items():
        if spec.get(name) == item.after:
            main.setdefault("spec", {})[name] = item.before
        else:
            kept.append(f"lease/{name}")
    return Sweep(None, main, tuple(kept), problem)


def _patience_s(lasts: Field | None) -> float:
    before = lasts.before if lasts else None
    if not isinstance(before, int) or before <= 0:
        return PATIENCE_S
    return min(MOST_PATIENCE_S, KWOK_ROUND * before + KWOK_MORE_S)


def _expires(spec: Mapping[str, Any]) -> datetime:
    """When a Lease runs out; long ago where it does not say."""
    try:
        renewed = datetime.fromisoformat(str(spec["renewTime"])).astimezone(UTC)
        return renewed + timedelta(seconds=int(spec["leaseDurationSeconds"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        return datetime.fromtimestamp(0, UTC)
