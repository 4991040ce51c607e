"""The repair shop: what a patient goes through from its fault to its return.

detection -> recovery steps (a success ends it) -> part, where one is needed -> crew, in order of
arrival -> hands-on repair in hours of the shift -> quarantine, where it was often here -> back.
A lemon is exchanged instead. See `kfarm_api.reliability` for the fields behind it.
"""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.kernels.fleet_clocks import (
    arm_clock,
    later,
    redraw_frailty,
    renew_clocks,
)
from kfarm_twin.kernels.fleet_columns import NONE, Fleet, FleetState
from kfarm_twin.kernels.fleet_lines import first_of, join, leave_line, shift_end
from kfarm_twin.kernels.fleet_reach import (
    corrupt,
    domain_of,
    end_corruption,
    note_outage,
    slow,
    strike,
    take_down,
    unstrike,
)
from kfarm_twin.kernels.rng import FAR_NS, exponential_ns, uniform
from kfarm_twin.kernels.samplers import LOGNORMAL, span_ns

PPM = 1e-6


@inner
def _timer(state: FleetState, patient: int, stage: int, span: int) -> None:
    state.patient[patient, c.STAGE] = stage
    state.patient[patient, c.P_STAMP] += 1
    if span < FAR_NS:
        time = state.now[c.TIME] + span
        later(state, time, c.TIMER, patient, state.patient[patient, c.P_STAMP])


@inner
def _faults_within(state: FleetState, node: int, span: int) -> int:
    """How many of a node's remembered faults are not older than `span` [ns]."""
    count, slots = 0, state.recent.shape[1]
    for back in range(min(slots, state.node[node, c.RECENT_AT])):
        at = (state.node[node, c.RECENT_AT] - 1 - back) % slots
        if state.now[c.TIME] - state.recent[node, at] > span:
            break
        count += 1
    return count


@inner
def _is_lemon(fleet: Fleet, state: FleetState, patient: int) -> bool:
    if patient >= fleet.nodes.shape[0]:
        return False
    rules = fleet.clusters[fleet.nodes[patient, c.NODE_CLUSTER]]
    if rules[c.LEMON_FAULTS] == 0:
        return False
    return bool(_faults_within(state, patient, rules[c.LEMON_WITHIN]) >= rules[c.LEMON_FAULTS])


@inner
def fault(
    fleet: Fleet, state: FleetState, patient: int, failed: int, at: int, clock: int, seed: int,
    future: int,
) -> None:  # fmt: skip
    """A patient falls ill with a class of failure; one that is ill already is mended of both."""
    row = state.patient[patient]
    if row[c.STAGE] != c.WELL:
        end_corruption(fleet, state, patient, failed)
        _back(fleet, state, patient, seed, future)
    row[c.CLASS] = failed
    row[c.ORDINAL] += 1
    row[c.BEGAN] = state.now[c.TIME]
    row[c.STEP] = 0
    row[c.ATTEMPT] = 0
    row[c.AT] = at
    row[c.MY_CLOCK] = clock
    state.tally[failed, c.EVENTS] += 1.0
    alarm = fleet.classes[failed, c.IS_ALARM] == 1
    if patient < fleet.nodes.shape[0] and not alarm:
        _remember(state, patient)
    effect = fleet.classes[failed, c.EFFECT]
    if effect == c.STOP:
        detection = fleet.classes[failed, c.DETECTION]
        strike(fleet, state, patient, c.ALARM if alarm else c.FAULT, detection)
        _admit(fleet, state, patient, detection, seed, future)
    elif effect == c.SLOW:
        slow(fleet, state, patient, True)
        if fleet.classes[failed, c.EVICT] == 1:
            _go_unseen(fleet, state, patient, seed, future)
        else:
            _timer(state, patient, c.MENDING, _hands_on(fleet, state, patient, seed, future))
    else:
        corrupt(fleet, state, patient, failed)
        _go_unseen(fleet, state, patient, seed, future)


@inner
def _remember(state: FleetState, node: int) -> None:
    row = state.node[node]
    if row[c.FAULTS] == 0:
        state.now[c.HIT] += 1
    row[c.FAULTS] += 1
    state.now[c.FAILURES] += 1
    if state.recent.shape[1] > 0:
        state.recent[node, row[c.RECENT_AT] % state.recent.shape[1]] = state.now[c.TIME]
        row[c.RECENT_AT] += 1


@inner
def _go_unseen(fleet: Fleet, state: FleetState, patient: int, seed: int, future: int) -> None:
    """Until somebody finds it, which takes an exponential time."""
    row = state.patient[patient]
    u = uniform(seed, future, patient, c.FOUND, row[c.ORDINAL])
    mean = float(fleet.classes[row[c.CLASS], c.DETECTION])
    _timer(state, patient, c.SILENT, exponential_ns(u, mean))


@inner
def _hands_on(fleet: Fleet, state: FleetState, patient: int, seed: int, future: int) -> int:
    """Time that the repair itself takes [ns]."""
    row = state.patient[patient]
    u = uniform(seed, future, patient, c.FAILS_REPAIR, row[c.ORDINAL] - 1)
    law = fleet.laws[row[c.CLASS]]
    kind = fleet.classes[row[c.CLASS], c.LAW]
    return span_ns(kind, law[c.MEAN], law[c.SCALE], law[c.REPAIR_SHAPE], u)


@inner
def _admit(
    fleet: Fleet, state: FleetState, patient: int, detection: int, seed: int, future: int
) -> None:
    """What is out of service waits to be found, or is mended within its time to repair."""
    if _is_lemon(fleet, state, patient):
        exchange = fleet.clusters[fleet.nodes[patient, c.NODE_CLUSTER], c.LEMON_NS]
        _timer(state, patient, c.EXCHANGE, detection + exchange)
    elif fleet.classes[state.patient[patient, c.CLASS], c.SIMPLE] == 1:
        _timer(state, patient, c.MENDING, _hands_on(fleet, state, patient, seed, future))
    else:
        _timer(state, patient, c.DETECTING, detection)


@inner
def _try_or_mend(fleet: Fleet, state: FleetState, patient: int, seed: int, future: int) -> None:
    """The next attempt of the recovery steps; when all have failed, the repair."""
    row = state.patient[patient]
    rules = fleet.classes[row[c.CLASS]]
    while row[c.STEP] < rules[c.STEP_COUNT]:
        at = c.STEPS + row[c.STEP] * c.STEP_WIDTH
        if row[c.ATTEMPT] < rules[at + 2]:
            _timer(state, patient, c.RECOVERING, rules[at + 1])
            return
        row[c.STEP] += 1
        row[c.ATTEMPT] = 0
    _need_part(fleet, state, patient, seed, future)


@inner
def _attempted(fleet: Fleet, state: FleetState, patient: int, seed: int, future: int) -> None:
    """An attempt is over: it helped, or the next one begins."""
    row = state.patient[patient]
    at = c.STEPS + row[c.STEP] * c.STEP_WIDTH
    tried = row[c.STEP] * 128 + row[c.ATTEMPT]
    u = uniform(seed, future, patient, c.RECOVERS, row[c.ORDINAL] * 512 + tried)
    state.tally[row[c.CLASS], c.TRIES] += 1.0
    if u < float(fleet.classes[row[c.CLASS], at]) * PPM:
        state.tally[row[c.CLASS], c.HELPED] += 1.0
        mended(fleet, state, patient, seed, future)
        return
    row[c.ATTEMPT] += 1
    _try_or_mend(fleet, state, patient, seed, future)


@inner
def _lead_ns(fleet: Fleet, state: FleetState, failed: int, seed: int, future: int) -> int:
    """Lead time of the next order of a part [ns]."""
    ordinal = state.parts[failed, c.ORDERS]
    state.parts[failed, c.ORDERS] = ordinal + 1
    law = fleet.laws[failed]
    u = uniform(seed, future, failed, c.LEAD, ordinal)
    return span_ns(LOGNORMAL, law[c.LEAD_MEAN], 0.0, law[c.LEAD_SPREAD], u)


@inner
def _need_part(fleet: Fleet, state: FleetState, patient: int, seed: int, future: int) -> None:
    """Take a part from the shelf, which is ordered again, or wait for one."""
    row, now = state.patient[patient], state.now[c.TIME]
    failed = row[c.CLASS]
    share = fleet.laws[failed, c.PART_SHARE]
    row[c.WAITS] = now
    needs = share > 0.0
    if needs:
        needs = uniform(seed, future, patient, c.NEEDS_PART, row[c.ORDINAL]) < share
    if _is_put_off(fleet, state, patient, needs, seed, future):
        cluster = fleet.classes[failed, c.CLASS_CLUSTER]
        row[c.STAGE] = c.PUT_OFF
        row[c.P_STAMP] += 1
        join(state, state.cluster, cluster, c.PUT_OFF_HEAD, c.PUT_OFF_TAIL, patient)
        return
    if not needs:
        _need_crew(fleet, state, patient, seed, future)
        return
    lead = _lead_ns(fleet, state, failed, seed, future)
    if fleet.classes[failed, c.STOCK] == 0:
        _timer(state, patient, c.PART, lead)
        return
    later(state, now + lead, c.PART_COMES, failed, 0)
    if state.parts[failed, c.ON_SHELF] > 0:
        state.parts[failed, c.ON_SHELF] -= 1
        _need_crew(fleet, state, patient, seed, future)
        return
    row[c.STAGE] = c.PART
    row[c.P_STAMP] += 1
    join(state, state.parts, failed, c.P_HEAD, c.P_TAIL, patient)


@inner
def _is_put_off(
    fleet: Fleet, state: FleetState, patient: int, needs_part: bool, seed: int, future: int
) -> bool:
    """Whether a repair is put off to the end of the unrest: one with a part, or any without."""
    row = state.patient[patient]
    failed = row[c.CLASS]
    cluster = fleet.classes[failed, c.CLASS_CLUSTER]
    holds = fleet.rates[cluster, c.HOLDS]
    if holds <= 0.0 or state.cluster[cluster, c.RESTLESS] == 0:
        return False
    if not needs_part:
        no_parts = fleet.laws[failed, c.PART_SHARE] <= 0.0
        if not (no_parts and fleet.classes[failed, c.NEEDS_CREW] == 1):
            return False
    return bool(uniform(seed, future, patient, c.PUTS_OFF, row[c.ORDINAL]) < holds)


@inner
def go_on(fleet: Fleet, state: FleetState, cluster: int, seed: int, future: int) -> None:
    """The unrest is over: what was put off goes on, in the order in which it fell due."""
    patient = first_of(state, state.cluster, cluster, c.PUT_OFF_HEAD)
    while patient != NONE:
        _need_crew(fleet, state, patient, seed, future)
        patient = first_of(state, state.cluster, cluster, c.PUT_OFF_HEAD)


@inner
def part_comes(fleet: Fleet, state: FleetState, failed: int, seed: int, future: int) -> None:
    """An ordered part arrives: for who waits first, or for the shelf."""
    patient = first_of(state, state.parts, failed, c.P_HEAD)
    if patient == NONE:
        state.parts[failed, c.ON_SHELF] += 1
    else:
        _need_crew(fleet, state, patient, seed, future)


@inner
def _need_crew(fleet: Fleet, state: FleetState, patient: int, seed: int, future: int) -> None:
    failed = state.patient[patient, c.CLASS]
    cluster = fleet.classes[failed, c.CLASS_CLUSTER]
    if fleet.classes[failed, c.NEEDS_CREW] == 0:
        _note_wait(state, patient)
        _timer(state, patient, c.MENDING, _hands_on(fleet, state, patient, seed, future))
    elif state.cluster[cluster, c.FREE_CREWS] > 0:
        state.cluster[cluster, c.FREE_CREWS] -= 1
        _mend_with_crew(fleet, state, patient, seed, future)
    else:
        state.patient[patient, c.STAGE] = c.CREW
        state.patient[patient, c.P_STAMP] += 1
        join(state, state.cluster, cluster, c.HEAD, c.TAIL, patient)


@inner
def _note_wait(state: FleetState, patient: int) -> None:
    row = state.patient[patient]
    span = state.now[c.TIME] - max(row[c.WAITS], 0)
    if span > 0:
        state.tally[row[c.CLASS], c.WAIT_NS] += float(span)


@inner
def _mend_with_crew(fleet: Fleet, state: FleetState, patient: int, seed: int, future: int) -> None:
    failed, now = state.patient[patient, c.CLASS], state.now[c.TIME]
    rules = fleet.clusters[fleet.classes[failed, c.CLASS_CLUSTER]]
    _note_wait(state, patient)
    work = _hands_on(fleet, state, patient, seed, future)
    end = shift_end(now, work, rules[c.SHIFT_START], rules[c.SHIFT_NS], rules[c.SHIFT_DAYS])
    _timer(state, patient, c.MENDING, end - now)


@inner
def _has_crew(fleet: Fleet, state: FleetState, patient: int) -> bool:
    failed = state.patient[patient, c.CLASS]
    if failed == NONE or state.patient[patient, c.STAGE] != c.MENDING:
        return False
    return bool(
        fleet.classes[failed, c.NEEDS_CREW] == 1 and state.patient[patient, c.STRUCK] != c.SLOW + 2
    )


@inner
def _free_crew(fleet: Fleet, state: FleetState, cluster: int, seed: int, future: int) -> None:
    patient = first_of(state, state.cluster, cluster, c.HEAD)
    if patient == NONE:
        state.cluster[cluster, c.FREE_CREWS] += 1
    else:
        _mend_with_crew(fleet, state, patient, seed, future)


@inner
def withdraw(fleet: Fleet, state: FleetState, patient: int, seed: int, future: int) -> None:
    """Take a patient out of the shop, wherever it stands."""
    row = state.patient[patient]
    stage, failed = row[c.STAGE], row[c.CLASS]
    if stage == c.CREW:
        cluster = fleet.classes[failed, c.CLASS_CLUSTER]
        leave_line(state, state.cluster, cluster, c.HEAD, c.TAIL, patient)
    elif stage == c.PUT_OFF:
        cluster = fleet.classes[failed, c.CLASS_CLUSTER]
        leave_line(state, state.cluster, cluster, c.PUT_OFF_HEAD, c.PUT_OFF_TAIL, patient)
    elif stage == c.PART and fleet.classes[failed, c.STOCK] > 0:
        leave_line(state, state.parts, failed, c.P_HEAD, c.P_TAIL, patient)
    elif stage == c.DRAINED:
        state.cluster[fleet.nodes[patient, c.NODE_CLUSTER], c.DRAINING] -= 1
    crew = _has_crew(fleet, state, patient)
    row[c.STAGE] = c.WELL
    row[c.P_STAMP] += 1
    if row[c.MY_CLOCK] != NONE:
        arm_clock(fleet, state, row[c.MY_CLOCK], state.now[c.TIME], seed, future)
        row[c.MY_CLOCK] = NONE
    if crew:
        _free_crew(fleet, state, fleet.classes[failed, c.CLASS_CLUSTER], seed, future)


@inner
def _back(fleet: Fleet, state: FleetState, patient: int, seed: int, future: int) -> None:
    """A patient is well again."""
    row = state.patient[patient]
    taken = row[c.STRUCK] == 1
    withdraw(fleet, state, patient, seed, future)
    unstrike(fleet, state, patient, seed, future)
    if taken:
        note_outage(state, row[c.CLASS], state.now[c.TIME] - row[c.BEGAN], row[c.BEGAN])


@inner
def mended(fleet: Fleet, state: FleetState, patient: int, seed: int, future: int) -> None:
    """The repair is over: back, unless a node that is here often is held for a while."""
    row = state.patient[patient]
    failed, ordinal = row[c.CLASS], row[c.ORDINAL]
    share = fleet.laws[failed, c.RECUR_SHARE]
    if share > 0.0 and uniform(seed, future, patient, c.RECURRENCE, ordinal) < share:
        u = uniform(seed, future, patient, c.RECURS_AFTER, ordinal)
        due = state.now[c.TIME] + exponential_ns(u, fleet.laws[failed, c.RECUR_MEAN])
        later(state, due, c.RECURS, patient, ordinal)
    if patient < fleet.nodes.shape[0] and row[c.STRUCK] == 1:
        rules = fleet.clusters[fleet.nodes[patient, c.NODE_CLUSTER]]
        often = rules[c.HOLD_FAULTS]
        alarm = fleet.classes[failed, c.IS_ALARM] == 1
        held = often > 0 and not alarm
        if held and _faults_within(state, patient, rules[c.HOLD_WITHIN]) >= often:
            _hold(fleet, state, patient, rules[c.HOLD_NS], seed, future)
            return
    _back(fleet, state, patient, seed, future)


@inner
def _hold(fleet: Fleet, state: FleetState, patient: int, span: int, seed: int, future: int) -> None:
    """Quarantine; the crew goes on to the next."""
    crew = _has_crew(fleet, state, patient)
    _timer(state, patient, c.HELD, span)
    if crew:
        failed = state.patient[patient, c.CLASS]
        _free_crew(fleet, state, fleet.classes[failed, c.CLASS_CLUSTER], seed, future)


@inner
def timer(fleet: Fleet, state: FleetState, patient: int, seed: int, future: int) -> None:
    """A stage of a patient is over."""
    row = state.patient[patient]
    stage = row[c.STAGE]
    if stage == c.DETECTING:
        _try_or_mend(fleet, state, patient, seed, future)
    elif stage == c.SILENT:
        _found(fleet, state, patient, seed, future)
    elif stage == c.RECOVERING:
        _attempted(fleet, state, patient, seed, future)
    elif stage == c.PART:
        _need_crew(fleet, state, patient, seed, future)
    elif stage == c.MENDING:
        mended(fleet, state, patient, seed, future)
    elif stage == c.EXCHANGE:
        state.node[patient, c.EXCHANGES] += 1
        state.node[patient, c.RECENT_AT] = 0
        row[c.ORDINAL] += 1  # recurrences of the old node are void
        redraw_frailty(fleet, state, patient, seed, future)
        renew_clocks(fleet, state, patient, seed, future)
        _back(fleet, state, patient, seed, future)
    else:
        if stage == c.DRAINED:
            rules = fleet.clusters[fleet.nodes[patient, c.NODE_CLUSTER]]
            if rules[c.DRAIN_RENEWS] == 1:
                renew_clocks(fleet, state, patient, seed, future)
        _back(fleet, state, patient, seed, future)


@inner
def _found(fleet: Fleet, state: FleetState, patient: int, seed: int, future: int) -> None:
    """A slow or corrupting fault is found: out of service it goes."""
    failed = state.patient[patient, c.CLASS]
    detail = c.FOUND_CORRUPT
    if fleet.classes[failed, c.EFFECT] == c.SLOW:
        slow(fleet, state, patient, False)
        detail = c.FAULT
    elif fleet.classes[failed, c.TAKES] == c.RAIL:
        corrupt(fleet, state, patient, NONE)
    state.patient[patient, c.BEGAN] = state.now[c.TIME]
    strike(fleet, state, patient, detail, 0)
    _admit(fleet, state, patient, 0, seed, future)


@inner
def drain(fleet: Fleet, state: FleetState, node: int) -> bool:
    """Take a healthy node out for maintenance; False when it must wait for others to come back."""
    cluster = fleet.nodes[node, c.NODE_CLUSTER]
    rules = fleet.clusters[cluster]
    if state.node[node, c.CAUSES] > 0 or state.patient[node, c.STAGE] != c.WELL:
        return True  # it is being looked after anyway
    if state.cluster[cluster, c.DRAINING] >= rules[c.DRAIN_MOST]:
        return False
    state.cluster[cluster, c.DRAINING] += 1
    row = state.patient[node]
    row[c.CLASS] = NONE
    row[c.ORDINAL] += 1
    row[c.BEGAN] = state.now[c.TIME]
    row[c.STRUCK] = 1
    row[c.MY_CLOCK] = NONE
    take_down(fleet, state, node, NONE, c.DRAIN, 0)
    _timer(state, node, c.DRAINED, rules[c.DRAIN_NS])
    return True


@inner
def heal(fleet: Fleet, state: FleetState, patient: int, node: int, seed: int, future: int) -> None:
    """Undo an outage that takes a node with it, as if it had not been."""
    row = state.patient[patient]
    if patient != node:
        takes = c.NODE if row[c.CLASS] == NONE else fleet.classes[row[c.CLASS], c.TAKES]
        if row[c.STRUCK] != 1 or takes >= c.LEVELS:
            return
        domain = domain_of(fleet, patient, takes)
        if domain == NONE or fleet.nodes[node, takes] != domain:
            return
    withdraw(fleet, state, patient, seed, future)
    unstrike(fleet, state, patient, seed, future)
