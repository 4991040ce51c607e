"""The random numbers of Go's ``math/rand``, so that a seed means what it means to a Go program.

An additive lagged Fibonacci generator: y[n] = y[n-607] + y[n-273] modulo 2**64 (D. P. Mitchell and
J. A. Reeds; Go's ``src/math/rand/rng.go``). Its seeding mixes a multiplicative congruential
generator (48271 x modulo 2**31 - 1) with the generator's own state after 7.8e12 steps from seed 1.
Go keeps that state as a table; here it is computed, by a power of x modulo the characteristic
polynomial. ``Intn``, ``Shuffle`` and ``Perm`` are those of Go 1.10 and later.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

LENGTH, TAP = 607, 273
MODULUS = (1 << 31) - 1
MULTIPLIER = 48_271
ZERO_SEED = 89_482_311
"""What stands for seed 0."""
DISCARDED = 20
"""Numbers of the congruential generator that are thrown away first."""
COOKED_STEPS = 7_800_000_000_000
LOW_63 = (1 << 63) - 1
LOW_32 = (1 << 32) - 1

Words = NDArray[np.uint64]


def _seeded(seed: int, shifts: tuple[int, int]) -> Words:
    """State from the congruential generator: three numbers for each word."""
    x = seed % MODULUS or ZERO_SEED
    for _ in range(DISCARDED):
        x = x * MULTIPLIER % MODULUS
    words = []
    for _ in range(LENGTH):
        word = 0
        for shift in (*shifts, 0):
            x = x * MULTIPLIER % MODULUS
            word ^= x << shift
        words.append(word & ((1 << 64) - 1))
    return np.array(words, dtype=np.uint64)


def _in_order(words: Words) -> Words:
    """A state as Go keeps it (filled from the end, 334 first), oldest word first; and back."""
    return np.roll(words[::-1], LENGTH - TAP)


def _reduced(product: Words) -> Words:
    """A polynomial of degree up to 1,212 modulo x**607 - x**334 - 1."""
    for low in (940, 667, LENGTH):
        high = product[low : low + TAP] if low > LENGTH else product[LENGTH:667]
        high = high.copy()
        product[low - TAP : low - TAP + high.size] += high
        product[low - LENGTH : low - LENGTH + high.size] += high
    return product[:LENGTH]


def _power(steps: int) -> Words:
    """x**steps modulo the characteristic polynomial."""
    found = np.zeros(LENGTH, dtype=np.uint64)
    found[0] = 1
    for bit in bin(steps)[2:]:
        square = np.zeros(2 * LENGTH - 1, dtype=np.uint64)
        for place, value in enumerate(found):
            square[place : place + LENGTH] += value * found
        found = _reduced(square)
        if bit == "1":
            found = np.roll(found, 1)
            found[LENGTH - TAP : LENGTH - TAP + 1] += found[:1]  # slices wrap without a warning
    return found


@cache
def _cooked() -> Words:
    """Go's table: its generator's state 7.8e12 steps after seed 1, as Go keeps it."""
    sequence = _extended(_in_order(_seeded(1, (20, 10))), LENGTH)
    power = _power(COOKED_STEPS)
    later = np.array(
        [(power * sequence[place : place + LENGTH]).sum() for place in range(LENGTH)],
        dtype=np.uint64,
    )
    feed = (LENGTH - TAP - COOKED_STEPS) % LENGTH
    table = np.empty(LENGTH, dtype=np.uint64)
    table[(feed - 1 - np.arange(LENGTH)) % LENGTH] = later
    return table


def _extended(sequence: Words, count: int) -> Words:
    """The sequence with at least `count` more numbers."""
    blocks = -(-count // TAP)
    longer = np.empty(sequence.size + blocks * TAP, dtype=np.uint64)
    longer[: sequence.size] = sequence
    for place in range(sequence.size, longer.size, TAP):
        older = longer[place - LENGTH : place - LENGTH + TAP]
        longer[place : place + TAP] = older + longer[place - TAP : place]
    return longer


class GoRandom:
    """A source seeded as ``rand.Seed(seed)`` does."""

    def __init__(self, seed: int) -> None:
        state = _seeded(seed, (40, 20)) ^ _cooked()
        self._sequence = _in_order(state)
        self._ready: list[int] = []
        self._place = 0

    def int63(self) -> int:
        """A number below 2**63."""
        if self._place == len(self._ready):
            longer = _extended(self._sequence, 32 * TAP)
            self._ready = (longer[LENGTH:] & np.uint64(LOW_63)).tolist()
            self._sequence, self._place = longer[-LENGTH:], 0
        self._place += 1
        return self._ready[self._place - 1]

    def below(self, count: int) -> int:
        """A number below `count`, itself below 2**31 (``Intn``)."""
        if count & (count - 1) == 0:
            return (self.int63() >> 32) & (count - 1)
        most = MODULUS - (MODULUS + 1) % count
        value = self.int63() >> 32
        while value > most:
            value = self.int63() >> 32
        return value % count

    def shuffle(self, values: list[int]) -> None:
        """Shuffle in place (``Shuffle``)."""
        for place in range(len(values) - 1, 0, -1):
            other = self._scaled(place + 1)
            values[place], values[other] = values[other], values[place]

    def _scaled(self, count: int) -> int:
        """As `below`, by multiplication (``int31n``)."""
        product = (self.int63() >> 31) * count
        if product & LOW_32 < count:
            least = (1 << 32) % count
            while product & LOW_32 < least:
                product = (self.int63() >> 31) * count
        return product >> 32

    def permutation(self, count: int) -> list[int]:
        """The numbers below `count` in random order (``Perm``)."""
        values: list[int] = []
        for place in range(count):
            other = self.below(place + 1)
            values.append(place)
            values[place], values[other] = values[other], place
        return values
