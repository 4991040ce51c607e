"""The pretend cluster of ``tests/gate_scene.py``, for all tests of the operator's decisions."""

from __future__ import annotations

from types import ModuleType

import gate_scene
import pytest


@pytest.fixture(scope="session")
def scenes() -> ModuleType:
    """All names of ``tests/gate_scene.py``."""
    return gate_scene
