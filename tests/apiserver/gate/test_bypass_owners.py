"""Owners of pods under the gate, by the real controllers: what they make waits, or is not made."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from bypass_ground import enters_farm, farm_node
from gate_pods import Api, Json, allowed, container, device_pod, gates, pod
from kfarm_api.layout import GATE, TAINT
from kfarm_controlplane.client import Cluster
from kfarm_controlplane.cluster import wait_until

FARM_NODE = "owners-farm"
BATCH, APPS = "/apis/batch/v1", "/apis/apps/v1"
EXISTS: Json = {"tolerations": [{"operator": "Exists"}]}
ON_NODE: Json = {"nodeName": FARM_NODE}
UNGATED: Json = {"schedulingGates": [{"name": "a.b/c"}]}
TOLERANT: Json = {"tolerations": [{"key": TAINT, "operator": "Exists"}]}


def _labelled(template: Json, labels: Json) -> Json:
    return {"metadata": {"labels": labels}, "spec": template}


def _job(template: Json) -> Json:
    return {"parallelism": 2, "completions": 2, "backoffLimit": 0,
            "template": _labelled(template | {"restartPolicy": "Never"}, {})}  # fmt: skip


def _owners(template: Json, name: str) -> dict[str, tuple[str, Json]]:
    """Each kind of owner with this template: its path and its spec."""
    labels = {"owner": name}
    chosen = {"matchLabels": labels}
    plain = _labelled(template, labels)
    job = _job(template)
    job["template"]["metadata"]["labels"] = labels
    return {
        "Deployment": (f"{APPS}/deployments", {"replicas": 2, "selector": chosen,
                                               "template": plain}),
        "ReplicaSet": (f"{APPS}/replicasets", {"replicas": 2, "selector": chosen,
                                               "template": plain}),
        "StatefulSet": (f"{APPS}/statefulsets", {"replicas": 2, "selector": chosen,
                                                 "podManagementPolicy": "Parallel",
                                                 "serviceName": name, "template": plain}),
        "DaemonSet": (f"{APPS}/daemonsets", {"selector": chosen, "template": plain}),
        "ReplicationController": ("/api/v1/replicationcontrollers",
                                  {"replicas": 2, "selector": labels, "template": plain}),
        "Job": (f"{BATCH}/jobs", job),
        "CronJob": (f"{BATCH}/cronjobs", {"schedule": "* * * * *",
                                          "jobTemplate": {"spec": job}}),
    }  # fmt: skip


KINDS = tuple(_owners({}, "x"))
ENDS: dict[str, tuple[Json, str]] = {
    "devices": (device_pod()["spec"], "gated"),
    "another's gate": (device_pod(**UNGATED)["spec"], "gated"),
    "node name": (pod(**ON_NODE)["spec"], "refused"),
    "bare Exists": (pod(**EXISTS)["spec"], "refused"),
    "toleration": (pod(**TOLERANT)["spec"], "refused"),
    "plain": (pod(containers=[container()])["spec"], "outside"),
}
"""Templates, and what becomes of their pods."""


@pytest.fixture(scope="module")
def farm(installed: Cluster, api: Api, enforced: str) -> Iterator[str]:
    """A farm's node with room, beside a namespace under the gate."""
    allowed(api("POST", "/api/v1/nodes", farm_node(FARM_NODE)))
    ready = f"/api/v1/nodes/{FARM_NODE}"

    def schedulable() -> bool:
        taints = api("GET", ready).body["spec"].get("taints", ())
        return {taint["key"] for taint in taints} == {TAINT}

    wait_until(schedulable, 60, "the farm's node to be Ready")
    yield enforced


@pytest.fixture(scope="module")
def owners(api: Api, farm: str) -> dict[tuple[str, str], str]:
    """Every kind of owner with every template, made at once; a CronJob's Job made by hand."""
    made: dict[tuple[str, str], str] = {}
    for told, (template, _) in ENDS.items():
        for kind in KINDS:
            name = f"{kind.lower()}-{uuid.uuid4().hex[:6]}"
            path, spec = _owners(template, name)[kind]
            folder, _, plural = path.rpartition("/")
            body = {"metadata": {"name": name}, "spec": spec}
            where = f"{folder}/namespaces/{farm}"
            taken = allowed(api("POST", f"{where}/{plural}", body))
            if kind == "CronJob":  # its hour has come, as kubectl create job --from does
                job = taken["spec"]["jobTemplate"]["spec"]
                allowed(api("POST", f"{where}/jobs", {"metadata": {"name": name}, "spec": job}))
            made[kind, told] = name
    return made


def _pods(api: Api, place: str, name: str) -> list[Json]:
    listed: Any = api("GET", f"/api/v1/namespaces/{place}/pods?labelSelector=owner%3D{name}")
    return list(allowed(listed)["items"])


@pytest.mark.parametrize("told", ENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_owners_come_no_further_than_their_pods(
    api: Api, farm: str, owners: dict[tuple[str, str], str], kind: str, told: str
) -> None:
    name, end = owners[kind, told], ENDS[told][1]
    # The DaemonSet controller leaves out nodes whose taints are not tolerated, without a word.
    silent = kind == "DaemonSet" and told not in ("bare Exists", "toleration")
    if silent:
        path = f"{APPS}/namespaces/{farm}/daemonsets/{name}"
        wait_until(lambda: _observed(api, path), 60, "the DaemonSet to be looked at")
    elif end == "refused":
        wait_until(lambda: _refusal(api, farm, name), 60, f"the refusal of {kind} {name}")
    else:
        wait_until(lambda: len(_pods(api, farm, name)) == 2, 60, f"pods of {kind} {name}")
    for item in _pods(api, farm, name):
        assert end != "refused"
        assert not item["spec"].get("nodeName")
        if end == "gated":
            assert GATE in gates(item)
        else:
            assert not enters_farm(item)


def _observed(api: Api, path: str) -> bool:
    body = allowed(api("GET", path))
    return bool(body.get("status", {}).get("observedGeneration") == body["metadata"]["generation"])


def _refusal(api: Api, place: str, name: str) -> bool:
    """Whether a controller said why it makes no pod of this owner."""
    selector = "fieldSelector=reason%3DFailedCreate&limit=500"
    events = allowed(api("GET", f"/api/v1/namespaces/{place}/events?{selector}"))["items"]
    return any(
        event["involvedObject"]["name"].startswith(name) and "kfarm-" in event["message"]
        for event in events
    )


def test_a_daemon_set_with_the_farm_in_mind_is_gated(
    api: Api, farm: str, installed: Cluster
) -> None:
    """Its pods go to one node each by affinity; the toleration comes with the gate only."""
    template = device_pod(**TOLERANT)["spec"]
    name = "mindful"
    spec = {"selector": {"matchLabels": {"owner": name}},
            "template": _labelled(template, {"owner": name})}  # fmt: skip
    body = {"metadata": {"name": name}, "spec": spec}
    allowed(api("POST", f"{APPS}/namespaces/{farm}/daemonsets", body))
    wait_until(lambda: bool(_pods(api, farm, name)), 60, "the pod for the farm's node")
    assert [gates(item) for item in _pods(api, farm, name)] == [[GATE]]
    assert not any(item["spec"].get("nodeName") for item in _pods(api, farm, name))
    installed.kubectl("delete", "daemonset", name, "-n", farm)


def test_a_resumed_job_with_changed_directives_is_gated(api: Api, farm: str) -> None:
    """While a Job is suspended its template's gates, selectors and tolerations may change."""
    name = f"resumed-{uuid.uuid4().hex[:6]}"
    spec = _job(device_pod(schedulingGates=[{"name": GATE}])["spec"]) | {"suspend": True}
    spec["template"]["metadata"]["labels"] = {"owner": name}
    path = f"{BATCH}/namespaces/{farm}/jobs"
    allowed(api("POST", path, {"metadata": {"name": name}, "spec": spec}))
    changed: Json = {"spec": {"suspend": False, "template": {"spec": {"schedulingGates": None}}}}
    answer = api("PATCH", f"{path}/{name}", changed, "application/merge-patch+json")
    if answer.status >= 300:
        resumed = {"spec": {"suspend": False}}
        allowed(api("PATCH", f"{path}/{name}", resumed, "application/merge-patch+json"))
    wait_until(lambda: len(_pods(api, farm, name)) == 2, 60, "pods of the resumed Job")
    assert all(gates(item) == [GATE] for item in _pods(api, farm, name))


def test_nothing_of_all_this_is_on_the_farm(installed: Cluster, farm: str) -> None:
    listed = installed.get("pods", "-A", "--field-selector", f"spec.nodeName={FARM_NODE}")
    assert listed["items"] == []
