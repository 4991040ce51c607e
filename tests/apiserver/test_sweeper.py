"""The sweeper on a real API server: what drills left is taken back although all else is gone.

No operator runs here and no FailureDrill exists: the drill account left what a drill leaves, and
its time is over. Runbook: `kubectl get events -A --field-selector reason=DrillSweptUp`.
"""

from __future__ import annotations

import contextlib
import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chart_scene import SYSTEM
from drill_accounts import CONSENT, JSON_PATCH, STRATEGIC, Account, install_drills, refusal
from kfarm_controlplane.client import Cluster, KubectlError
from kfarm_controlplane.cluster import wait_until
from kfarm_operator.client import KubeClient
from kfarm_operator.sweeper import Round, Sweeper

ROOT = Path(__file__).resolve().parents[2]
Body = dict[str, Any]
OURS = "drill.kfarm.dev/"
PAST, FUTURE = "2026-01-31T12:00:00Z", "2126-01-31T12:00:00Z"
RENEWED = "2026-01-31T11:00:00.000000Z"
CRD = "failuredrills.kfarm.dev"
FAULT = {"key": f"{OURS}fault", "value": "DeviceFault", "effect": "NoSchedule"}
OTHER = {"key": "other", "value": "x", "effect": "NoSchedule"}
GOOD = {"type": "SysLogsXIDError", "status": "False", "reason": "NoXID", "message": "",
        "lastHeartbeatTime": "2026-01-01T00:00:00Z",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip
BAD = GOOD | {"status": "True", "reason": "XID79", "lastTransitionTime": "2026-01-31T11:30:00Z"}
UNDO = [
    (f"taint/{OURS}fault:NoSchedule", None, FAULT),
    ("condition/SysLogsXIDError", GOOD, BAD),
    ("condition/GpuNvLinkWatch", None, BAD | {"type": "GpuNvLinkWatch"}),
    ("allocatable/nvidia.com/gpu", "8", "5"),
]
LEASE_UNDO = [("lease/holderIdentity", "kwok", "kfarm-drill/u"),
              ("lease/leaseDurationSeconds", 4, 3600)]  # fmt: skip


def marks(undo: list[Any], until: str = PAST) -> Body:
    """What a drill writes on an object."""
    changes = [
        {"field": field, **{key: None if value is None else json.dumps(value)
                            for key, value in (("before", before), ("after", after))}}
        for field, before, after in undo
    ]  # fmt: skip
    return {f"{OURS}until": until, f"{OURS}drill": "lab/gone/u", f"{OURS}undo": json.dumps(changes)}


class Ground:
    """Nodes that nobody plays, with what a drill left on them."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.drill = Account(cluster, "kfarm-drill")
        self.client = KubeClient.connect(
            cluster.kubeconfig_for_service_account(SYSTEM, "kfarm-sweeper")
        )
        self.asked: set[tuple[str, str]] = set()
        self.client.observer = lambda verb, path, status, _: self._note(verb, path, status)
        self.sweeper = Sweeper(self.client, SYSTEM)

    def _note(self, verb: str, path: str, status: int) -> None:
        assert status < 400 or status in (404, 409), f"{verb} {path}: {status}"
        self.asked.add((verb, path))

    def make(self, name: str) -> None:
        """A node with its Lease, as device plugins and KWOK leave them."""
        metadata = {"name": name, "labels": {**CONSENT, "zone": "a"},
                    "annotations": {"vendor": "x", "kwok.x-k8s.io/node": "nobody"}}  # fmt: skip
        gpus = {"nvidia.com/gpu": "8"}
        status = {"capacity": gpus, "allocatable": gpus, "conditions": [GOOD]}
        lease = {"holderIdentity": "kwok", "leaseDurationSeconds": 4, "renewTime": RENEWED}
        of_lease = {"name": name, "namespace": "kube-node-lease"}
        self.cluster.apply(
            {"apiVersion": "v1", "kind": "Node", "metadata": metadata,
             "spec": {"taints": [OTHER]}, "status": status},
            {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": of_lease,
             "spec": lease},
        )  # fmt: skip

    def break_(self, name: str, until: str = PAST) -> None:
        """What a drill of devices does to a node, in the order in which drills do it."""
        put = [{"op": "add", "path": f"/metadata/annotations/{key.replace('/', '~1')}",
                "value": value} for key, value in marks(UNDO, until).items()]  # fmt: skip
        taint = {"op": "add", "path": "/spec/taints/-", "value": FAULT}
        self.drill.patch(f"node/{name}", [*put, taint], JSON_PATCH)
        bad = [BAD, BAD | {"type": "GpuNvLinkWatch"}]
        status = {"conditions": bad, "allocatable": {"nvidia.com/gpu": "5"}}
        self.drill.patch(f"node/{name}/status", {"status": status}, STRATEGIC)

    def hold(self, name: str, until: str = PAST) -> None:
        """What a drill of a lost node does to its Lease."""
        spec = {"holderIdentity": "kfarm-drill/u", "leaseDurationSeconds": 3600}
        body = {"metadata": {"annotations": marks(LEASE_UNDO, until)}, "spec": spec}
        self.drill.patch(f"lease/{name}", body)

    def admin(self, name: str, patch: Body, *more: str) -> None:
        """Somebody with all rights changes a node."""
        self.cluster.kubectl("patch", "node", name, *more, "--type=merge", "-p", json.dumps(patch))

    def dump(self, name: str) -> Body:
        """Node and Lease but for what beats, counts, or is the node lifecycle controller's."""
        node = self.cluster.get("node", name)
        lease = self.cluster.get("lease", name, "-n", "kube-node-lease")
        for body in (node, lease):
            for key in ("resourceVersion", "managedFields"):
                body["metadata"].pop(key, None)
        taints = node["spec"].get("taints", [])
        node["spec"]["taints"] = [t for t in taints if "node.kubernetes.io" not in t["key"]]
        own = {"Ready", "MemoryPressure", "DiskPressure", "PIDPressure"}
        conditions = node["status"].get("conditions", [])
        node["status"]["conditions"] = [c for c in conditions if c["type"] not in own]
        return {"node": node, "lease": lease}


@pytest.fixture(scope="module")
def ground(clean_cluster: Cluster) -> Iterator[Ground]:
    """The chart with drills, and no operator."""
    helm = install_drills(clean_cluster)
    ground = Ground(clean_cluster)
    ground.make("probe")
    taint = [{"op": "add", "path": "/spec/taints/-", "value": FAULT}]

    def fenced() -> bool:
        said = refusal(lambda: ground.drill.patch("node/probe", taint, JSON_PATCH, dry=True))
        return "kfarm-drill-nodes" in said

    wait_until(fenced, 30, "fences")
    clean_cluster.kubectl("delete", "node/probe")
    clean_cluster.kubectl("delete", "lease/probe", "-n", "kube-node-lease")
    yield ground
    ground.client.close()
    helm("uninstall", "kfarm", "--namespace", SYSTEM)


@pytest.fixture
def nodes(ground: Ground) -> Iterator[list[str]]:
    """Three nodes."""
    names = ["swept-a", "swept-b", "swept-c"]
    for name in names:
        ground.make(name)
    # the node lifecycle controller adds its own taints and conditions once
    yield names
    ground.cluster.kubectl("delete", "node", *names, "--ignore-not-found")
    ground.cluster.kubectl("delete", "lease", *names, "-n", "kube-node-lease", "--ignore-not-found")


def test_what_is_overdue_is_taken_back_exactly_and_the_rest_left_alone(
    ground: Ground, nodes: list[str]
) -> None:
    """By the program itself; a drill that goes on is none of its business, nor is a clean node."""
    before = {name: ground.dump(name) for name in nodes}
    for name in nodes[:2]:
        ground.break_(name, PAST if name == nodes[0] else FUTURE)
        ground.hold(name, PAST if name == nodes[0] else FUTURE)
    going_on = ground.dump(nodes[1])
    assert ground.dump(nodes[0]) != before[nodes[0]]
    kubeconfig = ground.cluster.kubeconfig_for_service_account(SYSTEM, "kfarm-sweeper")
    done = subprocess.run(
        [sys.executable, "-m", "kfarm_operator.sweeper", "--once", "--log-format=json",
         "--kubeconfig", str(kubeconfig), "--namespace", SYSTEM],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {(line["kind"], line["name"]) for line in lines} == {
        ("Node", nodes[0]), ("Lease", nodes[0]),
    }  # fmt: skip
    assert all("drill lab/gone/u left here was overdue" in line["msg"] for line in lines)
    assert ground.dump(nodes[0]) == before[nodes[0]]
    assert ground.dump(nodes[1]) == going_on
    assert ground.dump(nodes[2]) == before[nodes[2]]
    events = ground.cluster.get("events", "-A", "--field-selector=reason=DrillSweptUp")["items"]
    about = {(e["involvedObject"]["kind"], e["involvedObject"]["name"]) for e in events}
    assert about >= {("Node", nodes[0]), ("Lease", nodes[0])}


def test_neither_the_kind_nor_consent_nor_the_namespace_need_be_there(
    ground: Ground, nodes: list[str]
) -> None:
    cluster, name = ground.cluster, nodes[0]
    before = ground.dump(name)
    ground.break_(name)
    ground.hold(name)
    cluster.kubectl("label", "node", name, "kfarm.dev/drill-")
    cluster.kubectl("delete", "crd", CRD)
    try:
        assert ground.sweeper.round() == Round(taken_back=2)
    finally:
        where = ("-f", str(ROOT / "crds/failuredrills.yaml"))
        cluster.kubectl("apply", "--server-side", "--force-conflicts", *where)
        cluster.kubectl("wait", "--for=condition=Established", *where, "--timeout=30s")
    after = ground.dump(name)
    del before["node"]["metadata"]["labels"]["kfarm.dev/drill"]
    assert after == before
    assert ground.sweeper.round() == Round()


def test_what_people_changed_meanwhile_is_kept(ground: Ground, nodes: list[str]) -> None:
    """Other fields, and the very fields of the drill."""
    name = nodes[0]
    before = ground.dump(name)
    ground.break_(name)
    mine = FAULT | {"value": "mine"}
    others = [t for t in ground.cluster.get("node", name)["spec"]["taints"]
              if t["key"] != FAULT["key"]]  # fmt: skip
    ground.admin(name, {"metadata": {"labels": {"zone": "b"}, "annotations": {"note": "광주"}},
                        "spec": {"taints": [*others, mine], "unschedulable": True}})  # fmt: skip
    ground.admin(name, {"status": {"allocatable": {"nvidia.com/gpu": "6"}}}, "--subresource=status")
    assert ground.sweeper.round() == Round(taken_back=1)
    wanted = copy.deepcopy(before)
    wanted["node"]["metadata"]["labels"]["zone"] = "b"
    wanted["node"]["metadata"]["annotations"]["note"] = "광주"
    wanted["node"]["spec"] |= {"unschedulable": True, "taints": [OTHER, mine]}
    wanted["node"]["status"]["allocatable"]["nvidia.com/gpu"] = "6"
    after = ground.dump(name)
    for body in (after, wanted):
        body["node"]["spec"]["taints"].sort(key=lambda taint: str(taint["key"]))
    assert after == wanted


def test_a_node_made_anew_under_the_name_is_left_alone(ground: Ground, nodes: list[str]) -> None:
    """It carries no mark; its Lease, which outlived it, is given back."""
    name = nodes[0]
    ground.break_(name)
    ground.hold(name)
    ground.cluster.kubectl("delete", "node", name)
    ground.cluster.apply({"apiVersion": "v1", "kind": "Node",
                          "metadata": {"name": name, "labels": {"new": "yes"}}})  # fmt: skip
    fresh = ground.dump(name)["node"]
    assert ground.sweeper.round() == Round(taken_back=1)
    after = ground.dump(name)
    assert after["node"] == fresh
    assert after["lease"]["spec"]["holderIdentity"] == "kwok"
    assert "annotations" not in after["lease"]["metadata"]


def test_a_crash_between_two_writes_is_made_good(ground: Ground, nodes: list[str]) -> None:
    """The status is back, the marks are still there."""
    name = nodes[0]
    before = ground.dump(name)
    ground.break_(name)

    class Killed(Exception):
        """The process ended."""

    class Mortal(KubeClient):
        """Dies after its first write."""

        def patch(self, *args: Any, **more: Any) -> Any:
            super().patch(*args, **more)
            raise Killed

    mortal = Mortal(ground.client.configuration)
    with contextlib.closing(mortal), pytest.raises(Killed):
        Sweeper(mortal, SYSTEM).round()
    half = ground.dump(name)
    assert half["node"]["status"] == before["node"]["status"]
    assert half["node"]["spec"] != before["node"]["spec"]
    assert ground.sweeper.round() == Round(taken_back=1)
    assert ground.dump(name) == before


def test_one_that_cannot_be_read_keeps_nobody_waiting(ground: Ground, nodes: list[str]) -> None:
    """It is cleaned as far as names tell, and reported; the next one is taken back."""
    before = ground.dump(nodes[1])
    for name in nodes[:2]:
        ground.break_(name)
    ground.admin(nodes[0], {"metadata": {"annotations": {f"{OURS}undo": "[{"}}})
    assert ground.sweeper.round() == Round(taken_back=1, failed=1)
    assert ground.dump(nodes[1]) == before
    left = ground.dump(nodes[0])["node"]
    assert OURS not in json.dumps(left["metadata"]["annotations"])
    assert left["spec"]["taints"] == [OTHER]
    assert left["status"]["allocatable"]["nvidia.com/gpu"] == "5"
    assert ground.sweeper.round() == Round()


def lock(name: str, until: str) -> Body:
    metadata = {"name": name, "namespace": SYSTEM,
                "annotations": {f"{OURS}until": until, f"{OURS}drill": "lab/gone/u"}}  # fmt: skip
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata,
            "spec": {"holderIdentity": "kfarm-drill/u"}}  # fmt: skip


def test_locks_that_outlived_their_drills_are_dropped(ground: Ground) -> None:
    """And no other Lease of the namespace."""
    ground.cluster.apply(lock("kfarm-drill-old", PAST), lock("kfarm-drill-on", FUTURE),
                         lock("election", PAST))  # fmt: skip
    assert ground.sweeper.round() == Round(taken_back=1)
    left = [
        item["metadata"]["name"] for item in ground.cluster.get("leases", "-n", SYSTEM)["items"]
    ]
    assert {"kfarm-drill-on", "election"} <= set(left)
    assert "kfarm-drill-old" not in left
    kubeconfig = ground.cluster.kubeconfig_for_service_account(SYSTEM, "kfarm-sweeper")
    with pytest.raises(KubectlError, match="kfarm-drill-leases"):
        ground.cluster.kubectl("delete", "lease", "election", "-n", SYSTEM, kubeconfig=kubeconfig)
    ground.cluster.kubectl("delete", "lease", "kfarm-drill-on", "election", "-n", SYSTEM)


def test_every_right_of_the_sweeper_was_used_and_none_was_missing(ground: Ground) -> None:
    """After all of the above; the observer would have seen a refusal."""
    user = f"--as=system:serviceaccount:{SYSTEM}:kfarm-sweeper"
    asked = {(verb, right(path)) for verb, path in ground.asked}
    used = {
        ("GET", "nodes"), ("GET", "nodes/NAME"), ("PATCH", "nodes/NAME"),
        ("PATCH", "nodes/NAME/status"), ("GET", "kube-node-lease/leases"),
        ("GET", "kube-node-lease/leases/NAME"), ("PATCH", "kube-node-lease/leases/NAME"),
        ("GET", f"{SYSTEM}/leases"), ("DELETE", f"{SYSTEM}/leases/NAME"),
        ("POST", "default/events"), ("POST", "kube-node-lease/events"), ("GET", "version"),
    }  # fmt: skip
    assert asked == used
    for right_ in ("get failuredrills.kfarm.dev", "list pods", "get secrets", "delete nodes"):
        with pytest.raises(KubectlError):
            ground.cluster.kubectl("auth", "can-i", *right_.split(), user, "-A")


def right(path: str) -> str:
    """The path without group and version, and with NAME for a name."""
    parts = path.strip("/").split("/")
    parts = parts[{"api": 2, "apis": 3}.get(parts[0], 0) :]
    namespace = ""
    if parts[0] == "namespaces":
        namespace, parts = f"{parts[1]}/", parts[2:]
    return namespace + "/".join([parts[0], *("NAME" for _ in parts[1:2]), *parts[2:]])
