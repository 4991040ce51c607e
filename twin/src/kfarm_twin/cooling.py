"""N-1 of the cooling: each single fault played in the heat engine from the state under load."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from kfarm_api.policy import Fault

from kfarm_twin.arrays import METRIC_ORDER, Floats, Ints
from kfarm_twin.cooling_faults import COOLING, CoolingFault, cooling_faults, touched
from kfarm_twin.cooling_load import CoolingLoad
from kfarm_twin.cooling_scene import Merger, Scene
from kfarm_twin.heat import new_state
from kfarm_twin.heat_describe import Described, DescribedHeat
from kfarm_twin.kernels import cooling as run_places
from kfarm_twin.kernels import heat_columns as c
from kfarm_twin.kernels.cooling import CoolingRun, play_fault
from kfarm_twin.kernels.heat_columns import HeatState
from kfarm_twin.kernels.rng import FAR_NS

NS = 1e9
WINDOW_S = 86_400.0
"""How long a fault is played; what has not happened by then counts as never."""
LOOKS = 60
"""Times at which the curve is noted, from one second on in equal ratios."""
STEADY_K = 0.1
"""Temperatures are steady when they stay this near to where they end."""
MOST_EVENTS = 2_000_000
SEED = 0


@dataclass(frozen=True)
class CoolingRow:
    """What comes of a fault; figures are those of the worst of its instances.

    Attributes
    ----------
    instances
        Labels of those that come to the same, see `outcome`.
    lost, left, needed
        Units that are lost, that are left, and that full cooling takes.
    back_s
        When they are back [s]; None: not before repair.
    nodes
        Nodes whose devices can feel it.
    down
        Nodes that went off by heat.
    dark
        Nodes that lose their power with it.
    throttle_s, shutdown_s
        Time from the fault to the first throttled device, and to the first node off [s], or None.
    throttled
        Most devices that throttled at once, as a share of those at work on the farms.
    hottest_node, rack, zone
        Node and rack of the device that throttles first, else comes nearest to its limit; the loop
        or room that cools it.
    hottest_c, headroom_k, throttle_c, shutdown_c
        How hot it gets, its least distance to its throttle limit, and its limits.
    supply_c
        Highest supply temperature of the zone that the fault is in (of a plant: of a first zone).
    steady_s
        From when on temperatures no longer change [s]; None: not within a day.
    curve
        Time [s], hottest device [degC], supply [degC], share throttled.
    """

    fault: Fault
    instances: tuple[str, ...]
    lost: int
    left: int
    needed: int
    back_s: float | None
    nodes: int
    down: int
    dark: int
    throttle_s: float | None
    shutdown_s: float | None
    throttled: float
    hottest_c: float
    headroom_k: float
    throttle_c: float
    shutdown_c: float
    hottest_node: int
    rack: str
    zone: str
    liquid: bool
    supply_c: float
    steady_s: float | None
    curve: tuple[tuple[float, float, float, float], ...]

    @property
    def outcome(self) -> object:
        """What it comes to, times in two digits: equal for rows that are told as one."""
        seconds = [
            None if time is None else float(f"{time:.2g}")
            for time in (self.throttle_s, self.shutdown_s, self.back_s)
        ]
        units = (self.lost, self.left, self.needed)
        return (self.fault, *units, *seconds, self.dark > 0, round(self.hottest_c))

    @property
    def severity(self) -> tuple[float, float, float, float]:
        """Sorts the worst first: by shutdown, throttling, headroom."""
        dark = 0.0 if self.dark else 1.0
        return (
            dark,
            math.inf if self.shutdown_s is None else self.shutdown_s,
            math.inf if self.throttle_s is None else self.throttle_s,
            self.headroom_k,
        )


@dataclass(frozen=True)
class CoolingStudy:
    """All single faults of the cooling of some farms, the worst first.

    Attributes
    ----------
    throttle_min_s, shutdown_min_s
        Least times over all faults, `WINDOW_S` where it comes to neither; None without any fault.
    """

    rows: tuple[CoolingRow, ...]
    assumptions: tuple[str, ...]

    @property
    def throttle_min_s(self) -> float | None:
        """Least time to throttling."""
        return _least([row.throttle_s for row in self.rows])

    @property
    def shutdown_min_s(self) -> float | None:
        """Least time to a shutdown by heat."""
        return _least([row.shutdown_s for row in self.rows])

    def fill(self, metrics: Floats) -> None:
        """Write both as metrics [futures, METRIC_COUNT]; NaN stays where nothing could fail."""
        for name, value in (
            ("time_to_throttle_min", self.throttle_min_s),
            ("time_to_shutdown_min", self.shutdown_min_s),
        ):
            if value is not None:
                metrics[:, METRIC_ORDER.index(name)] = value


def _least(times: Sequence[float | None]) -> float | None:
    if not times:
        return None
    return min(WINDOW_S if time is None else time for time in times)


class CoolingPlayer:
    """Plays faults on farms under one load.

    Parameters
    ----------
    lasts_s
        How long a fault lasts [s]; infinite: as long as it is played.
    """

    def __init__(
        self,
        heat: DescribedHeat,
        refs: Sequence[Described],
        load: CoolingLoad,
        lasts_s: float = math.inf,
    ) -> None:
        self.heat, self.refs, self.load = heat, refs, load
        self.lasts_s = lasts_s
        self.merger = Merger(heat, load)
        self.busy = max(int(load.busy.sum()), 1)
        self._known: dict[object, CoolingRow] = {}
        self._scenes: dict[object, tuple[Scene, HeatState]] = {}

    @cached_property
    def _wide(self) -> Merger:
        """For faults that all zones of a plant feel alike."""
        return Merger(self.heat, self.load, zones_too=True)

    def faults(self, kind: Fault) -> list[CoolingFault]:
        """Instances of a kind of fault."""
        return cooling_faults(self.heat, self.refs, kind)

    def row(self, fault: CoolingFault) -> CoolingRow:
        """What comes of one instance; those that are alike are played once."""
        feels = touched(self.heat, fault)
        alike: object = fault.index
        if not fault.of_plant:
            alike = self.merger.likeness(feels, fault.index)
        key = (fault.kind, alike, fault.units, fault.left, fault.down_s, fault.dark)
        if key not in self._known:
            self._known[key] = self._play(fault, feels)
        return self._known[key]

    def _scene(self, fault: CoolingFault, feels: Ints) -> tuple[Scene, HeatState]:
        key = (fault.of_plant, fault.index)
        if key not in self._scenes:
            scene = (self._wide if fault.of_plant else self.merger).scene(feels)
            self._scenes[key] = (scene, new_state(scene.compiled))
        return self._scenes[key]

    def _play(self, fault: CoolingFault, feels: Ints) -> CoolingRow:
        scene, hs = self._scene(fault, feels)
        back_s = min(self.lasts_s, fault.down_s)
        run = _run(scene, fault, back_s)
        if not play_fault(scene.compiled.tables, hs, run, SEED, MOST_EVENTS):
            raise RuntimeError(f"{fault.kind} {fault.label}: more than {MOST_EVENTS} events")
        return self._row(fault, feels, scene, hs, run, back_s)

    def _row(
        self,
        fault: CoolingFault,
        feels: Ints,
        scene: Scene,
        hs: HeatState,
        run: CoolingRun,
        back_s: float,
    ) -> CoolingRow:
        first = _first(hs, scene)
        node = int(scene.node[first])
        cluster = int(self.merger.at.cluster[node])
        throttle_s, shutdown_s = _seconds(hs, c.FIRST_THROTTLE), _seconds(hs, c.FIRST_SHUTDOWN)
        law = self.heat.farm.clusters[cluster]
        inlet = int(self.merger.at.inlet[node])
        hottest = float(hs.cluster_c[_owner(scene, first), c.HOTTEST_C])
        if shutdown_s is not None:
            hottest = min(hottest, law.shutdown_c)  # off, it follows what flows past it
        return CoolingRow(
            fault=fault.kind,
            instances=(fault.label,),
            lost=fault.units,
            left=fault.left,
            needed=fault.needed,
            back_s=None if math.isinf(back_s) else back_s,
            nodes=int(feels.sum()),
            down=int((hs.cluster[:, c.SHUTDOWNS] * scene.cluster_count).sum()),
            dark=len(fault.dark),
            throttle_s=throttle_s,
            shutdown_s=shutdown_s,
            throttled=int(run.most[run_places.MOST_THROTTLED]) / self.busy,
            hottest_c=hottest,
            headroom_k=law.throttle_c - hottest,
            throttle_c=law.throttle_c,
            shutdown_c=law.shutdown_c,
            hottest_node=node,
            rack=self.heat.racks[int(self.merger.at.rack[node])],
            zone=self.heat.farm.zones[inlet].name,
            liquid=law.liquid,
            supply_c=float(run.curve[:, run_places.CURVE_SUPPLY].max()),
            steady_s=_steady_s(run),
            curve=_curve(run, self.busy),
        )

    def study(self, kinds: Sequence[Fault] = COOLING) -> CoolingStudy:
        """All instances of some kinds of fault; those that come to the same in one row."""
        groups: dict[object, list[CoolingRow]] = {}
        for kind in kinds:
            for fault in self.faults(kind):
                row = replace(self.row(fault), instances=(fault.label,))
                groups.setdefault(row.outcome, []).append(row)
        rows = [_together(group) for group in groups.values()]
        rows.sort(key=lambda row: row.severity)
        return CoolingStudy(tuple(rows), self.heat.assumptions)


def _together(group: list[CoolingRow]) -> CoolingRow:
    """The worst of some rows, with the instances of all."""
    worst = min(group, key=lambda row: row.severity)
    return replace(worst, instances=tuple(label for row in group for label in row.instances))


def _times(back_s: float) -> Ints:
    """When to look [ns]: the start, equal ratios up to the window, and when units are back."""
    looks = np.concatenate([[0.0], np.geomspace(1.0, WINDOW_S, LOOKS - 1)])
    if back_s < WINDOW_S:
        after = back_s + np.geomspace(1.0, WINDOW_S, LOOKS - 1)
        looks = np.concatenate([looks[looks < back_s], [back_s], after[after <= WINDOW_S]])
    return np.unique(np.round(looks * NS).astype(np.int64))


def _run(scene: Scene, fault: CoolingFault, back_s: float) -> CoolingRun:
    times = _times(back_s)
    place = (scene.plants if fault.of_plant else scene.zones)[fault.index]
    back_ns = run_places.NEVER if back_s >= WINDOW_S else round(back_s * NS)
    row = [int(fault.of_plant), place, fault.left, fault.left + fault.units, back_ns]
    return CoolingRun(
        device_mw=np.ascontiguousarray(scene.device_mw),
        overhead_mw=scene.overhead_mw,
        up=scene.up.copy(),
        dark=np.isin(scene.node, fault.dark).astype(np.int64),
        weight=scene.weight[scene.firsts],
        lost=np.array(row, np.int64),
        times=times,
        curve=np.zeros((len(times), run_places.CURVE)),
        most=np.zeros(run_places.MOST, np.int64),
    )


def _seconds(hs: HeatState, column: int) -> float | None:
    first = int(hs.cluster[:, column].min())
    return None if first >= FAR_NS else first / NS


def _first(hs: HeatState, scene: Scene) -> int:
    """Place in the scene of the node that throttles first, else of the one nearest to its limit."""
    times = hs.cluster[:, c.FIRST_THROTTLE]
    limits = np.array([one.throttle_c for one in scene.farm.clusters])
    margin: Floats = limits - hs.cluster_c[:, c.HOTTEST_C]
    cluster = int(np.lexsort((margin, times))[0])
    return int(hs.cluster[cluster, c.HOT_NODE])


def _owner(scene: Scene, node: int) -> int:
    """Cluster of the scene that a node of the scene is in."""
    sizes = [cluster.nodes for cluster in scene.farm.clusters]
    return int(np.searchsorted(np.cumsum(sizes), node, side="right"))


def _steady_s(run: CoolingRun) -> float | None:
    """The first time of the curve from which on all stays within `STEADY_K` of the end."""
    seen = run.curve[:, : run_places.CURVE_THROTTLED]
    away = np.abs(seen - seen[-1]).max(axis=1) > STEADY_K
    late = np.flatnonzero(away)
    place = int(late[-1]) + 1 if len(late) else 0
    if place >= len(run.times) - 1:
        return None
    return int(run.times[place]) / NS


def _curve(run: CoolingRun, busy: int) -> tuple[tuple[float, float, float, float], ...]:
    return tuple(
        (int(at) / NS, float(hot), float(supply), float(slow) / busy)
        for at, (hot, supply, slow) in zip(run.times, run.curve, strict=True)
    )
