"""What `decide` may ask for, one step at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kfarm_api.drill_status import FailureDrillStatus, JournalEntry

from kfarm_operator.drills.views import DrillPod, DrillView, Lock
from kfarm_operator.drills.waves import Wave


@dataclass(frozen=True)
class Report:
    """Write the status and go on at once."""

    status: FailureDrillStatus


@dataclass(frozen=True)
class Rest:
    """Write the status where it differs; look again after so long [s], None: when told."""

    status: FailureDrillStatus
    again_s: float | None = None


@dataclass(frozen=True)
class Predict:
    """Ask the twin; `status` is written meanwhile."""

    status: FailureDrillStatus


@dataclass(frozen=True)
class Finalize:
    """Put our finalizer on the drill, or take it off."""

    on: bool


@dataclass(frozen=True)
class TakeLock:
    """Take the Lease of the farm's cluster; `before` is one that nobody needs any more."""

    name: str
    before: Lock | None


@dataclass(frozen=True)
class DropLock:
    """Give the Lease back."""

    lock: Lock


@dataclass(frozen=True)
class Plan:
    """Read the nodes of a wave and write down what will be changed."""

    wave: Wave


@dataclass(frozen=True)
class PlanRemedy:
    """Write down that these nodes of a fault are said to be out of service."""

    fault: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Apply:
    """Make what the journal has as planned."""

    entries: tuple[JournalEntry, ...]


@dataclass(frozen=True)
class Undo:
    """Take these entries back, the last first."""

    entries: tuple[JournalEntry, ...]


@dataclass(frozen=True)
class Evict:
    """Ask for these pods' eviction, for a fault."""

    fault: str
    pods: tuple[DrillPod, ...]
    status: FailureDrillStatus


@dataclass(frozen=True)
class Spawn:
    """Make a run of a schedule."""

    body: Mapping[str, object]
    status: FailureDrillStatus


@dataclass(frozen=True)
class Prune:
    """Delete a run that the history has no room for."""

    run: DrillView


Decision = (
    Report | Rest | Predict | Finalize | TakeLock | DropLock | Plan | PlanRemedy | Apply | Undo
    | Evict | Spawn | Prune
)  # fmt: skip
