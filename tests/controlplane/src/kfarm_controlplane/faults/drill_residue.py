"""Residue of drills: is all as it was before, but for what people did meanwhile?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kfarm_controlplane.faults.drill_marks import by_hand, dump
from kfarm_controlplane.faults.history import Body, History, Version
from kfarm_controlplane.faults.invariants import Violation

Dumps = dict[str, Body]
Edit = Callable[[History, Dumps], Dumps]
"""Makes what should be there at the end of what was there before a play, by what people did."""
KINDS = ("Node", "Lease")


def untouched(history: History, before: Dumps) -> Dumps:
    """Nobody but the drill did anything."""
    del history
    return before


def residue(history: History, edit: Edit = untouched) -> list[Violation]:
    """Where Nodes and Leases are not at the end what they were at the start."""
    start = History(tuple(v for v in history.versions if v.change == "PRESENT"))
    expected = edit(history, dumps(start))
    seen = dumps(history)
    found = []
    for name in sorted({*seen, *expected}):
        for where, one, other in _differences(seen.get(name), expected.get(name), ""):
            found.append(Violation("residue", name, f"{where or 'it'} is {one}, was {other}"))
    return found


def dumps(history: History) -> Dumps:
    """Nodes and Leases that stand at the end of a history, by kind and name."""
    found = {f"{v.kind} {v.name}": dump(v) for v in history.end().values() if v.kind in KINDS}
    return {name: body for name, body in found.items() if body is not None}


def keep_what_people_wrote(history: History, before: Dumps) -> Dumps:
    """What was written by hand on a Node that a drill had touched stays."""
    expected = {name: dict(body) for name, body in before.items()}
    for version in _first_by_hand(history):
        node = expected[f"Node {version.name}"]
        for field, value in by_hand(version.body).items():
            kind, _, key = field.partition("/")
            place = {"taint": "taints", "condition": "conditions"}[kind]
            still = {k: v for k, v in value.items() if not k.endswith("Time")}
            node[place] = {**node[place], key: still}
    return expected


def _first_by_hand(history: History) -> Iterator[Version]:
    """The last version of each Node in which somebody wrote something by hand that was new."""
    known: dict[str, set[str]] = {}
    for version in history.of_kind("Node"):
        news = set(by_hand(version.body)) - known.setdefault(version.uid, set())
        if news and version.change != "PRESENT":
            known[version.uid] |= news
            yield version


def forget_recreated(history: History, before: Dumps, labels: tuple[str, ...] = ()) -> Dumps:
    """A Node that was created anew lacks labels that people had given to the old one."""
    expected = {name: dict(body) for name, body in before.items()}
    for version in history.of_kind("Node"):
        if version.change == "ADDED":
            node = expected.get(f"Node {version.name}")
            if node is not None:
                node["labels"] = {k: v for k, v in node["labels"].items() if k not in labels}
    return expected


def _differences(one: Any, other: Any, where: str) -> list[tuple[str, Any, Any]]:
    if isinstance(one, dict) and isinstance(other, dict):
        found = []
        for key in sorted({*one, *other}):
            found += _differences(one.get(key), other.get(key), f"{where}.{key}".lstrip("."))
        return found
    return [] if one == other else [(where, one, other)]
