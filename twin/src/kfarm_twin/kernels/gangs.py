"""Units (a gang, or one pod that is in no gang): interruption, replacement, restart, moves.

When a member is lost the unit stops; the work since the last completed save is lost; after
detection it is given healthy nodes for the missing members, or waits for them; then it restarts. An
elastic gang that finds too few goes on with those that it has, and when nodes are back it saves,
and restarts with more. Before a node is drained the unit saves, then moves: nothing is lost.

Work done beside a member whose node silently corrupts it is worthless: when that is found, the unit
falls back to the last save before it began. What was not found in time counts as lost at the end.
"""

from __future__ import annotations

from kfarm_twin._jit import inner, spliced
from kfarm_twin.arrays import (
    CORRUPT_CLASS,
    INTERRUPTIONS,
    LOST_DETECTION,
    LOST_RESTART,
    LOST_SAVES,
    LOST_WAITING,
    MOVES,
    NOW,
    RECOVER_AT,
    RECOVER_MAX,
    RECOVER_TIME,
    RECOVERIES,
    SHORT,
    EventLog,
    EventQueue,
    Farm,
    State,
)
from kfarm_twin.kernels import unit_columns as u
from kfarm_twin.kernels.charge import blame, charge_rework, charge_span, record
from kfarm_twin.kernels.heap import DETECTED, FINISHED, RESTARTED, SAVED, push
from kfarm_twin.kernels.members import attach, detach, find_nodes, put_to_work
from kfarm_twin.kernels.progress import schedule_finish, settle
from kfarm_twin.kernels.rng import FAR_NS
from kfarm_twin.kernels.unit_columns import (
    DETECTING,
    DONE,
    RESTARTING,
    RUNNING,
    SAVING,
    WAITING,
)
from kfarm_twin.policy.gangs import NONE

STOPPED, STARTED, MOVED, WAITS, SAVES = 5, 6, 7, 8, 10
"""Kinds of log entries beside those of events."""


@inner
def _charge_phase(farm: Farm, state: State, unit: int) -> None:
    """Note what the present phase of a unit has cost up to now."""
    units, now = state.units, state.tally.counts[NOW]
    phase = units.row[unit, u.PHASE]
    if phase == RUNNING:
        settle(farm, state, unit, now)
        return
    span = now - units.row[unit, u.SINCE]
    units.row[unit, u.SINCE] = now
    if phase == WAITING:
        state.units.row[unit, u.WAITED] += span
    if span == 0 or phase == DONE:
        return
    cause, absent = LOST_WAITING, 0
    if phase == DETECTING:
        cause = LOST_DETECTION
    elif phase == RESTARTING:
        cause = LOST_RESTART
        absent = units.row[unit, u.MISSING]
    elif phase == SAVING:
        cause = LOST_SAVES
    charge_span(farm, state, unit, absent, cause, units.row[unit, u.BLAMED], span)


@inner
def _wait_for(
    state: State, queue: EventQueue, unit: int, phase: int, due: int, kind: int, horizon: int
) -> bool:
    """Enter a phase that ends at `due` with an event, where that is before the horizon."""
    state.units.row[unit, u.PHASE] = phase
    state.units.row[unit, u.STAMP] += 1
    if due >= horizon:
        return True
    return push(queue, due, kind, unit, state.units.row[unit, u.STAMP])


@inner
def _discard(farm: Farm, state: State, unit: int, failed_class: int) -> None:
    """Lose the work since the last save."""
    charge_rework(farm, state, unit, failed_class, state.units.row[unit, u.WORK])
    state.units.row[unit, u.WORK] = 0
    state.units.row[unit, u.SAVING_FOR] = 0


@inner
def _stand(farm: Farm, state: State, unit: int) -> None:
    """Count what a planned stop took so far."""
    span = state.tally.counts[NOW] - state.units.row[unit, u.STOPPED_AT]
    state.units.row[unit, u.DOWN] += span
    blame(farm, state, unit, state.units.row[unit, u.BLAMED], span)


@inner
def interrupt(
    farm: Farm,
    state: State,
    queue: EventQueue,
    log: EventLog,
    unit: int,
    failed_class: int,
    detection_ns: int,
    horizon: int,
) -> bool:
    """Stop a unit that loses members, which are still attached, by a failure."""
    units, now = state.units, state.tally.counts[NOW]
    workload, phase = farm.units.workload[unit], units.row[unit, u.PHASE]
    _charge_phase(farm, state, unit)
    if phase == RUNNING or units.row[unit, u.PLANNED] == 1:
        if phase == RUNNING:
            put_to_work(farm, state, unit, -1)
        else:
            _stand(farm, state, unit)
        units.row[unit, u.PLANNED] = 0
        units.row[unit, u.STOPPED_AT] = now
        units.row[unit, u.BLAMED] = failed_class
        state.tally.stops[workload, 0] += 1
        if farm.workloads.training[workload] == 1:
            state.tally.counts[INTERRUPTIONS] += 1
        _discard(farm, state, unit, failed_class)
        record(log, now, STOPPED, unit, failed_class)
    due = now + detection_ns
    if phase == DETECTING:
        due = max(due, units.row[unit, u.DUE])
    units.row[unit, u.DUE] = due
    return _wait_for(state, queue, unit, DETECTING, due, DETECTED, horizon)


@inner
def stop_to_save(
    farm: Farm, state: State, queue: EventQueue, log: EventLog, unit: int, horizon: int
) -> bool:
    """Stop a running unit for a planned move; a save that is under way is completed."""
    units, now = state.units, state.tally.counts[NOW]
    workload = farm.units.workload[unit]
    settle(farm, state, unit, now)
    put_to_work(farm, state, unit, -1)
    units.row[unit, u.PLANNED] = 1
    units.row[unit, u.STOPPED_AT] = now
    state.tally.stops[workload, 1] += 1
    if farm.workloads.training[workload] == 1:
        state.tally.counts[MOVES] += 1
    record(log, now, SAVES, unit, units.row[unit, u.MISSING])
    due = now + farm.workloads.save_ns[workload] - units.row[unit, u.SAVING_FOR]
    return _wait_for(state, queue, unit, SAVING, due, SAVED, horizon)


@inner
def move(
    farm: Farm,
    state: State,
    queue: EventQueue,
    log: EventLog,
    unit: int,
    failed_class: int,
    horizon: int,
) -> bool:
    """Let a unit leave a node that is drained; its members there are still attached."""
    phase = state.units.row[unit, u.PHASE]
    if phase == RUNNING:
        settle(farm, state, unit, state.tally.counts[NOW])
        state.units.row[unit, u.BLAMED] = failed_class
        return stop_to_save(farm, state, queue, log, unit, horizon)
    _charge_phase(farm, state, unit)
    if phase == RESTARTING:
        due = state.tally.counts[NOW]
        state.units.row[unit, u.DUE] = due
        return _wait_for(state, queue, unit, DETECTING, due, DETECTED, horizon)
    return True


@inner
def end_save(
    farm: Farm, state: State, queue: EventQueue, log: EventLog, unit: int, horizon: int
) -> bool:
    """Keep what a planned save has saved, then move; without checkpoints the work is lost."""
    units, workload = state.units, farm.units.workload[unit]
    _charge_phase(farm, state, unit)
    if farm.workloads.interval_ns[workload] < FAR_NS:
        units.row[unit, u.KEPT] += units.row[unit, u.WORK]
        units.row[unit, u.WORK] = 0
        units.row[unit, u.SAVING_FOR] = 0
    else:
        _discard(farm, state, unit, units.row[unit, u.BLAMED])
    return replace(farm, state, queue, log, unit, horizon)


@spliced
def _fill(farm: Farm, state: State, log: EventLog, unit: int, count: int) -> None:
    """Put missing members on the first `count` nodes found."""
    first, at = farm.units.first_slot[unit], 0
    for slot in range(first, first + farm.units.slots[unit]):
        if at < count and state.units.slot_node[slot] == NONE:
            attach(farm, state, slot, state.tally.found[at])
            record(log, state.tally.counts[NOW], MOVED, slot, state.tally.found[at])
            at += 1
    state.units.row[unit, u.MISSING] -= count
    if count > 0 and state.units.row[unit, u.MISSING] == 0:
        state.tally.counts[SHORT] -= 1


@inner
def replace(
    farm: Farm, state: State, queue: EventQueue, log: EventLog, unit: int, horizon: int
) -> bool:
    """Give a stopped unit nodes for its missing members and restart it, or let it wait."""
    units, now = state.units, state.tally.counts[NOW]
    workload, count = farm.units.workload[unit], 0
    if units.row[unit, u.MISSING] > 0:
        count = find_nodes(farm, state, unit)
    if farm.units.slots[unit] - units.row[unit, u.MISSING] + count < farm.workloads.least[workload]:
        if units.row[unit, u.PHASE] != WAITING:
            _charge_phase(farm, state, unit)
            units.row[unit, u.PHASE] = WAITING
            record(log, now, WAITS, unit, units.row[unit, u.MISSING])
        return True
    _charge_phase(farm, state, unit)
    _fill(farm, state, log, unit, count)
    due = now + farm.workloads.restart_ns[workload]
    return _wait_for(state, queue, unit, RESTARTING, due, RESTARTED, horizon)


@spliced
def _grow(
    farm: Farm, state: State, queue: EventQueue, log: EventLog, unit: int, horizon: int
) -> bool:
    """Let a running gang that lacks members stop for more, where there are nodes."""
    if find_nodes(farm, state, unit) == 0:
        return True
    return stop_to_save(farm, state, queue, log, unit, horizon)


@inner
def retry_waiting(farm: Farm, state: State, queue: EventQueue, log: EventLog, horizon: int) -> bool:
    """Try all units that lack members, in order; single pods alike are tried until one fails."""
    if state.tally.counts[SHORT] == 0:
        return True
    hopeless, kept_room = NONE, True
    for unit in range(state.units.row.shape[0]):
        if state.units.row[unit, u.MISSING] == 0 or farm.units.workload[unit] == hopeless:
            continue
        if state.units.row[unit, u.PHASE] == RUNNING:
            kept_room = _grow(farm, state, queue, log, unit, horizon) and kept_room
        if state.units.row[unit, u.PHASE] != WAITING:
            continue
        kept_room = replace(farm, state, queue, log, unit, horizon) and kept_room
        workload = farm.units.workload[unit]
        if state.units.row[unit, u.PHASE] == WAITING and farm.workloads.gang[workload] == 0:
            hopeless = workload
    return kept_room


@inner
def _note_recovery(farm: Farm, state: State, unit: int, until: int) -> None:
    """Count a time from a unit's stop to its next start, or to the horizon."""
    span = until - state.units.row[unit, u.STOPPED_AT]
    state.units.row[unit, u.DOWN] += span
    blame(farm, state, unit, state.units.row[unit, u.BLAMED], span)
    if (
        farm.workloads.training[farm.units.workload[unit]] == 0
        or state.units.row[unit, u.PLANNED] == 1
    ):
        return
    state.tally.counts[RECOVERIES] += 1
    state.tally.totals[RECOVER_TIME] += float(span)
    if span > state.tally.counts[RECOVER_MAX]:
        state.tally.counts[RECOVER_MAX] = span
        state.tally.counts[RECOVER_AT] = unit


@inner
def spoil(farm: Farm, state: State, unit: int, failed_class: int) -> None:
    """From now on a running, settled unit's work is worthless."""
    if state.units.row[unit, u.CLEAN] == FAR_NS:
        state.units.row[unit, u.CLEAN] = state.units.row[unit, u.KEPT]
        state.units.row[unit, u.SPOILT_BY] = failed_class


@inner
def disclose(farm: Farm, state: State, unit: int) -> None:
    """Fall back to the last save before the work of a unit was spoilt; what came after is lost."""
    units = state.units
    if units.row[unit, u.CLEAN] == FAR_NS:
        return
    lost = units.row[unit, u.KEPT] + units.row[unit, u.WORK] - units.row[unit, u.CLEAN]
    charge_rework(farm, state, unit, units.row[unit, u.SPOILT_BY], lost)
    units.row[unit, u.KEPT] = units.row[unit, u.CLEAN]
    units.row[unit, u.WORK] = 0
    units.row[unit, u.SAVING_FOR] = 0
    units.row[unit, u.CLEAN] = FAR_NS


@inner
def spoil_from_start(farm: Farm, state: State, unit: int) -> None:
    """What a unit does from its start on is worthless where a member's node spoils it."""
    first = farm.units.first_slot[unit]
    for slot in range(first, first + farm.units.slots[unit]):
        node = state.units.slot_node[slot]
        if node != NONE and state.nodes.health[node, CORRUPT_CLASS] != NONE:
            spoil(farm, state, unit, state.nodes.health[node, CORRUPT_CLASS])
            return


@inner
def start(
    farm: Farm, state: State, queue: EventQueue, log: EventLog, unit: int, horizon: int
) -> bool:
    """Let a unit work again; one that still lacks members looks for nodes that came meanwhile."""
    now = state.tally.counts[NOW]
    _charge_phase(farm, state, unit)
    _note_recovery(farm, state, unit, now)
    state.units.row[unit, u.PLANNED] = 0
    state.units.row[unit, u.PHASE] = RUNNING
    spoil_from_start(farm, state, unit)
    put_to_work(farm, state, unit, 1)
    record(log, now, STARTED, unit, state.units.row[unit, u.MISSING])
    if state.units.row[unit, u.MISSING] > 0 and find_nodes(farm, state, unit) > 0:
        return stop_to_save(farm, state, queue, log, unit, horizon)
    return schedule_finish(farm, state, queue, unit, horizon)


@inner
def finish(farm: Farm, state: State, log: EventLog, unit: int) -> None:
    """End a unit whose work is done and free its nodes."""
    now, units = state.tally.counts[NOW], state.units
    settle(farm, state, unit, now)
    put_to_work(farm, state, unit, -1)
    units.row[unit, u.PHASE] = DONE
    units.row[unit, u.KEPT] = farm.workloads.duration_ns[farm.units.workload[unit]]
    units.row[unit, u.WORK] = 0
    disclose(farm, state, unit)
    state.units.row[unit, u.END] = now
    first = farm.units.first_slot[unit]
    for slot in range(first, first + farm.units.slots[unit]):
        if units.slot_node[slot] != NONE:
            detach(farm, state, slot)
    if units.row[unit, u.MISSING] > 0:
        state.tally.counts[SHORT] -= 1
        units.row[unit, u.MISSING] = 0
    record(log, now, FINISHED, unit, 0)


@inner
def change_rates(farm: Farm, state: State, queue: EventQueue, horizon: int) -> bool:
    """After devices throttled or were let go: settle the units concerned, set their new rates."""
    kept_room = True
    for unit in range(state.units.row.shape[0]):
        if state.units.row[unit, u.FELT] == 0:
            continue
        state.units.row[unit, u.FELT] = 0
        if state.units.row[unit, u.PHASE] == RUNNING:
            settle(farm, state, unit, state.tally.counts[NOW])
            kept_room = schedule_finish(farm, state, queue, unit, horizon) and kept_room
    return kept_room


@inner
def close(farm: Farm, state: State) -> None:
    """Settle all units at the horizon, now; who is stopped has been so at least until then."""
    now = state.tally.counts[NOW]
    for unit in range(state.units.row.shape[0]):
        phase = state.units.row[unit, u.PHASE]
        _charge_phase(farm, state, unit)
        if phase not in (RUNNING, DONE):
            _note_recovery(farm, state, unit, now)
        if phase != DONE:
            disclose(farm, state, unit)
