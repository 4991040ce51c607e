"""The live twin against a real Prometheus that scrapes a replaying exporter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from farm_exporter import (
    DCGM,
    FURIOSA,
    RBLN,
    Exporter,
    exporting,
    made_up_powers,
    saying,
    serving,
    silent_port,
)
from kfarm_controlplane.errors import ControlPlaneUnavailable
from kfarm_controlplane.prometheus import PrometheusServer, prometheus_binary, required
from kfarm_operator.snapshot import export

ROOT = Path(__file__).resolve().parents[2]
B200_AIR = 0.045
RECORD = "4s"


@pytest.fixture(scope="module", autouse=True)
def binary() -> None:
    """Debian's Prometheus, or a clear word that it cannot be had."""
    try:
        prometheus_binary()
    except ControlPlaneUnavailable as error:
        if required():
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def unmeasured(request: pytest.FixtureRequest) -> Iterator[None]:
    """Take the test's farm away at its end: it would be asked for and written of for ever."""
    world = request.getfixturevalue("world") if "world" in request.fixturenames else None
    yield
    if world is not None:
        world.cluster.kubectl("delete", "gpufarm", world.farm_name, "--wait=false")


@contextmanager
def _scraped(*exporters: Exporter) -> Iterator[PrometheusServer]:
    with ExitStack() as stack:
        addresses = [stack.enter_context(exporting(exporter)) for exporter in exporters]
        yield stack.enter_context(PrometheusServer({"devices": addresses}))


def _measure(world: Any, url: str, **telemetry: Any) -> None:
    """Let the world's farm be measured; without recirculation air is as the farm says."""
    farm = world.farm()
    farm["spec"]["clusters"][0]["cooling"]["recirculation"] = 0
    prometheus = {"url": url, "interval": "1s", "timeout": "2s"}
    farm["spec"]["telemetry"] = {"prometheus": prometheus, "record": RECORD, **telemetry}
    world.cluster.apply(farm)


def _status(world: Any) -> dict[str, Any]:
    return dict(world.get("gpufarm", world.farm_name).get("status") or {})


def _condition(world: Any, kind: str) -> dict[str, Any]:
    body = world.get("gpufarm", world.farm_name)
    generation = body["metadata"]["generation"]
    return next(
        (
            c
            for c in (body.get("status") or {}).get("conditions") or ()
            if c["type"] == kind and c.get("observedGeneration") == generation
        ),
        {},
    )


def _until(world: Any, kind: str, reason: str) -> dict[str, Any]:
    world.until(lambda: _condition(world, kind).get("reason") == reason, f"{kind} {reason}")
    return _condition(world, kind)


def _nodes(world: Any) -> list[str]:
    return [f"{world.farm_name}-c-{index:04d}" for index in range(8)]


def _dcgm(world: Any, **changes: Any) -> Exporter:
    return Exporter(DCGM, _nodes(world), inlet_c=22.0, resistance_k_per_w=B200_AIR, **changes)


def test_a_twin_that_agrees_then_one_that_does_not(world: Any) -> None:
    """Drift is none while devices are as predicted, and found when they are 6 K hotter."""
    exporter = _dcgm(world)
    with _scraped(exporter) as server:
        _measure(world, server.url)
        assert _until(world, "Telemetry", "Fresh")["message"] == "64 of 64 devices are measured"
        told = _until(world, "Drift", "WithinBounds")
        assert told["status"] == "False"
        row = _status(world)["drift"][-1]
        assert (row["cluster"], row["devices"]) == ("c", 64)
        assert abs(float(row["error"])) < 0.3
        assert abs(float(row["powerError"])) < 0.5
        exporter.hotter_k = 6.0
        told = _until(world, "Drift", "BeyondBounds")
        assert told["status"] == "True"
        world.until(lambda: float(_status(world)["drift"][-1]["error"]) > 5.9)
        (offered,) = _status(world)["suggestions"]
        assert offered["parameter"] == "cooling.supplyTemperature"
        assert float(offered["low"]) <= 28.0 <= float(offered["high"])
        assert (offered["present"], offered["samples"]) == ("22.0", 64)
        exporter.hotter_k = 0.0
        _until(world, "Drift", "WithinBounds")
    events = world.cluster.get("events", "-n", "default")["items"]
    mine = [e["reason"] for e in events if e["involvedObject"]["name"] == world.farm_name]
    assert {"Fresh", "WithinBounds", "BeyondBounds"} <= set(mine)


def test_another_resistance_is_found(world: Any) -> None:
    """Of devices whose powers differ; those of one recorded node hardly do."""
    exporter = _dcgm(world, rows=made_up_powers())
    exporter.resistance_k_per_w = 0.055
    with _scraped(exporter) as server:
        _measure(world, server.url)

        def offered() -> dict[str, Any]:
            return {s["parameter"]: s for s in _status(world).get("suggestions") or ()}

        name = "b200: thermalResistance.air"
        world.until(lambda: name in offered(), "a resistance, once powers differ")
        found = offered()[name]
        assert float(found["suggested"]) == pytest.approx(0.055, rel=0.02)
        assert float(found["low"]) <= float(found["suggested"]) <= float(found["high"])


def test_an_exporter_dies_and_prometheus_after_it_and_both_come_back(world: Any) -> None:
    exporter = _dcgm(world)
    with PrometheusServer({"devices": []}) as empty:
        _measure(world, empty.url)
        assert "check that the exporters run" in _until(world, "Telemetry", "NoData")["message"]
    _until(world, "Telemetry", "Unreachable")
    with _scraped(exporter) as server:
        _measure(world, server.url)
        _until(world, "Telemetry", "Fresh")
        server.stop()
        told = _until(world, "Telemetry", "Unreachable")
        assert told["status"] == "False"
        assert "the farm's description alone" in told["message"]
        world.cluster.apply(world.plan(pods=2))
        world.until_verdict("Approved")
        server.start()
        _until(world, "Telemetry", "Fresh")


def test_a_dead_exporter_is_no_data(world: Any) -> None:
    with ExitStack() as stack:
        with exporting(_dcgm(world)) as address:
            server = stack.enter_context(PrometheusServer({"devices": [address]}))
            _measure(world, server.url)
            _until(world, "Telemetry", "Fresh")
        _until(world, "Telemetry", "NoData")


def test_nonsense_is_not_believed(world: Any) -> None:
    """One device shows NaN, another 1e9 degC, the rest is gone by; when all lie, none is."""
    exporter = _dcgm(world)
    liars = {f'gpu="{d}",UUID="GPU-{_nodes(world)[0]}-{d}"': v for d, v in ((0, "NaN"), (1, "1e9"))}

    def some(line: str, value: str) -> str:
        return next((lie for part, lie in liars.items() if part in line and "TEMP" in line), value)

    exporter.altered = some
    with _scraped(exporter) as server:
        _measure(world, server.url)
        told = _until(world, "Telemetry", "Partial")
        assert "2 samples are not believed, the first: DCGM_FI_DEV_GPU_TEMP" in told["message"]
        row_error = lambda: (_status(world).get("drift") or [{}])[-1].get("error")  # noqa: E731
        world.until(row_error)
        assert abs(float(row_error())) < 0.3
        exporter.altered = lambda line, value: (
            "-Inf" if "TEMP" in line or "POWER" in line else value
        )
        told = _until(world, "Telemetry", "Implausible")
        assert told["status"] == "False"


def test_a_prometheus_that_hangs_harms_no_verdict(world: Any) -> None:
    with silent_port() as address:
        _measure(world, f"http://{address}")
        _until(world, "Telemetry", "TimedOut")
        world.cluster.apply(world.plan(pods=2))
        world.until_verdict("Approved")
    with serving(saying(b"<html>not me</html>")) as address:
        _measure(world, f"http://{address}")
        _until(world, "Telemetry", "BadAnswer")


def test_a_measured_inlet_counts_where_the_farm_says_so(world: Any, tmp_path: Path) -> None:
    """With `correct: Inlet` the snapshot carries the error, and gives the operator's verdict."""
    with _scraped(_dcgm(world, hotter_k=6.0)) as server:
        _measure(world, server.url, correct="Inlet")
        _until(world, "Drift", "BeyondBounds")
    plan = world.plan(pods=2)
    world.cluster.apply(plan)
    status = world.until_verdict("Approved")
    snapshot = export(world.installation.gate, None, f"{world.namespace}/train")
    (correction,) = snapshot["corrections"]
    assert (correction["cluster"], correction["inlet"]) == ("c", 6)
    asked = world.asked[-1]
    assert [c.inlet for c in asked.snapshot.corrections] == [6]
    assert asked.digest() == status["inputsDigest"]
    without = asked.snapshot.model_copy(update={"corrections": []})
    assert asked.model_copy(update={"snapshot": without}).digest() != status["inputsDigest"]


def test_nothing_is_written_while_nothing_changes(world: Any) -> None:
    with _scraped(_dcgm(world)) as server:
        _measure(world, server.url, record="1h")
        _until(world, "Telemetry", "Fresh")
        queue, farms = (world.operator.service.queue(name) for name in ("live", "farms"))
        world.until(lambda: not farms.depth)
        done, body = queue.done, world.get("gpufarm", world.farm_name)
        world.until(lambda: queue.done >= done + 8)
        assert world.get("gpufarm", world.farm_name) == body


def _npu_farm(name: str, url: str) -> dict[str, Any]:
    def cluster(accelerator: str) -> dict[str, Any]:
        rare = {"name": "rare", "failuresPer1000NodeDays": "0.001", "meanTimeToRepair": "1h"}
        return {
            "name": accelerator, "accelerator": accelerator, "nodes": 2, "acceleratorsPerNode": 8,
            "rack": {"nodes": 2}, "cooling": {"type": "Air", "supplyTemperature": 22},
            "reliability": {"classes": [rare]}, "source": {"simulated": {}},
        }  # fmt: skip

    prometheus = {"url": url, "interval": "1s"}
    spec = {
        "site": {"name": "광주"},
        "clusters": [cluster("atom-max"), cluster("rngd")],
        "telemetry": {"prometheus": prometheus, "record": RECORD},
    }
    meta = {"name": name}
    return {"apiVersion": "kfarm.dev/v1alpha1", "kind": "NPUFarm", "metadata": meta, "spec": spec}


def _profile(name: str) -> dict[str, Any]:
    for file in ("rebellions", "furiosa"):
        text = (ROOT / f"examples/catalogue/{file}.yaml").read_text(encoding="utf-8")
        for body in yaml.safe_load_all(text):
            if body["metadata"]["name"] == name:
                return dict(body)
    raise LookupError(name)


def test_npus_of_two_vendors_under_the_names_of_their_exporters(lone_world: Any) -> None:
    """`rbln_npu_*` and `furiosa_npu_*`, with a device of each that its exporter calls bad."""
    world, name = lone_world, f"npus-{lone_world.farm_name}"
    exporters = []
    for accelerator, names in (("atom-max", RBLN), ("rngd", FURIOSA)):
        profile = _profile(accelerator)
        world.cluster.apply(profile)
        spec = profile["spec"]
        nodes = [f"{name}-{accelerator}-{index:04d}" for index in range(2)]
        tdp, idle = float(spec["power"]["tdp"]), float(spec["power"]["idle"])
        air = float(spec["thermalResistance"]["air"])
        scale = 0.9 * tdp / 650.0
        card = int(spec.get("devicesPerCard", 1)) if names is RBLN else 1
        exporters.append(
            Exporter(
                names,
                nodes,
                22.0,
                air,
                scale=scale,
                tdp_w=tdp,
                idle_w=idle,
                card=card,
                bad={(nodes[1], 3)},
            )
        )
    with _scraped(*exporters) as server, world.operate():
        world.cluster.apply(_npu_farm(name, server.url))

        def status() -> dict[str, Any]:
            return dict(world.get("npufarm", name).get("status") or {})

        def reasons() -> dict[str, str]:
            return {c["type"]: c["reason"] for c in status().get("conditions") or ()}

        world.until(lambda: reasons().get("Telemetry") == "Fresh", "telemetry")
        world.until(lambda: len(status().get("unhealthy") or ()) == 2, "two bad devices")
        lost = {entry["node"]: entry for entry in status()["unhealthy"]}
        assert lost[f"{name}-atom-max-0001"]["reason"] == "1 devices show rbln_npu_health=1"
        assert lost[f"{name}-rngd-0001"]["reason"] == "1 devices show furiosa_npu_alive=0"
        assert {entry["accelerators"] for entry in lost.values()} == {1}
        snapshot = export(world.installation.gate, None, None)
        offered = {n["name"]: n["accelerators"] for n in snapshot["nodes"] if n["farm"] == name}
        assert offered[f"{name}-rngd-0001"] == 7
        assert offered[f"{name}-rngd-0000"] == 8

        def measured() -> dict[str, int]:
            return {row["cluster"]: row["devices"] for row in status().get("drift") or ()}

        # the first period may end before both exporters were scraped
        world.until(lambda: set(measured().values()) == {16}, "a row of each cluster")
        world.until(lambda: reasons()["Drift"] == "WithinBounds", "agreement")
        for exporter in exporters:
            exporter.bad.clear()
        world.until(lambda: not status().get("unhealthy"), "all sound again")
        world.cluster.kubectl("delete", "npufarm", name, "--wait=false")


def test_what_kcloud_operator_and_nvsentinel_say_counts(world: Any) -> None:
    """Absent kinds are no error; later they are read, and a Node's fault condition as well."""
    world.cluster.apply(_crd("AcceleratorHealth"), _crd("NodeDeviceReport"))
    world.cluster.kubectl("wait", "--for=condition=Established", "crd/acceleratorhealths.npu.ai",
                          "crd/nodedevicereports.npu.ai")  # fmt: skip
    first, second, third, *_ = _nodes(world)
    try:
        bad = {"pciAddress": "0000:01:00.0", "state": "Unhealthy", "reason": "ECC"}
        told = {"state": "Degraded", "allocationAllowed": True, "devices": [bad]}
        world.cluster.apply(
            _report("AcceleratorHealth", first, **told),
            _report("NodeDeviceReport", second, validation={"passed": False}),
        )
        fault = {"type": "GpuMemWatch", "status": "True", "reason": "GpuMemWatchIsNotHealthy",
                 "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip
        patch = yaml.safe_dump({"status": {"conditions": [fault]}})
        world.cluster.kubectl("patch", "node", third, "--subresource=status", "--type=strategic",
                              "-p", patch)  # fmt: skip
        world.until(lambda: len(_status(world).get("unhealthy") or ()) == 3, timeout_s=90)
        lost = {e["node"]: (e["accelerators"], e["source"]) for e in _status(world)["unhealthy"]}
        assert lost == {
            first: (1, "AcceleratorHealth"),
            second: (8, "NodeDeviceReport"),
            third: (8, "NodeCondition"),
        }
        world.cluster.apply(world.plan(pods=6))
        status = world.until_verdict("Rejected")
        assert status["reason"] == "Unplaceable"
        world.cluster.apply(world.plan("fits", pods=5))
        world.until_verdict("Approved", "fits")
        assert not {first, second, third} & set(world.validated("fits"))
    finally:
        world.cluster.kubectl("delete", "crd", "acceleratorhealths.npu.ai",
                              "nodedevicereports.npu.ai")  # fmt: skip
    world.until(lambda: len(_status(world).get("unhealthy") or ()) == 1, timeout_s=90)


def _crd(kind: str) -> dict[str, Any]:
    """A kind of kcloud-operator, without its schema."""
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1alpha1", "served": True, "storage": True,
               "schema": {"openAPIV3Schema": schema}}  # fmt: skip
    names = {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.npu.ai"},
        "spec": {"group": "npu.ai", "scope": "Cluster", "names": names, "versions": [version]},
    }


def _report(kind: str, node: str, **status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "npu.ai/v1alpha1", "kind": kind, "metadata": {"name": node},
        "spec": {"nodeName": node}, "status": status,
    }  # fmt: skip
