"""Columns of clusters: heat, power and failures, from cluster and profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from kfarm_api.farm import Cluster
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.units import parse_decimal, parse_duration_ns, parse_quantity

from kfarm_twin import arrays
from kfarm_twin.arrays import Floats
from kfarm_twin.reliability import FailureMode, failure_modes, idle_parts, references
from kfarm_twin.request import InputError

RECIRCULATION_RISE_K = 12.0
"""Rise of the air through a rack [K] at the usual 0.0691 m3/s per kW (facility.yaml, derived)."""
ROOM_SUPPLY_C = 27.0
"""Air supply beside a liquid loop where none is given [degC]: ASHRAE, upper recommended."""


def milliwatts(watts: str) -> int:
    """Power text as milliwatts."""
    return int(parse_decimal(watts) * 1000)


@dataclass(frozen=True)
class ClusterFacts:
    """Figures of a cluster in SI units."""

    modes: tuple[FailureMode, ...]
    detection_ns: int
    idle_device_mw: int
    tdp_device_mw: int
    idle_overhead_mw: int
    loaded_overhead_mw: int
    devices: int
    inlet_c: float
    rack_inlet_c: float
    resistance_k_per_w: float
    throttle_c: float
    shutdown_c: float
    rack_limit_mw: int
    loop_limit_mw: int
    air_assumed: bool
    cap_device_mw: int = 0

    @property
    def base_mw(self) -> int:
        """A node whose devices are idle."""
        return self.idle_overhead_mw + self.devices * self.idle_device_mw

    @property
    def overheats(self) -> bool:
        """Whether devices reach their shutdown temperature even when idle."""
        rise = self.resistance_k_per_w * (self.idle_device_mw * 0.001)
        return self.inlet_c + rise > self.shutdown_c

    def device_mw(self, load: int) -> tuple[int, int]:
        """Power of a device at `load` percent: asked for, and as capped, not below idle."""
        span = self.tdp_device_mw - self.idle_device_mw
        asked = self.idle_device_mw + span * load // 100
        if self.cap_device_mw > 0:
            return asked, min(asked, max(self.cap_device_mw, self.idle_device_mw))
        return asked, asked


def _resistance(cluster: Cluster, profile: AcceleratorProfile, where: str) -> float:
    kind = cluster.cooling.type
    offered = profile.spec.thermal_resistance
    resistance = offered.liquid if kind == "Liquid" else offered.air
    if resistance is None:
        raise InputError(
            f"{where}.cooling.type",
            f"{kind!r} with accelerator {profile.metadata.name!r}",
            f"a cooling that the profile has a thermalResistance for; add "
            f"thermalResistance.{kind.lower()} to the profile or change the cooling",
        )
    return parse_quantity(resistance)


def _cap(cluster: Cluster, profile: AcceleratorProfile, where: str) -> int:
    """Power limit of a device [mW]; 0 where none is declared."""
    if cluster.accelerator_power_limit is None:
        return 0
    cap, idle = cluster.accelerator_power_limit, profile.spec.power.idle
    if parse_decimal(cap) < parse_decimal(idle):
        raise InputError(
            f"{where}.acceleratorPowerLimit",
            f"{cap} W",
            f"at least the idle power of accelerator {profile.metadata.name!r}, {idle} W",
        )
    return milliwatts(cap)


def cluster_facts(cluster: Cluster, profile: AcceleratorProfile, where: str) -> ClusterFacts:
    """Figures of a cluster; `where` names it in errors."""
    cooling, spec = cluster.cooling, profile.spec
    supply = parse_quantity(cooling.supply_temperature)
    liquid = cooling.type == "Liquid"
    air = ROOM_SUPPLY_C if liquid else supply
    if cooling.air_supply_temperature is not None:
        air = parse_quantity(cooling.air_supply_temperature)
    rack_inlet = air + cooling.recirculation / 100.0 * RECIRCULATION_RISE_K
    loop_limit = 0
    if liquid and cooling.cdu_capacity is not None:
        loop_limit = milliwatts(cooling.cdu_capacity)
    return ClusterFacts(
        modes=failure_modes(cluster, where),
        detection_ns=parse_duration_ns(cluster.reliability.detection),
        idle_device_mw=milliwatts(spec.power.idle),
        tdp_device_mw=milliwatts(spec.power.tdp),
        idle_overhead_mw=milliwatts(spec.node_overhead.idle),
        loaded_overhead_mw=milliwatts(spec.node_overhead.loaded),
        devices=cluster.accelerators_per_node,
        inlet_c=supply if liquid else rack_inlet,
        rack_inlet_c=rack_inlet,
        resistance_k_per_w=_resistance(cluster, profile, where),
        throttle_c=parse_quantity(spec.temperature.throttle),
        shutdown_c=parse_quantity(spec.temperature.shutdown),
        rack_limit_mw=milliwatts(cluster.rack.power_limit) if cluster.rack.power_limit else 0,
        loop_limit_mw=loop_limit,
        air_assumed=liquid and cooling.air_supply_temperature is None,
        cap_device_mw=_cap(cluster, profile, where),
    )


class HasFacts(Protocol):
    """A cluster with its figures."""

    @property
    def cluster(self) -> Cluster:
        """As described."""

    @property
    def facts(self) -> ClusterFacts:
        """In SI units."""

    @property
    def label(self) -> str:
        """For people."""


def _floats(values: Sequence[float]) -> Floats:
    column = np.ascontiguousarray(values, dtype=np.float64)
    column.setflags(write=False)
    return column


def _ints(values: Sequence[int]) -> arrays.Ints:
    column = np.ascontiguousarray(values, dtype=np.int64)
    column.setflags(write=False)
    return column


def _labels(refs: Sequence[HasFacts]) -> str:
    return ", ".join(ref.label for ref in refs)


def _assumptions(refs: Sequence[HasFacts]) -> list[str]:
    told = [
        f"{ref.label}: airSupplyTemperature is not given; {ROOM_SUPPLY_C:g} degC is assumed"
        for ref in refs
        if ref.facts.air_assumed
    ]
    told += [text for ref in refs for text in idle_parts(ref.label, ref.cluster.reliability)]
    for name, study in references().items():
        users = [ref for ref in refs if ref.cluster.reliability.reference == name]
        if users and study.confidence == "Low":
            told.append(f"{_labels(users)}: failure rates of {name}: {study.source}")
        users = [ref for ref in users if ref.cluster.reliability.mean_time_to_repair is None]
        if users and study.repair_confidence == "Low":
            told.append(f"{_labels(users)}: repair times of {name}: {study.repair_source}")
    return told


def cluster_columns(refs: Sequence[HasFacts]) -> tuple[arrays.Clusters, list[str]]:
    """Columns of clusters, and what was assumed."""
    facts = [ref.facts for ref in refs]
    clusters = arrays.Clusters(
        detection_ns=_ints([fact.detection_ns for fact in facts]),
        base_mw=_ints([fact.base_mw for fact in facts]),
        overhead_mw=_ints([fact.idle_overhead_mw for fact in facts]),
        idle_device_mw=_ints([fact.idle_device_mw for fact in facts]),
        throttle_c=_floats([fact.throttle_c for fact in facts]),
    )
    return clusters, _assumptions(refs)
