"""From what was observed to the question for the twin. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping

from kfarm_api.farm import Cluster, Farm
from kfarm_api.layout import farm_places
from kfarm_api.snapshot import FarmSnapshot, NodeState, Survivor
from kfarm_api.telemetry import Correction
from kfarm_twin.request import ValidationRequest

from kfarm_operator.plans.match import mismatch
from kfarm_operator.plans.observe import Observed, pod_usage
from kfarm_operator.views import NodeView, PodView

Survivors = dict[tuple[str, int], PodView]
"""Pods that stay where they are, by workload and slot."""


def build_request(observed: Observed, survivors: Survivors, epoch: int) -> ValidationRequest:
    """The question: these specs, this state, these survivors.

    Raises
    ------
    ValueError
        When the policy or a farm is missing; `decide` rules that out beforehand.
    """
    if observed.policy is None:
        raise ValueError(f"no ValidationPolicy named {observed.plan.spec.policy!r}")
    return ValidationRequest(
        farms=[farm for farm in observed.farms.values() if farm is not None],
        profiles=sorted(observed.profiles.values(), key=lambda profile: profile.metadata.name),
        policy=observed.policy,
        plan=observed.plan,
        snapshot=build_snapshot(observed, survivors, epoch),
    )


def build_snapshot(observed: Observed, survivors: Survivors, epoch: int) -> FarmSnapshot:
    """The state that the question starts from."""
    farms = [farm for farm in observed.farms.values() if farm is not None]
    used = used_by_others(observed, survivors)
    return FarmSnapshot(
        nodes=[state for farm in farms for state in _states(observed, used, farm)],
        survivors=[
            Survivor(workload=workload, slot=slot, node=_node_of(observed, pod))
            for (workload, slot), pod in sorted(survivors.items(), key=lambda item: item[0])
        ],
        epoch=epoch,
        corrections=[found for farm in farms for found in corrections(farm)],
    )


def corrections(farm: Farm) -> list[Correction]:
    """What the latest measurements say of the coolant, where the farm wants that to count."""
    telemetry = farm.spec.telemetry
    if telemetry is None or telemetry.correct != "Inlet" or farm.status is None:
        return []
    latest = {row.cluster: row.error for row in farm.status.drift if row.error is not None}
    named = [(c.name, latest[c.name]) for c in farm.spec.clusters if c.name in latest]
    found = [(name, min(50, round(float(error or 0)))) for name, error in named]
    return [
        Correction(farm_kind=farm.kind, farm=farm.metadata.name, cluster=name, inlet=kelvins)
        for name, kelvins in found
        if kelvins > 0
    ]


def _node_of(observed: Observed, pod: PodView) -> str:
    return pod.node or observed.hostnames[pod.pinned or ""]


def used_by_others(observed: Observed, survivors: Survivors) -> dict[str, int]:
    """Accelerators by node that are not free for missing slots, survivors apart.

    Beside pods and claims of others: own pods that run on although they match the plan no longer.
    """
    used = dict(observed.usage)
    staying = {pod.uid for pod in survivors.values()}
    for pod in observed.pods:
        held = None if pod.uid in staying else pod_usage(pod, observed.hostnames)
        if held is not None:
            used[held.node] = used.get(held.node, 0) + held.accelerators
    return used


def _states(observed: Observed, used: Mapping[str, int], farm: Farm) -> list[NodeState]:
    clusters = {cluster.name: cluster for cluster in farm.spec.clusters}
    seated = {
        (node.cluster, node.index): node
        for node in observed.nodes.values()
        if node.farm == (farm.kind, farm.metadata.name)
    }
    return [
        _state(
            observed,
            used,
            clusters[place.cluster],
            (farm.kind, farm.metadata.name, place.index, place.name),
            seated.get((place.cluster, place.index)),
        )
        for place in farm_places(farm)
    ]


def _state(
    observed: Observed,
    used: Mapping[str, int],
    cluster: Cluster,
    place: tuple[str, str, int, str],
    node: NodeView | None,
) -> NodeState:
    kind, farm, index, name = place
    return NodeState(
        name=node.name if node else name,
        farm_kind=kind,
        farm=farm,
        cluster=cluster.name,
        index=index,
        uid=node.uid if node else "",
        ready=node.ready if node else False,
        schedulable=node.schedulable if node else False,
        accelerators=offered(observed, node) if node else 0,
        used=used.get(node.name, 0) if node else 0,
        live=cluster.source.selector is not None,
        free_at=observed.free_at.get(node.name) if node else None,
    )


def offered(observed: Observed, node: NodeView) -> int:
    """Devices of its cluster's profile that a node can give; 0 for a node of no known cluster.

    What is reported bad (`FarmStatus.unhealthy`) counts as lost, whether or not its device plugin
    has taken it out of allocatable already.
    """
    farm = observed.farms.get(node.farm)
    for cluster in farm.spec.clusters if farm else ():
        if cluster.name == node.cluster:
            profile = observed.profiles.get(cluster.accelerator)
            names = profile.spec.resource_names if profile else ()
            sound = cluster.accelerators_per_node - observed.lost.get(node.name, 0)
            return max(0, min(sound, max((node.devices(name) for name in names), default=0)))
    return 0


def unsound(observed: Observed, name: str) -> str | None:
    """Whether a node has fewer sound accelerators left than the plan's slots there need."""
    node = observed.nodes.get(name)
    if node is None or name not in observed.lost:
        return None
    workloads = [observed.workloads.get(v.workload) for v in observed.slots if v.slot.node == name]
    needed = sum(workload.accelerators_per_pod for workload in workloads if workload)
    if needed <= offered(observed, node):
        return None
    return f"{observed.lost[name]} accelerators of node {name} are reported bad"


def find_survivors(observed: Observed) -> Survivors:
    """Pods that hold a place and match the plan as it is now, each with a slot.

    Slots are numbered without gaps, in the order that the pods had before. So a refusal, which
    lists survivors alone, leaves the numbers as they are and is not its own change of inputs.
    """
    seats = {view.slot.pod_uid: view.index for view in observed.slots}
    survivors: Survivors = {}
    for name, workload in observed.workloads.items():
        staying = [pod for pod in observed.pods if pod.workload == name and _stays(observed, pod)]
        staying.sort(key=lambda pod: (seats.get(pod.uid, len(seats)), pod.order))
        for index, pod in enumerate(staying[: workload.pods + workload.surge]):
            survivors[name, index] = pod
    return survivors


def _stays(observed: Observed, pod: PodView) -> bool:
    workload = observed.workloads.get(pod.workload)
    usage = pod_usage(pod, observed.hostnames)
    return (
        workload is not None
        and usage is not None
        and usage.node in observed.nodes
        and mismatch(pod, workload, observed.profiles) is None
    )
