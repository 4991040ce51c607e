"""Predicted beside observed, coolant as measured, and when there will be room."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import twin_farms as farms
from kfarm_api.snapshot import FarmSnapshot
from kfarm_api.telemetry import Correction
from kfarm_twin.compile import compile_farm
from kfarm_twin.live_compare import compare
from kfarm_twin.live_request import ClusterDrift, CompareRequest, NodeObserved
from kfarm_twin.live_start import corrected, room_from
from kfarm_twin.request import ValidationRequest
from kfarm_twin.validate import validate

IDLE_W, TDP_W, AIR = 139.0, 1000.0, 0.04
COOLING = {"type": "Air", "supplyTemperature": 22}


def air_farm(nodes: int = 4, **changes: Any) -> Any:
    return farms.farm(farms.cluster(nodes=nodes, cooling=COOLING, **changes))


def measured(
    powers: Any, *, hotter_k: float = 0.0, resistance: float = AIR, utilization: bool = True
) -> ClusterDrift:
    """Drift of a farm whose devices obey a law written down here: inlet + resistance x power."""
    powers = np.asarray(powers, float)
    nodes = [
        NodeObserved(
            cluster="main",
            index=index,
            temperature=[22.0 + hotter_k + resistance * watts for watts in row],
            power=list(row),
            utilization=[100 * (watts - IDLE_W) / (TDP_W - IDLE_W) for watts in row]
            if utilization
            else [],
        )
        for index, row in enumerate(powers)
    ]
    asked = CompareRequest(farm=air_farm(len(powers)), profiles=[farms.profile()], nodes=nodes)
    return compare(asked).clusters[0]


SPREAD = np.linspace(200.0, 900.0, 32).reshape(4, 8)
ALIKE = np.full((4, 8), 600.0)


def test_a_twin_that_agrees_has_nothing_to_suggest() -> None:
    found = measured(SPREAD)
    assert found.devices == 32
    assert found.error_k == pytest.approx(0.0, abs=1e-6)
    assert found.power_error_percent == pytest.approx(0.0, abs=1e-9)
    assert found.predicted_c == pytest.approx(22.0 + AIR * 550.0)
    assert found.suggestions == []
    assert found.failures_per_1000_node_days == pytest.approx(60.0)


def test_a_hotter_room_and_another_resistance_are_told_apart() -> None:
    (room,) = measured(SPREAD, hotter_k=6.0).suggestions
    assert room.parameter == "cooling.supplyTemperature"
    assert float(room.suggested) == pytest.approx(28.0, abs=0.05)
    (resistance,) = measured(SPREAD, resistance=0.05).suggestions
    assert resistance.parameter == "b200: thermalResistance.air"
    assert float(resistance.suggested) == pytest.approx(0.05, rel=1e-3)


def test_equal_powers_tell_only_that_it_is_hotter() -> None:
    (found,) = measured(ALIKE, resistance=0.05).suggestions
    assert found.parameter == "cooling.supplyTemperature"
    assert "too little to tell" in found.basis


def test_noise_is_no_suggestion() -> None:
    """Readings in whole degrees around the truth: the interval holds what is described."""
    rounded = np.round(AIR * SPREAD)
    nodes = [
        NodeObserved(cluster="main", index=i, temperature=list(22.0 + row), power=list(SPREAD[i]))
        for i, row in enumerate(rounded)
    ]
    asked = CompareRequest(farm=air_farm(), profiles=[farms.profile()], nodes=nodes)
    assert compare(asked).clusters[0].suggestions == []


def test_power_is_predicted_from_utilisation() -> None:
    found = measured(ALIKE)
    assert found.power_w == 600.0
    assert found.power_error_percent == pytest.approx(0.0, abs=1e-9)
    assert measured(ALIKE, utilization=False).power_error_percent is None


def test_gaps_and_strangers_are_passed_over() -> None:
    nodes = [
        NodeObserved(cluster="main", index=0, temperature=[40.0, None], power=[450.0, 450.0]),
        NodeObserved(cluster="main", index=1, temperature=[40.0]),  # of no known power
        NodeObserved(cluster="main", index=99, temperature=[90.0], power=[450.0]),
        NodeObserved(cluster="other", index=0, temperature=[90.0], power=[450.0]),
        NodeObserved(cluster="main", index=2, temperature=[40.0] * 9, power=[450.0] * 9),
    ]
    asked = CompareRequest(farm=air_farm(), profiles=[farms.profile()], nodes=nodes)
    (found,) = compare(asked).clusters
    assert found.devices == 1 + 8
    assert found.error_k == pytest.approx(0.0, abs=1e-6)


def corrections(kelvins: int) -> list[Correction]:
    return [Correction(farm_kind="GPUFarm", farm="farm", cluster="main", inlet=kelvins)]


def request(snapshot: FarmSnapshot, *workloads: Any, farm: Any = None) -> ValidationRequest:
    check = {"metric": "accelerator_temperature_max", "atMost": "100", "quantile": 50}
    return ValidationRequest(
        farms=[farm or air_farm()],
        profiles=[farms.profile()],
        policy=farms.policy(check, simulation={"horizon": "24h", "futures": {"min": 8, "max": 8}}),
        plan=farms.plan(*workloads),
        snapshot=snapshot,
    )


def hottest(asked: ValidationRequest) -> float:
    found = validate(asked)
    mean = found.estimates["accelerator_temperature_max"].mean
    assert mean is not None
    return mean


def test_a_warmer_inlet_is_a_hotter_device_and_another_digest() -> None:
    plain = farms.snapshot(air_farm())
    warm = plain.model_copy(update={"corrections": corrections(6)})
    job = farms.training(2, duration="8h")
    asked, warmer = request(plain, job), request(warm, job)
    assert hottest(warmer) == pytest.approx(hottest(asked) + 6.0, abs=1e-6)
    assert asked.digest() != warmer.digest()
    assert "6 K warmer than described" in validate(warmer).warnings[0]


def test_a_correction_of_another_farm_changes_nothing() -> None:
    other = Correction(farm_kind="NPUFarm", farm="farm", cluster="main", inlet=6)
    seen = farms.snapshot(air_farm()).model_copy(update={"corrections": [other]})
    (same,), told = corrected([air_farm()], seen)
    assert same.spec == air_farm().spec
    assert told == []


def test_where_it_is_measured_and_when_it_is_free_are_in_no_digest() -> None:
    plain = request(farms.snapshot(air_farm()), farms.training(2))
    telemetry = {"prometheus": {"url": "http://prometheus:9090"}}
    told = farms.snapshot(air_farm(), nodes={0: {"free_at": "2026-01-01T00:00:00Z"}})
    watched = farms.farm(farms.cluster(nodes=4, cooling=COOLING), telemetry=telemetry)
    assert request(told, farms.training(2), farm=watched).digest() == plain.digest()


def busy(*until: str | None) -> dict[int, dict[str, Any]]:
    return {row: {"used": 8, "free_at": moment} for row, moment in enumerate(until)}


@pytest.mark.parametrize(
    ("until", "pods", "said"),
    [
        (("T2", "T1", "T3"), 2, "about T1, when 1 nodes"),
        (("T2", "T1", "T3"), 3, "about T2, when 2 nodes"),
        (("T2", "T1", "T3"), 4, "about T3, when 3 nodes"),
        (("T1", "T1", "T1"), 2, "about T1, when 3 nodes"),
        (("T1", None, None), 3, ""),
        (("T1", "T2", "T3"), 5, ""),
        ((None, None, None), 2, ""),
    ],
)
def test_when_there_is_room(until: tuple[str | None, ...], pods: int, said: str) -> None:
    farm = air_farm(fabric={"topology": "FatTree", "nodesPerScalableUnit": 4})
    seen = farms.snapshot(farm, nodes=busy(*until))
    model = compile_farm([farm], [farms.profile()], farms.plan(farms.training(pods)), seen)
    found = room_from(model, seen)
    assert said in found if said else not found


def test_a_refusal_says_when_there_is_room() -> None:
    seen = farms.snapshot(air_farm(), nodes=busy("2026-03-01T15:30:00Z", None))
    verdict = validate(request(seen, farms.training(3, duration="8h")))
    assert verdict.reason == "Unplaceable"
    assert "There is room from about 2026-03-01T15:30:00Z, when 1 nodes" in verdict.message
