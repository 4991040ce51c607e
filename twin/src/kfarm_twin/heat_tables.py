"""Heat as tables: clusters, racks, zones and plants given as plain numbers, in SI units.

`compile_heat` turns them into the tables of `kernels.heat_columns`. Who maps manifests to these
classes is elsewhere; here are no manifests. Temperatures in degC, times in seconds [s].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.kernels import heat_columns as c
from kfarm_twin.kernels.heat_columns import Heat
from kfarm_twin.kernels.rng import FAR_NS, exp, ln

AIR_DENSITY = 1.184
"""[kg/m3] at 25 degC and 101,325 Pa (CRC Handbook)."""
AIR_HEAT = 1006.0
"""Specific heat of air at constant pressure [J/(kg K)] (CRC Handbook)."""
LEAST_FLOW = 0.01
"""Share of the design flow below which natural convection takes over."""
NS = 1e9


@dataclass(frozen=True)
class HeatFans:
    """The fans of a node; power goes as speed cubed (affinity laws).

    Attributes
    ----------
    full_w
        Power at full speed, all fans of the node [W].
    levels
        Speeds that they may turn at, shares of full speed in (0, 1], rising. One: a fixed speed.
    target_c
        What automatic fans keep the hottest device at [degC]; unused with one level.
    hysteresis_k
        They slow down only where the device would stay this far below the target [K].
    dwell_s
        From the need of a change to the change [s].
    """

    full_w: float = 0.0
    levels: tuple[float, ...] = (1.0,)
    target_c: float = math.inf
    hysteresis_k: float = 3.0
    dwell_s: float = 10.0


@dataclass(frozen=True)
class HeatCluster:
    """Nodes of one kind, at most one path from die to coolant.

    Nodes are numbered cluster by cluster in the order in which clusters are given to
    `compile_heat`, devices of a node from 0.

    Attributes
    ----------
    name
        For messages.
    devices
        Accelerators per node.
    liquid
        Whether the devices' inlet is their loop's supply; else the air at their rack.
    die_k_per_w, sink_k_per_w
        Resistances between die and sink (plate), and sink and coolant at full flow [K/W].
    die_s, sink_s
        Time constants of both, the sink's at full flow [s].
    flow_exponent
        The sink's resistance and time constant grow as flow^-exponent. Flow is the speed of the
        fans (air), or that of the loop's coolant (liquid), as a share of the design's.
    inlet_rise_k_per_w
        What air has warmed at the devices per watt of all devices of the node at full speed [K/W];
        it goes as 1 / flow. Air only.
    idle_w
        A device that does nothing [W].
    overhead_w
        What a node draws beside devices and fans while nobody has said otherwise [W].
    throttle_c, shutdown_c
        Limits of the die [degC]; infinite where there is none.
    hysteresis_k
        A device gets back power only where its steady temperature is this far below the limit.
    floor
        Least share of the asked power above idle that throttling leaves.
    dwell_s
        Least time between changes of a device's power level [s].
    restart_s
        A node that was shut down by heat comes back this long after, and not before it has cooled.
    liquid_share, overhead_liquid_share
        Share of the devices' heat, and of that of what is beside them, that the loop carries; the
        rest, and that of the fans, goes to the air zone.
    fans
        The fans; None: none are drawn, and air flows as designed.
    die_factors, sink_factors
        Factors on the resistances by the device's place in the node, repeated; empty: 1.
    spread
        Standard deviation of the logarithm of a factor on both resistances of each device (drawn
        for each future, median 1).
    air_zone, liquid_zone, rack
        Of each node [nodes]: index of its zones (-1: none) and of its rack.
    """

    name: str
    devices: int
    liquid: bool
    die_k_per_w: float
    sink_k_per_w: float
    die_s: float
    sink_s: float
    idle_w: float
    air_zone: Ints
    liquid_zone: Ints
    rack: Ints
    flow_exponent: float = 0.8
    inlet_rise_k_per_w: float = 0.0
    overhead_w: float = 0.0
    throttle_c: float = math.inf
    shutdown_c: float = math.inf
    hysteresis_k: float = 3.0
    floor: float = 0.0
    dwell_s: float = 1.0
    restart_s: float = 600.0
    liquid_share: float = 1.0
    overhead_liquid_share: float = 0.0
    fans: HeatFans | None = None
    die_factors: tuple[float, ...] = ()
    sink_factors: tuple[float, ...] = ()
    spread: float = 0.0

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return len(self.rack)


@dataclass(frozen=True)
class HeatRack:
    """A rack.

    Attributes
    ----------
    recirculation
        Share of the air at its inlet that comes from its outlet, in [0, 1).
    airflow_m3_per_s
        Air through it [m3/s]; not needed without recirculation.
    other_w
        Power drawn in it beside its nodes, heat to the air zone of its first node [W].
    """

    recirculation: float = 0.0
    airflow_m3_per_s: float = math.inf
    other_w: float = 0.0

    @property
    def inlet_k_per_w(self) -> float:
        """Warming of the inlet per watt to air [K/W]: r / (1 - r) of the rise through the rack."""
        if self.recirculation == 0.0:
            return 0.0
        rise = 1.0 / (AIR_DENSITY * AIR_HEAT * self.airflow_m3_per_s)
        return self.recirculation / (1.0 - self.recirculation) * rise


@dataclass(frozen=True)
class HeatZone:
    """A CDU loop, or the air that some CRAHs or fan walls supply.

    Attributes
    ----------
    name
        For messages.
    plant
        Index of the plant whose water takes its heat.
    setpoint_c
        Supply temperature while it is kept [degC].
    u_w_per_k
        Heat to the water per kelvin between supply and water with all needed units [W/K]: capacity
        divided by approach. Infinite: the setpoint is always kept while any unit runs.
    mass_j_per_k
        Thermal mass of coolant or air and what it touches [J/K].
    units_needed, units
        Pumps or air handlers that full flow takes, and those there are. With fewer than needed,
        flow and `u_w_per_k` go down in proportion.
    unit_up_s, unit_down_s
        Mean times between failures of one unit and to repair, both exponential [s]; 0: never fails.
    other_w
        Heat from elsewhere [W].
    """

    name: str
    plant: int
    setpoint_c: float
    u_w_per_k: float = math.inf
    mass_j_per_k: float = 1e6
    units_needed: int = 1
    units: int = 1
    unit_up_s: float = 0.0
    unit_down_s: float = 0.0
    other_w: float = 0.0


@dataclass(frozen=True)
class HeatPlant:
    """Facility water and what cools it.

    Attributes
    ----------
    name
        For messages.
    target_c
        Temperature of the water at the start while capacity suffices [degC]; `set_plant_target`
        changes it.
    unit_w, units
        Capacity of one chiller (tower, ...) [W], may be infinite; their number.
    g_w_per_k
        Additional heat rejected per kelvin of water above the target [W/K].
    mass_j_per_k
        Thermal mass of water and buffer tanks [J/K].
    unit_up_s, unit_down_s
        As those of `HeatZone`.
    other_w
        Heat from elsewhere [W].
    """

    name: str
    target_c: float
    unit_w: float = math.inf
    units: int = 1
    g_w_per_k: float = 0.0
    mass_j_per_k: float = 1e8
    unit_up_s: float = 0.0
    unit_down_s: float = 0.0
    other_w: float = 0.0


@dataclass(frozen=True)
class HeatFault:
    """Units of a zone or plant that are lost at a stated time.

    Attributes
    ----------
    at_s
        When [s].
    of_plant
        Of a plant; else of a zone.
    index
        Which.
    units
        How many.
    down_s
        Until they are back [s]; infinite: never.
    """

    at_s: float
    of_plant: bool
    index: int
    units: int = 1
    down_s: float = math.inf


@dataclass(frozen=True)
class HeatFarm:
    """All that the heat engine knows of a farm."""

    clusters: Sequence[HeatCluster]
    racks: Sequence[HeatRack]
    zones: Sequence[HeatZone]
    plants: Sequence[HeatPlant]
    faults: Sequence[HeatFault] = field(default_factory=tuple)


@dataclass(frozen=True)
class CompiledHeat:
    """Tables of a farm, and the names of their rows."""

    tables: Heat
    clusters: tuple[str, ...]
    zones: tuple[str, ...]
    plants: tuple[str, ...]

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return len(self.tables.nodes)

    @property
    def devices(self) -> int:
        """Number of devices."""
        owner = self.tables.nodes[:, c.CLUSTER]
        return int(self.tables.rules[owner, c.DEVICES].sum())


def _ns(seconds: float) -> int:
    """Time [ns] of a time [s]; `FAR_NS` when it is longer."""
    return FAR_NS if seconds * NS >= FAR_NS else round(seconds * NS)


def flow_factor(flow: float, exponent: float) -> float:
    """flow^-exponent, with the functions that kernels use."""
    return exp(-exponent * ln(max(flow, LEAST_FLOW)))


def _milliwatts(watts: float) -> int:
    return round(watts * 1000.0)


def _rules(cluster: HeatCluster, first_node: int) -> list[int]:
    fans = cluster.fans or HeatFans()
    automatic = len(fans.levels) > 1
    return [
        first_node,
        cluster.nodes,
        cluster.devices,
        math.ceil(cluster.floor * c.LEVELS - 1e-9),
        _ns(cluster.dwell_s),
        _ns(cluster.restart_s),
        _milliwatts(cluster.idle_w),
        _milliwatts(cluster.overhead_w),
        int(cluster.liquid),
        len(fans.levels) if automatic else 1,
        _ns(fans.dwell_s),
        int(cluster.spread == 0.0 and _are_alike(cluster)),
    ]


def _are_alike(cluster: HeatCluster) -> bool:
    """Whether places in a node do not differ."""
    return len(set(cluster.die_factors)) <= 1 and len(set(cluster.sink_factors)) <= 1


def _laws(cluster: HeatCluster) -> list[float]:
    fans = cluster.fans or HeatFans()
    return [
        cluster.die_k_per_w,
        1.0 / cluster.die_s,
        cluster.throttle_c,
        cluster.shutdown_c,
        cluster.hysteresis_k,
        cluster.liquid_share if cluster.liquid else 0.0,
        cluster.overhead_liquid_share if cluster.liquid else 0.0,
        fans.target_c,
        fans.hysteresis_k,
        cluster.spread,
        cluster.flow_exponent,
    ]


def _paths(cluster: HeatCluster) -> list[list[float]]:
    """Rows of `Heat.paths` of one zone: one for each level of the fans."""
    fans = cluster.fans or HeatFans()
    capacity = cluster.sink_s / cluster.sink_k_per_w
    rows = []
    for speed in fans.levels:
        flow = 1.0 if cluster.liquid or cluster.fans is None else speed
        rise = 0.0 if cluster.liquid else cluster.inlet_rise_k_per_w / max(flow, LEAST_FLOW)
        sink = cluster.sink_k_per_w * flow_factor(flow, cluster.flow_exponent)
        power = float(_milliwatts(fans.full_w * (speed * speed * speed)))
        rows.append([sink, capacity, rise, power])
    return rows


def _factors(cluster: HeatCluster, most: int) -> Floats:
    rows = np.ones((most, 2))
    for device in range(cluster.devices):
        for column, given in enumerate((cluster.die_factors, cluster.sink_factors)):
            if given:
                rows[device, column] = given[device % len(given)]
    return rows


def _inlet_zones(cluster: HeatCluster) -> Ints:
    return cluster.liquid_zone if cluster.liquid else cluster.air_zone


def _check(
    clusters: Sequence[HeatCluster], racks: int, zones: Sequence[HeatZone], plants: int
) -> None:
    """Raise ValueError for what no kernel could play."""
    for cluster in clusters:
        if cluster.nodes == 0 or cluster.devices == 0:
            raise ValueError(f"cluster {cluster.name} has no nodes or no devices")
        inlets = _inlet_zones(cluster)
        if min(inlets) < 0 or max(*cluster.air_zone, *cluster.liquid_zone) >= len(zones):
            raise ValueError(f"cluster {cluster.name}: a node has no zone at its devices' inlet")
        if min(cluster.rack) < 0 or max(cluster.rack) >= racks:
            raise ValueError(f"cluster {cluster.name}: a node has no rack")
        if cluster.liquid and cluster.fans and len(cluster.fans.levels) > 1:
            raise ValueError(f"cluster {cluster.name}: fans follow devices only in air")
    for zone in zones:
        if not 0 <= zone.plant < plants:
            raise ValueError(f"zone {zone.name} has no plant")


def _grouped(column: Ints, groups: int, width: int) -> tuple[Ints, Ints]:
    """Where the members of each group begin [width], and the members, by group."""
    first = np.full(width, len(column), np.int64)
    first[0] = 0
    first[1 : groups + 1] = np.cumsum(np.bincount(column, minlength=groups))
    return first, np.argsort(column, kind="stable").astype(np.int64)


def _branch_tables(
    clusters: Sequence[HeatCluster], zones: int, width: int
) -> tuple[Ints, Floats, Ints, dict[tuple[int, int], int]]:
    """Branches zone by zone, their paths, where those of a zone begin, and the first of each."""
    rows: list[list[int]] = []
    paths: list[list[float]] = []
    starts = np.zeros(width, np.int64)
    first: dict[tuple[int, int], int] = {}
    used = [set(np.unique(_inlet_zones(cluster)).tolist()) for cluster in clusters]
    for zone in range(zones):
        starts[zone] = len(rows)
        for index, cluster in enumerate(clusters):
            if zone in used[index]:
                first[index, zone] = len(rows)
                own = _paths(cluster)
                rows += [[zone, index, level] for level in range(len(own))]
                paths += own
    starts[zones:] = len(rows)
    return np.array(rows, np.int64), np.array(paths), starts, first


def _node_rows(
    clusters: Sequence[HeatCluster], first_branch: dict[tuple[int, int], int]
) -> list[list[int]]:
    rows = []
    for index, cluster in enumerate(clusters):
        inlets = _inlet_zones(cluster)
        for node in range(cluster.nodes):
            inlet = int(inlets[node])
            rows.append(
                [
                    index,
                    int(cluster.air_zone[node]),
                    int(cluster.liquid_zone[node]),
                    int(cluster.rack[node]),
                    inlet,
                    first_branch[index, inlet],
                ]
            )
    return rows


def _fault_rows(farm: HeatFarm) -> Ints:
    """Units that fail by chance, one row each, then faults at stated times."""
    rows = []
    kinds: tuple[tuple[int, Sequence[HeatZone | HeatPlant]], ...] = (
        (0, farm.zones),
        (1, farm.plants),
    )
    for of_plant, owners in kinds:
        for index, owner in enumerate(owners):
            if owner.unit_up_s > 0.0 and owner.unit_down_s > 0.0:
                row = [of_plant, index, 1, c.NONE, _ns(owner.unit_up_s), _ns(owner.unit_down_s)]
                rows += [row] * owner.units
    for fault in farm.faults:
        down = _ns(fault.down_s)
        rows.append([int(fault.of_plant), fault.index, fault.units, _ns(fault.at_s), 0, down])
    return np.array(rows, np.int64).reshape(-1, c.FAULT_COLUMNS)


def compile_heat(farm: HeatFarm) -> CompiledHeat:
    """Make the tables of a farm.

    Raises
    ------
    ValueError
        Where a cluster is empty or names a zone, rack or plant that is not there.
    """
    clusters = farm.clusters
    _check(clusters, len(farm.racks), farm.zones, len(farm.plants))
    zones = len(farm.zones)
    width = max(zones, len(farm.racks)) + 2
    branches, paths, zone_branches, first_branch = _branch_tables(clusters, zones, width)
    nodes = np.array(_node_rows(clusters, first_branch), np.int64)
    zone_first, by_zone = _grouped(nodes[:, c.INLET_ZONE], zones, width)
    rack_first, by_rack = _grouped(nodes[:, c.RACK], len(farm.racks), width)
    most = max(cluster.devices for cluster in clusters)
    firsts = np.cumsum([0, *(cluster.nodes for cluster in clusters)]).tolist()
    tables = Heat(
        nodes=nodes,
        rules=np.array([_rules(*pair) for pair in zip(clusters, firsts, strict=False)], np.int64),
        laws=np.array([_laws(cluster) for cluster in clusters]),
        factors=np.array([_factors(cluster, most) for cluster in clusters]),
        branches=branches,
        paths=paths,
        first=np.array([zone_first, rack_first, zone_branches]),
        members=np.array([by_zone, by_rack]),
        racks=np.array([[r.inlet_k_per_w, float(_milliwatts(r.other_w))] for r in farm.racks]),
        zones=np.array([_zone_row(zone) for zone in farm.zones]),
        plants=np.array([_plant_row(plant) for plant in farm.plants]),
        faults=_fault_rows(farm),
    )
    names = (tuple(item.name for item in items) for items in (clusters, farm.zones, farm.plants))
    return CompiledHeat(tables, *names)


def _zone_row(zone: HeatZone) -> list[float]:
    return [
        float(zone.plant),
        zone.setpoint_c,
        zone.u_w_per_k,
        zone.mass_j_per_k,
        float(zone.units_needed),
        float(zone.units),
        float(_milliwatts(zone.other_w)),
    ]


def _plant_row(plant: HeatPlant) -> list[float]:
    return [
        plant.target_c,
        plant.unit_w,
        plant.g_w_per_k,
        plant.mass_j_per_k,
        float(plant.units),
        float(_milliwatts(plant.other_w)),
    ]
