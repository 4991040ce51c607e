"""When AdmissionChecks and Workloads of Kueue are looked at."""

from __future__ import annotations

from collections.abc import Callable

from kfarm_api.plan import PlacementPlan
from kfarm_api.policy import ValidationPolicy
from kfarm_api.v1alpha1 import Kind

from kfarm_operator.admission.checks import CheckReconciler
from kfarm_operator.admission.decide import Answer, Release
from kfarm_operator.admission.kueue import (
    ADMISSION_CHECKS,
    PAGE_OF_WORKLOADS,
    RESOURCE_FLAVORS,
    WORKLOADS,
)
from kfarm_operator.admission.reconcile import AdmissionReconciler, Mirrors
from kfarm_operator.admission.views import (
    CheckView,
    FlavorView,
    WorkloadView,
    check_view,
    flavor_view,
    workload_view,
)
from kfarm_operator.mirror import Cadence, Mirror
from kfarm_operator.parts import Part, Shared, respecified
from kfarm_operator.plans.observe import hostname
from kfarm_operator.podmirrors import PodMirrors
from kfarm_operator.views import NodeView, PodView
from kfarm_operator.workqueue import WorkQueue

SOON_S = 0.1


class AdmissionPart(Part):
    """Kueue's questions under the gate account; at rest where Kueue is not installed."""

    def __init__(self, shared: Shared, pods: PodMirrors, cadence: Cadence) -> None:
        client = shared.accounts.gate
        self._instruments = shared.instruments
        self._checks: Mirror[CheckView] = Mirror(
            client, ADMISSION_CHECKS, check_view, self._check_changed,
            optional=True, cadence=cadence,
        )  # fmt: skip
        self._flavors: Mirror[FlavorView] = Mirror(
            client, RESOURCE_FLAVORS, flavor_view, _noted, optional=True, cadence=cadence
        )
        self._workloads: Mirror[WorkloadView] = Mirror(
            client, WORKLOADS, workload_view, self._workload_changed,
            groups={"holds": lambda workload: workload.holds},
            optional=True, cadence=cadence, limit=PAGE_OF_WORKLOADS,
        )  # fmt: skip
        self.mirrors = (self._checks, self._flavors, self._workloads)
        seen = Mirrors(self._workloads, self._checks, self._flavors, shared.nodes, pods)
        self.reconciler = AdmissionReconciler(
            client, shared.index, seen, shared.runner, shared.threads
        )
        self.reconciler.told = self._count
        self.queue = WorkQueue[tuple[str, str]](
            self.reconciler.reconcile, name="workloads", group=lambda key: key[0]
        )
        checks = CheckReconciler(client, shared.index, self._checks)
        self._check_queue = WorkQueue[tuple[str, str]](
            checks.reconcile, workers=1, name="admission-checks"
        )
        self.queues = (self._check_queue, self.queue)

    def object_changed(self, before: Kind | None, after: Kind | None) -> None:
        """Enqueue the checks of a policy and the Workloads of a plan."""
        if not respecified(before, after):
            return
        match after or before:
            case ValidationPolicy():
                self._enqueue_checks()
                self._enqueue(lambda w: any(entry.state == "Pending" for entry in w.entries))
            case PlacementPlan() as plan:
                namespace, name = plan.metadata.namespace, plan.metadata.name
                self._enqueue(
                    lambda w: w.namespace == namespace and any(s.plan == name for s in w.pod_sets)
                )

    def node_changed(self, before: NodeView | None, after: NodeView | None) -> None:
        """Enqueue the Workloads that Kueue sent to the node."""
        hosts = {hostname(node) for node in (before, after) if node is not None}
        self._enqueue(lambda w: any(seat in hosts for s in w.pod_sets for seat, _ in s.seats or ()))

    def planned_changed(self, before: PodView | None, after: PodView | None) -> None:
        """Enqueue the Workload that a pod belongs to."""
        for pod in (before, after):
            if pod is not None and pod.admitted_by:
                self.queue.add_threadsafe((pod.namespace, pod.admitted_by), SOON_S)

    def enqueue_all(self) -> None:
        """Look at every check, and at every Workload that is ours to answer or to release."""
        self._enqueue_checks()
        self._enqueue(lambda _: True)

    async def relisted(self) -> None:
        """Drop claims of Workloads that are gone."""
        await self.reconciler.collect()

    def _count(self, step: Answer | Release) -> None:
        match step:
            case Answer():
                self._instruments.count("kfarm_admission_answers_total", step.state, step.reason)
            case Release(pods):
                self._instruments.count("kfarm_gate_releases_total", by=float(len(pods)))

    def _enqueue_checks(self) -> None:
        for check in self._checks.values():
            if check.ours:
                self._check_queue.add_threadsafe(("", check.name))

    def _check_changed(self, old: CheckView | None, new: CheckView | None) -> None:
        """From the mirror's thread."""
        if new is not None and new.ours:
            self._check_queue.add_threadsafe(("", new.name))
        names = {check.name for check in (old, new) if check is not None}
        self._enqueue(lambda w: any(entry.name in names for entry in w.entries))

    def _workload_changed(self, old: WorkloadView | None, new: WorkloadView | None) -> None:
        """From the mirror's thread; changes of Workloads that are not ours end here."""
        for workload in (new, old):
            if workload is not None and self._concerns(workload):
                self.queue.add_threadsafe((workload.namespace, workload.name))
                return

    def _concerns(self, workload: WorkloadView) -> bool:
        names = {check.name for check in self._checks.values() if check.ours}
        return any(entry.name in names for entry in workload.entries)

    def _enqueue(self, which: Callable[[WorkloadView], bool]) -> None:
        for workload in self._workloads.where("holds", True):
            if self._concerns(workload) and which(workload):
                self.queue.add_threadsafe((workload.namespace, workload.name), SOON_S)


def _noted(old: FlavorView | None, new: FlavorView | None) -> None:
    """Nothing to wake: what a flavor adds to pods counts from the next look on."""
    del old, new
