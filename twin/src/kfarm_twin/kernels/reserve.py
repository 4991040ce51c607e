"""A reservation on named nodes: when and where the head of the queue will start at the latest.

Running jobs are released one by one on a shadow of the pool, by the end of their limits, until some
domain of the required level takes the head's gang. The reservation takes, in that domain, the nodes
whose first release comes latest, then free nodes (emptiest first, lowest index), and so leaves to
others as much as can be of what is free now. A job that would outlast the shadow time may use of
each node only what the reservation does not: that is EASY's "extra", node by node. The reservation
is made anew after each start; where nothing can be fragmented, all decisions are as in counting.
"""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.arrays import RACK
from kfarm_twin.kernels import bits
from kfarm_twin.kernels import columns as at
from kfarm_twin.kernels.pool import (
    ALLOWED,
    FREE,
    HIDDEN,
    HIDING,
    LONG,
    MARK,
    MARK_ALLOWED,
    NONE,
    RESERVED,
    RESERVING,
    ROOM_MARK,
    ROOM_THEN,
    SHADOW,
    STAMP,
    TOTAL,
    TOUCHED,
    TOUCHING,
    Plan,
    Pool,
    set_free,
)


@inner
def begin(pool: Pool) -> None:
    """Start a new shadow of the pool as it is."""
    pool.meta[STAMP] += 1
    pool.meta[TOUCHING] = 0
    pool.meta[RESERVING] = 0


@inner
def shadow_free(pool: Pool, node: int) -> int:
    """Free devices of a node in the shadow."""
    if pool.node[node, MARK] == pool.meta[STAMP]:
        return int(pool.node[node, SHADOW])
    return int(pool.node[node, FREE])


@inner
def _grow(plan: Plan, pool: Pool, group: int, required: int, node: int, change: int) -> int:
    """Add to the room of the node's domain in the shadow and return it."""
    stamp = pool.meta[STAMP]
    if required in (RACK, RACK + 1):
        level = required - RACK
        domain = plan.domain[level, node]
        before = pool.room[level, 2 + group, domain]
    else:
        level, domain = 0, 0
        before = pool.bounds[TOTAL, group]
    if pool.room[level, ROOM_MARK, domain] == stamp:
        before = pool.room[level, ROOM_THEN, domain]
    pool.room[level, ROOM_MARK, domain] = stamp
    pool.room[level, ROOM_THEN, domain] = before + change
    return int(before + change)


@inner
def free_job(plan: Plan, pool: Pool, job: int, group: int, pods: int, required: int) -> int:
    """Release a job in the shadow; a node of the domain that then takes the gang, or NONE."""
    found = NONE
    stamp = pool.meta[STAMP]
    piece = pool.jobs[job, at.PIECE]
    while piece != NONE:
        node = pool.piece[piece, 0]
        before = shadow_free(pool, node)
        free = before + pool.piece[piece, 1]
        if pool.node[node, MARK] != stamp:
            pool.node[node, MARK] = stamp
            pool.node[pool.meta[TOUCHING], TOUCHED] = node
            pool.meta[TOUCHING] += 1
        pool.node[node, SHADOW] = free
        change = plan.classes[group, 1 + free] - plan.classes[group, 1 + before]
        room = _grow(plan, pool, group, required, node, change)
        if found == NONE and room >= pods:
            found = node
        piece = pool.piece[piece, 2]
    return int(found)


@inner
def _reserve_on(plan: Plan, pool: Pool, group: int, node: int, left: int) -> int:
    """Reserve pods on a node as far as there is room in the shadow; how many."""
    free = shadow_free(pool, node)
    pods = min(left, plan.classes[group, 1 + free])
    if pods > 0:
        pool.node[node, MARK_ALLOWED] = pool.meta[STAMP]
        pool.node[node, ALLOWED] = free - pods * plan.classes[group, 0]
        pool.node[pool.meta[RESERVING], RESERVED] = node
        pool.meta[RESERVING] += 1
    return int(pods)


@inner
def reserve(plan: Plan, pool: Pool, group: int, pods: int, required: int, found: int) -> None:
    """Reserve nodes for the head's gang in the domain of the node `found`."""
    low, high = 0, pool.node.shape[0]
    if required in (RACK, RACK + 1):
        domain = plan.domain[required - RACK, found]
        low, high = plan.first[required - RACK, domain], plan.first[required - RACK, domain + 1]
    left = pods
    for back in range(pool.meta[TOUCHING]):
        if left == 0:
            return
        node = pool.node[pool.meta[TOUCHING] - 1 - back, TOUCHED]
        if low <= node < high:
            left -= _reserve_on(plan, pool, group, node, left)
    nodes = pool.node.shape[0]
    most = plan.classes.shape[1] - 2
    for step in range(most + 1 - plan.classes[group, 0]):
        value = most - step
        member = bits.next_from(pool.words, plan.offsets[0], value * nodes + low)
        while left > 0 and member != NONE and member < value * nodes + high:
            node = member - value * nodes
            if pool.node[node, MARK] != pool.meta[STAMP]:
                left -= _reserve_on(plan, pool, group, node, left)
            member = bits.next_from(pool.words, plan.offsets[0], member + 1)


@inner
def hide(plan: Plan, pool: Pool) -> None:
    """Take what is reserved out of the pool's indexes, for jobs that outlast the shadow time."""
    if pool.meta[HIDING] == 1:
        return
    pool.meta[HIDING] = 1
    for i in range(pool.meta[RESERVING]):
        node = pool.node[i, RESERVED]
        free = pool.node[node, FREE]
        shown = min(free, pool.node[node, ALLOWED])
        pool.node[node, HIDDEN] = free - shown
        if shown != free:
            set_free(plan, pool, node, shown)


@inner
def show(plan: Plan, pool: Pool) -> None:
    """Put it back."""
    if pool.meta[HIDING] == 0:
        return
    pool.meta[HIDING] = 0
    for i in range(pool.meta[RESERVING]):
        node = pool.node[i, RESERVED]
        if pool.node[node, HIDDEN] != 0:
            set_free(plan, pool, node, pool.node[node, FREE] + pool.node[node, HIDDEN])


@inner
def long_rooms(plan: Plan, pool: Pool) -> None:
    """Pods [K] that the cluster takes beyond the reservation: no gang that stays may be larger."""
    for group in range(plan.classes.shape[0]):
        pool.bounds[LONG, group] = pool.bounds[TOTAL, group]
    for i in range(pool.meta[RESERVING]):
        node = pool.node[i, RESERVED]
        free = pool.node[node, FREE]
        shown = min(free, pool.node[node, ALLOWED])
        if shown != free:
            for group in range(plan.classes.shape[0]):
                pool.bounds[LONG, group] -= (
                    plan.classes[group, 1 + free] - plan.classes[group, 1 + shown]
                )
