"""Temperature and power of devices from CSV files of monitoring tools."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import numpy as np

from kfarm_twin.arrays import Floats
from kfarm_twin.fit.read import whole_text
from kfarm_twin.fit.thermal_columns import (
    OF_NODE,
    Layout,
    Role,
    Series,
    label,
    layout,
    plain,
    role_of,
    split_labels,
)
from kfarm_twin.fit.thermal_runs import Run, filled
from kfarm_twin.traces.lines import Findings, failure, shown

FEWEST = 8
"""Samples of a device without which nothing is fitted or judged."""
MOST_CELLS = 4_000_000
RANGES: Mapping[Role, tuple[float, float, str]] = {
    Role.TEMPERATURE: (-50.0, 200.0, "a temperature from -50 to 200 degC"),
    Role.MEMORY: (-50.0, 200.0, "a temperature from -50 to 200 degC"),
    Role.INLET: (-50.0, 100.0, "a temperature from -50 to 100 degC"),
    Role.POWER: (0.0, 100_000.0, "a power from 0 to 100,000 W"),
    Role.NODE_POWER: (0.0, 10_000_000.0, "a power from 0 to 10,000,000 W"),
    Role.FAN: (0.0, 100_000.0, "a fan speed from 0 to 100,000 rpm"),
}
_ABSENT = {"", "na", "n/a", "none", "null", "-", "[n/a]", "[not supported]"}


class _Clock:
    """Seconds from cells: plain numbers, epochs in s, ms, us or ns, or dates of ISO 8601."""

    def __init__(self) -> None:
        self.dated: bool | None = None

    def seconds(self, cell: str) -> float:
        try:
            number: float | None = float(cell)
        except ValueError:
            number = None
        if self.dated is not None and self.dated != (number is None):
            raise ValueError("all times as numbers, or all as dates of ISO 8601")
        self.dated = number is None
        if number is None:
            return _dated(cell)
        if not math.isfinite(number):
            raise ValueError("a finite time")
        for least, factor in ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3)):
            if abs(number) >= least:
                return number * factor
        return number


def _dated(cell: str) -> float:
    try:
        moment = datetime.fromisoformat(cell)
    except ValueError:
        raise ValueError("seconds or a date such as 2026-01-31T08:00:00Z") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@dataclass
class _Table:
    """Samples of a file as they are read: (node, device, role) -> time -> value."""

    cells: dict[tuple[str, str, Role], dict[float, float]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    count: int = 0

    def put(self, key: tuple[str, str, Role], time: float, value: float, many: bool) -> bool:
        """False for a second value of a device at one time; of several parts the hottest counts."""
        mine = self.cells.setdefault(key, {})
        held = mine.get(time)
        if held is not None and not many and key[2] not in OF_NODE:
            return False
        mine[time] = value if held is None or key[2] in OF_NODE else max(held, value)
        self.count += 1
        return True


def read_runs(
    path: Path, asked: Mapping[Role, str] | None = None, *, measured: bool = True
) -> list[Run]:
    """Read the nodes of one CSV file, plain or gzip.

    Parameters
    ----------
    asked
        Column names by role, where they are none of `thermal_columns.NAMES`.
    measured
        Whether temperatures must be there.

    Raises
    ------
    ManifestError
        Each problem with its line.
    """
    rows = _rows(path, whole_text(path))
    line, header = rows[0]
    try:
        found = layout(header, asked or {})
    except KeyError as error:
        expected = f"one of {', '.join(name.strip() for name in header)}"
        raise failure(path, str(error.args[0]), shown(expected, 400), line=line) from None
    _check_layout(path, found, header, line, measured)
    findings = Findings(path)
    table = _gather(rows[1:], found, len(header), findings)
    findings.check()
    if not table.cells:
        _nothing(path, found)
    return _runs(path, table, measured)


def _rows(path: Path, text: str) -> list[tuple[int, list[str]]]:
    """Line and cells of each row that is not blank."""
    lines = text.splitlines()
    first = next((one for one in lines if one.strip()), "")
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    rows = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((reader.line_num, row))
    except csv.Error as error:
        found = f"broken CSV ({error})"
        raise failure(path, found, "closed quotes", line=reader.line_num) from None
    if not rows:
        raise failure(path, "blank lines only", "a header that names the columns")
    if text and not text.endswith("\n") and len(rows) > 1 and len(rows[-1][1]) < len(rows[0][1]):
        raise failure(path, "a last line that ends too early", "a whole file", line=rows[-1][0])
    if len(rows) * max(1, len(rows[0][1])) > MOST_CELLS * 4:
        raise failure(path, f"{len(rows):,} rows", "a file that is cut into shorter ones")
    return rows


def _check_layout(
    path: Path, found: Layout, header: Sequence[str], line: int, measured: bool
) -> None:
    words = [plain(name) for name in header]
    doubled = {name.strip() for name, word in zip(header, words, strict=True)
               if word and words.count(word) > 1}  # fmt: skip
    if doubled:
        found_text = f"column {shown(min(doubled))} twice"
        raise failure(path, found_text, "every column once", line=line)
    missing = [] if Role.TIME in found.place else ["time"]
    if not found.is_long:
        has = {one.role for one in found.series}
        needed = [Role.TEMPERATURE, Role.POWER] if measured else [Role.POWER]
        missing += [str(role) for role in needed if role not in has]
    if missing:
        expected = (
            "names as of gpuburntool, dcgm-exporter, RBLN or FuriosaAI, or --column role=name"
        )
        raise failure(path, f"no column {', '.join(missing)}", expected, line=line)


def _gather(
    rows: Sequence[tuple[int, list[str]]], found: Layout, width: int, findings: Findings
) -> _Table:
    table, clock = _Table(), _Clock()
    for line, row in rows:
        if len(row) != width:
            findings.add(f"{len(row)} cells", f"{width} as in the header", line=line)
            continue
        try:
            time = clock.seconds(row[found.place[Role.TIME]].strip())
        except ValueError as error:
            cell = row[found.place[Role.TIME]].strip()
            findings.add(shown(cell), str(error), line=line, column="time")
            continue
        if found.is_long:
            _long_row(table, found, row, line, time, findings)
        else:
            _wide_row(table, found, row, line, time, findings)
    return table


def _cell(found: Layout, row: Sequence[str], role: Role) -> str:
    return row[found.place[role]].strip() if role in found.place else ""


def _wide_row(
    table: _Table, found: Layout, row: list[str], line: int, time: float, findings: Findings
) -> None:
    device, node = _cell(found, row, Role.DEVICE), _cell(found, row, Role.NODE)
    if Role.DEVICE in found.place and not device:
        findings.add("nothing", "the device", line=line, column="device")
        return
    name = _cell(found, row, Role.NAME)
    if name:
        table.names.setdefault(node, name)
    for one in found.series:
        _value(table, one, (one.node or node, one.device or device), row[one.column], line, time,
               findings, Role.PART in found.place)  # fmt: skip


def _long_row(
    table: _Table, found: Layout, row: list[str], line: int, time: float, findings: Findings
) -> None:
    name, labels = split_labels(_cell(found, row, Role.METRIC))
    _, more = split_labels("x" + _cell(found, row, Role.LABELS))
    labels |= more
    role = role_of(name)
    if role is None:
        return
    device = _cell(found, row, Role.DEVICE) or label(labels, Role.DEVICE)
    node = _cell(found, row, Role.NODE) or label(labels, Role.NODE)
    model = _cell(found, row, Role.NAME) or label(labels, Role.NAME)
    if model:
        table.names.setdefault(node, model)
    part = _cell(found, row, Role.PART) or label(labels, Role.PART)
    one = Series(found.place[Role.VALUE], role, device, node)
    _value(table, one, (node, device), row[one.column], line, time, findings, bool(part))


def _value(
    table: _Table, one: Series, where: tuple[str, str], text: str, line: int, time: float,
    findings: Findings, many: bool,
) -> None:  # fmt: skip
    cell = text.strip()
    if cell.lower() in _ABSENT:
        return
    least, most, expected = RANGES[one.role]
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        findings.add(shown(cell), expected, line=line, column=str(one.role))
        return
    node, device = where
    key = (node, "" if one.role in OF_NODE else device, one.role)
    if not table.put(key, time, value, many):
        found = f"a second {one.role} of device {shown(device)} at one time"
        findings.add(found, "one row for each device and time", line=line)


def _nothing(path: Path, found: Layout) -> NoReturn:
    seen = "no metric of temperature or power" if found.is_long else "a header and no values"
    raise failure(path, seen, "rows with temperature and power of devices")


def _runs(path: Path, table: _Table, measured: bool) -> list[Run]:
    nodes = sorted({key[0] for key in table.cells})
    runs = []
    for node in nodes:
        mine = {key[1:]: cells for key, cells in table.cells.items() if key[0] == node}
        devices = _devices(mine, measured)
        if devices:
            name = table.names.get(node, table.names.get("", ""))
            runs.append(_run(path, node, devices, mine, name))
    if not runs:
        needs = "temperature and power" if measured else "power"
        expected = f"at least {FEWEST} samples of {needs} of a device"
        raise failure(path, "no device with enough samples", expected)
    return runs


def _devices(cells: Mapping[tuple[str, Role], dict[float, float]], measured: bool) -> list[str]:
    needed = (Role.POWER, Role.TEMPERATURE) if measured else (Role.POWER,)
    names = {device for device, role in cells if role is Role.POWER}
    good = [d for d in names if all(len(cells.get((d, role), ())) >= FEWEST for role in needed)]
    return sorted(good, key=_natural)


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Order of names with numbers in them: 2 before 10."""
    parts: list[str] = []
    for char in name:
        if parts and parts[-1].isdigit() == char.isdigit():
            parts[-1] += char
        else:
            parts.append(char)
    return tuple((0, int(p), "") if p.isascii() and p.isdigit() else (1, 0, p) for p in parts)


def _run(
    path: Path, node: str, devices: list[str],
    cells: Mapping[tuple[str, Role], dict[float, float]], name: str,
) -> Run:  # fmt: skip
    times = sorted({time for d in devices for time in cells[d, Role.POWER]})
    place = {time: at for at, time in enumerate(times)}

    def series(device: str, role: Role) -> Floats:
        out = np.full(len(times), math.nan)
        for time, value in cells.get((device, role), {}).items():
            if time in place:
                out[place[time]] = value
        return out

    of_node = {role: series("", role) for role in OF_NODE}
    time_s = np.array(times, dtype=float)
    fan = _present(of_node[Role.FAN])
    return Run(
        file=path.name, node=node, devices=tuple(devices), time_s=time_s - time_s[0],
        power_w=filled(np.array([series(d, Role.POWER) for d in devices])),
        temperature_c=np.array([series(d, Role.TEMPERATURE) for d in devices]),
        inlet_c=_present(of_node[Role.INLET]), fan=fan,
        node_power_w=_present(of_node[Role.NODE_POWER]),
        fan_percent=fan is not None and float(fan.max()) <= 100.0, device_name=name,
    )  # fmt: skip


def _present(values: Floats) -> Floats | None:
    """None for what was not measured: absent, or zero as some tools write."""
    seen = np.where(values > 0.0, values, math.nan)
    return filled(seen) if np.isfinite(seen).mean() > 0.5 else None


def unequal(runs: Sequence[Run]) -> str | None:
    """What differs between runs that are to be of one kind of node."""
    one = runs[0]
    for other in runs[1:]:
        if len(one.devices) != len(other.devices):
            return f"{one.name} has {len(one.devices)} devices, {other.name} {len(other.devices)}"
    return None
