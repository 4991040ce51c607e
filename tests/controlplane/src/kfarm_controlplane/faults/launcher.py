"""Operators as processes, started in milliseconds, killed with -9, and started again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from kfarm_controlplane.errors import ControlPlaneError
from kfarm_controlplane.process import start_child, stop_child

SWEEPER = "sweeper"
SWEEP_S = 1.0
"""Between sweeps; a CronJob comes every minute."""
_WATCH_S = 0.1


@dataclass(frozen=True)
class Launch:
    """How operators are started: kubeconfigs that point at the proxy, the twin's socket.

    Attributes
    ----------
    role
        Of the operator; ``sweeper`` for the sweeper in its place.
    drill, sweeper
        Accounts of drills and of the sweeper; none where nobody drills.
    limits
        Arguments that bound drills.
    """

    gate: Path
    farm: Path
    twin: Path
    log: Path
    bug: str = ""
    role: str = "all"
    drill: Path | None = None
    sweeper: Path | None = None
    limits: tuple[str, ...] = ()

    def order(self) -> dict[str, Any]:
        """For the zygote."""
        paths = {"twin": str(self.twin), "log": str(self.log)}
        order = {"op": "start", "role": self.role, "bug": self.bug, **paths}
        if self.role == SWEEPER:
            sweeping = ["--kubeconfig", str(self.sweeper), f"--every={SWEEP_S:g}"]
            return {**order, "arguments": sweeping}
        arguments = [
            f"--role={self.role}",
            *("--gate-kubeconfig", str(self.gate), "--farm-kubeconfig", str(self.farm)),
            *("--probes", "127.0.0.1:0"),
        ]
        if self.drill is not None:
            arguments += ["--drill-kubeconfig", str(self.drill), *self.limits]
        return {**order, "arguments": arguments}


class Zygote:
    """The other end of `zygote`; safe to use from many threads."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._orders: IO[bytes] | None = None
        self._answers: IO[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "kfarm_controlplane.faults.zygote"]
        with self._log.open("ab") as log:
            self._process = start_child(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        self._orders, self._answers = self._process.stdin, self._process.stdout
        self.ended()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is None:
            return
        stop_child(self._process)
        for pipe in (self._orders, self._answers):
            if pipe is not None:
                pipe.close()

    def start(self, launch: Launch) -> int:
        """Fork an operator; returns its process number."""
        return int(self._ask(launch.order())["pid"])

    def kill(self, pid: int) -> bool:
        """End one with SIGKILL and wait until it is gone; False when it had ended before."""
        return bool(self._ask({"op": "kill", "pid": pid})["ended"])

    def signal(self, pid: int, number: int) -> None:
        """Send one a signal, if it still runs."""
        self._ask({"op": "signal", "pid": pid, "signal": number})

    def ended(self) -> dict[int, int]:
        """Those that ended by themselves since the last question, with their exit codes."""
        found = self._ask({"op": "ended"})["ended"]
        return {int(pid): int(code) for pid, code in found.items()}

    def _ask(self, order: dict[str, Any]) -> Any:
        with self._lock:
            if self._orders is None or self._answers is None:
                raise ControlPlaneError("the zygote does not run", "use it in a with.")
            self._orders.write(json.dumps(order).encode() + b"\n")
            self._orders.flush()
            line = self._answers.readline()
        if not line:
            raise ControlPlaneError("the zygote ended", f"read {self._log}.")
        return json.loads(line)


class Crew:
    """Keeps one operator at work as a Deployment would, and does to it what a fault asks for."""

    def __init__(self, zygote: Zygote, launch: Launch) -> None:
        self._zygote = zygote
        self.launch = launch
        self._lock = threading.RLock()
        self._pids: list[int] = []
        self._paused: list[int] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="crew", daemon=True)
        self.starts = 0
        self.exits: list[int] = []

    def __enter__(self) -> Self:
        self.start()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._thread.join(10)
        self.stop()

    @property
    def paused(self) -> bool:
        """Whether one sleeps."""
        return bool(self._paused)

    def start(self) -> None:
        """Start one more."""
        with self._lock:
            self._pids.append(self._zygote.start(self.launch))
            self.starts += 1

    def crash(self) -> None:
        """kill -9 all that are awake, and start one."""
        with self._lock:
            for pid in [pid for pid in self._pids if pid not in self._paused]:
                self._end(pid)
            self.start()

    def pause(self) -> None:
        """SIGSTOP all, and let a second replica work."""
        with self._lock:
            for pid in self._pids:
                self._zygote.signal(pid, signal.SIGSTOP)
            self._paused = list(self._pids)
            self.start()

    def resume(self) -> None:
        """Wake up who was paused; both work from then on."""
        with self._lock:
            for pid in self._paused:
                self._zygote.signal(pid, signal.SIGCONT)
            self._paused = []

    def alone(self) -> None:
        """One awake operator and no other, unharmed where it is the only one."""
        with self._lock:
            self.resume()
            for pid in self._pids[:-1]:
                self._end(pid)
            if not self._pids:
                self.start()

    def stop(self) -> None:
        """End all."""
        with self._lock:
            for pid in list(self._pids):
                self._end(pid)

    def renew(self, launch: Launch) -> None:
        """End all, and start one as described."""
        with self._lock:
            self.stop()
            self.launch = launch
            self.start()

    def shift(self, role: str) -> None:
        """kill -9 who is on duty; from now on others are started."""
        if self.launch.role != role:
            self.renew(replace(self.launch, role=role))

    def _end(self, pid: int) -> None:
        self._pids.remove(pid)
        if pid in self._paused:
            self._paused.remove(pid)
        self._zygote.kill(pid)

    def _watch(self) -> None:
        """Start another when one ended by itself."""
        while not self._closing.wait(_WATCH_S):
            with self._lock:
                for pid, code in self._zygote.ended().items():
                    if pid in self._pids:
                        self._pids.remove(pid)
                        self.exits.append(code)
                        self.start()
