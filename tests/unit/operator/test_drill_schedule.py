"""Figures, schedules, locks and bounds of drills."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from drill_situation import (
    KEY,
    NOW,
    begun,
    chosen,
    decide,
    drill,
    entry,
    lock,
    settled,
    situation,
)
from kfarm_api.drill import FailureDrill
from kfarm_api.drill_status import (
    DrillMetric,
    TimelineEntry,
)
from kfarm_operator.drills import status as said
from kfarm_operator.drills.clock import moment, whole
from kfarm_operator.drills.locks import lock_body, lock_name, read_lock
from kfarm_operator.drills.measure import compared, judged, seconds_to
from kfarm_operator.drills.readings import drill_samples
from kfarm_operator.drills.schedule import after, run_body, run_name
from kfarm_operator.drills.steps import (
    Prune,
    Report,
    Spawn,
)
from kfarm_operator.drills.views import DrillView, Lock


def test_times_are_the_longest_over_the_faults() -> None:
    def line(second: float, event: Any, fault: str) -> TimelineEntry:
        return TimelineEntry(at=moment(NOW + timedelta(seconds=second)), event=event, fault=fault)

    timeline = [
        line(0, "Injected", "a"), line(1, "Injected", "a"), line(6, "Detected", "a"),
        line(7, "Detected", "a"), line(100, "Injected", "b"), line(105.5, "Detected", "b"),
    ]  # fmt: skip
    assert seconds_to(timeline, "Detected") == 7
    assert seconds_to(timeline, "Evicted") is None


def test_observed_is_set_beside_what_was_predicted() -> None:
    metric = DrillMetric(name="seconds_to_detect", unit="s", low="40", median="50", high="60")
    found = compared(metric, Decimal("55"))
    assert (found.within, found.error) == (True, "10.0")
    assert compared(metric, None) == metric


def test_expectations_at_the_start_stay_as_they_were_at_the_start() -> None:
    bound = {"name": "calm", "when": "Start", "metric": "healthy_nodes_min", "atLeast": "8"}
    start = decide(situation(chosen(), finalized=True, locks=lock(), expectations=[bound]))
    assert isinstance(start, Report)
    assert start.status.expectations[0].result == "Passed"
    later = start.status.model_copy(update={"metrics": [
        DrillMetric(name="healthy_nodes_min", unit="nodes", observed="7")]})  # fmt: skip
    assert judged(situation(later, expectations=[bound])).expectations[0].result == "Passed"


def run(name: str, phase: str = "Completed", verdict: str = "Passed") -> DrillView:
    return DrillView(
        "ns", name, name, "1", ("GPUFarm", "f"), frozenset(), phase, "", 0, verdict, "uid-1"
    )


CRON = {"cron": "0 3 * * MON", "timeZone": "Asia/Seoul", "historyLimit": 1}
DUE = datetime(2026, 2, 1, 18, 0, tzinfo=UTC)


def test_a_schedule_makes_a_run_once_and_in_time() -> None:
    first = settled(situation(schedule=CRON)).status
    assert (first.phase, first.next_run) == ("Scheduled", whole(DUE))
    s = replace(situation(first, schedule=CRON), now=DUE + timedelta(seconds=1))
    step = decide(s)
    assert isinstance(step, Spawn)
    assert step.body["metadata"]["name"] == run_name("d", DUE) == f"d-{int(DUE.timestamp()) // 60}"  # type: ignore[index]
    assert "schedule" not in step.body["spec"]  # type: ignore[operator]
    FailureDrill.model_validate(run_body(s, DUE))
    assert step.status.next_run == "2026-02-08T18:00:00Z"


def test_a_run_that_is_late_or_meets_another_is_left_out() -> None:
    first = settled(situation(schedule=CRON)).status
    late = replace(situation(first, schedule=CRON), now=DUE + timedelta(seconds=101))
    assert "too late" in (settled(late).status.message or "")
    busy = replace(situation(first, schedule=CRON, runs=[run("d-1", "Running", "")]), now=DUE)
    assert "another run" in (settled(busy).status.message or "")


def test_the_history_is_kept_short_and_a_bad_schedule_is_said() -> None:
    step = decide(situation(schedule=CRON, runs=[run("d-20"), run("d-10"), run("d-5", "Running")]))
    assert step == Prune(run("d-10"))
    for bad in ({"cron": "61 * * * *"}, {"cron": "0 3 30 2 *"}, {"timeZone": "Asia/Nowhere"}):
        told = settled(situation(schedule={**CRON, **bad})).status
        assert told.reason == "BadSchedule"
        assert told.message
    zone = drill(schedule=CRON).spec.schedule
    assert zone is not None
    assert after(zone, NOW) == DUE


def test_a_lock_is_read_as_it_was_written() -> None:
    s = situation(chosen())
    body = lock_body(s, "kfarm-drill-f-c")
    body["metadata"] |= {"uid": "l", "resourceVersion": "1"}
    assert read_lock(body, NOW, lambda _: False) == Lock("kfarm-drill-f-c", "l", "1", KEY, False)
    later = NOW + timedelta(hours=1)
    assert not read_lock(body, later, lambda _: False).stale
    assert read_lock(body, NOW, lambda _: True).stale
    assert read_lock(body, later, lambda _: None).stale
    assert not read_lock(body, NOW, lambda _: None).stale
    assert len(lock_name("x" * 200)) == 63


def test_metrics_tell_what_is_overdue() -> None:
    late = replace(
        run("a", "Running", ""), until=whole(NOW - timedelta(seconds=30)), open_entries=2
    )
    samples = {
        (name, labels): value for name, labels, value in drill_samples([late, run("b")], NOW)
    }
    assert samples["kfarm_drill_overdue_seconds", ()] == 30
    assert samples["kfarm_drill_injected", ()] == 2
    assert samples["kfarm_drill_residue", ()] == 0
    assert samples["kfarm_drill_verdicts", ("Passed",)] == 1


def test_journal_and_timeline_keep_their_bounds() -> None:
    flaps = [entry("Restored", number=f"/{n}") for n in range(700)]
    status = said.with_entries(begun(), [*flaps, entry("Applied", number="/700")])
    assert len(status.journal) <= 640
    assert status.journal[-1].state == "Applied"
    line = TimelineEntry(at=moment(NOW), event="Evicted", object="a")
    timeline: list[TimelineEntry] = []
    for n in range(300):
        at = moment(NOW + timedelta(seconds=n))
        timeline = said.told(timeline, line.model_copy(update={"object": f"p{n}", "at": at}))
    assert len(timeline) == 200
    assert timeline[0].object == "p0"
    assert timeline[-1].object == "p299"
