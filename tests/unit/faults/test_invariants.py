"""Each promise with a history that breaks it; what keeps them all is told first."""

from __future__ import annotations

import pytest
from kfarm_controlplane.faults.invariants import OPEN_GATE_S, RULES, invariants
from unit.faults.histories import Story, claim, slots, told, verdict

NODE, OTHER = "f1-c-0000", "f1-c-0001"


def rules(story: Story) -> list[str]:
    return [violation.rule for violation in invariants(story.history)]


def test_a_story_in_order_breaks_nothing() -> None:
    story = told()
    story.plan(verdict(**slots((NODE, "pod-a"))), generation=2)
    story.plan(verdict("Rejected", epoch=1, generation=2), generation=2)
    story.ledger()
    assert rules(story) == []


def test_a_release_without_a_plan() -> None:
    story = Story()
    story.pod(change="ADDED")
    story.pod(gated=False, host=NODE)
    (violation,) = invariants(story.history)
    assert str(violation) == "release: pod a: at 4 released though there is no plan 'train'"


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (None, "under verdict None"),
        (verdict("Rejected"), "under verdict Rejected"),
        (verdict(**slots((NODE, ""))), "without a slot"),
        (verdict(**slots((NODE, "pod-b"))), "without a slot"),
        (verdict(**slots((OTHER, "pod-a"))), f"to node {NODE}, validated for {OTHER}"),
    ],
)
def test_a_release_that_the_plan_does_not_allow(status: dict[str, object], says: str) -> None:
    story = Story()
    story.plan(change="ADDED")
    story.pod(change="ADDED")
    story.ledger(claim("uid-1", NODE, OTHER))
    story.plan(status)
    story.pod(gated=False, host=NODE)
    (violation,) = invariants(story.history)
    assert violation.rule == "release"
    assert says in violation.message


def test_a_release_just_before_its_record_is_written() -> None:
    story = told()
    record, lift = story.versions[-2:]
    story.versions[-2:] = []
    story.pod(gated=False, host=NODE)
    story.plan(record.body["status"])
    assert rules(story) == ["release"]
    assert lift.number == record.number + 1


def test_a_verdict_on_another_plan_of_the_name() -> None:
    story = told()
    lift = story.versions.pop()
    story.plan(change="DELETED")
    story.plan(uid="uid-3", change="ADDED")
    story.pod(gated=False, host=str(lift.body["spec"]["nodeSelector"]["kubernetes.io/hostname"]))
    assert rules(story) == ["release"]


def test_a_slot_given_under_the_verdict_on_an_older_generation() -> None:
    story = Story()
    story.plan(change="ADDED")
    story.ledger(claim("uid-1", NODE))
    story.plan(verdict(**slots((NODE, ""))))
    story.plan(verdict(**slots((NODE, ""))), generation=2)
    story.pod(change="ADDED")
    story.plan(verdict(**slots((NODE, "pod-a"))), generation=2)
    assert rules(story) == ["stale-slot"]
    story.pod(gated=False, host=NODE)
    release, _ = invariants(story.history)
    assert "generation 1, given its slot on 2" in release.message


@pytest.mark.parametrize(
    "held",
    [
        (),
        (claim("uid-1", NODE),),
        (claim("uid-2", NODE, OTHER),),
        (claim("uid-1", NODE, OTHER, epoch=1),),
    ],
)
def test_an_approval_without_a_claim_on_its_nodes(held: tuple[dict[str, object], ...]) -> None:
    story = Story()
    story.plan(change="ADDED")
    story.ledger(*held)
    story.plan(verdict(**slots((NODE, ""), (OTHER, ""))))
    assert rules(story) == ["unclaimed"]


def test_a_claim_that_another_has_written_over() -> None:
    story = Story()
    story.plan(change="ADDED")
    story.plan(change="ADDED", uid="uid-2", name="other")
    story.ledger(claim("uid-1", NODE))
    story.ledger(claim("uid-2", NODE))
    story.plan(verdict(**slots((NODE, ""))), uid="uid-2", name="other")
    assert rules(story) == []
    story.plan(verdict(**slots((NODE, ""))))
    assert rules(story) == ["unclaimed"]


def test_an_edit_when_the_release_was_on_its_way() -> None:
    story = told()
    lift = story.versions.pop()
    story.plan(verdict(**slots((NODE, "pod-a"))), generation=2)
    story.pod(gated=False, host=str(lift.body["spec"]["nodeSelector"]["kubernetes.io/hostname"]))
    assert rules(story) == []


def workload_story(state: str = "Ready", admitted: str = "True", held: str = NODE) -> Story:
    story = Story()
    status = {
        "admissionChecks": [{"name": "twin", "state": state}],
        "conditions": [{"type": "Admitted", "status": admitted}],
    }
    story.add("Workload", "wl", {"status": status}, uid="w", space="p1")
    story.ledger({**claim("w", held), "workload": "wl"})
    story.pod(change="ADDED", workload="wl")
    story.pod(gated=False, host=NODE, workload="wl")
    return story


def test_a_release_that_kueue_and_the_ledger_allow() -> None:
    assert rules(workload_story()) == []


@pytest.mark.parametrize(
    ("story", "says"),
    [
        (workload_story(state="Pending"), "checks of wl say ['Pending']"),
        (workload_story(admitted="False"), "wl is not admitted"),
        (workload_story(held=OTHER), f"to node {NODE}, which wl has not claimed"),
    ],
)
def test_a_release_that_kueue_or_the_ledger_does_not_allow(story: Story, says: str) -> None:
    (violation,) = invariants(story.history)
    assert says in violation.message


def test_two_verdicts_on_one_epoch() -> None:
    story = told()
    story.plan(verdict("Rejected"))
    assert rules(story) == ["two-verdicts"]


def test_an_epoch_that_goes_back() -> None:
    story = told()
    story.plan(verdict(epoch=1))
    story.plan(verdict(epoch=0))
    assert rules(story) == ["epoch-back"]


def test_a_verdict_that_is_lost() -> None:
    story = told()
    story.plan()
    assert rules(story) == ["verdict-lost"]


def test_a_verdict_written_on_an_edited_plan() -> None:
    story = Story()
    story.plan(change="ADDED")
    story.plan(generation=2)
    story.plan(verdict(), generation=2)
    assert rules(story) == ["stale-verdict"]


@pytest.mark.parametrize(
    ("check", "bad"),
    [
        ({"result": "Passed", "estimate": "1.5e-05"}, False),
        ({"result": "NotApplicable"}, False),
        ({"result": "Failed", "estimate": "2"}, True),
        ({"result": "Passed", "estimate": "nan"}, True),
        ({"result": "Passed", "estimate": "inf"}, True),
        ({"result": "Passed", "estimate": "many"}, True),
        ({"result": "Passed"}, True),
    ],
)
def test_an_approval_needs_finite_estimates(check: dict[str, str], bad: bool) -> None:
    story = Story()
    story.plan(change="ADDED")
    story.plan(verdict(checks=[{"metric": "m", **check}]))
    assert rules(story) == (["unproved"] if bad else [])


def test_a_node_claimed_twice() -> None:
    story = Story()
    story.ledger(claim("uid-1", NODE), claim("uid-2", OTHER))
    assert rules(story) == []
    story.ledger(claim("uid-1", NODE), claim("uid-2", NODE))
    assert rules(story) == ["double-claim"]


def test_a_node_shared_within_its_devices() -> None:
    story = Story()
    story.ledger(claim("uid-1", NODE, accelerators=4), claim("uid-2", NODE, accelerators=4))
    assert rules(story) == []


def test_one_holder_with_two_claims() -> None:
    story = Story()
    story.ledger(claim("uid-1", NODE), claim("uid-1", OTHER))
    assert rules(story) == ["double-claim"]


def test_a_claim_that_goes_back() -> None:
    story = Story()
    story.ledger(claim("uid-1", NODE, epoch=1))
    story.ledger(claim("uid-1", NODE, epoch=0, generation=2))
    assert rules(story) == []
    story.ledger(claim("uid-1", NODE, epoch=1))
    assert rules(story) == ["claim-back"]


def test_pods_that_hold_more_than_a_node_has() -> None:
    story = told()
    story.pod("b", gated=False, host=NODE, change="PRESENT")
    assert rules(story) == ["overfull"]


@pytest.mark.parametrize("end", ["Succeeded", "Failed"])
def test_a_node_is_free_again_once_its_pod_has_ended(end: str) -> None:
    story = told()
    story.pod(gated=False, host=NODE, phase=end)
    story.pod("b", gated=False, host=NODE, change="PRESENT")
    assert rules(story) == []


def test_a_pod_in_two_slots() -> None:
    story = Story()
    story.plan(change="ADDED")
    story.ledger(claim("uid-1", NODE, OTHER))
    story.plan(verdict(**slots((NODE, "pod-a"), (OTHER, "pod-a"))))
    assert rules(story) == ["doubled-slot"]


@pytest.mark.parametrize(("after_s", "bad"), [(OPEN_GATE_S / 2, False), (OPEN_GATE_S + 1, True)])
def test_a_release_while_a_policy_is_missing(after_s: float, bad: bool) -> None:
    story = told()
    lift = story.versions.pop()
    kind = "ValidatingAdmissionPolicyBinding"
    story.add(kind, "kfarm-gate-pods", {}, "PRESENT")
    story.add(kind, "kfarm-gate-pods", {}, "DELETED", seen=100.0)
    released = story.add(
        "Pod", "a", lift.body, "MODIFIED", uid=lift.uid, space="p1", seen=100.0 + after_s,
        labels=lift.body["metadata"]["labels"],
    )  # fmt: skip
    assert rules(story) == (["gate-open"] if bad else [])
    story.versions.pop()
    story.add(kind, "kfarm-gate-pods", {}, "ADDED", seen=101.0)
    story.add("Pod", "a", lift.body, "MODIFIED", uid=lift.uid, space="p1", seen=released.seen,
              labels=lift.body["metadata"]["labels"])  # fmt: skip
    assert rules(story) == []


def test_every_rule_has_its_story_here() -> None:
    assert len(RULES) == 10
