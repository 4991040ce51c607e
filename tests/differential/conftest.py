"""One API server with one kube-scheduler, watched closely, for all tests of this folder."""

from __future__ import annotations

import os
import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from kfarm_controlplane.errors import ControlPlaneUnavailable
from kfarm_controlplane.scheduling import SchedulingLab, lab_options


@pytest.fixture(scope="session")
def kube() -> SimpleNamespace:
    """What `tests/kube_compare.py` offers."""
    path = Path(__file__).parents[1] / "kube_compare.py"
    return SimpleNamespace(**runpy.run_path(str(path)))


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest, kube: SimpleNamespace) -> Iterator[SchedulingLab]:
    """The scheduler, with the profiles of all scenes and what they share."""
    lab = SchedulingLab(lab_options(kube.SCENES["PROFILES"]))
    capture = request.config.pluginmanager.getplugin("capturemanager")
    try:
        with capture.global_and_fixture_disabled():  # the first build takes minutes
            lab.__enter__()
    except ControlPlaneUnavailable as error:
        if os.environ.get("KFARM_REQUIRE_CLUSTER") == "1":
            pytest.fail(f"no control plane: {error} (KFARM_REQUIRE_CLUSTER=1)", pytrace=False)
        pytest.skip(f"no control plane: {error}")
    try:
        for body in kube.SCENES["shared_objects"]():
            lab.create(body)
        yield lab
    finally:
        lab.plane.keep = request.session.testsfailed > 0
        lab.__exit__(None, None, None)
