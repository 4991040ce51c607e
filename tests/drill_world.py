"""A small farm for failure drills on a control plane whose nodes are missed soon."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from kfarm_controlplane.cluster import wait_until
from kfarm_controlplane.installation import CLUSTER_NAME, Installation
from kfarm_controlplane.options import Options
from kfarm_operator.drills.settings import DrillSettings

Body = dict[str, Any]
OPTIONS = Options(
    node_lease_seconds=4,
    node_monitor_grace_seconds=6,
    eviction_seconds=2,
    extra_arguments={"kube-controller-manager": ["--node-monitor-period=1s"]},
)
"""KWOK looks every second, a silent node is missed after six, and its pods go after two more."""
SETTINGS = DrillSettings(
    cluster_name=CLUSTER_NAME, max_nodes=64, max_percent=100, domains=16, max_duration_s=4 * 3600
)
_numbers = itertools.count(1)


class DrillWorld:
    """A farm whose nodes consent to drills, and a namespace that does, of a test's own."""

    def __init__(self, installation: Installation) -> None:
        number = next(_numbers)
        self.installation = installation
        self.cluster = installation.cluster
        self.farm_name = f"drills{number}"
        self.namespace = f"sre{number}"

    def prepare(self, *, nodes: int = 8, allowed: int | None = None) -> None:
        """Make farm and namespace; wait for the Nodes; give consent on the first `allowed`."""
        labels = {"kfarm.dev/enforce": "true", "kfarm.dev/drill": "allowed"}
        self.cluster.apply(
            {"apiVersion": "v1", "kind": "Namespace",
             "metadata": {"name": self.namespace, "labels": labels}},
            self.farm(nodes), self.policy(),
        )  # fmt: skip
        self.until(lambda: self.ready_nodes() == nodes, "the farm's nodes")
        named = [self.node(index) for index in range(nodes if allowed is None else allowed)]
        if named:
            self.cluster.kubectl("label", "node", *named, "kfarm.dev/drill=allowed")

    def farm(self, nodes: int) -> Body:
        """Racks of four nodes with eight B200 each, in water with a CDU of eight nodes."""
        rare = {"name": "rare", "failuresPer1000NodeDays": "0.001", "meanTimeToRepair": "1h"}
        cluster = {
            "name": "c", "accelerator": "b200", "nodes": nodes, "acceleratorsPerNode": 8,
            "spares": 0, "rack": {"nodes": 4, "powerLimit": "60k"},
            "fabric": {"topology": "RailOptimizedFatTree", "nodesPerScalableUnit": 8},
            "cooling": {"type": "Air", "supplyTemperature": 22, "recirculation": 10},
            "reliability": {"classes": [rare]}, "source": {"simulated": {}},
        }  # fmt: skip
        spec = {"site": {"name": "광주"}, "clusters": [cluster]}
        return _object("GPUFarm", self.farm_name, spec)

    def policy(self) -> Body:
        """A policy that is decided after few futures."""
        check = {"metric": "nodes_down_max", "atMost": "100", "quantile": 50, "confidence": 50}
        simulation = {"horizon": "24h", "futures": {"min": 8, "max": 64}, "seed": 7}
        return _object(
            "ValidationPolicy", self.farm_name, {"checks": [check], "simulation": simulation}
        )

    def plan(self, name: str = "train", *, pods: int = 2) -> Body:
        """Whole nodes of the farm, one a pod."""
        workload = {
            "name": "w", "class": "Training", "pods": pods, "acceleratorsPerPod": 8,
            "accelerators": ["b200"], "gang": True, "duration": "8h", "load": 80,
            "checkpoint": {"interval": "30m", "save": "20s", "restart": "5m"},
        }  # fmt: skip
        farms = [{"kind": "GPUFarm", "name": self.farm_name}]
        spec = {"policy": self.farm_name, "farms": farms, "workloads": [workload]}
        return _object("PlacementPlan", name, spec, self.namespace)

    def job(self, name: str = "train", *, pods: int = 2) -> Body:
        """An Indexed Job of the plan's gang."""
        labels = {"kfarm.dev/placement-plan": name, "kfarm.dev/workload": "w"}
        container = {
            "name": "main", "image": "example", "resources": {"limits": {"nvidia.com/gpu": "8"}},
        }  # fmt: skip
        spec = {
            "completionMode": "Indexed", "completions": pods, "parallelism": pods,
            "backoffLimitPerIndex": 100,
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container], "restartPolicy": "Never",
                         "terminationGracePeriodSeconds": 0},
            },
        }  # fmt: skip
        meta = {"name": name, "namespace": self.namespace}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}

    def fault(self, action: str = "NodeDown", **more: Any) -> Body:
        """A fault of one node of the farm."""
        selector = more.pop("selector", {"cluster": "c"})
        return {"name": more.pop("name", "lost"), "action": action, "selector": selector,
                "duration": "20s", **more}  # fmt: skip

    def drill(self, name: str, *faults: Body, **spec: Any) -> Body:
        """An armed drill."""
        limits = {"maxNodes": 8, "maxPercent": 100, "domains": 8, "minHealthy": 40,
                  "timeToLive": "5m", **spec.pop("limits", {})}  # fmt: skip
        full = {
            "mode": "Cluster", "confirm": CLUSTER_NAME,
            "farm": {"kind": "GPUFarm", "name": self.farm_name},
            "faults": list(faults), "limits": limits, "observe": "1m", **spec,
        }  # fmt: skip
        full = {key: value for key, value in full.items() if value is not None}
        return _object("FailureDrill", name, full, self.namespace)

    def node(self, index: int) -> str:
        """Name of a node of the farm."""
        return f"{self.farm_name}-c-{index:04d}"

    def ready_nodes(self) -> int:
        """How many nodes of the farm are Ready."""
        listed = self.cluster.get("nodes", "-l", f"kfarm.dev/farm={self.farm_name}")["items"]
        return sum(_ready(node) for node in listed)

    def pods(self) -> list[Body]:
        """Pods of the namespace."""
        return list(self.cluster.get("pods", "-n", self.namespace)["items"])

    def running(self) -> list[Body]:
        """Pods that run and are to stay."""
        return [
            pod for pod in self.pods()
            if pod["status"].get("phase") == "Running"
            and "deletionTimestamp" not in pod["metadata"]
        ]  # fmt: skip

    def status(self, name: str) -> Body:
        """Status of a drill."""
        return dict(self.get(name).get("status") or {})

    def get(self, name: str) -> Body:
        """A drill, empty when it is gone."""
        text = self.cluster.kubectl(
            "get", "failuredrill", name, "-n", self.namespace, "-o", "json", "--ignore-not-found"
        )
        return dict(json.loads(text)) if text.strip() else {}

    def until_phase(self, name: str, *phases: str, timeout_s: float = 120) -> Body:
        """Wait for a phase, and return the status."""
        self.until(lambda: self.status(name).get("phase") in phases, f"{name} {phases}", timeout_s)
        return self.status(name)

    def until(self, condition: Any, what: str = "it", timeout_s: float = 120) -> None:
        """Wait until a condition holds."""
        wait_until(lambda: bool(condition()), timeout_s, what)

    def dump(self) -> Body:
        """Nodes and their Leases, without what beats all the time: equal before and after."""
        found: Body = {}
        for node in self.cluster.get("nodes", "-l", f"kfarm.dev/farm={self.farm_name}")["items"]:
            name = node["metadata"]["name"]
            found[name] = _node(node)
            lease = self.cluster.get("lease", name, "-n", "kube-node-lease")
            found[f"lease/{name}"] = {
                "annotations": lease["metadata"].get("annotations") or {},
                "holder": lease["spec"]["holderIdentity"],
                "seconds": lease["spec"]["leaseDurationSeconds"],
            }
        return found

    def whole(self, before: Mapping[str, Any]) -> None:
        """Wait until everything is as it was before."""
        self.until(lambda: self.dump() == before, "nodes as before", 40)


def _node(node: Body) -> Body:
    conditions = [
        {k: v for k, v in c.items() if k in ("type", "status", "reason")}
        for c in node["status"].get("conditions") or ()
    ]
    return {
        "labels": node["metadata"].get("labels") or {},
        "annotations": node["metadata"].get("annotations") or {},
        "taints": sorted(node["spec"].get("taints") or (), key=lambda taint: str(taint["key"])),
        "unschedulable": node["spec"].get("unschedulable"),
        "conditions": sorted(conditions, key=lambda c: str(c["type"])),
        "allocatable": node["status"].get("allocatable") or {},
    }


def _ready(node: Body) -> bool:
    conditions = node["status"].get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def moment(text: str) -> datetime:
    """A moment of a status."""
    return datetime.fromisoformat(text)


def _object(kind: str, name: str, spec: Body, namespace: str | None = None) -> Body:
    meta = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": "kfarm.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}
