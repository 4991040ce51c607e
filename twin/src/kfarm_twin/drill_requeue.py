"""Replaced or requeued: what Kueue does when nodes of one Workload fail, in all futures at once.

Tables are [k, F], a row for each node that was hit; times are seconds after the start of the drill,
infinite: never. The rules are those of Kueue's node controller and scheduler; figures and sources
are in `drill_delays`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.drill_cluster import NodeTimes
from kfarm_twin.drill_delays import KUEUE_BATCH_S, RETRY_BATCH_S

Bools = NDArray[np.bool_]
Kind = TypeVar("Kind", np.bool_, np.float64)
NEVER = np.inf


class Lags(NamedTuple):
    """How long each step takes after a node failed, [F] or [k, F] each [s].

    Attributes
    ----------
    look
        From the failure to the end of the second pass.
    mark, clear
        From eviction until all pods are marked for deletion; from there until it is queued.
    again, resume
        From there to its new admission; from there until its Job makes pods.
    """

    look: Floats
    mark: Floats
    clear: Floats
    again: Floats
    resume: Floats


@dataclass
class Hit:
    """A node of a Workload under one wave.

    Attributes
    ----------
    failing
        When Kueue counts it as failed, [F].
    room
        Whether another node can take its place.
    back
        When nodes are back without which there is no room for the whole Workload, [F].
    """

    node: NodeTimes
    failing: Floats
    lags: Lags
    back: Floats
    room: bool = True


class Requeue(NamedTuple):
    """A Workload that was evicted, had its pods marked, was admitted again and makes pods."""

    evicted: Floats
    marked: Floats
    admitted: Floats
    resumed: Floats

    def where(self, these: Bools) -> Requeue:
        """The same where these hold, else none."""
        return Requeue(*(np.where(these, part, NEVER) for part in self))


class Course:
    """What comes of one Workload.

    Attributes
    ----------
    moved
        When another node took the place of each one.
    requeue
        In the row of the node over which the Workload was evicted.
    """

    def __init__(self, hits: Sequence[Hit]) -> None:
        self.failing = np.stack([hit.failing for hit in hits])
        shape = self.failing.shape
        self.start = _rows([np.float64(hit.node.wave.start) for hit in hits], shape)
        self._down = _rows([np.bool_(hit.node.wave.kind == "Down") for hit in hits], shape)
        self._room = _rows([np.bool_(hit.room) for hit in hits], shape)
        self._missed, self._up, self._ready = (
            np.stack([getattr(hit.node, name) for hit in hits])
            for name in ("missed", "up", "ready")
        )
        self._back = np.stack([hit.back for hit in hits])
        self._lags = Lags(*(np.stack(part) for part in zip(*(h.lags for h in hits), strict=True)))
        self.moved = np.full(shape, NEVER)
        self.requeue = Requeue(*(np.full(shape, NEVER) for _ in Requeue._fields))
        self._futures = np.arange(shape[1])
        self._waiting = np.full(shape[1], -1)
        self._due = np.full(shape[1], NEVER)
        self._last = np.full(shape[1], -NEVER)
        self._busy = np.full(shape[1], -NEVER)
        for row in np.argsort(self.failing, axis=0, kind="stable"):
            self._settle(self._of(self.failing, row))
            self._fail(row)
        self._settle(np.full(shape[1], NEVER))

    def joined(self, these: Bools) -> Requeue:
        """[F] of the first requeue among those rows and futures; infinite where there is none."""
        evicted = np.where(these, self.requeue.evicted, NEVER)
        row = evicted.argmin(axis=0)
        there = np.isfinite(self._of(evicted, row))
        return Requeue(*(self._of(part, row) for part in self.requeue)).where(there)

    def _of(self, table: NDArray[Kind], row: Ints) -> NDArray[Kind]:
        return np.asarray(table[row, self._futures])

    def _fail(self, row: Ints) -> None:
        """A node counts as failed: it waits for another, or is the second one and evicts all.

        Pods that stood there before the Workload was evicted are no longer its own.
        """
        at = np.maximum(self._of(self.failing, row), self._busy)
        counts = np.isfinite(at) & (self._of(self.start, row) >= self._last)
        second = counts & (self._waiting >= 0) & (at < self._of(self._ready, self._waiting))
        self._evict(self._waiting, second, at)
        first = counts & ~second
        self._due = np.where(first, at + self._of(self._lags.look, row), self._due)
        self._waiting = np.where(first, row, self._waiting)

    def _settle(self, until: Floats) -> None:
        """The second pass of the scheduler, where it is due: another node, or eviction."""
        over = (self._waiting >= 0) & (self._due <= until)
        row, due = self._waiting, self._due
        failed = over & (due < self._of(self._ready, row))
        fits = self._of(self._room, row) & ~self._stale(row, due)
        done = failed & fits
        self.moved[row[done], self._futures[done]] = due[done]
        self._waiting = np.where(over & ~(failed & ~fits), -1, self._waiting)
        self._evict(row, failed & ~fits, due)

    def _stale(self, row: Ints, due: Floats) -> Bools:
        """Whether another node of the assignment is not Ready: then no replacement is looked for.

        Kueue keeps only nodes that are Ready (tas_flavor_snapshot.go, IsTopologyAssignmentStale).
        """
        gone = self._down & (self._missed <= due) & (due < self._up)
        gone &= (self.moved > due) & (self.start >= self._last)
        gone[row, self._futures] = False
        return np.asarray(gone.any(axis=0))

    def _evict(self, row: Ints, where: Bools, at: Floats) -> None:
        marked = at + self._of(self._lags.mark, row)
        cleared, back = marked + self._of(self._lags.clear, row), self._of(self._back, row)
        queued = np.where(back <= cleared, cleared, back + KUEUE_BATCH_S + RETRY_BATCH_S)
        admitted = queued + self._of(self._lags.again, row)
        resumed = admitted + self._of(self._lags.resume, row)
        for table, times in zip(self.requeue, (at, marked, admitted, resumed), strict=True):
            table[row[where], self._futures[where]] = times[where]
        self._last = np.where(where, at, self._last)
        self._busy = np.where(where, admitted, self._busy)
        self._waiting = np.where(where, -1, self._waiting)


def _rows(values: Sequence[Kind], shape: tuple[int, ...]) -> NDArray[Kind]:
    return np.broadcast_to(np.array(values)[:, None], shape)
