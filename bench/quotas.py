"""Speed of queues with quotas, beside the plain-Python reference in the same run.

``python bench/quotas.py [--json FILE]`` prints tables; nothing is asserted. Trees of ClusterQueues,
eight to a cohort under one root, with borrowing, lending and reclaim, are offered seven
tenths of what they have. Each figure comes from a process of its own; kernels are cached in a
temporary directory, so that cold means cold. Times are CPU seconds of one core. The reference plays
a small case.
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
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
GPU, SECOND, MILLI = "nvidia.com/gpu", 10**9, 1000
QUEUES = (10, 100, 1_000)
JOBS = 100_000
SMALL_QUEUES, SMALL_JOBS = 10, 300
QUOTA = 64
"""Devices of each queue."""
RUN_S = 600
"""Mean run time [s]; exponential."""
LOAD = 0.7
"""Device time offered, over nominal quota."""
EVICTION_S = 30
"""Kubernetes' grace period."""
SIZES = (1, 2, 4, 8, 16)
SEED = 42
MEBI = 1024.0


def tree_of(queues: int) -> Any:
    """Queues under cohorts of eight under one root; every second lends half of its quota."""
    from kfarm_twin.quota_tree import (  # noqa: PLC0415 - numba
        Cohort,
        Flavor,
        Group,
        Preempt,
        Queue,
        QueueTree,
        Quota,
    )

    made = []
    for row in range(queues):
        lending = QUOTA // 2 * MILLI if row % 2 else None
        quota = {GPU: Quota(QUOTA * MILLI, 2 * QUOTA * MILLI, lending)}
        groups = (Group((GPU,), (("h100", quota),)),)
        name, cohort = f"q{row:04}", f"c{row // 8:04}"
        made.append(Queue(name, groups, cohort, within=Preempt.LOWER_PRIORITY, reclaim=Preempt.ANY))
    cohorts = [Cohort(name, "all") for name in sorted({str(queue.cohort) for queue in made})]
    return QueueTree(tuple(made), (Cohort("all"), *cohorts), (Flavor("h100"),))


def jobs_of(queues: int, count: int) -> Any:
    """Poisson arrivals of gangs of 1 to 16 devices in random queues, of three priorities."""
    from kfarm_twin.jobs import Jobs  # noqa: PLC0415 - numpy

    draw = np.random.default_rng(SEED)
    gap_s = np.mean(SIZES) * RUN_S / (LOAD * QUOTA * queues)
    submit = np.cumsum(draw.exponential(gap_s * SECOND, count)).astype(np.int64)
    run = (draw.exponential(RUN_S * SECOND, count)).astype(np.int64) + SECOND
    one = np.ones(count, np.int64)
    return Jobs(
        submit_ns=submit,
        run_ns=run,
        limit_ns=run,
        pods=one,
        gpus=draw.choice(SIZES, count),
        gpu_milli=one * MILLI,
        cpu_milli=one * 0,
        memory_mib=one * 0,
        priority=draw.choice(3, count, p=(0.7, 0.2, 0.1)),
        queue=draw.integers(0, queues, count),
        models=one * 0,
    )


def measure_driver(queues: int, count: int, fair: bool) -> dict[str, float]:
    """The whole replay; the first call compiles or loads the kernels."""
    start = time.process_time()
    from kfarm_twin.quotas import Event, QuotaOptions, replay_quotas  # noqa: PLC0415 - numba

    options = QuotaOptions(fair_sharing=fair, eviction_ns=EVICTION_S * SECOND)
    few = tree_of(SMALL_QUEUES)
    replay_quotas(jobs_of(SMALL_QUEUES, 10), few, [q.name for q in few.queues], options)
    first = time.process_time() - start
    tree, jobs = tree_of(queues), jobs_of(queues, count)
    names = [queue.name for queue in tree.queues]
    start = time.process_time()
    played = replay_quotas(jobs, tree, names, options)
    seconds = time.process_time() - start
    return {
        "first_s": first,
        "replay_s": seconds,
        "cycles": played.cycles,
        "decisions": int((played.log_kind <= Event.PREEMPTED).sum()),
        "preemptions": int(played.preemptions.sum()),
        "resident_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEBI,
    }


def measure_reference(queues: int, count: int, fair: bool) -> dict[str, float]:
    """The plain reference on the same jobs."""
    from kfarm_twin.policy.quota import FAR  # noqa: PLC0415 - numba
    from kfarm_twin.quotas import QuotaOptions  # noqa: PLC0415 - numba

    naive = runpy.run_path(str(ROOT / "tests/naive_quota.py"))
    tree, jobs = tree_of(queues), jobs_of(queues, count)
    plain = {
        row: SimpleNamespace(
            submit_ns=int(jobs.submit_ns[row]),
            run_ns=int(jobs.run_ns[row]),
            queue=tree.queues[jobs.queue[row]].name,
            priority=int(jobs.priority[row]),
            rank=row,
            need={GPU: int(jobs.gpus[row]) * MILLI, "pods": 1},
            shape=(int(jobs.priority[row]), int(jobs.gpus[row])),
        )
        for row in range(count)
    }
    start = time.process_time()
    logs = naive["play"](
        tree, plain, QuotaOptions(fair_sharing=fair, eviction_ns=EVICTION_S * SECOND), FAR
    )
    seconds = time.process_time() - start
    kinds = [entry[1] for log in logs.values() for entry in log]
    return {"replay_s": seconds, "decisions": sum(k in ("ADMITTED", "PREEMPTED") for k in kinds)}


def _in_process(cache: Path, *arguments: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", *arguments]
    environment = os.environ | {"KFARM_CACHE": str(cache)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def collect(show: Callable[[str], None]) -> dict[str, Any]:
    """All measurements."""
    found: dict[str, Any] = {"cpus": os.cpu_count(), "load_at_start": os.getloadavg()[0]}
    small = str(SMALL_QUEUES), str(SMALL_JOBS)
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        show("compiling the kernels from nothing")
        found["cold"] = _in_process(cache, "driver", *small, "0")
        for fair in ("0", "1"):
            show("small case, fair sharing" if fair == "1" else "small case, classic")
            found[f"small {fair}"] = _in_process(cache, "driver", *small, fair)
            found[f"reference {fair}"] = _in_process(cache, "reference", *small, fair)
            for queues in QUEUES:
                show(f"{queues:,} queues")
                found[f"{queues} {fair}"] = _in_process(
                    cache, "driver", str(queues), str(JOBS), fair
                )
    return found


def table_of(found: dict[str, Any]) -> Table:
    """Seconds of each replay and cost of a decision."""
    shown = Table(
        "sharing", "queues", "jobs", "replay [s]", "cycles", "preemptions", "decision [us]", "MiB",
        title=f"{JOBS:,} jobs on trees of queues, {LOAD:.0%} of their quota, CPU time, warm",
    )  # fmt: skip
    for fair, label in (("0", "classic"), ("1", "fair")):
        cases = [(SMALL_QUEUES, SMALL_JOBS, f"small {fair}")]
        cases += [(queues, JOBS, f"{queues} {fair}") for queues in QUEUES]
        for queues, jobs, key in cases:
            row = found[key]
            shown.add_row(
                label,
                f"{queues:,}",
                f"{jobs:,}",
                f"{row['replay_s']:.4f}" if jobs == SMALL_JOBS else f"{row['replay_s']:.2f}",
                f"{row['cycles']:,.0f}",
                f"{row['preemptions']:,.0f}",
                f"{row['replay_s'] / row['decisions'] * 1e6:.2f}",
                f"{row['resident_mib']:.0f}",
            )
        naive = found[f"reference {fair}"]
        ratio = naive["replay_s"] / found[f"small {fair}"]["replay_s"]
        shown.add_row(
            label, f"{SMALL_QUEUES:,}", f"{SMALL_JOBS:,}", f"{naive['replay_s']:.4f}", "", "",
            f"{naive['replay_s'] / naive['decisions'] * 1e6:,.0f}",
            f"reference: {ratio:,.0f} x slower",
        )  # fmt: skip
        shown.add_section()
    shown.caption = (
        f"first replay with compilation {found['cold']['first_s']:.1f} s, from cache "
        f"{found['small 0']['first_s']:.1f} s; {found['cpus']} CPUs, load at start "
        f"{found['load_at_start']:.1f}"
    )
    return shown


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        what, queues, count, fair = options.measure
        measure = measure_reference if what == "reference" else measure_driver
        sys.stdout.write(json.dumps(measure(int(queues), int(count), fair == "1")))
        return
    console = Console()
    found = collect(lambda step: console.print(f"… {step}", highlight=False))
    console.print(table_of(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
