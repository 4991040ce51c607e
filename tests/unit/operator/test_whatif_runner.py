"""Replicas in real processes of their own: the same figures, and failures that say what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from kfarm_api.twinrun import TwinRunSpec
from kfarm_operator.runner import TwinFailed, WhatIfRunner
from kfarm_twin.fleetrun import play as play_failures
from kfarm_twin.fleetrun_request import FleetRequest
from kfarm_twin.whatif import play_replica, prepare
from kfarm_twin.whatif_request import Source, WhatIfRequest

JOBS = "\n".join(
    f"{n} {n * 45} -1 {300 + 37 * (n % 17)} {1 + n % 5} -1 -1 {1 + n % 5} 1800 "
    "-1 1 1 1 -1 1 -1 -1 -1"
    for n in range(1, 201)
)
LIMITS: dict[str, Any] = {"deadline_s": 60, "memory_bytes": 2 << 30}


@pytest.fixture
async def runner() -> AsyncIterator[WhatIfRunner]:
    runner = WhatIfRunner(concurrency=1)
    await runner.start()
    yield runner
    await runner.close()


def request(text: str = JOBS) -> WhatIfRequest:
    trace = {"configMap": {"name": "week", "key": "week.swf"}, "format": "SWF", "block": "30m"}
    spec = {
        "shape": {"nodes": 6},
        "workload": {"trace": trace},
        "policies": [{"name": "fifo"}, {"name": "easy", "backfill": "Easy"}],
        "replicas": 2,
    }
    return WhatIfRequest(
        name="x",
        spec=TwinRunSpec.model_validate(spec),
        source=Source(name="week.swf", raw=text.encode()),
    )


async def test_a_process_plays_what_this_one_plays(runner: WhatIfRunner) -> None:
    asked = request()
    for replica in (0, 1):
        played = await runner.play(asked, replica, **LIMITS)
        assert played.part == play_replica(prepare(asked), replica)


@pytest.mark.parametrize("gang", [None, {"nodes": 4, "checkpoint": {"interval": "1h"}}])
async def test_a_process_plays_failures_as_this_one_does(
    runner: WhatIfRunner, gang: dict[str, Any] | None
) -> None:
    failure = {"name": "any", "failuresPer1000NodeDays": "20", "meanTimeToRepair": "6h"}
    spec = {
        "shape": {"nodes": 6, "reliability": {"classes": [failure]}},
        "workload": None if gang is None else {"gang": gang},
        "horizon": "48h",
        "replicas": 100,
    }
    asked = FleetRequest(name="x", spec=TwinRunSpec.model_validate(spec))
    found = await runner.play_failures(asked, **LIMITS)
    assert found.as_text() == play_failures(asked).as_text()


async def test_failures_of_an_unknown_reference_are_bad_input(runner: WhatIfRunner) -> None:
    spec = {"shape": {"nodes": 6, "reliability": {"reference": "nobody"}}}
    asked = FleetRequest(name="x", spec=TwinRunSpec.model_validate(spec))
    with pytest.raises(TwinFailed) as failed:
        await runner.play_failures(asked, **LIMITS)
    assert failed.value.reason == "BadInput"
    assert failed.value.message.startswith("spec.shape.reliability.reference")


async def test_a_bad_line_is_bad_input(runner: WhatIfRunner) -> None:
    with pytest.raises(TwinFailed) as failed:
        await runner.play(request(JOBS.replace("5 225 -1", "5 soon -1")), 0, **LIMITS)
    assert failed.value.reason == "BadInput"
    assert "week.swf, line 5" in failed.value.message
    assert failed.value.message.startswith("week.swf")


async def test_an_unknown_mix_is_bad_input(runner: WhatIfRunner) -> None:
    spec = request().spec.as_manifest()
    spec["workload"] = {"generator": {"mix": "unheard-of", "jobs": 10}}
    asked = WhatIfRequest(name="x", spec=TwinRunSpec.model_validate(spec))
    with pytest.raises(TwinFailed) as failed:
        await runner.play(asked, 0, **LIMITS)
    assert failed.value.reason == "BadInput"
    assert "farm-week" in failed.value.message


async def test_the_deadline_is_kept(runner: WhatIfRunner) -> None:
    with pytest.raises(TwinFailed) as failed:
        await runner.play(request(), 0, deadline_s=0.001, memory_bytes=2 << 30)
    assert failed.value.reason == "DeadlineExceeded"
