"""How often nodes fail, how much they differ, and how often a repair does not hold.

One likelihood over nodes. Node ``i`` has the hazard ``rate * z_i`` with ``z_i`` gamma of mean 1 and
shape ``k``. After each repair the fault is pending with probability ``p`` and then returns after an
exponential time of mean ``1 / mu``, in competition with fresh faults. A gap ``x`` between a repair
and the next fault has the density

    exp(-l x) (l (1 - p + p exp(-mu x)) + p mu exp(-mu x)),    l = rate * z_i

so that a node's likelihood is a polynomial in ``l`` times ``exp(-l X)``, ``X`` its time in service,
and its mean over the gamma law is exact: E[l^m exp(-l X)] = rate^m G(k+m)/G(k) k^k/(k+rate X)^(k+m).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kfarm_twin.arrays import Floats
from kfarm_twin.fit.likelihood import Estimate, Maximum, maximise, prefers

SMALLEST_SHAPE, LARGEST_SHAPE = 0.05, 1000.0


@dataclass(frozen=True)
class NodeHistory:
    """One node as the likelihood sees it.

    Attributes
    ----------
    exposure_h
        Time in service [h].
    first
        Whether it ever failed.
    gaps_h
        Times from a repair to the next fault [h].
    last_h
        Time from the last repair to the end of the log [h]; 0 when it never failed or is down.
    """

    exposure_h: float
    first: bool
    gaps_h: Floats
    last_h: float


@dataclass(frozen=True)
class Returns:
    """What the likelihood over nodes says.

    Attributes
    ----------
    rate_per_h
        Mean rate of fresh faults of one node [1/h].
    frailty
        Shape of the gamma law; None where the log does not support that nodes differ.
    recurrence
        Probability that a repair does not hold; None where the log does not support any.
    within_h
        Mean time to the return [h].
    shares
        For each gap of `gaps` in order: the probability that it ended with a return.
    """

    rate_per_h: Estimate
    frailty: Estimate | None
    recurrence: Estimate | None
    within_h: Estimate | None
    gains: dict[str, float]


def log_likelihood(
    nodes: list[NodeHistory], rate: float, shape: float, share: float, mu: float
) -> float:
    """Logarithm of the likelihood; `shape` infinite: all nodes alike.

    Parameters
    ----------
    rate, mu
        Per hour.
    """
    total = 0.0
    for node in nodes:
        terms, scale = _polynomial(node, share, mu)
        logs = _log_moments(terms.size, rate, shape, node.exposure_h)
        top = float(np.max(logs))
        total += scale + top + math.log(float(terms @ np.exp(logs - top)) + 1e-300)
        if node.last_h > 0:
            total += math.log1p(share * (math.exp(-mu * node.last_h) - 1))
    return total


def _polynomial(node: NodeHistory, share: float, mu: float) -> tuple[Floats, float]:
    """Coefficients of the product over a node's faults by power of its hazard, and log of a factor."""
    terms = np.array([0.0, 1.0]) if node.first else np.array([1.0])
    scale = 0.0
    for gap in node.gaps_h:
        pending = share * math.exp(-mu * gap)
        terms = np.convolve(terms, (mu * pending, 1 - share + pending))
        top = float(terms.max())
        terms, scale = terms / top, scale + math.log(top)
    return terms, scale


def _log_moments(size: int, rate: float, shape: float, exposure_h: float) -> Floats:
    """log E[l^m exp(-l X)] for m = 0 .. size - 1."""
    m = np.arange(size)
    if math.isinf(shape):
        return np.asarray(m * math.log(rate) - rate * exposure_h)
    rising = np.concatenate(([0.0], np.cumsum(np.log(shape + m[:-1])))) if size > 1 else np.zeros(1)
    # k^k / (k + rate X)^(k + m), in a form that does not cancel for large k
    shrink = -shape * math.log1p(rate * exposure_h / shape)
    return np.asarray(m * math.log(rate) + rising + shrink - m * math.log(shape + rate * exposure_h))


def fit_returns(nodes: list[NodeHistory], level: float) -> Returns:
    """Fit by maximum likelihood; keep frailty and recurrence where the AIC prefers them."""
    faults = sum(int(n.first) + len(n.gaps_h) for n in nodes)
    rate = faults / max(sum(n.exposure_h for n in nodes), 1e-9)
    gaps = np.concatenate([n.gaps_h for n in nodes]) if nodes else np.empty(0)
    short = gaps[gaps < np.median(gaps)] if gaps.size else gaps
    mu = 1 / max(float(short.mean()), 0.1) if short.size else 0.1
    start = {"rate": rate, "shape": 1.0, "odds": 0.3, "mu": mu}

    def fit(names: tuple[str, ...]) -> Maximum:
        def value(x: dict[str, float]) -> float:
            odds = x.get("odds", 0.0)
            return log_likelihood(
                nodes, x["rate"], x.get("shape", math.inf), odds / (1 + odds), x.get("mu", 1.0)
            )

        bounds = {"shape": (SMALLEST_SHAPE, LARGEST_SHAPE), "odds": (1e-4, 50.0)}
        return maximise(value, {name: start[name] for name in names}, bounds)

    plain, returning = fit(("rate",)), fit(("rate", "odds", "mu"))
    frail, both = fit(("rate", "shape")), fit(("rate", "shape", "odds", "mu"))
    gains = {
        "frailty": 2 * (both.value - returning.value),
        "recurrence": 2 * (both.value - frail.value),
    }
    best = plain
    for richer in (returning, frail, both):
        best = richer if prefers(richer, best) else best
    return Returns(
        best.estimate("rate", level),
        best.estimate("shape", level) if "shape" in best.at else None,
        best.estimate("odds", level).mapped(lambda odds: odds / (1 + odds))
        if "odds" in best.at
        else None,
        best.estimate("mu", level).mapped(lambda mu: 1 / mu) if "mu" in best.at else None,
        gains,
    )


def return_shares(gaps_h: Floats, rate: float, share: float, mu: float) -> Floats:
    """Probability that each gap ended with a return and not a fresh fault, at the node's rate."""
    pending = share * np.exp(-mu * gaps_h)
    return np.asarray(mu * pending / (mu * pending + rate * (1 - share + pending)))
