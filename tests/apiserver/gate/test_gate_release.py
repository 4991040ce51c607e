"""The release: by the gate account, in one patch, and of nothing else.

Requests are made by a member of ``system:masters``, who has every right, so that a refusal is the
work of a policy and not of RBAC; other users are impersonated.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
from gate_pods import (
    GPU,
    JSON_PATCH,
    MERGE,
    OPEN,
    PLAN,
    STRATEGIC,
    Api,
    Json,
    allowed,
    device_pod,
    gates,
    path_of,
    pod,
    pods,
    refused,
)
from kfarm_api.layout import GATE, LABEL_HOSTNAME, LABEL_PLAN, TAINT
from kfarm_controlplane.client import Cluster
from kfarm_controlplane.cluster import wait_until
from kfarm_operator.gate_ready import is_gated


def release(item: Json, node: str = "node-1") -> Json:
    """The lawful release, as a merge patch with uid and resourceVersion as preconditions."""
    metadata = {key: item["metadata"][key] for key in ("uid", "resourceVersion")}
    rest = [gate for gate in item["spec"]["schedulingGates"] if gate["name"] != GATE]
    spec = {"schedulingGates": rest or None, "nodeSelector": {LABEL_HOSTNAME: node}}
    return {"metadata": metadata, "spec": spec}


LIFTS = {
    "merge patch": (MERGE, {"spec": {"schedulingGates": None}}),
    "strategic merge patch": (
        STRATEGIC,
        {"spec": {"schedulingGates": [{"$patch": "delete", "name": GATE}]}},
    ),
    "JSON patch": (JSON_PATCH, [{"op": "remove", "path": "/spec/schedulingGates"}]),
    "with a node, as the operator does": (
        MERGE,
        {"spec": {"schedulingGates": None, "nodeSelector": {LABEL_HOSTNAME: "n"}}},
    ),
}


@pytest.mark.parametrize(("content", "patch"), LIFTS.values(), ids=LIFTS.keys())
@pytest.mark.parametrize("who", ["administrator", "other account"])
def test_nobody_else_lifts_the_gate(
    api: Api, almighty: Api, gated: Json, content: str, patch: object, who: str
) -> None:
    caller = api if who == "administrator" else almighty
    refused(caller("PATCH", path_of(gated), patch, content), "kfarm-gate-release")


def test_outside_of_the_gate_it_is_lifted_by_break_glass(
    api: Api, almighty: Api, namespace: str
) -> None:
    held = allowed(api("POST", pods(namespace), pod(schedulingGates=[{"name": GATE}])))
    lift = {"spec": {"schedulingGates": None}}
    refused(almighty("PATCH", path_of(held), lift, MERGE), "kfarm-gate-release")
    allowed(api("PATCH", path_of(held), lift, MERGE))


def test_no_other_verb_or_subresource_lifts_the_gate(api: Api, gated: Json) -> None:
    bare = copy.deepcopy(gated)
    del bare["spec"]["schedulingGates"]
    refused(api("PUT", path_of(gated), bare), "kfarm-gate-release")
    for part in ("status", "ephemeralcontainers", "resize"):
        name = gated["metadata"]["name"]
        path = f"{pods(gated['metadata']['namespace'], name)}/{part}"
        api("PATCH", path, {"spec": {"schedulingGates": None}}, MERGE)
        assert is_gated(allowed(api("GET", path_of(gated))))
    applied = {key: gated[key] for key in ("apiVersion", "kind")}
    applied["metadata"] = {"name": gated["metadata"]["name"]}
    applied["spec"] = {"containers": gated["spec"]["containers"], "schedulingGates": []}
    api(
        "PATCH",
        path_of(gated, "?fieldManager=t&force=true"),
        applied,
        "application/apply-patch+yaml",
    )
    assert is_gated(allowed(api("GET", path_of(gated))))


RELEASES: dict[str, tuple[str, Callable[[Json], object]]] = {
    "merge patch": (MERGE, release),
    "strategic merge patch": (
        STRATEGIC,
        lambda p: (
            release(p)
            | {
                "spec": {
                    "schedulingGates": [{"$patch": "delete", "name": GATE}],
                    "nodeSelector": {LABEL_HOSTNAME: "node-1"},
                }
            }
        ),
    ),
    "JSON patch": (
        JSON_PATCH,
        lambda p: [
            {"op": "test", "path": "/metadata/uid", "value": p["metadata"]["uid"]},
            {
                "op": "replace",
                "path": "/metadata/resourceVersion",
                "value": p["metadata"]["resourceVersion"],
            },
            {"op": "test", "path": "/spec/schedulingGates/1/name", "value": GATE},
            {"op": "remove", "path": "/spec/schedulingGates/1"},
            {"op": "add", "path": "/spec/nodeSelector/kubernetes.io~1hostname", "value": "node-1"},
        ],
    ),
}


@pytest.mark.parametrize(("content", "make"), RELEASES.values(), ids=RELEASES.keys())
def test_the_lawful_release_is_one_patch_with_preconditions(
    gate_account: Api, gated: Json, content: str, make: Callable[[Json], object]
) -> None:
    stale = copy.deepcopy(gated)
    stale["metadata"]["resourceVersion"] = "1"
    assert gate_account("PATCH", path_of(gated), make(stale), content).status == 409
    other = copy.deepcopy(gated)
    other["metadata"]["uid"] = "11111111-2222-3333-4444-555555555555"
    assert gate_account("PATCH", path_of(gated), make(other), content).status == 422
    released = allowed(gate_account("PATCH", path_of(gated), make(gated), content))
    assert gates(released) == ["example.com/other"]
    assert released["spec"]["nodeSelector"] == {"zone": "a", LABEL_HOSTNAME: "node-1"}
    assert OPEN in released["spec"]["tolerations"]
    refused(gate_account("PATCH", path_of(gated), {}, MERGE), "kfarm-gate-release")


EXCESSES: dict[str, tuple[str, Json]] = {
    "no node": ("must add nodeSelector", {"spec": {"nodeSelector": {}}}),
    "other selector": (
        "must add nodeSelector",
        {"spec": {"nodeSelector": {LABEL_HOSTNAME: "n", "x": "y"}}},
    ),
    "other gate": ("no gate but", {"spec": {"schedulingGates": None}}),
    "label": ("no label", {"metadata": {"labels": {"a": "b"}}}),
    "plan label": ("fixed at creation|no label", {"metadata": {"labels": {LABEL_PLAN: "other"}}}),
    "annotation": ("no label, annotation", {"metadata": {"annotations": {"a": "b"}}}),
    "finalizer": ("finalizer", {"metadata": {"finalizers": ["example.com/keep"]}}),
    "owner": (
        "or owner",
        {
            "metadata": {
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}]
            }
        },
    ),
    "deadline": ("nothing in spec", {"spec": {"activeDeadlineSeconds": 5}}),
}


@pytest.mark.parametrize(("said", "excess"), EXCESSES.values(), ids=EXCESSES.keys())
def test_the_gate_account_changes_nothing_else(
    gate_account: Api, gated: Json, said: str, excess: Json
) -> None:
    patch = release(gated)
    for part, fields in excess.items():
        patch[part] = patch[part] | fields
    answer = gate_account("PATCH", path_of(gated), patch, MERGE)
    assert answer.status == 403, answer.body
    assert any(text in answer.body["message"] for text in said.split("|"))


def test_the_gate_account_alters_no_toleration_and_no_image(gate_account: Api, gated: Json) -> None:
    more = [*gated["spec"]["tolerations"], {"key": "x", "operator": "Exists"}]
    image = [gated["spec"]["containers"][0] | {"image": "other"}]
    for excess in ({"tolerations": more}, {"containers": image}):
        patch = release(gated)
        patch["spec"] |= excess
        refused(gate_account("PATCH", path_of(gated), patch, MERGE), "kfarm-gate-release")


def test_the_gate_account_touches_no_pod_but_to_release_it(
    api: Api, gate_account: Api, gated: Json, enforced: str, namespace: str
) -> None:
    label = {"metadata": {"labels": {"a": "b"}}}
    for place in (enforced, namespace):
        plain = allowed(api("POST", pods(place), pod()))
        refused(gate_account("PATCH", path_of(plain), label, MERGE), "kfarm-gate-release")
    refused(gate_account("PATCH", path_of(gated), label, MERGE), "kfarm-gate-release")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction"}
    for item, answer in ((plain, 403), (gated, 201)):
        body = eviction | {"metadata": {"name": item["metadata"]["name"]}}
        assert gate_account("POST", f"{path_of(item)}/eviction", body).status == answer
    assert gate_account("DELETE", path_of(plain)).status == 403


def test_pods_stay_updatable_before_and_after_the_release(
    api: Api, gate_account: Api, gated: Json
) -> None:
    condition = {"type": "example.com/seen", "status": "True"}
    status = {"status": {"phase": "Pending", "conditions": [condition]}}
    label = {"metadata": {"labels": {"a": "b"}, "finalizers": None}}
    narrower = {"spec": {"nodeSelector": {"zone": "a", "disk": "fast"}}}
    for step in ("before", "after"):
        allowed(api("PATCH", f"{path_of(gated)}/status", status, STRATEGIC))
        allowed(api("PATCH", path_of(gated), label, MERGE))
        if step == "before":
            current = allowed(api("PATCH", path_of(gated), narrower, MERGE))
            allowed(gate_account("PATCH", path_of(gated), release(current), MERGE))
    wider = {"spec": {"nodeSelector": {LABEL_HOSTNAME: "other"}}}
    assert api("PATCH", path_of(gated), wider, MERGE).status == 422


def test_a_released_pod_runs_on_its_node_behind_the_taint(
    installed: Cluster, api: Api, gate_account: Api, enforced: str
) -> None:
    sizes = {"cpu": "64", "memory": "512Gi", "pods": "110", GPU: "8"}
    nodes = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "labels": {LABEL_HOSTNAME: name},
                "annotations": {"kwok.x-k8s.io/node": "fake"},
            },
            "spec": {"taints": [{"key": TAINT, "effect": "NoSchedule"}]},
            "status": {"capacity": sizes, "allocatable": sizes},
        }
        for name in ("gate-node-a", "gate-node-b")
    ]
    for node in nodes:
        allowed(api("POST", "/api/v1/nodes", node))
    held = allowed(api("POST", pods(enforced), device_pod(PLAN)))
    allowed(gate_account("PATCH", path_of(held), release(held, "gate-node-b"), MERGE))

    def running() -> bool:
        return bool(api("GET", path_of(held)).body["status"].get("phase") == "Running")

    wait_until(running, 60, "the released pod to run")
    assert api("GET", path_of(held)).body["spec"]["nodeName"] == "gate-node-b"
