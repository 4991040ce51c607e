"""The event loop: one call plays one future.

The fleet breaks and is mended (`fleet`), units stop, find nodes, restart and finish; power and heat
follow. Events of the fleet come before others of the same instant, those in the order (time_ns,
kind, seq); what happens at one instant is complete before extremes are noted and sums grow.
"""

from __future__ import annotations

import math

from kfarm_twin._jit import inner, kernel, spliced
from kfarm_twin.arrays import (
    CORRUPT_CLASS,
    DOWN,
    DOWN_MAX,
    ENERGY,
    FAILED_CLASS,
    GRID_AT,
    HEADROOM,
    HOT_NOW,
    HOTTEST,
    LOST_DEVICES,
    NOW,
    REPLICAS,
    SERVING,
    SERVING_MIN,
    SERVING_TIME,
    SLOW_CLASS,
    SPEED_PPM,
    TOTAL_MW,
    UP_TIME,
    EventLog,
    EventQueue,
    Farm,
    Ints,
    Outcome,
    State,
)
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.kernels import unit_columns as u
from kfarm_twin.kernels.changes import (
    DEVICE_LOST,
    SLOWED,
    SPOILT,
    WHAT,
    apply_change,
    mark_lost,
    note_down_time,
    note_lost_devices,
)
from kfarm_twin.kernels.charge import record
from kfarm_twin.kernels.fleet import begin, end, next_time, step
from kfarm_twin.kernels.fleet_measure import measure
from kfarm_twin.kernels.gangs import (
    DETECTING,
    RESTARTING,
    RUNNING,
    SAVING,
    STARTED,
    change_rates,
    close,
    end_save,
    finish,
    replace,
    retry_waiting,
    spoil_from_start,
    start,
)
from kfarm_twin.kernels.heap import DETECTED, FAILED, RESTARTED, SAVED, clear, pop
from kfarm_twin.kernels.members import attach, put_to_work
from kfarm_twin.kernels.moments import note_moments
from kfarm_twin.kernels.outcome import write_outcome
from kfarm_twin.kernels.power import (
    ABSENT_C,
    FULL_PPM,
    KILO,
    balance_loops,
    note_extremes,
    switch_node,
)
from kfarm_twin.kernels.progress import schedule_finish
from kfarm_twin.kernels.rng import FAR_NS
from kfarm_twin.kernels.stress import feel_heat
from kfarm_twin.policy.gangs import NONE

PLAYED, QUEUE_FULL = 0, 1
"""Status of a run."""
NS = 1e-9


@spliced
def _clear_nodes(farm: Farm, state: State) -> None:
    nodes = state.nodes
    for column in (nodes.up, nodes.pods_mw, nodes.power_mw, nodes.rack_mw, nodes.plant_mw):
        column[:] = 0
    nodes.first_slot[:] = NONE
    nodes.rack_dirty[:, :] = 0
    for node in range(nodes.free.shape[0]):
        for resource in range(nodes.free.shape[1]):
            nodes.free[node, resource] = farm.nodes.free[node, resource]
        if nodes.health[node, LOST_DEVICES] > 0:
            nodes.devices[node] = 0
        nodes.health[node] = 0
        nodes.health[node, FAILED_CLASS] = NONE
        nodes.health[node, SPEED_PPM] = FULL_PPM
        nodes.health[node, SLOW_CLASS] = NONE
        nodes.health[node, CORRUPT_CLASS] = NONE


@spliced
def _clear(farm: Farm, state: State) -> None:
    loops, units, tally = state.loops, state.units, state.tally
    _clear_nodes(farm, state)
    for column in (loops.idle_mw, loops.pods_mw, loops.throttled):
        column[:] = 0
    for unit in range(units.row.shape[0]):
        units.row[unit] = 0
        units.row[unit, u.PHASE] = RUNNING
        units.row[unit, u.RATE] = FULL_PPM
        units.row[unit, u.BLAMED] = NONE
        units.row[unit, u.SLOWED_BY] = NONE
        units.row[unit, u.SPOILT_BY] = NONE
        units.row[unit, u.CLEAN] = FAR_NS
    units.slot_node[:] = NONE
    loops.speed_ppm[:] = FULL_PPM
    loops.dirty[:] = 1
    loops.hottest_c[:] = ABSENT_C
    loops.running[:, :] = 0
    tally.counts[:] = 0
    tally.totals[:] = 0.0
    tally.totals[HEADROOM] = math.inf
    tally.totals[HOTTEST] = ABSENT_C
    tally.stops[:, :] = 0
    for lost in (tally.class_down_ns, tally.class_gang_ns, tally.lost_ns):
        lost[:] = 0.0
    for table in (tally.class_lost_ns, tally.workload_lost_ns):
        table[:, :] = 0.0


@spliced
def _begin_node(farm: Farm, state: State, log: EventLog, node: int) -> None:
    """A node as the fleet has it at the start."""
    row, patient = state.fleet.node[node], state.fleet.patient[node]
    health, own = state.nodes.health[node], patient[c.CLASS]
    if row[c.CAUSES] > 0:
        health[FAILED_CLASS] = row[c.BLAME]
        state.tally.counts[DOWN] += 1
        record(log, 0, FAILED, node, row[c.BLAME])
    else:
        switch_node(farm, state, node, 1)
    if row[c.SPEED_NOW] < FULL_PPM:
        health[SPEED_PPM] = row[c.SPEED_NOW]
        health[SLOW_CLASS] = own if row[c.OWN_PPM] < FULL_PPM else NONE
        record(log, 0, SLOWED, node, row[c.SPEED_NOW])
    if own == NONE:
        return
    if patient[c.STRUCK] == 1 and farm.fleet.classes[own, c.TAKES] == c.DEVICE:
        record(log, 0, DEVICE_LOST, node, patient[c.AT])
        mark_lost(farm, state, node, patient[c.AT], own)
    if patient[c.STAGE] == c.SILENT and farm.fleet.classes[own, c.EFFECT] == c.CORRUPT:
        health[CORRUPT_CLASS] = own
        record(log, 0, SPOILT, node, own)


@spliced
def _begin_fleet(
    farm: Farm, state: State, log: EventLog, warm: int, horizon: int, seed: int, future: int
) -> bool:
    """All nodes at the start; those that were given pods are well. False without room."""
    hold, nodes = state.tally.scratch[0], farm.nodes.cluster.shape[0]
    for node in range(nodes):
        hold[node] = 1 if state.nodes.first_slot[node] != NONE else 0
    if not begin(farm.fleet, state.fleet, hold, warm, horizon, seed, future):
        return False
    for node in range(nodes):
        _begin_node(farm, state, log, node)
    return True


@spliced
def _begin(
    farm: Farm,
    slot_node: Ints,
    state: State,
    queue: EventQueue,
    log: EventLog,
    seed: int,
    future: int,
    warm: int,
    horizon: int,
) -> bool:
    _clear(farm, state)
    clear(queue)
    log.size[:] = 0
    for slot in range(slot_node.shape[0]):
        attach(farm, state, slot, slot_node[slot])
    kept_room = _begin_fleet(farm, state, log, warm, horizon, seed, future)
    count = state.tally.counts
    for unit in range(farm.units.workload.shape[0]):
        workload = farm.units.workload[unit]
        if farm.workloads.inference[workload] == 1 and farm.units.counted[unit] == 1:
            count[REPLICAS] += 1
        put_to_work(farm, state, unit, 1)
        record(log, 0, STARTED, unit, 0)
    count[SERVING_MIN] = count[REPLICAS]
    balance_loops(farm, state)
    for unit in range(farm.units.workload.shape[0]):
        spoil_from_start(farm, state, unit)
        kept_room = schedule_finish(farm, state, queue, unit, horizon) and kept_room
    return feel_heat(farm, state) and kept_room


@spliced
def _sample(state: State, log: EventLog) -> None:
    """Write the state that lasts from now on to the log, where samples are kept."""
    at = log.size[1]
    if at < log.sample_ns.shape[0]:
        log.sample_ns[at] = state.tally.counts[NOW]
        log.sample_mw[at] = state.tally.counts[TOTAL_MW]
        log.sample_down[at] = state.tally.counts[DOWN]
        log.sample_c[at] = state.tally.totals[HOT_NOW]
    log.size[1] = at + 1


@spliced
def _note_grid(state: State, outcome: Outcome, row: int, until: int, horizon: int) -> None:
    """Write how many nodes are down to the points in time from now until `until`, excluded."""
    points, at = outcome.down_at.shape[1], state.tally.counts[GRID_AT]
    while at < points and at * (horizon // points) < until:
        outcome.down_at[row, at] = state.tally.counts[DOWN]
        at += 1
    state.tally.counts[GRID_AT] = at


@inner
def _advance(
    farm: Farm, state: State, log: EventLog, outcome: Outcome, row: int, until: int, horizon: int
) -> None:
    """Let the present state last until `until`."""
    count, total = state.tally.counts, state.tally.totals
    nodes, down = state.nodes.up.shape[0], count[DOWN]
    span = float(until - count[NOW])
    if span <= 0.0:
        return
    note_extremes(farm, state)
    _sample(state, log)
    note_moments(state, log, until)
    _note_grid(state, outcome, row, until, horizon)
    count[DOWN_MAX] = max(count[DOWN_MAX], down)
    count[SERVING_MIN] = min(count[SERVING_MIN], count[SERVING])
    total[UP_TIME] += float(nodes - down) * span
    total[SERVING_TIME] += float(count[SERVING]) * span
    total[ENERGY] += float(count[TOTAL_MW]) * KILO * (span * NS)
    count[NOW] = until


@spliced
def _change_fleet(
    farm: Farm, state: State, queue: EventQueue, log: EventLog, changes: int, horizon: int
) -> bool:
    """Let what one event of the fleet changed be felt; whoever waits tries what came free."""
    kept_room, more = True, False
    for row in range(changes):
        kept_room = apply_change(farm, state, queue, log, row, horizon) and kept_room
        what = state.fleet.changes[row, WHAT]
        # a pod that lost a device leaves the rest of its devices to others
        more = more or what in (c.CAME_UP, c.GOT_DEVICE, c.LOST_DEVICE)
    if more:
        kept_room = retry_waiting(farm, state, queue, log, horizon) and kept_room
    return kept_room


@spliced
def _handle(
    farm: Farm, state: State, queue: EventQueue, log: EventLog, at: int, horizon: int
) -> bool:
    """Let one event of a unit happen; False when the queue had no room for what follows from it."""
    kind, unit = queue.kind[at], queue.entity[at]
    phase = state.units.row[unit, u.PHASE]
    if kind == DETECTED and phase == DETECTING:
        return replace(farm, state, queue, log, unit, horizon)
    if kind == RESTARTED and phase == RESTARTING:
        return start(farm, state, queue, log, unit, horizon)
    if kind == SAVED and phase == SAVING:
        return end_save(farm, state, queue, log, unit, horizon)
    finish(farm, state, log, unit)
    return retry_waiting(farm, state, queue, log, horizon)


@spliced
def run_future(
    farm: Farm,
    slot_node: Ints,
    state: State,
    queue: EventQueue,
    log: EventLog,
    outcome: Outcome,
    row: int,
    seed: int,
    future: int,
    warm: int,
    horizon: int,
) -> int:
    """Play one future from slots on nodes `slot_node` [S] up to `horizon` [ns]; write row `row`.

    The fleet has been at it for `warm` [ns] when the future begins.

    Returns
    -------
    int
        PLAYED, or QUEUE_FULL: call again with longer queues. The log counts on past its end, so
        that its size says how long it would have to be.
    """
    if not _begin(farm, slot_node, state, queue, log, seed, future, warm, horizon):
        return QUEUE_FULL
    while True:
        while queue.size[0] > 0 and queue.stamp[0] != state.units.row[queue.entity[0], u.STAMP]:
            pop(queue)  # a unit's timer that was overtaken by a later one
        due = queue.time_ns[0] if queue.size[0] > 0 else FAR_NS
        fleet_due = next_time(state.fleet)
        if min(due, fleet_due) >= horizon:
            break
        changes = 0
        if fleet_due <= due:
            changes = step(farm.fleet, state.fleet, seed, future)
            if changes == 0:
                continue
        _advance(farm, state, log, outcome, row, min(due, fleet_due), horizon)
        if changes > 0:
            kept_room = _change_fleet(farm, state, queue, log, changes, horizon)
        else:
            kept_room = changes == 0 and _handle(farm, state, queue, log, pop(queue), horizon)
        if not kept_room:
            return QUEUE_FULL
        if balance_loops(farm, state) and not change_rates(farm, state, queue, horizon):
            return QUEUE_FULL
        if not feel_heat(farm, state):
            return QUEUE_FULL
    _advance(farm, state, log, outcome, row, horizon, horizon)
    close(farm, state)
    for node in range(state.nodes.up.shape[0]):
        if state.nodes.up[node] == 0:
            note_down_time(farm, state, node)
        else:
            note_lost_devices(state, node, False)
    if not end(farm.fleet, state.fleet, horizon):
        return QUEUE_FULL
    measure(farm.fleet, state.fleet, state.tally.measures, state.tally.scratch[0])
    write_outcome(farm, state, outcome, row, horizon)
    return PLAYED


@kernel
def run_batch(
    farm: Farm,
    slot_node: Ints,
    state: State,
    queue: EventQueue,
    log: EventLog,
    outcome: Outcome,
    seed: int,
    first: int,
    row: int,
    futures: int,
    warm: int,
    horizon: int,
) -> int:
    """Play `futures` futures from number `first` into rows from `row`; return how many."""
    for index in range(futures):
        status = run_future(
            farm, slot_node, state, queue, log, outcome, row + index, seed, first + index, warm,
            horizon,
        )  # fmt: skip
        if status != PLAYED:
            return index
    return futures
