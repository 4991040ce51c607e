"""The farm driver with failures once more, slow and plain.

A run of a job is a list of spans, restart, work, save, work, ..., that is worn off from the front.
What happens to nodes is given as (time, word, node, detail, detection), in the words of `happen`.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from naive_replay import FAR, Farm


class FailingFarm(Farm):
    """One run; `interval` is the work between saves of each job, None where it never saves."""

    def __init__(
        self,
        jobs: list[dict[str, int]],
        *,
        events: list[tuple[int, str, int, int, int]],
        interval: list[int] | None,
        save: int,
        until: int,
        **farm: Any,
    ) -> None:
        super().__init__(jobs, **farm)
        self.events, self.until = list(events), until
        self.interval: list[int | None] = list(interval or [None] * len(jobs))
        self.save = save if interval else 0
        self.work = [job["run"] for job in jobs]
        self.asked = list(self.limit)
        self.limit = [self.with_saves(asked, j) for j, asked in enumerate(self.asked)]
        self.hit = [0] * len(jobs)
        self.down, self.corrupt = [False] * self.nodes, [False] * self.nodes
        self.lost = [0] * self.nodes
        causes = ("held", "rework", "saves", "restart", "detection", "down")
        self.spent = dict.fromkeys(causes, Fraction(0))
        self.now = 0

    def spans(self, work: int, job: int) -> list[list[Any]]:
        every = self.interval[job]
        if every is None:
            return [["work", work]]
        out: list[list[Any]] = []
        while work > every:
            out += [["work", every], ["save", self.save]]
            work -= every
        return [*out, ["work", work]]

    def with_saves(self, work: int, job: int) -> int:
        return sum(span for _, span in self.spans(work, job))

    # Runs.

    def try_start(self, job: int, now: int, free: list[int] | None = None) -> bool:
        if not super().try_start(job, now, free):
            return False
        run = self.running[job]
        begun = self.hit[job] + self.stops[job] > 0
        run["spans"] = [["restart", self.restart if begun else 0], *self.spans(self.work[job], job)]
        run["dead"], run["saved"], run["fresh"] = None, 0, Fraction(0)
        run["clean"] = 0 if any(self.corrupt[node] for node, _ in run["pieces"]) else None
        return True

    def settle(self, job: int, now: int) -> None:
        run = self.running[job]
        if run["dead"] is not None:
            held = sum(gpus for _, gpus in run["pieces"])
            self.spent["detection"] += held * (now - run["since"])
            run["since"] = now
            return
        wall = Fraction(now - run["since"])
        effort = wall * self.speed(job)
        run["since"] = now
        self.spent["held"] += wall * self.weight(job) / 1000
        while run["spans"] and effort >= run["spans"][0][1]:
            kind, span = run["spans"].pop(0)
            effort -= span
            self.book(job, kind, span)
            if kind == "save":
                run["saved"] += self.interval[job]
                run["fresh"] = Fraction(0)
        if run["spans"]:
            run["spans"][0][1] -= effort
            self.book(job, run["spans"][0][0], effort)
        else:
            assert effort < 1  # the end is the first nanosecond at which all is done

    def book(self, job: int, kind: str, span: Any) -> None:
        if kind == "work":
            self.running[job]["fresh"] += span
        else:
            name = {"restart": "restart", "save": "saves"}[kind]
            self.spent[name] += span * Fraction(self.weight(job), 1000)

    def done_at(self, job: int) -> int:
        run, speed = self.running[job], self.speed(job)
        if run["dead"] is not None:
            return int(run["dead"])
        if speed == 0:
            return FAR
        return int(run["since"] + math.ceil(sum(span for _, span in run["spans"]) / speed))

    def keep(self, job: int, how: str) -> None:
        """Close the run: what is kept leaves the work that is to do."""
        run = self.running[job]
        kept = run["saved"]
        if how == "all":
            kept += math.floor(run["fresh"])
        elif how == "clean" and run["clean"] is not None:
            kept = min(kept, run["clean"])
        lost = run["saved"] + run["fresh"] - kept
        self.spent["rework"] += lost * Fraction(self.weight(job), 1000)
        self.work[job] -= kept
        self.asked[job] = max(self.asked[job] - kept, 0)
        self.limit[job] = max(self.restart + self.with_saves(self.asked[job], job), 1)

    def preempt(self, job: int, now: int) -> None:
        self.settle(job, now)
        if self.running[job]["dead"] is None:
            self.keep(job, "all")
        self.leave(job)
        self.stops[job] += 1
        self.waiting.append(job)

    # What the fleet does.

    def here(self, node: int) -> list[int]:
        return sorted(j for j, r in self.running.items() if any(n == node for n, _ in r["pieces"]))

    def stop(self, job: int, how: str, detection: int) -> None:
        self.settle(job, self.now)
        run = self.running[job]
        if run["dead"] is None:
            self.keep(job, how)
            self.hit[job] += 1
            run["dead"] = self.now + detection

    def happen(self, word: str, node: int, detail: int, detection: int) -> None:
        self.held = None
        if word in ("down", "drain", "found"):
            for job in self.here(node):
                saves = self.interval[job] is not None
                how = "all" if word == "drain" and saves else "clean" if word == "found" else ""
                self.stop(job, how, detection)
                run = self.running[job]
                run["pieces"] = [piece for piece in run["pieces"] if piece[0] != node]
            self.down[node], self.corrupt[node], self.free[node] = True, False, 0
        elif word == "up":
            self.down[node], self.corrupt[node] = False, False
            self.free[node] = self.devices - self.lost[node]
        elif word == "lose":
            self.lose(node, detail, detection)
        elif word == "get":
            self.lost[node] -= 1
            self.free[node] += 0 if self.down[node] else 1
        elif word == "speed":
            for job in self.running:
                self.settle(job, self.now)
            self.node_ppm[node] = detail
        elif word == "corrupt":
            self.corrupt[node] = True
            for job in self.here(node):
                self.settle(job, self.now)
                run = self.running[job]
                if run["dead"] is None and run["clean"] is None:
                    run["clean"] = run["saved"]
        else:
            assert word == "interrupt"
            for job in self.here(node):
                self.stop(job, "", detection)

    def lose(self, node: int, device: int, detection: int) -> None:
        owners = [j for j in self.here(node) for n, gpus in self.running[j]["pieces"] if n == node
                  for _ in range(gpus)]  # fmt: skip
        serving = self.devices - self.lost[node]
        self.lost[node] += 1
        if self.down[node]:
            return
        number = device % serving
        if number >= len(owners):
            self.free[node] -= 1
            return
        job = owners[number]
        self.stop(job, "", detection)
        pieces = self.running[job]["pieces"]
        at = max(i for i, (where, _) in enumerate(pieces) if where == node)
        pieces[at] = (node, pieces[at][1] - 1)
        if pieces[at][1] == 0:
            del pieces[at]

    # Time.

    def run(self) -> FailingFarm:
        coming = [job for job in range(len(self.jobs)) if self.possible(job)]
        while coming or self.waiting or self.running:
            times = [self.done_at(job) for job in self.running]
            times += [self.jobs[coming[0]]["submit"]] if coming else []
            times += [self.events[0][0]] if self.events else []
            now = min(times, default=FAR)
            if now > self.until:
                now = self.until
                self.pass_time(now)
                for job in self.running:
                    self.settle(job, now)
                    if self.running[job]["dead"] is None:
                        self.keep(job, "all")
                break
            self.pass_time(now)
            while self.events and self.events[0][0] <= now:
                self.happen(*self.events.pop(0)[1:])
            for job in [job for job in self.running if self.done_at(job) == now]:
                self.settle(job, now)
                if self.running[job]["dead"] is not None:
                    self.waiting.append(job)
                else:
                    self.end[job], self.work[job] = now, 0
                self.leave(job)
            while coming and self.jobs[coming[0]]["submit"] <= now:
                self.waiting.append(coming.pop(0))
            self.schedule(now)
            self.check()
        return self

    def serving(self, node: int) -> int:
        return 0 if self.down[node] else self.devices - self.lost[node]

    def pass_time(self, now: int) -> None:
        out = sum(self.devices - self.serving(node) for node in range(self.nodes))
        self.spent["down"] += out * (now - self.now)
        self.now = now

    def retained(self) -> Fraction:
        done = [(job["run"] - self.work[j]) * self.weight(j) for j, job in enumerate(self.jobs)]
        return Fraction(sum(done), 1000)

    def check(self) -> None:
        held = [0] * self.nodes
        for job, run in self.running.items():
            it = self.jobs[job]
            for node, gpus in run["pieces"]:
                held[node] += gpus
            if run["dead"] is None:
                assert sum(gpus for _, gpus in run["pieces"]) == it["pods"] * it["gpus"]
        for node in range(self.nodes):
            assert self.free[node] + held[node] == self.serving(node)
            assert self.free[node] >= 0
