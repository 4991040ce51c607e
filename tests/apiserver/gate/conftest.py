"""Fixtures of the gate: the chart installed without an operator, and callers of every kind."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kfarm_api.layout import GATE, LABEL_ENFORCE, LABEL_PLAN, LABEL_WORKLOAD
from kfarm_controlplane.client import Cluster
from kfarm_controlplane.cluster import ControlPlane, wait_until
from kfarm_controlplane.options import Options
from kfarm_operator.gate_ready import Answer, wait_for_gate
from kubernetes import config

ROOT = Path(__file__).resolve().parents[3]
SYSTEM = "kfarm-system"
GATE_ACCOUNT = f"system:serviceaccount:{SYSTEM}:kfarm-gate"
ALMIGHTY = "system:serviceaccount:default:almighty"
GPU, NPU = "example.com/gpu", "example.com/npu"
MERGE = "application/merge-patch+json"
Json = dict[str, Any]


class Api:
    """Raw requests, as any user, with the answer and not an exception for errors."""

    def __init__(self, kubeconfig: Path, user: str | None = None, group: str = "") -> None:
        client = config.new_client_from_config(str(kubeconfig))  # type: ignore[no-untyped-call]
        self.pool, self.host = client.rest_client.pool_manager, client.configuration.host
        token = client.configuration.auth_settings().get("BearerToken", {}).get("value")
        self.headers = {"Authorization": token} if token else {}
        self.headers |= {"Impersonate-User": user} if user else {}
        self.headers |= {"Impersonate-Group": group} if group else {}

    def __call__(
        self, method: str, path: str, body: object = None, content: str = "application/json"
    ) -> Answer:
        headers = self.headers | {"Content-Type": content, "Accept": "application/json"}
        data = body if body is None or isinstance(body, str) else json.dumps(body)
        answer = self.pool.request(method, self.host + path, body=data, headers=headers)
        try:
            return Answer(answer.status, json.loads(answer.data))
        except ValueError:  # "404 page not found" is no object
            return Answer(answer.status, {"message": answer.data.decode("utf-8", "replace")})


def profile(name: str, resource: str) -> Json:
    """An AcceleratorProfile of an invented device."""
    return {
        "apiVersion": "kfarm.dev/v1alpha1",
        "kind": "AcceleratorProfile",
        "metadata": {"name": name},
        "spec": {
            "vendor": "Example",
            "model": name,
            "uses": ["Training"],
            "resourceNames": [resource, f"{resource}.shared"],
            "power": {"tdp": "700", "idle": "70"},
            "memory": {"capacity": "80G"},
            "temperature": {"throttle": "85", "shutdown": "95"},
            "thermalResistance": {"air": "0.05"},
            "nodeOverhead": {"idle": "500", "loaded": "1500"},
        },
    }


def device_pod(**spec: object) -> Json:
    """A pod of eight devices."""
    container = {"name": "main", "image": "example", "resources": {"limits": {GPU: "8"}}}
    labels = {LABEL_PLAN: "pretrain", LABEL_WORKLOAD: "pretrain"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "pod-", "labels": labels},
        "spec": {"containers": [container], **spec},
    }


def pods(namespace: str, name: str = "", query: str = "") -> str:
    return f"/api/v1/namespaces/{namespace}/pods{'/' if name else ''}{name}{query}"


def chart(cluster: Cluster) -> str:
    """The chart's objects, without operator and catalogue; the CRDs stay when they are deleted."""
    values = "operator.enabled=false,catalogue.enabled=false,crds.enabled=false"
    arguments = ["kfarm", str(ROOT / "charts/kfarm"), "--namespace", SYSTEM, "--set", values]
    command = [str(cluster.bin("helm")), "template", *arguments, "--kube-version", "1.36.0"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def alone(control_plane: Cluster) -> Iterator[tuple[ControlPlane, Api]]:
    """An API server of the module's own, with the chart and the namespace ``team`` under the gate.

    Nothing else runs, so it may be killed.
    """
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("the API server of a given cluster is not killed")
    with ControlPlane(Options(components=())) as plane:
        crds = ["-f", str(ROOT / "crds")]
        plane.kubectl("apply", "--server-side", *crds)
        plane.kubectl("wait", "--for=condition=Established", *crds, "--timeout=60s")
        team = {"name": "team", "labels": {LABEL_ENFORCE: "true"}}
        account = {"name": "default", "namespace": "team"}
        plane.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}},
            {"apiVersion": "v1", "kind": "Namespace", "metadata": team},
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
            profile("gpu", GPU),
            profile("npu", NPU),
        )
        plane.kubectl("apply", "--server-side", "-f", "-", input=chart(plane))
        api = Api(plane.kubeconfig)
        yield plane, api
        api.pool.clear()


@pytest.fixture(scope="module")
def installed(clean_cluster: Cluster) -> Iterator[Cluster]:
    """CRDs, chart and two profiles; the policies are gone again when the next module starts."""
    cluster = clean_cluster
    crds = ["-f", str(ROOT / "crds")]
    cluster.kubectl("apply", "--server-side", "--force-conflicts", *crds)
    cluster.kubectl("wait", "--for=condition=Established", *crds, "--timeout=30s")
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}
    cluster.apply(namespace, profile("gpu", GPU), profile("npu", NPU))
    objects = chart(cluster)
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=objects)
    yield cluster
    cluster.kubectl("delete", "--ignore-not-found", "-f", "-", input=objects)
    create = dry_run(Api(cluster.kubeconfig), "default")
    wait_until(
        lambda: create(device_pod(nodeName="n")).status == 201, 30, "the policies to be unloaded"
    )


@pytest.fixture(scope="module")
def api(installed: Cluster) -> Api:
    return Api(installed.kubeconfig)


@pytest.fixture(scope="module")
def as_user(installed: Cluster) -> Callable[..., Api]:
    return lambda user, group="": Api(installed.kubeconfig, user, group)


@pytest.fixture(scope="module")
def api_by_token(installed: Cluster) -> Callable[[str, str], Api]:
    """Requests of a service account with a token of its own."""
    return lambda place, name: Api(installed.kubeconfig_for_service_account(place, name))


@pytest.fixture(scope="module")
def gate_account(as_user: Callable[..., Api]) -> Api:
    return as_user(GATE_ACCOUNT)


@pytest.fixture(scope="module")
def almighty(installed: Cluster, as_user: Callable[..., Api]) -> Api:
    """A service account with cluster-admin, outside of the break-glass groups."""
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "almighty"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "cluster-admin",
        },
        "subjects": [{"kind": "ServiceAccount", "name": "almighty", "namespace": "default"}],
    }
    installed.apply(binding)
    return as_user(ALMIGHTY)


def dry_run(api: Api, namespace: str) -> Callable[[Any], Answer]:
    return lambda item: api("POST", pods(namespace, query="?dryRun=All"), item)


def wait_for_policies(api: Api, almighty: Api, namespace: str) -> None:
    """Wait for the policies that look at creations, then for those that look at updates."""
    wait_for_gate(dry_run(api, namespace), namespace, [GPU, NPU], pause=partial(time.sleep, 0.1))
    probe = api("POST", pods(namespace), device_pod()).body["metadata"]["name"]
    lift = pods(namespace, probe, "?dryRun=All")
    unlabel = f"/api/v1/namespaces/{namespace}?dryRun=All"
    no_gate, no_label = {"spec": {"schedulingGates": None}}, {"metadata": {"labels": None}}
    wait_until(lambda: api("PATCH", lift, no_gate, MERGE).status == 403, 30, "release policy")
    wait_until(
        lambda: almighty("PATCH", unlabel, no_label, MERGE).status == 403, 30, "namespace policy"
    )
    api("DELETE", pods(namespace, probe))


@pytest.fixture(scope="module")
def node_account(almighty: Api, as_user: Callable[..., Api]) -> Api:
    """A member of ``system:nodes`` who may create pods anywhere."""
    return as_user(ALMIGHTY, "system:nodes")


@pytest.fixture(scope="module")
def enforced(api: Api, almighty: Api) -> Iterator[str]:
    """A namespace under the gate, once all policies are loaded."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    metadata = {"name": name, "labels": {LABEL_ENFORCE: "true", "kfarm.dev/test": "true"}}
    assert api("POST", "/api/v1/namespaces", {"metadata": metadata}).status == 201
    account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    wait_until(lambda: api("GET", account).status == 200, 30, "the default service account")
    wait_for_policies(api, almighty, name)
    yield name
    api("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="module")
def beside(api: Api, enforced: str) -> Iterator[str]:
    """A namespace that is not under the gate."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    metadata = {"name": name, "labels": {"kfarm.dev/test": "true"}}
    assert api("POST", "/api/v1/namespaces", {"metadata": metadata}).status == 201
    account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    wait_until(lambda: api("GET", account).status == 200, 30, "the default service account")
    yield name
    api("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def gated(api: Api, enforced: str) -> Json:
    """A pod that waits at the gate, with a gate of somebody else and a node selector."""
    other = [{"name": "example.com/other"}]
    item = device_pod(schedulingGates=other, nodeSelector={"zone": "a"})
    made = dict(api("POST", pods(enforced), item).body)
    assert made["spec"]["schedulingGates"] == [*other, {"name": GATE}]
    return made


@pytest.fixture(scope="module")
def reinstall(installed: Cluster) -> Callable[[], None]:
    """Apply chart and profiles again."""

    def again() -> None:
        installed.apply(profile("gpu", GPU), profile("npu", NPU))
        objects = chart(installed)
        installed.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=objects)

    return again
