"""The whole path on a local control plane: farms, plans, verdicts, pods on validated nodes.

``make demo`` runs it and cleans up; ``make demo-keep`` leaves the cluster and the operator up.
Where no control plane can be had, the same farms and plans are validated by the twin alone.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kfarm_controlplane import (
    Cluster,
    ControlPlane,
    ControlPlaneUnavailable,
    ExternalControlPlane,
    cache_directory,
    supervisor,
)
from kfarm_controlplane.installation import Installation, Operator, install, wait_for
from kfarm_controlplane.kernels import Kernels
from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
FARMS = ("nhn-cloud", "naver-cloud", "kakao", "gwangju-npu")
APPROVED = (("foundation-model", "pretrain"), ("npu-serving", "npu-chat"))
REJECTED = ("foundation-model", "pretrain-kakao")
CONSOLE = Console(highlight=False, width=None if sys.stdout.isatty() else 110)


def main() -> int:
    """Run the demo; returns an exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave cluster and operator running")
    parser.add_argument("--down", action="store_true", help="stop what --keep left running")
    arguments = parser.parse_args()
    work = cache_directory().parent / "demo"
    work.mkdir(parents=True, exist_ok=True)
    if arguments.down:
        return _down(work)
    try:
        return _run(work, keep=arguments.keep)
    except ControlPlaneUnavailable as error:
        if os.environ.get("KFARM_REQUIRE_CLUSTER") == "1":
            raise
        return _twin_only(work, error)


def _run(work: Path, *, keep: bool) -> int:
    began = time.monotonic()
    with Kernels(work / "kernels.log") as kernels, _cluster(work, keep=keep) as cluster:
        step(began, "The control plane is up: API server, scheduler, controllers, KWOK")
        installation = install(cluster, ROOT / "charts/kfarm")
        step(began, "The chart is installed: CRDs, catalogue, admission policies, two accounts")
        kernels.wait()
        operator = Operator(installation, work / "operator.log")
        operator.start(detached=keep)
        try:
            step(began, f"The operator runs (pid {operator.pid}); its log is {operator.log}")
            wait_for(cluster, "acceleratorprofiles", "condition=Ready", "--all", timeout_s=60)
            show(cluster, "get", "acceleratorprofiles")
            _walk(began, installation, work)
            if keep:
                (work / "operator.pid").write_text(str(operator.pid))
                _say_how_to_go_on(cluster)
        finally:
            if not keep:
                operator.stop()
    return 0


def _walk(began: float, installation: Installation, work: Path) -> None:
    cluster = installation.cluster
    since = time.monotonic()
    apply(cluster, *(f"farms/{name}.yaml" for name in FARMS))
    for name in FARMS:
        kind = "npufarm" if name.endswith("npu") else "gpufarm"
        wait_for(cluster, f"{kind}/{name}", "condition=Ready", timeout_s=300)
    step(began, f"The farms' Nodes are Ready, {time.monotonic() - since:.1f} s after apply")
    show(cluster, "get", "gpufarms,npufarms")
    apply(cluster, "policies", "workloads/namespaces.yaml")
    apply(cluster, "workloads/pretrain.yaml", "workloads/npu-chat.yaml")
    apply(cluster, "workloads/pretrain-kakao.yaml")
    step(began, "The pods were created before any verdict: the API server gates them all")
    show(cluster, "get", "pods", "-n", "foundation-model", "--sort-by=.metadata.name", rows=4)
    since = time.monotonic()
    apply(cluster, "plans")
    for namespace, name in APPROVED:
        wait_for(cluster, f"placementplan/{name}", "condition=Released", "-n", namespace,
                 timeout_s=300)  # fmt: skip
    namespace, name = REJECTED
    wait_for(cluster, f"placementplan/{name}", "jsonpath={.status.verdict}=Rejected",
             "-n", namespace, timeout_s=300)  # fmt: skip
    step(began, f"Verdicts given and pods bound, {time.monotonic() - since:.1f} s after the plans")
    show(cluster, "get", "placementplans", "-A")
    _show_messages(cluster)
    _check_places(began, cluster)
    _report(began, installation, work)


def _show_messages(cluster: Cluster) -> None:
    for namespace, name in (*APPROVED, REJECTED):
        status = cluster.get("placementplan", name, "-n", namespace)["status"]
        CONSOLE.print(f"\n[bold]{namespace}/{name}: {status['verdict']}[/]")
        CONSOLE.print(status["message"], markup=False)
        for row in (*status.get("checks", ()), *status.get("survives", ())):
            lead = f"{row['fault']}: " if "fault" in row else ""
            CONSOLE.print(f"  {row['result']:<7}{lead}{row['message']}", markup=False)


def _check_places(began: float, cluster: Cluster) -> None:
    """Hold the pods against the verdicts; a difference ends the demo."""
    for namespace, name in APPROVED:
        plan = cluster.get("placementplan", name, "-n", namespace)
        pods = _pods(cluster, namespace, name)
        validated = sorted(s["node"] for p in plan["status"]["placements"] for s in p["slots"])
        bound = sorted(pod["spec"].get("nodeName", "") for pod in pods)
        if bound != validated:
            raise SystemExit(f"{namespace}/{name}: bound to {bound[:3]}…, not as validated")
        step(began, f"{namespace}/{name}: {len(bound)} pods are bound to just the validated nodes")
    waiting = [pod for pod in _pods(cluster, *REJECTED) if pod["spec"].get("schedulingGates")]
    if len(waiting) != 255:
        raise SystemExit(f"{len(waiting)} of 255 pods of the rejected plan are gated")
    step(began, f"{'/'.join(REJECTED)}: rejected; its {len(waiting)} pods are still gated")


def _pods(cluster: Cluster, namespace: str, plan: str) -> list[dict[str, Any]]:
    selector = f"kfarm.dev/placement-plan={plan}"
    items: list[dict[str, Any]] = cluster.get("pods", "-n", namespace, "-l", selector)["items"]
    return items


def _report(began: float, installation: Installation, work: Path) -> None:
    """Reproduce the verdict on the laptop from files alone, and draw it."""
    reports = {}
    for namespace, name in (APPROVED[0], REJECTED):
        report = work / f"{name}.html"
        verdict = _validate(name, report)
        seen = installation.cluster.get("placementplan", name, "-n", namespace)["status"]
        if verdict["verdict"] != seen["verdict"]:
            raise SystemExit(f"{name}: the laptop says {verdict['verdict']}, the cluster "
                             f"{seen['verdict']}")  # fmt: skip
        reports[name] = report
    step(began, "kfarm validate on the same files, without the cluster, gives the same verdicts")
    CONSOLE.print("\nReports to open in a browser:")
    for name, report in reports.items():
        CONSOLE.print(f"  {name}: {report}", soft_wrap=True)
    CONSOLE.print("Next: make demo-keep leaves the cluster up; docs/architecture.md shows the path")


def _validate(plan: str, report: Path) -> dict[str, Any]:
    files = [part for name in ("catalogue", "farms", "policies", "plans")
             for part in ("-f", str(ROOT / "examples" / name))]  # fmt: skip
    done = subprocess.run(
        [str(Path(sys.executable).parent / "kfarm"), "validate", *files, "--plan", plan,
         "--report", str(report), "-o", "json"],
        stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode not in (0, 1):
        raise SystemExit(f"kfarm validate ended with {done.returncode}")
    parsed = json.loads(done.stdout)
    first: dict[str, Any] = parsed["results"][0]
    return first


def _twin_only(work: Path, error: ControlPlaneUnavailable) -> int:
    CONSOLE.print("No control plane; the twin alone validates the same farms and plans.\n")
    for _, name in (*APPROVED, REJECTED):
        verdict = _validate(name, work / f"{name}.html")
        CONSOLE.print(f"[bold]{name}: {verdict['verdict']}[/]")
        CONSOLE.print(verdict["message"], markup=False)
        CONSOLE.print(f"  report: {work / f'{name}.html'}\n", soft_wrap=True)
    CONSOLE.print("Left out: Nodes, pods and their release on a real control plane.")
    CONSOLE.print(f"How to get it: {error}", markup=False)
    return 0


@contextmanager
def _cluster(work: Path, *, keep: bool) -> Iterator[Cluster]:
    given = os.environ.get("KFARM_TEST_KUBECONFIG")
    if given:
        yield ExternalControlPlane(Path(given).expanduser().absolute(), work)
    elif keep:
        state = supervisor.up(work / "cluster")
        yield ExternalControlPlane(Path(state.kubeconfig), work)
    else:
        with ControlPlane() as plane:
            yield plane


def _say_how_to_go_on(cluster: Cluster) -> None:
    CONSOLE.print("\nThe cluster and the operator stay up. To look around:")
    CONSOLE.print(f"  export KUBECONFIG={cluster.kubeconfig}", soft_wrap=True)
    CONSOLE.print(f"  alias kubectl={cluster.bin('kubectl')}", soft_wrap=True)
    CONSOLE.print("  kubectl get pplan -A\nTo stop both: make cluster-down")


def _down(work: Path) -> int:
    """Stop the operator and the cluster that --keep left; fine when there are none."""
    file = work / "operator.pid"
    if file.exists():
        pid = int(file.read_text())
        command = Path(f"/proc/{pid}/cmdline")
        if command.exists() and b"kfarm_operator" in command.read_bytes():
            os.kill(pid, signal.SIGTERM)
        file.unlink()
    stopped = supervisor.down(work / "cluster")
    CONSOLE.print("demo cluster stopped" if stopped else "no demo cluster was running")
    return 0


def step(began: float, text: str) -> None:
    """Print one line of progress with the time since the start."""
    CONSOLE.print(f"\n[bold green]==> {time.monotonic() - began:6.1f} s[/] {text}", soft_wrap=True)


def show(cluster: Cluster, *arguments: str, rows: int | None = None) -> None:
    """Print a kubectl command and what it answers."""
    CONSOLE.print(f"[dim]$ kubectl {' '.join(arguments)}[/]", soft_wrap=True)
    lines = cluster.kubectl(*arguments).rstrip().splitlines()
    kept = lines if rows is None else lines[: rows + 1]
    for line in kept:
        CONSOLE.print(line, markup=False, soft_wrap=True)
    if len(kept) < len(lines):
        CONSOLE.print(f"… {len(lines) - len(kept)} more")


def apply(cluster: Cluster, *names: str) -> None:
    """``kubectl apply`` files or folders of the examples."""
    files = [part for name in names for part in ("-f", str(ROOT / "examples" / name))]
    CONSOLE.print(f"[dim]$ kubectl apply {' '.join(f'-f examples/{name}' for name in names)}[/]",
                  soft_wrap=True)  # fmt: skip
    cluster.kubectl("apply", *files)


if __name__ == "__main__":
    sys.exit(main())
