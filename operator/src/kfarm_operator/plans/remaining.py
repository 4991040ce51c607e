"""When devices in use come free, as far as those who use them say. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from kfarm_api.units import parse_duration_ns

from kfarm_operator.conditions import parse_timestamp, timestamp
from kfarm_operator.index import Index
from kfarm_operator.plans.observe import Observed, pod_usage
from kfarm_operator.views import PodView


def foresee(observed: Observed, index: Index, pods: Iterable[PodView]) -> Observed:
    """Add when nodes come free; `pods` may be all that use devices.

    None is foreseen of a node that also holds a claim without pods. It is worked out for a
    simulation only: no decision rests on it.
    """
    own = {pod.uid for pod in observed.pods}
    held: dict[str, int] = {}
    ends: dict[str, list[datetime | None]] = {}
    for pod in pods:
        used = None if pod.uid in own else pod_usage(pod, observed.hostnames)
        if used is not None and used.node in observed.nodes:
            held[used.node] = held.get(used.node, 0) + used.accelerators
            ends.setdefault(used.node, []).append(pod_end(pod, index))
    known = {node: [end for end in found if end is not None] for node, found in ends.items()}
    free_at = {
        node: timestamp(max(found))
        for node, found in known.items()
        if len(found) == len(ends[node]) and held[node] == observed.usage.get(node)
    }
    return replace(observed, free_at=free_at)


def pod_end(pod: PodView, index: Index) -> datetime | None:
    """When a pod will have ended at the latest: by its own deadline, or as its plan says.

    None where neither is known. Failures and restarts are not foreseen.
    """
    try:
        started = parse_timestamp(pod.started or "")
    except ValueError:
        return None
    spans: list[float] = [] if pod.deadline_s is None else [float(pod.deadline_s)]
    plan = index.plan(pod.namespace, pod.plan) if pod.plan else None
    for workload in plan.spec.workloads if plan else ():
        if workload.name == pod.workload and workload.duration:
            spans.append(parse_duration_ns(workload.duration) / 1e9)
    return started + timedelta(seconds=min(spans)) if spans else None
