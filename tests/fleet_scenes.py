"""Random small fleets with everything that can go wrong, and both engines playing them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import fleet_reference as reference
import numpy as np
from kfarm_api.reliability import Reliability
from kfarm_twin.arrays import BY_EQUILIBRIUM, NEVER_UP, STARTS_DOWN, STARTS_UP, Floats, Ints
from kfarm_twin.fleet import new_state
from kfarm_twin.fleet_classes import FleetCluster
from kfarm_twin.fleet_tables import compile_fleet
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.kernels.fleet_measure import MEASURES, run_alone
from kfarm_twin.reliability import own_mode

DAY = 86_400 * 10**9
PERS = ("Device", "Node", "Node", "Node", "Link", "Rack", "Leaf", "Pdu", "Cdu", "Plant")
NODES = ("Device", "Node", "Rail", "Rack", "ScalableUnit", "Pdu", "Loop", "Hall", "Farm")
DOMAINS = ("Rail", "Rack", "ScalableUnit", "Pdu", "Loop", "Hall", "Farm")


@dataclass(frozen=True)
class Scene:
    """Clusters, and how their future is played."""

    clusters: tuple[FleetCluster, ...]
    seed: int
    future: int
    warm_ns: int
    horizon_ns: int
    hold: Ints


@dataclass(frozen=True)
class Played:
    """What either engine says of a future."""

    log: list[tuple[int, ...]]
    down_ns: list[int]
    tally: list[tuple[float, ...]]
    outages: list[int]
    failures: int
    hit: int


def _class(draw: random.Random, name: str) -> dict[str, Any]:
    per = draw.choice(PERS)
    own: dict[str, Any] = {"name": name, "per": per}
    own["meanTimeToRepair"] = draw.choice(["90m", "5h", "26h", "96h"])
    own["detection"] = draw.choice(["0s", "10s", "7m", "1h"])
    if per in ("Device", "Node", "Link") and draw.random() < 0.6:
        own["failuresPer1000NodeDays"] = draw.choice(["20", "90.5", "300"])
    else:
        own["failuresPer1000Days"] = draw.choice(["15", "60", "200"])
    if draw.random() < 0.5:
        own["takes"] = draw.choice(NODES if per in ("Device", "Node", "Link") else DOMAINS)
    effect = draw.choice(["Stop", "Stop", "Stop", "Slow", "Corrupt"])
    own["effect"] = effect
    if effect == "Slow":
        own["speed"] = draw.choice([20, 50, 75, 99])
        own["evict"] = draw.random() < 0.5
    if draw.random() < 0.4:
        law = draw.choice(["Weibull", "Lognormal"])
        own["life"] = {"distribution": law, "shape": draw.choice(["0.6", "1.7", "3"])}
        if draw.random() < 0.4:
            own["life"]["age"] = draw.choice(["0s", "72h", "4800h"])
    if draw.random() < 0.4:
        own["recovery"] = [
            {"action": action, "success": draw.choice([0, 33, 80, 100]), "time": "11m",
             "attempts": draw.choice([1, 3])}
            for action in draw.sample(["Retry", "DeviceReset", "Reboot"], draw.choice([1, 2]))
        ]  # fmt: skip
    if draw.random() < 0.7:
        own["repair"] = _repair(draw)
    return own


def _repair(draw: random.Random) -> dict[str, Any]:
    law = draw.choice(["Exponential", "Weibull", "Lognormal", "Fixed"])
    repair: dict[str, Any] = {"distribution": law, "crew": draw.random() < 0.6}
    if law in ("Weibull", "Lognormal"):
        repair["shape"] = draw.choice(["0.45", "1", "2.5"])
    if draw.random() < 0.5:
        repair["part"] = {
            "share": draw.choice([30, 100]), "leadTime": draw.choice(["12h", "144h"]),
            "spread": draw.choice(["0", "0.8"]), "stock": draw.choice([0, 0, 1, 3]),
        }  # fmt: skip
    if draw.random() < 0.4:
        repair |= {"recurrence": draw.choice([20, 90]), "recursWithin": draw.choice(["2h", "72h"])}
    return repair


def _rules(draw: random.Random) -> dict[str, Any]:
    rules: dict[str, Any] = {
        "classes": [_class(draw, f"class-{index}") for index in range(draw.randint(1, 5))],
        "detection": draw.choice(["0s", "60s", "1h"]),
        "frailty": {"shape": draw.choice(["0.2", "0.93", "5"])},
        "bursts": {"share": draw.choice([10, 60]), "size": draw.choice(["1.5", "4"]),
                   "window": draw.choice(["1m", "2h"])},
        "unrest": {"share": draw.choice([5, 40]), "factor": draw.choice(["2", "6.5"]),
                   "spell": draw.choice(["6h", "72h"]), "holds": draw.choice([0, 30, 100])},
        "crews": {"count": draw.choice([1, 2]),
                  "shift": {"hours": 9, "start": 8, "days": draw.choice([1, 5, 7])}},
        "quarantine": {"faults": draw.choice([1, 3]), "within": "120h", "hold": "30h"},
        "lemons": {"faults": draw.choice([2, 4]), "within": "144h", "exchange": "20h"},
        "drains": {"every": draw.choice(["96h", "600h"]), "duration": draw.choice(["2h", "20h"]),
                   "atOnce": draw.choice([1, 2]), "renews": draw.random() < 0.5},
        "falseAlarms": {"per1000NodeDays": draw.choice(["30", "200"]), "check": "45m"},
    }  # fmt: skip
    if draw.random() < 0.3:
        del rules["crews"]["shift"]
    kept = draw.choice([0.1, 0.4, 0.8])
    optional = ("frailty", "bursts", "unrest", "crews", "quarantine", "lemons", "drains",
                "falseAlarms")  # fmt: skip
    wanted = any(own.get("repair", {}).get("crew") for own in rules["classes"])
    for name in optional:
        if draw.random() > kept and not (name == "crews" and wanted):
            del rules[name]
    return rules


def scene(number: int) -> Scene:
    """The fleet of this number."""
    draw = random.Random(number)  # noqa: S311
    clusters, nodes, first = [], 0, [0] * 5
    shared_farm = draw.random() < 0.5
    for index in range(draw.choice([1, 1, 2, 3])):
        count = draw.randint(1, 9)
        at = np.arange(count)
        sizes = [draw.randint(1, 3), draw.randint(2, 6), draw.randint(1, 4), draw.randint(2, 5)]
        columns = [at // size + first[level] for level, size in enumerate(sizes)]
        if draw.random() < 0.4:
            columns[2] = np.full(count, -1)
        halls = at // max(count // 2, 1) + first[4]
        farm = np.full(count, 0 if shared_farm else index)
        domains = np.stack([*columns, halls, farm], axis=1).astype(np.int64)
        first = [max(first[k], int(domains[:, k].max()) + 1) for k in range(5)]
        starts = [BY_EQUILIBRIUM] * 4 + [STARTS_UP, STARTS_DOWN, NEVER_UP]
        choice = starts if draw.random() < 0.4 else starts[:1]
        start = np.array([draw.choice(choice) for _ in range(count)], np.int64)
        own = Reliability.model_validate(_rules(draw))
        modes = tuple(own_mode(mode) for mode in own.classes)
        clusters.append(
            FleetCluster(modes, own, draw.choice([1, 4, 8]), domains, start, draw.random() < 0.5)
        )
        nodes += count
    hold = np.array([int(draw.random() < 0.3) for _ in range(nodes)], np.int64)
    if draw.random() < 0.6:
        hold[:] = 0
    warm = draw.choice([0, 11 * DAY, 40 * DAY])
    horizon = draw.choice([9 * DAY, 30 * DAY])
    return Scene(tuple(clusters), draw.randrange(2**40), draw.randrange(50), warm, horizon, hold)


def by_kernel(asked: Scene) -> Played:
    """The future that the engine plays."""
    fleet = compile_fleet(asked.clusters)
    nodes, classes = fleet.nodes, len(fleet.classes)
    state = new_state(fleet, 20_000, 20_000)
    measures = np.zeros((1, MEASURES))
    tallies = np.zeros((1, classes + 1, c.TALLIES))
    histogram = np.zeros((1, nodes + 1), np.int64)
    log = np.zeros((60_000, 1 + c.CHANGE), np.int64)
    done = run_alone(
        fleet.tables, state, asked.hold, np.zeros(nodes, np.int64), measures, tallies, histogram,
        np.zeros((1, 0), np.int64), log, asked.seed, asked.future, 0, 1, asked.warm_ns,
        asked.horizon_ns,
    )  # fmt: skip
    assert done == 1
    assert log[0, 0] < len(log)
    rows = [tuple(row) for row in log[1 : 1 + log[0, 0]].tolist()]
    outages = sorted(state.outages[: state.now[c.ENDED]].tolist())
    return Played(
        rows, histogram[0].tolist(), [tuple(row) for row in tallies[0].tolist()], outages,
        int(state.now[c.FAILURES]), int(state.now[c.HIT]),
    )  # fmt: skip


def by_reference(asked: Scene) -> Played:
    """The future that plain Python plays."""
    future = reference.Future(
        asked.clusters, asked.seed, asked.future, asked.warm_ns, asked.horizon_ns,
        asked.hold.tolist(),
    )  # fmt: skip
    log: Sequence[tuple[int, ...]] = future.play()
    ways = [way for home in future.homes for way in home.ways] + [future.drains]
    tally = [
        (float(w.outages), float(w.down_ns), float(w.waited), float(w.events), float(w.tries),
         float(w.helped)) for w in ways
    ]  # fmt: skip
    spans = [future.spans.get(count, 0) for count in range(len(future.nodes) + 1)]
    return Played(
        list(log), spans, tally, sorted(future.outages),
        sum(node.counted for node in future.nodes), sum(node.counted > 0 for node in future.nodes),
    )  # fmt: skip


def unlike(asked: Scene) -> str:
    """Where the two engines first differ; empty where they agree to the last event."""
    ours, plain = by_kernel(asked), by_reference(asked)
    for at, (one, other) in enumerate(zip(ours.log, plain.log, strict=False)):
        if one != other:
            return f"event {at}: kernel {one}, reference {other}; before {ours.log[at - 3 : at]}"
    for name in ("log", "down_ns", "outages", "failures", "hit"):
        one, other = getattr(ours, name), getattr(plain, name)
        if one != other:
            return f"{name}: kernel {one}, reference {other}"
    if not np.allclose(ours.tally, plain.tally, rtol=1e-12):
        return f"tally: kernel {ours.tally}, reference {plain.tally}"
    return ""


__all__ = ["DAY", "Floats", "Played", "Scene", "by_kernel", "by_reference", "scene", "unlike"]
