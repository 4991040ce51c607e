"""Fair sharing: whom to preempt by dominant resource share, and who is admitted first.

Source: Kueue 0.19.2, concepts page "Fair Sharing" and proposal 1714; the rules S2-a and S2-b there
are the strategies LessThanOrEqualToFinalShare and LessThanInitialShare.
"""

from __future__ import annotations

from kfarm_twin._jit import inner, spliced
from kfarm_twin.kernels.quota_state import (
    FIRST_STRATEGY,
    INITIAL_SHARE,
    MAY_BORROW,
    RECLAIM_POLICY,
    SECOND_STRATEGY,
    WITHIN,
    QuotaModel,
    QuotaState,
    drop_job,
    take_job,
)
from kfarm_twin.kernels.quota_targets import (
    HIERARCHY,
    OWN_QUEUE,
    fill_back,
    fits,
    heapify,
    pop_candidate,
    precedes,
    uses,
)
from kfarm_twin.policy.quota import (
    NEVER,
    NONE,
    add_usage,
    compare_shares,
    exceeds,
    may_preempt,
    remove_usage,
    share,
)


@inner
def _borrows(model: QuotaModel, state: QuotaState, queue: int) -> bool:
    """Whether a queue is beyond its nominal quota in a column that needs preemption."""
    ask = state.scratch.ask
    for resource in range(ask.shape[1]):
        column = ask[0, resource]
        if ask[2, resource] and exceeds(model.tree, state.book.usage, queue, column, 0):
            return True
    return False


@spliced
def _collect(model: QuotaModel, state: QuotaState, job: int) -> int:
    """Candidates of the own queue and of all queues of the tree that borrow."""
    queue, jobs = model.jobs.queue[job], model.jobs
    root, count = model.tree.nodes.root[queue], 0
    for place in range(model.tree.nodes.queues_from[root], model.tree.nodes.queues_to[root]):
        other = model.tree.nodes.queue_at[place]
        own = other == queue
        policy = model.rules[queue, WITHIN] if own else model.rules[queue, RECLAIM_POLICY]
        if policy == NEVER or (not own and not _borrows(model, state, other)):
            continue
        held = state.queues.first_running[other]
        while held != NONE:
            may = may_preempt(
                policy, jobs.priority[job], jobs.submit_ns[job], jobs.priority[held],
                jobs.submit_ns[held],
            )  # fmt: skip
            if may and uses(state, held):
                state.lists.candidates[count] = held
                state.jobs.group[held] = OWN_QUEUE if own else HIERARCHY
                count += 1
            held = state.jobs.next_running[held]
    return count


@inner
def _fill_buckets(model: QuotaModel, state: QuotaState, queue: int, count: int) -> None:
    """Sort candidates by the order of preemption and chain them by queue; nothing is pruned."""
    tree = model.tree
    root = tree.nodes.root[queue]
    for place in range(model.tree.nodes.nodes_from[root], model.tree.nodes.nodes_to[root]):
        state.nodes.pruned[model.tree.nodes.node_at[place]] = 0
    for place in range(model.tree.nodes.queues_from[root], model.tree.nodes.queues_to[root]):
        state.queues.bucket[model.tree.nodes.queue_at[place]] = NONE
    heapify(model, state, count)
    for size in range(count, 0, -1):  # the last to go comes to lie in front, and is chained first
        pop_candidate(model, state, size)
    for at in range(count):
        job = state.lists.candidates[at]
        other = model.jobs.queue[job]
        state.jobs.top[job] = state.queues.bucket[other]
        state.queues.bucket[other] = job


@inner
def _pop(state: QuotaState, queue: int) -> int:
    """Next candidate of a queue."""
    job = state.queues.bucket[queue]
    state.queues.bucket[queue] = state.jobs.top[job]
    return int(job)


@inner
def _share_now(model: QuotaModel, state: QuotaState, node: int) -> tuple[bool, float, bool]:
    more = state.scratch.more
    more[:] = 0
    return share(model.tree, state.book.usage, node, more)


@inner
def _next_target(model: QuotaModel, state: QuotaState, own: int) -> int:
    """Queue with candidates found from the root by the largest share; -1 when nodes were pruned."""
    tree, queues = model.tree, model.rules.shape[0]
    cohort = tree.nodes.root[own]
    while True:
        best_queue, queue_endless, queue_share = NONE, False, -1.0
        best_cohort, cohort_endless, cohort_share = NONE, False, -1.0
        node = tree.nodes.first_child[cohort]
        while node != NONE:
            if not state.nodes.pruned[node]:
                endless, value, borrows = _share_now(model, state, node)
                if node < queues:
                    if (not borrows and node != own) or state.queues.bucket[node] == NONE:
                        state.nodes.pruned[node] = 1
                    else:
                        order = compare_shares(endless, value, queue_endless, queue_share)
                        if order == 0:
                            a, b = state.queues.bucket[node], state.queues.bucket[best_queue]
                            if precedes(model, state, a, b):
                                best_queue = node
                        elif order > 0:
                            best_queue, queue_endless, queue_share = node, endless, value
                elif not borrows and not state.nodes.on_path[node]:
                    state.nodes.pruned[node] = 1
                elif compare_shares(endless, value, cohort_endless, cohort_share) >= 0:
                    best_cohort, cohort_endless, cohort_share = node, endless, value
            node = tree.nodes.next_child[node]
        if best_queue == NONE and best_cohort == NONE:
            state.nodes.pruned[cohort] = 1
            return NONE
        if compare_shares(cohort_endless, cohort_share, queue_endless, queue_share) < 0:
            return int(best_queue)
        cohort = best_cohort


@spliced
def _rivals(model: QuotaModel, state: QuotaState, own: int, other: int) -> tuple[int, int]:
    """The two nodes below the lowest cohort that two queues share, on the way to each."""
    tree, on_path = model.tree, state.nodes.on_path
    theirs = other
    while not on_path[tree.nodes.parent[theirs]]:
        theirs = tree.nodes.parent[theirs]
    ours = own
    while tree.nodes.parent[ours] != tree.nodes.parent[theirs]:
        ours = tree.nodes.parent[ours]
    return int(ours), int(theirs)


@inner
def _passes(
    model: QuotaModel, state: QuotaState, strategy: int, own: int, other: int, victim: int
) -> bool:
    """Whether a strategy lets the preemptor, counted as admitted, take from another queue."""
    usage = state.book.usage
    ours, theirs = _rivals(model, state, own, other)
    endless, value, _ = _share_now(model, state, ours)
    if strategy == INITIAL_SHARE:
        their_endless, their_share, _ = _share_now(model, state, theirs)
        return compare_shares(endless, value, their_endless, their_share) < 0
    drop_job(model, state, usage, victim)
    their_endless, their_share, _ = _share_now(model, state, theirs)
    take_job(model, state, usage, victim)
    return compare_shares(endless, value, their_endless, their_share) <= 0


@inner
def _count_ask(model: QuotaModel, state: QuotaState, queue: int, add: bool) -> None:
    """Count what is asked for as used, or no longer."""
    ask = state.scratch.ask
    for resource in range(ask.shape[1]):
        column = ask[0, resource]
        if column == NONE:
            continue
        if add:
            add_usage(model.tree, state.book.usage, queue, column, ask[1, resource])
        else:
            remove_usage(model.tree, state.book.usage, queue, column, ask[1, resource])


@inner
def _fits_fair(model: QuotaModel, state: QuotaState, queue: int) -> bool:
    """As `fits`, where what is asked for is counted already."""
    _count_ask(model, state, queue, False)
    enough = fits(model, state, queue)
    _count_ask(model, state, queue, True)
    return enough


@spliced
def _first_pass(model: QuotaModel, state: QuotaState, queue: int) -> tuple[bool, int, int]:
    """Preempt by the first strategy: whether it fits, targets, candidates to try again."""
    usage = state.book.usage
    alone = model.tree.nodes.parent[queue] == NONE
    root, strategy = model.tree.nodes.root[queue], model.options[FIRST_STRATEGY]
    entitled = not _borrows(model, state, queue)
    found, again = 0, 0
    while not state.nodes.pruned[root]:
        other = queue if alone else _next_target(model, state, queue)
        if alone and state.queues.bucket[queue] == NONE:
            break
        if other == NONE:
            continue
        while state.queues.bucket[other] != NONE:
            victim = _pop(state, other)
            free = other == queue or entitled
            if not free and not _passes(model, state, strategy, queue, other, victim):
                state.lists.retry[again] = victim
                again += 1
                continue
            drop_job(model, state, usage, victim)
            state.lists.targets[found] = victim
            found += 1
            if _fits_fair(model, state, queue):
                return True, found, again
            break
    return False, found, again


@spliced
def _second_pass(model: QuotaModel, state: QuotaState, queue: int, found: int) -> tuple[bool, int]:
    """Preempt one of each queue by LessThanInitialShare: whether it fits, targets."""
    root = model.tree.nodes.root[queue]
    while not state.nodes.pruned[root]:
        other = _next_target(model, state, queue)
        if other == NONE:
            continue
        victim = _pop(state, other)
        if _passes(model, state, INITIAL_SHARE, queue, other, victim):
            drop_job(model, state, state.book.usage, victim)
            state.lists.targets[found] = victim
            found += 1
            if _fits_fair(model, state, queue):
                return True, found
        state.nodes.pruned[other] = 1
    return False, found


@spliced
def fair_targets(model: QuotaModel, state: QuotaState, job: int) -> int:
    """Targets that make room for `Scratch.ask`, in `Scratch.targets`; 0 when there are none."""
    tree, queue = model.tree, model.jobs.queue[job]
    count = _collect(model, state, job)
    if count == 0:
        return 0
    state.book.counts[MAY_BORROW] = 1
    node = tree.nodes.parent[queue]
    while node != NONE:
        state.nodes.on_path[node] = 1
        node = tree.nodes.parent[node]
    _count_ask(model, state, queue, True)
    _fill_buckets(model, state, queue, count)
    fitting, found, again = _first_pass(model, state, queue)
    if not fitting and model.options[SECOND_STRATEGY] != NONE and again > 0:
        for at in range(again):
            state.lists.candidates[at] = state.lists.retry[at]
        _fill_buckets(model, state, queue, again)
        fitting, found = _second_pass(model, state, queue, found)
    _count_ask(model, state, queue, False)
    if fitting:
        found = fill_back(model, state, queue, found)
    for at in range(found):
        take_job(model, state, state.book.usage, state.lists.targets[at])
    node = tree.nodes.parent[queue]
    while node != NONE:
        state.nodes.on_path[node] = 0
        node = tree.nodes.parent[node]
    return found if fitting else 0
