"""The farm week through ``kfarm compare``: the figures of a plain textbook simulation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from kfarm_api.twinrun import TwinRunSpec
from kfarm_twin.whatif import play
from kfarm_twin.whatif_request import Source, WhatIfRequest

FIGURES = {"fifo": (1179.92, 7445.0), "easy": (500.11, 9441.0)}
"""Mean and longest wait [s]; shared/traces/README.md, to the second."""


def test_the_recorded_week_waits_as_stated(shared: Callable[[str], Path]) -> None:
    path = shared("traces/farm-week/farm-week.swf.gz")
    trace = {"configMap": {"name": "week", "key": path.name}, "format": "SWF", "gpusPerNode": 8}
    spec = {
        "shape": {"nodes": 1642},
        "workload": {"trace": trace},
        "policies": [{"name": "fifo"}, {"name": "easy", "backfill": "Easy"}],
        "replicas": 3,
    }
    source = Source(name=path.name, raw=path.read_bytes())
    result = play(WhatIfRequest(name="week", spec=TwinRunSpec.model_validate(spec), source=source))
    for policy in result.policies:
        mean, longest = FIGURES[policy.name]
        assert policy.metrics["waitMeanS"].replicas[0] == pytest.approx(mean, abs=0.01)
        assert policy.metrics["waitMaxS"].replicas[0] == longest
    change = result.policies[1].differences["waitMeanS"]
    assert change.better == change.replicas == 3
    assert result.best == "easy"
    assert "from 19.7 min to 8.34 min on farm-week.swf.gz as recorded" in result.headline[0]
