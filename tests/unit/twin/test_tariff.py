"""Tariffs: hours and seasons as KEPCO's table has them, the charge for peaks, bad files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from kfarm_twin.calendar_year import DAY_OF_MONTH, MONTH_OF_DAY, MONTH_OF_HOUR
from kfarm_twin.load import ManifestError
from kfarm_twin.request import InputError
from kfarm_twin.tariff import read_tariff, tariff_named, tariff_names

TARIFFS = Path(__file__).parents[3] / "twin/src/kfarm_twin/data/tariffs"
FLAT = np.full(8760, 1e6)


def hour(month: int, date: int, clock: int) -> int:
    day = int(np.flatnonzero((month - 1 == MONTH_OF_DAY) & (date == DAY_OF_MONTH))[0])
    return 24 * day + clock


@pytest.mark.parametrize(
    ("month", "date", "clock", "won"),
    [
        (7, 15, 3, 127.6), (7, 15, 8, 174.8), (7, 15, 11, 239.1), (7, 15, 12, 174.8),
        (7, 15, 17, 239.1), (7, 15, 18, 174.8), (7, 15, 22, 127.6),  # a Wednesday in summer
        (4, 15, 14, 161.9), (4, 15, 9, 144.8),                        # in spring
        (1, 14, 10, 214.1), (1, 14, 13, 174.8), (1, 14, 17, 214.1), (1, 14, 23, 134.6),
        (7, 18, 14, 174.8), (7, 19, 14, 127.6),                       # Saturday, Sunday
        (12, 25, 11, 134.6),                                          # a holiday
    ],
)  # fmt: skip
def test_prices_by_season_day_and_hour(month: int, date: int, clock: int, won: float) -> None:
    """Rates per kWh of the table, and the 14 won for climate and fuel on each."""
    tariff = tariff_named("kepco-industrial-bill")
    assert tariff.price_per_kwh[hour(month, date, clock)] == pytest.approx(won + 14.0)


def test_the_levelled_tariff_differs_by_one_amount() -> None:
    bill, levelled = tariff_named("kepco-industrial-bill"), tariff_named("kepco-industrial")
    added = levelled.price_per_kwh - bill.price_per_kwh
    assert added == pytest.approx(np.full(8760, levelled.levelled_by))
    assert bill.levelled_by == 0.0
    assert float(levelled.cost(FLAT)) == pytest.approx(181.8 * 8760e3)
    assert float(bill.cost(FLAT)) / 8760e3 == pytest.approx(175.5, abs=0.1)


def test_peaks_of_summer_count_all_year() -> None:
    tariff = tariff_named("kepco-industrial")
    summer, spring = FLAT.copy(), FLAT.copy()
    summer[hour(7, 15, 14)] = 2e6
    spring[hour(4, 15, 14)] = 2e6
    each = 1000.0 * tariff.demand_per_kw_month
    assert float(tariff.demand_cost(FLAT)) == pytest.approx(12 * each)
    assert float(tariff.demand_cost(summer)) == pytest.approx(24 * each)
    assert float(tariff.demand_cost(spring)) == pytest.approx(13 * each)
    # the same year, begun in April
    start = hour(4, 1, 0)
    assert float(tariff.demand_cost(np.roll(spring, -start), start)) == pytest.approx(13 * each)
    month = FLAT[: 31 * 24]
    assert float(tariff.demand_cost(month)) == pytest.approx(12 * each * 31 / 365)


def test_the_bill_by_a_loop_over_hours() -> None:
    """A plain sum, hour by hour, over a load that varies."""
    tariff = tariff_named("kepco-industrial")
    load = 1e6 * (1.0 + 0.3 * np.sin(np.arange(8760) / 37.0))
    energy = sum(load[h] / 1000.0 * tariff.price_per_kwh[h] for h in range(8760))
    peaks = [max(load[m == MONTH_OF_HOUR]) / 1000.0 for m in range(12)]
    lasting = max(peaks[m - 1] for m in (12, 1, 2, 7, 8, 9))
    demand = sum(max(peak, lasting) for peak in peaks) * tariff.demand_per_kw_month
    assert float(tariff.cost(load)) == pytest.approx(energy + demand)
    both = tariff.cost(np.stack([load, FLAT]))
    assert both == pytest.approx([energy + demand, float(tariff.cost(FLAT))])


def test_a_season_costs_what_it_costs() -> None:
    tariff = tariff_named("kepco-industrial")
    june = tariff.energy_cost(np.full(24, 1e6), hour(6, 1, 0))
    november = tariff.energy_cost(np.full(24, 1e6), hour(11, 2, 0))
    assert june == pytest.approx(1000.0 * tariff.price_per_kwh[hour(6, 1, 0) :][:24].sum())
    assert june != pytest.approx(november)


@pytest.mark.parametrize("name", tariff_names())
def test_shipped_tariffs_say_their_source(name: str) -> None:
    tariff = tariff_named(name)
    assert len(tariff.source) > 40
    assert tariff.currency == "KRW"
    assert np.all(tariff.price_per_kwh > 0.0)


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (('p: "239.1"', 'p: "NaN"'), "NaN"),
        (("hours: llllllllmmmpmpppppmmmmll", "hours: llll"), "hours"),
        (("months: [6, 7, 8]", "months: [6, 7, 8, 9]"), "exactly one season"),
        (("months: [6, 7, 8]", "months: [6, 7, 13]"), "months"),
        (("saturday: {p: m}", "saturday: {p: z}"), "price in every season"),
        (('rate: "7380"', 'rate: "-5"'), "-5"),
        (("currency: KRW", "currency: 원"), "currency"),
        (("source: >-", "sauce: >-"), "sauce"),
    ],
)  # fmt: skip
def test_what_is_refused(edit: tuple[str, str], found: str, tmp_path: Path) -> None:
    text = (TARIFFS / "kepco-industrial.yaml").read_text(encoding="utf-8")
    assert edit[0] in text
    path = tmp_path / "요금.yaml"
    path.write_text(text.replace(edit[0], edit[1], 1).replace("\n", "\r\n"), encoding="utf-8")
    with pytest.raises(ManifestError, match=found):
        read_tariff(path)


def test_an_hour_without_a_price_is_refused(tmp_path: Path) -> None:
    data = yaml.safe_load((TARIFFS / "korea-industrial-mean.yaml").read_text(encoding="utf-8"))
    data["seasons"][0]["hours"] = "l" * 23 + "q"
    path = tmp_path / "t.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(ManifestError, match="price for each letter"):
        read_tariff(path)


def test_truncated_and_unknown(tmp_path: Path) -> None:
    text = (TARIFFS / "kepco-industrial.yaml").read_text(encoding="utf-8")
    path = tmp_path / "t.yaml"
    path.write_text(text[: text.index("seasons")], encoding="utf-8")
    with pytest.raises(ManifestError, match="seasons"):
        read_tariff(path)
    with pytest.raises(InputError, match="'kepco'; expected one of kepco-industrial,"):
        tariff_named("kepco")
