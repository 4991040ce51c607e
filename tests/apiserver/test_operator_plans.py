"""Plans on a real control plane: verdicts, releases, and the races between them.

The twin is the real one; a door before its answer lets a test act in the middle of a simulation.
"""

from __future__ import annotations

from typing import Any

from kfarm_operator.runner import TwinFailed


def _claims(world: Any) -> list[dict[str, Any]]:
    ledger = world.get("nodeledger", f"gpufarm.{world.farm_name}")
    claims: list[dict[str, Any]] = (ledger.get("spec") or {}).get("claims") or []
    return claims


def _hosts(world: Any, plan: str = "train") -> dict[str, str]:
    """Node by pod."""
    return {p["metadata"]["name"]: p["spec"].get("nodeName", "") for p in world.pods(plan)}


def test_a_gang_is_bound_to_just_the_validated_nodes(world: Any) -> None:
    world.cluster.apply(world.plan(pods=4), world.job(pods=4))
    world.until(lambda: len(world.bound()) == 4)
    status = world.until_verdict("Approved")
    assert world.bound() == world.validated()
    world.until(lambda: world.status()["bound"] == 4)
    assert status["epoch"] == 0
    by_uid = {s["podUid"]: s["node"] for p in world.status()["placements"] for s in p["slots"]}
    assert by_uid == {p["metadata"]["uid"]: p["spec"]["nodeName"] for p in world.pods()}
    (claim,) = _claims(world)
    assert sorted(item["node"] for item in claim["nodes"]) == world.validated()
    assert claim["digest"] == status["inputsDigest"]


def test_a_gang_waits_until_it_is_whole(world: Any) -> None:
    world.cluster.apply(world.plan(pods=3), world.pod("a"), world.pod("b"))
    world.until_verdict("Approved")
    world.until(lambda: "2 of 3" in _message(world, "Ready"))
    assert world.gated() == 2
    world.cluster.apply(world.pod("c"))
    world.until(lambda: len(world.bound()) == 3)


def test_a_rejected_plan_keeps_its_pods_gated_and_says_why(world: Any) -> None:
    world.cluster.apply(world.policy(bound="1", metric="it_power_peak"))
    world.cluster.apply(world.plan(pods=2), world.job(pods=2))
    status = world.until_verdict("Rejected")
    assert "it_power_peak" in status["message"]
    assert status["checks"][0]["result"] == "Failed"
    assert world.gated() == 2
    assert _claims(world) == []
    assert world.events("Rejected")


def test_a_plan_that_does_not_fit_says_how_many_nodes_are_missing(world: Any) -> None:
    world.cluster.apply(world.plan(pods=9))
    status = world.until_verdict("Rejected")
    assert status["reason"] == "Unplaceable"
    assert "9" in status["message"]


def test_a_surplus_pod_stays_gated_with_an_event(world: Any) -> None:
    world.cluster.apply(world.plan(pods=2), world.pod("a"), world.pod("b"))
    world.until(lambda: len(world.bound()) == 2)
    world.cluster.apply(world.pod("c"))
    world.until(lambda: world.events("SurplusPod"))
    assert "pod c" in world.events("SurplusPod")[0]
    assert _hosts(world)["c"] == ""
    assert world.gated() == 1


def test_a_pod_that_differs_from_the_plan_stays_gated(world: Any) -> None:
    world.cluster.apply(world.plan(pods=1), world.pod("greedy", devices=4))
    world.until_verdict("Approved")
    world.until(lambda: world.events("PodDiffers"))
    assert "requests 4 accelerators; the plan validated 8" in world.events("PodDiffers")[0]
    selected = world.pod("choosy", nodeSelector={"kfarm.dev/rack": "elsewhere"})
    world.cluster.apply(selected)
    world.until(lambda: any("choosy" in message for message in world.events("PodDiffers")))
    assert world.gated() == 2
    world.cluster.apply(world.pod("right"))
    world.until(lambda: _hosts(world)["right"])


def test_two_plans_race_for_the_same_nodes(world: Any) -> None:
    """Both are simulated from the same snapshot; the ledger lets one of them through."""
    world.twin.door.clear()
    world.cluster.apply(world.plan("first", pods=6), world.plan("second", pods=6))
    world.cluster.apply(world.job("first", pods=6), world.job("second", pods=6))
    world.until(lambda: len(world.asked) == 2)
    assert [r.snapshot.nodes[0].used for r in world.asked] == [0, 0]
    world.twin.door.set()
    world.until(lambda: {_word(world, "first"), _word(world, "second")} == {"Approved", "Rejected"})
    winner = "first" if _word(world, "first") == "Approved" else "second"
    loser = "second" if winner == "first" else "first"
    world.until(lambda: len(world.bound(winner)) == 6)
    assert world.gated(loser) == 6
    claimed = [item["node"] for claim in _claims(world) for item in claim["nodes"]]
    assert len(claimed) == len(set(claimed)) == 6
    world.cluster.kubectl("delete", "job", winner, "-n", world.namespace, "--wait=true")
    world.cluster.kubectl("delete", "placementplan", winner, "-n", world.namespace)
    world.until(lambda: len(world.bound(loser)) == 6, "the loser's turn", 90)


def test_a_dead_node_opens_an_epoch_and_survivors_stay(world: Any) -> None:
    world.cluster.apply(world.plan(pods=4), world.job(pods=4))
    world.until(lambda: len(world.bound()) == 4)
    world.until(lambda: world.status().get("bound") == 4)
    before = {p["metadata"]["uid"]: p["spec"]["nodeName"] for p in world.pods()}
    dead_uid, dead = next(iter(before.items()))
    world.cluster.fail_node(dead)
    world.until(lambda: not _is_ready(world, dead))
    # What an SRE does with a node that will not come back: only then are its pods let go.
    out = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
    world.cluster.kubectl("taint", "node", dead, out)
    world.until(lambda: _whole_without(world, dead), "the replacement", 90)
    after = {p["metadata"]["uid"]: p["spec"]["nodeName"] for p in world.pods()}
    survivors = before.keys() - {dead_uid}
    assert survivors < after.keys()
    assert {uid: after[uid] for uid in survivors} == {uid: before[uid] for uid in survivors}
    world.until(lambda: world.status().get("bound") == 4)
    assert world.status()["epoch"] >= 1
    assert world.bound() == world.validated()
    fixed = [r.snapshot.survivors for r in world.asked if r.snapshot.epoch >= 1]
    assert len(fixed[-1]) == 3


def test_a_node_lost_between_verdict_and_release(world: Any) -> None:
    world.cluster.apply(world.plan(pods=2))
    world.until_verdict("Approved")
    lost = world.validated()[0]
    world.cluster.fail_node(lost)
    world.until(lambda: not _is_ready(world, lost))
    world.cluster.apply(world.job(pods=2))
    world.until(lambda: len(world.bound()) == 2)
    assert lost not in world.bound()
    world.until(lambda: world.validated() == world.bound())


def test_an_edit_mid_simulation_is_never_applied(world: Any) -> None:
    """The verdict on four pods must not release anything once the plan asks for more."""
    world.twin.door.clear()
    world.cluster.apply(world.plan(pods=2), world.job(pods=2))
    world.until(lambda: len(world.asked) == 1)
    world.cluster.apply(world.plan(pods=9))
    world.until(lambda: world.get("placementplan", "train")["metadata"]["generation"] == 2)
    world.twin.door.set()
    status = world.until_verdict("Rejected")
    assert status["observedGeneration"] == 2
    assert world.gated() == 2
    assert _claims(world) == []


def test_a_plan_recreated_under_its_name_mid_simulation(world: Any) -> None:
    world.twin.door.clear()
    world.cluster.apply(world.plan(pods=2), world.job(pods=2))
    world.until(lambda: len(world.asked) == 1)
    old = world.get("placementplan", "train")["metadata"]["uid"]
    world.cluster.kubectl("delete", "placementplan", "train", "-n", world.namespace)
    world.cluster.apply(world.plan(pods=9))
    new = world.get("placementplan", "train")["metadata"]["uid"]
    assert new != old
    world.twin.door.set()
    status = world.until_verdict("Rejected")
    assert status["reason"] == "Unplaceable"
    assert world.gated() == 2
    world.until(lambda: all(claim["uid"] != old for claim in _claims(world)))


def test_a_plan_deleted_mid_simulation_leaves_nothing(world: Any) -> None:
    world.twin.door.clear()
    world.cluster.apply(world.plan(pods=2), world.job(pods=2))
    world.until(lambda: len(world.asked) == 1)
    world.cluster.kubectl("delete", "placementplan", "train", "-n", world.namespace)
    world.twin.door.set()
    world.cluster.apply(world.plan("other", pods=8))
    world.until_verdict("Approved", "other")
    world.until(lambda: [claim["plan"] for claim in _claims(world)] == ["other"])
    assert world.gated() == 2


def test_a_farm_changed_mid_simulation_is_validated_again(world: Any) -> None:
    world.twin.door.clear()
    world.cluster.apply(world.plan(pods=8), world.job(pods=8))
    world.until(lambda: len(world.asked) == 1)
    world.cluster.apply(world.farm(nodes=8, spares=2))
    world.until(lambda: world.get("gpufarm", world.farm_name)["metadata"]["generation"] == 2)
    world.twin.door.set()
    status = world.until_verdict("Rejected")
    assert status["reason"] == "Unplaceable"
    assert world.gated() == 8


def test_an_edit_with_half_the_gang_released(world: Any) -> None:
    """Bound pods stay and are counted; unbound ones are evicted; the new plan decides the rest."""
    plan = world.plan(pods=4, gang=False, **{"class": "Interactive"})
    world.cluster.apply(plan, world.pod("a"), world.pod("b"))
    world.until(lambda: len(world.bound()) == 2)
    world.cluster.stop_component("kube-scheduler")
    try:
        world.cluster.apply(world.pod("c"))
        world.until(lambda: world.gated() == 0)
        assert _hosts(world)["c"] == ""
        plan["spec"]["workloads"][0]["pods"] = 3
        world.cluster.apply(plan)
        status = world.until_verdict("Approved")
        world.until(lambda: "c" not in _hosts(world))
    finally:
        world.cluster.start_component("kube-scheduler")
    assert world.events("Evicted")
    slots = [slot for p in status["placements"] for slot in p["slots"]]
    assert len(slots) == 3
    assert {slot["pod"] for slot in slots if slot.get("pod")} == {"a", "b"}
    hosts = _hosts(world)
    assert {slot["node"] for slot in slots if slot.get("pod")} == {hosts["a"], hosts["b"]}


def test_bound_pods_of_an_edited_plan_are_kept_when_it_is_rejected(world: Any) -> None:
    world.cluster.apply(world.plan(pods=2), world.job(pods=2))
    world.until(lambda: len(world.bound()) == 2)
    hosts = _hosts(world)
    world.cluster.apply(world.plan(pods=9))
    status = world.until_verdict("Rejected")
    assert _hosts(world) == hosts
    assert sum(len(p["slots"]) for p in status["placements"]) == 2


def test_a_twin_that_fails_is_asked_a_bounded_number_of_times(world: Any) -> None:
    def crash(request: Any) -> None:
        if request.plan.metadata.name == "train":
            raise TwinFailed("Crashed", "the run ended with signal 11")

    world.twin.before = crash
    world.cluster.apply(world.plan(pods=2), world.job(pods=2))
    status = world.until_verdict("Inconclusive")
    assert status["reason"] == "Crashed"
    assert "signal 11" in status["message"]
    world.until(lambda: world.status().get("attempts") == 3, "three attempts", 90)
    reconciles = world.operator.reconciles
    world.cluster.kubectl("annotate", "placementplan", "train", "-n", world.namespace, "touched=y")
    world.until(lambda: world.operator.reconciles > reconciles)
    assert len(world.asked) == 3
    world.cluster.apply(world.plan("healthy", pods=2))
    world.until_verdict("Approved", "healthy")
    assert world.gated() == 2
    world.twin.before = lambda _: None
    world.cluster.apply(world.plan(pods=2, load=70))
    world.until(lambda: len(world.bound()) == 2)


def test_a_missing_policy_is_named_and_mended(world: Any) -> None:
    plan = world.plan(pods=1)
    plan["spec"]["policy"] = "absent"
    world.cluster.apply(plan, world.pod("a"))
    world.until(lambda: "absent" in _message(world, "Ready"))
    assert world.status().get("verdict") is None
    policy = world.policy()
    policy["metadata"]["name"] = "absent"
    world.cluster.apply(policy)
    world.until(lambda: len(world.bound()) == 1)


def test_an_expired_verdict_is_given_anew_before_release(world: Any) -> None:
    policy = world.policy()
    policy["spec"]["timeToLive"] = "1s"
    world.cluster.apply(policy, world.plan(pods=1))
    world.until_verdict("Approved", epoch=0)
    world.until(lambda: _seconds_left(world) < 0)
    world.cluster.kubectl("patch", "validationpolicy", world.farm_name, "--type=merge",
                          "-p", '{"spec":{"timeToLive":"1h"}}')  # fmt: skip
    world.cluster.apply(world.pod("a"))
    world.until(lambda: len(world.bound()) == 1)
    assert world.status()["epoch"] >= 1


def test_steady_state_writes_nothing(world: Any) -> None:
    world.cluster.apply(world.plan(pods=2), world.job(pods=2))
    world.until(lambda: world.status().get("bound") == 2)
    writes, reconciles = world.operator.writes, world.operator.reconciles
    world.cluster.kubectl("annotate", "placementplan", "train", "-n", world.namespace, "touched=y")
    world.until(lambda: world.operator.reconciles > reconciles)
    assert world.operator.writes == writes


def test_a_finished_gang_gives_its_claim_back(world: Any) -> None:
    pods = [world.pod(name) for name in ("a", "b")]
    for pod in pods:
        pod["metadata"]["annotations"] = {"kwok.kfarm.dev/complete-after": "1s"}
    world.cluster.apply(world.plan(pods=2), *pods)
    world.until(lambda: [p["status"]["phase"] for p in world.pods()] == ["Succeeded"] * 2)
    world.until(lambda: _claims(world) == [])
    world.cluster.apply(world.plan("next", pods=8), world.job("next", pods=8))
    world.until(lambda: len(world.bound("next")) == 8)


def _whole_without(world: Any, dead: str) -> bool:
    bound = world.bound()
    return len(bound) == 4 and dead not in bound


def _word(world: Any, plan: str) -> str:
    return str(world.status(plan).get("verdict"))


def _message(world: Any, kind: str, plan: str = "train") -> str:
    conditions = world.status(plan).get("conditions") or ()
    return next((str(c["message"]) for c in conditions if c["type"] == kind), "")


def _is_ready(world: Any, node: str) -> bool:
    conditions = world.get("node", node)["status"]["conditions"]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _seconds_left(world: Any) -> float:
    from datetime import UTC, datetime

    expires = datetime.fromisoformat(world.status()["expiresAt"])
    return (expires - datetime.now(UTC)).total_seconds()
