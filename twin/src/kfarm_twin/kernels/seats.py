"""Which devices of a node each job holds, how fast heat lets them be, and which nodes changed.

Kept in columns of the table of nodes behind the others, and only where heat is played: without, the
table ends before them.
"""

from __future__ import annotations

from kfarm_twin._jit import inlined, inner
from kfarm_twin.arrays import Ints

EMPTY, LOST = -1, -2
"""Nobody holds the device; it is out of service."""
FULL_PPM = 1_000_000
CHANGED = 8
"""Place of `Pool.meta`: nodes in the list of changes."""
MARK, LIST = 12, 13
"""Columns: whether the node stands in the list of changes; the list, which goes down the column."""
SEATS = 28
"""First of the columns of the devices: the job on each, then the speed of each [ppm]."""


@inlined
def is_kept(hot: tuple[int, ...]) -> bool:
    """Whether heat is played: known when kernels are compiled, by the length of a tuple."""
    return len(hot) > 0


@inlined
def devices(table: Ints) -> int:
    """Devices of a node; 0 without heat."""
    return int(max(table.shape[1] - SEATS, 0) // 2)


@inlined
def touch(table: Ints, meta: Ints, node: int) -> None:
    """Put a node on the list of changes."""
    if table[node, MARK] == 0:
        table[node, MARK] = 1
        table[meta[CHANGED], LIST] = node
        meta[CHANGED] += 1


@inner
def clear(table: Ints, meta: Ints) -> None:
    """All devices are free and at full speed, and all nodes on the list of changes."""
    count = devices(table)
    table[:, MARK] = 0
    table[:, SEATS : SEATS + count] = EMPTY
    table[:, SEATS + count : SEATS + 2 * count] = FULL_PPM
    for node in range(table.shape[0]):
        touch(table, meta, node)


@inner
def swap(table: Ints, meta: Ints, node: int, old: int, new: int, most: int) -> int:
    """Up to `most` devices of a node with `old` on them, from the first on, get `new`; how many."""
    count = 0
    for column in range(SEATS, SEATS + devices(table)):
        if count == most:
            break
        if table[node, column] == old:
            table[node, column] = new
            count += 1
    if count > 0:
        touch(table, meta, node)
    return count


@inner
def slowest(table: Ints, node: int, job: int) -> int:
    """Speed of the slowest device of a node that a job holds [ppm]."""
    count, least = devices(table), FULL_PPM
    for column in range(SEATS, SEATS + count):
        if table[node, column] == job:
            least = min(least, table[node, column + count])
    return int(least)
