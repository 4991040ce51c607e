"""Placement on shared GPUs, again and slowly: lists, a scan of all nodes, fractions for fragments.

Shares no code with the kernels but the counter-based random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from kfarm_twin.kernels.rng import uniform

DRAW_NODE, DRAW_GPU = 40, 41
Pod = tuple[int, int, int, int, tuple[str, ...]]
"""CPU [m], memory [MiB], GPUs, 1/1000 of each, models that will do."""


@dataclass
class Node:
    cpu: int
    memory: int
    model: str
    free: list[int]
    rank: int
    kinds: list[str] = field(default_factory=list)


def kind_of(pod: Pod) -> str:
    if pod[2] == 0:
        return ""
    return "share" if pod[3] < 1000 else f"{pod[2]} whole"


def able(node: Node, pod: Pod) -> bool:
    cpu, memory, gpus, milli, models = pod
    if gpus and models and node.model not in models:
        return False
    room = sum(free >= milli for free in node.free)
    return node.cpu >= cpu and node.memory >= memory and (gpus == 0 or room >= gpus)


def fragment(cpu: int, free: Sequence[int], model: str, mix: Sequence[tuple[Pod, int]]) -> Fraction:
    """Free GPU that a pod of the mix cannot use, in expectation [1/1000 GPU]."""
    total = sum(weight for _, weight in mix)
    lost = Fraction(0)
    for (need, _, gpus, milli, models), weight in mix:
        served = (
            gpus > 0
            and (not models or model in models)
            and cpu >= need
            and sum(one >= milli for one in free) >= gpus
        )
        pieces = sum(one for one in free if one < milli) if served else sum(free)
        lost += Fraction(weight * pieces, total)
    return lost


def after(node: Node, pod: Pod, gpus: Sequence[int]) -> list[int]:
    return [free - pod[3] if gpu in gpus else free for gpu, free in enumerate(node.free)]


def whole(node: Node, pod: Pod) -> list[int]:
    return [gpu for gpu, free in enumerate(node.free) if free == 1000][: pod[2]]


class Cluster:
    """Nodes under one policy."""

    def __init__(
        self, policy: str, seed: int, nodes: list[Node], mix: Sequence[tuple[Pod, int]]
    ) -> None:
        self.policy, self.seed, self.nodes, self.mix = policy, seed, nodes, mix
        self.decisions = 0
        self.cpu = max(128_000, *(node.cpu for node in nodes))
        self.gpu = max(8_000, *(1000 * len(node.free) for node in nodes))

    def choose(self, pod: Pod) -> tuple[int, list[int]] | None:
        draw = self.decisions
        self.decisions += 1
        fitting = sorted(
            (place for place, node in enumerate(self.nodes) if able(node, pod)),
            key=lambda place: self.nodes[place].rank,
        )
        if not fitting:
            return None
        if self.policy == "random":
            place = fitting[int(uniform(self.seed, 0, draw, DRAW_NODE, 0) * len(fitting))]
        else:
            place = max(fitting, key=lambda one: self.score(self.nodes[one], pod))
        return place, self.gpus(self.nodes[place], pod, draw)

    def take(self, pod: Pod, place: int, gpus: Sequence[int]) -> None:
        node = self.nodes[place]
        node.cpu, node.memory = node.cpu - pod[0], node.memory - pod[1]
        node.free = after(node, pod, gpus)
        if kind_of(pod):
            node.kinds.append(kind_of(pod))

    def release(self, pod: Pod, place: int, gpus: Sequence[int]) -> None:
        node = self.nodes[place]
        node.cpu, node.memory = node.cpu + pod[0], node.memory + pod[1]
        node.free = [free + pod[3] if gpu in gpus else free for gpu, free in enumerate(node.free)]
        if kind_of(pod):
            node.kinds.remove(kind_of(pod))

    def fragmented(self) -> Fraction:
        """Fragmented GPUs of all nodes."""
        return sum(
            (fragment(node.cpu, node.free, node.model, self.mix) for node in self.nodes),
            Fraction(0),
        ) / Fraction(1000)

    def score(self, node: Node, pod: Pod) -> int:
        cpu, gpu = pod[0], pod[2] * pod[3]
        free = sum(node.free)
        match self.policy:
            case "best-fit":
                left = (node.cpu - cpu) / self.cpu * 0.5 + (free - gpu) / self.gpu * 0.5
                return int((1 - left) * 100)
            case "spread":
                return node.cpu - cpu + 100 * (free - gpu)
            case "dotprod":
                product = node.cpu / self.cpu * (cpu / self.cpu)
                product += free / self.gpu * (gpu / self.gpu)
                return int(100 * (1 - product / 2))
            case "gpu-clustering":
                return self.clustering(node, pod, free)
            case "gpu-packing":
                return packing(node, pod)
            case "fgd":
                return self.descent(node, pod)[0]
            case _:
                return 0

    def clustering(self, node: Node, pod: Pod, free: int) -> int:
        mine = kind_of(pod)
        if not mine:
            return 0
        fullness = 25 * (self.gpu - free) // self.gpu
        if mine in node.kinds:
            return fullness + (75 if len(set(node.kinds)) == 1 else 50)
        return fullness if node.kinds else fullness + 25

    def descent(self, node: Node, pod: Pod) -> tuple[int, list[int]]:
        before = fragment(node.cpu, node.free, node.model, self.mix)
        shared = pod[2] == 1 and pod[3] < 1000
        options = (
            [[gpu] for gpu, free in enumerate(node.free) if free >= pod[3]]
            if shared
            else [whole(node, pod)]
        )
        best: tuple[int, list[int]] = (-1, [])
        for option in options:
            now = fragment(node.cpu - pod[0], after(node, pod, option), node.model, self.mix)
            saved = float((before - now) / 1000)
            score = int(100 / (1 + math.exp(-saved)))
            if score > best[0]:
                best = score, option
        return best

    def gpus(self, node: Node, pod: Pod, draw: int) -> list[int]:
        if pod[2] == 0:
            return []
        if pod[3] == 1000:
            return whole(node, pod)
        room = [gpu for gpu, free in enumerate(node.free) if free >= pod[3]]
        match self.policy:
            case "fgd":
                return self.descent(node, pod)[1]
            case "random" if len(room) > 1:
                return [room[int(uniform(self.seed, 0, draw, DRAW_GPU, 0) * len(room))]]
            case "spread":
                return [max(room, key=lambda gpu: node.free[gpu])]
            case "first-fit" | "random":
                return room[:1]
            case _:
                return [min(room, key=lambda gpu: node.free[gpu])]


def packing(node: Node, pod: Pod) -> int:
    if pod[2] == 0:
        return 0
    idle = node.free.count(1000)
    if idle == len(node.free):
        return max(33 - idle, idle)
    used = sorted(free for free in node.free if free >= pod[3])[: pod[2]]
    if 1000 in used:
        return max(50 - used.count(1000), 33)
    return max(100 - sum(free * 100 // 1000 for free in used) // 10, 50)
