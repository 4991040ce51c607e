"""What users of a scenario do and see: short words over the API, straight at the server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from kfarm_operator.client import NODES, PODS, ApiError, Resource, kfarm_resource

from kfarm_controlplane.client import NOT_READY_LABEL
from kfarm_controlplane.faults import bodies
from kfarm_controlplane.faults.invariants import gated

if TYPE_CHECKING:
    from kfarm_controlplane.faults.stage import Stage

Body = dict[str, Any]
MANAGER = "campaign"
PLANS = kfarm_resource("placementplans")
FARMS = kfarm_resource("gpufarms")
LEDGERS = kfarm_resource("nodeledgers")
PROFILES = kfarm_resource("acceleratorprofiles")
POLICIES = kfarm_resource("validationpolicies")
KUEUE = "kueue.x-k8s.io"
WORKLOADS = Resource(KUEUE, "v1beta2", "workloads")
CHECKS = Resource(KUEUE, "v1beta2", "admissionchecks")
_PLURALS = {
    "Namespace": "namespaces",
    "Pod": "pods",
    "Job": "jobs",
    "GPUFarm": "gpufarms",
    "AcceleratorProfile": "acceleratorprofiles",
    "ValidationPolicy": "validationpolicies",
    "PlacementPlan": "placementplans",
    "FailureDrill": "failuredrills",
    "Topology": "topologies",
    "ResourceFlavor": "resourceflavors",
    "AdmissionCheck": "admissionchecks",
    "ClusterQueue": "clusterqueues",
    "LocalQueue": "localqueues",
}


NOT_YET = "failed to configure policy"
"""What the API server says of a policy while it looks up the kind of its parameters anew."""


def insist(work: Callable[[], object], seconds: float = 60.0) -> None:
    """Do something, again and again while the API server is away; done already is done."""
    deadline, again = time.monotonic() + seconds, False
    while True:
        try:
            work()
        except ApiError as error:
            away = error.status in {0, 429} or error.status >= 500 or NOT_YET in error.message
            if again and error.reason == "AlreadyExists":
                return
            if not away or time.monotonic() > deadline:
                raise
            again = True
            time.sleep(0.2)
        else:
            return


class Acts:
    """A user at work on one stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.client = stage.client
        self.space = stage.namespace
        self.farm = stage.farm

    def apply(self, *objects: Body) -> None:
        """Apply objects one after the other, server-side."""
        for body in objects:
            group, _, version = body["apiVersion"].rpartition("/")
            meta = body["metadata"]
            resource = Resource(group, version, _PLURALS[body["kind"]])
            insist(partial(
                self.client.apply, resource, meta["name"], body,
                manager=MANAGER, namespace=meta.get("namespace"),
            ))  # fmt: skip

    def plan(self, name: str = "train", **more: Any) -> None:
        """Apply a plan on the farm."""
        self.apply(bodies.plan(self.space, self.farm, name, **more))

    def pods(self, *names: str, plan: str = "train", **more: Any) -> None:
        """Create pods of a plan."""
        for name in names:
            body = bodies.pod(self.space, name, plan, **more)
            insist(partial(self.client.create, PODS, body, self.space))

    def delete(self, resource: Resource, name: str) -> None:
        """Delete an object of the namespace."""
        insist(partial(self.client.delete, resource, name, uid=None, namespace=self.space))

    def delete_shared(self, resource: Resource, name: str) -> None:
        """Delete an object that is in no namespace."""
        insist(partial(self.client.delete, resource, name, uid=None))

    def create(self, resource: Resource, body: Body) -> None:
        """Create an object that is in no namespace."""
        insist(partial(self.client.create, resource, body))

    def patch(self, resource: Resource, name: str, body: Body, space: str | None = None) -> None:
        """Change fields of an object."""
        insist(partial(self.client.patch, resource, name, body, namespace=space))

    def status(self, plan: str = "train") -> Body:
        """Status of a plan, if it is about the plan as it stands; else nothing."""
        body = self.client.get(PLANS, plan, self.space) or {"metadata": {}}
        status = dict(body.get("status") or {})
        about = status.get("observedGeneration")
        return status if about == body["metadata"].get("generation") else {}

    def verdict(self, plan: str = "train") -> str:
        """Verdict on the plan as it stands, or nothing."""
        return str(self.status(plan).get("verdict") or "")

    def condition(self, plan: str, kind: str) -> tuple[str, str]:
        """Status and reason of a plan's condition."""
        found = {c["type"]: c for c in self.status(plan).get("conditions") or ()}
        given = found.get(kind, {})
        return str(given.get("status", "")), str(given.get("reason", ""))

    def whole(self, plan: str = "train") -> bool:
        """Whether all slots of a plan are bound, and its status says so."""
        status = self.status(plan)
        bound = status.get("bound", 0)
        told = self.condition(plan, "Released")[0] == "True"
        return bool(bound) and bound == status.get("slots") and told

    def pod(self, name: str) -> Body | None:
        """A pod, or None."""
        return self.client.get(PODS, name, self.space)

    def all_pods(self) -> list[Body]:
        """All pods of the namespace."""
        selector = f"metadata.namespace={self.space}"
        return list(self.client.items(PODS, fieldSelector=selector))

    def bound(self) -> int:
        """How many pods have a node."""
        return sum(bool(pod["spec"].get("nodeName")) for pod in self.all_pods())

    def is_bound(self, name: str) -> bool:
        """Whether a pod is there and has a node."""
        return bool(((self.pod(name) or {}).get("spec") or {}).get("nodeName"))

    def pinned(self, name: str) -> str:
        """The host that a released pod is pinned to; nothing while it is gated."""
        pod = self.pod(name)
        if pod is None or gated(pod):
            return ""
        return str((pod["spec"].get("nodeSelector") or {}).get("kubernetes.io/hostname", ""))

    def claims(self) -> list[Body]:
        """Claims on the farm."""
        ledger = self.client.get(LEDGERS, f"gpufarm.{self.farm}") or {}
        return list((ledger.get("spec") or {}).get("claims") or ())

    def claimants(self) -> list[str]:
        """Plans that hold claims on the farm."""
        return sorted(str(claim["plan"]) for claim in self.claims())

    def farm_ready(self, nodes: int | None = None) -> bool:
        """Whether the farm, as it stands, has all its nodes."""
        body = self.client.get(FARMS, self.farm) or {"metadata": {}}
        status = body.get("status") or {}
        if status.get("observedGeneration") != body["metadata"].get("generation"):
            return False
        ready = any(
            c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ()
        )
        return ready and nodes in (None, status.get("nodes"))

    def farm_nodes(self) -> list[Body]:
        """Nodes that carry the farm's label."""
        return list(self.client.items(NODES, labelSelector=f"kfarm.dev/farm={self.farm}"))

    def node(self, name: str) -> Body:
        """A node, or nothing to see."""
        return self.client.get(NODES, name) or {"metadata": {}, "spec": {}}

    def node_ready(self, name: str) -> bool:
        """Whether a node says that it is Ready."""
        node = self.client.get(NODES, name) or {}
        conditions = (node.get("status") or {}).get("conditions") or ()
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def fail(self, node: str, *, failed: bool = True) -> None:
        """Make a node NotReady, or well again."""
        label = {NOT_READY_LABEL: "true" if failed else None}
        self.patch(NODES, node, {"metadata": {"labels": label}})

    def workload(self, job: str = "train") -> Body:
        """The Workload of a Job, or nothing."""
        selector = f"metadata.namespace={self.space}"
        found: Iterable[Body] = self.client.items(WORKLOADS, fieldSelector=selector)
        for body in found:
            if any(o["name"] == job for o in body["metadata"].get("ownerReferences") or ()):
                return body
        return {}

    def workload_says(self, kind: str, job: str = "train") -> bool:
        """Whether a condition of a Job's Workload is True."""
        conditions = (self.workload(job).get("status") or {}).get("conditions") or ()
        return any(c["type"] == kind and c["status"] == "True" for c in conditions)

    def entry(self, job: str = "train") -> Body:
        """Our entry among the checks of a Job's Workload."""
        status = self.workload(job).get("status") or {}
        return dict(next(iter(status.get("admissionChecks") or ()), {}))
