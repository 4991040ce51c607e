"""Progress of a unit that runs: it alternates `interval` of work and a blocking `save`.

All members go at the speed of the slowest, and where an elastic gang lacks members, at their share
of that. Throttled and slow devices slow work, not saves.
"""

from __future__ import annotations

from kfarm_twin._jit import inner, kernel
from kfarm_twin.arrays import (
    LOST_SAVES,
    NOW,
    SLOW_CLASS,
    SPEED_PPM,
    EventQueue,
    Farm,
    State,
)
from kfarm_twin.kernels.charge import charge_span, charge_work
from kfarm_twin.kernels.heap import FINISHED, push
from kfarm_twin.kernels.power import FULL_PPM
from kfarm_twin.kernels.rng import FAR_NS
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


@inner
def _cycles(farm: Farm, state: State, unit: int, left: int) -> int:
    """Let `left` [ns] of work and saves pass; returns how much of it saves took [ns]."""
    units, workload = state.units, farm.units.workload[unit]
    interval, save = farm.workloads.interval_ns[workload], farm.workloads.save_ns[workload]
    rate = units.rate_ppm[unit]
    if rate < LEAST_PPM and units.work_ns[unit] < interval:
        return 0
    saved = 0
    to_save = time_for(interval - units.work_ns[unit], rate)
    to_end = to_save + save - units.saving_ns[unit]
    if left >= to_end:
        saved = save - units.saving_ns[unit]
        units.kept_ns[unit] += interval
        units.work_ns[unit] = 0
        units.saving_ns[unit] = 0
        left -= to_end
        to_save = time_for(interval, rate)
        cycles = left // (to_save + save)
        saved += cycles * save
        units.kept_ns[unit] += cycles * interval
        left -= cycles * (to_save + save)
    if left >= to_save:
        units.work_ns[unit] = interval
        units.saving_ns[unit] += left - to_save
        saved += left - to_save
    else:
        units.work_ns[unit] += work_done(left, rate)
    return int(saved)


@inner
def settle(farm: Farm, state: State, unit: int, now: int) -> None:
    """Bring the progress of a running unit, and what it lost, up to `now`."""
    units = state.units
    span = now - units.since_ns[unit]
    units.since_ns[unit] = now
    if span == 0:
        return
    before = units.kept_ns[unit] + units.work_ns[unit]
    saved = _cycles(farm, state, unit, span)
    done = units.kept_ns[unit] + units.work_ns[unit] - before
    charge_work(farm, state, unit, span - saved, done)
    if saved > 0:
        charge_span(farm, state, unit, units.missing[unit], LOST_SAVES, NONE, saved)


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
def set_rate(farm: Farm, state: State, unit: int) -> None:
    """Rate of a unit: that of its slowest member, by the share of members there are [ppm]."""
    units, nodes = state.units, state.nodes
    workload, first = farm.units.workload[unit], farm.units.first_slot[unit]
    slots = farm.units.slots[unit]
    rate, slow_class = FULL_PPM, NONE
    for slot in range(first, first + slots):
        node = units.slot_node[slot]
        if node == NONE:
            continue
        alone = farm.loads.speed_ppm[workload, farm.nodes.cluster[node]]
        own = alone * state.loops.speed_ppm[farm.nodes.loop[node]] // FULL_PPM
        own = own * nodes.health[node, SPEED_PPM] // FULL_PPM
        if own < rate:
            rate = own
            slow_class = nodes.health[node, SLOW_CLASS]
    if units.missing[unit] > 0:
        rate = rate * (slots - units.missing[unit]) // slots
    units.rate_ppm[unit] = rate if rate >= LEAST_PPM else 0
    units.slow_class[unit] = slow_class


@inner
def schedule_finish(farm: Farm, state: State, queue: EventQueue, unit: int, horizon: int) -> bool:
    """Set the rate of a settled, running unit and its finish, where that is before the horizon."""
    set_rate(farm, state, unit)
    state.units.stamp[unit] += 1
    span = time_to_finish(farm, state, unit)
    now = state.tally.counts[NOW]
    if span >= horizon - now:
        return True
    return push(queue, now + span, FINISHED, unit, state.units.stamp[unit])
