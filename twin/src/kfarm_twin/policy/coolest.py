"""Thermal-aware placement: the node furthest below its limit goes first.

The *headroom* of a node is what its hottest device would stay below its throttle limit in steady
state, at its full power, with the jobs that run now::

    headroom = T_throttle - R P_full - T_inlet
    T_inlet  = T_supply + k_rack W_rack + k_rise W_node           (air; W: heat to air)
    T_supply = max(setpoint, T_water + Q_zone / U)                (Q: heat of the zone)

with the resistance R of the worst device of the node at full flow. Racks warm their inlets by
recirculation, ``k_rack = r / (1 - r) / (rho c_p V)``; liquid-cooled devices breathe no air. Each pod
goes to the node with most headroom among those that will do, ties to the fewest free devices, then
the lowest index. A pod adds about the same to each node that it may go to, so that to rank nodes
before or after is the same where racks are alike.

That is the greedy form of "minimise the highest inlet temperature": Moore, Chase, Ranganathan and
Sharma, "Making Scheduling 'Cool'", USENIX ATC 2005 (zones by their recirculation), and Tang, Gupta
and Varsamopoulos, "Energy-Efficient Thermal-Aware Task Scheduling for Homogeneous High-Performance
Computing Data Centers", IEEE TPDS 19(11), 2008 (XInt); with the limit of the device, not that of
the inlet, in view. Headroom is looked at in steps of `STEP_K`, so that a node moves in its index
only when it matters.
"""

from __future__ import annotations

from kfarm_twin._jit import inlined, inner

STEP_K = 0.5
"""Differences of headroom below this do not count [K]: that of sensors."""
STEPS = 64
"""Most steps that are told apart: 32 K."""


@inlined
def step_of(headroom_k: float, top_k: float, steps: int) -> int:
    """How many steps a node is below the best one, in 0..steps - 1."""
    return min(max(int((top_k - headroom_k) / STEP_K), 0), steps - 1)


@inner
def excess_k(watts: float, k_per_w: float, slack_k: float, before_k: float) -> float:
    """How far a zone's steady supply is above its setpoint [K], in steps.

    Kept at `before_k` while that is less than a step off, so that a zone at its limit does not move
    all its nodes with each job.
    """
    excess = max(watts * k_per_w - slack_k, 0.0)
    if -STEP_K < excess - before_k < STEP_K and (excess > 0.0 or before_k == 0.0):
        return before_k
    return int(excess / STEP_K) * STEP_K
