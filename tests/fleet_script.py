"""What a fleet does in one future, as the rows that the plain reference of the loop is given."""

from __future__ import annotations

from typing import Any

import numpy as np
from kfarm_twin._jit import kernel
from kfarm_twin.arrays import Ints
from kfarm_twin.compile import Model
from kfarm_twin.fleet import first_room, new_state
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.kernels.fleet import begin, next_time, step

ROW = 7
"""Time [ns], number of the event, what, node, class, detail, detection [ns]."""


@kernel
def start(
    fleet: c.Fleet, state: c.FleetState, hold: Ints, warm: int, horizon: int, seed: int, future: int
) -> bool:
    """Bring the fleet to time 0."""
    return begin(fleet, state, hold, warm, horizon, seed, future)


@kernel
def write(
    fleet: c.Fleet, state: c.FleetState, horizon: int, seed: int, future: int, rows: Ints
) -> int:
    """Play the fleet on; how many rows there are, of which as many as fit are written."""
    count, event = 0, 0
    while next_time(state) < horizon:
        changes = step(fleet, state, seed, future)
        if changes < 0:
            return -1
        event += 1
        for change in range(changes):
            if count < rows.shape[0]:
                rows[count, 0] = state.now[c.TIME]
                rows[count, 1] = event
                for column in range(c.CHANGE):
                    rows[count, 2 + column] = state.changes[change, column]
            count += 1
    return count


def _initial(model: Model, state: c.FleetState) -> list[tuple[int, ...]]:
    """What is not as new when a future begins, node by node."""
    rows: list[tuple[int, ...]] = []
    for node in range(model.nodes):
        row, patient = state.node[node], state.patient[node]
        own = int(patient[c.CLASS])
        if row[c.CAUSES] > 0:
            rows.append((-1, -1, c.WENT_DOWN, node, int(row[c.BLAME]), 0, 0))
        if row[c.SPEED_NOW] < c.FULL_PPM:
            blamed = own if row[c.OWN_PPM] < c.FULL_PPM else -1
            rows.append((-1, -1, c.SPEED, node, blamed, int(row[c.SPEED_NOW]), 0))
        if own < 0:
            continue
        rules = model.columns.fleet.classes[own]
        if patient[c.STRUCK] == 1 and rules[c.TAKES] == c.DEVICE:
            rows.append((-1, -1, c.LOST_DEVICE, node, own, int(patient[c.AT]), 0))
        if patient[c.STAGE] == c.SILENT and rules[c.EFFECT] == c.CORRUPT:
            rows.append((-1, -1, c.CORRUPTED, node, own, 0, 0))
    return rows


def script(
    model: Model, slot_node: Any, seed: int, future: int, horizon: int
) -> list[tuple[int, ...]]:
    """All that changes, and first what is so at the start."""
    hold = np.zeros(model.nodes, np.int64)
    hold[np.asarray(slot_node)] = 1
    tables, warm = model.fleet.tables, model.fleet.warm_ns
    events, outages = first_room(model.fleet)
    rows = np.zeros((4096, ROW), np.int64)
    while True:
        state = new_state(model.fleet, events, outages)
        if start(tables, state, hold, warm, horizon, seed, future):
            initial = _initial(model, state)
            count = write(tables, state, horizon, seed, future, rows)
            if 0 <= count <= len(rows):
                found: list[tuple[int, ...]] = [tuple(row) for row in rows[:count].tolist()]
                return initial + found
            rows = np.zeros((max(count, len(rows)), ROW), np.int64)
        events, outages = 2 * events, 2 * outages
