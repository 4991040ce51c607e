"""Status of profiles and policies: whether they can do what they are for."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from kfarm_api.parse import BY_KIND
from kfarm_api.policy import ValidationPolicy
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.v1alpha1 import Kind

from kfarm_operator.client import KubeClient, kfarm_resource
from kfarm_operator.conditions import Status, condition
from kfarm_operator.gate_watch import REMEDY, UNSEEN
from kfarm_operator.index import Index
from kfarm_operator.parts import Part, Shared
from kfarm_operator.workqueue import WorkQueue

Described = AcceleratorProfile | ValidationPolicy
Faults = tuple[str, ...]


def least_futures(quantile: int, confidence: int, checks: int) -> int:
    """Futures below which a check cannot be approved even when all of them meet its bound.

    With n futures that all meet the bound no likelihood ratio against the share q exceeds
    ``q**-n``; by Ville's inequality it must reach ``checks / (1 - confidence)``.
    """
    error = (1.0 - confidence / 100.0) / checks
    return math.ceil(math.log(1.0 / error) / -math.log(quantile / 100.0) - 1e-9)


def describe(item: Described) -> tuple[bool, str, str]:
    """Whether the object is of use, a reason, and a sentence with the remedy."""
    if isinstance(item, AcceleratorProfile):
        names = ", ".join(item.spec.resource_names)
        return True, "Accepted", f"pods that request {names} are gated in enforced namespaces"
    checks, most = item.spec.checks, item.spec.simulation.futures.max
    for check in checks:
        least = least_futures(check.quantile, check.confidence, len(checks))
        if most < least:
            return (
                False,
                "TooFewFutures",
                f"check {check.metric} needs at least {least} futures to be approved, and "
                f"simulation.futures.max is {most}: no plan can pass; raise it, or ask for a "
                "lower quantile or confidence",
            )
    return True, "Accepted", f"{len(checks)} checks, {len(item.spec.survives)} faults to survive"


def describe_gate(faults: Faults) -> tuple[Status, str, str]:
    """Whether the gate is degraded, a reason, and a sentence with the remedy."""
    if faults == UNSEEN:
        return "Unknown", "GateUnread", "; ".join(faults)
    if faults:
        said = f"nothing is released: {'; '.join(faults)}. {REMEDY}"
        return "True", "GateDegraded", said
    return "False", "GateShut", "the policies of the gate are there as they should be"


def wanted_status(item: Described, now: datetime, faults: Faults | None = None) -> dict[str, Any]:
    """The whole status as it should stand.

    Parameters
    ----------
    faults
        What is amiss with the gate; where given, a ValidationPolicy says whether it is Degraded,
        since it is by the gate that its limits hold.
    """
    good, reason, message = describe(item)
    generation = item.metadata.generation
    found: list[tuple[str, Status, str, str]] = [
        ("Ready", "True" if good else "False", reason, message)
    ]
    if faults is not None and isinstance(item, ValidationPolicy):
        found.append(("Degraded", *describe_gate(faults)))
    before = item.status.conditions if item.status else ()
    conditions = [
        condition(kind, status, why, said, generation=generation, before=before, now=now)
        for kind, status, why, said in found
    ]
    return {"observedGeneration": generation, "conditions": conditions}


class CatalogueReconciler:
    """Keeps the status of profiles and policies up to date.

    Parameters
    ----------
    clients
        By kind, the account that may write its status; kinds left out are left alone.
    """

    def __init__(
        self,
        clients: Mapping[str, KubeClient],
        index: Index,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._clients = clients
        self._index = index
        self._clock = clock
        self.gate_faults: Callable[[], Faults | None] = lambda: None

    async def reconcile(self, key: tuple[str, str]) -> float | None:
        """Bring the status of one object up to date; `key` is (kind, name)."""
        if key[0] in self._clients:
            await asyncio.get_running_loop().run_in_executor(None, self._reconcile, *key)
        return None

    def _reconcile(self, kind: str, name: str) -> None:
        client = self._clients[kind]
        resource = kfarm_resource(BY_KIND[kind].info.plural)
        body = client.get(resource, name)
        item = self._index.put(body) if body else None
        if body is None or not isinstance(item, AcceleratorProfile | ValidationPolicy):
            return
        wanted = wanted_status(item, self._clock(), self.gate_faults())
        if body.get("status") == wanted:
            return
        meta = body["metadata"]
        precondition = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
        patch = {"metadata": precondition, "status": wanted}
        self._index.put(client.patch(resource, name, patch, sub="status"))


class CataloguePart(Part):
    """Profiles under the farm account, policies under the gate account."""

    def __init__(self, shared: Shared) -> None:
        self._index = shared.index
        clients: dict[str, KubeClient] = {}
        if shared.does("farm"):
            clients["AcceleratorProfile"] = shared.accounts.farm
        if shared.does("gate"):
            clients["ValidationPolicy"] = shared.accounts.gate
        self._kinds = set(clients)
        self._reconciler = CatalogueReconciler(clients, shared.index)
        self.queue = WorkQueue[tuple[str, str]](
            self._reconciler.reconcile, workers=1, name="catalogue"
        )
        self.queues = (self.queue,)

    def watch_gate(self, faults: Callable[[], Faults]) -> None:
        """Let ValidationPolicies say what is amiss with the gate."""
        self._reconciler.gate_faults = faults

    def object_changed(self, before: Kind | None, after: Kind | None) -> None:
        """Enqueue a profile or policy that changed; its status too, which others may not spoil."""
        if after is not None and after.kind in self._kinds:
            self.queue.add_threadsafe((after.kind, after.metadata.name))

    def enqueue_all(self) -> None:
        """Look at every profile and policy."""
        described: list[Described] = [
            *self._index.all(AcceleratorProfile),
            *self._index.all(ValidationPolicy),
        ]
        for item in described:
            self.object_changed(None, item)
