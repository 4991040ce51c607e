"""What the operator writes of a TwinRun: how far it is, and its result in few figures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from kfarm_api.base import Conditions, Name, Strict
from kfarm_api.units import Quantity

RunState = Literal["Pending", "Running", "Completed", "Failed", "Suspended"]


class PolicyDigest(Strict):
    """One policy in few figures: means over the replicas; times in seconds, utilisation of 1.

    `wait_mean_difference` is to the first policy, with its 95 % confidence interval; `goodput` is
    there with failures only.
    """

    name: Name
    wait_mean: Quantity | None = None
    wait_p99: Quantity | None = None
    slowdown: Quantity | None = None
    utilisation: Quantity | None = None
    goodput: Quantity | None = None
    wait_mean_difference: Quantity | None = None
    difference_low: Quantity | None = None
    difference_high: Quantity | None = None


class Artifact(Strict):
    """The ConfigMap that holds the whole result: gzipped JSON of `kfarm compare`."""

    config_map: Annotated[str, Field(max_length=253)]
    key: Annotated[str, Field(max_length=253)]
    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(max_length=64)]


class TwinRunStatus(Strict):
    """Written by the operator alone; `compared` lists the names of the policies."""

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    state: RunState | None = None
    compared: Annotated[str, Field(max_length=1100)] | None = None
    inputs_digest: Annotated[str, Field(max_length=80)] | None = None
    jobs: Annotated[int, Field(ge=0)] | None = None
    replicas_done: Annotated[int, Field(ge=0)] | None = None
    attempts: Annotated[int, Field(ge=0)] | None = None
    started_at: Annotated[str, Field(max_length=40)] | None = None
    completed_at: Annotated[str, Field(max_length=40)] | None = None
    best: Annotated[str, Field(max_length=63)] | None = None
    message: Annotated[str, Field(max_length=2048)] | None = None
    policies: Annotated[list[PolicyDigest], Field(max_length=16)] = Field(default_factory=list)
    artifact: Artifact | None = None
    conditions: Conditions = Field(default_factory=list)
