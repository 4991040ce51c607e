"""The quota driver's loop: ends, evictions done, arrivals, then cycles until nothing changes."""

from __future__ import annotations

from kfarm_twin._jit import inner, kernel, spliced
from kfarm_twin.kernels.quota_cycle import run_cycle, unlist_running
from kfarm_twin.kernels.quota_queue import clear_timer, enqueue, set_timer, unpark
from kfarm_twin.kernels.quota_state import (
    ARRIVED,
    CYCLES,
    CYCLES_PER_INSTANT,
    DIRTY,
    DONE,
    ENDED,
    FINISHED,
    LIVELOCK,
    MOST_FLAVORS,
    MOST_PREEMPTIONS,
    NOW_NS,
    PREEMPTIONS,
    RELEASED,
    REQUEUE_NS,
    RUNNING,
    SET_TIMERS,
    TOO_MANY_TARGETS,
    UNTIL_NS,
    QuotaModel,
    QuotaState,
    drop_job,
    write_log,
)
from kfarm_twin.policy.quota import FAR, NONE


@inner
def _mark(state: QuotaState, root: int) -> None:
    book = state.book
    if not state.nodes.dirty[root]:
        state.nodes.dirty[root] = 1
        state.nodes.dirty_roots[book.counts[DIRTY]] = root
        book.counts[DIRTY] += 1


@inner
def _retry(model: QuotaModel, state: QuotaState, root: int) -> None:
    """Give all that is parked in a tree another try."""
    for place in range(model.tree.nodes.queues_from[root], model.tree.nodes.queues_to[root]):
        unpark(model, state, model.tree.nodes.queue_at[place])
    _mark(state, root)


@spliced
def _leave(model: QuotaModel, state: QuotaState, job: int) -> None:
    """A job that ended, or whose eviction is done, gives its quota back."""
    queue, jobs = model.jobs.queue[job], state.jobs
    root = model.tree.nodes.root[queue]
    clear_timer(state, job)
    drop_job(model, state, state.book.usage, job)
    unlist_running(model, state, job)
    state.took[job, :] = NONE
    state.queues.generation[queue] += 1
    if jobs.phase[job] == RUNNING:
        jobs.phase[job] = DONE
        jobs.end_ns[job] = state.book.counts[NOW_NS]
        jobs.left_ns[job] = 0
        write_log(state, ENDED, job, NONE)
    else:
        write_log(state, RELEASED, job, NONE)
        enqueue(model, state, job)
    _mark(state, root)
    timer = jobs.phase.shape[0] + root
    if model.options[REQUEUE_NS] == 0:
        _retry(model, state, root)
    elif state.timers.place[timer] == NONE:
        set_timer(state, timer, state.book.counts[NOW_NS] + model.options[REQUEUE_NS])


@spliced
def _settle(model: QuotaModel, state: QuotaState, root: int, most: int) -> int:
    """Cycles of a tree until nothing changes; a status."""
    counts, idle = state.book.counts, 0
    while True:
        heads, changed, progress = run_cycle(model, state, root)
        if heads < 0:
            return TOO_MANY_TARGETS
        idle = 0 if progress else idle + 1
        if heads == 0 or not changed or idle > model.options[MOST_FLAVORS] + 1:
            return FINISHED
        if counts[CYCLES] > most or counts[PREEMPTIONS] > model.options[MOST_PREEMPTIONS]:
            return LIVELOCK


@kernel
def run_quotas(model: QuotaModel, state: QuotaState) -> int:
    """Play all jobs; a status."""
    counts, timers = state.book.counts, state.timers
    jobs, instant, most = model.jobs.submit_ns.shape[0], NONE, 0
    while True:
        now = FAR
        if counts[ARRIVED] < jobs:
            now = model.jobs.submit_ns[counts[ARRIVED]]
        if counts[SET_TIMERS] > 0:
            now = min(now, timers.time_ns[timers.heap[0]])
        if now >= model.options[UNTIL_NS]:
            return FINISHED
        if now != instant:
            most = counts[CYCLES] + model.options[CYCLES_PER_INSTANT]
        instant = now
        counts[NOW_NS] = now
        while counts[SET_TIMERS] > 0 and timers.time_ns[timers.heap[0]] == now:
            entity = timers.heap[0]
            if entity < jobs:
                _leave(model, state, entity)
            else:
                clear_timer(state, entity)
                _retry(model, state, entity - jobs)
        while counts[ARRIVED] < jobs and model.jobs.submit_ns[counts[ARRIVED]] == now:
            enqueue(model, state, counts[ARRIVED])
            _mark(state, model.tree.nodes.root[model.jobs.queue[counts[ARRIVED]]])
            counts[ARRIVED] += 1
        while counts[DIRTY] > 0:
            counts[DIRTY] -= 1
            root = state.nodes.dirty_roots[counts[DIRTY]]
            state.nodes.dirty[root] = 0
            status = _settle(model, state, root, most)
            if status != FINISHED:
                return status
