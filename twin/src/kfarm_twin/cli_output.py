"""What the command line prints: tables for people, JSON and YAML with stable keys, errors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any

from kfarm_api.plan import AssumptionResult

from kfarm_twin.figures import NONE, check_figures
from kfarm_twin.request import Verdict

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from kfarm_twin.load import Problem

SCHEMA = "kfarm.dev/validate/v1"
_STYLES = {
    "Approved": "bold green",
    "Passed": "green",
    "Rejected": "bold red",
    "Failed": "red",
    "Inconclusive": "bold yellow",
    "Undecided": "yellow",
    "BadInput": "bold red",
}


class ExitCode(IntEnum):
    """How the command ends; with several plans the worst counts."""

    APPROVED = 0
    NOT_APPROVED = 1
    BAD_INPUT = 2
    INTERNAL = 3


class Output(StrEnum):
    """Formats of ``-o``."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class SweepOutput(StrEnum):
    """Formats of ``-o`` of a sweep."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"


@dataclass(frozen=True)
class Outcome:
    """What became of one plan: a verdict, or problems with its input.

    Attributes
    ----------
    plan
        ``namespace/name``.
    """

    plan: str
    verdict: Verdict | None
    problems: tuple[Problem, ...] = ()

    @property
    def code(self) -> ExitCode:
        """Exit code of this plan alone."""
        if self.verdict is None:
            return ExitCode.BAD_INPUT
        approved = self.verdict.verdict == "Approved"
        return ExitCode.APPROVED if approved else ExitCode.NOT_APPROVED

    @property
    def word(self) -> str:
        """Verdict, or ``BadInput``."""
        return self.verdict.verdict if self.verdict else "BadInput"

    def as_data(self) -> dict[str, Any]:
        """Keys as in docs/cli.md; the same for every outcome."""
        namespace, _, name = self.plan.partition("/")
        verdict = self.verdict
        return {
            "namespace": namespace,
            "plan": name,
            **(
                verdict.model_dump(mode="json", by_alias=True)
                if verdict
                else {"verdict": "BadInput", "reason": "BadInput", "message": ""}
            ),
            "problems": [problem_data(problem) for problem in self.problems],
        }


def problem_data(problem: Problem) -> dict[str, Any]:
    """A problem as data."""
    return {
        "file": str(problem.file),
        "line": problem.line,
        "document": problem.document,
        "path": problem.path,
        "found": problem.found,
        "expected": problem.expected,
    }


def worst(outcomes: Sequence[Outcome]) -> ExitCode:
    """The exit code of all plans together."""
    return max((outcome.code for outcome in outcomes), default=ExitCode.BAD_INPUT)


def as_json(value: Any) -> str:
    """JSON for people and programs: indented, keys in their order, text in its own script."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)


def as_yaml(value: Any) -> str:
    """YAML with the same keys."""
    import yaml  # noqa: PLC0415 - only for this format

    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip("\n")


def results_data(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The whole answer of ``kfarm validate`` as data."""
    return {
        "schema": SCHEMA,
        "exitCode": int(worst(outcomes)),
        "results": [outcome.as_data() for outcome in outcomes],
    }


def print_outcomes(console: Console, outcomes: Sequence[Outcome], output: Output) -> None:
    """Print to standard output in the format asked for."""
    if output is Output.TABLE:
        print_tables(console, outcomes)
        return
    data = results_data(outcomes)
    text = as_json(data) if output is Output.JSON else as_yaml(data)
    console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)


def print_tables(console: Console, outcomes: Sequence[Outcome]) -> None:
    """One row for each plan, then what each of them failed or met."""
    table = _table("Plan", "Verdict", "Reason", "Pods", "Futures", "Seed")
    for outcome in outcomes:
        table.add_row(_text(outcome.plan), _word(outcome.word), *_columns(outcome.verdict))
    console.print(table)
    for outcome in outcomes:
        if outcome.verdict is not None:
            _print_verdict(console, outcome.plan, outcome.verdict)


def _columns(verdict: Verdict | None) -> tuple[str, ...]:
    if verdict is None:
        return ("", "", "", "")
    pods = sum(len(placement.slots) for placement in verdict.placements)
    return verdict.reason, str(pods), str(verdict.futures), str(verdict.seed)


def _print_verdict(console: Console, plan: str, verdict: Verdict) -> None:
    line = f"{plan}: {verdict.verdict}. {verdict.message}"
    _say(console, "\n" + line, _STYLES.get(verdict.verdict, ""))
    if verdict.checks:
        console.print(_checks_table(verdict))
        for check in verdict.checks:
            _say(console, f"  {check.message}", _STYLES.get(check.result, ""))
    if verdict.survives:
        console.print(_survives_table(verdict))
        for fault in verdict.survives:
            _say(console, f"  {fault.fault}: {fault.message}", _STYLES.get(fault.result, ""))
    if verdict.assumptions is not None:
        _print_assumptions(console, verdict.assumptions)
    for warning in verdict.warnings:
        _say(console, f"warning: {warning}", "yellow")
    where = f"{verdict.futures} futures of {verdict.horizon}, seed {verdict.seed}"
    if verdict.worst_future is not None:
        where += f", worst future {verdict.worst_future}"
    _say(console, f"\n{where}\ninputs {verdict.inputs_digest}", "dim")


def _say(console: Console, line: str, style: str) -> None:
    console.print(line, markup=False, highlight=False, style=style)


def _checks_table(verdict: Verdict) -> Table:
    table = _table("Check", "Bound", "Estimate", "Interval", "Met", "Result")
    for check in verdict.checks:
        estimate, interval = check_figures(check)
        table.add_row(
            _text(check.metric),
            _text(check.bound),
            _text(estimate),
            _text(interval),
            f"{check.futures_met}/{check.futures}",
            _word(check.result),
        )
    return table


def _survives_table(verdict: Verdict) -> Table:
    table = _table("Fault", "Survived", "Worst", "Result")
    for fault in verdict.survives:
        survived = f"{fault.survived} of {fault.instances}"
        table.add_row(_text(fault.fault), survived, _text(fault.worst or NONE), _word(fault.result))
    return table


def _print_assumptions(console: Console, found: AssumptionResult) -> None:
    """Share of draws that approve, and the inputs that decide most."""
    rows = [entry for entry in found.inputs if entry.sought or entry.flips]
    if rows:
        table = _table("Assumption", "Stated", "90 % range", "Flips at", "Confidence", "Hits")
        for entry in rows:
            table.add_row(
                _text(f"{entry.name} [{entry.unit}]"),
                entry.stated,
                f"{entry.low} … {entry.high}",
                entry.break_even or NONE,
                entry.confidence or "no source",
                _text(entry.check),
            )
        console.print(table)
    _say(console, f"  assumptions: {found.message}", "yellow" if found.unknowns else "")


def _table(*headers: str) -> Table:
    from rich import box  # noqa: PLC0415 - rich loads slowly; JSON does not need it
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold")
    return table


def _text(value: str) -> Any:
    """Text as it is: names may hold what rich would take for markup."""
    from rich.text import Text  # noqa: PLC0415

    return Text(value)


def _word(word: str) -> Any:
    from rich.text import Text  # noqa: PLC0415

    return Text(word, style=_STYLES.get(word, ""))
