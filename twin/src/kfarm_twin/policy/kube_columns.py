"""Columns of the kube driver: nodes, classes of pods, counters, state. All rules read these.

Letters for shapes: N nodes, C classes of equal pods, R resources, K topology keys, M sets of
eligible nodes, G counter groups, D domains of all groups together, H host ports, P pods, B budgets.
Amounts are whole: CPU in thousandths [m], others in units. Masks are bytes, since a cluster has
(classes x nodes) of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.arrays import Floats, Ints

Bytes = NDArray[np.uint8]
Smalls = NDArray[np.int32]

HARD, SOFT, NEAR, APART, KEPT_OFF, TIES, ADDS, PORTS, CLASHES = range(9)
"""Lists of a class: hard and soft spread constraints, required affinity and anti-affinity, terms
of other pods that keep it off, weighted ties to other pods, counters that it moves, its host ports,
and the ports that clash with them."""
LISTS = 9
ENTRY = 5
"""Columns of an entry. HARD and SOFT: group, key, max skew, then whether domains are fewer than
minDomains and whether the pod matches its own selector (HARD), or the key that says which nodes
score and whether it is the hostname (SOFT). NEAR, APART: group, key. KEPT_OFF: group. TIES: group,
weight. ADDS: group, amount. PORTS, CLASHES: port."""

(
    FITS,
    UNSCHEDULABLE,
    TAINTED,
    NOT_ENFORCED,
    NOT_SELECTED,
    PORT_TAKEN,
    NO_ROOM,
    TOO_SMALL,
    NO_DOMAIN,
    SKEWED,
    NOT_NEAR,
    NOT_APART,
    KEPT_AWAY,
    NOT_NAMED,
    NO_VICTIMS,
    NOT_TRIED,
) = range(16)
"""Why a node is not feasible. NO_ROOM may change when pods leave, TOO_SMALL never."""

TAINT_TOLERATION, NODE_AFFINITY, FIT, SPREAD, POD_AFFINITY, BALANCED, IMAGES = range(7)
"""Plugins that score, in the order of the default profile."""
SCORERS = 7
F_UNSCHEDULABLE, F_TAINTS, F_AFFINITY, F_PORTS, F_FIT, F_SPREAD, F_PODS = range(7)
"""Plugins that filter, in the order of the default profile."""
LEAST_ALLOCATED, MOST_ALLOCATED, CAPACITY_RATIO = 0, 1, 2
MAX_SCORE = 100
NONE = -1
FAR_COUNT = 2**31 - 1
"""Matching pods of a constraint that has no domain at all (math.MaxInt32 in kube-scheduler)."""


class Nodes(NamedTuple):
    """What of nodes never changes while pods come and go."""

    allocatable: Ints  # [N, R]
    pod_limit: Ints  # [N]
    unschedulable: Ints  # [N]
    taints: Ints  # [N] set of taints
    domain: Smalls  # [K, N] index of the domain, NONE without the label
    eligible: Bytes  # [M, N] where a spread constraint counts
    selected: Bytes  # [., N] required node affinity
    preferred: Smalls  # [., N] weight of preferred node affinity that holds
    named: Bytes  # [., N] nodes that the affinity names
    images: Bytes  # [., N] score of images that are there
    blocked: Bytes  # [tolerations, taint sets] a NoSchedule or NoExecute taint is not tolerated
    avoided: Smalls  # [tolerations, taint sets] PreferNoSchedule taints that are not tolerated


class Classes(NamedTuple):
    """One row per class of equal pods [C]; rows of `Nodes` tables, NONE for none."""

    request: Ints  # [C, R]
    non_zero: Ints  # [C, 2] CPU [m], memory [B] counted in scores of others
    fit_request: Ints  # [C, .] by resources of NodeResourcesFit
    balance_request: Ints  # [C, .] by resources of NodeResourcesBalancedAllocation
    tolerations: Ints
    tolerates_unschedulable: Ints
    selected: Ints
    preferred: Ints
    named: Ints
    images: Ints
    flags: Ints  # [C, 4] asks for nothing balanced; matches its own affinity; all soft keys needed;
    # taints and affinity score the same on all nodes


class Lists(NamedTuple):
    """Lists of classes: list k of class c is rows start[c, k] to start[c, k + 1]."""

    start: Ints  # [C, LISTS + 1]
    entry: Ints  # [., ENTRY]


class Groups(NamedTuple):
    """Counters per topology domain [G]: of pods that a selector matches, or that carry a term."""

    start: Ints  # first domain in `State.tally`
    key: Ints
    eligible: Ints  # row of `Nodes.eligible`, or NONE: nodes on which pods count
    domains: Ints
    present: Bytes  # [D] the domain has an eligible node


class Profile(NamedTuple):
    """The profile of the scheduler in numbers."""

    weight: Ints  # [SCORERS] 0 where a plugin does not score
    filters: Ints  # [7] 1 where a plugin filters
    strategy: int
    fit_resource: Ints  # columns of R
    fit_weight: Ints
    shape: Ints  # [., 2] utilisation [%], score
    balance_resource: Ints
    scalar: Ints  # [R] counts only for pods that ask for it
    enforced: Bytes  # [N] affinity that the profile adds holds
    enforced_preferred: Smalls  # [N] weights of preferred affinity that the profile adds
    has_preferred: int
    log: Floats  # [N + 4] natural logarithm of the index


class State(NamedTuple):
    """What changes when a pod is bound or leaves."""

    requested: Ints  # [N, R]
    non_zero: Ints  # [N, 2]
    pods: Ints  # [N]
    ports: Bytes  # [N, H]
    tally: Smalls  # [D]
    hits: Ints  # [G] increments that took effect


class Promises(NamedTuple):
    """Pending pods to which preemption promised a node."""

    pod_class: Ints
    node: Ints
    priority: Ints


class Victims(NamedTuple):
    """Bound pods node by node, the most important first, for a dry run of preemption."""

    start: Ints  # [N + 1] into `pod`
    pod: Ints  # pods of each node by importance
    pod_class: Ints  # [P]
    priority: Ints  # [P]
    budget_start: Ints  # [P + 1] into `budget`
    budget: Ints  # budgets that count each pod
    budget_allowed: Ints  # [B] disruptions allowed now
    allowed: Ints  # [B] scratch
    chosen: Bytes  # [P] written: 1 a victim, 2 one that breaks a budget


class Work(NamedTuple):
    """Results of one pod, and scratch."""

    why: Bytes  # [N] FITS or why not
    lacking: Ints  # [N] bit 0: pods; bit r + 1: resource r
    score: Smalls  # [SCORERS, N] weighted
    total: Ints  # [N]
    least: Ints  # [., 3] per hard constraint: least count, its domain, least of the others
    seen: Ints  # [D of the largest key + 1] stamps
    used: Ints  # [SCORERS] 1 where a plugin scored this pod


BLOCK = 64
"""Nodes per block of `Cache.top`."""
LOG = 1 << 14
"""Changes of nodes that are remembered; a row that missed more is computed anew."""


class Cache(NamedTuple):
    """What nodes are worth to a class, but for the other pods: computed once, then kept up to date.

    A row belongs to one class at a time (row = class modulo rows).
    """

    owner: Ints  # [rows] class, or NONE
    at: Ints  # [rows] changes that the row has seen
    part: Smalls  # [rows, N] scores of fit, balance and images; NONE where the pod does not fit
    top: Smalls  # [rows, blocks] highest part of each block
    changed: Ints  # [LOG] nodes, by number of the change modulo LOG
    changes: Ints  # [1] changes so far


class Model(NamedTuple):
    """All that does not change while pods come and go."""

    nodes: Nodes
    classes: Classes
    lists: Lists
    groups: Groups
    profile: Profile
