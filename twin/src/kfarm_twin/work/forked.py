"""Twin work in processes forked from a warm server of this machine."""

from __future__ import annotations

import asyncio
import os
import signal

from kfarm_twin import wire
from kfarm_twin.work.backend import TwinFailed, check_size
from kfarm_twin.work.forkclient import Child, Ended, ForkServer, ServerCommand, ServerLost

LEAST_LIFE_S = 30.0
"""A server that dies sooner is not restarted until somebody needs it: no hot loop."""
_OUT_OF_MEMORY = ("memory allocation of", "bad_alloc", "MemoryError", "out of memory")
"""What native code says before it aborts because an allocation was refused."""


class ForkBackend:
    """One warm server and the runs in it.

    A server that dies is started again, at once or, when it lived for less than
    `LEAST_LIFE_S`, by the next run.

    Parameters
    ----------
    concurrency
        Runs at once; the number of cores when left out. Further ones wait.
    command
        What the fork server runs.
    """

    def __init__(
        self, concurrency: int | None = None, command: ServerCommand | None = None
    ) -> None:
        self._cores = len(os.sched_getaffinity(0))
        self._places = concurrency or self._cores
        self._slots = asyncio.Semaphore(self._places)
        self._command = command or ServerCommand()
        self._server: ForkServer | None = None
        self._starting = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def server_pid(self) -> int | None:
        """Process number of the running server."""
        alive = self._server is not None and not self._server.lost.is_set()
        return self._server.process.pid if alive and self._server else None

    async def start(self) -> None:
        """Start the server and wait until it is warm.

        Raises
        ------
        TwinFailed
            With reason ``Crashed`` when it does not start.
        """
        try:
            await self._ensure()
        except ServerLost as error:
            raise TwinFailed("Crashed", str(error)) from error

    async def width(self) -> int:
        """Runs at once."""
        return self._places

    async def close(self) -> None:
        """End the server and every run; runs under way fail with ``Crashed``."""
        self._closed = True
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
            self._keeper = None
        if self._server is not None:
            await self._server.close()
            self._server = None

    async def exchange(self, body: bytes, *, deadline_s: float, memory_bytes: int) -> bytes:
        """Send bytes to a child of its own and return what it answers; see `Backend`."""
        check_size(body)
        async with self._slots:
            try:
                server = await self._ensure()
                child = server.start(cpu_s=deadline_s * self._cores + 1, memory_bytes=memory_bytes)
            except ServerLost as error:
                raise TwinFailed("Crashed", str(error)) from error
            return await self._converse(server, child, body, deadline_s)

    async def _converse(
        self, server: ForkServer, child: Child, body: bytes, deadline_s: float
    ) -> bytes:
        late, raw = False, b""
        try:
            async with asyncio.timeout(deadline_s):
                raw = await _exchange(child, body)
        except TimeoutError:
            late = True
        finally:
            child.channel.close()
            ended = await self._stop(server, child)
        if not raw:
            raise _failure(ended, deadline_s, late=late)
        return raw

    async def _stop(self, server: ForkServer, child: Child) -> Ended:
        """Stop a child whatever comes: a second cancellation does not leave it running."""
        stopping = asyncio.ensure_future(server.stop(child))
        try:
            return await asyncio.shield(stopping)
        except asyncio.CancelledError:
            await asyncio.wait([stopping])
            raise

    async def _ensure(self) -> ForkServer:
        async with self._starting:
            if self._closed:
                raise ServerLost("the runner is closed")
            if self._server is not None and not self._server.lost.is_set():
                return self._server
            if self._server is not None:
                await self._server.close()
            self._server = await ForkServer.launch(self._command)
            self._keeper = asyncio.create_task(self._keep(self._server))
            return self._server

    async def _keep(self, server: ForkServer) -> None:
        """Restart the server once it is lost; the next run tries again if that fails."""
        born = asyncio.get_running_loop().time()
        await server.lost.wait()
        if asyncio.get_running_loop().time() - born < LEAST_LIFE_S:
            return
        try:
            await self._ensure()
        except ServerLost:
            return


async def _exchange(child: Child, body: bytes) -> bytes:
    """Send the request, receive the reply; empty when the child hung up or broke the bound."""
    reader, writer = await asyncio.open_connection(sock=child.channel)
    try:
        writer.write(wire.frame(body))
        await writer.drain()
        length = wire.frame_length(await reader.readexactly(wire.HEADER_BYTES))
        if length > wire.MAX_REPLY_BYTES:
            raise TwinFailed("TooLarge", f"the child announced {length} bytes of result")
        return await reader.readexactly(length)
    except (ConnectionError, asyncio.IncompleteReadError):
        return b""
    finally:
        writer.transport.abort()


def _failure(ended: Ended, deadline_s: float, *, late: bool) -> TwinFailed:
    """What the end of a child without a reply means."""
    if late or ended.signal == signal.SIGXCPU:
        return TwinFailed(
            "DeadlineExceeded", f"no verdict within {deadline_s:g} s; the run was killed"
        )
    if ended.lost:
        return TwinFailed("Crashed", "the fork server ended and took the run along")
    if ended.code == wire.EXIT_MEMORY or any(words in ended.stderr for words in _OUT_OF_MEMORY):
        return TwinFailed("MemoryExceeded", "the run needs more memory than it may use")
    if ended.signal is not None:
        name = signal.strsignal(ended.signal) or f"signal {ended.signal}"
        how = f"the run was ended by a signal ({name}) before its verdict"
    else:
        how = f"the run ended with exit code {ended.code} and no verdict"
    words = " ".join(ended.stderr.split())
    return TwinFailed("Crashed", f"{how}: {words}" if words else how)
