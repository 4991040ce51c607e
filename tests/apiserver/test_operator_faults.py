"""The operator absent, doubled and killed: nothing unvalidated, nothing lost, nothing twice."""

from __future__ import annotations

import collections
import signal
from pathlib import Path
from typing import Any

import pytest
from kfarm_controlplane.inprocess import InProcessOperator
from kfarm_controlplane.installation import Operator
from kfarm_controlplane.mortal import MortalClient


def test_with_no_operator_nothing_is_released(lone_world: Any) -> None:
    world = lone_world
    with world.operate():
        world.prepare()
    world.cluster.apply(world.plan(pods=2), world.job(pods=2))
    world.until(lambda: len(world.pods()) == 2)
    assert world.gated() == 2
    assert world.status() == {}
    assert world.bound() == []
    with world.operate():
        world.until(lambda: len(world.bound()) == 2)


def test_two_replicas_are_harmless(lone_world: Any) -> None:
    world = lone_world
    with world.operate(), InProcessOperator(world.installation, world.twin):
        world.prepare()
        for name in ("one", "two"):
            world.cluster.apply(world.plan(name, pods=4), world.job(name, pods=4))
        world.until(lambda: len(world.bound("one")) == len(world.bound("two")) == 4)
        world.until(lambda: world.status("one").get("bound") == 4)
        world.until(lambda: world.status("two").get("bound") == 4)
        assert world.bound("one") == world.validated("one")
        assert world.bound("two") == world.validated("two")
        assert not set(world.bound("one")) & set(world.bound("two"))
        assert (world.status("one")["epoch"], world.status("two")["epoch"]) == (0, 0)


def test_a_replica_that_sleeps_in_the_middle_and_wakes_up_late_does_no_harm(
    lone_world: Any, tmp_path: Path
) -> None:
    """Stopped in its simulation as a paused machine is; a second one does the work meanwhile."""
    world = lone_world
    log = tmp_path / "first.log"
    with Operator(world.installation, log) as first:
        world.prepare()
        world.cluster.apply(world.plan(pods=4), world.job(pods=4))
        world.until(lambda: f"{world.namespace}/train: epoch 0" in log.read_text())
        first.process.send_signal(signal.SIGSTOP)
        try:
            with Operator(world.installation, tmp_path / "second.log"):
                world.until(lambda: world.status().get("bound") == 4)
        finally:
            first.process.send_signal(signal.SIGCONT)
        before = {p["metadata"]["uid"]: p["spec"]["nodeName"] for p in world.pods()}
        status = world.status()
        rested = 'kfarm_queue_depth{queue="plans",state="working"} 0.0'
        world.until(lambda: rested in first.read("metrics"), "the first to come to rest")
        assert {p["metadata"]["uid"]: p["spec"]["nodeName"] for p in world.pods()} == before
        assert {**world.status(), "conditions": 0} == {**status, "conditions": 0}
        assert status["epoch"] == 0
        ledger = world.get("nodeledger", f"gpufarm.{world.farm_name}")
        assert len(ledger["spec"]["claims"]) == 1


@pytest.mark.parametrize("kill_at", [0, 3])
def test_a_kill_while_releasing_loses_and_doubles_nothing(
    lone_world: Any, tmp_path: Path, kill_at: int
) -> None:
    """kill -9 once so many pods are free; the next operator finishes under the same verdict."""
    world = lone_world
    operator = Operator(world.installation, tmp_path / "operator.log")
    with operator:
        world.prepare()
    world.cluster.apply(world.plan(pods=8), world.job(pods=8))
    world.until(lambda: len(world.pods()) == 8)
    with Operator(world.installation, tmp_path / "killed.log") as killed:
        if kill_at:
            world.until(lambda: 8 - world.gated() >= kill_at)
        killed.kill()
    before = {p["metadata"]["uid"]: p["spec"].get("nodeSelector") for p in world.pods()}
    with Operator(world.installation, tmp_path / "next.log"):
        world.until(lambda: world.status().get("bound") == 8)
    pods = world.pods()
    assert world.bound() == world.validated()
    assert {p["metadata"]["uid"] for p in pods} == before.keys()
    for pod in pods:
        earlier = before[pod["metadata"]["uid"]]
        assert earlier in (None, pod["spec"]["nodeSelector"])
    hosts = collections.Counter(p["spec"]["nodeName"] for p in pods)
    assert set(hosts.values()) == {1}


WRITES = 8
"""Claim, verdict, its Event, slots, three releases, the last report."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", range(1, WRITES + 1))
def test_a_crash_at_any_write_changes_nothing_in_the_end(
    lone_world: Any, write: int, after: bool
) -> None:
    """The first operator can write no more from one write on; a second one takes over."""
    world = lone_world
    with world.operate():
        world.prepare()
    world.cluster.apply(world.plan(pods=3), world.job(pods=3))
    world.until(lambda: len(world.pods()) == 3)
    MortalClient.left, MortalClient.after = write, after
    with InProcessOperator(world.installation, world.twin, connect=MortalClient.connect):
        world.until(lambda: MortalClient.left <= 0)
    uids = {pod["metadata"]["uid"] for pod in world.pods()}
    with world.operate():
        world.until(lambda: world.status().get("bound") == 3)
    assert {pod["metadata"]["uid"] for pod in world.pods()} == uids
    assert world.bound() == world.validated()
    assert len(set(world.bound())) == 3
    status = world.status()
    assert status["epoch"] == 0
    ledger = world.get("nodeledger", f"gpufarm.{world.farm_name}")
    (claim,) = ledger["spec"]["claims"]
    assert sorted(item["node"] for item in claim["nodes"]) == world.validated()


def test_the_operators_process_stays_small_and_free_of_numba(
    lone_world: Any, tmp_path: Path
) -> None:
    with Operator(lone_world.installation, tmp_path / "operator.log") as operator:
        lone_world.prepare()
        maps = Path(f"/proc/{operator.pid}/maps").read_text()
        assert operator.probe("healthz")
    assert "numba" not in maps
    assert "libarrow" not in maps
