"""What one plan's decision rests on, frozen at one moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from kfarm_api.farm import Farm
from kfarm_api.ledger import Claim, NodeLedger, ledger_name
from kfarm_api.plan import PlacementPlan, Slot, Workload
from kfarm_api.policy import ValidationPolicy
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.snapshot import digest

from kfarm_operator.conditions import parse_timestamp
from kfarm_operator.index import Index
from kfarm_operator.views import NodeView, PodView


@dataclass(frozen=True)
class SlotView:
    """A slot and the pod that it was given to, if that pod still lives."""

    workload: str
    index: int
    slot: Slot
    pod: PodView | None

    @property
    def assigned(self) -> bool:
        """Whether the slot was ever given to a pod."""
        return self.slot.pod_uid is not None

    @property
    def vacated(self) -> bool:
        """Whether its pod is gone or done."""
        return self.assigned and self.pod is None

    @property
    def free(self) -> bool:
        """Whether no live pod holds it."""
        return self.pod is None


@dataclass(frozen=True)
class Observed:
    """Everything that `decide` looks at.

    Attributes
    ----------
    farms
        As the plan names them, in its order; None where one does not exist.
    nodes
        Nodes of these farms, by name.
    pods
        Pods that name this plan.
    usage
        Accelerators on each node that pods of others hold.
    free_at
        When all of them will have left, where each says how long it runs; `remaining.foresee`.
    workload
        Name of the Kueue Workload whose placement this is; the plan then carries its uid.
    """

    plan: PlacementPlan
    policy: ValidationPolicy | None
    farms: Mapping[tuple[str, str], Farm | None]
    profiles: Mapping[str, AcceleratorProfile]
    nodes: Mapping[str, NodeView]
    pods: tuple[PodView, ...]
    usage: Mapping[str, int]
    ledgers: Mapping[str, NodeLedger | None]
    now: datetime
    hold_until: datetime | None = field(default=None)
    free_at: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def lost(self) -> dict[str, int]:
        """Accelerators by node that are there but reported bad."""
        return {
            entry.node: entry.accelerators
            for farm in self.farms.values()
            for entry in (farm.status.unhealthy if farm and farm.status else ())
        }

    workload: str | None = field(default=None)

    @cached_property
    def workloads(self) -> dict[str, Workload]:
        """Workloads of the plan by name."""
        return {workload.name: workload for workload in self.plan.spec.workloads}

    @property
    def placed_by_kueue(self) -> bool:
        """Whether Kueue chooses the nodes, so that the plan only describes behaviour."""
        return self.plan.spec.placement == "Kueue"

    @cached_property
    def hostnames(self) -> dict[str, str]:
        """Node names by hostname label."""
        return {hostname(node): node.name for node in self.nodes.values()}

    @cached_property
    def slots(self) -> list[SlotView]:
        """All slots in the status, with the live pods that hold them."""
        live = {pod.uid: pod for pod in self.pods if pod.live}
        status = self.plan.status
        return [
            SlotView(placement.workload, index, slot, live.get(slot.pod_uid or ""))
            for placement in (status.placements if status else ())
            for index, slot in enumerate(placement.slots)
        ]

    @cached_property
    def specs_digest(self) -> str:
        """Digest of all specs that a verdict rests on."""
        named = {c.accelerator for farm in self.farms.values() if farm for c in farm.spec.clusters}
        return digest(
            {
                "plan": self.plan.spec.as_manifest(),
                "policy": self.policy.spec.as_manifest() if self.policy else None,
                "farms": {
                    f"{kind}/{name}": _described(farm) if farm else None
                    for (kind, name), farm in self.farms.items()
                },
                "profiles": {
                    name: profile.spec.as_manifest()
                    for name, profile in self.profiles.items()
                    if name in named
                },
            }
        )

    def claim(self, farm: tuple[str, str]) -> Claim | None:
        """What this plan holds of a farm."""
        ledger = self.ledgers.get(ledger_name(*farm))
        claims = ledger.spec.claims if ledger else ()
        return next((claim for claim in claims if claim.uid == self.plan.metadata.uid), None)

    def others_claims(self, farm: tuple[str, str]) -> list[Claim]:
        """Claims of other plans that have not expired."""
        ledger = self.ledgers.get(ledger_name(*farm))
        return [
            claim
            for claim in (ledger.spec.claims if ledger else ())
            if claim.uid != self.plan.metadata.uid and not expired(claim.expires_at, self.now)
        ]


@dataclass(frozen=True)
class Usage:
    """Accelerators that one pod holds on one node; the plan it names and its Workload, if any."""

    node: str
    plan: tuple[str, str]
    accelerators: int
    workload: str = ""


def _described(farm: Farm) -> dict[str, Any]:
    """A farm's spec without where it is measured, on which no verdict rests."""
    spec = farm.spec.as_manifest()
    spec.pop("telemetry", None)
    return spec


def hostname(node: NodeView) -> str:
    """Value of the node's hostname label."""
    return node.labels.get("kubernetes.io/hostname", node.name)


def expired(moment: str | None, now: datetime) -> bool:
    """Whether a time to live has run out."""
    return moment is None or parse_timestamp(moment) <= now


def pod_usage(pod: PodView, hostnames: Mapping[str, str]) -> Usage | None:
    """What a pod holds by running, or by being pinned with its gate lifted and not yet deleted."""
    pinned = hostnames.get(pod.pinned or "") if pod.released and not pod.deleting else None
    node = pod.node or pinned
    if node is None or pod.terminal:
        return None
    held = sum(count for _, count in pod.shape.devices if count > 0)
    owner = (pod.namespace, pod.plan)
    return Usage(node, owner, held, pod.admitted_by) if held else None


def observe(
    plan: PlacementPlan,
    index: Index,
    nodes: Iterable[NodeView],
    pods: Iterable[PodView],
    now: datetime,
    hold_until: datetime | None = None,
    workload: str | None = None,
) -> Observed:
    """Pick from all nodes and pods what concerns one plan; `pods` may be all that use devices.

    With `workload`, only the pods of that Kueue Workload are its own; those of others that name
    the same plan count as usage.
    """
    farms = {(ref.kind, ref.name) for ref in plan.spec.farms}
    mine = {node.name: node for node in nodes if node.farm in farms and not node.deleting}
    hostnames = {hostname(node): node.name for node in mine.values()}
    own = (plan.metadata.namespace or "", plan.metadata.name)
    own_pods: list[PodView] = []
    usages: list[Usage] = []
    for pod in pods:
        if (pod.namespace, pod.plan) == own and workload in (None, pod.admitted_by):
            own_pods.append(pod)
        else:
            used = pod_usage(pod, hostnames)
            if used is not None and used.node in mine:
                usages.append(used)
    return assemble(plan, index, mine.values(), own_pods, usages, now, hold_until, workload)


def assemble(
    plan: PlacementPlan,
    index: Index,
    nodes: Iterable[NodeView],
    own_pods: Iterable[PodView],
    usages: Iterable[Usage],
    now: datetime,
    hold_until: datetime | None = None,
    workload: str | None = None,
) -> Observed:
    """Put together what concerns one plan: nodes of its farms, its pods, what others hold there."""
    farms: dict[tuple[str, str], Farm | None] = {
        (ref.kind, ref.name): index.farm(ref.kind, ref.name) for ref in plan.spec.farms
    }
    ledgers = {ledger_name(*farm): index.ledger(ledger_name(*farm)) for farm in farms}
    observed = Observed(
        plan=plan,
        policy=index.policy(plan.spec.policy),
        farms=farms,
        profiles=index.profiles(),
        nodes={node.name: node for node in nodes},
        pods=tuple(sorted(own_pods, key=lambda pod: pod.order)),
        usage={},
        ledgers=ledgers,
        now=now,
        hold_until=hold_until,
        workload=workload,
    )
    return replace_usage(observed, usages)


def replace_usage(observed: Observed, usages: Iterable[Usage]) -> Observed:
    """Add claims to what pods hold: a claim counts for what its own pods do not hold yet.

    Its own are those of its plan, or, where Kueue placed them, those of its Workload.
    """
    held: dict[str, int] = {}
    by_holder: dict[tuple[tuple[str, str], str | None, str], int] = {}
    for used in usages:
        held[used.node] = held.get(used.node, 0) + used.accelerators
        for workload in (None, used.workload):
            seat = (used.plan, workload, used.node)
            by_holder[seat] = by_holder.get(seat, 0) + used.accelerators
    for farm in observed.farms:
        for claim in observed.others_claims(farm):
            for claimed in claim.nodes:
                holder = (claim.namespace, claim.plan)
                present = by_holder.get((holder, claim.workload, claimed.node), 0)
                missing = max(0, claimed.accelerators - present)
                held[claimed.node] = held.get(claimed.node, 0) + missing
    return replace(observed, usage=held)
