"""Kueue's objects for a farm of the tests, written by hand, and a queue over a farm."""

from __future__ import annotations

from typing import Any

Body = dict[str, Any]
TAINT = {"key": "kfarm.dev/farm", "operator": "Exists", "effect": "NoSchedule"}
LEVELS = ("kfarm.dev/scalable-unit", "kfarm.dev/rack", "kubernetes.io/hostname")


def kueue(kind: str, name: str, spec: Body, namespace: str | None = None) -> Body:
    """An object of Kueue's group."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": kind,
        "metadata": metadata,
        "spec": spec,
    }


def topology(name: str, *levels: str) -> Body:
    """A Topology of node labels, the highest first."""
    return kueue("Topology", name, {"levels": [{"nodeLabel": level} for level in levels]})


def flavor(name: str, farm: str, topology_name: str | None) -> Body:
    """The nodes of a farm as a ResourceFlavor."""
    spec: Body = {"nodeLabels": {"kfarm.dev/farm": farm}, "tolerations": [TAINT]}
    return kueue("ResourceFlavor", name, spec | ({"topologyName": topology_name} if topology_name
                                                 else {}))  # fmt: skip


def check(name: str, policy: str | None, controller: str = "kfarm.dev/twin") -> Body:
    """An AdmissionCheck, by default for kfarm to answer."""
    spec: Body = {"controllerName": controller}
    if policy is not None:
        spec["parameters"] = {"apiGroup": "kfarm.dev", "kind": "ValidationPolicy", "name": policy}
    return kueue("AdmissionCheck", name, spec)


def cluster_queue(name: str, flavor_name: str, quota: int, *checks: str) -> Body:
    """A ClusterQueue of GPUs behind checks."""
    resource = {"name": "nvidia.com/gpu", "nominalQuota": quota}
    group = {
        "coveredResources": ["nvidia.com/gpu"],
        "flavors": [{"name": flavor_name, "resources": [resource]}],
    }
    spec: Body = {"namespaceSelector": {}, "resourceGroups": [group]}
    if checks:
        spec["admissionChecksStrategy"] = {"admissionChecks": [{"name": c} for c in checks]}
    return kueue("ClusterQueue", name, spec)


def local_queue(namespace: str, queue: str) -> Body:
    """The LocalQueue ``main`` of a namespace."""
    return kueue("LocalQueue", "main", {"clusterQueue": queue}, namespace)


def queued(job: Body, level: str | None = None) -> Body:
    """A Job that waits in the queue ``main``, its pods within one domain of `level` if given."""
    job["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "main"}
    annotations = {"kueue.x-k8s.io/podset-required-topology": level} if level else {}
    job["spec"]["template"]["metadata"].setdefault("annotations", {}).update(annotations)
    job["spec"]["suspend"] = True
    return job


class Queue:
    """A farm behind Kueue: topology, flavor, check and queues of a test's own."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.name = f"{world.farm_name}-by-hand"  # beside those that the farm makes of itself

    def prepare(
        self, *others: str, levels: tuple[str, ...] = LEVELS, quota: int = 64, **policy: Any
    ) -> None:
        """Queues over the farm, with the test's policy."""
        world, name = self.world, self.name
        made = world.policy(**policy)
        made["spec"]["admission"] = {"retryAfter": "2s", "retries": 2}
        world.cluster.apply(made)
        world.cluster.apply(
            topology(name, *levels),
            flavor(name, world.farm_name, name),
            check(name, world.farm_name),
            cluster_queue(name, name, quota, name, *others),
            local_queue(world.namespace, name),
        )
        world.until(lambda: self.active()["status"] == "True", "the check to be active")

    def active(self) -> Body:
        """The condition Active of the check."""
        conditions = self.world.cluster.get("admissioncheck", self.name).get("status", {})
        found = conditions.get("conditions", ())
        return next((c for c in found if c["type"] == "Active"), {"status": "none"})

    def plan(self, name: str = "train", **more: Any) -> Body:
        """A plan that Kueue places."""
        plan = self.world.plan(name, **more)
        plan["spec"]["placement"] = "Kueue"
        return dict(plan)

    def submit(self, name: str = "train", *, pods: int = 4, level: str | None = LEVELS[0]) -> None:
        """Queue the Job of a plan."""
        self.world.cluster.apply(queued(self.world.job(name, pods=pods), level))

    def submit_again(self, name: str = "train", *, pods: int) -> None:
        """Delete a Job and queue it anew."""
        self.world.cluster.kubectl("delete", "job", name, "-n", self.world.namespace)
        self.submit(name, pods=pods)

    def workload(self, job: str = "train") -> Body:
        """The Workload of a Job, or nothing."""
        for item in self.world.cluster.get("workloads", "-n", self.world.namespace)["items"]:
            owners = item["metadata"].get("ownerReferences", ())
            if any(owner["name"] == job for owner in owners):
                return dict(item)
        return {}

    def entry(self, job: str = "train", name: str | None = None) -> Body:
        """Our entry of a Workload's checks, or nothing."""
        entries = self.workload(job).get("status", {}).get("admissionChecks", ())
        return next((e for e in entries if e["name"] == (name or self.name)), {})

    def until_state(self, state: str, job: str = "train", says: str = "") -> Body:
        """Wait until our entry has a state, and its message says something."""

        def there() -> bool:
            entry = self.entry(job)
            return entry.get("state") == state and says in entry["message"]

        self.world.until(there, f"{state} {says} of {job}")
        return self.entry(job)

    def claims(self) -> list[Body]:
        """Claims on the farm."""
        ledger = self.world.get("nodeledger", f"gpufarm.{self.world.farm_name}")
        return list((ledger.get("spec") or {}).get("claims") or ())

    def limit(self, metric: str, bound: str, **admission: Any) -> None:
        """Replace the policy's check."""
        made = self.world.policy(bound=bound, metric=metric)
        made["spec"]["admission"] = {"retryAfter": "2s", "retries": 2, **admission}
        self.world.cluster.apply(made)

    def activate(self, job: str = "train", *, active: bool = True) -> None:
        """Set ``spec.active`` of a Job's Workload, as people do."""
        name = self.workload(job)["metadata"]["name"]
        patch = f'{{"spec":{{"active":{str(active).lower()}}}}}'
        self.world.cluster.kubectl(
            "patch", "workload", name, "-n", self.world.namespace, "--type=merge", "-p", patch
        )

    def condition(self, kind: str, job: str = "train") -> str:
        """Status of a condition of a Job's Workload."""
        conditions = self.workload(job).get("status", {}).get("conditions", ())
        return next((str(c["status"]) for c in conditions if c["type"] == kind), "none")
