"""Loops and state of the kube driver: place a pod, bind it, take it off, try preemption."""

from __future__ import annotations

from kfarm_twin._jit import inner, kernel
from kfarm_twin.arrays import Ints
from kfarm_twin.policy.kube_columns import (
    ADDS,
    FITS,
    KEPT_AWAY,
    LOG,
    NO_ROOM,
    NO_VICTIMS,
    NONE,
    NOT_APART,
    NOT_NAMED,
    NOT_TRIED,
    PORT_TAKEN,
    PORTS,
    SCORERS,
    SKEWED,
    Cache,
    Model,
    Promises,
    State,
    Victims,
    Work,
)
from kfarm_twin.policy.kube_filter import filter_node, note_least, pods_skip
from kfarm_twin.policy.kube_score import score_pods, score_spread, score_static


@inner
def move(m: Model, state: State, c: int, n: int, sign: int) -> None:
    """Put a pod of a class on a node (+1), or take it off (-1)."""
    for r in range(m.classes.request.shape[1]):
        state.requested[n, r] += sign * m.classes.request[c, r]
    state.non_zero[n, 0] += sign * m.classes.non_zero[c, 0]
    state.non_zero[n, 1] += sign * m.classes.non_zero[c, 1]
    state.pods[n] += sign
    for e in range(m.lists.start[c, PORTS], m.lists.start[c, PORTS + 1]):
        state.ports[n, m.lists.entry[e, 0]] = 1 if sign > 0 else 0
    for e in range(m.lists.start[c, ADDS], m.lists.start[c, ADDS + 1]):
        group = m.lists.entry[e, 0]
        domain = m.nodes.domain[m.groups.key[group], n]
        mask = m.groups.eligible[group]
        if domain == NONE or (mask != NONE and m.nodes.eligible[mask, n] == 0):
            continue
        state.tally[m.groups.start[group] + domain] += sign * m.lists.entry[e, 1]
        state.hits[group] += sign


@kernel
def move_pods(m: Model, state: State, cache: Cache, pod_class: Ints, node: Ints, sign: int) -> None:
    """Bind pods to nodes, or take them off; both [P]."""
    for p in range(pod_class.shape[0]):
        move(m, state, pod_class[p], node[p], sign)
        note_change(cache, node[p])


@inner
def note_change(cache: Cache, n: int) -> None:
    """Remember that a node changed."""
    cache.changed[cache.changes[0] % LOG] = n
    cache.changes[0] += 1


@inner
def promised(promises: Promises, n: int, priority: int) -> bool:
    """Whether a pod of at least this priority is promised a node."""
    for p in range(promises.node.shape[0]):
        if promises.node[p] == n and promises.priority[p] >= priority:
            return True
    return False


@inner
def move_promised(
    m: Model, state: State, promises: Promises, n: int, least: int, sign: int
) -> None:
    """Put the promised pods of at least a priority on their node, or take them off."""
    for p in range(promises.node.shape[0]):
        if promises.node[p] == n and promises.priority[p] >= least:
            move(m, state, promises.pod_class[p], n, sign)


@inner
def filter_with_promises(
    m: Model,
    state: State,
    work: Work,
    promises: Promises,
    c: int,
    n: int,
    priority: int,
    skip_pods: bool,
) -> int:
    """`RunFilterPluginsWithNominatedPods`: a node must fit with promised pods and without."""
    with_promised = promised(promises, n, priority)
    while True:
        if with_promised:
            move_promised(m, state, promises, n, priority, 1)
        reason = filter_node(m, state, work, c, n, skip_pods)
        if not with_promised:
            return reason
        move_promised(m, state, promises, n, priority, -1)
        if reason != FITS:
            return reason
        with_promised = False


@inner
def filter_all(
    m: Model, state: State, work: Work, promises: Promises, c: int, priority: int, only: int
) -> int:
    """Reasons for all nodes into `Work.why`; the number of feasible ones.

    With `only` a node, no other is tried: the one that a preemption promised to this pod.
    """
    note_least(m, state, c, work)
    skip = pods_skip(m, state, c)
    named = m.classes.named[c]
    feasible = 0
    for n in range(work.why.shape[0]):
        if only not in (NONE, n):
            work.why[n] = NOT_TRIED
        elif only == NONE and named != NONE and m.nodes.named[named, n] == 0:
            work.why[n] = NOT_NAMED
            work.lacking[n] = 0
        else:
            work.why[n] = filter_with_promises(m, state, work, promises, c, n, priority, skip)
            feasible += 1 if work.why[n] == FITS else 0
    return feasible


@inner
def sum_scores(work: Work) -> int:
    """Totals of feasible nodes into `Work.total`; the first of the best nodes."""
    best = NONE
    for n in range(work.why.shape[0]):
        if work.why[n] != FITS:
            continue
        total = 0
        for s in range(SCORERS):
            if work.used[s] == 1:
                total += work.score[s, n]
        work.total[n] = total
        if best == NONE or total > work.total[best]:
            best = n
    return best


@kernel
def place(
    m: Model, state: State, work: Work, promises: Promises, c: int, priority: int, only: int
) -> tuple[int, int]:
    """Filter and score all nodes for a pod of a class; nothing is bound.

    Returns
    -------
    tuple of int
        Number of feasible nodes, and the first of the best; NONE without any. As in kube-scheduler
        a single feasible node is not scored.
    """
    feasible = filter_all(m, state, work, promises, c, priority, only)
    work.used[:] = 0
    if feasible == 0:
        return 0, NONE
    if feasible > 1:
        score_pods(m, state, work, c)
        score_static(m, state, work, c)
        score_spread(m, state, work, c)
    return feasible, sum_scores(work)


@inner
def may_help(reason: int) -> bool:
    """Whether a node may become feasible when pods leave (status Unschedulable)."""
    return reason in (PORT_TAKEN, NO_ROOM, SKEWED, NOT_APART, KEPT_AWAY)


@inner
def violates(victims: Victims, allowed: Ints, p: int) -> bool:
    """Whether evicting a pod breaks a budget; what is allowed is used up by it."""
    broken = False
    for b in range(victims.budget_start[p], victims.budget_start[p + 1]):
        budget = victims.budget[b]
        allowed[budget] -= 1
        if allowed[budget] < 0:
            broken = True
    return broken


@inner
def pick_victims(
    m: Model,
    state: State,
    work: Work,
    promises: Promises,
    victims: Victims,
    c: int,
    n: int,
    priority: int,
    skip_pods: bool,
) -> int:
    """`SelectVictimsOnNode`: least pods of lower priority to evict so that the pod fits.

    Marks them in `Victims.chosen` (1, or 2 where a budget is broken). The state is left as found.
    """
    first, end = victims.start[n], victims.start[n + 1]
    lower = 0
    for i in range(first, end):
        p = victims.pod[i]
        victims.chosen[p] = 0
        if victims.priority[p] < priority:
            lower += 1
            move(m, state, victims.pod_class[p], n, -1)
    if lower == 0:
        return NO_VICTIMS
    reason = filter_with_promises(m, state, work, promises, c, n, priority, skip_pods)
    if reason == FITS:
        reprieve(m, state, work, promises, victims, c, n, priority, skip_pods)
    for i in range(first, end):
        p = victims.pod[i]
        if victims.priority[p] < priority and (reason != FITS or victims.chosen[p] != 0):
            move(m, state, victims.pod_class[p], n, 1)
    return reason


@inner
def reprieve(
    m: Model,
    state: State,
    work: Work,
    promises: Promises,
    victims: Victims,
    c: int,
    n: int,
    priority: int,
    skip_pods: bool,
) -> None:
    """Take back what may stay: first pods whose budget would break, each by importance."""
    first, end = victims.start[n], victims.start[n + 1]
    for b in range(victims.allowed.shape[0]):
        victims.allowed[b] = victims.budget_allowed[b]
    for i in range(first, end):
        p = victims.pod[i]
        if victims.priority[p] < priority:
            victims.chosen[p] = 2 if violates(victims, victims.allowed, p) else 1
    for kind in (2, 1):
        for i in range(first, end):
            p = victims.pod[i]
            if victims.priority[p] >= priority or victims.chosen[p] != kind:
                continue
            move(m, state, victims.pod_class[p], n, 1)
            if filter_with_promises(m, state, work, promises, c, n, priority, skip_pods) == FITS:
                victims.chosen[p] = 0
            else:
                move(m, state, victims.pod_class[p], n, -1)


@kernel
def try_preemption(
    m: Model,
    state: State,
    work: Work,
    promises: Promises,
    victims: Victims,
    c: int,
    priority: int,
) -> int:
    """Dry run on every node that may help; `Work.why` becomes FITS where it would, or why not.

    Nodes that no eviction helps become NOT_TRIED. `Work.why` must be as `place` left it. Returns
    the number of nodes that would do.
    """
    note_least(m, state, c, work)
    skip = pods_skip(m, state, c)
    found = 0
    for n in range(work.why.shape[0]):
        if not may_help(work.why[n]):
            work.why[n] = NOT_TRIED
            continue
        work.why[n] = pick_victims(m, state, work, promises, victims, c, n, priority, skip)
        found += 1 if work.why[n] == FITS else 0
    return found
