"""The same farm under other inputs: columns that carry them are built anew, the rest is shared."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np

from kfarm_twin.arrays import NEVER_UP, Ints
from kfarm_twin.columns_cluster import ClusterFacts, cluster_columns
from kfarm_twin.columns_workload import workload_columns
from kfarm_twin.compile import ClusterRef, Model, frozen
from kfarm_twin.priors import (
    ONE,
    ZERO,
    Amounts,
    air_key,
    detection_key,
    profile_key,
    rate_keys,
    repair_key,
    resistance_field,
    restart_key,
)
from kfarm_twin.reliability import FailureMode


def _times(value: int, factor: Decimal) -> int:
    return int((value * factor).to_integral_value())


def _mode(ref: ClusterRef, mode: FailureMode, amounts: Amounts) -> FailureMode:
    rate = mode.rate
    for key in rate_keys(ref, mode):
        rate *= amounts.get(key, ONE)
    repair = _times(mode.repair_ns, amounts.get(repair_key(ref, mode), ONE))
    return replace(mode, rate=rate, repair_ns=max(repair, 1))


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
        detection_ns=_times(facts.detection_ns, amounts.get(detection_key(ref), ONE)),
        idle_device_mw=idle,
        tdp_device_mw=max(scaled(facts.tdp_device_mw, "power.tdp"), idle),
        idle_overhead_mw=idle_overhead,
        loaded_overhead_mw=max(
            scaled(facts.loaded_overhead_mw, "nodeOverhead.loaded"), idle_overhead
        ),
        resistance_k_per_w=facts.resistance_k_per_w * float(resistance),
        rack_inlet_c=facts.rack_inlet_c + air,
    )


def _restarts(model: Model, amounts: Amounts) -> Ints:
    stated = model.columns.workloads.restart_ns
    factors = [amounts.get(restart_key(workload), ONE) for workload in model.workloads]
    factors += [ONE] * (len(stated) - len(factors))
    return frozen([_times(int(ns), factor) for ns, factor in zip(stated, factors, strict=True)])


def varied(model: Model, amounts: Amounts) -> Model:
    """The model under other inputs.

    Nodes whose devices would overheat even when idle are off for good, as in `compile_farm`; those
    that are so as stated stay so. All arrays keep their shapes, so that buffers can be shared.

    Parameters
    ----------
    amounts
        By key of `priors.Input`; an input that is left out is as stated.
    """
    refs = tuple(replace(ref, facts=_facts(ref, amounts)) for ref in model.clusters)
    clusters, classes, _, _ = cluster_columns(refs)
    workloads, loads, _ = workload_columns(model.workloads, refs, "")
    nodes = model.columns.nodes
    hot = np.array([ref.facts.overheats for ref in refs])
    if hot.any():
        nodes = nodes._replace(start=frozen(np.where(hot[nodes.cluster], NEVER_UP, nodes.start)))
    columns = model.columns._replace(
        nodes=nodes,
        clusters=clusters,
        classes=classes,
        workloads=workloads._replace(restart_ns=_restarts(model, amounts)),
        loads=loads,
    )
    return replace(model, columns=columns, clusters=refs)
