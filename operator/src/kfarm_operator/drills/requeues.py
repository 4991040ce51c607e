"""What Kueue does about the Workloads of a drill's plans: lines of the timeline. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

from kfarm_api.drill_status import FailureDrillStatus, JournalEntry, TimelineEntry
from kfarm_api.layout import LABEL_HOSTNAME

from kfarm_operator.drills import status as said
from kfarm_operator.drills.clock import read_moment
from kfarm_operator.drills.outside import away
from kfarm_operator.drills.situation import Situation
from kfarm_operator.drills.views import DrillNode, Sighting

EVENTS = ("Requeued", "Readmitted")
NAMED = 8
"""Nodes that a line names at most."""


def lines(s: Situation, status: FailureDrillStatus, seen: Sighting) -> Iterator[TimelineEntry]:
    """The line of something that came of a Workload, if a fault is the reason."""
    fault = _cause(s, status, seen)
    if fault is None:
        return
    if seen.kind == "Requeued":
        yield said.entry(seen.at, "Requeued", fault=fault, about=seen.name, message=seen.note)
    elif not seen.hosts & _struck(s):
        new = sorted(seen.hosts - seen.before or seen.hosts)
        more = f" and {len(new) - NAMED} more" if len(new) > NAMED else ""
        told = f"now on {', '.join(new[:NAMED])}{more}"
        yield said.entry(seen.at, "Readmitted", fault=fault, about=seen.name, message=told)


def caught_up(s: Situation, status: FailureDrillStatus) -> Iterator[TimelineEntry]:
    """Workloads that came back while nobody watched, such as during a restart of the operator."""
    for one in s.workloads:
        line = _requeued(status, {one.key})
        back = one.admitted and not one.evicted and one.hosts and not one.hosts & _struck(s)
        if line is not None and back:
            yield said.entry(s.now, "Readmitted", fault=line.fault, about=one.key)


def requeued_for(s: Situation, status: FailureDrillStatus, plan: str) -> str | None:
    """The fault for which Kueue has taken all pods of a plan away, or none."""
    line = _requeued(status, {one.key for one in s.workloads if plan in one.plans})
    return line.fault if line else None


def _cause(s: Situation, status: FailureDrillStatus, seen: Sighting) -> str | None:
    """The fault for which Kueue gave a Workload up or other nodes: the first; or none."""
    requeued = _requeued(status, {seen.name})
    if seen.kind == "Readmitted" and requeued is not None:
        return requeued.fault
    left = seen.before if seen.kind == "Requeued" else seen.before - seen.hosts
    nodes = {node.name for node in s.nodes.values() if _hostname(node) in left}
    struck = [
        (read_moment(entry.applied_at), entry.fault)
        for entry in status.journal
        if entry.name in nodes and entry.applied_at and _was_open(entry, seen.at)
    ]
    struck += [
        (read_moment(line.at), line.fault)
        for line in status.timeline
        if line.event == "Injected" and line.object in nodes & away(s).keys() and line.fault
    ]
    return min(struck)[1] if struck else None


def _was_open(entry: JournalEntry, at: datetime) -> bool:
    """Whether a node was under a fault at a moment."""
    begun = entry.applied_at is not None and read_moment(entry.applied_at) <= at
    return begun and (entry.restored_at is None or at <= read_moment(entry.restored_at))


def _requeued(status: FailureDrillStatus, workloads: Collection[str]) -> TimelineEntry | None:
    """The line of the one among these that was requeued last and is not back, if any."""
    mine = [line for line in status.timeline if line.object in workloads and line.event in EVENTS]
    return mine[-1] if mine and mine[-1].event == "Requeued" else None


def _struck(s: Situation) -> frozenset[str]:
    """Hosts that are under a fault, or do not answer."""
    open_ = {entry.name for entry in s.open} | away(s).keys()
    return frozenset(
        _hostname(node) for node in s.nodes.values() if node.name in open_ or node.ready != "True"
    )


def _hostname(node: DrillNode) -> str:
    """The name by which Kueue assigns a node."""
    return node.labels.get(LABEL_HOSTNAME, node.name)
