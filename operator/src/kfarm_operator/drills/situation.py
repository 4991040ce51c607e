"""Everything that a drill's next step depends on, frozen at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from kfarm_api.drill import FailureDrill
from kfarm_api.drill_status import FailureDrillStatus, FaultProgress, JournalEntry
from kfarm_api.drill_targets import Candidate
from kfarm_api.farm import Farm
from kfarm_api.plan import PlacementPlan
from kfarm_api.profile import AcceleratorProfile

from kfarm_operator.drills.clock import read_moment
from kfarm_operator.drills.journal import OPEN
from kfarm_operator.drills.settings import DrillSettings
from kfarm_operator.drills.views import DrillNode, DrillPod, DrillView, Lock, Sighting
from kfarm_operator.drills.workloads import DrillWorkload


@dataclass(frozen=True)
class Situation:
    """One drill, and what there is around it.

    Attributes
    ----------
    nodes
        Of the drill's farm, by name.
    pods
        Of the drill's plans.
    workloads
        What Kueue knows of the drill's plans.
    neighbours
        Pods of whatever plan or none, by the node that they stand on; for `Drain`.
    consent
        Whether the drill's namespace carries the label; None: not looked up.
    stopped
        Whether the kill switch is on.
    locks
        Leases that the drill needs or has, whoever holds them; None: there is none.
    seen
        What the watches brought since the last step that was written.
    finalized
        Whether the drill carries our finalizer.
    runs
        Drills that this one's schedule made.
    child
        Whether a schedule made this drill.
    waiting
        Entries, by id, on whose way back others have a part: no step of ours is due as yet.
    asks_twin
        Whether predictions can be made here.
    """

    drill: FailureDrill
    now: datetime
    settings: DrillSettings
    farm: Farm | None = None
    nodes: Mapping[str, DrillNode] = field(default_factory=dict)
    pods: Sequence[DrillPod] = ()
    workloads: Sequence[DrillWorkload] = ()
    neighbours: Mapping[str, Sequence[DrillPod]] = field(default_factory=dict)
    plans: Mapping[str, PlacementPlan | None] = field(default_factory=dict)
    profiles: Mapping[str, AcceleratorProfile] = field(default_factory=dict)
    candidates: Sequence[Candidate] = ()
    consent: bool | None = None
    stopped: bool = False
    locks: Mapping[str, Lock | None] = field(default_factory=dict)
    seen: Sequence[Sighting] = ()
    finalized: bool = False
    runs: Sequence[DrillView] = ()
    child: bool = False
    waiting: frozenset[str] = frozenset()
    asks_twin: bool = False

    @property
    def status(self) -> FailureDrillStatus:
        """As it stands; empty before the first."""
        return self.drill.status or FailureDrillStatus()

    @property
    def key(self) -> str:
        """``NAMESPACE/NAME/UID``, as annotations carry it."""
        meta = self.drill.metadata
        return f"{meta.namespace}/{meta.name}/{meta.uid}"

    @property
    def deleting(self) -> bool:
        """Whether the drill is being deleted."""
        return self.drill.metadata.deletion_timestamp is not None

    @property
    def armed(self) -> bool:
        """Whether the drill may touch the cluster, as far as its spec says so."""
        name = self.settings.cluster_name
        return not self.drill.spec.dry and bool(name) and self.drill.spec.confirm == name

    @property
    def started(self) -> datetime | None:
        """When the drill began."""
        at = self.status.started_at
        return read_moment(at) if at else None

    @property
    def until(self) -> datetime | None:
        """When everything is taken back, whatever happened; a shortened time to live counts."""
        at = self.status.until
        if not at or self.started is None:
            return None
        life = timedelta(microseconds=self.drill.spec.time_to_live_ns // 1000)
        return min(read_moment(at), self.started + life + timedelta(seconds=1))

    @cached_property
    def open(self) -> tuple[JournalEntry, ...]:
        """Entries that have not been taken back."""
        return tuple(entry for entry in self.status.journal if entry.state in OPEN)

    @cached_property
    def progress(self) -> Mapping[str, FaultProgress]:
        """How far each fault is, by its name."""
        return {one.fault: one for one in self.status.faults}

    @cached_property
    def targeted(self) -> Mapping[str, Sequence[str]]:
        """Nodes of each fault."""
        return {one.fault: one.nodes for one in self.status.targets}

    @cached_property
    def struck(self) -> frozenset[str]:
        """All nodes that the drill may touch."""
        return frozenset(name for nodes in self.targeted.values() for name in nodes)

    @property
    def clusters(self) -> frozenset[str]:
        """Labels of the farm clusters of the targets."""
        return frozenset(self.nodes[n].cluster for n in self.struck if n in self.nodes)
