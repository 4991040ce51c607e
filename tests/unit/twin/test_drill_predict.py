"""What the twin says of a drill: metrics, replacement, heat, repairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from drill_cases import drill, fault, pods, request
from kfarm_api.plan import PlacementPlan
from kfarm_api.snapshot import FarmSnapshot
from kfarm_api.units import parse_quantity
from kfarm_twin.drill import predict, predict_json
from kfarm_twin.drill_delays import Draws
from kfarm_twin.drill_metrics import Spell, covered, most_at_once, summarize
from kfarm_twin.drill_repairs import Broken, crews_left, mend
from kfarm_twin.drill_request import DrillPrediction, DrillRequest
from kfarm_twin.request import InputError
from twin_farms import cluster, farm, plan, serving, training

OUT = {"action": "OutOfService", "after": "10s"}


def medians(found: DrillPrediction) -> dict[str, float]:
    return {m.name: parse_quantity(m.median or "NaN") for m in found.metrics}


def play(*faults: dict[str, object], **changes: object) -> dict[str, float]:
    return medians(predict(request(*faults, **changes)))  # type: ignore[arg-type]


def test_a_node_down_with_a_runbook_comes_back_on_another_node() -> None:
    seen = play(fault(remedy=OUT))
    assert seen["seconds_to_detect"] == pytest.approx(47.7, abs=2)
    assert seen["seconds_to_evict"] == pytest.approx(57.9, abs=2)  # 10 s after it was noticed
    # half a period of pod GC, a second of verdict and one of start
    assert seen["seconds_to_recover"] == pytest.approx(57.9 + 10 + 2, abs=2.5)
    assert (seen["pods_affected"], seen["nodes_down_max"], seen["healthy_nodes_min"]) == (1, 1, 7)
    # the whole gang of 4 pods with 8 devices waits
    hours = seen["seconds_to_recover"] * 32 / 3600
    assert seen["lost_accelerator_hours"] == pytest.approx(hours, rel=0.02)


def test_without_it_pods_come_back_when_the_node_does() -> None:
    seen = play(fault())
    assert seen["seconds_to_recover"] == pytest.approx(300 + 5.2 + 2, abs=2)


def test_where_there_is_no_room_the_nodes_are_waited_for() -> None:
    found = predict(request(fault(remedy=OUT), of=farm(cluster(nodes=4))))
    assert medians(found)["seconds_to_recover"] > 300
    assert any("no room" in text for text in found.warnings)


def test_a_spare_stands_in() -> None:
    found = predict(request(fault(remedy=OUT), of=farm(cluster(nodes=5, spares=1))))
    assert medians(found)["seconds_to_recover"] < 90
    assert not found.warnings


def test_a_short_fault_is_not_noticed() -> None:
    seen = play(fault(duration="20s"))
    assert "seconds_to_detect" not in seen
    assert seen["pods_pending_max"] == 0


def test_a_device_fault_moves_nobody_until_the_runbook_drains() -> None:
    device = {"kind": "XID", "code": "79"}
    still = play(fault("DeviceFault", device=device))
    assert "seconds_to_evict" not in still
    assert still["pods_pending_max"] == 0
    assert still["seconds_to_recover"] == pytest.approx(300.2, abs=0.3)  # when the fault ends
    assert still["lost_accelerator_hours"] == pytest.approx(300 * 32 / 3600, rel=0.01)
    drained = play(fault("DeviceFault", device=device, remedy={"action": "Drain", "after": "20s"}))
    # a failure of an index backs off 10 s
    assert drained["seconds_to_recover"] == pytest.approx(20.3 + 10 + 2, abs=0.7)


def test_a_drain_takes_groups_in_turn() -> None:
    found = predict(request(fault("Drain", mode="All", atOnce=2, duration="60s")))
    healthy = next(m for m in found.metrics if m.name == "healthy_nodes_min")
    assert (healthy.low, healthy.high) == ("6", "6")
    seen = medians(found)
    assert seen["pods_affected"] == 4
    assert seen["seconds_to_evict"] == pytest.approx(61.0, abs=0.8)
    assert seen["pods_pending_max"] == 2


def test_failures_of_one_job_add_up() -> None:
    each = play(fault("Drain", mode="All", atOnce=4, duration="60s"))
    whole = play(
        fault("Drain", mode="All", atOnce=4, duration="60s"),
        where=pods(backoff_per_index=False),
    )
    assert each["seconds_to_recover"] == pytest.approx(10 + 2.3, abs=0.7)
    assert whole["seconds_to_recover"] == pytest.approx(80 + 2.3, abs=0.7)


def test_single_pods_lose_only_their_own_devices() -> None:
    where = pods(2, workload="serve", name="serve", job="")
    named = [pod.model_copy(update={"name": f"serve-{i}"}) for i, pod in enumerate(where)]
    plans = [plan(serving(2))]
    seen = play(fault(remedy=OUT), where=named, plans=plans)
    hours = seen["seconds_to_recover"] * 2 / 3600
    assert seen["lost_accelerator_hours"] == pytest.approx(hours, rel=0.05)


def test_the_second_fault_hits_where_the_first_sent_the_pod() -> None:
    """A gang on nodes 0 to 3 of five: 4 is the only one left, and is lost next."""
    lost = fault(selector={"nodes": ["farm-main-0000"]}, remedy=OUT, name="a", duration="10m")
    again = fault(selector={"nodes": ["farm-main-0004"]}, remedy=OUT, name="b", at="3m")
    found = predict(request(lost, again, of=farm(cluster(nodes=5))))
    assert medians(found)["pods_affected"] == 2  # the same pod, twice
    assert any("no room" in text for text in found.warnings)


def test_a_pump_without_a_spare_overheats_and_one_with_a_spare_does_not() -> None:
    cooling = {
        "type": "Liquid", "liquidShare": 75, "nodesPerCdu": 4, "cduCapacity": "1M",
        "supplyTemperature": 32,
    }  # fmt: skip
    alone = predict(request(fault("CduPump"), of=farm(cluster(nodes=8, cooling=cooling))))
    seen = medians(alone)
    assert seen["seconds_to_throttle"] < 60
    assert seen["accelerator_temperature_max"] >= 85
    assert {effect.effect for effect in alone.effects} >= {"Throttling"}
    assert alone.curve[-1].at <= 600
    spare = predict(request(fault("CduPump")))
    assert "seconds_to_throttle" not in medians(spare)
    assert spare.effects == []


def test_heat_has_an_interval_of_inputs_that_are_not_known_well() -> None:
    found = predict(request(fault("CduPump")))
    hot = next(m for m in found.metrics if m.name == "accelerator_temperature_max")
    low, median, high = (parse_quantity(text or "") for text in (hot.low, hot.median, hot.high))
    assert low < median < high
    assert high - low < 40


def test_a_share_of_the_flow_is_less_than_all_of_it() -> None:
    cooling = {
        "type": "Liquid", "liquidShare": 75, "nodesPerCdu": 4, "cduCapacity": "1M",
        "supplyTemperature": 32,
    }  # fmt: skip
    own = farm(cluster(nodes=8, cooling=cooling))
    hot = [
        play(fault("CoolingDegraded", share=share), of=own)["accelerator_temperature_max"]
        for share in (10, 40, 80)
    ]
    assert hot[0] <= hot[1] <= hot[2]
    assert hot[0] < hot[2]


def test_the_operator_away_holds_up_verdicts() -> None:
    lost = fault("Drain", duration="60s")
    away = {"name": "away", "action": "OperatorKill", "duration": "60s"}
    assert play(lost)["seconds_to_replace"] < 15
    delays = {"operatorStart": "70s", "toleration": "30s"}
    assert play(lost, away, delays=delays)["seconds_to_replace"] == pytest.approx(77, abs=15)
    soon = {"operatorStart": "2s", "toleration": "30s"}
    assert 60 <= play(lost, away, delays=soon)["seconds_to_replace"] < 63.5


def test_crews_that_are_away_make_repairs_wait() -> None:
    own = farm(
        cluster(nodes=8, reliability={
            "classes": [{"name": "gpu", "failuresPer1000NodeDays": "40",
                         "meanTimeToRepair": "2h"}],
            "crews": {"count": 2},
        })
    )  # fmt: skip
    lost = fault(mode="Fixed", value=4)
    short = {
        "name": "crews", "action": "RepairCrewShortage", "share": 50, "duration": "1h",
        "selector": {"cluster": "main"},
    }  # fmt: skip
    both, one = play(lost, of=own), play(lost, short, of=own)
    assert (both["repairs_waiting_max"], one["repairs_waiting_max"]) == (2, 3)
    assert one["seconds_to_repair_all"] > both["seconds_to_repair_all"]


@pytest.mark.parametrize(("crews", "expected"), [(1, 6.0), (6, 2.45), (None, 2.45)])
def test_repairs_take_what_queueing_theory_says(crews: int | None, expected: float) -> None:
    """One crew: n times the mean; as many as nodes: the harmonic number times the mean."""
    broken = [Broken(f"n{i}", 0.0) for i in range(6)]
    done = mend(broken, crews, 1.0, Draws(1, 40_000)).all_mended
    assert done.mean() == pytest.approx(expected, rel=0.02)


def test_without_crews_nothing_is_mended() -> None:
    assert np.isinf(mend([Broken("n", 0.0)], crews_left(3, 100), 1.0, Draws(1, 8)).all_mended).all()
    assert crews_left(3, 50) == 1
    assert crews_left(None, 50) is None


def test_overlapping_spells_count_once() -> None:
    spells = [Spell("a", np.array([0.0]), np.array([10.0])),
              Spell("b", np.array([5.0]), np.array([20.0])),
              Spell("c", np.array([30.0]), np.array([np.inf]))]  # fmt: skip
    assert covered(spells, 40.0, 1).tolist() == [30.0]
    assert most_at_once(spells, 1).tolist() == [2.0]
    again = [*spells, Spell("a", np.array([7.0]), np.array([9.0]))]
    assert most_at_once(again, 1).tolist() == [2.0]
    assert most_at_once([Spell("a", np.array([np.inf]), np.array([np.inf]))], 1).tolist() == [0.0]


def test_the_most_at_once_is_what_counting_at_each_begin_gives() -> None:
    luck = np.random.default_rng(1)
    starts, lasts = luck.integers(0, 30, (12, 200)) * 1.0, luck.integers(0, 9, (12, 200)) * 1.0
    starts[luck.random((12, 200)) < 0.1] = np.inf
    spells = [Spell(str(i % 5), starts[i], starts[i] + lasts[i]) for i in range(12)]
    slow = []
    for future in range(200):
        own = [(s.what, s.start[future], s.end[future]) for s in spells]
        counts = [
            len({what for what, begin, end in own if begin <= at < end})
            for _, at, _ in own
            if np.isfinite(at)
        ]
        slow.append(max(counts, default=0))
    assert most_at_once(spells, 200).tolist() == slow


def test_a_drill_of_many_nodes_and_flaps_is_predicted_in_time() -> None:
    flaps = fault("LinkFlap", mode="All", duration="2h", selector={"cluster": "main"})
    found = predict(request(flaps, of=farm(cluster(nodes=64)), limits={"maxNodes": 64}))
    assert medians(found)["healthy_nodes_min"] == 0


def test_a_node_that_throttles_and_goes_off_is_one_node() -> None:
    cooling = {
        "type": "Liquid", "liquidShare": 75, "nodesPerCdu": 4, "cduCapacity": "1M",
        "supplyTemperature": 32,
    }  # fmt: skip
    seen = play(fault("CduPump"), of=farm(cluster(nodes=8, cooling=cooling)))
    assert seen["heat_shutdowns"] == 4
    assert seen["healthy_nodes_min"] == 4


def test_a_shortage_of_crews_alone_says_what_is_missing() -> None:
    short = {
        "name": "crews", "action": "RepairCrewShortage", "share": 50, "duration": "1h",
        "selector": {"cluster": "main"},
    }  # fmt: skip
    assert any("nothing breaks" in text for text in predict(request(short)).warnings)
    both = predict(request(short, fault()))
    assert any("reliability.crews" in text for text in both.warnings)


def test_an_interval_holds_nine_tenths_of_the_futures() -> None:
    found = summarize("seconds_to_detect", np.arange(1.0, 101.0))
    assert found is not None
    assert (found.low, found.median, found.high) == ("5", "50", "95")
    assert summarize("seconds_to_detect", np.full(10, math.nan)) is None


def test_the_same_request_gives_the_same_bytes() -> None:
    asked = request(fault(remedy=OUT)).model_dump_json(by_alias=True).encode()
    assert predict_json(asked) == predict_json(asked)
    other = request(fault(remedy=OUT), simulation={"futures": 128, "seed": 6})
    assert predict_json(asked) != predict_json(other.model_dump_json(by_alias=True).encode())


def test_the_digest_tells_what_matters() -> None:
    one = request(fault())
    assert one.digest() == request(fault()).digest()
    assert one.digest() == request(fault(), suspend=True).digest()
    assert one.digest() != request(fault(duration="6m")).digest()
    assert one.digest() != request(fault(), where=pods(first=1)).digest()
    aged = one.model_copy(update={"snapshot": one.snapshot.model_copy(deep=True)})
    aged.snapshot.nodes[0] = aged.snapshot.nodes[0].model_copy(update={"uid": "u"})
    assert one.digest() == aged.digest()


def test_a_pod_on_a_node_that_the_farm_has_not_is_refused() -> None:
    asked = request(fault())
    strange = asked.pods[0].model_copy(update={"node": "낯선-node"})
    with pytest.raises(InputError, match="낯선-node"):
        predict(asked.model_copy(update={"pods": [strange]}))


def test_a_drill_of_the_runner_without_plans_predicts_no_seconds() -> None:
    away = {"name": "f", "action": "ApiOutage", "duration": "10s"}
    asked = {**dict(request(fault())), "drill": drill(away), "targets": [], "plans": [], "pods": []}
    assert [m.name for m in predict(DrillRequest(**asked)).metrics] == ["nodes_down_max"]


def test_without_plans_nodes_are_counted_and_pods_are_not() -> None:
    asked = request(fault(selector={"cluster": "main"}), plans=[], where=[])
    seen = medians(predict(asked))
    assert seen["nodes_down_max"] == 1
    assert "pods_affected" not in seen


def test_pods_that_stand_nowhere_are_placed_as_the_gate_would() -> None:
    made: list[PlacementPlan] = [plan(training())]
    asked = request(fault(selector={"cluster": "main"}, mode="All"), where=[], plans=made)
    found = predict(asked)
    assert medians(found)["pods_affected"] == 4
    assert any("the twin puts them" in text for text in found.warnings)


def test_nodes_that_are_not_ready_count_as_unhealthy_before() -> None:
    asked = request(fault())
    nodes = [n.model_copy(update={"ready": n.index != 7}) for n in asked.snapshot.nodes]
    sick = asked.model_copy(update={"snapshot": FarmSnapshot(nodes=nodes)})
    assert medians(predict(sick))["healthy_nodes_min"] == 6
