"""The one list of metric names: the same in checks, JSON output, status and Prometheus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Side = Literal["low", "high"]


@dataclass(frozen=True)
class Metric:
    """A statistic of one future.

    Attributes
    ----------
    unit
        SI unit, or ``1`` for a ratio.
    worse
        The side on which values are bad: ``low`` for goodput, ``high`` for a temperature.
    needs
        The workload class without which the metric has no value, or None.
    """

    name: str
    unit: str
    worse: Side
    needs: Literal["Training", "Inference"] | None
    summary: str


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "ettr",
            "1",
            "low",
            "Training",
            "retained productive time / (end - first start); the least over the training gangs",
        ),
        Metric("gang_interruptions", "1", "high", "Training", "interruptions of training gangs"),
        Metric(
            "time_to_recover_max",
            "s",
            "high",
            "Training",
            "longest time from a gang's interruption to its next start of work",
        ),
        Metric(
            "replicas_available_min",
            "1",
            "low",
            "Inference",
            "least share of inference replicas that serve at once",
        ),
        Metric(
            "replicas_available_mean",
            "1",
            "low",
            "Inference",
            "time-weighted share of inference replicas that serve",
        ),
        Metric("availability", "1", "low", None, "time-weighted share of nodes that are up"),
        Metric("nodes_down_max", "1", "high", None, "most nodes down at once"),
        Metric(
            "lost_accelerator_hours",
            "h",
            "high",
            None,
            "accelerator-hours of down nodes and of work lost by gangs",
        ),
        Metric("it_power_peak", "W", "high", None, "highest power of all nodes together"),
        Metric("it_energy", "J", "high", None, "energy of all nodes over the horizon"),
        Metric("rack_power_peak", "W", "high", None, "highest power of any rack"),
        Metric("rack_power_load_max", "1", "high", None, "highest share of any rack's power limit"),
        Metric("cdu_load_max", "1", "high", None, "highest share of any CDU's capacity"),
        Metric(
            "plant_load_max",
            "1",
            "high",
            None,
            "highest share of any plant's capacity without its redundant chillers",
        ),
        Metric("rack_inlet_temperature_max", "degC", "high", None, "hottest air at any rack inlet"),
        Metric("accelerator_temperature_max", "degC", "high", None, "hottest accelerator"),
        Metric(
            "throttle_headroom_min",
            "K",
            "low",
            None,
            "least distance of any accelerator to its throttle limit",
        ),
        Metric(
            "throttled_accelerators_max",
            "1",
            "high",
            None,
            "highest share of accelerators that throttle at once",
        ),
    )
}
