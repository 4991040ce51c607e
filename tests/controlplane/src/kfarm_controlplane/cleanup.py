"""Give a cluster back as it was found: what a test module made is removed, quickly."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

from kfarm_controlplane.client import Cluster, ExternalControlPlane, KubectlError
from kfarm_controlplane.cluster import wait_until

TEST_LABEL = "kfarm.dev/test"
GROUPS = ("kfarm.dev", "kueue.x-k8s.io")
_TIMEOUT_S = 60.0
_WORKLOADS = "deployments,statefulsets,daemonsets,replicasets,jobs,cronjobs"
_FAKE = "kwok.x-k8s.io/node"


@dataclass(frozen=True)
class Baseline:
    """What was there before a test module.

    Parameters
    ----------
    namespaces
        Names of namespaces.
    nodes
        Names of nodes.
    customs
        ``resource.group/namespace/name`` of custom objects of our groups.
    """

    namespaces: frozenset[str]
    nodes: frozenset[str]
    customs: frozenset[str]


def take_baseline(cluster: Cluster) -> Baseline:
    """Record what is there now."""
    return Baseline(
        frozenset(_names(cluster, "namespaces")),
        frozenset(_names(cluster, "nodes")),
        frozenset(_customs(cluster)),
    )


def restore(cluster: Cluster, baseline: Baseline) -> None:
    """Remove what was made since: custom objects, namespaces, nodes, workloads in default.

    In a cluster that was given to us, only namespaces with our label and KWOK nodes
    are removed.

    Raises
    ------
    ControlPlaneError
        If something is still there after a minute.

    Notes
    -----
    The namespace controller lets 5 s pass before it deletes anything, so pods and
    custom objects are deleted here. Namespaces of the ``namespace`` fixture have
    names that never come back: once emptied, their end is not waited for.
    """
    own = not isinstance(cluster, ExternalControlPlane)
    _delete_customs(cluster, baseline)
    if own:
        quick = ("--all", "--namespace=default", "--ignore-not-found", "--wait=false")
        cluster.kubectl("delete", _WORKLOADS, *quick, "--cascade=background")
    if namespaces := [name for name, _ in _new_namespaces(cluster, baseline)]:
        cluster.kubectl("delete", "namespace", "--wait=false", "--ignore-not-found", *namespaces)
    if nodes := _new_nodes(cluster, baseline):
        _delete_nodes(cluster, nodes, baseline.nodes)
    wait_until(lambda: not _left(cluster, baseline, own), _TIMEOUT_S, "removal of test objects")


def _left(cluster: Cluster, baseline: Baseline, own: bool) -> list[str]:
    """Delete pods once more, since controllers make new ones, and name what is left."""
    found = _new_namespaces(cluster, baseline)
    emptied = [("default", True), *found] if own else found
    busy = [name for name, passing in emptied if _delete_pods(cluster, name) or not passing]
    customs = sorted(_customs(cluster) - baseline.customs)
    return [*busy, *_new_nodes(cluster, baseline), *customs]


def _names(cluster: Cluster, *args: str) -> list[str]:
    template = "{range .items[*]}{.metadata.name}{'\\n'}{end}"
    return cluster.kubectl("get", *args, "-o", f"jsonpath={template}").split()


def _new_namespaces(cluster: Cluster, baseline: Baseline) -> list[tuple[str, bool]]:
    """Return new namespaces, and whether each is one of the fixture's on its way out."""
    external = isinstance(cluster, ExternalControlPlane)
    selector = [f"--selector={TEST_LABEL}"] if external else []
    return [
        (
            item["metadata"]["name"],
            TEST_LABEL in item["metadata"].get("labels", {})
            and "deletionTimestamp" in item["metadata"],
        )
        for item in cluster.get("namespaces", *selector)["items"]
        if item["metadata"]["name"] not in baseline.namespaces
    ]


def _new_nodes(cluster: Cluster, baseline: Baseline) -> list[str]:
    nodes = json.loads(cluster.kubectl("get", "--raw", "/api/v1/nodes"))["items"]
    mine = not isinstance(cluster, ExternalControlPlane)
    return [
        node["metadata"]["name"]
        for node in nodes
        if node["metadata"]["name"] not in baseline.nodes
        and (mine or _FAKE in node["metadata"].get("annotations", {}))
    ]


def _delete_pods(cluster: Cluster, namespace: str) -> int:
    """Delete all pods of a namespace without grace; return how many were there."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    pods = json.loads(cluster.kubectl("get", "--raw", path))["items"]
    if pods:
        cluster.kubectl("delete", "--raw", f"{path}?gracePeriodSeconds=0")
    for pod in pods:
        if pod["metadata"].get("finalizers"):
            _drop_finalizers(cluster, f"pod/{pod['metadata']['name']}", namespace)
    return len(pods)


def _delete_nodes(cluster: Cluster, names: list[str], kept: frozenset[str]) -> None:
    """Delete nodes; thousands in one request, where the cluster is ours."""
    if isinstance(cluster, ExternalControlPlane):
        cluster.kubectl("delete", "node", "--wait=false", "--ignore-not-found", *names)
        return
    others = ",".join(f"metadata.name!={name}" for name in sorted(kept))
    query = urlencode({"gracePeriodSeconds": "0", "fieldSelector": others})
    cluster.kubectl("delete", "--raw", f"/api/v1/nodes?{query}")


def _resources(cluster: Cluster) -> list[tuple[str, bool]]:
    """Return ``resource.group`` and whether it is namespaced, for CRDs of our groups."""
    items = cluster.get("customresourcedefinitions")["items"]
    return [
        (item["metadata"]["name"], item["spec"]["scope"] == "Namespaced")
        for item in items
        if item["spec"]["group"] in GROUPS or item["spec"]["group"].endswith(".kfarm.dev")
    ]


def _customs(cluster: Cluster, resources: Iterable[tuple[str, bool]] | None = None) -> set[str]:
    names = [name for name, _ in (_resources(cluster) if resources is None else resources)]
    if not names:
        return set()
    template = (
        "{range .items[*]}{.kind}|{.apiVersion}|{.metadata.namespace}|{.metadata.name}{'\\n'}{end}"
    )
    listed = cluster.kubectl("get", ",".join(names), "-A", "-o", f"jsonpath={template}")
    return set(listed.splitlines())


def _delete_customs(cluster: Cluster, baseline: Baseline) -> None:
    """Delete new custom objects, all of a kind at once; then free those that are held."""
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for kind, group, namespace, name in _new_customs(cluster, baseline):
        found[f"{kind}.{group}", namespace].append(name)
    for (kind, namespace), names in found.items():
        scope = [f"--namespace={namespace}"] if namespace else []
        cluster.kubectl("delete", kind, *names, *scope, "--wait=false", "--ignore-not-found")
    for kind, group, namespace, name in _new_customs(cluster, baseline) if found else ():
        _drop_finalizers(cluster, f"{kind}.{group}/{name}", namespace)


def _new_customs(cluster: Cluster, baseline: Baseline) -> list[tuple[str, str, str, str]]:
    """Kind, group, namespace and name of custom objects that were not there before."""
    new = (line.split("|") for line in sorted(_customs(cluster) - baseline.customs))
    return [(k.lower(), version.split("/")[0], ns, name) for k, version, ns, name in new]


def _drop_finalizers(cluster: Cluster, target: str, namespace: str) -> None:
    """Take the finalizers off: the operator that would do it may not be running."""
    scope = [f"--namespace={namespace}"] if namespace else []
    patch = '{"metadata":{"finalizers":null}}'
    try:
        cluster.kubectl("patch", target, *scope, "--type=merge", f"--patch={patch}")
    except KubectlError as error:
        if "NotFound" not in error.stderr and "not found" not in error.stderr:
            raise
