"""Pods on nodes with shared GPUs: `choose`, `take`, `release`, and a loop that fills a cluster.

A node's score changes only when the node does. Every change is written to a log; when a pod type is
asked for, the nodes that changed since it was last asked for are scored again and put into its
tournament tree. So a decision costs a few scores and a walk down the tree, whatever the number of
nodes; only the first decision of a type scores them all, empty nodes of one shape together.
"""

from __future__ import annotations

from kfarm_twin._jit import inlined, inner, kernel
from kfarm_twin.arrays import Ints
from kfarm_twin.kernels.rng import uniform
from kfarm_twin.policy.sharing import (
    DRAW_NODE,
    RANDOM,
    UNFIT,
    fragment_after,
    pick_gpus,
    score,
)
from kfarm_twin.policy.sharing_columns import (
    DECISIONS,
    FRAGMENT,
    LOG_END,
    USED_MILLI,
    Mix,
    PodTypes,
    ScoreIndex,
    SharedNodes,
    SharedState,
)

UNKNOWN = -2
"""Score of a shape that was not computed yet."""
DONE = 0


@inner
def _measure(nodes: SharedNodes, state: SharedState, mix: Mix, node: int) -> None:
    """What follows from a node's free GPUs: sums by level, and its fragment."""
    for level in range(mix.levels.shape[0]):
        asked, able, small = mix.levels[level], 0, 0
        for gpu in range(nodes.gpus[node]):
            free = state.gpu_free[node, gpu]
            if free >= asked:
                able += 1
            else:
                small += free
        state.above[node, level] = able
        state.below[node, level] = small
    fragment = fragment_after(mix, nodes.model[node], state, node, 0, 0, 0, 0)
    state.counts[FRAGMENT] += fragment - state.fragment[node]
    state.fragment[node] = fragment


@kernel
def measure_all(nodes: SharedNodes, state: SharedState, mix: Mix) -> int:
    """Fill in what follows from free resources, for all nodes; returns `DONE`."""
    for node in range(nodes.gpus.shape[0]):
        _measure(nodes, state, mix, node)
    return DONE


@inner
def _leaf(policy: int, found: int) -> int:
    """What the tree holds for a score: for RANDOM whether the node fits."""
    if policy == RANDOM:
        return 0 if found == UNFIT else 1
    return found


@inner
def _join(policy: int, left: int, right: int) -> int:
    return left + right if policy == RANDOM else max(left, right)


@inlined
def _stale(index: ScoreIndex, since: int, scans: bool, step: int) -> int:
    """The node of a step of bringing a tree up to date, or -1 where the step has none."""
    if scans:
        return step if index.changed[step] >= since else -1
    place = since + step
    node = index.log[place % index.log.shape[0]]
    return node if index.changed[node] == place else -1


@inner
def _refresh(
    policy: int,
    nodes: SharedNodes,
    state: SharedState,
    types: PodTypes,
    mix: Mix,
    index: ScoreIndex,
    kind: int,
) -> None:
    """Bring the tree of a type up to date: all nodes at first, later those in the log.

    Where more has changed than the log holds, the nodes are scanned for the time of their last
    change. There is one place that scores, since the rule is compiled into it.
    """
    tree = index.tree[kind]
    leaves, end, since = tree.shape[0] // 2, state.counts[LOG_END], index.read[kind]
    builds = since < 0
    scans = builds or end - since > index.log.shape[0]
    if builds:
        for shape in range(index.scratch.shape[0]):
            index.scratch[shape] = UNKNOWN
        for leaf in range(leaves, 2 * leaves):
            tree[leaf] = _leaf(policy, UNFIT)
    for step in range(nodes.gpus.shape[0] if scans else end - since):
        node = _stale(index, since, scans, step)
        if node < 0:
            continue
        place = leaves + nodes.rank[node]
        fresh = builds and index.changed[node] < 0
        if fresh and index.scratch[nodes.shape[node]] != UNKNOWN:
            tree[place] = _leaf(policy, index.scratch[nodes.shape[node]])
            continue
        found = score(policy, nodes, state, types, mix, kind, node)
        value = _leaf(policy, found)
        if builds:
            tree[place] = value
            if fresh:
                index.scratch[nodes.shape[node]] = found
            continue
        while place > 0 and tree[place] != value:
            tree[place] = value
            place //= 2
            value = _join(policy, tree[2 * place], tree[2 * place + 1])
    if builds:
        for place in range(leaves - 1, 0, -1):
            tree[place] = _join(policy, tree[2 * place], tree[2 * place + 1])
    index.read[kind] = end


@kernel
def choose(
    policy: int,
    seed: int,
    nodes: SharedNodes,
    state: SharedState,
    types: PodTypes,
    mix: Mix,
    index: ScoreIndex,
    kind: int,
) -> tuple[int, int]:
    """Node and GPUs (as bits) for a pod of type `kind`, (-1, 0) where none fits; takes nothing.

    An index belongs to one policy and one state. Each call counts as one decision: RANDOM draws
    anew.
    """
    _refresh(policy, nodes, state, types, mix, index, kind)
    tree = index.tree[kind]
    leaves = tree.shape[0] // 2
    draw = state.counts[DECISIONS]
    state.counts[DECISIONS] += 1
    if tree[1] == _leaf(policy, UNFIT):
        return -1, 0
    place = 1
    if policy == RANDOM:
        skip = int(uniform(seed, 0, draw, DRAW_NODE, 0) * tree[1])
        while place < leaves:
            place *= 2
            if skip >= tree[place]:
                skip -= tree[place]
                place += 1
    else:
        while place < leaves:
            place *= 2
            if tree[place] < tree[place + 1]:
                place += 1
    node = int(nodes.at[place - leaves])
    return node, pick_gpus(policy, seed, nodes, state, types, mix, kind, node, draw)


@inner
def _shift(
    nodes: SharedNodes,
    state: SharedState,
    types: PodTypes,
    mix: Mix,
    index: ScoreIndex,
    kind: int,
    node: int,
    bits: int,
    sign: int,
) -> None:
    """Take (1) or give back (-1) what a pod asks for."""
    milli = types.gpu_milli[kind]
    state.cpu_free[node] -= sign * types.cpu_milli[kind]
    state.memory_free[node] -= sign * types.memory_mib[kind]
    for gpu in range(nodes.gpus[node]):
        if (bits >> gpu) & 1 == 1:
            state.gpu_free[node, gpu] -= sign * milli
            state.gpu_sum[node] -= sign * milli
            state.counts[USED_MILLI] += sign * milli
    if types.kind[kind] >= 0:
        state.kinds[node, types.kind[kind]] += sign
    _measure(nodes, state, mix, node)
    end = state.counts[LOG_END]
    index.log[end % index.log.shape[0]] = node
    index.changed[node] = end
    state.counts[LOG_END] = end + 1


@kernel
def take(
    nodes: SharedNodes,
    state: SharedState,
    types: PodTypes,
    mix: Mix,
    index: ScoreIndex,
    kind: int,
    node: int,
    bits: int,
) -> int:
    """Start a pod of type `kind` where `choose` said; returns `DONE`."""
    _shift(nodes, state, types, mix, index, kind, node, bits, 1)
    return DONE


@kernel
def release(
    nodes: SharedNodes,
    state: SharedState,
    types: PodTypes,
    mix: Mix,
    index: ScoreIndex,
    kind: int,
    node: int,
    bits: int,
) -> int:
    """End a pod that was taken with the same arguments; returns `DONE`."""
    _shift(nodes, state, types, mix, index, kind, node, bits, -1)
    return DONE


@kernel
def fill(
    policy: int,
    seed: int,
    nodes: SharedNodes,
    state: SharedState,
    types: PodTypes,
    mix: Mix,
    index: ScoreIndex,
    arrivals: Ints,
    out: Ints,
) -> int:
    """Let pods arrive one after the other and stay; a pod that fits nowhere is left out.

    Parameters
    ----------
    arrivals
        [E] pod type of each.
    out
        [E, 4] written after each arrival: its node or -1, its GPUs as bits, GPU in use [1/1000
        GPU], fragment [weight/1000 GPU].

    Returns
    -------
    int
        `DONE`.
    """
    for event in range(arrivals.shape[0]):
        kind = arrivals[event]
        node, bits = choose(policy, seed, nodes, state, types, mix, index, kind)
        if node >= 0:
            _shift(nodes, state, types, mix, index, kind, node, bits, 1)
        out[event, 0] = node
        out[event, 1] = bits
        out[event, 2] = state.counts[USED_MILLI]
        out[event, 3] = state.counts[FRAGMENT]
    return DONE
