"""``kfarm simulate`` as a shell would call it."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from kfarm_twin.cli import app
from typer.testing import CliRunner

SWF = """; MaxNodes: 2
1 0 -1 10 1 -1 -1 1 10 -1 1 1 1 1 1 1 -1 -1
2 0 -1 5 2 -1 -1 2 5 -1 1 1 1 1 1 1 -1 -1
7 1 -1 9 1 -1 -1 1 9 -1 1 1 1 1 1 1 -1 -1
8 1 -1 9 3 -1 -1 3 9 -1 1 1 1 1 1 1 -1 -1
9 2 -1 0 1 -1 -1 1 9 -1 1 1 1 1 1 1 -1 -1
"""


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "작은.swf.gz"
    path.write_bytes(gzip.compress(SWF.encode()))
    return path


def call(*words: object) -> Any:
    return CliRunner().invoke(app, ["simulate", *(str(word) for word in words)])


def test_jobs_and_figures(trace: Path) -> None:
    done = call(
        "--trace", trace, "--format", "swf", "--nodes", 2, "--backfill", "easy", "-o", "json"
    )
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert data["schema"] == "kfarm.dev/simulate/v1"
    assert data["jobs"] == [
        {"id": "1", "submit": 0, "start": 0, "end": 10},
        {"id": "2", "submit": 0, "start": 10, "end": 15},
        {"id": "7", "submit": 1, "start": 1, "end": 10},
        {"id": "8", "submit": 1, "start": None, "end": None},
    ]
    assert [entry["id"] for entry in data["never"]] == ["8"]
    assert data["trace"]["leftOut"][0]["records"] == 1
    assert data["summary"]["waitS"]["max"] == 10.0
    assert data["summary"]["averageBoundedSlowdown"] == pytest.approx((1 + 1.5 + 1) / 3)


def test_jobs_in_files(trace: Path, tmp_path: Path) -> None:
    base = ("--trace", trace, "--format", "swf", "--nodes", 2, "-o", "json", "--jobs-out")
    for name in ("jobs.csv", "jobs.parquet", "jobs.json"):
        done = call(*base, tmp_path / name)
        assert done.exit_code == 0, done.output
        assert "jobs" not in json.loads(done.stdout)
    rows = list(csv.DictReader((tmp_path / "jobs.csv").read_text("utf-8").splitlines()))
    assert [(row["id"], row["start"], row["end"]) for row in rows] == [
        ("1", "0", "10"), ("2", "10", "15"), ("7", "15", "24"), ("8", "", ""),
    ]  # fmt: skip
    table = pq.read_table(tmp_path / "jobs.parquet")
    assert table.column("start").to_pylist() == [0.0, 10.0, 15.0, None]
    jobs = json.loads((tmp_path / "jobs.json").read_text("utf-8"))["jobs"]
    assert [job["start"] for job in jobs] == [0, 10, 15, None]


def test_table_names_what_never_runs(trace: Path) -> None:
    done = call("--trace", trace, "--nodes", 2, "--placement", "best-fit", "--required", "rack")
    assert done.exit_code == 0, done.output
    assert "never runs: 8: asks for 3 pods of 8 devices in one rack" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--order", "srtf", "--backfill", "conservative"), "break by preemption"),
        (("--required", "rack"), "need named nodes"),
        (("--jobs-out", "/nowhere/at/all.csv"), "a folder that exists"),
        (("--format", "philly"), "what looks like swf"),
    ],
)
def test_bad_input_ends_with_code_2(trace: Path, words: tuple[str, ...], said: str) -> None:
    done = call("--trace", trace, "--nodes", 2, *words)
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert done.stdout == ""


def test_a_truncated_file_writes_nothing(trace: Path, tmp_path: Path) -> None:
    trace.write_bytes(trace.read_bytes()[:-12])
    out = tmp_path / "jobs.csv"
    done = call("--trace", trace, "--format", "swf", "--nodes", 2, "--jobs-out", out)
    assert done.exit_code == 2
    assert not out.exists()


PODS = """name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,\
deletion_time,scheduled_time
a,1000,10,1,600,,LS,Running,0,10,0
b,1000,10,1,600,,LS,Running,0,10,0
c,1000,10,1,600,,LS,Running,0,10,0
d,1000,10,1,400,T4,LS,Running,0,10,0
"""
NODES = "sn,cpu_milli,memory_mib,gpu,model\nn1,8000,100,2,P100\n"


def on_shared(tmp_path: Path, *words: object) -> Any:
    pods, nodes = tmp_path / "pods.csv", tmp_path / "nodes.csv"
    pods.write_text(PODS)
    nodes.write_text(NODES)
    return call("--trace", pods, *(nodes if word == "NODES" else word for word in words))


def test_shares_stand_on_one_device_each(tmp_path: Path) -> None:
    done = on_shared(tmp_path, "--node-list", "NODES", "--placement", "fgd", "-o", "json")
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert [job["start"] for job in data["jobs"]] == [0, 0, 10, None]
    assert data["never"] == [
        {
            "id": "d",
            "reason": "asks for 1 pods of 400/1000 of a device, 1000m CPU, 10 MiB, model that no "
            "node has; the empty farm takes 0",
        }
    ]
    assert (data["farm"]["gpus"], data["farm"]["gpusPerNode"]) == (2, None)
    assert data["rules"]["sharedDevices"] is True
    assert data["notes"] == []


def test_counting_says_that_it_knows_no_pieces(tmp_path: Path) -> None:
    done = on_shared(tmp_path, "--nodes", 1, "--gpus-per-node", 2, "-o", "json")
    data = json.loads(done.stdout)
    assert [job["start"] for job in data["jobs"]] == [0, 0, 0, 10]
    assert data["notes"][0].startswith("4 jobs share a device")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--placement", "fgd"), "either --nodes N or --node-list"),
        (("--nodes", 2, "--node-list", "NODES"), "either --nodes N or --node-list"),
        (("--nodes", 2, "--placement", "fgd", "--order", "srtf"), "srtf preempts"),
        (("--nodes", 2, "--placement", "fgd", "--backfill", "conservative"), "conservative"),
        (("--nodes", 2, "--placement", "fgd", "--required", "rack"), "topology levels"),
        (("--nodes", 2, "--placement", "spread", "--preferred", "rack"), "topology levels"),
        (("--nodes", 2, "--gpus-per-node", 63, "--placement", "fgd"), "at most 62"),
        (("--nodes", 2, "--cpu-per-node", 1), "knows no CPU or memory"),
        (("--node-list", "NODES", "--cpu-per-node", 1, "--placement", "fgd"), "leave out CPU"),
    ],
)
def test_what_is_not_played_on_shared_devices_is_refused(
    tmp_path: Path, words: tuple[object, ...], says: str
) -> None:
    done = on_shared(tmp_path, *words)
    assert done.exit_code == 2
    assert says in done.output.replace("\n", " ")
    assert not done.stdout or "wait" not in done.stdout
