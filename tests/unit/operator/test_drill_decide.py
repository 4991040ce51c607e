"""The next step of a drill, as a table: what there is, and what is asked for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from kfarm_api.drill import FailureDrill
from kfarm_api.drill_status import (
    Change,
    DrillMetric,
    FailureDrillStatus,
    FaultProgress,
    FaultTargets,
    JournalEntry,
    PredictedEffect,
    TimelineEntry,
)
from kfarm_api.drill_targets import Candidate, farm_candidates
from kfarm_api.farm import GPUFarm
from kfarm_api.layout import farm_places
from kfarm_operator.drills import decide as deciding
from kfarm_operator.drills import status as said
from kfarm_operator.drills.clock import moment, whole
from kfarm_operator.drills.locks import lock_body, lock_name, read_lock
from kfarm_operator.drills.measure import compared, judged, seconds_to
from kfarm_operator.drills.observe import observe
from kfarm_operator.drills.readings import drill_samples
from kfarm_operator.drills.schedule import after, run_body, run_name
from kfarm_operator.drills.settings import DrillSettings
from kfarm_operator.drills.situation import Situation
from kfarm_operator.drills.steps import (
    Apply,
    Decision,
    DropLock,
    Evict,
    Finalize,
    Plan,
    PlanRemedy,
    Predict,
    Prune,
    Report,
    Rest,
    Spawn,
    TakeLock,
    Undo,
)
from kfarm_operator.drills.views import DrillNode, DrillPod, DrillView, Lock
from kfarm_operator.drills.waves import waves

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
SETTINGS = DrillSettings(cluster_name="test", max_nodes=8, max_percent=100, domains=4)
KEY = "ns/d/uid-1"
FARM = GPUFarm.model_validate(
    {
        "apiVersion": "kfarm.dev/v1alpha1", "kind": "GPUFarm", "metadata": {"name": "f"},
        "spec": {"site": {"name": "광주"}, "clusters": [{
            "name": "c", "accelerator": "b200", "nodes": 8, "acceleratorsPerNode": 8,
            "rack": {"nodes": 4}, "cooling": {"type": "Air", "supplyTemperature": 22},
            "reliability": {"reference": "llama3-h100"}, "source": {"simulated": {}},
        }]},
    }
)  # fmt: skip
FAULT = {"name": "lost", "action": "NodeDown", "selector": {"cluster": "c"}, "duration": "1m"}


def drill(status: FailureDrillStatus | None = None, **spec: Any) -> FailureDrill:
    full = {
        "mode": "Cluster", "confirm": "test", "farm": {"kind": "GPUFarm", "name": "f"},
        "faults": [FAULT], "limits": {"maxPercent": 100, "timeToLive": "10m"}, **spec,
    }  # fmt: skip
    made = FailureDrill.model_validate(
        {
            "apiVersion": "kfarm.dev/v1alpha1", "kind": "FailureDrill",
            "metadata": {"name": "d", "namespace": "ns", "uid": "uid-1", "generation": 1},
            "spec": {key: value for key, value in full.items() if value is not None},
        }
    )  # fmt: skip
    return made.model_copy(update={"status": status})


def node(index: int, **more: Any) -> DrillNode:
    place = list(farm_places(FARM))[index]
    given = {"ready": "True", "cordoned": False, "drill": "", "faults": (), "kwok": True, **more}
    labels = {**place.labels(), "kfarm.dev/drill": "allowed"}
    return DrillNode(name=place.name, uid=f"u{index}", labels=labels, **given)


NODES = {made.name: made for made in (node(index) for index in range(8))}
FIRST = node(0).name


def situation(status: FailureDrillStatus | None = None, **more: Any) -> Situation:
    spec = {
        k: more.pop(k)
        for k in list(more)
        if k in FailureDrill.model_fields["spec"].annotation.model_fields
    }  # type: ignore[union-attr]
    given = {
        "settings": SETTINGS, "farm": FARM, "nodes": NODES, "candidates": farm_candidates(FARM),
        "consent": True, "locks": {"kfarm-drill-f-c": None}, **more,
    }  # fmt: skip
    return Situation(drill=drill(status, **spec), now=NOW, **given)


def chosen(**more: Any) -> FailureDrillStatus:
    targets = [FaultTargets(fault="lost", domains=[FIRST], nodes=[FIRST])]
    given = {"observed_generation": 1, "phase": "Pending", "targets": targets, **more}
    return FailureDrillStatus(**given)


def begun(ago_s: float = 1.0, **more: Any) -> FailureDrillStatus:
    start = NOW - timedelta(seconds=ago_s)
    return chosen(
        **{
            "phase": "Running", "started_at": moment(start), "domain": "f-c",
            "until": whole(start + timedelta(minutes=10)),
            "faults": [FaultProgress(fault="lost", state="Waiting")], **more,
        }
    )  # fmt: skip


def entry(state: str = "Applied", name: str = FIRST, number: str = "") -> JournalEntry:
    return JournalEntry(
        id=f"lost/Lease/{name}{number}", fault="lost", kind="Lease", name=name, uid="u",
        state=state, planned_at=moment(NOW), applied_at=moment(NOW),
        changes=[Change(field="lease/holderIdentity", before='"a"', after='"b"')],
    )  # fmt: skip


def active() -> list[FaultProgress]:
    return [FaultProgress(fault="lost", state="Active", since=moment(NOW - timedelta(seconds=1)))]


def lock(holder: str = KEY, *, stale: bool = False) -> dict[str, Lock | None]:
    return {"kfarm-drill-f-c": Lock("kfarm-drill-f-c", "l", "1", holder, stale)}


def decide(s: Situation) -> Decision:
    """The step after what is seen by the way, such as how many nodes are down, is written."""
    return deciding.decide(replace(s, drill=s.drill.model_copy(update={"status": observe(s)})))


def settled(s: Situation) -> Rest:
    step = decide(s)
    assert isinstance(step, Rest), step
    return step


def test_the_way_to_the_start_is_targets_finalizer_lock_start() -> None:
    first = decide(situation())
    assert isinstance(first, Report)
    assert len(first.status.targets[0].nodes) == 1
    ready = situation(chosen())
    assert decide(ready) == Finalize(on=True)
    assert decide(replace(ready, finalized=True)) == TakeLock("kfarm-drill-f-c", None)
    start = decide(replace(ready, finalized=True, locks=lock()))
    assert isinstance(start, Report)
    assert start.status.phase == "Running"
    assert start.status.until == "2026-01-31T12:10:00Z"


@pytest.mark.parametrize(
    ("more", "phase", "reason"),
    [
        ({"farm": None}, "Pending", "FarmNotFound"),
        ({"confirm": None}, "DryRun", "NotConfirmed"),
        ({"confirm": "other"}, "DryRun", "WrongCluster"),
        ({"settings": DrillSettings()}, "DryRun", "DrillsOff"),
        ({"suspend": True}, "Suspended", "Suspended"),
        ({"stopped": True}, "Pending", "KillSwitch"),
        ({"consent": False}, "Pending", "NoConsent"),
        ({"settings": replace(SETTINGS, max_duration_s=60)}, "Pending", "LimitsExceeded"),
        ({"limits": {"maxPercent": 5}}, "Pending", "LimitsExceeded"),
        ({"settings": replace(SETTINGS, max_percent=5)}, "Pending", "LimitsExceeded"),
        ({"limits": {"maxPercent": 100, "timeToLive": "30s"}}, "Pending", "LimitsExceeded"),
        ({"limits": {"maxPercent": 100, "minHealthy": 90}}, "Pending", "MinHealthy"),
        ({"finalized": True, "locks": lock("ns/other/uid-2")}, "Waiting", "DomainBusy"),
    ],
)
def test_what_keeps_a_drill_from_beginning(more: dict[str, Any], phase: str, reason: str) -> None:
    if "farm" in more:
        more = {**more}
        s = replace(situation(chosen()), farm=None)
    else:
        s = situation(chosen(), **more)
    step = settled(s)
    assert (step.status.phase, step.status.reason) == (phase, reason)
    assert step.status.message
    assert step.status.started_at is None


def test_a_selector_that_hits_nobody_is_said() -> None:
    bare = [Candidate(one.name, {}, one.plans) for one in farm_candidates(FARM)]
    assert settled(situation(candidates=bare)).status.reason == "NoTargets"


def test_a_target_that_fell_ill_is_chosen_anew() -> None:
    others = [one for one in farm_candidates(FARM) if one.name != FIRST]
    step = decide(situation(chosen(), candidates=others))
    assert isinstance(step, Report)
    assert step.status.targets[0].nodes != [FIRST]


def test_a_lock_that_nobody_needs_is_taken_over() -> None:
    held = lock("ns/gone/uid-9", stale=True)
    step = decide(situation(chosen(), finalized=True, locks=held))
    assert step == TakeLock("kfarm-drill-f-c", held["kfarm-drill-f-c"])


def test_the_twin_is_asked_before_and_only_where_it_can_answer() -> None:
    asked = decide(situation(chosen(), mode="Both", asks_twin=True))
    assert isinstance(asked, Predict)
    assert decide(situation(chosen(), mode="Both")) == Finalize(on=True)
    told = chosen(inputs_digest="sha256:1")
    assert decide(situation(told, mode="Both", asks_twin=True)) == Finalize(on=True)


def test_in_mode_twin_the_prediction_is_the_verdict() -> None:
    metric = DrillMetric(name="nodes_down_max", unit="nodes", median="1")
    told = chosen(inputs_digest="sha256:1", metrics=[metric])
    bound = {"name": "few", "metric": "nodes_down_max", "atMost": "0"}
    step = decide(situation(told, mode="Twin", confirm=None, asks_twin=True, expectations=[bound]))
    assert isinstance(step, Report)
    assert (step.status.phase, step.status.verdict) == ("Completed", "Failed")


def test_a_fault_is_written_down_then_made_then_taken_back() -> None:
    step = decide(situation(begun(faults=active())))
    assert isinstance(step, Plan)
    assert (step.wave.nodes, step.wave.kind) == ((FIRST,), "Lease")
    written = begun(faults=active(), journal=[entry("Planned")])
    assert decide(situation(written)) == Apply((entry("Planned"),))
    over = begun(61, faults=active(), journal=[entry()])
    assert decide(situation(over)) == Undo((entry(),))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"abort": True}, "Aborted"),
        ({"stopped": True}, "KillSwitch"),
        ({"now": NOW + timedelta(minutes=10)}, "TimeToLive"),
        ({"limits": {"maxPercent": 100, "timeToLive": "10s"}, "now": NOW + timedelta(seconds=12)},
         "TimeToLive"),
    ],
)  # fmt: skip
def test_what_ends_a_drill_at_once(change: dict[str, Any], reason: str) -> None:
    now = change.pop("now", NOW)
    s = replace(situation(begun(faults=active(), journal=[entry()]), **change), now=now)
    step = decide(s)
    assert isinstance(step, Report)
    assert (step.status.phase, step.status.reason) == ("Restoring", reason)
    gone_on = replace(s, drill=s.drill.model_copy(update={"status": step.status}), stopped=False)
    assert decide(gone_on) == Undo((entry(),))
    done = step.status.model_copy(update={"journal": [entry("Restored")]})
    end = decide(replace(s, drill=s.drill.model_copy(update={"status": done}), stopped=False))
    assert isinstance(end, Report)
    assert (end.status.phase, end.status.verdict, end.status.reason) == (
        "Completed", "Aborted", reason,
    )  # fmt: skip


def test_a_drill_that_is_deleted_goes_when_nothing_is_left() -> None:
    def deleted(status: FailureDrillStatus, **more: Any) -> Situation:
        s = situation(status, **more)
        meta = s.drill.metadata.model_copy(update={"deletion_timestamp": "2026-01-31T12:00:00Z"})
        return replace(s, drill=s.drill.model_copy(update={"metadata": meta}))

    running = deleted(begun(faults=active(), journal=[entry()]))
    step = decide(running)
    assert isinstance(step, Report)
    assert step.status.reason == "Deleted"
    done = begun(phase="Completed", journal=[entry("Restored")])
    held = deleted(done, finalized=True, locks=lock())
    assert isinstance(decide(held), DropLock)
    assert decide(replace(held, locks={})) == Finalize(on=False)
    assert isinstance(decide(replace(held, locks=lock("ns/other/u"))), Finalize)
    assert isinstance(decide(replace(held, locks={}, finalized=False)), Rest)


def test_a_fault_that_would_break_a_fence_meanwhile_is_left_out() -> None:
    sick = {n: replace(one, ready="False") for n, one in NODES.items() if n != FIRST}
    step = decide(situation(begun(faults=active()), nodes={**NODES, **sick}))
    assert isinstance(step, Report)
    (progress,) = step.status.faults
    assert progress.state == "Skipped"
    assert "minHealthy" in (progress.message or "")
    other = {**NODES, FIRST: replace(NODES[FIRST], drill="ns/other/uid-2")}
    step = decide(situation(begun(faults=active()), nodes=other))
    assert isinstance(step, Report)
    assert "under drill ns/other" in (step.status.faults[0].message or "")


def test_suspended_drills_begin_no_fault() -> None:
    assert settled(situation(begun(faults=active()), suspend=True)).status.phase == "Suspended"


def test_a_drill_ends_when_all_is_well_again_or_patience_is_over() -> None:
    ended = [FaultProgress(fault="lost", state="Ended", ended_at=moment(NOW))]
    over = begun(61, faults=ended, journal=[entry("Restored")])
    well = decide(situation(over))
    assert isinstance(well, Report)
    assert (well.status.phase, well.status.verdict) == ("Completed", "Passed")
    down = {**NODES, FIRST: replace(NODES[FIRST], ready="Unknown")}
    waiting = settled(situation(over, nodes=down))
    assert waiting.status.phase == "Recovering"
    late = replace(situation(over, nodes=down), now=NOW + timedelta(minutes=6))
    assert isinstance(decide(late), Report)


def pod(name: str = "p", place: str = FIRST, **more: Any) -> DrillPod:
    given = {"phase": "Running", "deleting": False, "daemon": False, "namespace": "ns", **more}
    return DrillPod(name=name, uid=name, plan="train", workload="w", node=place, devices=8,
                    toleration_s=300, owner="Job/train", **given)  # fmt: skip


def test_a_drain_evicts_what_may_go_a_few_nodes_at_a_time() -> None:
    fault = {**FAULT, "action": "Drain", "mode": "Fixed", "value": 2, "atOnce": 1}
    second = node(1).name
    both = [FaultTargets(fault="lost", nodes=[FIRST, second])]
    made = entry().model_copy(update={"id": f"lost/Node/{FIRST}", "kind": "Node"})
    status = begun(faults=active(), targets=both, journal=[made])
    beside = {FIRST: [pod(), pod("d", daemon=True), pod("x", namespace="else")], second: [pod("q")]}
    s = situation(
        status, faults=[fault], neighbours=beside, limits={"maxNodes": 2, "maxPercent": 100}
    )
    step = decide(s)
    assert isinstance(step, Evict)
    assert [one.name for one in step.pods] == ["p"]
    found = waves(s, s.drill.spec.faults[0])
    assert [wave.nodes for wave in found] == [(FIRST,), (second,)]
    assert found[0].end == found[1].begin
    assert found[1].entry_id(second) == f"lost/Node/{second}/1"


def test_out_of_service_is_said_only_of_nodes_that_do_not_answer() -> None:
    fault = {**FAULT, "remedy": {"action": "OutOfService", "after": "5s"}}
    line = TimelineEntry(
        at=moment(NOW - timedelta(seconds=6)), event="Detected", fault="lost", object=FIRST
    )
    status = begun(10, faults=active(), journal=[entry()], timeline=[line])
    down = {**NODES, FIRST: replace(NODES[FIRST], ready="Unknown")}
    assert decide(situation(status, faults=[fault], nodes=down)) == PlanRemedy("lost", (FIRST,))
    assert isinstance(decide(situation(status, faults=[fault])), Rest)


def test_heat_comes_to_each_node_when_the_twin_says() -> None:
    fault = {**FAULT, "action": "CoolingDegraded", "share": 50, "duration": "10m"}
    second = node(1).name
    effects = [
        PredictedEffect(fault="lost", node=FIRST, effect="Throttling", at="60", until="90"),
        PredictedEffect(fault="lost", node=FIRST, effect="HeatShutdown", at="90.5"),
        PredictedEffect(fault="lost", node=second, effect="HeatShutdown", at="1"),
        PredictedEffect(fault="lost", node=FIRST, effect="DeviceLost", at="1"),
    ]
    s = situation(begun(0, effects=effects), faults=[fault])
    found = waves(s, s.drill.spec.faults[0])
    assert [(w.shows, w.nodes, w.begin - NOW, w.end - NOW) for w in found] == [
        ("Throttling", (FIRST,), timedelta(seconds=60), timedelta(seconds=90)),
        ("Down", (FIRST,), timedelta(seconds=90.5), timedelta(minutes=10)),
    ]


def test_a_link_goes_down_and_up() -> None:
    fault = {
        **FAULT,
        "action": "LinkFlap",
        "duration": "30s",
        "flapping": {"down": "2s", "up": "10s"},
    }
    s = situation(begun(0), faults=[fault])
    found = waves(s, s.drill.spec.faults[0])
    assert [(w.begin - NOW).total_seconds() for w in found] == [0, 12, 24]
    assert [(w.end - NOW).total_seconds() for w in found] == [2, 14, 26]


def test_nodes_with_a_real_kubelet_are_left_to_the_runner() -> None:
    s = situation(begun(), nodes={**NODES, FIRST: replace(NODES[FIRST], kwok=False)})
    assert waves(s, s.drill.spec.faults[0])[0].nodes == ()


def test_what_waits_for_others_holds_nothing_up() -> None:
    second = {**FAULT, "name": "next", "at": "1m", "selector": {"nodes": [node(1).name]}}
    targets = [*chosen().targets, FaultTargets(fault="next", nodes=[node(1).name])]
    faults = [*active(), FaultProgress(fault="next", state="Active", since=moment(NOW))]
    status = begun(61, faults=faults, targets=targets, journal=[entry()])
    s = situation(status, faults=[FAULT, second], limits={"maxNodes": 2, "maxPercent": 100})
    assert decide(s) == Undo((entry(),))
    step = decide(replace(s, waiting=frozenset({entry().id})))
    assert isinstance(step, Plan)
    assert step.wave.fault.name == "next"
    restoring = begun(61, faults=faults, phase="Restoring", reason="Aborted", journal=[entry()])
    held = situation(restoring, waiting=frozenset({entry().id}))
    assert isinstance(decide(held), Rest)


def test_a_fault_whose_time_passed_unmade_fails_the_drill() -> None:
    step = decide(situation(begun(61, faults=active())))
    assert isinstance(step, Report)
    assert step.status.faults[0].state == "Skipped"
    end = decide(situation(step.status))
    assert isinstance(end, Report)
    assert (end.status.verdict, end.status.reason) == ("Failed", "FaultsLeftOut")


def test_what_the_runner_makes_is_known_by_its_annotation() -> None:
    fault = {"name": "lost", "action": "ApiOutage", "duration": "30s"}
    s = situation(begun(targets=[FaultTargets(fault="lost")]), faults=[fault])
    told = decide(s)
    assert isinstance(told, Report)
    assert "kfarm drill run" in (told.status.faults[0].message or "")
    waiting = settled(replace(s, drill=s.drill.model_copy(update={"status": told.status})))
    assert (waiting.status.phase, waiting.status.reason) == ("Waiting", "WaitingForFaults")
    marks = {"drill.kfarm.dev/runner.lost": f"{moment(NOW)}/{moment(NOW)}"}
    meta = s.drill.metadata.model_copy(update={"annotations": marks})
    status: FailureDrillStatus | None = told.status
    for wanted in ("Active", "Ended"):
        made = s.drill.model_copy(update={"metadata": meta, "status": status})
        step = decide(replace(s, drill=made))
        assert isinstance(step, Report)
        assert step.status.faults[0].state == wanted
        status = step.status


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
