"""Closed forms of cascades: against 60 digits, and their crossings against a close look."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kfarm_twin.kernels import rng


def _plain() -> dict[str, Any]:
    """The functions without a compiler; the exponential is the compiled one, of the same bits."""
    path = Path(rng.__file__).with_name("exponentials.py")
    text = path.read_text("utf-8")
    decorator = "from kfarm_twin._jit import inner"
    assert decorator in text
    names: dict[str, Any] = {"__name__": "plain_exponentials"}
    exec(text.replace(decorator, "def inner(f): return f"), names)  # noqa: S102 - our own source
    return names


E = _plain()
VALUE, RISE, FALL, GREATEST, ZEROS = (
    E[name] for name in ("value", "first_rise", "first_fall", "greatest", "zeros")
)
PLACES = ("A1", "A2", "A3", "A4", "Q1", "Q2", "S2", "S3", "S4", "C3", "C4")


def _table(values: dict[str, float]) -> Any:
    w = np.zeros(E["SCRATCH"])
    for name, number in values.items():
        w[E[name]] = number
    return w


def _exact(values: dict[str, float], t: float) -> list[float]:
    """The four stages by Taylor's series of the whole system in steps, 60 digits."""
    with localcontext() as context:
        context.prec = 60
        v = {name: Decimal(values.get(name, 0.0)) for name in PLACES}
        y = [Decimal(0), v["S2"], v["S3"], v["S4"], Decimal(1)]
        rows = [
            (-v["A1"], 0, 0, 0, v["Q1"]),
            (v["A2"], -v["A2"], 0, 0, v["Q2"]),
            (0, v["A3"], -v["A3"], 0, v["A3"] * v["C3"]),
            (0, 0, v["A4"], -v["A4"], v["A4"] * v["C4"]),
            (0, 0, 0, 0, 0),
        ]
        steps = max(int(max(values[f"A{i}"] for i in (1, 2, 3, 4)) * t), 1)
        h = Decimal(t) / steps
        for _ in range(steps):
            term, total = list(y), list(y)
            for k in range(1, 40):
                term = [
                    sum((a * b for a, b in zip(row, term, strict=True)), Decimal(0)) * h / k
                    for row in rows
                ]
                total = [a + b for a, b in zip(total, term, strict=True)]
            y = total
        return [float(x) for x in y[:4]]


_BASE = st.floats(1e-3, 1.0)
_FACTOR = st.one_of(
    st.just(1.0),
    st.floats(0.05, 20.0),
    st.floats(-9, -1).map(lambda e: 1.0 + 10.0**e),
    st.floats(-15, -9).map(lambda e: 1.0 - 10.0**e),
)
_SLOW = st.one_of(st.just(0.0), _FACTOR)
_KELVIN = st.one_of(st.just(0.0), st.floats(-50, 50))


@st.composite
def cascades(draw: Any) -> dict[str, float]:
    base = draw(_BASE)
    values = {
        "A1": base * draw(_SLOW),
        "A2": base * draw(_SLOW),
        "A3": base * draw(_FACTOR),
        "A4": base * draw(_FACTOR),
        "Q1": base * draw(_KELVIN),
        "Q2": base * draw(_KELVIN),
    }
    return values | {name: draw(_KELVIN) for name in ("S2", "S3", "S4", "C3", "C4")}


@settings(max_examples=60, deadline=None)
@given(cascades(), st.floats(-2, 1.2))
def test_values_are_exact_whatever_the_rates(values: dict[str, float], span: float) -> None:
    fastest = max(values[f"A{i}"] for i in (1, 2, 3, 4))
    t = 10.0**span / fastest
    exact = _exact(values, t)
    scale = 1.0 + max(abs(x) for x in exact) + max(abs(values[n]) for n in PLACES[6:])
    for stage in (1, 2, 3, 4):
        assert abs(VALUE(_table(values), stage, t) - exact[stage - 1]) <= 2e-14 * scale


@settings(max_examples=60, deadline=None)
@given(cascades(), st.floats(0.05, 0.95), st.booleans())
def test_first_crossings_are_first(values: dict[str, float], share: float, rising: bool) -> None:
    horizon = 30.0 / max(values["A3"], values["A4"])
    times = np.linspace(0.0, horizon, 1500)
    w = _table(values)
    curve = np.array([VALUE(w, 4, float(t)) for t in times])
    low, high = curve.min(), curve.max()
    level = float(low + share * (high - low))
    if high - low < 1e-6:
        return
    signed = curve - level if rising else level - curve
    found = (RISE if rising else FALL)(_table(values), 4, level, horizon)
    seen = np.flatnonzero((signed[:-1] <= 0.0) & (signed[1:] > 0.0))
    if len(seen) == 0:
        if found < math.inf:  # between two looks: it must really cross there
            here = VALUE(w, 4, found) - level
            assert abs(here) < 1e-9 * (1.0 + high - low)
        return
    place = int(seen[0])
    assert found <= times[place + 1] + 1e-9 * horizon
    at = VALUE(w, 4, found) - level
    steep = max(values["A3"], values["A4"])  # a crossing is known to a quarter of a nanosecond
    assert abs(at) < 1e-9 * (1.0 + steep) * (1.0 + high - low)
    before = VALUE(w, 4, max(found - 1e-6 * horizon, 0.0)) - level
    assert (before if rising else -before) <= 1e-9


@settings(max_examples=40, deadline=None)
@given(cascades())
def test_the_greatest_value_bounds_a_close_look(values: dict[str, float]) -> None:
    horizon = 30.0 / max(values["A3"], values["A4"])
    w = _table(values)
    curve = max(VALUE(w, 4, float(t)) for t in np.linspace(0.0, horizon, 400))
    best = GREATEST(_table(values), 4, horizon)
    assert best >= curve - 1e-9 * (1.0 + abs(curve))


@settings(max_examples=200, deadline=None)
@given(cascades(), st.floats(0.05, 0.95), st.floats(0, 8))
def test_a_farther_horizon_hides_nothing(
    values: dict[str, float], share: float, decades: float
) -> None:
    """What has long come to rest keeps the crests that it had, and the crossings before them."""
    near = 30.0 / max(values["A3"], values["A4"])
    w = _table(values)
    curve = [VALUE(w, 4, float(t)) for t in np.linspace(0.0, near, 400)]
    low, high = min(curve), max(curve)
    slack = 1e-9 * (1.0 + abs(low) + abs(high))
    assert GREATEST(_table(values), 4, near * 10.0**decades) >= high - slack
    level = low + share * (high - low)
    if high - low < 1e-6:
        return
    for first in (RISE, FALL):
        soon = first(_table(values), 4, level, near)
        if soon < math.inf:
            far = first(_table(values), 4, level, near * 10.0**decades)
            assert math.isclose(far, soon, abs_tol=1e-7 * near)


def test_a_crest_is_found_whose_decay_ends_in_rounding() -> None:
    """A device set free on a warm sink: its slope long after is nothing but the last digits."""
    w = _table(
        {
            "A3": 0.034940019989898685,
            "A4": 0.21516654604497,
            "S3": 40.3056297876425,
            "S4": 44.86897916964743,
            "C3": 23.342901420263377,
            "C4": 21.16014982246512,
        }
    )
    level = 46.84714562850538
    for horizon in (200.0, 800.0, 1612.275781, 1e5, 1e8):
        assert ZEROS(w, 4, horizon) == 1
        up, down = RISE(w, 4, level, horizon), FALL(w, 4, level, horizon)
        assert 0.0 < up < 1.0
        assert 4.0 < down < 200.0
        assert all(math.isclose(VALUE(w, 4, t), level, abs_tol=1e-8) for t in (up, down))


@pytest.mark.parametrize("near", [0.0, 1e-13, 1e-7, 0.3])
def test_a_level_that_is_crossed_twice(near: float) -> None:
    """A cold die on a hot sink overshoots: exp(-t) t crosses 0.2 upwards, then downwards."""
    values = {"A3": 1.0, "A4": 1.0 + near, "S3": 1.0}
    w = _table({"A1": 0.0, "A2": 0.0} | values)
    up, down = RISE(w, 4, 0.2, 100.0), FALL(w, 4, 0.2, 100.0)
    assert 0.15 < up < 0.35
    assert 2.0 < down < 3.0
    assert math.isclose(VALUE(w, 4, up), 0.2, abs_tol=1e-9)
    assert math.isclose(VALUE(w, 4, down), 0.2, abs_tol=1e-9)
    assert RISE(w, 4, 0.2, 0.9 * up) == math.inf
    peak = GREATEST(w, 4, 100.0)
    assert RISE(w, 4, peak + 1e-9, 100.0) == math.inf
    assert RISE(w, 4, peak - 1e-9, 100.0) < 1.2


def test_a_die_that_starts_at_the_level() -> None:
    rises = _table({"A3": 1.0, "A4": 2.0, "C3": 5.0})
    assert RISE(rises, 4, 0.0, 10.0) < 1e-8
    falls = _table({"A3": 1.0, "A4": 2.0, "S3": 3.0, "S4": 3.0})
    assert RISE(falls, 4, 3.0, 10.0) == math.inf
    assert FALL(falls, 4, 1.0, 10.0) < 10.0


def test_four_stages_turn_at_most_three_times() -> None:
    w = _table(
        {
            "A1": 0.01,
            "A2": 0.1,
            "A3": 1.0,
            "A4": 10.0,
            "Q1": 0.5,
            "S2": 30.0,
            "S3": -20.0,
            "S4": 10.0,
        }
    )
    turns = ZEROS(w, 4, 2000.0)
    curve = np.array([VALUE(w, 4, float(t)) for t in np.geomspace(1e-4, 2000.0, 4000)])
    assert turns == int((np.diff(np.sign(np.diff(curve))) != 0).sum()) == 3
