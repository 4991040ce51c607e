"""The other commands: snapshot, describe, crds."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_scene import EXAMPLES, FARM, PLAN, POLICY, files, run
from kfarm_api.crd import documents
from kfarm_api.v1alpha1 import KINDS


@pytest.fixture
def small(tmp_path: Path) -> list[str]:
    """Options that name a small farm with its policy and the shipped profiles."""
    return [*files(tmp_path, farm=FARM, policy=POLICY), "-f", str(EXAMPLES / "catalogue")]


def test_a_synthetic_snapshot_gives_the_same_verdict(tmp_path: Path, small: list[str]) -> None:
    state = tmp_path / "state.yml"
    assert run("snapshot", *small, "--write", state).exit_code == 0
    body = yaml.safe_load(state.read_text(encoding="utf-8"))
    assert body["kind"] == "FarmSnapshot"
    assert body["nodes"][0] == {
        "name": "small-b200-0000",
        "farmKind": "GPUFarm",
        "farm": "small",
        "cluster": "b200",
        "index": 0,
        "accelerators": 8,
    }
    options = [*small, *files(tmp_path, plan=PLAN), "-o", "json"]
    with_state = run("validate", *options, "--snapshot", state)
    assert with_state.stdout == run("validate", *options).stdout


def test_a_snapshot_prints_json(small: list[str]) -> None:
    result = run("snapshot", *small, "-o", "json")
    assert len(json.loads(result.stdout)["nodes"]) == 12


def test_a_snapshot_needs_farms(tmp_path: Path) -> None:
    assert run("snapshot").exit_code == 2
    result = run("snapshot", *files(tmp_path, policy=POLICY))
    assert result.exit_code == 2
    assert "no GPUFarm or NPUFarm" in result.stderr


def test_a_snapshot_of_a_cluster_needs_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kfarm_twin.cli_snapshot.entry_points", lambda group: ())
    result = run("snapshot", "--kubeconfig", "config")
    assert result.exit_code == 2
    assert "needs the package kfarm-operator, which is not installed here" in result.stderr


def export(kubeconfig: str | None, context: str | None, plan: str | None) -> dict[str, Any]:
    """A plug-in as the operator's."""
    if context == "gone":
        raise ConnectionError("no cluster answers")
    node = {"name": f"{kubeconfig} {context} {plan}", "farmKind": "GPUFarm", "farm": "f"}
    return {"nodes": [{**node, "cluster": "c", "index": 0, "accelerators": 8, "live": True}]}


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("cluster", "unused:export", "kfarm.snapshot")
    monkeypatch.setattr(EntryPoint, "load", lambda self: export)
    monkeypatch.setattr("kfarm_twin.cli_snapshot.entry_points", lambda group: (point,))


@pytest.mark.usefixtures("plugin")
def test_a_plug_in_exports_a_cluster() -> None:
    arguments = ("--kubeconfig", "k", "--context", "c", "--plan", "team/p", "-o", "json")
    result = run("snapshot", *arguments)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["nodes"][0]["name"] == "k c team/p"


@pytest.mark.usefixtures("plugin")
def test_a_cluster_that_does_not_answer() -> None:
    result = run("snapshot", "--context", "gone")
    assert result.exit_code == 2
    assert "cannot export from the cluster: no cluster answers" in result.stderr


def test_describe(small: list[str]) -> None:
    result = run("describe", *small)
    assert result.exit_code == 0
    assert "GPUFarm small (광주)" in result.stdout
    assert "12 nodes (1 spare), 96 accelerators" in result.stdout
    assert "3 racks, 2 scalable units" in result.stdout


def test_describe_as_data(small: list[str]) -> None:
    """12 nodes of 8 x 1 kW + 6.3 kW at most; 75 % of the heat of 8 nodes in one CDU."""
    [farm] = json.loads(run("describe", *small, "-o", "json").stdout)["farms"]
    [cluster] = farm["clusters"]
    assert (farm["nodes"], farm["accelerators"]) == (12, 96)
    node_w = cluster["powerW"] / 12
    assert 8_000 < node_w < 20_000
    assert cluster["rackPowerW"] == pytest.approx(4 * node_w)
    assert cluster["cduLoad"] == pytest.approx(8 * node_w * 0.75 / 2e6)
    assert 1 < cluster["failuresPerYear"] < 100


POWERED = FARM.replace("powerLimit: 60k,", "powerLimit: 50k, load: 1k,").replace(
    "      reliability:",
    """\
      acceleratorPowerLimit: 800
      feed:
        nodesPerPdu: 4
        feeds: 2
        pduLimit: 20k
        feedLimit: 100k
        stages:
          - {name: psu, at: Node, efficiency: [{load: 50, efficiency: 96}]}
          - {name: bar, at: Rack, efficiency: [{load: 50, efficiency: 98}]}
          - {name: pdu, at: Pdu, constantLoss: 100, efficiency: [{load: 50, efficiency: 100}]}
      reliability:""",
)


def test_describe_tells_oversubscription(tmp_path: Path) -> None:
    """Nodes of 8 x 800 W and 6.3 kW behind 96 %, four to a rack of 1 kW behind 98 %."""
    options = [*files(tmp_path, farm=POWERED), "-f", str(EXAMPLES / "catalogue")]
    result = run("describe", *options, "-o", "json")
    assert result.exit_code == 0, result.stderr
    [cluster] = json.loads(result.stdout)["farms"][0]["clusters"]
    node = cluster["powerW"] / 12
    assert 0.96 * node - 8 * 800 == pytest.approx(6300)
    rack = (4 * node + 1000) / 0.98
    assert cluster["rackPowerW"] == pytest.approx(rack)
    assert cluster["rackOversubscription"] == pytest.approx(rack / 50e3)
    assert cluster["pduPowerW"] == pytest.approx(rack / 2)
    assert cluster["pduOversubscription"] == pytest.approx(rack / 2 / 20e3)
    assert cluster["feedPowerW"] == pytest.approx(3 * (rack / 2 + 100))
    assert cluster["feedOversubscription"] == pytest.approx(3 * (rack / 2 + 100) / 100e3)
    told = run("describe", *options).stdout
    assert f"nameplate over limit: rack {rack / 50e3:.2f}, PDU {rack / 40e3:.2f}, feed" in told


def test_describe_without_profiles_says_so(tmp_path: Path) -> None:
    result = run("describe", *files(tmp_path, farm=FARM))
    assert result.exit_code == 0
    assert "no AcceleratorProfile b200: add -f examples/catalogue" in result.stdout


def test_describe_refuses_an_unknown_reference(tmp_path: Path) -> None:
    result = run("describe", *files(tmp_path, farm=FARM.replace("llama3-h100", "lama3")))
    assert result.exit_code == 2
    assert "farm.yaml, line 15, document 1: spec.clusters[0].reliability.reference" in result.stderr
    assert "found 'lama3'; expected one of " in result.stderr


def test_crds(tmp_path: Path) -> None:
    result = run("crds")
    kinds = [document["kind"] for document in yaml.safe_load_all(result.stdout)]
    assert kinds == ["CustomResourceDefinition"] * len(KINDS)
    assert run("crds", "--output", tmp_path / "out").exit_code == 0
    written = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert written == documents()
