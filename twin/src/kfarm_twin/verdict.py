"""When enough futures have been seen: anytime-valid evidence on the share that meets a bound.

Futures are Bernoulli trials (bound met or not). A check claims that the share p of futures that
meet the bound is at least q. Evidence for it is a mixture of likelihood ratios against p = q,

    e = 1/2 (1/q)^s [no future failed] + 1/2 mean over p in (q, 1) of (p/q)^s ((1-p)/(1-q))^f

after s futures that met the bound and f that did not. Under p <= q it is a non-negative
supermartingale of mean at most 1, so by Ville's inequality it ever reaches 1/alpha with probability
at most alpha, however often one looks (Ville 1939; Ramdas et al., "Game-theoretic statistics and
safe anytime-valid inference", Statistical Science 2023). The evidence against is the same with
successes and failures swapped. The mixture has positive terms only and is summed with + * /, so its
bits are the same anywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kfarm_twin.arrays import Floats

Decision = Literal["Passed", "Failed", "Undecided"]


def mixture(met: int, missed: int, share: float) -> float:
    """Mean likelihood ratio against `share`, p uniform between `share` and 1.

    By repeated partial integration the mean is 1/(f+1) times the sum over i = 0..s of the product
    over m < i of (s-m)/(f+2+m) (1-q)/q.
    """
    odds = (1.0 - share) / share
    term = 1.0
    total = 1.0
    for step in range(met):
        term *= (met - step) / (missed + 2 + step) * odds
        total += term
        if term == 0.0 or math.isinf(total):
            break
    return total / (missed + 1)


def evidence(met: int, missed: int, share: float) -> float:
    """Evidence that more than `share` of futures meet the bound; inf when beyond any float."""
    certain = 0.0
    if missed == 0:
        certain = 1.0
        for _ in range(met):
            certain /= share
            if math.isinf(certain):
                break
    return 0.5 * certain + 0.5 * mixture(met, missed, share)


@dataclass
class Sequence:
    """One check as futures come in.

    Attributes
    ----------
    share
        q: share of futures that must meet the bound.
    alpha
        Probability of a wrong decision that is accepted, on either side.
    """

    share: float
    alpha: float
    met: int = 0
    missed: int = 0
    decision: Decision = "Undecided"

    @property
    def futures(self) -> int:
        """Futures seen."""
        return self.met + self.missed

    def add(self, met: int, missed: int) -> Decision:
        """Count a batch; what was decided once stays decided."""
        self.met += met
        self.missed += missed
        if self.decision == "Undecided":
            self.decision = decide(self.met, self.missed, self.share, self.alpha)
        return self.decision


def decide(met: int, missed: int, share: float, alpha: float) -> Decision:
    """Decision after `met` and `missed` futures."""
    if evidence(met, missed, share) >= 1.0 / alpha:
        return "Passed"
    if evidence(missed, met, 1.0 - share) >= 1.0 / alpha:
        return "Failed"
    return "Undecided"


def meets(values: Floats, at_least: float | None, at_most: float | None) -> int:
    """How many values keep the bound; what is no number does not."""
    kept = np.isfinite(values)
    if at_least is not None:
        kept &= values >= at_least
    if at_most is not None:
        kept &= values <= at_most
    return int(kept.sum())


def binomial_tail(trials: int, least: int, share: float) -> float:
    """Probability of at least `least` successes in `trials`, summed outwards from the mode."""
    if least <= 0:
        return 1.0
    if least > trials:
        return 0.0
    mode = min(int((trials + 1) * share), trials)
    weights = [0.0] * (trials + 1)
    weights[mode] = 1.0
    odds = share / (1.0 - share)
    for k in range(mode, trials):
        weights[k + 1] = weights[k] * (trials - k) / (k + 1) * odds
    for k in range(mode, 0, -1):
        weights[k - 1] = weights[k] * k / (trials - k + 1) / odds
    return sum(weights[least:]) / sum(weights)


def quantile_interval(
    values: Floats, share: float, confidence: float
) -> tuple[float, float, float]:
    """Estimate and interval of the `share` quantile from order statistics, free of distributions.

    The interval holds with at least `confidence` for this number of futures (David & Nagaraja,
    "Order statistics", 7.1); where there are too few futures it ends at the least or greatest value
    seen.
    """
    ordered = np.sort(values)
    count = len(ordered)
    at = max(math.ceil(share * count - 1e-9), 1)
    error = (1.0 - confidence) / 2.0
    low = at
    while low > 1 and 1.0 - binomial_tail(count, low, share) > error:
        low -= 1
    high = at
    while high < count and binomial_tail(count, high, share) > error:
        high += 1
    return float(ordered[at - 1]), float(ordered[low - 1]), float(ordered[high - 1])
