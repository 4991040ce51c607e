"""Compile a described cluster and its pods to the columns of `policy.kube_columns`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.arrays import Ints
from kfarm_twin.kube.columns import (
    Images,
    NodeColumns,
    Numbers,
    avoids,
    blocks,
    clash,
    logarithms,
    named_nodes,
    tolerates_unschedulable,
)
from kfarm_twin.kube.objects import Cluster, Pod, with_default_spread
from kfarm_twin.kube.podspec import PodClass, Port, Taint, Toleration
from kfarm_twin.kube.profile import FILTERING, SCORING, STRATEGIES, Profile
from kfarm_twin.kube.requests import CPU, EPHEMERAL, MEMORY, PODS, is_scalar
from kfarm_twin.kube.ties import NodeSets, Ties
from kfarm_twin.policy import kube_columns as k

NONE = k.NONE
Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class Compiled:
    """A model, its state with no pods, and what the numbers stand for.

    Attributes
    ----------
    resources
        Names of the columns of resources.
    of
        Class of each pod by its key.
    conflicts
        Classes whose required affinity names nodes that exclude each other.
    """

    model: k.Model
    state: k.State
    work: k.Work
    cache: k.Cache
    resources: tuple[str, ...]
    of: Mapping[str, int]
    conflicts: frozenset[int]


def compile_cluster(cluster: Cluster, pods: Sequence[Pod], profile: Profile) -> Compiled:
    """Compile.

    Parameters
    ----------
    cluster
        Nodes, bound pods, namespaces, services.
    pods
        The pods to be scheduled.
    """
    return _Compiler(cluster, pods, profile).compile()


class _Rows:
    """Rows over nodes, each made once; the number of its row for each class."""

    def __init__(self, nodes: int) -> None:
        self.number: list[int] = []
        self._nodes = nodes
        self._rows: list[NDArray[np.integer[Any]]] = []
        self._known: dict[Hashable, int] = {None: NONE}

    def add(self, key: Hashable, make: Callable[[], NDArray[np.integer[Any]]]) -> None:
        """The next class has the row of this key; None for no row."""
        if key not in self._known:
            self._known[key] = len(self._rows)
            self._rows.append(make())
        self.number.append(self._known[key])

    def table(self, kind: type[Number]) -> NDArray[Number]:
        """All rows [., N]."""
        if not self._rows:
            return np.zeros((1, self._nodes), kind)
        return np.ascontiguousarray(np.stack(self._rows).astype(kind, copy=False))


class _Compiler:
    """Holds the tables while they grow."""

    def __init__(self, cluster: Cluster, pods: Sequence[Pod], profile: Profile) -> None:
        self.cluster, self.profile = cluster, profile
        self.columns = NodeColumns(cluster.nodes)
        self.count = len(cluster.nodes)
        self.classes: Numbers[PodClass] = Numbers()
        self.number = {
            pod.key: self.classes(with_default_spread(pod, cluster, profile.spread))
            for pod in (*cluster.bound, *cluster.nominated, *pods)
        }
        self.all = list(self.classes.of)
        self.resources = self._resources()
        self.sets = NodeSets(self.columns)
        self.taints: Numbers[tuple[Taint, ...]] = Numbers()
        self.tolerations: Numbers[tuple[Toleration, ...]] = Numbers()

    def compile(self) -> Compiled:
        """Make all tables."""
        ties = Ties(self.all, self.columns, self.sets, self.cluster, self.profile)
        ports = self._ports(ties)
        lists, groups = ties.finish()
        rows = (self._selected(), self._preferred(), self._named(), self._images())
        nodes = self._nodes(ties, rows)
        model = k.Model(nodes, self._classes(ties, nodes, rows), lists, groups, self._profile())
        return Compiled(
            model,
            self._state(groups, ports),
            self._work(model),
            self._cache(),
            self.resources,
            self.number,
            frozenset(i for i, c in enumerate(self.all) if self._conflicts(c)),
        )

    def _nodes(self, ties: Ties, rows: tuple[_Rows, _Rows, _Rows, _Rows]) -> k.Nodes:
        selected, preferred, named, images = rows
        node_taints = [self.taints(node.taints) for node in self.cluster.nodes]
        for c in self.all:
            self.tolerations(c.tolerations)
        return k.Nodes(
            allocatable=self._allocatable(),
            pod_limit=_ints(node.allocatable.get(PODS, 0) for node in self.cluster.nodes),
            unschedulable=_ints(node.unschedulable for node in self.cluster.nodes),
            taints=_ints(node_taints),
            domain=ties.domains(),
            eligible=self.sets.table(),
            selected=selected.table(np.uint8),
            preferred=preferred.table(np.int32),
            named=named.table(np.uint8),
            images=images.table(np.uint8),
            blocked=self._taint_table(blocks).astype(np.uint8),
            avoided=self._taint_table(avoids).astype(np.int32),
        )

    def _classes(
        self, ties: Ties, nodes: k.Nodes, rows: tuple[_Rows, _Rows, _Rows, _Rows]
    ) -> k.Classes:
        selected, preferred, named, images = rows
        requests = [dict(c.asked.requests) for c in self.all]
        counted = [dict(c.asked.counted) for c in self.all]
        return k.Classes(
            request=self._requests(),
            non_zero=_rows([c.asked.non_zero for c in self.all], 2),
            fit_request=_matrix(counted, [name for name, _ in self.profile.resources]),
            balance_request=_matrix(requests, self.profile.balanced),
            tolerations=_ints(self.tolerations(c.tolerations) for c in self.all),
            tolerates_unschedulable=_ints(tolerates_unschedulable(c.tolerations) for c in self.all),
            selected=_ints(selected.number),
            preferred=_ints(preferred.number),
            named=_ints(named.number),
            images=_ints(images.number),
            flags=self._flags(ties, nodes),
        )

    def _resources(self) -> tuple[str, ...]:
        names: Numbers[str] = Numbers()
        for name in (CPU, MEMORY, EPHEMERAL):
            names(name)
        for c in self.all:
            for name, _ in c.asked.requests:
                names(name)
        for name in (*self.profile.balanced, *(r for r, _ in self.profile.resources)):
            names(name)
        return tuple(names.of)

    def _taint_table(
        self, cell: Callable[[tuple[Toleration, ...], tuple[Taint, ...]], int]
    ) -> Ints:
        """One cell for each set of tolerations and set of taints."""
        made = [[cell(row, column) for column in self.taints.of] for row in self.tolerations.of]
        return np.array(made, np.int64).reshape(len(self.tolerations), len(self.taints))

    def _requests(self) -> Ints:
        """What must fit; resources that the profile ignores are left to others."""
        made = _matrix([dict(c.asked.requests) for c in self.all], self.resources)
        for column, name in enumerate(self.resources):
            group = name.partition("/")[0] if "/" in name else ""
            if name in self.profile.ignored or group in self.profile.ignored_groups:
                made[:, column] = 0
        return made

    def _allocatable(self) -> Ints:
        return _matrix([node.allocatable for node in self.cluster.nodes], self.resources)

    def _conflicts(self, c: PodClass) -> bool:
        """Whether the required affinity names nodes and none is left (NodeAffinity PreFilter)."""
        return c.required is not None and named_nodes(c.required) == set()

    def _selected(self) -> _Rows:
        """Nodes that node selector and required affinity take."""
        rows = _Rows(self.count)
        for c in self.all:
            plain = c.required is None and not c.node_selector
            key = None if plain else (c.node_selector, c.required)
            rows.add(key, lambda c=c: self.sets.affinity(c))  # type: ignore[misc]
        return rows

    def _preferred(self) -> _Rows:
        """Weights of preferred affinity that holds."""
        rows = _Rows(self.count)
        for c in self.all:
            rows.add(c.preferred, lambda c=c: self.columns.weights(c.preferred))  # type: ignore[misc]
        return rows

    def _named(self) -> _Rows:
        """Nodes that a required affinity names, where each of its terms names some."""
        rows = _Rows(self.count)
        active = "NodeAffinity" in self.profile.filters
        for c in self.all:
            names = named_nodes(c.required) if active and c.required is not None else None
            key = None if names is None else frozenset(names)
            rows.add(key, lambda key=key: self.columns.named(key or ()))  # type: ignore[misc]
        return rows

    def _images(self) -> _Rows:
        """Scores of images that are there."""
        rows, images = _Rows(self.count), Images(self.cluster.nodes)
        for c in self.all:
            key = (c.images, max(c.containers, 1))
            rows.add(key, lambda key=key: images.scores(*key))  # type: ignore[misc]
        return rows

    def _ports(self, ties: Ties) -> int:
        """Lists of ports and of those that clash with them; the number of ports."""
        ports: Numbers[Port] = Numbers()
        for c in self.all:
            for port in c.ports:
                ports(port)
        everything = list(ports.of.items())
        for index, c in enumerate(self.all):
            for port in c.ports:
                ties.put(index, k.PORTS, ports(port))
            taken = {n for other, n in everything for port in c.ports if clash(port, other)}
            for number in sorted(taken):
                ties.put(index, k.CLASHES, number)
        return len(ports)

    def _flags(self, ties: Ties, nodes: k.Nodes) -> Ints:
        flags = np.zeros((len(self.all), 4), np.int64)
        for index, c in enumerate(self.all):
            requests = dict(c.asked.requests)
            flags[index, 0] = all(requests.get(name, 0) == 0 for name in self.profile.balanced)
            flags[index, 1] = ties.matches_own_affinity(index)
            flags[index, 2] = not (c.spread_is_default and self.profile.spread_is_system)
            even = c.preferred is None and not self.profile.enforced_preferred
            flags[index, 3] = even and not nodes.avoided[self.tolerations(c.tolerations)].any()
        return flags

    def _profile(self) -> k.Profile:
        profile, columns = self.profile, self.columns
        number = {name: i for i, name in enumerate(self.resources)}
        count = self.count
        enforced = np.ones(count, np.uint8)
        if profile.enforced is not None:
            enforced = columns.any_of(profile.enforced).astype(np.uint8)
        preferred = columns.weights(profile.enforced_preferred)
        return k.Profile(
            weight=_ints(profile.weights[SCORING.index(name)] for name in SCORING),
            filters=_ints(name in profile.filters for name in FILTERING),
            strategy=STRATEGIES.index(profile.strategy),
            fit_resource=_ints(number[name] for name, _ in profile.resources),
            fit_weight=_ints(weight for _, weight in profile.resources),
            shape=_rows(profile.shape, 2),
            balance_resource=_ints(number[name] for name in profile.balanced),
            scalar=_ints(is_scalar(name) for name in self.resources),
            enforced=enforced,
            enforced_preferred=preferred,
            has_preferred=int(bool(profile.enforced_preferred)),
            log=logarithms(count),
        )

    def _state(self, groups: k.Groups, ports: int) -> k.State:
        count = self.count
        return k.State(
            requested=np.zeros((count, len(self.resources)), np.int64),
            non_zero=np.zeros((count, 2), np.int64),
            pods=np.zeros(count, np.int64),
            ports=np.zeros((count, ports), np.uint8),
            tally=np.zeros(len(groups.present), np.int32),
            hits=np.zeros(len(groups.start), np.int64),
        )

    def _cache(self) -> k.Cache:
        count = self.count
        rows = max(min(len(self.all), CACHE_CELLS // max(count, 1)), 1)
        return k.Cache(
            owner=np.full(rows, NONE, np.int64),
            at=np.zeros(rows, np.int64),
            part=np.zeros((rows, count), np.int32),
            top=np.zeros((rows, -(-count // k.BLOCK)), np.int32),
            changed=np.zeros(k.LOG, np.int64),
            changes=np.zeros(1, np.int64),
        )

    def _work(self, model: k.Model) -> k.Work:
        count = self.count
        start = model.lists.start
        longest = int((start[:, k.SOFT + 1] - start[:, k.HARD]).max(initial=0))
        return k.Work(
            why=np.zeros(count, np.uint8),
            lacking=np.zeros(count, np.int64),
            score=np.zeros((k.SCORERS, count), np.int32),
            total=np.zeros(count, np.int64),
            least=np.zeros((longest + 1, 3), np.int64),
            seen=np.zeros(int(model.groups.domains.max(initial=0)) + 1, np.int64),
            used=np.zeros(k.SCORERS, np.int64),
        )


CACHE_CELLS = 1 << 24
"""Cells of `Cache.part` at most: 64 MiB."""


def _ints(values: Iterable[int]) -> Ints:
    return np.array(list(values), np.int64).reshape(-1)


def _rows(values: Sequence[Sequence[int]], width: int) -> Ints:
    return np.array(values, np.int64).reshape(-1, width)


def _matrix(rows: Sequence[Mapping[str, int]], names: Sequence[str]) -> Ints:
    made = np.zeros((len(rows), len(names)), np.int64)
    for index, row in enumerate(rows):
        for column, name in enumerate(names):
            made[index, column] = row.get(name, 0)
    return made
