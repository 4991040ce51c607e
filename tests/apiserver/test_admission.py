"""Kueue admits, the twin validates: the real Kueue manager beside the operator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kfarm_controlplane import Cluster, ControlPlane, wait_until
from kfarm_controlplane.inprocess import InProcessOperator
from kfarm_operator import mirror
from kfarm_operator.admission.kueue import WORKLOADS
from kfarm_operator.client import KubeClient
from kueue_objects import LEVELS, Queue, check, cluster_queue, flavor, kueue

Body = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
KUEUE = ("workloads", "admissionchecks", "resourceflavors")


@pytest.fixture(scope="module")
def clean_cluster(kueue_plane: ControlPlane) -> ControlPlane:
    """The control plane that Kueue runs on, in place of the session's."""
    return kueue_plane


@pytest.fixture(scope="module")
def with_kueue(clean_cluster: ControlPlane, operator: InProcessOperator) -> ControlPlane:
    """Kueue comes after the operator, which has to notice."""
    if "kueue" in clean_cluster.pids:
        return clean_cluster
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mirror, "ABSENT_RETRY_S", 1.0)
        assert operator.service is not None
        absent = [m for m in operator.service.mirrors() if m.name in KUEUE]
        wait_until(lambda: all(m.pulse.relists >= 1 for m in absent), 60, "lists of nothing")
        assert [m.pulse.errors for m in absent] == [0] * len(KUEUE)
        clean_cluster.start_kueue()
    return clean_cluster


@pytest.fixture
def queue(with_kueue: ControlPlane, world: Any) -> Queue:
    """Queues over the test's farm."""
    del with_kueue
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
    world.until(lambda: world.status().get("bound") == 4)
    assert "verdict" not in world.status()
    writes, reconciles = world.operator.writes, world.operator.reconciles
    world.cluster.kubectl("annotate", "placementplan", "train", "-n", world.namespace, "touched=y")
    world.until(lambda: world.operator.reconciles > reconciles)
    assert world.operator.writes == writes
    world.cluster.kubectl("delete", "job", "train", "-n", world.namespace)
    world.until(lambda: queue.claims() == [], "the claim to fall with the Workload")


def test_a_gang_of_255_pods(with_kueue: ControlPlane, world: Any) -> None:
    """As many nodes as the largest example; one validation, one claim, all pods in place."""
    del with_kueue
    world.prepare(nodes=256)
    queue = Queue(world)
    queue.prepare(levels=("kfarm.dev/cluster", *LEVELS[1:]), quota=2048)
    world.cluster.apply(queue.plan(pods=255))
    queue.submit(pods=255, level="kfarm.dev/cluster")
    world.until(lambda: len(world.bound()) == 255, "the gang", 180)
    (request,) = world.asked
    assert world.bound() == sorted(s.node for s in request.snapshot.survivors)
    (claim,) = queue.claims()
    assert len(claim["nodes"]) == 255


def test_heat_that_even_an_empty_farm_cannot_hold_is_rejected(queue: Queue) -> None:
    """The room's supply air is at 22 degC; the same job is admitted once the farm is mended."""
    world = queue.world
    queue.limit("rack_inlet_temperature_max", "20")
    world.cluster.apply(queue.plan(pods=4))
    queue.submit(pods=4)
    world.until(lambda: queue.workload().get("spec", {}).get("active") is False)
    assert queue.condition("Evicted") == "True"
    assert world.events("NeverFits")
    assert "not even the empty farm" in world.events("NeverFits")[0]
    assert "rack_inlet_temperature_max" in world.events("NeverFits")[0]
    assert queue.claims() == []
    farm = world.farm()
    farm["spec"]["clusters"][0]["cooling"] = {"type": "Air", "supplyTemperature": 18}
    world.cluster.apply(farm)
    world.wait_farm()
    queue.submit_again(pods=4)
    world.until(lambda: len(world.bound()) == 4)


def test_what_does_not_hold_beside_others_is_retried_until_they_are_gone(queue: Queue) -> None:
    """60 kW alone, 105 kW beside what runs on the other half, of which Kueue knows."""
    world = queue.world
    world.cluster.apply(_own_plan(world), world.job("own", pods=4))
    world.until(lambda: len(world.bound("own")) == 4)
    queue.limit("it_power_peak", "90k")
    world.cluster.apply(queue.plan(pods=4))
    queue.submit(pods=4)
    world.until(lambda: world.events("NotNow"))
    assert "though an empty farm would hold it" in world.events("NotNow")[0]
    assert "it_power_peak" in world.events("NotNow")[0]
    assert [c["plan"] for c in queue.claims()] == ["own"]
    world.cluster.kubectl("delete", "job/own", "placementplan/own", "-n", world.namespace)
    world.until(lambda: len(world.bound()) == 4)


def test_nodes_that_kfarm_has_claimed_are_retried_until_they_are_free(queue: Queue) -> None:
    """Half the farm is claimed by a plan of kfarm's own, so that Kueue does not see it yet."""
    world = queue.world
    world.cluster.apply(_own_plan(world))
    world.until_verdict("Approved", "own")
    world.cluster.apply(queue.plan(pods=8))
    queue.submit(pods=8)
    world.until(lambda: world.events("NodeTaken"))
    assert "have claimed them through kfarm" in world.events("NodeTaken")[0]
    world.until(lambda: queue.entry().get("retryCount", 0) >= 3, "more retries than the bound")
    assert world.asked[-1].plan.metadata.name == "own"
    world.cluster.kubectl("delete", "placementplan", "own", "-n", world.namespace)
    world.until(lambda: len(world.bound()) == 8)


def test_an_admission_that_is_lost_mid_simulation_is_not_answered(queue: Queue) -> None:
    world = queue.world
    world.twin.door.clear()
    world.cluster.apply(queue.plan(pods=4))
    queue.submit(pods=4)
    world.until(lambda: len(world.asked) == 1)
    queue.activate(active=False)
    world.until(lambda: queue.condition("QuotaReserved") == "False")
    world.twin.door.set()
    world.until(lambda: world.operator.service.queue("workloads").depth == 0)
    assert queue.entry()["state"] == "Pending"
    assert queue.claims() == []
    queue.activate()
    world.until(lambda: len(world.bound()) == 4)
    assert len(world.asked) == 2


def test_another_write_between_reading_and_answering_costs_no_simulation(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = queue.world
    answered: list[str] = []
    apply = KubeClient.apply

    def contended(self: KubeClient, resource: Any, name: str, body: Body, **more: Any) -> Body:
        if resource.plural == "workloads":
            answered.append(name)
            if len(answered) == 1:
                where = ("-n", world.namespace, f"touched={len(answered)}")
                world.cluster.kubectl("annotate", "workload", name, *where)
        return apply(self, resource, name, body, **more)

    monkeypatch.setattr(KubeClient, "apply", contended)
    world.cluster.apply(queue.plan(pods=2))
    queue.submit(pods=2)
    world.until(lambda: len(world.bound()) == 2)
    assert len(answered) == 2
    assert len(world.asked) == 1


def test_two_checks_and_we_touch_our_entry_alone(queue: Queue) -> None:
    world = queue.world
    other = f"{queue.name}-budget"
    world.cluster.apply(check(other, None, "example.com/budget"))
    _set_active(world.cluster, other)
    world.cluster.apply(cluster_queue(queue.name, queue.name, 64, queue.name, other))
    world.cluster.apply(queue.plan(pods=2))
    queue.submit(pods=2)
    queue.until_state("Ready")
    assert queue.entry(name=other)["state"] == "Pending"
    assert queue.condition("Admitted") != "True"
    name = queue.workload()["metadata"]["name"]
    where = ("-n", world.namespace, "--show-managed-fields")
    managers = world.cluster.get("workload", name, *where)["metadata"]["managedFields"]
    (mine,) = (m for m in managers if m["manager"] == "kfarm-twin")
    assert set(mine["fieldsV1"]) == {"f:status"}
    (owned,) = mine["fieldsV1"]["f:status"].values()
    assert set(owned) == {f'k:{{"name":"{queue.name}"}}'}
    assert world.pods() == []
    _approve(world.cluster, queue.workload(), other)
    world.until(lambda: len(world.bound()) == 2)
    assert queue.active()["reason"] == "Active"


def test_a_check_says_what_it_lacks(queue: Queue) -> None:
    world = queue.world

    def reason(body: Body) -> str:
        world.cluster.apply(body)
        lacking.name = body["metadata"]["name"]
        world.until(lambda: lacking.active()["status"] == "False")
        return str(lacking.active()["reason"])

    lacking = Queue(world)
    assert reason(check(f"{queue.name}-bare", None)) == "ParametersMissing"
    strange = check(f"{queue.name}-strange", "x")
    strange["spec"]["parameters"]["kind"] = "GPUFarm"
    assert reason(strange) == "ParametersNotSupported"
    policy = world.policy()
    policy["metadata"]["name"] = f"{queue.name}-later"
    assert reason(check(f"{queue.name}-later", f"{queue.name}-later")) == "PolicyNotFound"
    assert "apply it" in lacking.active()["message"]
    world.cluster.apply(policy)
    world.until(lambda: lacking.active()["status"] == "True")
    world.cluster.kubectl("delete", "validationpolicy", f"{queue.name}-later")
    world.until(lambda: lacking.active()["status"] == "False")


def test_without_hosts_the_check_stays_pending_and_says_why(queue: Queue) -> None:
    world = queue.world
    world.cluster.apply(flavor(f"{queue.name}-flat", world.farm_name, None))
    world.cluster.apply(cluster_queue(queue.name, f"{queue.name}-flat", 64, queue.name))
    world.cluster.apply(queue.plan(pods=2))
    queue.submit(pods=2, level=None)
    entry = queue.until_state("Pending", says="topologyName")
    assert queue.condition("QuotaReserved") == "True"
    assert world.pods() == []
    assert world.asked == []
    assert len(entry["message"]) <= 1024


def test_a_workload_that_fits_no_plan_is_tried_and_then_given_up(queue: Queue) -> None:
    world = queue.world
    world.cluster.apply(queue.plan("other", pods=2))
    queue.submit(pods=2)
    world.until(lambda: queue.workload().get("spec", {}).get("active") is False)
    told = world.events("PlanNotFound")
    assert any("no PlacementPlan train" in message for message in told)
    assert any("Given up after 2 retries" in message for message in told)
    world.cluster.apply(queue.plan(pods=2))
    queue.submit_again(pods=2)
    world.until(lambda: len(world.bound()) == 2)


def test_only_pods_that_kueue_placed_as_validated_are_released(queue: Queue) -> None:
    world = queue.world
    world.cluster.apply(queue.plan(pods=2))
    queue.submit(pods=2)
    world.until(lambda: len(world.bound()) == 2)
    workload = queue.workload()["metadata"]["name"]
    taken, free = world.bound()[0], next(n for n in _nodes(world) if n not in world.bound())
    tolerated = {"key": "kfarm.dev/farm", "operator": "Exists", "effect": "NoSchedule"}
    for name, host in (("surplus", taken), ("stray", free), ("loose", None)):
        selector = {"kubernetes.io/hostname": host} if host else {}
        pod = world.pod(name, nodeSelector=selector, tolerations=[tolerated])
        pod["metadata"]["annotations"] = {"kueue.x-k8s.io/workload": workload}
        pod["metadata"]["labels"]["kueue.x-k8s.io/podset"] = "main"
        world.cluster.apply(pod)
    for reason, name in (("SurplusPod", "surplus"), ("NotValidated", "stray"),
                         ("NotPlaced", "loose")):  # fmt: skip
        world.until(lambda r=reason: world.events(r), reason)
        assert f"pod {name}" in world.events(reason)[0]
    assert world.gated() == 3


def test_a_node_that_fails_is_replaced_and_its_successor_validated(queue: Queue) -> None:
    """Kueue swaps the node behind our Ready entry; the new pod waits for the twin."""
    world = queue.world
    world.cluster.apply(queue.plan(pods=4))
    queue.submit(pods=4)
    world.until(lambda: len(world.bound()) == 4)
    lost = world.bound()[0]
    world.cluster.fail_node(lost)
    out = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
    world.cluster.kubectl("taint", "node", lost, out)

    def replaced() -> bool:
        bound = world.bound()
        return len(bound) == 4 and lost not in bound

    world.until(replaced, "replacement", 90)
    assert queue.entry()["state"] == "Ready"
    assert lost not in {s.node for s in world.asked[-1].snapshot.survivors}
    (claim,) = queue.claims()
    assert sorted(item["node"] for item in claim["nodes"]) == world.bound()


def test_a_workload_of_a_megabyte_is_answered_like_any_other(queue: Queue) -> None:
    """A bare Workload whose template carries 1.2 MB that nobody needs."""
    world = queue.world
    world.cluster.apply(queue.plan(pods=2))
    template = world.job(pods=2)["spec"]["template"]
    container = template["spec"]["containers"][0]
    container["env"] = [{"name": f"E{i}", "value": "x" * 100_000} for i in range(12)]
    request = {"topologyRequest": {"required": LEVELS[0]}}
    spec = {"queueName": "main", "podSets": [{"name": "main", "count": 2, "template": template,
                                              **request}]}  # fmt: skip
    KubeClient.connect(world.cluster.kubeconfig).create(
        WORKLOADS, kueue("Workload", "huge", spec, world.namespace), world.namespace
    )

    def state() -> str:
        entries = world.get("workload", "huge").get("status", {}).get("admissionChecks", ())
        return str([entry["state"] for entry in entries])

    world.until(lambda: state() == "['Ready']", "the answer")
    assert [claim["workload"] for claim in queue.claims()] == ["huge"]
    world.cluster.kubectl("delete", "workload", "huge", "-n", world.namespace)
    world.until(lambda: queue.claims() == [])


def test_the_example_behind_kueue_runs(with_kueue: ControlPlane, world: Any) -> None:
    """Everything in examples/kueue, as it stands, on the farm that it names."""
    cluster, examples = with_kueue, ROOT / "examples"
    cluster.kubectl("apply", "-f", str(examples / "farms/elice.yaml"))
    cluster.kubectl("wait", "gpufarm/elice", "--for=condition=Ready", "--timeout=90s")
    cluster.kubectl("apply", "-f", str(examples / "kueue/queues.yaml"))
    for name in ("plan", "job"):
        cluster.kubectl("apply", "-f", str(examples / f"kueue/{name}.yaml"))
    where = ("pods", "-n", "fine-tuning", "--field-selector=status.phase=Running")
    world.until(lambda: len(cluster.get(*where)["items"]) == 16, "the example's gang")
    nodes = {pod["spec"]["nodeName"] for pod in cluster.get(*where)["items"]}
    assert len(nodes) == 16


def _own_plan(world: Any) -> Body:
    """A plan that kfarm places, under a policy of its own."""
    policy = world.policy()
    policy["metadata"]["name"] = f"{world.farm_name}-own"
    world.cluster.apply(policy)
    plan = world.plan("own", pods=4)
    plan["spec"]["policy"] = policy["metadata"]["name"]
    return dict(plan)


def _nodes(world: Any) -> list[str]:
    listed = world.cluster.get("nodes", "-l", f"kfarm.dev/farm={world.farm_name}")["items"]
    return sorted(str(node["metadata"]["name"]) for node in listed)


def _set_active(cluster: Cluster, name: str) -> None:
    """What another controller says of its check."""
    condition = {
        "type": "Active",
        "status": "True",
        "reason": "Active",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    _patch_status(cluster, "admissioncheck", name, {"conditions": [condition]})


def _approve(cluster: Cluster, workload: Body, name: str) -> None:
    """Another controller says Ready."""
    entries = workload["status"]["admissionChecks"]
    changed = [{**e, "state": "Ready"} if e["name"] == name else e for e in entries]
    meta = workload["metadata"]
    _patch_status(cluster, "workload", meta["name"], {"admissionChecks": changed},
                  "-n", meta["namespace"])  # fmt: skip


def _patch_status(cluster: Cluster, kind: str, name: str, status: Body, *where: str) -> None:
    body = json.dumps({"status": status})
    arguments = ("--subresource=status", "--type=merge", "-p", body)
    cluster.kubectl("patch", kind, name, *where, *arguments)
