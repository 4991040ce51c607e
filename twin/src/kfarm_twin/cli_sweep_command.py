"""The command ``kfarm sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kfarm_twin.cli_app import Files, app, problems_reported
from kfarm_twin.cli_output import SweepOutput

MOST_JOBS = 4096


@app.command()
def sweep(
    filename: Files,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--set", help="KIND/NAME:PATH=VALUES; may be repeated. 1..5 is a range."),
    ] = None,
    grid: Annotated[Path | None, typer.Option(help="File with parameters.")] = None,
    plan: Annotated[
        str | None, typer.Option(help="Validate this plan: name or namespace/name.")
    ] = None,
    run: Annotated[str | None, typer.Option(help="Compare the policies of this TwinRun.")] = None,
    snapshot: Annotated[
        Path | None, typer.Option(help="State to start from, as kfarm snapshot wrote it.")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Content of the ConfigMap that the TwinRun names.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_JOBS, help="Points at a time; one per core when left out."),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Play on this Dask scheduler: tcp://host:port.")
    ] = None,
    deadline: Annotated[str, typer.Option(help="Longest that a point may take.")] = "30m",
    memory: Annotated[str, typer.Option(help="Most memory that a point may take [B].")] = "4G",
    out: Annotated[
        Path | None, typer.Option(help="Folder for results; a sweep that was stopped goes on.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", "--report", help="Write a self-contained HTML page.")
    ] = None,
    output: Annotated[
        SweepOutput, typer.Option("--output", "-o", help="How to print.")
    ] = SweepOutput.TABLE,
) -> None:
    """Ask the same question at every point of a grid of inputs.

    With a plan each point is a validation, with a TwinRun a comparison of policies. Exit code 0
    when all points are approved or compared, 1 when one is not, 2 when the input is wrong, the
    scheduler is out of reach or a point has inputs that do not fit together.
    """
    from kfarm_twin.cli_sweep import SweepOptions, sweep_grid  # noqa: PLC0415 - models

    options = SweepOptions(
        tuple(filename), tuple(parameter or ()), grid, plan, run, snapshot, trace, jobs, scheduler,
        deadline, memory, out, html, output,
    )  # fmt: skip
    with problems_reported():
        code = sweep_grid(options)
    raise typer.Exit(code)
