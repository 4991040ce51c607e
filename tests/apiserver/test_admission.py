"""Kueue admits, the twin validates: the real Kueue manager beside the operator."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from kfarm_controlplane import Cluster, ControlPlane
from kueue_objects import (
    LEVELS,
    check,
    cluster_queue,
    flavor,
    local_queue,
    queued,
    topology,
)

Body = dict[str, Any]


@pytest.fixture(scope="module")
def clean_cluster() -> Iterator[Cluster]:
    """A control plane of its own: Kueue's webhooks would stay in the session's."""
    if os.environ.get("KFARM_TEST_KUBECONFIG"):
        pytest.skip("needs a control plane of our own, not $KFARM_TEST_KUBECONFIG")
    with ControlPlane() as plane:
        plane.start_kueue()
        yield plane


class Queue:
    """A farm behind Kueue: topology, flavor, check and queues of a test's own."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.name = world.farm_name

    def prepare(self, *, levels: tuple[str, ...] = LEVELS, quota: int = 64, **policy: Any) -> None:
        """Queues over the farm, with the test's policy."""
        world, name = self.world, self.name
        made = world.policy(**policy)
        made["spec"]["admission"] = {"retryAfter": "2s", "retries": 2}
        world.cluster.apply(made)
        world.cluster.apply(
            topology(name, *levels),
            flavor(name, world.farm_name, name),
            check(name, world.farm_name),
            cluster_queue(name, name, quota, name),
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


@pytest.fixture
def queue(world: Any) -> Queue:
    """Queues over the test's farm."""
    made = Queue(world)
    made.prepare()
    return made


def test_a_gang_that_kueue_places_is_validated_and_released_there(queue: Queue) -> None:
    world = queue.world
    world.cluster.apply(queue.plan(pods=4))
    queue.submit(pods=4)
    entry = queue.until_state("Ready")
    assert "4 pods on 4 nodes" in entry["message"]
    world.until(lambda: len(world.bound()) == 4)
    (request,) = world.asked
    assert world.bound() == sorted(s.node for s in request.snapshot.survivors)
    (claim,) = queue.claims()
    assert claim["workload"] == queue.workload()["metadata"]["name"]
    assert claim["uid"] == queue.workload()["metadata"]["uid"]
    assert sorted(item["node"] for item in claim["nodes"]) == world.bound()
