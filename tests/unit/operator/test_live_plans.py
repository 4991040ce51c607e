"""What plans see of the live cluster: bad devices, remaining time, coolant as measured."""

from __future__ import annotations

from typing import Any

import pytest
from gate_scene import START
from kfarm_operator.conditions import timestamp
from kfarm_operator.plans.decide import Simulate
from kfarm_operator.plans.request import build_snapshot, corrections

FIRST = "f-c-0000"


@pytest.fixture
def scene(scenes: Any) -> Any:
    return scenes.Scene()


def lose(scene: Any, accelerators: int) -> None:
    scene.farm["status"]["unhealthy"] = [
        {"node": FIRST, "cluster": "c", "accelerators": accelerators, "source": "s", "reason": "r"}
    ]


def state(scene: Any) -> Any:
    return build_snapshot(scene.observed(), {}, 0).nodes[0]


def test_bad_accelerators_are_not_on_offer(scene: Any) -> None:
    lose(scene, 3)
    assert state(scene).accelerators == 5


def test_what_the_device_plugin_took_out_is_not_taken_twice(scene: Any) -> None:
    lose(scene, 3)
    scene.nodes[FIRST]["status"]["allocatable"]["nvidia.com/gpu"] = "5"
    assert state(scene).accelerators == 5
    scene.nodes[FIRST]["status"]["allocatable"]["nvidia.com/gpu"] = "2"
    assert state(scene).accelerators == 2


def test_a_slot_on_a_node_that_lost_devices_is_validated_again(scene: Any) -> None:
    scene.step()
    assert scene.status["verdict"] == "Approved"
    node = scene.slots[0]["node"]
    scene.farm["status"]["unhealthy"] = [
        {"node": node, "cluster": "c", "accelerators": 1, "source": "s", "reason": "r"}
    ]
    scene.pod("a"), scene.pod("b")
    scene.wait(3600)
    found = scene.decide()
    assert isinstance(found, Simulate)
    assert found.why == f"1 accelerators of node {node} are reported bad"
    scene.settle()
    assert node not in {slot["node"] for slot in scene.slots}


def started(scene: Any, uid: str, deadline_s: int | None = None) -> None:
    scene.pods[uid]["status"]["startTime"] = timestamp(START)
    if deadline_s is not None:
        scene.pods[uid]["spec"]["activeDeadlineSeconds"] = deadline_s


def test_a_pod_with_a_deadline_leaves_then(scene: Any) -> None:
    started(scene, scene.foreign_pod(FIRST, 3), 3600)
    assert state(scene).free_at == "2026-01-01T01:00:00Z"
    started(scene, scene.foreign_pod(FIRST, 2), 7200)
    assert state(scene).free_at == "2026-01-01T02:00:00Z"


def test_a_pod_that_says_nothing_stays(scene: Any) -> None:
    started(scene, scene.foreign_pod(FIRST, 3), 3600)
    started(scene, scene.foreign_pod(FIRST, 2))
    assert state(scene).free_at is None


def test_a_pod_that_has_not_begun_stays(scene: Any) -> None:
    uid = scene.foreign_pod(FIRST, 3)
    scene.pods[uid]["spec"]["activeDeadlineSeconds"] = 60
    assert state(scene).free_at is None


def test_a_claim_without_pods_has_no_end(scene: Any) -> None:
    started(scene, scene.foreign_pod(FIRST, 3, "other"), 3600)
    scene.claim(FIRST, 8)
    assert state(scene).free_at is None


def test_pods_of_a_plan_run_as_long_as_it_says(scene: Any) -> None:
    """Seen by another plan: eight hours from the start, as the workload's duration says."""
    uid = scene.foreign_pod(FIRST, 8, "train")
    scene.pods[uid]["metadata"]["labels"]["kfarm.dev/workload"] = "w"
    started(scene, uid)
    other = scene.plan_body("other", *scene.plan["spec"]["workloads"])
    nodes = build_snapshot(scene.observed(other), {}, 0).nodes
    assert nodes[0].free_at == "2026-01-01T08:00:00Z"


@pytest.mark.parametrize(
    ("correct", "errors", "inlet"),
    [("Inlet", ["2.0", "6.4"], 6), ("Inlet", ["6.0", None], 6), ("Inlet", ["0.4"], None),
     ("Inlet", ["-7.0"], None), ("Inlet", ["999"], 50), ("Inlet", [], None), ("None", ["6"], None)],
)  # fmt: skip
def test_the_last_error_warms_the_coolant_where_the_farm_wants_it(
    scene: Any, correct: str, errors: list[str | None], inlet: int | None
) -> None:
    prometheus = {"url": "http://prometheus:9090"}
    scene.farm["spec"]["telemetry"] = {"prometheus": prometheus, "correct": correct}
    rows = [{"at": "t", "cluster": "c", **({"error": e} if e else {})} for e in errors]
    scene.farm["status"]["drift"] = rows
    (farm,) = scene.observed().farms.values()
    assert [c.inlet for c in corrections(farm)] == ([] if inlet is None else [inlet])


def test_telemetry_is_no_reason_to_validate_again(scene: Any) -> None:
    before = scene.observed().specs_digest
    scene.farm["spec"]["telemetry"] = {"prometheus": {"url": "http://prometheus:9090"}}
    assert scene.observed().specs_digest == before
