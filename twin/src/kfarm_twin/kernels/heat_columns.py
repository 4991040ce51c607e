"""Tables of the heat engine: what kernels read of a farm, and what they write; places are named.

Letters: N nodes (cluster by cluster), D most devices of a node, C clusters, B branches, R racks,
Z zones, P plants, F faults. A branch is all nodes of a cluster whose devices breathe (or are
cooled by) the same zone at the same fan level: they share resistances and time constants, so that
the part of their temperature that follows the zone's is the same for all and kept once.
Time in integer nanoseconds [ns], power in integer milliwatts [mW], temperatures [degC].
"""

from __future__ import annotations

from typing import NamedTuple

from kfarm_twin.arrays import Floats, Ints

NONE = -1
FULL_PPM = 1_000_000
LEVELS = 32
"""A throttled device has one of so many steps (and none) of the asked power above idle."""
FREE = -1
"""Level of a device that does not throttle."""

# Rows of `HeatState.changes`: (WHAT, NODE, DEVICE, DETAIL).
SPEED, OVERHEATED, COOL, FANS = 0, 1, 2, 3
"""SPEED: of a device of the node changed (DETAIL: the slowest working one's [ppm]). OVERHEATED: a
node went off by itself. COOL: it may come back. FANS: they turn at level DETAIL."""
CHANGE = 4

# Columns of Heat.nodes.
CLUSTER, AIR_ZONE, LIQUID_ZONE, RACK, INLET_ZONE, FIRST_BRANCH = range(6)
NODE_COLUMNS = 6
# Columns of Heat.rules.
(
    FIRST_NODE, NODES, DEVICES, FLOOR, DWELL, RESTART, IDLE_MW, OVERHEAD_MW, LIQUID, FAN_LEVELS,
    FAN_DWELL, SAME,
) = range(12)  # fmt: skip
"""SAME: 1 where devices have no spread and no places that differ."""
RULES = 12
# Columns of Heat.laws.
(
    DIE, DIE_RATE, THROTTLE, SHUTDOWN, HYSTERESIS, LIQUID_SHARE, LIQUID_OTHER, TARGET,
    FAN_HYSTERESIS, SPREAD, EXPONENT,
) = range(11)  # fmt: skip
LAWS = 11
# Columns of Heat.branches.
B_ZONE, B_CLUSTER, B_LEVEL = range(3)
# Columns of Heat.paths: sink resistance [K/W], its capacity [J/K], rise of the air at the devices
# per watt of the node's [K/W], power of the fans [mW].
SINK, CAPACITY, RISE, FAN_MW = range(4)
# Rows of Heat.first and Heat.members.
OF_ZONE, OF_RACK, BRANCHES = 0, 1, 2
"""The last only of Heat.first: where the branches of a zone begin."""
# Columns of Heat.zones.
PLANT, SETPOINT, U, MASS, NEEDED, UNITS, OTHER_MW = range(7)
ZONE_COLUMNS = 7
# Columns of Heat.plants.
TARGET_C, UNIT_W, G, WATER_MASS, PLANT_UNITS, PLANT_OTHER_MW = range(6)
PLANT_COLUMNS = 6
# Columns of Heat.faults: of a plant (1) or zone; which; units; when first [ns] or NONE (drawn);
# mean (drawn) or exact time up and down [ns].
OF_PLANT, INDEX, LOST, AT, UP_NS, DOWN_NS = range(6)
FAULT_COLUMNS = 6


class Heat(NamedTuple):
    """What kernels read."""

    nodes: Ints  # [N, NODE_COLUMNS]
    rules: Ints  # [C, RULES]
    laws: Floats  # [C, LAWS]
    factors: Floats  # [C, D, 2] on the resistances of die and sink
    branches: Ints  # [B, 3] zone by zone
    paths: Floats  # [B, 4]
    first: Ints  # [3, most + 2] where the members of a zone or rack, or a zone's branches, begin
    members: Ints  # [2, N] nodes by zone of inlet, by rack
    racks: Floats  # [R, 2] inlet per watt to air [K/W], other power [mW]
    zones: Floats  # [Z, ZONE_COLUMNS]
    plants: Floats  # [P, PLANT_COLUMNS]
    faults: Ints  # [F, FAULT_COLUMNS]


# Columns of HeatState.node.
(
    UP, BRANCH, SINCE, OTHERS_MW, POWER_MW, DEVICES_MW, AIR_MW, LIQUID_MW, SPEED_NOW, TELLS, CROSS,
    FAN_DUE, GOVERN, COOL_DUE, CHANGED, MARK, HOT_OFF, WATCH, GUARD, ALIKE, DRAWS,
) = range(21)  # fmt: skip
"""POWER_MW: the whole node. SPEED_NOW: of its slowest working device [ppm]. HOT_OFF: as below.
ALIKE: its devices are and do the same: temperatures of the first are those of all. DRAWS: whether
its power or speed changed since whoever books power asked."""
NODE_STATE = 21
RESTS, COOLS, COOLED = 1, 2, 3
"""A node that was shut down by heat waits for its restart time, for its devices to cool, for
`set_up`; else 0."""
NOTHING, RISE_WATCH, FALL_WATCH, BOTH_WATCH, ALL = 0, 1, 2, 3, 4
"""Values of WATCH (bits): crossings that were looked for under the zone's motion. ALL: any node."""
# Columns of HeatState.node_c [degC or K].
INLET, TOP, MARGIN, LOW, HIGH, HOTTEST = range(6)
"""INLET: of the devices above the zone's supply. TOP: bound of what devices add to the branch. LOW,
HIGH: supply between which nothing changes. HOTTEST: record of the node's devices."""
NODE_TEMPERATURES = 6
# Columns of HeatState.mw.
ASKED, DRAWN, LEVEL = 0, 1, 2
# Columns of HeatState.own.
SINK_C, DIE_C, R_DIE, K_SINK, JOULES = 0, 1, 2, 3, 4
"""Sink and die above the branch [K]; die resistance [K/W]; factor on the sink's; energy [J]."""
OWN = 5
# Columns of HeatState.branch.
B_SINK, B_DIE, R_SINK, RATE, B_TOP, B_MARGIN, SUP, B_NODES = range(8)
BRANCH_STATE = 8
# Columns of HeatState.zone.
(
    Z_SINCE, MODE, STILL, HEAT_MW, THERE, GONE, Z_MARK, FLIPPED, FLIP, SCAN, REVIEW, CALM,
    HEAT_SINCE, KEEPS,
) = range(14)  # fmt: skip
"""KEEPS: 1 where REVIEW is not later than it has to be."""
ZONE_STATE = 14
REGULATED, SATURATED = 0, 1
"""Values of MODE; of plants: the target is kept, or capacity is short (or was)."""
# Columns of HeatState.zone_c.
(
    SUPPLY, WATER, W_RATE, W_PUSH, Z_RATE, Z_PUSH, Z_LOW, Z_HIGH, HIGHEST, IN_J, START_C,
) = range(11)  # fmt: skip
ZONE_TEMPERATURES = 11
# Columns of HeatState.plant.
P_SINCE, P_MODE, P_HEAT_MW, P_THERE, P_GONE, P_MARK, P_HEAT_SINCE, P_FALL = range(8)
PLANT_STATE = 8
# Columns of HeatState.plant_c.
P_WATER, P_RATE, P_PUSH, P_TARGET, P_HIGHEST, P_IN_J, P_START_C = range(7)
PLANT_TEMPERATURES = 7
# Columns of HeatState.rack.
RACK_AIR_MW, RACK_RISE, RACK_MARK = 0, 1, 2
# Columns of HeatState.cluster.
(
    HOT_NODE, HOT_DEVICE, HOT_AT, THROTTLED, THROTTLED_MAX, TALLIED, FIRST_THROTTLE, FIRST_SHUTDOWN,
    SHUTDOWNS, ALL_MW,
) = range(10)  # fmt: skip
"""THROTTLED: devices that are slowed now. FIRST_*: time [ns] or FAR_NS. ALL_MW: of all devices."""
CLUSTER_STATE = 10
# Columns of HeatState.cluster_c: hottest die so far [degC], slowed device-seconds [s], energy of
# all devices [J], heat stored in sinks at the start and at the end [J].
HOTTEST_C, THROTTLED_S, ENERGY_J, STORED_START_J, STORED_J = range(5)
CLUSTER_TALLIES = 5
# Columns of HeatState.unit.
IS_DOWN, ORDINAL, UNIT_DUE = 0, 1, 2
# Rows of HeatState.dirty.
D_NODES, D_RACKS, D_ZONES, D_PLANTS, D_TELL, D_DRAWS = range(6)
DIRTY = 6
# Places of HeatState.now: the first are numbers of entries in the rows of `dirty`.
TIME, HORIZON, CHANGES, TOTAL_MW, EVENTS, FANS_TURNED, SEARCHES = range(6, 13)
NOW = 13
"""EVENTS: how many `step` let happen. TOTAL_MW: of all nodes. SEARCHES: crossings looked for."""
# Purposes of draws (those of failures end at 28).
SPREADS, UNIT_DOWN, UNIT_TIME = 40, 41, 42


class HeatState(NamedTuple):
    """What kernels write."""

    node: Ints  # [N, NODE_STATE]
    node_c: Floats  # [N, NODE_TEMPERATURES]
    mw: Ints  # [N, D, 3]
    own: Floats  # [N, D, OWN]
    branch: Floats  # [B, BRANCH_STATE]
    zone: Ints  # [Z, ZONE_STATE]
    zone_c: Floats  # [Z, ZONE_TEMPERATURES]
    plant: Ints  # [P, PLANT_STATE]
    plant_c: Floats  # [P, PLANT_TEMPERATURES]
    rack: Floats  # [R, 3]
    cluster: Ints  # [C, CLUSTER_STATE]
    cluster_c: Floats  # [C, CLUSTER_TALLIES]
    unit: Ints  # [F, 3]
    dirty: Ints  # [DIRTY, most of N, R, Z, P]
    due: Ints  # [2 * a power of two] tournament of the next times of faults, plants, zones, nodes
    changes: Ints  # [M, CHANGE]
    now: Ints  # [NOW]
    w: Floats  # [SCRATCH]
