"""From futures to an answer: summaries, nodes down over time, blame, and a finding in words."""

from __future__ import annotations

import math

import numpy as np
from kfarm_api.metrics import METRICS

from kfarm_twin.arrays import Floats
from kfarm_twin.fleetrun import Futures
from kfarm_twin.fleetrun_request import NS_PER_S, FleetRequest
from kfarm_twin.fleetrun_result import (
    CAUSES,
    PLANNED,
    Band,
    Blame,
    ClassCount,
    Distribution,
    FleetInputs,
    FleetRun,
)
from kfarm_twin.fleetrun_text import headline
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.outcomes import order_statistics
from kfarm_twin.reliability import OVERHEAT
from kfarm_twin.request import MetricSummary
from kfarm_twin.whatif_stats import significant

SHARES = (0.05, 0.50, 0.95, 0.99)
NS_PER_DAY = 86_400 * NS_PER_S
DUST_H = 1e-6
"""Less is what sums of floats leave over [h]."""
_TAKES = {
    c.DEVICE: "Device",
    c.NODE: "Node",
    c.RAIL: "Rail",
    c.RACK: "Rack",
    c.UNIT: "ScalableUnit",
    c.PDU: "Pdu",
    c.LOOP: "Loop",
    c.HALL: "Hall",
    c.FARM: "Farm",
}


def conclude(request: FleetRequest, played: Futures) -> FleetRun:
    """Put the futures of a request together."""
    spec = request.spec
    metrics = summaries(played)
    result = FleetRun(
        name=request.name,
        futures=spec.replicas,
        seed=spec.seed,
        horizon=spec.horizon,
        horizon_s=request.horizon_ns / NS_PER_S,
        inputs=_inputs(request, played),
        headline=[],
        metrics=metrics,
        over_time={"nodes_down": _over_time(played, request.horizon_ns)},
        nodes_down_distribution=distribution(played),
        lost_accelerator_hours=_blame(played),
        failures=_failures(request, played),
        notes=[*dict.fromkeys(played.notes), *_never_saves(request, played)],
    )
    return result.model_copy(update={"headline": headline(result)})


def summary(values: Floats, unit: str) -> MetricSummary:
    """Mean and order statistics of the futures that have a value."""
    values = values[np.isfinite(values)]
    if not len(values):
        return MetricSummary(unit=unit, applicable=0)
    p05, p50, p95, p99 = order_statistics(values, SHARES)
    mean = math.fsum(values) / len(values)
    return MetricSummary(
        unit=unit, applicable=len(values), mean=mean, p05=p05, p50=p50, p95=p95, p99=p99
    )


def summaries(played: Futures) -> dict[str, MetricSummary]:
    """Every metric of docs/metrics.md, in its order."""
    nothing = np.zeros(0)
    return {
        name: summary(played.metrics.get(name, nothing), metric.unit)
        for name, metric in METRICS.items()
    }


def _inputs(request: FleetRequest, played: Futures) -> FleetInputs:
    spec, tables = request.spec, played.fleet.tables
    shape, interval = spec.shape, played.interval_ns
    spares = (
        shape.spares
        if shape is not None
        else sum(k.spares for farm in request.named_farms() for k in farm.spec.clusters)
    )
    return FleetInputs(
        digest=request.digest(),
        farm=f"{shape.nodes:,} nodes" if shape else ", ".join(ref.name for ref in spec.farms),
        nodes=played.fleet.nodes,
        accelerators=int(tables.nodes[:, c.DEVICES].sum()),
        spares=spares,
        classes=sum(name != OVERHEAT for name in played.fleet.classes),
        gang=request.gang,
        checkpoint_interval_s=None if interval is None else interval / NS_PER_S,
        warm_up_s=played.fleet.warm_ns / NS_PER_S,
    )


def _never_saves(request: FleetRequest, played: Futures) -> list[str]:
    """Say so where a rule's interval is longer than the horizon."""
    interval = played.interval_ns
    if interval is None or interval < request.horizon_ns:
        return []
    return [
        f"the horizon of {request.spec.horizon} is shorter than the interval between saves by the "
        "checkpoint's rule: nothing is saved; raise the horizon, or give an interval"
    ]


def _over_time(played: Futures, horizon_ns: int) -> Band:
    """Nodes down at equal steps; one column of futures at a time."""
    futures, points = played.down_at.shape
    ordered = np.sort(played.down_at, axis=0)
    rank = [max(math.ceil(share * futures - 1e-9), 1) - 1 for share in SHARES]
    p05, p50, p95, p99 = ([float(x) for x in ordered[row]] for row in rank)
    step_s = horizon_ns / points / NS_PER_S
    return Band(
        time_s=[significant(step_s * index) for index in range(points)],
        mean=[significant(x) for x in ordered.sum(axis=0) / futures],
        p05=p05,
        p50=p50,
        p95=p95,
        p99=p99,
    )


def distribution(played: Futures) -> Distribution:
    """Share of time by number of nodes down, up to the most that ever were."""
    span = played.down_ns.astype(np.float64)
    last = int(np.flatnonzero(span)[-1]) + 1 if span.any() else 1
    share = span[:last] / span.sum()
    tail = np.cumsum(share[::-1])[::-1]
    return Distribution(
        nodes_down=[index * played.bin_nodes for index in range(last)],
        share=[significant(x) for x in share],
        at_least=[significant(min(x, 1.0)) for x in tail],
    )


def _blame(played: Futures) -> Blame:
    """Mean accelerator-hours of a future by cause, by class and by what the class takes down."""
    classes = played.fleet.tables.classes
    by_class: dict[str, dict[str, float]] = {}
    by_domain: dict[str, float] = {}
    for row, lost in enumerate(played.lost_h):
        total = float(lost.sum())
        if total < DUST_H:
            continue
        planned = row == len(classes)
        name = PLANNED if planned else _label(played, row)
        mine = by_class.setdefault(name, {})
        for cause, hours in zip(CAUSES, lost, strict=True):
            if hours >= DUST_H:
                mine[cause] = significant(mine.get(cause, 0.0) + float(hours))
        domain = PLANNED if planned else _TAKES[int(classes[row, c.TAKES])]
        by_domain[domain] = significant(by_domain.get(domain, 0.0) + total)
    causes = played.lost_h.sum(axis=0)
    return Blame(
        by_cause={name: significant(x) for name, x in zip(CAUSES, causes, strict=True)},
        by_class=dict(sorted(by_class.items(), key=lambda item: -sum(item[1].values()))),
        by_domain=dict(sorted(by_domain.items(), key=lambda item: -item[1])),
    )


def _label(played: Futures, row: int) -> str:
    """Name of a class, with its cluster where there are several."""
    name = played.fleet.classes[row]
    if len(played.clusters) == 1 or name == OVERHEAT:
        return name
    return f"{played.clusters[_cluster(played, row)]}: {name}"


def _cluster(played: Futures, row: int) -> int:
    return int(played.fleet.tables.classes[row, c.CLASS_CLUSTER])


def _failures(request: FleetRequest, played: Futures) -> list[ClassCount]:
    tables, days = played.fleet.tables, request.horizon_ns / NS_PER_DAY
    found = []
    for row, name in enumerate(played.fleet.classes):
        cluster = _cluster(played, row)
        node_days = float(tables.clusters[cluster, c.NODES]) * days
        mean = [float(value) for value in played.tally[row]]
        if name == OVERHEAT and mean[c.EVENTS] == 0.0:
            continue
        tries = mean[c.TRIES]
        found.append(
            ClassCount(
                name=name,
                cluster=played.clusters[cluster],
                takes=_TAKES[int(tables.classes[row, c.TAKES])],
                events=significant(mean[c.EVENTS]),
                outages=significant(mean[c.OUTAGES]),
                per_1000_node_days=significant(1000.0 * mean[c.EVENTS] / node_days),
                recovered_share=significant(mean[c.HELPED] / tries) if tries else None,
            )
        )
    return sorted(found, key=lambda count: -count.events)
