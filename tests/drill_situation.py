"""Drills in a situation of a test's own, without a cluster."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from kfarm_api.drill import FailureDrill
from kfarm_api.drill_status import (
    Change,
    FailureDrillStatus,
    FaultProgress,
    FaultTargets,
    JournalEntry,
)
from kfarm_api.drill_targets import farm_candidates
from kfarm_api.farm import GPUFarm
from kfarm_api.layout import farm_places
from kfarm_operator.drills import decide as deciding
from kfarm_operator.drills.clock import moment, whole
from kfarm_operator.drills.observe import observe
from kfarm_operator.drills.settings import DrillSettings
from kfarm_operator.drills.situation import Situation
from kfarm_operator.drills.steps import (
    Decision,
    Rest,
)
from kfarm_operator.drills.views import DrillNode, DrillPod, Lock

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
SETTINGS = DrillSettings(cluster_name="test", max_nodes=8, max_percent=100, domains=4)
KEY = "ns/d/uid-1"
FARM = GPUFarm.model_validate(
    {
        "apiVersion": "kfarm.dev/v1alpha1", "kind": "GPUFarm", "metadata": {"name": "f"},
        "spec": {"site": {"name": "광주"}, "clusters": [{
            "name": "c", "accelerator": "b200", "nodes": 8, "acceleratorsPerNode": 8,
            "rack": {"nodes": 4}, "cooling": {"type": "Air", "supplyTemperature": 22},
            "reliability": {"reference": "llama3-h100"}, "source": {"simulated": {}},
        }]},
    }
)  # fmt: skip
FAULT = {"name": "lost", "action": "NodeDown", "selector": {"cluster": "c"}, "duration": "1m"}


def drill(status: FailureDrillStatus | None = None, **spec: Any) -> FailureDrill:
    full = {
        "mode": "Cluster", "confirm": "test", "farm": {"kind": "GPUFarm", "name": "f"},
        "faults": [FAULT], "limits": {"maxPercent": 100, "timeToLive": "10m"}, **spec,
    }  # fmt: skip
    made = FailureDrill.model_validate(
        {
            "apiVersion": "kfarm.dev/v1alpha1", "kind": "FailureDrill",
            "metadata": {"name": "d", "namespace": "ns", "uid": "uid-1", "generation": 1},
            "spec": {key: value for key, value in full.items() if value is not None},
        }
    )  # fmt: skip
    return made.model_copy(update={"status": status})


def node(index: int, **more: Any) -> DrillNode:
    place = list(farm_places(FARM))[index]
    given = {"ready": "True", "cordoned": False, "drill": "", "faults": (), "kwok": True, **more}
    labels = {**place.labels(), "kfarm.dev/drill": "allowed"}
    return DrillNode(name=place.name, uid=f"u{index}", labels=labels, **given)


NODES = {made.name: made for made in (node(index) for index in range(8))}
FIRST = node(0).name


def situation(status: FailureDrillStatus | None = None, **more: Any) -> Situation:
    spec = {
        k: more.pop(k)
        for k in list(more)
        if k in FailureDrill.model_fields["spec"].annotation.model_fields
    }  # type: ignore[union-attr]
    given = {
        "settings": SETTINGS, "farm": FARM, "nodes": NODES, "candidates": farm_candidates(FARM),
        "consent": True, "locks": {"kfarm-drill-f-c": None}, **more,
    }  # fmt: skip
    return Situation(drill=drill(status, **spec), now=NOW, **given)


def chosen(**more: Any) -> FailureDrillStatus:
    targets = [FaultTargets(fault="lost", domains=[FIRST], nodes=[FIRST])]
    given = {"observed_generation": 1, "phase": "Pending", "targets": targets, **more}
    return FailureDrillStatus(**given)


def begun(ago_s: float = 1.0, **more: Any) -> FailureDrillStatus:
    start = NOW - timedelta(seconds=ago_s)
    return chosen(
        **{
            "phase": "Running", "started_at": moment(start), "domain": "f-c",
            "until": whole(start + timedelta(minutes=10)),
            "faults": [FaultProgress(fault="lost", state="Waiting")], **more,
        }
    )  # fmt: skip


def entry(state: str = "Applied", name: str = FIRST, number: str = "") -> JournalEntry:
    return JournalEntry(
        id=f"lost/Lease/{name}{number}", fault="lost", kind="Lease", name=name, uid="u",
        state=state, planned_at=moment(NOW), applied_at=moment(NOW),
        changes=[Change(field="lease/holderIdentity", before='"a"', after='"b"')],
    )  # fmt: skip


def active() -> list[FaultProgress]:
    return [FaultProgress(fault="lost", state="Active", since=moment(NOW - timedelta(seconds=1)))]


def lock(holder: str = KEY, *, stale: bool = False) -> dict[str, Lock | None]:
    return {"kfarm-drill-f-c": Lock("kfarm-drill-f-c", "l", "1", holder, stale)}


def decide(s: Situation) -> Decision:
    """The step after what is seen by the way, such as how many nodes are down, is written."""
    return deciding.decide(replace(s, drill=s.drill.model_copy(update={"status": observe(s)})))


def settled(s: Situation) -> Rest:
    step = decide(s)
    assert isinstance(step, Rest), step
    return step


def pod(name: str = "p", place: str = FIRST, **more: Any) -> DrillPod:
    given = {"phase": "Running", "deleting": False, "daemon": False, "namespace": "ns", **more}
    return DrillPod(name=name, uid=name, plan="train", workload="w", node=place, devices=8,
                    toleration_s=300, owner="Job/train", **given)  # fmt: skip
