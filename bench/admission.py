"""Kueue Workload reserved until its check is answered, beside a check that answers without looking.

The baseline is an AdmissionCheck of another controller on the same Workloads, which says Ready as
soon as it hears of the reservation, by the same client. A third check, which nobody answers, keeps
the gangs from starting, so that only answers are measured. The twin takes inputs as stated unless
`--draws` asks for draws of uncertain ones.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from kfarm_controlplane import Cluster, ControlPlane, wait_until
from kfarm_controlplane.installation import Operator, install, wait_for
from kfarm_operator.admission.kueue import ADMISSION_CHECKS, WORKLOADS
from kfarm_operator.client import ApiError, KubeClient
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
FARMS = ("nhn-cloud", "naver-cloud", "kakao")
NODES = 1642
GANG = 255
LIMIT_S = 300.0
NAMESPACE = "foundation-model"
GOAL_S = 2.0
Body = dict[str, Any]


@dataclass
class Seen:
    """When a Workload was first seen reserved, and each of its checks answered."""

    reserved: float | None = None
    answered: dict[str, float] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)


class Watcher(threading.Thread):
    """Notes when Workloads are reserved and answered, and plays the check that does not look."""

    def __init__(self, client: KubeClient) -> None:
        super().__init__(name="watcher", daemon=True)
        self._client = client
        self.seen: dict[str, Seen] = {}
        self.stopping = False

    def run(self) -> None:
        """Watch until told to stop."""
        while not self.stopping:
            try:
                page = next(self._client.pages(WORKLOADS))
                for body in page.get("items") or ():
                    self._note(body)
                for event in self._client.watch(WORKLOADS, page["metadata"]["resourceVersion"]):
                    if event["type"] in ("ADDED", "MODIFIED"):
                        self._note(event["object"])
            except ApiError:
                time.sleep(0.1)

    def _note(self, body: Body) -> None:
        now = time.monotonic()
        seen = self.seen.setdefault(body["metadata"]["name"], Seen())
        status = body.get("status") or {}
        reserved = any(
            c["type"] == "QuotaReserved" and c["status"] == "True"
            for c in status.get("conditions") or ()
        )
        if not reserved:
            return
        seen.reserved = seen.reserved or now
        for entry in status.get("admissionChecks") or ():
            if entry["state"] != "Pending":
                seen.answered.setdefault(entry["name"], now)
                seen.states.setdefault(entry["name"], f"{entry['state']}: {entry['message']}")
            elif entry["name"] == "at-once":
                self._answer(body)

    def _answer(self, body: Body) -> None:
        """Ready, whatever the placement; on a conflict the next event brings another try."""
        meta = {k: body["metadata"][k] for k in ("name", "namespace", "uid", "resourceVersion")}
        entry = {"name": "at-once", "state": "Ready", "message": "",
                 "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip
        ready = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "Workload", "metadata": meta,
                 "status": {"admissionChecks": [entry]}}  # fmt: skip
        try:
            self._client.apply(WORKLOADS, meta["name"], ready, manager="at-once",
                               namespace=meta["namespace"], sub="status")  # fmt: skip
        except ApiError as error:
            if not (error.conflict or error.not_found):
                raise


def main() -> int:
    """Measure and print; returns an exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="Workloads after the first")
    parser.add_argument(
        "--draws",
        type=int,
        default=0,
        help="draws of uncertain inputs, as in a policy's assumptions.draws",
    )
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    with ControlPlane() as plane, tempfile.TemporaryDirectory() as folder:
        plane.start_kueue()
        figures = measure(plane, Path(folder), arguments.rounds, arguments.draws)
    show(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))
    return 0


def measure(plane: ControlPlane, folder: Path, rounds: int, draws: int) -> dict[str, float]:
    """Gangs of 255 pods in the queue, one after the other."""
    installation = install(plane, ROOT / "charts/kfarm")
    client = KubeClient.connect(plane.kubeconfig)
    watcher = Watcher(client)
    with Operator(installation, folder / "operator.log"):
        _prepare(plane, client, draws)
        watcher.start()
        found = [_round(plane, watcher, number) for number in range(rounds + 1)]
        watcher.stopping = True
        client.close()
    twin = [seen.answered["twin"] - (seen.reserved or 0.0) for seen in found]
    base = [seen.answered["at-once"] - (seen.reserved or 0.0) for seen in found]
    return {
        "rounds": float(rounds),
        "twin_first_s": twin[0],
        "base_first_s": base[0],
        **_quantiles("twin", twin[1:]),
        **_quantiles("base", base[1:]),
    }


def _quantiles(name: str, values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, -(-len(ordered) * 95 // 100) - 1)]
    return {f"{name}_p50_s": statistics.median(ordered), f"{name}_p95_s": p95}


def _prepare(cluster: Cluster, client: KubeClient, draws: int) -> None:
    """Farms, policy, plan and queues; checks of others are called active by hand."""
    examples = ROOT / "examples"
    for name in FARMS:
        cluster.kubectl("apply", "-f", str(examples / f"farms/{name}.yaml"))
    for name in FARMS:
        wait_for(cluster, f"gpufarm/{name}", "condition=Ready", timeout_s=LIMIT_S)
    policy = yaml.safe_load((examples / "policies/standard.yaml").read_text())
    policy["spec"]["assumptions"] = {"draws": draws}
    cluster.apply(policy)
    cluster.kubectl("apply", "-f", str(examples / "workloads/namespaces.yaml"))
    plan = yaml.safe_load((examples / "plans/pretrain.yaml").read_text())
    plan["spec"]["placement"] = "Kueue"
    cluster.apply(plan, *_queues())
    for name in ("at-once", "never"):
        condition = {"type": "Active", "status": "True", "reason": "Active", "message": "",
                     "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip
        client.patch(ADMISSION_CHECKS, name, {"status": {"conditions": [condition]}}, sub="status")
    wait_until(lambda: _active(cluster), LIMIT_S, "the ClusterQueue to be active")


def _active(cluster: Cluster) -> bool:
    conditions = cluster.get("clusterqueue", "farm").get("status", {}).get("conditions", ())
    return any(c["type"] == "Active" and c["status"] == "True" for c in conditions)


def _queues() -> list[Body]:
    """One flavor over the farm that the plan names, behind three checks."""
    levels = ("kfarm.dev/cluster", "kfarm.dev/scalable-unit", "kfarm.dev/rack",
              "kubernetes.io/hostname")  # fmt: skip
    taint = {"key": "kfarm.dev/farm", "operator": "Exists", "effect": "NoSchedule"}
    nodes = {"kfarm.dev/cluster": "nhn-cloud-b200-510"}
    parameters = {"apiGroup": "kfarm.dev", "kind": "ValidationPolicy", "name": "standard"}
    quotas = [{"name": name, "nominalQuota": quota} for name, quota in
              (("cpu", "1M"), ("memory", "10Pi"), ("nvidia.com/gpu", "100k"))]  # fmt: skip
    group = {"coveredResources": [quota["name"] for quota in quotas],
             "flavors": [{"name": "b200", "resources": quotas}]}  # fmt: skip
    checks = [{"name": name} for name in ("twin", "at-once", "never")]
    return [
        _object("Topology", "farm", {"levels": [{"nodeLabel": level} for level in levels]}),
        _object("ResourceFlavor", "b200", {"nodeLabels": nodes,
                                           "tolerations": [taint], "topologyName": "farm"}),
        _object("AdmissionCheck", "twin", {"controllerName": "kfarm.dev/twin",
                                           "parameters": parameters}),
        _object("AdmissionCheck", "at-once", {"controllerName": "example.com/at-once"}),
        _object("AdmissionCheck", "never", {"controllerName": "example.com/never"}),
        _object("ClusterQueue", "farm", {"namespaceSelector": {}, "resourceGroups": [group],
                                         "admissionChecksStrategy": {"admissionChecks": checks}}),
        _object("LocalQueue", "main", {"clusterQueue": "farm"}, NAMESPACE),
    ]  # fmt: skip


def _object(kind: str, name: str, spec: Body, namespace: str | None = None) -> Body:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind, "metadata": metadata,
            "spec": spec}  # fmt: skip


def _round(cluster: Cluster, watcher: Watcher, number: int) -> Seen:
    """Queue one gang, wait for both answers, and take it away again."""
    job = yaml.safe_load((ROOT / "examples/workloads/pretrain.yaml").read_text())
    job["metadata"] |= {"name": f"gang-{number}", "labels": {"kueue.x-k8s.io/queue-name": "main"}}
    job["spec"]["suspend"] = True
    level = {"kueue.x-k8s.io/podset-required-topology": "kfarm.dev/cluster"}
    job["spec"]["template"]["metadata"]["annotations"] = level
    before = set(watcher.seen)
    cluster.apply(job)

    def answered() -> bool:
        new = [seen for name, seen in list(watcher.seen.items()) if name not in before]
        return any({"twin", "at-once"} <= seen.answered.keys() for seen in new)

    wait_until(answered, LIMIT_S, "both answers")
    (found,) = (seen for name, seen in list(watcher.seen.items()) if name not in before)
    if not found.states["twin"].startswith("Ready"):
        raise RuntimeError(f"the twin said {found.states['twin']}; only approvals are measured")
    cluster.kubectl("delete", "job", f"gang-{number}", "-n", NAMESPACE, "--wait=true")
    wait_until(lambda: not _claims(cluster), LIMIT_S, "the claim to fall")
    return found


def _claims(cluster: Cluster) -> list[Body]:
    ledger = cluster.get("nodeledger", "gpufarm.nhn-cloud")
    return list(ledger["spec"].get("claims") or ())


def show(figures: dict[str, float]) -> None:
    """Print the figures beside the baseline."""
    title = f"Workload of {GANG} pods reserved → check answered, {NODES:,} nodes, seconds"
    table = Table("what", "twin", "answered at once", "ratio", title=title)
    for what, name in (("first", "first"), ("p50 warm", "p50"), ("p95 warm", "p95")):
        twin, base = figures[f"twin_{name}_s"], figures[f"base_{name}_s"]
        table.add_row(what, f"{twin:.2f}", f"{base:.3f}", f"{twin / base:.0f}")
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    good = "kept" if figures["twin_p95_s"] <= GOAL_S else "missed"
    Console().print(f"goal p95 <= {GOAL_S:g} s: {good}; {figures['rounds']:.0f} warm rounds")


if __name__ == "__main__":
    sys.exit(main())
