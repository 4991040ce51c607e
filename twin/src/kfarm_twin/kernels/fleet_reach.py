"""How far a failure reaches: nodes out of service, devices lost, speeds, silent corruption.

Each change is told to whoever drives the fleet, as a row of `FleetState.changes`.
"""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.kernels.fleet_clocks import arm_node, disarm_node
from kfarm_twin.kernels.fleet_columns import NONE, Fleet, FleetState


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
def _count_down(state: FleetState, change: int) -> None:
    now = state.now
    state.down_ns[now[c.DOWN_COUNT]] += now[c.TIME] - now[c.SINCE]
    now[c.SINCE] = now[c.TIME]
    now[c.DOWN_COUNT] += change


@inner
def take_down(
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
def give_back(fleet: Fleet, state: FleetState, node: int, seed: int, future: int) -> None:
    """One cause less for a node to be out of service."""
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
def level_of(fleet: Fleet, takes: int) -> int:
    """Level whose domain goes down: rails are of scalable units."""
    return c.UNIT if takes == c.RAIL else takes


@inner
def domain_of(fleet: Fleet, patient: int, level: int) -> int:
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
        level = level_of(fleet, takes)
        domain = domain_of(fleet, patient, level)
        if domain != NONE and fleet.nodes[node, level] == domain:
            slowest = min(slowest, fleet.classes[failed, c.PPM])
    return int(slowest)


@inner
def slow(fleet: Fleet, state: FleetState, patient: int, on: bool) -> None:
    """Let what a patient takes run slowly, or at full speed again."""
    failed = state.patient[patient, c.CLASS]
    state.patient[patient, c.STRUCK] = c.SLOW + 2 if on else 0
    takes = fleet.classes[failed, c.TAKES]
    level, domain = level_of(fleet, takes), NONE
    if takes not in (c.DEVICE, c.NODE):
        domain = domain_of(fleet, patient, level)
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
        take_down(fleet, state, patient, failed, detail, detection)
        return
    level = level_of(fleet, takes)
    domain = domain_of(fleet, patient, level)
    if domain == NONE:
        take_down(fleet, state, patient, failed, detail, detection)
        return
    for at in range(fleet.first[level, domain], fleet.first[level, domain + 1]):
        node = fleet.members[level, at]
        if takes == c.RAIL:
            state.node[node, c.RAILS_LOST] += 1
            tell_speed(fleet, state, node, failed)
            emit(state, c.INTERRUPTED, node, failed, 0, detection)
        else:
            take_down(fleet, state, node, failed, detail, detection)


@inner
def unstrike(fleet: Fleet, state: FleetState, patient: int, seed: int, future: int) -> None:
    """Give back what a patient took."""
    struck, failed = state.patient[patient, c.STRUCK], state.patient[patient, c.CLASS]
    if struck == 0:
        return
    if struck == c.SLOW + 2:
        slow(fleet, state, patient, False)
        return
    state.patient[patient, c.STRUCK] = 0
    takes = c.NODE if failed == NONE else fleet.classes[failed, c.TAKES]
    if takes == c.DEVICE:
        emit(state, c.GOT_DEVICE, patient, failed, state.patient[patient, c.AT], 0)
        return
    level, domain = level_of(fleet, takes), NONE
    if takes != c.NODE:
        domain = domain_of(fleet, patient, level)
    if domain == NONE:
        give_back(fleet, state, patient, seed, future)
        return
    for at in range(fleet.first[level, domain], fleet.first[level, domain + 1]):
        node = fleet.members[level, at]
        if takes == c.RAIL:
            state.node[node, c.RAILS_LOST] -= 1
            tell_speed(fleet, state, node, failed)
        else:
            give_back(fleet, state, node, seed, future)


@inner
def corrupt(fleet: Fleet, state: FleetState, patient: int, failed: int) -> None:
    """What a node, or each of a domain, computes from now on is wrong; right with class NONE."""
    if patient < fleet.nodes.shape[0]:
        emit(state, c.CORRUPTED, patient, failed, 0, 0)
        return
    level = level_of(fleet, fleet.classes[state.patient[patient, c.CLASS], c.TAKES])
    domain = domain_of(fleet, patient, level)
    for at in range(fleet.first[level, domain], fleet.first[level, domain + 1]):
        emit(state, c.CORRUPTED, fleet.members[level, at], failed, 0, 0)


@inner
def end_corruption(fleet: Fleet, state: FleetState, patient: int, failed: int) -> None:
    """A fault that is not silent as well lets a silent one of the same patient be found."""
    row = state.patient[patient]
    if row[c.STAGE] != c.SILENT or fleet.classes[failed, c.EFFECT] == c.CORRUPT:
        return
    if fleet.classes[row[c.CLASS], c.EFFECT] == c.CORRUPT:
        corrupt(fleet, state, patient, NONE)


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
