"""Samplers of the failure twin: normal, gamma, Weibull, lognormal; the same bits everywhere.

All rests on the uniform numbers, logarithm and exponential of `rng`; the square root is exact in
IEEE 754. Times are float nanoseconds until they are cut to integers.
"""

from __future__ import annotations

import math

from kfarm_twin._jit import inner, kernel
from kfarm_twin.kernels.rng import FAR_NS, exp, ln, uniform

EXPONENTIAL, WEIBULL, LOGNORMAL, FIXED = 0, 1, 2, 3
"""Codes of distributions."""
TRIES = 31
"""Attempts of the gamma sampler; each succeeds with a probability above 0.95."""
PER_DRAW = 64
"""Ordinals that one gamma draw may use."""
TINY = 1e-300

# AS241 (Wichura, Applied Statistics 37, 1988), PPND16: about 1 part in 1e16.
A0, A1, A2, A3 = (
    3.3871328727963666080,
    133.14166789178437745,
    1971.5909503065514427,
    13731.693765509461125,
)
A4, A5, A6, A7 = (
    45921.953931549871457,
    67265.770927008700853,
    33430.575583588128105,
    2509.0809287301226727,
)
B1, B2, B3, B4 = (
    42.313330701600911252,
    687.18700749205790830,
    5394.1960214247511077,
    21213.794301586595867,
)
B5, B6, B7 = 39307.895800092710610, 28729.085735721942674, 5226.4952788528545610
C0, C1, C2, C3 = (
    1.42343711074968357734,
    4.63033784615654529590,
    5.76949722146069140550,
    3.64784832476320460504,
)
C4, C5, C6, C7 = (
    1.27045825245236838258,
    0.241780725177450611770,
    0.0227238449892691845833,
    7.74545014278341407640e-4,
)
D1, D2, D3, D4 = (
    2.05319162663775882187,
    1.67638483018380384940,
    0.689767334985100004550,
    0.148103976427480074590,
)
D5, D6, D7 = 0.0151986665636164571966, 5.47593808499534494600e-4, 1.05075007164441684324e-9
E0, E1, E2, E3 = (
    6.65790464350110377720,
    5.46378491116411436990,
    1.78482653991729133580,
    0.296560571828504891230,
)
E4, E5, E6, E7 = (
    0.0265321895265761230930,
    0.00124266094738807843860,
    2.71155556874348757815e-5,
    2.01033439929228813265e-7,
)
F1, F2, F3, F4 = (
    0.599832206555887937690,
    0.136929880922735805310,
    0.0148753612908506148525,
    7.86869131145613259100e-4,
)
F5, F6, F7 = 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15


@kernel
def normal_quantile(p: float) -> float:
    """Standard normal quantile of `p` in (0, 1), by AS241."""
    q = p - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        top = ((((((A7 * r + A6) * r + A5) * r + A4) * r + A3) * r + A2) * r + A1) * r + A0
        low = ((((((B7 * r + B6) * r + B5) * r + B4) * r + B3) * r + B2) * r + B1) * r + 1.0
        return q * top / low
    r = math.sqrt(-ln(max(min(p, 1.0 - p), TINY)))
    if r <= 5.0:
        r -= 1.6
        top = ((((((C7 * r + C6) * r + C5) * r + C4) * r + C3) * r + C2) * r + C1) * r + C0
        low = ((((((D7 * r + D6) * r + D5) * r + D4) * r + D3) * r + D2) * r + D1) * r + 1.0
    else:
        r -= 5.0
        top = ((((((E7 * r + E6) * r + E5) * r + E4) * r + E3) * r + E2) * r + E1) * r + E0
        low = ((((((F7 * r + F6) * r + F5) * r + F4) * r + F3) * r + F2) * r + F1) * r + 1.0
    return -top / low if q < 0.0 else top / low


@kernel
def normal_tail(x: float) -> float:
    """Probability that a standard normal exceeds `x`, within 1e-15 (Hart 1968, in West 2005)."""
    size = abs(x)
    if size > 37.0:
        return 0.0 if x > 0.0 else 1.0
    bell = exp(-0.5 * size * size)
    if size < 7.07106781186547:
        top = 3.52624965998911e-02 * size + 0.700383064443688
        top = (((top * size + 6.37396220353165) * size + 33.912866078383) * size) + 112.079291497871
        top = (top * size + 221.213596169931) * size + 220.206867912376
        low = 8.83883476483184e-02 * size + 1.75566716318264
        low = ((low * size + 16.064177579207) * size + 86.7807322029461) * size + 296.564248779674
        low = ((low * size + 637.333633378831) * size + 793.826512519948) * size + 440.413735824752
        tail = bell * top / low
    else:
        chain = size + 4.0 / (size + 0.65)
        chain = size + 3.0 / chain
        chain = size + 2.0 / chain
        chain = size + 1.0 / chain
        tail = bell / chain / 2.506628274631
    return tail if x > 0.0 else 1.0 - tail


@kernel
def power(x: float, exponent: float) -> float:
    """`x` ** `exponent` for `x` >= 0; 0 for 0."""
    return exp(exponent * ln(x)) if x > 0.0 else 0.0


@kernel
def gamma_function(x: float) -> float:
    """Gamma function of `x` >= 1, to 14 digits (Lanczos 1964, with g = 7 and nine terms)."""
    z = x - 1.0
    total = 0.99999999999980993
    total += 676.5203681218851 / (z + 1.0) - 1259.1392167224028 / (z + 2.0)
    total += 771.32342877765313 / (z + 3.0) - 176.61502916214059 / (z + 4.0)
    total += 12.507343278686905 / (z + 5.0) - 0.13857109526572012 / (z + 6.0)
    total += 9.9843695780195716e-6 / (z + 7.0) + 1.5056327351493116e-7 / (z + 8.0)
    t = z + 7.5
    return 2.5066282746310002 * exp((z + 0.5) * ln(t) - t) * total


@kernel
def gamma(shape: float, seed: int, future: int, entity: int, purpose: int, ordinal: int) -> float:
    """Gamma variate of `shape` and scale 1, by Marsaglia and Tsang (ACM TOMS 26, 2000)."""
    first = ordinal * PER_DRAW
    boost, raised = 1.0, shape
    if shape < 1.0:
        raised = shape + 1.0
        boost = power(uniform(seed, future, entity, purpose, first + PER_DRAW - 1), 1.0 / shape)
    d = raised - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    for attempt in range(TRIES):
        x = normal_quantile(uniform(seed, future, entity, purpose, first + 2 * attempt))
        u = uniform(seed, future, entity, purpose, first + 2 * attempt + 1)
        v = 1.0 + c * x
        if v <= 0.0:
            continue
        v = v * v * v
        if ln(u) < 0.5 * x * x + d - d * v + d * ln(v):
            return d * v * boost
    return d * boost


@inner
def lognormal(mean: float, sigma: float, u: float) -> float:
    """Lognormal variate with this mean and standard deviation `sigma` of its logarithm."""
    return mean * exp(sigma * normal_quantile(u) - 0.5 * sigma * sigma)


@kernel
def span_ns(law: int, mean: float, scale: float, shape: float, u: float) -> int:
    """A time [ns] from a uniform number: `scale` is that of a Weibull, whose mean is `mean`."""
    if law == EXPONENTIAL:
        span = -ln(u) * mean
    elif law == WEIBULL:
        span = scale * power(-ln(u), 1.0 / shape)
    elif law == LOGNORMAL:
        span = lognormal(mean, shape, u)
    else:
        span = mean
    return int(span) if span < FAR_NS else FAR_NS


@kernel
def ages_ns(
    law: int,
    mean: float,
    scale: float,
    shape: float,
    seed: int,
    future: int,
    entity: int,
    purpose: int,
) -> float:
    """Age in a renewal process that has run for long [ns].

    A uniform part of a lifetime drawn in proportion to its length (Cox, Renewal Theory, 1962, 5.2).
    """
    u = uniform(seed, future, entity, purpose, PER_DRAW - 2)
    if law == FIXED:
        return u * mean
    if law == LOGNORMAL:
        drawn = uniform(seed, future, entity, purpose, 0)
        return u * lognormal(mean, shape, drawn) * exp(shape * shape)
    if law == WEIBULL:
        long = gamma(1.0 + 1.0 / shape, seed, future, entity, purpose, 0)
        return u * scale * power(long, 1.0 / shape)
    return -ln(u) * mean


@kernel
def left_ns(
    law: int,
    mean: float,
    scale: float,
    shape: float,
    seed: int,
    future: int,
    entity: int,
    purpose: int,
) -> int:
    """What is left of a running span, seen at a time of no special choice [ns]."""
    age = ages_ns(law, mean, scale, shape, seed, future, entity, purpose)
    return int(age) if age < FAR_NS else FAR_NS  # by symmetry of the uniform cut


@kernel
def wear(law: int, mean: float, scale: float, shape: float, age: float) -> float:
    """Integrated hazard from new to `age` [ns]."""
    if age <= 0.0:
        return 0.0
    if law == WEIBULL:
        return power(age / scale, shape)
    if law == LOGNORMAL:
        z = (ln(age / mean) + 0.5 * shape * shape) / shape
        return -ln(max(normal_tail(z), TINY))
    return age / mean


@kernel
def age_at_wear(law: int, mean: float, scale: float, shape: float, amount: float) -> float:
    """Age at which the integrated hazard reaches `amount` [ns]; the inverse of `wear`."""
    if amount <= 0.0:
        return 0.0
    if law == WEIBULL:
        return scale * power(amount, 1.0 / shape)
    if law == LOGNORMAL:
        z = -normal_quantile(max(exp(-amount), TINY))
        return mean * exp(shape * z - 0.5 * shape * shape)
    return amount * mean
