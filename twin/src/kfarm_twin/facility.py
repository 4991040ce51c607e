"""From hourly IT power to the facility: losses, cooling, water, cost and carbon of each hour.

`facility_of` turns a farm into numbers once; `facility_hours` works on any number of futures at
once; `facility_metrics` gives the verdict's metrics for a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from kfarm_api.farm import Cluster, Farm, Plant
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.thermal import PlantDetails
from kfarm_api.units import format_quantity, parse_decimal, parse_quantity

from kfarm_twin.arrays import Floats
from kfarm_twin.calendar_year import HOURS_PER_YEAR, start_hour
from kfarm_twin.climate import Climate, climate_named
from kfarm_twin.electric import Chain, chain_at, upstream
from kfarm_twin.plant import PlantClimate, PlantNumbers, plant_climate, plant_hours, plant_numbers
from kfarm_twin.request import InputError
from kfarm_twin.tariff import Tariff, tariff_named

KOREA_G_PER_KWH = 417.3
"""Carbon intensity of Korea's grid, 2023, at the point of use [gCO2/kWh] (facts, krgrid, High)."""
AIR_UNIT_W, AIR_UNIT_FAN_W = 600e3, 19e3
"""A fan wall where a cluster describes no air handlers: 600 kW, 14 to 24 kW of fans (facts, Low)."""
CDU_SHARE = 0.00612
"""Own power of a CDU over its capacity where no loop is described (CoolIT CHx2000: 12.24 kW of
2 MW; facts, cdu, Medium)."""
LEAST_AIR_SPEED = 0.3
"""Fans of air handlers turn no slower (assumption)."""
PLANT_ABOVE = 1.2
"""Size of a plant that a farm does not describe, over the heat at nameplate (assumption)."""
JOULES_PER_KWH = 3.6e6
LITRES_PER_M3 = 1000.0
_CHUNK = 200_000
"""Future-hours worked on at once: a few MB of temporary arrays."""


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


def facility_of(
    farm: Farm,
    profiles: Sequence[AcceleratorProfile] | dict[str, AcceleratorProfile],
    *,
    climate: Climate | None = None,
    tariff: Tariff | None = None,
    carbon_g_per_kwh: Floats | None = None,
) -> Facility:
    """Numbers of a farm's facility; what is passed goes before what the manifest names.

    Parameters
    ----------
    profiles
        At least those that the clusters name.

    Raises
    ------
    InputError
        When a climate, tariff or profile is not known, or a figure is impossible.
    """
    where = f"{farm.kind}/{farm.metadata.name}: spec"
    known = (
        profiles
        if isinstance(profiles, dict)
        else {profile.metadata.name: profile for profile in profiles}
    )
    told: list[str] = []
    parts = tuple(
        _cluster_part(cluster, known, f"{where}.clusters[{index}]", told)
        for index, cluster in enumerate(farm.spec.clusters)
    )
    weather = climate or _climate(farm, where, told)
    plant = _plant(farm, parts, where, told)
    power = farm.spec.power
    stages = power.stages if power else []
    if not stages and not any(part.pdu for part in parts):
        told.append("no stages are given from the PDUs outwards; nothing is lost there")
    return Facility(
        name=farm.metadata.name,
        clusters=parts,
        plant=plant,
        climate=weather,
        plant_year=plant_climate(plant, weather.dry_c, weather.wet_c, weather.pressure_pa),
        tariff=tariff or _tariff(farm, where, told),
        carbon_g_per_kwh=_carbon(farm, told) if carbon_g_per_kwh is None else carbon_g_per_kwh,
        water_price=parse_quantity(power.water_price) if power and power.water_price else math.nan,
        feed=chain_at(stages, "Feed", f"{where}.power.stages"),
        site=chain_at(stages, "Site", f"{where}.power.stages"),
        other_w=parse_quantity(power.other_load) if power else 0.0,
        capacity_w=parse_quantity(power.capacity) if power and power.capacity else math.inf,
        assumptions=tuple(told),
    )


def node_nameplate_w(cluster: Cluster, profile: AcceleratorProfile) -> float:
    """A node with all devices at TDP, or at their limit, and all else loaded, before its stages."""
    spec = profile.spec
    device = parse_quantity(spec.power.tdp)
    if cluster.accelerator_power_limit is not None:
        device = min(device, parse_quantity(cluster.accelerator_power_limit))
    fans = parse_quantity(spec.node_overhead.fans.power) if spec.node_overhead.fans else 0.0
    return cluster.accelerators_per_node * device + parse_quantity(spec.node_overhead.loaded) + fans


def racks_of(cluster: Cluster) -> int:
    """Racks of a cluster, the last of which may be in part empty."""
    return -(-cluster.nodes // cluster.rack.nodes)


def cluster_it_w(cluster: Cluster, node_w: Sequence[tuple[int, float]], where: str) -> float:
    """IT power of a cluster: nodes' stages, the racks' own load, the racks' stages [W].

    Parameters
    ----------
    node_w
        Numbers of nodes and what each of them draws before its stages [W].
    """
    stages = cluster.feed.stages if cluster.feed else []
    node = chain_at(stages, "Node", f"{where}.feed.stages")
    rack = chain_at(stages, "Rack", f"{where}.feed.stages")
    drawn = sum(count * float(upstream(node, watts)) for count, watts in node_w)
    racks = racks_of(cluster)
    return float(upstream(rack, drawn + racks * parse_quantity(cluster.rack.load), units=racks))


def _cluster_part(
    cluster: Cluster, known: dict[str, AcceleratorProfile], where: str, told: list[str]
) -> ClusterPart:
    profile = known.get(cluster.accelerator)
    if profile is None:
        expected = f"an AcceleratorProfile that is given (given: {', '.join(sorted(known))})"
        raise InputError(f"{where}.accelerator", repr(cluster.accelerator), expected)
    nameplate = cluster_it_w(cluster, [(cluster.nodes, node_nameplate_w(cluster, profile))], where)
    share = cluster.cooling.liquid_share / 100.0
    cdus, cdu_w = _cdus(cluster, told)
    units, capacity, fan = _air(cluster, nameplate * (1.0 - share), told)
    feed = cluster.feed
    return ClusterPart(
        name=cluster.name,
        nodes=cluster.nodes,
        accelerators=cluster.nodes * cluster.accelerators_per_node,
        nameplate_w=nameplate,
        liquid_share=share,
        cdus=cdus,
        cdu_w=cdus * cdu_w,
        air_units=units,
        air_capacity_w=capacity,
        air_fan_w=fan,
        pdu=chain_at(feed.stages if feed else [], "Pdu", f"{where}.feed.stages"),
        pdus=-(-cluster.nodes // feed.nodes_per_pdu) * feed.feeds if feed else 1,
        feeds=feed.feeds if feed else 1,
    )


def _cdus(cluster: Cluster, told: list[str]) -> tuple[int, float]:
    """Number of CDUs and the own power of each [W]."""
    cooling = cluster.cooling
    if cooling.nodes_per_cdu is None or cooling.cdu_capacity is None:
        return 0, 0.0
    count = -(-cluster.nodes // cooling.nodes_per_cdu)
    if cooling.loop is not None:
        return count, parse_quantity(cooling.loop.cdu_power)
    own = CDU_SHARE * parse_quantity(cooling.cdu_capacity)
    told.append(
        f"{cluster.name}: cooling.loop is not given; each CDU draws {own / 1000:.3g} kW, "
        f"{100 * CDU_SHARE:.1f} % of its capacity, is assumed"
    )
    return count, own


def _air(cluster: Cluster, heat_w: float, told: list[str]) -> tuple[int, float, float]:
    """Air handlers that run, capacity and fan power of each [W]."""
    zone = cluster.cooling.air
    if zone is None:
        units = max(math.ceil(heat_w / AIR_UNIT_W), 1)
        told.append(
            f"{cluster.name}: cooling.air is not given; {units} fan walls of "
            f"{AIR_UNIT_W / 1000:g} kW with {AIR_UNIT_FAN_W / 1000:g} kW of fans are assumed"
        )
        return units, AIR_UNIT_W, AIR_UNIT_FAN_W
    zones = -(-cluster.nodes // (zone.nodes_per_zone or cluster.nodes))
    units = zones * (zone.units + zone.redundant_units)
    return units, parse_quantity(zone.unit_capacity), parse_quantity(zone.fan_power)


def _climate(farm: Farm, where: str, told: list[str]) -> Climate:
    name = farm.spec.site.climate
    if name is None:
        told.append("site.climate is not given; that of Seoul is assumed")
        return climate_named("seoul")
    return climate_named(name, f"{where}.site.climate")


def _tariff(farm: Farm, where: str, told: list[str]) -> Tariff | None:
    power = farm.spec.power
    if power is None or power.tariff is None:
        told.append("power.tariff is not given; energy has no cost")
        return None
    return tariff_named(power.tariff, f"{where}.power.tariff")


def _carbon(farm: Farm, told: list[str]) -> Floats:
    power = farm.spec.power
    if power is not None and power.carbon_intensity is not None:
        return np.full(HOURS_PER_YEAR, parse_quantity(power.carbon_intensity))
    told.append(
        f"power.carbonIntensity is not given; {KOREA_G_PER_KWH:g} gCO2/kWh (Korea, 2023) is assumed"
    )
    return np.full(HOURS_PER_YEAR, KOREA_G_PER_KWH)


def _plant(farm: Farm, parts: Sequence[ClusterPart], where: str, told: list[str]) -> PlantNumbers:
    plant = farm.spec.plant
    if plant is None:
        size = parse_decimal(f"{PLANT_ABOVE * sum(p.nameplate_w for p in parts):.0f}")
        plant = Plant(chillers=1, chiller_capacity=format_quantity(size))
        told.append(
            f"plant is not given; a chiller of {float(size) / 1e6:.3g} MW, {PLANT_ABOVE:g} times "
            "nameplate, is assumed"
        )
    if plant.details is None:
        own = PlantDetails()
        told.append(
            f"plant.details are not given; water of {own.supply_temperature} degC, a COP of "
            f"{own.cop} at {own.cop_outdoor} degC wet bulb, cooling towers with free cooling are "
            "assumed"
        )
    return plant_numbers(plant, f"{where}.plant")


def facility_hours(
    facility: Facility,
    it_w: Floats,
    *,
    start: int | Floats = 0,
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
        divided as `liquidShare` says.

    Returns
    -------
    FacilityHours
        With arrays [..., H].
    """
    shares = np.array([cluster.liquid_share for cluster in facility.clusters])
    to_liquid = it_w * shares if liquid_w is None else liquid_w
    to_air = it_w - it_w * shares if air_w is None else air_w
    pdu_in, handlers, feeds_in = halls(facility, it_w, to_air)
    it, pdu_total = it_w.sum(axis=-1), pdu_in.sum(axis=-1)
    own = sum(cluster.cdu_w for cluster in facility.clusters)
    air_total = handlers.sum(axis=-1)
    heat = to_liquid.sum(axis=-1) + to_air.sum(axis=-1) + (pdu_total - it) + air_total + own
    year = _hours_of(facility.plant_year, start, it.shape)
    cold = plant_hours(facility.plant, year, heat)
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
        free_share=year.free_share,
    )


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


def _hours_of(year: PlantClimate, start: int | Floats, shape: tuple[int, ...]) -> PlantClimate:
    """The weather's part for hours [H] from `start` on, or [F, H] for several starts."""
    first = np.asarray(start, dtype=np.int64)
    index = (first[..., None] + np.arange(shape[-1])) % HOURS_PER_YEAR
    return replace(
        year,
        cop=year.cop[index],
        free_share=year.free_share[index],
        fan_ease=year.fan_ease[index],
        litres_per_joule=year.litres_per_joule[index],
        without_chillers_c=year.without_chillers_c[index],
    )


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
    starts: Floats,
    liquid_w: Sequence[Floats] | None,
    air_w: Sequence[Floats] | None,
    peak_it_w: Floats | None,
) -> Floats:
    """[6, F] peak [W], energy [J], IT energy [J], water [m3], cost, carbon [kg]."""
    total = np.zeros(it_w[0].shape[:2])
    it_total = np.zeros_like(total)
    found = np.zeros((6, total.shape[0]))
    index = (starts[:, None] + np.arange(total.shape[1])) % HOURS_PER_YEAR
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


def _cost(facility: Facility, grid_w: Floats, kwh: Floats, index: Floats) -> Floats:
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
