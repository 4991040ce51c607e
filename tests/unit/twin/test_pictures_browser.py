"""The floor map in a real browser: the slider, the keys, the modes, and what the tiles say."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import CHROMIUM, dump, probed
from kfarm_twin.figures import NONE
from kfarm_twin.pictures.floor import RackCell, floor_data, floor_section
from kfarm_twin.pictures.moments import Moments
from kfarm_twin.report_page import page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")
EVIL = "</script><script>document.title='broken'</script>전력\u202e"
RACKS = [
    RackCell(EVIL, "hot-r0", 0, 0, 0, "c-cdu00", 4, 2, 24.0, 70.0, 85.0, 50e3, 60e3,
             "p0, p1", EVIL),
    RackCell(EVIL, "cool-r1", 0, 0, 1, "c-cdu01", 4, 0, 24.0, 40.0, 85.0, 20e3, 60e3, None, EVIL),
    RackCell(EVIL, "off-r10", 0, 1, 0, "c-cdu01", 4, 0, None, None, None, None, None, None, EVIL),
]  # fmt: skip
NAN = float("nan")
MOMENTS = Moments(
    "Worst future",
    "note",
    [0.0, 3600.0, 100_000.0],
    {
        "hottest_c": np.array([[60.0, 41.0, NAN], [86.5, 42.0, NAN], [61.0, 43.5, NAN]]),
        "power_w": np.array([[50e3, 20e3, 1e3], [54e3, 20e3, 1e3], [40e3, 20e3, 1e3]]),
        "throttled": np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
    },
    start=1,
    worst="hottest accelerator",
)
PROBE = """
const seen = [];
const text = (q) => document.querySelector(q).textContent;
const look = (what) => seen.push([what, {
  clock: text('#clock'), said: document.getElementById('time').getAttribute('aria-valuetext'),
  value: Number(document.getElementById('time').value), legend: text('#legend'),
  hidden: document.getElementById('when').hidden,
  rows: [...document.querySelectorAll('#ranking tbody tr')].map(
    (r) => [...r.cells].map((c) => c.textContent)),
  fills: [...document.querySelectorAll('.rack')].map((r) => r.style.fill),
  marks: [...document.querySelectorAll('.hot')].map((m) => m.getAttribute('visibility')),
  tip: document.getElementById('tip').textContent,
  focus: document.activeElement.getAttribute('aria-label'),
  mode: document.querySelector('[data-mode][aria-pressed=true]').dataset.mode,
  off: [...document.querySelectorAll('[data-mode]:disabled')].map((b) => b.dataset.mode),
}]);
const key = (node, name) => node.dispatchEvent(
  new KeyboardEvent('keydown', { key: name, bubbles: true, cancelable: true }));
const click = (q) => document.querySelector(q).click();
const time = document.getElementById('time');
look('start');
key(time, 'ArrowRight'); look('right');
key(time, 'ArrowRight'); look('end');
key(time, 'Home'); look('home');
time.value = 3000; time.dispatchEvent(new Event('input')); look('dragged');
click('#worst'); click('[data-mode=headroom]'); look('headroom');
click('[data-mode=power]'); look('power');
click('[data-view="1"]'); look('steady');
document.querySelector('.rack').focus(); look('tip');
key(document.querySelector('.rack'), 'ArrowRight'); look('walked');
"""
ONE_LOOK = PROBE.split("look('start');", maxsplit=1)[0] + "look('start');"


def map_page(racks: list[RackCell], moments: list[Moments]) -> str:
    data = {"racks": [asdict(rack) for rack in racks], "moments": floor_data(moments)}
    styles = ("report.css", "pictures.css")
    body = floor_section(racks, moments)
    return page("map", body, data, styles=styles, scripts=("floor.js",), plotly=False)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return dict(probed(map_page(RACKS, [MOMENTS]), PROBE, tmp_path_factory.mktemp("map")))


def test_the_worst_moment_is_shown_first(seen: dict[str, Any]) -> None:
    start = seen["start"]
    assert start["clock"] == (
        "day 1, 01:00:00 · hottest 86.5 °C · 3 throttled · 75 kW · worst: hottest accelerator"
    )
    assert start["said"] == start["clock"]
    assert start["value"] == 3600
    assert start["marks"] == ["visible", "hidden", "hidden"]
    assert start["rows"][0] == ["hot-r0", "c-cdu00", "86.5 °C", "-1.5 K", "3", NONE, "54 kW"]
    assert start["rows"][1][:4] == ["cool-r1", "c-cdu01", "42 °C", "43 K"]
    assert start["off"] == ["inlet"]
    assert "41 °C" in start["legend"]
    assert "86.5 °C" in start["legend"]


def test_the_slider_obeys_keys_and_pointer(seen: dict[str, Any]) -> None:
    assert seen["right"]["clock"].startswith("day 2, 03:46:40 · hottest 61 °C · 0 throttled")
    assert seen["end"]["clock"] == seen["right"]["clock"]
    assert seen["home"]["value"] == 0
    assert seen["home"]["rows"][0][2] == "60 °C"
    assert seen["dragged"]["value"] == 3600  # the nearest moment
    assert seen["home"]["fills"][0] != seen["dragged"]["fills"][0]


def test_modes_colour_by_what_they_say(seen: dict[str, Any]) -> None:
    """Brightest is hottest, least headroom, most power; unknown racks have no colour."""
    bright, dark = "rgb(254, 232, 56)", "rgb(0, 34, 78)"
    assert seen["start"]["fills"] == [bright, seen["start"]["fills"][1], ""]
    assert seen["home"]["fills"][1] == dark
    assert seen["headroom"]["mode"] == "headroom"
    assert seen["headroom"]["fills"][0] == bright
    assert seen["power"]["fills"][0] == bright
    assert seen["power"]["fills"][2] == ""  # no limit
    assert "of the rack's power limit" in seen["power"]["legend"]
    assert "90 %" in seen["power"]["legend"]


def test_the_steady_state_has_no_slider_and_its_own_figures(seen: dict[str, Any]) -> None:
    assert seen["steady"]["hidden"]
    assert seen["steady"]["rows"][0][2:4] == ["70 °C", "15 K"]
    told = ("hot-r0", "70 °C (throttles at 85 °C)", "15 K", "83.3 % of 60 kW", "c-cdu00", "p0, p1")
    for words in (*told, "2 of 4"):
        assert words in seen["tip"]["tip"]
    assert "hot-r0: hottest device 70 °C" in seen["tip"]["focus"]
    assert seen["walked"]["focus"].startswith("cool-r1")


def test_the_curve_above_the_slider_has_times_of_its_own(tmp_path: Path) -> None:
    """A dip of a minute between two moments is a minute wide, and the cursor stands in time."""
    curve = ([0.0, 40_000.0, 40_060.0, 200_000.0], [86.5, 40.0, 86.5, 86.5])
    probe = """
    const seen = [document.querySelector('#strip .trace').getAttribute('d'),
                  document.querySelector('#strip .cursor').getAttribute('transform'),
                  document.querySelector('#strip p').textContent,
                  Number(document.getElementById('time').max)];
    """
    html = map_page(RACKS, [replace(MOMENTS, curve=curve)])
    path, cursor, told, most = probed(html, probe, tmp_path)
    assert path == "M0,4H200V42H200.3V4H1000V4"
    assert cursor == "translate(18,0)"
    assert told == "hottest accelerator, 40 °C to 86.5 °C"
    assert most == 200_000


def test_names_stay_names(tmp_path: Path) -> None:
    out = dump(map_page(RACKS, [MOMENTS]), tmp_path)
    assert "<title>map</title>" in out
    assert "전력" in out


@pytest.mark.parametrize(
    "rack",
    [
        RackCell("c", "air", 0, 0, 0, None, 1, 0, 22.0, 55.0, 90.0, 5e3, None),
        RackCell("c", "bare", 0, 3, 7, None, 1, 0, None, None, None, None, None),
    ],
)
def test_one_rack_alone(rack: RackCell, tmp_path: Path) -> None:
    [[_, found]] = probed(map_page([rack], []), ONE_LOOK, tmp_path)
    assert found["hidden"]
    assert found["rows"][0][:2] == [rack.label, "air"]
    if rack.hottest_c is not None:
        assert found["rows"][0][2:4] == ["55 °C", "35 K"]
        assert found["off"] == []
    else:
        assert set(found["off"]) == {"hottest", "headroom", "inlet", "power"}
