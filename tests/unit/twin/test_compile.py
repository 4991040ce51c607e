"""From manifests to columns: trees, figures, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import twin_farms as farms
from kfarm_twin import arrays
from kfarm_twin.compile import Model, compile_farm
from kfarm_twin.kernels.fleet_columns import DOWN, FIRST_CLASS, POOLED, RATE
from kfarm_twin.reliability import references
from kfarm_twin.request import InputError
from kfarm_twin.steady import steady


def model(*workloads: dict[str, Any], nodes: dict[int, Any] | None = None, **changes: Any) -> Model:
    farm = farms.farm(farms.cluster(**changes))
    plan = farms.plan(*(workloads or (farms.training(),)))
    return compile_farm([farm], [farms.profile()], plan, farms.snapshot(farm, nodes=nodes or {}))


def all_columns(value: Any) -> list[np.ndarray[Any, Any]]:
    if isinstance(value, np.ndarray):
        return [value]
    return [column for part in value for column in all_columns(part)]


def test_columns_are_contiguous_read_only_and_wide() -> None:
    columns = all_columns(model().columns)
    assert len(columns) > 40
    assert all(c.flags.c_contiguous and not c.flags.writeable for c in columns)
    assert {c.dtype for c in columns} == {np.dtype(np.int64), np.dtype(np.float64)}


@pytest.mark.parametrize("kind", [v for v in vars(arrays).values() if hasattr(v, "_fields")])
def test_tuples_stay_narrow(kind: Any) -> None:
    assert len(kind._fields) <= 12


def test_four_trees() -> None:
    compiled = model()
    trees = compiled.trees
    assert trees.node_rack.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert trees.rack_row.tolist() == [0, 0, 0, 0]
    assert trees.row_hall.tolist() == [0]
    assert trees.hall_site.tolist() == [0]
    assert trees.node_pdu.tolist() == [0] * 4 + [1] * 4
    assert trees.node_loop.tolist() == [0] * 4 + [1] * 4
    assert trees.loop_plant.tolist() == [0, 0]
    assert trees.node_unit.tolist() == [0] * 4 + [1] * 4
    assert trees.unit_spine.tolist() == [0, 0]
    assert trees.device_node.tolist() == [n for n in range(8) for _ in range(8)]
    assert compiled.names.loops == ("farm-main-cdu00", "farm-main-cdu01")


def test_figures_in_si() -> None:
    """A node: 2 kW + 8 x 139 W idle; a pod of 8 at 85 %: 8 x 731.85 W + 3,655 W above that."""
    columns = model().columns
    assert columns.clusters.base_mw.tolist() == [3_112_000]
    assert columns.loads.pod_mw[0].tolist() == [8 * (731_850 + 456_875)]
    assert columns.loads.beside_mw[0].tolist() == [8 * 456_875]
    assert columns.loads.device_mw[0].tolist() == [139_000 + 731_850]
    assert columns.sites.loop_limit_mw.tolist() == [1_000_000_000] * 2
    assert columns.sites.plant_limit_mw.tolist() == [6_000_000_000]
    assert columns.fleet.rates[0, RATE] == pytest.approx(60 / 1000 / 86400e9)
    load = (40 * 20 + 20 * 1) / 24 / 1000
    assert columns.fleet.rates[0, DOWN] == pytest.approx(load)
    assert model().fleet.faults_per_ns == pytest.approx(8 * 60 / 1000 / 86400e9)


def test_air_inlet_has_recirculation() -> None:
    """A quarter of the air again: a third of the rise through the rack, 12 K where it is full."""
    cooling = {"type": "Air", "supplyTemperature": 24, "recirculation": 25}
    compiled = model(farms.training(8, load=100), cooling=cooling)
    full = np.ones(8, np.int64)
    inlet = steady(compiled, np.arange(8), full).inlet_c
    np.testing.assert_allclose(inlet, 24 + 12.0 / 3, atol=0.2)
    none = steady(compiled, np.full(8, -1), 0 * full).inlet_c
    np.testing.assert_allclose(none, 24.0)


def test_what_devices_ask_for_is_not_cut_by_heat_and_hotter_ones_stay_off() -> None:
    """Where it may draw 875 W a device asks for 1,000 W; what it gets is the engine's to say."""
    warm = model(farms.training(load=100), cooling={"type": "Air", "supplyTemperature": 50})
    assert warm.columns.loads.device_mw[0].tolist() == [1_000_000]
    assert warm.columns.loads.speed_ppm[0].tolist() == [10**6]
    hot = model(cooling={"type": "Air", "supplyTemperature": 90})
    assert hot.columns.nodes.start.tolist() == [arrays.NEVER_UP] * 8
    assert any("even when idle" in text for text in hot.warnings)


def test_the_last_class_is_that_of_nodes_too_hot_and_is_never_drawn() -> None:
    compiled = model()
    assert compiled.names.classes[-1] == "Overheat"
    tables = compiled.columns.fleet
    drawn = tables.clusters[:, FIRST_CLASS] + tables.clusters[:, POOLED]
    assert drawn.max() == len(tables.classes) - 1
    assert len(tables.classes) - 1 not in tables.clocks[:, 0]


def test_snapshot_decides_what_is_free() -> None:
    states = {0: {"ready": False}, 1: {"schedulable": False}, 2: {"used": 3}, 3: {"live": True}}
    compiled = model(nodes=states)
    assert compiled.ready.tolist() == [0, 0, 1, 1, 1, 1, 1, 1]
    assert compiled.columns.nodes.free[:, 0].tolist() == [8, 8, 5, 8, 8, 8, 8, 8]
    assert compiled.columns.nodes.others.tolist() == [0, 0, 3, 0, 0, 0, 0, 0]
    start = [arrays.STARTS_DOWN, 0, 0, arrays.STARTS_UP, 0, 0, 0, 0]
    assert compiled.columns.nodes.start.tolist() == start
    assert any("3 accelerators are used by others" in text for text in compiled.warnings)


def test_node_that_nobody_saw_counts_as_down() -> None:
    farm = farms.farm(farms.cluster())
    seen = farms.snapshot(farm)
    seen = seen.model_copy(update={"nodes": seen.nodes[1:]})
    compiled = compile_farm([farm], [farms.profile()], farms.plan(farms.training()), seen)
    assert compiled.ready.tolist()[0] == 0
    assert "1 of 8 nodes" in compiled.warnings[0]


def test_references_have_sources_and_rates() -> None:
    known = references()
    total = sum(mode.rate for mode in known["llama3-h100"].modes)
    assert abs(float(total) - 3.789) < 0.04
    for study in known.values():
        assert study.source
        assert study.repair_source
        assert study.confidence in ("High", "Medium", "Derived", "Low")
        assert all(mode.rate > 0 and mode.repair_ns > 0 for mode in study.modes)


def test_own_classes_amend_a_reference() -> None:
    own = farms.one_class("5", "3h")["classes"][0] | {"name": "nic"}
    changed = {"reference": "llama3-h100", "meanTimeToRepair": "7h", "classes": [own]}
    facts = model(reliability=changed).clusters[0].facts
    by_name = {mode.name: mode for mode in facts.modes}
    assert by_name["nic"].repair_ns == 3 * 3600 * 10**9
    assert by_name["psu"].repair_ns == 7 * 3600 * 10**9


@pytest.mark.parametrize(
    ("change", "where", "expected"),
    [
        ({"accelerator": "h999"}, "spec.clusters[0].accelerator", "AcceleratorProfile"),
        ({"reliability": {"reference": "nowhere"}}, "reliability.reference", "llama3-h100"),
    ],
)
def test_wrong_input_says_where_and_what(change: Any, where: str, expected: str) -> None:
    with pytest.raises(InputError) as raised:
        model(**change)
    assert where in raised.value.where
    assert expected in raised.value.expected


def test_accelerator_of_no_cluster() -> None:
    with pytest.raises(InputError, match=r"spec.workloads\[0\].accelerators: found h200"):
        model(farms.training(accelerators=["h200"]))


def test_farm_that_is_not_given() -> None:
    farm = farms.farm(farms.cluster())
    plan = farms.plan(farms.training(), farms=("other",))
    with pytest.raises(InputError, match=r"spec.farms\[0\]: found GPUFarm other"):
        compile_farm([farm], [farms.profile()], plan, farms.snapshot(farm))


def test_cooling_that_the_profile_does_not_know() -> None:
    farm = farms.farm(farms.cluster(cooling={"type": "Air", "supplyTemperature": 20}))
    profile = farms.profile(thermalResistance={"liquid": "0.02"})
    with pytest.raises(InputError, match=r"thermalResistance\.air"):
        compile_farm([farm], [profile], farms.plan(farms.training()), farms.snapshot(farm))


def test_unknown_node_selector_is_refused() -> None:
    with pytest.raises(InputError, match="nodeSelector"):
        model(farms.training(nodeSelector={"zone": "a"}))


def test_checkpoints_at_the_optimum_of_the_gangs_failures() -> None:
    """60 failures per 1,000 node-days: one node of the gang every 16.7 days, four every 100 h."""
    saves = {"optimum": "Young", "save": "50s"}
    columns = model(farms.training(pods=4, checkpoint=saves)).columns
    assert columns.workloads.interval_ns[0] == pytest.approx(math.sqrt(2 * 50 * 360e3) * 1e9)


def test_what_never_fails_is_never_saved() -> None:
    """The interval is then the whole duration, which the workload gives."""
    saves = {"optimum": "Daly", "save": "50s"}
    work = farms.training(pods=4, checkpoint=saves, duration="240h")
    columns = model(work, reliability=farms.one_class("0", "20h")).columns
    assert columns.workloads.interval_ns[0] == 240 * 3600 * 10**9


def test_a_class_of_rate_zero_is_left_out_by_name() -> None:
    compiled = model(reliability=farms.one_class("0", "20h"))
    assert compiled.names.classes == ("Overheat",)
    assert any("failure class any has rate 0 and is left out" in w for w in compiled.warnings)


def test_crews_that_nobody_waits_for_are_told() -> None:
    body = farms.one_class("5", "20h") | {"crews": {"count": 2}}
    assert any("crews have nothing to do" in told for told in model(reliability=body).warnings)
    body["classes"][0]["repair"] = {"crew": True}
    assert not any("crews have" in told for told in model(reliability=body).warnings)


def test_a_reference_mended_sooner_than_found_is_refused() -> None:
    """Software is back after 11 minutes in llama3-h100."""
    with pytest.raises(InputError, match="longer than the repair of software-bug"):
        model(reliability={"reference": "llama3-h100", "detection": "12m"})
    repeated = {"failuresPer1000NodeDays": "0.4", "meanTimeToRepair": "1h"}
    names = ("software-bug", "nccl-watchdog", "dependency")
    own = [{"name": name, **repeated} for name in names]
    body = {"reference": "llama3-h100", "detection": "12m", "classes": own}
    assert len(model(reliability=body).names.classes) == 18 + 1  # and Overheat
