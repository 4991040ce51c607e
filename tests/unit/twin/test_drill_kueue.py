"""What Kueue does in a drill: an event loop that was written apart, and what a prediction tells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from drill_cases import fault, pods, request
from kfarm_api.units import parse_quantity
from kfarm_twin import drill_jobs, drill_kueue, drill_requeue, drill_resume
from kfarm_twin.arrays import Floats
from kfarm_twin.drill import predict
from kfarm_twin.drill_request import DrillPrediction
from kueue_drills import Case, gang, worst_difference
from twin_farms import cluster, farm, plan, serving, training

OUT = {"action": "OutOfService", "after": "10s"}
TOLERANCE_S = 1e-3
CASES = {
    "replaced": Case(out=10.0),
    "replaced before the old pod is gone": Case(when_gone=False, per_index=False),
    "replaced, drained": Case(drained=True, lasts=60.0),
    "a node that is soon back": Case(lasts=52.0, toleration=0.0),
    "two at once, drained": Case(2, 60.0, drained=True),
    "two at once, drained, one back-off": Case(2, 60.0, drained=True, per_index=False),
    "two silent": Case(2, out=10.0),
    "two silent, one back-off": Case(2, lasts=200.0, per_index=False, when_gone=False),
    "two silent, the second much later": Case(2, toleration=0.0, out=40.0),
    "no other node": Case(within="scalable-unit", lasts=180.0),
    "no other node, out of service": Case(within="scalable-unit", out=5.0, per_index=False),
    "no other node, drained": Case(within="scalable-unit", drained=True, lasts=60.0),
    "no room at all": Case(nodes=4),
    "no room at all, drained": Case(nodes=4, drained=True, lasts=40.0),
    "no room, and soon back": Case(nodes=4, lasts=60.0, toleration=0.0),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_event_loop_written_apart_comes_to_the_same_times(case: Case) -> None:
    assert worst_difference(case) < TOLERANCE_S


@pytest.mark.parametrize(
    ("home", "name", "value", "case"),
    [
        (drill_kueue, "KUEUE_LOOK_S", 0.5, "replaced"),
        (drill_kueue, "SECOND_PASS_S", 2.0, "replaced"),
        (drill_kueue, "SUSPEND_S", (0.3, 0.6), "no other node"),
        (drill_kueue, "CLEAR_S", (0.3, 0.6), "no other node"),
        (drill_kueue, "KUEUE_PASS_S", (0.3, 0.5), "no other node"),
        (drill_kueue, "RESUME_S", (0.3, 0.6), "no other node"),
        (drill_resume, "JOB_BATCH_S", 3.0, "no other node, out of service"),
        (drill_resume, "BACKOFF_S", 20.0, "no other node, drained"),
        (drill_jobs, "BACKOFF_S", 20.0, "two at once, drained, one back-off"),
        (drill_requeue, "RETRY_BATCH_S", 3.0, "no room at all"),
    ],
)
def test_neighbours_of_the_figures_miss(
    home: Any, name: str, value: Any, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, name, value)
    assert worst_difference(CASES[case], 8) > 0.05


def test_without_the_rule_of_stale_nodes_two_silent_ones_miss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fresh(self: Any, row: Any, due: Floats) -> Any:
        return np.zeros(len(due), bool)

    monkeypatch.setattr(drill_requeue.Course, "_stale", fresh)
    assert worst_difference(CASES["two silent"], 8) > 0.5


def test_without_the_rule_of_the_second_failure_two_drained_ones_miss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def settle_first(self: Any, row: Any) -> None:
        self._settle(np.full(len(self._due), np.inf))
        fail(self, row)

    fail = drill_requeue.Course._fail
    monkeypatch.setattr(drill_requeue.Course, "_fail", settle_first)
    assert worst_difference(CASES["two at once, drained"], 8) > 0.5


def medians(found: DrillPrediction) -> dict[str, float]:
    return {one.name: parse_quantity(one.median or "NaN") for one in found.metrics}


def moments(found: DrillPrediction, name: str = "f") -> dict[str, float]:
    return {one.event: one.median for one in found.timeline if one.fault == name}


def test_a_replaced_node_costs_one_pod_and_a_requeue_the_whole_gang() -> None:
    replaced = medians(predict(request(fault(remedy=OUT), where=gang())))
    assert replaced["seconds_to_readmit"] == pytest.approx(
        replaced["seconds_to_evict"] + 1.3, abs=0.3
    )
    assert "seconds_to_requeue" not in replaced
    assert replaced["pods_pending_max"] == 1
    found = predict(request(fault(remedy=OUT), where=gang(within="scalable-unit")))
    requeued = medians(found)
    assert requeued["pods_pending_max"] == 4
    assert requeued["pods_affected"] == 1
    assert requeued["seconds_to_requeue"] == pytest.approx(replaced["seconds_to_readmit"], abs=0.01)
    assert requeued["seconds_to_evict"] > requeued["seconds_to_requeue"]
    assert any("nothing can replace node farm-main-0000" in text for text in found.warnings)


def test_moments_come_in_the_order_in_which_an_sre_would_see_them() -> None:
    found = predict(request(fault("Drain"), where=gang(within="scalable-unit")))
    seen = moments(found)
    order = ["Injected", "Detected", "Requeued", "Evicted", "Readmitted", "Replaced", "Recovered"]
    assert [event for event in seen if event in order] == order


def test_kueue_does_not_look_at_the_topology_that_a_plan_asks_for() -> None:
    """The plan wants one scalable unit, which is full; Kueue only wants one cluster."""
    tight = plan(training(topology={"required": "scalable-unit"}))
    own = pods(replaced_when_gone=True)
    kueue = medians(predict(request(fault(remedy=OUT), where=gang(), plans=[tight])))
    gate = medians(predict(request(fault(remedy=OUT), where=own, plans=[tight])))
    assert kueue["seconds_to_recover"] < 100
    assert gate["seconds_to_recover"] > 300


def test_kueue_knows_of_no_spares_but_in_its_quotas() -> None:
    found = predict(
        request(fault(mode="All", remedy=OUT), of=farm(cluster(nodes=8, spares=4)), where=gang())
    )
    assert medians(found)["seconds_to_readmit"] < 100


def test_without_room_the_workload_waits_for_its_nodes() -> None:
    found = predict(request(fault(remedy=OUT), of=farm(cluster(nodes=4)), where=gang()))
    seen = medians(found)
    assert seen["seconds_to_readmit"] == pytest.approx(300 + 7.7 + 2 + 0.5, abs=1.5)
    assert seen["lost_accelerator_hours"] == pytest.approx(
        seen["seconds_to_recover"] * 32 / 3600, rel=0.01
    )
    assert any("no room for all of it" in text for text in found.warnings)


def test_an_index_on_a_silent_node_holds_up_the_gang_that_was_admitted_again() -> None:
    """With podReplacementPolicy Failed its pod has to be gone first, and then fails anew."""
    silent = fault(duration="3m")
    waits = medians(predict(request(silent, where=gang(within="scalable-unit"))))
    goes_on = medians(
        predict(request(silent, where=gang(within="scalable-unit", replaced_when_gone=False)))
    )
    assert waits["seconds_to_readmit"] == goes_on["seconds_to_readmit"] < 90
    assert waits["seconds_to_recover"] > 180
    assert goes_on["seconds_to_recover"] < 95


def test_two_faults_at_once_are_two_failures() -> None:
    first = fault("Drain", selector={"nodes": ["farm-main-0000"]}, name="a")
    second = fault("Drain", selector={"nodes": ["farm-main-0001"]}, name="b")
    later = second | {"at": "30s"}
    assert "seconds_to_requeue" in medians(predict(request(first, second, where=gang())))
    apart = medians(predict(request(first, later, where=gang())))
    assert "seconds_to_requeue" not in apart
    assert apart["pods_pending_max"] == 1


def test_a_gang_that_was_requeued_is_struck_where_it_went() -> None:
    """Its unit is full, so that it goes to the other; there it loses a node again."""
    first = fault("Drain", selector={"nodes": ["farm-main-0000"]}, name="a", duration="10m")
    again = fault("Drain", selector={"nodes": ["farm-main-0005"]}, name="b", at="2m")
    found = predict(request(first, again, where=gang(within="scalable-unit")))
    seen = medians(found)
    assert seen["pods_affected"] == 2
    assert moments(found, "b")["Requeued"] == pytest.approx(121.5, abs=0.8)
    # one node of each unit is away: there is no room until a drain is over
    assert moments(found, "b")["Readmitted"] > 300


def test_two_jobs_of_one_plan_are_two_workloads() -> None:
    first = gang(kueue="one", within="rack")[:2]
    second = [
        pod.model_copy(update={"kueue": "two", "job": "other", "name": f"other-{n}"})
        for n, pod in enumerate(gang(count=2, first=2, within="rack"))
    ]
    found = predict(request(fault("Drain"), where=first + second))
    assert medians(found)["pods_pending_max"] == 2
    assert medians(found)["seconds_to_requeue"] < 3


def test_a_pod_without_a_job_is_a_workload_of_its_own() -> None:
    where = [
        pod.model_copy(update={"name": f"serve-{n}", "kueue": f"pod-{n}"})
        for n, pod in enumerate(pods(2, workload="serve", job=""))
    ]
    found = predict(request(fault("Drain"), where=where, plans=[plan(serving(2))]))
    seen = medians(found)
    assert "seconds_to_requeue" not in seen
    assert seen["seconds_to_readmit"] < 2
    assert seen["seconds_to_recover"] == pytest.approx(seen["seconds_to_readmit"] + 2, abs=0.1)


def test_a_plan_that_kueue_places_is_played_without_a_cluster() -> None:
    placed = plan(training())
    placed = placed.model_copy(
        update={"spec": placed.spec.model_copy(update={"placement": "Kueue"})}
    )
    all_of_it = fault("Drain", selector={"cluster": "main"}, mode="Fixed", value=8, atOnce=8)
    found = predict(request(all_of_it, where=[], plans=[placed]))
    assert {"seconds_to_requeue", "seconds_to_readmit"} <= set(medians(found))
    assert any("Kueue 0.19" in text for text in found.assumptions)


def test_a_stated_verdict_is_the_check_and_measured_ones_are_releases() -> None:
    """The gate has validated a replacement long before its pod is there."""
    slow = predict(request(fault("Drain"), where=gang(), delays={"verdict": "60s"}))
    assert medians(slow)["seconds_to_replace"] == pytest.approx(61.6, abs=0.5)
    quick = predict(request(fault("Drain"), where=gang()))
    assert medians(quick)["seconds_to_replace"] == pytest.approx(10.9, abs=0.5)
    assert any("AdmissionCheck: 0.1 to 2 s" in text for text in quick.assumptions)
    assert not any("AdmissionCheck: " in text for text in slow.assumptions)


def test_the_same_drill_without_kueue_tells_nothing_of_it() -> None:
    found = predict(request(fault(remedy=OUT)))
    assert not {"seconds_to_requeue", "seconds_to_readmit"} & set(medians(found))
    assert not any("Kueue" in text for text in (*found.assumptions, *found.warnings))
    assert found != predict(request(fault(remedy=OUT), where=gang(replaced_when_gone=False)))


def test_a_large_gang_is_predicted_in_time() -> None:
    many = gang(count=256)
    own = farm(cluster(nodes=320, fabric={"topology": "FatTree", "nodesPerScalableUnit": 32}))
    found = predict(
        request(
            fault("Drain", mode="Fixed", value=8, atOnce=8), of=own, where=many,
            plans=[plan(training(256))],
        )
    )  # fmt: skip
    assert medians(found)["pods_pending_max"] == 256
