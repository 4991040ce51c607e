"""When farms are looked at again."""

from __future__ import annotations

from kfarm_api.v1alpha1 import AcceleratorProfile, GPUFarm, Kind, NPUFarm

from kfarm_operator.farms.reconcile import FarmReconciler
from kfarm_operator.parts import Part, Shared, respecified
from kfarm_operator.views import NodeView
from kfarm_operator.workqueue import WorkQueue

DEBOUNCE_S = 0.5


class FarmPart(Part):
    """Farms under the farm account."""

    def __init__(self, shared: Shared) -> None:
        self._index = shared.index
        self.reconciler = FarmReconciler(
            shared.accounts.farm, shared.index, shared.nodes, shared.threads
        )
        self.queue = WorkQueue[tuple[str, str]](self.reconciler.reconcile, name="farms")
        self.queues = (self.queue,)

    def object_changed(self, before: Kind | None, after: Kind | None) -> None:
        """Enqueue a farm that changed; all of them for a profile."""
        match after or before:
            case GPUFarm() | NPUFarm() as farm:
                self.queue.add_threadsafe((farm.kind, farm.metadata.name))
            case AcceleratorProfile() if respecified(before, after):
                self.enqueue_all()

    def node_changed(self, before: NodeView | None, after: NodeView | None) -> None:
        """Enqueue the farms of a node, a moment later."""
        for node in (before, after):
            if node is not None:
                self.queue.add_threadsafe(node.farm, DEBOUNCE_S)

    def enqueue_all(self) -> None:
        """Look at every farm."""
        for farm in self._index.farms():
            self.queue.add_threadsafe((farm.kind, farm.metadata.name))
