"""What a snapshot of a running cluster adds to the description of its farms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np
from kfarm_api.farm import Farm
from kfarm_api.snapshot import FarmSnapshot, NodeState
from kfarm_api.units import format_quantity, parse_decimal

from kfarm_twin.arrays import ACCELERATORS
from kfarm_twin.compile import Model
from kfarm_twin.place import Shortfall, place


def corrected(farms: list[Farm], snapshot: FarmSnapshot) -> tuple[list[Farm], list[str]]:
    """Farms whose coolant is as warm as measurements have it, and what was changed."""
    found, told = [], []
    for farm in farms:
        inlets = {
            correction.cluster: correction.inlet
            for correction in snapshot.corrections
            if (correction.farm_kind, correction.farm) == (farm.kind, farm.metadata.name)
        }
        clusters = list(farm.spec.clusters)
        for index, cluster in enumerate(clusters):
            kelvins = inlets.get(cluster.name, 0)
            if not kelvins:
                continue
            warm = parse_decimal(cluster.cooling.supply_temperature) + Decimal(kelvins)
            cooling = cluster.cooling.model_copy(
                update={"supply_temperature": format_quantity(warm)}
            )
            clusters[index] = cluster.model_copy(update={"cooling": cooling})
            told.append(
                f"{farm.metadata.name}/{cluster.name}: what cools the devices is taken to be "
                f"{kelvins} K warmer than described, as measured (telemetry.correct: Inlet)"
            )
        spec = farm.spec.model_copy(update={"clusters": clusters})
        found.append(farm.model_copy(update={"spec": spec}))
    return found, told


def room_from(model: Model, snapshot: FarmSnapshot) -> str:
    """A sentence on when there will be room for the plan, as far as those who run say; or nothing.

    Nodes come free in the order of `NodeState.free_at`; the first moment at which the whole plan
    finds its place is looked for by halving.
    """
    leaving = _leaving(model, snapshot)
    moments = sorted({state.free_at for _, state in leaving if state.free_at})
    if not moments or not _fits(model, leaving, moments[-1]):
        return ""
    low, high = 0, len(moments) - 1
    while low < high:
        middle = (low + high) // 2
        if _fits(model, leaving, moments[middle]):
            high = middle
        else:
            low = middle + 1
    freed = sum((state.free_at or "") <= moments[low] for _, state in leaving)
    return (
        f" There is room from about {moments[low]}, when {freed} nodes that are in use have come "
        "free, if what runs there ends as its plan or deadline says"
    )


def _leaving(model: Model, snapshot: FarmSnapshot) -> list[tuple[int, NodeState]]:
    rows = {name: index for index, name in enumerate(model.names.nodes)}
    return [
        (rows[state.name], state)
        for state in snapshot.nodes
        if state.free_at is not None and state.used and state.name in rows
    ]


def _fits(model: Model, leaving: Sequence[tuple[int, NodeState]], moment: str) -> bool:
    """Whether the plan has a place once those have left whose time has come."""
    free = model.columns.nodes.free.copy()
    for row, state in leaving:
        if (state.free_at or "") <= moment:
            most = min(state.accelerators, int(model.columns.nodes.devices[row]))
            free[row, ACCELERATORS] = most
    free = np.ascontiguousarray(free)
    free.setflags(write=False)
    columns = model.columns._replace(nodes=model.columns.nodes._replace(free=free))
    return not isinstance(place(replace(model, columns=columns)), Shortfall)
