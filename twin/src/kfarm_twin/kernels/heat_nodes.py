"""Nodes: what their devices draw, how warm they are, and when one of them reaches a limit.

A device's temperature is the branch's (what follows the supply, alike in all nodes of the branch)
plus its own (what follows its power), which is in closed form from the node's `SINCE` on. It is
looked at when something changes or somebody asks. `TOP` and `MARGIN` bound what devices may reach
(maximum principle), so that no crossing is looked for where none can be.
"""

from __future__ import annotations

import math

from kfarm_twin._jit import inner
from kfarm_twin.kernels import heat_columns as c
from kfarm_twin.kernels.exponentials import (
    AHEAD,
    C3,
    C4,
    REFERENCE,
    S3,
    S4,
    SEEN,
    SEEN_PLACES,
    drift,
    first_fall,
    first_rise,
    greatest,
    greatest_at,
    pair,
    value,
)
from kfarm_twin.kernels.heat_columns import Heat, HeatState
from kfarm_twin.kernels.heat_times import (
    NS,
    PER_S,
    enlist,
    horizon_s,
    mark_draw,
    mark_zone,
    node_entity,
    seconds_since,
    set_due,
    time_after,
)
from kfarm_twin.kernels.heat_zones import (
    KILO,
    RESCHEDULE,
    TOLERANCE,
    add_heat,
    branch_at,
    highest_supply,
    load_branch,
    load_zone,
    open_zone,
    stand_at,
    supply_at,
)
from kfarm_twin.kernels.rng import FAR_NS, exp

GONE = 50.0
"""After so many time constants nothing is left (2e-22)."""
BACK_OFF = 1_000
"""A crossing that turned out to be none is looked for again this much later [ns]."""


@inner
def distinct(heat: Heat, hs: HeatState, node: int) -> int:
    """How many of a node's devices have to be looked at: one where all are alike."""
    if hs.node[node, c.ALIKE] == 1:
        return 1
    return int(heat.rules[heat.nodes[node, c.CLUSTER], c.DEVICES])


@inner
def tell_apart(heat: Heat, hs: HeatState, node: int) -> None:
    """The devices of a node are not alike any more: each gets what the first has."""
    if hs.node[node, c.ALIKE] == 0:
        return
    hs.node[node, c.ALIKE] = 0
    first = hs.own[node, 0]
    for device in range(1, heat.rules[heat.nodes[node, c.CLUSTER], c.DEVICES]):
        own = hs.own[node, device]
        own[c.SINK_C], own[c.DIE_C] = first[c.SINK_C], first[c.DIE_C]


@inner
def join(heat: Heat, hs: HeatState, node: int) -> None:
    """A node all of whose devices ask for the same: they may have become alike."""
    cluster = heat.nodes[node, c.CLUSTER]
    if hs.node[node, c.ALIKE] == 1 or heat.rules[cluster, c.SAME] == 0:
        return
    first, own = hs.mw[node, 0], hs.own[node, 0]
    for device in range(1, heat.rules[cluster, c.DEVICES]):
        each, its = hs.mw[node, device], hs.own[node, device]
        if each[c.DRAWN] != first[c.DRAWN] or each[c.LEVEL] != first[c.LEVEL]:
            return
        if its[c.SINK_C] != own[c.SINK_C] or its[c.DIE_C] != own[c.DIE_C]:
            return
    hs.node[node, c.ALIKE] = 1


@inner
def _decay(rate: float, t: float) -> float:
    """exp(-rate t), 0 after 50 time constants (2e-22)."""
    return exp(-rate * t) if rate * t < GONE else 0.0


@inner
def _note(hs: HeatState, cluster: int, node: int, device: int, celsius: float, when: int) -> None:
    """Keep a temperature if it is a record."""
    hs.node_c[node, c.HOTTEST] = max(hs.node_c[node, c.HOTTEST], celsius)
    if celsius > hs.cluster_c[cluster, c.HOTTEST_C]:
        hs.cluster_c[cluster, c.HOTTEST_C] = celsius
        row = hs.cluster[cluster]
        row[c.HOT_NODE], row[c.HOT_DEVICE], row[c.HOT_AT] = node, device, when


@inner
def _load_device(hs: HeatState, node: int, device: int, sink: float, die: float) -> None:
    """Set a device's own temperatures at the start and its power beside its branch's motion."""
    w, own = hs.w, hs.own[node, device]
    watts = float(hs.mw[node, device, c.DRAWN]) * KILO
    w[S3], w[S4] = sink - w[REFERENCE], die - w[REFERENCE]
    resistance = hs.branch[hs.node[node, c.BRANCH], c.R_SINK] * own[c.K_SINK]
    w[C3] = hs.node_c[node, c.INLET] + resistance * watts
    w[C4] = own[c.R_DIE] * watts


@inner
def own_bound(hs: HeatState, node: int, device: int) -> float:
    """Bound of what a device adds to its branch's die from its node's `SINCE` on [K]."""
    own = hs.own[node, device]
    watts = float(hs.mw[node, device, c.DRAWN]) * KILO
    resistance = hs.branch[hs.node[node, c.BRANCH], c.R_SINK] * own[c.K_SINK]
    sink = max(own[c.SINK_C], hs.node_c[node, c.INLET] + resistance * watts)
    return float(max(own[c.DIE_C], sink + own[c.R_DIE] * watts))


@inner
def _is_seen(hs: HeatState, branch: int, start: int, span: float) -> bool:
    """Whether the device in `w` goes just as the one whose peak was found last."""
    w, seen = hs.w, True
    asked = (float(branch), float(start), span, w[S3], w[S4], w[C3], w[C4])
    for place in range(SEEN_PLACES):
        if w[SEEN + place] != asked[place]:
            w[SEEN + place], seen = asked[place], False
    return seen


@inner
def _find_peak(hs: HeatState, branch: int, start: int, span: float) -> None:
    """Greatest temperature of the device in `w` within `span` [s], and when, behind `SEEN`.

    In a farm whose nodes do the same, thousands that go alike come one after the other.
    """
    if not _is_seen(hs, branch, start, span):
        hs.w[SEEN + SEEN_PLACES] = hs.w[REFERENCE] + greatest(hs.w, 4, span)
        hs.w[SEEN + SEEN_PLACES + 1] = greatest_at(hs.w)


@inner
def _peaks(heat: Heat, hs: HeatState, node: int, least: float) -> None:
    """Records of devices between the later of a node's and its zone's last look, and now.

    Only of those that may exceed `least`, which is their branch's bound taken from a record.
    """
    branch, cluster = hs.node[node, c.BRANCH], heat.nodes[node, c.CLUSTER]
    zone = heat.nodes[node, c.INLET_ZONE]
    begun, since = hs.zone[zone, c.Z_SINCE], hs.node[node, c.SINCE]
    start = max(begun, since)
    span = seconds_since(hs, start)
    if span <= 0.0:
        return
    rate, die_rate = hs.branch[branch, c.RATE], heat.laws[cluster, c.DIE_RATE]
    before = float(start - since) * NS
    sinks, dies = exp(-rate * before), exp(-die_rate * before)
    mixed = die_rate * pair(rate, die_rate, before)
    for device in range(distinct(heat, hs, node)):
        if own_bound(hs, node, device) <= least:
            continue
        sink, die = stand_at(heat, hs, branch, float(start - begun) * NS)
        _load_device(hs, node, device, 0.0, 0.0)
        own, w = hs.own[node, device], hs.w
        away = own[c.SINK_C] - w[C3]
        sink += w[C3] + away * sinks
        die += w[C3] + w[C4] + (own[c.DIE_C] - w[C3] - w[C4]) * dies + away * mixed
        w[S3], w[S4] = sink - w[REFERENCE], die - w[REFERENCE]
        _find_peak(hs, branch, start, span)
        when = start + int(w[SEEN + SEEN_PLACES + 1] * PER_S)
        _note(hs, cluster, node, device, w[SEEN + SEEN_PLACES], when)


@inner
def _peak_at_rest(
    heat: Heat, hs: HeatState, node: int, device: int, sink: float, die: float, span: float
) -> None:
    """The same of one device under a still branch, from its own temperatures `span` [s] ago."""
    cluster = heat.nodes[node, c.CLUSTER]
    load_branch(heat, hs, hs.node[node, c.BRANCH])
    reference = hs.w[REFERENCE]
    _load_device(hs, node, device, sink + reference, die + reference)
    celsius = reference + greatest(hs.w, 4, span)
    when = hs.node[node, c.SINCE] + int(greatest_at(hs.w) * PER_S)
    _note(hs, cluster, node, device, celsius, when)


@inner
def touch(heat: Heat, hs: HeatState, node: int) -> None:
    """Bring the temperatures of a node's devices to now."""
    row = hs.node[node]
    t = seconds_since(hs, row[c.SINCE])
    if t <= 0.0:
        return
    branch, cluster = row[c.BRANCH], heat.nodes[node, c.CLUSTER]
    at_rest = hs.zone[heat.nodes[node, c.INLET_ZONE], c.STILL] == 1
    if not at_rest:
        least = hs.cluster_c[cluster, c.HOTTEST_C] - hs.branch[branch, c.SUP]
        if hs.node_c[node, c.TOP] > least:
            _peaks(heat, hs, node, least)
    _, warm = branch_at(heat, hs, branch)
    rate, die_rate = hs.branch[branch, c.RATE], heat.laws[cluster, c.DIE_RATE]
    sinks, dies, mixed = _decay(rate, t), _decay(die_rate, t), 0.0
    if min(rate, die_rate) * t < GONE:
        mixed = die_rate * pair(rate, die_rate, t)
    resistance, inlet = hs.branch[branch, c.R_SINK], hs.node_c[node, c.INLET]
    hottest, where, record = -math.inf, 0, hs.node_c[node, c.HOTTEST]
    for device in range(distinct(heat, hs, node)):
        own = hs.own[node, device]
        watts = float(hs.mw[node, device, c.DRAWN]) * KILO
        rest = inlet + resistance * own[c.K_SINK] * watts
        top, away = rest + own[c.R_DIE] * watts, own[c.SINK_C] - rest
        sink, die = rest + away * sinks, top + (own[c.DIE_C] - top) * dies + away * mixed
        add = top - rest
        crest = own[c.SINK_C] + add  # what a die reaches at most that rises and falls again
        if at_rest and own[c.DIE_C] < crest and sink + add < die and warm + crest > record:
            _peak_at_rest(heat, hs, node, device, own[c.SINK_C], own[c.DIE_C], t)
        own[c.SINK_C], own[c.DIE_C] = sink, die
        if own[c.DIE_C] > hottest:
            hottest, where = own[c.DIE_C], device
    for device in range(heat.rules[cluster, c.DEVICES]):
        hs.own[node, device, c.JOULES] += float(hs.mw[node, device, c.DRAWN]) * KILO * t
    row[c.SINCE] = hs.now[c.TIME]
    _note(hs, cluster, node, where, warm + hottest, hs.now[c.TIME])


@inner
def level_mw(idle: int, asked: int, level: int) -> int:
    """Draw of a device at a level of what it asks for above idle [mW]."""
    if level == c.FREE or asked <= idle:
        return asked
    return idle + (asked - idle) * level // c.LEVELS


@inner
def apply(heat: Heat, hs: HeatState, node: int) -> None:
    """Let a node that was just touched draw what it asks for at its present levels and fans."""
    row, cluster = hs.node[node], heat.nodes[node, c.CLUSTER]
    rules, laws, devices_mw = heat.rules[cluster], heat.laws[cluster], 0
    up = row[c.UP] == 1
    count = distinct(heat, hs, node)
    for device in range(count):
        own = hs.mw[node, device]
        own[c.DRAWN] = level_mw(rules[c.IDLE_MW], own[c.ASKED], own[c.LEVEL]) if up else 0
        devices_mw += own[c.DRAWN]
    if count == 1:
        devices_mw *= rules[c.DEVICES]
        for device in range(1, rules[c.DEVICES]):
            hs.mw[node, device, c.DRAWN] = hs.mw[node, 0, c.DRAWN]
    others = row[c.OTHERS_MW] if up else 0
    fans = int(heat.paths[row[c.BRANCH], c.FAN_MW]) if up else 0
    liquid = 0
    if heat.nodes[node, c.LIQUID_ZONE] != c.NONE:
        liquid = int(devices_mw * laws[c.LIQUID_SHARE] + others * laws[c.LIQUID_OTHER])
    whole = devices_mw + others + fans
    air = whole - liquid
    tally = hs.cluster[cluster]
    if devices_mw != row[c.DEVICES_MW]:
        book_energy(hs, cluster)
        tally[c.ALL_MW] += devices_mw - row[c.DEVICES_MW]
    add_heat(heat, hs, heat.nodes[node, c.LIQUID_ZONE], liquid - row[c.LIQUID_MW])
    add_heat(heat, hs, heat.nodes[node, c.AIR_ZONE], air - row[c.AIR_MW])
    if air != row[c.AIR_MW]:
        rack = heat.nodes[node, c.RACK]
        hs.rack[rack, c.RACK_AIR_MW] += float(air - row[c.AIR_MW])
        if hs.rack[rack, c.RACK_MARK] == 0.0 and heat.racks[rack, 0] > 0.0:
            hs.rack[rack, c.RACK_MARK] = 1.0
            enlist(hs, c.D_RACKS, rack)
    if whole != row[c.POWER_MW] or devices_mw != row[c.DEVICES_MW]:
        mark_draw(hs, node)
    hs.now[c.TOTAL_MW] += whole - row[c.POWER_MW]
    row[c.POWER_MW], row[c.DEVICES_MW] = whole, devices_mw
    row[c.AIR_MW], row[c.LIQUID_MW] = air, liquid


@inner
def book_energy(hs: HeatState, cluster: int) -> None:
    """Energy of a cluster's devices, and slowed device-seconds, up to now."""
    row, sums = hs.cluster[cluster], hs.cluster_c[cluster]
    span = seconds_since(hs, row[c.TALLIED])
    sums[c.ENERGY_J] += float(row[c.ALL_MW]) * KILO * span
    sums[c.THROTTLED_S] += float(row[c.THROTTLED]) * span
    row[c.TALLIED] = hs.now[c.TIME]


@inner
def set_level(heat: Heat, hs: HeatState, node: int, device: int, level: int) -> None:
    """Set the power level of a device (of all, where they are alike), and count the slowed."""
    before, cluster = hs.mw[node, device, c.LEVEL], heat.nodes[node, c.CLUSTER]
    if level == before:
        return
    row, last = hs.cluster[cluster], device + 1
    if hs.node[node, c.ALIKE] == 1:
        last = heat.rules[cluster, c.DEVICES]
    slow = 1 if 0 <= level < c.LEVELS else 0
    more = (slow - (1 if 0 <= before < c.LEVELS else 0)) * (last - device)
    if more != 0:
        book_energy(hs, cluster)
        row[c.THROTTLED] += more
        row[c.THROTTLED_MAX] = max(row[c.THROTTLED_MAX], row[c.THROTTLED])
        row[c.FIRST_THROTTLE] = min(row[c.FIRST_THROTTLE], hs.now[c.TIME])
    if min(level % (c.LEVELS + 1), before % (c.LEVELS + 1)) < c.LEVELS:
        tell(hs, node)
    for each in range(device, last):
        hs.mw[node, each, c.LEVEL] = level


@inner
def tell(hs: HeatState, node: int) -> None:
    """A device of a node has another speed: say so with the next step."""
    if hs.node[node, c.TELLS] == 0:
        hs.node[node, c.TELLS] = 1
        enlist(hs, c.D_TELL, node)


@inner
def resistance_of(hs: HeatState, node: int, device: int) -> float:
    """From die to coolant at the present flow [K/W]."""
    own = hs.own[node, device]
    sink = hs.branch[hs.node[node, c.BRANCH], c.R_SINK] * own[c.K_SINK]
    return float(sink + own[c.R_DIE])


@inner
def best_level(heat: Heat, hs: HeatState, node: int, device: int, inlet: float, most: float) -> int:
    """Highest level at which a device comes to rest at `most` [degC] or below; else the floor."""
    rules = heat.rules[heat.nodes[node, c.CLUSTER]]
    asked, resistance = hs.mw[node, device, c.ASKED], resistance_of(hs, node, device)
    level = c.LEVELS
    while level > rules[c.FLOOR]:
        watts = float(level_mw(rules[c.IDLE_MW], asked, level)) * KILO
        if inlet + resistance * watts <= most:
            break
        level -= 1
    return level


@inner
def _rise_of(heat: Heat, hs: HeatState, node: int, branch: int) -> float:
    """Steady temperature of a node's hottest device above the supply, as of another branch [K]."""
    hottest, path = 0.0, heat.paths[branch]
    for device in range(distinct(heat, hs, node)):
        own, watts = hs.own[node, device], float(hs.mw[node, device, c.DRAWN]) * KILO
        hottest = max(hottest, (path[c.SINK] * own[c.K_SINK] + own[c.R_DIE]) * watts)
    around = hs.rack[heat.nodes[node, c.RACK], c.RACK_RISE]
    return float(hottest + around + path[c.RISE] * (float(hs.node[node, c.DEVICES_MW]) * KILO))


@inner
def wanted_branch(heat: Heat, hs: HeatState, node: int, supply: float) -> int:
    """The branch with the lowest fan level that keeps the target, slowing down with hysteresis."""
    cluster = heat.nodes[node, c.CLUSTER]
    laws, first = heat.laws[cluster], heat.nodes[node, c.FIRST_BRANCH]
    last = first + heat.rules[cluster, c.FAN_LEVELS] - 1
    for branch in range(first, last):
        most = laws[c.TARGET]
        if branch < hs.node[node, c.BRANCH]:
            most -= laws[c.FAN_HYSTERESIS]
        if supply + _rise_of(heat, hs, node, branch) <= most:
            return int(branch)
    return int(last)


@inner
def _look_at_fans(heat: Heat, hs: HeatState, node: int, supply: float) -> None:
    """When fans have to change, and the supply between which they have not."""
    row, cluster = hs.node[node], heat.nodes[node, c.CLUSTER]
    first, laws = heat.nodes[node, c.FIRST_BRANCH], heat.laws[cluster]
    if row[c.FAN_DUE] != FAR_NS:
        return
    branch = row[c.BRANCH]
    high, low = math.inf, -math.inf
    if branch < first + heat.rules[cluster, c.FAN_LEVELS] - 1:
        high = laws[c.TARGET] - _rise_of(heat, hs, node, branch)
    if branch > first:
        low = laws[c.TARGET] - laws[c.FAN_HYSTERESIS] - _rise_of(heat, hs, node, branch - 1)
    if supply > high + TOLERANCE or supply < low - TOLERANCE:
        row[c.FAN_DUE] = hs.now[c.TIME] + heat.rules[cluster, c.FAN_DWELL]
        return
    hs.node_c[node, c.HIGH] = min(hs.node_c[node, c.HIGH], high)
    hs.node_c[node, c.LOW] = max(hs.node_c[node, c.LOW], low)


@inner
def _band(heat: Heat, hs: HeatState, node: int, device: int, die: float) -> None:
    """Supply between which a throttled device keeps its level."""
    cluster = heat.nodes[node, c.CLUSTER]
    rules, laws, level = heat.rules[cluster], heat.laws[cluster], hs.mw[node, device, c.LEVEL]
    asked, resistance = hs.mw[node, device, c.ASKED], resistance_of(hs, node, device)
    most = laws[c.THROTTLE] - hs.node_c[node, c.INLET]
    if level > rules[c.FLOOR]:
        watts = float(level_mw(rules[c.IDLE_MW], asked, level)) * KILO
        hs.node_c[node, c.HIGH] = min(hs.node_c[node, c.HIGH], most - resistance * watts)
    if level == c.LEVELS and die >= laws[c.THROTTLE]:
        hs.node[node, c.WATCH] |= c.FALL_WATCH
        return
    watts = float(level_mw(rules[c.IDLE_MW], asked, min(level + 1, c.LEVELS))) * KILO
    low = most - laws[c.HYSTERESIS] - resistance * watts
    hs.node_c[node, c.LOW] = max(hs.node_c[node, c.LOW], low)


@inner
def limit_of(heat: Heat, hs: HeatState, node: int, device: int) -> float:
    """Temperature at which something happens to a device that warms [degC]."""
    cluster = heat.nodes[node, c.CLUSTER]
    busy = hs.mw[node, device, c.ASKED] > heat.rules[cluster, c.IDLE_MW]
    if busy and hs.mw[node, device, c.LEVEL] == c.FREE:
        return float(min(heat.laws[cluster, c.THROTTLE], heat.laws[cluster, c.SHUTDOWN]))
    return float(heat.laws[cluster, c.SHUTDOWN])


@inner
def is_over(hs: HeatState, node: int, device: int, limit: float, sink: float, die: float) -> bool:
    """Whether a device is at a limit and warms, or will stay above; branch given [degC]."""
    own, watts = hs.own[node, device], float(hs.mw[node, device, c.DRAWN]) * KILO
    here = die + own[c.DIE_C]
    if here < limit - TOLERANCE:
        return False
    if sink + own[c.SINK_C] + own[c.R_DIE] * watts >= here:
        return True
    rest = sink + hs.node_c[node, c.INLET] + resistance_of(hs, node, device) * watts
    return bool(rest > limit + TOLERANCE)


@inner
def _is_behind(hs: HeatState, node: int, device: int, ahead: int, limit: float) -> bool:
    """Whether a device reaches its limit no sooner than one for which that was found."""
    own, other = hs.own[node, device], hs.own[node, ahead]
    if own[c.SINK_C] > other[c.SINK_C] or own[c.DIE_C] > other[c.DIE_C] or limit < hs.w[AHEAD]:
        return False
    watts, more = hs.mw[node, device, c.DRAWN], hs.mw[node, ahead, c.DRAWN]
    return bool(
        watts <= more and own[c.K_SINK] <= other[c.K_SINK] and own[c.R_DIE] <= other[c.R_DIE]
    )


@inner
def _search(heat: Heat, hs: HeatState, node: int, sink: float, die: float) -> int:
    """When the first device of a node reaches a limit, or one cools below its throttle limit."""
    branch, w = hs.node[node, c.BRANCH], hs.w
    cluster, zone = heat.nodes[node, c.CLUSTER], heat.nodes[node, c.INLET_ZONE]
    soonest = min(horizon_s(hs), 1e8)
    found, first = math.inf, c.NONE
    bound = hs.branch[branch, c.SUP]
    begun = seconds_since(hs, hs.zone[zone, c.Z_SINCE])
    for device in range(distinct(heat, hs, node)):
        limit, own = limit_of(heat, hs, node, device), hs.own[node, device]
        rises = own_bound(hs, node, device) + bound > limit
        level = hs.mw[node, device, c.LEVEL]
        above = die + own[c.DIE_C] >= heat.laws[cluster, c.THROTTLE]
        falls = level == c.LEVELS and above
        if not rises and not falls:
            continue
        if first != c.NONE and not falls and _is_behind(hs, node, device, first, limit):
            continue
        if rises and is_over(hs, node, device, limit, sink, die):
            return int(hs.now[c.TIME])
        stand_at(heat, hs, branch, begun)
        _load_device(hs, node, device, sink + own[c.SINK_C], die + own[c.DIE_C])
        hs.now[c.SEARCHES] += 1
        if rises:
            t = first_rise(w, 4, limit - w[REFERENCE], soonest)
            if t < found:
                found, soonest, first = t, t, device
                hs.w[AHEAD] = limit
        if falls:
            t = first_fall(w, 4, heat.laws[cluster, c.THROTTLE] - w[REFERENCE], soonest)
            if t < found:
                found, soonest = t, t
    return time_after(hs, found, FAR_NS)


@inner
def cools_at(heat: Heat, hs: HeatState, node: int) -> int:
    """When the hottest device of a node that is off has cooled; now where it has."""
    cluster, branch, w = heat.nodes[node, c.CLUSTER], hs.node[node, c.BRANCH], hs.w
    laws = heat.laws[cluster]
    most = min(laws[c.THROTTLE], laws[c.SHUTDOWN]) - laws[c.HYSTERESIS]
    sink, die = branch_at(heat, hs, branch)
    hottest, where = -math.inf, 0
    for device in range(distinct(heat, hs, node)):
        if hs.own[node, device, c.DIE_C] > hottest:
            hottest, where = hs.own[node, device, c.DIE_C], device
    if die + hottest <= most + TOLERANCE:
        return int(hs.now[c.TIME])
    zone = heat.nodes[node, c.INLET_ZONE]
    stand_at(heat, hs, branch, seconds_since(hs, hs.zone[zone, c.Z_SINCE]))
    own = hs.own[node, where]
    _load_device(hs, node, where, sink + own[c.SINK_C], die + own[c.DIE_C])
    return time_after(hs, first_fall(w, 4, most - w[REFERENCE], min(horizon_s(hs), 1e8)), FAR_NS)


@inner
def _inlet(heat: Heat, hs: HeatState, node: int) -> float:
    """Inlet of a node's devices above its zone's supply [K]."""
    cluster = heat.nodes[node, c.CLUSTER]
    if heat.rules[cluster, c.LIQUID] == 1:
        return 0.0
    around = hs.rack[heat.nodes[node, c.RACK], c.RACK_RISE]
    rise = heat.paths[hs.node[node, c.BRANCH], c.RISE]
    return float(around + rise * (float(hs.node[node, c.DEVICES_MW]) * KILO))


@inner
def _bounds(heat: Heat, hs: HeatState, node: int, die: float) -> int:
    """Bounds and bands of a node's devices; the speed of the slowest that works [ppm]."""
    row, temperatures = hs.node[node], hs.node_c[node]
    cluster, slowest = heat.nodes[node, c.CLUSTER], c.LEVELS
    temperatures[c.TOP], temperatures[c.MARGIN] = -math.inf, math.inf
    temperatures[c.LOW], temperatures[c.HIGH] = -math.inf, math.inf
    for device in range(distinct(heat, hs, node)):
        bound = own_bound(hs, node, device)
        temperatures[c.TOP] = max(temperatures[c.TOP], bound)
        if row[c.UP] == 0:
            continue
        margin = limit_of(heat, hs, node, device) - bound
        temperatures[c.MARGIN] = min(temperatures[c.MARGIN], margin)
        level = hs.mw[node, device, c.LEVEL]
        if level == c.FREE:
            continue
        _band(heat, hs, node, device, die + hs.own[node, device, c.DIE_C])
        if hs.mw[node, device, c.ASKED] > heat.rules[cluster, c.IDLE_MW]:
            slowest = min(slowest, level)
    return slowest * c.FULL_PPM // c.LEVELS


@inner
def _watch(heat: Heat, hs: HeatState, node: int, sink: float, die: float) -> None:
    """Look for crossings of a node's devices where there can be any."""
    row, b = hs.node[node], hs.branch[hs.node[node, c.BRANCH]]
    zone, margin = heat.nodes[node, c.INLET_ZONE], hs.node_c[node, c.MARGIN]
    b[c.B_TOP] = max(b[c.B_TOP], hs.node_c[node, c.TOP])
    row[c.CROSS] = FAR_NS
    if margin <= die + TOLERANCE and margin < b[c.SUP]:
        row[c.WATCH] |= c.RISE_WATCH
    elif margin < b[c.B_MARGIN]:
        b[c.B_MARGIN] = margin
        if margin < b[c.SUP] and hs.zone[zone, c.STILL] == 0:
            hs.zone[zone, c.KEEPS] = 0
            mark_zone(hs, zone, RESCHEDULE)
    if row[c.WATCH] != c.NOTHING:
        row[c.CROSS] = max(_search(heat, hs, node, sink, die), row[c.GUARD])
    row[c.GUARD] = 0


@inner
def look(heat: Heat, hs: HeatState, node: int) -> None:
    """Find out when a node that was touched has to be looked at again."""
    row, temperatures = hs.node[node], hs.node_c[node]
    branch, cluster = row[c.BRANCH], heat.nodes[node, c.CLUSTER]
    zone = heat.nodes[node, c.INLET_ZONE]
    temperatures[c.INLET] = _inlet(heat, hs, node)
    sink, die = branch_at(heat, hs, branch)
    row[c.WATCH] = c.NOTHING
    speed = _bounds(heat, hs, node, die)
    if row[c.UP] == 1:
        if speed != row[c.SPEED_NOW]:
            row[c.SPEED_NOW] = speed
            mark_draw(hs, node)
            tell(hs, node)
        supply = supply_at(heat, hs, zone)
        row[c.GOVERN] = FAR_NS
        if temperatures[c.HIGH] < math.inf or temperatures[c.LOW] > -math.inf:
            out = supply > temperatures[c.HIGH] + TOLERANCE
            if out or supply < temperatures[c.LOW] - TOLERANCE:
                dwell = heat.rules[cluster, c.DWELL]
                row[c.GOVERN] = max(hs.now[c.TIME], row[c.CHANGED] + dwell)
                temperatures[c.LOW], temperatures[c.HIGH] = -math.inf, math.inf
        if heat.rules[cluster, c.FAN_LEVELS] > 1:
            _look_at_fans(heat, hs, node, supply)
        _share_band(hs, node, zone, supply)
    else:
        row[c.GOVERN], row[c.FAN_DUE] = FAR_NS, FAR_NS
    _watch(heat, hs, node, sink, die)
    if row[c.HOT_OFF] == c.COOLS:
        row[c.WATCH] = c.FALL_WATCH
        row[c.COOL_DUE] = cools_at(heat, hs, node)
    first = min(row[c.CROSS], row[c.FAN_DUE], row[c.GOVERN], row[c.COOL_DUE])
    set_due(hs.due, node_entity(hs, node), first)


@inner
def _share_band(hs: HeatState, node: int, zone: int, supply: float) -> None:
    """Narrow the zone's band by a node's, unless the supply is outside of it already."""
    z, temperatures = hs.zone_c[zone], hs.node_c[node]
    narrower = False
    if supply <= temperatures[c.HIGH] + TOLERANCE and temperatures[c.HIGH] < z[c.Z_HIGH]:
        z[c.Z_HIGH], narrower = temperatures[c.HIGH], True
    if supply >= temperatures[c.LOW] - TOLERANCE and temperatures[c.LOW] > z[c.Z_LOW]:
        z[c.Z_LOW], narrower = temperatures[c.LOW], True
    if narrower and hs.zone[zone, c.MODE] == c.SATURATED:
        mark_zone(hs, zone, RESCHEDULE)


@inner
def _note_branch(heat: Heat, hs: HeatState, zone: int, branch: int, span: float) -> None:
    """Records of a branch's devices in a segment that ends, where any can be beaten."""
    b, cluster = hs.branch[branch], heat.branches[branch, c.B_CLUSTER]
    record = hs.cluster_c[cluster, c.HOTTEST_C]
    if b[c.B_NODES] == 0.0 or b[c.B_TOP] + b[c.SUP] <= record:
        return
    load_branch(heat, hs, branch)
    warmest = hs.w[REFERENCE] + greatest(hs.w, 4, span)
    if b[c.B_TOP] + warmest <= record:
        return
    b[c.SUP] = warmest
    top = -math.inf
    for place in range(heat.first[c.OF_ZONE, zone], heat.first[c.OF_ZONE, zone + 1]):
        node = heat.members[c.OF_ZONE, place]
        if hs.node[node, c.BRANCH] != branch:
            continue
        top = max(top, hs.node_c[node, c.TOP])
        least = hs.cluster_c[cluster, c.HOTTEST_C] - warmest
        if hs.node_c[node, c.TOP] > least:
            touch(heat, hs, node)
    b[c.B_TOP] = top


@inner
def close_zone(heat: Heat, hs: HeatState, zone: int) -> None:
    """End a zone's segment now: records, then where supply and branches are."""
    row, z, now = hs.zone[zone], hs.zone_c[zone], hs.now[c.TIME]
    span = seconds_since(hs, row[c.Z_SINCE])
    if span <= 0.0:
        return
    if row[c.STILL] == 0:
        z[c.HIGHEST] = max(z[c.HIGHEST], highest_supply(hs, zone, span))
        for branch in range(heat.first[c.BRANCHES, zone], heat.first[c.BRANCHES, zone + 1]):
            _note_branch(heat, hs, zone, branch, span)
        for branch in range(heat.first[c.BRANCHES, zone], heat.first[c.BRANCHES, zone + 1]):
            sink, die = branch_at(heat, hs, branch)
            hs.branch[branch, c.B_SINK], hs.branch[branch, c.B_DIE] = sink, die
        if row[c.MODE] == c.SATURATED:
            load_zone(hs, zone)
            z[c.SUPPLY] = hs.w[REFERENCE] + value(hs.w, 2, span)
            z[c.WATER] += value(hs.w, 1, span)
            z[c.W_PUSH] = drift(hs.w, span)
    row[c.Z_SINCE] = now


@inner
def refresh(heat: Heat, hs: HeatState, zone: int) -> None:
    """Begin a zone's segment anew without a change."""
    if hs.zone[zone, c.STILL] == 0 and hs.zone[zone, c.Z_SINCE] != hs.now[c.TIME]:
        close_zone(heat, hs, zone)
        open_zone(heat, hs, zone)
