"""Hours lost, worked out from a timeline, and the end of what the runner does."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from drill_situation import FIRST, NODES, NOW, begun, node, pod, situation
from kfarm_api.drill_marks import ANNOTATION_COMING
from kfarm_api.drill_status import (
    FailureDrillStatus,
    FaultProgress,
    FaultTargets,
    JournalEntry,
    TimelineEntry,
)
from kfarm_api.plan import PlacementPlan
from kfarm_operator.drills import status as said
from kfarm_operator.drills.clock import moment
from kfarm_operator.drills.lost import lost_hours
from kfarm_operator.drills.measure import measured, observed
from kfarm_operator.drills.observe import observe
from kfarm_operator.drills.request import Surroundings, build_request
from kfarm_operator.drills.situation import Situation
from kfarm_operator.drills.views import DrillPod

SECOND = node(1).name
OF = "train/w"


def at(second: float) -> datetime:
    """Seconds after the start of the drill, which began 1000 s ago."""
    return NOW + timedelta(seconds=second - 1000)


def train(pods: int = 4, **changes: Any) -> PlacementPlan:
    workload = {
        "name": "w", "class": "Training", "pods": pods, "acceleratorsPerPod": 8,
        "accelerators": ["b200"], "gang": True, "duration": "8h",
        "checkpoint": {"interval": "30m"}, **changes,
    }  # fmt: skip
    return PlacementPlan.model_validate(
        {
            "apiVersion": "kfarm.dev/v1alpha1", "kind": "PlacementPlan",
            "metadata": {"name": "train", "namespace": "ns"},
            "spec": {"policy": "p", "farms": [{"kind": "GPUFarm", "name": "f"}],
                     "workloads": [{k: v for k, v in workload.items() if v is not None}]},
        }
    )  # fmt: skip


def struck(name: str, since: float, until: float | None, kind: str = "Node") -> JournalEntry:
    return JournalEntry(
        id=f"lost/{kind}/{name}/{since:g}", fault="lost", kind=kind, name=name, uid="u",
        state="Applied" if until is None else "Restored", planned_at=moment(at(since)),
        applied_at=moment(at(since)), restored_at=None if until is None else moment(at(until)),
        changes=[],
    )  # fmt: skip


def watching(
    status: FailureDrillStatus | None, plan: PlacementPlan | None, **more: Any
) -> Situation:
    """A drill with the plan `train`; None: it is not there as yet."""
    s = situation(status, **more)
    spec = s.drill.spec.model_copy(update={"plans": ["train"]})
    return replace(s, drill=s.drill.model_copy(update={"spec": spec}), plans={"train": plan})


def scene(
    journal: list[JournalEntry],
    pods: list[DrillPod],
    seen: list[tuple[float, str, str, str]],
    plan: PlacementPlan | None = None,
    **fault: Any,
) -> Situation:
    """Injections with these pods on the nodes, then lines about pods: when, event, name, node."""
    spec = {"name": "lost", "action": "DeviceFault", "selector": {"cluster": "c"},
            "device": {"kind": "XID", "code": "79"}, "duration": "1m", **fault}  # fmt: skip
    spec = {key: value for key, value in spec.items() if value is not None}
    s = watching(
        begun(1000, faults=[FaultProgress(fault="lost", state="Active")], journal=journal),
        plan or train(), faults=[spec], pods=pods,
    )  # fmt: skip
    lines = [said.injected(s, one) for one in journal]
    lines += [
        TimelineEntry(at=moment(at(when)), event=event, object=name,  # type: ignore[arg-type]
                      message=said.on_node(place, OF))
        for when, event, name, place in seen
    ]  # fmt: skip
    status = s.status.model_copy(update={"timeline": said.told([], *lines)})
    return replace(s, drill=s.drill.model_copy(update={"status": status}))


def seconds_lost(s: Situation, accelerators: int) -> float:
    found = lost_hours(s)
    assert found is not None
    return float(found) * 3600 / accelerators


def test_a_whole_gang_stands_still_from_the_fault_until_the_successor_runs() -> None:
    s = scene(
        [struck(FIRST, 10, 300)],
        [pod("a")],
        [
            (25, "Evicted", "ns/a", FIRST),
            (26, "Gone", "ns/a", FIRST),
            (70, "Running", "ns/b", SECOND),
        ],
    )
    assert seconds_lost(s, 32) == pytest.approx(60, abs=0.1)
    (row,) = (one for one in measured(s) if one.name == "lost_accelerator_hours")
    assert (row.observed, row.unit) == ("0.533", "h")
    assert "lost_accelerator_hours" not in observed(s.status)


def test_pods_that_stay_are_out_until_the_fault_is_taken_back() -> None:
    pods = [pod("a"), pod("b", SECOND)]
    journal = [struck(FIRST, 0, 50), struck(SECOND, 30, 100)]
    assert seconds_lost(scene(journal, pods, []), 32) == pytest.approx(100, abs=0.1)
    serving = train(gang=False, duration=None, checkpoint=None, **{"class": "Inference"})
    single = scene(journal, pods, [], serving)
    assert seconds_lost(single, 8) == pytest.approx(50 + 70, abs=0.5)  # thousandths of an hour
    elastic = scene(journal, pods, [], train(elastic={"minPods": 2}))
    assert seconds_lost(elastic, 8) == pytest.approx(50 + 70, abs=0.5)


def test_what_is_not_over_counts_until_now() -> None:
    s = scene([struck(FIRST, 900, None)], [pod("a")], [])
    assert seconds_lost(s, 32) == pytest.approx(100, abs=0.1)
    gone = scene([struck(FIRST, 900, None)], [pod("a")], [(950, "Evicted", "ns/a", FIRST)])
    assert seconds_lost(gone, 32) == pytest.approx(100, abs=0.1)


def test_a_drain_costs_from_the_eviction_on() -> None:
    s = scene(
        [struck(FIRST, 10, 300)],
        [pod("a")],
        [(40, "Evicted", "ns/a", FIRST), (70, "Running", "ns/b", SECOND)],
        action="Drain", device=None,
    )  # fmt: skip
    assert seconds_lost(s, 32) == pytest.approx(30, abs=0.1)


@pytest.mark.parametrize(("gang", "lost_s"), [(True, 80 - 10), (False, (70 - 10) + (80 - 30))])
def test_a_pod_that_kueue_takes_away_with_its_gang_is_lost_from_its_eviction(
    gang: bool, lost_s: float
) -> None:
    """The other's successor runs first; nobody counts one that left for a reason of its own."""
    seen = [
        (15, "Evicted", "ns/a", FIRST), (30, "Evicted", "ns/b", SECOND),
        (50, "Evicted", "ns/c", SECOND), (70, "Running", "ns/d", node(2).name),
        (80, "Running", "ns/e", node(3).name), (81, "Running", "ns/f", node(4).name),
    ]  # fmt: skip
    plan = train() if gang else train(gang=False, duration=None, checkpoint=None,
                                      **{"class": "Inference"})  # fmt: skip
    s = scene([struck(FIRST, 10, 300)], [pod("a")], seen, plan)
    reason = {"ns/a": "lost", "ns/b": "lost"}
    timeline = [
        one.model_copy(update={"fault": reason.get(one.object or "", one.fault)})
        for one in s.status.timeline
    ]
    s = replace(s, drill=s.drill.model_copy(update={
        "status": s.status.model_copy(update={"timeline": timeline})}))  # fmt: skip
    assert seconds_lost(s, 32 if gang else 8) == pytest.approx(lost_s, abs=0.5)


def test_a_successor_that_is_struck_as_well_is_succeeded_in_turn() -> None:
    seen = [
        (15, "Evicted", "ns/a", FIRST), (30, "Running", "ns/b", SECOND),
        (115, "Evicted", "ns/b", SECOND), (140, "Running", "ns/c", node(2).name),
    ]  # fmt: skip
    first, second = struck(FIRST, 10, 300), struck(SECOND, 100, 300)
    s = scene([first, second], [pod("a"), pod("b", SECOND)], seen)
    assert seconds_lost(s, 32) == pytest.approx(20 + 40, abs=0.1)


def test_a_link_that_flaps_costs_nothing_and_nothing_recovers_from_it() -> None:
    whole = [pod(f"p{index}", node(index).name) for index in range(4)]
    s = scene([struck(FIRST, 10, 300)], whole, [], action="LinkFlap", device=None)
    assert lost_hours(s) == 0
    assert "seconds_to_recover" not in observed(observe(s))
    ill = scene([struck(FIRST, 10, 300)], whole, [])
    assert "seconds_to_recover" in observed(observe(ill))


def test_a_pod_that_leaves_once_its_node_is_well_was_not_lost_by_the_fault() -> None:
    s = scene([struck(FIRST, 10, 50)], [pod("a")], [(400, "Evicted", "ns/a", FIRST)])
    assert seconds_lost(s, 32) == pytest.approx(40, abs=0.1)


def test_where_no_node_is_struck_or_no_plan_is_watched_there_is_no_figure() -> None:
    s = scene([struck(FIRST, 10, 50)], [pod("a")], [])
    assert lost_hours(replace(s, plans={})) is None
    runner = scene([], [], [], action="ApiOutage", device=None, selector=None)
    assert lost_hours(runner) is None


def after_the_runner(
    ended: float | None, *, running: int = 4, seen: float | None = None
) -> FailureDrillStatus:
    """A drill with an operator killed at 900 s; what is looked at now, 1000 s after the start."""
    fault = {"name": "lost", "action": "OperatorKill", "duration": "1m"}
    known = FaultProgress(
        fault="lost", state="Active" if ended is None else "Ended", since=moment(at(900)),
        ended_at=None if ended is None else moment(at(ended)),
    )  # fmt: skip
    lines = [said.entry(at(900), "Injected", fault="lost", message="by the runner")]
    if seen is not None:
        lines.append(said.entry(at(seen), "Running", about="ns/p3", message="on node x, of y/z"))
    status = begun(1000, faults=[known], targets=[FaultTargets(fault="lost")], timeline=lines)
    pods = [pod(f"p{index}", node(index).name) for index in range(running)]
    return observe(watching(status, train(), faults=[fault], pods=pods))


def recovered(status: FailureDrillStatus) -> float | None:
    took = observed(status).get("seconds_to_recover")
    return None if took is None else float(took)


def test_all_is_at_work_at_the_first_look_after_the_runner_has_ended() -> None:
    assert recovered(after_the_runner(960)) == 100.0
    assert recovered(after_the_runner(960, seen=930)) == 100.0  # seen before it was killed again
    assert recovered(after_the_runner(960, seen=985)) == 85.0  # nobody sees without being at work


def test_nothing_has_recovered_while_the_runner_acts_or_a_pod_is_missing() -> None:
    assert recovered(after_the_runner(None)) is None
    assert recovered(after_the_runner(960, running=3)) is None


def test_all_nodes_are_counted_while_the_runner_acts() -> None:
    fault = {"name": "lost", "action": "ApiOutage", "duration": "1m"}
    status = begun(targets=[FaultTargets(fault="lost")])
    nodes = {**NODES, FIRST: replace(NODES[FIRST], ready="Unknown")}
    found = observe(situation(status, faults=[fault], nodes=nodes))
    assert {one.name: one.observed for one in found.metrics} == {"nodes_down_max": "1"}


@pytest.mark.parametrize("told", ["", "[", "[1]", "{}", '[{"kind": "PlacementPlan"}]'])
def test_plans_to_come_are_asked_about_and_nonsense_is_not(told: str) -> None:
    s = watching(None, None)
    body = json.dumps([train().as_manifest()])
    assert build_request(_told(s, told), Surroundings()).coming == []
    asked = build_request(_told(s, body), Surroundings())
    assert ([plan.metadata.name for plan in asked.plans], asked.coming) == (["train"], ["train"])
    there = replace(s, plans={"train": train()})
    assert build_request(_told(there, body), Surroundings()).coming == []
    assert build_request(_told(replace(s, plans={}), body), Surroundings()).plans == []


def _told(s: Situation, text: str) -> Situation:
    meta = s.drill.metadata.model_copy(update={"annotations": {ANNOTATION_COMING: text}})
    return replace(s, drill=s.drill.model_copy(update={"metadata": meta}))
