"""Replay of a trace on queues with quotas, with the semantics of Kueue.

Which version, which rules and what is left out: ``docs/cli.md``, section on queues, and
``docs/known-limits.md``. Capacity is quota (counting); nodes are another module's question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.arrays import Ints
from kfarm_twin.jobs import Jobs
from kfarm_twin.kernels import quota_state as columns
from kfarm_twin.kernels.quota_loop import run_quotas
from kfarm_twin.kernels.quota_state import (
    Book,
    Entries,
    JobState,
    KindState,
    Lists,
    NodeState,
    QueueState,
    QuotaJobs,
    QuotaLog,
    QuotaModel,
    QuotaState,
    Scratch,
    Timers,
    Uses,
)
from kfarm_twin.policy.quota import FAR, NONE, table
from kfarm_twin.quota_tree import (
    CPU,
    MEMORY,
    PODS,
    Compiled,
    QueueTree,
    compile_tree,
    firsts,
)

BYTES_PER_MIB = 1 << 20
KUEUE_REQUEUE_NS = 10**9
"""Kueue gives parked workloads another try once a second (0.19.2, requeueBatchPeriod)."""
CYCLES_PER_INSTANT = 10_000
MOST_PREEMPTIONS = 1000
"""A job that is preempted more often counts as one that is for ever."""
_LEAST_POOL = 1 << 14


class QuotaError(ValueError):
    """Jobs and queues that do not go together, or a replay that does not end."""


class Strategy(StrEnum):
    """Preemption strategies of fair sharing, as in Kueue's configuration."""

    FINAL_SHARE = "LessThanOrEqualToFinalShare"
    INITIAL_SHARE = "LessThanInitialShare"


class Event(IntEnum):
    """Kinds of log entries."""

    ADMITTED = columns.ADMITTED
    PREEMPTED = columns.PREEMPTED
    RELEASED = columns.RELEASED
    ENDED = columns.ENDED


@dataclass(frozen=True)
class QuotaOptions:
    """What Kueue has in its configuration, and what the twin adds.

    Attributes
    ----------
    fair_sharing
        Order and preempt by dominant resource share.
    strategies
        Of fair preemption, in order.
    eviction_ns
        From preemption until the pods are gone and their quota is free [ns].
    requeue_ns
        From when something made room until parked jobs are tried again [ns].
    keep_progress
        Whether an evicted job goes on where it was; else it restarts.
    ignore_undeclared
        Whether resources that a queue does not cover are not counted (Kueue's quotaCheckStrategy
        IgnoreUndeclared); else such a job is never admitted.
    device
        Resource that the jobs' devices are; None for the only one of the queues beside cpu,
        memory and pods.
    """

    fair_sharing: bool = False
    strategies: tuple[Strategy, ...] = (Strategy.FINAL_SHARE, Strategy.INITIAL_SHARE)
    eviction_ns: int = 0
    requeue_ns: int = KUEUE_REQUEUE_NS
    keep_progress: bool = False
    ignore_undeclared: bool = False
    device: str | None = None


@dataclass(frozen=True)
class QuotaReplay:
    """What became of the jobs [J]; -1 for what did not happen.

    Attributes
    ----------
    first_ns, start_ns, end_ns
        First admission, admission of the last run, and end [ns].
    preemptions
        How often a job was preempted.
    phase, took
        Where each job is at the end, and the columns of quota it then holds [J, Q].
    log_ns, log_kind, log_job, log_other
        What happened, in order; `log_other` is who preempted.
    cycles
        Scheduling cycles in all.
    """

    first_ns: Ints
    start_ns: Ints
    end_ns: Ints
    preemptions: Ints
    phase: Ints
    took: Ints
    log_ns: Ints
    log_kind: Ints
    log_job: Ints
    log_other: Ints
    cycles: int

    @property
    def pending(self) -> NDArray[np.int64]:
        """Rows of jobs that wait."""
        return np.flatnonzero(self.phase == columns.QUEUED)


def device_of(tree: QueueTree, options: QuotaOptions) -> str | None:
    """Resource that the jobs' devices are.

    Raises
    ------
    QuotaError
        When the queues have several and none is named.
    """
    devices = [name for name in tree.resources if name not in (CPU, MEMORY, PODS)]
    if options.device is not None:
        return options.device
    if len(devices) > 1:
        raise QuotaError(
            f"the queues have quota for {', '.join(devices)}: say which of them the devices of "
            "the trace are"
        )
    return devices[0] if devices else None


def requests(jobs: Jobs, tree: QueueTree, options: QuotaOptions) -> Ints:
    """What each gang asks for [J, Q], in the units of quota."""
    device, names = device_of(tree, options), list(tree.resources)
    if device is not None and device not in names:
        names.append(device)
    need = np.zeros((jobs.submit_ns.shape[0], len(names)), np.int64)
    need[:, names.index(CPU)] = jobs.pods * jobs.cpu_milli
    need[:, names.index(MEMORY)] = jobs.pods * jobs.memory_mib * BYTES_PER_MIB
    need[:, names.index(PODS)] = jobs.pods
    if device is not None:
        need[:, names.index(device)] = jobs.pods * jobs.gpus * jobs.gpu_milli
    return need


def queue_rows(names: Sequence[str], tree: QueueTree) -> Ints:
    """Row of the ClusterQueue of each queue of a trace, by its name or a LocalQueue's.

    Raises
    ------
    QuotaError
        For names that are neither.
    """
    rows = {queue.name: row for row, queue in enumerate(tree.queues)}
    unknown = sorted({n for n in names if n not in rows and n not in tree.local_queues})
    if unknown:
        shown = ", ".join(repr(name) for name in unknown[:5]) + (" …" if len(unknown) > 5 else "")
        raise QuotaError(
            f"queues of the trace without a ClusterQueue: {shown}; declare a ClusterQueue or a "
            "LocalQueue of that name"
        )
    found = [rows[n] if n in rows else rows[tree.local_queues[n]] for n in names]
    return np.array(found, np.int64)


def _kinds(queue: Ints, need: Ints, jobs: Jobs) -> Ints:
    """Jobs of the same queue, priority and shape: one fits exactly when the others do [J]."""
    shape = np.column_stack([queue, jobs.priority, jobs.models, jobs.pods, need])
    _, first, kind = np.unique(shape, axis=0, return_index=True, return_inverse=True)
    by_queue = np.argsort(queue[first], kind="stable")  # kinds of a queue lie together
    place = np.empty_like(by_queue)
    place[by_queue] = np.arange(by_queue.shape[0])
    return place[np.reshape(kind, -1)].astype(np.int64)


def _allowed(tree: QueueTree, names: Sequence[str], models: Sequence[frozenset[str]]) -> Ints:
    """Which flavors jobs of a set of device models may use [M, flavors]."""
    flavors = {flavor.name: flavor for flavor in tree.flavors}
    allowed = np.ones((len(models), len(names)), np.int64)
    for column, name in enumerate(names):
        flavor = flavors.get(name)
        words = {name} | (flavor.words if flavor else frozenset())
        closed = flavor is not None and flavor.closed
        for row, wanted in enumerate(models):
            allowed[row, column] = not closed and (not wanted or bool(wanted & words))
    return allowed


def _job_columns(jobs: Jobs, queue: Ints, need: Ints, rank: Ints) -> QuotaJobs:
    rows = table(QuotaJobs, jobs.submit_ns.shape[0])
    rows.submit_ns[:] = jobs.submit_ns
    rows.run_ns[:] = jobs.run_ns
    rows.queue[:] = queue
    rows.priority[:] = jobs.priority
    by_order = np.lexsort((rank, jobs.submit_ns, -jobs.priority))
    rows.order[by_order] = np.arange(by_order.shape[0])
    rows.rank[:] = rank
    rows.kind[:] = _kinds(queue, need, jobs)
    rows.models[:] = jobs.models
    return rows


def _option_column(compiled: Compiled, options: QuotaOptions, until_ns: int) -> Ints:
    if not options.strategies:
        raise QuotaError("no preemption strategy is given: name one of them, or both")
    chosen = [columns.FINAL_SHARE if s is Strategy.FINAL_SHARE else columns.INITIAL_SHARE
              for s in options.strategies]  # fmt: skip
    if chosen[1:] not in ([], [columns.INITIAL_SHARE]) or len(set(chosen)) < len(chosen):
        raise QuotaError("preemption strategies are one of the two, or the two in Kueue's order")
    made = np.zeros(columns.OPTIONS, np.int64)
    made[columns.FAIR] = options.fair_sharing
    made[columns.FIRST_STRATEGY] = chosen[0]
    made[columns.SECOND_STRATEGY] = chosen[1] if len(chosen) > 1 else NONE
    made[columns.EVICTION_NS] = options.eviction_ns
    made[columns.REQUEUE_NS] = options.requeue_ns
    made[columns.KEEP_PROGRESS] = options.keep_progress
    made[columns.CYCLES_PER_INSTANT] = CYCLES_PER_INSTANT
    made[columns.MOST_PREEMPTIONS] = MOST_PREEMPTIONS
    made[columns.UNTIL_NS] = until_ns
    made[columns.MOST_FLAVORS] = compiled.most_flavors
    return made


def build_model(
    jobs: Jobs,
    tree: QueueTree,
    queues: Sequence[str],
    options: QuotaOptions,
    *,
    models: Sequence[frozenset[str]] = (frozenset(),),
    rank: Ints | None = None,
    until_ns: int = FAR,
) -> tuple[QuotaModel, int]:
    """Columns of a replay, and the largest number of groups of a queue; see `replay_quotas`."""
    compiled = compile_tree(tree)
    need = requests(jobs, tree, options)
    width = need.shape[1] - compiled.choice_column.shape[1]
    choice_column = np.pad(compiled.choice_column, ((0, 0), (0, width)), constant_values=NONE)
    lendable = np.pad(compiled.tree.lendable, ((0, 0), (0, width)))
    queue = queue_rows(queues, tree)[np.asarray(jobs.queue)].astype(np.int64)
    rows = np.arange(jobs.submit_ns.shape[0])
    listed = _job_columns(jobs, queue, need, rows if rank is None else rank)
    kinds = int(listed.kind.max(initial=-1)) + 1
    kind_queue = np.zeros(kinds, np.int64)
    kind_queue[listed.kind] = queue
    rules = compiled.rules.copy()
    rules[:, columns.KINDS_FROM] = firsts(kind_queue, rules.shape[0])[:-1]
    optional = np.full(need.shape[1], int(options.ignore_undeclared), np.int64)
    optional[list(tree.resources).index(PODS)] = 1
    return QuotaModel(
        tree=compiled.tree._replace(lendable=np.ascontiguousarray(lendable)),
        rules=rules,
        choice_first=compiled.choice_first,
        choice_flavor=compiled.choice_flavor,
        choice_column=np.ascontiguousarray(choice_column),
        allowed=_allowed(tree, compiled.flavors, models),
        optional=optional,
        kind_first=firsts(np.array(listed.kind), kinds),
        options=_option_column(compiled, options, until_ns),
        need=need,
        jobs=listed,
    ), compiled.most_groups


def _full(*shape: int) -> Ints:
    return np.full(shape, NONE, np.int64)


def _zeros(*shape: int) -> Ints:
    return np.zeros(shape, np.int64)


def build_state(model: QuotaModel, groups: int, log: int, pool: int) -> QuotaState:
    """Nothing has happened; room for so many log entries and targets."""
    count, resources = model.need.shape
    queues, width = model.rules.shape[0], model.tree.resource.shape[0]
    nodes, kinds = model.tree.lendable.shape[0], model.kind_first.shape[0] - 1
    jobs, listed = table(JobState, count), table(QueueState, queues)
    for column in (jobs.start_ns, jobs.first_ns, jobs.end_ns, jobs.place, jobs.doomed):
        column[:] = NONE
    jobs.left_ns[:] = model.jobs.run_ns
    for column in (listed.first_parked, listed.sticky, listed.first_running):
        column[:] = NONE
    by_kind, timers = table(KindState, kinds), table(Timers, count + nodes)
    by_kind.kind_place[:] = NONE
    timers.place[:] = NONE
    return QuotaState(
        jobs=jobs,
        took=_full(count, resources),
        tried=_full(count, groups),
        queues=listed,
        kinds=by_kind,
        nodes=table(NodeState, nodes),
        timers=timers,
        book=Book(_zeros(nodes, width), _zeros(nodes, width), _zeros(columns.COUNTS)),
        entries=table(Entries, queues),
        uses=table(Uses, queues, resources),
        entry_tried=_full(queues, groups),
        lists=table(Lists, count),
        scratch=Scratch(
            pool=_full(pool),
            ask=_full(3, resources),
            mode=_zeros(resources),
            left=_zeros(resources),
            more=_zeros(width),
        ),
        log=table(QuotaLog, log),
    )


def replay_quotas(
    jobs: Jobs,
    tree: QueueTree,
    queues: Sequence[str],
    options: QuotaOptions | None = None,
    *,
    models: Sequence[frozenset[str]] = (frozenset(),),
    rank: Ints | None = None,
    until_ns: int = FAR,
) -> QuotaReplay:
    """Play a trace on queues with quotas.

    At one instant: all ends and evictions done, then all arrivals, then scheduling cycles until
    nothing changes.

    Parameters
    ----------
    jobs
        By time of submission.
    tree
        The queues.
    queues
        Names of the trace's queues; ClusterQueues or LocalQueues.
    options
        As Kueue's defaults when None.
    models
        Sets of device models, as in `kfarm_twin.jobs.JobTrace`.
    rank
        [J] breaks ties of priority and time; the row of a job when None.
    until_ns
        End of the replay [ns], itself not included.

    Raises
    ------
    QuotaError
        When jobs and queues do not go together, or cycles at one instant do not end.
    """
    model, groups = build_model(
        jobs, tree, queues, options or QuotaOptions(), models=models, rank=rank, until_ns=until_ns
    )
    count = jobs.submit_ns.shape[0]
    log, pool = 4 * count + 64, max(_LEAST_POOL, 4 * count)
    while True:
        state = build_state(model, groups, log, pool)
        status = run_quotas(model, state)
        logged = int(state.book.counts[columns.LOGGED])
        if status == columns.TOO_MANY_TARGETS:
            pool *= 4
        elif status == columns.LIVELOCK:
            raise QuotaError(_livelock(state))
        elif logged > log:
            log = logged
        else:
            return _replay(state, logged)


def _livelock(state: QuotaState) -> str:
    at = int(state.book.counts[columns.NOW_NS]) / 1e9
    return (
        f"scheduling does not come to rest at {at:g} s: jobs preempt one another for ever; "
        "let evictions take time, or change the preemption policies"
    )


def _replay(state: QuotaState, logged: int) -> QuotaReplay:
    return QuotaReplay(
        first_ns=np.array(state.jobs.first_ns),
        start_ns=np.array(state.jobs.start_ns),
        end_ns=np.array(state.jobs.end_ns),
        preemptions=np.array(state.jobs.preemptions),
        phase=np.array(state.jobs.phase),
        took=state.took,
        log_ns=np.array(state.log.time_ns[:logged]),
        log_kind=np.array(state.log.kind[:logged]),
        log_job=np.array(state.log.job[:logged]),
        log_other=np.array(state.log.other[:logged]),
        cycles=int(state.book.counts[columns.CYCLES]),
    )
