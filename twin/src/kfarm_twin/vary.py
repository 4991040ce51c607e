"""The same farm under other inputs: columns that carry them are built anew, the rest is shared."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
from kfarm_api.units import format_duration, parse_duration_ns

from kfarm_twin.arrays import NEVER_UP, Ints
from kfarm_twin.columns_cluster import ClusterFacts, cluster_columns
from kfarm_twin.columns_grid import grid_columns, stages_of, swings
from kfarm_twin.columns_workload import workload_columns
from kfarm_twin.compile import ClusterRef, Model, fleet_clusters, frozen, read_only
from kfarm_twin.fleet_tables import compile_fleet, with_overheat
from kfarm_twin.heat_tables import compile_heat
from kfarm_twin.heat_vary import varied_heat
from kfarm_twin.priors import (
    ONE,
    ZERO,
    Amounts,
    air_key,
    class_detection_key,
    detection_key,
    loss_key,
    profile_key,
    rate_keys,
    repair_key,
    resistance_field,
    restart_key,
)
from kfarm_twin.reliability import FailureMode

NS_PER_MS = 10**6


def _times(value: int, factor: Decimal) -> int:
    return int((value * factor).to_integral_value())


def _span(value: int, factor: Decimal) -> int:
    """Whole milliseconds [ns], as manifests state them."""
    return _times(value // NS_PER_MS, factor) * NS_PER_MS


def _mode(ref: ClusterRef, mode: FailureMode, amounts: Amounts) -> FailureMode:
    rate = mode.rate
    for key in rate_keys(ref, mode):
        rate *= amounts.get(key, ONE)
    repair = _times(mode.repair_ns, amounts.get(repair_key(ref, mode), ONE))
    declared = mode.declared
    if declared is not None and declared.detection is not None:
        found = _span(
            parse_duration_ns(declared.detection), amounts.get(class_detection_key(declared), ONE)
        )
        declared = declared.model_copy(update={"detection": format_duration(found)})
    return replace(mode, rate=rate, repair_ns=max(repair, 1), declared=declared)


def _facts(ref: ClusterRef, amounts: Amounts) -> ClusterFacts:
    """Figures of a cluster; where idle would exceed full power, full power is idle's."""
    facts = ref.facts

    def scaled(value: int, field: str) -> int:
        return _times(value, amounts.get(profile_key(field, ref), ONE))

    idle = scaled(facts.idle_device_mw, "power.idle")
    idle_overhead = scaled(facts.idle_overhead_mw, "nodeOverhead.idle")
    resistance = amounts.get(profile_key(resistance_field(ref), ref), ONE)
    air = float(amounts.get(air_key(ref), ZERO)) if facts.air_assumed else 0.0
    return replace(
        facts,
        modes=tuple(_mode(ref, mode, amounts) for mode in facts.modes),
        detection_ns=_span(facts.detection_ns, amounts.get(detection_key(ref), ONE)),
        idle_device_mw=idle,
        tdp_device_mw=max(scaled(facts.tdp_device_mw, "power.tdp"), idle),
        idle_overhead_mw=idle_overhead,
        loaded_overhead_mw=max(
            scaled(facts.loaded_overhead_mw, "nodeOverhead.loaded"), idle_overhead
        ),
        resistance_k_per_w=facts.resistance_k_per_w * float(resistance),
        rack_inlet_c=facts.rack_inlet_c + air,
    )


def _ref(ref: ClusterRef, amounts: Amounts) -> ClusterRef:
    """A cluster with its figures, and with the detection that the failure engine reads there."""
    facts = _facts(ref, amounts)
    detection = {"detection": format_duration(facts.detection_ns)}
    reliability = ref.cluster.reliability.model_copy(update=detection)
    cluster = ref.cluster.model_copy(update={"reliability": reliability})
    return replace(ref, facts=facts, cluster=cluster)


def _restarts(model: Model, amounts: Amounts) -> Ints:
    stated = model.columns.workloads.restart_ns
    factors = [amounts.get(restart_key(workload), ONE) for workload in model.workloads]
    factors += [ONE] * (len(stated) - len(factors))
    return frozen([_times(int(ns), factor) for ns, factor in zip(stated, factors, strict=True)])


def varied(model: Model, amounts: Amounts) -> Model:
    """The model under other inputs.

    Nodes whose devices would overheat even when idle are off for good, as in `compile_farm`; those
    that are so as stated stay so. A checkpoint interval that was reckoned from stated rates stays:
    nobody knows better when the work is saved. All arrays keep their shapes, so that buffers can be
    shared.

    Parameters
    ----------
    amounts
        By key of `priors.Input`; an input that is left out is as stated.
    """
    refs = tuple(_ref(ref, amounts) for ref in model.clusters)
    clusters, _ = cluster_columns(refs)
    workloads, loads, _ = workload_columns(model.workloads, refs, "")
    nodes = model.columns.nodes
    hot = np.array([ref.facts.overheats for ref in refs])
    if hot.any():
        nodes = nodes._replace(start=frozen(np.where(hot[nodes.cluster], NEVER_UP, nodes.start)))
    fleet = with_overheat(compile_fleet(fleet_clusters(refs, model.trees, nodes)))
    described = varied_heat(refs, amounts)
    heat = compile_heat(described.farm)
    swing = swings(model.workloads, workloads.need, loads, clusters.idle_device_mw)
    losses = {
        name: float(amounts[loss_key(name)])
        for name in stages_of(refs)
        if loss_key(name) in amounts
    }
    columns = model.columns._replace(
        nodes=nodes,
        clusters=clusters,
        workloads=workloads._replace(
            restart_ns=_restarts(model, amounts),
            interval_ns=model.columns.workloads.interval_ns,
        ),
        loads=loads,
        fleet=fleet.tables,
        heat=read_only(heat.tables),
        grid=grid_columns(refs, model.trees, model.columns.sites, swing, losses),
    )
    return replace(
        model, columns=columns, fleet=fleet, described=described, heat=heat, clusters=refs
    )
