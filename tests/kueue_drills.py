"""A Workload of Kueue in a drill, by the twin and by an event loop that was written apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from drill_cases import fault, pods, request
from kfarm_twin.arrays import Floats
from kfarm_twin.drill import _Drill
from kfarm_twin.drill_cluster import Departure
from kfarm_twin.drill_delays import Draws
from kfarm_twin.drill_out import Out, Turn
from kfarm_twin.drill_request import DrillRequest
from naive_drill import Node, Pod, Timing
from naive_kueue import Drained, NaiveKueue, Story
from twin_farms import cluster, farm

FUTURES = 32


def gang(**changes: Any) -> list[Any]:
    return pods(**{"kueue": "job", "within": "cluster", "replaced_when_gone": True} | changes)


@dataclass(frozen=True)
class Case:
    """A drill for both: who is struck, how, and whether there is room."""

    struck: int = 1
    lasts: float = 300.0
    toleration: float = 30.0
    out: float | None = None
    drained: bool = False
    per_index: bool = True
    when_gone: bool = True
    within: str = "cluster"
    nodes: int = 8

    @property
    def room(self) -> bool:
        """For another node in the Workload's domain: its scalable unit is full."""
        return self.within == "cluster" and self.nodes > 4

    def asked(self) -> DrillRequest:
        names = [f"farm-main-{index:04d}" for index in range(self.struck)]
        action = "Drain" if self.drained else "NodeDown"
        changes: dict[str, Any] = {"mode": "All", "duration": f"{self.lasts:g}s"}
        if self.out is not None:
            changes["remedy"] = {"action": "OutOfService", "after": f"{self.out:g}s"}
        if self.drained:
            changes["atOnce"] = self.struck
        where = gang(
            toleration_s=self.toleration, within=self.within, backoff_per_index=self.per_index,
            replaced_when_gone=self.when_gone,
        )  # fmt: skip
        return request(
            fault(action, selector={"nodes": names}, **changes),
            of=farm(cluster(nodes=self.nodes)),
            where=where,
            simulation={"futures": FUTURES, "seed": 3},
        )


def vectorised(case: Case) -> tuple[list[Out], list[Turn]]:
    one = _Drill(case.asked())
    waves = [wave for each in one.spec.faults for wave in one._waves(each)]
    out = one._departures(waves, one.clock.node_times(waves))
    more, turns = one.kueue.conclude()
    return out + more, turns


def naive(case: Case, future: int) -> NaiveKueue:
    draws = Draws(3, FUTURES)

    def luck(name: str, low: float, high: float) -> float:
        return float(draws.uniform(name, low, high)[future])

    nodes, drained = {}, {}
    names = [f"farm-main-{index:04d}" for index in range(case.struck)]
    for name in names:
        key = f"f/{name}/0"
        if case.drained:
            drained[name] = Drained(0.0, case.lasts)
            continue
        age, back = luck(f"age/{key}", 0.0, 10.0), luck(f"lease/{key}", 0.0, 10.4)
        nodes[name] = Node(name, 0.0, case.lasts, age, back, case.out)
    members = [
        Pod(f"plan/train-{index}", f"farm-main-{index:04d}", case.toleration, "plan/train",
            case.per_index, case.when_gone)
        for index in range(4)
    ]  # fmt: skip
    story = Story("plan/job", dict.fromkeys(names, case.room), case.nodes > 4)
    played = NaiveKueue(Timing(), luck, nodes, members, "f", story=story, drained=drained)
    played.run(3000.0)
    return played


def apart(value: float, seen: float | None) -> float:
    if seen is None or np.isinf(value):
        return 0.0 if seen is None and np.isinf(value) else np.inf
    return abs(value - seen)


def worst_difference(case: Case, futures: int = FUTURES) -> float:
    """Of all times of all pods and of the Workload [s]; infinite where one has none."""
    out, turns = vectorised(case)
    by_slot: dict[str, list[Departure]] = {}
    for one in out:
        by_slot.setdefault(one.departure.slot, []).append(one.departure)
    worst = 0.0
    for future in range(futures):
        slow = naive(case, future)
        for name, seen in (
            ("requeued", slow.story.requeued),
            ("readmitted", slow.story.readmitted),
        ):
            times: list[Floats] = [getattr(turn, name) for turn in turns]
            found = sorted(float(t[future]) for t in times if np.isfinite(t[future]))
            if len(found) != len(seen):
                return np.inf
            worst = max([worst, *(apart(a, b) for a, b in zip(found, sorted(seen), strict=True))])
        for pod in slow.pods:
            lives = by_slot.get(pod.name, [])
            lives = [one for one in lives if np.isfinite(one.evicted[future])]
            if not lives:
                worst = max(worst, apart(np.inf, pod.evicted))
                continue
            first = min(lives, key=lambda one: float(one.evicted[future]))
            last = max(lives, key=lambda one: float(one.evicted[future]))
            worst = max(
                worst,
                apart(float(first.evicted[future]), pod.evicted),
                apart(float(first.gone[future]), pod.gone),
                apart(float(last.created[future]), pod.created),
                apart(float(last.running[future]), slow.started(pod)),
            )
    return worst
