"""Rules on what has `nodes` and `reliability`: a cluster of a farm, or the shape of a TwinRun."""

from __future__ import annotations

from kfarm_api.base import Cel
from kfarm_api.reliability import Reliability
from kfarm_api.units import parse_duration_ns

_DRAINS = "self.reliability.drains"
DRAINS_FIT = Cel(
    f"!has(self.reliability) || !has({_DRAINS})"
    f" || self.nodes * duration({_DRAINS}.duration).getSeconds()"
    f" <= (has({_DRAINS}.atOnce) ? {_DRAINS}.atOnce : 1) * duration({_DRAINS}.every).getSeconds()",
    "nodes x drains.duration must not exceed drains.atOnce x drains.every, else drains fall"
    " behind: drain more nodes at once, or less often",
    lambda owner: drains_fit(owner.nodes, owner.reliability),
)
"""For what has `nodes` and `reliability`."""


def needs_pdus(reliability: Reliability | None) -> bool:
    """Whether a class fails per PDU or takes one down."""
    classes = reliability.classes if reliability else []
    return any("Pdu" in (c.per, c.takes) for c in classes)


def drains_fit(nodes: int, reliability: Reliability | None) -> bool:
    """Whether all nodes can be drained once a period; in whole seconds, as the server counts."""
    drains = None if reliability is None else reliability.drains
    if drains is None:
        return True
    length, period = (parse_duration_ns(t) // 10**9 for t in (drains.duration, drains.every))
    return nodes * length <= drains.at_once * period
