"""Named nodes: what is free on each, found without looking at all, and who holds it.

Nodes of a domain are neighbours, so that a domain is a range. Free devices are indexed by the key
``free * N + node`` in a set of bits: the node with fewest free devices that will do is the first
member from ``wanted * N`` on. Racks and scalable units are indexed likewise by the pods of a size
class that they take, ``room * D + domain``, where a run asks for that level at all.
"""

from __future__ import annotations

from typing import NamedTuple

from kfarm_twin._jit import inner
from kfarm_twin.arrays import CLUSTER, NODE, RACK, Ints
from kfarm_twin.kernels import bits
from kfarm_twin.kernels.rng import uniform
from kfarm_twin.policy.levels import (
    BEST_FIT,
    DRAW_DOMAIN,
    DRAW_NODE,
    DRAWS,
    FIRST_FIT,
    RANDOM,
    better_part,
    pods_on,
)

NONE = -1
FREE, WHOLE, PIECES, RESERVED, TOUCHED, STAMP, HIDDEN, DRAWN = 0, 1, 2, 3, 4, 5, 6, 7
"""Places of `Pool.meta`: free devices, free nodes, list of unused pieces, nodes in `reserved` and
in `touched`, number of the reservation, whether it is hidden, random draws of this run."""
META = 8


class Plan(NamedTuple):
    """Read-only: domains and size classes. R racks or units at most, K classes, G devices."""

    domain: Ints  # [2, N] rack and unit of each node
    first: Ints  # [2, R + 1] first node of each rack and unit
    count: Ints  # [2] racks, units
    indexed: Ints  # [2] 1 where rooms of racks, of units are kept
    devices: Ints  # [K] devices of a pod of the class; 0 asks for none
    room_of: Ints  # [K, G + 1] pods that so many free devices take
    offsets: Ints  # [1 + 2K, LEVELS + 1] of the sets of bits: nodes, then rack and unit by class


class Pool(NamedTuple):
    """Written: nodes [N], pieces (devices that a job holds on a node) [P]."""

    free: Ints  # [N] devices
    words: Ints  # the sets of bits
    room: Ints  # [2, K, R] pods that a rack, a unit takes
    total: Ints  # [K] pods that the cluster takes
    first_piece: Ints  # [J]
    piece: Ints  # [P, 3] node, devices, next
    mark: Ints  # [3, most of N, R]: stamps of nodes, of domains at the level asked for, reserved
    shadow: Ints  # [3, most of N, R]: free then, room then, what others may use (free - reserved)
    touched: Ints  # [N] nodes with releases up to the shadow time, in order
    reserved: Ints  # [N] nodes that the reservation uses
    hidden: Ints  # [N] devices hidden from jobs that would outlast the shadow time
    meta: Ints


@inner
def clear(plan: Plan, pool: Pool, devices: int) -> None:
    """All nodes free."""
    nodes = pool.free.shape[0]
    pool.words[:] = 0
    pool.free[:] = devices
    pool.mark[:, :] = 0
    pool.first_piece[:] = NONE
    pool.meta[:] = 0
    pool.meta[FREE] = nodes * devices
    pool.meta[WHOLE] = nodes
    for node in range(nodes):
        bits.add(pool.words, plan.offsets[0], devices * nodes + node)
    pieces = pool.piece.shape[0]
    for piece in range(pieces):
        pool.piece[piece, 2] = piece + 1 if piece + 1 < pieces else NONE
    for group in range(plan.devices.shape[0]):
        room = plan.room_of[group, devices]
        pool.total[group] = nodes * room
        for level in range(2):
            if plan.indexed[level] == 1:
                _clear_rooms(plan, pool, level, group, room)


@inner
def _clear_rooms(plan: Plan, pool: Pool, level: int, group: int, room: int) -> None:
    offsets = plan.offsets[1 + 2 * group + level]
    count = plan.count[level]
    for domain in range(count):
        size = plan.first[level, domain + 1] - plan.first[level, domain]
        pool.room[level, group, domain] = size * room
        bits.add(pool.words, offsets, size * room * count + domain)


@inner
def set_free(plan: Plan, pool: Pool, node: int, free: int) -> None:
    """Write what is free on a node into all indexes."""
    nodes = pool.free.shape[0]
    before = pool.free[node]
    pool.free[node] = free
    pool.meta[FREE] += free - before
    whole = plan.room_of.shape[1] - 1
    pool.meta[WHOLE] += (1 if free == whole else 0) - (1 if before == whole else 0)
    bits.discard(pool.words, plan.offsets[0], before * nodes + node)
    bits.add(pool.words, plan.offsets[0], free * nodes + node)
    for group in range(plan.devices.shape[0]):
        change = plan.room_of[group, free] - plan.room_of[group, before]
        if change == 0:
            continue
        pool.total[group] += change
        for level in range(2):
            if plan.indexed[level] == 1:
                domain = plan.domain[level, node]
                count = plan.count[level]
                room = pool.room[level, group, domain]
                offsets = plan.offsets[1 + 2 * group + level]
                bits.discard(pool.words, offsets, room * count + domain)
                bits.add(pool.words, offsets, (room + change) * count + domain)
                pool.room[level, group, domain] = room + change


@inner
def most_pods(plan: Plan, pool: Pool, group: int, required: int) -> int:
    """The largest gang of a class that could start now at the required level."""
    if required == CLUSTER or required == NODE:
        return int(pool.total[group])
    level = required - RACK
    return bits.last(pool.words, plan.offsets[1 + 2 * group + level]) // int(plan.count[level])


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
    nodes = pool.free.shape[0]
    offsets = plan.offsets[0]
    most = plan.room_of.shape[1] - 1
    if placement == FIRST_FIT:
        return _least_index(pool.words, offsets, wanted, most + 1, nodes, begin, end)
    if placement == RANDOM:
        start = begin
        for _ in range(DRAWS):
            start = begin + _draw(pool, end - begin, DRAW_NODE, seed, future)
            if pool.free[start] >= wanted:
                return start
        after = _least_index(pool.words, offsets, wanted, most + 1, nodes, start, end)
        if after != NONE:
            return after
        return _least_index(pool.words, offsets, wanted, most + 1, nodes, begin, start)
    for step in range(most + 1 - wanted):
        value = wanted + step if placement == BEST_FIT else most - step
        member = bits.next_from(pool.words, offsets, value * nodes + begin)
        if member == NONE and placement == BEST_FIT:
            return NONE
        if member != NONE and member < value * nodes + end:
            return member - value * nodes
    return NONE


@inner
def _choose_domain(
    plan: Plan, pool: Pool, level: int, group: int, pods: int, placement: int, seed: int,
    future: int,
) -> int:  # fmt: skip
    """The rack (level 0) or unit (1) for the whole gang, or NONE."""
    count = int(plan.count[level])
    offsets = plan.offsets[1 + 2 * group + level]
    rooms = pool.room[level, group]
    if placement == BEST_FIT:
        member = bits.next_from(pool.words, offsets, pods * count)
        return member % count if member != NONE else NONE
    most = bits.last(pool.words, offsets) // count
    if most < pods:
        return NONE
    if placement == FIRST_FIT:
        return _first_domain(rooms, pods, 0, count)
    if placement == RANDOM:
        start = 0
        for _ in range(DRAWS):
            start = _draw(pool, count, DRAW_DOMAIN, seed, future)
            if rooms[start] >= pods:
                return start
        after = _first_domain(rooms, pods, start, count)
        return after if after != NONE else _first_domain(rooms, pods, 0, start)
    return bits.next_from(pool.words, offsets, most * count) % count


@inner
def _first_domain(rooms: Ints, pods: int, begin: int, end: int) -> int:
    for domain in range(begin, end):
        if rooms[domain] >= pods:
            return domain
    return NONE


@inner
def _hold(plan: Plan, pool: Pool, job: int, node: int, devices: int) -> None:
    """Give devices of a node to a job; as a new piece in front of its others."""
    piece = pool.meta[PIECES]
    pool.meta[PIECES] = pool.piece[piece, 2]
    pool.piece[piece, 0] = node
    pool.piece[piece, 1] = devices
    pool.piece[piece, 2] = pool.first_piece[job]
    pool.first_piece[job] = piece
    set_free(plan, pool, node, pool.free[node] - devices)


@inner
def _fill(
    plan: Plan, pool: Pool, job: int, group: int, pods: int, begin: int, end: int,
    placement: int, seed: int, future: int,
) -> int:  # fmt: skip
    """Put up to `pods` pods on nodes begin..end - 1 and return how many found a place."""
    wanted = plan.devices[group]
    left = pods
    while left > 0:
        node = choose_node(plan, pool, wanted, begin, end, placement, seed, future)
        if node == NONE:
            break
        taken = pods_on(placement, plan.room_of[group, pool.free[node]], left)
        _hold(plan, pool, job, node, taken * wanted)
        left -= taken
    return pods - left


@inner
def _best_part(plan: Plan, pool: Pool, level: int, group: int, left: int, span: Ints) -> int:
    """The next domain of the preferred level in the nodes span[0]..span[1] - 1."""
    count = int(plan.count[level])
    offsets = plan.offsets[1 + 2 * group + level]
    if span[0] == 0 and span[1] == pool.free.shape[0]:
        member = bits.next_from(pool.words, offsets, left * count)
        if member != NONE:
            return member % count
        most = bits.last(pool.words, offsets) // count
        return bits.next_from(pool.words, offsets, most * count) % count
    best, part = NONE, NONE
    low = plan.domain[level, span[0]]
    high = plan.domain[level, span[1] - 1] + 1
    for domain in range(low, high):
        room = pool.room[level, group, domain]
        if better_part(room, best, left):
            best, part = room, domain
    return int(part)


@inner
def _fill_parts(
    plan: Plan, pool: Pool, job: int, group: int, pods: int, preferred: int, span: Ints,
    placement: int, seed: int, future: int,
) -> None:  # fmt: skip
    """Fill domains of the preferred level one by one; there is room for all."""
    left = pods
    while left > 0:
        if preferred == NODE:
            node = _part_node(plan, pool, group, left, span)
            begin, end = node, node + 1
        else:
            part = _best_part(plan, pool, preferred - RACK, group, left, span)
            begin = plan.first[preferred - RACK, part]
            end = plan.first[preferred - RACK, part + 1]
        left -= _fill(plan, pool, job, group, left, begin, end, placement, seed, future)


@inner
def _part_node(plan: Plan, pool: Pool, group: int, left: int, span: Ints) -> int:
    """The node with fewest free devices that takes all the rest, else the one with most."""
    most = plan.room_of.shape[1] - 1
    wanted = plan.devices[group]
    if wanted * left <= most:
        node = choose_node(plan, pool, wanted * left, span[0], span[1], BEST_FIT, 0, 0)
        if node != NONE:
            return node
    return choose_node(plan, pool, wanted, span[0], span[1], 3, 0, 0)


@inner
def place(
    plan: Plan, pool: Pool, job: int, group: int, pods: int, required: int, preferred: int,
    placement: int, seed: int, future: int, span: Ints,
) -> bool:  # fmt: skip
    """Place a gang whole, or not at all; `span` [2] is scratch."""
    if plan.devices[group] == 0:
        return True
    if pool.total[group] < pods:
        return False
    span[0], span[1] = 0, pool.free.shape[0]
    if pods > 1 and required in (RACK, RACK + 1):
        level = required - RACK
        domain = _choose_domain(plan, pool, level, group, pods, placement, seed, future)
        if domain == NONE:
            return False
        span[0], span[1] = plan.first[level, domain], plan.first[level, domain + 1]
    if pods > 1 and NODE <= preferred < required:
        _fill_parts(plan, pool, job, group, pods, preferred, span, placement, seed, future)
    else:
        _fill(plan, pool, job, group, pods, span[0], span[1], placement, seed, future)
    return True


@inner
def release(plan: Plan, pool: Pool, job: int) -> None:
    """Take back all that a job holds."""
    piece = pool.first_piece[job]
    while piece != NONE:
        node = pool.piece[piece, 0]
        set_free(plan, pool, node, pool.free[node] + pool.piece[piece, 1])
        following = pool.piece[piece, 2]
        pool.piece[piece, 2] = pool.meta[PIECES]
        pool.meta[PIECES] = piece
        piece = following
    pool.first_piece[job] = NONE
