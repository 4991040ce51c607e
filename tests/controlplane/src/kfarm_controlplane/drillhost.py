"""A local control plane on which drills are run: nodes that can die, an operator that is restarted.

The owner of the processes keeps a file with their ids, by which ``kfarm drill run --driver kwok``
finds the API server and the operator; the operator is started again when it is killed, as its
Deployment would do.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from kfarm_controlplane.client import Cluster
from kfarm_controlplane.cluster import ControlPlane, wait_until
from kfarm_controlplane.errors import ControlPlaneError
from kfarm_controlplane.installation import Installation, Operator, install, wait_for
from kfarm_controlplane.kernels import Kernels
from kfarm_controlplane.options import Options

CLUSTER_NAME = "local"
CONSENT = "kfarm.dev/drill=allowed"
LIMITS = {"maxNodes": "64", "maxPercent": "13", "domains": "16", "maxDuration": "30m"}
"""What the library needs at most: two leaf switches of 32 nodes in a cluster of 510."""
OPTIONS = Options(
    node_lease_seconds=40,
    node_monitor_grace_seconds=60,
    extra_arguments={"kube-controller-manager": ("--node-eviction-rate=1",)},
)
"""Heartbeats every 10 s, as kubelets send them; 10 s more grace than by default, for busy machines;
evictions at one node a second: at Kubernetes' 0.1, 64 nodes would take eleven minutes."""
_LOOK_S = 0.2
RUN_S = 1800.0


class DrillHost:
    """Control plane and chart for drills, with an operator from `prepare` on; a context manager.

    Parameters
    ----------
    chart
        Folder of the kfarm chart.
    work
        Folder for the operator's log, the file of processes and results.
    plane
        A control plane with choices of its own; one with `options` when None.
    kueue
        Whether Kueue is installed.
    """

    def __init__(
        self,
        chart: Path,
        work: Path,
        options: Options = OPTIONS,
        limits: Mapping[str, str] = LIMITS,
        plane: ControlPlane | None = None,
        *,
        kueue: bool = False,
    ) -> None:
        self._kueue = kueue
        self._chart, self._limits, self.work = chart, limits, work
        self.plane = plane or ControlPlane(options)
        self.processes = work / "processes.json"
        self.restarts = 0
        self.operator_start_s: float | None = None
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="operator's keeper", daemon=True)
        self._operator: Operator | None = None
        self._installation: Installation | None = None
        self._kernels = Kernels(work / "kernels.log")

    @property
    def cluster(self) -> Cluster:
        """The control plane."""
        return self.plane

    @property
    def installation(self) -> Installation:
        """The chart on it."""
        if self._installation is None:
            raise ControlPlaneError("the host of drills is not started.", "use it in a with.")
        return self._installation

    @property
    def operator(self) -> Operator:
        """The operator, which is started again when it dies."""
        if self._operator is None:
            raise ControlPlaneError("the operator is not started.", "prepare the ground.")
        return self._operator

    def __enter__(self) -> Self:
        self.work.mkdir(parents=True, exist_ok=True)
        self._kernels.start()
        self.plane.start()
        try:
            if self._kueue:
                self.plane.start_kueue()
            named = (f"drills.clusterName={CLUSTER_NAME}",)
            self._installation = install(self.plane, self._chart, values=named, drills=self._limits)
        except BaseException:
            self.plane.keep = True
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.plane.keep |= kind is not None
        self._stop()

    def _stop(self) -> None:
        self._stopping.set()
        self._kernels.stop()
        if self._keeper.is_alive():
            self._keeper.join()
        if self._operator is not None:
            self._operator.stop()
        self.processes.unlink(missing_ok=True)
        self.plane.stop()

    def _arguments(self) -> Iterator[str]:
        yield from ("--drill-kubeconfig", str(self.installation.drill))
        yield from ("--cluster-name", CLUSTER_NAME)
        yield from ("--drill-max-nodes", self._limits["maxNodes"])
        yield from ("--drill-max-percent", self._limits["maxPercent"])
        yield from ("--drill-domains", self._limits["domains"])
        yield from ("--drill-max-duration", self._limits["maxDuration"])

    def _publish(self) -> None:
        pids = {**self.plane.pids, "operator": self.operator.pid}
        partial = self.processes.with_suffix(".partial")
        partial.write_text(json.dumps({"pid": os.getpid(), "pids": pids}))
        partial.chmod(0o600)
        partial.rename(self.processes)

    def _keep(self) -> None:
        """Start the operator again whenever it has ended."""
        while not self._stopping.wait(_LOOK_S):
            if self.operator.process.poll() is None:
                continue
            with contextlib.suppress(ControlPlaneError):  # killed once more while it starts
                since = time.monotonic()
                self.restarts += 1
                self.operator.start()
                self._publish()
                self.operator_start_s = _LOOK_S / 2 + time.monotonic() - since

    def prepare(self, ground: Path, *further: Path) -> None:
        """Apply the ground, give consent for its nodes, and wait until its plans' pods run.

        What stands on it further is applied once they do, so that nothing races for nodes.

        Kernels may still be compiled meanwhile: nodes are made by the role farm, which does
        without. The whole operator starts when they are there.
        """
        bodies = _bodies(ground)
        with Operator(self.installation, self.work / "farms.log", role="farm"):
            self.cluster.kubectl("apply", "-f", str(ground))
            self._make_nodes([body for body in bodies if body["kind"] in ("GPUFarm", "NPUFarm")])
        self._kernels.wait()
        self._start_operator()
        self._wait_plans(bodies)
        for more in further:
            self.cluster.kubectl("apply", "-f", str(more))
            self._wait_plans(_bodies(more))

    def _wait_plans(self, bodies: Sequence[Mapping[str, Any]]) -> None:
        plans = [body for body in bodies if body["kind"] == "PlacementPlan"]
        for plan in plans:
            meta = plan["metadata"]
            where = ("-n", meta["namespace"])
            wait_for(self.cluster, f"placementplan/{meta['name']}", "condition=Released", *where,
                     timeout_s=300)  # fmt: skip
        for plan in plans:
            self._wait_running(plan)

    def _time_a_start(self) -> None:
        """Kill the operator once before a drill does: its first start may have waited for more."""
        self.operator.process.kill()
        wait_until(lambda: self.operator_start_s is not None, 120, "the operator to be back")

    def _make_nodes(self, farms: Sequence[Mapping[str, Any]]) -> None:
        for farm in farms:
            name = farm["metadata"]["name"]
            wait_for(self.cluster, f"{farm['kind'].lower()}/{name}", "condition=Ready",
                     timeout_s=300)  # fmt: skip
            self.cluster.kubectl("label", "nodes", "-l", f"kfarm.dev/farm={name}", CONSENT)

    def _start_operator(self) -> None:
        """Start it, and keep it running from now on."""
        log = self.work / "operator.log"
        self._operator = Operator(self.installation, log, *self._arguments())
        self._operator.start()
        self._publish()
        self._keeper.start()

    def _wait_running(self, plan: Mapping[str, Any]) -> None:
        meta = plan["metadata"]
        wanted = sum(workload["pods"] for workload in plan["spec"]["workloads"])
        wait_until(
            lambda: self.running(meta["namespace"], meta["name"]) == wanted,
            180,
            f"{wanted} running pods of {meta['name']}",
        )

    def running(self, namespace: str, plan: str) -> int:
        """Pods of a plan that run."""
        selector = f"kfarm.dev/placement-plan={plan}"
        pods = self.cluster.get("pods", "-n", namespace, "-l", selector)["items"]
        alive = (p for p in pods if not p["metadata"].get("deletionTimestamp"))
        return sum(p["status"].get("phase") == "Running" for p in alive)

    def command(self, files: Sequence[Path], save: Path, *, confirm: bool = True) -> list[str]:
        """The command that runs a drill here; one of mode Twin has nothing to confirm."""
        drills = (one for file in files for one in _bodies(file) if one["kind"] == "FailureDrill")
        confirm = confirm and all(drill["spec"].get("mode", "Twin") != "Twin" for drill in drills)
        return [
            sys.executable, "-m", "kfarm_operator.drillrun",
            *(part for file in files for part in ("-f", str(file))),
            *(("--confirm", CLUSTER_NAME) if confirm else ()),
            "--kubeconfig", str(self.cluster.kubeconfig),
            *self.driver(),
            *(part for delay in self._delays() for part in ("--delay", delay)),
            "--replace", "--save", str(save),
        ]  # fmt: skip

    def driver(self) -> Sequence[str]:
        """The arguments that name the driver."""
        return ("--driver", "kwok", "--processes", str(self.processes))

    def _delays(self) -> Iterator[str]:
        """What a prediction has to know of this control plane."""
        options = self.plane.options
        yield f"nodeMonitorGracePeriod={options.node_monitor_grace_seconds}s"
        yield f"leaseRenewInterval={options.node_lease_seconds / 4:g}s"
        for argument in options.extra_arguments.get("kube-controller-manager", ()):
            name, _, value = argument.partition("=")
            if name == "--node-eviction-rate":
                yield f"nodeEvictionRate={value}"
        if self.operator_start_s is not None:
            yield f"operatorStart={self.operator_start_s:.1f}s"

    def run(self, *files: Path, confirm: bool = True) -> tuple[int, dict[str, Any], str]:
        """Run a drill to its end.

        Returns
        -------
        tuple
            Exit code, the finished drill (empty when there is none), what was printed.
        """
        if self.operator_start_s is None and _kills_the_operator(files):
            self._time_a_start()
        save = self.work / f"{files[-1].stem}.json"
        save.unlink(missing_ok=True)
        done = subprocess.run(
            self.command(files, save, confirm=confirm),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=RUN_S,
        )  # fmt: skip
        body = json.loads(save.read_text("utf-8")) if save.exists() else {}
        return done.returncode, body, done.stdout


def _bodies(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [body for body in yaml.safe_load_all(file) if body]


def _kills_the_operator(files: Sequence[Path]) -> bool:
    drills = (body for file in files for body in _bodies(file) if body["kind"] == "FailureDrill")
    return any(fault["action"] == "OperatorKill" for d in drills for fault in d["spec"]["faults"])
