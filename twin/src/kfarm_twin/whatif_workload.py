"""The jobs of each replica: recorded, resampled by blocks of time, or drawn from a model."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from kfarm_api.twinrun import TraceWorkload
from numpy.typing import NDArray

from kfarm_twin.arrays import Ints
from kfarm_twin.jobs import Jobs, JobTrace
from kfarm_twin.kernels.rng import uniform
from kfarm_twin.load import ManifestError
from kfarm_twin.request import InputError
from kfarm_twin.traces import TraceFormat, read_trace
from kfarm_twin.whatif_request import Source, WhatIfRequest
from kfarm_twin.whatif_result import Farmland

BLOCK_PURPOSE = 0x424C4F43
"""Purpose of a draw of a block; far from the small numbers of `kfarm_twin.arrays`."""
LEAST_BLOCKS = 4
"""A trace of fewer blocks is cut into `FEW_BLOCKS` instead: drawing of one or two is no sample."""
FEW_BLOCKS = 8
LATE = "arrives after the horizon"


def source_trace(request: WhatIfRequest, farm: Farmland) -> JobTrace:
    """The jobs of the request's file.

    Raises
    ------
    InputError
        When the file is wrong, with its line.
    """
    workload = request.spec.workload.trace
    if workload is None or request.source is None:
        raise InputError("spec.workload.trace", "no file", "the trace that the TwinRun names")
    try:
        trace = _read(request.source, workload, farm)
    except ManifestError as error:
        first = error.problems[0]
        more = f" ({len(error.problems)} problems in all)" if len(error.problems) > 1 else ""
        place = f", line {first.line}" if first.line is not None else ""
        field = f": {first.path}" if first.path else ""
        where = f"{request.source.name}{place}{field}"
        raise InputError(where, first.found, f"{first.expected}{more}") from error
    if not trace.jobs.submit_ns.size:
        raise InputError(request.source.name, "no job that can be played", "a trace with jobs")
    return trace


def _read(source: Source, workload: TraceWorkload, farm: Farmland) -> JobTrace:
    """Through a file of the trace's own name: readers know files."""
    per_node = workload.gpus_per_node or farm.accelerators_per_node
    with tempfile.TemporaryDirectory(prefix="kfarm-trace-") as folder:
        path = Path(folder) / (Path(source.name).name or "trace")
        path.write_bytes(source.raw)
        return read_trace(path, TraceFormat(workload.format.lower()), gpus_per_node=per_node)


def cut(trace: JobTrace, horizon_ns: int) -> JobTrace:
    """Leave out jobs that arrive after the horizon, and count them."""
    keep = trace.jobs.submit_ns < horizon_ns
    late = int(np.count_nonzero(~keep))
    if not late:
        return trace
    if late == keep.size:
        raise InputError("spec.horizon", "no job before it", "a horizon after the first arrival")
    left_out = {**trace.left_out, LATE: trace.left_out.get(LATE, 0) + late}
    return replace(_take(trace, np.flatnonzero(keep)), left_out=left_out)


def resample(trace: JobTrace, block_ns: int, seed: int, replica: int) -> JobTrace:
    """A trace made of blocks of this one, drawn with replacement (block bootstrap, Künsch 1989).

    The blocks tile the span of arrivals; a job keeps its place within its block, so that the
    course of a day stays. `replica` and the number of the block decide each draw.
    """
    submit = trace.jobs.submit_ns
    span = int(submit[-1]) + 1
    count = max(1, round(span / block_ns))
    if count < LEAST_BLOCKS:
        count = FEW_BLOCKS
    length = -(-span // count)
    edges = np.searchsorted(submit, np.arange(count + 1, dtype=np.int64) * length)
    drawn = [
        min(count - 1, int(uniform(seed, replica, place, BLOCK_PURPOSE, 0) * count))
        for place in range(count)
    ]
    rows = np.concatenate([np.arange(edges[block], edges[block + 1]) for block in drawn])
    shift = np.concatenate(
        [
            np.full(edges[block + 1] - edges[block], (place - block) * length, dtype=np.int64)
            for place, block in enumerate(drawn)
        ]
    )
    if not rows.size:
        return trace
    taken = _take(trace, rows)
    moved = taken.jobs._replace(submit_ns=_frozen(taken.jobs.submit_ns + shift))
    return replace(taken, jobs=moved)


def _take(trace: JobTrace, rows: NDArray[np.int64]) -> JobTrace:
    jobs = Jobs(*(_frozen(column[rows]) for column in trace.jobs))
    return replace(trace, jobs=jobs, ids=trace.ids[rows])


def _frozen(column: Ints) -> Ints:
    column = np.ascontiguousarray(column, dtype=np.int64)
    column.setflags(write=False)
    return column


def draw(request: WhatIfRequest, farm: Farmland, replica: int) -> JobTrace:
    """Jobs of the generator for one replica."""
    raise InputError(
        "spec.workload.generator", "a generator", "a trace: no generator is built in yet"
    )


__all__: Sequence[str] = ("cut", "draw", "resample", "source_trace")
