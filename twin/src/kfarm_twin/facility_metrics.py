"""The facility's metrics of a batch of futures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.calendar_year import HOURS_PER_YEAR, start_hour
from kfarm_twin.facility import Facility, facility_hours

JOULES_PER_KWH = 3.6e6
LITRES_PER_M3 = 1000.0
_CHUNK = 200_000
"""Future-hours worked on at once: a few MB of temporary arrays."""


@dataclass(frozen=True)
class FacilityMetrics:
    """The verdict's metrics of a batch of futures, each [F]; names and units as in METRICS."""

    facility_power_peak: Floats
    facility_energy: Floats
    pue: Floats
    wue: Floats
    water: Floats
    energy_cost: Floats
    carbon: Floats
    energy_per_accelerator_hour: Floats
    cost_per_accelerator_hour: Floats
    assumptions: tuple[str, ...] = field(default=())


def facility_metrics(
    facilities: Sequence[Facility],
    it_w: Sequence[Floats],
    horizon_s: float,
    productive_hours: Floats,
    *,
    liquid_w: Sequence[Floats] | None = None,
    air_w: Sequence[Floats] | None = None,
    peak_it_w: Floats | None = None,
    first_future: int = 0,
) -> FacilityMetrics:
    """Metrics of a batch of futures for all farms of a plan together.

    Call it once after a batch. A plan has no date: future k begins at `start_hour(k)`, a Monday in
    a week of its own of the typical year, so that futures sample the seasons and peaks and PUE
    spread over them.

    Parameters
    ----------
    facilities
        One for each farm (`facility_of`).
    it_w
        For each farm [F, H, C]: mean IT power of each hour and cluster at the PDUs' output [W]. The
        last hour may be cut off by the horizon: give the mean over its part.
    horizon_s
        Length of the futures [s]; H = ceil(horizon_s / 3600).
    productive_hours
        [F] accelerator-hours of retained productive work (running, not lost); 0 gives NaN.
    liquid_w, air_w
        As `it_w`: heat to coolant and air; left out, by `liquidShare`.
    peak_it_w
        [F] highest IT power of 15 minutes of all farms, where known: the facility's peak then rises
        by as much as it exceeds the highest hour, at that hour's ratio.
    first_future
        Index of the batch's first future.
    """
    futures, hours = it_w[0].shape[0], it_w[0].shape[1]
    last = horizon_s / 3600.0 - (hours - 1)
    weights = np.ones(hours)
    weights[-1] = last
    sums = np.zeros((6, futures))
    step = max(_CHUNK // max(hours, 1), 1)
    for begin in range(0, futures, step):
        rows = slice(begin, min(begin + step, futures))
        starts = np.array([start_hour(first_future + f) for f in range(rows.start, rows.stop)])
        sums[:, rows] = _batch(
            facilities,
            [it[rows] for it in it_w],
            weights,
            starts,
            None if liquid_w is None else [part[rows] for part in liquid_w],
            None if air_w is None else [part[rows] for part in air_w],
            None if peak_it_w is None else peak_it_w[rows],
        )
    told = tuple(dict.fromkeys(text for one in facilities for text in one.assumptions))
    return _metrics(sums, np.asarray(productive_hours, np.float64), told)


def _batch(
    facilities: Sequence[Facility],
    it_w: Sequence[Floats],
    weights: Floats,
    starts: Ints,
    liquid_w: Sequence[Floats] | None,
    air_w: Sequence[Floats] | None,
    peak_it_w: Floats | None,
) -> Floats:
    """[6, F] peak [W], energy [J], IT energy [J], water [m3], cost, carbon [kg]."""
    futures, hours_each = it_w[0].shape[0], it_w[0].shape[1]
    total, it_total = np.zeros((futures, hours_each)), np.zeros((futures, hours_each))
    found = np.zeros((6, futures))
    index = (starts[:, None] + np.arange(hours_each)) % HOURS_PER_YEAR
    for number, facility in enumerate(facilities):
        hours = facility_hours(
            facility,
            it_w[number],
            start=starts,
            liquid_w=None if liquid_w is None else liquid_w[number],
            air_w=None if air_w is None else air_w[number],
        )
        total += hours.facility_w
        it_total += hours.it_w
        kwh = hours.facility_w * weights / 1000.0
        found[3] += (hours.water_m3 * weights).sum(axis=1)
        found[4] += _cost(facility, hours.facility_w, kwh, index)
        found[5] += (kwh * facility.carbon_g_per_kwh[index]).sum(axis=1) / 1000.0
    rows, at = np.arange(len(found[0])), total.argmax(axis=1)
    found[0] = total[rows, at]
    if peak_it_w is not None:
        ratio = found[0] / np.maximum(it_total[rows, at], 1e-9)
        found[0] += np.maximum(peak_it_w - it_total.max(axis=1), 0.0) * ratio
    found[1] = (total * weights).sum(axis=1) * 3600.0
    found[2] = (it_total * weights).sum(axis=1) * 3600.0
    return found


def _cost(facility: Facility, grid_w: Floats, kwh: Floats, index: Ints) -> Floats:
    """[F] cost of energy, with the demand charge for as long as the horizon; NaN without tariff."""
    tariff = facility.tariff
    if tariff is None:
        return np.full(len(grid_w), math.nan)
    energy = (kwh * tariff.price_per_kwh[index]).sum(axis=1)
    if grid_w.shape[1] == HOURS_PER_YEAR:
        starts = index[:, 0]
        demand = [tariff.demand_cost(row, int(at)) for row, at in zip(grid_w, starts, strict=True)]
        return np.asarray(energy + np.array(demand))
    return np.asarray(energy + tariff.demand_cost(grid_w))


def _metrics(sums: Floats, productive: Floats, told: tuple[str, ...]) -> FacilityMetrics:
    peak, energy, it, water, cost, carbon = sums
    worked = np.where(productive > 0.0, productive, math.nan)
    it_kwh = np.where(it > 0.0, it / JOULES_PER_KWH, math.nan)
    return FacilityMetrics(
        facility_power_peak=peak,
        facility_energy=energy,
        pue=energy / JOULES_PER_KWH / it_kwh,
        wue=water * LITRES_PER_M3 / it_kwh,
        water=water,
        energy_cost=cost,
        carbon=carbon,
        energy_per_accelerator_hour=energy / JOULES_PER_KWH / worked,
        cost_per_accelerator_hour=cost / worked,
        assumptions=told,
    )
