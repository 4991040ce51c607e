"""Intervals between saves against closed forms and against the exact share of retained work."""

from __future__ import annotations

import math

import pytest
from kfarm_twin.checkpoints import best_interval, daly_interval, ettr, interval_ns, young_interval

GRID = [
    (save, mean) for save in (1.0, 20.0, 120.0, 600.0) for mean in (900.0, 3600.0, 86400.0, 1e6)
]


def lambert_interval(save: float, mean: float) -> float:
    """The optimum as M (1 + W0(-exp(-1 - w/M))), by Newton's method on y e^y (Corless 1996)."""
    target, y = -math.exp(-1.0 - save / mean), -0.5
    for _ in range(200):
        y -= (y * math.exp(y) - target) / (math.exp(y) * (1.0 + y))
    return mean * (1.0 + y)


def test_young_is_the_square_root() -> None:
    assert young_interval(60.0, 3000.0) == 600.0


def test_daly_by_hand() -> None:
    """w = 2, M = 100: the root is 20, the series 1 + 0.1/3 + 0.01/9, less the save."""
    assert daly_interval(2.0, 100.0) == pytest.approx(20.0 * (1 + 0.1 / 3 + 0.01 / 9) - 2.0)


@pytest.mark.parametrize("save", [200.0, 500.0])
def test_daly_where_a_save_outlasts_twice_the_mean(save: float) -> None:
    assert daly_interval(save, 100.0) == 100.0


@pytest.mark.parametrize(("save", "mean"), GRID)
def test_best_is_the_root_in_closed_form(save: float, mean: float) -> None:
    assert best_interval(save, mean) == pytest.approx(lambert_interval(save, mean), rel=1e-6)


@pytest.mark.parametrize(("save", "mean"), GRID)
@pytest.mark.parametrize("restart", [0.0, 300.0])
def test_best_beats_its_neighbours(save: float, mean: float, restart: float) -> None:
    best = best_interval(save, mean)
    top = ettr(best, save, restart, mean)
    for factor in (0.5, 0.9, 1.1, 2.0):
        assert ettr(factor * best, save, restart, mean) < top


@pytest.mark.parametrize(("save", "mean"), [(w, m) for w, m in GRID if w <= m / 2])
def test_daly_retains_what_the_best_does(save: float, mean: float) -> None:
    """Within 0.002 % for saves up to half the time between interruptions."""
    daly = ettr(daly_interval(save, mean), save, 300.0, mean)
    assert daly == pytest.approx(ettr(best_interval(save, mean), save, 300.0, mean), rel=2e-5)


@pytest.mark.parametrize(("save", "mean"), GRID)
def test_daly_is_nearer_than_young(save: float, mean: float) -> None:
    best = best_interval(save, mean)
    assert abs(daly_interval(save, mean) - best) < abs(young_interval(save, mean) - best)


def test_ettr_of_a_run_that_hardly_fails_is_work_over_cycle() -> None:
    assert ettr(1800.0, 200.0, 300.0, 1e15) == pytest.approx(0.9, rel=1e-9)


def test_ettr_of_an_interval_that_is_never_reached_is_zero() -> None:
    assert ettr(1e9, 1.0, 0.0, 1.0) == 0.0


@pytest.mark.parametrize("save", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("rule", [young_interval, daly_interval, best_interval])
def test_a_save_that_is_no_time_is_refused(rule: object, save: float) -> None:
    assert callable(rule)
    with pytest.raises(ValueError, match="save"):
        rule(save, 100.0)


@pytest.mark.parametrize("mean", [0.0, -1.0, math.nan])
def test_a_mean_that_is_no_time_is_refused(mean: float) -> None:
    with pytest.raises(ValueError, match="mean time between interruptions"):
        daly_interval(1.0, mean)


def test_whole_nanoseconds_within_the_work() -> None:
    assert interval_ns("Young", 60, 1 / 3000, 10**9) == 600
    assert interval_ns("Young", 60, 1 / 3000, 500) == 500
    assert interval_ns("Daly", 60, 0.0, 500) == 500
    assert interval_ns("Daly", 1, 1e9, 500) == 1
