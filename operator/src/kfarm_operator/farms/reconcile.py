"""Farms: gather, decide, apply, status."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Literal

from kfarm_api.farm import Farm, GPUFarm, NPUFarm

from kfarm_operator.client import (
    NODES,
    ApiError,
    KubeClient,
    kfarm_resource,
)
from kfarm_operator.conditions import transitions
from kfarm_operator.events import Events
from kfarm_operator.farms.contest import contest_condition, contests
from kfarm_operator.farms.decide import FarmDecision, NodePatch, decide, decide_deletion
from kfarm_operator.farms.status import farm_status
from kfarm_operator.index import Index
from kfarm_operator.mirror import Mirror
from kfarm_operator.queues.decide import QueueDecision
from kfarm_operator.queues.keep import QueueKeeper
from kfarm_operator.queues.status import QueueState, queues_condition
from kfarm_operator.views import NodeView, node_view

FINALIZER = "kfarm.dev/nodes"
SETTLE_S = 0.5
UNDER_WAY = ("Creating", "CreatingNodes")
"""Reasons that pass by themselves; no Event tells of them."""
SELECTOR_RELIST_S = 30.0
_TRANSIENT = (0, 429)
_KINDS = ("GPUFarm", "NPUFarm")
_LOG = logging.getLogger(__name__)


class FarmReconciler:
    """Keeps the Nodes of farms as the farms say, under the farm account."""

    def __init__(
        self,
        client: KubeClient,
        index: Index,
        nodes: Mirror[NodeView],
        threads: ThreadPoolExecutor,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._index = index
        self._nodes = nodes
        self._threads = threads
        self._clock = clock
        self._queues = QueueKeeper(client)
        self._events = Events(client)

    async def reconcile(self, key: tuple[str, str]) -> float | None:
        """Bring one farm to what it says; `key` is (kind, name).

        A node that was given back names no farm: its key is empty.
        """
        if key[0] not in _KINDS:
            return None
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, self._reconcile, *key)

    def _reconcile(self, kind: str, name: str) -> float | None:
        resource = kfarm_resource(f"{kind.lower()}s")
        body = self._client.get(resource, name)
        if body is None:
            return None
        farm = self._index.put(body)
        if not isinstance(farm, GPUFarm | NPUFarm):
            return None
        if farm.metadata.deletion_timestamp:
            return self._finalize(farm, body)
        if FINALIZER not in (body["metadata"].get("finalizers") or ()):
            self._set_finalizers(body, [*(body["metadata"].get("finalizers") or ()), FINALIZER])
            return 0.0
        decision = decide(
            farm,
            self._index.profiles(),
            {n.name: n for n in self._nodes.values()},
            self._select(farm),
        )
        self._apply(decision)
        queues, delay = self._queues.keep(farm, self._index.profiles())
        self._write_status(farm, decision, queues, body)
        if decision.writes:
            return SETTLE_S
        selects = any(c.source.selector is not None for c in farm.spec.clusters)
        return _sooner(delay, SELECTOR_RELIST_S if selects else None)

    def _select(self, farm: Farm) -> dict[str, list[NodeView]]:
        found: dict[str, list[NodeView]] = {}
        for cluster in farm.spec.clusters:
            if cluster.source.selector is not None:
                labels = cluster.source.selector.match_labels
                selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
                bodies = self._client.items(NODES, labelSelector=selector)
                found[cluster.name] = [node_view(body) for body in bodies]
        return found

    def _apply(self, decision: FarmDecision) -> None:
        if decision.create:
            _LOG.info("creating %d nodes", len(decision.create))
        self._each(self._create, decision.create)
        self._each(self._patch, decision.patch)
        self._each(self._delete, decision.delete)

    def _each(self, write: Callable[[Any], None], items: Iterable[Any]) -> None:
        """Make all writes side by side; the first that fails is raised after the rest."""
        errors = [error for error in self._threads.map(_caught(write), items) if error]
        if errors:
            raise errors[0]

    def _create(self, body: dict[str, Any]) -> None:
        try:
            self._nodes.put(self._client.create(NODES, body))
        except ApiError as error:
            if not error.conflict:
                raise
            taken = self._client.get(NODES, body["metadata"]["name"])
            if taken is not None:
                self._nodes.put(taken)

    def _patch(self, patch: NodePatch) -> None:
        name = patch.node.name
        try:
            live = self._client.get(NODES, name)
            if live is None or live["metadata"]["uid"] != patch.node.uid:
                return
            answer = self._client.patch(NODES, name, patch.body(live))
            if patch.status is not None:
                body = {**patch.status, "metadata": {"uid": patch.node.uid}}
                answer = self._client.patch(NODES, name, body, sub="status")
        except ApiError as error:
            if error.conflict or error.not_found:
                _LOG.debug("node %s changed meanwhile", name)
                return
            raise
        self._nodes.put(answer)

    def _delete(self, node: NodeView) -> None:
        self._client.delete(NODES, node.name, uid=node.uid)

    def _finalize(self, farm: Farm, body: dict[str, Any]) -> float | None:
        queues = self._retire(farm)
        decision = decide_deletion(farm, self._nodes.values())
        self._apply(decision)
        mine = [n for n in self._nodes.values() if n.farm == (farm.kind, farm.metadata.name)]
        if decision.writes or mine or queues.delete:
            return SETTLE_S
        if queues.draining:
            self._leave_to_kueue(farm, queues)
        finalizers = [f for f in body["metadata"].get("finalizers") or () if f != FINALIZER]
        if len(finalizers) < len(body["metadata"].get("finalizers") or ()):
            self._set_finalizers(body, finalizers)
        return None

    def _retire(self, farm: Farm) -> QueueDecision:
        """Delete the farm's queues; a Kueue that refuses does not hold up the farm's end."""
        try:
            return self._queues.retire(farm)
        except ApiError as error:
            if error.status in _TRANSIENT:
                raise
            message = f"{error}; the garbage collector takes the queues, which the farm owns"
            self._events.post(farm, "Warning", "QueuesLeft", message)
            return QueueDecision()

    def _leave_to_kueue(self, farm: Farm, queues: QueueDecision) -> None:
        """Kueue's finalizers take away the rest; a farm does not wait for jobs that run for weeks.

        Nothing is left to us: all is marked for deletion, and no new job is taken.
        """
        names = ", ".join(f"{view.kind} {view.name}" for view in queues.draining)
        message = f"{names} go when the workloads that hold their quota have ended"
        self._events.post(farm, "Warning", "QueuesDraining", message)

    def _set_finalizers(self, body: dict[str, Any], finalizers: list[str]) -> None:
        meta = body["metadata"]
        patch = {
            "metadata": {
                "uid": meta["uid"],
                "resourceVersion": meta["resourceVersion"],
                "finalizers": finalizers,
            }
        }
        self._client.patch(kfarm_resource(f"{body['kind'].lower()}s"), meta["name"], patch)

    def _write_status(
        self, farm: Farm, decision: FarmDecision, queues: QueueState, body: dict[str, Any]
    ) -> None:
        now = self._clock()
        said = queues_condition(farm, queues, now)
        before = body.get("status") or {}
        contested = contests(farm, self._index.farms(), decision.members)
        further = (said, contest_condition(farm, contested, now))
        wanted = {**before, **farm_status(farm, decision, now, further)}
        if before == wanted:
            return
        meta = body["metadata"]
        patch = {
            "metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]},
            "status": wanted,
        }
        resource = kfarm_resource(f"{farm.kind.lower()}s")
        self._index.put(self._client.patch(resource, farm.metadata.name, patch, sub="status"))
        known = farm.status.conditions if farm.status else ()
        for turned in transitions(known, wanted["conditions"]):
            if turned.reason in UNDER_WAY:
                continue
            kind: Literal["Normal", "Warning"] = "Normal" if turned.status == "True" else "Warning"
            self._events.post(farm, kind, turned.reason, turned.message)


def _sooner(one: float | None, other: float | None) -> float | None:
    return min((delay for delay in (one, other) if delay is not None), default=None)


def _caught(write: Callable[[Any], None]) -> Callable[[Any], Exception | None]:
    def attempt(item: Any) -> Exception | None:
        try:
            write(item)
        except ApiError as error:
            return error
        return None

    return attempt
