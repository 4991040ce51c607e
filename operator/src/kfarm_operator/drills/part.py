"""When drills are looked at."""

from __future__ import annotations

from datetime import UTC, datetime

from kfarm_api.layout import LABEL_FARM
from kfarm_api.v1alpha1 import AcceleratorProfile, GPUFarm, Kind, NPUFarm, PlacementPlan

from kfarm_operator.admission.kueue import PAGE_OF_WORKLOADS, WORKLOADS
from kfarm_operator.client import NODES, PODS, KubeClient
from kfarm_operator.drills.delays import DelayMeter
from kfarm_operator.drills.gather import DRILLS, Gatherer
from kfarm_operator.drills.predict import Predictor
from kfarm_operator.drills.readings import drill_samples
from kfarm_operator.drills.reconcile import DrillReconciler
from kfarm_operator.drills.recorder import Recorder
from kfarm_operator.drills.settings import DrillSettings
from kfarm_operator.drills.views import (
    DrillNode,
    DrillPod,
    DrillView,
    drill_node,
    drill_pod,
    drill_view,
)
from kfarm_operator.drills.workloads import DrillWorkload, drill_workload
from kfarm_operator.mirror import Cadence, Mirror
from kfarm_operator.parts import Part, Shared, respecified
from kfarm_operator.workqueue import WorkQueue

SOON_S = 0.1
SEEN_S = 0.3
"""After something was seen; more of it usually follows."""


def _now() -> datetime:
    return datetime.now(UTC)


class DrillPart(Part):
    """FailureDrills under the drill account, with mirrors of their own."""

    def __init__(
        self,
        shared: Shared,
        client: KubeClient,
        settings: DrillSettings,
        predictor: Predictor | None = None,
        cadence: Cadence | None = None,
    ) -> None:
        self._recorder = Recorder(_now)
        self._meter = DelayMeter(_now)
        self._drills: Mirror[DrillView] = Mirror(
            client, DRILLS, drill_view, self._drill_changed, cadence=cadence,
            groups={"parent": lambda drill: drill.parent},
        )  # fmt: skip
        self._nodes: Mirror[DrillNode] = Mirror(
            client, NODES, drill_node, self._node_seen, name="nodes-drills", cadence=cadence,
            groups={"farm": lambda node: node.farm}, labelSelector=LABEL_FARM,
        )  # fmt: skip
        self._pods: Mirror[DrillPod] = Mirror(
            client, PODS, drill_pod, self._pod_seen, name="pods-drills", cadence=cadence,
            groups={
                "plan": lambda pod: (pod.namespace, pod.plan),
                "node": lambda pod: pod.node,
            },
        )  # fmt: skip
        self._workloads: Mirror[DrillWorkload] = Mirror(
            client, WORKLOADS, drill_workload, self._workload_seen, name="workloads-drills",
            groups={"namespace": lambda workload: workload.namespace},
            optional=True, cadence=cadence, limit=PAGE_OF_WORKLOADS,
        )  # fmt: skip
        gatherer = Gatherer(
            client, shared.index, self._drills, self._nodes, self._pods, self._workloads,
            self._recorder, settings, self._meter, _now, asks_twin=predictor is not None,
        )  # fmt: skip
        self.reconciler = DrillReconciler(
            client, gatherer, self._recorder, shared.threads, settings, predictor, _now
        )
        self.queue = WorkQueue[tuple[str, str]](self.reconciler.reconcile, name="drills")
        self.queues = (self.queue,)
        shared.instruments.read(lambda: drill_samples(self._drills.values(), _now()))
        self.mirrors = (self._drills, self._nodes, self._pods, self._workloads)

    def object_changed(self, before: Kind | None, after: Kind | None) -> None:
        """Enqueue the drills that a farm, a profile or a plan may concern."""
        match after or before:
            case GPUFarm() | NPUFarm() as farm if respecified(before, after):
                for drill in self._drills.values():
                    if drill.farm == (farm.kind, farm.metadata.name):
                        self.queue.add_threadsafe((drill.namespace, drill.name), SOON_S)
            case PlacementPlan() as plan:
                for drill in self._drills.values():
                    if drill.namespace == plan.metadata.namespace and (
                        plan.metadata.name in drill.plans and drill.phase != "Completed"
                    ):
                        self.queue.add_threadsafe((drill.namespace, drill.name), SOON_S)
            case AcceleratorProfile() if respecified(before, after):
                self.enqueue_all()

    def enqueue_all(self) -> None:
        """Look at every drill."""
        for drill in self._drills.values():
            self.queue.add_threadsafe((drill.namespace, drill.name))

    def _drill_changed(self, before: DrillView | None, after: DrillView | None) -> None:
        drill = after or before
        if drill is None:
            return
        self.queue.add_threadsafe((drill.namespace, drill.name))
        for other in self._drills.values() if drill.parent else ():
            if other.uid == drill.parent:
                self.queue.add_threadsafe((other.namespace, other.name), SOON_S)
        ended = after is None or after.phase == "Completed"
        if ended and not (before is not None and before.phase == "Completed"):
            for other in self._drills.values():
                if other.phase == "Waiting":
                    self.queue.add_threadsafe((other.namespace, other.name), SOON_S)

    def _node_seen(self, before: DrillNode | None, after: DrillNode | None) -> None:
        if before == after:
            return
        for key in self._recorder.node_changed(before, after):
            self.queue.add_threadsafe(key, SEEN_S)

    def _pod_seen(self, before: DrillPod | None, after: DrillPod | None) -> None:
        if before == after:
            return
        self._meter.pod_changed(before, after)
        for key in self._recorder.pod_changed(before, after):
            self.queue.add_threadsafe(key, SEEN_S)

    def _workload_seen(self, before: DrillWorkload | None, after: DrillWorkload | None) -> None:
        if before == after:
            return
        for key in self._recorder.workload_changed(before, after):
            self.queue.add_threadsafe(key, SEEN_S)
