"""Gangs that warm: throttled, stretched, shut down and back, against closed forms and DOP853."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import naive_heat
import numpy as np
import pytest
import twin_farms as farms
from kfarm_api.units import parse_quantity
from kfarm_twin import simulate
from kfarm_twin.arrays import METRIC_ORDER
from kfarm_twin.compile import Model, compile_farm, read_only
from kfarm_twin.heat_tables import HeatFault, compile_heat
from kfarm_twin.kernels.loop import run_batch
from kfarm_twin.place import place
from kfarm_twin.results import Replay
from kfarm_twin.simulate import Simulator
from kfarm_twin.steady import running_nodes, steady

HOUR_NS = 3600 * 10**9
PPM = 10**6
IDLE_MW, FULL_MW = 139_000, 1_000_000
NEVER = {"classes": [{"name": "any", "failuresPer1000NodeDays": "0.000001",
                      "meanTimeToRepair": "1h"}], "detection": "60s"}  # fmt: skip
LIQUID = {
    "type": "Liquid",
    "liquidShare": 75,
    "nodesPerCdu": 2,
    "cduCapacity": "60k",
    "supplyTemperature": 50,
    "airSupplyTemperature": 24,
    "loop": {"pumps": 2},
}


def build(
    cooling: dict[str, Any], workload: dict[str, Any], faults: list[HeatFault], nodes: int = 4,
    hours: int = 100,
) -> tuple[Model, Simulator]:  # fmt: skip
    """A farm without failures but those of its cooling."""
    farm = farms.farm(farms.cluster(nodes=nodes, cooling=cooling, reliability=NEVER))
    seen = farms.snapshot(farm)
    model = compile_farm([farm], [farms.profile()], farms.plan(workload), seen)
    heat = compile_heat(model.described.with_faults(faults))
    model = replace(model, heat=heat, columns=model.columns._replace(heat=read_only(heat.tables)))
    placed = place(model)
    assert isinstance(placed, np.ndarray)
    return model, Simulator(model, placed, 5, hours * HOUR_NS)


def gang(pods: int, hours: int, **changes: Any) -> dict[str, Any]:
    """Work without saves at full load."""
    saves = {"interval": "9999h", "save": "0s", "restart": "5m"}
    return farms.training(
        pods, **({"duration": f"{hours}h", "checkpoint": saves, "load": 100} | changes)
    )


def events(replay: Replay, *names: str) -> list[tuple[str, int, int, int]]:
    return [
        (e["event"], e["time_ns"], e["entity"], e["detail"])
        for e in replay.events.to_pylist()
        if e["event"] in names
    ]


def metric(replay: Replay, name: str) -> float:
    return float(replay.outcome.metrics[0, METRIC_ORDER.index(name)])


def test_a_gang_that_throttles_is_stretched_by_what_the_closed_form_says() -> None:
    """(T_lim - T_in) / R = 875 W allow 27 of 32 levels of 861 W above idle."""
    cooling = {"type": "Air", "supplyTemperature": 50}
    model, playing = build(cooling, gang(2, 20), [], nodes=2)
    played = playing.replay(0)
    level = math.floor((875 - 139) / 861 * 32)
    assert level == 27
    drawn, speed = IDLE_MW + (FULL_MW - IDLE_MW) * level // 32, PPM * level // 32
    (finished,) = events(played, "UnitFinished")
    assert finished[1] == -(-20 * HOUR_NS * PPM // speed)
    assert metric(played, "throttled_accelerators_max") == 1.0
    hours = 16 * finished[1] / HOUR_NS
    assert metric(played, "throttled_accelerator_hours") == pytest.approx(hours)
    assert metric(played, "accelerator_temperature_max") == pytest.approx(50 + 0.04e-3 * drawn)
    assert metric(played, "throttle_headroom_min") == pytest.approx(35 - 0.04e-3 * drawn)
    slow = float(played.outcome.workload_lost_ns[0, 0, 6])
    assert slow == pytest.approx(16 * (finished[1] - 20 * HOUR_NS), rel=1e-9)
    view = steady(model, playing.slot_node, running_nodes(model))
    assert view.hottest_c.max() == pytest.approx(metric(played, "accelerator_temperature_max"))
    assert view.throttled.tolist() == [8, 8]
    assert view.power_mw.sum() == round(metric(played, "it_power_peak") * 1000)


def reference(
    model: Model, where: dict[int, int], faults: list[HeatFault], replay: Replay, horizon_s: float
) -> naive_heat.Played:
    """The heat alone by DOP853, with what the gang asks for as the replay tells it."""
    loads, idle = model.columns.loads, int(model.columns.clusters.overhead_mw[0]) / 1000
    beside = int(loads.beside_mw[0, 0]) / 1000
    rows: list[tuple[float, str, int, float, int, int]] = []
    for fault in faults:
        there = model.described.farm.zones[fault.index].units
        rows.append((fault.at_s, "zone", fault.index, there - fault.units, 0, 0))
        rows.append((fault.at_s + fault.down_s, "zone", fault.index, there, 0, 0))
    for event in replay.events.to_pylist():
        at, kind, entity = event["time_ns"] / 1e9, event["event"], event["entity"]
        if kind == "SlotMoved":
            where[entity] = event["detail"]
        elif kind in ("UnitStarted", "UnitStopped", "UnitFinished"):
            works = kind == "UnitStarted"
            for node in where.values():
                rows.append((at, "power", node, 1000.0 if works else 139.0, 0, 8))
                rows.append((at, "overhead", node, idle + beside * works, 0, 0))
        elif kind == "NodeRepaired":
            rows.append((at + 1e-3, "switch", entity, 1, 0, 0))
    return naive_heat.Naive(model.described.farm).play(
        [row for row in rows if row[0] < horizon_s], horizon_s, np.array([])
    )


def played_beside(faults: list[HeatFault], pods: int) -> tuple[Model, Replay, naive_heat.Played]:
    """The gang loop and the reference under the same faults of one gang without saves."""
    model, playing = build(LIQUID, gang(pods, 1), faults, hours=2)
    replay = playing.replay(0)
    where = dict(enumerate(playing.slot_node.tolist()))
    return model, replay, reference(model, where, faults, replay, 2 * 3600.0)


def test_a_lost_pump_slows_the_gang_as_an_integration_says() -> None:
    """One of two pumps for ten minutes: the plates' resistance rises, levels fall, and back."""
    fault = HeatFault(900.0, of_plant=False, index=0, units=1, down_s=600.0)
    _, replay, expected = played_beside([fault], pods=4)
    told = [row for row in expected.log if row[1] == "speed"]
    found = events(replay, "NodeThrottled")
    assert len(found) == len(told) > 2
    for (_, at, node, ppm), (time, _, home, speed) in zip(found, sorted(told), strict=True):
        assert (node, ppm) == (home, speed)
        assert at / 1e9 == pytest.approx(time, abs=1e-5)
    slowest = dict.fromkeys(range(4), PPM)
    work, now = 0.0, 0.0
    for time, _, node, speed in sorted(told):
        work += (time - now) * min(slowest.values()) / PPM
        now, slowest[node] = time, speed
    finish = now + 3600 - work
    ((_, finished, _, _),) = events(replay, "UnitFinished")
    assert finished / 1e9 == pytest.approx(finish, abs=1e-3)
    assert finished / 1e9 > 3600 + 30
    assert metric(replay, "thermal_shutdowns") == 0
    assert metric(replay, "accelerator_temperature_max") == pytest.approx(
        expected.hottest, abs=1e-6
    )
    hours = expected.throttled_s / 3600
    assert metric(replay, "throttled_accelerator_hours") == pytest.approx(hours, rel=1e-6)


def test_nodes_overheat_the_gang_moves_and_they_come_back() -> None:
    """All pumps of a loop: its nodes go off as class Overheat, the gang goes on on the others."""
    fault = HeatFault(900.0, of_plant=False, index=0, units=2, down_s=300.0)
    model, replay, expected = played_beside([fault], pods=2)
    overheat = model.names.classes.index("Overheat")
    told = [row for row in expected.log if row[1] == "overheated"]
    found = events(replay, "NodeOverheated")
    assert [(e[2], e[3]) for e in found] == [(0, overheat), (1, overheat)]
    for (_, at, node, _), (time, _, home, _) in zip(found, sorted(told), strict=True):
        assert node == home
        assert at / 1e9 == pytest.approx(time, abs=1e-5)
    cooled = events(replay, "NodeCooled")
    cools = sorted(row for row in expected.log if row[1] == "cool")
    for (_, at, _, _), (time, _, _, _) in zip(cooled, cools, strict=True):
        assert at / 1e9 == pytest.approx(time, abs=1e-4)
    assert [e[0] for e in events(replay, "NodeFailed", "NodeRepaired")] == [
        "NodeFailed", "NodeFailed", "NodeRepaired", "NodeRepaired",
    ]  # fmt: skip
    off = found[0][1]
    assert cooled[0][1] >= max(off + 600 * 10**9, (900 + 300) * 10**9)
    stopped = events(replay, "UnitStopped", "UnitStarted")[1:]
    assert stopped == [
        ("UnitStopped", off, 0, overheat),
        ("UnitStarted", off + 360 * 10**9, 0, 0),
    ]
    assert metric(replay, "thermal_shutdowns") == 2
    assert metric(replay, "node_failures") == 2
    assert metric(replay, "gang_interruptions") == 1
    down = sum(e[1] for e in cooled) - sum(e[1] for e in found)
    assert replay.outcome.class_down_ns[0, overheat] == pytest.approx(8 * down)
    assert replay.outcome.class_tally[0, overheat, 0] == 2
    assert metric(replay, "accelerator_temperature_max") <= 92 + 1e-6


def test_energy_is_what_is_drawn_and_nothing_is_hotter_than_the_shutdown_limit() -> None:
    """Chance failures of pumps over years: books and limits hold in every future."""
    loop = {"pumps": 1, "pumpLife": {"meanTimeBetweenFailures": "300h", "meanTimeToRepair": "1h"}}
    cooling = LIQUID | {"loop": loop, "supplyTemperature": 40, "redundantPumps": 1}
    farm = farms.farm(farms.cluster(nodes=4, cooling=cooling))
    model = compile_farm([farm], [farms.profile()], farms.plan(gang(2, 900)), farms.snapshot(farm))
    placed = place(model)
    assert isinstance(placed, np.ndarray)
    playing = Simulator(model, placed, 3, 2000 * HOUR_NS)
    outcome = playing.play(0, 24)
    hottest = outcome.metrics[:, METRIC_ORDER.index("accelerator_temperature_max")]
    shutdowns = outcome.metrics[:, METRIC_ORDER.index("thermal_shutdowns")]
    assert (hottest <= 92 + 1e-6).all()
    assert hottest[shutdowns > 0] == pytest.approx(92, abs=1e-6)
    assert (shutdowns > 0).any()
    assert (shutdowns == 0).any()
    played = playing.replay(int(np.argmax(shutdowns)))
    times = [*played.series["time_s"].to_pylist(), played.horizon_ns / 1e9]
    power = played.series["it_power_w"].to_pylist()
    energy = math.fsum(p * (b - a) for p, a, b in zip(power, times, times[1:], strict=False))
    assert metric(played, "it_energy") == pytest.approx(energy, rel=1e-9)
    assert (
        played.outcome.metrics.tobytes() == outcome.metrics[[int(np.argmax(shutdowns))]].tobytes()
    )
    lost = outcome.class_lost_ns[:, model.names.classes.index("Overheat")].sum(axis=1)
    assert ((lost > 0) == (shutdowns > 0)).all()


def test_hours_of_a_future_hold_its_energy_and_make_the_facilitys_figures() -> None:
    """PUE is of the energy by the hour, which is that of the loop; the rest follows from it."""
    farm = farms.farm(farms.cluster(nodes=4), power={"tariff": "kepco-industrial"})
    asked = farms.plan(farms.training(3, duration="20h"))
    model = compile_farm([farm], [farms.profile()], asked, farms.snapshot(farm))
    placed = place(model)
    assert isinstance(placed, np.ndarray)
    outcome = Simulator(model, placed, 3, 30 * HOUR_NS + 1).play(0, 4)
    column = {name: outcome.metrics[:, METRIC_ORDER.index(name)] for name in METRIC_ORDER}
    np.testing.assert_allclose(column["facility_energy"] / column["pue"], column["it_energy"])
    hours = 24 * outcome.unit_times_ns[:, 0, 0] / HOUR_NS
    kwh = column["facility_energy"] / 3.6e6
    np.testing.assert_allclose(column["energy_per_accelerator_hour"] * hours, kwh)
    np.testing.assert_allclose(column["cost_per_accelerator_hour"] * hours, column["energy_cost"])
    litres = column["wue"] * column["it_energy"] / 3.6e6
    np.testing.assert_allclose(litres, 1000 * column["water"])
    assert (column["facility_power_peak"] * 30 * 3600 > column["facility_energy"]).all()


@pytest.mark.parametrize("capacity", ["3k", "2k", "1500"])
def test_far_beyond_its_capacity_a_loop_rests_with_devices_at_their_limit(capacity: str) -> None:
    """What devices are slowed to is what their coolant carries: T = T_w + Q / U + R P.

    Trying supplies and power levels in turn swings between idle and full power here, since a
    kelvin of supply moves more heat than the loop carries away per kelvin.
    """
    cooling = farms.cluster()["cooling"] | {"cduCapacity": capacity}
    farm = farms.farm(farms.cluster(cooling=cooling))
    model = compile_farm(
        [farm], [farms.profile()], farms.plan(farms.training(4)), farms.snapshot(farm)
    )
    placed = place(model)
    assert isinstance(placed, np.ndarray)
    rest = steady(model, placed, np.ones(8, np.int64))
    assert rest.throttled.tolist() == [8] * 4 + [0] * 4
    carried_w = rest.loop_heat_mw[0] * 0.001
    coolant_c = 18.0 + carried_w * 4.0 / float(parse_quantity(capacity))
    node_w = rest.power_mw[0] * 0.001
    device_w = (rest.hottest_c[0] - coolant_c) / 0.025
    assert 139.0 < device_w < 139.0 + 861.0 * 0.85
    assert 4 * node_w * 0.75 == pytest.approx(carried_w, rel=1e-9)
    assert 83.0 < rest.hottest_c[0] <= 85.0


def test_futures_and_rest_share_one_compiled_loop() -> None:
    """Slots are read-only in both: a second signature costs half a minute at first."""
    model, simulator = build(LIQUID, farms.training(2), [])
    simulator.play(0, 1)
    steady(model, simulator.slot_node, running_nodes(model))
    compiled = getattr(run_batch, "signatures", [])
    assert not [signature for signature in compiled if signature[1].mutable]


def test_a_future_that_lacked_room_is_booked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is played again with more room; energy of the first attempt must not stay in its hours."""
    farm = farms.farm(farms.cluster())
    seen = farms.snapshot(farm)
    model = compile_farm([farm], [farms.profile()], farms.plan(farms.training(4)), seen)
    placed = place(model)
    assert isinstance(placed, np.ndarray)
    events, _ = simulate.first_room(model.fleet)
    roomy = Simulator(model, placed, 5, 2000 * HOUR_NS).play(0, 2)
    grown: list[int] = []
    grow = simulate._Worker.grow
    monkeypatch.setattr(simulate._Worker, "grow", lambda self: (grown.append(1), grow(self)))
    monkeypatch.setattr(simulate, "first_room", lambda fleet: (events, 1))
    narrow = Simulator(model, placed, 5, 2000 * HOUR_NS).play(0, 2)
    assert grown
    assert narrow.metrics.tobytes() == roomy.metrics.tobytes()
