"""What the runner does to processes and containers, and that it is undone whatever happens.

The processes are real; the container runtime is a program that keeps the state of its containers in
a file. With a real Docker: tests/drills/test_containers.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kfarm_controlplane.process import Popen, kill_child, start_child
from kfarm_operator.drillrun.errors import BadInput, DriverError
from kfarm_operator.drillrun.guard import Guard, start_time
from kfarm_operator.drillrun.kind import KindDriver
from kfarm_operator.drillrun.kwok import KwokDriver
from kfarm_operator.drillrun.moments import Act
from processes import alive

OUTAGE = Act("api", "ApiOutage", 60)
KILL = Act("kill", "OperatorKill", 60)
DOWN = Act("node", "NodesDown", 60, ("k-worker",))
FAKE_DOCKER = '''\
#!{python}
"""Keeps containers in a file, as far as pause, stop and networks go."""
import json, pathlib, sys
store = pathlib.Path({store!r})
state = json.loads(store.read_text())
log = pathlib.Path({log!r})
with log.open("a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
command, name = sys.argv[1], sys.argv[-1]
if name not in state:
    sys.exit("No such container: " + name)
one = state[name]
if command == "inspect":
    networks = {{"kind": {{"IPAddress": one["ip"]}}}} if one["ip"] else {{}}
    print(json.dumps([{{"Config": {{"Labels": one["labels"]}},
                       "NetworkSettings": {{"Networks": networks}}}}]))
    sys.exit()
if command == "network":
    ip = sys.argv[sys.argv.index("--ip") + 1] if "--ip" in sys.argv else "10.0.0.99"
    if sys.argv[2] == "connect" and one["ip"]:
        sys.exit("endpoint already exists in network")
    one["ip"] = None if sys.argv[2] == "disconnect" else ip
else:
    wanted = {{"pause": "running", "unpause": "paused", "stop": "running", "start": "exited"}}
    if one["is"] != wanted[command]:
        sys.exit("container is " + one["is"])
    one["is"] = {{"pause": "paused", "stop": "exited"}}.get(command, "running")
store.write_text(json.dumps(state))
'''


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _is_stopped(pid: int) -> bool:
    text = Path(f"/proc/{pid}/stat").read_text()
    return text.rpartition(")")[2].split()[0] == "T"


@pytest.fixture
def children() -> Iterator[Callable[[str], Popen]]:
    """Processes of ours whose command line has a word in it."""
    started: list[Popen] = []

    def start(word: str) -> Popen:
        command = [sys.executable, "-c", "import time; time.sleep(600)", word]
        started.append(start_child(command, stdout=subprocess.DEVNULL))
        return started[-1]

    yield start
    for child in started:
        if child.poll() is None:
            os.kill(child.pid, signal.SIGCONT)
            kill_child(child)


def _write(path: Path, pids: dict[str, int], owner: int | None = None) -> Path:
    path.write_text(json.dumps({"pid": owner or os.getpid(), "pids": pids}))
    path.chmod(0o600)
    return path


def test_an_outage_stops_the_api_server_and_its_end_lets_it_go_on(
    children: Callable[[str], Popen], tmp_path: Path
) -> None:
    server = children("kube-apiserver")
    driver = KwokDriver.read(_write(tmp_path / "p", {"kube-apiserver": server.pid}))
    driver.check(OUTAGE)
    assert not _is_stopped(server.pid)
    driver.begin(OUTAGE)
    _until(lambda: _is_stopped(server.pid))
    driver.end(OUTAGE)
    _until(lambda: not _is_stopped(server.pid))
    driver.end(OUTAGE)
    assert server.poll() is None


def test_an_outage_ends_by_itself(children: Callable[[str], Popen], tmp_path: Path) -> None:
    server = children("kube-apiserver")
    driver = KwokDriver.read(_write(tmp_path / "p", {"kube-apiserver": server.pid}))
    driver.begin(Act("api", "ApiOutage", 0.5))
    _until(lambda: _is_stopped(server.pid))
    _until(lambda: not _is_stopped(server.pid))
    driver.end(OUTAGE)


def test_an_outage_ends_when_its_runner_is_killed(
    children: Callable[[str], Popen], tmp_path: Path
) -> None:
    server = children("kube-apiserver")
    file = _write(tmp_path / "p", {"kube-apiserver": server.pid})
    program = (
        "import sys, time; from pathlib import Path\n"
        "from kfarm_operator.drillrun.kwok import KwokDriver\n"
        "from kfarm_operator.drillrun.moments import Act\n"
        "KwokDriver.read(Path(sys.argv[1])).begin(Act('api', 'ApiOutage', 600))\n"
        "time.sleep(600)"
    )
    runner = start_child([sys.executable, "-c", program, str(file)], stdout=subprocess.DEVNULL)
    try:
        _until(lambda: _is_stopped(server.pid))
    finally:
        runner.kill()
        runner.wait()
    _until(lambda: not _is_stopped(server.pid))


def test_the_operator_is_killed_again_when_it_is_back(
    children: Callable[[str], Popen], tmp_path: Path
) -> None:
    first = children("kfarm_operator.main")
    file = tmp_path / "p"
    driver = KwokDriver.read(_write(file, {"operator": first.pid}))
    driver.begin(KILL)
    assert first.wait(60) == -signal.SIGKILL
    driver.keep(KILL)
    second = children("kfarm_operator.main")
    _write(file, {"operator": second.pid})
    driver.keep(KILL)
    assert second.wait(60) == -signal.SIGKILL
    driver.end(KILL)


def test_only_processes_that_the_owner_started_and_that_are_what_it_says(
    children: Callable[[str], Popen], tmp_path: Path
) -> None:
    other = children("something-else")
    server = children("kube-apiserver")
    told = {
        "that runs another command": {"kube-apiserver": other.pid},
        "not the file's owner 1": {"kube-apiserver": server.pid},
        "names no running kube-apiserver": {},
    }
    for why, pids in told.items():
        owner = 1 if "owner" in why else None
        driver = KwokDriver.read(_write(tmp_path / "p", pids, owner))
        with pytest.raises(DriverError, match=why):
            driver.begin(OUTAGE)
    gone = children("kube-apiserver")
    kill_child(gone)
    driver = KwokDriver.read(_write(tmp_path / "p", {"kube-apiserver": gone.pid}))
    with pytest.raises(DriverError, match="there is none"):
        driver.check(OUTAGE)
    assert other.poll() is None
    assert not _is_stopped(server.pid)
    with pytest.raises(DriverError, match="only --driver kind"):
        driver.check(DOWN)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": "x", "pids": {}}', '{"pid": 1}', "\xff"])
def test_a_broken_file_of_processes_is_no_reason_to_touch_anything(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "p"
    file.write_text(text, "utf-8")
    file.chmod(0o600)
    with pytest.raises(DriverError, match="names no running"):
        KwokDriver.read(file).check(OUTAGE)


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    file = _write(tmp_path / "p", {})
    file.chmod(0o666)
    with pytest.raises(BadInput, match="others may write it"):
        KwokDriver.read(file)
    with pytest.raises(BadInput, match="no such file"):
        KwokDriver.read(tmp_path / "absent")
    with pytest.raises(BadInput, match="needs --processes"):
        KwokDriver.read(None)


def test_a_guard_does_not_touch_a_process_that_took_over_the_number(
    children: Callable[[str], Popen],
) -> None:
    child = children("x")
    os.kill(child.pid, signal.SIGSTOP)
    _until(lambda: _is_stopped(child.pid))
    began = start_time(child.pid)
    assert began is not None
    with Guard(60, {"continue": [[child.pid, began + 1]]}):
        pass
    assert _is_stopped(child.pid)
    with Guard(60, {"continue": [[child.pid, began]]}) as guard:
        pass
    _until(lambda: not _is_stopped(child.pid))
    assert not alive(guard.pid)


class Docker:
    """The fake runtime with a control plane, a worker and a container of somebody else."""

    def __init__(self, folder: Path) -> None:
        self.store, self.log, self.program = folder / "state", folder / "log", folder / "docker"
        label = "io.x-k8s.kind."
        kind = {f"{label}cluster": "k", f"{label}role": "worker"}
        head = {**kind, f"{label}role": "control-plane"}
        rows = {"k-worker": kind, "k-worker2": kind, "k-control-plane": head, "database": {}}
        state = {
            name: {"is": "running", "ip": f"10.0.0.{number}", "labels": labels}
            for number, (name, labels) in enumerate(rows.items())
        }
        self.store.write_text(json.dumps(state))
        text = FAKE_DOCKER.format(python=sys.executable, store=str(self.store), log=str(self.log))
        self.program.write_text(text)
        self.program.chmod(0o700)

    def state(self) -> dict[str, dict[str, Any]]:
        return dict(json.loads(self.store.read_text()))

    def said(self) -> list[str]:
        """Commands that change something."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if not line.startswith("inspect")]

    def driver(self, way: str = "pause", kill: Callable[[], int] = lambda: 1) -> KindDriver:
        made = KindDriver([str(self.program)], way, kill)
        made.control_plane = "k-control-plane"
        return made


@pytest.fixture
def docker(tmp_path: Path) -> Docker:
    return Docker(tmp_path)


WAYS = {
    "pause": ["pause k-worker", "unpause k-worker"],
    "stop": ["stop --time 0 k-worker", "start k-worker"],
    "disconnect": [
        "network disconnect kind k-worker",
        "network connect --ip 10.0.0.0 kind k-worker",
        "network connect kind k-worker",  # refused: it is back
    ],
}


@pytest.mark.parametrize("way", WAYS)
def test_a_container_is_taken_away_and_given_back_as_it_was(docker: Docker, way: str) -> None:
    before = docker.state()
    driver = docker.driver(way)
    driver.check(DOWN)
    assert docker.said() == []
    driver.begin(DOWN)
    assert docker.said() == WAYS[way][:1]
    assert docker.state() != before
    driver.keep(DOWN)
    driver.end(DOWN)
    driver.end(DOWN)
    assert docker.said() == WAYS[way]
    assert docker.state() == before


def test_containers_come_back_by_themselves(docker: Docker) -> None:
    before = docker.state()
    driver = docker.driver()
    # long enough for both pauses on a busy machine: the guard's time begins before them
    driver.begin(Act("node", "NodesDown", 5, ("k-worker", "k-worker2")))
    try:
        _until(lambda: len(docker.said()) == 4 and docker.state() == before)
    finally:
        driver.end(DOWN)


def test_an_api_outage_pauses_the_control_plane(docker: Docker) -> None:
    driver = docker.driver("stop")
    driver.begin(OUTAGE)
    assert docker.state()["k-control-plane"]["is"] == "paused"
    driver.end(OUTAGE)
    assert docker.said() == ["pause k-control-plane", "unpause k-control-plane"]


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (Act("n", "NodesDown", 9, ("database",)), "no node of a kind cluster"),
        (Act("n", "NodesDown", 9, ("k-control-plane",)), "touched for ApiOutage only"),
        (Act("n", "NodesDown", 9, ("k-worker9",)), "No such container"),
    ],
)
def test_containers_of_others_and_control_planes_are_left_alone(
    docker: Docker, act: Act, why: str
) -> None:
    driver = docker.driver()
    for attempt in (driver.check, driver.begin):
        with pytest.raises(DriverError, match=why):
            attempt(act)
    assert docker.said() == []


def test_half_a_failure_is_undone(docker: Docker) -> None:
    """The second container cannot be paused; the first is given back."""
    state = docker.state()
    state["k-worker2"]["is"] = "exited"
    docker.store.write_text(json.dumps(state))
    driver = docker.driver()
    with pytest.raises(DriverError, match="container is exited"):
        driver.begin(Act("n", "NodesDown", 60, ("k-worker", "k-worker2")))
    assert docker.state() == state


def test_without_a_runtime_it_is_told(tmp_path: Path) -> None:
    driver = KindDriver([str(tmp_path / "absent")], "pause", lambda: 1)
    with pytest.raises(DriverError, match="No such file"):
        driver.check(DOWN)
    with pytest.raises(DriverError, match="no control-plane node is known"):
        driver.check(OUTAGE)


def test_the_operators_pods_are_deleted_again_and_again(docker: Docker) -> None:
    kills: list[int] = []
    driver = docker.driver(kill=lambda: kills.append(1) or 2)
    driver.check(KILL)
    assert kills == []
    driver.begin(KILL)
    driver.keep(KILL)
    driver.end(KILL)
    assert len(kills) == 2
    with pytest.raises(DriverError, match="no ready pod of the operator"):
        docker.driver(kill=lambda: 0).begin(KILL)
