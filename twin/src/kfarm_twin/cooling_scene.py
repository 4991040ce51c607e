"""A part of a farm for the heat engine, with nodes that are alike merged into one.

n equal nodes at the same coolant behave as one node whose devices draw n times the power over an
n-th of the resistances: temperatures are the same and heat is n-fold, exactly. So do equal devices
of a node and racks of equal content. Where a plant is at fault, zones of equal build and content
are merged, too: exact until they throttle, then they do so in step instead of in turn.
Devices that differ by chance (`spread`) or by their place are not merged. Heat of what is left out
goes on as it was before the fault.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.cooling_load import CoolingLoad
from kfarm_twin.heat_describe import DescribedHeat
from kfarm_twin.heat_tables import (
    CompiledHeat,
    HeatCluster,
    HeatFarm,
    HeatPlant,
    HeatRack,
    HeatZone,
    compile_heat,
)


@dataclass(frozen=True)
class Scene:
    """Merged nodes, and what they stand for.

    Attributes
    ----------
    count
        [n] nodes that each stands for.
    weight
        [n] devices that each of its devices stands for.
    node
        [n] one of these.
    device_mw, overhead_mw
        [n, D] and [n] power of all that they stand for [mW].
    up
        [n] 1 where they are up.
    zones, plants
        Place in the scene of each zone and plant of the farm that is in it.
    """

    farm: HeatFarm
    compiled: CompiledHeat
    count: Ints
    weight: Ints
    node: Ints
    device_mw: Ints
    overhead_mw: Ints
    up: Ints
    zones: dict[int, int]
    plants: dict[int, int]

    @property
    def firsts(self) -> Ints:
        """[clusters] first node of each cluster of the scene."""
        sizes = [cluster.nodes for cluster in self.farm.clusters]
        return np.cumsum([0, *sizes[:-1]])

    @property
    def cluster_count(self) -> Ints:
        """[clusters] nodes that a node of each cluster stands for."""
        return self.count[self.firsts]


@dataclass(frozen=True)
class Columns:
    """Columns of all nodes of a farm [N]."""

    cluster: Ints
    air: Ints
    liquid: Ints
    rack: Ints
    to_liquid_w: Floats
    to_air_w: Floats

    @property
    def inlet(self) -> Ints:
        """Zone at the devices' inlet."""
        return np.where(self.liquid >= 0, self.liquid, self.air)


def columns(heat: DescribedHeat, load: CoolingLoad) -> Columns:
    """Where nodes stand, and their heat before a fault; fans at their highest speed."""
    clusters = heat.farm.clusters
    sizes = [cluster.nodes for cluster in clusters]
    owner = np.repeat(np.arange(len(clusters)), sizes)
    share = np.array([c.liquid_share if c.liquid else 0.0 for c in clusters])[owner]
    other = np.array([c.overhead_liquid_share if c.liquid else 0.0 for c in clusters])[owner]
    fans = np.array([c.fans.full_w * c.fans.levels[-1] ** 3 if c.fans else 0.0 for c in clusters])
    devices_w = load.device_mw.sum(axis=1) * 1e-3 * load.up
    overhead_w = load.overhead_mw * 1e-3 * load.up
    liquid_w = devices_w * share + overhead_w * other
    return Columns(
        cluster=owner,
        air=np.concatenate([cluster.air_zone for cluster in clusters]),
        liquid=np.concatenate([cluster.liquid_zone for cluster in clusters]),
        rack=np.concatenate([cluster.rack for cluster in clusters]),
        to_liquid_w=liquid_w,
        to_air_w=devices_w + overhead_w - liquid_w + fans[owner] * load.up,
    )


def node_types(at: Columns, load: CoolingLoad) -> Ints:
    """[N] number of the type of each node: cluster, zones and power; the same number, alike."""
    rows = np.column_stack(
        [at.cluster, at.air, at.liquid, load.up, load.overhead_mw, load.device_mw, load.busy]
    )
    _, types = np.unique(rows, axis=0, return_inverse=True)
    return np.asarray(types, np.int64).reshape(-1)


def _rack_classes(heat: DescribedHeat, at: Columns, types: Ints) -> Ints:
    """[N] class of each node's rack; where air does not recirculate racks do not matter."""
    clusters, racks = heat.farm.clusters, heat.farm.racks
    known: dict[object, int] = {}
    classes = np.zeros(len(types), np.int64)
    order = np.argsort(at.rack, kind="stable")
    bounds = np.flatnonzero(np.diff(at.rack[order])) + 1
    for members in np.split(order, bounds):
        first = members[0]
        rack, cluster = racks[int(at.rack[first])], clusters[int(at.cluster[first])]
        key: object = (int(at.cluster[first]), int(at.air[first]))
        if not cluster.liquid and rack.recirculation > 0:
            key = (rack, tuple(np.sort(types[members]).tolist()))
        classes[members] = known.setdefault(key, len(known))
    return classes


def _merged(
    cluster: HeatCluster, count: int, same: int, zones: tuple[Ints, Ints], rack: Ints
) -> HeatCluster:
    """Nodes of which each stands for `count` equal ones, and a device for `same` of each."""
    fans, all_devices = cluster.fans, count * same
    return replace(
        cluster,
        devices=cluster.devices // same,
        die_k_per_w=cluster.die_k_per_w / all_devices,
        sink_k_per_w=cluster.sink_k_per_w / all_devices,
        inlet_rise_k_per_w=cluster.inlet_rise_k_per_w / count,
        idle_w=cluster.idle_w * all_devices,
        overhead_w=cluster.overhead_w * count,
        fans=replace(fans, full_w=fans.full_w * count) if fans else None,
        air_zone=zones[0],
        liquid_zone=zones[1],
        rack=rack,
    )


@dataclass(frozen=True)
class _Group:
    """Nodes to play, how many each stands for, and how many devices a device of theirs."""

    nodes: Ints
    count: int
    same: int


def _compact(values: Ints) -> dict[int, int]:
    return {int(value): place for place, value in enumerate(np.unique(values[values >= 0]))}


def _first_devices(power: Ints, same: Ints) -> Ints:
    """Power [n, D] of merged devices: those that a first device stands for draw nothing."""
    devices = np.arange(power.shape[1])
    return np.where((same[:, None] > 1) & (devices > 0), 0, power)


def _places(numbers: Ints, known: dict[int, int]) -> Ints:
    return np.array([known.get(number, -1) for number in numbers.tolist()], np.int64)


def _like_zones(heat: DescribedHeat, load: CoolingLoad, at: Columns) -> Ints:
    """[zones] the first zone of equal build and content, for those at the devices' inlets."""
    first = np.arange(len(heat.farm.zones), dtype=np.int64)
    dry = at.liquid < 0
    rows = np.column_stack(
        [
            at.cluster,
            np.where(dry, -1, at.air),
            load.up,
            load.overhead_mw,
            load.device_mw,
            load.busy,
        ]
    )
    _, kinds = np.unique(rows, axis=0, return_inverse=True)
    racks = _rack_classes(heat, replace(at, air=np.where(dry, 0, at.air)), kinds.reshape(-1))
    known: dict[object, int] = {}
    for index in np.unique(at.inlet):
        members = at.inlet == index
        pairs = np.column_stack([kinds.reshape(-1)[members], racks[members]])
        content, count = np.unique(pairs, axis=0, return_counts=True)
        zone = replace(heat.farm.zones[index], name="")
        key = (zone, content.tobytes(), count.tobytes())
        first[index] = known.setdefault(key, int(index))
    return first


class Merger:
    """Makes scenes of one farm under one load.

    Parameters
    ----------
    zones_too
        Whether zones of equal build and content are merged: only for faults that hit all of them.
    """

    def __init__(self, heat: DescribedHeat, load: CoolingLoad, zones_too: bool = False) -> None:
        self.heat, self.load = heat, load
        self.at = columns(heat, load)
        count = len(heat.farm.zones)
        alike = np.arange(count, dtype=np.int64)
        if zones_too:
            alike = _like_zones(heat, load, self.at)
            liquid = np.where(self.at.liquid >= 0, alike[self.at.liquid], -1)
            self.at = replace(self.at, air=alike[self.at.air], liquid=liquid)
        self.zone_count = np.bincount(alike, minlength=count)
        self.types = node_types(self.at, load)
        self.classes = _rack_classes(heat, self.at, self.types)
        spread = np.array([cluster.spread > 0 for cluster in heat.farm.clusters])
        self.spread = spread[self.at.cluster]
        zones = len(heat.farm.zones)
        self.rack_zone = np.zeros(len(heat.farm.racks), np.int64)
        self.rack_zone[self.at.rack[::-1]] = self.at.air[::-1]
        self.rack_w = np.array([rack.other_w for rack in heat.farm.racks])
        self.zone_w = self._heat(np.ones(len(self.types), bool), zones)
        self.zone_w += np.bincount(self.rack_zone, self.rack_w, zones)

    def _heat(self, chosen: Ints, zones: int) -> Floats:
        """[zones] heat of some nodes [W]."""
        at, wet = self.at, chosen & (self.at.liquid >= 0)
        air = np.bincount(at.air[chosen], at.to_air_w[chosen], zones)
        return np.asarray(air + np.bincount(at.liquid[wet], at.to_liquid_w[wet], zones))

    def scene(self, touched: Ints) -> Scene:
        """Nodes that are `touched` [N], with all that share their racks and matter to them."""
        at = self.at
        chosen = touched == 1
        dry = chosen & (at.liquid < 0)
        racks = np.zeros(len(self.rack_w), bool)
        racks[at.rack[dry]] = True
        chosen |= racks[at.rack] & (at.liquid < 0)
        picked = np.flatnonzero(chosen)
        zones = _compact(np.concatenate([at.air[picked], at.liquid[picked]]))
        plants = _compact(np.array([self.heat.farm.zones[zone].plant for zone in zones]))
        groups = self._groups(picked)
        node = np.concatenate([group.nodes for group in groups])
        sizes = [len(group.nodes) for group in groups]
        count = np.repeat([group.count for group in groups], sizes)
        same = np.repeat([group.same for group in groups], sizes)
        known = _compact(self.classes[node])
        farm = HeatFarm(
            clusters=[self._cluster(group, zones, known) for group in groups],
            racks=self._racks(picked, known),
            zones=self._zones(chosen, zones, plants),
            plants=self._plants(zones, plants),
        )
        load = self.load
        return Scene(
            farm=farm,
            compiled=compile_heat(farm),
            count=count,
            weight=count * same,
            node=node,
            device_mw=_first_devices(load.device_mw[node] * (count * same)[:, None], same),
            overhead_mw=load.overhead_mw[node] * count,
            up=load.up[node],
            zones=zones,
            plants=plants,
        )

    def _groups(self, picked: Ints) -> list[_Group]:
        """Nodes that differ by chance stay together, each for itself."""
        keys = np.column_stack([self.types, self.classes])[picked]
        merged = ~self.spread[picked]
        _, first, count = np.unique(keys[merged], axis=0, return_index=True, return_counts=True)
        alike = picked[merged]
        groups = [
            _Group(alike[one : one + 1], int(many), self._same(int(alike[one])))
            for one, many in zip(first, count, strict=True)
        ]
        single = picked[~merged]
        for cluster in np.unique(self.at.cluster[single]):
            groups.append(_Group(single[self.at.cluster[single] == cluster], 1, 1))
        return groups

    def _same(self, node: int) -> int:
        """Devices of a node that one can stand for: all, where all are alike."""
        own = self.heat.farm.clusters[int(self.at.cluster[node])]
        places = zip(own.die_factors or (1.0,), own.sink_factors or (1.0,), strict=True)
        power = self.load.device_mw[node, : own.devices]
        busy = self.load.busy[node, : own.devices]
        alike = len(set(places)) == 1 and np.ptp(power) == 0 and np.ptp(busy) == 0
        return own.devices if alike else 1

    def _cluster(self, group: _Group, zones: dict[int, int], racks: dict[int, int]) -> HeatCluster:
        at, nodes = self.at, group.nodes
        own = self.heat.farm.clusters[int(at.cluster[nodes[0]])]
        places = (_places(at.air[nodes], zones), _places(at.liquid[nodes], zones))
        rack = _places(self.classes[nodes], racks)
        return _merged(own, group.count, group.same, places, rack)

    def _racks(self, picked: Ints, known: dict[int, int]) -> list[HeatRack]:
        """One rack for each class of racks, with the air and heat of all."""
        merged = []
        for one in known:
            own = np.unique(self.at.rack[picked[self.classes[picked] == one]])
            racks = [self.heat.farm.racks[rack] for rack in own]
            merged.append(
                HeatRack(
                    recirculation=racks[0].recirculation,
                    airflow_m3_per_s=sum(rack.airflow_m3_per_s for rack in racks),
                    other_w=sum(rack.other_w for rack in racks),
                )
            )
        return merged

    def _zones(self, chosen: Ints, zones: dict[int, int], plants: dict[int, int]) -> list[HeatZone]:
        """Zones with the heat of the nodes and racks that are left out."""
        inside = np.zeros(len(self.rack_w), bool)
        inside[self.at.rack[chosen]] = True
        count = len(self.heat.farm.zones)
        rest = self.zone_w - self._heat(chosen, count)
        rest -= np.bincount(self.rack_zone[inside], self.rack_w[inside], count)
        found = []
        for zone in zones:
            own = self.heat.farm.zones[zone]
            many = int(self.zone_count[zone])
            found.append(
                replace(
                    own,
                    plant=plants[own.plant],
                    u_w_per_k=own.u_w_per_k * many,
                    mass_j_per_k=own.mass_j_per_k * many,
                    other_w=own.other_w * many + max(float(rest[zone]), 0.0),
                )
            )
        return found

    def _plants(self, zones: dict[int, int], plants: dict[int, int]) -> list[HeatPlant]:
        """Plants with the heat of the zones that are left out."""
        found = []
        for plant in plants:
            own = self.heat.farm.plants[plant]
            rest = sum(
                float(self.zone_w[index]) + zone.other_w
                for index, zone in enumerate(self.heat.farm.zones)
                if zone.plant == plant and index not in zones and self.zone_count[index] > 0
            )
            found.append(replace(own, other_w=own.other_w + rest))
        return found

    def likeness(self, touched: Ints, index: int) -> object:
        """What makes two zones alike: equal build, and as many nodes of each kind."""
        zone = replace(self.heat.farm.zones[index], name="")
        members = np.flatnonzero(touched == 1)
        rows = np.column_stack(
            [
                self.at.cluster[members],
                self.load.up[members],
                self.load.overhead_mw[members],
                self.load.device_mw[members],
                self.load.busy[members],
            ]
        )
        kinds, count = np.unique(rows, axis=0, return_counts=True)
        return zone, kinds.tobytes(), count.tobytes()
