"""From a farm to its nodes: names, labels and places. The operator and the twin both use this."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kfarm_api.farm import Cluster, Farm

LABEL_FARM = "kfarm.dev/farm"
LABEL_FARM_KIND = "kfarm.dev/farm-kind"
LABEL_CLUSTER = "kfarm.dev/cluster"
LABEL_HALL = "kfarm.dev/hall"
LABEL_ROW = "kfarm.dev/row"
LABEL_RACK = "kfarm.dev/rack"
LABEL_SCALABLE_UNIT = "kfarm.dev/scalable-unit"
LABEL_CDU = "kfarm.dev/cdu"
LABEL_PDU = "kfarm.dev/pdu"
LABEL_SPARE = "kfarm.dev/spare"
LABEL_INDEX = "kfarm.dev/node-index"
LABEL_ACCELERATOR = "kfarm.dev/accelerator"
LABEL_HOSTNAME = "kubernetes.io/hostname"
LABEL_KWOK = "kwok.x-k8s.io/node"

LABEL_PLAN = "kfarm.dev/placement-plan"
LABEL_WORKLOAD = "kfarm.dev/workload"
LABEL_ENFORCE = "kfarm.dev/enforce"
GATE = "kfarm.dev/twin-validated"
TAINT = "kfarm.dev/farm"
CHECK_CONTROLLER = "kfarm.dev/twin"
"""The controllerName of the AdmissionChecks that kfarm answers."""
KUEUE_WORKLOAD = "kueue.x-k8s.io/workload"
KUEUE_POD_SET = "kueue.x-k8s.io/podset"
"""Annotation and label by which Kueue marks the pods of a Workload."""


@dataclass(frozen=True)
class NodePlace:
    """Where one node stands. All indices count from 0 within the cluster.

    `pdu` and `cdu` are None where the farm describes none.
    """

    farm_kind: str
    farm: str
    cluster: str
    index: int
    name: str
    rack: int
    row: int
    hall: int
    scalable_unit: int
    pdu: int | None
    cdu: int | None
    spare: bool

    @property
    def prefix(self) -> str:
        """Prefix that makes a domain's label value unique among all farms."""
        return f"{self.farm}-{self.cluster}"

    def labels(self) -> dict[str, str]:
        """Topology labels of the Node; values name one domain among all farms."""
        labels = {
            LABEL_FARM: self.farm,
            LABEL_FARM_KIND: self.farm_kind,
            LABEL_CLUSTER: self.prefix,
            LABEL_HALL: f"{self.prefix}-hall{self.hall}",
            LABEL_ROW: f"{self.prefix}-row{self.row}",
            LABEL_RACK: f"{self.prefix}-r{self.rack:04d}",
            LABEL_SCALABLE_UNIT: f"{self.prefix}-su{self.scalable_unit:02d}",
            LABEL_INDEX: str(self.index),
        }
        if self.pdu is not None:
            labels[LABEL_PDU] = f"{self.prefix}-pdu{self.pdu:03d}"
        if self.cdu is not None:
            labels[LABEL_CDU] = f"{self.prefix}-cdu{self.cdu:02d}"
        if self.spare:
            labels[LABEL_SPARE] = "true"
        return labels


def node_name(farm: str, cluster: str, index: int) -> str:
    """Name of the simulated Node with this index."""
    return f"{farm}-{cluster}-{index:04d}"


def cluster_places(farm: Farm, cluster: Cluster) -> Iterator[NodePlace]:
    """Places of all nodes of a cluster, spares last."""
    rack, fabric, feed = cluster.rack, cluster.fabric, cluster.feed
    for index in range(cluster.nodes):
        rack_index = index // rack.nodes
        row = rack_index // rack.per_row
        yield NodePlace(
            farm_kind=farm.kind,
            farm=farm.metadata.name,
            cluster=cluster.name,
            index=index,
            name=node_name(farm.metadata.name, cluster.name, index),
            rack=rack_index,
            row=row,
            hall=row // rack.rows_per_hall,
            scalable_unit=index // fabric.nodes_per_scalable_unit if fabric else 0,
            pdu=index // feed.nodes_per_pdu if feed else None,
            cdu=index // cluster.cooling.nodes_per_cdu if cluster.cooling.nodes_per_cdu else None,
            spare=index >= cluster.nodes - cluster.spares,
        )


def farm_places(farm: Farm) -> Iterator[NodePlace]:
    """Places of all nodes of a farm, cluster by cluster."""
    for cluster in farm.spec.clusters:
        yield from cluster_places(farm, cluster)
