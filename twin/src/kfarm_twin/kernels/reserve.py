"""A reservation on named nodes: when and where the head of the queue will start at the latest.

Running jobs are released one by one on a shadow of the pool, by the end of their limits, until some
domain of the required level takes the head's gang. The reservation takes, in that domain, the
nodes that are released latest first, then free nodes (emptiest first, lowest index), and so leaves
to others as much as can be of what is free now. A job that would outlast the shadow time may use of
each node only what the reservation does not: that is EASY's "extra", node by node.
"""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.arrays import RACK, Ints
from kfarm_twin.kernels import bits
from kfarm_twin.kernels.pool import (
    HIDDEN,
    NONE,
    RESERVED,
    STAMP,
    TOUCHED,
    Plan,
    Pool,
    set_free,
)

NODES, DOMAINS, ALLOWED = 0, 1, 2
"""Rows of `Pool.mark` and `Pool.shadow`."""


@inner
def begin(pool: Pool) -> None:
    """Start a new shadow of the pool as it is."""
    pool.meta[STAMP] += 1
    pool.meta[TOUCHED] = 0
    pool.meta[RESERVED] = 0


@inner
def shadow_free(pool: Pool, node: int) -> int:
    """Free devices of a node in the shadow."""
    if pool.mark[NODES, node] == pool.meta[STAMP]:
        return int(pool.shadow[NODES, node])
    return int(pool.free[node])


@inner
def _grow(plan: Plan, pool: Pool, group: int, required: int, node: int, change: int) -> int:
    """Add to the room of the node's domain in the shadow and return it."""
    stamp = pool.meta[STAMP]
    if required == RACK or required == RACK + 1:
        level = required - RACK
        domain = plan.domain[level, node]
        before = pool.room[level, group, domain]
    else:
        domain = 0
        before = pool.total[group]
    if pool.mark[DOMAINS, domain] == stamp:
        before = pool.shadow[DOMAINS, domain]
    pool.mark[DOMAINS, domain] = stamp
    pool.shadow[DOMAINS, domain] = before + change
    return int(before + change)


@inner
def free_job(plan: Plan, pool: Pool, job: int, group: int, pods: int, required: int) -> int:
    """Release a job in the shadow; a node of the domain that then takes the gang, or NONE."""
    found = NONE
    stamp = pool.meta[STAMP]
    piece = pool.first_piece[job]
    while piece != NONE:
        node = pool.piece[piece, 0]
        before = shadow_free(pool, node)
        free = before + pool.piece[piece, 1]
        if pool.mark[NODES, node] != stamp:
            pool.mark[NODES, node] = stamp
            pool.touched[pool.meta[TOUCHED]] = node
            pool.meta[TOUCHED] += 1
        pool.shadow[NODES, node] = free
        change = plan.room_of[group, free] - plan.room_of[group, before]
        room = _grow(plan, pool, group, required, node, change)
        if found == NONE and room >= pods:
            found = node
        piece = pool.piece[piece, 2]
    return int(found)


@inner
def _reserve_on(plan: Plan, pool: Pool, group: int, node: int, left: int) -> int:
    """Reserve pods on a node as far as there is room in the shadow; how many."""
    free = shadow_free(pool, node)
    pods = min(left, plan.room_of[group, free])
    if pods > 0:
        pool.mark[ALLOWED, node] = pool.meta[STAMP]
        pool.shadow[ALLOWED, node] = free - pods * plan.devices[group]
        pool.reserved[pool.meta[RESERVED]] = node
        pool.meta[RESERVED] += 1
    return int(pods)


@inner
def reserve(plan: Plan, pool: Pool, group: int, pods: int, required: int, found: int) -> None:
    """Reserve nodes for the head's gang in the domain of the node `found`."""
    low, high = 0, pool.free.shape[0]
    if required == RACK or required == RACK + 1:
        domain = plan.domain[required - RACK, found]
        low, high = plan.first[required - RACK, domain], plan.first[required - RACK, domain + 1]
    left = pods
    for back in range(pool.meta[TOUCHED]):
        if left == 0:
            return
        node = pool.touched[pool.meta[TOUCHED] - 1 - back]
        if low <= node < high:
            left -= _reserve_on(plan, pool, group, node, left)
    nodes = pool.free.shape[0]
    most = plan.room_of.shape[1] - 1
    for step in range(most + 1 - plan.devices[group]):
        value = most - step
        member = bits.next_from(pool.words, plan.offsets[0], value * nodes + low)
        while left > 0 and member != NONE and member < value * nodes + high:
            node = member - value * nodes
            if pool.mark[NODES, node] != pool.meta[STAMP]:
                left -= _reserve_on(plan, pool, group, node, left)
            member = bits.next_from(pool.words, plan.offsets[0], member + 1)


@inner
def hide(plan: Plan, pool: Pool) -> None:
    """Take what is reserved out of the pool's indexes, for jobs that outlast the shadow time."""
    if pool.meta[HIDDEN] == 1:
        return
    pool.meta[HIDDEN] = 1
    for i in range(pool.meta[RESERVED]):
        node = pool.reserved[i]
        free = pool.free[node]
        shown = min(free, pool.shadow[ALLOWED, node])
        pool.hidden[node] = free - shown
        if shown != free:
            set_free(plan, pool, node, shown)


@inner
def show(plan: Plan, pool: Pool) -> None:
    """Put it back."""
    if pool.meta[HIDDEN] == 0:
        return
    pool.meta[HIDDEN] = 0
    for i in range(pool.meta[RESERVED]):
        node = pool.reserved[i]
        if pool.hidden[node] != 0:
            set_free(plan, pool, node, pool.free[node] + pool.hidden[node])


@inner
def outlast(pool: Pool, job: int) -> None:
    """Note that a job which just started keeps its devices beyond the shadow time."""
    piece = pool.first_piece[job]
    while piece != NONE:
        node = pool.piece[piece, 0]
        if pool.mark[ALLOWED, node] == pool.meta[STAMP]:
            pool.shadow[ALLOWED, node] -= pool.piece[piece, 1]
        piece = pool.piece[piece, 2]


@inner
def long_rooms(plan: Plan, pool: Pool, out: Ints) -> None:
    """Pods [K] that the cluster takes beyond the reservation: no gang that stays may be larger."""
    for group in range(plan.devices.shape[0]):
        out[group] = pool.total[group]
    for i in range(pool.meta[RESERVED]):
        node = pool.reserved[i]
        free = pool.free[node]
        shown = min(free, pool.shadow[ALLOWED, node])
        if shown != free:
            for group in range(plan.devices.shape[0]):
                out[group] -= plan.room_of[group, free] - plan.room_of[group, shown]
