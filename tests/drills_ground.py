"""Objects of examples/drills, read and made smaller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "examples/drills"
Body = dict[str, Any]


def bodies(path: Path) -> list[Body]:
    """All objects of a file."""
    with path.open(encoding="utf-8") as file:
        return [body for body in yaml.safe_load_all(file) if body]


def resized(body: Body, pods: int) -> Body:
    """A plan or its Job with so many pods."""
    if body["kind"] == "PlacementPlan":
        body["spec"]["workloads"][0]["pods"] = pods
    if body["kind"] == "Job":
        body["spec"] |= {"completions": pods, "parallelism": pods}
    return body
