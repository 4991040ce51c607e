"""One future in plain Python: slow, short, and written apart from the kernels.

No compiled code, no incremental sums, no heap of our own: after every event power, heat and counts
are worked out from nothing. Only the columns of a model and the order of float sums are shared, so
that results must agree to the last bit.
"""

from __future__ import annotations

import heapq
import itertools
import math
from typing import Any

M32 = 0xFFFFFFFF
FAR = 1 << 61
PPM = 10**6
REPAIRED, FAILED, DETECTED, RESTARTED, FINISHED, STOPPED, STARTED, MOVED, WAITS = range(9)


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


def exponential(u: float, mean: float) -> int:
    span = -ln(u) * mean
    return int(span) if span < FAR else FAR


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
        self.phase, self.stamp = "running", 0
        self.since = self.kept = self.work = self.saving = self.stopped = 0
        self.rate, self.blamed, self.end = PPM, -1, 0
        self.down_ns = self.wait_ns = self.wait_since = 0

    def advance(self, now: int) -> None:
        """Cycle by cycle."""
        left, self.since = now - self.since, now
        while True:
            if self.work < self.interval:
                if self.rate == 0:
                    return
                to_save = -(-(self.interval - self.work) * PPM // self.rate)
                if left < to_save:
                    self.work += left * self.rate // PPM
                    return
                left, self.work = left - to_save, self.interval
            if left < self.save - self.saving:
                self.saving += left
                return
            left -= self.save - self.saving
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


class Future:
    def __init__(self, farm: Any, slot_node: Any, seed: int, future: int, horizon: int) -> None:
        self.farm, self.seed, self.future, self.horizon = farm, seed, future, horizon
        n = farm.nodes
        self.count = len(n.cluster)
        self.cluster = [int(x) for x in n.cluster]
        self.up = [False] * self.count
        self.failures, self.failed_class = [0] * self.count, [-1] * self.count
        self.failed_at = [0] * self.count
        self.slot_node = [int(x) for x in slot_node]
        self.units = [Unit(farm, g) for g in range(len(farm.units.workload))]
        self.events: list[tuple[int, int, int, int, int]] = []
        self.sequence = itertools.count()
        self.log: list[tuple[int, int, int, int]] = []
        self.samples: list[tuple[int, int, int, float]] = []
        self.now = 0
        self.speeds = [PPM] * len(farm.sites.loop_limit_mw)
        self.sums = dict.fromkeys(("up", "serving", "energy", "lost"), 0.0)
        self.best: dict[str, float] = {
            "down": 0, "power": 0, "rack": 0, "rack_load": 0.0, "loop_load": 0.0, "plant_load": 0.0,
            "hot": -273.15, "headroom": math.inf, "throttled": 0, "recover": 0, "interruptions": 0,
        }  # fmt: skip
        self.replicas = sum(u.inference and u.counted for u in self.units)
        self.serving_min = self.replicas
        self.class_down = [0.0] * len(farm.classes.repair_ns)
        self.class_gang = [0.0] * len(farm.classes.repair_ns)

    # -- draws ---------------------------------------------------------------------------------
    def draw(self, node: int, purpose: int, ordinal: int) -> float:
        return uniform(self.seed, self.future, node, purpose, ordinal)

    def pick(self, shares: Any, node: int, u: float) -> int:
        c = self.cluster[node]
        first, count = int(self.farm.clusters.first_class[c]), int(self.farm.clusters.classes[c])
        above = [k for k in range(first, first + count) if u < shares[k]]
        return above[0] if above else first + count - 1

    def push(self, span: int, kind: int, entity: int, stamp: int = 0) -> None:
        if self.now + span < self.horizon:
            heapq.heappush(self.events, (self.now + span, kind, next(self.sequence), entity, stamp))

    def push_failure(self, node: int) -> None:
        mean = float(self.farm.clusters.mean_to_failure_ns[self.cluster[node]])
        self.push(exponential(self.draw(node, 4, self.failures[node]), mean), FAILED, node)

    # -- state from nothing --------------------------------------------------------------------
    def demand(self) -> tuple[list[int], list[int]]:
        """Idle and pod power of each node, as asked for."""
        f = self.farm
        idle = [
            int(f.clusters.base_mw[c]) if up else 0
            for c, up in zip(self.cluster, self.up, strict=True)
        ]
        pods = [
            int(f.nodes.others[n]) * int(f.loads.pod_mw[-1, c]) if self.up[n] else 0
            for n, c in enumerate(self.cluster)
        ]
        for unit in self.units:
            if unit.phase == "running":
                for slot in unit.slots:
                    node = self.slot_node[slot]
                    pods[node] += int(f.loads.pod_mw[unit.workload, self.cluster[node]])
        return idle, pods

    def balance(self) -> None:
        idle, pods = self.demand()
        speeds = []
        for loop, limit in enumerate(int(x) for x in self.farm.sites.loop_limit_mw):
            mine = [n for n in range(self.count) if self.farm.nodes.loop[n] == loop]
            base, asked = sum(idle[n] for n in mine), sum(pods[n] for n in mine)
            if limit == 0 or base + asked <= limit:
                speeds.append(PPM)
            else:
                speeds.append(max(limit - base, 0) * PPM // asked if asked > 0 else 0)
        changed, self.speeds = speeds != self.speeds, speeds
        if changed and self.started:
            for unit in self.units:
                if unit.phase == "running":
                    unit.advance(self.now)
                    self.schedule(unit)

    def schedule(self, unit: Unit) -> None:
        f, rate = self.farm, PPM
        for slot in unit.slots:
            node = self.slot_node[slot]
            alone = int(f.loads.speed_ppm[unit.workload, self.cluster[node]])
            rate = min(rate, alone * self.speeds[int(f.nodes.loop[node])] // PPM)
        unit.rate = rate if rate >= 1000 else 0
        unit.stamp += 1
        self.push(unit.finish_after(self.horizon), FINISHED, unit.index, unit.stamp)

    def observe(self) -> None:
        """Extremes of the present state."""
        f, best = self.farm, self.best
        idle, pods = self.demand()
        power = [i + p * self.speeds[int(f.nodes.loop[n])] // PPM if self.up[n] else 0
                 for n, (i, p) in enumerate(zip(idle, pods, strict=True))]  # fmt: skip
        self.power = sum(power)
        best["power"] = max(best["power"], self.power)
        for limits, column, key in (
            (f.sites.rack_limit_mw, f.nodes.rack, "rack_load"),
            (f.sites.plant_limit_mw, f.nodes.plant, "plant_load"),
        ):
            sums = [0] * len(limits)
            for node in range(self.count):
                sums[int(column[node])] += power[node]
            if key == "rack_load":
                best["rack"] = max(best["rack"], *sums)
            for total, limit in zip(sums, limits, strict=True):
                if limit > 0:
                    best[key] = max(best[key], total / int(limit))
        for loop, limit in enumerate(f.sites.loop_limit_mw):
            if limit > 0:
                asked = sum(idle[n] + pods[n] for n in range(self.count) if f.nodes.loop[n] == loop)
                best["loop_load"] = max(best["loop_load"], asked / int(limit))
        self.observe_devices()

    def observe_devices(self) -> None:
        f, throttled, self.hot = self.farm, 0, -273.15
        running = [(int(f.nodes.others[n]), len(f.loads.rank) - 1, n, 1) for n in range(self.count)
                   if self.up[n] and f.nodes.others[n] > 0]  # fmt: skip
        running += [(1, u.workload, self.slot_node[s], u.need[0]) for u in self.units
                    if u.phase == "running" for s in u.slots]  # fmt: skip
        for node, up in enumerate(self.up):
            if up:
                self.temperature(node, int(f.clusters.idle_device_mw[self.cluster[node]]))
        for pods, workload, node, devices in running:
            c, speed = self.cluster[node], self.speeds[int(f.nodes.loop[node])]
            idle = int(f.clusters.idle_device_mw[c])
            asked = int(f.loads.device_mw[workload, c]) - idle
            self.temperature(node, idle + asked * speed // PPM)
            if speed < PPM or f.loads.speed_ppm[workload, c] < PPM:
                throttled += pods * devices
        self.best["throttled"] = max(self.best["throttled"], throttled)

    def temperature(self, node: int, device_mw: int) -> None:
        k, c = self.farm.clusters, self.cluster[node]
        t = float(k.inlet_c[c]) + float(k.resistance_k_per_w[c]) * (device_mw * 0.001)
        self.hot = max(self.hot, t)
        self.best["hot"] = max(self.best["hot"], t)
        self.best["headroom"] = min(self.best["headroom"], float(k.throttle_c[c]) - t)

    def last_until(self, until: int) -> None:
        span = float(until - self.now)
        if span <= 0.0:
            return
        self.observe()
        down = self.up.count(False)
        self.samples.append((self.now, self.power, down, self.hot))
        serving = sum(u.inference and u.counted and u.phase == "running" for u in self.units)
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

    def find(self, unit: Unit) -> list[int] | None:
        f = self.farm
        required = [int(x) for x in f.nodes.domain[unit.required]]
        preferred = [int(x) for x in f.nodes.domain[unit.preferred]]
        members = [self.slot_node[s] for s in unit.slots if self.slot_node[s] >= 0]
        need = len(unit.slots) - len(members)
        for rank in range(f.loads.rank.shape[1]):
            rooms = self.rooms(unit, rank)
            sizes = {
                d: sum(r for r, e in zip(rooms, required, strict=True) if e == d)
                for d in set(required)
            }
            domains = [required[members[-1]]] if members else sorted(sizes)
            domains = [d for d in domains if sizes[d] >= need]
            if not domains:
                continue
            roomy = [d for d in domains if sizes[d] >= need + -(-need // 32)]
            domain = max(domains, key=lambda d: (sizes[d], -d))
            if roomy and not members:
                domain = min(roomy, key=lambda d: (sizes[d], d))
            return self.fill(
                rooms, required, preferred, domain, {preferred[m] for m in members}, need
            )
        return None

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

    # -- events --------------------------------------------------------------------------------
    def blame(self, unit: Unit, span: int) -> None:
        if unit.gang and unit.blamed >= 0:
            self.class_gang[unit.blamed] += float(span) * float(unit.devices)

    def interrupt(self, unit: Unit, node: int) -> None:
        if unit.phase == "running":
            unit.advance(self.now)
            unit.stopped, unit.blamed = self.now, self.failed_class[node]
            self.best["interruptions"] += unit.training
            self.blame(unit, unit.work)
            if unit.gang:
                self.sums["lost"] += float(unit.work) * float(unit.devices)
            unit.work = unit.saving = 0
            self.log.append((self.now, STOPPED, unit.index, unit.blamed))
        elif unit.phase == "waiting":
            unit.wait_ns += self.now - unit.wait_since
        unit.phase = "detecting"
        unit.stamp += 1
        detection = int(self.farm.clusters.detection_ns[self.cluster[node]])
        self.push(detection, DETECTED, unit.index, unit.stamp)

    def replace(self, unit: Unit) -> None:
        found = self.find(unit)
        if found is None:
            if unit.phase != "waiting":
                unit.phase, unit.wait_since = "waiting", self.now
                missing = sum(self.slot_node[s] < 0 for s in unit.slots)
                self.log.append((self.now, WAITS, unit.index, missing))
            return
        if unit.phase == "waiting":
            unit.wait_ns += self.now - unit.wait_since
        empty = [s for s in unit.slots if self.slot_node[s] < 0]
        for slot, node in zip(empty, found, strict=True):
            self.slot_node[slot] = node
            self.log.append((self.now, MOVED, slot, node))
        unit.phase = "restarting"
        unit.stamp += 1
        self.push(unit.restart, RESTARTED, unit.index, unit.stamp)

    def retry(self) -> None:
        for unit in self.units:
            if unit.phase == "waiting":
                self.replace(unit)

    def recovered(self, unit: Unit, until: int) -> None:
        span = until - unit.stopped
        unit.down_ns += span
        self.blame(unit, span)
        if unit.training:
            self.best["recover"] = max(self.best["recover"], span)

    def node_lost(self, node: int, until: int) -> None:
        lost = float(until - self.failed_at[node]) * float(self.farm.nodes.devices[node])
        self.sums["lost"] += lost
        if self.failed_class[node] >= 0:
            self.class_down[self.failed_class[node]] += lost

    def fail(self, node: int) -> None:
        k = self.failures[node]
        failed = self.pick(self.farm.classes.failure_share, node, self.draw(node, 5, k))
        self.failures[node], self.failed_class[node], self.failed_at[node] = k + 1, failed, self.now
        self.log.append((self.now, FAILED, node, failed))
        slots = [s for s, n in enumerate(self.slot_node) if n == node]
        for unit in self.units:
            if any(s in slots for s in unit.slots):
                self.interrupt(unit, node)
        for slot in slots:
            self.slot_node[slot] = -1
        self.up[node] = False
        mean = float(self.farm.classes.repair_ns[failed])
        self.push(exponential(self.draw(node, 6, k), mean), REPAIRED, node)

    def repair(self, node: int) -> None:
        self.node_lost(node, self.now)
        self.log.append((self.now, REPAIRED, node, self.failed_class[node]))
        self.up[node] = True
        self.push_failure(node)
        self.retry()

    def begin(self) -> None:
        f = self.farm
        for node in range(self.count):
            start = int(f.nodes.start[node])
            chance = self.draw(node, 1, 0) < float(f.clusters.down_share[self.cluster[node]])
            healthy = node in self.slot_node or start == 1 or (start == 0 and not chance)
            if start == 3 or not healthy:
                failed = -1
                if f.clusters.classes[self.cluster[node]] > 0:
                    failed = self.pick(f.classes.down_share, node, self.draw(node, 2, 0))
                self.failed_class[node] = failed
                self.log.append((0, FAILED, node, failed))
                if start != 3 and failed >= 0:
                    mean = float(f.classes.repair_ns[failed])
                    self.push(exponential(self.draw(node, 3, 0), mean), REPAIRED, node)
            else:
                self.up[node] = True
                self.push_failure(node)
        self.log += [(0, STARTED, unit.index, 0) for unit in self.units]

    def run(self) -> None:
        self.started = False
        self.begin()
        self.balance()
        self.started = True
        for unit in self.units:
            self.schedule(unit)
        while self.events:
            at, kind, _, entity, stamp = heapq.heappop(self.events)
            unit = self.units[entity] if kind in (DETECTED, RESTARTED, FINISHED) else None
            if unit is not None and unit.stamp != stamp:
                continue
            self.last_until(at)
            if kind == FAILED:
                self.fail(entity)
            elif kind == REPAIRED:
                self.repair(entity)
            elif unit is not None and kind == DETECTED:
                self.replace(unit)
            elif unit is not None and kind == RESTARTED:
                self.recovered(unit, self.now)
                unit.phase, unit.since = "running", self.now
                self.log.append((self.now, STARTED, entity, 0))
                self.schedule(unit)
            elif unit is not None:
                unit.phase, unit.kept, unit.work, unit.end = "done", unit.duration, 0, self.now
                for slot in unit.slots:
                    self.slot_node[slot] = -1
                self.log.append((self.now, FINISHED, entity, 0))
                self.retry()
            self.balance()
        self.last_until(self.horizon)
        self.close()

    def close(self) -> None:
        for unit in self.units:
            if unit.phase == "running":
                unit.advance(self.horizon)
            elif unit.phase != "done":
                self.recovered(unit, self.horizon)
                if unit.phase == "waiting":
                    unit.wait_ns += self.horizon - unit.wait_since
        for node in range(self.count):
            if not self.up[node]:
                self.node_lost(node, self.horizon)

    def metrics(self) -> list[float]:
        """In the order of METRIC_ORDER."""
        f, best, sums, nan = self.farm, self.best, self.sums, math.nan
        shares = [float(u.kept + u.work) / float(u.end if u.phase == "done" else self.horizon)
                  for u in self.units if u.training]  # fmt: skip
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
            float(max(f.clusters.rack_inlet_c)),
            best["hot"],
            best["headroom"],
            float(best["throttled"]) / float(sum(int(d) for d in f.nodes.devices)),
        ]
