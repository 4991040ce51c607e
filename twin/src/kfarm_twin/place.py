"""Placement of a plan: gangs first, the largest before the others, then single pods.

Spares are left for replacements: only a workload of which pods stand already may use them, and only
where it finds no room without.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kfarm_twin.arrays import ACCELERATORS, CLUSTER, LEVELS, NODE, RACK, SCALABLE_UNIT, Ints
from kfarm_twin.compile import Model
from kfarm_twin.policy.gangs import NONE, filter_nodes, place_gang, place_spread, room

_LEVEL_NAMES = {NODE: "node", RACK: "rack", SCALABLE_UNIT: "scalable unit", CLUSTER: "cluster"}


@dataclass(frozen=True)
class Shortfall:
    """Why a workload has no place."""

    workload: str
    message: str


class _Placer:
    """Places one workload after the other on what is still free."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.columns = model.columns
        self.free = model.columns.nodes.free.copy()
        self.slot_node = model.fixed.copy()
        self.scratch = np.zeros((3, int(model.columns.domains.max())), np.int64)
        for slot in np.flatnonzero(self.slot_node >= 0):
            self._take(int(slot), int(self.slot_node[slot]))

    def _take(self, slot: int, node: int) -> None:
        workload = self.model.slot_workload[slot]
        self.slot_node[slot] = node
        self.free[node] -= self.columns.workloads.need[workload]

    def _rooms(self, workload: int, rank: int, spares: bool = False) -> Ints:
        nodes = self.columns.nodes
        rooms = np.zeros(self.model.nodes, np.int64)
        ranks = np.ascontiguousarray(self.columns.loads.rank[workload][nodes.cluster])
        need = self.columns.workloads.need[workload]
        filter_nodes(self.model.ready, nodes.spare, ranks, rank, spares, self.free, need, rooms)
        return rooms

    def _ranks(self, workload: int) -> range:
        return range(int(self.columns.loads.rank[workload].max()) + 1)

    def _gang(self, workload: int, out: Ints, spares: bool = False) -> bool:
        behaviour, nodes = self.columns.workloads, self.columns.nodes
        required, preferred = behaviour.required[workload], behaviour.preferred[workload]
        slots = np.flatnonzero(self.model.slot_workload == workload)
        members = self.slot_node[slots]
        members = members[members >= 0]
        self.scratch[2] = 0
        self.scratch[2][nodes.domain[preferred][members]] = 1
        fixed = int(nodes.domain[required][members[0]]) if len(members) else NONE
        for rank in self._ranks(workload):
            if place_gang(
                self._rooms(workload, rank, spares),
                nodes.spare,
                nodes.domain[required],
                self.columns.domains[required],
                nodes.domain[preferred],
                self.columns.domains[preferred],
                fixed,
                self.scratch,
                out,
            ):
                return True
        return False

    def _spread(self, workload: int, out: Ints, spares: bool = False) -> bool:
        nodes, placed = self.columns.nodes, 0
        slots = np.flatnonzero(self.model.slot_workload == workload)
        members = self.slot_node[slots]
        racks = int(self.columns.domains[RACK])
        in_rack = np.bincount(nodes.rack[members[members >= 0]], minlength=racks).astype(np.int64)
        for rank in self._ranks(workload):
            rooms = self._rooms(workload, rank, spares)
            placed = place_spread(rooms, nodes.spare, nodes.rack, in_rack, out, placed)
        return placed == len(out)

    def place(self, workload: int) -> Shortfall | None:
        """Place what is missing of a workload."""
        mine = np.flatnonzero(self.model.slot_workload == workload)
        missing = mine[self.slot_node[mine] < 0]
        out = np.zeros(len(missing), np.int64)
        if not len(missing):
            return None
        gang = self.columns.workloads.gang[workload] == 1
        find = self._gang if gang else self._spread
        standing = len(missing) < len(mine)
        if not find(workload, out) and not (standing and find(workload, out, True)):
            return Shortfall(
                self.model.workloads[workload].name, self._explain(workload, len(missing))
            )
        for slot, node in zip(missing, out, strict=True):
            self._take(int(slot), int(node))
        return None

    def _explain(self, workload: int, missing: int) -> str:
        """Say how much room there is, where, and what takes the rest."""
        spec, nodes = self.model.workloads[workload], self.columns.nodes
        behaviour = self.columns.workloads
        none = np.zeros(len(nodes.cluster), np.int64)
        rooms = sum((self._rooms(workload, r) for r in self._ranks(workload)), none)
        eligible = (self.columns.loads.rank[workload] >= 0)[nodes.cluster]
        whole = behaviour.gang[workload] == 1
        level = int(behaviour.required[workload]) if whole else LEVELS
        where, best = "farms together have", int(np.sum(rooms))
        if whole:
            per_domain = np.bincount(nodes.domain[level], weights=rooms)
            domain = int(per_domain.argmax())
            best, where = int(per_domain[domain]), f"{self._domain_label(level, domain)} has"
            eligible = eligible & (nodes.domain[level] == domain)
        lead = (
            f"workload {spec.name} needs {missing} pods of {spec.accelerators_per_pod} "
            f"accelerators ({' or '.join(spec.accelerators)})"
        )
        inside = f" in one {_LEVEL_NAMES[level]}" if whole else ""
        return (
            f"{lead}{inside}, but there is room for {best}: {where} "
            f"{int(eligible.sum())} nodes, of which {self._why_not(workload, eligible)}. "
            f"{self._remedy(workload, missing, whole)}"
        )

    def _domain_label(self, level: int, domain: int) -> str:
        names = self.model.names
        return (names.nodes, names.racks, names.units, names.clusters)[level][domain]

    def _why_not(self, workload: int, eligible: Ints) -> str:
        nodes = self.columns.nodes
        need = self.columns.workloads.need[workload]
        spare = eligible & (nodes.spare == 1)
        off = eligible & ~spare & (self.model.ready == 0)
        rest = eligible & ~spare & ~off
        devices = self.free[:, ACCELERATORS] // need[ACCELERATORS]
        rooms = np.array([room(free, need) for free in self.free])
        parts = [
            f"{int(spare.sum())} are spares",
            f"{int(off.sum())} not ready or unschedulable",
            f"{int((rest & (devices == 0)).sum())} without {need[ACCELERATORS]} free accelerators",
        ]
        short = int((rest & (rooms < devices)).sum())
        if short:
            parts.append(f"{short} with less CPU, memory or pods than their accelerators need")
        return ", ".join(parts)

    def _remedy(self, workload: int, missing: int, whole: bool) -> str:
        if not whole:
            return "Ask for fewer replicas, free nodes, or add a farm."
        wider = self.columns.workloads.required[workload] != CLUSTER
        total = sum(int(self._rooms(workload, r).sum()) for r in self._ranks(workload))
        if wider and total >= missing:
            return "Set topology.required to a wider level."
        return "Ask for fewer pods, free nodes, or name a larger cluster."


def place(model: Model) -> Ints | Shortfall:
    """Node of each slot [S], or why the first workload without a place has none."""
    placer = _Placer(model)
    behaviour = model.columns.workloads
    sizes = [w.pods * w.accelerators_per_pod for w in model.workloads]
    order = sorted(
        range(len(sizes)),
        key=lambda w: (behaviour.gang[w] == 0, -sizes[w] if behaviour.gang[w] else 0),
    )
    for workload in order:
        shortfall = placer.place(workload)
        if shortfall is not None:
            return shortfall
    placer.slot_node.setflags(write=False)
    return placer.slot_node
