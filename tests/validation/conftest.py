"""Published results beside ours; what is compared ends as a row of docs/validation.md.

``make validation`` sets KFARM_VALIDATION_ROWS to a file, to which each comparison is appended as a
line of JSON, and writes the page from it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("KFARM_SHARED", ROOT.parent / "shared"))


class Published(Protocol):
    """Compare one figure with what was published."""

    def __call__(
        self,
        case: str,
        figure: str,
        *,
        published: float,
        ours: float,
        tolerance: float | None,
        source: str,
        unit: str = "",
    ) -> None:
        """Record the row, then fail where the two differ by more than the tolerance, if any."""


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """Path of a file of public data; skips the test with a clear line where it is absent."""

    def find(name: str) -> Path:
        path = SHARED / name
        if not path.exists():
            pytest.skip(f"public data not here: {path}; set KFARM_SHARED to the folder that has it")
        return path

    return find


@pytest.fixture
def published(request: pytest.FixtureRequest) -> Published:
    """Record a comparison for docs/validation.md and assert it."""

    def compare(
        case: str,
        figure: str,
        *,
        published: float,
        ours: float,
        tolerance: float | None,
        source: str,
        unit: str = "",
    ) -> None:
        row = {
            "test": request.node.nodeid,
            "case": case,
            "figure": figure,
            "published": published,
            "ours": ours,
            "tolerance": tolerance,
            "unit": unit,
            "source": source,
        }
        rows = os.environ.get("KFARM_VALIDATION_ROWS")
        if rows:
            with Path(rows).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        assert tolerance is None or abs(ours - published) <= tolerance, row

    return compare
