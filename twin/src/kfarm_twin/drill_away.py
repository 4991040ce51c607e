"""What the runner does: the API server or the operator is away, in all futures at once.

The fault often strikes in the middle of a first roll-out: pods wait at the gate for a verdict or
for their release, and go on waiting until both are at work again. Times are seconds after the start
of the drill; where a fault has a trigger, after the trigger.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from kfarm_api.drill import RUNNER_ONLY, DrillFault
from kfarm_api.units import parse_duration_ns

from kfarm_twin.arrays import Floats
from kfarm_twin.drill_cluster import Departure
from kfarm_twin.drill_delays import (
    FIRST_VERDICT_S,
    HANG_S,
    RELEASE_RATE,
    RETRY_MOST_S,
    RETRY_S,
    START_SPREAD,
    WATCH_S,
    Delays,
    Draws,
)
from kfarm_twin.drill_floor import Floor, PlanFloor
from kfarm_twin.drill_request import DrillRequest

NS = 1e9
NEVER = np.inf


@dataclass(frozen=True)
class Absence:
    """One fault of the runner: [F] when API server and operator are both at work again."""

    fault: DrillFault
    start: float
    back: Floats


@dataclass(frozen=True)
class Arrival:
    """A plan that is rolled out while the drill is on: [F] when the last of its pods runs."""

    plan: str
    pods: int
    running: Floats


def absences(request: DrillRequest, delays: Delays, draws: Draws) -> list[Absence]:
    """The faults of the runner, in the order of their beginnings."""
    found = []
    for fault in request.drill.spec.faults:
        if fault.action in RUNNER_ONLY:
            start, lasts = _seconds(fault.at), _seconds(fault.duration)
            back = _answered if fault.action == "ApiOutage" else _restarted
            seen = draws.quick(f"back/{fault.name}", *WATCH_S)
            found.append(
                Absence(fault, start, start + back(fault.name, lasts, delays, draws) + seen)
            )
    return sorted(found, key=lambda one: one.start)


def _answered(name: str, lasts: float, delays: Delays, draws: Draws) -> Floats:
    """[F] until an API server that was silent for some time is noticed again.

    What was asked on an open connection is answered at once; who has tried in vain pauses.
    """
    if delays.api_return is not None:
        return np.full(draws.futures, lasts + delays.api_return)
    return lasts + draws.quick(f"return/{name}", 0.0, longest_pause(lasts))


def longest_pause(lasts: float) -> float:
    """Longest pause of a client after an outage [s]: doubled with each attempt that hung."""
    tries = min(int(lasts / HANG_S), 16)
    return min(RETRY_MOST_S, RETRY_S * math.pow(2.0, tries))


def _restarted(name: str, lasts: float, delays: Delays, draws: Draws) -> Floats:
    """[F] until an operator works that is killed whenever it has come back before the end."""
    if delays.operator_start_assumed:
        takes = draws.quick(f"operator/{name}", *delays.operator_start)
    else:
        stated = delays.operator_start[0]
        takes = stated * draws.uniform(f"operator/{name}", *START_SPREAD)
    takes = np.maximum(takes, 1e-3)
    return np.asarray(np.maximum(np.ceil(lasts / takes), 1.0) * takes)


def arrivals(
    request: DrillRequest, floor: Floor, away: Sequence[Absence], delays: Delays, draws: Draws
) -> list[Arrival]:
    """First roll-outs of the drill, held up by what is away."""
    coming = set(request.coming)
    return [
        Arrival(one.name, len(one.slot_node), _rolled_out(request, one, away, delays, draws))
        for one in floor.plans
        if one.name in coming
    ]


def _rolled_out(
    request: DrillRequest, floor: PlanFloor, away: Sequence[Absence], delays: Delays, draws: Draws
) -> Floats:
    """[F] when the last pod of a plan runs; never where the farm has no room for it."""
    if (floor.slot_node < 0).any():
        return np.full(draws.futures, NEVER)
    plan, event = floor.name, _event(request, floor.name)
    verdict = draws.quick(f"first-verdict/{plan}", *FIRST_VERDICT_S)
    write = draws.quick(f"release/{plan}", *WATCH_S)
    judged = event != "Simulating"
    released = write if judged else verdict + write
    if event == "Running":
        released = np.full(draws.futures, -NEVER)
    for one in away:
        held = (released >= one.start) & (released < one.back)
        again = np.zeros(draws.futures) if judged else verdict
        if not judged and one.fault.action == "ApiOutage":  # a run under way goes on meanwhile
            again = verdict * draws.uniform(f"left/{one.fault.name}/{plan}")
        released = np.where(held, one.back + again + write, released)
    return _started(floor, event, released, delays, draws)


def _started(
    floor: PlanFloor, event: str, released: Floats, delays: Delays, draws: Draws
) -> Floats:
    """[F] when the last of those that wait at the gate runs, and they go a few at a time."""
    slots = len(floor.slot_node)
    left = np.full(draws.futures, float(slots))
    if event == "Releasing":
        left = np.floor(draws.uniform(f"waiting/{floor.name}") * slots)
    starts = [
        draws.sampled(
            f"start/{floor.slot_name(slot)}",
            delays.pod_start,
            between=delays.pod_start_assumed,
        )
        for slot in range(slots)
    ]
    rate = draws.uniform(f"rate/{floor.name}", *RELEASE_RATE)
    running = released + left / rate + np.stack(starts).max(axis=0)
    return np.where(left > 0, running, 0.0)


def _event(request: DrillRequest, plan: str) -> str:
    """How far a plan is at the moment from which its drill's times are counted."""
    for fault in request.drill.spec.faults:
        if fault.trigger is not None and fault.trigger.plan == plan:
            return str(fault.trigger.event)
    return "Simulating"


def hold_up(away: Sequence[Absence], departures: Sequence[Departure]) -> None:
    """No verdict and no binding while the API server or the operator is away."""
    for absence in away:
        for one in departures:
            held = (one.replaced > absence.start) & (one.replaced < absence.back)
            late = np.where(held, absence.back - one.replaced, 0.0)
            one.replaced, one.running = one.replaced + late, one.running + late


def nodes_are_missed(away: Sequence[Absence], delays: Delays) -> bool:
    """Whether an outage may last longer than the grace that a node's last heartbeat has."""
    longest = max(
        (_seconds(one.fault.duration) for one in away if one.fault.action == "ApiOutage"),
        default=0.0,
    )
    return longest > 0 and longest + delays.renew + delays.period > delays.grace


def told(away: Sequence[Absence], delays: Delays, *, coming: bool) -> Iterator[str]:
    """What was assumed, in sentences."""
    actions = {one.fault.action for one in away}
    if "OperatorKill" in actions:
        start, assumed = delays.operator_start, delays.operator_start_assumed
        span = (
            f"{start[0]:g} to {start[1]:g} s (assumption; nothing was stated)"
            if assumed
            else f"{start[0] * START_SPREAD[0]:.3g} to {start[0] * START_SPREAD[1]:.3g} s"
        )
        yield f"start of a killed operator until it works: {span}"
    for one in away:
        if one.fault.action == "ApiOutage" and delays.api_return is None:
            pause = longest_pause(_seconds(one.fault.duration))
            yield (
                f"clients pause for {pause:g} s at most after the API server has come back"
                f" ({RETRY_S:g} s, doubled with each {HANG_S:g} s of the outage; assumption)"
            )
    if coming:
        low, high = FIRST_VERDICT_S
        yield f"first verdict on a plan: {low:g} to {high:g} s (assumption, after benchmarks)"


def _seconds(text: str) -> float:
    return parse_duration_ns(text) / NS
