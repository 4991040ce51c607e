"""What an outage is made of: a quick automatic return, hands-on work in shift hours, or a part.

Each outage is of one of three kinds, with shares by class:

- ``quick``: back without a hand, after an exponential time of the clock;
- ``hands``: work of a crew from the latent start ``b`` (see `crews`), which counts shift hours only:
  ``W(end) - W(b)`` follows an exponential, Weibull or lognormal law;
- ``part``: a part came first, after a lognormal lead time; ends fall into shift hours.

An end is known to half an hour, so that ties and rounding do not make a density infinite. Only
faults that ended by the end ``T`` of the log are listed: the likelihood of each is conditional on
``end <= T``, and one that is listed as open counts as longer than seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.fit.likelihood import Maximum, maximise, prefers
from kfarm_twin.fit.shifts import Calendar

KINDS = ("quick", "hands", "part")
HALF_H = 0.25
"""Half of the precision to which an end is taken to be known [h]."""
ROUNDS = 60


@dataclass(frozen=True)
class Outages:
    """What the likelihood sees of the outages.

    Attributes
    ----------
    start_h, end_h
        Times of the log [h]; the end of an open one is the end of the log.
    begin_h
        When a crew was free for it at the latest estimate of the queue [h].
    kind
        Class.
    is_open
        Still open when the log ended.
    until_h
        End of the log [h].
    lists_open
        Whether the log lists open faults; if not, it is truncated.
    """

    start_h: Floats
    end_h: Floats
    kind: Ints
    is_open: NDArray[np.bool_]
    until_h: float
    lists_open: bool


def lognormal_cdf(t: Floats, mean: float, sigma: float) -> Floats:
    """Distribution function of a lognormal law with this mean."""
    from scipy.special import ndtr  # noqa: PLC0415 - scipy loads slowly

    centre = math.log(mean) - sigma**2 / 2
    with np.errstate(divide="ignore"):
        return np.asarray(ndtr((np.log(np.maximum(t, 0.0)) - centre) / sigma))


def law_cdf(law: str, t: Floats, mean: float, shape: float) -> Floats:
    """Distribution function of a hands-on time."""
    t = np.maximum(t, 0.0)
    if law == "Exponential":
        return np.asarray(-np.expm1(-t / mean))
    if law == "Weibull":
        return np.asarray(-np.expm1(-((t / mean * math.gamma(1 + 1 / shape)) ** shape)))
    return lognormal_cdf(t, mean, shape)


@dataclass(frozen=True)
class Terms:
    """Per outage and kind: probability of its end, and of an end within the log [n, 3]."""

    seen: Floats
    within: Floats


def terms(out: Outages, begin_h: Floats, calendar: Calendar, law: str, x: dict[str, float]) -> Terms:
    """Probabilities of what was seen under each kind."""
    low, high = np.maximum(out.end_h - HALF_H, 0.0), out.end_h + HALF_H
    until = np.full_like(out.end_h, out.until_h)
    wl, wh, wu, wb = (calendar.worked(t) for t in (low, high, until, begin_h))
    speed = (wh - wl) / (high - low) / (calendar.week().mean())

    def three(clock: Floats, work: Floats) -> Floats:
        columns = [
            -np.expm1(-np.maximum(clock, 0.0) / x["quick"]),
            law_cdf(law, work, x["mean"], x.get("shape", 1.0)),
            lognormal_cdf(clock, x["lead"], x["spread"]) if "lead" in x else np.zeros_like(clock),
        ]
        return np.column_stack(columns)

    within = three(until - out.start_h, wu - wb)
    ended = three(high - out.start_h, wh - wb) - three(low - out.start_h, wl - wb)
    ended[:, 2] *= speed
    seen = np.where(out.is_open[:, None], 1 - within, ended)
    return Terms(np.maximum(seen, 1e-12), np.clip(within, 1e-9, 1.0))


def shares(out: Outages, t: Terms, classes: int, allowed: tuple[bool, ...]) -> tuple[Floats, float]:
    """Shares of the kinds by class and the log likelihood, by expectation and maximisation.

    What the log cannot list (ends after its end) is added in expectation, so that shares are those
    of all faults, not of the listed ones.
    """
    share = np.tile(np.array(allowed, float) / sum(allowed), (classes, 1))
    number = np.maximum(np.bincount(out.kind, minlength=classes), 1)[:, None]
    for _ in range(ROUNDS):
        mine = share[out.kind]
        weight = mine * t.seen
        total = weight.sum(axis=1)
        full = weight / total[:, None]
        if not out.lists_open:
            inside = (mine * t.within).sum(axis=1)
            full = full + mine * (1 - t.within) / inside[:, None]
        summed = np.zeros((classes, 3))
        np.add.at(summed, out.kind, full)
        fresh = summed / summed.sum(axis=1, keepdims=True).clip(1e-12)
        fresh = np.where(number > 0, fresh, share)
        moved = float(np.abs(fresh - share).max())
        share = fresh
        if moved < 1e-4:
            break
    mine = share[out.kind]
    value = float(np.log((mine * t.seen).sum(axis=1)).sum())
    if not out.lists_open:
        value -= float(np.log((mine * t.within).sum(axis=1)).sum())
    return share, value
