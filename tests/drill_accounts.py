"""Accounts for drills, and what they are pointed at: nodes and Leases that nobody plays."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

from chart_scene import CHART, SYSTEM
from kfarm_controlplane.client import Cluster, KubectlError
from kfarm_controlplane.helm import Helm, settings
from kfarm_operator.client import NODES, ApiError, KubeClient, kfarm_resource

Body = dict[str, Any]
STRATEGIC, MERGE, JSON_PATCH = "strategic", "merge", "json"
CONSENT = {"kfarm.dev/drill": "allowed"}


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
        content = {MERGE: "application/merge-patch+json"}.get(
            kind, "application/strategic-merge-patch+json"
        )
        with contextlib.closing(KubeClient.connect(self._kubeconfig)) as client:
            client.patch(NODES, name, body, sub="status", content_type=content)

    def write_drill(self, name: str, where: str, status: Body) -> None:
        """Merge into the status of a FailureDrill."""
        drills = kfarm_resource("failuredrills")
        with contextlib.closing(KubeClient.connect(self._kubeconfig)) as client:
            client.patch(drills, name, {"status": status}, namespace=where, sub="status")

    def evict(self, namespace: str, pod: str) -> None:
        """Evict a pod."""
        metadata = {"name": pod, "namespace": namespace}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
        arguments = ("create", "--raw", path, "-f", "-")
        self._cluster.kubectl(*arguments, input=json.dumps(body), kubeconfig=self._kubeconfig)


def node(name: str) -> Body:
    """A node as a vendor's tools leave it, which nobody plays although KWOK might."""
    marks = {"vendor": "x", "kwok.x-k8s.io/node": "nobody"}
    metadata = {"name": name, "labels": {"zone": "a"}, "annotations": marks}
    spec = {"taints": [{"key": "other", "effect": "NoSchedule"}]}
    status = {"capacity": {"nvidia.com/gpu": "8"}, "allocatable": {"nvidia.com/gpu": "8"}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec,
            "status": status}  # fmt: skip


def lease(name: str, holder: str | None = "kwok") -> Body:
    """A node's Lease, as KWOK writes it; a kubelet holds it under its own name."""
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 40,
            "renewTime": "2026-01-31T11:00:00.000000Z"}  # fmt: skip
    metadata = {"name": name, "namespace": "kube-node-lease"}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata,
            "spec": spec}  # fmt: skip


def refusal(act: Callable[[], None]) -> str:
    """What the API server said against it; empty when it agreed."""
    try:
        act()
    except (KubectlError, ApiError) as error:
        said = error.stderr if isinstance(error, KubectlError) else error.message
        assert "is forbidden" in said, error
        return said
    return ""


def install_drills(cluster: Cluster, *values: str) -> Helm:
    """The chart with drills, by Helm, and nothing that runs."""
    helm = Helm(cluster)
    given = settings("operator.enabled=false", "catalogue.enabled=false", "drills.enabled=true",
                     "drills.clusterName=here", *values)  # fmt: skip
    where = ("--namespace", SYSTEM, "--create-namespace", "--take-ownership")
    helm("upgrade", "--install", "kfarm", str(CHART), *where, *given)
    return helm
