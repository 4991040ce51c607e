"""Power and steady heat of nodes, racks, loops and plants, kept exact between events.

A device draws idle + load * (TDP - idle) while its pod works, idle otherwise, nothing when its node
is down; the node's own draw likewise. Groups of nodes with a limit (loops, and racks that are
capped) that are asked for more slow all their devices by the same share of what they draw above
idle; a node of two groups goes at the slower one's. Device temperature is that of the coolant (or
inlet air) plus thermal resistance times power.
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
from kfarm_twin.kernels.grid import flow, node_draw
from kfarm_twin.kernels.grid_columns import (
    ASKED,
    BRANCH,
    CAPPED,
    FIRST_MEMBER,
    LIMIT_MW,
    NODE_STAGES,
)
from kfarm_twin.policy.gangs import NONE

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
def pace_ppm(farm: Farm, state: State, node: int) -> int:
    """Share of what its devices ask for above idle that the limits of a node's groups allow."""
    speed, rack = state.loops.speed_ppm[farm.nodes.loop[node]], farm.grid.node[node, CAPPED]
    if rack != NONE:
        speed = min(speed, state.loops.speed_ppm[rack])
    return int(speed)


@inner
def redraw(farm: Farm, state: State, node: int) -> None:
    """Bring what a node draws up to date, and note its rack."""
    nodes, grid = state.nodes, state.grid
    cluster, branch, speed = farm.nodes.cluster[node], farm.grid.node[node, BRANCH], 0
    if nodes.up[node] == 1:
        speed = pace_ppm(farm, state, node)
    for case in range(grid.node_mw.shape[0]):
        power = 0
        if nodes.up[node] == 1:
            asked = nodes.pods_mw[node]
            if case > 0:
                asked += grid.swing_mw[case - 1, node]
            power = farm.clusters.base_mw[cluster] + asked * speed // FULL_PPM
            power = node_draw(farm.grid, cluster, power)
        grid.branch_mw[case, branch, ASKED] += power - grid.node_mw[case, node]
        grid.node_mw[case, node] = power
    rack = farm.nodes.rack[node]
    if nodes.rack_dirty[0, rack] == 0:
        nodes.rack_dirty[0, rack] = 1
        nodes.rack_dirty[1, state.tally.counts[DIRTY_RACKS]] = rack
        state.tally.counts[DIRTY_RACKS] += 1


@inner
def change_pods(farm: Farm, state: State, node: int, workload: int, pods: int) -> None:
    """Let `pods` more (or, negative, fewer) pods of a workload work on a node."""
    loop = farm.nodes.loop[node]
    power = farm.loads.pod_mw[workload, farm.nodes.cluster[node]] * pods
    state.nodes.pods_mw[node] += power
    state.loops.pods_mw[loop] += power
    state.loops.running[workload, loop] += pods
    state.loops.dirty[loop] = 1
    rack = farm.grid.node[node, CAPPED]
    if rack != NONE:
        state.loops.pods_mw[rack] += power
        state.loops.dirty[rack] = 1
    for window in range(state.grid.swing_mw.shape[0]):
        swing = farm.grid.swing_mw[window, workload, farm.nodes.cluster[node]]
        state.grid.swing_mw[window, node] += swing * pods
    redraw(farm, state, node)


@inner
def switch_node(farm: Farm, state: State, node: int, up: int) -> None:
    """Switch a node on or off, with what others run on it; its own pods are off."""
    loop = farm.nodes.loop[node]
    others = farm.loads.pod_mw.shape[0] - 1
    sign = 1 if up == 1 else -1
    state.nodes.up[node] = up
    idle = sign * farm.clusters.base_mw[farm.nodes.cluster[node]]
    state.loops.idle_mw[loop] += idle
    if farm.grid.node[node, CAPPED] != NONE:
        state.loops.idle_mw[farm.grid.node[node, CAPPED]] += idle
    theirs = farm.nodes.others[node] - state.nodes.health[node, OTHERS_LOST]
    change_pods(farm, state, node, others, sign * theirs)


@inner
def _group_draws(farm: Farm, state: State, group: int, speed: int) -> int:
    """What the nodes of a group that are up draw at a speed [mW]."""
    total = 0
    for at in range(farm.grid.group[group, FIRST_MEMBER], farm.grid.group[group + 1, FIRST_MEMBER]):
        node = farm.grid.member[at]
        if state.nodes.up[node] == 1:
            cluster = farm.nodes.cluster[node]
            asked = state.nodes.pods_mw[node] * speed // FULL_PPM
            total += node_draw(farm.grid, cluster, farm.clusters.base_mw[cluster] + asked)
    return total


@inner
def _group_speed(farm: Farm, state: State, group: int) -> int:
    """Share of what they ask for above idle that the devices of a group may draw [ppm].

    The limit of a loop is on the heat behind power supplies, that of a rack on what nodes draw.
    """
    limit, idle = farm.grid.group[group, LIMIT_MW], state.loops.idle_mw[group]
    pods, loops = state.loops.pods_mw[group], farm.sites.loop_limit_mw.shape[0]
    cluster = farm.nodes.cluster[farm.grid.member[farm.grid.group[group, FIRST_MEMBER]]]
    if group < loops or farm.grid.cluster[cluster, NODE_STAGES + 1] == 0:
        return loop_speed_ppm(limit, idle, pods)
    if _group_draws(farm, state, group, FULL_PPM) <= limit:
        return FULL_PPM
    low, high = 0, FULL_PPM
    while high - low > 1:
        middle = (low + high) // 2
        if _group_draws(farm, state, group, middle) <= limit:
            low = middle
        else:
            high = middle
    return int(low)


@inner
def balance_loops(farm: Farm, state: State) -> bool:
    """Slow or free the devices of groups whose demand changed; True when any speed changed."""
    loops, changed = state.loops, False
    for group in range(loops.dirty.shape[0]):
        if loops.dirty[group] == 0 or farm.grid.group[group, LIMIT_MW] == 0:
            continue
        speed = _group_speed(farm, state, group)
        if speed == loops.speed_ppm[group]:
            continue
        loops.speed_ppm[group] = speed
        changed = True
        for at in range(
            farm.grid.group[group, FIRST_MEMBER], farm.grid.group[group + 1, FIRST_MEMBER]
        ):
            redraw(farm, state, farm.grid.member[at])
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
        if speed < FULL_PPM or farm.loads.hot[workload, cluster] == 1:
            throttled += pods * farm.workloads.need[workload, ACCELERATORS]
    state.tally.counts[THROTTLED] += throttled - state.loops.throttled[loop]
    state.loops.throttled[loop] = throttled


@spliced
def _note_loops(farm: Farm, state: State) -> None:
    """Look again at the loops whose demand changed."""
    loops, tally = state.loops, state.tally
    for group in range(loops.hottest_c.shape[0], loops.dirty.shape[0]):
        loops.dirty[group] = 0
    for loop in range(loops.hottest_c.shape[0]):
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
    for loop in range(loops.hottest_c.shape[0]):
        tally.totals[HOT_NOW] = max(tally.totals[HOT_NOW], loops.hottest_c[loop])


@inner
def note_extremes(farm: Farm, state: State) -> None:
    """Update the extremes with the state that is about to last for a while."""
    tally = state.tally
    if tally.counts[DIRTY_RACKS] == 0:
        return
    flow(farm, state)
    tally.counts[PEAK_MW] = max(tally.counts[PEAK_MW], tally.counts[TOTAL_MW])
    _note_racks(farm, state)
    for plant in range(state.nodes.plant_mw.shape[0]):
        limit = farm.sites.plant_limit_mw[plant]
        if limit > 0 and state.nodes.plant_mw[plant] / limit > tally.totals[PLANT_LOAD]:
            tally.totals[PLANT_LOAD] = state.nodes.plant_mw[plant] / limit
            tally.counts[PLANT_AT] = plant
    _note_loops(farm, state)
