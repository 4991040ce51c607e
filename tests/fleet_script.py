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
def write(
    fleet: c.Fleet, state: c.FleetState, hold: Ints, warm: int, horizon: int, seed: int,
    future: int, node: Ints, patient: Ints, rows: Ints,
) -> int:  # fmt: skip
    """Play a fleet; how many rows there are, of which as many as fit are written; -1: no room.

    `node` and `patient` take the state at the start.
    """
    if not begin(fleet, state, hold, warm, horizon, seed, future):
        return -1
    for at in range(node.shape[0]):
        for column in range(node.shape[1]):
            node[at, column] = state.node[at, column]
    for at in range(patient.shape[0]):
        for column in range(patient.shape[1]):
            patient[at, column] = state.patient[at, column]
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


def _initial(model: Model, nodes: Ints, patients: Ints) -> list[tuple[int, ...]]:
    """What is not as new when a future begins, node by node."""
    rows: list[tuple[int, ...]] = []
    for node in range(model.nodes):
        row, patient = nodes[node], patients[node]
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
        nodes, patients = np.zeros_like(state.node), np.zeros_like(state.patient)
        count = write(tables, state, hold, warm, horizon, seed, future, nodes, patients, rows)
        if 0 <= count <= len(rows):
            found: list[tuple[int, ...]] = [tuple(row) for row in rows[:count].tolist()]
            return _initial(model, nodes, patients) + found
        rows = np.zeros((max(count, len(rows)), ROW), np.int64)
        if count < 0:
            events, outages = 2 * events, 2 * outages
