"""A process that has imported the operator once, and forks one in milliseconds whenever asked.

Standard input brings orders, standard output answers them, one JSON object a line each::

    {"op": "start", "arguments": […], "twin": "/…/twin.sock", "log": "/…/operator.log", "bug": ""}
    {"op": "kill", "pid": 12}      {"op": "signal", "pid": 12, "signal": 19}      {"op": "ended"}

The operator itself is unchanged: its own ``main``, with shorter times, and with its twin in a
server that outlives it. A seeded bug is applied in the fork, before ``main``.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from kfarm_operator import client as client_module
from kfarm_operator import main as operator_main
from kfarm_operator import mirror as mirror_module
from kfarm_operator.mirror import Cadence
from kfarm_operator.plans import reconcile as plans_reconcile
from kfarm_operator.runner import TwinRunner
from kfarm_operator.service import Service, Timing
from kfarm_twin import wire
from kfarm_twin.work.backend import TwinFailed

QUICK = Timing(relist_s=2.0, alive_s=90.0, mirrors=Cadence(relist_s=3.0, silence_s=6.0))
REQUEST_TIMEOUT_S = 3.0
ABSENT_RETRY_S = 1.0
LEAST_HOLD_S = 0.5
SWEEPER = "sweeper"
_SWEEPER = "kfarm_operator.sweeper"
_BUGS = "kfarm_controlplane.faults.bugs"


class DistantTwin:
    """The twin behind a Unix socket; see `twinhouse`. A run ends when its asker hangs up."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def start(self) -> None:
        """Nothing to do: the server is warm."""

    async def width(self) -> int:
        """Runs at a time."""
        return 2

    async def exchange(self, body: bytes, *, deadline_s: float, memory_bytes: int) -> bytes:
        """Do one run there."""
        reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            order = json.dumps({"deadline_s": deadline_s, "memory_bytes": memory_bytes}).encode()
            writer.write(wire.frame(order) + wire.frame(body))
            await writer.drain()
            head = json.loads(await read_frame(reader))
            if "reason" in head:
                raise TwinFailed(head["reason"], head["message"])
            return await read_frame(reader)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise TwinFailed("Crashed", "the twin's server ended") from error
        finally:
            writer.transport.abort()

    async def close(self) -> None:
        """Nothing to do."""


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """One frame as `wire.frame` makes it."""
    length = wire.frame_length(await reader.readexactly(wire.HEADER_BYTES))
    return await reader.readexactly(length)


def _operate(order: dict[str, Any]) -> NoReturn:
    """In the fork: be the operator that was asked for."""
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    quiet = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, quiet), (1, log), (2, log)):
        os.dup2(source, target)
    client_module.REQUEST_TIMEOUT_S = REQUEST_TIMEOUT_S
    mirror_module.ABSENT_RETRY_S = ABSENT_RETRY_S
    plans_reconcile.MIN_HOLD_S = LEAST_HOLD_S
    vars(operator_main)["Service"] = partial(Service, timing=QUICK)
    vars(operator_main)["make_runner"] = lambda _: TwinRunner(backend=DistantTwin(order["twin"]))
    if order.get("bug"):
        importlib.import_module(_BUGS).apply(order["bug"])
    code = 1
    try:
        if order.get("role") == SWEEPER:
            importlib.import_module(_SWEEPER).main(order["arguments"])
        else:
            operator_main.main(order["arguments"])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        with contextlib.suppress(BaseException):
            sys.stderr.flush()
        os._exit(code)


class Zygote:
    """Forks, kills and reaps."""

    def __init__(self) -> None:
        self._alive: set[int] = set()
        self._ended: dict[int, int] = {}

    def serve(self) -> None:
        """Follow orders until there is no one to give them."""
        for line in sys.stdin:
            order = json.loads(line)
            print(json.dumps(self._follow(order)), flush=True)  # noqa: T201

    def _follow(self, order: dict[str, Any]) -> dict[str, Any]:
        match order["op"]:
            case "start":
                return {"pid": self._start(order)}
            case "kill":
                return {"ended": self._kill(int(order["pid"]))}
            case "signal":
                return {"sent": self._signal(int(order["pid"]), int(order["signal"]))}
            case _:
                self._reap(os.WNOHANG)
                found, self._ended = self._ended, {}
                return {"ended": found}

    def _start(self, order: dict[str, Any]) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _die_with(parent)
            os.setpgid(0, 0)
            _operate(order)
        self._alive.add(pid)
        return pid

    def _signal(self, pid: int, number: int) -> bool:
        """To one of ours that was not reaped, so that the number is still its own."""
        if pid in self._alive:
            os.kill(pid, number)
        return pid in self._alive

    def _kill(self, pid: int) -> bool:
        if not self._signal(pid, signal.SIGKILL):
            return False
        os.waitpid(pid, 0)
        self._alive.discard(pid)
        return True

    def _reap(self, flags: int) -> None:
        for pid in list(self._alive):
            done, status = os.waitpid(pid, flags)
            if done:
                self._alive.discard(pid)
                self._ended[pid] = os.waitstatus_to_exitcode(status)


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def main() -> None:
    """Import, then serve."""
    if Path(__file__).with_name("bugs.py").exists():
        importlib.import_module(_BUGS)
    gc.collect()
    gc.freeze()
    Zygote().serve()


if __name__ == "__main__":
    main()
