"""FarmSnapshot: what the operator saw when it asked the twin; reproduces its verdict anywhere."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field

from kfarm_api.base import Strict
from kfarm_api.farm import Farm
from kfarm_api.layout import farm_places
from kfarm_api.telemetry import Correction


class NodeState(Strict):
    """A node as it stands: capacity left by others, and whether it can take pods.

    `free_at` is when others will have left it, where all of them say how long they run.
    """

    name: str
    farm_kind: str
    farm: str
    cluster: str
    index: Annotated[int, Field(ge=0)]
    uid: str = ""
    ready: bool = True
    schedulable: bool = True
    accelerators: Annotated[int, Field(ge=0)]
    used: Annotated[int, Field(ge=0)] = 0
    live: bool = False
    free_at: Annotated[str, Field(max_length=40)] | None = None


class Survivor(Strict):
    """A slot that already runs and must stay where it is."""

    workload: str
    slot: Annotated[int, Field(ge=0)]
    node: str


class FarmSnapshot(Strict):
    """The state a simulation starts from.

    `accelerators` is what a node can give now (allocatable, in devices, less what is reported
    bad), `used` what others hold by claims or bound pods. `live` says that readiness is an
    observation of real hardware, so that the twin starts from it; else it starts from equilibrium.
    `corrections` are what measurements say of the coolant of clusters whose farm wants that to
    count.
    """

    api_version: Literal["kfarm.dev/v1alpha1"] = "kfarm.dev/v1alpha1"
    kind: Literal["FarmSnapshot"] = "FarmSnapshot"
    nodes: list[NodeState]
    survivors: list[Survivor] = Field(default_factory=list)
    epoch: Annotated[int, Field(ge=0)] = 0
    corrections: list[Correction] = Field(default_factory=list)


def synthetic_snapshot(farms: list[Farm]) -> FarmSnapshot:
    """The state of farms of which nothing is known: all nodes ready and free."""
    nodes: list[NodeState] = []
    for farm in farms:
        size = {cluster.name: cluster.accelerators_per_node for cluster in farm.spec.clusters}
        nodes += [
            NodeState(
                name=place.name,
                farm_kind=place.farm_kind,
                farm=place.farm,
                cluster=place.cluster,
                index=place.index,
                accelerators=size[place.cluster],
            )
            for place in farm_places(farm)
        ]
    return FarmSnapshot(nodes=nodes)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: the same text for the same content."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(value: Any) -> str:
    """SHA-256 of canonical JSON, as ``sha256:<hex>``."""
    return "sha256:" + hashlib.sha256(canonical_json(value).encode()).hexdigest()
