"""Runs the twin for the operator: a request in, a verdict out, and one harm for one run only."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Literal

from kfarm_api.base import Strict
from kfarm_twin import wire
from kfarm_twin.fleetrun_request import FleetOrder, FleetRequest
from kfarm_twin.fleetrun_result import FleetRun
from kfarm_twin.request import ValidationRequest, Verdict
from kfarm_twin.whatif_request import PlayOrder, WhatIfRequest
from kfarm_twin.whatif_result import Played
from pydantic import ValidationError

from kfarm_operator.forkclient import Child, Ended, ForkServer, ServerCommand, ServerLost

FailureReason = Literal["DeadlineExceeded", "MemoryExceeded", "Crashed", "BadInput", "TooLarge"]
_REASONS: dict[wire.ErrorKind, FailureReason] = {
    "InputError": "BadInput",
    "Crash": "Crashed",
    "Memory": "MemoryExceeded",
    "TooLarge": "TooLarge",
}


_OUT_OF_MEMORY = ("memory allocation of", "bad_alloc", "MemoryError", "out of memory")
"""What native code says before it aborts because an allocation was refused."""
LEAST_LIFE_S = 30.0
"""A server that dies sooner is not restarted until somebody needs it: no hot loop."""


class TwinFailed(Exception):
    """A run gave no verdict.

    Attributes
    ----------
    reason
        CamelCase word for a condition. Only ``BadInput`` and ``TooLarge`` say something about the
        request; the others may pass on another attempt.
    message
        A sentence for a person.
    """

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason: FailureReason = reason
        self.message = message


class ReplyError(Strict):
    """Why a child has no verdict."""

    kind: wire.ErrorKind
    message: str


class Reply(Strict):
    """What a child says: exactly one of the two."""

    verdict: Verdict | None = None
    error: ReplyError | None = None


class TwinRunner:
    """Runs validations in processes of their own, forked from a warm server.

    A server that dies is started again, at once or, when it lived for less than
    `LEAST_LIFE_S`, by the next run. Once closed, a runner stays closed.

    Parameters
    ----------
    concurrency
        Runs at once; the number of cores when left out. Further ones wait; waiting does not count
        towards their deadline.
    command
        What the fork server runs.
    """

    def __init__(
        self, concurrency: int | None = None, command: ServerCommand | None = None
    ) -> None:
        self._cores = len(os.sched_getaffinity(0))
        self._slots = asyncio.Semaphore(concurrency or self._cores)
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

    async def run(
        self, request: ValidationRequest, *, deadline_s: float, memory_bytes: int
    ) -> Verdict:
        """Ask the twin.

        Parameters
        ----------
        deadline_s
            Wall-clock time from the start of the child to its verdict [s].
        memory_bytes
            Address space that the child may use beyond the warm server's own [B].

        Raises
        ------
        TwinFailed
            When there is no verdict. Cancelling the caller kills the child.
        """
        body = request.model_dump_json(by_alias=True).encode()
        reply = await self.run_bytes(body, deadline_s=deadline_s, memory_bytes=memory_bytes)
        if reply.verdict is None:
            error = reply.error or ReplyError(kind="Crash", message="the reply is empty")
            raise TwinFailed(_REASONS[error.kind], error.message)
        return reply.verdict

    async def run_bytes(self, body: bytes, *, deadline_s: float, memory_bytes: int) -> Reply:
        """Do one run on a request that is already JSON; see `run`."""
        raw = await self.exchange(body, deadline_s=deadline_s, memory_bytes=memory_bytes)
        try:
            return Reply.model_validate_json(raw)
        except ValidationError as error:
            raise TwinFailed("Crashed", f"the run's answer is not a verdict: {error}") from error

    async def exchange(self, body: bytes, *, deadline_s: float, memory_bytes: int) -> bytes:
        """Send bytes to a child of its own and return what it answers."""
        if len(body) > wire.MAX_REQUEST_BYTES:
            raise TwinFailed(
                "TooLarge",
                f"the request has {len(body)} bytes; at most {wire.MAX_REQUEST_BYTES} are taken: "
                "name fewer farms in one plan",
            )
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


WHATIF_COMMAND = ServerCommand(
    entry="kfarm_twin.whatif_play:play_json", warm="kfarm_twin.whatif_play:warm"
)


class PlayedReply(Strict):
    """What a child that played a replica says: exactly one of the two."""

    verdict: Played | None = None
    error: ReplyError | None = None


class FleetReply(Strict):
    """What a child that played a run of failures says: exactly one of the two."""

    verdict: FleetRun | None = None
    error: ReplyError | None = None


class WhatIfRunner(TwinRunner):
    """Plays TwinRuns in processes of their own, forked from a warm server."""

    def __init__(
        self, concurrency: int | None = None, command: ServerCommand = WHATIF_COMMAND
    ) -> None:
        super().__init__(concurrency, command)

    async def play(
        self, request: WhatIfRequest, replica: int, *, deadline_s: float, memory_bytes: int
    ) -> Played:
        """Play one replica; limits and failures as in `TwinRunner.run`."""
        body = PlayOrder(request=request, replica=replica).model_dump_json(by_alias=True).encode()
        raw = await self.exchange(body, deadline_s=deadline_s, memory_bytes=memory_bytes)
        try:
            reply = PlayedReply.model_validate_json(raw)
        except ValidationError as error:
            raise TwinFailed("Crashed", f"the run's answer is no replica: {error}") from error
        if reply.verdict is None:
            failed = reply.error or ReplyError(kind="Crash", message="the reply is empty")
            raise TwinFailed(_REASONS[failed.kind], failed.message)
        return reply.verdict

    async def play_failures(
        self, request: FleetRequest, *, deadline_s: float, memory_bytes: int
    ) -> FleetRun:
        """Play a run of failures; limits and failures as in `TwinRunner.run`."""
        body = FleetOrder(failures=request).model_dump_json(by_alias=True).encode()
        raw = await self.exchange(body, deadline_s=deadline_s, memory_bytes=memory_bytes)
        try:
            reply = FleetReply.model_validate_json(raw)
        except ValidationError as error:
            raise TwinFailed("Crashed", f"the run's answer is no result: {error}") from error
        if reply.verdict is None:
            failed = reply.error or ReplyError(kind="Crash", message="the reply is empty")
            raise TwinFailed(_REASONS[failed.kind], failed.message)
        return reply.verdict


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
