"""What runs asks for power; the heat engine says what it gets, how fast it is, what goes off.

Devices of a node are dealt out as in `members.holder`: in ascending order, to others first, then to
slots. Whatever changes there is noted with `power.ask`; `follow` tells the engine once the event is
complete. A node that the engine switched off is a failure of class Overheat, the last of the
fleet's: it is told to the fleet, whose changes are felt as those of any failure.
"""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.arrays import (
    ACCELERATORS,
    ASKING,
    NOW,
    OTHERS_LOST,
    SHUTDOWNS,
    SOUND,
    EventLog,
    Farm,
    State,
)
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.kernels import heat_columns as h
from kfarm_twin.kernels import unit_columns as u
from kfarm_twin.kernels.charge import record
from kfarm_twin.kernels.fleet_reach import give_back, note_outage, take_down
from kfarm_twin.kernels.grid import node_draw
from kfarm_twin.kernels.grid_columns import CAPPED, FIRST_MEMBER
from kfarm_twin.kernels.heat import (
    set_overhead,
    set_power,
    set_up,
    settle,
    start_steady,
)
from kfarm_twin.kernels.heat_nodes import resistance_of
from kfarm_twin.kernels.heat_zones import supply_at
from kfarm_twin.kernels.power import (
    FULL_PPM,
    KILO,
    ask,
    group_speed,
    pace_ppm,
    redraw,
)
from kfarm_twin.policy.gangs import NONE

OVERHEATED, COOLED, THROTTLED = 17, 18, 19
"""Kinds of log entries: of nodes, the last with their speed [ppm]."""


@inner
def overheat_class(farm: Farm) -> int:
    """The class that nodes which go off because of heat are down with."""
    return int(farm.fleet.classes.shape[0] - 1)


@inner
def _swing(farm: Farm, state: State, node: int, workload: int, pods: int) -> None:
    for window in range(state.grid.swing_mw.shape[0]):
        swing = farm.grid.swing_mw[window, workload, farm.nodes.cluster[node]]
        state.grid.swing_mw[window, node] += swing * pods


@inner
def _gather(farm: Farm, state: State, node: int) -> None:
    """What a node asks for: beside its devices and for them, its swings; its rack looks again."""
    cluster, others = farm.nodes.cluster[node], farm.loads.beside_mw.shape[0] - 1
    loads, idle = farm.loads, farm.clusters.idle_device_mw[cluster]
    theirs = farm.nodes.others[node] - state.nodes.health[node, OTHERS_LOST]
    fixed = farm.clusters.base_mw[cluster] + theirs * loads.beside_mw[others, cluster]
    live = theirs * (loads.device_mw[others, cluster] - idle)
    for window in range(state.grid.swing_mw.shape[0]):
        state.grid.swing_mw[window, node] = 0
    _swing(farm, state, node, others, theirs)
    slot = state.nodes.first_slot[node]
    while slot != NONE:
        unit = farm.units.slot_unit[slot]
        if state.units.row[unit, u.PHASE] == u.RUNNING:
            workload = farm.units.workload[unit]
            fixed += loads.beside_mw[workload, cluster]
            need = farm.workloads.need[workload, ACCELERATORS]
            live += need * (loads.device_mw[workload, cluster] - idle)
            _swing(farm, state, node, workload, 1)
        slot = state.units.next_slot[slot]
    state.asks.fixed_mw[node] = fixed
    state.asks.live_mw[node] = live
    rack = farm.grid.node[node, CAPPED]
    if rack != NONE:
        state.asks.pace_dirty[rack] = 1


@inner
def slow_units(farm: Farm, state: State, node: int) -> None:
    """The units on a node will want to know that the speed of its devices changed."""
    slot = state.nodes.first_slot[node]
    while slot != NONE:
        state.units.row[farm.units.slot_unit[slot], u.FELT] = 1
        slot = state.units.next_slot[slot]


@inner
def _pace_racks(farm: Farm, state: State) -> None:
    """Slow or free the devices of capped racks where what is asked there, or a fan, changed."""
    asks = state.asks
    for group in range(farm.sites.loop_limit_mw.shape[0], asks.pace_ppm.shape[0]):
        if asks.pace_dirty[group] == 0:
            continue
        asks.pace_dirty[group] = 0
        speed = group_speed(farm, state, group)
        if speed == asks.pace_ppm[group]:
            continue
        asks.pace_ppm[group] = speed
        members = farm.grid.group
        for at in range(members[group, FIRST_MEMBER], members[group + 1, FIRST_MEMBER]):
            ask(state, farm.grid.member[at])
            slow_units(farm, state, farm.grid.member[at])


@inner
def _ask_devices(farm: Farm, state: State, now: int, node: int) -> None:
    """Let the devices of a node ask for what works on them; what is lost or free is idle."""
    cluster, nodes, heat = farm.nodes.cluster[node], state.nodes, state.heat
    idle, others = farm.clusters.idle_device_mw[cluster], farm.loads.device_mw.shape[0] - 1
    left, pace = farm.nodes.others[node] - nodes.health[node, OTHERS_LOST], FULL_PPM
    power, slot = farm.loads.device_mw[others, cluster], nodes.first_slot[node]
    pace = pace_ppm(farm, state, node)
    first, asked = 0, -1  # devices from `first` on ask for `asked`
    for device in range(farm.nodes.devices[node]):
        own = idle
        if nodes.devices[node, device, 0] == SOUND:
            while left == 0 and slot != NONE:
                unit = farm.units.slot_unit[slot]
                workload = farm.units.workload[unit]
                left, power = farm.workloads.need[workload, ACCELERATORS], idle
                if state.units.row[unit, u.PHASE] == u.RUNNING:
                    power = farm.loads.device_mw[workload, cluster]
                slot = state.units.next_slot[slot]
            if left > 0:
                own, left = idle + (power - idle) * pace // FULL_PPM, left - 1
        if own != asked and device > first:
            set_power(farm.heat, heat, now, node, first, device - first, asked)
            first = device
        asked = own
    set_power(farm.heat, heat, now, node, first, farm.nodes.devices[node] - first, asked)


@inner
def _tell_losses(farm: Farm, state: State, now: int, node: int) -> bool:
    """Let the heat of a node's power supplies warm its air as well; True where it is another."""
    cluster, asks = farm.nodes.cluster[node], state.asks
    beside = asks.fixed_mw[node] - farm.nodes.devices[node] * farm.clusters.idle_device_mw[cluster]
    parts = state.heat.node[node, h.POWER_MW] - asks.loss_mw[node]
    loss = node_draw(farm.grid, cluster, parts) - parts
    if loss == asks.loss_mw[node]:
        return False
    asks.loss_mw[node] = loss
    set_overhead(farm.heat, state.heat, now, node, beside + loss)
    return True


@inner
def follow(farm: Farm, state: State) -> None:
    """Tell the heat engine what has changed on nodes since it was last told."""
    count, asks, at = state.tally.counts, state.asks, 0
    now = count[NOW]
    for at in range(count[ASKING]):
        _gather(farm, state, asks.dirty[1, at])
    _pace_racks(farm, state)
    for at in range(count[ASKING]):
        node = asks.dirty[1, at]
        if state.nodes.up[node] != state.heat.node[node, h.UP]:
            set_up(farm.heat, state.heat, now, node, state.nodes.up[node])
        if state.nodes.up[node] == 1:
            cluster = farm.nodes.cluster[node]
            idle = farm.nodes.devices[node] * farm.clusters.idle_device_mw[cluster]
            beside = asks.fixed_mw[node] - idle + asks.loss_mw[node]
            set_overhead(farm.heat, state.heat, now, node, beside)
            _ask_devices(farm, state, now, node)
    if count[ASKING] > 0:
        settle(farm.heat, state.heat)
    lost = False
    for at in range(count[ASKING]):
        node = asks.dirty[1, at]
        if state.nodes.up[node] == 1:
            lost = _tell_losses(farm, state, now, node) or lost
    if lost:
        settle(farm.heat, state.heat)
    for at in range(count[ASKING]):
        node = asks.dirty[1, at]
        asks.dirty[0, node] = 0
        redraw(farm, state, node)
    count[ASKING] = 0


@inner
def _first_place(farm: Farm, state: State, node: int, slot: int) -> int:
    """How many sound devices of a node are dealt out before those of a slot."""
    place = farm.nodes.others[node] - state.nodes.health[node, OTHERS_LOST]
    at = state.nodes.first_slot[node]
    while at not in (slot, NONE):
        place += farm.workloads.need[farm.units.workload[farm.units.slot_unit[at]], ACCELERATORS]
        at = state.units.next_slot[at]
    return int(place)


@inner
def slot_ppm(farm: Farm, state: State, slot: int) -> int:
    """Speed of the slowest device of a slot, as throttling leaves it [ppm]."""
    node = state.units.slot_node[slot]
    if state.heat.node[node, h.SPEED_NOW] >= FULL_PPM:
        return FULL_PPM
    skipped = _first_place(farm, state, node, slot)
    left = farm.workloads.need[farm.units.workload[farm.units.slot_unit[slot]], ACCELERATORS]
    slowest = FULL_PPM
    for device in range(farm.nodes.devices[node]):
        if state.nodes.devices[node, device, 0] != SOUND:
            continue
        if skipped > 0:
            skipped -= 1
        elif left > 0:
            left -= 1
            level = state.heat.mw[node, device, h.LEVEL]
            if level != h.FREE:
                slowest = min(slowest, level * FULL_PPM // h.LEVELS)
    return int(slowest)


@inner
def rest_c(farm: Farm, state: State, node: int) -> float:
    """What a node's hottest device tends to with its present power, inlet and flow [degC]."""
    heat, hottest = state.heat, 0.0
    for device in range(farm.nodes.devices[node]):
        watts = float(heat.mw[node, device, h.DRAWN]) * KILO
        hottest = max(hottest, resistance_of(heat, node, device) * watts)
    supply = supply_at(farm.heat, heat, farm.heat.nodes[node, h.INLET_ZONE])
    return float(supply + heat.node_c[node, h.INLET] + hottest)


@inner
def _overheat(farm: Farm, state: State, log: EventLog, node: int) -> None:
    """A node went off because of heat: tell the fleet."""
    fleet, shop, now = farm.fleet, state.fleet, state.tally.counts[NOW]
    failed = overheat_class(farm)
    state.asks.hot_since[node] = now
    state.tally.counts[SHUTDOWNS] += 1
    record(log, now, OVERHEATED, node, failed)
    shop.tally[failed, c.EVENTS] += 1.0
    if shop.node[node, c.FAULTS] == 0:
        shop.now[c.HIT] += 1
    shop.node[node, c.FAULTS] += 1
    shop.now[c.FAILURES] += 1
    detection = farm.clusters.detection_ns[farm.nodes.cluster[node]]
    take_down(fleet, shop, node, failed, c.FAULT, detection)


@inner
def _cool(farm: Farm, state: State, log: EventLog, node: int, seed: int, future: int) -> None:
    """A node has cooled: as far as heat goes it may come back."""
    now, since = state.tally.counts[NOW], state.asks.hot_since[node]
    state.asks.hot_since[node] = NONE
    record(log, now, COOLED, node, overheat_class(farm))
    note_outage(state.fleet, overheat_class(farm), now - since, since)
    give_back(farm.fleet, state.fleet, node, seed, future)


@inner
def book_power(farm: Farm, state: State) -> bool:
    """Let nodes draw what the heat engine says; True where power supplies lose otherwise.

    Only nodes whose power or speed changed are looked at: thousands of fans turn one by one.
    """
    now, heat, lost = state.tally.counts[NOW], state.heat, False
    for at in range(heat.now[h.D_DRAWS]):
        node = heat.dirty[h.D_DRAWS, at]
        if state.nodes.up[node] == 1:
            lost = _tell_losses(farm, state, now, node) or lost
    if lost:
        settle(farm.heat, heat)
    for at in range(heat.now[h.D_DRAWS]):
        node = heat.dirty[h.D_DRAWS, at]
        heat.node[node, h.DRAWS] = 0
        redraw(farm, state, node)
    heat.now[h.D_DRAWS] = 0
    return lost


@inner
def start_warm(farm: Farm, state: State) -> None:
    """At time 0, let all be as warm as it gets with what was asked for."""
    for _ in range(2):  # the second time with the losses of what is then drawn
        start_steady(farm.heat, state.heat)
        if not book_power(farm, state):
            break


@inner
def feel(farm: Farm, state: State, log: EventLog, changes: int, seed: int, future: int) -> int:
    """Let what the heat engine tells be felt; how many changes of the fleet come of it."""
    heat, shop, now = state.heat, state.fleet, state.tally.counts[NOW]
    shop.now[c.TIME] = now
    shop.now[c.CHANGES] = 0
    for row in range(changes):
        what, node = heat.changes[row, 0], heat.changes[row, 1]
        if what == h.OVERHEATED:
            _overheat(farm, state, log, node)
        elif what == h.COOL:
            _cool(farm, state, log, node, seed, future)
        elif what == h.SPEED:
            slow_units(farm, state, node)
            record(log, now, THROTTLED, node, heat.changes[row, 3])
        elif what == h.FANS and farm.grid.node[node, CAPPED] != NONE:
            state.asks.pace_dirty[farm.grid.node[node, CAPPED]] = 1
    book_power(farm, state)
    return int(shop.now[c.CHANGES])


@inner
def note_hot_at_end(farm: Farm, state: State, horizon: int) -> None:
    """Outages by heat that are open at the horizon count up to it."""
    for node in range(state.nodes.up.shape[0]):
        since = state.asks.hot_since[node]
        if since != NONE:
            note_outage(state.fleet, overheat_class(farm), horizon - since, since)
