"""Simulated means against formulas within three standard errors; false approvals of the twin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import twin_farms as farms
from kfarm_twin.arrays import METRIC_ORDER
from kfarm_twin.compile import Model, compile_farm
from kfarm_twin.place import place
from kfarm_twin.request import ValidationRequest
from kfarm_twin.simulate import Simulator, simulate
from kfarm_twin.validate import validate

HOUR_NS = 3600 * 10**9


def small_model(workload: dict[str, Any], **cluster: Any) -> Model:
    farm = farms.farm(farms.cluster(**cluster))
    seen = farms.snapshot(farm)
    return compile_farm([farm], [farms.profile()], farms.plan(workload), seen)


def near(values: Any, expected: float) -> None:
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    assert abs(float(np.mean(values)) - expected) <= 3 * error


def test_availability_is_mtbf_over_mtbf_plus_mttr() -> None:
    """100 failures per 1,000 node-days are an MTBF of 240 h; repairs take 20 h."""
    model = small_model(farms.serving(1), nodes=50, reliability=farms.one_class("100", "20h"))
    placed = place(model)
    assert isinstance(placed, np.ndarray)
    played = simulate(model, placed, seed=1, futures=200, horizon_ns=2000 * HOUR_NS)
    near(played.futures["availability"].to_numpy(), 240.0 / 260.0)


def test_ettr_of_a_gang() -> None:
    """d L e^(-L u) / (e^(L (d + w)) - 1): renewal at failures, no waiting, detection at once."""
    d, w, u, gang_rate = 0.5, 1.0 / 60.0, 5.0 / 60.0, 4.0 / 24.0
    saves = {"interval": "30m", "save": "60s", "restart": "5m"}
    workload = farms.training(4, checkpoint=saves, duration="99999h")
    model = small_model(workload, nodes=8, reliability=farms.one_class("1000", "1s"))
    placed = place(model)
    assert isinstance(placed, np.ndarray)
    played = simulate(model, placed, seed=2, futures=64, horizon_ns=20_000 * HOUR_NS)
    share = d * gang_rate * math.exp(-gang_rate * u) / math.expm1(gang_rate * (d + w))
    near(played.futures["ettr"].to_numpy(), share)


def test_interruptions_are_poisson() -> None:
    """Mean and variance of interruptions of a gang that restarts at once are both rate x time."""
    saves = {"interval": "30m"}
    workload = farms.training(4, checkpoint=saves, duration="99999h")
    model = small_model(workload, nodes=8, reliability=farms.one_class("100", "1s"))
    placed = place(model)
    assert isinstance(placed, np.ndarray)
    played = simulate(model, placed, seed=3, futures=400, horizon_ns=2400 * HOUR_NS)
    counts = played.futures["gang_interruptions"].to_numpy()
    near(counts, 40.0)
    assert 0.8 < np.var(counts) / 40.0 < 1.25


def test_class_shares_follow_rates() -> None:
    model = small_model(farms.serving(1), nodes=40)
    placed = place(model)
    assert isinstance(placed, np.ndarray)
    simulator = Simulator(model, placed, 4, 20_000 * HOUR_NS)
    events = simulator.replay(0).events.to_pylist()
    failed = [e["detail"] for e in events if e["event"] == "NodeFailed" and e["time_ns"] > 0]
    share = failed.count(0) / len(failed)
    assert abs(share - 2.0 / 3.0) <= 3 * math.sqrt(2.0 / 9.0 / len(failed))


def test_metric_columns_are_the_documented_list() -> None:
    from kfarm_api.metrics import METRICS

    assert set(METRIC_ORDER) == set(METRICS)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_false_approvals_of_plans_at_the_bound() -> None:
    """2,000 plans that meet their bound in exactly 95 % of futures; error 5 % plus three sigma.

    One node fails within the horizon T with probability 1 - exp(-rate T) = 5 %, and the bound
    is that none is ever down.
    """
    rate_per_s = 10 / 1000 / 86400
    horizon_s = -math.log(0.95) / rate_per_s
    text = f"{int(horizon_s // 3600)}h{int(horizon_s % 3600 // 60)}m{horizon_s % 60:.3f}s"
    farm = farms.farm(farms.cluster(nodes=1, reliability=farms.one_class("10", "1h")))
    seen = farms.snapshot(farm, nodes={0: {"live": True}})
    policy = farms.policy(
        {"metric": "nodes_down_max", "atMost": 0},
        simulation={"horizon": text, "futures": {"min": 64, "max": 1024}},
    )
    request = ValidationRequest(
        farms=[farm],
        profiles=[farms.profile()],
        policy=policy,
        plan=farms.plan(farms.serving(1)),
        snapshot=seen,
    )
    words = [validate(request.model_copy(update={"seed": seed})).verdict for seed in range(2000)]
    sigma = math.sqrt(2000 * 0.05 * 0.95)
    assert words.count("Approved") <= 2000 * 0.05 + 3 * sigma
    assert words.count("Rejected") <= 2000 * 0.05 + 3 * sigma
    assert words.count("Inconclusive") > 1000
