"""One future of a fleet written down: what whoever runs jobs on it would be told, in order.

The fleet does not depend on the jobs, so that one record serves every policy that is compared.
"""

from __future__ import annotations

from kfarm_twin._jit import inner, kernel
from kfarm_twin.arrays import Ints
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.kernels.fleet import FULL, begin, next_time, step
from kfarm_twin.kernels.fleet_columns import Fleet, FleetState

COLUMNS = 6
"""Of a record: time [ns], what, node, class, detail, detection [ns]."""


@inner
def _note(
    rows: Ints, count: int, time: int, what: int, node: int, failed: int, detail: int, found: int
) -> int:
    rows[count, 0] = time
    rows[count, 1] = what
    rows[count, 2] = node
    rows[count, 3] = failed
    rows[count, 4] = detail
    rows[count, 5] = found
    return count + 1


@inner
def _note_start(fleet: Fleet, state: FleetState, rows: Ints) -> int:
    """What is wrong at time 0."""
    count = 0
    for node in range(fleet.nodes.shape[0]):
        row, patient = state.node[node], state.patient[node]
        failed = patient[c.CLASS]
        if row[c.CAUSES] > 0:
            count = _note(rows, count, 0, c.WENT_DOWN, node, row[c.BLAME], c.FAULT, 0)
        if row[c.SPEED_NOW] != c.FULL_PPM:
            count = _note(rows, count, 0, c.SPEED, node, failed, row[c.SPEED_NOW], 0)
        if patient[c.STAGE] == c.WELL or failed == c.NONE:
            continue
        if patient[c.STRUCK] == 1 and fleet.classes[failed, c.TAKES] == c.DEVICE:
            count = _note(rows, count, 0, c.LOST_DEVICE, node, failed, patient[c.AT], 0)
        if patient[c.STAGE] == c.SILENT and fleet.classes[failed, c.EFFECT] == c.CORRUPT:
            count = _note(rows, count, 0, c.CORRUPTED, node, failed, 0, 0)
    return count


@kernel
def tell(
    fleet: Fleet,
    state: FleetState,
    hold: Ints,
    rows: Ints,
    first: bool,
    warm_ns: int,
    horizon: int,
    seed: int,
    future: int,
) -> int:
    """Write down what happens, from the start or from where the last call ended.

    Parameters
    ----------
    rows
        [capacity, COLUMNS], with room for four for each node at least.
    first
        Whether a future begins.
    horizon
        The same in all calls of a future; nothing is told from there on [ns].

    Returns
    -------
    int
        Rows that were written, with room left where the future is told; FULL where some table of
        the state had no room.
    """
    count = 0
    if first:
        if not begin(fleet, state, hold, warm_ns, horizon, seed, future):
            return FULL
        count = _note_start(fleet, state, rows)
    most = rows.shape[0] - state.changes.shape[0]
    while count < most and next_time(state) < horizon:
        changes = step(fleet, state, seed, future)
        if changes == FULL:
            return FULL
        for i in range(changes):
            row = state.changes[i]
            count = _note(rows, count, state.now[c.TIME], row[0], row[1], row[2], row[3], row[4])
    return count
