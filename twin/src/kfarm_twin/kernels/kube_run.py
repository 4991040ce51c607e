"""Many pods in one call: the same rules, but what nodes are worth is kept from pod to pod.

Binding a pod changes one node, so for each class only the nodes that changed since its last pod are
looked at again; the best node is then found over blocks of nodes. Classes that depend on other pods
(spreading, pod affinity) look at all nodes, but only for that.
"""

from __future__ import annotations

from kfarm_twin._jit import inlined, kernel
from kfarm_twin.arrays import Ints
from kfarm_twin.kernels.kube import move, note_change
from kfarm_twin.policy.kube_columns import (
    BALANCED,
    BLOCK,
    F_FIT,
    F_PODS,
    F_PORTS,
    F_SPREAD,
    FIT,
    FITS,
    HARD,
    IMAGES,
    KEPT_OFF,
    LOG,
    NO_ROOM,
    NODE_AFFINITY,
    NONE,
    POD_AFFINITY,
    SOFT,
    SPREAD,
    TAINT_TOLERATION,
    TIES,
    Cache,
    Model,
    State,
    Work,
)
from kfarm_twin.policy.kube_filter import (
    lacking_resources,
    note_least,
    pods_reason,
    pods_skip,
    ports_taken,
    spread_reason,
    static_reason,
)
from kfarm_twin.policy.kube_score import (
    balanced_score,
    fit_score,
    normalize,
    raw_preference,
    score_pods,
    score_spread,
)


@inlined
def worth(m: Model, state: State, c: int, n: int) -> int:
    """Scores of fit, balance and images together; NONE where the pod does not fit."""
    named = m.classes.named[c]
    if named != NONE and m.nodes.named[named, n] == 0:
        return NONE
    if static_reason(m, c, n) != FITS:
        return NONE
    if m.profile.filters[F_PORTS] == 1 and ports_taken(m, state, c, n):
        return NONE
    if m.profile.filters[F_FIT] == 1 and lacking_resources(m, state, c, n) != 0:
        return NONE
    weight, total = m.profile.weight, 0
    if weight[FIT] > 0:
        total += fit_score(m, state, c, n) * weight[FIT]
    if weight[BALANCED] > 0 and m.classes.flags[c, 0] == 0:
        total += balanced_score(m, state, c, n) * weight[BALANCED]
    if weight[IMAGES] > 0:
        total += int(m.nodes.images[m.classes.images[c], n]) * weight[IMAGES]
    return total


@inlined
def refresh_block(cache: Cache, row: int, block: int) -> None:
    """Highest part of a block."""
    first = block * BLOCK
    highest = NONE
    for n in range(first, min(first + BLOCK, cache.part.shape[1])):
        highest = max(highest, cache.part[row, n])
    cache.top[row, block] = highest


@inlined
def refresh(m: Model, state: State, cache: Cache, c: int) -> int:
    """Bring the row of a class up to date; its number."""
    row = int(c % cache.owner.shape[0])
    changes = cache.changes[0]
    missed = changes - cache.at[row]
    anew = cache.owner[row] != c or missed > LOG or missed > cache.part.shape[1]
    for step in range(cache.part.shape[1] if anew else missed):
        n = step if anew else cache.changed[(cache.at[row] + step) % LOG]
        cache.part[row, n] = worth(m, state, c, n)
        if not anew or n + 1 == cache.part.shape[1] or (n + 1) % BLOCK == 0:
            refresh_block(cache, row, n // BLOCK)
    cache.owner[row] = c
    cache.at[row] = changes
    return row


@inlined
def is_lone(m: Model, state: State, c: int) -> bool:
    """Whether no other pod matters to a class now, and taints and affinity are even over nodes."""
    start = m.lists.start
    if m.classes.flags[c, 3] == 0 or start[c, HARD] != start[c, KEPT_OFF]:
        return False
    for e in range(start[c, KEPT_OFF], start[c, TIES + 1]):
        if state.hits[m.lists.entry[e, 0]] > 0:
            return False
    return True


@inlined
def best_alone(cache: Cache, row: int) -> int:
    """The first of the nodes with the highest part; NONE when none fits."""
    best, highest = NONE, NONE
    for block in range(cache.top.shape[1]):
        if cache.top[row, block] > highest:
            highest, best = cache.top[row, block], block
    if best == NONE:
        return NONE
    n = best * BLOCK
    while cache.part[row, n] != highest:
        n += 1
    return n


@inlined
def filter_others(m: Model, state: State, work: Work, cache: Cache, row: int, c: int) -> int:
    """What other pods say to the nodes that fit, into `Work.why`; the number that is left."""
    filters, start = m.profile.filters, m.lists.start
    spreads = filters[F_SPREAD] == 1 and start[c, HARD] != start[c, SOFT]
    if spreads:
        note_least(m, state, c, work)
    near = filters[F_PODS] == 1 and not pods_skip(m, state, c)
    feasible = 0
    for n in range(work.why.shape[0]):
        reason = FITS if cache.part[row, n] != NONE else NO_ROOM
        if reason == FITS and spreads:
            reason = spread_reason(m, state, c, n, work)
        if reason == FITS and near:
            reason = pods_reason(m, state, c, n)
        work.why[n] = reason
        feasible += 1 if reason == FITS else 0
    return feasible


@inlined
def score_preferences(m: Model, work: Work, c: int) -> None:
    """TaintToleration and NodeAffinity, as in `score_static`."""
    weight = m.profile.weight
    prefers = m.classes.preferred[c] != NONE or m.profile.has_preferred == 1
    work.used[TAINT_TOLERATION] = 1 if weight[TAINT_TOLERATION] > 0 else 0
    work.used[NODE_AFFINITY] = 1 if weight[NODE_AFFINITY] > 0 and prefers else 0
    for n in range(work.why.shape[0]):
        if work.why[n] == FITS:
            avoided = m.nodes.avoided[m.classes.tolerations[c], m.nodes.taints[n]]
            work.score[TAINT_TOLERATION, n] = avoided
            if work.used[NODE_AFFINITY] == 1:
                work.score[NODE_AFFINITY, n] = raw_preference(m, c, n)
    if work.used[TAINT_TOLERATION] == 1:
        normalize(work.score[TAINT_TOLERATION], work.why, weight[TAINT_TOLERATION], True)
    if work.used[NODE_AFFINITY] == 1:
        normalize(work.score[NODE_AFFINITY], work.why, weight[NODE_AFFINITY], False)


@inlined
def best_among(m: Model, state: State, work: Work, cache: Cache, row: int, c: int) -> int:
    """The first of the best nodes where other pods, taints or affinity matter."""
    feasible = filter_others(m, state, work, cache, row, c)
    if feasible == 0:
        return NONE
    work.used[:] = 0
    if feasible > 1:
        score_pods(m, state, work, c)
        score_spread(m, state, work, c)
        if m.classes.flags[c, 3] == 0:
            score_preferences(m, work, c)
    best, highest = NONE, 0
    for n in range(work.why.shape[0]):
        if work.why[n] != FITS:
            continue
        total = int(cache.part[row, n])
        for s in (TAINT_TOLERATION, NODE_AFFINITY, SPREAD, POD_AFFINITY):
            if work.used[s] == 1:
                total += work.score[s, n]
        if best == NONE or total > highest:
            best, highest = n, total
    return best


@kernel
def run(
    m: Model,
    state: State,
    work: Work,
    cache: Cache,
    pod_class: Ints,
    node: Ints,
    first: int,
) -> int:
    """Place and bind pods one after another from `first` on, as long as each finds a node.

    No pod may hold a promise of a node meanwhile. Writes `node` [P]. Returns the number of the
    first pod that found none; the number of pods when all did.
    """
    for p in range(first, pod_class.shape[0]):
        c = pod_class[p]
        row = refresh(m, state, cache, c)
        if is_lone(m, state, c):
            best = best_alone(cache, row)
        else:
            best = best_among(m, state, work, cache, row, c)
        if best == NONE:
            return p
        node[p] = best
        move(m, state, c, best, 1)
        note_change(cache, best)
    return int(pod_class.shape[0])
