"""What a connection to a Dask scheduler knows: runs under way, and whether it still stands."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import Any

from kfarm_twin.work.backend import FailureReason, TwinFailed

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
    pause
        Before the second try of a run that was lost; twice as long before each further one.
    """

    connect: float = 10.0
    probe: float = 5.0
    silence: float = 20.0
    workers: float = 60.0
    queue: float = 1800.0
    grace: float = 20.0
    pause: float = 1.0


DEFAULT_PATIENCE = Patience()


class Lost(Exception):
    """One try came to nothing; another may do better."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason: FailureReason = reason
        self.message = message


@dataclass
class Run:
    """A run that somebody waits for.

    Attributes
    ----------
    since
        When it was handed over, or when it last began [s of the event loop's clock].
    news
        Done once that changed.
    worker
        Where it runs; empty while it waits.
    future
        Dask's own, once it is handed over.
    """

    since: float
    news: asyncio.Future[None]
    worker: str = ""
    future: Any = None

    def begin(self, worker: str) -> None:
        """Note that a worker begins it; a second time where the first worker was lost."""
        self.worker, self.since = worker, asyncio.get_running_loop().time()
        if not self.news.done():
            self.news.set_result(None)


@dataclass
class Link:
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
    lost: asyncio.Future[TwinFailed | Lost]
    runs: dict[str, Run] = field(default_factory=dict)
    keeper: asyncio.Task[None] | None = None

    def lose(self, why: TwinFailed | Lost) -> None:
        """Say once that this connection is no more."""
        if not self.lost.done():
            self.lost.set_result(why)

    def on_event(self, event: tuple[float, dict[str, str]]) -> None:
        """A worker says that a run begins."""
        run = self.runs.get(event[1]["run"])
        if run is not None:
            run.begin(event[1]["worker"])


async def answer_of(future: Any) -> Any:
    """The result of a future; an exception that Dask calls cancelled stays one of its own."""
    return await future.result()


async def close_client(client: Any) -> None:
    """Close a client whatever state it is in."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(3.0):
            await client.close()


def sentence(error: BaseException) -> str:
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


def load_dask() -> Any:
    """Dask's package, quiet: what it logs, this module says in its own words."""
    import dask  # noqa: PLC0415 - an extra
    import distributed  # noqa: PLC0415

    dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GiB"})
    for name in ("distributed.client", "distributed.comm", "distributed.core"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return distributed
