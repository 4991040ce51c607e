"""The accounts for drills and their sweeper: what their fences let through, and what not.

Each refusal stands beside the same request in a form that is accepted, so that it proves something.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from chart_scene import CHART, SYSTEM
from kfarm_controlplane.client import Cluster, KubectlError
from kfarm_controlplane.cluster import wait_until
from kfarm_controlplane.helm import Helm, settings
from kfarm_operator.client import NODES, ApiError, KubeClient

Body = dict[str, Any]
OURS = "drill.kfarm.dev"
UNTIL = {f"{OURS}/until": "2026-01-31T12:00:00Z"}
STRATEGIC, MERGE, JSON_PATCH = "strategic", "merge", "json"


class Account:
    """kubectl under one account's token."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster = cluster
        self._kubeconfig = cluster.kubeconfig_for_service_account(SYSTEM, name)
        self.name = name

    def patch(self, target: str, body: Any, kind: str = MERGE, *, dry: bool = False) -> None:
        """Patch ``node/name``, ``node/name/status`` or ``lease/name``."""
        resource, name, *sub = target.split("/")
        if sub:
            self._patch_status(name, body, kind)
            return
        where = ["--namespace=kube-node-lease"] if resource == "lease" else []
        rest = [*where, f"--type={kind}", *(["--dry-run=server"] if dry else [])]
        arguments = ("patch", resource, name, *rest, "-p", json.dumps(body))
        self._cluster.kubectl(*arguments, kubeconfig=self._kubeconfig)

    def _patch_status(self, name: str, body: Any, kind: str) -> None:
        """As kubectl, which would read the status first, and nobody may."""
        client = KubeClient.connect(self._kubeconfig)
        content = {MERGE: "application/merge-patch+json"}.get(
            kind, "application/strategic-merge-patch+json"
        )
        try:
            client.patch(NODES, name, body, sub="status", content_type=content)
        finally:
            client.close()

    def evict(self, namespace: str, pod: str) -> None:
        """Evict a pod."""
        metadata = {"name": pod, "namespace": namespace}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
        arguments = ("create", "--raw", path, "-f", "-")
        self._cluster.kubectl(*arguments, input=json.dumps(body), kubeconfig=self._kubeconfig)


def node(name: str) -> Body:
    """A node as a vendor's tools leave it; nobody simulates it."""
    metadata = {"name": name, "labels": {"zone": "a"}, "annotations": {"vendor": "x"}}
    spec = {"taints": [{"key": "other", "effect": "NoSchedule"}]}
    status = {"capacity": {"nvidia.com/gpu": "8"}, "allocatable": {"nvidia.com/gpu": "8"}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec,
            "status": status}  # fmt: skip


def lease(name: str, **labels: str) -> Body:
    """A node's Lease, as its kubelet writes it."""
    spec = {"holderIdentity": name, "leaseDurationSeconds": 40,
            "renewTime": "2026-01-31T11:00:00.000000Z"}  # fmt: skip
    metadata = {"name": name, "namespace": "kube-node-lease", "labels": labels}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata,
            "spec": spec}  # fmt: skip


@pytest.fixture(scope="module")
def fenced(clean_cluster: Cluster) -> Iterator[Cluster]:
    """The chart with drills; nodes that may be drilled, that may not, of the control plane."""
    cluster, helm = clean_cluster, Helm(clean_cluster)
    values = settings("operator.enabled=false", "catalogue.enabled=false", "drills.enabled=true")
    where = ("--namespace", SYSTEM, "--create-namespace", "--take-ownership")
    helm("upgrade", "--install", "kfarm", str(CHART), *where, *values)
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
    cluster.apply(lease("open", **{"kfarm.dev/drill": "allowed"}), lease("closed"))
    yield cluster
    cluster.kubectl("delete", "lease", "open", "closed", "-n", "kube-node-lease")
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


def refusal(act: Callable[[], None]) -> str:
    """What the API server said against it; empty when it agreed."""
    try:
        act()
    except (KubectlError, ApiError) as error:
        said = error.stderr if isinstance(error, KubectlError) else error.message
        assert "is forbidden" in said, error
        return said
    return ""


def labels(**values: str | None) -> Body:
    return {"metadata": {"labels": dict(values), "annotations": dict(UNTIL)}}


def taint(key: str, effect: str = "NoSchedule") -> list[Body]:
    """Adds a taint and says when it ends."""
    until = f"/metadata/annotations/{OURS.replace('/', '~1')}~1until"
    return [
        {"op": "add", "path": until, "value": UNTIL[f"{OURS}/until"]},
        {"op": "add", "path": "/spec/taints/-", "value": {"key": key, "effect": effect}},
    ]


OPEN, CLOSED, CONTROL = "node/open", "node/closed", "node/control"
STATUS = "node/open/status"
LEASE, CLOSED_LEASE = "lease/open", "lease/closed"
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
    "a key without an end": (OPEN, {"metadata": {"labels": {f"{OURS}/by": "me"}}},
                             MERGE, "moment of its end"),
    "an end that is no moment": (
        OPEN, {"metadata": {"annotations": {f"{OURS}/until": "soon"}}}, MERGE,
        "moment of its end"),
    "a foreign taint": (OPEN, taint("more"), JSON_PATCH, "only taints under"),
    "a taint that drives pods away": (OPEN, taint(f"{OURS}/gone", "NoExecute"),
                                      JSON_PATCH, "none that drives pods away"),
    "a foreign taint away": (OPEN, [{"op": "remove", "path": "/spec/taints/0"}],
                             JSON_PATCH, "only taints under"),
    "a cordon": (OPEN, {"spec": {"unschedulable": True}}, MERGE, "only taints under"),
    "capacity": (STATUS, {"status": {"capacity": {"nvidia.com/gpu": "4"}}}, MERGE,
                 "only conditions and allocatable"),
    "more than there is": (STATUS, {"status": {"allocatable": {"nvidia.com/gpu": "9"}}},
                           MERGE, "more of a node allocatable"),
    "a Lease that nobody gave": (CLOSED_LEASE, {"metadata": {"annotations": UNTIL}}, MERGE,
                                 "labelled kfarm.dev/drill"),
    "another holder": (LEASE, {"spec": {"holderIdentity": "me"},
                                              "metadata": {"annotations": UNTIL}}, MERGE,
                       "only renewTime"),
    "a heartbeat without an end": (
        LEASE, {"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}}, MERGE,
        "moment of its end"),
}  # fmt: skip


@pytest.fixture(scope="module")
def marked(drill: Account) -> Account:
    """The node `open` carries all that a drill may leave, each of it accepted in turn."""
    drill.patch(OPEN, OWN_LABEL)
    drill.patch(OPEN, taint(f"{OURS}/flaky"), JSON_PATCH)
    drill.patch(STATUS, {"status": {"conditions": [BAD_NODE]}}, STRATEGIC)
    drill.patch(STATUS, {"status": {"allocatable": {"nvidia.com/gpu": "5"}}})
    old = {"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}, "metadata": {"annotations": UNTIL}}
    drill.patch(LEASE, old)
    return drill


def test_before_the_end_is_written_down_no_status_is_changed(drill: Account) -> None:
    body = {"status": {"conditions": [BAD_NODE]}}
    answer = refusal(lambda: drill.patch(STATUS, body, STRATEGIC))
    assert "writes drill.kfarm.dev/until" in answer


@pytest.mark.parametrize("what", REFUSED)
def test_a_drill_may_not_touch(drill: Account, what: str) -> None:
    path, body, kind, said = REFUSED[what]
    if "capacity" in what or "more than" in what:
        drill.patch(OPEN, {"metadata": {"annotations": UNTIL}})
    answer = refusal(lambda: drill.patch(path, body, kind, dry=True))
    assert "kfarm-drill-" in answer
    assert said in answer


def test_a_drill_leaves_only_what_the_sweeper_takes_away(
    fenced: Cluster, marked: Account, sweeper: Account
) -> None:
    """And the sweeper takes it from a node from which consent was taken meanwhile."""
    del marked
    there = fenced.get("node", "open")
    assert there["status"]["allocatable"]["nvidia.com/gpu"] == "5"
    assert f"{OURS}/broken" in {c["type"] for c in there["status"]["conditions"]}
    fenced.kubectl("label", "node", "open", "kfarm.dev/drill-")
    gone = [c for c in there["status"]["conditions"] if not c["type"].startswith(OURS)]
    back = {"conditions": gone or None, "allocatable": {"nvidia.com/gpu": "8"}}
    sweeper.patch(STATUS, {"status": back})
    kept = [t for t in there["spec"]["taints"] if not t["key"].startswith(OURS)]
    nothing = {f"{OURS}/until": None}
    sweeper.patch(OPEN, {
        "metadata": {"labels": {f"{OURS}/by": None}, "annotations": nothing},
        "spec": {"taints": kept},
    })  # fmt: skip
    sweeper.patch(LEASE, {"metadata": {"annotations": nothing}})
    fenced.kubectl("label", "node", "open", "kfarm.dev/drill=allowed")
    after = fenced.get("node", "open")
    assert OURS not in json.dumps({k: v for k, v in after.items() if k != "metadata"})
    assert OURS not in json.dumps([after["metadata"]["labels"], after["metadata"]["annotations"]])
    assert after["status"]["allocatable"]["nvidia.com/gpu"] == "8"
    assert "other" in {t["key"] for t in after["spec"]["taints"]}


SWEPT: dict[str, tuple[str, Any, str]] = {
    "a key of its own": (OPEN, OWN_LABEL, MERGE),
    "a foreign label": (OPEN, {"metadata": {"labels": {"zone": None}}}, MERGE),
    "a foreign annotation": (
        OPEN, {"metadata": {"annotations": {"vendor": None}}}, MERGE),
    "a taint": (OPEN, taint(f"{OURS}/flaky"), JSON_PATCH),
    "a foreign taint": (
        OPEN, [{"op": "remove", "path": "/spec/taints/0"}], JSON_PATCH),
    "a cordon": (CLOSED, {"spec": {"unschedulable": True}}, MERGE),
    "a condition": (STATUS, {"status": {"conditions": [BAD_NODE]}}, STRATEGIC),
    "fewer devices": (
        STATUS, {"status": {"allocatable": {"nvidia.com/gpu": "2"}}}, MERGE),
    "capacity": (STATUS, {"status": {"capacity": {"nvidia.com/gpu": "9"}}}, MERGE),
    "a heartbeat": (LEASE, {"metadata": {"annotations": UNTIL},
                    "spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}}, MERGE),
}  # fmt: skip


@pytest.mark.parametrize("what", SWEPT)
def test_the_sweeper_may_not_write(sweeper: Account, what: str) -> None:
    path, body, kind = SWEPT[what]
    answer = refusal(lambda: sweeper.patch(path, body, kind, dry=True))
    assert "kfarm-drill-" in answer
    assert "kfarm-sweeper" in answer or "the sweeper remove" in answer or "only renewTime" in answer


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
