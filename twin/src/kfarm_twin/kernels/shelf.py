"""An ordered list of jobs in blocks: the waiting queue, what runs by expected end, the next ends.

Entries are ordered by (key, job). A block holds up to `WIDTH` of them side by side, so that an
insertion moves at most that many; `order` lists the blocks. Beside each block stands what a search
needs to pass over it whole: the sum of weights, the least value of each size class and the least
limit. A search for the next job that may be backfilled thus looks at one header per some twenty
waiting jobs, and inside a block only where a job there may do.
"""

from __future__ import annotations

from typing import NamedTuple

from kfarm_twin._jit import inlined, inner
from kfarm_twin.arrays import Ints
from kfarm_twin.kernels.columns import KIND, LIMIT, VALUE, WEIGHT
from kfarm_twin.kernels.rng import FAR_NS

WIDTH = 32
"""Entries of a block; with 64 the farm week takes a tenth longer."""
PLAIN, SUMS, LOWS = 0, 1, 2
"""What headers keep: nothing, the sum of weights, or the least values and limits."""
BLOCKS, ENTRIES, SPARES, MADE = 0, 1, 2, 3
"""Places of the last row of `Shelf.lists`; MADE says what headers keep."""
NONE = -1
ORDER, SPARE, META = 0, 1, 2
"""Rows of `Shelf.lists`: block at each place of the list, stack of blocks not in use, scalars."""
SIZE, TOTAL, LEAST, KEYS = 0, 1, 2, 3
JOBS = KEYS + WIDTH
LOW = JOBS + WIDTH
"""Columns of `Shelf.rows`: entries, sum of weights, least limit, keys, jobs, and by size class the
least value (FAR_NS where the class is absent)."""


class Shelf(NamedTuple):
    """Blocks [B] and the list of them."""

    rows: Ints  # [B, LOW + K]
    lists: Ints  # [3, B], B >= 4


@inner
def clear(shelf: Shelf, kind: int) -> None:
    """Empty the shelf; all blocks are spare."""
    blocks = shelf.rows.shape[0]
    shelf.lists[META, BLOCKS] = 0
    shelf.lists[META, ENTRIES] = 0
    shelf.lists[META, SPARES] = blocks
    shelf.lists[META, MADE] = kind
    for place in range(blocks):
        shelf.lists[SPARE, place] = blocks - 1 - place


@inner
def _head(shelf: Shelf, table: Ints, block: int) -> None:
    """Make the header of a block anew."""
    kind = shelf.lists[META, MADE]
    if kind == SUMS:
        total = 0
        for i in range(shelf.rows[block, SIZE]):
            total += table[shelf.rows[block, JOBS + i], WEIGHT]
        shelf.rows[block, TOTAL] = total
    elif kind == LOWS:
        least = FAR_NS
        for group in range(shelf.rows.shape[1] - LOW):
            shelf.rows[block, LOW + group] = FAR_NS
        for i in range(shelf.rows[block, SIZE]):
            job = shelf.rows[block, JOBS + i]
            group = table[job, KIND]
            shelf.rows[block, LOW + group] = min(shelf.rows[block, LOW + group], table[job, VALUE])
            least = min(least, table[job, LIMIT])
        shelf.rows[block, LEAST] = least


@inner
def _open(shelf: Shelf, place: int) -> int:
    """Put an empty block at `place` of the list and return it."""
    used = shelf.lists[META, BLOCKS]
    shelf.lists[META, SPARES] -= 1
    block = shelf.lists[SPARE, shelf.lists[META, SPARES]]
    for i in range(used, place, -1):
        shelf.lists[ORDER, i] = shelf.lists[ORDER, i - 1]
    shelf.lists[ORDER, place] = block
    shelf.lists[META, BLOCKS] = used + 1
    shelf.rows[block, SIZE] = 0
    shelf.rows[block, TOTAL] = 0
    shelf.rows[block, LEAST] = FAR_NS
    for group in range(shelf.rows.shape[1] - LOW):
        shelf.rows[block, LOW + group] = FAR_NS
    return int(block)


@inner
def _close(shelf: Shelf, place: int) -> None:
    """Take the block at `place` out of the list."""
    block = shelf.lists[ORDER, place]
    used = shelf.lists[META, BLOCKS] - 1
    for i in range(place, used):
        shelf.lists[ORDER, i] = shelf.lists[ORDER, i + 1]
    shelf.lists[META, BLOCKS] = used
    shelf.lists[SPARE, shelf.lists[META, SPARES]] = block
    shelf.lists[META, SPARES] += 1


@inner
def _compact(shelf: Shelf, table: Ints) -> None:
    """Move entries forward until all blocks but the last are full."""
    into = 0
    for place in range(1, shelf.lists[META, BLOCKS]):
        source = shelf.lists[ORDER, place]
        for i in range(shelf.rows[source, SIZE]):
            target = shelf.lists[ORDER, into]
            if shelf.rows[target, SIZE] == WIDTH:
                into += 1
                target = shelf.lists[ORDER, into]
                if target == source:  # entries move within their own block
                    shelf.rows[target, SIZE] -= i
                    left = shelf.rows[target, SIZE]
                    for k in range(left):
                        shelf.rows[target, KEYS + k] = shelf.rows[target, KEYS + k + i]
                        shelf.rows[target, JOBS + k] = shelf.rows[target, JOBS + k + i]
                    break
                shelf.rows[target, SIZE] = 0
            at = shelf.rows[target, SIZE]
            shelf.rows[target, KEYS + at] = shelf.rows[source, KEYS + i]
            shelf.rows[target, JOBS + at] = shelf.rows[source, JOBS + i]
            shelf.rows[target, SIZE] = at + 1
    while shelf.lists[META, BLOCKS] > into + 1:
        _close(shelf, shelf.lists[META, BLOCKS] - 1)
    for place in range(shelf.lists[META, BLOCKS]):
        _head(shelf, table, shelf.lists[ORDER, place])


@inlined
def _place_of(shelf: Shelf, key: int, job: int) -> int:
    """The first place whose block ends at or after (key, job), else the last place."""
    low, high = 0, shelf.lists[META, BLOCKS] - 1
    while low < high:
        middle = (low + high) // 2
        block = shelf.lists[ORDER, middle]
        last = shelf.rows[block, SIZE] - 1
        end = shelf.rows[block, KEYS + last]
        if end < key or (end == key and shelf.rows[block, JOBS + last] < job):
            low = middle + 1
        else:
            high = middle
    return low


@inlined
def _within(shelf: Shelf, block: int, key: int, job: int) -> int:
    """Where (key, job) stands or belongs in a block."""
    low, high = 0, shelf.rows[block, SIZE]
    while low < high:
        middle = (low + high) // 2
        found = shelf.rows[block, KEYS + middle]
        if found < key or (found == key and shelf.rows[block, JOBS + middle] < job):
            low = middle + 1
        else:
            high = middle
    return int(low)


@inner
def _split(shelf: Shelf, table: Ints, place: int) -> None:
    """Move the upper half of a full block into a new one behind it."""
    block = shelf.lists[ORDER, place]
    fresh = _open(shelf, place + 1)
    half = WIDTH // 2
    for i in range(half, WIDTH):
        shelf.rows[fresh, KEYS + i - half] = shelf.rows[block, KEYS + i]
        shelf.rows[fresh, JOBS + i - half] = shelf.rows[block, JOBS + i]
    shelf.rows[block, SIZE] = half
    shelf.rows[fresh, SIZE] = WIDTH - half
    _head(shelf, table, block)
    _head(shelf, table, fresh)


@inner
def insert(shelf: Shelf, table: Ints, key: int, job: int) -> None:
    """Put a job in its place; there is a block for every half `WIDTH` of jobs, which suffices."""
    if shelf.lists[META, SPARES] == 0:
        _compact(shelf, table)
    if shelf.lists[META, BLOCKS] == 0:
        _open(shelf, 0)
    place = _place_of(shelf, key, job)
    block = shelf.lists[ORDER, place]
    at = _within(shelf, block, key, job)
    if shelf.rows[block, SIZE] == WIDTH:
        if at == WIDTH:
            block, at = _open(shelf, place + 1), 0
        else:
            _split(shelf, table, place)
            if at > shelf.rows[block, SIZE]:
                at -= shelf.rows[block, SIZE]
                block = shelf.lists[ORDER, place + 1]
    for i in range(shelf.rows[block, SIZE], at, -1):
        shelf.rows[block, KEYS + i] = shelf.rows[block, KEYS + i - 1]
        shelf.rows[block, JOBS + i] = shelf.rows[block, JOBS + i - 1]
    shelf.rows[block, KEYS + at] = key
    shelf.rows[block, JOBS + at] = job
    shelf.rows[block, SIZE] += 1
    shelf.lists[META, ENTRIES] += 1
    kind = shelf.lists[META, MADE]
    if kind == SUMS:
        shelf.rows[block, TOTAL] += table[job, WEIGHT]
    elif kind == LOWS:
        group = table[job, KIND]
        shelf.rows[block, LOW + group] = min(shelf.rows[block, LOW + group], table[job, VALUE])
        shelf.rows[block, LEAST] = min(shelf.rows[block, LEAST], table[job, LIMIT])


@inner
def remove(shelf: Shelf, table: Ints, key: int, job: int) -> None:
    """Take out a job that is there."""
    place = _place_of(shelf, key, job)
    block = shelf.lists[ORDER, place]
    at = _within(shelf, block, key, job)
    left = shelf.rows[block, SIZE] - 1
    for i in range(at, left):
        shelf.rows[block, KEYS + i] = shelf.rows[block, KEYS + i + 1]
        shelf.rows[block, JOBS + i] = shelf.rows[block, JOBS + i + 1]
    shelf.rows[block, SIZE] = left
    shelf.lists[META, ENTRIES] -= 1
    if left == 0:
        _close(shelf, place)
        return
    kind = shelf.lists[META, MADE]
    if kind == SUMS:
        shelf.rows[block, TOTAL] -= table[job, WEIGHT]
    elif kind == LOWS and (
        table[job, VALUE] == shelf.rows[block, LOW + table[job, KIND]]
        or table[job, LIMIT] == shelf.rows[block, LEAST]
    ):
        _head(shelf, table, block)


@inlined
def first_job(shelf: Shelf) -> int:
    """The first job, or NONE."""
    if shelf.lists[META, ENTRIES] == 0:
        return NONE
    return int(shelf.rows[shelf.lists[ORDER, 0], JOBS + 0])


@inner
def last_job(shelf: Shelf) -> int:
    """The last job, or NONE."""
    if shelf.lists[META, ENTRIES] == 0:
        return NONE
    block = shelf.lists[ORDER, shelf.lists[META, BLOCKS] - 1]
    return int(shelf.rows[block, JOBS + shelf.rows[block, SIZE] - 1])


@inlined
def first_key(shelf: Shelf) -> int:
    """Key of the first job, or FAR_NS."""
    if shelf.lists[META, ENTRIES] == 0:
        return FAR_NS
    return int(shelf.rows[shelf.lists[ORDER, 0], KEYS + 0])


@inner
def _may_hold(shelf: Shelf, block: int, short: Ints, long: Ints, window: int) -> bool:
    """Whether a job of the block may do, as far as the header says."""
    timely = shelf.rows[block, LEAST] <= window
    for group in range(shelf.rows.shape[1] - LOW):
        least = shelf.rows[block, LOW + group]
        if least <= long[group] or (timely and least <= short[group]):
            return True
    return False


@inner
def next_fit(shelf: Shelf, table: Ints, start: int, short: Ints, long: Ints, window: int) -> int:
    """Place (`place * WIDTH + at`) of the first job from `start` on that may do, or NONE.

    A job of class k does when its value is at most `long[k]`, or at most `short[k]` and its limit
    at most `window` [ns].
    """
    place, at = start // WIDTH, start % WIDTH
    while place < shelf.lists[META, BLOCKS]:
        block = shelf.lists[ORDER, place]
        if _may_hold(shelf, block, short, long, window):
            for i in range(at, shelf.rows[block, SIZE]):
                job = shelf.rows[block, JOBS + i]
                value, group = table[job, VALUE], table[job, KIND]
                if value <= long[group] or (value <= short[group] and table[job, LIMIT] <= window):
                    return int(place * WIDTH + i)
        place += 1
        at = 0
    return NONE


@inner
def job_at(shelf: Shelf, place: int) -> int:
    """The job at a place that `next_fit` gave."""
    return int(shelf.rows[shelf.lists[ORDER, place // WIDTH], JOBS + place % WIDTH])
