"""The driver kind with a real Docker daemon: nodes and the API server are containers.

What is not real is a node's image: for a kubelet stands KWOK, in the container, for that one node.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from drills_ground import LIBRARY, ROOT, Body, bodies
from kfarm_controlplane.build import build
from kfarm_controlplane.cluster import wait_until
from kfarm_controlplane.containers import CONTROL_PLANE, ContainerHost, ContainerPlane
from kfarm_controlplane.docker import Docker, docker, refusal
from kfarm_controlplane.drillrecord import ANNOTATION_RESIDUE
from kfarm_controlplane.errors import ControlPlaneUnavailable
from kfarm_controlplane.installation import wait_for
from kfarm_controlplane.options import Options
from kfarm_controlplane.process import kill_child, start_child
from kfarm_operator.drillrun.errors import NOT_PASSED, DriverError
from kfarm_operator.drillrun.kind import KindDriver
from kfarm_operator.drillrun.moments import Act

GRACE_S, LEASE_S = 12, 8
OPTIONS = Options(
    components=("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    node_lease_seconds=LEASE_S,
    node_monitor_grace_seconds=GRACE_S,
    extra_arguments={"kube-controller-manager": ("--node-eviction-rate=1",)},
)
LIMITS = {"maxNodes": "1", "maxPercent": "34", "domains": "1", "maxDuration": "30m"}
CAPACITY = {"cpu": "224", "memory": "2Ti", "pods": "110", "nvidia.com/gpu": "8"}
STRANGER = "k-database"
DONE = {
    "pause": ["pause", "unpause"],
    "stop": ["stop", "start"],
    "disconnect": ["disconnect", "connect"],
}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Docker]:
    """A Docker daemon, or a clear word that there is none."""
    if os.environ.get("KFARM_TEST_KUBECONFIG"):
        pytest.skip("needs a control plane of our own, not $KFARM_TEST_KUBECONFIG")
    try:
        with docker() as found:
            why = refusal(found, build(["kwok"])["kwok"])
            if why is not None:
                pytest.skip(why)
            yield found
    except ControlPlaneUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def host(daemon: Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerHost]:
    """The ground of the drills on kind, on three workers."""
    folder = tmp_path_factory.mktemp("containers")
    ground = folder / "ground.yaml"
    made = bodies(LIBRARY / "kind/ground.yaml")
    for body in made:
        if body["kind"] == "Job":
            for one in body["spec"]["template"]["spec"]["tolerations"]:
                one["tolerationSeconds"] = 2
    ground.write_text(yaml.safe_dump_all(made), "utf-8")
    plane = ContainerPlane(daemon, OPTIONS, workers=3)
    with ContainerHost(ROOT / "charts/kfarm", folder / "work", plane, LIMITS) as made_host:
        plane.add_nodes({"kfarm-drill-worker": "true"}, CAPACITY)
        made_host.prepare(ground)
        yield made_host


def _node_paused(folder: Path, duration: str) -> Path:
    """The drill of kind's examples, shorter."""
    (drill,) = bodies(LIBRARY / "kind/node-paused.yaml")
    drill["spec"]["faults"][0] |= {"duration": duration}
    drill["spec"]["faults"][0]["remedy"]["after"] = "2s"
    path = folder / "node-paused.yaml"
    path.write_text(yaml.safe_dump(drill, sort_keys=False), "utf-8")
    return path


def _said(daemon: Docker, since: float) -> list[tuple[str, str]]:
    """What happened to containers and their networks: whose, and what."""
    period = ("--since", f"{since:.3f}", "--until", f"{time.time():.3f}")
    lines = daemon("events", *period, "--format", "{{json .}}").splitlines()
    told = []
    for event in map(json.loads, lines):
        about = event["Actor"]["Attributes"]
        # a network is told of with the container's number alone
        name = about["container"] if event["Type"] == "network" else about.get("name", "")
        told.append((name, event["Action"]))
    return told


def _done(host: ContainerHost, name: str, since: float) -> list[str]:
    """What was done to one container."""
    keys = (name, host.containers.inspect(name)["Id"])
    return [what for who, what in _said(host.containers.docker, since) if who in keys]


def _observed(drill: Body) -> dict[str, float]:
    return {one["name"]: float(one["observed"]) for one in drill["status"]["metrics"]
            if "observed" in one}  # fmt: skip


def _homes(host: ContainerHost) -> list[str]:
    pods = host.cluster.get("pods", "-n", "drills", "-l", "kfarm.dev/placement-plan=small")
    return [p["spec"].get("nodeName", "") for p in pods["items"]
            if not p["metadata"].get("deletionTimestamp")]  # fmt: skip


def _all_ready(host: ContainerHost) -> None:
    for name in host.containers.workers:
        wait_for(host.cluster, f"node/{name}", "condition=Ready", timeout_s=60)


@pytest.mark.parametrize(
    "way", ["pause", *(pytest.param(way, marks=pytest.mark.slow) for way in ("stop", "disconnect"))]
)
def test_a_node_is_lost_with_its_container_and_its_pod_moves(
    host: ContainerHost, tmp_path: Path, way: str
) -> None:
    """Runbook: examples/drills/kind/node-paused.yaml."""
    host.node_action = way
    plane = host.containers
    addresses = {name: plane.address(name) for name in plane.workers}
    since = time.time()
    code, drill, text = host.run(_node_paused(tmp_path, "60s"))
    assert code == 0, text
    assert drill["status"]["verdict"] == "Passed"
    events = {entry["event"] for entry in drill["status"]["timeline"]}
    assert {"Detected", "Evicted", "Remedied", "Gone", "Replaced", "Recovered"} <= events
    observed = _observed(drill)
    assert observed["seconds_to_detect"] >= GRACE_S - LEASE_S / 4
    assert observed["nodes_down_max"] == 1
    assert drill["metadata"]["annotations"][ANNOTATION_RESIDUE] == "0", text
    (lost,) = drill["status"]["targets"][0]["nodes"]
    done = [one for one in _done(host, lost, since) if one in DONE[way]]
    assert [one for one, _ in itertools.groupby(done)] == DONE[way]  # some are told twice
    assert lost not in _homes(host)
    assert len(set(_homes(host))) == 2
    assert {name: plane.address(name) for name in plane.workers} == addresses
    assert {plane.state(name) for name in plane.workers} == {"running"}
    _all_ready(host)


def test_a_container_is_given_back_when_the_runner_is_killed(
    host: ContainerHost, tmp_path: Path
) -> None:
    host.node_action = "pause"
    plane = host.containers
    command = host.command([_node_paused(tmp_path, "4m")], tmp_path / "never.json")
    runner = start_child(command, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: _paused(host) != [], 120, "a container to be paused")
        (lost,) = _paused(host)
        since = time.time()
    finally:
        kill_child(runner)
    wait_until(lambda: plane.state(lost) == "running", 20, "the guard to give it back")
    assert _done(host, lost, since) == ["unpause"]
    _abort(host)
    wait_for(host.cluster, "failuredrill/node-paused", "jsonpath={.status.phase}=Completed",
             "-n", "drills", timeout_s=240)  # fmt: skip
    _all_ready(host)


def test_a_drill_that_is_aborted_gives_the_container_back_at_once(
    host: ContainerHost, tmp_path: Path
) -> None:
    host.node_action = "pause"
    plane = host.containers
    command = host.command([_node_paused(tmp_path, "4m")], tmp_path / "aborted.json")
    since = time.time()
    runner = start_child(command, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: _paused(host) != [], 120, "a container to be paused")
        (lost,) = _paused(host)
        _abort(host)
        wait_until(lambda: plane.state(lost) == "running", 20, "the runner to give it back")
        assert runner.wait(120) == NOT_PASSED
    finally:
        kill_child(runner)
    assert _done(host, lost, since) == ["pause", "unpause"]
    _all_ready(host)


def _abort(host: ContainerHost) -> None:
    host.cluster.kubectl("patch", "failuredrill/node-paused", "-n", "drills", "--type=merge",
                         "-p", json.dumps({"spec": {"abort": True}}))  # fmt: skip


def _paused(host: ContainerHost) -> list[str]:
    return [name for name in host.containers.workers if host.containers.state(name) == "paused"]


def test_an_api_outage_is_the_control_planes_container_paused(
    host: ContainerHost, tmp_path: Path
) -> None:
    drill: dict[str, Any] = {
        "apiVersion": "kfarm.dev/v1alpha1", "kind": "FailureDrill",
        "metadata": {"namespace": "drills", "name": "api-away"},
        "spec": {
            "mode": "Both",
            "farm": {"kind": "GPUFarm", "name": "drill-kind"},
            "plans": ["small"],
            "faults": [{"name": "api", "action": "ApiOutage", "duration": "8s"}],
            "limits": {"timeToLive": "5m"},
            "expectations": [{"name": "nothing-down", "metric": "nodes_down_max", "atMost": 0}],
            "observe": "30s",
        },
    }  # fmt: skip
    path = tmp_path / "api-away.yaml"
    path.write_text(yaml.safe_dump(drill), "utf-8")
    since, before = time.time(), _homes(host)
    code, finished, text = host.run(path)
    assert code == 0, text
    assert finished["status"]["verdict"] == "Passed"
    assert finished["metadata"]["annotations"][ANNOTATION_RESIDUE] == "0", text
    assert _done(host, CONTROL_PLANE, since) == ["pause", "unpause"]
    assert sorted(_homes(host)) == sorted(before)


@pytest.fixture
def stranger(host: ContainerHost) -> Iterator[str]:
    """A container of the same daemon and network that is no node of kind's."""
    host.containers.run(STRANGER, None)
    yield STRANGER
    host.containers.docker("rm", "--force", STRANGER)


@pytest.mark.parametrize("way", DONE)
def test_containers_that_are_no_workers_of_kinds_are_left_as_they_are(
    host: ContainerHost, stranger: str, way: str
) -> None:
    driver = KindDriver(host.containers.docker.command, way, lambda: 0)
    driver.control_plane = stranger
    refused: list[tuple[Callable[[Act], None], Act]] = [
        (doing, act)
        for doing in (driver.check, driver.begin)
        for act in (
            Act("node", "NodesDown", 60, (stranger,)),
            Act("node", "NodesDown", 60, (host.containers.workers[0], CONTROL_PLANE)),
            Act("api", "ApiOutage", 60),
        )
    ]
    names = (stranger, CONTROL_PLANE, *host.containers.workers)
    before, since = [host.containers.inspect(name) for name in names], time.time()
    for doing, act in refused:
        with pytest.raises(DriverError, match=r"left alone|touched for ApiOutage only"):
            doing(act)
    for name, old in zip(names, before, strict=True):
        new = host.containers.inspect(name)
        assert {key: new[key] for key in new if new[key] != old[key]} == {}, name
    assert _said(host.containers.docker, since) == []


def test_containers_that_were_cut_off_together_keep_their_addresses(host: ContainerHost) -> None:
    plane = host.containers
    addresses = {name: plane.address(name) for name in plane.workers}
    driver = KindDriver(plane.docker.command, "disconnect", lambda: 0)
    act = Act("rack", "NodesDown", 60, tuple(reversed(plane.workers)))
    driver.begin(act)
    try:
        assert [plane.address(name) for name in plane.workers] == [None, None, None]
    finally:
        driver.end(act)
    assert {name: plane.address(name) for name in plane.workers} == addresses
    _all_ready(host)


def test_what_stands_still_goes_on_when_the_time_is_over(host: ContainerHost) -> None:
    plane = host.containers
    driver = KindDriver(plane.docker.command, "pause", lambda: 0)
    act = Act("node", "NodesDown", 4, plane.workers[:1])
    driver.begin(act)
    try:
        assert plane.state(plane.workers[0]) == "paused"
        wait_until(lambda: plane.state(plane.workers[0]) == "running", 30, "the guard to act")
    finally:
        driver.end(act)
