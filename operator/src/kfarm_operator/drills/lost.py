"""Accelerator hours that a drill has cost, worked out from its timeline. Pure functions.

Each line of an injection says how many pods of which workload stood on the node, each line of an
eviction where the pod stood, so that the same comes out after a restart of the operator. Counted is
as the twin counts: from the fault itself, for a drain or a requeue from the eviction; until the
successor runs, or the fault is taken back where a pod stayed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from kfarm_api.drill import RUNNER_ONLY, TWIN_ONLY
from kfarm_api.plan import Workload

from kfarm_operator.drills.clock import read_moment
from kfarm_operator.drills.observe import harmless, lost_pods
from kfarm_operator.drills.situation import Situation
from kfarm_operator.drills.status import read_on_node, read_standing

HOUR_S = 3600
METRIC = "lost_accelerator_hours"


@dataclass(frozen=True)
class Spell:
    """A pod that is out: of which PLAN/WORKLOAD, from when to when."""

    of: str
    begin: datetime
    end: datetime


@dataclass(frozen=True)
class _Hit:
    """An injection: pods by PLAN/WORKLOAD that stood on the node, and when it was taken back."""

    fault: str
    node: str
    at: datetime
    until: datetime
    standing: Mapping[str, int]
    harmless: bool


@dataclass(frozen=True)
class _Succession:
    """A pod that left its node, and when its place was filled; now, where it is not.

    `fault` is why, also where Kueue took the pod of another node away with its gang.
    """

    fault: str | None
    node: str
    of: str
    left: datetime
    filled: datetime


def lost_hours(s: Situation) -> Decimal | None:
    """Accelerators of gangs that could not go on, and of other pods that were out, over time.

    None where no plan is watched, and where no node is struck at all.
    """
    begun = {one.fault for one in s.status.faults if one.state in ("Active", "Ended")}
    skipped = RUNNER_ONLY | TWIN_ONLY
    shown = any(f.name in begun and f.action not in skipped for f in s.drill.spec.faults)
    if not s.plans or not shown:
        return None
    workloads = {
        f"{name}/{workload.name}": workload
        for name, plan in s.plans.items()
        if plan is not None
        for workload in plan.spec.workloads
    }
    by_workload: dict[str, list[Spell]] = {}
    for spell in spells(s):
        by_workload.setdefault(spell.of, []).append(spell)
    total = sum(
        _accelerator_seconds(workloads[of], found)
        for of, found in by_workload.items()
        if of in workloads
    )
    return Decimal(f"{total / HOUR_S:.3f}")


def _accelerator_seconds(workload: Workload, found: list[Spell]) -> float:
    if workload.gang and workload.elastic is None:
        return workload.pods * workload.accelerators_per_pod * _covered(found)
    return workload.accelerators_per_pod * sum(_covered([spell]) for spell in found)


def _covered(found: Iterable[Spell]) -> float:
    """Seconds in which at least one of the spells runs."""
    total, reach = 0.0, None
    for spell in sorted(found, key=lambda one: one.begin):
        begin = spell.begin if reach is None else max(spell.begin, reach)
        total += max(0.0, (spell.end - begin).total_seconds())
        reach = spell.end if reach is None else max(reach, spell.end)
    return total


def spells(s: Situation) -> Iterator[Spell]:
    """Pods that left and pods that stayed, each for as long as its place was not filled."""
    hits = list(_hits(s))
    drains = {fault.name for fault in s.drill.spec.faults if fault.action == "Drain"}
    struck = {hit.node for hit in hits}
    left = Counter[tuple[int, str]]()
    for one in _successions(s):
        place = _struck_last(hits, one.node, one.left)
        if place is None:
            if one.fault is not None and one.node not in struck:
                yield Spell(one.of, one.left, one.filled)
            continue
        left[place, one.of] += 1
        hit = hits[place]
        yield Spell(one.of, one.left if hit.fault in drains else hit.at, one.filled)
    for place, hit in enumerate(hits):
        if hit.harmless or hit.fault in drains:
            continue
        for of, count in hit.standing.items():
            stayed = count - left[place, of]
            yield from [Spell(of, hit.at, hit.until)] * max(0, stayed)


def _hits(s: Situation) -> Iterator[_Hit]:
    """Injections; one that is not taken back lasts until now, one by the runner as its fault."""
    ends = {one.fault: one.ended_at for one in s.status.faults}
    entries = {
        (entry.fault, entry.name, read_moment(entry.applied_at)): entry
        for entry in s.status.journal
        if entry.applied_at
    }
    for line in s.status.timeline:
        at = read_moment(line.at)
        if line.event != "Injected" or not line.fault or not line.object:
            continue
        entry = entries.get((line.fault, line.object, at))
        kind, over = (entry.kind, entry.restored_at) if entry else ("Lease", ends.get(line.fault))
        yield _Hit(
            line.fault, line.object, at, read_moment(over) if over else s.now,
            read_standing(line.message), harmless(s, line.fault, kind),
        )  # fmt: skip


def _struck_last(hits: list[_Hit], node: str, by: datetime) -> int | None:
    """What struck a node last before a pod left it; None where that was over by then."""
    on = [place for place, hit in enumerate(hits) if hit.node == node and hit.at <= by <= hit.until]
    return max(on, key=lambda place: hits[place].at, default=None)


def _successions(s: Situation) -> Iterator[_Succession]:
    """Pods that left; the first pod of the same workload that runs afterwards takes the place."""
    came: dict[str, list[datetime]] = {}
    for line in s.status.timeline:
        if line.event == "Running":
            came.setdefault(read_on_node(line.message)[1], []).append(read_moment(line.at))
    for line in lost_pods(s.status.timeline):
        node, of = read_on_node(line.message)
        gone = read_moment(line.at)
        later = [at for at in came.get(of, ()) if at >= gone]
        if later:
            came[of].remove(later[0])
        yield _Succession(line.fault, node, of, gone, later[0] if later else s.now)
