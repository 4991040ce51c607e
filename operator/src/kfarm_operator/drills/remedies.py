"""What the runbook does about a fault, some time after it was seen; and how nodes are drained."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from kfarm_api.drill import DrillFault
from kfarm_api.drill_status import FailureDrillStatus

from kfarm_operator.drills import status as said
from kfarm_operator.drills.clock import after, read_moment
from kfarm_operator.drills.situation import Situation
from kfarm_operator.drills.steps import Decision, Evict, PlanRemedy
from kfarm_operator.drills.views import DrillPod
from kfarm_operator.drills.waves import REMEDY, ends, waves


def remedy(s: Situation) -> Decision | None:
    """The next thing to do about a fault that is on; None: nothing."""
    for fault in s.drill.spec.faults:
        known = s.progress.get(fault.name)
        if known is None or known.state != "Active":
            continue
        if fault.action == "Drain":
            on = [n for wave in waves(s, fault) if wave.active(s.now) for n in wave.nodes]
            found: Decision | None = _drain(s, fault, on)
        else:
            found = _remedied(s, fault)
        if found is not None:
            return found
    return None


def _remedied(s: Situation, fault: DrillFault) -> Decision | None:
    end = ends(s, fault)
    if fault.remedy is None or end is None or s.now >= end:
        return None
    due = [
        line.object
        for line in s.status.timeline
        if line.event == "Detected" and line.fault == fault.name and line.object
        and s.now >= after(read_moment(line.at), fault.remedy.after)
    ]  # fmt: skip
    if fault.remedy.action == "Drain":
        return _drain(s, fault, due)
    known = {entry.id for entry in s.status.journal}
    off = [
        name
        for name in due
        if f"{fault.name}/Node/{name}/{REMEDY}" not in known
        and name in s.nodes
        and s.nodes[name].ready != "True"
    ]
    return PlanRemedy(fault.name, tuple(off)) if off else None


def _drain(s: Situation, fault: DrillFault, nodes: Iterable[str]) -> Decision | None:
    """Evict what stands on nodes, once each; the drill's own namespace alone has consented."""
    told = {(line.object, line.message) for line in s.status.timeline if line.event == "Remedied"}
    wanted = [
        pod
        for name in sorted(set(nodes))
        for pod in s.neighbours.get(name, ())
        if evictable(s, pod) and (f"{pod.namespace}/{pod.name}", _asked(pod)) not in told
    ]
    return Evict(fault.name, tuple(wanted), s.status) if wanted else None


def _asked(pod: DrillPod) -> str:
    return f"eviction from node {pod.node} asked for"


def next_due(s: Situation) -> datetime | None:
    """When the next remedy is due."""
    delays = {f.name: f.remedy.after for f in s.drill.spec.faults if f.remedy is not None}
    moments = [
        after(read_moment(line.at), delays[line.fault])
        for line in s.status.timeline
        if line.event == "Detected" and line.fault in delays
    ]
    return min((at for at in moments if at > s.now), default=None)


def evictable(s: Situation, pod: DrillPod) -> bool:
    """Whether a drain moves a pod: not of a daemon, not done, not on its way, of our namespace."""
    return not (pod.daemon or pod.terminal or pod.deleting) and (
        pod.namespace == s.drill.metadata.namespace
    )


def evicted(
    s: Situation, fault: str, pods: Iterable[DrillPod], refused: Iterable[str]
) -> FailureDrillStatus:
    """The status once evictions were asked for."""
    waiting = frozenset(refused)
    lines = [
        said.entry(s.now, "Remedied", fault=fault, about=f"{pod.namespace}/{pod.name}",
                   message=_asked(pod))
        for pod in pods if pod.uid not in waiting
    ]  # fmt: skip
    return s.status.model_copy(update={"timeline": said.told(s.status.timeline, *lines)})
