"""Failure drills on a real control plane: injected as written down, taken back exactly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drill_world import OPTIONS, SETTINGS, DrillWorld
from kfarm_controlplane.cluster import ControlPlane
from kfarm_controlplane.inprocess import HeldTwin, InProcessOperator
from kfarm_controlplane.installation import Installation, install

ROOT = Path(__file__).resolve().parents[2]
Body = dict[str, Any]


@pytest.fixture(scope="module")
def drill_installation() -> Iterator[Installation]:
    """A control plane of its own: heartbeats are missed within seconds."""
    with ControlPlane(OPTIONS) as plane:
        yield install(plane, ROOT / "charts/kfarm")


@pytest.fixture(scope="module")
def drill_operator(
    drill_installation: Installation, held_twin: HeldTwin
) -> Iterator[InProcessOperator]:
    """One operator with all roles for the module."""
    with InProcessOperator(drill_installation, held_twin, drills=SETTINGS) as running:
        yield running


@pytest.fixture
def scene(drill_installation: Installation, drill_operator: InProcessOperator) -> DrillWorld:
    """A farm of eight nodes that consent."""
    assert drill_operator.service is not None
    world = DrillWorld(drill_installation)
    world.prepare()
    return world


def metrics(status: Body) -> dict[str, Body]:
    return {metric["name"]: metric for metric in status.get("metrics") or ()}


def events(status: Body) -> list[str]:
    return [line["event"] for line in status.get("timeline") or ()]


def test_a_lost_node_is_missed_replaced_and_given_back(scene: DrillWorld) -> None:
    scene.cluster.apply(scene.plan(), scene.job())
    scene.until(lambda: len(scene.running()) == 2, "the gang")
    before = scene.dump()
    fault = scene.fault(
        selector={"plan": "train"}, remedy={"action": "OutOfService"}, duration="60s"
    )
    scene.cluster.apply(scene.drill("lost-node", fault, plans=["train"]))
    status = scene.until_phase("lost-node", "Completed", timeout_s=180)
    assert status["verdict"] == "Passed", status
    (entry,) = [e for e in status["journal"] if e["kind"] == "Lease"]
    assert {e["state"] for e in status["journal"]} == {"Restored"}
    assert [c["field"] for c in entry["changes"]] == [
        "lease/holderIdentity", "lease/leaseDurationSeconds",
    ]  # fmt: skip
    for event in ("Injected", "Detected", "Evicted", "Gone", "Replaced", "Recovered", "Restored"):
        assert event in events(status), (event, status["timeline"])
    seen = metrics(status)
    assert 2 < float(seen["seconds_to_detect"]["observed"]) < 20
    assert float(seen["seconds_to_recover"]["observed"]) < 60
    assert seen["pods_affected"]["observed"] == "1"
    scene.whole(before)
    assert "finalizers" not in scene.get("lost-node")["metadata"]
