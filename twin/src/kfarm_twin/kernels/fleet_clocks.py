"""When components fall ill: clocks of nodes, of ageing components, of domains.

A clock fires when its integrated hazard reaches a unit-exponential draw. The classes of a node that
do not age share one clock, whose rate is multiplied by the node's frailty and by its stress (a
factor for temperature); while the node is down it stands, and starts anew when it is back.
"""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.kernels.fleet_columns import NONE, Fleet, FleetState
from kfarm_twin.kernels.heap import push
from kfarm_twin.kernels.rng import FAR_NS, exp, ln, uniform
from kfarm_twin.kernels.samplers import WEIBULL, age_at_wear, ages_ns, gamma, power, wear

BOLTZMANN_EV = 8.617333262e-5
"""Boltzmann's constant [eV/K], exact in the SI of 2019 to the digits shown (CODATA 2018)."""
ZERO_C = 273.15


@inner
def later(state: FleetState, time: int, kind: int, entity: int, stamp: int) -> None:
    """An event that is to come, unless it lies beyond the horizon."""
    if time < state.now[c.HORIZON] and not push(state.queue, time, kind, entity, stamp):
        state.now[c.FULL] = 1


@inner
def node_rate(fleet: Fleet, state: FleetState, node: int) -> float:
    """Rate of a node's own clock [1/ns]: what comes in bursts or in unrest is left out of it."""
    rates = fleet.rates[fleet.nodes[node, c.NODE_CLUSTER]]
    alone = rates[c.RATE] * rates[c.QUIET] * (1.0 - rates[c.BURST_SHARE])
    return float(alone * state.hazard[node, c.FRAIL] * state.hazard[node, c.STRESS])


@inner
def _schedule_node(fleet: Fleet, state: FleetState, node: int) -> None:
    row, now = state.node[node], state.now[c.TIME]
    row[c.STAMP] += 1
    row[c.CLOCK_SINCE] = now
    rate = node_rate(fleet, state, node)
    if rate <= 0.0:
        return
    span = state.hazard[node, c.LEFT] / rate
    if span < FAR_NS:
        later(state, now + int(span), c.NODE_CLOCK, node, row[c.STAMP])


@inner
def arm_node(fleet: Fleet, state: FleetState, node: int, seed: int, future: int) -> None:
    """Start the clock of a node that is in service."""
    row = state.node[node]
    state.hazard[node, c.LEFT] = -ln(uniform(seed, future, node, c.FAILS, row[c.ARMED]))
    row[c.ARMED] += 1
    _schedule_node(fleet, state, node)


@inner
def disarm_node(state: FleetState, node: int) -> None:
    """Stop the clock of a node."""
    state.node[node, c.STAMP] += 1


@inner
def _spend(fleet: Fleet, state: FleetState, clock: int) -> float:
    """Unit hazard that a clock has left by now, at the node's present frailty and stress."""
    failed, patient = fleet.clocks[clock, c.CLOCK_CLASS], fleet.clocks[clock, c.CLOCK_PATIENT]
    law, kind = fleet.laws[failed], fleet.classes[failed, c.LIFE]
    before = float(state.clock[clock, c.LIVES])
    age = float(state.now[c.TIME] - state.clock[clock, c.BORN])
    worn = wear(kind, law[c.LIFE_MEAN], law[c.LIFE_SCALE], law[c.LIFE_SHAPE], age)
    worn -= wear(kind, law[c.LIFE_MEAN], law[c.LIFE_SCALE], law[c.LIFE_SHAPE], before)
    return float(state.clock_left[clock] - worn * _factor(fleet, state, patient))


@inner
def _factor(fleet: Fleet, state: FleetState, patient: int) -> float:
    """Frailty times stress of a node; 1 for domains."""
    if patient >= fleet.nodes.shape[0]:
        return 1.0
    return float(state.hazard[patient, c.FRAIL] * state.hazard[patient, c.STRESS])


@inner
def schedule_clock(fleet: Fleet, state: FleetState, clock: int) -> None:
    """Set when a clock fires, from its age now and the unit hazard it has left."""
    row = state.clock[clock]
    failed, patient = fleet.clocks[clock, c.CLOCK_CLASS], fleet.clocks[clock, c.CLOCK_PATIENT]
    law, kind = fleet.laws[failed], fleet.classes[failed, c.LIFE]
    row[c.C_STAMP] += 1
    age = state.now[c.TIME] - row[c.BORN]
    row[c.LIVES] = age
    factor = _factor(fleet, state, patient)
    if factor <= 0.0:
        return
    mean, scale, shape = law[c.LIFE_MEAN], law[c.LIFE_SCALE], law[c.LIFE_SHAPE]
    amount = wear(kind, mean, scale, shape, float(age)) + state.clock_left[clock] / factor
    end = age_at_wear(kind, mean, scale, shape, amount)
    if end < FAR_NS:
        later(state, row[c.BORN] + max(int(end), age), c.CLOCK, clock, row[c.C_STAMP])


@inner
def arm_clock(
    fleet: Fleet, state: FleetState, clock: int, born: int, seed: int, future: int
) -> None:
    """Give a clock a component that was new at `born` [ns]."""
    row = state.clock[clock]
    row[c.BORN] = born
    entity = fleet.nodes.shape[0] + fleet.domains.shape[0] + clock
    state.clock_left[clock] = -ln(uniform(seed, future, entity, c.WEARS, row[c.C_STAMP]))
    schedule_clock(fleet, state, clock)


@inner
def first_clock(fleet: Fleet, state: FleetState, clock: int, seed: int, future: int) -> None:
    """A clock at the start: of the stated age, or of one that a long-running fleet has."""
    failed = fleet.clocks[clock, c.CLOCK_CLASS]
    age = float(fleet.classes[failed, c.AGE])
    if age < 0.0:
        law, entity = fleet.laws[failed], fleet.nodes.shape[0] + fleet.domains.shape[0] + clock
        kind = fleet.classes[failed, c.LIFE]
        mean, scale, shape = law[c.LIFE_MEAN], law[c.LIFE_SCALE], law[c.LIFE_SHAPE]
        age = ages_ns(kind, mean, scale, shape, seed, future, entity, c.AGES)
        if kind == WEIBULL and fleet.clocks[clock, c.CLOCK_PATIENT] < fleet.nodes.shape[0]:
            # A hazard f times as high is that of a Weibull law with its scale divided by f^(1/k).
            patient = fleet.clocks[clock, c.CLOCK_PATIENT]
            age = age * power(state.hazard[patient, c.FRAIL], -1.0 / shape)
        age = min(age, float(FAR_NS // 4))
    arm_clock(fleet, state, clock, state.now[c.TIME] - int(age), seed, future)


@inner
def age_clocks(fleet: Fleet, state: FleetState, seed: int, future: int) -> None:
    """Components whose age is stated are of that age now, but for those under repair."""
    for clock in range(fleet.clocks.shape[0]):
        age = fleet.classes[fleet.clocks[clock, c.CLOCK_CLASS], c.AGE]
        patient = fleet.clocks[clock, c.CLOCK_PATIENT]
        if age >= 0 and state.patient[patient, c.MY_CLOCK] != clock:
            arm_clock(fleet, state, clock, state.now[c.TIME] - age, seed, future)


@inner
def renew_clocks(fleet: Fleet, state: FleetState, node: int, seed: int, future: int) -> None:
    """All components of a node are new."""
    first = fleet.nodes[node, c.FIRST_CLOCK]
    for clock in range(first, first + fleet.nodes[node, c.CLOCKS]):
        arm_clock(fleet, state, clock, state.now[c.TIME], seed, future)


@inner
def stress_at(fleet: Fleet, cluster: int, celsius: float) -> float:
    """Factor on the hazards of a node whose devices are at `celsius` [degC].

    Arrhenius: exp(E / k (1 / T0 - 1 / T)) with temperatures in kelvin and Boltzmann's constant k
    (JEDEC JEP122H, 5.1); or a stated factor per kelvin above the reference T0.
    """
    rates = fleet.rates[cluster]
    if rates[c.STRESS_LAW] == c.NO_STRESS:
        return 1.0
    if rates[c.STRESS_LAW] == c.PER_KELVIN:
        return exp(rates[c.STRESS_SIZE] * (celsius - rates[c.STRESS_AT]))
    here, there = celsius + ZERO_C, rates[c.STRESS_AT] + ZERO_C
    return exp(rates[c.STRESS_SIZE] / BOLTZMANN_EV * (1.0 / there - 1.0 / here))


@inner
def set_stress(fleet: Fleet, state: FleetState, node: int, stress: float) -> None:
    """Multiply the hazards of a node and its components by `stress` from now on."""
    if stress == state.hazard[node, c.STRESS]:
        return
    now, first = state.now[c.TIME], fleet.nodes[node, c.FIRST_CLOCK]
    for clock in range(first, first + fleet.nodes[node, c.CLOCKS]):
        state.clock_left[clock] = max(_spend(fleet, state, clock), 0.0)
    if state.node[node, c.CAUSES] == 0:
        span = float(now - state.node[node, c.CLOCK_SINCE])
        spent = node_rate(fleet, state, node) * span
        state.hazard[node, c.LEFT] = max(state.hazard[node, c.LEFT] - spent, 0.0)
    state.hazard[node, c.STRESS] = stress
    if state.node[node, c.CAUSES] == 0:
        _schedule_node(fleet, state, node)
    for clock in range(first, first + fleet.nodes[node, c.CLOCKS]):
        if clock != state.patient[node, c.MY_CLOCK]:
            schedule_clock(fleet, state, clock)


@inner
def draw_frailty(fleet: Fleet, state: FleetState, node: int, seed: int, future: int) -> None:
    """Frailty of a node as it is now, of mean 1; 1 where nodes are alike."""
    shape = fleet.rates[fleet.nodes[node, c.NODE_CLUSTER], c.SHAPE]
    frail = 1.0
    if shape > 0.0:
        ordinal = state.node[node, c.EXCHANGES]
        frail = gamma(shape, seed, future, node, c.FRAILTY, ordinal) / shape
    state.hazard[node, c.FRAIL] = frail


@inner
def weigh(fleet: Fleet, state: FleetState, cluster: int) -> None:
    """Sum the frailties of a cluster up, so that nodes can be chosen by them."""
    first, total = fleet.clusters[cluster, c.FIRST_NODE], 0.0
    for node in range(first, first + fleet.clusters[cluster, c.NODES]):
        total += state.hazard[node, c.FRAIL]
        state.hazard[node, c.WEIGHT] = total


@inner
def redraw_frailty(fleet: Fleet, state: FleetState, node: int, seed: int, future: int) -> None:
    """Another node stands in the place of this one."""
    cluster = fleet.nodes[node, c.NODE_CLUSTER]
    draw_frailty(fleet, state, node, seed, future)
    if fleet.rates[cluster, c.SHAPE] > 0.0:
        weigh(fleet, state, cluster)


@inner
def choose_node(fleet: Fleet, state: FleetState, cluster: int, u: float) -> int:
    """A node of a cluster, in proportion to frailty."""
    low = fleet.clusters[cluster, c.FIRST_NODE]
    high = low + fleet.clusters[cluster, c.NODES] - 1
    wanted = u * state.hazard[high, c.WEIGHT]
    while low < high:
        middle = (low + high) // 2
        if state.hazard[middle, c.WEIGHT] > wanted:
            high = middle
        else:
            low = middle + 1
    return int(low)


@inner
def choose_class(fleet: Fleet, cluster: int, u: float) -> int:
    """A class of those that nodes share a clock for, in proportion to rate; NONE without any."""
    first, count = fleet.clusters[cluster, c.FIRST_CLASS], fleet.clusters[cluster, c.POOLED]
    for failed in range(first, first + count - 1):
        if u < fleet.laws[failed, c.SHARE]:
            return int(failed)
    return int(first + count - 1) if count > 0 else NONE
