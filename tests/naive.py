"""One future in plain Python: slow, short, and written apart from the kernels.

No compiled code, no incremental sums, no heap of our own: after every event power, heat and counts
are worked out from nothing. Only the columns of a model and the order of float sums are shared, so
that results must agree to the last bit, but for temperatures. What the fleet does is given: the
changes that its engine tells of. Supplies are kept at their setpoints and nothing throttles here;
what happens else is held against `naive_heat`.
"""

from __future__ import annotations

import heapq
import itertools
import math
from typing import Any

import numpy as np
from kfarm_twin.kernels import heat_columns as h

M32 = 0xFFFFFFFF
FAR = 1 << 61
PPM = 10**6
REPAIRED, FAILED, DETECTED, RESTARTED, FINISHED, STOPPED, STARTED, MOVED, WAITS, SAVED = range(10)
SAVES, DRAINED, DEVICE_LOST, DEVICE_BACK, SLOWED, SPOILT, RAIL_LOST = range(10, 17)
WENT_DOWN, CAME_UP, LOST_DEVICE, GOT_DEVICE, SPEED, CORRUPTED, INTERRUPTED = range(7)
DRAIN = 2
DOWN, REWORK, DETECTION, WAITING, RESTART, SAVING, SLOW = range(7)

Change = tuple[int, int, int, int, int, int, int]
"""Time [ns], number of the event, what, node, class, detail, detection [ns]; before time 0 for what
is so at the start."""


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 on lists of 32-bit words, straight from the paper."""
    c, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c[0], 1 << 32)
        high1, low1 = divmod(0xCD9E8D57 * c[2], 1 << 32)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) & M32, (k[1] + 0xBB67AE85) & M32]
    return c


def uniform(seed: int, future: int, entity: int, purpose: int, ordinal: int) -> float:
    words = philox([entity, purpose, ordinal, future], [seed & M32, seed >> 32])
    return ((words[0] >> 6) * 2**26 + (words[1] >> 6) + 0.5) / 2.0**52


def ln(x: float) -> float:
    """fdlibm's logarithm."""
    m, e = math.frexp(x)
    if m < 0.7071067811865476:
        m, e = m * 2.0, e - 1
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    t1 = w * (
        3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01)
    )
    t2 = z * (
        6.666666666666735130e-01
        + w
        * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01))
    )
    h = 0.5 * f * f
    return e * 6.93147180369123816490e-01 - (
        (h - (s * (h + (t1 + t2)) + e * 1.90821492927058770002e-10)) - f
    )


class Unit:
    def __init__(self, farm: Any, index: int) -> None:
        w = farm.workloads
        self.index, self.workload = index, int(farm.units.workload[index])
        first = int(farm.units.first_slot[index])
        self.slots = list(range(first, first + int(farm.units.slots[index])))
        self.counted = bool(farm.units.counted[index])
        self.gang = bool(w.gang[self.workload])
        self.training = bool(w.training[self.workload])
        self.inference = bool(w.inference[self.workload])
        self.interval, self.save = int(w.interval_ns[self.workload]), int(w.save_ns[self.workload])
        self.restart = int(w.restart_ns[self.workload])
        self.duration = int(w.duration_ns[self.workload])
        self.required, self.preferred = 3, 3
        if self.gang:
            self.required = int(w.required[self.workload])
            self.preferred = int(w.preferred[self.workload])
        self.need = [int(x) for x in w.need[self.workload]]
        self.devices = len(self.slots) * self.need[0]
        self.least = int(w.least[self.workload])
        self.phase, self.stamp, self.planned = "running", 0, False
        self.since = self.kept = self.work = self.saving = self.stopped = self.due = 0
        self.rate, self.blamed, self.slow, self.end = PPM, -1, -1, 0
        self.down_ns = self.wait_ns = 0
        self.clean: tuple[int, int] | None = None  # work before it was spoilt, class

    def advance(self, now: int) -> int:
        """Cycle by cycle; returns the time spent on saves."""
        left, self.since, saved = now - self.since, now, 0
        while True:
            if self.work < self.interval:
                if self.rate == 0:
                    return saved
                to_save = -(-(self.interval - self.work) * PPM // self.rate)
                if left < to_save:
                    self.work += left * self.rate // PPM
                    return saved
                left, self.work = left - to_save, self.interval
            if left < self.save - self.saving:
                self.saving += left
                return saved + left
            left -= self.save - self.saving
            saved += self.save - self.saving
            self.kept, self.work, self.saving = self.kept + self.interval, 0, 0

    def finish_after(self, limit: int) -> int:
        """Time to the end of work, or `limit` when it is not before."""
        if self.duration >= FAR or self.rate == 0:
            return limit
        kept, work, saving, span = self.kept, self.work, self.saving, 0
        while span < limit:
            left = self.duration - kept - work
            if left <= self.interval - work and saving == 0:
                return min(span + -(-left * PPM // self.rate), limit)
            span += -(-(self.interval - work) * PPM // self.rate) + self.save - saving
            kept, work, saving = kept + self.interval, 0, 0
        return limit


class Temperatures:
    """Dies and sinks in two steps each of known input, all devices at once."""

    def __init__(self, farm: Any) -> None:
        self.farm, heat = farm, farm.heat
        self.home = np.asarray(farm.nodes.cluster)
        inlets = heat.zones[heat.nodes[:, h.INLET_ZONE], h.SETPOINT]
        self.air = heat.zones[heat.nodes[:, h.AIR_ZONE], h.SETPOINT]
        self.is_liquid = heat.rules[self.home, h.LIQUID] == 1
        self.supply = inlets
        first = heat.nodes[:, h.FIRST_BRANCH]
        self.sink_r, capacity = heat.paths[first, h.SINK], heat.paths[first, h.CAPACITY]
        self.die_r, self.b = heat.laws[self.home, h.DIE], heat.laws[self.home, h.DIE_RATE]
        self.a = 1.0 / (self.sink_r * capacity)
        self.racks = len(farm.sites.rack_limit_mw)
        self.hottest = np.full(len(heat.rules), -np.inf)
        self.liquid: list[int] = []

    def load(self, devices: Any, beside: list[int], up: list[bool]) -> None:
        """From now on devices draw so much [mW]."""
        farm, laws = self.farm, self.farm.heat.laws
        self.watts = devices * 0.001
        self.liquid, air = [], np.zeros(self.racks)
        for node, (row, rest) in enumerate(zip(devices.sum(axis=1), beside, strict=True)):
            share, other = laws[self.home[node], [h.LIQUID_SHARE, h.LIQUID_OTHER]]
            self.liquid.append(int(row * share + rest * other) if self.is_liquid[node] else 0)
            air[int(farm.nodes.rack[node])] += row + rest - self.liquid[-1]
        rise = farm.heat.racks[:, 0] * (air + farm.heat.racks[:, 1]) * 0.001
        self.rack_inlet = np.full(self.racks, -np.inf)
        np.maximum.at(self.rack_inlet, farm.nodes.rack, self.air + rise[farm.nodes.rack])
        inlet = self.supply + np.where(self.is_liquid, 0.0, rise[farm.nodes.rack])
        self.rest = inlet[:, None] + self.sink_r[:, None] * self.watts
        self.top = self.rest + self.die_r[:, None] * self.watts
        self.real = np.arange(devices.shape[1])[None, :] < np.asarray(farm.nodes.devices)[:, None]

    def settle(self) -> None:
        """As warm as it gets."""
        self.sink, self.die = self.rest.copy(), self.top.copy()
        self.note(self.die)

    def note(self, die: Any) -> None:
        np.maximum.at(self.hottest, self.home, np.where(self.real, die, -np.inf).max(axis=1))

    def hottest_up(self, up: list[bool]) -> float:
        die = np.where(self.real & np.asarray(up)[:, None], self.die, -273.15)
        return float(die.max())

    def at(self, t: Any) -> Any:
        a, b = self.a[:, None], self.b[:, None]
        slow = b / (b - a) * (self.sink - self.rest)
        quick = self.die - self.top - slow
        return self.top + slow * np.exp(-a * t) + quick * np.exp(-b * t)

    def advance(self, span: float) -> None:
        """Some seconds later; what the dies reach in between counts, also where they turn."""
        a, b = self.a[:, None], self.b[:, None]
        slow = b / (b - a) * (self.sink - self.rest)
        quick = self.die - self.top - slow
        with np.errstate(all="ignore"):
            turn = np.log(-quick * b / (slow * a)) / (b - a)
        inside = (turn > 0.0) & (turn < span)
        self.note(np.where(inside, self.at(np.where(inside, turn, 0.0)), -np.inf))
        self.die = self.at(span)
        self.sink = self.rest + (self.sink - self.rest) * np.exp(-a * span)
        self.note(self.die)


class Future:
    def __init__(
        self, farm: Any, slot_node: Any, changes: list[Change], horizon: int, way: Any
    ) -> None:
        self.farm, self.horizon, self.way = farm, horizon, way
        self.changes = [change for change in changes if change[0] >= 0]
        self.initial = [change for change in changes if change[0] < 0]
        n = farm.nodes
        self.count = len(n.cluster)
        self.cluster = [int(x) for x in n.cluster]
        self.up = [True] * self.count
        self.failed_class = [-1] * self.count
        self.slow = [(PPM, -1)] * self.count
        self.corrupt = [-1] * self.count
        self.lost: dict[tuple[int, int], tuple[bool, int, int]] = {}
        self.failed_at = [0] * self.count
        self.slot_node = [int(x) for x in slot_node]
        self.units = [Unit(farm, g) for g in range(len(farm.units.workload))]
        self.events: list[tuple[int, int, int, int, int]] = []
        self.sequence = itertools.count()
        self.log: list[tuple[int, int, int, int]] = []
        self.samples: list[tuple[int, int, int, float]] = []
        self.now = 0
        self.heat = Temperatures(farm)
        self.caps = [PPM] * len(farm.sites.rack_limit_mw)
        self.sums = dict.fromkeys(("up", "serving", "energy", "lost", "recover"), 0.0)
        self.best: dict[str, float] = {
            "down": 0, "power": 0, "rack": 0, "rack_load": 0.0, "loop_load": 0.0, "plant_load": 0.0,
            "inlet": -math.inf, "recover": 0, "interruptions": 0, "recoveries": 0,
        }  # fmt: skip
        self.replicas = sum(u.inference and u.counted for u in self.units)
        self.serving_min = self.replicas
        self.class_down = [0.0] * len(farm.fleet.classes)
        self.class_gang = [0.0] * len(farm.fleet.classes)
        self.causes = [0.0] * 7
        self.class_causes = [[0.0] * 7 for _ in self.class_down]
        workloads = len(farm.workloads.gang) - 1
        self.workload_causes = [[0.0] * 7 for _ in range(workloads)]
        self.stops = [[0, 0] for _ in range(workloads)]
        self.down_spans: list[tuple[int, int, int]] = []

    def push(self, span: int, kind: int, entity: int, stamp: int = 0) -> None:
        if self.now + span < self.horizon:
            heapq.heappush(self.events, (self.now + span, kind, next(self.sequence), entity, stamp))

    # -- state from nothing --------------------------------------------------------------------
    def theirs(self, node: int) -> int:
        """Devices that others use now."""
        gone = sum(others for (n, _), (others, _, _) in self.lost.items() if n == node)
        return int(self.farm.nodes.others[node]) - gone

    def members(self, unit: Unit) -> list[int]:
        return [slot for slot in unit.slots if self.slot_node[slot] >= 0]

    def demand(self) -> tuple[list[int], list[int]]:
        """What each node asks for: whatever limits there are, and its devices above idle."""
        devices, beside = self.asked(capped=False)
        idle = self.farm.clusters.idle_device_mw[np.asarray(self.cluster)]
        count = np.asarray(self.farm.nodes.devices)
        base = [int(i * n) if up else 0 for i, n, up in zip(idle, count, self.up, strict=True)]
        live = [int(d) - b for d, b in zip(devices.sum(axis=1), base, strict=True)]
        return [b + more for b, more in zip(base, beside, strict=True)], live

    def warming(self) -> tuple[Any, list[int]]:
        """Heat of devices, and of what is beside them with the losses of power supplies."""
        devices, beside = self.asked()
        loads = [int(d) + b for d, b in zip(devices.sum(axis=1), beside, strict=True)]
        return devices, [
            b + self.way.node(n, load) - load if self.up[n] else 0
            for n, (b, load) in enumerate(zip(beside, loads, strict=True))
        ]

    def pace(self, node: int) -> int:
        """What its rack allows a node."""
        return self.caps[int(self.farm.nodes.rack[node])]

    def swings(self, case: int) -> list[int]:
        """What pods of each node ask for above their mean in their highest window."""
        found = [0] * self.count
        for unit in self.units:
            if unit.phase == "running":
                for slot in self.members(unit):
                    node = self.slot_node[slot]
                    found[node] += self.way.swing(unit.workload, self.cluster[node], case)
        return found

    def draws(self, case: int) -> list[int]:
        """What each node draws."""
        devices, beside = self.asked()
        more = self.swings(case)
        return [
            self.way.node(n, int(d) + b + w * self.pace(n) // PPM) if self.up[n] else 0
            for n, (d, b, w) in enumerate(zip(devices.sum(axis=1), beside, more, strict=True))
        ]

    def balance(self) -> None:
        fixed, live = self.demand()
        caps = [self.way.cap_ppm(rack, fixed, live, self.up) for rack in range(len(self.caps))]
        changed = {r for r, (a, b) in enumerate(zip(caps, self.caps, strict=True)) if a != b}
        self.caps = caps
        if not self.started:
            return
        for unit in self.units:
            racks = {int(self.farm.nodes.rack[self.slot_node[s]]) for s in self.members(unit)}
            if unit.phase == "running" and racks & changed:
                self.settle(unit)
                self.schedule(unit)

    def schedule(self, unit: Unit) -> None:
        f, rate, unit.slow = self.farm, PPM, -1
        members = self.members(unit)
        for slot in members:
            node = self.slot_node[slot]
            speed, slow_class = self.slow[node]
            own = int(f.loads.speed_ppm[unit.workload, self.cluster[node]])
            own = own * self.pace(node) // PPM * speed // PPM
            if own < rate:
                rate, unit.slow = own, slow_class
        if len(members) < len(unit.slots):
            rate = rate * len(members) // len(unit.slots)
        unit.rate = rate if rate >= 1000 else 0
        unit.stamp += 1
        self.push(unit.finish_after(self.horizon), FINISHED, unit.index, unit.stamp)

    def asked(self, capped: bool = True) -> tuple[Any, list[int]]:
        """Power of each device [N, D], and what is beside the devices of each node."""
        f = self.farm
        devices = np.zeros((self.count, int(f.nodes.devices.max())))
        beside = [0] * self.count
        for node, up in enumerate(self.up):
            if not up:
                continue
            c = self.cluster[node]
            idle, total = int(f.clusters.idle_device_mw[c]), int(f.nodes.devices[node])
            beside[node] = int(f.clusters.overhead_mw[c])
            running = [(self.theirs(node), len(f.loads.rank) - 1, 1, True)]
            for slot, where in enumerate(self.slot_node):
                if where == node:
                    unit = self.units[int(f.units.slot_unit[slot])]
                    running.append((1, unit.workload, unit.need[0], unit.phase == "running"))
            powers = []
            for pods, workload, need, works in running:
                draw = int(f.loads.device_mw[workload, c]) if works else idle
                draw = idle + (draw - idle) * (self.pace(node) if capped else PPM) // PPM
                powers += [draw] * pods * need
                beside[node] += pods * int(f.loads.beside_mw[workload, c]) if works else 0
            sound = [d for d in range(total) if (node, d) not in self.lost]
            row = dict.fromkeys(range(total), idle) | dict(zip(sound, powers, strict=False))
            devices[node, :total] = [row[d] for d in range(total)]
        return devices, beside

    def observe(self) -> None:
        """Extremes of the present state."""
        f, best = self.farm, self.best
        power = self.draws(0)
        racks = [self.way.rack_mw(rack, power) for rack in range(len(self.caps))]
        self.power = sum(racks)
        best["power"] = max(best["power"], self.power)
        best["rack"] = max(best["rack"], *racks)
        plants = [0] * len(f.sites.plant_limit_mw)
        for rack, drawn in enumerate(racks):
            plants[self.way.refs[self.way.rack_cluster[rack]].farm_index] += drawn
        for limits, sums, key in (
            (f.sites.rack_limit_mw, racks, "rack_load"),
            (f.sites.plant_limit_mw, plants, "plant_load"),
        ):
            for total, limit in zip(sums, limits, strict=True):
                if limit > 0:
                    best[key] = max(best[key], total / int(limit))
        self.heat.load(*self.warming(), self.up)
        for loop, limit in enumerate(f.sites.loop_limit_mw):
            if limit > 0:
                into = sum(x for n, x in enumerate(self.heat.liquid) if f.nodes.loop[n] == loop)
                best["loop_load"] = max(best["loop_load"], into / int(limit))
        best["inlet"] = max(best["inlet"], float(self.heat.rack_inlet.max()))

    def last_until(self, until: int) -> None:
        span = float(until - self.now)
        if span <= 0.0:
            return
        self.observe()
        self.way.note(self.now, until, [self.draws(case) for case in range(self.way.cases)])
        down = self.up.count(False)
        self.samples.append((self.now, self.power, down, self.heat.hottest_up(self.up)))
        self.heat.advance(span * 1e-9)
        serving = sum(u.inference and u.counted and u.phase == "running" for u in self.units)
        self.down_spans.append((self.now, until, down))
        self.best["down"] = max(self.best["down"], down)
        self.serving_min = min(self.serving_min, serving)
        self.sums["up"] += float(self.count - down) * span
        self.sums["serving"] += float(serving) * span
        self.sums["energy"] += float(self.power) * 0.001 * (span * 1e-9)
        self.now = until

    # -- placement -----------------------------------------------------------------------------
    def rooms(self, unit: Unit, rank: int) -> list[int]:
        f = self.farm
        free = [[int(x) for x in row] for row in f.nodes.free]
        for other in self.units:
            for slot in other.slots:
                if self.slot_node[slot] >= 0:
                    for q, need in enumerate(other.need):
                        free[self.slot_node[slot]][q] -= need
        for (node, _), (others, _, _) in self.lost.items():
            free[node][0] -= not others
        return [
            max(
                min(
                    left // need for left, need in zip(free[n], unit.need, strict=True) if need > 0
                ),
                0,
            )
            if self.up[n]
            and f.nodes.schedulable[n]
            and f.loads.rank[unit.workload, self.cluster[n]] == rank
            else 0
            for n in range(self.count)
        ]

    def find(self, unit: Unit) -> list[int]:
        """Nodes for all missing members, else, where fewer suffice, for as many as fit."""
        f = self.farm
        required = [int(x) for x in f.nodes.domain[unit.required]]
        preferred = [int(x) for x in f.nodes.domain[unit.preferred]]
        members = [self.slot_node[s] for s in self.members(unit)]
        missing = len(unit.slots) - len(members)
        least = max(unit.least - len(members), 1)
        for partly in (False, True):
            for rank in range(f.loads.rank.shape[1]):
                rooms = self.rooms(unit, rank)
                sizes = {
                    d: sum(r for r, e in zip(rooms, required, strict=True) if e == d)
                    for d in set(required)
                }
                domains = [required[members[-1]]] if members else sorted(sizes)
                need = missing
                if partly:
                    need = min(missing, max(sizes[d] for d in domains))
                    if need < least:
                        continue
                domains = [d for d in domains if sizes[d] >= need]
                if not domains:
                    continue
                roomy = [d for d in domains if sizes[d] >= need + -(-need // 32)]
                domain = max(domains, key=lambda d: (sizes[d], -d))
                if roomy and not members:
                    domain = min(roomy, key=lambda d: (sizes[d], d))
                held = {preferred[m] for m in members}
                return self.fill(rooms, required, preferred, domain, held, need)
        return []

    def fill(
        self, rooms: list[int], required: list[int], preferred: list[int], domain: int,
        held: set[int], need: int,
    ) -> list[int]:  # fmt: skip
        out: list[int] = []
        inside = [n for n in range(self.count) if required[n] == domain]
        while len(out) < need:
            parts: dict[int, int] = {}
            for n in inside:
                if rooms[n]:
                    parts[preferred[n]] = parts.get(preferred[n], 0) + rooms[n]
            holding = [p for p in parts if p in held]
            fitting = [p for p in parts if parts[p] >= need - len(out)]
            if holding:
                part = min(holding, key=lambda p: (-parts[p], p))
            elif fitting:
                part = min(fitting, key=lambda p: (parts[p], p))
            else:
                part = min(parts, key=lambda p: (-parts[p], p))
            nodes = [n for n in inside if preferred[n] == part and rooms[n]]
            for n in sorted(nodes, key=lambda n: (int(self.farm.nodes.spare[n]), rooms[n], n)):
                take = min(rooms[n], need - len(out))
                out += [n] * take
                rooms[n] -= take
        return out

    # -- what is lost ---------------------------------------------------------------------------
    def charge(self, workload: int, cause: int, failed_class: int, lost: float) -> None:
        self.causes[cause] += lost
        if workload >= 0:
            self.workload_causes[workload][cause] += lost
        if failed_class >= 0:
            self.class_causes[failed_class][cause] += lost

    def charge_devices(self, devices: int, failed_class: int, span: int) -> None:
        lost = float(span) * float(devices)
        self.sums["lost"] += lost
        if failed_class >= 0:
            self.class_down[failed_class] += lost
        self.charge(-1, DOWN, failed_class, lost)

    def charge_span(self, unit: Unit, absent: int, cause: int, failed: int, span: int) -> None:
        there = (len(unit.slots) - absent) * unit.need[0]
        self.charge(unit.workload, cause, failed, float(span) * float(there))
        if absent:
            lost = float(span) * float(absent * unit.need[0])
            self.charge(unit.workload, WAITING, unit.blamed, lost)

    def settle(self, unit: Unit) -> None:
        before, span = unit.kept + unit.work, self.now - unit.since
        saved = unit.advance(self.now)
        absent = len(unit.slots) - len(self.members(unit))
        there = (len(unit.slots) - absent) * unit.need[0]
        done = unit.kept + unit.work - before
        slow = float(span - saved) * float(there) - float(done) * float(unit.devices)
        if slow > 0:
            self.charge(unit.workload, SLOW, unit.slow, slow)
        if span and absent:
            lost = float(span - saved) * float(absent * unit.need[0])
            self.charge(unit.workload, WAITING, unit.blamed, lost)
        if saved:
            self.charge_span(unit, absent, SAVING, -1, saved)

    def pay(self, unit: Unit) -> None:
        """Note what the phase cost up to now."""
        if unit.phase == "running":
            self.settle(unit)
            return
        span, unit.since = self.now - unit.since, self.now
        absent = len(unit.slots) - len(self.members(unit)) if unit.phase == "restarting" else 0
        cause = {"detecting": DETECTION, "waiting": WAITING, "restarting": RESTART,
                 "saving": SAVING, "done": -1}[unit.phase]  # fmt: skip
        if unit.phase == "waiting":
            unit.wait_ns += span
        if span and cause >= 0:
            self.charge_span(unit, absent, cause, unit.blamed, span)

    def blame(self, unit: Unit, failed_class: int, span: int) -> None:
        if unit.gang and failed_class >= 0:
            self.class_gang[failed_class] += float(span) * float(unit.devices)

    def rework(self, unit: Unit, failed_class: int, work: int) -> None:
        if unit.gang:
            self.blame(unit, failed_class, work)
            lost = float(work) * float(unit.devices)
            self.sums["lost"] += lost
            self.charge(unit.workload, REWORK, failed_class, lost)

    def discard(self, unit: Unit, failed_class: int) -> None:
        self.rework(unit, failed_class, unit.work)
        unit.work = unit.saving = 0

    def disclose(self, unit: Unit) -> None:
        if unit.clean is not None:
            kept, failed_class = unit.clean
            self.rework(unit, failed_class, unit.kept + unit.work - kept)
            unit.kept, unit.work, unit.saving, unit.clean = kept, 0, 0, None

    # -- events --------------------------------------------------------------------------------
    def enter(self, unit: Unit, phase: str, span: int, kind: int) -> None:
        unit.phase = phase
        unit.stamp += 1
        self.push(span, kind, unit.index, unit.stamp)

    def interrupt(self, unit: Unit, failed_class: int, detection: int) -> None:
        self.pay(unit)
        if unit.phase == "running" or unit.planned:
            if unit.planned:
                unit.down_ns += self.now - unit.stopped
                self.blame(unit, unit.blamed, self.now - unit.stopped)
            unit.planned, unit.stopped, unit.blamed = False, self.now, failed_class
            self.best["interruptions"] += unit.training
            self.stops[unit.workload][0] += 1
            self.discard(unit, failed_class)
            self.log.append((self.now, STOPPED, unit.index, failed_class))
        due = self.now + detection
        unit.due = max(due, unit.due) if unit.phase == "detecting" else due
        self.enter(unit, "detecting", unit.due - self.now, DETECTED)

    def save_and_move(self, unit: Unit) -> None:
        unit.planned, unit.stopped = True, self.now
        self.stops[unit.workload][1] += 1
        missing = len(unit.slots) - len(self.members(unit))
        self.log.append((self.now, SAVES, unit.index, missing))
        self.enter(unit, "saving", unit.save - unit.saving, SAVED)

    def drain(self, unit: Unit) -> None:
        self.pay(unit)
        if unit.phase == "running":
            unit.blamed = -1
            self.save_and_move(unit)
        elif unit.phase == "restarting":
            unit.due = self.now
            self.enter(unit, "detecting", 0, DETECTED)

    def saved(self, unit: Unit) -> None:
        self.pay(unit)
        if unit.interval < FAR:
            unit.kept, unit.work, unit.saving = unit.kept + unit.work, 0, 0
        else:
            self.discard(unit, unit.blamed)
        self.replace(unit)

    def replace(self, unit: Unit) -> None:
        empty = [s for s in unit.slots if self.slot_node[s] < 0]
        found = self.find(unit) if empty else []
        if len(unit.slots) - len(empty) + len(found) < unit.least:
            if unit.phase != "waiting":
                self.pay(unit)
                unit.phase = "waiting"
                self.log.append((self.now, WAITS, unit.index, len(empty)))
            return
        self.pay(unit)
        for slot, node in zip(empty, found, strict=False):
            self.slot_node[slot] = node
            self.log.append((self.now, MOVED, slot, node))
        self.enter(unit, "restarting", unit.restart, RESTARTED)

    def spoil(self, unit: Unit) -> None:
        spoilers = [self.corrupt[self.slot_node[s]] for s in self.members(unit)]
        found = [failed_class for failed_class in spoilers if failed_class >= 0]
        if unit.clean is None and found:
            unit.clean = (unit.kept, found[0])

    def start(self, unit: Unit) -> None:
        self.pay(unit)
        self.recovered(unit, self.now)
        unit.phase, unit.planned = "running", False
        self.spoil(unit)
        missing = len(unit.slots) - len(self.members(unit))
        self.log.append((self.now, STARTED, unit.index, missing))
        if missing and self.find(unit):
            self.save_and_move(unit)
        else:
            self.schedule(unit)

    def finish(self, unit: Unit) -> None:
        self.settle(unit)
        unit.phase, unit.kept, unit.work, unit.end = "done", unit.duration, 0, self.now
        self.disclose(unit)
        for slot in unit.slots:
            self.slot_node[slot] = -1
        self.log.append((self.now, FINISHED, unit.index, 0))
        self.retry()

    def grow(self, unit: Unit) -> None:
        if self.find(unit):
            self.settle(unit)
            self.save_and_move(unit)

    def retry(self) -> None:
        for unit in self.units:
            if unit.phase == "waiting":
                self.replace(unit)
            elif unit.phase == "running" and len(self.members(unit)) < len(unit.slots):
                self.grow(unit)

    def recovered(self, unit: Unit, until: int) -> None:
        span = until - unit.stopped
        unit.down_ns += span
        self.blame(unit, unit.blamed, span)
        if unit.training and not unit.planned:
            self.best["recover"] = max(self.best["recover"], span)
            self.best["recoveries"] += 1
            self.sums["recover"] += float(span)

    # -- changes of the fleet -------------------------------------------------------------------
    def residents(self, node: int) -> list[Unit]:
        return [u for u in self.units if any(self.slot_node[s] == node for s in u.slots)]

    def pay_lost_devices(self, node: int, down: bool) -> None:
        for key, (others, failed_class, since) in sorted(self.lost.items()):
            if key[0] == node:
                if not down:
                    self.charge_devices(1, failed_class, self.now - since)
                self.lost[key] = (others, failed_class, self.now)

    def pay_down(self, node: int) -> None:
        span = self.now - self.failed_at[node]
        self.charge_devices(int(self.farm.nodes.devices[node]), self.failed_class[node], span)

    def stop_all(self, node: int, failed_class: int, detection: int, found: bool) -> None:
        """Interrupt all on a node; where `found`, they fall back to what was not spoilt."""
        for unit in self.residents(node):
            self.interrupt(unit, failed_class, detection)
            if found:
                self.disclose(unit)
        if found:
            self.corrupt[node] = -1

    def go_down(self, node: int, failed_class: int, detail: int, detection: int) -> None:
        spoilt = self.corrupt[node] >= 0
        self.log.append((self.now, DRAINED if detail == DRAIN else FAILED, node, failed_class))
        if detail == DRAIN and not spoilt:
            for unit in self.residents(node):
                self.drain(unit)
        else:
            self.stop_all(node, failed_class, detection, spoilt)
        self.slot_node = [-1 if n == node else n for n in self.slot_node]
        self.pay_lost_devices(node, False)
        self.failed_class[node], self.failed_at[node] = failed_class, self.now
        self.up[node] = False

    def come_up(self, node: int) -> None:
        self.pay_down(node)
        self.pay_lost_devices(node, True)
        self.log.append((self.now, REPAIRED, node, self.failed_class[node]))
        self.up[node], self.failed_class[node] = True, -1

    def owner(self, node: int, device: int) -> int:
        """Slot that holds a device, -2 for others, -1 for none."""
        owners: list[int] = [-2] * self.theirs(node)
        for slot, where in enumerate(self.slot_node):
            if where == node:
                unit = next(u for u in self.units if slot in u.slots)
                owners += [slot] * unit.need[0]
        sound = [d for d in range(device + 1) if (node, d) not in self.lost]
        return owners[len(sound) - 1] if len(sound) <= len(owners) else -1

    def lose_device(self, node: int, failed_class: int, device: int, detection: int) -> None:
        self.log.append((self.now, DEVICE_LOST, node, device))
        owner = self.owner(node, device)
        if self.corrupt[node] >= 0:
            self.stop_all(node, failed_class, detection, True)
        elif owner >= 0:
            unit = next(u for u in self.units if owner in u.slots)
            self.interrupt(unit, failed_class, detection)
        if owner >= 0:
            self.slot_node[owner] = -1
        self.lost[node, device] = (owner == -2, failed_class, self.now)

    def get_device(self, node: int, device: int) -> None:
        self.log.append((self.now, DEVICE_BACK, node, device))
        _, failed_class, since = self.lost.pop((node, device))
        if self.up[node]:
            self.charge_devices(1, failed_class, self.now - since)

    def change_speed(self, node: int, failed_class: int, speed: int) -> None:
        self.slow[node] = (speed, failed_class if speed < PPM else -1)
        self.log.append((self.now, SLOWED, node, speed))
        for unit in self.residents(node):
            if unit.phase == "running":
                self.settle(unit)
                self.schedule(unit)

    def change_corruption(self, node: int, failed_class: int) -> None:
        if failed_class < 0:
            if self.corrupt[node] >= 0:
                self.stop_all(node, self.corrupt[node], 0, True)
            return
        self.corrupt[node] = failed_class
        self.log.append((self.now, SPOILT, node, failed_class))
        for unit in self.residents(node):
            if unit.phase == "running":
                self.settle(unit)
                if unit.clean is None:
                    unit.clean = (unit.kept, failed_class)

    def change(self, change: Change) -> None:
        _, _, what, node, failed_class, detail, detection = change
        if what == WENT_DOWN:
            self.go_down(node, failed_class, detail, detection)
        elif what == CAME_UP:
            self.come_up(node)
        elif what == LOST_DEVICE:
            self.lose_device(node, failed_class, detail, detection)
        elif what == GOT_DEVICE:
            self.get_device(node, detail)
        elif what == SPEED:
            self.change_speed(node, failed_class, detail)
        elif what == CORRUPTED:
            self.change_corruption(node, failed_class)
        else:
            self.log.append((self.now, RAIL_LOST, node, failed_class))
            self.stop_all(node, failed_class, detection, False)

    def begin(self) -> None:
        for _, _, what, node, failed_class, detail, _ in self.initial:
            if what == WENT_DOWN:
                self.up[node], self.failed_class[node] = False, failed_class
                self.log.append((0, FAILED, node, failed_class))
            elif what == SPEED:
                self.slow[node] = (detail, failed_class)
                self.log.append((0, SLOWED, node, detail))
            elif what == LOST_DEVICE:
                self.log.append((0, DEVICE_LOST, node, detail))
                self.lost[node, detail] = (self.owner(node, detail) == -2, failed_class, 0)
            else:
                self.corrupt[node] = failed_class
                self.log.append((0, SPOILT, node, failed_class))
        self.log += [(0, STARTED, unit.index, 0) for unit in self.units]

    def fleet_event(self) -> None:
        """All that one event of the fleet changes, then those who wait try."""
        event, rows = self.changes[0][1], []
        while self.changes and self.changes[0][1] == event:
            rows.append(self.changes.pop(0))
            self.change(rows[-1])
        if any(row[2] in (CAME_UP, LOST_DEVICE, GOT_DEVICE) for row in rows):
            self.retry()

    def run(self) -> None:
        self.started = False
        self.begin()
        self.balance()
        self.heat.load(*self.warming(), self.up)
        self.heat.settle()
        self.started = True
        for unit in self.units:
            self.spoil(unit)
            self.schedule(unit)
        while True:
            while self.events and self.units[self.events[0][3]].stamp != self.events[0][4]:
                heapq.heappop(self.events)
            due = self.events[0][0] if self.events else FAR
            change_due = self.changes[0][0] if self.changes else FAR
            if min(due, change_due) >= self.horizon:
                break
            self.last_until(min(due, change_due))
            if change_due <= due:
                self.fleet_event()
            else:
                _, kind, _, entity, _ = heapq.heappop(self.events)
                handlers = {DETECTED: self.replace, RESTARTED: self.start, FINISHED: self.finish,
                            SAVED: self.saved}  # fmt: skip
                handlers[kind](self.units[entity])
            self.balance()
        self.last_until(self.horizon)
        self.close()

    def close(self) -> None:
        for unit in self.units:
            self.pay(unit)
            if unit.phase not in ("running", "done"):
                self.recovered(unit, self.horizon)
            if unit.phase != "done":
                self.disclose(unit)
        for node in range(self.count):
            if self.up[node]:
                self.pay_lost_devices(node, False)
            else:
                self.pay_down(node)

    def down_at(self, points: int) -> list[int]:
        """Nodes down at equal steps from the start."""
        times = [index * (self.horizon // points) for index in range(points)]
        return [next(d for a, b, d in self.down_spans if a <= t < b) for t in times]

    def down_for(self) -> list[int]:
        """Time with so many nodes down [ns]."""
        spans = [0] * (self.count + 1)
        for begin, end, down in self.down_spans:
            spans[down] += end - begin
        return spans

    def metrics(self) -> list[float]:
        """In the order of METRIC_ORDER."""
        f, best, sums, nan = self.farm, self.best, self.sums, math.nan
        training = [u for u in self.units if u.training]
        spans = [u.end if u.phase == "done" else self.horizon for u in training]
        shares = [float(u.kept + u.work) / float(s) for u, s in zip(training, spans, strict=True)]
        total, span = float(self.count), float(self.horizon)
        replicas = float(self.replicas)
        return [
            min(shares) if shares else nan,
            float(best["interruptions"]) if shares else nan,
            float(best["recover"]) * 1e-9 if shares else nan,
            float(self.serving_min) / replicas if replicas else nan,
            sums["serving"] / (replicas * span) if replicas else nan,
            sums["up"] / (total * span),
            float(best["down"]),
            sums["lost"] / 3.6e12,
            float(best["power"]) * 0.001,
            sums["energy"],
            float(best["rack"]) * 0.001,
            best["rack_load"] if max(f.sites.rack_limit_mw) > 0 else nan,
            best["loop_load"] if max(f.sites.loop_limit_mw) > 0 else nan,
            best["plant_load"] if max(f.sites.plant_limit_mw) > 0 else nan,
            best["inlet"],
            float(self.heat.hottest.max()),
            float((f.clusters.throttle_c - self.heat.hottest).min()),
            0.0,
        ]

    def gang_metrics(self) -> list[float]:
        """Goodput, mean time to interruption, mean time to recover."""
        training = [u for u in self.units if u.training]
        if not training:
            return [math.nan] * 3
        kept = spans = alone = 0.0
        for unit in training:
            span = float(unit.end if unit.phase == "done" else self.horizon)
            kept += float(unit.kept + unit.work) * float(unit.devices)
            spans += span * float(unit.devices)
            alone += span
        stops, recoveries = max(self.best["interruptions"], 1), max(self.best["recoveries"], 1)
        mean = self.sums["recover"] / float(recoveries) * 1e-9
        return [kept / spans, alone / float(stops) * 1e-9, mean]
