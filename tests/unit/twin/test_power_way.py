"""Power from the node to the grid: caps, stages, limits, what is left when a PDU is lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import twin_farms as farms
from kfarm_twin.arrays import METRIC_ORDER, Outcome
from kfarm_twin.compile import Model, compile_farm
from kfarm_twin.electric import chain_at, upstream
from kfarm_twin.place import place
from kfarm_twin.request import InputError, ValidationRequest
from kfarm_twin.simulate import Simulator
from kfarm_twin.steady import running_nodes, steady
from kfarm_twin.survive import survive
from kfarm_twin.validate import validate

HOUR_NS = 3600 * 10**9
NEVER = farms.one_class("0.000001", "1h")
FEED = {"nodesPerPdu": 4, "feeds": 2}
LIQUID = farms.cluster()["cooling"]
PSU = {
    "name": "psu", "at": "Node", "rated": "19800",
    "efficiency": [{"load": 10, "efficiency": "90"}, {"load": 50, "efficiency": "96.5"},
                   {"load": 100, "efficiency": "94"}],
}  # fmt: skip
RECTIFIER = {"name": "rect", "at": "Rack", "efficiency": [{"load": 1, "efficiency": "98"}]}
BUSBAR = {"name": "pdu", "at": "Pdu", "constantLoss": "300",
          "efficiency": [{"load": 1, "efficiency": "99"}]}  # fmt: skip
UPS = {
    "name": "ups", "at": "Feed", "constantLoss": "1k", "rated": "200k",
    "efficiency": [{"load": 10, "efficiency": "90"}, {"load": 60, "efficiency": "97"}],
}  # fmt: skip
TRAFO = {"name": "trafo", "at": "Site", "efficiency": [{"load": 1, "efficiency": "99"}]}


def node_w(load: int = 85, cpu: int | None = None, pods: int = 1) -> float:
    """A B200 node with one pod of eight devices, by hand."""
    overhead = 2000 + (6300 - 2000) * (load if cpu is None else cpu) / 100 * pods
    return 8 * 139 + 8 * (1000 - 139) * load / 100 * pods + overhead


def build(*workloads: dict[str, Any], power: dict[str, Any] | None = None, **cluster: Any) -> Model:
    farm = farms.farm(farms.cluster(**({"reliability": NEVER} | cluster)), power=power)
    asked = workloads or (farms.training(8),)
    return compile_farm([farm], [farms.profile()], farms.plan(*asked), farms.snapshot(farm))


def play(model: Model, hours: int = 48, futures: int = 1) -> Outcome:
    placed = place(model)
    assert isinstance(placed, np.ndarray)
    return Simulator(model, placed, 3, hours * HOUR_NS, workers=1).play(0, futures)


def metric(outcome: Outcome, name: str) -> float:
    return float(outcome.metrics[0, METRIC_ORDER.index(name)])


def test_cpu_load_is_that_of_the_overhead_alone() -> None:
    for cpu in (0, 30, 100, None):
        outcome = play(build(farms.training(8, cpuLoad=cpu)))
        assert metric(outcome, "it_power_peak") == pytest.approx(8 * node_w(85, cpu), rel=1e-6)


def test_a_power_limit_slows_in_proportion_to_dynamic_power() -> None:
    """At load 85 a B200 asks for 870.85 W; at 505 W it does half of what it does above idle."""
    asked = 139 + 0.85 * 861
    cap = 139 + (asked - 139) / 2
    free = play(build(farms.training(8, checkpoint={"interval": "100h"})))
    capped = play(build(farms.training(8, checkpoint={"interval": "100h"}),
                        acceleratorPowerLimit=f"{cap:.4f}"))  # fmt: skip
    whole = 8 * 139 + 2000 + 0.85 * 4300
    assert metric(capped, "it_power_peak") == pytest.approx(8 * (whole + 8 * (cap - 139)), 1e-6)
    half = capped.unit_times_ns[0, 0, 0] / free.unit_times_ns[0, 0, 0]
    assert half == pytest.approx(0.5, rel=1e-5)
    assert metric(capped, "throttled_accelerators_max") == 0.0
    none = play(build(farms.training(8), acceleratorPowerLimit="5k"))
    assert metric(none, "it_power_peak") == metric(free, "it_power_peak")


def test_a_power_limit_below_idle_is_refused() -> None:
    with pytest.raises(InputError, match=r"clusters\[0\].acceleratorPowerLimit.*138 W.*139 W"):
        build(acceleratorPowerLimit="138")


def test_what_a_rack_draws_beside_its_nodes() -> None:
    rack = {"nodes": 2, "powerLimit": "60k", "load": "1500"}
    outcome = play(build(rack=rack))
    assert metric(outcome, "rack_power_peak") == pytest.approx(2 * node_w() + 1500, rel=1e-6)
    assert metric(outcome, "it_power_peak") == pytest.approx(8 * node_w() + 4 * 1500, rel=1e-6)
    assert metric(outcome, "rack_power_load_max") == pytest.approx((2 * node_w() + 1500) / 60e3)


@pytest.mark.parametrize("stages", [[], [RECTIFIER], [PSU], [PSU, RECTIFIER]])
def test_capped_racks_keep_their_limit_and_no_more(stages: list[dict[str, Any]]) -> None:
    """The speed is that which leaves just the limit; the gang goes at it."""
    rack = {"nodes": 2, "powerLimit": "23k", "load": "500"}
    work = farms.training(8, checkpoint={"interval": "100h"})
    feed = FEED | {"stages": stages}
    loose = play(build(work, rack=rack, feed=feed))
    assert metric(loose, "rack_power_load_max") > 1.0
    tight = play(build(work, rack=rack | {"capping": "Uniform"}, feed=feed))
    assert 0.99999 < metric(tight, "rack_power_load_max") <= 1.0 + 1e-9
    speed = tight.unit_times_ns[0, 0, 0] / loose.unit_times_ns[0, 0, 0]
    devices = 8 * 0.85 * 861  # the rest of a node does not slow

    def rack_w(share: float) -> float:
        load = node_w() - devices + share * devices
        nodes = 2 * float(upstream(_chain(stages, "Node"), load))
        return float(upstream(_chain(stages, "Rack"), nodes + 500.0))

    assert rack_w(speed) == pytest.approx(23e3, rel=1e-5)


def _chain(stages: list[dict[str, Any]], at: str) -> Any:
    model = build(feed=FEED | {"stages": stages})
    feed = model.clusters[0].cluster.feed
    assert feed is not None
    return chain_at(feed.stages, at, "here")


def test_a_rack_that_idles_above_its_limit_stands_still() -> None:
    rack = {"nodes": 2, "powerLimit": "5k", "capping": "Uniform"}
    outcome = play(build(rack=rack))
    still = node_w() - 8 * 0.85 * 861
    assert metric(outcome, "it_power_peak") == pytest.approx(8 * still, rel=1e-6)
    assert metric(outcome, "ettr") == 0.0


def test_one_slow_rack_slows_the_gang() -> None:
    """A pod of others' devices in the first rack takes room from the gang there."""
    rack = {"nodes": 2, "powerLimit": "23k", "capping": "Uniform"}
    work = farms.training(7, checkpoint={"interval": "100h"})
    alone = play(build(work, rack=rack))
    farm = farms.farm(farms.cluster(reliability=NEVER, rack={"nodes": 2}))
    seen = farms.snapshot(farm)
    free = play(compile_farm([farm], [farms.profile()], farms.plan(work), seen))
    # three racks of two nodes at work need 23 kW for 23.9 kW; the fourth has room
    share = alone.unit_times_ns[0, 0, 0] / free.unit_times_ns[0, 0, 0]
    devices = 8 * 0.85 * 861
    still = node_w() - devices
    assert share == pytest.approx((23e3 - 2 * still) / (2 * devices), rel=1e-4)


def test_it_power_is_that_of_racks_and_losses_go_on_outwards() -> None:
    power = {"capacity": "200k", "stages": [UPS, TRAFO], "otherLoad": "2k"}
    feed = FEED | {"stages": [PSU, RECTIFIER, BUSBAR], "pduLimit": "40k", "feedLimit": "80k"}
    rack = {"nodes": 2, "load": "500"}
    outcome = play(build(feed=feed, power=power, rack=rack))
    racks = 4 * (2 * float(upstream(_chain([PSU], "Node"), node_w())) + 500) / 0.98
    assert metric(outcome, "it_power_peak") == pytest.approx(racks, rel=1e-6)
    for window in ("1s", "1min", "15min"):
        assert metric(outcome, f"it_power_peak_{window}") == pytest.approx(racks, rel=1e-6)
    pdu = racks / 4  # two groups of four nodes on two PDUs each
    assert metric(outcome, "pdu_power_load_max") == pytest.approx(pdu / 40e3, rel=1e-6)
    each = 2 * (pdu / 0.99 + 300)
    assert metric(outcome, "feed_power_load_max") == pytest.approx(each / 80e3, rel=1e-6)
    ups = each / (0.90 + 0.07 * (each / 200e3 - 0.1) / 0.5) + 1000
    site = (2 * ups + 2000) / 0.99
    assert metric(outcome, "site_power_load_max") == pytest.approx(site / 200e3, rel=1e-6)


def test_metrics_without_limits_have_no_value() -> None:
    outcome = play(build())
    for name in ("pdu_power_load_max", "feed_power_load_max", "site_power_load_max"):
        assert np.isnan(metric(outcome, name))


def test_phases_raise_short_peaks_alone() -> None:
    """A wave of 30 s and 150 %: 1 s windows see all of it, minutes the mean."""
    wave = {"period": "30s", "peak": 150, "share": 40}
    calm, wavy = play(build()), play(build(farms.training(8, phases=wave)))
    above = 8 * 8 * 0.85 * 861
    mean = metric(calm, "it_power_peak")
    assert metric(wavy, "it_power_peak") == mean
    assert metric(wavy, "it_energy") == metric(calm, "it_energy")
    assert metric(wavy, "it_power_peak_1s") == pytest.approx(mean + 0.5 * above, rel=1e-6)
    assert metric(wavy, "it_power_peak_1min") == pytest.approx(mean, rel=1e-6)
    # 15 s of the 60 s beyond whole periods of 45 s: all at the peak
    wave["period"] = "45s"
    again = play(build(farms.training(8, phases=wave)))
    low = (1 - 1.5 * 0.4) / 0.6
    high = low + (1.5 - low) * (18 + 15) / 60
    expected = mean + (high - 1) * above
    assert metric(again, "it_power_peak_1min") == pytest.approx(expected, rel=1e-6)


def test_gangs_may_fall_in_step() -> None:
    wave = {"period": "30s", "peak": 150, "share": 40}
    two = [farms.training(4, phases=wave), farms.training(4, name="other", phases=wave)]
    one = play(build(farms.training(8, phases=wave)))
    both = play(build(*two))
    assert metric(both, "it_power_peak_1s") == metric(one, "it_power_peak_1s")


def fault(model: Model, kind: str) -> Any:
    placed = place(model)
    assert isinstance(placed, np.ndarray)
    limits = farms.policy({"metric": "ettr", "atLeast": "0"}).spec.fault_limits
    [summary], _ = survive(model, placed, [kind], limits)  # type: ignore[list-item]
    return summary


def test_the_other_pdu_carries_both_up_to_its_limit() -> None:
    most = 4 * node_w()
    enough = build(feed=FEED | {"pduLimit": f"{most + 1:.0f}"})
    assert fault(enough, "Pdu").result == "Passed"
    short = fault(build(feed=FEED | {"pduLimit": f"{most - 1:.0f}"}), "Pdu")
    assert (short.result, short.instances, short.survived) == ("Failed", 2, 0)
    for part in ("main-pdu000", "4 nodes shut down", "each PDU", "left would carry", "Remedy"):
        assert part in short.message
    three = build(feed=FEED | {"feeds": 3, "pduLimit": f"{most / 2 + 1:.0f}"})
    assert fault(three, "Pdu").result == "Passed"
    alone = build(feed=FEED | {"feeds": 1, "pduLimit": "1M"})
    assert "shut down" in fault(alone, "Pdu").message


def test_phases_count_when_a_pdu_is_lost() -> None:
    wave = {"period": "30s", "peak": 110, "share": 40}
    feed = FEED | {"pduLimit": f"{4 * node_w() + 1:.0f}"}
    assert fault(build(farms.training(8, phases=wave), feed=feed), "Pdu").result == "Failed"


def test_power_supplies_of_a_lost_pdu_are_lost_too() -> None:
    """Six supplies of 3.3 kW: three left carry 9.9 kW, four 13.2 kW; a node takes 12.6 kW."""
    feed = FEED | {"stages": [PSU]}
    found = fault(build(feed=feed), "Pdu")
    assert found.result == "Failed"
    share = 100 * node_w() / 9900
    assert f"loaded to {share:.0f} % of their rating" in found.message
    assert fault(build(feed=feed | {"feeds": 3}), "Pdu").result == "Passed"
    assert fault(build(farms.training(8, load=40), feed=feed), "Pdu").result == "Passed"
    held = build(feed=feed, acceleratorPowerLimit="400")
    assert fault(held, "Pdu").result == "Passed"


def test_a_feed_carries_the_cluster_alone() -> None:
    most = 8 * node_w()
    enough = build(feed=FEED | {"feedLimit": f"{most + 1:.0f}"})
    assert fault(enough, "Feed").result == "Passed"
    short = fault(build(feed=FEED | {"feedLimit": f"{most - 1:.0f}"}), "Feed")
    assert "8 nodes shut down: each feed of farm/main that is left" in short.message
    pdus = fault(build(feed=FEED | {"feedLimit": "1M", "pduLimit": "45k"}), "Feed")
    assert "each PDU of" in pdus.message
    assert "8 nodes" in pdus.message


@pytest.mark.parametrize("stages", [[], [PSU, RECTIFIER, BUSBAR]])
@pytest.mark.parametrize("capping", ["None", "Uniform"])
def test_the_steady_state_is_that_of_the_loop(stages: list[dict[str, Any]], capping: str) -> None:
    rack = {"nodes": 3, "powerLimit": "33k", "capping": capping, "load": "700"}
    model = build(farms.training(6), farms.serving(3), feed=FEED | {"stages": stages}, rack=rack)
    placed = place(model)
    assert isinstance(placed, np.ndarray)
    moment = steady(model, placed, running_nodes(model))
    outcome = play(model)
    assert moment.rack_mw.max() / 1000.0 == pytest.approx(metric(outcome, "rack_power_peak"), 1e-6)
    assert moment.rack_mw.sum() / 1000.0 == pytest.approx(metric(outcome, "it_power_peak"), 1e-6)


def test_stages_that_draw_less_for_more_are_refused() -> None:
    bad = PSU | {"efficiency": [{"load": 10, "efficiency": "20"}, {"load": 20, "efficiency": "90"}]}
    with pytest.raises(InputError, match=r"GPUFarm/farm: spec.clusters\[0\].feed.stages\[0\]"):
        build(feed=FEED | {"stages": [bad]})
    with pytest.raises(InputError, match=r"GPUFarm/farm: spec.power.stages\[1\].efficiency"):
        build(power={"stages": [TRAFO, bad | {"at": "Feed"}]})


def test_a_verdict_names_the_pdu_that_binds() -> None:
    """Two clusters; the second hangs more nodes on its PDUs."""
    first = farms.cluster("first", feed=FEED | {"pduLimit": "30k"}, reliability=NEVER)
    second = farms.cluster("second", feed={"nodesPerPdu": 8, "feeds": 2, "pduLimit": "30k"},
                           reliability=NEVER)  # fmt: skip
    farm = farms.farm(first, second, power={"capacity": "300k"})
    checks = [
        {"metric": "pdu_power_load_max", "atMost": 1},
        {"metric": "site_power_load_max", "atMost": 1},
        {"metric": "it_power_peak_1min", "atMost": "250k"},
    ]
    asked = ValidationRequest(
        farms=[farm], profiles=[farms.profile()], policy=farms.policy(*checks),
        plan=farms.plan(farms.training(8), farms.training(8, name="more")),
        snapshot=farms.snapshot(farm),
    )  # fmt: skip
    verdict = validate(asked)
    assert (verdict.verdict, verdict.reason) == ("Rejected", "ChecksFailed")
    pdu, site, peak = verdict.checks
    assert pdu.result == "Failed"
    assert "farm-second-pdu000 with 8 nodes is the fullest, each of its 2 PDUs" in pdu.message
    assert "Remedy: hang fewer nodes on a PDU" in pdu.message
    assert (site.result, peak.result) == ("Passed", "Passed")
    assert "the connection of farm gives 300 kW" in site.message
