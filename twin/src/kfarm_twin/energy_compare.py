"""The same farm cooled otherwise, and clusters ranked by what they do for a watt and a won."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

from kfarm_api.farm import Cluster, Cooling, Farm
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.units import format_quantity, parse_quantity

from kfarm_twin.columns_cluster import ROOM_SUPPLY_C
from kfarm_twin.energy_result import EnergyYear, Ranked
from kfarm_twin.facility_describe import grouped, node_nameplate_w

LIQUID_SHARE = 75
"""Part of the heat that cold plates take where an air-cooled cluster is swapped [percent], as the
examples assume."""
LIQUID_SUPPLY_C, ROOM_C = 32, 24
"""Coolant and room air of a swapped cluster [degC], as the examples assume."""
CDU_W = 2e6
"""Largest CDU of a swapped cluster [W] (CoolIT CHx2000; facts, cdu)."""
CDU_SPARE, CDU_STEP_W = 1.1, 10e3
"""Capacity of such a CDU over the heat of its nodes, rounded up to a step [W] (assumption)."""
SECONDS_PER_YEAR = 365 * 86_400
PRECISIONS = ("fp4", "fp8", "bf16", "fp16", "int8", "int4")


def cooled_as(
    farm: Farm, profiles: Sequence[AcceleratorProfile], kind: str
) -> tuple[Farm, tuple[str, ...]]:
    """The farm with every cluster cooled by `kind` (``Air`` or ``Liquid``), and what was assumed.

    Clusters whose profile does not support that stay as they are.
    """
    known = {profile.metadata.name: profile for profile in profiles}
    told: list[str] = []
    clusters = [
        _cluster_as(cluster, known[cluster.accelerator], kind, told)
        if cluster.accelerator in known
        else cluster
        for cluster in farm.spec.clusters
    ]
    spec = farm.spec.model_copy(update={"clusters": clusters})
    names = [cluster.name for cluster in clusters]
    return farm.model_copy(update={"spec": spec}), grouped(told, names)


def _cluster_as(
    cluster: Cluster, profile: AcceleratorProfile, kind: str, told: list[str]
) -> Cluster:
    if cluster.cooling.type == kind:
        return cluster
    resistance = profile.spec.thermal_resistance
    if (resistance.liquid if kind == "Liquid" else resistance.air) is None:
        told.append(
            f"{cluster.name}: stays {cluster.cooling.type}: profile {cluster.accelerator} has no "
            f"thermalResistance.{kind.lower()}"
        )
        return cluster
    made = _to_liquid(cluster, profile, told) if kind == "Liquid" else _to_air(cluster, told)
    return cluster.model_copy(update={"cooling": made})


def _to_liquid(cluster: Cluster, profile: AcceleratorProfile, told: list[str]) -> Cooling:
    heat = node_nameplate_w(cluster, profile) * LIQUID_SHARE / 100.0
    nodes = max(min(int(CDU_W / heat / CDU_SPARE), cluster.nodes), 1)
    size = format_quantity(Decimal(math.ceil(CDU_SPARE * heat * nodes / CDU_STEP_W) * 10_000))
    told.append(
        f"{cluster.name}: cooled by liquid: {LIQUID_SHARE} % of the heat to coolant "
        f"of {LIQUID_SUPPLY_C} degC, room air of {ROOM_C} degC, a CDU of {size}W for {nodes} "
        "nodes are assumed"
    )
    return Cooling(
        type="Liquid",
        supply_temperature=str(LIQUID_SUPPLY_C),
        air_supply_temperature=str(ROOM_C),
        liquid_share=LIQUID_SHARE,
        nodes_per_cdu=nodes,
        cdu_capacity=size,
        redundant_pumps=1,
        recirculation=cluster.cooling.recirculation,
    )


def _to_air(cluster: Cluster, told: list[str]) -> Cooling:
    supply = cluster.cooling.air_supply_temperature or f"{ROOM_SUPPLY_C:g}"
    told.append(
        f"{cluster.name}: cooled by air: supply air of {parse_quantity(supply):g} degC as the room "
        "has beside its loop, and fan walls without redundancy are assumed; whether air can cool "
        "such racks is not judged"
    )
    return Cooling(
        type="Air", supply_temperature=supply, recirculation=cluster.cooling.recirculation
    )


def ranking(years: Sequence[EnergyYear]) -> tuple[Ranked, ...]:
    """All clusters by precision, best per watt first; rates are nameplate figures."""
    rows = [
        _ranked(year, index, precision)
        for year in years
        for index, cluster in enumerate(year.clusters)
        for precision in cluster.rates
    ]
    order = {name: index for index, name in enumerate(PRECISIONS)}
    return tuple(sorted(rows, key=lambda row: (order[row.precision], -row.per_watt)))


def _ranked(year: EnergyYear, index: int, precision: str) -> Ranked:
    cluster = year.clusters[index]
    rate = cluster.rates[precision]
    cost = cluster.yearly_cost
    return Ranked(
        farm=year.farm,
        variant=year.variant,
        cluster=cluster.name,
        accelerator=cluster.accelerator,
        cooling=cluster.cooling,
        precision=precision,
        rate=rate,
        facility_w=cluster.facility_w,
        yearly_cost=cost,
        per_watt=rate / cluster.facility_w if cluster.facility_w > 0.0 else math.nan,
        per_currency=rate * SECONDS_PER_YEAR / cost if cost > 0.0 else math.nan,
    )
