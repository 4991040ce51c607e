"""Client of the fork server: bytes in, bytes out, one process per run.

Nothing here imports numba, pyarrow or plotly: that is the server's business. The client keeps the
deadline. A kill goes through the server, which alone knows that a process number is still the
run's; a server that does not confirm within `KILL_GRACE_S` is killed itself, and its children die
with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from kfarm_twin import wire

KILL_GRACE_S = 5.0
START_TIMEOUT_S = 600.0
"""Long enough to compile all kernels once on a slow machine."""
SINGLE_THREADED = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}


class ServerLost(Exception):
    """The fork server did not start, or ended while a run was under way."""


@dataclass(frozen=True)
class Ended:
    """How a child ended: exit code or signal; neither when the server was lost.

    Attributes
    ----------
    stderr
        The last that it said on its standard error; a segfault leaves a traceback there.
    """

    code: int | None
    signal: int | None
    stderr: str = ""

    @property
    def lost(self) -> bool:
        """Whether nobody knows, because the server ended first."""
        return self.code is None and self.signal is None


@dataclass
class Child:
    """A run under way.

    Attributes
    ----------
    started
        Process number of the child, once the server has forked it.
    """

    id: int
    channel: socket.socket
    started: asyncio.Future[int]
    ended: asyncio.Future[Ended]


@dataclass(frozen=True)
class ServerCommand:
    """What the server runs; tests give an entry of their own."""

    entry: str = "kfarm_twin.forkserver:validate_json"
    warm: str = "kfarm_twin.warm:warm"
    environment: Mapping[str, str] = field(default_factory=dict)

    def argv(self, descriptor: int) -> list[str]:
        """Command line with the inherited control socket."""
        return [
            *(sys.executable, "-m", "kfarm_twin.forkserver"),
            *("--socket-fd", str(descriptor), "--parent", str(os.getpid())),
            *("--entry", self.entry, "--warm", self.warm),
        ]

    def env(self) -> dict[str, str]:
        """Environment: native libraries start no threads, so that forking is safe."""
        return {**os.environ, **SINGLE_THREADED, **self.environment}


class ForkServer:
    """One running fork server and the runs under way in it."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        self.process = process
        self._control = control
        self._ids = count(1)
        self._children: dict[int, Child] = {}
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost = asyncio.Event()

    @classmethod
    async def launch(cls, command: ServerCommand) -> ForkServer:
        """Start a server and wait until it is warm.

        Raises
        ------
        ServerLost
            When it does not get ready, with what it said.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    *command.argv(theirs.fileno()),
                    env=command.env(),
                    pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                )
            except OSError as error:
                ours.close()
                raise ServerLost(f"cannot start {sys.executable}: {error}") from error
        server = cls(process, ours)
        asyncio.get_running_loop().add_reader(ours, server._on_packet)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await server._ready
        except TimeoutError:
            await server.close()
            raise ServerLost(
                f"the fork server was not warm after {START_TIMEOUT_S:.0f} s"
            ) from None
        except BaseException:
            await server.close()
            raise
        return server

    def start(self, *, cpu_s: float, memory_bytes: int) -> Child:
        """Ask for a child; raises ServerLost when the server is gone."""
        if self.lost.is_set():
            raise ServerLost("the fork server has ended")
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        child = Child(next(self._ids), ours, loop.create_future(), loop.create_future())
        order = wire.packet(
            op="run", id=child.id, cpu_s=math.ceil(cpu_s), memory_bytes=memory_bytes
        )
        with theirs:
            try:
                socket.send_fds(self._control, [order], [theirs.fileno()])
            except OSError as error:
                ours.close()
                raise ServerLost(f"the fork server takes no orders: {error}") from error
        self._children[child.id] = child
        return child

    async def stop(self, child: Child) -> Ended:
        """Make sure that a child has ended, and say how; kills it when it still runs."""
        if not child.ended.done():
            with contextlib.suppress(OSError):
                self._control.send(wire.packet(op="kill", id=child.id))
        done, _ = await asyncio.wait([child.ended], timeout=KILL_GRACE_S)
        if not done:
            self._kill_server()
        return await child.ended

    async def close(self) -> None:
        """End the server and all its children."""
        self._kill_server()
        await self.process.wait()
        self._on_lost("closed")

    def _kill_server(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    def _on_packet(self) -> None:
        try:
            data = self._control.recv(wire.MAX_CONTROL_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._on_lost("it ended")
            return
        self._handle(json.loads(data))

    def _handle(self, message: dict[str, Any]) -> None:
        if message["op"] == "ready":
            _resolve(self._ready, None)
        elif message["op"] == "failed":
            _fail(self._ready, ServerLost(f"the fork server failed to start: {message['message']}"))
        elif message["op"] == "started":
            _resolve(self._children[message["id"]].started, message["pid"])
        elif message["op"] == "ended":
            child = self._children.pop(message["id"])
            _resolve(child.ended, Ended(message["code"], message["signal"], message["stderr"]))

    def _on_lost(self, why: str) -> None:
        if self.lost.is_set():
            return
        self.lost.set()
        asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()
        self._kill_server()
        _fail(self._ready, ServerLost(f"the fork server did not start: {why}"))
        for child in self._children.values():
            _resolve(child.ended, Ended(None, None))
        self._children.clear()


def _resolve(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # mark as seen: a closed server may have nobody waiting for it
