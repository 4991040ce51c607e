"""Farms and the real Kueue manager: queues follow farms, idle quota flows and is reclaimed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from kfarm_controlplane import ControlPlane
from kfarm_controlplane.client import Cluster, KubectlError
from kfarm_controlplane.cluster import wait_until
from kfarm_controlplane.inprocess import InProcessOperator
from kfarm_controlplane.installation import Installation
from kfarm_operator.queues import keep
from kfarm_operator.service import Timing

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


@pytest.fixture(scope="module")
def timing() -> Timing:
    """Lists every other moment, so that nothing waits half a minute for one."""
    return Timing(relist_s=1.0)


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """Re-lists every few seconds, so that nothing waits half a minute for one."""
    with pytest.MonkeyPatch.context() as patch:
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
FABRIC = {"topology": "RailOptimizedFatTree", "nodesPerScalableUnit": 8}


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


def rest(operator: InProcessOperator, rounds: int = 4) -> int:
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


def test_idle_quota_flows_to_who_waits_and_is_reclaimed(shared: Shared) -> None:
    shared.apply()
    shared.until(READY)
    shared.line("government")
    shared.line("own")
    shared.job("guest", "own", 4)
    wait_until(lambda: shared.admitted("guest"), 60, "a job on idle devices of another share")
    assert shared.flavor("guest") == "gov"
    shared.job("host", "government", 4)
    wait_until(lambda: shared.admitted("host"), 60, "reclaim")
    assert shared.flavor("host") == "gov"
    assert not shared.admitted("guest")
    assert has(shared.workload("guest"), "Preempted")
    shared.cluster.kubectl("delete", "job", "host", "-n", shared.world.namespace)
    wait_until(lambda: shared.admitted("guest"), 60, "the guest again")


def test_a_lending_limit_holds(shared: Shared, operator: InProcessOperator) -> None:
    shares = [{**SHARES[0], "lendingLimit": 16}, SHARES[1]]
    shared.apply(shares=shares)
    shared.until(READY)
    assert shared.quota("government")["gov"]["lendingLimit"] == "16"
    shared.line("own")
    for job in ("first", "second"):
        shared.job(job, "own", 2)
        wait_until(lambda job=job: shared.admitted(job), 60, job)  # type: ignore[misc]
    assert {shared.flavor("first"), shared.flavor("second")} == {"own", "gov"}
    shared.job("third", "own", 1)
    wait_until(lambda: has(shared.workload("third"), "QuotaReserved", "False"), 60, "a refusal")
    shared.apply(shares=[{**SHARES[0], "lendingLimit": 24}, SHARES[1]])
    wait_until(lambda: shared.admitted("third"), 60, "the third once more is lent")
    assert shared.flavor("third") == "gov"
    wait_until(lambda: rest(operator) == 0, 60, "no writes")


def test_a_gang_lands_in_one_rack_and_one_unit(shared: Shared) -> None:
    shared.apply(
        {"name": "big", "nodes": 16, "fabric": {**FABRIC, "nodesPerScalableUnit": 8}},
        shares=[{"name": "all", "guaranteed": 128}],
    )
    shared.until(READY)
    shared.line("all")
    shared.job("split", "all", 3)
    wait_until(lambda: shared.admitted("split"), 60, "the first gang")
    shared.job("rack", "all", 4, within=RACK)
    shared.job("unit", "all", 8, within=UNIT)
    wait_until(lambda: shared.admitted("rack") and shared.admitted("unit"), 60, "both gangs")
    for job, label, pods in (("rack", RACK, 4), ("unit", UNIT, 8)):
        labels = [node["metadata"]["labels"] for node in shared.nodes(job)]
        assert len(labels) == pods
        assert len({found[label] for found in labels}) == 1
    shared.cluster.kubectl("delete", "job", "unit", "-n", shared.world.namespace)
    shared.job("wide", "all", 5, within=RACK)

    def refused() -> bool:
        listed = (shared.workload("wide").get("status") or {}).get("conditions") or ()
        return any("topology" in c["message"] for c in listed if c["type"] == "QuotaReserved")

    wait_until(refused, 60, "a gang that no rack can hold")


def test_queues_follow_the_farm(shared: Shared, operator: InProcessOperator) -> None:
    shared.apply()
    shared.until(READY)
    shared.apply(
        {**TWO[0], "nodes": 6}, TWO[1], shares=[{**SHARES[0], "guaranteed": 48}, SHARES[1]]
    )
    shared.until(READY, "share 64 devices")
    assert shared.nominal("government") == {"gov": 48, "own": 0}
    shared.apply({**TWO[0], "nodes": 3}, TWO[1], {"name": "new", "nodes": 2})
    shared.until(READY, "share 56 devices of 3 flavors")
    assert shared.nominal("government") == {"gov": 24, "new": 8, "own": 0}
    assert shared.nominal("", "cohorts") == {"new": 8}
    shared.apply(TWO[0], shares=[SHARES[0]])
    shared.until(READY, "1 ClusterQueues share 32 devices of 1 flavors")
    farm = shared.farm
    wait_until(
        lambda: shared.names() == [farm, f"{farm}-gov", farm, f"{farm}-government"], 60, "the rest"
    )
    queue = f"{farm}-government"
    tampered = {"spec": {"preemption": {"reclaimWithinCohort": "Never"}, "stopPolicy": "Hold"}}
    patch = ("patch", "clusterqueue", queue, "--type=merge", "-p")
    shared.cluster.kubectl(*patch, json.dumps(tampered))
    wait_until(
        lambda: (
            shared.objects("clusterqueues")[queue]["spec"]["preemption"]["reclaimWithinCohort"]
            == "Any"
        ),
        60,
        "what was altered",
    )
    shared.until("QueuesInactive", queue, "stopPolicy")
    shared.cluster.kubectl(*patch, json.dumps({"spec": {"stopPolicy": "None"}}))
    shared.until(READY)
    shared.apply({"name": "gov", "nodes": 4}, shares=[])
    wait_until(lambda: shared.names() == [farm, f"{farm}-gov"], 60, "the end of the queues")
    wait_until(lambda: rest(operator) == 0, 60, "no writes")


def test_a_share_is_divided_further(shared: Shared) -> None:
    parts = [{"name": "a", "guaranteed": 16}, {"name": "b", "guaranteed": 8}]
    limited = {**SHARES[0], "queues": parts, "lendingLimit": 8, "weight": 3}
    shared.apply(shares=[limited, SHARES[1]], parent="nation", furtherResources=["rdma/hca"])
    shared.until(READY, "3 ClusterQueues")
    assert shared.nominal("government-a") == {"gov": 16, "own": 0}
    assert shared.nominal("government-b") == {"gov": 8, "own": 0}
    assert shared.nominal("government", "cohorts") == {"gov": 8, "own": 0}
    assert shared.objects("cohorts")[shared.farm]["spec"]["parentName"] == "nation"
    shared.line("own")
    shared.line("government-a")
    shared.job("one", "own", 1)
    shared.job("two", "own", 1)
    wait_until(lambda: shared.admitted("one") and shared.admitted("two"), 60, "own devices")
    shared.job("three", "own", 1)
    wait_until(lambda: shared.admitted("three"), 60, "what government lends")
    shared.job("four", "own", 1)
    wait_until(lambda: has(shared.workload("four"), "QuotaReserved", "False"), 60, "the limit")
    shared.job("sibling", "government-a", 3)
    wait_until(lambda: shared.admitted("sibling"), 60, "what its share has in common")


def test_what_others_made_is_left_alone(shared: Shared, operator: InProcessOperator) -> None:
    name = f"{shared.farm}-government"
    foreign = {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "ClusterQueue",
        "metadata": {"name": name},
        "spec": {"queueingStrategy": "StrictFIFO"},
    }
    shared.cluster.apply(foreign)
    account = shared.world.installation.farm
    for verb in (("delete",), ("patch", "--type=merge", '-p={"spec":{"stopPolicy":"Hold"}}')):
        with pytest.raises(KubectlError, match="kfarm-farm-queues"):
            shared.cluster.kubectl(verb[0], "clusterqueue", name, *verb[1:], kubeconfig=account)
    unmarked = {**foreign, "metadata": {"name": f"{name}-too"}}
    with pytest.raises(KubectlError, match="kfarm-farm-queues"):
        shared.cluster.kubectl("create", "-f", "-", input=json.dumps(unmarked), kubeconfig=account)
    before = shared.cluster.get("clusterqueue", name)
    shared.apply()
    shared.until("NameTaken", f"ClusterQueue {name}", "rename")
    wait_until(lambda: f"{shared.farm}-own" in shared.objects("clusterqueues"), 60, "the other")
    wait_until(lambda: rest(operator) == 0, 60, "no writes")
    after = shared.cluster.get("clusterqueue", name)
    assert (after["metadata"]["uid"], after["spec"]) == (before["metadata"]["uid"], before["spec"])
    shared.cluster.kubectl("delete", "clusterqueue", name)
    shared.until(READY)
    assert shared.nominal("government") == {"gov": 32, "own": 0}


def test_a_farm_that_goes_leaves_nothing(shared: Shared) -> None:
    shared.apply()
    shared.until(READY)
    shared.line("own")
    shared.job("late", "own", 2)
    wait_until(lambda: shared.admitted("late"), 60, "a job")
    shared.cluster.kubectl("delete", "gpufarm", shared.farm, "--timeout=60s")
    queues = shared.objects("clusterqueues")
    assert set(queues) == {f"{shared.farm}-own"}
    assert "deletionTimestamp" in queues[f"{shared.farm}-own"]["metadata"]
    said = shared.cluster.get("events", "-n", "default", "--field-selector=reason=QueuesDraining")
    assert any(shared.farm in event["message"] for event in said["items"])
    shared.apply()
    shared.until("NameTaken", "being deleted")
    shared.cluster.kubectl("delete", "job", "late", "-n", shared.world.namespace)
    shared.until(READY)
    shared.cluster.kubectl("delete", "gpufarm", shared.farm, "--timeout=60s")
    wait_until(lambda: shared.names() == [], 60, "the end of all queues")


def test_shares_and_levels_that_cannot_be(shared: Shared) -> None:
    shared.apply(shares=[{**SHARES[0], "guaranteed": 40}, SHARES[1]])
    shared.until("SharesExceedFarm", "government lacks 8 of 40", "add nodes")
    assert shared.nominal("own") == {"own": 16, "gov": 0}
    shared.apply(admissionCheck="nobody")
    shared.until("QueuesInactive", "AdmissionCheckNotFound", "create the AdmissionCheck")
    shared.apply(
        shares=[{**SHARES[0], "namespaces": {"matchLabels": {"a": "b"}}, "weight": 2}, SHARES[1]]
    )
    shared.until(READY)
    shared.apply()
    shared.until(READY)
    assert (
        shared.objects("clusterqueues")[f"{shared.farm}-government"]["spec"]["namespaceSelector"]
        == {}
    )
    shared.apply({**TWO[0], "rack": {"nodes": 3}}, TWO[1])
    shared.until("TopologyFixed", "kueue.manage")
    shared.apply({**TWO[0], "rack": {"nodes": 3}}, TWO[1], manage=False)
    wait_until(lambda: shared.names() == [] and not shared.condition(), 60, "the end of the queues")
    shared.apply({**TWO[0], "rack": {"nodes": 3}}, TWO[1])
    shared.until(READY)
    levels = shared.objects("topologies")[shared.farm]["spec"]["levels"]
    assert [level["nodeLabel"].rsplit("/")[1] for level in levels] == [
        "hall",
        "scalable-unit",
        "row",
        "rack",
        "hostname",
    ]
