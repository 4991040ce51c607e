"""All parts of the fit together, and parameters at their best or drawn with their uncertainty."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kfarm_twin.arrays import Floats
from kfarm_twin.fit import arrivals as arr
from kfarm_twin.fit import repair as rep
from kfarm_twin.fit import returns as ret
from kfarm_twin.fit.arrivals import Arrivals, bursts_of, dispersion, fit_arrivals, unrest_of
from kfarm_twin.fit.crews import CrewFit, fit_crews, latent_starts
from kfarm_twin.fit.likelihood import Maximum
from kfarm_twin.fit.log import FaultLog, with_kinds
from kfarm_twin.fit.repair import Outages, Repairs, finds_by_day, fit_repairs
from kfarm_twin.fit.returns import Returns, fit_returns, fresh_starts, histories
from kfarm_twin.fit.shifts import Calendar, fit_calendar

FEWEST_OF_CLASS = 3
MOST_CLASSES = 32
LONG_H = 2.0
"""Shifts are told from the ends of outages longer than this: shorter ones may need no hand."""


@dataclass(frozen=True)
class Fit:
    """What a log says of a fleet.

    Attributes
    ----------
    log
        With rare classes joined.
    nodes
        Nodes of the fleet, those that never failed included.
    unseen
        Share of all faults in the time looked at that a log of closed ones does not list.
    by_day
        Faults are found in the hours of the shift more (or less) than at others: see
        `repair.PhaseView`.
    """

    log: FaultLog
    nodes: int
    returns: Returns
    arrivals: Arrivals
    calendar: Calendar
    repairs: Repairs
    crews: CrewFit
    unseen: float
    by_day: bool


@dataclass(frozen=True)
class Parameters:
    """One set of parameters; times in hours, rates per hour of one node in service.

    `crews` is None where the log shows no queue: then `crews_seen`, those at work at once, are
    enough that hardly anything waits. `holds`, the share of repairs that unrest puts off, is not
    fitted.
    """

    kinds: tuple[str, ...]
    rates: Floats
    frailty: float | None
    recurrence: float
    within_h: float
    bursts: tuple[float, float, float] | None
    unrest: tuple[float, float, float] | None
    law: str
    mean_h: float
    shape: float | None
    quick_h: float
    lead_h: float
    spread: float
    shares: Floats
    crews: int | None
    crews_seen: int
    calendar: Calendar
    holds: float = 0.0


def fit_log(log: FaultLog, nodes: int) -> Fit:
    """Fit everything to a log of a fleet of so many nodes."""
    log = with_kinds(log, FEWEST_OF_CLASS, MOST_CLASSES)
    returns = fit_returns(histories(log, nodes))
    arrivals = fit_arrivals(fresh_starts(log, returns), log.since_h, log.until_h)
    out = Outages(log.start_h, log.end_h, log.kind, log.is_open, log.until_h, log.lists_open)
    long = (out.end_h - out.start_h > LONG_H) & ~out.is_open
    calendar = fit_calendar(out.end_h[long])
    repairs = fit_repairs(out, calendar, len(log.kinds))
    crews = fit_crews(out, calendar, repairs)
    if crews.best is not None:
        repairs, crews = _with_queue(out, calendar, repairs, crews)
    by_day = finds_by_day(out, calendar)
    if by_day and crews.best is None:
        repairs, crews = _as_played(out, calendar, repairs, crews)
    return Fit(
        log,
        nodes,
        returns,
        arrivals,
        calendar,
        repairs,
        crews,
        _unseen(log, repairs, calendar),
        by_day,
    )


def _with_queue(
    out: Outages, calendar: Calendar, repairs: Repairs, crews: CrewFit
) -> tuple[Repairs, CrewFit]:
    """Choose the laws again, with the starts that the most likely number of crews leaves."""
    assert crews.best is not None  # noqa: S101 - asked by the caller
    grouped = replace(out, kind=repairs.group[out.kind])
    begin = latent_starts(grouped, calendar, repairs.law, crews.at, crews.share, crews.best)
    chosen = fit_repairs(out, calendar, len(repairs.group), begin)
    return chosen, replace(crews, at=dict(chosen.best.at), share=chosen.share)


def _as_played(
    out: Outages, calendar: Calendar, repairs: Repairs, crews: CrewFit
) -> tuple[Repairs, CrewFit]:
    """The same model with its laws averaged over the hours at which faults come."""
    grouped = replace(out, kind=repairs.group[out.kind])
    view = rep.PhaseView(grouped, calendar)
    found, share, _ = rep.fit_mixture(view, repairs.law, repairs.allowed, repairs.best.at)
    played = replace(repairs, best=found, share=share)
    return played, replace(crews, at=dict(found.at), share=share)


def _unseen(log: FaultLog, repairs: Repairs, calendar: Calendar) -> float:
    """Mean probability that a fault of the time looked at has not ended by its end."""
    if log.lists_open:
        return 0.0
    at = np.linspace(log.since_h, log.until_h, 200)
    weight = np.bincount(log.kind, minlength=len(log.kinds)) / log.kind.size
    total = 0.0
    for kind, mine in enumerate(weight):
        out = Outages(
            at, at, np.full(at.size, kind), np.zeros(at.size, np.bool_), log.until_h, False
        )
        within = rep.View(out, at, calendar).terms(repairs.law, dict(repairs.best.at)).within
        total += float(mine * (1 - (within @ repairs.share[repairs.group[kind]]).mean()))
    return total


def best(fit: Fit) -> Parameters:
    """The most likely parameters of the models that the log supports."""
    at = fit.arrivals.best.at
    mine = np.bincount(fit.log.kind, minlength=len(fit.log.kinds))
    per_node = _per_node(fit, fit.arrivals.mean_per_h)
    return _parameters(
        fit, dict(at), dict(fit.returns.best.at), fit.crews.at, fit.crews.share,
        per_node * mine / mine.sum(),
    )  # fmt: skip


def _per_node(fit: Fit, mean_per_h: float) -> float:
    """Rate of one node in service [1/h] at which the fleet's mean of listed fresh faults comes."""
    down = float((fit.log.end_h - fit.log.start_h).sum()) / fit.log.span_h / fit.nodes
    return mean_per_h / fit.nodes / max(1 - down, 0.05) / max(1 - fit.unseen, 0.05)


def draw(fit: Fit, random: np.random.Generator) -> Parameters:
    """Parameters drawn from what the log leaves open.

    Models of the arrivals by their Akaike weights (Burnham and Anderson 2002, section 2.9); the
    others from the normal approximation on the log scale; shares of kinds and classes from
    Dirichlet laws; the rate from a gamma law as wide as the clustering of the faults makes it.
    """
    models = list(fit.arrivals.maxima)
    aic = np.array([fit.arrivals.maxima[m].aic for m in models])
    weight = np.exp(-(aic - aic.min()) / 2)
    chosen = fit.arrivals.maxima[models[int(random.choice(len(models), p=weight / weight.sum()))]]
    coming = _drawn(chosen, random, arr.BOUNDS)
    index = dispersion(fit.arrivals.mean_per_h, coming)
    count = random.gamma(fit.arrivals.faults / index, index)
    mean = fit.arrivals.mean_per_h * max(count, 0.5) / fit.arrivals.faults
    mine = np.bincount(fit.log.kind, minlength=len(fit.log.kinds))
    mending = _drawn(
        fit.repairs.best, random, rep.bounds_for(fit.log.span_h, fit.repairs.allowed[2])
    )
    shares = np.array(
        [
            random.dirichlet(np.where(fit.repairs.allowed, share * n + 0.2, 1e-9))
            for share, n in zip(fit.crews.share, fit.repairs.number, strict=True)
        ]
    )
    rates = _per_node(fit, mean) * random.dirichlet(mine + 0.5)
    return _parameters(
        fit, coming, _drawn(fit.returns.best, random, ret.BOUNDS), mending, shares, rates
    )


def _drawn(
    maximum: Maximum, random: np.random.Generator, bounds: dict[str, tuple[float, float]]
) -> dict[str, float]:
    if not maximum.at:
        return {}
    drawn = maximum.draw(random)
    return {k: float(np.clip(v, *bounds.get(k, (0.0, np.inf)))) for k, v in drawn.items()}


def _parameters(
    fit: Fit,
    coming: dict[str, float],
    returning: dict[str, float],
    mending: dict[str, float],
    shares: Floats,
    rates: Floats,
) -> Parameters:
    odds = returning.get("odds", 0.0)
    lead = mending.get("lead", 0.0)
    # the law of outages with a part is of the whole of them; the work comes after the part
    lead = max(lead - mending["mean"] / fit.calendar.week().mean(), 0.1 * lead)
    return Parameters(
        kinds=fit.log.kinds,
        rates=rates,
        frailty=returning.get("shape"),
        recurrence=odds / (1 + odds),
        within_h=1 / returning["mu"] if "mu" in returning else 24.0,
        bursts=bursts_of(coming) if "odds" in coming else None,
        unrest=unrest_of(coming) if "share" in coming else None,
        law=fit.repairs.law,
        mean_h=mending["mean"],
        shape=mending.get("shape"),
        quick_h=mending.get("quick", 0.0),
        lead_h=lead,
        spread=mending.get("spread", 0.0),
        shares=shares[fit.repairs.group],
        crews=fit.crews.best,
        crews_seen=fit.crews.busy_most,
        calendar=fit.calendar,
    )
