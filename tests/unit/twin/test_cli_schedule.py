"""``kfarm schedule`` as a process: answers, tables, exit codes, and no half answers."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

NODES = """\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Node
  metadata: {name: 가, labels: {kubernetes.io/hostname: 가}}
  status: {allocatable: {cpu: "4", memory: 8Gi, pods: "110"}}
- apiVersion: v1
  kind: Node
  metadata: {name: b, labels: {kubernetes.io/hostname: b}}
  status: {allocatable: {cpu: "8", memory: 8Gi, pods: "110"}}
- apiVersion: v1
  kind: Pod
  metadata: {name: old, namespace: default}
  spec: {nodeName: b, containers: [{name: c, resources: {requests: {cpu: "7"}}}]}
"""
PODS = """\
apiVersion: v1
kind: Pod
metadata: {name: small}
spec: {containers: [{name: c, image: i, resources: {requests: {cpu: "1", memory: 1Gi}}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: large}
spec:
  priority: 10
  containers: [{name: c, image: i, resources: {requests: {cpu: "6"}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: gated}
spec:
  schedulingGates: [{name: kfarm.dev/twin-validated}]
  containers: [{name: c, image: i}]
"""


def run(folder: Path, *arguments: str, cluster: str = NODES) -> subprocess.CompletedProcess[str]:
    (folder / "c.yaml").write_text(cluster, encoding="utf-8")
    (folder / "p.yaml").write_text(PODS, encoding="utf-8")
    files = ("--cluster", "c.yaml", "--pods", "p.yaml")
    command = [sys.executable, "-m", "kfarm_twin.cli", "schedule", *files, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_answer_has_the_documented_keys(tmp_path: Path, form: str) -> None:
    done = run(tmp_path, "--explain", "-o", form)
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout) if form == "json" else yaml.safe_load(done.stdout)
    assert answer["schema"] == "kfarm.dev/schedule/v1"
    assert answer["nodes"] == 2
    assert answer["summary"] == {"Preempting": 1, "Scheduled": 1, "Gated": 1}
    large, small, gated = answer["pods"]
    assert (large["name"], large["choice"], large["nominatedNode"]) == ("large", None, "b")
    assert large["victims"] == [{"namespace": "default", "name": "old", "priority": 0}]
    assert large["infeasible"]["가"] == {
        "plugin": "NodeResourcesFit",
        "reasons": ["Insufficient cpu"],
        "preemptionMayHelp": False,
    }
    assert (small["choice"], small["feasible"]) == ("가", ["가", "b"])
    assert small["totals"]["b"] == sum(small["scores"]["b"].values())
    assert small["best"] == ["가"]
    assert gated["outcome"] == "Gated"


def test_without_explain_details_are_left_out(tmp_path: Path) -> None:
    answer = json.loads(run(tmp_path, "-o", "json").stdout)
    assert answer["pods"][1]["choice"] == "가"
    assert not {"feasible", "scores", "totals", "infeasible"} & answer["pods"][1].keys()


def test_table_is_for_people(tmp_path: Path) -> None:
    done = run(tmp_path, "--explain")
    assert done.returncode == 0
    for word in ("default/large", "Preempting", "default/old", "Gated", "ImageLocality", "가"):
        assert word in done.stdout


def test_a_farm_snapshot_is_a_cluster(tmp_path: Path) -> None:
    nodes = [
        {"name": f"n{i}", "farmKind": "GPUFarm", "farm": "f", "cluster": "c", "index": i}
        | {"accelerators": 8, "used": 8 - i, "ready": i != 3}
        for i in range(4)
    ]
    body = {"apiVersion": "kfarm.dev/v1alpha1", "kind": "FarmSnapshot", "nodes": nodes}
    done = run(tmp_path, "--explain", "-o", "json", cluster=yaml.safe_dump(body))
    assert done.returncode == 0, done.stderr
    small = json.loads(done.stdout)["pods"][1]
    assert small["feasible"] == ["n0", "n1", "n2"]
    assert small["infeasible"]["n3"]["plugin"] == "TaintToleration"


@pytest.mark.parametrize(
    ("cluster", "told"),
    [
        ("", "an empty file"),
        (NODES[:-60], "cut off"),
        (NODES.replace('"4"', '"-4"'), "line 7, document 1: items[0].status.allocatable.cpu"),
        (NODES.replace('"4"', ".nan"), "expected a finite number"),
        (NODES.replace("name: b,", "name: 가,"), "again"),
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n", "no Node"),
    ],
)
def test_bad_input_is_code_2_and_one_line_each(tmp_path: Path, cluster: str, told: str) -> None:
    done = run(tmp_path, "-o", "json", cluster=cluster)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert all(line.startswith("error: c.yaml") for line in done.stderr.splitlines())


def test_missing_and_compressed_files_are_code_2(tmp_path: Path) -> None:
    done = run(tmp_path, "--config", "none.yaml")
    assert done.returncode == 2
    assert "none.yaml" in done.stderr
    (tmp_path / "p.gz").write_bytes(gzip.compress(PODS.encode())[:50])
    done = run(tmp_path, "--pods", "p.gz")
    assert done.returncode == 2
    assert "not UTF-8" in done.stderr
