"""kfarm on a cluster as a user installs it: the chart by Helm, the operator beside it.

No kubelet runs pods here, so the operator runs as a process, with the chart's own accounts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfarm_operator.gate_ready import Answer, gate_faults

from kfarm_controlplane.client import Cluster, KubectlError
from kfarm_controlplane.cluster import wait_until
from kfarm_controlplane.errors import ControlPlaneError
from kfarm_controlplane.ports import PortReservation
from kfarm_controlplane.process import kill_child, start_child, stop_child

RELEASE_NAMESPACE = "kfarm-system"
CLUSTER_NAME = "test"
"""What a drill's ``confirm`` has to say."""
LIMITS: Mapping[str, str] = {
    "maxNodes": "256", "maxPercent": "100", "domains": "64", "maxDuration": "4h",
}  # fmt: skip
PROBE_NAMESPACE = "kfarm-gate-probe"
START_S = 300.0
STOP_S = 20.0


@dataclass(frozen=True)
class Installation:
    """The chart installed on a cluster, and the kubeconfigs of its accounts."""

    cluster: Cluster
    gate: Path
    farm: Path
    whatif: Path
    drill: Path | None = None
    sweeper: Path | None = None


def install(
    cluster: Cluster, chart: Path, *, values: Sequence[str] = (), drills: Mapping[str, str] = LIMITS
) -> Installation:
    """Install CRDs, catalogue, gate and accounts, and wait until the gate holds.

    Parameters
    ----------
    chart
        Folder of the kfarm chart.
    values
        ``--set`` arguments for Helm.
    drills
        Limits of the installation on drills, as in the chart's ``drills.limits``; by default
        generous.

    Raises
    ------
    ControlPlaneError
        When Helm fails or the gate does not close within a minute.
    """
    limits = [f"drills.limits.{name}={value}" for name, value in drills.items()]
    armed = ["drills.enabled=true", f"drills.clusterName={CLUSTER_NAME}", *limits]
    options = ["operator.enabled=false", *armed, *values]
    command = [
        str(cluster.bin("helm")), "upgrade", "--install", "kfarm", str(chart),
        "--namespace", RELEASE_NAMESPACE, "--create-namespace",
        # CRDs may be there already, from another test or from kubectl apply -f crds/
        "--take-ownership",
        *(part for option in options for part in ("--set", option)),
    ]  # fmt: skip
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise ControlPlaneError(f"helm failed: {done.stderr.strip()}", "correct the chart.")
    wait_until(lambda: _gate_holds(cluster), 60, "the gate to close")
    return Installation(
        cluster,
        cluster.kubeconfig_for_service_account(RELEASE_NAMESPACE, "kfarm-gate"),
        cluster.kubeconfig_for_service_account(RELEASE_NAMESPACE, "kfarm-farm"),
        cluster.kubeconfig_for_service_account(RELEASE_NAMESPACE, "kfarm-whatif"),
        cluster.kubeconfig_for_service_account(RELEASE_NAMESPACE, "kfarm-drill"),
        cluster.kubeconfig_for_service_account(RELEASE_NAMESPACE, "kfarm-sweeper"),
    )


def _gate_holds(cluster: Cluster) -> bool:
    labels = {"kfarm.dev/enforce": "true"}
    namespace = {"apiVersion": "v1", "kind": "Namespace"}
    cluster.apply({**namespace, "metadata": {"name": PROBE_NAMESPACE, "labels": labels}})
    try:
        profiles = cluster.get("acceleratorprofiles")["items"]
    except KubectlError:
        return False
    resources = sorted({name for item in profiles for name in item["spec"]["resourceNames"]})

    def create(pod: Mapping[str, Any]) -> Answer:
        return _dry_run(cluster, pod)

    return bool(resources) and not gate_faults(create, PROBE_NAMESPACE, resources)


def _dry_run(cluster: Cluster, pod: Mapping[str, Any]) -> Answer:
    arguments = ("create", "--dry-run=server", "-o", "json", "-f", "-")
    try:
        return Answer(201, json.loads(cluster.kubectl(*arguments, input=json.dumps(pod))))
    except KubectlError as error:
        refused = "forbidden" in error.stderr.lower()
        return Answer(403 if refused else 422, {"message": error.stderr})


class Operator:
    """The operator as a process of its own; it ends with its parent at the latest."""

    def __init__(
        self,
        installation: Installation,
        log: Path,
        *arguments: str,
        role: str = "all",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._installation = installation
        self._arguments = (f"--role={role}", *arguments)
        self._environment = dict(environment or {})
        self._ports = PortReservation()
        self._port = self._ports.take()
        self._process: subprocess.Popen[bytes] | None = None
        self.log = log

    @property
    def pid(self) -> int:
        """Process number; 0 when it does not run."""
        return self._process.pid if self._process else 0

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        if self._process is None:
            raise ControlPlaneError("the operator does not run", "start it first.")
        return self._process

    def read(self, path: str) -> str:
        """What the process serves there, for example ``metrics`` or ``healthz?verbose``."""
        url = f"http://127.0.0.1:{self._port}/{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())

    def __enter__(self) -> Operator:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, *, detached: bool = False) -> None:
        """Start and wait until it is ready; `detached` lets it outlive its parent."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable, "-m", "kfarm_operator.main", *self._arguments,
            "--gate-kubeconfig", str(self._installation.gate),
            "--farm-kubeconfig", str(self._installation.farm),
            "--whatif-kubeconfig", str(self._installation.whatif),
            "--probes", f"127.0.0.1:{self._port}",
        ]  # fmt: skip
        environment = {**os.environ, **self._environment}
        with self.log.open("ab") as log:
            if detached:
                self._process = subprocess.Popen(
                    command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                    start_new_session=True, env=environment,
                )  # fmt: skip
            else:
                self._process = start_child(command, stdout=log, env=environment)
        wait_until(self._ready, START_S, f"the operator to be ready; its log is {self.log}")

    def _ready(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            code = self._process.returncode
            raise ControlPlaneError(f"the operator ended with {code}", f"read {self.log}.")
        return self.probe("readyz")

    def probe(self, name: str) -> bool:
        """Whether ``/readyz`` or ``/healthz`` answers 200."""
        url = f"http://127.0.0.1:{self._port}/{name}"
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False

    def stop(self) -> None:
        """Ask it to end, and kill it when it does not."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            stop_child(process, STOP_S)
        self._ports.release()

    def kill(self) -> None:
        """End it with SIGKILL."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            kill_child(process)
        self._ports.release()

    def memory_bytes(self) -> int:
        """Resident memory of the operator's own process, without the twin's."""
        return _resident_bytes(self.pid)

    def worker_memory_bytes(self) -> int:
        """Resident memory of the warm fork server beside it."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return sum(_resident_bytes(int(child)) for child in children)


def _resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def wait_for(
    cluster: Cluster, what: str, condition: str, *arguments: str, timeout_s: float
) -> None:
    """``kubectl wait`` with a deadline in seconds."""
    limit = f"--timeout={int(timeout_s)}s"
    cluster.kubectl("wait", what, f"--for={condition}", limit, *arguments, timeout=timeout_s + 10)
