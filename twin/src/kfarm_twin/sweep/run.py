"""Play the points of a sweep through a backend, some at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kfarm_twin.load import Problem
from kfarm_twin.sweep.points import Point
from kfarm_twin.sweep.store import Store
from kfarm_twin.work.backend import ELSEWHERE, REASONS, Backend, TwinFailed

Progress = Callable[[int, int], None]


class SweepStopped(Exception):
    """The sweep cannot go on; what is finished is kept."""

    def __init__(self, message: str, done: int, total: int) -> None:
        super().__init__(message)
        self.done = done
        self.total = total


@dataclass(frozen=True)
class Limits:
    """Of one point: wall-clock time [s] and memory [B]."""

    deadline_s: float
    memory_bytes: int


@dataclass(frozen=True)
class Played:
    """What became of a point.

    Attributes
    ----------
    result
        A verdict or comparison as data; None where there is none.
    reason, message
        Why there is none.
    """

    result: dict[str, Any] | None
    reason: str = ""
    message: str = ""
    problems: tuple[Problem, ...] = ()


async def play(
    backend: Backend,
    points: Sequence[Point],
    limits: Limits,
    store: Store | None,
    progress: Progress,
    about: Callable[[Point], dict[str, Any]],
) -> list[Played]:
    """Play what is not kept yet; equal requests once.

    Raises
    ------
    SweepStopped
        When the workers are out of reach.
    """
    found: dict[str, Played] = {}
    waiting = {point.digest: point for point in points if point.digest}
    total = len(waiting)
    for digest in list(waiting):
        kept = store.read(digest) if store is not None else None
        if kept is not None:
            found[digest] = Played(json.loads(kept))
            del waiting[digest]
    done = total - len(waiting)
    progress(done, total)

    def finish(point: Point, played: Played) -> None:
        nonlocal done
        found[point.digest] = played
        done += 1
        progress(done, total)

    if waiting:
        try:
            await _play_all(backend, iter(waiting.values()), limits, store, finish, about)
        except TwinFailed as error:
            raise SweepStopped(error.message, done, total) from error
    return [
        Played(None, "BadInput", problems=point.problems) if point.problems else found[point.digest]
        for point in points
    ]


async def _play_all(
    backend: Backend,
    waiting: Iterator[Point],
    limits: Limits,
    store: Store | None,
    finish: Callable[[Point, Played], None],
    about: Callable[[Point], dict[str, Any]],
) -> None:
    """As many at a time as make progress; the first that cannot be played at all ends them."""
    await backend.start()
    width = await backend.width()

    async def work() -> None:
        for point in waiting:
            played = await _play_one(backend, point, limits)
            if played.result is not None and store is not None:
                store.keep(point.digest, json.dumps(played.result).encode(), about(point))
            finish(point, played)

    tasks = [asyncio.create_task(work()) for _ in range(width)]
    try:
        await _first_failure(tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _first_failure(tasks: Iterable[asyncio.Task[None]]) -> None:
    for finished in asyncio.as_completed(tasks):
        await finished


async def _play_one(backend: Backend, point: Point, limits: Limits) -> Played:
    try:
        raw = await backend.exchange(
            point.body, deadline_s=limits.deadline_s, memory_bytes=limits.memory_bytes
        )
        reply = json.loads(raw)
    except TwinFailed as error:
        if error.reason in ELSEWHERE:
            raise
        return Played(None, error.reason, error.message)
    except ValueError as error:
        return Played(None, "Crashed", f"the run's answer is no JSON: {error}")
    if "verdict" in reply:
        return Played(reply["verdict"])
    failed = reply.get("error") or {"kind": "Crash", "message": "the reply is empty"}
    return Played(None, REASONS[failed["kind"]], failed["message"])
