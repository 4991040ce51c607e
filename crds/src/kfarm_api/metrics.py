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
        Metric(
            "goodput",
            "1",
            "low",
            "Training",
            "retained productive accelerator time of the training gangs / their accelerator time "
            "since their first start",
        ),
        Metric(
            "mtti",
            "s",
            "low",
            "Training",
            "time of training gangs / their interruptions; with none, that time (a lower bound)",
        ),
        Metric(
            "time_to_recover_mean",
            "s",
            "high",
            "Training",
            "mean time from a gang's interruption to its next start of work; 0 with none",
        ),
        Metric("nodes_down_mean", "1", "high", None, "time-weighted mean of nodes down"),
        Metric("nodes_down_p50", "1", "high", None, "nodes down at most during half of the time"),
        Metric("nodes_down_p95", "1", "high", None, "nodes down at most during 95 % of the time"),
        Metric("nodes_down_p99", "1", "high", None, "nodes down at most during 99 % of the time"),
        Metric("node_failures", "1", "high", None, "outages of nodes by failures that began"),
        Metric("nodes_failed", "1", "high", None, "different nodes that failed"),
        Metric(
            "top_decile_share",
            "1",
            "high",
            None,
            "share of the failures on the tenth of the nodes that failed most; 0 with none",
        ),
        Metric(
            "outage_mean",
            "s",
            "high",
            None,
            "mean time out of service of outages that began, those open at the end up to then; "
            "0 with none",
        ),
        Metric("outage_p50", "s", "high", None, "median of the same"),
        Metric("outage_p95", "s", "high", None, "95th percentile of the same"),
        Metric(
            "repair_wait_mean",
            "s",
            "high",
            None,
            "mean time that repairs waited for a crew or a part; 0 with none",
        ),
        Metric(
            "lost_accelerator_hours_down",
            "h",
            "high",
            None,
            "accelerator-hours of nodes and accelerators that were down",
        ),
        Metric(
            "lost_accelerator_hours_rework",
            "h",
            "high",
            None,
            "accelerator-hours of gangs' work that was lost: since the last save, or spoilt",
        ),
        Metric(
            "lost_accelerator_hours_detection",
            "h",
            "high",
            None,
            "accelerator-hours of workloads until failures were found",
        ),
        Metric(
            "lost_accelerator_hours_waiting",
            "h",
            "high",
            None,
            "accelerator-hours of workloads, or of an elastic gang's missing pods, without a node",
        ),
        Metric(
            "lost_accelerator_hours_restart",
            "h",
            "high",
            None,
            "accelerator-hours of workloads' restarts",
        ),
        Metric(
            "lost_accelerator_hours_saves", "h", "high", None, "accelerator-hours of gangs' saves"
        ),
        Metric(
            "lost_accelerator_hours_slow",
            "h",
            "high",
            None,
            "accelerator-hours that slow or throttled members cost their workloads",
        ),
        Metric(
            "it_power_peak_1s",
            "W",
            "high",
            None,
            "highest mean IT power of one second, with synchronous phases of jobs",
        ),
        Metric("it_power_peak_1min", "W", "high", None, "the same of one minute"),
        Metric("it_power_peak_15min", "W", "high", None, "the same of a quarter of an hour"),
        Metric("pdu_power_load_max", "1", "high", None, "highest share of any PDU's limit, 1 s"),
        Metric("feed_power_load_max", "1", "high", None, "highest share of any feed's limit, 1 s"),
        Metric(
            "site_power_load_max", "1", "high", None, "highest share of any site's capacity, 1 min"
        ),
        Metric("facility_power_peak", "W", "high", None, "highest facility power of 15 minutes"),
        Metric("facility_energy", "J", "high", None, "energy from the grid over the horizon"),
        Metric(
            "pue", "1", "high", None, "facility energy / IT energy, ISO/IEC 30134-2, category 2"
        ),
        Metric("wue", "1", "high", None, "litres of water per kWh of IT energy"),
        Metric("water", "1", "high", None, "water that the cooling used [m3]"),
        Metric("energy_cost", "1", "high", None, "cost of energy in the tariff's currency"),
        Metric("carbon", "kg", "high", None, "CO2 of the energy from the grid"),
        Metric(
            "energy_per_accelerator_hour",
            "1",
            "high",
            None,
            "facility kWh per productive accelerator-hour",
        ),
        Metric(
            "cost_per_accelerator_hour",
            "1",
            "high",
            None,
            "cost of energy per productive accelerator-hour, in the tariff's currency",
        ),
        Metric(
            "throttled_accelerator_hours", "h", "high", None, "accelerator-hours that throttled"
        ),
        Metric("thermal_shutdowns", "1", "high", None, "nodes that went off because of heat"),
        Metric(
            "time_to_throttle_min",
            "s",
            "low",
            None,
            "least time to the first throttling after any single fault of the cooling",
        ),
        Metric(
            "time_to_shutdown_min",
            "s",
            "low",
            None,
            "least time to the first shutdown after any single fault of the cooling",
        ),
    )
}
