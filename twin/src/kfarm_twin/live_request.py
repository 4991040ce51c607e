"""Predicted beside observed: what is asked and answered. Models only, light for the operator."""

from __future__ import annotations

from kfarm_api.base import Strict
from kfarm_api.farm import GPUFarm, NPUFarm
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.telemetry import Suggestion
from pydantic import Field

Values = list[float | None]
"""Of the devices of a node in their order; None where nothing is known."""


class NodeObserved(Strict):
    """Means over a period of what the devices of a node showed [degC, W, percent]."""

    cluster: str
    index: int
    temperature: Values = Field(default_factory=list)
    power: Values = Field(default_factory=list)
    utilization: Values = Field(default_factory=list)


class CompareRequest(Strict):
    """A farm as described, and what was measured on it."""

    farm: GPUFarm | NPUFarm
    profiles: list[AcceleratorProfile]
    nodes: list[NodeObserved]


class ClusterDrift(Strict):
    """How far off the twin was with one cluster; temperatures in degC, errors in K.

    Attributes
    ----------
    devices
        Devices whose temperature was compared.
    power_error_percent
        Mean of observed less predicted power, in percent of what a device draws at most.
    failures_per_1000_node_days
        What the farm describes.
    """

    name: str
    devices: int = 0
    observed_c: float | None = None
    predicted_c: float | None = None
    error_k: float | None = None
    error_p95_k: float | None = None
    power_w: float | None = None
    power_error_percent: float | None = None
    failures_per_1000_node_days: float = 0.0
    suggestions: list[Suggestion] = Field(default_factory=list)


class Compared(Strict):
    """Drift by cluster."""

    clusters: list[ClusterDrift]
