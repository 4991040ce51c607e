"""From the farm and the policies of a TwinRun to what the farm driver plays."""

from __future__ import annotations

from itertools import pairwise

from kfarm_api.farm import Cluster
from kfarm_api.twinrun import RunPolicy

from kfarm_twin.replay import (
    Backfill,
    Discipline,
    Level,
    Order,
    Placement,
    ReplayError,
    Shape,
)
from kfarm_twin.request import InputError
from kfarm_twin.whatif_request import WhatIfRequest
from kfarm_twin.whatif_result import Farmland

_PLACEMENTS = {
    "Count": "count",
    "FirstFit": "first-fit",
    "BestFit": "best-fit",
    "Spread": "spread",
    "Random": "random",
    "DotProd": "dotprod",
    "GpuClustering": "gpu-clustering",
    "GpuPacking": "gpu-packing",
    "FGD": "fgd",
    "ThermalAware": "thermal-aware",
}


def farmland_of(request: WhatIfRequest) -> tuple[Farmland, tuple[str, ...]]:
    """The farm as one pool of equal nodes, and what to note about that.

    Raises
    ------
    InputError
        When a farm is missing or clusters differ in what a pool must have in common.
    """
    shape = request.spec.shape
    if shape is not None:
        plain = Farmland(
            farm=f"{shape.nodes:,} nodes",
            nodes=shape.nodes - shape.spares,
            accelerators_per_node=shape.accelerators_per_node,
            nodes_per_rack=shape.nodes_per_rack,
            nodes_per_unit=shape.nodes_per_unit,
        )
        return plain, _spares_note(shape.spares)
    farms = request.named_farms()
    clusters = [(farm.metadata.name, cluster) for farm in farms for cluster in farm.spec.clusters]
    _check_alike(clusters)
    _, first = clusters[0]
    nodes = sum(cluster.nodes - cluster.spares for _, cluster in clusters)
    pool = Farmland(
        farm=", ".join(farm.metadata.name for farm in farms),
        nodes=nodes,
        accelerators_per_node=first.accelerators_per_node,
        nodes_per_rack=first.rack.nodes,
        nodes_per_unit=_unit(first),
    )
    return pool, _notes(clusters)


def _unit(cluster: Cluster) -> int:
    return cluster.fabric.nodes_per_scalable_unit if cluster.fabric else 0


def _check_alike(clusters: list[tuple[str, Cluster]]) -> None:
    for (_, one), (farm, other) in pairwise(clusters):
        for what, left, right in (
            ("accelerator", one.accelerator, other.accelerator),
            ("acceleratorsPerNode", one.accelerators_per_node, other.accelerators_per_node),
            ("rack.nodes", one.rack.nodes, other.rack.nodes),
            ("fabric.nodesPerScalableUnit", _unit(one), _unit(other)),
        ):
            if left != right:
                raise InputError(
                    f"farm {farm}, cluster {other.name}: {what}",
                    f"{right}, where cluster {one.name} has {left}",
                    "clusters alike: a TwinRun plays its farms as one pool of equal nodes; name "
                    "farms that are alike, or give a shape",
                )


def _spares_note(spares: int) -> tuple[str, ...]:
    return (f"{spares} spare nodes are left out: they run no jobs",) if spares else ()


def _notes(clusters: list[tuple[str, Cluster]]) -> tuple[str, ...]:
    notes = [*_spares_note(sum(cluster.spares for _, cluster in clusters))]
    if len(clusters) > 1:
        names = ", ".join(f"{farm}/{cluster.name}" for farm, cluster in clusters)
        notes.append(f"clusters {names} are played as one pool of equal nodes")
    return tuple(notes)


def shape_of(farm: Farmland) -> Shape:
    """The farm as the driver takes it.

    Raises
    ------
    InputError
        When it is larger than the driver can play.
    """
    try:
        return Shape(
            nodes=farm.nodes,
            gpus_per_node=farm.accelerators_per_node,
            nodes_per_rack=farm.nodes_per_rack,
            nodes_per_unit=farm.nodes_per_unit,
        )
    except ReplayError as error:
        raise InputError("farm", str(error), "a farm within these bounds") from error


def discipline_of(policy: RunPolicy, index: int) -> Discipline:
    """A policy as the driver takes it.

    Raises
    ------
    InputError
        When the driver does not play this policy.
    """
    where = f"spec.policies[{index}]"
    name = _PLACEMENTS[policy.placement]
    known = {placement.value for placement in Placement}
    if name not in known:
        playable = ", ".join(key for key, value in _PLACEMENTS.items() if value in known)
        raise InputError(f"{where}.placement", policy.placement, f"one of {playable}")
    try:
        return Discipline(
            order=Order(policy.order.lower()),
            backfill=Backfill(policy.backfill.lower()),
            placement=Placement(name),
            required=Level(policy.required or "cluster"),
            preferred=Level(policy.preferred) if policy.preferred else None,
        )
    except ReplayError as error:
        raise InputError(where, str(error), "a policy that can be played") from error
