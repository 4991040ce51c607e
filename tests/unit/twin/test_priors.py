"""Inputs with a prior: which there are, how they are drawn; to vary one is to restate it."""

from __future__ import annotations

import math
from decimal import Decimal
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import twin_farms as farms
from kfarm_api.plan import PlacementPlan
from kfarm_api.profile import AcceleratorProfile
from kfarm_twin.compile import Model, compile_farm
from kfarm_twin.heat_vary import never_throttles
from kfarm_twin.kernels.heat_columns import CAPACITY, DIE, SETPOINT, SINK, UNIT_W, U
from kfarm_twin.priors import CENTRAL_Z, Input, draws, priors, uncertain_inputs
from kfarm_twin.vary import varied

OWN = farms.cluster()["reliability"]


def model(
    reliability: dict[str, Any] | None = None,
    profile: AcceleratorProfile | None = None,
    plan: PlacementPlan | None = None,
    **cluster: Any,
) -> Model:
    farm = farms.farm(farms.cluster(reliability=reliability or OWN, **cluster))
    asked = plan or farms.plan(farms.training(4), farms.serving(2))
    return compile_farm([farm], [profile or farms.profile()], asked, farms.snapshot(farm))


def inputs(built: Model) -> dict[str, Input]:
    return {entry.key: entry for entry in uncertain_inputs(built.clusters, built.workloads)}


def entry(built: Model, start: str) -> Input:
    [found] = [value for key, value in inputs(built).items() if key.startswith(start)]
    return found


def classes(*own: dict[str, Any]) -> dict[str, Any]:
    named = [{"failuresPer1000NodeDays": "4", "meanTimeToRepair": "20h"} | one for one in own]
    return {"classes": named, "detection": "60s"}


def test_confidence_of_own_classes_is_theirs_or_medium() -> None:
    built = model(classes({"name": "a"}, {"name": "b", "confidence": "Low"}))
    assert entry(built, "rate/a").confidence == "Medium"
    assert not entry(built, "rate/a").unknown
    assert entry(built, "rate/b").confidence == "Low"
    assert entry(built, "rate/b").unknown
    assert entry(built, "rate/b").spread == priors()["rate"]["Low"]
    assert not entry(built, "repair/b").unknown


def test_a_reference_has_a_level_shares_and_repairs() -> None:
    built = model({"reference": "llama3-h100"})
    level, share = entry(built, "rate/"), entry(built, "share/llama3-h100/gpu-hbm3")
    assert (level.confidence, level.unknown) == ("High", False)
    assert float(level.stated) == pytest.approx(3.789, rel=1e-3)
    assert share.stated == Decimal("0.651")
    assert entry(built, "repair/llama3-h100").unknown
    assert sum(key.startswith("share/") for key in inputs(built)) == 18


def test_a_class_of_its_own_replaces_that_of_the_reference() -> None:
    own = classes({"name": "gpu-hbm3", "confidence": "Low"})["classes"]
    built = model({"reference": "llama3-h100", "classes": own})
    assert entry(built, "rate/gpu-hbm3").unknown
    assert "share/llama3-h100/gpu-hbm3" not in inputs(built)
    assert float(entry(built, "rate/llama3-h100").stated) == pytest.approx(3.136, rel=1e-3)


def test_a_stated_mean_time_to_repair_is_no_assumption() -> None:
    built = model({"reference": "llama3-h100", "meanTimeToRepair": "12h"})
    found = entry(built, "repair/")
    assert (found.confidence, found.stated) == ("Medium", Decimal(12))


def test_a_study_with_one_class_has_no_shares() -> None:
    assert not [key for key in inputs(model({"reference": "npu-assumed"})) if "share" in key]


def test_figures_take_the_confidence_of_their_source_or_of_their_group() -> None:
    sources = [
        {"field": "power", "source": "datasheet", "confidence": "High"},
        {"field": "power.idle", "source": "dump", "confidence": "Medium"},
    ]
    built = model(profile=farms.profile(sources=sources))
    assert entry(built, "power.tdp").confidence == "High"
    assert entry(built, "power.idle").confidence == "Medium"
    assert entry(built, "thermalResistance.liquid").confidence is None
    assert entry(built, "thermalResistance.liquid").unknown


def test_what_is_stated_as_nothing_has_no_prior() -> None:
    saves = {"interval": "30m", "save": "0s", "restart": "0s"}
    built = model(plan=farms.plan(farms.training(4, checkpoint=saves)))
    assert not [key for key in inputs(built) if key.startswith("restart")]


def test_room_air_that_nobody_states_is_unknown() -> None:
    built = model()
    air = entry(built, "airSupplyTemperature")
    assert (air.stated, air.confidence, air.additive) == (Decimal(27), None, True)
    moved = varied(built, {air.key: Decimal(3)})
    liquid = built.described.zone_liquid == 1
    before, after = (m.columns.heat.zones[:, SETPOINT] for m in (built, moved))
    np.testing.assert_allclose(after, before + np.where(liquid, 0.0, 3.0))
    cooling = farms.cluster()["cooling"] | {"airSupplyTemperature": 24}
    assert not [key for key in inputs(model(cooling=cooling)) if key.startswith("air")]


def test_inputs_of_heat_move_the_tables_of_the_engine_alone() -> None:
    """The die takes another part of the same whole; capacities and approaches make conductances."""
    built = model()
    die, time = entry(built, "thermal.liquid.die"), entry(built, "thermal.liquid.sinkTime")
    assert die.unknown
    assert time.unknown
    assert float(die.stated) == pytest.approx(0.025 / 3, rel=1e-5)
    assert time.stated == Decimal(12)
    keys = [die.key, time.key, entry(built, "cduCapacity").key, entry(built, "loop.approach").key]
    chiller = entry(built, "chillerCapacity")
    factors = [Decimal("1.5"), Decimal(2), Decimal("1.2"), Decimal("0.8"), Decimal("0.5")]
    moved = varied(built, dict(zip([*keys, chiller.key], factors, strict=True)))
    before, after = built.columns.heat, moved.columns.heat
    whole = before.laws[0, DIE] + before.paths[0, SINK]
    assert after.laws[0, DIE] == pytest.approx(1.5 * before.laws[0, DIE])
    assert after.laws[0, DIE] + after.paths[0, SINK] == pytest.approx(whole)
    seconds = [heat.paths[0, SINK] * heat.paths[0, CAPACITY] for heat in (before, after)]
    assert seconds[1] == pytest.approx(2 * seconds[0])
    liquid = built.described.zone_liquid == 1
    changed = after.zones[:, U] / before.zones[:, U]
    np.testing.assert_allclose(changed, np.where(liquid, 1.2 / 0.8, 1.0))
    assert after.plants[0, UNIT_W] == 0.5 * before.plants[0, UNIT_W]
    assert moved.columns.loads.device_mw.tolist() == built.columns.loads.device_mw.tolist()


def test_what_cannot_throttle_under_any_load_is_known() -> None:
    assert never_throttles(model().columns)
    warm = farms.cluster()["cooling"] | {"supplyTemperature": 64}
    assert not never_throttles(model(cooling=warm).columns)  # 64 degC + 0.025 K/W x 871 W
    small = farms.cluster()["cooling"] | {"cduCapacity": "9k"}
    assert not never_throttles(model(cooling=small).columns)  # the loop cannot keep its setpoint
    spread = farms.profile(thermal={"spread": "0.05"})
    assert not never_throttles(model(profile=spread).columns)


def test_draws_are_a_latin_hypercube_of_each_input_by_itself() -> None:
    found = uncertain_inputs(model().clusters, model().workloads)
    sets = draws(found, 16, 7)
    strata = [NormalDist().inv_cdf((index + 0.5) / 16) for index in range(16)]
    for one in found:
        expected = sorted(one.amount(z) for z in strata)
        assert sorted(amounts[one.key] for amounts in sets) == expected
    alone = draws(found[:1], 16, 7)
    assert [s[found[0].key] for s in alone] == [s[found[0].key] for s in sets]
    assert draws(found, 16, 7) == sets != draws(found, 16, 8)


def test_draws_of_inputs_are_not_tied_to_each_other() -> None:
    found = uncertain_inputs(model().clusters, model().workloads)
    sets = draws(found, 256, 7)
    columns = np.array([[math.log(s[one.key]) for s in sets] for one in found if not one.additive])
    between = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(between).max() < 4.5 / math.sqrt(256)


def test_shares_leave_the_level_of_a_study() -> None:
    built = model({"reference": "llama3-h100"})
    found = uncertain_inputs(built.clusters, built.workloads)
    level = next(one for one in found if one.key == "rate/llama3-h100")
    strata = sorted(level.amount(NormalDist().inv_cdf((i + 0.5) / 8)) for i in range(8))
    totals = []
    for amounts in draws(found, 8, 7):
        modes = varied(built, amounts).clusters[0].facts.modes
        totals.append(float(sum(mode.rate for mode in modes) / level.stated))
    assert sorted(totals) == pytest.approx([float(value) for value in strata], rel=1e-9)


def test_central_range_holds_90_percent() -> None:
    assert NormalDist().cdf(CENTRAL_Z) - NormalDist().cdf(-CENTRAL_Z) == pytest.approx(0.9, 1e-4)


def same(one: Model, two: Model) -> None:
    """All columns are equal, bit for bit."""
    assert one.fleet.warm_ns == two.fleet.warm_ns
    for left, right in zip(leaves(one.columns), leaves(two.columns), strict=True):
        np.testing.assert_array_equal(left, right)


def leaves(columns: Any) -> list[Any]:
    """All arrays of nested tuples, in order."""
    if not isinstance(columns, tuple):
        return [columns]
    return [leaf for part in columns for leaf in leaves(part)]


RACKS = {"name": "rack", "per": "Rack", "failuresPer1000Days": "4", "meanTimeToRepair": "20h"}
AGED = {
    "name": "fan",
    "per": "Device",
    "failuresPer1000NodeDays": "4",
    "meanTimeToRepair": "20h",
    "life": {"distribution": "Weibull", "shape": "2"},
    "detection": "2m",
    "repair": {"distribution": "Lognormal", "shape": "1", "part": {"leadTime": "48h"}},
}


@pytest.mark.parametrize(
    ("start", "factor", "restated"),
    [
        ("rate/rack", "0.5", [RACKS | {"failuresPer1000Days": "2"}, AGED]),
        ("repair/rack", "2", [RACKS | {"meanTimeToRepair": "40h"}, AGED]),
        ("rate/fan", "3", [RACKS, AGED | {"failuresPer1000NodeDays": "12"}]),
        ("repair/fan", "0.1", [RACKS, AGED | {"meanTimeToRepair": "2h"}]),
        ("detection/fan", "1.5", [RACKS, AGED | {"detection": "3m"}]),
    ],
)
def test_classes_of_domains_and_ageing_ones_are_varied_too(
    start: str, factor: str, restated: list[dict[str, Any]]
) -> None:
    base = model({"classes": [RACKS, AGED]})
    same(
        varied(base, {entry(base, start).key: Decimal(factor)}),
        model({"classes": restated}),
    )


def test_rates_of_domains_are_said_per_domain() -> None:
    assert entry(model({"classes": [RACKS]}), "rate/rack").unit == "failures per 1000 rack-days"


def test_an_interval_reckoned_from_stated_rates_stays() -> None:
    saves = {"optimum": "Young", "save": "20s", "restart": "5m"}
    plan = farms.plan(farms.training(4, checkpoint=saves))
    base = model(classes({"name": "a"}), plan=plan)
    moved = varied(base, {entry(base, "rate/a").key: Decimal(9)})
    np.testing.assert_array_equal(
        moved.columns.workloads.interval_ns, base.columns.workloads.interval_ns
    )


def test_nothing_varied_is_the_same_model() -> None:
    same(varied(model(), {}), model())


@pytest.mark.parametrize(
    ("start", "factor", "restated"),
    [
        ("rate/a", "2.5", {"reliability": {"failuresPer1000NodeDays": "10"}}),
        ("repair/a", "0.5", {"reliability": {"meanTimeToRepair": "10h"}}),
        ("detection", "3", {"detection": "180s"}),
        ("restart/train", "4", {"restart": "20m"}),
        ("power.tdp", "1.1", {"profile": {"power": {"tdp": "1100", "idle": 139}}}),
        ("power.idle", "2", {"profile": {"power": {"tdp": 1000, "idle": "278"}}}),
        ("power.idle", "8", {"profile": {"power": {"tdp": "1112", "idle": "1112"}}}),
        (
            "nodeOverhead.idle",
            "1.5",
            {"profile": {"nodeOverhead": {"idle": "3k", "loaded": "6300"}}},
        ),
        (
            "nodeOverhead.loaded",
            "0.1",
            {"profile": {"nodeOverhead": {"idle": "2k", "loaded": "2k"}}},
        ),
        ("thermalResistance", "2", {"profile": {"thermalResistance": {"liquid": "0.05"}}}),
        ("thermalResistance", "32", {"profile": {"thermalResistance": {"liquid": "0.8"}}}),
    ],
)
def test_an_input_varied_is_the_farm_described_so(
    start: str, factor: str, restated: dict[str, Any]
) -> None:
    base = model(classes({"name": "a"}))
    stated = classes({"name": "a"} | restated.get("reliability", {}))
    stated["detection"] = restated.get("detection", "60s")
    saves = {"interval": "30m", "save": "20s", "restart": restated.get("restart", "5m")}
    plan = farms.plan(farms.training(4, checkpoint=saves), farms.serving(2))
    key = entry(base, start).key
    same(
        varied(base, {key: Decimal(factor)}),
        model(stated, farms.profile(**restated.get("profile", {})), plan),
    )


def test_losses_of_stages_are_varied_where_they_are_described() -> None:
    stages = [
        {"name": "psu", "at": "Node", "efficiency": [{"load": 1, "efficiency": "50"}]},
        {"name": "bar", "at": "Pdu", "constantLoss": "80",
         "efficiency": [{"load": 1, "efficiency": "100"}]},
        {"name": "none", "at": "Rack", "efficiency": [{"load": 1, "efficiency": "100"}]},
    ]  # fmt: skip
    rack = {"nodes": 2, "powerLimit": "20k", "capping": "Uniform"}

    def with_stages(*rows: dict[str, Any]) -> Model:
        return model(feed={"nodesPerPdu": 4, "feeds": 2, "stages": list(rows)}, rack=rack)

    base = with_stages(*stages)
    found = entry(base, "loss/farm/main/psu")
    assert (found.confidence, found.unknown) == ("Medium", False)
    assert float(found.stated) == 100.0
    assert sorted(key for key in inputs(base) if key.startswith("loss")) == [
        "loss/farm/main/bar", "loss/farm/main/psu",
    ]  # fmt: skip
    quartered = with_stages(
        stages[0] | {"efficiency": [{"load": 1, "efficiency": "80"}]}, *stages[1:]
    )
    moved = varied(base, {found.key: Decimal("0.25")})
    for left, right in zip(leaves(moved.columns), leaves(quartered.columns), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-10)


def test_what_phases_and_caps_do_follows_varied_power() -> None:
    wave = {"period": "30s", "peak": 150, "share": 40}
    plan = farms.plan(farms.training(4, phases=wave))
    base = model(plan=plan, acceleratorPowerLimit="900")
    tdp = profile_tdp(1100)
    same(varied(base, {entry(base, "power.tdp").key: Decimal("1.1")}),
         model(plan=plan, profile=tdp, acceleratorPowerLimit="900"))  # fmt: skip


def profile_tdp(tdp: int) -> AcceleratorProfile:
    return farms.profile(power={"tdp": tdp, "idle": 139})
