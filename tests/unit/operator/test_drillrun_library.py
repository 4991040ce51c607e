"""The library of drills holds together: runbooks, grounds, limits, its table."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from drills_ground import LIBRARY, bodies
from kfarm_api.drill_marks import ANNOTATION_COMING
from kfarm_controlplane.drillhost import LIMITS
from kfarm_controlplane.drillrecord import row
from kfarm_operator.drillrun.files import DrillFiles, read_drill

DRILLS = sorted(LIBRARY.glob("[0-9]*.yaml"))
KIND = LIBRARY / "kind/node-paused.yaml"
NAMED = {"ids": lambda path: str(path.stem)}


def _plans(path: Path) -> set[str]:
    return {b["metadata"]["name"] for b in bodies(path) if b["kind"] == "PlacementPlan"}


def _farms(path: Path) -> set[str]:
    return {b["metadata"]["name"] for b in bodies(path) if b["kind"] in ("GPUFarm", "NPUFarm")}


def _ground(path: Path) -> Path:
    return path.parent / "ground.yaml"


def test_there_are_at_least_twelve() -> None:
    assert len(DRILLS) >= 12
    names = [read_drill([path]).name for path in DRILLS]
    assert len(set(names)) == len(names)
    actions = {f.action for path in DRILLS for f in read_drill([path]).drill.spec.faults}
    assert {"DeviceFault", "NodeDown", "RackPower", "LeafSwitch", "CduPump", "Chiller", "Drain",
            "ApiOutage", "OperatorKill"} <= actions  # fmt: skip


@pytest.mark.parametrize("path", [*DRILLS, KIND], **NAMED)
def test_each_is_dry_has_a_runbook_and_stands_on_its_ground(path: Path) -> None:
    files = read_drill([path])
    spec = files.drill.spec
    assert spec.confirm is None
    for part in ("What you see:", "What to do:", "What this drill rehearses:"):
        assert part in files.runbook
    assert not files.runbook.splitlines()[0].endswith(".")
    assert files.namespace == "drills"
    assert spec.farm.name in _farms(_ground(path))
    grounds = (_ground(path), path.parent / "kueue/ground.yaml", path)
    assert set(spec.plans) <= {name for one in grounds if one.exists() for name in _plans(one)}
    chosen = {f.selector.plan for f in spec.faults if f.selector and f.selector.plan}
    assert chosen <= set(spec.plans)


@pytest.mark.parametrize("path", DRILLS, **NAMED)
def test_plans_that_come_later_are_noted_for_the_prediction(path: Path) -> None:
    noted = json.loads(read_drill([path]).drill.metadata.annotations.get(ANNOTATION_COMING, "[]"))
    assert noted == [body for body in bodies(path) if body["kind"] == "PlacementPlan"]
    assert {body["metadata"]["name"] for body in noted} == _plans(path)


@pytest.mark.parametrize("path", DRILLS, **NAMED)
def test_each_keeps_within_what_its_installation_allows(path: Path) -> None:
    limits = read_drill([path]).drill.spec.limits
    assert limits.max_nodes <= int(LIMITS["maxNodes"])
    assert limits.max_percent <= int(LIMITS["maxPercent"])
    assert limits.domains <= int(LIMITS["domains"])


def test_the_table_lists_them_all() -> None:
    text = (LIBRARY / "README.md").read_text("utf-8")
    assert re.findall(r"^\| \[[^\]]+\]\(([^)]+)\)", text, re.MULTILINE) == [p.name for p in DRILLS]


def test_a_finished_drill_becomes_a_row() -> None:
    files: DrillFiles = read_drill([DRILLS[0]])
    metric = {"name": "pods_affected", "unit": "pods", "median": "1", "observed": "1"}
    results = [{"name": "a", "result": "Passed"}, {"name": "b", "result": "Unknown"}]
    annotations = {**files.body["metadata"]["annotations"], "kfarm.dev/residue": "0"}
    body = {
        **files.body,
        "metadata": {**files.body["metadata"], "annotations": annotations},
        "status": {
            "verdict": "Passed", "touched": 1, "metrics": [metric], "expectations": results,
        },
    }  # fmt: skip
    made = row(body, 566, 52.04)
    assert made == {
        "name": "gpu-off-the-bus", "title": "One GPU has fallen off the bus (XID 79)",
        "nodes": 566, "mode": "Both", "verdict": "Passed", "touched": 1, "residue": 0,
        "seconds": 52.0, "expectations": {"passed": 1, "failed": 0, "unknown": 1},
        "metrics": [metric],
    }  # fmt: skip
