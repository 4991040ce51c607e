"""Pictures of heat and power: what is drawn adds up, is escaped, and says what its data say."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kfarm_twin.moments import choose, most_moments
from kfarm_twin.pictures.faults import FaultRow, fault_table, sorted_rows, sparkline
from kfarm_twin.pictures.floor import RackCell, floor_section
from kfarm_twin.pictures.moments import Moments, pack, packed, unpack, worst_moment
from kfarm_twin.pictures.sankey import PowerBranch, Station, balance, sankey
from kfarm_twin.pictures.shares import rounded
from kfarm_twin.pictures.svg import tick_text, ticks
from kfarm_twin.pictures.year import HOURS, Bar, Year, bars, months, year_drawing

EVIL = "</svg><script>alert('전력 \u202e & <b>')</script>"


class Markup(HTMLParser):
    """Fails where a tag is not closed in order, or where a script slipped in."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "script"
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in ("input", "wbr", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


watts = st.floats(0.0, 5e8, allow_nan=False)


@given(st.lists(watts, min_size=1, max_size=40), st.sampled_from([1.0, 1e3, 12.5]))
def test_rounding_keeps_sums(values: list[float], unit: float) -> None:
    whole = rounded(values, unit)
    assert sum(whole) == round(math.fsum(value / unit for value in values))
    assert all(abs(n - v / unit) < 1 + 1e-6 for n, v in zip(whole, values, strict=True))


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_what_cannot_be_added_up_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite and not negative"):
        rounded([1.0, value], 1.0)
    with pytest.raises(ValueError, match="finite and not negative"):
        balance(PowerBranch("grid", parts=(PowerBranch("a", "loss", value),)))


ends = st.builds(
    PowerBranch, st.text(max_size=12), st.sampled_from(["device", "loss", "cooling"]), watts
)
flows = st.recursive(
    ends,
    lambda parts: st.builds(
        lambda name, found: PowerBranch(name, parts=tuple(found)),
        st.text(max_size=8),
        st.lists(parts, min_size=1, max_size=5),
    ),
    max_leaves=25,
)


@given(flows)
def test_every_station_balances_in_what_is_shown(flow: PowerBranch) -> None:
    found = balance(flow)
    total = math.fsum(end.power_w for end in flow.ends())
    for station in found.root.walk():
        if station.children:
            assert station.units == sum(child.units for child in station.children)
            assert station.share == sum(child.share for child in station.children)
            shown = [float(found.power(c).split()[0].replace(",", "")) for c in station.children]
            own = float(found.power(station).split()[0].replace(",", ""))
            assert own == pytest.approx(math.fsum(shown), abs=1e-9)
    assert found.root.share == (10_000 if total >= 0.5 else 0)
    drawn = [station.units for station in found.root.walk() if not station.children]
    size = 1e3 if total >= 1e6 else 1.0
    for units, end in zip(drawn, flow.ends(), strict=True):
        assert abs(units - end.power_w / size) < 1 + 1e-6


def flow(name: str = "grid") -> PowerBranch:
    node = PowerBranch(
        "nodes",
        parts=(
            PowerBranch("GPU", "device", 21.3e6),
            PowerBranch(EVIL, "node", 1.9e6),
            PowerBranch("팬", "cooling", 0.2104e6),
        ),
    )
    ups = PowerBranch("UPS", parts=(PowerBranch("PSU losses", "loss", 0.9e6), node))
    return PowerBranch(name, parts=(PowerBranch("chillers", "cooling", 2.1e6), ups))


def test_the_diagram_says_its_figures_and_escapes_names() -> None:
    page = Markup(sankey(flow(EVIL)))
    for words in ("26.410 MW", "21.300 MW", "0.210 MW", "80.65 %", "7.95 %", "100.00 %", EVIL):
        assert words in page.text


def test_bands_leave_a_station_within_its_height() -> None:
    found = balance(flow())

    def check(station: Station) -> None:
        if station.children:
            parts = sum(child.height for child in station.children)
            assert parts == pytest.approx(station.height, abs=1e-6)
        for child in station.children:
            check(child)

    from kfarm_twin.pictures.sankey import _WIDE, _lay_out

    bottom = _lay_out(found.root, _WIDE, 50.0)
    check(found.root)
    laid = sorted((s.y, s.y + s.height) for s in found.root.walk() if not s.children)
    assert all(a[1] <= b[0] for a, b in pairwise(laid))
    assert laid[-1][1] <= bottom


def test_no_power_is_told() -> None:
    assert "No power" in sankey(PowerBranch("grid", parts=(PowerBranch("a", "loss", 0.0),)))
    assert "No power" in sankey(PowerBranch("grid"))


@given(st.lists(st.floats(-60, 400, allow_nan=False) | st.just(math.nan), min_size=1, max_size=60))
def test_packed_numbers_come_back(values: list[float]) -> None:
    column = np.array(values).reshape(1, -1)
    back = unpack(pack(column), len(values))
    assert np.array_equal(np.isnan(back), np.isnan(column))
    known = np.isfinite(column)
    spread = float(np.ptp(column[known])) if known.any() else 0.0
    assert np.allclose(back[known], column[known], atol=spread / 65_000 + 1e-9, rtol=0)


def test_counts_are_packed_exactly() -> None:
    counts = np.array([[0.0, 7.0, 32_767.0], [1.0, np.nan, 3.0]])
    assert np.array_equal(unpack(pack(counts), 3), counts, equal_nan=True)


@given(st.integers(1, 3000), st.integers(8, 240), st.integers(0, 2**32 - 1))
def test_chosen_moments_keep_extremes_and_are_few(count: int, most: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    time_ns = np.cumsum(chance.integers(1, 10**12, count)) - 1
    time_ns[0] = 0
    curve = np.where(chance.random(count) < 0.1, np.nan, chance.normal(size=count))
    horizon = int(time_ns[-1]) + 10**9
    kept = choose(time_ns, curve, most, horizon)
    assert len(kept) <= most + 2
    assert np.array_equal(kept, np.unique(kept))
    assert kept[0] >= 0 and kept[-1] < horizon
    assert 0 in kept
    if np.isfinite(curve).any():
        assert time_ns[np.nanargmax(curve)] in kept
    if count <= most:
        assert np.isin(time_ns, kept).all()


def test_no_samples_no_moments() -> None:
    assert len(choose(np.zeros(0, np.int64), np.zeros(0), 10, 10**9)) == 0


def test_a_page_of_many_racks_shows_fewer_moments() -> None:
    assert most_moments(1) == most_moments(411) == 240
    assert most_moments(766) == 156
    assert most_moments(100_000) == 24


def test_the_worst_moment_is_the_hottest() -> None:
    hot = np.array([[40.0, np.nan], [40.0, 81.0], [60.0, 70.0]])
    power = np.array([[9.0, 9.0], [1.0, 1.0], [2.0, 2.0]])
    assert worst_moment(hot, power) == (1, "hottest accelerator")
    assert worst_moment(None, power) == (0, "most power")
    assert worst_moment(np.full((2, 2), np.nan), None) == (0, "")


def test_unknown_quantities_are_left_out() -> None:
    shown = Moments("t", "n", [0.0, 1.0], {"hottest_c": np.full((2, 1), np.nan),
                                          "power_w": np.array([[1e3], [2e3]])})  # fmt: skip
    assert set(packed(shown)["values"]) == {"power_w"}


def test_a_map_of_nothing_is_left_out() -> None:
    assert floor_section([], []) == ""
    rack = RackCell(EVIL, EVIL, 0, 0, 0, EVIL, 4, 2, 24.0, 61.0, 85.0, 50e3, 60e3)
    Markup(floor_section([rack], [Moments(EVIL, EVIL, [0.0])], EVIL))


def fault(name: str = "CDU pump", **more: object) -> FaultRow:
    told: dict[str, object] = {
        "fault": name,
        "where": "main-cdu00 and 3 alike",
        "redundancy": "1 of 1 pump",
        "state": "Holds",
        "throttle_s": None,
        "shutdown_s": None,
        "hottest_c": 61.24,
        "headroom_k": 23.76,
        "throttle_c": 85.0,
        "shutdown_c": 92.0,
        "binds": "main-r0000",
        "at": "loop main-cdu00",
        "curve": ((0.0, 60.0), (300.0, 61.25)),
    }
    return FaultRow(**{**told, **more})  # type: ignore[arg-type]


def test_faults_are_told_by_colour_and_word_the_worst_first() -> None:
    rows = [
        fault(),
        fault("chiller", state="Throttles", throttle_s=1260.0),
        fault(
            EVIL,
            state="ShutsDown",
            throttle_s=78.0,
            shutdown_s=190.0,
            binds=EVIL,
            at=EVIL,
            where=EVIL,
        ),
        fault("CDU", state="ShutsDown", throttle_s=0.0, shutdown_s=30.0),
    ]
    assert [row.fault for row in sorted_rows(rows)] == ["CDU", EVIL, "chiller", "CDU pump"]
    page = Markup(fault_table(rows))
    for words in ("Shuts down", "Throttles", "Holds", "never", "at once", "after 78 s", "21 min",
                  "3.17 min", "61.2 °C", "23.8 K of headroom", "3 alike", "left: 1 of 1 pump",
                  "1 d", EVIL):  # fmt: skip
        assert words in page.text, words
    assert "nothing" in Markup(fault_table([])).text.lower()


def test_a_curve_stays_in_its_frame_and_time_runs_in_equal_ratios() -> None:
    curve = ((0.0, 60.0), (1.0, 60.0), (3600.0**0.5, 95.0), (3600.0, 61.0), (86_400.0, 60.5))
    drawn = sparkline(fault(curve=curve))
    [path] = re.findall(r'd="M([^"]+)" class="trace"', drawn)
    xs, ys = [], []
    for move, text in re.findall(r"([LHV]?)([-\d.,]+)", path):
        numbers = [float(value) for value in text.split(",")]
        xs.append(xs[-1] if move == "V" else numbers[0])
        ys.append(ys[-1] if move == "H" else numbers[-1])
    assert all(0 <= x <= 180 for x in xs)
    assert all(0 <= y <= 40 for y in ys)
    peak = xs[ys.index(min(ys))]
    assert peak == pytest.approx(180 * math.log(60) / math.log(86_400), abs=0.06)
    assert xs[-1] == 180
    assert sparkline(fault(curve=())) == "\N{EN DASH}"
    assert "<svg" in sparkline(fault(curve=((0.0, 60.0), (5.0, 60.0))))


def year(cost: bool = True, it: float = 20e6) -> Year:
    hours = np.arange(HOURS)
    wet = 10 - 14 * np.cos(hours / HOURS * 2 * np.pi) + 3 * np.sin(hours / 24 * 2 * np.pi)
    free = np.clip((14 - wet) / 6, 0, 1)
    used = np.full(HOURS, it) * (1 + 0.1 * np.sin(hours / 200))
    site = used * (1.1 + 0.15 * (1 - free)) + 1e5
    bill = site / 1000 * np.where(hours % 24 > 8, 160.0, 90.0) if cost else None
    return Year(site, used, wet, wet + 4, free, bill)


def test_months_are_energy_over_energy() -> None:
    """Held against sums by the calendar of a common year, made by the standard library."""
    from datetime import datetime, timedelta

    shown = year()
    assert shown.cost is not None
    start = datetime(2023, 1, 1)
    month_of = [(start + timedelta(hours=h)).month for h in range(HOURS)]
    for number, month in enumerate(months(shown), 1):
        at = [h for h in range(HOURS) if month_of[h] == number]
        assert month.pue == pytest.approx(shown.facility_w[at].sum() / shown.it_w[at].sum())
        assert month.free_h == sum(shown.free_cooling[h] >= 1.0 for h in at)
        assert month.cost == pytest.approx(shown.cost[at].sum())
        assert month.energy_wh == pytest.approx(shown.facility_w[at].sum())
        text = Markup(year_drawing(shown)).text
        assert f"{month.pue:.4f}" in text
        assert f"{month.cost:,.0f}" in text


def test_a_year_without_tariff_or_it() -> None:
    bare = year(cost=False)
    assert "Energy cost" not in Markup(year_drawing(bare)).text
    idle = year(it=0.0)
    assert idle.pue is None
    assert "No IT power" in Markup(year_drawing(idle)).text
    with pytest.raises(ValueError, match="8,760"):
        Year(np.ones(5), np.ones(5), np.ones(5), np.ones(5), np.ones(5))


def test_free_cooling_hours_are_those_of_the_year() -> None:
    shown = year()
    text = Markup(year_drawing(shown)).text
    assert f"{(shown.free_cooling >= 1.0).sum():,} h without chillers" in text


def test_bars_share_one_scale() -> None:
    rows = [
        Bar(EVIL, (("IT", "f-device", 30.0), (EVIL, "f-loss", 10.0)), "40 MW"),
        Bar("liquid", (("IT", "f-device", 20.0),), "20 MW"),
    ]
    html = bars(rows, EVIL)
    assert EVIL in Markup(html).text
    assert re.findall(r"width:([\d.]+)%", html) == ["75.000", "25.000", "50.000"]
    assert bars([], "none") == ""


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_round_and_within(low: float, span: float) -> None:
    marks = ticks(low, low + span)
    assert len(marks) <= 6
    assert all(low - 1e-6 * span <= mark <= low + span * (1 + 1e-6) for mark in marks)
    texts = [tick_text(mark, marks) for mark in marks]
    assert len(set(texts)) == len(texts)
