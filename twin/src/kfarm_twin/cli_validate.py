"""``kfarm validate``: each plan in turn, one verdict each."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from kfarm_api.plan import PlacementPlan

from kfarm_twin.cli_inputs import Inputs, Options, build_request, located, plan_name, select_plans
from kfarm_twin.cli_output import (
    ExitCode,
    Outcome,
    Output,
    print_outcomes,
    worst,
)
from kfarm_twin.cli_progress import LateProgress
from kfarm_twin.load import Document, ManifestError
from kfarm_twin.request import InputError, ValidationRequest, Verdict

if TYPE_CHECKING:
    from rich.console import Console


def validate_plans(
    inputs: Inputs, wanted: str | None, options: Options, report: Path | None, output: Output
) -> ExitCode:
    """Validate the plans asked for, print, write reports, and return the worst exit code.

    Raises
    ------
    ManifestError
        When there is no plan to validate.
    """
    plans = select_plans(inputs, wanted)
    outcomes: list[Outcome] = []
    for document, plan in plans:
        path = _report_path(report, plan, alone=len(plans) == 1) if report else None
        outcomes.append(_validate_plan(inputs, document, plan, options, path))
    errors = _console(stderr=True)
    for outcome in outcomes:
        for found in outcome.problems:
            errors.print(f"error: {found}", markup=False, highlight=False)
    print_outcomes(_console(stderr=False), outcomes, output)
    return worst(outcomes)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console  # noqa: PLC0415 - after the verdict, off the critical path

    return Console(stderr=stderr, soft_wrap=stderr)


def _validate_plan(
    inputs: Inputs, document: Document, plan: PlacementPlan, options: Options, report: Path | None
) -> Outcome:
    name = plan_name(plan)
    try:
        request = build_request(inputs, document, plan, options)
        return Outcome(name, _verdict(inputs, options, request, name, report))
    except ManifestError as error:
        return Outcome(name, None, tuple(error.problems))
    except InputError as error:
        return Outcome(name, None, (located(inputs, document, error),))


def _verdict(
    inputs: Inputs, options: Options, request: ValidationRequest, name: str, report: Path | None
) -> Verdict:
    from kfarm_twin.validate import validate, validate_detailed  # noqa: PLC0415 - numba

    if report is None:
        with LateProgress(name) as progress:
            return validate(request, progress)
    from kfarm_twin.report import write_report  # noqa: PLC0415 - plotly, pyarrow

    with LateProgress(name) as progress:
        verdict, detail = validate_detailed(request, progress)
    write_report(report, request, verdict, detail, reproduce(inputs, options, name, verdict.seed))
    _console(stderr=True).print(f"report: {report}", markup=False, highlight=False)
    return verdict


def reproduce(inputs: Inputs, options: Options, name: str, seed: int) -> str:
    """Command line that gives the same verdict again."""
    files = dict.fromkeys(str(document.file) for document in inputs.documents)
    words = ["kfarm", "validate", *(word for file in files for word in ("-f", file))]
    words += ["--plan", name, "--seed", str(seed)]
    if options.futures is not None:
        words += ["--futures", str(options.futures)]
    if options.snapshot_file is not None:
        words += ["--snapshot", str(options.snapshot_file)]
    return shlex.join(words)


def _report_path(report: Path, plan: PlacementPlan, *, alone: bool) -> Path:
    """The path asked for; with several plans each gets its name before the suffix."""
    if alone:
        return report
    namespace, _, name = plan_name(plan).partition("/")
    return report.with_name(f"{report.stem}.{namespace}.{name}{report.suffix or '.html'}")
