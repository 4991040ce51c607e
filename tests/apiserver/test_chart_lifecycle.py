"""The chart through its life on a real control plane: 0.1.0, upgrade, work, rollback, uninstall.

The tests build on each other, as the fixtures say: one control plane serves them all. The operator
runs as a process from the chart's own Deployments, with the accounts' tokens.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from chart_rights import POLICY, granted, used
from chart_scene import (
    CHART,
    PREVIOUS,
    SYSTEM,
    GateProbe,
    device_pod,
    helm_upgrade,
    identities,
    kfarm,
    labelled,
    namespace,
)
from kfarm_controlplane import ControlPlane, Options, wait_until
from kfarm_controlplane.chartpods import ChartPod, isolation, kernels_of_this_machine
from kfarm_controlplane.client import Cluster
from kfarm_controlplane.figures import record
from kfarm_controlplane.helm import Helm, HelmError
from kfarm_controlplane.installation import Installation
from kubernetes import config
from kubernetes.client import CoreV1Api
from kubernetes.client.exceptions import ApiException
from kueue_objects import Queue

Body = dict[str, Any]
TEAM = "keepers"
VERSION = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))["version"]
POLICIES = (
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
)
QUEUES = ("topologies", "resourceflavors", "cohorts", "clusterqueues")
TRACE = "\n".join(
    f"{n} {n * 60} -1 600 2 -1 -1 2 1800 -1 1 1 1 -1 1 -1 -1 -1" for n in range(1, 41)
)


@pytest.fixture(scope="module")
def clean_cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A control plane of our own with an audit log; or the one that was given."""
    if os.environ.get("KFARM_TEST_KUBECONFIG"):
        yield request.getfixturevalue("control_plane")
        return
    policy = tmp_path_factory.mktemp("audit") / "policy.yaml"
    policy.write_text(POLICY)
    with ControlPlane(Options(audit_policy=policy)) as plane:
        yield plane


@pytest.fixture(scope="module")
def helm(clean_cluster: Cluster) -> Helm:
    return Helm(clean_cluster)


@dataclasses.dataclass
class Before:
    """Objects as they were under the version before."""

    objects: dict[str, tuple[str, str]]
    parts: set[str]


@pytest.fixture(scope="module")
def before(clean_cluster: Cluster, helm: Helm) -> Before:
    """Version 0.1.0 with a farm, a policy, a plan, a TwinRun and a profile of somebody's own."""
    cluster = clean_cluster
    helm_upgrade(helm, PREVIOUS, "--set", "operator.enabled=false")
    rare = {"name": "rare", "failuresPer1000NodeDays": "0.001", "meanTimeToRepair": "1h"}
    described = {
        "name": "c", "accelerator": "b200", "nodes": 2, "acceleratorsPerNode": 8,
        "rack": {"nodes": 2}, "cooling": {"type": "Air", "supplyTemperature": 22},
        "reliability": {"classes": [rare]}, "source": {"simulated": {}},
    }  # fmt: skip
    checks = [{"metric": "nodes_down_max", "atMost": "100", "quantile": 50, "confidence": 50}]
    simulation = {"horizon": "24h", "futures": {"min": 8, "max": 64}, "seed": 7}
    workload = {
        "name": "w", "class": "Training", "pods": 2, "acceleratorsPerPod": 8, "gang": True,
        "accelerators": ["b200"], "duration": "8h",
        "checkpoint": {"interval": "30m", "save": "20s", "restart": "5m"},
    }  # fmt: skip
    plan = {"policy": "kept", "farms": [{"kind": "GPUFarm", "name": "kept"}]}
    own = cluster.get("acceleratorprofile", "b200")["spec"] | {"resourceNames": ["own.example/gpu"]}
    cluster.apply(
        namespace(TEAM, enforce="true"),
        kfarm("GPUFarm", "kept", {"site": {"name": "광주"}, "clusters": [described]}),
        kfarm("ValidationPolicy", "kept", {"checks": checks, "simulation": simulation}),
        kfarm("AcceleratorProfile", "own", own),
        kfarm("PlacementPlan", "kept", plan | {"workloads": [workload]}, TEAM),
    )
    wait_until(lambda: GateProbe(cluster, TEAM).ask(), 60, "the gate of 0.1.0")
    return Before(identities(cluster), labelled(cluster))


@pytest.fixture(scope="module")
def upgraded(clean_cluster: Cluster, helm: Helm, before: Before) -> Iterator[Cluster]:
    """The present chart over 0.1.0; the gate is asked all the while."""
    with GateProbe(clean_cluster, TEAM) as probe:
        wait_until(lambda: probe.asked > 0, 30, "a first question")
        helm_upgrade(helm, CHART, "--take-ownership", "--set", "operator.enabled=true")
        asked = probe.asked
        wait_until(lambda: probe.asked > asked + 3, 60, "questions after the upgrade")
    assert probe.past == []
    yield clean_cluster


@pytest.fixture(scope="module")
def installation(upgraded: Cluster) -> Installation:
    """What the scene of the other tests builds on; no operator is started by it."""
    tokens = (upgraded.kubeconfig_for_service_account(SYSTEM, f"kfarm-{a}") for a in
              ("gate", "farm", "whatif"))  # fmt: skip
    return Installation(upgraded, *tokens)


Pods = dict[str, ChartPod]


@pytest.fixture(scope="module")
def pods(
    upgraded: Cluster, helm: Helm, tmp_path_factory: pytest.TempPathFactory, player: object,
    held_twin: object,
) -> Iterator[Pods]:  # fmt: skip
    """The operator from the release's own Deployments; the fixtures before it warm the kernels."""
    del player, held_twin
    if isolation() is None:
        pytest.skip("no mount namespaces here, without which no pod can be imitated")
    folder, kernels = tmp_path_factory.mktemp("pods"), kernels_of_this_machine()
    found = [item for item in helm.manifest() if item["kind"] == "Deployment"]
    assert len(found) == 3
    made = {d["metadata"]["name"]: ChartPod(upgraded, d, folder, kernels) for d in found}
    with contextlib.ExitStack() as stack:
        for pod in made.values():
            stack.callback(pod.stop)
            pod.begin()
        for pod in made.values():
            wait_until(pod.ready, 240, f"{pod.name}; its log is {pod.log}")
        yield made


@pytest.fixture
def scene(lone_world: Any, pods: Pods) -> Any:
    """A farm, policy and namespace of the test's own, seen to by the chart's operator."""
    del pods
    lone_world.prepare()
    return lone_world


def test_without_ownership_the_upgrade_is_refused_and_nothing_changes(
    clean_cluster: Cluster, helm: Helm, before: Before
) -> None:
    """Helm made the CRDs of 0.1.0 outside the release."""
    with pytest.raises(HelmError) as error:
        helm_upgrade(helm, CHART)
    assert "invalid ownership metadata" in error.value.said
    assert "CustomResourceDefinition" in error.value.said
    assert identities(clean_cluster) == before.objects
    assert labelled(clean_cluster) == before.parts
    assert GateProbe(clean_cluster, TEAM).ask()


def test_the_upgrade_keeps_every_object_and_upgrades_the_crds(
    upgraded: Cluster, before: Before
) -> None:
    assert identities(upgraded) == before.objects
    crds = upgraded.get("customresourcedefinitions", "-l", "app.kubernetes.io/instance=kfarm")
    assert len(crds["items"]) == 8
    for item in crds["items"]:
        notes = item["metadata"]["annotations"]
        assert notes["helm.sh/resource-policy"] == "keep"
        assert notes["meta.helm.sh/release-name"] == "kfarm"
        assert item["metadata"]["labels"]["helm.sh/chart"] == f"kfarm-{VERSION}"


def test_nothing_of_the_version_before_is_left(upgraded: Cluster, helm: Helm) -> None:
    wanted = {f"{o['kind']}/{o['metadata']['name']}" for o in helm.manifest()}
    made = {"ReplicaSet", "Pod", "Endpoints", "EndpointSlice", "ControllerRevision", "Secret"}
    found = {name for name in labelled(upgraded) if name.partition("/")[0] not in made}
    profiles = {name for name in wanted if name.startswith("AcceleratorProfile/")}
    assert found == wanted - profiles
    assert len(profiles) == 13


def test_the_operator_of_the_chart_releases_a_gang(scene: Any, pods: Pods) -> None:
    cluster = scene.cluster
    cluster.apply(scene.plan(), scene.job())
    scene.until_verdict("Approved")
    scene.until(lambda: len(scene.bound()) == 4, "the gang")
    assert scene.bound() == scene.validated()
    assert "[+]gate shut" in pods["kfarm-gate"].read("/readyz?verbose")
    for pod in pods.values():
        assert "healthz check passed" in pod.read("/healthz?verbose")
        assert "kfarm_build_info" in pod.read("/metrics")
        assert "Traceback" not in pod.log.read_text()
        assert "Forbidden" not in pod.log.read_text()


def test_unbound_pods_are_evicted_when_their_plan_is_edited(scene: Any) -> None:
    cluster = scene.cluster
    if not isinstance(cluster, ControlPlane):
        pytest.skip("stops the scheduler")
    plan = scene.plan(pods=2)
    cluster.stop_component("kube-scheduler")
    try:
        cluster.apply(plan, scene.pod("a"), scene.pod("b"))
        scene.until(lambda: len(scene.pods()) == 2 and scene.gated() == 0, "the release")
        plan["spec"]["workloads"][0]["load"] = 70
        cluster.apply(plan)
        scene.until(lambda: scene.pods() == [], "the evictions")
    finally:
        cluster.start_component("kube-scheduler")


@contextlib.contextmanager
def unrest(scene: Any, names: list[str]) -> Iterator[None]:
    """Somebody else writes to the pods all the time, so that the release meets conflicts."""
    api = CoreV1Api(config.new_client_from_config(str(scene.cluster.kubeconfig)))  # type: ignore[no-untyped-call]
    done = threading.Event()

    def write(name: str) -> None:
        count = 0
        while not done.is_set():
            count += 1
            body = {"metadata": {"annotations": {"count": str(count)}}}
            with contextlib.suppress(ApiException):
                api.patch_namespaced_pod(name, scene.namespace, body)

    threads = [threading.Thread(target=write, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join(30)
        api.api_client.close()


def test_conflicts_only_delay_the_release(scene: Any, pods: Pods) -> None:
    """A release meets a conflict by chance, so there are as many as it takes."""

    def conflicts() -> bool:
        lines = pods["kfarm-gate"].read("/metrics").splitlines()
        wanted = ("kfarm_api_requests_total", 'verb="get"', 'resource="pods"')
        return any(all(word in line for word in wanted) for line in lines)

    for number in range(30):
        plan = f"round{number}"
        names = [f"{plan}-{pod}" for pod in range(4)]
        scene.cluster.apply(*(scene.pod(name, plan) for name in names))
        with unrest(scene, names):
            scene.cluster.apply(scene.plan(plan))
            scene.until(lambda plan=plan: scene.gated(plan) == 0, "the release")
        scene.until(lambda plan=plan: len(scene.bound(plan)) == 4, "the gang all the same")
        if conflicts():
            return
        everything = (f"placementplan/{plan}", *(f"pod/{name}" for name in names))
        scene.cluster.kubectl("delete", "-n", scene.namespace, *everything)
    pytest.fail("thirty releases under constant writes, and no conflict")


def test_a_twin_run_of_the_chart_is_played_and_replaced(scene: Any) -> None:
    cluster = scene.cluster
    trace = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"t.swf": TRACE},
             "metadata": {"name": "week", "namespace": scene.namespace}}  # fmt: skip
    spec = {
        "shape": {"nodes": 4, "acceleratorsPerNode": 8},
        "workload": {"trace": {"configMap": {"name": "week", "key": "t.swf"},
                               "format": "SWF", "block": "30m"}},
        "policies": [{"name": "fifo"}], "replicas": 2, "seed": 5,
    }  # fmt: skip
    results = []
    for seed in (5, 6):
        cluster.apply(trace, kfarm("TwinRun", "week", spec | {"seed": seed}, scene.namespace))
        scene.until(lambda seen=tuple(results): artifact(scene) not in (None, *seen), "a result")
        results.append(artifact(scene))
    maps = cluster.get("configmaps", "-n", scene.namespace, "-l", "kfarm.dev/twin-run=true")
    assert [item["metadata"]["name"] for item in maps["items"]] == [results[1]]


def artifact(scene: Any) -> str | None:
    """The ConfigMap with the result of the run as it is now."""
    body = scene.get("twinrun", "week")
    status = body.get("status") or {}
    ready = next((c for c in status.get("conditions", ()) if c["type"] == "Ready"), {})
    current = ready.get("observedGeneration") == body["metadata"]["generation"]
    done = current and ready.get("status") == "True"
    return str(status["artifact"]["configMap"]) if done and "artifact" in status else None


def test_farms_come_change_and_go(scene: Any) -> None:
    """Nodes are made, changed and deleted; also those of an NPU farm."""
    cluster = scene.cluster
    described = scene.farm()["spec"]["clusters"][0] | {"accelerator": "rngd", "name": "n"}
    described |= {"nodes": 2, "acceleratorsPerNode": 4, "rack": {"nodes": 2}}
    described.pop("fabric")
    name = f"{scene.farm_name}-npu"
    npu = kfarm("NPUFarm", name, {"site": {"name": "판교"}, "clusters": [described]})
    cluster.apply(npu)

    def nodes() -> list[Body]:
        return list(cluster.get("nodes", "-l", f"kfarm.dev/farm={name}")["items"])

    scene.until(lambda: len(nodes()) == 2, "nodes")
    described["acceleratorsPerNode"] = 8
    cluster.apply(npu)
    wanted = {"furiosa.ai/rngd": "8"}
    scene.until(lambda: all(wanted.items() <= n["status"].get("allocatable", {}).items()
                            for n in nodes()), "capacity")  # fmt: skip
    cluster.kubectl("delete", "npufarm", name)
    scene.until(lambda: nodes() == [], "the end of the nodes")


def test_with_kueue_the_chart_s_operator_answers(
    clean_cluster: Cluster, lone_world: Any, pods: Pods
) -> None:
    """The real Kueue; the farm's queues are made and go with it, a Workload is answered."""
    if not isinstance(clean_cluster, ControlPlane):
        pytest.skip("needs a control plane of our own for Kueue")
    clean_cluster.start_kueue()
    pods["kfarm-gate"].stop()  # instead of the minutes after which it looks for Kueue again
    pods["kfarm-farm"].stop()
    for name in ("kfarm-gate", "kfarm-farm"):
        pods[name].start()
    world = lone_world
    world.prepare()
    farm = world.farm()
    farm["spec"]["shares"] = [{"name": "government", "guaranteed": 32}]
    clean_cluster.apply(farm)
    queue = Queue(world)
    queue.prepare()
    clean_cluster.apply(queue.plan(pods=4))
    queue.submit(pods=4)
    entry = queue.until_state("Ready")
    assert "4 pods on 4 nodes" in entry["message"]
    world.until(lambda: len(world.bound()) == 4)

    def of_farm() -> set[str]:
        kinds = [f"{k}.kueue.x-k8s.io" for k in QUEUES]
        selector = f"kfarm.dev/farm={world.farm_name}"
        items = clean_cluster.get(",".join(kinds), "-l", selector)["items"]
        return {item["kind"] for item in items}

    world.until(lambda: len(of_farm()) == len(QUEUES), "topology, flavors, cohort and queues")
    clean_cluster.kubectl("delete", "job", "train", "-n", world.namespace)
    world.until(lambda: queue.claims() == [], "the claim to fall with the Workload")
    clean_cluster.kubectl("delete", "gpufarm", world.farm_name, "--wait=false")
    world.until(lambda: of_farm() == set(), "its queues to go with the farm")


def test_granted_is_used_and_nothing_was_refused(
    clean_cluster: Cluster, helm: Helm, pods: Pods
) -> None:
    """After all of the above; the operator's accounts alone are in the log."""
    if not isinstance(clean_cluster, ControlPlane):
        pytest.skip("needs the audit log of a control plane of our own")
    log = clean_cluster.directory / "logs/audit.log"
    wanted = granted(helm.manifest())
    asked, refused = used(log)
    assert sorted(refused) == []
    assert sorted(wanted - asked) == []
    assert sorted(asked - wanted) == []
    record("rbac", {
        "accounts": len({account for account, _, _ in wanted}),
        "roles": sum(o["kind"] == "ClusterRole" for o in helm.manifest()),
        "granted": len(wanted),
        "used": len(asked),
        "refused": len(refused),
    })  # fmt: skip


def degraded(cluster: Cluster) -> Body:
    """The condition Degraded of the policy `kept`."""
    body = cluster.get("validationpolicy", "kept")
    found = (body.get("status") or {}).get("conditions", ())
    return next((c for c in found if c["type"] == "Degraded"), {"status": "", "message": ""})


ALTERATIONS: dict[str, tuple[str, str, str]] = {
    "a policy that lets a namespace more out": (
        "validatingadmissionpolicy/kfarm-gate-required",
        '[{"op": "add", "path": "/spec/matchConstraints/namespaceSelector/matchExpressions/0'
        '/values/-", "value": "secret-lab"}]',
        "ValidatingAdmissionPolicy kfarm-gate-required was altered: spec.matchConstraints."
        "namespaceSelector.matchExpressions[0].values has 5 entries instead of 4",
    ),
    "an expression that is always true": (
        "validatingadmissionpolicy/kfarm-gate-release",
        '[{"op": "replace", "path": "/spec/validations/0/expression", "value": "true"}]',
        "ValidatingAdmissionPolicy kfarm-gate-release was altered: spec.validations[0].expression "
        "was changed",
    ),
    "a binding that only warns": (
        "validatingadmissionpolicybinding/kfarm-farm-entry",
        '[{"op": "replace", "path": "/spec/validationActions", "value": ["Warn"]}]',
        "the binding of ValidatingAdmissionPolicy kfarm-farm-entry does not deny",
    ),
    "a condition more under which it matches": (
        "mutatingadmissionpolicy/kfarm-gate",
        '[{"op": "add", "path": "/spec/matchConditions", "value": [{"name": "never", '
        '"expression": "false"}]}]',
        "MutatingAdmissionPolicy kfarm-gate was altered: spec.matchConditions was added",
    ),
}


def restore(helm: Helm, *arguments: str) -> None:
    """What the documentation gives as the remedy."""
    where = ("--namespace", SYSTEM)
    helm("upgrade", "kfarm", str(CHART), *where, "--reset-then-reuse-values", *arguments)


def test_while_policies_are_altered_or_missing_nothing_is_released(
    scene: Any, helm: Helm, pods: Pods
) -> None:
    """A condition and a metric say so; Helm repairs what was altered by hand."""
    cluster = scene.cluster
    wait_until(lambda: degraded(cluster)["status"] == "False", 60, "a gate that is shut")
    cluster.apply(scene.job())
    scene.until(lambda: len(scene.pods()) == 4, "pods that wait, as no more are taken from here on")
    for target, patch, _ in ALTERATIONS.values():
        cluster.kubectl("patch", target, "--type=json", "-p", patch)
    cluster.kubectl("delete", "validatingadmissionpolicy", "kfarm-farm-bindings")
    cluster.apply(scene.plan())
    scene.until_verdict("Approved")
    wait_until(lambda: degraded(cluster)["status"] == "True", 60, "Degraded")
    condition = degraded(cluster)
    assert condition["reason"] == "GateDegraded"
    for _, _, said in ALTERATIONS.values():
        assert said in condition["message"]
    assert "ValidatingAdmissionPolicy kfarm-farm-bindings is missing" in condition["message"]
    assert "helm upgrade --install --force restores" in condition["message"]
    assert f"kfarm_gate_faults {len(ALTERATIONS) + 1}.0" in pods["kfarm-gate"].read("/metrics")
    assert scene.gated() == 4
    restore(helm, "--force")
    scene.until(lambda: len(scene.bound()) == 4, "the release, by itself")
    wait_until(lambda: degraded(cluster)["status"] == "False", 60, "the gate to be shut again")


def test_back_to_the_version_before_and_up_again(
    upgraded: Cluster, helm: Helm, before: Before, pods: Pods
) -> None:
    """Nobody's objects are touched, the CRDs stay as they are, and the gate holds all the while."""
    for pod in pods.values():
        pod.stop()
    now = identities(upgraded)
    with GateProbe(upgraded, TEAM) as probe:
        helm("rollback", "kfarm", "1", "--namespace", SYSTEM)
        asked = probe.asked
        wait_until(lambda: probe.asked > asked + 3, 60, "questions after the rollback")
        assert identities(upgraded) == now
        crds = upgraded.get("customresourcedefinitions", "-l", "app.kubernetes.io/instance=kfarm")
        assert len(crds["items"]) == 8
        roles = upgraded.get("clusterroles", "-l", "app.kubernetes.io/instance=kfarm")["items"]
        assert {role["metadata"]["name"] for role in roles} == {
            "kfarm-gate", "kfarm-farm", "kfarm-whatif",
        }  # fmt: skip
        restore(helm)  # this time without --take-ownership
        asked = probe.asked
        wait_until(lambda: probe.asked > asked + 3, 60, "questions after the upgrade")
    assert probe.past == []
    assert identities(upgraded) == now
    assert before.objects.items() <= now.items()


def test_uninstall_leaves_what_is_documented_and_nothing_else(
    upgraded: Cluster, helm: Helm, before: Before
) -> None:
    """CRDs, with all objects of theirs, the namespace, and what the API server keeps of itself."""
    now = identities(upgraded)
    said = helm("uninstall", "kfarm", "--namespace", SYSTEM)
    assert "kept due to the resource policy" in said
    kept = {"CustomResourceDefinition", "AcceleratorProfile"}
    wait_until(lambda: {n.partition("/")[0] for n in labelled(upgraded)} <= kept, 60, "the end")
    assert identities(upgraded) == now
    assert before.objects.items() <= now.items()
    for kind in ("clusterroles", "clusterrolebindings", *POLICIES):
        names = [item["metadata"]["name"] for item in upgraded.get(kind)["items"]]
        assert [name for name in names if name.startswith("kfarm")] == []
    left = upgraded.kubectl("get", "all,sa,cm,secret,role,pdb,netpol", "-n", SYSTEM, "-o", "name")
    assert sorted(left.split()) == ["configmap/kube-root-ca.crt", "serviceaccount/default"]
    # the gate is gone with its policies, as the documentation warns
    upgraded.apply(device_pod("loose", TEAM))
    wait_until(lambda: not GateProbe(upgraded, TEAM).ask(), 30, "an open gate")
    upgraded.kubectl("delete", "pod", "loose", "-n", TEAM, "--grace-period=0", "--force")


def test_installed_anew_it_takes_over_what_it_left(upgraded: Cluster, helm: Helm) -> None:
    """Without any flag; the profiles that were kept are ordinary objects of the new release."""
    if "kfarm" in helm("list", "-q", "--namespace", SYSTEM):
        helm("uninstall", "kfarm", "--namespace", SYSTEM)
    now = identities(upgraded)
    helm_upgrade(helm, CHART)
    assert identities(upgraded) == now
    assert sum(item["kind"] == "AcceleratorProfile" for item in helm.manifest()) == 13
    wait_until(lambda: GateProbe(upgraded, TEAM).ask(), 60, "the gate")


def test_a_first_installation_brings_the_catalogue_and_the_next_upgrade_adopts_it(
    control_plane: Cluster,
) -> None:
    """On an API server that has never heard of kfarm; profiles come as hooks there."""
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("needs a control plane of our own without CRDs")
    with ControlPlane(Options(components=())) as plane:
        helm = Helm(plane)
        helm_upgrade(helm, CHART)
        first = identities(plane)
        assert sum(key.startswith("AcceleratorProfile/") for key in first) == 13
        assert not any(item["kind"] == "AcceleratorProfile" for item in helm.manifest())
        helm_upgrade(helm, CHART)
        assert sum(item["kind"] == "AcceleratorProfile" for item in helm.manifest()) == 13
        helm("rollback", "kfarm", "1", "--namespace", SYSTEM)
        assert identities(plane) == first
