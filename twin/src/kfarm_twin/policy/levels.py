"""Which nodes a gang takes in the farm driver: topology levels and plain packing policies.

*Required* level: the whole gang goes into one domain of that level. *Preferred* level: inside it,
into as few domains of that level as it takes: the one with least room that takes all the rest,
else the one with most room, and so on.

The policy says which domain, and which node inside it, among those that will do:

- first fit: the lowest index;
- best fit: least room (nodes: fewest free devices), ties to the lowest index;
- spread: most room (nodes: most free devices), ties to the lowest index;
- random: uniformly, by drawing up to `DRAWS` times; where none of these will do, the next one in
  cyclic order from the last draw;
- thermal-aware: most headroom to the throttle limit, see `policy.coolest` (domains: on average over
  their nodes).

First and best fit put as many pods on the chosen node as it takes, the others one at a time.
"""

from __future__ import annotations

from kfarm_twin._jit import inner

FIRST_FIT, BEST_FIT, SPREAD, RANDOM, THERMAL_AWARE = 1, 2, 3, 4, 5
"""Codes of placement; 0 counts devices and knows no nodes."""
COUNT = 0
DRAWS = 64
DRAW_DOMAIN, DRAW_NODE = 101, 102
"""Purposes of random numbers."""


@inner
def pods_on(placement: int, room: int, left: int) -> int:
    """Pods of a gang that go to the chosen node at once."""
    if placement in (FIRST_FIT, BEST_FIT):
        return min(room, left)
    return 1


@inner
def better_part(room: int, best: int, left: int) -> bool:
    """Whether a domain of the preferred level is better than the best so far (-1: none yet)."""
    if room <= 0:
        return False
    if best < 0:
        return True
    if room >= left:
        return best < left or room < best
    return best < left and room > best
