"""``kfarm trace``: what is in a trace, another form of it, and jobs that look like it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfarm_twin.cli_output import Output, as_json, as_yaml
from kfarm_twin.cli_progress import PATIENCE_S
from kfarm_twin.cli_trace_tables import print_converted, print_generated, print_info
from kfarm_twin.jobs import JobTrace
from kfarm_twin.load import load_model
from kfarm_twin.traces.fit import fit, goodness
from kfarm_twin.traces.formats import Reading, Target, TraceFormat
from kfarm_twin.traces.generate import generate
from kfarm_twin.traces.lines import failure
from kfarm_twin.traces.model import TraceModel, default_model
from kfarm_twin.traces.reader import read
from kfarm_twin.traces.summary import describe, left_out
from kfarm_twin.traces.write import replacing, target_of, write_trace

CONVERT_SCHEMA = "kfarm.dev/trace-convert/v1"
GENERATE_SCHEMA = "kfarm.dev/trace-generate/v1"


@contextmanager
def late_status(text: str) -> Iterator[None]:
    """A word on standard error while work takes longer than a second, where that is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # noqa: PLC0415 - only where it is shown

    status = Console(stderr=True).status(text)
    timer = threading.Timer(PATIENCE_S, status.start)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        status.stop()


def trace_info(
    file: Path, format: TraceFormat | None, gpus_per_node: int, nodes: int | None, output: Output
) -> None:
    """Print what is in a trace."""
    with late_status(f"reading {file.name}"):
        reading = read(file, format, gpus_per_node=gpus_per_node)
        facts = describe(reading, gpus_per_node, nodes)
    data = {"schema": facts.pop("schema"), "file": str(file), **facts}
    if output is Output.TABLE:
        print_info(data)
    else:
        _print_data(data, output)


def trace_convert(
    file: Path,
    out: Path,
    format: TraceFormat | None,
    target: Target | None,
    gpus_per_node: int,
    output: Output,
) -> None:
    """Write a trace in another form and say what was lost."""
    to = target or target_of(out)
    with late_status(f"converting {file.name}"):
        reading = read(file, format, gpus_per_node=gpus_per_node)
        origin = {"file": file.name, "format": str(reading.format), "gpusPerNode": gpus_per_node}
        lost = write_trace(reading.trace, out, to, {"source": origin})
    data = {
        "schema": CONVERT_SCHEMA,
        "from": {"file": str(file), "format": str(reading.format)},
        "to": {"file": str(out), "format": str(to)},
        "records": reading.records,
        "jobs": len(reading.trace.ids),
        "leftOut": left_out(reading),
        "unusedColumns": list(reading.unused),
        "notes": list(reading.notes),
        "lost": list(lost),
    }
    if output is not Output.TABLE:
        _print_data(data, output)
        return
    print_converted(data)


@dataclass(frozen=True)
class Wanted:
    """Options of ``kfarm trace generate``."""

    jobs: int
    seed: int
    load: float | None
    nodes: int | None
    gpus_per_node: int
    save_model: Path | None


def trace_generate(
    out: Path,
    source: Path | None,
    format: TraceFormat | None,
    model_file: Path | None,
    target: Target | None,
    wanted: Wanted,
    output: Output,
) -> None:
    """Write jobs drawn from a model and say how they agree with those of the trace."""
    to = target or target_of(out)
    with late_status("generating jobs"):
        model, trace = _model(source, format, model_file, wanted.gpus_per_node)
        try:
            made = generate(model, wanted.jobs, wanted.seed, load=wanted.load, nodes=wanted.nodes)
        except ValueError as error:
            raise failure(model_file or source or out, str(error), "jobs that fit") from None
        if wanted.save_model is not None:
            save_model(model, wanted.save_model)
        origin = {"generatedFrom": model.source, "seed": wanted.seed}
        lost = write_trace(made, out, to, {"source": origin})
        figures = goodness(trace, made) if trace is not None else None
        facts = describe(
            Reading(made, TraceFormat.KFARM, wanted.jobs), model.gpus_per_node, wanted.nodes
        )
    data = {
        "schema": GENERATE_SCHEMA,
        "to": {"file": str(out), "format": str(to)},
        "model": model.source,
        "gpusPerNode": model.gpus_per_node,
        "seed": wanted.seed,
        **{key: facts[key] for key in ("jobs", "spanS", "gpuHours", "nodes", "offeredLoad")},
        "shapesLeftOut": model.left_out_shapes,
        "goodness": figures,
        "lost": list(lost),
    }
    if output is Output.TABLE:
        print_generated(data)
    else:
        _print_data(data, output)


def _model(
    source: Path | None, format: TraceFormat | None, file: Path | None, gpus_per_node: int
) -> tuple[TraceModel, JobTrace | None]:
    if file is not None:
        return load_model(file, TraceModel), None
    if source is None:
        return default_model(gpus_per_node), None
    trace = read(source, format, gpus_per_node=gpus_per_node).trace
    try:
        return fit(trace, f"fitted to {source.name}", gpus_per_node=gpus_per_node), trace
    except ValueError as error:
        raise failure(source, f"{len(trace.ids)} jobs", str(error)) from None


def save_model(model: TraceModel, path: Path) -> None:
    """Write a model as JSON where the name says so, else as YAML."""
    data = model.model_dump(mode="json", by_alias=True)
    text = as_json(data) if path.suffix == ".json" else as_yaml(data)
    with replacing(path) as stream:
        stream.write(text.encode() + b"\n")


def _print_data(data: Mapping[str, Any], output: Output) -> None:
    text = as_json(data) if output is Output.JSON else as_yaml(data)
    sys.stdout.write(text + "\n")
