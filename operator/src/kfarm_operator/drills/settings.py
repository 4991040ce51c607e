"""What an installation says about drills."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DrillSettings:
    """The cluster's name, the operator's namespace, and how far any drill may go.

    Attributes
    ----------
    cluster_name
        What `spec.confirm` must say; empty: no drill touches anything.
    max_duration_s
        Bound on `limits.timeToLive` [s].
    """

    cluster_name: str = ""
    namespace: str = "kfarm-system"
    max_nodes: int = 10
    max_percent: int = 10
    domains: int = 1
    max_duration_s: float = 1800.0
