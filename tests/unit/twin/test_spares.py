"""Spares and intervals against what is known in closed form."""

from __future__ import annotations

import math
import os
from typing import Any

import pytest
from kfarm_twin.checkpoint_sweep import answer_checkpoint
from kfarm_twin.erlang import erlang_b, erlang_c, poisson_tail
from kfarm_twin.fleetrun_request import FleetRequest
from kfarm_twin.spares import Target, answer_spares

pytestmark = pytest.mark.skipif(
    os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"),
    reason="thousands of futures: minutes each as plain Python",
)
OUTAGE_H = 12
PER_DAY = 0.05
NODES = 60


def request(**changes: Any) -> FleetRequest:
    failure = {
        "name": "any",
        "failuresPer1000NodeDays": f"{1000 * PER_DAY:g}",
        "meanTimeToRepair": f"{OUTAGE_H}h",
        "detection": "0s",
    }
    spec = {
        "shape": {"nodes": NODES, "reliability": {"classes": [failure]}},
        "workload": {
            "gang": {
                "nodes": NODES,
                "checkpoint": {"interval": "30m", "save": "1m", "restart": "2m"},
            }
        },
        "horizon": "720h",
        "replicas": 200,
        "seed": 3,
        **changes,
    }
    return FleetRequest.model_validate({"name": "r", "spec": spec})


def test_erlang_has_its_known_values() -> None:
    assert erlang_b(0, 3.0) == 1.0
    assert erlang_b(1, 1.0) == pytest.approx(0.5)
    assert erlang_b(2, 1.0) == pytest.approx(0.2)
    assert erlang_c(2, 1.0) == pytest.approx(1 / 3)
    assert erlang_c(2, 2.5) == 1.0
    for servers, load in ((4, 2.5), (12, 9.0), (40, 25.0)):
        terms = [load**k / math.factorial(k) for k in range(servers + 1)]
        assert erlang_b(servers, load) == pytest.approx(terms[-1] / math.fsum(terms))


@pytest.mark.parametrize(("least", "load"), [(0, 1.0), (1, 0.01), (5, 2.0), (40, 2.0), (3, 0.0)])
def test_the_tail_is_the_sum_of_what_follows(least: int, load: float) -> None:
    terms = [
        math.exp(-load + k * math.log(load) - math.lgamma(k + 1)) if load else float(k == 0)
        for k in range(least, least + 200)
    ]
    assert poisson_tail(least, load) == pytest.approx(math.fsum(terms), rel=1e-9, abs=1e-300)


def _binomial_tail(trials: int, least: int, share: float) -> float:
    return math.fsum(
        math.comb(trials, k) * share**k * (1 - share) ** (trials - k)
        for k in range(least, trials + 1)
    )


def test_independent_repairs_agree_with_the_textbook() -> None:
    found = answer_spares(request(), Target(most=5))
    load = PER_DAY * OUTAGE_H / 24
    share = load / (1 + load)
    # time correlates over an outage: 200 futures of 60 outages each, halved for caution
    samples = 200 * 720 / OUTAGE_H / 2
    for row in found.rows:
        nodes = NODES + row.spares
        exact = _binomial_tail(nodes, row.spares, share)
        error = 4 * math.sqrt(max(exact * (1 - exact), 1e-6) / samples)
        assert row.none_left == pytest.approx(exact, abs=error)
        book = row.textbook
        assert book.erlang_b <= book.independent + 1e-12
        assert book.independent <= book.erlang_c + 1e-12
        # a finite fleet has a little less than the endless source that Erlang takes
        assert book.erlang_b - error - 0.02 <= row.none_left <= book.erlang_c + error
        assert book.independent == pytest.approx(poisson_tail(row.spares, nodes * load), rel=1e-5)


def test_faults_in_bursts_leave_fewer_spares_than_the_textbook() -> None:
    calm, rough = request(), request()
    shape = rough.spec.shape
    assert shape is not None
    assert shape.reliability is not None
    body = shape.reliability.as_manifest()
    body["bursts"] = {"share": 80, "size": "6", "window": "1h"}
    rough = request(shape={"nodes": NODES, "reliability": body})
    at = 4
    quiet = answer_spares(calm, Target(most=at)).rows[at]
    burst = answer_spares(rough, Target(most=at))
    assert burst.rows[at].textbook == quiet.textbook
    assert burst.rows[at].none_left > 1.3 * quiet.none_left
    assert "come together" in burst.headline[-1]


def test_the_interval_agrees_with_the_renewal_formula() -> None:
    asked = request(shape={**_shape(), "nodes": NODES + 20, "spares": 20})
    found = answer_checkpoint(asked)
    exposure = 1 / (NODES * PER_DAY) * 86_400
    # 200 * 90 stops: 4 standard errors of the mean time between them are 3 %
    assert found.mtti_s == pytest.approx(exposure, rel=0.03)
    assert found.recover_s == pytest.approx(120, abs=1)
    for row in found.rows:
        assert row.ettr == pytest.approx(row.formula, abs=0.004)
    exact = next(rule for rule in found.formulas if rule.name == "exact")
    assert exact.loss < 0.001
    young = next(rule for rule in found.formulas if rule.name == "young")
    assert young.interval_s == pytest.approx(math.sqrt(2 * 60 * found.mtti_s), rel=1e-4)


def _shape() -> dict[str, Any]:
    shape = request().spec.shape
    assert shape is not None
    return shape.as_manifest()
