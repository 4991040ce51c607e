"""Nodes of a farm that another farm asks for as well. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from kfarm_api.farm import Cluster, Farm

from kfarm_operator.conditions import condition
from kfarm_operator.views import NodeView

CONDITION = "Exclusive"


def contests(
    farm: Farm, others: Iterable[Farm], members: Mapping[str, list[NodeView]]
) -> list[str]:
    """What other farms ask of this one's nodes, a sentence each.

    The farm that had a node first keeps it, and the other says ``NodesTaken``; whoever runs the
    first should know too, since it loses the node for good once it lets go of it.
    """
    mine = [node for listed in members.values() for node in listed]
    said: list[str] = []
    for other in sorted(others, key=lambda o: (o.kind, o.metadata.name)):
        if (other.kind, other.metadata.name) == (farm.kind, farm.metadata.name):
            continue
        for cluster in other.spec.clusters:
            claimed = [node.name for node in mine if _asks(other, cluster, node)]
            if claimed:
                said.append(
                    f"cluster {cluster.name} of {other.kind} {other.metadata.name} asks for "
                    f"{len(claimed)} nodes of this farm, the first is {min(claimed)}"
                )
    return said


def _asks(other: Farm, cluster: Cluster, node: NodeView) -> bool:
    """Whether a cluster of another farm is to have a node."""
    if cluster.source.selector is not None:
        return cluster.source.selector.match_labels.items() <= node.labels.items()
    prefix, _, number = node.name.rpartition("-")
    same = prefix == f"{other.metadata.name}-{cluster.name}"
    return same and number.isdigit() and int(number) < cluster.nodes


def contest_condition(farm: Farm, said: list[str], now: datetime) -> dict[str, Any] | None:
    """The condition while nodes are contested; None else."""
    if not said:
        return None
    return condition(
        CONDITION,
        "False",
        "NodesContested",
        "; ".join(said) + "; they stay with this farm: correct the selector or the name of one of "
        "the two",
        generation=farm.metadata.generation,
        before=farm.status.conditions if farm.status else (),
        now=now,
    )
