"""What others hold of a farm, and which pods sit in which slots."""

from __future__ import annotations

from typing import Any

import pytest
from kfarm_operator.plans.request import build_snapshot, find_survivors, used_by_others

FIRST = "f-c-0000"


@pytest.fixture
def scene(scenes: Any) -> Any:
    return scenes.Scene()


def test_foreign_pods_count_where_they_run(scene: Any) -> None:
    scene.foreign_pod(FIRST, 3)
    scene.foreign_pod(FIRST, 2, "other")
    ended = scene.foreign_pod(FIRST, 1)
    scene.pods[ended]["status"]["phase"] = "Succeeded"
    scene.foreign_pod("elsewhere", 8)
    assert scene.observed().usage == {FIRST: 5}


@pytest.mark.parametrize(
    ("claimed", "running", "used"), [(8, 0, 8), (8, 3, 8), (4, 4, 4), (2, 4, 4)]
)
def test_a_claim_counts_for_what_its_pods_do_not_hold_yet(
    scene: Any, claimed: int, running: int, used: int
) -> None:
    scene.claim(FIRST, claimed)
    if running:
        scene.foreign_pod(FIRST, running, "other")
    assert scene.observed().usage == {FIRST: used}


def test_pods_of_one_plan_do_not_stand_for_the_claim_of_another(scene: Any) -> None:
    scene.claim(FIRST, 4)
    scene.foreign_pod(FIRST, 4, "third")
    assert scene.observed().usage == {FIRST: 8}


def test_an_expired_claim_counts_for_nothing_but_its_pods_do(scene: Any) -> None:
    scene.claim(FIRST, 8, expires_s=60)
    scene.foreign_pod(FIRST, 3, "other")
    scene.wait(60)
    assert scene.observed().usage == {FIRST: 3}


@pytest.mark.parametrize(
    ("gated", "deleting", "used"),
    [(False, False, {FIRST: 8}), (True, False, {}), (False, True, {})],
)
def test_a_pinned_pod_of_others_counts_once_it_is_released_and_will_run(
    scene: Any, gated: bool, deleting: bool, used: dict[str, int]
) -> None:
    uid = scene.pod("x", nodeSelector={"kubernetes.io/hostname": FIRST})
    body = scene.pods[uid]
    body["metadata"]["labels"]["kfarm.dev/placement-plan"] = "other"
    if not gated:
        body["spec"]["schedulingGates"] = []
    if deleting:
        body["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert scene.observed().usage == used


def test_the_plans_own_claim_and_pods_are_not_used_by_others(scene: Any) -> None:
    scene.pod("a")
    scene.pod("b")
    scene.settle()
    assert len(scene.claims[0]["nodes"]) == 2
    observed = scene.observed()
    assert observed.usage == {}
    assert {pod.name for pod in observed.pods} == {"a", "b"}
    assert observed.claim(("GPUFarm", "f")) is not None
    assert observed.others_claims(("GPUFarm", "f")) == []


def test_a_pod_of_the_same_plan_name_in_another_namespace_is_foreign(scene: Any) -> None:
    uid = scene.foreign_pod(FIRST, 8, "train")
    scene.pods[uid]["metadata"]["namespace"] = "elsewhere"
    observed = scene.observed()
    assert observed.pods == ()
    assert observed.usage == {FIRST: 8}


def test_nodes_of_other_farms_and_nodes_under_deletion_are_left_out(scene: Any) -> None:
    scene.nodes[FIRST]["metadata"]["deletionTimestamp"] = "x"
    scene.nodes["f-c-0001"]["metadata"]["labels"]["kfarm.dev/farm"] = "g"
    assert sorted(scene.observed().nodes) == ["f-c-0002", "f-c-0003"]


def test_slots_know_their_live_pods(scene: Any) -> None:
    first, second = scene.pod("a"), scene.pod("b")
    scene.settle()
    scene.bind(first, second)
    scene.pods[second]["status"]["phase"] = "Failed"
    held, left = scene.observed().slots
    assert (held.pod.uid, held.free, held.vacated) == (first, False, False)
    assert (left.pod, left.free, left.vacated) == (None, True, True)


def test_the_specs_digest_follows_what_the_plan_rests_on(scenes: Any, scene: Any) -> None:
    before = scene.observed().specs_digest
    scene.profiles.append(scenes.profile_body("unused"))
    scene.plan["metadata"]["labels"] = {"a": "b"}
    scene.farm["status"]["readyNodes"] = 1
    assert scene.observed().specs_digest == before
    for change in (
        lambda: scene.profiles[0]["spec"]["power"].update(tdp=900),
        lambda: scene.policy["spec"].update(timeToLive="2h"),
        lambda: scene.farm["spec"]["clusters"][0].update(spares=1),
        lambda: scene.plan["spec"]["workloads"][0].update(load=1),
    ):
        change()
        after = scene.observed().specs_digest
        assert after != before
        before = after


def test_the_snapshot_lists_every_place_of_the_farm(scene: Any) -> None:
    del scene.nodes["f-c-0001"]
    scene.nodes["f-c-0002"]["spec"]["unschedulable"] = True
    scene.nodes["f-c-0003"]["status"]["allocatable"] = {"nvidia.com/gpu": "6"}
    scene.foreign_pod(FIRST, 2)
    states = build_snapshot(scene.observed(), {}, 0).nodes
    rows = [(s.ready, s.schedulable, s.accelerators, s.used, s.live) for s in states]
    assert rows == [
        (True, True, 8, 2, False),
        (False, False, 0, 0, False),
        (True, False, 8, 0, False),
        (True, True, 6, 0, False),
    ]


def test_survivors_match_hold_a_place_and_are_numbered_without_gaps(scenes: Any) -> None:
    scene = scenes.Scene(workloads=[scenes.workload_body(gang=False, pods=3)])
    scene.settle()
    uids = [scene.pod(name) for name in ("a", "b", "c")]
    scene.settle()
    scene.bind(*uids[1:])
    del scene.pods[uids[0]]
    scene.pod("waits")
    other = scene.foreign_pod("f-c-0003", 4, "train")
    scene.pods[other]["metadata"]["labels"]["kfarm.dev/workload"] = "w"
    observed = scene.observed()
    survivors = find_survivors(observed)
    assert {seat: pod.name for seat, pod in survivors.items()} == {("w", 0): "b", ("w", 1): "c"}
    assert used_by_others(observed, survivors) == {"f-c-0003": 4}


def test_more_survivors_than_pods_keep_their_nodes_but_no_slot(scenes: Any) -> None:
    scene = scenes.Scene(workloads=[scenes.workload_body(gang=False)])
    scene.settle()
    uids = [scene.pod(name) for name in ("a", "b")]
    scene.settle()
    scene.bind(*uids)
    scene.edit(pods=1)
    observed = scene.observed()
    survivors = find_survivors(observed)
    assert [pod.uid for pod in survivors.values()] == uids[:1]
    assert used_by_others(observed, survivors) == {scene.slots[1]["node"]: 8}
