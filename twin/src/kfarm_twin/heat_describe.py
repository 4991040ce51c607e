"""From manifests to the heat engine: clusters, racks, zones and plants as `heat_tables` takes them.

The one place where that is done. Nodes and racks are numbered as in `compile_farm`; a zone is a CDU
loop or the room of a cluster (or a part of one, where ``cooling.air.nodesPerZone`` says so). First
come the zones that stand for the loops of `compile_farm`, in its order, then the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from kfarm_api.farm import Farm
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.units import parse_quantity

from kfarm_twin.arrays import Ints
from kfarm_twin.columns_cluster import HasFacts
from kfarm_twin.compile import cluster_refs
from kfarm_twin.heat_facts import (
    ClusterHeat,
    FanHeat,
    PlantHeat,
    ZoneHeat,
)
from kfarm_twin.heat_read import cluster_heat, plant_heat, told_once
from kfarm_twin.heat_tables import (
    HeatCluster,
    HeatFans,
    HeatFarm,
    HeatFault,
    HeatPlant,
    HeatRack,
    HeatZone,
)


class Described(HasFacts, Protocol):
    """A cluster with its farm and profile; `compile.ClusterRef` is one."""

    @property
    def farm(self) -> Farm:
        """Whose cluster it is."""

    @property
    def farm_index(self) -> int:
        """Place among the farms."""

    @property
    def profile(self) -> AcceleratorProfile:
        """The device type."""


@dataclass(frozen=True)
class DescribedHeat:
    """Farms for the heat engine, and what they were read from.

    Attributes
    ----------
    farm
        What `heat_tables.compile_heat` takes.
    clusters
        SI figures, cluster by cluster.
    plants
        SI figures, farm by farm.
    zone_cluster
        [zones] cluster of each zone.
    zone_liquid
        [zones] 1 for CDU loops.
    loop_zone
        [U] zone of each loop of `compile_farm`; for a cluster in air the first of its zones.
    racks
        Labels, as in `compile_farm`.
    assumptions
        What is not in the manifests, for people.
    """

    farm: HeatFarm
    clusters: tuple[ClusterHeat, ...]
    plants: tuple[PlantHeat, ...]
    zone_cluster: Ints
    zone_liquid: Ints
    loop_zone: Ints
    racks: tuple[str, ...]
    assumptions: tuple[str, ...]

    def with_faults(self, faults: Sequence[HeatFault]) -> HeatFarm:
        """The same farm under stated faults."""
        return replace(self.farm, faults=tuple(faults))


@dataclass(frozen=True)
class _Zones:
    """Zones of one cluster, counted from 0: `air` and `liquid` are of each node (or -1)."""

    zones: list[HeatZone]
    is_liquid: list[int]
    air: Ints
    liquid: Ints


def _zone(name: str, plant: int, heat: ZoneHeat, share: float) -> HeatZone:
    """A zone; `share` scales one of the last, smaller parts where it was sized for a full one."""
    up, down = heat.life or (0.0, 0.0)
    return HeatZone(
        name=name,
        plant=plant,
        setpoint_c=heat.setpoint_c,
        u_w_per_k=heat.conductance_w_per_k * share,
        mass_j_per_k=heat.mass_j_per_k * share,
        units_needed=heat.unit_count,
        units=heat.unit_count + heat.redundant,
        unit_up_s=up,
        unit_down_s=down,
    )


def _zones(ref: Described, heat: ClusterHeat) -> _Zones:
    prefix = f"{ref.farm.metadata.name}-{ref.cluster.name}"
    index, nodes = np.arange(ref.cluster.nodes), ref.cluster.nodes
    zones: list[HeatZone] = []
    liquid = np.full(nodes, -1, np.int64)
    if heat.loop is not None:
        liquid = index // heat.nodes_per_loop
        zones += [
            _zone(f"{prefix}-cdu{cdu:02d}", ref.farm_index, heat.loop, 1.0)
            for cdu in range(int(liquid[-1]) + 1)
        ]
    loops = len(zones)
    air = index // heat.nodes_per_air
    sizes = np.bincount(air)
    for number, size in enumerate(sizes):
        name = f"{prefix}-air" + (f"{number:02d}" if len(sizes) > 1 else "")
        share = 1.0 if heat.air.declared else float(size / sizes[0])
        zones.append(_zone(name, ref.farm_index, heat.air, share))
    return _Zones(zones, [1] * loops + [0] * len(sizes), air + loops, liquid)


def _fans(fans: FanHeat | None, liquid: bool) -> HeatFans | None:
    """Fans as levels; with liquid devices automatic ones stay at the least (`_fan_notes`)."""
    if fans is None:
        return None
    if fans.target_c is None:
        return HeatFans(full_w=fans.power_w, levels=(fans.speed,))
    if liquid:
        return HeatFans(full_w=fans.power_w, levels=(fans.least,))
    levels = np.unique(np.linspace(fans.least, 1.0, fans.levels))
    return HeatFans(
        full_w=fans.power_w,
        levels=tuple(float(level) for level in levels),
        target_c=fans.target_c,
        dwell_s=fans.dwell_s,
    )


def _cluster(heat: ClusterHeat, air: Ints, liquid: Ints, rack: Ints) -> HeatCluster:
    device, node = heat.node.device, heat.node
    die, sink = zip(*device.positions, strict=True)
    return HeatCluster(
        name=heat.label,
        devices=node.devices,
        liquid=heat.loop is not None,
        die_k_per_w=device.die_k_per_w,
        sink_k_per_w=device.sink_k_per_w,
        die_s=device.die_s,
        sink_s=device.sink_s,
        flow_exponent=device.flow_exponent,
        inlet_rise_k_per_w=device.inlet_rise_k_per_w,
        idle_w=device.idle_w,
        overhead_w=node.overhead_idle_w,
        throttle_c=device.throttle_c,
        shutdown_c=device.shutdown_c,
        hysteresis_k=device.hysteresis_k,
        floor=device.floor,
        restart_s=device.restart_s,
        liquid_share=heat.liquid_share,
        overhead_liquid_share=heat.liquid_share,
        fans=_fans(node.fans, heat.loop is not None),
        die_factors=die,
        sink_factors=sink,
        spread=device.spread,
        air_zone=air,
        liquid_zone=liquid,
        rack=rack,
    )


def _racks(ref: Described, heat: ClusterHeat) -> list[HeatRack]:
    """Racks of a cluster; air flows as their nameplate heat to air asks."""
    rack, nodes = ref.cluster.rack, ref.cluster.nodes
    other = parse_quantity(rack.load)
    found = []
    for first in range(0, nodes, rack.nodes):
        size = min(rack.nodes, nodes - first)
        to_air = size * heat.node.nameplate_w * (1.0 - heat.liquid_share) + other
        found.append(
            HeatRack(
                recirculation=heat.recirculation,
                airflow_m3_per_s=heat.air_m3_per_s_w * max(to_air, 1.0),
                other_w=other,
            )
        )
    return found


def _plant(name: str, heat: PlantHeat) -> HeatPlant:
    up, down = heat.life or (0.0, 0.0)
    return HeatPlant(
        name=name,
        target_c=heat.water_c,
        unit_w=heat.unit_w,
        units=max(heat.chillers, 1),
        mass_j_per_k=heat.mass_j_per_k,
        unit_up_s=up,
        unit_down_s=down,
    )


def _fan_notes(refs: Sequence[Described], heats: Sequence[ClusterHeat]) -> list[tuple[str, str]]:
    still = "fans beside liquid cooling stay at their least speed"
    return [
        (ref.label, still)
        for ref, heat in zip(refs, heats, strict=True)
        if heat.loop is not None and heat.node.fans and heat.node.fans.target_c is not None
    ]


def _where(ref: Described) -> str:
    names = [cluster.name for cluster in ref.farm.spec.clusters]
    place = names.index(ref.cluster.name)
    return f"{ref.farm.kind}/{ref.farm.metadata.name}: spec.clusters[{place}]"


class _Builder:
    """Numbers zones and racks of all clusters."""

    def __init__(self, refs: Sequence[Described], plants: Sequence[PlantHeat]) -> None:
        self.refs = refs
        self.heats = [
            cluster_heat(ref, ref.profile, plants[ref.farm_index].water_c, _where(ref))
            for ref in refs
        ]
        self.parts = [_zones(ref, heat) for ref, heat in zip(refs, self.heats, strict=True)]
        self.zones: list[HeatZone] = []
        self.cluster: list[int] = []
        self.liquid: list[int] = []
        self.place: list[dict[int, int]] = [{} for _ in refs]

    def number(self) -> int:
        """Number all zones, those of the compiled loops first; how many those are."""
        for loops in (True, False):
            for index, part in enumerate(self.parts):
                for own in range(len(part.zones)):
                    stands = bool(part.is_liquid[own]) or (own == 0)
                    if stands == loops:
                        self.place[index][own] = len(self.zones)
                        self.zones.append(part.zones[own])
                        self.cluster.append(index)
                        self.liquid.append(part.is_liquid[own])
            if loops:
                first = len(self.zones)
        return first

    def nodes_zones(self, index: int) -> tuple[Ints, Ints]:
        """Air and liquid zone of each node of a cluster."""
        part = self.parts[index]
        numbers = np.array([self.place[index][own] for own in range(len(part.zones))], np.int64)
        liquid = np.where(part.liquid >= 0, numbers[part.liquid], -1)
        return numbers[part.air], liquid.astype(np.int64)


def describe_heat(refs: Sequence[Described]) -> DescribedHeat:
    """Describe clusters to the heat engine, in the order given (that of `compile_farm`).

    Raises
    ------
    InputError
        Where parts exceed a node's overhead, a supply is not above the facility water, or a rack
        gets no supply air.
    """
    farms = {ref.farm_index: ref.farm for ref in refs}
    described = [plant_heat(farms[index]) for index in sorted(farms)]
    plants = tuple(plant for plant, _ in described)
    builder = _Builder(refs, plants)
    loops = builder.number()
    clusters: list[HeatCluster] = []
    racks: list[HeatRack] = []
    labels: list[str] = []
    for index, (ref, heat) in enumerate(zip(refs, builder.heats, strict=True)):
        rack = np.arange(ref.cluster.nodes) // ref.cluster.rack.nodes
        clusters.append(_cluster(heat, *builder.nodes_zones(index), rack + len(racks)))
        own = _racks(ref, heat)
        labels += [f"{ref.farm.metadata.name}-{ref.cluster.name}-r{n:04d}" for n in range(len(own))]
        racks += own
    told = [line for _, lines in described for line in lines]
    told += [line for heat in builder.heats for line in heat.assumed]
    return DescribedHeat(
        farm=HeatFarm(
            clusters=clusters,
            racks=racks,
            zones=builder.zones,
            plants=[_plant(farms[i].metadata.name, plant) for i, plant in enumerate(plants)],
        ),
        clusters=tuple(builder.heats),
        plants=plants,
        zone_cluster=np.array(builder.cluster, np.int64),
        zone_liquid=np.array(builder.liquid, np.int64),
        loop_zone=np.arange(loops, dtype=np.int64),
        racks=tuple(labels),
        assumptions=told_once([*told, *_fan_notes(refs, builder.heats)]),
    )


def describe_farms(farms: list[Farm], profiles: list[AcceleratorProfile]) -> DescribedHeat:
    """Describe whole farms to the heat engine; see `describe_heat`.

    Raises
    ------
    InputError
        Also where a profile is not given or does not fit the cooling.
    """
    return describe_heat(cluster_refs(farms, profiles))
