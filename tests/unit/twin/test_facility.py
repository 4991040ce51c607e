"""The facility: what goes in comes out, stages lose what they say, batches equal single futures."""

from __future__ import annotations

import dataclasses
import math
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kfarm_api.metrics import METRICS
from kfarm_api.v1alpha1 import AcceleratorProfile, GPUFarm
from kfarm_twin.arrays import Floats
from kfarm_twin.calendar_year import start_hour
from kfarm_twin.facility import (
    LEAST_AIR_SPEED,
    USES,
    Facility,
    facility_hours,
)
from kfarm_twin.facility_describe import (
    AIR_FAN_SHARE,
    AIR_SPARE,
    KOREA_G_PER_KWH,
    cluster_it_w,
    facility_of,
)
from kfarm_twin.facility_metrics import FacilityMetrics, facility_metrics
from kfarm_twin.plant import WATER_DENSITY
from kfarm_twin.request import InputError
from kfarm_twin.tariff import tariff_named

PROFILE: dict[str, Any] = {
    "apiVersion": "kfarm.dev/v1alpha1",
    "kind": "AcceleratorProfile",
    "metadata": {"name": "gpu"},
    "spec": {
        "vendor": "v", "model": "m", "uses": ["Training"], "resourceNames": ["v.com/gpu"],
        "power": {"tdp": 1000, "idle": 100},
        "memory": {"capacity": "80G"},
        "rates": {"bf16": "1000T"},
        "temperature": {"throttle": 90, "shutdown": 100},
        "thermalResistance": {"air": "0.04", "liquid": "0.03"},
        "nodeOverhead": {"idle": "1k", "loaded": "2k"},
    },
}  # fmt: skip
LIQUID = {
    "type": "Liquid", "liquidShare": 80, "nodesPerCdu": 10, "cduCapacity": "500k",
    "supplyTemperature": 32, "airSupplyTemperature": 24,
    "loop": {"cduPower": "5k", "approach": 4},
    "air": {"units": 1, "redundantUnits": 1, "unitCapacity": "100k", "fanPower": "4k"},
}  # fmt: skip


def stage(name: str, at: str, efficiency: float, **more: Any) -> dict[str, Any]:
    points = [{"load": 100, "efficiency": str(efficiency)}]
    return {"name": name, "at": at, "efficiency": points, **more}


def farm(*clusters: dict[str, Any], **spec: Any) -> GPUFarm:
    body = {
        "apiVersion": "kfarm.dev/v1alpha1",
        "kind": "GPUFarm",
        "metadata": {"name": "f"},
        "spec": {
            "site": {"name": "서울", "climate": "seoul"},
            "power": {"tariff": "kepco-industrial", "carbonIntensity": "417.3"},
            "plant": {"chillers": 2, "chillerCapacity": "400k", "details": {}},
            "clusters": list(clusters) or [cluster()],
            **spec,
        },
    }
    return GPUFarm.model_validate(body)


def cluster(name: str = "a", nodes: int = 20, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "accelerator": "gpu", "nodes": nodes, "acceleratorsPerNode": 8,
        "rack": {"nodes": 4}, "cooling": LIQUID, "reliability": {"reference": "llama3-h100"},
        "source": {"simulated": {}}, **more,
    }  # fmt: skip


PROFILES = [AcceleratorProfile.model_validate(PROFILE)]
NODE_W = 8 * 1000.0 + 2000.0


def built(*clusters: dict[str, Any], **spec: Any) -> Facility:
    return facility_of(farm(*clusters, **spec), PROFILES)


def load(facility: Facility, hours: int = 8760, futures: int | None = None) -> Floats:
    """IT power that varies between a third of nameplate and nameplate."""
    wave = 0.66 + 0.33 * np.sin(np.arange(hours) / 11.0)
    shape = wave[:, None] * np.array([one.nameplate_w for one in facility.clusters])
    if futures is None:
        return shape
    return np.stack([shape * (0.9 + 0.1 * k / futures) for k in range(futures)])


def test_uses_sum_to_the_facility() -> None:
    stages = [stage("ups", "Feed", 95), stage("transformer", "Site", 99, constantLoss="500")]
    power = {"stages": stages, "otherLoad": "7k", "tariff": "kepco-industrial"}
    pdu = {"nodesPerPdu": 10, "feeds": 2, "stages": [stage("pdu", "Pdu", 98)]}
    facility = built(cluster(feed=pdu), power=power)
    hours = facility_hours(facility, load(facility))
    parts = sum(getattr(hours, name) for _, name in USES)
    assert parts == pytest.approx(hours.facility_w, rel=1e-12)
    assert all(np.all(getattr(hours, name) >= 0.0) for _, name in USES)


def test_stages_lose_what_they_say() -> None:
    power = {
        "stages": [stage("ups", "Feed", 95), stage("transformer", "Site", 99, constantLoss="500")],
        "tariff": "kepco-industrial",
    }
    pdu = {"nodesPerPdu": 10, "feeds": 2, "stages": [stage("pdu", "Pdu", 98, constantLoss="10")]}
    facility = built(cluster(feed=pdu), power=power)
    it = np.array([[100e3]])
    hours = facility_hours(facility, it)
    into_pdus = 100e3 / 0.98 + 4 * 10.0  # two PDUs on each of two feeds
    assert hours.pdu_loss_w[0] == pytest.approx(into_pdus - 100e3)
    assert hours.feed_loss_w[0] == pytest.approx(into_pdus / 0.95 - into_pdus)
    rest = hours.facility_w[0] - hours.site_loss_w[0]
    assert hours.site_loss_w[0] == pytest.approx(rest / 0.99 + 500.0 - rest)


def test_the_plant_takes_all_heat_of_the_halls() -> None:
    facility = built()
    hours = facility_hours(facility, load(facility))
    inside = hours.it_w + hours.pdu_loss_w + hours.air_w + hours.cdu_w
    assert hours.heat_w == pytest.approx(inside)
    assert hours.cdu_w[0] == 2 * 5e3
    share = load(facility)[:, 0] * 0.2
    speed = np.clip(share / (2 * 100e3), LEAST_AIR_SPEED, 1.0)
    assert hours.air_w == pytest.approx(2 * 4e3 * speed**3)


def test_heat_given_goes_before_the_liquid_share() -> None:
    facility = built()
    it = load(facility, 24)
    warm = facility_hours(facility, it, liquid_w=it * 0.5, air_w=it * 0.5)
    assert np.all(warm.air_w >= facility_hours(facility, it).air_w)
    assert warm.air_w.max() > facility_hours(facility, it).air_w.max()


def test_racks_and_nodes_before_the_pdus() -> None:
    feed = {
        "nodesPerPdu": 10,
        "stages": [
            stage("psu", "Node", 94, constantLoss="20"),
            stage("rectifier", "Rack", 96, constantLoss="30"),
        ],
    }
    made = farm(cluster(feed=feed, rack={"nodes": 4, "load": "1500"}))
    found = cluster_it_w(made.spec.clusters[0], [(20, NODE_W)], "c")
    drawn = 20 * (NODE_W / 0.94 + 20.0) + 5 * 1500.0
    assert found == pytest.approx(drawn / 0.96 + 5 * 30.0)


def test_what_is_silent_is_assumed_and_said() -> None:
    air = cluster("b", cooling={"type": "Air", "supplyTemperature": 24})
    bare = {k: v for k, v in LIQUID.items() if k not in ("loop", "air")}
    facility = facility_of(
        farm(air, cluster("c", cooling=bare), site={"name": "x"}, power=None, plant=None), PROFILES
    )
    told = "\n".join(facility.assumptions)
    for words in (
        "site.climate is not given", "power.tariff is not given", "carbonIntensity is not given",
        "plant is not given", "b, c: cooling.air is not given", "c: cooling.loop is not given",
        "no stages are given",
    ):  # fmt: skip
        assert words in told
    assert facility.carbon_g_per_kwh[0] == KOREA_G_PER_KWH
    assert facility.plant.capacity_w == pytest.approx(1.2 * facility.nameplate_w, rel=1e-6)
    part = facility.clusters[0]
    assert (part.air_units, part.air_capacity_w) == (1, pytest.approx(AIR_SPARE * 20 * NODE_W))
    assert part.air_fan_w == pytest.approx(AIR_FAN_SHARE * part.air_capacity_w)
    assert facility.tariff is None


@pytest.mark.parametrize(
    ("changes", "where", "found"),
    [
        ({"site": {"name": "x", "climate": "atlantis"}}, "site.climate", "'atlantis'"),
        ({"power": {"tariff": "free"}}, "power.tariff", "'free'"),
        (
            {"plant": {"chillers": 1, "chillerCapacity": "1M", "details": {"cop": "30",
             "copOutdoor": "40"}}},
            "plant.details.cop",
            "30 at 40 degC",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(changes: dict[str, Any], where: str, found: str) -> None:
    with pytest.raises(InputError) as caught:
        built(**changes)
    assert caught.value.where == f"GPUFarm/f: spec.{where}"
    assert found in caught.value.found


def test_a_profile_that_is_missing() -> None:
    with pytest.raises(InputError, match=r"clusters\[0\].accelerator: found 'gpu'"):
        facility_of(farm(), [])


def test_metrics_are_those_of_the_catalogue() -> None:
    names = {field.name for field in dataclasses.fields(FacilityMetrics)} - {"assumptions"}
    assert names <= set(METRICS)


def test_a_batch_equals_its_futures_alone_by_plain_sums() -> None:
    facility = built(cluster(), cluster("b", 7, cooling={"type": "Air", "supplyTemperature": 24}))
    hours, futures, horizon = 100, 5, 99.25 * 3600.0
    it = load(facility, hours, futures)
    worked = np.array([100.0, 200.0, 300.0, 400.0, 0.0])
    found = facility_metrics([facility], [it], horizon, worked, first_future=3)
    for k in range(futures):
        start = start_hour(3 + k)
        alone = facility_hours(facility, it[k], start=start)
        weight = np.ones(hours)
        weight[-1] = 0.25
        kwh = sum(alone.facility_w[h] / 1000.0 * weight[h] for h in range(hours))
        it_kwh = sum(alone.it_w[h] / 1000.0 * weight[h] for h in range(hours))
        water = sum(alone.water_m3[h] * weight[h] for h in range(hours))
        tariff = facility.tariff
        assert tariff is not None
        index = (start + np.arange(hours)) % 8760
        cost = sum(
            alone.facility_w[h] / 1000.0 * weight[h] * tariff.price_per_kwh[index[h]]
            for h in range(hours)
        ) + float(tariff.demand_cost(alone.facility_w))
        assert found.facility_energy[k] == pytest.approx(kwh * 3.6e6)
        assert found.pue[k] == pytest.approx(kwh / it_kwh)
        assert found.water[k] == pytest.approx(water)
        assert found.wue[k] == pytest.approx(1000.0 * water / it_kwh)
        assert found.energy_cost[k] == pytest.approx(cost)
        assert found.carbon[k] == pytest.approx(kwh * 0.4173)
        assert found.facility_power_peak[k] == pytest.approx(alone.facility_w.max())
        if worked[k]:
            assert found.energy_per_accelerator_hour[k] == pytest.approx(kwh / worked[k])
            assert found.cost_per_accelerator_hour[k] == pytest.approx(cost / worked[k])
    assert math.isnan(found.energy_per_accelerator_hour[4])
    split = facility_metrics([facility], [it[2:]], horizon, worked[2:], first_future=5)
    assert np.array_equal(split.facility_energy, found.facility_energy[2:])


def test_farms_add_up_and_a_quarter_hour_raises_the_peak() -> None:
    facility = built()
    it = load(facility, 48, 3)
    one = facility_metrics([facility], [it], 48 * 3600.0, np.ones(3))
    two = facility_metrics([facility, facility], [it, it], 48 * 3600.0, np.ones(3))
    assert two.facility_energy == pytest.approx(2.0 * one.facility_energy)
    assert two.energy_cost == pytest.approx(2.0 * one.energy_cost)
    assert two.pue == pytest.approx(one.pue)
    peak = it[..., 0].max(axis=1)
    raised = facility_metrics([facility], [it], 48 * 3600.0, np.ones(3), peak_it_w=peak + 10e3)
    assert np.all(raised.facility_power_peak > one.facility_power_peak + 10e3)
    assert raised.facility_energy == pytest.approx(one.facility_energy)


def test_nothing_running_has_no_pue() -> None:
    facility = built()
    found = facility_metrics([facility], [np.zeros((2, 24, 1))], 86_400.0, np.zeros(2))
    assert np.all(np.isnan(found.pue))
    assert np.all(np.isfinite(found.facility_energy))


def test_nodes_that_draw_nothing() -> None:
    """Fleets without figures of power are played on profiles of 0 W."""
    nothing = {"power": {"tdp": 0, "idle": 0}, "nodeOverhead": {"idle": 0, "loaded": 0}}
    body = PROFILE | {"spec": PROFILE["spec"] | nothing}
    made = facility_of(farm(plant=None), [AcceleratorProfile.model_validate(body)])
    hours = facility_hours(made, np.zeros((24, 1)))
    assert np.all(np.isfinite(hours.facility_w))


def test_seasons_show_among_futures() -> None:
    facility = built()
    it = np.full((52, 168, 1), facility.nameplate_w)
    found = facility_metrics([facility], [it], 168 * 3600.0, np.ones(52))
    assert found.pue.max() - found.pue.min() > 0.05
    assert found.water.max() > 1.2 * found.water.min()


def test_a_year_pays_for_its_peaks_month_by_month() -> None:
    facility = built()
    it = load(facility, 8760, 1)
    found = facility_metrics([facility], [it], 8760 * 3600.0, np.ones(1))
    grid = facility_hours(facility, it[0], start=start_hour(0)).facility_w
    wanted = float(tariff_named("kepco-industrial").cost(grid, start_hour(0)))
    assert found.energy_cost[0] == pytest.approx(wanted)


def test_warm_water_spares_chillers() -> None:
    plain = built()
    warm = facility_of(farm(), PROFILES, warm_water=True)
    it = load(plain)
    cold, free = facility_hours(plain, it), facility_hours(warm, it)
    assert free.chillers_w.sum() < 0.6 * cold.chillers_w.sum()
    assert np.all(free.free_share >= cold.free_share - 1e-12)
    assert np.all(free.free_share <= 1.0)


def test_water_is_heat_over_its_evaporation() -> None:
    """All of a year's heat as vapour with a third blown down is an upper bound."""
    facility = built()
    hours = facility_hours(facility, load(facility))
    joules = float((hours.heat_w + hours.chillers_w).sum()) * 3600.0
    bound = joules / 2.40e6 * 4.0 / 3.0 / WATER_DENSITY
    assert 0.5 * bound < float(hours.water_m3.sum()) < bound


@pytest.mark.parametrize("rejection", ["Tower", "DryCooler"])
@pytest.mark.parametrize("supply", ["7", "18", "23"])
def test_hours_equal_plain_arithmetic(rejection: str, supply: str) -> None:
    """An independent scalar account of each hour."""
    naive = runpy.run_path(str(Path(__file__).parents[2] / "facility_naive.py"))["hour"]
    details = {"heatRejection": rejection, "supplyTemperature": supply, "fanPower": "2"}
    power = {
        "stages": [stage("ups", "Feed", 95), stage("transformer", "Site", 99, constantLoss="500")],
        "otherLoad": "3k",
    }
    pdu = {"nodesPerPdu": 10, "feeds": 2, "stages": [stage("pdu", "Pdu", 98)]}
    air = {"type": "Air", "supplyTemperature": 24}
    facility = built(
        cluster(feed=pdu), cluster("b", 6, cooling=air), power=power,
        plant={"chillers": 3, "chillerCapacity": "80k", "redundancy": 1, "details": details},
    )  # fmt: skip
    it = load(facility)
    found = facility_hours(facility, it)
    climate = facility.climate
    assert found.short_w.max() > 0.0 or supply == "23"
    for h in range(0, 8760, 7):
        wanted = naive(facility, it[h].tolist(), float(climate.dry_c[h]), float(climate.wet_c[h]))
        assert (found.facility_w[h], found.water_m3[h]) == pytest.approx(wanted, rel=1e-9)
