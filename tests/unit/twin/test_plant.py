"""The plant: limits of the COP, free cooling, fan laws, water by a balance of its own."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from kfarm_api.farm import Plant
from kfarm_twin.plant import (
    KELVIN,
    LEAST_SPEED,
    PlantClimate,
    PlantHours,
    PlantNumbers,
    chiller_cop,
    plant_climate,
    plant_hours,
    plant_numbers,
    water_rise_k,
)
from kfarm_twin.request import InputError

PA = 100_000.0


def numbers(**details: object) -> PlantNumbers:
    body = {"chillers": 3, "chillerCapacity": "1M", "redundancy": 1, "details": details}
    return plant_numbers(Plant.model_validate(body), "GPUFarm/x: spec.plant")


def play(plant: PlantNumbers, dry: Any, wet: Any, heat: Any) -> tuple[PlantClimate, PlantHours]:
    air = np.atleast_1d(np.asarray(dry, float)), np.atleast_1d(np.asarray(wet, float))
    year = plant_climate(plant, *air, PA)
    found = plant_hours(plant, year, np.atleast_1d(np.asarray(heat, float)))
    return year, found


def test_cop_is_as_stated_at_full_load() -> None:
    for cop, at, supply in ((6.0, 25.0, 18.0), (4.2, 35.0, 7.0), (9.0, 20.0, 22.0)):
        plant = numbers(cop=str(cop), copOutdoor=str(at), supplyTemperature=str(supply))
        assert chiller_cop(plant, at, 2e6) == pytest.approx(cop)
        assert chiller_cop(plant, at, 1e6) == pytest.approx(cop)


def test_cop_stays_below_carnot_and_falls_with_heat_outdoors() -> None:
    outdoor = np.linspace(-20.0, 45.0, 66)
    for supply in (7.0, 18.0, 28.0):
        for approach in (1.0, 4.0, 12.0):
            plant = numbers(supplyTemperature=str(supply), approach=str(approach), copOutdoor="30")
            found = plant.full_load_cop(outdoor)
            lift = outdoor + approach - supply
            carnot = np.where(lift > 0.0, (supply + KELVIN) / np.maximum(lift, 1e-9), np.inf)
            assert np.all(found < carnot)
            assert np.all(np.diff(found) <= 1e-12)
            assert np.all(found <= plant.carnot(outdoor) + 1e-12)


def test_part_load_costs_and_chillers_are_staged() -> None:
    plant = numbers()
    loads = np.linspace(0.05, 1.0, 20) * 1e6
    cops = [chiller_cop(plant, 25.0, load) for load in loads]
    assert np.all(np.diff(cops) > 0.0)
    assert chiller_cop(plant, 25.0, 1.01e6) < cops[-1]  # the second chiller has just started
    assert max(cops) <= 6.0 + 1e-9


def test_a_cop_beyond_carnot_is_refused() -> None:
    with pytest.raises(InputError, match=r"details.cop: found 30 .*expected at most Carnot's"):
        numbers(cop="30", copOutdoor="40", supplyTemperature="7")


def test_modes_by_the_outdoor_air() -> None:
    """Water of 18 degC, approach 4 K, rise 9.6 K: free to 14, mixed to 23.6 degC wet bulb."""
    plant = numbers()
    rise = water_rise_k(1.5)
    wet = np.array([-10.0, 13.9, 14.0, 18.0, 14.0 + rise, 28.0])
    year, found = play(plant, wet + 5.0, wet, np.full(6, 1.5e6))
    assert year.free_share[:3] == pytest.approx([1.0, 1.0, 1.0])
    assert year.free_share[3] == pytest.approx(1.0 - 4.0 / rise)
    assert year.free_share[4:] == pytest.approx([0.0, 0.0])
    assert found.chillers_w[:3] == pytest.approx([0.0, 0.0, 0.0])
    assert np.all(np.diff(found.chillers_w[2:]) > 0.0)
    assert year.without_chillers_c[0] == 18.0
    assert year.without_chillers_c[5] == 32.0
    never, _ = play(dataclasses.replace(plant, free_cooling=False), wet + 5.0, wet, 1e6)
    assert np.all(never.free_share == 0.0)


def test_dry_coolers_go_by_the_dry_bulb_and_take_no_water() -> None:
    wet, dry = np.array([10.0]), np.array([20.0])
    tower, by_tower = play(numbers(), dry, wet, 1e6)
    cooler, by_cooler = play(numbers(heatRejection="DryCooler"), dry, wet, 1e6)
    assert tower.free_share[0] == 1.0
    assert 0.0 < cooler.free_share[0] < 1.0
    assert by_cooler.water_m3[0] == 0.0
    assert by_tower.water_m3[0] > 0.0


def test_fans_follow_the_cube_of_their_speed() -> None:
    plant = numbers(freeCooling=False, fanPower="2")
    heat = np.array([0.6e6, 1.2e6])
    _, found = play(plant, [30.0, 30.0], [25.0, 25.0], heat)
    rejected = heat + found.chillers_w
    ratio = found.rejection_w[1] / found.rejection_w[0]
    assert ratio == pytest.approx((rejected[1] / rejected[0]) ** 3)
    _, least = play(plant, [30.0], [25.0], [1e3])
    assert least.rejection_w[0] == pytest.approx(0.02 * 2e6 * LEAST_SPEED**3)
    _, none = play(plant, [30.0], [25.0], [0.0])
    assert none.rejection_w[0] == none.chillers_w[0] == none.pumps_w[0] == 0.0


def test_heat_beyond_the_chillers_is_left_over() -> None:
    plant = numbers()
    assert plant.capacity_w == 2e6
    _, found = play(plant, [35.0], [28.0], [2.5e6])
    assert found.short_w[0] == pytest.approx(0.5e6)
    _, found = play(plant, [0.0], [-2.0], [2.5e6])
    assert found.short_w[0] == 0.0


def test_water_by_latent_heat_and_cycles() -> None:
    """At saturation near 30 degC nearly all heat evaporates water: 2.43 MJ/kg, and a third more is
    blown down at four cycles."""
    plant = numbers(freeCooling=False, cycles="4")
    heat = 1e6
    _, found = play(plant, [27.0], [27.0], [heat])
    rejected = heat + found.chillers_w[0]
    evaporated = rejected * 3600.0 / 2.43e6 / 1000.0
    assert found.water_m3[0] == pytest.approx(evaporated * 4.0 / 3.0, rel=0.25)
    assert found.water_m3[0] <= evaporated * 4.0 / 3.0 * 1.01
    _, cycled = play(dataclasses.replace(plant, cycles=2.0), [27.0], [27.0], [heat])
    assert cycled.water_m3[0] / found.water_m3[0] == pytest.approx(2.0 / (4.0 / 3.0))


def test_pumps_draw_their_share() -> None:
    _, found = play(numbers(pumpPower="1.5"), [10.0], [8.0], [1e6])
    assert found.pumps_w[0] == pytest.approx(15e3)
