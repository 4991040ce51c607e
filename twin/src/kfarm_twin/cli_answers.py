"""The commands that ask the failure twin: ``simulate -f``, ``spares``, ``checkpoint``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kfarm_twin.cli_app import Files, Format, app, problems_reported
from kfarm_twin.cli_output import Output


def simulate_failures(
    filename: list[Path],
    run: str | None,
    seeds: int | None,
    seed: int | None,
    horizon: str | None,
    report: Path | None,
    output: Output,
) -> None:
    """Play a TwinRun with one gang or no workload."""
    from kfarm_twin.cli_fleetrun import RunOptions, simulate_run  # noqa: PLC0415

    options = RunOptions(tuple(filename), run, seeds, seed, horizon)
    with problems_reported():
        simulate_run(options, report, output)


OnlyRun = Annotated[str | None, typer.Option(help="Only this TwinRun of the files.")]
Futures = Annotated[int | None, typer.Option("--seeds", min=1, help="Futures to play.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of all chance.")]
Horizon = Annotated[str | None, typer.Option(help="Time to play in each future, such as 720h.")]
Report = Annotated[Path | None, typer.Option(help="Write a self-contained HTML page.")]


@app.command()
def spares(
    filename: Files,
    run: OnlyRun = None,
    target_ettr: Annotated[
        float | None, typer.Option(help="ETTR that 95 % of futures shall reach, such as 0.9.")
    ] = None,
    target_wait: Annotated[
        float | None, typer.Option(help="Share of its time that the gang may wait for a node.")
    ] = None,
    most: Annotated[int | None, typer.Option("--max", help="Spares to try, at most.")] = None,
    seeds: Futures = None,
    seed: Seed = None,
    horizon: Horizon = None,
    report: Report = None,
    output: Format = Output.TABLE,
) -> None:
    """Say how many spare nodes a gang needs.

    Plays the gang of a TwinRun with 0, 1, 2, ... spares on the same chance until the target is
    met, or without a target until one more gains less than 0.1 points of ETTR.
    """
    from kfarm_twin.cli_fleetrun import RunOptions  # noqa: PLC0415
    from kfarm_twin.cli_questions import ask_spares  # noqa: PLC0415

    options = RunOptions(tuple(filename), run, seeds, seed, horizon)
    with problems_reported():
        ask_spares(options, target_ettr, target_wait, most, report, output)


@app.command()
def checkpoint(
    filename: Files,
    run: OnlyRun = None,
    seeds: Futures = None,
    seed: Seed = None,
    horizon: Horizon = None,
    report: Report = None,
    output: Format = Output.TABLE,
) -> None:
    """Say how often a gang should save.

    Plays the gang of a TwinRun at intervals about the optimum on the same chance, and shows the
    intervals of Young and Daly beside.
    """
    from kfarm_twin.cli_fleetrun import RunOptions  # noqa: PLC0415
    from kfarm_twin.cli_questions import ask_checkpoint  # noqa: PLC0415

    options = RunOptions(tuple(filename), run, seeds, seed, horizon)
    with problems_reported():
        ask_checkpoint(options, report, output)
