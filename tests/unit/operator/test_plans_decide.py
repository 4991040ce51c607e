"""Every branch of the diagram in ``plans/decide.py``, from observations of a pretend cluster."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from kfarm_operator.plans.decide import Assign, Evict, Release, Report, Simulate, Wait, next_epoch


@pytest.fixture
def scene(scenes: Any) -> Any:
    """Four nodes, a gang of two; nothing decided yet."""
    return scenes.Scene()


@pytest.fixture
def loose(scenes: Any) -> Any:
    """Four nodes, two pods that are no gang."""
    return scenes.Scene(workloads=[scenes.workload_body(gang=False)])


def approved(scene: Any, *pods: str) -> list[str]:
    """Approve, then add pods; returns their uids."""
    scene.settle()
    assert scene.status["verdict"] == "Approved"
    return [scene.pod(name) for name in pods]


def running(scene: Any, *pods: str) -> list[str]:
    """Approve, release and bind pods; returns their uids."""
    uids = approved(scene, *pods)
    scene.settle()
    scene.bind(*uids)
    return uids


def node_of(scene: Any, uid: str) -> str:
    return str(scene.pods[uid]["spec"]["nodeSelector"]["kubernetes.io/hostname"])


@pytest.mark.parametrize(
    ("remove", "reason", "named"),
    [
        (lambda s: setattr(s, "policy", None), "PolicyNotFound", "'p'"),
        (lambda s: setattr(s, "farm", None), "FarmNotFound", "'f'"),
        (lambda s: s.farm["metadata"].update(deletionTimestamp="x"), "FarmNotFound", "'f'"),
        (lambda s: s.profiles.clear(), "ProfileNotFound", "'b200'"),
    ],
)
def test_a_missing_reference_is_waited_for_and_named(
    scene: Any, remove: Any, reason: str, named: str
) -> None:
    approved(scene, "a", "b")
    remove(scene)
    decision = scene.decide()
    assert isinstance(decision, Wait)
    assert decision.reason == reason
    assert named in decision.message
    scene.step()
    conditions = {c["type"]: c["status"] for c in scene.status["conditions"]}
    assert conditions == {"Ready": "False", "Validated": "True", "Released": "False"}


@pytest.mark.parametrize("how", ["no status", "old generation", "few nodes"])
def test_a_farm_that_is_not_made_yet_is_waited_for(scene: Any, how: str) -> None:
    if how == "no status":
        del scene.farm["status"]
    elif how == "old generation":
        scene.farm["metadata"]["generation"] = 2
    else:
        scene.farm["status"]["nodes"] = 3
    decision = scene.decide()
    assert isinstance(decision, Wait)
    assert (decision.reason, decision.again_s) == ("FarmNotReady", 2.0)


def test_a_new_plan_is_simulated_as_epoch_0(scene: Any) -> None:
    scene.pod("a")
    assert scene.decide() == Simulate(0, "new generation")


def test_epochs_only_grow(scene: Any) -> None:
    assert next_epoch(None) == next_epoch(scene.observed().plan.status) == 0
    approved(scene)
    assert next_epoch(scene.observed().plan.status) == 1


@pytest.mark.parametrize("word", ["Rejected", "Inconclusive"])
def test_nothing_is_released_without_an_approval(scene: Any, word: str) -> None:
    scene.pod("a")
    scene.pod("b")
    decision = scene.settle(word)
    assert isinstance(decision, Report)
    assert decision.reason in ("ChecksFailed", "Undecided")
    assert scene.claims == []


def test_an_approval_of_an_earlier_generation_releases_nothing(scene: Any) -> None:
    approved(scene, "a", "b")
    assert isinstance(scene.decide(), Assign)
    scene.edit(load=50)
    assert scene.decide() == Simulate(1, "new generation")


def test_assigned_pods_of_an_edited_plan_are_not_released(scene: Any) -> None:
    approved(scene, "a", "b")
    assert isinstance(scene.step(), Assign)
    scene.edit(load=50)
    assert scene.decide() == Simulate(1, "new generation")


def test_an_edit_evicts_what_is_unbound_before_it_simulates(loose: Any) -> None:
    bound, unbound = approved(loose, "a", "b")
    loose.settle()
    loose.bind(bound)
    loose.edit(load=50)
    decision = loose.step()
    assert isinstance(decision, Evict)
    assert [pod.uid for pod in decision.pods] == [unbound]
    assert isinstance(loose.step(), Simulate)
    assert [slot.get("podUid") for slot in loose.slots] == [bound, None]


def test_an_evicted_pod_that_lingers_is_no_survivor(loose: Any) -> None:
    """Unbound and being deleted: it will never run, so it holds neither a slot nor a node."""
    (uid,) = approved(loose, "a")
    loose.settle()
    loose.edit(load=50)
    assert isinstance(loose.decide(), Evict)
    loose.pods[uid]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    loose.settle()
    assert loose.status["verdict"] == "Approved"
    assert [slot.get("podUid") for slot in loose.slots] == [None, None]


def test_a_gang_waits_until_it_is_whole(scene: Any) -> None:
    approved(scene, "a")
    decision = scene.decide()
    assert isinstance(decision, Report)
    assert decision.reason == "WaitingForPods"
    assert "w: 1 of 2 pods are there" in decision.message
    scene.pod("b")
    decision = scene.decide()
    assert isinstance(decision, Assign)
    assert [(view.index, pod.name) for view, pod in decision.pairs] == [(0, "a"), (1, "b")]


def test_a_gang_with_a_pod_that_fits_no_slot_waits_whole(scenes: Any) -> None:
    """Two accelerators under two resource names: no part of a gang goes ahead."""
    workload = scenes.workload_body(accelerators=["b200", "npu"])
    scene = scenes.Scene(nodes=1, workloads=[workload])
    scene.profiles.append(scenes.profile_body("npu", "example.com/npu"))
    scene.farm["spec"]["clusters"].append(scenes.cluster_body("n", nodes=1, accelerator="npu"))
    scene.make_nodes()
    approved(scene, "a", "b")
    decision = scene.settle()
    assert decision.reason == "WaitingForPods"
    assert all(body["spec"]["schedulingGates"] for body in scene.pods.values())


def test_pods_that_are_no_gang_go_as_they_come(loose: Any) -> None:
    approved(loose, "a")
    assert isinstance(loose.step(), Assign)
    decision = loose.step()
    assert isinstance(decision, Release)
    assert [host for _, _, host in decision.pairs] == ["f-c-0000"]


def test_pods_take_slots_by_completion_index(scene: Any) -> None:
    approved(scene)
    for name, index in (("x", "1"), ("y", "0")):
        uid = scene.pod(name)
        scene.pods[uid]["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] = index
    decision = scene.decide()
    assert [(view.index, pod.name) for view, pod in decision.pairs] == [(0, "y"), (1, "x")]


def test_a_crash_between_assign_and_release_is_picked_up(scene: Any) -> None:
    uids = approved(scene, "a", "b")
    assert isinstance(scene.step(), Assign)
    assert {slot["podUid"] for slot in scene.slots} == set(uids)
    decision = scene.step()
    assert isinstance(decision, Release)
    assert {pod.uid for _, pod, _ in decision.pairs} == set(uids)
    assert isinstance(scene.decide(), Report)


def test_a_replaced_pod_opens_an_epoch_in_which_survivors_stay(scene: Any) -> None:
    stays, goes = running(scene, "a", "b")
    host = node_of(scene, stays)
    del scene.pods[goes]
    assert isinstance(scene.decide(), Report)
    scene.pod("b2")
    assert scene.decide() == Simulate(1, "a pod was replaced")
    scene.settle()
    assert scene.status["epoch"] == 1
    assert scene.slots[0] | {"podUid": stays, "node": host} == scene.slots[0]
    assert all(not body["spec"]["schedulingGates"] for body in scene.pods.values())


def test_a_pod_that_ended_vacates_its_slot(scene: Any) -> None:
    for uid in running(scene, "a", "b"):
        scene.pods[uid]["status"]["phase"] = "Succeeded"
    assert isinstance(scene.decide(), Report)
    assert all(view.vacated for view in scene.observed().slots)


def test_an_expired_verdict_is_given_anew_once_pods_ask(scene: Any) -> None:
    approved(scene)
    scene.wait(3600)
    assert isinstance(scene.decide(), Report)
    scene.pod("a")
    assert scene.decide() == Simulate(1, "the verdict expired")


@pytest.mark.parametrize("how", ["gone", "other epoch", "other generation", "other node"])
def test_a_claim_that_does_not_hold_releases_nothing(scene: Any, how: str) -> None:
    approved(scene, "a", "b")
    if how == "gone":
        scene.claims.clear()
    elif how == "other node":
        scene.claims[0]["nodes"].pop()
    else:
        scene.claims[0][how.removeprefix("other ")] = 7
    assert scene.decide() == Simulate(1, "the claim on its nodes is gone")


def _fail(body: Any) -> None:
    body["status"]["conditions"][0]["status"] = "False"


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (_fail, "is not Ready"),
        (lambda b: b["spec"].update(unschedulable=True), "does not take pods"),
        (lambda b: b["metadata"].update(uid="new"), "changed"),
        (lambda b: b["metadata"]["labels"].update({"kfarm.dev/rack": "y"}), "changed"),
        (lambda b: b["status"]["allocatable"].update({"nvidia.com/gpu": "7"}), "changed"),
        (lambda b: b["spec"]["taints"].append({"key": "k", "effect": "PreferNoSchedule"}), "chang"),
        (lambda b: b["metadata"].update(deletionTimestamp="x"), "is gone"),
    ],
)
@pytest.mark.parametrize("when", ["approved", "pods wait", "assigned"])
def test_a_node_that_lost_its_footing_is_not_used(
    scene: Any, harm: Any, why: str, when: str
) -> None:
    approved(scene, *(() if when == "approved" else ("a", "b")))
    if when == "assigned":
        assert isinstance(scene.step(), Assign)
    harm(scene.nodes[scene.slots[1]["node"]])
    decision = scene.decide()
    assert isinstance(decision, Simulate)
    assert why in decision.why


def test_a_lost_node_under_a_running_gang_changes_nothing_by_itself(scene: Any) -> None:
    running(scene, "a", "b")
    scene.settle()
    scene.set_ready(scene.slots[0]["node"], False)
    assert isinstance(scene.decide(), Report)


@pytest.mark.parametrize("lost", ["not ready", "gone"])
def test_a_released_pod_on_a_lost_node_is_evicted(scene: Any, lost: str) -> None:
    a, _ = approved(scene, "a", "b")
    scene.settle()
    host = node_of(scene, a)
    if lost == "gone":
        del scene.nodes[host]
    else:
        scene.set_ready(host, False)
    decision = scene.step()
    assert isinstance(decision, Evict)
    assert [pod.uid for pod in decision.pods] == [a]


def test_changed_specs_evict_the_unbound_and_are_validated_again(scenes: Any) -> None:
    scene = scenes.Scene(workloads=[scenes.workload_body(gang=False, pods=3)])
    bound, unbound = approved(scene, "a", "b")
    scene.settle()
    scene.bind(bound)
    scene.policy["spec"]["checks"][0]["atLeast"] = "0.6"
    assert isinstance(scene.decide(), Report)
    scene.pod("c")
    decision = scene.step()
    assert isinstance(decision, Evict)
    assert [pod.uid for pod in decision.pods] == [unbound]
    assert scene.decide() == Simulate(1, "the plan's policy, farms or profiles changed")


def test_changed_specs_evict_before_the_rest_of_a_gang_goes(scene: Any) -> None:
    """A crash in the middle of a release, then an edit of the policy: half a gang is taken back."""
    a, b = approved(scene, "a", "b")
    scene.step()
    release = scene.decide()
    assert isinstance(release, Release)
    scene._release(release.pairs[0][1], release.pairs[0][2])
    scene.policy["spec"]["checks"][0]["atLeast"] = "0.6"
    decision = scene.step()
    assert isinstance(decision, Evict)
    assert [pod.uid for pod in decision.pods] == [a]
    assert isinstance(scene.decide(), Simulate)
    assert b in scene.pods


def test_half_a_release_is_completed_under_the_same_verdict(scene: Any) -> None:
    approved(scene, "a", "b")
    scene.step()
    release = scene.decide()
    scene._release(release.pairs[0][1], release.pairs[0][2])
    decision = scene.step()
    assert isinstance(decision, Release)
    assert [pod.name for _, pod, _ in decision.pairs] == ["b"]
    assert scene.status["epoch"] == 0


def test_revalidation_is_held_off_and_says_so(scene: Any) -> None:
    approved(scene, "a", "b")
    scene.claims.clear()
    scene.hold_until = scene.now + timedelta(seconds=30)
    decision = scene.step()
    assert isinstance(decision, Report)
    assert (decision.reason, decision.again_s) == ("Revalidating", 30)
    assert scene.status["conditions"][0]["status"] == "False"
    scene.wait(30)
    assert isinstance(scene.decide(), Simulate)


def test_a_refusal_is_simulated_again_only_when_inputs_change(scene: Any) -> None:
    scene.settle("Rejected")
    scene.wait(7 * 24 * 3600)
    scene.pod("a")
    assert isinstance(scene.decide(), Report)
    scene.set_ready("f-c-0003", False)
    assert scene.decide() == Simulate(1, "its inputs changed")
    scene.hold_until = scene.now + timedelta(seconds=4)
    decision = scene.decide()
    assert isinstance(decision, Report)
    assert (decision.reason, decision.again_s) == ("ChecksFailed", 4)


def test_a_refusal_with_survivors_is_not_its_own_change(loose: Any) -> None:
    """The pod of slot 1 runs, that of slot 0 is gone: refused once, not over and over."""
    first, second = running(loose, "a", "b")
    del loose.pods[first]
    loose.pod("c")
    assert isinstance(loose.step("Rejected"), Simulate)
    assert [slot["podUid"] for slot in loose.slots] == [second]
    assert isinstance(loose.decide(), Report)


def test_a_twin_that_fails_is_asked_three_times_with_growing_pauses(scene: Any) -> None:
    pauses = []
    for attempt in range(1, 4):
        assert isinstance(scene.step("Crashed"), Simulate)
        assert scene.status["attempts"] == attempt
        decision = scene.decide()
        assert isinstance(decision, Report)
        if decision.again_s is not None:
            pauses.append(decision.again_s)
            scene.wait(decision.again_s)
            assert scene.decide() == Simulate(attempt, "the twin failed", attempt)
    assert pauses == [10, 20]
    scene.wait(24 * 3600)
    assert scene.decide().again_s is None
    scene.set_ready("f-c-0003", False)
    assert scene.decide() == Simulate(3, "its inputs changed", 0)


def test_surplus_and_differing_pods_stay_gated_and_are_named(scene: Any) -> None:
    running(scene, "a", "b")
    surplus, greedy, lost = scene.pod("c"), scene.pod("d", devices=4), scene.pod("e", "absent")
    decision = scene.settle()
    assert [pod.uid for pod in decision.surplus] == [surplus]
    assert {pod.uid for pod, _ in decision.mismatched} == {greedy, lost}
    assert all(scene.pods[uid]["spec"]["schedulingGates"] for uid in (surplus, greedy, lost))


def test_a_pod_under_deletion_gets_no_slot(loose: Any) -> None:
    (uid,) = approved(loose, "a")
    loose.pods[uid]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert isinstance(loose.decide(), Report)


def test_nodes_under_pods_that_no_longer_match_are_not_given_away(scenes: Any) -> None:
    """Edited to half the size: the old pods still hold their nodes and are counted as used."""
    scene = scenes.Scene(nodes=2, workloads=[scenes.workload_body(gang=False)])
    running(scene, "a", "b")
    scene.edit(acceleratorsPerPod=4)
    scene.settle()
    assert scene.status["verdict"] == "Rejected"
    assert scene.status["placements"] == []


def test_a_surplus_pod_does_not_reopen_what_another_workload_has_finished(scenes: Any) -> None:
    bodies = [scenes.workload_body(name, pods=1, gang=False) for name in ("w", "v")]
    scene = scenes.Scene(workloads=bodies)
    scene.settle()
    done, busy = scene.pod("done"), scene.pod("busy", "v")
    scene.settle()
    scene.bind(done, busy)
    scene.pods[done]["status"]["phase"] = "Succeeded"
    surplus = scene.pod("surplus", "v")
    decision = scene.settle()
    assert isinstance(decision, Report)
    assert [pod.uid for pod in decision.surplus] == [surplus]
    assert scene.status["epoch"] == 0


def test_a_node_that_lost_a_selected_label_is_not_used(scenes: Any) -> None:
    selecting = scenes.workload_body(gang=False, nodeSelector={"zone": "a"})
    scene = scenes.Scene(workloads=[selecting])
    for body in scene.nodes.values():
        body["metadata"]["labels"]["zone"] = "a"
    scene.settle()
    lost = scene.slots[0]["node"]
    del scene.nodes[lost]["metadata"]["labels"]["zone"]
    scene.pod("a", nodeSelector={"zone": "a"})
    decision = scene.decide()
    assert isinstance(decision, Simulate)
    assert f"{lost} no longer carries the label zone=a" in decision.why


def test_a_gang_that_misses_pods_is_not_simulated_until_it_is_whole(scene: Any) -> None:
    for uid in running(scene, "a", "b"):
        del scene.pods[uid]
    scene.pod("c")
    decision = scene.decide()
    assert isinstance(decision, Report)
    assert decision.reason == "WaitingForPods"
    assert "1 of 2 pods are there" in decision.message
    scene.pod("d")
    assert scene.decide() == Simulate(1, "a pod was replaced")
