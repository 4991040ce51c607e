"""Philox against Random123's vectors, own logarithm and exponential against 40-digit decimals."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kfarm_twin.kernels.rng import FAR_NS, exp, exponential_ns, ln, philox, uniform

ONES = 0xFFFFFFFF
VECTORS = [  # Random123, tests/kat_vectors: philox4x32 10
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([ONES] * 4, [ONES] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]
steady = settings(derandomize=True, deadline=None, max_examples=500)


def ulps(found: float, exact: Decimal) -> float:
    return float(abs(Decimal(found) - exact) / Decimal(math.ulp(float(exact))))


@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS)
def test_known_answers(counter: list[int], key: list[int], expected: list[int]) -> None:
    assert naive.philox(counter, key) == expected
    words = philox(*(np.uint64(word) for word in counter), *(np.uint64(word) for word in key))
    assert [int(word) for word in words] == expected


@steady
@given(st.integers(0, 2**53 - 1), *(st.integers(0, ONES) for _ in range(4)))
def test_uniform_equals_reference_and_is_open(seed: int, f: int, e: int, p: int, o: int) -> None:
    drawn = uniform(seed, f, e, p, o)
    assert drawn == naive.uniform(seed, f, e, p, o)
    assert 0.0 < drawn < 1.0


@steady
@given(st.floats(2.0**-53, 1.0) | st.floats(1e-300, 1e300))
def test_ln_within_one_ulp(x: float) -> None:
    with localcontext() as context:
        context.prec = 60
        exact = Decimal(x).ln()
    assert ln(x) == naive.ln(x)
    assert x == 1.0 or ulps(ln(x), exact) <= 1.0


@steady
@given(st.floats(-708.0, 709.7))
def test_exp_within_one_ulp(x: float) -> None:
    with localcontext() as context:
        context.prec = 60
        exact = Decimal(x).exp()
    assert ulps(exp(x), exact) <= 1.0


def test_exp_at_its_ends() -> None:
    assert exp(0.0) == 1.0
    assert exp(710.0) == math.inf
    assert exp(-746.0) == 0.0


def test_exponential_is_cut_where_time_ends() -> None:
    assert exponential_ns(0.5, math.inf) == FAR_NS
    assert exponential_ns(0.5, 0.0) == 0
    assert exponential_ns(math.exp(-1.0), 1e12) == pytest.approx(1e12, rel=1e-12)
