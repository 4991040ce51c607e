"""The index of thermal-aware placement: nodes by free devices and by headroom, kept up to date.

See `policy.coolest` for the rule. A node stands in a set of bits under the key
``(free * steps + step) * N + node``; it moves when its own free devices change, or when heat of its
rack or zone moves its headroom by a step. Nothing is scanned and no exponential is taken.
"""

from __future__ import annotations

from typing import NamedTuple

from kfarm_twin._jit import inlined, inner
from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.kernels import bits
from kfarm_twin.kernels import columns as at
from kfarm_twin.policy.coolest import excess_k, step_of

NONE = -1
HEADROOM, DEVICE_W, OTHER_W, TO_AIR, OTHER_TO_AIR, TO_ZONE, OTHER_TO_ZONE, RISE, BREATHES, OWN = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
)
"""Columns of `Cool.node`: headroom without heat of rack and zone [K]; a device between idle and
full, and what else draws more per busy device [W]; shares of both that warm the rack's air and the
zone that the devices breathe; rise at the devices [K/W]; 1 where they breathe air, else 0; written:
power of its busy devices [W]."""
NODE_FACTS = 10
RACK, ZONE, STEP = 0, 1, 2
"""Columns of `Cool.place`: groups of a node (a zone counts behind the racks); its step."""
PLACES = 3
K_PER_W, WATTS, SLACK, EXCESS = 0, 1, 2, 3
"""Columns of `Cool.group`: kelvin per watt; heat now [W]; of zones, kelvin between setpoint and
water, and by how much the supply is above its setpoint [K], as nodes know it."""
GROUP_FACTS = 4
TOP = 0


class Cool(NamedTuple):
    """Nodes [N] in racks and zones [M groups]; without thermal-aware placement N is 0."""

    node: Floats  # [N, NODE_FACTS]
    place: Ints  # [N, PLACES]
    group: Floats  # [M, GROUP_FACTS]
    first: Ints  # [M + 1] members of a group
    members: Ints  # [2 N] nodes by rack, then by zone
    sums: Ints  # [2, R] steps of the nodes of a rack, a unit (of the farm's topology)
    words: Ints  # the set of bits
    offsets: Ints  # [LEVELS + 1] of it
    top: Floats  # [1] headroom of step 0 [K]


@inner
def headroom(cool: Cool, node: int) -> float:
    """What a node's hottest device has left, at full power [K]."""
    facts = cool.node[node]
    rack, zone = cool.place[node, RACK], cool.place[node, ZONE]
    air = cool.group[rack, K_PER_W] * cool.group[rack, WATTS] + facts[RISE] * facts[OWN]
    return float(facts[HEADROOM] - facts[BREATHES] * air - cool.group[zone, EXCESS])


@inner
def clear(cool: Cool, domain: Ints, free: int, steps: int) -> None:
    """All nodes free and idle."""
    nodes = cool.place.shape[0]
    cool.words[:] = 0
    cool.sums[:, :] = 0
    for node in range(nodes):
        step = step_of(headroom(cool, node), cool.top[TOP], steps)
        cool.place[node, STEP] = step
        bits.add(cool.words, cool.offsets, (free * steps + step) * nodes + node)
        for level in range(2):
            cool.sums[level, domain[level, node]] += step


@inlined
def move(cool: Cool, node: int, before: int, free: int, steps: int) -> None:
    """A node's free devices changed."""
    nodes, step = cool.place.shape[0], cool.place[node, STEP]
    bits.discard(cool.words, cool.offsets, (before * steps + step) * nodes + node)
    bits.add(cool.words, cool.offsets, (free * steps + step) * nodes + node)


@inner
def _renew(cool: Cool, domain: Ints, node: int, free: int, steps: int) -> None:
    """Put a node where its headroom belongs."""
    nodes, before = cool.place.shape[0], cool.place[node, STEP]
    step = step_of(headroom(cool, node), cool.top[TOP], steps)
    if step != before:
        bits.discard(cool.words, cool.offsets, (free * steps + before) * nodes + node)
        bits.add(cool.words, cool.offsets, (free * steps + step) * nodes + node)
        cool.place[node, STEP] = step
        for level in range(2):
            cool.sums[level, domain[level, node]] += step - before


@inner
def draw(
    cool: Cool, jobs: Ints, domain: Ints, free: Ints, job: int, node: int, devices: int, steps: int
) -> None:
    """A job takes so many devices of a node, or gives them back (less than none)."""
    facts = cool.node[node]
    device = devices * facts[DEVICE_W] * jobs[job, at.GPU_LOAD] * 1e-6
    other = devices * facts[OTHER_W] * jobs[job, at.CPU_LOAD] * 1e-6
    facts[OWN] += device
    rack, zone = cool.place[node, RACK], cool.place[node, ZONE]
    cool.group[rack, WATTS] += device * facts[TO_AIR] + other * facts[OTHER_TO_AIR]
    cool.group[zone, WATTS] += device * facts[TO_ZONE] + other * facts[OTHER_TO_ZONE]
    known = cool.group[zone]
    excess = excess_k(known[WATTS], known[K_PER_W], known[SLACK], known[EXCESS])
    if excess != known[EXCESS]:
        known[EXCESS] = excess
        for i in range(cool.first[zone], cool.first[zone + 1]):
            _renew(cool, domain, cool.members[i], free[cool.members[i]], steps)
    if cool.group[rack, K_PER_W] > 0.0:
        for i in range(cool.first[rack], cool.first[rack + 1]):
            _renew(cool, domain, cool.members[i], free[cool.members[i]], steps)
    else:
        _renew(cool, domain, node, free[node], steps)


@inner
def choose(cool: Cool, free: Ints, wanted: int, most: int, begin: int, end: int, steps: int) -> int:
    """The node among begin..end - 1 for a pod of `wanted` devices, or NONE."""
    nodes = cool.place.shape[0]
    best, least = NONE, steps
    if begin > 0 or end < nodes:
        fewest = most + 1
        for node in range(begin, end):
            step = cool.place[node, STEP]
            if free[node] >= wanted and (step < least or (step == least and free[node] < fewest)):
                best, least, fewest = node, step, free[node]
        return best
    value = wanted
    while value <= most:
        member = bits.next_from(cool.words, cool.offsets, value * steps * nodes)
        if member == NONE:
            break
        key = member // nodes
        if key % steps < least:
            best, least = member % nodes, key % steps
        value = key // steps + 1
    return best
