"""Failures in the farm driver: cases worked out by hand, a closed form, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kfarm_api.reliability import Reliability
from kfarm_twin.checkpoints import ettr
from kfarm_twin.disciplines import Backfill, Order, Placement
from kfarm_twin.fleet_classes import plain_cluster
from kfarm_twin.fleet_record import FleetRecord, record
from kfarm_twin.fleet_tables import CompiledFleet, compile_fleet
from kfarm_twin.job_failures import Saving, failing_shape
from kfarm_twin.jobs import Jobs
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.reliability import own_mode
from kfarm_twin.replay import Discipline, Replay, ReplayError, Shape, SpeedChanges, replay
from kfarm_twin.replay_failures import Failures

HOUR = 3_600_000_000_000
BEST = Discipline(placement=Placement.BEST_FIT)


def jobs_of(*rows: tuple[int, int, int, int]) -> Jobs:
    """Rows of submission, run time, pods, devices of a pod; limits are the run times."""
    submit, run, pods, gpus = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    nothing = np.zeros(len(rows), np.int64)
    whole = np.full(len(rows), 1000)
    rest = [nothing] * 5
    return Jobs(submit, run, run, pods, gpus, whole, *rest)


def quiet(nodes: int, rate: str = "0.000001", **more: Any) -> CompiledFleet:
    body = {"name": "node", "failuresPer1000NodeDays": rate, "meanTimeToRepair": "1m"}
    told = Reliability.model_validate({"classes": [body], **more})
    return compile_fleet([plain_cluster([own_mode(told.classes[0])], told, nodes, 4)])


def told(nodes: int, *rows: tuple[int, ...], until: int = 10_000) -> FleetRecord:
    """A record of (time, what, node, detail, detection)."""
    full = [(time, what, node, 0, detail, found) for time, what, node, detail, found in rows]
    return FleetRecord(quiet(nodes), np.array(full, np.int64).reshape(-1, 6), until)


def played(
    jobs: Jobs,
    found: FleetRecord,
    every: int | None = None,
    save: int = 0,
    restart: int = 0,
    discipline: Discipline = BEST,
) -> Replay:
    interval = None if every is None else np.full(len(jobs.run_ns), every, np.int64)
    shape = Shape(found.fleet.nodes, 4)
    return replay(jobs, shape, discipline, failures=Failures(found, interval, save, restart))


def test_a_job_goes_back_to_its_last_save_and_pays_detection_and_restart() -> None:
    """Saves end at 12 and 24; the node dies at 30: 6 of work are lost, 20 are kept of 100.

    Known at 35, at once on the other node: restart until 42, 80 of work and 7 saves of 2.
    """
    found = played(jobs_of((0, 100, 1, 4)), told(2, (30, c.WENT_DOWN, 0, c.FAULT, 5)), 10, 2, 7)
    assert found.end_ns.tolist() == [35 + 7 + 80 + 7 * 2]
    account = found.failures
    assert account is not None
    assert account.interruptions.tolist() == [1]
    assert account.lost_s["rework"] == pytest.approx(4 * 6e-9)
    assert account.lost_s["saves"] == pytest.approx(4 * (2 + 7) * 2e-9)
    assert account.lost_s["restart"] == pytest.approx(4 * 7e-9)
    assert account.recover_mean_s == pytest.approx(5e-9)
    assert account.lost_s["down"] == pytest.approx(4 * (136 - 30) * 1e-9)
    assert account.retained_s == pytest.approx(400e-9)


def test_without_saves_all_work_is_lost_and_a_drain_too() -> None:
    for detail in (c.FAULT, c.DRAIN):
        found = played(jobs_of((0, 100, 1, 4)), told(2, (30, c.WENT_DOWN, 0, detail, 0)))
        assert found.end_ns.tolist() == [130]


def test_a_drain_costs_a_job_that_saves_its_restart_only() -> None:
    found = played(jobs_of((0, 100, 1, 4)), told(2, (33, c.WENT_DOWN, 0, c.DRAIN, 0)), 50, 0, 5)
    assert found.end_ns.tolist() == [105]


def test_corrupt_work_is_lost_once_found() -> None:
    """Saved at 10, 20, …; wrong from 25 on, found at 58: work since 20 is lost."""
    rows = (25, c.CORRUPTED, 0, 0, 0), (58, c.WENT_DOWN, 0, c.FOUND_CORRUPT, 0)
    found = played(jobs_of((0, 100, 1, 4)), told(2, *rows), 10)
    assert found.end_ns.tolist() == [58 + 80]


def test_a_stopped_job_queues_at_its_old_place_before_later_ones() -> None:
    """Two nodes of three are left: job 0 is stopped and goes before job 3, which came later."""
    jobs = jobs_of((0, 50, 1, 4), (0, 60, 1, 4), (0, 90, 1, 4), (1, 10, 1, 4))
    found = played(jobs, told(3, (20, c.WENT_DOWN, 0, c.FAULT, 0)))
    assert found.start_ns.tolist() == [0, 0, 0, 90]
    assert found.end_ns.tolist() == [110, 60, 90, 100]


def test_what_a_stopped_job_holds_elsewhere_is_free_once_the_stop_is_known() -> None:
    jobs = jobs_of((0, 50, 2, 4), (1, 10, 1, 4))
    rows = (20, c.WENT_DOWN, 0, c.FAULT, 8), (100, c.CAME_UP, 0, 0, 0)
    easy = Discipline(Order.FIFO, Backfill.EASY, Placement.BEST_FIT)
    found = played(jobs, told(2, *rows), discipline=easy)
    assert found.start_ns.tolist() == [0, 28]
    assert found.end_ns.tolist() == [150, 38]


def test_a_lost_device_stops_the_job_that_holds_it_and_leaves_the_others() -> None:
    jobs = jobs_of((0, 50, 1, 2), (0, 50, 1, 1))
    for device, ends in ((0, [70, 50]), (2, [50, 70]), (3, [50, 50])):
        rows = (20, c.LOST_DEVICE, 0, device, 0), (20, c.INTERRUPTED, 1, 0, 0)
        found = played(jobs, told(2, *rows))
        assert found.end_ns.tolist() == ends


def test_all_pods_of_a_gang_stop_when_a_rail_interrupts_it() -> None:
    rows = (20, c.INTERRUPTED, 0, 0, 3), (20, c.INTERRUPTED, 1, 0, 3)
    found = played(jobs_of((0, 50, 2, 4)), told(2, *rows))
    assert found.end_ns.tolist() == [73]
    assert found.failures is not None
    assert found.failures.interruptions.tolist() == [1]


def test_a_slow_node_slows_its_gang() -> None:
    rows = (20, c.SPEED, 0, 500_000, 0), (40, c.SPEED, 0, 1_000_000, 0)
    found = played(jobs_of((0, 50, 2, 4)), told(2, *rows))
    assert found.end_ns.tolist() == [60]
    assert found.failures is not None
    assert found.failures.lost_s["slow"] == pytest.approx(8 * 10e-9)


def test_jobs_that_never_end_are_broken_off_and_counted() -> None:
    rows = [(at, c.INTERRUPTED, 0, 0, 0) for at in range(10, 1000, 10)]
    found = played(jobs_of((0, 50, 1, 4)), told(1, *rows, until=1000))
    assert found.end_ns.tolist() == [-1]
    assert found.failures is not None
    assert found.failures.unfinished == 1
    assert found.failures.retained_s == pytest.approx(4 * 10e-9)


def test_without_a_failure_nothing_changes() -> None:
    rng = np.random.default_rng(3)
    rows = [
        (int(at), int(rng.integers(1, 90)), int(rng.integers(1, 4)), int(rng.integers(0, 5)))
        for at in np.sort(rng.integers(0, 900, 200))
    ]
    for order, backfill in ((Order.FIFO, Backfill.EASY), (Order.SRTF, Backfill.NONE)):
        discipline = Discipline(order, backfill, Placement.SPREAD)
        plain = replay(jobs_of(*rows), Shape(6, 4), discipline)
        failures = Failures(told(6, until=10**9))
        failing = replay(jobs_of(*rows), Shape(6, 4), discipline, failures=failures)
        for name in ("start_ns", "end_ns", "preemptions", "time_ns", "busy_gpus", "queued"):
            assert getattr(plain, name).tobytes() == getattr(failing, name).tobytes()
        assert failing.failures is not None
        assert failing.failures.goodput == 1.0


@pytest.mark.parametrize(("every_h", "save_s", "restart_s"), [(1.0, 60, 600), (0.25, 30, 0)])
def test_one_gang_earns_the_closed_form(every_h: float, save_s: int, restart_s: int) -> None:
    """32 nodes of 40, 30 failures per 1,000 node-days: one each 25 h; half a year, 12 futures.

    Detection is 0 and a repair takes a minute, so that the gang restarts at once.
    """
    fleet = quiet(40, "30", detection="0s")
    half_year = 4380 * HOUR
    jobs = jobs_of((0, 1 << 57, 32, 4))
    every = np.array([int(every_h * HOUR)], np.int64)
    found = []
    for future in range(12):
        spends = Failures(
            record(fleet, seed=5, future=future, until_ns=half_year),
            every, save_s * 10**9, restart_s * 10**9,
        )  # fmt: skip
        account = replay(jobs, Shape(40, 4), BEST, failures=spends).failures
        assert account is not None
        assert account.goodput is not None
        assert account.stops > 100
        found.append(account.goodput)
    expected = ettr(every_h, save_s / 3600, restart_s / 3600, 1000 / 30 * 24 / 32)
    error = float(np.std(found, ddof=1)) / len(found) ** 0.5
    assert error < 0.002
    assert float(np.mean(found)) == pytest.approx(expected, abs=3 * error)
    without = ettr(every_h, 0.0, 0.0, 1000 / 30 * 24 / 32)
    assert abs(float(np.mean(found)) - without) > 3 * error


def test_records_are_the_same_each_time_and_end_in_time() -> None:
    fleet = quiet(200, "40", crews={"count": 1}, frailty={"shape": "0.5"})
    one, other = (record(fleet, seed=9, future=3, until_ns=9000 * HOUR) for _ in range(2))
    assert one.rows.tobytes() == other.rows.tobytes()
    assert len(one.rows) > 5000  # more than is told at once
    assert np.all(np.diff(one.rows[:, 0]) >= 0)
    assert int(one.rows[-1, 0]) <= 9000 * HOUR
    longer = record(fleet, seed=9, future=3, until_ns=9400 * HOUR)
    assert longer.rows[: len(one.rows)].tobytes() == one.rows.tobytes()


def test_young_and_daly_give_each_size_of_gang_its_own_interval() -> None:
    told = Reliability.model_validate({"reference": "llama3-h100"})
    failing = failing_shape(Shape(64, 8), told, "reliability")
    jobs = jobs_of((0, 50, 1, 8), (0, 50, 16, 8), (0, 50, 1, 2))
    for rule in ("Young", "Daly"):
        saving = Saving(None, rule, 20 * 10**9)
        every = failing.failures(jobs, saving, seed=0, future=0, until_ns=1).interval_ns
        assert every is not None
        assert every[0] == every[2]
        assert every[0] / every[1] == pytest.approx(4, rel=0.01)


@pytest.mark.parametrize(
    ("discipline", "shape", "words"),
    [
        (Discipline(), Shape(2, 4), "placement count knows none"),
        (Discipline(placement=Placement.FGD), Shape(2, 4), "shared devices"),
        (BEST, Shape(3, 4), "failures of 2 nodes"),
        (BEST, Shape(2, 8), "nodes of 8 devices"),
    ],
)
def test_what_is_not_played_is_refused(discipline: Discipline, shape: Shape, words: str) -> None:
    with pytest.raises(ReplayError, match=words):
        replay(jobs_of((0, 5, 1, 1)), shape, discipline, failures=Failures(told(2)))


def test_senseless_saves_and_changes_of_speed_are_refused() -> None:
    jobs, shape = jobs_of((0, 1 << 40, 1, 1)), Shape(2, 4)
    one = np.ones(1, np.int64)
    for failures, words in (
        (Failures(told(2), one, 1 << 40), "so many saves"),
        (Failures(told(2), 0 * one), "at least 1 ns"),
        (Failures(told(2), np.ones(2, np.int64)), "each job needs"),
        (Failures(told(2), None, 0, -1), "nine years"),
    ):
        with pytest.raises(ReplayError, match=words):
            replay(jobs, shape, BEST, failures=failures)
    speeds = SpeedChanges(one, 0 * one, one)
    with pytest.raises(ReplayError, match="together with failures"):
        replay(jobs, shape, BEST, speeds=speeds, failures=Failures(told(2)))
