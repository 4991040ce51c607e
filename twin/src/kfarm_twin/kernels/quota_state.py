"""Columns of the quota driver: what is given, what a run writes, and scratch.

Letters for shapes: C queues, N nodes of the tree (queues, then cohorts), F columns (flavor and
resource), Q resources, G groups of resources, H choices (a flavor of a group), J jobs, K kinds of
jobs (same queue and same request: one is admissible if and only if the others are), E entries of a
cycle (heads of queues).
"""

from __future__ import annotations

from typing import NamedTuple

from kfarm_twin._jit import inner
from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.policy.quota import NONE, QuotaTree, add_usage, remove_usage

STRICT, WITHIN, RECLAIM_POLICY, BORROW_WITHIN = 0, 1, 2, 3
THRESHOLD, NEXT_WHEN_BORROW, NEXT_WHEN_PREEMPT, PREFERENCE = 4, 5, 6, 7
RULES = 8
"""Places of `QuotaModel.rules`: the policies of a queue."""

FAIR, FIRST_STRATEGY, SECOND_STRATEGY, EVICTION_NS = 0, 1, 2, 3
REQUEUE_NS, KEEP_PROGRESS, CYCLES_PER_INSTANT, UNTIL_NS, MOST_FLAVORS = 4, 5, 6, 7, 8
OPTIONS = 9
"""Places of `QuotaModel.options`."""

FINAL_SHARE, INITIAL_SHARE = 0, 1
"""Strategies of fair preemption: LessThanOrEqualToFinalShare, LessThanInitialShare."""

ABSENT, QUEUED, RUNNING, EVICTING, DONE = 0, 1, 2, 3, 4
"""Phases of a job. One that is evicted holds its quota until its pods are gone."""

ADMITTED, PREEMPTED, RELEASED, ENDED = 0, 1, 2, 3
"""Kinds of log entries; `other` of PREEMPTED is the job that preempts."""

FINISHED, LIVELOCK, TOO_MANY_TARGETS = 0, 1, 2
"""How a run ends."""


class QuotaJobs(NamedTuple):
    """What the driver knows of jobs [J]; `need` [J, Q]."""

    submit_ns: Ints
    run_ns: Ints
    queue: Ints
    priority: Ints
    order: Ints  # place by priority (high first), submission and rank
    rank: Ints  # breaks what ties remain; as the UID in Kueue
    kind: Ints
    models: Ints  # row of QuotaModel.allowed
    need: Ints


class QuotaModel(NamedTuple):
    """All that is given."""

    tree: QuotaTree
    rules: Ints  # [C, RULES]
    group_first: Ints  # [C + 1] groups of a queue
    choice_first: Ints  # [G + 1] choices of a group
    choice_flavor: Ints  # [H]
    choice_column: Ints  # [H, Q] column of a resource, -1 where the group does not cover it
    allowed: Ints  # [M, flavors] 1: a job of these models may use the flavor
    optional: Ints  # [Q] 1: a queue that does not cover the resource does not count it
    kind_first: Ints  # [K + 1] room of a kind in QueueState.job_heap
    queue_first: Ints  # [C + 1] kinds of a queue
    root_first: Ints  # [N + 1] places in root_queues
    root_queues: Ints  # [C] queues by root
    root_nodes: Ints  # [N] nodes by root, children before parents
    node_first: Ints  # [N + 1] places in root_nodes
    options: Ints  # [OPTIONS]
    jobs: QuotaJobs


class JobState(NamedTuple):
    """Jobs as of now [J]."""

    phase: Ints
    start_ns: Ints  # of the last run
    first_ns: Ints  # first start
    end_ns: Ints
    left_ns: Ints  # run time that is left
    preemptions: Ints
    took: Ints  # [J, Q] column that each resource was taken from
    tried: Ints  # [J, most groups of a queue] last flavor looked at, -1: from the first
    tried_cycle: Ints
    tried_generation: Ints
    next_running: Ints  # holders of quota of a queue, a doubly linked list
    prev_running: Ints


class QueueState(NamedTuple):
    """Pending jobs: a heap per kind, and per queue a heap of the kinds that are not parked."""

    job_heap: Ints  # [J] slices by kind, ordered by QuotaJobs.order
    job_place: Ints  # [J] or -1
    heap_size: Ints  # [K]
    kind_heap: Ints  # [K] slices by queue, ordered by the kinds' first jobs
    kind_place: Ints  # [K] or -1
    kinds: Ints  # [C] size of the heap of kinds
    parked: Ints  # [K] 1: tried and inadmissible
    next_parked: Ints  # [K]
    first_parked: Ints  # [C]
    sticky: Ints  # [C] job that preempts and goes first, or -1
    generation: Ints  # [C] counts what may have made room
    first_running: Ints  # [C]


class Timers(NamedTuple):
    """One timer per job and, behind them, one per root [J + N]; a binary heap of them."""

    time_ns: Ints
    heap: Ints
    place: Ints  # -1: not set
    size: Ints  # [1]


class Book(NamedTuple):
    """Usage by node and column [N, F], cycles [N], and counts of the run."""

    usage: Ints
    clear: Ints  # as usage, without those who are being preempted in this cycle
    cycle: Ints  # [N] cycles run, by root
    dirty: Ints  # [N] 1: something changed in the tree of this root
    dirty_roots: Ints  # [N]
    counts: Ints  # [COUNTS]


DIRTY, ENTRIES, CYCLES, LOGGED, NOW_NS, ARRIVED, POOL = 0, 1, 2, 3, 4, 5, 6
COUNTS = 7
"""Places of Book.counts."""


class Entries(NamedTuple):
    """Heads of a cycle [E]."""

    job: Ints
    mode: Ints
    height: Ints  # borrowing height
    column: Ints  # [E, Q] or -1
    preempts: Ints  # [E, Q] 1: needs preemption in this resource
    tried: Ints  # [E, most groups]
    first_target: Ints  # place in Scratch.pool
    targets: Ints
    added: Ints  # [E, Q] usage to be taken back after the cycle
    outcome: Ints
    order: Ints  # entries in the order of processing


class Scratch(NamedTuple):
    """Places to work in; their contents mean nothing between calls."""

    candidates: Ints  # [J]
    group: Ints  # [J] group or variant of a candidate
    top: Ints  # [J] cohort up to which a candidate's cohorts have to borrow
    targets: Ints  # [J]
    retry: Ints  # [J]
    pool: Ints  # targets of all entries
    ask: Ints  # [3, Q] column, amount, needs preemption: what preemption is to make room for
    mode: Ints  # [Q]
    more: Ints  # [F]
    left: Ints  # [Q]
    bucket: Ints  # [2, C] candidates of a queue
    pruned: Ints  # [N]
    on_path: Ints  # [N]
    winner: Ints  # [N]
    doomed: Ints  # [J] cycle in which a job is preempted
    flags: Ints  # [2, N] share is endless; borrows on what is asked for
    share: Floats  # [N]


class QuotaLog(NamedTuple):
    """What happened; Book.counts[LOGGED] counts on past its end."""

    time_ns: Ints
    kind: Ints
    job: Ints
    other: Ints


class QuotaState(NamedTuple):
    """All that a run writes."""

    jobs: JobState
    queues: QueueState
    timers: Timers
    book: Book
    entries: Entries
    scratch: Scratch
    log: QuotaLog


@inner
def write_log(state: QuotaState, kind: int, job: int, other: int) -> None:
    """Note an event."""
    counts, log = state.book.counts, state.log
    at = counts[LOGGED]
    if at < log.time_ns.shape[0]:
        log.time_ns[at] = counts[NOW_NS]
        log.kind[at] = kind
        log.job[at] = job
        log.other[at] = other
    counts[LOGGED] = at + 1


@inner
def take_job(model: QuotaModel, state: QuotaState, usage: Ints, job: int) -> None:
    """Count the quota that a job holds."""
    for resource in range(model.jobs.need.shape[1]):
        column = state.jobs.took[job, resource]
        if column != NONE:
            amount = model.jobs.need[job, resource]
            add_usage(model.tree, usage, model.jobs.queue[job], column, amount)


@inner
def drop_job(model: QuotaModel, state: QuotaState, usage: Ints, job: int) -> None:
    """Undo `take_job`."""
    for resource in range(model.jobs.need.shape[1]):
        column = state.jobs.took[job, resource]
        if column != NONE:
            amount = model.jobs.need[job, resource]
            remove_usage(model.tree, usage, model.jobs.queue[job], column, amount)
