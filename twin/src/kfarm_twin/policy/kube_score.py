"""Scores of kube-scheduler 1.36, normalised and weighted as it adds them.

Rules follow pkg/scheduler/framework/plugins of Kubernetes v1.36.3 (Apache-2.0), read and written
anew on columns; each function names the plugin it stands for.
"""

from __future__ import annotations

import math

from kfarm_twin._jit import inlined
from kfarm_twin.arrays import Ints
from kfarm_twin.policy.kube_columns import (
    BALANCED,
    CAPACITY_RATIO,
    FIT,
    FITS,
    IMAGES,
    LEAST_ALLOCATED,
    MAX_SCORE,
    NODE_AFFINITY,
    NONE,
    POD_AFFINITY,
    SOFT,
    SPREAD,
    TAINT_TOLERATION,
    TIES,
    Bytes,
    Model,
    Smalls,
    State,
    Work,
)

CPU, MEMORY = 0, 1
"""The resources of which `State.non_zero` keeps another count than `State.requested`."""


@inlined
def truncated(a: int, b: int) -> int:
    """Quotient towards zero, as Go divides."""
    quotient = abs(a) // abs(b)
    return quotient if (a >= 0) == (b > 0) else -quotient


@inlined
def on_shape(shape: Ints, utilization: int) -> int:
    """RequestedToCapacityRatio: the broken line through the points of a shape."""
    for i in range(shape.shape[0]):
        if utilization <= shape[i, 0]:
            if i == 0:
                return int(shape[0, 1])
            rise = (shape[i, 1] - shape[i - 1, 1]) * (utilization - shape[i - 1, 0])
            return int(shape[i - 1, 1] + truncated(rise, shape[i, 0] - shape[i - 1, 0]))
    return int(shape[shape.shape[0] - 1, 1])


@inlined
def resource_score(m: Model, requested: int, capacity: int) -> int:
    """Score of one resource by the strategy of NodeResourcesFit."""
    if m.profile.strategy == LEAST_ALLOCATED:
        return 0 if requested > capacity else (capacity - requested) * MAX_SCORE // capacity
    if m.profile.strategy == CAPACITY_RATIO:
        if requested > capacity:
            return on_shape(m.profile.shape, MAX_SCORE)
        return on_shape(m.profile.shape, requested * MAX_SCORE // capacity)
    return min(requested, capacity) * MAX_SCORE // capacity


@inlined
def fit_score(m: Model, state: State, c: int, n: int) -> int:
    """NodeResourcesFit: weighted mean over the resources of its strategy."""
    total, weights = 0, 0
    for i in range(m.profile.fit_resource.shape[0]):
        r = m.profile.fit_resource[i]
        need = m.classes.fit_request[c, i]
        capacity = m.nodes.allocatable[n, r]
        if capacity == 0 or (need == 0 and m.profile.scalar[r] == 1):
            continue
        used = state.non_zero[n, r] if r <= MEMORY else state.requested[n, r]
        score = resource_score(m, used + need, capacity)
        if m.profile.strategy == CAPACITY_RATIO and score <= 0:
            continue
        total += score * m.profile.fit_weight[i]
        weights += m.profile.fit_weight[i]
    if weights == 0:
        return 0
    if m.profile.strategy == CAPACITY_RATIO:
        return math.floor(float(total) / float(weights) + 0.5)
    return total // weights


@inlined
def balance(m: Model, state: State, c: int, n: int, with_pod: bool) -> int:
    """100 x (1 - standard deviation of the used fractions), cut off; with or without the pod.

    With two resources the deviation is half their difference, as the plugin has it.
    """
    parts, total = 0, 0.0
    first, second = 0.0, 0.0
    for i in range(m.profile.balance_resource.shape[0]):
        fraction = used_fraction(m, state, c, n, i, with_pod)
        if fraction < 0.0:
            continue
        if parts == 0:
            first = fraction
        elif parts == 1:
            second = fraction
        total += fraction
        parts += 1
    deviation = 0.0
    if parts == 2:
        deviation = abs((first - second) / 2.0)
    elif parts > 2:
        mean, squares = total / float(parts), 0.0
        for i in range(m.profile.balance_resource.shape[0]):
            fraction = used_fraction(m, state, c, n, i, with_pod)
            if fraction >= 0.0:
                squares = squares + (fraction - mean) * (fraction - mean)
        deviation = math.sqrt(squares / float(parts))
    return int((1.0 - deviation) * float(MAX_SCORE))


@inlined
def used_fraction(m: Model, state: State, c: int, n: int, i: int, with_pod: bool) -> float:
    """Used share of the i-th balanced resource, at most 1; -1 where it does not count."""
    r = m.profile.balance_resource[i]
    need = m.classes.balance_request[c, i]
    capacity = m.nodes.allocatable[n, r]
    if capacity == 0 or (need == 0 and m.profile.scalar[r] == 1):
        return -1.0
    used = state.requested[n, r] + (need if with_pod else 0)
    return min(float(used) / float(capacity), 1.0)


@inlined
def balanced_score(m: Model, state: State, c: int, n: int) -> int:
    """NodeResourcesBalancedAllocation: how the pod changes the balance, around 75."""
    change = 0
    for with_pod in range(2):
        score = balance(m, state, c, n, with_pod == 1)
        change += score if with_pod == 1 else -score
    return MAX_SCORE // 2 + truncated(MAX_SCORE // 2 + change, 2)


@inlined
def raw_preference(m: Model, c: int, n: int) -> int:
    """NodeAffinity: weights of the preferred terms that hold."""
    total = int(m.profile.enforced_preferred[n])
    if m.classes.preferred[c] != NONE:
        total += int(m.nodes.preferred[m.classes.preferred[c], n])
    return total


@inlined
def normalize(score: Smalls, why: Bytes, weight: int, reverse: bool) -> None:
    """`DefaultNormalizeScore` over feasible nodes, then the weight."""
    most = 0
    for n in range(why.shape[0]):
        if why[n] == FITS:
            most = max(most, score[n])
    for n in range(why.shape[0]):
        if why[n] != FITS:
            continue
        value = MAX_SCORE * score[n] // most if most > 0 else 0
        score[n] = (MAX_SCORE - value if reverse else value) * weight


@inlined
def score_static(m: Model, state: State, work: Work, c: int) -> None:
    """Plugins that look at one node at a time: taints, affinity, fit, balance, images."""
    weight = m.profile.weight
    work.used[TAINT_TOLERATION] = 1 if weight[TAINT_TOLERATION] > 0 else 0
    prefers = m.classes.preferred[c] != NONE or m.profile.has_preferred == 1
    work.used[NODE_AFFINITY] = 1 if weight[NODE_AFFINITY] > 0 and prefers else 0
    work.used[FIT] = 1 if weight[FIT] > 0 else 0
    work.used[BALANCED] = 1 if weight[BALANCED] > 0 and m.classes.flags[c, 0] == 0 else 0
    work.used[IMAGES] = 1 if weight[IMAGES] > 0 else 0
    for n in range(work.why.shape[0]):
        if work.why[n] != FITS:
            continue
        avoided = m.nodes.avoided[m.classes.tolerations[c], m.nodes.taints[n]]
        work.score[TAINT_TOLERATION, n] = avoided
        if work.used[NODE_AFFINITY] == 1:
            work.score[NODE_AFFINITY, n] = raw_preference(m, c, n)
        if work.used[FIT] == 1:
            fit = fit_score(m, state, c, n)
            work.score[FIT, n] = fit * weight[FIT]
        if work.used[BALANCED] == 1:
            balanced = balanced_score(m, state, c, n)
            work.score[BALANCED, n] = balanced * weight[BALANCED]
        if work.used[IMAGES] == 1:
            images = m.nodes.images[m.classes.images[c], n]
            work.score[IMAGES, n] = int(images) * weight[IMAGES]
    normalize(work.score[TAINT_TOLERATION], work.why, weight[TAINT_TOLERATION], True)
    if work.used[NODE_AFFINITY] == 1:
        normalize(work.score[NODE_AFFINITY], work.why, weight[NODE_AFFINITY], False)


@inlined
def lacks_soft_key(m: Model, c: int, n: int) -> bool:
    """PodTopologySpread: the node misses a key and scores nothing (not so for system defaults)."""
    if m.classes.flags[c, 2] == 0:
        return False
    for e in range(m.lists.start[c, SOFT], m.lists.start[c, SOFT + 1]):
        if m.nodes.domain[m.lists.entry[e, 3], n] == NONE:
            return True
    return False


@inlined
def count_seen(m: Model, work: Work, c: int, e: int) -> int:
    """Domains of a soft constraint among feasible nodes; of the hostname, the nodes themselves."""
    key, hostname = m.lists.entry[e, 1], m.lists.entry[e, 4] == 1
    total = 0
    if not hostname:
        work.seen[:] = 0
    for n in range(work.why.shape[0]):
        if work.why[n] != FITS or lacks_soft_key(m, c, n):
            continue
        if hostname:
            total += 1
        elif m.nodes.domain[key, n] != NONE and work.seen[m.nodes.domain[key, n]] == 0:
            work.seen[m.nodes.domain[key, n]] = 1
            total += 1
    return total


@inlined
def normalize_spread(score: Smalls, why: Bytes, lowest: int, highest: int, weight: int) -> None:
    """PodTopologySpread NormalizeScore, then the weight; NONE marks nodes that score nothing."""
    known, part = NONE, 0  # few nodes differ from the one before: most divisions are spared
    for n in range(why.shape[0]):
        if why[n] != FITS:
            continue
        if score[n] == NONE:
            score[n] = 0
        elif highest == 0:
            score[n] = MAX_SCORE * weight
        else:
            if score[n] != known:
                known = score[n]
                part = MAX_SCORE * (highest + lowest - known) // highest
            score[n] = part * weight


@inlined
def score_spread(m: Model, state: State, work: Work, c: int) -> None:
    """PodTopologySpread: fewer matching pods in the node's domains score higher."""
    first, end = m.lists.start[c, SOFT], m.lists.start[c, SOFT + 1]
    work.used[SPREAD] = 1 if m.profile.weight[SPREAD] > 0 and end > first else 0
    if work.used[SPREAD] == 0:
        return
    for e in range(first, end):
        work.least[e - first, 0] = count_seen(m, work, c, e)
    lowest, highest = MAX_SCORE << 40, 0
    score = work.score[SPREAD]
    for n in range(work.why.shape[0]):
        if work.why[n] != FITS:
            continue
        if lacks_soft_key(m, c, n):
            score[n] = NONE
            continue
        total = 0.0
        for e in range(first, end):
            domain = m.nodes.domain[m.lists.entry[e, 1], n]
            if m.nodes.domain[m.lists.entry[e, 3], n] == NONE or domain == NONE:
                continue
            count = state.tally[m.groups.start[m.lists.entry[e, 0]] + domain]
            weight = m.profile.log[work.least[e - first, 0] + 2]
            total += float(count) * weight + float(m.lists.entry[e, 2] - 1)
        rounded = math.floor(total + 0.5)
        score[n] = rounded
        lowest, highest = min(lowest, rounded), max(highest, rounded)
    normalize_spread(score, work.why, lowest, highest, m.profile.weight[SPREAD])


@inlined
def raw_ties(m: Model, state: State, c: int, n: int) -> int:
    """InterPodAffinity: weights of the ties between the pod and others in the node's domains."""
    total = 0
    for e in range(m.lists.start[c, TIES], m.lists.start[c, TIES + 1]):
        group = m.lists.entry[e, 0]
        domain = m.nodes.domain[m.groups.key[group], n]
        if domain != NONE:
            total += m.lists.entry[e, 1] * state.tally[m.groups.start[group] + domain]
    return total


@inlined
def score_pods(m: Model, state: State, work: Work, c: int) -> None:
    """InterPodAffinity: ties scaled to 0 to 100 over feasible nodes."""
    work.used[POD_AFFINITY] = 0
    if m.profile.weight[POD_AFFINITY] == 0:
        return
    for e in range(m.lists.start[c, TIES], m.lists.start[c, TIES + 1]):
        if state.hits[m.lists.entry[e, 0]] > 0:
            work.used[POD_AFFINITY] = 1
    if work.used[POD_AFFINITY] == 0:
        return
    lowest, highest = MAX_SCORE << 40, -(MAX_SCORE << 40)
    for n in range(work.why.shape[0]):
        if work.why[n] == FITS:
            total = raw_ties(m, state, c, n)
            work.total[n] = total
            lowest, highest = min(lowest, total), max(highest, total)
    span = highest - lowest
    for n in range(work.why.shape[0]):
        if work.why[n] == FITS:
            share = 0.0
            if span > 0:
                share = float(MAX_SCORE) * (float(work.total[n] - lowest) / float(span))
            work.score[POD_AFFINITY, n] = int(share) * m.profile.weight[POD_AFFINITY]
