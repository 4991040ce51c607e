"""Short ways to describe and play a fleet of equal nodes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from kfarm_api.reliability import FailureClass, Reliability
from kfarm_twin.fleet import FleetResult, play
from kfarm_twin.fleet_classes import plain_cluster
from kfarm_twin.fleet_tables import CompiledFleet, compile_fleet
from kfarm_twin.reliability import FailureMode, own_mode

HOUR = 3600 * 10**9
DAY = 24 * HOUR


def fleet(rules: dict[str, Any], nodes: int, devices: int = 8, **shape: int) -> CompiledFleet:
    """Equal nodes under these rules; detection takes no time unless they say so."""
    own = Reliability.model_validate({"detection": "0s"} | rules)
    modes = [own_mode(mode) for mode in own.classes]
    return compile_fleet([plain_cluster(modes, own, nodes, devices, **shape)])


def one_class(rate: str, mean: str, /, **more: Any) -> dict[str, Any]:
    """Rules with one class of nodes, by failures per 1,000 node-days."""
    named = {"name": "only", "failuresPer1000NodeDays": rate, "meanTimeToRepair": mean}
    return {"classes": [named | more]}


def run(
    compiled: CompiledFleet, days: float, futures: int, seed: int = 20_260, **more: Any
) -> FleetResult:
    """Futures of so many days."""
    return play(compiled, seed=seed, futures=futures, horizon_ns=int(days * DAY), **more)


def deviations(sample: Any, expected: float) -> float:
    """Standard errors by which a sample's mean is off."""
    values = np.asarray(sample, float)
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return abs(float(values.mean()) - expected) / error


def shares_down(result: FleetResult) -> Any:
    """[futures, N + 1] share of the time with so many nodes down."""
    return result.histogram / result.horizon_ns


def own(body: dict[str, Any]) -> FailureMode:
    """A class of failures as a manifest has it."""
    return own_mode(FailureClass.model_validate(body))
