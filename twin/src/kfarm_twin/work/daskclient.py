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
from dataclasses import dataclass, field
from typing import Any, get_args

from kfarm_twin.work.backend import (
    Entry,
    FailureReason,
    TwinFailed,
    check_size,
)
from kfarm_twin.work.daskworker import Order, Parcel, end_run
from kfarm_twin.work.identity import identity

INSTALL = "Dask is not installed here: pip install 'kfarm-twin[dask]'"
SCHEMES = ("tcp", "tls", "ws", "wss")
WHERE = "start one with: dask scheduler; then its workers with: dask worker ADDRESS"


@dataclass(frozen=True)
class Patience:
    """How long what is waited for [s]; tests are less patient.

    Attributes
    ----------
    connect
        For a scheduler to answer when it is called.
    probe, silence
        Between two questions whether the scheduler is still there, and for their answers.
    workers
        For a worker to appear while there is none.
    queue
        For a run to begin: on a busy cluster it waits for others, on a fresh worker for kernels to
        be compiled.
    grace
        Beyond its deadline, for a run that has begun: its worker keeps the deadline.
    """

    connect: float = 10.0
    probe: float = 5.0
    silence: float = 20.0
    workers: float = 60.0
    queue: float = 1800.0
    grace: float = 20.0


DEFAULT_PATIENCE = Patience()
MOST_ATTEMPTS = 4
_LOG = logging.getLogger(__name__)


class _Lost(Exception):
    """One try came to nothing; another may do better."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason: FailureReason = reason
        self.message = message


@dataclass
class _Run:
    """A run that somebody waits for.

    Attributes
    ----------
    since
        When it was handed over, or when it last began [s of the event loop's clock].
    news
        Done once that changed.
    worker
        Where it runs; empty while it waits.
    """

    since: float
    news: asyncio.Future[None]
    worker: str = ""

    def begin(self, worker: str) -> None:
        """Note that a worker begins it; a second time where the first worker was lost."""
        self.worker, self.since = worker, asyncio.get_running_loop().time()
        if not self.news.done():
            self.news.set_result(None)


@dataclass
class _Link:
    """A connection to the scheduler, until it is lost.

    Attributes
    ----------
    lost
        Set with why, once nothing more comes over this connection.
    runs
        Those that somebody waits for, by name.
    """

    client: Any
    topic: str
    lost: asyncio.Future[TwinFailed | _Lost]
    runs: dict[str, _Run] = field(default_factory=dict)
    keeper: asyncio.Task[None] | None = None

    def lose(self, why: TwinFailed | _Lost) -> None:
        """Say once that this connection is no more."""
        if not self.lost.done():
            self.lost.set_result(why)

    def on_event(self, event: tuple[float, dict[str, str]]) -> None:
        """A worker says that a run begins."""
        run = self.runs.get(event[1]["run"])
        if run is not None:
            run.begin(event[1]["worker"])


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
        self._link: _Link | None = None
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
        except _Lost as error:
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
        except (_Lost, OSError, TimeoutError) as error:
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
            self._slots = asyncio.Semaphore(await self.width())
        hung: set[str] = set()
        async with self._slots:
            for attempt in range(1, MOST_ATTEMPTS + 1):
                try:
                    link = await self._connected()
                    return await self._once(link, body, deadline_s, memory_bytes, hung)
                except _Lost as error:
                    if self._closed:
                        raise TwinFailed("Crashed", "the runner is closed") from error
                    _LOG.warning("try %d of %d: %s", attempt, MOST_ATTEMPTS, error.message)
                    last = error
            raise TwinFailed(last.reason, f"{last.message} (tried {MOST_ATTEMPTS} times)")

    async def _once(
        self, link: _Link, body: bytes, deadline_s: float, memory_bytes: int, hung: set[str]
    ) -> bytes:
        """One try; a worker that says nothing is added to `hung` and not asked again."""
        loop, name = asyncio.get_running_loop(), f"kfarm-{uuid.uuid4().hex}"
        order = Order(name, link.topic, self._entry, body, deadline_s, memory_bytes, identity())
        parcel = pickle.dumps(Parcel(order))
        choice = await self._others(link, hung) if hung else None
        link.runs[name] = run = _Run(loop.time(), loop.create_future())
        future = link.client.submit(pickle.loads, parcel, key=name, pure=False, workers=choice)
        answer = asyncio.ensure_future(_answer(future))
        try:
            await self._wait(link, run, answer, deadline_s)
            return self._opened(answer)
        except _Lost as error:
            if error.reason == "WorkerLost":
                hung.add(run.worker)
            raise
        finally:
            del link.runs[name]
            if not answer.done():
                answer.cancel()
                ending = asyncio.create_task(self._end(link, name, run))
                self._endings.add(ending)
                ending.add_done_callback(self._endings.discard)
            future.release()

    async def _wait(
        self, link: _Link, run: _Run, answer: asyncio.Task[Any], deadline_s: float
    ) -> None:
        """Return when the answer is there; raise when none is to be expected any more."""
        loop = asyncio.get_running_loop()
        while not answer.done():
            if link.lost.done():
                raise link.lost.result()
            limit = deadline_s + self._patience.grace if run.worker else self._patience.queue
            left = run.since + limit - loop.time()
            if left <= 0 and run.worker:
                late = f"worker {run.worker} said nothing of a run {limit:g} s after it began"
                raise _Lost("WorkerLost", f"{late}: look whether it hangs")
            if left <= 0:
                late = f"no worker began the run within {limit:g} s"
                raise TwinFailed("WorkerLost", f"{late}: give {self.address} more workers")
            run.news = loop.create_future()
            await asyncio.wait(
                {answer, link.lost, run.news}, timeout=left, return_when=asyncio.FIRST_COMPLETED
            )

    async def _others(self, link: _Link, hung: set[str]) -> list[str] | None:
        """Workers but those that hang; None, and so all, where there are no others."""
        try:
            async with asyncio.timeout(self._patience.silence):
                found = await link.client.scheduler.identity()
        except (OSError, TimeoutError) as error:
            raise _Lost("SchedulerLost", self._unreachable(_sentence(error))) from error
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
            return _Lost("SchedulerLost", self._unreachable(str(error)))
        if isinstance(error, OSError | TimeoutError):
            return _Lost("SchedulerLost", self._unreachable(str(error)))
        return TwinFailed("Crashed", f"{type(error).__name__} on a worker: {error}")

    async def _end(self, link: _Link, name: str, run: _Run) -> None:
        """End a run that nobody waits for: take it from the queue, and kill it where it runs."""
        if link.lost.done():
            return
        with contextlib.suppress(Exception):
            async with asyncio.timeout(self._patience.connect):
                await link.client.cancel([name], force=True)
                if run.worker:
                    await link.client.run(end_run, name, workers=[run.worker], on_error="ignore")

    async def _connected(self) -> _Link:
        async with self._linking:
            if self._closed:
                raise _Lost("Crashed", "the runner is closed")
            if self._link is not None and not self._link.lost.done():
                return self._link
            if self._link is not None:
                await self._drop(self._link)
                self._link = None
            self._link = await self._connect()
            return self._link

    async def _connect(self) -> _Link:
        client = await self._client()
        loop = asyncio.get_running_loop()
        link = _Link(client, f"kfarm-{uuid.uuid4().hex}", loop.create_future())
        client.subscribe_topic(link.topic, link.on_event)
        link.keeper = asyncio.create_task(self._keep(link))
        return link

    async def _client(self) -> Any:
        """A connected client; its own attempts to connect again are not wanted."""
        try:
            distributed = await asyncio.to_thread(_distributed)
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
            await _close(client)
            raise _Lost("SchedulerLost", self._unreachable(_sentence(error))) from error
        except BaseException:
            await _close(client)
            raise
        return client

    async def _keep(self, link: _Link) -> None:
        """Ask the scheduler again and again whether it is there and has workers."""
        loop, empty_since = asyncio.get_running_loop(), None
        while not link.lost.done():
            try:
                async with asyncio.timeout(self._patience.silence):
                    found = await link.client.scheduler.identity(n_workers=0)
            except Exception as error:  # whatever it is, nobody answers there
                link.lose(_Lost("SchedulerLost", self._unreachable(_sentence(error))))
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

    async def _drop(self, link: _Link) -> None:
        link.lose(_Lost("Crashed", "the runner is closed"))
        if link.keeper is not None:
            link.keeper.cancel()
            await asyncio.wait([link.keeper])
        await _close(link.client)

    def _unreachable(self, why: str) -> str:
        return f"the Dask scheduler {self.address} gave no answer ({why}); {WHERE}"


async def _answer(future: Any) -> Any:
    """The result of a future; an exception that Dask calls cancelled stays one of its own."""
    return await future.result()


async def _close(client: Any) -> None:
    """Close a client whatever state it is in."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(3.0):
            await client.close()


def _sentence(error: BaseException) -> str:
    """What an exception says, on one line; its kind where it says nothing."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def check_address(address: str) -> None:
    """Refuse what cannot be an address of a scheduler.

    Raises
    ------
    ValueError
        With what is expected.
    """
    scheme, separator, rest = address.partition("://")
    host, _, port = rest.rpartition(":")
    if not (separator and scheme in SCHEMES and host and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{address!r} is no address: give such as tcp://dask-scheduler:8786")


def _distributed() -> Any:
    """Dask's package, quiet: what it logs, this module says in its own words."""
    import dask  # noqa: PLC0415 - an extra
    import distributed  # noqa: PLC0415

    dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GiB"})
    for name in ("distributed.client", "distributed.comm", "distributed.core"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return distributed
