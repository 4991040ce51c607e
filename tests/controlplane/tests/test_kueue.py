"""Kueue runs outside the cluster and places a gang within one topology domain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from kfarm_controlplane import ControlPlane, KubectlError, wait_until

RACK = "kfarm.dev/rack"
NODES_PER_RACK = 4
GANG = 4
GPUS = {"cpu": "96", "memory": "2Ti", "pods": "110", "nvidia.com/gpu": "8"}

QUEUES = """
apiVersion: kueue.x-k8s.io/v1beta2
kind: Topology
metadata: {name: racks}
spec:
  levels: [{nodeLabel: kfarm.dev/rack}, {nodeLabel: kubernetes.io/hostname}]
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: ResourceFlavor
metadata: {name: h100}
spec: {nodeLabels: {kfarm.dev/pool: h100}, topologyName: racks}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: ClusterQueue
metadata: {name: farm}
spec:
  namespaceSelector: {}
  resourceGroups:
  - coveredResources: [nvidia.com/gpu]
    flavors:
    - name: h100
      resources: [{name: nvidia.com/gpu, nominalQuota: 32}]
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: LocalQueue
metadata: {name: team, namespace: default}
spec: {clusterQueue: farm}
"""


def node(index: int) -> dict[str, Any]:
    name = f"n{index}"
    labels = {
        "kubernetes.io/hostname": name,
        "kfarm.dev/pool": "h100",
        RACK: f"r{index // NODES_PER_RACK}",
    }
    annotations = {"kwok.x-k8s.io/node": "fake"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "status": {"capacity": GPUS, "allocatable": GPUS},
    }


def gang(name: str, queue: str) -> dict[str, Any]:
    container = {"name": "main", "image": "x", "resources": {"limits": {"nvidia.com/gpu": "8"}}}
    template = {
        "metadata": {"annotations": {"kueue.x-k8s.io/podset-required-topology": RACK}},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"kueue.x-k8s.io/queue-name": queue},
        },
        "spec": {"parallelism": GANG, "completions": GANG, "template": template},
    }


@pytest.fixture(scope="module")
def kueue(control_plane: object) -> Iterator[ControlPlane]:
    """A control plane of its own: Kueue's webhooks would stay in the session's."""
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("needs a control plane of our own, not $KFARM_TEST_KUBECONFIG")
    with ControlPlane() as plane:
        plane.start_kueue()
        plane.apply(*(node(index) for index in range(3 * NODES_PER_RACK)))
        plane.apply(*yaml.safe_load_all(QUEUES))
        yield plane


def running(plane: ControlPlane, job: str) -> list[str]:
    pods = plane.get("pods", "--selector", f"batch.kubernetes.io/job-name={job}")["items"]
    return [pod["spec"]["nodeName"] for pod in pods if pod["status"]["phase"] == "Running"]


def test_a_gang_is_admitted_into_one_rack(kueue: ControlPlane) -> None:
    kueue.apply(gang("fits", "team"))
    wait_until(lambda: len(running(kueue, "fits")) == GANG, 30, "start of the gang")
    racks = {int(name[1:]) // NODES_PER_RACK for name in running(kueue, "fits")}
    assert len(racks) == 1
    kueue.apply(gang("too-much", "team"))
    assert kueue.get("job", "too-much")["spec"]["suspend"] is True
    assert running(kueue, "too-much") == []
    kueue.kubectl("delete", "job", "fits")
    wait_until(lambda: len(running(kueue, "too-much")) == GANG, 30, "start of the next gang")


def test_webhooks_and_conversion_reach_the_manager(kueue: ControlPlane) -> None:
    old = kueue.get("clusterqueues.v1beta1.kueue.x-k8s.io", "farm")
    assert old["apiVersion"] == "kueue.x-k8s.io/v1beta1"
    queue = yaml.safe_load(QUEUES.split("---")[2])
    queue["metadata"]["name"] = "bad"
    queue["spec"]["resourceGroups"] *= 2
    with pytest.raises(KubectlError, match="admission webhook"):
        kueue.apply(queue)


def test_the_manager_comes_back_after_a_kill(kueue: ControlPlane) -> None:
    kueue.kill_component("kueue")
    with pytest.raises(KubectlError, match="connection refused"):
        kueue.apply(gang("refused", "team"))
    kueue.start_component("kueue")
    wait_until(lambda: bool(kueue.apply(gang("accepted", "team"))), 30, "the webhooks")
