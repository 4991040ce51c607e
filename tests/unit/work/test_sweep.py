"""``kfarm sweep`` from end to end: on this machine and on Dask, stopped and taken up again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from cli_scene import EXAMPLES, FARM, PLAN, POLICY, files, run
from dask_cluster import running
from kfarm_twin.sweep.store import Store

RUN = """\
apiVersion: kfarm.dev/v1alpha1
kind: TwinRun
metadata: {namespace: team, name: backfill}
spec:
  shape: {nodes: 16, acceleratorsPerNode: 8, nodesPerRack: 4}
  workload: {generator: {mix: farm-week, jobs: 120, load: 90}}
  policies: [{name: fifo}, {name: easy, backfill: Easy}]
  replicas: 2
"""
QUICK = POLICY.replace("futures: {min: 16", "futures: {min: 8") + "  assumptions: {draws: 0}\n"
PODS = "PlacementPlan/serve:spec.workloads[serve].pods=2,4,12"
SEEDS = "ValidationPolicy/small:spec.simulation.seed=1..3"
RESULTS = ("results.json", "results.csv", "results.parquet")


@pytest.fixture
def small(tmp_path: Path) -> list[str]:
    """Options that name a small farm with a plan, and what belongs to it."""
    texts = files(tmp_path, farm=FARM, policy=QUICK, plan=PLAN)
    return [*texts, "-f", str(EXAMPLES / "catalogue" / "nvidia.yaml")]


def grid(small: list[str]) -> list[str]:
    return ["sweep", *small, "--set", PODS, "--set", SEEDS]


def stored(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULTS}


def sweep_of(arguments: list[str]) -> subprocess.Popen[bytes]:
    # in the background of a shell an interrupt is ignored, and children inherit that
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "kfarm_twin.cli", *arguments],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)


def wait_for_points(folder: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    """Until some are kept; the limit only turns a hang into a failure."""
    end = time.monotonic() + 300
    while len(list(folder.glob("points/*.json"))) < count:
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.01)


def test_the_same_bytes_here_and_on_dask(tmp_path: Path, small: list[str]) -> None:
    """Here: killed on the way and taken up again. On Dask: one of two workers is killed."""
    here, there = tmp_path / "here", tmp_path / "there"
    arguments = [*grid(small), "--jobs", "1", "--out", str(here)]
    with sweep_of(arguments) as first:
        wait_for_points(here, 2, first)
        first.kill()
    before = {path: path.stat().st_mtime_ns for path in here.glob("points/*.json")}
    assert 2 <= len(before) < 9
    assert not (here / "results.json").exists()
    done = run(*arguments)
    assert done.exit_code == 1, done.output
    assert {path: path.stat().st_mtime_ns for path in before} == before

    with running(tmp_path) as cluster:
        on_dask = [*grid(small), "--scheduler", cluster.address, "--out", str(there)]
        with sweep_of(on_dask) as process:
            wait_for_points(there, 3, process)
            cluster.kill(cluster.workers[0])
            _, said = process.communicate()
        assert process.returncode == 1, said
    assert stored(there) == stored(here)
    assert sorted(p.name for p in there.glob("points/*")) == sorted(
        p.name for p in here.glob("points/*")
    )
    check_results(here)


def check_results(folder: Path) -> None:
    found = json.loads((folder / "results.json").read_text())
    assert found["schema"] == "kfarm.dev/sweep/v1"
    assert [point["values"] for point in found["points"]] == [
        {"pods": pods, "seed": seed} for pods in (2, 4, 12) for seed in (1, 2, 3)
    ]
    words = [point["verdict"] for point in found["points"]]
    assert words == ["Approved"] * 6 + ["Rejected"] * 3
    table = pq.read_table(folder / "results.parquet").to_pydict()
    assert table["pods"] == [2, 2, 2, 4, 4, 4, 12, 12, 12]
    assert table["verdict"] == words
    lines = (folder / "results.csv").read_text().splitlines()
    assert lines[0].startswith("point,pods,seed,verdict,reason,")
    assert len(lines) == 10
    page = (folder / "index.html").read_text()
    assert "6 Approved, 3 Rejected" in page
    assert page.count("<rect") >= 18


def test_a_point_is_the_verdict_of_validate(tmp_path: Path, small: list[str]) -> None:
    out = tmp_path / "out"
    done = run("sweep", *small, "--set", SEEDS.replace("1..3", "7"), "--out", out, "-o", "json")
    assert done.exit_code == 0, done.output
    alone = json.loads(run("validate", *small, "-o", "json").stdout)["results"][0]
    (path,) = out.glob("points/*.json")
    kept: dict[str, Any] = json.loads(path.read_text())["result"]
    assert kept == {key: alone[key] for key in kept}
    (point,) = json.loads(done.stdout)["points"]
    assert point["checks"] == alone["checks"]


def test_a_comparison_of_policies(tmp_path: Path) -> None:
    options, out = files(tmp_path, run=RUN), tmp_path / "out"
    loads = "TwinRun/backfill:spec.workload.generator.load=60,90"
    done = run("sweep", *options, "--set", loads, "-o", "csv", "--out", out)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [["0", "60"]] * 2 + [["1", "90"]] * 2
    assert "Mean wait" in (out / "index.html").read_text()
    alone = json.loads(run("compare", *options, "-o", "json").stdout)
    point = json.loads((out / "results.json").read_text())["points"][1]
    assert [p["metrics"] for p in point["policies"]] == [p["metrics"] for p in alone["policies"]]


def test_points_that_do_not_fit_are_told(tmp_path: Path, small: list[str]) -> None:
    """A name that no object may have is refused at once; one that is not there spoils its point."""
    out = tmp_path / "out"
    policies = "PlacementPlan/serve:spec.policy=small,other"
    refused = run("sweep", *small, "--set", f"{policies},없다", "--out", out)
    assert refused.exit_code == 2
    assert "'없다'" in refused.stderr
    assert not out.exists()
    done = run("sweep", *small, "--set", policies, "--out", out)
    assert done.exit_code == 2, done.output
    assert "error: point 1" in done.stderr
    assert "'other'" in done.stderr
    found = json.loads((out / "results.json").read_text())
    assert [point["verdict"] for point in found["points"]] == ["Approved", "BadInput"]


def test_a_damaged_result_is_no_result(tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    with store.opened({}):
        assert store.read("d" * 64) is None
        store.keep("d" * 64, b'{"verdict": "Approved", "text": "\xed\x95\x9c"}', {"name": "x"})
        path = store.path("d" * 64)
        whole = path.read_bytes()
        assert json.loads(store.read("d" * 64) or b"")["text"] == "한"
        for damaged in (whole[:20], whole.replace(b"Approved", b"Rejected"), b"[]", b"\xff"):
            path.write_bytes(damaged)
            assert store.read("d" * 64) is None
    with Store(tmp_path / "out").opened({}):
        pass


def test_one_sweep_at_a_time_and_an_interrupt(tmp_path: Path, small: list[str]) -> None:
    """A second sweep in the same folder is refused; the first says what is kept when it stops."""
    out = tmp_path / "out"
    many = ["--set", SEEDS.replace("3", "200")]
    with sweep_of(["sweep", *small, *many, "--jobs", "1", "--out", str(out)]) as first:
        wait_for_points(out, 1, first)
        second = run(*grid(small), "--out", out)
        os.kill(first.pid, signal.SIGINT)
        _, said = first.communicate()
    assert second.exit_code == 2
    assert "another sweep at work" in second.stderr
    assert first.returncode == 130, said
    assert b"points done, kept in" in said
    assert not list(out.glob("points/.*"))


def test_a_point_that_takes_too_long(small: list[str]) -> None:
    done = run("sweep", *small, "--set", SEEDS, "--deadline", "1ms", "-o", "json")
    assert done.exit_code == 1
    points = json.loads(done.stdout)["points"]
    assert {point["verdict"] for point in points} == {"Failed"}
    assert {point["reason"] for point in points} == {"DeadlineExceeded"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--set", SEEDS, "--scheduler", "localhost:8786"], "is no address"),
        (["--set", SEEDS, "--scheduler", "tcp://127.0.0.1:1"], "0 of 3 points done"),
        (["--set", SEEDS, "--deadline", "soon"], "a duration such as 10m"),
        (["--set", SEEDS, "--deadline", "0s"], "more than nothing"),
        (["--set", SEEDS, "--memory", "-1"], "--memory"),
        (["--set", SEEDS, "--plan", "none"], "0 plans named none"),
        (["--set", SEEDS, "--run", "none"], "no TwinRun"),
        (["--set", SEEDS, "--trace", "none"], "--trace belongs to a TwinRun"),
        ([], "no parameter"),
    ],
)
def test_what_is_wrong_is_told(small: list[str], options: list[str], told: str) -> None:
    done = run("sweep", *small, *options)
    assert done.exit_code == 2, done.output
    assert told in done.stderr


def test_folders_of_others_are_left_alone(tmp_path: Path, small: list[str]) -> None:
    other, file = tmp_path / "other", tmp_path / "file"
    other.mkdir()
    (other / "thesis.tex").write_text("mine")
    file.write_text("mine")
    for out, told in ((other, "other files"), (file, "expected a folder")):
        done = run("sweep", *small, "--set", SEEDS, "--out", out)
        assert done.exit_code == 2
        assert told in done.stderr
    assert file.read_text() == "mine"
    assert [path.name for path in other.iterdir()] == ["thesis.tex"]
