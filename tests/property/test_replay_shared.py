"""On shared devices the farm driver agrees with the plain reference to the last device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from kfarm_twin.jobs import Jobs
from kfarm_twin.replay import (
    Backfill,
    Discipline,
    NodeTable,
    Order,
    Placement,
    Replay,
    Shape,
    SpeedChanges,
    replay,
)
from naive_replay_shared import SharedFarm
from sharing_naive import Node

MODELS = ("", "A", "B")
SETS: tuple[tuple[str, ...], ...] = ((), ("A",), ("A", "B"), ("C",))
SHARED = [p for p in Placement if p not in (Placement.COUNT, Placement.THERMAL_AWARE)]
often = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)


@st.composite
def job_lists(draw: Any, most: int = 25) -> list[dict[str, Any]]:
    """Jobs that crowd a few nodes; gangs, shares, models; some run past their limits."""
    jobs, now = [], 0
    over = draw(st.booleans())
    for _ in range(draw(st.integers(1, most))):
        now += draw(st.sampled_from([0, 0, 1, 2, 5]))
        run = draw(st.integers(1, 30))
        gpus = draw(st.sampled_from([0, 1, 1, 1, 2, 3]))
        jobs.append(
            {
                "submit": now,
                "run": run,
                "limit": draw(st.integers(0, 40)) if over else run + draw(st.integers(0, 5)),
                "pods": draw(st.sampled_from([1, 1, 1, 2, 3, 5])),
                "gpus": gpus,
                "milli": draw(st.sampled_from([1000, 500, 300, 640])) if gpus == 1 else 1000,
                "cpu": draw(st.sampled_from([0, 1_000, 4_000])),
                "memory": draw(st.sampled_from([0, 10, 30])),
                "models": draw(st.sampled_from(SETS)),
                "priority": draw(st.sampled_from([0, 0, 0, 1])),
            }
        )
    return jobs


NODES = st.lists(
    st.tuples(
        st.sampled_from([4_000, 16_000]),
        st.sampled_from([30, 200]),
        st.integers(0, 4),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=5,
).filter(lambda rows: any(row[2] for row in rows))


def columns(jobs: list[dict[str, Any]]) -> Jobs:
    def column(name: str) -> Any:
        return np.array([job[name] for job in jobs], np.int64)

    return Jobs(
        submit_ns=column("submit"),
        run_ns=column("run"),
        limit_ns=column("limit"),
        pods=column("pods"),
        gpus=column("gpus"),
        gpu_milli=np.where(column("gpus") > 0, column("milli"), 0),
        cpu_milli=column("cpu"),
        memory_mib=column("memory"),
        priority=column("priority"),
        queue=np.zeros(len(jobs), np.int64),
        models=np.array([SETS.index(job["models"]) for job in jobs], np.int64),
    )


def table(rows: list[tuple[int, int, int, int]]) -> NodeTable:
    cpu, memory, gpus, model = np.array(rows, np.int64).T.copy()
    return NodeTable(gpus, cpu, memory, model, MODELS)


def where(found: Replay, job: int) -> list[tuple[int, list[int]]]:
    """Node and devices of each pod."""
    assert found.places is not None
    first, last = found.places.first[job : job + 2]
    return [
        (
            int(found.places.node[row]),
            [gpu for gpu in range(62) if found.places.gpus[row] >> gpu & 1],
        )
        for row in range(first, last)
    ]


@pytest.mark.parametrize("placement", SHARED)
@often
@given(
    jobs=job_lists(),
    rows=NODES,
    order=st.sampled_from([Order.FIFO, Order.SJF]),
    backfill=st.sampled_from([Backfill.NONE, Backfill.EASY, Backfill.EASY]),
    seed=st.integers(0, 3),
    speeds=st.none() | st.lists(st.tuples(st.integers(0, 60), st.sampled_from([0, 400_000]))),
)
def test_shared_devices_as_the_reference(
    placement: Placement,
    jobs: list[dict[str, Any]],
    rows: list[tuple[int, int, int, int]],
    order: Order,
    backfill: Backfill,
    seed: int,
    speeds: list[tuple[int, int]] | None,
) -> None:
    changes = [(time, -1, ppm) for time, ppm in sorted(speeds or [])] + [(200, -1, 1_000_000)]
    steps = np.array(changes, np.int64)
    found = replay(
        columns(jobs),
        Shape.of(table(rows)),
        Discipline(order, backfill, placement),
        seed=seed,
        speeds=SpeedChanges(steps[:, 0], steps[:, 1], steps[:, 2]),
        models=[frozenset(names) for names in SETS],
    )
    floor = [
        Node(cpu, memory, MODELS[model], [1000] * gpus, rank)
        for rank, (cpu, memory, gpus, model) in enumerate(rows)
    ]
    plain = SharedFarm(
        jobs,
        floor,
        policy=str(placement),
        order=str(order),
        backfill=str(backfill),
        seed=seed,
        speeds=changes,
    ).run()
    waited = sum(start > job["submit"] for start, job in zip(plain.start, jobs, strict=True))
    event(f"waited: {min(waited, 3)}, never: {min(len(found.never), 2)}")
    assert found.start_ns.tolist() == plain.start
    assert found.end_ns.tolist() == plain.end
    assert set(found.never) == {j for j in range(len(jobs)) if not plain.possible(j)}
    for job, places in plain.places.items():
        assert where(found, job) == places
    seen = dict(zip(found.time_ns.tolist(), found.stranded_gpus.tolist(), strict=True))
    for now, fragment in plain.fragments.items():
        assert seen[now] == pytest.approx(fragment, abs=1e-9)


@often
@given(
    jobs=job_lists(most=60),
    nodes=st.integers(1, 4),
    gpus=st.integers(1, 5),
    placement=st.sampled_from(SHARED),
    backfill=st.sampled_from([Backfill.NONE, Backfill.EASY]),
)
def test_no_device_is_over_its_capacity(
    jobs: Any, nodes: int, gpus: int, placement: Placement, backfill: Backfill
) -> None:
    """On equal nodes whose CPU and models are not known; what the result itself says."""
    jobs.append(jobs[-1] | {"pods": 1, "gpus": 1, "milli": 500, "submit": jobs[-1]["submit"]})
    played = columns(jobs)
    found = replay(played, Shape(nodes, gpus), Discipline(Order.FIFO, backfill, placement))
    assert not np.any((found.end_ns < 0) != np.isin(np.arange(len(jobs)), list(found.never)))
    for now in np.unique(found.start_ns[found.start_ns >= 0]):
        used = np.zeros((nodes, gpus))
        for job in np.flatnonzero((found.start_ns <= now) & (found.end_ns > now)):
            for node, devices in where(found, int(job)):
                assert len(devices) == played.gpus[job]
                used[node, devices] += played.gpu_milli[job]
        assert used.max() <= 1000
