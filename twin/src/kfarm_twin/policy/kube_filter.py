"""Filters of kube-scheduler 1.36, in the order of the default profile.

Rules follow pkg/scheduler/framework/plugins of Kubernetes v1.36.3 (Apache-2.0), read and written
anew on columns; each function names the plugin it stands for.
"""

from __future__ import annotations

from kfarm_twin._jit import inlined
from kfarm_twin.policy.kube_columns import (
    APART,
    CLASHES,
    F_AFFINITY,
    F_FIT,
    F_PODS,
    F_PORTS,
    F_SPREAD,
    F_TAINTS,
    F_UNSCHEDULABLE,
    FAR_COUNT,
    FITS,
    HARD,
    KEPT_AWAY,
    KEPT_OFF,
    NEAR,
    NO_DOMAIN,
    NO_ROOM,
    NONE,
    NOT_APART,
    NOT_ENFORCED,
    NOT_NEAR,
    NOT_SELECTED,
    PORT_TAKEN,
    SKEWED,
    TAINTED,
    TOO_SMALL,
    UNSCHEDULABLE,
    Model,
    State,
    Work,
)


@inlined
def static_reason(m: Model, c: int, n: int) -> int:
    """NodeUnschedulable, TaintToleration, NodeAffinity: what no other pod changes."""
    filters = m.profile.filters
    if (
        filters[F_UNSCHEDULABLE] == 1
        and m.nodes.unschedulable[n] == 1
        and m.classes.tolerates_unschedulable[c] == 0
    ):
        return UNSCHEDULABLE
    if filters[F_TAINTS] == 1 and m.nodes.blocked[m.classes.tolerations[c], m.nodes.taints[n]] == 1:
        return TAINTED
    if filters[F_AFFINITY] == 1:
        if m.profile.enforced[n] == 0:
            return NOT_ENFORCED
        if m.classes.selected[c] != NONE and m.nodes.selected[m.classes.selected[c], n] == 0:
            return NOT_SELECTED
    return FITS


@inlined
def lacking_resources(m: Model, state: State, c: int, n: int) -> int:
    """NodeResourcesFit: bit 0 for pods, bit r + 1 for resource r, 0 when all fit."""
    lacking = 0
    if state.pods[n] + 1 > m.nodes.pod_limit[n]:
        lacking = 1
    for r in range(m.classes.request.shape[1]):
        need = m.classes.request[c, r]
        if need > 0 and need > m.nodes.allocatable[n, r] - state.requested[n, r]:
            lacking |= 1 << (r + 1)
    return lacking


@inlined
def fit_reason(m: Model, c: int, n: int, lacking: int) -> int:
    """Whether what lacks could be there on an empty node."""
    if lacking == 0:
        return FITS
    for r in range(m.classes.request.shape[1]):
        if (lacking >> (r + 1)) & 1 and m.classes.request[c, r] > m.nodes.allocatable[n, r]:
            return TOO_SMALL
    return NO_ROOM


@inlined
def ports_taken(m: Model, state: State, c: int, n: int) -> bool:
    """NodePorts: a port that clashes with one of the pod's is in use."""
    for e in range(m.lists.start[c, CLASHES], m.lists.start[c, CLASHES + 1]):
        if state.ports[n, m.lists.entry[e, 0]] != 0:
            return True
    return False


@inlined
def note_least(m: Model, state: State, c: int, work: Work) -> None:
    """PodTopologySpread PreFilter: for each hard constraint the least count over its domains."""
    first = m.lists.start[c, HARD]
    for e in range(first, m.lists.start[c, HARD + 1]):
        group = m.lists.entry[e, 0]
        least, where, others = FAR_COUNT, NONE, FAR_COUNT
        start = m.groups.start[group]
        for d in range(m.groups.domains[group]):
            if m.groups.present[start + d] == 0:
                continue
            count = state.tally[start + d]
            if count < least:
                least, where, others = count, d, least
            elif count < others:
                others = count
        work.least[e - first, 0] = least
        work.least[e - first, 1] = where
        work.least[e - first, 2] = others


@inlined
def spread_reason(m: Model, state: State, c: int, n: int, work: Work) -> int:
    """PodTopologySpread Filter; `Work.least` as `note_least` left it.

    Since then only counts of this node's own domains may have changed (a preemption tries one node
    at a time), so the least count is that of the others or this domain's own.
    """
    first = m.lists.start[c, HARD]
    for e in range(first, m.lists.start[c, HARD + 1]):
        group, key = m.lists.entry[e, 0], m.lists.entry[e, 1]
        domain = m.nodes.domain[key, n]
        if domain == NONE:
            return NO_DOMAIN
        row = e - first
        here = state.tally[m.groups.start[group] + domain]
        least = work.least[row, 0]
        if m.groups.present[m.groups.start[group] + domain] == 1:
            others = work.least[row, 2] if work.least[row, 1] == domain else least
            least = min(here, others)
        if m.lists.entry[e, 3] == 1:
            least = 0
        if here + m.lists.entry[e, 4] - least > m.lists.entry[e, 2]:
            return SKEWED
    return FITS


@inlined
def pods_skip(m: Model, state: State, c: int) -> bool:
    """InterPodAffinity PreFilter: nothing to check for this pod."""
    if m.lists.start[c, NEAR] != m.lists.start[c, KEPT_OFF]:
        return False
    for e in range(m.lists.start[c, KEPT_OFF], m.lists.start[c, KEPT_OFF + 1]):
        if state.hits[m.lists.entry[e, 0]] > 0:
            return False
    return True


@inlined
def near_reason(m: Model, state: State, c: int, n: int) -> int:
    """InterPodAffinity: required affinity, with the exception for the first of a series."""
    missing, hits = False, 0
    for e in range(m.lists.start[c, NEAR], m.lists.start[c, NEAR + 1]):
        group = m.lists.entry[e, 0]
        domain = m.nodes.domain[m.lists.entry[e, 1], n]
        if domain == NONE:
            return NOT_NEAR
        hits += state.hits[group]
        if state.tally[m.groups.start[group] + domain] <= 0:
            missing = True
    if missing and not (hits == 0 and m.classes.flags[c, 1] == 1):
        return NOT_NEAR
    return FITS


@inlined
def pods_reason(m: Model, state: State, c: int, n: int) -> int:
    """InterPodAffinity Filter."""
    reason = near_reason(m, state, c, n)
    if reason != FITS:
        return reason
    for e in range(m.lists.start[c, APART], m.lists.start[c, APART + 1]):
        group = m.lists.entry[e, 0]
        domain = m.nodes.domain[m.lists.entry[e, 1], n]
        if domain != NONE and state.tally[m.groups.start[group] + domain] > 0:
            return NOT_APART
    for e in range(m.lists.start[c, KEPT_OFF], m.lists.start[c, KEPT_OFF + 1]):
        group = m.lists.entry[e, 0]
        domain = m.nodes.domain[m.groups.key[group], n]
        if domain != NONE and state.tally[m.groups.start[group] + domain] > 0:
            return KEPT_AWAY
    return FITS


@inlined
def filter_node(m: Model, state: State, work: Work, c: int, n: int, skip_pods: bool) -> int:
    """First reason against a node in the order of the plugins; `Work.lacking` names resources."""
    work.lacking[n] = 0
    reason = static_reason(m, c, n)
    if reason != FITS:
        return reason
    filters = m.profile.filters
    if filters[F_PORTS] == 1 and ports_taken(m, state, c, n):
        return PORT_TAKEN
    if filters[F_FIT] == 1:
        lacking = lacking_resources(m, state, c, n)
        work.lacking[n] = lacking
        reason = fit_reason(m, c, n, lacking)
        if reason != FITS:
            return reason
    if filters[F_SPREAD] == 1:
        reason = spread_reason(m, state, c, n, work)
        if reason != FITS:
            return reason
    if filters[F_PODS] == 1 and not skip_pods:
        return pods_reason(m, state, c, n)
    return FITS
