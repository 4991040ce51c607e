"""Counter-based random numbers and the few functions that samplers need: same bits everywhere.

Philox4x32-10 after Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC'11). `ln` and
`exp` follow the reductions and coefficients of fdlibm (Sun Microsystems, e_log.c and e_exp.c) and
use only + - * / besides the exact `frexp` and `ldexp`; the C library's differ between machines.
"""

from __future__ import annotations

import math

import numpy as np

from kfarm_twin._jit import kernel

MASK = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)
LOW_BITS = np.uint64(6)
HIGH_SHIFT = np.uint64(26)
MULTIPLIER_0 = np.uint64(0xD2511F53)
MULTIPLIER_1 = np.uint64(0xCD9E8D57)
WEYL_0 = np.uint64(0x9E3779B9)
WEYL_1 = np.uint64(0xBB67AE85)
ROUNDS = 10
UNIT = 2.0**-52

LN2_HI = 6.93147180369123816490e-01
LN2_LO = 1.90821492927058770002e-10
SQRT_HALF = 0.70710678118654752440
INVERSE_LN2 = 1.44269504088896338700
LG1 = 6.666666666666735130e-01
LG2 = 3.999999999940941908e-01
LG3 = 2.857142874366239149e-01
LG4 = 2.222219843214978396e-01
LG5 = 1.818357216161805012e-01
LG6 = 1.531383769920937332e-01
LG7 = 1.479819860511658591e-01
EX1 = 1.66666666666666019037e-01
EX2 = -2.77777777770155933842e-03
EX3 = 6.61375632143793436117e-05
EX4 = -1.65339022054652515390e-06
EX5 = 4.13813679705723846039e-08
EXP_OVERFLOW = 709.782712893383973096
EXP_UNDERFLOW = -745.13321910194110842

FAR_NS = 1 << 61
"""Later than any horizon [ns]."""


@kernel
def philox(
    c0: np.uint64, c1: np.uint64, c2: np.uint64, c3: np.uint64, k0: np.uint64, k1: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Ten rounds on a counter of four and a key of two 32-bit words, held in 64 bits."""
    for _ in range(ROUNDS):
        p0 = MULTIPLIER_0 * c0
        p1 = MULTIPLIER_1 * c2
        c0 = (p1 >> SHIFT) ^ c1 ^ k0
        c2 = (p0 >> SHIFT) ^ c3 ^ k1
        c1 = p1 & MASK
        c3 = p0 & MASK
        k0 = (k0 + WEYL_0) & MASK
        k1 = (k1 + WEYL_1) & MASK
    return c0, c1, c2, c3


@kernel
def uniform(seed: int, future: int, entity: int, purpose: int, ordinal: int) -> float:
    """A number in the open interval (0, 1), one of 2**52 midpoints.

    All arguments are less than 2**32, `seed` less than 2**63.
    """
    key = np.uint64(seed)
    x0, x1, _, _ = philox(
        np.uint64(entity),
        np.uint64(purpose),
        np.uint64(ordinal),
        np.uint64(future),
        key & MASK,
        key >> SHIFT,
    )
    bits = ((x0 >> LOW_BITS) << HIGH_SHIFT) | (x1 >> LOW_BITS)
    return (float(np.int64(bits)) + 0.5) * UNIT


@kernel
def ln(x: float) -> float:
    """Natural logarithm of a normal positive number, within 1 unit in the last place."""
    mantissa, exponent = math.frexp(x)
    if mantissa < SQRT_HALF:
        mantissa = mantissa * 2.0
        exponent -= 1
    k = float(exponent)
    f = mantissa - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    even = w * (LG2 + w * (LG4 + w * LG6))
    odd = z * (LG1 + w * (LG3 + w * (LG5 + w * LG7)))
    half = 0.5 * f * f
    return k * LN2_HI - ((half - (s * (half + (even + odd)) + k * LN2_LO)) - f)


@kernel
def exp(x: float) -> float:
    """Exponential, within 1 unit in the last place where the result is normal."""
    if x > EXP_OVERFLOW:
        return math.inf
    if x < EXP_UNDERFLOW:
        return 0.0
    k = int(math.floor(x * INVERSE_LN2 + 0.5))  # noqa: RUF046 - compiled, floor gives a float
    high = x - k * LN2_HI
    low = k * LN2_LO
    r = high - low
    t = r * r
    c = r - t * (EX1 + t * (EX2 + t * (EX3 + t * (EX4 + t * EX5))))
    y = 1.0 - ((low - (r * c) / (2.0 - c)) - high)
    if k > 1000:
        return math.ldexp(y, 1000) * math.ldexp(1.0, k - 1000)
    return math.ldexp(y, k)


@kernel
def exponential_ns(u: float, mean_ns: float) -> int:
    """Exponential time [ns] with mean `mean_ns` [ns] from a uniform number, cut at `FAR_NS`."""
    span = -ln(u) * mean_ns
    if span < FAR_NS:
        return int(span)
    return FAR_NS
