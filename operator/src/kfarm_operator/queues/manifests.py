"""The objects of Kueue that a farm asks for. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kfarm_api.farm import Cluster, Farm
from kfarm_api.layout import (
    LABEL_CLUSTER,
    LABEL_FARM,
    LABEL_FARM_KIND,
    LABEL_HALL,
    LABEL_HOSTNAME,
    LABEL_RACK,
    LABEL_ROW,
    LABEL_SCALABLE_UNIT,
    TAINT,
)
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.queues import Share, ShareQueue
from kfarm_api.snapshot import digest

from kfarm_operator.farms.decide import ANNOTATION_DIGEST, ANNOTATION_OWNER
from kfarm_operator.queues.quota import (
    Amounts,
    Flavor,
    Spread,
    borrowed,
    flavors_of,
    lent,
    preference,
    spread,
    take,
)

Body = dict[str, Any]
API_VERSION = "kueue.x-k8s.io/v1beta2"
UNLIMITED = "1P"
"""Quota of what is not limited; 256 queues of it are still far from 2**63."""


def objects_of(
    farm: Farm, profiles: Mapping[str, AcceleratorProfile]
) -> tuple[list[Body], Spread, list[Flavor]]:
    """What the farm asks for, in the order in which it has to be made, and how quota is spread."""
    flavors = flavors_of(farm, profiles)
    shared = spread(farm.spec.shares, flavors)
    made = [_topology(farm), *(_flavor(farm, flavor) for flavor in flavors)]
    if farm.spec.shares:
        made.append(_root(farm, shared, flavors))
        for share in farm.spec.shares:
            made += _share(farm, share, shared.given[share.name], flavors)
    return [_marked(farm, body) for body in made], shared, flavors


def _marked(farm: Farm, body: Body) -> Body:
    """With the owner's marks; the reference lets the garbage collector see to what is missed."""
    owner = {
        "apiVersion": farm.api_version,
        "kind": farm.kind,
        "name": farm.metadata.name,
        "uid": farm.metadata.uid or "",
    }
    metadata = {
        "name": body["metadata"]["name"],
        "labels": {LABEL_FARM: farm.metadata.name, LABEL_FARM_KIND: farm.kind},
        "annotations": {
            ANNOTATION_OWNER: farm.metadata.uid or "",
            ANNOTATION_DIGEST: digest([body["spec"]]),
        },
        "ownerReferences": [owner],
    }
    return {**body, "metadata": metadata}


def _object(kind: str, name: str, spec: Body) -> Body:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def levels(farm: Farm) -> list[str]:
    """Topology levels from the widest to the node.

    Kueue takes a domain for a part of the one above it. Scalable units count nodes and not rows, so
    they stand below halls, rows and racks only as far as each lies within one of these in every
    cluster; a rack or row that a unit's border cuts counts as two.
    """
    above = [LABEL_HALL, LABEL_ROW, LABEL_RACK]
    place = 0
    while place < len(above) and all(_nested(c, place) for c in farm.spec.clusters):
        place += 1
    return [*above[:place], LABEL_SCALABLE_UNIT, *above[place:], LABEL_HOSTNAME]


def _nested(cluster: Cluster, level: int) -> bool:
    """Whether units end where halls (level 0), rows (1) or racks (2) do.

    Whatever the number of nodes: a farm that grows keeps its levels, which Kueue never changes.
    """
    if cluster.fabric is None:
        return level < 2  # all nodes carry one unit, which is no domain to ask for
    rack = cluster.rack.nodes
    row = rack * cluster.rack.per_row
    size = (row * cluster.rack.rows_per_hall, row, rack)[level]
    return size % cluster.fabric.nodes_per_scalable_unit == 0


def _topology(farm: Farm) -> Body:
    spec = {"levels": [{"nodeLabel": label} for label in levels(farm)]}
    return _object("Topology", farm.metadata.name, spec)


def _flavor(farm: Farm, flavor: Flavor) -> Body:
    name = farm.metadata.name
    toleration = {"key": TAINT, "operator": "Equal", "value": name, "effect": "NoSchedule"}
    spec = {
        "nodeLabels": {LABEL_CLUSTER: flavor.name},
        "tolerations": [toleration],
        "topologyName": name,
    }
    return _object("ResourceFlavor", flavor.name, spec)


def _root(farm: Farm, shared: Spread, flavors: Sequence[Flavor]) -> Body:
    """The farm's Cohort; what no share claims is its own and so common to all."""
    spec = _weighted(None)
    if farm.spec.kueue is not None and farm.spec.kueue.parent is not None:
        spec["parentName"] = farm.spec.kueue.parent
    common = [flavor for flavor in flavors if flavor.name in shared.rest]
    if common:
        spec["resourceGroups"] = [_pool(common, shared.rest, None, None)]
    return _object("Cohort", farm.metadata.name, spec)


def _weighted(weight: int | None) -> Body:
    """Always said: a spec whose last field is given up would be null, which is refused."""
    return {"fairSharing": {"weight": str(1 if weight is None else weight)}}


def _pool(
    flavors: Sequence[Flavor],
    amounts: Amounts,
    lending: Amounts | None,
    borrowing: Amounts | None,
) -> Body:
    """A resource group of devices alone, for Cohorts."""
    resources = sorted({flavor.resource for flavor in flavors})
    return {
        "coveredResources": resources,
        "flavors": [
            {
                "name": flavor.name,
                "resources": [
                    _devices(resource, flavor, amounts, lending, borrowing)
                    for resource in resources
                ],
            }
            for flavor in flavors
        ],
    }


def _devices(
    resource: str,
    flavor: Flavor,
    amounts: Amounts,
    lending: Amounts | None,
    borrowing: Amounts | None,
) -> Body:
    if resource != flavor.resource:
        return {"name": resource, "nominalQuota": "0"}
    quota = {"name": resource, "nominalQuota": str(amounts.get(flavor.name, 0))}
    if lending is not None:
        quota["lendingLimit"] = str(lending[flavor.name])
    if borrowing is not None:
        quota["borrowingLimit"] = str(borrowing[flavor.name])
    return quota


def _share(farm: Farm, share: Share, given: Amounts, flavors: Sequence[Flavor]) -> list[Body]:
    """A ClusterQueue; for a share with queues a Cohort with one for each of them."""
    name = f"{farm.metadata.name}-{share.name}"
    order = preference(share, flavors)
    limits = (lent(share, given, order), borrowed(share, given, order))
    if share.queues is None:
        group = _group(farm, order, given, *limits)
        return [_queue(farm, share, share, name, farm.metadata.name, group)]
    left = dict(given)
    parts = [
        (queue, take(queue.guaranteed, [f.name for f in order], left)) for queue in share.queues
    ]
    spec = {"parentName": farm.metadata.name, **_weighted(share.weight)}
    spec["resourceGroups"] = [_pool(order, left, *limits)]
    made = [_object("Cohort", name, spec)]
    for queue, part in parts:
        group = _group(farm, order, part, None, None)
        made.append(_queue(farm, share, queue, f"{name}-{queue.name}", name, group))
    return made


def _group(
    farm: Farm,
    flavors: Sequence[Flavor],
    given: Amounts,
    lending: Amounts | None,
    borrowing: Amounts | None,
) -> Body:
    """The one resource group of a ClusterQueue: devices with CPU and memory of the same cluster.

    Only devices are shared out. CPU and memory are those of all nodes in every queue: what nodes
    have of it Kueue counts node by node when it assigns topology.
    """
    further = sorted(farm.spec.kueue.further_resources) if farm.spec.kueue else []
    devices = sorted({flavor.resource for flavor in flavors})
    return {
        "coveredResources": [*devices, "cpu", "memory", *further],
        "flavors": [
            {
                "name": flavor.name,
                "resources": [
                    *(_devices(name, flavor, given, lending, borrowing) for name in devices),
                    {"name": "cpu", "nominalQuota": flavor.cpu},
                    {"name": "memory", "nominalQuota": flavor.memory},
                    *({"name": name, "nominalQuota": UNLIMITED} for name in further),
                ],
            }
            for flavor in flavors
        ],
    }


def _queue(
    farm: Farm, share: Share, owner: Share | ShareQueue, name: str, cohort: str, group: Body
) -> Body:
    selector = owner.namespaces
    spec: Body = {
        "cohortName": cohort,
        "namespaceSelector": {"matchLabels": selector.match_labels} if selector else {},
        "resourceGroups": [group],
        "preemption": {
            "reclaimWithinCohort": share.reclaim or "Any",
            "withinClusterQueue": share.within_share or "LowerPriority",
        },
        "flavorFungibility": {
            "whenCanBorrow": "TryNextFlavor",
            "whenCanPreempt": "TryNextFlavor",
        },
        **_weighted(owner.weight),
    }
    if farm.spec.kueue is not None and farm.spec.kueue.admission_check is not None:
        check = {"name": farm.spec.kueue.admission_check}
        spec["admissionChecksStrategy"] = {"admissionChecks": [check]}
    return _object("ClusterQueue", name, spec)
