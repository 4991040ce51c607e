"""Switches of a scale-out network of accelerators, one port each (rail-optimised fat trees)."""

from __future__ import annotations

from dataclasses import dataclass

RADIX = 64
"""Ports of a switch: 64 of 400 Gbit/s (Quantum-2)."""


@dataclass(frozen=True)
class Switches:
    """Switches by tier, and cables of each pair of tiers (node to leaf, leaf to spine, ...)."""

    leaf: int
    spine: int
    core: int
    cables: tuple[int, ...]

    @property
    def total(self) -> int:
        """All switches."""
        return self.leaf + self.spine + self.core


def fabric_switches(
    endpoints: int, nodes_per_unit: int, rails: int, radix: int = RADIX
) -> Switches:
    """Switches of a non-blocking fat tree.

    A leaf has half its ports down. With at most radix^2 / 2 endpoints spines have all ports down;
    beyond, spines have half of them up to cores. Each scalable unit has its own leaves, one for
    each rail where its nodes fill it: that is how NVIDIA's reference architecture counts (B200,
    NDR: 64 / 32 / 0 for 8 units of 32 nodes, 128 / 128 / 64 for 16).

    Parameters
    ----------
    endpoints
        Accelerators, each with a port of its own.
    nodes_per_unit, rails
        Nodes of a scalable unit, accelerators of a node.
    """
    half = radix // 2
    unit = nodes_per_unit * rails
    full, rest = divmod(endpoints, unit)
    leaf = full * -(-unit // half) + -(-rest // half)
    if leaf <= 1:
        return Switches(leaf, 0, 0, (endpoints,))
    up = leaf * half
    if up <= radix * half:
        return Switches(leaf, -(-up // radix), 0, (endpoints, up))
    spine = -(-up // half)
    return Switches(leaf, spine, -(-spine * half // radix), (endpoints, up, spine * half))
