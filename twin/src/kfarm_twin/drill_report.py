"""Drills that were run, read back from their status: what was predicted beside what came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfarm_api.drill import FailureDrill
from kfarm_api.drill_status import DrillMetric, FailureDrillStatus, JournalEntry
from kfarm_api.parse import InvalidObject, as_stored, path_text, validate

from kfarm_twin.cli_inputs import Inputs
from kfarm_twin.cli_output import ExitCode
from kfarm_twin.drill_text import interval, metric_name, told
from kfarm_twin.figures import NONE
from kfarm_twin.load import Document, ManifestError, Problem

if TYPE_CHECKING:
    from rich.console import Console

ANNOTATION_RUNBOOK = "kfarm.dev/runbook"
"""On a drill: what it is for and what to do, in words."""
OPEN = ("Planned", "Applied")
"""States of a journal entry that is not taken back."""


@dataclass(frozen=True)
class FinishedDrill:
    """A drill with its status."""

    drill: FailureDrill
    status: FailureDrillStatus

    @property
    def name(self) -> str:
        """``namespace/name``."""
        metadata = self.drill.metadata
        return f"{metadata.namespace or 'default'}/{metadata.name}"

    @property
    def verdict(self) -> str:
        """The verdict, else the phase."""
        return self.status.verdict or self.status.phase or "Pending"

    @property
    def runbook(self) -> str:
        """What people wrote of it."""
        return (self.drill.metadata.annotations or {}).get(ANNOTATION_RUNBOOK, "").strip()

    @property
    def residue(self) -> list[JournalEntry]:
        """What the drill touched and has not taken back."""
        return [entry for entry in self.status.journal if entry.state in OPEN]

    @property
    def compared(self) -> list[DrillMetric]:
        """Metrics that were both predicted and observed."""
        return [one for one in self.status.metrics if one.within is not None]

    @property
    def within(self) -> int:
        """How many of them came within the predicted interval."""
        return sum(bool(one.within) for one in self.compared)

    def headline(self) -> str:
        """What came of it, in a sentence."""
        parts = [f"{self.name}: {self.verdict.lower()}"]
        recover = next((m for m in self.status.metrics if m.name == "seconds_to_recover"), None)
        if recover is not None and recover.observed is not None:
            parts.append(f"all pods ran again after {told(recover.observed, recover.unit)}")
            if recover.median is not None:
                parts.append(f"the twin had said {told(recover.median, recover.unit)}")
        return ", ".join(parts) + "."

    def seconds(self, moment: str | None) -> float | None:
        """Seconds after the start of the drill; None where either time is not known."""
        start, at = _time(self.status.started_at), _time(moment)
        return None if start is None or at is None else (at - start).total_seconds()


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def finished(inputs: Inputs, files: Sequence[Path]) -> list[FinishedDrill]:
    """Drills with a status, in the order of the files.

    Raises
    ------
    ManifestError
        When there is none.
    """
    there = [(d, d.object) for d in inputs.documents if isinstance(d.object, FailureDrill)]
    found = [
        FinishedDrill(drill, status)
        for document, drill in there
        for status in (_status(document),)
        if status is not None
    ]
    if found:
        return found
    told_drills = f"{len(there)} drills without a status" if there else "no FailureDrill"
    expected = "a drill that was run, as kubectl get failuredrill NAME -o yaml prints it"
    raise ManifestError([Problem(files[0], 0, "kind", told_drills, expected)])


def _status(document: Document) -> FailureDrillStatus | None:
    """What the operator wrote; manifests are read without it.

    Raises
    ------
    ManifestError
        When it is no status of a drill.
    """
    body: Any = document.text.value if document.text is not None else {}
    for step in document.prefix:
        body = body[step]
    status = body.get("status")
    if not status:
        return None
    try:
        return validate(FailureDrillStatus, as_stored(status), strict=False)
    except InvalidObject as invalid:
        raise ManifestError(
            [
                Problem(document.file, document.index, f"status.{path_text(one.path)}", one.found,
                        one.expected)
                for one in invalid.problems
            ]
        ) from invalid  # fmt: skip


def verdict_code(found: Sequence[FinishedDrill]) -> ExitCode:
    """0 when all passed or were dry runs, else 1."""
    bad = any(one.status.verdict in ("Failed", "Aborted") for one in found)
    return ExitCode.NOT_APPROVED if bad else ExitCode.APPROVED


def error_told(metric: DrillMetric) -> str:
    """Observed less predicted, in percent, with its sign."""
    if metric.error is None:
        return NONE
    try:
        return f"{float(metric.error.removesuffix('%')):+.1f} %"
    except ValueError:
        return metric.error


def print_reports(found: Sequence[FinishedDrill]) -> None:
    """A table of each drill on the terminal."""
    from rich.console import Console  # noqa: PLC0415

    console = Console()
    for one in found:
        _print(console, one)


def _print(console: Console, one: FinishedDrill) -> None:
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console.print(f"[bold]{escape(one.headline())}[/bold]")
    if one.status.message:
        console.print(escape(one.status.message))
    table = Table(box=None, pad_edge=False)
    table.add_column("Metric", no_wrap=True)
    for head in ("Observed", "Predicted", "90 % interval", "Error"):
        table.add_column(head, justify="right")
    table.add_column("Within")
    for metric in one.status.metrics:
        within = {True: "yes", False: "no", None: NONE}[metric.within]
        table.add_row(
            metric_name(metric.name),
            told(metric.observed, metric.unit),
            told(metric.median, metric.unit),
            interval(metric),
            error_told(metric),
            within,
        )
    console.print(table)
    for result in one.status.expectations:
        console.print(f"{result.result}: {escape(result.name)}: {escape(result.message)}")
    left = len(one.residue)
    console.print(f"residue: {left}" + (f" ({one.residue[0].id}, ...)" if left else ""))
    console.print()
