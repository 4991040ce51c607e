"""Units (a gang, or one pod that is in no gang): work, saves, interruption, replacement, restart.

A running unit alternates `interval` of work and a blocking `save`. When a member's node fails it
stops; the work since the last completed save is lost; after detection it is given healthy nodes for
the missing members, or waits for them; then it restarts. Throttled devices slow work, not saves.
"""

from __future__ import annotations

from kfarm_twin._jit import inner, kernel
from kfarm_twin.arrays import (
    ACCELERATORS,
    CLUSTER,
    INTERRUPTIONS,
    LOST,
    NOW,
    RECOVER_AT,
    RECOVER_MAX,
    SERVING,
    EventLog,
    EventQueue,
    Farm,
    State,
)
from kfarm_twin.kernels.heap import DETECTED, FINISHED, RESTARTED, push
from kfarm_twin.kernels.power import FULL_PPM, change_pods
from kfarm_twin.kernels.rng import FAR_NS
from kfarm_twin.policy.gangs import NONE, filter_nodes, place_gang

RUNNING, DETECTING, WAITING, RESTARTING, DONE = 0, 1, 2, 3, 4
"""Phases of a unit."""
STOPPED, STARTED, MOVED, WAITS = 5, 6, 7, 8
"""Kinds of log entries beside those of events."""
LEAST_PPM = 1000
"""Slower than this counts as standing still, which keeps times within 64 bits."""


@inner
def record(log: EventLog, time_ns: int, kind: int, entity: int, detail: int) -> None:
    """Write to the log where one is kept; `size` counts on past its end."""
    at = log.size[0]
    if at < log.time_ns.shape[0]:
        log.time_ns[at] = time_ns
        log.kind[at] = kind
        log.entity[at] = entity
        log.detail[at] = detail
    log.size[0] = at + 1


@kernel
def work_done(elapsed_ns: int, rate_ppm: int) -> int:
    """Work in a span of time at a rate, floor(elapsed * rate / 1e6) without overflow [ns]."""
    whole = elapsed_ns // FULL_PPM
    return whole * rate_ppm + (elapsed_ns - whole * FULL_PPM) * rate_ppm // FULL_PPM


@kernel
def time_for(work_ns: int, rate_ppm: int) -> int:
    """Least time in which `work_done` reaches `work_ns` [ns]; FAR_NS when never."""
    if work_ns == 0:
        return 0
    if rate_ppm < LEAST_PPM or work_ns // rate_ppm >= FAR_NS // FULL_PPM:
        return FAR_NS
    whole = work_ns // rate_ppm
    rest = work_ns - whole * rate_ppm
    return whole * FULL_PPM + (rest * FULL_PPM + rate_ppm - 1) // rate_ppm


@inner
def settle(farm: Farm, state: State, unit: int, now: int) -> None:
    """Bring the progress of a running unit up to `now`."""
    units = state.units
    workload = farm.units.workload[unit]
    interval, save = farm.workloads.interval_ns[workload], farm.workloads.save_ns[workload]
    rate = units.rate_ppm[unit]
    left = now - units.since_ns[unit]
    units.since_ns[unit] = now
    if rate < LEAST_PPM and units.work_ns[unit] < interval:
        return
    to_save = time_for(interval - units.work_ns[unit], rate)
    to_end = to_save + save - units.saving_ns[unit]
    if left >= to_end:
        units.kept_ns[unit] += interval
        units.work_ns[unit] = 0
        units.saving_ns[unit] = 0
        left -= to_end
        to_save = time_for(interval, rate)
        cycles = left // (to_save + save)
        units.kept_ns[unit] += cycles * interval
        left -= cycles * (to_save + save)
    if left >= to_save:
        units.work_ns[unit] = interval
        units.saving_ns[unit] += left - to_save
    else:
        units.work_ns[unit] += work_done(left, rate)


@inner
def time_to_finish(farm: Farm, state: State, unit: int) -> int:
    """Time that a running, settled unit still takes at its rate [ns]; FAR_NS when it never ends."""
    workload = farm.units.workload[unit]
    interval, save = farm.workloads.interval_ns[workload], farm.workloads.save_ns[workload]
    duration, rate = farm.workloads.duration_ns[workload], state.units.rate_ppm[unit]
    if duration >= FAR_NS or rate < LEAST_PPM:
        return FAR_NS
    left = duration - state.units.kept_ns[unit] - state.units.work_ns[unit]
    to_save = interval - state.units.work_ns[unit]
    if left <= to_save and state.units.saving_ns[unit] == 0:
        return time_for(left, rate)
    before = time_for(to_save, rate) + save - state.units.saving_ns[unit]
    left -= to_save
    cycles = (left - 1) // interval
    cycle = time_for(interval, rate) + save
    if cycles > FAR_NS // 4 // cycle:
        return FAR_NS
    return int(before + cycles * cycle + time_for(left - cycles * interval, rate))


@inner
def slowest_ppm(farm: Farm, state: State, unit: int) -> int:
    """Rate of a unit: that of its slowest member [ppm]."""
    workload, first = farm.units.workload[unit], farm.units.first_slot[unit]
    rate = FULL_PPM
    for slot in range(first, first + farm.units.slots[unit]):
        node = state.units.slot_node[slot]
        alone = farm.loads.speed_ppm[workload, farm.nodes.cluster[node]]
        rate = min(rate, alone * state.loops.speed_ppm[farm.nodes.loop[node]] // FULL_PPM)
    return rate if rate >= LEAST_PPM else 0


@inner
def schedule_finish(farm: Farm, state: State, queue: EventQueue, unit: int, horizon: int) -> bool:
    """Set the rate of a settled, running unit and its finish, where that is before the horizon."""
    state.units.rate_ppm[unit] = slowest_ppm(farm, state, unit)
    state.units.stamp[unit] += 1
    span = time_to_finish(farm, state, unit)
    now = state.tally.counts[NOW]
    if span >= horizon - now:
        return True
    return push(queue, now + span, FINISHED, unit, state.units.stamp[unit])


@inner
def put_to_work(farm: Farm, state: State, unit: int, pods: int) -> None:
    """Let all members of a unit work (1) or stand (-1)."""
    workload, first = farm.units.workload[unit], farm.units.first_slot[unit]
    for slot in range(first, first + farm.units.slots[unit]):
        change_pods(farm, state, state.units.slot_node[slot], workload, pods)
    if farm.workloads.inference[workload] == 1 and farm.units.counted[unit] == 1:
        state.tally.counts[SERVING] += pods


@inner
def attach(farm: Farm, state: State, slot: int, node: int) -> None:
    """Give a slot its place on a node; the node's slots stay in ascending order."""
    units, need = state.units, farm.workloads.need[farm.units.workload[farm.units.slot_unit[slot]]]
    units.slot_node[slot] = node
    for resource in range(need.shape[0]):
        state.nodes.free[node, resource] -= need[resource]
    after = state.nodes.first_slot[node]
    if after == NONE or after > slot:
        units.next_slot[slot] = after
        state.nodes.first_slot[node] = slot
        return
    while units.next_slot[after] != NONE and units.next_slot[after] < slot:
        after = units.next_slot[after]
    units.next_slot[slot] = units.next_slot[after]
    units.next_slot[after] = slot


@inner
def detach(farm: Farm, state: State, slot: int) -> None:
    """Take a slot off its node and give back what it held."""
    units, need = state.units, farm.workloads.need[farm.units.workload[farm.units.slot_unit[slot]]]
    node = units.slot_node[slot]
    for resource in range(need.shape[0]):
        state.nodes.free[node, resource] += need[resource]
    units.slot_node[slot] = NONE
    at = state.nodes.first_slot[node]
    if at == slot:
        state.nodes.first_slot[node] = units.next_slot[slot]
        return
    while units.next_slot[at] != slot:
        at = units.next_slot[at]
    units.next_slot[at] = units.next_slot[slot]


@inner
def _blame(farm: Farm, state: State, unit: int, lost_ns: int) -> None:
    """Charge lost time of a unit's devices to the failure class that stopped it."""
    workload = farm.units.workload[unit]
    if farm.workloads.gang[workload] == 1 and state.units.blamed_class[unit] >= 0:
        devices = farm.units.slots[unit] * farm.workloads.need[workload, ACCELERATORS]
        lost = float(lost_ns) * float(devices)
        state.tally.class_gang_ns[state.units.blamed_class[unit]] += lost


@inner
def interrupt(
    farm: Farm, state: State, queue: EventQueue, log: EventLog, unit: int, node: int, horizon: int
) -> bool:
    """Stop a unit one of whose nodes failed; its members are still attached."""
    units, now = state.units, state.tally.counts[NOW]
    workload = farm.units.workload[unit]
    if units.phase[unit] == RUNNING:
        settle(farm, state, unit, now)
        put_to_work(farm, state, unit, -1)
        units.stopped_ns[unit] = now
        units.blamed_class[unit] = state.nodes.failed_class[node]
        if farm.workloads.training[workload] == 1:
            state.tally.counts[INTERRUPTIONS] += 1
        _blame(farm, state, unit, units.work_ns[unit])
        if farm.workloads.gang[workload] == 1:
            devices = farm.units.slots[unit] * farm.workloads.need[workload, ACCELERATORS]
            state.tally.totals[LOST] += float(units.work_ns[unit]) * float(devices)
        units.work_ns[unit] = 0
        units.saving_ns[unit] = 0
        record(log, now, STOPPED, unit, units.blamed_class[unit])
    elif units.phase[unit] == WAITING:
        state.tally.unit_wait_ns[unit] += now - units.since_ns[unit]
    units.phase[unit] = DETECTING
    units.stamp[unit] += 1
    due = now + farm.clusters.detection_ns[farm.nodes.cluster[node]]
    if due >= horizon:
        return True
    return push(queue, due, DETECTED, unit, units.stamp[unit])


@inner
def _mark_members(farm: Farm, state: State, unit: int, required: int, preferred: int) -> int:
    """Mark the parts that hold members; return the domain they are in, or NONE."""
    held = state.tally.domain_scratch[2]
    held[: farm.domains[preferred]] = 0
    fixed, first = NONE, farm.units.first_slot[unit]
    for slot in range(first, first + farm.units.slots[unit]):
        node = state.units.slot_node[slot]
        if node != NONE:
            fixed = farm.nodes.domain[required, node]
            held[farm.nodes.domain[preferred, node]] = 1
    return fixed


@inner
def find_nodes(farm: Farm, state: State, unit: int) -> bool:
    """Nodes for the missing members into ``scratch[2]``, spares included; all or none."""
    workload = farm.units.workload[unit]
    required, preferred = CLUSTER, CLUSTER
    if farm.workloads.gang[workload] == 1:
        required = farm.workloads.required[workload]
        preferred = farm.workloads.preferred[workload]
    fixed = _mark_members(farm, state, unit, required, preferred)
    rooms, rank, usable = state.tally.scratch[0], state.tally.scratch[1], state.tally.scratch[2]
    worst = 0
    for node in range(rank.shape[0]):
        rank[node] = farm.loads.rank[workload, farm.nodes.cluster[node]]
        worst = max(worst, rank[node])
        usable[node] = state.nodes.up[node] * farm.nodes.schedulable[node]
    need, free = farm.workloads.need[workload], state.nodes.free
    out = state.tally.found[: state.units.missing[unit]]
    for wanted in range(worst + 1):
        total = filter_nodes(usable, farm.nodes.spare, rank, wanted, True, free, need, rooms)
        if total >= out.shape[0] and place_gang(
            rooms,
            farm.nodes.spare,
            farm.nodes.domain[required],
            farm.domains[required],
            farm.nodes.domain[preferred],
            farm.domains[preferred],
            fixed,
            state.tally.domain_scratch,
            out,
        ):
            return True
    return False


@inner
def replace(
    farm: Farm, state: State, queue: EventQueue, log: EventLog, unit: int, horizon: int
) -> bool:
    """Give a stopped unit nodes for its missing members and restart it, or let it wait."""
    units, now = state.units, state.tally.counts[NOW]
    if not find_nodes(farm, state, unit):
        if units.phase[unit] != WAITING:
            units.phase[unit] = WAITING
            units.since_ns[unit] = now
            record(log, now, WAITS, unit, units.missing[unit])
        return True
    if units.phase[unit] == WAITING:
        state.tally.unit_wait_ns[unit] += now - units.since_ns[unit]
    first, at = farm.units.first_slot[unit], 0
    for slot in range(first, first + farm.units.slots[unit]):
        if units.slot_node[slot] == NONE:
            attach(farm, state, slot, state.tally.found[at])
            record(log, now, MOVED, slot, state.tally.found[at])
            at += 1
    units.missing[unit] = 0
    units.phase[unit] = RESTARTING
    units.stamp[unit] += 1
    due = now + farm.workloads.restart_ns[farm.units.workload[unit]]
    if due >= horizon:
        return True
    return push(queue, due, RESTARTED, unit, units.stamp[unit])


@inner
def retry_waiting(farm: Farm, state: State, queue: EventQueue, log: EventLog, horizon: int) -> bool:
    """Try all units that wait, in order; single pods alike fail alike and are tried once."""
    hopeless, kept_room = NONE, True
    for unit in range(state.units.phase.shape[0]):
        if state.units.phase[unit] != WAITING or farm.units.workload[unit] == hopeless:
            continue
        kept_room = replace(farm, state, queue, log, unit, horizon) and kept_room
        workload = farm.units.workload[unit]
        if state.units.phase[unit] == WAITING and farm.workloads.gang[workload] == 0:
            hopeless = workload
    return kept_room


@inner
def _note_recovery(farm: Farm, state: State, unit: int, span: int) -> None:
    """Count a time from a unit's interruption to its next start, or to the horizon."""
    state.tally.unit_down_ns[unit] += span
    _blame(farm, state, unit, span)
    training = farm.workloads.training[farm.units.workload[unit]] == 1
    if training and span > state.tally.counts[RECOVER_MAX]:
        state.tally.counts[RECOVER_MAX] = span
        state.tally.counts[RECOVER_AT] = unit


@inner
def start(
    farm: Farm, state: State, queue: EventQueue, log: EventLog, unit: int, horizon: int
) -> bool:
    """Let a unit work again."""
    now = state.tally.counts[NOW]
    _note_recovery(farm, state, unit, now - state.units.stopped_ns[unit])
    state.units.phase[unit] = RUNNING
    state.units.since_ns[unit] = now
    put_to_work(farm, state, unit, 1)
    record(log, now, STARTED, unit, 0)
    return schedule_finish(farm, state, queue, unit, horizon)


@inner
def finish(farm: Farm, state: State, log: EventLog, unit: int) -> None:
    """End a unit whose work is done and free its nodes."""
    now, units = state.tally.counts[NOW], state.units
    put_to_work(farm, state, unit, -1)
    units.phase[unit] = DONE
    units.kept_ns[unit] = farm.workloads.duration_ns[farm.units.workload[unit]]
    units.work_ns[unit] = 0
    state.tally.unit_end_ns[unit] = now
    first = farm.units.first_slot[unit]
    for slot in range(first, first + farm.units.slots[unit]):
        detach(farm, state, slot)
    record(log, now, FINISHED, unit, 0)


@inner
def change_rates(farm: Farm, state: State, queue: EventQueue, horizon: int) -> bool:
    """After loops changed speed: settle all running units and set their new rates."""
    kept_room = True
    for unit in range(state.units.phase.shape[0]):
        if state.units.phase[unit] == RUNNING:
            settle(farm, state, unit, state.tally.counts[NOW])
            kept_room = schedule_finish(farm, state, queue, unit, horizon) and kept_room
    return kept_room


@inner
def close(farm: Farm, state: State, horizon: int) -> None:
    """Settle all units at the horizon; who is stopped has been so at least until then."""
    for unit in range(state.units.phase.shape[0]):
        phase = state.units.phase[unit]
        if phase == RUNNING:
            settle(farm, state, unit, horizon)
        elif phase != DONE:
            _note_recovery(farm, state, unit, horizon - state.units.stopped_ns[unit])
            if phase == WAITING:
                state.tally.unit_wait_ns[unit] += horizon - state.units.since_ns[unit]
