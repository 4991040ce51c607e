"""What is read of Kueue's objects, what is written to them, and plans that Kueue places."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from admission_scene import KueueScene, assignment, check_body, workload_object
from gate_scene import START, Scene, workload_body
from kfarm_operator.admission.decide import Answer, Release, Simulate
from kfarm_operator.admission.status import active_body, active_wanted, answer_body
from kfarm_operator.admission.views import CheckView, check_view, workload_view
from kfarm_operator.conditions import timestamp
from kfarm_operator.plans.decide import Report, Wait
from kfarm_operator.plans.status import report_status, same

NODES = ("f-c-0000", "f-c-0001")


@pytest.fixture
def scene() -> KueueScene:
    """A Workload of two pods that waits for our answer."""
    return KueueScene()


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        (None, "ParametersMissing"),
        ({"apiGroup": "kfarm.dev", "kind": "GPUFarm", "name": "p"}, "ParametersNotSupported"),
        ({"apiGroup": "x.dev", "kind": "ValidationPolicy", "name": "p"}, "ParametersNotSupported"),
        ({"apiGroup": "kfarm.dev", "kind": "ValidationPolicy", "name": "q"}, "PolicyNotFound"),
        ({"apiGroup": "kfarm.dev", "kind": "ValidationPolicy", "name": "p"}, "Active"),
    ],
)
def test_a_check_is_active_only_with_a_policy(parameters: Any, reason: str) -> None:
    body = check_body(policy=None)
    if parameters is not None:
        body["spec"]["parameters"] = parameters
    status, found, message = active_wanted(check_view(body), {"p"})
    assert (found, status) == (reason, "True" if reason == "Active" else "False")
    assert message


def _with(check: CheckView, *active: Any) -> CheckView:
    return CheckView(**{**check.__dict__, "active": active})


def test_the_condition_is_written_on_transitions_alone() -> None:
    check = check_view(check_body())
    wanted = active_wanted(check, {"p"})
    first = active_body(check, wanted, START)
    assert first is not None
    (condition,) = first["status"]["conditions"]
    assert condition["lastTransitionTime"] == timestamp(START)
    assert first["metadata"] == {"name": "twin", "uid": "twin-uid", "resourceVersion": "7"}
    assert active_body(_with(check, *wanted, "T", 1), wanted, START) is None
    worse = active_wanted(check, set())
    turned = active_body(_with(check, *wanted, "T", 1), worse, START)
    assert turned is not None
    assert turned["status"]["conditions"][0]["lastTransitionTime"] == timestamp(START)
    reworded = active_body(_with(check, "False", "Other", "m", "T", 1), worse, START)
    assert reworded is not None
    assert reworded["status"]["conditions"][0]["lastTransitionTime"] == "T"


def test_an_entry_keeps_its_time_while_its_state_stays(scene: KueueScene) -> None:
    scene.say("Pending", lastTransitionTime="T9")
    found = scene.found()
    body = answer_body(found.workload, found.entries, Answer("Pending", "R", "why"), scene.now)
    assert body["status"]["admissionChecks"][0]["lastTransitionTime"] == "T9"
    body = answer_body(found.workload, found.entries, Answer("Ready", "R", ""), scene.now)
    assert body["status"]["admissionChecks"][0]["lastTransitionTime"] == timestamp(scene.now)


def test_a_view_of_a_megabyte_is_small(scene: KueueScene) -> None:
    spec = scene.workload["spec"]["podSets"][0]["template"]["spec"]
    spec["containers"][0]["env"] = [{"name": "E", "value": "x" * 1_400_000}]
    assert len(repr(workload_view(scene.workload))) < 3000


def test_nothing_is_placed_before_quota_is_reserved(scene: KueueScene) -> None:
    """An admission that stays in the status without the condition is none."""
    scene.condition("QuotaReserved", "False")
    view = workload_view(scene.workload)
    assert view.reserved_since is None
    assert [part.seats for part in view.pod_sets] == [None]


def _second_set(scene: KueueScene, workload: str, *nodes: str) -> None:
    other = workload_object(list(nodes))
    part = copy.deepcopy(other["spec"]["podSets"][0])
    part["name"] = "more"
    part["template"]["metadata"]["labels"]["kfarm.dev/workload"] = workload
    given = copy.deepcopy(other["status"]["admission"]["podSetAssignments"][0])
    scene.workload["spec"]["podSets"].append(part)
    scene.workload["status"]["admission"]["podSetAssignments"].append({**given, "name": "more"})


def test_pod_sets_of_two_workloads_of_one_plan() -> None:
    scene = KueueScene(workloads=[workload_body(), workload_body("v")])
    _second_set(scene, "v", "f-c-0002")
    assert isinstance(scene.next(), Simulate)
    survivors = scene.found().snapshot().survivors
    assert [(s.workload, s.node) for s in survivors] == [
        ("v", "f-c-0002"), ("w", NODES[0]), ("w", NODES[1]),
    ]  # fmt: skip


def test_pod_sets_of_one_workload_add_up(scene: KueueScene) -> None:
    _second_set(scene, "w", "f-c-0002")
    assert isinstance(scene.next(), Simulate)
    found = scene.found()
    assert [w.pods for w in found.seen.plan.spec.workloads] == [3]
    assert [s.slot for s in found.snapshot().survivors] == [0, 1, 2]


def test_a_launcher_without_accelerators_needs_no_place(scene: KueueScene) -> None:
    launcher = {"name": "launcher", "count": 1,
                "template": {"metadata": {}, "spec": {"containers": [{"name": "l"}]}}}  # fmt: skip
    scene.workload["spec"]["podSets"].append(launcher)
    given = {"name": "launcher", "count": 1, "flavors": {"cpu": "flavor"}}
    scene.workload["status"]["admission"]["podSetAssignments"].append(given)
    assert isinstance(scene.next(), Simulate)


def test_two_pods_on_one_node_are_two_slots() -> None:
    scene = KueueScene(workloads=[workload_body(acceleratorsPerPod=4)])
    limits = scene.workload["spec"]["podSets"][0]["template"]["spec"]["containers"][0]["resources"]
    limits["limits"]["nvidia.com/gpu"] = "4"
    part = scene.workload["status"]["admission"]["podSetAssignments"][0]
    part |= assignment([NODES[0]])
    part["count"] = 2
    part["topologyAssignment"]["slices"][0]["podCounts"] = {"universal": 2}
    assert isinstance(scene.next(), Simulate)
    assert scene.found().wanted["GPUFarm", "f"] == {NODES[0]: 8}
    scene.admit()
    for name in "abc":
        scene.kueue_pod(name, NODES[0], devices=4)
    decision = scene.next()
    assert isinstance(decision, Release)
    assert [pod.name for pod in decision.pods] == ["a", "b"]


def test_what_other_checks_add_to_pods_is_accepted(scene: KueueScene) -> None:
    update = {"name": "main", "nodeSelector": {"zone": "a"},
              "tolerations": [{"key": "more", "operator": "Exists"}]}  # fmt: skip
    scene.say("Ready", "provisioned", podSetUpdates=[update])
    scene.admit()
    uid = scene.kueue_pod("a", NODES[0])
    spec = scene.pods[uid]["spec"]
    spec["nodeSelector"]["zone"] = "a"
    spec["tolerations"].append({"key": "more", "operator": "Exists"})
    decision = scene.next()
    assert isinstance(decision, Release)
    assert [pod.name for pod in decision.pods] == ["a"]


def test_a_plan_that_kueue_places_claims_and_releases_nothing() -> None:
    scene = Scene()
    scene.settle()
    scene.pod("a")
    scene.pod("b")
    assert scene.status["verdict"] == "Approved"
    scene.plan["spec"]["placement"] = "Kueue"
    scene.plan["metadata"]["generation"] += 1
    decision = scene.decide()
    assert isinstance(decision, Report)
    assert decision.reason == "PlacedByKueue"
    wanted = report_status(scene.observed(), decision)
    assert [c["status"] for c in wanted["conditions"]] == ["True", "Unknown", "False"]
    assert {wanted["verdict"], wanted["slots"], wanted["expiresAt"]} == {None}
    assert wanted["placements"] == []
    assert same(wanted, report_status(scene.observed(), decision))
    scene.policy = None
    assert isinstance(scene.decide(), Report)
    scene.farm = None
    waiting = scene.decide()
    assert isinstance(waiting, Wait)
    assert report_status(scene.observed(), waiting)["conditions"][0]["status"] == "False"
