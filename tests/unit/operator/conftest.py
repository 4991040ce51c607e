"""The pretend cluster of ``tests/gate_scene.py``, for all tests of the operator's decisions."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def scenes() -> SimpleNamespace:
    """All names of ``tests/gate_scene.py``."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[2] / "gate_scene.py")))
