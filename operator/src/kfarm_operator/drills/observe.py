"""From what the watches brought to lines of the timeline, and how the farm stands. Pure.

Times are those of the operator's clock when an event arrived: the API's own have whole seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

from kfarm_api.drill import HEAT
from kfarm_api.drill_status import DrillMetric, FailureDrillStatus, TimelineEntry
from kfarm_api.units import format_quantity, parse_decimal

from kfarm_operator.drills import requeues
from kfarm_operator.drills import status as said
from kfarm_operator.drills.away import at_work, has_runners, is_runners
from kfarm_operator.drills.clock import read_moment
from kfarm_operator.drills.outside import away, struck_outside
from kfarm_operator.drills.situation import Situation
from kfarm_operator.drills.views import DrillPod, Sighting
from kfarm_operator.drills.waves import REMEDY

UNITS = {
    "lost_accelerator_hours": "h",
    "accelerator_temperature_max": "degC",
    "repairs_waiting_max": "repairs",
}


def observe(s: Situation) -> FailureDrillStatus:
    """The status with what was seen since; the very same where that is nothing."""
    if s.started is None:
        return s.status
    status = struck_outside(s, s.status)
    for sight in s.seen:
        for line in _line(s, status, sight):
            if not _known(status, line):
                status = status.model_copy(update={"timeline": said.told(status.timeline, line)})
    status = _attributed(_found(s, status))
    status = _recoveries(s, status)
    return _extremes(s, status)


def _found(s: Situation, status: FailureDrillStatus) -> FailureDrillStatus:
    """Nodes that were missed while nobody watched, such as during a restart of the operator."""
    leases = (one for one in s.open if one.kind == "Lease" and one.state == "Applied")
    down = {one.name: one.fault for one in leases} | away(s)
    for name, fault in down.items():
        node = s.nodes.get(name)
        if node is None:
            continue
        line = said.entry(s.now, "Detected", fault=fault, about=name, message="Ready is not True")
        if node.ready != "True" and not _known(status, line):
            status = status.model_copy(update={"timeline": said.told(status.timeline, line)})
    late = list(requeues.caught_up(s, status))
    if late:
        status = status.model_copy(update={"timeline": said.told(status.timeline, *late)})
    return status


def _known(status: FailureDrillStatus, line: TimelineEntry) -> bool:
    """Whether the same was told already; a node is detected once per injection."""
    if line.event in requeues.EVENTS:
        return any((o.event, o.object, o.at) == (line.event, line.object, line.at)
                   for o in status.timeline)  # fmt: skip
    for old in status.timeline:
        if (old.event, old.object) == (line.event, line.object):
            if line.event != "Detected":
                return True
            injected = injected_at(status, line.object or "", read_moment(line.at))
            if injected is not None and read_moment(old.at) >= injected:
                return True
    return False


def injected_at(status: FailureDrillStatus, node: str, by: datetime) -> datetime | None:
    """When a node was last injected before a moment."""
    found = [
        read_moment(entry.applied_at)
        for entry in status.journal
        if entry.name == node and entry.applied_at and not entry.id.endswith(REMEDY)
    ]
    found += [at for at, _ in _told_strikes(status, node)]
    return max((at for at in found if at <= by), default=None)


def fault_of(status: FailureDrillStatus, node: str, by: datetime) -> str | None:
    """The fault that struck a node last before a moment."""
    found = [
        (read_moment(entry.applied_at), entry.fault)
        for entry in status.journal
        if entry.name == node and entry.applied_at and read_moment(entry.applied_at) <= by
    ]
    found += [(at, fault) for at, fault in _told_strikes(status, node) if at <= by]
    return max(found)[1] if found else None


def _told_strikes(status: FailureDrillStatus, node: str) -> Iterator[tuple[datetime, str]]:
    """When a node was struck and by which fault, the runner's doing included."""
    for line in status.timeline:
        if line.event == "Injected" and line.object == node and line.fault:
            yield read_moment(line.at), line.fault


def _line(s: Situation, status: FailureDrillStatus, seen: Sighting) -> Iterator[TimelineEntry]:
    match seen.kind:
        case "NodeDown" | "NodeMarked":
            fault = fault_of(status, seen.name, seen.at)
            if fault is not None:
                why = "Ready is not True" if seen.kind == "NodeDown" else "marked as faulty"
                yield said.entry(seen.at, "Detected", fault=fault, about=seen.name, message=why)
        case "Deleting" | "Gone":
            event = "Evicted" if seen.kind == "Deleting" else "Gone"
            fault = fault_of(status, seen.node, seen.at)
            fault = fault or requeues.requeued_for(s, status, seen.of.partition("/")[0])
            note = said.on_node(seen.node, seen.of) if seen.node else ""
            yield said.entry(seen.at, event, fault=fault, about=seen.name, message=note)
        case "Bound" | "Running":
            event = "Replaced" if seen.kind == "Bound" else "Running"
            note = said.on_node(seen.node, seen.of)
            yield said.entry(seen.at, event, about=seen.name, message=note)
        case "Requeued" | "Readmitted":
            yield from requeues.lines(s, status, seen)


def _attributed(status: FailureDrillStatus) -> FailureDrillStatus:
    """Name the fault of each successor: those that went first are replaced first."""
    timeline = list(status.timeline)
    lost = lost_pods(timeline)
    names = {line.object for line in lost}
    changed = False
    for event in ("Replaced", "Running"):
        comers = [n for n, line in enumerate(timeline) if line.event == event]
        comers = [n for n in comers if timeline[n].object not in names]
        for n, one in zip(comers, lost, strict=False):
            if timeline[n].fault is None and one.fault is not None:
                timeline[n] = timeline[n].model_copy(update={"fault": one.fault})
                changed = True
    return status.model_copy(update={"timeline": timeline}) if changed else status


def lost_pods(timeline: list[TimelineEntry]) -> list[TimelineEntry]:
    """The first line of each pod that was marked for deletion or went."""
    found: dict[str, TimelineEntry] = {}
    for line in timeline:
        if line.event in ("Evicted", "Gone") and line.object:
            found.setdefault(line.object, line)
    return list(found.values())


def bad_nodes(s: Situation) -> frozenset[str]:
    """Nodes on which no pod of a plan is fine: not Ready, or under a fault."""
    struck = {
        entry.name for entry in s.open if entry.changes and not harmless(s, entry.fault, entry.kind)
    }
    return (
        frozenset(struck)
        | frozenset(away(s))
        | {n.name for n in s.nodes.values() if n.ready != "True"}
    )


def harmless(s: Situation, fault: str, kind: str) -> bool:
    """Whether pods go on beside what a fault writes to a kind of object."""
    action = next((f.action for f in s.drill.spec.faults if f.name == fault), "")
    return kind == "Node" and (action in HEAT or action == "LinkFlap")


def wanted_pods(s: Situation) -> int:
    """Pods of the plans that should run: as the plans say, less those that are done."""
    total = 0
    for name, plan in s.plans.items():
        if plan is None:
            continue
        done = sum(p.plan == name and p.phase == "Succeeded" for p in s.pods)
        total += max(0, sum(w.pods for w in plan.spec.workloads) - done)
    return total


def fine_pods(s: Situation) -> list[DrillPod]:
    """Pods of the plans that run on nodes without fault."""
    bad = bad_nodes(s)
    return [pod for pod in s.pods if pod.running and pod.node not in bad]


def whole(s: Situation) -> bool:
    """Whether every plan's pods all run on nodes without fault."""
    return len(fine_pods(s)) >= wanted_pods(s)


def _recoveries(s: Situation, status: FailureDrillStatus) -> FailureDrillStatus:
    """A line for each fault since whose injection everything has come to run again."""
    if not s.plans or not whole(s):
        return status
    done = {line.fault for line in status.timeline if line.event == "Recovered"}
    hit = {line.fault for line in status.timeline if line.event in ("Injected",) and line.fault}
    for fault in sorted(hit - done):
        if is_runners(s, fault):
            at = at_work(s, status, fault, _last_change(s, status))
        elif _struck_a_pod(s, status, fault) and not _is_open(s, status, fault):
            at = _drained_at(s, status, fault) or _last_change(s, status)
        else:
            continue
        if at is None:
            continue
        line = said.entry(at, "Recovered", fault=fault, message="all pods of the plans run")
        status = status.model_copy(update={"timeline": said.told(status.timeline, line)})
    return status


def pods_of(line: TimelineEntry) -> int | None:
    """How many pods stood on a node when it was struck, as its line says."""
    count, _, rest = line.message.partition(" ")
    return int(count) if rest.startswith("pods of the plans") and count.isdecimal() else None


def _struck_a_pod(s: Situation, status: FailureDrillStatus, fault: str) -> bool:
    """Whether a pod was hit that did not just go on, as beside a link that flaps."""
    stood = any(
        line.event == "Injected" and line.fault == fault and pods_of(line)
        for line in status.timeline
    )
    left = any(line.event == "Evicted" and line.fault == fault for line in status.timeline)
    hurt = any(e.fault == fault and not harmless(s, fault, e.kind) for e in status.journal)
    return stood and (left or hurt)


def _is_open(s: Situation, status: FailureDrillStatus, fault: str) -> bool:
    """Whether more of a fault is to come: the next nodes of a drain, or heat that turns off."""
    known = next((one for one in status.faults if one.fault == fault), None)
    if known is None or known.state != "Active":
        return False
    action = next((f.action for f in s.drill.spec.faults if f.name == fault), "")
    if action == "Drain":
        return True
    hot = {one.node for one in status.effects if (one.fault, one.effect) == (fault, "HeatShutdown")}
    off = {one.name for one in status.journal if (one.fault, one.kind) == (fault, "Lease")}
    return action in HEAT and bool(hot & set(s.targeted.get(fault, ())) - off)


def _drained_at(s: Situation, status: FailureDrillStatus, fault: str) -> datetime | None:
    """When the last successor of a drain's pods ran; the end of the drain says nothing of that."""
    action = next((f.action for f in s.drill.spec.faults if f.name == fault), "")
    ran = [read_moment(x.at) for x in status.timeline if (x.event, x.fault) == ("Running", fault)]
    return max(ran, default=None) if action == "Drain" else None


def _last_change(s: Situation, status: FailureDrillStatus) -> datetime:
    moments = [sight.at for sight in s.seen]
    moments += [
        read_moment(line.at)
        for line in status.timeline
        if line.event in ("Running", "Restored", "Gone")
    ]
    return max(moments, default=s.now)


def _extremes(s: Situation, status: FailureDrillStatus) -> FailureDrillStatus:
    """The largest and smallest counts so far, as they stand in the metrics."""
    looked_at = frozenset(s.nodes) if has_runners(s) else s.struck
    down = sum(s.nodes[n].ready != "True" for n in looked_at if n in s.nodes)
    healthy = sum(node.healthy for node in s.nodes.values() if node.cluster in s.clusters)
    pending = max(0, wanted_pods(s) - len(_alive(s)))
    status = _extreme(status, "nodes_down_max", down, up=True)
    if s.clusters:
        status = _extreme(status, "healthy_nodes_min", healthy, up=False)
    return _extreme(status, "pods_pending_max", pending, up=True) if s.plans else status


def _alive(s: Situation) -> list[DrillPod]:
    ready = {node.name for node in s.nodes.values() if node.ready == "True"}
    return [pod for pod in s.pods if pod.running and pod.node in ready]


def unit_of(metric: str) -> str:
    """Unit of a metric."""
    if metric.startswith("seconds_"):
        return "s"
    return UNITS.get(metric) or ("pods" if metric.startswith("pods_") else "nodes")


def _extreme(status: FailureDrillStatus, name: str, value: int, *, up: bool) -> FailureDrillStatus:
    old = next((one for one in status.metrics if one.name == name), None)
    if old is not None and old.observed is not None:
        before = parse_decimal(old.observed)
        if (before >= value) if up else (before <= value):
            return status
    new = (old or DrillMetric(name=name, unit=unit_of(name))).model_copy(
        update={"observed": format_quantity(Decimal(value))}
    )
    kept = [new if one.name == name else one for one in status.metrics]
    return status.model_copy(update={"metrics": kept if old else [*kept, new]})
