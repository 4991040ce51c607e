"""The failure twin of a fleet: arrivals of faults, and what the repair shop makes of them.

Whoever plays a future calls `begin`, then `step` whenever `next_time` is not later than his own
next event, reads `changes`, and calls `end`.
"""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.arrays import NEVER_UP, STARTS_DOWN, STARTS_UP, Ints
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.kernels.fleet_clocks import (
    age_clocks,
    arm_clock,
    arm_node,
    choose_class,
    choose_node,
    draw_frailty,
    first_clock,
    later,
    weigh,
)
from kfarm_twin.kernels.fleet_columns import NONE, Fleet, FleetState
from kfarm_twin.kernels.fleet_lines import (
    join,
)
from kfarm_twin.kernels.fleet_reach import (
    charge_down,
    note_outage,
    strike,
)
from kfarm_twin.kernels.fleet_shop import (
    drain,
    fault,
    go_on,
    heal,
    part_comes,
    timer,
)
from kfarm_twin.kernels.heap import clear, pop
from kfarm_twin.kernels.rng import FAR_NS, exponential_ns, ln, uniform
from kfarm_twin.kernels.samplers import left_ns

FULL = -1
"""Answer of `step` where some table had no room: play the future again with longer ones."""
MOST_MEMBERS = 4096
"""Members of a burst, at most."""


@inner
def _clear(fleet: Fleet, state: FleetState, start: int, horizon: int) -> None:
    clear(state.queue)
    state.node[:, :] = 0
    state.node[:, c.OWN_PPM] = c.FULL_PPM
    state.node[:, c.DOMAIN_PPM] = c.FULL_PPM
    state.node[:, c.SPEED_NOW] = c.FULL_PPM
    state.node[:, c.BLAME] = NONE
    state.hazard[:, :] = 1.0
    state.patient[:, :] = 0
    state.patient[:, c.CLASS] = NONE
    state.patient[:, c.MY_CLOCK] = NONE
    state.clock[:, :] = 0
    state.cluster[:, :] = 0
    state.parts[:, :] = 0
    state.down_ns[:] = 0
    state.tally[:, :] = 0.0
    state.now[:] = 0
    state.now[c.TIME] = start
    state.now[c.SINCE] = start
    state.now[c.HORIZON] = horizon
    for cluster in range(fleet.clusters.shape[0]):
        state.cluster[cluster, c.FREE_CREWS] = fleet.clusters[cluster, c.CREWS]
        state.cluster[cluster, c.HEAD] = NONE
        state.cluster[cluster, c.TAIL] = NONE
        state.cluster[cluster, c.PUT_OFF_HEAD] = NONE
        state.cluster[cluster, c.PUT_OFF_TAIL] = NONE
    for failed in range(fleet.classes.shape[0]):
        state.parts[failed, c.ON_SHELF] = fleet.classes[failed, c.STOCK]
        state.parts[failed, c.P_HEAD] = NONE
        state.parts[failed, c.P_TAIL] = NONE


@inner
def _down_class(fleet: Fleet, cluster: int, u: float) -> int:
    """Class that a node is down with in the long run."""
    first, count = fleet.clusters[cluster, c.FIRST_CLASS], fleet.clusters[cluster, c.POOLED]
    if fleet.rates[cluster, c.DOWN] <= 0.0:
        return NONE
    for failed in range(first, first + count - 1):
        if u < fleet.laws[failed, c.DOWN_SHARE]:
            return int(failed)
    return int(first + count - 1)


@inner
def _lie_down(
    fleet: Fleet, state: FleetState, patient: int, failed: int, seed: int, future: int
) -> None:
    """A patient that was out of service before the start, with what is left of its repair."""
    row, law = state.patient[patient], fleet.laws[failed]
    row[c.CLASS] = failed
    row[c.BEGAN] = state.now[c.TIME] - 1
    row[c.STAGE] = c.MENDING
    row[c.P_STAMP] += 1
    row[c.STRUCK] = 1
    strike(fleet, state, patient, c.FAULT, 0)
    cluster = fleet.classes[failed, c.CLASS_CLUSTER]
    if fleet.classes[failed, c.NEEDS_CREW] == 1:
        if state.cluster[cluster, c.FREE_CREWS] <= 0:
            row[c.ORDINAL] += 1
            row[c.WAITS] = state.now[c.TIME]
            row[c.STAGE] = c.CREW
            join(state, state.cluster, cluster, c.HEAD, c.TAIL, patient)
            return
        state.cluster[cluster, c.FREE_CREWS] -= 1
    left = left_ns(
        fleet.classes[failed, c.LAW], law[c.MEAN], law[c.SCALE], law[c.REPAIR_SHAPE],
        seed, future, patient, c.STARTS_REPAIR,
    )  # fmt: skip
    if left < FAR_NS:
        later(state, state.now[c.TIME] + left, c.TIMER, patient, row[c.P_STAMP])


@inner
def _never_up(state: FleetState, node: int) -> None:
    """A node is out of service for good."""
    state.node[node, c.STAMP] += 1
    state.node[node, c.CAUSES] = 1
    state.node[node, c.BLAME] = NONE
    state.node[node, c.DOWN_SINCE] = FAR_NS  # nobody is to blame
    state.now[c.DOWN_COUNT] += 1


@inner
def _begin_node(fleet: Fleet, state: FleetState, node: int, seed: int, future: int) -> None:
    """A node is up, or down as in the long run."""
    if fleet.nodes[node, c.START] == NEVER_UP:
        _never_up(state, node)
        return
    cluster = fleet.nodes[node, c.NODE_CLUSTER]
    load = fleet.rates[cluster, c.DOWN] * state.hazard[node, c.FRAIL]
    if load > 0.0 and uniform(seed, future, node, c.STARTS, 0) * (1.0 + load) < load:
        failed = _down_class(fleet, cluster, uniform(seed, future, node, c.STARTS_CLASS, 0))
        crews = fleet.clusters[cluster, c.CREWS]
        busy = fleet.classes[failed, c.NEEDS_CREW] == 1
        if not busy or crews == 0 or state.cluster[cluster, c.FREE_CREWS] > 0:
            _lie_down(fleet, state, node, failed, seed, future)
            return
    arm_node(fleet, state, node, seed, future)


@inner
def _begin_domain(fleet: Fleet, state: FleetState, patient: int, seed: int, future: int) -> None:
    """A domain is up, or down as in the long run."""
    failed = fleet.domains[patient - fleet.nodes.shape[0], c.DOMAIN_CLASS]
    law = fleet.laws[failed]
    load = law[c.MEAN] / law[c.LIFE_MEAN]
    stops = fleet.classes[failed, c.EFFECT] == c.STOP and fleet.classes[failed, c.NEEDS_CREW] == 0
    if stops and uniform(seed, future, patient, c.DOMAIN_DOWN, 0) * (1.0 + load) < load:
        _lie_down(fleet, state, patient, failed, seed, future)


@inner
def _begin_cluster(fleet: Fleet, state: FleetState, cluster: int, seed: int, future: int) -> None:
    """Bursts, unrest and drains."""
    rates, rules = fleet.rates[cluster], fleet.clusters[cluster]
    weigh(fleet, state, cluster)
    _next_burst(fleet, state, cluster, seed, future)
    if rates[c.UNREST_SHARE] > 0.0:
        entity = state.node.shape[0] + cluster
        if uniform(seed, future, entity, c.SPELL, 0) < rates[c.UNREST_SHARE]:
            _turn(fleet, state, cluster, True, seed, future)
        else:
            _turn(fleet, state, cluster, False, seed, future)
    if rules[c.DRAIN_EVERY] > 0:
        step = rules[c.DRAIN_EVERY] // rules[c.NODES]
        later(state, state.now[c.TIME] + step, c.DRAIN_DUE, cluster, 0)


@inner
def _fleet_rate(fleet: Fleet, cluster: int) -> float:
    """Rate of the faults that a cluster's node clocks stand for, at frailty 1 [1/ns]."""
    return float(fleet.rates[cluster, c.RATE] * fleet.clusters[cluster, c.NODES])


@inner
def _mean_frailty(fleet: Fleet, state: FleetState, cluster: int) -> float:
    last = fleet.clusters[cluster, c.FIRST_NODE] + fleet.clusters[cluster, c.NODES] - 1
    return float(state.hazard[last, c.WEIGHT] / fleet.clusters[cluster, c.NODES])


@inner
def _next_burst(fleet: Fleet, state: FleetState, cluster: int, seed: int, future: int) -> None:
    """Set when the next burst of quiet times begins."""
    rates = fleet.rates[cluster]
    if rates[c.BURST_SHARE] <= 0.0:
        return
    ordinal = state.cluster[cluster, c.BURSTS]
    state.cluster[cluster, c.BURSTS] = ordinal + 1
    rate = _fleet_rate(fleet, cluster) * _mean_frailty(fleet, state, cluster)
    rate *= rates[c.QUIET] * rates[c.BURST_SHARE] / rates[c.BURST_MEAN]
    if rate > 0.0:
        u = uniform(seed, future, cluster, c.BURST_AFTER, ordinal)
        due = state.now[c.TIME] + exponential_ns(u, 1.0 / rate)
        later(state, due, c.BURST, cluster, ordinal)


@inner
def _spread_burst(
    fleet: Fleet, state: FleetState, cluster: int, entity: int, ordinal: int, seed: int,
    future: int,
) -> None:  # fmt: skip
    """The members of a burst, a geometric number, come at uniform times of its window.

    `entity` counts the bursts of quiet times cluster by cluster, then those of unrest.
    """
    mean = fleet.rates[cluster, c.BURST_MEAN]
    drawn = ln(uniform(seed, future, entity, c.BURST_SIZE, ordinal)) / ln(1.0 - 1.0 / mean)
    size = min(1 + int(min(drawn, float(MOST_MEMBERS))), MOST_MEMBERS)
    for member in range(size):
        number = ordinal * MOST_MEMBERS + member
        u = uniform(seed, future, entity, c.BURST_OFFSET, number)
        due = state.now[c.TIME] + int(u * float(fleet.clusters[cluster, c.WINDOW_NS]))
        later(state, due, c.MEMBER, entity, number)


@inner
def _member(
    fleet: Fleet, state: FleetState, entity: int, number: int, seed: int, future: int
) -> None:
    """One fault of a burst: it finds a node by frailty; one that is down is spared."""
    cluster = entity % fleet.clusters.shape[0]
    node = choose_node(fleet, state, cluster, uniform(seed, future, entity, c.BURST_NODE, number))
    u = uniform(seed, future, entity, c.BURST_CLASS, number)
    _hit(fleet, state, cluster, node, u, seed, future)


@inner
def _hit(
    fleet: Fleet, state: FleetState, cluster: int, node: int, u: float, seed: int, future: int
) -> None:
    if state.node[node, c.CAUSES] > 0:
        return
    failed = choose_class(fleet, cluster, u)
    if failed == NONE:
        return
    devices = fleet.nodes[node, c.DEVICES]
    at = 0
    if fleet.classes[failed, c.TAKES] == c.DEVICE:
        u = uniform(seed, future, node, c.COMPONENT, state.patient[node, c.ORDINAL])
        at = min(int(u * float(devices)), devices - 1)
    _fault_of_node(fleet, state, node, failed, at, seed, future)


@inner
def _fault_of_node(
    fleet: Fleet, state: FleetState, node: int, failed: int, at: int, seed: int, future: int
) -> None:
    fault(fleet, state, node, failed, at, NONE, seed, future)
    if state.node[node, c.CAUSES] == 0:
        arm_node(fleet, state, node, seed, future)  # it goes on, slow, wrong, or a device short


@inner
def _turn(
    fleet: Fleet, state: FleetState, cluster: int, restless: bool, seed: int, future: int
) -> None:
    """Unrest begins or ends; set when it turns again."""
    row, rates = state.cluster[cluster], fleet.rates[cluster]
    row[c.RESTLESS] = 1 if restless else 0
    row[c.SPELLS] += 1
    mean = rates[c.SPELL_NS]
    if not restless:
        mean = mean * (1.0 - rates[c.UNREST_SHARE]) / rates[c.UNREST_SHARE]
    entity = state.node.shape[0] + cluster
    u = uniform(seed, future, entity, c.SPELL, row[c.SPELLS])
    later(state, state.now[c.TIME] + exponential_ns(u, mean), c.UNREST, cluster, 0)
    if restless:
        row[c.EXTRA_STAMP] += 1
        _next_extra(fleet, state, cluster, seed, future)
    else:
        go_on(fleet, state, cluster, seed, future)


@inner
def _next_extra(fleet: Fleet, state: FleetState, cluster: int, seed: int, future: int) -> None:
    """Set when the next fault, or burst of faults, beyond those of quiet times comes."""
    row, rates = state.cluster[cluster], fleet.rates[cluster]
    share = rates[c.BURST_SHARE]
    starts = 1.0 - share
    if share > 0.0:
        starts += share / rates[c.BURST_MEAN]
    rate = _fleet_rate(fleet, cluster) * _mean_frailty(fleet, state, cluster)
    rate *= rates[c.QUIET] * (rates[c.UNREST_FACTOR] - 1.0) * starts
    if rate <= 0.0:
        return
    u = uniform(seed, future, cluster, c.UNREST_AFTER, row[c.EXTRAS])
    row[c.EXTRAS] += 1
    due = state.now[c.TIME] + exponential_ns(u, 1.0 / rate)
    later(state, due, c.UNREST_FAULT, cluster, row[c.EXTRA_STAMP])


@inner
def _extra(fleet: Fleet, state: FleetState, cluster: int, seed: int, future: int) -> None:
    """A fault or burst of unrest."""
    rates, ordinal = fleet.rates[cluster], state.cluster[cluster, c.EXTRAS]
    share = rates[c.BURST_SHARE]
    u = uniform(seed, future, cluster, c.UNREST_BURST, ordinal)
    bursts = 0.0
    if share > 0.0:
        bursts = share / rates[c.BURST_MEAN]
    if u * (1.0 - share + bursts) < bursts:
        entity = fleet.clusters.shape[0] + cluster
        _spread_burst(fleet, state, cluster, entity, ordinal, seed, future)
    else:
        u = uniform(seed, future, cluster, c.UNREST_NODE, ordinal)
        node = choose_node(fleet, state, cluster, u)
        u = uniform(seed, future, cluster, c.UNREST_CLASS, ordinal)
        _hit(fleet, state, cluster, node, u, seed, future)
    _next_extra(fleet, state, cluster, seed, future)


@inner
def _clock_fires(fleet: Fleet, state: FleetState, clock: int, seed: int, future: int) -> None:
    """A component fails of age, or a domain does."""
    failed, patient = fleet.clocks[clock, c.CLOCK_CLASS], fleet.clocks[clock, c.CLOCK_PATIENT]
    if patient < fleet.nodes.shape[0] and state.node[patient, c.CAUSES] > 0:
        arm_clock(fleet, state, clock, state.now[c.TIME], seed, future)  # mended with the rest
        return
    at = fleet.clocks[clock, c.CLOCK_COMPONENT]
    fault(fleet, state, patient, failed, at, clock, seed, future)


@inner
def _recurs(
    fleet: Fleet, state: FleetState, patient: int, ordinal: int, seed: int, future: int
) -> None:
    """A repair did not hold."""
    row = state.patient[patient]
    if row[c.ORDINAL] != ordinal or row[c.STAGE] != c.WELL:
        return
    if patient >= fleet.nodes.shape[0]:
        fault(fleet, state, patient, row[c.CLASS], row[c.AT], NONE, seed, future)
    elif state.node[patient, c.CAUSES] == 0:
        _fault_of_node(fleet, state, patient, row[c.CLASS], row[c.AT], seed, future)


@inner
def _drain_due(fleet: Fleet, state: FleetState, cluster: int) -> None:
    """Drain the next node in turn, or come back when another one may be out."""
    row, rules = state.cluster[cluster], fleet.clusters[cluster]
    node = rules[c.FIRST_NODE] + row[c.ROUND] % rules[c.NODES]
    wait = rules[c.DRAIN_EVERY] // rules[c.NODES]
    if fleet.nodes[node, c.START] == NEVER_UP or drain(fleet, state, node):
        row[c.ROUND] += 1
    else:
        wait = min(wait, max(rules[c.DRAIN_NS] // 4, 1))
    later(state, state.now[c.TIME] + max(wait, 1), c.DRAIN_DUE, cluster, 0)


@inner
def _is_stale(state: FleetState, at: int) -> bool:
    kind, entity, stamp = state.queue.kind[at], state.queue.entity[at], state.queue.stamp[at]
    if kind == c.NODE_CLOCK:
        return bool(state.node[entity, c.STAMP] != stamp)
    if kind == c.TIMER:
        return bool(state.patient[entity, c.P_STAMP] != stamp)
    if kind == c.CLOCK:
        return bool(state.clock[entity, c.C_STAMP] != stamp)
    if kind == c.UNREST_FAULT:
        row = state.cluster[entity]
        return bool(row[c.RESTLESS] == 0 or row[c.EXTRA_STAMP] != stamp)
    return False


@inner
def next_time(state: FleetState) -> int:
    """When the fleet's next event comes [ns]; FAR_NS when there is none before the horizon."""
    while state.queue.size[0] > 0 and _is_stale(state, 0):
        pop(state.queue)
    return int(state.queue.time_ns[0]) if state.queue.size[0] > 0 else FAR_NS


@inner
def step(fleet: Fleet, state: FleetState, seed: int, future: int) -> int:
    """Let the next event happen; the number of rows in `changes`, or FULL."""
    now = state.now
    now[c.CHANGES] = 0
    at = pop(state.queue)
    if at < 0 or _is_stale(state, at):
        return 0
    kind, entity, stamp = state.queue.kind[at], state.queue.entity[at], state.queue.stamp[at]
    now[c.TIME] = state.queue.time_ns[at]
    if kind == c.NODE_CLOCK:
        cluster = fleet.nodes[entity, c.NODE_CLUSTER]
        u = uniform(seed, future, entity, c.FAILS_CLASS, state.node[entity, c.ARMED] - 1)
        _hit(fleet, state, cluster, entity, u, seed, future)
    elif kind == c.TIMER:
        timer(fleet, state, entity, seed, future)
    elif kind == c.CLOCK:
        _clock_fires(fleet, state, entity, seed, future)
    elif kind == c.RECURS:
        _recurs(fleet, state, entity, stamp, seed, future)
    elif kind == c.PART_COMES:
        part_comes(fleet, state, entity, seed, future)
    elif kind == c.BURST:
        _spread_burst(fleet, state, entity, entity, stamp, seed, future)
        _next_burst(fleet, state, entity, seed, future)
    elif kind == c.MEMBER:
        _member(fleet, state, entity, stamp, seed, future)
    elif kind == c.UNREST:
        _turn(fleet, state, entity, state.cluster[entity, c.RESTLESS] == 0, seed, future)
    elif kind == c.UNREST_FAULT:
        _extra(fleet, state, entity, seed, future)
    else:
        _drain_due(fleet, state, entity)
    return FULL if now[c.FULL] == 1 else int(now[c.CHANGES])


@inner
def _set_right(fleet: Fleet, state: FleetState, hold: Ints, seed: int, future: int) -> None:
    """At time 0 nodes are as they were seen: those that are up or carry pods are well."""
    for node in range(fleet.nodes.shape[0]):
        start, causes = fleet.nodes[node, c.START], state.node[node, c.CAUSES]
        if start == NEVER_UP:
            continue
        if start == STARTS_DOWN and hold[node] == 0 and causes == 0:
            _set_down(fleet, state, node, seed, future)
        elif start == STARTS_UP or hold[node] == 1:
            _set_up(fleet, state, node, seed, future)
        state.now[c.CHANGES] = 0


@inner
def _set_down(fleet: Fleet, state: FleetState, node: int, seed: int, future: int) -> None:
    """A node was seen out of service at time 0, with a class that it may be down with."""
    if state.patient[node, c.STAGE] != c.WELL:
        heal(fleet, state, node, node, seed, future)
    cluster = fleet.nodes[node, c.NODE_CLUSTER]
    failed = _down_class(fleet, cluster, uniform(seed, future, node, c.STARTS_CLASS, 1))
    if failed == NONE:
        _never_up(state, node)
    else:
        _lie_down(fleet, state, node, failed, seed, future)


@inner
def _set_up(fleet: Fleet, state: FleetState, node: int, seed: int, future: int) -> None:
    """A node was seen in service at time 0: what ails it, there or elsewhere, is mended.

    Domains come before nodes.
    """
    nodes, patients = fleet.nodes.shape[0], state.patient.shape[0]
    for index in range(patients):
        patient = nodes + index if index < patients - nodes else index - (patients - nodes)
        if state.node[node, c.CAUSES] > 0 and state.patient[patient, c.STRUCK] == 1:
            heal(fleet, state, patient, node, seed, future)
    if state.patient[node, c.STAGE] != c.WELL:
        heal(fleet, state, node, node, seed, future)


@inner
def _start_counting(fleet: Fleet, state: FleetState) -> None:
    """What happened before time 0 is left out of all tallies."""
    state.now[c.TIME] = 0
    state.now[c.SINCE] = 0
    state.now[c.ENDED] = 0
    state.now[c.FAILURES] = 0
    state.now[c.HIT] = 0
    state.down_ns[:] = 0
    state.tally[:, :] = 0.0
    for node in range(state.node.shape[0]):
        state.node[node, c.FAULTS] = 0
        if state.node[node, c.DOWN_SINCE] != FAR_NS:
            state.node[node, c.DOWN_SINCE] = 0


@inner
def begin(
    fleet: Fleet, state: FleetState, hold: Ints, warm_ns: int, horizon: int, seed: int, future: int
) -> bool:
    """Bring a fleet to time 0, `warm_ns` after its start; False where a table had no room.

    Nodes with `hold` 1 [N] are in service at time 0. Read `node[:, CAUSES]` and `SPEED_NOW`.
    """
    _clear(fleet, state, -warm_ns, horizon)
    for node in range(fleet.nodes.shape[0]):
        draw_frailty(fleet, state, node, seed, future)
        _begin_node(fleet, state, node, seed, future)
        state.now[c.CHANGES] = 0
    for patient in range(fleet.nodes.shape[0], state.patient.shape[0]):
        _begin_domain(fleet, state, patient, seed, future)
        state.now[c.CHANGES] = 0
    for clock in range(fleet.clocks.shape[0]):
        patient = fleet.clocks[clock, c.CLOCK_PATIENT]
        if patient >= fleet.nodes.shape[0] and state.patient[patient, c.STAGE] != c.WELL:
            state.patient[patient, c.MY_CLOCK] = clock
        else:
            first_clock(fleet, state, clock, seed, future)
    for cluster in range(fleet.clusters.shape[0]):
        _begin_cluster(fleet, state, cluster, seed, future)
    while warm_ns > 0 and state.now[c.FULL] == 0 and next_time(state) < 0:
        step(fleet, state, seed, future)
    state.now[c.CHANGES] = 0
    state.now[c.TIME] = 0
    _set_right(fleet, state, hold, seed, future)
    state.now[c.CHANGES] = 0
    _start_counting(fleet, state)
    if warm_ns > 0:
        age_clocks(fleet, state, seed, future)
    return bool(state.now[c.FULL] == 0)


@inner
def end(fleet: Fleet, state: FleetState, horizon: int) -> bool:
    """Close the books at the horizon [ns]: open outages count up to it; False without room."""
    state.now[c.TIME] = horizon
    state.down_ns[state.now[c.DOWN_COUNT]] += horizon - state.now[c.SINCE]
    state.now[c.SINCE] = horizon
    for node in range(fleet.nodes.shape[0]):
        if state.node[node, c.CAUSES] > 0 and state.node[node, c.DOWN_SINCE] != FAR_NS:
            charge_down(fleet, state, node)
    for patient in range(state.patient.shape[0]):
        row = state.patient[patient]
        if row[c.STRUCK] == 1:
            note_outage(state, row[c.CLASS], horizon - row[c.BEGAN], row[c.BEGAN])
    return bool(state.now[c.FULL] == 0)
