"""Where the members of a unit stand, and where missing ones can go."""

from __future__ import annotations

from kfarm_twin._jit import inner, spliced
from kfarm_twin.arrays import (
    ACCELERATORS,
    CLUSTER,
    OTHERS_LOST,
    SERVING,
    SHORT,
    SOUND,
    Farm,
    State,
)
from kfarm_twin.kernels import unit_columns as u
from kfarm_twin.kernels.power import ask
from kfarm_twin.policy.gangs import NONE, filter_nodes, place_gang


@inner
def put_to_work(farm: Farm, state: State, unit: int, pods: int) -> None:
    """Let all members of a unit that are there work (1) or stand (-1)."""
    workload, first = farm.units.workload[unit], farm.units.first_slot[unit]
    for slot in range(first, first + farm.units.slots[unit]):
        if state.units.slot_node[slot] != NONE:
            ask(state, state.units.slot_node[slot])
    if farm.workloads.inference[workload] == 1 and farm.units.counted[unit] == 1:
        state.tally.counts[SERVING] += pods


@inner
def attach(farm: Farm, state: State, slot: int, node: int) -> None:
    """Give a slot its place on a node; the node's slots stay in ascending order."""
    units, need = state.units, farm.workloads.need[farm.units.workload[farm.units.slot_unit[slot]]]
    units.slot_node[slot] = node
    ask(state, node)
    for resource in range(need.shape[0]):
        state.nodes.free[node, resource] -= need[resource]
    after = state.nodes.first_slot[node]
    if after == NONE or after > slot:
        units.next_slot[slot] = after
        state.nodes.first_slot[node] = slot
        return
    while units.next_slot[after] != NONE and units.next_slot[after] < slot:
        after = units.next_slot[after]
    units.next_slot[slot] = units.next_slot[after]
    units.next_slot[after] = slot


@inner
def detach(farm: Farm, state: State, slot: int) -> None:
    """Take a slot off its node and give back what it held."""
    units, need = state.units, farm.workloads.need[farm.units.workload[farm.units.slot_unit[slot]]]
    node = units.slot_node[slot]
    ask(state, node)
    for resource in range(need.shape[0]):
        state.nodes.free[node, resource] += need[resource]
    units.slot_node[slot] = NONE
    at = state.nodes.first_slot[node]
    if at == slot:
        state.nodes.first_slot[node] = units.next_slot[slot]
        return
    while units.next_slot[at] != slot:
        at = units.next_slot[at]
    units.next_slot[at] = units.next_slot[slot]


@inner
def miss(farm: Farm, state: State, slot: int) -> None:
    """Take a member off its node; its unit misses it from now on."""
    unit = farm.units.slot_unit[slot]
    if state.units.row[unit, u.MISSING] == 0:
        state.tally.counts[SHORT] += 1
    state.units.row[unit, u.MISSING] += 1
    detach(farm, state, slot)


@inner
def holder(farm: Farm, state: State, node: int, device: int) -> int:
    """Slot that a sound device belongs to; NONE when it is free, NONE - 1 when others use it.

    Devices are dealt out in ascending order, first to others, then to slots in ascending order.
    """
    place = 0
    for index in range(device):
        if state.nodes.devices[node, index, 0] == SOUND:
            place += 1
    place -= farm.nodes.others[node] - state.nodes.health[node, OTHERS_LOST]
    if place < 0:
        return NONE - 1
    slot = state.nodes.first_slot[node]
    while slot != NONE:
        workload = farm.units.workload[farm.units.slot_unit[slot]]
        place -= farm.workloads.need[workload, ACCELERATORS]
        if place < 0:
            break
        slot = state.units.next_slot[slot]
    return int(slot)


@spliced
def _mark_members(farm: Farm, state: State, unit: int, required: int, preferred: int) -> int:
    """Mark the parts that hold members; return the domain they are in, or NONE."""
    held = state.tally.domain_scratch[2]
    held[: farm.domains[preferred]] = 0
    fixed, first = NONE, farm.units.first_slot[unit]
    for slot in range(first, first + farm.units.slots[unit]):
        node = state.units.slot_node[slot]
        if node != NONE:
            fixed = farm.nodes.domain[required, node]
            held[farm.nodes.domain[preferred, node]] = 1
    return fixed


@spliced
def _roomiest(farm: Farm, state: State, fixed: int, required: int, total: int) -> int:
    """Room for members in the domain that the unit must stay in, or in the largest."""
    if fixed == NONE and required == CLUSTER and farm.domains[CLUSTER] == 1:
        return total
    rooms, sizes = state.tally.scratch[0], state.tally.domain_scratch[0]
    sizes[: farm.domains[required]] = 0
    for node in range(rooms.shape[0]):
        sizes[farm.nodes.domain[required, node]] += rooms[node]
    if fixed != NONE:
        return int(sizes[fixed])
    most = 0
    for domain in range(farm.domains[required]):
        most = max(most, sizes[domain])
    return int(most)


@inner
def find_nodes(farm: Farm, state: State, unit: int) -> int:
    """Nodes for missing members into `found`, spares included; returns for how many.

    All or none, but for an elastic gang: as many as there is room for, if they suffice with those
    that stand. Of several kinds of nodes the one preferred most that takes all, else that takes
    some.
    """
    workload, missing = farm.units.workload[unit], state.units.row[unit, u.MISSING]
    required, preferred = CLUSTER, CLUSTER
    if farm.workloads.gang[workload] == 1:
        required = farm.workloads.required[workload]
        preferred = farm.workloads.preferred[workload]
    fixed = _mark_members(farm, state, unit, required, preferred)
    rooms, rank, usable = state.tally.scratch[0], state.tally.scratch[1], state.tally.scratch[2]
    worst = 0
    for node in range(rank.shape[0]):
        rank[node] = farm.loads.rank[workload, farm.nodes.cluster[node]]
        worst = max(worst, rank[node])
        usable[node] = state.nodes.up[node] * farm.nodes.schedulable[node]
    need, free = farm.workloads.need[workload], state.nodes.free
    least = max(farm.workloads.least[workload] - farm.units.slots[unit] + missing, 1)
    for sought in range(2):
        if sought == 1 and least >= missing:
            break
        for wanted in range(worst + 1):
            total = filter_nodes(usable, farm.nodes.spare, rank, wanted, True, free, need, rooms)
            count = missing
            if sought == 1:
                count = min(missing, _roomiest(farm, state, fixed, required, total))
            if total < count or count < least:
                continue
            if place_gang(
                rooms,
                farm.nodes.spare,
                farm.nodes.domain[required],
                farm.domains[required],
                farm.nodes.domain[preferred],
                farm.domains[preferred],
                fixed,
                state.tally.domain_scratch,
                state.tally.found[:count],
            ):
                return int(count)
    return 0
