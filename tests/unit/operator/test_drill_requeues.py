"""What Kueue does about a fault becomes lines of the timeline, and times."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from drill_situation import FIRST, NOW, begun, entry, node, pod, situation
from kfarm_api.drill_status import FailureDrillStatus
from kfarm_operator.drills.clock import moment
from kfarm_operator.drills.measure import observed
from kfarm_operator.drills.observe import observe
from kfarm_operator.drills.recorder import Recorder
from kfarm_operator.drills.request import Surroundings, build_request
from kfarm_operator.drills.situation import Situation
from kfarm_operator.drills.status import entry as told
from kfarm_operator.drills.views import Sighting
from kfarm_operator.drills.workloads import DrillWorkload, drill_workload

HOSTS = frozenset({node(0).name, node(1).name})
OTHERS = frozenset({node(4).name, node(5).name})
REPLACED = frozenset({node(4).name, node(1).name})
HELD = DrillWorkload(
    namespace="ns", name="job-train", uid="w", plans=frozenset({"train"}), owner="Job/train",
    within="rack", evicted="", admitted=True, hosts=HOSTS,
)  # fmt: skip
WHY = "NodeFailures: no replacement node"


def struck(*lines: Any) -> FailureDrillStatus:
    """A drill that has struck the first of the gang's nodes."""
    hit = told(
        NOW, "Injected", fault="lost", about=FIRST, message="1 pods of the plans stand on it"
    )
    return begun(journal=[entry()], timeline=[hit, *lines])


def recorded(*states: DrillWorkload) -> tuple[Sighting, ...]:
    """What the recorder keeps of a Workload that goes through these states, a second each."""
    times = (NOW + timedelta(seconds=count) for count in range(1, 100))
    recorder = Recorder(lambda: next(times))
    recorder.follow(("ns", "d"), "uid-1", ("GPUFarm", "f"), frozenset({"train"}))
    for before, after in zip((None, *states), states, strict=False):
        recorder.workload_changed(before, after)
    return tuple(recorder.seen(("ns", "d")))


def sight(seen: tuple[Sighting, ...], status: FailureDrillStatus, **more: Any) -> Situation:
    made = situation(status, seen=seen, **{"workloads": [HELD], **more})
    return replace(made, plans={"train": None})


def lines(status: FailureDrillStatus) -> list[tuple[str, str | None]]:
    known = ("Injected", "Recovered")  # no plan is looked at here, so that no pod is missed
    return [(x.event, x.fault) for x in status.timeline if x.event not in known]


def test_a_node_that_kueue_replaces_is_an_admission_elsewhere() -> None:
    seen = recorded(HELD, replace(HELD, hosts=REPLACED))
    status = observe(sight(seen, struck()))
    assert lines(status) == [("Readmitted", "lost")]
    (line,) = (x for x in status.timeline if x.event == "Readmitted")
    assert line.message == f"now on {node(4).name}"
    assert observed(status)["seconds_to_readmit"] == Decimal("2.000")
    assert "seconds_to_requeue" not in observed(status)


def test_a_gang_that_is_requeued_takes_the_fault_with_all_its_pods() -> None:
    """The pod on a sound node goes too, and both successors count for the fault."""
    away = replace(HELD, evicted=WHY, admitted=False)
    gone = replace(away, hosts=frozenset())
    reserved = replace(gone, evicted="", hosts=OTHERS)
    seen = recorded(HELD, away, gone, reserved, replace(reserved, admitted=True))
    assert [one.kind for one in seen] == ["Readmitted", "Requeued", "Readmitted"]
    early, requeued, back = seen
    leaving = [
        Sighting(90 + n, NOW + timedelta(seconds=2, milliseconds=5 * n), "Deleting", f"ns/p{n}",
                 node=node(n).name, of="train/w")
        for n in range(2)
    ]  # fmt: skip
    coming = [
        Sighting(95 + n, NOW + timedelta(seconds=4 + n), "Bound", f"ns/q{n}", node=node(4 + n).name,
                 of="train/w")
        for n in range(2)
    ]  # fmt: skip
    status = observe(sight((early, requeued, *leaving, back, *coming), struck()))
    assert lines(status) == [
        ("Requeued", "lost"), ("Evicted", "lost"), ("Evicted", "lost"), ("Readmitted", "lost"),
        ("Replaced", "lost"), ("Replaced", "lost"),
    ]  # fmt: skip
    assert next(x for x in status.timeline if x.event == "Requeued").message == WHY
    (again,) = (x for x in status.timeline if x.event == "Readmitted")
    assert again.message == f"now on {node(4).name}, {node(5).name}"
    found = observed(status)
    assert (found["seconds_to_requeue"], found["seconds_to_readmit"]) == (
        Decimal("2.000"), Decimal("3.000"),
    )  # fmt: skip
    assert found["seconds_to_replace"] == Decimal("5.000")


def test_what_no_fault_struck_is_not_the_drills() -> None:
    elsewhere = replace(HELD, hosts=OTHERS)
    away = replace(elsewhere, evicted="Preempted", admitted=False)
    status = observe(sight(recorded(elsewhere, away), struck()))
    assert lines(status) == []
    other = Sighting(1, NOW, "Deleting", "ns/p9", node=node(5).name, of="train/w")
    assert lines(observe(sight((other,), struck()))) == [("Evicted", None)]


def test_of_two_faults_the_first_that_is_on_is_the_reason() -> None:
    def struck_by(fault: str, index: int, at_s: float, until_s: float | None = None) -> Any:
        more = {"restored_at": moment(NOW + timedelta(seconds=until_s))} if until_s else {}
        return entry(name=node(index).name).model_copy(
            update={"fault": fault, "applied_at": moment(NOW + timedelta(seconds=at_s)), **more}
        )

    away = replace(HELD, evicted=WHY, admitted=False)
    seen = recorded(HELD, away)[-1:]
    for journal, reason in (
        ([struck_by("a", 0, 0.1), struck_by("b", 1, 0.2)], "a"),
        ([struck_by("a", 0, 0.1, 0.5), struck_by("b", 1, 0.2)], "b"),
        ([struck_by("late", 0, 9.0)], None),
    ):
        status = struck().model_copy(update={"journal": journal})
        told = [
            fault for event, fault in lines(observe(sight(seen, status))) if event == "Requeued"
        ]
        assert told == ([reason] if reason else [])


def test_an_assignment_that_still_names_a_struck_node_is_none() -> None:
    both = struck().model_copy(update={"journal": [entry(), entry(name=node(1).name)]})
    status = observe(sight(recorded(HELD, replace(HELD, hosts=REPLACED)), both))
    assert lines(status) == []
    again = replace(HELD, hosts=OTHERS)
    seen = recorded(HELD, replace(HELD, hosts=REPLACED), again)
    assert lines(observe(sight(seen, both))) == [("Readmitted", "lost")]


def test_the_same_sighting_is_told_once() -> None:
    seen = recorded(HELD, replace(HELD, hosts=REPLACED))
    once = observe(sight(seen, struck()))
    again = observe(sight(seen, once))
    assert again.timeline == once.timeline


def test_an_operator_that_slept_finds_the_workload_back() -> None:
    line = told(NOW, "Requeued", fault="lost", about=HELD.key)
    back = replace(HELD, hosts=OTHERS)
    assert lines(observe(sight((), struck(line), workloads=[back])))[-1] == ("Readmitted", "lost")
    for still in (replace(back, admitted=False), replace(back, hosts=HOSTS),
                  replace(back, evicted=WHY)):  # fmt: skip
        status = observe(sight((), struck(line), workloads=[still]))
        assert lines(status) == [("Requeued", "lost")]


def test_the_twin_is_told_who_placed_a_pod() -> None:
    mine = pod("p")
    asked = build_request(sight((), struck(), pods=[mine]), Surroundings()).pods
    assert [(one.kueue, one.within) for one in asked] == [("job-train", "rack")]
    free = build_request(sight((), struck(), pods=[mine], workloads=[]), Surroundings()).pods
    assert [(one.kueue, one.within) for one in free] == [("", "")]


@pytest.mark.parametrize(
    ("level", "within"),
    [("kfarm.dev/scalable-unit", "scalable-unit"), ("kubernetes.io/hostname", ""), (None, "")],
)
def test_a_workload_is_read(level: str | None, within: str) -> None:
    labels = {"kfarm.dev/placement-plan": "train", "kfarm.dev/workload": "w"}
    pod_set = {"name": "main", "count": 2, "template": {"metadata": {"labels": labels}},
               "topologyRequest": {"required": level} if level else None}  # fmt: skip
    assigned = {
        "name": "main", "count": 2,
        "topologyAssignment": {
            "levels": ["kubernetes.io/hostname"],
            "slices": [{"domainCount": 2, "podCounts": {"universal": 1},
                        "valuesPerLevel": [{"individual": {"roots": ["a", "b"]}}]}],
        },
    }  # fmt: skip
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "train", "uid": "j",
             "controller": True}  # fmt: skip
    body = {
        "metadata": {"namespace": "ns", "name": "job-train", "uid": "w", "resourceVersion": "1",
                     "ownerReferences": [owner]},
        "spec": {"podSets": [pod_set]},
        "status": {
            "conditions": [
                {"type": "QuotaReserved", "status": "True", "lastTransitionTime": "t"},
                {"type": "Admitted", "status": "True"},
                {"type": "Evicted", "status": "True", "reason": "NodeFailures", "message": "gone"},
            ],
            "admission": {"clusterQueue": "q", "podSetAssignments": [assigned]},
        },
    }  # fmt: skip
    seen = drill_workload(body)
    assert (seen.plans, seen.owner, seen.within) == (frozenset({"train"}), "Job/train", within)
    assert (seen.evicted, seen.hosts) == ("NodeFailures: gone", frozenset({"a", "b"}))
