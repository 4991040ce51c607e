"""Drift and telemetry as Prometheus metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from kfarm_api.farm import Farm
from kfarm_api.telemetry import DriftRow
from prometheus_client import CollectorRegistry, Gauge

FARM = ("kind", "farm")
CLUSTER = (*FARM, "cluster")


FAMILIES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "up": ("kfarm_telemetry_up", "1 while the farm's Prometheus is believed", FARM),
    "devices": ("kfarm_telemetry_devices", "Devices that were measured", FARM),
    "unhealthy": ("kfarm_unhealthy_accelerators", "Accelerators counted as lost", FARM),
    "error": ("kfarm_drift_temperature_kelvin", "Mean of observed less predicted", CLUSTER),
    "error_p95": ("kfarm_drift_temperature_p95_kelvin", "p95 of its absolute value", CLUSTER),
    "power_error": ("kfarm_drift_power_ratio", "Mean error of power over the most drawn", CLUSTER),
}
"""Name, help and labels of each of the `LiveGauges`; docs/live.md has them."""


@dataclass(frozen=True)
class LiveGauges:
    """Gauges of the live twin; made once for a registry."""

    up: Gauge
    devices: Gauge
    unhealthy: Gauge
    error: Gauge
    error_p95: Gauge
    power_error: Gauge

    @classmethod
    def register(cls, registry: CollectorRegistry) -> Self:
        """Make the gauges and register them."""
        return cls(**{
            field: Gauge(name, text, labels, registry=registry)
            for field, (name, text, labels) in FAMILIES.items()
        })  # fmt: skip

    def show(self, farm: Farm, *, up: bool | None, devices: int, lost: int) -> None:
        """What the last round told; `up` is None for a farm without telemetry."""
        names = (farm.kind, farm.metadata.name)
        self.unhealthy.labels(*names).set(lost)
        if up is not None:
            self.up.labels(*names).set(int(up))
            self.devices.labels(*names).set(devices)

    def drift(self, farm: Farm, rows: list[DriftRow]) -> None:
        """What the last period told."""
        for row in rows:
            names = (farm.kind, farm.metadata.name, row.cluster)
            if row.error is not None:
                self.error.labels(*names).set(float(row.error))
            if row.error_p95 is not None:
                self.error_p95.labels(*names).set(float(row.error_p95))
            if row.power_error is not None:
                self.power_error.labels(*names).set(float(row.power_error) / 100.0)

    def forget(self, kind: str, farm: str) -> None:
        """Take back what was shown of a farm that is gone."""
        for gauge in (self.up, self.devices, self.unhealthy):
            gauge.remove_by_labels({"kind": kind, "farm": farm})
        for gauge in (self.error, self.error_p95, self.power_error):
            gauge.remove_by_labels({"kind": kind, "farm": farm})
