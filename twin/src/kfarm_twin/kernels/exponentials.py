"""Closed forms of temperatures in a cascade, and when they first cross a level.

Four first-order stages feed each other downwards, plant water -> zone -> sink -> die; as deviations
from a reference temperature, with rates a1 to a4 [1/s] that may be 0, equal or nearly so:

    y1' = -a1 y1 + q1                 y1(0) = 0
    y2' = a2 (y1 - y2) + q2           y2(0) = s2
    y3' = a3 (y2 + c3 - y3)           y3(0) = s3
    y4' = a4 (y3 + c4 - y4)           y4(0) = s4

Each solution is a sum of convolutions of the exponentials exp(-a t), which are divided differences
of exp at the rates (Opitz; McCurdy, Ng and Parlett, "Accurate computation of divided differences of
the exponential function", Math. Comp. 43, 1984): by the recursion over sorted rates where they lie
apart, by Taylor's series about their middle where they do not, so that nothing is divided by small
differences. Numbers are passed in a scratch table `w`, since kernels cannot make one.

A first crossing is looked for between the zeros of the derivative, which are found one stage after
another: y' e^(at) of a stage is monotone between zeros of the derivative of the stage above, so
that there is at most one zero in each gap (Rolle).
"""

from __future__ import annotations

import math

from kfarm_twin._jit import inner
from kfarm_twin.arrays import Floats
from kfarm_twin.kernels.rng import exp

# Places of the scratch table: rates a1 to a4, then what drives and where it starts.
A1, A2, A3, A4, Q1, Q2, S2, S3, S4, C3, C4 = range(11)
REFERENCE = 11
AHEAD = 12
"""For callers."""
_RATES = 16  # sorted rates of a convolution
_TABLE = 24  # its divided differences
_ZEROS = 32  # zeros of the derivatives of a stage, and of the one above from _ABOVE on
_ABOVE = 40
SEEN = 48
"""For callers: what `greatest` was last asked for, in `SEEN_PLACES` places, then its answer."""
SEEN_PLACES = 7
SCRATCH = 57

NEVER = math.inf
_CLOSE = 0.5
"""Rates count as close when their difference times the time is below this."""
_TERMS = 17
"""Of Taylor's series: 0.25^17 / 17! is 2e-25."""
_TIME_TOLERANCE = 2.5e-10
"""Crossings are known to a quarter of a nanosecond, or to the precision of their time [s]."""
_RELATIVE = 4e-16
_LEAST_SCALE = 1e-3
"""Brackets are halved in the logarithm down to this time [s]."""
_STEPS = 200
_NOTHING = 1e-200
"""Slopes below this are none [K/s]; a bracket's ends are halved, and must not come to 0."""


@inner
def _close(w: Floats, low: int, high: int, t: float) -> float:
    """Convolution of the rates at places `low` to `high`, which are close, by Taylor's series.

    Sum over m of (-1)^m h_m(d) t^n / (n + m)! e^(-ct) with n + 1 rates, h_m the complete
    homogeneous symmetric polynomial of the deviations d from the middle c, times t.
    """
    n = high - low
    middle = 0.5 * (w[_RATES + low] + w[_RATES + high])
    factor = exp(-middle * t)
    for k in range(1, n + 1):
        factor = factor * t / k
    d0, d1, d2, d3, d4 = 0.0, 0.0, 0.0, 0.0, 0.0
    d0 = -(w[_RATES + low] - middle) * t
    if n > 0:
        d1 = -(w[_RATES + low + 1] - middle) * t
    if n > 1:
        d2 = -(w[_RATES + low + 2] - middle) * t
    if n > 2:
        d3 = -(w[_RATES + low + 3] - middle) * t
    if n > 3:
        d4 = -(w[_RATES + low + 4] - middle) * t
    h0, h1, h2, h3, h4 = 1.0, 1.0, 1.0, 1.0, 1.0
    total, weight = 1.0, 1.0
    for m in range(1, _TERMS):
        h0 = d0 * h0
        h1 = h0 + d1 * h1
        h2 = h1 + d2 * h2
        h3 = h2 + d3 * h3
        h4 = h3 + d4 * h4
        weight = weight / (n + m)
        total += h4 * weight
    return factor * total


@inner
def _sort(w: Floats, count: int) -> None:
    for place in range(_RATES + 1, _RATES + count):
        rate, at = w[place], place
        while at > _RATES and w[at - 1] > rate:
            w[at] = w[at - 1]
            at -= 1
        w[at] = rate


@inner
def _convolution(w: Floats, count: int, t: float) -> float:
    """Convolution of exp(-a t) over `count` rates at `_RATES` (which are sorted)."""
    _sort(w, count)
    if (w[_RATES + count - 1] - w[_RATES]) * t < _CLOSE:
        return _close(w, 0, count - 1, t)
    for place in range(count):
        w[_TABLE + place] = exp(-w[_RATES + place] * t)
    for width in range(1, count):
        for low in range(count - width):
            gap = w[_RATES + low + width] - w[_RATES + low]
            if gap * t < _CLOSE:
                w[_TABLE + low] = _close(w, low, low + width, t)
            else:
                w[_TABLE + low] = (w[_TABLE + low] - w[_TABLE + low + 1]) / gap
    return float(w[_TABLE])


@inner
def pair(a: float, b: float, t: float) -> float:
    """Convolution of exp(-a t) and exp(-b t)."""
    low, gap = min(a, b), abs(a - b)
    z = gap * t
    if z >= _CLOSE:
        return (exp(-low * t) - exp(-(low + gap) * t)) / gap
    total, term = 1.0, 1.0
    for m in range(1, _TERMS):
        term = -term * z / (m + 1)
        total += term
    return exp(-low * t) * t * total


@inner
def _driven(w: Floats, stage: int, t: float) -> float:
    """What starts and drives of plant and zone give to a stage, without the rates a3 and a4."""
    total, count = 0.0, stage - 1
    if w[S2] != 0.0:
        for place in range(count):
            w[_RATES + place] = w[A2 + place]
        total += w[S2] * _convolution(w, count, t)
    if w[Q2] != 0.0:
        for place in range(count):
            w[_RATES + place] = w[A2 + place]
        w[_RATES + count] = 0.0
        total += w[Q2] * _convolution(w, count + 1, t)
    if w[Q1] != 0.0 and w[A2] != 0.0:
        for place in range(count + 1):
            w[_RATES + place] = w[A1 + place]
        w[_RATES + count + 1] = 0.0
        total += w[Q1] * w[A2] * _convolution(w, count + 2, t)
    return total


@inner
def value(w: Floats, stage: int, t: float) -> float:
    """Deviation of a stage (1 to 4) at `t` [s] from the reference [K]."""
    if stage == 1:
        return float(w[Q1] * pair(0.0, w[A1], t)) if w[Q1] != 0.0 else 0.0
    driven = _driven(w, stage, t)
    if stage == 2:
        return driven
    start = w[S3] - w[C3]
    if stage == 3:
        return float(w[C3] + start * exp(-w[A3] * t) + w[A3] * driven)
    own = (w[S4] - w[C3] - w[C4]) * exp(-w[A4] * t)
    if start != 0.0:
        own += w[A4] * start * pair(w[A3], w[A4], t)
    return float(w[C3] + w[C4] + own + w[A4] * w[A3] * driven)


@inner
def drift(w: Floats, t: float) -> float:
    """Derivative of the first stage at `t` [K/s]."""
    return float(w[Q1] * exp(-w[A1] * t))


@inner
def _push(w: Floats, stage: int) -> float:
    """Derivative of a stage at 0 [K/s]."""
    if stage == 1:
        return float(w[Q1])
    if stage == 2:
        return float(w[Q2] - w[A2] * w[S2])
    if stage == 3:
        return float(w[A3] * (w[S2] + w[C3] - w[S3]))
    return float(w[A4] * (w[S3] + w[C4] - w[S4]))


@inner
def _least_rate(w: Floats, stage: int) -> float:
    """Of the exponentials in the derivative of a stage, the rate of the one that stays longest."""
    least, low, gain = NEVER, NEVER, 1.0
    for first in range(stage, 0, -1):
        low = min(low, w[A1 + first - 1])
        if abs(gain * _push(w, first)) > _NOTHING:
            least = low
        gain *= w[A1 + first - 1]
    return least


@inner
def _lean(w: Floats, stage: int, t: float) -> float:
    """Derivative of a stage at `t` times exp(least rate t): its sign, however late [K/s].

    The derivatives are a cascade as well, one without drives. As the difference of two values it
    would be lost in their rounding long before a horizon, and with it the last turning point.
    """
    least = _least_rate(w, stage)
    total, gain = 0.0, 1.0
    for first in range(stage, 0, -1):
        weight = gain * _push(w, first)
        gain *= w[A1 + first - 1]
        if abs(weight) <= _NOTHING:
            continue
        count = stage - first + 1
        if count == 1:
            total += weight * exp(-(w[A1 + stage - 1] - least) * t)
        elif count == 2:
            total += weight * pair(w[A1 + first - 1] - least, w[A1 + first] - least, t)
        else:
            for place in range(count):
                w[_RATES + place] = w[A1 + first - 1 + place] - least
            total += weight * _convolution(w, count, t)
    return total


@inner
def _height(w: Floats, stage: int, level: float, of_slope: bool, t: float) -> float:
    return _lean(w, stage, t) if of_slope else value(w, stage, t) - level


@inner
def _halve(low: float, high: float) -> float:
    """A time between two, in the logarithm where they lie far apart."""
    if high > 4.0 * (low + _LEAST_SCALE):
        return math.sqrt((low + _LEAST_SCALE) * high)
    return 0.5 * (low + high)


@inner
def _root(
    w: Floats, stage: int, level: float, of_slope: bool,
    low: float, high: float, at_low: float, at_high: float,
) -> float:  # fmt: skip
    """Where a value (or a slope) that has opposite signs at two times changes it.

    Regula falsi (Illinois), and halving where it does not halve the bracket in two steps. The
    answer is the end of the bracket at which the sign is that of `high`.
    """
    rising = at_high > at_low
    span, since = high - low, 0
    for _ in range(_STEPS):
        if high - low <= _TIME_TOLERANCE or high - low <= _RELATIVE * high:
            break
        far = high > 4.0 * (low + _LEAST_SCALE)
        since += 1
        if far or since > 2:
            middle = _halve(low, high)
            span, since = high - low, 0
        else:
            middle = high - at_high * (high - low) / (at_high - at_low)
            margin = 0.5 * _TIME_TOLERANCE
            middle = min(max(middle, low + margin), high - margin)
        here = _height(w, stage, level, of_slope, middle)
        if (here > 0.0) == rising:
            high, at_high = middle, here
            at_low = 0.5 * at_low
        else:
            low, at_low = middle, here
            at_high = 0.5 * at_high
        if high - low < 0.5 * span:
            span, since = high - low, 0
    return high


@inner
def zeros(w: Floats, stage: int, horizon: float) -> int:
    """Number of zeros of the derivative of a stage inside (0, horizon), written from `_ZEROS` on.

    A derivative that only touches zero has no zero in this sense.
    """
    found = 0
    for upto in range(2, stage + 1):
        for place in range(found):
            w[_ABOVE + place] = w[_ZEROS + place]
        gaps, found, low = found + 1, 0, 0.0
        at_low = _push(w, upto)
        for gap in range(gaps):
            high = w[_ABOVE + gap] if gap < gaps - 1 else horizon
            at_high = _lean(w, upto, high)
            if at_low < 0.0 < at_high or at_high < 0.0 < at_low:  # a product may underflow
                w[_ZEROS + found] = _root(w, upto, 0.0, True, low, high, at_low, at_high)
                found += 1
            if at_high != 0.0:
                low, at_low = high, at_high
    return found


@inner
def zero(w: Floats, place: int) -> float:
    """A zero that `zeros` found."""
    return float(w[_ZEROS + place])


@inner
def greatest(w: Floats, stage: int, horizon: float) -> float:
    """Greatest deviation of a stage on [0, horizon]; where is left at `_ABOVE`."""
    found = zeros(w, stage, horizon)
    best, at = value(w, stage, 0.0), 0.0
    for place in range(found + 1):
        t = w[_ZEROS + place] if place < found else horizon
        here = value(w, stage, t)
        if here > best:
            best, at = here, t
    w[_ABOVE] = at
    return best


@inner
def greatest_at(w: Floats) -> float:
    """Where `greatest` found it [s]."""
    return float(w[_ABOVE])


@inner
def first_rise(w: Floats, stage: int, level: float, horizon: float) -> float:
    """First time in [0, horizon] after which a stage is above a level, having not been [s].

    A stage that starts above must come down first; one that starts at the level and rises crosses
    at 0. `NEVER` when there is none.
    """
    at_low = value(w, stage, 0.0) - level
    if at_low == 0.0 and _push(w, stage) > 0.0:
        return 0.0
    found, low = zeros(w, stage, horizon), 0.0
    for gap in range(found + 1):
        high = w[_ZEROS + gap] if gap < found else horizon
        at_high = value(w, stage, high) - level
        if at_low <= 0.0 < at_high:
            return _root(w, stage, level, False, low, high, at_low, at_high)
        low, at_low = high, at_high
    return NEVER


@inner
def first_fall(w: Floats, stage: int, level: float, horizon: float) -> float:
    """As `first_rise`, for the first time after which a stage is below a level."""
    at_low = value(w, stage, 0.0) - level
    if at_low == 0.0 and _push(w, stage) < 0.0:
        return 0.0
    found, low = zeros(w, stage, horizon), 0.0
    for gap in range(found + 1):
        high = w[_ZEROS + gap] if gap < found else horizon
        at_high = value(w, stage, high) - level
        if at_high < 0.0 <= at_low:
            return _root(w, stage, level, False, low, high, at_low, at_high)
        low, at_low = high, at_high
    return NEVER
