"""Where pods go: one set of rules, compiled in the twin and plain elsewhere.

A gang goes whole into one domain of its required level: among those that keep room for
replacements beside it, the one with least to spare (the others stay whole for later gangs); where
none does, the largest; ties to the lowest index. Within it as few domains of its preferred level as
possible: those that already hold pods of the gang first, else the smallest that takes all the rest,
else the largest. Within one of these, nodes that are no spares first, then the fullest, then the
lowest index. Pods that are in no gang are spread: each goes to the rack with fewest pods of its
workload, there to the fullest node.
"""

from __future__ import annotations

from kfarm_twin._jit import kernel
from kfarm_twin.arrays import RESOURCES, Ints

SPARE_PENALTY = 1 << 40
NONE = -1
RESERVE = 32
"""One pod of every so many is kept free for replacements, where there is a choice (assumption)."""


@kernel
def room(free: Ints, need: Ints) -> int:
    """Pods that fit into what is free on a node; both by resource [Q]."""
    least = SPARE_PENALTY
    for resource in range(RESOURCES):
        if need[resource] > 0:
            least = min(least, free[resource] // need[resource])
    return max(least, 0)


@kernel
def filter_nodes(
    usable: Ints,
    spare: Ints,
    rank: Ints,
    wanted: int,
    spares: bool,
    free: Ints,
    need: Ints,
    out: Ints,
) -> int:
    """Pods that each node takes.

    Parameters
    ----------
    usable, spare, rank
        [N] whether a node takes pods, is a spare, and its preference for this workload.
    wanted
        Only nodes of this rank are asked.
    free, need
        [N, Q] what is free, [Q] what a pod needs.
    out
        [N] written: pods per node.

    Returns
    -------
    int
        Pods that all nodes take together.
    """
    total = 0
    for node in range(usable.shape[0]):
        fits = 0
        if usable[node] == 1 and rank[node] == wanted and (spares or spare[node] == 0):
            fits = room(free[node], need)
        out[node] = fits
        total += fits
    return total


@kernel
def score(rooms: Ints, spare: Ints, node: int) -> int:
    """Lower is better: no spare, then fuller."""
    return int(spare[node] * SPARE_PENALTY + rooms[node])


@kernel
def best_domain(domain_room: Ints, count: int, need: int) -> int:
    """The domain with least room that takes all and a reserve, else the largest; or NONE."""
    best, largest = NONE, 0
    reserved = need + (need + RESERVE - 1) // RESERVE
    for domain in range(count):
        size = domain_room[domain]
        if size > domain_room[largest]:
            largest = domain
        if size >= reserved and (best == NONE or size < domain_room[best]):
            best = domain
    if best == NONE and domain_room[largest] >= need:
        best = largest
    return best


@kernel
def best_part(part_room: Ints, held: Ints, count: int, need: int) -> int:
    """The next part of a domain to fill: held already, else the best fit, else the largest."""
    holding, fitting, largest = NONE, NONE, NONE
    for part in range(count):
        size = part_room[part]
        if size == 0:
            continue
        if held[part] == 1 and (holding == NONE or size > part_room[holding]):
            holding = part
        if size >= need and (fitting == NONE or size < part_room[fitting]):
            fitting = part
        if largest == NONE or size > part_room[largest]:
            largest = part
    if holding != NONE:
        return holding
    return fitting if fitting != NONE else largest


@kernel
def fill_part(
    rooms: Ints,
    spare: Ints,
    required: Ints,
    domain: int,
    preferred: Ints,
    part: int,
    out: Ints,
    at: int,
) -> int:
    """Put pods on the nodes of one part until `out` is full; return how many `out` then holds."""
    while at < out.shape[0]:
        best = NONE
        for node in range(rooms.shape[0]):
            if rooms[node] == 0 or required[node] != domain or preferred[node] != part:
                continue
            if best == NONE or score(rooms, spare, node) < score(rooms, spare, best):
                best = node
        if best == NONE:
            break
        while rooms[best] > 0 and at < out.shape[0]:
            out[at] = best
            at += 1
            rooms[best] -= 1
    return at


@kernel
def place_gang(
    rooms: Ints,
    spare: Ints,
    required: Ints,
    required_count: int,
    preferred: Ints,
    preferred_count: int,
    fixed: int,
    scratch: Ints,
    out: Ints,
) -> bool:
    """Place as many pods as `out` has places, all or none.

    Parameters
    ----------
    rooms
        [N] pods that each node takes; used up.
    required, preferred
        [N] domain of each node at the two levels, with their numbers.
    fixed
        Domain that the gang must stay in, or NONE.
    scratch
        [3, >= domains]; row 2 holds 1 where the gang already has pods at the preferred level.
    out
        Written: node of each pod.
    """
    domain_room, part_room, held = scratch[0], scratch[1], scratch[2]
    need = out.shape[0]
    domain_room[:required_count] = 0
    for node in range(rooms.shape[0]):
        domain_room[required[node]] += rooms[node]
    domain = fixed
    if fixed == NONE:
        domain = best_domain(domain_room, required_count, need)
    if domain == NONE or domain_room[domain] < need:
        return False
    part_room[:preferred_count] = 0
    for node in range(rooms.shape[0]):
        if required[node] == domain:
            part_room[preferred[node]] += rooms[node]
    placed = 0
    while placed < need:
        part = best_part(part_room, held, preferred_count, need - placed)
        placed = fill_part(rooms, spare, required, domain, preferred, part, out, placed)
        part_room[part] = 0
    return True


@kernel
def place_spread(rooms: Ints, spare: Ints, rack: Ints, in_rack: Ints, out: Ints, at: int) -> int:
    """Spread pods over racks from place `at` of `out` on, as far as there is room.

    `in_rack` [R] counts the workload's pods per rack and is kept up to date. Returns how many `out`
    then holds.
    """
    while at < out.shape[0]:
        best = NONE
        for node in range(rooms.shape[0]):
            if rooms[node] == 0:
                continue
            if (
                best == NONE
                or in_rack[rack[node]] < in_rack[rack[best]]
                or (
                    rack[node] == rack[best]
                    and score(rooms, spare, node) < score(rooms, spare, best)
                )
            ):
                best = node
        if best == NONE:
            break
        out[at] = best
        at += 1
        rooms[best] -= 1
        in_rack[rack[best]] += 1
    return at
