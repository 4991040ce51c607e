"""The accounts for drills and their sweeper: what their fences let through, and what not.

Each refusal stands beside the same request in a form that is accepted, so that it proves something.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from chart_scene import SYSTEM
from drill_accounts import (
    JSON_PATCH,
    MERGE,
    STRATEGIC,
    Account,
    Body,
    install_drills,
    lease,
    node,
    refusal,
)
from kfarm_controlplane.client import Cluster, KubectlError
from kfarm_controlplane.cluster import wait_until

OURS = "drill.kfarm.dev"
UNDO = json.dumps([
    {"field": f"taint/{OURS}/flaky:NoSchedule", "before": None, "after": "{}"},
    {"field": f"taint/{OURS}/gone:NoExecute", "before": None, "after": "{}"},
    {"field": "taint/node.kubernetes.io/out-of-service:NoExecute", "before": None, "after": "{}"},
    {"field": "taint/more:NoSchedule", "before": None, "after": "{}"},
    {"field": f"condition/{OURS}/broken", "before": None, "after": "{}"},
    {"field": "condition/SysLogsXIDError", "before": None, "after": "{}"},
    {"field": "condition/Ready", "before": None, "after": "{}"},
    {"field": "allocatable/nvidia.com/gpu", "before": '"8"', "after": '"5"'},
])  # fmt: skip
UNTIL = {
    f"{OURS}/until": "2026-01-31T12:00:00Z",
    f"{OURS}/drill": "lab/d/uid",
    f"{OURS}/undo": UNDO,
}
HELD = UNTIL | {f"{OURS}/undo": json.dumps([
    {"field": "lease/holderIdentity", "before": '"kwok"', "after": '"kfarm-drill/uid"'},
    {"field": "lease/leaseDurationSeconds", "before": "40", "after": "3600"},
])}  # fmt: skip


@pytest.fixture(scope="module")
def fenced(clean_cluster: Cluster) -> Iterator[Cluster]:
    """The chart with drills; nodes that may be drilled, that may not, of the control plane."""
    cluster, helm = clean_cluster, install_drills(clean_cluster)
    control = node("control")
    control["metadata"]["labels"] |= {
        "kfarm.dev/drill": "allowed", "node-role.kubernetes.io/control-plane": "",
    }  # fmt: skip
    open_ = node("open")
    open_["metadata"]["labels"]["kfarm.dev/drill"] = "allowed"
    for name, allowed in (("drilled", "allowed"), ("spared", "no")):
        labels = {"kfarm.dev/drill": allowed}
        cluster.apply({"apiVersion": "v1", "kind": "Namespace",
                       "metadata": {"name": name, "labels": labels}})  # fmt: skip
    cluster.apply(open_, node("closed"), control)
    cluster.apply(lease("open"), lease("real", "real"), lease("free", None))
    yield cluster
    cluster.kubectl("delete", "lease", "open", "real", "free", "-n", "kube-node-lease")
    cluster.kubectl("delete", "node", *NODES_OF_TEST)
    helm("uninstall", "kfarm", "--namespace", SYSTEM)


@pytest.fixture(scope="module")
def drill(fenced: Cluster) -> Account:
    """The drill account, once its fence is loaded."""
    account = Account(fenced, "kfarm-drill")
    bad = {"metadata": {"labels": {"zone": "b"}}}
    wait_until(lambda: "kfarm-drill-nodes" in refusal(lambda: account.patch(
        OPEN, bad, dry=True)), 30, "the drill's fence")  # fmt: skip
    return account


@pytest.fixture(scope="module")
def sweeper(fenced: Cluster, drill: Account) -> Account:
    """The sweeper's account; its fence came with the drill's."""
    account = Account(fenced, "kfarm-sweeper")
    bad = {"metadata": {"labels": {"zone": "b"}}}
    wait_until(lambda: "kfarm-drill-sweeper" in refusal(lambda: account.patch(
        OPEN, bad, dry=True)), 30, "the sweeper's fence")  # fmt: skip
    del drill
    return account


def labels(**values: str | None) -> Body:
    return {"metadata": {"labels": dict(values), "annotations": dict(UNTIL)}}


def taint(key: str, effect: str = "NoSchedule") -> list[Body]:
    """Adds a taint and says when it ends, and how."""
    marks = [{"op": "add", "path": f"/metadata/annotations/{mark.replace('/', '~1')}",
              "value": value} for mark, value in UNTIL.items()]  # fmt: skip
    return [
        *marks,
        {"op": "add", "path": "/spec/taints/-", "value": {"key": key, "effect": effect}},
    ]


def held(holder: str | None, seconds: int, marks: Body = HELD) -> Body:
    """A node's Lease under a holder, until so many seconds after its last renewal."""
    spec = {"holderIdentity": holder, "leaseDurationSeconds": seconds}
    return {"metadata": {"annotations": marks}, "spec": spec}


def condition(type_: str, status: str = "True") -> Body:
    return {"status": {"conditions": [
        {"type": type_, "status": status, "reason": "Drill", "message": ""},
    ]}}  # fmt: skip


NODES_OF_TEST = ("open", "closed", "control")
OUT = "node.kubernetes.io/out-of-service"
GIVEN = dict.fromkeys(HELD)


OPEN, CLOSED, CONTROL = "node/open", "node/closed", "node/control"
STATUS = "node/open/status"
LEASE = "lease/open"
BAD_NODE = {"type": f"{OURS}/broken", "status": "True", "reason": "Drill", "message": ""}
OWN_LABEL = labels(**{f"{OURS}/by": "me"})
REFUSED: dict[str, tuple[str, Any, str, str]] = {
    "a node that nobody gave": (CLOSED, OWN_LABEL, MERGE, "labelled kfarm.dev/drill"),
    "a node of the control plane": (CONTROL, OWN_LABEL, MERGE, "none of the control"),
    "a foreign label": (OPEN, labels(zone="b"), MERGE, "only labels and annotations"),
    "a foreign label away": (OPEN, labels(zone=None), MERGE, "only labels and"),
    "a foreign annotation": (OPEN, {"metadata": {"annotations": {"vendor": "y"}}},
                             MERGE, "only labels and annotations"),
    "its own consent": (OPEN, labels(**{"kfarm.dev/drill": None}), MERGE, "kfarm-drill"),
    "a finalizer": (OPEN, {"metadata": {"finalizers": ["a.b/c"]}}, MERGE, "may change"),
    "a key without an end": (OPEN, {"metadata": {"labels": {f"{OURS}/by": "me"},
                                                 "annotations": dict.fromkeys(UNTIL)}},
                             MERGE, "moment of its end"),
    "an end that is no moment": (
        OPEN, {"metadata": {"annotations": UNTIL | {f"{OURS}/until": "soon"}}}, MERGE,
        "moment of its end"),
    "an end that gets later": (
        OPEN, {"metadata": {"annotations": UNTIL | {f"{OURS}/until": "2027-01-31T12:00:00Z"}}},
        MERGE, "never gets later"),
    "a node of another drill": (
        OPEN, {"metadata": {"annotations": UNTIL | {f"{OURS}/drill": "lab/other/uid"}}}, MERGE,
        "which stays"),
    "an end without the way back": (
        OPEN, {"metadata": {"annotations": {f"{OURS}/undo": None}}}, MERGE, "drill.kfarm.dev/undo"),
    "a foreign taint": (OPEN, taint("more"), JSON_PATCH, "only those under"),
    "a taint that drives pods away": (OPEN, taint(f"{OURS}/gone", "NoExecute"),
                                      JSON_PATCH, "none that drives pods away"),
    "a taint that is not named": (OPEN, taint(f"{OURS}/unnamed"), JSON_PATCH, "must be named"),
    "a foreign taint away": (OPEN, [{"op": "remove", "path": "/spec/taints/0"}],
                             JSON_PATCH, "only those under"),
    "a cordon": (OPEN, {"spec": {"unschedulable": True}}, MERGE, "only taints, conditions"),
    "capacity": (STATUS, {"status": {"capacity": {"nvidia.com/gpu": "4"}}}, MERGE,
                 "only taints, conditions and allocatable"),
    "more than there is": (STATUS, {"status": {"allocatable": {"nvidia.com/gpu": "9"}}},
                           MERGE, "more of a node allocatable"),
    "a resource that is not named": (STATUS, {"status": {"allocatable": {"cpu": "1"}}},
                                     MERGE, "each resource must be named"),
    "a condition that is not named": (STATUS, condition("GpuDead"), STRATEGIC, "must be named"),
    "a condition of the kubelet": (STATUS, condition("Ready", "False"), STRATEGIC,
                                   "none is the kubelet's"),
    "the Lease of a node with a kubelet": (
        "lease/real", held("kfarm-drill/uid", 3600), MERGE, "none that a kubelet holds"),
    "a Lease that nobody holds": (
        "lease/free", held("kfarm-drill/uid", 3600), MERGE, "none that a kubelet holds"),
    "a Lease under any holder": (LEASE, held("me", 3600), MERGE, "named in it as kfarm-drill/UID"),
    "a Lease beyond the end": (LEASE, held("kfarm-drill/uid", 3602), MERGE, "run out by"),
    "a Lease without a way back": (
        LEASE, held("kfarm-drill/uid", 3600, HELD | {f"{OURS}/undo": None}), MERGE, "undo"),
    "a heartbeat": (
        LEASE, held("kfarm-drill/uid", 60) | {"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}},
        MERGE, "only holderIdentity"),
    "a Lease that no drill has": (LEASE, {"spec": {"holderIdentity": "me"}}, MERGE,
                                  "is given back whole"),
}  # fmt: skip
MARKED_FIRST = ("status", "condition", "resource", "capacity", "more than", "later", "another",
                "way back", "ready")  # fmt: skip


@pytest.fixture(scope="module")
def marked(drill: Account) -> Account:
    """The node `open` carries all that a drill may leave, each of it accepted in turn."""
    drill.patch(OPEN, OWN_LABEL)
    drill.patch(OPEN, taint(f"{OURS}/flaky"), JSON_PATCH)
    drill.patch(STATUS, {"status": {"conditions": [BAD_NODE]}}, STRATEGIC)
    drill.patch(STATUS, condition("SysLogsXIDError"), STRATEGIC)
    drill.patch(STATUS, {"status": {"allocatable": {"nvidia.com/gpu": "5"}}})
    drill.patch(LEASE, held("kfarm-drill/uid", 3600))
    return drill


def test_before_the_end_is_written_down_no_status_is_changed(drill: Account) -> None:
    body = {"status": {"conditions": [BAD_NODE]}}
    answer = refusal(lambda: drill.patch(STATUS, body, STRATEGIC))
    assert "writes drill.kfarm.dev/until" in answer


@pytest.mark.parametrize("what", REFUSED)
def test_a_drill_may_not_touch(drill: Account, what: str) -> None:
    path, body, kind, said = REFUSED[what]
    if any(word in what for word in MARKED_FIRST):
        drill.patch(OPEN, {"metadata": {"annotations": UNTIL}})
    answer = refusal(lambda: drill.patch(path, body, kind, dry=True))
    assert "kfarm-drill-" in answer
    assert said in answer


def bare(cluster: Cluster) -> Body:
    """The node `open` but for what the API server counts."""
    body = cluster.get("node", "open")
    for name in ("resourceVersion", "managedFields"):
        body["metadata"].pop(name, None)
    return body


def test_only_a_node_that_does_not_answer_is_called_out_of_service(
    fenced: Cluster, drill: Account
) -> None:
    """By the taint that lets its pods go."""

    def answers(status: str) -> None:
        said = {"type": "Ready", "status": status, "reason": "Said", "message": ""}
        arguments = ("patch", "node", "open", "--subresource=status", "--type=strategic", "-p")
        fenced.kubectl(*arguments, json.dumps({"status": {"conditions": [said]}}))

    def out() -> str:
        return refusal(lambda: drill.patch(OPEN, taint(OUT, "NoExecute"), JSON_PATCH, dry=True))

    answers("True")
    assert "that are not ready" in out()
    answers("Unknown")
    assert out() == ""


def test_a_drill_leaves_only_what_the_sweeper_takes_away(
    fenced: Cluster, marked: Account, sweeper: Account
) -> None:
    """And the sweeper takes it from a node from which consent was taken meanwhile."""
    del marked
    there = fenced.get("node", "open")
    assert there["status"]["allocatable"]["nvidia.com/gpu"] == "5"
    types = {c["type"] for c in there["status"]["conditions"]}
    assert {f"{OURS}/broken", "SysLogsXIDError"} <= types
    assert fenced.get("lease", "open", "-n", "kube-node-lease")["spec"]["holderIdentity"] == (
        "kfarm-drill/uid"
    )
    fenced.kubectl("label", "node", "open", "kfarm.dev/drill-")
    gone = [c for c in there["status"]["conditions"]
            if not c["type"].startswith((OURS, "SysLogs"))]  # fmt: skip
    back = {"conditions": gone or None, "allocatable": {"nvidia.com/gpu": "8"}}
    sweeper.patch(STATUS, {"status": back})
    kept = [t for t in there["spec"]["taints"] if not t["key"].startswith(OURS)]
    nothing = dict.fromkeys(UNTIL)
    sweeper.patch(OPEN, {
        "metadata": {"labels": {f"{OURS}/by": None}, "annotations": nothing},
        "spec": {"taints": kept},
    })  # fmt: skip
    sweeper.patch(LEASE, held("kwok", 40, GIVEN))
    fenced.kubectl("label", "node", "open", "kfarm.dev/drill=allowed")
    after = fenced.get("node", "open")
    assert OURS not in json.dumps({k: v for k, v in after.items() if k != "metadata"})
    assert OURS not in json.dumps([after["metadata"]["labels"], after["metadata"]["annotations"]])
    assert after["status"]["allocatable"]["nvidia.com/gpu"] == "8"
    assert "SysLogsXIDError" not in json.dumps(after["status"])
    assert "other" in {t["key"] for t in after["spec"]["taints"]}


def test_a_taint_that_somebody_made_his_own_stays(drill: Account, fenced: Cluster) -> None:
    """The drill leaves it and takes its marks off all the same."""
    drill.patch(OPEN, taint(f"{OURS}/flaky"), JSON_PATCH)
    there = fenced.get("node", "open")["spec"]["taints"]
    edited = [t | ({"value": "mine"} if t["key"].startswith(OURS) else {}) for t in there]
    fenced.kubectl("patch", "node", "open", "-p", json.dumps({"spec": {"taints": edited}}))
    drill.patch(OPEN, {"metadata": {"annotations": dict.fromkeys(UNTIL)}})
    after = fenced.get("node", "open")
    assert {"key": f"{OURS}/flaky", "value": "mine", "effect": "NoSchedule"} in (
        after["spec"]["taints"]
    )
    kept = [t for t in there if not t["key"].startswith(OURS)]
    fenced.kubectl("patch", "node", "open", "--type=merge", "-p",
                   json.dumps({"spec": {"taints": kept}}))  # fmt: skip


def test_without_consent_a_drill_takes_back_and_adds_nothing(
    fenced: Cluster, drill: Account
) -> None:
    drill.patch(OPEN, taint(f"{OURS}/flaky"), JSON_PATCH)
    drill.patch(LEASE, held("kfarm-drill/uid", 3600))
    fenced.kubectl("label", "node", "open", "kfarm.dev/drill-")
    try:
        more = taint(f"{OURS}/gone")
        assert "only take back" in refusal(lambda: drill.patch(OPEN, more, JSON_PATCH, dry=True))
        there = fenced.get("node", "open")["spec"]["taints"]
        kept = [t for t in there if not t["key"].startswith(OURS)]
        drill.patch(OPEN, {"metadata": {"annotations": dict.fromkeys(UNTIL)},
                           "spec": {"taints": kept}})  # fmt: skip
        drill.patch(LEASE, held("kwok", 40, GIVEN))
        again = refusal(lambda: drill.patch(OPEN, taint(f"{OURS}/flaky"), JSON_PATCH, dry=True))
        assert "labelled kfarm.dev/drill" in again
    finally:
        fenced.kubectl("label", "node", "open", "kfarm.dev/drill=allowed")


SWEPT: dict[str, tuple[str, Any, str]] = {
    "a key of its own": (OPEN, OWN_LABEL, MERGE),
    "a foreign label": (OPEN, {"metadata": {"labels": {"zone": None}}}, MERGE),
    "a foreign annotation": (
        OPEN, {"metadata": {"annotations": {"vendor": None}}}, MERGE),
    "a taint": (OPEN, taint(f"{OURS}/flaky"), JSON_PATCH),
    "a foreign taint": (
        OPEN, [{"op": "remove", "path": "/spec/taints/0"}], JSON_PATCH),
    "a cordon": (CLOSED, {"spec": {"unschedulable": True}}, MERGE),
    "a condition": (STATUS, condition("SysLogsXIDError"), STRATEGIC),
    "a condition of the kubelet": (STATUS, condition("Ready", "False"), STRATEGIC),
    "fewer devices": (
        STATUS, {"status": {"allocatable": {"nvidia.com/gpu": "2"}}}, MERGE),
    "capacity": (STATUS, {"status": {"capacity": {"nvidia.com/gpu": "9"}}}, MERGE),
    "a heartbeat": (LEASE, {"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}}, MERGE),
    "a Lease that no drill has": (LEASE, held("me", 40, {}), MERGE),
    "a Lease for itself": (LEASE, held("kfarm-drill/uid", 3600), MERGE),
}  # fmt: skip


@pytest.mark.parametrize("what", SWEPT)
def test_the_sweeper_may_not_write(drill: Account, sweeper: Account, what: str) -> None:
    """On a node that no drill has."""
    drill.patch(OPEN, {"metadata": {"annotations": dict.fromkeys(UNTIL)}})
    path, body, kind = SWEPT[what]
    assert "kfarm-drill-" in refusal(lambda: sweeper.patch(path, body, kind, dry=True))


def has_account(cluster: Cluster, where: str) -> bool:
    """Whether pods can be made in a namespace."""
    return bool(cluster.kubectl("get", "sa", "default", "-n", where, "--ignore-not-found"))


def test_pods_are_evicted_only_where_the_namespace_allows_it(
    fenced: Cluster, drill: Account
) -> None:
    for name in ("drilled", "spared", SYSTEM):
        wait_until(lambda name=name: has_account(fenced, name), 30, "an account")  # type: ignore[misc]
        container = {"name": "main", "image": "example"}
        meta = {"name": "p", "namespace": name}
        spec = {"containers": [container]}
        fenced.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    fenced.kubectl("label", "namespace", SYSTEM, "kfarm.dev/drill=allowed")
    assert "kfarm-drill-evictions" in refusal(lambda: drill.evict("spared", "p"))
    assert "kfarm-drill-evictions" in refusal(lambda: drill.evict(SYSTEM, "p"))
    drill.evict("drilled", "p")
    fenced.kubectl("delete", "pod", "p", "-n", SYSTEM, "--grace-period=0", "--force")
    fenced.kubectl("label", "namespace", SYSTEM, "kfarm.dev/drill-")


@pytest.mark.parametrize(
    ("account", "request_"),
    [
        ("kfarm-drill", "delete pods"), ("kfarm-drill", "patch pods"),
        ("kfarm-drill", "delete nodes"), ("kfarm-drill", "create nodes"),
        ("kfarm-drill", "patch namespaces"), ("kfarm-drill", "patch leases"),
        ("kfarm-drill", "get secrets"), ("kfarm-drill", "patch placementplans/status"),
        ("kfarm-sweeper", "get pods"), ("kfarm-sweeper", "create pods/eviction"),
        ("kfarm-sweeper", "delete nodes"), ("kfarm-sweeper", "get secrets"),
    ],
)  # fmt: skip
def test_the_accounts_may_not(fenced: Cluster, account: str, request_: str) -> None:
    """Leases only in kube-node-lease, which is not all namespaces."""
    verb, _, target = request_.partition(" ")
    resource, _, subresource = target.partition("/")
    part = [f"--subresource={subresource}"] if subresource else []
    user = f"--as=system:serviceaccount:{SYSTEM}:{account}"
    with pytest.raises(KubectlError):
        fenced.kubectl("auth", "can-i", verb, resource, *part, user, "--all-namespaces")
    if resource == "leases":
        fenced.kubectl("auth", "can-i", verb, resource, user, "-n", "kube-node-lease")


def test_no_account_of_ours_gives_consent(fenced: Cluster, drill: Account) -> None:
    """Neither the farm's, which may write other labels of kfarm.dev."""
    farm = Account(fenced, "kfarm-farm")
    fenced.kubectl("label", "node", "closed", "kfarm.dev/farm=nhn", "--overwrite")
    farm.patch(CLOSED, {"metadata": {"labels": {"kfarm.dev/rack": "r"}}})
    body = {"metadata": {"labels": {"kfarm.dev/drill": "allowed"}}}
    assert "kfarm-drill-consent" in refusal(lambda: farm.patch(CLOSED, body))
    assert "kfarm-drill-" in refusal(lambda: drill.patch(CLOSED, body))
