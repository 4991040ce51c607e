"""One future of a fleet as a record, for whoever runs jobs on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kfarm_twin.arrays import Ints
from kfarm_twin.fleet import first_room, new_state
from kfarm_twin.fleet_tables import CompiledFleet
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.kernels.fleet import FULL
from kfarm_twin.kernels.fleet_tell import COLUMNS, tell

ROOM = 4096
"""Rows told at once, beside those of one event."""


@dataclass(frozen=True)
class FleetRecord:
    """What happens to a fleet in one future.

    Attributes
    ----------
    rows
        [M, 6] time [ns], what (`fleet_columns.WENT_DOWN`, ...), node, class, detail, detection
        [ns], in order; what is wrong at the start comes first, at time 0.
    until_ns
        The record ends here.
    """

    fleet: CompiledFleet
    rows: Ints
    until_ns: int


def record(fleet: CompiledFleet, *, seed: int, future: int, until_ns: int) -> FleetRecord:
    """Play one future of a fleet and write it down."""
    events, outages = first_room(fleet)
    while True:
        parts = _told(fleet, events, outages, seed, future, until_ns + 1)
        if parts is not None:
            return FleetRecord(fleet, np.concatenate(parts), until_ns)
        events, outages = 2 * events, 4 * outages


def _told(
    fleet: CompiledFleet, events: int, outages: int, seed: int, future: int, horizon: int
) -> list[Ints] | None:
    """All rows in parts; None where a table had no room."""
    state = new_state(fleet, events, outages)
    most = len(state.changes)
    hold = np.zeros(fleet.nodes, np.int64)
    parts: list[Ints] = []
    while True:
        rows = np.zeros((ROOM + most, COLUMNS), np.int64)
        count = tell(
            fleet.tables, state, hold, rows, not parts, fleet.warm_ns, horizon, seed, future
        )
        if count == FULL:
            return None
        parts.append(rows[:count])
        if count < ROOM:
            return parts


def down_device_s(found: FleetRecord, until_ns: int) -> float:
    """Device time of nodes and single devices out of service from time 0 on [s]."""
    devices = found.fleet.tables.nodes[:, c.DEVICES]
    rows = found.rows[found.rows[:, 0] < until_ns]
    node, what, time = rows[:, 2], rows[:, 1], rows[:, 0]
    total = 0.0
    down: dict[int, int] = {}
    lost: dict[int, tuple[int, int]] = {}

    def leave(at: int, now: int) -> None:
        nonlocal total
        if at in lost:
            since, count = lost[at]
            if at not in down:
                total += count * (now - since) / 1e9

    for at, kind, now in zip(node.tolist(), what.tolist(), time.tolist(), strict=True):
        if kind == c.WENT_DOWN:
            leave(at, now)
            down[at] = now
        elif kind == c.CAME_UP:
            total += int(devices[at]) * (now - down.pop(at)) / 1e9
            if at in lost:
                lost[at] = (now, lost[at][1])
        elif kind in (c.LOST_DEVICE, c.GOT_DEVICE):
            leave(at, now)
            count = lost.get(at, (0, 0))[1] + (1 if kind == c.LOST_DEVICE else -1)
            lost[at] = (now, max(count, 0))
    for at, (since, count) in lost.items():
        if at not in down:
            total += count * (until_ns - since) / 1e9
    return total + sum(int(devices[at]) * (until_ns - since) / 1e9 for at, since in down.items())
