"""Requests about drills on a small farm; every figure can be set by the test."""

from __future__ import annotations

from typing import Any

from kfarm_api.drill import FailureDrill
from kfarm_api.drill_targets import choose, farm_candidates
from kfarm_api.plan import PlacementPlan
from kfarm_api.snapshot import synthetic_snapshot
from kfarm_api.v1alpha1 import GPUFarm
from kfarm_twin.drill_request import DrillPod, DrillRequest, MeasuredDelays
from twin_farms import cluster, farm, plan, profile, training

MEASURED = MeasuredDelays(verdict_s=[1.0], pod_start_s=[1.0])


def fault(action: str = "NodeDown", **changes: Any) -> dict[str, Any]:
    return {"name": "f", "action": action, "duration": "5m", "selector": {"plan": "plan"}} | changes


def drill(*faults: dict[str, Any], **changes: Any) -> FailureDrill:
    spec = {
        "farm": {"kind": "GPUFarm", "name": "farm"},
        "plans": ["plan"],
        "faults": list(faults),
        "limits": {"maxNodes": 16, "maxPercent": 100, "domains": 16},
        "delays": {"toleration": "30s"},
        "simulation": {"futures": 128, "seed": 5},
    }
    return FailureDrill.model_validate(
        {"metadata": {"name": "drill", "namespace": "ns"}, "spec": spec | changes}
    )


def pods(count: int = 4, first: int = 0, **changes: Any) -> list[DrillPod]:
    """Pods of the training gang of `plan`, one on each node."""
    return [
        DrillPod.model_validate(
            {
                "plan": "plan",
                "workload": "train",
                "name": f"train-{index}",
                "node": f"farm-main-{first + index:04d}",
                "toleration_s": 30.0,
                "job": "train",
                "backoff_per_index": True,
            }
            | changes
        )
        for index in range(count)
    ]


def request(
    *faults: dict[str, Any],
    of: GPUFarm | None = None,
    plans: list[PlacementPlan] | None = None,
    where: list[DrillPod] | None = None,
    **changes: Any,
) -> DrillRequest:
    """Targets chosen as the operator chooses them."""
    own = of or farm(cluster(nodes=8))
    one = drill(*faults, **changes)
    placed = pods() if where is None else where
    standing = {"plan": [pod.node for pod in placed]}
    choice = choose(one.spec, own, farm_candidates(own, standing))
    assert not choice.problems, choice.problems
    return DrillRequest(
        drill=one,
        farm=own,
        profiles=[profile()],
        plans=[plan(training())] if plans is None else plans,
        snapshot=synthetic_snapshot([own]),
        pods=placed,
        targets=list(choice.targets),
        measured=MEASURED,
    )
