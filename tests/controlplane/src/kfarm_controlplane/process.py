"""Child processes that never outlive their parent, even one that is killed with -9.

Linux sends the parent-death signal when the *thread* that forked ends, not the
process. All children are therefore started from one daemon thread that lives as
long as the interpreter.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
_LINE_WIDTH = 300
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

Popen = subprocess.Popen[bytes]
_Job = tuple[Callable[[], Popen], "Future[Popen]"]


class _Spawner:
    """Runs every fork in one long-lived thread."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._pid = 0

    def __call__(self, start: Callable[[], Popen]) -> Popen:
        with self._lock:
            if self._pid != os.getpid():  # first use, or a forked copy without the thread
                self._jobs = queue.SimpleQueue()
                self._pid = os.getpid()
                threading.Thread(target=self._run, name="kfarm-spawner", daemon=True).start()
        future: Future[Popen] = Future()
        self._jobs.put((start, future))
        return future.result()

    def _run(self) -> None:
        jobs = self._jobs
        while True:
            start, future = jobs.get()
            try:
                future.set_result(start())
            except BaseException as error:
                future.set_exception(error)


_spawn = _Spawner()


def _die_with(parent: int) -> None:
    """Run in the child between fork and exec."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before prctl took effect
        os._exit(1)


def start_child(
    command: Sequence[str | Path],
    *,
    stdout: IO[bytes] | int,
    stderr: IO[bytes] | int = subprocess.STDOUT,
    stdin: int = subprocess.DEVNULL,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Popen:
    """Start a command in its own process group, killed when this process dies."""
    parent = os.getpid()
    return _spawn(
        lambda: subprocess.Popen(
            [str(part) for part in command],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=cwd,
            env=env,
            process_group=0,
            preexec_fn=lambda: _die_with(parent),  # noqa: PLW1509  (two system calls, no lock)
        )
    )


def ask_child(child: Popen) -> None:
    """Ask a child to end, without waiting."""
    _signal_group(child, signal.SIGTERM)


def stop_child(child: Popen, grace_s: float = 5.0) -> None:
    """Ask a child to end, then kill its process group; returns when it is gone."""
    ask_child(child)
    try:
        child.wait(grace_s)
    except subprocess.TimeoutExpired:
        kill_child(child)


def kill_child(child: Popen) -> None:
    """Kill a child's process group with -9 and wait for it."""
    _signal_group(child, signal.SIGKILL)
    child.wait()


def _signal_group(child: Popen, number: signal.Signals) -> None:
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)


@dataclass
class Component:
    """One component of a control plane: how to start it, and the running process.

    Parameters
    ----------
    name
        Name of the component, also of its log file.
    command
        Binary and arguments; the same at each start, so data and ports are kept.
    log
        Log file, appended to at each start.
    """

    name: str
    command: list[str]
    log: Path
    env: dict[str, str] = field(default_factory=dict)
    child: Popen | None = None

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self.child is not None and self.child.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id, or None when it does not run."""
        return self.child.pid if self.child is not None and self.running else None

    def start(self) -> None:
        """Start the process unless it runs."""
        if self.running:
            return
        with self.log.open("ab") as log:
            self.child = start_child(self.command, stdout=log, env=os.environ | self.env)

    def ask(self) -> None:
        """Ask the process to end, without waiting."""
        if self.child is not None:
            ask_child(self.child)

    def stop(self, grace_s: float = 5.0) -> None:
        """Stop the process, gently first."""
        if self.child is not None:
            stop_child(self.child, grace_s)

    def kill(self) -> None:
        """Kill the process with -9."""
        if self.child is not None:
            kill_child(self.child)

    def tail(self, lines: int = 15) -> str:
        """Return the last lines of the log."""
        if not self.log.exists():
            return ""
        last = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(line[:_LINE_WIDTH] for line in last)
