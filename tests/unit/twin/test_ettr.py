"""ETTR of a gang against the exact share that renewal gives, and mutations that must miss it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gang_ettr import ROWS, Case, at_optimum, distance, played


@pytest.mark.parametrize("row", ROWS)
def test_exact_at_the_published_rows(row: str) -> None:
    case, published = ROWS[row]
    assert case.exact == pytest.approx(published, abs=5e-5)
    assert distance(played(case), case.exact) <= 3.0


@pytest.mark.parametrize("rate", [100.0, 900.0])
@pytest.mark.parametrize("interval", [600.0, 7200.0])
@pytest.mark.parametrize(("save", "restart"), [(0.0, 900.0), (120.0, 0.0), (600.0, 1800.0)])
def test_exact_on_a_grid(rate: float, interval: float, save: float, restart: float) -> None:
    case = Case(10, rate, interval, save, restart, days=3000 if rate < 500 else 1500)
    assert distance(played(case), case.exact) <= 3.0


def test_exact_with_1500_nodes_and_detection() -> None:
    """Detection counts as restart does; one node in 1,500 fewer may fail meanwhile."""
    case = replace(at_optimum(6.5, 300.0, nodes=1500), restart=240.0, detection=60.0, days=100)
    case = replace(case, futures=32)
    assert case.exact == pytest.approx(0.7358, abs=5e-5)
    assert distance(played(case), case.exact) <= 3.0


@pytest.mark.parametrize(
    "mutation",
    [
        {"restart": 0.0},
        {"save": 0.0},
        # the same share of time for saves, but next to nothing to lose
        {"interval": 1 / 500, "save": 1 / 500},
    ],
    ids=["no restart time", "no save cost", "no lost work"],
)
@pytest.mark.parametrize("row", ROWS)
def test_without_a_cost_the_exact_value_is_missed(row: str, mutation: dict[str, float]) -> None:
    case, _ = ROWS[row]
    changes = {name: getattr(case, name) * factor for name, factor in mutation.items()}
    assert distance(played(replace(case, **changes)), case.exact) > 3.0  # type: ignore[arg-type]
