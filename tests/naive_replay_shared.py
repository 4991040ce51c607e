"""The farm driver on shared devices once more, slow and plain.

The clock and the queue are those of `naive_replay`, the choice of node and device that of
`sharing_naive`; no index, no kernel. Everything is looked for anew at each pass, except the head's
shadow time, which holds until a job ends, a head starts, the head changes, or it is past.
"""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from typing import Any

from naive_replay import FAR, Farm
from sharing_naive import Cluster, Node, Pod


def typical(pods: list[Pod]) -> list[tuple[Pod, int]]:
    """The most frequent pods, memory apart, until they are 95 % of all."""
    counts = Counter((cpu, 0, gpus, milli, models) for cpu, _, gpus, milli, models in pods)
    order = sorted(
        counts, key=lambda p: (counts[p], p[0], p[3], p[2], "|".join(p[4])), reverse=True
    )
    chosen: list[tuple[Pod, int]] = []
    for pod in order:
        if sum(count for _, count in chosen) * 100 >= 95 * len(pods):
            break
        chosen.append((pod, counts[pod]))
    return chosen


class SharedFarm(Farm):
    """Jobs are as in `Farm`, with cpu, memory and models; `floor` are empty nodes."""

    def __init__(self, jobs: list[dict[str, Any]], floor: list[Node], **options: Any) -> None:
        options = {"placement": "count", **options}
        policy = options.pop("policy")
        devices = max(len(node.free) for node in floor)
        super().__init__(jobs, nodes=len(floor), devices=devices, **options)
        self.capacity = sum(1000 * len(node.free) for node in floor)
        self.full = deepcopy(floor)
        self.cluster = Cluster(policy, self.seed, floor, [])
        able = [job for job in range(len(jobs)) if self.possible(job)]
        pods = [self.pod(job) for job in able for _ in range(jobs[job]["pods"])]
        self.cluster.mix = typical(pods)
        self.places: dict[int, list[tuple[int, list[int]]]] = {}
        self.fragments: dict[int, float] = {}

    def pod(self, job: int) -> Pod:
        it = self.jobs[job]
        milli = it["milli"] if it["gpus"] else 0
        models = it["models"] if it["gpus"] else ()
        return it["cpu"], it["memory"], it["gpus"], milli, models

    def possible(self, job: int) -> bool:
        empty = Cluster("first-fit", 0, deepcopy(self.full), [])
        return self.put(job, empty) is not None

    def put(self, job: int, cluster: Cluster) -> list[tuple[int, list[int]]] | None:
        """Place the whole gang, or leave the cluster as it was."""
        before, draws = deepcopy(cluster.nodes), cluster.decisions
        found = []
        for _ in range(self.jobs[job]["pods"]):
            choice = cluster.choose(self.pod(job))
            if choice is None:
                cluster.nodes, cluster.decisions = before, draws
                return None
            cluster.take(self.pod(job), *choice)
            found.append(choice)
        return found

    def try_start(self, job: int, now: int, free: list[int] | None = None) -> bool:
        places = self.put(job, self.cluster)
        if places is None:
            return False
        self.places[job], self.held = places, None
        assert super().try_start(job, now)
        return True

    def leave(self, job: int) -> dict[str, Any]:
        for node, gpus in self.places[job]:
            self.cluster.release(self.pod(job), node, gpus)
        return super().leave(job)

    def shadow(self, head: int, now: int) -> int:
        later = Cluster("first-fit", 0, deepcopy(self.cluster.nodes), [])
        for job in self.by_due():
            for node, gpus in self.places[job]:
                later.release(self.pod(job), node, gpus)
            if self.put(head, Cluster("first-fit", 0, deepcopy(later.nodes), [])) is not None:
                return max(self.running[job]["due"], now)
        return FAR

    def backfill_easy(self, now: int) -> None:
        head, *others = sorted(self.waiting, key=lambda job: self.key(job, now))
        if not self.held or self.held["head"] != head or self.held["shadow"] < now:
            self.held = {"head": head, "shadow": self.shadow(head, now)}
        for job in others:
            held = self.held
            if now + self.limit[job] <= held["shadow"]:
                self.try_start(job, now)
            self.held = held  # it is gone by then

    def schedule(self, now: int) -> None:
        super().schedule(now)
        self.fragments[now] = float(self.cluster.fragmented())

    def check(self) -> None:
        """Nothing is over its capacity, and gangs are whole."""
        used = [[0] * len(node.free) for node in self.full]
        for job in self.running:
            assert len(self.places[job]) == self.jobs[job]["pods"]
            for node, gpus in self.places[job]:
                assert len(gpus) == self.jobs[job]["gpus"]
                for gpu in gpus:
                    used[node][gpu] += self.jobs[job]["milli"]
        for node, mine in zip(self.cluster.nodes, used, strict=True):
            assert [1000 - milli for milli in mine] == node.free
            assert min([*mine, 0]) >= 0
            assert max(mine, default=0) <= 1000
            assert min(node.cpu, node.memory) >= 0
