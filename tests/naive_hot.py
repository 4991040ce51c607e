"""The farm driver with heat once more, slow and plain: devices one by one, crossings by bisection.

Air of a constant supply and no recirculation, so that each device is for itself; what is held
against it is how jobs and heat act on each other. Temperatures in closed form, from the two
equations of a device::

    tau_s dTs/dt = T_in + R_s P - Ts        tau_d dTd/dt = Ts + R_d P - Td
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from naive_replay import FAR, Farm
from scipy.optimize import brentq

S = 1_000_000_000
LOOKS = 400


@dataclass
class Device:
    """A device; `level` None: it does not throttle."""

    law: dict[str, float]
    die_factor: float
    sink: float = 0.0
    die: float = 0.0
    since: int = 0
    job: int | None = None
    asked: float = 0.0
    level: int | None = None
    joules: float = 0.0

    def __post_init__(self) -> None:
        self.asked = self.law["idle"]
        self.sink = self.law["inlet"] + self.law["r_sink"] * self.asked
        self.die = self.sink + self.r_die * self.asked

    @property
    def r_die(self) -> float:
        return self.law["r_die"] * self.die_factor

    def drawn(self, level: int | None) -> float:
        idle = self.law["idle"]
        if level is None or self.asked <= idle:
            return self.asked
        return (round(idle * 1e3) + round((self.asked - idle) * 1e3) * level // 32) / 1e3

    def steady(self, level: int | None) -> float:
        return self.law["inlet"] + (self.law["r_sink"] + self.r_die) * self.drawn(level)

    def at(self, seconds: float) -> tuple[float, float]:
        """Sink and die so much after `since`."""
        watts, law = self.drawn(self.level), self.law
        rest = law["inlet"] + law["r_sink"] * watts
        top, away = rest + self.r_die * watts, self.sink - rest
        slow, fast = math.exp(-seconds / law["tau_s"]), math.exp(-seconds / law["tau_d"])
        part = away / (1 - law["tau_d"] / law["tau_s"])
        return rest + away * slow, top + part * slow + (self.die - top - part) * fast

    def move(self, now: int) -> None:
        span = (now - self.since) / S
        self.joules += self.drawn(self.level) * span
        self.sink, self.die = self.at(span)
        self.since = now

    def speed(self) -> int:
        return 1_000_000 if self.level is None else self.level * 1_000_000 // 32

    def best(self, most: float) -> int:
        levels = [n for n in range(33) if self.steady(n) <= most]
        return max(levels, default=0)

    def crossing(self, limit: float, rising: bool) -> int:
        """When the die crosses a limit, in ns."""
        side = 1.0 if rising else -1.0
        times = [20 * self.law["tau_s"] * (i / LOOKS) ** 2 for i in range(LOOKS + 1)]
        for low, high in pairwise(times):
            if side * (self.at(high)[1] - limit) >= 0:
                if side * (self.at(low)[1] - limit) >= 0:
                    return self.since + max(math.ceil(low * S), 1)
                found = brentq(lambda t: self.at(t)[1] - limit, low, high, xtol=1e-13)
                return self.since + max(math.ceil(found * S), 1)
        return FAR


class HotFarm(Farm):
    """One run; `laws` is the law of each node's devices, `factors` on the die's resistance."""

    def __init__(
        self,
        jobs: list[dict[str, int]],
        *,
        laws: list[dict[str, float]],
        factors: list[float],
        loads: list[int],
        **farm: Any,
    ) -> None:
        super().__init__(jobs, **farm)
        self.loads = loads
        self.cells = [[Device(law, factors[i]) for i in range(self.devices)] for law in laws]
        self.changed = [-S] * self.nodes
        self.govern_due = [FAR] * self.nodes
        self.job_j = [0.0] * len(jobs)
        self.throttled_s, self.hottest = 0.0, -1e9
        self.headrooms = [self.headroom(node) for node in range(self.nodes)]

    # Thermal-aware placement: constant supply, no recirculation, so that headroom is of the node.

    def headroom(self, node: int) -> int:
        law = self.cells[node][0].law
        worst = max(cell.r_die for cell in self.cells[node]) + law["r_sink"]
        inlet = round(law["inlet"] * 1e3)
        return round((law["throttle"] - worst * law["full"]) * 1e3 - inlet)

    def pick(self, rooms: list[int], least: int, purpose: int, policy: str) -> int | None:
        if policy != "thermal-aware" or len(rooms) != self.nodes:
            return super().pick(rooms, least, purpose, policy)
        top = max(self.headrooms)
        able = [i for i, room in enumerate(rooms) if room >= least]
        steps = [min((top - own) // 500, 63) for own in self.headrooms]
        return min(able, key=lambda i: (steps[i], rooms[i], i)) if able else None

    # Devices.

    def seats(self, job: int) -> list[Device]:
        nodes = {node for node, _ in self.running[job]["pieces"]} if job in self.running else set()
        return [cell for node in nodes for cell in self.cells[node] if cell.job == job]

    def speed(self, job: int) -> Any:
        found = super().speed(job)
        slowest = min((cell.speed() for cell in self.seats(job)), default=1_000_000)
        return min(found, type(found)(slowest, 1_000_000))

    def try_start(self, job: int, now: int, free: list[int] | None = None) -> bool:
        if not super().try_start(job, now, free):
            return False
        for node, gpus in self.running[job]["pieces"]:
            empty = [cell for cell in self.cells[node] if cell.job is None]
            for cell in empty[:gpus]:
                self.sit(cell, now, job)
        return True

    def sit(self, cell: Device, now: int, job: int | None) -> None:
        if cell.job is not None:
            self.job_j[cell.job] += cell.joules
        cell.joules, cell.job = 0.0, job
        law = cell.law
        load = 0 if job is None else self.loads[job]
        extra = round((law["full"] - law["idle"]) * 1e3) * load // 1_000_000
        cell.asked = (round(law["idle"] * 1e3) + extra) / 1e3

    def leave(self, job: int) -> dict[str, Any]:
        for cell in self.seats(job):
            self.sit(cell, self.running[job]["since"], None)
        return super().leave(job)

    # Governor.

    def outside(self, node: int) -> bool:
        """Whether a throttled device of a node may or must change its level."""
        for cell in self.cells[node]:
            if cell.level is None:
                continue
            law = cell.law
            if cell.level > 0 and cell.steady(cell.level) > law["throttle"] + 1e-9:
                return True
            if cell.level == 32 and cell.die >= law["throttle"]:
                continue
            if cell.steady(min(cell.level + 1, 32)) <= law["throttle"] - law["hysteresis"] + 1e-9:
                return True
        return False

    def govern(self, node: int, now: int) -> None:
        for cell in self.cells[node]:
            if cell.level is None:
                continue
            law = cell.law
            best = cell.best(law["throttle"])
            if best >= cell.level:
                best = max(cell.best(law["throttle"] - law["hysteresis"]), cell.level)
            if best != cell.level:
                cell.level, self.changed[node] = best, now
            if best == 32 and cell.die < law["throttle"] and self.may_go(cell):
                cell.level, self.changed[node] = None, now

    def may_go(self, cell: Device) -> bool:
        return cell.steady(None) <= cell.law["throttle"] - cell.law["hysteresis"]

    def next_heat(self, now: int) -> int:
        due = FAR
        for node, cells in enumerate(self.cells):
            if self.outside(node):
                self.govern_due[node] = max(now, self.changed[node] + S)
                due = min(due, self.govern_due[node])
            else:
                self.govern_due[node] = FAR
            for cell in cells:
                due = min(due, self.cross(cell))
        return due

    def cross(self, cell: Device) -> int:
        limit = cell.law["throttle"]
        if cell.level is None and cell.asked > cell.law["idle"]:
            if max(cell.die, cell.steady(None), cell.sink + cell.r_die * cell.asked) < limit:
                return FAR
            return cell.crossing(limit, rising=True)
        if cell.level == 32 and cell.die >= limit:
            return cell.crossing(limit, rising=False)
        return FAR

    def heat(self, now: int) -> bool:
        """All that heat does now; whether anything."""
        acted = False
        for node, cells in enumerate(self.cells):
            for cell in cells:
                law, watts = cell.law, cell.drawn(cell.level)
                near = abs(cell.die - law["throttle"]) < 1e-6
                warms = cell.sink + cell.r_die * watts >= cell.die
                busy = cell.asked > law["idle"]
                if cell.level is None and busy and (near or cell.die > law["throttle"]) and warms:
                    cell.level, self.changed[node], acted = cell.best(law["throttle"]), now, True
                elif cell.level == 32 and near and not warms and self.may_go(cell):
                    cell.level, acted = None, True
                    self.changed[node] = now
            if self.govern_due[node] <= now:
                self.govern(node, now)
                acted = True
        return acted

    # Time.

    def run(self) -> HotFarm:
        coming = [job for job in range(len(self.jobs)) if self.possible(job)]
        now = 0
        while True:
            if not (coming or self.running or self.waiting):
                break
            times = [self.done_at(job) for job in self.running]
            times += [self.jobs[coming[0]]["submit"]] if coming else []
            due = min([*times, self.next_heat(now)])
            for cells in self.cells:
                for cell in cells:
                    if cell.level is not None and cell.level < 32:
                        self.throttled_s += (due - now) / S
                    cell.move(due)
                    self.hottest = max(self.hottest, cell.die)
            now = due
            for job in self.running:
                self.settle(job, now)
            self.heat(now)
            for job in [job for job in self.running if self.left[job] + self.idle[job] <= 0]:
                self.end[job] = now
                self.leave(job)
            while coming and self.jobs[coming[0]]["submit"] <= now:
                self.waiting.append(coming.pop(0))
            self.schedule(now)
            self.check()
        return self
