"""A drill predicted in a process of its own: the same figures, and failures that say why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfarm_api.drill import FailureDrill
from kfarm_api.farm import GPUFarm
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.snapshot import synthetic_snapshot
from kfarm_operator.runner import DrillRunner, TwinFailed
from kfarm_twin.drill import predict
from kfarm_twin.drill_request import DrillRequest

ROOT = Path(__file__).resolve().parents[3]
LIMITS: dict[str, Any] = {"deadline_s": 120, "memory_bytes": 2 << 30}


@pytest.fixture
async def runner() -> AsyncIterator[DrillRunner]:
    runner = DrillRunner(concurrency=1)
    await runner.start()
    yield runner
    await runner.close()


def profiles() -> list[AcceleratorProfile]:
    found = []
    for path in sorted((ROOT / "examples/catalogue").glob("*.yaml")):
        for body in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            found.append(AcceleratorProfile.model_validate(body))
    return [one for one in found if one.metadata.name == "b200"]


def request(**more: Any) -> DrillRequest:
    cluster = {
        "name": "c", "accelerator": "b200", "nodes": 8, "acceleratorsPerNode": 8,
        "rack": {"nodes": 4}, "cooling": {"type": "Air", "supplyTemperature": 22},
        "reliability": {"reference": "llama3-h100"}, "source": {"simulated": {}},
    }  # fmt: skip
    head = {"apiVersion": "kfarm.dev/v1alpha1"}
    farm = GPUFarm.model_validate(
        {**head, "kind": "GPUFarm", "metadata": {"name": "f"},
         "spec": {"site": {"name": "광주"}, "clusters": [cluster]}}
    )  # fmt: skip
    fault = {"name": "rack", "action": "RackPower", "selector": {"cluster": "c"}, "duration": "5m"}
    drill = FailureDrill.model_validate(
        {**head, "kind": "FailureDrill", "metadata": {"name": "d", "namespace": "ns"},
         "spec": {"farm": {"kind": "GPUFarm", "name": "f"}, "faults": [fault],
                  "simulation": {"futures": 32}}}
    )  # fmt: skip
    given = {"profiles": profiles(), "snapshot": synthetic_snapshot([farm]), **more}
    targets = [{"fault": "rack", "domains": ["f-c-r0000"],
                "nodes": [f"f-c-{index:04d}" for index in range(4)]}]  # fmt: skip
    return DrillRequest(drill=drill, farm=farm, targets=targets, **given)


async def test_a_process_predicts_what_this_one_predicts(runner: DrillRunner) -> None:
    asked = request()
    answer = await runner.predict_drill(asked, **LIMITS)
    assert answer == predict(asked)
    down = next(metric for metric in answer.metrics if metric.name == "nodes_down_max")
    assert down.median == "4"


async def test_input_at_fault_is_said(runner: DrillRunner) -> None:
    with pytest.raises(TwinFailed, match="b200") as refused:
        await runner.predict_drill(request(profiles=[]), **LIMITS)
    assert refused.value.reason == "BadInput"
