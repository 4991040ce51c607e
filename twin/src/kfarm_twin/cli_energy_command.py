"""The command ``kfarm energy``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kfarm_twin.cli_app import Files, Format, Html, app, problems_reported, refuse
from kfarm_twin.cli_output import Output

KINDS = ("Air", "Liquid")


@app.command()
def energy(
    filename: Files,
    load: Annotated[
        float, typer.Option(min=0, max=100, help="Load of the accelerators [percent].")
    ] = 85.0,
    cpu_load: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="Load of the nodes' other parts; else the same."),
    ] = None,
    busy: Annotated[
        float, typer.Option(min=0, max=100, help="Nodes that work [percent]; the rest idles.")
    ] = 100.0,
    hours: Annotated[
        Path | None, typer.Option(help="CSV with the load of each hour instead of --load.")
    ] = None,
    epw: Annotated[
        Path | None, typer.Option(help="Weather (EPW) instead of that of the sites.")
    ] = None,
    tariff: Annotated[
        Path | None, typer.Option(help="Tariff (YAML) instead of those of the farms.")
    ] = None,
    carbon: Annotated[
        Path | None, typer.Option(help="gCO2/kWh of 8,760 hours, one number a line.")
    ] = None,
    compare: Annotated[
        list[Path] | None, typer.Option(help="Another manifest to compare with; may be repeated.")
    ] = None,
    cooling: Annotated[
        str | None, typer.Option(help="Cool all clusters so: Air, Liquid or both, by comma.")
    ] = None,
    warm_water: Annotated[
        bool, typer.Option("--warm-water", help="Coolant loops have warmer water of their own.")
    ] = False,
    hourly: Annotated[bool, typer.Option("--hourly", help="JSON and YAML: hour by hour.")] = False,
    html: Html = None,
    output: Format = Output.TABLE,
) -> None:
    """Play a typical year of farms: PUE, energy, cost, carbon, water, and clusters ranked."""
    kinds = tuple(dict.fromkeys(kind.strip() for kind in cooling.split(","))) if cooling else ()
    if wrong := [kind for kind in kinds if kind not in KINDS]:
        refuse(f"--cooling {', '.join(wrong)}; expected Air, Liquid or Air,Liquid")
    if hours is not None and cpu_load is not None:
        refuse("--hours and --cpu-load exclude each other: give a column cpuLoad")
    with problems_reported():
        from kfarm_twin import cli_energy  # noqa: PLC0415
        from kfarm_twin.cli_inputs import read_inputs  # noqa: PLC0415

        asked = cli_energy.Asked(
            load, cpu_load, busy, hours, epw, tariff, carbon, kinds, warm_water, hourly
        )
        inputs = read_inputs(filename)
        others = [read_inputs([path]) for path in compare or ()]
        if not inputs.farms():
            refuse("no GPUFarm or NPUFarm in the files given with -f")
        result = cli_energy.energy(inputs, others, asked)
        if html is not None:
            from kfarm_twin.energy_page import write_page  # noqa: PLC0415

            write_page(html, result, cli_energy.reproduce(filename, compare or (), asked))
            typer.echo(f"report: {html}", err=True)
    if output is not Output.TABLE:
        typer.echo(cli_energy.text(result, output, hourly))
        return
    from rich.console import Console  # noqa: PLC0415

    console = Console()
    for shown in cli_energy.tables(result):
        if isinstance(shown, str):
            console.print(shown, markup=False, highlight=False, style="yellow")
        else:
            console.print(shown)
