"""Which node and which GPUs a pod gets: the policies of the FGD paper.

Q. Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation
Gradient Descent" (USENIX ATC'23), with the semantics of its authors' simulator
(hkust-adsl/kubernetes-scheduler-simulator; files named below are in its ``pkg/``). A pod asks for
CPU, memory and either a share of one GPU (`gpu_milli` below 1000), whole GPUs, or none, and may
name GPU models. A node fits when its free CPU and memory suffice (NodeResourcesFit of
kube-scheduler), its model is among those named, and enough GPUs have the share free
(``type/open-gpu-share/cache/gpunodeinfo.go``, AllocateGpuId). Scores are integers, higher is
better; among equal scores the lowest rank is taken. The simulator numbers the nodes at random once
per experiment and takes the lowest name (``simulator/simulator.go``, syncClusterResourceList;
``vendor/.../generic_scheduler.go``, selectHost): a rank drawn once per seed.
"""

from __future__ import annotations

from kfarm_twin._jit import inlined, inner, kernel
from kfarm_twin.arrays import Ints
from kfarm_twin.kernels.rng import uniform
from kfarm_twin.policy.sharing_columns import (
    SCORES,
    WHOLE,
    Mix,
    PodTypes,
    SharedNodes,
    SharedState,
)

RANDOM, FIRST_FIT, BEST_FIT, SPREAD = 0, 1, 2, 3
DOT_PROD, GPU_CLUSTERING, GPU_PACKING, FGD = 4, 5, 6, 7
"""Policy codes."""

UNFIT = -1
"""Score of a node that does not fit."""
DRAW_NODE, DRAW_GPU = 40, 41
"""Purposes of random numbers."""
SPREAD_GPU_WEIGHT = 100
"""CPU [m] that 1/1000 GPU counts as (``plugin/worst_fit_score.go``)."""


@inlined
def fits(nodes: SharedNodes, state: SharedState, types: PodTypes, kind: int, node: int) -> bool:
    """Whether a pod of type `kind` can start on the node now."""
    if state.cpu_free[node] < types.cpu_milli[kind]:
        return False
    if state.memory_free[node] < types.memory_mib[kind]:
        return False
    wanted = types.gpus[kind]
    if wanted == 0:
        return True
    if types.allowed[kind, nodes.model[node]] == 0:
        return False
    milli = types.gpu_milli[kind]
    if state.gpu_sum[node] < wanted * milli:
        return False
    for gpu in range(nodes.gpus[node]):
        if state.gpu_free[node, gpu] >= milli:
            wanted -= 1
            if wanted == 0:
                return True
    return False


@inner
def _best_fit(nodes: SharedNodes, state: SharedState, types: PodTypes, kind: int, node: int) -> int:
    """100 less the mean share of CPU and GPU that would stay free (``plugin/best_fit_score.go``).

    In float64, in the order of the original, and cut to an integer as there: the score is the same
    to the bit on every machine. Its NormalizeScore stretches 0 to 100 and keeps the order.
    """
    gpu = types.gpus[kind] * types.gpu_milli[kind]
    left = 0.0
    left += float(state.cpu_free[node] - types.cpu_milli[kind]) / float(nodes.largest[0]) * 0.5
    left += float(state.gpu_sum[node] - gpu) / float(nodes.largest[1]) * 0.5
    return int((1.0 - left) * float(SCORES))


@inner
def _dot_prod(nodes: SharedNodes, state: SharedState, types: PodTypes, kind: int, node: int) -> int:
    """100 less half the dot product of what is free and asked (``plugin/dot_product_score.go``).

    CPU and GPU relative to the largest node; all GPUs of a node are one dimension (``merge`` and
    ``max``, options of the published runs).
    """
    cpu, gpu = float(nodes.largest[0]), float(nodes.largest[1])
    asked = float(types.gpus[kind] * types.gpu_milli[kind])
    product = 0.0
    product += float(state.cpu_free[node]) / cpu * (float(types.cpu_milli[kind]) / cpu)
    product += float(state.gpu_sum[node]) / gpu * (asked / gpu)
    return int(float(SCORES) * (1.0 - product / 2.0))


@inner
def _gpu_clustering(
    nodes: SharedNodes, state: SharedState, types: PodTypes, kind: int, node: int
) -> int:
    """Pods of one kind together (``plugin/gpu_clustering_score.go``).

    Nodes that hold this kind only come first, then those that hold it among others, then those
    without GPU pods, then the rest; within each, by a quarter of 100, the fuller first.
    """
    affinity = types.kind[kind]
    if affinity < 0:
        return 0
    present = 0
    for other in range(state.kinds.shape[1]):
        if state.kinds[node, other] > 0:
            present += 1
    largest = nodes.largest[1]
    score = SCORES // 4 * (largest - state.gpu_sum[node]) // largest
    if state.kinds[node, affinity] > 0:
        return int(score + SCORES * (3 if present == 1 else 2) // 4)
    return int(score + SCORES // 4) if present == 0 else int(score)


@inner
def _gpu_packing(
    nodes: SharedNodes, state: SharedState, types: PodTypes, kind: int, node: int
) -> int:
    """GPUs in use first, then idle GPUs of nodes in use (``plugin/gpu_packing_score.go``).

    A pod that shares takes the fullest GPU that has room: 100 less a tenth of its free percents,
    at least 50. With idle GPUs of a node in use: 50 less their number, at least 33. On an idle
    node: 33 less its GPUs, at least its GPUs.
    """
    wanted = types.gpus[kind]
    if wanted == 0:
        return 0
    idle, tightest, milli = 0, WHOLE, types.gpu_milli[kind]
    for gpu in range(nodes.gpus[node]):
        free = state.gpu_free[node, gpu]
        if free == WHOLE:
            idle += 1
        if milli <= free < tightest:
            tightest = free
    if idle == nodes.gpus[node]:
        return max(SCORES // 3 - idle, idle)
    if tightest == WHOLE:
        return int(max(SCORES // 2 - wanted, SCORES // 3))
    return int(max(SCORES - tightest * 100 // WHOLE // 10, SCORES // 2))


@inner
def fragment_after(
    mix: Mix,
    model: int,
    state: SharedState,
    node: int,
    cpu_taken: int,
    free: int,
    taken: int,
    gpus: int,
) -> int:
    """Free GPU of a node that pods of the mix could not use, after something is taken.

    The measure of the paper (section 3) as in ``utils/frag.go``, NodeGpuShareFragAmount: for a pod
    of the mix that the node could serve, the GPUs with less free than it asks; for all others,
    pods without GPU among them, all that is free. Weighted by pods, not by their share, so that it
    is exact.

    Parameters
    ----------
    cpu_taken
        CPU that is taken [m].
    free, taken, gpus
        So many GPUs with `free` lose `taken` each [1/1000 GPU].

    Returns
    -------
    int
        Weight times free GPU [1/1000 GPU].
    """
    total = state.gpu_sum[node] - gpus * taken
    cpu = state.cpu_free[node] - cpu_taken
    left = free - taken
    row, end = mix.first[model], mix.first[model + 1]
    lost = mix.never[model] * total
    while row < end and mix.cpu_milli[row] <= cpu:
        level = mix.level[row]
        asked = mix.levels[level]
        able, small = state.above[node, level], state.below[node, level]
        if free >= asked:
            able -= gpus
        else:
            small -= gpus * free
        if left >= asked:
            able += gpus
        else:
            small += gpus * left
        lost += mix.weight[row] * (small if able >= mix.gpus[row] else total)
        row += 1
    return int(lost + total * (mix.rest[row] if row < end else 0))


@inner
def _saving_score(mix: Mix, saved: int) -> int:
    """100 times the sigmoid of the fragment saved [GPU], cut to an integer, by its thresholds."""
    low, high = 0, mix.thresholds.shape[0]
    while low < high:
        middle = (low + high) // 2
        if mix.thresholds[middle] <= saved:
            low = middle + 1
        else:
            high = middle
    return low


@inner
def _seen(free: Ints, gpu: int) -> bool:
    """Whether a GPU before this one has as much free."""
    for other in range(gpu):  # noqa: SIM110 - compiled
        if free[other] == free[gpu]:
            return True
    return False


@inner
def fragment_descent(
    nodes: SharedNodes, state: SharedState, types: PodTypes, mix: Mix, kind: int, node: int
) -> tuple[int, int]:
    """Score of a node by how little its fragment grows, and the GPU to share.

    ``plugin/fgd_score.go``, calculateGpuShareFragExtendScore: 100 times the sigmoid of the fragment
    saved, cut to an integer; a pod that shares takes the first GPU of highest score.
    """
    model, before = nodes.model[node], state.fragment[node]
    cpu, milli, wanted = types.cpu_milli[kind], types.gpu_milli[kind], types.gpus[kind]
    shares = wanted > 0 and milli < WHOLE
    best, chosen = -1, -1
    for gpu in range(nodes.gpus[node] if shares else 1):
        free, taken, gpus = WHOLE, WHOLE, wanted
        if shares:
            free, taken, gpus = state.gpu_free[node, gpu], milli, 1
            if free < milli or _seen(state.gpu_free[node], gpu):
                continue
        after = fragment_after(mix, model, state, node, cpu, free, taken, gpus)
        found = _saving_score(mix, before - after)
        if found > best:
            best, chosen = found, gpu
    return best, chosen


@inlined
def score(
    policy: int,
    nodes: SharedNodes,
    state: SharedState,
    types: PodTypes,
    mix: Mix,
    kind: int,
    node: int,
) -> int:
    """Score of a node for a pod of type `kind`, `UNFIT` where it does not fit.

    RANDOM and FIRST_FIT score all nodes that fit alike: 0. SPREAD is the opposite of packing: most
    free CPU and GPU, 1/1000 GPU counted as 100/1000 CPU as in ``plugin/worst_fit_score.go`` but not
    squeezed into 0 to 100 afterwards.
    """
    if not fits(nodes, state, types, kind, node):
        return UNFIT
    if policy == FGD:
        return fragment_descent(nodes, state, types, mix, kind, node)[0]
    if policy == BEST_FIT:
        return _best_fit(nodes, state, types, kind, node)
    if policy == DOT_PROD:
        return _dot_prod(nodes, state, types, kind, node)
    if policy == GPU_CLUSTERING:
        return _gpu_clustering(nodes, state, types, kind, node)
    if policy == GPU_PACKING:
        return _gpu_packing(nodes, state, types, kind, node)
    if policy == SPREAD:
        gpu = state.gpu_sum[node] - types.gpus[kind] * types.gpu_milli[kind]
        cpu = state.cpu_free[node] - types.cpu_milli[kind]
        return int(cpu + SPREAD_GPU_WEIGHT * gpu)
    return 0


@inner
def _share(
    policy: int, seed: int, nodes: SharedNodes, free: Ints, milli: int, node: int, draw: int
) -> int:
    """The GPU to share (``plugin/open_gpu_share.go``): tightest, loosest, first or by chance."""
    chosen, able = -1, 0
    for gpu in range(nodes.gpus[node]):
        if free[gpu] < milli:
            continue
        able += 1
        if chosen < 0:
            chosen = gpu
        elif policy == SPREAD:
            if free[gpu] > free[chosen]:
                chosen = gpu
        elif policy not in (RANDOM, FIRST_FIT) and free[gpu] < free[chosen]:
            chosen = gpu
    if policy == RANDOM and able > 1:
        place = int(uniform(seed, 0, draw, DRAW_GPU, 0) * able)
        for gpu in range(nodes.gpus[node]):
            if free[gpu] >= milli:
                if place == 0:
                    return gpu
                place -= 1
    return chosen


@kernel
def pick_gpus(
    policy: int,
    seed: int,
    nodes: SharedNodes,
    state: SharedState,
    types: PodTypes,
    mix: Mix,
    kind: int,
    node: int,
    draw: int,
) -> int:
    """GPUs of a fitting node that the pod gets, as bits.

    Whole GPUs are the first that are idle (``type/resource.go``, AllocateExclusiveGpuId). A share
    goes to the tightest GPU that has room (gpuSelMethod ``best``, the default of the published
    runs), with FGD to the one whose fragment grows least, with RANDOM to any, with SPREAD to the
    loosest, with FIRST_FIT to the first.
    """
    wanted, milli = types.gpus[kind], types.gpu_milli[kind]
    if wanted == 0:
        return 0
    if milli < WHOLE:
        if policy == FGD:
            chosen = fragment_descent(nodes, state, types, mix, kind, node)[1]
        else:
            chosen = _share(policy, seed, nodes, state.gpu_free[node], milli, node, draw)
        return 1 << chosen
    bits = 0
    for gpu in range(nodes.gpus[node]):
        if wanted > 0 and state.gpu_free[node, gpu] == WHOLE:
            bits |= 1 << gpu
            wanted -= 1
    return bits
