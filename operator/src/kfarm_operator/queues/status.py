"""The condition ``Queues`` of a farm. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kfarm_api.farm import Farm

from kfarm_operator.conditions import Status, condition
from kfarm_operator.queues.decide import QueueDecision

CONDITION = "Queues"


@dataclass(frozen=True)
class QueueState:
    """What became of a farm's queues.

    Attributes
    ----------
    installed
        Whether the API server serves Kueue.
    decision
        The last one, None when none could be made.
    failure
        Why Kueue's objects could not be read or written.
    """

    installed: bool
    decision: QueueDecision | None = None
    failure: str = ""


def queues_condition(farm: Farm, state: QueueState, now: datetime) -> dict[str, Any] | None:
    """The condition as it should stand; None when there is nothing to say."""
    said = _say(farm, state)
    if said is None:
        return None
    status, reason, message = said
    return condition(
        CONDITION,
        status,
        reason,
        message,
        generation=farm.metadata.generation,
        before=farm.status.conditions if farm.status else (),
        now=now,
    )


def _say(farm: Farm, state: QueueState) -> tuple[Status, str, str] | None:
    managed = farm.spec.kueue is None or farm.spec.kueue.manage
    if not state.installed:
        if not managed or not (farm.spec.shares or farm.spec.kueue):
            return None
        return (
            "Unknown",
            "KueueNotInstalled",
            "no kueue.x-k8s.io/v1beta2 here: shares are described but not enforced; install Kueue, "
            "or set kueue.manage to false",
        )
    decision = state.decision
    if state.failure or decision is None:
        return (
            "Unknown",
            "KueueFailing",
            f"{state.failure}; queues stay as they are and are tried again: see whether Kueue's "
            "manager runs and its webhooks answer",
        )
    if decision.problems:
        message = "; ".join(sentence for _, sentence in decision.problems)
        return "False", decision.problems[0][0], message
    if decision.draining:
        names = ", ".join(f"{view.kind} {view.name}" for view in decision.draining[:5])
        return (
            "False",
            "Draining",
            f"{names} go when the workloads that hold their quota have ended; end or move these "
            "workloads to be rid of them sooner",
        )
    if not managed:
        return None
    if decision.writes or decision.unsettled:
        return "False", "Creating", "queues are being made"
    return "True", "QueuesReady", decision.summary
