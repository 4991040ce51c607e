"""The command line ``kfarm``. Needs no cluster; heavy modules load only where they are used."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from kfarm_twin import (  # noqa: F401 - they add commands
    cli_cooling,
    cli_drill,
    cli_energy_command,
    cli_fit,
    cli_scheduling,
    cli_sweep_command,
    cli_trace_commands,
)
from kfarm_twin.cli_app import (
    Files,
    Format,
    OptionalFiles,
    app,
    problems_reported,
    refuse,
)
from kfarm_twin.cli_output import ExitCode, Output
from kfarm_twin.given_kernels import link_given_kernels


@app.command()
def validate(
    filename: Files,
    plan: Annotated[
        str | None, typer.Option(help="Only this plan: name or namespace/name.")
    ] = None,
    snapshot: Annotated[
        Path | None, typer.Option(help="State to start from, as kfarm snapshot wrote it.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Overrides the policy's seed.")] = None,
    futures: Annotated[
        int | None, typer.Option(min=1, max=65_536, help="Overrides the most futures to play.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a self-contained HTML page; one for each plan.")
    ] = None,
    output: Format = Output.TABLE,
) -> None:
    """Play the futures of placement plans and say whether they hold.

    Exit code 0 when all plans are approved, 1 when one is rejected or inconclusive, 2 when the
    input is wrong.
    """
    from kfarm_twin.cli_inputs import Options, read_inputs, read_snapshot  # noqa: PLC0415
    from kfarm_twin.cli_validate import validate_plans  # noqa: PLC0415

    with problems_reported():
        state = read_snapshot(snapshot) if snapshot else None
        options = Options(state, seed, futures, snapshot)
        inputs = read_inputs(filename)
        code = validate_plans(inputs, plan, options, report, output)
    raise typer.Exit(code)


@app.command()
def snapshot(
    filename: OptionalFiles = None,
    kubeconfig: Annotated[Path | None, typer.Option(help="Export from this cluster.")] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
    plan: Annotated[
        str | None, typer.Option(help="With a cluster: see it as this plan would.")
    ] = None,
    write: Annotated[Path | None, typer.Option(help="File to write instead of printing.")] = None,
    output: Format = Output.YAML,
) -> None:
    """Write the state that a validation starts from.

    With --kubeconfig or --context, what the operator would see there; else that of the farms in the
    given files, all nodes ready and free.
    """
    from kfarm_twin.cli_inputs import read_inputs  # noqa: PLC0415
    from kfarm_twin.cli_output import as_json, as_yaml  # noqa: PLC0415
    from kfarm_twin.cli_snapshot import exported, manifest, synthetic  # noqa: PLC0415

    with problems_reported():
        if kubeconfig is not None or context is not None:
            state = exported(kubeconfig, context, plan)
        elif filename:
            state = synthetic(read_inputs(filename))
        else:
            refuse("kfarm snapshot needs farms: give files with -f, or a cluster with --kubeconfig")
    data = manifest(state)
    text = as_json(data) if output is Output.JSON else as_yaml(data)
    if write is not None:
        write.write_text(text + "\n", encoding="utf-8")
        typer.echo(f"{len(state.nodes)} nodes written to {write}", err=True)
    else:
        typer.echo(text)


@app.command()
def describe(filename: Files, output: Format = Output.TABLE) -> None:
    """Summarise farms: clusters, racks, devices, power, cooling load, expected failures."""
    from kfarm_twin.cli_describe import describe_farms, farm_tree  # noqa: PLC0415
    from kfarm_twin.cli_inputs import read_inputs  # noqa: PLC0415
    from kfarm_twin.cli_output import as_json, as_yaml  # noqa: PLC0415

    with problems_reported():
        facts = describe_farms(read_inputs(filename))
    if not facts:
        refuse("no GPUFarm or NPUFarm in the files given with -f")
    if output is Output.TABLE:
        from rich.console import Console  # noqa: PLC0415

        for farm in facts:
            Console().print(farm_tree(farm))
        return
    data = {"schema": "kfarm.dev/describe/v1", "farms": [farm.as_data() for farm in facts]}
    typer.echo(as_json(data) if output is Output.JSON else as_yaml(data))


@app.command()
def crds(
    output: Annotated[
        Path | None, typer.Option("--output", help="Directory to write one file per kind to.")
    ] = None,
) -> None:
    """Print the CRDs of kfarm.dev, or write them to a directory."""
    from kfarm_api.crd import documents  # noqa: PLC0415

    files = documents()
    if output is None:
        typer.echo("---\n".join(files.values()), nl=False)
        return
    output.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (output / name).write_text(text, encoding="utf-8")
        typer.echo(str(output / name))


@app.command()
def warm() -> None:
    """Compile the kernels into the cache, so that the next start is fast."""
    from kfarm_twin.kube.warm import warm as warm_kube  # noqa: PLC0415
    from kfarm_twin.warm import warm as warm_up  # noqa: PLC0415
    from kfarm_twin.warm import warm_replay  # noqa: PLC0415
    from kfarm_twin.whatif_play import warm as warm_whatifs  # noqa: PLC0415

    warm_up()
    warm_replay()
    warm_whatifs()
    warm_kube()
    typer.echo("kernels are compiled", err=True)


def main() -> None:
    """Run the command line; a fault of kfarm itself ends with code 3, never with 1."""
    link_given_kernels()
    try:
        app()
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            typer.echo(
                f"error: {error.filename}: {error.strerror}; name a file in a folder that exists "
                "and that you may write to",
                err=True,
            )
            sys.exit(ExitCode.BAD_INPUT)
        traceback.print_exc()
        typer.echo(
            "error: a fault in kfarm itself; please report it with the lines above", err=True
        )
        sys.exit(ExitCode.INTERNAL)


if __name__ == "__main__":
    main()
