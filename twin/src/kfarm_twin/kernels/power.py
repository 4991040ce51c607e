"""Power and steady heat of nodes, racks, loops and plants, kept exact between events.

A device draws idle + load * (TDP - idle) while its pod works, idle otherwise, nothing when its node
is down; the node's own draw likewise. A loop that is asked for more than its capacity slows all
devices on it by the same share of what they draw above idle. Device temperature is that of the
coolant (or inlet air) plus thermal resistance times power.
"""

from __future__ import annotations

from kfarm_twin._jit import inner, kernel, spliced
from kfarm_twin.arrays import (
    ACCELERATORS,
    DIRTY_RACKS,
    HEADROOM,
    HOT_AT,
    HOT_NOW,
    HOTTEST,
    LOAD_AT,
    LOOP_AT,
    LOOP_LOAD,
    OTHERS_LOST,
    PEAK_MW,
    PLANT_AT,
    PLANT_LOAD,
    RACK_AT,
    RACK_LOAD,
    RACK_PEAK,
    THROTTLED,
    THROTTLED_MAX,
    TOTAL_MW,
    Farm,
    Ints,
    State,
)

FULL_PPM = 1_000_000
ABSENT_C = -273.15
"""Temperature of what is off."""
KILO = 0.001


@kernel
def any_positive(column: Ints) -> bool:
    """Whether any value is above zero."""
    for value in column:  # noqa: SIM110 - generators are not compiled
        if value > 0:
            return True
    return False


@kernel
def loop_speed_ppm(limit_mw: int, idle_mw: int, pods_mw: int) -> int:
    """Share of what devices ask for above idle that a loop can cool [ppm]; no limit when 0."""
    if limit_mw == 0 or idle_mw + pods_mw <= limit_mw:
        return FULL_PPM
    return max(limit_mw - idle_mw, 0) * FULL_PPM // pods_mw if pods_mw > 0 else 0


@inner
def redraw(farm: Farm, state: State, node: int) -> None:
    """Bring a node's power, and that of its rack, plant and the whole, up to date."""
    nodes = state.nodes
    power = 0
    if nodes.up[node] == 1:
        speed = state.loops.speed_ppm[farm.nodes.loop[node]]
        idle = farm.clusters.base_mw[farm.nodes.cluster[node]]
        power = idle + nodes.pods_mw[node] * speed // FULL_PPM
    change = power - nodes.power_mw[node]
    rack = farm.nodes.rack[node]
    nodes.power_mw[node] = power
    nodes.rack_mw[rack] += change
    if nodes.rack_dirty[0, rack] == 0:
        nodes.rack_dirty[0, rack] = 1
        nodes.rack_dirty[1, state.tally.counts[DIRTY_RACKS]] = rack
        state.tally.counts[DIRTY_RACKS] += 1
    nodes.plant_mw[farm.nodes.plant[node]] += change
    state.tally.counts[TOTAL_MW] += change


@inner
def change_pods(farm: Farm, state: State, node: int, workload: int, pods: int) -> None:
    """Let `pods` more (or, negative, fewer) pods of a workload work on a node."""
    loop = farm.nodes.loop[node]
    power = farm.loads.pod_mw[workload, farm.nodes.cluster[node]] * pods
    state.nodes.pods_mw[node] += power
    state.loops.pods_mw[loop] += power
    state.loops.running[workload, loop] += pods
    state.loops.dirty[loop] = 1
    redraw(farm, state, node)


@inner
def switch_node(farm: Farm, state: State, node: int, up: int) -> None:
    """Switch a node on or off, with what others run on it; its own pods are off."""
    loop = farm.nodes.loop[node]
    others = farm.loads.pod_mw.shape[0] - 1
    sign = 1 if up == 1 else -1
    state.nodes.up[node] = up
    state.loops.idle_mw[loop] += sign * farm.clusters.base_mw[farm.nodes.cluster[node]]
    theirs = farm.nodes.others[node] - state.nodes.health[node, OTHERS_LOST]
    change_pods(farm, state, node, others, sign * theirs)


@inner
def balance_loops(farm: Farm, state: State) -> bool:
    """Slow or free the devices of loops whose demand changed; True when any speed changed."""
    loops, changed = state.loops, False
    for loop in range(loops.dirty.shape[0]):
        if loops.dirty[loop] == 0:
            continue
        limit = farm.sites.loop_limit_mw[loop]
        speed = loop_speed_ppm(limit, loops.idle_mw[loop], loops.pods_mw[loop])
        if speed == loops.speed_ppm[loop]:
            continue
        loops.speed_ppm[loop] = speed
        changed = True
        for node in range(farm.nodes.loop.shape[0]):
            if farm.nodes.loop[node] == loop:
                redraw(farm, state, node)
    return changed


@spliced
def _note_racks(farm: Farm, state: State) -> None:
    nodes, tally = state.nodes, state.tally
    for at in range(tally.counts[DIRTY_RACKS]):
        rack = nodes.rack_dirty[1, at]
        nodes.rack_dirty[0, rack] = 0
        power = nodes.rack_mw[rack]
        if power > tally.counts[RACK_PEAK]:
            tally.counts[RACK_PEAK] = power
            tally.counts[RACK_AT] = rack
        limit = farm.sites.rack_limit_mw[rack]
        if limit > 0 and power / limit > tally.totals[RACK_LOAD]:
            tally.totals[RACK_LOAD] = power / limit
            tally.counts[LOAD_AT] = rack
    tally.counts[DIRTY_RACKS] = 0


@inner
def _note_temperature(farm: Farm, state: State, loop: int, device_mw: int) -> None:
    clusters, tally = farm.clusters, state.tally
    cluster = farm.sites.loop_cluster[loop]
    rise = clusters.resistance_k_per_w[cluster] * (device_mw * KILO)
    temperature = clusters.inlet_c[cluster] + rise
    state.loops.hottest_c[loop] = max(state.loops.hottest_c[loop], temperature)
    if temperature > tally.totals[HOTTEST]:
        tally.totals[HOTTEST] = temperature
        tally.counts[HOT_AT] = cluster
    tally.totals[HEADROOM] = min(tally.totals[HEADROOM], clusters.throttle_c[cluster] - temperature)


@spliced
def _note_devices(farm: Farm, state: State, loop: int) -> None:
    """Temperatures of the devices on a loop, and how many of them throttle."""
    cluster, speed = farm.sites.loop_cluster[loop], state.loops.speed_ppm[loop]
    idle, throttled = farm.clusters.idle_device_mw[cluster], 0
    state.loops.hottest_c[loop] = ABSENT_C
    if state.loops.idle_mw[loop] > 0:
        _note_temperature(farm, state, loop, idle)
    for workload in range(state.loops.running.shape[0]):
        pods = state.loops.running[workload, loop]
        if pods == 0:
            continue
        asked = farm.loads.device_mw[workload, cluster] - idle
        _note_temperature(farm, state, loop, idle + asked * speed // FULL_PPM)
        if speed < FULL_PPM or farm.loads.speed_ppm[workload, cluster] < FULL_PPM:
            throttled += pods * farm.workloads.need[workload, ACCELERATORS]
    state.tally.counts[THROTTLED] += throttled - state.loops.throttled[loop]
    state.loops.throttled[loop] = throttled


@spliced
def _note_loops(farm: Farm, state: State) -> None:
    """Look again at the loops whose demand changed."""
    loops, tally = state.loops, state.tally
    for loop in range(loops.dirty.shape[0]):
        if loops.dirty[loop] == 0:
            continue
        loops.dirty[loop] = 0
        _note_devices(farm, state, loop)
        limit = farm.sites.loop_limit_mw[loop]
        asked = loops.idle_mw[loop] + loops.pods_mw[loop]
        if limit > 0 and asked / limit > tally.totals[LOOP_LOAD]:
            tally.totals[LOOP_LOAD] = asked / limit
            tally.counts[LOOP_AT] = loop
    tally.counts[THROTTLED_MAX] = max(tally.counts[THROTTLED_MAX], tally.counts[THROTTLED])
    tally.totals[HOT_NOW] = ABSENT_C
    for loop in range(loops.dirty.shape[0]):
        tally.totals[HOT_NOW] = max(tally.totals[HOT_NOW], loops.hottest_c[loop])


@inner
def note_extremes(farm: Farm, state: State) -> None:
    """Update the extremes with the state that is about to last for a while."""
    tally = state.tally
    if tally.counts[DIRTY_RACKS] == 0:
        return
    tally.counts[PEAK_MW] = max(tally.counts[PEAK_MW], tally.counts[TOTAL_MW])
    _note_racks(farm, state)
    for plant in range(state.nodes.plant_mw.shape[0]):
        limit = farm.sites.plant_limit_mw[plant]
        if limit > 0 and state.nodes.plant_mw[plant] / limit > tally.totals[PLANT_LOAD]:
            tally.totals[PLANT_LOAD] = state.nodes.plant_mw[plant] / limit
            tally.counts[PLANT_AT] = plant
    _note_loops(farm, state)
