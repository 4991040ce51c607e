"""Repairs after the faults of a drill: broken nodes, crews, and who waits.

What the hardware would ask for, not the cluster: a node that was down by power or broke is mended
by a crew, in the order in which it was found; how long that takes is drawn from an exponential
distribution about the farm's mean time to repair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kfarm_twin.arrays import Floats
from kfarm_twin.compile import ClusterRef
from kfarm_twin.drill_delays import Draws

NS = 1e9
BREAKING = frozenset({"DeviceFault", "NodeDown", "Burst"})
"""Actions after which a crew is called; power, switches and pumps are mended, not the nodes."""


@dataclass(frozen=True)
class Broken:
    """A node that waits for a crew from `at` [s] on."""

    node: str
    at: float


@dataclass(frozen=True)
class Repairs:
    """Most nodes waiting at once and seconds until all are mended, [F]; infinite: never."""

    waiting: Floats
    all_mended: Floats


def mean_repair_s(ref: ClusterRef) -> float | None:
    """Mean time to repair over the farm's failure classes, by how often they come [s]."""
    modes = [mode for mode in ref.facts.modes if mode.repair_ns > 0 and mode.rate > 0]
    weight = sum(float(mode.rate) for mode in modes)
    if not weight:
        return None
    return sum(float(mode.rate) * mode.repair_ns for mode in modes) / weight / NS


def crews_left(count: int | None, lost_percent: int) -> int | None:
    """Crews that are left, rounded down; None: as many as are needed."""
    return None if count is None else count * (100 - lost_percent) // 100


def mend(broken: Sequence[Broken], crews: int | None, mean_s: float, draws: Draws) -> Repairs:
    """First come, first served; without a crew nothing is ever mended."""
    ordered = sorted(broken, key=lambda one: (one.at, one.node))
    futures = draws.futures
    if crews == 0:
        return Repairs(np.full(futures, float(len(ordered))), np.full(futures, np.inf))
    servers = np.zeros((min(crews or len(ordered), len(ordered)), futures))
    begun, done = [], []
    for one in ordered:
        first = servers.argmin(axis=0)
        free = np.take_along_axis(servers, first[None], axis=0)[0]
        start = np.maximum(free, one.at)
        over = start + draws.exponential(f"repair/{one.node}/{one.at:g}", mean_s)
        np.put_along_axis(servers, first[None], over[None], axis=0)
        begun.append(start)
        done.append(over)
    starts = np.stack(begun)
    waiting = np.zeros(futures)
    for place, one in enumerate(ordered):
        waiting = np.maximum(waiting, (starts[: place + 1] > one.at).sum(axis=0))
    return Repairs(waiting, np.stack(done).max(axis=0))
