"""When farms are looked at again by the live twin."""

from __future__ import annotations

from kfarm_api.v1alpha1 import GPUFarm, Kind, NPUFarm

from kfarm_operator.live.gauges import LiveGauges
from kfarm_operator.live.reconcile import LiveReconciler
from kfarm_operator.parts import Part, Shared, respecified
from kfarm_operator.views import NodeView
from kfarm_operator.workqueue import WorkQueue

DEBOUNCE_S = 1.0


class LivePart(Part):
    """What monitoring says of farms, under the farm account."""

    def __init__(self, shared: Shared) -> None:
        self._index = shared.index
        self.reconciler = LiveReconciler(
            shared.accounts.farm,
            shared.index,
            shared.nodes,
            gauges=LiveGauges.register(shared.instruments.registry),
        )
        self.queue = WorkQueue[tuple[str, str]](self.reconciler.reconcile, name="live")
        self.queues = (self.queue,)

    def object_changed(self, before: Kind | None, after: Kind | None) -> None:
        """Enqueue a farm that came, went or was edited."""
        match after or before:
            case GPUFarm() | NPUFarm() as farm if respecified(before, after):
                self.queue.add_threadsafe((farm.kind, farm.metadata.name), DEBOUNCE_S)

    def node_changed(self, before: NodeView | None, after: NodeView | None) -> None:
        """Count nodes that stop being Ready, and look at new faults soon."""
        self.reconciler.node_changed(before, after)
        if after is not None and after.faults != (before.faults if before else ()):
            self.queue.add_threadsafe(after.farm, DEBOUNCE_S)

    def enqueue_all(self) -> None:
        """Look at every farm whose time has come."""
        for farm in self._index.farms():
            self.queue.add_threadsafe((farm.kind, farm.metadata.name), DEBOUNCE_S)
