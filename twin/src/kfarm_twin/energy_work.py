"""Hourly work from a CSV file: the load of the accelerators hour by hour."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np

from kfarm_twin.calendar_year import HOURS_PER_YEAR
from kfarm_twin.energy_result import Work
from kfarm_twin.load import ManifestError, Problem

MAX_BYTES = 4 * 1024 * 1024
_COLUMNS = ("hour", "load", "cpuLoad")
_MOST_PROBLEMS = 10


def read_work(path: Path, busy: float = 1.0) -> Work:
    """Read columns `load` and, where given, `cpuLoad` [percent] and `hour` (of the year, from 0).

    Without `hour` the file begins on 1 January, 0 o'clock. At most 8,760 rows.

    Raises
    ------
    ManifestError
        With each line that cannot be used, up to ten.
    """
    text = _text(path)
    reader = csv.reader(io.StringIO(text))
    header = [cell.strip() for cell in next(reader, [])]
    known = [name for name in header if name in _COLUMNS]
    if "load" not in known or len(known) != len(set(known)):
        expected = "columns load and, if any, hour and cpuLoad, each once"
        raise ManifestError([Problem(path, 0, "", f"columns {', '.join(header)!r}", expected, 1)])
    problems: list[Problem] = []
    rows: list[dict[str, float]] = []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        try:
            rows.append(_row(header, cells, rows))
        except ValueError as error:
            found, _, expected = str(error).partition("; expected ")
            problems.append(Problem(path, 0, "", found, expected, reader.line_num))
        if len(problems) == _MOST_PROBLEMS:
            break
    if not rows and not problems:
        problems = [Problem(path, 0, "", "no rows", "a row for each hour", None)]
    if problems:
        raise ManifestError(problems)
    load = np.array([row["load"] for row in rows])
    other = np.array([row.get("cpuLoad", row["load"]) for row in rows])
    return Work(load, other, busy, int(rows[0].get("hour", 0)))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise ManifestError([Problem(path, 0, "", reason, "a readable CSV file")]) from None
    if len(raw) > MAX_BYTES or b"\0" in raw:
        found = "more than 4 MiB" if len(raw) > MAX_BYTES else "a zero byte"
        raise ManifestError([Problem(path, 0, "", found, "a CSV file of at most 8,760 hours")])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ManifestError([Problem(path, 0, "", "bytes that are no UTF-8", "UTF-8")]) from None


def _row(header: list[str], cells: list[str], before: list[dict[str, float]]) -> dict[str, float]:
    """Figures of one row; the message of an error is "found; expected what"."""
    if len(before) == HOURS_PER_YEAR:
        raise ValueError("a row beyond the 8,760th; expected one year at most")
    if len(cells) != len(header):
        raise ValueError(f"{len(cells)} fields; expected {len(header)}, as in the header")
    found: dict[str, float] = {}
    for name, cell in zip(header, cells, strict=True):
        if name not in _COLUMNS:
            continue
        most = HOURS_PER_YEAR - 1 if name == "hour" else 100
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        if not 0 <= value <= most or (name == "hour" and value != int(value)):
            raise ValueError(f"{name} {cell.strip()!r}; expected a number from 0 to {most}")
        found[name] = value
    if "hour" in found and before:
        wanted = (before[0]["hour"] + len(before)) % HOURS_PER_YEAR
        if found["hour"] != wanted:
            raise ValueError(f"hour {found['hour']:g}; expected hour {wanted:g}, without gaps")
    return found
