"""The queue of keys, on a clock that only moves when nothing else is left to do."""

from __future__ import annotations

import asyncio
import heapq
import inspect
import itertools
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from kfarm_operator.workqueue import MAX_BACKOFF_S, WorkQueue


class VirtualLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer whenever nothing is ready; no test ever waits."""

    def __init__(self) -> None:
        super().__init__(selectors.SelectSelector())
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        ready, timers = self.__dict__["_ready"], self.__dict__["_scheduled"]
        if not ready and timers:
            self._now = max(self._now, heapq.nsmallest(1, timers)[0].when())
        super()._run_once()  # type: ignore[misc]


Work = Callable[[str], Awaitable[float | None]]
Make = Callable[..., WorkQueue[str]]


def on_virtual_clock(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on a virtual loop; `make` starts queues, which are stopped afterwards."""

    async def scene(**arguments: Any) -> None:
        queues: list[WorkQueue[str]] = []

        def make(work: Work, workers: int = 4, **more: Any) -> WorkQueue[str]:
            queue = WorkQueue(work, workers, **more)
            queue.start()
            queues.append(queue)
            return queue

        await test(make, **arguments)
        for queue in queues:
            await queue.stop()

    def run(**arguments: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(scene(**arguments))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    parameters = list(inspect.signature(test).parameters.values())[1:]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def now() -> float:
    return asyncio.get_running_loop().time()


async def idle(queue: WorkQueue[str]) -> None:
    """Until nothing waits or is worked on; timers do not count."""
    while queue.depth:
        await asyncio.sleep(0)


@on_virtual_clock
async def test_a_key_waits_at_most_once(make: Make) -> None:
    worked: list[str] = []

    async def work(key: str) -> None:
        worked.append(key)

    queue = make(work)
    for _ in range(5):
        queue.add("a")
    queue.add("b")
    assert queue.depth == 2
    await idle(queue)
    assert sorted(worked) == ["a", "b"]
    assert queue.done == 2


@on_virtual_clock
async def test_a_key_is_never_worked_on_twice_at_a_time_and_once_more_after(make: Make) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()
    runs: list[str] = []
    busy = 0

    async def work(key: str) -> None:
        nonlocal busy
        busy += 1
        assert busy == 1
        runs.append(key)
        entered.set()
        await leave.wait()
        busy -= 1

    queue = make(work)
    queue.add("a")
    await entered.wait()
    assert not queue.changed_meanwhile("a")
    for _ in range(3):
        queue.add("a")
    assert queue.changed_meanwhile("a")
    leave.set()
    await idle(queue)
    assert runs == ["a", "a"]
    assert not queue.changed_meanwhile("a")


@on_virtual_clock
async def test_other_keys_go_on_meanwhile(make: Make) -> None:
    other, leave = asyncio.Event(), asyncio.Event()

    async def work(key: str) -> None:
        if key == "slow":
            await leave.wait()
        else:
            other.set()

    queue = make(work, workers=2)
    queue.add("slow")
    queue.add("quick")
    await other.wait()
    assert queue.depth == 1
    leave.set()


@on_virtual_clock
async def test_a_returned_delay_is_kept(make: Make) -> None:
    times: list[float] = []
    third = asyncio.Event()

    async def work(_: str) -> float | None:
        times.append(now())
        if len(times) == 3:
            third.set()
            return None
        return 30.0

    make(work).add("a")
    await third.wait()
    assert times == [0, 30, 60]


@pytest.mark.parametrize(
    ("delays", "expected"), [((30, 5), [5]), ((5, 30), [5]), ((5, 5), [5]), ((0, 9), [0, 9])]
)
@on_virtual_clock
async def test_an_earlier_appointment_stands(
    make: Make, delays: tuple[float, ...], expected: list[float]
) -> None:
    times: list[float] = []

    async def work(_: str) -> None:
        times.append(now())

    queue = make(work)
    for delay in delays:
        queue.add_after("a", delay)
        if not delay:
            await asyncio.sleep(0.001)
    await asyncio.sleep(100)
    assert [round(time) for time in times] == expected


@on_virtual_clock
async def test_failures_are_repeated_with_growing_pauses_up_to_a_limit(make: Make) -> None:
    times: list[float] = []
    done = asyncio.Event()

    async def work(_: str) -> None:
        times.append(now())
        if len(times) == 14:
            done.set()
            return
        raise RuntimeError("not yet")

    make(work).add("a")
    await done.wait()
    pauses = [after - before for before, after in itertools.pairwise(times)]
    for failures, pause in enumerate(pauses, start=1):
        longest = min(MAX_BACKOFF_S, 0.1 * 2**failures)
        assert 0.7 * longest <= pause <= longest + 1e-9
    assert pauses[-1] >= 0.7 * MAX_BACKOFF_S


@on_virtual_clock
async def test_success_forgets_earlier_failures(make: Make) -> None:
    times: list[float] = []
    outcomes = iter([False, False, False, True, False, True])
    done = asyncio.Event()

    async def work(_: str) -> float | None:
        times.append(now())
        if not next(outcomes):
            raise RuntimeError("no")
        if len(times) == 6:
            done.set()
        return 50.0 if len(times) == 4 else None

    make(work).add("a")
    await done.wait()
    assert times[5] - times[4] <= 0.2


@on_virtual_clock
async def test_a_failure_harms_no_other_key(make: Make) -> None:
    good = asyncio.Event()

    async def work(key: str) -> None:
        if key == "bad":
            raise RuntimeError("always")
        good.set()

    queue = make(work, workers=1)
    queue.add("bad")
    queue.add("good")
    await good.wait()


@on_virtual_clock
async def test_keys_come_in_from_other_threads(make: Make) -> None:
    worked = asyncio.Event()

    async def work(_: str) -> None:
        worked.set()

    queue = make(work)
    await asyncio.to_thread(queue.add_threadsafe, "a")
    await worked.wait()


@on_virtual_clock
async def test_after_stop_nothing_is_worked_on(make: Make) -> None:
    worked: list[Any] = []

    async def work(key: str) -> None:
        worked.append(key)

    queue = make(work)
    queue.add_after("a", 5)
    await queue.stop()
    await asyncio.sleep(10)
    assert worked == []


@on_virtual_clock
async def test_a_queue_that_was_not_started_takes_nothing_from_threads(_: Make) -> None:
    async def work(_: str) -> None:
        raise AssertionError("never started")

    queue = WorkQueue[str](work)
    await asyncio.to_thread(queue.add_threadsafe, "a")
    assert queue.depth == 0


@on_virtual_clock
async def test_groups_take_turns(make: Make) -> None:
    """A thousand keys of one namespace do not hold up two keys of another."""
    worked: list[str] = []

    async def work(key: str) -> None:
        worked.append(key)
        await asyncio.sleep(1)

    queue = make(work, workers=1, group=lambda key: key[0])
    for number in range(1000):
        queue.add(f"a{number}")
    await asyncio.sleep(0.5)
    for key in ("b0", "b1", "c0"):
        queue.add(key)
    assert queue.waiting == 1002
    await asyncio.sleep(8)
    assert worked[:8] == ["a0", "a1", "b0", "c0", "a2", "b1", "a3", "a4"]
    await asyncio.sleep(1100)
    assert len(worked) == queue.done == 1003
    assert worked[8:] == [f"a{number}" for number in range(5, 1000)]


@on_virtual_clock
async def test_a_key_that_is_added_again_while_it_waits_keeps_its_place(make: Make) -> None:
    worked: list[str] = []

    async def work(key: str) -> None:
        worked.append(key)

    queue = make(work, workers=1, group=lambda key: key[0])
    for key in ("a0", "a1", "a0", "b0", "a0", "b0"):
        queue.add(key)
    await idle(queue)
    assert worked == ["a0", "b0", "a1"]


@on_virtual_clock
async def test_an_observer_is_told_of_each_reconcile(make: Make) -> None:
    told: list[str] = []

    async def work(key: str) -> None:
        if key == "bad":
            raise RuntimeError("no")

    queue = make(work, workers=1)
    queue.observer = lambda outcome, waited, worked: told.append(outcome)
    queue.add("good")
    queue.add("bad")
    await idle(queue)
    assert told == ["done", "failed"]
    assert (queue.waiting, queue.busy, queue.oldest_s) == (0, 0, 0.0)
