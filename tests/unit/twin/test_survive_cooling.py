"""Faults of the cooling in a verdict: what is survived, what is said, and the two metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import twin_farms as farms
from kfarm_api.policy import FaultLimits
from kfarm_twin.compile import Model, compile_farm
from kfarm_twin.cooling_metrics import cooling_study
from kfarm_twin.place import place
from kfarm_twin.request import ValidationRequest, Verdict
from kfarm_twin.survive import InstanceResult, survive
from kfarm_twin.survive_cooling import cooling_matters
from kfarm_twin.validate import validate

LIQUID = {
    "type": "Liquid",
    "liquidShare": 75,
    "nodesPerCdu": 4,
    "cduCapacity": "1M",
    "supplyTemperature": 32,
}
ROOM = {"unitCapacity": "120k", "thermalMass": "2M"}


def model(
    *workloads: dict[str, Any],
    cooling: dict[str, Any] | None = None,
    plant: dict[str, Any] | None = None,
    **cluster: Any,
) -> tuple[Model, Any]:
    changes: dict[str, Any] = {} if plant is None else {"plant": plant}
    farm = farms.farm(farms.cluster(cooling=cooling or LIQUID, **cluster), **changes)
    plan = farms.plan(*(workloads or (farms.training(4),)))
    compiled = compile_farm([farm], [farms.profile()], plan, farms.snapshot(farm))
    return compiled, place(compiled)


def rows(kind: Any, *workloads: dict[str, Any], limits: Any = None, **changes: Any) -> Any:
    compiled, placed = model(*workloads, **changes)
    results, instances = survive(compiled, placed, [kind], FaultLimits(**(limits or {})))
    return results[0], instances


def test_a_lost_loop_shuts_its_nodes_down_and_says_when() -> None:
    result, instances = rows("Cdu")
    assert (result.instances, result.result) == (2, "Failed")
    hit = [one for one in instances if not one.survived]
    assert [one.instance for one in hit] == [result.worst]
    assert (hit[0].nodes, hit[0].pods, hit[0].cause) == (4, 4, "shutdown")
    assert hit[0].certain
    for words in ("throttles after", "4 nodes shut down, the first after", "on loop farm-main-cdu"):
        assert words in result.message


def test_a_redundant_pump_is_survived_with_its_headroom() -> None:
    result, instances = rows("CduPump", cooling=LIQUID | {"redundantPumps": 1})
    assert (result.survived, result.result) == (2, "Passed")
    assert "below its throttle limit" in result.message
    assert all(one.cause == "" and one.nodes == 0 for one in instances)


def test_throttling_within_the_limit_is_survived() -> None:
    """One pump of two: half the flow. At 0.05 K/W devices at 100 % would reach 94 degC."""
    cooling = LIQUID | {"loop": {"pumps": 2}}
    load = farms.training(4, load=100)
    profile = farms.profile(thermalResistance={"liquid": "0.05"})
    farm = farms.farm(farms.cluster(cooling=cooling))
    compiled = compile_farm([farm], [profile], farms.plan(load), farms.snapshot(farm))
    placed = place(compiled)
    for percent, expected in ((0, "Failed"), (100, "Passed")):
        results, instances = survive(compiled, placed, ["CduPump"], FaultLimits(throttled=percent))
        assert results[0].result == expected
        worst = max(instances, key=lambda one: one.throttled_share)
        assert worst.throttled_share == 1.0
        assert not worst.certain
    assert "more than faultLimits.throttled" not in results[0].message
    failed, _ = survive(compiled, placed, ["CduPump"], FaultLimits())
    assert "100 % of accelerators), more than faultLimits.throttled 0 %" in failed[0].message


def test_a_short_fault_is_survived() -> None:
    for lasts, expected in (("3s", "Passed"), ("5m", "Failed"), (None, "Failed")):
        result, _ = rows("Cdu", limits={"lasts": lasts})
        assert result.result == expected


def test_faults_far_from_the_plan_do_not_count() -> None:
    _, instances = rows("Cdu")
    spared = [one for one in instances if one.survived]
    assert len(spared) == 1
    assert spared[0].text == "no pod of the plan stands there"
    assert (spared[0].nodes, spared[0].throttled_share) == (0, 0.0)


@pytest.mark.parametrize(("units", "expected"), [(0, "Failed"), (1, "Passed")])
def test_air_handlers(units: int, expected: str) -> None:
    room = {"type": "Air", "supplyTemperature": 24, "air": ROOM | {"redundantUnits": units}}
    load = farms.training(8, load=100)
    result, instances = rows("Crah", load, cooling=room | {"recirculation": 10})
    assert result.result == expected
    assert len(instances) == 1
    if expected == "Failed":
        assert "0 of 1 air handler left" in result.message


def test_plant_and_chiller() -> None:
    plant = {"chillers": 2, "chillerCapacity": "100k", "redundancy": 1}
    lost, _ = rows("Plant", plant=plant)
    assert lost.result == "Failed"
    assert "0 of 1 chiller left" in lost.message
    one, instances = rows("Chiller", plant=plant)
    assert (one.result, one.instances) == ("Passed", 2)
    assert not any(found.certain for found in instances)
    soon, _ = rows("Plant", plant=plant, limits={"lasts": "1m"})
    assert soon.result == "Passed"


def test_a_single_feed_is_not_survived() -> None:
    result, instances = rows("Feed", feed={"nodesPerPdu": 4, "feeds": 1})
    assert result.result == "Failed"
    assert "8 nodes shut down" in result.message
    cooled = [one for one in instances if one.cooling is not None]
    assert [one.certain for one in cooled] == [True]
    assert "8 nodes lose their only feed" in cooled[0].text


def test_what_others_run_is_seen() -> None:
    """Others' devices heat their loop at full load, the plan's at 85 %: theirs is the worst."""
    farm = farms.farm(farms.cluster(cooling=LIQUID))
    snapshot = farms.snapshot(farm, nodes={7: {"used": 8}})
    compiled = compile_farm([farm], [farms.profile()], farms.plan(farms.training(4)), snapshot)
    study = cooling_study(compiled, place(compiled))
    bare = cooling_study(*model(farms.training(4)))
    assert study.rows[0].instances == ("farm-main-cdu01",)
    assert bare.rows[0].instances == ("farm-main-cdu00",)
    assert study.rows[0].throttled == pytest.approx(8 / 40)


def test_cooling_matters_only_where_nothing_is_redundant() -> None:
    bare, _ = model()
    kept, _ = model(cooling=LIQUID | {"redundantPumps": 1})
    assert cooling_matters(bare, ["CduPump"])
    assert not cooling_matters(kept, ["CduPump", "Node"])
    assert cooling_matters(kept, ["Chiller"])
    assert not cooling_matters(kept, ["RackPower"])


def verdict(check: dict[str, Any], **changes: Any) -> Verdict:
    farm = farms.farm(farms.cluster(**changes))
    return validate(
        ValidationRequest(
            farms=[farm],
            profiles=[farms.profile()],
            policy=farms.policy(check, assumptions={"draws": 4, "futures": 4}),
            plan=farms.plan(farms.training(4)),
            snapshot=farms.snapshot(farm),
        )
    )


def test_a_check_of_the_time_that_is_left() -> None:
    """The same in each future; the sentence names fault, loop and times."""
    check = {"metric": "time_to_shutdown_min", "atLeast": 3600}
    found = verdict(check, cooling=LIQUID)
    assert found.verdict == "Rejected"
    assert "CduPump of farm-main-cdu00" in found.checks[0].message
    assert "Remedy: add redundant pumps" in found.checks[0].message
    estimate = found.estimates["time_to_shutdown_min"]
    assert estimate.p05 == estimate.p99 == pytest.approx(float(found.checks[0].estimate or 0))
    short = verdict({"metric": "time_to_throttle_min", "atLeast": 5}, cooling=LIQUID)
    assert short.checks[0].result == "Passed"


def test_a_check_without_anything_that_could_fail_is_not_applicable() -> None:
    farm = farms.farm(
        farms.cluster(cooling={"type": "Air", "supplyTemperature": 24}, feed=None), plant=None
    )
    found = validate(
        ValidationRequest(
            farms=[farm],
            profiles=[farms.profile()],
            policy=farms.policy({"metric": "time_to_throttle_min", "atLeast": 60}),
            plan=farms.plan(farms.training(4)),
            snapshot=farms.snapshot(farm),
        )
    )
    assert found.reason == "MetricNotApplicable"
    assert "CDUs, described air handlers or a plant" in found.message


def test_rows_are_plain() -> None:
    _, instances = rows("Cdu")
    assert all(isinstance(one, InstanceResult) for one in instances)
    assert np.isfinite([one.throttled_share for one in instances]).all()
