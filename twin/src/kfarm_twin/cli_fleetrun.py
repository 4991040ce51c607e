"""``kfarm simulate -f``: from files to a request, and from a result to what is printed."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from kfarm_api.parse import InvalidObject, validate
from kfarm_api.twinrun import TwinRun, TwinRunSpec

from kfarm_twin.cli_inputs import Inputs, located, problem, read_inputs
from kfarm_twin.cli_output import Output, as_yaml
from kfarm_twin.cli_progress import LateProgress
from kfarm_twin.figures import NONE, figure
from kfarm_twin.fleetrun_request import FleetRequest, check, plays_failures
from kfarm_twin.fleetrun_result import FleetRun
from kfarm_twin.load import Document, ManifestError, Problem
from kfarm_twin.request import InputError

if TYPE_CHECKING:
    from rich.console import Console

COMMAND_LINE = Path("command line")
_FIRST_OF_GANG = ("ettr", "mtti", "time_to_recover_mean", "nodes_down_p95", "nodes_down_max")
_FIRST_ALONE = (
    "availability",
    "nodes_down_p95",
    "nodes_down_max",
    "node_failures",
    "outage_mean",
    "repair_wait_mean",
)
SHOWN = 8
"""Failure classes of which the table shows each."""


@dataclass(frozen=True)
class RunOptions:
    """The command line as it was given."""

    files: tuple[Path, ...]
    run: str | None = None
    futures: int | None = None
    seed: int | None = None
    horizon: str | None = None


@dataclass(frozen=True)
class Asked:
    """A request, and where it was read."""

    request: FleetRequest
    inputs: Inputs
    document: Document


def simulate_run(options: RunOptions, report: Path | None, output: Output) -> None:
    """Play the run, write the page, print.

    Raises
    ------
    ManifestError
        With what is wrong with files and options.
    """
    asked = build(options)
    with at_fault(asked), LateProgress(asked.request.name, "futures") as progress:
        from kfarm_twin.fleetrun import play  # noqa: PLC0415 - numba

        found = play(asked.request, progress)
    if report is not None:
        from kfarm_twin.fleetrun_page import render  # noqa: PLC0415 - plotly loads slowly

        write_page(report, render(found, reproduce("simulate", options, found.futures, found.seed)))
    if output is Output.JSON:
        sys.stdout.write(found.as_text())
    elif output is Output.YAML:
        sys.stdout.write(as_yaml(found.as_data()) + "\n")
    else:
        _print(found)


def build(options: RunOptions) -> Asked:
    """The one run of the files, with the command line's futures, seed and horizon.

    Raises
    ------
    ManifestError
        When there is none, or it does not fit together.
    """
    inputs = read_inputs(options.files)
    document = _select(inputs, options)
    run = document.object
    if not isinstance(run, TwinRun):
        raise AssertionError("a TwinRun was selected a moment ago")
    if not plays_failures(run.spec):
        found = "trace" if run.spec.workload and run.spec.workload.trace else "generator"
        expected = "a gang, or no workload; kfarm compare -f plays jobs under policies"
        raise ManifestError([problem(document, f"spec.workload.{found}", f"a {found}", expected)])
    request = FleetRequest(
        name=run.metadata.name,
        spec=_overridden(run.spec, options),
        farms=inputs.farms(),
        profiles=inputs.profiles(),
    )
    asked = Asked(request, inputs, document)
    with at_fault(asked):
        check(request)
    return asked


def _select(inputs: Inputs, options: RunOptions) -> Document:
    runs = [d for d in inputs.documents if isinstance(d.object, TwinRun)]
    chosen = [d for d in runs if options.run in (None, d.object.metadata.name)]
    names = ", ".join(d.object.metadata.name for d in runs) or "none"
    if len(runs) > 1 and len(chosen) != 1:
        refuse("--run", f"{len(chosen)} TwinRuns", f"the name of one of the files': {names}")
    if not chosen:
        found = "no TwinRun" if options.run is None else f"no TwinRun {options.run}"
        refuse("-f", found, f"a file with a TwinRun (there: {names}); see examples/whatif")
    return chosen[0]


def _overridden(spec: TwinRunSpec, options: RunOptions) -> TwinRunSpec:
    given = {"replicas": options.futures, "seed": options.seed, "horizon": options.horizon}
    changed = {name: value for name, value in given.items() if value is not None}
    if not changed:
        return spec
    try:
        return validate(TwinRunSpec, spec.as_manifest() | changed, strict=True)
    except InvalidObject as invalid:
        names = {"replicas": "--seeds", "seed": "--seed", "horizon": "--horizon"}
        problems = [
            Problem(COMMAND_LINE, 0, names.get(p.where, p.where), p.found, p.expected)
            for p in invalid.problems
        ]
        raise ManifestError(problems) from invalid


def refuse(path: str, found: str, expected: str) -> NoReturn:
    """Say what is wrong with the command line.

    Raises
    ------
    ManifestError
        Always.
    """
    raise ManifestError([Problem(COMMAND_LINE, 0, path, found, expected)])


@contextmanager
def at_fault(asked: Asked) -> Iterator[None]:
    """Turn what is wrong with a request into a problem of its file."""
    try:
        yield
    except InputError as error:
        raise ManifestError([located(asked.inputs, asked.document, error)]) from error


def write_page(path: Path, text: str) -> None:
    """Write a page and say where."""
    path.write_text(text, encoding="utf-8")
    sys.stderr.write(f"report: {path}\n")


def reproduce(
    command: str, options: RunOptions, futures: int, seed: int, more: Sequence[str] = ()
) -> str:
    """Command line that gives the same result."""
    words = ["kfarm", command, *(word for file in options.files for word in ("-f", str(file)))]
    words += ["--run", options.run] if options.run else []
    words += ["--horizon", options.horizon] if options.horizon else []
    return shlex.join([*words, "--seeds", str(futures), "--seed", str(seed), *more])


def say(console: Console, line: str, style: str = "") -> None:
    """A line as it is: names may hold what rich would take for markup."""
    console.print(line, markup=False, highlight=False, style=style, soft_wrap=True)


def _print(run: FleetRun) -> None:
    from rich.console import Console  # noqa: PLC0415 - rich loads slowly

    console = Console()
    for line in run.headline:
        say(console, line)
    first = _FIRST_ALONE if run.inputs.gang is None else _FIRST_OF_GANG
    console.print(_metrics_table(run, first, "What matters"))
    rest = [name for name in run.metrics if name not in first and run.metrics[name].applicable]
    console.print(_metrics_table(run, rest, "All else"))
    if any(count.events for count in run.failures):
        console.print(_classes_table(run))
    for note in run.notes:
        say(console, f"note: {note}", "dim")
    say(
        console,
        f"{run.futures:,} futures of {run.horizon} on {run.inputs.nodes:,} nodes, seed {run.seed}"
        f"\ninputs {run.inputs.digest}",
        "dim",
    )


def _metrics_table(run: FleetRun, names: Sequence[str], title: str) -> Any:
    from kfarm_twin.cli_trace_tables import right_table  # noqa: PLC0415

    table = right_table(title, "mean", "5 %", "50 %", "95 %")
    for name in names:
        found = run.metrics[name]
        values = (found.mean, found.p05, found.p50, found.p95)
        table.add_row(name, *(brief(value, found.unit) for value in values))
    return table


def brief(value: float | None, unit: str) -> str:
    """A value in three digits."""
    return figure(None if value is None else float(f"{value:.3g}"), unit)


def _classes_table(run: FleetRun) -> Any:
    from rich.text import Text  # noqa: PLC0415

    from kfarm_twin.cli_trace_tables import right_table  # noqa: PLC0415

    table = right_table("Failure class", "takes", "events", "/1000 node-days", "helped", "lost [h]")
    several = len({count.cluster for count in run.failures}) > 1
    for count in run.failures[:SHOWN]:
        name = f"{count.cluster}: {count.name}" if several else count.name
        lost = sum(run.lost_accelerator_hours.by_class.get(name, {}).values())
        helped = NONE if count.recovered_share is None else f"{100 * count.recovered_share:.0f} %"
        rate = brief(count.per_1000_node_days, "")
        cells = (brief(count.events, ""), rate, helped, brief(lost, ""))
        table.add_row(Text(name), count.takes, *cells)
    if len(run.failures) > SHOWN:
        table.add_row(f"... and {len(run.failures) - SHOWN} more")
    return table
