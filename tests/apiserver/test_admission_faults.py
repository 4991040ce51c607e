"""The operator absent or killed while Kueue waits for it: nothing unvalidated, nothing twice."""

from __future__ import annotations

from typing import Any

import pytest
from kfarm_controlplane import ControlPlane
from kfarm_controlplane.inprocess import InProcessOperator
from kfarm_controlplane.mortal import MortalClient
from kfarm_operator.client import PODS, ApiError, KubeClient, Resource
from kueue_objects import Body, Queue

WRITES = 8
"""The plan's status, claim, answer, Events on Workload and plan, two releases, the status again."""


class Holding(KubeClient):
    """A client of an operator that dies before it lifts any gate."""

    def patch(self, resource: Resource, name: str, body: Body, **more: Any) -> Body:
        """Refuse what changes pods."""
        if resource == PODS:
            raise ApiError(0, "Dead", f"{name}: this process was killed")
        return super().patch(resource, name, body, **more)


@pytest.fixture(scope="module")
def clean_cluster(kueue_plane: ControlPlane) -> ControlPlane:
    """The control plane that Kueue runs on, in place of the session's."""
    if "kueue" not in kueue_plane.pids:
        kueue_plane.start_kueue()
    return kueue_plane


@pytest.fixture
def queue(lone_world: Any) -> Queue:
    """Queues over a farm; no operator runs any more."""
    made = Queue(lone_world)
    with lone_world.operate():
        lone_world.prepare()
        made.prepare()
    return made


def test_with_no_operator_the_check_stays_pending_and_pods_gated(queue: Queue) -> None:
    world = queue.world
    world.cluster.apply(queue.plan(pods=2))
    queue.submit(pods=2)
    world.until(lambda: queue.condition("QuotaReserved") == "True")
    assert queue.entry()["state"] == "Pending"
    assert world.pods() == []
    with InProcessOperator(world.installation, world.twin, connect=Holding.connect):
        queue.until_state("Ready")
    world.until(lambda: queue.condition("Admitted") == "True")
    world.until(lambda: len(world.pods()) == 2)
    world.until(lambda: all("kubernetes.io/hostname" in s for s in _selectors(world)))
    assert world.bound() == []
    gated = world.gated()
    with world.operate():
        world.until(lambda: len(world.bound()) == 2)
    assert gated == 2
    assert len(world.asked) == 1


@pytest.mark.parametrize(
    ("write", "after"),
    [
        pytest.param(write, after, marks=() if (write, after) in ((2, True), (3, True), (6, False))
                     else pytest.mark.slow)
        for write in range(1, WRITES + 1)
        for after in (False, True)
    ],
)  # fmt: skip
def test_a_crash_at_any_write_changes_nothing_in_the_end(
    queue: Queue, write: int, after: bool
) -> None:
    """The first operator can write no more from one write on; a second one takes over."""
    world = queue.world
    world.cluster.apply(queue.plan(pods=2))
    MortalClient.left, MortalClient.after = write, after
    with InProcessOperator(world.installation, world.twin, connect=MortalClient.connect):
        queue.submit(pods=2)
        world.until(lambda: MortalClient.left <= 0)
    with world.operate():
        world.until(lambda: len(world.bound()) == 2)
        world.until(lambda: world.status().get("bound") == 2)
    assert queue.entry()["state"] == "Ready"
    assert len({pod["metadata"]["uid"] for pod in world.pods()}) == 2
    (claim,) = queue.claims()
    assert sorted(item["node"] for item in claim["nodes"]) == world.bound()
    evictions = queue.workload()["status"].get("schedulingStats", {}).get("evictions", ())
    assert not evictions
    assert len(world.asked) <= 2


def _selectors(world: Any) -> list[dict[str, str]]:
    return [dict(pod["spec"].get("nodeSelector", {})) for pod in world.pods()]
