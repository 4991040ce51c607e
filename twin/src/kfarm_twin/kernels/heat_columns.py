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
"""SPEED: the slowest working device of the node changed (DETAIL: its speed [ppm]). OVERHEATED: the
node went off by itself. COOL: it may come back. FANS: they turn at level DETAIL."""
CHANGE = 4

# Columns of Heat.nodes.
CLUSTER, AIR_ZONE, LIQUID_ZONE, RACK, INLET_ZONE, FIRST_BRANCH = range(6)
NODE_COLUMNS = 6
# Columns of Heat.rules.
(
    FIRST_NODE, NODES, DEVICES, FLOOR, DWELL, RESTART, IDLE_MW, OVERHEAD_MW, LIQUID, FAN_LEVELS,
    FAN_DWELL,
) = range(11)  # fmt: skip
RULES = 11
# Columns of Heat.laws.
(
    DIE, DIE_RATE, THROTTLE, SHUTDOWN, HYSTERESIS, LIQUID_SHARE, LIQUID_OTHER, TARGET, FAN_HYSTERESIS,
    SPREAD, EXPONENT,
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
