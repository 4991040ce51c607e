"""Kueue's objects for a farm of the tests, written by hand: queues, flavors, checks, jobs."""

from __future__ import annotations

from typing import Any

Body = dict[str, Any]
TAINT = {"key": "kfarm.dev/farm", "operator": "Exists", "effect": "NoSchedule"}
LEVELS = ("kfarm.dev/scalable-unit", "kfarm.dev/rack", "kubernetes.io/hostname")


def kueue(kind: str, name: str, spec: Body, namespace: str | None = None) -> Body:
    """An object of Kueue's group."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": kind,
        "metadata": metadata,
        "spec": spec,
    }


def topology(name: str, *levels: str) -> Body:
    """A Topology of node labels, the highest first."""
    return kueue("Topology", name, {"levels": [{"nodeLabel": level} for level in levels]})


def flavor(name: str, farm: str, topology_name: str | None) -> Body:
    """The nodes of a farm as a ResourceFlavor."""
    spec: Body = {"nodeLabels": {"kfarm.dev/farm": farm}, "tolerations": [TAINT]}
    return kueue("ResourceFlavor", name, spec | ({"topologyName": topology_name} if topology_name
                                                 else {}))  # fmt: skip


def check(name: str, policy: str | None, controller: str = "kfarm.dev/twin") -> Body:
    """An AdmissionCheck, by default for kfarm to answer."""
    spec: Body = {"controllerName": controller}
    if policy is not None:
        spec["parameters"] = {"apiGroup": "kfarm.dev", "kind": "ValidationPolicy", "name": policy}
    return kueue("AdmissionCheck", name, spec)


def cluster_queue(name: str, flavor_name: str, quota: int, *checks: str) -> Body:
    """A ClusterQueue of GPUs behind checks."""
    resource = {"name": "nvidia.com/gpu", "nominalQuota": quota}
    group = {
        "coveredResources": ["nvidia.com/gpu"],
        "flavors": [{"name": flavor_name, "resources": [resource]}],
    }
    spec: Body = {"namespaceSelector": {}, "resourceGroups": [group]}
    if checks:
        spec["admissionChecksStrategy"] = {"admissionChecks": [{"name": c} for c in checks]}
    return kueue("ClusterQueue", name, spec)


def local_queue(namespace: str, queue: str) -> Body:
    """The LocalQueue ``main`` of a namespace."""
    return kueue("LocalQueue", "main", {"clusterQueue": queue}, namespace)


def queued(job: Body, level: str | None = None) -> Body:
    """A Job that waits in the queue ``main``, its pods within one domain of `level` if given."""
    job["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "main"}
    annotations = {"kueue.x-k8s.io/podset-required-topology": level} if level else {}
    job["spec"]["template"]["metadata"].setdefault("annotations", {}).update(annotations)
    job["spec"]["suspend"] = True
    return job
