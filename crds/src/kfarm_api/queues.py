"""How a farm's devices are shared out, and what of it Kueue is told."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kfarm_api.base import BY_NAME, Cel, LabelSelector, ListOf, Name, ObjectName, Strict

Devices = Annotated[int, Field(ge=0, le=10_000_000)]
Weight = Annotated[int, Field(ge=0, le=1_000_000)]
FURTHER_RESOURCE_PATTERN = (
    r"^([a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
)
FurtherResource = Annotated[
    str, Field(min_length=1, max_length=127, pattern=FURTHER_RESOURCE_PATTERN)
]


class ShareQueue(Strict):
    """A part of a share with a queue of its own.

    `namespaces` says whose jobs it takes (all when left out), `weight` what it gets of idle devices
    beside its neighbours under fair sharing.
    """

    name: Name
    guaranteed: Devices
    namespaces: LabelSelector | None = None
    weight: Weight | None = None


class Share(Strict):
    """A part of the farm's devices that is guaranteed to one use.

    The rest is for Kueue: of what is idle, at most `lending_limit` devices are lent, and at most
    `borrowing_limit` are borrowed; no limit when left out. `reclaim` says whose jobs elsewhere may
    be preempted to get lent devices back (Any when left out), `within_share` whose in the share
    itself (LowerPriority). With `queues` the share is divided further; what they leave is common to
    them.
    """

    name: Name
    guaranteed: Devices
    lending_limit: Devices | None = None
    borrowing_limit: Devices | None = None
    reclaim: Literal["Any", "LowerPriority", "Never"] | None = None
    within_share: Literal["Never", "LowerPriority", "LowerOrNewerEqualPriority"] | None = None
    weight: Weight | None = None
    namespaces: LabelSelector | None = None
    queues: Annotated[list[ShareQueue], Field(min_length=1, max_length=16), BY_NAME] | None = None
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "!has(self.lendingLimit) || self.lendingLimit <= self.guaranteed",
            "lendingLimit is at most guaranteed: a share lends no more than it has",
            lambda s: s.lending_limit is None or s.lending_limit <= s.guaranteed,
        ),
        Cel(
            "!has(self.queues) || self.queues.map(q, q.guaranteed).sum() <= self.guaranteed",
            "the queues of a share are guaranteed at most what the share is",
            lambda s: s.queues is None or sum(q.guaranteed for q in s.queues) <= s.guaranteed,
        ),
        Cel(
            "!has(self.queues) || !has(self.namespaces)",
            "a share with queues takes no jobs itself: name namespaces in its queues",
            lambda s: s.queues is None or s.namespaces is None,
        ),
    )


class Kueue(Strict):
    """What kfarm makes for Kueue of this farm, where Kueue is installed.

    A Topology, a ResourceFlavor per cluster and, where the farm names shares, a tree of Cohorts and
    ClusterQueues. `admission_check` is asked for every job of these queues; `parent` is a Cohort
    above the farm's. Spares are in no quota unless `spares` says Use. Pods may request devices,
    CPU, memory and `further_resources`, of which only devices are divided among the shares.
    """

    manage: bool = True
    admission_check: ObjectName | None = None
    parent: ObjectName | None = None
    spares: Literal["Keep", "Use"] = "Keep"
    further_resources: Annotated[list[FurtherResource], Field(max_length=16), ListOf()] = Field(
        default_factory=list
    )
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "!has(self.furtherResources) ||"
            " !self.furtherResources.exists(r, r in ['cpu', 'memory'])",
            "furtherResources names resources beside cpu and memory, which are covered already",
            lambda k: not {"cpu", "memory"} & set(k.further_resources),
        ),
    )
