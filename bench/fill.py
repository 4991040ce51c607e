"""Speed and memory of placement on shared GPUs, beside the plain-Python reference in the same run.

``python bench/fill.py [--json FILE]`` prints tables; nothing is asserted. Fills the openb cluster
(found through KFARM_SHARED) up to 130 % of demand under each policy. Each figure comes from a
process of its own; kernels are cached in a temporary directory, so that cold means cold. Times are
CPU seconds of one core. The reference is timed on the first decisions only, and counts fragments in
fractions: its FGD is slower than a plain program need be.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
LISTS = Path(os.environ.get("KFARM_SHARED", ROOT.parent / "shared")) / "traces/openb"
POLICIES = (
    "random", "first-fit", "best-fit", "spread", "dotprod", "gpu-clustering", "gpu-packing", "fgd",
)  # fmt: skip
SIZES = (1_000, 4_000, 16_000, 64_000)
GROWN = ("best-fit", "spread", "fgd")
SEED, TUNE, UNTIL = 42, 1.3, 130
REPEATS = 5
NAIVE_DECISIONS = {"fgd": 8}
NAIVE_DEFAULT = 100
MEBI = 1024.0


def _experiment(nodes: int | None = None) -> Any:
    """The default list on the cluster, or on so many nodes made by repeating it."""
    from kfarm_twin.fill import Experiment  # noqa: PLC0415 - numba
    from kfarm_twin.traces.openb import read_openb_nodes, read_openb_pods  # noqa: PLC0415

    listed = read_openb_nodes(LISTS / "openb_node_list_gpu_node.csv")
    pods = read_openb_pods(LISTS / "openb_pod_list_default.csv.gz")
    if nodes is not None:
        place = np.arange(nodes) % listed.gpus.size
        listed = replace(
            listed,
            names=np.array([f"n{node:06}" for node in range(nodes)]),
            cpu_milli=listed.cpu_milli[place],
            memory_mib=listed.memory_mib[place],
            gpus=listed.gpus[place],
            model=listed.model[place],
        )
    return Experiment(listed, pods, TUNE, UNTIL)


def _resident_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEBI


def _least(function: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def measure_policy(policy: str) -> dict[str, float]:
    """One experiment: draw, fill, curves; the first call compiles or loads the kernels."""
    start = time.process_time()
    from kfarm_twin.sharing import SharePolicy  # noqa: PLC0415 - numba

    experiment, rule = _experiment(), SharePolicy(policy)
    filling = experiment.run(rule, SEED)
    first = time.process_time() - start
    return {
        "start_to_curve_s": first,
        "experiment_s": _least(lambda: experiment.run(rule, SEED), REPEATS),
        "arrivals": filling.nodes.size,
        "resident_mib": _resident_mib(),
    }


def measure_grown(policy: str, nodes: int) -> dict[str, float]:
    """Cost of a decision on a cluster of so many nodes, filled from empty to 130 % of demand."""
    from kfarm_twin.sharing import Pool, SharePolicy, node_columns  # noqa: PLC0415 - numba

    experiment = _experiment(nodes)
    listed, rule = experiment.nodes, SharePolicy(policy)
    pods, rank = experiment.order(SEED)
    arrivals = experiment.kinds.of_pod[pods]
    columns = node_columns(listed.cpu_milli, listed.memory_mib, listed.gpus, listed.model, rank)

    def fresh() -> Any:
        return Pool(rule, SEED, columns, experiment.kinds.types, experiment.mix)

    fresh().fill(arrivals[:1])
    pool = fresh()
    start = time.process_time()
    pool.fill(arrivals)
    seconds = time.process_time() - start
    return {
        "arrivals": arrivals.size,
        "fill_s": seconds,
        "decision_us": seconds / arrivals.size * 1e6,
        "columns_mib": sum(column.nbytes for column in (*pool.state, *pool.index)) / MEBI**2,
        "resident_mib": _resident_mib(),
    }


def measure_naive(policy: str) -> dict[str, float]:
    """Cost of a decision of the plain-Python reference, on the empty cluster."""
    from kfarm_twin.sharing import popular  # noqa: PLC0415 - numba

    naive = runpy.run_path(str(ROOT / "tests/sharing_naive.py"))
    experiment = _experiment()
    listed = experiment.nodes
    pods, rank = experiment.order(SEED)
    rows = zip(listed.cpu_milli, listed.memory_mib, listed.gpus, listed.model, rank, strict=True)
    nodes = [
        naive["Node"](int(cpu), int(memory), listed.models[model], [1000] * int(gpus), int(place))
        for cpu, memory, gpus, model, place in rows
    ]
    cluster = naive["Cluster"](policy, SEED, nodes, popular(experiment.needs))
    decisions = NAIVE_DECISIONS.get(policy, NAIVE_DEFAULT)
    start = time.process_time()
    for pod in pods[:decisions]:
        need = experiment.needs[pod]
        found = cluster.choose(need)
        if found is not None:
            cluster.take(need, *found)
    return {"decision_us": (time.process_time() - start) / decisions * 1e6}


def _in_process(cache: Path, *arguments: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", *arguments]
    environment = os.environ | {"KFARM_CACHE": str(cache)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def collect(show: Callable[[str], None]) -> dict[str, Any]:
    """All measurements."""
    found: dict[str, Any] = {"cpus": os.cpu_count(), "load_at_start": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        show("compiling the kernels from nothing")
        found["cold"] = _in_process(cache, "policy", "fgd")
        for policy in POLICIES:
            show(f"warm, {policy}, and the plain-Python reference")
            found[policy] = _in_process(cache, "policy", policy)
            found[policy]["naive_decision_us"] = _in_process(cache, "naive", policy)["decision_us"]
        for policy in GROWN:
            for size in SIZES:
                show(f"{policy}, {size:,} nodes")
                found[f"{policy} {size}"] = _in_process(cache, "grown", policy, str(size))
    return found


def policies_table(found: dict[str, Any]) -> Table:
    """Seconds for each experiment, beside the reference."""
    shown = Table(
        "policy", "experiment [s]", "decision [us]", "reference [us]", "faster by", "MiB",
        title="openb default list, 1,213 nodes, up to 130 % of demand, CPU time, warm",
    )  # fmt: skip
    for policy in POLICIES:
        row = found[policy]
        decision = row["experiment_s"] / row["arrivals"] * 1e6
        shown.add_row(
            policy,
            f"{row['experiment_s']:.3f}",
            f"{decision:.2f}",
            f"{row['naive_decision_us']:,.0f}",
            f"{row['naive_decision_us'] / decision:,.0f} x",
            f"{row['resident_mib']:.0f}",
        )
    cold = found["cold"]
    shown.caption = (
        f"first curve with compilation {cold['start_to_curve_s']:.1f} s, from cache "
        f"{found['fgd']['start_to_curve_s']:.1f} s; {found['cpus']} CPUs, load at start "
        f"{found['load_at_start']:.1f}"
    )
    return shown


def growth_table(found: dict[str, Any]) -> Table:
    """Cost of a decision as nodes grow."""
    shown = Table(
        "policy", "nodes", "arrivals", "decision [us]", "state and index [MiB]", "resident [MiB]",
        title="nodes by repeating the list, filled from empty; first decisions of a type included",
    )  # fmt: skip
    for policy in GROWN:
        for size in SIZES:
            row = found[f"{policy} {size}"]
            shown.add_row(
                policy,
                f"{size:,}",
                f"{row['arrivals']:,.0f}",
                f"{row['decision_us']:.2f}",
                f"{row['columns_mib']:.1f}",
                f"{row['resident_mib']:.0f}",
            )
        shown.add_section()
    return shown


def measure(what: str, policy: str, *more: str) -> dict[str, float]:
    """One measurement, in this process."""
    if what == "grown":
        return measure_grown(policy, int(more[0]))
    return measure_naive(policy) if what == "naive" else measure_policy(policy)


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        sys.stdout.write(json.dumps(measure(*options.measure)))
        return
    console = Console()
    if not LISTS.is_dir():
        console.print(f"public data not here: {LISTS}; set KFARM_SHARED to the folder that has it")
        return
    found = collect(lambda step: console.print(f"… {step}", highlight=False))
    console.print(policies_table(found))
    console.print(growth_table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
