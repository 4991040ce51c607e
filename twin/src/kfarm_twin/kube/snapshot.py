"""A FarmSnapshot of kfarm as a cluster: nodes with devices only."""

from __future__ import annotations

from kfarm_api.snapshot import FarmSnapshot, NodeState

from kfarm_twin.kube.objects import Cluster, Node, Pod
from kfarm_twin.kube.podspec import HOSTNAME, PodClass, Taint
from kfarm_twin.kube.requests import Asked

DEVICES = "kfarm.dev/accelerator"
"""Name under which a snapshot's devices can be asked for: a snapshot does not keep the vendor's."""
NODE_CPU_MILLI, NODE_MEMORY, NODE_PODS = 192_000, 2 << 40, 110
"""A node of a snapshot says nothing of these (assumption: two sockets of 96 cores, 2 TiB)."""


def snapshot_cluster(snapshot: FarmSnapshot, made: Cluster) -> None:
    """Add a snapshot's nodes; devices in use count as held by one pod on the node."""
    for state in snapshot.nodes:
        made.nodes.append(_node(state))
        if state.used:
            made.bound.append(_holder(state))


def _node(state: NodeState) -> Node:
    taints = () if state.ready else (Taint("node.kubernetes.io/not-ready", "", "NoSchedule"),)
    labels = {
        HOSTNAME: state.name,
        "kfarm.dev/farm": state.farm,
        "kfarm.dev/cluster": state.cluster,
    }
    amounts = {"cpu": NODE_CPU_MILLI, "memory": NODE_MEMORY, "pods": NODE_PODS}
    return Node(
        name=state.name,
        labels=labels,
        allocatable={**amounts, DEVICES: state.accelerators},
        taints=taints,
        unschedulable=not state.schedulable,
    )


def _holder(state: NodeState) -> Pod:
    """A pod that stands for all that others hold on a node."""
    asked = Asked(((DEVICES, state.used),), ((DEVICES, state.used),), (0, 0))
    empty = PodClass(
        "kfarm-system", (), asked, (), None, None, (), (), (), 1, (), False, (), (), (), (), False
    )
    return Pod(
        f"holder-{state.name}", "kfarm-system", empty, priority=2_000_001_000, node=state.name
    )
