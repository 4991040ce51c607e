"""The next step of a drill, as a table: what there is, and what is asked for."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from drill_situation import (
    FARM,
    FAULT,
    FIRST,
    NODES,
    NOW,
    SETTINGS,
    active,
    begun,
    chosen,
    decide,
    entry,
    lock,
    node,
    pod,
    settled,
    situation,
)
from kfarm_api.drill_status import (
    DrillMetric,
    FailureDrillStatus,
    FaultProgress,
    FaultTargets,
    PredictedEffect,
    TimelineEntry,
)
from kfarm_api.drill_targets import Candidate, farm_candidates
from kfarm_operator.drills.clock import moment
from kfarm_operator.drills.settings import DrillSettings
from kfarm_operator.drills.situation import Situation
from kfarm_operator.drills.steps import (
    Apply,
    DropLock,
    Evict,
    Finalize,
    Plan,
    PlanRemedy,
    Predict,
    Report,
    Rest,
    TakeLock,
    Undo,
)
from kfarm_operator.drills.waves import waves


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
