"""Heat in the farm driver: cost of a future of the farm week, beside the same run without heat.

``python bench/heat_week.py [--json FILE] [--short]`` prints tables; nothing is asserted. Each
figure comes from a process of its own, in CPU seconds on one core; memory is the most that the
process ever held, less what it held before the first future. The farm week is the public trace
where it is ($KFARM_SHARED), else a week drawn from the same mix; farms of other sizes play jobs
drawn in proportion. Half of the racks stand in a row whose air goes round. RAPS (ExaDigiT) takes
324 CPU-s and 4.6 GB for the week with power alone.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from kfarm_api.reliability import Reliability
from kfarm_twin.disciplines import Backfill, Level, Placement
from kfarm_twin.heat_tables import HeatCluster, HeatFans, HeatFarm, HeatPlant, HeatRack, HeatZone
from kfarm_twin.job_failures import Saving, failing_shape
from kfarm_twin.jobs import JobLoads, Jobs
from kfarm_twin.replay import Discipline, Replay, Shape, replay, summarize
from kfarm_twin.replay_failures import Failures
from kfarm_twin.replay_heat import HotNodes, JobHeat
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent))
from replay import DEVICES, JOBS, NODES, WEEK, drawn

CSV = WEEK.with_name("farm-week.csv.gz")
REPEATS = 3
FUTURES = 4
SIZES = {"1k": 128, "4k": 512, "16k": 2048, "64k": 8192}
FANS = HeatFans(500.0, tuple(np.linspace(0.2, 1.0, 9)), target_c=65.0)
FARMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "hot row": {"hot": 0.35},
    "hot row, throttling": {"hot": 0.35, "limit": 66.0},
    "hot row, throttling, spread": {"hot": 0.35, "limit": 70.0, "spread": 0.04},
    "hot row, fans": {"hot": 0.35, "fans": FANS},
}
POLICIES = (Placement.FIRST_FIT, Placement.BEST_FIT, Placement.SPREAD, Placement.RANDOM,
            Placement.THERMAL_AWARE)  # fmt: skip


def farm(
    nodes: int, *, hot: float = 0.05, limit: float = 89.0, spread: float = 0.0,
    fans: HeatFans | None = None,
) -> HotNodes:  # fmt: skip
    """Air-cooled nodes of eight 700 W devices, four to a rack; the first half in the hot row."""
    racks = -(-nodes // 4)
    zone = np.zeros(nodes, np.int64)
    one = HeatCluster(
        name="h100", devices=DEVICES, liquid=False, die_k_per_w=0.055 / 3, sink_k_per_w=0.11 / 3,
        die_s=5.0, sink_s=90.0, idle_w=72.0, air_zone=zone, liquid_zone=zone - 1,
        rack=np.arange(nodes) // 4, overhead_w=1900.0, throttle_c=limit, shutdown_c=limit + 6.0,
        spread=spread, fans=fans,
    )  # fmt: skip
    flow = 0.0691 * 41.0
    rows = [HeatRack(hot if rack < racks // 2 else 0.05, flow) for rack in range(racks)]
    heat = HeatFarm([one], rows, [HeatZone("air", 0, 24.0, 1e9)], [HeatPlant("plant", 16.0)])
    return HotNodes.of(heat, (628.0,), (2400.0,))


def work(nodes: int = NODES) -> tuple[Jobs, JobLoads]:
    """The farm week with its loads, or as much of the mix as fits the farm."""
    if nodes == NODES and CSV.exists():
        from kfarm_twin.traces import read_trace  # noqa: PLC0415 - only where it is

        trace = read_trace(CSV, gpus_per_node=DEVICES)
        if trace.loads is not None:
            return trace.jobs, trace.loads
    jobs = drawn(JOBS * nodes // NODES, nodes, 20261)
    rng = np.random.default_rng(7)
    count = len(jobs.run_ns)
    gpu, cpu = rng.integers(300_000, 950_001, count), rng.integers(50_000, 500_001, count)
    return jobs, JobLoads(gpu, cpu)


def failing(shape: Shape, jobs: Jobs) -> Callable[[int], Failures]:
    """Failures of H100 nodes as in Llama 3's study; jobs save as Young says."""
    nodes = failing_shape(shape, Reliability(reference="llama3-h100"), "reliability")
    saving = Saving(None, "Young", 20 * 10**9, 300 * 10**9)
    return lambda future: nodes.failures(jobs, saving, seed=42, future=future)


def easy(placement: Placement) -> Discipline:
    """FIFO with EASY backfill."""
    return Discipline(backfill=Backfill.EASY, placement=placement)


def _cpu_seconds(function: Callable[[], object], repeats: int = 1) -> float:
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def _held_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _cost(
    nodes: HotNodes | None, shape: Shape, jobs: Jobs, loads: JobLoads, fails: bool
) -> dict[str, float]:
    """Seconds of one future and what it holds; a first, smaller run has loaded the code."""
    met = failing(shape, jobs) if fails else None
    heat = None if nodes is None else JobHeat.of(nodes, jobs, loads, 1_000_000)
    small = Jobs(*(column[:50] for column in jobs))
    few = None if heat is None else replace(heat, gpu_ppm=heat.gpu_ppm[:50],
                                            cpu_ppm=heat.cpu_ppm[:50])  # fmt: skip
    early = failing(shape, small)(0) if fails else None
    first = _cpu_seconds(
        lambda: replay(small, shape, easy(Placement.BEST_FIT), heat=few, failures=early)
    )
    before = _held_mib()

    def future(number: int) -> Replay:
        return replay(
            jobs, shape, easy(Placement.BEST_FIT), heat=heat, future=number,
            failures=None if met is None else met(number),
        )  # fmt: skip

    after_one = _cpu_seconds(lambda: future(0))
    seconds = min(after_one, _cpu_seconds(lambda: [future(k) for k in range(FUTURES)]) / FUTURES)
    found = future(0).heat
    return {
        "first_s": first,
        "future_s": seconds,
        "more_mib": _held_mib() - before,
        "process_mib": _held_mib(),
        "throttled_h": found.throttled_s / 3600 if found else 0.0,
        "hottest_c": found.hottest_c if found else 0.0,
    }


def measure_week(name: str) -> dict[str, float]:
    """The farm week; `name` is a farm, or ``cold``; with ``failures`` behind it nodes fail."""
    kind, _, failures = name.partition(" + ")
    jobs, loads = work()
    shape = Shape(NODES, DEVICES, 4, 32)
    nodes = None if kind == "cold" else farm(NODES, **FARMS[kind])
    return _cost(nodes, shape, jobs, loads, bool(failures))


def measure_size(name: str) -> dict[str, float]:
    """A week's jobs on a farm of so many devices; cold, and with a hot row."""
    kind, _, size = name.partition(" ")
    count = SIZES[size]
    jobs, loads = work(count)
    nodes = None if kind == "cold" else farm(count, **FARMS["hot row"])
    found = _cost(nodes, Shape(count, DEVICES, 4, 32), jobs, loads, fails=False)
    return found | {"jobs": len(jobs.run_ns), "devices": count * DEVICES}


def measure_policy(name: str) -> dict[str, float]:
    """What a policy of placement gains and costs on a farm with a hot row that throttles."""
    jobs, loads = work()
    shape = Shape(NODES, DEVICES, 4, 32)
    heat = JobHeat.of(farm(NODES, **FARMS["hot row, throttling"]), jobs, loads, 1_000_000)
    policy, _, level = name.partition(" ")
    rules = replace(easy(Placement(policy)), required=Level(level) if level else Level.CLUSTER)

    def future() -> Replay:
        return replay(jobs, shape, rules, heat=heat)

    future()
    seconds, result = _cpu_seconds(future, REPEATS), future()
    found, summary = result.heat, summarize(jobs, result, shape)
    if found is None or summary.wait is None or summary.slowdown is None:
        raise AssertionError("heat was played and jobs ran")
    return {
        "future_s": seconds,
        "throttled_h": found.throttled_s / 3600,
        "hottest_c": found.hottest_c,
        "inlet_c": found.inlet_max_c,
        "wait_s": summary.wait.mean,
        "wait_p99_s": summary.wait.p99,
        "slowdown": summary.slowdown.mean,
        "stranded": summary.stranded_share,
    }


MEASURES: dict[str, Callable[[str], dict[str, float]]] = {
    "week": measure_week,
    "size": measure_size,
    "policy": measure_policy,
}


def _in_process(measure: str, name: str, cache: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", measure, "--name", name]
    environment = os.environ | {"KFARM_CACHE": str(cache)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def collect(show: Callable[[str], None], short: bool, cache: Path) -> dict[str, Any]:
    """All measurements."""
    weeks = ["cold", "hot row", "cold + failures", "hot row + failures"]
    if not short:
        weeks += [*(name for name in FARMS if name not in weeks), "hot row, fans + failures"]
    found: dict[str, Any] = {"cpus": os.cpu_count(), "load_at_start": os.getloadavg()[0],
                             "trace": "public" if CSV.exists() else "drawn"}  # fmt: skip
    show("compiling the kernels from nothing")
    with tempfile.TemporaryDirectory() as folder:
        found["compile_s"] = {
            kind: _in_process("week", kind, Path(folder) / kind)["first_s"]
            for kind in ("cold", "plain")
        } if not short else {}  # fmt: skip
    for name in weeks:
        show(f"farm week, {name}")
        found[f"week {name}"] = _in_process("week", name, cache)
    if short:
        return found
    for size in SIZES:
        for kind in ("cold", "hot"):
            show(f"{size} devices, {kind}")
            found[f"size {size} {kind}"] = _in_process("size", f"{kind} {size}", cache)
    for policy in (*map(str, POLICIES), "best-fit scalable-unit", "thermal-aware scalable-unit"):
        show(f"placement {policy}")
        found[f"policy {policy}"] = _in_process("policy", policy, cache)
    return found


def tables(found: dict[str, Any]) -> list[Table]:
    """The measurements for people."""
    title = f"farm week ({found['trace']}), EASY, best fit; CPU s per future on one core"
    week = Table("nodes", "CPU s", "of cold", "MiB more", "process MiB", "throttled device-h",
                 "hottest, degC", title=title)  # fmt: skip
    for key, row in found.items():
        if not key.startswith("week "):
            continue
        base = found["week cold + failures" if "+" in key else "week cold"]["future_s"]
        week.add_row(
            key.removeprefix("week "), f"{row['future_s']:.3f}", f"{row['future_s'] / base:.1f}",
            f"{row['more_mib']:.0f}", f"{row['process_mib']:.0f}", f"{row['throttled_h']:,.0f}",
            f"{row['hottest_c']:.1f}" if row["hottest_c"] else "",
        )  # fmt: skip
    size = Table("devices", "jobs", "cold, s", "hot, s", "ratio", "us per device", "MiB more",
                 title="a week's jobs on farms of other sizes, hot row")  # fmt: skip
    for name in SIZES:
        if f"size {name} hot" in found:
            hot, cold = found[f"size {name} hot"], found[f"size {name} cold"]
            size.add_row(
                f"{hot['devices']:,.0f}", f"{hot['jobs']:,.0f}", f"{cold['future_s']:.3f}",
                f"{hot['future_s']:.3f}", f"{hot['future_s'] / cold['future_s']:.1f}",
                f"{hot['future_s'] / hot['devices'] * 1e6:.1f}", f"{hot['more_mib']:.0f}",
            )  # fmt: skip
    policy = Table("placement", "throttled device-h", "hottest, degC", "inlet, degC", "wait, s",
                   "99 % wait, s", "slowdown", "CPU s",
                   title="farm week, EASY, hot row that throttles at 66 degC")  # fmt: skip
    for key, row in found.items():
        if key.startswith("policy "):
            policy.add_row(
                key.removeprefix("policy "), f"{row['throttled_h']:,.1f}",
                f"{row['hottest_c']:.2f}", f"{row['inlet_c']:.2f}", f"{row['wait_s']:.2f}",
                f"{row['wait_p99_s']:,.0f}", f"{row['slowdown']:.4f}", f"{row['future_s']:.3f}",
            )  # fmt: skip
    return [table for table in (week, size, policy) if table.row_count]


def main() -> None:
    """Measure, or be one of the processes that do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("--name", default="", help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help="where compiled kernels are kept")
    asked = parser.parse_args()
    if asked.measure:
        sys.stdout.write(json.dumps(MEASURES[asked.measure](asked.name)))
        return
    errors, console = Console(stderr=True), Console()
    with tempfile.TemporaryDirectory() as folder:
        found = collect(errors.print, asked.short, asked.cache or Path(folder))
    for table in tables(found):
        console.print(table)
    if found["compile_s"]:
        spent = ", ".join(f"{kind} {value:.1f} s" for kind, value in found["compile_s"].items())
        console.print(f"first run with nothing compiled: {spent}")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
