"""What a what-if answers: models alone, no arrays, no kernels."""

from __future__ import annotations

import math
from collections.abc import Container
from typing import Any, Literal

from kfarm_api.base import Strict
from kfarm_api.twinrun import RunPolicy
from kfarm_api.twinrun_status import PolicyDigest
from pydantic import Field

from kfarm_twin.whatif_stats import CONFIDENCE, Difference, Interval, Value

SCHEMA: Literal["kfarm.dev/compare/v1"] = "kfarm.dev/compare/v1"
LOWER_IS_BETTER = {
    "waitMeanS": True,
    "waitP50S": True,
    "waitP90S": True,
    "waitP99S": True,
    "waitMaxS": True,
    "slowdownMean": True,
    "utilisation": False,
    "queuedMean": True,
    "fragmentationMean": True,
    "makespanS": True,
    "preemptions": True,
}
"""Figures of a policy in one replica, and on which side the better ones lie."""
FAILURE_METRICS = {
    "goodput": False,
    "interruptions": True,
    "jobsInterrupted": True,
    "unfinished": True,
    "mttiS": False,
    "timeToRecoverMeanS": True,
    "lostAcceleratorHoursDown": True,
    "lostAcceleratorHoursRework": True,
    "lostAcceleratorHoursSaves": True,
    "lostAcceleratorHoursRestart": True,
    "lostAcceleratorHoursDetection": True,
    "lostAcceleratorHoursSlow": True,
}
"""The same, only where failures are played."""
HEAT_METRICS = {
    "throttledAcceleratorHours": True,
    "thermalShutdowns": True,
    "jobsStoppedByHeat": True,
    "hottestDeviceC": True,
    "headroomMinK": False,
    "inletMaxC": True,
    "nodeEnergyKWh": True,
    "nodePowerMeanW": True,
    "nodePowerMaxW": True,
    "fanEnergyKWh": True,
    "jobEnergyKWh": True,
}
"""The same, only where heat is played."""


def metrics_of(known: Container[str]) -> dict[str, bool]:
    """Figures that a result with these has, and on which side the better ones lie."""
    better = dict(LOWER_IS_BETTER)
    if "goodput" in known:
        better |= FAILURE_METRICS
    if "hottestDeviceC" in known:
        better |= HEAT_METRICS
    return better


PERCENTILES = (*range(100), 99.5, 99.9, 100)
"""Percentiles of the waits that are kept, in percent."""


class SizeClass(Strict):
    """Jobs of one span of sizes, by devices asked for; times in seconds."""

    label: str
    gpus_min: int
    gpus_max: int | None
    jobs: float
    wait_mean_s: Value
    wait_p50_s: Value = Field(alias="waitP50S")
    wait_p90_s: Value = Field(alias="waitP90S")
    wait_p99_s: Value = Field(alias="waitP99S")
    slowdown_mean: Value


class Series(Strict):
    """Replica 0 over time, on the common grid; each value is the mean since the one before."""

    queued_jobs: list[float]
    utilisation: list[float]
    fragmentation: list[float] | None = None


class PolicyPart(Strict):
    """One policy in one replica."""

    metrics: dict[str, Value]
    sizes: list[SizeClass]
    waits_s: list[float]
    series: Series | None = None
    never_run: int = 0


class Part(Strict):
    """One replica: the same jobs under every policy."""

    replica: int
    jobs: int
    offered: float
    window_s: float
    left_out: dict[str, int] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    grid_s: list[float] = Field(default_factory=list)
    policies: list[PolicyPart]


class PolicyResult(Strict):
    """One policy over all replicas; `differences` is empty for the first."""

    name: str
    described: str
    policy: RunPolicy
    metrics: dict[str, Interval]
    differences: dict[str, Difference]
    sizes: list[SizeClass]
    waits_s: list[float]
    series: Series | None
    never_run: float


class Workload(Strict):
    """What was played."""

    kind: Literal["Trace", "Generator"]
    source: str
    format: str | None
    jobs: int
    window_s: float
    offered: float
    left_out: dict[str, int]
    between_replicas: str


class WhatIf(Strict):
    """The whole answer of ``kfarm compare``, and the artifact of a TwinRun."""

    schema_: Literal["kfarm.dev/compare/v1"] = Field(SCHEMA, alias="schema")
    name: str
    inputs_digest: str
    seed: int
    replicas: int
    confidence: int = CONFIDENCE
    farm: str
    nodes: int
    accelerators_per_node: int
    accelerators: int
    nodes_per_rack: int
    nodes_per_unit: int
    horizon: str
    workload: Workload
    percentiles: list[float]
    grid_s: list[float]
    policies: list[PolicyResult]
    best: str | None
    headline: list[str]
    notes: list[str]

    def as_data(self) -> dict[str, Any]:
        """Keys as in docs/cli.md."""
        return self.model_dump(mode="json", by_alias=True)

    def digests(self) -> list[PolicyDigest]:
        """The few figures that stand in the status of a TwinRun."""
        return [_digest(policy) for policy in self.policies]


class Farmland(Strict):
    """The farm as it was played."""

    farm: str
    nodes: int
    accelerators_per_node: int
    nodes_per_rack: int
    nodes_per_unit: int


def _digest(policy: PolicyResult) -> PolicyDigest:
    change = policy.differences.get("waitMeanS")
    return PolicyDigest(
        name=policy.name,
        wait_mean=quantity(policy.metrics["waitMeanS"].mean),
        wait_p99=quantity(policy.metrics["waitP99S"].mean),
        slowdown=quantity(policy.metrics["slowdownMean"].mean),
        utilisation=quantity(policy.metrics["utilisation"].mean),
        goodput=quantity(policy.metrics["goodput"].mean) if "goodput" in policy.metrics else None,
        wait_mean_difference=quantity(change.mean if change else None),
        difference_low=quantity(change.low if change else None),
        difference_high=quantity(change.high if change else None),
    )


def quantity(value: Value) -> str | None:
    """Quantity text with at most three decimals; None for what no quantity can hold."""
    if value is None or not math.isfinite(value) or abs(value) >= 1e15:
        return None
    text = f"{value:.3f}".rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


class Played(Strict):
    """What a process that played one replica says."""

    part: Part
    farm: Farmland
