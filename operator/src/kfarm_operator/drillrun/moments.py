"""When the runner has to act, from what the drill and its plans say. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kfarm_api.drill import RUNNER_ONLY, DrillFault, FailureDrill
from kfarm_api.drill_status import FailureDrillStatus
from kfarm_api.plan import PlacementPlan
from kfarm_api.units import parse_duration_ns

from kfarm_operator.drills.faults import behind_kueue

NS = 10**9
OVER = frozenset({"Completed", "DryRun", "Suspended", "Scheduled"})
BEGUN = frozenset({"Waiting", "Running", "Recovering"})
NODES_DOWN = frozenset({"NodeDown", "RackPower", "Pdu", "LeafSwitch", "Burst"})
"""Actions that take whole nodes away; on nodes that are containers the runner does it."""


@dataclass(frozen=True)
class Act:
    """Something that the runner does for a fault.

    Attributes
    ----------
    action
        ``ApiOutage``, ``OperatorKill`` or ``NodesDown``.
    nodes
        Whose containers are taken away.
    """

    fault: str
    action: str
    seconds: float
    nodes: tuple[str, ...] = ()

    def __str__(self) -> str:
        of = f" of {', '.join(self.nodes)}" if self.nodes else ""
        return f"{self.action}{of} for {self.seconds:g} s"


def seconds(duration: str) -> float:
    """A duration of the API [s]."""
    return parse_duration_ns(duration) / NS


def moment(text: str | None) -> datetime | None:
    """A time of the API, or None."""
    if not text:
        return None
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def stamp(at: datetime) -> str:
    """A time as the API has it, with milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def runner_faults(drill: FailureDrill) -> list[DrillFault]:
    """Faults that only the runner can do."""
    return [fault for fault in drill.spec.faults if fault.action in RUNNER_ONLY]


def has_reached(event: str, plan: PlacementPlan | None) -> bool:
    """Whether a plan is at, or beyond, the moment that a trigger names."""
    if plan is None:
        return False
    if event == "Simulating":
        return True
    status = plan.status
    current = status is not None and status.observed_generation == plan.metadata.generation
    if status is None or not current:
        return False
    if plan.spec.placement == "Kueue":
        return behind_kueue(status, event)
    if status.verdict != "Approved":
        return False
    if event == "Approved":
        return True
    if event == "Releasing":
        return bool(status.released)
    return bool(status.slots) and status.bound == status.slots


def begins(
    fault: DrillFault, started: datetime | None, triggered: datetime | None
) -> datetime | None:
    """When a fault is due; None while that is not known yet."""
    base = started if fault.trigger is None else triggered
    if started is None or base is None:
        return None
    return base + timedelta(seconds=seconds(fault.at))


def node_acts(drill: FailureDrill, status: FailureDrillStatus, real: frozenset[str]) -> list[Act]:
    """Nodes that are down by now and are containers: the operator leaves them to the runner.

    Parameters
    ----------
    real
        Names of nodes that no KWOK plays.
    """
    targets = {one.fault: one for one in status.targets}
    active = {one.fault for one in status.faults if one.state == "Active"}
    acts = []
    for fault in drill.spec.faults:
        if fault.action not in NODES_DOWN or fault.name not in active or fault.name not in targets:
            continue
        nodes = tuple(sorted(set(targets[fault.name].nodes) & real))
        if nodes:
            acts.append(Act(fault.name, "NodesDown", seconds(fault.duration), nodes))
    return acts
