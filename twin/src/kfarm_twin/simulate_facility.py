"""Metrics of the facility: what futures drew and gave off by the hour, and what cooled them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from kfarm_twin.arrays import ACCELERATORS, METRIC_ORDER, Floats, Outcome
from kfarm_twin.compile import Model
from kfarm_twin.facility import Facility
from kfarm_twin.facility_describe import facility_of
from kfarm_twin.facility_metrics import FacilityMetrics, facility_metrics

HOUR_NS = 3600 * 10**9
NS_PER_HOUR = 3.6e12
NS_PER_S = 1e9
FACILITY_METRICS = tuple(
    field.name for field in fields(FacilityMetrics) if field.name in METRIC_ORDER
)
"""Metrics that this fills."""
PEAK = METRIC_ORDER.index("it_power_peak_15min")


@dataclass(frozen=True)
class Site:
    """The facilities of a model's farms, and which clusters are theirs."""

    facilities: tuple[Facility, ...]
    clusters: tuple[tuple[int, ...], ...]

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the manifests leave open about facilities, in sentences."""
        return tuple(dict.fromkeys(text for one in self.facilities for text in one.assumptions))


def site_of(model: Model) -> Site:
    """Numbers of the facilities of all farms of a model."""
    farms = {ref.farm_index: ref.farm for ref in model.clusters}
    profiles = {ref.profile.metadata.name: ref.profile for ref in model.clusters}
    return Site(
        tuple(facility_of(farms[index], profiles) for index in sorted(farms)),
        tuple(
            tuple(i for i, ref in enumerate(model.clusters) if ref.farm_index == index)
            for index in sorted(farms)
        ),
    )


def hours_of(horizon_ns: int) -> int:
    """Hours that a horizon begins."""
    return -(-horizon_ns // HOUR_NS)


def hour_columns(model: Model) -> int:
    """Columns of `Outcome.hours`: clusters, then zones."""
    return len(model.clusters) + len(model.columns.heat.zones)


def _mean_w(hours: Floats, horizon_ns: int) -> Floats:
    """Energy by the hour [J] as mean power of each hour, the last over its part [W]."""
    spans = np.full(hours.shape[1], 3600.0)
    spans[-1] = (horizon_ns - (hours.shape[1] - 1) * HOUR_NS) / NS_PER_S
    return np.asarray(hours / spans[:, None])


def productive_hours(model: Model, outcome: Outcome) -> Floats:
    """[futures] accelerator-hours of work that was kept."""
    units = model.columns.units
    devices = units.slots * model.columns.workloads.need[units.workload, ACCELERATORS]
    return np.asarray(outcome.unit_times_ns[:, :, 0] @ devices.astype(np.float64) / NS_PER_HOUR)


def fill_facility(
    site: Site, model: Model, outcome: Outcome, horizon_ns: int, first_future: int
) -> None:
    """Write the facility's metrics of futures from their hours; `first_future` is that of row 0."""
    power = _mean_w(outcome.hours, horizon_ns)
    clusters = len(model.clusters)
    by_zone, liquid = power[:, :, clusters:], model.described.zone_liquid == 1
    owner = model.described.zone_cluster[:, None] == np.arange(clusters)
    to_liquid = by_zone @ (owner & liquid[:, None]).astype(np.float64)
    to_air = by_zone @ (owner & ~liquid[:, None]).astype(np.float64)
    peak = outcome.metrics[:, PEAK]
    found = facility_metrics(
        site.facilities,
        [power[:, :, list(own)] for own in site.clusters],
        horizon_ns / NS_PER_S,
        productive_hours(model, outcome),
        liquid_w=[to_liquid[:, :, list(own)] for own in site.clusters],
        air_w=[to_air[:, :, list(own)] for own in site.clusters],
        peak_it_w=peak if np.isfinite(peak).all() else None,
        first_future=first_future,
    )
    for name in FACILITY_METRICS:
        outcome.metrics[:, METRIC_ORDER.index(name)] = getattr(found, name)
