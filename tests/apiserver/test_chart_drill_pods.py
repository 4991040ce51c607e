"""Drills as the chart runs them: the pods of the release, under its accounts, with an audit log.

Runbook: `docs/install.md`, Drills. What the drill account was granted is what it used, no more.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chart_rights import POLICY, granted, used
from chart_scene import CHART, helm_upgrade
from drill_world import OPTIONS, DrillWorld
from kfarm_controlplane import ControlPlane, wait_until
from kfarm_controlplane.chartpods import ChartPod, isolation, kernels_of_this_machine
from kfarm_controlplane.helm import Helm, settings
from kfarm_controlplane.installation import CLUSTER_NAME, Installation

pytestmark = pytest.mark.slow
Body = dict[str, Any]
ACCOUNT = "kfarm-drill"
VALUES = (
    "drills.enabled=true", f"drills.clusterName={CLUSTER_NAME}", "drills.limits.maxNodes=64",
    "drills.limits.maxPercent=100", "drills.limits.domains=16", "drills.limits.maxDuration=1h",
)  # fmt: skip
Pods = dict[str, ChartPod]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane that misses silent nodes soon, with Kueue and an audit log."""
    policy = tmp_path_factory.mktemp("audit") / "policy.yaml"
    policy.write_text(POLICY)
    with ControlPlane(dataclasses.replace(OPTIONS, audit_policy=policy)) as plane:
        plane.start_kueue()
        yield plane


@pytest.fixture(scope="module")
def pods(
    plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory, held_twin: object
) -> Iterator[Pods]:
    """The operator from the release's own Deployments."""
    del held_twin  # its kernels are warm
    if isolation() is None:
        pytest.skip("no mount namespaces here, without which no pod can be imitated")
    helm = Helm(plane)
    helm_upgrade(helm, CHART, *settings(*VALUES))
    folder, kernels = tmp_path_factory.mktemp("pods"), kernels_of_this_machine()
    found = [item for item in helm.manifest() if item["kind"] == "Deployment"]
    assert {d["metadata"]["name"] for d in found} >= {ACCOUNT}
    made = {d["metadata"]["name"]: ChartPod(plane, d, folder, kernels) for d in found
            if d["metadata"]["name"] != "kfarm-whatif"}  # fmt: skip
    with contextlib.ExitStack() as stack:
        for pod in made.values():
            stack.callback(pod.stop)
            pod.begin()
        for pod in made.values():
            wait_until(pod.ready, 240, f"{pod.name}; its log is {pod.log}")
        yield made


@pytest.fixture(scope="module")
def world(plane: ControlPlane, pods: Pods) -> DrillWorld:
    """A farm of eight nodes that consent, and a gang of two on it."""
    del pods
    nobody = Path("unused")
    world = DrillWorld(Installation(plane, nobody, nobody, nobody))
    world.prepare()
    plane.apply(world.plan(), world.job())
    world.until(lambda: len(world.running()) == 2, "the gang")
    return world


def ended(world: DrillWorld, name: str) -> Body:
    """The status of a drill that has come to its end, with nothing left open."""
    status = world.until_phase(name, "Completed", timeout_s=240)
    assert {entry["state"] for entry in status["journal"]} == {"Restored"}, status
    return status


def test_the_chart_s_pod_carries_out_drills_and_takes_all_back(
    world: DrillWorld, pods: Pods
) -> None:
    """A node lost, its pods let go; another drained; devices off the bus."""
    before = world.dump()
    lost = world.fault(selector={"plan": "train"}, remedy={"action": "OutOfService"})
    world.cluster.apply(world.drill("lost", lost, plans=["train"], mode="Both"))
    status = ended(world, "lost")
    assert "Replaced" in {line["event"] for line in status["timeline"]}
    drain = world.fault("Drain", name="drain", selector={"plan": "train"}, duration="10s")
    device = {"kind": "XID", "code": "79", "count": 2}
    bad = world.fault("DeviceFault", name="bad", selector={"plan": "train"}, duration="10s",
                      device=device)  # fmt: skip
    world.cluster.apply(world.drill("more", drain, bad, plans=["train"], observe="30s"))
    ended(world, "more")
    world.whole(before)
    events = world.cluster.get("events", "-n", world.namespace)["items"]
    assert {"FailureDrill"} <= {event["involvedObject"]["kind"] for event in events}
    for pod in pods.values():
        assert "Traceback" not in pod.log.read_text()
    assert "kfarm_drill_residue 0.0" in pods[ACCOUNT].read("/metrics")


def test_a_schedule_makes_runs_and_keeps_as_many_as_it_says(world: DrillWorld) -> None:
    """One a minute, and one is kept."""
    fault = world.fault("DeviceFault", duration="2s", selector={"cluster": "c"},
                        device={"kind": "XID", "code": "79"})  # fmt: skip
    schedule = {"cron": "* * * * *", "historyLimit": 1}
    world.cluster.apply(world.drill("weekly", fault, schedule=schedule, observe="1s"))
    seen: set[str] = set()

    def runs() -> int:
        items = world.cluster.get("failuredrills", "-n", world.namespace)["items"]
        present = {i["metadata"]["name"] for i in items if i["metadata"]["name"] != "weekly"}
        seen.update(name for name in present if name.startswith("weekly-"))
        return len(seen - present)

    wait_until(lambda: runs() >= 1, 300, "a run that is no longer kept")
    world.cluster.kubectl("delete", "failuredrill", "weekly", "-n", world.namespace)


def test_granted_is_used_and_nothing_was_refused(plane: ControlPlane, world: DrillWorld) -> None:
    """After all of the above."""
    del world
    rights, refused = used(plane.directory / "logs/audit.log")
    wanted = {right for right in granted(Helm(plane).manifest()) if right[0] == ACCOUNT}
    asked = {right for right in rights if right[0] == ACCOUNT}
    assert sorted(right for right in refused if right[0] == ACCOUNT) == []
    assert sorted(wanted - asked) == []
    assert sorted(asked - wanted) == []
