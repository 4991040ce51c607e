"""A year of a farm: bands that balance, figures by hand, comparisons, ranking, hourly work."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import twin_farms as farms
from kfarm_api.v1alpha1 import AcceleratorProfile, GPUFarm
from kfarm_twin.energy import energy_year
from kfarm_twin.energy_compare import cooled_as, ranking
from kfarm_twin.energy_result import EnergyYear, Work
from kfarm_twin.energy_work import read_work
from kfarm_twin.facility_describe import facility_of, grouped
from kfarm_twin.load import ManifestError
from kfarm_twin.node_power import node_power

FANS = {"power": 1200, "regime": "Automatic", "target": 70, "least": 20, "levels": 9}
PARTS = [{"name": "CPU", "idle": 500, "loaded": 1500}, {"name": "NIC", "idle": 80, "loaded": 80}]
STAGES = [
    {
        "name": "psu",
        "at": "Node",
        "rated": "18k",
        "efficiency": [{"load": 10, "efficiency": 90}, {"load": 50, "efficiency": 96},
                       {"load": 100, "efficiency": 94}],
    },
    {"name": "rect", "at": "Rack", "efficiency": [{"load": 50, "efficiency": 97}]},
    {"name": "pdu", "at": "Pdu", "efficiency": [{"load": 50, "efficiency": 99}]},
]  # fmt: skip
SITE = {
    "tariff": "kepco-industrial",
    "otherLoad": "3k",
    "stages": [
        {"name": "ups", "at": "Feed", "efficiency": [{"load": 50, "efficiency": 96}]},
        {"name": "transformer", "at": "Site", "efficiency": [{"load": 50, "efficiency": 99}]},
    ],
}
AIR = {"type": "Air", "supplyTemperature": 24, "recirculation": 5}


def profile(**changes: Any) -> AcceleratorProfile:
    overhead = {"idle": "1k", "loaded": "3k", "parts": PARTS, "fans": FANS}
    rates = {"bf16": "1000T", "fp8": "2000T"}
    return farms.profile(**({"nodeOverhead": overhead, "rates": rates} | changes))


def farm(*clusters: dict[str, Any], **spec: Any) -> GPUFarm:
    made = clusters or (farms.cluster(feed={"nodesPerPdu": 4, "stages": STAGES}),)
    base = farms.farm(*made)
    body = base.as_manifest() if hasattr(base, "as_manifest") else base.model_dump(by_alias=True)
    body["spec"] |= {"power": SITE} | spec
    return GPUFarm.model_validate(body)


def year(load: float = 80.0, made: GPUFarm | None = None, **more: Any) -> EnergyYear:
    return energy_year(made or farm(), [profile()], Work.steady(load, **more))


def test_what_enters_a_place_leaves_it() -> None:
    found = year(rack := 80.0, farm(farms.cluster(
        feed={"nodesPerPdu": 4, "stages": STAGES}, cooling=AIR, spares=1,
        rack={"nodes": 2, "load": "700"})))  # fmt: skip
    assert rack == found.load
    into: dict[str, float] = defaultdict(float)
    out: dict[str, float] = defaultdict(float)
    for link in found.links:
        into[link.target] += link.watts
        out[link.source] += link.watts
    for place in set(into) & set(out):
        assert into[place] == pytest.approx(out[place])
    assert out["Grid"] == pytest.approx(found.facility_kwh / found.hours * 1000.0)
    ends = sum(watts for place, watts in into.items() if place not in out)
    assert ends == pytest.approx(out["Grid"])
    names = {link.target for link in found.links}
    assert {"CPU", "NIC", "Fans", "Other in the node", "Switches", "Power supply loss",
            "Rectifier loss", "PDU loss", "UPS loss", "Transformer loss",
            "Accelerators b200"} <= names  # fmt: skip


def test_uses_and_months_sum_up() -> None:
    found = year()
    assert sum(found.uses_kwh.values()) == pytest.approx(found.facility_kwh)
    for name in ("it_kwh", "facility_kwh", "water_m3", "carbon_kg", "energy_charge"):
        total = sum(getattr(month, name) for month in found.months)
        assert total == pytest.approx(getattr(found, name)), name
    assert sum(m.free_cooling_hours for m in found.months) == found.free_cooling_hours
    assert found.free_cooling_hours + found.mixed_hours + found.chiller_hours == 8760
    assert found.energy_cost == pytest.approx(found.energy_charge + found.demand_charge)
    assert found.pue == pytest.approx(found.facility_kwh / found.it_kwh)
    assert found.months[7].pue > found.months[0].pue
    assert found.whole_year


def test_it_power_by_hand() -> None:
    """Eight nodes of eight devices at full load: supplies at two thirds of 18 kW, rectifiers."""
    found = year(100.0, farm(farms.cluster(feed={"nodesPerPdu": 4, "stages": STAGES})))
    out = 8 * 1000.0 + 3000.0 + 1200.0 * 0.2**3  # liquid-cooled: fans at their least
    share = 0.96 - 0.02 * (out / 18e3 - 0.5) / 0.5
    assert found.it_peak_w == pytest.approx(8 * out / share / 0.97)
    assert found.it_kwh == pytest.approx(found.it_peak_w * 8.76)
    assert found.accelerator_hours == 64 * 8760


def test_spares_and_idle_nodes() -> None:
    made = farm(farms.cluster(spares=2))
    full, half = year(100.0, made), year(100.0, made, busy=0.5)
    assert (full.clusters[0].working_nodes, half.clusters[0].working_nodes) == (6, 3)
    idle = 8 * 139.0 + 1000.0 + 1200.0 * 0.2**3
    busy = 8 * 1000.0 + 3000.0 + 1200.0 * 0.2**3
    assert full.it_peak_w == pytest.approx(6 * busy + 2 * idle)
    assert half.it_peak_w == pytest.approx(3 * busy + 5 * idle)
    assert half.accelerator_hours == 24 * 8760
    none = year(100.0, made, busy=0.0)
    assert none.it_peak_w == pytest.approx(8 * idle)
    assert np.isnan(none.kwh_per_accelerator_hour)


def test_fans_take_the_lowest_speed_that_cools() -> None:
    """Air of 24.6 degC; at speed s the device is at 24.6 + (1/3 + 2/3 s^-0.8) 0.04 P."""
    made = farm(farms.cluster(cooling=AIR)).spec.clusters[0]
    for load in (0.0, 40.0, 70.0, 100.0):
        found = node_power(made, profile(), "c", load, load)
        speed = (found.fans_w / 1200.0) ** (1 / 3)

        def temperature(share: float, watts: float = found.device_w) -> float:
            return 24.6 + (1 / 3 + 2 / 3 * share**-0.8) * 0.04 * watts

        assert found.device_c == pytest.approx(temperature(speed))
        assert found.device_c <= 70.0 or speed == pytest.approx(1.0)
        if speed > 0.2001:
            assert temperature(speed - 0.1) > 70.0
    fixed = profile(
        nodeOverhead={"idle": "1k", "loaded": "3k",
                      "fans": {"power": 1000, "regime": "Fixed", "speed": 50}}
    )  # fmt: skip
    assert node_power(made, fixed, "c", 50.0, 50.0).fans_w == pytest.approx(125.0)


def test_a_limit_and_heat_slow_devices() -> None:
    capped = farm(farms.cluster(acceleratorPowerLimit=600))
    found = year(100.0, capped)
    assert found.clusters[0].speed == pytest.approx((600 - 139) / (1000 - 139))
    assert found.accelerator_hours == pytest.approx(64 * 8760 * found.clusters[0].speed)
    hot = profile(thermalResistance={"liquid": "0.1"})
    made = energy_year(farm(), [hot], Work.steady(100.0))
    assert made.clusters[0].throttled
    assert made.clusters[0].device_w == pytest.approx((85 - 32) / 0.1)
    assert any("throttle at 85 degC" in told for told in made.assumptions)


def test_hourly_work_equals_steady_work_where_it_is_steady(tmp_path: Path) -> None:
    path = tmp_path / "부하.csv"
    path.write_bytes("\ufeffhour,load,비고\r\n".encode() + b"".join(
        f"{h},80,x\r\n".encode() for h in range(8760)))  # fmt: skip
    found = energy_year(farm(), [profile()], read_work(path))
    assert found.facility_kwh == pytest.approx(year().facility_kwh)
    path.write_text("load,cpuLoad\n" + "50,20\n100,30\n" * 12, encoding="utf-8")
    day = energy_year(farm(), [profile()], read_work(path))
    assert not day.whole_year
    assert day.hours == 24
    assert day.it_peak_w > 1.3 * day.hourly.it_w.min()
    assert np.isnan(day.months[5].pue)
    path.write_text("hour,load\n8759,50\n0,50\n", encoding="utf-8")
    assert read_work(path).start == 8759


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: found columns ''; expected columns load"),
        ("hour,time\n1,2\n", "columns load"),
        ("load,load\n1,2\n", "columns load"),
        ("load\n", "no rows"),
        ("load\n80\nNaN\n", "line 3: found load 'NaN'; expected a number from 0 to 100"),
        ("load\n-1\n", "line 2: found load '-1'"),
        ("load\n101\n", "line 2: found load '101'"),
        ("load\n팔십\n", "line 2: found load '팔십'"),
        ("load,cpuLoad\n80\n", "line 2: found 1 fields; expected 2"),
        ("hour,load\n0,80\n2,80\n", "line 3: found hour 2; expected hour 1"),
        ("hour,load\n0.5,80\n", "line 2: found hour '0.5'"),
        ("load\n" + "80\n" * 8761, "line 8762: found a row beyond"),
        ("load\n8\x000\n", "a zero byte"),
    ],
)
def test_hours_that_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "h.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError, match=message):
        read_work(path)
    path.write_bytes(b"load\n\xff\xfe80\n")
    with pytest.raises(ManifestError, match="no UTF-8"):
        read_work(path)


def test_cooled_otherwise() -> None:
    made = farm(farms.cluster("a"), farms.cluster("b", cooling=AIR))
    air, told = cooled_as(made, [profile()], "Air")
    assert [c.cooling.type for c in air.spec.clusters] == ["Air", "Air"]
    assert len(told) == 1
    assert told[0].startswith("a: cooled by air")
    liquid, told = cooled_as(made, [profile()], "Liquid")
    assert [c.cooling.type for c in liquid.spec.clusters] == ["Liquid", "Liquid"]
    swapped = liquid.spec.clusters[1].cooling
    assert (swapped.recirculation, swapped.nodes_per_cdu) == (5, 8)
    only = profile(thermalResistance={"liquid": "0.025"})
    same, told = cooled_as(made, [only], "Air")
    assert same.spec.clusters[0] == made.spec.clusters[0]
    assert "thermalResistance.air" in told[0]
    hotter = energy_year(air, [profile()], Work.steady(100.0))
    cooler = energy_year(liquid, [profile()], Work.steady(100.0))
    assert hotter.kwh_per_accelerator_hour > cooler.kwh_per_accelerator_hour
    # nothing is lost on the way back to the manifest
    assert GPUFarm.model_validate(liquid.as_manifest()).spec == liquid.spec


def test_clusters_are_ranked_by_watt_and_won() -> None:
    made = farm(farms.cluster("cheap", nodePrice="100M"), farms.cluster("dear", nodePrice="900M",
                lifetimeYears=3), farms.cluster("free", nodes=4))  # fmt: skip
    found = energy_year(made, [profile()], Work.steady(90.0))
    rows = ranking([found])
    assert [row.precision for row in rows] == ["fp8"] * 3 + ["bf16"] * 3
    for block in (rows[:3], rows[3:]):
        assert [row.per_watt for row in block] == sorted((r.per_watt for r in block), reverse=True)
    by_name = {row.cluster: row for row in rows if row.precision == "bf16"}
    cheap, dear = by_name["cheap"], by_name["dear"]
    assert cheap.rate == pytest.approx(64 * 1e15)
    assert cheap.per_watt == pytest.approx(dear.per_watt)
    assert cheap.per_currency > 3.0 * dear.per_currency
    clusters = {one.name: one for one in found.clusters}
    assert clusters["dear"].node_cost == pytest.approx(8 * 900e6 / 3)
    assert dear.yearly_cost == pytest.approx(clusters["dear"].energy_cost + 8 * 900e6 / 3)
    assert np.isnan(by_name["free"].per_currency)
    assert sum(c.facility_w for c in found.clusters) == pytest.approx(
        found.facility_kwh / 8.76, rel=1e-9
    )
    assert sum(c.energy_cost for c in found.clusters) == pytest.approx(found.energy_cost)


def test_design_weather_is_harder_than_the_year() -> None:
    found = year()
    assert found.design_peak_w > found.facility_peak_w
    made = farm()
    warm = facility_of(made, [profile()], warm_water=True)
    there = energy_year(made, [profile()], Work.steady(80.0), warm)
    assert there.facility_peak_w <= there.design_peak_w <= found.design_peak_w


def test_sentences_of_several_clusters_are_one() -> None:
    told = ["a: x: 1", "plant: y", "b: x: 1", "b: z", "no colon"]
    assert grouped(told, ["a", "b"]) == ("a, b: x: 1", "plant: y", "b: z", "no colon")
