"""The heat of a farm in plain Python: all temperatures by DOP853, events located on its steps.

Written from the model (docs/nomenclature.md), not from the kernels, with which it shares nothing
but the dataclasses that describe a farm. Slow. The heat that each level gives away is integrated
beside the temperatures, so that books can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from kfarm_twin.heat_tables import HeatFarm
from scipy.integrate import DOP853
from scipy.optimize import brentq

NEVER = math.inf
TOLERANCE = 1e-9
LOOKS = 6
"""Times within a step of the integrator at which conditions are looked at."""
ROUNDS = 1000
"""Rounds at one instant after which it is told rather than waited for."""


@dataclass
class Device:
    """A device; `level` None: it does not throttle."""

    k_die: float
    k_sink: float
    asked: int
    level: int | None = None


@dataclass
class Node:
    """A node and what is due of it."""

    cluster: int
    air: int
    liquid: int
    rack: int
    devices: list[Device]
    others: int
    up: bool = True
    fan: int = 0
    fan_due: float = NEVER
    govern_due: float = NEVER
    changed: float = -NEVER
    rest_due: float = NEVER
    cools: bool = False
    told: int = 1_000_000
    inlet: float = 0.0


@dataclass
class Played:
    """Samples and books; see `Naive.play`."""

    die: Any
    supply: Any
    water: Any
    power: Any
    log: list[tuple[float, str, int, int]]
    given_j: float
    sinks_j: float
    drawn_j: float
    zone_in_j: Any
    zone_out_j: Any
    plant_in_j: Any
    plant_out_j: Any
    hottest: float
    throttled_s: float


@dataclass
class Naive:
    """A farm and its present state."""

    farm: HeatFarm
    nodes: list[Node] = field(default_factory=list)
    log: list[tuple[float, str, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.fired: set[tuple[float, str, int, int]] = set()
        for index, cluster in enumerate(self.farm.clusters):
            for node in range(cluster.nodes):
                devices = []
                for device in range(cluster.devices):
                    factors = [
                        given[device % len(given)] if given else 1.0
                        for given in (cluster.die_factors, cluster.sink_factors)
                    ]
                    devices.append(Device(*factors, round(cluster.idle_w * 1000)))
                air, liquid = int(cluster.air_zone[node]), int(cluster.liquid_zone[node])
                rack, others = int(cluster.rack[node]), round(cluster.overhead_w * 1000)
                self.nodes.append(Node(index, air, liquid, rack, devices, others))
        self.units = [zone.units for zone in self.farm.zones]
        self.plant_units = [plant.units for plant in self.farm.plants]
        self.target = [plant.target_c for plant in self.farm.plants]
        self.regulated = [True] * len(self.farm.zones)
        self.short = [False] * len(self.farm.plants)
        self.offsets = np.cumsum([0] + [len(node.devices) for node in self.nodes])
        self.count = int(self.offsets[-1])
        self.arrays()

    # What holds between events -------------------------------------------------------------------

    def cluster(self, node: Node) -> Any:
        return self.farm.clusters[node.cluster]

    def zone_of(self, node: Node) -> int:
        return node.liquid if self.cluster(node).liquid else node.air

    def share(self, zone: int) -> float:
        return min(max(self.units[zone], 0) / self.farm.zones[zone].units_needed, 1.0)

    def flow(self, node: Node, fan: int | None = None) -> float:
        cluster = self.cluster(node)
        if cluster.liquid:
            return max(self.share(node.liquid), 0.01)
        if cluster.fans is None:
            return 1.0
        return float(cluster.fans.levels[node.fan if fan is None else fan])

    def power(self, node: Node, device: Device, level: int | None) -> int:
        idle = round(self.cluster(node).idle_w * 1000)
        if not node.up:
            return 0
        if level is None or device.asked <= idle:
            return device.asked
        return idle + (device.asked - idle) * level // 32

    def drawn(self, node: Node) -> int:
        return sum(self.power(node, d, d.level) for d in node.devices)

    def fan_mw(self, node: Node) -> int:
        fans = self.cluster(node).fans
        return round(fans.full_w * fans.levels[node.fan] ** 3 * 1000) if fans and node.up else 0

    def resistance(self, node: Node, device: Device, fan: int | None = None) -> float:
        cluster = self.cluster(node)
        sink = cluster.sink_k_per_w * self.flow(node, fan) ** -cluster.flow_exponent
        return float(sink * device.k_sink + cluster.die_k_per_w * device.k_die)

    def arrays(self) -> None:
        """Heats, inlets and coefficients of what is now."""
        farm = self.farm
        heat = [zone.other_w for zone in farm.zones]
        racks = [rack.other_w for rack in farm.racks]
        seen: set[int] = set()
        self.node_w = []
        for node in self.nodes:
            if node.rack not in seen and node.air >= 0:
                heat[node.air] += farm.racks[node.rack].other_w
            seen.add(node.rack)
            cluster, devices = self.cluster(node), self.drawn(node)
            others, fans = (node.others if node.up else 0), self.fan_mw(node)
            liquid = 0
            if node.liquid >= 0:
                liquid = int(
                    devices * (cluster.liquid_share if cluster.liquid else 0)
                    + others * (cluster.overhead_liquid_share if cluster.liquid else 0)
                )
                heat[node.liquid] += liquid / 1000
            air = devices + others + fans - liquid
            if node.air >= 0:
                heat[node.air] += air / 1000
            racks[node.rack] += air / 1000
            self.node_w.append((devices + others + fans) / 1000)
        self.heat = heat
        self.plant_heat = [plant.other_w for plant in farm.plants]
        for zone, own in zip(farm.zones, heat, strict=True):
            self.plant_heat[zone.plant] += own
        p, r_sink, r_die, rate_s, rate_d, inlet, capacity, zone_index = (
            [],
            [],
            [],
            [],
            [],
            [],
            [],
            [],
        )
        for node in self.nodes:
            cluster = self.cluster(node)
            flow = self.flow(node)
            node.inlet = 0.0
            if not cluster.liquid:
                node.inlet = self.around(node, racks) + self.rise(node)
            sink = cluster.sink_k_per_w * flow**-cluster.flow_exponent
            stores = cluster.sink_s / cluster.sink_k_per_w
            for device in node.devices:
                p.append(self.power(node, device, device.level) / 1000)
                r_sink.append(sink * device.k_sink)
                r_die.append(cluster.die_k_per_w * device.k_die)
                rate_s.append(1 / (stores * sink))
                rate_d.append(1 / cluster.die_s)
                inlet.append(node.inlet)
                capacity.append(stores / device.k_sink)
                zone_index.append(self.zone_of(node))
        self.racks_w = racks
        self.p, self.r_sink, self.r_die = np.array(p), np.array(r_sink), np.array(r_die)
        self.rate_s, self.rate_d = np.array(rate_s), np.array(rate_d)
        self.inlet, self.capacity = np.array(inlet), np.array(capacity)
        self.zone_index = np.array(zone_index)

    def around(self, node: Node, racks: list[float]) -> float:
        rack = self.farm.racks[node.rack]
        if rack.recirculation == 0:
            return 0.0
        rise = racks[node.rack] / (1.184 * 1006.0 * rack.airflow_m3_per_s)
        return rack.recirculation / (1 - rack.recirculation) * rise

    def rise(self, node: Node, fan: int | None = None) -> float:
        cluster = self.cluster(node)
        flow = max(self.flow(node, fan), 0.01)
        return float(cluster.inlet_rise_k_per_w / flow * self.drawn(node) / 1000)

    def conduct(self, zone: int) -> float:
        own = self.farm.zones[zone]
        return own.u_w_per_k * self.share(zone) if self.share(zone) > 0 else 0.0

    def plant_capacity(self, plant: int) -> float:
        units = max(self.plant_units[plant], 0)
        return self.farm.plants[plant].unit_w * units if units else 0.0

    def parts(self, y: Any) -> tuple[Any, Any, Any, Any]:
        plants, zones, n = len(self.farm.plants), len(self.farm.zones), self.count
        cuts = np.cumsum([plants, zones, n])
        return (
            y[: cuts[0]],
            y[cuts[0] : cuts[1]],
            y[cuts[1] : cuts[2]],
            y[cuts[2] : cuts[2] + n],
        )

    def derivative(self, t: float, y: Any) -> Any:
        farm = self.farm
        water, supply, sink, die = self.parts(y)
        d_water, d_supply = np.zeros(len(water)), np.zeros(len(supply))
        out, rejected = np.zeros(len(supply)), np.zeros(len(water))
        for index, plant in enumerate(farm.plants):
            rejected[index] = self.plant_heat[index]
            if self.short[index]:
                more = plant.g_w_per_k * (water[index] - self.target[index])
                rejected[index] = self.plant_capacity(index) + more
                net = self.plant_heat[index] - rejected[index]
                d_water[index] = net / plant.mass_j_per_k
        for index, zone in enumerate(farm.zones):
            out[index] = self.heat[index]
            if not self.regulated[index]:
                out[index] = self.conduct(index) * (supply[index] - water[zone.plant])
                d_supply[index] = (self.heat[index] - out[index]) / zone.mass_j_per_k
        inlet = supply[self.zone_index] + self.inlet
        d_sink = self.rate_s * (inlet + self.r_sink * self.p - sink)
        d_die = self.rate_d * (sink + self.r_die * self.p - die)
        given = (sink - inlet) / self.r_sink
        return np.concatenate([d_water, d_supply, d_sink, d_die, [given.sum()], out, rejected])

    # Conditions ----------------------------------------------------------------------------------

    def supply_of(self, node: Node, y: Any) -> float:
        return float(self.parts(y)[1][self.zone_of(node)])

    def dies(self, index: int, y: Any) -> Any:
        return self.parts(y)[3][self.offsets[index] : self.offsets[index + 1]]

    def band(self, node: Node, device: Device, die: float, supply: float) -> list[float]:
        """Positive where a throttled device has to go down, or may go up."""
        cluster, resistance = self.cluster(node), self.resistance(node, device)
        assert device.level is not None
        floor = math.ceil(cluster.floor * 32 - 1e-9)
        inlet, found = supply + node.inlet, []
        if device.level > floor:
            watts = self.power(node, device, device.level) / 1000
            found.append(inlet + resistance * watts - cluster.throttle_c)
        watts = self.power(node, device, min(device.level + 1, 32)) / 1000
        room = cluster.throttle_c - cluster.hysteresis_k - inlet - resistance * watts
        # From the last level it goes back to none, which a die at its limit forbids. The lower of
        # the two is continuous, so that the time at which it turns positive can be located.
        found.append(room if device.level < 32 else min(room, cluster.throttle_c - die))
        return found

    def above(self, node: Node, fan: int) -> float:
        """Steady temperature of the hottest device above the supply at a fan level [K]."""
        hottest = max(
            self.resistance(node, d, fan) * self.power(node, d, d.level) / 1000
            for d in node.devices
        )
        return hottest + self.around(node, self.racks_w) + self.rise(node, fan)

    def fan_needs(self, node: Node, supply: float) -> list[float]:
        fans = self.cluster(node).fans
        if not fans or len(fans.levels) == 1 or not node.up or node.fan_due < NEVER:
            return []
        found = []
        if node.fan < len(fans.levels) - 1:
            found.append(supply + self.above(node, node.fan) - fans.target_c)
        if node.fan > 0:
            low = fans.target_c - fans.hysteresis_k
            found.append(low - supply - self.above(node, node.fan - 1))
        return found

    def conditions(self) -> list[tuple[str, int, int, Callable[[Any], float]]]:
        """What happens when it turns positive."""
        found: list[tuple[str, int, int, Callable[[Any], float]]] = []
        for z, zone in enumerate(self.farm.zones):
            if self.regulated[z] and 0 < self.conduct(z) < math.inf:
                level = zone.setpoint_c + 2 * TOLERANCE - self.heat[z] / self.conduct(z)
                found.append(
                    ("flip", z, 0, lambda y, p=zone.plant, v=level: self.parts(y)[0][p] - v)
                )
            elif not self.regulated[z]:
                sp = zone.setpoint_c
                found.append(("flip", z, 0, lambda y, z=z, v=sp: v - self.parts(y)[1][z]))
        for p, target in enumerate(self.target):
            if self.short[p]:
                found.append(("back", p, 0, lambda y, p=p, v=target: v - self.parts(y)[0][p]))
        for n, node in enumerate(self.nodes):
            self.node_conditions(n, node, found)
        return found

    def node_conditions(self, n: int, node: Node, found: list[Any]) -> None:
        cluster = self.cluster(node)
        if not node.up:
            if node.cools:
                cool = min(cluster.throttle_c, cluster.shutdown_c) - cluster.hysteresis_k
                found.append(("cool", n, 0, lambda y: cool - float(self.dies(n, y).max())))
            return
        for d, device in enumerate(node.devices):

            def die(y: Any, d: int = d) -> float:
                return float(self.dies(n, y)[d])

            busy = device.asked > round(cluster.idle_w * 1000)
            if device.level is None and busy:
                found.append(("limit", n, d, lambda y, f=die: f(y) - cluster.throttle_c))
            found.append(("limit", n, d, lambda y, f=die: f(y) - cluster.shutdown_c))
            if device.level is not None:
                if device.level == 32:
                    found.append(("limit", n, d, lambda y, f=die: cluster.throttle_c - f(y)))
                for which in (0, 1) if node.govern_due == NEVER else ():
                    found.append(
                        (
                            "band",
                            n,
                            d,
                            lambda y, w=which, x=device, f=die: self.nth(node, x, f(y), y, w),
                        )
                    )
        for which in range(len(self.fan_needs(node, 0.0))):
            found.append(("fan", n, 0, lambda y, w=which: self.need(node, y, w) - 2 * TOLERANCE))

    def need(self, node: Node, y: Any, which: int) -> float:
        needs = self.fan_needs(node, self.supply_of(node, y))
        return needs[which] if which < len(needs) else -1.0

    def nth(self, node: Node, device: Device, die: float, y: Any, which: int) -> float:
        values = self.band(node, device, die, self.supply_of(node, y))
        return values[which] - 2 * TOLERANCE if which < len(values) else -1.0

    # What happens --------------------------------------------------------------------------------

    def settle(self, t: float, y: Any) -> None:
        """Modes and what is due, for the state as it is now; `y` jumps where the model does."""
        self.arrays()
        for p in range(len(self.farm.plants)):
            capacity, enough = self.plant_capacity(p), False
            if not self.short[p]:
                y[p] = self.target[p]
            y[p] = self.target[p] if math.isinf(capacity) else max(y[p], self.target[p])
            enough = self.plant_heat[p] <= capacity and y[p] <= self.target[p]
            self.short[p] = not enough
        base = len(self.farm.plants)
        for z, zone in enumerate(self.farm.zones):
            u = self.conduct(z)
            reach = y[zone.plant] + self.heat[z] / u if u > 0 else NEVER
            holds = u > 0 and reach <= zone.setpoint_c + TOLERANCE
            if math.isinf(u) or (holds and y[base + z] <= zone.setpoint_c):
                self.regulated[z] = True
                y[base + z] = zone.setpoint_c
            else:
                self.regulated[z] = False
        for n, node in enumerate(self.nodes):
            self.look(t, n, node, y)

    def look(self, t: float, n: int, node: Node, y: Any) -> None:
        cluster, supply = self.cluster(node), self.supply_of(node, y)
        if not node.up:
            node.govern_due = node.fan_due = NEVER
            return
        levels = [
            d.level
            for d in node.devices
            if d.level is not None and d.asked > round(cluster.idle_w * 1000)
        ]
        speed = min([*levels, 32]) * 1_000_000 // 32
        if speed != node.told:
            node.told = speed
            self.log.append((t, "speed", n, speed))
        out = False
        for d, device in enumerate(node.devices):
            if device.level is not None:
                values = self.band(node, device, float(self.dies(n, y)[d]), supply)
                out = out or any(value > TOLERANCE for value in values)
        node.govern_due = max(t, node.changed + cluster.dwell_s) if out else NEVER
        if any(value > TOLERANCE for value in self.fan_needs(node, supply)):
            node.fan_due = t + cluster.fans.dwell_s

    def steady(self, node: Node, device: Device, supply: float, level: int | None) -> float:
        watts = self.power(node, device, level) / 1000
        return supply + node.inlet + self.resistance(node, device) * watts

    def best(self, node: Node, device: Device, supply: float, most: float) -> int:
        floor = math.ceil(self.cluster(node).floor * 32 - 1e-9)
        for level in range(32, floor, -1):
            if self.steady(node, device, supply, level) <= most:
                return level
        return floor

    def govern(self, t: float, n: int, node: Node, y: Any) -> None:
        cluster, supply = self.cluster(node), self.supply_of(node, y)
        for d, device in enumerate(node.devices):
            if device.level is None:
                continue
            level = self.best(node, device, supply, cluster.throttle_c)
            if level >= device.level:
                most = cluster.throttle_c - cluster.hysteresis_k
                level = max(self.best(node, device, supply, most), device.level)
            if level != device.level:
                node.changed = t
            device.level = level
            self.release(t, n, node, d, y)

    def release(self, t: float, n: int, node: Node, d: int, y: Any) -> None:
        cluster, device = self.cluster(node), node.devices[d]
        if device.level != 32 or self.dies(n, y)[d] >= cluster.throttle_c + TOLERANCE:
            return
        rest = self.steady(node, device, self.supply_of(node, y), 32)
        if rest <= cluster.throttle_c - cluster.hysteresis_k:
            device.level = None
            node.changed = t

    def check(self, t: float, n: int, node: Node, y: Any) -> None:
        """Limits that devices of a node have reached."""
        cluster, supply = self.cluster(node), self.supply_of(node, y)
        slopes = self.parts(self.derivative(t, y))[3][self.offsets[n] : self.offsets[n + 1]]
        for d, device in enumerate(node.devices):
            die, warms = float(self.dies(n, y)[d]), float(slopes[d]) >= -1e-12
            if die >= cluster.shutdown_c - TOLERANCE and warms:
                self.log.append((t, "overheated", n, d))
                node.up, node.told, node.cools = False, 1_000_000, False
                node.rest_due = t + cluster.restart_s
                for other in node.devices:
                    other.level = None
                return
            busy = device.asked > round(cluster.idle_w * 1000)
            rest = self.steady(node, device, supply, None)
            over = warms or rest > cluster.throttle_c + TOLERANCE
            if device.level is None and busy and die >= cluster.throttle_c - TOLERANCE and over:
                device.level = self.best(node, device, supply, cluster.throttle_c)
                node.changed = t
            elif device.level == 32 and t >= node.changed + cluster.dwell_s:
                self.release(t, n, node, d, y)

    def wanted(self, node: Node, supply: float) -> int:
        fans = self.cluster(node).fans
        for fan in range(len(fans.levels) - 1):
            most = fans.target_c - (fans.hysteresis_k if fan < node.fan else 0.0)
            if supply + self.above(node, fan) <= most:
                return fan
        return len(fans.levels) - 1

    def happen(self, t: float, kind: str, index: int, y: Any) -> None:
        """A condition turned positive."""
        base = len(self.farm.plants)
        if kind == "flip":
            if not self.regulated[index]:
                y[base + index] = self.farm.zones[index].setpoint_c
            else:
                self.regulated[index] = False
        elif kind == "back":
            y[index] = self.target[index]
            self.short[index] = False
        elif kind == "limit":
            self.check(t, index, self.nodes[index], y)
        elif kind == "cool":
            self.nodes[index].cools = False
            self.log.append((t, "cool", index, -1))

    def due(self, t: float, y: Any) -> None:
        """What is due at `t` of the first node of which anything is."""
        for n, node in enumerate(self.nodes):
            if min(node.rest_due, node.govern_due, node.fan_due) > t:
                continue
            if node.rest_due <= t:
                node.rest_due = NEVER
                cluster = self.cluster(node)
                cool = min(cluster.throttle_c, cluster.shutdown_c) - cluster.hysteresis_k
                if float(self.dies(n, y).max()) <= cool:
                    self.log.append((t, "cool", n, -1))
                else:
                    node.cools = True
            if node.govern_due <= t:
                node.govern_due = NEVER
                self.govern(t, n, node, y)
            if node.fan_due <= t:
                node.fan_due = NEVER
                fan = self.wanted(node, self.supply_of(node, y))
                if fan != node.fan:
                    node.fan = fan
                    self.log.append((t, "fans", n, fan))
            return

    def start(self) -> Any:
        """Idle, and as warm as that gets."""
        farm = self.farm
        y = np.zeros(2 * len(farm.plants) + 2 * len(farm.zones) + 2 * self.count + 1)
        for _ in range(4):
            self.arrays()
            supply = []
            for z, zone in enumerate(farm.zones):
                u = self.conduct(z)
                reach = self.target[zone.plant] + (self.heat[z] / u if u else NEVER)
                supply.append(max(reach, zone.setpoint_c) if u < NEVER else zone.setpoint_c)
            for node in self.nodes:
                fans = self.cluster(node).fans
                if fans and len(fans.levels) > 1:
                    node.fan = self.wanted(node, supply[self.zone_of(node)])
        self.arrays()
        base, zones = len(farm.plants), len(farm.zones)
        y[:base], y[base : base + zones] = self.target, supply
        sinks = np.array(supply)[self.zone_index] + self.inlet + self.r_sink * self.p
        y[base + zones : base + zones + self.count] = sinks
        y[base + zones + self.count : base + zones + 2 * self.count] = sinks + self.r_die * self.p
        return y

    def act(self, row: tuple[float, str, int, float, int, int]) -> None:
        """A row of the schedule: (time, what, which, value, first device, devices)."""
        _, what, index, value, first, count = row
        if what == "power":
            for device in self.nodes[index].devices[first : first + count]:
                device.asked = round(value * 1000)
        elif what == "overhead":
            self.nodes[index].others = round(value * 1000)
        elif what == "switch":
            node = self.nodes[index]
            if node.up != bool(value):
                node.up, node.told = bool(value), 1_000_000
                node.rest_due, node.cools = (NEVER, False) if value else (node.rest_due, node.cools)
                for device in node.devices:
                    device.level = None if not value else device.level
        elif what == "zone":
            self.units[index] = int(value)
        elif what == "plant":
            self.plant_units[index] = int(value)
        else:
            self.target[index] = value

    def play(
        self, schedule: list[tuple[float, str, int, float, int, int]], horizon: float, samples: Any
    ) -> Played:
        """Play a schedule; samples are taken at the times given [s]."""
        y = self.start()
        t, rows, samples = 0.0, sorted(schedule), list(samples)
        out: list[tuple[Any, ...]] = []
        totals = np.zeros(2 + len(self.farm.zones) + len(self.farm.plants))
        begin = self.capacity @ self.parts(y)[2]
        hottest, throttled = float(self.parts(y)[3].max()), 0.0
        moved, here = -NEVER, 0
        self.settle(0.0, y)
        while True:
            while rows and rows[0][0] <= t:
                self.act(rows.pop(0))
            self.settle(t, y)
            for n, node in enumerate(self.nodes):
                if node.up and self.at_once(n, node, y):
                    self.check(t, n, node, y)
                    self.settle(t, y)
            timers = [min(n.fan_due, n.govern_due, n.rest_due) for n in self.nodes]
            if min(timers) <= t:
                self.due(t, y)
                continue
            if t >= horizon:
                break
            here = here + 1 if t == moved else 0
            moved = t
            assert here < ROUNDS, f"the reference does not get past {t} s"
            stop = min([horizon, *timers, *([rows[0][0]] if rows else [])])
            before, slow = t, self.slow()
            t, y, events, peak = self.advance(t, y, stop, samples, out)
            hottest = max(hottest, peak)
            span = t - before
            totals += span * np.array([self.p.sum(), 0.0, *self.heat, *self.plant_heat])
            throttled += span * slow
            for kind, index in events:
                self.happen(t, kind, index, y)
            self.due(t, y)
        zones, plants = len(self.farm.zones), len(self.farm.plants)
        tail = y[-1 - zones - plants :]
        table = [np.array(column) for column in zip(*out, strict=True)] if out else [None] * 4
        return Played(
            table[3], table[1], table[0], table[2], self.log, float(tail[0]),
            float(self.capacity @ self.parts(y)[2] - begin), float(totals[0]),
            totals[2 : 2 + zones], tail[1 : 1 + zones], totals[2 + zones :], tail[1 + zones :],
            hottest, throttled,
        )  # fmt: skip

    def at_once(self, n: int, node: Node, y: Any) -> bool:
        """Whether a device is above its limit already when it begins to work."""
        cluster, supply = self.cluster(node), self.supply_of(node, y)
        idle, limit = round(cluster.idle_w * 1000), cluster.throttle_c
        return any(
            device.level is None
            and device.asked > idle
            and self.dies(n, y)[d] >= limit - TOLERANCE
            and self.steady(node, device, supply, None) > limit + TOLERANCE
            for d, device in enumerate(node.devices)
        )

    def slow(self) -> int:
        return sum(
            device.level is not None and device.level < 32
            for node in self.nodes
            for device in node.devices
        )

    def advance(
        self, t: float, y: Any, stop: float, samples: list[float], out: list[tuple[Any, ...]]
    ) -> tuple[float, Any, list[tuple[str, int]], float]:
        """Integrate up to `stop` or the first condition that turns positive."""
        conditions = self.conditions()
        before = [g(y) for *_, g in conditions]
        for place, (kind, index, sub, _) in enumerate(conditions):
            if (t, kind, index, sub) in self.fired and abs(before[place]) < TOLERANCE:
                before[place] = TOLERANCE  # it has just happened here
        self.fired = {key for key in self.fired if key[0] == t}
        step = 0.5 * min(1 / self.rate_d.max(), 1 / self.rate_s.max())
        solver = DOP853(self.derivative, t, y, stop, max_step=step, rtol=1e-11, atol=1e-11)
        peak = -NEVER
        while solver.status == "running":
            solver.step()
            dense = solver.dense_output()
            times = np.linspace(solver.t_old, solver.t, LOOKS + 1)
            first, events, subs = NEVER, [], []
            low = float(times[0])
            for high in map(float, times[1:]):
                there = dense(high)
                here = [g(there) for *_, g in conditions]
                for place, (kind, index, sub, g) in enumerate(conditions):
                    if before[place] <= 0 < here[place]:
                        at = low
                        if g(dense(low)) < 0:
                            at = brentq(
                                lambda x, g=g, dense=dense: g(dense(x)),
                                low,
                                high,
                                xtol=1e-13,
                                rtol=1e-15,
                            )
                        if at < first - 1e-9:
                            first, events, subs = at, [(kind, index)], [sub]
                        elif at <= first + 1e-9:
                            events.append((kind, index))
                            subs.append(sub)
                before = here
                if events:
                    break
                low = high
            end = min(first, solver.t)
            while samples and samples[0] < end:
                self.note(dense(samples.pop(0)), out)
            inside = dense(np.linspace(solver.t_old, end, 12))
            peak = max(peak, float(self.parts(inside)[3].max()))
            if events:
                keys = {(first, *e, sub) for e, sub in zip(events, subs, strict=True)}
                self.fired |= keys
                return first, np.array(dense(first)), list(dict.fromkeys(events)), peak
        return solver.t, solver.y.copy(), [], peak

    def note(self, y: Any, out: list[tuple[Any, ...]]) -> None:
        water, supply, _, die = self.parts(y)
        out.append((water.copy(), supply.copy(), np.array(self.node_w), die.copy()))
