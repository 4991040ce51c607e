"""When faults come: steady, in short bursts, in spells of unrest.

The fresh faults of the fleet are a Markovian arrival process of up to four states: quiet or unrest,
and inside a burst or not. Primary faults come at a rate that depends on the spell; each begins a
burst with some probability; inside a burst followers come at a further rate until it ends. The
number of a burst is then geometric and its followers lie at exponential distances from its first.
The likelihood is exact: alternating products of exp(D0 dt) and D1 (Neuts 1979; Asmussen 2003,
section XI.1), with the spells in their steady state when the log begins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from kfarm_twin.arrays import Floats
from kfarm_twin.fit.likelihood import Maximum, maximise, prefers

CLOSEST_H = 0.02
"""Faults are taken to be at least so far apart [h]: logs round, and a tie has no likelihood."""
BOUNDS = {
    "odds": (1e-3, 20.0),
    "size": (0.1, 200.0),
    "end": (1 / 24, 30.0),
    "excess": (0.1, 99.0),
    "share": (0.01, 3.0),
    "cease": (1 / 2000, 1 / 168),
}
"""A burst is over within days; a spell of unrest lasts a week or more, as what is shorter is a
burst to whoever plans spares."""


def dispersion(mean_per_h: float, x: dict[str, float]) -> float:
    """Variance of the number of faults in a long time over its mean.

    Compound counts: Var N / E N = Var s / E s + E s F, with s faults per primary and F the index
    of the primaries, 1 + 2 var(rate) tau / mean rate, tau the memory of the spells (Fischer and
    Meier-Hellstern 1993, eq. 20).
    """
    begins = x["odds"] / (1 + x["odds"]) if "odds" in x else 0.0
    followers = x.get("size", 0.0)
    per = 1 + begins * followers
    spread = begins * (followers + 2 * followers**2) - (begins * followers) ** 2
    index = 1.0
    if "share" in x:
        restless = x["share"] / (1 + x["share"])
        jump = primary_rate(mean_per_h, x) * x["excess"]
        memory = 1 / (x["cease"] * (1 + x["share"]))
        index += 2 * restless * (1 - restless) * jump**2 * memory * per / mean_per_h
    return spread / per + per * index


@dataclass(frozen=True)
class Arrivals:
    """How fresh faults come in time.

    Attributes
    ----------
    chosen
        The model that the log supports: ``steady``, ``bursts``, ``unrest``, ``both``.
    maxima
        Each model that was tried.
    faults
        Fresh faults.
    mean_per_h
        Of the whole fleet [1/h].
    """

    chosen: str
    maxima: dict[str, Maximum]
    faults: int
    mean_per_h: float

    @property
    def best(self) -> Maximum:
        """The chosen model."""
        return self.maxima[self.chosen]


MODELS: dict[str, tuple[str, ...]] = {
    "steady": (),
    "bursts": ("odds", "size", "end"),
    "unrest": ("excess", "share", "cease"),
    "both": ("odds", "size", "end", "excess", "share", "cease"),
}


def primary_rate(mean_per_h: float, x: dict[str, float]) -> float:
    """Rate of primary faults in quiet times at which the mean of all is `mean_per_h` [1/h]."""
    begins = x["odds"] / (1 + x["odds"]) if "odds" in x else 0.0
    restless = x["share"] / (1 + x["share"]) if "share" in x else 0.0
    return mean_per_h / (1 + begins * x.get("size", 0.0)) / (1 + restless * x.get("excess", 0.0))


def matrices(mean_per_h: float, x: dict[str, float]) -> tuple[Floats, Floats, Floats]:
    """D0, D1 and the steady state without bursts; states (quiet, unrest) x (outside, inside).

    `odds` that a primary fault begins a burst, `size` its mean number of followers, and `end` the
    rate at which it ends [1/h]; unrest has (1 + `excess`) as many faults, takes `share` of the time
    (as odds) and ends at the rate `cease` [1/h].
    """
    rate = primary_rate(mean_per_h, x)
    rates = np.array([rate, rate * (1 + x.get("excess", 0.0))])
    cease = x.get("cease", 1.0)
    begin = cease * x["share"] if "share" in x else 0.0
    odds = x.get("odds", 0.0)
    share = odds / (1 + odds)
    end = x.get("end", 1.0)
    more = x.get("size", 0.0) * end
    d0, d1 = np.zeros((4, 4)), np.zeros((4, 4))
    for spell in (0, 1):
        out, inside = 2 * spell, 2 * spell + 1
        d1[out, out], d1[out, inside] = rates[spell] * (1 - share), rates[spell] * share
        d1[inside, inside] = rates[spell] + more
        d0[inside, out] = end
        leave = cease if spell else begin
        d0[out, 2 - out], d0[inside, 4 - inside] = leave, leave
    d0 -= np.diag(d0.sum(axis=1) + d1.sum(axis=1))
    quiet = cease / (begin + cease)
    return d0, d1, np.array([quiet, 0.0, 1 - quiet, 0.0])


def log_likelihood(gaps_h: Floats, tail_h: float, mean_per_h: float, x: dict[str, float]) -> float:
    """Logarithm of the likelihood of faults with these gaps, the last followed by `tail_h` [h]."""
    d0, d1, begin = matrices(mean_per_h, x)
    values, vectors = np.linalg.eig(d0)
    inverse = np.linalg.inv(vectors)
    times = np.append(gaps_h, tail_h)
    decay = np.exp(values[None, :] * times[:, None])
    steps = np.real((vectors[None] * decay[:, None, :]) @ inverse)
    steps[:-1] = steps[:-1] @ d1
    product, scale = _product(steps)
    got = float(begin @ product.sum(axis=1))
    return scale + math.log(got) if got > 0 else -math.inf


def _product(steps: Floats) -> tuple[Floats, float]:
    """Product of matrices in order, by halves, and the logarithm of the factor taken out."""
    scale = 0.0
    while True:
        tops = np.maximum(np.abs(steps).max(axis=(1, 2)), 1e-300)
        scale += float(np.log(tops).sum())
        steps = steps / tops[:, None, None]
        if len(steps) == 1:
            return steps[0], scale
        odd = steps[-1:] if len(steps) % 2 else steps[:0]
        steps = np.concatenate((steps[0 : len(steps) // 2 * 2 : 2] @ steps[1::2], odd))


def fit_arrivals(starts_h: Floats, since_h: float, until_h: float) -> Arrivals:
    """Fit the four models and choose by the AIC.

    Parameters
    ----------
    starts_h
        Fresh faults of the fleet [h], sorted.
    since_h, until_h
        The log covers this [h].
    """
    gaps = np.maximum(np.diff(np.concatenate(([since_h], starts_h))), CLOSEST_H)
    tail = until_h - float(starts_h[-1]) if starts_h.size else until_h - since_h
    mean = max(starts_h.size, 0.5) / (until_h - since_h)
    maxima: dict[str, Maximum] = {}
    for model, names in MODELS.items():
        if starts_h.size < 5 * len(names):
            continue
        tried = [
            maximise(
                partial(log_likelihood, gaps, tail, mean),
                {name: start[name] for name in names},
                BOUNDS,
            )
            for start in _starts(model)
        ]
        maxima[model] = max(tried, key=lambda m: m.value)
    chosen = "steady"
    for model in MODELS:
        if model in maxima and prefers(maxima[model], maxima[chosen]):
            chosen = model
    return Arrivals(chosen, maxima, int(starts_h.size), mean)


def _starts(model: str) -> list[dict[str, float]]:
    ends = (0.3, 3.0) if model in ("bursts", "both") else (1.0,)
    spells = (200.0, 600.0) if model in ("unrest", "both") else (100.0,)
    return [
        {"odds": 0.1, "size": 3.0, "end": end, "excess": 3.0, "share": 0.2, "cease": 1 / spell}
        for end in ends
        for spell in spells
    ]


def bursts_of(x: dict[str, float]) -> tuple[float, float, float]:
    """Share of faults that come in bursts, mean number of one, window [h].

    A follower's distance from the first is exponential of mean 1 / end; a uniform one of the same
    mean has the window 2 / end.
    """
    size = 1 + x["size"]
    begins = x["odds"] / (1 + x["odds"])
    return begins * size / (1 - begins + begins * size), size, 2 / x["end"]


def unrest_of(x: dict[str, float]) -> tuple[float, float, float]:
    """Share of time, factor and mean length [h] of the spells."""
    return x["share"] / (1 + x["share"]), 1 + x["excess"], 1 / x["cease"]
