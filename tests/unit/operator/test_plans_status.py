"""Conditions, claims and statuses as they are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from kfarm_api.base import Condition
from kfarm_api.ledger import Claim, NodeClaim
from kfarm_api.plan import AssumptionResult
from kfarm_operator.conditions import condition, parse_timestamp, shorten, timestamp
from kfarm_operator.plans.claims import LostRace, merged, seats_of
from kfarm_operator.plans.decide import Assign, Report, Wait
from kfarm_operator.plans.request import build_request, find_survivors
from kfarm_operator.plans.status import (
    assigned_status,
    expiry,
    report_status,
    same,
    verdict_status,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def scene(scenes: Any) -> Any:
    return scenes.Scene()


# Conditions and times.


def test_times_are_utc_to_the_second_and_come_back() -> None:
    seoul = NOW.astimezone(timezone(timedelta(hours=9))).replace(microsecond=999_999)
    assert timestamp(seoul) == "2026-01-01T12:00:00Z"
    assert parse_timestamp(timestamp(seoul)) == NOW


@pytest.mark.parametrize(("length", "kept"), [(10, 10), (2000, 2000), (2001, 2000)])
def test_messages_fit_their_field(length: int, kept: int) -> None:
    text = shorten("가" * length)
    assert len(text) == kept
    assert text.endswith("…") == (length > kept)


@pytest.mark.parametrize(
    ("kind", "status", "kept"),
    [("Ready", "True", True), ("Ready", "False", False), ("Other", "True", False)],
)
def test_the_transition_time_stays_while_the_status_does(
    kind: str, status: Any, kept: bool
) -> None:
    old = Condition(type=kind, status=status, reason="Old", last_transition_time=timestamp(NOW))
    later = NOW + timedelta(hours=1)
    made = condition("Ready", "True", "New", "m" * 3000, generation=3, before=[old], now=later)
    assert made["lastTransitionTime"] == timestamp(NOW if kept else later)
    assert (made["reason"], made["observedGeneration"]) == ("New", 3)
    assert len(made["message"]) == 2000


# Claims.


def claim(uid: str, *nodes: str, expires_s: float = 60, accelerators: int = 8) -> Claim:
    return Claim(
        namespace="t",
        plan=uid,
        uid=uid,
        generation=1,
        epoch=0,
        digest="d",
        expires_at=timestamp(NOW + timedelta(seconds=expires_s)),
        nodes=[NodeClaim(node=node, accelerators=accelerators) for node in nodes],
    )


def test_an_earlier_claim_of_the_plan_is_replaced() -> None:
    old, other, new = claim("mine", "a"), claim("other", "b"), claim("mine", "c")
    assert merged([old, other], new, lambda _: 8, NOW) == [other, new]


def test_expired_claims_fall_away() -> None:
    dead, new = claim("dead", "a", expires_s=0), claim("mine", "c")
    assert merged([dead], new, lambda _: 8, NOW) == [new]


def test_a_claim_on_nothing_withdraws() -> None:
    other = claim("other", "b")
    assert merged([claim("mine", "a"), other], claim("mine"), lambda _: 0, NOW) == [other]


@pytest.mark.parametrize(("room", "fits"), [(8, True), (7, False), (0, False), (-8, False)])
def test_who_finds_no_room_has_lost_the_race(room: int, fits: bool) -> None:
    new = claim("mine", "a")
    if fits:
        assert merged([], new, lambda _: room, NOW) == [new]
    else:
        with pytest.raises(LostRace, match="node a"):
            merged([], new, lambda _: room, NOW)


def test_seats_are_summed_by_node_and_name_every_farm(scenes: Any) -> None:
    scene = scenes.Scene(nodes=1, workloads=[scenes.workload_body(acceleratorsPerPod=4)])
    scene.settle()
    observed = scene.observed()
    assert seats_of(observed, observed.plan.status.placements) == {
        ("GPUFarm", "f"): {"f-c-0000": 8}
    }
    assert seats_of(observed, []) == {("GPUFarm", "f"): {}}
    placements = observed.plan.status.placements
    scene.nodes.clear()
    with pytest.raises(LostRace, match="f-c-0000 is gone"):
        seats_of(scene.observed(), placements)


# Statuses.


def test_a_refusal_clears_what_the_approval_left(scene: Any) -> None:
    scene.settle()
    assert scene.status["expiresAt"] == "2026-01-01T01:00:00Z"
    scene.edit(load=50)
    scene.settle("Rejected")
    assert scene.status["verdict"] == "Rejected"
    assert "expiresAt" not in scene.status
    assert scene.status["placements"] == []
    assert (scene.status["slots"], scene.status["epoch"]) == (0, 1)
    assert scene.claims == []


def test_what_is_cleared_is_an_explicit_null(scene: Any) -> None:
    scene.settle("Rejected")
    status = report_status(scene.observed(), Report("ChecksFailed", "m"))
    assert status["expiresAt"] is None
    assert status["worstFuture"] is None


def assumptions() -> AssumptionResult:
    figures = {"unit": "K/W", "stated": "4", "low": "3", "high": "5", "check": "ettr"}
    figures |= {"marginStated": "1", "marginLow": "2", "marginHigh": "-1", "message": "m"}
    inputs = [
        {"input": "a", "name": "a", "sought": True, "breakEven": "4.5"},
        {"input": "b", "name": "b", "unknown": True, "flips": True},
        {"input": "c", "name": "c"},
    ]
    found = {"draws": 64, "approving": 12, "futures": 16, "message": "12 of 64"}
    return AssumptionResult.model_validate({**found, "inputs": [i | figures for i in inputs]})


def test_the_status_says_what_a_verdict_rests_on(scene: Any, scenes: Any) -> None:
    """Inputs that decide it or whose break-even was sought; written once, and cleared."""
    request = build_request(scene.observed(), {}, 0)
    plain = scenes.pretend_verdict(request, "Inconclusive")
    verdict = plain.model_copy(
        update={"reason": "AssumptionDominated", "assumptions": assumptions()}
    )
    observed = scene.observed()
    wanted = verdict_status(
        observed, verdict, {}, epoch=0, attempts=0, expires=expiry(observed, NOW), now=NOW
    )
    assert wanted["reason"] == "AssumptionDominated"
    assert [entry["input"] for entry in wanted["assumptions"]["inputs"]] == ["a", "b"]
    assert wanted["assumptions"]["approving"] == 12
    scene.plan["status"] = {key: value for key, value in wanted.items() if value is not None}
    again = report_status(scene.observed(), Report("AssumptionDominated", verdict.message))
    assert again["assumptions"] == wanted["assumptions"]
    cleared = verdict_status(scene.observed(), plain, {}, epoch=1, attempts=0, expires=NOW, now=NOW)
    assert cleared["assumptions"] is None
    assert cleared["conditions"][0]["status"] == "False"


def test_a_refusal_lists_survivors_and_counts_them(scene: Any) -> None:
    uids = [scene.pod("a"), scene.pod("b")]
    scene.settle()
    scene.bind(*uids)
    scene.edit(load=50)
    assert len(find_survivors(scene.observed())) == 2
    scene.settle("Rejected")
    assert [slot["podUid"] for slot in scene.slots] == uids
    assert (scene.status["released"], scene.status["bound"]) == (2, 2)


def test_assigned_pods_are_written_beside_their_slots(scene: Any) -> None:
    scene.settle()
    uid = scene.pod("b")
    scene.pod("a")
    decision = scene.decide()
    assert isinstance(decision, Assign)
    status = assigned_status(scene.observed(), decision.pairs[1:])
    slots = status["placements"][0]["slots"]
    assert "podUid" not in slots[0]
    assert (slots[1]["pod"], slots[1]["podUid"]) == ("b", uid)
    assert slots[1]["nodeDigest"]
    assert status["epoch"] == 0


@pytest.mark.parametrize(
    ("stage", "ready", "validated", "released"),
    [
        ("new", "False", "Unknown", "False"),
        ("refused", "False", "False", "False"),
        ("undecided", "False", "Unknown", "False"),
        ("approved", "True", "True", "False"),
        ("edited", "False", "Unknown", "False"),
        ("bound", "True", "True", "True"),
    ],
)
def test_conditions_by_stage(
    scene: Any, stage: str, ready: str, validated: str, released: str
) -> None:
    if stage != "new":
        scene.settle({"refused": "Rejected", "undecided": "Inconclusive"}.get(stage, "Approved"))
    if stage == "bound":
        uids = [scene.pod("a"), scene.pod("b")]
        scene.settle()
        scene.bind(*uids)
    if stage == "edited":
        scene.edit(load=50)
    status = report_status(scene.observed(), Wait("Because", "it is so"))
    found = {row["type"]: row["status"] for row in status["conditions"]}
    assert found == {"Ready": ready, "Validated": validated, "Released": released}
    assert status["conditions"][0]["reason"] == "Because"


def test_transition_times_are_kept_from_the_status(scene: Any) -> None:
    scene.settle()
    before = scene.status["conditions"]
    scene.wait(500)
    scene.pod("a")
    scene.settle()
    after = {row["type"]: row for row in scene.status["conditions"]}
    assert after["Ready"]["status"] == "False"
    assert after["Ready"]["lastTransitionTime"] != before[0]["lastTransitionTime"]
    assert after["Validated"]["lastTransitionTime"] == before[1]["lastTransitionTime"]


def test_in_steady_state_nothing_is_written(scene: Any) -> None:
    scene.settle()
    status = scene.plan["status"]
    scene.wait(10)
    scene.settle()
    assert scene.plan["status"] is status


@pytest.mark.parametrize(
    ("old", "new", "equal"),
    [
        (None, {}, True),
        (None, {"a": None, "b": []}, True),
        ({"a": 1}, {"a": 1, "b": None}, True),
        ({"a": 0}, {}, False),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1}, {}, False),
    ],
)
def test_absent_and_null_are_the_same(old: Any, new: Any, equal: bool) -> None:
    assert same(old, new) is equal
