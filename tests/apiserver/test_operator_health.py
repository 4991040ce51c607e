"""Probes, metrics and the end of the process, with streams that fall silent."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kopf
import pytest
from kfarm_controlplane.inprocess import InProcessOperator
from kfarm_controlplane.installation import Installation, Operator
from kfarm_controlplane.proxy import SilentProxy
from kfarm_operator import client as client_module
from kfarm_operator import handlers
from kfarm_operator.instruments import CATALOGUE
from kfarm_operator.live.gauges import FAMILIES
from kfarm_operator.mirror import Cadence
from kfarm_operator.probes import answer
from kfarm_operator.service import Service, Timing
from prometheus_client.parser import text_string_to_metric_families

QUICK = Timing(relist_s=1.0, alive_s=6.0, mirrors=Cadence(relist_s=2.0, silence_s=6.0))


@pytest.fixture
def proxy(installation: Installation) -> Iterator[SilentProxy]:
    """A proxy in front of the API server."""
    with SilentProxy(_port(installation.gate)) as running:
        yield running


def _port(kubeconfig: Path) -> int:
    server = json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    return urlsplit(server).port or 443


def _through(installation: Installation, proxy: SilentProxy, folder: Path) -> Installation:
    """The installation's accounts, by way of the proxy."""
    paths = {}
    for name in ("gate", "farm", "whatif"):
        kubeconfig = getattr(installation, name)
        body = json.loads(kubeconfig.read_text())
        body["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{proxy.port}"
        paths[name] = folder / f"{name}.json"
        paths[name].write_text(json.dumps(body))
    return replace(installation, **paths)


def _ill(service: Service) -> list[str]:
    return [finding.part for finding in service.findings() if not finding.good]


def test_a_silent_api_server_makes_healthz_fail_and_its_return_heals_it(
    lone_world: Any, proxy: SilentProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = lone_world
    monkeypatch.setattr(client_module, "REQUEST_TIMEOUT_S", 3.0)
    monkeypatch.setattr(handlers, "SILENCE_S", 3.0)
    behind = _through(world.installation, proxy, tmp_path)
    with InProcessOperator(behind, world.twin, timing=QUICK) as operator:
        world.prepare()
        service = operator.service
        assert service is not None
        world.until(service.alive, "health")
        proxy.silence()
        world.until(lambda: not service.alive(), "healthz to fail")
        world.until(lambda: {"lists", "watch-nodes", "watch-pods-planned"} <= set(_ill(service)))
        status, _, body = answer(service, "/healthz?verbose")
        assert status == 503
        assert b"[-]lists " in body
        assert b"[+]event-loop " in body
        proxy.speak()
        world.until(service.alive, "health to return")
        assert answer(service, "/healthz")[::2] == (200, b"ok\n")
        world.cluster.apply(world.plan(pods=2))
        world.until_verdict("Approved")


def test_a_deaf_watch_of_kopf_is_found_out_and_repaired_by_lists(
    lone_world: Any, proxy: SilentProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only kopf's connections go through the proxy; ours do not."""
    world = lone_world
    real = Service.connection

    def routed(service: Service) -> kopf.ConnectionInfo:
        return replace(real(service), server=f"https://127.0.0.1:{proxy.port}")

    monkeypatch.setattr(Service, "connection", routed)
    monkeypatch.setattr(handlers, "SILENCE_S", 25.0)
    with InProcessOperator(world.installation, world.twin, timing=QUICK) as operator:
        world.prepare()
        service = operator.service
        assert service is not None
        world.until(service.alive, "health")
        proxy.silence()
        world.cluster.apply(world.plan(pods=2))
        world.until_verdict("Approved")
        deaf = {"watch-placementplans", "watch-nodeledgers"}  # both changed, neither was heard of
        world.until(lambda: set(_ill(service)) == deaf)
        assert service.hearing.missed["placementplans"] >= 1
        assert b"[-]watch-placementplans owes a change" in answer(service, "/healthz")[2]
        proxy.speak()
        world.until(service.alive, "kopf to watch again")


def test_metrics_are_those_of_the_catalogue_and_name_no_pods(world: Any) -> None:
    world.cluster.apply(world.plan(pods=2), world.job(pods=2))
    world.until(lambda: len(world.bound()) == 2)
    service = world.operator.service
    world.until(lambda: world.status().get("bound") == 2)
    text = answer(service, "/metrics")[2].decode()
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    documented = {
        name + suffix
        for name, described in CATALOGUE.items()
        for suffix in (("_bucket", "_sum", "_count", "_created") if described.type == "histogram"
                       else ("", "_created"))
    }  # fmt: skip
    documented |= {name.replace("_total", "_created") for name in CATALOGUE}
    documented |= {name for name, _, _ in FAMILIES.values()}
    assert set(found) <= documented
    assert found["kfarm_plans"][world.namespace, "Approved"] == 1
    assert found["kfarm_farm_nodes"][world.farm_name, "GPUFarm", "ready"] == 8
    assert found["kfarm_gate_releases_total"][()] >= 2
    assert found["kfarm_gate_faults"][()] == 0
    assert found["kfarm_watch_objects"]["nodes",] >= 8
    assert found["kfarm_api_requests_total"]["200", "pods", "patch"] >= 2
    assert found["kfarm_twin_run_seconds_count"]["validation",] >= 1
    token = client_module.bearer(service.accounts.gate.configuration)
    assert token not in text
    for pod in world.pods():
        assert pod["metadata"]["name"] not in text


def _children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("silent", [False, True], ids=["", "silent API server"])
def test_sigterm_ends_the_process_its_twins_and_its_streams(
    lone_world: Any, proxy: SilentProxy, tmp_path: Path, silent: bool
) -> None:
    """Even where threads wait for answers that never come."""
    world = lone_world
    behind = _through(world.installation, proxy, tmp_path)
    log = tmp_path / "operator.log"
    with Operator(behind, log, "--log-format=json", "--runs=1") as operator:
        world.prepare(nodes=4)
        children = _children(operator.pid)
        assert children
        world.cluster.apply(*(world.plan(f"p{n}", pods=1, duration="2400h") for n in range(8)))
        world.until(lambda: f'"namespace": "{world.namespace}"' in log.read_text(), "a simulation")
        if silent:
            proxy.silence()
        process = operator.process
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    assert not any(Path(f"/proc/{child}/exe").exists() for child in children)
    lines = [json.loads(line) for line in log.read_text().splitlines() if line]
    assert all({"ts", "level", "logger", "msg"} <= line.keys() for line in lines)
    begun = next(line for line in lines if line.get("namespace") == world.namespace)
    assert (begun["kind"], begun["generation"], begun["epoch"]) == ("PlacementPlan", 1, 0)
    assert begun["uid"]
    assert begun["name"].startswith("p")


def test_the_processs_probes_answer_over_http(lone_world: Any, tmp_path: Path) -> None:
    with Operator(lone_world.installation, tmp_path / "o.log", role="farm") as operator:
        assert operator.read("readyz?verbose").startswith("[+]listed everything listed once\n")
        assert "[+]watch-nodes heard" in operator.read("healthz?verbose=1")
        assert "[+]watch-gpufarms" in operator.read("healthz?verbose")
        assert 'role="farm"' in operator.read("metrics")
        assert operator.read("healthz") == "ok\n"
