"""An ordered list of jobs in blocks: the waiting queue, what runs by expected end, the next ends.

Entries are ordered by (key, job). A block holds up to `WIDTH` of them side by side, so that an
insertion moves at most that many; `order` lists the blocks. Beside each block stands what a search
needs to pass over it whole: the sum of weights, the least value of each size class and the least
limit. A search for the next job that may be backfilled thus looks at one header per some fifty
waiting jobs, and inside a block only where a job there may do.
"""

from __future__ import annotations

from typing import NamedTuple

from kfarm_twin._jit import inner
from kfarm_twin.arrays import Ints
from kfarm_twin.kernels.rng import FAR_NS

WIDTH = 64
"""Entries of a block (found best of 32, 64 and 128 on the farm week)."""
PLAIN, SUMS, LOWS = 0, 1, 2
"""What headers keep: nothing, the sum of weights, or the least values and limits."""
BLOCKS, ENTRIES, SPARES, KIND = 0, 1, 2, 3
"""Places of `Shelf.meta`."""
META = 4
NONE = -1


class Shelf(NamedTuple):
    """Blocks [B, WIDTH] and their headers [B]; `low` [B, K] by size class."""

    key: Ints
    job: Ints
    size: Ints  # entries in the block
    order: Ints  # block at each place of the list
    spare: Ints  # stack of blocks not in use
    low: Ints  # least value of each class; FAR_NS where the class is absent
    low_limit: Ints
    total: Ints  # sum of weights
    meta: Ints


class Sizes(NamedTuple):
    """What headers are made from, by job [J]."""

    value: Ints  # what the job asks for, in units of its class
    kind: Ints  # class
    limit: Ints  # time that the job may still take, as its user says [ns]
    weight: Ints  # devices (thousandths where capacity is counted)


@inner
def clear(shelf: Shelf, kind: int) -> None:
    """Empty the shelf; all blocks are spare."""
    blocks = shelf.size.shape[0]
    shelf.meta[BLOCKS] = 0
    shelf.meta[ENTRIES] = 0
    shelf.meta[SPARES] = blocks
    shelf.meta[KIND] = kind
    for place in range(blocks):
        shelf.spare[place] = blocks - 1 - place


@inner
def _head(shelf: Shelf, sizes: Sizes, block: int) -> None:
    """Make the header of a block anew."""
    kind = shelf.meta[KIND]
    if kind == SUMS:
        total = 0
        for i in range(shelf.size[block]):
            total += sizes.weight[shelf.job[block, i]]
        shelf.total[block] = total
    elif kind == LOWS:
        least = FAR_NS
        for group in range(shelf.low.shape[1]):
            shelf.low[block, group] = FAR_NS
        for i in range(shelf.size[block]):
            job = shelf.job[block, i]
            group = sizes.kind[job]
            shelf.low[block, group] = min(shelf.low[block, group], sizes.value[job])
            least = min(least, sizes.limit[job])
        shelf.low_limit[block] = least


@inner
def _open(shelf: Shelf, place: int) -> int:
    """Put an empty block at `place` of the list and return it."""
    used = shelf.meta[BLOCKS]
    shelf.meta[SPARES] -= 1
    block = shelf.spare[shelf.meta[SPARES]]
    for i in range(used, place, -1):
        shelf.order[i] = shelf.order[i - 1]
    shelf.order[place] = block
    shelf.meta[BLOCKS] = used + 1
    shelf.size[block] = 0
    shelf.total[block] = 0
    shelf.low_limit[block] = FAR_NS
    for group in range(shelf.low.shape[1]):
        shelf.low[block, group] = FAR_NS
    return int(block)


@inner
def _close(shelf: Shelf, place: int) -> None:
    """Take the block at `place` out of the list."""
    block = shelf.order[place]
    used = shelf.meta[BLOCKS] - 1
    for i in range(place, used):
        shelf.order[i] = shelf.order[i + 1]
    shelf.meta[BLOCKS] = used
    shelf.spare[shelf.meta[SPARES]] = block
    shelf.meta[SPARES] += 1


@inner
def _compact(shelf: Shelf, sizes: Sizes) -> None:
    """Move entries forward until all blocks but the last are full."""
    into = 0
    for place in range(1, shelf.meta[BLOCKS]):
        source = shelf.order[place]
        for i in range(shelf.size[source]):
            target = shelf.order[into]
            if shelf.size[target] == WIDTH:
                into += 1
                target = shelf.order[into]
                if target == source:  # entries move within their own block
                    shelf.size[target] -= i
                    left = shelf.size[target]
                    for k in range(left):
                        shelf.key[target, k] = shelf.key[target, k + i]
                        shelf.job[target, k] = shelf.job[target, k + i]
                    break
                shelf.size[target] = 0
            at = shelf.size[target]
            shelf.key[target, at] = shelf.key[source, i]
            shelf.job[target, at] = shelf.job[source, i]
            shelf.size[target] = at + 1
    while shelf.meta[BLOCKS] > into + 1:
        _close(shelf, shelf.meta[BLOCKS] - 1)
    for place in range(shelf.meta[BLOCKS]):
        _head(shelf, sizes, shelf.order[place])


@inner
def _place_of(shelf: Shelf, key: int, job: int) -> int:
    """The first place whose block ends at or after (key, job), else the last place."""
    low, high = 0, shelf.meta[BLOCKS] - 1
    while low < high:
        middle = (low + high) // 2
        block = shelf.order[middle]
        last = shelf.size[block] - 1
        end = shelf.key[block, last]
        if end < key or (end == key and shelf.job[block, last] < job):
            low = middle + 1
        else:
            high = middle
    return low


@inner
def _within(shelf: Shelf, block: int, key: int, job: int) -> int:
    """Where (key, job) stands or belongs in a block."""
    low, high = 0, shelf.size[block]
    while low < high:
        middle = (low + high) // 2
        found = shelf.key[block, middle]
        if found < key or (found == key and shelf.job[block, middle] < job):
            low = middle + 1
        else:
            high = middle
    return int(low)


@inner
def _split(shelf: Shelf, sizes: Sizes, place: int) -> None:
    """Move the upper half of a full block into a new one behind it."""
    block = shelf.order[place]
    fresh = _open(shelf, place + 1)
    half = WIDTH // 2
    for i in range(half, WIDTH):
        shelf.key[fresh, i - half] = shelf.key[block, i]
        shelf.job[fresh, i - half] = shelf.job[block, i]
    shelf.size[block] = half
    shelf.size[fresh] = WIDTH - half
    _head(shelf, sizes, block)
    _head(shelf, sizes, fresh)


@inner
def insert(shelf: Shelf, sizes: Sizes, key: int, job: int) -> None:
    """Put a job in its place; there is a block for every half `WIDTH` of jobs, which suffices."""
    if shelf.meta[SPARES] == 0:
        _compact(shelf, sizes)
    if shelf.meta[BLOCKS] == 0:
        _open(shelf, 0)
    place = _place_of(shelf, key, job)
    block = shelf.order[place]
    at = _within(shelf, block, key, job)
    if shelf.size[block] == WIDTH:
        if at == WIDTH:
            block, at = _open(shelf, place + 1), 0
        else:
            _split(shelf, sizes, place)
            if at > shelf.size[block]:
                at -= shelf.size[block]
                block = shelf.order[place + 1]
    for i in range(shelf.size[block], at, -1):
        shelf.key[block, i] = shelf.key[block, i - 1]
        shelf.job[block, i] = shelf.job[block, i - 1]
    shelf.key[block, at] = key
    shelf.job[block, at] = job
    shelf.size[block] += 1
    shelf.meta[ENTRIES] += 1
    kind = shelf.meta[KIND]
    if kind == SUMS:
        shelf.total[block] += sizes.weight[job]
    elif kind == LOWS:
        group = sizes.kind[job]
        shelf.low[block, group] = min(shelf.low[block, group], sizes.value[job])
        shelf.low_limit[block] = min(shelf.low_limit[block], sizes.limit[job])


@inner
def remove(shelf: Shelf, sizes: Sizes, key: int, job: int) -> None:
    """Take out a job that is there."""
    place = _place_of(shelf, key, job)
    block = shelf.order[place]
    at = _within(shelf, block, key, job)
    left = shelf.size[block] - 1
    for i in range(at, left):
        shelf.key[block, i] = shelf.key[block, i + 1]
        shelf.job[block, i] = shelf.job[block, i + 1]
    shelf.size[block] = left
    shelf.meta[ENTRIES] -= 1
    if left == 0:
        _close(shelf, place)
        return
    kind = shelf.meta[KIND]
    if kind == SUMS:
        shelf.total[block] -= sizes.weight[job]
    elif kind == LOWS and (
        sizes.value[job] == shelf.low[block, sizes.kind[job]]
        or sizes.limit[job] == shelf.low_limit[block]
    ):
        _head(shelf, sizes, block)


@inner
def first_job(shelf: Shelf) -> int:
    """The first job, or NONE."""
    if shelf.meta[ENTRIES] == 0:
        return NONE
    return int(shelf.job[shelf.order[0], 0])


@inner
def first_key(shelf: Shelf) -> int:
    """Key of the first job, or FAR_NS."""
    if shelf.meta[ENTRIES] == 0:
        return FAR_NS
    return int(shelf.key[shelf.order[0], 0])


@inner
def _may_hold(shelf: Shelf, block: int, short: Ints, long: Ints, window: int) -> bool:
    """Whether a job of the block may do, as far as the header says."""
    timely = shelf.low_limit[block] <= window
    for group in range(shelf.low.shape[1]):
        least = shelf.low[block, group]
        if least <= long[group] or (timely and least <= short[group]):
            return True
    return False


@inner
def next_fit(shelf: Shelf, sizes: Sizes, start: int, short: Ints, long: Ints, window: int) -> int:
    """Place (`place * WIDTH + at`) of the first job from `start` on that may do, or NONE.

    A job of class k does when its value is at most `long[k]`, or at most `short[k]` and its limit
    at most `window` [ns].
    """
    place, at = start // WIDTH, start % WIDTH
    while place < shelf.meta[BLOCKS]:
        block = shelf.order[place]
        if _may_hold(shelf, block, short, long, window):
            for i in range(at, shelf.size[block]):
                job = shelf.job[block, i]
                value, group = sizes.value[job], sizes.kind[job]
                if value <= long[group] or (value <= short[group] and sizes.limit[job] <= window):
                    return int(place * WIDTH + i)
        place += 1
        at = 0
    return NONE


@inner
def job_at(shelf: Shelf, place: int) -> int:
    """The job at a place that `next_fit` gave."""
    return int(shelf.job[shelf.order[place // WIDTH], place % WIDTH])
