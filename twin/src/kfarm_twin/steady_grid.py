"""The way of power in one moment: what nodes, racks, PDUs and feeds draw and carry."""

from __future__ import annotations

import numpy as np

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.compile import Model
from kfarm_twin.kernels.converters import chain_inputs
from kfarm_twin.kernels.grid_columns import (
    BRANCH,
    BRANCH_LOAD,
    FEEDS,
    NODE_STAGES,
    PDU,
    PDU_STAGES,
    RACK_CLUSTER,
    RACK_STAGES,
    Grid,
)


def draws(
    grid: Grid, stages: int, cluster: Ints, load_mw: Ints, units: Ints | Floats | float = 1
) -> Ints:
    """What converters of one kind draw [mW] that deliver `load_mw`, all arrays of one length.

    Parameters
    ----------
    stages
        NODE_STAGES, RACK_STAGES or PDU_STAGES.
    cluster
        That each belongs to.
    units
        As many alike share the load.
    """
    rows = grid.cluster[cluster]
    inputs = np.empty(len(load_mw))
    first, count = (np.ascontiguousarray(rows[:, stages + more]) for more in range(2))
    shares: Floats = np.ascontiguousarray(load_mw / units, np.float64)
    chain_inputs(grid.stages, first, count, shares, inputs)
    found = (inputs * units + 0.5).astype(np.int64)
    return np.where(count == 0, load_mw, found)


def node_draws(model: Model, load_mw: Ints, up: Ints, share: Floats | float = 1.0) -> Ints:
    """What nodes draw for what their parts take [N, mW]; nothing where they are down.

    Parameters
    ----------
    share
        Of their power supplies that work.
    """
    drawn = draws(model.columns.grid, NODE_STAGES, model.columns.nodes.cluster, load_mw, share)
    return np.where(up == 1, drawn, 0)


def _branch_loads(model: Model, node_mw: Ints) -> Ints:
    grid = model.columns.grid
    found: Ints = grid.branch[:, BRANCH_LOAD].copy()
    np.add.at(found, grid.node[:, BRANCH], node_mw)
    return found


def _branch_racks(grid: Grid) -> Ints:
    first = grid.rack[:, 0]
    found: Ints = np.repeat(np.arange(len(first) - 1), np.diff(first))
    return found


def rack_draws(model: Model, node_mw: Ints) -> Ints:
    """What racks draw for what their nodes draw [R, mW]."""
    grid = model.columns.grid
    loads = np.zeros(len(grid.rack) - 1, np.int64)
    np.add.at(loads, _branch_racks(grid), _branch_loads(model, node_mw))
    return draws(grid, RACK_STAGES, grid.rack[:-1, RACK_CLUSTER], loads)


def pdu_loads(model: Model, node_mw: Ints) -> Ints:
    """What all PDUs of each group deliver [P, mW]."""
    grid = model.columns.grid
    loads, racks, home = (
        _branch_loads(model, node_mw),
        rack_draws(model, node_mw),
        _branch_racks(grid),
    )
    whole = np.zeros(len(racks), np.int64)
    np.add.at(whole, home, loads)
    part = racks[home] * (loads / np.maximum(whole[home], 1))
    hung = grid.branch[:, PDU] >= 0
    found = np.zeros(len(grid.pdu_cluster))
    np.add.at(found, grid.branch[hung, PDU], part[hung])
    return found.astype(np.int64)


def feed_loads(model: Model, pdu_mw: Ints, lost: int = 0) -> Ints:
    """What each cluster draws from all of its feeds through its PDUs [C, mW], `lost` feeds down."""
    grid = model.columns.grid
    units = np.maximum(grid.cluster[grid.pdu_cluster, FEEDS] - lost, 1)
    found = np.zeros(len(grid.cluster), np.int64)
    np.add.at(found, grid.pdu_cluster, draws(grid, PDU_STAGES, grid.pdu_cluster, pdu_mw, units))
    return found
