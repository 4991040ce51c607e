"""What all commands of ``kfarm`` share: the application, options of many, how bad input is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from kfarm_twin.cli_output import ExitCode, Output
from kfarm_twin.traces.formats import TraceFormat

FILES_HELP = "Manifest file or directory, or - for standard input; may be repeated."

app = typer.Typer(
    name="kfarm",
    help="Digital twin of accelerator farms: validates placements before they are rolled out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Files = Annotated[list[Path], typer.Option("--filename", "-f", help=FILES_HELP)]
OptionalFiles = Annotated[list[Path] | None, typer.Option("--filename", "-f", help=FILES_HELP)]
Html = Annotated[
    Path | None,
    typer.Option("--html", "--report", help="Write a self-contained HTML page."),
]
Format = Annotated[Output, typer.Option("--output", "-o", help="How to print.")]

FormatOfTrace = Annotated[
    TraceFormat | None,
    typer.Option("--format", help="Form of the trace; told from its content when left out."),
]
GpusPerNode = Annotated[
    int, typer.Option("--gpus-per-node", min=1, max=1024, help="Devices of a node.")
]


def print_version(wanted: bool) -> None:
    """Print the version of the installed distribution and leave."""
    from importlib.metadata import version  # noqa: PLC0415 - only where it is asked for

    if wanted:
        typer.echo(f"kfarm {version('kfarm-twin')}")
        raise typer.Exit(ExitCode.APPROVED)


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Digital twin of accelerator farms."""


@contextmanager
def problems_reported() -> Iterator[None]:
    """Turn bad input into lines on standard error and exit code 2."""
    from kfarm_twin.load import ManifestError  # noqa: PLC0415 - --version needs no models

    try:
        yield
    except ManifestError as error:
        for problem in error.problems:
            typer.echo(f"error: {problem}", err=True)
        raise typer.Exit(ExitCode.BAD_INPUT) from None


MOST_SECONDS = 1_000_000


def refuse(message: str) -> NoReturn:
    """Say what is wrong with the command line itself and exit with code 2."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(ExitCode.BAD_INPUT)


def seconds(text: str | float) -> float:
    """Seconds, or a duration such as ``5m``, as seconds, whole where they are."""
    from kfarm_api.units import parse_duration_ns  # noqa: PLC0415 - --version needs no models

    words = str(text)
    try:
        found = parse_duration_ns(words if words[-1:].isalpha() else f"{words}s") / 1e9
    except ValueError:
        found = -1.0
    if not 0 <= found <= MOST_SECONDS:
        raise typer.BadParameter(f"{words!r}: give 0 to {MOST_SECONDS} seconds, or such as 5m")
    return int(found) if found == int(found) else found
