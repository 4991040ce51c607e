"""Random farms, powers and faults, and what heat engine and reference make of them."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
from kfarm_twin.heat import Change, HeatPlay, play
from kfarm_twin.heat_tables import (
    HeatCluster,
    HeatFans,
    HeatFarm,
    HeatPlant,
    HeatRack,
    HeatZone,
    compile_heat,
)
from kfarm_twin.kernels import heat_alone as alone
from kfarm_twin.kernels import heat_columns as c
from naive_heat import Naive, Played

KINDS = {
    "power": alone.POWER,
    "overhead": alone.OVERHEAD,
    "switch": alone.SWITCH,
    "zone": alone.ZONE_UNITS,
    "plant": alone.PLANT_UNITS,
    "target": alone.TARGET,
}
NAMES = {c.SPEED: "speed", c.OVERHEATED: "overheated", c.COOL: "cool", c.FANS: "fans"}
HORIZON = 2400.0
Schedule = list[tuple[float, str, int, float, int, int]]


def _cluster(draw: random.Random, index: int, nodes: int, liquid: bool) -> HeatCluster:
    devices = draw.choice((1, 2, 3))
    peak, rise = 700.0, draw.uniform(30.0, 55.0)
    whole = rise / peak
    die = draw.uniform(0.2, 0.6)
    times = (draw.uniform(3.0, 8.0), draw.uniform(9.0, 40.0))
    if draw.random() < 0.25:
        times = (times[0], times[0] * draw.choice((1.0, 1.0 + 1e-9, 1.0001)))
    factors = tuple(draw.uniform(0.9, 1.1) for _ in range(devices))
    if draw.random() < 0.5:
        factors = ()  # devices alike
    fans = None
    if not liquid and draw.random() < 0.7:
        levels = (0.3, 0.5, 0.75, 1.0) if draw.random() < 0.7 else (0.8,)
        fans = HeatFans(draw.uniform(100, 900), levels, draw.uniform(55, 68), 2.5, 10.0)
    return HeatCluster(
        f"c{index}", devices, liquid, die * whole, (1 - die) * whole, *times, 100.0,
        air_zone=np.zeros(nodes, np.int64),
        liquid_zone=np.full(nodes, 1 if liquid else -1, np.int64),
        rack=np.arange(nodes) // 2,
        flow_exponent=draw.choice((0.0, 0.5, 0.8)),
        inlet_rise_k_per_w=0.0 if liquid else draw.choice((0.0, 0.004)),
        overhead_w=draw.uniform(100, 500),
        throttle_c=draw.uniform(70, 80),
        shutdown_c=draw.uniform(84, 92),
        hysteresis_k=draw.uniform(1.0, 4.0),
        floor=draw.choice((0.0, 0.3)),
        dwell_s=draw.choice((1.0, 5.0)),
        restart_s=draw.uniform(20, 200),
        liquid_share=draw.uniform(0.6, 0.95),
        overhead_liquid_share=draw.choice((0.0, 0.4)),
        fans=fans,
        die_factors=factors,
        sink_factors=factors[::-1],
    )  # fmt: skip


def scene(number: int) -> tuple[HeatFarm, Schedule]:
    """A farm, and what happens to it."""
    draw = random.Random(number)  # noqa: S311 - not for secrets
    shapes = draw.choice(([True], [False], [True, False], [False, False]))
    clusters = [
        _cluster(draw, i, draw.choice((1, 2, 3)), liquid) for i, liquid in enumerate(shapes)
    ]
    load = {0: 0.0, 1: 0.0}
    for own in clusters:
        watts = own.nodes * (own.devices * 700.0 + own.overhead_w)
        liquid = own.nodes * own.devices * 700.0 * own.liquid_share if own.liquid else 0.0
        load[1] += liquid
        load[0] += watts - liquid
    zones = []
    for index, name in enumerate(("room", "loop")):
        setpoint = draw.uniform(24, 30)
        approach = draw.uniform(4, 8)
        sized = max(load[index], 500.0) * draw.uniform(0.7, 1.3)
        u = draw.choice((sized / approach, sized / approach, math.inf))
        mass = max(load[index], 500.0) * draw.uniform(3, 30)
        needed = draw.choice((1, 2))
        zones.append(
            HeatZone(name, 0, setpoint, u, mass, needed, needed + draw.choice((0, 1)), other_w=50.0)
        )
    total = load[0] + load[1] + 100.0
    units = draw.choice((1, 2))
    plant = HeatPlant(
        "water", draw.uniform(16, 20),
        draw.choice((math.inf, total / units * draw.uniform(0.6, 1.2))), units,
        draw.choice((0.0, total / 20)), total * draw.uniform(5, 40),
    )  # fmt: skip
    racks = [
        HeatRack(draw.choice((0.0, 0.15, 0.3)), draw.uniform(0.15, 0.4), draw.choice((0.0, 40.0)))
        for _ in range(2)
    ]
    farm = HeatFarm(clusters, racks, zones, [plant])
    return farm, _schedule(draw, farm)


def _schedule(draw: random.Random, farm: HeatFarm) -> Schedule:
    rows: Schedule = []
    nodes = [(i, own) for i, own in enumerate(o for o in farm.clusters for _ in range(o.nodes))]
    for _ in range(draw.randint(6, 14)):
        at, (node, own) = draw.uniform(1, HORIZON * 0.9), draw.choice(nodes)
        first = draw.randrange(own.devices)
        count = draw.randint(1, own.devices - first)
        if draw.random() < 0.6:
            first, count = 0, own.devices
        watts = draw.choice((100.0, draw.uniform(300, 800), draw.uniform(650, 900)))
        rows.append((round(at, 6), "power", node, round(watts, 3), first, count))
    for node, own in nodes:
        at = round(draw.uniform(1, 300), 6)
        rows.append((at, "power", node, round(draw.uniform(500, 800), 3), 0, own.devices))
    for _ in range(draw.randint(1, 4)):
        at, what = round(draw.uniform(200, HORIZON * 0.8), 6), draw.random()
        if what < 0.5:
            zone = draw.randrange(2)
            there = farm.zones[zone].units
            left = draw.randint(0, max(farm.zones[zone].units_needed - 1, 0))
            rows.append((at, "zone", zone, left, 0, 0))
            rows.append((round(at + draw.uniform(30, 300), 6), "zone", zone, there, 0, 0))
        elif what < 0.75:
            rows.append((at, "plant", 0, 0, 0, 0))
            back = round(at + draw.uniform(50, 400), 6)
            rows.append((back, "plant", 0, farm.plants[0].units, 0, 0))
        elif what < 0.9:
            rows.append((at, "target", 0, round(draw.uniform(14, 22), 3), 0, 0))
        else:
            rows.append((at, "switch", draw.choice(nodes)[0], 0, 0, 0))
    for node, _ in nodes:
        rows.append(
            (round(draw.uniform(HORIZON * 0.6, HORIZON * 0.95), 6), "switch", node, 1, 0, 0)
        )
    return sorted(rows)


SAMPLES = np.arange(7.0, HORIZON, 37.0)


def by_engine(farm: HeatFarm, schedule: Schedule, horizon: float = HORIZON) -> HeatPlay:
    """The engine's answer."""
    changes = [
        Change(at, KINDS[what], which, value, first, count)
        for at, what, which, value, first, count in schedule
    ]
    samples = SAMPLES[horizon > SAMPLES]
    return play(compile_heat(farm), changes, horizon_s=horizon, samples_s=samples, steady=False)


def by_reference(farm: HeatFarm, schedule: Schedule, horizon: float = HORIZON) -> Played:
    """The reference's."""
    return Naive(farm).play(schedule, horizon, SAMPLES[horizon > SAMPLES])


def log_of(played: HeatPlay) -> list[tuple[float, str, int, int]]:
    """The engine's log in the form of the reference's."""
    found = []
    for time, what, node, device, detail in played.log.tolist():
        shown = {c.OVERHEATED: device, c.COOL: -1}.get(what, detail)
        found.append((time / 1e9, NAMES[what], node, shown))
    return found


def changes_of(log: list[tuple[float, str, int, int]]) -> list[tuple[float, str, int, int]]:
    """A log without rows of speed that say what the node's last one said."""
    last: dict[int, int] = {}
    found = []
    for row in log:
        if row[1] == "speed" and last.get(row[2], 1_000_000) == row[3]:
            continue
        if row[1] in ("speed", "overheated"):
            last[row[2]] = row[3] if row[1] == "speed" else 1_000_000
        found.append(row)
    return found


def dies_of(played: HeatPlay) -> Any:
    """[samples, devices] as the reference counts them."""
    rows = played.die_c.reshape(len(played.at_s), -1)
    return rows[:, ~np.isnan(rows[0])] if len(rows) else rows
