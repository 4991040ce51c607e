"""What a run of failures answers: models alone, no arrays, no kernels."""

from __future__ import annotations

import json
from typing import Any, Literal

from kfarm_api.base import Strict
from kfarm_api.twinrun import GangWorkload
from kfarm_api.twinrun_status import MetricDigest
from pydantic import Field

from kfarm_twin.request import MetricSummary
from kfarm_twin.whatif_result import quantity

SCHEMA: Literal["kfarm.dev/simulate-fleet/v1"] = "kfarm.dev/simulate-fleet/v1"
CAUSES = ("down", "rework", "detection", "waiting", "restart", "saves", "slow")
"""Why accelerator time is lost; the ends of the names of metrics."""

PLANNED = "planned"
"""Losses of no failure class: drains and saves."""
IN_STATUS = (
    "ettr",
    "goodput",
    "mtti",
    "time_to_recover_mean",
    "availability",
    "nodes_down_p95",
    "nodes_down_max",
    "outage_mean",
)
"""Metrics that the status of a TwinRun shows."""


class Band(Strict):
    """A quantity over time: mean and order statistics of the futures at each time."""

    time_s: list[float]
    mean: list[float]
    p05: list[float]
    p50: list[float]
    p95: list[float]
    p99: list[float]


class Distribution(Strict):
    """Share of the time of all futures with so many nodes down; `at_least` of each or more."""

    nodes_down: list[int]
    share: list[float]
    at_least: list[float]


class Blame(Strict):
    """Accelerator-hours lost in one future, on average, by what is to blame."""

    by_cause: dict[str, float]
    by_class: dict[str, dict[str, float]]
    by_domain: dict[str, float]


class ClassCount(Strict):
    """Events of one class in one future, on average; `per_1000_node_days` is the rate they make."""

    name: str = Field(alias="class")
    cluster: str
    takes: str
    events: float
    outages: float
    per_1000_node_days: float = Field(alias="per1000NodeDays")
    recovered_share: float | None
    """Share of attempts to recover without hands that succeeded; None with none."""


class FleetInputs(Strict):
    """What was played."""

    digest: str
    farm: str
    nodes: int
    accelerators: int
    spares: int
    classes: int
    gang: GangWorkload | None
    checkpoint_interval_s: float | None
    warm_up_s: float


class FleetRun(Strict):
    """The whole answer of ``kfarm simulate -f``, and the artifact of such a TwinRun."""

    schema_: Literal["kfarm.dev/simulate-fleet/v1"] = Field(SCHEMA, alias="schema")
    name: str
    futures: int
    seed: int
    horizon: str
    horizon_s: float
    inputs: FleetInputs
    headline: list[str]
    metrics: dict[str, MetricSummary]
    over_time: dict[str, Band]
    nodes_down_distribution: Distribution
    lost_accelerator_hours: Blame
    failures: list[ClassCount]
    notes: list[str]

    def as_data(self) -> dict[str, Any]:
        """Keys as in docs/cli.md."""
        return self.model_dump(mode="json", by_alias=True)

    def digests(self) -> list[MetricDigest]:
        """The few figures that stand in the status of a TwinRun."""
        found = ((name, self.metrics[name]) for name in IN_STATUS)
        return [
            MetricDigest(
                name=name,
                mean=quantity(figure.mean),
                p05=quantity(figure.p05),
                p95=quantity(figure.p95),
            )
            for name, figure in found
            if figure.applicable
        ]

    def as_text(self) -> str:
        """The JSON that the command prints and the operator keeps, byte for byte."""
        text = json.dumps(self.as_data(), indent=2, ensure_ascii=False, allow_nan=False)
        return text + "\n"
