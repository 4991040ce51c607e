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
