"""Spares and crews by the textbook: Erlang's formulas, and independent repairs without a limit.

A failure takes a node out for a mean time; `load` is failures per time times that mean time, the
mean number of nodes that are out when nobody waits (Erlang). All three hold for any distribution
of the repair but `erlang_c`, which takes it as exponential.
"""

from __future__ import annotations

import math


def erlang_b(servers: int, load: float) -> float:
    """Share of calls that find all `servers` busy and are lost, at an offered `load`.

    B(0) = 1, B(s) = a B(s - 1) / (s + a B(s - 1)).

    References
    ----------
    A. K. Erlang (1917); recursion as in ITU-T E.501.
    """
    blocked = 1.0
    for server in range(1, servers + 1):
        blocked = load * blocked / (server + load * blocked)
    return blocked


def erlang_c(servers: int, load: float) -> float:
    """Share of calls that wait where all `servers` are busy; 1 where the load is too much for them.

    C = s B / (s - a (1 - B)) for a < s.
    """
    if load >= servers:
        return 1.0
    blocked = erlang_b(servers, load)
    return servers * blocked / (servers - load * (1.0 - blocked))


def poisson_tail(least: int, load: float) -> float:
    """Probability that `least` or more are out at once: independent repairs, as many as needed.

    The number out in M/G/oo is Poisson with mean `load`.
    """
    if least <= 0:
        return 1.0
    term, below = math.exp(-load), 0.0
    for count in range(least):
        below += term
        term *= load / (count + 1)
    return max(1.0 - below, 0.0) if below < 0.9999 else _upper(least, load)


def _upper(least: int, load: float) -> float:
    """The tail summed from its head, where 1 less the rest would lose all digits."""
    term = math.exp(-load + least * math.log(load) - math.lgamma(least + 1)) if load > 0 else 0.0
    total, count = 0.0, least
    while term > 1e-18 * total and term > 0.0:
        total += term
        count += 1
        term *= load / count
    return total
