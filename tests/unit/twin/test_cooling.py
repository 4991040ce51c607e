"""Single faults of the cooling: closed forms, redundancy, what is merged, what is told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import twin_farms as farms
from kfarm_api.policy import Fault
from kfarm_twin.arrays import METRIC_COUNT, METRIC_ORDER
from kfarm_twin.compile import ClusterRef, cluster_refs
from kfarm_twin.cooling import WINDOW_S, CoolingPlayer, CoolingRow
from kfarm_twin.cooling_faults import touched
from kfarm_twin.cooling_load import uniform_load
from kfarm_twin.cooling_text import instances, sentence, state
from kfarm_twin.heat import Change, HeatPlay, play
from kfarm_twin.heat_describe import describe_heat
from kfarm_twin.heat_tables import compile_heat
from kfarm_twin.kernels import heat_alone

POWER_W = 8 * 1000 + 6300
"""A node of `twin_farms.profile` at full load."""
ROOM = {"units": 1, "unitCapacity": "200k", "approach": 6, "thermalMass": "20M"}
AIR = {"type": "Air", "supplyTemperature": 24, "air": ROOM}
LOOP = {"approach": 4, "thermalMass": "15M"}
LIQUID = {
    "type": "Liquid",
    "liquidShare": 75,
    "nodesPerCdu": 4,
    "cduCapacity": "1M",
    "supplyTemperature": 32,
    "loop": LOOP,
}
PLANT = {"chillers": 2, "chillerCapacity": "150k", "details": {"thermalMass": "40M"}}


def player(
    *clusters: dict[str, Any],
    load: float = 100.0,
    lasts_s: float = math.inf,
    thermal: dict[str, Any] | None = None,
    **changes: Any,
) -> CoolingPlayer:
    farm = farms.farm(*clusters, **({"plant": PLANT} | changes))
    profile = farms.profile(**({"thermal": thermal} if thermal else {}))
    refs: list[ClusterRef] = cluster_refs([farm], [profile])
    heat = describe_heat(refs)
    return CoolingPlayer(heat, refs, uniform_load(heat, load), lasts_s)


def row(tried: CoolingPlayer, kind: Fault, place: int = 0) -> CoolingRow:
    return tried.row(tried.faults(kind)[place])


def path(**changes: Any) -> dict[str, Any]:
    return {"die": "0.01", "dieTime": "1s", "sinkTime": "12s"} | changes


def test_a_room_without_air_handlers_warms_as_lumped_heat() -> None:
    """C dT = P dt from 24 + 40 K to 85 degC; the device follows the ramp by its time constants."""
    tried = player(farms.cluster(cooling=AIR), thermal={"air": path(sinkTime="90s")})
    found = row(tried, "Crah")
    heat_w = 8 * POWER_W
    expected = 20e6 * (85 - (24 + 0.04 * 1000)) / heat_w + 1 + 90
    assert found.throttle_s == pytest.approx(expected, rel=1e-6)
    assert found.shutdown_s is not None
    assert found.shutdown_s > found.throttle_s
    assert found.down == 8


def test_plates_without_flow_warm_as_lumped_heat() -> None:
    """C_s = 12 s / 0.015 K/W: with R_s(0) without bound, 1,000 W warm it by 1.25 K/s."""
    tried = player(farms.cluster(cooling=LIQUID), thermal={"liquid": path(flowExponent="2")})
    found = row(tried, "Cdu")
    rate = 1000 / (12 / 0.015)
    expected = (85 - (32 + 0.025 * 1000)) / rate + 1
    assert found.throttle_s == pytest.approx(expected, rel=2e-3)


def test_water_without_chillers_warms_as_lumped_heat() -> None:
    """The loop stands Q / U above the water and lags C / U behind its ramp, devices theirs."""
    tried = player(farms.cluster(cooling=LIQUID | {"nodesPerCdu": 8}), thermal={"liquid": path()})
    found = row(tried, "Plant")
    heat_w = 8 * POWER_W
    above, lag = 0.75 * heat_w / 250e3, 15e6 / 250e3
    start = 18 + above + 0.025 * 1000
    expected = 40e6 * (85 - start) / heat_w + lag + 12 + 1
    assert found.throttle_s == pytest.approx(expected, rel=1e-6)


def test_half_the_pumps_give_half_the_flow() -> None:
    """Two pumps needed, none beside: R_s grows by 2^0.8 and the loop keeps its setpoint."""
    cooling = LIQUID | {"loop": LOOP | {"pumps": 2}}
    found = row(player(farms.cluster(cooling=cooling), thermal={"liquid": path()}), "CduPump")
    hottest = 32 + (0.01 + 0.015 * 2**0.8) * 1000
    assert found.hottest_c == pytest.approx(hottest, abs=1e-6)
    assert found.headroom_k == pytest.approx(85 - hottest, abs=1e-6)
    assert found.supply_c == 32.0
    assert state(found) == "Holds"
    assert "1 of 2 pumps left" in sentence(found)


def test_a_redundant_pump_changes_nothing() -> None:
    tried = player(farms.cluster(cooling=LIQUID | {"redundantPumps": 1}))
    found = row(tried, "CduPump")
    assert (found.throttle_s, found.shutdown_s, found.down, found.throttled) == (None, None, 0, 0.0)
    assert found.hottest_c == pytest.approx(32 + 25)
    assert found.steady_s == 0.0
    assert all(hot == pytest.approx(57.0) for _, hot, _, _ in found.curve)
    alone = row(player(farms.cluster(cooling=LIQUID)), "CduPump")
    assert state(alone) == "ShutsDown"


def test_lost_flow_shuts_down_in_seconds_lost_water_in_minutes() -> None:
    """Facts, loss_of_cooling: less than 60 s without flow, minutes without facility water.

    With 0.042 K/W, that of the catalogue's B200.
    """
    profile = farms.profile(thermalResistance={"liquid": "0.042"})
    refs = cluster_refs([farms.farm(farms.cluster(cooling=LIQUID), plant=PLANT)], [profile])
    heat = describe_heat(refs)
    study = CoolingPlayer(heat, refs, uniform_load(heat, 100.0)).study()
    by_fault = {found.fault: found for found in study.rows}
    loop, plant = by_fault["Cdu"], by_fault["Plant"]
    assert loop.shutdown_s is not None
    assert plant.throttle_s is not None
    assert plant.shutdown_s is not None
    assert 10 < loop.shutdown_s < 60
    assert plant.throttle_s > 300
    assert [found.fault for found in study.rows[:3]] == ["CduPump", "Cdu", "Plant"]
    assert study.throttle_min_s == loop.throttle_s
    assert study.shutdown_min_s == loop.shutdown_s


def whole(tried: CoolingPlayer, kind: Fault, samples_s: list[float]) -> HeatPlay:
    """The same fault on all nodes one by one, nothing merged, by the engine's own player."""
    heat, load = tried.heat, tried.load
    fault = tried.faults(kind)[0]
    rows = [
        Change(0.0, heat_alone.POWER, node, float(load.device_mw[node, 0]) / 1000, 0, 8)
        for node in range(len(load.up))
    ]
    rows += [
        Change(0.0, heat_alone.OVERHEAD, node, float(load.overhead_mw[node]) / 1000)
        for node in range(len(load.up))
    ]
    units = heat_alone.PLANT_UNITS if fault.of_plant else heat_alone.ZONE_UNITS
    rows.append(Change(1e-9, units, fault.index, float(fault.left)))
    compiled = compile_heat(heat.farm)
    return play(compiled, rows, horizon_s=WINDOW_S + 1, samples_s=samples_s)


@pytest.mark.parametrize("kind", ["Cdu", "CduPump", "Crah", "Chiller", "Plant"])
def test_merged_nodes_behave_as_all_of_them(kind: Fault) -> None:
    """Racks of 3, CDUs of 4 nodes, rooms with recirculation; equal to all nodes one by one.

    Loops that are merged for faults of a plant throttle in step, single ones in turn: from the
    first throttling on they differ a little.
    """
    liquid = farms.cluster("wet", 10, cooling=LIQUID)
    room = ROOM | {"unitCapacity": "60k", "units": 2}
    dry = farms.cluster(
        "dry", 7, rack={"nodes": 3, "load": 700}, cooling=AIR | {"recirculation": 15, "air": room}
    )
    tried = player(liquid, dry)
    merged = row(tried, kind)
    curve = np.array(merged.curve)
    plain = whole(tried, kind, curve[:, 0].tolist())
    together = kind in {"Chiller", "Plant"}
    for mine, theirs, tolerance in (
        (merged.throttle_s, plain.first_throttle_s, 1e-7),
        (merged.shutdown_s, plain.first_shutdown_s, 0.02 if together else 1e-7),
    ):
        assert mine == (theirs if theirs is None else pytest.approx(theirs, rel=tolerance))
    feels = touched(tried.heat, tried.faults(kind)[0]) == 1
    zone = 0 if together else tried.faults(kind)[0].index
    same = curve[:, 0] < (merged.throttle_s or math.inf) if together else curve[:, 0] >= 0
    hottest = plain.die_c[:, feels].max(axis=(1, 2))
    assert same.sum() > 20
    assert curve[same, 1] == pytest.approx(hottest[same], abs=2e-3)
    assert curve[same, 2] == pytest.approx(plain.supply_c[same, zone], abs=2e-3)


def test_alike_instances_are_told_in_one_row() -> None:
    """Ten nodes on CDUs of four: two full ones and one of two nodes come to nearly the same."""
    study = player(farms.cluster("wet", 10, cooling=LIQUID)).study(["Cdu", "Chiller"])
    labels = {found.fault: found.instances for found in study.rows}
    assert labels["Cdu"] == ("farm-wet-cdu00", "farm-wet-cdu01", "farm-wet-cdu02")
    assert labels["Chiller"] == ("farm-chiller0", "farm-chiller1")
    assert instances(study.rows[0]) == "farm-wet-cdu00 and 2 alike"


def test_a_fault_that_is_soon_over_harms_less() -> None:
    for lasts, expected in ((3.0, "Holds"), (30.0, "Throttles"), (300.0, "ShutsDown")):
        found = row(player(farms.cluster(cooling=LIQUID), lasts_s=lasts), "Cdu")
        assert state(found) == expected
        assert found.back_s == lasts
        assert f"back after {lasts:g} s" in sentence(found) or "5 min" in sentence(found)


def test_less_load_leaves_more_time() -> None:
    full, half = (
        row(player(farms.cluster(cooling=LIQUID), load=load), "Cdu") for load in (100.0, 50.0)
    )
    assert full.throttle_s is not None
    assert half.throttle_s is not None
    assert half.throttle_s > 2 * full.throttle_s
    idle = row(player(farms.cluster(cooling=LIQUID), load=0.0), "Chiller")
    assert state(idle) == "Holds"


def test_chillers_on_a_lost_feed_come_back_after_their_restart() -> None:
    details = {"thermalMass": "40M", "restart": "10m"}
    plant = {"chillers": 3, "chillerCapacity": "60k", "redundancy": 1, "details": details}
    tried = player(farms.cluster(cooling=LIQUID), plant=plant)
    first, second = tried.faults("Feed")
    assert (first.label, first.units, first.left) == ("farm-feed0", 2, 1)
    assert (second.units, second.left, second.down_s) == (1, 2, 600.0)
    assert row(tried, "Feed").back_s == 600.0
    assert "back after 10 min" in sentence(row(tried, "Feed"))


def test_a_single_feed_takes_its_nodes() -> None:
    cluster = farms.cluster(cooling=LIQUID, feed={"nodesPerPdu": 4})
    found = row(player(cluster), "Feed")
    assert found.dark == 8
    assert state(found) == "ShutsDown"
    assert "8 nodes lose their only feed" in sentence(found)
    assert found.shutdown_s is None


def test_what_is_not_described_cannot_fail() -> None:
    """No plant, no handlers, no feed: nothing to try in a silent air cluster."""
    silent = farms.cluster(cooling={"type": "Air", "supplyTemperature": 24}, feed=None)
    study = player(silent, plant=None).study()
    assert study.rows == ()
    assert study.throttle_min_s is None
    metrics = np.full((2, METRIC_COUNT), np.nan)
    study.fill(metrics)
    assert np.isnan(metrics).all()
    liquid = player(farms.cluster(cooling=LIQUID, feed=None), plant=None)
    assert {found.fault for found in liquid.study().rows} == {"CduPump", "Cdu"}


def test_times_are_written_as_metrics() -> None:
    study = player(farms.cluster(cooling=LIQUID)).study()
    metrics = np.full((3, METRIC_COUNT), np.nan)
    study.fill(metrics)
    column = metrics[:, METRIC_ORDER.index("time_to_shutdown_min")]
    assert column.tolist() == [study.shutdown_min_s] * 3
    held = player(farms.cluster(cooling=LIQUID | {"redundantPumps": 1})).study(["CduPump"])
    assert held.throttle_min_s == held.shutdown_min_s == WINDOW_S


def test_devices_that_differ_are_not_merged() -> None:
    """With a spread the worst device is hotter than the nominal one, and throttles sooner."""
    wide = {"liquid": path(), "spread": "0.1"}
    nominal, spread = (
        row(player(farms.cluster(cooling=LIQUID), thermal=thermal), "Cdu")
        for thermal in ({"liquid": path()}, wide)
    )
    assert nominal.throttle_s is not None
    assert spread.throttle_s is not None
    assert spread.throttle_s < nominal.throttle_s


def test_only_those_that_feel_it_are_played() -> None:
    tried = player(farms.cluster("wet", 10, cooling=LIQUID), farms.cluster("dry", 3, cooling=AIR))
    feels = touched(tried.heat, tried.faults("Cdu")[1])
    assert np.flatnonzero(feels).tolist() == [4, 5, 6, 7]
    assert int(touched(tried.heat, tried.faults("Plant")[0]).sum()) == 13
    assert int(touched(tried.heat, tried.faults("Crah")[0]).sum()) == 3
