"""Columns of nodes: what the snapshot says of each, and where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from kfarm_api.snapshot import NodeState

from kfarm_twin import arrays
from kfarm_twin.arrays import Ints

if TYPE_CHECKING:
    from kfarm_twin.compile import ClusterRef, Trees

_MEBI = {"Mi": 1, "Gi": 1024, "Ti": 1024 * 1024}


def mebibytes(text: str) -> int:
    """Memory text such as ``2048Gi`` in Mi."""
    return int(text[:-2]) * _MEBI[text[-2:]]


def _start(state: NodeState | None, overheats: bool) -> int:
    if overheats:
        return arrays.NEVER_UP
    if state is None or not state.ready:
        return arrays.STARTS_DOWN
    return arrays.STARTS_UP if state.live else arrays.BY_EQUILIBRIUM


def _row(ref: ClusterRef, state: NodeState | None) -> tuple[int, ...]:
    """start, ready, schedulable, others, free devices, CPU [m], memory [Mi], pods of a node."""
    size, per_node = ref.cluster.node, ref.cluster.accelerators_per_node
    start = _start(state, ref.facts.overheats)
    can_give = min(state.accelerators, per_node) if state else 0
    others = min(state.used, per_node) if state else 0
    schedulable = int(state is not None and state.schedulable)
    ready = int(state is not None and state.ready and start != arrays.NEVER_UP)
    free = (max(can_give - others, 0), size.cpu * 1000, mebibytes(size.memory), size.pods)
    return (start, ready * schedulable, schedulable, others, *free)


def _column(values: Sequence[int] | Ints) -> Ints:
    column = np.ascontiguousarray(values, dtype=np.int64)
    column.setflags(write=False)
    return column


def _warnings(refs: Sequence[ClusterRef], others: Ints) -> list[str]:
    told = [
        f"{ref.label}: accelerators reach their shutdown temperature even when idle; its nodes "
        "take no pods; lower the supply temperature or the thermal resistance"
        for ref in refs
        if ref.facts.overheats
    ]
    if others.any():
        told.append(
            f"{int(others.sum())} accelerators are used by others and are taken to run at full load"
        )
    return told


def node_columns(
    refs: Sequence[ClusterRef], states: Sequence[NodeState | None], trees: Trees
) -> tuple[arrays.Nodes, Ints, list[str]]:
    """Columns of all nodes, which of them take pods now [N], and warnings."""
    homes = [(index, ref) for index, ref in enumerate(refs) for _ in ref.places]
    rows = np.array([_row(ref, s) for (_, ref), s in zip(homes, states, strict=True)], np.int64)
    cluster = _column([index for index, _ in homes])
    nodes = arrays.Nodes(
        cluster=cluster,
        rack=trees.node_rack,
        loop=trees.node_loop,
        plant=_column([ref.farm_index for _, ref in homes]),
        schedulable=_column(rows[:, 2]),
        spare=_column([int(place.spare) for ref in refs for place in ref.places]),
        start=_column(rows[:, 0]),
        devices=_column([ref.cluster.accelerators_per_node for _, ref in homes]),
        others=_column(rows[:, 3]),
        domain=_column(
            np.stack([np.arange(len(homes)), trees.node_rack, trees.node_unit, cluster])
        ),
        free=_column(rows[:, 4:8]),
    )
    return nodes, _column(rows[:, 1]), _warnings(refs, nodes.others)
