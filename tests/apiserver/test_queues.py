"""Farms and the real Kueue manager: queues follow farms, idle quota flows and is reclaimed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kfarm_controlplane import ControlPlane
from kfarm_controlplane.client import Cluster
from kfarm_controlplane.cluster import wait_until
from kfarm_controlplane.inprocess import HeldTwin, InProcessOperator
from kfarm_controlplane.installation import Installation, install
from kfarm_operator import service
from kfarm_operator.queues import keep

ROOT = __file__.rsplit("/tests/", 1)[0]
KINDS = ("topologies", "resourceflavors", "cohorts", "clusterqueues")
RACK, UNIT = "kfarm.dev/rack", "kfarm.dev/scalable-unit"
Body = dict[str, Any]


@pytest.fixture(scope="module")
def clean_cluster(control_plane: object) -> Iterator[Cluster]:
    """A control plane of its own: Kueue's webhooks would stay in the session's."""
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("needs a control plane of our own, not $KFARM_TEST_KUBECONFIG")
    with ControlPlane() as plane:
        yield plane


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """Re-lists every few seconds, so that nothing waits half a minute for one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "RELIST_S", 2.0)
        patch.setattr(keep, "DISCOVERY_S", 1.0)
        patch.setattr(keep, "FRESH_S", 1.0)
        patch.setattr(keep, "RETRY_S", 2.0)
        yield


class Shared:
    """A farm with shares, and the queues of Kueue that come of it."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.farm = world.farm_name
        self.cluster: Cluster = world.cluster

    def body(self, *clusters: Body, shares: list[Body] | None = None, **kueue: Any) -> Body:
        """A farm of these clusters; `government` is guaranteed 32 devices, `own` 16."""
        body: Body = self.world.farm()
        plain = body["spec"]["clusters"][0]
        body["spec"]["clusters"] = [{**plain, **c} for c in clusters or TWO]
        body["spec"]["shares"] = SHARES if shares is None else shares
        if kueue:
            body["spec"]["kueue"] = kueue
        return body

    def apply(self, *clusters: Body, **spec: Any) -> None:
        self.cluster.apply(self.body(*clusters, **spec))

    def condition(self, kind: str = "Queues") -> Body:
        """A condition of the farm as it is now, or nothing."""
        body = self.world.get("gpufarm", self.farm)
        listed = (body.get("status") or {}).get("conditions") or ()
        now = [c for c in listed if c["observedGeneration"] == body["metadata"]["generation"]]
        return next((c for c in now if c["type"] == kind), {})

    def until(self, reason: str, *words: str) -> str:
        """Wait for a reason of the condition Queues; returns the message."""

        def said() -> bool:
            condition = self.condition()
            return condition.get("reason") == reason and all(
                word in condition["message"] for word in words
            )

        try:
            wait_until(said, 60, reason)
        except Exception as error:
            raise AssertionError(f"no {reason} {words}: {self.condition()}") from error
        return str(self.condition()["message"])

    def objects(self, kind: str) -> dict[str, Body]:
        """Objects of Kueue of this farm by name."""
        listed = self.cluster.get(f"{kind}.kueue.x-k8s.io", "-l", f"kfarm.dev/farm={self.farm}")
        return {item["metadata"]["name"]: item for item in listed["items"]}

    def names(self) -> list[str]:
        return [name for kind in KINDS for name in sorted(self.objects(kind))]

    def quota(self, queue: str, kind: str = "clusterqueues") -> dict[str, Body]:
        """Devices of a queue by flavor."""
        groups = self.objects(kind)[f"{self.farm}-{queue}" if queue else self.farm]["spec"]
        return {
            flavor["name"].removeprefix(f"{self.farm}-"): resource
            for group in groups.get("resourceGroups", ())
            for flavor in group["flavors"]
            for resource in flavor["resources"]
            if resource["name"] == "nvidia.com/gpu"
        }

    def nominal(self, queue: str, kind: str = "clusterqueues") -> dict[str, int]:
        return {name: int(q["nominalQuota"]) for name, q in self.quota(queue, kind).items()}

    def line(self, share: str) -> None:
        """A namespace with jobs' way into a share."""
        queue = {
            "apiVersion": "kueue.x-k8s.io/v1beta2",
            "kind": "LocalQueue",
            "metadata": {"name": share, "namespace": self.world.namespace},
            "spec": {"clusterQueue": f"{self.farm}-{share}"},
        }
        self.cluster.apply(queue)

    def job(
        self, name: str, share: str, pods: int, *, within: str = "", priority: str = ""
    ) -> None:
        """A gang of whole nodes."""
        body: Body = self.world.job(name, pods=pods)
        body["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": share}
        body["spec"]["suspend"] = True
        if within:
            template = body["spec"]["template"]["metadata"]
            template["annotations"] = {"kueue.x-k8s.io/podset-required-topology": within}
        self.cluster.apply(body)

    def workload(self, job: str) -> Body:
        listed = self.cluster.get("workloads.kueue.x-k8s.io", "-n", self.world.namespace)["items"]
        return next(
            (w for w in listed if w["metadata"]["ownerReferences"][0]["name"] == job),
            {},
        )

    def admitted(self, job: str) -> bool:
        """Whether a job holds quota and may run."""
        return has(self.workload(job), "Admitted")

    def flavor(self, job: str) -> str:
        assigned = self.workload(job)["status"]["admission"]["podSetAssignments"][0]
        return str(assigned["flavors"]["nvidia.com/gpu"]).removeprefix(f"{self.farm}-")

    def nodes(self, job: str) -> list[Body]:
        """Nodes that Kueue chose for a job."""
        assigned = self.workload(job)["status"]["admission"]["podSetAssignments"][0]
        topology = assigned["topologyAssignment"]
        found: list[str] = []
        for part in topology["slices"]:
            values = part["valuesPerLevel"][-1]
            if "universal" in values:
                found.append(values["universal"])
            else:
                individual = values["individual"]
                prefix, suffix = individual.get("prefix", ""), individual.get("suffix", "")
                found += [f"{prefix}{root}{suffix}" for root in individual["roots"]]
        assert topology["levels"] == ["kubernetes.io/hostname"]
        return [self.cluster.get("node", name) for name in found]


def has(body: Body, kind: str, status: str = "True") -> bool:
    listed = (body.get("status") or {}).get("conditions") or ()
    return any(c["type"] == kind and c["status"] == status for c in listed)


TWO: tuple[Body, ...] = (
    {"name": "gov", "nodes": 4, "share": "government"},
    {"name": "own", "nodes": 2, "share": "own"},
)
SHARES = [{"name": "government", "guaranteed": 32}, {"name": "own", "guaranteed": 16}]
READY = "QueuesReady"


@pytest.fixture(scope="module")
def kueue(installation: Installation) -> Cluster:
    """Kueue's manager at work."""
    plane = installation.cluster
    assert isinstance(plane, ControlPlane)
    plane.start_kueue()
    return plane


@pytest.fixture
def bare(lone_world: Any, operator: InProcessOperator) -> Iterator[Shared]:
    """A farm's name and namespace; the farm is up to the test."""
    lone_world.operator = operator
    labels = {"kfarm.dev/enforce": "true"}
    name = {"name": lone_world.namespace, "labels": labels}
    lone_world.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": name})
    yield Shared(lone_world)
    lone_world.cluster.kubectl("delete", "namespace", lone_world.namespace, "--wait=false")
    lone_world.cluster.kubectl(
        "delete", "gpufarm", lone_world.farm_name, "--ignore-not-found", "--timeout=60s"
    )


@pytest.fixture
def shared(bare: Shared, kueue: Cluster) -> Shared:
    """The same with Kueue at work."""
    del kueue
    return bare


def rest(operator: InProcessOperator, rounds: int = 6) -> int:
    """Writes while the operator looks at everything a few times."""
    begin, writes = operator.reconciles, operator.writes
    wait_until(lambda: operator.reconciles >= begin + rounds, 60, "reconciles")
    return operator.writes - writes


def test_kueue_is_noticed_when_it_comes(
    bare: Shared, operator: InProcessOperator, request: pytest.FixtureRequest
) -> None:
    bare.apply()
    message = bare.until("KueueNotInstalled", "install Kueue")
    assert "not enforced" in message
    wait_until(lambda: bare.condition("Ready").get("status") == "True", 60, "nodes")
    wait_until(lambda: rest(operator) == 0, 60, "no writes without Kueue")
    request.getfixturevalue("kueue")
    bare.until(READY, "2 ClusterQueues share 48 devices of 2 flavors")
    wait_until(lambda: rest(operator) == 0, 60, "no writes with Kueue")
    farm = bare.farm
    assert bare.names() == [
        farm,
        f"{farm}-gov",
        f"{farm}-own",
        farm,
        f"{farm}-government",
        f"{farm}-own",
    ]
    assert all(has(body, "Active") for body in bare.objects("clusterqueues").values())
    assert bare.nominal("government") == {"gov": 32, "own": 0}
    assert bare.nominal("own") == {"own": 16, "gov": 0}
