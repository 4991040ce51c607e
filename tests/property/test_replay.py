"""The farm driver agrees with the plain reference to the last event, and keeps its promises."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from kfarm_twin.jobs import Jobs
from kfarm_twin.replay import (
    Backfill,
    Discipline,
    Level,
    Order,
    Placement,
    Shape,
    SpeedChanges,
    replay,
)

TESTS = Path(__file__).parents[1]
naive = SimpleNamespace(**runpy.run_path(str(TESTS / "naive_replay.py")))
NAMED = [Placement.FIRST_FIT, Placement.BEST_FIT, Placement.SPREAD, Placement.RANDOM]

often = settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


def as_columns(jobs: list[dict[str, int]]) -> Jobs:
    def column(name: str) -> Any:
        return np.array([job[name] for job in jobs], np.int64)

    nothing = np.zeros(len(jobs), np.int64)
    return Jobs(
        submit_ns=column("submit"),
        run_ns=column("run"),
        limit_ns=column("limit"),
        pods=column("pods"),
        gpus=column("gpus"),
        gpu_milli=column("milli"),
        cpu_milli=nothing,
        memory_mib=nothing,
        priority=column("priority"),
        queue=nothing,
        models=nothing,
    )


@st.composite
def job_lists(draw: Any, exact: bool = False, most: int = 40) -> list[dict[str, int]]:
    """Jobs that crowd a small farm; many at one instant, some past their limits unless `exact`."""
    priorities = draw(st.sampled_from([1, 1, 3]))
    over = draw(st.booleans()) and not exact
    jobs = []
    now = 0
    for _ in range(draw(st.sampled_from([2, most // 4, most // 2, most]))):
        now += draw(st.sampled_from([0, 0, 0, 1, 2, 5]))
        run = draw(st.integers(1, 30))
        slack = draw(st.sampled_from([0, 0, 3, 30]))
        gpus = draw(st.sampled_from([0, 1, 1, 2, 3, 4, 4]))
        jobs.append(
            {
                "submit": now,
                "run": run,
                "limit": run if exact else (draw(st.integers(0, 40)) if over else run + slack),
                "pods": draw(st.sampled_from([1, 1, 1, 2, 3, 5, 8])),
                "gpus": gpus,
                "milli": draw(st.sampled_from([1000, 1000, 500])) if gpus == 1 else 1000,
                "priority": draw(st.integers(0, priorities - 1)),
            }
        )
    return jobs


@st.composite
def speed_lists(draw: Any, nodes: int, named: bool) -> list[tuple[int, int, int]]:
    changes = draw(
        st.lists(
            st.tuples(
                st.integers(0, 80),
                st.integers(-1, nodes - 1 if named else -1),
                st.sampled_from([0, 1, 333_333, 500_000, 700_001, 1_000_000]),
            ),
            max_size=6,
        )
    )
    return [*sorted(changes), (200, -1, 1_000_000)]


def both(
    jobs: list[dict[str, int]],
    shape: Shape,
    discipline: Discipline,
    seed: int = 0,
    speeds: list[tuple[int, int, int]] | None = None,
) -> Any:
    """Play on both sides and compare each start, end and preemption."""
    found = replay(as_columns(jobs), shape, discipline, seed=seed, speeds=as_changes(speeds))
    preferred = discipline.preferred
    plain = naive.Farm(
        jobs,
        nodes=shape.nodes,
        devices=shape.gpus_per_node,
        rack=shape.nodes_per_rack,
        unit=shape.nodes_per_unit,
        order=str(discipline.order),
        backfill=str(discipline.backfill),
        placement=str(discipline.placement),
        required=str(discipline.required),
        preferred=str(preferred) if preferred is not None else None,
        restart=discipline.restart_ns,
        seed=seed,
        speeds=speeds,
    ).run()
    waited = sum(start > job["submit"] for start, job in zip(plain.start, jobs, strict=True))
    event(f"waited: {min(waited, 3)}, preempted: {min(sum(plain.stops), 1)}")
    assert found.start_ns.tolist() == plain.start
    assert found.end_ns.tolist() == plain.end
    assert found.preemptions.tolist() == plain.stops
    assert set(found.never) == {j for j in range(len(jobs)) if not plain.possible(j)}
    assert np.all(np.diff(found.time_ns) > 0)
    return plain


def as_changes(speeds: list[tuple[int, int, int]] | None) -> SpeedChanges | None:
    if speeds is None:
        return None
    columns = np.array(speeds, np.int64).reshape(-1, 3)
    return SpeedChanges(columns[:, 0], columns[:, 1], columns[:, 2])


@often
@given(
    jobs=job_lists(),
    nodes=st.integers(2, 9),
    order=st.sampled_from(Order),
    backfill=st.sampled_from(Backfill),
    restart=st.sampled_from([0, 4]),
    data=st.data(),
)
def test_counted_capacity_as_the_reference(
    jobs: Any, nodes: int, order: Order, backfill: Backfill, restart: int, data: Any
) -> None:
    if order is Order.SRTF and backfill is Backfill.CONSERVATIVE:
        backfill = Backfill.NONE
    speeds = data.draw(st.none() | speed_lists(nodes, False))
    both(jobs, Shape(nodes, 4), Discipline(order, backfill, restart_ns=restart), 0, speeds)


@often
@given(
    jobs=job_lists(),
    nodes=st.integers(2, 12),
    order=st.sampled_from(Order),
    backfill=st.sampled_from([Backfill.NONE, Backfill.EASY, Backfill.EASY]),
    placement=st.sampled_from(NAMED),
    required=st.sampled_from(Level),
    preferred=st.none() | st.sampled_from(Level),
    racks=st.sampled_from([(0, 0), (2, 4), (3, 6), (3, 0), (0, 5)]),
    data=st.data(),
)
def test_named_nodes_as_the_reference(
    jobs: Any,
    nodes: int,
    order: Order,
    backfill: Backfill,
    placement: Placement,
    required: Level,
    preferred: Level | None,
    racks: tuple[int, int],
    data: Any,
) -> None:
    for job in jobs:
        job["milli"] = 1000
    speeds = data.draw(st.none() | speed_lists(nodes, True))
    restart = data.draw(st.sampled_from([0, 4]))
    discipline = Discipline(order, backfill, placement, required, preferred, restart)
    both(jobs, Shape(nodes, 4, *racks), discipline, data.draw(st.integers(0, 3)), speeds)


few = settings(often, max_examples=60)


@few
@given(
    jobs=job_lists(exact=True),
    nodes=st.integers(2, 9),
    placement=st.sampled_from([Placement.COUNT, *NAMED]),
    required=st.sampled_from(Level),
)
def test_easy_keeps_its_promise_to_the_head(
    jobs: Any, nodes: int, placement: Placement, required: Level
) -> None:
    for job in jobs:  # a later job of higher priority would be the new head
        job["milli"], job["priority"] = 1000, 0
    required = Level.CLUSTER if placement is Placement.COUNT else required
    discipline = Discipline(Order.FIFO, Backfill.EASY, placement, required)
    plain = both(jobs, Shape(nodes, 4, 2, 4), discipline)
    event(f"promises: {min(len(plain.promised), 3)}")
    assert all(plain.start[job] <= time for job, time in plain.promised.items())


@few
@given(jobs=job_lists(exact=True), nodes=st.integers(2, 9), order=st.sampled_from(["fifo", "sjf"]))
def test_conservative_promises_do_not_depend_on_later_arrivals(
    jobs: Any, nodes: int, order: str
) -> None:
    discipline = Discipline(Order(order), Backfill.CONSERVATIVE)
    shape = Shape(nodes, 4)
    full = replay(as_columns(jobs), shape, discipline).start_ns
    for cut in range(1, len(jobs)):
        if jobs[cut]["submit"] > jobs[cut - 1]["submit"]:
            part = replay(as_columns(jobs[:cut]), shape, discipline).start_ns
            assert part.tolist() == full[:cut].tolist()


@few
@given(jobs=job_lists(), nodes=st.integers(2, 12), seed=st.integers(0, 2**62))
def test_equal_seed_equal_bytes(jobs: Any, nodes: int, seed: int) -> None:
    discipline = Discipline(Order.SRTF, Backfill.EASY, Placement.RANDOM, Level.RACK)
    one, other = (
        replay(as_columns(jobs), Shape(nodes, 4, 3, 6), discipline, seed=seed) for _ in range(2)
    )
    for name in ("start_ns", "end_ns", "preemptions", "time_ns", "busy_gpus", "stranded_gpus"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


@few
@given(jobs=job_lists(), nodes=st.integers(2, 9), racks=st.sampled_from([(0, 0), (2, 4)]))
def test_whole_nodes_in_one_cluster_are_as_counted(
    jobs: Any, nodes: int, racks: tuple[int, int]
) -> None:
    """Where nothing can be fragmented, named nodes decide as counting does."""
    for job in jobs:
        job["gpus"], job["milli"] = 4, 1000
    shape = Shape(nodes, 4, *racks)
    for backfill in (Backfill.NONE, Backfill.EASY):
        counted = replay(as_columns(jobs), shape, Discipline(backfill=backfill))
        for placement in NAMED:
            level = Level.RACK if racks[0] else None
            discipline = Discipline(Order.FIFO, backfill, placement, Level.CLUSTER, level)
            named = replay(as_columns(jobs), shape, discipline)
            assert named.start_ns.tolist() == counted.start_ns.tolist()
