"""Nodes with shared devices under the farm driver: who holds what, and what will be free.

Pods are placed one by one by the rules of ``policy.sharing``; a gang whole or not at all.
"""

from __future__ import annotations

from typing import NamedTuple

from kfarm_twin._jit import inner
from kfarm_twin.arrays import Ints
from kfarm_twin.kernels.sharing import choose, release, take
from kfarm_twin.policy.sharing_columns import (
    DECISIONS,
    Mix,
    PodTypes,
    ScoreIndex,
    SharedNodes,
    SharedState,
)

TYPE, PODS, FIRST = 0, 1, 2
"""Columns of `Floor.job`: type and number of its pods, first row of them in `held`."""
NODE, GPUS = 0, 1
"""Columns of `Floor.held`: node of a pod (-1: it never had one) and its GPUs as bits."""
SINCE, MOST = 0, 1
"""Columns of `Floor.bound`: how many jobs had ended when a gang of the type last failed, and the
most pods that then found a place: more do not before another job ends."""
MARK, CPU, MEMORY, GPU = 0, 1, 2, 3
"""Columns of `Floor.then`: the node is part of the look ahead where MARK is its number; free CPU,
memory, and GPUs from the last on."""
STAMP = 0
"""Places of `Floor.scalars`: number of the look ahead."""
BOUNDLESS = 1 << 40
"""Room of a node for pods that ask for nothing."""


class Floor(NamedTuple):
    """Nodes, what is free on them, and what jobs hold. J jobs, P types, H pods, D most GPUs."""

    nodes: SharedNodes
    state: SharedState
    types: PodTypes
    mix: Mix
    scores: ScoreIndex
    job: Ints  # [J, 3]
    held: Ints  # [H, 2]
    bound: Ints  # [P, 2]
    then: Ints  # [N, 3 + D] the look ahead
    scalars: Ints  # [1]


@inner
def give_back(floor: Floor, job: int, pods: int) -> None:
    """Release the first `pods` pods of a job; their rows stay to be read."""
    kind, first = floor.job[job, TYPE], floor.job[job, FIRST]
    for row in range(first, first + pods):
        release(
            floor.nodes, floor.state, floor.types, floor.mix, floor.scores, kind,
            floor.held[row, NODE], floor.held[row, GPUS],
        )  # fmt: skip


@inner
def place(floor: Floor, policy: int, seed: int, job: int) -> int:
    """Place pods of a job until one finds no place, and return how many did.

    Unless all did, nothing is taken, and random draws are given back: an attempt that fails leaves
    no trace, so that it does not matter how often one is made.
    """
    kind, pods = floor.job[job, TYPE], floor.job[job, PODS]
    first, draws = floor.job[job, FIRST], floor.state.counts[DECISIONS]
    for pod in range(pods):
        node, gpus = choose(
            policy, seed, floor.nodes, floor.state, floor.types, floor.mix, floor.scores, kind
        )
        if node < 0:
            give_back(floor, job, pod)
            forget(floor, job, pod)
            floor.state.counts[DECISIONS] = draws
            return pod
        floor.held[first + pod, NODE] = node
        floor.held[first + pod, GPUS] = gpus
        take(floor.nodes, floor.state, floor.types, floor.mix, floor.scores, kind, node, gpus)
    return int(pods)


@inner
def forget(floor: Floor, job: int, pods: int) -> None:
    """The first `pods` pods of a job have no place."""
    first = floor.job[job, FIRST]
    for row in range(first, first + pods):
        floor.held[row, NODE] = -1
        floor.held[row, GPUS] = 0


@inner
def _room(floor: Floor, kind: int, node: int) -> int:
    """Pods of a type that a node of the look ahead takes, together.

    Each takes one of them, wherever on the node it goes: a share one of the shares that its GPU
    holds, whole GPUs so many of the idle ones (``free // 1000`` is 1 on these only). So a gang
    finds its places under every policy exactly where the rooms add up to its size.
    """
    types, room = floor.types, BOUNDLESS
    if types.cpu_milli[kind] > 0:
        room = min(room, floor.then[node, CPU] // types.cpu_milli[kind])
    if types.memory_mib[kind] > 0:
        room = min(room, floor.then[node, MEMORY] // types.memory_mib[kind])
    wanted, milli = types.gpus[kind], types.gpu_milli[kind]
    if wanted == 0:
        return int(room)
    if types.allowed[kind, floor.nodes.model[node]] == 0:
        return 0
    parts = 0
    for gpu in range(floor.nodes.gpus[node]):
        parts += floor.then[node, GPU + gpu] // milli
    return int(min(room, parts // wanted))


@inner
def look_ahead(floor: Floor) -> None:
    """Begin a look ahead: it starts from what is free now."""
    floor.scalars[STAMP] += 1


@inner
def free_ahead(floor: Floor, job: int, kind: int) -> int:
    """Free a running job's pods in the look ahead; how much more room there is for a type."""
    mine, first, more = floor.job[job, TYPE], floor.job[job, FIRST], 0
    for row in range(first, first + floor.job[job, PODS]):
        node, gpus = floor.held[row, NODE], floor.held[row, GPUS]
        if floor.then[node, MARK] != floor.scalars[STAMP]:
            floor.then[node, MARK] = floor.scalars[STAMP]
            floor.then[node, CPU] = floor.state.cpu_free[node]
            floor.then[node, MEMORY] = floor.state.memory_free[node]
            for gpu in range(floor.nodes.gpus[node]):
                floor.then[node, GPU + gpu] = floor.state.gpu_free[node, gpu]
        before = _room(floor, kind, node)
        floor.then[node, CPU] += floor.types.cpu_milli[mine]
        floor.then[node, MEMORY] += floor.types.memory_mib[mine]
        for gpu in range(floor.nodes.gpus[node]):
            if (gpus >> gpu) & 1 == 1:
                floor.then[node, GPU + gpu] += floor.types.gpu_milli[mine]
        more += _room(floor, kind, node) - before
    return int(more)
