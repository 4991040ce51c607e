"""STUB of the engine: a script."""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.arrays import Fleet, FleetState
from kfarm_twin.kernels.rng import FAR_NS

WENT_DOWN, CAME_UP, LOST_DEVICE, GOT_DEVICE, SPEED, CORRUPTED = range(6)
FAULT, ALARM, DRAIN, FOUND_CORRUPT = range(4)
WHAT, NODE, CLASS, DETAIL, DETECTION_NS = range(5)


@inner
def begin(fleet: Fleet, state: FleetState, seed: int, future: int, warmup_ns: int) -> bool:
    """STUB."""
    state.at[0] = 0
    return True


@inner
def next_time(fleet: Fleet, state: FleetState) -> int:
    """STUB."""
    if state.at[0] >= fleet.rows.shape[0]:
        return FAR_NS
    return int(fleet.rows[state.at[0], 0])


@inner
def step(fleet: Fleet, state: FleetState, seed: int, future: int) -> int:
    """STUB."""
    for i in range(5):
        state.changes[0, i] = fleet.rows[state.at[0], 1 + i]
    state.at[0] += 1
    return 1
