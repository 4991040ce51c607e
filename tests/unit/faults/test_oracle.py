"""Ends and counts of two plays, compared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from kfarm_controlplane.faults.history import History, Scope, Version
from kfarm_controlplane.faults.oracle import (
    Masks,
    compare,
    counts,
    end_state,
    judge,
    leftovers,
    noise,
    reference,
)
from unit.faults.histories import FARM, SPACE, Story, claim, slots, told, verdict

SCOPE = Scope(SPACE, FARM)
NODE, OTHER = "f1-c-0000", "f1-c-0001"


def whole() -> Story:
    story = told()
    story.add("GPUFarm", FARM, {"status": {"nodes": 2}}, "PRESENT")
    return story


def elsewhere(story: Story) -> tuple[History, Scope]:
    """The same story on another stage, with other uids."""

    def told_again(value: Any) -> Any:
        if isinstance(value, dict):
            return {told_again(k): told_again(v) for k, v in value.items()}
        if isinstance(value, list):
            return [told_again(v) for v in value]
        if isinstance(value, str):
            for old, new in ((SPACE, "p77"), (FARM, "f77"), ("pod-a", "9e1"), ("T0", "T9")):
                value = value.replace(old, new)
        return value

    def again(version: Version) -> Version:
        names = (version.namespace, version.name, version.uid)
        space, name, uid = (told_again(text) for text in names)
        return replace(
            version, namespace=space, name=name, uid=uid, number=version.number + 500,
            body=told_again(version.body),
        )  # fmt: skip

    return History.of(again(v) for v in story.versions), Scope("p77", "f77")


def test_names_uids_and_times_do_not_matter() -> None:
    expected = reference(whole().history, SCOPE, Masks())
    assert judge(*elsewhere(whole()), expected, Masks()) == []
    assert expected.state["Pod a"]["pinned"] == "<farm>-c-0000"
    assert expected.counts == {
        "create Pod a": 1,
        "create PlacementPlan train": 1,
        "release Pod a": 1,
        "verdicts PlacementPlan train": 1,
        "create Node <farm>-c-0000": 1,
        "create Node <farm>-c-0001": 1,
    }


def test_another_end_is_told_field_by_field() -> None:
    expected = reference(whole().history, SCOPE, Masks())
    story = whole()
    story.plan(verdict("Rejected", epoch=1))
    told_of = [str(violation) for violation in judge(story.history, SCOPE, expected, Masks())]
    assert "end: PlacementPlan train: verdict is Rejected, should be Approved" in told_of
    assert "count: verdicts PlacementPlan train: 2 times, should be 1" in told_of


def test_what_is_missing_or_too_much() -> None:
    few, many = end_state(told().history, SCOPE), end_state(whole().history, SCOPE)
    assert [v.subject for v in compare(few, many)] == ["GPUFarm <farm>"]
    assert [v.subject for v in compare(many, few)] == ["GPUFarm <farm>"]


def test_a_pod_created_twice_shows_though_the_end_is_the_same() -> None:
    once, twice = whole(), Story()
    twice.pod(change="ADDED", uid="first")
    twice.pod(change="DELETED", uid="first", conditions=[
        {"type": "DisruptionTarget", "reason": "EvictionByEvictionAPI"}])  # fmt: skip
    twice.versions += [replace(v, number=v.number + 10) for v in once.versions[2:]]
    history = History.of(twice.versions)
    found = counts(history, SCOPE)
    assert (found["create Pod a"], found["delete Pod a"], found["evict Pod a"]) == (2, 1, 1)
    assert found["release Pod a"] == 1
    expected = reference(once.history, SCOPE, Masks())
    assert {v.rule for v in judge(history, SCOPE, expected, Masks())} == {"count", "end"}


def test_masks_leave_open_what_they_name() -> None:
    story = told()
    chosen = told()
    chosen.versions = [
        replace(v, body=_swapped(v.body)) if v.kind != "Node" else v for v in chosen.versions
    ]
    expected = reference(story.history, SCOPE, Masks())
    assert judge(chosen.history, SCOPE, expected, Masks())
    free = Masks(nodes=True)
    assert judge(chosen.history, SCOPE, reference(story.history, SCOPE, free), free) == []
    epoch = Masks(drop=frozenset({"epoch"}), uncounted=("verdicts ",))
    story.ledger(claim("uid-1", NODE, epoch=1))
    story.plan(verdict(epoch=1, **slots((NODE, "pod-a"))))
    other = reference(told().history, SCOPE, epoch)
    assert judge(story.history, SCOPE, other, epoch) == []
    assert judge(story.history, SCOPE, expected, Masks())


def _swapped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _swapped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_swapped(item) for item in value]
    return {NODE: OTHER, OTHER: NODE}.get(value, value) if isinstance(value, str) else value


@pytest.mark.parametrize(("uid", "bad"), [("uid-1", False), ("uid-9", True)])
def test_a_claim_needs_its_holder(uid: str, bad: bool) -> None:
    story = told()
    story.ledger(claim(uid, NODE))
    assert bool(leftovers(story.history)) == bad


def test_others_do_not_count() -> None:
    story = told()
    story.add("Pod", "stranger", {"spec": {}}, space="elsewhere")
    story.add("Node", "f11-c-0000", {})
    state = end_state(story.history.within(SCOPE), SCOPE)
    assert state == end_state(told().history.within(SCOPE), SCOPE)


def test_a_ledger_of_nothing_is_none() -> None:
    story = told()
    story.ledger()
    assert not any(name.startswith("NodeLedger") for name in end_state(story.history, SCOPE))


def test_noise_is_what_we_write_when_nothing_is_left_to_do() -> None:
    story = told()
    rest = story.history.last
    story.pod(gated=False, host=NODE, phase="Running")
    assert noise(story.history, rest) == []
    story.plan(verdict(**slots((NODE, "pod-a"))))
    story.add("Event", "e", {"source": {"component": "kfarm"}}, space=SPACE)
    assert [v.kind for v in noise(story.history, rest)] == ["PlacementPlan", "Event"]


def test_what_stood_at_the_start_was_not_made_by_the_play() -> None:
    story = told()
    history = story.history.starting(4)
    assert [v.change for v in history.versions[:4]] == ["PRESENT"] * 4
    assert "create Pod a" not in counts(history, SCOPE)
    assert history.before(8, "Pod", SPACE, "a") is not None
