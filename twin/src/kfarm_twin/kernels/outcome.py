"""What is kept of a future: one row of metrics, places and times."""

from __future__ import annotations

import math

from kfarm_twin._jit import inner, spliced
from kfarm_twin.arrays import (
    ACCELERATORS,
    BINS,
    CAUSES,
    DOWN_MAX,
    ENERGY,
    HOTTEST_NODE,
    INLET,
    INLET_AT,
    INLET_RACK,
    INTERRUPTIONS,
    LOAD_AT,
    LOOP_AT,
    LOOP_LOAD,
    LOST,
    METRIC_COUNT,
    METRIC_ORDER,
    PEAK_MW,
    PLANT_AT,
    PLANT_LOAD,
    RACK_AT,
    RACK_LOAD,
    RACK_PEAK,
    RECOVER_AT,
    RECOVER_MAX,
    RECOVER_TIME,
    RECOVERIES,
    REPLICAS,
    SERVING_MIN,
    SERVING_TIME,
    SHUTDOWNS,
    SLOWEST_UNIT,
    THROTTLED_MAX,
    THROTTLED_TIME,
    UP_TIME,
    WORST_FEED,
    WORST_LOAD_RACK,
    WORST_LOOP,
    WORST_PDU,
    WORST_PLANT,
    WORST_RACK,
    WORST_SITE,
    WORST_UNIT,
    Farm,
    Floats,
    Outcome,
    State,
)
from kfarm_twin.kernels import heat_columns as h
from kfarm_twin.kernels import unit_columns as u
from kfarm_twin.kernels.fleet_measure import (
    DOWN_MEAN,
    DOWN_P50,
    DOWN_P95,
    DOWN_P99,
    FAILURES,
    NODES_HIT,
    OUTAGE_MEAN,
    OUTAGE_P50,
    OUTAGE_P95,
    TOP_DECILE,
    WAIT_MEAN,
)
from kfarm_twin.kernels.grid_columns import (
    HIGHEST,
    ONE_MINUTE,
    ONE_SECOND,
    WINDOWS,
    Grid,
    GridState,
)
from kfarm_twin.kernels.peaks import peak_mw
from kfarm_twin.kernels.power import ABSENT_C, KILO, any_positive

THROTTLED_HOURS = METRIC_ORDER.index("throttled_accelerator_hours")
THERMAL_SHUTDOWNS = METRIC_ORDER.index("thermal_shutdowns")
NS = 1e-9
NS_PER_HOUR = 3.6e12


@spliced
def _write_units(farm: Farm, state: State, outcome: Outcome, row: int, horizon: int) -> None:
    worst = math.inf
    kept, spans, alone = 0.0, 0.0, 0.0
    for unit in range(farm.units.workload.shape[0]):
        span = state.units.row[unit, u.END]
        if state.units.row[unit, u.PHASE] != u.DONE:
            span = horizon
        retained = state.units.row[unit, u.KEPT] + state.units.row[unit, u.WORK]
        outcome.unit_times_ns[row, unit, 0] = retained
        outcome.unit_times_ns[row, unit, 1] = span
        outcome.unit_times_ns[row, unit, 2] = state.units.row[unit, u.DOWN]
        outcome.unit_times_ns[row, unit, 3] = state.units.row[unit, u.WAITED]
        if farm.workloads.training[farm.units.workload[unit]] == 0:
            continue
        workload = farm.units.workload[unit]
        devices = float(farm.units.slots[unit] * farm.workloads.need[workload, ACCELERATORS])
        kept += float(retained) * devices
        spans += float(span) * devices
        alone += float(span)
        share = float(retained) / float(span)
        if share < worst:
            worst = share
            outcome.places[row, WORST_UNIT] = unit
    interruptions = float(max(state.tally.counts[INTERRUPTIONS], 1))
    trains = worst < math.inf
    outcome.metrics[row, 0] = worst if trains else math.nan
    outcome.metrics[row, 18] = kept / spans if trains else math.nan
    outcome.metrics[row, 19] = alone / interruptions * NS if trains else math.nan


@spliced
def _write_fleet(state: State, outcome: Outcome, row: int) -> None:
    """Figures of the fleet; 0 where there was no failure to take a mean of."""
    found, metrics = state.tally.measures, outcome.metrics[row]
    places = (DOWN_MEAN, DOWN_P50, DOWN_P95, DOWN_P99, FAILURES, NODES_HIT, TOP_DECILE,
              OUTAGE_MEAN, OUTAGE_P50, OUTAGE_P95, WAIT_MEAN)  # fmt: skip
    for index in range(len(places)):
        value = found[places[index]]
        metrics[21 + index] = 0.0 if math.isnan(value) else value
    nodes = state.nodes.up.shape[0]
    width = (nodes + BINS) // BINS
    outcome.down_ns[row, :] = 0
    for down in range(nodes + 1):
        outcome.down_ns[row, down // width] += state.fleet.down_ns[down]
    for failed in range(state.fleet.tally.shape[0]):
        for column in range(state.fleet.tally.shape[1]):
            outcome.class_tally[row, failed, column] = state.fleet.tally[failed, column]


@inner
def _fullest(grid: Grid, now: GridState, window: int, first: int, end: int) -> int:
    """The meter among some with the highest share of its limit; -1 where none has one."""
    best, found = -1.0, -1
    for meter in range(first, end):
        limit = grid.limit_mw[meter]
        if limit > 0 and now.energy[meter, HIGHEST + window] / float(limit) > best:
            best = now.energy[meter, HIGHEST + window] / float(limit)
            found = meter
    return found


@spliced
def _write_peaks(farm: Farm, state: State, outcome: Outcome, row: int) -> None:
    """Peaks of all IT power, and the fullest PDU, feed and site."""
    metrics, grid, energy = outcome.metrics[row], farm.grid, state.grid.energy
    last = energy.shape[0] - 1
    for window in range(WINDOWS):
        metrics[39 + window] = peak_mw(energy[last, HIGHEST + window], window) * KILO
    pdus, clusters = grid.pdu_cluster.shape[0], grid.cluster.shape[0]
    starts = (0, pdus, pdus + clusters, last)
    windows = (ONE_SECOND, ONE_SECOND, ONE_MINUTE)
    places = (WORST_PDU, WORST_FEED, WORST_SITE)
    for kind in range(3):
        window = windows[kind]
        meter = _fullest(grid, state.grid, window, starts[kind], starts[kind + 1])
        outcome.places[row, places[kind]] = max(meter - starts[kind], 0)
        if meter >= 0:
            peak = peak_mw(energy[meter, HIGHEST + window], window)
            metrics[42 + kind] = peak / float(grid.limit_mw[meter])


@spliced
def _write_metrics(farm: Farm, state: State, outcome: Outcome, row: int, horizon: int) -> None:
    count, total, metrics = state.tally.counts, state.tally.totals, outcome.metrics[row]
    nodes, span = float(state.nodes.up.shape[0]), float(horizon)
    trains = not math.isnan(metrics[0])
    metrics[1] = float(count[INTERRUPTIONS]) if trains else math.nan
    metrics[2] = float(count[RECOVER_MAX]) * NS if trains else math.nan
    replicas = float(count[REPLICAS])
    metrics[3] = float(count[SERVING_MIN]) / replicas if replicas > 0.0 else math.nan
    metrics[4] = total[SERVING_TIME] / (replicas * span) if replicas > 0.0 else math.nan
    metrics[5] = total[UP_TIME] / (nodes * span)
    metrics[6] = float(count[DOWN_MAX])
    metrics[7] = total[LOST] / NS_PER_HOUR
    metrics[8] = float(count[PEAK_MW]) * KILO
    metrics[9] = total[ENERGY]
    metrics[10] = float(count[RACK_PEAK]) * KILO
    metrics[11] = total[RACK_LOAD] if any_positive(farm.sites.rack_limit_mw) else math.nan
    metrics[12] = total[LOOP_LOAD] if any_positive(farm.sites.loop_limit_mw) else math.nan
    metrics[13] = total[PLANT_LOAD] if any_positive(farm.sites.plant_limit_mw) else math.nan
    metrics[14] = total[INLET]
    metrics[15] = ABSENT_C
    metrics[16] = math.inf
    for cluster in range(state.heat.cluster.shape[0]):
        hottest = state.heat.cluster_c[cluster, h.HOTTEST_C]
        metrics[16] = min(metrics[16], farm.clusters.throttle_c[cluster] - hottest)
        if hottest > metrics[15]:
            metrics[15] = hottest
            outcome.places[row, HOTTEST_NODE] = state.heat.cluster[cluster, h.HOT_NODE]
    devices = 0
    for node in range(farm.nodes.devices.shape[0]):
        devices += farm.nodes.devices[node]
    metrics[17] = float(count[THROTTLED_MAX]) / float(devices)
    recoveries = float(max(count[RECOVERIES], 1))
    _write_fleet(state, outcome, row)
    metrics[20] = total[RECOVER_TIME] / recoveries * NS if trains else math.nan
    for cause in range(CAUSES):
        metrics[32 + cause] = state.tally.lost_ns[cause] / NS_PER_HOUR
    for column in range(32 + CAUSES, METRIC_COUNT):
        metrics[column] = math.nan
    _write_peaks(farm, state, outcome, row)
    metrics[THROTTLED_HOURS] = total[THROTTLED_TIME] / NS_PER_HOUR
    metrics[THERMAL_SHUTDOWNS] = float(count[SHUTDOWNS])


@inner
def _copy(source: Floats, target: Floats) -> None:
    for index in range(source.shape[0]):
        for cause in range(CAUSES):
            target[index, cause] = source[index, cause]


@spliced
def write_outcome(farm: Farm, state: State, outcome: Outcome, row: int, horizon: int) -> None:
    """Write the metrics of a future that has ended, and what was behind them, to row `row`."""
    count, places = state.tally.counts, outcome.places[row]
    places[WORST_RACK] = count[RACK_AT]
    places[WORST_LOAD_RACK] = count[LOAD_AT]
    places[WORST_LOOP] = count[LOOP_AT]
    places[WORST_PLANT] = count[PLANT_AT]
    places[INLET_RACK] = count[INLET_AT]
    places[SLOWEST_UNIT] = count[RECOVER_AT]
    for index in range(state.tally.class_down_ns.shape[0]):
        outcome.class_down_ns[row, index] = state.tally.class_down_ns[index]
        outcome.class_gang_ns[row, index] = state.tally.class_gang_ns[index]
    _copy(state.tally.class_lost_ns, outcome.class_lost_ns[row])
    _copy(state.tally.workload_lost_ns, outcome.workload_lost_ns[row])
    for workload in range(state.tally.stops.shape[0]):
        outcome.stops[row, workload, 0] = state.tally.stops[workload, 0]
        outcome.stops[row, workload, 1] = state.tally.stops[workload, 1]
    _write_units(farm, state, outcome, row, horizon)
    _write_metrics(farm, state, outcome, row, horizon)
