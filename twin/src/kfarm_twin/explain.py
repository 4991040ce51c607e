"""Sentences on checks: the value beside the bound, who is to blame, and the remedy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from kfarm_api.metrics import METRICS
from kfarm_api.plan import CheckResult, SurvivalResult
from kfarm_api.policy import Check
from kfarm_api.units import parse_quantity

from kfarm_twin.arrays import (
    HOTTEST_NODE,
    INLET_RACK,
    LOST_DETECTION,
    LOST_RESTART,
    LOST_REWORK,
    LOST_SAVES,
    LOST_SLOW,
    LOST_WAITING,
    METRIC_ORDER,
    SLOWEST_UNIT,
    WORST_FEED,
    WORST_LOAD_RACK,
    WORST_LOOP,
    WORST_PDU,
    WORST_PLANT,
    WORST_RACK,
    WORST_SITE,
    WORST_UNIT,
    Floats,
    Ints,
    Outcome,
)
from kfarm_twin.compile import Model
from kfarm_twin.kernels.grid_columns import FEEDS
from kfarm_twin.simulate_facility import FACILITY_METRICS
from kfarm_twin.verdict import Sequence, quantile_interval

_REMEDY = {
    "ettr": "save more often or faster, restart faster, keep more spares, or take fewer nodes",
    "gang_interruptions": "take fewer nodes, or nodes that fail less",
    "time_to_recover_max": "keep more spares, or shorten checkpoint.restart and detection",
    "replicas_available_min": "ask for more replicas, or keep more nodes free",
    "replicas_available_mean": "ask for more replicas, or keep more nodes free",
    "availability": "shorten repairs, or look into the class that costs most",
    "nodes_down_max": "shorten repairs, or look into the class that costs most",
    "lost_accelerator_hours": "save more often, shorten repairs, or take fewer nodes",
    "it_power_peak": "lower the load, take fewer nodes, or raise the bound to what the site allows",
    "it_energy": "lower the load or the duration",
    "rack_power_peak": "put fewer pods on a rack, or lower the load",
    "rack_power_load_max": "put fewer nodes in a rack, raise rack.powerLimit, or lower the load",
    "cdu_load_max": "spread the plan over more CDUs, or raise cduCapacity",
    "plant_load_max": "add a chiller, or place less on the farm",
    "rack_inlet_temperature_max": "lower the air supply temperature or the recirculation",
    "accelerator_temperature_max": "lower the supply temperature or the load",
    "throttle_headroom_min": "lower the supply temperature or the load",
    "throttled_accelerators_max": "lower the supply temperature or the load, or raise cduCapacity",
    "goodput": "save more often or faster, restart faster, keep more spares, or take fewer nodes",
    "mtti": "take fewer nodes, or nodes that fail less",
    "time_to_recover_mean": "keep more spares, or shorten checkpoint.restart and detection",
    "nodes_down_mean": "shorten repairs, or look into the class that costs most",
    "nodes_down_p50": "shorten repairs, or look into the class that costs most",
    "nodes_down_p95": "shorten repairs, add crews, or look into the class that costs most",
    "nodes_down_p99": "shorten repairs, add crews, or look into the class that costs most",
    "node_failures": "look into the class that fails most, or take fewer nodes",
    "nodes_failed": "look into the class that fails most, or take fewer nodes",
    "top_decile_share": "replace or hold back nodes that fail again and again",
    "outage_mean": "shorten repairs, add crews, or keep parts in stock",
    "outage_p50": "shorten repairs, add crews, or keep parts in stock",
    "outage_p95": "add crews, or keep parts in stock",
    "repair_wait_mean": "add crews, or keep parts in stock",
    "lost_accelerator_hours_down": "shorten repairs, or look into the class that costs most",
    "lost_accelerator_hours_rework": "save more often, or take fewer nodes",
    "lost_accelerator_hours_detection": "find failures faster",
    "lost_accelerator_hours_waiting": "keep more spares, or let gangs be elastic",
    "lost_accelerator_hours_restart": "restart faster, or take fewer nodes",
    "lost_accelerator_hours_saves": "save faster, or less often",
    "lost_accelerator_hours_slow": "take slow nodes out (evict: true), or cool better",
    "it_power_peak_1s": "lower the load or the phases' peak, or take fewer nodes",
    "it_power_peak_1min": "lower the load or the phases' peak, or take fewer nodes",
    "it_power_peak_15min": "lower the load, take fewer nodes, or cap the accelerators",
    "pdu_power_load_max": "hang fewer nodes on a PDU, raise feed.pduLimit, cap the accelerators or "
    "lower the load",
    "feed_power_load_max": "spread the plan over more clusters, raise feed.feedLimit, cap the "
    "accelerators or lower the load",
    "site_power_load_max": "take fewer nodes, cap the accelerators, lower the load, or ask for a "
    "larger connection",
    "facility_power_peak": "lower the load, raise plant.details.cop or the water's temperature",
    "facility_energy": "lower the load, raise plant.details.cop or the water's temperature",
    "pue": "raise supply temperatures, use free cooling, lower fan, pump and conversion losses",
    "wue": "use dry coolers, raise plant.details.cycles, or raise supply temperatures",
    "water": "use dry coolers, raise plant.details.cycles, or raise supply temperatures",
    "energy_cost": "lower the load, move it to cheaper hours, or lower the PUE",
    "carbon": "lower the load or the PUE, or buy power of lower carbonIntensity",
    "energy_per_accelerator_hour": "lose less of the time (see ettr), idle fewer nodes, or lower "
    "the PUE",
    "cost_per_accelerator_hour": "lose less of the time (see ettr), idle fewer nodes, or lower the "
    "PUE",
    "throttled_accelerator_hours": "lower the supply temperature or the load, or add capacity or "
    "redundant units to what cools them",
    "thermal_shutdowns": "add redundant pumps, air handlers or chillers, or thermal mass, or lower "
    "the load",
    "time_to_throttle_min": "add redundant pumps, air handlers or chillers, or a buffer tank",
    "time_to_shutdown_min": "add redundant pumps, air handlers or chillers, or a buffer tank",
}
_CAUSE = {
    "lost_accelerator_hours_rework": LOST_REWORK,
    "lost_accelerator_hours_detection": LOST_DETECTION,
    "lost_accelerator_hours_waiting": LOST_WAITING,
    "lost_accelerator_hours_restart": LOST_RESTART,
    "lost_accelerator_hours_slow": LOST_SLOW,
}
_OF_FLEET = (
    "availability", "nodes_down_max", "nodes_down_mean",
    "nodes_down_p50", "nodes_down_p95", "nodes_down_p99", "node_failures", "nodes_failed",
    "top_decile_share", "outage_mean", "outage_p50", "outage_p95", "repair_wait_mean",
)  # fmt: skip


def number(value: float) -> str:
    """Six significant digits."""
    return f"{value:.6g}"


def with_unit(value: float, unit: str) -> str:
    """A value for people: four digits, large SI values with a prefix, ratios bare."""
    if unit == "1":
        return f"{value:.4g}"
    if unit in ("W", "J"):
        for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= factor:
                return f"{value / factor:.4g} {prefix}{unit}"
    return f"{value:.4g} {unit}"


def _mode(column: Ints) -> tuple[int, float]:
    """The most frequent value and its share."""
    values, counts = np.unique(column, return_counts=True)
    best = int(counts.argmax())
    return int(values[best]), float(counts[best] / len(column))


def _class_blame(model: Model, lost: Floats, of_what: str) -> str:
    """Failure class with the largest share of a lost time [futures, K]."""
    by_class = lost.sum(axis=0)
    total = float(by_class.sum())
    if total <= 0.0:
        return f"no {of_what} was lost to failures"
    merged: dict[str, float] = {}
    for name, value in zip(model.names.classes, by_class, strict=True):
        merged[name] = merged.get(name, 0.0) + float(value)
    name, value = max(merged.items(), key=lambda item: (item[1], item[0]))
    return f"failure class {name} costs most: {100 * value / total:.0f} % of {of_what}"


def _unit_label(model: Model, unit: int) -> str:
    return str(model.workloads[model.columns.units.workload[unit]].name)


def _lost_by_cause(outcome: Outcome, workload: int) -> Floats:
    """Device time that a workload lost, all futures together, by cause."""
    lost: Floats = outcome.workload_lost_ns[:, workload].sum(axis=0)
    return lost


def _ettr_blame(model: Model, outcome: Outcome) -> str:
    """Where a gang's time goes: failures by class, waiting for nodes, saves."""
    unit, _ = _mode(outcome.places[:, WORST_UNIT])
    workload = model.columns.units.workload[unit]
    lost = _lost_by_cause(outcome, workload)
    share = 100.0 * lost / max(float(lost.sum()), 1.0)
    stopped = share[LOST_DETECTION] + share[LOST_WAITING] + share[LOST_RESTART]
    parts = [
        f"gang {model.workloads[workload].name}: of the unproductive time "
        f"{stopped:.0f} % was detection, waiting and restart",
        f"{share[LOST_SAVES]:.0f} % saves",
        f"{share[LOST_REWORK]:.0f} % work done again",
    ]
    if lost[LOST_SLOW] > 0:
        parts.append(f"{share[LOST_SLOW]:.0f} % slow or throttled members")
    if lost[LOST_WAITING] > 0:
        parts.append(f"waiting for a node was {share[LOST_WAITING]:.0f} %")
    return (
        ", ".join(parts)
        + "; "
        + _class_blame(model, outcome.class_gang_ns, "time lost to failures")
    )


def _rack_blame(model: Model, rack: int) -> str:
    nodes = np.flatnonzero(model.columns.nodes.rack == rack)
    return f"rack {model.names.racks[rack]} with {len(nodes)} nodes is the highest"


def _heat_blame(model: Model, outcome: Outcome) -> str:
    node, _ = _mode(outcome.places[:, HOTTEST_NODE])
    cluster = int(model.columns.nodes.cluster[node])
    ref, rack = model.clusters[cluster], int(model.columns.nodes.rack[node])
    facts = ref.facts
    kind = "coolant" if ref.cluster.cooling.type == "Liquid" else "inlet air"
    text = (
        f"hottest is {model.names.nodes[node]} in rack {model.names.racks[rack]} of {ref.label}: "
        f"{kind} at {facts.inlet_c:g} degC while its supply is kept and "
        f"{facts.resistance_k_per_w:g} K/W, throttling at {facts.throttle_c:g} degC"
    )
    loads = model.columns.loads
    most = float(loads.device_mw[loads.rank[:, cluster] >= 0, cluster].max(initial=0)) / 1000.0
    slowed = facts.inlet_c + facts.resistance_k_per_w * most > facts.throttle_c
    return text + (", where devices alone are too hot at their load" if slowed else "")


def _inlet_blame(model: Model, outcome: Outcome) -> str:
    rack, _ = _mode(outcome.places[:, INLET_RACK])
    ref = model.clusters[int(model.columns.nodes.cluster[model.columns.nodes.rack == rack][0])]
    assumed = " (an assumption: airSupplyTemperature is not given)" if ref.facts.air_assumed else ""
    return (
        f"hottest is the air at rack {model.names.racks[rack]} of {ref.label} with "
        f"{ref.cluster.cooling.recirculation} % recirculation{assumed}"
    )


def _throttle_blame(model: Model, outcome: Outcome) -> str:
    """Hottest device, and the loop that binds where one is full."""
    text = _heat_blame(model, outcome)
    full = outcome.metrics[:, METRIC_ORDER.index("cdu_load_max")] > 1.0
    if full.any():
        loop = _load_blame(model, outcome, "cdu_load_max")
        text += f"; {loop}, and it was over that in {100 * float(full.mean()):.0f} % of futures"
    return text


def _load_blame(model: Model, outcome: Outcome, metric: str) -> str:
    if metric == "plant_load_max":
        plant, _ = _mode(outcome.places[:, WORST_PLANT])
        return f"the plant of {model.names.plants[plant]} is the fullest"
    loop, _ = _mode(outcome.places[:, WORST_LOOP])
    limit = int(model.columns.sites.loop_limit_mw[loop])
    return (
        f"{model.names.loops[loop]} is the fullest: it takes {with_unit(limit / 1000.0, 'W')} of "
        "heat"
    )


def _meter_blame(model: Model, outcome: Outcome, metric: str) -> str:
    """Which PDU, feed or site is the fullest."""
    clusters, pdus = len(model.clusters), len(model.names.pdus)
    limits = model.columns.grid.limit_mw
    if metric == "pdu_power_load_max":
        pdu, _ = _mode(outcome.places[:, WORST_PDU])
        feeds = int(model.columns.grid.cluster[model.columns.grid.pdu_cluster[pdu], FEEDS])
        nodes = int((model.trees.node_pdu == pdu).sum())
        what = f"{model.names.pdus[pdu]} with {nodes} nodes is the fullest"
        if feeds > 1:
            what += f", each of its {feeds} PDUs"
        return f"{what}: at most {with_unit(limits[pdu] / 1000.0, 'W')}"
    if metric == "feed_power_load_max":
        cluster, _ = _mode(outcome.places[:, WORST_FEED])
        limit = with_unit(limits[pdus + cluster] / 1000.0, "W")
        return f"each feed of {model.clusters[cluster].label} may carry {limit}"
    site, _ = _mode(outcome.places[:, WORST_SITE])
    limit = with_unit(limits[pdus + clusters + site] / 1000.0, "W")
    return (
        f"the connection of {model.names.plants[site]} gives {limit}; what its cooling draws is "
        "left out"
    )


def _power_blame(model: Model) -> str:
    shares = []
    for index, workload in enumerate(model.workloads):
        pods = model.slot_workload == index
        row = model.columns.loads.pod_mw[index][model.columns.loads.rank[index] >= 0]
        shares.append((float(pods.sum()) * float(row.max(initial=0)), workload.name))
    power, name = max(shares)
    nodes = model.columns.nodes
    idle = float(model.columns.clusters.base_mw[nodes.cluster].sum()) / 1000.0
    return (
        f"{with_unit(idle, 'W')} is the farm standing idle; workload {name} adds up to "
        f"{with_unit(power / 1000.0, 'W')}"
    )


def _replica_blame(model: Model, outcome: Outcome) -> str:
    inference = model.columns.workloads.inference[model.columns.units.workload] == 1
    stopped = outcome.unit_times_ns[:, inference, 2].sum()
    waited = outcome.unit_times_ns[:, inference, 3].sum()
    share = 100.0 * float(waited) / float(stopped) if stopped else 0.0
    return (
        f"{share:.0f} % of the time that replicas did not serve was waiting for a node; "
        + _class_blame(model, outcome.class_down_ns, "node down time")
    )


def _time_blame(model: Model, metric: str, outcome: Outcome) -> str:
    """Class behind time that the fleet or its workloads lost; saves are nobody's fault."""
    if metric in _CAUSE:
        return _class_blame(model, outcome.class_lost_ns[:, :, _CAUSE[metric]], "this time")
    if metric != "lost_accelerator_hours_saves":
        return _class_blame(model, outcome.class_down_ns, "node down time")
    lost = outcome.workload_lost_ns[:, :, LOST_SAVES].sum(axis=0)
    most = int(lost.argmax())
    share = 100.0 * float(lost[most]) / max(float(lost.sum()), 1.0)
    return f"workload {model.workloads[most].name} saves most: {share:.0f} % of this time"


def _facility_blame(model: Model, outcome: Outcome) -> str:
    """What nodes draw of what the facility draws, and what of that is work that was kept."""
    mean = {
        name: float(np.nanmean(outcome.metrics[:, METRIC_ORDER.index(name)]))
        for name in ("it_energy", "facility_energy")
    }
    share = 100.0 * mean["it_energy"] / mean["facility_energy"]
    farms = ", ".join(sorted({ref.farm.metadata.name for ref in model.clusters}))
    return (
        f"nodes draw {share:.0f} % of the {with_unit(mean['facility_energy'], 'J')} of {farms}, "
        "cooling, conversion and the rest the others"
    )


def blame(model: Model, metric: str, outcome: Outcome) -> str:
    """Who is behind the value of a metric, in words."""
    if metric in ("ettr", "goodput"):
        return _ettr_blame(model, outcome)
    if metric in ("gang_interruptions", "mtti"):
        return _class_blame(model, outcome.class_gang_ns, "time that gangs lost")
    if metric in ("time_to_recover_max", "time_to_recover_mean"):
        unit, _ = _mode(outcome.places[:, SLOWEST_UNIT])
        waited = float((outcome.unit_times_ns[:, unit, 3] > 0).mean())
        return (
            f"slowest is gang {_unit_label(model, unit)}, which had to wait for a node in "
            f"{100 * waited:.0f} % of futures"
        )
    if metric.startswith("replicas_available"):
        return _replica_blame(model, outcome)
    if metric in _OF_FLEET or metric.startswith("lost_accelerator_hours"):
        return _time_blame(model, metric, outcome)
    if metric.startswith("it_power_peak") or metric == "it_energy":
        return _power_blame(model)
    if metric in ("pdu_power_load_max", "feed_power_load_max", "site_power_load_max"):
        return _meter_blame(model, outcome, metric)
    if metric == "rack_power_peak":
        return _rack_blame(model, _mode(outcome.places[:, WORST_RACK])[0])
    if metric == "rack_power_load_max":
        return _rack_blame(model, _mode(outcome.places[:, WORST_LOAD_RACK])[0])
    if metric in ("cdu_load_max", "plant_load_max"):
        return _load_blame(model, outcome, metric)
    if metric == "rack_inlet_temperature_max":
        return _inlet_blame(model, outcome)
    if metric in FACILITY_METRICS:
        return _facility_blame(model, outcome)
    return _throttle_blame(model, outcome)


def _remedy(model: Model, metric: str, outcome: Outcome) -> str:
    """What would help; where a gang mostly waits for nodes, only room for replacements does."""
    if metric in ("ettr", "goodput"):
        unit, _ = _mode(outcome.places[:, WORST_UNIT])
        lost = _lost_by_cause(outcome, model.columns.units.workload[unit])
        if 2.0 * lost[LOST_WAITING] > lost.sum():
            return (
                "leave nodes free in the domain that the gang requires, so that a failed node is "
                "replaced at once: fewer pods, more nodes or a larger cluster"
            )
    return _REMEDY[metric]


def check_result(
    model: Model,
    check: Check,
    sequence: Sequence,
    outcome: Outcome,
    notes: Mapping[str, str] | None = None,
) -> CheckResult:
    """One check with its estimate, interval and sentence; `notes`: who is to blame, by metric."""
    values = outcome.metrics[:, METRIC_ORDER.index(check.metric)]
    unit = METRICS[check.metric].unit
    low_side = check.at_least is not None
    share = 1.0 - check.quantile / 100.0 if low_side else check.quantile / 100.0
    estimate, low, high = quantile_interval(values, share, check.confidence / 100.0)
    bound = f">= {check.at_least}" if low_side else f"<= {check.at_most}"
    limit = with_unit(parse_quantity(check.at_least or check.at_most or "0"), unit)
    side, sign = ("at least", ">=") if low_side else ("at most", "<=")
    lead = (
        f"{check.metric}: {check.quantile} % of futures have {side} {with_unit(estimate, unit)} "
        f"(bound {sign} {limit}); {sequence.met} of {sequence.futures} "
        "futures meet the bound"
    )
    tail = ""
    if sequence.decision == "Failed":
        tail = f". Remedy: {_remedy(model, check.metric, outcome)}"
    elif sequence.decision == "Undecided":
        tail = ". More futures are needed to decide"
    note = (notes or {}).get(check.metric) or blame(model, check.metric, outcome)
    message = f"{lead}; {note}{tail}."
    return CheckResult(
        metric=check.metric,
        bound=bound,
        quantile=check.quantile,
        confidence=check.confidence,
        result=sequence.decision,
        estimate=number(estimate),
        low=number(low),
        high=number(high),
        futures_met=sequence.met,
        futures=sequence.futures,
        message=message[:1024],
    )


def survival_sentence(row: SurvivalResult) -> str:
    """A fault that was not survived, for the verdict's message."""
    return f"{row.fault}: {row.message}"
