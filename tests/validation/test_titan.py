"""Titan's GPUs by cage: one Weibull law cannot meet the hottest cage, two batches can.

Input: the Weibull laws by cage and of the new batch, and for the mixture the survival at five years
itself, from which the share of units that wear out follows. So the last test is no prediction: it
shows that a mixture with a share below one meets what a single law misses by 16 points, and how
large that share must be. Shares by cage are not published; the hazard ratios 1 : 2.1 : 3.3 do not
give the survival by cage either (with the old batch's own survival they give 0.44 and 0.28 for
2.1 and 3.3 times its hazard).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet_play import run
from kfarm_api.reliability import Reliability
from kfarm_twin.fleet_classes import FleetCluster, plain_cluster
from kfarm_twin.fleet_tables import compile_fleet
from kfarm_twin.reliability import own_mode
from validation.conftest import Published

CAGES = {"bottom": "cage_bottom_cool", "middle": "cage_middle", "top": "cage_top_hot"}
SOURCE = "lifetimes_titan, facts/reliability.yaml"
UNITS, DAYS_PER_YEAR = 4000, 365.25


@pytest.fixture
def facts(shared: Callable[[str], Path]) -> dict[str, Any]:
    text = shared("facts/reliability.yaml").read_text(encoding="utf-8")
    data: dict[str, Any] = yaml.safe_load(text)["lifetimes_titan"]
    return data


def weibull_survival(row: dict[str, Any], years: float) -> float:
    return math.exp(-((years / row["scale_y"]) ** row["weibull_k"]))


def test_one_weibull_misses_the_hottest_cage(facts: dict[str, Any]) -> None:
    top = facts[CAGES["top"]]
    assert abs(weibull_survival(top, 5.0) - top["km_5y"]) > 0.10
    for cage in ("bottom", "middle"):
        row = facts[CAGES[cage]]
        assert abs(weibull_survival(row, 5.0) - row["km_5y"]) <= 0.03


def test_the_old_batch_wears_out_and_the_new_one_does_not(facts: dict[str, Any]) -> None:
    old, new = facts["old_batch"], facts["new_batch"]
    assert old["weibull_k"] > 2
    assert abs(new["weibull_k"] - 1) < 0.1
    assert weibull_survival(new, 5.0) == pytest.approx(new["km_y5"], abs=0.01)


def batch(row: dict[str, Any], units: int) -> FleetCluster:
    """Units that are new, fail by a Weibull law and stay away."""
    mean_days = row["scale_y"] * DAYS_PER_YEAR * math.gamma(1 + 1 / row["weibull_k"])
    failure = {
        "name": "dead",
        "failuresPer1000Days": f"{1000 / mean_days:.6f}",
        "life": {"distribution": "Weibull", "shape": f"{row['weibull_k']}", "age": "0h"},
        "meanTimeToRepair": "900000h",
        "repair": {"distribution": "Fixed"},
    }
    rules = Reliability.model_validate({"classes": [failure], "detection": "0s"})
    return plain_cluster([own_mode(mode) for mode in rules.classes], rules, units, 1)


def survivors(old: dict[str, Any], new: dict[str, Any], share: float) -> float:
    """Share of units of both batches that the engine leaves alive after five years."""
    aged = round(share * UNITS)
    clusters = [batch(old, aged)] if aged else []
    clusters += [batch(new, UNITS - aged)] if aged < UNITS else []
    result = run(compile_fleet(clusters), 5 * DAYS_PER_YEAR, 4, warm_ns=0, points=2000)
    return 1.0 - float(result.series[:, -1].mean()) / UNITS


def test_two_batches_meet_every_cage(facts: dict[str, Any], published: Published) -> None:
    new = facts["new_batch"]["km_y5"]
    shares = {}
    for cage, name in CAGES.items():
        row = facts[name]
        old = weibull_survival(row, 5.0)
        share = min(max((new - row["km_5y"]) / (new - old), 0.0), 1.0)
        shares[cage] = share
        published(
            "Titan, share of old units fitted", f"survival at 5 years, {cage} cage",
            published=row["km_5y"], ours=survivors(row, facts["new_batch"], share),
            tolerance=0.03, source=SOURCE,
        )  # fmt: skip
    assert shares["bottom"] == pytest.approx(1.0, abs=0.05)
    assert shares["middle"] == pytest.approx(1.0, abs=0.05)
    assert shares["top"] == pytest.approx(0.82, abs=0.03)
