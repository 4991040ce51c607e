"""Pods of a Workload of Kueue: who goes when it is evicted, and when their Jobs make others.

A Job that is suspended deletes its pods without counting failures (job_controller.go, deleteJobPods
takes their finalizer off first); once resumed it makes at once what it may. What failed before that
counts as ever, and with podReplacementPolicy ``Failed`` a pod that is not gone holds its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from kfarm_twin.arrays import Floats
from kfarm_twin.drill_cluster import ClusterClock, Departure
from kfarm_twin.drill_delays import BACKOFF_S, JOB_BATCH_S
from kfarm_twin.drill_jobs import backoff_over, retried
from kfarm_twin.drill_requeue import Bools, Requeue

NEVER = np.inf


@dataclass
class Leaver:
    """A pod that goes, [F] each.

    Attributes
    ----------
    requeue
        The one that it goes with, if any.
    moved
        When another node took the place of its own.
    failed
        Whether it was marked for deletion before that, so that its Job counts a failure.
    """

    departure: Departure
    requeue: Requeue
    moved: Floats
    failed: Bools = field(default_factory=lambda: np.zeros(0, bool))

    def __post_init__(self) -> None:
        if not len(self.failed):
            self.failed = np.zeros(len(self.moved), bool)

    @property
    def free(self) -> Floats:
        """From when on its Job may make another."""
        return self.departure.gone if self.departure.when_gone else self.departure.evicted


def join(struck: Sequence[Leaver], clock: ClusterClock) -> None:
    """Which of the pods on nodes that were struck go with the requeue that may concern them.

    Those that wait for another node do, those whose successors are not there yet, and those that
    stand on a node that is not well.
    """
    for one in struck:
        evicted = one.departure.evicted
        one.failed = np.isfinite(evicted) & (evicted <= one.requeue.marked)
    for members in _jobs(struck):
        made = _retried(members, clock)
        for row, one in enumerate(members):
            at, ready = one.requeue.evicted, one.departure.node.ready
            waits = (at < one.moved) & (at < ready)
            late = made[row] >= one.requeue.marked
            one.requeue = one.requeue.where(np.where(one.failed, waits | late, at < ready))
    for one in struck:
        departure = one.departure
        one.failed = np.isfinite(departure.evicted) & (departure.evicted <= one.requeue.marked)
        departure.evicted = np.minimum(departure.evicted, one.requeue.marked)
        clock.leave(departure.node, departure)


def create(pods: Sequence[Leaver], clock: ClusterClock) -> None:
    """Write when Jobs make others: after their back-off, or when they are resumed."""
    for members in _jobs(pods):
        made, anew = _retried(members, clock), _anew(members, clock)
        for row, one in enumerate(members):
            again = np.isfinite(one.requeue.resumed)
            one.departure.created = np.where(again, anew[row], made[row])


def _jobs(pods: Sequence[Leaver]) -> Iterator[list[Leaver]]:
    jobs: dict[str, list[Leaver]] = {}
    for one in pods:
        jobs.setdefault(one.departure.job, []).append(one)
    yield from jobs.values()


def _failures(members: Sequence[Leaver], clock: ClusterClock) -> tuple[Floats, Floats]:
    counted = np.stack([np.where(one.failed, one.free, NEVER) for one in members])
    return counted, clock.whole_seconds(np.stack([one.departure.failed for one in members]))


def _retried(members: Sequence[Leaver], clock: ClusterClock) -> Floats:
    return retried(*_failures(members, clock), members[0].departure.per_index)


def _anew(members: Sequence[Leaver], clock: ClusterClock) -> Floats:
    """[k, F] when a Job that was resumed makes each pod.

    It looks at once, and a batch after any of its pods has gone; whenever it makes one, it makes
    all that it may.
    """
    free = np.stack([one.free for one in members])
    resumed = np.stack([one.requeue.resumed for one in members])
    counted, failed = _failures(members, clock)
    awake = np.maximum(free, np.nextafter(resumed, NEVER))
    looked = np.where(free <= resumed, resumed, _first(free + JOB_BATCH_S, awake))
    if members[0].departure.per_index:
        over = np.where([one.failed for one in members], failed + BACKOFF_S, -NEVER)
        made = np.maximum(looked, over)
        return np.minimum(made, _first(made, np.maximum(awake, over)))
    made = looked.copy()
    known = np.isfinite(counted).any(axis=1)
    for row, begun in enumerate(looked):
        for _ in np.flatnonzero(known):
            over = backoff_over(counted[known], failed[known], made[row])
            made[row] = np.maximum(begun, over)
    return np.minimum(made, _first(made, awake))


def _first(times: Floats, since: Floats) -> Floats:
    """[k, F] the first of a future's times that is not before each of `since`."""
    found = np.full_like(since, NEVER)
    for future in range(since.shape[1]):
        line = np.append(np.sort(times[:, future]), NEVER)
        found[:, future] = line[np.searchsorted(line[:-1], since[:, future])]
    return found
