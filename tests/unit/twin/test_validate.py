"""Verdicts in words: every outcome, who is to blame, and the remedy."""

from __future__ import annotations

from typing import Any

import pytest
import twin_farms as farms
from kfarm_api.metrics import METRICS
from kfarm_twin.request import InputError, ValidationRequest, Verdict
from kfarm_twin.validate import validate, validate_detailed

ETTR = {"metric": "ettr", "atLeast": "0.5"}


def request(
    *checks: dict[str, Any],
    workloads: list[dict[str, Any]] | None = None,
    cluster: dict[str, Any] | None = None,
    nodes: dict[int, Any] | None = None,
    farm: dict[str, Any] | None = None,
    **policy: Any,
) -> ValidationRequest:
    built = farms.farm(farms.cluster(**(cluster or {})), **(farm or {}))
    return ValidationRequest(
        farms=[built],
        profiles=[farms.profile()],
        policy=farms.policy(*checks, **policy),
        plan=farms.plan(*(workloads or [farms.training(4)])),
        snapshot=farms.snapshot(built, nodes=nodes or {}),
    )


def survival(fault: str, **named: Any) -> Any:
    verdict = validate(request(survives=[fault], **named))
    return verdict.survives[0]


def test_approved_with_placement_and_estimates() -> None:
    seen: list[tuple[int, int]] = []
    verdict = validate(request(ETTR, survives=["Node"]), lambda now, most: seen.append((now, most)))
    assert (verdict.verdict, verdict.reason) == ("Approved", "AllChecksPassed")
    assert [slot.node for slot in verdict.placements[0].slots] == [
        f"farm-main-000{n}" for n in range(4)
    ]
    assert set(verdict.estimates) == set(METRICS)
    assert seen[0] == (64, 512)
    assert seen[-1][0] == verdict.futures == verdict.checks[0].futures
    assert verdict.worst_future is not None
    assert Verdict.model_validate(verdict.model_dump()) == verdict


def test_failed_check_says_value_bound_blame_and_remedy() -> None:
    verdict = validate(request({"metric": "ettr", "atLeast": "0.9999"}))
    assert (verdict.verdict, verdict.reason) == ("Rejected", "ChecksFailed")
    check = verdict.checks[0]
    assert check.result == "Failed"
    for part in ("bound >= 0.9999", "failure class gpu costs most", "saves", "Remedy: save more"):
        assert part in check.message


def test_gang_that_waits_for_nodes_is_told_to_leave_room() -> None:
    crowded = [farms.training(8)]
    verdict = validate(request({"metric": "ettr", "atLeast": "0.99"}, workloads=crowded))
    assert "waiting for a node was" in verdict.message
    assert "Remedy: leave nodes free" in verdict.message


def test_assumptions_are_told_once_per_reference() -> None:
    verdict = validate(request(ETTR, cluster={"reliability": {"reference": "npu-assumed"}}))
    told = [text for text in verdict.warnings if "npu-assumed" in text]
    assert len(told) == 2
    assert all("assumption" in text for text in told)


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_every_metric_has_a_sentence_with_a_remedy(metric: str) -> None:
    low = METRICS[metric].worse == "low"
    bound = {"atLeast": "1000000"} if low else {"atMost": "-1000000"}
    verdict = validate(
        request(
            {"metric": metric, **bound},
            workloads=[farms.training(4), farms.serving(3)],
            cluster={
                "cooling": farms.cluster()["cooling"] | {"cduCapacity": "20k"},
                "feed": {"nodesPerPdu": 4, "feeds": 2, "pduLimit": "40k", "feedLimit": "90k"},
            },
            farm={"power": {"capacity": "1M", "tariff": "kepco-industrial"}},
        )
    )
    message = verdict.checks[0].message
    assert verdict.checks[0].result == "Failed"
    assert "Remedy: " in message
    assert message.startswith(metric)
    assert "; " in message


def test_undecided_is_not_approved() -> None:
    few = {"horizon": "720h", "futures": {"min": 4, "max": 8}}
    verdict = validate(request(ETTR, simulation=few))
    assert verdict.checks[0].futures_met == 8
    assert (verdict.verdict, verdict.reason) == ("Inconclusive", "Undecided")
    assert "futures.max" in verdict.message


def test_horizon_too_short() -> None:
    verdict = validate(request(ETTR, workloads=[farms.training(4, duration="600h")]))
    assert (verdict.verdict, verdict.reason) == ("Inconclusive", "HorizonTooShort")
    assert "900h or more" in verdict.message


def test_metric_that_has_no_value() -> None:
    verdict = validate(request(ETTR, workloads=[farms.serving(2)]))
    assert (verdict.verdict, verdict.reason) == ("Inconclusive", "MetricNotApplicable")
    assert "ettr needs a workload of class Training" in verdict.message


def test_too_large_is_said_at_once() -> None:
    pods = [farms.serving(8192, name=f"s{n}") for n in range(9)]
    verdict = validate(request(ETTR, workloads=pods))
    assert (verdict.verdict, verdict.reason) == ("Inconclusive", "TooLarge")


def test_unplaceable() -> None:
    verdict = validate(request(ETTR, workloads=[farms.training(9)]))
    assert (verdict.verdict, verdict.reason) == ("Rejected", "Unplaceable")
    assert verdict.placements == []
    assert "room for 8" in verdict.message


def test_unknown_farm_is_an_input_error() -> None:
    asked = request(ETTR)
    with pytest.raises(InputError):
        validate(asked.model_copy(update={"farms": []}))


def test_same_request_same_verdict_and_digest() -> None:
    one, two = validate(request(ETTR)), validate(request(ETTR))
    assert one == two
    other = request(ETTR).model_copy(update={"seed": 8})
    assert validate(other).inputs_digest != one.inputs_digest


def test_digest_leaves_out_uids_and_other_farms() -> None:
    plain = request(ETTR)
    named = request(ETTR, nodes={0: {"uid": "abc"}})
    stranger = farms.farm(farms.cluster(), name="other")
    assert plain.digest() == named.digest()
    assert plain.model_copy(update={"farms": [*plain.farms, stranger]}).digest() == plain.digest()
    assert request(ETTR, nodes={0: {"used": 1}}).digest() != plain.digest()


def test_futures_override_both_ends() -> None:
    asked = request(ETTR).model_copy(update={"futures": 5})
    assert asked.futures_range == (5, 5)
    assert validate(asked).futures == 5


def test_policy_of_faults_alone() -> None:
    verdict = validate(request(survives=["Node"]))
    assert verdict.verdict == "Approved"


@pytest.mark.parametrize("fault", ["Node", "RackPower", "LeafSwitch"])
def test_lost_nodes_are_replaced_while_there_is_room(fault: str) -> None:
    assert survival(fault).result == "Passed"
    crowded = survival(fault, workloads=[farms.training(8)])
    assert (crowded.result, crowded.survived) == ("Failed", 0)
    assert "no replacement" in crowded.message
    assert "Remedy: " in crowded.message


def test_spares_replace() -> None:
    """7 nodes at work and one spare: any node may fail, no whole rack."""
    cluster = {"spares": 1}
    assert survival("Node", workloads=[farms.training(7)], cluster=cluster).result == "Passed"
    assert survival("RackPower", workloads=[farms.training(7)], cluster=cluster).result == "Failed"


def test_pump_and_feed_need_redundancy() -> None:
    assert survival("CduPump").result == "Passed"
    single = farms.cluster()["cooling"] | {"redundantPumps": 0}
    lost = survival("CduPump", cluster={"cooling": single})
    assert (lost.instances, lost.survived) == (2, 1)
    assert "4 nodes shut down" in lost.message
    assert survival("Pdu").result == "Passed"
    assert survival("Pdu", cluster={"feed": {"nodesPerPdu": 4, "feeds": 1}}).result == "Failed"
    assert survival("Cdu").result == "Failed"


def test_chiller() -> None:
    assert survival("Chiller").result == "Passed"
    small = {"plant": {"chillers": 2, "chillerCapacity": "30k", "redundancy": 1}}
    assert survival("Chiller", farm=small).result == "Failed"


def test_slow_restart_and_throttling_fail_a_fault() -> None:
    slow = farms.training(4, checkpoint={"interval": "30m", "restart": "2h"})
    told = survival("Node", workloads=[slow])
    assert told.result == "Failed"
    assert "7260 s, more than faultLimits.restart 30m" in told.message
    tight = farms.cluster()["cooling"] | {"cduCapacity": "2k"}
    hot = survival("Node", cluster={"cooling": tight})
    assert hot.result == "Failed"
    assert "throttle" in hot.message


def test_fault_that_cannot_happen_warns() -> None:
    air = {"type": "Air", "supplyTemperature": 22}
    verdict = validate(request(survives=["CduPump"], cluster={"cooling": air}))
    assert verdict.survives[0].instances == 0
    assert any("survives CduPump" in text for text in verdict.warnings)


def test_detail_for_the_report() -> None:
    verdict, detail = validate_detailed(request(ETTR, survives=["RackPower"]))
    assert detail.futures.num_rows == verdict.futures
    assert detail.futures.schema.field("it_energy").metadata[b"unit"] == b"J"
    assert detail.replay is not None
    assert detail.replay.future == verdict.worst_future
    assert detail.replay.rack_power_w.shape == (len(detail.replay.moment_s), 4)
    assert 0 < len(detail.replay.moment_s) <= 240
    assert detail.racks["rack"].to_pylist() == [f"farm-main-r000{n}" for n in range(4)]
    assert detail.racks["load_share"].to_pylist() == [1.0, 1.0, 0.0, 0.0]
    assert [row.instance for row in detail.instances] == detail.racks["rack"].to_pylist()


def test_overloaded_loop_slows_the_gang() -> None:
    """Far beyond its capacity a loop warms until its devices throttle: T = T_w + Q / U.

    A device draws 139 W + 85 % of 861 W, 21.8 K above its coolant; at 4 K per 2 kW and water of
    18 degC the 37 kW of four nodes would bring the coolant to 92 degC, the limit is 85.
    """
    tight = farms.cluster()["cooling"] | {"cduCapacity": "2k"}
    workloads = [farms.training(8)]
    wide = validate(request(ETTR, workloads=workloads))
    slowed = validate(request(ETTR, workloads=workloads, cluster={"cooling": tight}))
    assert wide.estimates["throttled_accelerators_max"].p50 == 0.0
    assert slowed.estimates["throttled_accelerators_max"].p50 == 1.0
    assert (slowed.estimates["ettr"].p50 or 0.0) < 0.8 * (wide.estimates["ettr"].p50 or 1.0)


def test_loop_beyond_its_capacity_is_told() -> None:
    """Cold water lets a CDU carry more than it is rated for; nobody should find that out later."""
    tight = farms.cluster()["cooling"] | {"cduCapacity": "30k"}
    verdict = validate(request(ETTR, workloads=[farms.training(8)], cluster={"cooling": tight}))
    told = [text for text in verdict.warnings if "cduCapacity" in text]
    assert len(told) == 1
    assert "farm-main-cdu00" in told[0]
    assert verdict.estimates["cdu_load_max"].p50 > 1.0
    roomy = validate(request(ETTR, workloads=[farms.training(8)]))
    assert not [text for text in roomy.warnings if "cduCapacity" in text]
