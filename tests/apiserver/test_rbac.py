"""The two accounts of the operator: their rights, and the fence around the farm account."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_rights import granted
from chart_scene import OURS
from kfarm_api.layout import LABEL_FARM, LABEL_RACK, TAINT
from kfarm_controlplane.client import Cluster, KubectlError
from kfarm_controlplane.cluster import wait_until
from kubernetes import config
from kubernetes.client import CoreV1Api
from kubernetes.client.exceptions import ApiException

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "kfarm-system"
MADE = "kfarm.dev/farm-uid"
FORBIDDEN_VERBS = {"*", "escalate", "bind", "impersonate", "deletecollection"}
FORBIDDEN_RESOURCES = {
    "*",
    "secrets",
    "pods/exec",
    "pods/attach",
    "pods/binding",
    "pods/status",
    "pods/ephemeralcontainers",
    "nodes/proxy",
    "serviceaccounts/token",
}
FORBIDDEN_OF_CONFIG_MAPS = {"list", "watch", "update", "patch"}
LIST = frozenset({"list"})
WATCH = LIST | {"watch"}
READ = WATCH | {"get"}
PATCH = frozenset({"patch"})
KINDS = ("acceleratorprofiles", "gpufarms", "npufarms")
QUEUES = ("topologies", "resourceflavors", "cohorts", "clusterqueues")
QUEUE_VERBS = frozenset({"get", "list", "create", "patch", "delete"})
POLICIES = ("mutatingadmissionpolicies", "validatingadmissionpolicies")
BINDINGS = ("mutatingadmissionpolicybindings", "validatingadmissionpolicybindings")
RIGHTS: dict[str, dict[str, frozenset[str]]] = {
    "kfarm-gate": {
        **{f"{kind}.kfarm.dev": WATCH for kind in KINDS},
        "validationpolicies.kfarm.dev": READ,
        "placementplans.kfarm.dev": READ,
        "placementplans/status.kfarm.dev": PATCH,
        "validationpolicies/status.kfarm.dev": PATCH,
        "nodeledgers.kfarm.dev": READ | {"create", "patch"},
        "pods.": READ | PATCH,
        "pods/eviction.": frozenset({"create"}),
        "nodes.": WATCH,
        "workloads.kueue.x-k8s.io": READ,
        "admissionchecks.kueue.x-k8s.io": READ,
        "resourceflavors.kueue.x-k8s.io": WATCH,
        "workloads/status.kueue.x-k8s.io": PATCH,
        "admissionchecks/status.kueue.x-k8s.io": PATCH,
        **{f"{name}.admissionregistration.k8s.io": LIST for name in (*POLICIES, *BINDINGS)},
        "events.": frozenset({"create"}),
    },
    "kfarm-farm": {
        "acceleratorprofiles.kfarm.dev": READ,
        "gpufarms.kfarm.dev": READ | PATCH,
        "npufarms.kfarm.dev": READ | PATCH,
        **{f"{kind}/status.kfarm.dev": PATCH for kind in KINDS},
        "nodes.": READ | {"create", "patch", "delete"},
        "nodes/status.": PATCH,
        "acceleratorhealths.npu.ai": LIST,
        "nodedevicereports.npu.ai": LIST,
        **{f"{kind}.kueue.x-k8s.io": QUEUE_VERBS for kind in QUEUES},
        "events.": frozenset({"create"}),
    },
    "kfarm-whatif": {
        **{f"{kind}.kfarm.dev": WATCH for kind in KINDS},
        "twinruns.kfarm.dev": READ,
        "twinruns/status.kfarm.dev": PATCH,
        "configmaps.": frozenset({"get", "create", "delete"}),
        "events.": frozenset({"create"}),
    },
}
Json = dict[str, Any]
Farm = Callable[..., str]


def helm(cluster: Cluster, *values: str) -> str:
    arguments = ["kfarm", str(ROOT / "charts/kfarm"), "--namespace", SYSTEM]
    settings = list(itertools.chain.from_iterable(("--set", value) for value in values))
    command = [str(cluster.bin("helm")), "template", *arguments, *settings]
    command += ["--kube-version", "1.36.0"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def node(name: str, labels: Json | None = None, annotations: Json | None = None) -> Json:
    metadata = {"name": name, "labels": labels or {}, "annotations": annotations or {}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata}


def of_kind(cluster: Cluster, kind: str) -> list[Json]:
    """Objects of a kind in the whole chart."""
    return [item for item in yaml.safe_load_all(helm(cluster)) if item and item["kind"] == kind]


@pytest.fixture(scope="module")
def installed(clean_cluster: Cluster) -> Iterator[Cluster]:
    """CRDs and chart; the policies are taken away again after the last test."""
    cluster = clean_cluster
    crds = ["-f", str(ROOT / "crds")]
    cluster.kubectl("apply", "--server-side", "--force-conflicts", *crds)
    cluster.kubectl("wait", "--for=condition=Established", *crds, "--timeout=30s")
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    chart = helm(cluster, "operator.enabled=false", "catalogue.enabled=false", "crds.enabled=false")
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=chart)
    yield cluster
    cluster.kubectl("delete", "--ignore-not-found", "-f", "-", input=chart)
    pinned = {"containers": [{"name": "main", "image": "example"}], "nodeName": "n"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pinned"}, "spec": pinned}

    def unloaded() -> bool:
        try:
            cluster.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(pod))
        except KubectlError:
            return False
        return True

    wait_until(unloaded, 30, "the policies to be unloaded")


@pytest.fixture(scope="module")
def farm(installed: Cluster) -> Farm:
    """kubectl as the farm account, with a real token, once its fence is loaded."""
    kubeconfig = installed.kubeconfig_for_service_account(SYSTEM, "kfarm-farm")

    def run(*arguments: str, body: Json | None = None) -> str:
        text = None if body is None else json.dumps(body)
        return installed.kubectl(*arguments, input=text, kubeconfig=kubeconfig)

    def fenced() -> bool:
        try:
            run("create", "--dry-run=server", "-f", "-", body=node("probe"))
        except KubectlError as error:
            return "kfarm-farm-nodes" in error.stderr
        return False

    wait_until(fenced, 30, "the fence of the farm account")
    return run


@pytest.fixture
def real_node(installed: Cluster) -> Iterator[str]:
    """A node that nobody simulates, found by a farm's selector."""
    item = node("real", {"zone": "a", LABEL_FARM: "nhn"}, {"vendor": "x"})
    item["spec"] = {"taints": [{"key": "other", "effect": "NoSchedule"}]}
    installed.apply(item)
    yield "real"
    installed.kubectl("delete", "node", "real", "--ignore-not-found")


@pytest.fixture
def simulated_node(farm: Farm, installed: Cluster) -> Iterator[str]:
    """A simulated node made by the farm account."""
    farm("create", "-f", "-", body=node("simulated", {LABEL_FARM: "nhn"}, {MADE: "fake"}))
    yield "simulated"
    installed.kubectl("delete", "node", "simulated", "--ignore-not-found")


def refused(run: Callable[[], str], *said: str) -> None:
    """Require a refusal whose message says this."""
    with pytest.raises(KubectlError) as error:
        run()
    assert all(part in error.value.stderr for part in said), error.value.stderr


def test_accounts_hold_exactly_these_rights(installed: Cluster) -> None:
    """What is used of it, test_chart_lifecycle.py finds out from the audit log."""
    roles = installed.get("clusterroles,clusterrolebindings", "-l", OURS)["items"]
    found: dict[str, dict[str, set[str]]] = {}
    for account, verb, resource in granted(roles):
        found.setdefault(account, {}).setdefault(resource, set()).add(verb)
    assert found == RIGHTS


def test_each_concern_has_a_role_of_its_own(installed: Cluster) -> None:
    """No right is given twice to an account, and no role to an account that it is not named for."""
    roles = installed.get("clusterroles,clusterrolebindings", "-l", OURS)["items"]
    for role in (item for item in roles if item["kind"] == "ClusterRole"):
        assert not any({"resourceNames", "nonResourceURLs"} & rule.keys() for rule in role["rules"])
        single = [item for item in roles if item["kind"] != "ClusterRole" or item is role]
        single = [
            b for b in single if b is role or b["roleRef"]["name"] == role["metadata"]["name"]
        ]
        others = [item for item in roles if item not in single]
        assert granted(single)
        assert not granted(single) & granted(others)
        accounts = {account for account, _, _ in granted(single)}
        name = role["metadata"]["name"]
        assert name == "kfarm-events" or all(name.startswith(f"{a}-") for a in accounts)


def test_no_role_of_the_chart_holds_a_dangerous_right(installed: Cluster) -> None:
    for item in yaml.safe_load_all(helm(installed)):
        if not item or item["kind"] not in {"Role", "ClusterRole"}:
            continue
        for rule in item["rules"]:
            assert not FORBIDDEN_VERBS & set(rule["verbs"])
            assert not FORBIDDEN_RESOURCES & set(rule["resources"])
            assert "*" not in rule["apiGroups"]
            if "configmaps" in rule["resources"]:
                assert item["metadata"]["name"] == "kfarm-whatif-results"
                assert not FORBIDDEN_OF_CONFIG_MAPS & set(rule["verbs"])


@pytest.mark.parametrize(
    ("account", "request_"),
    [
        ("kfarm-gate", "delete pods"),
        ("kfarm-gate", "create pods"),
        ("kfarm-gate", "update pods"),
        ("kfarm-gate", "create pods/binding"),
        ("kfarm-gate", "patch pods/status"),
        ("kfarm-gate", "patch nodes"),
        ("kfarm-gate", "patch namespaces"),
        ("kfarm-gate", "patch validatingadmissionpolicies"),
        ("kfarm-gate", "patch placementplans"),
        ("kfarm-gate", "get secrets"),
        ("kfarm-farm", "get pods"),
        ("kfarm-farm", "patch pods"),
        ("kfarm-farm", "patch placementplans/status"),
        ("kfarm-farm", "patch nodeledgers"),
        ("kfarm-farm", "update nodes"),
        ("kfarm-farm", "delete gpufarms"),
        ("kfarm-farm", "get secrets"),
        ("kfarm-gate", "get configmaps"),
        ("kfarm-gate", "patch twinruns/status"),
        ("kfarm-farm", "get configmaps"),
        ("kfarm-whatif", "list configmaps"),
        ("kfarm-whatif", "patch configmaps"),
        ("kfarm-whatif", "patch twinruns"),
        ("kfarm-whatif", "delete twinruns"),
        ("kfarm-whatif", "get pods"),
        ("kfarm-whatif", "patch pods"),
        ("kfarm-whatif", "get nodes"),
        ("kfarm-whatif", "patch nodes"),
        ("kfarm-whatif", "patch placementplans/status"),
        ("kfarm-whatif", "get secrets"),
    ],
)
def test_the_accounts_may_not(installed: Cluster, account: str, request_: str) -> None:
    verb, _, target = request_.partition(" ")
    resource, _, subresource = target.partition("/")
    user = f"--as=system:serviceaccount:{SYSTEM}:{account}"
    part = [f"--subresource={subresource}"] if subresource else []
    with pytest.raises(KubectlError) as error:
        installed.kubectl("auth", "can-i", verb, resource, *part, user, "--all-namespaces")
    assert error.value.code == 1


def test_the_farm_account_makes_and_removes_simulated_nodes(
    farm: Farm, simulated_node: str
) -> None:
    farm("label", "node", simulated_node, f"{LABEL_RACK}=r1", "any=thing")
    farm("taint", "node", simulated_node, f"{TAINT}=:NoSchedule")
    farm("delete", "node", simulated_node)


@pytest.mark.parametrize(
    ("labels", "annotations", "said"),
    [
        ({}, {MADE: "fake"}, "only nodes labelled kfarm.dev/farm"),
        ({LABEL_FARM: "nhn"}, {}, "only simulated nodes"),
        ({}, {}, "kfarm-farm-nodes"),
    ],
)
def test_the_farm_account_makes_no_other_node(
    farm: Farm, labels: Json, annotations: Json, said: str
) -> None:
    refused(lambda: farm("create", "-f", "-", body=node("new", labels, annotations)), said)


def accepted(run: Callable[[], str]) -> None:
    """Require that this goes through, once no controller writes the node's taints meanwhile.

    kubectl sends the whole list of taints; a list that lost another's taint is refused.
    """

    def went_through() -> bool:
        try:
            run()
        except KubectlError:
            return False
        return True

    wait_until(went_through, 30, "a change of the node to be accepted")


def test_of_a_real_node_only_our_labels_and_taint(farm: Farm, real_node: str) -> None:
    farm("label", "node", real_node, f"{LABEL_RACK}=r1")
    accepted(lambda: farm("taint", "node", real_node, f"{TAINT}=:NoSchedule"))
    accepted(lambda: farm("taint", "node", real_node, f"{TAINT}-"))
    farm("label", "node", real_node, f"{LABEL_RACK}-", f"{LABEL_FARM}-")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("label", "node", "real", "zone=b", "--overwrite"), "only labels under kfarm.dev/"),
        (("label", "node", "real", "zone-"), "only labels under kfarm.dev/"),
        (("annotate", "node", "real", f"{MADE}=fake"), "into a simulated one"),
        (("annotate", "node", "real", "note=x"), "no annotation"),
        (("annotate", "node", "real", "vendor-"), "no annotation"),
        (("taint", "node", "real", "other-"), "only the taint kfarm.dev/farm"),
        (("taint", "node", "real", "more=:NoSchedule"), "only the taint kfarm.dev/farm"),
        (
            ("patch", "node", "real", "-p", '{"spec":{"unschedulable":true}}'),
            "only the taint kfarm.dev/farm",
        ),
        (("delete", "node", "real"), "only simulated nodes"),
        (
            ("patch", "node", "real", "-p", '{"metadata":{"finalizers":["a.b/c"]}}'),
            "no annotation, finalizer",
        ),
    ],
)
def test_of_a_real_node_nothing_else(
    farm: Farm, real_node: str, arguments: tuple[str, ...], said: str
) -> None:
    refused(lambda: farm(*arguments), "kfarm-farm-nodes", said)


def test_capacity_of_simulated_nodes_only(
    installed: Cluster, simulated_node: str, real_node: str, farm: Farm
) -> None:
    kubeconfig = installed.kubeconfig_for_service_account(SYSTEM, "kfarm-farm")
    api = CoreV1Api(config.new_client_from_config(str(kubeconfig)))  # type: ignore[no-untyped-call]
    size = {"status": {"capacity": {"cpu": "8"}}}
    api.patch_node_status(simulated_node, size)
    assert installed.get("node", simulated_node)["status"]["capacity"]["cpu"] == "8"
    with pytest.raises(ApiException, match="kfarm-farm-nodes"):
        api.patch_node_status(real_node, size)


def test_nodes_of_no_farm_are_left_alone(farm: Farm, installed: Cluster) -> None:
    installed.apply(node("foreign"), node("foreign-simulated", {}, {MADE: "fake"}))
    for name in ("foreign", "foreign-simulated"):
        refused(lambda name=name: farm("delete", "node", name), "kfarm-farm-nodes")  # type: ignore[misc]
    refused(lambda: farm("label", "node", "foreign", f"{LABEL_RACK}=r1"), "labelled kfarm.dev/farm")
    farm("label", "node", "foreign", f"{LABEL_FARM}=nhn")
    installed.kubectl("delete", "node", "foreign", "foreign-simulated")


def test_a_simulated_node_stays_what_it_is(farm: Farm, simulated_node: str) -> None:
    refused(lambda: farm("label", "node", simulated_node, f"{LABEL_FARM}-"), "stays")
    refused(lambda: farm("annotate", "node", simulated_node, f"{MADE}-"), "into a simulated one")


def test_of_a_farm_only_finalizers(
    farm: Farm, installed: Cluster, object_bases: dict[str, Any]
) -> None:
    item = next(base for base in object_bases.values() if base["kind"] == "GPUFarm")
    installed.apply(item)
    name = item["metadata"]["name"]
    patch = ("patch", "gpufarm", name, "--type=merge", "-p")
    farm(*patch, '{"metadata":{"finalizers":["kfarm.dev/nodes"]}}')
    farm(*patch, '{"metadata":{"finalizers":null}}')
    for body in ('{"spec":{"site":{"name":"Elsewhere"}}}', '{"metadata":{"labels":{"a":"b"}}}'):
        refused(lambda body=body: farm(*patch, body), "kfarm-farm-objects")  # type: ignore[misc]
    installed.kubectl("delete", "gpufarm", name)


@pytest.fixture(scope="module")
def whatif(installed: Cluster) -> Farm:
    """kubectl as the what-if account, with a real token, once its fence is loaded."""
    kubeconfig = installed.kubeconfig_for_service_account(SYSTEM, "kfarm-whatif")

    def run(*arguments: str, body: Json | None = None) -> str:
        text = None if body is None else json.dumps(body)
        return installed.kubectl(*arguments, input=text, kubeconfig=kubeconfig)

    def fenced() -> bool:
        try:
            run("create", "--dry-run=server", "-f", "-", body=config_map("probe"))
        except KubectlError as error:
            return "kfarm-whatif-artifacts" in error.stderr
        return False

    wait_until(fenced, 30, "the fence of the what-if account")
    return run


def config_map(name: str, *, label: bool = False, owner: str = "") -> Json:
    metadata: Json = {"name": name, "namespace": "default"}
    if label:
        metadata["labels"] = {"kfarm.dev/twin-run": "true"}
    if owner:
        reference = {"apiVersion": "kfarm.dev/v1alpha1", "kind": owner, "name": "x", "uid": "x"}
        metadata["ownerReferences"] = [{**reference, "controller": True}]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}}


def test_the_whatif_account_makes_results_and_no_other_config_map(whatif: Farm) -> None:
    dry = ("create", "--dry-run=server", "-f", "-")
    whatif(*dry, body=config_map("result", label=True, owner="TwinRun"))
    for body in (
        config_map("bare"),
        config_map("labelled", label=True),
        config_map("owned", owner="TwinRun"),
        config_map("other", label=True, owner="GPUFarm"),
    ):
        refused(lambda body=body: whatif(*dry, body=body), "kfarm-whatif-artifacts")  # type: ignore[misc]


def test_the_whatif_account_deletes_no_foreign_config_map(whatif: Farm, installed: Cluster) -> None:
    installed.apply(config_map("foreign"))
    refused(
        lambda: whatif("delete", "configmap", "foreign", "-n", "default"), "kfarm-whatif-artifacts"
    )
    installed.kubectl("delete", "configmap", "foreign", "-n", "default")


def test_the_whole_chart_is_accepted_and_its_pods_are_restricted(
    installed: Cluster, namespace: str
) -> None:
    level = "pod-security.kubernetes.io/enforce=restricted"
    installed.kubectl("label", "namespace", namespace, level)
    deployments = [
        item
        for item in yaml.safe_load_all(helm(installed))
        if item and item["kind"] == "Deployment"
    ]
    assert {item["metadata"]["name"] for item in deployments} == {
        "kfarm-gate",
        "kfarm-farm",
        "kfarm-whatif",
    }
    for item in deployments:
        template = item["spec"]["template"]
        pod = {"apiVersion": "v1", "kind": "Pod", "spec": template["spec"]}
        pod["metadata"] = {"name": item["metadata"]["name"], "namespace": namespace}
        pod["spec"]["serviceAccountName"] = "default"
        installed.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(pod))


def test_the_chart_carries_the_crds_and_the_catalogue(installed: Cluster) -> None:
    check = [sys.executable, str(ROOT / "scripts/chart_sync.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    sources = (ROOT / "examples/catalogue").glob("*.yaml")
    documents = [item for path in sources for item in yaml.safe_load_all(path.read_text("utf-8"))]
    wanted = {item["metadata"]["name"] for item in documents if item}
    profiles = of_kind(installed, "AcceleratorProfile")
    assert {item["metadata"]["name"] for item in profiles} == wanted
    assert len(profiles) == len(wanted)
