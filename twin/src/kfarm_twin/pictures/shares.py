"""Rounding that keeps sums: what is shown adds up to what is shown."""

from __future__ import annotations

import math
from collections.abc import Sequence


def rounded(values: Sequence[float], unit: float) -> list[int]:
    """Whole numbers of `unit` whose sum is the rounded sum, by the largest remainder.

    Each differs from its value by less than one unit. Ties go to the first.

    Parameters
    ----------
    values
        Not negative, finite.

    Raises
    ------
    ValueError
        Where a value is negative or not finite.
    """
    if any(not math.isfinite(value) or value < 0.0 for value in values):
        raise ValueError("values to add up must be finite and not negative")
    exact = [value / unit for value in values]
    whole = [math.floor(value) for value in exact]
    missing = max(0, min(round(math.fsum(exact)) - sum(whole), len(whole)))
    order = sorted(range(len(exact)), key=lambda i: whole[i] - exact[i])
    for index in order[:missing]:
        whole[index] += 1
    return whole
