"""ValidationPolicy: the limits a placement must keep, and how hard to look."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from kfarm_api.admission import Admission
from kfarm_api.base import Cel, Conditions, KindInfo, ListOf, Metadata, ServerDefault, Strict
from kfarm_api.metrics import METRICS
from kfarm_api.thermal import positive_duration
from kfarm_api.units import Bounds, Duration, Quantity, parse_duration_ns

Fault = Literal[
    "Node",
    "RackPower",
    "Pdu",
    "CduPump",
    "Cdu",
    "LeafSwitch",
    "Chiller",
    "Crah",
    "Plant",
    "Feed",
]
Limit = Annotated[Quantity, Bounds("-1P", "1P")]
MAX_FUTURES = 65_536


class Check(Strict):
    """A bound on one statistic of a future.

    `quantile` percent of futures must meet the bound, shown with `confidence` percent.
    """

    metric: Annotated[str, Field(json_schema_extra={"enum": sorted(METRICS)})]
    at_least: Limit | None = None
    at_most: Limit | None = None
    quantile: Annotated[int, Field(ge=50, le=99)] = 95
    confidence: Annotated[int, Field(ge=50, le=99)] = 95
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "has(self.atLeast) != has(self.atMost)",
            "a check needs exactly one of atLeast and atMost",
            lambda c: (c.at_least is None) != (c.at_most is None),
        ),
    )

    @model_validator(mode="after")
    def _known_metric(self) -> Check:
        if self.metric not in METRICS:
            raise ValueError(f"unknown metric {self.metric!r}; known: {', '.join(sorted(METRICS))}")
        return self


class Futures(Strict):
    """How many futures to play at least and at most."""

    min: Annotated[int, Field(ge=1, le=MAX_FUTURES)] = 64
    max: Annotated[int, Field(ge=1, le=MAX_FUTURES)] = 1024
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "(has(self.min) ? self.min : 64) <= (has(self.max) ? self.max : 1024)",
            "futures.min must not exceed futures.max",
            lambda f: f.min <= f.max,
        ),
    )


class Simulation(Strict):
    """Horizon, number of futures and seed."""

    horizon: Duration = "2160h"
    futures: Annotated[Futures, ServerDefault] = Field(default_factory=Futures)
    seed: Annotated[int, Field(ge=0, le=9_007_199_254_740_991)] = 42
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "!has(self.horizon) || (duration(self.horizon) >= duration('1m')"
            " && duration(self.horizon) <= duration('87600h'))",
            "simulation.horizon must lie between 1m and 87600h (ten years)",
            lambda s: 60 * 10**9 <= parse_duration_ns(s.horizon) <= 87600 * 3600 * 10**9,
        ),
    )


class FaultLimits(Strict):
    """What is allowed after an injected fault, beside no shutdown and no gang lost beyond it.

    A fault of the cooling lasts for `lasts`; left out, until temperatures no longer change.
    """

    throttled: Annotated[int, Field(ge=0, le=100)] = 0
    restart: Duration = "30m"
    lasts: Duration | None = None
    rules: ClassVar[tuple[Cel, ...]] = (positive_duration("lasts"),)


class Assumptions(Strict):
    """How hard to look at inputs that are not known well.

    `draws` sets of inputs are drawn from their priors and judged with at most `futures` futures
    each. With `draws: 0` the verdict takes every input as stated.
    """

    draws: Annotated[int, Field(ge=0, le=1024)] = 64
    futures: Annotated[int, Field(ge=1, le=256)] = 16


class ValidationPolicySpec(Strict):
    """Checks over futures, and faults that the placement must survive."""

    checks: Annotated[list[Check], Field(max_length=32)] = Field(default_factory=list)
    survives: Annotated[list[Fault], Field(max_length=10), ListOf()] = Field(default_factory=list)
    fault_limits: Annotated[FaultLimits, ServerDefault] = Field(default_factory=FaultLimits)
    simulation: Annotated[Simulation, ServerDefault] = Field(default_factory=Simulation)
    assumptions: Annotated[Assumptions, ServerDefault] = Field(default_factory=Assumptions)
    time_to_live: Duration = "1h"
    admission: Admission | None = None
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "(has(self.checks) && self.checks.size() > 0) ||"
            " (has(self.survives) && self.survives.size() > 0)",
            "a policy needs at least one check or one fault to survive",
            lambda p: len(p.checks) + len(p.survives) > 0,
        ),
        Cel(
            "!has(self.survives) || self.survives.all(f, self.survives.exists_one(g, g == f))",
            "survives must not name a fault twice",
            lambda p: len(set(p.survives)) == len(p.survives),
        ),
    )


class ValidationPolicyStatus(Strict):
    """Written by the operator."""

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    conditions: Conditions = Field(default_factory=list)


class ValidationPolicy(Strict):
    """The limits a placement must keep."""

    info: ClassVar[KindInfo] = KindInfo(
        plural="validationpolicies",
        short="vpol",
        scope="Cluster",
        columns=(
            ("Horizon", "string", ".spec.simulation.horizon", 0),
            ("Futures", "integer", ".spec.simulation.futures.max", 0),
            ("Survives", "string", ".spec.survives", 0),
        ),
        summary="limits that a placement must keep",
    )
    api_version: Literal["kfarm.dev/v1alpha1"] = "kfarm.dev/v1alpha1"
    kind: Literal["ValidationPolicy"] = "ValidationPolicy"
    metadata: Metadata
    spec: ValidationPolicySpec
    status: ValidationPolicyStatus | None = None
