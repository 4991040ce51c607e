"""Promises about drills, each on a history that keeps it and on one that breaks it."""

from __future__ import annotations

import pytest
from kfarm_controlplane.faults.drill_invariants import drill_invariants
from kfarm_controlplane.faults.history import History
from unit.faults.drilled import (
    CHANGES,
    CONDITION,
    HELD,
    TAINT,
    DrillStory,
    by_the_book,
    entry,
    marks,
)
from unit.faults.histories import told

OTHER = "f1-c-0001"


def rules(story: DrillStory) -> list[str]:
    """Rules that a story breaks, each once."""
    return sorted({violation.rule for violation in drill_invariants(story.history)})


def test_a_drill_by_the_book_breaks_nothing() -> None:
    assert drill_invariants(by_the_book().history) == []


def test_stories_without_drills_are_not_looked_at() -> None:
    assert drill_invariants(told().history) == []
    assert drill_invariants(History(())) == []


def test_a_touch_before_the_journal() -> None:
    story = DrillStory()
    story.marked()
    story.drill(entry("Applied"))
    (found,) = drill_invariants(story.history)
    assert found.rule == "unjournaled"
    assert "f1-c-0000" in found.subject
    assert "DeviceFault" in found.message


@pytest.mark.parametrize(
    "noted",
    [
        entry(uid="another"),
        entry(node=OTHER),
        entry("Restored"),
        entry("Foreign"),
        entry(changes=CHANGES[1:]),
        entry(changes=[{**CHANGES[0], "after": '{"key": "x", "effect": "NoSchedule"}'}]),
    ],
)
def test_an_entry_about_something_else_does_not_count(noted: dict[str, object]) -> None:
    story = DrillStory()
    story.drill(noted)
    story.marked()
    assert rules(story) == ["unjournaled"]


def test_a_journal_that_comes_just_after_does_not_count() -> None:
    """Equal numbers do not occur; one later is too late."""
    story = DrillStory()
    story.drill(entry(changes=CHANGES[:1]))
    story.faulty()
    story.drill(entry())
    assert [v.rule for v in drill_invariants(story.history)].count("unjournaled") == 2


def test_a_lease_needs_its_entry_as_well() -> None:
    story = DrillStory()
    holder = "kfarm-drill/uid-d"
    story.lease(holder=holder, seconds=60, notes=marks(HELD))
    assert rules(story) == ["unjournaled"]
    story = DrillStory()
    story.drill(entry(kind="Lease", changes=HELD))
    story.lease(holder=holder, seconds=60, notes=marks(HELD))
    story.lease(holder=holder, seconds=1, notes=marks(HELD))  # so that it runs out
    story.lease(notes=marks(HELD))
    story.lease()
    assert rules(story) == []


def test_a_lease_held_for_longer_than_noted() -> None:
    story = DrillStory()
    story.drill(entry(kind="Lease", changes=HELD))
    story.lease(holder="kfarm-drill/uid-d", seconds=61, notes=marks(HELD))
    assert rules(story) == ["unjournaled"]


@pytest.mark.parametrize("missing", ["until", "drill", "undo"])
def test_a_mark_is_missing(missing: str) -> None:
    story = DrillStory()
    story.drill(entry())
    notes = marks(CHANGES)
    del notes[f"drill.kfarm.dev/{missing}"]
    story.marked(notes=notes)
    assert rules(story) == ["unmarked"]


@pytest.mark.parametrize(
    "notes",
    [
        {**marks(CHANGES), "drill.kfarm.dev/until": "soon"},
        {**marks(CHANGES), "drill.kfarm.dev/until": "2026-01-31T12:00:02Z"},
        {**marks(CHANGES), "drill.kfarm.dev/until": "2026-01-31T12:00:00"},
        {**marks(CHANGES), "drill.kfarm.dev/drill": "d"},
        {**marks(CHANGES), "drill.kfarm.dev/undo": "not JSON"},
        {**marks(CHANGES), "drill.kfarm.dev/undo": '[{"no": "field"}]'},
        marks(CHANGES[1:]),
    ],
)
def test_marks_that_do_not_help_are_none(notes: dict[str, str]) -> None:
    story = DrillStory()
    story.drill(entry())
    story.marked(notes=notes)
    assert rules(story) == ["unmarked"]


def test_marks_go_last() -> None:
    story = DrillStory()
    story.drill(entry())
    story.faulty()
    story.node(conditions=(CONDITION,), left="7")
    assert rules(story) == ["unmarked"]


def test_what_people_wrote_needs_no_journal_and_no_marks() -> None:
    story = DrillStory()
    story.drill(entry())
    story.marked()
    mine = {**TAINT, "value": "ByHand"}
    story.marked(taints=(mine,))
    story.node(taints=(mine,))
    story.drill(entry("Foreign"), phase="Completed")
    assert rules(story) == []


def test_more_nodes_than_allowed_at_once_or_one_after_the_other() -> None:
    both = [entry(), entry(node=OTHER)]
    story = DrillStory(maxPercent=100, minHealthy=0)
    story.drill(*both)
    story.marked()
    story.marked(OTHER)
    assert rules(story) == ["limits"]
    story = DrillStory(maxPercent=100)
    story.drill(*both)
    story.marked()
    story.node()
    story.marked(OTHER)
    assert rules(story) == ["limits"]
    story = DrillStory(maxNodes=2, maxPercent=100, minHealthy=0)
    story.drill(*both)
    story.marked()
    story.marked(OTHER)
    assert rules(story) == []


def test_a_share_of_the_nodes() -> None:
    story = DrillStory(maxPercent=49)
    story.drill(entry())
    story.marked()
    assert rules(story) == ["limits"]


def test_a_node_and_its_lease_are_one() -> None:
    story = DrillStory()
    story.drill(entry(), entry(kind="Lease", changes=HELD))
    story.marked()
    story.lease(holder="kfarm-drill/uid-d", seconds=60, notes=marks(HELD))
    assert rules(story) == []


def test_no_consent() -> None:
    story = DrillStory(consent=False)
    story.drill(entry())
    story.marked()
    assert rules(story) == ["no-consent"]


def test_too_few_are_healthy() -> None:
    story = DrillStory(minHealthy=51)
    story.drill(entry())
    story.marked()
    assert rules(story) == ["min-healthy"]
    story = DrillStory()
    story.node(OTHER, ready=False)
    story.drill(entry())
    story.marked()
    assert rules(story) == ["min-healthy"]


def test_a_node_that_fails_while_the_drill_is_on_is_not_its_fault() -> None:
    story = DrillStory()
    story.drill(entry())
    story.marked()
    story.node(OTHER, ready=False)
    story.faulty()
    assert rules(story) == []


def test_two_drills_at_a_time() -> None:
    story = DrillStory(minHealthy=0)
    story.drill(name="e", change="ADDED")
    story.drill(entry())
    story.drill(entry(node=OTHER), name="e")
    story.marked()
    story.marked(OTHER, notes=marks(CHANGES, "e"))
    assert rules(story) == ["two-drills"]


def test_one_drill_after_the_other() -> None:
    story = by_the_book()
    story.drill(name="e", change="ADDED")
    story.drill(entry(node=OTHER), name="e")
    story.marked(OTHER, notes=marks(CHANGES, "e"))
    assert rules(story) == []


def test_an_entry_vanishes_changes_or_goes_back() -> None:
    for later, rule in (
        ([], "journal-lost"),
        ([entry("Applied", changes=CHANGES[:1])], "journal-changed"),
        ([entry("Applied", uid="other")], "journal-changed"),
        ([entry("Planned")], "journal-back"),
    ):
        story = DrillStory()
        story.drill(entry("Applied"))
        story.drill(*later)
        assert rules(story) == [rule]


def test_an_entry_that_is_done_may_be_forgotten_but_not_opened_again() -> None:
    story = DrillStory()
    story.drill(entry("Restored"))
    story.drill()
    assert rules(story) == []
    story = DrillStory()
    story.drill(entry("Restored"))
    story.drill(entry("Applied"))
    assert rules(story) == ["journal-back"]


def test_targets_and_times_are_chosen_once() -> None:
    chosen = [{"fault": "f", "nodes": ["f1-c-0000"]}]
    story = DrillStory()
    story.drill(targets=chosen, startedAt="T0")
    story.drill(targets=[{"fault": "f", "nodes": [OTHER]}], startedAt="T0")
    assert rules(story) == ["targets-moved"]
    story = DrillStory()
    story.drill(targets=chosen, startedAt="T0")
    story.drill(targets=chosen, startedAt="T1")
    assert rules(story) == ["targets-moved"]
    story = DrillStory()
    story.drill(targets=chosen)
    story.drill(targets=[*chosen, {"fault": "g", "nodes": [OTHER]}], startedAt="T0")
    assert rules(story) == []


def test_over_with_something_left() -> None:
    story = DrillStory()
    story.drill(entry())
    story.marked()
    story.drill(entry("Restored"), phase="Completed")
    assert rules(story) == ["ended-early"]
    story = DrillStory()
    story.drill(entry("Applied"), phase="Completed")
    assert rules(story) == ["ended-early"]


def test_gone_with_something_left() -> None:
    story = DrillStory()
    story.drill(entry("Restored"))
    story.node(notes=marks(CHANGES))
    story.drill(entry("Restored"), change="DELETED")
    assert rules(story) == ["ended-early"]
