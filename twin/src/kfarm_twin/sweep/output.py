"""What ``kfarm sweep`` prints and writes: tables, JSON, YAML, CSV and Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kfarm_api.metrics import METRICS

from kfarm_twin.cli_output import SweepOutput, as_json, as_yaml
from kfarm_twin.figures import NONE, brief_span, digits, figure
from kfarm_twin.sweep.result import Cell, Outcome, SweepResult, check_names, number

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {
    "Approved": "bold green", "Compared": "green", "Rejected": "bold red",
    "Inconclusive": "bold yellow", "Failed": "red", "BadInput": "bold red",
}  # fmt: skip


def text_of(result: SweepResult, output: SweepOutput) -> str:
    """The result in one of the formats that programs read."""
    if output is SweepOutput.CSV:
        return csv_text(result.rows())
    data = result.as_data()
    return (as_yaml(data) if output is SweepOutput.YAML else as_json(data)) + "\n"


def csv_text(rows: Sequence[dict[str, Cell]]) -> str:
    """A header and a line for each row; an empty cell where there is no value."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(rows[0] if rows else [])
    for row in rows:
        writer.writerow("" if cell is None else _written(cell) for cell in row.values())
    return stream.getvalue()


def _written(cell: Cell) -> str:
    """As programs read it; text that a spreadsheet would take for a formula starts with a quote."""
    if isinstance(cell, bool):
        return str(cell).lower()
    text = str(cell)
    return f"'{text}" if isinstance(cell, str) and text[:1] in ("=", "+", "-", "@") else text


def parquet_bytes(rows: Sequence[dict[str, Cell]]) -> bytes:
    """The rows as a Parquet file; a column of mixed values is text."""
    import pyarrow as pa  # noqa: PLC0415 - loads slowly
    import pyarrow.parquet as pq  # noqa: PLC0415

    columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}
    table = pa.table({name: _column(cells) for name, cells in columns.items()})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue().to_pybytes())


def _column(cells: list[Cell]) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds == {bool}:
        return pa.array(cells, pa.bool_())
    if kinds == {int} and all(abs(c) < 1 << 63 for c in cells if isinstance(c, int)):
        return pa.array(cells, pa.int64())
    if kinds and kinds <= {int, float}:
        return pa.array([None if c is None else float(c) for c in cells], pa.float64())
    return pa.array([None if c is None else str(c) for c in cells], pa.string())


def print_table(console: Console, result: SweepResult) -> None:
    """A row for each point (and policy), then what stands out."""
    from rich import box  # noqa: PLC0415 - rich loads slowly; JSON does not need it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for axis in result.axes:
        table.add_column(Text(axis.label), overflow="fold")
    for header in _headers(result):
        table.add_column(Text(header), overflow="fold", no_wrap=header == "Verdict")
    for outcome in result.outcomes:
        values = [Text(str(value)) for value in outcome.point.values]
        for cells in _cells(result, outcome):
            word = Text(outcome.word, style=_STYLES[outcome.word])
            table.add_row(*values, word, *(Text(cell) for cell in cells))
    console.print(table)
    for outcome in result.outcomes:
        message = outcome.told or str((outcome.played.result or {}).get("message", ""))
        if outcome.word not in ("Approved", "Compared"):
            line = f"point {outcome.point.index}, {outcome.word}: {message}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(headline(result), markup=False, highlight=False)


def headline(result: SweepResult) -> str:
    """The sweep in a sentence."""
    words = [outcome.word for outcome in result.outcomes]
    counts = ", ".join(f"{words.count(word)} {word}" for word in _STYLES if word in words)
    return f"{result.name}: {len(words)} points; {counts}."


def _headers(result: SweepResult) -> list[str]:
    if result.question == "compare":
        return ["Verdict", "Policy", "Mean wait", "99 % wait", "Used", "Goodput"]
    return ["Verdict", *(name.removeprefix("check ") for name in check_columns(result))]


def check_columns(result: SweepResult) -> list[str]:
    """Names of the checks of all points, each once."""
    results = (outcome.played.result for outcome in result.outcomes)
    return list(dict.fromkeys(name for found in results if found for name in check_names(found)))


def _cells(result: SweepResult, outcome: Outcome) -> list[list[str]]:
    found = outcome.played.result
    if found is None:
        return [[]]
    if result.question == "compare":
        return [_policy_cells(found, policy) for policy in found["policies"]]
    checks = dict(zip(check_names(found), found["checks"], strict=True))
    return [[_check(checks.get(name)) for name in check_columns(result)]]


def _check(check: dict[str, Any] | None) -> str:
    if check is None:
        return NONE
    mark = {"Passed": "✓", "Failed": "✕"}.get(check["result"], "?")
    return f"{figure(number(check['estimate']), unit_of(check['metric']))} {mark}"


def unit_of(metric: str) -> str:
    """Unit of a metric; 1 where it is not known."""
    return METRICS[metric].unit if metric in METRICS else "1"


def _policy_cells(found: dict[str, Any], policy: dict[str, Any]) -> list[str]:
    metrics = policy["metrics"]
    mark = " ★" if found["best"] == policy["name"] and len(found["policies"]) > 1 else ""
    return [
        policy["name"] + mark,
        _span(metrics["waitMeanS"]["mean"]),
        _span(metrics["waitP99S"]["mean"]),
        _share(metrics["utilisation"]["mean"]),
        _share(metrics.get("goodput", {}).get("mean")),
    ]


def _span(value: float | None) -> str:
    return NONE if value is None else brief_span(value)


def _share(value: float | None) -> str:
    return NONE if value is None else f"{digits(round(100 * value, 2))} %"
