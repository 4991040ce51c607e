"""Quotas of queues and cohorts: what a queue may use, borrow and lend, and its share.

The rules are those of Kueue 0.19.2 (ClusterQueue, Cohort trees of any depth). A node of the tree is
a ClusterQueue (rows 0..C-1, the leaves) or a Cohort (rows C..N-1). Quota is counted per column: a
pair of flavor and resource. What a node keeps for itself (its quota beyond the lending limit) is
its *local quota*; the rest of its quota, and the usage beyond its local quota, is its parent's.

Sources: Kueue's concepts pages "Cohort" and "Cluster Queue" (kueue.sigs.k8s.io/docs/concepts) and
its proposals 79 (hierarchical cohorts) and 1714 (fair sharing).
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar, cast, get_type_hints

import numpy as np

from kfarm_twin._jit import inner, kernel
from kfarm_twin.arrays import Floats, Ints

NONE = -1
FAR = 1 << 61
"""No limit. Sums of quota and usage stay below it; the compiler of manifests sees to that."""

NEVER, LOWER_PRIORITY, LOWER_OR_NEWER_EQUAL, ANY = 0, 1, 2, 3
"""Whom a workload may preempt."""


TableT = TypeVar("TableT", bound=NamedTuple)


def table(columns: type[TableT], *shape: int) -> TableT:
    """Columns side by side in one array of records, zero; `Floats` float64, all else int64.

    It reads as the tuple of columns that it stands for (``rows.parent[node]``), but is one argument
    to a kernel: with a hundred arrays as arguments each function took half a second to compile.
    """
    kinds = get_type_hints(columns)
    fields = [(name, np.float64 if kinds[name] == Floats else np.int64) for name in kinds]
    made: Any = np.zeros(shape, np.dtype(fields)).view(np.recarray)
    return cast("TableT", made)


class QuotaNodes(NamedTuple):
    """Queues, then cohorts [N]."""

    parent: Ints  # row of the cohort above, -1 for a root
    root: Ints  # row of the root; a queue without cohort is its own
    height: Ints  # distance to the furthest leaf
    first_child: Ints  # or -1
    next_child: Ints  # the next one of the same parent, or -1
    queues_from: Ints  # of a root: places of its queues in `queue_at`
    queues_to: Ints
    nodes_from: Ints  # of a root: places of its nodes in `node_at`, children before parents
    nodes_to: Ints
    queue_at: Ints
    node_at: Ints
    weight: Floats  # fair-sharing weight


class Quotas(NamedTuple):
    """Quota by node and column [N, F]."""

    nominal: Ints
    borrowing: Ints  # borrowing limit, FAR for none
    lending: Ints  # lending limit, FAR for none
    subtree: Ints  # own quota and what children lend
    local: Ints  # part of `subtree` that nobody else can use


class QuotaTree(NamedTuple):
    """All of the tree; read-only once `settle_tree` has run."""

    nodes: QuotaNodes
    quota: Quotas
    lendable: Ints  # [N, Q] most that a child of this cohort could use
    resource: Ints  # [F] resource of a column


@kernel
def settle_tree(tree: QuotaTree) -> None:
    """Fill `subtree`, `local`, `height` and `lendable` from quotas and limits.

    Children have to stand before their parents: queues first, then cohorts from the deepest.
    """
    nodes, columns = tree.quota.nominal.shape
    for node in range(nodes):
        parent = tree.nodes.parent[node]
        for column in range(columns):
            tree.quota.subtree[node, column] += tree.quota.nominal[node, column]
            if tree.quota.lending[node, column] != FAR:
                kept = tree.quota.subtree[node, column] - tree.quota.lending[node, column]
                tree.quota.local[node, column] = max(0, kept)
            if parent != NONE:
                given = tree.quota.subtree[node, column] - tree.quota.local[node, column]
                tree.quota.subtree[parent, column] += given
        if parent != NONE:
            tree.nodes.height[parent] = max(tree.nodes.height[parent], tree.nodes.height[node] + 1)
    for node in range(nodes):
        for column in range(columns):
            tree.lendable[node, tree.resource[column]] += potential(tree, node, column)


@inner
def local_available(tree: QuotaTree, usage: Ints, node: int, column: int) -> int:
    """Local quota that is left."""
    return int(max(0, tree.quota.local[node, column] - usage[node, column]))


@inner
def available(tree: QuotaTree, usage: Ints, queue: int, column: int) -> int:
    """What a queue can take now, borrowing included; never negative.

    A node has what its own local quota leaves, and of its parent's as much as its borrowing limit
    admits: A(n) = local + min(limit, A(parent)), unrolled from the leaf to the root.
    """
    node, own, least = queue, 0, FAR
    while tree.nodes.parent[node] != NONE:
        local, used = tree.quota.local[node, column], usage[node, column]
        own += max(0, local - used)
        if tree.quota.borrowing[node, column] != FAR:
            stored = tree.quota.subtree[node, column] - local
            least = min(
                least, own + stored - max(0, used - local) + tree.quota.borrowing[node, column]
            )
        node = tree.nodes.parent[node]
    least = min(least, own + tree.quota.subtree[node, column] - usage[node, column])
    return int(max(0, least))


@inner
def potential(tree: QuotaTree, node: int, column: int) -> int:
    """What a node could take were nothing used."""
    own, least = 0, FAR
    while tree.nodes.parent[node] != NONE:
        if tree.quota.borrowing[node, column] != FAR:
            whole = tree.quota.subtree[node, column] + tree.quota.borrowing[node, column]
            least = min(least, own + whole)
        own += tree.quota.local[node, column]
        node = tree.nodes.parent[node]
    return int(min(least, own + tree.quota.subtree[node, column]))


@inner
def add_usage(tree: QuotaTree, usage: Ints, queue: int, column: int, amount: int) -> None:
    """Use more; what goes beyond local quota counts at the parent, and so on."""
    node = queue
    while node != NONE and amount > 0:
        local = max(0, tree.quota.local[node, column] - usage[node, column])
        usage[node, column] += amount
        amount -= local
        node = tree.nodes.parent[node]


@inner
def remove_usage(tree: QuotaTree, usage: Ints, queue: int, column: int, amount: int) -> None:
    """Undo `add_usage`."""
    node = queue
    while node != NONE and amount > 0:
        above = usage[node, column] - tree.quota.local[node, column]
        usage[node, column] -= amount
        amount = min(amount, above)
        node = tree.nodes.parent[node]


@inner
def exceeds(tree: QuotaTree, usage: Ints, node: int, column: int, amount: int) -> bool:
    """Whether `amount` more would be beyond the node's own quota, so that it borrows."""
    return bool(tree.quota.subtree[node, column] < usage[node, column] + amount)


@inner
def borrowing_height(
    tree: QuotaTree, usage: Ints, queue: int, column: int, amount: int
) -> tuple[int, bool]:
    """How far the quota for `amount` is fetched, and whether that is within a smaller subtree.

    Returns
    -------
    height, inside
        Height of the lowest subtree that has room, 0 for the queue's own quota, the whole tree's
        where none has; whether that subtree is not the whole tree, so that the queue may reclaim.
    """
    node = tree.nodes.parent[queue]
    if node == NONE or not exceeds(tree, usage, queue, column, amount):
        return 0, node != NONE
    left = amount - local_available(tree, usage, queue, column)
    last = node
    while node != NONE:
        if not exceeds(tree, usage, node, column, left):
            return int(tree.nodes.height[node]), tree.nodes.parent[node] != NONE
        left -= local_available(tree, usage, node, column)
        last = node
        node = tree.nodes.parent[node]
    return int(tree.nodes.height[last]), False


@inner
def share(tree: QuotaTree, usage: Ints, node: int, more: Ints) -> tuple[bool, float, bool]:
    """Dominant resource share of a node with `more` [F] added to its usage.

    The share is the largest, over resources, of what is borrowed by what its cohort could lend, in
    thousandths, divided by the node's weight. A root borrows from nobody: its share is 0.

    Returns
    -------
    endless, value, borrows
        Whether the share is infinite since the weight is 0 (then `value` is not weighted); the
        share; whether the node is beyond its quota in any column.
    """
    parent = tree.nodes.parent[node]
    if parent == NONE:
        return False, 0.0, False
    columns = more.shape[0]
    ratio, borrows = 0.0, False
    for resource in range(tree.lendable.shape[1]):
        borrowed = 0
        for column in range(columns):
            if tree.resource[column] == resource:
                beyond = more[column] + usage[node, column] - tree.quota.subtree[node, column]
                borrowed += max(0, beyond)
        if borrowed > 0:
            borrows = True
            if tree.lendable[parent, resource] > 0:
                ratio = max(ratio, borrowed * 1000.0 / tree.lendable[parent, resource])
    if ratio == 0.0:
        return False, 0.0, borrows
    if tree.nodes.weight[node] == 0.0:
        return True, ratio, borrows
    return False, ratio / tree.nodes.weight[node], borrows


@inner
def compare_shares(a_endless: bool, a: float, b_endless: bool, b: float) -> int:
    """-1, 0 or 1 as share `a` is smaller, equal or larger; infinite ones compare by ratio."""
    if a_endless != b_endless:
        return 1 if a_endless else -1
    if a < b:
        return -1
    return 1 if a > b else 0


@inner
def may_preempt(
    policy: int, priority: int, submit_ns: int, other_priority: int, other_submit_ns: int
) -> bool:
    """Whether a policy lets a workload preempt another one of this priority and creation time."""
    if policy == ANY:
        return True
    if policy == NEVER:
        return False
    if priority > other_priority:
        return True
    newer = priority == other_priority and submit_ns < other_submit_ns
    return bool(policy == LOWER_OR_NEWER_EQUAL and newer)
