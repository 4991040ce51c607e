"""Speed of the twin's kube driver beside the real kube-scheduler, on the same cluster and pods.

``python bench/kube.py [--json FILE] [--quick]``. The real one runs on the real API server, without
detailed logs and with its client limits raised; its time is from the first to the last binding. The
twin's is CPU time of one process with compiled kernels: reading objects is reported apart. Asserts
nothing; figures depend on the machine, ratios much less.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NODES, PODS = 1000, 2000
SIZES = (1000, 4000, 16_000)
DECISIONS = 20_000
ZONES, APPS = 4, 10
_FEW, _MOST_SECONDS = 8, 600.0


@dataclass(frozen=True)
class Row:
    """One figure."""

    figure: str
    value: float
    unit: str
    ratio: float | None = None
    baseline: str = ""


def node(index: int) -> dict[str, Any]:
    """A node with eight devices in one of four zones."""
    name = f"bench-{index}"
    labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": f"z{index % ZONES}"}
    amounts = {"cpu": "96", "memory": "1Ti", "pods": "110", "nvidia.com/gpu": "8"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {"allocatable": amounts, "capacity": amounts},
    }


def pod(index: int, kind: str) -> dict[str, Any]:
    """A pod: `plain` asks for resources only; `spread` is also spread over zones and hosts."""
    app = f"app{index % APPS}"
    requests = {"cpu": f"{(index % APPS) * 100 + 500}m", "memory": "2Gi"}
    spec: dict[str, Any] = {
        "containers": [{"name": "main", "image": "example", "resources": {"requests": requests}}],
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
    }
    if kind == "spread":
        selector = {"matchLabels": {"app": app}}
        spec["topologySpreadConstraints"] = [
            {
                "maxSkew": skew,
                "topologyKey": key,
                "whenUnsatisfiable": when,
                "labelSelector": selector,
            }
            for skew, key, when in (
                (5, "topology.kubernetes.io/zone", "DoNotSchedule"),
                (1, "kubernetes.io/hostname", "ScheduleAnyway"),
            )
        ]
    metadata = {"name": f"{kind}-{index}", "namespace": "default", "labels": {"app": app}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def twin(nodes: int, pods: int, kind: str) -> dict[str, float]:
    """Describe, compile and schedule in this process; seconds of CPU and peak memory [MiB]."""
    from kfarm_twin.kube.describe import Described, make_cluster  # noqa: PLC0415
    from kfarm_twin.kube.driver import Outcome, Scheduler, schedule  # noqa: PLC0415
    from kfarm_twin.manifest_text import TextDocument  # noqa: PLC0415

    begun = time.process_time()
    here, wanted = Described(), Described()
    for index in range(nodes):
        here.add_body(Path("bench"), TextDocument(1), (), node(index))
    for index in range(pods):
        wanted.add_body(Path("bench"), TextDocument(1), (), pod(index, kind))
    cluster, waiting = make_cluster(here, wanted)
    described = time.process_time()
    Scheduler(cluster, waiting[:_FEW])  # kernels are loaded here
    schedule(Scheduler(cluster, waiting[:_FEW]), waiting[:_FEW], details=False)
    loaded = time.process_time()
    scheduler = Scheduler(cluster, waiting)
    made = time.process_time()
    gc.collect()
    gc.freeze()  # as the command line does
    compiled = time.process_time()
    decisions = schedule(scheduler, waiting, details=False)
    done = time.process_time()
    return {
        "describe_s": described - begun,
        "compile_s": made - loaded,
        "schedule_s": done - compiled,
        "placed": sum(d.outcome is Outcome.SCHEDULED for d in decisions),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def in_a_process(nodes: int, pods: int, kind: str) -> dict[str, float]:
    """`twin` in a process of its own."""
    command = [sys.executable, __file__, "--twin", str(nodes), str(pods), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def real(nodes: int, pods: int, kind: str) -> float:
    """Seconds that a real kube-scheduler takes to bind the pods, which all wait at its start."""
    from kfarm_controlplane.scheduling import SchedulingLab, lab_options  # noqa: PLC0415

    with SchedulingLab(lab_options(log=False)) as lab:
        lab.plane.stop_component("kube-scheduler")
        lab.create_many(node(index) for index in range(nodes))
        lab.create_many(pod(index, kind) for index in range(pods))
        lab.plane.start_component("kube-scheduler")
        return lab.binding_seconds(pods, _MOST_SECONDS)


def measure(*, quick: bool) -> list[Row]:
    """All figures."""
    rows: list[Row] = []
    for kind in ("plain", "spread"):
        ours = in_a_process(NODES, PODS, kind)
        rate = PODS / ours["schedule_s"]
        if quick:
            rows.append(Row(f"twin, {kind}", rate, "pods/s"))
        else:
            theirs = PODS / real(NODES, PODS, kind)
            rows.append(Row(f"kube-scheduler, {kind}", theirs, "pods/s", 1.0, "itself"))
            rows.append(Row(f"twin, {kind}", rate, "pods/s", rate / theirs, "kube-scheduler"))
        rows.append(Row(f"twin, {kind}: compile", ours["compile_s"], "s"))
    for kind in ("plain", "spread"):
        base = 0.0
        for nodes in SIZES:
            ours = in_a_process(nodes, DECISIONS, kind)
            cost = ours["schedule_s"] / DECISIONS * 1e6
            base = base or cost
            name = f"one decision, {kind}, {nodes} nodes"
            rows.append(Row(name, cost, "us", cost / base, f"{SIZES[0]} nodes"))
            rows.append(Row(f"peak memory, {kind}, {nodes} nodes", ours["peak_mib"], "MiB"))
    return rows


def print_table(rows: Sequence[Row], say: Callable[[str], object] = print) -> None:
    """One line for each figure."""
    say(f"{'figure':46}{'value':>14}  {'unit':8}{'ratio':>10}  baseline")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        say(f"{row.figure:46}{row.value:14.2f}  {row.unit:8}{ratio:>10}  {row.baseline}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="without the real scheduler")
    parser.add_argument("--twin", nargs=3, metavar=("NODES", "PODS", "KIND"))
    arguments = parser.parse_args()
    if arguments.twin:
        nodes, pods, kind = arguments.twin
        sys.stdout.write(json.dumps(twin(int(nodes), int(pods), kind)))
        return
    rows = measure(quick=arguments.quick)
    print_table(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps([vars(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
