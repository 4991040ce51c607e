"""Pending jobs and timers of the quota driver.

Kueue parks a workload that cannot be admitted together with all of the same shape (queues of
BestEffortFIFO), so that parking is a property of a kind of jobs. A queue's head is then the first
job of the first kind that is not parked: no cycle walks through what waits.
"""

from __future__ import annotations

from kfarm_twin._jit import inner, spliced
from kfarm_twin.kernels.quota_state import (
    KINDS_FROM,
    QUEUED,
    SET_TIMERS,
    STRICT,
    QuotaModel,
    QuotaState,
    Timers,
)
from kfarm_twin.policy.quota import NONE


@inner
def _put_job(model: QuotaModel, state: QuotaState, first: int, at: int, job: int) -> None:
    state.lists.job_heap[first + at] = job
    state.jobs.place[job] = at


@inner
def _lift_job(model: QuotaModel, state: QuotaState, kind: int, at: int) -> None:
    first, heap, order = model.kind_first[kind], state.lists.job_heap, model.jobs.order
    job = heap[first + at]
    while at > 0:
        above = heap[first + (at - 1) // 2]
        if order[above] <= order[job]:
            break
        _put_job(model, state, first, at, above)
        at = (at - 1) // 2
    _put_job(model, state, first, at, job)


@spliced
def _sink_job(model: QuotaModel, state: QuotaState, kind: int, at: int) -> None:
    first, heap, order = model.kind_first[kind], state.lists.job_heap, model.jobs.order
    job, size = heap[first + at], state.kinds.heap_size[kind]
    while True:
        below = 2 * at + 1
        if below >= size:
            break
        if below + 1 < size and order[heap[first + below + 1]] < order[heap[first + below]]:
            below += 1
        if order[job] <= order[heap[first + below]]:
            break
        _put_job(model, state, first, at, heap[first + below])
        at = below
    _put_job(model, state, first, at, job)


@inner
def _key(model: QuotaModel, state: QuotaState, kind: int) -> int:
    return int(model.jobs.order[state.lists.job_heap[model.kind_first[kind]]])


@inner
def _put_kind(state: QuotaState, first: int, at: int, kind: int) -> None:
    state.kinds.kind_heap[first + at] = kind
    state.kinds.kind_place[kind] = at


@inner
def _move_kind(model: QuotaModel, state: QuotaState, queue: int, at: int) -> None:
    """Bring a kind whose first job changed to its place."""
    first, heap = model.rules[queue, KINDS_FROM], state.kinds.kind_heap
    kind, size = heap[first + at], state.queues.kinds[queue]
    key = _key(model, state, kind)
    while at > 0 and key < _key(model, state, heap[first + (at - 1) // 2]):
        _put_kind(state, first, at, heap[first + (at - 1) // 2])
        at = (at - 1) // 2
    while True:
        below = 2 * at + 1
        if below >= size:
            break
        if below + 1 < size:
            right = _key(model, state, heap[first + below + 1])
            if right < _key(model, state, heap[first + below]):
                below += 1
        if key <= _key(model, state, heap[first + below]):
            break
        _put_kind(state, first, at, heap[first + below])
        at = below
    _put_kind(state, first, at, kind)


@inner
def _add_kind(model: QuotaModel, state: QuotaState, queue: int, kind: int) -> None:
    at = state.queues.kinds[queue]
    state.queues.kinds[queue] = at + 1
    _put_kind(state, model.rules[queue, KINDS_FROM], at, kind)
    _move_kind(model, state, queue, at)


@inner
def _remove_kind(model: QuotaModel, state: QuotaState, queue: int, kind: int) -> None:
    queues, first = state.queues, model.rules[queue, KINDS_FROM]
    at, last = state.kinds.kind_place[kind], queues.kinds[queue] - 1
    moved = state.kinds.kind_heap[first + last]
    queues.kinds[queue] = last
    state.kinds.kind_place[kind] = NONE
    if moved != kind:
        _put_kind(state, first, at, moved)
        _move_kind(model, state, queue, at)


@inner
def enqueue(model: QuotaModel, state: QuotaState, job: int) -> None:
    """Let a job wait in its queue; parked at once where its kind is."""
    kind, queue = model.jobs.kind[job], model.jobs.queue[job]
    at = state.kinds.heap_size[kind]
    state.kinds.heap_size[kind] = at + 1
    _put_job(model, state, model.kind_first[kind], at, job)
    _lift_job(model, state, kind, at)
    state.jobs.phase[job] = QUEUED
    if state.kinds.parked[kind]:
        return
    if state.kinds.kind_place[kind] == NONE:
        _add_kind(model, state, queue, kind)
    else:
        _move_kind(model, state, queue, state.kinds.kind_place[kind])


@spliced
def dequeue(model: QuotaModel, state: QuotaState, job: int) -> None:
    """Take a job out of its queue; its kind must not be parked."""
    queues, kind, queue = state.queues, model.jobs.kind[job], model.jobs.queue[job]
    first, at, last = model.kind_first[kind], state.jobs.place[job], state.kinds.heap_size[kind] - 1
    moved = state.lists.job_heap[first + last]
    if last == 0:
        _remove_kind(model, state, queue, kind)
    state.kinds.heap_size[kind] = last
    state.jobs.place[job] = NONE
    if moved != job:
        _put_job(model, state, first, at, moved)
        _lift_job(model, state, kind, at)
        _sink_job(model, state, kind, state.jobs.place[moved])
    if last > 0:
        _move_kind(model, state, queue, state.kinds.kind_place[kind])
    if queues.sticky[queue] == job:
        queues.sticky[queue] = NONE


@spliced
def head(model: QuotaModel, state: QuotaState, queue: int) -> int:
    """The job that a queue puts forward, or -1: who preempts (BestEffortFIFO), else the first."""
    queues = state.queues
    if queues.kinds[queue] == 0:
        return NONE
    sticky = queues.sticky[queue]
    waits = sticky != NONE and state.jobs.phase[sticky] == QUEUED
    if waits and not model.rules[queue, STRICT] and not state.kinds.parked[model.jobs.kind[sticky]]:
        return int(sticky)
    kind = state.kinds.kind_heap[model.rules[queue, KINDS_FROM]]
    return int(state.lists.job_heap[model.kind_first[kind]])


@spliced
def park(model: QuotaModel, state: QuotaState, kind: int, queue: int) -> None:
    """Set a kind aside until something makes room."""
    queues = state.queues
    state.kinds.parked[kind] = 1
    state.kinds.next_parked[kind] = queues.first_parked[queue]
    queues.first_parked[queue] = kind
    _remove_kind(model, state, queue, kind)


@spliced
def unpark(model: QuotaModel, state: QuotaState, queue: int) -> None:
    """Give all parked kinds of a queue another try."""
    queues = state.queues
    kind = queues.first_parked[queue]
    while kind != NONE:
        state.kinds.parked[kind] = 0
        if state.kinds.heap_size[kind] > 0:
            _add_kind(model, state, queue, kind)
        kind = state.kinds.next_parked[kind]
    queues.first_parked[queue] = NONE


@inner
def _sooner(timers: Timers, a: int, b: int) -> bool:
    if timers.time_ns[a] != timers.time_ns[b]:
        return bool(timers.time_ns[a] < timers.time_ns[b])
    return a < b


@inner
def _put_timer(timers: Timers, at: int, entity: int) -> None:
    timers.heap[at] = entity
    timers.place[entity] = at


@inner
def _settle_timer(timers: Timers, at: int, size: int) -> None:
    entity = timers.heap[at]
    while at > 0 and _sooner(timers, entity, timers.heap[(at - 1) // 2]):
        _put_timer(timers, at, timers.heap[(at - 1) // 2])
        at = (at - 1) // 2
    while True:
        below = 2 * at + 1
        if below >= size:
            break
        if below + 1 < size and _sooner(timers, timers.heap[below + 1], timers.heap[below]):
            below += 1
        if not _sooner(timers, timers.heap[below], entity):
            break
        _put_timer(timers, at, timers.heap[below])
        at = below
    _put_timer(timers, at, entity)


@inner
def set_timer(state: QuotaState, entity: int, time_ns: int) -> None:
    """Set or move a timer."""
    timers, counts = state.timers, state.book.counts
    timers.time_ns[entity] = time_ns
    at = timers.place[entity]
    if at == NONE:
        at = counts[SET_TIMERS]
        counts[SET_TIMERS] = at + 1
        _put_timer(timers, at, entity)
    _settle_timer(timers, at, counts[SET_TIMERS])


@inner
def clear_timer(state: QuotaState, entity: int) -> None:
    """Take a timer away, if it is set."""
    timers, counts = state.timers, state.book.counts
    at = timers.place[entity]
    if at == NONE:
        return
    timers.place[entity] = NONE
    last = counts[SET_TIMERS] - 1
    counts[SET_TIMERS] = last
    moved = timers.heap[last]
    if moved != entity:
        _put_timer(timers, at, moved)
        _settle_timer(timers, at, last)
