"""Queues and cohorts as they are described, and their compilation to columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from kfarm_twin.arrays import Ints
from kfarm_twin.kernels.quota_state import (
    BORROW_WITHIN,
    GROUPS_FROM,
    GROUPS_TO,
    NEXT_WHEN_BORROW,
    NEXT_WHEN_PREEMPT,
    PREFERENCE,
    RECLAIM_POLICY,
    RULES,
    STRICT,
    THRESHOLD,
    WITHIN,
)
from kfarm_twin.policy import quota, quota_flavor
from kfarm_twin.policy.quota import (
    FAR,
    NONE,
    QuotaNodes,
    Quotas,
    QuotaTree,
    settle_tree,
    table,
)

CPU, MEMORY, PODS = "cpu", "memory", "pods"
MILLI = 1000
"""Units of quota: CPU and devices in thousandths, memory in bytes, pods as they are."""


class Preempt(IntEnum):
    """Whom a queue's workloads may preempt."""

    NEVER = quota.NEVER
    LOWER_PRIORITY = quota.LOWER_PRIORITY
    LOWER_OR_NEWER_EQUAL_PRIORITY = quota.LOWER_OR_NEWER_EQUAL
    ANY = quota.ANY


class Preference(IntEnum):
    """What an assignment rather does: borrow, or preempt."""

    BORROWING_OVER_PREEMPTION = quota_flavor.BORROWING_FIRST
    PREEMPTION_OVER_BORROWING = quota_flavor.PREEMPTION_FIRST


class Quota(NamedTuple):
    """Quota of one flavor and resource, in its unit; None for no limit."""

    nominal: int
    borrowing: int | None = None
    lending: int | None = None


@dataclass(frozen=True)
class Group:
    """Resources that are taken from one flavor, and the flavors in order of preference.

    Attributes
    ----------
    flavors
        Pairs of flavor and its quotas by resource.
    """

    resources: tuple[str, ...]
    flavors: tuple[tuple[str, Mapping[str, Quota]], ...]

    def quotas(self) -> dict[tuple[str, str], Quota]:
        """Quotas by flavor and resource."""
        return {(name, r): given[r] for name, given in self.flavors for r in self.resources}


@dataclass(frozen=True)
class Queue:
    """A ClusterQueue; the defaults are Kueue's.

    Attributes
    ----------
    threshold
        `borrowWithinCohort.maxPriorityThreshold`; None for none.
    next_when_borrow, next_when_preempt
        Whether `whenCanBorrow`, `whenCanPreempt` is TryNextFlavor.
    """

    name: str
    groups: tuple[Group, ...]
    cohort: str | None = None
    weight: float = 1.0
    strict: bool = False
    within: Preempt = Preempt.NEVER
    reclaim: Preempt = Preempt.NEVER
    borrow_within: bool = False
    threshold: int | None = None
    next_when_borrow: bool = False
    next_when_preempt: bool = True
    preference: Preference = Preference.BORROWING_OVER_PREEMPTION


@dataclass(frozen=True)
class Cohort:
    """A Cohort; one that is only named has no quota of its own."""

    name: str
    parent: str | None = None
    weight: float = 1.0
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True)
class Flavor:
    """A ResourceFlavor.

    Attributes
    ----------
    words
        Its name and the values of its node labels: a job that asks for device models may use the
        flavor when one of them is among these.
    closed
        Taints that no job of a trace tolerates.
    """

    name: str
    words: frozenset[str] = frozenset()
    closed: bool = False


@dataclass(frozen=True)
class QueueTree:
    """All queues, whole and checked.

    Attributes
    ----------
    local_queues
        Name of a LocalQueue, also as ``namespace/name`` -> name of its ClusterQueue.
    priorities
        WorkloadPriorityClass -> value.
    notes
        What was taken for granted, in sentences.
    """

    queues: tuple[Queue, ...]
    cohorts: tuple[Cohort, ...] = ()
    flavors: tuple[Flavor, ...] = ()
    local_queues: Mapping[str, str] = field(default_factory=dict)
    priorities: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def resources(self) -> tuple[str, ...]:
        """Resources with quota: cpu, memory and pods, then devices by name."""
        nodes: list[Queue | Cohort] = [*self.queues, *self.cohorts]
        named = {r for node in nodes for g in node.groups for r in g.resources}
        return (CPU, MEMORY, PODS, *sorted(named - {CPU, MEMORY, PODS}))


class Compiled(NamedTuple):
    """A `QueueTree` as columns; shapes as in `kfarm_twin.kernels.quota_state`."""

    tree: QuotaTree
    rules: Ints
    choice_first: Ints
    choice_flavor: Ints
    choice_column: Ints
    most_groups: int
    most_flavors: int
    node_names: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    flavors: tuple[str, ...]


def _ordered_cohorts(tree: QueueTree) -> list[Cohort]:
    """Cohorts, those that are only named included, children before parents."""
    by_name = {cohort.name: cohort for cohort in tree.cohorts}
    for name in [node.cohort for node in tree.queues] + [c.parent for c in tree.cohorts]:
        if name is not None:
            by_name.setdefault(name, Cohort(name))
    depth: dict[str, int] = {}

    def measure(name: str, below: tuple[str, ...]) -> int:
        if name in below:
            raise ValueError(f"cohorts in a circle: {' -> '.join((*below, name))}")
        if name not in depth:
            parent = by_name[name].parent
            depth[name] = 0 if parent is None else measure(parent, (*below, name)) + 1
        return depth[name]

    return sorted(by_name.values(), key=lambda cohort: (-measure(cohort.name, ()), cohort.name))


def _parents(tree: QueueTree, cohorts: Sequence[Cohort]) -> list[int]:
    rows = {cohort.name: len(tree.queues) + i for i, cohort in enumerate(cohorts)}
    above = [q.cohort for q in tree.queues] + [c.parent for c in cohorts]
    return [NONE if name is None else rows[name] for name in above]


def _node_rows(nodes: Sequence[Queue | Cohort], parent: list[int], queues: int) -> QuotaNodes:
    """Where each node stands in its tree; children stand before their parents."""
    rows = table(QuotaNodes, len(nodes))
    rows.parent[:] = parent
    rows.weight[:] = [node.weight for node in nodes]
    rows.root[:] = np.arange(len(nodes))
    rows.first_child[:] = NONE
    rows.next_child[:] = NONE
    for node in range(len(nodes) - 1, -1, -1):
        above = parent[node]
        if above != NONE:
            rows.root[node] = rows.root[above]
            rows.next_child[node] = rows.first_child[above]
            rows.first_child[above] = node
    root = np.array(rows.root)
    rows.node_at[:] = np.argsort(root, kind="stable")
    rows.queue_at[:queues] = np.argsort(root[:queues], kind="stable")
    whole, leaves = firsts(root, len(nodes)), firsts(root[:queues], len(nodes))
    rows.nodes_from[:], rows.nodes_to[:] = whole[:-1], whole[1:]
    rows.queues_from[:], rows.queues_to[:] = leaves[:-1], leaves[1:]
    return rows


def firsts(rows: Ints, count: int) -> Ints:
    """First place of each row's entries when sorted by row, and the end [count + 1]."""
    return ends(np.bincount(rows, minlength=count) if rows.size else [0] * count)


def _rules(queues: Sequence[Queue]) -> Ints:
    rules = np.zeros((len(queues), RULES), np.int64)
    groups = ends([len(queue.groups) for queue in queues])
    rules[:, GROUPS_FROM], rules[:, GROUPS_TO] = groups[:-1], groups[1:]
    for row, queue in enumerate(queues):
        rules[row, STRICT] = queue.strict
        rules[row, WITHIN] = queue.within
        rules[row, RECLAIM_POLICY] = queue.reclaim
        rules[row, BORROW_WITHIN] = queue.borrow_within
        rules[row, THRESHOLD] = FAR if queue.threshold is None else queue.threshold
        rules[row, NEXT_WHEN_BORROW] = queue.next_when_borrow
        rules[row, NEXT_WHEN_PREEMPT] = queue.next_when_preempt
        rules[row, PREFERENCE] = queue.preference
    return rules


def _quotas(nodes: Sequence[Queue | Cohort], columns: Mapping[tuple[str, str], int]) -> Quotas:
    made = table(Quotas, len(nodes), len(columns))
    made.borrowing[:] = FAR
    made.lending[:] = FAR
    for row, node in enumerate(nodes):
        for group in node.groups:
            for pair, given in group.quotas().items():
                made.nominal[row, columns[pair]] = given.nominal
                if given.borrowing is not None:
                    made.borrowing[row, columns[pair]] = given.borrowing
                if given.lending is not None:
                    made.lending[row, columns[pair]] = given.lending
    return made


def _check_sums(nodes: Sequence[Queue | Cohort]) -> None:
    """Refuse quotas whose sums would not fit the columns."""
    total = 0
    for node in nodes:
        for group in node.groups:
            for given in group.quotas().values():
                total += given.nominal + (given.borrowing or 0) + (given.lending or 0)
    if total >= FAR // 4:
        raise ValueError("quotas and limits add up to more than can be counted; use smaller ones")


def compile_tree(tree: QueueTree) -> Compiled:
    """Turn queues and cohorts into columns.

    Raises
    ------
    ValueError
        When cohorts form a circle or quotas are too large to be added.
    """
    cohorts = _ordered_cohorts(tree)
    nodes: list[Queue | Cohort] = [*tree.queues, *cohorts]
    _check_sums(nodes)
    resources = {name: row for row, name in enumerate(tree.resources)}
    pairs = sorted({pair for node in nodes for group in node.groups for pair in group.quotas()})
    columns = {pair: row for row, pair in enumerate(pairs)}
    flavors = {name: row for row, name in enumerate(sorted({flavor for flavor, _ in pairs}))}
    compiled = QuotaTree(
        nodes=_node_rows(nodes, _parents(tree, cohorts), len(tree.queues)),
        quota=_quotas(nodes, columns),
        lendable=np.zeros((len(nodes), len(resources)), np.int64),
        resource=np.array([resources[resource] for _, resource in pairs], np.int64),
    )
    settle_tree(compiled)
    groups = [group for queue in tree.queues for group in queue.groups]
    choices = [(group, name) for group in groups for name, _ in group.flavors]
    choice_column = np.full((len(choices), len(resources)), NONE)
    for row, (group, name) in enumerate(choices):
        for resource in group.resources:
            choice_column[row, resources[resource]] = columns[name, resource]
    return Compiled(
        tree=compiled,
        rules=_rules(tree.queues),
        choice_first=ends([len(group.flavors) for group in groups]),
        choice_flavor=np.array([flavors[name] for _, name in choices], np.int64),
        choice_column=choice_column,
        most_groups=max([len(queue.groups) for queue in tree.queues] + [1]),
        most_flavors=max([len(group.flavors) for group in groups] + [1]),
        node_names=tuple(node.name for node in nodes),
        columns=tuple(pairs),
        flavors=tuple(flavors),
    )


def ends(sizes: Sequence[int] | Ints) -> Ints:
    """First places of rows that lie one behind the other, and the end of the last."""
    return np.concatenate(([0], np.cumsum(np.asarray(sizes, np.int64)))).astype(np.int64)
