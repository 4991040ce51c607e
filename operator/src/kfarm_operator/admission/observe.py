"""What one answer to Kueue rests on, frozen at one moment. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from kfarm_api.admission import Admission
from kfarm_api.ledger import Claim
from kfarm_api.plan import PlacementPlan, Slot, Workload, WorkloadPlacement
from kfarm_api.policy import ValidationPolicy
from kfarm_api.snapshot import FarmSnapshot, Survivor, digest
from kfarm_twin.request import ValidationRequest

from kfarm_operator.admission.problems import Problem, find_problem, wants
from kfarm_operator.admission.views import (
    Added,
    CheckView,
    Entry,
    FlavorView,
    PodSetView,
    WorkloadView,
)
from kfarm_operator.index import Index
from kfarm_operator.plans.observe import Observed
from kfarm_operator.plans.request import build_snapshot
from kfarm_operator.views import PodView

UNLIMITED = "9999-12-31T23:59:59Z"
"""When a claim of a Workload expires: never by itself, but with the Workload's admission."""


@dataclass(frozen=True)
class Found:
    """What was gathered about one Workload.

    Attributes
    ----------
    entries
        Its entries for checks of ours.
    policies
        One for each of `entries`, in their order; None where a check names none that exists.
    pods
        Pods that Kueue started for it.
    added
        What Kueue may have added to the pods of a pod set.
    observed
        Plan, farms, nodes, claims and what others use; None without a plan.
    claims
        What the ledgers hold for this Workload, by farm.
    """

    workload: WorkloadView
    entries: tuple[Entry, ...]
    policies: tuple[ValidationPolicy | None, ...]
    pods: tuple[PodView, ...]
    added: Mapping[str, Added]
    observed: Observed | None
    claims: Mapping[tuple[str, str], Claim]
    devices: frozenset[str]
    now: datetime

    @property
    def seen(self) -> Observed:
        """What was observed with the plan.

        Raises
        ------
        LookupError
            When there is no plan; then there is a `problem`, and nothing else to ask for.
        """
        if self.observed is None:
            raise LookupError(f"Workload {self.workload.name} names no PlacementPlan")
        return self.observed

    @cached_property
    def pod_sets(self) -> tuple[PodSetView, ...]:
        """Pod sets that request accelerators."""
        return tuple(s for s in self.workload.pod_sets if s.count and wants(s, self.devices))

    @cached_property
    def problem(self) -> Problem | None:
        """Why there is nothing to ask the twin, if so."""
        return find_problem(self)

    @cached_property
    def settings(self) -> Admission:
        """How to answer: the strictest of the policies."""
        given = [p.spec.admission or Admission() for p in self.policies if p is not None]
        if not given:
            return Admission()
        return Admission(
            retry_after=max(given, key=lambda a: a.retry_after_s).retry_after,
            retries=min(a.retries for a in given),
            on_replacement="Retry"
            if any(a.on_replacement == "Retry" for a in given)
            else "Simulate",
        )

    @cached_property
    def seats(self) -> dict[tuple[str, str], tuple[str, int]]:
        """By pod set and hostname: the node, and how many pods go there."""
        hosts = self.observed.hostnames if self.observed else {}
        found: dict[tuple[str, str], tuple[str, int]] = {}
        for part in self.pod_sets:
            for host, count in part.seats or ():
                _, before = found.get((part.name, host), ("", 0))
                found[part.name, host] = (hosts.get(host, ""), before + count)
        return found

    @cached_property
    def placements(self) -> list[WorkloadPlacement]:
        """Kueue's assignment as slots of the plan's workloads."""
        slots: dict[str, list[Slot]] = {}
        for part in self.pod_sets:
            for host, count in part.seats or ():
                node = self.seats[part.name, host][0]
                slots.setdefault(part.workload, []).extend([Slot(node=node)] * count)
        return [WorkloadPlacement(workload=name, slots=s) for name, s in sorted(slots.items())]

    @cached_property
    def digest(self) -> str:
        """Digest of this admission: who, where, since when, and all that a verdict rests on."""
        fingerprints = {name: self.seen.nodes[name].fingerprint for name, _ in
                        self.seats.values()}  # fmt: skip
        return digest(
            {
                "workload": [self.workload.uid, self.workload.reserved_since],
                "sets": [[s.name, s.workload, s.count, s.seats] for s in self.pod_sets],
                "specs": self.seen.specs_digest,
                "policies": [p.spec.as_manifest() if p else None for p in self.policies],
                "nodes": fingerprints,
            }
        )

    @cached_property
    def claimed(self) -> bool:
        """Whether the ledgers hold just this admission."""
        return self.same_nodes and all(c.digest == self.digest for c in self.claims.values())

    @cached_property
    def same_nodes(self) -> bool:
        """Whether the ledgers hold these very nodes, though perhaps under other specs."""
        held = {
            farm: {item.node: item.accelerators for item in claim.nodes}
            for farm, claim in self.claims.items()
        }
        wanted = {farm: nodes for farm, nodes in self.wanted.items() if nodes}
        return bool(wanted) and held == wanted

    @cached_property
    def wanted(self) -> dict[tuple[str, str], dict[str, int]]:
        """Accelerators by farm and node that the assignment takes."""
        found: dict[tuple[str, str], dict[str, int]] = {farm: {} for farm in self.seen.farms}
        sizes = {name: w.accelerators_per_pod for name, w in self.seen.workloads.items()}
        for placement in self.placements:
            for slot in placement.slots:
                on_farm = found[self.seen.nodes[slot.node].farm]
                on_farm[slot.node] = on_farm.get(slot.node, 0) + sizes[placement.workload]
        return found

    def request(self, policy: ValidationPolicy, snapshot: FarmSnapshot) -> ValidationRequest:
        """The question to the twin under one policy."""
        plan = self.seen.plan
        spec = plan.spec.model_copy(update={"policy": policy.metadata.name})
        farms = [farm for farm in self.seen.farms.values() if farm is not None]
        return ValidationRequest(
            farms=farms,
            profiles=sorted(self.seen.profiles.values(), key=lambda p: p.metadata.name),
            policy=policy,
            plan=plan.model_copy(update={"spec": spec}),
            snapshot=snapshot,
        )

    def snapshot(self) -> FarmSnapshot:
        """The state of the farms with every pod where Kueue puts it."""
        survivors = [
            Survivor(workload=placement.workload, slot=index, node=slot.node)
            for placement in self.placements
            for index, slot in enumerate(placement.slots)
        ]
        return build_snapshot(self.seen, {}, 0).model_copy(update={"survivors": survivors})


def gather(
    workload: WorkloadView,
    checks: Mapping[str, CheckView],
    flavors: Mapping[str, FlavorView],
    index: Index,
    look: Callable[[PlacementPlan], Observed],
    now: datetime,
) -> Found:
    """Gather what concerns one Workload.

    Parameters
    ----------
    checks
        All AdmissionChecks by name; those of other controllers are left out.
    look
        Observes a plan as held by this Workload: its pods alone are the plan's own.
    """
    entries = tuple(e for e in workload.entries if e.name in checks and checks[e.name].ours)
    policies = tuple(_policy(checks[entry.name], index) for entry in entries)
    devices = frozenset(n for p in index.profiles().values() for n in p.spec.resource_names)
    bare = Found(
        workload=workload,
        entries=entries,
        policies=policies,
        pods=(),
        added={part.name: _added(workload, part, flavors) for part in workload.pod_sets},
        observed=None,
        claims=_claims(workload, index),
        devices=devices,
        now=now,
    )
    names = {part.plan for part in bare.pod_sets}
    plan = index.plan(workload.namespace, names.pop()) if len(names) == 1 else None
    if plan is None:
        return bare
    seen = look(_admitted_plan(plan, bare))
    # Its own pods are no usage, and none of them is a survivor: the assignment says where all go.
    return replace(bare, observed=replace(seen, pods=()), pods=seen.pods)


def _policy(check: CheckView, index: Index) -> ValidationPolicy | None:
    return index.policy(check.parameters[2]) if check.parameters else None


def _claims(workload: WorkloadView, index: Index) -> dict[tuple[str, str], Claim]:
    return {
        (farm.kind, farm.metadata.name): claim
        for farm in index.farms()
        if (ledger := index.ledger(f"{farm.kind.lower()}.{farm.metadata.name}"))
        for claim in ledger.spec.claims
        if claim.uid == workload.uid
    }


def _added(workload: WorkloadView, part: PodSetView, flavors: Mapping[str, FlavorView]) -> Added:
    added = Added(part.places)
    for name in part.flavors:
        added |= flavors[name].added if name in flavors else Added()
    for entry in workload.entries:
        for name, more in entry.added:
            added |= more if name == part.name else Added()
    return added


def _admitted_plan(plan: PlacementPlan, bare: Found) -> PlacementPlan:
    """The plan as admitted: the Workload's identity, and as many pods as Kueue lets in."""
    counts: dict[str, int] = {}
    for part in bare.pod_sets:
        counts[part.workload] = counts.get(part.workload, 0) + part.count
    workloads = [
        _sized(workload, counts[workload.name])
        for workload in plan.spec.workloads
        if workload.name in counts
    ]
    metadata = plan.metadata.model_copy(update={"uid": bare.workload.uid})
    spec = plan.spec.model_copy(update={"workloads": workloads})
    return plan.model_copy(update={"metadata": metadata, "spec": spec, "status": None})


def _sized(workload: Workload, pods: int) -> Workload:
    elastic = workload.elastic
    if elastic is not None and elastic.min_pods >= pods:
        elastic = None
    return workload.model_copy(update={"pods": pods, "surge": 0, "elastic": elastic})
