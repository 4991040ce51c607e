"""``kfarm energy`` and a verdict's futures draw the same power for the same work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import twin_farms as farms
from kfarm_api.v1alpha1 import GPUFarm
from kfarm_twin.arrays import METRIC_ORDER
from kfarm_twin.calendar_year import start_hour
from kfarm_twin.compile import compile_farm
from kfarm_twin.energy import energy_year
from kfarm_twin.energy_result import EnergyYear, Work
from kfarm_twin.place import place
from kfarm_twin.simulate import Simulator

HOUR_NS = 3600 * 10**9
HOURS = 48
AIR = {"type": "Air", "supplyTemperature": 24, "recirculation": 5}
FANS = {"power": 1200, "regime": "Automatic", "target": 68, "least": 20, "levels": 9}
STAGES = [
    {"name": "psu", "at": "Node", "rated": "18k", "constantLoss": "25",
     "efficiency": [{"load": 10, "efficiency": "90"}, {"load": 50, "efficiency": "96"}]},
    {"name": "rect", "at": "Rack", "efficiency": [{"load": 1, "efficiency": "97"}]},
    {"name": "pdu", "at": "Pdu", "efficiency": [{"load": 1, "efficiency": "99"}]},
]  # fmt: skip
POWER = {
    "tariff": "kepco-industrial",
    "carbonIntensity": "417.3",
    "stages": [
        {"name": "ups", "at": "Feed", "efficiency": [{"load": 1, "efficiency": "96"}]},
        {"name": "transformer", "at": "Site", "efficiency": [{"load": 1, "efficiency": "99"}]},
    ],
}


def _farm(cooling: dict[str, Any]) -> GPUFarm:
    main = farms.cluster(
        cooling=cooling,
        feed={"nodesPerPdu": 4, "feeds": 2, "stages": STAGES},
        rack={"nodes": 2, "load": "700"},
        reliability=farms.one_class("0.000001", "1h"),
    )
    return farms.farm(
        main, site={"name": "x", "climate": "busan"}, power=POWER,
        plant={"chillers": 2, "chillerCapacity": "120k", "redundancy": 1, "details": {}},
    )  # fmt: skip


@pytest.mark.parametrize(("load", "cpu"), [(85, None), (40, 90), (100, 100)])
@pytest.mark.parametrize("kind", ["Air", "Liquid"])
def test_the_same_power_and_the_same_facility(kind: str, load: int, cpu: int | None) -> None:
    farm = _farm(AIR if kind == "Air" else farms.cluster()["cooling"])
    overhead = {"idle": "1k", "loaded": "3k", "fans": FANS}
    profile = farms.profile(nodeOverhead=overhead, rates={"bf16": "1000T"})
    more = {} if cpu is None else {"cpuLoad": cpu}
    plan = farms.plan(farms.training(8, load=load, **more))
    model = compile_farm([farm], [profile], plan, farms.snapshot(farm))
    placed = place(model)
    assert isinstance(placed, np.ndarray)
    outcome = Simulator(model, placed, 3, HOURS * HOUR_NS, workers=1).play(0, 1)
    other = load if cpu is None else cpu
    work = Work(np.full(HOURS, float(load)), np.full(HOURS, float(other)), 1.0, start_hour(0))
    year = energy_year(farm, [profile], work)

    def metric(name: str) -> float:
        return float(outcome.metrics[0, METRIC_ORDER.index(name)])

    assert metric("it_power_peak") == pytest.approx(year.it_peak_w, rel=1e-5)
    for name, ours in _figures(year).items():
        assert metric(name) == pytest.approx(ours, rel=2e-3), name


def _figures(year: EnergyYear) -> dict[str, float]:
    return {
        "facility_energy": year.facility_kwh * 3.6e6,
        "facility_power_peak": year.facility_peak_w,
        "pue": year.pue,
        "wue": year.wue,
        "water": year.water_m3,
        "energy_cost": year.energy_cost,
        "carbon": year.carbon_kg,
    }
