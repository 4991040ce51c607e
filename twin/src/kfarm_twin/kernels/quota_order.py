"""In which order the heads of a cycle are looked at.

Classic: within nominal quota first (least borrowing height), then priority, then creation. Fair
sharing: a tournament over the tree; at each cohort the child goes on whose share, with its head
admitted, is the smallest, children that would not borrow what the head asks for going first.
Source: Kueue 0.19.2, concepts pages "Cluster Queue" and "Fair Sharing".
"""

from __future__ import annotations

from kfarm_twin._jit import inner, spliced
from kfarm_twin.kernels.quota_state import ENTRIES, QuotaModel, QuotaState
from kfarm_twin.policy.quota import NONE, compare_shares, local_available, share


@inner
def _before(model: QuotaModel, state: QuotaState, a: int, b: int) -> bool:
    entries = state.entries
    if entries.height[a] != entries.height[b]:
        return bool(entries.height[a] < entries.height[b])
    return bool(model.jobs.order[entries.job[a]] < model.jobs.order[entries.job[b]])


@inner
def _sink(model: QuotaModel, state: QuotaState, at: int, size: int) -> None:
    heap = state.entries.order
    entry = heap[at]
    while True:
        below = 2 * at + 1
        if below >= size:
            break
        if below + 1 < size and _before(model, state, heap[below], heap[below + 1]):
            below += 1
        if not _before(model, state, entry, heap[below]):
            break
        heap[at] = heap[below]
        at = below
    heap[at] = entry


@spliced
def sort_entries(model: QuotaModel, state: QuotaState) -> None:
    """Put entries in the classic order (a heap sort, largest on top)."""
    order, count = state.entries.order, state.book.counts[ENTRIES]
    for entry in range(count):
        order[entry] = entry
    for at in range(count // 2 - 1, -1, -1):
        _sink(model, state, at, count)
    for size in range(count - 1, 0, -1):
        last = order[size]
        order[size] = order[0]
        order[0] = last
        _sink(model, state, 0, size)


@inner
def _rate(model: QuotaModel, state: QuotaState, node: int) -> None:
    """Share of a node with its winner admitted, and whether it then borrows what that asks for."""
    tree, usage, scratch, entries = model.tree, state.book.usage, state.scratch, state.entries
    entry = state.nodes.winner[node]
    job, more = entries.job[entry], scratch.more
    more[:] = 0
    borrows = False
    for resource in range(state.uses.column.shape[1]):
        column = state.uses.column[entry, resource]
        if column == NONE:
            continue
        amount, below = model.need[job, resource], model.jobs.queue[job]
        while below != node:
            amount = max(0, amount - local_available(tree, usage, below, column))
            below = tree.nodes.parent[below]
        more[column] = amount
        borrows |= usage[node, column] + amount > tree.quota.subtree[node, column]
    endless, value, _ = share(tree, usage, node, more)
    state.nodes.endless[node] = endless
    state.nodes.over[node] = borrows
    state.nodes.share[node] = value


@inner
def _pick(model: QuotaModel, state: QuotaState, cohort: int) -> None:
    """Let the best child of a cohort go on."""
    tree, entries = model.tree, state.entries
    best = NONE
    node = tree.nodes.first_child[cohort]
    while node != NONE:
        if state.nodes.winner[node] != NONE:
            better = best == NONE
            if not better and state.nodes.over[node] != state.nodes.over[best]:
                better = state.nodes.over[node] == 0
            elif not better:
                order = compare_shares(
                    state.nodes.endless[node] == 1,
                    state.nodes.share[node],
                    state.nodes.endless[best] == 1,
                    state.nodes.share[best],
                )
                ours, theirs = (
                    entries.job[state.nodes.winner[node]],
                    entries.job[state.nodes.winner[best]],
                )
                earlier = model.jobs.order[ours] < model.jobs.order[theirs]
                better = order < 0 or (order == 0 and earlier)
            if better:
                best = node
        node = tree.nodes.next_child[node]
    state.nodes.winner[cohort] = state.nodes.winner[best] if best != NONE else NONE
    if best != NONE and tree.nodes.parent[cohort] != NONE:
        _rate(model, state, cohort)


@spliced
def open_tournament(model: QuotaModel, state: QuotaState, root: int) -> None:
    """Rate all heads of a tree."""
    tree, queues = model.tree, model.rules.shape[0]
    for place in range(model.tree.nodes.nodes_from[root], model.tree.nodes.nodes_to[root]):
        state.nodes.winner[model.tree.nodes.node_at[place]] = NONE
    for entry in range(state.book.counts[ENTRIES]):
        state.nodes.winner[model.jobs.queue[state.entries.job[entry]]] = entry
    for place in range(model.tree.nodes.nodes_from[root], model.tree.nodes.nodes_to[root]):
        node = model.tree.nodes.node_at[place]
        if node >= queues:
            _pick(model, state, node)
        elif state.nodes.winner[node] != NONE and tree.nodes.parent[node] != NONE:
            _rate(model, state, node)


@spliced
def close_round(model: QuotaModel, state: QuotaState, entry: int) -> None:
    """Take an entry that was processed out of the tournament."""
    node = model.jobs.queue[state.entries.job[entry]]
    state.nodes.winner[node] = NONE
    node = model.tree.nodes.parent[node]
    while node != NONE:
        _pick(model, state, node)
        node = model.tree.nodes.parent[node]
