"""One scheduling cycle of a tree: nominate the heads, order them, process them one by one.

Source: Kueue 0.19.2 (the scheduling cycle; default feature gates). What an entry takes in the cycle
counts for those behind it, so that overlapping preemptions and overcommitted quota are seen; only
what was admitted stays counted.
"""

from __future__ import annotations

from kfarm_twin._jit import inner, spliced
from kfarm_twin.arrays import Ints
from kfarm_twin.kernels.quota_assign import assign
from kfarm_twin.kernels.quota_order import close_round, open_tournament, sort_entries
from kfarm_twin.kernels.quota_queue import dequeue, head, park, set_timer
from kfarm_twin.kernels.quota_state import (
    ADMITTED,
    CYCLES,
    ENTRIES,
    EVICTING,
    EVICTION_NS,
    FAIR,
    KEEP_PROGRESS,
    NOW_NS,
    POOL,
    PREEMPTED,
    PREEMPTIONS,
    RECLAIM_POLICY,
    RUNNING,
    SPLIT,
    STRICT,
    QuotaModel,
    QuotaState,
    drop_job,
    take_job,
    write_log,
)
from kfarm_twin.policy.quota import ANY, FAR, NONE, add_usage, available, remove_usage
from kfarm_twin.policy.quota_flavor import FIT, NO_FIT

PARKS, SKIPPED, PREEMPTS, STARTS = 0, 1, 2, 3
"""Outcomes of an entry."""


@spliced
def _list_running(model: QuotaModel, state: QuotaState, job: int) -> None:
    jobs, queue = state.jobs, model.jobs.queue[job]
    first = state.queues.first_running[queue]
    jobs.next_running[job] = first
    jobs.prev_running[job] = NONE
    if first != NONE:
        jobs.prev_running[first] = job
    state.queues.first_running[queue] = job


@spliced
def unlist_running(model: QuotaModel, state: QuotaState, job: int) -> None:
    """Take a job off the holders of its queue's quota."""
    jobs = state.jobs
    after, before = jobs.next_running[job], jobs.prev_running[job]
    if before == NONE:
        state.queues.first_running[model.jobs.queue[job]] = after
    else:
        jobs.next_running[before] = after
    if after != NONE:
        jobs.prev_running[after] = before


@spliced
def _start(model: QuotaModel, state: QuotaState, job: int) -> None:
    """Run a job whose columns are in `took`."""
    jobs, now = state.jobs, state.book.counts[NOW_NS]
    dequeue(model, state, job)
    _list_running(model, state, job)
    jobs.phase[job] = RUNNING
    jobs.start_ns[job] = now
    if jobs.first_ns[job] == NONE:
        jobs.first_ns[job] = now
    state.queues.generation[model.jobs.queue[job]] += 1
    if jobs.left_ns[job] < FAR:
        set_timer(state, job, now + jobs.left_ns[job])
    write_log(state, ADMITTED, job, NONE)


@spliced
def _evict(model: QuotaModel, state: QuotaState, job: int, by: int) -> None:
    """Stop a job; its quota is free when its pods are gone."""
    jobs, now = state.jobs, state.book.counts[NOW_NS]
    jobs.phase[job] = EVICTING
    jobs.preemptions[job] += 1
    counts = state.book.counts
    counts[PREEMPTIONS] = max(counts[PREEMPTIONS], jobs.preemptions[job])
    if model.options[KEEP_PROGRESS]:
        jobs.left_ns[job] -= now - jobs.start_ns[job]
    state.queues.generation[model.jobs.queue[job]] += 1
    set_timer(state, job, now + model.options[EVICTION_NS])
    write_log(state, PREEMPTED, job, by)


@spliced
def _nominate(model: QuotaModel, state: QuotaState, root: int) -> bool:
    """Fill the entries with the heads of a tree's queues; False without room for targets."""
    counts, jobs = state.book.counts, state.jobs
    counts[ENTRIES] = 0
    counts[POOL] = 0
    cycle = state.nodes.cycle[root]
    for place in range(model.tree.nodes.queues_from[root], model.tree.nodes.queues_to[root]):
        queue = model.tree.nodes.queue_at[place]
        job = head(model, state, queue)
        if job == NONE:
            continue
        stale = cycle - jobs.tried_cycle[job] > 1
        if stale and state.queues.generation[queue] > jobs.tried_generation[job]:
            state.tried[job, :] = NONE
        if not assign(model, state, job, counts[ENTRIES]):
            return False
        counts[ENTRIES] += 1
    return True


@inner
def _count_added(model: QuotaModel, state: QuotaState, entry: int, usage: Ints) -> None:
    entries = state.entries
    queue = model.jobs.queue[entries.job[entry]]
    for resource in range(state.uses.added.shape[1]):
        if state.uses.added[entry, resource] > 0:
            column = state.uses.column[entry, resource]
            add_usage(model.tree, usage, queue, column, state.uses.added[entry, resource])


@spliced
def _take_back(model: QuotaModel, state: QuotaState, entry: int) -> None:
    entries = state.entries
    queue = model.jobs.queue[entries.job[entry]]
    for resource in range(state.uses.added.shape[1]):
        amount = state.uses.added[entry, resource]
        if amount > 0:
            column = state.uses.column[entry, resource]
            remove_usage(model.tree, state.book.usage, queue, column, amount)


@spliced
def _reserve(model: QuotaModel, state: QuotaState, entry: int) -> None:
    """Hold back what a job waits for that preempts nobody, where it cannot always reclaim it."""
    tree, usage, entries = model.tree, state.book.usage, state.entries
    job = entries.job[entry]
    queue = model.jobs.queue[job]
    if model.rules[queue, RECLAIM_POLICY] == ANY:
        return
    for resource in range(state.uses.column.shape[1]):
        column = state.uses.column[entry, resource]
        if column == NONE:
            continue
        amount = model.need[job, resource]
        left = tree.quota.nominal[queue, column] - usage[queue, column]
        if entries.height[entry] == 0:
            amount = min(amount, left)
        elif tree.quota.borrowing[queue, column] != FAR:
            amount = min(amount, left + tree.quota.borrowing[queue, column])
        state.uses.added[entry, resource] = max(0, amount)


@spliced
def _overlaps(state: QuotaState, entry: int, stamp: int) -> bool:
    """Whether somebody before this entry preempts one of its targets."""
    first = state.entries.first_target[entry]
    for place in range(first, first + state.entries.targets[entry]):
        if state.jobs.doomed[state.scratch.pool[place]] == stamp:
            return True
    return False


@spliced
def _still_fits(model: QuotaModel, state: QuotaState, entry: int, usage: Ints) -> bool:
    """Whether an entry fits once all who are preempted so far, and by it, are gone."""
    entries, pool = state.entries, state.scratch.pool
    job, first = entries.job[entry], entries.first_target[entry]
    queue, enough = model.jobs.queue[job], True
    for place in range(first, first + entries.targets[entry]):
        drop_job(model, state, usage, pool[place])
    for resource in range(state.uses.column.shape[1]):
        column = state.uses.column[entry, resource]
        if column != NONE:
            free = available(model.tree, usage, queue, column)
            enough &= model.need[job, resource] <= free
    for place in range(first, first + entries.targets[entry]):
        take_job(model, state, usage, pool[place])
    return enough


@spliced
def _decide(model: QuotaModel, state: QuotaState, entry: int, stamp: int, usage: Ints) -> int:
    """Outcome of an entry; `usage` is without those who are being preempted."""
    entries = state.entries
    if entries.mode[entry] == NO_FIT:
        return PARKS
    if entries.mode[entry] != FIT and entries.targets[entry] == 0:
        _reserve(model, state, entry)
        return PARKS
    if _overlaps(state, entry, stamp) or not _still_fits(model, state, entry, usage):
        return SKIPPED
    job = entries.job[entry]
    for resource in range(state.uses.column.shape[1]):
        if state.uses.column[entry, resource] != NONE:
            state.uses.added[entry, resource] = model.need[job, resource]
    return STARTS if entries.mode[entry] == FIT else PREEMPTS


@spliced
def _split_usage(model: QuotaModel, state: QuotaState, root: int) -> None:
    """Let `Book.clear` go its own way: as the usage, but without those who are preempted."""
    book, nodes = state.book, model.tree.nodes
    if book.counts[SPLIT]:
        return
    book.counts[SPLIT] = 1
    for place in range(nodes.nodes_from[root], nodes.nodes_to[root]):
        node = nodes.node_at[place]
        for column in range(book.usage.shape[1]):
            book.clear[node, column] = book.usage[node, column]


@inner
def _process(model: QuotaModel, state: QuotaState, entry: int, root: int) -> None:
    """Process an entry."""
    book, entries, pool = state.book, state.entries, state.scratch.pool
    stamp = book.counts[CYCLES]
    outcome = _decide(model, state, entry, stamp, book.clear if book.counts[SPLIT] else book.usage)
    entries.outcome[entry] = outcome
    first = entries.first_target[entry]
    if outcome == PREEMPTS:
        _split_usage(model, state, root)
        for place in range(first, first + entries.targets[entry]):
            drop_job(model, state, book.clear, pool[place])
            state.jobs.doomed[pool[place]] = stamp
    _count_added(model, state, entry, book.usage)
    if book.counts[SPLIT]:
        _count_added(model, state, entry, book.clear)


@spliced
def _conclude(model: QuotaModel, state: QuotaState, entry: int, root: int) -> tuple[bool, bool]:
    """Act on an outcome: whether anything changed, and whether that is progress."""
    entries, jobs, queues = state.entries, state.jobs, state.queues
    job, outcome = entries.job[entry], entries.outcome[entry]
    queue = model.jobs.queue[job]
    if outcome == STARTS:
        for resource in range(state.uses.column.shape[1]):
            state.took[job, resource] = state.uses.column[entry, resource]
        state.tried[job, :] = NONE
        _start(model, state, job)
        return True, True
    _take_back(model, state, entry)
    changed = progress = pending = False
    for slot in range(state.entry_tried.shape[1]):
        last = NONE if outcome == PREEMPTS else state.entry_tried[entry, slot]
        changed |= state.tried[job, slot] != last
        pending |= last != NONE
        state.tried[job, slot] = last
    jobs.tried_cycle[job] = state.nodes.cycle[root]
    jobs.tried_generation[job] = queues.generation[queue]
    if outcome == PREEMPTS:
        changed |= queues.sticky[queue] != job
        queues.sticky[queue] = job
        first = entries.first_target[entry]
        for place in range(first, first + entries.targets[entry]):
            target = state.scratch.pool[place]
            if jobs.phase[target] == RUNNING:
                _evict(model, state, target, job)
                progress = True
    elif outcome == PARKS and not pending and not model.rules[queue, STRICT]:
        park(model, state, model.jobs.kind[job], queue)
        progress = True
    return changed or progress, progress


@spliced
def run_cycle(model: QuotaModel, state: QuotaState, root: int) -> tuple[int, bool, bool]:
    """One cycle of a tree.

    Returns
    -------
    heads, changed, progress
        Number of heads, -1 when there was no room for targets; whether the next cycle may differ;
        whether a job was admitted, evicted or parked.
    """
    book, entries = state.book, state.entries
    state.nodes.cycle[root] += 1
    book.counts[CYCLES] += 1
    if not _nominate(model, state, root):
        return -1, False, False
    count = book.counts[ENTRIES]
    book.counts[SPLIT] = 0
    if model.options[FAIR]:
        open_tournament(model, state, root)
        for at in range(count):
            entries.order[at] = state.nodes.winner[root]
            _process(model, state, entries.order[at], root)
            close_round(model, state, entries.order[at])
    else:
        sort_entries(model, state)
        for at in range(count):
            _process(model, state, entries.order[at], root)
    changed = progress = False
    for at in range(count):
        now_changed, now_progress = _conclude(model, state, entries.order[at], root)
        changed |= now_changed
        progress |= now_progress
    return count, changed, progress
