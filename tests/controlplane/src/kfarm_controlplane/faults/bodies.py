"""Manifests of the scenarios: a farm small enough to follow by eye, plans, pods, queues."""

from __future__ import annotations

from typing import Any

Body = dict[str, Any]
HOLD = "example.com/hold"
"""A scheduling gate of somebody else, which keeps a released pod from being bound."""
_OURS = "kfarm.dev/v1alpha1"
_KUEUE = "kueue.x-k8s.io/v1beta2"
_FARM_TAINT = {"key": "kfarm.dev/farm", "operator": "Exists", "effect": "NoSchedule"}
SCALABLE_UNIT = "kfarm.dev/scalable-unit"
LEVELS = (SCALABLE_UNIT, "kfarm.dev/rack", "kubernetes.io/hostname")


def made(api: str, kind: str, name: str, spec: Body, namespace: str = "") -> Body:
    """An object."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}


def namespace(name: str) -> Body:
    """A namespace behind the gate."""
    labels = {"kfarm.dev/enforce": "true"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def farm(name: str, nodes: int, accelerator: str = "b200") -> Body:
    """Racks of four nodes with eight devices each, which hardly ever fail."""
    rare = {"name": "rare", "failuresPer1000NodeDays": "0.001", "meanTimeToRepair": "1h"}
    cluster = {
        "name": "c",
        "accelerator": accelerator,
        "nodes": nodes,
        "acceleratorsPerNode": 8,
        "spares": 0,
        "rack": {"nodes": 4, "powerLimit": "60k"},
        "fabric": {"topology": "RailOptimizedFatTree", "nodesPerScalableUnit": 8},
        "cooling": {"type": "Air", "supplyTemperature": 22, "recirculation": 10},
        "reliability": {"classes": [rare]},
        "source": {"simulated": {}},
    }
    return made(_OURS, "GPUFarm", name, {"site": {"name": "광주"}, "clusters": [cluster]})


def policy(name: str, metric: str = "nodes_down_max", bound: str = "100") -> Body:
    """A policy that is decided after few futures."""
    check = {"metric": metric, "atMost": bound, "quantile": 50, "confidence": 50}
    simulation = {"horizon": "24h", "futures": {"min": 8, "max": 64}, "seed": 7}
    spec = {
        "checks": [check],
        "simulation": simulation,
        "admission": {"retryAfter": "2s", "retries": 2},
    }
    return made(_OURS, "ValidationPolicy", name, spec)


def plan(
    space: str, farm_name: str, name: str = "train", *, pods: int = 2, policy_name: str = "",
    devices: int = 8, placement: str = "", **workload: Any,
) -> Body:  # fmt: skip
    """A gang of whole nodes on the farm."""
    described = {
        "name": "w",
        "class": "Training",
        "pods": pods,
        "acceleratorsPerPod": devices,
        "accelerators": ["b200"],
        "gang": True,
        "duration": "8h",
        "checkpoint": {"interval": "30m", "save": "20s", "restart": "5m"},
        "load": 80,
        **workload,
    }
    spec = {
        "policy": policy_name or farm_name,
        "farms": [{"kind": "GPUFarm", "name": farm_name}],
        "workloads": [described],
    } | ({"placement": placement} if placement else {})
    return made(_OURS, "PlacementPlan", name, spec, space)


def pod(
    space: str, name: str, plan_name: str = "train", *, devices: int = 8, hold: bool = False
) -> Body:
    """A pod of a plan's workload; with `hold` it waits for somebody else as well."""
    resources = {"limits": {"nvidia.com/gpu": str(devices)}}
    spec: Body = {
        "containers": [{"name": "main", "image": "example", "resources": resources}],
        "terminationGracePeriodSeconds": 0,
        "restartPolicy": "Never",
    }
    if hold:
        spec["schedulingGates"] = [{"name": HOLD}]
    found = made("v1", "Pod", name, spec, space)
    found["metadata"]["labels"] = labels(plan_name)
    return found


def labels(plan_name: str) -> dict[str, str]:
    """By which a pod names its plan."""
    return {"kfarm.dev/placement-plan": plan_name, "kfarm.dev/workload": "w"}


def queued_job(space: str, name: str = "train", *, pods: int) -> Body:
    """An Indexed Job of a plan's gang that waits in the queue ``main``, within one unit."""
    template = pod(space, "ignored", name)
    meta = {
        "labels": labels(name),
        "annotations": {"kueue.x-k8s.io/podset-required-topology": SCALABLE_UNIT},
    }
    rule = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    spec = {
        "completionMode": "Indexed",
        "completions": pods,
        "parallelism": pods,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": [rule]},
        "suspend": True,
        "template": {"metadata": meta, "spec": template["spec"]},
    }
    job = made("batch/v1", "Job", name, spec, space)
    job["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "main"}
    return job


def queue(name: str, farm_name: str, space: str, quota: int) -> list[Body]:
    """Topology, flavor, check and queues over a farm, in the order in which they need each other.

    Named apart from those that the farm makes of itself.
    """
    resource = {"name": "nvidia.com/gpu", "nominalQuota": quota}
    flavors = [{"name": name, "resources": [resource]}]
    parameters = {"apiGroup": "kfarm.dev", "kind": "ValidationPolicy", "name": farm_name}
    flavor = {
        "nodeLabels": {"kfarm.dev/farm": farm_name},
        "tolerations": [_FARM_TAINT],
        "topologyName": name,
    }
    check = {"controllerName": "kfarm.dev/twin", "parameters": parameters}
    over = {
        "namespaceSelector": {},
        "resourceGroups": [{"coveredResources": ["nvidia.com/gpu"], "flavors": flavors}],
        "admissionChecksStrategy": {"admissionChecks": [{"name": name}]},
    }
    return [
        made(_KUEUE, "Topology", name, {"levels": [{"nodeLabel": level} for level in LEVELS]}),
        made(_KUEUE, "ResourceFlavor", name, flavor),
        made(_KUEUE, "AdmissionCheck", name, check),
        made(_KUEUE, "ClusterQueue", name, over),
        made(_KUEUE, "LocalQueue", "main", {"clusterQueue": name}, space),
    ]
