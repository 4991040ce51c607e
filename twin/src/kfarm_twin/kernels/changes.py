"""What a change of the fleet does to those who run there."""

from __future__ import annotations

from kfarm_twin._jit import inner, spliced
from kfarm_twin.arrays import (
    ACCELERATORS,
    CORRUPT_CLASS,
    DOWN,
    FAILED_CLASS,
    FAILED_NS,
    LOST_DEVICES,
    LOST_OTHERS,
    LOST_OURS,
    NOW,
    OTHERS_LOST,
    SLOW_CLASS,
    SOUND,
    SPEED_PPM,
    EventLog,
    EventQueue,
    Farm,
    State,
)
from kfarm_twin.kernels import unit_columns as u
from kfarm_twin.kernels.charge import charge_devices, record
from kfarm_twin.kernels.fleet_columns import (
    CAME_UP,
    CORRUPTED,
    DRAIN,
    GOT_DEVICE,
    INTERRUPTED,
    LOST_DEVICE,
    SPEED,
    WENT_DOWN,
)
from kfarm_twin.kernels.gangs import disclose, interrupt, move, spoil
from kfarm_twin.kernels.heap import FAILED, REPAIRED
from kfarm_twin.kernels.members import holder, miss
from kfarm_twin.kernels.power import FULL_PPM, ask
from kfarm_twin.kernels.progress import schedule_finish, settle
from kfarm_twin.policy.gangs import NONE

WHAT, NODE, CLASS, DETAIL, DETECTION_NS = range(5)
"""Columns of `FleetState.changes`."""
DRAINED, DEVICE_LOST, DEVICE_BACK, SLOWED, SPOILT, RAIL_LOST = 11, 12, 13, 14, 15, 16
"""Kinds of log entries beside those of events and units."""


@inner
def note_lost_devices(state: State, node: int, down: bool) -> None:
    """Charge lost devices of a node that is up until now, unless it was `down`; go on from now."""
    now = state.tally.counts[NOW]
    if state.nodes.health[node, LOST_DEVICES] == 0:
        return
    for device in range(state.nodes.devices.shape[1]):
        if state.nodes.devices[node, device, 0] == SOUND:
            continue
        if not down:
            lost_class = state.nodes.devices[node, device, 1]
            charge_devices(state, 1, lost_class, now - state.nodes.devices[node, device, 2])
        state.nodes.devices[node, device, 2] = now


@inner
def note_down_time(farm: Farm, state: State, node: int) -> None:
    """Charge the devices of a node that is down, up to now."""
    span = state.tally.counts[NOW] - state.nodes.health[node, FAILED_NS]
    failed_class = state.nodes.health[node, FAILED_CLASS]
    charge_devices(state, farm.nodes.devices[node], failed_class, span)


@inner
def _stop_all(
    farm: Farm,
    state: State,
    queue: EventQueue,
    log: EventLog,
    node: int,
    failed_class: int,
    detection_ns: int,
    horizon: int,
) -> bool:
    """Interrupt all that runs on a node; if it spoilt their work, that is found."""
    spoilt = state.nodes.health[node, CORRUPT_CLASS] != NONE
    slot, last, kept_room = state.nodes.first_slot[node], NONE, True
    while slot != NONE:
        unit = farm.units.slot_unit[slot]
        if unit != last:
            done = interrupt(farm, state, queue, log, unit, failed_class, detection_ns, horizon)
            kept_room = done and kept_room
            if spoilt:
                disclose(farm, state, unit)
        last = unit
        slot = state.units.next_slot[slot]
    state.nodes.health[node, CORRUPT_CLASS] = NONE
    return kept_room


@spliced
def _move_all(
    farm: Farm, state: State, queue: EventQueue, log: EventLog, node: int, horizon: int
) -> bool:
    """Let all that runs on a node save and move."""
    slot, last, kept_room = state.nodes.first_slot[node], NONE, True
    while slot != NONE:
        unit = farm.units.slot_unit[slot]
        if unit != last:
            kept_room = move(farm, state, queue, log, unit, NONE, horizon) and kept_room
        last = unit
        slot = state.units.next_slot[slot]
    return kept_room


@spliced
def _go_down(
    farm: Farm, state: State, queue: EventQueue, log: EventLog, row: int, horizon: int
) -> bool:
    change, nodes = state.fleet.changes, state.nodes
    node, failed_class, now = change[row, NODE], change[row, CLASS], state.tally.counts[NOW]
    drained = change[row, DETAIL] == DRAIN
    record(log, now, DRAINED if drained else FAILED, node, failed_class)
    if drained and nodes.health[node, CORRUPT_CLASS] == NONE:
        kept_room = _move_all(farm, state, queue, log, node, horizon)
    else:
        found = change[row, DETECTION_NS]
        kept_room = _stop_all(farm, state, queue, log, node, failed_class, found, horizon)
    while nodes.first_slot[node] != NONE:
        miss(farm, state, nodes.first_slot[node])
    note_lost_devices(state, node, False)
    nodes.health[node, FAILED_CLASS] = failed_class
    nodes.health[node, FAILED_NS] = now
    nodes.up[node] = 0
    ask(state, node)
    state.tally.counts[DOWN] += 1
    return kept_room


@spliced
def _come_up(farm: Farm, state: State, log: EventLog, node: int) -> None:
    note_down_time(farm, state, node)
    note_lost_devices(state, node, True)
    failed_class = state.nodes.health[node, FAILED_CLASS]
    record(log, state.tally.counts[NOW], REPAIRED, node, failed_class)
    state.nodes.health[node, FAILED_CLASS] = NONE
    state.nodes.up[node] = 1
    ask(state, node)
    state.tally.counts[DOWN] -= 1


@inner
def mark_lost(farm: Farm, state: State, node: int, device: int, lost_class: int) -> None:
    """Take a device, which no pod of ours holds, out of what a node has."""
    nodes, kind = state.nodes, LOST_OURS
    if holder(farm, state, node, device) < NONE:
        kind = LOST_OTHERS
        nodes.health[node, OTHERS_LOST] += 1
    else:
        nodes.free[node, ACCELERATORS] -= 1
    ask(state, node)
    nodes.devices[node, device, 0] = kind
    nodes.devices[node, device, 1] = lost_class
    nodes.devices[node, device, 2] = state.tally.counts[NOW]
    nodes.health[node, LOST_DEVICES] += 1


@spliced
def _lose_device(
    farm: Farm, state: State, queue: EventQueue, log: EventLog, row: int, horizon: int
) -> bool:
    change, kept_room = state.fleet.changes, True
    node, device, failed_class = change[row, NODE], change[row, DETAIL], change[row, CLASS]
    found = change[row, DETECTION_NS]
    record(log, state.tally.counts[NOW], DEVICE_LOST, node, device)
    slot = holder(farm, state, node, device)
    if state.nodes.health[node, CORRUPT_CLASS] != NONE:
        kept_room = _stop_all(farm, state, queue, log, node, failed_class, found, horizon)
    elif slot >= 0:
        unit = farm.units.slot_unit[slot]
        kept_room = interrupt(farm, state, queue, log, unit, failed_class, found, horizon)
    if slot >= 0:
        miss(farm, state, slot)
    mark_lost(farm, state, node, device, failed_class)
    return kept_room


@spliced
def _get_device(farm: Farm, state: State, log: EventLog, node: int, device: int) -> None:
    nodes, now = state.nodes, state.tally.counts[NOW]
    record(log, now, DEVICE_BACK, node, device)
    if nodes.up[node] == 1:
        lost_class = nodes.devices[node, device, 1]
        charge_devices(state, 1, lost_class, now - nodes.devices[node, device, 2])
    if nodes.devices[node, device, 0] == LOST_OTHERS:
        nodes.health[node, OTHERS_LOST] -= 1
    else:
        nodes.free[node, ACCELERATORS] += 1
    ask(state, node)
    nodes.devices[node, device, 0] = SOUND
    nodes.health[node, LOST_DEVICES] -= 1


@inner
def felt_by_units(
    farm: Farm, state: State, queue: EventQueue, node: int, spoilt_class: int, horizon: int
) -> bool:
    """Bring running units on a node up to now; spoil their work, or give them their new speed."""
    slot, last, kept_room = state.nodes.first_slot[node], NONE, True
    while slot != NONE:
        unit = farm.units.slot_unit[slot]
        if unit != last and state.units.row[unit, u.PHASE] == u.RUNNING:
            settle(farm, state, unit, state.tally.counts[NOW])
            if spoilt_class != NONE:
                spoil(farm, state, unit, spoilt_class)
            else:
                kept_room = schedule_finish(farm, state, queue, unit, horizon) and kept_room
        last = unit
        slot = state.units.next_slot[slot]
    return kept_room


@spliced
def apply_change(
    farm: Farm, state: State, queue: EventQueue, log: EventLog, row: int, horizon: int
) -> bool:
    """Let one change of the fleet be felt; False when the queue had no room for what follows."""
    change, now = state.fleet.changes, state.tally.counts[NOW]
    what, node, detail = change[row, WHAT], change[row, NODE], change[row, DETAIL]
    if what == WENT_DOWN:
        return _go_down(farm, state, queue, log, row, horizon)
    if what == CAME_UP:
        _come_up(farm, state, log, node)
    elif what == LOST_DEVICE:
        return _lose_device(farm, state, queue, log, row, horizon)
    elif what == GOT_DEVICE:
        _get_device(farm, state, log, node, detail)
    elif what == SPEED:
        slow_class = change[row, CLASS] if detail < FULL_PPM else NONE
        state.nodes.health[node, SPEED_PPM] = detail
        state.nodes.health[node, SLOW_CLASS] = slow_class
        record(log, now, SLOWED, node, detail)
        return felt_by_units(farm, state, queue, node, NONE, horizon)
    elif what == CORRUPTED and change[row, CLASS] != NONE:
        state.nodes.health[node, CORRUPT_CLASS] = change[row, CLASS]
        record(log, now, SPOILT, node, change[row, CLASS])
        return felt_by_units(farm, state, queue, node, change[row, CLASS], horizon)
    elif what == CORRUPTED:
        failed_class = state.nodes.health[node, CORRUPT_CLASS]
        if failed_class != NONE:
            return _stop_all(farm, state, queue, log, node, failed_class, 0, horizon)
    elif what == INTERRUPTED:
        failed_class, found = change[row, CLASS], change[row, DETECTION_NS]
        record(log, now, RAIL_LOST, node, failed_class)
        kept = state.nodes.health[node, CORRUPT_CLASS]
        state.nodes.health[node, CORRUPT_CLASS] = NONE
        kept_room = _stop_all(farm, state, queue, log, node, failed_class, found, horizon)
        state.nodes.health[node, CORRUPT_CLASS] = kept
        return kept_room
    return True
