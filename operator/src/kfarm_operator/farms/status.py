"""Status of a farm: counts and one condition. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from kfarm_api.farm import Farm

from kfarm_operator.conditions import condition
from kfarm_operator.farms.contest import CONDITION as EXCLUSIVE
from kfarm_operator.farms.decide import FarmDecision
from kfarm_operator.queues.status import CONDITION as QUEUES

FURTHER = (QUEUES, EXCLUSIVE)


def farm_status(
    farm: Farm,
    decision: FarmDecision,
    now: datetime,
    further: Sequence[dict[str, Any] | None] = (),
) -> dict[str, Any]:
    """The fields of the status that follow from nodes and queues, as they should stand.

    Parameters
    ----------
    further
        Conditions of `FURTHER` types that there are. Conditions of still other types stay.
    """
    clusters: list[dict[str, Any]] = []
    accelerators = 0
    for cluster in farm.spec.clusters:
        members = decision.members.get(cluster.name, [])
        clusters.append(
            {
                "name": cluster.name,
                "nodes": len(members),
                "ready": sum(node.ready for node in members),
            }
        )
        accelerators += len(members) * cluster.accelerators_per_node
    return {
        "observedGeneration": farm.metadata.generation,
        "nodes": sum(int(c["nodes"]) for c in clusters),
        "readyNodes": sum(int(c["ready"]) for c in clusters),
        "accelerators": accelerators,
        "clusters": clusters,
        "conditions": merged_conditions(
            farm,
            [_ready(farm, decision, clusters, now), *(said for said in further if said)],
            over=FURTHER,
        ),
    }


def merged_conditions(
    farm: Farm, own: list[dict[str, Any]], over: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Conditions of one controller among those of others, in the order they stand in.

    Those of types `over` that are not in `own` are left out: they are the controller's too.
    """
    mine = {entry["type"]: entry for entry in own}
    before = farm.status.conditions if farm.status else ()
    kept = [old for old in before if old.type in mine or old.type not in over]
    merged = [mine.pop(old.type) if old.type in mine else old.as_manifest() for old in kept]
    return [*merged, *mine.values()]


def _ready(
    farm: Farm, decision: FarmDecision, clusters: list[dict[str, Any]], now: datetime
) -> dict[str, Any]:
    wanted = sum(cluster.nodes for cluster in farm.spec.clusters)
    present = sum(int(c["nodes"]) for c in clusters)
    ready = sum(int(c["ready"]) for c in clusters)
    if decision.problems:
        reason = decision.problems[0][0]
        message = "; ".join(sentence for _, sentence in decision.problems)
    elif present < wanted:
        reason, message = "CreatingNodes", f"{present} of {wanted} nodes are there"
    elif ready < wanted:
        down = [
            f"{c['name']}: {c['nodes'] - c['ready']}" for c in clusters if c["ready"] < c["nodes"]
        ]
        reason = "NodesNotReady"
        message = f"{ready} of {wanted} nodes are Ready; not Ready in {', '.join(down)}"
    else:
        reason, message = "NodesReady", f"all {wanted} nodes are Ready"
    return condition(
        "Ready",
        "True" if reason == "NodesReady" else "False",
        reason,
        message,
        generation=farm.metadata.generation,
        before=farm.status.conditions if farm.status else (),
        now=now,
    )
