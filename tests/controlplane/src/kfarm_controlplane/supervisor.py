"""A control plane that stays up after the command that started it: ``up``, ``down``, ``status``.

A supervisor process owns the components and holds a lock on the state folder
while it lives, so that a stale pid file is never mistaken for a running one.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from kfarm_controlplane.build import build, cache_directory
from kfarm_controlplane.cluster import ControlPlane
from kfarm_controlplane.errors import ControlPlaneError
from kfarm_controlplane.options import Options
from kfarm_controlplane.progress import say

_START_S = 180.0
_STOP_S = 30.0
_WATCH_S = 1.0


@dataclass(frozen=True)
class State:
    """What a running supervisor says about itself.

    Parameters
    ----------
    pid
        Process id of the supervisor.
    kubeconfig
        Kubeconfig of an administrator.
    url
        Address of the API server.
    pids
        Process id of each component.
    """

    pid: int
    kubeconfig: str
    url: str
    pids: dict[str, int]


def default_directory() -> Path:
    """Return the state folder used when none is named."""
    return cache_directory() / "run"


def up(directory: Path, *, kueue: bool = False, arguments: Sequence[str] = ()) -> State:
    """Start a control plane that outlives this process; return it if it runs already.

    Parameters
    ----------
    directory
        State folder.
    kueue
        Whether to start Kueue too.
    arguments
        Further arguments for the supervisor.

    Raises
    ------
    ControlPlaneError
        If it does not start.
    """
    if running := status(directory):
        return running
    wanted = ["kubernetes", "etcd", "kwok"]
    build([*wanted, "kueue"] if kueue else wanted)  # here, where progress is seen
    directory.mkdir(parents=True, exist_ok=True)
    _forget(directory)
    command = [sys.executable, "-m", "kfarm_controlplane", "supervise"]
    command += ["--directory", str(directory), *arguments, *(["--kueue"] if kueue else [])]
    with (directory / "supervisor.log").open("wb") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(),
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and child.poll() is None:
        if running := status(directory):
            return running
        time.sleep(0.1)
    child.kill()
    log_path = directory / "supervisor.log"
    tail = "\n".join(log_path.read_text(errors="replace").splitlines()[-15:])
    raise ControlPlaneError(
        f"the control plane in {directory} did not start:\n{tail}\n",
        f"read {log_path} and the logs it names.",
    )


def down(directory: Path) -> bool:
    """Stop the control plane and wait; return whether one was running.

    Raises
    ------
    ControlPlaneError
        If it does not stop.
    """
    pid = _pid(directory)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        while _is_locked(directory):
            if time.monotonic() > deadline:
                raise ControlPlaneError(
                    f"the supervisor (pid {pid}) did not stop within {_STOP_S:g} s.",
                    f"kill -9 {pid}: its components die with it.",
                )
            time.sleep(0.05)
    _forget(directory)
    return pid is not None


def status(directory: Path) -> State | None:
    """Return the running control plane of a state folder, or None."""
    if not _is_locked(directory):
        return None
    with contextlib.suppress(OSError, ValueError, TypeError):
        return State(**json.loads((directory / "state.json").read_text()))
    return None


def supervise(directory: Path, options: Options, *, kueue: bool = False) -> None:
    """Run a control plane until SIGTERM or SIGINT; the body of the supervisor process.

    A component that dies is started again with the same data.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    directory.mkdir(parents=True, exist_ok=True)
    lock = (directory / "supervisor.lock").open("w")  # closed by the end of the process
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    (directory / "supervisor.pid").write_text(f"{os.getpid()}\n")
    plane = ControlPlane(options, directory=directory / "cluster")
    try:
        plane.start()
        if kueue:
            plane.start_kueue()
        _publish(directory, plane)
        _watch(directory, plane)
    finally:
        plane.stop()
        atexit.register(lock.close)  # keeps the lock until then, so that `down` waits for it


def _watch(directory: Path, plane: ControlPlane) -> None:
    names = set(plane.pids)
    while True:
        time.sleep(_WATCH_S)
        for name in sorted(names - plane.pids.keys()):
            say(f"{name} ended; starting it again")
            plane.start_component(name)
            _publish(directory, plane)


def _publish(directory: Path, plane: ControlPlane) -> None:
    state = State(os.getpid(), str(plane.kubeconfig), plane.url, plane.pids)
    partial = directory / ".state.json"
    partial.write_text(json.dumps(asdict(state), indent=1))
    partial.rename(directory / "state.json")


def _is_locked(directory: Path) -> bool:
    path = directory / "supervisor.lock"
    if not path.exists():
        return False
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _pid(directory: Path) -> int | None:
    if not _is_locked(directory):
        return None
    with contextlib.suppress(OSError, ValueError):
        return int((directory / "supervisor.pid").read_text())
    return None


def _forget(directory: Path) -> None:
    for name in ("state.json", "supervisor.pid"):
        (directory / name).unlink(missing_ok=True)
    shutil.rmtree(directory / "cluster", ignore_errors=True)


def _environment() -> dict[str, str]:
    """Return an environment in which the supervisor finds this package."""
    source = str(Path(__file__).resolve().parents[1])
    known = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": f"{source}{os.pathsep}{known}" if known else source}
