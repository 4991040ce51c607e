"""Readers of traces: what they make of a file, and what they say of one that is wrong."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from kfarm_twin.load import ManifestError
from kfarm_twin.traces import TraceFormat, read
from kfarm_twin.traces.lines import MAX_PROBLEMS

S = 10**9
SWF = "{} {} -1 {} {} -1 -1 {} {} -1 {} 1 1 1 {} 1 -1 -1"
PHILLY = "timestamp,duration,num_gpus,gpu_time,cluster\n"
OPENB = (
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,"
    "creation_time,deletion_time,scheduled_time\n"
)
CSV = "id,submit_s,gpus,run_s,limit_s\n"


def swf(number, submit=0, run=60, used=1, asked=-1, limit=120, status=1, queue=-1):
    return SWF.format(number, submit, run, used, asked, limit, status, queue)


def reading(folder: Path, content: str | bytes, name: str = "trace", **options):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(path, **{"gpus_per_node": 8} | options)


def problems(folder: Path, content: str | bytes, name: str = "trace", **options):
    with pytest.raises(ManifestError) as raised:
        reading(folder, content, name, **options)
    return raised.value.problems


def columns(trace):
    return {name: column.tolist() for name, column in trace.jobs._asdict().items()}


def test_swf_follows_the_stated_rules(tmp_path):
    lines = [
        "; UnixStartTime: 843480031",
        "; TimeZoneString: Asia/Seoul",
        "; Queue: 2 연구",
        swf(1, submit=10, run=500, used=4, limit=300),
        swf(2, submit=5, run=50, used=-1, asked=3, limit=-1, queue=2),
        swf(3, run=0),
        swf(4, used=0),
        swf(5, used=-1, asked=-1),
        swf(6, run=-1),
        swf(7, status=3),
    ]
    found = reading(tmp_path, "\n".join(lines) + "\n")
    trace = found.trace
    assert trace.ids.tolist() == ["2", "1"]
    assert columns(trace)["submit_ns"] == [5 * S, 10 * S]
    assert columns(trace)["run_ns"] == [50 * S, 300 * S]
    assert columns(trace)["limit_ns"] == [50 * S, 300 * S]
    assert columns(trace)["pods"] == [3, 4]
    assert columns(trace)["gpus"] == [8, 8]
    assert [trace.queues[row] for row in trace.jobs.queue] == ["연구", "default"]
    assert sorted(trace.left_out.values()) == [1, 2, 2]
    assert found.examples == {
        "processors not above 0": 7,
        "run time not above 0": 6,
        "part of a job that has its own line (status 2, 3 or 4)": 10,
    }
    assert found.records == 7
    assert trace.start is not None
    assert trace.start.utcoffset().total_seconds() == 9 * 3600
    assert len(found.notes) == 1


@pytest.mark.parametrize("comment", ["", "; a comment in between\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_swf_reads_the_same_with_other_ends_marks_and_spaces(tmp_path, comment, end, mark):
    text = f"   {swf(1)}  \n{comment}\n{swf(2).replace(' ', chr(9))}\n"
    trace = reading(tmp_path, mark + text.replace("\n", end).encode()).trace
    assert trace.ids.tolist() == ["1", "2"]


def test_a_last_line_may_lack_its_end(tmp_path):
    assert len(reading(tmp_path, swf(1) + "\n" + swf(2)).trace.ids) == 2


def test_gzip_is_read_whatever_the_name(tmp_path):
    assert len(reading(tmp_path, gzip.compress((swf(1) + "\n").encode()), "a.swf").trace.ids) == 1


def test_jobs_of_one_moment_keep_the_order_of_the_file(tmp_path):
    text = CSV + "b,5,1,10,\na,5,1,10,\nc,4,1,10,20\n"
    trace = reading(tmp_path, text).trace
    assert trace.ids.tolist() == ["c", "b", "a"]
    assert columns(trace)["limit_ns"] == [20 * S, 10 * S, 10 * S]


def test_columns_cannot_be_written(tmp_path):
    trace = reading(tmp_path, swf(1)).trace
    with pytest.raises(ValueError, match="read-only"):
        trace.jobs.run_ns[0] = 1


def test_philly_is_sorted_cut_into_pods_and_dated(tmp_path):
    text = PHILLY + (
        "2017-10-09 07:01:55,66.5,1,66.5,가상\n"
        "2017-10-09 07:01:00,10,12,120,vc\n"
        "2017-10-09 07:01:30,0,1,0,vc\n"
    )
    found = reading(tmp_path, text)
    trace = found.trace
    assert trace.ids.tolist() == ["2", "1"]
    assert columns(trace)["submit_ns"] == [0, 55 * S]
    assert columns(trace)["run_ns"] == [10 * S, 66_500_000_000]
    assert columns(trace)["pods"] == [2, 1]
    assert columns(trace)["gpus"] == [8, 1]
    assert trace.start.isoformat() == "2017-10-09T07:01:00"
    assert trace.left_out == {"duration is 0": 1}
    assert found.unused == ("gpu_time",)
    assert "4 devices" in found.notes[0]


def test_openb_runs_from_scheduled_to_deleted_and_keeps_shares_and_models(tmp_path):
    text = OPENB + (
        "p0,1000,2048,1,460,P100|T4,LS,Running,5,100,20\n"
        "p1,1000,2048,0,0,,BE,Running,1,100,20\n"
        "p2,1000,2048,8,1000,,BE,Pending,1,100,\n"
    )
    trace = reading(tmp_path, text).trace
    assert trace.ids.tolist() == ["p1", "p0"]
    found = columns(trace)
    assert found["submit_ns"] == [S, 5 * S]
    assert found["run_ns"] == [80 * S, 80 * S]
    assert found["gpus"] == [0, 1]
    assert found["gpu_milli"] == [0, 460]
    assert found["memory_mib"] == [2048, 2048]
    assert [trace.models[row] for row in found["models"]] == [frozenset(), {"P100", "T4"}]
    assert list(trace.left_out.values()) == [1]


def test_csv_takes_pods_as_they_are(tmp_path):
    text = "pods,gpus_per_pod,id,submit_s,run_s,gpu_milli,priority\n3,4,a,0.000000001,1.5,500,-2\n"
    found = columns(reading(tmp_path, text, format=TraceFormat.KFARM).trace)
    assert found["pods"] == [3]
    assert found["gpus"] == [4]
    assert found["submit_ns"] == [1]
    assert found["run_ns"] == [1_500_000_000]
    assert found["gpu_milli"] == [500]
    assert found["priority"] == [-2]


@pytest.mark.parametrize(
    ("cell", "column"),
    [
        ("nan", "run_s"),
        ("inf", "run_s"),
        ("-1", "run_s"),
        ("1e12", "run_s"),
        ("9" * 40, "run_s"),
        ("1e99999999", "run_s"),
        ("0x1F", "gpus"),
        ("1_000", "gpus"),
        ("1.5", "gpus"),
        ("", "gpus"),
        ("٣", "gpus"),
        ("-3", "submit_s"),
        ("", "id"),
        ("x" * 300, "id"),
    ],
)
def test_a_bad_cell_is_named_by_line_and_column(tmp_path, cell, column):
    good = {"id": "b", "submit_s": "0", "gpus": "1", "run_s": "5", "limit_s": "9"}
    bad = ",".join((good | {column: cell})[name] for name in good)
    text = CSV + f"a,0,1,5,9\n{bad}\nc,0,1,5,9\n"
    (problem,) = problems(tmp_path, text)
    assert (problem.line, problem.path) == (3, column)


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"", None, "an empty file"),
        (b"\n\n", None, "blank lines only"),
        (CSV.encode(), None, "no jobs"),
        ((CSV + "a,0,1\n").encode(), 2, "3 cells after gpus"),
        ((CSV + "a,0,1,5,9\nb,0,1").encode(), 3, "cut off"),
        ((CSV + "a,0,1,5,9,9\n").encode(), 2, "6 cells"),
        ((CSV + '"a,0,1,5,9\n').encode(), 2, "closed quotes"),
        ((CSV + "a,0,1,5,9\na,0,1,5,9\n").encode(), 3, "again (first in line 2)"),
        ((CSV + "한국,0,1,5,9\n").encode("cp949"), 2, "iconv -f CP949"),
        ((CSV + "a,0,1,5,9\n").encode("utf-16"), 1, "iconv -f UTF-16"),
        (CSV.encode() + b"a,\x000,1,5,9\n", 2, "zero byte"),
        (CSV.encode() + b"a" * 200_000, 2, "line of more than"),
        (b"id,submit_s,gpus,run_s,gpus\na,0,1,5,9\n", 1, "column 'gpus' twice"),
        (b"id,submit_s,run_s\na,0,1\n", 1, "no column gpus"),
        (b"what,is,this\n", 1, "no known form"),
        (b"[1, 2]\n", 1, "no known form"),
        ((PHILLY + "2017-02-30 07:01:55,6,1,6,x\n").encode(), 2, "2017-02-30"),
        ((PHILLY + "9999-01-01 00:00:00,6,1,6,x\n").encode(), 2, "9999-01-01"),
        ((PHILLY + "1900-01-01 00:00:00,6,1,6,x\n2017-01-01 00:00:00,6,1,6,x\n").encode(), None,
         "117 years apart"),
        ((OPENB + "p,1,1,1,0,,LS,R,0,9,1\n").encode(), 2, "1 to 1,000 for 1 GPUs"),
        (b"name,cpu_milli,memory_mib,num_gpu,gpu_milli\np,1,1,1,1000\n", 1, "kfarm fill"),
        ((swf(1) + "\n" + swf(2)[:-6]).encode(), 2, "cut off"),
        ((swf(1) + "\n" + swf(2).replace(" 60 ", " abc ")).encode(), 2, "abc"),
        ((swf(1) + "\n" + swf(1) + "\n").encode(), 2, "again"),
        ((swf(1) + "\n" + swf(2, submit=10**13) + "\n").encode(), 2, "seconds from 0"),
        ((swf(1) + "\n" + swf(2, submit=-5) + "\n").encode(), 2, "-5"),
    ],
)  # fmt: skip
def test_a_bad_file_is_named_with_its_line_and_a_remedy(tmp_path, content, line, words):
    (problem,) = problems(tmp_path, content)
    assert problem.line == line
    assert words in str(problem)


def test_all_problems_are_told_up_to_a_cap(tmp_path):
    found = problems(tmp_path, CSV + "a,x,1,5,9\n" * 100)
    assert [problem.line for problem in found[:-1]] == list(range(2, MAX_PROBLEMS + 2))
    assert "80 more problems" in str(found[-1])


def test_a_file_that_is_wrong_throughout_is_not_read_to_its_end(tmp_path):
    found = problems(tmp_path, CSV + "a,x,1,5,9\n" * 5000)
    assert "at least 980 more" in str(found[-1])


@pytest.mark.parametrize("keep", [5, 60, 400])
def test_gzip_that_ends_too_early_is_an_error(tmp_path, keep):
    rows = "".join(swf(n, submit=n * 7919 % 1000) + "\n" for n in range(1, 400))
    packed = gzip.compress(rows.encode())
    found = problems(tmp_path, packed[:keep], "a.swf.gz", format=TraceFormat.SWF)
    assert "end too early" in str(found[0])
    assert "end too early" in str(problems(tmp_path, packed[:-1], "a.swf.gz")[0])
    broken = packed[:-6] + b"\0\0" + packed[-4:]
    assert "broken gzip" in str(problems(tmp_path, broken, "a.swf.gz")[0])


@pytest.mark.parametrize("format", [None, *TraceFormat])
def test_gzip_that_is_broken_at_its_beginning_is_an_error(tmp_path, format):
    packed = bytearray(gzip.compress(PHILLY.encode() * 9))
    packed[12] ^= 0xFF
    assert "gzip" in str(problems(tmp_path, bytes(packed), format=format)[0])


def test_gz_in_the_name_alone_is_an_error(tmp_path):
    assert "no gzip data" in str(problems(tmp_path, swf(1), "a.swf.gz")[0])


def test_a_directory_or_no_file_is_an_error(tmp_path):
    for path, words in ((tmp_path, "a directory"), (tmp_path / "no", "no such file")):
        for format in (None, *TraceFormat):
            with pytest.raises(ManifestError, match=words):
                read(path, format, gpus_per_node=8)


def test_a_pipe_is_refused_since_it_cannot_be_read_twice(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    for format in (None, *TraceFormat):
        with pytest.raises(ManifestError, match="a pipe or device"):
            read(path, format, gpus_per_node=8)


def test_another_form_than_asked_for_is_named(tmp_path):
    (problem,) = problems(
        tmp_path, PHILLY + "2017-10-09 07:01:55,6,1,6,x\n", format=TraceFormat.SWF
    )
    assert "--format philly" in str(problem)


def test_a_name_that_says_otherwise_leaves_a_doubt(tmp_path):
    (problem,) = problems(tmp_path, CSV + "a,0,1,5,9\n", "a.swf")
    assert "state --format" in str(problem)
    assert reading(tmp_path, CSV + "a,0,1,5,9\n", "a.swf", format=TraceFormat.CSV).records == 1


def test_a_fault_far_into_a_large_file_has_its_line(tmp_path):
    """Beyond the first block, where lines are no longer counted from the beginning."""
    count = 150_000
    lines = [swf(n, submit=n) for n in range(1, count)]
    lines[140_000] = lines[140_000].replace(" 60 ", " 6O ")
    (problem,) = problems(tmp_path, "\n".join(lines) + "\n")
    assert (problem.line, problem.path) == (140_001, "run")


def test_columns_may_stand_in_any_order_with_others_between(tmp_path):
    text = "색,run_s,gpus,id,submit_s\nred,5,16,작업,3\n"
    found = reading(tmp_path, text)
    assert found.unused == ("색",)
    assert found.trace.ids.tolist() == ["작업"]
    assert np.array_equal(found.trace.jobs.pods, [2])
