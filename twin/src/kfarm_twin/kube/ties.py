"""What pods have to do with each other: counters per topology domain, and lists of them by class.

A counter group counts, in each domain of a topology key, pods that a selector matches, or the
weights of terms that pods there carry. Binding a pod moves the groups of its class by fixed
amounts, so the plugins PodTopologySpread and InterPodAffinity read numbers instead of looking at
all pods.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.kube.columns import NodeColumns, blocks
from kfarm_twin.kube.objects import Cluster
from kfarm_twin.kube.podspec import HOSTNAME, PodClass, Spread, Term
from kfarm_twin.kube.profile import Profile
from kfarm_twin.kube.selectors import Selector, selects
from kfarm_twin.policy import kube_columns as k

LABEL, OR_EMPTY, ITSELF = range(3)
"""How a topology key makes domains: by value; nodes without it form one too; each node its own."""
ALL: frozenset[str] | None = None
"""All namespaces."""


class Key(NamedTuple):
    """A topology key and how it makes domains."""

    name: str
    mode: int


class Match(NamedTuple):
    """Pods of some namespaces that all selectors match; for spreading, without those that leave."""

    parts: tuple[tuple[frozenset[str] | None, Selector], ...]
    staying: bool


class Group(NamedTuple):
    """A counter group: what is counted (a match, or the carriers of a term), where."""

    match: Match | None
    carried: tuple[frozenset[str] | None, Selector, str, bool] | None
    key: Key
    eligible: int


class NodeSets:
    """Sets of nodes, each kept once."""

    def __init__(self, columns: NodeColumns) -> None:
        self.columns = columns
        self._rows: list[NDArray[np.uint8]] = []
        self._known: dict[object, int] = {}
        self._affinity: dict[object, NDArray[np.uint8]] = {}

    def affinity(self, c: PodClass) -> NDArray[np.uint8]:
        """Nodes that node selector and required affinity of a class take [N]."""
        key = (c.node_selector, c.required)
        known = self._affinity.get(key)
        if known is None:
            mask = self.columns.all_of(c.node_selector)
            if c.required is not None:
                mask &= self.columns.any_of(c.required)
            known = self._affinity[key] = mask.astype(np.uint8)
        return known

    def counting(self, c: PodClass, constraint: Spread, keys: tuple[str, ...]) -> int:
        """Number of the set of nodes on which a constraint counts pods, NONE for all."""
        honors = (c.node_selector, c.required) if constraint.honor_affinity else None
        if honors == ((), None):
            honors = None
        tolerated = c.tolerations if constraint.honor_taints else None
        key = (honors, tolerated, keys)
        if key not in self._known:
            mask = np.ones(len(self.columns.nodes), np.uint8)
            if honors is not None:
                mask &= self.affinity(c)
            for name in keys:
                mask &= (self.columns.codes(name)[0] != k.NONE).astype(np.uint8)
            if tolerated is not None:
                free = [not blocks(tolerated, node.taints) for node in self.columns.nodes]
                mask &= np.array(free, np.uint8)
            self._known[key] = k.NONE if mask.all() else len(self._rows)
            if self._known[key] != k.NONE:
                self._rows.append(mask)
        return self._known[key]

    def table(self) -> NDArray[np.uint8]:
        """All sets [M, N]."""
        if not self._rows:
            return np.zeros((1, len(self.columns.nodes)), np.uint8)
        return np.stack(self._rows)

    def row(self, number: int) -> NDArray[np.uint8]:
        """Members of a set [N]."""
        if number == k.NONE:
            return np.ones(len(self.columns.nodes), np.uint8)
        return self._rows[number]


class Ties:
    """Builds groups, keys and lists of all classes."""

    def __init__(
        self,
        classes: Sequence[PodClass],
        columns: NodeColumns,
        sets: NodeSets,
        cluster: Cluster,
        profile: Profile,
    ) -> None:
        self.classes, self.columns, self.sets = classes, columns, sets
        self.cluster, self.profile = cluster, profile
        self.groups: dict[Group, int] = {}
        self.keys: dict[Key, int] = {}
        self.lists: list[list[list[tuple[int, ...]]]] = [
            [[] for _ in range(k.LISTS)] for _ in classes
        ]
        self._matching: dict[object, frozenset[int]] = {}
        self._who = _Who(classes)
        self._namespaces = sorted({c.namespace for c in classes} | set(cluster.namespaces))
        for index, c in enumerate(classes):
            self._spread(index, c)
            self._own_terms(index, c)
        self._carried()
        self._adds()

    def put(self, c: int, kind: int, *entry: int) -> None:
        """Add an entry to a list of a class."""
        self.lists[c][kind].append(entry)

    def key(self, name: str, mode: int = LABEL) -> int:
        """Number of a topology key."""
        return self.keys.setdefault(Key(name, mode), len(self.keys))

    def group(self, group: Group) -> int:
        """Number of a group."""
        self.key(*group.key)
        return self.groups.setdefault(group, len(self.groups))

    # PodTopologySpread

    def _spread(self, index: int, c: PodClass) -> None:
        hard = [s for s in c.spread if s.hard]
        soft = [s for s in c.spread if not s.hard]
        keys = tuple(sorted({s.key for s in hard}))
        for s in hard:
            match = self._spread_match(c, s)
            group = Group(match, None, Key(s.key, LABEL), self.sets.counting(c, s, keys))
            number, few = self.group(group), self._domains_of(group) < s.min_domains
            own = selects(s.selector, dict(c.labels))
            self.put(index, k.HARD, number, self.key(s.key), s.max_skew, int(few), int(own))
        needs_all = not (c.spread_is_default and self.profile.spread_is_system)
        keys = tuple(sorted({s.key for s in soft})) if needs_all else ()
        for s in soft:
            hostname = s.key == HOSTNAME
            mode = ITSELF if hostname else (LABEL if needs_all else OR_EMPTY)
            eligible = k.NONE if hostname else self.sets.counting(c, s, keys)
            group = Group(self._spread_match(c, s), None, Key(s.key, mode), eligible)
            entry = (self.group(group), self.key(s.key, mode), s.max_skew, self.key(s.key))
            self.put(index, k.SOFT, *entry, int(hostname))

    def _spread_match(self, c: PodClass, s: Spread) -> Match:
        """What a constraint counts; an empty selector counts nothing (countPodsMatchSelector)."""
        selector = None if s.selector == () else s.selector
        return Match(((frozenset((c.namespace,)), selector),), True)

    def _domains_of(self, group: Group) -> int:
        codes = self._domain_codes(group.key)
        return len(np.unique(codes[(codes != k.NONE) & (self.sets.row(group.eligible) == 1)]))

    # InterPodAffinity

    def _scope(self, term: Term) -> frozenset[str] | None:
        """Namespaces of a term, ALL for all."""
        if term.namespace_selector == ():
            return ALL
        chosen = [
            name
            for name in self._namespaces
            if selects(term.namespace_selector, self.cluster.namespace_labels(name))
        ]
        return frozenset((*term.namespaces, *chosen))

    def _own_terms(self, index: int, c: PodClass) -> None:
        everywhere = tuple(sorted({(self._scope(t), t.selector) for t in c.affinity}, key=repr))
        for t in c.affinity:
            group = Group(Match(everywhere, False), None, Key(t.key, LABEL), k.NONE)
            self.put(index, k.NEAR, self.group(group), self.key(t.key))
        for t in c.anti_affinity:
            self.put(index, k.APART, self.group(self._matched(t)), self.key(t.key))
        for sign, terms in ((1, c.preferred_affinity), (-1, c.preferred_anti_affinity)):
            for weight, t in terms:
                self.put(index, k.TIES, self.group(self._matched(t)), sign * weight)

    def _matched(self, t: Term) -> Group:
        return Group(Match(((self._scope(t), t.selector),), False), None, Key(t.key, LABEL), k.NONE)

    def _carried(self) -> None:
        """Terms that pods carry with them act on pods that come later."""
        ignore = self.profile.ignore_preferred_of_others
        for index, c in enumerate(self.classes):
            for t in c.anti_affinity:
                self._carry(index, t, 1, keeps_off=True)
            weight = self.profile.hard_affinity_weight
            terms = [(weight, t) for t in c.affinity if weight > 0]
            terms += c.preferred_affinity
            terms += [(-weight, t) for weight, t in c.preferred_anti_affinity]
            for weight, t in terms:
                self._carry(index, t, weight, keeps_off=False)
        for group, number in self.groups.items():
            if group.carried is None:
                continue
            scope, selector, _, keeps_off = group.carried
            for index in self._matching_classes(Match(((scope, selector),), False)):
                c = self.classes[index]
                if keeps_off:
                    self.put(index, k.KEPT_OFF, number)
                elif not ignore or c.preferred_affinity or c.preferred_anti_affinity:
                    self.put(index, k.TIES, number, 1)

    def _carry(self, index: int, t: Term, amount: int, *, keeps_off: bool) -> None:
        carried = (self._scope(t), t.selector, t.key, keeps_off)
        group = Group(None, carried, Key(t.key, LABEL), k.NONE)
        self.put(index, k.ADDS, self.group(group), amount)

    def matches_own_affinity(self, index: int) -> bool:
        """Whether a class matches all its own required terms."""
        c = self.classes[index]
        return bool(c.affinity) and all(
            self._in_scope(self._scope(t), c) and selects(t.selector, dict(c.labels))
            for t in c.affinity
        )

    @staticmethod
    def _in_scope(scope: frozenset[str] | None, c: PodClass) -> bool:
        return scope is None or c.namespace in scope

    def _matching_classes(self, match: Match) -> frozenset[int]:
        known = self._matching.get(match)
        if known is None:
            sets = [self._who.matching(scope, selector) for scope, selector in match.parts]
            known = frozenset.intersection(*sets) if sets else frozenset()
            if match.staying:
                known = frozenset(i for i in known if not self.classes[i].terminating)
            self._matching[match] = known
        return known

    def _adds(self) -> None:
        for group, number in self.groups.items():
            if group.match is not None:
                for index in self._matching_classes(group.match):
                    self.put(index, k.ADDS, number, 1)

    # Tables

    def _domain_codes(self, key: Key) -> NDArray[np.int32]:
        codes = self.columns.codes(key.name)[0]
        if key.mode == ITSELF:
            own = np.arange(len(codes), dtype=np.int32)
            return np.where(codes == k.NONE, np.int32(k.NONE), own)
        if key.mode == OR_EMPTY:
            values = self.columns.codes(key.name)[1]
            return np.where(codes == k.NONE, np.int32(values.get("", len(values))), codes)
        return codes

    def domains(self) -> NDArray[np.int32]:
        """Domain of each node by key [K, N]."""
        rows = [self._domain_codes(key) for key in self.keys]
        if not rows:
            return np.full((1, len(self.columns.nodes)), k.NONE, np.int32)
        return np.ascontiguousarray(np.stack(rows), np.int32)

    def finish(self) -> tuple[k.Lists, k.Groups]:
        """Lists of all classes and the groups."""
        start = np.zeros((len(self.classes), k.LISTS + 1), np.int64)
        entries: list[tuple[int, ...]] = []
        for index, lists in enumerate(self.lists):
            for kind, rows in enumerate(lists):
                start[index, kind] = len(entries)
                entries += rows
            start[index, k.LISTS] = len(entries)
        entry = np.zeros((max(len(entries), 1), k.ENTRY), np.int64)
        for number, row in enumerate(entries):
            entry[number, : len(row)] = row
        return k.Lists(start, entry), self._groups()

    def _groups(self) -> k.Groups:
        first, sizes, present, total = [], [], [np.zeros(0, np.uint8)], 0
        for group in self.groups:
            codes = self._domain_codes(group.key)
            size = int(codes.max(initial=-1)) + 1
            seen = np.zeros(size, np.uint8)
            seen[codes[(codes != k.NONE) & (self.sets.row(group.eligible) == 1)]] = 1
            first.append(total)
            total += size
            sizes.append(size)
            present.append(seen)
        return k.Groups(
            start=np.array(first, np.int64),
            key=np.array([self.keys[group.key] for group in self.groups], np.int64),
            eligible=np.array([group.eligible for group in self.groups], np.int64),
            domains=np.array(sizes, np.int64),
            present=np.concatenate(present),
        )


class _Who:
    """Finds the classes that a selector matches, by an index of labels."""

    def __init__(self, classes: Sequence[PodClass]) -> None:
        self.classes = classes
        self._labels = [dict(c.labels) for c in classes]
        self._with: dict[tuple[str, str], list[int]] = {}
        for index, c in enumerate(classes):
            for label in c.labels:
                self._with.setdefault(label, []).append(index)

    def matching(self, scope: frozenset[str] | None, selector: Selector) -> frozenset[int]:
        """Classes of some namespaces that a selector matches."""
        if selector is None:
            return frozenset()
        candidates: Sequence[int] = range(len(self.classes))
        for r in selector:
            if r.operator == "In" and len(r.values) == 1:
                found = self._with.get((r.key, r.values[0]), [])
                candidates = found if len(found) < len(candidates) else candidates
        return frozenset(
            i
            for i in candidates
            if (scope is None or self.classes[i].namespace in scope)
            and selects(selector, self._labels[i])
        )
