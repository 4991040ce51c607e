"""``kfarm sweep``: from the command line to a grid of requests, their results and a page."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import typer
from kfarm_api.twinrun import TwinRun
from kfarm_api.units import parse_duration_ns, parse_quantity

from kfarm_twin.cli_app import refuse
from kfarm_twin.cli_inputs import Inputs, Options, read_inputs, read_snapshot, select_plans
from kfarm_twin.cli_output import ExitCode, SweepOutput
from kfarm_twin.load import ManifestError
from kfarm_twin.sweep.grid import Axis, read_axes, trouble
from kfarm_twin.sweep.points import Ask, Grid, Point
from kfarm_twin.sweep.result import Question, SweepResult, outcomes_of
from kfarm_twin.sweep.run import Limits, Played, SweepStopped, play
from kfarm_twin.sweep.store import Store
from kfarm_twin.work.backend import Backend

INTERRUPTED = 130


@dataclass(frozen=True)
class SweepOptions:
    """The command line as it was given."""

    files: tuple[Path, ...]
    sets: tuple[str, ...]
    grid: Path | None
    plan: str | None
    run: str | None
    snapshot: Path | None
    trace: Path | None
    jobs: int | None
    scheduler: str | None
    deadline: str
    memory: str
    out: Path | None
    html: Path | None
    output: SweepOutput


@dataclass(frozen=True)
class _Asked:
    """The question of a sweep.

    Attributes
    ----------
    ask
        The request for manifests of a point.
    """

    question: Question
    name: str
    ask: Ask


def sweep_grid(options: SweepOptions) -> int:
    """Play the grid, print, write; returns the exit code.

    Raises
    ------
    ManifestError
        With everything that is wrong with files and options.
    """
    limits = _limits(options)
    _check_scheduler(options)
    inputs = read_inputs(options.files)
    axes = read_axes(options.sets, options.grid)
    asked = _asked(inputs, options)
    made = Grid(inputs, axes, asked.ask)
    points = list(made.points())
    store = Store(options.out) if options.out is not None else None
    about = {
        "question": asked.question,
        "name": asked.name,
        "parameters": [axis.as_data() for axis in made.axes],
        "points": len(points),
        "command": reproduce(options),
    }
    if store is None:
        played = _played(points, asked, limits, None, options, made.axes)
        return _finish(asked, made.axes, points, played, None, options)
    with store.opened(about):
        played = _played(points, asked, limits, store, options, made.axes)
        return _finish(asked, made.axes, points, played, store, options)


def _limits(options: SweepOptions) -> Limits:
    problems = []
    deadline, memory = 0.0, 0
    try:
        deadline = parse_duration_ns(options.deadline) / 1e9
    except ValueError:
        problems.append(trouble("--deadline", repr(options.deadline), "a duration such as 10m"))
    try:
        memory = int(parse_quantity(options.memory))
    except (ValueError, OverflowError):
        problems.append(trouble("--memory", repr(options.memory), "bytes such as 4G"))
    if not problems and not 0.0 < deadline <= 7 * 86400:
        problems.append(trouble("--deadline", options.deadline, "more than nothing, at most 168h"))
    if not problems and not 10**6 <= memory <= 16 * 10**12:
        problems.append(trouble("--memory", options.memory, "1M to 16T"))
    if problems:
        raise ManifestError(problems)
    return Limits(deadline, memory)


def _check_scheduler(options: SweepOptions) -> None:
    from kfarm_twin.work.dasklink import check_address  # noqa: PLC0415 - only where asked for

    if options.scheduler is None:
        return
    try:
        check_address(options.scheduler)
    except ValueError as error:
        refuse(f"--scheduler: {error}")


def _asked(inputs: Inputs, options: SweepOptions) -> _Asked:
    """A plan to validate, or a TwinRun to compare the policies of."""
    runs = [d for d in inputs.documents if isinstance(d.object, TwinRun)]
    compare = options.run is not None or bool(runs and not inputs.plans())
    if compare and options.plan is not None:
        refuse("--plan and --run: one question at a time")
    if not compare and runs and options.plan is None:
        refuse("both plans and TwinRuns in the files: choose with --plan NAME or --run NAME")
    if compare:
        if options.snapshot is not None:
            refuse("--snapshot belongs to a plan: a comparison starts from an empty farm")
        return _ask_compare(inputs, options)
    if options.trace is not None:
        refuse("--trace belongs to a TwinRun, and there is none")
    return _ask_validate(inputs, options)


def _ask_validate(inputs: Inputs, options: SweepOptions) -> _Asked:
    from kfarm_twin.cli_inputs import build_request, plan_name  # noqa: PLC0415

    plans = select_plans(inputs, options.plan)
    if len(plans) > 1:
        names = ", ".join(plan_name(plan) for _, plan in plans)
        refuse(f"{len(plans)} plans in the files: choose one with --plan ({names})")
    state = read_snapshot(options.snapshot) if options.snapshot else None
    chosen = plan_name(plans[0][1])

    def ask(varied: Inputs) -> Any:
        [(document, plan)] = select_plans(varied, chosen)
        return build_request(varied, document, plan, Options(snapshot=state))

    return _Asked("validate", chosen, ask)


def _ask_compare(inputs: Inputs, options: SweepOptions) -> _Asked:
    from kfarm_twin.cli_compare import CompareOptions, run_source, select_run  # noqa: PLC0415
    from kfarm_twin.request import InputError  # noqa: PLC0415
    from kfarm_twin.whatif_request import WhatIfRequest, jobs_workload, source_key  # noqa: PLC0415

    runs = [d.object for d in inputs.documents if isinstance(d.object, TwinRun)]
    if not runs:
        refuse(f"--run {options.run}: no TwinRun in the files given with -f")
    chosen = select_run(runs, options.run).metadata.name
    given = CompareOptions(files=options.files, trace=options.trace)
    sources: dict[Any, Any] = {}

    def ask(varied: Inputs) -> Any:
        [run] = [
            d.object for d in varied.documents
            if isinstance(d.object, TwinRun) and d.object.metadata.name == chosen
        ]  # fmt: skip
        try:
            jobs_workload(run.spec)
        except InputError as error:
            raise ManifestError([trouble(error.where, error.found, error.expected)]) from error
        key = source_key(run.spec)
        if key not in sources:  # a trace is read once, not at every point
            sources[key] = run_source(run, given)
        return WhatIfRequest(
            name=chosen, spec=run.spec, farms=varied.farms(), source=sources[key],
            profiles=varied.profiles(),
        )  # fmt: skip

    return _Asked("compare", chosen, ask)


def _played(
    points: list[Point],
    asked: _Asked,
    limits: Limits,
    store: Store | None,
    options: SweepOptions,
    axes: tuple[Axis, ...],
) -> list[Played]:
    """Play what is to be played; a stop says what is kept."""
    from kfarm_twin.cli_progress import LateProgress  # noqa: PLC0415

    seen = [0, len({point.digest for point in points if point.digest})]

    def about(point: Point) -> dict[str, Any]:
        values = dict(zip((axis.label for axis in axes), point.values, strict=True))
        return {"name": asked.name, "values": values, "request": point.digest}

    def count(done: int, total: int) -> None:
        seen[:] = [done, total]
        progress(done, total)

    kept = f"kept in {options.out}; the same command goes on" if store else "lost without --out"
    with LateProgress(f"sweep of {asked.name}", "points") as progress:
        try:
            return asyncio.run(_run(points, asked, limits, store, options, count, about))
        except SweepStopped as stopped:
            refuse(f"{stopped} ({stopped.done} of {stopped.total} points done, {kept})")
        except KeyboardInterrupt:
            typer.echo(f"stopped: {seen[0]} of {seen[1]} points done, {kept}", err=True)
            raise typer.Exit(INTERRUPTED) from None


async def _run(
    points: list[Point],
    asked: _Asked,
    limits: Limits,
    store: Store | None,
    options: SweepOptions,
    progress: Callable[[int, int], None],
    about: Callable[[Point], dict[str, Any]],
) -> list[Played]:
    backend = _backend(asked, options)
    try:
        return await play(backend, points, limits, store, progress, about)
    finally:
        await backend.close()


def _backend(asked: _Asked, options: SweepOptions) -> Backend:
    """The fork server of this machine, or a Dask scheduler where one is named."""
    from kfarm_twin.sweep.play import COMPARE, VALIDATE  # noqa: PLC0415
    from kfarm_twin.work.daskclient import DaskBackend  # noqa: PLC0415
    from kfarm_twin.work.forkclient import ServerCommand  # noqa: PLC0415
    from kfarm_twin.work.forked import ForkBackend  # noqa: PLC0415

    entry = VALIDATE if asked.question == "validate" else COMPARE
    if options.scheduler is not None:
        return DaskBackend(options.scheduler, entry, options.jobs)
    return ForkBackend(options.jobs, ServerCommand(entry=entry.entry, warm=entry.warm))


def _finish(
    asked: _Asked,
    axes: tuple[Axis, ...],
    points: list[Point],
    played: list[Played],
    store: Store | None,
    options: SweepOptions,
) -> int:
    """Write the files asked for, print, and return the exit code."""
    from rich.console import Console  # noqa: PLC0415

    from kfarm_twin.sweep.output import parquet_bytes, print_table, text_of  # noqa: PLC0415
    from kfarm_twin.sweep.page import render  # noqa: PLC0415
    from kfarm_twin.traces.write import replacing  # noqa: PLC0415

    result = SweepResult(
        asked.question, asked.name, version("kfarm-twin"), axes, outcomes_of(points, played)
    )
    page = render(result, reproduce(options)).encode() if store or options.html else b""
    if store is not None:
        rows = result.rows()
        store.write("results.json", text_of(result, SweepOutput.JSON).encode())
        store.write("results.csv", text_of(result, SweepOutput.CSV).encode())
        store.write("results.parquet", parquet_bytes(rows))
        store.write("index.html", page)
        typer.echo(f"results: {options.out}", err=True)
    if options.html is not None:
        with replacing(options.html) as stream:
            stream.write(page)
        typer.echo(f"report: {options.html}", err=True)
    for outcome in result.outcomes:
        if outcome.code is ExitCode.BAD_INPUT:
            typer.echo(f"error: point {outcome.point.index}: {outcome.told}", err=True)
    if options.output is SweepOutput.TABLE:
        print_table(Console(), result)
    else:
        typer.echo(text_of(result, options.output), nl=False)
    return int(result.code)


def reproduce(options: SweepOptions) -> str:
    """Command line that gives the same result, wherever it is played."""
    words = ["kfarm", "sweep"]
    words += [word for file in options.files for word in ("-f", str(file))]
    words += [word for text in options.sets for word in ("--set", text)]
    named: tuple[tuple[str, object], ...] = (
        ("grid", options.grid), ("plan", options.plan), ("run", options.run),
        ("snapshot", options.snapshot), ("trace", options.trace),
    )  # fmt: skip
    words += [word for name, value in named if value for word in (f"--{name}", str(value))]
    return shlex.join(words)
