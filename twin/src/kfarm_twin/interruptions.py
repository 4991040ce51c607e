"""How often its nodes interrupt a gang: the rate by which checkpoint intervals are chosen.

An expectation from rates alone: frailty, bursts and unrest leave means as they are; ageing is taken
at the mean life. Drains are left out, since a gang saves before them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kfarm_api.farm import Cluster
from kfarm_api.reliability import Reliability, Scope
from kfarm_api.twinrun import Shape
from kfarm_api.units import parse_decimal

from kfarm_twin.reliability import DOMAINS, NS_PER_DAY, PER_NODE_DAYS, FailureMode

Sizes = Mapping[Scope, tuple[int, int]]
"""Nodes that hang on one domain, and how many of its kind serve them: leaves are one per rail."""


def cluster_sizes(cluster: Cluster) -> Sizes:
    """Domains of a cluster by what fails; without those that it does not describe."""
    fabric, feed, cooling = cluster.fabric, cluster.feed, cluster.cooling
    rails = fabric is not None and fabric.topology == "RailOptimizedFatTree"
    unit = fabric.nodes_per_scalable_unit if fabric else cluster.nodes
    sizes: dict[Scope, tuple[int, int]] = {
        "Rack": (cluster.rack.nodes, 1),
        "Leaf": (unit, cluster.accelerators_per_node if rails else 1),
        "Cdu": (cooling.nodes_per_cdu or cluster.nodes, 1),
        "Plant": (cluster.nodes, 1),
    }
    return sizes | ({"Pdu": (feed.nodes_per_pdu, 1)} if feed else {})


def shape_sizes(shape: Shape) -> Sizes:
    """Domains of a plain shape, which has one loop, one plant and no PDUs."""
    units = shape.nodes_per_unit
    return {
        "Rack": (shape.nodes_per_rack, 1),
        "Leaf": (units or shape.nodes, shape.accelerators_per_node if units else 1),
        "Cdu": (shape.nodes, 1),
        "Plant": (shape.nodes, 1),
    }


def interruptions_per_ns(
    modes: Sequence[FailureMode],
    reliability: Reliability,
    sizes: Sizes,
    *,
    nodes: int,
    devices: int,
) -> float:
    """Rate at which a gang on `nodes` nodes of a cluster, side by side, is interrupted [1/ns].

    Parameters
    ----------
    modes
        Failure classes of the cluster.
    sizes
        Its domains, as `cluster_sizes` or `shape_sizes` gives them.
    devices
        Accelerators of a node.
    """
    alarms = reliability.false_alarms
    total = 0.0
    if alarms is not None:
        total = nodes * float(parse_decimal(alarms.per_1000_node_days)) / PER_NODE_DAYS / NS_PER_DAY
    for mode in modes:
        own = mode.declared
        if own is not None and own.effect == "Slow" and not own.evict:
            continue
        again = own.repair.recurrence / 100.0 if own is not None and own.repair else 0.0
        total += _rate_per_ns(mode, sizes, nodes, devices) / (1.0 - again)
    return total


def _rate_per_ns(mode: FailureMode, sizes: Sizes, nodes: int, devices: int) -> float:
    """Faults of one class that reach a gang [1/ns]."""
    if mode.per not in DOMAINS:
        return nodes * mode.node_rate_per_ns(devices)
    if mode.per not in sizes:
        return 0.0
    size, each = sizes[mode.per]
    return -(-nodes // size) * each * mode.rate_per_ns
