"""What a Dask worker does with a run: hand it to a fork server of its own, beside the worker.

A run that crashes, hangs or eats memory is a process of its own on the worker too. The worker
refuses work for another version of kfarm, since its answers might differ.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from dataclasses import dataclass
from typing import Any

from kfarm_twin.work.backend import Entry, TwinFailed
from kfarm_twin.work.forkclient import ServerCommand
from kfarm_twin.work.forked import ForkBackend
from kfarm_twin.work.identity import difference, identity

MOST_RUNS = 4096
"""Places of a fork server here: the scheduler decides how many runs a worker gets."""


@dataclass(frozen=True)
class Order:
    """One run as it travels to a worker.

    Attributes
    ----------
    run
        Name that this try is known by.
    topic
        Where the worker says that the run starts.
    identity
        Who asks; see `kfarm_twin.work.identity`.
    """

    run: str
    topic: str
    entry: Entry
    body: bytes
    deadline_s: float
    memory_bytes: int
    identity: dict[str, str]


class Parcel:
    """An order that is carried out where it is unpickled.

    A scheduler unpickles the functions that tasks call. So that it needs no kfarm, what it sees is
    ``pickle.loads`` on bytes that only a worker opens.
    """

    def __init__(self, order: Order) -> None:
        self._order = order

    def __reduce__(self) -> tuple[Any, ...]:
        return carry_out, (self._order,)


_backends: dict[Entry, ForkBackend] = {}
_runs: dict[str, asyncio.Task[bytes]] = {}
_lock = threading.Lock()


def carry_out(order: Order) -> dict[str, Any]:
    """Do one run; called in a thread of a worker.

    Returns
    -------
    dict
        ``reply`` with the bytes, or ``reason`` and ``message``. A failure is an answer, too: Dask
        must not try again what would only fail again.
    """
    from distributed import get_worker  # noqa: PLC0415 - only where Dask runs

    worker = get_worker()
    unlike = difference(order.identity, identity())
    if unlike:
        message = f"worker {worker.address} is another kfarm ({unlike})"
        return {"reason": "WorkerMismatch", "message": message}
    loop: asyncio.AbstractEventLoop = worker.loop.asyncio_loop  # type: ignore[attr-defined]
    done = asyncio.run_coroutine_threadsafe(_run(order, worker), loop)
    try:
        return {"reply": done.result()}
    except TwinFailed as error:
        return {"reason": error.reason, "message": error.message}
    except concurrent.futures.CancelledError:
        return {"reason": "Crashed", "message": "the run was cancelled"}


async def _run(order: Order, worker: Any) -> bytes:
    backend = _backend(order.entry)
    await backend.start()
    worker.log_event(order.topic, {"run": order.run, "worker": worker.address})
    task = asyncio.ensure_future(
        backend.exchange(order.body, deadline_s=order.deadline_s, memory_bytes=order.memory_bytes)
    )
    _runs[order.run] = task
    try:
        return await task
    finally:
        _runs.pop(order.run, None)


def _backend(entry: Entry) -> ForkBackend:
    """The fork server of this worker for an entry; the same one again and again."""
    with _lock:
        found = _backends.get(entry)
        if found is None:
            command = ServerCommand(entry=entry.entry, warm=entry.warm)
            found = _backends[entry] = ForkBackend(MOST_RUNS, command)
        return found


async def end_run(run: str) -> bool:
    """Kill a run that nobody waits for any more; called on the worker's event loop."""
    task = _runs.get(run)
    if task is not None:
        task.cancel()
    return task is not None


def whereabouts() -> dict[str, Any]:
    """Process of this worker and of its fork servers, for tests and for people who look."""
    servers = [backend.server_pid for backend in _backends.values()]
    return {"worker": os.getpid(), "servers": servers, "runs": sorted(_runs)}
