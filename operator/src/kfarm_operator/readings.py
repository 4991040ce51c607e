"""What the metrics read off the operator's state when they are scraped."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from kfarm_api.plan import PlacementPlan

from kfarm_operator.conditions import parse_timestamp
from kfarm_operator.health import Finding, Hearing
from kfarm_operator.index import Index
from kfarm_operator.instruments import Instruments, Sample, resource_of, verb_of
from kfarm_operator.mirror import Mirror
from kfarm_operator.workqueue import Outcome, WorkQueue

NAMESPACES = 100
"""Namespaces with a series of their own; the plans of all others are counted together."""
OTHERS = "(others)"


def plan_samples(plans: Sequence[PlacementPlan], now: datetime) -> Iterable[Sample]:
    """Plans by namespace and verdict, and the age of the oldest approval in force."""
    sizes = Counter(plan.metadata.namespace or "" for plan in plans)
    named = {name for name, _ in sorted(sizes.items(), key=_largest)[:NAMESPACES]}
    counts: Counter[tuple[str, str]] = Counter()
    oldest = 0.0
    for plan in plans:
        namespace, status = plan.metadata.namespace or "", plan.status
        verdict = (status.verdict if status else None) or "Pending"
        counts[namespace if namespace in named else OTHERS, verdict] += 1
        if status and verdict == "Approved" and status.decided_at:
            oldest = max(oldest, (now - parse_timestamp(status.decided_at)).total_seconds())
    for labels, count in sorted(counts.items()):
        yield "kfarm_plans", labels, float(count)
    yield "kfarm_plan_oldest_verdict_age_seconds", (), oldest


def _largest(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def farm_samples(index: Index) -> Iterable[Sample]:
    """Nodes and accelerators of farms, as their status has them."""
    for farm in index.farms():
        labels, status = (farm.kind, farm.metadata.name), farm.status
        wanted = sum(cluster.nodes for cluster in farm.spec.clusters)
        devices = sum(c.nodes * c.accelerators_per_node for c in farm.spec.clusters)
        found = (status.nodes or 0, status.ready_nodes or 0) if status else (0, 0)
        for state, count in (("wanted", wanted), ("found", found[0]), ("ready", found[1])):
            yield "kfarm_farm_nodes", (*labels, state), float(count)
        there = (status.accelerators or 0) if status else 0
        for state, count in (("wanted", devices), ("found", there)):
            yield "kfarm_farm_accelerators", (*labels, state), float(count)


def queue_samples(queues: Iterable[WorkQueue[Any]]) -> Iterable[Sample]:
    """How full the queues are."""
    for queue in queues:
        for state, count in (("waiting", queue.waiting), ("working", queue.busy)):
            yield "kfarm_queue_depth", (queue.name, state), float(count)
        yield "kfarm_queue_oldest_seconds", (queue.name,), queue.oldest_s


def mirror_samples(mirrors: Iterable[Mirror[Any]]) -> Iterable[Sample]:
    """How the mirrors' watches do."""
    now = time.monotonic()
    for mirror in mirrors:
        label, pulse = (mirror.name,), mirror.pulse
        yield "kfarm_watch_events_total", label, float(pulse.events)
        yield "kfarm_watch_relists_total", label, float(pulse.relists)
        yield "kfarm_watch_errors_total", label, float(pulse.errors)
        yield "kfarm_watch_heard_age_seconds", label, now - pulse.heard
        if pulse.listed:
            yield "kfarm_watch_list_age_seconds", label, now - pulse.listed
        yield "kfarm_watch_objects", label, float(pulse.objects)


def hearing_samples(hearing: Hearing, plurals: Iterable[str], listed: float) -> Iterable[Sample]:
    """How kopf's watches of our own kinds do, and our lists of them."""
    now = time.monotonic()
    for plural in plurals:
        yield "kfarm_watch_events_total", (plural,), float(hearing.events.get(plural, 0))
        yield "kfarm_watch_missed_total", (plural,), float(hearing.missed.get(plural, 0))
        if listed:
            yield "kfarm_watch_list_age_seconds", (plural,), now - listed


def health_samples(findings: Iterable[Finding]) -> Iterable[Sample]:
    """Which part works."""
    return [("kfarm_healthy", (f.part,), float(f.good)) for f in findings]


def plans_now(index: Index) -> Callable[[], Iterable[Sample]]:
    """A source for `plan_samples` at the time of the scrape."""
    return lambda: plan_samples(index.all(PlacementPlan), datetime.now(UTC))


def measure_queue(instruments: Instruments, queue: WorkQueue[Any]) -> None:
    """Have a queue report each reconcile."""

    def observe(outcome: Outcome, waited_s: float, worked_s: float) -> None:
        instruments.took("kfarm_queue_wait_seconds", queue.name, seconds=waited_s)
        instruments.took("kfarm_reconcile_seconds", queue.name, seconds=worked_s)
        if outcome == "failed":
            instruments.count("kfarm_reconcile_errors_total", queue.name)

    queue.observer = observe


def measure_requests(instruments: Instruments) -> Callable[[str, str, int, float], None]:
    """An observer of requests for a client."""

    def observe(method: str, path: str, status: int, seconds: float) -> None:
        verb = verb_of(method, path)
        instruments.count("kfarm_api_requests_total", verb, resource_of(path), str(status))
        instruments.took("kfarm_api_request_seconds", verb, seconds=seconds)

    return observe
