"""DefaultPreemption: which pods would be evicted, and on which node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kfarm_twin.kernels.kube import try_preemption
from kfarm_twin.kube.driver import Outcome
from kfarm_twin.kube.objects import Pod
from kfarm_twin.kube.reasons import fit_message, refusals
from kfarm_twin.kube.selectors import selects
from kfarm_twin.policy import kube_columns as k

if TYPE_CHECKING:
    from kfarm_twin.kube.driver import Decision, Scheduler

_OFFSET = 2**31
"""Added to priorities before they are summed, so that more victims never sum to less."""


def preempt(scheduler: Scheduler, pod: Pod, c: int, decision: Decision) -> str:
    """Try preemption after `place` found no node; the message of the plugin, empty on success."""
    ineligible = _ineligible(scheduler, pod, decision)
    if ineligible:
        return f"preemption: {ineligible}"
    pods, victims = _tables(scheduler)
    compiled = scheduler.compiled
    found = try_preemption(
        compiled.model,
        compiled.state,
        compiled.work,
        scheduler.promises(pod),
        victims,
        c,
        pod.priority,
    )
    if not found:
        return "preemption: " + fit_message(len(scheduler.names), refusals(scheduler).values())
    best, chosen = _pick(scheduler, pods, victims)
    if not best:
        return "preemption: no candidate node for preemption"
    decision.outcome = Outcome.PREEMPTING
    decision.nominated = scheduler.names[best[0]]
    decision.nominated_best = tuple(scheduler.names[n] for n in best)
    decision.victims_on = {scheduler.names[n]: tuple(pods[p] for p in chosen[n]) for n in best}
    decision.victims = decision.victims_on[decision.nominated]
    return ""


def _ineligible(scheduler: Scheduler, pod: Pod, decision: Decision) -> str:
    """`PodEligibleToPreemptOthers`: why a pod may not preempt; empty when it may."""
    if pod.never_preempts:
        return "not eligible due to preemptionPolicy=Never."
    node = scheduler.index.get(pod.nominated)
    if node is None:
        return ""
    refusal = refusals(scheduler).get(pod.nominated)
    if refusal is not None and not refusal.preemption_may_help:
        return ""
    for other in scheduler.bound.values():
        leaving = scheduler.place_of[other.key] == node and other.leaving_by_preemption
        if leaving and other.priority < pod.priority:
            return "not eligible due to a terminating pod on the nominated node."
    return ""


def _tables(scheduler: Scheduler) -> tuple[list[Pod], k.Victims]:
    """Bound pods and their columns, kept while nothing changes."""
    known = scheduler.victims
    if known is None or known[0] != scheduler.version:
        known = scheduler.victims = (scheduler.version, *_make_tables(scheduler))
    return known[1], known[2]


def _make_tables(scheduler: Scheduler) -> tuple[list[Pod], k.Victims]:
    """Bound pods, and the same as columns: by node, then the most important first."""
    pods = list(scheduler.bound.values())
    node = np.array([scheduler.place_of[pod.key] for pod in pods], np.int64).reshape(-1)
    priority = np.array([pod.priority for pod in pods], np.int64).reshape(-1)
    started = np.array([_started(pod) for pod in pods], np.float64).reshape(-1)
    order = np.lexsort((np.arange(len(pods)), started, -priority, node))
    budgets = [_budgets(scheduler, pod) for pod in pods]
    lengths = np.array([0] + [len(mine) for mine in budgets], np.int64)
    allowed = np.array([budget.allowed for budget in scheduler.cluster.budgets], np.int64)
    return pods, k.Victims(
        start=np.searchsorted(node[order], np.arange(len(scheduler.names) + 1)).astype(np.int64),
        pod=order.astype(np.int64),
        pod_class=np.array([scheduler.class_of(pod) for pod in pods], np.int64).reshape(-1),
        priority=priority,
        budget_start=np.cumsum(lengths),
        budget=np.array([b for mine in budgets for b in mine], np.int64).reshape(-1),
        budget_allowed=allowed.reshape(-1),
        allowed=np.zeros(len(allowed), np.int64),
        chosen=np.zeros(len(pods), np.uint8),
    )


def _started(pod: Pod) -> float:
    """Start time [s]; a pod that has not started counts as starting now, after all others."""
    return float("inf") if pod.started_s is None else pod.started_s


def _budgets(scheduler: Scheduler, pod: Pod) -> list[int]:
    """Budgets that count a pod; none for a pod without labels or an empty selector."""
    labels = dict(pod.spec.labels)
    return [
        index
        for index, budget in enumerate(scheduler.cluster.budgets)
        if labels
        and budget.selector
        and budget.namespace == pod.namespace
        and pod.name not in budget.disrupted
        and selects(budget.selector, labels)
    ]


def _pick(
    scheduler: Scheduler, pods: Sequence[Pod], victims: k.Victims
) -> tuple[list[int], dict[int, list[int]]]:
    """`pickOneNodeForPreemption`: the best nodes, and the victims of each candidate."""
    chosen: dict[int, list[int]] = {}
    cost: dict[int, tuple[float, ...]] = {}
    for n in np.flatnonzero(scheduler.compiled.work.why == k.FITS).tolist():
        mine = [
            p
            for p in victims.pod[victims.start[n] : victims.start[n + 1]].tolist()
            if victims.chosen[p]
        ]
        if not mine:
            continue
        chosen[n] = mine
        highest = max(pods[p].priority for p in mine)
        cost[n] = (
            sum(1 for p in mine if victims.chosen[p] == 2),
            highest,
            sum(pods[p].priority + _OFFSET for p in mine),
            len(mine),
            -min(_started(pods[p]) for p in mine if pods[p].priority == highest),
        )
    least = min(cost.values(), default=())
    return [n for n, value in cost.items() if value == least], chosen
