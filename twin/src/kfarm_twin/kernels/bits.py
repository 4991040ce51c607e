"""Sets of integers with the next member found in a few steps: trees of bits, 32 to a word.

A word on one level tells which words below hold a member. Four levels reach a million members.
Words hold 32 bits in an int64, so that plain Python and compiled code agree.
"""

from __future__ import annotations

from kfarm_twin._jit import inlined, inner
from kfarm_twin.arrays import Ints

WORD = 32
LEVELS = 5
"""32**5 = 33.5 million members at most."""
_DE_BRUIJN = 0x077CB531
_MASK = 0xFFFFFFFF
_PLACES = (
    0, 1, 28, 2, 29, 14, 24, 3, 30, 22, 20, 15, 25, 17, 4, 8,
    31, 27, 13, 23, 21, 19, 16, 7, 26, 12, 18, 6, 11, 5, 10, 9,
)  # fmt: skip
"""Leiserson, Prokop and Randall, "Using de Bruijn sequences to index a 1 in a computer word"."""


@inlined
def _lowest(word: int) -> int:
    return _PLACES[(((word & -word) * _DE_BRUIJN) & _MASK) >> 27]


@inner
def _highest(word: int) -> int:
    at = 0
    for step in (16, 8, 4, 2, 1):
        if word >> step:
            word >>= step
            at += step
    return at


@inlined
def add(words: Ints, offsets: Ints, member: int) -> None:
    """Put a member in; `offsets` [LEVELS] says where the words of each level begin."""
    for level in range(LEVELS):
        at = offsets[level] + (member >> 5)
        before = words[at]
        words[at] = before | (1 << (member & 31))
        if before != 0:
            return
        member >>= 5


@inlined
def discard(words: Ints, offsets: Ints, member: int) -> None:
    """Take a member out that is there."""
    for level in range(LEVELS):
        at = offsets[level] + (member >> 5)
        words[at] &= ~(1 << (member & 31))
        if words[at] != 0:
            return
        member >>= 5


@inner
def next_from(words: Ints, offsets: Ints, member: int) -> int:
    """The least member that is not below `member`, or -1."""
    level = 0
    while level < LEVELS:
        index = member >> 5
        at = offsets[level] + index
        if at >= offsets[level + 1]:
            return -1
        word = (words[at] >> (member & 31)) << (member & 31)
        if word != 0:
            member = (index << 5) + _lowest(word)
            while level > 0:
                level -= 1
                member = (member << 5) + _lowest(words[offsets[level] + member])
            return member
        member = index + 1
        level += 1
    return -1


@inner
def last(words: Ints, offsets: Ints) -> int:
    """The greatest member, or -1."""
    if words[offsets[LEVELS - 1]] == 0:
        return -1
    member = 0
    for step in range(LEVELS):
        level = LEVELS - 1 - step
        member = (member << 5) + _highest(words[offsets[level] + member])
    return member
