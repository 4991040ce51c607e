"""The index of thermal-aware placement: nodes by free devices and by headroom, kept up to date.

See `policy.coolest` for the rule. A node stands in a set of bits under the key
``(free * steps + step) * N + node``; it moves when its own free devices change, or when heat of its
rack or zone moves its headroom by a step. Nothing is scanned and no exponential is taken.

All is in whole numbers, so that what a job gives back is what it took: temperatures in mK, powers
in mW, resistances in nK/W, shares in ppm. What is known of nodes stands in columns of their table,
before those of `seats`; what is known of racks and zones in the last rows of the table of rooms
(level 0: racks, level 1: zones).
"""

from __future__ import annotations

from kfarm_twin._jit import inlined, inner
from kfarm_twin.arrays import Ints
from kfarm_twin.kernels import bits
from kfarm_twin.kernels import columns as at
from kfarm_twin.policy.coolest import excess_mk, step_of

NONE = -1
PPM = 1_000_000
HEADROOM, DEVICE_MW, OTHER_MW, TO_AIR, OTHER_TO_AIR = 14, 15, 16, 17, 18
"""Columns of nodes: headroom without heat of rack and zone; a device between idle and full, and
what else draws more per busy device; shares of both that warm the rack's air."""
TO_ZONE, OTHER_TO_ZONE, RISE, BREATHES, OWN = 19, 20, 21, 22, 23
"""Shares that warm the zone that the devices breathe; rise at the devices; 1 where they breathe
air, else 0; written: power of its busy devices above idle."""
RACK, ZONE, STEP, MEMBER = 24, 25, 26, 27
"""Its rack and zone; its step below the best; a list of nodes, rack by rack."""
FREE = 0
NK_PER_W, MW, SLACK, EXCESS, FIRST, SUMS, HEAD = -7, -6, -5, -4, -3, -2, -1
"""Rows of rooms: what a watt warms; heat now; of zones, from water to setpoint, and by how much the
supply is above its setpoint as nodes know it; where the members of a rack begin; sums of the steps
of the nodes of a domain of the farm's topology; then steps and headroom of step 0."""
ROWS = 7


@inlined
def rise_mk(milliwatts: int, nanokelvin_per_watt: int) -> int:
    """Warming [mK]."""
    return milliwatts * nanokelvin_per_watt // 1_000_000_000


@inner
def headroom(table: Ints, room: Ints, node: int) -> int:
    """What a node's hottest device has left, at full power [mK]."""
    last = room.shape[1]
    rack, zone = table[node, RACK], table[node, ZONE]
    air = rise_mk(room[0, last + MW, rack], room[0, last + NK_PER_W, rack])
    air += rise_mk(table[node, OWN], table[node, RISE])
    return int(table[node, HEADROOM] - table[node, BREATHES] * air - room[1, last + EXCESS, zone])


@inlined
def _steps(room: Ints) -> int:
    return int(room[0, room.shape[1] + HEAD, 0])


@inlined
def _step(table: Ints, room: Ints, node: int) -> int:
    """Step of a node as its headroom is now."""
    return step_of(headroom(table, room, node), room[1, room.shape[1] + HEAD, 0], _steps(room))


@inner
def clear(table: Ints, room: Ints, words: Ints, offsets: Ints, domain: Ints) -> None:
    """All nodes free and idle."""
    nodes, steps, sums = table.shape[0], _steps(room), room.shape[1] + SUMS
    for node in range(nodes):
        step = _step(table, room, node)
        table[node, STEP] = step
        bits.add(words, offsets, (table[node, FREE] * steps + step) * nodes + node)
        for level in range(2):
            room[level, sums, domain[level, node]] += step


@inner
def move(
    table: Ints, room: Ints, words: Ints, offsets: Ints, node: int, before: int, free: int
) -> None:
    """A node's free devices changed."""
    nodes, steps, step = table.shape[0], _steps(room), table[node, STEP]
    bits.discard(words, offsets, (before * steps + step) * nodes + node)
    bits.add(words, offsets, (free * steps + step) * nodes + node)


@inner
def _renew(
    table: Ints, room: Ints, words: Ints, offsets: Ints, domain: Ints, begin: int, end: int
) -> None:
    """Put members begin..end - 1 of the list where their headroom belongs."""
    nodes, steps, sums = table.shape[0], _steps(room), room.shape[1] + SUMS
    for i in range(begin, end):
        node = table[i, MEMBER]
        before, step = table[node, STEP], _step(table, room, node)
        if step == before:
            continue
        free = table[node, FREE]
        bits.discard(words, offsets, (free * steps + before) * nodes + node)
        bits.add(words, offsets, (free * steps + step) * nodes + node)
        table[node, STEP] = step
        for level in range(2):
            room[level, sums, domain[level, node]] += step - before


@inner
def draw(
    table: Ints, room: Ints, words: Ints, offsets: Ints, domain: Ints, jobs: Ints, job: int,
    node: int, devices: int,
) -> None:  # fmt: skip
    """A job takes so many devices of a node, or gives them back (less than none)."""
    last = room.shape[1]
    device = devices * (table[node, DEVICE_MW] * jobs[job, at.GPU_LOAD] // PPM)
    other = devices * (table[node, OTHER_MW] * jobs[job, at.CPU_LOAD] // PPM)
    table[node, OWN] += device
    rack, zone = table[node, RACK], table[node, ZONE]
    to_air = device * table[node, TO_AIR] + other * table[node, OTHER_TO_AIR]
    to_zone = device * table[node, TO_ZONE] + other * table[node, OTHER_TO_ZONE]
    room[0, last + MW, rack] += to_air // PPM
    room[1, last + MW, zone] += to_zone // PPM
    before = room[1, last + EXCESS, zone]
    warmed = rise_mk(room[1, last + MW, zone], room[1, last + NK_PER_W, zone])
    excess = excess_mk(warmed - room[1, last + SLACK, zone], before)
    if excess != before:
        room[1, last + EXCESS, zone] = excess
        _renew(table, room, words, offsets, domain, 0, table.shape[0])
    elif room[0, last + NK_PER_W, rack] > 0 or table[node, RISE] > 0:
        begin, end = room[0, last + FIRST, rack], room[0, last + FIRST, rack + 1]
        _renew(table, room, words, offsets, domain, begin, end)


@inner
def choose(
    table: Ints, room: Ints, words: Ints, offsets: Ints, wanted: int, most: int, begin: int,
    end: int,
) -> int:  # fmt: skip
    """The node among begin..end - 1 for a pod of `wanted` devices, or NONE."""
    nodes, steps = table.shape[0], _steps(room)
    best, least = NONE, steps
    if begin > 0 or end < nodes:
        fewest = most + 1
        for node in range(begin, end):
            step, free = table[node, STEP], table[node, FREE]
            if free >= wanted and (step < least or (step == least and free < fewest)):
                best, least, fewest = node, step, free
        return best
    value = wanted
    while value <= most:
        member = bits.next_from(words, offsets, value * steps * nodes)
        if member == NONE:
            break
        key = member // nodes
        if key % steps < least:
            best, least = member % nodes, key % steps
        value = key // steps + 1
    return best
