"""Play futures: buffers, one kernel call per future, longer buffers where they were too short."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from kfarm_twin import arrays
from kfarm_twin.arrays import EventLog, EventQueue, Ints, Outcome, RackMoments, State
from kfarm_twin.compile import Model
from kfarm_twin.fleet import first_room, new_state
from kfarm_twin.kernels import unit_columns
from kfarm_twin.kernels.fleet_columns import TALLIES
from kfarm_twin.kernels.fleet_measure import MEASURES
from kfarm_twin.kernels.loop import run_batch
from kfarm_twin.moments import chosen_moments

if TYPE_CHECKING:
    from kfarm_twin.cooling import CoolingStudy
    from kfarm_twin.results import Replay, SimulationResult

QUEUE_MARGIN = 64
LOG_START = 4096
THREAD_WORTH = 20_000
"""Nodes x futures from which a second thread pays."""


def _zeros(*shape: int) -> Ints:
    return np.zeros(shape, np.int64)


def _state(model: Model, events: int, outages: int) -> State:
    farm = model.columns
    nodes, racks, loops = model.nodes, len(farm.sites.rack_limit_mw), len(farm.sites.loop_limit_mw)
    units, slots = len(farm.units.workload), len(farm.units.slot_unit)
    plants, classes = len(farm.sites.plant_limit_mw), len(farm.fleet.classes)
    workloads = len(farm.workloads.gang) - 1
    node_state = arrays.NodeState(
        up=_zeros(nodes),
        health=_zeros(nodes, arrays.HEALTH),
        devices=_zeros(nodes, int(farm.nodes.devices.max()), 3),
        free=_zeros(nodes, arrays.RESOURCES),
        pods_mw=_zeros(nodes),
        power_mw=_zeros(nodes),
        rack_mw=_zeros(racks),
        plant_mw=_zeros(plants),
        first_slot=_zeros(nodes),
        rack_dirty=_zeros(2, racks),
    )
    loop_state = arrays.LoopState(
        idle_mw=_zeros(loops),
        pods_mw=_zeros(loops),
        speed_ppm=_zeros(loops),
        dirty=_zeros(loops),
        throttled=_zeros(loops),
        hottest_c=np.zeros(loops),
        running=_zeros(len(farm.loads.rank), loops),
    )
    unit_state = arrays.UnitState(
        row=_zeros(units, unit_columns.COLUMNS),
        slot_node=_zeros(slots),
        next_slot=_zeros(slots),
    )
    tally = arrays.Tally(
        counts=_zeros(arrays.COUNTS),
        totals=np.zeros(arrays.TOTALS),
        class_down_ns=np.zeros(classes),
        class_gang_ns=np.zeros(classes),
        lost_ns=np.zeros(arrays.CAUSES),
        class_lost_ns=np.zeros((classes, arrays.CAUSES)),
        workload_lost_ns=np.zeros((workloads, arrays.CAUSES)),
        stops=_zeros(workloads, 2),
        measures=np.zeros(MEASURES),
        scratch=_zeros(3, nodes),
        domain_scratch=_zeros(3, int(farm.domains.max())),
        found=_zeros(slots),
    )
    return State(node_state, loop_state, unit_state, tally, new_state(model.fleet, events, outages))


def _queue(length: int) -> EventQueue:
    return EventQueue(
        time_ns=_zeros(length),
        kind=_zeros(length),
        seq=_zeros(length),
        entity=_zeros(length),
        stamp=_zeros(length),
        size=_zeros(2),
    )


def _log(length: int, racks: int, moments_ns: Ints | None = None) -> EventLog:
    times = _zeros(0) if moments_ns is None else moments_ns
    return EventLog(
        time_ns=_zeros(length),
        kind=_zeros(length),
        entity=_zeros(length),
        detail=_zeros(length),
        sample_ns=_zeros(length),
        sample_mw=_zeros(length),
        sample_down=_zeros(length),
        sample_c=np.zeros(length),
        moments=RackMoments(
            time_ns=times,
            rack_mw=_zeros(len(times), racks),
            hottest_c=np.full((len(times), racks), np.nan),
            inlet_c=np.full((len(times), racks), np.nan),
            throttled=_zeros(len(times), racks),
        ),
        size=_zeros(3),
    )


def new_outcome(model: Model, futures: int) -> Outcome:
    """Empty results."""
    farm = model.columns
    classes, units = len(farm.fleet.classes), len(farm.units.workload)
    workloads = len(farm.workloads.gang) - 1
    bins = -(-(model.nodes + 1) // arrays.down_bin(model.nodes))
    return Outcome(
        metrics=np.full((futures, arrays.METRIC_COUNT), np.nan),
        places=_zeros(futures, arrays.PLACES),
        class_down_ns=np.zeros((futures, classes)),
        class_gang_ns=np.zeros((futures, classes)),
        unit_times_ns=_zeros(futures, units, 4),
        class_lost_ns=np.zeros((futures, classes, arrays.CAUSES)),
        workload_lost_ns=np.zeros((futures, workloads, arrays.CAUSES)),
        stops=_zeros(futures, workloads, 2),
        down_at=np.zeros((futures, arrays.GRID), np.int32),
        down_ns=_zeros(futures, bins),
        class_tally=np.zeros((futures, classes + 1, TALLIES)),
    )


class _Worker:
    """Buffers of one thread."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._length = 2 * len(model.columns.units.workload) + QUEUE_MARGIN
        self._room = first_room(model.fleet)
        self.state = _state(model, *self._room)
        self.queue = _queue(self._length)
        self.log = _log(0, len(model.columns.sites.rack_limit_mw))

    def grow(self) -> None:
        """Twice the room for events and outages."""
        self._length, self._room = 2 * self._length, (2 * self._room[0], 2 * self._room[1])
        self.state = _state(self._model, *self._room)
        self.queue = _queue(self._length)


class Simulator:
    """Plays futures of one model from one placement.

    Parameters
    ----------
    slot_node
        [S] node of each slot.
    workers
        Threads; kernels hold no lock, each future writes its own row, so the number changes
        nothing but the time taken.

    Attributes
    ----------
    cooling
        What single faults of the cooling do, for the metrics that tell it; None: not asked for.
    """

    def __init__(
        self, model: Model, slot_node: Ints, seed: int, horizon_ns: int, workers: int | None = None
    ) -> None:
        self.model = model
        self.slot_node = np.ascontiguousarray(slot_node, dtype=np.int64)
        self.slot_node.setflags(write=False)
        self.seed = seed
        self.horizon_ns = horizon_ns
        self._workers = workers or min(os.cpu_count() or 1, 8)
        self.cooling: CoolingStudy | None = None
        self._pool: list[_Worker] = []

    def _worker(self, index: int) -> _Worker:
        while len(self._pool) <= index:
            self._pool.append(_Worker(self.model))
        return self._pool[index]

    def _play_rows(
        self, worker: _Worker, outcome: Outcome, first: int, row: int, futures: int
    ) -> None:
        played = 0
        while played < futures:
            played += run_batch(
                self.model.columns,
                self.slot_node,
                worker.state,
                worker.queue,
                worker.log,
                outcome,
                self.seed,
                first + played,
                row + played,
                futures - played,
                self.model.fleet.warm_ns,
                self.horizon_ns,
            )
            if played < futures:
                worker.grow()

    def play(self, first: int, futures: int) -> Outcome:
        """Results of the futures `first` to `first + futures - 1`."""
        outcome = self._played(first, futures)
        if self.cooling is not None:
            self.cooling.fill(outcome.metrics)
        return outcome

    def _played(self, first: int, futures: int) -> Outcome:
        outcome = new_outcome(self.model, futures)
        threads = min(self._workers, futures)
        if self.model.nodes * futures < THREAD_WORTH:
            threads = 1
        if threads == 1:
            self._play_rows(self._worker(0), outcome, first, 0, futures)
            return outcome
        cuts = [futures * index // threads for index in range(threads + 1)]
        workers = [self._worker(index) for index in range(threads)]
        with ThreadPoolExecutor(threads) as pool:
            parts = [
                pool.submit(self._play_rows, worker, outcome, first + low, low, high - low)
                for worker, low, high in zip(workers, cuts, cuts[1:], strict=False)
            ]
            for part in parts:
                part.result()
        return outcome

    def replay(self, future: int, moments: int = 0) -> Replay:
        """One future with its event log and samples, and its racks at about so many moments.

        The future is played again to see the racks: only then is it known when to look.
        """
        from kfarm_twin.results import Replay  # noqa: PLC0415 - Arrow starts a thread

        worker = self._worker(0)
        racks = len(self.model.columns.sites.rack_limit_mw)
        length, outcome, times = LOG_START, new_outcome(self.model, 1), None
        while True:
            log = _log(length, racks, times)
            played = run_batch(
                self.model.columns,
                self.slot_node,
                worker.state,
                worker.queue,
                log,
                outcome,
                self.seed,
                future,
                0,
                1,
                self.model.fleet.warm_ns,
                self.horizon_ns,
            )
            if played == 0:
                worker.grow()
            elif int(log.size[:2].max()) > length:
                length = int(log.size[:2].max())
            elif moments > 0 and times is None:
                times = chosen_moments(log, moments, self.horizon_ns)
            else:
                return Replay.from_log(self.model, log, outcome, future, self.horizon_ns)


def simulate(
    model: Model, slot_node: Ints, *, seed: int, futures: int, horizon_ns: int
) -> SimulationResult:
    """Play `futures` futures up to `horizon_ns` [ns] from slots on nodes `slot_node` [S]."""
    from kfarm_twin.results import SimulationResult  # noqa: PLC0415 - Arrow starts a thread

    simulator = Simulator(model, slot_node, seed, horizon_ns)
    return SimulationResult(model, seed, horizon_ns, simulator.play(0, futures))
