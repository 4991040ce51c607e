"""The gate holds with no operator running: what may be created, bound and un-labelled.

Requests are made by a member of ``system:masters``, who has every right, so that a refusal is the
work of a policy and not of RBAC; other users are impersonated.
"""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from gate_pods import (
    GPU,
    MERGE,
    NPU,
    OPEN,
    PLAN,
    STRATEGIC,
    Api,
    Json,
    allowed,
    container,
    device_pod,
    gates,
    path_of,
    pod,
    pods,
    refused,
)
from kfarm_api.layout import GATE, LABEL_ENFORCE, LABEL_PLAN, LABEL_WORKLOAD, TAINT
from kfarm_controlplane.client import Cluster
from kfarm_controlplane.cluster import wait_until
from kfarm_operator.gate_ready import (
    MUTATING_POLICIES,
    VALIDATING_POLICIES,
    Answer,
    gate_faults,
    is_gated,
    policy_faults,
    wait_for_gate,
)

DEVICES = {
    "limits": {"containers": [container(limits={GPU: "8"})]},
    "requests and limits": {"containers": [container(requests={GPU: 1}, limits={GPU: 1})]},
    "zero": {"containers": [container(limits={GPU: 0})]},
    "second container": {"containers": [container(), container("b", limits={GPU: 1})]},
    "init container": {"initContainers": [container("init", limits={GPU: 1})]},
    "second resource name": {"containers": [container(limits={f"{GPU}.shared": 1})]},
    "second profile": {"containers": [container(limits={NPU: 1})]},
    "resource claim": {"resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "gpu"}]},
    "device class": {
        "containers": [container(limits={"deviceclass.resource.kubernetes.io/gpu": 1})]
    },
}


@pytest.mark.parametrize("spec", DEVICES.values(), ids=DEVICES.keys())
def test_every_way_of_asking_for_a_device_is_gated(api: Api, enforced: str, spec: Json) -> None:
    made = allowed(api("POST", pods(enforced), pod(**spec)))
    assert gates(made) == [GATE]
    assert made["spec"]["tolerations"].count(OPEN) == 1


def test_other_gates_and_tolerations_are_kept_and_ours_is_not_doubled(
    api: Api, enforced: str
) -> None:
    mine = {"key": "mine", "operator": "Exists"}
    item = device_pod(schedulingGates=[{"name": "a.b/c"}, {"name": GATE}], tolerations=[mine, OPEN])
    made = allowed(api("POST", pods(enforced), item))
    assert gates(made) == ["a.b/c", GATE]
    assert [made["spec"]["tolerations"].count(each) for each in (mine, OPEN)] == [1, 1]


def test_other_pods_and_other_namespaces_are_left_alone(
    api: Api, enforced: str, namespace: str
) -> None:
    for place, item in ((enforced, pod()), (namespace, pod()), (namespace, device_pod())):
        made = allowed(api("POST", pods(place), item))
        assert not is_gated(made)
        assert not any(t.get("key") == TAINT for t in made["spec"]["tolerations"])


CREATIONS = {
    "node name": (pod(nodeName="n"), "kfarm-gate-pods|kfarm-farm-entry"),
    "plan label without device": (pod({LABEL_PLAN: "p"}), "kfarm-gate-pods"),
    "workload label without device": (pod({LABEL_WORKLOAD: "w"}), "kfarm-gate-pods"),
    "toleration without device": (pod(tolerations=[OPEN]), "kfarm-farm-entry"),
    "toleration of any effect": (
        pod(tolerations=[{"key": TAINT, "operator": "Equal", "value": "x"}]),
        "kfarm-farm-entry",
    ),
    "bare Exists": (pod(tolerations=[{"operator": "Exists"}]), "kfarm-farm-entry"),
    "bare Exists, NoSchedule": (
        pod(tolerations=[{"operator": "Exists", "effect": "NoSchedule"}]),
        "kfarm-farm-entry",
    ),
}


@pytest.mark.parametrize(("item", "policy"), CREATIONS.values(), ids=CREATIONS.keys())
def test_creations_that_go_around_the_gate_are_refused(
    api: Api, enforced: str, item: Json, policy: str
) -> None:
    refused(api("POST", pods(enforced), item), policy)


def test_nodes_make_their_own_pods_but_not_under_the_gate(
    node_account: Api, enforced: str, namespace: str
) -> None:
    where = "kfarm-gate-pods|kfarm-farm-entry"
    refused(node_account("POST", pods(enforced), pod(nodeName="n")), where)
    shown = pod(nodeName="n")
    refused(node_account("POST", pods(namespace), shown), "kfarm-farm-entry")
    shown["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "0123"}
    allowed(node_account("POST", pods(namespace, query="?dryRun=All"), shown))


def test_a_device_pod_with_a_node_name_is_refused(api: Api, enforced: str) -> None:
    assert api("POST", pods(enforced), device_pod(nodeName="n")).status in {403, 422}


def test_outside_of_the_gate_nobody_enters_the_farm(
    api: Api, namespace: str, as_user: Callable[[str], Api]
) -> None:
    hand_gated = device_pod(schedulingGates=[{"name": GATE}], tolerations=[OPEN])
    tricks = (pod(nodeName="n"), pod(tolerations=[OPEN]), device_pod(tolerations=[OPEN]))
    for item in (*tricks, pod(tolerations=[{"operator": "Exists"}]), hand_gated):
        refused(api("POST", pods(namespace), item), "kfarm-farm-entry")
    harmless = [{"operator": "Exists", "effect": "NoExecute"}, {"key": "x", "operator": "Exists"}]
    made = allowed(api("POST", pods(namespace), pod(tolerations=harmless)))
    late = {"spec": {"tolerations": [*made["spec"]["tolerations"], OPEN]}}
    refused(api("PATCH", path_of(made), late, MERGE), "kfarm-farm-entry")
    label = {"metadata": {"labels": {"a": "b"}}}
    allowed(api("PATCH", path_of(made), label, MERGE))


def test_system_pods_enter_the_farm_without_devices(api: Api, enforced: str) -> None:
    place = f"{pods('kube-system')}?dryRun=All"
    for item in (pod(tolerations=[{"operator": "Exists"}]), pod(nodeName="n"), device_pod()):
        allowed(api("POST", place, item))
    claim = [{"name": "gpu", "resourceClaimTemplateName": "gpu"}]
    for item in (
        device_pod(tolerations=[OPEN]),
        device_pod(nodeName="n"),
        pod(tolerations=[OPEN], resourceClaims=claim),
    ):
        refused(api("POST", place, item), "kfarm-farm-entry-exempt")


def test_bindings_are_for_the_scheduler(
    api: Api, as_user: Callable[[str], Api], enforced: str, namespace: str
) -> None:
    for place in (enforced, namespace):
        made = allowed(api("POST", pods(place), pod(nodeSelector={"no": "where"})))
        binding: Json = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": made["metadata"]["name"]},
            "target": {"kind": "Node", "name": "n"},
        }
        paths = f"{path_of(made)}/binding", f"/api/v1/namespaces/{place}/bindings"
        for path in paths:
            refused(api("POST", path, binding), "kfarm-farm-bindings")
        scheduler = as_user("system:kube-scheduler")
        labelled = binding | {"metadata": binding["metadata"] | {"labels": PLAN}}
        refused(scheduler("POST", paths[0], labelled), "kfarm-farm-bindings")
        allowed(scheduler("POST", f"{paths[0]}?dryRun=All", binding))


def test_the_scheduler_cannot_bind_a_gated_pod(as_user: Callable[[str], Api], gated: Json) -> None:
    binding = {
        "metadata": {"name": gated["metadata"]["name"]},
        "target": {"kind": "Node", "name": "n"},
    }
    answer = as_user("system:kube-scheduler")("POST", f"{path_of(gated)}/binding", binding)
    assert answer.status in {409, 422, 500}, answer.body
    assert "schedulingGates" in answer.body["message"]


@pytest.mark.parametrize("part", ["", "/status"])
def test_plan_labels_are_fixed_at_creation(api: Api, enforced: str, gated: Json, part: str) -> None:
    plain = allowed(api("POST", pods(enforced), device_pod()))
    for item, labels in (
        (gated, {LABEL_PLAN: "other"}),
        (gated, {LABEL_WORKLOAD: None}),
        (plain, PLAN),
    ):
        patch = {"metadata": {"labels": labels}}
        refused(api("PATCH", f"{path_of(item)}{part}", patch, MERGE), "kfarm-gate-pods")
    fine = {"metadata": {"labels": {"team": "a"}}}
    allowed(api("PATCH", f"{path_of(gated)}{part}", fine, MERGE))


def test_devices_of_a_pod_do_not_change_afterwards(api: Api, enforced: str, gated: Json) -> None:
    plain = allowed(api("POST", pods(enforced), pod()))
    added = {"name": "debug", "image": "example", "resources": {"limits": {GPU: 1}}}
    grown = [container(limits={GPU: "9"})]
    for part, spec in (
        ("ephemeralcontainers", {"ephemeralContainers": [added]}),
        ("resize", {"containers": grown}),
    ):
        for item in (plain, gated):
            path = f"{path_of(item)}/{part}"
            assert api("PATCH", path, {"spec": spec}, STRATEGIC).status in {403, 422}
    fine = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "example"}]}}
    allowed(api("PATCH", f"{path_of(plain)}/ephemeralcontainers", fine, STRATEGIC))


def test_the_namespace_label_comes_off_by_break_glass_only(
    api: Api, almighty: Api, enforced: str
) -> None:
    path = f"/api/v1/namespaces/{enforced}"
    for part, value in itertools.product(("", "/status"), (None, "false", "True")):
        patch = {"metadata": {"labels": {LABEL_ENFORCE: value}}}
        refused(almighty("PATCH", f"{path}{part}", patch, MERGE), "kfarm-gate-namespaces")
        allowed(api("PATCH", f"{path}{part}?dryRun=All", patch, MERGE))
    bare = allowed(almighty("GET", path))
    del bare["metadata"]["labels"][LABEL_ENFORCE]
    for part in ("", "/finalize"):
        refused(almighty("PUT", f"{path}{part}", bare), "kfarm-gate-namespaces")
    allowed(almighty("PATCH", path, {"metadata": {"labels": {"team": "a"}}}, MERGE))
    allowed(almighty("DELETE", f"{path}?dryRun=All"))
    patch = {"metadata": {"labels": {LABEL_ENFORCE: "true"}}}
    exempt = api("PATCH", "/api/v1/namespaces/kube-system?dryRun=All", patch, MERGE)
    refused(exempt, "kfarm-gate-namespaces")


def test_pods_of_workloads_are_gated(installed: Cluster, enforced: str) -> None:
    labels = {"app": "owned"}
    template = {"metadata": {"labels": labels}, "spec": device_pod()["spec"]}
    job: Json = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "owned", "namespace": enforced},
        "spec": {"template": copy.deepcopy(template), "parallelism": 2},
    }
    job["spec"]["template"]["spec"]["restartPolicy"] = "Never"
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "owned", "namespace": enforced},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template},
    }
    installed.apply(job, deployment)
    found: list[Json] = []

    def all_there() -> bool:
        found[:] = installed.get("pods", "-n", enforced, "-l", "app=owned")["items"]
        return len(found) == 4

    wait_until(all_there, 60, "pods of Job and Deployment")
    assert all(is_gated(item) for item in found)
    installed.kubectl("delete", "job,deployment", "owned", "-n", enforced)


@pytest.fixture
def create(api: Api, enforced: str) -> Callable[[Any], Answer]:
    """Create a pod under the gate by dry run."""
    return lambda item: api("POST", pods(enforced, query="?dryRun=All"), item)


def test_the_gate_fails_closed_without_mutation_or_profiles(
    installed: Cluster,
    create: Callable[[Any], Answer],
    reinstall: Callable[[], None],
    enforced: str,
) -> None:
    kind = "mutatingadmissionpolicybinding"
    installed.kubectl("delete", kind, "kfarm-gate")
    wait_until(lambda: create(device_pod()).status == 403, 30, "refusal without the mutation")
    refused(create(device_pod()), "kfarm-gate-required")
    allowed(create(device_pod(schedulingGates=[{"name": GATE}])))
    assert gate_faults(create, enforced, [GPU])
    reinstall()
    installed.kubectl("delete", "acceleratorprofiles", "gpu", "npu")
    wait_until(lambda: create(pod()).status >= 400, 30, "refusal without profiles")
    assert "no params found" in create(pod()).body["message"]
    reinstall()
    wait_for_gate(create, enforced, [GPU, NPU], pause=partial(time.sleep, 0.1))


def test_missing_and_weakened_policies_are_named(api: Api, enforced: str) -> None:
    base = "/apis/admissionregistration.k8s.io/v1"
    kinds = ("mutating", "validating")
    lists = [
        allowed(api("GET", f"{base}/{kind}admissionpolic{end}"))["items"]
        for kind in kinds
        for end in ("ies", "ybindings")
    ]
    assert policy_faults(*lists) == ()
    count = len(MUTATING_POLICIES) + len(VALIDATING_POLICIES)
    assert len(policy_faults([], [], [], [])) == count
    weak = copy.deepcopy(lists)
    for item in weak[2]:
        item["spec"]["failurePolicy"] = "Ignore"
    for item in weak[3]:
        item["spec"]["validationActions"] = ["Audit"]
    assert len(policy_faults(*weak)) == 2 * len(VALIDATING_POLICIES)


def test_policies_have_no_type_errors(installed: Cluster, enforced: str) -> None:
    for item in installed.get("validatingadmissionpolicies")["items"]:
        assert not item.get("status", {}).get("typeChecking", {}).get("expressionWarnings")
