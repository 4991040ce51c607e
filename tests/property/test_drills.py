"""Any drill that the API takes is predicted, or refused with a reason."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from drill_cases import MEASURED, drill, pods
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kfarm_api.drill import RUNNER_ONLY, TWIN_ONLY, Action
from kfarm_api.drill_targets import choose, farm_candidates
from kfarm_api.snapshot import synthetic_snapshot
from kfarm_api.units import parse_quantity
from kfarm_twin.drill import predict
from kfarm_twin.drill_request import DrillPrediction, DrillRequest
from kueue_drills import Case, worst_difference
from twin_farms import cluster, farm, plan, profile, training

AIR = {"type": "Air", "supplyTemperature": 24, "recirculation": 5}
FARM = farm(cluster(nodes=10, spares=1), cluster("airy", nodes=4, cooling=AIR))
SELECTORS: list[dict[str, Any]] = [
    {"cluster": "main"},
    {"cluster": "airy"},
    {"plan": "plan"},
    {"cluster": "main", "vacant": True},
    {"nodes": ["farm-main-0001", "farm-main-0009"]},
]
times = st.sampled_from(["0s", "1s", "17s", "2m", "10m", "2h"])


@st.composite
def faults(draw: st.DrawFn, name: str) -> dict[str, Any]:
    action = draw(st.sampled_from(get_args(Action)))
    found: dict[str, Any] = {"name": name, "action": action, "at": draw(times)}
    found["duration"] = draw(times.filter(lambda text: text != "0s"))
    if action in RUNNER_ONLY:
        return found
    found["selector"] = draw(st.sampled_from(SELECTORS))
    found["mode"] = draw(st.sampled_from(["One", "All", "Fixed", "FixedPercent"]))
    if found["mode"].startswith("Fixed"):
        found["value"] = draw(st.integers(1, 100))
    if action == "DeviceFault":
        found["device"] = {"code": "79"}
    if action in ("CoolingDegraded", "RepairCrewShortage"):
        found["share"] = draw(st.integers(1, 100))
    if action == "Drain":
        found["atOnce"] = draw(st.integers(1, 4))
    elif action not in TWIN_ONLY and draw(st.booleans()):
        remedy = draw(st.sampled_from(["Drain", "OutOfService"]))
        found["remedy"] = {"action": remedy, "after": draw(times)}
    return found


@st.composite
def drills(draw: st.DrawFn) -> dict[str, Any]:
    count = draw(st.integers(1, 3))
    return {
        "faults": [draw(faults(f"f{i}")) for i in range(count)],
        "delays": {
            "nodeMonitorPeriod": draw(st.sampled_from(["1s", "5s", "7s"])),
            "nodeMonitorGracePeriod": draw(st.sampled_from(["1s", "40s", "50s"])),
            "nodeEvictionRate": draw(st.sampled_from(["1m", "100m", "1000"])),
            "toleration": draw(times),
        },
        "simulation": {"futures": 32, "seed": draw(st.integers(0, 2**53 - 1))},
    }


def play(spec: dict[str, Any], per_index: bool, kueue: str = "") -> DrillPrediction | None:
    one = drill(*spec.pop("faults"), **spec)
    admitted = {"kueue": "job", "within": kueue} if kueue else {}
    where = pods(backoff_per_index=per_index, replaced_when_gone=bool(kueue), **admitted)
    choice = choose(one.spec, FARM, farm_candidates(FARM, {"plan": [p.node for p in where]}))
    if choice.problems:
        assert all(text.startswith("fault f") for text in choice.problems)
        return None
    asked = DrillRequest(
        drill=one,
        farm=FARM,
        profiles=[profile()],
        plans=[plan(training())],
        snapshot=synthetic_snapshot([FARM]),
        pods=where,
        targets=list(choice.targets),
        measured=MEASURED,
    )
    found = predict(asked)
    again = predict(DrillRequest.model_validate_json(asked.model_dump_json(by_alias=True)))
    assert again == found
    return found


@pytest.mark.filterwarnings("error")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(drills(), st.booleans())
def test_every_drill_has_an_answer_that_holds_together(
    spec: dict[str, Any], per_index: bool
) -> None:
    found = play(spec, per_index)
    if found is None:
        return
    known = {}
    for metric in found.metrics:
        low, median, high = (
            parse_quantity(text) for text in (metric.low, metric.median, metric.high) if text
        )
        assert 0 <= low <= median <= high
        known[metric.name] = median
    assert known.get("healthy_nodes_min", 0) + known.get("nodes_down_max", 0) <= 14
    assert known.get("pods_pending_max", 0) <= 4
    if {"seconds_to_evict", "seconds_to_replace"} <= set(known):
        assert known["seconds_to_replace"] >= 0
    for moment in found.timeline:
        assert moment.low <= moment.median <= moment.high
    assert len(found.effects) <= 1024


@pytest.mark.filterwarnings("error")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(drills(), st.booleans(), st.sampled_from(["rack", "scalable-unit", "cluster"]))
def test_what_kueue_takes_back_it_takes_back_whole(
    spec: dict[str, Any], per_index: bool, within: str
) -> None:
    found = play(spec, per_index, within)
    if found is None:
        return
    most = {one.name: parse_quantity(one.high or "0") for one in found.metrics}
    moments = {(one.fault, one.event): one for one in found.timeline}
    for (fault, event), moment in moments.items():
        assert moment.low <= moment.median <= moment.high
        if event in ("Requeued", "Readmitted"):
            assert moment.low > moments[fault, "Injected"].low
        if event == "Requeued":
            assert most["pods_pending_max"] == 4
            assert (fault, "Evicted") in moments


def _apart(case: Case) -> bool:
    """Leaves out what the clock of the cluster itself takes as a batch or a token more or less.

    That is nodes of which some are back before others are tainted or collected.
    """
    if case.drained:
        return case.out is None
    return case.struck == 1 or case.lasts in (20.0, 300.0)


cases = st.builds(
    Case,
    struck=st.integers(1, 3),
    lasts=st.sampled_from([20.0, 52.0, 61.0, 90.0, 300.0]),
    toleration=st.sampled_from([0.0, 1.0, 7.0, 30.0]),
    out=st.sampled_from([None, 0.0, 12.0]),
    drained=st.booleans(),
    per_index=st.booleans(),
    when_gone=st.booleans(),
    within=st.sampled_from(["scalable-unit", "cluster"]),
    nodes=st.sampled_from([4, 8]),
).filter(_apart)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases)
def test_any_workload_of_kueue_fares_as_an_event_loop_written_apart_has_it(case: Case) -> None:
    assert worst_difference(case, 12) < 1e-3
