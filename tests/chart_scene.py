"""The chart on a cluster: the version before, the way up from it, and what is there meanwhile."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kfarm_controlplane.client import Cluster, KubectlError
from kfarm_controlplane.helm import Helm

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts/kfarm"
PREVIOUS = ROOT / "tests/data/kfarm-0.1.0.tgz"
SYSTEM = "kfarm-system"
OURS = "app.kubernetes.io/instance=kfarm"
CUSTOM = ("placementplans", "twinruns", "gpufarms", "npufarms", "validationpolicies",
          "acceleratorprofiles", "nodeledgers")  # fmt: skip
Body = dict[str, Any]


def kfarm(kind: str, name: str, spec: Body, namespace: str | None = None) -> Body:
    """An object of kfarm's group."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": "kfarm.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def namespace(name: str, **labels: str) -> Body:
    """A namespace with labels; ``enforce`` stands for ours."""
    named = {("kfarm.dev/enforce" if key == "enforce" else key): v for key, v in labels.items()}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": named}}


def device_pod(name: str, where: str) -> Body:
    """A pod that asks for a device and names no plan."""
    limits = {"nvidia.com/gpu": "8"}
    container = {"name": "main", "image": "example", "resources": {"limits": limits}}
    metadata = {"name": name, "namespace": where}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "spec": {"containers": [container]}}  # fmt: skip


def identities(cluster: Cluster, kinds: Iterable[str] = CUSTOM) -> dict[str, tuple[str, str]]:
    """Uid and spec of all custom objects, by kind, namespace and name."""
    found = {}
    for item in cluster.get(",".join(kinds), "-A")["items"]:
        meta = item["metadata"]
        key = f"{item['kind']}/{meta.get('namespace', '')}/{meta['name']}"
        found[key] = (meta["uid"], json.dumps(item["spec"], sort_keys=True))
    return found


def labelled(cluster: Cluster) -> set[str]:
    """Every object of the release that is not its own kind of custom object, as Kind/name."""
    listed = cluster.kubectl("api-resources", "--verbs=list", "-o", "name").split()
    names = [
        name for name in listed if not name.endswith((".kfarm.dev", "events", "events.k8s.io"))
    ]
    items = cluster.get(",".join(names), "-A", "-l", OURS)["items"]
    return {f"{item['kind']}/{item['metadata']['name']}" for item in items}


def helm_upgrade(helm: Helm, chart: Path, *arguments: str) -> str:
    """``helm upgrade --install`` as the documentation has it."""
    where = ("--namespace", SYSTEM, "--create-namespace")
    return helm("upgrade", "--install", "kfarm", str(chart), *where, *arguments)


class GateProbe:
    """Asks without pause whether a pod with a device gets past the gate, by dry run."""

    def __init__(self, cluster: Cluster, where: str) -> None:
        self._cluster = cluster
        self._pod = json.dumps(device_pod("probe", where))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gate-probe", daemon=True)
        self.asked = 0
        self.past: list[Body] = []

    def ask(self) -> bool:
        """Whether a pod is held: gated, or refused."""
        arguments = ("create", "--dry-run=server", "-o", "json", "-f", "-")
        try:
            body = json.loads(self._cluster.kubectl(*arguments, input=self._pod))
        except KubectlError as error:
            if "forbidden" not in error.stderr.lower():
                raise
            return True
        gates = [gate["name"] for gate in body["spec"].get("schedulingGates", ())]
        held = "kfarm.dev/twin-validated" in gates
        if not held:
            self.past.append(body)
        return held

    def _run(self) -> None:
        while not self._stop.is_set():
            self.ask()
            self.asked += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(60)
