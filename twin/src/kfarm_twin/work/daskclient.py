"""Twin work on the workers of an existing Dask scheduler.

A run is a pure function of its bytes. So one that was lost, with its worker or with the scheduler,
is done again, a bounded number of times; each caller gets exactly one answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import uuid
from typing import Any, get_args

from kfarm_twin.work.backend import (
    Entry,
    FailureReason,
    TwinFailed,
    check_size,
)
from kfarm_twin.work.dasklink import (
    DEFAULT_PATIENCE,
    INSTALL,
    WHERE,
    Link,
    Lost,
    Patience,
    Run,
    answer_of,
    check_address,
    close_client,
    load_dask,
    sentence,
)
from kfarm_twin.work.daskworker import Order, Parcel, end_run
from kfarm_twin.work.identity import identity

MOST_ATTEMPTS = 4
_LOG = logging.getLogger(__name__)


class DaskBackend:
    """Sends runs to a Dask scheduler.

    Parameters
    ----------
    address
        ``tcp://host:port``, or ``tls://host:port`` with certificates from Dask's own configuration.
    entry
        What a run calls.
    concurrency
        Runs handed over at a time; twice the threads of all workers when left out.
    """

    def __init__(
        self,
        address: str,
        entry: Entry,
        concurrency: int | None = None,
        patience: Patience = DEFAULT_PATIENCE,
    ) -> None:
        check_address(address)
        self.address = address
        self._entry = entry
        self._wanted = concurrency
        self._slots: asyncio.Semaphore | None = None
        self._patience = patience
        self._link: Link | None = None
        self._linking = asyncio.Lock()
        self._endings: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """Reach the scheduler.

        Raises
        ------
        TwinFailed
            With reason ``SchedulerLost`` when it does not answer, ``Crashed`` without Dask.
        """
        try:
            await self._connected()
        except Lost as error:
            raise TwinFailed(error.reason, error.message) from error

    async def width(self) -> int:
        """Runs handed over at a time."""
        if self._wanted is not None:
            return self._wanted
        try:
            link = await self._connected()
            found = await asyncio.wait_for(
                link.client.scheduler.identity(n_workers=0), self._patience.silence
            )
        except (Lost, OSError, TimeoutError) as error:
            raise TwinFailed("SchedulerLost", self._unreachable(str(error))) from error
        return max(2, 2 * int(found["total_threads"]))

    async def close(self) -> None:
        """End every run and let go of the scheduler; runs under way fail with ``Crashed``."""
        self._closed = True
        async with self._linking:
            link, self._link = self._link, None
            if link is not None:
                await asyncio.gather(*(self._end(link, *run) for run in list(link.runs.items())))
                await self._drop(link)
        if self._endings:
            await asyncio.wait(self._endings)

    async def exchange(self, body: bytes, *, deadline_s: float, memory_bytes: int) -> bytes:
        """Do one run on some worker; see `Backend`."""
        check_size(body)
        if self._slots is None:
            width = await self.width()
            self._slots = self._slots or asyncio.Semaphore(width)  # who asked meanwhile made it
        async with self._slots:
            return await self._tried(body, deadline_s, memory_bytes)

    async def _tried(self, body: bytes, deadline_s: float, memory_bytes: int) -> bytes:
        """Do a run again that was lost, after a pause in which a scheduler may come back."""
        hung: set[str] = set()
        for attempt in range(1, MOST_ATTEMPTS + 1):
            link = None
            try:
                link = await self._connected()
                return await self._once(link, body, deadline_s, memory_bytes, hung)
            except Lost as error:
                last = error
            if self._closed:
                raise TwinFailed("Crashed", "the runner is closed") from last
            if link is None and attempt == 1:
                raise TwinFailed(last.reason, last.message) from last
            if attempt < MOST_ATTEMPTS:
                _LOG.warning("try %d of %d: %s", attempt, MOST_ATTEMPTS, last.message)
                await asyncio.sleep(self._patience.pause * 2 ** (attempt - 1))
        raise TwinFailed(last.reason, f"{last.message} (tried {MOST_ATTEMPTS} times)") from last

    async def _once(
        self, link: Link, body: bytes, deadline_s: float, memory_bytes: int, hung: set[str]
    ) -> bytes:
        """One try; a worker that says nothing is added to `hung` and not asked again."""
        loop, name = asyncio.get_running_loop(), f"kfarm-{uuid.uuid4().hex}"
        order = Order(name, link.topic, self._entry, body, deadline_s, memory_bytes, identity())
        parcel = pickle.dumps(Parcel(order))
        choice = await self._others(link, hung) if hung else None
        link.runs[name] = run = Run(loop.time(), loop.create_future())
        run.future = link.client.submit(pickle.loads, parcel, key=name, pure=False, workers=choice)
        answer = asyncio.ensure_future(answer_of(run.future))
        try:
            await self._wait(link, run, answer, deadline_s)
            return self._opened(answer)
        except Lost as error:
            if error.reason == "WorkerLost":
                hung.add(run.worker)
            else:
                link.lose(error)
            raise
        finally:
            del link.runs[name]
            if not answer.done():
                answer.cancel()
                ending = asyncio.create_task(self._end(link, name, run))
                self._endings.add(ending)
                ending.add_done_callback(self._endings.discard)
            run.future.release()

    async def _wait(
        self, link: Link, run: Run, answer: asyncio.Task[Any], deadline_s: float
    ) -> None:
        """Return when the answer is there; raise when none is to be expected any more."""
        loop = asyncio.get_running_loop()
        while not answer.done():
            if link.lost.done():
                why = link.lost.result()  # each run raises one of its own
                raise type(why)(why.reason, why.message)
            limit = deadline_s + self._patience.grace if run.worker else self._patience.queue
            left = run.since + limit - loop.time()
            if left <= 0 and run.worker:
                late = f"worker {run.worker} said nothing of a run {limit:g} s after it began"
                raise Lost("WorkerLost", f"{late}: look whether it hangs")
            if left <= 0:
                late = f"no worker began the run within {limit:g} s"
                raise TwinFailed("WorkerLost", f"{late}: give {self.address} more workers")
            run.news = loop.create_future()
            await asyncio.wait(
                {answer, link.lost, run.news}, timeout=left, return_when=asyncio.FIRST_COMPLETED
            )

    async def _others(self, link: Link, hung: set[str]) -> list[str] | None:
        """Workers but those that hang; None, and so all, where there are no others."""
        try:
            async with asyncio.timeout(self._patience.silence):
                found = await link.client.scheduler.identity()
        except (OSError, TimeoutError) as error:
            raise Lost("SchedulerLost", self._unreachable(sentence(error))) from error
        return [address for address in found["workers"] if address not in hung] or None

    def _opened(self, answer: asyncio.Task[Any]) -> bytes:
        """The reply in an answer, or what it failed of."""
        error = answer.exception()
        if error is not None:
            raise self._meaning(error) from error
        found: dict[str, Any] = answer.result()
        if "reply" in found:
            return bytes(found["reply"])
        message = str(found["message"])
        if found["reason"] == "WorkerMismatch":
            message += ": install the kfarm of this side on all workers and restart them"
        reasons: dict[str, FailureReason] = {word: word for word in get_args(FailureReason)}
        raise TwinFailed(reasons.get(found["reason"], "Crashed"), message)

    def _meaning(self, error: BaseException) -> Exception:
        """What an exception of Dask means."""
        from distributed.scheduler import KilledWorker, NoValidWorkerError  # noqa: PLC0415

        if isinstance(error, KilledWorker):
            return TwinFailed(
                "WorkerLost",
                f"{error.allowed_failures + 1} workers of {self.address} died one after another "
                "while they did this run: look at their logs and their memory limits",
            )
        if isinstance(error, NoValidWorkerError):
            return TwinFailed("WorkerLost", f"no worker of {self.address} may take the run")
        if isinstance(error, ImportError | AttributeError):
            return TwinFailed(
                "WorkerMismatch",
                f"a worker of {self.address} has no kfarm like this one ({error}): install the "
                "same kfarm-twin on all workers and restart them",
            )
        if type(error).__name__ in ("FutureCancelledError", "CancelledError", "CommClosedError"):
            return Lost("SchedulerLost", self._unreachable(str(error)))
        if isinstance(error, OSError | TimeoutError):
            return Lost("SchedulerLost", self._unreachable(str(error)))
        return TwinFailed("Crashed", f"{type(error).__name__} on a worker: {error}")

    async def _end(self, link: Link, name: str, run: Run) -> None:
        """End a run that nobody waits for: take it from the queue, and kill it where it runs."""
        if link.lost.done():
            return
        with contextlib.suppress(Exception):
            async with asyncio.timeout(self._patience.connect):
                await link.client.cancel([run.future], force=True)
                if run.worker:
                    await link.client.run(end_run, name, workers=[run.worker], on_error="ignore")

    async def _connected(self) -> Link:
        async with self._linking:
            if self._closed:
                raise Lost("Crashed", "the runner is closed")
            if self._link is not None and not self._link.lost.done():
                return self._link
            if self._link is not None:
                await self._drop(self._link)
                self._link = None
            self._link = await self._connect()
            return self._link

    async def _connect(self) -> Link:
        client = await self._client()
        loop = asyncio.get_running_loop()
        link = Link(client, f"kfarm-{uuid.uuid4().hex}", loop.create_future())
        client.subscribe_topic(link.topic, link.on_event)
        link.keeper = asyncio.create_task(self._keep(link))
        return link

    async def _client(self) -> Any:
        """A connected client; its own attempts to connect again are not wanted."""
        try:
            distributed = await asyncio.to_thread(load_dask)
        except ImportError as error:
            raise TwinFailed("Crashed", INSTALL) from error
        limit = self._patience.connect
        client = distributed.Client(
            self.address, asynchronous=True, set_as_default=False, timeout=limit, name="kfarm"
        )
        try:
            async with asyncio.timeout(limit + 1.0):
                await client
        except (OSError, TimeoutError, ValueError, TypeError, ImportError) as error:
            await close_client(client)
            raise Lost("SchedulerLost", self._unreachable(sentence(error))) from error
        except BaseException:
            await close_client(client)
            raise
        return client

    async def _keep(self, link: Link) -> None:
        """Ask the scheduler again and again whether it is there and has workers."""
        loop, empty_since = asyncio.get_running_loop(), None
        while not link.lost.done():
            try:
                async with asyncio.timeout(self._patience.silence):
                    found = await link.client.scheduler.identity(n_workers=0)
            except Exception as error:  # whatever it is, nobody answers there
                link.lose(Lost("SchedulerLost", self._unreachable(sentence(error))))
                return
            if found["n_workers"] or not link.runs:
                empty_since = None
            elif empty_since is None:
                empty_since = loop.time()
            elif loop.time() - empty_since > self._patience.workers:
                empty = f"{self.address} has had no worker for {self._patience.workers:g} s"
                more = f"start some with: dask worker {self.address}"
                link.lose(TwinFailed("WorkerLost", f"the Dask scheduler {empty}; {more}"))
                return
            await asyncio.sleep(self._patience.probe)

    async def _drop(self, link: Link) -> None:
        link.lose(Lost("Crashed", "the runner is closed"))
        if link.keeper is not None:
            link.keeper.cancel()
            await asyncio.wait([link.keeper])
        await close_client(link.client)

    def _unreachable(self, why: str) -> str:
        return f"the Dask scheduler {self.address} gave no answer ({why}); {WHERE}"
