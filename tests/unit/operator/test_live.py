"""The pure parts of the live twin: names, samples, reports, conditions, history, suggestions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from gate_scene import cluster_body, farm_body, profile_body
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.telemetry import MAX_ROWS, DriftBounds, DriftRow, Unhealthy
from kfarm_api.v1alpha1 import GPUFarm
from kfarm_operator.live.gauges import FAMILIES, LiveGauges
from kfarm_operator.live.reports import (
    Report,
    device_reports,
    health_reports,
    metric_reports,
    unhealthy,
)
from kfarm_operator.live.series import (
    BadAnswer,
    Query,
    Reading,
    Sample,
    device_order,
    queries,
    take,
)
from kfarm_operator.live.status import (
    Heard,
    differs,
    drifted,
    heard,
    history,
    live_status,
    poisson_interval,
    suggestions,
)
from kfarm_operator.live.window import Window
from kfarm_operator.views import NodeView, node_view
from kfarm_twin.live_request import ClusterDrift, Compared
from prometheus_client import CollectorRegistry, generate_latest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AT = NOW.timestamp()
DCGM = {"temperature": "DCGM_FI_DEV_GPU_TEMP", "power": "DCGM_FI_DEV_POWER_USAGE"}


def profile(metrics: dict[str, str] | None = None, **spec: Any) -> AcceleratorProfile:
    body = profile_body()
    body["spec"] |= {"metrics": DCGM if metrics is None else metrics, **spec}
    return AcceleratorProfile.model_validate(body)


def farm(*, telemetry: bool = True, **status: Any) -> GPUFarm:
    body = farm_body(cluster_body(nodes=2))
    if telemetry:
        body["spec"]["telemetry"] = {"prometheus": {"url": "http://prometheus:9090"}}
    return GPUFarm.model_validate({**body, "status": status} if status else body)


def node(name: str, *conditions: str) -> NodeView:
    labels = {
        "kfarm.dev/farm": "f", "kfarm.dev/farm-kind": "GPUFarm", "kfarm.dev/cluster": "f-c",
        "kfarm.dev/node-index": name[-1],
    }  # fmt: skip
    told = [{"type": kind, "status": "True"} for kind in ("Ready", *conditions)]
    meta = {"name": name, "uid": name, "resourceVersion": "1", "labels": labels}
    return node_view({"metadata": meta, "status": {"conditions": told}})


def taken(*samples: Sample, role: str = "temperature", of: AcceleratorProfile | None = None) -> Any:
    reading, query = Reading(), Query("b200", role, "m", "m")
    take(reading, query, samples, of or profile(), {"n0": "n0", "n1": "n1"}, AT)
    return reading


def sample(value: float, at_s: float = AT, **labels: str) -> Sample:
    return Sample({"Hostname": "n0", "gpu": "0", **labels}, value, at_s)


def test_a_query_asks_for_the_usual_labels_and_the_matchers() -> None:
    found, wrong = queries([profile()], {"cluster": 'a"b'})
    assert wrong == []
    assert [query.role for query in found] == ["temperature", "power"]
    assert found[0].expression == (
        "max by (Hostname,hostname,node,kubernetes_node,instance,gpu,name,device,npu) "
        '(DCGM_FI_DEV_GPU_TEMP{cluster="a\\"b"})'
    )


def test_labels_named_by_the_profile_are_asked_for_alone() -> None:
    names = {"temperature": 'furiosa_npu_hw_temperature{label="peak"}',
             "nodeLabel": "hostname", "deviceLabel": "device"}  # fmt: skip
    (query,), _ = queries([profile(names)], {})
    assert query.expression == (
        'max by (hostname,device) (furiosa_npu_hw_temperature{label="peak"})'
    )


def test_old_names_with_a_colon_are_names() -> None:
    (query,), wrong = queries([profile({"temperature": "RBLN_DEVICE_STATUS:TEMPERATURE"})], {})
    assert "(RBLN_DEVICE_STATUS:TEMPERATURE{})" in query.expression
    assert not wrong


@pytest.mark.parametrize(
    "name", ["온도", "a b", "m)", "m{x=1}", 'm{x="1"} or up', "1m", 'm{x=~"a"}']
)
def test_what_is_no_metric_name_is_told(name: str) -> None:
    found, wrong = queries([profile({"temperature": name})], {})
    assert not found
    assert wrong == [f"b200: {name!r}"]
    assert heard(Reading(), 16, wrong).reason == "BadMetricName"


def test_states_that_a_profile_calls_bad_are_asked_for() -> None:
    faults = [
        {"kind": "Health", "code": "rbln_npu_health=1", "failureClass": "node"},
        {"kind": "Health", "code": "Unhealthy", "failureClass": "node"},
        {"kind": "XID", "code": "79", "failureClass": "node"},
    ]
    found, _ = queries([profile({}, faults=faults)], {})
    (query,) = found
    assert (query.role, query.metric) == ("bad", "rbln_npu_health=1")
    assert query.expression.endswith("(rbln_npu_health{} == 1)")


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -float("inf"), 1e9, 200.1, -51.0]
)  # fmt: skip
def test_temperatures_that_cannot_be_are_refused(value: float) -> None:
    reading = taken(sample(value))
    assert (reading.devices, reading.refused) == (0, 1)
    assert reading.first_refused.startswith("m of n0, device '0': ")


@pytest.mark.parametrize(
    ("role", "value", "good"),
    [("power", 3000.0, True), ("power", 3000.1, False), ("power", -0.1, False),
     ("utilization", 100.0, True), ("utilization", 101.0, False), ("temperature", -50.0, True)],
)  # fmt: skip
def test_what_is_plausible(role: str, value: float, *, good: bool) -> None:
    reading = taken(sample(value), role=role)
    assert (len(reading.values[role]), reading.refused) == ((1, 0) if good else (0, 1))


@pytest.mark.parametrize("at_s", [AT - 301, AT + 301, float("nan"), 0.0])
def test_stale_samples_are_refused(at_s: float) -> None:
    assert taken(sample(40.0, at_s)).refused == 1
    assert taken(sample(40.0, AT - 299)).refused == 0


def test_the_power_of_a_card_is_shared_by_its_devices() -> None:
    of = profile({**DCGM, "powerOf": "Card"}, devicesPerCard=4)
    reading = taken(sample(4000.0), role="power", of=of)
    assert reading.values["power"] == {("n0", "0"): 1000.0}


def test_nodes_are_found_by_whatever_label_names_them() -> None:
    by_port = Sample({"instance": "n1:9400", "gpu": "3"}, 40.0, AT)
    by_domain = Sample({"hostname": "n1.example.org", "name": "rbln3"}, 41.0, AT)
    stranger = Sample({"Hostname": "elsewhere", "gpu": "0"}, 42.0, AT)
    nameless = Sample({}, 43.0, AT)
    reading = taken(by_port, by_domain, stranger, nameless)
    assert reading.values["temperature"] == {("n1", "3"): 40.0, ("n1", "rbln3"): 41.0}
    assert reading.strangers == 2


def test_of_two_values_of_one_device_the_hotter_counts() -> None:
    assert taken(sample(40.0), sample(44.0), sample(41.0)).values["temperature"] == {
        ("n0", "0"): 44.0
    }


def test_devices_stand_in_their_order() -> None:
    assert sorted(["npu10", "npu2", "x", "npu0"], key=device_order) == [
        "npu0",
        "x",
        "npu2",
        "npu10",
    ]


def reading_of(devices: int, refused: int = 0, strangers: int = 0) -> Reading:
    reading = Reading(refused=refused, strangers=strangers, first_refused="why")
    reading.values["temperature"] = {("n0", str(d)): 40.0 for d in range(devices)}
    return reading


@pytest.mark.parametrize(
    ("reading", "reason", "status"),
    [
        (reading_of(16), "Fresh", "True"),
        (reading_of(15), "Partial", "True"),
        (reading_of(16, refused=2), "Partial", "True"),
        (reading_of(7), "NoData", "False"),
        (reading_of(0), "NoData", "False"),
        (reading_of(3, refused=13), "Implausible", "False"),
        (reading_of(0, strangers=9), "UnknownNodes", "False"),
        (BadAnswer("TimedOut", "too late"), "TimedOut", "False"),
    ],
)
def test_what_is_heard(reading: Reading | BadAnswer, reason: str, status: str) -> None:
    found = heard(reading, 16, [])
    assert (found.reason, found.status) == (reason, status)
    assert found.good == (status == "True")


def body(name: str, **status: Any) -> dict[str, Any]:
    return {"spec": {"nodeName": name}, "status": status}


def test_reports_of_kcloud_operator() -> None:
    bad = {"pciAddress": "a", "state": "Unhealthy", "reason": "ECC"}
    good = {"pciAddress": "b", "state": "Healthy"}
    found = health_reports(
        [
            body("degraded", state="Degraded", allocationAllowed=True, devices=[bad, good]),
            body("quarantined", state="Quarantined", reason="thrice"),
            body("one", state="Unhealthy", allocationAllowed=True, devices=[bad, good]),
            body("sound", state="Healthy", allocationAllowed=True, devices=[good]),
            body("unknown", state="Unknown"),
            {"spec": None, "status": 7},
            body("odd", state=3, devices="x"),
        ]
    )
    assert found == [
        Report("degraded", 1, "AcceleratorHealth", "ECC"),
        Report("quarantined", None, "AcceleratorHealth", "thrice"),
        Report("one", 1, "AcceleratorHealth", "ECC"),
    ]
    passed_on = {"model": "RNGD", "count": 2, "driverBinding": "vfio-pci"}
    assert device_reports(
        [
            body("vm", devices=[passed_on, {"model": "RNGD", "count": 6, "driverLoaded": True}]),
            body("failed", validation={"passed": False}),
            body("fine", validation={"passed": True}, devices=[{"count": -1}]),
            {},
        ]
    ) == [
        Report("vm", 2, "NodeDeviceReport", "RNGD: driver not loaded or passthrough"),
        Report("failed", None, "NodeDeviceReport", "its validation failed"),
    ]


def test_the_worst_report_on_a_node_counts() -> None:
    nodes = {name: node(name) for name in ("n0", "n1")}
    reports = [
        Report("n1", 2, "a", "x" * 400), Report("n0", 1, "a", "r"), Report("n0", 3, "b", "s"),
        Report("n0", 0, "c", "t"), Report("elsewhere", 5, "a", "r"), Report("n1", 99, "d", ""),
    ]  # fmt: skip
    found = unhealthy(farm(), nodes, reports)
    assert [(e.node, e.accelerators, e.source) for e in found] == [("n0", 3, "b"), ("n1", 8, "d")]
    assert found[1].reason == "no reason given"


def test_metrics_of_health_are_counted_by_node() -> None:
    reading = Reading(bad={("n0", "1"): "alive=0", ("n0", "2"): "alive=0", ("n1", "0"): "h=1"})
    assert [(r.node, r.lost) for r in metric_reports(reading)] == [("n0", 2), ("n1", 1)]


def test_faults_of_nvsentinel_are_seen_on_nodes() -> None:
    assert node("n0", "GpuMemWatch", "SomethingElse").faults == ("GpuMemWatch",)


def test_means_are_by_device_and_role() -> None:
    window = Window(NOW)
    for value in (40.0, 50.0):
        reading = taken(sample(value), sample(60.0, gpu="1"))
        reading.values["power"]["n0", "0"] = 10 * value
        window.add(reading)
    (found,) = window.observed({"n0": node("n0")})
    assert (found.cluster, found.index) == ("c", 0)
    assert found.temperature == [45.0, 60.0]
    assert found.power == [450.0, None]
    assert found.utilization == [None, None]


def test_time_is_watched_and_failures_counted() -> None:
    window = Window(NOW)
    window.watch({"c": 10}, NOW + timedelta(minutes=30))
    window.watch({"c": 12}, NOW + timedelta(hours=1))
    window.watch({"c": 12}, NOW)  # a clock that went back adds nothing
    window.fail("c")
    assert window.node_hours == {"c": 11.0}
    assert window.failures == {"c": 1}


def row(error: str | None, power: str | None = None, **more: Any) -> DriftRow:
    return DriftRow(at="t", cluster="c", error=error, error_p95=error, power_error=power, **more)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([row("4.9", "9.9")], "WithinBounds"),
        ([row("-5.1")], "BeyondBounds"),
        ([row("0.1", "-10.1")], "BeyondBounds"),
        ([row("0.1"), row("6.0")], "BeyondBounds"),
        ([row(None)], "NothingMeasured"),
        ([], "NothingMeasured"),
    ],
)
def test_drift_is_what_lies_beyond_the_bounds(rows: list[DriftRow], reason: str) -> None:
    assert drifted(rows, DriftBounds()).reason == reason


def test_the_history_is_bounded() -> None:
    rows = [row(str(n)) for n in range(MAX_ROWS)]
    kept = history(rows, [row("new")])
    assert len(kept) == MAX_ROWS
    assert (kept[0].error, kept[-1].error) == ("1", "new")


def compared(rate: float) -> Compared:
    return Compared(clusters=[ClusterDrift(name="c", failures_per_1000_node_days=rate)])


def test_a_failure_rate_is_offered_where_its_interval_says_so() -> None:
    rows = [row(None, node_hours="2400.00", failures=4) for _ in range(3)]  # 12 in 300 days
    (found,) = suggestions(compared(5.0), rows)
    assert (found.present, found.suggested, found.samples) == ("5.000", "40.000", 12)
    assert float(found.low) == pytest.approx(20.7, rel=0.01)  # exact (Garwood): 6.20 and 20.96
    assert float(found.high) == pytest.approx(69.9, rel=0.01)
    assert suggestions(compared(40.0), rows) == []
    assert suggestions(compared(5.0), rows[:0]) == []


@pytest.mark.parametrize(
    ("count", "low", "high"), [(0, 0.0, 3.689), (1, 0.0253, 5.572), (10, 4.795, 18.390)]
)
def test_intervals_of_counts_are_the_textbook_ones(count: int, low: float, high: float) -> None:
    """Garwood 1936, by the approximation of Wilson and Hilferty: within 2 % from five events."""
    found = poisson_interval(count)
    assert found[0] == pytest.approx(low, rel=0.02, abs=0.02)
    assert found[1] == pytest.approx(high, rel=0.02)


FRESH = Heard("True", "Fresh", "64 devices")
LOST = [Unhealthy(node="n0", cluster="c", accelerators=1, source="s", reason="r")]


def test_nothing_is_written_twice() -> None:
    """A message that moves on under the same reason is no change; another reason is one."""
    first = live_status(farm(), lost=LOST, telemetry=FRESH, closed=None, now=NOW)
    told = farm(**{key: value for key, value in first.items() if value})
    later = NOW + timedelta(hours=1)
    moved = Heard("True", "Fresh", "63 devices")
    again = live_status(told, lost=LOST, telemetry=moved, closed=None, now=later)
    assert told.status is not None
    have = told.status.as_manifest()
    assert not differs(have, again)
    partial = Heard("True", "Partial", "40 devices")
    changed = live_status(told, lost=LOST, telemetry=partial, closed=None, now=later)
    assert differs(have, changed)
    (entry,) = changed["conditions"]
    assert entry["lastTransitionTime"] == first["conditions"][0]["lastTransitionTime"]
    assert differs(have, live_status(told, lost=[], telemetry=moved, closed=None, now=later))


def test_conditions_of_others_stay_and_ours_go_with_the_telemetry() -> None:
    ready = {"type": "Ready", "status": "True", "reason": "NodesReady", "message": "",
             "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip
    ours = {**ready, "type": "Telemetry", "reason": "Fresh"}
    rows = [row("6").as_manifest()]
    told = farm(telemetry=False, conditions=[ready, ours], drift=rows)
    wanted = live_status(told, lost=[], telemetry=None, closed=None, now=NOW)
    assert [entry["type"] for entry in wanted["conditions"]] == ["Ready"]
    assert (wanted["drift"], wanted["unhealthy"]) == (None, None)


def test_gauges_are_documented() -> None:
    text = (Path(__file__).parents[3] / "docs/live.md").read_text("utf-8")
    assert [name for name, _, _ in FAMILIES.values() if f"`{name}`" not in text] == []


def test_gauges_show_and_forget_a_farm() -> None:
    registry = CollectorRegistry()
    gauges = LiveGauges.register(registry)
    gauges.show(farm(), up=True, devices=16, lost=3)
    gauges.drift(farm(), [row("6.1", "-2.5")])
    text = generate_latest(registry).decode()
    assert 'kfarm_drift_temperature_kelvin{cluster="c",farm="f",kind="GPUFarm"} 6.1' in text
    assert 'kfarm_drift_power_ratio{cluster="c",farm="f",kind="GPUFarm"} -0.025' in text
    assert 'kfarm_unhealthy_accelerators{farm="f",kind="GPUFarm"} 3.0' in text
    gauges.forget("GPUFarm", "f")
    assert 'farm="f"' not in generate_latest(registry).decode()
