"""Plays scenes on a real Kueue manager, many at once; loaded by runpy.

Workloads are bare: there is no Job behind them, so that the driver plays the job controller. It
finishes workloads, and takes the quota reservation back of those that Kueue evicts, once Kueue has
come to rest.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import urllib3
from kfarm_controlplane import ControlPlane
from kfarm_operator.client import KubeClient, Resource
from kfarm_operator.mirror import Mirror
from kfarm_twin.quota_tree import Cohort, Preempt, Preference, Queue, QueueTree, Quota

API = "kueue.x-k8s.io/v1beta2"
WORKLOADS = f"/apis/{API}/namespaces/default/workloads"
BATCH_S = 1.0
"""Kueue gives parked workloads another try once a second."""
_PREEMPT = {
    Preempt.NEVER: "Never",
    Preempt.LOWER_PRIORITY: "LowerPriority",
    Preempt.LOWER_OR_NEWER_EQUAL_PRIORITY: "LowerOrNewerEqualPriority",
    Preempt.ANY: "Any",
}
Object = dict[str, Any]


def _amount(value: int) -> str:
    return f"{value}m"


def _whole(resource: str, value: int) -> str:
    return _amount(value) if resource == "cpu" else str(value // 1000)


def _quota(resource: str, given: Quota) -> Object:
    made = {"name": resource, "nominalQuota": _whole(resource, given.nominal)}
    if given.borrowing is not None:
        made["borrowingLimit"] = _whole(resource, given.borrowing)
    if given.lending is not None:
        made["lendingLimit"] = _whole(resource, given.lending)
    return made


def _groups(node: Queue | Cohort) -> list[Object]:
    return [
        {
            "coveredResources": list(group.resources),
            "flavors": [
                {"name": name, "resources": [_quota(r, given[r]) for r in group.resources]}
                for name, given in group.flavors
            ],
        }
        for group in node.groups
    ]


def _object(kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _queue(queue: Queue) -> Object:
    preemption: Object = {
        "withinClusterQueue": _PREEMPT[queue.within],
        "reclaimWithinCohort": _PREEMPT[queue.reclaim],
    }
    if queue.borrow_within:
        preemption["borrowWithinCohort"] = {"policy": "LowerPriority"}
        if queue.threshold is not None:
            preemption["borrowWithinCohort"]["maxPriorityThreshold"] = queue.threshold
    stop, go = "MayStopSearch", "TryNextFlavor"
    fungibility = {
        "whenCanBorrow": go if queue.next_when_borrow else stop,
        "whenCanPreempt": go if queue.next_when_preempt else stop,
    }
    if queue.preference is Preference.PREEMPTION_OVER_BORROWING:
        fungibility["preference"] = "PreemptionOverBorrowing"
    spec: Object = {
        "namespaceSelector": {},
        "queueingStrategy": "StrictFIFO" if queue.strict else "BestEffortFIFO",
        "resourceGroups": _groups(queue),
        "preemption": preemption,
        "flavorFungibility": fungibility,
        "fairSharing": {"weight": str(queue.weight)},
    }
    if queue.cohort is not None:
        spec["cohortName"] = queue.cohort
    return _object("ClusterQueue", queue.name, spec)


def manifests(tree: QueueTree) -> list[Object]:
    """Manifests of a scene; a LocalQueue of the same name for each ClusterQueue."""
    made = [_object("ResourceFlavor", flavor.name, {}) for flavor in tree.flavors]
    for cohort in tree.cohorts:
        spec: Object = {"fairSharing": {"weight": str(cohort.weight)}}
        if cohort.parent is not None:
            spec["parentName"] = cohort.parent
        if cohort.groups:
            spec["resourceGroups"] = _groups(cohort)
        made.append(_object("Cohort", cohort.name, spec))
    for queue in tree.queues:
        made.append(_queue(queue))
        local = _object("LocalQueue", queue.name, {"clusterQueue": queue.name})
        local["metadata"]["namespace"] = "default"
        made.append(local)
    return made


def workload(name: str, queue: str, priority: int, pods: int, requests: Object) -> Object:
    """A gang without a job."""
    container = {"name": "main", "image": "x", "resources": {"requests": requests}}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    spec = {
        "queueName": queue,
        "priority": priority,
        "active": True,
        "podSets": [{"name": "main", "count": pods, "template": template}],
    }
    return _object("Workload", name, spec)


def condition(body: Object, kind: str) -> bool:
    """Whether a condition is True."""
    listed = body.get("status", {}).get("conditions", ())
    return any(c["type"] == kind and c["status"] == "True" for c in listed)


class Driver:
    """A client fast enough to do many things at once; a context manager.

    Workloads come by a watch: to list hundreds of them twenty times a second would keep the API
    server busier than Kueue.
    """

    def __init__(self, plane: ControlPlane) -> None:
        pair = plane.site.credentials.admin
        self.url = plane.url
        self.pool = urllib3.PoolManager(
            maxsize=16,
            cert_file=str(pair.certificate),
            key_file=str(pair.key),
            ca_certs=str(plane.ca),
        )
        self.threads = ThreadPoolExecutor(8)
        self._client = KubeClient.connect(plane.kubeconfig)
        resource = Resource("kueue.x-k8s.io", "v1beta2", "workloads")
        self._mirror = Mirror[Object](self._client, resource, dict, self._note)
        self._changed = time.monotonic()

    def __enter__(self) -> Driver:
        self._mirror.start()
        if not self._mirror.synced.wait(30):
            raise RuntimeError("workloads cannot be listed")
        return self

    def __exit__(self, *_: object) -> None:
        self._mirror.stop()
        self._client.close()
        self.threads.shutdown()
        self.pool.clear()

    def _note(self, *_: object) -> None:
        self._changed = time.monotonic()

    def call(self, method: str, path: str, body: Object | None = None) -> Any:
        """One request; an answer of 400 and more is an error."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        text = None if body is None else json.dumps(body)
        answer = self.pool.request(
            method, self.url + path, body=text, headers={"Content-Type": kind}, timeout=30
        )
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.data.decode()[:500]}")
        return json.loads(answer.data)

    def make(self, bodies: Iterable[Object]) -> None:
        """Make the queues of scenes, those that others name first."""
        kinds: dict[str, list[Object]] = {}
        for body in bodies:
            kinds.setdefault(body["kind"], []).append(body)
        for kind in ("ResourceFlavor", "Cohort", "ClusterQueue", "LocalQueue"):
            where = "/namespaces/default" if kind == "LocalQueue" else ""
            path = f"/apis/{API}{where}/{kind.lower()}s"
            list(
                self.threads.map(lambda body, path=path: self.call("POST", path, body), kinds[kind])
            )

    def create(self, bodies: Iterable[Object]) -> None:
        """Make workloads, all at about the same time."""
        list(self.threads.map(lambda body: self.call("POST", WORKLOADS, body), bodies))

    def workloads(self) -> dict[str, Object]:
        """All workloads by name, as the watch has brought them."""
        return {item["metadata"]["name"]: item for item in self._mirror.values()}

    def settle(self, quiet_s: float, timeout_s: float = 300.0) -> dict[str, Object]:
        """Wait until no workload has changed for a while; returns them."""
        began = time.monotonic()
        while True:
            now = time.monotonic()
            rest = max(began, self._changed) + quiet_s - now
            if rest <= 0:
                listed = self.workloads()
                if _versions(listed.values()) == _versions(self.call("GET", WORKLOADS)["items"]):
                    return listed
                rest = quiet_s
            if now > began + timeout_s:
                raise RuntimeError(f"Kueue does not come to rest within {timeout_s:g} s")
            time.sleep(rest)

    def _patch_conditions(self, body: Object, changes: dict[str, tuple[str, str]]) -> Object:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        kept = [c for c in body["status"].get("conditions", ()) if c["type"] not in changes]
        made = [
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": "by test",
                "lastTransitionTime": stamp,
            }
            for kind, (status, reason) in changes.items()
        ]
        return {"conditions": kept + made}

    def finish(self, bodies: Iterable[Object]) -> None:
        """End running workloads."""

        def end(body: Object) -> None:
            status = self._patch_conditions(body, {"Finished": ("True", "Succeeded")})
            path = f"{WORKLOADS}/{body['metadata']['name']}/status"
            self.call("PATCH", path, {"status": status})

        list(self.threads.map(end, bodies))

    def release(self, bodies: Iterable[Object]) -> None:
        """Give back the quota of evicted workloads, as the job controller does."""

        def give(body: Object) -> None:
            changes = {
                "QuotaReserved": ("False", "Pending"),
                "Admitted": ("False", "NoReservation"),
            }
            status = self._patch_conditions(body, changes) | {"admission": None}
            path = f"{WORKLOADS}/{body['metadata']['name']}/status"
            self.call("PATCH", path, {"status": status})

        list(self.threads.map(give, bodies))


def _versions(bodies: Iterable[Object]) -> dict[str, str]:
    return {body["metadata"]["name"]: body["metadata"]["resourceVersion"] for body in bodies}
