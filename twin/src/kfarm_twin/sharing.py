"""Nodes with shared GPUs as columns: what the policies of ``policy.sharing`` work on.

Describe → compile: lists of nodes and pods become `SharedNodes`, `PodTypes` and `Mix`; `Pool` keeps
the state of one cluster under one policy and offers choose, take and release for single pods. The
loops in ``kernels.sharing`` take the same columns, so that drivers may call them from kernels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.kernels import sharing as kernels
from kfarm_twin.kernels.rng import ln
from kfarm_twin.policy import sharing as rules
from kfarm_twin.policy.sharing_columns import (
    COUNTS,
    FRAGMENT,
    MOST_GPUS,
    SCORES,
    USED_MILLI,
    WHOLE,
    Mix,
    PodTypes,
    ScoreIndex,
    SharedNodes,
    SharedState,
)

LARGEST_CPU_MILLI, LARGEST_GPU_MILLI = 128_000, 8_000
"""What scores are relative to, unless a node is larger (MaxSpecCpu and MaxSpecGpu of the FGD
simulator, ``pkg/type/open-gpu-share/utils/const.go``)."""
POPULAR_PERCENT = 95
"""The mix is made of the most frequent pods up to this share (podPopularityThreshold of the
published runs, ``scripts/generate_config_and_run.py``)."""


class SharePolicy(StrEnum):
    """Policies that place pods on nodes with shared GPUs."""

    RANDOM = "random"
    FIRST_FIT = "first-fit"
    BEST_FIT = "best-fit"
    SPREAD = "spread"
    DOT_PROD = "dotprod"
    GPU_CLUSTERING = "gpu-clustering"
    GPU_PACKING = "gpu-packing"
    FGD = "fgd"

    @property
    def code(self) -> int:
        """What kernels know it by."""
        return _CODES[self]

    @classmethod
    def named(cls, name: str) -> SharePolicy | None:
        """The policy of a name in any usual spelling (``BestFit``, ``best_fit``), or None."""
        return _SPELLINGS.get(_plain(name))


_CODES = {
    SharePolicy.RANDOM: rules.RANDOM,
    SharePolicy.FIRST_FIT: rules.FIRST_FIT,
    SharePolicy.BEST_FIT: rules.BEST_FIT,
    SharePolicy.SPREAD: rules.SPREAD,
    SharePolicy.DOT_PROD: rules.DOT_PROD,
    SharePolicy.GPU_CLUSTERING: rules.GPU_CLUSTERING,
    SharePolicy.GPU_PACKING: rules.GPU_PACKING,
    SharePolicy.FGD: rules.FGD,
}


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter not in "-_ ")


_SPELLINGS = {_plain(policy.value): policy for policy in SharePolicy} | {
    "dotproduct": SharePolicy.DOT_PROD,
    "worstfit": SharePolicy.SPREAD,
    "clustering": SharePolicy.GPU_CLUSTERING,
    "packing": SharePolicy.GPU_PACKING,
    "fragmentationgradientdescent": SharePolicy.FGD,
}


class Need(NamedTuple):
    """What a pod asks for.

    `models` are the device models that will do, as written; empty for any.
    """

    cpu_milli: int
    memory_mib: int
    gpus: int
    gpu_milli: int
    models: tuple[str, ...]


@dataclass(frozen=True)
class Kinds:
    """Pods by type.

    Attributes
    ----------
    types
        Columns [P].
    of_pod
        [pods] type of each pod.
    """

    types: PodTypes
    of_pod: Ints


def node_columns(
    cpu_milli: Ints, memory_mib: Ints, gpus: Ints, model: Ints, rank: Ints | None = None
) -> SharedNodes:
    """Nodes as columns.

    Parameters
    ----------
    cpu_milli, memory_mib, gpus, model
        [N] CPU [m], memory [MiB], GPUs and row of models (0 for none) of each node.
    rank
        [N] order among nodes of equal score; that of the list when left out.
    """
    if gpus.size and gpus.max() > MOST_GPUS:
        raise ValueError(f"{gpus.max()} GPUs on one node; at most {MOST_GPUS} are supported")
    ranks = np.arange(gpus.size, dtype=np.int64) if rank is None else _whole(rank)
    rows = np.stack([cpu_milli, memory_mib, gpus, model], axis=1)
    _, shape = np.unique(rows, axis=0, return_inverse=True)
    largest = [
        max(LARGEST_CPU_MILLI, int(cpu_milli.max(initial=0))),
        max(LARGEST_GPU_MILLI, int(gpus.max(initial=0)) * WHOLE),
    ]
    return SharedNodes(
        cpu_milli=_whole(cpu_milli),
        memory_mib=_whole(memory_mib),
        gpus=_whole(gpus),
        model=_whole(model),
        rank=ranks,
        at=_whole(np.argsort(ranks, kind="stable")),
        shape=_whole(shape.reshape(-1)),
        largest=np.array(largest, dtype=np.int64),
    )


def pod_kinds(pods: Sequence[Need], models: Sequence[str]) -> Kinds:
    """Types of pods, in the order in which they first come.

    Parameters
    ----------
    models
        Names of the nodes' models; row 0 stands for none.
    """
    places: dict[tuple[int, int, int, int, frozenset[str]], int] = {}
    of_pod = np.empty(len(pods), dtype=np.int64)
    for pod, need in enumerate(pods):
        key = (*need[:4], frozenset(need.models))
        of_pod[pod] = places.setdefault(key, len(places))
    allowed = [[int(not key[4] or name in key[4]) for name in models] for key in places]
    columns = np.array([key[:4] for key in places], dtype=np.int64).reshape(-1, 4)
    cpu, memory, gpus, milli = (_whole(columns[:, place]) for place in range(4))
    kind = np.where(gpus == 0, -1, np.where(milli < WHOLE, 0, gpus))
    table = np.array(allowed, dtype=np.int64).reshape(len(places), len(models))
    return Kinds(PodTypes(cpu, memory, gpus, milli, _whole(kind), table), of_pod)


def popular(pods: Iterable[Need], percent: int = POPULAR_PERCENT) -> list[tuple[Need, int]]:
    """The pods against which fragments are measured, with how often each comes.

    ``pkg/utils/frag.go``, GetTypicalPods: pods that ask for the same CPU, GPUs and models (memory
    does not count) are one; the most frequent are taken until they make up `percent` of all; of
    equally frequent ones the larger goes first, by CPU, GPU share, number of GPUs, models.
    """
    return popular_of(Counter(pods), percent)


def popular_of(pods: Mapping[Need, int], percent: int = POPULAR_PERCENT) -> list[tuple[Need, int]]:
    """As `popular`, for pods that are counted already."""
    counts: Counter[Need] = Counter()
    for need, count in pods.items():
        counts[need._replace(memory_mib=0)] += count
    ordered = sorted(
        counts.items(),
        key=lambda item: (
            item[1],
            item[0].cpu_milli,
            item[0].gpu_milli,
            item[0].gpus,
            "|".join(item[0].models),
        ),
        reverse=True,
    )
    total, taken = counts.total(), 0
    chosen = []
    for need, count in ordered:
        if 100 * taken >= percent * total:
            break
        chosen.append((need, count))
        taken += count
    return chosen


def mix_columns(mix: Sequence[tuple[Need, int]], models: Sequence[str]) -> Mix:
    """The mix as columns, model by model and by ascending CPU."""
    levels = sorted({need.gpu_milli for need, _ in mix if need.gpus}) or [WHOLE]
    total = sum(weight for _, weight in mix)
    first, rows, rest, never = [0], [], [], []
    for name in models:
        served = sorted(
            (need.cpu_milli, need.gpus, levels.index(need.gpu_milli), weight)
            for need, weight in mix
            if need.gpus and (not need.models or name in need.models)
        )
        weights = [row[3] for row in served]
        rows += served
        rest += [sum(weights[place:]) for place in range(len(weights))]
        never.append(total - sum(weights))
        first.append(len(rows))
    columns = np.array(rows, dtype=np.int64).reshape(-1, 4)
    return Mix(
        first=np.array(first, dtype=np.int64),
        cpu_milli=_whole(columns[:, 0]),
        gpus=_whole(columns[:, 1]),
        level=_whole(columns[:, 2]),
        weight=_whole(columns[:, 3]),
        rest=np.array([*rest, 0], dtype=np.int64),
        never=np.array(never, dtype=np.int64),
        levels=np.array(levels, dtype=np.int64),
        thresholds=_thresholds(total),
        total=np.array([total], dtype=np.int64),
    )


def _thresholds(total: int) -> Ints:
    """Fragment saved [weight/1000 GPU] from which 100 x sigmoid reaches 1, 2, ... 99."""
    steps = np.arange(1, SCORES)
    exact = [ln(float(step)) - ln(float(SCORES - step)) for step in steps]
    return _whole(np.ceil(np.array(exact) * (WHOLE * total)))


def _whole(values: Ints | Floats) -> Ints:
    whole: Ints = np.ascontiguousarray(values, dtype=np.int64)
    return whole


class Pool:
    """Nodes with shared GPUs under one policy.

    Parameters
    ----------
    policy, seed
        The rule, and what its random choices follow from.
    nodes, types, mix
        Columns; `mix` is what fragments are measured against.
    """

    def __init__(
        self, policy: SharePolicy, seed: int, nodes: SharedNodes, types: PodTypes, mix: Mix
    ) -> None:
        self.code, self.seed = policy.code, seed
        self.nodes, self.types, self.mix = nodes, types, mix
        self.state = empty_state(nodes, mix)
        self.index = empty_index(nodes, types)

    def choose(self, kind: int) -> tuple[int, int]:
        """Node and GPUs (as bits) for a pod of a type; (-1, 0) where none fits."""
        return kernels.choose(
            self.code, self.seed, self.nodes, self.state, self.types, self.mix, self.index, kind
        )

    def take(self, kind: int, node: int, bits: int) -> None:
        """Start a pod where `choose` said."""
        kernels.take(self.nodes, self.state, self.types, self.mix, self.index, kind, node, bits)

    def release(self, kind: int, node: int, bits: int) -> None:
        """End a pod that was taken with the same arguments."""
        kernels.release(self.nodes, self.state, self.types, self.mix, self.index, kind, node, bits)

    def fill(self, arrivals: Ints) -> Ints:
        """Let pods arrive one after the other; rows as in ``kernels.sharing.fill`` [E, 4]."""
        out = np.empty((arrivals.size, 4), dtype=np.int64)
        kernels.fill(
            self.code,
            self.seed,
            self.nodes,
            self.state,
            self.types,
            self.mix,
            self.index,
            _whole(arrivals),
            out,
        )
        return out

    @property
    def used_gpus(self) -> float:
        """GPUs in use, shares added up."""
        return float(self.state.counts[USED_MILLI]) / WHOLE

    @property
    def fragmented_gpus(self) -> float:
        """Free GPUs that a pod drawn from the mix could not use, in expectation."""
        total = max(int(self.mix.total[0]), 1)
        return float(self.state.counts[FRAGMENT]) / (WHOLE * total)


def empty_state(nodes: SharedNodes, mix: Mix) -> SharedState:
    """All nodes free."""
    count, levels = nodes.gpus.size, mix.levels.size
    widest = int(nodes.gpus.max(initial=1))
    held = np.arange(widest)[None, :] < nodes.gpus[:, None]
    state = SharedState(
        cpu_free=nodes.cpu_milli.copy(),
        memory_free=nodes.memory_mib.copy(),
        gpu_free=np.ascontiguousarray(held * WHOLE, dtype=np.int64),
        gpu_sum=_whole(nodes.gpus * WHOLE),
        kinds=np.zeros((count, widest + 1), dtype=np.int64),
        above=np.zeros((count, levels), dtype=np.int64),
        below=np.zeros((count, levels), dtype=np.int64),
        fragment=np.zeros(count, dtype=np.int64),
        counts=np.zeros(COUNTS, dtype=np.int64),
    )
    kernels.measure_all(nodes, state, mix)
    return state


def empty_index(nodes: SharedNodes, types: PodTypes) -> ScoreIndex:
    """No scores yet."""
    leaves = 1
    while leaves < nodes.gpus.size:
        leaves *= 2
    kinds = types.gpus.size
    return ScoreIndex(
        tree=np.zeros((kinds, 2 * leaves), dtype=np.int32),
        read=np.full(kinds, -1, dtype=np.int64),
        log=np.zeros(leaves, dtype=np.int64),
        changed=np.full(nodes.gpus.size, -1, dtype=np.int64),
        scratch=np.zeros(int(nodes.shape.max(initial=0)) + 1, dtype=np.int64),
    )


def warm_pool() -> None:
    """A tiny pool that touches every kernel of this module."""
    one = np.ones(1, dtype=np.int64)
    pods = [Need(1, 1, 1, 500, ())]
    types, models = pod_kinds(pods, ("", "any")).types, ("", "any")
    nodes = node_columns(8 * one, 8 * one, one, one)
    pool = Pool(SharePolicy.FGD, 0, nodes, types, mix_columns(popular(pods), models))
    kind, (node, bits) = 0, pool.choose(0)
    pool.take(kind, node, bits)
    pool.release(kind, node, bits)
    pool.fill(np.zeros(1, dtype=np.int64))
