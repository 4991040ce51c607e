"""The farm driver once more, slow and plain: lists, loops and fractions, no index, no kernel.

Only the random numbers come from the twin. Everything is looked for anew at
each step, except the promises of conservative backfill, which are kept.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from kfarm_twin.kernels.rng import uniform

FAR = 1 << 61


class Farm:
    """One run; `jobs` are dicts with submit, run, limit, pods, gpus, milli, priority."""

    def __init__(
        self,
        jobs: list[dict[str, int]],
        *,
        nodes: int,
        devices: int,
        rack: int = 0,
        unit: int = 0,
        order: str = "fifo",
        backfill: str = "none",
        placement: str = "count",
        required: str = "cluster",
        preferred: str | None = None,
        restart: int = 0,
        seed: int = 0,
        speeds: list[tuple[int, int, int]] | None = None,
    ) -> None:
        self.jobs = [job | {"limit": max(job["limit"], 1)} for job in jobs]
        self.nodes, self.devices = nodes, devices
        unit = unit or nodes
        self.size = {"node": 1, "rack": rack or unit, "scalable-unit": unit, "cluster": nodes}
        self.order, self.backfill, self.placement = order, backfill, placement
        self.required, self.preferred, self.restart, self.seed = required, preferred, restart, seed
        self.speeds = list(speeds or [])
        self.counted = placement == "count"
        self.free = [devices] * nodes
        self.capacity = nodes * devices * 1000
        self.draws = 0
        self.waiting: list[int] = []
        self.running: dict[int, dict[str, Any]] = {}
        self.node_ppm = [1_000_000] * nodes
        self.common_ppm = 1_000_000
        count = len(jobs)
        self.start, self.end, self.stops = [-1] * count, [-1] * count, [0] * count
        self.left = [Fraction(job["run"]) for job in jobs]
        self.idle = [Fraction(0)] * count
        self.limit = [job["limit"] for job in self.jobs]
        self.held: dict[str, Any] | None = None
        self.planned: dict[int, int] = {}
        self.overran = False
        self.promised: dict[int, int] = {}

    # What a job asks for.

    def shape(self, job: int) -> tuple[int, int]:
        pods, gpus = self.jobs[job]["pods"], self.jobs[job]["gpus"]
        return (1, pods * gpus) if self.required == "node" else (pods, gpus)

    def weight(self, job: int) -> int:
        it = self.jobs[job]
        return it["pods"] * it["gpus"] * it["milli"]

    def used(self) -> int:
        return sum(self.weight(job) for job in self.running)

    def key(self, job: int, now: int) -> tuple[int, ...]:
        it = self.jobs[job]
        if self.order == "fifo":
            return (-it["priority"], it["submit"], job)
        if self.order == "sjf":
            return (-it["priority"], it["limit"], job)
        left = self.limit[job]
        if job in self.running:
            left = max(self.running[job]["due"] - now, 0)
        return (-it["priority"], left, job)

    def possible(self, job: int) -> bool:
        if self.counted:
            return self.weight(job) <= self.capacity
        pods, gpus = self.shape(job)
        if gpus == 0:
            return True
        return self.devices // gpus * min(self.size[self.required], self.nodes) >= pods or (
            self.required == "node" and gpus <= self.devices
        )

    # Placement on named nodes.

    def domains(self, level: str, low: int = 0, high: int | None = None) -> list[range]:
        high = self.nodes if high is None else high
        size = self.size[level]
        return [
            range(first, min(first + size, self.nodes))
            for first in range(0, self.nodes, size)
            if first >= low and first < high
        ]

    def draw(self, count: int, purpose: int) -> int:
        u = uniform(self.seed, 0, 0, purpose, self.draws)
        self.draws += 1
        return int(u * count)

    def pick(self, rooms: list[int], least: int, purpose: int, policy: str) -> int | None:
        """Index of the domain or node by the policy, among those with room for `least`."""
        able = [i for i, room in enumerate(rooms) if room >= least]
        if not able:
            return None
        if policy == "first-fit":
            return able[0]
        if policy == "best-fit":
            return min(able, key=lambda i: (rooms[i], i))
        if policy == "spread":
            return min(able, key=lambda i: (-rooms[i], i))
        at = 0
        for _ in range(64):
            at = self.draw(len(rooms), purpose)
            if rooms[at] >= least:
                return at
        return min(able, key=lambda i: (i < at, i))

    def fill(self, free: list[int], where: range, pods: int, gpus: int,
             out: list[tuple[int, int]]) -> int:  # fmt: skip
        while pods:
            at = self.pick([free[i] for i in where], gpus, 102, self.placement)
            if at is None:
                break
            node = where[at]
            packs = self.placement in ("first-fit", "best-fit")
            taken = min(free[node] // gpus, pods) if packs else 1
            free[node] -= taken * gpus
            out.append((node, taken * gpus))
            pods -= taken
        return pods

    def part(self, free: list[int], where: range, pods: int, gpus: int) -> range:
        if self.preferred == "node":
            nodes = [free[i] for i in where]
            at = self.pick(nodes, pods * gpus, 0, "best-fit")
            if at is None:
                at = self.pick(nodes, gpus, 0, "spread")
            assert at is not None
            return range(where[at], where[at] + 1)
        assert self.preferred is not None
        parts = self.domains(self.preferred, where[0], where[-1] + 1)
        rooms = [sum(free[i] // gpus for i in part) for part in parts]
        at = self.pick(rooms, pods, 0, "best-fit")
        if at is None:
            at = self.pick(rooms, 1, 0, "spread")
        assert at is not None
        return parts[at]

    def place(self, job: int, free: list[int]) -> list[tuple[int, int]] | None:
        pods, gpus = self.shape(job)
        out: list[tuple[int, int]] = []
        if gpus == 0:
            return out
        if sum(f // gpus for f in free) < pods:
            return None
        where = range(self.nodes)
        narrow = {"node": 0, "rack": 1, "scalable-unit": 2, "cluster": 3}
        if pods > 1 and self.required in ("rack", "scalable-unit"):
            domains = self.domains(self.required)
            rooms = [sum(free[i] // gpus for i in domain) for domain in domains]
            at = self.pick(rooms, pods, 101, self.placement)
            if at is None:
                return None
            where = domains[at]
        free = list(free)
        if pods > 1 and self.preferred and narrow[self.preferred] < narrow[self.required]:
            while pods:
                pods = self.fill(free, self.part(free, where, pods, gpus), pods, gpus, out)
        else:
            self.fill(free, where, pods, gpus, out)
        return out

    # Starting and stopping.

    def try_start(self, job: int, now: int, free: list[int] | None = None) -> bool:
        pieces: list[tuple[int, int]] = []
        if self.counted:
            if self.weight(job) > self.capacity - self.used():
                return False
        else:
            found = self.place(job, self.free if free is None else free)
            if found is None:
                return False
            pieces = found
        for node, gpus in pieces:
            self.free[node] -= gpus
        self.waiting.remove(job)
        if self.start[job] < 0:
            self.start[job] = now
        self.running[job] = {"due": now + self.limit[job], "pieces": pieces, "since": now}
        return True

    def speed(self, job: int) -> Fraction:
        nodes = [node for node, _ in self.running[job]["pieces"]]
        ppm = min((self.node_ppm[node] for node in nodes), default=self.common_ppm)
        return Fraction(ppm, 1_000_000)

    def done_at(self, job: int) -> int:
        left, speed = self.idle[job] + self.left[job], self.speed(job)
        return FAR if speed == 0 else self.running[job]["since"] + math.ceil(left / speed)

    def settle(self, job: int, now: int) -> None:
        work = (now - self.running[job]["since"]) * self.speed(job)
        self.running[job]["since"] = now
        paid = min(self.idle[job], work)
        self.idle[job] -= paid
        self.left[job] -= work - paid

    def leave(self, job: int) -> dict[str, Any]:
        gone = self.running.pop(job)
        for node, gpus in gone["pieces"]:
            self.free[node] += gpus
        self.held = None
        return gone

    def preempt(self, job: int, now: int) -> None:
        self.settle(job, now)
        gone = self.leave(job)
        # What is left counts in whole nanoseconds begun.
        self.left[job] = Fraction(math.ceil(self.left[job]))
        unpaid = math.ceil(self.idle[job])
        self.limit[job] = max(max(gone["due"] - now, 0) - unpaid, 0) + self.restart
        self.idle[job] = Fraction(self.restart)
        self.stops[job] += 1
        self.waiting.append(job)

    # EASY.

    def by_due(self) -> list[int]:
        return sorted(self.running, key=lambda job: (self.running[job]["due"], job))

    def hold(self, head: int, now: int) -> None:
        self.held = {"head": head, "shadow": FAR, "extra": 0, "allowed": {}}
        if self.counted:
            self.hold_counted(head, now)
        else:
            self.hold_named(head, now)
        self.promised[head] = min(self.held["shadow"], self.promised.get(head, FAR))

    def hold_counted(self, head: int, now: int) -> None:
        need, free = self.weight(head), self.capacity - self.used()
        times = sorted({max(run["due"], now) for run in self.running.values()})
        for time in times:
            have = free + sum(self.weight(j) for j, r in self.running.items()
                              if max(r["due"], now) <= time)  # fmt: skip
            if have >= need:
                self.held |= {"shadow": time, "extra": have - need}
                return

    def domain_of(self, node: int) -> range:
        level = self.required if self.required in ("rack", "scalable-unit") else "cluster"
        return next(domain for domain in self.domains(level) if node in domain)

    def hold_named(self, head: int, now: int) -> None:
        pods, gpus = self.shape(head)
        free, touched, where, shadow = list(self.free), [], None, FAR
        for job in self.by_due():
            due = self.running[job]["due"]
            if due > shadow:
                break
            for node, held in reversed(self.running[job]["pieces"]):
                free[node] += held
                if node not in touched:
                    touched.append(node)
                domain = self.domain_of(node)
                if where is None and sum(free[i] // gpus for i in domain) >= pods:
                    where, shadow = domain, max(due, now)
        self.held["shadow"] = shadow
        if where is None:
            return
        untouched = sorted((i for i in where if i not in touched), key=lambda i: (-free[i], i))
        for node in [i for i in reversed(touched) if i in where] + untouched:
            taken = min(pods, free[node] // gpus)
            if taken:
                self.held["allowed"][node] = free[node] - taken * gpus
                pods -= taken

    def backfill_easy(self, now: int) -> None:
        head, *others = sorted(self.waiting, key=lambda job: self.key(job, now))
        for job in others:
            if self.counted:
                if self.weight(job) > self.capacity - self.used():
                    continue
                self.hold(head, now)
                short = now + self.limit[job] <= self.held["shadow"]
                if short or self.weight(job) <= self.held["extra"]:
                    assert self.try_start(job, now)
                continue
            draws = self.draws
            if self.place(job, self.free) is None:
                continue
            self.draws = draws
            self.hold(head, now)
            if now + self.limit[job] <= self.held["shadow"]:
                assert self.try_start(job, now)
                continue
            allowed = self.held["allowed"]
            shown = [min(f, allowed.get(i, f)) for i, f in enumerate(self.free)]
            self.try_start(job, now, shown)

    # SRTF.

    def make_room(self, head: int, now: int) -> bool:
        mine = self.key(head, now)[:2]
        after = [job for job in self.running if mine < self.key(job, now)[:2] and self.weight(job)]
        after.sort(key=lambda j: (-self.jobs[j]["priority"], self.running[j]["due"], j),
                   reverse=True)  # fmt: skip
        pods, gpus = self.shape(head)
        free, have = list(self.free), self.capacity - self.used()
        self.held = None
        for count, job in enumerate(after, 1):
            have += self.weight(job)
            domain = None
            for node, held in reversed(self.running[job]["pieces"]):
                free[node] += held
                if domain is None and not self.counted:
                    here = self.domain_of(node)
                    if sum(free[i] // gpus for i in here) >= pods:
                        domain = here
            if (have >= self.weight(head)) if self.counted else domain is not None:
                for victim in after[:count]:
                    nodes = [node for node, _ in self.running[victim]["pieces"]]
                    anywhere = domain is None or self.required in ("node", "cluster")
                    if anywhere or any(node in domain for node in nodes):
                        self.preempt(victim, now)
                return True
        return False

    # Conservative.

    def free_over(self, now: int) -> list[tuple[int, int]]:
        """Steps (time, free from then on) from running jobs and promises."""
        changes: list[tuple[int, int]] = []
        for job, run in self.running.items():
            changes.append((max(run["due"], now + 1), self.weight(job)))
        for job, begin in self.planned.items():
            changes.append((begin, -self.weight(job)))
            changes.append((begin + self.limit[job], self.weight(job)))
        have, steps = self.capacity - self.used(), []
        for time in sorted({now, *(time for time, _ in changes)}):
            have += sum(amount for at, amount in changes if at == time)
            steps.append((time, have))
        return steps

    def earliest(self, job: int, now: int) -> int:
        steps = self.free_over(now)
        for begin, _ in steps:
            end = begin + self.limit[job]
            until = [time for time, _ in steps[1:]] + [FAR]
            spans = [have for (time, have), stop in zip(steps, until, strict=True)
                     if time < end and stop > begin]  # fmt: skip
            if all(have >= self.weight(job) for have in spans):
                return begin
        raise AssertionError

    def conservative(self, now: int, early: bool) -> int:
        overrun = any(run["due"] <= now for run in self.running.values())
        queue = sorted(self.waiting, key=lambda job: self.key(job, now))
        if overrun or self.overran:
            self.planned = {}
        elif early:
            for job in [job for job in queue if job in self.planned]:
                del self.planned[job]
                self.planned[job] = self.earliest(job, now)
        for job in queue:
            if job not in self.planned:
                self.planned[job] = self.earliest(job, now)
        self.overran = overrun
        for job in queue:
            if self.planned[job] <= now:
                assert self.try_start(job, now)
                del self.planned[job]
        return FAR if overrun else min(self.planned.values(), default=FAR)

    # Time.

    def schedule(self, now: int) -> None:
        while self.waiting:
            head = min(self.waiting, key=lambda job: self.key(job, now))
            if self.try_start(head, now):
                continue
            if self.order == "srtf" and self.make_room(head, now):
                assert self.try_start(head, now)
                continue
            if self.backfill == "easy":
                self.backfill_easy(now)
            return

    def run(self) -> Farm:
        coming = [job for job in range(len(self.jobs)) if self.possible(job)]
        wake = FAR
        while True:
            times = [self.done_at(job) for job in self.running] + [wake]
            times += [self.jobs[coming[0]]["submit"]] if coming else []
            times += [self.speeds[0][0]] if self.speeds else []
            now = min(times)
            if now >= FAR:
                return self
            early = False
            for job in [job for job in self.running if self.done_at(job) == now]:
                self.end[job] = now
                early = self.leave(job)["due"] > now or early
            while self.speeds and self.speeds[0][0] <= now:
                self.change_speed(now, *self.speeds.pop(0)[1:])
            while coming and self.jobs[coming[0]]["submit"] <= now:
                self.waiting.append(coming.pop(0))
            if self.backfill == "conservative":
                wake = self.conservative(now, early)
            else:
                self.schedule(now)
            self.check()

    def change_speed(self, now: int, node: int, ppm: int) -> None:
        for job in self.running:
            self.settle(job, now)
        if node < 0:
            self.common_ppm, self.node_ppm = ppm, [ppm] * self.nodes
        else:
            self.node_ppm[node] = ppm

    def check(self) -> None:
        """Nothing is over its capacity, and gangs are whole."""
        if self.counted:
            assert self.used() <= self.capacity
            return
        assert all(0 <= free <= self.devices for free in self.free)
        for job, run in self.running.items():
            it = self.jobs[job]
            assert sum(gpus for _, gpus in run["pieces"]) == it["pods"] * it["gpus"]
