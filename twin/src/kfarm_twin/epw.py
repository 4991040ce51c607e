"""Weather files of EnergyPlus (EPW) as climates.

Format: EnergyPlus Auxiliary Programs, "EnergyPlus Weather File (EPW) Data Dictionary". Eight header
lines, the first LOCATION, the last DATA PERIODS; then one line an hour: year, month, day, hour 1 to
24, minute, flags, dry bulb [degC], dew point [degC], relative humidity [%], pressure [Pa], ...
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from kfarm_twin.arrays import Floats
from kfarm_twin.calendar_year import DAY_OF_MONTH, HOURS_PER_YEAR, MONTH_OF_DAY
from kfarm_twin.climate import Climate
from kfarm_twin.load import ManifestError, Problem
from kfarm_twin.psychrometry import saturation_pa, standard_pressure_pa, wet_bulb_c

MAX_BYTES = 16 * 1024 * 1024
HEADER_LINES = 8
_FIRST_DATA = HEADER_LINES + 1
_MOST_PROBLEMS = 10
_DRY, _DEW, _HUMIDITY, _PRESSURE = 6, 7, 8, 9
_BOUNDS = {
    _DRY: ("dry bulb", -70.0, 70.0, "degC"),
    _DEW: ("dew point", -90.0, 70.0, "degC"),
    _HUMIDITY: ("relative humidity", 0.0, 110.0, "percent"),
    _PRESSURE: ("pressure", 31_000.0, 120_000.0, "Pa"),
}
_MISSING = {_DRY: 99.9, _DEW: 99.9, _HUMIDITY: 999.0, _PRESSURE: 999_999.0}
DESIGN_HOURS = 9
"""The design hour is exceeded in so many hours of the file: 0.1 % of the year."""


def read_epw(path: Path) -> Climate:
    """Read a year of weather; 29 February is left out.

    Raises
    ------
    ManifestError
        With each line that cannot be used, up to ten.
    """
    lines = _lines(path)
    place, elevation = _location(path, lines[0])
    rows = _data(path, lines)
    pressure = np.where(np.isnan(rows[:, 3]), standard_pressure_pa(elevation), rows[:, 3])
    dry = rows[:, 0]
    vapour = np.minimum(_vapour(rows), saturation_pa(dry))
    wet = wet_bulb_c(dry, vapour, pressure)
    return Climate(
        name=path.stem,
        title=place,
        source=f"EPW file {path.name}",
        confidence="High",
        dry_c=dry,
        wet_c=wet,
        pressure_pa=float(pressure.mean()),
        design_dry_c=float(np.sort(dry)[-1 - DESIGN_HOURS]),
        design_wet_c=float(np.sort(wet)[-1 - DESIGN_HOURS]),
    )


def _refuse(path: Path, found: str, expected: str, line: int | None = None) -> ManifestError:
    return ManifestError([Problem(path, 0, "", found, expected, line)])


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise _refuse(path, reason, "a readable EPW file") from None
    if len(raw) > MAX_BYTES:
        raise _refuse(path, "more than 16 MiB", "an EPW file of one year")
    if not raw:
        raise _refuse(path, "an empty file", "an EPW file")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:  # names of places in older files
        text = raw.decode("latin-1")
    return text.splitlines()


def _location(path: Path, first: str) -> tuple[str, float]:
    """Place and elevation [m] of the first line."""
    cells = [cell.strip() for cell in first.split(",")]
    if cells[0].upper() != "LOCATION":
        raise _refuse(path, repr(first[:40]), "LOCATION,city,... as in an EPW file", 1)
    try:
        elevation = float(cells[9]) if len(cells) > 9 and cells[9] else 0.0
    except ValueError:
        elevation = math.nan
    if not -500.0 <= elevation <= 6000.0:
        raise _refuse(path, f"elevation {cells[9]!r}", "metres from -500 to 6000", 1)
    return ", ".join(cell for cell in cells[1:4] if cell) or path.stem, elevation


def _data(path: Path, lines: list[str]) -> Floats:
    """[8760, 4] dry bulb, dew point, relative humidity, pressure; NaN where left out."""
    if len(lines) < _FIRST_DATA or not lines[HEADER_LINES - 1].upper().startswith("DATA PERIODS"):
        expected = "the header line DATA PERIODS, then one line an hour"
        raise _refuse(path, "none", expected, min(len(lines), HEADER_LINES))
    problems: list[Problem] = []
    rows: list[list[float]] = []
    hour = 0
    for number, line in enumerate(lines[HEADER_LINES:], start=_FIRST_DATA):
        cells = line.split(",")
        if not line.strip() or [cell.strip() for cell in cells[1:3]] == ["2", "29"]:
            continue
        try:
            rows.append(_row(cells, hour))
        except ValueError as error:
            found, _, expected = str(error).partition("; expected ")
            problems.append(Problem(path, 0, "", found, expected, number))
            if len(problems) == _MOST_PROBLEMS or expected.startswith(("hour", "one year")):
                break
        hour += 1
    if not problems and len(rows) != HOURS_PER_YEAR:
        found = f"{len(rows):,} hours"
        problems = [Problem(path, 0, "", found, "8,760, from 1 January 1 to 24", len(lines))]
    if problems:
        raise ManifestError(problems)
    return np.array(rows)


def _row(cells: list[str], index: int) -> list[float]:
    """Figures of one hour; the message of an error is "found; expected what"."""
    if index >= HOURS_PER_YEAR:
        raise ValueError("hours beyond the 8,760th; expected one year")
    if len(cells) <= _PRESSURE:
        raise ValueError(f"{len(cells)} fields; expected at least {_PRESSURE + 1}")
    day, hour = divmod(index, 24)
    wanted = (int(MONTH_OF_DAY[day]) + 1, int(DAY_OF_MONTH[day]), hour + 1)
    try:
        stamp = tuple(int(cell) for cell in cells[1:4])
    except ValueError:
        raise ValueError(f"{','.join(cells[1:4])!r}; expected month, day and hour") from None
    if stamp != wanted:
        named = "month {} day {} hour {}"
        raise ValueError(f"{named.format(*stamp)}; expected hour {named.format(*wanted)}")
    values = [_value(cells[column], column) for column in _BOUNDS]
    if math.isnan(values[0]):
        raise ValueError("no dry bulb (99.9); expected a temperature in every hour")
    if math.isnan(values[1]) and math.isnan(values[2]):
        raise ValueError("neither dew point nor relative humidity; expected one of them")
    return values


def _value(cell: str, column: int) -> float:
    name, least, most, unit = _BOUNDS[column]
    try:
        value = float(cell)
    except ValueError:
        raise ValueError(f"{name} {cell.strip()!r}; expected a number in {unit}") from None
    if value == _MISSING[column]:
        return math.nan
    if not least <= value <= most:
        raise ValueError(f"{name} {cell.strip()}; expected {least:g} to {most:g} {unit}")
    return value


def _vapour(rows: Floats) -> Floats:
    """Vapour pressure [Pa] from relative humidity, else from the dew point."""
    by_humidity = saturation_pa(rows[:, 0]) * rows[:, 2] / 100.0
    return np.where(np.isnan(rows[:, 2]), saturation_pa(rows[:, 1]), by_humidity)
