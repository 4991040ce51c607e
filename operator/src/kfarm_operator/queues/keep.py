"""Queues of farms: gather and apply, under the farm account."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from kfarm_api.farm import Farm
from kfarm_api.layout import LABEL_FARM, LABEL_FARM_KIND
from kfarm_api.profile import AcceleratorProfile

from kfarm_operator.client import ApiError, KubeClient, Resource
from kfarm_operator.queues.decide import (
    Key,
    KueueView,
    QueueDecision,
    decide,
    decide_deletion,
    kueue_view,
)
from kfarm_operator.queues.manifests import objects_of
from kfarm_operator.queues.status import QueueState

GROUP, VERSION = "kueue.x-k8s.io", "v1beta2"
RESOURCES = {
    "Topology": Resource(GROUP, VERSION, "topologies"),
    "ResourceFlavor": Resource(GROUP, VERSION, "resourceflavors"),
    "Cohort": Resource(GROUP, VERSION, "cohorts"),
    "ClusterQueue": Resource(GROUP, VERSION, "clusterqueues"),
}
DISCOVERY_S = 10.0
FRESH_S = 20.0
SETTLE_S = 1.0
RETRY_S = 15.0
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Kept:
    """What was found of a farm's queues, for which spec and when."""

    mark: tuple[object, ...]
    at: float
    state: QueueState


class QueueKeeper:
    """Keeps Kueue's objects as farms say. Not for two threads on one farm."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._served, self._asked = False, -DISCOVERY_S

    def keep(
        self, farm: Farm, profiles: Mapping[str, AcceleratorProfile]
    ) -> tuple[QueueState, float | None]:
        """Bring a farm's queues to what it says; returns what came of it and when to look again.

        Nodes come and go more often than queues change: what was settled a moment ago is not read
        again. Kueue's failures end here, so that nodes are seen to whatever Kueue does.
        """
        key, mark = (farm.kind, farm.metadata.name), _mark(farm, profiles)
        kept = self._kept.get(key)
        now = time.monotonic()
        if kept is not None and kept.mark == mark and now - kept.at < FRESH_S:
            return kept.state, None
        try:
            state = self._keep(farm, profiles)
        except ApiError as error:
            _LOG.warning("queues of %s %s: %s", *key, error)
            return QueueState(installed=True, failure=str(error)), RETRY_S
        delay = _look_again(state.decision)
        if delay is None:
            self._kept[key] = _Kept(mark, now, state)
        else:
            self._kept.pop(key, None)
        return state, delay

    def retire(self, farm: Farm) -> QueueDecision:
        """Delete what was made for a farm that goes.

        Raises
        ------
        ApiError
            When Kueue's objects cannot be read or deleted.
        """
        self._kept.pop((farm.kind, farm.metadata.name), None)
        if not self._installed():
            return QueueDecision()
        decision = decide_deletion(farm, self._ours(farm))
        self._apply(decision)
        return decision

    def _keep(self, farm: Farm, profiles: Mapping[str, AcceleratorProfile]) -> QueueState:
        if not self._installed():
            return QueueState(installed=False)
        decision = decide(farm, profiles, self._gather(farm, profiles))
        self._apply(decision)
        return QueueState(installed=True, decision=decision)

    def _installed(self) -> bool:
        """Whether the API server serves all four kinds; asked now and then."""
        if time.monotonic() - self._asked >= DISCOVERY_S:
            served = self._client.served(GROUP, VERSION)
            self._served = {resource.plural for resource in RESOURCES.values()} <= served
            self._asked = time.monotonic()
        return self._served

    def _gather(
        self, farm: Farm, profiles: Mapping[str, AcceleratorProfile]
    ) -> dict[Key, KueueView]:
        """What carries the farm's marks, and what else stands under names that it asks for."""
        seen = self._ours(farm)
        managed = farm.spec.kueue is None or farm.spec.kueue.manage
        if not managed or any(c.accelerator not in profiles for c in farm.spec.clusters):
            return seen
        for body in objects_of(farm, profiles)[0]:
            key = (body["kind"], body["metadata"]["name"])
            if key not in seen:
                live = self._client.get(RESOURCES[key[0]], key[1])
                if live is not None:
                    seen[key] = kueue_view(key[0], live)
        return seen

    def _ours(self, farm: Farm) -> dict[Key, KueueView]:
        marks = {LABEL_FARM: farm.metadata.name, LABEL_FARM_KIND: farm.kind}
        selector = ",".join(f"{key}={value}" for key, value in marks.items())
        seen: dict[Key, KueueView] = {}
        for kind, resource in RESOURCES.items():
            for body in self._client.items(resource, labelSelector=selector):
                view = kueue_view(kind, body)
                seen[view.key] = view
        return seen

    def _apply(self, decision: QueueDecision) -> None:
        """Make the writes in order; what changed meanwhile is looked at again later."""
        for item in decision.apply:
            body = item.with_precondition()
            try:
                self._client.apply(RESOURCES[body["kind"]], body["metadata"]["name"], body)
            except ApiError as error:
                if not (error.conflict or error.not_found):
                    raise
                decision.unsettled = True
        for view in decision.delete:
            try:
                self._client.delete(RESOURCES[view.kind], view.name, uid=view.uid)
            except ApiError as error:
                if not error.conflict:
                    raise


def _mark(farm: Farm, profiles: Mapping[str, AcceleratorProfile]) -> tuple[object, ...]:
    """Changes when anything that decides about the queues does."""
    devices = tuple(
        profiles[c.accelerator].spec.resource_names[0] if c.accelerator in profiles else None
        for c in farm.spec.clusters
    )
    return farm.metadata.uid, farm.metadata.generation, devices


def _look_again(decision: QueueDecision | None) -> float | None:
    if decision is None:
        return None
    if decision.writes or decision.unsettled:
        return SETTLE_S
    return RETRY_S if decision.problems or decision.draining else None
