"""The event loop: one call plays one future.

Nodes fail and are repaired, units stop, find nodes, restart and finish; power and heat follow.
Events are taken in the order (time_ns, kind, seq); what happens at one instant is complete before
extremes are noted and sums grow.
"""

from __future__ import annotations

import math

from kfarm_twin._jit import inner, kernel
from kfarm_twin.arrays import (
    DOWN,
    DOWN_MAX,
    ENERGY,
    HEADROOM,
    HOT_NOW,
    HOTTEST,
    LOST,
    NOW,
    REPLICAS,
    SERVING,
    SERVING_MIN,
    SERVING_TIME,
    TOTAL_MW,
    UP_TIME,
    EventLog,
    EventQueue,
    Farm,
    Ints,
    Outcome,
    State,
)
from kfarm_twin.kernels.failures import (
    failure_class,
    first_class,
    repair_ns,
    residual_repair_ns,
    starts_down,
    to_failure_ns,
)
from kfarm_twin.kernels.gangs import (
    DETECTING,
    RESTARTING,
    RUNNING,
    STARTED,
    attach,
    change_rates,
    close,
    detach,
    finish,
    interrupt,
    put_to_work,
    record,
    replace,
    retry_waiting,
    schedule_finish,
    settle,
    start,
)
from kfarm_twin.kernels.heap import DETECTED, FAILED, REPAIRED, RESTARTED, clear, pop, push
from kfarm_twin.kernels.outcome import write_outcome
from kfarm_twin.kernels.power import (
    FULL_PPM,
    KILO,
    balance_loops,
    note_extremes,
    switch_node,
)
from kfarm_twin.policy.gangs import NONE

PLAYED, QUEUE_FULL = 0, 1
"""Status of a run."""
NS = 1e-9
NS_PER_HOUR = 3.6e12


@inner
def _clear(farm: Farm, state: State) -> None:
    nodes, loops, units, tally = state.nodes, state.loops, state.units, state.tally
    for column in (nodes.up, nodes.failures, nodes.failed_ns, nodes.pods_mw, nodes.power_mw):
        column[:] = 0
    for column in (nodes.rack_mw, nodes.plant_mw, loops.idle_mw, loops.pods_mw, units.kept_ns):
        column[:] = 0
    for column in (units.stamp, units.missing, units.since_ns, units.work_ns, units.saving_ns):
        column[:] = 0
    for column in (units.stopped_ns, tally.unit_down_ns, tally.unit_wait_ns, tally.unit_end_ns):
        column[:] = 0
    for column in (nodes.failed_class, nodes.first_slot, units.blamed_class, units.slot_node):
        column[:] = NONE
    units.phase[:] = RUNNING
    units.rate_ppm[:] = FULL_PPM
    for node in range(nodes.free.shape[0]):
        for resource in range(nodes.free.shape[1]):
            nodes.free[node, resource] = farm.nodes.free[node, resource]
    nodes.rack_dirty[:] = 1
    loops.speed_ppm[:] = FULL_PPM
    loops.dirty[:] = 1
    loops.running[:, :] = 0
    tally.counts[:] = 0
    tally.totals[:] = 0.0
    tally.totals[HEADROOM] = math.inf
    tally.totals[HOTTEST] = -273.15
    tally.class_down_ns[:] = 0.0
    tally.class_gang_ns[:] = 0.0


@inner
def _begin_nodes(
    farm: Farm, state: State, queue: EventQueue, log: EventLog, seed: int, future: int, horizon: int
) -> bool:
    kept_room = True
    for node in range(farm.nodes.cluster.shape[0]):
        placed = state.nodes.first_slot[node] != NONE
        if starts_down(farm.nodes, farm.clusters, node, placed, seed, future):
            failed = first_class(farm.nodes, farm.clusters, farm.classes, node, seed, future)
            state.nodes.failed_class[node] = failed
            state.tally.counts[DOWN] += 1
            record(log, 0, FAILED, node, failed)
            due = residual_repair_ns(farm.nodes, farm.classes, node, failed, seed, future)
            if due < horizon:
                kept_room = push(queue, due, REPAIRED, node, 0) and kept_room
        else:
            switch_node(farm, state, node, 1)
            due = to_failure_ns(farm.nodes, farm.clusters, node, 0, seed, future)
            if due < horizon:
                kept_room = push(queue, due, FAILED, node, 0) and kept_room
    return kept_room


@inner
def _begin(
    farm: Farm,
    slot_node: Ints,
    state: State,
    queue: EventQueue,
    log: EventLog,
    seed: int,
    future: int,
    horizon: int,
) -> bool:
    _clear(farm, state)
    clear(queue)
    log.size[:] = 0
    for slot in range(slot_node.shape[0]):
        attach(farm, state, slot, slot_node[slot])
    kept_room = _begin_nodes(farm, state, queue, log, seed, future, horizon)
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
        kept_room = schedule_finish(farm, state, queue, unit, horizon) and kept_room
    return kept_room


@inner
def _sample(state: State, log: EventLog) -> None:
    """Write the state that lasts from now on to the log, where samples are kept."""
    at = log.size[1]
    if at < log.sample_ns.shape[0]:
        log.sample_ns[at] = state.tally.counts[NOW]
        log.sample_mw[at] = state.tally.counts[TOTAL_MW]
        log.sample_down[at] = state.tally.counts[DOWN]
        log.sample_c[at] = state.tally.totals[HOT_NOW]
        for rack in range(state.nodes.rack_mw.shape[0]):
            log.sample_rack_mw[at, rack] = state.nodes.rack_mw[rack]
    log.size[1] = at + 1


@inner
def _advance(farm: Farm, state: State, log: EventLog, until: int) -> None:
    """Let the present state last until `until`."""
    count, total = state.tally.counts, state.tally.totals
    span = float(until - count[NOW])
    if span <= 0.0:
        return
    note_extremes(farm, state)
    _sample(state, log)
    count[DOWN_MAX] = max(count[DOWN_MAX], count[DOWN])
    count[SERVING_MIN] = min(count[SERVING_MIN], count[SERVING])
    total[UP_TIME] += float(state.nodes.up.shape[0] - count[DOWN]) * span
    total[SERVING_TIME] += float(count[SERVING]) * span
    total[ENERGY] += float(count[TOTAL_MW]) * KILO * (span * NS)
    count[NOW] = until


@inner
def _note_down_time(farm: Farm, state: State, node: int, now: int) -> None:
    lost = float(now - state.nodes.failed_ns[node]) * float(farm.nodes.devices[node])
    state.tally.totals[LOST] += lost
    if state.nodes.failed_class[node] >= 0:
        state.tally.class_down_ns[state.nodes.failed_class[node]] += lost


@inner
def _fail(
    farm: Farm,
    state: State,
    queue: EventQueue,
    log: EventLog,
    node: int,
    seed: int,
    future: int,
    horizon: int,
) -> bool:
    nodes, now = state.nodes, state.tally.counts[NOW]
    ordinal, kept_room, last = nodes.failures[node], True, NONE
    failed = failure_class(farm.nodes, farm.clusters, farm.classes, node, ordinal, seed, future)
    nodes.failures[node] = ordinal + 1
    nodes.failed_class[node] = failed
    nodes.failed_ns[node] = now
    record(log, now, FAILED, node, failed)
    slot = nodes.first_slot[node]
    while slot != NONE:
        unit = farm.units.slot_unit[slot]
        if unit != last:
            kept_room = interrupt(farm, state, queue, log, unit, node, horizon) and kept_room
        last = unit
        slot = state.units.next_slot[slot]
    while nodes.first_slot[node] != NONE:
        slot = nodes.first_slot[node]
        state.units.missing[farm.units.slot_unit[slot]] += 1
        detach(farm, state, slot)
    switch_node(farm, state, node, 0)
    state.tally.counts[DOWN] += 1
    due = now + repair_ns(farm.classes, node, ordinal, failed, seed, future)
    if due < horizon:
        kept_room = push(queue, due, REPAIRED, node, 0) and kept_room
    return kept_room


@inner
def _repair(
    farm: Farm,
    state: State,
    queue: EventQueue,
    log: EventLog,
    node: int,
    seed: int,
    future: int,
    horizon: int,
) -> bool:
    now, kept_room = state.tally.counts[NOW], True
    _note_down_time(farm, state, node, now)
    record(log, now, REPAIRED, node, state.nodes.failed_class[node])
    switch_node(farm, state, node, 1)
    state.tally.counts[DOWN] -= 1
    failures = state.nodes.failures[node]
    due = now + to_failure_ns(farm.nodes, farm.clusters, node, failures, seed, future)
    if due < horizon:
        kept_room = push(queue, due, FAILED, node, 0)
    return retry_waiting(farm, state, queue, log, horizon) and kept_room


@inner
def _handle(
    farm: Farm,
    state: State,
    queue: EventQueue,
    log: EventLog,
    at: int,
    seed: int,
    future: int,
    horizon: int,
) -> bool:
    """Let one event happen; False when the queue had no room for what follows from it."""
    kind, entity = queue.kind[at], queue.entity[at]
    if kind == FAILED:
        return _fail(farm, state, queue, log, entity, seed, future, horizon)
    if kind == REPAIRED:
        return _repair(farm, state, queue, log, entity, seed, future, horizon)
    phase = state.units.phase[entity]
    if kind == DETECTED and phase == DETECTING:
        return replace(farm, state, queue, log, entity, horizon)
    if kind == RESTARTED and phase == RESTARTING:
        return start(farm, state, queue, log, entity, horizon)
    settle(farm, state, entity, state.tally.counts[NOW])
    finish(farm, state, log, entity)
    return retry_waiting(farm, state, queue, log, horizon)


@inner
def _is_stale(state: State, queue: EventQueue, at: int) -> bool:
    """Whether a unit's timer was overtaken by a later one."""
    if queue.kind[at] == FAILED or queue.kind[at] == REPAIRED:
        return False
    return bool(queue.stamp[at] != state.units.stamp[queue.entity[at]])


@inner
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
    horizon: int,
) -> int:
    """Play one future up to `horizon` [ns] from slots on nodes `slot_node` [S]; write row `row`.

    Returns
    -------
    int
        PLAYED, or QUEUE_FULL: call again with a longer queue. The log counts on past its end, so
        that its size says how long it would have to be.
    """
    if not _begin(farm, slot_node, state, queue, log, seed, future, horizon):
        return QUEUE_FULL
    while True:
        at = pop(queue)
        if at < 0:
            break
        if _is_stale(state, queue, at):
            continue
        _advance(farm, state, log, queue.time_ns[at])
        if not _handle(farm, state, queue, log, at, seed, future, horizon):
            return QUEUE_FULL
        if balance_loops(farm, state) and not change_rates(farm, state, queue, horizon):
            return QUEUE_FULL
    _advance(farm, state, log, horizon)
    close(farm, state, horizon)
    for node in range(state.nodes.up.shape[0]):
        if state.nodes.up[node] == 0:
            _note_down_time(farm, state, node, horizon)
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
    horizon: int,
) -> int:
    """Play `futures` futures from number `first` into rows from `row`; return how many."""
    for index in range(futures):
        if run_future(
            farm, slot_node, state, queue, log, outcome, row + index, seed, first + index, horizon
        ):
            return index
    return futures
