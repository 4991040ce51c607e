"""What an installation says about drills."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from kfarm_api.units import parse_duration_ns

IN_A_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
DEFAULT_NAMESPACE = "kfarm-system"
MOST_OF_A_NAME = 63


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
    namespace: str = DEFAULT_NAMESPACE
    max_nodes: int = 10
    max_percent: int = 10
    domains: int = 1
    max_duration_s: float = 1800.0


def add_drill_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the operator that concern drills."""
    default = DrillSettings()
    parser.add_argument(
        "--cluster-name", default="", help="what spec.confirm of a drill must say; empty: dry runs"
    )
    parser.add_argument(
        "--namespace", default=None, help="where locks and the kill switch of drills are"
    )
    parser.add_argument("--drill-max-nodes", type=int, default=default.max_nodes)
    parser.add_argument("--drill-max-percent", type=int, default=default.max_percent)
    parser.add_argument("--drill-domains", type=int, default=default.domains)
    parser.add_argument(
        "--drill-max-duration", default="30m", help="bound on timeToLive of a drill, such as 30m"
    )


def drill_settings(arguments: argparse.Namespace) -> DrillSettings:
    """The settings that the command line gives.

    Raises
    ------
    ValueError
        When a limit is no number above zero, a duration is none or the name is too long.
    """
    for name in ("max_nodes", "max_percent", "domains"):
        value = getattr(arguments, f"drill_{name}")
        if value < 1:
            option = name.replace("_", "-")
            raise ValueError(f"--drill-{option} {value}: at least 1")
    if len(arguments.cluster_name) > MOST_OF_A_NAME:
        raise ValueError(f"--cluster-name: at most {MOST_OF_A_NAME} characters, as spec.confirm")
    namespace = arguments.namespace
    if namespace is None:
        namespace = IN_A_POD.read_text().strip() if IN_A_POD.exists() else DEFAULT_NAMESPACE
    return DrillSettings(
        cluster_name=arguments.cluster_name,
        namespace=namespace,
        max_nodes=arguments.drill_max_nodes,
        max_percent=arguments.drill_max_percent,
        domains=arguments.drill_domains,
        max_duration_s=parse_duration_ns(arguments.drill_max_duration) / 1e9,
    )
