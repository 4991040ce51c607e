"""Which devices of a node each job holds, and which nodes changed: only where heat is played.

A row of `seat` is a node: the job on each device (or EMPTY, LOST), then whether the node stands in
the list of changes, then the list itself, which goes down the column. Without heat the table has no
columns, and nothing is kept.
"""

from __future__ import annotations

from kfarm_twin._jit import inlined, inner
from kfarm_twin.arrays import Ints

EMPTY, LOST = -1, -2
"""Nobody holds the device; it is out of service."""
MORE = 2
"""Columns behind those of the devices."""


@inlined
def touch(seat: Ints, changed: Ints, node: int) -> None:
    """Put a node on the list of changes; `changed[0]` is its length."""
    last = seat.shape[1] - 1
    if seat[node, last - 1] == 0:
        seat[node, last - 1] = 1
        seat[changed[0], last] = node
        changed[0] += 1


@inner
def clear(seat: Ints, changed: Ints) -> None:
    """All devices are free, and all nodes on the list of changes."""
    changed[0] = 0
    if seat.shape[1] > 0:
        seat[:, :] = EMPTY
        seat[:, seat.shape[1] - 2] = 0
        for node in range(seat.shape[0]):
            touch(seat, changed, node)


@inner
def swap(seat: Ints, changed: Ints, node: int, old: int, new: int, most: int) -> int:
    """Up to `most` devices of a node with `old` on them, from the first on, get `new`; how many."""
    count = 0
    for device in range(seat.shape[1] - MORE):
        if count == most:
            break
        if seat[node, device] == old:
            seat[node, device] = new
            count += 1
    if count > 0:
        touch(seat, changed, node)
    return count
