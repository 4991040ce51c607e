"""The failure engine in limiting cases that have closed forms.

Seeds are fixed. Bounds are K standard errors from the spread between futures, unless said; each
case also has a neighbour of a wrong parameter, which must miss the form.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import fleet_play as f
import numpy as np
import pytest
from fleet_play import DAY, HOUR
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.kernels.fleet_measure import (
    AVAILABILITY,
    DOWN_MEAN,
    FAILURES,
    NODES_HIT,
    TOP_DECILE,
)

K = 4.0
LAWS = [
    {},
    {"repair": {"distribution": "Fixed"}},
    {"repair": {"distribution": "Weibull", "shape": "0.6"}},
    {"repair": {"distribution": "Lognormal", "shape": "1.5"}},
]


def _binomial(n: int, p: float) -> list[float]:
    return [math.comb(n, k) * p**k * (1.0 - p) ** (n - k) for k in range(n + 1)]


def _poisson(mean: float, most: int) -> list[float]:
    return [math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(most)]


def _worst(found: np.ndarray, expected: list[float]) -> float:
    """Most standard errors off, over counts that take a hundredth of the time or more."""
    return max(
        f.deviations(found[:, k], share) for k, share in enumerate(expected) if share >= 0.01
    )


@pytest.mark.parametrize("law", LAWS, ids=["exponential", "fixed", "weibull", "lognormal"])
def test_nodes_down_at_once_are_binomial_whatever_the_law_of_repair(law: dict[str, object]) -> None:
    """Availability MTBF / (MTBF + MTTR): insensitivity of M/G/infinity with a finite source."""
    nodes, p = 60, 48.0 / (48.0 + 24_000.0 / 20.0)
    result = f.run(f.fleet(f.one_class("20", "48h", **law), nodes), 120, 1200)
    assert result.fleet.warm_ns == 0
    assert f.deviations(result.measures[:, AVAILABILITY], 1.0 - p) < K
    assert f.deviations(result.measures[:, AVAILABILITY], 1.0 - 1.04 * p) > K
    shares = f.shares_down(result)
    assert _worst(shares, _binomial(nodes, p)) < K + 0.5  # of seven counts
    assert _worst(shares, _binomial(nodes, 1.1 * p)) > K + 0.5


def test_nodes_down_in_a_large_fleet_are_poisson() -> None:
    result = f.run(f.fleet(f.one_class("0.5", "48h"), 4000), 90, 300)
    assert _worst(f.shares_down(result), _poisson(4.0, 30)) < K + 0.5
    assert _worst(f.shares_down(result), _poisson(4.4, 30)) > K + 0.5


def test_racks_take_their_nodes_down_together() -> None:
    rules = {"classes": [{"name": "rack", "per": "Rack", "failuresPer1000Days": "20",
                          "meanTimeToRepair": "48h"}]}  # fmt: skip
    result = f.run(f.fleet(rules, 80, per_rack=4), 120, 800)
    shares = f.shares_down(result)
    assert shares[:, np.arange(81) % 4 != 0].sum() == 0.0
    p = 48.0 / (48.0 + 24_000.0 / 20.0)
    assert _worst(shares[:, ::4], _binomial(20, p)) < K
    assert _worst(shares[:, ::4], _binomial(20, 1.15 * p)) > K


def _machine_repair(nodes: int, crews: int, load: float) -> list[float]:
    """Nodes out in M/M/c//N: Gross & Harris, Fundamentals of Queueing Theory, 2.7."""
    logs = []
    for n in range(nodes + 1):
        ways = math.lgamma(nodes + 1) - math.lgamma(nodes - n + 1) + n * math.log(load)
        slots = math.lgamma(min(n, crews) + 1) + max(n - crews, 0) * math.log(crews)
        logs.append(ways - slots)
    top = max(logs)
    weights = [math.exp(x - top) for x in logs]
    return [w / sum(weights) for w in weights]


def test_nodes_that_wait_for_crews_are_a_machine_repair_queue() -> None:
    rules = f.one_class("60", "30h", repair={"crew": True}) | {"crews": {"count": 3}}
    nodes, load = 40, 60.0 / 24_000.0 * 30.0
    result = f.run(f.fleet(rules, nodes), 400, 500)
    expected = _machine_repair(nodes, 3, load)
    assert _worst(f.shares_down(result), expected) < K + 0.5
    assert _worst(f.shares_down(result), _machine_repair(nodes, 4, load)) > 3.0 * K
    assert _worst(f.shares_down(result), _machine_repair(nodes, 3, 1.05 * load)) > K + 0.5
    queue = sum((n - 3) * share for n, share in enumerate(expected) if n > 3)
    out = sum(n * share for n, share in enumerate(expected))
    wait_h = queue / ((nodes - out) * 60.0 / 24_000.0)  # Little
    waits = _mean_waits(result)
    assert f.deviations(waits, wait_h) < K
    assert f.deviations(waits, 1.2 * wait_h) > K


def _mean_waits(result: f.FleetResult) -> np.ndarray:
    """Mean wait of a fault for crew or part [h], by future."""
    return np.asarray(
        result.tallies[:, 0, c.WAIT_NS] / result.tallies[:, 0, c.EVENTS] / HOUR, float
    )


def _erlang_c(servers: int, load: float) -> float:
    b = 1.0
    for k in range(1, servers + 1):
        b = load * b / (k + load * b)
    return b / (1.0 - load / servers * (1.0 - b))


def test_crews_of_a_large_fleet_are_erlang_c() -> None:
    """The finite source shortens the wait by less than 2 %, less than the 5 % allowed."""
    rules = f.one_class("0.24", "24h", repair={"crew": True}) | {"crews": {"count": 6}}
    nodes, load = 20_000, 4.8
    result = f.run(f.fleet(rules, nodes), 2000, 60)
    expected = _erlang_c(6, load) * 24.0 / (6.0 - load)
    waits = _mean_waits(result)
    error = waits.std(ddof=1) / math.sqrt(len(waits)) / expected
    assert error < 0.025
    assert waits.mean() == pytest.approx(expected, rel=0.05 + 2.0 * error)
    assert waits.mean() != pytest.approx(_erlang_c(7, load) * 24.0 / 2.2, rel=0.5)


@pytest.mark.parametrize("spread", ["0", "1"])
def test_waits_for_parts_follow_palm_whatever_the_law_of_lead_times(spread: str) -> None:
    """Orders on their way are Poisson (Palm 1938; Sherbrooke, Optimal Inventory, 2.2).

    One future of 5,000 days in 50 batches; the source of 20,000 nodes is finite to a thousandth.
    """
    stock, mean = 12, 10.0
    part = {"stock": stock, "leadTime": "120h", "spread": spread}
    rules = f.one_class("0.1", "1h", repair={"distribution": "Fixed", "part": part})
    days, batches = 5000, 50
    result = f.run(f.fleet(rules, 20_000), days, 1, log=60_000)
    down: dict[int, int] = {}
    waited: list[list[float]] = [[] for _ in range(batches)]
    for time, what, node, *_ in result.log.tolist():
        if what == c.WENT_DOWN:
            down[node] = time
        elif what == c.CAME_UP and node in down:
            began = down.pop(node)
            batch = began * batches // (days * DAY)
            waited[batch].append((time - began) / HOUR - 1.0)
    shares = [np.mean(np.array(batch) > 1e-6) for batch in waited]
    poisson = _poisson(mean, 80)
    assert f.deviations(shares, sum(poisson[stock:])) < K
    assert f.deviations(shares, sum(poisson[stock + 1 :])) > K
    backorders = sum((n - stock) * share for n, share in enumerate(poisson) if n > stock)
    waits = [np.mean(batch) for batch in waited]
    assert f.deviations(waits, backorders / 2.0 * 24.0) < K


def _renewals(shape: float, mean: float, days: int) -> float:
    """Renewal function of a Weibull law at `days`: m = F + m * f, on steps of a tenth of a day."""
    step = 0.1
    scale = mean / math.gamma(1.0 + 1.0 / shape)
    steps = round(days / step)
    law = 1.0 - np.exp(-((np.arange(steps + 1) * step / scale) ** shape))
    jumps = np.diff(law)
    m = np.zeros(steps + 1)
    for k in range(1, steps + 1):
        # a first failure within a step, on average in its middle
        before = (
            0.5 * (m[k - 1 :: -1][:k] + np.append(m[k - 2 :: -1][: k - 1], 0.0)) if k > 1 else [0.0]
        )
        m[k] = law[k] + float(np.dot(jumps[:k], before))
    return float(m[-1])


def _ageing(shape: str, age: str | None) -> dict[str, object]:
    life = {"distribution": "Weibull", "shape": shape} | ({"age": age} if age else {})
    return f.one_class("10", "1m", life=life)


@pytest.mark.parametrize("days", [60, 150])
@pytest.mark.parametrize("shape", ["3", "0.7"])
def test_failures_of_new_components_follow_the_renewal_function(shape: str, days: int) -> None:
    nodes, futures = 300, 400
    counts = f.run(f.fleet(_ageing(shape, "0s"), nodes), days, futures).measures[:, FAILURES]
    expected = nodes * _renewals(float(shape), 100.0, days)
    assert f.deviations(counts, expected) < K
    assert f.deviations(counts, nodes * days / 100.0) > K


@pytest.mark.parametrize("shape", ["3", "0.7"])
def test_a_fleet_that_has_run_for_long_fails_at_the_mean_rate(shape: str) -> None:
    """Stationary renewal: t / mean, from the first day on; without a warm-up too."""
    compiled = f.fleet(_ageing(shape, None), 300)
    for days, warm in ((5, 0), (60, 0), (60, None)):
        counts = f.run(compiled, days, 500, warm_ns=warm).measures[:, FAILURES]
        assert f.deviations(counts, 300 * days / 100.0) < K
        assert f.deviations(counts, 300 * days / 90.0) > K


def test_frail_nodes_age_faster_from_the_first_day_on() -> None:
    """With frailty z a Weibull life is z^(1/k) times as short, on the first day and later."""
    shape, k = 2.0, 3.0
    rules = _ageing("3", None) | {"frailty": {"shape": "2"}}
    mean = math.gamma(shape + 1.0 / k) / math.gamma(shape) / shape ** (1.0 / k)
    for days, warm in ((10, 0), (60, None)):
        counts = f.run(f.fleet(rules, 400), days, 400, warm_ns=warm).measures[:, FAILURES]
        assert f.deviations(counts, 400 * days / 100.0 * mean) < K
        assert f.deviations(counts, 400 * days / 100.0) > K


def _negative_binomial(shape: float, mean: float, most: int) -> list[float]:
    p = mean / (mean + shape)
    return [
        math.exp(math.lgamma(shape + k) - math.lgamma(shape) - math.lgamma(k + 1)
                 + k * math.log(p) + shape * math.log(1.0 - p)) for k in range(most)
    ]  # fmt: skip


def _top(law: list[float], nodes: int, few: int) -> float:
    """Expected sum of the `few` largest of so many draws: sum over j of E min(few, draws >= j)."""
    total = 0.0
    for j in range(1, len(law)):
        beyond = max(1.0 - sum(law[:j]), 0.0)
        if beyond > 1e-12:
            ways = _binomial(nodes, beyond)
            total += sum(min(few, n) * share for n, share in enumerate(ways))
    return total


@pytest.mark.parametrize("shape", [0.93, 4.0])
def test_lemons_are_gamma_poisson(shape: float) -> None:
    """Counts per node are negative binomial: nodes hit, and what the worst tenth has."""
    nodes, mean = 400, 4.195e-3 * 348
    rules = f.one_class("4.195", "1m") | {"frailty": {"shape": str(shape)}}
    measures = f.run(f.fleet(rules, nodes), 348, 800, warm_ns=0).measures
    law, wrong = (_negative_binomial(k, mean, 60) for k in (shape, 1.25 * shape))
    assert f.deviations(measures[:, NODES_HIT], nodes * (1.0 - law[0])) < K
    assert f.deviations(measures[:, NODES_HIT], nodes * (1.0 - wrong[0])) > K
    top = measures[:, TOP_DECILE] * measures[:, FAILURES]
    assert f.deviations(top, _top(law, nodes, 40)) < K
    assert f.deviations(top, _top(wrong, nodes, 40)) > K
    assert f.deviations(top, _top(_poisson(mean, 60), nodes, 40)) > 3.0 * K


def _dispersion_off(counts: np.ndarray, mean: float, expected: float) -> float:
    """Standard errors by which the variance is off, from its own spread over 40 batches."""
    batches = np.array_split((counts - mean) ** 2, 40)
    return f.deviations([batch.mean() for batch in batches], expected)


def test_bursts_have_the_dispersion_of_a_compound_poisson_process() -> None:
    """Geometric sizes of mean s: variance over mean is 1 - share + share (2 s - 1)."""
    rules = f.one_class("1", "1m") | {"bursts": {"share": 60, "size": "4", "window": "10m"}}
    counts = f.run(f.fleet(rules, 2000), 20, 6000, warm_ns=0).measures[:, FAILURES]
    mean = 40.0
    assert f.deviations(counts, mean) < K
    assert _dispersion_off(counts, mean, mean * (0.4 + 0.6 * 7.0)) < K
    assert _dispersion_off(counts, mean, mean * (0.4 + 0.6 * 5.0)) > K


def _modulated(share: float, factor: float, spell: float) -> Callable[[float, float], float]:
    """Variance of counts in `days` of a process in two states (Fischer & Meier-Hellstern 1993)."""

    def variance(rate: float, days: float) -> float:
        quiet = rate / (1.0 - share + share * factor)
        turns = 1.0 / spell + share / (spell * (1.0 - share))
        spread = (quiet * (factor - 1.0)) ** 2 * share * (1.0 - share)
        held = days / turns - (1.0 - math.exp(-turns * days)) / turns**2
        return rate * days + 2.0 * spread * held

    return variance


def test_unrest_has_the_variance_of_a_modulated_poisson_process() -> None:
    unrest = {"share": 20, "factor": "6", "spell": "48h"}
    rules = f.one_class("2", "1m") | {"unrest": unrest}
    compiled = f.fleet(rules, 1000)
    for days in (2, 30):
        counts = f.run(compiled, days, 6000, warm_ns=0).measures[:, FAILURES]
        assert f.deviations(counts, 2.0 * days) < K
        assert _dispersion_off(counts, 2.0 * days, _modulated(0.2, 6.0, 2.0)(2.0, days)) < K
        assert _dispersion_off(counts, 2.0 * days, _modulated(0.2, 4.0, 2.0)(2.0, days)) > K


def test_bursts_in_times_of_unrest_are_no_larger_than_others() -> None:
    """The mean rate is kept, and with it the mean size of bursts in times of unrest."""
    rules = f.one_class("2", "1m") | {
        "unrest": {"share": 30, "factor": "8", "spell": "6h"},
        "bursts": {"share": 50, "size": "5", "window": "10m"},
    }
    counts = f.run(f.fleet(rules, 1000), 30, 3000, warm_ns=0).measures[:, FAILURES]
    assert f.deviations(counts, 60.0) < K
    assert f.deviations(counts, 63.0) > K


def test_drains_take_out_each_node_in_turn() -> None:
    """One node each 12 h for 3 h: a quarter of a node down on average, never two."""
    rules = f.one_class("0.000001", "1h") | {"drains": {"every": "600h", "duration": "3h"}}
    result = f.run(f.fleet(rules, 50), 250, 2)
    assert result.measures[:, DOWN_MEAN] == pytest.approx([0.25, 0.25], rel=3e-3)
    assert f.shares_down(result)[:, 2:].sum() == 0.0
    assert result.tallies[0, -1, c.OUTAGES] == pytest.approx(500, abs=1)


def test_drains_that_must_wait_for_others_keep_to_their_number() -> None:
    rules = f.one_class("0.000001", "1h") | {
        "drains": {"every": "100h", "duration": "20h", "atOnce": 2}
    }
    result = f.run(f.fleet(rules, 50), 100, 2)
    assert f.shares_down(result)[:, 3:].sum() == 0.0
    assert result.measures[:, DOWN_MEAN] == pytest.approx([1.8, 1.8], abs=0.21)


def test_detection_steps_and_repair_add_up() -> None:
    """Out of service: detection, attempts until one helps, else repair; means add up."""
    steps = [{"action": "Retry", "success": 40, "time": "10m", "attempts": 2},
             {"action": "Reboot", "success": 50, "time": "30m"}]  # fmt: skip
    rules = f.one_class("100", "24h", detection="12m", recovery=steps)
    result = f.run(f.fleet(rules, 100), 200, 200)
    hours = 0.2 + 1 / 6 + 0.6 / 6 + 0.36 * 0.5 + 0.18 * 24.0
    tally = result.tallies[:, 0]
    found = tally[:, c.DOWN_NS] / tally[:, c.OUTAGES] / 8.0 / HOUR
    assert f.deviations(found, hours) < K
    assert f.deviations(found, hours - 0.2) > K
    helped = tally[:, c.HELPED] / tally[:, c.EVENTS]
    assert f.deviations(helped, 1.0 - 0.18) < K
    assert f.deviations(helped, 1.0 - 0.18 * 1.1) > K


def test_repairs_that_do_not_hold_come_back() -> None:
    """With a share r that does not hold, each fault is 1 / (1 - r) faults."""
    repair = {"recurrence": 40, "recursWithin": "2h"}
    rules = f.one_class("5", "1h", repair=repair)
    counts = f.run(f.fleet(rules, 200), 60, 800).measures[:, FAILURES]
    rate = 5e-3 * 200 * 60
    assert f.deviations(counts, rate / 0.6 * 0.9982) < K  # 0.2 % of the time nodes are not at risk
    assert f.deviations(counts, rate / 0.55) > K
