"""Whom to preempt, classic: least of those who may be preempted, in order, then fill back.

Candidates are those who run in the own queue, and in queues of the cohort tree that are beyond
their quota. Over some the preemptor has a *hierarchical advantage*: the quota it asks for is its
own, or that of a subtree it belongs to, and they are outside; these go first. Source: Kueue 0.19.2,
concepts page "Preemption" (classic preemption) and proposal 1337.
"""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.kernels.quota_state import (
    BORROW_WITHIN,
    EVICTING,
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
        if ask[2, resource]:
            if exceeds(model.tree, state.book.usage, node, ask[0, resource], 0):
                return False
    return True


@inner
def fits(model: QuotaModel, state: QuotaState, queue: int, borrow: bool) -> bool:
    """Whether what is asked for would fit now."""
    ask, usage = state.scratch.ask, state.book.usage
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


@inner
def _variant(model: QuotaModel, job: int, queue: int, other: int, ahead: bool) -> int:
    """Variant of a candidate of another queue."""
    if ahead:
        return HIERARCHY
    if not model.rules[queue, BORROW_WITHIN]:
        return WITHOUT_BORROWING
    theirs = model.jobs.priority[other]
    if theirs >= model.jobs.priority[job] or theirs > model.rules[queue, THRESHOLD]:
        return WITHOUT_BORROWING
    return WHILE_BORROWING


@inner
def _collect_queue(
    model: QuotaModel, state: QuotaState, job: int, other: int, top: int, ahead: bool, count: int
) -> int:
    """Add the candidates of a queue; returns the new count."""
    queue, jobs, scratch = model.jobs.queue[job], model.jobs, state.scratch
    policy = model.rules[queue, WITHIN] if other == queue else model.rules[queue, RECLAIM_POLICY]
    held = state.queues.first_running[other]
    while held != NONE:
        may = may_preempt(
            policy, jobs.priority[job], jobs.submit_ns[job], jobs.priority[held],
            jobs.submit_ns[held],
        )  # fmt: skip
        if may and uses(state, held):
            variant = OWN_QUEUE if other == queue else _variant(model, job, queue, held, ahead)
            state.lists.candidates[count] = held
            state.jobs.group[held] = variant
            state.jobs.top[held] = top
            count += 1
        held = state.jobs.next_running[held]
    return count


@inner
def _collect_subtree(
    model: QuotaModel, state: QuotaState, job: int, top: int, skip: int, ahead: bool, count: int
) -> int:
    """Add candidates below cohort `top`, without its child `skip`, from nodes beyond quota."""
    tree, queues = model.tree, model.rules.shape[0]
    node = tree.nodes.first_child[top]
    while node != NONE:
        inside = node != skip and node != model.jobs.queue[job]
        if inside and not within_quota(model, state, node):
            if node < queues:
                count = _collect_queue(model, state, job, node, top, ahead, count)
            elif tree.nodes.first_child[node] != NONE:
                node = tree.nodes.first_child[node]
                continue
        while tree.nodes.next_child[node] == NONE and tree.nodes.parent[node] != top:
            node = tree.nodes.parent[node]
        node = tree.nodes.next_child[node]
    return count


@inner
def _collect(model: QuotaModel, state: QuotaState, job: int) -> tuple[int, int, int]:
    """All candidates: how many, of them from other queues, of them with the advantage."""
    tree, usage, queue = model.tree, state.book.usage, model.jobs.queue[job]
    ask, left = state.scratch.ask, state.scratch.left
    count = 0
    if tree.nodes.parent[queue] != NONE and model.rules[queue, RECLAIM_POLICY] != NEVER:
        ahead, skip, node = False, NONE, queue
        for resource in range(ask.shape[1]):
            left[resource] = ask[1, resource]
        while node != NONE:
            if node != queue:
                count = _collect_subtree(model, state, job, node, skip, ahead, count)
            enough = True
            for resource in range(ask.shape[1]):
                column = ask[0, resource]
                if column != NONE:
                    enough &= not exceeds(tree, usage, node, column, left[resource])
                    kept = local_available(tree, usage, node, column)
                    left[resource] = max(0, left[resource] - kept)
            ahead |= enough
            skip = node
            node = tree.nodes.parent[node]
    others, hierarchy = count, 0
    for at in range(count):
        hierarchy += state.jobs.group[state.lists.candidates[at]] == HIERARCHY
    if model.rules[queue, WITHIN] != NEVER:
        count = _collect_queue(model, state, job, queue, NONE, False, count)
    return count, others, hierarchy


@inner
def _still_valid(model: QuotaModel, state: QuotaState, job: int, other: int, borrow: bool) -> bool:
    """Whether a candidate may still be taken: earlier ones may have brought its queue in bounds."""
    queue = model.jobs.queue[other]
    if queue == model.jobs.queue[job]:
        return True
    if borrow and state.jobs.group[other] == WITHOUT_BORROWING:
        return False
    node = queue
    while node != state.jobs.top[other]:
        if within_quota(model, state, node):
            return False
        node = model.tree.nodes.parent[node]
    return True


@inner
def fill_back(model: QuotaModel, state: QuotaState, queue: int, count: int, borrow: bool) -> int:
    """Spare targets that need not go, from the last but one; returns how many remain."""
    targets, usage = state.lists.targets, state.book.usage
    for at in range(count - 2, -1, -1):
        take_job(model, state, usage, targets[at])
        if fits(model, state, queue, borrow):
            targets[at] = targets[count - 1]
            count -= 1
        else:
            drop_job(model, state, usage, targets[at])
    return count


@inner
def _attempt(model: QuotaModel, state: QuotaState, job: int, count: int, borrow: bool) -> int:
    """Preempt in order until the job fits; targets found, usage as before."""
    scratch, usage, queue = state.scratch, state.book.usage, model.jobs.queue[job]
    heapify(model, state, count)
    found, fitting = 0, False
    for size in range(count, 0, -1):
        other = pop_candidate(model, state, size)
        if not _still_valid(model, state, job, other, borrow):
            continue
        drop_job(model, state, usage, other)
        state.lists.targets[found] = other
        found += 1
        if fits(model, state, queue, borrow):
            fitting = True
            break
    if fitting:
        found = fill_back(model, state, queue, found, borrow)
    for at in range(found):
        take_job(model, state, usage, state.lists.targets[at])
    return found if fitting else 0


@inner
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


@inner
def classic_targets(model: QuotaModel, state: QuotaState, job: int) -> int:
    """Targets that make room for `Scratch.ask`, in `Scratch.targets`; 0 when there are none."""
    queue = model.jobs.queue[job]
    count, others, hierarchy = _collect(model, state, job)
    if count == 0:
        return 0
    forbidden = not model.rules[queue, BORROW_WITHIN]
    if others == 0 or (forbidden and not _under_nominal(model, state, queue)):
        return _attempt(model, state, job, count, True)
    first = not (forbidden and hierarchy == 0)
    found = _attempt(model, state, job, count, first)
    if found == 0:
        found = _attempt(model, state, job, count, not first)
    return found
