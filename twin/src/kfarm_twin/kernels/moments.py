"""States of all racks at moments chosen beforehand, for the report's floor map."""

from __future__ import annotations

from kfarm_twin._jit import inner
from kfarm_twin.arrays import EventLog, State


@inner
def note_moments(state: State, log: EventLog, until: int) -> None:
    """Write the racks at those moments that come before `until`, while the present state lasts."""
    moments = log.moments
    while log.size[2] < moments.time_ns.shape[0]:
        at = log.size[2]
        if moments.time_ns[at] >= until:
            return
        for rack in range(state.nodes.rack_mw.shape[0]):
            moments.rack_mw[at, rack] = state.nodes.rack_mw[rack]
        log.size[2] = at + 1
