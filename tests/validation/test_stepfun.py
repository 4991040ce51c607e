"""The StepFun trace (InfiniteHBD): fitted, and held on what was not fitted.

584 faults of 400 nodes over 349 days. What reproduces its input is named so; the test of the
mechanism is `test_one_half_predicts_nodes_down_on_the_other`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from kfarm_twin.fit.futures import Record, down_at_once, measures, play_fit, quantile
from kfarm_twin.fit.log import FaultLog
from kfarm_twin.fit.model import Fit, fit_log
from kfarm_twin.fit.read import read_log
from validation.conftest import Published

NODES, HALF_DAYS, FUTURES = 400, 174, 200
SOURCE = "stepfun-ai/InfiniteHBD-Trace, facts/reliability.yaml infinitehbd_stepfun"


@pytest.fixture
def trace(shared: Callable[[str], Path]) -> Path:
    return shared("traces/infinitehbd/fault_trace.json")


Show = Callable[[str, float, float], None]


@cache
def fitted(path: Path, since: str | None, until: str | None) -> Fit:
    return fit_log(read_log(path, since=since, until=until), NODES)


@cache
def whole(path: Path) -> FaultLog:
    return read_log(path)


def played(fit: Fit, span_h: float, *, uncertain: bool) -> list[Record]:
    return list(play_fit(fit, FUTURES, 1, span_h, uncertain=uncertain))


def seen(log: FaultLog) -> Record:
    return Record(log.start_h, log.end_h, log.node)


def test_the_reader_finds_the_published_figures(trace: Path, published: Published) -> None:
    log = whole(trace)
    m = measures(seen(log), NODES, 0.0, log.until_h)
    for figure, is_, ours, tolerance in (
        ("faults", 584, log.faults, 0),
        ("nodes hit", 231, m["nodesHit"], 0),
        ("top-decile share", 0.409, m["topDecileShare"], 0.003),
        ("availability", 0.9768, m["availability"], 0.0005),
        ("outage p50 [h]", 20.4, m["outageP50Hours"], 0.1),
    ):
        published(
            "StepFun, as read", figure, published=is_, ours=ours, tolerance=tolerance, source=SOURCE
        )


def test_the_fitted_fleet_reproduces_its_input(trace: Path, published: Published) -> None:
    """Rates, frailty and repairs were fitted to this very trace: a test of fit and engine."""
    log = whole(trace)
    records = played(fitted(trace, None, None), log.until_h, uncertain=False)
    ours = [measures(record, NODES, 0.0, log.until_h) for record in records]

    def median(name: str) -> float:
        return float(np.median([one[name] for one in ours]))

    for figure, name, is_, tolerance in (
        ("faults", "faults", 584, 0.15 * 584),
        ("nodes hit", "nodesHit", 231, 0.08 * 231),
        ("top-decile share", "topDecileShare", 0.409, 0.04),
        ("availability", "availability", 0.9768, 0.005),
    ):
        published(
            "StepFun, fitted and played", figure, published=is_, ours=median(name),
            tolerance=tolerance, source=SOURCE,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("quantile_name", "is_"),
    [("P25", 2.05), ("P50", 20.4), ("P75", 75.9), ("P90", 311.0), ("P95", 738.0)],
)
def test_quantiles_of_outages_lie_within_the_futures(
    trace: Path, quantile_name: str, is_: float
) -> None:
    log = whole(trace)
    records = played(fitted(trace, None, None), log.until_h, uncertain=True)
    name = f"outage{quantile_name}Hours"
    ours = [measures(record, NODES, 0.0, log.until_h)[name] for record in records]
    low, high = np.quantile(ours, (0.025, 0.975))
    assert low <= is_ <= high


def held(
    records: list[Record], log: FaultLog, since: float, until: float, show: Show | None = None
) -> dict[str, bool]:
    """Whether p50, p95 and most of the nodes down lie in the central 95 % of the futures.

    `show` is told each figure of the log and the futures' median.
    """
    result = {}
    truth = down_at_once(seen(log), since, until)
    shares = [down_at_once(record, since, until) for record in records]
    for name, q in (("p50", 0.5), ("p95", 0.95), ("most", 1.0)):
        low, median, high = np.quantile([quantile(s, q) for s in shares], (0.025, 0.5, 0.975))
        result[name] = bool(low <= quantile(truth, q) <= high)
        if show is not None:
            inside = "within" if result[name] else "outside"
            show(f"{name} down, {inside} {low:g} to {high:g}", quantile(truth, q), float(median))
    return result


def shown(published: Published, case: str) -> Show:
    """Rows of docs/validation.md without a pass mark: what is judged is the interval."""

    def show(figure: str, truth: float, median: float) -> None:
        published(case, figure, published=truth, ours=median, tolerance=None, source=SOURCE)

    return show


def test_one_half_predicts_nodes_down_on_the_other(trace: Path, published: Published) -> None:
    """The fit is given the log as it was on day 174 and nothing later.

    No blind test: the whole trace was known when the method was made.
    """
    log, half = whole(trace), HALF_DAYS * 24.0
    records = played(fitted(trace, None, str(HALF_DAYS)), log.until_h, uncertain=True)
    show = shown(published, "StepFun, days 0-174 predict 174-349 (medians; 95 % interval)")
    assert held(records, log, half, log.until_h, show) == {"p50": True, "p95": True, "most": True}
    assert held(records, log, 0.0, half) == {"p50": True, "p95": True, "most": True}


def test_the_calm_half_does_not_foresee_the_backlog_of_the_other(
    trace: Path, published: Published
) -> None:
    """What does not hold: on days 66-117 20 nodes and more waited, later nothing like it."""
    log, half = whole(trace), HALF_DAYS * 24.0
    records = played(fitted(trace, str(HALF_DAYS), None), log.until_h, uncertain=True)
    assert held(records, log, half, log.until_h) == {"p50": True, "p95": True, "most": True}
    show = shown(published, "StepFun, days 174-349 predict 0-174 (medians; 95 % interval)")
    backward = held(records, log, 0.0, half, show)
    assert backward["p50"]
    assert not backward["p95"]


def independent(mean_down: float, samples: int = 4000) -> tuple[float, float]:
    """p95 and 99.99 % of Poisson arrivals with independent repairs: M/G/infinity is Poisson."""
    draws = np.random.default_rng(1).poisson(mean_down, samples * 100)
    return float(np.quantile(draws, 0.95)), float(np.quantile(draws, 0.9999))


def test_independent_repairs_understate_the_tail(trace: Path) -> None:
    """Even given the mean of the very half that is looked at."""
    log, half = whole(trace), HALF_DAYS * 24.0
    down = down_at_once(seen(log), 0.0, half)
    p95, most = independent(float(down @ np.arange(down.size)))
    assert quantile(down, 0.95) > 1.5 * p95
    assert down.size - 1 > 1.2 * most
    calm = down_at_once(seen(log), half, log.until_h)
    p95, most = independent(float(calm @ np.arange(calm.size)))
    assert quantile(down, 0.95) > 2.0 * p95  # the calm half's mean for the other
    assert down.size - 1 > 1.8 * most


def test_the_trace_shows_at_least_a_few_crews_and_no_upper_bound(trace: Path) -> None:
    fit = fitted(trace, None, None)
    assert fit.crews.high is None
    assert fit.crews.low >= 2
    assert (fit.calendar.days, fit.calendar.hours) == (6, 10)
