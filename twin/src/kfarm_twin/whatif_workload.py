"""The jobs of each replica: recorded, resampled by blocks of time, or drawn from a model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from kfarm_api.twinrun import GeneratorWorkload
from numpy.typing import NDArray

from kfarm_twin.arrays import Ints
from kfarm_twin.jobs import JobLoads, Jobs, JobTrace
from kfarm_twin.kernels.rng import uniform
from kfarm_twin.load import ManifestError, load_model
from kfarm_twin.request import InputError
from kfarm_twin.traces import TraceFormat, read_trace
from kfarm_twin.traces.generate import generate
from kfarm_twin.traces.model import TraceModel, default_model
from kfarm_twin.whatif_request import Source, WhatIfRequest, jobs_workload
from kfarm_twin.whatif_result import Farmland

BLOCK_PURPOSE = 0x424C4F43
"""Purpose of a draw of a block; far from the small numbers of `kfarm_twin.arrays`."""
LEAST_BLOCKS = 4
"""A trace of fewer blocks is cut into `FEW_BLOCKS` instead: drawing of one or two is no sample."""
FEW_BLOCKS = 8
SEED_STEP = 0x9E3779B97F4A7C15
"""Sets the seeds of replicas far apart (2**64 over the golden ratio)."""
MIXES: dict[str, Callable[[int], TraceModel]] = {"farm-week": default_model}
"""Built-in models by name, for nodes of so many devices."""
LATE = "arrives after the horizon"


def source_trace(request: WhatIfRequest, farm: Farmland) -> JobTrace:
    """The jobs of the request's file.

    Raises
    ------
    InputError
        When the file is wrong, with its line.
    """
    workload = jobs_workload(request.spec).trace
    if workload is None or request.source is None:
        raise InputError("spec.workload.trace", "no file", "the trace that the TwinRun names")
    per_node = workload.gpus_per_node or farm.accelerators_per_node
    form = TraceFormat(workload.format.lower())
    try:
        with _on_disk(request.source) as path:
            trace = read_trace(path, form, gpus_per_node=per_node)
    except ManifestError as error:
        raise _located(request.source, error) from error
    if not trace.jobs.submit_ns.size:
        raise InputError(request.source.name, "no job that can be played", "a trace with jobs")
    return trace


@contextmanager
def _on_disk(source: Source) -> Iterator[Path]:
    """A file of the source's own name: readers know files."""
    with tempfile.TemporaryDirectory(prefix="kfarm-trace-") as folder:
        path = Path(folder) / (Path(source.name).name or "trace")
        path.write_bytes(source.raw)
        yield path


def _located(source: Source, error: ManifestError) -> InputError:
    """The first problem under the name that the reader knows; the path on disk means nothing."""
    first = error.problems[0]
    more = f" ({len(error.problems)} problems in all)" if len(error.problems) > 1 else ""
    place = f", line {first.line}" if first.line is not None else ""
    field = f": {first.path}" if first.path else ""
    return InputError(f"{source.name}{place}{field}", first.found, f"{first.expected}{more}")


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
    loads = trace.loads and JobLoads(*(_frozen(column[rows]) for column in trace.loads))
    return replace(trace, jobs=jobs, ids=trace.ids[rows], loads=loads)


def _frozen(column: Ints) -> Ints:
    column = np.ascontiguousarray(column, dtype=np.int64)
    column.setflags(write=False)
    return column


def draw(request: WhatIfRequest, farm: Farmland, replica: int) -> JobTrace:
    """Jobs of the generator for one replica.

    Raises
    ------
    InputError
        When the mix is unknown, the fitted model is wrong, or its jobs cannot come.
    """
    generator = jobs_workload(request.spec).generator
    if generator is None:
        raise InputError("spec.workload.generator", "none", "a generator")
    model = _model(request, generator, farm)
    load = None if generator.load is None else generator.load / 100
    seed = (request.spec.seed + replica * SEED_STEP) % (1 << 63)
    try:
        return generate(
            model, generator.jobs, seed, load=load, nodes=None if load is None else farm.nodes
        )
    except ValueError as error:
        raise InputError("spec.workload.generator", str(error), "jobs that fit in time") from error


def _model(request: WhatIfRequest, generator: GeneratorWorkload, farm: Farmland) -> TraceModel:
    if generator.mix is not None:
        make = MIXES.get(generator.mix)
        if make is None:
            known = ", ".join(sorted(MIXES))
            raise InputError("spec.workload.generator.mix", repr(generator.mix), f"one of {known}")
        return make(farm.accelerators_per_node)
    if request.source is None:
        raise InputError("spec.workload.generator.configMap", "no file", "a fitted model")
    try:
        with _on_disk(request.source) as path:
            model = load_model(path, TraceModel)
    except ManifestError as error:
        raise _located(request.source, error) from error
    if model.gpus_per_node != farm.accelerators_per_node:
        raise InputError(
            request.source.name,
            f"a model of nodes with {model.gpus_per_node} accelerators",
            f"one fitted for {farm.accelerators_per_node}: kfarm trace generate --gpus-per-node",
        )
    return model
