"""Failure classes of a cluster: named references from published studies, or the cluster's own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

import yaml
from kfarm_api.farm import Cluster
from kfarm_api.reliability import FailureClass, Reliability, Scope, repair_ns
from kfarm_api.units import format_duration, parse_decimal, parse_duration_ns

from kfarm_twin.request import InputError

OVERHEAT = "Overheat"
"""Class of nodes that go off because they are too hot; not drawn: the heat engine says when."""
NS_PER_DAY = 86_400 * 10**9
PER_NODE_DAYS = 1000
DOMAINS = ("Rack", "Leaf", "Pdu", "Cdu", "Plant")
"""Scopes that are not a part of one node."""


@dataclass(frozen=True)
class Law:
    """A distribution: its mean [ns] and its shape (of a Weibull, or sigma of a lognormal)."""

    distribution: str
    mean_ns: float
    shape: float = 1.0

    @property
    def scale_ns(self) -> float:
        """Scale of a Weibull with this mean [ns]."""
        from kfarm_twin.kernels.samplers import gamma_function  # noqa: PLC0415 - numba

        return self.mean_ns / gamma_function(1.0 + 1.0 / self.shape)


@dataclass(frozen=True)
class FailureMode:
    """A class of failures; see `kfarm_api.reliability` for what the fields mean.

    Attributes
    ----------
    rate
        Failures per 1,000 days of one of `per`, or, where `by_node`, of a node with all it has.
    repair_ns
        Mean time to repair [ns].
    declared
        The class as the manifest has it; None for classes of a reference.
    """

    name: str
    rate: Decimal
    repair_ns: int
    per: Scope = "Node"
    by_node: bool = True
    declared: FailureClass | None = None

    @property
    def rate_per_ns(self) -> float:
        """Hazard of one node, or of one of `per` [1/ns]."""
        return float(self.rate) / PER_NODE_DAYS / NS_PER_DAY

    def node_rate_per_ns(self, devices: int) -> float:
        """Hazard of a node with so many devices [1/ns]; 0 for classes of domains."""
        if self.per in DOMAINS:
            return 0.0
        each = 1 if self.by_node or self.per == "Node" else devices
        return self.rate_per_ns * each


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


def own_mode(own: FailureClass) -> FailureMode:
    """A class of a manifest."""
    by_node = own.failures_per_1000_days is None
    rate = own.failures_per_1000_days or own.failures_per_1000_node_days or "0"
    return FailureMode(own.name, parse_decimal(rate), repair_ns(own), own.per, by_node, own)


def failure_modes(cluster: Cluster, where: str) -> tuple[FailureMode, ...]:
    """Classes of a cluster, see `modes_of`; `where` names the cluster."""
    return modes_of(cluster.reliability, f"{where}.reliability")


def modes_of(declared: Reliability, where: str) -> tuple[FailureMode, ...]:
    """Classes of a reference, replaced or joined by own ones of that name.

    `meanTimeToRepair` beside the reference replaces that of the reference's classes.

    Raises
    ------
    InputError
        When the reference is not known, or one of its repairs is shorter than detection.
    """
    modes: dict[str, FailureMode] = {}
    if declared.reference is not None:
        known = references()
        if declared.reference not in known:
            raise InputError(
                f"{where}.reference",
                repr(declared.reference),
                f"one of {', '.join(sorted(known))}, or classes of your own",
            )
        modes = {mode.name: mode for mode in known[declared.reference].modes}
        if declared.mean_time_to_repair is not None:
            mean = parse_duration_ns(declared.mean_time_to_repair)
            modes = {name: replace(mode, repair_ns=mean) for name, mode in modes.items()}
    for own in declared.classes:
        modes[own.name] = own_mode(own)
    _check_detection(modes.values(), declared, where)
    return tuple(mode for mode in modes.values() if mode.rate > 0)


def _check_detection(modes: Iterable[FailureMode], declared: Reliability, where: str) -> None:
    """Refuse a reference's class that is mended sooner than found; own classes obey a rule."""
    detection = parse_duration_ns(declared.detection)
    early = [mode for mode in modes if mode.declared is None and mode.repair_ns < detection]
    if early:
        raise InputError(
            f"{where}.detection",
            f"{declared.detection}, longer than the repair of {early[0].name} in"
            f" {declared.reference} ({format_duration(early[0].repair_ns)})",
            "a detection within the time to repair, or the class repeated with figures of its own",
        )


def idle_parts(label: str, reliability: Reliability) -> list[str]:
    """What of a cluster's assumptions has no effect, as warnings; `label` names the cluster."""
    told = [
        f"{label}: failure class {own.name} has rate 0 and is left out"
        for own in reliability.classes
        if own_mode(own).rate == 0
    ]
    if reliability.crews and not any(own.repair and own.repair.crew for own in reliability.classes):
        told.append(
            f"{label}: reliability.crews have nothing to do: no class of the cluster has"
            " repair.crew: true (classes of a reference wait for nobody; repeat those that should)"
        )
    return told
