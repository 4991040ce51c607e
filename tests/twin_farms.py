"""Small farms, plans and policies for tests of the twin; every figure can be set by the test."""

from __future__ import annotations

from typing import Any

from kfarm_api.snapshot import FarmSnapshot, synthetic_snapshot
from kfarm_api.v1alpha1 import AcceleratorProfile, GPUFarm, PlacementPlan, ValidationPolicy

HOUR_NS = 3600 * 10**9


def profile(name: str = "b200", **changes: Any) -> AcceleratorProfile:
    spec = {
        "vendor": "NVIDIA",
        "model": "B200",
        "uses": ["Training", "Inference"],
        "resourceNames": ["nvidia.com/gpu"],
        "power": {"tdp": 1000, "idle": 139},
        "memory": {"capacity": "180G"},
        "temperature": {"throttle": 85, "shutdown": 92},
        "thermalResistance": {"liquid": "0.025", "air": "0.04"},
        "nodeOverhead": {"idle": "2k", "loaded": "6300"},
    }
    return AcceleratorProfile.model_validate({"metadata": {"name": name}, "spec": spec | changes})


def cluster(name: str = "main", nodes: int = 8, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "accelerator": "b200",
        "nodes": nodes,
        "acceleratorsPerNode": 8,
        "spares": 0,
        "rack": {"nodes": 2, "powerLimit": "60k"},
        "fabric": {"topology": "RailOptimizedFatTree", "nodesPerScalableUnit": 4},
        "cooling": {
            "type": "Liquid",
            "liquidShare": 75,
            "nodesPerCdu": 4,
            "cduCapacity": "1M",
            "supplyTemperature": 32,
            "redundantPumps": 1,
        },
        "feed": {"nodesPerPdu": 4, "feeds": 2},
        "reliability": {
            "classes": [
                {"name": "gpu", "failuresPer1000NodeDays": "40", "meanTimeToRepair": "20h"},
                {"name": "soft", "failuresPer1000NodeDays": "20", "meanTimeToRepair": "1h"},
            ],
            "detection": "60s",
        },
        "source": {"simulated": {}},
    } | changes


def one_class(rate: str, repair: str, detection: str = "0s") -> dict[str, Any]:
    """A single failure class, in failures per 1,000 node-days."""
    entry = {"name": "any", "failuresPer1000NodeDays": rate, "meanTimeToRepair": repair}
    return {"classes": [entry], "detection": detection}


def farm(*clusters: dict[str, Any], name: str = "farm", **changes: Any) -> GPUFarm:
    spec = {
        "site": {"name": "Here"},
        "plant": {"chillers": 2, "chillerCapacity": "6M", "redundancy": 1},
        "clusters": list(clusters),
    }
    return GPUFarm.model_validate({"metadata": {"name": name}, "spec": spec | changes})


def training(pods: int = 4, **changes: Any) -> dict[str, Any]:
    return {
        "name": "train",
        "class": "Training",
        "pods": pods,
        "acceleratorsPerPod": 8,
        "accelerators": ["b200"],
        "gang": True,
        "duration": "400h",
        "checkpoint": {"interval": "30m", "save": "20s", "restart": "5m"},
        "load": 85,
    } | changes


def serving(pods: int = 4, **changes: Any) -> dict[str, Any]:
    return {
        "name": "serve",
        "class": "Inference",
        "pods": pods,
        "acceleratorsPerPod": 2,
        "accelerators": ["b200"],
        "load": 60,
    } | changes


def plan(*workloads: dict[str, Any], farms: tuple[str, ...] = ("farm",)) -> PlacementPlan:
    spec = {
        "policy": "standard",
        "farms": [{"kind": "GPUFarm", "name": name} for name in farms],
        "workloads": list(workloads),
    }
    return PlacementPlan.model_validate(
        {"metadata": {"name": "plan", "namespace": "ns"}, "spec": spec}
    )


def policy(*checks: dict[str, Any], **changes: Any) -> ValidationPolicy:
    """Inputs are taken as stated unless a test asks for `assumptions`."""
    simulation = {"horizon": "720h", "futures": {"min": 64, "max": 512}, "seed": 7}
    spec = {"checks": list(checks), "simulation": simulation, "assumptions": {"draws": 0}} | changes
    return ValidationPolicy.model_validate({"metadata": {"name": "standard"}, "spec": spec})


def snapshot(*farms: GPUFarm, **changes: dict[int, dict[str, Any]]) -> FarmSnapshot:
    """All nodes ready and free, but for `nodes={row: {field: value}}`."""
    seen = synthetic_snapshot(list(farms))
    nodes = [
        node.model_copy(update=changes.get("nodes", {}).get(row, {}))
        for row, node in enumerate(seen.nodes)
    ]
    return seen.model_copy(update={"nodes": nodes})
