"""Plans of faults: JSON both ways, draws by a seed, and what a session makes of them."""

from __future__ import annotations

import pytest
from kfarm_controlplane.faults.campaign import quantile, read_plans
from kfarm_controlplane.faults.plans import (
    AT_EVENTS,
    AT_WRITES,
    SLOW,
    Fault,
    FaultPlan,
    Learned,
    Mix,
    enumerate_plans,
    learned,
    sample,
)
from kfarm_controlplane.faults.session import Route, Session, list_key
from kfarm_controlplane.faults.signature import Mask, Signature

VERDICT = Signature("PATCH", "placementplans", "status", "train", "verdict=Approved")
LIFT = Signature("PATCH", "pods", "", "w-0", "spec.schedulingGates")
POD = Signature("ADDED", "pods", "", "w-0", "gated,Pending", "kfarm.dev/placement-plan")
KNOWN = Learned("approved", (VERDICT, LIFT), (POD,))
MASK = Mask("p0001", "f0001")


def test_a_plan_reads_as_it_was_written() -> None:
    plan = FaultPlan("approved", (Fault("KillAfter", VERDICT), Fault("DropEvent", POD)), "blind")
    assert FaultPlan.from_json(plan.to_json()) == plan
    assert read_plans(f"\n{plan.to_json()}\n") == [plan]


AT_PODS = '"faults": [{"kind": "%s", "at": {"verb": "%s", "resource": "pods"}}]'


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[]", "not a plan"),
        ("{}", "not a plan"),
        ('{"scenario": "approved", "faults": [{"kind": "Reset"}]}', "not a plan"),
        (f'{{"scenario": "x", {AT_PODS % ("Nap", "PATCH")}}}', "no fault 'Nap'"),
        (f'{{"scenario": "x", {AT_PODS % ("Reset", "ADDED")}}}', "cannot strike"),
        ("{", "line 1"),
    ],
)
def test_what_is_no_plan_is_refused_with_its_line(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=r"line 1: .*") as error:
        read_plans(text)
    assert what in str(error.value)


def test_every_fault_is_tried_everywhere_once() -> None:
    plans = enumerate_plans(KNOWN)
    assert len(plans) == len(set(plans)) == 2 * len(AT_WRITES) + len(AT_EVENTS)


def test_a_sample_is_the_same_for_a_seed_and_never_repeats() -> None:
    other = Learned("rejected", (VERDICT,))
    drawn = sample([KNOWN, other], 60, 7)
    assert drawn == sample([KNOWN, other], 60, 7)
    assert drawn != sample([KNOWN, other], 60, 8)
    assert len(set(drawn)) == 60
    kinds = {fault.kind for plan in drawn for fault in plan.faults}
    assert kinds >= {"KillBefore", "KillAfter", "DropEvent"}
    assert kinds & set(SLOW)
    assert any(len(plan.faults) == 2 for plan in drawn)


def test_a_rare_scenario_has_its_turn_less_often() -> None:
    other = Learned("fifty_plans", (VERDICT, LIFT), (POD,))
    drawn = sample([KNOWN, other], 40, 7, rare={"fifty_plans": 4})
    assert 0 < sum(plan.scenario == "fifty_plans" for plan in drawn) < 15


def test_the_second_of_a_pair_can_come_after_the_first() -> None:
    twice = Signature("PATCH", "pods", "", "w-0", "spec.schedulingGates", occurrence=2)
    known = Learned("approved", (VERDICT, LIFT, twice), (POD,), (POD, VERDICT, LIFT, twice))
    pairs = [plan.faults for plan in sample([known], 80, 7, Mix(single=0, slow=0, pair=1))]
    assert len(pairs) == 80
    for first, second in pairs:
        left = known.order[known.order.index(first.at) :]
        assert 1 <= second.at.occurrence <= sum(place.key == second.at.key for place in left)
        assert second.at != POD
    lifts = [second for first, second in pairs if first.at == LIFT and second.at == LIFT]
    assert lifts, "the same write, tried again, or the next of its kind"


def test_a_small_scenario_yields_what_it_has() -> None:
    assert 0 < len(sample([Learned("tiny", (VERDICT,))], 400, 7)) < 400
    assert sample([], 5, 7) == []


def test_only_what_comes_every_time_is_learned() -> None:
    second = Signature("PATCH", "pods", "", "w-0", "spec.schedulingGates", occurrence=2)
    known = learned("approved", [[POD, VERDICT, LIFT, second], [VERDICT, POD, LIFT]])
    assert (known.writes, known.events) == ((VERDICT, LIFT), (POD,))


def test_a_route_is_read_from_a_path() -> None:
    status = "/apis/kfarm.dev/v1alpha1/namespaces/p0001/placementplans/train/status"
    route = Route.read("PATCH", status, "fieldManager=kfarm")
    assert (route.resource, route.namespace, route.name, route.subresource, route.is_write) == (
        "placementplans", "p0001", "train", "status", True,
    )  # fmt: skip
    assert Route.read("GET", "/api/v1/namespaces/p0001", "").name == "p0001"
    assert Route.read("GET", "/api/v1/pods", "watch=true&labelSelector=a").selector == "a"
    assert not Route.read("POST", "/api/v1/namespaces/p0001/pods", "dryRun=All").is_write
    assert Route.read("GET", "/api/v1/nodes", "limit=500").is_list
    first = list_key("/api/v1/nodes", "limit=500&resourceVersion=7")
    assert first == list_key("/api/v1/nodes", "resourceVersion=9&limit=500")


def write(session: Session, name: str, namespace: str = "p0001") -> Fault | None:
    route = Route.read("PATCH", f"/api/v1/namespaces/{namespace}/pods/{name}", "")
    return session.write(route, {"spec": {"schedulingGates": None}, "metadata": {"uid": "u"}})


def test_a_fault_strikes_the_right_occurrence_and_once() -> None:
    second = Signature("PATCH", "pods", "", "w-0", "spec.schedulingGates", occurrence=2)
    fault = Fault("Reset", second)
    session = Session(MASK, [fault])
    found = [write(session, "w-0"), write(session, "w-1"), write(session, "w-0")]
    assert found == [None, None, fault]
    assert session.struck
    assert [write(session, "w-0"), session.writes] == [None, 4]


def test_the_second_fault_counts_from_the_first() -> None:
    first, second = Fault("KillBefore", LIFT), Fault("KillAfter", LIFT)
    session = Session(MASK, [first, second])
    assert [write(session, "w-0"), session.struck] == [first, False]
    assert [write(session, "w-0"), session.struck] == [second, True]


def test_what_belongs_to_others_is_neither_seen_nor_struck() -> None:
    session = Session(MASK, [Fault("Reset", LIFT)])
    assert write(session, "w-0", "p0002") is None
    assert (session.seen, session.writes) == ([], 0)


def test_names_are_masked_alike_in_every_play() -> None:
    uid = "0b0f2a6e-4d6c-4a4e-9d0d-5a1c5f0f3c11"
    event = {"type": "MODIFIED", "object": {"metadata": {"name": "f0001-c-0003", "uid": uid}}}
    session = Session(MASK)
    session.event(Route.read("GET", "/api/v1/nodes", "watch=true"), event)
    assert session.seen[0].name == "<farm>-c-0003"
    assert MASK("train-0-x7k2p in p0001") == "train-0-x7k2p in <ns>"
    assert MASK("train-0-x7k2p") == "train-0"


def test_quantiles() -> None:
    assert quantile([], 0.99) == 0.0
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile(list(map(float, range(1, 101))), 0.99) == 99.0
