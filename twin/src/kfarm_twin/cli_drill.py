"""``kfarm drill``: failure drills predicted, run and reported.

The twin runs no drill: ``kfarm drill run`` is a function of the entry point group `GROUP`, which
``kfarm-operator`` registers with ``run(arguments) -> exit code``.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from kfarm_twin.cli_app import Files, Format, Html, app, problems_reported, refuse
from kfarm_twin.cli_output import Output

GROUP = "kfarm.drill"
drill = typer.Typer(
    name="drill",
    help="Failure drills: predict what they do, run them, and set predicted beside observed.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(drill)


@drill.command()
def predict(
    filename: Files,
    name: Annotated[
        str | None, typer.Option("--drill", help="Only the drill of this name.")
    ] = None,
    snapshot: Annotated[
        Path | None, typer.Option(help="State to start from, as kfarm snapshot wrote it.")
    ] = None,
    html: Html = None,
    output: Format = Output.TABLE,
) -> None:
    """Say what a drill would do: which nodes it hits, when what happens, how hot it gets.

    Needs the drill, its farm, the profiles of the farm's accelerators, and the plans that the drill
    watches. Exit code 0, or 2 when the input is wrong.
    """
    from kfarm_twin.cli_inputs import read_inputs, read_snapshot  # noqa: PLC0415
    from kfarm_twin.cli_output import as_json, as_yaml  # noqa: PLC0415
    from kfarm_twin.drill import predict as play  # noqa: PLC0415
    from kfarm_twin.drill_inputs import drill_request, drills  # noqa: PLC0415
    from kfarm_twin.drill_text import SCHEMA, PredictedDrill, print_drill  # noqa: PLC0415

    with problems_reported():
        state = read_snapshot(snapshot) if snapshot else None
        inputs = read_inputs(filename)
        found = []
        for document, one in drills(inputs, name):
            request, notes = drill_request(inputs, document, one, state)
            found.append(PredictedDrill(one, tuple(request.targets), play(request), tuple(notes)))
        if html is not None:
            from kfarm_twin.drill_page import write_predicted  # noqa: PLC0415

            write_predicted(html, found)
            typer.echo(f"report: {html}", err=True)
    data = {"schema": SCHEMA, "drills": [one.as_data() for one in found]}
    if output is not Output.TABLE:
        typer.echo(as_json(data) if output is Output.JSON else as_yaml(data))
        return
    from rich.console import Console  # noqa: PLC0415

    for predicted in found:
        print_drill(Console(), predicted)


@drill.command()
def report(
    filename: Annotated[
        list[Path] | None,
        typer.Option("--filename", "-f", help="A drill with its status, or - for standard input."),
    ] = None,
    everything: Annotated[
        Path | None,
        typer.Option("--all", help="One page of all drills in the files of this folder."),
    ] = None,
    html: Html = None,
) -> None:
    """Write a page of drills that were run: what was predicted beside what was observed.

    Takes what kubectl get failuredrill NAME -o yaml prints. Without --html the figures are printed.
    Exit code 0 when all passed, 1 when one did not, 2 when the input is wrong.
    """
    from kfarm_twin.cli_inputs import read_inputs  # noqa: PLC0415
    from kfarm_twin.drill_report import finished, print_reports, verdict_code  # noqa: PLC0415

    files = list(filename or []) + ([everything] if everything else [])
    if not files:
        refuse("kfarm drill report needs drills: give files with -f, or a folder with --all")
    with problems_reported():
        found = finished(read_inputs(files), files)
        if html is not None:
            from kfarm_twin.drill_page import write_reports  # noqa: PLC0415

            write_reports(html, found)
            typer.echo(f"report: {html}", err=True)
        else:
            print_reports(found)
    raise typer.Exit(verdict_code(found))


@drill.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    }
)
def run(ctx: typer.Context) -> None:
    """Run a drill in a cluster, with what has to be done from outside; see kfarm drill run --help.

    Needs the package kfarm-operator.
    """
    found = list(entry_points(group=GROUP, name="run"))
    if not found:
        refuse(
            "running a drill needs the package kfarm-operator, which is not installed here: "
            "pip install kfarm-operator"
        )
    raise typer.Exit(int(found[0].load()(ctx.args)))
