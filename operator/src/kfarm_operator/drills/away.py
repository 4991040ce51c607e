"""Faults of the runner, as the operator sees them: when all is at work again. Pure functions."""

from __future__ import annotations

from datetime import datetime

from kfarm_api.drill import RUNNER_ONLY
from kfarm_api.drill_status import FailureDrillStatus

from kfarm_operator.drills.clock import read_moment
from kfarm_operator.drills.situation import Situation


def has_runners(s: Situation) -> bool:
    """Whether a fault of the drill is made by the runner, on no node."""
    return any(fault.action in RUNNER_ONLY for fault in s.drill.spec.faults)


def is_runners(s: Situation, name: str) -> bool:
    """Whether this fault is."""
    return any(f.name == name and f.action in RUNNER_ONLY for f in s.drill.spec.faults)


def at_work(
    s: Situation, status: FailureDrillStatus, name: str, changed: datetime
) -> datetime | None:
    """When API server and operator were both at work again and all pods ran, as they do now.

    That the operator looks at its drill, or that a watch brought it something, once the fault is
    over, shows that both are. What the operator saw before it was killed does not.

    Parameters
    ----------
    changed
        When a watch brought the last change.

    Returns
    -------
    datetime or None
        None while the fault lasts, as far as the runner has said.
    """
    known = next((one for one in status.faults if one.fault == name), None)
    if known is None or known.state != "Ended" or known.ended_at is None:
        return None
    return changed if changed >= read_moment(known.ended_at) else s.now
