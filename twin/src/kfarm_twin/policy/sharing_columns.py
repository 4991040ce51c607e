"""Columns of nodes whose GPUs pods may share, of pod types, and of the mix that measures fragments.

Shapes: N nodes, D most GPUs of a node, M models and one more row for "no model", P pod types,
V distinct `gpu_milli` of the mix, K rows of the mix summed over models. All int64 but the tree of
the index, which is the one large array.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.arrays import Ints

WHOLE = 1000
"""A GPU that nobody uses [1/1000 GPU]."""
MOST_GPUS = 62
"""Most GPUs of a node: the devices of a pod are bits of one integer."""
SCORES = 100
"""Scores of the FGD simulator run from 0 to this."""

DECISIONS, LOG_END, USED_MILLI, FRAGMENT = 0, 1, 2, 3
"""Places of `SharedState.counts`."""
COUNTS = 4


class SharedNodes(NamedTuple):
    """One row per node [N]; read-only."""

    cpu_milli: Ints
    memory_mib: Ints
    gpus: Ints
    model: Ints  # row of models, 0 for none
    rank: Ints  # among equal scores the lowest rank is chosen
    at: Ints  # node of each rank
    shape: Ints  # nodes that are equal when empty have equal numbers
    largest: Ints  # [2] CPU [m] and GPU [1/1000] that scores are relative to


class PodTypes(NamedTuple):
    """Pods that ask for the same [P], but `allowed` [P, M]; read-only."""

    cpu_milli: Ints
    memory_mib: Ints
    gpus: Ints
    gpu_milli: Ints  # of each GPU: below 1000 only with one GPU, 0 without GPU
    kind: Ints  # 0 shares a GPU, g takes g whole ones, -1 takes none
    allowed: Ints  # whether nodes of a model will do


class Mix(NamedTuple):
    """The pods against which fragments are measured, model by model, by ascending CPU; read-only.

    Rows `first[m]` up to `first[m + 1]` are the GPU pods that may run on model m.
    """

    first: Ints  # [M + 1]
    cpu_milli: Ints  # [K]
    gpus: Ints  # [K]
    level: Ints  # [K] place in `levels`
    weight: Ints  # [K] pods of this kind in the list
    rest: Ints  # [K + 1] weight of this row and the later ones of its model
    never: Ints  # [M] weight of the pods that no GPU of the model serves
    levels: Ints  # [V] distinct gpu_milli, ascending
    thresholds: Ints  # [SCORES - 1] fragment saved [weight/1000 GPU] from which scores 1, 2, ...
    total: Ints  # [1] weight of all


class SharedState(NamedTuple):
    """What is free now, and what follows from it."""

    cpu_free: Ints  # [N]
    memory_free: Ints  # [N]
    gpu_free: Ints  # [N, D], 0 where the node has fewer GPUs
    gpu_sum: Ints  # [N] of gpu_free
    kinds: Ints  # [N, D + 1] pods of each kind
    above: Ints  # [N, V] GPUs with at least so much free
    below: Ints  # [N, V] what is free on GPUs with less than that
    fragment: Ints  # [N] weight x free GPU that pods of the mix cannot use [1/1000 GPU]
    counts: Ints  # [COUNTS]


class ScoreIndex(NamedTuple):
    """Scores of nodes by pod type, brought up to date only when the type is asked for.

    `tree[p]` is a tournament tree over ranks (best score; for RANDOM the number of nodes that fit)
    with leaves from `tree.shape[1] // 2`. `log` is a ring of nodes that changed.
    """

    tree: NDArray[np.int32]  # [P, 2 x leaves]
    read: Ints  # [P] place in the log up to which the tree holds; -1: not built
    log: Ints  # [R]
    changed: Ints  # [N] place of the node's last entry; -1: never
    scratch: Ints  # [S] scores of empty nodes by shape
