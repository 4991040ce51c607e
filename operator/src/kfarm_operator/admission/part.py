"""The service's part for Kueue: mirrors, queues, and what wakes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kfarm_operator.admission.checks import CheckReconciler
from kfarm_operator.admission.kueue import ADMISSION_CHECKS, RESOURCE_FLAVORS, WORKLOADS
from kfarm_operator.admission.mirrors import OptionalMirror
from kfarm_operator.admission.reconcile import AdmissionReconciler, Mirrors
from kfarm_operator.admission.status import ours
from kfarm_operator.admission.views import (
    CheckView,
    FlavorView,
    WorkloadView,
    check_view,
    flavor_view,
    workload_view,
)
from kfarm_operator.client import KubeClient
from kfarm_operator.index import Index
from kfarm_operator.mirror import Mirror
from kfarm_operator.plans.observe import hostname
from kfarm_operator.plans.reconcile import Runner
from kfarm_operator.views import NodeView, PodView
from kfarm_operator.workqueue import WorkQueue

SETTLE_S = 0.1
PAGE_OF_WORKLOADS = 20
"""Workloads may have 1.5 MB each, and a page is read whole."""


class Admissions:
    """Everything about Kueue that runs beside kopf, under the gate account."""

    def __init__(
        self,
        client: KubeClient,
        index: Index,
        nodes: Mirror[NodeView],
        pods: list[Mirror[PodView]],
        runner: Runner,
        threads: ThreadPoolExecutor,
    ) -> None:
        self._index = index
        self._checks = OptionalMirror(client, ADMISSION_CHECKS, check_view, self._check_changed)
        self._flavors = OptionalMirror(client, RESOURCE_FLAVORS, flavor_view, _nothing)
        self._workloads = OptionalMirror(
            client, WORKLOADS, workload_view, self._workload_changed, limit=PAGE_OF_WORKLOADS
        )
        mirrors = Mirrors(self._workloads, self._checks, self._flavors, nodes, pods)
        self._reconciler = AdmissionReconciler(client, index, mirrors, runner, threads)
        self.queue = WorkQueue[tuple[str, str]](self._reconciler.reconcile)
        checks = CheckReconciler(client, index, self._checks)
        self.check_queue = WorkQueue[tuple[str, str]](checks.reconcile, workers=1)

    @property
    def mirrors(self) -> list[Mirror[Any]]:
        """Those of Kueue's kinds; the checks first, by which Workloads are told apart."""
        return [self._checks, self._flavors, self._workloads]

    @property
    def queues(self) -> list[WorkQueue[tuple[str, str]]]:
        """What to start and stop."""
        return [self.check_queue, self.queue]

    async def collect(self) -> None:
        """Drop claims of Workloads that are gone."""
        await self._reconciler.collect()

    def enqueue_all(self) -> None:
        """Look at every check, and at every Workload that is ours to answer or to release."""
        self.policy_changed()
        self._enqueue(lambda _: True)

    def policy_changed(self) -> None:
        """A ValidationPolicy came, went or changed."""
        for check in self._checks.values():
            if ours(check):
                self.check_queue.add_threadsafe(("", check.name))

    def plan_changed(self, namespace: str, name: str) -> None:
        """A PlacementPlan came, went or changed."""
        self._enqueue(
            lambda w: w.namespace == namespace and any(s.plan == name for s in w.pod_sets)
        )

    def node_changed(self, node: NodeView) -> None:
        """A node came, went or changed in what matters."""
        host = hostname(node)
        self._enqueue(lambda w: any(host == seat for s in w.pod_sets for seat, _ in s.seats or ()))

    def pod_changed(self, pod: PodView) -> None:
        """A pod that Kueue started came, went or changed."""
        if pod.admitted_by:
            self.queue.add_threadsafe((pod.namespace, pod.admitted_by), SETTLE_S)

    def _check_changed(self, old: CheckView | None, new: CheckView | None) -> None:
        """From the mirror's thread."""
        if new is not None and ours(new):
            self.check_queue.add_threadsafe(("", new.name))
        name = (new or old or _NO_CHECK).name
        self._enqueue(lambda w: any(entry.name == name for entry in w.entries))

    def _workload_changed(self, old: WorkloadView | None, new: WorkloadView | None) -> None:
        """From the mirror's thread; heartbeats of Workloads that are not ours end here."""
        for workload in (new, old):
            if workload is not None and self._concerns(workload):
                self.queue.add_threadsafe((workload.namespace, workload.name), 0.0)
                return

    def _concerns(self, workload: WorkloadView) -> bool:
        names = {check.name for check in self._checks.values() if ours(check)}
        return any(entry.name in names for entry in workload.entries)

    def _enqueue(self, which: Callable[[WorkloadView], bool]) -> None:
        for workload in self._workloads.values():
            if workload.holds and self._concerns(workload) and which(workload):
                self.queue.add_threadsafe((workload.namespace, workload.name), SETTLE_S)


_NO_CHECK = CheckView("", "", "", 0, "", None, None)


def _nothing(old: FlavorView | None, new: FlavorView | None) -> None:
    """A flavor changed: what it adds to pods counts from the next look on."""
    del old, new


def mirrors_of(part: Admissions | None) -> Iterable[Mirror[Any]]:
    """Its mirrors, none where the role has no such part."""
    return part.mirrors if part is not None else ()
