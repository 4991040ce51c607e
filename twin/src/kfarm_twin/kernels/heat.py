"""The heat of a farm, exact between events: devices, fans, zones and the plant.

Heat goes up at once, temperatures cascade down (docs/nomenclature.md). Whoever plays a future calls
`begin`, tells changes by `set_power` and its neighbours, asks `next_time` before time moves on, and
calls `step` when that is not later than his own next event; `step` says in `changes` which nodes
slow down, went off or may come back.
"""

from __future__ import annotations

import math

from kfarm_twin._jit import inner
from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.kernels import heat_columns as c
from kfarm_twin.kernels.exponentials import A1, Q1, SEEN, drift
from kfarm_twin.kernels.heat_columns import Heat, HeatState
from kfarm_twin.kernels.heat_nodes import (
    BACK_OFF,
    apply,
    best_level,
    book_energy,
    close_zone,
    cools_at,
    distinct,
    is_over,
    join,
    limit_of,
    look,
    refresh,
    resistance_of,
    set_level,
    tell_apart,
    touch,
    wanted_branch,
)
from kfarm_twin.kernels.heat_times import (
    first_due,
    mark_draw,
    mark_node,
    mark_plant,
    mark_zone,
    seconds_since,
    set_due,
)
from kfarm_twin.kernels.heat_zones import (
    HEATED,
    KILO,
    MOVED,
    RESCHEDULE,
    TOLERANCE,
    add_heat,
    branch_at,
    keeps_setpoint,
    open_plant,
    open_zone,
    reopen,
    schedule_plant,
    schedule_zone,
    set_flow,
    supply_at,
    units_share,
    water_at,
)
from kfarm_twin.kernels.rng import FAR_NS, exp, exponential_ns, uniform
from kfarm_twin.kernels.samplers import normal_quantile

PASSES = 4
"""Rounds in which fans, inlets and supplies of a steady start are brought together."""
HALVINGS = 40
"""Rounds of the bisection for supplies under which devices are slowed: 100 K to 1e-10 K."""


@inner
def _settle_racks(heat: Heat, hs: HeatState) -> None:
    """Inlets of racks whose heat to air changed; their nodes are looked at."""
    for at in range(hs.now[c.D_RACKS]):
        rack = hs.dirty[c.D_RACKS, at]
        hs.rack[rack, c.RACK_MARK] = 0.0
        hs.rack[rack, c.RACK_RISE] = heat.racks[rack, 0] * (hs.rack[rack, c.RACK_AIR_MW] * KILO)
        for place in range(heat.first[c.OF_RACK, rack], heat.first[c.OF_RACK, rack + 1]):
            node = heat.members[c.OF_RACK, place]
            touch(heat, hs, node)
            mark_node(hs, node)
    hs.now[c.D_RACKS] = 0


@inner
def _settle_plants(heat: Heat, hs: HeatState) -> None:
    for at in range(hs.now[c.D_PLANTS]):
        plant = hs.dirty[c.D_PLANTS, at]
        hs.plant[plant, c.P_MARK] = 0
        if open_plant(heat, hs, plant):
            schedule_plant(heat, hs, plant)
            for zone in range(heat.zones.shape[0]):
                if int(heat.zones[zone, c.PLANT]) == plant:
                    mark_zone(hs, zone, MOVED)
    hs.now[c.D_PLANTS] = 0


@inner
def settle(heat: Heat, hs: HeatState) -> None:
    """Let what was set at this instant have its effect, before time moves on."""
    at = 0
    while at < hs.now[c.D_NODES]:
        touch(heat, hs, hs.dirty[c.D_NODES, at])
        apply(heat, hs, hs.dirty[c.D_NODES, at])
        at += 1
    _settle_racks(heat, hs)
    _settle_plants(heat, hs)
    at = 0
    while at < hs.now[c.D_ZONES]:
        zone = hs.dirty[c.D_ZONES, at]
        bits, at = hs.zone[zone, c.Z_MARK], at + 1
        if bits & MOVED != 0 or (bits & HEATED != 0 and not keeps_setpoint(heat, hs, zone)):
            close_zone(heat, hs, zone)
            reopen(heat, hs, zone)
    at = 0
    while at < hs.now[c.D_NODES]:
        node = hs.dirty[c.D_NODES, at]
        hs.node[node, c.MARK] = 0
        touch(heat, hs, node)
        look(heat, hs, node)
        at += 1
    hs.now[c.D_NODES] = 0
    at = 0
    while at < hs.now[c.D_ZONES]:
        zone = hs.dirty[c.D_ZONES, at]
        if hs.zone[zone, c.Z_MARK] & RESCHEDULE != 0:
            refresh(heat, hs, zone)
            schedule_zone(heat, hs, zone)
        hs.zone[zone, c.Z_MARK] = 0
        at += 1
    hs.now[c.D_ZONES] = 0


@inner
def _is_dirty(hs: HeatState) -> bool:
    return bool(hs.now[c.D_NODES] + hs.now[c.D_ZONES] + hs.now[c.D_PLANTS] > 0)


@inner
def _move_to(heat: Heat, hs: HeatState, now: int) -> None:
    """Let it be `now` [ns]."""
    if now > hs.now[c.TIME]:
        if _is_dirty(hs):
            settle(heat, hs)
        hs.now[c.TIME] = now


@inner
def set_power(
    heat: Heat, hs: HeatState, now: int, node: int, first_device: int, devices: int, asked_mw: int
) -> None:
    """From `now` [ns] on, so many devices of a node ask for `asked_mw` each, idle draw included."""
    _move_to(heat, hs, now)
    whole = devices == heat.rules[heat.nodes[node, c.CLUSTER], c.DEVICES]
    if not whole:
        tell_apart(heat, hs, node)
    for device in range(first_device, first_device + devices):
        hs.mw[node, device, c.ASKED] = asked_mw
    if whole:
        join(heat, hs, node)
    mark_node(hs, node)


@inner
def set_overhead(heat: Heat, hs: HeatState, now: int, node: int, overhead_mw: int) -> None:
    """From `now` [ns] on, a node draws so much beside its devices and fans."""
    _move_to(heat, hs, now)
    hs.node[node, c.OTHERS_MW] = overhead_mw
    mark_node(hs, node)


@inner
def set_up(heat: Heat, hs: HeatState, now: int, node: int, up: int) -> None:
    """Switch a node on (1) or off (0); what its devices ask for is kept meanwhile."""
    _move_to(heat, hs, now)
    row = hs.node[node]
    if row[c.UP] == up:
        return
    touch(heat, hs, node)
    row[c.UP] = up
    if up == 1:
        row[c.HOT_OFF], row[c.COOL_DUE] = 0, FAR_NS
    else:
        _free(heat, hs, node)
    row[c.SPEED_NOW] = c.FULL_PPM
    mark_draw(hs, node)
    mark_node(hs, node)


@inner
def _free(heat: Heat, hs: HeatState, node: int) -> None:
    """No device of a node throttles any more."""
    for device in range(distinct(heat, hs, node)):
        if hs.mw[node, device, c.LEVEL] != c.FREE:
            set_level(heat, hs, node, device, c.FREE)


@inner
def _change_flow(heat: Heat, hs: HeatState, zone: int) -> None:
    """A zone's units changed: its liquid branches have another flow."""
    mark_zone(hs, zone, MOVED)
    first, last = heat.first[c.BRANCHES, zone], heat.first[c.BRANCHES, zone + 1]
    moved = False
    for branch in range(first, last):
        if heat.rules[heat.branches[branch, c.B_CLUSTER], c.LIQUID] == 1:
            moved = True
    if not moved:
        return
    for place in range(heat.first[c.OF_ZONE, zone], heat.first[c.OF_ZONE, zone + 1]):
        touch(heat, hs, heat.members[c.OF_ZONE, place])
        mark_node(hs, heat.members[c.OF_ZONE, place])
    close_zone(heat, hs, zone)
    for branch in range(first, last):
        set_flow(heat, hs, branch)


@inner
def set_zone_units(heat: Heat, hs: HeatState, now: int, zone: int, units: int) -> None:
    """From `now` [ns] on, a zone has so many units, of which some may fail."""
    _move_to(heat, hs, now)
    if hs.zone[zone, c.THERE] == units:
        return
    close_zone(heat, hs, zone)
    _touch_zone(heat, hs, zone)
    hs.zone[zone, c.THERE] = units
    _change_flow(heat, hs, zone)


@inner
def _touch_zone(heat: Heat, hs: HeatState, zone: int) -> None:
    for place in range(heat.first[c.OF_ZONE, zone], heat.first[c.OF_ZONE, zone + 1]):
        touch(heat, hs, heat.members[c.OF_ZONE, place])


@inner
def set_plant_units(heat: Heat, hs: HeatState, now: int, plant: int, units: int) -> None:
    """From `now` [ns] on, a plant has so many units, of which some may fail."""
    _move_to(heat, hs, now)
    hs.plant[plant, c.P_THERE] = units
    mark_plant(hs, plant)


@inner
def set_plant_target(heat: Heat, hs: HeatState, now: int, plant: int, target_c: float) -> None:
    """From `now` [ns] on, a plant keeps its water at `target_c` [degC] while it can."""
    _move_to(heat, hs, now)
    hs.plant_c[plant, c.P_TARGET] = target_c
    mark_plant(hs, plant)


@inner
def next_time(heat: Heat, hs: HeatState) -> int:
    """When the next event comes [ns]; FAR_NS when there is none before the horizon."""
    if _is_dirty(hs):
        settle(heat, hs)
    if hs.now[c.D_TELL] > 0:
        return int(hs.now[c.TIME])
    due = hs.due[1]
    return int(due) if due < hs.now[c.HORIZON] else FAR_NS


@inner
def _tell(hs: HeatState, what: int, node: int, device: int, detail: int) -> None:
    row = hs.changes[hs.now[c.CHANGES]]
    row[0], row[1], row[2], row[3] = what, node, device, detail
    hs.now[c.CHANGES] += 1


@inner
def _tell_speeds(heat: Heat, hs: HeatState) -> None:
    """Say which nodes have another speed than was said last."""
    for at in range(hs.now[c.D_TELL]):
        node = hs.dirty[c.D_TELL, at]
        hs.node[node, c.TELLS] = 0
        if hs.node[node, c.UP] == 0:
            continue
        slowest, where = c.LEVELS + 1, c.NONE
        for device in range(distinct(heat, hs, node)):
            level = hs.mw[node, device, c.LEVEL]
            if level != c.FREE and level < slowest:
                slowest, where = level, device
        _tell(hs, c.SPEED, node, where, hs.node[node, c.SPEED_NOW])
    hs.now[c.D_TELL] = 0


@inner
def _overheat(heat: Heat, hs: HeatState, node: int, device: int) -> None:
    """A node goes off by itself."""
    row, cluster = hs.node[node], heat.nodes[node, c.CLUSTER]
    tally = hs.cluster[cluster]
    tally[c.SHUTDOWNS] += 1
    tally[c.FIRST_SHUTDOWN] = min(tally[c.FIRST_SHUTDOWN], hs.now[c.TIME])
    row[c.UP], row[c.HOT_OFF], row[c.SPEED_NOW] = 0, c.RESTS, c.FULL_PPM
    row[c.COOL_DUE] = hs.now[c.TIME] + heat.rules[cluster, c.RESTART]
    mark_draw(hs, node)
    _free(heat, hs, node)
    _tell(hs, c.OVERHEATED, node, device, 0)


@inner
def _check(heat: Heat, hs: HeatState, node: int) -> None:
    """Devices of a node that reached a limit throttle, or take the node off."""
    row, cluster = hs.node[node], heat.nodes[node, c.CLUSTER]
    laws, rules = heat.laws[cluster], heat.rules[cluster]
    sink, die = branch_at(heat, hs, row[c.BRANCH])
    inlet = supply_at(heat, hs, heat.nodes[node, c.INLET_ZONE]) + hs.node_c[node, c.INLET]
    acted = False
    for device in range(distinct(heat, hs, node)):
        if is_over(hs, node, device, laws[c.SHUTDOWN], sink, die):
            _overheat(heat, hs, node, device)
            return
        level = hs.mw[node, device, c.LEVEL]
        if level == c.FREE:
            limit = limit_of(heat, hs, node, device)
            if is_over(hs, node, device, limit, sink, die):
                best = best_level(heat, hs, node, device, inlet, laws[c.THROTTLE])
                set_level(heat, hs, node, device, best)
                row[c.CHANGED], acted = hs.now[c.TIME], True
        elif level == c.LEVELS and die + hs.own[node, device, c.DIE_C] < laws[c.THROTTLE]:
            acted = True  # where it is too soon, look will find that it is to be governed
            if hs.now[c.TIME] >= row[c.CHANGED] + rules[c.DWELL]:
                _release(heat, hs, node, device, inlet)
    if not acted:
        row[c.GUARD] = hs.now[c.TIME] + BACK_OFF


@inner
def _release(heat: Heat, hs: HeatState, node: int, device: int, inlet: float) -> None:
    """Let a device go that would come to rest well below its limit."""
    laws = heat.laws[heat.nodes[node, c.CLUSTER]]
    watts = float(hs.mw[node, device, c.ASKED]) * KILO
    if inlet + resistance_of(hs, node, device) * watts <= laws[c.THROTTLE] - laws[c.HYSTERESIS]:
        set_level(heat, hs, node, device, c.FREE)
        hs.node[node, c.CHANGED] = hs.now[c.TIME]


@inner
def _govern(heat: Heat, hs: HeatState, node: int, supply: float) -> None:
    """Choose the levels of throttled devices for the present inlet."""
    row, cluster = hs.node[node], heat.nodes[node, c.CLUSTER]
    laws = heat.laws[cluster]
    inlet = supply + hs.node_c[node, c.INLET]
    _, die = branch_at(heat, hs, row[c.BRANCH])
    for device in range(distinct(heat, hs, node)):
        level = hs.mw[node, device, c.LEVEL]
        if level == c.FREE:
            continue
        best = best_level(heat, hs, node, device, inlet, laws[c.THROTTLE])
        if best >= level:
            most = laws[c.THROTTLE] - laws[c.HYSTERESIS]
            best = max(best_level(heat, hs, node, device, inlet, most), level)
        if best != level:
            set_level(heat, hs, node, device, best)
            row[c.CHANGED] = hs.now[c.TIME]
        cool = die + hs.own[node, device, c.DIE_C] < laws[c.THROTTLE]
        if best == c.LEVELS and cool:
            _release(heat, hs, node, device, inlet)
    mark_node(hs, node)


@inner
def _turn_fans(heat: Heat, hs: HeatState, node: int, branch: int) -> None:
    """Turn the fans of a node at another level: it follows another branch from now on."""
    row = hs.node[node]
    before = row[c.BRANCH]
    if branch == before:
        return
    sink, die = branch_at(heat, hs, before)
    new_sink, new_die = branch_at(heat, hs, branch)
    for device in range(distinct(heat, hs, node)):
        hs.own[node, device, c.SINK_C] += sink - new_sink
        hs.own[node, device, c.DIE_C] += die - new_die
    row[c.BRANCH] = branch
    hs.branch[before, c.B_NODES] -= 1.0
    hs.branch[branch, c.B_NODES] += 1.0
    hs.now[c.FANS_TURNED] += 1
    _tell(hs, c.FANS, node, c.NONE, branch - heat.nodes[node, c.FIRST_BRANCH])


@inner
def _step_node(heat: Heat, hs: HeatState, node: int) -> None:
    """Whatever of a node is due."""
    row, now = hs.node[node], hs.now[c.TIME]
    touch(heat, hs, node)
    mark_node(hs, node)
    if row[c.COOL_DUE] <= now:
        row[c.COOL_DUE] = cools_at(heat, hs, node)
        row[c.HOT_OFF] = c.COOLS
        if row[c.COOL_DUE] <= now:
            row[c.COOL_DUE], row[c.HOT_OFF] = FAR_NS, c.COOLED
            _tell(hs, c.COOL, node, c.NONE, 0)
    if row[c.CROSS] <= now:
        _check(heat, hs, node)
    if row[c.UP] == 0:
        return
    supply = supply_at(heat, hs, heat.nodes[node, c.INLET_ZONE])
    if row[c.GOVERN] <= now:
        row[c.GOVERN] = FAR_NS
        _govern(heat, hs, node, supply)
    if row[c.FAN_DUE] <= now:
        row[c.FAN_DUE] = FAR_NS
        _turn_fans(heat, hs, node, wanted_branch(heat, hs, node, supply))


@inner
def _scan(heat: Heat, hs: HeatState, zone: int) -> None:
    """The supply left the band: nodes whose own band it left change, and the band is anew."""
    z, now = hs.zone_c[zone], hs.now[c.TIME]
    supply = supply_at(heat, hs, zone)
    z[c.Z_LOW], z[c.Z_HIGH] = -math.inf, math.inf
    for place in range(heat.first[c.OF_ZONE, zone], heat.first[c.OF_ZONE, zone + 1]):
        node = heat.members[c.OF_ZONE, place]
        band = hs.node_c[node]
        if hs.node[node, c.UP] == 0:
            continue
        inside = band[c.LOW] - TOLERANCE <= supply <= band[c.HIGH] + TOLERANCE
        if inside:
            z[c.Z_LOW] = max(z[c.Z_LOW], band[c.LOW])
            z[c.Z_HIGH] = min(z[c.Z_HIGH], band[c.HIGH])
            continue
        touch(heat, hs, node)
        mark_node(hs, node)
        dwell = heat.rules[heat.nodes[node, c.CLUSTER], c.DWELL]
        if now >= hs.node[node, c.CHANGED] + dwell:
            _govern(heat, hs, node, supply)


@inner
def _review(heat: Heat, hs: HeatState, zone: int) -> None:
    """Nodes whose bound the branch has reached look for crossings."""
    for branch in range(heat.first[c.BRANCHES, zone], heat.first[c.BRANCHES, zone + 1]):
        _, die = branch_at(heat, hs, branch)
        b = hs.branch[branch]
        if b[c.B_MARGIN] > die + TOLERANCE:
            continue
        b[c.B_MARGIN] = math.inf
        for place in range(heat.first[c.OF_ZONE, zone], heat.first[c.OF_ZONE, zone + 1]):
            node = heat.members[c.OF_ZONE, place]
            if hs.node[node, c.BRANCH] != branch or hs.node[node, c.WATCH] & c.RISE_WATCH != 0:
                continue
            if hs.node_c[node, c.MARGIN] <= die + TOLERANCE:
                mark_node(hs, node)
            else:
                b[c.B_MARGIN] = min(b[c.B_MARGIN], hs.node_c[node, c.MARGIN])


@inner
def _come_to_rest(heat: Heat, hs: HeatState, zone: int) -> None:
    """What follows a supply that has long been constant is as warm as the supply."""
    close_zone(heat, hs, zone)
    for branch in range(heat.first[c.BRANCHES, zone], heat.first[c.BRANCHES, zone + 1]):
        hs.branch[branch, c.B_SINK] = hs.zone_c[zone, c.SUPPLY]
        hs.branch[branch, c.B_DIE] = hs.zone_c[zone, c.SUPPLY]
    hs.zone[zone, c.STILL] = 1
    open_zone(heat, hs, zone)


@inner
def _step_zone(heat: Heat, hs: HeatState, zone: int) -> None:
    row, now = hs.zone[zone], hs.now[c.TIME]
    if row[c.SCAN] <= now:
        _scan(heat, hs, zone)
    if row[c.REVIEW] <= now:
        _review(heat, hs, zone)
    if row[c.FLIP] <= now:
        close_zone(heat, hs, zone)
        if row[c.MODE] == c.SATURATED:
            hs.zone_c[zone, c.SUPPLY] = heat.zones[zone, c.SETPOINT]
        reopen(heat, hs, zone)
    if row[c.CALM] <= now:
        _come_to_rest(heat, hs, zone)
    mark_zone(hs, zone, RESCHEDULE)


@inner
def _step_unit(heat: Heat, hs: HeatState, fault: int, seed: int, future: int) -> None:
    """A unit of a zone or plant stops or comes back."""
    law, row, now = heat.faults[fault], hs.unit[fault], hs.now[c.TIME]
    row[c.IS_DOWN] = 1 - row[c.IS_DOWN]
    if law[c.AT] == c.NONE:
        span = _drawn_span(heat, hs, fault, seed, future)
    else:
        span = law[c.DOWN_NS] if row[c.IS_DOWN] == 1 else FAR_NS
    set_due(hs.due, fault, now + span if span < FAR_NS else FAR_NS)
    more = law[c.LOST] if row[c.IS_DOWN] == 1 else -law[c.LOST]
    if law[c.OF_PLANT] == 1:
        hs.plant[law[c.INDEX], c.P_GONE] += more
        mark_plant(hs, law[c.INDEX])
        return
    close_zone(heat, hs, law[c.INDEX])
    _touch_zone(heat, hs, law[c.INDEX])
    hs.zone[law[c.INDEX], c.GONE] += more
    _change_flow(heat, hs, law[c.INDEX])


@inner
def _drawn_span(heat: Heat, hs: HeatState, fault: int, seed: int, future: int) -> int:
    """How long a unit that fails by chance stays as it is [ns]."""
    law, row = heat.faults[fault], hs.unit[fault]
    mean = law[c.DOWN_NS] if row[c.IS_DOWN] == 1 else law[c.UP_NS]
    u = uniform(seed, future, fault, c.UNIT_TIME, row[c.ORDINAL])
    row[c.ORDINAL] += 1
    return exponential_ns(u, float(mean))


@inner
def _step_plant(hs: HeatState, plant: int) -> None:
    """A plant's water is back at its target."""
    row, p = hs.plant[plant], hs.plant_c[plant]
    p[c.P_WATER] = p[c.P_TARGET]
    p[c.P_RATE], p[c.P_PUSH] = 0.0, 0.0
    row[c.P_SINCE], row[c.P_FALL] = hs.now[c.TIME], FAR_NS
    mark_plant(hs, plant)


@inner
def step(heat: Heat, hs: HeatState, seed: int, future: int) -> int:
    """Let the next event happen; the number of rows in `changes`."""
    if _is_dirty(hs):
        settle(heat, hs)
    hs.now[c.CHANGES] = 0
    if hs.now[c.D_TELL] == 0:
        entity = first_due(hs.due)
        due = hs.due[1]
        if due >= FAR_NS:
            return 0
        hs.now[c.TIME] = max(hs.now[c.TIME], due)
        hs.now[c.EVENTS] += 1
        faults, plants, zones = hs.unit.shape[0], hs.plant.shape[0], hs.zone.shape[0]
        if entity < faults:
            _step_unit(heat, hs, entity, seed, future)
        elif entity < faults + plants:
            _step_plant(hs, entity - faults)
        elif entity < faults + plants + zones:
            _step_zone(heat, hs, entity - faults - plants)
        else:
            _step_node(heat, hs, entity - faults - plants - zones)
        settle(heat, hs)
    _tell_speeds(heat, hs)
    return int(hs.now[c.CHANGES])


@inner
def _wipe(table: Ints | Floats) -> None:
    """Set all of a table of two dimensions to 0 (an assignment to slices compiles slowly)."""
    for row in range(table.shape[0]):
        for column in range(table.shape[1]):
            table[row, column] = 0


@inner
def _wipe_devices(hs: HeatState) -> None:
    for node in range(hs.mw.shape[0]):
        for device in range(hs.mw.shape[1]):
            for column in range(hs.mw.shape[2]):
                hs.mw[node, device, column] = 0
            for column in range(hs.own.shape[2]):
                hs.own[node, device, column] = 0.0


@inner
def _clear(heat: Heat, hs: HeatState, horizon: int) -> None:
    for table in (hs.node, hs.zone, hs.plant, hs.cluster, hs.unit):
        _wipe(table)
    for numbers in (
        hs.node_c, hs.branch, hs.zone_c, hs.plant_c, hs.rack, hs.cluster_c,
    ):  # fmt: skip
        _wipe(numbers)
    _wipe_devices(hs)
    for at in range(hs.due.shape[0]):
        hs.due[at] = FAR_NS
    for at in range(hs.now.shape[0]):
        hs.now[at] = 0
    hs.now[c.HORIZON], hs.w[SEEN] = horizon, -1.0
    for cluster in range(hs.cluster.shape[0]):
        hs.cluster[cluster, c.FIRST_THROTTLE] = FAR_NS
        hs.cluster[cluster, c.FIRST_SHUTDOWN] = FAR_NS
        hs.cluster_c[cluster, c.HOTTEST_C] = -math.inf
    for plant in range(hs.plant.shape[0]):
        hs.plant[plant, c.P_THERE] = int(heat.plants[plant, c.PLANT_UNITS])
        hs.plant[plant, c.P_HEAT_MW] = int(heat.plants[plant, c.PLANT_OTHER_MW])
        hs.plant_c[plant, c.P_TARGET] = heat.plants[plant, c.TARGET_C]
    for zone in range(hs.zone.shape[0]):
        hs.zone[zone, c.THERE] = int(heat.zones[zone, c.UNITS])


@inner
def _begin_units(heat: Heat, hs: HeatState, seed: int, future: int) -> None:
    """Units that fail by chance are up or down as in the long run."""
    for fault in range(heat.faults.shape[0]):
        law = heat.faults[fault]
        if law[c.AT] != c.NONE:
            set_due(hs.due, fault, law[c.AT])
            continue
        up, down = float(law[c.UP_NS]), float(law[c.DOWN_NS])
        if uniform(seed, future, fault, c.UNIT_DOWN, 0) * (up + down) < down:
            hs.unit[fault, c.IS_DOWN] = 1
            if law[c.OF_PLANT] == 1:
                hs.plant[law[c.INDEX], c.P_GONE] += law[c.LOST]
            else:
                hs.zone[law[c.INDEX], c.GONE] += law[c.LOST]
        span = _drawn_span(heat, hs, fault, seed, future)
        set_due(hs.due, fault, span if span < FAR_NS else FAR_NS)


@inner
def _begin_node(heat: Heat, hs: HeatState, node: int, seed: int, future: int) -> None:
    """A node is up and idle."""
    row, cluster = hs.node[node], heat.nodes[node, c.CLUSTER]
    rules, laws = heat.rules[cluster], heat.laws[cluster]
    row[c.UP], row[c.SPEED_NOW] = 1, c.FULL_PPM
    row[c.BRANCH] = heat.nodes[node, c.FIRST_BRANCH]
    hs.branch[row[c.BRANCH], c.B_NODES] += 1.0
    row[c.OTHERS_MW] = rules[c.OVERHEAD_MW]
    row[c.CROSS], row[c.FAN_DUE], row[c.GOVERN], row[c.COOL_DUE] = FAR_NS, FAR_NS, FAR_NS, FAR_NS
    row[c.CHANGED], row[c.ALIKE] = -rules[c.DWELL], rules[c.SAME]
    hs.node_c[node, c.HOTTEST] = -math.inf
    for device in range(rules[c.DEVICES]):
        factor = 1.0
        if laws[c.SPREAD] > 0.0:
            u = uniform(seed, future, node, c.SPREADS, device)
            factor = exp(laws[c.SPREAD] * normal_quantile(u))
        hs.own[node, device, c.R_DIE] = laws[c.DIE] * heat.factors[cluster, device, 0] * factor
        hs.own[node, device, c.K_SINK] = heat.factors[cluster, device, 1] * factor
        hs.mw[node, device, c.ASKED] = rules[c.IDLE_MW]
        hs.mw[node, device, c.LEVEL] = c.FREE
    rack = heat.nodes[node, c.RACK]
    if hs.rack[rack, c.RACK_MARK] == 0.0:  # nothing is marked yet: whether its load is booked
        hs.rack[rack, c.RACK_MARK] = 1.0
        load = int(heat.racks[rack, 1])
        hs.rack[rack, c.RACK_AIR_MW] = float(load)
        add_heat(heat, hs, heat.nodes[node, c.AIR_ZONE], load)


@inner
def begin(heat: Heat, hs: HeatState, seed: int, future: int, horizon: int) -> None:
    """A future at its start: all nodes are up, idle and as warm as they get so."""
    prepare(heat, hs, seed, future, horizon)
    start_steady(heat, hs)


@inner
def prepare(heat: Heat, hs: HeatState, seed: int, future: int, horizon: int) -> None:
    """As `begin`, for callers who set powers next and call `start_steady` themselves."""
    _clear(heat, hs, horizon)
    _begin_units(heat, hs, seed, future)
    for branch in range(hs.branch.shape[0]):
        set_flow(heat, hs, branch)
    for zone in range(hs.zone.shape[0]):
        add_heat(heat, hs, zone, int(heat.zones[zone, c.OTHER_MW]))
    for node in range(hs.node.shape[0]):
        _begin_node(heat, hs, node, seed, future)
    for rack in range(hs.rack.shape[0]):
        hs.rack[rack, c.RACK_MARK] = 0.0


@inner
def _steady_supplies(heat: Heat, hs: HeatState) -> None:
    """Water and supplies as they get if nothing changes."""
    for plant in range(hs.plant.shape[0]):
        row, p, law = hs.plant[plant], hs.plant_c[plant], heat.plants[plant]
        units = max(row[c.P_THERE] - row[c.P_GONE], 0)
        capacity = law[c.UNIT_W] * float(units) if units > 0 else 0.0
        short = float(row[c.P_HEAT_MW]) * KILO - capacity
        p[c.P_WATER], p[c.P_RATE], p[c.P_PUSH] = p[c.P_TARGET], 0.0, 0.0
        row[c.P_MODE], row[c.P_SINCE] = c.REGULATED, hs.now[c.TIME]
        if short > 0.0 and law[c.G] > 0.0:
            p[c.P_WATER] += short / law[c.G]
            row[c.P_MODE] = c.SATURATED
    for zone in range(hs.zone.shape[0]):
        hs.zone_c[zone, c.SUPPLY] = _steady_supply(heat, hs, zone)


@inner
def _steady_supply(heat: Heat, hs: HeatState, zone: int) -> float:
    """Supply of a zone as it gets with its present heat [degC]."""
    law, share = heat.zones[zone], units_share(heat, hs, zone)
    if share <= 0.0 or math.isinf(law[c.U]):
        return float(law[c.SETPOINT])
    water = hs.plant_c[int(law[c.PLANT]), c.P_WATER]
    reached = water + float(hs.zone[zone, c.HEAT_MW]) * KILO / (law[c.U] * share)
    return float(law[c.SETPOINT] if reached <= law[c.SETPOINT] + TOLERANCE else reached)


@inner
def _steady_inlet(heat: Heat, hs: HeatState, node: int) -> float:
    """Inlet of a node's devices above their supply [K], with what is drawn now; kept as well."""
    inlet = 0.0
    if heat.rules[heat.nodes[node, c.CLUSTER], c.LIQUID] == 0:
        inlet = hs.rack[heat.nodes[node, c.RACK], c.RACK_RISE]
        rise = heat.paths[hs.node[node, c.BRANCH], c.RISE]
        inlet += rise * (float(hs.node[node, c.DEVICES_MW]) * KILO)
    hs.node_c[node, c.INLET] = inlet
    return float(inlet)


@inner
def _steady_node(heat: Heat, hs: HeatState, node: int) -> bool:
    """Levels and fans of a node as they get under the present supply; True where they changed."""
    row, cluster = hs.node[node], heat.nodes[node, c.CLUSTER]
    laws, supply = heat.laws[cluster], hs.zone_c[heat.nodes[node, c.INLET_ZONE], c.SUPPLY]
    branch = row[c.BRANCH]
    if row[c.UP] == 1 and heat.rules[cluster, c.FAN_LEVELS] > 1:
        branch = wanted_branch(heat, hs, node, supply)
    hs.branch[row[c.BRANCH], c.B_NODES] -= 1.0
    hs.branch[branch, c.B_NODES] += 1.0
    changed = bool(branch != row[c.BRANCH])
    row[c.BRANCH] = branch
    inlet = _steady_inlet(heat, hs, node)
    for device in range(distinct(heat, hs, node)):
        asked, level = hs.mw[node, device, c.ASKED], c.FREE
        if row[c.UP] == 1 and asked > heat.rules[cluster, c.IDLE_MW]:
            level = best_level(heat, hs, node, device, supply + inlet, laws[c.THROTTLE])
            level = c.FREE if level == c.LEVELS else level
        if level != hs.mw[node, device, c.LEVEL]:
            changed = True
        set_level(heat, hs, node, device, level)
    return changed


@inner
def _steady_devices(heat: Heat, hs: HeatState, node: int) -> None:
    """Temperatures of a node's devices above their supply as they get with what is drawn now."""
    branch, inlet = hs.node[node, c.BRANCH], _steady_inlet(heat, hs, node)
    for device in range(distinct(heat, hs, node)):
        own, watts = hs.own[node, device], float(hs.mw[node, device, c.DRAWN]) * KILO
        own[c.SINK_C] = inlet + hs.branch[branch, c.R_SINK] * own[c.K_SINK] * watts
        own[c.DIE_C] = own[c.SINK_C] + own[c.R_DIE] * watts


@inner
def _steady_nodes(heat: Heat, hs: HeatState) -> bool:
    """Levels and fans under the present supplies, then what all draw; True where any changed."""
    moved = False
    for node in range(hs.node.shape[0]):
        moved = _steady_node(heat, hs, node) or moved
    if moved:
        _draw(heat, hs)
    return moved


@inner
def _draw(heat: Heat, hs: HeatState) -> None:
    """What nodes draw, and the warming at racks that follows."""
    for node in range(hs.node.shape[0]):
        apply(heat, hs, node)
    for rack in range(hs.rack.shape[0]):
        hs.rack[rack, c.RACK_RISE] = heat.racks[rack, 0] * (hs.rack[rack, c.RACK_AIR_MW] * KILO)


@inner
def _is_slowed(hs: HeatState) -> bool:
    slowed = 0
    for cluster in range(hs.cluster.shape[0]):
        slowed += hs.cluster[cluster, c.THROTTLED]
    return bool(slowed > 0)


@inner
def _balance(heat: Heat, hs: HeatState) -> None:
    """Supplies at which devices are slowed as much as keeps them there, by bisection.

    Warmer supply slows devices, which give less heat: what a zone would reach falls as its supply
    rises, so that the two meet once. Trying one after the other swings to and fro instead where
    little cold meets many devices.
    """
    for zone in range(hs.zone.shape[0]):
        z, full = hs.zone_c[zone], hs.zone_c[zone, c.SUPPLY]
        z[c.Z_LOW], z[c.Z_HIGH] = heat.zones[zone, c.SETPOINT], full
    for _ in range(HALVINGS):
        for zone in range(hs.zone.shape[0]):
            z = hs.zone_c[zone]
            z[c.SUPPLY] = 0.5 * (z[c.Z_LOW] + z[c.Z_HIGH])
        _steady_nodes(heat, hs)
        for zone in range(hs.zone.shape[0]):
            z = hs.zone_c[zone]
            if _steady_supply(heat, hs, zone) > z[c.SUPPLY]:
                z[c.Z_LOW] = z[c.SUPPLY]
            else:
                z[c.Z_HIGH] = z[c.SUPPLY]
    for zone in range(hs.zone.shape[0]):
        hs.zone_c[zone, c.SUPPLY] = hs.zone_c[zone, c.Z_HIGH]  # the side on which limits are kept
    _steady_nodes(heat, hs)


@inner
def start_steady(heat: Heat, hs: HeatState) -> None:
    """At time 0, let all be as warm as it gets if nothing changes; records begin anew."""
    _draw(heat, hs)
    _steady_supplies(heat, hs)
    for _ in range(PASSES):
        moved = _steady_nodes(heat, hs)
        if _is_slowed(hs):
            _balance(heat, hs)
            moved = False
        _steady_supplies(heat, hs)
        if not moved:
            break
    for node in range(hs.node.shape[0]):
        _steady_devices(heat, hs, node)
    for zone in range(hs.zone.shape[0]):
        z = hs.zone_c[zone]
        for branch in range(heat.first[c.BRANCHES, zone], heat.first[c.BRANCHES, zone + 1]):
            b = hs.branch[branch]
            b[c.B_SINK], b[c.B_DIE] = z[c.SUPPLY], z[c.SUPPLY]
            b[c.B_TOP], b[c.B_MARGIN] = -math.inf, math.inf
        hs.zone[zone, c.STILL], hs.zone[zone, c.MODE] = 1, c.REGULATED
        z[c.Z_LOW], z[c.Z_HIGH] = -math.inf, math.inf
        z[c.HIGHEST], z[c.START_C] = z[c.SUPPLY], z[c.SUPPLY]
        mark_zone(hs, zone, MOVED)
    _start_records(heat, hs)
    settle(heat, hs)


@inner
def _start_records(heat: Heat, hs: HeatState) -> None:
    for plant in range(hs.plant.shape[0]):
        p = hs.plant_c[plant]
        p[c.P_HIGHEST], p[c.P_START_C] = p[c.P_WATER], p[c.P_WATER]
        if hs.plant[plant, c.P_MODE] == c.SATURATED:
            mark_plant(hs, plant)
    for cluster in range(hs.cluster.shape[0]):
        row = hs.cluster[cluster]
        row[c.THROTTLED_MAX] = row[c.THROTTLED]
        row[c.FIRST_THROTTLE] = hs.now[c.TIME] if row[c.THROTTLED] > 0 else FAR_NS
        hs.cluster_c[cluster, c.HOTTEST_C] = -math.inf
        hs.cluster_c[cluster, c.STORED_START_J] = stored_j(heat, hs, cluster)
    for node in range(hs.node.shape[0]):
        hs.node_c[node, c.HOTTEST] = -math.inf
        _note_start(heat, hs, node)
        mark_node(hs, node)


@inner
def _note_start(heat: Heat, hs: HeatState, node: int) -> None:
    """Temperatures at the start are the first records."""
    cluster = heat.nodes[node, c.CLUSTER]
    warm = hs.branch[hs.node[node, c.BRANCH], c.B_DIE]
    for device in range(distinct(heat, hs, node)):
        celsius = warm + hs.own[node, device, c.DIE_C]
        hs.node_c[node, c.HOTTEST] = max(hs.node_c[node, c.HOTTEST], celsius)
        if celsius > hs.cluster_c[cluster, c.HOTTEST_C]:
            hs.cluster_c[cluster, c.HOTTEST_C] = celsius
            row = hs.cluster[cluster]
            row[c.HOT_NODE], row[c.HOT_DEVICE], row[c.HOT_AT] = node, device, hs.now[c.TIME]


@inner
def stored_j(heat: Heat, hs: HeatState, cluster: int) -> float:
    """Heat in the sinks of a cluster whose nodes were touched, above 0 degC [J]."""
    total = 0.0
    first = heat.rules[cluster, c.FIRST_NODE]
    for node in range(first, first + heat.rules[cluster, c.NODES]):
        branch = hs.node[node, c.BRANCH]
        sink, _ = branch_at(heat, hs, branch)
        count, own_j = distinct(heat, hs, node), 0.0
        for device in range(count):
            own = hs.own[node, device]
            own_j += heat.paths[branch, c.CAPACITY] / own[c.K_SINK] * (sink + own[c.SINK_C])
        total += own_j * float(heat.rules[cluster, c.DEVICES]) if count == 1 else own_j
    return total


@inner
def end(heat: Heat, hs: HeatState, horizon: int) -> None:
    """Close books and records at the horizon [ns]."""
    _move_to(heat, hs, horizon)
    if _is_dirty(hs):
        settle(heat, hs)
    for node in range(hs.node.shape[0]):
        touch(heat, hs, node)
    for cluster in range(hs.cluster.shape[0]):
        book_energy(hs, cluster)
        hs.cluster_c[cluster, c.STORED_J] = stored_j(heat, hs, cluster)
    for zone in range(hs.zone.shape[0]):
        close_zone(heat, hs, zone)
        row = hs.zone[zone]
        spent = float(row[c.HEAT_MW]) * KILO * seconds_since(hs, row[c.HEAT_SINCE])
        hs.zone_c[zone, c.IN_J] += spent
        row[c.HEAT_SINCE] = horizon
        open_zone(heat, hs, zone)
    for plant in range(hs.plant.shape[0]):
        whole, p = hs.plant[plant], hs.plant_c[plant]
        spent = float(whole[c.P_HEAT_MW]) * KILO * seconds_since(hs, whole[c.P_HEAT_SINCE])
        p[c.P_IN_J] += spent
        whole[c.P_HEAT_SINCE] = horizon
        water = water_at(hs, plant)
        hs.w[A1], hs.w[Q1] = p[c.P_RATE], p[c.P_PUSH]
        p[c.P_PUSH] = drift(hs.w, seconds_since(hs, whole[c.P_SINCE]))
        p[c.P_WATER], whole[c.P_SINCE] = water, horizon
        p[c.P_HIGHEST] = max(p[c.P_HIGHEST], water)


@inner
def hottest_c(heat: Heat, hs: HeatState, now: int, node: int) -> float:
    """Temperature of a node's hottest device [degC]."""
    _move_to(heat, hs, now)
    touch(heat, hs, node)
    _, die = branch_at(heat, hs, hs.node[node, c.BRANCH])
    hottest = -math.inf
    for device in range(distinct(heat, hs, node)):
        hottest = max(hottest, hs.own[node, device, c.DIE_C])
    return die + hottest


@inner
def device_c(heat: Heat, hs: HeatState, now: int, node: int, device: int) -> float:
    """Temperature of a device [degC]."""
    _move_to(heat, hs, now)
    touch(heat, hs, node)
    _, die = branch_at(heat, hs, hs.node[node, c.BRANCH])
    own = 0 if hs.node[node, c.ALIKE] == 1 else device
    return float(die + hs.own[node, own, c.DIE_C])


@inner
def supply_c(heat: Heat, hs: HeatState, now: int, zone: int) -> float:
    """Supply temperature of a zone [degC]."""
    _move_to(heat, hs, now)
    return supply_at(heat, hs, zone)


@inner
def inlet_c(heat: Heat, hs: HeatState, now: int, node: int) -> float:
    """Temperature of air or coolant at a node's devices [degC]."""
    supply = supply_c(heat, hs, now, heat.nodes[node, c.INLET_ZONE])
    return float(supply + hs.node_c[node, c.INLET])


@inner
def water_c(heat: Heat, hs: HeatState, now: int, plant: int) -> float:
    """Temperature of a plant's water [degC]."""
    _move_to(heat, hs, now)
    return water_at(hs, plant)
