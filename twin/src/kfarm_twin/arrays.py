"""Columns that kernels read and write: NamedTuples of contiguous arrays, units in the names.

Model columns are read-only; `State`, `EventQueue`, `EventLog`, `Trace` and `Outcome` are written.
Integers are int64 throughout: time in nanoseconds [ns], power in milliwatts [mW], shares in parts
per million [ppm], so that sums are exact and do not depend on their order. Letters for shapes: N
nodes, C clusters, K failure classes, R racks, U loops (CDUs, or one air zone per cluster), F plants
(one per farm), W workloads and one more row for what others run, G units (a gang, or one pod that
is in no gang), S slots, L levels, Q resources.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from kfarm_twin.kernels.fleet_columns import Fleet, FleetState
    from kfarm_twin.kernels.grid_columns import Grid, GridState
    from kfarm_twin.kernels.heat_columns import Heat, HeatState

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

ACCELERATORS, CPU, MEMORY, PODS = 0, 1, 2, 3
"""Resources: devices, CPU [m], memory [Mi], pods."""
RESOURCES = 4

NODE, RACK, SCALABLE_UNIT, CLUSTER = 0, 1, 2, 3
"""Topology levels, from the narrowest."""
LEVELS = 4

BY_EQUILIBRIUM, STARTS_UP, STARTS_DOWN, NEVER_UP = 0, 1, 2, 3
"""How a node starts: drawn from the stationary state, as observed, or off for good."""


class Nodes(NamedTuple):
    """One row per node. All [N], but `domain` [L, N] and `free` [N, Q]."""

    cluster: Ints
    rack: Ints
    loop: Ints
    plant: Ints
    schedulable: Ints  # 1: may take pods
    spare: Ints  # 1: replacement only
    start: Ints  # BY_EQUILIBRIUM, STARTS_UP, STARTS_DOWN or NEVER_UP
    devices: Ints  # all that the node has
    others: Ints  # devices that others use
    domain: Ints  # index of the domain at each level
    free: Ints  # what others leave of each resource


class Clusters(NamedTuple):
    """One row per cluster [C]."""

    detection_ns: Ints  # of classes that name none
    base_mw: Ints  # node with idle devices, without described fans
    overhead_mw: Ints  # of that, what is beside the devices
    idle_device_mw: Ints
    throttle_c: Floats


class Sites(NamedTuple):
    """Limits of what nodes share: racks [R], loops [U], plants [F]; 0 where none is declared."""

    rack_limit_mw: Ints
    loop_limit_mw: Ints  # heat at which the loop is full
    loop_cluster: Ints
    plant_limit_mw: Ints  # heat, without the redundant chillers


class Workloads(NamedTuple):
    """Behaviour of workloads [W], but `need` [W, Q]. The last row is what others run."""

    need: Ints
    gang: Ints
    training: Ints
    inference: Ints
    required: Ints  # level
    preferred: Ints  # level, or -1
    interval_ns: Ints  # work between saves; FAR_NS without checkpoints
    save_ns: Ints
    restart_ns: Ints
    duration_ns: Ints  # work to be done; FAR_NS when it never ends
    least: Ints  # pods with which a gang goes on; all of them unless it is elastic


class Loads(NamedTuple):
    """What a pod of a workload does on a cluster [W, C]."""

    rank: Ints  # preference, from 0; -1 where it cannot run
    pod_mw: Ints  # above the idle node
    device_mw: Ints  # one device
    beside_mw: Ints  # above the idle node, but not by devices
    speed_ppm: Ints  # below 1e6 where a device is capped


class Units(NamedTuple):
    """What starts and stops as one [G], and its slots [S]."""

    workload: Ints
    first_slot: Ints
    slots: Ints
    counted: Ints  # 0 for surge
    slot_unit: Ints  # [S]


class Farm(NamedTuple):
    """All read-only columns of a model."""

    nodes: Nodes
    clusters: Clusters
    sites: Sites
    workloads: Workloads
    loads: Loads
    units: Units
    domains: Ints  # [L] number of domains per level
    fleet: Fleet  # what fails, and how it is mended; its last class is that of nodes too hot
    heat: Heat  # how all warms and is cooled; its first zones are the loops
    grid: Grid  # the way of power from the node to the site's connection


class NodeState(NamedTuple):
    """Nodes and what they share, as of now."""

    up: Ints  # [N]
    health: Ints  # [N, HEALTH]
    devices: Ints  # [N, devices of the largest, 3] state, class and time of a lost device
    free: Ints  # [N, Q]
    power_mw: Ints  # [N] as drawn, mean; part of `GridState.node_mw`
    rack_mw: Ints  # [R] as drawn, mean; part of `GridState.rack_mw`
    plant_mw: Ints  # [F]
    cluster_mw: Ints  # [C]
    first_slot: Ints  # [N] head of the list of slots, ascending; -1
    rack_dirty: Ints  # [2, R] whether power changed; the racks where it did


class AskState(NamedTuple):
    """What runs asks for, and what of it limits let through."""

    dirty: Ints  # [2, N] whether what runs there changed; the nodes where it did
    hot_since: Ints  # [N] since when it is off because of heat [ns]; -1: it is not
    fixed_mw: Ints  # [N] asked for whatever limits there are: idle devices, what is beside them
    live_mw: Ints  # [N] asked for by devices above idle
    loss_mw: Ints  # [N] lost in power supplies, as the heat engine knows it
    pace_ppm: Ints  # [U + X] share of it that the limit of a capped rack lets devices ask for
    pace_dirty: Ints  # [U + X] whether that is to be looked at again


class UnitState(NamedTuple):
    """Units as of now [G], and their slots [S]."""

    row: Ints  # [G, columns of `kernels.unit_columns`]
    slot_node: Ints  # [S] or -1
    next_slot: Ints  # [S] next on the same node


class Tally(NamedTuple):
    """Sums and extremes of the running future; places of `counts` and `totals` are named below."""

    counts: Ints  # [COUNTS]
    totals: Floats  # [TOTALS]
    class_down_ns: Floats  # [K] device time lost to nodes that are down
    class_gang_ns: Floats  # [K] device time that gangs lost
    lost_ns: Floats  # [CAUSES] device time
    class_lost_ns: Floats  # [K, CAUSES] of that, by class
    workload_lost_ns: Floats  # [W, CAUSES] of that, by workload
    stops: Ints  # [W, 2] interruptions, planned moves
    measures: Floats  # of the fleet, as `kernels.fleet_measure` writes them
    scratch: Ints  # [3, N] for placement: rooms, ranks, usable
    domain_scratch: Ints  # [3, most domains of a level]
    found: Ints  # [S] nodes found for missing members


class EventQueue(NamedTuple):
    """Binary heap; `size` holds the number of events and the next sequence number."""

    time_ns: Ints
    kind: Ints
    seq: Ints
    entity: Ints
    stamp: Ints
    size: Ints


class RackMoments(NamedTuple):
    """All racks at M moments that were chosen beforehand; NaN where nothing is known."""

    time_ns: Ints  # [M] rising
    rack_mw: Ints  # [M, R]
    hottest_c: Floats  # [M, R] hottest device of the rack
    inlet_c: Floats  # [M, R] air at the rack
    throttled: Ints  # [M, R] devices that throttle


class EventLog(NamedTuple):
    """What happened [capacity 0: not recorded]; `size` holds events, samples and moments."""

    time_ns: Ints
    kind: Ints
    entity: Ints
    detail: Ints
    sample_ns: Ints
    sample_mw: Ints
    sample_down: Ints
    sample_c: Floats
    moments: RackMoments
    size: Ints


class State(NamedTuple):
    """All that a run writes beside its log and outcome."""

    nodes: NodeState
    asks: AskState
    heat: HeatState
    units: UnitState
    tally: Tally
    fleet: FleetState
    grid: GridState


class Stand(NamedTuple):
    """A farm at rest: which nodes are up, and what is found."""

    up: Ints  # [N]
    nodes: Floats  # [N, 2] hottest device [degC], devices that are slowed
    inlet_c: Floats  # [R] air at the racks


class Outcome(NamedTuple):
    """Results, one row per future."""

    metrics: Floats  # [futures, METRIC_COUNT]; NaN where a metric has no value
    places: Ints  # [futures, PLACES] which rack, loop, plant, unit was the worst
    class_down_ns: Floats  # [futures, K]
    class_gang_ns: Floats  # [futures, K]
    unit_times_ns: Ints  # [futures, G, 4] retained, span, stopped, of that waiting
    class_lost_ns: Floats  # [futures, K, CAUSES] device time
    workload_lost_ns: Floats  # [futures, W, CAUSES] device time; a gang is a workload
    stops: Ints  # [futures, W, 2] interruptions, planned moves
    down_at: NDArray[np.int32]  # [futures, <= GRID] nodes down at equal steps from the start
    down_ns: Ints  # [futures, <= BINS] time by number of nodes down, in bins of `down_bin` nodes
    class_tally: Floats  # [futures, K + 1, TALLIES] of the fleet, drains last
    hours: Floats  # [futures, H, C + Z] energy of nodes by cluster, heat by zone [J]; H may be 0


def down_bin(nodes: int) -> int:
    """Nodes per bin of `Outcome.down_ns`, which begins at 0 nodes down."""
    return -(-(nodes + 1) // BINS)


GRID = 512
"""Most points of `Outcome.down_at`."""
BINS = 2048
"""Most bins of `Outcome.down_ns`."""

# Columns of NodeState.health: class that the node is down with, and since when; speed of its pods,
# and the class that makes them slow; the class that silently spoils what runs here; devices lost,
# in all and of others. Classes are rows, or -1.
FAILED_CLASS, FAILED_NS, SPEED_PPM, SLOW_CLASS, CORRUPT_CLASS = 0, 1, 2, 3, 4
LOST_DEVICES, OTHERS_LOST = 5, 6
HEALTH = 7

SOUND, LOST_OURS, LOST_OTHERS = 0, 1, 2
"""State of a device; a lost one was held by others, or not."""

LOST_DOWN, LOST_REWORK, LOST_DETECTION, LOST_WAITING, LOST_RESTART, LOST_SAVES, LOST_SLOW = range(7)
CAUSES = 7
"""Why device time is lost: its node (or it itself) is down; work since the last save, or spoilt;
until a failure is found; waiting for a node; restarts; saves; slow or hot members."""

# Places of Tally.counts.
NOW, DOWN, SERVING, REPLICAS, INTERRUPTIONS, TOTAL_MW, PEAK_MW, DOWN_MAX = 0, 1, 2, 3, 4, 5, 6, 7
RECOVER_MAX, SERVING_MIN, RACK_PEAK, RACK_AT, LOAD_AT, LOOP_AT, PLANT_AT = 8, 9, 10, 11, 12, 13, 14
THROTTLED_MAX, RECOVER_AT, INLET_AT, SHUTDOWNS = 15, 16, 17, 18
SHORT, DIRTY_RACKS, GRID_AT, RECOVERIES, MOVES, ASKING = 19, 20, 21, 22, 23, 24
COUNTS = 25

# Places of Tally.totals.
UP_TIME, SERVING_TIME, ENERGY, RACK_LOAD, LOOP_LOAD = 0, 1, 2, 3, 4
PLANT_LOAD, LOST, INLET, RECOVER_TIME, THROTTLED_TIME = 5, 6, 7, 8, 9
TOTALS = 10

# Columns of Outcome.places.
WORST_UNIT, WORST_RACK, WORST_LOAD_RACK, WORST_LOOP = 0, 1, 2, 3
WORST_PLANT, HOTTEST_NODE, SLOWEST_UNIT, INLET_RACK = 4, 5, 6, 7
WORST_PDU, WORST_FEED, WORST_SITE = 8, 9, 10
PLACES = 11

METRIC_ORDER = (
    "ettr",
    "gang_interruptions",
    "time_to_recover_max",
    "replicas_available_min",
    "replicas_available_mean",
    "availability",
    "nodes_down_max",
    "lost_accelerator_hours",
    "it_power_peak",
    "it_energy",
    "rack_power_peak",
    "rack_power_load_max",
    "cdu_load_max",
    "plant_load_max",
    "rack_inlet_temperature_max",
    "accelerator_temperature_max",
    "throttle_headroom_min",
    "throttled_accelerators_max",
    "goodput",
    "mtti",
    "time_to_recover_mean",
    "nodes_down_mean",
    "nodes_down_p50",
    "nodes_down_p95",
    "nodes_down_p99",
    "node_failures",
    "nodes_failed",
    "top_decile_share",
    "outage_mean",
    "outage_p50",
    "outage_p95",
    "repair_wait_mean",
    "lost_accelerator_hours_down",
    "lost_accelerator_hours_rework",
    "lost_accelerator_hours_detection",
    "lost_accelerator_hours_waiting",
    "lost_accelerator_hours_restart",
    "lost_accelerator_hours_saves",
    "lost_accelerator_hours_slow",
    "it_power_peak_1s",
    "it_power_peak_1min",
    "it_power_peak_15min",
    "pdu_power_load_max",
    "feed_power_load_max",
    "site_power_load_max",
    "facility_power_peak",
    "facility_energy",
    "pue",
    "wue",
    "water",
    "energy_cost",
    "carbon",
    "energy_per_accelerator_hour",
    "cost_per_accelerator_hour",
    "throttled_accelerator_hours",
    "thermal_shutdowns",
    "time_to_throttle_min",
    "time_to_shutdown_min",
)
"""Columns of Outcome.metrics; the names of ``kfarm_api.metrics``."""
METRIC_COUNT = len(METRIC_ORDER)
