"""Labels, taints, ports, images and selectors to columns and masks over all nodes at once."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.kube.objects import Node
from kfarm_twin.kube.podspec import Port, Taint, Toleration, tolerates
from kfarm_twin.kube.selectors import NodeTerm, Requirement, parse_integer
from kfarm_twin.policy.kube_columns import MAX_SCORE, NONE

Mask = NDArray[np.uint8]
Codes = NDArray[np.int32]
T = TypeVar("T", bound=Hashable)

MEBIBYTE = 1 << 20
LEAST_IMAGE, MOST_IMAGE = 23 * MEBIBYTE, 1000 * MEBIBYTE
"""Bounds of ImageLocality: below, and above per container, sizes make no difference."""
UNSCHEDULABLE_TAINT = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")


class Numbers(Generic[T]):
    """Numbers things in the order they come."""

    def __init__(self) -> None:
        self.of: dict[T, int] = {}

    def __call__(self, thing: T) -> int:
        """Number of a thing, a new one if it is new."""
        return self.of.setdefault(thing, len(self.of))

    def __len__(self) -> int:
        return len(self.of)


class NodeColumns:
    """Node labels as columns of codes, made when a key is first asked for."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes
        self.names = {node.name: index for index, node in enumerate(nodes)}
        self._codes: dict[str, tuple[Codes, dict[str, int]]] = {}
        self._terms: dict[NodeTerm, NDArray[np.bool_]] = {}

    def codes(self, key: str) -> tuple[Codes, dict[str, int]]:
        """Code of each node's value of a label [N], NONE without it, and the codes by value."""
        known = self._codes.get(key)
        if known is None:
            values: dict[str, int] = {}
            column = np.full(len(self.nodes), NONE, np.int32)
            for index, node in enumerate(self.nodes):
                value = node.labels.get(key)
                if value is not None:
                    column[index] = values.setdefault(value, len(values))
            known = self._codes[key] = (column, values)
        return known

    def requirement(self, requirement: Requirement) -> NDArray[np.bool_]:
        """Nodes whose labels meet a requirement [N]."""
        key, operator, wanted = requirement
        column, values = self.codes(key)
        if operator in ("Exists", "DoesNotExist"):
            there: NDArray[np.bool_] = column != NONE
            return there if operator == "Exists" else ~there
        if operator in ("Gt", "Lt"):
            bound = parse_integer(wanted[0])
            numbers = {text: parse_integer(text) for text in values}
            met = [
                code
                for text, code in values.items()
                if bound is not None
                and (number := numbers[text]) is not None
                and (number > bound if operator == "Gt" else number < bound)
            ]
        else:
            met = [values[text] for text in wanted if text in values]
        if len(met) == 1:
            found: NDArray[np.bool_] = column == met[0]
        else:
            found = np.isin(column, np.array(met, np.int32))
        return ~found if operator == "NotIn" else found

    def all_of(self, requirements: Iterable[Requirement]) -> NDArray[np.bool_]:
        """Nodes that meet all requirements [N]."""
        mask = np.ones(len(self.nodes), np.bool_)
        for requirement in requirements:
            mask &= self.requirement(requirement)
        return mask

    def term(self, term: NodeTerm) -> NDArray[np.bool_]:
        """Nodes that a node selector term selects [N]."""
        known = self._terms.get(term)
        if known is None:
            known = self.all_of(term.labels)
            for requirement in term.names:
                known &= self.name_in(requirement)
            self._terms[term] = known
        return known

    def name_in(self, requirement: Requirement) -> NDArray[np.bool_]:
        """Nodes whose name meets a requirement [N]."""
        mask = np.zeros(len(self.nodes), np.bool_)
        for name in requirement.values:
            if name in self.names:
                mask[self.names[name]] = True
        return ~mask if requirement.operator == "NotIn" else mask

    def named(self, names: Iterable[str]) -> Mask:
        """Nodes of these names [N]."""
        row = np.zeros(len(self.nodes), np.uint8)
        row[[self.names[name] for name in names if name in self.names]] = 1
        return row

    def any_of(self, terms: Iterable[NodeTerm]) -> NDArray[np.bool_]:
        """Nodes that one of the terms selects [N]."""
        mask = np.zeros(len(self.nodes), np.bool_)
        for term in terms:
            mask |= self.term(term)
        return mask

    def weights(self, preferences: Iterable[tuple[int, NodeTerm]]) -> Codes:
        """Sum of the weights of the terms that select each node [N]."""
        total = np.zeros(len(self.nodes), np.int32)
        for weight, term in preferences:
            total[self.term(term)] += weight
        return total


def named_nodes(terms: Sequence[NodeTerm]) -> set[str] | None:
    """Names outside of which a required affinity has no node, None when it names none.

    NodeAffinity PreFilter: only where each term has ``metadata.name In``.
    """
    names: set[str] = set()
    for term in terms:
        sets = [set(r.values) for r in term.names if r.operator == "In"]
        if not sets:
            return None
        names |= set.intersection(*sets)
    return names if terms else None


def blocks(tolerations: Sequence[Toleration], taints: Sequence[Taint]) -> bool:
    """Whether a taint that keeps pods off is not tolerated."""
    return any(
        taint.effect != "PreferNoSchedule" and not any(tolerates(t, taint) for t in tolerations)
        for taint in taints
    )


def avoids(tolerations: Sequence[Toleration], taints: Sequence[Taint]) -> int:
    """PreferNoSchedule taints that are not tolerated."""
    return sum(
        taint.effect == "PreferNoSchedule" and not any(tolerates(t, taint) for t in tolerations)
        for taint in taints
    )


def tolerates_unschedulable(tolerations: Sequence[Toleration]) -> bool:
    """Whether a pod may go to a node that is marked unschedulable."""
    return any(tolerates(t, UNSCHEDULABLE_TAINT) for t in tolerations)


def clash(one: Port, other: Port) -> bool:
    """Whether two host ports cannot be on one node."""
    everywhere = "0.0.0.0"  # noqa: S104 - as pods write it
    return (one.protocol, one.port) == (other.protocol, other.port) and (
        one.ip == other.ip or everywhere in (one.ip, other.ip)
    )


class Images:
    """Scores of ImageLocality; sizes as the scheduler's cache keeps them: the first node's."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._count = len(nodes)
        self._holders: dict[str, list[int]] = {}
        self._size: dict[str, int] = {}
        for index, node in enumerate(nodes):
            for name, size in node.images:
                self._size.setdefault(name, size)
                self._holders.setdefault(name, []).append(index)

    def scores(self, images: Sequence[str], containers: int) -> Mask:
        """Score of each node for the images of a pod [N]."""
        total = np.zeros(self._count, np.int64)
        for name in images:
            holders = self._holders.get(name)
            if holders:
                share = len(holders) / self._count
                total[holders] += int(float(self._size[name]) * share)
        most = MOST_IMAGE * containers
        bounded = np.clip(total, LEAST_IMAGE, max(most, LEAST_IMAGE))
        scores = MAX_SCORE * (bounded - LEAST_IMAGE) // (most - LEAST_IMAGE)
        return scores.astype(np.uint8)


def logarithms(nodes: int) -> NDArray[np.float64]:
    """Natural logarithms of the indices, 0 for 0."""
    return np.array([0.0] + [math.log(index) for index in range(1, nodes + 4)])
