"""Manifests as the heat engine takes them: every default, every field, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import twin_farms as farms
from kfarm_twin.compile import compile_farm
from kfarm_twin.heat_describe import DescribedHeat, describe_farms, describe_heat
from kfarm_twin.heat_tables import HeatFault, compile_heat
from kfarm_twin.request import InputError

AIR = {"type": "Air", "supplyTemperature": 24, "recirculation": 10}
LIQUID = {
    "type": "Liquid",
    "liquidShare": 75,
    "nodesPerCdu": 4,
    "cduCapacity": "1M",
    "supplyTemperature": 32,
}


def described(
    *clusters: dict[str, Any], profile: dict[str, Any] | None = None, **changes: Any
) -> DescribedHeat:
    farm = farms.farm(*(clusters or (farms.cluster(),)), **changes)
    return describe_farms([farm], [farms.profile(**(profile or {}))])


def test_a_silent_liquid_cluster_takes_the_documented_defaults() -> None:
    """A third of 0.025 K/W in the die; plate 12 s; U = 1 MW / 4 K; mass 60 s of it."""
    heat = described(farms.cluster(cooling=LIQUID))
    cluster, loop = heat.farm.clusters[0], heat.farm.zones[0]
    assert cluster.liquid
    assert (cluster.die_s, cluster.sink_s, cluster.flow_exponent) == (5.0, 12.0, 0.8)
    assert cluster.die_k_per_w == pytest.approx(0.025 / 3)
    assert cluster.die_k_per_w + cluster.sink_k_per_w == pytest.approx(0.025)
    assert (cluster.hysteresis_k, cluster.floor, cluster.restart_s) == (3.0, 0.0, 600.0)
    assert (cluster.spread, cluster.fans, cluster.inlet_rise_k_per_w) == (0.0, None, 0.0)
    assert (cluster.liquid_share, cluster.overhead_liquid_share) == (0.75, 0.75)
    assert (loop.setpoint_c, loop.u_w_per_k, loop.mass_j_per_k) == (32.0, 250e3, 60 * 250e3)
    assert (loop.units_needed, loop.units, loop.unit_up_s) == (1, 1, 0.0)
    told = "\n".join(heat.assumptions)
    for words in (
        "profile b200: thermal.liquid is not given",
        "farm/main: cooling.loop is not given; approach 4 K and one pump",
        "cooling.loop.thermalMass is not given; 60 s",
        "cooling.air is not given",
        "cooling.air.thermalMass is not given; 300 s",
        "plant.details is not given; facility water at 18 degC",
        "plant.details.thermalMass is not given; 300 s",
    ):
        assert words in told


def test_a_silent_room_holds_its_supply_at_nameplate() -> None:
    """8 nodes x 14.3 kW over 24 - 18 = 6 K; with 20 degC over 2 K, which is less."""
    for supply, kelvin in ((24, 6.0), (26, 6.0)):
        room = described(farms.cluster(cooling=AIR | {"supplyTemperature": supply})).farm.zones[0]
        assert room.u_w_per_k == pytest.approx(8 * 14_300 / kelvin)
        assert room.setpoint_c == supply
        assert room.mass_j_per_k == pytest.approx(300 * room.u_w_per_k)
    cool = described(farms.cluster(cooling=AIR | {"supplyTemperature": 20}))
    assert cool.farm.plants[0].target_c == 14.0
    given = {"chillers": 2, "chillerCapacity": "6M", "details": {"supplyTemperature": 18}}
    close = described(farms.cluster(cooling=AIR | {"supplyTemperature": 20}), plant=given)
    assert close.farm.zones[0].u_w_per_k == pytest.approx(8 * 14_300 / 2.0)


def test_a_silent_air_cluster_has_a_slow_sink() -> None:
    cluster = described(farms.cluster(cooling=AIR)).farm.clusters[0]
    assert not cluster.liquid
    assert (cluster.die_s, cluster.sink_s) == (5.0, 90.0)
    assert cluster.liquid_zone.tolist() == [-1] * 8


def test_plant_defaults_and_none() -> None:
    """Two chillers of 6 MW, one redundant: 6 MW count, 300 s of it over 6 K."""
    plant = described().farm.plants[0]
    assert (plant.target_c, plant.unit_w, plant.units) == (18.0, 6e6, 2)
    assert plant.mass_j_per_k == pytest.approx(300 * 6e6 / 6)
    heat = described(plant=None)
    assert heat.farm.plants[0].unit_w == math.inf
    assert heat.farm.plants[0].units == 1
    assert not heat.plants[0].declared
    assert any("no plant is described" in line for line in heat.assumptions)


def test_given_figures_are_taken_and_nothing_is_assumed() -> None:
    life = {"meanTimeBetweenFailures": "20000h", "meanTimeToRepair": "8h"}
    air = {
        "nodesPerZone": 4,
        "units": 3,
        "redundantUnits": 1,
        "unitCapacity": "50k",
        "approach": 5,
        "thermalMass": "4M",
        "airflow": "0.1",
        "life": life,
    }
    loop = {"approach": 5, "pumps": 2, "thermalMass": "2M", "pumpLife": life}
    cooling = LIQUID | {"airSupplyTemperature": 26, "redundantPumps": 1, "loop": loop, "air": air}
    details = {"supplyTemperature": 20, "thermalMass": "90M", "restart": "12m"}
    path = {"die": "0.01", "dieTime": "3s", "sinkTime": "9s", "flowExponent": "0.5"}
    positions = [{"die": "1.1", "sink": "0.9"}, {}]
    heat = described(
        farms.cluster(cooling=cooling, rack={"nodes": 2, "load": 500}),
        plant={"chillers": 2, "chillerCapacity": "6M", "details": details},
        profile={
            "thermal": {
                "liquid": path | {"positions": positions},
                "spread": "0.05",
                "hysteresis": 4,
                "throttleFloor": 20,
                "restart": "15m",
            }
        },
    )
    assert heat.assumptions == ()
    cluster = heat.farm.clusters[0]
    assert (cluster.die_k_per_w, cluster.die_s, cluster.sink_s) == (0.01, 3.0, 9.0)
    assert cluster.sink_k_per_w == pytest.approx(0.015)
    assert (cluster.die_factors, cluster.sink_factors) == ((1.1, 1.0), (0.9, 1.0))
    assert (cluster.spread, cluster.hysteresis_k, cluster.floor) == (0.05, 4.0, 0.2)
    assert (cluster.restart_s, cluster.flow_exponent) == (900.0, 0.5)
    loops, rooms = heat.farm.zones[:2], heat.farm.zones[2:]
    assert [zone.name for zone in loops] == ["farm-main-cdu00", "farm-main-cdu01"]
    assert [zone.name for zone in rooms] == ["farm-main-air00", "farm-main-air01"]
    assert (loops[0].u_w_per_k, loops[0].units_needed, loops[0].units) == (200e3, 2, 3)
    assert (loops[0].unit_up_s, loops[0].unit_down_s) == (20000 * 3600.0, 8 * 3600.0)
    assert (rooms[0].u_w_per_k, rooms[0].units_needed, rooms[0].units) == (30e3, 3, 4)
    assert (rooms[0].setpoint_c, rooms[0].mass_j_per_k) == (26.0, 4e6)
    assert heat.plants[0].restart_s == 720.0
    assert heat.farm.plants[0].mass_j_per_k == 90e6
    rack = heat.farm.racks[0]
    assert rack.other_w == 500.0
    assert rack.airflow_m3_per_s == pytest.approx(1e-4 * (2 * 14_300 * 0.25 + 500))


def test_zones_and_racks_stand_as_compiled() -> None:
    """A liquid cluster of two CDUs, then one in air: loops first, the liquid room last."""
    air = farms.cluster("room", nodes=3, cooling=AIR)
    farm = farms.farm(farms.cluster(), air)
    model = compile_farm(
        [farm], [farms.profile()], farms.plan(farms.training()), farms.snapshot(farm)
    )
    heat = describe_heat(model.clusters)
    names = [zone.name for zone in heat.farm.zones]
    assert tuple(names[zone] for zone in heat.loop_zone) == model.names.loops
    assert names[len(heat.loop_zone) :] == ["farm-main-air"]
    assert heat.racks == model.names.racks
    assert heat.zone_liquid.tolist() == [1, 1, 0, 0]
    assert heat.zone_cluster.tolist() == [0, 0, 1, 0]
    compiled = compile_heat(heat.farm)
    assert compiled.nodes == model.nodes
    assert compiled.devices == len(model.trees.device_node)
    racks = np.concatenate([cluster.rack for cluster in heat.farm.clusters])
    assert racks.tolist() == model.trees.node_rack.tolist()
    inlet = [c.liquid_zone if c.liquid else c.air_zone for c in heat.farm.clusters]
    assert np.concatenate(inlet).tolist() == heat.loop_zone[model.trees.node_loop].tolist()


def test_varied_resistance_keeps_the_share_of_the_die() -> None:
    farm = farms.farm(farms.cluster(cooling=LIQUID))
    plan = farms.plan(farms.training())
    model = compile_farm([farm], [farms.profile()], plan, farms.snapshot(farm))
    ref = model.clusters[0]
    hotter = replace(ref, facts=replace(ref.facts, resistance_k_per_w=0.05))
    cluster = describe_heat([hotter]).farm.clusters[0]
    assert cluster.die_k_per_w == pytest.approx(0.05 / 3)
    assert cluster.die_k_per_w + cluster.sink_k_per_w == pytest.approx(0.05)


def test_varied_room_air_moves_the_room() -> None:
    farm = farms.farm(farms.cluster(cooling=LIQUID | {"recirculation": 10}))
    plan = farms.plan(farms.training())
    ref = compile_farm([farm], [farms.profile()], plan, farms.snapshot(farm)).clusters[0]
    assert describe_heat([ref]).farm.zones[-1].setpoint_c == pytest.approx(27.0)
    warmer = replace(ref, facts=replace(ref.facts, rack_inlet_c=ref.facts.rack_inlet_c + 2))
    assert describe_heat([warmer]).farm.zones[-1].setpoint_c == pytest.approx(29.0)


def test_the_power_limit_of_a_cluster_counts() -> None:
    heat = described(farms.cluster(acceleratorPowerLimit=700))
    node = heat.clusters[0].node
    assert node.device_w(100) == 700.0
    assert node.device_w(50) == pytest.approx((139 + 700) / 2)
    assert node.overhead_w(50) == pytest.approx((2000 + 6300) / 2)
    assert node.nameplate_w == 8 * 700 + 6300


def fans(**changes: Any) -> dict[str, Any]:
    return {"nodeOverhead": {"idle": "2k", "loaded": "5k", "fans": {"power": 1300} | changes}}


def test_fans_turn_as_described() -> None:
    """Automatic: 9 speeds from 20 %; fixed: one; beside liquid: the least, and it is said."""
    automatic = fans(target=75)
    found = described(farms.cluster(cooling=AIR), profile=automatic).farm.clusters[0].fans
    assert found is not None
    assert found.levels == pytest.approx(tuple(np.linspace(0.2, 1.0, 9)))
    assert (found.full_w, found.target_c, found.dwell_s) == (1300.0, 75.0, 10.0)
    fixed = fans(regime="Fixed", speed=60)
    found = described(farms.cluster(cooling=AIR), profile=fixed).farm.clusters[0].fans
    assert found is not None
    assert found.levels == (0.6,)
    beside = described(farms.cluster(cooling=LIQUID), profile=automatic)
    assert beside.farm.clusters[0].fans is not None
    assert beside.farm.clusters[0].fans.levels == (0.2,)
    assert any("fans beside liquid cooling stay" in line for line in beside.assumptions)
    assert compile_heat(beside.farm).nodes == 8


def test_a_farm_can_be_put_under_faults() -> None:
    heat = described()
    assert heat.with_faults([HeatFault(10.0, False, 1)]).faults[0].index == 1
    assert tuple(heat.farm.faults) == ()


def test_equal_sentences_are_said_once() -> None:
    clusters = [farms.cluster(f"c{n}", cooling=AIR) for n in range(5)]
    told = [line for line in described(*clusters).assumptions if "cooling.air is" in line]
    assert told == [
        "farm/c0, farm/c1, farm/c2 and 2 more: cooling.air is not given; its air handlers "
        "hold their supply at nameplate power"
    ]


def parts(*rows: tuple[int, int]) -> dict[str, Any]:
    found = [
        {"name": f"메모리{n}", "idle": low, "loaded": high} for n, (low, high) in enumerate(rows)
    ]
    return {"nodeOverhead": {"idle": "1k", "loaded": "2k", "parts": found}}


@pytest.mark.parametrize(
    ("profile", "cooling", "where", "words"),
    [
        (parts((700, 700), (400, 500)), LIQUID, "nodeOverhead.parts", "1100 W idle"),
        (parts((500, 1500), (400, 600)), LIQUID, "nodeOverhead.parts", "2100 W loaded"),
        (parts((500, 400)), LIQUID, "nodeOverhead.parts", "메모리0 with idle 500 W above"),
        ({}, LIQUID | {"supplyTemperature": 18}, "spec.clusters[0].cooling.supply", "18 degC"),
        ({}, LIQUID | {"airSupplyTemperature": 10}, "cooling.airSupplyTemperature", "10 degC"),
        ({}, AIR | {"recirculation": 100}, "spec.clusters[0].cooling.recirculation", "100 %"),
    ],
)
def test_what_cannot_be_is_refused_with_place_and_remedy(
    profile: dict[str, Any], cooling: dict[str, Any], where: str, words: str
) -> None:
    plant = {"chillers": 2, "chillerCapacity": "6M", "details": {"supplyTemperature": 18}}
    with pytest.raises(InputError) as caught:
        described(farms.cluster(cooling=cooling), profile=profile, plant=plant)
    assert where in caught.value.where
    assert words in caught.value.found
    assert caught.value.expected


def test_a_missing_profile_is_refused() -> None:
    with pytest.raises(InputError, match="AcceleratorProfile that is given"):
        describe_farms([farms.farm(farms.cluster(accelerator="b300"))], [farms.profile()])
