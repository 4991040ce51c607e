"""What was recorded of drills is what docs/validation.md says of them."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from kfarm_twin.figures import NONE

ROOT = Path(__file__).resolve().parents[3]


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "drill_figures", ROOT / "scripts/drill_figures.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["drill_figures"] = module
    spec.loader.exec_module(module)
    return module


figures = _script()


def metric(name: str, median: str, observed: str, within: bool | None = True) -> dict[str, Any]:
    seconds = name.startswith("seconds")
    return {"name": name, "unit": "s" if seconds else "pods", "low": median, "median": median,
            "high": median, "observed": observed, "within": within}  # fmt: skip


def drill(name: str, *metrics: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"name": name, "title": f"{name} | 봄", "verdict": "Passed", "touched": 1,
            "residue": 0, "nodes": 510,
            "metrics": list(metrics)} | changes  # fmt: skip


def record(*drills: dict[str, Any]) -> dict[str, Any]:
    return {"schema": 1, "recorded": "make drills", "date": "2026-11-22", "drills": list(drills),
            "environment": {"kubernetes": "v1.36.3", "kwok": "v0.8.0"}}  # fmt: skip


def test_shares_and_errors_are_of_what_was_predicted_and_observed() -> None:
    part = figures.section(
        record(
            drill("a", metric("seconds_to_recover", "100", "110"),
                  metric("pods_affected", "1", "1")),
            drill("b", metric("seconds_to_recover", "100", "70", within=False),
                  {"name": "heat_shutdowns", "unit": "nodes", "median": "2"}),
            drill("c", metric("pods_affected", "0", "0"), verdict="Failed", residue=3),
        )
    )  # fmt: skip
    assert "`make drills`, 2026-11-22: 510 nodes (Kubernetes v1.36.3, KWOK v0.8.0)" in part
    assert "2 of 3 drills passed; 3 objects were left changed" in part
    assert "3 of 4 (75 %) of all metrics" in part
    assert "1 of 2 (50 %) of the times alone" in part
    assert "median error 20.0 % over 2 drills" in part
    assert "largest 30.0 %" in part
    assert "heat_shutdowns" not in part
    assert "a / 봄" in part


def test_residue_that_nobody_counted_is_said() -> None:
    part = figures.section(record(drill("a", residue=-1)))
    assert "| not known |" in part
    assert "0 objects were left changed" in part


def test_a_median_of_nothing_has_no_error() -> None:
    part = figures.section(record(drill("a", metric("pods_affected", "0", "0"))))
    assert f"| {NONE} | yes |" in part
    assert "median error" not in part


@pytest.mark.parametrize("page", ["# Title\n", "# Title\n\n<!-- drills -->\nold\n"
                                  "<!-- end of drills -->\n"])  # fmt: skip
def test_the_part_is_put_in_once(page: str) -> None:
    part = figures.section(record(drill("a", metric("pods_affected", "1", "1"))))
    once = figures.placed(page, part)
    assert "old" not in once
    assert figures.placed(once, part) == once
    assert once.count(figures.BEGIN) == 1


@pytest.mark.skipif(not figures.RECORD.exists(), reason="no drill was recorded yet")
def test_the_page_has_what_was_recorded() -> None:
    part = figures.section(json.loads(figures.RECORD.read_text(encoding="utf-8")))
    assert part in figures.PAGE.read_text(encoding="utf-8")
