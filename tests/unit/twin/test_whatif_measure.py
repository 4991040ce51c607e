"""Figures of a play, against counting by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from kfarm_twin.jobs import Jobs, JobTrace
from kfarm_twin.replay import Discipline, Replay, Shape, replay, summarize
from kfarm_twin.whatif_measure import cell_means, job_sizes, measure, overlap_means, size_classes
from kfarm_twin.whatif_workload import cut, resample

S = 10**9
HOUR = 3600 * S


def jobs(rows: list[tuple[int, int, int, int]]) -> Jobs:
    """(submit s, run s, pods, gpus) per job."""
    table = np.array(rows, dtype=np.int64)
    zero = np.zeros(len(rows), dtype=np.int64)
    full = zero + 1000
    run = table[:, 1] * S
    return Jobs(
        table[:, 0] * S, run, run, table[:, 2], table[:, 3], full, zero, zero, zero, zero, zero
    )


def trace(rows: list[tuple[int, int, int, int]]) -> JobTrace:
    ids = np.array([str(i) for i in range(len(rows))])
    return JobTrace(jobs(rows), ids, ("q",))


def test_a_step_function_is_averaged_over_each_cell() -> None:
    time, values = np.array([1.0, 3.0]), np.array([2.0, 4.0])
    found = cell_means(time, values, np.array([0.0, 2.0, 4.0]))
    assert found.tolist() == [1.0, 3.0]
    assert cell_means(np.array([]), np.array([]), np.array([0.0, 1.0])).tolist() == [0.0]


def test_spans_are_averaged_like_a_step_function() -> None:
    start, end = np.array([0, 1]), np.array([2, 3])
    found = overlap_means(start, end, np.array([1.0, 2.0]), np.array([0.0, 1.0, 2.0, 4.0]))
    assert found.tolist() == [1.0, 3.0, 1.0]


def test_figures_of_three_jobs_on_one_node() -> None:
    """Whole-node jobs of 100 s at 0, 10, 20 s: they wait 0, 90 and 180 s."""
    work = jobs([(0, 100, 1, 8), (10, 100, 1, 8), (20, 100, 1, 8)])
    shape = Shape(nodes=1)
    played = replay(work, shape, Discipline())
    part = measure(work, played, shape, np.array([0.0, 10.0 * S, 20.0 * S]), keep_series=True)
    assert part.metrics["waitMeanS"] == 90.0
    assert part.metrics["waitMaxS"] == 180.0
    assert part.metrics["makespanS"] == 300.0
    assert part.metrics["slowdownMean"] == pytest.approx((1 + 1.9 + 2.8) / 3)
    assert part.metrics["utilisation"] == 1.0
    assert part.series is not None
    assert part.series.queued_jobs == [0.0, 1.0]
    assert part.never_run == 0


def test_figures_agree_with_those_of_kfarm_simulate() -> None:
    rng = np.random.default_rng(3)
    rows = [
        (int(t), int(r), int(p), 8)
        for t, r, p in zip(
            np.cumsum(rng.integers(1, 60, 200)),
            rng.integers(5, 900, 200),
            rng.integers(1, 6, 200),
            strict=True,
        )
    ]
    work, shape = jobs(rows), Shape(nodes=6)
    played = replay(work, shape, Discipline())
    summary = summarize(work, played, shape)
    part = measure(
        work, played, shape, np.linspace(0, float(work.submit_ns[-1]), 5), keep_series=False
    )
    assert summary.wait is not None
    assert summary.slowdown is not None
    wanted = (summary.wait.mean, summary.wait.median, summary.wait.p99, summary.slowdown.mean)
    found = [part.metrics[key] for key in ("waitMeanS", "waitP50S", "waitP99S", "slowdownMean")]
    assert found == pytest.approx(list(wanted), rel=1e-6)
    assert part.series is None


def test_jobs_that_never_run_are_counted_and_left_out_of_the_waits() -> None:
    work, shape = jobs([(0, 10, 1, 8), (1, 10, 9, 8)]), Shape(nodes=2)
    part = measure(
        work, replay(work, shape, Discipline()), shape, np.array([0.0, S]), keep_series=False
    )
    assert part.never_run == 1
    assert part.metrics["waitMeanS"] == 0.0


def test_no_job_that_ran_gives_no_figures() -> None:
    work, shape = jobs([(0, 10, 9, 8)]), Shape(nodes=2)
    part = measure(
        work, replay(work, shape, Discipline()), shape, np.array([0.0, S]), keep_series=True
    )
    assert part.metrics["waitMeanS"] is None
    assert part.sizes == []


def test_classes_of_size() -> None:
    sizes = np.array([0, 1, 2, 8, 9, 2000])
    waits = np.arange(6.0)
    found = {c.label: (c.jobs, c.wait_mean_s) for c in size_classes(sizes, waits, waits + 1)}
    assert found == {
        "0": (1, 0.0), "1": (1, 1.0), "2 to 8": (2, 2.5), "9 to 64": (1, 4.0),
        "more than 1,024": (1, 5.0),
    }  # fmt: skip


def test_shared_devices_count_as_whole_ones() -> None:
    work = jobs([(0, 1, 3, 1)])._replace(gpu_milli=np.array([250]))
    assert job_sizes(work).tolist() == [3]


def _day(n: int) -> list[tuple[int, int, int, int]]:
    return [(n * 86400 + hour * 3600, 60, 1, 1 + n) for hour in range(0, 24, 2)]


def test_resampling_keeps_the_hour_of_the_day_and_whole_blocks() -> None:
    rows = [row for n in range(8) for row in _day(n)]
    rows.append((8 * 86400 - 1, 1, 1, 8))
    original = trace(rows)
    made = resample(original, 24 * HOUR, 7, 1)
    again = resample(original, 24 * HOUR, 7, 1)
    other = resample(original, 24 * HOUR, 7, 2)
    assert made.jobs.submit_ns.tolist() == again.jobs.submit_ns.tolist()
    assert made.jobs.gpus.tolist() != other.jobs.gpus.tolist()
    assert np.all(np.diff(made.jobs.submit_ns) >= 0)
    times = made.jobs.submit_ns + 2 * S  # blocks are equal parts of the span, here 1/8 s short
    days = times // (24 * HOUR)
    ordinary = made.jobs.run_ns == 60 * S
    for day in range(8):
        inside = (days == day) & ordinary
        assert len(set(made.jobs.gpus[inside].tolist())) == 1, "a day comes from one day"
        hours = set((times[inside] % (24 * HOUR) // HOUR).tolist())
        assert set(range(0, 24, 2)) <= hours
    assert not made.jobs.submit_ns.flags.writeable


def test_a_short_trace_is_cut_into_eight_blocks() -> None:
    rows = [(i * 10, 60, 1, 8) for i in range(100)]
    made = resample(trace(rows), 24 * HOUR, 7, 1)
    assert len(made.ids) == len(made.jobs.submit_ns)
    assert 50 < len(made.ids) < 150
    assert int(made.jobs.submit_ns[-1]) <= 991 * S


def test_the_horizon_leaves_out_and_counts() -> None:
    rows = [(i * 10, 60, 1, 8) for i in range(10)]
    late = cut(trace(rows), 50 * S)
    assert (len(late.ids), dict(late.left_out)) == (5, {"arrives after the horizon": 5})
    assert cut(trace(rows), 100 * S) is not None
    same = trace(rows)
    assert cut(same, HOUR) is same


def test_nothing_before_the_horizon_is_bad_input() -> None:
    from kfarm_twin.request import InputError

    with pytest.raises(InputError, match="horizon"):
        cut(trace([(100, 60, 1, 8)]), 50 * S)


def test_preempted_jobs_take_queue_and_use_from_the_samples() -> None:
    work, shape = jobs([(0, 100, 1, 8)]), Shape(nodes=1)
    played: Replay = replay(work, shape, Discipline())
    sampled: Any = replace(
        played,
        preemptions=np.array([1]),
        time_ns=np.array([0, 50 * S]),
        busy_gpus=np.array([8.0, 4.0]),
        queued=np.array([0, 2]),
    )
    part = measure(work, sampled, shape, np.array([0.0, 100.0 * S]), keep_series=False)
    assert part.metrics["utilisation"] == 0.75
    assert part.metrics["queuedMean"] == 1.0
    assert math.isclose(part.metrics["preemptions"] or 0, 1.0)
