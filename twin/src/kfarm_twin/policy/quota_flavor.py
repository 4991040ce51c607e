"""How good a flavor is for a workload, and when the search for one goes on.

Modes from the worst to the best, as Kueue 0.19.2 ranks them (proposal 582 and `flavorFungibility`
of the ClusterQueue API).
"""

from __future__ import annotations

from kfarm_twin._jit import inner, spliced

NO_FIT, NO_CANDIDATES, PREEMPT, RECLAIM, FIT = 0, 1, 2, 3, 4
"""Not at all; with preemption, but of nobody; preemption in the own queue; only in others; now."""

BORROWING_FIRST, PREEMPTION_FIRST = 0, 1
"""`flavorFungibility.preference`: to borrow rather than preempt, or the other way round."""

FARTHEST = 1 << 30
"""Borrowing height of no assignment at all."""


@inner
def is_better(mode: int, height: int, other: int, other_height: int, preference: int) -> bool:
    """Whether an assignment is preferred to another one, by mode and borrowing height."""
    if mode == NO_FIT:
        return False
    if other == NO_FIT:
        return True
    if (mode == NO_CANDIDATES) != (other == NO_CANDIDATES):
        return mode != NO_CANDIDATES
    if preference == PREEMPTION_FIRST and height != other_height:
        return height < other_height
    if mode != other:
        return mode > other
    return height < other_height


@spliced
def tries_next(mode: int, height: int, next_when_borrow: int, next_when_preempt: int) -> bool:
    """Whether the next flavor is looked at although this one might do."""
    if mode in (NO_FIT, NO_CANDIDATES):
        return True
    if mode in (PREEMPT, RECLAIM) and next_when_preempt:
        return True
    return bool(height > 0 and next_when_borrow)
