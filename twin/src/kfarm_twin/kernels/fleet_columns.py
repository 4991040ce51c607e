"""Tables of the failure twin: what kernels read of a fleet, and what they write; places are named.

Letters: N nodes, C clusters, K failure classes (cluster by cluster, those pooled per node first),
P patients (the nodes, then one for each class of a domain and each such domain), X clocks of their
own (components that age, and domains), L levels of domains. Times in integer nanoseconds [ns].
"""

from __future__ import annotations

from typing import NamedTuple

from kfarm_twin.arrays import EventQueue, Floats, Ints

NONE = -1
FULL_PPM = 1_000_000
DAY_NS = 86_400_000_000_000
WEEK_NS = 7 * DAY_NS

# What goes down; from RACK to FARM also the rows of `Fleet.first` and `Fleet.members`.
RACK, UNIT, PDU, LOOP, HALL, FARM = 0, 1, 2, 3, 4, 5
LEVELS = 6
DEVICE, NODE, RAIL = 6, 7, 8
# What a failure does.
STOP, SLOW, CORRUPT = 0, 1, 2
# Rows of `FleetState.changes`: (WHAT, NODE, CLASS, DETAIL, DETECTION_NS).
WENT_DOWN, CAME_UP, LOST_DEVICE, GOT_DEVICE, SPEED, CORRUPTED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6
"""INTERRUPTED: what runs there stops once and may go on in place (a rail is lost)."""
CHANGE = 5
FAULT, ALARM, DRAIN, FOUND_CORRUPT = 0, 1, 2, 3
"""Details of WENT_DOWN."""
# Stages of a patient.
WELL, DETECTING, SILENT, RECOVERING, PART, CREW, MENDING, HELD, EXCHANGE, DRAINED = range(10)
PUT_OFF = 10
"""To the end of the unrest."""
# Kinds of events, in the order in which they happen at one instant.
TIMER, PART_COMES, CLOCK, NODE_CLOCK, RECURS, BURST, MEMBER, UNREST, UNREST_FAULT, DRAIN_DUE = (
    range(10)
)
# Purposes of draws; those of nodes keep the numbers of `failures`.
STARTS, STARTS_CLASS, STARTS_REPAIR, FAILS, FAILS_CLASS, FAILS_REPAIR = 1, 2, 3, 4, 5, 6
FRAILTY, COMPONENT, RECOVERS, NEEDS_PART, LEAD, RECURRENCE, RECURS_AFTER = 7, 8, 9, 10, 11, 12, 13
BURST_AFTER, BURST_SIZE, BURST_NODE, BURST_CLASS, BURST_OFFSET = 14, 15, 16, 17, 18
SPELL, UNREST_AFTER, UNREST_NODE, UNREST_CLASS, FOUND, WEARS, AGES, DOMAIN_DOWN = (
    19, 20, 21, 22, 23, 24, 25, 26,
)  # fmt: skip
UNREST_BURST, PUTS_OFF = 27, 28

# Columns of Fleet.nodes: RACK to FARM (-1: none), then these.
NODE_CLUSTER, DEVICES, START, FIRST_CLOCK, CLOCKS = 6, 7, 8, 9, 10
NODE_COLUMNS = 11
# Columns of Fleet.clusters.
FIRST_CLASS, POOLED, FIRST_NODE, NODES, CREWS, SHIFT_START, SHIFT_NS, SHIFT_DAYS = range(8)
HOLD_FAULTS, HOLD_WITHIN, HOLD_NS, LEMON_FAULTS, LEMON_WITHIN, LEMON_NS = range(8, 14)
DRAIN_EVERY, DRAIN_NS, DRAIN_MOST, DRAIN_RENEWS, WINDOW_NS = range(14, 19)
CLUSTER_COLUMNS = 19
# Columns of Fleet.rates [1/ns or 1].
RATE, QUIET, SHAPE, BURST_SHARE, BURST_MEAN, UNREST_SHARE, UNREST_FACTOR, SPELL_NS, DOWN = range(9)
STRESS_LAW, STRESS_SIZE, STRESS_AT, HOLDS = 9, 10, 11, 12
RATE_COLUMNS = 13
NO_STRESS, ARRHENIUS, PER_KELVIN = 0, 1, 2
"""Values of STRESS_LAW; STRESS_SIZE is an activation energy [eV] or a logarithm per kelvin."""
# Columns of Fleet.classes; from STEPS on four times (success [ppm], time [ns], attempts).
CLASS_CLUSTER, TAKES, EFFECT, PPM, EVICT, DETECTION, LAW, NEEDS_CREW, STOCK = range(9)
SIMPLE, IS_ALARM, LIFE, AGE, STEP_COUNT, STEPS = 9, 10, 11, 12, 13, 14
STEP_WIDTH = 3
CLASS_COLUMNS = STEPS + 4 * STEP_WIDTH
# Columns of Fleet.laws.
SHARE, DOWN_SHARE, MEAN, SCALE, REPAIR_SHAPE, LIFE_MEAN, LIFE_SCALE, LIFE_SHAPE = range(8)
LEAD_MEAN, LEAD_SPREAD, PART_SHARE, RECUR_SHARE, RECUR_MEAN = range(8, 13)
LAW_COLUMNS = 13
# Columns of Fleet.domains: of patients from N on.
DOMAIN_CLASS, DOMAIN_LEVEL, DOMAIN = 0, 1, 2
# Columns of Fleet.clocks.
CLOCK_CLASS, CLOCK_PATIENT, CLOCK_COMPONENT = 0, 1, 2

# Columns of FleetState.node.
CAUSES, ARMED, STAMP, OWN_PPM, DOMAIN_PPM, RAILS_LOST, SPEED_NOW, DOWN_SINCE, BLAME, FAULTS = range(
    10
)
EXCHANGES, RECENT_AT, CLOCK_SINCE = 10, 11, 12
STATE_COLUMNS = 13
# Columns of FleetState.hazard.
FRAIL, STRESS, LEFT, WEIGHT = 0, 1, 2, 3
# Columns of FleetState.patient.
STAGE, CLASS, ORDINAL, P_STAMP, BEGAN, STEP, ATTEMPT, NEXT, STRUCK, AT, MY_CLOCK, WAITS = range(12)
PATIENT_COLUMNS = 12
# Columns of FleetState.clock.
C_STAMP, BORN, LIVES = 0, 1, 2
# Columns of FleetState.cluster.
FREE_CREWS, HEAD, TAIL, RESTLESS, SPELLS, BURSTS, EXTRAS, ROUND, DRAINING, EXTRA_STAMP = range(10)
PUT_OFF_HEAD, PUT_OFF_TAIL = 10, 11
CLUSTER_STATE = 12
# Columns of FleetState.parts.
ON_SHELF, P_HEAD, P_TAIL, ORDERS = 0, 1, 2, 3
# Columns of FleetState.tally, by class; the last row is of drains.
OUTAGES, DOWN_NS, WAIT_NS, EVENTS, TRIES, HELPED = range(6)
TALLIES = 6
# Places of FleetState.now.
TIME, DOWN_COUNT, SINCE, ENDED, HORIZON, CHANGES, FULL, FAILURES, HIT = range(9)
NOW = 9


class Fleet(NamedTuple):
    """What kernels read."""

    nodes: Ints  # [N, NODE_COLUMNS]
    clusters: Ints  # [C, CLUSTER_COLUMNS]
    rates: Floats  # [C, RATE_COLUMNS]
    classes: Ints  # [K, CLASS_COLUMNS]
    laws: Floats  # [K, LAW_COLUMNS]
    domains: Ints  # [P - N, 3]
    clocks: Ints  # [X, 3]
    first: Ints  # [L, most domains + 1] where the members of a domain begin
    members: Ints  # [L, N] nodes by domain


class FleetState(NamedTuple):
    """What kernels write."""

    node: Ints  # [N, STATE_COLUMNS]
    hazard: Floats  # [N, 4] frailty, stress, unit hazard left, cumulative frailty in the cluster
    patient: Ints  # [P, PATIENT_COLUMNS]
    clock: Ints  # [X, 3]
    clock_left: Floats  # [X] unit hazard left when it was last looked at
    recent: Ints  # [N, R] times of the last faults; R 0 where nobody asks
    cluster: Ints  # [C, CLUSTER_STATE]
    parts: Ints  # [K, 4]
    changes: Ints  # [M, CHANGE]
    outages: Ints  # [capacity] lengths of outages that began in the future and are over [ns]
    down_ns: Ints  # [N + 1] time with so many nodes down
    tally: Floats  # [K + 1, TALLIES]
    now: Ints  # [NOW]
    queue: EventQueue
