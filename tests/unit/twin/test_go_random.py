"""Go's random numbers: known outputs of ``math/rand``."""

from __future__ import annotations

from collections import Counter

import pytest
from kfarm_twin.go_random import GoRandom


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (1, (5577006791947779410, 8674665223082153551, 6129484611666145821, 4037200794235010051)),
        (42, (3440579354231278675, 608747136543856411, 5571782338101878760)),
    ],
)
def test_numbers_are_those_of_go(seed: int, expected: tuple[int, ...]) -> None:
    """``rand.Seed(s); rand.Int63()`` of Go 1.26; those of seed 1 are in Go's own tests."""
    source = GoRandom(seed)
    assert tuple(source.int63() for _ in expected) == expected


def test_shuffle_and_permutation_are_those_of_go() -> None:
    """``rand.Seed(42); rand.Shuffle(10, …); rand.Perm(10); rand.Intn(100) …`` of Go 1.26."""
    source = GoRandom(42)
    values = list(range(10))
    source.shuffle(values)
    assert values == [2, 5, 7, 9, 6, 8, 1, 4, 0, 3]
    assert source.permutation(10) == [0, 1, 5, 4, 7, 9, 6, 3, 2, 8]
    assert [source.below(100) for _ in range(5)] == [4, 82, 34, 44, 75]
    assert [source.below(64) for _ in range(5)] == [16, 45, 26, 39, 27]


def test_far_numbers_are_those_of_go() -> None:
    """Number 100,000: the sequence goes on over its blocks."""
    source = GoRandom(7)
    for _ in range(99_999):
        source.int63()
    assert source.int63() == 7218731097698017584


def test_all_values_come_about_equally_often() -> None:
    source = GoRandom(3)
    counts = Counter(source.below(6) for _ in range(6_000))
    assert set(counts) == set(range(6))
    assert all(850 < count < 1150 for count in counts.values())


def test_seeds_that_go_takes_for_equal() -> None:
    assert GoRandom(5).int63() == GoRandom(5 + (1 << 31) - 1).int63()
    assert GoRandom(0).int63() == GoRandom(89_482_311).int63()
