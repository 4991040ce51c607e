"""Which plans a change concerns, and that nothing is released while the gate is open."""

from __future__ import annotations

from typing import Any

import pytest
from kfarm_api.base import Condition
from kfarm_api.ledger import NodeLedger
from kfarm_operator.conditions import transitions
from kfarm_operator.index import Index, parse
from kfarm_operator.plans.decide import Assign, Release, Report, Simulate, decide
from kfarm_operator.plans.part import concerns, frees
from kfarm_operator.plans.shut import REASON, while_shut


@pytest.fixture
def scene(scenes: Any) -> Any:
    return scenes.Scene()


def test_an_approved_plan_is_concerned_by_its_own_nodes_only(scene: Any) -> None:
    plan = scene.observed().plan
    assert concerns(plan, {"any"})
    scene.settle()
    plan = scene.observed().plan
    own = {slot["node"] for slot in scene.slots}
    other = set(scene.nodes) - own
    assert other
    assert not concerns(plan, other)
    assert not concerns(plan, {""})
    assert concerns(plan, {*other, *own})
    scene.edit(pods=1)
    assert concerns(scene.observed().plan, other)


def test_a_refused_plan_is_concerned_by_any_node(scenes: Any) -> None:
    scene = scenes.Scene(workloads=[scenes.workload_body(pods=40)])
    scene.settle()
    assert scene.status["verdict"] != "Approved"
    assert concerns(scene.observed().plan, {"any"})


def ledger(scene: Any) -> NodeLedger:
    body = {
        "apiVersion": "kfarm.dev/v1alpha1",
        "kind": "NodeLedger",
        "metadata": {"name": "gpufarm.f", "uid": "l", "resourceVersion": "1"},
        "spec": {"claims": scene.claims},
    }
    found = parse(body)
    assert isinstance(found, NodeLedger)
    return found


def test_only_a_ledger_that_leaves_more_room_concerns_those_who_wait(scene: Any) -> None:
    empty = ledger(scene)
    scene.claim("f-c-0000", 4)
    one = ledger(scene)
    scene.claims[0]["nodes"][0]["accelerators"] = 2
    less = ledger(scene)
    assert not frees(None, one)
    assert not frees(empty, one)
    assert not frees(one, one)
    assert not frees(less, one)
    assert frees(one, less)
    assert frees(one, empty)
    assert frees(one, None)


@pytest.mark.parametrize("released", [False, True])
def test_while_the_gate_is_open_nothing_is_given_a_slot_or_released(
    scene: Any, released: bool
) -> None:
    scene.step()
    for name in ("a", "b"):
        scene.pod(name)
    if released:
        scene.step()
    step = decide(scene.observed())
    assert isinstance(step, Release if released else Assign)
    assert while_shut(step, ()) is step
    held = while_shut(step, ("policy x is missing",))
    assert isinstance(held, Report)
    assert held.reason == REASON
    assert "policy x is missing" in held.message
    assert "helm upgrade" in held.message


def test_while_the_gate_is_open_verdicts_are_still_given(scene: Any) -> None:
    assert isinstance(while_shut(decide(scene.observed()), ("x",)), Simulate)


def test_the_index_finds_plans_by_farm_and_policy_and_tells_of_changes(scene: Any) -> None:
    index, told = Index(), []
    index.listen(lambda before, after: told.append((before is None, after is None)))
    plan = {**scene.plan, "metadata": {**scene.plan["metadata"], "resourceVersion": "5"}}
    index.put(plan)
    index.put(plan)
    assert [p.metadata.name for p in index.plans_of_farm("GPUFarm", "f")] == ["train"]
    assert [p.metadata.name for p in index.plans_of_policy("p")] == ["train"]
    edited = {**plan, "metadata": {**plan["metadata"], "resourceVersion": "6"}}
    edited["spec"] = {**plan["spec"], "policy": "other"}
    index.put(edited)
    assert index.plans_of_policy("p") == []
    assert len(index.plans_of_policy("other")) == 1
    index.remove(edited)
    index.remove(edited)
    assert index.plans_of_farm("GPUFarm", "f") == index.plans_of_policy("other") == []
    assert told == [(True, False), (False, False), (False, True)]


def test_transitions_are_turns_and_new_reasons_not_new_messages() -> None:
    def made(status: Any, reason: str, message: str = "m") -> Condition:
        moment = "2026-01-01T00:00:00Z"
        return Condition(type="Ready", status=status, reason=reason, message=message,
                         last_transition_time=moment)  # fmt: skip

    def turned(before: list[Condition], after: Condition) -> bool:
        return bool(transitions(before, [after.as_manifest()]))

    waits = made("False", "Waiting")
    assert turned([], waits)
    assert not turned([waits], made("False", "Waiting", "2 of 4"))
    assert turned([waits], made("False", "Missing"))
    assert turned([waits], made("True", "Approved"))
    assert not turned([made("True", "Approved")], made("True", "Releasing"))
