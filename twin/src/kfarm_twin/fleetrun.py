"""Playing the failures of a fleet, alone or with one gang, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from kfarm_api.metrics import METRICS
from kfarm_api.snapshot import synthetic_snapshot
from numpy.typing import NDArray

from kfarm_twin.arrays import METRIC_ORDER, Floats, Ints, Outcome, down_bin
from kfarm_twin.compile import Model, compile_farm
from kfarm_twin.fleet import play as play_alone
from kfarm_twin.fleet_tables import CompiledFleet
from kfarm_twin.fleetrun_farm import (
    compile_alone,
    farms_of,
    named_in_run,
    plan_of,
    profiles_of,
)
from kfarm_twin.fleetrun_request import FleetRequest, check
from kfarm_twin.fleetrun_result import CAUSES, FleetRun
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.kernels import fleet_measure as m
from kfarm_twin.outcomes import join_outcomes
from kfarm_twin.place import Shortfall, place
from kfarm_twin.request import InputError
from kfarm_twin.simulate import Simulator

POINTS = 256
"""Points of time of the nodes down that are kept."""
BATCH = 64
"""Futures between two words on how far it is, at least."""
CELLS = 16_000_000
"""Nodes x futures that are held at once, at most: a future keeps a histogram of its nodes."""
NS_PER_HOUR = 3.6e12
_OF_MEASURES = {
    "availability": m.AVAILABILITY,
    "nodes_down_mean": m.DOWN_MEAN,
    "nodes_down_p50": m.DOWN_P50,
    "nodes_down_p95": m.DOWN_P95,
    "nodes_down_p99": m.DOWN_P99,
    "nodes_down_max": m.DOWN_MOST,
    "node_failures": m.FAILURES,
    "nodes_failed": m.NODES_HIT,
    "top_decile_share": m.TOP_DECILE,
    "outage_mean": m.OUTAGE_MEAN,
    "outage_p50": m.OUTAGE_P50,
    "outage_p95": m.OUTAGE_P95,
    "repair_wait_mean": m.WAIT_MEAN,
}
_NEEDS_DEVICE = (
    "it_power_peak",
    "it_energy",
    "rack_power_peak",
    "rack_inlet_temperature_max",
    "accelerator_temperature_max",
    "throttle_headroom_min",
    "throttled_accelerators_max",
    "it_power_peak_1s",
    "it_power_peak_1min",
    "it_power_peak_15min",
    "throttled_accelerator_hours",
    "thermal_shutdowns",
    "facility_power_peak",
    "facility_energy",
    "pue",
    "wue",
    "water",
    "energy_cost",
    "carbon",
    "energy_per_accelerator_hour",
    "cost_per_accelerator_hour",
)
"""Metrics without a value where a shape names no device."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Futures:
    """Futures played, in one form for a fleet alone and for one with a gang.

    Attributes
    ----------
    metrics
        By name [futures]; NaN where a future has no value, absent where none can have one.
    down_at
        [futures, points] nodes down at equal steps from the start.
    down_ns
        [bins] time with so many nodes down, in bins of `bin_nodes`, all futures together [ns].
    lost_h
        [K + 1, CAUSES] accelerator-hours lost in one future on average, by class, drains last.
    tally
        [K, TALLIES] of one future on average, by class.
    waited, wait_share
        [futures] whether the gang ever waited for a node, and for what share of its time; None
        without one.
    """

    fleet: CompiledFleet
    clusters: tuple[str, ...]
    metrics: dict[str, Floats]
    down_at: NDArray[np.int32]
    down_ns: Ints
    bin_nodes: int
    lost_h: Floats
    tally: Floats
    notes: tuple[str, ...] = ()
    interval_ns: int | None = None
    waited: Floats | None = None
    wait_share: Floats | None = None


def play(
    request: FleetRequest, progress: Progress | None = None, workers: int | None = None
) -> FleetRun:
    """Play every future and put them together.

    Parameters
    ----------
    progress
        Called with the futures done and their number.
    workers
        Threads; their number changes nothing but the time taken.

    Raises
    ------
    InputError
        When something is missing or contradicts itself.
    """
    from kfarm_twin.fleetrun_conclude import conclude  # noqa: PLC0415 - it imports this module

    return conclude(request, play_futures(request, progress, workers))


def play_futures(
    request: FleetRequest, progress: Progress | None = None, workers: int | None = None
) -> Futures:
    """Play every future of a request.

    Raises
    ------
    InputError
        When something is missing or contradicts itself.
    """
    check(request)
    try:
        if request.gang is None:
            return _alone(request, progress, workers)
        return _with_gang(request, progress, workers)
    except InputError as error:
        raise named_in_run(error) from error


def _batches(futures: int, nodes: int) -> list[tuple[int, int]]:
    """First future and number of futures of each batch: some twenty, neither small nor huge."""
    size = min(max(BATCH, -(-futures // 20)), max(CELLS // nodes, 1))
    return [(first, min(size, futures - first)) for first in range(0, futures, size)]


def _alone(request: FleetRequest, progress: Progress | None, workers: int | None) -> Futures:
    fleet, labels, told = compile_alone(request)
    spec, parts = request.spec, []
    down_ns = np.zeros(fleet.nodes + 1, np.int64)
    for first, count in _batches(spec.replicas, fleet.nodes):
        part = play_alone(
            fleet,
            seed=spec.seed,
            futures=count,
            horizon_ns=request.horizon_ns,
            first=first,
            points=POINTS,
            workers=workers,
        )
        down_ns += part.histogram.sum(axis=0)
        parts.append((part.measures, part.tallies, part.series.astype(np.int32)))
        if progress is not None:
            progress(first + count, spec.replicas)
    measures, tallies, series = (np.concatenate(column) for column in zip(*parts, strict=True))
    lost = np.zeros((tallies.shape[1], len(CAUSES)))
    lost[:, 0] = tallies[:, :, c.DOWN_NS].mean(axis=0) / NS_PER_HOUR
    return Futures(
        fleet=fleet,
        clusters=labels,
        metrics=_metrics_alone(measures, tallies[:, :, c.DOWN_NS].sum(axis=1) / NS_PER_HOUR),
        down_at=series,
        down_ns=down_ns,
        bin_nodes=1,
        lost_h=lost,
        tally=tallies[:, :-1].mean(axis=0),
        notes=told,
    )


def _metrics_alone(measures: Floats, down_h: Floats) -> dict[str, Floats]:
    """Metrics by name; 0 where there was no failure to take a mean of, as with a gang."""
    metrics = {
        name: np.nan_to_num(measures[:, column], nan=0.0) for name, column in _OF_MEASURES.items()
    }
    for cause in CAUSES:  # without work nothing is lost but what is down
        metrics[f"lost_accelerator_hours_{cause}"] = np.zeros(len(down_h))
    metrics["lost_accelerator_hours"] = down_h
    metrics["lost_accelerator_hours_down"] = down_h
    return metrics


def compile_gang(request: FleetRequest) -> tuple[Model, Ints]:
    """A farm with the gang on it, and the node of each of its slots.

    Raises
    ------
    InputError
        When the gang has no place.
    """
    gang, farms = request.gang, farms_of(request)
    if gang is None:
        raise InputError("spec.workload", "no gang", "a gang")
    plan = plan_of(farms, gang)
    model = compile_farm(farms, profiles_of(request), plan, synthetic_snapshot(farms))
    placed = place(model)
    if isinstance(placed, Shortfall):
        raise InputError("spec.workload.gang", placed.message, "a gang that has a place")
    return model, placed


def _with_gang(request: FleetRequest, progress: Progress | None, workers: int | None) -> Futures:
    model, placed = compile_gang(request)
    return play_model(request, model, placed, progress, workers)


def play_model(
    request: FleetRequest,
    model: Model,
    placed: Ints,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Futures:
    """Play every future of a gang that is compiled and placed."""
    spec, parts = request.spec, []
    simulator = Simulator(
        model, placed, spec.seed, request.horizon_ns, workers, facility=spec.shape is None
    )
    for first, count in _batches(spec.replicas, model.nodes):
        part = simulator.play(first, count)
        parts.append(part._replace(down_ns=part.down_ns.sum(axis=0, keepdims=True)))
        if progress is not None:
            progress(first + count, spec.replicas)
    return of_outcome(request, model, join_outcomes(parts))


def of_outcome(request: FleetRequest, model: Model, outcome: Outcome) -> Futures:
    """Futures of a gang in the common form."""
    left_out = _NEEDS_DEVICE if request.spec.shape is not None else ()
    metrics = {
        name: outcome.metrics[:, column]
        for column, name in enumerate(METRIC_ORDER)
        if name not in left_out and METRICS[name].needs != "Inference"
    }
    lost = outcome.class_lost_ns.mean(axis=0) / NS_PER_HOUR
    total = np.array([np.mean(metrics[f"lost_accelerator_hours_{cause}"]) for cause in CAUSES])
    rest = np.maximum(total - lost.sum(axis=0), 0.0)  # of no failure class: drains, saves
    step = outcome.down_at.shape[1] // POINTS
    return Futures(
        fleet=model.fleet,
        clusters=model.names.clusters,
        metrics=metrics,
        down_at=outcome.down_at[:, ::step],
        down_ns=outcome.down_ns.sum(axis=0),
        bin_nodes=down_bin(model.nodes),
        lost_h=np.vstack([lost, rest]),
        tally=outcome.class_tally[:, :-1].mean(axis=0),
        notes=model.warnings,
        interval_ns=int(model.columns.workloads.interval_ns[0]),
        waited=(outcome.unit_times_ns[:, 0, 3] > 0).astype(np.float64),
        wait_share=outcome.unit_times_ns[:, 0, 3] / outcome.unit_times_ns[:, 0, 1],
    )
