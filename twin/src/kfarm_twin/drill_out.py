"""Pods that are out in a drill, and what Kueue does with their Workloads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kfarm_twin.arrays import Floats
from kfarm_twin.drill_cluster import Departure, NodeTimes
from kfarm_twin.drill_floor import PlanFloor


@dataclass(frozen=True)
class Out:
    """A pod that is out: where it stood, and what came of it, or that it stayed.

    Attributes
    ----------
    struck
        Whether a fault struck its node; else it went with the rest of its Workload.
    """

    floor: PlanFloor
    slot: int
    node: NodeTimes
    departure: Departure
    struck: bool = True


@dataclass(frozen=True)
class Turn:
    """What one fault made of a Workload, [F] each; infinite: it did not.

    Attributes
    ----------
    requeued
        Kueue took its admission back.
    readmitted
        It has one again, or another node in place of the failed one.
    """

    fault: str
    requeued: Floats
    readmitted: Floats


def leaves(departure: Departure) -> bool:
    """Whether a pod leaves its node in any future."""
    return bool(np.isfinite(departure.evicted).any())
