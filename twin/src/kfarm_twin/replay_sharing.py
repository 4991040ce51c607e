"""The farm driver where pods share devices or nodes differ: columns, bounds and result.

Describe → compile for ``kernels.replay_shared``: jobs become pod types, the trace its own mix of
typical pods (against which fragments are measured), the farm a table of nodes. Among nodes of equal
score the first of the table is taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kfarm_twin.arrays import Ints
from kfarm_twin.disciplines import Placement
from kfarm_twin.jobs import WHOLE_MILLI, Jobs
from kfarm_twin.kernels import columns as at
from kfarm_twin.kernels import shared_floor as hall
from kfarm_twin.kernels.replay import MORE
from kfarm_twin.kernels.replay_shared import run_shared
from kfarm_twin.kernels.rng import uniform
from kfarm_twin.nodes import NodeTable
from kfarm_twin.policy.sharing_columns import MOST_GPUS, Mix, PodTypes, SharedNodes
from kfarm_twin.replay import (
    SLICE,
    Discipline,
    Places,
    Replay,
    ReplayError,
    Shape,
    SpeedChanges,
    result_of,
)
from kfarm_twin.replay_columns import Columns, build
from kfarm_twin.sharing import (
    Need,
    SharePolicy,
    empty_index,
    empty_state,
    mix_columns,
    node_columns,
    pod_kinds,
    popular_of,
)

DRAW_SEED = 103
"""Purpose of the random number that gives each future a seed of its own."""
MOST_SCORES = 1 << 28
"""Most scores kept: pod types times nodes (4 bytes each, twice over)."""
MOST_PODS = 1 << 28
"""Most pods of all jobs together."""
MOST_WEIGHT = 1 << 61
"""Weights times thousandths of devices stay below this, so that their sums fit an int64."""


@dataclass(frozen=True)
class _Pods:
    """What the jobs' pods ask for: type of each job [J], pods of each, columns of the types."""

    of_job: Ints
    count: Ints
    types: PodTypes
    needs: list[Need]


def play(
    jobs: Jobs,
    shape: Shape,
    discipline: Discipline,
    seed: int,
    future: int,
    speeds: SpeedChanges | None,
    samples: int,
    progress: Callable[[int, int], None] | None,
    models: Sequence[frozenset[str]],
) -> Replay:
    """Play a trace to its end; see `kfarm_twin.replay.replay`."""
    discipline.check_sharing()
    counts = replace(discipline, placement=Placement.COUNT)
    columns = build(jobs, shape, counts, seed, future, speeds, samples)
    table = shape.table or NodeTable.uniform(shape.nodes, shape.gpus_per_node)
    _check_jobs(jobs, table, models)
    pods = _pods(jobs, table, models)
    never = columns.never | _never(pods, table, set(columns.never))
    columns.desk.jobs[list(never), at.RUNS] = 0
    floor = _floor(pods, table, never)
    rules = columns.rules._replace(seed=_seed(seed, future))
    policy, first, status = SharePolicy(discipline.placement.value).code, True, MORE
    while status == MORE:
        status = run_shared(rules, columns.plan, columns.desk, floor, policy, first, SLICE)
        first = False
        if progress is not None:
            progress(columns.finished, len(jobs.run_ns))
    return _result(replace(columns, never=never), counts, floor)


def _seed(seed: int, future: int) -> int:
    """The sharing rules know seeds only: each later future has its own."""
    return int(uniform(seed, future, 0, DRAW_SEED, 0) * 2**52) if future else seed


def _result(columns: Columns, discipline: Discipline, floor: hall.Floor) -> Replay:
    found = result_of(columns, discipline)
    total = WHOLE_MILLI * max(int(floor.mix.total[0]), 1)
    first = floor.job[:, hall.FIRST]
    places = Places(
        first=np.append(first, len(floor.held)),
        node=floor.held[:, hall.NODE].copy(),
        gpus=floor.held[:, hall.GPUS].copy(),
    )
    return replace(found, stranded_gpus=found.stranded_gpus / total, places=places)


def _check_jobs(jobs: Jobs, table: NodeTable, models: Sequence[frozenset[str]]) -> None:
    """Refuse what the rules of sharing do not know."""
    takes, milli = jobs.gpus > 0, jobs.gpu_milli
    for wrong, what in (
        (takes & ((milli < 1) | (milli > WHOLE_MILLI)), "gpu_milli is {}; give 1 to 1000"),
        ((jobs.gpus > 1) & (milli < WHOLE_MILLI), "shares of {1} devices each; a share is of one"),
        ((jobs.cpu_milli < 0) | (jobs.memory_mib < 0), "less than no CPU or memory"),
        ((jobs.models < 0) | (jobs.models >= len(models)), "models not told: row {2} of {3}"),
    ):
        if table.model is None and "models" in what:
            continue
        rows = np.flatnonzero(wrong)
        if len(rows):
            row = int(rows[0])
            facts = int(milli[row]), int(jobs.gpus[row]), int(jobs.models[row]), len(models)
            raise ReplayError(f"job {row}: {what.format(*facts)}")
    most = int(table.gpus.max())
    if most > MOST_GPUS:
        raise ReplayError(
            f"{most} devices on a node; with shared devices give at most {MOST_GPUS}, or choose "
            "placement count"
        )


def _pods(jobs: Jobs, table: NodeTable, models: Sequence[frozenset[str]]) -> _Pods:
    """Pods by what they ask for of what the nodes have; what is not counted is not asked for."""
    nothing = np.zeros_like(jobs.gpus)
    rows = np.stack(
        [
            nothing if table.cpu_milli is None else jobs.cpu_milli,
            nothing if table.memory_mib is None else jobs.memory_mib,
            jobs.gpus,
            np.where(jobs.gpus > 0, jobs.gpu_milli, 0),
            nothing if table.model is None else np.where(jobs.gpus > 0, jobs.models, 0),
        ],
        axis=1,
    )
    different, of_job = np.unique(rows, axis=0, return_inverse=True)
    needs = [
        Need(cpu, memory, gpus, milli, () if table.model is None else tuple(sorted(models[row])))
        for cpu, memory, gpus, milli, row in different.tolist()
    ]
    if len(needs) * len(table.gpus) > MOST_SCORES:
        raise ReplayError(
            f"jobs ask for {len(needs):,} different things on {len(table.gpus):,} nodes; at most "
            f"{MOST_SCORES:,} scores are kept: choose placement count"
        )
    kinds = pod_kinds(needs, table.models)
    of_need: Ints = of_job.reshape(-1).astype(np.int64)
    return _Pods(kinds.of_pod[of_need], jobs.pods, kinds.types, needs)


def _never(pods: _Pods, table: NodeTable, known: set[int]) -> dict[int, str]:
    """Jobs that even the empty farm does not take, and why."""
    nodes = _nodes(table)
    _, first, alike = np.unique(nodes.shape, return_index=True, return_counts=True)
    room = np.zeros(len(pods.needs), np.int64)
    for kind in range(len(pods.types.gpus)):
        room[kind] = int((_room(nodes, pods.types, kind, first) * alike).sum())
    wrong = np.flatnonzero(pods.count > room[pods.of_job])
    reasons = {}
    for row in wrong.tolist():
        if row not in known:
            kind = int(pods.of_job[row])
            reasons[row] = (
                f"asks for {int(pods.count[row])} pods of {_asked(pods, kind, table)}; the empty "
                f"farm takes {int(room[kind])}"
            )
    return reasons


def _asked(pods: _Pods, kind: int, table: NodeTable) -> str:
    types = pods.types
    gpus, milli = int(types.gpus[kind]), int(types.gpu_milli[kind])
    parts = [f"{milli}/1000 of a device" if gpus and milli < WHOLE_MILLI else f"{gpus} devices"]
    parts += [f"{int(types.cpu_milli[kind])}m CPU"] if types.cpu_milli[kind] else []
    parts += [f"{int(types.memory_mib[kind])} MiB"] if types.memory_mib[kind] else []
    if gpus and not types.allowed[kind].all():
        names = [name for name, able in zip(table.models, types.allowed[kind], strict=True) if able]
        parts.append(f"model {'|'.join(names) or 'that no node has'}")
    return ", ".join(parts)


def _room(nodes: SharedNodes, types: PodTypes, kind: int, rows: Ints) -> Ints:
    """Pods of a type that nodes take when empty [len(rows)]."""
    room = np.full(len(rows), hall.BOUNDLESS >> 20, dtype=np.int64)
    for have, asked in ((nodes.cpu_milli, types.cpu_milli), (nodes.memory_mib, types.memory_mib)):
        if asked[kind] > 0:
            room = np.minimum(room, have[rows] // asked[kind])
    gpus, milli = int(types.gpus[kind]), int(types.gpu_milli[kind])
    if gpus:
        able = nodes.gpus[rows] * (WHOLE_MILLI // milli) // gpus
        room = np.minimum(room, able) * types.allowed[kind, nodes.model[rows]]
    return room


def _nodes(table: NodeTable) -> SharedNodes:
    nothing = np.zeros(len(table.gpus), np.int64)
    return node_columns(
        nothing if table.cpu_milli is None else table.cpu_milli,
        nothing if table.memory_mib is None else table.memory_mib,
        table.gpus,
        nothing if table.model is None else table.model,
    )


def _mix(pods: _Pods, counted: Ints, table: NodeTable) -> Mix:
    """The trace's own typical pods; each pod of a gang counts."""
    weight: Counter[Need] = Counter()
    by_kind = np.bincount(pods.of_job, weights=counted, minlength=len(pods.needs))
    for kind, count in enumerate(by_kind.tolist()):
        weight[pods.needs[kind]] += int(count)
    total = weight.total() * int(table.gpus.sum()) * WHOLE_MILLI
    if total > MOST_WEIGHT:
        raise ReplayError(
            f"{weight.total():,} pods on {int(table.gpus.sum()):,} devices are too many to measure "
            "fragments exactly; choose placement count"
        )
    return mix_columns(popular_of(+weight), table.models)


def _floor(pods: _Pods, table: NodeTable, never: dict[int, str]) -> hall.Floor:
    """Nodes before the first event."""
    counted = pods.count.copy()
    counted[list(never)] = 0
    total = int(counted.sum())
    if total > MOST_PODS:
        raise ReplayError(f"jobs have {total:,} pods; at most {MOST_PODS:,} are placed one by one")
    nodes, mix = _nodes(table), _mix(pods, counted, table)
    first = np.cumsum(counted) - counted
    state = empty_state(nodes, mix)
    bound = np.full((len(pods.needs), 2), -1, dtype=np.int64)
    held = np.zeros((total, 2), dtype=np.int64)
    held[:, hall.NODE] = -1
    return hall.Floor(
        nodes=nodes,
        state=state,
        types=pods.types,
        mix=mix,
        scores=empty_index(nodes, pods.types),
        job=np.ascontiguousarray(np.stack([pods.of_job, counted, first], axis=1)),
        held=held,
        bound=bound,
        then=np.zeros((len(table.gpus), hall.GPU + state.gpu_free.shape[1]), dtype=np.int64),
        scalars=np.zeros(1, dtype=np.int64),
    )
