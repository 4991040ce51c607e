"""What the fleet does to the jobs of the farm driver: nodes go down and come up, devices too.

A job stops with any of its devices. What it holds elsewhere stays with it until the stop is known,
then it is in the queue again at its old place, with the work that it kept and the cost of a
restart before it.
"""

from __future__ import annotations

from kfarm_twin._jit import inlined, inner
from kfarm_twin.kernels import columns as at
from kfarm_twin.kernels import fleet_columns as fleet
from kfarm_twin.kernels import pool as nodes
from kfarm_twin.kernels import replay_saves as saves
from kfarm_twin.kernels import seats, shelf
from kfarm_twin.kernels.pool import Plan
from kfarm_twin.kernels.replay_jobs import change_speed, seated, settle, uses
from kfarm_twin.kernels.replay_state import (
    CHANGED,
    CORRUPT,
    DETAIL,
    DETECTION,
    FREE,
    HEAD,
    HELD,
    NONE,
    STOPPED,
    TIME,
    UNTIL,
    WHAT,
    WHEN,
    WHERE,
    Desk,
    Rules,
)
from kfarm_twin.kernels.rng import FAR_NS

BY_FLEET, BY_HEAT = 1, 2
"""Bits of the column DOWN: why a node is out of service."""


@inner
def _jobs_on(desk: Desk, node: int) -> int:
    """Jobs that hold devices of a node, in their order, in the list ROLL: how many."""
    if seats.is_kept(desk.pool.hot):
        return seated(desk, node)
    count = 0
    for place in range(desk.ends.lists[shelf.META, shelf.BLOCKS]):
        block = desk.ends.lists[shelf.ORDER, place]
        for i in range(desk.ends.rows[block, shelf.SIZE]):
            job = desk.ends.rows[block, shelf.JOBS + i]
            if uses(desk, job, node):
                into = count
                while into > 0 and desk.jobs[into - 1, at.ROLL] > job:
                    desk.jobs[into, at.ROLL] = desk.jobs[into - 1, at.ROLL]
                    into -= 1
                desk.jobs[into, at.ROLL] = job
                count += 1
    return count


@inner
def _fall_idle(desk: Desk, job: int) -> None:
    """Where heat is played, the devices of a job that has stopped draw less from now on."""
    if not seats.is_kept(desk.pool.hot):
        return
    piece = desk.jobs[job, at.PIECE]
    while piece != NONE:
        seats.touch(desk.pool.node, desk.pool.meta, desk.pool.piece[piece, 0])
        piece = desk.pool.piece[piece, 2]


@inner
def _stop(rules: Rules, desk: Desk, job: int, leaves: int, detection: int) -> int:
    """Stop a job, unless it has stopped; how many stopped."""
    now = desk.now[TIME]
    if desk.jobs[job, at.HOLDS] != NONE:
        saves.wait_unknown(desk, job)
        return 0
    settle(desk, job, now)
    saves.close_run(rules, desk, job, leaves)
    desk.jobs[job, at.INTERRUPTED] += 1
    desk.jobs[job, at.HOLDS] = desk.jobs[job, at.WEIGHT]
    _fall_idle(desk, job)
    shelf.remove(desk.ends, desk.jobs, desk.jobs[job, at.DONE], job)
    desk.jobs[job, at.DONE] = now + detection
    shelf.insert(desk.ends, desk.jobs, desk.jobs[job, at.DONE], job)
    return 1


@inner
def _take(plan: Plan, desk: Desk, job: int, node: int, most: int) -> None:
    """Take devices of a node from a job that has stopped."""
    taken = nodes.drop(plan, desk.pool, job, node, most)
    desk.jobs[job, at.HOLDS] -= taken
    desk.now[FREE] += taken


@inner
def go_down(
    rules: Rules, plan: Plan, desk: Desk, node: int, detail: int, detection: int, cause: int
) -> int:
    """A node goes out of service because of BY_FLEET or BY_HEAT; how many jobs that stops."""
    stopped = 0
    for i in range(_jobs_on(desk, node)):
        job = desk.jobs[i, at.ROLL]
        leaves = saves.SAVES
        if detail == fleet.DRAIN and desk.jobs[job, at.INTERVAL] < FAR_NS:
            leaves = saves.ALL
        elif detail == fleet.FOUND_CORRUPT:
            leaves = saves.CLEAN
        stopped += _stop(rules, desk, job, leaves, detection)
        _take(plan, desk, job, node, rules.devices)
    desk.pool.node[node, nodes.DOWN] |= cause
    _touch(desk, node)
    _be_right(desk, node)
    nodes.set_free(plan, desk.pool, node, 0)
    return stopped


@inner
def _be_right(desk: Desk, node: int) -> None:
    """A node corrupts nothing any more."""
    desk.now[CORRUPT] -= desk.pool.node[node, nodes.CORRUPT]
    desk.pool.node[node, nodes.CORRUPT] = 0


@inlined
def _touch(desk: Desk, node: int) -> None:
    if seats.is_kept(desk.pool.hot):
        seats.touch(desk.pool.node, desk.pool.meta, node)


@inner
def come_up(rules: Rules, plan: Plan, desk: Desk, node: int, cause: int) -> None:
    """What kept a node out of service is over; it may have been down for another cause too."""
    desk.pool.node[node, nodes.DOWN] &= ~cause
    _be_right(desk, node)
    if desk.pool.node[node, nodes.DOWN] != 0:
        return
    _touch(desk, node)
    nodes.set_free(plan, desk.pool, node, rules.devices - desk.pool.node[node, nodes.LOST])


@inner
def _lose_device(
    rules: Rules, plan: Plan, desk: Desk, node: int, device: int, detection: int
) -> int:
    """Devices in service are numbered by the jobs that hold them, then come those that are free."""
    at_node = desk.pool.node[node]
    serving = rules.devices - at_node[nodes.LOST]
    if serving <= 0:
        return 0
    at_node[nodes.LOST] += 1
    table, meta = desk.pool.node, desk.pool.meta
    number, free = device % serving, at_node[nodes.FREE]
    if at_node[nodes.DOWN] != 0 or number >= serving - free:
        if at_node[nodes.DOWN] == 0:
            nodes.set_free(plan, desk.pool, node, free - 1)
        if seats.is_kept(desk.pool.hot):
            seats.swap(table, meta, node, seats.EMPTY, seats.LOST, 1)
        return 0
    for i in range(_jobs_on(desk, node)):
        job = desk.jobs[i, at.ROLL]
        piece = desk.jobs[job, at.PIECE]
        while piece != NONE:
            if desk.pool.piece[piece, 0] == node:
                number -= desk.pool.piece[piece, 1]
            piece = desk.pool.piece[piece, 2]
        if number < 0:
            stopped = _stop(rules, desk, job, saves.SAVES, detection)
            _take(plan, desk, job, node, 1)
            if seats.is_kept(desk.pool.hot):
                seats.swap(table, meta, node, seats.EMPTY, seats.LOST, 1)
            return stopped
    return 0


@inner
def _get_device(plan: Plan, desk: Desk, node: int) -> None:
    at_node = desk.pool.node[node]
    if at_node[nodes.LOST] > 0:
        at_node[nodes.LOST] -= 1
        if seats.is_kept(desk.pool.hot):
            seats.swap(desk.pool.node, desk.pool.meta, node, seats.LOST, seats.EMPTY, 1)
        if at_node[nodes.DOWN] == 0:
            nodes.set_free(plan, desk.pool, node, at_node[nodes.FREE] + 1)


@inner
def _corrupt(desk: Desk, node: int) -> None:
    """Work done here from now on is lost once it is found; remember what is right."""
    if desk.pool.node[node, nodes.CORRUPT] == 1:
        return
    desk.pool.node[node, nodes.CORRUPT] = 1
    desk.now[CORRUPT] += 1
    for i in range(_jobs_on(desk, node)):
        job = desk.jobs[i, at.ROLL]
        if desk.jobs[job, at.HOLDS] == NONE and desk.jobs[job, at.CLEAN] == NONE:
            settle(desk, job, desk.now[TIME])
            desk.jobs[job, at.CLEAN] = saves.saved_now(desk, job)


@inner
def _interrupt(rules: Rules, desk: Desk, node: int, detection: int) -> int:
    stopped = 0
    for i in range(_jobs_on(desk, node)):
        stopped += _stop(rules, desk, desk.jobs[i, at.ROLL], saves.SAVES, detection)
    return stopped


@inner
def fleet_changes(rules: Rules, plan: Plan, desk: Desk) -> bool:
    """All changes of the fleet that are due; whether there were any."""
    now, changes = desk.now, desk.changes
    first = now[CHANGED]
    while now[CHANGED] < changes.shape[0] and changes[now[CHANGED], WHEN] <= now[TIME]:
        row = changes[now[CHANGED]]
        what, node = row[WHAT], row[WHERE]
        if what == fleet.WENT_DOWN:
            row[STOPPED] = go_down(rules, plan, desk, node, row[DETAIL], row[DETECTION], BY_FLEET)
        elif what == fleet.CAME_UP:
            come_up(rules, plan, desk, node, BY_FLEET)
        elif what == fleet.LOST_DEVICE:
            row[STOPPED] = _lose_device(rules, plan, desk, node, row[DETAIL], row[DETECTION])
        elif what == fleet.GOT_DEVICE:
            _get_device(plan, desk, node)
        elif what == fleet.SPEED:
            change_speed(rules, desk, node, row[DETAIL])
        elif what == fleet.CORRUPTED:
            _corrupt(desk, node)
        else:
            row[STOPPED] = _interrupt(rules, desk, node, row[DETECTION])
        now[CHANGED] += 1
    if now[CHANGED] > first:
        now[HELD] = NONE
        now[HEAD] = NONE
        return True
    return False


@inner
def break_off(rules: Rules, desk: Desk) -> None:
    """Book what runs at the end of the run."""
    desk.now[TIME] = desk.now[UNTIL]
    for place in range(desk.ends.lists[shelf.META, shelf.BLOCKS]):
        block = desk.ends.lists[shelf.ORDER, place]
        for i in range(desk.ends.rows[block, shelf.SIZE]):
            job = desk.ends.rows[block, shelf.JOBS + i]
            if desk.jobs[job, at.HOLDS] != NONE:
                saves.wait_unknown(desk, job)
            else:
                settle(desk, job, desk.now[TIME])
                saves.close_run(rules, desk, job, saves.ALL)
