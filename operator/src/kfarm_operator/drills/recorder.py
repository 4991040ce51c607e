"""Remembers what the watches bring while drills are on, with the moment at which it came."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kfarm_operator.drills.views import DrillNode, DrillPod, Sighting, SightingKind
from kfarm_operator.drills.workloads import DrillWorkload

Key = tuple[str, str]
REMEMBERED = 20_000


@dataclass
class _Watched:
    uid: str
    farm: tuple[str, str]
    plans: frozenset[str]
    seen: deque[Sighting] = field(default_factory=lambda: deque(maxlen=REMEMBERED))


class Recorder:
    """Sightings by drill; written by the watches' threads, read by reconciles."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._watched: dict[Key, _Watched] = {}
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    def follow(self, key: Key, uid: str, farm: tuple[str, str], plans: frozenset[str]) -> None:
        """Remember what concerns a drill from now on."""
        with self._lock:
            known = self._watched.get(key)
            if known is None or known.uid != uid:
                self._watched[key] = _Watched(uid, farm, plans)

    def forget(self, key: Key) -> None:
        """The drill is over."""
        with self._lock:
            self._watched.pop(key, None)

    def seen(self, key: Key) -> Sequence[Sighting]:
        """What came and was not yet told."""
        with self._lock:
            known = self._watched.get(key)
            return tuple(known.seen) if known else ()

    def told(self, key: Key, last: int) -> None:
        """Everything up to a sighting stands in the status."""
        with self._lock:
            known = self._watched.get(key)
            while known and known.seen and known.seen[0].number <= last:
                known.seen.popleft()

    def node_changed(self, before: DrillNode | None, after: DrillNode | None) -> list[Key]:
        """Take note of a node; returns the drills that this concerns."""
        node = after or before
        if node is None:
            return []
        with self._lock:
            keys = [key for key, one in self._watched.items() if one.farm == node.farm]
            for kind in _node_kinds(before, after):
                self._note(keys, kind, node.name, node=node.name)
        return keys

    def pod_changed(self, before: DrillPod | None, after: DrillPod | None) -> list[Key]:
        """Take note of a pod; returns the drills that this concerns."""
        pod = after or before
        if pod is None or not pod.plan:
            return []
        with self._lock:
            keys = [
                key
                for key, one in self._watched.items()
                if key[0] == pod.namespace and pod.plan in one.plans
            ]
            for kind in _pod_kinds(before, after):
                name = f"{pod.namespace}/{pod.name}"
                self._note(keys, kind, name, node=pod.node, of=pod.of)
        return keys

    def workload_changed(
        self, before: DrillWorkload | None, after: DrillWorkload | None
    ) -> list[Key]:
        """Take note of a Workload of Kueue; returns the drills that this concerns."""
        workload = after or before
        if workload is None:
            return []
        with self._lock:
            keys = [
                key
                for key, one in self._watched.items()
                if key[0] == workload.namespace and workload.plans & one.plans
            ]
            kind = _workload_kind(before, after)
            if kind is not None:
                was = before.hosts if before else frozenset()
                self._note(keys, kind, workload.key, before=was, hosts=workload.hosts,
                           note=workload.evicted)  # fmt: skip
        return keys

    def _note(self, keys: Sequence[Key], kind: SightingKind, name: str, **more: Any) -> None:
        for key in keys:
            self._watched[key].seen.append(
                Sighting(next(self._numbers), self._clock(), kind, name, **more)
            )


def _node_kinds(before: DrillNode | None, after: DrillNode | None) -> list[SightingKind]:
    was, now = before is not None and before.ready == "True", after and after.ready == "True"
    found: list[SightingKind] = []
    if was and not now:
        found.append("NodeDown")
    if now and not was:
        found.append("NodeUp")
    if before and after and (
        set(after.faults) - set(before.faults) or (after.marked and not before.marked)
    ):  # fmt: skip
        found.append("NodeMarked")
    return found


def _pod_kinds(before: DrillPod | None, after: DrillPod | None) -> list[SightingKind]:
    if after is None:
        gone: list[SightingKind] = ["Gone"]
        return gone if before is not None and before.phase != "Succeeded" else []
    found: list[SightingKind] = []
    if before is not None and before.uid != after.uid:
        return ["Gone", *_pod_kinds(None, after)]
    if after.node and not (before and before.node):
        found.append("Bound")
    if after.running and not (before and before.phase == "Running"):
        found.append("Running")
    if after.deleting and not (before and before.deleting):
        found.append("Deleting")
    return found


def _workload_kind(
    before: DrillWorkload | None, after: DrillWorkload | None
) -> SightingKind | None:
    """Whether Kueue took the admission back, gave one, or gave other nodes."""
    if after is None or (before is not None and before.uid != after.uid):
        return None
    if after.evicted:
        return None if before and before.evicted else "Requeued"
    held = before.hosts if before and before.admitted and not before.evicted else frozenset()
    return "Readmitted" if after.admitted and after.hosts != held else None
