"""Intervals over replicas: plain arithmetic, so that the operator can conclude without numpy.

Replicas share their chance across policies (common random numbers), so policies are compared by
their differences within each replica.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

from kfarm_api.base import Strict
from pydantic import Field

Word = Literal["Better", "Worse", "Same", "Undecided"]
CONFIDENCE = 95
_T_975 = (
    *((1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (6, 2.447), (7, 2.365)),
    *((8, 2.306), (9, 2.262), (10, 2.228), (11, 2.201), (12, 2.179), (13, 2.160), (14, 2.145)),
    *((15, 2.131), (16, 2.120), (17, 2.110), (18, 2.101), (19, 2.093), (20, 2.086), (21, 2.080)),
    *((22, 2.074), (23, 2.069), (24, 2.064), (25, 2.060), (26, 2.056), (27, 2.052), (28, 2.048)),
    *((29, 2.045), (30, 2.042), (40, 2.021), (60, 2.000), (120, 1.980)),
)
"""Quantile 0.975 of Student's t by degrees of freedom (NIST/SEMATECH e-Handbook, 1.3.6.7.2)."""
_NORMAL_975 = 1.960
Value = float | None


class Interval(Strict):
    """One figure of one policy over the replicas.

    Attributes
    ----------
    mean, low, high
        Mean and its 95 % confidence interval; no interval with one replica.
    next_low, next_high
        Where a further replica falls with 95 % (prediction interval).
    replicas
        The figure in each replica; None where it has no value.
    """

    mean: Value
    low: Value = None
    high: Value = None
    next_low: Value = None
    next_high: Value = None
    replicas: Annotated[list[Value], Field(max_length=4096)]


class Difference(Strict):
    """A figure of one policy less that of the first, paired by replica.

    Attributes
    ----------
    mean, low, high
        Mean difference and its 95 % confidence interval.
    next_low, next_high
        Where the difference in a further replica falls with 95 %.
    better, worse, replicas
        Replicas in which the policy does better or worse, of how many.
    variance_saved
        Share of the variance of an unpaired difference that pairing removes, at most 1; None
        where nothing varies.
    ratio, ratio_low, ratio_high
        Geometric mean of the ratio to the first policy and its 95 % confidence interval; None
        where a figure is not positive. Waits of busy and of quiet weeks differ manyfold, and so
        do their differences, but hardly the ratios.
    word
        ``Same`` where every replica is equal; ``Undecided`` where the interval of the difference
        holds zero and that of the ratio, if there is one, holds one. An effect may add or multiply:
        either interval may show it.
    """

    mean: Value
    low: Value = None
    high: Value = None
    next_low: Value = None
    next_high: Value = None
    better: int
    worse: int
    replicas: int
    variance_saved: Value = None
    ratio: Value = None
    ratio_low: Value = None
    ratio_high: Value = None
    word: Word


def t_975(freedom: int) -> float:
    """Quantile 0.975 of Student's t; between rows of the table linear in 1 / degrees of freedom."""
    if freedom < 1:
        raise ValueError(f"{freedom} degrees of freedom; at least 1")
    if freedom >= _T_975[-1][0]:
        last, value = _T_975[-1]
        return _NORMAL_975 + (value - _NORMAL_975) * last / freedom
    for (low, at_low), (high, at_high) in pairwise(_T_975):
        if low <= freedom < high:
            share = (1 / low - 1 / freedom) / (1 / low - 1 / high)
            return at_low + (at_high - at_low) * share
    raise AssertionError("the table covers every number of degrees of freedom")


def variance(values: Sequence[float]) -> float:
    """Sample variance with n - 1; 0 for a single value."""
    if len(values) < 2:
        return 0.0
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _bands(values: Sequence[float]) -> dict[str, float]:
    """Mean, confidence interval and prediction interval by Student's t."""
    count = len(values)
    mean = math.fsum(values) / count
    if count < 2:
        return {"mean": significant(mean)}
    spread = t_975(count - 1) * math.sqrt(variance(values))
    near, far = spread / math.sqrt(count), spread * math.sqrt(1 + 1 / count)
    bands = {
        "mean": mean,
        "low": mean - near,
        "high": mean + near,
        "next_low": mean - far,
        "next_high": mean + far,
    }
    return {name: significant(value) for name, value in bands.items()}


def interval(values: Sequence[Value], least: float | None = 0.0) -> Interval:
    """Interval of a figure that cannot be less than `least`."""
    known = [value for value in values if value is not None]
    if not known:
        return Interval(mean=None, replicas=list(values))
    bands = _bands(known)
    if least is not None:
        bands = {name: max(least, value) for name, value in bands.items()}
    return Interval(**bands, replicas=list(values))


def difference(
    values: Sequence[Value], base: Sequence[Value], *, lower_is_better: bool
) -> Difference:
    """Compare with the first policy, replica by replica."""
    pairs = [(v, b) for v, b in zip(values, base, strict=True) if v is not None and b is not None]
    deltas = [value - other for value, other in pairs]
    better = sum((delta < 0) == lower_is_better and delta != 0 for delta in deltas)
    worse = sum(delta != 0 for delta in deltas) - better
    if not deltas:
        return Difference(mean=None, better=0, worse=0, replicas=0, word="Undecided")
    bands, ratios = _bands(deltas), _ratios(pairs)
    unpaired = variance([value for value, _ in pairs]) + variance([other for _, other in pairs])
    saved = 1 - variance(deltas) / unpaired if unpaired > 0 else None
    return Difference(
        **bands,
        **ratios,
        better=better,
        worse=worse,
        replicas=len(deltas),
        variance_saved=None if saved is None else significant(saved, 4),
        word=_word(bands, ratios, better + worse, lower_is_better=lower_is_better),
    )


def _ratios(pairs: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Geometric mean ratio and its interval; empty where a figure is not positive."""
    if any(value <= 0 or other <= 0 for value, other in pairs):
        return {}
    bands = _bands([math.log(value / other) for value, other in pairs])
    names = {"ratio": "mean", "ratio_low": "low", "ratio_high": "high"}
    return {name: significant(math.exp(bands[of])) for name, of in names.items() if of in bands}


def _word(
    bands: dict[str, float], ratios: dict[str, float], unequal: int, *, lower_is_better: bool
) -> Word:
    if not unequal:
        return "Same"
    tests = (
        (bands.get("low"), bands.get("high"), 0.0),
        (ratios.get("ratio_low"), ratios.get("ratio_high"), 1.0),
    )
    for low, high, middle in tests:
        if low is not None and high is not None and not low <= middle <= high:
            return "Better" if (high < middle) == lower_is_better else "Worse"
    return "Undecided"


def significant(value: float, figures: int = 7) -> float:
    """Round to so many significant figures: results stay small and read alike everywhere."""
    return float(f"{value:.{figures}g}")
