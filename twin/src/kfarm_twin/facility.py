"""From hourly IT power to the facility: losses, cooling and water of each hour.

`facility_describe.facility_of` turns a farm into numbers once; `facility_hours` works on any number
of futures at once; `facility_metrics.facility_metrics` gives the verdict's metrics for a batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.calendar_year import HOURS_PER_YEAR
from kfarm_twin.climate import Climate
from kfarm_twin.electric import Chain, upstream
from kfarm_twin.plant import PlantClimate, PlantNumbers, plant_hours
from kfarm_twin.tariff import Tariff

LEAST_AIR_SPEED = 0.3
"""Fans of air handlers turn no slower (assumption)."""


@dataclass(frozen=True)
class ClusterPart:
    """What a cluster adds to the facility.

    Attributes
    ----------
    nameplate_w
        IT power with all devices at TDP [W].
    liquid_share
        Part of its heat that goes to coolant.
    cdu_w
        Own power of all its CDUs [W].
    air_units, air_capacity_w, air_fan_w
        Handlers, redundant ones included, that run together; heat and fan power of each [W].
    pdu, pdus
        Stages of a PDU and how many there are.
    feeds
        Feeds that share the cluster's load.
    """

    name: str
    nodes: int
    accelerators: int
    nameplate_w: float
    liquid_share: float
    cdus: int
    cdu_w: float
    air_units: int
    air_capacity_w: float
    air_fan_w: float
    pdu: Chain
    pdus: int
    feeds: int


@dataclass(frozen=True)
class Facility:
    """A farm's facility in SI units, with its climate, tariff and grid.

    Attributes
    ----------
    carbon_g_per_kwh
        [8760].
    warm_circuits, warm_free
        The plant with the water of each cluster's loops, and [C, 8760] the part of their heat that
        needs no chiller; none where all water is that of the plant.
    water_price
        Per m3 in the tariff's currency; NaN where none is given.
    assumptions
        What the manifest leaves open, in sentences.
    """

    name: str
    clusters: tuple[ClusterPart, ...]
    plant: PlantNumbers
    climate: Climate
    plant_year: PlantClimate
    tariff: Tariff | None
    carbon_g_per_kwh: Floats
    water_price: float
    feed: Chain
    site: Chain
    other_w: float
    capacity_w: float
    assumptions: tuple[str, ...] = ()
    warm_circuits: tuple[PlantNumbers, ...] = ()
    warm_free: Floats | None = None

    @property
    def nameplate_w(self) -> float:
        """IT power with all devices at TDP [W]."""
        return sum(cluster.nameplate_w for cluster in self.clusters)


@dataclass(frozen=True)
class FacilityHours:
    """Hourly means of a facility [W], all [..., H] with the leading axes of the IT power.

    `it_w` is IT power (at the PDUs' output); `heat_w` what the plant takes up; `short_w` what it
    cannot; `water_m3` is per hour, `free_share` [H] the part of the heat that needs no chiller.
    """

    it_w: Floats
    pdu_loss_w: Floats
    feed_loss_w: Floats
    site_loss_w: Floats
    chillers_w: Floats
    rejection_w: Floats
    pumps_w: Floats
    air_w: Floats
    cdu_w: Floats
    other_w: Floats
    facility_w: Floats
    heat_w: Floats
    short_w: Floats
    water_m3: Floats
    free_share: Floats


USES = (
    ("it", "it_w"),
    ("pdus", "pdu_loss_w"),
    ("ups", "feed_loss_w"),
    ("transformer", "site_loss_w"),
    ("chillers", "chillers_w"),
    ("heatRejection", "rejection_w"),
    ("pumps", "pumps_w"),
    ("airHandlers", "air_w"),
    ("cdus", "cdu_w"),
    ("other", "other_w"),
)
"""Uses of the facility's power, which sum to `facility_w`: names in JSON and fields."""


def facility_hours(
    facility: Facility,
    it_w: Floats,
    *,
    start: int | Ints = 0,
    liquid_w: Floats | None = None,
    air_w: Floats | None = None,
) -> FacilityHours:
    """The facility hour by hour.

    Parameters
    ----------
    it_w
        [..., H, C] mean IT power of each hour and cluster, at the PDUs' output [W].
    start
        Hour of the typical year at which the first hour begins; one for all, or [F] for an `it_w`
        of [F, H, C].
    liquid_w, air_w
        [..., H, C] heat that the clusters' coolant and air give up [W]; left out, the IT power
        divided as `liquidShare` says. Air takes at least what coolant leaves of the IT power.

    Returns
    -------
    FacilityHours
        With arrays [..., H].
    """
    shares = np.array([cluster.liquid_share for cluster in facility.clusters])
    to_liquid = it_w * shares if liquid_w is None else liquid_w
    to_air = it_w - to_liquid  # what racks draw beside their nodes warms the air, too
    if air_w is not None:
        to_air = np.maximum(to_air, air_w)
    pdu_in, handlers, feeds_in = halls(facility, it_w, to_air)
    it, pdu_total = it_w.sum(axis=-1), pdu_in.sum(axis=-1)
    own = sum(cluster.cdu_w for cluster in facility.clusters)
    air_total = handlers.sum(axis=-1)
    heat = to_liquid.sum(axis=-1) + to_air.sum(axis=-1) + (pdu_total - it) + air_total + own
    year = _hours_of(facility.plant_year, start, it.shape)
    free = _free_w(facility, year, heat, to_liquid, start)
    cold = plant_hours(facility.plant, year, heat, free)
    mechanical = cold.chillers_w + cold.rejection_w + cold.pumps_w + air_total + own
    behind = feeds_in + mechanical + facility.other_w
    total = upstream(facility.site, behind) if facility.site else behind
    return FacilityHours(
        it_w=it,
        pdu_loss_w=pdu_total - it,
        feed_loss_w=feeds_in - pdu_total,
        site_loss_w=total - behind,
        chillers_w=cold.chillers_w,
        rejection_w=cold.rejection_w,
        pumps_w=cold.pumps_w,
        air_w=air_total,
        cdu_w=np.full_like(it, own),
        other_w=np.full_like(it, facility.other_w),
        facility_w=total,
        heat_w=heat,
        short_w=cold.short_w,
        water_m3=cold.water_m3,
        free_share=_share(free, heat) if facility.warm_free is not None else year.free_share,
    )


def _free_w(
    facility: Facility, year: PlantClimate, heat_w: Floats, liquid_w: Floats, start: int | Ints
) -> Floats:
    """Heat [..., H] that needs no chiller."""
    if facility.warm_free is None:
        return heat_w * year.free_share
    index = _index(start, heat_w.shape)
    rest, free = heat_w, np.zeros_like(heat_w)
    for cluster, share in enumerate(facility.warm_free):
        rest = rest - liquid_w[..., cluster]
        free = free + liquid_w[..., cluster] * share[index]
    return np.asarray(free + np.maximum(rest, 0.0) * year.free_share)


def _share(free_w: Floats, heat_w: Floats) -> Floats:
    """Part of the heat that needs no chiller; 1 where all but rounding does not."""
    share = free_w / np.maximum(heat_w, 1e-9)
    return np.where(share > 1.0 - 1e-9, 1.0, share)


def halls(facility: Facility, it_w: Floats, air_w: Floats) -> tuple[Floats, Floats, Floats]:
    """What PDUs draw and air handlers draw [..., H, C], and what all feeds draw [..., H], in W."""
    pdu_in, handlers = np.empty_like(it_w), np.empty_like(it_w)
    feeds_in = np.zeros(it_w.shape[:-1])
    for index, cluster in enumerate(facility.clusters):
        it, heat = it_w[..., index], air_w[..., index]
        drawn = upstream(cluster.pdu, it, cluster.pdus) if cluster.pdu else it
        pdu_in[..., index] = drawn
        warmed = heat + (drawn - it)
        speed = warmed / (cluster.air_units * cluster.air_capacity_w)
        speed = np.clip(speed, LEAST_AIR_SPEED, 1.0)
        handlers[..., index] = cluster.air_units * cluster.air_fan_w * speed**3
        feeds_in += upstream(facility.feed, drawn, cluster.feeds) if facility.feed else drawn
    return pdu_in, handlers, feeds_in


def _hours_of(year: PlantClimate, start: int | Ints, shape: tuple[int, ...]) -> PlantClimate:
    """The weather's part for hours [H] from `start` on, or [F, H] for several starts."""
    index = _index(start, shape)
    return replace(
        year,
        cop=year.cop[index],
        free_share=year.free_share[index],
        fan_ease=year.fan_ease[index],
        litres_per_joule=year.litres_per_joule[index],
        without_chillers_c=year.without_chillers_c[index],
    )


def _index(start: int | Ints, shape: tuple[int, ...]) -> Ints:
    """Hours of the year [H] from `start` on, or [F, H] for several starts."""
    first = np.asarray(start, dtype=np.int64)
    return np.asarray((first[..., None] + np.arange(shape[-1])) % HOURS_PER_YEAR)
