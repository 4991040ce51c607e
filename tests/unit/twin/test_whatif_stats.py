"""Intervals and paired differences, against closed forms and tables."""

from __future__ import annotations

import math

import pytest
from kfarm_twin.whatif_stats import difference, interval, significant, t_975, variance


@pytest.mark.parametrize(
    ("freedom", "wanted"),
    [(1, 12.706), (7, 2.365), (30, 2.042), (50, 2.009), (100, 1.984), (255, 1.969), (10**6, 1.960)],
)
def test_student_t(freedom: int, wanted: float) -> None:
    """Rows of the NIST table, and between them."""
    assert t_975(freedom) == pytest.approx(wanted, abs=1.5e-3)


def test_student_t_needs_a_degree_of_freedom() -> None:
    with pytest.raises(ValueError, match="0 degrees of freedom"):
        t_975(0)


def test_interval_of_a_textbook_sample() -> None:
    found = interval([2.0, 4.0, 6.0, 8.0])
    half = 3.182 * math.sqrt(20 / 3) / 2
    assert found.mean == 5.0
    assert found.low == pytest.approx(5 - half, rel=1e-6)
    assert found.high == pytest.approx(5 + half, rel=1e-6)
    assert found.next_high == pytest.approx(5 + half * math.sqrt(5), rel=1e-6)
    assert found.next_low == 0.0, "a wait is never negative"


def test_one_replica_has_no_interval() -> None:
    found = interval([3.0])
    assert (found.mean, found.low, found.high, found.next_low) == (3.0, None, None, None)


def test_replicas_without_a_value_are_passed_over() -> None:
    assert interval([None, 2.0, None, 4.0]).mean == 3.0
    assert interval([None, None]).mean is None


def test_pairing_saves_the_variance_that_replicas_share() -> None:
    base = [10.0, 20.0, 30.0, 40.0]
    change = difference([value - 5 for value in base], base, lower_is_better=True)
    assert (change.mean, change.low, change.high) == (-5.0, -5.0, -5.0)
    assert change.variance_saved == 1.0
    assert (change.word, change.better, change.worse) == ("Better", 4, 0)


def test_pairing_of_opposites_costs() -> None:
    change = difference([4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0], lower_is_better=True)
    assert change.word == "Undecided"
    assert change.variance_saved == pytest.approx(-1.0)


def test_equal_replicas_are_the_same() -> None:
    change = difference([1.0, 2.0], [1.0, 2.0], lower_is_better=True)
    assert (change.word, change.mean, change.better, change.worse) == ("Same", 0.0, 0, 0)


def test_ratios_decide_where_all_is_positive() -> None:
    """A half in every replica is a sure gain, however much busy and quiet weeks differ."""
    base = [1.0, 10.0, 100.0, 1000.0]
    change = difference([value / 2 for value in base], base, lower_is_better=True)
    assert change.low is not None
    assert change.high is not None
    assert change.low < 0 < change.high
    assert (change.ratio, change.ratio_low, change.ratio_high) == (0.5, 0.5, 0.5)
    assert change.word == "Better"


def test_without_ratio_the_difference_decides() -> None:
    change = difference([0.0, 0.0, 0.0], [5.0, 6.0, 7.0], lower_is_better=True)
    assert change.ratio is None
    assert change.word == "Better"


def test_more_can_be_better() -> None:
    assert difference([2.0, 4.1], [1.0, 2.0], lower_is_better=False).word == "Better"
    assert difference([2.0, 4.1], [1.0, 2.0], lower_is_better=True).word == "Worse"


def test_one_replica_decides_nothing() -> None:
    change = difference([1.0], [2.0], lower_is_better=True)
    assert (change.word, change.mean, change.low) == ("Undecided", -1.0, None)


def test_variance_and_rounding() -> None:
    assert variance([1.0, 2.0, 3.0, 4.0]) == pytest.approx(5 / 3)
    assert variance([7.0]) == 0.0
    assert significant(1234.56789) == 1234.568
    assert significant(0.00012345678, 3) == 0.000123
