"""How often nodes fail, how much they differ, and how often a repair does not hold.

One likelihood over nodes. Node ``i`` has the hazard ``rate * z_i`` with ``z_i`` gamma of mean 1 and
shape ``k``. After each repair the fault is pending with probability ``p`` and then returns after an
exponential time of mean ``1 / mu``, in competition with fresh faults. A gap ``x`` between a repair
and the next fault has the density

    exp(-l x) (l (1 - p + p exp(-mu x)) + p mu exp(-mu x)),    l = rate * z_i

so that a node's likelihood is a polynomial in ``l`` times ``exp(-l X)``, ``X`` its time in
service, and its mean over the gamma law is exact:

    E[l^m exp(-l X)] = rate^m G(k + m) / G(k) k^k / (k + rate X)^(k + m)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kfarm_twin.arrays import Floats
from kfarm_twin.fit.likelihood import Estimate, Maximum, maximise, prefers
from kfarm_twin.fit.log import FaultLog

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
    count
        How many nodes have this very history.
    """

    exposure_h: float
    first: bool
    gaps_h: Floats
    last_h: float
    count: int = 1


@dataclass(frozen=True)
class Returns:
    """What the likelihood over nodes says.

    Attributes
    ----------
    best
        The model that the log supports: ``rate`` [1/h], perhaps ``shape`` of the frailty, perhaps
        ``odds`` that a repair does not hold and the rate ``mu`` [1/h] at which the fault is back.
    gains
        Twice the log likelihood ratio for frailty and for recurrence, each given the other.
    """

    best: Maximum
    gains: dict[str, float]

    def estimate(self, name: str, level: float) -> Estimate | None:
        """A parameter with its interval; None where the log does not support it."""
        return self.best.estimate(name, level) if name in self.best.at else None


BOUNDS = {"shape": (SMALLEST_SHAPE, LARGEST_SHAPE), "odds": (1e-4, 50.0), "mu": (1 / 720, 100.0)}


def histories(log: FaultLog, nodes: int) -> list[NodeHistory]:
    """What the likelihood sees of a log of so many nodes, those that never failed last."""
    seen = []
    for node in range(len(log.nodes)):
        mine = np.flatnonzero(log.node == node)
        starts, ends = log.start_h[mine], log.end_h[mine]
        up = log.span_h - float((ends - starts).sum())
        last = 0.0 if log.is_open[mine[-1]] else log.until_h - float(ends[-1])
        seen.append(NodeHistory(max(up, 1e-6), True, starts[1:] - ends[:-1], last))
    left = nodes - len(seen)
    return [*seen, NodeHistory(log.span_h, False, np.empty(0), 0.0, left)] if left else seen


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
        total += node.count * (scale + top + math.log(float(terms @ np.exp(logs - top)) + 1e-300))
        if node.last_h > 0:
            total += math.log1p(share * (math.exp(-mu * node.last_h) - 1))
    return total


def _polynomial(node: NodeHistory, share: float, mu: float) -> tuple[Floats, float]:
    """Coefficients of a node's polynomial in its hazard, and the logarithm of a factor."""
    terms = np.array([0.0, 1.0]) if node.first else np.array([1.0])
    scale = 0.0
    for gap in node.gaps_h:
        pending = share * math.exp(-mu * gap)
        terms = np.convolve(terms, (mu * pending, 1 - share + pending))
        top = float(terms.max())
        terms, scale = terms / top, scale + math.log(top)
    return terms, scale


def _log_moments(size: int, rate: float, shape: float, exposure_h: float) -> Floats:
    """Logarithm of E[l^m exp(-l X)] for m = 0 .. size - 1."""
    m = np.arange(size)
    if math.isinf(shape):
        return np.asarray(m * math.log(rate) - rate * exposure_h)
    rising = np.concatenate(([0.0], np.cumsum(np.log(shape + m[:-1])))) if size > 1 else np.zeros(1)
    # k^k / (k + rate X)^(k + m), in a form that does not cancel for large k
    shrink = -shape * math.log1p(rate * exposure_h / shape)
    return np.asarray(
        m * math.log(rate) + rising + shrink - m * math.log(shape + rate * exposure_h)
    )


def fit_returns(nodes: list[NodeHistory]) -> Returns:
    """Fit by maximum likelihood; keep frailty and recurrence where the AIC prefers them."""
    faults = sum(int(n.first) + len(n.gaps_h) for n in nodes)
    gaps = np.concatenate([n.gaps_h for n in nodes])
    short = gaps[gaps < np.median(gaps)] if gaps.size else gaps
    start = {
        "rate": faults / sum(n.count * n.exposure_h for n in nodes),
        "shape": 1.0,
        "odds": 0.3,
        "mu": 1 / float(np.clip(short.mean(), 0.1, 100.0)) if short.size else 0.1,
    }

    def fit(*names: str) -> Maximum:
        def value(x: dict[str, float]) -> float:
            odds = x.get("odds", 0.0)
            share = odds / (1 + odds)
            return log_likelihood(
                nodes, x["rate"], x.get("shape", math.inf), share, x.get("mu", 1.0)
            )

        return maximise(value, {name: start[name] for name in names}, BOUNDS)

    plain, returning = fit("rate"), fit("rate", "odds", "mu")
    frail, both = fit("rate", "shape"), fit("rate", "shape", "odds", "mu")
    best = plain
    for richer in (returning, frail, both):
        best = richer if prefers(richer, best) else best
    gains = {
        "frailty": 2 * (both.value - returning.value),
        "recurrence": 2 * (both.value - frail.value),
    }
    return Returns(best, gains)


def fresh_starts(log: FaultLog, returns: Returns) -> Floats:
    """Starts of the faults that are more likely fresh than returns of the one before [h]."""
    at = returns.best.at
    fresh = np.ones(log.start_h.size, np.bool_)
    if "odds" in at:
        share = at["odds"] / (1 + at["odds"])
        for node in range(len(log.nodes)):
            mine = np.flatnonzero(log.node == node)
            gaps = log.start_h[mine[1:]] - log.end_h[mine[:-1]]
            fresh[mine[1:]] = return_shares(gaps, at["rate"], share, at["mu"]) < 0.5
    return np.asarray(log.start_h[fresh])


def return_shares(gaps_h: Floats, rate: float, share: float, mu: float) -> Floats:
    """Probability that each gap ended with a return and not a fresh fault, at the node's rate."""
    pending = share * np.exp(-mu * gaps_h)
    return np.asarray(mu * pending / (mu * pending + rate * (1 - share + pending)))
