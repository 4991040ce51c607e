"""Residue: all that can be seen of Nodes and Leases, before and after."""

from __future__ import annotations

from typing import Any

import pytest
from kfarm_controlplane.faults.drill_marks import agrees, moment
from kfarm_controlplane.faults.drill_residue import (
    forget_recreated,
    keep_what_people_wrote,
    residue,
)
from kfarm_controlplane.faults.history import History, Scope
from kfarm_controlplane.faults.oracle import Masks, end_state, judge
from unit.faults.drilled import CONDITION, TAINT, DrillStory, by_the_book, entry, marks
from unit.faults.histories import FARM, SPACE


def said(story: DrillStory) -> list[str]:
    """Residue as text."""
    return [str(violation) for violation in residue(story.history)]


def test_nothing_is_left_by_the_book() -> None:
    assert said(by_the_book()) == []


@pytest.mark.parametrize(
    ("left", "where"),
    [
        ({"taints": (TAINT,)}, "taints.drill.kfarm.dev/fault:NoSchedule is {"),
        ({"conditions": (CONDITION,)}, "conditions.SysLogsGPUFallenOff is {"),
        ({"left": "7"}, "allocatable.nvidia.com/gpu is 7, was 8"),
        ({"notes": {"drill.kfarm.dev/until": "T"}}, "annotations.drill.kfarm.dev/until is T"),
        ({"ready": False}, "conditions.Ready.status is False, was True"),
    ],
)
def test_each_thing_that_is_left_is_told(left: dict[str, Any], where: str) -> None:
    story = by_the_book()
    story.node(**left)
    (found,) = said(story)
    assert found.startswith(f"residue: Node f1-c-0000: {where}")


def test_what_is_taken_away_too_much_is_told() -> None:
    story = by_the_book()
    story.labels = {k: v for k, v in story.labels.items() if k != "kfarm.dev/drill"}
    story.node()
    assert said(story) == [
        "residue: Node f1-c-0000: labels.kfarm.dev/drill is None, was allowed",
    ]


def test_times_of_conditions_do_not_matter() -> None:
    story = DrillStory()
    story.node(conditions=(CONDITION,), change="PRESENT", uid="Node-f1-c-0000")
    story.node(conditions=({**CONDITION, "lastTransitionTime": "T9"},))
    assert said(story) == []


def test_a_lease_is_given_back_with_its_duration() -> None:
    story = by_the_book()
    story.lease(holder="kfarm-drill/uid-d", seconds=60)
    assert len(said(story)) == 2
    story.lease(seconds=60)
    assert said(story) == [
        "residue: Lease f1-c-0000: spec.leaseDurationSeconds is 60, was 4",
    ]
    story.lease()
    assert said(story) == []


def test_a_lock_that_is_held_at_the_end() -> None:
    story = by_the_book()
    lock = {"spec": {"holderIdentity": "d"}}
    story.add("Lease", "kfarm-drill-f1-c", lock, space="kfarm-system")
    (found,) = said(story)
    assert found.startswith("residue: Lease kfarm-drill-f1-c: it is {'holder': 'd'}")
    story.add("Lease", "kfarm-drill-f1-c", {"spec": {}}, "MODIFIED", space="kfarm-system")
    assert said(story) == []


def test_a_node_that_is_gone_is_told() -> None:
    story = by_the_book()
    story.node(change="DELETED")
    (found,) = said(story)
    assert found.startswith("residue: Node f1-c-0000: it is None, was {")


def test_what_people_wrote_has_to_stay() -> None:
    mine = {**TAINT, "value": "ByHand"}
    story = DrillStory()
    story.faulty()
    story.faulty(taints=(mine,))
    story.node(taints=(mine,))
    assert residue(story.history, keep_what_people_wrote) == []
    story.node()
    (found,) = residue(story.history, keep_what_people_wrote)
    assert "taints.drill.kfarm.dev/fault:NoSchedule" in found.message


def test_a_node_made_anew_may_lack_what_people_gave_to_the_old_one() -> None:
    def edit(history: History, before: Any) -> Any:
        return forget_recreated(history, before, ("kfarm.dev/drill",))

    story = DrillStory()
    story.faulty()
    story.faulty(change="DELETED")
    story.labels = {k: v for k, v in story.labels.items() if k != "kfarm.dev/drill"}
    story.node(change="ADDED", uid="new")
    assert residue(story.history, edit) == []
    assert len(residue(story.history)) == 1
    story.marked(uid="new")
    assert residue(story.history, edit) != []


def test_the_judge_looks_for_residue_only_where_drills_may_touch() -> None:
    story = by_the_book()
    story.node(ready=False)
    scope = Scope(SPACE, FARM)
    assert [v.rule for v in judge(story.history, scope, None, Masks())] == []
    masks = Masks(edit=lambda _, before: before)
    assert [v.rule for v in judge(story.history, scope, None, masks)] == ["residue"]


def test_leases_belong_to_a_play_by_their_name() -> None:
    story = by_the_book()
    story.add("Lease", "f2-c-0000", {"spec": {}}, space="kube-node-lease")
    story.add("Lease", "f1-c-0000", {"spec": {}}, space="elsewhere")
    own = story.history.within(Scope(SPACE, FARM))
    kept = {(v.namespace, v.name) for v in own.of_kind("Lease")}
    assert kept == {("kube-node-lease", "f1-c-0000"), ("kube-node-lease", "f1-c-0001")}


def test_the_end_of_a_drill_is_compared() -> None:
    story = by_the_book()
    status = {"phase": "Completed", "verdict": "Passed", "touched": 1}
    story.drill(entry("Restored"), **status)
    state = end_state(story.history, Scope(SPACE, FARM))["FailureDrill d"]
    assert state["verdict"] == "Passed"
    assert sorted(state["journal"][0]) == ["<farm>-c-0000", "Node", "Restored", "f"]
    assert state["targets"] == {}


@pytest.mark.parametrize(
    ("noted", "value", "same"),
    [
        ('"7"', "7", True),
        ("60", 60, True),
        ("60", 61, False),
        (None, None, True),
        (None, "7", False),
        ('{"key": "a"}', {"key": "a", "value": "b"}, True),
        ('{"key": "a", "lastTransitionTime": "T"}', {"key": "a"}, True),
        ('{"key": "b"}', {"key": "a"}, False),
        ("DeviceFault", {"key": "a", "value": "DeviceFault"}, True),
        ("{bad", "x", False),
    ],
)
def test_notes_and_values(noted: str | None, value: object, same: bool) -> None:
    assert agrees(noted, value) is same


@pytest.mark.parametrize("text", ["", "soon", "2026-01-31", "2026-01-31T12:00:00", None, 7])
def test_no_moment(text: object) -> None:
    assert moment(text) is None


def test_marks_are_whole() -> None:
    assert set(marks([])) == {f"drill.kfarm.dev/{n}" for n in ("until", "drill", "undo")}
