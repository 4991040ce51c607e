"""Nodes that the runner takes down, since a kubelet of their own keeps them up. Pure functions.

Nothing of ours is written to them, so the journal says nothing of them: what the runner notes on
the drill does.
"""

from __future__ import annotations

from collections.abc import Iterator

from kfarm_api.drill import DrillFault
from kfarm_api.drill_status import FailureDrillStatus, TimelineEntry

from kfarm_operator.drills import status as said
from kfarm_operator.drills.situation import Situation
from kfarm_operator.drills.waves import ran, shown_in_cluster, takes_nodes_down


def outside(s: Situation, fault: DrillFault) -> tuple[str, ...]:
    """Targets of a fault that only the runner can take down."""
    if not (takes_nodes_down(fault) and shown_in_cluster(s, fault)):
        return ()
    targets = s.targeted.get(fault.name, ())
    return tuple(name for name in targets if name in s.nodes and not s.nodes[name].kwok)


def struck_outside(s: Situation, status: FailureDrillStatus) -> FailureDrillStatus:
    """The status with a line for each node that the runner has begun to take down."""
    told = {(line.fault, line.object) for line in status.timeline if line.event == "Injected"}
    lines = [line for line in _strikes(s) if (line.fault, line.object) not in told]
    if not lines:
        return status
    return status.model_copy(update={"timeline": said.told(status.timeline, *lines)})


def _strikes(s: Situation) -> Iterator[TimelineEntry]:
    for fault in s.drill.spec.faults:
        begin, _ = ran(s, fault)
        if begin is not None:
            yield from (said.struck(s, begin, fault.name, node) for node in outside(s, fault))


def away(s: Situation) -> dict[str, str]:
    """Nodes that the runner keeps down now, and for which fault."""
    found: dict[str, str] = {}
    for fault in s.drill.spec.faults:
        begin, end = ran(s, fault)
        known = s.progress.get(fault.name)
        # a runner that was killed notes no end; the fault's own comes all the same
        if begin is not None and end is None and known is not None and known.state == "Active":
            found |= dict.fromkeys(outside(s, fault), fault.name)
    return found
