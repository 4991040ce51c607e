"""``kfarm spares`` and ``kfarm checkpoint``: from a run to an answer, printed and drawn."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfarm_twin.cli_fleetrun import (
    RunOptions,
    at_fault,
    build,
    refuse,
    reproduce,
    say,
    write_page,
)
from kfarm_twin.cli_output import Output, as_json, as_yaml
from kfarm_twin.cli_progress import LateProgress
from kfarm_twin.figures import NONE, brief_span
from kfarm_twin.fleetrun_text import number

if TYPE_CHECKING:
    from kfarm_twin.answers_result import CheckpointAnswer, SpareRow, Spares
    from kfarm_twin.spares import Target

MOST_SPARES = 1024


def ask_spares(
    options: RunOptions,
    ettr: float | None,
    wait: float | None,
    most: int | None,
    report: Path | None,
    output: Output,
) -> None:
    """Say how many spares.

    Raises
    ------
    ManifestError
        With what is wrong with files and options.
    """
    target = _target(ettr, wait, most)
    asked = build(options)
    with at_fault(asked), LateProgress(asked.request.name, "spares at most") as progress:
        from kfarm_twin.spares import answer_spares  # noqa: PLC0415 - numba

        found = answer_spares(asked.request, target, progress)
    if report is not None:
        from kfarm_twin.answers_page import render_spares  # noqa: PLC0415 - plotly loads slowly

        more = [] if ettr is None else ["--target-ettr", f"{ettr:g}"]
        more += [] if wait is None else ["--target-wait", f"{wait:g}"]
        more += [] if most is None else ["--max", str(most)]
        command = reproduce("spares", options, found.futures, found.seed, more)
        write_page(report, render_spares(found, command))
    _answer(found.as_data(), found, output)


def _target(ettr: float | None, wait: float | None, most: int | None) -> Target:
    from kfarm_twin.spares import Target  # noqa: PLC0415 - numba

    for name, share in (("--target-ettr", ettr), ("--target-wait", wait)):
        if share is not None and not 0.0 <= share <= 1.0:
            refuse(name, f"{share:g}", "a share from 0 to 1, such as 0.9")
    if most is not None and not 0 <= most <= MOST_SPARES:
        refuse("--max", str(most), f"a number of spares from 0 to {MOST_SPARES}")
    return Target(ettr, wait, most)


def ask_checkpoint(options: RunOptions, report: Path | None, output: Output) -> None:
    """Say which interval.

    Raises
    ------
    ManifestError
        With what is wrong with files and options.
    """
    asked = build(options)
    with at_fault(asked), LateProgress(asked.request.name, "intervals") as progress:
        from kfarm_twin.checkpoint_sweep import answer_checkpoint  # noqa: PLC0415 - numba

        found = answer_checkpoint(asked.request, progress)
    if report is not None:
        from kfarm_twin.answers_page import render_checkpoint  # noqa: PLC0415 - plotly is slow

        command = reproduce("checkpoint", options, found.futures, found.seed)
        write_page(report, render_checkpoint(found, command))
    _answer(found.as_data(), found, output)


def _answer(data: dict[str, Any], found: Spares | CheckpointAnswer, output: Output) -> None:
    if output is not Output.TABLE:
        text = as_json(data) if output is Output.JSON else as_yaml(data)
        sys.stdout.write(text + "\n")
        return
    from rich.console import Console  # noqa: PLC0415 - rich loads slowly

    from kfarm_twin.answers_result import Spares as SparesModel  # noqa: PLC0415

    console = Console()
    for line in found.headline:
        say(console, line)
    if isinstance(found, SparesModel):
        console.print(_spares_table(found))
    else:
        console.print(_intervals_table(found))
    for note in found.notes:
        say(console, f"note: {note}", "dim")
    say(
        console,
        f"{found.futures:,} futures of {found.horizon}, a gang of {found.gang_nodes:,} nodes, seed "
        f"{found.seed}\ninputs {found.inputs_digest}",
        "dim",
    )


def _spares_table(found: Spares) -> Any:
    from kfarm_twin.cli_trace_tables import right_table  # noqa: PLC0415

    table = right_table(
        "Spares", "ETTR", "5 %", "gain", "waits", "none left", "textbook", "p95", "max"
    )
    for row in found.rows:
        style = "bold" if row.spares == found.answer else ""
        table.add_row(*_spare_cells(row), style=style)
    return table


def _spare_cells(row: SpareRow) -> list[str]:
    gain, book = NONE if row.gain is None else f"{100 * row.gain:+.2f}", row.textbook
    counts = (row.nodes_down_p95, row.nodes_down_max)
    return [
        str(row.spares),
        f"{row.ettr:.4f}",
        f"{row.ettr_p05:.3f}",
        gain,
        *(_narrow(share) for share in (row.waiting, row.none_left, book.independent)),
        *(number(count) for count in counts),
    ]


def _narrow(share: float) -> str:
    return f"{100 * share:.{1 if share >= 0.1 else 2}f}%"


def _intervals_table(found: CheckpointAnswer) -> Any:
    from kfarm_twin.cli_trace_tables import right_table  # noqa: PLC0415

    table = right_table("Interval", "ETTR", "5 %", "formula", "loss [points]", "95 % interval")
    for row in found.rows:
        style = "bold" if row.interval_s == found.best_s else ""
        table.add_row(
            brief_span(row.interval_s),
            f"{row.ettr:.4f}",
            f"{row.ettr_p05:.4f}",
            f"{row.formula:.4f}",
            f"{100 * row.loss:.2f}",
            f"{100 * row.loss_low:.2f} … {100 * row.loss_high:.2f}",
            style=style,
        )
    return table
