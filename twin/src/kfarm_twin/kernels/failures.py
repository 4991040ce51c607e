"""When nodes fail and are repaired.

A node fails when its integrated hazard reaches a unit-exponential draw; with the constant rate of
this version that is an exponential time. The class is chosen by rate, the repair is exponential
with the mean of the class. Each draw is a function of (seed, future, node, purpose, how often it
failed).
"""

from __future__ import annotations

from kfarm_twin._jit import inner, kernel
from kfarm_twin.arrays import (
    NEVER_UP,
    STARTS_DOWN,
    STARTS_UP,
    Classes,
    Clusters,
    Floats,
    Nodes,
)
from kfarm_twin.kernels.rng import FAR_NS, exponential_ns, uniform

STARTS, STARTS_CLASS, STARTS_REPAIR, FAILS, FAILS_CLASS, FAILS_REPAIR = 1, 2, 3, 4, 5, 6
"""Purposes of draws."""


@kernel
def pick(share: Floats, first: int, count: int, u: float) -> int:
    """First class whose cumulative share exceeds `u`; the last one when rounding left a gap."""
    for index in range(first, first + count - 1):
        if u < share[index]:
            return index
    return first + count - 1


@inner
def starts_down(
    nodes: Nodes, clusters: Clusters, node: int, placed: bool, seed: int, future: int
) -> bool:
    """Whether a node is down when the future begins; nodes that were given pods are healthy."""
    start = nodes.start[node]
    if start == NEVER_UP:
        return True
    if placed or start == STARTS_UP:
        return False
    if start == STARTS_DOWN:
        return True
    u = uniform(seed, future, node, STARTS, 0)
    return bool(u < clusters.down_share[nodes.cluster[node]])


@inner
def first_class(
    nodes: Nodes, clusters: Clusters, classes: Classes, node: int, seed: int, future: int
) -> int:
    """Class of the failure that a node is down with at the start, or -1 when it has none."""
    cluster = nodes.cluster[node]
    if clusters.classes[cluster] == 0:
        return -1
    u = uniform(seed, future, node, STARTS_CLASS, 0)
    first, count = clusters.first_class[cluster], clusters.classes[cluster]
    return pick(classes.down_share, first, count, u)


@inner
def residual_repair_ns(
    nodes: Nodes, classes: Classes, node: int, failed_class: int, seed: int, future: int
) -> int:
    """Rest of the repair at the start [ns]; exponential repairs have no memory."""
    if nodes.start[node] == NEVER_UP or failed_class < 0:
        return FAR_NS
    return exponential_ns(
        uniform(seed, future, node, STARTS_REPAIR, 0), classes.repair_ns[failed_class]
    )


@inner
def to_failure_ns(
    nodes: Nodes, clusters: Clusters, node: int, failures: int, seed: int, future: int
) -> int:
    """Time until a node that just came up fails next [ns]."""
    mean = clusters.mean_to_failure_ns[nodes.cluster[node]]
    return exponential_ns(uniform(seed, future, node, FAILS, failures), mean)


@inner
def failure_class(
    nodes: Nodes,
    clusters: Clusters,
    classes: Classes,
    node: int,
    failures: int,
    seed: int,
    future: int,
) -> int:
    """Class of a failure."""
    cluster = nodes.cluster[node]
    u = uniform(seed, future, node, FAILS_CLASS, failures)
    first, count = clusters.first_class[cluster], clusters.classes[cluster]
    return pick(classes.failure_share, first, count, u)


@inner
def repair_ns(
    classes: Classes, node: int, failures: int, failed_class: int, seed: int, future: int
) -> int:
    """Time to repair [ns]."""
    u = uniform(seed, future, node, FAILS_REPAIR, failures)
    return exponential_ns(u, classes.repair_ns[failed_class])
