"""From models to columns: names become indices, units SI, four trees columns of parents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from kfarm_api.farm import Cluster, Farm
from kfarm_api.layout import NodePlace, cluster_places
from kfarm_api.plan import PlacementPlan, Workload
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.snapshot import FarmSnapshot, NodeState

from kfarm_twin import arrays
from kfarm_twin.arrays import Ints
from kfarm_twin.columns_cluster import (
    ClusterFacts,
    cluster_columns,
    cluster_facts,
    milliwatts,
)
from kfarm_twin.columns_grid import grid_columns, swings
from kfarm_twin.columns_node import node_columns
from kfarm_twin.columns_workload import unit_columns, workload_columns
from kfarm_twin.fleet_classes import FleetCluster
from kfarm_twin.fleet_tables import CompiledFleet, compile_fleet, with_overheat
from kfarm_twin.heat_tables import CompiledHeat, compile_heat
from kfarm_twin.request import InputError

if TYPE_CHECKING:
    from kfarm_twin.heat_describe import DescribedHeat
    from kfarm_twin.kernels.heat_columns import Heat


class Trees(NamedTuple):
    """The four trees as columns of parent indices; node, rack and so on count through all farms.

    Space: site -> hall -> row -> rack -> node -> device. Power: feed -> PDU -> node (-1 where a
    cluster describes none). Cooling: plant -> loop (CDU or air zone) -> node. Fabric: spine (one
    per cluster) -> scalable unit -> node. A site, a feed and a plant stand for one farm each.
    """

    device_node: Ints
    node_rack: Ints
    rack_row: Ints
    row_hall: Ints
    hall_site: Ints
    node_pdu: Ints
    pdu_feed: Ints
    node_loop: Ints
    loop_plant: Ints
    node_unit: Ints
    unit_spine: Ints


@dataclass(frozen=True)
class ClusterRef:
    """A cluster with all that belongs to it."""

    farm: Farm
    farm_index: int
    cluster: Cluster
    profile: AcceleratorProfile
    facts: ClusterFacts
    places: tuple[NodePlace, ...]
    first_node: int

    @property
    def label(self) -> str:
        """`farm/cluster`, for people."""
        return f"{self.farm.metadata.name}/{self.cluster.name}"


@dataclass(frozen=True)
class Names:
    """Labels of rows, for people."""

    nodes: tuple[str, ...]
    racks: tuple[str, ...]
    loops: tuple[str, ...]
    pdus: tuple[str, ...]
    units: tuple[str, ...]
    plants: tuple[str, ...]
    clusters: tuple[str, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """A farm as columns, with the names to read them by.

    Attributes
    ----------
    columns
        What kernels read.
    fleet
        What fails and how it is mended, with the names of its classes.
    described, heat
        How it is cooled: as read from the manifests, and as tables.
    ready
        [N] 1 where pods can be placed now.
    slot_workload, slot_index
        [S] workload of each slot and its index there.
    fixed
        [S] node of a slot that already runs, or -1.
    """

    columns: arrays.Farm
    fleet: CompiledFleet
    described: DescribedHeat
    heat: CompiledHeat
    trees: Trees
    names: Names
    clusters: tuple[ClusterRef, ...]
    workloads: tuple[Workload, ...]
    ready: Ints
    slot_workload: Ints
    slot_index: Ints
    fixed: Ints
    warnings: tuple[str, ...]

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return len(self.names.nodes)


class _Numbering:
    """Gives each label one index, in order of first use."""

    def __init__(self) -> None:
        self.labels: list[str] = []
        self.parents: list[int] = []
        self._index: dict[str, int] = {}

    def index(self, label: str, parent: int) -> int:
        if label not in self._index:
            self._index[label] = len(self.labels)
            self.labels.append(label)
            self.parents.append(parent)
        return self._index[label]

    @property
    def column(self) -> Ints:
        return frozen(self.parents)


def frozen(values: object) -> Ints:
    """A contiguous, read-only column of 64-bit integers."""
    column = np.ascontiguousarray(values, dtype=np.int64)
    column.setflags(write=False)
    return column


def read_only(tables: Heat) -> Heat:
    """The same tables, which nobody can write through."""
    views: list[Any] = [column.view() for column in tables]
    for view in views:
        view.setflags(write=False)
    return type(tables)._make(views)


def named_farms(farms: list[Farm], plan: PlacementPlan) -> list[Farm]:
    """Farms of a plan, in its order."""
    known = {(farm.kind, farm.metadata.name): farm for farm in farms}
    found = []
    for index, ref in enumerate(plan.spec.farms):
        if (ref.kind, ref.name) not in known:
            names = ", ".join(f"{kind} {name}" for kind, name in sorted(known)) or "none"
            raise InputError(
                f"PlacementPlan/{plan.metadata.name}: spec.farms[{index}]",
                f"{ref.kind} {ref.name}",
                f"a farm that is given (given: {names})",
            )
        found.append(known[ref.kind, ref.name])
    return found


def cluster_refs(farms: list[Farm], profiles: list[AcceleratorProfile]) -> list[ClusterRef]:
    """All clusters of farms with figures, places and the number of their first node.

    Raises
    ------
    InputError
        When a profile is not given or does not fit the cooling.
    """
    known = {profile.metadata.name: profile for profile in profiles}
    refs: list[ClusterRef] = []
    first = 0
    for farm_index, farm in enumerate(farms):
        for index, cluster in enumerate(farm.spec.clusters):
            where = f"{farm.kind}/{farm.metadata.name}: spec.clusters[{index}]"
            profile = known.get(cluster.accelerator)
            if profile is None:
                raise InputError(
                    f"{where}.accelerator",
                    repr(cluster.accelerator),
                    "an AcceleratorProfile that is given "
                    f"(given: {', '.join(sorted(known)) or 'none'})",
                )
            facts = cluster_facts(cluster, profile, where)
            places = tuple(cluster_places(farm, cluster))
            refs.append(ClusterRef(farm, farm_index, cluster, profile, facts, places, first))
            first += cluster.nodes
    return refs


@dataclass
class _TreeBuilder:
    """Numbers the domains of all nodes."""

    racks: _Numbering
    rows: _Numbering
    halls: _Numbering
    pdus: _Numbering
    loops: _Numbering
    units: _Numbering

    def add(self, ref: ClusterRef, spine: int, place: NodePlace) -> tuple[int, int, int, int]:
        """Rack, PDU, loop and scalable unit of a node."""
        base = place.prefix
        hall = self.halls.index(f"{base}-hall{place.hall}", ref.farm_index)
        row = self.rows.index(f"{base}-row{place.row}", hall)
        rack = self.racks.index(f"{base}-r{place.rack:04d}", row)
        unit = self.units.index(f"{base}-su{place.scalable_unit:02d}", spine)
        loop_label = f"{base}-air" if place.cdu is None else f"{base}-cdu{place.cdu:02d}"
        loop = self.loops.index(loop_label, ref.farm_index)
        pdu = -1
        if place.pdu is not None:
            pdu = self.pdus.index(f"{base}-pdu{place.pdu:03d}", ref.farm_index)
        return rack, pdu, loop, unit


def _trees(refs: list[ClusterRef]) -> tuple[Trees, _TreeBuilder]:
    builder = _TreeBuilder(*(_Numbering() for _ in range(6)))
    rows = [
        builder.add(ref, spine, place) for spine, ref in enumerate(refs) for place in ref.places
    ]
    rack, pdu, loop, unit = (frozen(column) for column in zip(*rows, strict=True))
    sizes = np.concatenate([np.full(len(r.places), r.cluster.accelerators_per_node) for r in refs])
    trees = Trees(
        device_node=frozen(np.repeat(np.arange(len(rows)), sizes)),
        node_rack=rack,
        rack_row=builder.racks.column,
        row_hall=builder.rows.column,
        hall_site=builder.halls.column,
        node_pdu=pdu,
        pdu_feed=builder.pdus.column,
        node_loop=loop,
        loop_plant=builder.loops.column,
        node_unit=unit,
        unit_spine=builder.units.column,
    )
    return trees, builder


def _states(
    refs: list[ClusterRef], snapshot: FarmSnapshot
) -> tuple[list[NodeState | None], list[str]]:
    """What the snapshot says of each node, and warnings on what it says beside."""
    seen = {(n.farm_kind, n.farm, n.cluster, n.index): n for n in snapshot.nodes}
    states = [
        seen.pop((p.farm_kind, p.farm, p.cluster, p.index), None)
        for ref in refs
        for p in ref.places
    ]
    farms = {(ref.farm.kind, ref.farm.metadata.name) for ref in refs}
    strangers = [node.name for node in seen.values() if (node.farm_kind, node.farm) in farms]
    warnings = []
    if strangers:
        warnings.append(
            f"{len(strangers)} nodes of the snapshot stand outside what the farm describes "
            f"(first: {min(strangers)}) and are left out"
        )
    missing = sum(state is None for state in states)
    if missing:
        warnings.append(
            f"{missing} of {len(states)} nodes that the farms describe are not in the snapshot and "
            "count as down"
        )
    return states, warnings


def _sites(refs: list[ClusterRef], farms: list[Farm], builder: _TreeBuilder) -> arrays.Sites:
    rack_limit = {p.prefix: r.facts.rack_limit_mw for r in refs for p in r.places[:1]}
    prefix_facts = {p.prefix: (i, r.facts) for i, r in enumerate(refs) for p in r.places[:1]}
    loop_prefix = [label.rsplit("-", 1)[0] for label in builder.loops.labels]
    plants = []
    for farm in farms:
        plant = farm.spec.plant
        running = plant.chillers - plant.redundancy if plant else 0
        plants.append(running * milliwatts(plant.chiller_capacity) if plant else 0)
    return arrays.Sites(
        rack_limit_mw=frozen([rack_limit[x.rsplit("-", 1)[0]] for x in builder.racks.labels]),
        loop_limit_mw=frozen([prefix_facts[p][1].loop_limit_mw for p in loop_prefix]),
        loop_cluster=frozen([prefix_facts[p][0] for p in loop_prefix]),
        plant_limit_mw=frozen(plants),
    )


def _fixed(
    model_slots: tuple[Ints, Ints],
    workloads: list[Workload],
    names: list[str],
    snapshot: FarmSnapshot,
) -> Ints:
    by_name = {name: index for index, name in enumerate(names)}
    by_slot = {
        (workloads[w].name, int(i)): s
        for s, (w, i) in enumerate(zip(model_slots[0], model_slots[1], strict=True))
    }
    fixed = np.full(len(model_slots[0]), -1, dtype=np.int64)
    for index, survivor in enumerate(snapshot.survivors):
        where = f"FarmSnapshot: survivors[{index}]"
        if (survivor.workload, survivor.slot) not in by_slot:
            raise InputError(
                where, f"slot {survivor.slot} of {survivor.workload!r}", "a slot of the plan"
            )
        if survivor.node not in by_name:
            raise InputError(where, f"node {survivor.node!r}", "a node of the plan's farms")
        fixed[by_slot[survivor.workload, survivor.slot]] = by_name[survivor.node]
    return frozen(fixed)


def _names(
    nodes: list[str],
    builder: _TreeBuilder,
    farms: list[Farm],
    refs: list[ClusterRef],
    classes: tuple[str, ...],
) -> Names:
    return Names(
        nodes=tuple(nodes),
        racks=tuple(builder.racks.labels),
        loops=tuple(builder.loops.labels),
        pdus=tuple(builder.pdus.labels),
        units=tuple(builder.units.labels),
        plants=tuple(farm.metadata.name for farm in farms),
        clusters=tuple(ref.label for ref in refs),
        classes=classes,
    )


def fleet_clusters(
    refs: Sequence[ClusterRef], trees: Trees, nodes: arrays.Nodes
) -> list[FleetCluster]:
    """What fails and how it is mended, cluster by cluster, with the domains of each node."""
    hall = trees.row_hall[trees.rack_row[trees.node_rack]]
    domains = np.stack(
        [trees.node_rack, trees.node_unit, trees.node_pdu, trees.node_loop, hall, nodes.plant],
        axis=1,
    )
    found = []
    for ref in refs:
        own = slice(ref.first_node, ref.first_node + ref.cluster.nodes)
        fabric = ref.cluster.fabric
        rails = fabric is not None and fabric.topology.startswith("Rail")
        found.append(
            FleetCluster(
                modes=ref.facts.modes,
                reliability=ref.cluster.reliability,
                devices=ref.cluster.accelerators_per_node,
                domains=domains[own],
                start=nodes.start[own],
                rails=rails,
            )
        )
    return found


def compile_farm(
    farms: list[Farm],
    profiles: list[AcceleratorProfile],
    plan: PlacementPlan,
    snapshot: FarmSnapshot,
) -> Model:
    """Columns of the farms that a plan names, and of its workloads.

    Raises
    ------
    InputError
        When a farm, profile, reference or accelerator is not known, or the snapshot names slots
        or nodes that are not there.
    """
    from kfarm_twin.heat_describe import describe_heat  # noqa: PLC0415 - it reads clusters by us

    used = named_farms(farms, plan)
    refs = cluster_refs(used, profiles)
    trees, builder = _trees(refs)
    states, warnings = _states(refs, snapshot)
    names = [
        state.name if state else place.name
        for state, place in zip(states, (p for r in refs for p in r.places), strict=True)
    ]
    nodes, ready, more = node_columns(refs, states, trees)
    clusters, assumed = cluster_columns(refs)
    fleet = with_overheat(compile_fleet(fleet_clusters(refs, trees, nodes)))
    described = describe_heat(refs)
    heat = compile_heat(described.farm)
    workloads = plan.spec.workloads
    behaviour, loads, told = workload_columns(workloads, refs, plan.metadata.name)
    units, slot_workload, slot_index = unit_columns(workloads)
    sites = _sites(refs, used, builder)
    swing = swings(workloads, behaviour.need, loads, clusters.idle_device_mw)
    columns = arrays.Farm(
        nodes=nodes,
        clusters=clusters,
        sites=sites,
        workloads=behaviour,
        loads=loads,
        units=units,
        domains=frozen(
            [len(names), len(builder.racks.labels), len(builder.units.labels), len(refs)]
        ),
        fleet=fleet.tables,
        heat=read_only(heat.tables),
        grid=grid_columns(refs, trees, sites, swing),
    )
    return Model(
        columns=columns,
        trees=trees,
        names=_names(names, builder, used, refs, fleet.classes),
        fleet=fleet,
        described=described,
        heat=heat,
        clusters=tuple(refs),
        workloads=tuple(workloads),
        ready=ready,
        slot_workload=slot_workload,
        slot_index=slot_index,
        fixed=_fixed((slot_workload, slot_index), workloads, names, snapshot),
        warnings=(*warnings, *more, *assumed, *described.assumptions, *told),
    )
