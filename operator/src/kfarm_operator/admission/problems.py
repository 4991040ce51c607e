"""Why a placement cannot be put to the twin, and the remedy. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kfarm_api.plan import MAX_PODS, Workload

from kfarm_operator.admission.views import PodSetView
from kfarm_operator.plans.match import shape_mismatch
from kfarm_operator.plans.observe import Observed
from kfarm_operator.plans.request import offered

if TYPE_CHECKING:
    from kfarm_operator.admission.observe import Found

Cause = Literal["Waiting", "Plan", "Place"]


@dataclass(frozen=True)
class Problem:
    """Why the placement cannot be put to the twin.

    `Waiting`: Kueue has not said all. `Plan`: the manifests do not go together. `Place`: the nodes
    cannot take these pods now.
    """

    cause: Cause
    reason: str
    message: str


def wants(part: PodSetView, devices: frozenset[str]) -> bool:
    """Whether the pods of a pod set request accelerators."""
    asked = any(name in devices for name, _ in part.shape.devices)
    return asked or "resourceClaims" in part.shape.oddities


def find_problem(found: Found) -> Problem | None:
    """What keeps the placement of a Workload from being simulated, if anything."""
    return _unassigned(found) or _ill_described(found) or _ill_placed(found)


def _unassigned(found: Found) -> Problem | None:
    for part in found.pod_sets:
        if part.seats is None:
            return Problem("Waiting", "NoTopologyAssignment", _no_hosts(part))
        seated = sum(count for _, count in part.seats)
        if seated != part.count:
            return Problem(
                "Waiting",
                "TopologyIncomplete",
                f"Kueue admitted {part.count} pods of pod set {part.name} and placed {seated}; "
                "kfarm waits until both agree",
            )
    return None


def _no_hosts(part: PodSetView) -> str:
    word, _, detail = part.unassigned.partition(": ")
    lead = f"kfarm validates exact placements, and pod set {part.name} has none: "
    if word == "Delayed":
        return f"{lead}Kueue decides it after another check; nothing to do"
    if word == "Level":
        return (
            f"{lead}Kueue places down to {detail} only. Add the level kubernetes.io/hostname to "
            "the Topology of the ResourceFlavor"
        )
    if word == "Unreadable":
        return f"{lead}Kueue's topologyAssignment cannot be read: {detail}"
    return (
        f"{lead}Kueue's topology-aware scheduling did not place it. Give the ResourceFlavor a "
        "topologyName whose Topology ends in kubernetes.io/hostname"
    )


def _ill_described(found: Found) -> Problem | None:
    names = sorted({part.plan for part in found.pod_sets})
    if len(names) > 1 or "" in names:
        shown = " and ".join(name or "none" for name in names)
        return _plan_problem(
            "PlanNotNamed",
            "all pods of a Workload that request accelerators must name one PlacementPlan in the "
            f"label kfarm.dev/placement-plan of their template; found: {shown}",
        )
    if not names:
        return None
    observed = found.observed
    if observed is None:
        return _plan_problem(
            "PlanNotFound",
            f"no PlacementPlan {names[0]} in namespace {found.workload.namespace}; apply it: it "
            "says how the pods behave",
        )
    if observed.plan.spec.placement != "Kueue":
        return _plan_problem(
            "PlanPlacesItself",
            f"PlacementPlan {names[0]} has spec.placement: Kfarm; set it to Kueue for pods that "
            "Kueue places",
        )
    return _missing_reference(observed) or _different(found, observed)


def _missing_reference(observed: Observed) -> Problem | None:
    for (kind, name), farm in observed.farms.items():
        if farm is None:
            return _plan_problem("FarmNotFound", f"no {kind} named {name}; apply it or correct "
                                 "spec.farms of the plan")  # fmt: skip
        for cluster in farm.spec.clusters:
            if cluster.accelerator not in observed.profiles:
                return _plan_problem(
                    "ProfileNotFound",
                    f"{kind} {name} names AcceleratorProfile {cluster.accelerator}, which does "
                    "not exist; apply it",
                )
    return None


def _different(found: Found, observed: Observed) -> Problem | None:
    for part in found.pod_sets:
        workload = observed.workloads.get(part.workload)
        if workload is None:
            return _plan_problem(
                "WorkloadNotInPlan",
                f"pod set {part.name} names workload {part.workload or 'none'} in the label "
                f"kfarm.dev/workload, which PlacementPlan {part.plan} does not have",
            )
        difference = shape_mismatch(part.shape, workload, observed.profiles)
        if difference is not None:
            return _plan_problem(
                "PodsDiffer",
                f"pod set {part.name} {difference} (workload {workload.name} of PlacementPlan "
                f"{part.plan}); make template and plan agree",
            )
        if workload.pods > MAX_PODS:
            return _plan_problem(
                "TooManyPods", f"{workload.pods} pods; kfarm validates at most {MAX_PODS} at once"
            )
    return None


def _plan_problem(reason: str, message: str) -> Problem:
    return Problem("Plan", reason, message)


def _ill_placed(found: Found) -> Problem | None:
    observed = found.observed
    if observed is None:
        return None
    asked: dict[str, int] = {}
    for part in found.pod_sets:
        workload = observed.workloads[part.workload]
        for host in dict.fromkeys(host for host, _ in part.seats or ()):
            name, count = found.seats[part.name, host]
            fault = _footing(observed, host, name) or _unlike(observed, name, workload)
            if fault is not None:
                return fault
            asked[name] = asked.get(name, 0) + count * workload.accelerators_per_pod
    return _crowded(observed, asked)


def _footing(observed: Observed, host: str, name: str) -> Problem | None:
    node = observed.nodes.get(name)
    farms = ", ".join(farm for _, farm in observed.farms)
    if node is None:
        return Problem(
            "Place",
            "NodeUnknown",
            f"Kueue chose node {host}, which is gone or belongs to none of the plan's farms "
            f"({farms}); tie the ResourceFlavor to their nodes by kfarm.dev/farm",
        )
    if node.ready and node.schedulable:
        return None
    what = "does not take pods" if node.ready else "is not Ready"
    return Problem("Place", "NodeLost", f"node {name}, which Kueue chose, {what}")


def _unlike(observed: Observed, name: str, workload: Workload) -> Problem | None:
    node = observed.nodes[name]
    farm = observed.farms.get(node.farm)
    cluster = (
        next((c for c in farm.spec.clusters if c.name == node.cluster), None) if farm else None
    )
    if cluster is not None and cluster.accelerator in workload.accelerators:
        return None
    has = cluster.accelerator if cluster else "no cluster of the farm"
    return Problem(
        "Plan",
        "OtherAccelerator",
        f"Kueue chose node {name} ({has}); workload {workload.name} is described for "
        f"{' or '.join(workload.accelerators)}: name it in the plan, or queue for another flavor",
    )


def _crowded(observed: Observed, asked: Mapping[str, int]) -> Problem | None:
    for name, wanted in sorted(asked.items()):
        free = offered(observed, observed.nodes[name]) - observed.usage.get(name, 0)
        if wanted > free:
            return Problem(
                "Place",
                "NodeTaken",
                f"node {name}, which Kueue chose, has {max(0, free)} of {wanted} accelerators "
                "free: others run there or have claimed them through kfarm",
            )
    return None
