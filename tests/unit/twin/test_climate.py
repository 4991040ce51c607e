"""Typical years from normals: means kept, wet bulbs right, the same on every machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from kfarm_api.units import parse_quantity
from kfarm_twin.calendar_year import (
    DAY_OF_MONTH,
    MONTH_OF_DAY,
    MONTH_OF_HOUR,
    start_hour,
    weekday,
)
from kfarm_twin.climate import (
    WARMEST_HOUR,
    climate_named,
    climate_names,
    read_normals,
    typical_year,
)
from kfarm_twin.load import ManifestError
from kfarm_twin.psychrometry import (
    PSYCHROMETER,
    STANDARD_PA,
    latent_share,
    saturation_pa,
    standard_pressure_pa,
    wet_bulb_c,
)
from kfarm_twin.request import InputError

CLIMATES = Path(__file__).parents[3] / "twin/src/kfarm_twin/data/climates"
FARMS = Path(__file__).parents[3] / "examples/farms"


@pytest.mark.parametrize("name", climate_names())
def test_months_have_their_normals(name: str) -> None:
    normals, year = read_normals(CLIMATES / f"{name}.yaml"), climate_named(name)
    assert year.dry_c.shape == year.wet_c.shape == (8760,)
    vapour = saturation_pa(year.wet_c) - PSYCHROMETER * (1 + 0.000944 * year.wet_c) * (
        year.pressure_pa * (year.dry_c - year.wet_c)
    )
    humidity = 100.0 * vapour / saturation_pa(year.dry_c)
    for month in range(12):
        mine = month == MONTH_OF_HOUR
        mean = parse_quantity(normals.mean_temperature[month])
        assert year.dry_c[mine].mean() == pytest.approx(mean, abs=1e-9)
        wanted = parse_quantity(normals.relative_humidity[month])
        assert humidity[mine].mean() == pytest.approx(wanted, abs=0.5)
    assert np.all(year.wet_c <= year.dry_c)
    assert year.design_dry_c > year.dry_c.max()
    assert year.design_wet_c > year.wet_c.max()


def test_a_day_is_warmest_in_the_afternoon_and_swings_as_the_normals_say() -> None:
    normals = read_normals(CLIMATES / "seoul.yaml")
    year = typical_year(normals, weather=False)
    days = year.dry_c.reshape(365, 24)
    assert np.all(days.argmax(axis=1) == WARMEST_HOUR)
    swing = days.max(axis=1) - days.min(axis=1)
    for month in range(12):
        wanted = parse_quantity(normals.daily_high[month]) - parse_quantity(
            normals.daily_low[month]
        )
        assert swing[month == MONTH_OF_DAY].mean() == pytest.approx(wanted, abs=1e-6)


def test_weather_adds_spread_but_no_heat() -> None:
    normals = read_normals(CLIMATES / "seoul.yaml")
    still, year = typical_year(normals, weather=False), typical_year(normals)
    daily = (year.dry_c - still.dry_c).reshape(365, 24)
    assert np.ptp(daily, axis=1).max() < 1e-9
    assert 2.0 < daily[:, 0].std() < 4.0
    assert np.corrcoef(daily[:-1, 0], daily[1:, 0])[0, 1] > 0.4


def test_the_same_bits_each_time() -> None:
    """A digest of hundredths of a degree: rounding of a library's last bit does not show."""
    year = climate_named("seoul")
    again = typical_year(read_normals(CLIMATES / "seoul.yaml"))
    assert np.array_equal(year.dry_c, again.dry_c)
    rounded = np.round(year.dry_c * 100.0).astype("<i8")
    assert hashlib.sha256(rounded.tobytes()).hexdigest()[:16] == SEOUL


SEOUL = "470fdee886a569da"


def test_examples_name_climates_that_are_there() -> None:
    for path in FARMS.glob("*.yaml"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if "climate:" in line:
                assert line.split("climate:")[1].split("}")[0].strip() in climate_names()


def test_an_unknown_climate_says_what_there_is() -> None:
    with pytest.raises(InputError, match=r"'평양'; expected one of busan, chuncheon.*--epw"):
        climate_named("평양")


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (('meanTemperature: ["-2.0"', "meanTemperature: [NaN"), "NaN"),
        (("confidence: Medium", "confidence: Sure"), "Sure"),
        (('design: {dry: "36.6", ', "design: {"), "dry"),
        (("dailyLow", "dailyDepth"), "dailyDepth"),
    ],
)
def test_bad_normals_are_refused(edit: tuple[str, str], found: str, tmp_path: Path) -> None:
    text = (CLIMATES / "seoul.yaml").read_text(encoding="utf-8")
    assert edit[0] in text
    path = tmp_path / "서울.yaml"
    path.write_text(text.replace(*edit).replace("\n", "\r\n"), encoding="utf-8")
    with pytest.raises(ManifestError, match=found):
        read_normals(path)


@pytest.mark.parametrize("humidity", [15.0, 30.0, 50.0, 80.0, 99.0])
def test_wet_bulb_against_stull(humidity: float) -> None:
    """Stull (2011), equation 1, is itself within -1 to +0.65 K of measured curves."""
    t = np.linspace(-5.0, 45.0, 11)
    r = humidity
    stull = (
        t * np.arctan(0.151977 * np.sqrt(r + 8.313659))
        + np.arctan(t + r)
        - np.arctan(r - 1.676331)
        + 0.00391838 * r**1.5 * np.arctan(0.023101 * r)
        - 4.686035
    )
    ours = wet_bulb_c(t, r / 100.0 * saturation_pa(t), STANDARD_PA)
    assert np.abs(ours - stull).max() < 1.1


def test_saturated_air_has_its_own_wet_bulb() -> None:
    t = np.linspace(-20.0, 40.0, 7)
    assert wet_bulb_c(t, saturation_pa(t), STANDARD_PA) == pytest.approx(t, abs=1e-9)


def test_pressure_falls_with_height() -> None:
    assert standard_pressure_pa(0.0) == STANDARD_PA
    assert standard_pressure_pa(1000.0) == pytest.approx(89_875, rel=1e-4)  # ISO 2533


def test_heat_leaves_as_vapour_more_in_summer() -> None:
    dry, wet = np.array([-10.0, 10.0, 33.0]), np.array([-11.0, 7.0, 26.0])
    share = latent_share(dry, wet, np.maximum(wet + 8.0, 15.0), STANDARD_PA)
    assert np.all(np.diff(share) > 0.0)
    assert 0.3 < share[0] < 0.6
    assert 0.8 < share[2] <= 1.0


def test_the_calendar() -> None:
    assert [weekday(day) for day in (0, 4, 364)] == [3, 0, 3]  # 1 and 5 January, 31 December 2026
    assert DAY_OF_MONTH[59] == 1
    starts = {start_hour(future) for future in range(52)}
    assert len(starts) == 52
    assert all(weekday(hour // 24) == 0 and hour % 24 == 0 for hour in starts)
    quarter = sorted(start_hour(future) for future in range(4))
    assert max(np.diff(quarter)) < 8760 / 2
