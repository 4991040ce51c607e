"""What must hold of drills at every moment of a history, whatever died when. Pure functions.

Versions are in the order of etcd, so that "the journal before the touch" is a question of numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any

from kfarm_api.drill_marks import CONSENT, LABEL_CONSENT

from kfarm_controlplane.faults.drill_marks import (
    NODE_LEASES,
    agrees,
    by_hand,
    drilled,
    marked,
    moment,
    owner,
    undo,
    unmarked,
    until,
)
from kfarm_controlplane.faults.history import Body, History, Version
from kfarm_controlplane.faults.invariants import Violation

FINAL = ("Restored", "Foreign", "Gone")
OPEN = ("Planned", "Applied")
RACK = "kfarm.dev/rack"
_SECOND = timedelta(seconds=1)
_TOUCHED = ("Node", "Lease")


def drill_invariants(history: History) -> list[Violation]:
    """Every promise about drills that the history breaks; none where there is no drill."""
    if not any(True for _ in history.of_kind("FailureDrill")):
        return []
    return [violation for rule in DRILL_RULES for violation in rule(history)]


def touches(history: History) -> Iterator[tuple[Version, Version, dict[str, Any]]]:
    """Versions before and after a drill's hand, and the fields that it changed."""
    for (kind, _), life in history.lives.items():
        if kind not in _TOUCHED:
            continue
        for before, after in pairwise(life):
            was, now = drilled(before), drilled(after)
            news = {k: v for k, v in now.items() if k not in was or _still(was[k]) != _still(v)}
            if news and not after.deleted and not _edited(before, after):
                yield before, after, news


def _edited(before: Version, after: Version) -> bool:
    """Whether a version is the work of people."""
    if after.kind != "Node":
        return False
    return by_hand(before.body) != by_hand(after.body)


def _still(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: v for k, v in value.items() if not k.endswith("Time")}
    return value


def journal_before_touch(history: History) -> Iterator[Violation]:
    """No field is changed that was not in the journal of a drill before, for this very uid."""
    names = {(v.namespace, v.name) for v in history.of_kind("FailureDrill")}
    for _, after, news in touches(history):
        stood = [history.before(after.number, "FailureDrill", *name) for name in names]
        entries = [e for drill in stood if drill is not None for e in _journal(drill)]
        mine = [
            e
            for e in entries
            if (e["kind"], e["uid"]) == (after.kind, after.uid) and e["state"] in OPEN
        ]
        for name, value in news.items():
            if not any(_noted(entry, name, value) for entry in mine):
                states = [e["state"] for e in entries if e["name"] == after.name]
                yield Violation(
                    "unjournaled", f"{after.kind} {after.name}",
                    f"{name} is {value} at {after.number}, and no open entry says so ({states})",
                )  # fmt: skip


def _noted(entry: Body, name: str, value: object) -> bool:
    """Whether a journal's entry says that a field comes to a value, or goes back to it."""
    changes = [c for c in entry.get("changes") or () if c["field"] == name]
    if name == "lease/leaseDurationSeconds":  # cut short, a Lease only runs out earlier
        return any(int(str(value)) <= int(c.get("after") or 0) for c in changes)
    return any(agrees(c.get(when), value) for c in changes for when in ("after", "before"))


def touched_is_marked(history: History) -> Iterator[Violation]:
    """What a drill touched says by whom, until when, and how to take it back, all the while."""
    for version in history.of_kind(*_TOUCHED):
        fields = drilled(version)
        if not fields or version.deleted:
            continue
        wrong = unmarked(version.body)
        lacking = [] if wrong else [name for name in fields if name not in undo(version.body)]
        wrong += [f"{name} is not in its undo" for name in lacking]
        if not wrong:
            wrong += _late(history, version)
        for what in wrong:
            yield _of(version, "unmarked", f"touched at {version.number}: {what}")


def _late(history: History, version: Version) -> list[str]:
    """An end beyond that of the drill itself."""
    by, end = owner(version.body), until(version.body)
    assert by is not None
    drill = history.before(version.number, "FailureDrill", by.namespace, by.name)
    last = moment(drill.status.get("until")) if drill is not None else None
    if last is None or end is None or end < last + _SECOND:
        return []
    return [f"until {end}, its drill ends {last}"]


@dataclass
class _Farm:
    """Nodes and Leases as they stand at a number."""

    nodes: dict[str, Version] = field(default_factory=dict)
    leases: dict[str, Version] = field(default_factory=dict)

    def take(self, version: Version) -> None:
        if version.kind == "Lease" and version.namespace != NODE_LEASES:
            return
        there = self.nodes if version.kind == "Node" else self.leases
        if version.deleted:
            there.pop(version.name, None)
        else:
            there[version.name] = version

    def under(self) -> dict[str, str]:
        """Touched nodes, and uids of their drills (empty where they do not say)."""
        found: dict[str, str] = {}
        for version in (*self.leases.values(), *self.nodes.values()):
            by = owner(version.body)
            if drilled(version) or by is not None:
                found[version.name] = by.uid if by is not None else found.get(version.name, "")
        return found

    def healthy(self) -> int:
        """Nodes that are Ready and under no drill."""
        under = self.under()
        return sum(_ready(v.body) for name, v in self.nodes.items() if name not in under)


def _ready(node: Body) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _moments(history: History) -> Iterator[tuple[Version, _Farm, dict[str, str]]]:
    """After each version the farm, and which nodes were under drills before."""
    farm, under = _Farm(), dict[str, str]()
    for version in history.versions:
        if version.kind in _TOUCHED:
            farm.take(version)
            yield version, farm, under
            under = farm.under()


def within_limits(history: History) -> Iterator[Violation]:
    """Never more nodes, racks and per cent than the drill's limits, from its start to its end."""
    drills = _specs(history)
    ever: dict[str, set[str]] = {}
    told: set[str] = set()
    for version, farm, _ in _moments(history):
        for name, uid in farm.under().items():
            ever.setdefault(uid, set()).add(name)
        for uid, names in ever.items():
            wrong = _excess(drills.get(uid), names, farm)
            if wrong and uid not in told:
                told.add(uid)
                yield Violation("limits", f"drill {uid}", f"at {version.number}: {wrong}")


def _excess(drill: Version | None, names: set[str], farm: _Farm) -> str:
    if drill is None:
        return ""
    spec = drill.body["spec"]
    limits = spec.get("limits") or {}
    most, share = limits.get("maxNodes", 1), limits.get("maxPercent", 10)
    racks = {_label(farm.nodes[n].body, RACK) for n in names if n in farm.nodes}
    if len(names) > most:
        return f"{len(names)} nodes were touched, at most {most}"
    if farm.nodes and 100 * len(names) > share * len(farm.nodes):
        return f"{len(names)} of {len(farm.nodes)} nodes were touched, at most {share} %"
    power = any(f["action"] == "RackPower" for f in spec["faults"])
    if power and len(racks) > limits.get("domains", 1):
        return f"{len(racks)} racks were touched, at most {limits.get('domains', 1)}"
    return ""


def only_with_consent(history: History) -> Iterator[Violation]:
    """No node is touched that does not carry the label of consent."""
    for version, farm, under in _moments(history):
        node = farm.nodes.get(version.name)
        if node is None or version.name in under or version.name not in farm.under():
            continue
        if version.change != "PRESENT" and _label(node.body, LABEL_CONSENT) != CONSENT:
            yield _of(version, "no-consent", f"touched at {version.number} without consent")


def enough_stays_healthy(history: History) -> Iterator[Violation]:
    """No node is touched when that leaves fewer healthy than `minHealthy`."""
    drills = _specs(history)
    for version, farm, under in _moments(history):
        uid = farm.under().get(version.name)
        drill = drills.get(uid or "")
        if drill is None or version.name in under or version.change == "PRESENT":
            continue
        least = (drill.body["spec"].get("limits") or {}).get("minHealthy", 51)
        healthy, total = farm.healthy(), len(farm.nodes)
        if 100 * healthy < least * total:
            yield _of(
                version, "min-healthy",
                f"touched at {version.number}: {healthy} of {total} healthy, at least {least} %",
            )  # fmt: skip


def one_drill_at_a_time(history: History) -> Iterator[Violation]:
    """No two drills touch nodes of a farm at the same moment."""
    told: set[frozenset[str]] = set()
    for version, farm, _ in _moments(history):
        drills = frozenset(uid for uid in farm.under().values() if uid)
        if len(drills) > 1 and drills not in told:
            told.add(drills)
            who = ", ".join(sorted(drills))
            yield Violation("two-drills", version.name, f"at {version.number}: {who}")


def journals_only_go_on(history: History) -> Iterator[Violation]:
    """No entry vanishes before it is taken back, none changes what it says, none goes back."""
    order = {state: rank for rank, states in enumerate((("Planned",), ("Applied",), FINAL))
             for state in states}  # fmt: skip
    for life in _drills(history):
        for before, after in pairwise(life):
            then, now = _by_id(before), _by_id(after)
            for name, entry in then.items():
                later = now.get(name)
                if later is None:
                    if entry["state"] not in FINAL:
                        yield _of(after, "journal-lost", f"{name} ({entry['state']})")
                elif _said(entry) != _said(later):
                    yield _of(after, "journal-changed", f"{name}: {_said(entry)}, {_said(later)}")
                elif order[later["state"]] < order[entry["state"]]:
                    yield _of(
                        after, "journal-back", f"{name}: {later['state']} after {entry['state']}"
                    )


def _said(entry: Body) -> tuple[Any, ...]:
    return entry["kind"], entry["name"], entry["uid"], entry.get("changes")


def targets_stay(history: History) -> Iterator[Violation]:
    """From a drill's start on, what a fault hits is chosen, and so are start and end."""
    for life in _drills(history):
        for before, after in pairwise(life):
            then, now = _targets(before), _targets(after)
            begun = before.status.get("startedAt") is not None
            for fault, chosen in then.items():
                if begun and now.get(fault) != chosen:
                    yield _of(after, "targets-moved", f"{fault}: {chosen}, then {now.get(fault)}")
            for name in ("startedAt", "until"):
                said = before.status.get(name)
                if said is not None and after.status.get(name) != said:
                    yield _of(
                        after, "targets-moved", f"{name}: {said}, then {after.status.get(name)}"
                    )


def _targets(drill: Version) -> dict[str, tuple[list[str], list[str]]]:
    found = drill.status.get("targets") or ()
    return {t["fault"]: (t.get("domains") or [], t.get("nodes") or []) for t in found}


def ended_is_restored(history: History) -> Iterator[Violation]:
    """A drill that says that it is over, or is gone, has nothing left on any object."""
    farm = _Farm()
    for version in history.versions:
        if version.kind in _TOUCHED:
            farm.take(version)
        if version.kind != "FailureDrill":
            continue
        over = version.status.get("phase") == "Completed" or version.deleted
        if over and (left := _left(farm, version.uid)):
            yield _of(version, "ended-early", f"at {version.number} on {', '.join(left)}")
        open_entries = [e["id"] for e in _journal(version) if e["state"] in OPEN]
        if over and open_entries:
            yield _of(version, "ended-early", f"at {version.number} {open_entries} are open")


def _left(farm: _Farm, uid: str) -> list[str]:
    found = []
    for version in (*farm.nodes.values(), *farm.leases.values()):
        by = owner(version.body)
        if by is not None and by.uid == uid and (drilled(version) or marked(version.body)):
            found.append(f"{version.kind} {version.name}")
    return sorted(found)


def _drills(history: History) -> Iterator[list[Version]]:
    return (life for (kind, _), life in history.lives.items() if kind == "FailureDrill")


def _specs(history: History) -> dict[str, Version]:
    """The first version of each drill, by uid."""
    return {life[0].uid: life[0] for life in _drills(history)}


def _journal(drill: Version) -> list[Body]:
    return list(drill.status.get("journal") or ())


def _by_id(drill: Version) -> dict[str, Body]:
    return {entry["id"]: entry for entry in _journal(drill)}


def _label(body: Body, name: str) -> str:
    return str((body["metadata"].get("labels") or {}).get(name, ""))


def _of(version: Version, rule: str, message: str) -> Violation:
    return Violation(rule, f"{version.kind} {version.name}", message)


Rule = Callable[[History], Iterator[Violation]]
DRILL_RULES: tuple[Rule, ...] = (
    journal_before_touch,
    touched_is_marked,
    within_limits,
    only_with_consent,
    enough_stays_healthy,
    one_drill_at_a_time,
    journals_only_go_on,
    targets_stay,
    ended_is_restored,
)
