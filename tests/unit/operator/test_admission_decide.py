"""Every branch of the diagram in ``admission/decide.py``, from a pretend Kueue."""

from __future__ import annotations

from typing import Any

import pytest
from admission_scene import HOST, KueueScene, assignment, check_body
from gate_scene import workload_body
from kfarm_operator.admission.decide import (
    LIMIT,
    Answer,
    Leave,
    Release,
    Simulate,
    Withdraw,
    bounded,
)
from kfarm_operator.admission.status import answer_body
from kfarm_operator.conditions import timestamp

NODES = ("f-c-0000", "f-c-0001")


@pytest.fixture
def scene() -> KueueScene:
    """A Workload of two pods that waits for our answer."""
    return KueueScene()


def test_reserved_quota_is_simulated_in_just_that_place(scene: KueueScene) -> None:
    assert scene.next() == Simulate("quota is reserved")
    snapshot = scene.found().snapshot()
    assert [(s.workload, s.slot, s.node) for s in snapshot.survivors] == [
        ("w", 0, NODES[0]),
        ("w", 1, NODES[1]),
    ]
    assert sum(node.used for node in snapshot.nodes) == 0


def test_as_many_pods_as_kueue_admits_are_validated() -> None:
    scene = KueueScene(workloads=[workload_body(pods=3), workload_body("idle")])
    found = scene.found()
    assert found.problem is None
    assert [(w.name, w.pods) for w in found.seen.plan.spec.workloads] == [("w", 2)]


@pytest.mark.parametrize(
    "end",
    [
        lambda s: s.condition("QuotaReserved", "False"),
        lambda s: s.condition("Evicted"),
        lambda s: s.condition("Finished"),
        lambda s: s.workload["spec"].update(active=False),
        lambda s: s.workload["metadata"].update(deletionTimestamp="T"),
    ],
)
@pytest.mark.parametrize("state", ["Pending", "Ready"])
def test_what_holds_no_admission_is_not_answered_and_loses_its_claim(
    scene: KueueScene, end: Any, state: str
) -> None:
    scene.hold()
    scene.say(state)
    end(scene)
    assert scene.next() == Withdraw()
    scene.claims.clear()
    assert scene.next() == Leave()


@pytest.mark.parametrize("state", ["Retry", "Rejected"])
def test_an_answer_that_kueue_has_not_acted_on_is_left(scene: KueueScene, state: str) -> None:
    scene.say(state)
    assert scene.next() == Leave()


def test_a_workload_without_a_check_of_ours_is_left(scene: KueueScene) -> None:
    scene.checks[0]["spec"]["controllerName"] = "example.com/other"
    assert scene.next() == Leave()


def test_an_answer_that_could_not_be_written_is_sent_again(scene: KueueScene) -> None:
    refused = scene.judge("Inconclusive")
    scene.learn(refused)
    scene.workload["metadata"]["resourceVersion"] = "8"
    assert scene.next() == refused
    scene.assign("f-c-0002", "f-c-0003")
    assert isinstance(scene.next(), Simulate)


def test_a_new_reservation_of_the_same_nodes_is_simulated_again(scene: KueueScene) -> None:
    scene.learn(scene.judge("Inconclusive"))
    scene.hold()
    scene.condition("QuotaReserved", since="T2")
    assert isinstance(scene.next(), Simulate)


def test_ready_is_sent_only_while_the_nodes_are_claimed(scene: KueueScene) -> None:
    approved = scene.judge("Approved")
    scene.learn(approved)
    assert isinstance(scene.next(), Simulate)
    scene.hold()
    assert scene.next() == approved


def test_after_a_crash_between_claim_and_answer_the_claim_answers(scene: KueueScene) -> None:
    scene.hold()
    decision = scene.next()
    assert isinstance(decision, Answer)
    assert decision.state == "Ready"


@pytest.mark.parametrize(
    ("word", "empty", "reason", "state", "tag"),
    [
        ("Approved", None, None, "Ready", "Approved"),
        ("Inconclusive", None, None, "Retry", "Inconclusive"),
        ("Rejected", "Approved", None, "Retry", "NotNow"),
        ("Rejected", "Rejected", "ChecksFailed", "Rejected", "NeverFits"),
        ("Rejected", "Rejected", "Unplaceable", "Retry", "Rejected"),
        ("Rejected", "Inconclusive", None, "Retry", "Rejected"),
    ],
)
def test_verdicts_become_answers(
    scene: KueueScene, word: str, empty: str | None, reason: str | None, state: str, tag: str
) -> None:
    answer = scene.judge(word, empty, reason)
    assert (answer.state, answer.reason) == (state, tag)
    assert answer.requeue_s == (60 if state == "Retry" else None)
    assert len(answer.message) <= LIMIT


def test_retries_end_and_say_how_to_go_on(scene: KueueScene) -> None:
    scene.say("Pending", retryCount=4)
    assert bounded(scene.found(), "Inconclusive", "m").state == "Retry"
    scene.say("Pending", retryCount=5)
    answer = bounded(scene.found(), "Inconclusive", "x" * 3000)
    assert answer.state == "Rejected"
    assert answer.message.endswith("submit the job again")
    assert len(answer.message) == LIMIT


def _no_topology(scene: KueueScene) -> None:
    del scene.workload["status"]["admission"]["podSetAssignments"][0]["topologyAssignment"]


def _delayed(scene: KueueScene) -> None:
    _no_topology(scene)
    part = scene.workload["status"]["admission"]["podSetAssignments"][0]
    part["delayedTopologyRequest"] = "Pending"


def _racks(scene: KueueScene) -> None:
    part = scene.workload["status"]["admission"]["podSetAssignments"][0]
    part |= assignment(["r1", "r2"], "kfarm.dev/rack")


def _unreadable(scene: KueueScene) -> None:
    part = scene.workload["status"]["admission"]["podSetAssignments"][0]
    part["topologyAssignment"]["slices"][0]["domainCount"] = 10**6


def _short(scene: KueueScene) -> None:
    scene.workload["status"]["admission"]["podSetAssignments"][0]["count"] = 3


@pytest.mark.parametrize(
    ("change", "reason", "said"),
    [
        (_no_topology, "NoTopologyAssignment", "topologyName"),
        (_delayed, "NoTopologyAssignment", "after another check"),
        (_racks, "NoTopologyAssignment", "down to kfarm.dev/rack only"),
        (_unreadable, "NoTopologyAssignment", "more than 131072"),
        (_short, "TopologyIncomplete", "admitted 3 pods of pod set main and placed 2"),
    ],
)
def test_without_exact_places_the_check_stays_pending_and_says_why(
    scene: KueueScene, change: Any, reason: str, said: str
) -> None:
    change(scene)
    decision = scene.next()
    assert isinstance(decision, Answer)
    assert (decision.state, decision.reason) == ("Pending", reason)
    assert said in decision.message
    scene.say("Pending", message=decision.message)
    assert scene.next() == Leave()


def _template(scene: KueueScene) -> Any:
    return scene.workload["spec"]["podSets"][0]["template"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: _template(s)["metadata"].update(labels={}), "PlanNotNamed"),
        (lambda s: s.plan["metadata"].update(name="other"), "PlanNotFound"),
        (lambda s: s.plan["spec"].update(placement="Kfarm"), "PlanPlacesItself"),
        (lambda s: setattr(s, "farm", None), "FarmNotFound"),
        (lambda s: s.plan["spec"]["workloads"][0].update(name="else"), "WorkloadNotInPlan"),
        (lambda s: _template(s)["spec"].update(priorityClassName="high"), "PodsDiffer"),
        (
            lambda s: _template(s)["spec"]["containers"][0]["resources"].update(
                limits={"nvidia.com/gpu": "4"}
            ),
            "PodsDiffer",
        ),
    ],
)
def test_manifests_that_do_not_go_together_are_tried_again_and_then_given_up(
    scene: KueueScene, change: Any, reason: str
) -> None:
    change(scene)
    decision = scene.next()
    assert isinstance(decision, Answer)
    assert (decision.state, decision.reason) == ("Retry", reason)
    scene.say("Pending", retryCount=5)
    decision = scene.next()
    assert isinstance(decision, Answer)
    assert (decision.state, decision.reason) == ("Rejected", reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: s.set_ready(NODES[1], False), "NodeLost"),
        (lambda s: s.nodes.pop(NODES[1]), "NodeUnknown"),
        (lambda s: s.nodes[NODES[1]]["spec"].update(unschedulable=True), "NodeLost"),
        (lambda s: s.claim(NODES[1], 1), "NodeTaken"),
        (lambda s: s.foreign_pod(NODES[1], 1), "NodeTaken"),
    ],
)
def test_nodes_that_cannot_take_the_pods_now_are_retried_without_end(
    scene: KueueScene, change: Any, reason: str
) -> None:
    change(scene)
    scene.say("Pending", retryCount=500)
    decision = scene.next()
    assert isinstance(decision, Answer)
    assert (decision.state, decision.reason) == ("Retry", reason)
    assert decision.requeue_s == 60


def test_a_check_whose_policy_is_gone_waits(scene: KueueScene) -> None:
    scene.policy = None
    decision = scene.next()
    assert isinstance(decision, Answer)
    assert (decision.state, decision.reason) == ("Pending", "PolicyNotFound")


def test_pods_without_accelerators_need_no_twin(scene: KueueScene) -> None:
    _template(scene)["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1"}}
    decision = scene.next()
    assert isinstance(decision, Answer)
    assert (decision.state, decision.reason) == ("Ready", "NothingToValidate")


def test_pods_of_another_workload_of_the_same_plan_are_others(scene: KueueScene) -> None:
    uid = scene.kueue_pod("x", NODES[0], schedulingGates=[], nodeName=NODES[0])
    scene.pods[uid]["metadata"]["annotations"]["kueue.x-k8s.io/workload"] = "wl-2"
    decision = scene.next()
    assert isinstance(decision, Answer)
    assert decision.reason == "NodeTaken"


def test_a_claim_and_its_own_pods_count_once(scene: KueueScene) -> None:
    """Two Workloads of one plan on one node: each claim is met by its own pods alone."""
    scene.admit()
    nodes = [{"node": "f-c-0003", "accelerators": 4}]
    claim = {**scene.claims[0], "nodes": nodes}
    scene.claims = [{**claim, "uid": f"u{i}", "workload": f"wl-{i}"} for i in (1, 2)]
    uid = scene.kueue_pod("x", "f-c-0003", schedulingGates=[], nodeName="f-c-0003")
    scene.pods[uid]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = "4"
    scene.pods[uid]["metadata"]["annotations"]["kueue.x-k8s.io/workload"] = "wl-1"
    assert scene.found().seen.usage == {"f-c-0003": 8}


def test_pods_that_kueue_placed_are_released(scene: KueueScene) -> None:
    scene.admit()
    uids = {scene.kueue_pod("a", NODES[0]), scene.kueue_pod("b", NODES[1])}
    decision = scene.next()
    assert isinstance(decision, Release)
    assert {pod.uid for pod in decision.pods} == uids
    assert decision.amiss == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.condition("Admitted", "False"),
        lambda s: s.claims.clear(),
        lambda s: s.set_ready(NODES[0], False),
        lambda s: s.condition("QuotaReserved", since="T2"),
    ],
)
def test_nothing_is_released_without_all_that_it_takes(scene: KueueScene, change: Any) -> None:
    scene.admit()
    scene.kueue_pod("a", NODES[0])
    change(scene)
    assert not isinstance(scene.next(), Release)


@pytest.mark.parametrize(
    ("node", "changes", "reason"),
    [
        (None, {}, "NotPlaced"),
        ("f-c-0003", {}, "NotValidated"),
        (NODES[0], {"priorityClassName": "high"}, "PodDiffers"),
        (NODES[0], {"nodeSelector": {HOST: NODES[0], "zone": "a"}}, "PodDiffers"),
        (NODES[0], {"tolerations": [{"key": "more", "operator": "Exists"}]}, "PodDiffers"),
        (NODES[0], {"devices": 4}, "PodDiffers"),
    ],
)
def test_a_pod_that_is_not_what_was_validated_stays_gated(
    scene: KueueScene, node: str | None, changes: Any, reason: str
) -> None:
    scene.admit()
    scene.kueue_pod("odd", node, **changes)
    decision = scene.next()
    assert isinstance(decision, Release)
    assert decision.pods == ()
    assert [entry[1] for entry in decision.amiss] == [reason]


def test_one_pod_too_many_on_a_node_stays_gated(scene: KueueScene) -> None:
    scene.admit()
    scene.kueue_pod("a", NODES[0])
    scene.kueue_pod("b", NODES[0])
    decision = scene.next()
    assert isinstance(decision, Release)
    assert [pod.name for pod in decision.pods] == ["a"]
    assert [entry[1] for entry in decision.amiss] == ["SurplusPod"]


def test_a_pod_behind_kueues_own_gate_waits_for_kueue(scene: KueueScene) -> None:
    scene.admit()
    gates = [{"name": "kueue.x-k8s.io/topology"}, {"name": "kfarm.dev/twin-validated"}]
    scene.kueue_pod("a", None, schedulingGates=gates)
    assert scene.next() == Leave()


def test_a_replaced_node_is_simulated_before_its_pod_goes(scene: KueueScene) -> None:
    scene.admit()
    scene.assign(NODES[0], "f-c-0003")
    scene.kueue_pod("new", "f-c-0003")
    assert scene.next() == Simulate("the nodes changed")
    scene.hold()
    assert isinstance(scene.next(), Release)


def test_a_replacement_that_does_not_hold_starts_all_anew(scene: KueueScene) -> None:
    scene.admit()
    scene.assign(NODES[0], "f-c-0003")
    refused = scene.judge("Rejected", "Approved")
    scene.learn(refused)
    assert scene.next() == refused
    assert refused.state == "Retry"


def test_an_undecided_replacement_stays_gated_and_is_asked_again(scene: KueueScene) -> None:
    scene.admit()
    scene.assign(NODES[0], "f-c-0003")
    scene.learn(scene.judge("Inconclusive"))
    assert scene.next() == Leave(60.0)
    scene.wait(61)
    assert isinstance(scene.next(), Simulate)


def test_a_policy_may_start_anew_at_any_replacement(scene: KueueScene) -> None:
    assert scene.policy is not None
    scene.policy["spec"]["admission"] = {"onReplacement": "Retry", "retryAfter": "1500ms"}
    scene.admit()
    scene.assign(NODES[0], "f-c-0003")
    decision = scene.next()
    assert isinstance(decision, Answer)
    assert (decision.state, decision.reason, decision.requeue_s) == ("Retry", "Replaced", 2)


def test_edits_concern_only_pods_that_still_wait(scene: KueueScene) -> None:
    scene.admit()
    scene.edit(load=40)
    assert scene.next() == Leave()
    scene.kueue_pod("late", NODES[0])
    assert scene.next() == Simulate("specs or nodes changed")


def test_the_strictest_policy_of_several_checks_counts(scene: KueueScene) -> None:
    scene.checks.append(check_body("second", "p"))
    scene.say("Ready", "second")
    found = scene.found()
    assert {entry.name for entry in found.entries} == {"twin", "second"}
    assert isinstance(scene.next(), Simulate)


def test_our_answer_has_our_entries_and_preconditions_alone(scene: KueueScene) -> None:
    scene.say("Pending", "other-controllers")
    found = scene.found()
    body = answer_body(found.workload, found.entries, Answer("Retry", "R", "m", 9), scene.now)
    assert body["metadata"] == {
        "name": "wl",
        "namespace": "team",
        "uid": "wl-uid",
        "resourceVersion": "7",
    }
    (entry,) = body["status"].pop("admissionChecks")
    assert body["status"] == {}
    assert entry == {
        "name": "twin",
        "state": "Retry",
        "message": "m",
        "lastTransitionTime": timestamp(scene.now),
        "requeueAfterSeconds": 9,
    }
