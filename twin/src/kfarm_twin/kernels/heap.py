"""Binary heap of events, ordered by (time_ns, kind, seq)."""

from __future__ import annotations

from kfarm_twin._jit import inner, kernel
from kfarm_twin.arrays import EventQueue

REPAIRED = 0
FAILED = 1
DETECTED = 2
RESTARTED = 3
FINISHED = 4
SAVED = 9


@inner
def _before(queue: EventQueue, a: int, b: int) -> bool:
    if queue.time_ns[a] != queue.time_ns[b]:
        return bool(queue.time_ns[a] < queue.time_ns[b])
    if queue.kind[a] != queue.kind[b]:
        return bool(queue.kind[a] < queue.kind[b])
    return bool(queue.seq[a] < queue.seq[b])


@inner
def _swap(queue: EventQueue, a: int, b: int) -> None:
    for column in (queue.time_ns, queue.kind, queue.seq, queue.entity, queue.stamp):
        held = column[a]
        column[a] = column[b]
        column[b] = held


@kernel
def clear(queue: EventQueue) -> None:
    """Empty the queue and start its sequence anew."""
    queue.size[0] = 0
    queue.size[1] = 0


@kernel
def push(queue: EventQueue, time_ns: int, kind: int, entity: int, stamp: int) -> bool:
    """Add an event; False when there is no room."""
    at = queue.size[0]
    if at >= queue.time_ns.shape[0]:
        return False
    queue.time_ns[at] = time_ns
    queue.kind[at] = kind
    queue.seq[at] = queue.size[1]
    queue.entity[at] = entity
    queue.stamp[at] = stamp
    queue.size[0] = at + 1
    queue.size[1] += 1
    while at > 0:
        parent = (at - 1) // 2
        if not _before(queue, at, parent):
            break
        _swap(queue, at, parent)
        at = parent
    return True


@kernel
def pop(queue: EventQueue) -> int:
    """Move the first event behind the last and return its place, or -1 when there is none."""
    if queue.size[0] == 0:
        return -1
    last = queue.size[0] - 1
    queue.size[0] = last
    _swap(queue, 0, last)
    at = 0
    while True:
        child = 2 * at + 1
        if child >= last:
            break
        if child + 1 < last and _before(queue, child + 1, child):
            child += 1
        if not _before(queue, child, at):
            break
        _swap(queue, at, child)
        at = child
    return int(last)
