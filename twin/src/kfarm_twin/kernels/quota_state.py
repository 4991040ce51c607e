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
GROUPS_FROM, GROUPS_TO, KINDS_FROM = 8, 9, 10
RULES = 11
"""Places of `QuotaModel.rules`: the policies of a queue, its groups and kinds of jobs."""

FAIR, FIRST_STRATEGY, SECOND_STRATEGY, EVICTION_NS = 0, 1, 2, 3
REQUEUE_NS, KEEP_PROGRESS, CYCLES_PER_INSTANT, UNTIL_NS, MOST_FLAVORS = 4, 5, 6, 7, 8
MOST_PREEMPTIONS = 9
OPTIONS = 10
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
    """What the driver knows of jobs [J]."""

    submit_ns: Ints
    run_ns: Ints
    queue: Ints
    priority: Ints
    order: Ints  # place by priority (high first), submission and rank
    rank: Ints  # breaks what ties remain; as the UID in Kueue
    kind: Ints
    models: Ints  # row of QuotaModel.allowed


class QuotaModel(NamedTuple):
    """All that is given."""

    tree: QuotaTree
    rules: Ints  # [C, RULES]
    choice_first: Ints  # [G + 1] choices of a group
    choice_flavor: Ints  # [H]
    choice_column: Ints  # [H, Q] column of a resource, -1 where the group does not cover it
    allowed: Ints  # [M, flavors] 1: a job of these models may use the flavor
    optional: Ints  # [Q] 1: a queue that does not cover the resource does not count it
    kind_first: Ints  # [K + 1] room of a kind in Lists.job_heap
    options: Ints  # [OPTIONS]
    need: Ints  # [J, Q] what a job asks for
    jobs: QuotaJobs


class JobState(NamedTuple):
    """Jobs as of now [J]."""

    phase: Ints
    start_ns: Ints  # of the last run
    first_ns: Ints  # first start
    end_ns: Ints
    left_ns: Ints  # run time that is left
    preemptions: Ints
    tried_cycle: Ints  # cycle of the root in which QuotaState.tried was written
    tried_generation: Ints
    next_running: Ints  # holders of quota of a queue, a doubly linked list
    prev_running: Ints
    place: Ints  # in the heap of the kind, -1 when not waiting
    group: Ints  # scratch: variant of a candidate for preemption
    top: Ints  # scratch: cohort up to which a candidate's have to borrow; or the next candidate
    doomed: Ints  # last cycle in which the job was a target


class QueueState(NamedTuple):
    """Queues as of now [C]."""

    kinds: Ints  # size of the heap of kinds that are not parked
    first_parked: Ints
    sticky: Ints  # job that preempts and goes first, or -1
    generation: Ints  # counts what may have made room
    first_running: Ints
    bucket: Ints  # scratch: first candidate for preemption


class KindState(NamedTuple):
    """Kinds of jobs as of now [K]."""

    heap_size: Ints  # jobs that wait
    kind_heap: Ints  # slices by queue, ordered by the kinds' first jobs
    kind_place: Ints  # in kind_heap, or -1
    parked: Ints  # 1: tried and inadmissible
    next_parked: Ints


class NodeState(NamedTuple):
    """Nodes of the tree as of now [N]; the first three speak of roots."""

    cycle: Ints  # cycles run
    dirty: Ints  # 1: something changed in the tree
    dirty_roots: Ints  # list of them
    pruned: Ints  # scratch: yields no more candidates
    on_path: Ints  # scratch: above the preempting queue
    winner: Ints  # scratch: entry that leads below the node, or -1
    endless: Ints  # scratch: the node's share is infinite
    over: Ints  # scratch: the node would borrow what the winner asks for
    share: Floats  # scratch


class Timers(NamedTuple):
    """One timer per job and, behind them, one per root [J + N]; a binary heap of them."""

    time_ns: Ints
    heap: Ints
    place: Ints  # -1: not set


class Book(NamedTuple):
    """Usage by node and column [N, F], and counts of the run [COUNTS]."""

    usage: Ints
    clear: Ints  # as usage, without those who are being preempted in this cycle
    counts: Ints


DIRTY, ENTRIES, CYCLES, LOGGED, NOW_NS, ARRIVED, POOL, SET_TIMERS = 0, 1, 2, 3, 4, 5, 6, 7
PREEMPTIONS, MAY_BORROW, FOUND, AHEAD, SPLIT = 8, 9, 10, 11, 12
COUNTS = 13
"""Places of Book.counts. The last four are scratch: whether the preemptor may borrow, candidates,
whether the preemptor has the advantage over them, whether `clear` differs from `usage`."""


class Entries(NamedTuple):
    """Heads of a cycle [C]."""

    job: Ints
    mode: Ints
    height: Ints  # borrowing height
    first_target: Ints  # place in Scratch.pool
    targets: Ints
    outcome: Ints
    order: Ints  # entries in the order of processing


class Uses(NamedTuple):
    """What the heads of a cycle would use [C, Q]."""

    column: Ints  # or -1
    preempts: Ints  # 1: needs preemption
    added: Ints  # usage counted in this cycle


class Lists(NamedTuple):
    """Lists of jobs [J]."""

    job_heap: Ints  # slices by kind, ordered by QuotaJobs.order
    candidates: Ints
    targets: Ints
    retry: Ints


class Scratch(NamedTuple):
    """Places to work in; their contents mean nothing between calls."""

    pool: Ints  # targets of all entries
    ask: Ints  # [3, Q] column, amount, needs preemption: what preemption is to make room for
    mode: Ints  # [Q]
    left: Ints  # [Q]
    more: Ints  # [F]


class QuotaLog(NamedTuple):
    """What happened; Book.counts[LOGGED] counts on past its end."""

    time_ns: Ints
    kind: Ints
    job: Ints
    other: Ints


class QuotaState(NamedTuple):
    """All that a run writes."""

    jobs: JobState
    took: Ints  # [J, Q] column that each resource was taken from
    tried: Ints  # [J, most groups of a queue] last flavor looked at, -1: from the first
    queues: QueueState
    kinds: KindState
    nodes: NodeState
    timers: Timers
    book: Book
    entries: Entries
    uses: Uses
    entry_tried: Ints  # [C, most groups]
    lists: Lists
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
    for resource in range(model.need.shape[1]):
        column = state.took[job, resource]
        if column != NONE:
            amount = model.need[job, resource]
            add_usage(model.tree, usage, model.jobs.queue[job], column, amount)


@inner
def drop_job(model: QuotaModel, state: QuotaState, usage: Ints, job: int) -> None:
    """Undo `take_job`."""
    for resource in range(model.need.shape[1]):
        column = state.took[job, resource]
        if column != NONE:
            amount = model.need[job, resource]
            remove_usage(model.tree, usage, model.jobs.queue[job], column, amount)
