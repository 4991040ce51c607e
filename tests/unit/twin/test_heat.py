"""Heat of small farms against closed forms, and what the engine must not do."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kfarm_twin.heat import Change, HeatPlay, new_state, play
from kfarm_twin.heat_tables import (
    HeatCluster,
    HeatFans,
    HeatFarm,
    HeatFault,
    HeatPlant,
    HeatRack,
    HeatZone,
    compile_heat,
)
from kfarm_twin.kernels import heat_alone as alone
from kfarm_twin.kernels import heat_columns as c

TESTS = Path(__file__).parents[2]
HOUR = 3600.0


def cluster(nodes: int, **other: Any) -> HeatCluster:
    """Nodes of eight 900 W devices on one loop."""
    zeros, own = np.zeros(nodes, np.int64), {"throttle_c": 85.0, "shutdown_c": 95.0}
    given = {
        "name": "c", "devices": 8, "liquid": True, "die_k_per_w": 0.02, "sink_k_per_w": 0.03,
        "die_s": 5.0, "sink_s": 12.0, "idle_w": 100.0, "air_zone": zeros, "liquid_zone": zeros + 1,
        "rack": np.arange(nodes) // 4, "overhead_w": 1000.0,
    }  # fmt: skip
    return HeatCluster(**(given | own | other))


def farm(own: HeatCluster, **other: Any) -> HeatFarm:
    """One room and one loop that can carry what the nodes draw at an approach of 4 K."""
    kilowatts = own.nodes * own.devices * 1.0
    loop = HeatZone("loop", 0, 30.0, kilowatts * 1e3 / 4.0, kilowatts * 2e4, 1, 2)
    given: dict[str, Any] = {
        "racks": [HeatRack()] * int(max(own.rack) + 1),
        "zones": [HeatZone("room", 0, 22.0), loop],
        "plants": [HeatPlant("water", 18.0)],
    }
    return HeatFarm([own], **(given | other))


def busy(nodes: int, watts: float = 900.0, at: float = 0.0, devices: int = 8) -> list[Change]:
    """All devices of all nodes ask for so much."""
    return [Change(at, alone.POWER, node, watts, 0, devices) for node in range(nodes)]


def played(own: HeatFarm, schedule: list[Change], hours: float, **other: Any) -> HeatPlay:
    return play(compile_heat(own), schedule, horizon_s=hours * HOUR, **other)


def test_a_steady_device_is_warm_by_resistance_times_power() -> None:
    found = played(farm(cluster(2)), busy(2), 1.0, samples_s=[10.0, 3000.0])
    assert np.allclose(found.die_c, 30.0 + 0.05 * 900.0, atol=1e-9)
    assert found.hottest_c == pytest.approx(75.0, abs=1e-9)
    assert found.headroom_k == pytest.approx(10.0, abs=1e-9)
    assert found.power_w[0].tolist() == [8200.0, 8200.0]
    assert len(found.log) == 0


def test_a_step_of_power_has_two_time_scales() -> None:
    times = np.array([1.0, 3.0, 10.0, 30.0, 100.0])
    found = played(farm(cluster(1)), busy(1, at=0.5), 1.0, samples_s=times + 0.5, steady=False)
    sink = 30.0 + 0.03 * (100.0 + 800.0 * (1.0 - np.exp(-times / 12.0)))
    mixed = (12.0 * np.exp(-times / 12.0) - 5.0 * np.exp(-times / 5.0)) / 7.0
    die = 35.0 + 0.02 * 800.0 * (1 - np.exp(-times / 5.0)) + 0.03 * 800.0 * (1.0 - mixed)
    assert np.allclose(found.die_c[:, 0, 3], die, atol=1e-9)
    assert np.all(found.die_c[:, 0, 3] > sink)


def test_an_adiabatic_room_warms_by_its_heat_over_its_mass() -> None:
    """All air handlers stop: C dT = Q dt, and devices follow 1/rate behind (lumped capacitance)."""
    own = cluster(4, liquid=False, liquid_zone=np.full(4, -1, np.int64))
    heat, mass = 4 * 8200.0, 4e6
    room = HeatZone("room", 0, 22.0, heat / 3.0, mass)
    scene = farm(own, zones=[room, HeatZone("loop", 0, 30.0)], faults=[HeatFault(600.0, False, 0)])
    found = played(scene, busy(4), 3.0, samples_s=[600.0, 1600.0], devices=False)
    assert found.supply_c[:, 0] == pytest.approx([22.0, 22.0 + heat * 1000.0 / mass], abs=1e-9)
    rate = heat / mass
    delay = 5.0 + 12.0  # a ramp goes through both stages with the sum of their times behind
    expected = 600.0 + (85.0 - 22.0 - 0.05 * 900.0) / rate + delay
    assert found.first_throttle_s == pytest.approx(expected, abs=1e-3)


def test_a_plate_without_flow_warms_towards_natural_convection() -> None:
    """Pumps stop: the plate's resistance is 0.01^-0.8 times that at full flow, at one capacity."""
    own = cluster(1, shutdown_c=math.inf, throttle_c=95.0)
    loop = HeatZone("loop", 0, 30.0, math.inf, 1e15, 1, 1)  # a loop that does not warm
    scene = farm(own, zones=[HeatZone("room", 0, 22.0), loop], faults=[HeatFault(60.0, False, 1)])
    found = played(scene, busy(1, 500.0), 1.0)
    more = 0.01**-0.8
    time = 12.0 * more
    # sink: from 45 towards 30 + 0.03 * more * 500, die 10 K above it with 5 s of its own
    sink0, rest = 45.0, 30.0 + 15.0 * more

    assert found.first_throttle_s is not None
    low, high = 0.0, 600.0
    for _ in range(80):
        middle = 0.5 * (low + high)
        value = (
            rest
            + 10.0
            + (sink0 - rest)
            * ((time * math.exp(-middle / time) - 5.0 * math.exp(-middle / 5.0)) / (time - 5.0))
        )
        low, high = (middle, high) if value < 95.0 else (low, middle)
    assert found.first_throttle_s == pytest.approx(60.0 + low, abs=1e-5)


def test_fans_draw_the_cube_of_their_speed() -> None:
    watts = []
    for speed in (0.25, 0.5, 1.0):
        own = cluster(1, fans=HeatFans(800.0, (speed,)))
        watts.append(played(farm(own), busy(1), 0.1, samples_s=[1.0]).power_w[0, 0] - 8200.0)
    assert watts == pytest.approx([800.0 / 64, 100.0, 800.0])


def test_automatic_fans_turn_as_slowly_as_the_target_allows() -> None:
    levels = (0.2, 0.4, 0.6, 0.8, 1.0)
    own = cluster(
        1, liquid=False, liquid_zone=np.full(1, -1, np.int64),
        fans=HeatFans(500.0, levels, 70.0, 3.0, 10.0),
    )  # fmt: skip
    found = played(farm(own), busy(1, 800.0, at=100.0), 1.0, samples_s=[3000.0], steady=False)
    steady = [22.0 + 800.0 * (0.02 + 0.03 * level**-0.8) for level in levels]
    wanted = next(i for i, celsius in enumerate(steady) if celsius <= 70.0)
    turns = [row for row in found.log.tolist() if row[1] == c.FANS]
    assert [row[4] for row in turns] == [wanted]
    assert turns[0][0] == 110 * 10**9
    assert found.die_c[0, 0] == pytest.approx([steady[wanted]] * 8, abs=1e-9)


def test_throttling_pins_a_device_below_its_limit() -> None:
    own = cluster(1, throttle_c=70.0)
    found = played(farm(own), busy(1, 1000.0, at=10.0), 1.0, samples_s=[3000.0], steady=False)
    level = math.floor(((70.0 - 30.0) / 0.05 - 100.0) / 900.0 * 32.0)
    power = 100.0 + 900.0 * level / 32
    assert found.power_w[0, 0] == pytest.approx(8 * power + 1000.0, abs=0.01)
    assert found.die_c[0, 0] == pytest.approx([30.0 + 0.05 * power] * 8, abs=1e-4)
    assert found.hottest_c == pytest.approx(70.0, abs=1e-6)
    assert [row[4] for row in found.log.tolist()] == [level * 1_000_000 // 32]
    tally = found.state.cluster[0]
    assert (tally[c.THROTTLED], tally[c.THROTTLED_MAX]) == (8, 8)
    seconds = found.state.cluster_c[0, c.THROTTLED_S]
    assert seconds == pytest.approx(8 * (HOUR - float(found.first_throttle_s or 0.0)), rel=1e-9)


def test_a_shutdown_ends_after_restart_and_cooling() -> None:
    own = cluster(1, throttle_c=math.inf, shutdown_c=80.0, restart_s=50.0)
    found = played(farm(own), busy(1, 1500.0, at=10.0), 0.2, restarts=True, steady=False)
    whats = [row[1] for row in found.log.tolist()]
    assert whats[:3] == [c.OVERHEATED, c.COOL, c.OVERHEATED]
    assert found.log[1, 0] - found.log[0, 0] == 50 * 10**9
    slow = played(
        farm(cluster(1, throttle_c=math.inf, shutdown_c=80.0, restart_s=1.0, hysteresis_k=25.0)),
        busy(1, 1500.0, at=10.0), 0.2, steady=False,
    )  # fmt: skip
    off = float(slow.log[1, 0] - slow.log[0, 0]) / 1e9
    assert slow.log[1, 1] == c.COOL
    assert 5.0 < off < 60.0  # not before the die is below 55 degC


def test_units_that_fail_by_chance_are_up_as_often_as_stated() -> None:
    loop = HeatZone("loop", 0, 30.0, 1e6, 1e7, 1, 2, unit_up_s=9000.0, unit_down_s=1000.0)
    scene = compile_heat(farm(cluster(1), zones=[HeatZone("room", 0, 22.0), loop]))
    state, events, down = new_state(scene), 0, 0
    for future in range(60):
        found = play(scene, [], horizon_s=100 * HOUR, future=future, state=state)
        events += int(found.state.unit[:, c.ORDINAL].sum())
        down += int(found.state.unit[:, c.IS_DOWN].sum())
    assert 8300 < events < 9000  # 60 x 2 x (36 cycles of two changes + 1), -/+ 4 sigma
    assert 2 <= down <= 24  # one in ten of 120


def test_devices_differ_by_the_spread_and_futures_too() -> None:
    scene = compile_heat(farm(cluster(200, spread=0.1)))
    dies = [
        play(scene, busy(200), horizon_s=60.0, samples_s=[1.0], future=f).die_c[0] for f in (0, 1)
    ]
    logs = np.log((dies[0] - 30.0) / 45.0)
    assert logs.mean() == pytest.approx(0.0, abs=0.01)
    assert logs.std() == pytest.approx(0.1, rel=0.05)
    assert not np.allclose(dies[0], dies[1])


def test_thirteen_thousand_devices_at_their_limit_make_no_storm() -> None:
    """Loops with too few units: devices hover, each with a limit of its own, for two hours."""
    nodes = 1642
    own = cluster(nodes, throttle_c=75.0, spread=0.03)
    loop = HeatZone("loop", 0, 30.0, nodes * 8e3 / 4.0, nodes * 1.6e5, 4, 4)
    faults = [HeatFault(600.0, False, 1, 1, 1800.0), HeatFault(4000.0, False, 1, 2, 600.0)]
    scene = farm(own, zones=[HeatZone("room", 0, 22.0), loop], faults=faults)
    found = played(scene, busy(nodes, 1000.0, at=60.0), 2.0, steady=False, devices=False)
    assert found.state.cluster[0, c.THROTTLED_MAX] > 10_000
    seconds = 2.0 * HOUR
    events = int(found.state.now[c.EVENTS])
    assert events > 1000
    assert events < 0.01 * nodes * 8 * seconds  # far below one per device and dwell of 1 s
    assert events < 20 * nodes * 8


def test_without_throttling_in_reach_nothing_is_looked_for() -> None:
    nodes = 64
    schedule = [
        Change(30.0 * i, alone.POWER, i % nodes, 900.0 if i % 3 else 100.0, 0, 8)
        for i in range(1, 2000)
    ]
    found = played(farm(cluster(nodes)), schedule, 20.0)
    assert found.state.now[c.SEARCHES] == 0
    assert found.state.now[c.EVENTS] == 0
    again = played(farm(cluster(nodes, throttle_c=74.0)), schedule, 20.0)
    assert again.state.now[c.SEARCHES] > 100


def test_recirculation_warms_the_inlet_of_a_rack() -> None:
    own = cluster(4, liquid=False, liquid_zone=np.full(4, -1, np.int64))
    rack = HeatRack(0.2, 2.0, 300.0)
    found = played(farm(own, racks=[rack]), busy(4, 500.0), 0.1, samples_s=[1.0])
    rise = (4 * 5000.0 + 300.0) / (1.184 * 1006.0 * 2.0)
    assert found.inlet_c[0] == pytest.approx([22.0 + 0.25 * rise] * 4, abs=1e-9)


@pytest.mark.parametrize(
    "own",
    [
        replace(cluster(1), rack=np.array([5])),
        replace(cluster(1), liquid_zone=np.array([7])),
        replace(cluster(1), liquid_zone=np.array([-1])),
        replace(cluster(1), devices=0),
        replace(cluster(1), fans=HeatFans(1.0, (0.5, 1.0))),
    ],
)
def test_farms_that_cannot_be_played_are_refused(own: HeatCluster) -> None:
    good = farm(cluster(1))
    with pytest.raises(ValueError, match="cluster c"):
        compile_heat(HeatFarm([own], good.racks, good.zones, good.plants))


SCRIPT = """
import sys, json
sys.path.insert(0, {tests!r})
import heat_scenes as scenes
out = []
for number in (1, 5):
    played = scenes.by_engine(*scenes.scene(number))
    state = played.state
    out.append([played.log.tolist(), played.die_c.tobytes().hex(), played.supply_c.tobytes().hex(),
                state.cluster_c.tobytes().hex(), state.zone_c.tobytes().hex()])
print(json.dumps(out))
"""


def test_plain_python_has_the_same_bits() -> None:
    answers = []
    for disabled in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT.format(tests=str(TESTS))],
            env=os.environ | {"NUMBA_DISABLE_JIT": disabled}, check=True, stdout=subprocess.PIPE,
        )  # fmt: skip
        answers.append(json.loads(done.stdout))
    assert answers[0] == answers[1]
    assert len(answers[0][0][0]) > 5
