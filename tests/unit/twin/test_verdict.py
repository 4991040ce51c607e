"""When futures are enough: e-values against integrals, and how often they are wrong."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kfarm_twin.verdict import (
    Sequence,
    binomial_tail,
    decide,
    evidence,
    meets,
    mixture,
    quantile_interval,
)

steady = settings(derandomize=True, deadline=None, max_examples=100)


@pytest.mark.parametrize(("met", "missed", "share"), [(70, 0, 0.95), (90, 3, 0.95), (5, 9, 0.5)])
def test_mixture_is_the_mean_likelihood_ratio(met: int, missed: int, share: float) -> None:
    def ratio(p: float) -> float:
        return float((p / share) ** met * ((1 - p) / (1 - share)) ** missed)

    cells = 20_000
    width = (1.0 - share) / cells
    area = math.fsum(ratio(share + (cell + 0.5) * width) * width for cell in range(cells))
    assert mixture(met, missed, share) == pytest.approx(area / (1.0 - share), rel=1e-5)


@steady
@given(st.integers(0, 300), st.integers(0, 60), st.sampled_from([0.5, 0.9, 0.95, 0.99, 0.05]))
def test_evidence_is_a_martingale_at_the_bound(met: int, missed: int, share: float) -> None:
    """Its mean after one more future at p = q is what it was: Ville's inequality applies."""
    after = share * evidence(met + 1, missed, share) + (1 - share) * evidence(
        met, missed + 1, share
    )
    assert after == pytest.approx(evidence(met, missed, share), rel=1e-9)


def test_clean_futures_that_approve() -> None:
    """95 % with 95 % takes at least 59 clean futures with one look; a few more with any number."""
    needed = next(n for n in itertools.count(1) if decide(n, 0, 0.95, 0.05) == "Passed")
    assert 59 <= needed <= 70
    assert decide(58, 0, 0.95, 0.05) == "Undecided"
    assert decide(0, 3, 0.95, 0.05) == "Failed"


def test_no_number_is_not_met() -> None:
    values = np.array([math.nan, math.inf, -math.inf, 0.5])
    assert meets(values, 0.0, None) == 1
    assert meets(values, None, 1.0) == 1
    sequence = Sequence(0.95, 0.05)
    for _ in range(40):
        sequence.add(meets(np.full(32, math.nan), 0.9, None), 32)
        assert sequence.decision != "Passed"


def test_order_of_futures_does_not_matter_to_the_evidence() -> None:
    outcomes = np.random.default_rng(3).random(320) < 0.97
    batches = [outcomes[i : i + 32] for i in range(0, 320, 32)]
    found = set()
    for order in (batches, batches[::-1]):
        sequence = Sequence(0.95, 0.05)
        for batch in order:
            sequence.add(int(batch.sum()), int((~batch).sum()))
        found.add(evidence(sequence.met, sequence.missed, 0.95))
    assert len(found) == 1


def test_decisions_hold() -> None:
    sequence = Sequence(0.95, 0.05)
    assert sequence.add(96, 0) == "Passed"
    assert sequence.add(0, 500) == "Passed"


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_false_approvals_at_the_bound(share: float) -> None:
    """200 plans whose futures meet the bound with p = q exactly; looked at after every 32."""
    draws = np.random.default_rng(11).random((200, 1024)) < share
    approved = 0
    for plan in draws:
        sequence = Sequence(share, 0.05)
        for batch in plan.reshape(32, 32):
            if sequence.add(int(batch.sum()), int((~batch).sum())) != "Undecided":
                break
        approved += sequence.decision == "Passed"
    assert approved <= 200 * 0.05 + 3 * math.sqrt(200 * 0.05 * 0.95)


def test_large_counts_stay_numbers() -> None:
    assert decide(65_536, 0, 0.5, 0.01) == "Passed"
    assert decide(0, 65_536, 0.5, 0.01) == "Failed"
    assert decide(62_259, 3_277, 0.95, 0.01) == "Undecided"


@steady
@given(st.integers(1, 200), st.integers(1, 99), st.data())
def test_binomial_tail_equals_the_exact_sum(trials: int, percent: int, data: st.DataObject) -> None:
    least, p = data.draw(st.integers(0, trials)), Fraction(percent, 100)
    exact = sum(
        math.comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(least, trials + 1)
    )
    assert binomial_tail(trials, least, percent / 100) == pytest.approx(float(exact), rel=1e-9)


def test_quantile_interval_covers() -> None:
    """The interval for the 95 % quantile of 400 uniforms holds it in at least 95 % of samples."""
    samples = np.random.default_rng(5).random((400, 400))
    intervals = [quantile_interval(sample, 0.95, 0.95) for sample in samples]
    held = sum(low <= 0.95 <= high for _, low, high in intervals)
    assert held >= 400 * 0.95 - 3 * math.sqrt(400 * 0.95 * 0.05)
    assert all(low <= at <= high for at, low, high in intervals)
