"""Playing the heat of a farm alone: powers and faults in, temperatures and changes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.heat_tables import CompiledHeat
from kfarm_twin.kernels import heat_alone as alone
from kfarm_twin.kernels import heat_columns as c
from kfarm_twin.kernels.exponentials import SCRATCH
from kfarm_twin.kernels.heat_columns import HeatState
from kfarm_twin.kernels.rng import FAR_NS

NS = 1e9


def new_state(compiled: CompiledHeat) -> HeatState:
    """Empty tables for one future at a time."""
    tables = compiled.tables
    nodes, most = len(tables.nodes), tables.factors.shape[1]
    zones, plants, racks = len(tables.zones), len(tables.plants), len(tables.racks)
    faults, clusters = len(tables.faults), len(tables.rules)
    leaves = 2
    while leaves < faults + plants + zones + nodes:
        leaves *= 2

    def zeros(*shape: int) -> Ints:
        return np.zeros(shape, np.int64)

    return HeatState(
        node=zeros(nodes, c.NODE_STATE),
        node_c=np.zeros((nodes, c.NODE_TEMPERATURES)),
        mw=zeros(nodes, most, 3),
        own=np.zeros((nodes, most, c.OWN)),
        branch=np.zeros((len(tables.branches), c.BRANCH_STATE)),
        zone=zeros(zones, c.ZONE_STATE),
        zone_c=np.zeros((zones, c.ZONE_TEMPERATURES)),
        plant=zeros(plants, c.PLANT_STATE),
        plant_c=np.zeros((plants, c.PLANT_TEMPERATURES)),
        rack=np.zeros((racks, 3)),
        cluster=zeros(clusters, c.CLUSTER_STATE),
        cluster_c=np.zeros((clusters, c.CLUSTER_TALLIES)),
        unit=zeros(faults, 3),
        dirty=zeros(c.DIRTY, max(nodes, racks, zones, plants)),
        due=zeros(2 * leaves),
        changes=zeros(4 * nodes + 8, c.CHANGE),
        now=zeros(c.NOW),
        w=np.zeros(SCRATCH),
    )


@dataclass(frozen=True)
class Change:
    """A row of a schedule: what is set at a time.

    Attributes
    ----------
    at_s
        When [s]; 0 or before: from the start.
    kind
        `kernels.heat_alone.POWER`, `OVERHEAD`, `SWITCH`, `ZONE_UNITS`, `PLANT_UNITS` or `TARGET`.
    entity
        Index of the node, zone or plant.
    value
        Power of each device or of the overhead [W]; 0 or 1 for `SWITCH`; units; target [degC].
    first, count
        Devices of the node (`POWER`).
    """

    at_s: float
    kind: int
    entity: int
    value: float
    first: int = 0
    count: int = 0

    def row(self) -> list[int]:
        """As kernels read it."""
        scale = 1000.0 if self.kind in (alone.POWER, alone.OVERHEAD, alone.TARGET) else 1.0
        number = round(self.value * scale)
        return [round(self.at_s * NS), self.kind, self.entity, self.first, self.count, number]


@dataclass(frozen=True)
class HeatPlay:
    """A future of a farm's heat alone.

    Attributes
    ----------
    at_s
        Times of samples [s].
    die_c, inlet_c
        [samples, N, D] and [samples, N] temperature of devices and of what cools them [degC].
    power_w
        [samples, N] of nodes, fans included [W].
    supply_c, water_c
        [samples, Z] and [samples, P] [degC].
    log
        [changes, 5] time [ns], what (`heat_columns.SPEED`, ...), node, device, detail.
    state
        The state at the end: records and books in the columns of `heat_columns`.
    """

    compiled: CompiledHeat
    at_s: Floats
    die_c: Floats
    inlet_c: Floats
    power_w: Floats
    supply_c: Floats
    water_c: Floats
    log: Ints
    state: HeatState

    @property
    def first_throttle_s(self) -> float | None:
        """Time of the first throttling [s]; None: none."""
        return _seconds(int(self.state.cluster[:, c.FIRST_THROTTLE].min()))

    @property
    def first_shutdown_s(self) -> float | None:
        """Time of the first shutdown by heat [s]; None: none."""
        return _seconds(int(self.state.cluster[:, c.FIRST_SHUTDOWN].min()))

    @property
    def hottest_c(self) -> float:
        """Hottest device of all times [degC]."""
        return float(self.state.cluster_c[:, c.HOTTEST_C].max())

    @property
    def headroom_k(self) -> float:
        """Least distance between a device and its throttle limit [K]; negative where exceeded."""
        limits = self.compiled.tables.laws[:, c.THROTTLE]
        return float((limits - self.state.cluster_c[:, c.HOTTEST_C]).min())


def _seconds(time: int) -> float | None:
    return None if time >= FAR_NS else time / NS


def play(
    compiled: CompiledHeat,
    schedule: Sequence[Change],
    *,
    horizon_s: float,
    samples_s: Sequence[float] | Floats = (),
    steady: bool = True,
    restarts: bool = False,
    seed: int = 0,
    future: int = 0,
    devices: bool = True,
    log: int = 100_000,
    state: HeatState | None = None,
) -> HeatPlay:
    """Play one future of a farm's heat.

    Parameters
    ----------
    schedule
        What is set when; nodes are up and idle otherwise.
    samples_s
        Times to sample at [s], rising.
    steady
        What is scheduled at time 0 has long been so; else all has long been idle.
    restarts
        Nodes that have cooled after a shutdown by heat are switched on at once.
    devices
        Whether temperatures of devices, inlets and powers of nodes are sampled.
    log
        Most changes kept.
    state
        Tables to play in (`new_state`); None: new ones.
    """
    tables = compiled.tables
    hs = new_state(compiled) if state is None else state
    rows = sorted((change.row() for change in schedule), key=lambda row: row[0])
    table = np.array(rows, np.int64).reshape(-1, alone.ROW)
    at = np.rint(np.asarray(samples_s, float) * NS).astype(np.int64)
    count, nodes = len(at), compiled.nodes if devices else 0
    dies = np.full((count, nodes, tables.factors.shape[1]), np.nan)
    power = np.zeros((count, nodes), np.int64)
    inlets = np.full((count, nodes), np.nan)
    supplies = np.full((count, len(tables.zones)), np.nan)
    waters = np.full((count, len(tables.plants)), np.nan)
    lines = np.zeros((log, alone.LOG), np.int64)
    changes = alone.run_heat(
        tables, hs, table, at, dies, power, inlets, supplies, waters, lines, seed, future,
        round(horizon_s * NS), int(steady), int(restarts),
    )  # fmt: skip
    return HeatPlay(
        compiled, at / NS, dies, inlets, power / 1000.0, supplies, waters, lines[:changes], hs
    )
