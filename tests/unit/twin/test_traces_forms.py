"""Forms that are written: Parquet of our own, CSV, SWF; and what a foreign Parquet file may be."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from kfarm_twin.load import ManifestError
from kfarm_twin.traces import Target, TraceFormat, read
from kfarm_twin.traces.parquet import SCHEMA, write_parquet
from kfarm_twin.traces.write import replacing, target_of, write_trace
from pyarrow import parquet

CSV = (
    "id,submit_s,pods,gpus_per_pod,run_s,limit_s,gpu_milli,cpu_milli,memory_mib,priority,queue,models\n"
    'a,0,2,8,60,120,1000,4000,1024,5,연구,"T4|P100"\n'
    'b,1.5,1,1,61,90,250,0,0,0,"x, y",\n'
)


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "source.csv"
    path.write_text(CSV, encoding="utf-8")
    return read(path, gpus_per_node=8).trace


def found_problems(path: Path):
    with pytest.raises(ManifestError) as raised:
        read(path, gpus_per_node=8)
    return raised.value.problems


def test_the_parquet_form_says_units_and_version(tmp_path, trace):
    path = tmp_path / "t.parquet"
    write_trace(trace, path, Target.KFARM, {"source": {"file": "a"}})
    schema = parquet.read_schema(path)
    assert schema.field("run_ns").metadata[b"unit"] == b"ns"
    said = json.loads(schema.metadata[b"kfarm"])
    assert said["schema"] == SCHEMA
    assert said["queues"] == ["연구", "x, y"]
    assert said["source"] == {"file": "a"}
    assert parquet.read_table(path).column("queue").to_pylist() == ["연구", "x, y"]


def test_equal_traces_give_equal_bytes(tmp_path, trace):
    for name in ("a.parquet", "b.parquet", "a.csv.gz", "b.csv.gz"):
        write_trace(trace, tmp_path / name, target_of(tmp_path / name))
    for end in ("parquet", "csv.gz"):
        assert (tmp_path / f"a.{end}").read_bytes() == (tmp_path / f"b.{end}").read_bytes()


def foreign(path, **changes):
    columns = {
        "id": pa.array(["a", "b"]),
        "submit_ns": pa.array([5, 4]),
        "run_ns": pa.array([7, 8], pa.int32()),
        "pods": pa.array([1, 2]),
        "gpus": pa.array([8, 0], pa.uint8()),
    } | changes
    table = pa.table({name: column for name, column in columns.items() if column is not None})
    parquet.write_table(table, path)
    return path


def test_a_file_of_another_program_needs_only_five_columns(tmp_path):
    found = read(foreign(tmp_path / "f", colour=pa.array(["r", "g"])), gpus_per_node=8)
    jobs = found.trace.jobs
    assert found.trace.ids.tolist() == ["b", "a"]
    assert jobs.limit_ns.tolist() == [8, 7]
    assert jobs.gpu_milli.tolist() == [0, 1000]
    assert found.trace.queues == ("default",)
    assert found.unused == ("colour",)


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"run_ns": None}, "run_ns", "no such column"),
        ({"id": None}, "id", "no such column"),
        ({"run_ns": pa.array([1.0, 2.0])}, "run_ns", "double"),
        ({"id": pa.array([1, 2])}, "id", "int64"),
        ({"run_ns": pa.array([7, None])}, "run_ns, row 2", "null"),
        ({"run_ns": pa.array([0, 8])}, "run_ns, row 1", "from 1"),
        ({"submit_ns": pa.array([0, -8])}, "submit_ns, row 2", "-8"),
        ({"submit_ns": pa.array([0, 2**64 - 1], pa.uint64())}, "submit_ns", "whole number"),
        ({"id": pa.array(["a", "a"])}, "id, row 2", "again (first in row 1)"),
        ({"id": pa.array(["a", None])}, "id, row 2", "null"),
        ({"id": pa.array(["a", "x" * 300])}, "id, row 2", "253"),
        ({"gpu_milli": pa.array([0, 0])}, "gpu_milli", "for 8 GPUs"),
    ],
)
def test_a_foreign_file_that_is_wrong_is_named_by_row_and_column(tmp_path, changes, path, words):
    (problem,) = found_problems(foreign(tmp_path / "f", **changes))
    assert problem.path == path
    assert words in str(problem)


def test_a_newer_schema_is_refused(tmp_path, trace):
    path = tmp_path / "t.parquet"
    write_trace(trace, path, Target.KFARM)
    table = parquet.read_table(path)
    for said, words in ((b'{"schema": "kfarm.dev/trace/v9"}', "newer kfarm"), (b"{", "as JSON")):
        parquet.write_table(table.replace_schema_metadata({b"kfarm": said}), path)
        (problem,) = found_problems(path)
        assert words in str(problem)


@pytest.mark.parametrize(
    "said",
    [
        {"start": "yesterday"},
        {"queues": 5},
        {"models": [1]},
        {"leftOut": {"why": -1}},
        {"leftOut": {"why": "many"}},
    ],
)
def test_metadata_that_cannot_be_are_named(tmp_path, trace, said):
    path = tmp_path / "t.parquet"
    write_trace(trace, path, Target.KFARM)
    table = parquet.read_table(path)
    body = json.dumps({"schema": SCHEMA} | said).encode()
    parquet.write_table(table.replace_schema_metadata({b"kfarm": body}), path)
    (problem,) = found_problems(path)
    assert problem.path.startswith(f"metadata {next(iter(said))}")


def test_names_that_would_not_come_back_are_refused(tmp_path, trace):
    for changes in ({"queues": ("q", "q")}, {"models": (frozenset(), frozenset({"a|b"}))}):
        wrong = type(trace)(**{**vars(trace), **changes})
        with (tmp_path / "t").open("wb") as stream, pytest.raises(ValueError, match="name"):
            write_parquet(wrong, stream)


def test_csv_says_what_it_cannot_hold(tmp_path, trace):
    dated = type(trace)(
        **{
            **vars(trace),
            "start": datetime.fromisoformat("2026-01-01T00:00+09:00"),
            "left_out": {"x": 3},
        }
    )
    lost = write_trace(dated, tmp_path / "t.csv", Target.CSV)
    assert len(lost) == 2
    found = read(tmp_path / "t.csv", TraceFormat.KFARM, gpus_per_node=8).trace
    assert found.ids.tolist() == ["a", "b"]
    for name, column in trace.jobs._asdict().items():
        assert np.array_equal(column, getattr(found.jobs, name)), name


def test_swf_says_what_it_cannot_hold_and_keeps_the_rest(tmp_path, trace):
    lost = " ".join(write_trace(trace, tmp_path / "t.swf.gz", Target.SWF))
    for word in ("devices of a pod (1, 8)", "shares", "CPU", "memory", "priorities", "models",
                 "numbered from 1", "parts of seconds"):  # fmt: skip
        assert word in lost
    found = read(tmp_path / "t.swf.gz", gpus_per_node=8).trace
    assert found.jobs.submit_ns.tolist() == [0, 2 * 10**9]
    assert found.jobs.limit_ns.tolist() == trace.jobs.limit_ns.tolist()
    assert found.jobs.pods.tolist() == [2, 1]
    assert [found.queues[row] for row in found.jobs.queue] == ["연구", "x, y"]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as stream:
        stream.write(b"half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_named(tmp_path, trace):
    for path in (tmp_path / "no" / "t.csv", tmp_path):
        with pytest.raises(ManifestError, match="a folder that exists"):
            write_trace(trace, path, Target.CSV)
    with pytest.raises(ManifestError, match="--to"):
        target_of(tmp_path / "t.txt")
