"""A typical year of a farm: energy, PUE, water, cost and carbon, and where each watt goes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from kfarm_api.farm import Cluster, Farm
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.units import parse_quantity

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.calendar_year import HOURS_PER_YEAR, MONTH_OF_HOUR, MONTHS
from kfarm_twin.electric import chain_at, upstream
from kfarm_twin.energy_result import ClusterYear, EnergyYear, Hourly, Link, Month, Work
from kfarm_twin.facility import USES, Facility, FacilityHours, facility_hours, halls
from kfarm_twin.facility_describe import facility_of, grouped, racks_of, warm_free
from kfarm_twin.node_power import NodePower, node_power
from kfarm_twin.plant import plant_climate

LITRES_PER_M3 = 1000.0
W_PER_KW = 1000.0
GRID, UPS, PDUS, RACKS, NODES = "Grid", "UPS", "PDUs", "Racks", "Nodes"
COOLING = ("chillers", "heatRejection", "pumps", "airHandlers", "cdus")
_USE_LABELS = {
    "chillers": "Chillers",
    "heatRejection": "Heat rejection",
    "pumps": "Pumps",
    "airHandlers": "Air handlers",
    "cdus": "CDUs",
    "other": "Other load",
}


@dataclass(frozen=True)
class _ClusterWork:
    """A cluster over the span: IT power [H], and mean watts by what they become."""

    cluster: Cluster
    profile: AcceleratorProfile
    working: int
    it_w: Floats
    bands: dict[str, float]
    parts: dict[str, float]
    typical: NodePower
    speed: float


def energy_year(
    farm: Farm,
    profiles: Sequence[AcceleratorProfile],
    work: Work,
    facility: Facility | None = None,
    variant: str = "as described",
    own: Mapping[str, Work] | None = None,
) -> EnergyYear:
    """Play a farm through its work.

    Parameters
    ----------
    own
        Work of single clusters, by name, over the same hours; the others do `work`.
    facility
        With another climate, tariff or carbon; else that of the manifest.

    Raises
    ------
    InputError
        When the manifest refers to what is not there or says what cannot be.
    """
    facility = facility or facility_of(farm, profiles)
    known = {profile.metadata.name: profile for profile in profiles}
    where = f"{farm.kind}/{farm.metadata.name}: spec.clusters"
    works = [
        _cluster_work(
            cluster,
            known[cluster.accelerator],
            (own or {}).get(cluster.name, work),
            f"{where}[{index}]",
        )
        for index, cluster in enumerate(farm.spec.clusters)
    ]
    it = np.stack([one.it_w for one in works], axis=-1)
    hours = facility_hours(facility, it, start=work.start)
    return _answer(farm, facility, work, works, it, hours, variant)


def _cluster_work(
    cluster: Cluster, profile: AcceleratorProfile, work: Work, where: str
) -> _ClusterWork:
    """Node power at each different load of the span, then hours by it."""
    nodes = cluster.nodes - cluster.spares
    working = round(nodes * work.busy)
    loads, kind = np.unique(np.stack([work.load, work.cpu_load]), axis=1, return_inverse=True)
    kind = np.asarray(kind).reshape(-1)
    counts = np.bincount(kind, minlength=loads.shape[1]) / kind.size
    idle = node_power(cluster, profile, where, 0.0, 0.0)
    found = [node_power(cluster, profile, where, *map(float, pair)) for pair in loads.T]
    stages = cluster.feed.stages if cluster.feed else []
    rack = chain_at(stages, "Rack", f"{where}.feed.stages")
    racks = racks_of(cluster)
    switches = racks * parse_quantity(cluster.rack.load)
    rest = cluster.nodes - working
    inside = np.array([working * one.input_w + rest * idle.input_w + switches for one in found])
    drawn = upstream(rack, inside, racks) if rack else inside
    bands, parts = _bands(found, idle, working, rest, counts)
    bands |= {
        "switches": switches,
        "rack_loss": float((drawn - inside) @ counts),
        "nodes": float((inside - switches) @ counts),
    }
    hottest = found[int(np.argmax(loads[0]))]
    return _ClusterWork(
        cluster,
        profile,
        working,
        drawn[kind],
        bands,
        parts,
        hottest,
        _speed(found, loads, counts, profile),
    )


def _bands(
    found: Sequence[NodePower], idle: NodePower, working: int, rest: int, counts: Floats
) -> tuple[dict[str, float], dict[str, float]]:
    """Mean watts of devices, fans, power supplies' loss and other; and of the named parts."""

    def mean(name: str) -> float:
        busy = np.array([getattr(one, name) for one in found]) @ counts
        return float(working * busy + rest * getattr(idle, name))

    bands = {
        "devices": mean("devices_w"),
        "fans": mean("fans_w"),
        "supply_loss": mean("supply_loss_w"),
        "other": mean("other_w"),
    }
    parts = {
        name: float(
            working * (np.array([one.parts_w[name] for one in found]) @ counts)
            + rest * idle.parts_w[name]
        )
        for name in idle.parts_w
    }
    return bands, parts


def _speed(
    found: Sequence[NodePower], loads: Floats, counts: Floats, profile: AcceleratorProfile
) -> float:
    """Power above idle over what the load asks for, weighted with the load."""
    idle, tdp = parse_quantity(profile.spec.power.idle), parse_quantity(profile.spec.power.tdp)
    asked = (tdp - idle) * loads[0] / 100.0
    got = np.array([one.device_w for one in found]) - idle
    total = float(asked @ counts)
    return float(got @ counts) / total if total > 0.0 else 1.0


def _answer(
    farm: Farm,
    facility: Facility,
    work: Work,
    works: Sequence[_ClusterWork],
    it: Floats,
    hours: FacilityHours,
    variant: str,
) -> EnergyYear:
    span = len(hours.it_w)
    index = (work.start + np.arange(span)) % HOURS_PER_YEAR
    tariff = facility.tariff
    kwh = hours.facility_w / W_PER_KW
    it_kwh = float(hours.it_w.sum()) / W_PER_KW
    charge = float(tariff.energy_cost(hours.facility_w, work.start)) if tariff else math.nan
    demand = float(tariff.demand_cost(hours.facility_w, work.start)) if tariff else math.nan
    cost = charge + demand
    water = float(hours.water_m3.sum())
    clusters = _clusters(facility, works, it, hours, cost)
    productive = sum(
        one.working * one.cluster.accelerators_per_node * one.speed * _worked(work) for one in works
    )
    facility_kwh = float(kwh.sum())
    return EnergyYear(
        farm=farm.metadata.name,
        kind=farm.kind,
        site=farm.spec.site.name,
        variant=variant,
        climate=facility.climate.title,
        climate_source=f"{facility.climate.source} ({facility.climate.confidence})",
        tariff=tariff.title if tariff else None,
        currency=tariff.currency if tariff else None,
        hours=span,
        whole_year=span == HOURS_PER_YEAR,
        load=float(work.load.mean()),
        cpu_load=float(work.cpu_load.mean()),
        busy=work.busy,
        it_kwh=it_kwh,
        facility_kwh=facility_kwh,
        it_peak_w=float(hours.it_w.max()),
        facility_peak_w=float(hours.facility_w.max()),
        design_peak_w=_design_peak_w(facility, it[int(hours.it_w.argmax())]),
        capacity_w=facility.capacity_w,
        pue=facility_kwh / it_kwh if it_kwh else math.nan,
        wue=water * LITRES_PER_M3 / it_kwh if it_kwh else math.nan,
        water_m3=water,
        energy_charge=charge,
        demand_charge=demand,
        energy_cost=cost,
        water_cost=water * facility.water_price,
        carbon_kg=float(kwh @ facility.carbon_g_per_kwh[index]) / 1000.0,
        free_cooling_hours=int((hours.free_share >= 1.0).sum()),
        mixed_hours=int(((hours.free_share > 0.0) & (hours.free_share < 1.0)).sum()),
        chiller_hours=int((hours.free_share <= 0.0).sum()),
        unmet_heat_kwh=float(hours.short_w.sum()) / W_PER_KW,
        accelerator_hours=productive,
        kwh_per_accelerator_hour=facility_kwh / productive if productive else math.nan,
        cost_per_accelerator_hour=cost / productive if productive else math.nan,
        uses_kwh={name: float(getattr(hours, field).sum()) / W_PER_KW for name, field in USES},
        months=_months(facility, hours, index),
        links=_links(works, hours),
        clusters=clusters,
        hourly=_hourly(facility, hours, index),
        assumptions=(
            *facility.assumptions,
            *grouped(_node_assumptions(works), [one.cluster.name for one in works]),
        ),
    )


def _worked(work: Work) -> float:
    """Hours with work."""
    return float((work.load > 0.0).sum())


def _node_assumptions(works: Sequence[_ClusterWork]) -> list[str]:
    told = []
    for one in works:
        if one.profile.spec.node_overhead.fans is None:
            told.append(
                f"{one.cluster.name}: profile {one.profile.metadata.name} describes no fans; they "
                "are part of the node's overhead and do not follow the heat"
            )
        if one.typical.throttled:
            told.append(
                f"{one.cluster.name}: accelerators throttle at {one.typical.device_c:.0f} degC and "
                f"work at {100 * one.speed:.0f} % of the speed asked"
            )
    return told


def _design_peak_w(facility: Facility, it: Floats) -> float:
    """Power at the site's design weather [W]."""
    climate = facility.climate
    dry = np.full(HOURS_PER_YEAR, climate.design_dry_c)
    wet = np.full(HOURS_PER_YEAR, climate.design_wet_c)
    pressure = climate.pressure_pa
    circuits = facility.warm_circuits
    hottest = replace(
        facility,
        plant_year=plant_climate(facility.plant, dry, wet, pressure),
        warm_free=warm_free(circuits, dry, wet, pressure) if circuits else None,
    )
    hours = facility_hours(hottest, it[None, :])
    return float(hours.facility_w[0])


def _clusters(
    facility: Facility,
    works: Sequence[_ClusterWork],
    it: Floats,
    hours: FacilityHours,
    cost: float,
) -> tuple[ClusterYear, ...]:
    """Each cluster with what it is the cause of."""
    shares = np.array([part.liquid_share for part in facility.clusters])
    pdu_in, handlers, feeds_in = halls(facility, it, it * (1.0 - shares))
    own = np.array([part.cdu_w for part in facility.clusters])
    heat = pdu_in + handlers + own
    plant = hours.chillers_w + hours.rejection_w + hours.pumps_w
    total = np.maximum(pdu_in.sum(axis=-1), 1e-9)
    behind = pdu_in * (feeds_in / total)[:, None] + handlers + own
    behind += plant[:, None] * heat / np.maximum(heat.sum(axis=-1), 1e-9)[:, None]
    inner = np.maximum(behind.sum(axis=-1), 1e-9)
    mean = (behind * (hours.facility_w / inner)[:, None]).mean(axis=0)
    whole = max(float(mean.sum()), 1e-9)
    year = HOURS_PER_YEAR / len(it)
    return tuple(
        _cluster_year(one, float(it[:, c].mean()), float(mean[c]), cost * year * mean[c] / whole)
        for c, one in enumerate(works)
    )


def _cluster_year(one: _ClusterWork, it_w: float, facility_w: float, cost: float) -> ClusterYear:
    cluster, spec = one.cluster, one.profile.spec
    price = math.nan
    if cluster.node_price is not None:
        price = parse_quantity(cluster.node_price) * cluster.nodes / cluster.lifetime_years
    working = one.working * cluster.accelerators_per_node
    rates = {
        name: parse_quantity(text) * working * one.speed
        for name, text in spec.rates.model_dump().items()
        if text is not None
    }
    return ClusterYear(
        name=cluster.name,
        accelerator=cluster.accelerator,
        cooling=cluster.cooling.type,
        nodes=cluster.nodes,
        working_nodes=one.working,
        accelerators=cluster.nodes * cluster.accelerators_per_node,
        node_w=one.typical.input_w,
        device_w=one.typical.device_w,
        device_c=one.typical.device_c,
        throttled=one.typical.throttled,
        it_w=it_w,
        facility_w=facility_w,
        speed=one.speed,
        rates=rates,
        energy_cost=float(cost),
        node_cost=price,
        yearly_cost=float(cost) + price,
    )


def _months(facility: Facility, hours: FacilityHours, index: Ints) -> tuple[Month, ...]:
    month = MONTH_OF_HOUR[index]
    price = facility.tariff.price_per_kwh[index] if facility.tariff else np.full(len(index), np.nan)
    found = []
    for number, name in enumerate(MONTHS):
        mine = month == number
        it, total = hours.it_w[mine].sum() / W_PER_KW, hours.facility_w[mine].sum() / W_PER_KW
        found.append(
            Month(
                month=name,
                pue=float(total / it) if it > 0.0 else math.nan,
                it_kwh=float(it),
                facility_kwh=float(total),
                energy_charge=float(hours.facility_w[mine] @ price[mine]) / W_PER_KW,
                water_m3=float(hours.water_m3[mine].sum()),
                carbon_kg=float(hours.facility_w[mine] @ facility.carbon_g_per_kwh[index][mine])
                / W_PER_KW
                / 1000.0,
                free_cooling_hours=int((hours.free_share[mine] >= 1.0).sum()),
                dry_c=float(facility.climate.dry_c[index][mine].mean()) if mine.any() else math.nan,
                wet_c=float(facility.climate.wet_c[index][mine].mean()) if mine.any() else math.nan,
            )
        )
    return tuple(found)


def _hourly(facility: Facility, hours: FacilityHours, index: Ints) -> Hourly:
    tariff = facility.tariff
    with np.errstate(divide="ignore", invalid="ignore"):
        pue = np.where(hours.it_w > 0.0, hours.facility_w / hours.it_w, np.nan)
    return Hourly(
        it_w=hours.it_w,
        facility_w=hours.facility_w,
        pue=pue,
        free_share=hours.free_share,
        dry_c=facility.climate.dry_c[index],
        wet_c=facility.climate.wet_c[index],
        water_m3=hours.water_m3,
        price_per_kwh=tariff.price_per_kwh[index] if tariff else np.full(len(index), np.nan),
    )


def _links(works: Sequence[_ClusterWork], hours: FacilityHours) -> tuple[Link, ...]:
    """Bands from the grid to the devices; what enters a place leaves it. Bands of 0 W are left out.

    The names of places are also those that the picture shows.
    """
    mean = {name: float(getattr(hours, field).mean()) for name, field in USES}
    into_pdus = mean["it"] + mean["pdus"]
    into_ups = into_pdus + mean["ups"]
    links = [Link(GRID, "Transformer loss", mean["transformer"])]
    links += [Link(GRID, "Cooling", sum(mean[name] for name in COOLING))]
    links += [Link("Cooling", _USE_LABELS[name], mean[name]) for name in COOLING]
    links += [
        Link(GRID, _USE_LABELS["other"], mean["other"]),
        Link(GRID, UPS, into_ups),
        Link(UPS, "UPS loss", mean["ups"]),
        Link(UPS, PDUS, into_pdus),
        Link(PDUS, "PDU loss", mean["pdus"]),
        Link(PDUS, RACKS, mean["it"]),
    ]
    totals: dict[tuple[str, str], float] = {}

    def add(source: str, target: str, watts: float) -> None:
        totals[source, target] = totals.get((source, target), 0.0) + watts

    for one in works:
        add(RACKS, "Rectifier loss", one.bands["rack_loss"])
        add(RACKS, "Switches", one.bands["switches"])
        add(RACKS, NODES, one.bands["nodes"])
        add(NODES, "Power supply loss", one.bands["supply_loss"])
        add(NODES, "Fans", one.bands["fans"])
        for name, watts in one.parts.items():
            add(NODES, name, watts)
        add(NODES, "Other in the node", one.bands["other"])
        add(NODES, f"Accelerators {one.cluster.accelerator}", one.bands["devices"])
    links += [Link(source, target, watts) for (source, target), watts in totals.items()]
    return tuple(link for link in links if link.watts > 1e-6)
