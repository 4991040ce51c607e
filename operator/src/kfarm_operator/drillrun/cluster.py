"""What the runner reads from and writes to the cluster, under the account of who runs it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kfarm_api.drill import FailureDrill
from kfarm_api.drill_marks import ANNOTATION_RUNNER
from kfarm_api.parse import parse
from kfarm_api.plan import PlacementPlan

from kfarm_operator.client import NODES, PODS, ApiError, KubeClient, Resource, kfarm_resource
from kfarm_operator.drillrun.errors import BadInput, RunError
from kfarm_operator.drillrun.files import DRILLS, Body, DrillFiles, Item
from kfarm_operator.drillrun.residue import State, state_of

LEASES = Resource("coordination.k8s.io", "v1", "leases")
PLANS = kfarm_resource("placementplans")
MANAGER = "kfarm-drill-run"
KIND_NODE = "kind://"
KWOK_NODE = "kwok.x-k8s.io/node"
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
OPERATOR_PODS = "app.kubernetes.io/name=kfarm"
GONE_S = 120.0
AT_ONCE = {"gracePeriodSeconds": 0}
WITH_ITS_OWN = {"propagationPolicy": "Background"}


@dataclass(frozen=True)
class Surroundings:
    """What kind of nodes there are.

    Attributes
    ----------
    containers
        Nodes that are containers of a kind cluster, none of the control plane.
    control_plane
        The node of the control plane of a kind cluster.
    """

    containers: frozenset[str]
    control_plane: str | None


@dataclass(frozen=True)
class DrillCluster:
    """The cluster as the run of one drill sees it."""

    client: KubeClient
    namespace: str
    name: str

    def apply(self, item: Item) -> None:
        """Apply an object of the ground, as ``kubectl apply --server-side`` does."""
        try:
            self.client.apply(
                item.resource, item.name, item.body, manager=MANAGER, namespace=item.space
            )
        except ApiError as error:
            raise _refused(f"{item} ({item.where})", error) from error

    def find(self, item: Item) -> str | None:
        """Uid of an object of the files; None when there is none."""
        body = self.client.get(item.resource, item.name, item.space)
        return None if body is None else str(body["metadata"]["uid"])

    def take_away(self, item: Item) -> None:
        """Delete an object of the files, and what it owns."""
        uid = self.find(item)
        if uid is not None:
            self.client.delete(
                item.resource, item.name, uid=uid, namespace=item.space, options=WITH_ITS_OWN
            )

    def create(self, files: DrillFiles) -> None:
        """Make the drill."""
        try:
            self.client.create(DRILLS, files.body, self.namespace)
        except ApiError as error:
            raise _refused(f"FailureDrill {self.namespace}/{self.name}", error) from error

    def body(self) -> Body | None:
        """The drill as it stands; None when there is none."""
        return self.client.get(DRILLS, self.name, self.namespace)

    def drill(self) -> FailureDrill:
        """The same as a model."""
        body = self.body()
        if body is None:
            raise RunError(f"FailureDrill {self.namespace}/{self.name} was deleted meanwhile")
        return as_drill(body)

    def remove(self, uid: str) -> None:
        """Delete a drill of an earlier run and wait until it is gone."""
        self.client.delete(DRILLS, self.name, uid=uid, namespace=self.namespace)
        deadline = time.monotonic() + GONE_S
        while (body := self.body()) is not None and body["metadata"]["uid"] == uid:
            if time.monotonic() > deadline:
                raise RunError(
                    f"FailureDrill {self.namespace}/{self.name} of an earlier run does not go: its"
                    " finalizer is the operator's to take off; is the role drill running?"
                )
            time.sleep(0.2)

    def abort(self) -> None:
        """Ask for the drill's end."""
        self.client.patch(DRILLS, self.name, {"spec": {"abort": True}}, namespace=self.namespace)

    def note(self, fault: str, text: str) -> None:
        """Write down what the runner does for a fault, on the drill."""
        annotations = {f"{ANNOTATION_RUNNER}{fault}": text}
        self.client.patch(
            DRILLS, self.name, {"metadata": {"annotations": annotations}}, namespace=self.namespace
        )

    def plan(self, name: str) -> PlacementPlan | None:
        """A plan of the drill's namespace."""
        body = self.client.get(PLANS, name, self.namespace)
        if body is None:
            return None
        found = parse(body, strict=False)
        return found if isinstance(found, PlacementPlan) else None

    def consents(self, label: str, value: str) -> bool:
        """Whether the drill's namespace carries the label of consent."""
        body = self.client.get(Resource("", "v1", "namespaces"), self.namespace)
        return body is not None and (body["metadata"].get("labels") or {}).get(label) == value

    def state(self, drill: str = "") -> State:
        """Nodes and their Leases but those of other drills, to be held against a later state."""
        leases = self.client.items(LEASES, fieldSelector="metadata.namespace=kube-node-lease")
        return state_of(self.client.items(NODES), leases, drill)

    def surroundings(self) -> Surroundings:
        """Which nodes are containers of kind's."""
        containers, control = set(), None
        for body in self.client.items(NODES):
            provider = str((body.get("spec") or {}).get("providerID") or "")
            meta = body["metadata"]
            if not provider.startswith(KIND_NODE) or KWOK_NODE in (meta.get("annotations") or {}):
                continue
            if CONTROL_PLANE in (meta.get("labels") or {}):
                control = str(meta["name"])
            else:
                containers.add(str(meta["name"]))
        return Surroundings(frozenset(containers), control)


def operator_killer(client: KubeClient, namespace: str) -> Callable[[], int]:
    """Deletes the operator's pods that are ready, without grace; returns how many.

    One that is not ready yet is let come back first: it is killed whenever it has.
    """

    def kill() -> int:
        count = 0
        for body in client.items(PODS, labelSelector=OPERATOR_PODS):
            meta: dict[str, Any] = body["metadata"]
            if meta["namespace"] != namespace or meta.get("deletionTimestamp"):
                continue
            if not _is_ready(body):
                continue
            with contextlib.suppress(ApiError):  # gone already, or its deletion is asked for again
                client.delete(
                    PODS, meta["name"], uid=meta["uid"], namespace=namespace, options=AT_ONCE
                )
                count += 1
        return count

    return kill


def _is_ready(pod: Body) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)


def as_drill(body: Body) -> FailureDrill:
    """The model of a drill that the API server gave."""
    found = parse(body, strict=False)
    if not isinstance(found, FailureDrill):
        raise RunError(f"the API server gave a {found.kind} for a FailureDrill")
    return found


def _refused(what: str, error: ApiError) -> RunError:
    if error.status == 0:
        return RunError(f"{what}: the API server does not answer: {error.message}")
    return BadInput(f"{what} is refused: {error.message}")
