"""When TwinRuns are looked at again."""

from __future__ import annotations

from kfarm_api.v1alpha1 import AcceleratorProfile, GPUFarm, Kind, NPUFarm

from kfarm_operator.client import KubeClient
from kfarm_operator.mirror import Cadence, Mirror
from kfarm_operator.parts import Part, Shared, respecified
from kfarm_operator.twinruns.reconcile import TWIN_RUNS, Player, TwinRunReconciler
from kfarm_operator.views import RunView, run_view
from kfarm_operator.workqueue import WorkQueue

SOON_S = 0.1


class RunPart(Part):
    """TwinRuns under the what-if account; they come from a mirror of their own."""

    def __init__(
        self, shared: Shared, client: KubeClient, player: Player, cadence: Cadence | None = None
    ) -> None:
        self._runs: Mirror[RunView] = Mirror(
            client, TWIN_RUNS, run_view, self._run_changed, cadence=cadence
        )
        reconciler = TwinRunReconciler(client, shared.index, player, self._latest)
        self.queue = WorkQueue[tuple[str, str]](
            reconciler.reconcile, name="twinruns", group=lambda key: key[0]
        )
        self.queues = (self.queue,)
        self.mirrors = (self._runs,)

    def object_changed(self, before: Kind | None, after: Kind | None) -> None:
        """Enqueue the runs that name a farm; all of them for a profile."""
        match after or before:
            case GPUFarm() | NPUFarm() as farm:
                key = (farm.kind, farm.metadata.name)
                for run in self._runs.values():
                    if key in run.farms:
                        self.queue.add_threadsafe((run.namespace, run.name), SOON_S)
            case AcceleratorProfile() if respecified(before, after):
                self.enqueue_all()

    def enqueue_all(self) -> None:
        """Look at every run."""
        for run in self._runs.values():
            self.queue.add_threadsafe((run.namespace, run.name))

    def _run_changed(self, before: RunView | None, after: RunView | None) -> None:
        """From the mirror's thread: a TwinRun came, went or was edited."""
        run = after or before
        if run is not None and (before is None or after is None or before != after):
            self.queue.add_threadsafe((run.namespace, run.name))

    def _latest(self, key: tuple[str, str]) -> tuple[str, int] | None:
        run = self._runs.get(*key)
        return None if run is None else (run.uid, run.generation)
