"""Heat in the farm driver: what the jobs warm, and what a run says about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from kfarm_api.farm import Farm
from kfarm_api.profile import AcceleratorProfile

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.disciplines import SHARING, Placement
from kfarm_twin.heat_describe import DescribedHeat, describe_heat
from kfarm_twin.heat_tables import CompiledHeat, HeatFarm, compile_heat
from kfarm_twin.jobs import JobLoads, Jobs

if TYPE_CHECKING:
    from kfarm_twin.replay import Discipline, Shape

FULL_PPM = 1_000_000
SAMPLES = 168
"""Points in time at which temperatures are looked at: a week's hours."""


@dataclass(frozen=True)
class HotNodes:
    """The nodes of a farm as they warm.

    Attributes
    ----------
    farm, compiled
        All nodes, spares too, which idle.
    node
        [N] those that jobs are placed on, in the order of the driver.
    busy_w, other_w
        [clusters] power of a device between idle and full, and what the rest of a node draws more
        when it is fully loaded [W].
    racks
        Labels; empty where racks have none.
    assumptions
        What is not in the manifests, for people.
    """

    farm: HeatFarm
    compiled: CompiledHeat
    node: Ints
    busy_w: Floats
    other_w: Floats
    racks: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()

    @property
    def cluster(self) -> Ints:
        """[N] cluster of each node."""
        sizes = [cluster.nodes for cluster in self.farm.clusters]
        owner: Ints = np.repeat(np.arange(len(sizes)), sizes)
        return owner[self.node]

    @property
    def rack(self) -> Ints:
        """[N] rack of each node."""
        return np.concatenate([cluster.rack for cluster in self.farm.clusters])[self.node]

    @property
    def inlet_zone(self) -> Ints:
        """[N] zone whose supply the devices of a node breathe or are cooled by."""
        zones = [c.liquid_zone if c.liquid else c.air_zone for c in self.farm.clusters]
        return np.concatenate(zones)[self.node]

    @classmethod
    def of(
        cls,
        farm: HeatFarm,
        busy_w: tuple[float, ...],
        other_w: tuple[float, ...],
        node: Ints | None = None,
    ) -> HotNodes:
        """A farm given in numbers."""
        compiled = compile_heat(farm)
        chosen = np.arange(compiled.nodes) if node is None else node
        return cls(farm, compiled, chosen, np.array(busy_w), np.array(other_w))


@dataclass(frozen=True)
class JobHeat:
    """Jobs that warm nodes.

    Attributes
    ----------
    gpu_ppm, cpu_ppm
        [J] load of a job's devices, and of the rest of their nodes in proportion [ppm].
    samples
        Points in time at which temperatures are looked at.
    """

    nodes: HotNodes
    gpu_ppm: Ints
    cpu_ppm: Ints
    samples: int = SAMPLES

    @classmethod
    def of(cls, nodes: HotNodes, jobs: Jobs, loads: JobLoads | None, load_ppm: int) -> JobHeat:
        """With the loads of a trace; `load_ppm` where it says nothing.

        The rest of a node goes with its devices where only theirs is known.
        """
        count = len(jobs.run_ns)
        unknown = np.full(count, -1, np.int64)
        gpu, cpu = (unknown, unknown) if loads is None else loads
        gpu = np.where(gpu < 0, load_ppm, gpu)
        return cls(nodes, gpu, np.where(cpu < 0, gpu, cpu))

    def problem_of(self, jobs: Jobs, shape: Shape, discipline: Discipline) -> str | None:
        """Why this cannot be played so, or None."""
        if discipline.placement is Placement.COUNT or discipline.placement in SHARING:
            return (
                f"placement {discipline.placement} knows no devices of nodes, which heat needs; "
                "choose first-fit, best-fit, spread, random or thermal-aware"
            )
        if len(self.nodes.node) != shape.nodes:
            return f"heat of {len(self.nodes.node)} nodes for a farm of {shape.nodes}"
        if any(cluster.devices != shape.gpus_per_node for cluster in self.nodes.farm.clusters):
            return f"heat needs {shape.gpus_per_node} devices on each node of the farm"
        for name, column in (("gpu", self.gpu_ppm), ("cpu", self.cpu_ppm)):
            if column.shape != jobs.run_ns.shape:
                return f"each job needs a {name} load"
            if np.any((column < 0) | (column > FULL_PPM)):
                return f"{name} loads are 0 to 1,000,000 ppm"
        return None


def hot_farms(farms: list[Farm], profiles: list[AcceleratorProfile]) -> HotNodes:
    """The nodes of farms but for spares, which idle, as they warm.

    Raises
    ------
    InputError
        Where a profile is not given, or cooling contradicts itself.
    """
    from kfarm_twin.compile import cluster_refs  # noqa: PLC0415 - numba

    refs = cluster_refs(farms, profiles)
    described: DescribedHeat = describe_heat(refs)
    used = np.array([not place.spare for ref in refs for place in ref.places])
    parts = [cluster.node for cluster in described.clusters]
    return HotNodes(
        farm=described.farm,
        compiled=compile_heat(described.farm),
        node=np.flatnonzero(used).astype(np.int64),
        busy_w=np.array([part.device.tdp_w - part.device.idle_w for part in parts]),
        other_w=np.array([part.overhead_loaded_w - part.overhead_idle_w for part in parts]),
        racks=described.racks,
        assumptions=described.assumptions,
    )
