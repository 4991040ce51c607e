"""Play futures: buffers, one kernel call per future, longer buffers where they were too short."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from kfarm_twin import arrays
from kfarm_twin.arrays import EventLog, EventQueue, Ints, Outcome, RackMoments, Stand, State
from kfarm_twin.compile import Model
from kfarm_twin.fleet import first_room, new_state
from kfarm_twin.heat import new_state as new_heat_state
from kfarm_twin.kernels import unit_columns
from kfarm_twin.kernels.fleet_columns import TALLIES
from kfarm_twin.kernels.fleet_measure import MEASURES
from kfarm_twin.kernels.grid_columns import ENERGIES, METER, WINDOWS, GridState
from kfarm_twin.kernels.loop import run_batch
from kfarm_twin.moments import chosen_moments
from kfarm_twin.outcomes import join_outcomes
from kfarm_twin.simulate_facility import fill_facility, hour_columns, hours_of, site_of

if TYPE_CHECKING:
    from kfarm_twin.cooling import CoolingStudy
    from kfarm_twin.results import Replay, SimulationResult

QUEUE_MARGIN = 64
LOG_START = 4096
THREAD_WORTH = 20_000
"""Nodes x futures from which a second thread pays."""
HOURS_HELD = 2_000_000
"""Figures by the hour that are held at a time (16 MB)."""


def _zeros(*shape: int) -> Ints:
    return np.zeros(shape, np.int64)


def new_grid(farm: arrays.Farm) -> GridState:
    """Empty columns of the way of power."""
    grid = farm.grid
    cases, pdus = len(grid.swing_mw) + 1, len(grid.pdu_cluster)
    meters = len(grid.limit_mw)
    return GridState(
        swing_mw=_zeros(cases - 1, len(grid.node)),
        node_mw=_zeros(cases, len(grid.node)),
        branch_mw=_zeros(cases, len(grid.branch), 2),
        rack_mw=_zeros(cases, len(grid.rack) - 1),
        pdu_mw=_zeros(cases, pdus, 2),
        cluster_mw=_zeros(cases, len(grid.cluster) + 1),
        pdu_dirty=_zeros(2, pdus + 1),
        block=_zeros(WINDOWS),
        meter=_zeros(meters, METER),
        energy=np.zeros((meters, ENERGIES)),
    )


def _state(model: Model, events: int, outages: int) -> State:
    farm = model.columns
    nodes, racks = model.nodes, len(farm.sites.rack_limit_mw)
    units, slots = len(farm.units.workload), len(farm.units.slot_unit)
    plants, classes = len(farm.sites.plant_limit_mw), len(farm.fleet.classes)
    workloads = len(farm.workloads.gang) - 1
    grid = new_grid(farm)
    groups = len(farm.grid.group) - 1
    node_state = arrays.NodeState(
        up=_zeros(nodes),
        health=_zeros(nodes, arrays.HEALTH),
        devices=_zeros(nodes, int(farm.nodes.devices.max()), 3),
        free=_zeros(nodes, arrays.RESOURCES),
        power_mw=grid.node_mw[0],
        rack_mw=grid.rack_mw[0],
        plant_mw=_zeros(plants),
        cluster_mw=_zeros(len(farm.clusters.base_mw)),
        first_slot=_zeros(nodes),
        rack_dirty=_zeros(2, racks),
    )
    ask_state = arrays.AskState(
        dirty=_zeros(2, nodes),
        hot_since=_zeros(nodes),
        fixed_mw=_zeros(nodes),
        live_mw=_zeros(nodes),
        loss_mw=_zeros(nodes),
        pace_ppm=_zeros(groups),
        pace_dirty=_zeros(groups),
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
    fleet = new_state(model.fleet, events, outages)
    heat = new_heat_state(model.heat)
    return State(node_state, ask_state, heat, unit_state, tally, fleet, grid)


def _stand(model: Model, nodes: int) -> Stand:
    racks = len(model.columns.sites.rack_limit_mw) if nodes else 0
    return Stand(_zeros(nodes), np.zeros((nodes, 2)), np.zeros(racks))


def stand_still(model: Model, slot_node: Ints, up: Ints) -> tuple[State, Stand]:
    """The farm at rest with slots on nodes `slot_node` [S] (-1: none) and nodes `up` [N]."""
    state, rest = _state(model, *first_room(model.fleet)), _stand(model, model.nodes)
    rest.up[:] = up
    where = np.array(slot_node, dtype=np.int64)
    where.setflags(write=False)  # else the whole loop is compiled once more for it
    run_batch(
        model.columns,
        where,
        state,
        _queue(0),
        _log(0, len(rest.inlet_c)),
        new_outcome(model, 0),
        rest,
        0,
        0,
        0,
        0,
        0,
        0,
    )
    return state, rest


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


def new_outcome(model: Model, futures: int, hours: int = 0) -> Outcome:
    """Empty results, with as many hours of energy and heat as asked for."""
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
        hours=np.zeros((futures, hours, hour_columns(model) if hours else 0)),
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

    Metrics of the facility follow from energy and heat by the hour once some futures are played.

    Parameters
    ----------
    slot_node
        [S] node of each slot.
    workers
        Threads; kernels hold no lock, each future writes its own row, so the number changes
        nothing but the time taken.
    facility
        Whether to fill the metrics of the facility.

    Attributes
    ----------
    cooling
        What single faults of the cooling do, for the metrics that tell it; None: not asked for.
    """

    def __init__(
        self,
        model: Model,
        slot_node: Ints,
        seed: int,
        horizon_ns: int,
        workers: int | None = None,
        *,
        facility: bool = True,
    ) -> None:
        self.model = model
        self.slot_node = np.array(slot_node, dtype=np.int64)
        self.slot_node.setflags(write=False)
        self.seed = seed
        self.horizon_ns = horizon_ns
        self._workers = workers or min(os.cpu_count() or 1, 8)
        self.cooling: CoolingStudy | None = None
        self._pool: list[_Worker] = []
        self._rest = _stand(model, 0)
        self._site = site_of(model) if facility else None

    @property
    def facility_assumptions(self) -> tuple[str, ...]:
        """What the manifests leave open about the facility."""
        return self._site.assumptions if self._site is not None else ()

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
                self._rest,
                self.seed,
                first + played,
                row + played,
                futures - played,
                self.model.fleet.warm_ns,
                self.horizon_ns,
            )
            if played < futures:
                worker.grow()
                outcome.hours[row + played] = 0.0  # what the future that lacked room had booked

    def play(self, first: int, futures: int) -> Outcome:
        """Results of the futures `first` to `first + futures - 1`, without their hours."""
        outcome = self._with_site(first, futures)
        if self.cooling is not None:
            self.cooling.fill(outcome.metrics)
        return outcome

    def _with_site(self, first: int, futures: int) -> Outcome:
        """Futures with the metrics of the facility, some at a time for the sake of memory."""
        if self._site is None:
            return self._played(first, futures, 0)
        hours = hours_of(self.horizon_ns)
        step = max(HOURS_HELD // (hours * hour_columns(self.model)), 1)
        parts = []
        for low in range(0, futures, step):
            part = self._played(first + low, min(step, futures - low), hours)
            fill_facility(self._site, self.model, part, self.horizon_ns, first + low)
            parts.append(part._replace(hours=part.hours[:, :0]))
        return join_outcomes(parts)

    def _played(self, first: int, futures: int, hours: int) -> Outcome:
        outcome = new_outcome(self.model, futures, hours)
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
        hours = hours_of(self.horizon_ns) if self._site else 0
        length, times = LOG_START, None
        while True:
            outcome, log = new_outcome(self.model, 1, hours), _log(length, racks, times)
            played = run_batch(
                self.model.columns,
                self.slot_node,
                worker.state,
                worker.queue,
                log,
                outcome,
                self._rest,
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
                if self._site is not None:
                    fill_facility(self._site, self.model, outcome, self.horizon_ns, future)
                return Replay.from_log(self.model, log, outcome, future, self.horizon_ns)


def simulate(
    model: Model, slot_node: Ints, *, seed: int, futures: int, horizon_ns: int
) -> SimulationResult:
    """Play `futures` futures up to `horizon_ns` [ns] from slots on nodes `slot_node` [S]."""
    from kfarm_twin.results import SimulationResult  # noqa: PLC0415 - Arrow starts a thread

    simulator = Simulator(model, slot_node, seed, horizon_ns)
    return SimulationResult(model, seed, horizon_ns, simulator.play(0, futures))
