"""Playing futures of a fleet without work, and the room that a future needs."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from kfarm_twin.arrays import EventQueue, Floats, Ints
from kfarm_twin.fleet_tables import CompiledFleet
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.kernels.fleet_columns import FleetState
from kfarm_twin.kernels.fleet_measure import MEASURES, run_alone


def new_state(fleet: CompiledFleet, events: int, outages: int) -> FleetState:
    """Empty tables for one future at a time, with room for so many events and outages."""
    tables = fleet.tables
    nodes, classes = len(tables.nodes), len(tables.classes)
    clusters, patients = len(tables.clusters), len(tables.nodes) + len(tables.domains)

    def zeros(*shape: int) -> Ints:
        return np.zeros(shape, np.int64)

    return FleetState(
        node=zeros(nodes, c.STATE_COLUMNS),
        hazard=np.zeros((nodes, 4)),
        patient=zeros(patients, c.PATIENT_COLUMNS),
        clock=zeros(len(tables.clocks), 3),
        clock_left=np.zeros(len(tables.clocks)),
        recent=zeros(nodes, fleet.remembered),
        cluster=zeros(clusters, c.CLUSTER_STATE),
        parts=zeros(classes, 4),
        changes=zeros(4 * nodes + 8, c.CHANGE),
        outages=zeros(outages),
        down_ns=zeros(nodes + 1),
        tally=np.zeros((classes + 1, c.TALLIES)),
        now=zeros(c.NOW),
        queue=EventQueue(
            time_ns=zeros(events),
            kind=zeros(events),
            seq=zeros(events),
            entity=zeros(events),
            stamp=zeros(events),
            size=zeros(2),
        ),
    )


def first_room(fleet: CompiledFleet) -> tuple[int, int]:
    """Events and outages that most futures have room in."""
    tables = fleet.tables
    return 2 * len(tables.nodes) + len(tables.clocks) + len(tables.domains) + 256, 1024


@dataclass(frozen=True)
class FleetResult:
    """Futures of a fleet without work.

    Attributes
    ----------
    measures
        [futures, MEASURES] in the columns of `kernels.fleet_measure`.
    tallies
        [futures, K + 1, TALLIES] by class, drains last.
    histogram
        [futures, N + 1] time with so many nodes down [ns].
    series
        [futures, points] nodes down at equal steps of the horizon.
    log
        [events, 6] of the last future: time [ns], what (`fleet_columns.WENT_DOWN`, ...), node,
        class, detail, detection [ns]; empty unless asked for.
    """

    fleet: CompiledFleet
    horizon_ns: int
    measures: Floats
    tallies: Floats
    histogram: Ints
    series: Ints
    log: Ints


def play(
    fleet: CompiledFleet,
    *,
    seed: int,
    futures: int,
    horizon_ns: int,
    first: int = 0,
    warm_ns: int | None = None,
    points: int = 0,
    log: int = 0,
    workers: int | None = None,
) -> FleetResult:
    """Play `futures` futures of a fleet without work.

    Parameters
    ----------
    warm_ns
        Time played and left out before each [ns]; None: as `CompiledFleet.warm_ns`.
    points
        Points of the series of nodes down.
    log
        Most events kept of the last future; then futures are played on one thread.
    """
    warm = fleet.warm_ns if warm_ns is None else warm_ns
    result = FleetResult(
        fleet,
        horizon_ns,
        np.full((futures, MEASURES), np.nan),
        np.zeros((futures, len(fleet.classes) + 1, c.TALLIES)),
        np.zeros((futures, fleet.nodes + 1), np.int64),
        np.zeros((futures, points), np.int64),
        np.zeros((log + 1 if log else 0, 1 + c.CHANGE), np.int64),
    )
    threads = 1 if log else min(workers or os.cpu_count() or 1, 8, futures)
    cuts = [futures * index // threads for index in range(threads + 1)]

    def rows(low: int, high: int) -> None:
        _play_rows(result, seed, first, low, high, warm)

    if threads == 1:
        rows(0, futures)
    else:
        with ThreadPoolExecutor(threads) as pool:
            for part in [pool.submit(rows, a, b) for a, b in pairwise(cuts)]:
                part.result()
    if not log:
        return result
    kept = result.log[1 : 1 + min(int(result.log[0, 0]), log)]
    return replace(result, log=kept)


def _play_rows(
    result: FleetResult, seed: int, first: int, low: int, high: int, warm_ns: int
) -> None:
    fleet = result.fleet
    events, outages = first_room(fleet)
    state = new_state(fleet, events, outages)
    hold = np.zeros(fleet.nodes, np.int64)
    scratch = np.zeros(fleet.nodes, np.int64)
    played = low
    while played < high:
        played += run_alone(
            fleet.tables, state, hold, scratch, result.measures, result.tallies,
            result.histogram, result.series, result.log, seed, first + played, played,
            high - played, warm_ns, result.horizon_ns,
        )  # fmt: skip
        if played < high:
            events, outages = 2 * events, 2 * outages
            state = new_state(fleet, events, outages)
