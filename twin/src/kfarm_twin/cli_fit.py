"""The commands ``kfarm fit`` and ``kfarm predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kfarm_twin.cli_app import Format, app, problems_reported, refuse
from kfarm_twin.cli_output import Output
from kfarm_twin.fit import Unit

fit_app = typer.Typer(no_args_is_help=True, help="Parameters of the twin from what was measured.")
app.add_typer(fit_app, name="fit")
predict_app = typer.Typer(
    no_args_is_help=True, help="What a fitted profile says of a measured run."
)
app.add_typer(predict_app, name="predict")

Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", help="A column's name as role=name; may be repeated.", metavar="ROLE=NAME"
    ),
]


@fit_app.callback()
def fit_root() -> None:
    """Parameters of the twin from what was measured."""


@predict_app.callback()
def predict_root() -> None:
    """What a fitted profile says of a measured run."""


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


Csv = Annotated[
    list[Path], typer.Option(help="Series of temperature and power; may be gzip; repeat for more.")
]


@fit_app.command("thermal")
def fit_thermal(
    csv: Csv,
    profile_out: Annotated[
        Path | None, typer.Option(help="Write the fitted AcceleratorProfile (YAML).")
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(help="AcceleratorProfile to start from; keeps what is not fitted."),
    ] = None,
    column: Columns = None,
    inlet: Annotated[
        float | None, typer.Option(min=-50, max=100, help="Inlet [degC] of files without one.")
    ] = None,
    full_speed: Annotated[
        float | None, typer.Option(min=1, max=100_000, help="Full fan speed in the files' unit.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a self-contained HTML page.")] = None,
    output: Format = Output.TABLE,
) -> None:
    """Fit resistances, times, fan and overhead laws to measured temperature and power."""
    with problems_reported():
        from kfarm_twin.cli_thermal import FitAsked, run_fit  # noqa: PLC0415

        asked = FitAsked(csv, profile_out, profile, column or [], inlet, full_speed, plot)
        run_fit(asked, output)


@predict_app.command("thermal")
def predict_thermal(
    csv: Csv,
    profile: Annotated[Path, typer.Option(help="AcceleratorProfile, as kfarm fit thermal writes.")],
    column: Columns = None,
    inlet: Annotated[
        float | None, typer.Option(min=-50, max=100, help="Inlet [degC] instead of the file's.")
    ] = None,
    fan_speed: Annotated[
        float | None,
        typer.Option(min=0, max=100_000, help="Fan speed [rpm] instead of the file's."),
    ] = None,
    start: Annotated[
        str, typer.Option(help="measured: at the first temperature; steady: at the first power.")
    ] = "measured",
    other_node: Annotated[
        bool, typer.Option("--other-node", help="Leave out the offsets of the measured node.")
    ] = False,
    series: Annotated[bool, typer.Option(help="Print the predicted series too.")] = True,
    output: Format = Output.TABLE,
) -> None:
    """Predict temperatures and node power from the power series of a file, and judge them."""
    if start not in ("measured", "steady"):
        refuse(f"--start is {start!r}; expected measured or steady")
    with problems_reported():
        from kfarm_twin.cli_thermal import PredictAsked, run_predict  # noqa: PLC0415

        run_predict(
            PredictAsked(
                csv, profile, column or [], inlet, fan_speed, start == "steady", other_node, series
            ),
            output,
        )
