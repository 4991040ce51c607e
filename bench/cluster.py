"""Speed of the whole path on the local control plane, beside a baseline of the same run.

Baselines are what Kubernetes takes without kfarm: the same number of bare Nodes created by the same
client until KWOK has them Ready, and the same number of pods, ungated and pinned, until bound.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from kfarm_controlplane import Cluster, ControlPlane, wait_until
from kfarm_controlplane.installation import Installation, Operator, install, wait_for
from kfarm_operator.client import NODES, PODS, KubeClient
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
FARMS = {"nhn-cloud": "gpufarm", "naver-cloud": "gpufarm", "kakao": "gpufarm",
         "gwangju-npu": "npufarm"}  # fmt: skip
GANG = 255
WRITERS = 16
LIMIT_S = 300.0
Figures = dict[str, float]


def main() -> int:
    """Measure and print; returns an exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="plans validated and released")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    with ControlPlane() as plane, tempfile.TemporaryDirectory() as folder:
        figures = baseline(plane)
        installation = install(plane, ROOT / "charts/kfarm")
        figures |= measure(installation, Path(folder), arguments.rounds)
    show(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))
    return 0


def baseline(cluster: Cluster) -> Figures:
    """Nodes and pods without kfarm."""
    client = KubeClient.connect(cluster.kubeconfig)
    nodes = [_bare_node(f"bare-{i}") for i in range(1669)]
    ready = timed(lambda: _nodes_ready(client, nodes))
    pods = [_bare_pod(f"bare-{i}", f"bare-{i}") for i in range(GANG)]
    bound = timed(lambda: _pods_bound(client, pods))
    for kind, query in ((PODS, {"labelSelector": "app=bare"}), (NODES, {})):
        for body in list(client.items(kind, **query)):
            meta = body["metadata"]
            client.delete(kind, meta["name"], uid=meta["uid"], namespace=meta.get("namespace"))
    wait_until(lambda: not any(client.items(NODES)), LIMIT_S, "removal of the bare nodes")
    return {"bare_nodes_ready_s": ready, "bare_pods_bound_s": bound}


def measure(installation: Installation, folder: Path, rounds: int) -> Figures:
    """Farms to Ready Nodes, plans to verdicts, verdicts to bound pods, memory."""
    cluster = installation.cluster
    client = KubeClient.connect(cluster.kubeconfig)
    with Operator(installation, folder / "operator.log") as operator:
        farms = timed(lambda: _farms(cluster))
        _apply(cluster, "policies", "workloads/namespaces.yaml")
        found = [_release(cluster, client) for _ in range(rounds)]
        memory = operator.memory_bytes() / 1e6
        worker = operator.worker_memory_bytes() / 1e6
    verdicts, bindings = zip(*found, strict=True)
    return {
        "farm_nodes_ready_s": farms,
        "plan_to_verdict_first_s": verdicts[0],
        "plan_to_verdict_median_s": statistics.median(verdicts),
        "verdict_to_bound_median_s": statistics.median(bindings),
        "operator_memory_mb": memory,
        "worker_memory_mb": worker,
    }


def _farms(cluster: Cluster) -> None:
    _apply(cluster, *(f"farms/{name}.yaml" for name in FARMS))
    for name, kind in FARMS.items():
        wait_for(cluster, f"{kind}/{name}", "condition=Ready", timeout_s=LIMIT_S)


def _release(cluster: Cluster, client: KubeClient) -> tuple[float, float]:
    """One gang of 255 pods: seconds to its verdict, and from there until all are bound."""
    where = ("-n", "foundation-model")
    _apply(cluster, "workloads/pretrain.yaml")
    selector = "kfarm.dev/placement-plan=pretrain"
    wait_until(lambda: _count(client, selector) == GANG, LIMIT_S, "the gang's pods")
    verdict = timed(lambda: _verdict(cluster, where))
    bound = timed(lambda: _until_bound(client, "foundation-model", selector))
    for kind in ("job", "placementplan"):
        cluster.kubectl("delete", kind, "pretrain", *where, "--wait=true")
    wait_until(lambda: _count(client, selector) == 0, LIMIT_S, "removal of the gang")
    return verdict, bound


def _verdict(cluster: Cluster, where: tuple[str, ...]) -> None:
    _apply(cluster, "plans/pretrain.yaml")
    wait_for(cluster, "placementplan/pretrain", "jsonpath={.status.verdict}=Approved", *where,
             timeout_s=LIMIT_S)  # fmt: skip


def _apply(cluster: Cluster, *names: str) -> None:
    cluster.kubectl("apply", *(p for n in names for p in ("-f", str(ROOT / "examples" / n))))


def _create(client: KubeClient, bodies: Iterable[dict[str, Any]]) -> None:
    def one(body: dict[str, Any]) -> None:
        namespace = body["metadata"].get("namespace")
        client.create(PODS if body["kind"] == "Pod" else NODES, body, namespace)

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(one, bodies))


def _nodes_ready(client: KubeClient, nodes: list[dict[str, Any]]) -> None:
    _create(client, nodes)
    _until_ready(client, len(nodes))


def _pods_bound(client: KubeClient, pods: list[dict[str, Any]]) -> None:
    _create(client, pods)
    _until_bound(client, "default", "app=bare")


def _count(client: KubeClient, selector: str) -> int:
    return sum(1 for _ in client.items(PODS, labelSelector=selector))


def _until_ready(client: KubeClient, count: int) -> None:
    def ready() -> bool:
        nodes = list(client.items(NODES))
        return len(nodes) == count and all(not n["spec"].get("taints") for n in nodes)

    wait_until(ready, LIMIT_S, "the bare nodes to be Ready")


def _until_bound(client: KubeClient, namespace: str, selector: str) -> None:
    def bound() -> bool:
        pods = [p for p in client.items(PODS, labelSelector=selector)
                if p["metadata"]["namespace"] == namespace]  # fmt: skip
        return len(pods) == GANG and all(p["spec"].get("nodeName") for p in pods)

    wait_until(bound, LIMIT_S, "the pods to be bound")


def _bare_node(name: str) -> dict[str, Any]:
    capacity = {"cpu": "112", "memory": "2048Gi", "pods": "110"}
    marks = {"kwok.x-k8s.io/node": "fake"}
    labels = {"kubernetes.io/hostname": name, **marks}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": marks},
        "status": {"capacity": capacity, "allocatable": capacity},
    }


def _bare_pod(name: str, node: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "bare"}},
        "spec": {
            "containers": [{"name": "main", "image": "example"}],
            "nodeSelector": {"kubernetes.io/hostname": node},
            "terminationGracePeriodSeconds": 0,
        },
    }


def timed(work: Callable[[], object]) -> float:
    """Wall-clock seconds that `work` takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def show(figures: Figures) -> None:
    """Print the figures, those with a baseline as ratios to it as well."""
    table = Table("what", "kfarm", "baseline", "ratio", title="1,669 nodes, gang of 255 pods")
    for title, name, base in (
        ("farms applied → all Nodes Ready, s", "farm_nodes_ready_s", "bare_nodes_ready_s"),
        ("verdict → all pods bound, s", "verdict_to_bound_median_s", "bare_pods_bound_s"),
    ):
        ratio = figures[name] / figures[base]
        table.add_row(title, f"{figures[name]:.2f}", f"{figures[base]:.2f}", f"{ratio:.2f}")
    for title, name in (
        ("plan applied → verdict, first, s", "plan_to_verdict_first_s"),
        ("plan applied → verdict, median, s", "plan_to_verdict_median_s"),
        ("operator's memory beside its worker, MB", "operator_memory_mb"),
        ("memory of the warm worker, MB", "worker_memory_mb"),
    ):
        table.add_row(title, f"{figures[name]:.2f}", "", "")
    Console(width=None if sys.stdout.isatty() else 100).print(table)


if __name__ == "__main__":
    sys.exit(main())
