"""``kfarm simulate --queues`` as a shell would call it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from kfarm_twin.cli import app
from typer.testing import CliRunner

SWF = """; MaxNodes: 20
1 0 -1 100 10 -1 -1 10 100 -1 1 1 1 1 1 1 -1 -1
2 0 -1 50 2 -1 -1 2 50 -1 1 1 1 1 2 1 -1 -1
7 1 -1 90 6 -1 -1 6 90 -1 1 1 1 1 2 1 -1 -1
8 1 -1 90 3 -1 -1 3 90 -1 1 1 1 1 1 1 -1 -1
9 2 -1 60 40 -1 -1 40 90 -1 1 1 1 1 1 1 -1 -1
"""
FLAVOR = """apiVersion: kueue.x-k8s.io/v1beta2
kind: ResourceFlavor
metadata: {name: h100}
"""
QUEUE = """---
apiVersion: kueue.x-k8s.io/v1beta2
kind: ClusterQueue
metadata: {name: NAME}
spec:
  cohortName: all
  preemption: {reclaimWithinCohort: Any}
  resourceGroups:
  - coveredResources: [nvidia.com/gpu]
    flavors:
    - {name: h100, resources: [{name: nvidia.com/gpu, nominalQuota: 64}]}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: LocalQueue
metadata: {name: "NUMBER", namespace: team}
spec: {clusterQueue: NAME}
"""
BATCH = QUEUE.replace("NAME", "batch").replace("NUMBER", "1")
INTERACTIVE = QUEUE.replace("NAME", "interactive").replace("NUMBER", "2")


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "작은.swf"
    path.write_text(SWF, encoding="utf-8")
    return path


@pytest.fixture
def queues(tmp_path: Path) -> Path:
    path = tmp_path / "대기열.yaml"
    path.write_text(FLAVOR + BATCH + INTERACTIVE, encoding="utf-8")
    return path


def call(*words: object) -> Any:
    return CliRunner().invoke(app, ["simulate", *(str(word) for word in words)])


def test_who_borrows_gives_back(trace: Path, queues: Path) -> None:
    """By hand: job 1 holds 80 of 64 devices until job 7 wants what is its queue's own.

    It starts anew at 92, one second (Kueue's batch of requeued jobs) after room was made at 91.
    """
    done = call("--trace", trace, "--queues", queues, "--eviction", 0, "-o", "json")
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert data["schema"] == "kfarm.dev/simulate/v1"
    assert data["preemptions"] == [{"time": 1, "id": "1", "for": "7"}]
    times = {job["id"]: (job["start"], job["end"]) for job in data["jobs"]}
    assert times == {"1": (0, 192), "2": (0, 50), "7": (1, 91), "8": (1, 91), "9": (None, None)}
    batch, interactive = data["queues"]
    assert (batch["name"], batch["jobs"], batch["ended"], batch["preempted"]) == ("batch", 3, 2, 1)
    assert batch["gpuHours"] == pytest.approx((80 * 101 + 24 * 90) / 3600)
    assert batch["borrowedGpuHours"] == pytest.approx(16 * 101 / 3600)
    assert interactive["borrowedGpuHours"] == 0
    assert [entry["id"] for entry in data["never"]] == ["9"]
    assert data["farm"]["gpus"] == 128
    assert data["summary"]["utilisation"] == pytest.approx(
        (80 * 100 + 16 * 50 + 48 * 90 + 24 * 90) / (128 * 192)
    )


def test_an_eviction_takes_time(trace: Path, queues: Path) -> None:
    done = call("--trace", trace, "--queues", queues, "--eviction", 20, "-o", "json")
    data = json.loads(done.stdout)
    assert data["rules"]["evictionS"] == 20
    (job,) = (job for job in data["jobs"] if job["id"] == "7")
    assert 21 <= job["start"] <= 22


def test_the_table_and_the_jobs_file(trace: Path, queues: Path, tmp_path: Path) -> None:
    out = tmp_path / "jobs.csv"
    done = call("--trace", trace, "--queues", queues, "--fair-sharing", "--jobs-out", out)
    assert done.exit_code == 0, done.output
    assert "interactive" in done.stdout
    with out.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["id"] for row in rows] == ["1", "2", "7", "8", "9"]
    assert rows[0]["preemptions"] == "1"


def test_queues_in_several_files(trace: Path, tmp_path: Path) -> None:
    parts = []
    for name, text in (("a", FLAVOR + BATCH), ("b", INTERACTIVE)):
        parts.append(tmp_path / f"{name}.yaml")
        parts[-1].write_text(text, encoding="utf-8")
    done = call("--trace", trace, "--queues", parts[0], "--queues", parts[1], "-o", "json")
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)["queues"]) == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--order", "sjf"], "--order sjf"),
        (["--backfill", "easy"], "--backfill easy"),
        (["--placement", "fgd"], "--placement fgd"),
        (["--nodes", "4", "--nodes-per-rack", "2"], "--nodes-per-rack"),
    ],
)
def test_other_rules_are_refused(trace: Path, queues: Path, words: list[str], says: str) -> None:
    done = call("--trace", trace, "--queues", queues, *words)
    assert done.exit_code == 2
    assert says in done.stderr
    assert done.stdout == ""


def test_queues_that_do_not_go_with_the_trace(trace: Path, tmp_path: Path) -> None:
    path = tmp_path / "q.yaml"
    path.write_text(FLAVOR + BATCH, encoding="utf-8")
    done = call("--trace", trace, "--queues", path)
    assert done.exit_code == 2
    assert "'2'" in done.stderr
    path.write_text(FLAVOR + BATCH + INTERACTIVE.replace("nvidia.com/gpu", "cpu"), encoding="utf-8")
    data = json.loads(call("--trace", trace, "--queues", path, "-o", "json").stdout)
    assert any("nvidia.com/gpu" in entry["reason"] for entry in data["never"])
    path.write_text((FLAVOR + BATCH + INTERACTIVE).replace("nvidia.com/gpu", "cpu"), "utf-8")
    done = call("--trace", trace, "--queues", path)
    assert done.exit_code == 2
    assert "no queue has quota" in done.stderr


def test_bad_manifests_and_sharing_without_queues(trace: Path, tmp_path: Path) -> None:
    path = tmp_path / "q.yaml"
    path.write_text(FLAVOR + BATCH.replace("nominalQuota: 64", "nominalQuota: -64"), "utf-8")
    done = call("--trace", trace, "--queues", path)
    assert done.exit_code == 2
    assert "line 14" in done.stderr
    done = call("--trace", trace, "--nodes", 4, "--fair-sharing")
    assert done.exit_code == 2
    assert "--queues" in done.stderr
