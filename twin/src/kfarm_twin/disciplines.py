"""Names of how the farm driver schedules; light, so that the command line can offer them."""

from __future__ import annotations

from enum import StrEnum


class Order(StrEnum):
    """Who goes first, among jobs of one priority."""

    FIFO = "fifo"
    SJF = "sjf"
    SRTF = "srtf"


class Backfill(StrEnum):
    """Who may go before a job that cannot start."""

    NONE = "none"
    EASY = "easy"
    CONSERVATIVE = "conservative"


class Placement(StrEnum):
    """How devices are found: counted, or on named nodes by a policy.

    ``thermal-aware`` needs heat to be played. The last four are for devices that pods may share
    (Weng et al., USENIX ATC'23).
    """

    COUNT = "count"
    FIRST_FIT = "first-fit"
    BEST_FIT = "best-fit"
    SPREAD = "spread"
    RANDOM = "random"
    THERMAL_AWARE = "thermal-aware"
    DOT_PROD = "dotprod"
    GPU_CLUSTERING = "gpu-clustering"
    GPU_PACKING = "gpu-packing"
    FGD = "fgd"


SHARING = (Placement.DOT_PROD, Placement.GPU_CLUSTERING, Placement.GPU_PACKING, Placement.FGD)
"""Policies that know shared devices only."""


class Level(StrEnum):
    """Topology levels, from the narrowest."""

    NODE = "node"
    RACK = "rack"
    UNIT = "scalable-unit"
    CLUSTER = "cluster"
