"""What is written down while a future is played: its log, and device time lost by cause."""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.arrays import (
    ACCELERATORS,
    LOST,
    LOST_DOWN,
    LOST_REWORK,
    LOST_SLOW,
    LOST_WAITING,
    EventLog,
    Farm,
    State,
)
from kfarm_twin.kernels import unit_columns as u


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


@inner
def _charge(state: State, workload: int, cause: int, failed_class: int, lost_ns: float) -> None:
    tally = state.tally
    tally.lost_ns[cause] += lost_ns
    if workload >= 0:
        tally.workload_lost_ns[workload, cause] += lost_ns
    if failed_class >= 0:
        tally.class_lost_ns[failed_class, cause] += lost_ns


@inner
def charge_devices(state: State, devices: int, failed_class: int, span_ns: int) -> None:
    """Note time that devices were down."""
    lost = float(span_ns) * float(devices)
    state.tally.totals[LOST] += lost
    if failed_class >= 0:
        state.tally.class_down_ns[failed_class] += lost
    _charge(state, -1, LOST_DOWN, failed_class, lost)


@inner
def charge_span(
    farm: Farm, state: State, unit: int, absent: int, cause: int, failed_class: int, span_ns: int
) -> None:
    """Note time in which a unit did no work; of `absent` members as waiting for a node."""
    workload = farm.units.workload[unit]
    need = farm.workloads.need[workload, ACCELERATORS]
    present = farm.units.slots[unit] - absent
    _charge(state, workload, cause, failed_class, float(span_ns) * float(present * need))
    if absent > 0:
        waiting = float(span_ns) * float(absent * need)
        _charge(state, workload, LOST_WAITING, state.units.row[unit, u.BLAMED], waiting)


@inner
def charge_work(farm: Farm, state: State, unit: int, span_ns: int, done_ns: int) -> None:
    """Note what a span of work fell short by: missing members' share as waiting, the rest as slow.

    `done_ns` is the work done by all members in step, as time at full speed.
    """
    workload, missing = farm.units.workload[unit], state.units.row[unit, u.MISSING]
    need, slots = farm.workloads.need[workload, ACCELERATORS], farm.units.slots[unit]
    slow = float(span_ns) * float((slots - missing) * need) - float(done_ns) * float(slots * need)
    if slow > 0.0:
        _charge(state, workload, LOST_SLOW, state.units.row[unit, u.SLOWED_BY], slow)
    if missing > 0:
        waiting = float(span_ns) * float(missing * need)
        _charge(state, workload, LOST_WAITING, state.units.row[unit, u.BLAMED], waiting)


@inner
def blame(farm: Farm, state: State, unit: int, failed_class: int, lost_ns: int) -> None:
    """Charge lost time of a gang's devices to the failure class behind it."""
    workload = farm.units.workload[unit]
    if farm.workloads.gang[workload] == 1 and failed_class >= 0:
        devices = farm.units.slots[unit] * farm.workloads.need[workload, ACCELERATORS]
        state.tally.class_gang_ns[failed_class] += float(lost_ns) * float(devices)


@inner
def charge_rework(farm: Farm, state: State, unit: int, failed_class: int, lost_ns: int) -> None:
    """Note work of a gang that is to be done again."""
    workload = farm.units.workload[unit]
    if farm.workloads.gang[workload] == 0:
        return
    blame(farm, state, unit, failed_class, lost_ns)
    devices = farm.units.slots[unit] * farm.workloads.need[workload, ACCELERATORS]
    lost = float(lost_ns) * float(devices)
    state.tally.totals[LOST] += lost
    _charge(state, workload, LOST_REWORK, failed_class, lost)
