"""Whom to preempt, classic: least of those who may be preempted, in order, then fill back.

Candidates are those who run in the own queue, and in queues of the cohort tree that are beyond
their quota. Over some the preemptor has a *hierarchical advantage*: the quota it asks for is its
own, or that of a subtree it belongs to, and they are outside; these go first. Source: Kueue 0.19.2,
concepts page "Preemption" (classic preemption) and proposal 1337.
"""

from __future__ import annotations

from kfarm_twin._jit import inner, spliced
from kfarm_twin.kernels.quota_state import (
    AHEAD,
    BORROW_WITHIN,
    EVICTING,
    FOUND,
    MAY_BORROW,
    RECLAIM_POLICY,
    THRESHOLD,
    WITHIN,
    QuotaModel,
    QuotaState,
    drop_job,
    take_job,
)
from kfarm_twin.policy.quota import (
    NEVER,
    NONE,
    available,
    exceeds,
    local_available,
    may_preempt,
)

HIERARCHY, WITHOUT_BORROWING, WHILE_BORROWING, OWN_QUEUE = 0, 1, 2, 3
"""Variants of a candidate. The second is spared when the preemptor would borrow."""


@inner
def uses(state: QuotaState, job: int) -> bool:
    """Whether a job holds a column that needs preemption."""
    ask = state.scratch.ask
    for resource in range(ask.shape[1]):
        if ask[2, resource] and state.took[job, resource] == ask[0, resource]:
            return True
    return False


@inner
def within_quota(model: QuotaModel, state: QuotaState, node: int) -> bool:
    """Whether a node is within its own quota in all columns that need preemption."""
    ask = state.scratch.ask
    for resource in range(ask.shape[1]):
        if ask[2, resource] and exceeds(model.tree, state.book.usage, node, ask[0, resource], 0):
            return False
    return True


@inner
def fits(model: QuotaModel, state: QuotaState, queue: int) -> bool:
    """Whether what is asked for would fit now."""
    ask, usage, borrow = state.scratch.ask, state.book.usage, state.book.counts[MAY_BORROW]
    for resource in range(ask.shape[1]):
        column, amount = ask[0, resource], ask[1, resource]
        if column == NONE:
            continue
        if not borrow and exceeds(model.tree, usage, queue, column, amount):
            return False
        if amount > available(model.tree, usage, queue, column):
            return False
    return True


@inner
def precedes(model: QuotaModel, state: QuotaState, a: int, b: int) -> bool:
    """Whether candidate `a` is preempted before `b`: being evicted, group, priority, latest."""
    jobs, group = state.jobs, state.jobs.group
    if (jobs.phase[a] == EVICTING) != (jobs.phase[b] == EVICTING):
        return bool(jobs.phase[a] == EVICTING)
    a_group = WITHOUT_BORROWING if group[a] == WHILE_BORROWING else group[a]
    b_group = WITHOUT_BORROWING if group[b] == WHILE_BORROWING else group[b]
    if a_group != b_group:
        return bool(a_group < b_group)
    if model.jobs.priority[a] != model.jobs.priority[b]:
        return bool(model.jobs.priority[a] < model.jobs.priority[b])
    if jobs.start_ns[a] != jobs.start_ns[b]:
        return bool(jobs.start_ns[a] > jobs.start_ns[b])
    return bool(model.jobs.rank[a] < model.jobs.rank[b])


@inner
def _sink(model: QuotaModel, state: QuotaState, at: int, size: int) -> None:
    heap = state.lists.candidates
    job = heap[at]
    while True:
        below = 2 * at + 1
        if below >= size:
            break
        if below + 1 < size and precedes(model, state, heap[below + 1], heap[below]):
            below += 1
        if not precedes(model, state, heap[below], job):
            break
        heap[at] = heap[below]
        at = below
    heap[at] = job


@inner
def heapify(model: QuotaModel, state: QuotaState, size: int) -> None:
    """Order candidates as a heap, the first to be preempted on top."""
    for at in range(size // 2 - 1, -1, -1):
        _sink(model, state, at, size)


@inner
def pop_candidate(model: QuotaModel, state: QuotaState, size: int) -> int:
    """Move the top of a heap of `size` behind the others and return it."""
    heap = state.lists.candidates
    job = heap[0]
    heap[0] = heap[size - 1]
    heap[size - 1] = job
    _sink(model, state, 0, size - 1)
    return int(job)


@spliced
def _variant(model: QuotaModel, state: QuotaState, job: int, queue: int, other: int) -> int:
    """Variant of a candidate."""
    if queue == model.jobs.queue[other]:
        return OWN_QUEUE
    if state.book.counts[AHEAD]:
        return HIERARCHY
    theirs = model.jobs.priority[other]
    bold = model.rules[queue, BORROW_WITHIN] != 0 and theirs < model.jobs.priority[job]
    if bold and theirs <= model.rules[queue, THRESHOLD]:
        return WHILE_BORROWING
    return WITHOUT_BORROWING


@inner
def _collect_queue(model: QuotaModel, state: QuotaState, job: int, other: int, top: int) -> None:
    """Add the candidates of a queue."""
    queue, jobs, counts = model.jobs.queue[job], model.jobs, state.book.counts
    policy = model.rules[queue, WITHIN] if other == queue else model.rules[queue, RECLAIM_POLICY]
    held = state.queues.first_running[other]
    while held != NONE:
        may = may_preempt(
            policy,
            jobs.priority[job],
            jobs.submit_ns[job],
            jobs.priority[held],
            jobs.submit_ns[held],
        )
        if may and uses(state, held):
            state.lists.candidates[counts[FOUND]] = held
            state.jobs.group[held] = _variant(model, state, job, queue, held)
            state.jobs.top[held] = top
            counts[FOUND] += 1
        held = state.jobs.next_running[held]


@spliced
def _collect_subtree(model: QuotaModel, state: QuotaState, job: int, top: int, skip: int) -> None:
    """Add candidates below cohort `top`, without its child `skip`, from nodes beyond quota."""
    nodes, queues = model.tree.nodes, model.rules.shape[0]
    node = nodes.first_child[top]
    while node != NONE:
        if node != skip and not within_quota(model, state, node):
            if node < queues:
                _collect_queue(model, state, job, node, top)
            elif nodes.first_child[node] != NONE:
                node = nodes.first_child[node]
                continue
        while nodes.next_child[node] == NONE and nodes.parent[node] != top:
            node = nodes.parent[node]
        node = nodes.next_child[node]


@spliced
def _collect(model: QuotaModel, state: QuotaState, job: int) -> tuple[int, int, int]:
    """All candidates: how many, of them from other queues, of them with the advantage."""
    tree, usage, queue = model.tree, state.book.usage, model.jobs.queue[job]
    ask, left, counts = state.scratch.ask, state.scratch.left, state.book.counts
    counts[FOUND] = 0
    counts[AHEAD] = 0
    if tree.nodes.parent[queue] != NONE and model.rules[queue, RECLAIM_POLICY] != NEVER:
        skip, node = queue, queue
        for resource in range(ask.shape[1]):
            left[resource] = ask[1, resource]
        while node != NONE:
            if node != queue:
                _collect_subtree(model, state, job, node, skip)
            enough = True
            for resource in range(ask.shape[1]):
                column = ask[0, resource]
                if column != NONE:
                    enough &= not exceeds(tree, usage, node, column, left[resource])
                    kept = local_available(tree, usage, node, column)
                    left[resource] = max(0, left[resource] - kept)
            if enough:
                counts[AHEAD] = 1
            skip = node
            node = tree.nodes.parent[node]
    others, hierarchy = counts[FOUND], 0
    for at in range(others):
        hierarchy += state.jobs.group[state.lists.candidates[at]] == HIERARCHY
    if model.rules[queue, WITHIN] != NEVER:
        _collect_queue(model, state, job, queue, queue)
    return counts[FOUND], others, hierarchy


@spliced
def _still_valid(model: QuotaModel, state: QuotaState, job: int, other: int) -> bool:
    """Whether a candidate may still be taken: earlier ones may have brought its queue in bounds."""
    queue = model.jobs.queue[other]
    if queue == model.jobs.queue[job]:
        return True
    if state.book.counts[MAY_BORROW] and state.jobs.group[other] == WITHOUT_BORROWING:
        return False
    node = queue
    while node != state.jobs.top[other]:
        if within_quota(model, state, node):
            return False
        node = model.tree.nodes.parent[node]
    return True


@inner
def fill_back(model: QuotaModel, state: QuotaState, queue: int, count: int) -> int:
    """Spare targets that need not go, from the last but one; returns how many remain."""
    targets, usage = state.lists.targets, state.book.usage
    for at in range(count - 2, -1, -1):
        take_job(model, state, usage, targets[at])
        if fits(model, state, queue):
            targets[at] = targets[count - 1]
            count -= 1
        else:
            drop_job(model, state, usage, targets[at])
    return count


@spliced
def _attempt(model: QuotaModel, state: QuotaState, job: int, count: int) -> int:
    """Preempt in order until the job fits; targets found, usage as before."""
    usage, queue = state.book.usage, model.jobs.queue[job]
    heapify(model, state, count)
    found, fitting = 0, False
    for size in range(count, 0, -1):
        other = pop_candidate(model, state, size)
        if not _still_valid(model, state, job, other):
            continue
        drop_job(model, state, usage, other)
        state.lists.targets[found] = other
        found += 1
        if fits(model, state, queue):
            fitting = True
            break
    if fitting:
        found = fill_back(model, state, queue, found)
    for at in range(found):
        take_job(model, state, usage, state.lists.targets[at])
    return found if fitting else 0


@spliced
def _under_nominal(model: QuotaModel, state: QuotaState, queue: int) -> bool:
    """Whether a queue has nominal quota left in all columns that need preemption."""
    ask = state.scratch.ask
    for resource in range(ask.shape[1]):
        column = ask[0, resource]
        if (
            ask[2, resource]
            and model.tree.quota.nominal[queue, column] <= state.book.usage[queue, column]
        ):
            return False
    return True


@spliced
def classic_targets(model: QuotaModel, state: QuotaState, job: int) -> int:
    """Targets that make room for `Scratch.ask`, in `Scratch.targets`; 0 when there are none."""
    queue = model.jobs.queue[job]
    count, others, hierarchy = _collect(model, state, job)
    if count == 0:
        return 0
    forbidden = not model.rules[queue, BORROW_WITHIN]
    only = others == 0 or (forbidden and not _under_nominal(model, state, queue))
    borrow = 1 if only or not (forbidden and hierarchy == 0) else 0
    for _ in range(1 if only else 2):
        state.book.counts[MAY_BORROW] = borrow
        found = _attempt(model, state, job, count)
        if found > 0:
            return found
        borrow = 1 - borrow
    return 0
