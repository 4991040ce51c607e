"""``kfarm simulate --reliability`` and TwinRuns with failures, as a shell would call them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kfarm_twin.cli import app
from typer.testing import CliRunner

BLOCK = """reliability:
  detection: 30s
  classes:
    - {name: board, failuresPer1000NodeDays: "900", meanTimeToRepair: 1h}
"""
RUN = """apiVersion: kfarm.dev/v1alpha1
kind: TwinRun
metadata: {name: failing}
spec:
  shape: {nodes: 16, reliability: {reference: llama3-h100, classes: [
    {name: board, failuresPer1000NodeDays: "900", meanTimeToRepair: 1h}]}}
  workload: {generator: {mix: farm-week, jobs: 200, load: 70}}
  policies:
    - {name: fifo, placement: FirstFit}
    - {name: easy, placement: BestFit, backfill: Easy}
  failures: {checkpoint: {optimum: Daly, save: 20s, restart: 2m}}
  replicas: 3
"""


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    tail = "20000 -1 1 1 1 1 1 1 -1 -1"
    rows = [
        f"{n} {n * 3600} -1 {7200 + n * 60} {1 + n % 3} -1 -1 {1 + n % 3} {tail}"
        for n in range(120)
    ]
    path = tmp_path / "jobs.swf"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def call(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def simulate(trace: Path, *words: object) -> Any:
    return call(
        "simulate", "--trace", trace, "--format", "swf", "--nodes", 6, "--placement", "best-fit",
        *words,
    )  # fmt: skip


def test_jobs_meet_failures(trace: Path, tmp_path: Path) -> None:
    block = tmp_path / "블록.yaml"
    block.write_text(BLOCK, encoding="utf-8")
    words = ("--reliability", block, "--checkpoint", "20m", "--save", "10s", "--restart", "2m")
    done = simulate(trace, *words, "-o", "json")
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    found = data["failures"]
    assert data["rules"]["restartS"] == 120
    assert data["rules"]["instant"].startswith("what happens to nodes")
    assert found["interruptions"] >= found["jobsInterrupted"] > 5
    assert found["interruptionsByClass"] == {"board": found["interruptions"]}
    assert 0.5 < found["goodput"] < 1
    lost = found["lostDeviceHours"]
    assert set(lost) == {"down", "rework", "saves", "restart", "detection", "slow"}
    held = found["retainedDeviceHours"] + sum(lost.values()) - lost["down"]
    assert found["heldDeviceHours"] == pytest.approx(held)
    again = simulate(trace, *words, "-o", "json")
    assert again.stdout == done.stdout
    table = simulate(trace, *words)
    assert "goodput" in table.stdout
    assert "interrupted by: board" in table.stdout


def test_jobs_out_has_the_interruptions(trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "jobs.csv"
    done = simulate(trace, "--reliability", "llama3-h100", "--jobs-out", out, "--until", "60h")
    assert done.exit_code == 0, done.output
    assert out.read_text(encoding="utf-8").splitlines()[0].endswith(",preemptions,interruptions")
    assert "had not ended" in done.stdout


def test_without_failures_the_key_is_null(trace: Path) -> None:
    assert json.loads(simulate(trace, "-o", "json").stdout)["failures"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--reliability", "llama9"), "--reliability.reference: found 'llama9'"),
        (("--reliability", "no-such.yaml"), "no-such.yaml: found no such file"),
        (("--save", "20s"), "found no failures"),
        (("--reliability", "llama3-h100", "--save", "20s"), "--save: found no checkpoint"),
        (("--reliability", "llama3-h100", "--checkpoint", "NaN"), "--checkpoint: found NaN"),
        (("--reliability", "llama3-h100", "--checkpoint", "young"), "--checkpoint: found young"),
        (("--reliability", "llama3-h100", "--until", "0s"), "--until: found '0s'"),
        (("--restart", "5x"), "Invalid value for '--restart'"),
        (("--restart", "-1"), "Invalid value for '--restart'"),
        (("--reliability", "llama3-h100", "--placement", "count"), "placement count knows none"),
    ],
)
def test_bad_options(trace: Path, words: tuple[str, ...], said: str) -> None:
    done = simulate(trace, *words)
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output


def test_a_wrong_block_is_refused_with_its_line(trace: Path, tmp_path: Path) -> None:
    block = tmp_path / "bad.yaml"
    block.write_text(BLOCK.replace('"900"', '"-1"'), encoding="utf-8")
    done = simulate(trace, "--reliability", block)
    assert done.exit_code == 2
    assert "bad.yaml" in done.output
    assert "4" in done.output


def test_a_twinrun_compares_policies_on_the_same_failures(tmp_path: Path) -> None:
    path, page = tmp_path / "run.yaml", tmp_path / "page.html"
    path.write_text(RUN, encoding="utf-8")
    done = call("compare", "-f", path, "-o", "json", "--report", page)
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    for policy in data["policies"]:
        metrics = policy["metrics"]
        assert 0.5 < metrics["goodput"]["mean"] < 1
        assert metrics["interruptions"]["mean"] > 1
        assert metrics["unfinished"]["mean"] == 0
    down = [policy["metrics"]["lostAcceleratorHoursDown"]["mean"] for policy in data["policies"]]
    assert down[0] == pytest.approx(down[1], rel=0.2)  # one fleet, but the last ends differ
    assert "goodput" in data["policies"][1]["differences"]
    assert any("save as Daly says" in note for note in data["notes"])
    text = page.read_text(encoding="utf-8")
    assert "Goodput" in text
    assert call("compare", "--result", _kept(tmp_path, done.stdout)).exit_code == 0


def _kept(folder: Path, text: str) -> Path:
    path = folder / "result.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_twinrun_refuses_policies_that_know_no_nodes(tmp_path: Path) -> None:
    for placement in ("Count", "FGD"):
        path = tmp_path / "run.yaml"
        path.write_text(RUN.replace("BestFit", placement), encoding="utf-8")
        done = call("compare", "-f", path)
        assert done.exit_code == 2
        assert f"spec.policies[1].placement: found {placement}" in done.output
