"""The operator killed and started again with a full cluster: time to steady, and memory.

``python bench/restart.py [--plans N] [--approved N] [--pods N] [--json FILE]``. The farms of the
examples, 4,000 plans with a pod each and foreign pods up to 10,000 on a local control plane. 1,000
of the plans can be approved, their pods run; the others ask for more devices than a node has and
are rejected, their pods wait. When the operator has decided all and writes no more, it is killed
with SIGKILL and started anew, as a process of its own with the chart's accounts. Ready is when
``/readyz`` says so; steady is when everything was looked at once and nothing is asked for any more.
The baseline is what the same client needs to list the same objects once. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from kfarm_controlplane import ControlPlane
from kfarm_controlplane.figures import record
from kfarm_controlplane.installation import Installation, Operator, install, wait_for
from kfarm_operator.client import NODES, PODS, KubeClient
from operations import (
    FARMS,
    HOSTS,
    LIMIT_S,
    NAMESPACES,
    PLANS,
    ROOT,
    STILL_S,
    Body,
    Figures,
    _farm_file,
    _host,
    _pod,
    each,
    light_policy,
    namespace_of,
    own_writes,
    plan,
    say,
    total,
    until_still,
)
from rich.console import Console
from rich.table import Table

ASK_S = 0.5
WITH_B200 = ("nhn-cloud", "kakao")
"""Farms that have what the plans ask for, 9,696 devices together."""
TOO_MANY = 16
"""Devices of a pod that fits on no node."""


@dataclass(frozen=True)
class Crowd:
    """How many plans, how many of them can be approved, and how many pods in all."""

    plans: int
    approved: int
    pods: int


def main() -> int:
    """Measure and print; returns an exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plans", type=int, default=4000, help="plans, each with a pod")
    parser.add_argument("--approved", type=int, default=1000, help="plans that can be approved")
    parser.add_argument("--pods", type=int, default=10_000, help="pods, those of plans included")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    if not 0 < arguments.plans <= arguments.pods:
        parser.error("--pods counts those of plans, too: it must be at least --plans, and both > 0")
    with tempfile.TemporaryDirectory() as folder, ControlPlane() as plane:
        installation = install(plane, ROOT / "charts/kfarm")
        crowd = Crowd(arguments.plans, min(arguments.approved, arguments.plans), arguments.pods)
        figures = measure(installation, Path(folder), crowd)
    show(figures)
    record("restart", {name: _exact(value) for name, value in figures.items()})
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))
    return 0


def measure(installation: Installation, folder: Path, crowd: Crowd) -> Figures:
    """Fill the cluster, kill, start anew."""
    cluster = installation.cluster
    client = KubeClient.connect(cluster.kubeconfig)
    cluster.apply(light_policy())
    for number in range(NAMESPACES):
        labels = {"kfarm.dev/enforce": "true"}
        meta = {"name": namespace_of(number), "labels": labels}
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    operator = Operator(installation, folder / "first.log")
    with operator:
        say("farms")
        files = (part for name in FARMS for part in ("-f", str(_farm_file(name))))
        cluster.kubectl("apply", *files)
        for name in FARMS:
            wait_for(cluster, f"gpufarm/{name}", "condition=Ready", timeout_s=600)
        say(f"{crowd.plans} plans, {crowd.pods} pods")
        fill(client, crowd)
        say("until all is decided")
        until_still(operator)
        found = present(client)
        before = operator.memory_bytes() / 1e6
        operator.kill()
    say("restart")
    found |= {"memory_before_mb": before, **listed(client)}
    again = Operator(installation, folder / "second.log")
    try:
        return found | restart(again)
    finally:
        again.stop()


def fill(client: KubeClient, crowd: Crowd) -> None:
    """Plans over all farms, a gated pod for each, and pods that are no business of ours."""
    hosts = [f"host-{number}" for number in range(HOSTS)]
    each([lambda name=name: client.create(NODES, _host(name)) for name in hosts])  # type: ignore[misc]

    def planned(number: int) -> None:
        body = plan(f"plan-{number}", number)
        body["spec"]["farms"] = [{"kind": "GPUFarm", "name": WITH_B200[number % len(WITH_B200)]}]
        devices = 1 if number < crowd.approved else TOO_MANY
        body["spec"]["workloads"][0]["acceleratorsPerPod"] = devices
        client.create(PLANS, body, namespace_of(number))
        client.create(PODS, planned_pod(number, devices), namespace_of(number))

    each([lambda n=n: planned(n) for n in range(crowd.plans)])  # type: ignore[misc]
    foreign = [_pod(f"pod-{n}", hosts[n % HOSTS]) for n in range(crowd.pods - crowd.plans)]
    each([lambda b=b: client.create(PODS, b, "kube-system") for b in foreign])  # type: ignore[misc]


def planned_pod(number: int, devices: int) -> Body:
    """The pod of a plan; the policies add the gate."""
    name = f"plan-{number}"
    labels = {"kfarm.dev/placement-plan": name, "kfarm.dev/workload": "w"}
    resources = {"limits": {"nvidia.com/gpu": str(devices)}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace_of(number), "labels": labels},
        "spec": {
            "containers": [{"name": "main", "image": "example", "resources": resources}],
            "terminationGracePeriodSeconds": 0,
            "restartPolicy": "Never",
        },
    }


def present(client: KubeClient) -> Figures:
    """What is there when the operator is killed."""
    verdicts = Counter(
        body.get("status", {}).get("verdict", "none") for body in client.items(PLANS)
    )
    found = {f"plans_{name.lower()}": float(count) for name, count in sorted(verdicts.items())}
    pods = list(client.items(PODS))
    bound = sum(1 for pod in pods if pod["spec"].get("nodeName"))
    counts = {"plans": sum(verdicts.values()), "pods": len(pods), "pods_bound": bound}
    nodes = {"nodes": sum(1 for _ in client.items(NODES))}
    return found | {name: float(count) for name, count in (counts | nodes).items()}


def listed(client: KubeClient) -> Figures:
    """The baseline: one client lists the same objects once."""
    began = time.monotonic()
    for kind in (PLANS, PODS, NODES):
        for _ in client.items(kind):
            pass
    return {"bare_list_s": time.monotonic() - began}


class Peak:
    """Most memory that a process holds while the block lasts."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.most = 0

    def _watch(self) -> None:
        while not self._done.wait(ASK_S / 2):
            try:
                self.most = max(self.most, self._operator.memory_bytes())
            except (OSError, StopIteration):  # not started yet, or ending
                continue

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(10)


def restart(operator: Operator) -> Figures:
    """Start over what is there; the last of what it does ends the time to steady."""
    began = time.monotonic()
    with Peak(operator) as peak:
        operator.start()
        ready = time.monotonic() - began
        steady = at_rest(operator) - began
    return {
        "ready_s": ready,
        "steady_s": steady,
        "writes_after": own_writes(operator),
        "twin_runs_after": total(operator, "kfarm_twin_run_seconds_count"),
        "reconciles_after": total(operator, "kfarm_reconcile_seconds_count"),
        "memory_peak_mb": peak.most / 1e6,
        "memory_steady_mb": operator.memory_bytes() / 1e6,
    }


def at_rest(operator: Operator) -> float:
    """Wait until all was looked at once and nothing is asked for any more; when that was.

    Everything is looked at again after each re-list, so that looks alone never rest.
    """
    began = last = time.monotonic()
    asked, emptied = requests(operator), 0.0
    while not emptied or time.monotonic() - max(last, emptied) < STILL_S:
        if time.monotonic() - began > LIMIT_S:
            raise SystemExit(f"the operator did not come to rest within {LIMIT_S:.0f} s")
        time.sleep(ASK_S)
        if not emptied and not total(operator, "kfarm_queue_depth"):
            emptied = time.monotonic()
        now = requests(operator)
        if now != asked:
            last, asked = time.monotonic(), now
    return max(last, emptied)


def requests(operator: Operator) -> tuple[float, float]:
    """Writes, and questions to the twin, so far."""
    return own_writes(operator), total(operator, "kfarm_twin_run_seconds_count")


def _exact(value: float) -> float:
    """Counts as whole numbers."""
    return int(value) if value == int(value) else round(value, 2)


def show(figures: Figures) -> None:
    """Print the figures."""
    title = f"restart with {figures['plans']:.0f} plans and {figures['pods']:.0f} pods"
    table = Table("what", "kfarm", title=title)
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), f"{value:.2f}")
    Console(width=None if sys.stdout.isatty() else 110).print(table)


if __name__ == "__main__":
    sys.exit(main())
