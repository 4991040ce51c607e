"""How far each fault of a drill is. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from kfarm_api.drill import DrillFault
from kfarm_api.drill_status import FailureDrillStatus, FaultProgress, TimelineEntry
from kfarm_api.plan import PlacementPlan, PlacementPlanStatus

from kfarm_operator.drills import status as said
from kfarm_operator.drills.clock import moment, read_moment
from kfarm_operator.drills.situation import Situation
from kfarm_operator.drills.waves import begins, by_runner, ends, ran, shown_in_cluster, waves

NOT_IN_A_CLUSTER = "no cluster can show it; the twin did"
TOO_LATE = "its time had passed before it could be made"


def advance(s: Situation) -> FailureDrillStatus | None:
    """The status with faults that went on since; None where none did."""
    new: list[FaultProgress] = []
    lines: list[TimelineEntry] = []
    for fault in s.drill.spec.faults:
        known = s.progress.get(fault.name) or FaultProgress(fault=fault.name, state="Waiting")
        now = _progress(s, fault, known)
        if now == s.progress.get(fault.name):
            continue
        new.append(now)
        if now.state == "Ended" and known.state != "Ended":
            at = read_moment(now.ended_at or moment(s.now))
            lines.append(said.entry(at, "FaultEnded", fault=fault.name))
        if now.state == "Active" and known.state == "Waiting" and by_runner(s, fault):
            at = read_moment(now.since or moment(s.now))
            lines.append(said.entry(at, "Injected", fault=fault.name, message="by the runner"))
    if not new:
        return None
    status = said.with_progress(s.status, new)
    return status.model_copy(update={"timeline": said.told(status.timeline, *lines)})


def _progress(s: Situation, fault: DrillFault, known: FaultProgress) -> FaultProgress:
    if known.state in ("Ended", "Skipped"):
        return known
    if by_runner(s, fault):
        return _by_runner(s, fault, known)
    begin = begins(s, fault)
    if begin is None:
        return _triggered(s, fault, known)
    if not shown_in_cluster(s, fault):
        return known.model_copy(update={"state": "Skipped", "message": NOT_IN_A_CLUSTER})
    end = ends(s, fault)
    if end is not None and s.now >= end and _unmade(s, fault):
        return known.model_copy(update={"state": "Skipped", "message": TOO_LATE})
    if known.state == "Waiting" and s.now >= begin and not s.drill.spec.suspend:
        return known.model_copy(update={"state": "Active", "since": moment(begin), "message": None})
    closed = not any(entry.fault == fault.name for entry in s.open)
    if known.state == "Active" and end is not None and s.now >= end and closed:
        return known.model_copy(update={"state": "Ended", "ended_at": moment(s.now)})
    return known


def _unmade(s: Situation, fault: DrillFault) -> bool:
    """Whether nothing was written down of a fault that should have touched something."""
    if any(entry.fault == fault.name for entry in s.status.journal):
        return False
    return any(wave.nodes for wave in waves(s, fault))


def left_out(s: Situation) -> list[str]:
    """Faults that should have been made and were not, each with the reason."""
    return [
        f"fault {one.fault} was left out: {one.message}"
        for one in s.status.faults
        if one.state == "Skipped" and one.message != NOT_IN_A_CLUSTER
    ]


def _triggered(s: Situation, fault: DrillFault, known: FaultProgress) -> FaultProgress:
    """Wait for the plan's moment, and remember when it came."""
    trigger = fault.trigger
    if trigger is None:
        return known
    if at_event(s.plans.get(trigger.plan), trigger.event):
        return known.model_copy(update={"since": moment(s.now), "message": None})
    message = f"waits until plan {trigger.plan} is {trigger.event}"
    return known.model_copy(update={"message": message})


def at_event(plan: PlacementPlan | None, event: str) -> bool:
    """Whether a plan has come so far."""
    if plan is None or plan.status is None:
        return False
    status = plan.status
    slots = status.slots or 0
    if plan.spec.placement == "Kueue":
        return behind_kueue(status, event)
    match event:
        case "Simulating":
            return status.verdict is not None
        case "Approved":
            return status.verdict == "Approved"
        case "Releasing":
            return status.verdict == "Approved" and (status.released or 0) > 0
    return bool(slots) and (status.bound or 0) >= slots


def behind_kueue(status: PlacementPlanStatus, event: str) -> bool:
    """The same of a plan that Kueue places: verdicts are its Workloads', only its pods tell."""
    if event == "Releasing":
        return bool(status.released)
    bound = any((one.type, one.status) == ("Released", "True") for one in status.conditions)
    return event == "Running" and bound


def _by_runner(s: Situation, fault: DrillFault, known: FaultProgress) -> FaultProgress:
    """What is made outside: known by the runner's annotation alone."""
    begin, end = ran(s, fault)
    if end is not None:
        since = known.since if begin is None else moment(begin)
        if known.state == "Waiting":
            return known.model_copy(update={"state": "Active", "since": since, "message": None})
        return known.model_copy(update={"state": "Ended", "ended_at": moment(end)})
    if begin is not None and known.state == "Waiting":
        return known.model_copy(update={"state": "Active", "since": moment(begin), "message": None})
    if known.state == "Waiting":
        return known.model_copy(update={"message": "waits for kfarm drill run, which makes it"})
    return known


def _moments(s: Situation) -> Iterator[datetime]:
    for one in s.status.faults:
        if one.ended_at:
            yield read_moment(one.ended_at)


def all_over(s: Situation) -> bool:
    """Whether every fault has ended or was left out, and nothing is open."""
    names = {fault.name for fault in s.drill.spec.faults}
    over = {one.fault for one in s.status.faults if one.state in ("Ended", "Skipped")}
    return names <= over and not s.open


def last_end(s: Situation) -> datetime:
    """When the last fault ended; the start where none did."""
    return max(_moments(s), default=s.started or s.now)
