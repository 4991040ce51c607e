"""Named nodes: what is free on each, found without looking at all, and who holds it.

Nodes of a domain are neighbours, so that a domain is a range. Free devices are indexed by the key
``free * N + node`` in a set of bits: the node with fewest free devices that will do is the first
member from ``wanted * N`` on. Racks and scalable units are indexed likewise by the pods of a size
class that they take, ``room * D + domain``, where a run asks for that level at all.
"""

from __future__ import annotations

from typing import NamedTuple

from kfarm_twin._jit import inlined, inner
from kfarm_twin.arrays import CLUSTER, NODE, RACK, Ints
from kfarm_twin.kernels import bits, cool, seats
from kfarm_twin.kernels import columns as at
from kfarm_twin.kernels.rng import uniform
from kfarm_twin.policy.levels import (
    BEST_FIT,
    DRAW_DOMAIN,
    DRAW_NODE,
    DRAWS,
    FIRST_FIT,
    RANDOM,
    SPREAD,
    THERMAL_AWARE,
    better_part,
    pods_on,
)

NONE = -1
TOTAL_FREE, WHOLE, PIECES, RESERVING, TOUCHING, STAMP, HIDING, DRAWN = 0, 1, 2, 3, 4, 5, 6, 7
"""Places of `Pool.meta`: free devices, free nodes, list of unused pieces, nodes in the lists
RESERVED and TOUCHED, number of the reservation, whether it is hidden, random draws of this run.
Then one of `seats`."""
META = 9
FREE, PPM, MARK, SHADOW, MARK_ALLOWED, ALLOWED, HIDDEN, TOUCHED, RESERVED = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
)
"""Columns of `Pool.node`: free devices; speed [ppm]; free devices in the shadow, of use where MARK
is the STAMP; free there and not reserved, likewise; devices hidden from jobs that would outlast the
shadow time. The last two are lists: nodes with releases up to the shadow time, in order, and nodes
that the reservation uses."""
NODE_COLUMNS = 9
DOWN, LOST, CORRUPT = 9, 10, 11
"""Where nodes fail: why it is out of service (bits of `replay_faults`; 0: it serves), devices out
of service, 1 while it corrupts."""
FAILING_COLUMNS = 12
TOTAL, SHORT, LONG = 0, 1, 2
"""Rows of `Pool.bounds`: pods that the cluster takes; most pods of a gang that can start now; most
of one that may outlast the shadow time."""
ROOM_MARK, ROOM_THEN = 0, 1
"""Rows of `Pool.room` for the shadow; those of the classes follow."""


class Plan(NamedTuple):
    """Read-only: domains and size classes. R racks or units at most, K classes, G devices."""

    domain: Ints  # [2, N] rack and unit of each node
    first: Ints  # [2, R + 1] first node of each rack and unit
    levels: Ints  # [2, 2] number of racks and units; 1 where their rooms are kept
    classes: Ints  # [K, G + 2] devices of a pod (0: none); pods that 0, 1, … free devices take
    offsets: Ints  # [1 + 2K (+ 1), LEVELS + 1] of the sets of bits: nodes, then rack and unit by
    # class, then that of thermal-aware placement


class Pool(NamedTuple):
    """Written: nodes [N], pieces (devices that a job holds on a node) [P]."""

    jobs: Ints  # [J, COLUMNS] the table of jobs
    node: Ints  # [N, NODE_COLUMNS], more where nodes fail or heat is played (`seats`, `cool`)
    words: Ints  # the sets of bits
    room: Ints  # [2, 2 + K, R] pods that a rack, a unit takes; more with thermal-aware placement
    bounds: Ints  # [3, K]
    piece: Ints  # [P, 3] node, devices, next
    meta: Ints
    span: Ints  # [2] scratch
    hot: tuple[int, ...]  # of one number where heat is played, else empty: see `seats`


@inlined
def is_thermal(plan: Plan, pool: Pool) -> bool:
    """Whether headroom is looked at."""
    return seats.is_kept(pool.hot) and pool.room.shape[1] > 2 + plan.classes.shape[0]


@inner
def clear(plan: Plan, pool: Pool, devices: int) -> None:
    """All nodes free."""
    nodes = pool.node.shape[0]
    pool.words[:] = 0
    pool.node[:, FREE] = devices
    pool.node[:, MARK] = 0
    pool.node[:, MARK_ALLOWED] = 0
    pool.room[:, : 2 + plan.classes.shape[0], :] = 0
    pool.meta[:] = 0
    if seats.is_kept(pool.hot):
        seats.clear(pool.node, pool.meta)
    if is_thermal(plan, pool):
        cool.clear(pool.node, pool.room, pool.words, plan.offsets[-1], plan.domain)
    pool.meta[TOTAL_FREE] = nodes * devices
    pool.meta[WHOLE] = nodes
    for node in range(nodes):
        bits.add(pool.words, plan.offsets[0], devices * nodes + node)
    pieces = pool.piece.shape[0]
    for piece in range(pieces):
        pool.piece[piece, 2] = piece + 1 if piece + 1 < pieces else NONE
    for group in range(plan.classes.shape[0]):
        room = plan.classes[group, 1 + devices]
        pool.bounds[TOTAL, group] = nodes * room
        for level in range(2):
            if plan.levels[1, level] == 1:
                _clear_rooms(plan, pool, level, group, room)


@inner
def _clear_rooms(plan: Plan, pool: Pool, level: int, group: int, room: int) -> None:
    offsets = plan.offsets[1 + 2 * group + level]
    count = plan.levels[0, level]
    for domain in range(count):
        size = plan.first[level, domain + 1] - plan.first[level, domain]
        pool.room[level, 2 + group, domain] = size * room
        bits.add(pool.words, offsets, size * room * count + domain)


@inlined
def set_free(plan: Plan, pool: Pool, node: int, free: int) -> None:
    """Write what is free on a node into all indexes."""
    nodes = pool.node.shape[0]
    before = pool.node[node, FREE]
    pool.node[node, FREE] = free
    pool.meta[TOTAL_FREE] += free - before
    whole = plan.classes.shape[1] - 2
    pool.meta[WHOLE] += (1 if free == whole else 0) - (1 if before == whole else 0)
    bits.discard(pool.words, plan.offsets[0], before * nodes + node)
    bits.add(pool.words, plan.offsets[0], free * nodes + node)
    if is_thermal(plan, pool):
        cool.move(pool.node, pool.room, pool.words, plan.offsets[-1], node, before, free)
    for group in range(plan.classes.shape[0]):
        change = plan.classes[group, 1 + free] - plan.classes[group, 1 + before]
        if change == 0:
            continue
        pool.bounds[TOTAL, group] += change
        for level in range(2):
            if plan.levels[1, level] == 1:
                domain = plan.domain[level, node]
                count = plan.levels[0, level]
                room = pool.room[level, 2 + group, domain]
                offsets = plan.offsets[1 + 2 * group + level]
                bits.discard(pool.words, offsets, room * count + domain)
                bits.add(pool.words, offsets, (room + change) * count + domain)
                pool.room[level, 2 + group, domain] = room + change


@inner
def most_pods(plan: Plan, pool: Pool, group: int, required: int) -> int:
    """The largest gang of a class that could start now at the required level."""
    if required in (CLUSTER, NODE):
        return int(pool.bounds[TOTAL, group])
    level = required - RACK
    return bits.last(pool.words, plan.offsets[1 + 2 * group + level]) // int(plan.levels[0, level])


@inner
def _draw(pool: Pool, count: int, purpose: int, seed: int, future: int) -> int:
    """A number below `count`."""
    drawn = pool.meta[DRAWN]
    pool.meta[DRAWN] = drawn + 1
    u = uniform(seed, future, drawn >> 31, purpose, drawn & 0x7FFFFFFF)
    return min(int(u * count), count - 1)


@inner
def _least_index(
    words: Ints, offsets: Ints, low: int, high: int, stride: int, begin: int, end: int
) -> int:
    """The lowest index in begin..end - 1 whose value is in low..high - 1, or NONE."""
    best = NONE
    for value in range(low, high):
        member = bits.next_from(words, offsets, value * stride + begin)
        if member != NONE and member < value * stride + end:
            index = member - value * stride
            if best == NONE or index < best:
                best = index
    return best


@inner
def choose_node(
    plan: Plan, pool: Pool, wanted: int, begin: int, end: int, placement: int, seed: int,
    future: int,
) -> int:  # fmt: skip
    """The node among begin..end - 1 for a pod of `wanted` devices, or NONE."""
    nodes = pool.node.shape[0]
    offsets = plan.offsets[0]
    most = plan.classes.shape[1] - 2
    if seats.is_kept(pool.hot) and placement == THERMAL_AWARE:
        rows = plan.offsets[-1]
        return cool.choose(pool.node, pool.room, pool.words, rows, wanted, most, begin, end)
    if placement in (FIRST_FIT, RANDOM):
        least = _least_index(pool.words, offsets, wanted, most + 1, nodes, begin, end)
        if placement == FIRST_FIT or least == NONE:
            return least
        start = begin
        for _ in range(DRAWS):
            start = begin + _draw(pool, end - begin, DRAW_NODE, seed, future)
            if pool.node[start, FREE] >= wanted:
                return start
        after = _least_index(pool.words, offsets, wanted, most + 1, nodes, start, end)
        return after if after != NONE else least
    for step in range(most + 1 - wanted):
        value = wanted + step if placement == BEST_FIT else most - step
        member = bits.next_from(pool.words, offsets, value * nodes + begin)
        if member == NONE and placement == BEST_FIT:
            return NONE
        if member != NONE and member < value * nodes + end:
            return int(member - value * nodes)
    return NONE


@inner
def _choose_domain(
    plan: Plan, pool: Pool, level: int, group: int, pods: int, placement: int, seed: int,
    future: int,
) -> int:  # fmt: skip
    """The rack (level 0) or unit (1) for the whole gang, or NONE."""
    count = int(plan.levels[0, level])
    offsets = plan.offsets[1 + 2 * group + level]
    if placement == BEST_FIT:
        member = bits.next_from(pool.words, offsets, pods * count)
        return member % count if member != NONE else NONE
    most = bits.last(pool.words, offsets) // count
    if most < pods:
        return NONE
    if placement == FIRST_FIT:
        return _first_domain(pool, level, group, pods, 0, count)
    if seats.is_kept(pool.hot) and placement == THERMAL_AWARE:
        return _coolest_domain(plan, pool, level, group, pods)
    if placement == RANDOM:
        start = 0
        for _ in range(DRAWS):
            start = _draw(pool, count, DRAW_DOMAIN, seed, future)
            if pool.room[level, 2 + group, start] >= pods:
                return start
        after = _first_domain(pool, level, group, pods, start, count)
        return after if after != NONE else _first_domain(pool, level, group, pods, 0, start)
    return bits.next_from(pool.words, offsets, most * count) % count


@inner
def _first_domain(pool: Pool, level: int, group: int, pods: int, begin: int, end: int) -> int:
    for domain in range(begin, end):
        if pool.room[level, 2 + group, domain] >= pods:
            return domain
    return NONE


@inner
def _coolest_domain(plan: Plan, pool: Pool, level: int, group: int, pods: int) -> int:
    """The domain whose nodes have most headroom on average, ties to the lowest index."""
    best, size, sums = NONE, 1, pool.room[level, pool.room.shape[1] + cool.SUMS]
    for domain in range(plan.levels[0, level]):
        if pool.room[level, 2 + group, domain] < pods:
            continue
        nodes = plan.first[level, domain + 1] - plan.first[level, domain]
        if best == NONE or sums[domain] * size < sums[best] * nodes:
            best, size = domain, nodes
    return best


@inlined
def _seat(plan: Plan, pool: Pool, job: int, node: int, devices: int) -> None:
    """Note which devices a job takes or, less than none, gives back, where heat is played."""
    if devices > 0:
        seats.swap(pool.node, pool.meta, node, seats.EMPTY, job, devices)
    else:
        seats.swap(pool.node, pool.meta, node, job, seats.EMPTY, -devices)
    if is_thermal(plan, pool):
        rows = plan.offsets[-1]
        cool.draw(
            pool.node, pool.room, pool.words, rows, plan.domain, pool.jobs, job, node, devices
        )


@inlined
def _hold(plan: Plan, pool: Pool, job: int, node: int, devices: int) -> None:
    """Give devices of a node to a job; as a new piece in front of its others."""
    piece = pool.meta[PIECES]
    pool.meta[PIECES] = pool.piece[piece, 2]
    pool.piece[piece, 0] = node
    pool.piece[piece, 1] = devices
    pool.piece[piece, 2] = pool.jobs[job, at.PIECE]
    pool.jobs[job, at.PIECE] = piece
    set_free(plan, pool, node, pool.node[node, FREE] - devices)
    if seats.is_kept(pool.hot):
        _seat(plan, pool, job, node, devices)


@inner
def _fill(
    plan: Plan, pool: Pool, job: int, group: int, pods: int, begin: int, end: int,
    placement: int, seed: int, future: int,
) -> int:  # fmt: skip
    """Put up to `pods` pods on nodes begin..end - 1 and return how many found a place."""
    wanted = plan.classes[group, 0]
    left = pods
    while left > 0:
        node = choose_node(plan, pool, wanted, begin, end, placement, seed, future)
        if node == NONE:
            break
        taken = pods_on(placement, plan.classes[group, 1 + pool.node[node, FREE]], left)
        _hold(plan, pool, job, node, taken * wanted)
        left -= taken
    return pods - left


@inner
def _best_part(plan: Plan, pool: Pool, level: int, group: int, left: int) -> int:
    """The next domain of the preferred level in the nodes `span[0]` to `span[1] - 1`."""
    span = pool.span
    count = int(plan.levels[0, level])
    offsets = plan.offsets[1 + 2 * group + level]
    if span[0] == 0 and span[1] == pool.node.shape[0]:
        member = bits.next_from(pool.words, offsets, left * count)
        if member != NONE:
            return member % count
        most = bits.last(pool.words, offsets) // count
        return bits.next_from(pool.words, offsets, most * count) % count
    best, part = NONE, NONE
    low = plan.domain[level, span[0]]
    high = plan.domain[level, span[1] - 1] + 1
    for domain in range(low, high):
        room = pool.room[level, 2 + group, domain]
        if better_part(room, best, left):
            best, part = room, domain
    return int(part)


@inner
def _fill_parts(
    plan: Plan, pool: Pool, job: int, group: int, pods: int, preferred: int,
    placement: int, seed: int, future: int,
) -> None:  # fmt: skip
    """Fill domains of the preferred level one by one; there is room for all."""
    left = pods
    while left > 0:
        if preferred == NODE:
            node = _part_node(plan, pool, group, left)
            begin, end = node, node + 1
        else:
            part = _best_part(plan, pool, preferred - RACK, group, left)
            begin = plan.first[preferred - RACK, part]
            end = plan.first[preferred - RACK, part + 1]
        left -= _fill(plan, pool, job, group, left, begin, end, placement, seed, future)


@inner
def _part_node(plan: Plan, pool: Pool, group: int, left: int) -> int:
    """The node with fewest free devices that takes all the rest, else the one with most."""
    span = pool.span
    most = plan.classes.shape[1] - 2
    wanted = plan.classes[group, 0]
    if wanted * left <= most:
        node = choose_node(plan, pool, wanted * left, span[0], span[1], BEST_FIT, 0, 0)
        if node != NONE:
            return node
    return choose_node(plan, pool, wanted, span[0], span[1], SPREAD, 0, 0)


@inner
def place(
    plan: Plan, pool: Pool, job: int, group: int, pods: int, required: int, preferred: int,
    placement: int, seed: int, future: int,
) -> bool:  # fmt: skip
    """Place a gang whole, or not at all."""
    if plan.classes[group, 0] == 0:
        return True
    span = pool.span
    if pool.bounds[TOTAL, group] < pods:
        return False
    span[0], span[1] = 0, pool.node.shape[0]
    if pods > 1 and required in (RACK, RACK + 1):
        level = required - RACK
        domain = _choose_domain(plan, pool, level, group, pods, placement, seed, future)
        if domain == NONE:
            return False
        span[0], span[1] = plan.first[level, domain], plan.first[level, domain + 1]
    if pods > 1 and NODE <= preferred < required:
        _fill_parts(plan, pool, job, group, pods, preferred, placement, seed, future)
    else:
        _fill(plan, pool, job, group, pods, span[0], span[1], placement, seed, future)
    return True


@inner
def release(plan: Plan, pool: Pool, job: int) -> None:
    """Take back all that a job holds."""
    piece = pool.jobs[job, at.PIECE]
    while piece != NONE:
        node = pool.piece[piece, 0]
        set_free(plan, pool, node, pool.node[node, FREE] + pool.piece[piece, 1])
        if seats.is_kept(pool.hot):
            _seat(plan, pool, job, node, -pool.piece[piece, 1])
        following = pool.piece[piece, 2]
        pool.piece[piece, 2] = pool.meta[PIECES]
        pool.meta[PIECES] = piece
        piece = following
    pool.jobs[job, at.PIECE] = NONE


@inner
def drop(plan: Plan, pool: Pool, job: int, node: int, most: int) -> int:
    """Take up to `most` devices of a node from a job, which are free for nobody; how many."""
    taken, before, piece = 0, NONE, pool.jobs[job, at.PIECE]
    while piece != NONE and taken < most:
        following = pool.piece[piece, 2]
        if pool.piece[piece, 0] == node:
            part = min(most - taken, pool.piece[piece, 1])
            taken += part
            pool.piece[piece, 1] -= part
            if seats.is_kept(pool.hot):
                _seat(plan, pool, job, node, -part)
            if pool.piece[piece, 1] == 0:
                if before == NONE:
                    pool.jobs[job, at.PIECE] = following
                else:
                    pool.piece[before, 2] = following
                pool.piece[piece, 2] = pool.meta[PIECES]
                pool.meta[PIECES] = piece
                piece = following
                continue
        before = piece
        piece = following
    return int(taken)
