"""Hazards that go with device temperature, against Poisson counts of the farm as it is hot."""

from __future__ import annotations

import math

import numpy as np
import pytest
import twin_farms as farms
from kfarm_twin.arrays import METRIC_ORDER
from kfarm_twin.compile import compile_farm
from kfarm_twin.place import place
from kfarm_twin.simulate import Simulator

NODES, PODS, DAYS, FUTURES = 8, 4, 200, 60
RATE_PER_DAY = 0.02
LOADED_C, IDLE_C = 32 + 0.025 * 1000, 32 + 0.025 * 139
"""Coolant and thermal resistance of `twin_farms`, at full and at no load."""
BOLTZMANN_EV = 8.617333262e-5
SIGMAS = 4.0


def failures(temperature: dict[str, str] | None) -> np.ndarray:
    """Failures per future of eight nodes, on four of which a pod runs at full load."""
    fault = {
        "name": "any",
        "failuresPer1000NodeDays": str(RATE_PER_DAY * 1000),
        "meanTimeToRepair": "1m",
        "repair": {"distribution": "Fixed"},
    }
    reliability = {"classes": [fault], "detection": "0s"}
    if temperature is not None:
        reliability["temperature"] = temperature
    farm = farms.farm(farms.cluster(nodes=NODES, reliability=reliability))
    pods = {
        "name": "serve",
        "class": "Inference",
        "pods": PODS,
        "acceleratorsPerPod": 8,
        "accelerators": ["b200"],
    }
    model = compile_farm([farm], [farms.profile()], farms.plan(pods), farms.snapshot(farm))
    placed = place(model)
    assert isinstance(placed, np.ndarray)
    played = Simulator(model, placed, 11, DAYS * 24 * farms.HOUR_NS).play(0, FUTURES)
    return played.metrics[:, METRIC_ORDER.index("node_failures")]


def expected(loaded: float, idle: float) -> float:
    return RATE_PER_DAY * DAYS * (PODS * loaded + (NODES - PODS) * idle)


def deviation(counts: np.ndarray, mean: float) -> float:
    """Distance of a mean of Poisson counts from what is expected, in standard deviations."""
    return abs(float(counts.mean()) - mean) / math.sqrt(mean / len(counts))


def arrhenius(celsius: float, energy: float, reference: float) -> float:
    return math.exp(energy / BOLTZMANN_EV * (1 / (reference + 273.15) - 1 / (celsius + 273.15)))


def test_a_factor_per_kelvin() -> None:
    counts = failures({"factorPerKelvin": "1.05", "reference": "40"})
    mean = expected(1.05 ** (LOADED_C - 40), 1.05 ** (IDLE_C - 40))
    assert deviation(counts, mean) < SIGMAS
    assert deviation(counts, expected(1.0, 1.0)) > 3 * SIGMAS  # without stress it would show


def test_an_activation_energy() -> None:
    counts = failures({"activationEnergy": "0.7", "reference": "40"})
    mean = expected(arrhenius(LOADED_C, 0.7, 40), arrhenius(IDLE_C, 0.7, 40))
    assert deviation(counts, mean) < SIGMAS
    assert deviation(counts, expected(1.0, 1.0)) > 3 * SIGMAS


@pytest.mark.parametrize("temperature", [None, {"factorPerKelvin": "1.000001", "reference": "40"}])
def test_off_unless_given(temperature: dict[str, str] | None) -> None:
    assert deviation(failures(temperature), expected(1.0, 1.0)) < SIGMAS
