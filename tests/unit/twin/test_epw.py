"""EPW files: a year comes out as it went in, and a bad line is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kfarm_twin.calendar_year import DAY_OF_MONTH, MONTH_OF_DAY
from kfarm_twin.climate import climate_named
from kfarm_twin.epw import read_epw
from kfarm_twin.load import ManifestError
from kfarm_twin.psychrometry import PSYCHROMETER, saturation_pa

HEADER = [
    "LOCATION,서울 Seoul,-,KOR,made up,471080,37.57,126.97,9.0,86.0",
    "DESIGN CONDITIONS,0",
    "TYPICAL/EXTREME PERIODS,0",
    "GROUND TEMPERATURES,0",
    "HOLIDAYS/DAYLIGHT SAVINGS,No,0,0,0",
    "COMMENTS 1,made up",
    "COMMENTS 2,",
    "DATA PERIODS,1,1,Data,Sunday,1/1,12/31",
]


def lines() -> list[str]:
    """An EPW file of Seoul's typical year, with fields beyond those that are read."""
    year = climate_named("seoul")
    vapour = saturation_pa(year.wet_c) - PSYCHROMETER * (1 + 0.000944 * year.wet_c) * (
        year.pressure_pa * (year.dry_c - year.wet_c)
    )
    humidity = 100.0 * vapour / saturation_pa(year.dry_c)
    rows = []
    for index in range(8760):
        day, hour = divmod(index, 24)
        stamp = f"2020,{MONTH_OF_DAY[day] + 1},{DAY_OF_MONTH[day]},{hour + 1},60,flags"
        figures = f"{year.dry_c[index]:.3f},0.0,{humidity[index]:.3f},{year.pressure_pa:.0f}"
        rows.append(f"{stamp},{figures},0,0,9999")
    return HEADER + rows


LINES = lines()


@pytest.fixture
def write(tmp_path: Path) -> Callable[[list[str]], Path]:
    def made(rows: list[str], end: str = "\n", encoding: str = "utf-8") -> Path:
        path = tmp_path / "기상.epw"
        path.write_bytes((end.join(rows) + end).encode(encoding))
        return path

    return made


@pytest.mark.parametrize(("end", "encoding"), [("\n", "utf-8"), ("\r\n", "utf-8-sig")])
def test_a_year_comes_back(end: str, encoding: str, write: Callable[..., Path]) -> None:
    found, year = read_epw(write(LINES, end, encoding)), climate_named("seoul")
    assert found.dry_c == pytest.approx(year.dry_c, abs=6e-4)
    assert found.wet_c == pytest.approx(year.wet_c, abs=2e-3)
    assert found.title.startswith("서울 Seoul")
    assert found.pressure_pa == pytest.approx(year.pressure_pa, abs=1.0)
    assert 5 <= (found.dry_c > found.design_dry_c).sum() <= 9  # two hours may be equal


def test_29_february_is_left_out(write: Callable[..., Path]) -> None:
    at = 8 + 59 * 24
    leap = [LINES[at].replace(",3,1,1,", f",2,29,{hour},") for hour in range(1, 25)]
    assert read_epw(write(LINES[:at] + leap + LINES[at:])).dry_c.shape == (8760,)


def test_dew_point_stands_in_for_humidity(write: Callable[..., Path]) -> None:
    rows = list(LINES)
    cells = rows[8].split(",")
    rows[8] = ",".join([*cells[:6], "10.0", "10.0", "999", "999999"])
    found = read_epw(write(rows))
    assert found.wet_c[0] == pytest.approx(10.0, abs=1e-6)
    assert np.isfinite(found.wet_c).all()


def _at(line: int, column: int, value: str) -> list[str]:
    rows = list(LINES)
    cells = rows[line - 1].split(",")
    cells[column] = value
    rows[line - 1] = ",".join(cells)
    return rows


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (LINES[:5000], r"line 5000: found 4,992 hours; expected 8,760"),
        ([*LINES[:5000], LINES[5000][:25]], r"line 5001: found \d fields; expected at least 10"),
        (LINES[:6], r"line 6: found none; expected the header line DATA PERIODS"),
        (LINES[:20] + LINES[21:], r"line 21: found month 1 day 1 hour 14; expected hour month 1"),
        (_at(100, 6, "NaN"), r"line 100: found dry bulb NaN"),
        (_at(100, 6, "99.9"), r"line 100: found no dry bulb"),
        (_at(100, 6, "더움"), r"line 100: found dry bulb '더움'; expected a number in degC"),
        (_at(100, 6, "1e9"), r"line 100: found dry bulb 1e9; expected -70 to 70"),
        (_at(100, 8, "-5"), r"line 100: found relative humidity -5"),
        (_at(100, 9, "inf"), r"line 100: found pressure inf"),
        (_at(100, 2, "x"), r"line 100: found '1,x,20'; expected month, day and hour"),
        (LINES + LINES[-1:], r"line 8769: found hours beyond the 8,760th"),
        (["date,temperature"], r"line 1: found 'date,temperature'; expected LOCATION"),
        ([HEADER[0].replace("86.0", "hoch"), *LINES[1:]], r"line 1: found elevation 'hoch'"),
    ],
)
def test_what_is_refused(rows: list[str], message: str, write: Callable[..., Path]) -> None:
    with pytest.raises(ManifestError, match=message):
        read_epw(write(rows))


def test_neither_humidity_nor_dew_point(write: Callable[..., Path]) -> None:
    rows = list(LINES)
    cells = rows[99].split(",")
    rows[99] = ",".join([*cells[:7], "99.9", "999", *cells[9:]])
    with pytest.raises(ManifestError, match="line 100: found neither dew point nor"):
        read_epw(write(rows))


def test_empty_missing_and_many_bad_lines(tmp_path: Path, write: Callable[..., Path]) -> None:
    path = tmp_path / "leer.epw"
    path.write_bytes(b"")
    with pytest.raises(ManifestError, match="an empty file"):
        read_epw(path)
    with pytest.raises(ManifestError, match="no such file"):
        read_epw(tmp_path / "없음.epw")
    rows = [row.replace(",flags,", ",flags,x") if n > 7 else row for n, row in enumerate(LINES)]
    with pytest.raises(ManifestError) as caught:
        read_epw(write(rows))
    assert len(caught.value.problems) == 10
