"""Many plans at once: fair, each worked on in its newest form, and still when all is said."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from kfarm_controlplane.inprocess import InProcessOperator
from kfarm_operator.service import Timing

QUICK = Timing(relist_s=1.0)
EVENTS = ("-n", "default", "--field-selector", "involvedObject.name=kfarm-gate")


def _plans(world: Any, namespaces: list[str], count: int) -> list[dict[str, Any]]:
    bodies = []
    for namespace in namespaces:
        for number in range(count):
            body = world.plan(f"p{number:02}", pods=1)
            body["metadata"]["namespace"] = namespace
            bodies.append(body)
    return bodies


def _namespace(world: Any, suffix: str) -> str:
    name = f"{world.namespace}-{suffix}"
    labels = {"kfarm.dev/enforce": "true"}
    world.cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    )
    return name


def test_a_crowd_is_served_in_turns_and_then_all_is_still(lone_world: Any) -> None:
    """Thirty plans of one namespace are there before three of another: these come first."""
    world = lone_world
    with world.operate():
        world.prepare(nodes=8)
    big, small = _namespace(world, "big"), _namespace(world, "small")
    world.cluster.apply(*_plans(world, [big], 30), *_plans(world, [small], 3))
    asked: list[tuple[str, str]] = []
    lock = threading.Lock()

    def note(request: Any) -> None:
        with lock:
            key = (request.plan.metadata.namespace, request.plan.metadata.name)
            if key not in asked:  # who loses a race for nodes asks again
                asked.append(key)

    world.twin.before = note
    with InProcessOperator(world.installation, world.twin, timing=QUICK) as operator:
        service = operator.service
        assert service is not None

        def decided() -> bool:
            items = [
                i
                for n in (big, small)
                for i in world.cluster.get("placementplans", "-n", n)["items"]
            ]
            return all((item.get("status") or {}).get("verdict") for item in items)

        world.until(decided, "all verdicts", timeout_s=200)
        assert max(n for n, (name, _) in enumerate(asked) if name == small) < 12
        queue = service.queue("plans")
        world.until(lambda: queue.depth == 0)
        _settle(world, operator)
        writes, done = operator.writes, queue.done
        world.until(lambda: queue.done >= done + 2 * 33, "two more rounds")
        assert operator.writes == writes


def _settle(world: Any, operator: InProcessOperator) -> None:
    """Until a whole round of re-lists wrote nothing."""
    service = operator.service
    assert service is not None
    queue = service.queue("plans")

    def still() -> bool:
        writes, done = operator.writes, queue.done
        world.until(lambda: queue.done >= done + 33)
        return operator.writes == writes

    world.until(still, "no more writes")


def test_of_a_plan_that_is_edited_while_it_waits_only_the_newest_is_simulated(world: Any) -> None:
    """Four plans hold all workers; the fifth is edited twice before its turn comes."""
    world.twin.door.clear()
    others = [f"busy{number}" for number in range(4)]
    world.cluster.apply(*(world.plan(name, pods=1) for name in others))
    world.until(lambda: len(world.asked) == 4, "all workers to be busy")
    for pods in (1, 2, 3):
        world.cluster.apply(world.plan("late", pods=pods))
    service = world.operator.service
    world.until(lambda: service.queue("plans").waiting >= 1)
    world.twin.door.set()
    world.until_verdict("Approved", "late")
    asked = [r.plan for r in world.asked if r.plan.metadata.name == "late"]
    assert {(p.metadata.generation, p.spec.workloads[0].pods) for p in asked} == {(3, 3)}


@pytest.mark.parametrize("how", ["deleted", "weakened"])
def test_while_a_policy_of_the_gate_is_amiss_nothing_is_released(lone_world: Any, how: str) -> None:
    world, name = lone_world, "kfarm-gate-namespaces"
    kind = "validatingadmissionpolicybinding"
    saved = world.cluster.get(kind, name)
    for field in ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"):
        saved["metadata"].pop(field, None)
    with InProcessOperator(world.installation, world.twin, timing=QUICK) as operator:
        world.prepare()
        service = operator.service
        assert service is not None
        try:
            if how == "deleted":
                world.cluster.kubectl("delete", kind, name)
            else:
                world.cluster.apply(
                    {**saved, "spec": {**saved["spec"], "validationActions": ["Warn"]}}
                )
            world.until(lambda: "[-]gate" in _verbose(operator), "the fault to be seen")
            world.cluster.apply(world.plan(pods=2), world.job(pods=2))
            world.until(lambda: _ready(world).get("reason") == "GateDegraded")
            status = world.status()
            assert status["verdict"] == "Approved"
            assert f"ValidatingAdmissionPolicy {name}" in _ready(world)["message"]
            assert "helm upgrade" in _ready(world)["message"]
            assert world.gated() == 2
            assert "kfarm_gate_faults 1.0" in service.instruments.text().decode()
            assert service.alive()
            assert world.events("GateDegraded")
        finally:
            world.cluster.apply(saved)
        world.until(lambda: len(world.bound()) == 2, "the release")
        assert world.status()["epoch"] == status["epoch"]
        reasons = [event["reason"] for event in world.cluster.get("events", *EVENTS)["items"]]
        assert {"GateDegraded", "GateShut"} <= set(reasons)


def _verbose(operator: InProcessOperator) -> str:
    service = operator.service
    assert service is not None
    return "".join(f"[{'+' if f.good else '-'}]{f.part}" for f in service.informed())


def _ready(world: Any) -> dict[str, Any]:
    conditions = world.status().get("conditions") or ()
    return next((dict(c) for c in conditions if c["type"] == "Ready"), {})


def test_events_come_with_transitions_not_with_reconciles(world: Any) -> None:
    world.cluster.apply(world.plan(pods=2), world.job(pods=2))
    world.until(lambda: world.status().get("bound") == 2)
    service = world.operator.service
    queue, key = service.queue("plans"), (world.namespace, "train")
    world.until(lambda: world.events("AllBound"))
    for _ in range(3):
        done = queue.done
        queue.add_threadsafe(key)
        world.until(lambda done=done: queue.done > done)
    assert len(world.events("AllBound")) == 1
    assert len(world.events("Approved")) == 1
    assert len(world.events("WaitingForPods")) <= 1
    where = ("-n", "default", "--field-selector", f"involvedObject.name={world.farm_name}")
    farm = [event["reason"] for event in world.cluster.get("events", *where)["items"]]
    assert farm.count("NodesReady") == 1
    assert len(farm) == len(set(farm))
