"""Samplers against the standard library and closed forms; errors stated where they are bounded."""

from __future__ import annotations

import math
import random
from statistics import NormalDist, fmean, variance

import fleet_reference as reference
import pytest
from kfarm_twin.kernels import samplers as s
from kfarm_twin.kernels.fleet_lines import shift_end
from kfarm_twin.kernels.rng import FAR_NS, uniform

HOUR = 3600 * 10**9
DAY = 24 * HOUR
DRAWS = 20_000
MEAN = 100.0 * HOUR


@pytest.mark.parametrize("p", [1e-300, 1e-100, 1e-20, 1e-9, 0.0249, 0.075, 0.0751, 0.3, 0.5])
def test_the_normal_quantile_is_that_of_the_library(p: float) -> None:
    """Both are AS241; within 4 parts in 1e16 times its slope."""
    expected = NormalDist().inv_cdf(p)
    assert s.normal_quantile(p) == pytest.approx(expected, rel=2e-15)
    if p > 1e-9:
        assert s.normal_quantile(1.0 - p) == pytest.approx(-NormalDist().inv_cdf(p), rel=1e-13)


def test_the_normal_quantile_rises() -> None:
    grid = [s.normal_quantile(k / 4000.0) for k in range(1, 4000)]
    assert grid == sorted(grid)


@pytest.mark.parametrize("x", [-40.0, -8.0, -1.0, 0.0, 0.3, 1.0, 3.0, 5.0, 7.07, 7.08, 20.0, 36.0])
def test_the_normal_tail_is_half_erfc(x: float) -> None:
    expected = 0.5 * math.erfc(x / math.sqrt(2.0))
    assert s.normal_tail(x) == pytest.approx(expected, rel=1e-13 if x < 7.0 else 3e-9)


def test_the_normal_tail_and_quantile_are_inverse() -> None:
    for p in (1e-12, 1e-6, 0.01, 0.4, 0.5, 0.9):
        assert s.normal_tail(-s.normal_quantile(p)) == pytest.approx(p, rel=1e-12)


@pytest.mark.parametrize("x", [1.0, 1.05, 1.5, 2.0, 3.7, 11.0, 21.0])
def test_the_gamma_function_is_that_of_the_library(x: float) -> None:
    assert s.gamma_function(x) == pytest.approx(math.gamma(x), rel=1e-13)


@pytest.mark.parametrize("exponent", [0.1, 0.5, 1.0, 3.0, 20.0])
def test_powers_are_those_of_the_library(exponent: float) -> None:
    for x in (1e-9, 0.3, 1.0, 7.0, 1e6):
        assert s.power(x, exponent) == pytest.approx(x**exponent, rel=2e-14)
    assert s.power(0.0, exponent) == 0.0


def _off(sample: list[float], mean: float, spread: float, fourth: float) -> tuple[float, float]:
    """Standard errors by which mean and variance are off; `fourth` is the fourth central moment."""
    n = len(sample)
    of_mean = (fmean(sample) - mean) / (spread / math.sqrt(n))
    var = spread * spread
    of_variance = (variance(sample) - var) / math.sqrt((fourth - var * var) / n)
    return of_mean, of_variance


@pytest.mark.parametrize("shape", [0.2, 0.93, 1.0, 2.5, 40.0])
def test_gamma_variates_have_the_moments_of_a_gamma_law(shape: float) -> None:
    """Mean and variance k; fourth central moment 3 k^2 + 6 k. Within 4 standard errors."""
    drawn = [s.gamma(shape, 5, 1, node, 7, 0) for node in range(DRAWS)]
    fourth = 3.0 * shape * shape + 6.0 * shape
    off = _off(drawn, shape, math.sqrt(shape), fourth)
    assert max(map(abs, off)) < 4.0
    assert min(drawn) >= 0.0
    wrong = _off(drawn, shape * 1.1, math.sqrt(shape), fourth)
    assert abs(wrong[0]) > 4.0 or shape < 1.0


def test_gamma_variates_of_shape_one_are_exponential() -> None:
    """Largest distance from the law below 1.95 / sqrt(n): Kolmogorov-Smirnov at 0.1 %."""
    drawn = sorted(s.gamma(1.0, 9, 0, node, 7, 3) for node in range(DRAWS))
    distance = max(abs(1.0 - math.exp(-x) - (k + 0.5) / DRAWS) for k, x in enumerate(drawn))
    assert distance < 1.95 / math.sqrt(DRAWS)


LAWS = [("exp", s.EXPONENTIAL, 1.0), ("weibull", s.WEIBULL, 0.45), ("weibull", s.WEIBULL, 3.0),
        ("lognormal", s.LOGNORMAL, 0.8), ("fixed", s.FIXED, 1.0)]  # fmt: skip


def _scale(shape: float) -> float:
    return MEAN / math.gamma(1.0 + 1.0 / shape)


def _second(law: int, shape: float) -> float:
    """Second moment over the squared mean."""
    if law == s.WEIBULL:
        return math.gamma(1.0 + 2.0 / shape) / math.gamma(1.0 + 1.0 / shape) ** 2
    return {s.EXPONENTIAL: 2.0, s.LOGNORMAL: math.exp(shape * shape), s.FIXED: 1.0}[law]


@pytest.mark.parametrize(("_", "law", "shape"), LAWS)
def test_spans_have_their_mean(_: str, law: int, shape: float) -> None:
    """Integrated over the unit interval by 200,000 midpoints: no sampling error."""
    steps = 200_000
    spans = (
        s.span_ns(law, MEAN, _scale(shape), shape, (k + 0.5) / steps) / MEAN for k in range(steps)
    )
    assert math.fsum(spans) / steps == pytest.approx(1.0, rel=2e-3)


@pytest.mark.parametrize(("_", "law", "shape"), LAWS)
def test_ages_at_equilibrium_have_the_mean_of_renewal_theory(
    _: str, law: int, shape: float
) -> None:
    """Half the second moment over the mean (Cox 1962, 5.2); within 4 standard errors."""
    ages = [s.ages_ns(law, MEAN, _scale(shape), shape, 3, 0, node, 25) for node in range(DRAWS)]
    error = math.sqrt(variance(ages) / DRAWS)
    expected = 0.5 * _second(law, shape) * MEAN
    assert abs(fmean(ages) - expected) < 4.0 * error
    assert law == s.EXPONENTIAL or abs(fmean(ages) - MEAN) > 4.0 * error


@pytest.mark.parametrize(("_", "law", "shape"), LAWS[:4])
def test_wear_is_minus_the_logarithm_of_survival_and_has_its_inverse(
    _: str, law: int, shape: float
) -> None:
    scale = _scale(shape)
    for share in (0.01, 0.2, 1.0, 2.5):
        age = share * MEAN
        worn = s.wear(law, MEAN, scale, shape, age)
        assert s.age_at_wear(law, MEAN, scale, shape, worn) == pytest.approx(age, rel=1e-9)
        # a span longer than this age comes of a uniform number beyond exp(-worn)
        survival = math.exp(-worn)
        u = 1.0 - survival if law == s.LOGNORMAL else survival
        assert s.span_ns(law, MEAN, scale, shape, u) == pytest.approx(age, rel=1e-9)
    assert s.wear(law, MEAN, scale, shape, 0.0) == 0.0
    assert s.age_at_wear(law, MEAN, scale, shape, 0.0) == 0.0


def test_what_lasts_longer_than_any_horizon_is_cut() -> None:
    assert s.span_ns(s.LOGNORMAL, 1e18, 0.0, 5.0, 1.0 - 1e-12) == FAR_NS
    assert s.span_ns(s.WEIBULL, 1e18, 1e18, 0.1, 1e-9) == FAR_NS


def _minute_by_minute(now: int, work: int, start: int, hours: int, days: int) -> int:
    """A calendar that is walked minute by minute: all times are whole minutes."""
    minute = now
    while work > 0:
        day, of_day = minute // 1440, minute % 1440
        if day % 7 < days and start * 60 <= of_day < (start + hours) * 60:
            work -= 1
        minute += 1
    return minute


def _shift_end(now: int, work: int, start: int, span: int, days: int) -> int:
    plain = getattr(shift_end, "py_func", shift_end)
    return int(plain(now, work, start, span, days))


def test_a_repair_in_shifts_ends_as_on_a_calendar() -> None:
    """Within three weeks either side of the start, in whole minutes; no error at all."""
    draw, minute = random.Random(7), 60 * 10**9  # noqa: S311
    for _ in range(1500):
        now, work = draw.randrange(-30_000, 30_000), draw.choice([0, 1, 59, 480, 481, 1440, 4000])
        hours = draw.choice([1, 8, 9, 24])
        start = draw.randrange(0, 25 - hours)
        days = draw.randint(1, 7)
        expected = _minute_by_minute(now, work, start, hours, days) * minute
        case = (now * minute, work * minute, start * HOUR, hours * HOUR, days)
        assert _shift_end(*case) == expected, case
        assert reference.shift_end(*case) == expected, case


def test_a_repair_longer_than_all_shifts_never_ends() -> None:
    assert _shift_end(0, FAR_NS // 32, 8 * HOUR, 8 * HOUR, 5) == FAR_NS
    assert _shift_end(-DAY, 5 * DAY, 0, DAY, 7) == 4 * DAY


def test_uniform_numbers_of_two_purposes_are_not_alike() -> None:
    """Correlation below 4 / sqrt(n)."""
    one = [uniform(1, 0, node, 7, 0) - 0.5 for node in range(DRAWS)]
    other = [uniform(1, 0, node, 8, 0) - 0.5 for node in range(DRAWS)]
    product = fmean(x * y for x, y in zip(one, other, strict=True)) * 12.0
    assert abs(product) < 4.0 / math.sqrt(DRAWS)
