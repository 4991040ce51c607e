"""The answer of ``kfarm fit failures`` as data: parameters with intervals, support, goodness."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kfarm_twin.arrays import Floats
from kfarm_twin.fit.arrivals import bursts_of, dispersion, unrest_of
from kfarm_twin.fit.block import block
from kfarm_twin.fit.crews import PLENTY
from kfarm_twin.fit.futures import Record, measures, observed
from kfarm_twin.fit.likelihood import Estimate
from kfarm_twin.fit.model import Fit, Parameters, best, draw

SCHEMA = "kfarm.dev/fit-failures/v1"
DRAWS = 400
UNITS = {"hours": "h", "per1000NodeDays": "per 1,000 node-days"}


def interval(values: Floats, level: float) -> tuple[float, float]:
    """Ends of the central part of a sample."""
    low, high = np.quantile(values, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def _figure(value: float, low: float, high: float) -> dict[str, float | None]:
    return {"value": _round(value), "low": _round(low), "high": _round(high)}


def _round(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _estimate(estimate: Estimate | None) -> dict[str, float | None] | None:
    return None if estimate is None else _figure(estimate.value, estimate.low, estimate.high)


def fit_data(fit: Fit, level: float, seed: int) -> dict[str, Any]:
    """Log, parameters, support and block."""
    return {
        "log": _log(fit),
        "confidence": level,
        "parameters": _parameters(fit, level, seed),
        "support": _support(fit),
        "reliability": block(best(fit)),
        "warnings": warnings(fit),
    }


def _log(fit: Fit) -> dict[str, Any]:
    log = fit.log
    return {
        "sinceDays": _round(log.since_h / 24),
        "untilDays": _round(log.until_h / 24),
        "days": _round(log.span_h / 24),
        "nodes": fit.nodes,
        "nodesWithFault": len(log.nodes),
        "faults": log.faults,
        "outages": int(log.start_h.size),
        "openOutages": int(log.is_open.sum()),
        "listsOpenFaults": log.lists_open,
        "unseenShare": _round(fit.unseen),
        "excluded": log.left_out.as_data(),
        "notes": list(log.notes),
    }


def _parameters(fit: Fit, level: float, seed: int) -> dict[str, Any]:
    """Intervals of what combines several fits come from `DRAWS` draws of all parameters."""
    random = np.random.default_rng([seed, 0xD8A3])
    point, drawn = best(fit), [draw(fit, random) for _ in range(DRAWS)]
    return {
        "rates": _rates(fit, point, drawn, level),
        "frailtyShape": _estimate(fit.returns.estimate("shape", level)),
        "recurrence": _recurrence(fit, level),
        "bursts": _of_arrivals(fit, level, ("odds", "size", "end"), "share size windowHours"),
        "unrest": _of_arrivals(fit, level, ("share", "excess", "cease"), "share factor spellHours"),
        "repair": _repair(fit, point, drawn, level),
        "shift": _shift(fit),
        "crews": _crews(fit),
    }


def _rates(fit: Fit, point: Parameters, drawn: list[Parameters], level: float) -> dict[str, Any]:
    """Per 1,000 node-days in service; all faults counts those that came back as well."""
    per = 24_000.0
    again = 1 / (1 - min(point.recurrence, 0.99))
    all_drawn = np.array([p.rates.sum() * per for p in drawn])
    fresh = float(point.rates.sum()) * per
    mine = np.bincount(fit.log.kind, minlength=len(fit.log.kinds))
    return {
        "fresh": _figure(fresh, *interval(all_drawn, level)),
        "all": _figure(fresh * again, *interval(all_drawn * again, level)),
        "dispersion": _round(dispersion(fit.arrivals.mean_per_h, dict(fit.arrivals.best.at))),
        "classes": [
            {
                "name": name,
                "faults": int(mine[index]),
                **_figure(
                    float(point.rates[index]) * per,
                    *interval(np.array([p.rates[index] * per for p in drawn]), level),
                ),
            }
            for index, name in enumerate(fit.log.kinds)
        ],
    }


def _recurrence(fit: Fit, level: float) -> dict[str, Any] | None:
    odds, mu = fit.returns.estimate("odds", level), fit.returns.estimate("mu", level)
    if odds is None or mu is None:
        return None
    return {
        "share": _estimate(odds.mapped(lambda o: o / (1 + o))),
        "withinHours": _estimate(mu.mapped(lambda m: 1 / m)),
    }


def _of_arrivals(
    fit: Fit, level: float, names: tuple[str, str, str], labels: str
) -> dict[str, Any] | None:
    """Three figures of bursts or unrest with intervals from the likelihood alone."""
    maximum = fit.arrivals.best
    if names[0] not in maximum.at:
        return None
    read = bursts_of if "odds" in names else unrest_of
    random = np.random.default_rng(0)
    values = np.array([read(maximum.draw(random)) for _ in range(DRAWS)])
    here = read(dict(maximum.at))
    return {
        label: _figure(here[index], *interval(values[:, index], level))
        for index, label in enumerate(labels.split())
    }


def _repair(fit: Fit, point: Parameters, drawn: list[Parameters], level: float) -> dict[str, Any]:
    def figure(read: Any) -> dict[str, float | None]:
        return _figure(read(point), *interval(np.array([read(p) for p in drawn]), level))

    quick, _, part = fit.repairs.allowed
    classes = [
        {
            "name": name,
            **{
                f"{kind}Share": figure(lambda p, i=index, k=number: float(p.shares[i][k]))
                for number, kind in enumerate(("quick", "handsOn", "part"))
            },
        }
        for index, name in enumerate(fit.log.kinds)
    ]
    return {
        "handsOn": {
            "distribution": fit.repairs.law,
            "meanHours": figure(lambda p: p.mean_h),
            "shape": figure(lambda p: p.shape) if point.shape is not None else None,
        },
        "quick": {"meanHours": figure(lambda p: p.quick_h)} if quick else None,
        "part": {
            "leadHours": figure(lambda p: p.lead_h),
            "spread": figure(lambda p: p.spread),
        }
        if part
        else None,
        "classes": classes,
    }


def _shift(fit: Fit) -> dict[str, Any] | None:
    c = fit.calendar
    if c.always:
        return None
    return {
        "hours": c.hours,
        "start": c.start,
        "days": c.days,
        "logHourOfFirstShift": c.offset_h + c.start,
        "speedOutside": _round(c.outside),
        "faultsFollowShift": fit.by_day,
    }


def _crews(fit: Fit) -> dict[str, Any]:
    crews = fit.crews
    return {
        "count": crews.best,
        "low": crews.low,
        "high": crews.high,
        "busyAtMost": crews.busy_most,
        "profile": [
            {"crews": None if c == PLENTY else c, "logLikelihood": _round(v)}
            for c, v in crews.profile.items()
        ],
    }


def _support(fit: Fit) -> dict[str, Any]:
    """Why a part of the model is there or not."""
    return {
        "likelihoodRatio": {
            **{name: _round(gain) for name, gain in fit.returns.gains.items()},
            "shift": _round(fit.calendar.gain),
        },
        "arrivalsAic": {name: _round(m.aic) for name, m in fit.arrivals.maxima.items()},
        "arrivalsChosen": fit.arrivals.chosen,
        "repairsAic": {name: _round(aic) for name, aic in fit.repairs.aic.items()},
    }


def goodness(fit: Fit, records: list[Record], level: float) -> dict[str, Any]:
    """Each measure of the log beside those of futures of the fitted fleet."""
    span, seen = fit.log.span_h, measures(observed(fit), fit.nodes, 0.0, fit.log.span_h)
    played = [measures(record, fit.nodes, 0.0, span) for record in records]
    result: dict[str, Any] = {}
    for name, value in seen.items():
        values = np.array([one[name] for one in played])
        low, high = interval(values, level)
        result[name] = {
            "observed": _round(value),
            "simulated": _figure(float(np.median(values)), low, high),
            "within": bool(low - 1e-9 <= value <= high + 1e-9),
        }
    return result


def warnings(fit: Fit) -> list[str]:
    """What whoever uses the figures must know."""
    said = []
    log = fit.log
    if fit.nodes == len(log.nodes):
        said.append(
            "every node of the log has failed: if the fleet has others, say --nodes, or rates are"
            " too high and frailty is not seen"
        )
    if log.start_h.size < 50:
        said.append(f"only {log.start_h.size} outages: the intervals are wide and rough")
    if not log.lists_open:
        said.append(
            "the log lists closed faults only: it is taken as cut off at its end"
            f" (about {100 * fit.unseen:.1f} % of the faults are not in it)"
        )
    if fit.by_day:
        said.append(
            "faults of the log follow the shift, those of the model come at all hours: its laws are"
            " such that outages last as recorded"
        )
    if fit.crews.best is None:
        said.append(
            f"the log shows no queue for crews: at least {fit.crews.low}, no upper bound"
            f" (at most {fit.crews.busy_most} repairs at once)"
        )
    at = fit.arrivals.best.at
    if "share" in at and at["cease"] > 0.98 / 168:
        said.append(
            "spells of unrest are as short as they may be (a week): read them as a week or less"
        )
    return said
