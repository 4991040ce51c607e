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
    from kfarm_twin.kernels.replay_heat import Hot
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
    nodes_per_rack, nodes_per_unit
        Of the first cluster; 0 where that is not known.
    assumptions
        What is not in the manifests, for people.
    """

    farm: HeatFarm
    compiled: CompiledHeat
    node: Ints
    busy_w: Floats
    other_w: Floats
    racks: tuple[str, ...] = ()
    nodes_per_rack: int = 0
    nodes_per_unit: int = 0
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


@dataclass(frozen=True)
class HeatSeries:
    """What was seen at points in time [S].

    Attributes
    ----------
    time_s, power_w, fans_w
        When; power of all nodes, of it fans [W].
    hottest_c, hottest_node
        The hottest device [degC] and its node, counted with spares.
    inlet_c, inlet_rack
        The warmest air or coolant at devices [degC], and the rack.
    throttled, off
        Devices that were slowed, nodes that were off by heat.
    """

    time_s: Floats
    power_w: Floats
    fans_w: Floats
    hottest_c: Floats
    hottest_node: Ints
    inlet_c: Floats
    inlet_rack: Ints
    throttled: Ints
    off: Ints


@dataclass(frozen=True)
class HeatAccount:
    """What heat did in a run, and what it took.

    Attributes
    ----------
    span_s
        From 0 to the end of the run [s].
    hottest_c, hottest_node, hottest_device, hottest_at_s
        The hottest device of all times (exact, not of the samples).
    headroom_k
        Least distance of any device to its throttle limit [K]; negative where it was exceeded.
    inlet_max_c
        Warmest air or coolant at devices, of the samples [degC].
    throttled_s
        Device time that was slowed [s].
    throttled_max
        Most devices slowed at once.
    first_throttle_s
        When the first device was slowed; None: never.
    shutdowns, stopped
        How often a node went off by itself, and how many jobs that stopped.
    energy_j, device_j, fans_j, overhead_j
        Energy of all nodes, spares too, and its parts [J].
    job_j
        [J] energy of each job's devices, idle draw included [J].
    instants
        Instants at which heat did something.
    """

    span_s: float
    hottest_c: float
    hottest_node: int
    hottest_device: int
    hottest_at_s: float
    headroom_k: float
    inlet_max_c: float
    throttled_s: float
    throttled_max: int
    first_throttle_s: float | None
    shutdowns: int
    stopped: int
    energy_j: float
    device_j: float
    fans_j: float
    overhead_j: float
    job_j: Floats
    instants: int
    series: HeatSeries


def hot_columns(heat: JobHeat, jobs: Jobs, shape: Shape, until_ns: int) -> Hot:
    """What the loop of `kernels.replay_heat` is given beside the desk."""
    from kfarm_twin.heat import new_state  # noqa: PLC0415 - numba
    from kfarm_twin.kernels import replay_heat as rh  # noqa: PLC0415 - likewise

    nodes, devices = heat.nodes, shape.gpus_per_node
    back = np.full(nodes.compiled.nodes, -1, np.int64)
    back[nodes.node] = np.arange(shape.nodes)
    count = np.zeros(rh.COUNTS, np.int64)
    last = int(jobs.submit_ns[-1]) if len(jobs.submit_ns) else 0
    samples = max(heat.samples, 2) * 2
    every = -(-min(last, until_ns) // (max(heat.samples, 2) * 10**9))
    count[rh.EVERY] = max(every, 1) * 10**9
    sums = np.zeros(rh.SUMS)
    sums[rh.INLET_C] = -np.inf
    owner = np.full((shape.nodes, devices + 1), -1, np.int64)
    owner[:, devices] = 0
    count[rh.OVERHEAD_NOW] = round(1e3 * _spare_overhead_w(nodes))
    power = np.rint(np.stack([nodes.busy_w, nodes.other_w], axis=1) * 1e3)
    return rh.Hot(
        heat=nodes.compiled.tables,
        hs=new_state(nodes.compiled),
        node=np.ascontiguousarray(nodes.node, np.int64),
        back=back,
        power=power.astype(np.int64),
        owner=owner,
        begun=np.zeros((shape.nodes, devices)),
        job=np.zeros(len(jobs.run_ns)),
        series=np.zeros((samples, rh.SERIES)),
        sums=sums,
        numbers=count,
    )


def _spare_overhead_w(nodes: HotNodes) -> float:
    """What nodes without jobs draw beside devices and fans [W]."""
    each = [cluster.overhead_w for cluster in nodes.farm.clusters]
    all_w = sum(c.overhead_w * c.nodes for c in nodes.farm.clusters)
    return float(all_w - np.array(each)[nodes.cluster].sum())


def heat_account(hot: Hot, nodes: HotNodes, time_ns: int) -> HeatAccount:
    """What a run with heat says, from what the loop wrote."""
    from kfarm_twin.kernels import heat_columns as hc  # noqa: PLC0415 - numba
    from kfarm_twin.kernels import replay_heat as rh  # noqa: PLC0415 - likewise
    from kfarm_twin.kernels.rng import FAR_NS  # noqa: PLC0415 - likewise

    whole, sums = hot.hs.cluster, hot.hs.cluster_c
    worst = int(np.argmax(sums[:, hc.HOTTEST_C]))
    limits = np.array([cluster.throttle_c for cluster in nodes.farm.clusters])
    first = int(whole[:, hc.FIRST_THROTTLE].min())
    rows = hot.series[: hot.numbers[rh.SAMPLES]]

    def numbers(column: int) -> Ints:
        return rows[:, column].astype(np.int64)

    return HeatAccount(
        span_s=time_ns / 1e9,
        hottest_c=float(sums[worst, hc.HOTTEST_C]),
        hottest_node=int(whole[worst, hc.HOT_NODE]),
        hottest_device=int(whole[worst, hc.HOT_DEVICE]),
        hottest_at_s=float(whole[worst, hc.HOT_AT]) / 1e9,
        headroom_k=float((limits - sums[:, hc.HOTTEST_C]).min()),
        inlet_max_c=float(hot.sums[rh.INLET_C]),
        throttled_s=float(sums[:, hc.THROTTLED_S].sum()),
        throttled_max=int(whole[:, hc.THROTTLED_MAX].max()),
        first_throttle_s=None if first >= FAR_NS else first / 1e9,
        shutdowns=int(whole[:, hc.SHUTDOWNS].sum()),
        stopped=int(hot.numbers[rh.STOPPED]),
        energy_j=float(hot.sums[rh.ALL_J]),
        device_j=float(sums[:, hc.ENERGY_J].sum()),
        fans_j=float(hot.sums[rh.FANS_J]),
        overhead_j=float(hot.sums[rh.OTHERS_J]),
        job_j=hot.job.copy(),
        instants=int(hot.numbers[rh.INSTANTS]),
        series=HeatSeries(
            time_s=rows[:, rh.AT].copy(),
            power_w=rows[:, rh.POWER_W].copy(),
            fans_w=rows[:, rh.FANS_W].copy(),
            hottest_c=rows[:, rh.HOT_C].copy(),
            hottest_node=numbers(rh.HOT_NODE),
            inlet_c=rows[:, rh.RACK_C].copy(),
            inlet_rack=numbers(rh.HOT_RACK),
            throttled=numbers(rh.SLOW),
            off=numbers(rh.AWAY),
        ),
    )


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
    fabric = refs[0].cluster.fabric
    parts = [cluster.node for cluster in described.clusters]
    return HotNodes(
        farm=described.farm,
        compiled=compile_heat(described.farm),
        node=np.flatnonzero(used).astype(np.int64),
        busy_w=np.array([part.device.tdp_w - part.device.idle_w for part in parts]),
        other_w=np.array([part.overhead_loaded_w - part.overhead_idle_w for part in parts]),
        racks=described.racks,
        nodes_per_rack=refs[0].cluster.rack.nodes,
        nodes_per_unit=fabric.nodes_per_scalable_unit if fabric else 0,
        assumptions=described.assumptions,
    )
