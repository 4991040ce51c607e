"""Maximum likelihood over positive parameters: optimum, intervals, choice between models."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from kfarm_twin.arrays import Floats

FAR = 1e12
AIC_MARGIN = 2.0
"""A richer model must be better by this much in AIC (Burnham and Anderson 2002, section 2.6)."""
STEP = 0.03
"""Step of the differences that give the information, on the log scale."""
WIDEST = 8.0
"""Half-width of an interval on the log scale beyond which the log says nothing."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval."""

    value: float
    low: float
    high: float

    def mapped(self, change: Callable[[float], float]) -> Estimate:
        """The same after a monotone change of scale."""
        ends = change(self.low), change(self.high)
        return Estimate(change(self.value), min(ends), max(ends))

    def times(self, factor: float) -> Estimate:
        """The same in another unit."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Maximum:
    """Where a likelihood is greatest.

    Attributes
    ----------
    at
        Parameters by name, all positive.
    value
        Logarithm of the likelihood there.
    spread
        Covariance of the logarithms of the parameters, in the order of `at`: the inverse of the
        observed information.
    """

    at: Mapping[str, float]
    value: float
    spread: Floats

    @property
    def aic(self) -> float:
        """Akaike's criterion."""
        return 2 * len(self.at) - 2 * self.value

    def estimate(self, name: str, level: float) -> Estimate:
        """A parameter with its Wald interval on the log scale."""
        row = list(self.at).index(name)
        z = NormalDist().inv_cdf((1 + level) / 2)
        width = min(z * math.sqrt(max(float(self.spread[row, row]), 0.0)), WIDEST)
        value = self.at[name]
        return Estimate(value, value * math.exp(-width), value * math.exp(width))

    def draw(self, random: np.random.Generator) -> dict[str, float]:
        """Parameters drawn from the normal approximation on the log scale."""
        centre = np.log(list(self.at.values()))
        drawn = random.multivariate_normal(centre, self.spread, method="eigh")
        return dict(
            zip(
                self.at,
                np.exp(np.clip(drawn, centre - WIDEST, centre + WIDEST)).tolist(),
                strict=True,
            )
        )


def prefers(richer: Maximum, plain: Maximum) -> bool:
    """Whether the data support the richer model."""
    return richer.aic + AIC_MARGIN < plain.aic


def maximise(
    value: Callable[[dict[str, float]], float],
    start: Mapping[str, float],
    bounds: Mapping[str, tuple[float, float]] | None = None,
) -> Maximum:
    """Maximise over the logarithms of positive parameters.

    Parameters
    ----------
    value
        Logarithm of the likelihood by parameters; may be -inf.
    start
        Where to begin.
    bounds
        Least and greatest value of some of the parameters.
    """
    from scipy.optimize import minimize  # noqa: PLC0415 - scipy loads slowly

    names = list(start)
    if not names:
        return Maximum({}, value({}), np.zeros((0, 0)))
    limits = bounds or {}
    low = np.log([limits.get(n, (1e-12, FAR))[0] for n in names])
    high = np.log([limits.get(n, (1e-12, FAR))[1] for n in names])

    def cost(x: Floats) -> float:
        inside = np.clip(x, low, high)
        beyond = float(np.sum((x - inside) ** 2))
        got = value(dict(zip(names, np.exp(inside).tolist(), strict=True)))
        return (-got if math.isfinite(got) else FAR) + 100 * beyond

    x = np.clip(np.log(list(start.values())), low, high)
    for _ in range(3):
        found = minimize(
            cost,
            x,
            method="Nelder-Mead",
            options={
                "xatol": 1e-3,
                "fatol": 1e-4,
                "maxfev": 400 * len(names),
                "adaptive": True,
                "initial_simplex": _simplex(x),
            },
        )
        moved = float(np.max(np.abs(found.x - x)))
        x = found.x
        if moved < 1e-2:
            break
    x = np.clip(x, low, high)
    inside = (x > low + 2 * STEP) & (x < high - 2 * STEP)
    return Maximum(
        dict(zip(names, np.exp(x).tolist(), strict=True)),
        -cost(x),
        _covariance(cost, x, inside),
    )


def _simplex(x: Floats) -> Floats:
    corners = np.tile(x, (x.size + 1, 1))
    corners[1:] += np.eye(x.size) * 0.4
    return corners


def _covariance(cost: Callable[[Floats], float], x: Floats, inside: np.ndarray) -> Floats:
    """Inverse of the Hessian by central differences.

    Directions without information are wide; parameters at a bound have no spread of their own.
    """
    covariance = np.zeros((x.size, x.size))
    free = np.flatnonzero(inside)
    if not free.size:
        return covariance
    hessian = np.empty((free.size, free.size))
    unit = np.eye(x.size)[free] * STEP
    centre = cost(x)
    for i in range(free.size):
        for j in range(i + 1):
            if i == j:
                second = cost(x + unit[i]) - 2 * centre + cost(x - unit[i])
            else:
                second = (
                    cost(x + unit[i] + unit[j])
                    - cost(x + unit[i] - unit[j])
                    - cost(x - unit[i] + unit[j])
                    + cost(x - unit[i] - unit[j])
                ) / 4
            hessian[i, j] = hessian[j, i] = second / STEP**2
    values, vectors = np.linalg.eigh(hessian)
    covariance[np.ix_(free, free)] = (
        vectors @ np.diag(1 / np.maximum(values, 1 / WIDEST**2)) @ vectors.T
    )
    return covariance
