"""Checks on heat and on the facility, from policy to sentence."""

from __future__ import annotations

from typing import Any

import pytest
import twin_farms as farms
from kfarm_twin.request import ValidationRequest, Verdict
from kfarm_twin.simulate_facility import FACILITY_METRICS
from kfarm_twin.validate import validate

POWER = {"capacity": "20M", "tariff": "kepco-industrial", "carbonIntensity": "417.3"}
SHORT = {"horizon": "30h", "futures": {"min": 59, "max": 64}, "seed": 7}
LOOP = farms.cluster()["cooling"] | {"airSupplyTemperature": 24, "recirculation": 10}


def verdict(
    *checks: dict[str, Any],
    cooling: dict[str, Any] | None = None,
    power: Any = POWER,
    load: int = 85,
) -> Verdict:
    cluster = farms.cluster(nodes=4, cooling=cooling or LOOP)
    more = {"power": power} if power else {}
    farm = farms.farm(cluster, **more)
    return validate(
        ValidationRequest(
            farms=[farm],
            profiles=[farms.profile()],
            policy=farms.policy(*checks, simulation=SHORT),
            plan=farms.plan(farms.training(4, duration="20h", load=load)),
            snapshot=farms.snapshot(farm),
        )
    )


def at_most(metric: str, bound: str) -> dict[str, Any]:
    return {"metric": metric, "atMost": bound}


def test_a_cool_plan_keeps_bounds_on_heat_power_and_facility() -> None:
    found = verdict(
        at_most("rack_inlet_temperature_max", "27"),
        {"metric": "throttle_headroom_min", "atLeast": "20"},
        at_most("throttled_accelerator_hours", "0"),
        at_most("thermal_shutdowns", "0"),
        at_most("it_power_peak", "60k"),
        at_most("pue", "3"),
        {"metric": "energy_cost", "atLeast": "1"},
    )
    assert (found.verdict, found.reason) == ("Approved", "AllChecksPassed"), found.message
    mean = {name: entry.mean for name, entry in found.estimates.items()}
    assert mean["throttle_headroom_min"] == pytest.approx(85 - 32 - 0.025 * (139 + 861 * 0.85))
    assert 24 < mean["rack_inlet_temperature_max"] <= 24 + 12 / 9 + 1e-6
    assert all(found.estimates[name].applicable for name in FACILITY_METRICS)
    assert mean["pue"] * mean["it_energy"] == pytest.approx(mean["facility_energy"], rel=0.02)
    assert any("plant.details" in text for text in found.warnings)


def test_a_hot_plan_is_rejected_with_the_rack_and_a_remedy() -> None:
    hot = LOOP | {"supplyTemperature": 64}
    found = verdict({"metric": "throttle_headroom_min", "atLeast": "5"}, cooling=hot, load=100)
    assert (found.verdict, found.reason) == ("Rejected", "ChecksFailed")
    assert "in rack farm-main-r0000 of farm/main: coolant at 64 degC" in found.message
    assert "devices alone are too hot at their load" in found.message
    assert "Remedy: lower the supply temperature or the load" in found.message


def test_a_loop_that_is_too_small_is_named() -> None:
    small = LOOP | {"cduCapacity": "9k", "supplyTemperature": 40}
    found = verdict(at_most("throttled_accelerators_max", "0"), cooling=small, load=100)
    assert found.verdict == "Rejected"
    assert "farm-main-cdu00 is the fullest: it takes 9 kW of heat, and it was over that in" in (
        found.message
    )


def test_a_bound_on_pue_says_what_cooling_takes() -> None:
    found = verdict(at_most("pue", "1.01"))
    assert found.verdict == "Rejected"
    assert "nodes draw" in found.message
    assert "Remedy: raise supply temperatures" in found.message


def test_cost_without_a_tariff_is_not_applicable() -> None:
    found = verdict(at_most("energy_cost", "1"), power=None)
    assert (found.verdict, found.reason) == ("Inconclusive", "MetricNotApplicable")
    assert "energy_cost needs a power.tariff" in found.message


def test_the_same_question_has_the_same_answer_to_the_last_byte() -> None:
    small = LOOP | {"cduCapacity": "9k", "supplyTemperature": 40}
    checks = at_most("throttled_accelerators_max", "0")
    once, again = (verdict(checks, cooling=small, load=100) for _ in range(2))
    assert once.model_dump_json() == again.model_dump_json()
