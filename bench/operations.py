"""The operator under load, on the local control plane, beside a baseline of the same run.

``python bench/operations.py [--json FILE] [--plans N]``. The operator runs as a process of its own,
with the chart's accounts. From the creation of a plan to its first status, for one plan at a time
and for a thousand at once over ten namespaces; memory with 1,642 nodes and 10,000 pods watched;
writes in a minute in which nothing happens, by the operator's own count and by the API server's
audit log. The baseline is what the API server takes without kfarm: the same objects created and
given a status by the same client. The policy asks for few futures of a day, since the twin has
figures of its own (``bench/twin.py``). Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from kfarm_controlplane import Cluster, ControlPlane, wait_until
from kfarm_controlplane.installation import Installation, Operator, install, wait_for
from kfarm_controlplane.options import Options
from kfarm_operator.client import NODES, PODS, ApiError, KubeClient, kfarm_resource
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
FARMS = ("nhn-cloud", "naver-cloud", "kakao")
PLANS = kfarm_resource("placementplans")
NAMESPACES = 10
SINGLES = 20
PODS_WATCHED, HOSTS = 10_000, 100
WRITERS = 16
STEADY_S, STILL_S = 60.0, 15.0
LIMIT_S = 1800.0
KFARM = "system:serviceaccount:kfarm-system:kfarm-"
AUDIT = """apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
  - {level: Metadata, verbs: [create, update, patch, delete, deletecollection]}
  - {level: None}
"""
Body = dict[str, Any]
Figures = dict[str, float]


def main() -> int:
    """Measure and print; returns an exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plans", type=int, default=1000, help="plans that arrive at once")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder) / "audit.yaml"
        policy.write_text(AUDIT)
        with ControlPlane(Options(audit_policy=policy)) as plane:
            audit = plane.directory / "logs" / "audit.log"
            installation = install(plane, ROOT / "charts/kfarm")
            figures = measure(installation, Path(folder), audit, arguments.plans)
    show(figures, arguments.plans)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))
    return 0


def measure(installation: Installation, folder: Path, audit: Path, plans: int) -> Figures:
    """All figures, in the order in which the cluster fills."""
    cluster = installation.cluster
    client = KubeClient.connect(cluster.kubeconfig)
    cluster.apply(light_policy())
    for number in range(NAMESPACES):
        cluster.kubectl("create", "namespace", namespace_of(number))
    found = baseline(client, plans)
    with Operator(installation, folder / "operator.log") as operator:
        say("farms of 1,642 nodes")
        cluster.kubectl(
            "apply", *(part for name in FARMS for part in ("-f", str(_farm_file(name))))
        )
        for name in FARMS:
            wait_for(cluster, f"gpufarm/{name}", "condition=Ready", timeout_s=600)
        found["nodes"] = float(sum(1 for _ in client.items(NODES)))
        found["memory_nodes_mb"] = operator.memory_bytes() / 1e6
        say("one plan at a time")
        singles = [one_at_a_time(client, number) for number in range(SINGLES + 1)][1:]
        found |= spread("single", singles)
        say(f"{plans} plans at once")
        found |= crowd(client, operator, plans)
        say(f"{PODS_WATCHED} pods")
        watch_pods(cluster, client)
        found["memory_mb"] = operator.memory_bytes() / 1e6
        say("a minute of rest")
        found |= rest(operator, audit)
    return found


def _farm_file(name: str) -> Path:
    return ROOT / "examples" / "farms" / f"{name}.yaml"


def namespace_of(number: int) -> str:
    """Namespaces take turns."""
    return f"bench-{number % NAMESPACES}"


def light_policy() -> Body:
    """Few futures of a day, inputs as stated: what is measured here is the operator alone."""
    check = {"metric": "nodes_down_max", "atMost": "100", "quantile": 50, "confidence": 50}
    simulation = {"horizon": "24h", "futures": {"min": 8, "max": 64}, "seed": 7}
    return {
        "apiVersion": "kfarm.dev/v1alpha1",
        "kind": "ValidationPolicy",
        "metadata": {"name": "light"},
        "spec": {"checks": [check], "simulation": simulation, "assumptions": {"draws": 0}},
    }


def plan(name: str, number: int) -> Body:
    """A training on one device of the smallest farm of the examples."""
    workload = {
        "name": "w", "class": "Training", "pods": 1, "acceleratorsPerPod": 1,
        "accelerators": ["b200"], "gang": True, "duration": "8h",
        "checkpoint": {"interval": "30m", "save": "20s", "restart": "5m"}, "load": 80,
    }  # fmt: skip
    return {
        "apiVersion": "kfarm.dev/v1alpha1",
        "kind": "PlacementPlan",
        "metadata": {"name": name, "namespace": namespace_of(number)},
        "spec": {
            "policy": "light",
            "farms": [{"kind": "GPUFarm", "name": "kakao"}],
            "workloads": [workload],
        },
    }


def baseline(client: KubeClient, plans: int) -> Figures:
    """Creation of each plan, then a bare status patch, with nobody else at work."""

    def both(number: int) -> float:
        body = plan(f"bare-{number}", number)
        began = time.monotonic()
        made = client.create(PLANS, body, namespace_of(number))
        meta = {key: made["metadata"][key] for key in ("uid", "resourceVersion")}
        client.patch(PLANS, body["metadata"]["name"], {"metadata": meta, "status": {"reason": "x"}},
                     namespace=namespace_of(number), sub="status")  # fmt: skip
        return time.monotonic() - began

    say("baseline")
    singles = [both(number) for number in range(SINGLES)]
    began = time.monotonic()
    with ThreadPoolExecutor(WRITERS) as pool:
        many = list(pool.map(both, range(SINGLES, SINGLES + plans)))
    total = time.monotonic() - began
    remove(client)
    figures = {"bare_crowd_total_s": total}
    return figures | spread("bare_single", singles) | spread("bare_crowd", many)


def spread(name: str, seconds: list[float]) -> Figures:
    """Median and 99th percentile."""
    ordered = sorted(seconds)
    last = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    return {f"{name}_p50_s": statistics.median(ordered), f"{name}_p99_s": last}


def remove(client: KubeClient) -> None:
    """Delete all plans."""
    bodies = list(client.items(PLANS))

    def one(body: Body) -> None:
        meta = body["metadata"]
        client.delete(PLANS, meta["name"], uid=meta["uid"], namespace=meta["namespace"])

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(one, bodies))
    wait_until(lambda: not any(client.items(PLANS)), LIMIT_S, "removal of the plans")


class FirstStatus:
    """Follows all plans, and notes when each was created and when it first had a status."""

    def __init__(self, client: KubeClient) -> None:
        self._client = KubeClient(client.configuration)
        self._version = next(self._client.pages(PLANS))["metadata"]["resourceVersion"]
        self._closed = False
        self.created: dict[str, float] = {}
        self.first: dict[str, float] = {}
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()

    def _follow(self) -> None:
        try:
            while not self._closed:  # the API server ends each stream after some minutes
                self._follow_once()
        except ApiError as error:
            if not self._closed:
                say(f"the watch ended: {error}")

    def _follow_once(self) -> None:
        for event in self._client.watch(PLANS, self._version):
            body = event["object"]
            self._version = body["metadata"]["resourceVersion"]
            if event["type"] == "MODIFIED" and body.get("status"):
                self.first.setdefault(key_of(body), time.monotonic())

    def create(self, body: Body) -> None:
        """Create a plan; its time runs from the request on."""
        self.created[key_of(body)] = time.monotonic()
        self._client.create(PLANS, body, body["metadata"]["namespace"])

    def waits(self) -> list[float]:
        """Seconds from creation to first status, of those that have one."""
        return [self.first[key] - self.created[key] for key in self.created if key in self.first]

    def close(self) -> None:
        """End the watch."""
        self._closed = True
        self._client.close()
        self.thread.join(10)


def key_of(body: Body) -> str:
    """Namespace and name."""
    return f"{body['metadata']['namespace']}/{body['metadata']['name']}"


def one_at_a_time(client: KubeClient, number: int) -> float:
    """One plan, alone; the first one is not counted, since it may find the twin cold."""
    follower = FirstStatus(client)
    follower.create(plan(f"single-{number}", number))
    wait_until(lambda: len(follower.waits()) == 1, LIMIT_S, "the first status")
    waited = follower.waits()[0]
    follower.close()
    return waited


def crowd(client: KubeClient, operator: Operator, plans: int) -> Figures:
    """Many plans at once, until each has a status and the operator writes no more."""
    follower = FirstStatus(client)
    began = time.monotonic()
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(follower.create, (plan(f"crowd-{n}", n) for n in range(plans))))
    created = time.monotonic() - began
    peak, lag = operator.memory_bytes(), 0.0
    while len(follower.waits()) < plans and time.monotonic() - began < LIMIT_S:
        time.sleep(1.0)
        peak = max(peak, operator.memory_bytes())
        lag = max(lag, total(operator, "kfarm_event_loop_lag_seconds"))
    waits = follower.waits()
    follower.close()
    steady = until_still(operator) - began
    return {
        "crowd_created_s": created,
        "crowd_answered": float(len(waits)),
        "crowd_steady_s": steady,
        "crowd_peak_memory_mb": peak / 1e6,
        "crowd_loop_lag_max_s": lag,
        **spread("crowd", waits),
    }


def until_still(operator: Operator) -> float:
    """Wait until nothing was written for `STILL_S`; returns when the last write was seen."""
    last, writes = time.monotonic(), own_writes(operator)
    while time.monotonic() - last < STILL_S:
        time.sleep(0.5)
        now = own_writes(operator)
        if now != writes:
            last, writes = time.monotonic(), now
    return last


def samples(operator: Operator, name: str) -> Iterable[tuple[dict[str, str], float]]:
    """Series of a metric that the operator serves."""
    for family in text_string_to_metric_families(operator.read("metrics")):
        for sample in family.samples:
            if sample.name == name:
                yield sample.labels, sample.value


def total(operator: Operator, name: str) -> float:
    """Sum over the series of a metric."""
    return sum(value for _, value in samples(operator, name))


def own_writes(operator: Operator) -> float:
    """Writes that the operator asked for so far."""
    requests = samples(operator, "kfarm_api_requests_total")
    return sum(value for labels, value in requests if labels["verb"] not in ("get", "list"))


def watch_pods(cluster: Cluster, client: KubeClient) -> None:
    """Bound pods in an exempt namespace, on nodes that belong to no farm."""
    hosts = [f"host-{number}" for number in range(HOSTS)]
    each([lambda name=name: client.create(NODES, _host(name)) for name in hosts])  # type: ignore[misc]
    bodies = [_pod(f"pod-{n}", hosts[n % HOSTS]) for n in range(PODS_WATCHED)]
    each([lambda b=b: client.create(PODS, b, "kube-system") for b in bodies])  # type: ignore[misc]
    del cluster
    time.sleep(5.0)


def each(work: list[Callable[[], object]]) -> None:
    """Do all, some at a time."""
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda one: one(), work))


def _host(name: str) -> Body:
    capacity = {"cpu": "112", "memory": "2048Gi", "pods": "200"}
    marks = {"kwok.x-k8s.io/node": "fake"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": marks, "annotations": marks},
        "status": {"capacity": capacity, "allocatable": capacity},
    }


def _pod(name: str, node: str) -> Body:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "kube-system", "labels": {"app": "bench"}},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "main", "image": "example"}],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}],
            "terminationGracePeriodSeconds": 0,
        },
    }


def rest(operator: Operator, audit: Path) -> Figures:
    """A minute in which nothing is asked of the operator."""
    until_still(operator)
    watched = {labels["watch"]: n for labels, n in samples(operator, "kfarm_watch_objects")}
    writes, reconciles = own_writes(operator), total(operator, "kfarm_reconcile_seconds_count")
    position = audit.stat().st_size
    time.sleep(STEADY_S)
    with audit.open() as log:
        log.seek(position)
        entries = [json.loads(line) for line in log if line.endswith("}\n")]
    ours = [e for e in entries if e["user"]["username"].startswith(KFARM)]
    return {
        "pods_watched": watched.get("pods-foreign", 0.0),
        "nodes_watched": watched.get("nodes", 0.0),
        "steady_reconciles": total(operator, "kfarm_reconcile_seconds_count") - reconciles,
        "steady_writes": own_writes(operator) - writes,
        "steady_writes_audited": float(len(ours)),
        "steady_memory_mb": operator.memory_bytes() / 1e6,
    }


def say(what: str) -> None:
    """Tell what is being measured."""
    Console(stderr=True).print(f"==> {what}")


def show(figures: Figures, plans: int) -> None:
    """Print the figures."""
    title = f"{figures['nodes_watched']:.0f} nodes, {figures['pods_watched']:.0f} pods watched"
    table = Table("what", "kfarm", "baseline", "ratio", title=title)
    for what, name in (("one plan", "single"), (f"{plans} plans at once", "crowd")):
        for quantile in ("p50", "p99"):
            value, bare = (figures[f"{n}_{quantile}_s"] for n in (name, f"bare_{name}"))
            row = f"created → first status, {what}, {quantile}, s"
            table.add_row(row, f"{value:.3f}", f"{bare:.4f}", f"{value / bare:.0f}")
    for what, name in (
        (f"{plans} plans: last one created after, s", "crowd_created_s"),
        (f"{plans} plans: first statuses", "crowd_answered"),
        (f"{plans} plans: no more writes after, s", "crowd_steady_s"),
        (f"{plans} plans: most that the event loop was late, s", "crowd_loop_lag_max_s"),
        (f"{plans} plans: most memory meanwhile, MB", "crowd_peak_memory_mb"),
        ("memory with the nodes watched, MB", "memory_nodes_mb"),
        ("memory with nodes, plans and pods watched, MB", "steady_memory_mb"),
        ("at rest for 60 s: reconciles", "steady_reconciles"),
        ("at rest for 60 s: writes by the operator's count", "steady_writes"),
        ("at rest for 60 s: writes by the audit log", "steady_writes_audited"),
    ):
        table.add_row(what, f"{figures[name]:.2f}", "", "")
    Console(width=None if sys.stdout.isatty() else 110).print(table)


if __name__ == "__main__":
    sys.exit(main())
