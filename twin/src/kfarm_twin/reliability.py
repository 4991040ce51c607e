"""Failure classes of a cluster: named references from published studies, or the cluster's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

import yaml
from kfarm_api.farm import Cluster
from kfarm_api.reliability import repair_ns
from kfarm_api.units import parse_decimal, parse_duration_ns

from kfarm_twin.request import InputError

NS_PER_DAY = 86_400 * 10**9
PER_NODE_DAYS = 1000


@dataclass(frozen=True)
class FailureMode:
    """A class of failures of a node.

    Attributes
    ----------
    rate
        Failures per 1,000 node-days.
    repair_ns
        Mean time to repair [ns].
    """

    name: str
    rate: Decimal
    repair_ns: int

    @property
    def rate_per_ns(self) -> float:
        """Hazard of one node [1/ns]."""
        return float(self.rate) / PER_NODE_DAYS / NS_PER_DAY


@dataclass(frozen=True)
class Reference:
    """A published study, or an assumption that says so."""

    name: str
    summary: str
    source: str
    confidence: str
    repair_source: str
    repair_confidence: str
    modes: tuple[FailureMode, ...]


def _reference(name: str, entry: dict[str, Any]) -> Reference:
    modes = tuple(
        FailureMode(label, parse_decimal(mode["rate"]), parse_duration_ns(mode["repair"]))
        for label, mode in entry["classes"].items()
    )
    return Reference(
        name=name,
        summary=entry["summary"],
        source=entry["source"],
        confidence=entry["confidence"],
        repair_source=entry["repairSource"],
        repair_confidence=entry["repairConfidence"],
        modes=modes,
    )


@cache
def references() -> dict[str, Reference]:
    """All named references, by name."""
    text = files("kfarm_twin").joinpath("data/reliability.yaml").read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    entries = yaml.load(text, Loader=loader)["references"]  # noqa: S506 - a safe loader
    return {name: _reference(name, entry) for name, entry in entries.items()}


def failure_modes(cluster: Cluster, where: str) -> tuple[FailureMode, ...]:
    """Classes of a cluster: the reference's, replaced or joined by the cluster's own of that name.

    `meanTimeToRepair` of the cluster replaces that of the reference's classes. Classes with a rate
    of one rack, leaf, PDU, CDU or plant are not among them.

    Raises
    ------
    InputError
        When the reference is not known.
    """
    declared = cluster.reliability
    modes: dict[str, FailureMode] = {}
    if declared.reference is not None:
        known = references()
        if declared.reference not in known:
            raise InputError(
                f"{where}.reliability.reference",
                repr(declared.reference),
                f"one of {', '.join(sorted(known))}, or classes of your own",
            )
        modes = {mode.name: mode for mode in known[declared.reference].modes}
        if declared.mean_time_to_repair is not None:
            mean = parse_duration_ns(declared.mean_time_to_repair)
            modes = {name: replace(mode, repair_ns=mean) for name, mode in modes.items()}
    for own in declared.classes:
        if own.failures_per_1000_node_days is None:
            modes.pop(own.name, None)
            continue
        rate = parse_decimal(own.failures_per_1000_node_days)
        modes[own.name] = FailureMode(own.name, rate, repair_ns(own))
    return tuple(mode for mode in modes.values() if mode.rate > 0)
