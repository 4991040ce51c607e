"""The event loop: one call plays one future.

The fleet breaks and is mended (`fleet`), units stop, find nodes, restart and finish; their devices
ask for power and warm, throttle, go off and cool (`heat`). At one instant events of the fleet come
first, then those of units in the order (time_ns, kind, seq), then those of heat; what happens at
one instant is complete before extremes are noted and sums grow.
"""

from __future__ import annotations

from kfarm_twin._jit import inner, kernel, spliced
from kfarm_twin.arrays import (
    CORRUPT_CLASS,
    DOWN,
    DOWN_MAX,
    ENERGY,
    FAILED_CLASS,
    GRID_AT,
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
    Stand,
    State,
)
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.kernels import heat
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
from kfarm_twin.kernels.clear import clear_state
from kfarm_twin.kernels.extremes import note_extremes
from kfarm_twin.kernels.fleet import begin, end, next_time, step
from kfarm_twin.kernels.fleet_measure import measure
from kfarm_twin.kernels.gangs import (
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
from kfarm_twin.kernels.hours import book_hours
from kfarm_twin.kernels.members import attach, put_to_work
from kfarm_twin.kernels.moments import note_moments
from kfarm_twin.kernels.outcome import write_outcome
from kfarm_twin.kernels.peaks import close_meters
from kfarm_twin.kernels.peek import hottest_of_all_c
from kfarm_twin.kernels.power import FULL_PPM, KILO, ask
from kfarm_twin.kernels.progress import schedule_finish
from kfarm_twin.kernels.rest import stand
from kfarm_twin.kernels.rng import FAR_NS
from kfarm_twin.kernels.stress import feel_heat
from kfarm_twin.kernels.warmth import feel, follow, note_hot_at_end, start_warm
from kfarm_twin.policy.gangs import NONE

PLAYED, QUEUE_FULL = 0, 1
"""Status of a run."""
NS = 1e-9


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
        state.nodes.up[node] = 1
    ask(state, node)
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
    clear_state(farm, state)
    heat.prepare(farm.heat, state.heat, seed, future, horizon)
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
    follow(farm, state)
    start_warm(farm, state)
    for unit in range(farm.units.workload.shape[0]):
        state.units.row[unit, u.FELT] = 0
        spoil_from_start(farm, state, unit)
        kept_room = schedule_finish(farm, state, queue, unit, horizon) and kept_room
    return feel_heat(farm, state) and kept_room


@spliced
def _sample(farm: Farm, state: State, log: EventLog) -> None:
    """Write the state that lasts from now on to the log, where samples are kept."""
    at = log.size[1]
    if at < log.sample_ns.shape[0]:
        log.sample_ns[at] = state.tally.counts[NOW]
        log.sample_mw[at] = state.tally.counts[TOTAL_MW]
        log.sample_down[at] = state.tally.counts[DOWN]
        log.sample_c[at] = hottest_of_all_c(farm, state, state.tally.counts[NOW])
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
    note_extremes(farm, state, until)
    _sample(farm, state, log)
    note_moments(farm, state, log, until)
    _note_grid(state, outcome, row, until, horizon)
    count[DOWN_MAX] = max(count[DOWN_MAX], down)
    count[SERVING_MIN] = min(count[SERVING_MIN], count[SERVING])
    total[UP_TIME] += float(nodes - down) * span
    total[SERVING_TIME] += float(count[SERVING]) * span
    total[ENERGY] += float(count[TOTAL_MW]) * KILO * (span * NS)
    book_hours(state, outcome.hours, row, until)
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
    if kind == DETECTED and phase == u.DETECTING:
        return replace(farm, state, queue, log, unit, horizon)
    if kind == RESTARTED and phase == u.RESTARTING:
        return start(farm, state, queue, log, unit, horizon)
    if kind == SAVED and phase == u.SAVING:
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
        fleet_due, heat_due = next_time(state.fleet), heat.next_time(farm.heat, state.heat)
        first = min(due, fleet_due, heat_due)
        if first >= horizon:
            break
        changes = 0
        if fleet_due <= first:
            changes = step(farm.fleet, state.fleet, seed, future)
            if changes == 0:
                continue
        _advance(farm, state, log, outcome, row, first, horizon)
        kept_room = changes >= 0
        if fleet_due > first and due > first:
            told = heat.step(farm.heat, state.heat, seed, future)
            changes = feel(farm, state, log, told, seed, future)
        if changes > 0:
            kept_room = _change_fleet(farm, state, queue, log, changes, horizon)
        elif kept_room and due == first:
            kept_room = _handle(farm, state, queue, log, pop(queue), horizon)
        follow(farm, state)
        if not (kept_room and change_rates(farm, state, queue, horizon)):
            return QUEUE_FULL
        if not feel_heat(farm, state):
            return QUEUE_FULL
    _advance(farm, state, log, outcome, row, horizon, horizon)
    close_meters(state.grid, horizon)
    close(farm, state)
    for node in range(state.nodes.up.shape[0]):
        if state.nodes.up[node] == 0:
            note_down_time(farm, state, node)
        else:
            note_lost_devices(state, node, False)
    heat.end(farm.heat, state.heat, horizon)
    note_hot_at_end(farm, state, horizon)
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
    rest: Stand,
    seed: int,
    first: int,
    row: int,
    futures: int,
    warm: int,
    horizon: int,
) -> int:
    """Play `futures` futures from number `first` into rows from `row`; return how many.

    With 0 futures the farm stands still instead, see `kernels.rest`.
    That it is one kernel halves the time of a first compilation.
    """
    if futures == 0:
        stand(farm, slot_node, state, rest)
    for index in range(futures):
        status = run_future(
            farm, slot_node, state, queue, log, outcome, row + index, seed, first + index, warm,
            horizon,
        )  # fmt: skip
        if status != PLAYED:
            return index
    return futures
