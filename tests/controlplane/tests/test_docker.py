"""A Docker daemon of our own: it serves containers, and nothing of it is left, whatever happens."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from kfarm_controlplane import docker as daemons
from kfarm_controlplane.build import build
from kfarm_controlplane.cluster import wait_until
from kfarm_controlplane.docker import Docker
from kfarm_controlplane.errors import ControlPlaneError, ControlPlaneUnavailable
from kfarm_controlplane.process import kill_child, start_child

NOWHERE = "unix:///nowhere/docker.sock"
PROGRAM = """
import sys, time
from kfarm_controlplane.docker import docker
with docker() as daemon:
    daemon("import", "-", "nothing:1", stdin=bytes(1024))
    daemon("network", "create", "--opt",
           f"com.docker.network.bridge.name={daemon.bridge}", "kind")
    daemon("run", "--detach", "--network", "kind", "--volume", f"{sys.argv[1]}:/etcd:ro",
           "nothing:1", "/etcd")
    print("runs", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No daemon at hand, and what it takes to start one; where one is at hand, none need be."""
    monkeypatch.setenv("DOCKER_HOST", NOWHERE)
    try:
        with daemons.docker() as daemon:
            why = daemons.refusal(daemon, build(["etcd"])["etcd"])
    except ControlPlaneUnavailable as error:
        why = str(error)
    if why is not None:
        pytest.skip(why)


def _left(pid: int) -> Iterator[str]:
    """What there is of the daemon that a process started."""
    name = f"{daemons._PREFIX}{pid}"
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = command.read_bytes()
        except OSError:
            continue
        if name.encode() in text:
            yield f"process {command.parent.name}: {text!r}"
    yield from (str(path) for path in Path(tempfile.gettempdir()).glob(f"{name}-*"))
    yield from (str(path) for path in daemons._cgroups(str(pid)))
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    yield from (line for line in mounts if name in line)
    if Path(f"/sys/class/net/{daemons._BRIDGE}{pid}").exists():
        yield f"bridge {daemons._BRIDGE}{pid}"


def test_nothing_is_left_of_a_daemon_that_was_used(alone: None) -> None:
    with daemons.docker() as daemon:
        daemon("import", "-", "nothing:1", stdin=bytes(1024))
        bridge = f"com.docker.network.bridge.name={daemon.bridge}"
        daemon("network", "create", "--opt", bridge, "kind")
        etcd = f"{build(['etcd'])['etcd']}:/etcd:ro"
        number = daemon("run", "--detach", "--network", "kind", "-v", etcd, "nothing:1", "/etcd")
        assert daemon("ps", "--quiet", "--no-trunc") == number
        assert list(_left(os.getpid())) != []
    assert list(_left(os.getpid())) == []


def test_containers_end_with_a_process_that_is_killed_and_the_next_one_tidies(alone: None) -> None:
    etcd = build(["etcd"])["etcd"]
    child = start_child(
        [sys.executable, "-c", PROGRAM, etcd], stdout=subprocess.PIPE, stderr=sys.stderr.fileno()
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"runs\n"
        kinds = {line.partition(" ")[0] for line in _left(child.pid)}
        assert {"process", "bridge"} <= kinds
    finally:
        kill_child(child)
        if child.stdout is not None:
            child.stdout.close()
    wait_until(
        lambda: not any(line.startswith("process") for line in _left(child.pid)), 30, "the end"
    )
    with daemons.docker():
        assert list(_left(child.pid)) == []


def test_who_cannot_have_a_daemon_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", NOWHERE)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ControlPlaneUnavailable, match="takes root"), daemons.docker():
        pass


def test_a_command_that_fails_says_what_docker_said(alone: None) -> None:
    assert not Docker(("docker",)).answers
    with (
        daemons.docker() as daemon,
        pytest.raises(ControlPlaneError, match=r"start absent ended with 1: .*No such container"),
    ):
        daemon("start", "absent")


def test_a_daemon_that_runs_nothing_is_told_apart(alone: None, tmp_path: Path) -> None:
    with daemons.docker() as daemon:
        before = daemon("network", "ls", "--quiet")
        why = daemons.refusal(daemon, tmp_path)
        assert why is not None
        assert "runs no container" in why
        assert daemon("network", "ls", "--quiet") == before
        assert daemon("images", "--quiet") == daemon("ps", "--all", "--quiet") == ""
