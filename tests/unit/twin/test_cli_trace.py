"""``kfarm trace``: exit codes, stable keys, nothing half-written."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfarm_twin.cli import app
from kfarm_twin.cli_trace_tables import BAR_CELLS, bar, spark
from typer.testing import CliRunner, Result

TRACE = (
    "timestamp,duration,num_gpus,gpu_time,cluster\n"
    "2017-10-09 07:01:55,3600,1,3600,[red]한국\n"
    "2017-10-09 06:01:55,7200,16,115200,vc\n"
    "2017-10-09 08:01:55,0,16,0,vc\n"
)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["trace", *map(str, arguments)])


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "philly.csv"
    path.write_text(TRACE, encoding="utf-8")
    return path


def as_json(*arguments: str | Path) -> dict[str, Any]:
    result = run(*arguments, "-o", "json")
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_info_prints_stable_keys(trace: Path) -> None:
    found = as_json("info", trace, "--nodes", 4)
    assert list(found) == [
        *("schema", "file", "format", "records", "jobs", "leftOut", "unusedColumns", "notes"),
        *("start", "firstSubmitS", "lastSubmitS", "spanS", "gpusPerNode", "pods", "jobsWithGpus"),
        *("jobsSharingGpus", "gpuHours", "gpuHoursShareOfWholeNodes", "nodes", "offeredLoad"),
        *("runS", "gpus", "limitOverRun", "arrivals", "sizes", "queues", "models"),
    ]
    assert found["schema"] == "kfarm.dev/trace-info/v1"
    assert found["leftOut"] == [{"reason": "duration is 0", "records": 1, "exampleLine": 4}]
    assert found["gpuHours"] == 33
    assert found["offeredLoad"] == pytest.approx(33 / (4 * 8 * 1.0))
    assert found["runS"]["p50"] == 5400
    assert [row["gpus"] for row in found["sizes"]] == ["1", "9-16"]
    assert found["queues"][0] == {"name": "vc", "jobs": 1, "gpuHours": 32, "gpuHourShare": 32 / 33}
    assert found["arrivals"]["jobsByHourOfDay"][6:8] == [1, 1]


def test_info_says_the_same_as_yaml_and_in_words(trace: Path) -> None:
    assert yaml.safe_load(run("info", trace, "-o", "yaml").stdout) == as_json("info", trace)
    words = run("info", trace).stdout
    for text in ("2 jobs", "left out: 1 records: duration is 0 (first in line 4)", "gpu_time",
                 "33 GPU-hours", "[red]한국", "Run p50 [s]"):  # fmt: skip
        assert text in words


def test_info_of_a_trace_without_jobs_has_no_figures(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,submit_s,gpus,run_s\na,1,1,0\n")
    found = as_json("info", path)
    assert (found["jobs"], found["records"], found["runS"], found["spanS"]) == (0, 1, None, None)
    assert run("info", path).exit_code == 0
    result = run("generate", tmp_path / "o.csv", "--from", path)
    assert result.exit_code == 2
    assert "two jobs" in result.stderr


def test_bad_input_is_one_line_each_and_code_2(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,submit_s,gpus,run_s\na,-1,1,5\nb,0,x,5\n")
    for command in (("info", path), ("convert", path, tmp_path / "o.swf")):
        result = run(*command)
        assert result.exit_code == 2
        assert result.stdout == ""
        lines = result.stderr.splitlines()
        assert [line.split(":")[0] for line in lines] == ["error", "error"]
        assert "line 2: submit_s: found '-1'" in lines[0]
        assert "line 3: gpus: found 'x'" in lines[1]
    assert sorted(tmp_path.iterdir()) == [path]


def test_convert_goes_by_the_name_and_keeps_what_was_left_out(trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    made = as_json("convert", trace, out)
    assert made["to"] == {"file": str(out), "format": "kfarm"}
    assert made["lost"] == []
    found = as_json("info", out)
    assert found["leftOut"] == [{"reason": "duration is 0", "records": 1, "exampleLine": None}]
    assert found["records"] == 3
    packed = tmp_path / "t.swf.gz"
    result = run("convert", out, packed)
    assert "swf cannot hold: devices of a pod (1, 8)" in result.stdout
    assert gzip.decompress(packed.read_bytes()).startswith(b"; Version")
    assert as_json("convert", out, tmp_path / "x", "--to", "csv")["to"]["format"] == "csv"


def test_convert_to_what_cannot_be_is_code_2(trace: Path, tmp_path: Path) -> None:
    for out in (tmp_path / "t.xyz", tmp_path / "no" / "t.csv", tmp_path):
        result = run("convert", trace, out)
        assert result.exit_code == 2, out
        assert result.stderr.startswith("error: ")
    assert sorted(tmp_path.iterdir()) == [trace]


def test_generate_says_how_the_jobs_agree(trace: Path, tmp_path: Path) -> None:
    model, out = tmp_path / "m.yaml", tmp_path / "a.parquet"
    options = ("--jobs", 50, "--seed", 3, "--load", 0.5, "--nodes", 9)
    made = as_json("generate", out, "--from", trace, "--save-model", model, *options)
    assert made["jobs"] == 50
    assert made["model"] == "fitted to philly.csv"
    assert {row["figure"] for row in made["goodness"]} >= {"run time, p50", "GPUs, mean"}
    again = tmp_path / "b.parquet"
    assert as_json("generate", again, "--model", model, *options)["goodness"] is None
    assert again.read_bytes() == out.read_bytes()
    assert "GPU-hours a job" in run("generate", out, "--from", trace, *options).stdout
    assert "assumption" in run("generate", tmp_path / "c.csv").stdout


@pytest.mark.parametrize(
    "options",
    [
        ("--model", "m", "--from", "f"),
        ("--load", 1),
        ("--load", "nan", "--nodes", 5),
        ("--load", -1, "--nodes", 5),
        ("--jobs", 0),
        ("--seed", -1),
        ("--model", "/nowhere"),
        ("--gpus-per-node", 0),
    ],
)
def test_options_that_cannot_be_are_code_2(tmp_path: Path, options: tuple[Any, ...]) -> None:
    out = tmp_path / "o.csv"
    assert run("generate", out, *options).exit_code == 2
    assert not out.exists()


def test_info_loads_no_compiler(trace: Path) -> None:
    code = (
        "import sys; from kfarm_twin.cli import app\n"
        f"app(['trace', 'info', {str(trace)!r}, '-o', 'json'], standalone_mode=False)\n"
        "assert 'numba' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ, capture_output=True)


def test_bars_grow_with_what_they_show() -> None:
    assert [len(bar(share)) for share in (None, 0.0, 0.5, 1.0)] == [0, 0, BAR_CELLS // 2, BAR_CELLS]
    assert spark([0, 1, 100]) == " ▁█"
    assert spark([]) == ""
