"""What ``kfarm trace`` prints for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

BAR_CELLS = 20
MOST_ROWS = 20
"""Queues and model sets that a table shows; JSON and YAML have all."""
_SPARKS = " ▁▂▃▄▅▆▇█"
_EIGHTHS = " ▏▎▍▌▋▊▉"


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415 - rich loads slowly; JSON does not need it

    return Console(highlight=False)


def _say(console: Console, line: str, style: str = "") -> None:
    console.print(line, markup=False, highlight=False, style=style, soft_wrap=True)


def right_table(*headers: str) -> Any:
    """A table whose columns, but the first, stand to the right."""
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for at, header in enumerate(headers):
        table.add_column(Text(header), justify="left" if at == 0 else "right", overflow="fold")
    return table


def _row(table: Any, *cells: str) -> None:
    """A row of text as it is: names may hold what rich would take for markup."""
    from rich.text import Text  # noqa: PLC0415

    table.add_row(*(Text(cell) for cell in cells))


def bar(share: float | None) -> str:
    """A share from 0 to 1 as a bar of `BAR_CELLS` cells at most."""
    eighths = round((share or 0.0) * BAR_CELLS * 8)
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def spark(counts: Sequence[int]) -> str:
    """Counts as a row of small bars."""
    most = max(counts, default=0) or 1
    return "".join(_SPARKS[-(-count * (len(_SPARKS) - 1) // most)] for count in counts)


def print_info(data: Mapping[str, Any]) -> None:
    """The answer of ``kfarm trace info``."""
    console = _console()
    _say(console, f"{data['file']} ({data['format']}): {data['jobs']:,} jobs", "bold")
    _print_reading(console, data)
    _print_totals(console, data)
    console.print(_quantile_table(data))
    console.print(_size_table(data))
    _say(console, f"jobs by hour of the day  |{spark(data['arrivals']['jobsByHourOfDay'])}|")
    queues = sorted(data["queues"], key=lambda row: -row["gpuHours"])
    _print_names(console, "Queue", [(row["name"], row) for row in queues])
    models = sorted(data["models"], key=lambda row: -row["jobs"])
    if len(models) > 1:
        named = [(" or ".join(row["models"]) or "any", row) for row in models]
        _print_names(console, "Device models", named)


def print_converted(data: Mapping[str, Any]) -> None:
    """The answer of ``kfarm trace convert``."""
    console = _console()
    target = data["to"]
    _say(console, f"{data['jobs']:,} jobs written to {target['file']} ({target['format']})")
    _print_reading(console, data)
    _print_lost(console, data)


def print_generated(data: Mapping[str, Any]) -> None:
    """The answer of ``kfarm trace generate``."""
    console = _console()
    target = data["to"]
    _say(console, f"{data['jobs']:,} jobs written to {target['file']} ({target['format']})")
    _say(console, f"model: {data['model']}; seed {data['seed']}")
    if data["offeredLoad"] is not None:
        _say(console, f"offered load on {data['nodes']:,} nodes: {data['offeredLoad']:.3f}")
    if data["shapesLeftOut"]:
        share = data["shapesLeftOut"]
        _say(console, f"{share:.2%} of the jobs had a shape too rare to be kept", "yellow")
    _print_lost(console, data)
    if data["goodness"]:
        table = right_table("Figure", "Trace", "Generated", "Ratio")
        for row in data["goodness"]:
            ratio = f"{row['made'] / row['trace']:.2f}" if row["trace"] else ""
            unit = "" if row["unit"] == "1" else f" [{row['unit']}]"
            cells = (f"{row['trace']:,.4g}", f"{row['made']:,.4g}", ratio)
            _row(table, row["figure"] + unit, *cells)
        console.print(table)


def _print_reading(console: Console, data: Mapping[str, Any]) -> None:
    """What was left out, changed or not used: never silently."""
    for each in data["leftOut"]:
        line = each["exampleLine"]
        where = f" (first in line {line:,})" if line is not None else ""
        _say(console, f"left out: {each['records']:,} records: {each['reason']}{where}", "yellow")
    for note in data["notes"]:
        _say(console, f"note: {note}", "yellow")
    if data["unusedColumns"]:
        _say(console, f"columns not used: {', '.join(data['unusedColumns'])}", "dim")


def _print_lost(console: Console, data: Mapping[str, Any]) -> None:
    for each in data["lost"]:
        _say(console, f"{data['to']['format']} cannot hold: {each}", "yellow")


def _print_totals(console: Console, data: Mapping[str, Any]) -> None:
    if data["spanS"] is not None:
        begins = f" from {data['start']}" if data["start"] else ""
        _say(console, f"submitted over {data['spanS'] / 86_400:,.2f} days{begins}")
    share = data["gpuHoursShareOfWholeNodes"]
    whole = f", {share:.1%} in jobs of {data['gpusPerNode']} GPUs or more" if share else ""
    _say(console, f"{data['gpuHours']:,.0f} GPU-hours{whole}")
    if data["jobsSharingGpus"]:
        _say(console, f"{data['jobsSharingGpus']:,} of {data['jobsWithGpus']:,} jobs share a GPU")
    if data["offeredLoad"] is not None:
        _say(console, f"offered load on {data['nodes']:,} nodes: {data['offeredLoad']:.3f}")


def _quantile_table(data: Mapping[str, Any]) -> Any:
    names = ("mean", "min", "p10", "p50", "p90", "p99", "max")
    table = right_table("", *names)
    rows = (("run time [s]", "runS"), ("GPUs", "gpus"), ("limit over run", "limitOverRun"))
    for label, key in rows:
        if data[key] is not None:
            _row(table, label, *(_figure(data[key][name]) for name in names))
    return table


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.2f}"


def _size_table(data: Mapping[str, Any]) -> Any:
    table = right_table("GPUs", "Jobs", "Share", "GPU-hours", "Share", "Run p50 [s]", "")
    for row in data["sizes"]:
        median = f"{row['runP50S']:,.0f}"
        _row(table, row["gpus"], *_share_cells(row), median, bar(row["gpuHourShare"]))
    table.columns[-1].justify = "left"
    return table


def _share_cells(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    share = row["gpuHourShare"]
    shown = "" if share is None else f"{share:.1%}"
    return f"{row['jobs']:,}", f"{row['jobShare']:.1%}", f"{row['gpuHours']:,.0f}", shown


def _print_names(
    console: Console, header: str, rows: Sequence[tuple[str, Mapping[str, Any]]]
) -> None:
    """Rows with jobs and, where known, their share of the device-hours."""
    table = right_table(header, "Jobs", "GPU-hours")
    for name, row in rows[:MOST_ROWS]:
        share = row.get("gpuHourShare")
        _row(table, name, f"{row['jobs']:,}", "" if share is None else f"{share:.1%}")
    console.print(table)
    if len(rows) > MOST_ROWS:
        _say(console, f"and {len(rows) - MOST_ROWS:,} more: see -o json", "dim")
