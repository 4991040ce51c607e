"""Stories in which Kueue admits and the twin is its check; they need a Kueue that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from kfarm_controlplane.faults import bodies
from kfarm_controlplane.faults.acts import CHECKS, PLANS, WORKLOADS, Acts
from kfarm_controlplane.faults.oracle import Masks
from kfarm_controlplane.faults.plan_scenarios import Base

if TYPE_CHECKING:
    from kfarm_controlplane.faults.stage import Stage


class Queued(Base):
    """A queue over the farm, behind our check.

    The order in which Kueue seats pods on nodes is its own.
    """

    kueue = True
    keeps_farm = False
    masks = Masks(nodes=True)

    def prepare(self, stage: Stage) -> None:
        """Queues over the farm, the check active."""
        super().prepare(stage)
        acts, name = Acts(stage), self.queue(stage)
        acts.apply(*bodies.queue(name, stage.farm, stage.namespace, 8 * self.nodes))
        acts.plan(pods=self.pods, placement="Kueue")
        stage.until(lambda: _active(stage, name), "the check to be active")

    pods: ClassVar[int] = 2

    def queue(self, stage: Stage) -> str:
        """Name of queue, flavor, topology and check; the farm's own queues have other names."""
        return f"{stage.farm}-by-hand"

    def settled(self, stage: Stage) -> bool:
        """All pods are bound, and the plan counts them."""
        acts = Acts(stage)
        return (
            acts.bound() == self.pods
            and acts.status().get("bound") == self.pods
            and acts.claimants() == ["train"]
        )


def _active(stage: Stage, name: str) -> bool:
    status = (stage.client.get(CHECKS, name) or {}).get("status") or {}
    return any(
        c["type"] == "Active" and c["status"] == "True" for c in status.get("conditions", ())
    )


class KueueReady(Queued):
    """A queued gang is validated where Kueue placed it, and released there."""

    name = "kueue_ready"

    def play(self, stage: Stage) -> None:
        """Queue the Job."""
        Acts(stage).apply(bodies.queued_job(stage.namespace, pods=self.pods))


class KueueRetry(Queued):
    """Nodes that a plan of kfarm's own has claimed are retried until they are free.

    How often, depends on how long that takes.
    """

    name = "kueue_retry"
    pods = 4
    masks = Masks(nodes=True, drop=frozenset({"epoch"}), uncounted=("verdicts ",))

    def play(self, stage: Stage) -> None:
        """Queue the Job beside an approved plan; delete the plan after the first retry."""
        acts = Acts(stage)
        acts.plan("own", pods=2)
        stage.until(lambda: acts.verdict("own") == "Approved", "the other plan's verdict")
        acts.apply(bodies.queued_job(stage.namespace, pods=self.pods))
        stage.until(lambda: acts.entry().get("retryCount", 0) >= 1, "a retry")
        acts.delete(PLANS, "own")


class KueueEvicted(Queued):
    """A running gang is evicted, and admitted once more."""

    name = "kueue_evicted"
    masks = Masks(nodes=True, uncounted=("evict ",))

    def play(self, stage: Stage) -> None:
        """Deactivate the Workload, and activate it again."""
        acts = Acts(stage)
        acts.apply(bodies.queued_job(stage.namespace, pods=self.pods))
        stage.until(lambda: acts.bound() == self.pods, "the gang")
        self._activate(acts, active=False)
        stage.until(lambda: not acts.workload_says("QuotaReserved"), "the eviction")
        stage.until(lambda: not acts.all_pods() and not acts.claims(), "the gang's end")
        self._activate(acts, active=True)

    @staticmethod
    def _activate(acts: Acts, *, active: bool) -> None:
        name = acts.workload()["metadata"]["name"]
        acts.patch(WORKLOADS, name, {"spec": {"active": active}}, acts.space)
