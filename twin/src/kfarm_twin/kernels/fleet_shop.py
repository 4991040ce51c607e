"""The repair shop: what a patient goes through from its fault to its return.

detection -> recovery steps (a success ends it) -> part, where one is needed -> crew, in order of
arrival -> hands-on repair in hours of the shift -> quarantine, where it was often here -> back.
A lemon is exchanged instead. See `kfarm_api.reliability` for the fields behind it.
"""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.arrays import Ints
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.kernels.fleet_clocks import (
    arm_clock,
    arm_node,
    disarm_node,
    later,
    redraw_frailty,
    renew_clocks,
)
from kfarm_twin.kernels.fleet_columns import NONE, Fleet, FleetState
from kfarm_twin.kernels.rng import FAR_NS, exponential_ns, uniform
from kfarm_twin.kernels.samplers import LOGNORMAL, span_ns

PPM = 1e-6


@inner
def shift_end(now: int, work: int, start: int, span: int, days: int) -> int:
    """When `work` [ns] that goes on only in shifts is done: the first time at which it is.

    A shift lasts `span` [ns] from `start` [ns after midnight] on the first `days` days of a week;
    time 0 is midnight of the first day. Times may be negative.
    """
    if work <= 0 or (span == c.DAY_NS and days == 7):
        return int(now + max(work, 0))
    if work >= FAR_NS // 64:
        return FAR_NS
    day = now % c.WEEK_NS // c.DAY_NS
    done = (now // c.WEEK_NS * days + min(day, days)) * span
    if day < days:
        done += min(max(now % c.DAY_NS - start, 0), span)
    last = done + work - 1
    shifts = last // span
    return int(shifts // days * c.WEEK_NS + shifts % days * c.DAY_NS + start + last % span + 1)


@inner
def emit(state: FleetState, what: int, node: int, failed: int, detail: int, detection: int) -> None:
    """Tell whoever drives the fleet; there is room for all nodes to change twice in one event."""
    row = state.now[c.CHANGES]
    if row >= state.changes.shape[0]:
        state.now[c.FULL] = 1
        return
    state.changes[row, 0] = what
    state.changes[row, 1] = node
    state.changes[row, 2] = failed
    state.changes[row, 3] = detail
    state.changes[row, 4] = detection
    state.now[c.CHANGES] = row + 1


@inner
def _timer(state: FleetState, patient: int, stage: int, span: int) -> None:
    state.patient[patient, c.STAGE] = stage
    state.patient[patient, c.P_STAMP] += 1
    if span < FAR_NS:
        time = state.now[c.TIME] + span
        later(state, time, c.TIMER, patient, state.patient[patient, c.P_STAMP])


@inner
def _count_down(state: FleetState, change: int) -> None:
    now = state.now
    state.down_ns[now[c.DOWN_COUNT]] += now[c.TIME] - now[c.SINCE]
    now[c.SINCE] = now[c.TIME]
    now[c.DOWN_COUNT] += change


@inner
def _down(
    fleet: Fleet, state: FleetState, node: int, failed: int, detail: int, detection: int
) -> None:
    """One cause more for a node to be out of service."""
    row = state.node[node]
    row[c.CAUSES] += 1
    if row[c.CAUSES] > 1:
        return
    disarm_node(state, node)
    row[c.DOWN_SINCE] = state.now[c.TIME]
    row[c.BLAME] = failed
    _count_down(state, 1)
    emit(state, c.WENT_DOWN, node, failed, detail, detection)


@inner
def _up(fleet: Fleet, state: FleetState, node: int, seed: int, future: int) -> None:
    row = state.node[node]
    row[c.CAUSES] -= 1
    if row[c.CAUSES] > 0:
        return
    charge_down(fleet, state, node)
    _count_down(state, -1)
    emit(state, c.CAME_UP, node, row[c.BLAME], 0, 0)
    arm_node(fleet, state, node, seed, future)


@inner
def charge_down(fleet: Fleet, state: FleetState, node: int) -> None:
    """Book the device time that a node has been down to the class to blame."""
    row = state.node[node]
    span = float(state.now[c.TIME] - row[c.DOWN_SINCE]) * float(fleet.nodes[node, c.DEVICES])
    state.tally[row[c.BLAME], c.DOWN_NS] += span
    row[c.DOWN_SINCE] = state.now[c.TIME]


@inner
def _level(fleet: Fleet, takes: int) -> int:
    return c.UNIT if takes == c.RAIL else takes


@inner
def _domain(fleet: Fleet, patient: int, level: int) -> int:
    """Domain that a patient takes down, or NONE where its cluster describes none."""
    nodes = fleet.nodes.shape[0]
    if patient < nodes:
        return int(fleet.nodes[patient, level])
    return int(fleet.domains[patient - nodes, c.DOMAIN])


@inner
def tell_speed(fleet: Fleet, state: FleetState, node: int, failed: int) -> None:
    """Say a node's speed where it changed: the slowest of its causes, less the rails lost."""
    row = state.node[node]
    rails = fleet.nodes[node, c.DEVICES]
    speed = min(row[c.OWN_PPM], row[c.DOMAIN_PPM])
    speed = speed * max(rails - row[c.RAILS_LOST], 0) // rails
    if speed != row[c.SPEED_NOW]:
        row[c.SPEED_NOW] = speed
        emit(state, c.SPEED, node, failed, speed, 0)


@inner
def _slowest_domain(fleet: Fleet, state: FleetState, node: int) -> int:
    """Least speed that those who slow a domain of a node leave it [ppm]."""
    slowest = c.FULL_PPM
    for patient in range(state.patient.shape[0]):
        if state.patient[patient, c.STRUCK] != c.SLOW + 2:
            continue
        failed = state.patient[patient, c.CLASS]
        takes = fleet.classes[failed, c.TAKES]
        if takes in (c.DEVICE, c.NODE):
            continue
        level = _level(fleet, takes)
        domain = _domain(fleet, patient, level)
        if domain != NONE and fleet.nodes[node, level] == domain:
            slowest = min(slowest, fleet.classes[failed, c.PPM])
    return int(slowest)


@inner
def _slow(fleet: Fleet, state: FleetState, patient: int, on: bool) -> None:
    """Let what a patient takes run slowly, or at full speed again."""
    failed = state.patient[patient, c.CLASS]
    state.patient[patient, c.STRUCK] = c.SLOW + 2 if on else 0
    takes = fleet.classes[failed, c.TAKES]
    level, domain = _level(fleet, takes), NONE
    if takes not in (c.DEVICE, c.NODE):
        domain = _domain(fleet, patient, level)
    if domain == NONE:
        state.node[patient, c.OWN_PPM] = fleet.classes[failed, c.PPM] if on else c.FULL_PPM
        tell_speed(fleet, state, patient, failed)
        return
    for at in range(fleet.first[level, domain], fleet.first[level, domain + 1]):
        node = fleet.members[level, at]
        state.node[node, c.DOMAIN_PPM] = _slowest_domain(fleet, state, node)
        tell_speed(fleet, state, node, failed)


@inner
def strike(fleet: Fleet, state: FleetState, patient: int, detail: int, detection: int) -> None:
    """Take out of service what a patient takes with it."""
    failed = state.patient[patient, c.CLASS]
    takes = fleet.classes[failed, c.TAKES]
    state.patient[patient, c.STRUCK] = 1
    if takes == c.DEVICE:
        emit(state, c.LOST_DEVICE, patient, failed, state.patient[patient, c.AT], detection)
        return
    if takes == c.NODE:
        _down(fleet, state, patient, failed, detail, detection)
        return
    level = _level(fleet, takes)
    domain = _domain(fleet, patient, level)
    if domain == NONE:
        _down(fleet, state, patient, failed, detail, detection)
        return
    for at in range(fleet.first[level, domain], fleet.first[level, domain + 1]):
        node = fleet.members[level, at]
        if takes == c.RAIL:
            state.node[node, c.RAILS_LOST] += 1
            tell_speed(fleet, state, node, failed)
            emit(state, c.INTERRUPTED, node, failed, 0, detection)
        else:
            _down(fleet, state, node, failed, detail, detection)


@inner
def _unstrike(fleet: Fleet, state: FleetState, patient: int, seed: int, future: int) -> None:
    """Give back what a patient took."""
    struck, failed = state.patient[patient, c.STRUCK], state.patient[patient, c.CLASS]
    if struck == 0:
        return
    if struck == c.SLOW + 2:
        _slow(fleet, state, patient, False)
        return
    state.patient[patient, c.STRUCK] = 0
    takes = c.NODE if failed == NONE else fleet.classes[failed, c.TAKES]
    if takes == c.DEVICE:
        emit(state, c.GOT_DEVICE, patient, failed, state.patient[patient, c.AT], 0)
        return
    level, domain = _level(fleet, takes), NONE
    if takes != c.NODE:
        domain = _domain(fleet, patient, level)
    if domain == NONE:
        _up(fleet, state, patient, seed, future)
        return
    for at in range(fleet.first[level, domain], fleet.first[level, domain + 1]):
        node = fleet.members[level, at]
        if takes == c.RAIL:
            state.node[node, c.RAILS_LOST] -= 1
            tell_speed(fleet, state, node, failed)
        else:
            _up(fleet, state, node, seed, future)


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
        _end_corruption(fleet, state, patient, failed)
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
        _slow(fleet, state, patient, True)
        if fleet.classes[failed, c.EVICT] == 1:
            _go_unseen(fleet, state, patient, seed, future)
        else:
            _timer(state, patient, c.MENDING, _hands_on(fleet, state, patient, seed, future))
    else:
        _corrupt(fleet, state, patient, failed)
        _go_unseen(fleet, state, patient, seed, future)


@inner
def _corrupt(fleet: Fleet, state: FleetState, patient: int, failed: int) -> None:
    """What a node, or each of a domain, computes from now on is wrong; right with class NONE."""
    if patient < fleet.nodes.shape[0]:
        emit(state, c.CORRUPTED, patient, failed, 0, 0)
        return
    level = _level(fleet, fleet.classes[state.patient[patient, c.CLASS], c.TAKES])
    domain = _domain(fleet, patient, level)
    for at in range(fleet.first[level, domain], fleet.first[level, domain + 1]):
        emit(state, c.CORRUPTED, fleet.members[level, at], failed, 0, 0)


@inner
def _end_corruption(fleet: Fleet, state: FleetState, patient: int, failed: int) -> None:
    """A fault that is not silent as well lets a silent one of the same patient be found."""
    row = state.patient[patient]
    if row[c.STAGE] != c.SILENT or fleet.classes[failed, c.EFFECT] == c.CORRUPT:
        return
    if fleet.classes[row[c.CLASS], c.EFFECT] == c.CORRUPT:
        _corrupt(fleet, state, patient, NONE)


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
    patient = _first_of(state, state.cluster, cluster, c.PUT_OFF_HEAD)
    while patient != NONE:
        _need_crew(fleet, state, patient, seed, future)
        patient = _first_of(state, state.cluster, cluster, c.PUT_OFF_HEAD)


@inner
def join(state: FleetState, lists: Ints, which: int, head: int, tail: int, patient: int) -> None:
    """Stand at the end of a line."""
    state.patient[patient, c.NEXT] = NONE
    if lists[which, head] == NONE:
        lists[which, head] = patient
    else:
        state.patient[lists[which, tail], c.NEXT] = patient
    lists[which, tail] = patient


@inner
def _first_of(state: FleetState, lists: Ints, which: int, head: int) -> int:
    """Who stands first in a line leaves it; NONE when it is empty."""
    patient = lists[which, head]
    if patient != NONE:
        lists[which, head] = state.patient[patient, c.NEXT]
    return int(patient)


@inner
def _leave_line(
    state: FleetState, lists: Ints, which: int, head: int, tail: int, patient: int
) -> None:
    """Somebody anywhere in a line leaves it."""
    at, before = lists[which, head], NONE
    while at not in (NONE, patient):
        before = at
        at = state.patient[at, c.NEXT]
    if at == NONE:
        return
    after = state.patient[patient, c.NEXT]
    if before == NONE:
        lists[which, head] = after
    else:
        state.patient[before, c.NEXT] = after
    if after == NONE:
        lists[which, tail] = before


@inner
def part_comes(fleet: Fleet, state: FleetState, failed: int, seed: int, future: int) -> None:
    """An ordered part arrives: for who waits first, or for the shelf."""
    patient = _first_of(state, state.parts, failed, c.P_HEAD)
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
    patient = _first_of(state, state.cluster, cluster, c.HEAD)
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
        _leave_line(state, state.cluster, cluster, c.HEAD, c.TAIL, patient)
    elif stage == c.PUT_OFF:
        cluster = fleet.classes[failed, c.CLASS_CLUSTER]
        _leave_line(state, state.cluster, cluster, c.PUT_OFF_HEAD, c.PUT_OFF_TAIL, patient)
    elif stage == c.PART and fleet.classes[failed, c.STOCK] > 0:
        _leave_line(state, state.parts, failed, c.P_HEAD, c.P_TAIL, patient)
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
    _unstrike(fleet, state, patient, seed, future)
    if taken:
        note_outage(state, row[c.CLASS], state.now[c.TIME] - row[c.BEGAN], row[c.BEGAN])


@inner
def note_outage(state: FleetState, failed: int, span: int, began: int) -> None:
    """Keep the length of an outage that began in the future."""
    if began < 0:
        return
    row = state.now[c.ENDED]
    if row >= state.outages.shape[0]:
        state.now[c.FULL] = 1
        return
    state.outages[row] = span
    state.now[c.ENDED] = row + 1
    state.tally[failed, c.OUTAGES] += 1.0


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
        _slow(fleet, state, patient, False)
        detail = c.FAULT
    elif fleet.classes[failed, c.TAKES] == c.RAIL:
        _corrupt(fleet, state, patient, NONE)
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
    _down(fleet, state, node, NONE, c.DRAIN, 0)
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
        domain = _domain(fleet, patient, takes)
        if domain == NONE or fleet.nodes[node, takes] != domain:
            return
    withdraw(fleet, state, patient, seed, future)
    _unstrike(fleet, state, patient, seed, future)
