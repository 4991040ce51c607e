"""Progress of a unit that runs: it alternates `interval` of work and a blocking `save`.

All members go at the speed of the slowest, and where an elastic gang lacks members, at their share
of that. Throttled and slow devices slow work, not saves.
"""

from __future__ import annotations

from kfarm_twin._jit import inner, kernel, spliced
from kfarm_twin.arrays import (
    LOST_SAVES,
    NOW,
    SLOW_CLASS,
    SPEED_PPM,
    EventQueue,
    Farm,
    State,
)
from kfarm_twin.kernels import unit_columns as u
from kfarm_twin.kernels.charge import charge_span, charge_work
from kfarm_twin.kernels.heap import FINISHED, push
from kfarm_twin.kernels.power import FULL_PPM, pace_ppm
from kfarm_twin.kernels.rng import FAR_NS
from kfarm_twin.kernels.warmth import slot_ppm
from kfarm_twin.policy.gangs import NONE

LEAST_PPM = 1000
"""Slower than this counts as standing still, which keeps times within 64 bits."""


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


@spliced
def _cycles(farm: Farm, state: State, unit: int, left: int) -> int:
    """Let `left` [ns] of work and saves pass; returns how much of it saves took [ns]."""
    units, workload = state.units, farm.units.workload[unit]
    interval, save = farm.workloads.interval_ns[workload], farm.workloads.save_ns[workload]
    rate = units.row[unit, u.RATE]
    if rate < LEAST_PPM and units.row[unit, u.WORK] < interval:
        return 0
    saved = 0
    to_save = time_for(interval - units.row[unit, u.WORK], rate)
    to_end = to_save + save - units.row[unit, u.SAVING_FOR]
    if left >= to_end:
        saved = save - units.row[unit, u.SAVING_FOR]
        units.row[unit, u.KEPT] += interval
        units.row[unit, u.WORK] = 0
        units.row[unit, u.SAVING_FOR] = 0
        left -= to_end
        to_save = time_for(interval, rate)
        cycles = left // (to_save + save)
        saved += cycles * save
        units.row[unit, u.KEPT] += cycles * interval
        left -= cycles * (to_save + save)
    if left >= to_save:
        units.row[unit, u.WORK] = interval
        units.row[unit, u.SAVING_FOR] += left - to_save
        saved += left - to_save
    else:
        units.row[unit, u.WORK] += work_done(left, rate)
    return int(saved)


@inner
def settle(farm: Farm, state: State, unit: int, now: int) -> None:
    """Bring the progress of a running unit, and what it lost, up to `now`."""
    units = state.units
    span = now - units.row[unit, u.SINCE]
    units.row[unit, u.SINCE] = now
    if span == 0:
        return
    before = units.row[unit, u.KEPT] + units.row[unit, u.WORK]
    saved = _cycles(farm, state, unit, span)
    done = units.row[unit, u.KEPT] + units.row[unit, u.WORK] - before
    charge_work(farm, state, unit, span - saved, done)
    if saved > 0:
        charge_span(farm, state, unit, units.row[unit, u.MISSING], LOST_SAVES, NONE, saved)


@inner
def time_to_finish(farm: Farm, state: State, unit: int) -> int:
    """Time that a running, settled unit still takes at its rate [ns]; FAR_NS when it never ends."""
    workload = farm.units.workload[unit]
    interval, save = farm.workloads.interval_ns[workload], farm.workloads.save_ns[workload]
    duration, rate = farm.workloads.duration_ns[workload], state.units.row[unit, u.RATE]
    if duration >= FAR_NS or rate < LEAST_PPM:
        return FAR_NS
    left = duration - state.units.row[unit, u.KEPT] - state.units.row[unit, u.WORK]
    to_save = interval - state.units.row[unit, u.WORK]
    if left <= to_save and state.units.row[unit, u.SAVING_FOR] == 0:
        return time_for(left, rate)
    before = time_for(to_save, rate) + save - state.units.row[unit, u.SAVING_FOR]
    left -= to_save
    cycles = (left - 1) // interval
    cycle = time_for(interval, rate) + save
    if cycles > FAR_NS // 4 // cycle:
        return FAR_NS
    return int(before + cycles * cycle + time_for(left - cycles * interval, rate))


@inner
def set_rate(farm: Farm, state: State, unit: int) -> None:
    """Rate of a unit: that of its slowest member, by the share of members there are [ppm]."""
    units, nodes = state.units, state.nodes
    first, slots = farm.units.first_slot[unit], farm.units.slots[unit]
    workload = farm.units.workload[unit]
    rate, slow_class = FULL_PPM, NONE
    for slot in range(first, first + slots):
        node = units.slot_node[slot]
        if node == NONE:
            continue
        alone = farm.loads.speed_ppm[workload, farm.nodes.cluster[node]]
        own = alone * pace_ppm(farm, state, node) // FULL_PPM
        own = own * slot_ppm(farm, state, slot) // FULL_PPM * nodes.health[node, SPEED_PPM]
        own = own // FULL_PPM
        if own < rate:
            rate = own
            slow_class = nodes.health[node, SLOW_CLASS]
    if units.row[unit, u.MISSING] > 0:
        rate = rate * (slots - units.row[unit, u.MISSING]) // slots
    units.row[unit, u.RATE] = rate if rate >= LEAST_PPM else 0
    units.row[unit, u.SLOWED_BY] = slow_class


@inner
def schedule_finish(farm: Farm, state: State, queue: EventQueue, unit: int, horizon: int) -> bool:
    """Set the rate of a settled, running unit and its finish, where that is before the horizon."""
    set_rate(farm, state, unit)
    state.units.row[unit, u.STAMP] += 1
    span = time_to_finish(farm, state, unit)
    now = state.tally.counts[NOW]
    if span >= horizon - now:
        return True
    return push(queue, now + span, FINISHED, unit, state.units.row[unit, u.STAMP])
