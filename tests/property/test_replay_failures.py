"""With failures the farm driver agrees with the plain reference to the last event."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from kfarm_api.reliability import Reliability
from kfarm_twin.disciplines import Backfill, Level, Order, Placement
from kfarm_twin.fleet_classes import plain_cluster
from kfarm_twin.fleet_record import FleetRecord, record
from kfarm_twin.fleet_tables import CompiledFleet, compile_fleet
from kfarm_twin.jobs import Jobs
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.reliability import own_mode
from kfarm_twin.replay import Discipline, Replay, Shape, replay
from kfarm_twin.replay_failures import FailureAccount, Failures
from naive_failing import FailingFarm

HOUR = 3_600_000_000_000
DEVICES = 4
NAMED = [Placement.FIRST_FIT, Placement.BEST_FIT, Placement.SPREAD, Placement.RANDOM]
WORDS = {
    c.CAME_UP: "up",
    c.LOST_DEVICE: "lose",
    c.GOT_DEVICE: "get",
    c.SPEED: "speed",
    c.CORRUPTED: "corrupt",
    c.INTERRUPTED: "interrupt",
}
DOWN_WORDS = {c.FAULT: "down", c.ALARM: "down", c.DRAIN: "drain", c.FOUND_CORRUPT: "found"}
ACTIONS = ["down", "down", "drain", "found", "up", "up", "lose", "get", "slow", "full", "corrupt",
           "interrupt"]  # fmt: skip

often = settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


@st.composite
def job_lists(draw: Any, most: int = 30) -> list[dict[str, int]]:
    """Jobs that crowd a small farm; many at one instant, some past their limits."""
    priorities = draw(st.sampled_from([1, 1, 3]))
    jobs, now = [], 0
    for _ in range(draw(st.sampled_from([2, most // 3, most]))):
        now += draw(st.sampled_from([0, 0, 0, 1, 2, 5]))
        run = draw(st.integers(1, 30))
        jobs.append(
            {
                "submit": now,
                "run": run,
                "limit": max(run + draw(st.sampled_from([0, 0, 3, 30, -10])), 0),
                "pods": draw(st.sampled_from([1, 1, 1, 2, 3, 5, 8])),
                "gpus": draw(st.sampled_from([0, 1, 1, 2, 3, 4, 4])),
                "milli": 1000,
                "priority": draw(st.integers(0, priorities - 1)),
            }
        )
    return jobs


def as_columns(jobs: list[dict[str, int]]) -> Jobs:
    def column(name: str) -> Any:
        return np.array([job[name] for job in jobs], np.int64)

    nothing = np.zeros(len(jobs), np.int64)
    rest = [nothing, nothing, column("priority"), nothing, nothing]
    names = ("submit", "run", "limit", "pods", "gpus", "milli")
    return Jobs(*(column(name) for name in names), *rest)


@st.composite
def event_rows(draw: Any, nodes: int) -> list[tuple[int, int, int, int, int, int]]:
    """What may happen to nodes, in an order that makes sense."""
    rows: list[tuple[int, int, int, int, int, int]] = []
    down, lost, corrupt = set[int](), [0] * nodes, set[int]()
    now = 0
    for _ in range(draw(st.integers(0, 40))):
        now += draw(st.sampled_from([0, 0, 1, 1, 2, 5]))
        node, action = draw(st.integers(0, nodes - 1)), draw(st.sampled_from(ACTIONS))
        found = draw(st.sampled_from([0, 0, 1, 4]))
        detail, what = 0, c.WENT_DOWN
        if action in ("down", "drain", "found"):
            if node in down or (action == "found" and node not in corrupt):
                continue
            down.add(node)
            corrupt.discard(node)
            detail = {"down": c.FAULT, "drain": c.DRAIN, "found": c.FOUND_CORRUPT}[action]
        elif action == "up":
            if node not in down:
                continue
            down.discard(node)
            what = c.CAME_UP
        elif action in ("lose", "get"):
            if (lost[node] == 0) if action == "get" else (lost[node] == DEVICES):
                continue
            lost[node] += 1 if action == "lose" else -1
            what, detail = c.LOST_DEVICE, draw(st.integers(0, DEVICES - 1))
            what = what if action == "lose" else c.GOT_DEVICE
        elif action in ("slow", "full"):
            what = c.SPEED
            detail = draw(st.sampled_from([0, 333_333, 500_000])) if action == "slow" else 1_000_000
        elif action == "corrupt":
            if node in down or node in corrupt:
                continue
            corrupt.add(node)
            what = c.CORRUPTED
        else:
            what = c.INTERRUPTED
        rows.append((now, what, node, -1, detail, found))
    rows += [(now + 50, c.CAME_UP, node, -1, 0, 0) for node in sorted(down)]
    return rows


@cache
def fleet_of(nodes: int, racks: tuple[int, int], kind: str = "none") -> CompiledFleet:
    per_rack, per_unit = racks
    classes = {"none": QUIET, "stop": STOPS, "all": ALL}[kind]
    reliability = Reliability.model_validate(classes)
    modes = [own_mode(own) for own in reliability.classes]
    sizes = {"per_rack": per_rack or per_unit or nodes, "per_unit": per_unit}
    return compile_fleet([plain_cluster(modes, reliability, nodes, DEVICES, **sizes)])


def failure(name: str, rate: str, mean: str, **more: Any) -> dict[str, Any]:
    each = "failuresPer1000Days" if more.get("per") in ("Rack", "Leaf") else None
    each = each or "failuresPer1000NodeDays"
    return {"name": name, each: rate, "meanTimeToRepair": mean, **more}


QUIET = {"classes": [failure("none", "0.000001", "1h")]}
STOPS = {"classes": [failure("board", "600", "5h")], "detection": "30m"}
ALL = {
    "classes": [
        failure("board", "300", "4h"),
        failure("gpu", "900", "6h", per="Device", takes="Device", detection="10m"),
        failure("slow", "300", "5h", effect="Slow", speed=40),
        failure("crawl", "300", "5h", effect="Slow", speed=20, evict=True, detection="2h"),
        failure("sdc", "500", "3h", effect="Corrupt", detection="4h"),
        failure("busbar", "300", "2h", per="Rack", takes="Rack"),
        failure("leaf", "500", "2h", per="Leaf", detection="5m"),
        failure(
            "driver", "500", "3h",
            recovery=[{"action": "Retry", "success": 50, "time": "5m", "attempts": 2}],
            repair={"distribution": "Fixed", "crew": True},
        ),
    ],
    "crews": {"count": 1},
    "drains": {"every": "100h", "duration": "2h"},
    "falseAlarms": {"per1000NodeDays": "200", "check": "30m"},
    "detection": "7m",
}  # fmt: skip


def events_of(rows: Any) -> list[tuple[int, str, int, int, int]]:
    """The record in the words of the plain reference."""
    return [
        (
            int(time),
            DOWN_WORDS[int(detail)] if what == c.WENT_DOWN else WORDS[int(what)],
            int(node),
            int(detail),
            int(found),
        )
        for time, what, node, _, detail, found in rows
    ]


def both(
    jobs: list[dict[str, int]],
    shape: Shape,
    discipline: Discipline,
    told: FleetRecord,
    saves: tuple[list[int] | None, int, int],
    seed: int = 0,
) -> Replay:
    """Play on both sides and compare each start, end, stop, and all that was spent."""
    interval, save, restart = saves
    every = None if interval is None else np.array(interval, np.int64)
    found = replay(
        as_columns(jobs), shape, discipline, seed=seed,
        failures=Failures(told, every, save, restart),
    )  # fmt: skip
    preferred = discipline.preferred
    plain = FailingFarm(
        jobs,
        events=events_of(told.rows),
        interval=interval,
        save=save,
        until=told.until_ns,
        nodes=shape.nodes,
        devices=shape.gpus_per_node,
        rack=shape.nodes_per_rack,
        unit=shape.nodes_per_unit,
        order=str(discipline.order),
        backfill=str(discipline.backfill),
        placement=str(discipline.placement),
        required=str(discipline.required),
        preferred=str(preferred) if preferred is not None else None,
        restart=restart,
        seed=seed,
    ).run()
    ended = sum(end >= 0 for end in plain.end)
    event(f"stopped: {min(sum(plain.hit), 5)}, preempted: {min(sum(plain.stops), 1)}")
    event(f"all ended: {ended == len(jobs)}")
    assert found.start_ns.tolist() == plain.start
    assert found.end_ns.tolist() == plain.end
    assert found.preemptions.tolist() == plain.stops
    given = found.failures
    assert given is not None
    assert given.interruptions.tolist() == plain.hit
    assert sum(given.by_class.values()) == given.stops
    compare_spent(given, plain, len(jobs))
    return found


def compare_spent(given: FailureAccount, plain: FailingFarm, jobs: int) -> None:
    """Device times; the driver books full nanoseconds of work, and microseconds of detection."""
    spent = {name: float(value) / 1e9 for name, value in plain.spent.items()}
    retained = float(plain.retained()) / 1e9
    room = 1e-9 * DEVICES * 16 * (1 + given.stops) * 1000 + 1e-9 * spent["held"]
    assert given.span_s == pytest.approx(plain.now / 1e9)
    assert given.retained_s == pytest.approx(retained, rel=1e-12)
    for name in ("rework", "saves", "restart", "detection", "down"):
        assert given.lost_s[name] == pytest.approx(spent[name], abs=room), name
    assert given.held_s == pytest.approx(spent["held"] + spent["detection"], abs=room)
    lost = sum(value for name, value in given.lost_s.items() if name != "down")
    assert given.held_s == pytest.approx(given.retained_s + lost)


savings = st.sampled_from([(None, 0), (3, 0), (3, 1), (7, 2), (100, 5), (1, 1)])


@often
@given(
    jobs=job_lists(),
    nodes=st.integers(2, 9),
    order=st.sampled_from(Order),
    backfill=st.sampled_from([Backfill.NONE, Backfill.EASY, Backfill.EASY]),
    placement=st.sampled_from(NAMED),
    required=st.sampled_from(Level),
    preferred=st.none() | st.sampled_from(Level),
    racks=st.sampled_from([(0, 0), (2, 4), (3, 6), (3, 0), (0, 5)]),
    saving=savings,
    data=st.data(),
)
def test_any_events_as_the_reference(
    jobs: Any,
    nodes: int,
    order: Order,
    backfill: Backfill,
    placement: Placement,
    required: Level,
    preferred: Level | None,
    racks: tuple[int, int],
    saving: tuple[int | None, int],
    data: Any,
) -> None:
    rows = data.draw(event_rows(nodes))
    until = data.draw(st.sampled_from([400, 1000, 40]))
    restart = data.draw(st.sampled_from([0, 0, 3]))
    every = None if saving[0] is None else [saving[0]] * len(jobs)
    rows = np.array([row for row in rows if row[0] <= until], np.int64).reshape(-1, 6)
    told = FleetRecord(fleet_of(nodes, (0, 0)), rows, until)
    discipline = Discipline(order, backfill, placement, required, preferred)
    seed = data.draw(st.integers(0, 3))
    both(jobs, Shape(nodes, DEVICES, *racks), discipline, told, (every, saving[1], restart), seed)


@settings(often, max_examples=120)
@given(
    jobs=job_lists(),
    nodes=st.sampled_from([4, 8, 9]),
    order=st.sampled_from(Order),
    backfill=st.sampled_from([Backfill.NONE, Backfill.EASY]),
    placement=st.sampled_from(NAMED),
    kind=st.sampled_from(["stop", "all", "all"]),
    saving=savings,
    restart=st.sampled_from([0, 1]),
    seed=st.integers(0, 2**40),
)
def test_the_fleet_engine_as_the_reference(
    jobs: Any,
    nodes: int,
    order: Order,
    backfill: Backfill,
    placement: Placement,
    kind: str,
    saving: tuple[int | None, int],
    restart: int,
    seed: int,
) -> None:
    """Jobs of hours on nodes that fail daily, as the engine plays them."""
    for job in jobs:
        for name in ("submit", "run", "limit"):
            job[name] *= HOUR
    every = None if saving[0] is None else [saving[0] * HOUR // 2] * len(jobs)
    racks = (2, 4)
    told = record(fleet_of(nodes, racks, kind), seed=seed, future=seed % 7, until_ns=400 * HOUR)
    assert len(told.rows) > 0
    discipline = Discipline(order, backfill, placement, Level.CLUSTER, Level.RACK)
    spends = (every, saving[1] * HOUR // 10, restart * HOUR // 4)
    both(jobs, Shape(nodes, DEVICES, *racks), discipline, told, spends, seed % 5)
