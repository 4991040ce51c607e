"""A pod is released only when it equals what was validated."""

from __future__ import annotations

from typing import Any

import pytest
from kfarm_api.plan import Workload
from kfarm_api.v1alpha1 import AcceleratorProfile
from kfarm_operator.plans.match import mismatch, resource_names
from kfarm_operator.views import pod_view

GPU = "nvidia.com/gpu"
DECLARED = {
    "cpu": "2",
    "memory": "4Gi",
    "nodeSelector": {"zone": "a"},
    "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoSchedule"}],
    "priorityClassName": "high",
    "schedulerName": "own",
}


@pytest.fixture
def profiles(scenes: Any) -> dict[str, AcceleratorProfile]:
    bodies = {"b200": scenes.profile_body(), "npu": scenes.profile_body("npu", "example.com/npu")}
    return {name: AcceleratorProfile.model_validate(body) for name, body in bodies.items()}


def workload(scenes: Any, **changes: Any) -> Workload:
    return Workload.model_validate(scenes.workload_body(**changes))


def pod(limits: dict[str, str] | None = None, **spec: Any) -> Any:
    resources = {"limits": {GPU: "8"} if limits is None else limits}
    containers = [{"name": "c", "resources": resources}]
    meta = {"namespace": "t", "name": "x", "uid": "u", "resourceVersion": "1"}
    return pod_view({"metadata": meta, "spec": {"containers": containers, **spec}})


def test_a_plain_pod_equals_a_plain_workload(scenes: Any, profiles: Any) -> None:
    assert mismatch(pod(), workload(scenes), profiles) is None


def test_all_that_a_plan_can_declare(scenes: Any, profiles: Any) -> None:
    limits = {GPU: "8", "cpu": "2000m", "memory": "4096Mi"}
    spec = {key: DECLARED[key] for key in list(DECLARED)[2:]}
    assert mismatch(pod(limits, **spec), workload(scenes, **DECLARED), profiles) is None


@pytest.mark.parametrize(
    ("limits", "spec", "said"),
    [
        ({}, {}, "accelerators none"),
        ({GPU: "4"}, {}, "requests 4 accelerators; the plan validated 8"),
        ({GPU: "NaN"}, {}, "requests -1 accelerators"),
        ({"example.com/npu": "8"}, {}, "example.com/npu: 8; the plan validated one of nvidia"),
        ({GPU: "8", "example.com/npu": "1"}, {}, "example.com/npu: 1, nvidia.com/gpu: 8"),
        ({GPU: "8", "cpu": "1"}, {}, "CPU request is 1; the plan validated 0"),
        ({GPU: "8", "memory": "1Gi"}, {}, "memory request"),
        (None, {"nodeSelector": {"a": "b"}}, "nodeSelector"),
        (None, {"tolerations": [{"operator": "Exists"}]}, "tolerations"),
        (
            None,
            {"priorityClassName": "high"},
            "priorityClassName is high; the plan validated empty",
        ),
        (None, {"schedulerName": "own"}, "schedulerName is own"),
        (None, {"affinity": {"podAffinity": {}}}, "sets affinity, which no plan can validate"),
        (
            None,
            {
                "nodeSelector": {"kubernetes.io/hostname": "n"},
                "schedulingGates": [{"name": "kfarm.dev/twin-validated"}],
            },
            "is pinned to node n already",
        ),
    ],
)
def test_every_difference_is_said(
    scenes: Any, profiles: Any, limits: Any, spec: Any, said: str
) -> None:
    found = mismatch(pod(limits, **spec), workload(scenes), profiles)
    assert found is not None
    assert said in found


@pytest.mark.parametrize("name", list(DECLARED))
def test_a_pod_without_what_was_declared_differs(scenes: Any, profiles: Any, name: str) -> None:
    declared = workload(scenes, **{name: DECLARED[name]})
    assert mismatch(pod(), declared, profiles) is not None


def test_a_pinned_pod_that_is_released_still_matches(scenes: Any, profiles: Any) -> None:
    pinned = pod(nodeSelector={"kubernetes.io/hostname": "n"})
    assert mismatch(pinned, workload(scenes), profiles) is None


def test_resource_names_of_known_profiles(scenes: Any, profiles: Any) -> None:
    both = workload(scenes, accelerators=["b200", "npu", "absent"])
    assert resource_names(both, profiles) == {GPU, "example.com/npu"}
