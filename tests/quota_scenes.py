"""Random queues and jobs, as the twin describes them; loaded by runpy.

Small numbers on purpose: full queues, ties of shares, limits of 0, nested cohorts and every policy
come up within a few jobs.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from kfarm_twin.jobs import Jobs
from kfarm_twin.quota_tree import (
    Cohort,
    Flavor,
    Group,
    Preempt,
    Preference,
    Queue,
    QueueTree,
    Quota,
)

CPU, GPU = "cpu", "example.com/gpu"
MILLI = 1000
SECOND = 10**9
FOREVER = 10**6 * SECOND
SEPARATE = 2


@dataclass
class Job:
    """A gang; `ends` is a run time [s]."""

    queue: int
    priority: int
    pods: int
    cpu: int
    gpu: int
    submit: int
    ends: int | None = None


def _quota(rng: random.Random, most: int, *, parent: bool, cohort: bool = False) -> Quota:
    nominal = rng.randint(0, most)
    borrowing = rng.choice([0, 1, 2, 4]) if parent and rng.random() < 0.35 else None
    lending = None
    if parent and rng.random() < 0.35:
        lending = rng.randint(0, most + 2 if cohort else nominal)
    scaled = (None if limit is None else limit * MILLI for limit in (borrowing, lending))
    return Quota(nominal * MILLI, *scaled)


def _groups(
    rng: random.Random, name: str, style: int, most: int, *, parent: bool, cohort: bool = False
) -> tuple[Group, ...]:
    """One resource, two of one flavor, or two groups; one to three flavors."""
    sets: list[tuple[str, ...]] = [[(CPU,)], [(CPU, GPU)], [(CPU,), (GPU,)]][style]
    groups = []
    for index, resources in enumerate(sets):
        flavors = [f"{name}-{index}{letter}" for letter in "abc"]
        rng.shuffle(flavors)
        groups.append(
            Group(
                resources,
                tuple(
                    (
                        flavor,
                        {r: _quota(rng, most, parent=parent, cohort=cohort) for r in resources},
                    )
                    for flavor in flavors[: rng.choice([1, 1, 2, 3])]
                ),
            )
        )
    return tuple(groups)


def tree_of(
    rng: random.Random, name: str, *, weights: bool = True, steady: bool = False
) -> QueueTree:
    """Two to six queues under up to four cohorts.

    Steady ones have no two groups: with these, Kueue's search for a flavor of the one group may go
    round and round while the other has no room, and time decides where it stands.
    """
    style, cohorts = rng.choice([0, 0, 1, 2]), []
    names = [f"{name}-k{i}" for i in range(rng.choice([1, 1, 2, 3, 4]))]
    for i, cohort in enumerate(names):
        parent = rng.choice([None, *names[:i]]) if i and rng.random() < 0.2 else None
        parent = rng.choice(names[:i]) if i and parent is None else parent
        groups = ()
        if rng.random() < 0.4:
            groups = _groups(rng, name, style, 4, parent=parent is not None, cohort=True)
        cohorts.append(Cohort(cohort, parent, _weight(rng, weights), groups))
    queues = []
    for i in range(rng.randint(2, 6)):
        cohort = None if rng.random() < 0.08 else rng.choice(names)
        reclaim = Preempt(rng.choice([0, 1, 3, 3]))
        next_borrow, next_preempt = rng.random() < 0.4, rng.random() < 0.6
        both = next_borrow and next_preempt
        queues.append(
            Queue(
                f"{name}-q{i}",
                _groups(rng, name, style, 6, parent=cohort is not None),
                cohort,
                _weight(rng, weights),
                strict=rng.random() < 0.4,
                within=Preempt(rng.choice([0, 1, 2])),
                reclaim=reclaim,
                borrow_within=not weights and reclaim != Preempt.NEVER and rng.random() < 0.4,
                threshold=rng.choice([None, 0, 1]),
                next_when_borrow=next_borrow,
                next_when_preempt=next_preempt,
                preference=Preference(int(both and rng.random() < 0.5)),
            )
        )
    if steady and style == SEPARATE:
        return tree_of(rng, name, weights=weights, steady=True)
    flavors = {f for node in (*queues, *cohorts) for g in node.groups for f, _ in g.flavors}
    return QueueTree(tuple(queues), tuple(cohorts), tuple(Flavor(f) for f in sorted(flavors)))


def _weight(rng: random.Random, weights: bool) -> float:
    return rng.choice([1.0, 1.0, 2.0, 0.5, 3.0, 0.0]) if weights else 1.0


def job_of(rng: random.Random, tree: QueueTree, submit: int) -> Job:
    """A gang of one or two pods."""
    queue = rng.randrange(len(tree.queues))
    covered = {r for group in tree.queues[queue].groups for r in group.resources}
    gpu = rng.choice([0, 1, 2]) if GPU in covered else 0
    return Job(
        queue, rng.choice([0, 0, 1, 2]), rng.choice([1, 1, 2]), rng.randint(1, 4), gpu, submit
    )


def jobs_of(listed: list[Job]) -> Jobs:
    """Columns of jobs; those without an end run for ever."""
    count = len(listed)

    def column(values: list[int]) -> np.ndarray:
        return np.array(values, np.int64).reshape(count)

    runs = [FOREVER if job.ends is None else job.ends * SECOND for job in listed]
    return Jobs(
        submit_ns=column([job.submit * SECOND for job in listed]),
        run_ns=column(runs),
        limit_ns=column(runs),
        pods=column([job.pods for job in listed]),
        gpus=column([job.gpu for job in listed]),
        gpu_milli=column([MILLI for _ in listed]),
        cpu_milli=column([job.cpu * MILLI for job in listed]),
        memory_mib=column([0] * count),
        priority=column([job.priority for job in listed]),
        queue=column([job.queue for job in listed]),
        models=column([0] * count),
    )


@dataclass(frozen=True)
class Plain:
    """A job as the plain reference knows it."""

    submit_ns: int
    run_ns: int
    queue: str
    priority: int
    rank: int
    need: dict[str, int]
    shape: tuple[int, ...]


def plain_of(listed: list[Job], tree: QueueTree) -> dict[int, Plain]:
    """Jobs for the plain reference."""
    made = {}
    for row, job in enumerate(listed):
        need = {CPU: job.pods * job.cpu * MILLI, GPU: job.pods * job.gpu * MILLI, "pods": job.pods}
        run = FOREVER if job.ends is None else job.ends * SECOND
        shape = (job.priority, job.pods, job.cpu, job.gpu)
        queue = tree.queues[job.queue].name
        made[row] = Plain(job.submit * SECOND, run, queue, job.priority, row, need, shape)
    return made
