"""The commands that ask the failure twin: ``simulate -f``, ``spares``, ``checkpoint``."""

from __future__ import annotations

from pathlib import Path

from kfarm_twin.cli_app import problems_reported
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
