"""What an outage is made of: a quick automatic return, hands-on work in shift hours, or a part.

Each outage is of one of three kinds, with shares by class:

- ``quick``: back without a hand, after an exponential time of the clock;
- ``hands``: work of a crew from the latent start ``b`` (see `crews`), in hours of the shift only:
  ``W(end) - W(b)`` follows an exponential, Weibull or lognormal law;
- ``part``: a part came first, after a lognormal lead time; ends fall into shift hours.

An end is known to half an hour, so that ties and rounding do not make a density infinite. Only
faults that ended by the end ``T`` of the log are listed: the likelihood of each is conditional on
``end <= T``, and one that is listed as open counts as longer than seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.fit.likelihood import AIC_MARGIN, Maximum, maximise
from kfarm_twin.fit.shifts import DAY_H, WEEK_H, Calendar

KINDS = ("quick", "hands", "part")
HALF_H = 0.25
"""Half of the precision to which an end is taken to be known [h]."""
PHASES = 56
"""Hours of the week over which the time out of service is averaged."""
SURE_ERRORS = 3.0
SEARCH_ROUNDS, LAST_ROUNDS = 12, 300


@dataclass(frozen=True)
class Outages:
    """What the likelihood sees of the outages.

    Attributes
    ----------
    start_h, end_h
        Times of the log [h]; the end of an open one is the end of the log.
    kind
        Group of classes with shares of its own.
    is_open
        Still open when the log ended.
    until_h
        End of the log [h].
    lists_open
        Whether the log lists open faults; if not, it is truncated.
    groups
        How many groups there are; 0: as many as the outages show.
    """

    start_h: Floats
    end_h: Floats
    kind: Ints
    is_open: NDArray[np.bool_]
    until_h: float
    lists_open: bool
    groups: int = 0


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


class View:
    """Outages with their times in hours worked, for one calendar and one queue.

    Parameters
    ----------
    begin_h
        When a crew was free for each [h].
    """

    def __init__(self, out: Outages, begin_h: Floats, calendar: Calendar) -> None:
        low, high = out.end_h - HALF_H, out.end_h + HALF_H
        until = np.full_like(out.end_h, out.until_h)
        worked = [calendar.worked(t) for t in (low, high, until, begin_h)]
        self.out = out
        self.pace = float(calendar.week().mean())
        self.speed = (worked[1] - worked[0]) / (high - low) / self.pace
        # low, high and the end of the log, on the clock and in hours worked
        self.clock = np.maximum(np.concatenate([low, high, until]) - np.tile(out.start_h, 3), 0.0)
        self.work = np.maximum(np.concatenate(worked[:3]) - np.tile(worked[3], 3), 0.0)

    def terms(self, law: str, x: dict[str, float]) -> Terms:
        """Probabilities of what was seen under each kind."""
        size = self.out.start_h.size
        seen, within = np.zeros((size, 3)), np.zeros((size, 3))
        for kind, cdf in enumerate(self._laws(law, x)):
            if cdf is not None:
                low, high, until = cdf.reshape(3, size)
                seen[:, kind], within[:, kind] = high - low, until
        seen[:, 2] *= self.speed
        seen = np.where(self.out.is_open[:, None], 1 - within, seen)
        return Terms(np.maximum(seen, 1e-12), np.clip(within, 1e-9, 1.0))

    def _laws(self, law: str, x: dict[str, float]) -> tuple[Floats | None, Floats, Floats | None]:
        return (
            law_cdf("Exponential", self.clock, x["quick"], 1.0) if "quick" in x else None,
            law_cdf(law, self.work, x["mean"], x.get("shape", 1.0)),
            lognormal_cdf(self.clock, x["lead"], x["spread"]) if "lead" in x else None,
        )


class PhaseView(View):
    """Outages as a farm plays them whose faults come at all hours of the week alike.

    People often find faults while they are at work, so that those of a log wait less for a shift
    than faults that come at any hour. For a twin whose faults do, the laws are fitted to the time
    out of service averaged over the hour of the week at which it begins, with no work outside the
    shift: what is played then lasts as long as what was recorded.
    """

    def __init__(self, out: Outages, calendar: Calendar) -> None:
        super().__init__(out, out.start_h, calendar)
        strict = replace(calendar, outside=0.0)
        self.pace = float(strict.week().mean())
        self.speed = np.ones_like(self.speed)
        phases = np.arange(0.5, WEEK_H, WEEK_H / PHASES)[:, None]
        self.work = strict.worked(phases + self.clock) - strict.worked(phases)

    def _laws(self, law: str, x: dict[str, float]) -> tuple[Floats | None, Floats, Floats | None]:
        quick, hands, part = super()._laws(law, x)
        return quick, hands.mean(axis=0), part


def finds_by_day(out: Outages, calendar: Calendar) -> bool:
    """Whether more or fewer faults start within the shift than its share of the week."""
    if calendar.always:
        return False
    share = calendar.hours * calendar.days / WEEK_H
    local = (out.start_h - calendar.offset_h) % WEEK_H
    opens = local % DAY_H - calendar.start
    inside = (opens >= 0) & (opens < calendar.hours) & (local < calendar.days * DAY_H)
    error = math.sqrt(share * (1 - share) / out.start_h.size)
    return bool(abs(float(inside.mean()) - share) > SURE_ERRORS * error)


class Mixture:
    """Shares of the kinds by group, by expectation and maximisation, begun where it last ended.

    What the log cannot list (ends after its end) is added in expectation, so that shares are those
    of all faults and not of the listed ones.
    """

    def __init__(self, out: Outages, allowed: tuple[bool, bool, bool]) -> None:
        self.out = out
        self.groups = max(int(out.kind.max()) + 1, out.groups)
        self.allowed = np.array(allowed)
        self.share = np.tile(self.allowed / self.allowed.sum(), (self.groups, 1))

    def __call__(self, t: Terms, rounds: int) -> float:
        """Improve the shares; the log likelihood with them."""
        kind, truncated = self.out.kind, not self.out.lists_open
        share = self.share
        for _ in range(rounds):
            mine = share[kind]
            weight = mine * t.seen
            full = weight / weight.sum(axis=1, keepdims=True)
            if truncated:
                inside = (mine * t.within).sum(axis=1, keepdims=True)
                full += mine * (1 - t.within) / inside
            summed = np.stack(
                [np.bincount(kind, full[:, k], minlength=self.groups) for k in range(3)], axis=1
            )
            fresh = np.where(self.allowed, np.maximum(summed, 1e-4), 0.0)
            fresh /= fresh.sum(axis=1, keepdims=True)
            moved = float(np.abs(fresh - share).max())
            share = fresh
            if moved < 1e-4:
                break
        self.share = share
        mine = share[kind]
        value = float(np.log((mine * t.seen).sum(axis=1)).sum())
        if truncated:
            value -= float(np.log((mine * t.within).sum(axis=1)).sum())
        return value


BOUNDS = {
    "quick": (0.02, 24.0),
    "mean": (0.05, 2000.0),
    "shape": (0.2, 3.0),
    "lead": (10.0, 20_000.0),
    "spread": (0.1, 2.0),
}


def bounds_for(span_h: float, with_part: bool) -> dict[str, tuple[float, float]]:
    """Bounds of the parameters.

    A mean lead time of more than half of a log cannot be told from it. Beside parts the hands-on
    law is no heavier than a lognormal of spread 1.5, so that long outages are told as parts and not
    as work: with both free, the two laws change roles from log to log.
    """
    shape = (0.5, 1.5) if with_part else BOUNDS["shape"]
    return BOUNDS | {"lead": (10.0, max(span_h / 2, 50.0)), "shape": shape}


LEAST_RATIO = 3.0
"""A part takes at least so many times as long as the work of one repair, on the clock."""


FEWEST_OF_GROUP = 25
LAWS = ("Exponential", "Weibull", "Lognormal")
KIND_SETS = ((False, True, False), (True, True, False), (False, True, True), (True, True, True))
WORTH_A_LOOK = 80.0
"""Models that are worse by more in AIC with classes alike are not tried with classes apart."""
_Model = tuple[str, tuple[bool, bool, bool]]


@dataclass(frozen=True)
class Repairs:
    """The law of outages that the log supports.

    Attributes
    ----------
    law
        Of the hands-on time.
    allowed
        Which of `KINDS` there are.
    best
        ``mean`` hands-on [h], perhaps its ``shape``; ``quick`` [h]; ``lead`` [h] and ``spread``.
    share
        [groups, 3] shares of the kinds.
    group
        Group of each class.
    number
        Outages of each group.
    aic
        Of each law and set of kinds that was tried.
    """

    law: str
    allowed: tuple[bool, bool, bool]
    best: Maximum
    share: Floats
    group: Ints
    number: Ints
    aic: dict[str, float]


def fit_repairs(
    out: Outages, calendar: Calendar, classes: int, begin_h: Floats | None = None
) -> Repairs:
    """Choose law, kinds and whether classes differ by the AIC, simple models first.

    Parameters
    ----------
    out
        With the class of each outage in `kind`.
    begin_h
        When a crew was free for each; without it, at once.
    """
    begin = out.start_h if begin_h is None else begin_h
    counts = np.bincount(out.kind, minlength=classes)
    apart = [k for k in range(classes) if counts[k] >= FEWEST_OF_GROUP]
    group = np.full(classes, len(apart), np.int64)
    group[apart] = np.arange(len(apart))
    if len(apart) == classes:
        group = np.arange(classes)
    pooled = _with_groups(out, np.zeros(classes, np.int64))
    fits = {
        (law, allowed): fit_mixture(View(pooled, begin, calendar), law, allowed, {})
        for allowed in KIND_SETS
        for law in LAWS
    }
    tried = {_name(law, allowed, False): aic for (law, allowed), (_, _, aic) in fits.items()}
    chosen = _simplest({key: aic for key, (_, _, aic) in fits.items()})
    found, share, least = fits[chosen]
    best = Repairs(*chosen, found, share, group * 0, np.array([out.kind.size]), tried)
    if group.max() == 0:
        return best
    grouped = _with_groups(out, group)
    number = np.bincount(grouped.kind, minlength=int(group.max()) + 1)
    for law, allowed in fits:
        if sum(allowed) == 1 or fits[law, allowed][2] > fits[chosen][2] + WORTH_A_LOOK:
            continue
        view = View(grouped, begin, calendar)
        found, share, aic = fit_mixture(view, law, allowed, fits[law, allowed][0].at)
        tried[_name(law, allowed, True)] = aic
        if aic + AIC_MARGIN < least:
            best, least = Repairs(law, allowed, found, share, group, number, tried), aic
    return best


def _name(law: str, allowed: tuple[bool, bool, bool], by_class: bool) -> str:
    kinds = " + ".join(k for k, a in zip(KINDS, allowed, strict=True) if a)
    return f"{law}, {kinds}" + (", by class" if by_class else "")


def _simplest(aic: dict[_Model, float]) -> _Model:
    """The first model, in order of richness, that none after it beats by the margin."""
    chosen = next(iter(aic))
    for model, value in aic.items():
        if value + AIC_MARGIN < aic[chosen]:
            chosen = model
    return chosen


def _with_groups(out: Outages, group: Ints) -> Outages:
    return replace(out, kind=group[out.kind])


def fit_mixture(
    view: View, law: str, allowed: tuple[bool, bool, bool], begin: Mapping[str, float]
) -> tuple[Maximum, Floats, float]:
    """Parameters, shares of the kinds and AIC of one model, from `begin` or from rough figures."""
    out = view.out
    median = float(np.median(out.end_h - out.start_h))
    start = {"mean": max(min(median * 0.5, 20.0), 0.2)}
    if law != "Exponential":
        start["shape"] = 0.9
    if allowed[0]:
        start["quick"] = 0.3
    if allowed[2]:
        start |= {"lead": max(20.0 * median, 50.0), "spread": 1.3}
    mixture = Mixture(out, allowed)

    def value(x: dict[str, float]) -> float:
        if "lead" in x and x["lead"] < LEAST_RATIO * x["mean"] / view.pace:
            return -math.inf
        return mixture(view.terms(law, x), SEARCH_ROUNDS)

    span = out.until_h - float(out.start_h[0])
    found = maximise(value, start | dict(begin), bounds_for(span, allowed[2]))
    last = mixture(view.terms(law, dict(found.at)), LAST_ROUNDS)
    found = replace(found, value=last)
    free = mixture.groups * (sum(allowed) - 1)
    return found, mixture.share, found.aic + 2 * free
