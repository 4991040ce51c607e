"""Keys to reconcile: each at most once in the queue, never twice at a time, and fair."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, Literal, TypeVar

K = TypeVar("K", bound=Hashable)
Outcome = Literal["done", "failed"]
Observer = Callable[[Outcome, float, float], None]
"""Told of each reconcile: how it ended, seconds that the key had waited, seconds of work."""
_LOG = logging.getLogger(__name__)
MAX_BACKOFF_S = 60.0


class WorkQueue(Generic[K]):
    """A queue of keys with delays, backoff, a lock per key, and turns between groups.

    A key added while it is being worked on is worked on once more afterwards, so no change is
    missed. Memory is bounded by the number of objects: a key is here at most once, and what there
    is to know of it is read when its turn comes, so the newest version wins. All methods must be
    called on the event loop; use `add_threadsafe` from elsewhere.

    Parameters
    ----------
    work
        Reconciles one key. Returns the delay [s] after which to look again, or None.
    group
        Groups take turns, one key each, so that a thousand keys of one do not hold up the others.

    Attributes
    ----------
    done
        Reconciles so far, failed ones included.
    """

    def __init__(
        self,
        work: Callable[[K], Awaitable[float | None]],
        workers: int = 4,
        *,
        name: str = "",
        group: Callable[[K], Hashable] = lambda _: None,
    ) -> None:
        self._work = work
        self._workers = workers
        self._group = group
        self._turns: OrderedDict[Hashable, deque[K]] = OrderedDict()
        self._tokens = asyncio.Semaphore(0)
        self._waiting: dict[K, float] = {}
        self._busy: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self.name = name
        self.observer: Observer | None = None
        self.done = 0

    def start(self) -> None:
        """Start the workers on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._tasks = [self._loop.create_task(self._worker()) for _ in range(self._workers)]

    async def stop(self) -> None:
        """Cancel the workers and wait for them."""
        for timer in self._timers.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def add(self, key: K) -> None:
        """Work on `key` soon."""
        if key in self._busy:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting[key] = time.monotonic()
            self._turns.setdefault(self._group(key), deque()).append(key)
            self._tokens.release()

    def add_after(self, key: K, delay_s: float) -> None:
        """Work on `key` after a delay; an earlier appointment stands."""
        loop = self._loop or asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None and not timer.cancelled() and timer.when() <= loop.time() + delay_s:
            return
        if timer is not None:
            timer.cancel()
        self._timers[key] = loop.call_later(delay_s, self._due, key)

    def add_threadsafe(self, key: K, delay_s: float = 0.0) -> None:
        """As `add_after`, from another thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.add_after, key, delay_s)

    def changed_meanwhile(self, key: K) -> bool:
        """Whether `key` was added again while it is being worked on."""
        return key in self._again

    @property
    def depth(self) -> int:
        """Keys that wait or are worked on."""
        return len(self._waiting) + len(self._busy)

    @property
    def waiting(self) -> int:
        """Keys that wait for a worker; appointments for later do not count."""
        return len(self._waiting)

    @property
    def busy(self) -> int:
        """Keys that are worked on."""
        return len(self._busy)

    @property
    def oldest_s(self) -> float:
        """How long the key that waits longest has waited [s]; 0 when none waits."""
        since = min(list(self._waiting.values()), default=None)
        return 0.0 if since is None else max(0.0, time.monotonic() - since)

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _next(self) -> tuple[K, float]:
        """The oldest key of the group whose turn it is; the group goes to the end of the line."""
        group, keys = next(iter(self._turns.items()))
        key = keys.popleft()
        if keys:
            self._turns.move_to_end(group)
        else:
            del self._turns[group]
        return key, self._waiting.pop(key)

    async def _worker(self) -> None:
        while True:
            await self._tokens.acquire()
            key, since = self._next()
            self._busy.add(key)
            try:
                await self._attempt(key, since)
            finally:
                self._busy.discard(key)
                self.done += 1
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)

    async def _attempt(self, key: K, since: float) -> None:
        began = time.monotonic()
        outcome: Outcome = "failed"
        try:
            delay = await self._work(key)
            outcome = "done"
        except asyncio.CancelledError:
            raise
        except Exception as error:
            failures = self._failures.get(key, 0) + 1
            self._failures[key] = failures
            pause = min(MAX_BACKOFF_S, 0.1 * 2**failures) * random.uniform(0.7, 1.0)  # noqa: S311
            _LOG.warning("reconcile of %s failed, again in %.1f s: %s", key, pause, error)
            _LOG.debug("traceback", exc_info=True)
            self.add_after(key, pause)
            return
        finally:
            if self.observer is not None:
                self.observer(outcome, began - since, time.monotonic() - began)
        self._failures.pop(key, None)
        if delay is not None:
            self.add_after(key, delay)
