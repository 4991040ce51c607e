"""Traces: both ways of reading agree, faults have their line, forms give back what they got."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kfarm_twin.jobs import Jobs, JobTrace
from kfarm_twin.load import ManifestError
from kfarm_twin.traces import Target, TraceFormat, read
from kfarm_twin.traces.cells import Layout, count, moment, seconds, text
from kfarm_twin.traces.lines import Block, Findings
from kfarm_twin.traces.swf import FIELDS
from kfarm_twin.traces.swf import LAYOUT as SWF_LAYOUT
from kfarm_twin.traces.text import read_cells
from kfarm_twin.traces.write import write_trace

CSV_LAYOUT = Layout(
    ("id", "at", "when", "n", "what"),
    (text("id"), seconds("at", blank=-1), moment("when"), count("n"), text("what", blank="-")),
)
NUMBERS = st.one_of(
    st.integers(-3, 5).map(str),
    st.integers(0, 2**40).map(str),
    st.decimals(0, 10**9, places=4, allow_nan=False).map(str),
    st.sampled_from(["", "x", "nan", "1e3", " 7 ", "+4", "007", "1.", ".5", "0x10", "1,5", "-0"]),
)
MOMENTS = st.one_of(
    st.datetimes(datetime(1800, 1, 1), datetime(2200, 1, 1)).map(
        lambda d: f"{d:%Y-%m-%d %H:%M:%S}"
    ),
    st.sampled_from(["2017-10-09T07:01:55", "2017-10-09", "", "2017-13-09 00:00:00"]),
)
WORDS = st.text(st.sampled_from("aé한🙂 \"',;|"), max_size=6)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0|"), min_size=1, max_size=9)


def outcome(data: bytes, layout: Layout, is_fast: bool):
    findings = Findings(Path("t"))
    cells = read_cells(Block(data, 10, True), layout, findings, is_fast=is_fast)
    try:
        findings.check()
    except ManifestError as error:
        return str(error)
    return (
        cells.line.tolist(),
        {name: column.tolist() for name, column in cells.numbers.items()},
        {name: column.tolist() for name, column in cells.texts.items()},
    )


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.tuples(WORDS, NUMBERS, MOMENTS, NUMBERS, WORDS), min_size=1, max_size=5),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_the_fast_way_reads_csv_as_the_exact_way_does(rows, end, ends):
    data = (end.join(",".join(row) for row in rows) + (end if ends else "")).encode()
    assert outcome(data, CSV_LAYOUT, True) == outcome(data, CSV_LAYOUT, False)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.lists(NUMBERS, min_size=17, max_size=19), min_size=1, max_size=4),
    st.sampled_from([" ", "  ", "\t"]),
    st.sampled_from(["", " "]),
)
def test_the_fast_way_reads_swf_as_the_exact_way_does(rows, gap, edge):
    data = "\n".join(edge + gap.join(row) + edge for row in rows).encode()
    assert outcome(data, SWF_LAYOUT, True) == outcome(data, SWF_LAYOUT, False)


@st.composite
def traces(draw):
    size = draw(st.integers(0, 6))
    queues = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    models = draw(st.lists(st.frozensets(NAMES, min_size=1, max_size=3), max_size=3, unique=True))

    def column(least, most):
        return np.array(
            draw(st.lists(st.integers(least, most), min_size=size, max_size=size)), dtype=np.int64
        )

    longest = 1 << 61
    gpus = column(0, 9)
    submit = np.sort(column(0, longest))
    milli = np.where(gpus > 0, column(1, 1000), 0)
    jobs = Jobs(
        submit, column(1, longest), column(1, longest), column(1, 1 << 31), gpus, milli,
        column(0, 1 << 31), column(0, 1 << 31), column(-(1 << 31), 1 << 31),
        column(0, len(queues) - 1), column(0, len(models)),
    )  # fmt: skip
    ids = draw(st.lists(NAMES.filter(str.strip), min_size=size, max_size=size, unique=True))
    zone = draw(st.sampled_from([None, UTC, ZoneInfo("Asia/Seoul")]))
    start = draw(
        st.none()
        | st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(zone))
    )
    left_out = draw(st.dictionaries(NAMES, st.integers(1, 99), max_size=3))
    if not size:
        left_out["why"] = 1
    return JobTrace(
        jobs, np.array(ids, dtype=np.str_), tuple(queues), (frozenset(), *models), left_out, start
    )


@settings(deadline=None, max_examples=100)
@given(traces())
def test_the_parquet_form_gives_back_every_trace(tmp_path_factory, trace):
    path = tmp_path_factory.mktemp("trace") / "t.parquet"
    assert write_trace(trace, path, Target.KFARM) == ()
    found = read(path, gpus_per_node=3).trace
    for name in Jobs._fields:
        assert np.array_equal(getattr(found.jobs, name), getattr(trace.jobs, name)), name
    assert found.ids.tolist() == trace.ids.tolist()
    assert (found.queues, found.models, found.left_out) == (
        trace.queues,
        trace.models,
        trace.left_out,
    )
    assert found.start == trace.start
    assert str(found.start) == str(trace.start)


@settings(deadline=None, max_examples=100)
@given(traces().filter(lambda trace: len(trace.ids)))
def test_csv_gives_back_all_but_what_it_says(tmp_path_factory, trace):
    jobs = trace.jobs._replace(limit_ns=np.maximum(trace.jobs.limit_ns, trace.jobs.run_ns))
    words = [" ".join(str(name).split()) for name in trace.ids]
    if len(set(words)) < len(words) or any(q != q.strip() or not q for q in trace.queues):
        return
    if any(name != name.strip() for names in trace.models for name in names):
        return
    path = tmp_path_factory.mktemp("trace") / "t.csv.gz"
    write_trace(trace_of(trace, jobs), path, Target.CSV)
    found = read(path, TraceFormat.CSV, gpus_per_node=3).trace
    for name in Jobs._fields[:-2]:
        assert np.array_equal(getattr(found.jobs, name), getattr(jobs, name)), name
    assert [found.queues[row] for row in found.jobs.queue] == [
        trace.queues[row] for row in jobs.queue
    ]
    assert [found.models[row] for row in found.jobs.models] == [
        trace.models[row] for row in jobs.models
    ]


def trace_of(trace, jobs):
    return JobTrace(jobs, trace.ids, trace.queues, trace.models, trace.left_out, trace.start)


@settings(deadline=None, max_examples=100)
@given(
    st.integers(0, 199),
    st.sampled_from(sorted({"submit", "run", "requested time", "job", "user", "think time"})),
    st.sampled_from(["x", "1e", "--1", "nan", "1.2.3", "é", "0x1"]),
)
def test_a_corrupted_cell_is_named_by_its_line_and_column(tmp_path_factory, row, column, cell):
    lines = [
        [str(n + 1), str(n), "-1", "60", "1", *["-1"] * 2, "1", "90", *["-1"] * 9]
        for n in range(200)
    ]
    lines[row][FIELDS.index(column)] = cell
    path = tmp_path_factory.mktemp("trace") / "t.swf"
    path.write_text("".join(" ".join(line) + "\n" for line in lines), encoding="utf-8")
    with pytest.raises(ManifestError) as raised:
        read(path, gpus_per_node=8)
    (problem,) = raised.value.problems
    assert (problem.line, problem.path) == (row + 1, column)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_parquet_file_that_is_cut_is_refused(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("trace")
    source = folder / "t.csv"
    source.write_text("id,submit_s,gpus,run_s\n" + "".join(f"{n},{n},1,5\n" for n in range(50)))
    write_trace(read(source, gpus_per_node=8).trace, folder / "t.parquet", Target.KFARM)
    raw = (folder / "t.parquet").read_bytes()
    cut = folder / "cut.parquet"
    cut.write_bytes(raw[: data.draw(st.integers(4, len(raw) - 1))])
    with pytest.raises(ManifestError):
        read(cut, gpus_per_node=8)
