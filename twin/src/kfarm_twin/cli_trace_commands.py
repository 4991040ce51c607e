"""The commands ``kfarm trace``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kfarm_twin.cli_app import Format, FormatOfTrace, GpusPerNode, app, problems_reported, refuse
from kfarm_twin.cli_output import Output
from kfarm_twin.traces.formats import Target

trace_app = typer.Typer(no_args_is_help=True, help="Traces of jobs: look, convert, generate.")
app.add_typer(trace_app, name="trace")
TraceFile = Annotated[Path, typer.Argument(help="Trace; may be gzip.", metavar="FILE")]
OutFile = Annotated[Path, typer.Argument(help="File to write.", metavar="OUT")]
TargetForm = Annotated[
    Target | None, typer.Option("--to", help="Form to write; told from the name when left out.")
]


@trace_app.command("info")
def trace_info(
    file: TraceFile,
    format: FormatOfTrace = None,
    gpus_per_node: GpusPerNode = 8,
    nodes: Annotated[
        int | None, typer.Option(min=1, help="State the load that this many nodes are offered.")
    ] = None,
    output: Format = Output.TABLE,
) -> None:
    """Say what is in a trace: jobs, sizes, run times, device-hours, and what was left out."""
    from kfarm_twin.cli_trace import trace_info as show  # noqa: PLC0415

    with problems_reported():
        show(file, format, gpus_per_node, nodes, output)


@trace_app.command("convert")
def trace_convert(
    file: TraceFile,
    out: OutFile,
    to: TargetForm = None,
    format: FormatOfTrace = None,
    gpus_per_node: GpusPerNode = 8,
    output: Format = Output.TABLE,
) -> None:
    """Write a trace in another form, and say what that form cannot hold."""
    from kfarm_twin.cli_trace import trace_convert as convert  # noqa: PLC0415

    with problems_reported():
        convert(file, out, format, to, gpus_per_node, output)


@trace_app.command("generate")
def trace_generate(
    out: OutFile,
    source: Annotated[
        Path | None, typer.Option("--from", help="Trace to fit a model to and to compare with.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model, as --save-model wrote it; else a built-in mix.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=20_000_000, help="How many jobs.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Same seed, same jobs.")] = 0,
    load: Annotated[
        float | None, typer.Option(help="Device-hours asked for over those of --nodes.")
    ] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Nodes that --load is about.")] = None,
    to: TargetForm = None,
    format: FormatOfTrace = None,
    gpus_per_node: GpusPerNode = 8,
    save_model: Annotated[Path | None, typer.Option(help="Write the model there as well.")] = None,
    output: Format = Output.TABLE,
) -> None:
    """Write jobs that look like those of a trace, or of a model."""
    from kfarm_twin.cli_trace import Wanted  # noqa: PLC0415
    from kfarm_twin.cli_trace import trace_generate as make  # noqa: PLC0415

    if source is not None and model is not None:
        refuse("--from and --model exclude each other")
    if (load is None) != (nodes is None):
        refuse("--load and --nodes go together")
    if load is not None and not 0 < load <= 1000:
        refuse(f"--load is {load}; expected a number above 0, such as 0.8")
    with problems_reported():
        wanted = Wanted(jobs, seed, load, nodes, gpus_per_node, save_model)
        make(out, source, format, model, to, wanted, output)
