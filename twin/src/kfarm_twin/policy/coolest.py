"""Thermal-aware placement: the node furthest below its limit goes first.

The *headroom* of a node is what its hottest device would stay below its throttle limit in steady
state, at its full power, with the jobs that run now::

    headroom = T_throttle - R P_full - T_inlet
    T_inlet  = T_supply + k_rack W_rack + k_rise W_node           (air; W: heat to air)
    T_supply = max(setpoint, T_water + Q_zone / U)                (Q: heat of the zone)

with the resistance R of the worst device of the node at full flow. Racks warm their inlets by
recirculation, ``k_rack = r / (1 - r) / (rho c_p V)``; liquid-cooled devices breathe no air. Each
pod goes to the node with most headroom among those that will do, ties to the fewest free devices,
then the lowest index. A pod adds about the same to each node that it may go to, so that to rank
nodes before or after is the same where racks are alike.

That is the greedy form of "minimise the highest inlet temperature": Moore, Chase, Ranganathan and
Sharma, "Making Scheduling 'Cool'", USENIX ATC 2005 (zones by their recirculation), and Tang, Gupta
and Varsamopoulos, "Energy-Efficient Thermal-Aware Task Scheduling for Homogeneous High-Performance
Computing Data Centers", IEEE TPDS 19(11), 2008 (XInt); with the limit of the device, not that of
the inlet, in view. Headroom is looked at in steps of `STEP_MK`, so that a node moves in its index
only when it matters.
"""

from __future__ import annotations

from kfarm_twin._jit import inlined, inner

STEP_MK = 500
"""Differences of headroom below this do not count [mK]: that of sensors."""
STEPS = 64
"""Most steps that are told apart: 32 K."""


@inlined
def step_of(headroom_mk: int, top_mk: int, steps: int) -> int:
    """How many steps a node is below the best one, in 0..steps - 1."""
    return min(max(top_mk - headroom_mk, 0) // STEP_MK, steps - 1)


@inner
def excess_mk(wanted_mk: int, before_mk: int) -> int:
    """How far a zone's steady supply is above its setpoint [mK], in whole steps.

    Kept while it is less than a step off, so that a zone at its limit does not move all its nodes
    with each job.
    """
    excess = max(wanted_mk, 0)
    if abs(excess - before_mk) < STEP_MK and (excess > 0 or before_mk == 0):
        return before_mk
    return excess // STEP_MK * STEP_MK
