"""When plans are looked at again."""

from __future__ import annotations

import bisect
import math
import threading
from collections.abc import Sequence

from kfarm_api.ledger import NodeLedger
from kfarm_api.plan import PlacementPlan
from kfarm_api.policy import ValidationPolicy
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.v1alpha1 import GPUFarm, Kind, NPUFarm
from kfarm_twin.request import Verdict

from kfarm_operator.parts import Part, Shared, respecified
from kfarm_operator.plans.decide import Decision, Release
from kfarm_operator.plans.reconcile import PlanReconciler
from kfarm_operator.plans.request import corrections
from kfarm_operator.podmirrors import PodMirrors
from kfarm_operator.views import NodeView, PodView
from kfarm_operator.workqueue import WorkQueue

SOON_S = 0.1
NODE_DEBOUNCE_S = 1.0
PACE_S = 0.1
"""Between plans that a change of a farm may concern, so that new plans are not held up."""
LEAST_AGAIN, ROUNDS = 50, 10
"""After a re-list so many plans at least are looked at again, all of them within so many re-lists.

What changed is queued by itself; this is for what no event tells, such as a claim that expired, and
for what was overlooked. To look at a refused plan on 1,642 nodes costs 30 ms of a core.
"""
Farm = tuple[str, str]
Plan = tuple[str, str]


class PlanPart(Part):
    """Plans under the gate account.

    Changes of nodes, farms and ledgers are gathered by farm for a moment, and then concern only
    the plans that name the farm: approved ones where a node of theirs changed, others always.
    """

    def __init__(self, shared: Shared, pods: PodMirrors) -> None:
        self._index = shared.index
        self._nodes = shared.nodes
        self._instruments = shared.instruments
        self.reconciler = PlanReconciler(
            shared.accounts.gate, shared.index, shared.nodes, pods, shared.runner, shared.threads
        )
        self.queue = WorkQueue[tuple[str, str]](
            self.reconciler.reconcile, name="plans", group=lambda key: key[0]
        )
        self.reconciler.told = self._count
        self.reconciler.interrupted = self.queue.changed_meanwhile
        self._fans = WorkQueue[Farm](self._fan_out, workers=1, name="plans-of-farms")
        self._touched: dict[Farm, set[str]] = {}
        self._edited: set[Farm] = set()
        self._lock = threading.Lock()
        self._last: Plan = ("", "")
        self.queues = (self.queue, self._fans)
        self.mirrors = pods.all()

    def object_changed(self, before: Kind | None, after: Kind | None) -> None:
        """Enqueue the plans that a change may concern."""
        match after or before:
            case PlacementPlan() as plan:
                if after is None or not self.reconciler.is_own(plan):
                    self.queue.add_threadsafe(_key(plan))
            case GPUFarm() | NPUFarm() as farm:
                if respecified(before, after) or _made(before) != _made(after):
                    self._gather((farm.kind, farm.metadata.name), None, SOON_S)
            case AcceleratorProfile() if respecified(before, after):
                self.enqueue_all()
            case ValidationPolicy() as policy if respecified(before, after):
                for plan in self._index.plans_of_policy(policy.metadata.name):
                    self.queue.add_threadsafe(_key(plan), SOON_S)
            case NodeLedger() if frees(before, after):
                known = after or before
                kind, _, name = known.metadata.name.partition(".") if known else ("", "", "")
                full = next((k for k in ("GPUFarm", "NPUFarm") if k.lower() == kind), "")
                self._gather((full, name), "", NODE_DEBOUNCE_S)

    def node_changed(self, before: NodeView | None, after: NodeView | None) -> None:
        """Enqueue, a moment later, the plans of the farm."""
        for node in (before, after):
            if node is not None:
                self._gather(node.farm, node.name, NODE_DEBOUNCE_S)

    def planned_changed(self, before: PodView | None, after: PodView | None) -> None:
        """Enqueue the plan of a pod."""
        for pod in (before, after):
            if pod is not None and pod.plan:
                self.queue.add_threadsafe((pod.namespace, pod.plan), SOON_S)

    def foreign_changed(self, before: PodView | None, after: PodView | None) -> None:
        """Enqueue plans that wait for room when a pod that holds devices came or went."""
        pod = after or before
        if pod is None or not pod.shape.devices:
            return
        if before is not None and after is not None and before.terminal == after.terminal:
            return
        node = self._nodes.get("", pod.node or "")
        if node is not None:
            self._gather(node.farm, "", NODE_DEBOUNCE_S)

    def enqueue_all(self) -> None:
        """Look at every plan."""
        for plan in self._index.all(PlacementPlan):
            self.queue.add_threadsafe(_key(plan))

    def look_again(self) -> None:
        """Look at the plans whose turn it is."""
        keys = sorted(_key(plan) for plan in self._index.all(PlacementPlan))
        for key in turn(keys, self._last):
            self.queue.add_threadsafe(key)
            self._last = key

    def _count(self, step: Decision | Verdict) -> None:
        count = self._instruments.count
        match step:
            case Verdict(verdict=verdict, reason=reason):
                count("kfarm_verdicts_total", verdict, reason)
            case Release(pairs):
                count("kfarm_gate_releases_total", by=float(len(pairs)))

    async def relisted(self) -> None:
        """Drop claims of plans that are gone."""
        await self.reconciler.collect()

    def _gather(self, farm: Farm, node: str | None, delay_s: float) -> None:
        """Remember what changed of a farm; no node at all means that all plans are concerned."""
        with self._lock:
            if node is None:
                self._edited.add(farm)
            else:
                self._touched.setdefault(farm, set()).add(node)
        self._fans.add_threadsafe(farm, delay_s)

    async def _fan_out(self, farm: Farm) -> None:
        with self._lock:
            touched = self._touched.pop(farm, set())
            edited = farm in self._edited
            self._edited.discard(farm)
        pace = 0.0
        for plan in self._index.plans_of_farm(*farm):
            if edited or concerns(plan, touched):
                self.queue.add_after(_key(plan), pace)
                pace += PACE_S


def turn(keys: Sequence[Plan], last: Plan) -> Sequence[Plan]:
    """The next of all sorted keys after the last one that had its turn; then from the start."""
    count = min(len(keys), max(LEAST_AGAIN, math.ceil(len(keys) / ROUNDS)))
    first = bisect.bisect_right(keys, last)
    return [keys[(first + number) % len(keys)] for number in range(count)]


def concerns(plan: PlacementPlan, nodes: set[str]) -> bool:
    """Whether changed nodes may change what becomes of a plan: its own, or any while it waits."""
    status = plan.status
    if status is None or status.verdict != "Approved":
        return True
    if status.observed_generation != plan.metadata.generation:
        return True
    return any(slot.node in nodes for placement in status.placements for slot in placement.slots)


def _made(farm: Kind | None) -> tuple[object, ...]:
    """What of a farm's status concerns plans: how far it is made, what is bad, how warm it is."""
    if not isinstance(farm, GPUFarm | NPUFarm) or farm.status is None:
        return ()
    status = farm.status
    lost = tuple((entry.node, entry.accelerators) for entry in status.unhealthy)
    warm = tuple((found.cluster, found.inlet) for found in corrections(farm))
    return (status.observed_generation or 0, status.nodes, lost, warm)


def frees(before: Kind | None, after: Kind | None) -> bool:
    """Whether a ledger leaves more room than before on any node."""
    return any(count > _claimed(after).get(seat, 0) for seat, count in _claimed(before).items())


def _claimed(ledger: Kind | None) -> dict[tuple[str, str], int]:
    claims = ledger.spec.claims if isinstance(ledger, NodeLedger) else ()
    return {(c.uid, n.node): n.accelerators for c in claims for n in c.nodes}


def _key(plan: PlacementPlan) -> tuple[str, str]:
    return plan.metadata.namespace or "", plan.metadata.name
