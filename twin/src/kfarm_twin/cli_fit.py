"""The commands ``kfarm fit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kfarm_twin.cli_app import Format, app, problems_reported, refuse
from kfarm_twin.cli_output import Output
from kfarm_twin.fit import Unit

fit_app = typer.Typer(no_args_is_help=True, help="Parameters of the twin from what was measured.")
app.add_typer(fit_app, name="fit")


@fit_app.callback()
def fit_root() -> None:
    """Parameters of the twin from what was measured."""


@fit_app.command("failures")
def fit_failures(
    file: Annotated[
        Path, typer.Argument(help="Event log, JSON or CSV; may be gzip.", metavar="FILE")
    ],
    nodes: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, help="Nodes of the fleet; else those in the log."),
    ] = None,
    unit: Annotated[Unit | None, typer.Option(help="Of plain numbers; days when left out.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Use faults that start from here on (time of the log).")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Use the log as it was at this time.")] = None,
    futures: Annotated[
        int, typer.Option(min=0, max=10_000, help="Futures to hold the fit against; 0: none.")
    ] = 200,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Same seed, same answer.")] = 0,
    confidence: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    plot: Annotated[Path | None, typer.Option(help="Write a self-contained HTML page.")] = None,
    block: Annotated[
        Path | None, typer.Option(help="Write the reliability block for a manifest (YAML).")
    ] = None,
    output: Format = Output.TABLE,
) -> None:
    """Fit rates, frailty, bursts, unrest and repairs to an event log of faults."""
    if not 0.5 <= confidence <= 0.999:
        refuse(f"--confidence is {confidence}; expected a number from 0.5 to 0.999")
    if plot is not None and futures < 20:
        refuse("--plot needs --futures of at least 20")
    with problems_reported():
        from kfarm_twin.cli_fit_failures import Asked, run  # noqa: PLC0415

        run(Asked(file, nodes, unit, since, until, futures, seed, confidence, plot, block), output)
