"""Highest means of windows: of square waves and of meters, beside brute force."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import pairwise
from typing import Any

import naive_power
import numpy as np
import pytest
from kfarm_api.electric import Phases
from kfarm_twin._jit import kernel
from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.kernels.grid_columns import (
    ENERGIES,
    HIGHEST,
    METER,
    WINDOW_NS,
    WINDOWS,
    GridState,
)
from kfarm_twin.kernels.peaks import close_meters, show, tick
from kfarm_twin.phases import highest_mean
from pydantic import ValidationError

SECOND = 10**9


def phases(period: str, peak: int, share: int) -> Phases:
    return Phases.model_validate({"period": period, "peak": peak, "share": share})


def sampled(wave: Phases, period: int, window: int, steps: int = 400) -> Fraction:
    """Highest mean over windows that begin at many points of a period."""
    fall = Fraction(wave.share, 100) * period
    starts = [Fraction(period * step, steps) for step in range(steps)]
    return max(naive_power._mean(wave, start, window, period, fall) for start in starts)


@pytest.mark.parametrize("window", WINDOW_NS)
@pytest.mark.parametrize("period", ["10ms", "300ms", "1s", "7s", "59s", "61s", "700s", "20m", "5h"])
@pytest.mark.parametrize(("peak", "share"), [(150, 50), (101, 99), (1000, 10), (200, 1), (125, 80)])
def test_closed_form_is_the_highest_of_all_windows(
    window: int, period: str, peak: int, share: int
) -> None:
    wave = phases(period, peak, share)
    found = highest_mean(wave, window)
    assert found == naive_power.brute_highest_mean(wave, window)
    assert 1 <= found <= Fraction(peak, 100)
    span = naive_power.parse_duration_ns(period)
    assert found >= sampled(wave, span, window)


def test_short_windows_see_the_peak_and_long_ones_the_mean() -> None:
    wave = phases("1h", 150, 30)
    assert [highest_mean(wave, w) for w in WINDOW_NS] == [Fraction(3, 2)] * 3
    fast = phases("1s", 150, 30)
    assert [highest_mean(fast, w) for w in WINDOW_NS] == [1, 1, 1]
    # 1 s of a wave of 4 s, 2 s of which at 1.4 and 2 s at 0.6; 90 s of 60 s: 60 s at 1, 30 s at 1.4
    assert highest_mean(phases("4s", 140, 50), SECOND) == Fraction(14, 10)
    assert highest_mean(phases("60s", 140, 50), 90 * SECOND) == Fraction(60 + 42, 90)


def test_a_form_without_the_cut_off_rest_misses() -> None:
    """What a likely slip would give: the rest of a window all at the peak."""
    wave = phases("40s", 200, 25)
    whole, rest = divmod(60, 40)
    low = Fraction(100 - 50, 75)
    slip = low + (2 - low) * (whole * 10 + rest) / Fraction(60)
    assert highest_mean(wave, 60 * SECOND) == low + (2 - low) * Fraction(20, 60)
    assert abs(slip - highest_mean(wave, 60 * SECOND)) > Fraction(1, 10)


@pytest.mark.parametrize(
    "bad",
    [
        {"period": "9ms"}, {"period": "25h"}, {"period": "-1s"}, {"peak": 100}, {"peak": 1001},
        {"share": 0}, {"share": 100}, {"peak": 201, "share": 50}, {"peak": "nan"}, {"period": ""},
    ],
)  # fmt: skip
def test_waves_that_cannot_be(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Phases.model_validate({"period": "1s", "peak": 150, "share": 50} | bad)


@kernel
def play(grid: GridState, times: Ints, values: Ints, horizon: int) -> None:
    """One meter through values [3, changes]."""
    for index in range(times.shape[0]):
        tick(grid, times[index])
        show(grid, 0, values[0, index], values[1, index], values[2, index], times[index])
    close_meters(grid, horizon)


def metered(times: list[int], values: list[list[int]], horizon: int) -> list[float]:
    zeros = {name: np.zeros((1, 1), np.int64) for name in GridState._fields}
    zeros |= {"branch_mw": np.zeros((1, 1, 2), np.int64), "pdu_mw": np.zeros((1, 1, 2), np.int64)}
    energy: Floats = np.zeros((1, ENERGIES))
    grid = GridState(**zeros)._replace(  # type: ignore[arg-type]
        meter=np.zeros((1, METER), np.int64), energy=energy, block=np.zeros(WINDOWS, np.int64)
    )
    play(grid, np.array(times, np.int64), np.array(values, np.int64), horizon)
    return [float(energy[0, HIGHEST + w]) / length for w, length in enumerate(WINDOW_NS)]


def brute(times: list[int], values: list[int], horizon: int, length: int) -> float:
    """Mean of each block, from the energy up to each of its ends."""
    edges = [*range(0, horizon, length), horizon]
    ends = [*times[1:], horizon]

    def energy(until: int) -> int:
        return sum(v * (min(b, until) - a) for v, a, b in zip(values, times, ends, strict=True)
                   if a < until)  # fmt: skip

    return max((energy(b) - energy(a)) / (b - a) for a, b in pairwise(edges))


@pytest.mark.parametrize("seed", range(40))
def test_meters_equal_brute_force(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    horizon = draw.choice([30 * SECOND, 2000 * SECOND + 17, 5000 * SECOND, SECOND // 3])
    count = draw.randint(1, 12)
    times = sorted({0, *(draw.randrange(horizon) for _ in range(count))})
    values = [[draw.choice([0, 5_000_000, draw.randrange(10**9)]) for _ in times] for _ in range(3)]
    found = metered(times, values, horizon)
    for window, length in enumerate(WINDOW_NS):
        assert found[window] == pytest.approx(brute(times, values[window], horizon, length), 1e-12)


def test_blocks_go_with_the_clock() -> None:
    """900 s at full power across a quarter's boundary are two halves of quarters."""
    times, values = [0, 450 * SECOND, 1350 * SECOND], [0, 1_000_000, 0]
    found = metered(times, [values] * 3, 3600 * SECOND)
    assert found == [1_000_000, 1_000_000, 500_000]
    shifted = metered([0, 900 * SECOND, 1800 * SECOND], [values] * 3, 3600 * SECOND)
    assert shifted[2] == 1_000_000
