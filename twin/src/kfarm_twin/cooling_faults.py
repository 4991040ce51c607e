"""Every single fault of a farm's cooling: what is lost, and what is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from kfarm_api.farm import Farm
from kfarm_api.policy import Fault

from kfarm_twin.arrays import Ints
from kfarm_twin.heat_describe import Described, DescribedHeat

COOLING: tuple[Fault, ...] = ("CduPump", "Cdu", "Crah", "Chiller", "Plant", "Feed")
"""Faults of the cooling, in the order in which they are told."""


@dataclass(frozen=True)
class CoolingFault:
    """One instance of a fault.

    Attributes
    ----------
    of_plant
        Whether units of a plant are lost; else of a zone.
    index
        Which plant or zone.
    units, left
        Units lost, and units left.
    needed
        Units that full cooling takes.
    down_s
        Until they are back [s]; infinite: not before repair.
    dark
        Nodes that lose their power with it.
    """

    kind: Fault
    label: str
    of_plant: bool
    index: int
    units: int
    left: int
    needed: int
    down_s: float
    dark: tuple[int, ...] = ()

    @property
    def harmless(self) -> bool:
        """Whether redundant units carry on as if nothing had happened."""
        return not self.dark and self.left >= self.needed and not self.of_plant


def _zone_faults(heat: DescribedHeat, kind: Fault) -> list[CoolingFault]:
    found = []
    for index, zone in enumerate(heat.farm.zones):
        if heat.zone_liquid[index] != int(kind != "Crah"):
            continue
        if kind == "Crah" and not heat.clusters[heat.zone_cluster[index]].air.declared:
            continue
        units = zone.units if kind == "Cdu" else 1
        left = zone.units - units
        found.append(
            CoolingFault(kind, zone.name, False, index, units, left, zone.units_needed, math.inf)
        )
    return found


def _plant_faults(heat: DescribedHeat, kind: Fault) -> list[CoolingFault]:
    found = []
    for index, plant in enumerate(heat.plants):
        if not plant.declared:
            continue
        name, needed = heat.farm.plants[index].name, plant.chillers - plant.redundant
        if kind == "Plant":
            count = plant.chillers
            lost = CoolingFault(kind, name, True, index, count, 0, needed, math.inf)
            found.append(lost)
            continue
        found += [
            CoolingFault(
                kind, f"{name}-chiller{n}", True, index, 1, plant.chillers - 1, needed, math.inf
            )
            for n in range(plant.chillers)
        ]
    return found


def _dark(refs: Sequence[Described], farm_index: int, feed: int) -> tuple[int, ...]:
    """Nodes that hang on this feed alone."""
    first = 0
    dark: list[int] = []
    for ref in refs:
        own = ref.cluster.feed
        if ref.farm_index == farm_index and own is not None and own.feeds == 1 and feed == 0:
            dark += range(first, first + ref.cluster.nodes)
        first += ref.cluster.nodes
    return tuple(dark)


def _feed_faults(heat: DescribedHeat, refs: Sequence[Described]) -> list[CoolingFault]:
    """Chiller i hangs on feed i modulo feeds; it is back after its restart on the other feed.

    Pumps and air handlers are switched over, or ride through.
    """
    found = []
    farms: dict[int, Farm] = {ref.farm_index: ref.farm for ref in refs}
    for index, farm in sorted(farms.items()):
        counts = [cluster.feed.feeds for cluster in farm.spec.clusters if cluster.feed]
        plant = heat.plants[index]
        for feed in range(max(counts, default=0)):
            lost = len(range(feed, plant.chillers, max(counts)))
            dark = _dark(refs, index, feed)
            if lost == 0 and not dark:
                continue
            found.append(
                CoolingFault(
                    "Feed",
                    f"{farm.metadata.name}-feed{feed}",
                    True,
                    index,
                    lost,
                    plant.chillers - lost,
                    plant.chillers - plant.redundant,
                    plant.restart_s if max(counts) > 1 else math.inf,
                    dark,
                )
            )
    return found


def cooling_faults(
    heat: DescribedHeat, refs: Sequence[Described], kind: Fault
) -> list[CoolingFault]:
    """All instances of a kind of fault that the farms describe."""
    if kind in ("CduPump", "Cdu", "Crah"):
        return _zone_faults(heat, kind)
    if kind in ("Chiller", "Plant"):
        return _plant_faults(heat, kind)
    if kind == "Feed":
        return _feed_faults(heat, refs)
    return []


def touched(heat: DescribedHeat, fault: CoolingFault) -> Ints:
    """[N] 1 for nodes whose devices, or the air around them, can feel a fault."""
    air = np.concatenate([cluster.air_zone for cluster in heat.farm.clusters])
    inlet = np.concatenate([c.liquid_zone if c.liquid else c.air_zone for c in heat.farm.clusters])
    if not fault.of_plant:
        return np.asarray((inlet == fault.index) | (air == fault.index), np.int64)
    plant = np.array([zone.plant for zone in heat.farm.zones], np.int64)
    return np.asarray(plant[inlet] == fault.index, np.int64)
