"""The real twin in a fork server beside the campaign, with a door in front of its answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from kfarm_twin import wire
from kfarm_twin.work.backend import TwinFailed
from kfarm_twin.work.forked import ForkBackend

from kfarm_controlplane.errors import ControlPlaneError
from kfarm_controlplane.faults.zygote import read_frame

START_S = 600.0
_POLL_S = 0.02


class TwinHouse:
    """Answers operators over a Unix socket; is itself the `Door` of the stage.

    Parameters
    ----------
    path
        Of the socket; short, as sockets want it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open = threading.Event()
        self._open.set()
        self._waiting = 0
        self._up = threading.Event()
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="twin-house", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._up.wait(START_S) or self._failure is not None:
            raise ControlPlaneError(f"the twin did not start: {self._failure}", "warm it first.")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    def shut(self) -> None:
        """Answers wait from now on."""
        self._open.clear()

    def open(self) -> None:
        """Answers pass."""
        self._open.set()

    def waiting(self) -> int:
        """Answers that wait, of operators that still live."""
        return self._waiting

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self._failure = error
            self._up.set()

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        backend = ForkBackend()
        await backend.start()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._answer(backend, reader, writer)
            writer.transport.abort()

        server = await asyncio.start_unix_server(answer, str(self.path), limit=1 << 20)
        self._up.set()
        try:
            await self._stop.wait()
        finally:
            server.close()
            await backend.close()

    async def _answer(
        self, backend: ForkBackend, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        order = json.loads(await read_frame(reader))
        body = await read_frame(reader)
        run = asyncio.ensure_future(backend.exchange(body, **order))
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({run, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not run.done() or not await self._pass(gone):
                return
            try:
                reply = wire.frame(b"{}") + wire.frame(run.result())
            except TwinFailed as error:
                head = {"reason": error.reason, "message": error.message}
                reply = wire.frame(json.dumps(head).encode())
            writer.write(reply)
            await writer.drain()
        finally:
            for task in (run, gone):
                task.cancel()
            await asyncio.gather(run, gone, return_exceptions=True)

    async def _pass(self, gone: asyncio.Future[bytes]) -> bool:
        """Wait before the door; False when the asker went away."""
        self._waiting += 1
        try:
            while not self._open.is_set() and not gone.done():
                await asyncio.sleep(_POLL_S)
        finally:
            self._waiting -= 1
        return not gone.done()
