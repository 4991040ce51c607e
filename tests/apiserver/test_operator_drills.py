"""Failure drills on a real control plane: injected as written down, taken back exactly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from drill_world import OPTIONS, SETTINGS, DrillWorld, moment
from kfarm_controlplane.client import KubectlError
from kfarm_controlplane.cluster import ControlPlane
from kfarm_controlplane.inprocess import HeldTwin, InProcessOperator, InProcessPredictor
from kfarm_controlplane.installation import RELEASE_NAMESPACE, Installation, install

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
    with InProcessOperator(
        drill_installation, held_twin, drills=SETTINGS, predictor=InProcessPredictor()
    ) as running:
        yield running


@pytest.fixture(scope="module")
def lost(
    drill_installation: Installation, drill_operator: InProcessOperator
) -> tuple[DrillWorld, Body]:
    """A drill that lasts, begun first; and its farm's nodes as they were before."""
    assert drill_operator.service is not None
    world = DrillWorld(drill_installation)
    world.prepare()
    world.cluster.apply(world.plan(), world.job())
    world.until(lambda: len(world.running()) == 2, "the gang")
    before = world.dump()
    fault = world.fault(
        selector={"plan": "train"}, remedy={"action": "OutOfService"}, duration="40s"
    )
    back = {"name": "back", "metric": "seconds_to_recover", "atMost": "120"}
    drill = world.drill("lost-node", fault, plans=["train"], mode="Both", expectations=[back])
    world.cluster.apply(drill)
    world.until_phase("lost-node", "Running")
    return world, before


@pytest.fixture
def scene(drill_installation: Installation, lost: tuple[DrillWorld, Body]) -> DrillWorld:
    """A farm of eight nodes that consent."""
    assert lost
    world = DrillWorld(drill_installation)
    world.prepare()
    return world


def metrics(status: Body) -> dict[str, Body]:
    return {metric["name"]: metric for metric in status.get("metrics") or ()}


def events(status: Body) -> list[str]:
    return [line["event"] for line in status.get("timeline") or ()]


def states(status: Body) -> set[str]:
    return {entry["state"] for entry in status.get("journal") or ()}


def test_a_device_fault_shows_as_others_show_it_and_goes_without_a_trace(scene: DrillWorld) -> None:
    before = scene.dump()
    fault = scene.fault(
        "DeviceFault", selector={"nodes": [scene.node(1)]}, duration="5s",
        device={"code": "79", "count": 2},
    )  # fmt: skip
    scene.cluster.apply(scene.drill("off-the-bus", fault))
    scene.until_phase("off-the-bus", "Running")
    scene.until(lambda: "Injected" in events(scene.status("off-the-bus")))
    node = scene.cluster.get("node", scene.node(1))
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "6"
    (sign,) = [c for c in node["status"]["conditions"] if c["type"] == "SysLogsGPUFallenOff"]
    assert (sign["status"], sign["reason"]) == ("True", "SysLogsGPUFallenOffIsNotHealthy")
    marks = node["metadata"]["annotations"]
    assert marks["drill.kfarm.dev/drill"].startswith(f"{scene.namespace}/off-the-bus/")
    undo = json.loads(marks["drill.kfarm.dev/undo"])
    assert {change["field"] for change in undo} == {
        "condition/SysLogsGPUFallenOff", "allocatable/nvidia.com/gpu",
        "taint/drill.kfarm.dev/fault:NoSchedule",
    }  # fmt: skip
    status = scene.until_phase("off-the-bus", "Completed")
    assert (status["verdict"], states(status)) == ("Passed", {"Restored"})
    assert {"Detected", "FaultEnded"} <= set(events(status))
    assert scene.dump() == before
    assert "finalizers" not in scene.get("off-the-bus")["metadata"]


def test_what_a_person_changes_meanwhile_stays(scene: DrillWorld) -> None:
    before = scene.dump()
    node = scene.node(2)
    fault = scene.fault(
        "DeviceFault", selector={"nodes": [node]}, duration="60s", device={"code": "48"}
    )
    scene.cluster.apply(scene.drill("edited", fault))
    scene.until(lambda: "Injected" in events(scene.status("edited")))
    status = json.dumps({"status": {"allocatable": {"nvidia.com/gpu": "3"}}})
    scene.cluster.kubectl(
        "patch", "node", node, "--subresource=status", "--type=merge", "-p", status
    )
    scene.cluster.kubectl("patch", "failuredrill", "edited", "-n", scene.namespace,
                          "--type=merge", "-p", '{"spec": {"abort": true}}')  # fmt: skip
    done = scene.until_phase("edited", "Completed")
    assert (done["verdict"], done["reason"]) == ("Aborted", "Aborted")
    assert states(done) == {"Foreign"}
    after = scene.dump()
    assert after[node].pop("allocatable")["nvidia.com/gpu"] == "3"
    del before[node]["allocatable"]
    assert after == before


def test_a_drill_that_is_deleted_takes_everything_back_first(scene: DrillWorld) -> None:
    before = scene.dump()
    fault = scene.fault(
        "LinkFlap", selector={"cluster": "c"}, mode="Fixed", value=2, duration="60s"
    )
    scene.cluster.apply(scene.drill("flapping", fault))
    scene.until(lambda: "Injected" in events(scene.status("flapping")))
    scene.cluster.kubectl(
        "delete", "failuredrill", "flapping", "-n", scene.namespace, "--wait=true", "--timeout=30s"
    )
    assert scene.dump() == before
    assert locks(scene) == []


def locks(scene: DrillWorld) -> list[str]:
    """Locks of the scene's farm."""
    listed = scene.cluster.get("leases", "-n", RELEASE_NAMESPACE)["items"]
    names = [str(lease["metadata"]["name"]) for lease in listed]
    return [name for name in names if scene.farm_name in name]


def test_a_rack_drains_node_by_node_and_pods_go_elsewhere(scene: DrillWorld) -> None:
    scene.cluster.apply(scene.plan(), scene.job())
    scene.until(lambda: len(scene.running()) == 2, "the gang")
    before = scene.dump()
    fault = scene.fault(
        "Drain", selector={"plan": "train"}, mode="All", duration="4s", atOnce=1
    )  # fmt: skip
    scene.cluster.apply(scene.drill("upgrade", fault, plans=["train"], observe="40s"))
    status = scene.until_phase("upgrade", "Completed", timeout_s=90)
    assert status["verdict"] == "Passed", status
    assert events(status).count("Remedied") == 2
    first, second = sorted(status["journal"], key=lambda e: str(e["appliedAt"]))
    assert moment(second["appliedAt"]) >= moment(first["restoredAt"])
    assert "Recovered" in events(status), status["timeline"]
    scene.whole(before)


def test_what_may_not_be_is_refused_in_words_and_nothing_is_touched(scene: DrillWorld) -> None:
    before = scene.dump()
    fault = scene.fault(duration="10s")
    drills = {
        "NotConfirmed": scene.drill("unconfirmed", fault, confirm=None),
        "LimitsExceeded": scene.drill(
            "too-many", {**fault, "mode": "Fixed", "value": 2}, limits={"maxNodes": 1}
        ),
        "MinHealthy": scene.drill("too-sick", fault, limits={"minHealthy": 100}),
        "NoTargets": scene.drill(
            "nobody", scene.fault(selector={"labels": {"matchLabels": {"a": "b"}}})
        ),
        "FarmNotFound": scene.drill("no-farm", fault, farm={"kind": "GPUFarm", "name": "nowhere"}),
        "ExpectationFailed": scene.drill(
            "unready", fault, expectations=[
                {"name": "calm", "when": "Start", "metric": "healthy_nodes_min", "atLeast": "9"}
            ],
        ),
    }  # fmt: skip
    scene.cluster.apply(*drills.values())
    for reason, drill in drills.items():
        name = drill["metadata"]["name"]
        scene.until(lambda n=name: scene.status(n).get("reason"), name)  # type: ignore[misc]
        scene.until(lambda n=name, r=reason: scene.status(n).get("reason") == r,  # type: ignore[misc]
                    f"{name}: {reason}, not {scene.status(name)}", 30)  # fmt: skip
        assert scene.status(name)["message"]
        assert not scene.status(name).get("journal")
    assert scene.dump() == before
    with pytest.raises(KubectlError, match=r"confirm|cluster"):
        scene.cluster.apply(scene.drill("wrong", fault, confirm="production"))


def test_one_drill_at_a_time_on_a_cluster_and_the_kill_switch_ends_it(scene: DrillWorld) -> None:
    before = scene.dump()
    fault = scene.fault("DeviceFault", duration="2m", device={"code": "48"})
    scene.cluster.apply(scene.drill("first", fault))
    scene.until(lambda: "Injected" in events(scene.status("first")))
    scene.cluster.apply(scene.drill("second", fault))
    waiting = scene.until_phase("second", "Waiting")
    assert waiting["reason"] == "DomainBusy"
    scene.cluster.kubectl("create", "configmap", "kfarm-drills-off", "-n", RELEASE_NAMESPACE)
    try:
        done = scene.until_phase("first", "Completed", timeout_s=30)
        assert (done["verdict"], done["reason"]) == ("Aborted", "KillSwitch")
        assert scene.dump() == before
    finally:
        scene.cluster.kubectl("delete", "configmap", "kfarm-drills-off", "-n", RELEASE_NAMESPACE)
        scene.cluster.kubectl("delete", "failuredrill", "second", "-n", scene.namespace)
    scene.until(lambda: locks(scene) == [], "the lock to go")


def test_the_twin_alone_gives_a_verdict(scene: DrillWorld) -> None:
    fault = scene.fault("RackPower", duration="10m")
    soon = {"name": "soon", "metric": "seconds_to_detect", "atMost": "1"}
    scene.cluster.apply(
        scene.drill("in-the-twin", fault, mode="Twin", confirm=None, expectations=[soon])
    )
    status = scene.until_phase("in-the-twin", "Completed")
    assert status["verdict"] == "Failed"
    assert float(metrics(status)["nodes_down_max"]["median"]) == 4
    assert not status.get("journal")


def test_a_lost_node_is_missed_replaced_and_given_back(lost: tuple[DrillWorld, Body]) -> None:
    scene, before = lost
    status = scene.until_phase("lost-node", "Completed", timeout_s=180)
    assert status["verdict"] == "Passed", status
    (entry,) = [e for e in status["journal"] if e["kind"] == "Lease"]
    assert states(status) == {"Restored"}
    assert [c["field"] for c in entry["changes"]] == [
        "lease/holderIdentity", "lease/leaseDurationSeconds",
    ]  # fmt: skip
    for event in ("Injected", "Detected", "Evicted", "Gone", "Replaced", "Recovered", "Restored"):
        assert event in events(status), (event, status["timeline"])
    seen = metrics(status)
    assert 2 < float(seen["seconds_to_detect"]["observed"]) < 30
    assert seen["seconds_to_recover"]["within"] in (True, False)
    assert seen["pods_affected"]["observed"] == "1"
    scene.whole(before)
    assert "finalizers" not in scene.get("lost-node")["metadata"]


@pytest.mark.slow
def test_a_schedule_makes_a_run_that_it_owns(scene: DrillWorld) -> None:
    fault = scene.fault("DeviceFault", duration="1s", device={"code": "48"})
    every = {"cron": "* * * * *", "historyLimit": 1}
    scene.cluster.apply(scene.drill("weekly", fault, schedule=every))
    status = scene.until_phase("weekly", "Scheduled")
    scene.until(lambda: scene.status("weekly").get("runs"), "a run", 75)
    (run,) = scene.status("weekly")["runs"]
    assert run["scheduledFor"] == status["nextRun"]
    done = scene.until_phase(run["name"], "Completed")
    assert done["verdict"] == "Passed"
    scene.until(lambda: scene.status("weekly")["runs"][0].get("verdict") == "Passed")
    suspend = '{"spec": {"suspend": true}}'
    scene.cluster.kubectl("patch", "failuredrill", "weekly", "-n", scene.namespace,
                          "--type=merge", "-p", suspend)  # fmt: skip
    scene.until_phase("weekly", "Suspended")


def test_faults_of_the_runner_are_waited_for_and_an_expectation_ends_a_drill(
    scene: DrillWorld,
) -> None:
    before = scene.dump()
    outage = {"name": "api", "action": "ApiOutage", "duration": "1s"}
    scene.cluster.apply(scene.drill("outage", outage))
    scene.until_phase("outage", "Waiting")
    mark = "drill.kfarm.dev/runner.api=2026-11-22T00:00:00.000Z/2026-11-22T00:00:01.500Z"
    scene.cluster.kubectl("annotate", "failuredrill", "outage", "-n", scene.namespace, mark)
    done = scene.until_phase("outage", "Completed")
    assert done["faults"][0]["endedAt"] == "2026-11-22T00:00:01.500Z"
    fault = scene.fault("DeviceFault", duration="2m", device={"code": "48"})
    bound = {"name": "few", "when": "Continuous", "metric": "healthy_nodes_min", "atLeast": "8"}
    scene.cluster.apply(scene.drill("watched", fault, expectations=[bound]))
    ended = scene.until_phase("watched", "Completed", timeout_s=30)
    assert (ended["verdict"], ended["reason"]) == ("Failed", "ExpectationViolated")
    assert "Violated" in events(ended)
    assert scene.dump() == before


def test_a_drill_whose_time_was_over_while_nobody_ran_is_taken_back(
    scene: DrillWorld, drill_operator: InProcessOperator, held_twin: HeldTwin
) -> None:
    before = scene.dump()
    fault = scene.fault("Burst", mode="Fixed", value=2, duration="9s")
    limits = {"timeToLive": "10s"}
    scene.cluster.apply(scene.drill("short", fault, limits=limits, observe="1m"))
    scene.until(lambda: events(scene.status("short")).count("Injected") == 2)
    drill_operator.stop()
    until = datetime.fromisoformat(scene.status("short")["until"])
    scene.until(lambda: datetime.now(UTC) > until, "the end of its time to live", 30)
    with InProcessOperator(scene.installation, held_twin, drills=SETTINGS):
        status = scene.until_phase("short", "Completed", timeout_s=60)
        scene.until(lambda: locks(scene) == [], "the lock to go")
    assert states(status) == {"Restored"}
    assert (status["verdict"], status["reason"]) == ("Aborted", "TimeToLive")
    scene.whole(before)
