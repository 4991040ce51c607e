"""The farm driver by hand: small cases whose outcome can be read off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kfarm_twin.jobs import Jobs
from kfarm_twin.replay import (
    Backfill,
    Discipline,
    Level,
    Order,
    Placement,
    Replay,
    ReplayError,
    Shape,
    SpeedChanges,
    replay,
    summarize,
)


def jobs_of(*rows: tuple[int, int, int, int, int], priority: tuple[int, ...] = ()) -> Jobs:
    """Rows are submit, run, limit, pods, gpus."""
    table = np.array(rows, np.int64).reshape(-1, 5)
    nothing = np.zeros(len(table), np.int64)
    ranks = np.array(priority or nothing, np.int64)
    whole = np.full(len(table), 1000, np.int64)
    return Jobs(*table.T, whole, nothing, nothing, ranks, nothing, nothing)


def play(jobs: Jobs, nodes: int = 2, devices: int = 4, **discipline: Any) -> Replay:
    return replay(jobs, Shape(nodes, devices), Discipline(**discipline))


WIDE = jobs_of((0, 10, 10, 1, 4), (0, 5, 5, 2, 4), (1, 9, 9, 1, 4), (1, 10, 10, 1, 4))


def test_without_backfill_the_head_holds_up_all() -> None:
    assert play(WIDE).start_ns.tolist() == [0, 10, 15, 15]


def test_easy_starts_what_is_gone_before_the_head_begins() -> None:
    found = play(WIDE, backfill=Backfill.EASY)
    assert found.start_ns.tolist() == [0, 10, 1, 15]


def test_easy_starts_what_the_head_leaves_over() -> None:
    jobs = jobs_of((0, 10, 10, 2, 4), (0, 5, 5, 2, 4), (1, 99, 99, 1, 4))
    assert play(jobs, 3, backfill=Backfill.EASY).start_ns.tolist() == [0, 10, 1]


def test_sjf_goes_by_the_limit_and_priority_before_it() -> None:
    jobs = jobs_of((0, 10, 10, 2, 4), (1, 5, 50, 2, 4), (1, 5, 20, 2, 4), priority=(0, 0, 0))
    assert play(jobs, order=Order.SJF).start_ns.tolist() == [0, 15, 10]
    urgent = jobs._replace(priority=np.array([0, 1, 0]))
    assert play(urgent, order=Order.SJF).start_ns.tolist() == [0, 10, 15]


def test_srtf_preempts_and_the_work_is_kept() -> None:
    jobs = jobs_of((0, 100, 100, 2, 4), (10, 5, 5, 1, 4))
    found = play(jobs, order=Order.SRTF, restart_ns=7)
    assert found.end_ns.tolist() == [10 + 5 + 7 + 90, 15]
    assert found.preemptions.tolist() == [1, 0]
    assert found.start_ns.tolist() == [0, 10]


def test_limits_do_not_end_jobs() -> None:
    found = play(jobs_of((0, 100, 10, 2, 4), (0, 5, 5, 2, 4)), backfill=Backfill.CONSERVATIVE)
    assert found.end_ns.tolist() == [100, 105]


def test_jobs_that_can_never_run_are_named_and_hold_up_nobody() -> None:
    found = play(jobs_of((0, 5, 5, 3, 4), (0, 5, 5, 2, 4)))
    assert found.start_ns.tolist() == [-1, 0]
    assert found.never == {0: "asks for 3 pods of 4 devices; the farm has 2 nodes of 4"}


def test_a_required_rack_makes_a_gang_wait_that_counting_would_start() -> None:
    jobs = jobs_of((0, 10, 10, 1, 4), (0, 20, 20, 1, 4), (1, 5, 5, 2, 4))
    shape = Shape(4, 4, nodes_per_rack=2)
    spread = Discipline(placement=Placement.SPREAD, required=Level.RACK)
    packed = Discipline(placement=Placement.BEST_FIT, required=Level.RACK)
    assert replay(jobs, shape, packed).start_ns.tolist() == [0, 0, 1]
    # One pod more in the other rack: now no rack is whole until the first job ends.
    crowd = jobs_of((0, 10, 10, 1, 4), (0, 20, 20, 2, 4), (1, 5, 5, 2, 4))
    assert replay(crowd, shape, spread).start_ns.tolist() == [0, 0, 10]
    assert replay(crowd, shape, Discipline()).start_ns.tolist() == [0, 0, 10]
    mixed = jobs_of((0, 10, 10, 3, 4), (2, 5, 5, 1, 3), (3, 5, 5, 2, 4))
    assert replay(mixed, shape, packed).never.keys() == {0}


def test_stranded_devices_are_counted() -> None:
    jobs = jobs_of((0, 10, 10, 1, 1), (0, 10, 10, 1, 4))
    found = play(jobs, placement=Placement.FIRST_FIT)
    assert found.stranded_gpus[0] == 3
    assert found.busy_gpus[0] == 5


def test_slow_nodes_stretch_jobs_and_work_is_conserved() -> None:
    jobs = jobs_of((0, 100, 100, 2, 4), (0, 100, 100, 1, 4))
    changes = SpeedChanges(np.array([10, 50]), np.array([1, -1]), np.array([500_000, 1_000_000]))
    found = replay(jobs, Shape(3, 4), Discipline(placement=Placement.FIRST_FIT), speeds=changes)
    assert found.end_ns.tolist() == [120, 100]


def test_a_farm_that_stands_still_leaves_jobs_unended() -> None:
    changes = SpeedChanges(np.array([5]), np.array([-1]), np.array([0]))
    found = replay(jobs_of((0, 10, 10, 2, 4)), Shape(2, 4), Discipline(), speeds=changes)
    assert (found.start_ns[0], found.end_ns[0]) == (0, -1)


def test_series_is_bounded() -> None:
    rows = [(i, 1, 1, 1, 4) for i in range(500)]
    found = replay(jobs_of(*rows), Shape(2, 4), Discipline(), samples=64)
    assert 32 <= len(found.time_ns) <= 64
    assert found.every == 8


def test_summary() -> None:
    jobs = jobs_of(
        *((s * 10**9, r * 10**9, r * 10**9, p, 4) for s, r, p in ((0, 10, 2), (0, 5, 2)))
    )
    shape = Shape(2, 4)
    summary = summarize(jobs, replay(jobs, shape, Discipline()), shape)
    assert summary.wait is not None
    assert summary.slowdown is not None
    assert (summary.waited, summary.wait.mean, summary.wait.max) == (1, 5.0, 10.0)
    assert summary.slowdown.max == 1.5  # (10 + 5) / 10: run times count as tau at least
    assert (summary.last_end_s, summary.utilisation) == (15.0, 1.0)


def test_nothing_to_play() -> None:
    shape = Shape(2, 4)
    summary = summarize(jobs_of(), replay(jobs_of(), shape, Discipline()), shape)
    assert (summary.jobs, summary.wait, summary.utilisation) == (0, None, 0.0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Shape(0, 8), "nodes is 0"),
        (lambda: Shape(8, 8, 4, 6), "a rack would stand in two"),
        (lambda: Discipline(Order.SRTF, Backfill.CONSERVATIVE), "break by preemption"),
        (lambda: Discipline(required=Level.RACK), "topology levels need named nodes"),
        (
            lambda: Discipline(backfill=Backfill.CONSERVATIVE, placement=Placement.SPREAD),
            "counts devices",
        ),
        (lambda: play(jobs_of((5, 1, 1, 1, 1), (4, 1, 1, 1, 1))), "sort by time"),
        (lambda: play(jobs_of((0, 0, 1, 1, 1))), "run_ns is 0"),
        (lambda: play(jobs_of((0, 1, 1 << 60, 1, 1))), "limit_ns"),
    ],
)
def test_what_cannot_be_played_is_refused(make: Any, words: str) -> None:
    with pytest.raises(ReplayError, match=words):
        make()
