"""Speed and memory of the farm driver, beside a textbook EASY in plain Python in the same run.

``python bench/replay.py [--json FILE] [--short]`` prints tables; nothing is asserted. Each figure
comes from a process of its own, in CPU seconds. The farm week is the public trace where it is
($KFARM_SHARED), else a week drawn from the same mix by numpy. The textbook EASY counts nodes, sorts
what runs at each pass, and walks the whole queue.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from kfarm_twin.jobs import Jobs
from kfarm_twin.replay import (
    Backfill,
    Discipline,
    Level,
    NodeTable,
    Order,
    Placement,
    Shape,
    replay,
    summarize,
)
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
WEEK = Path(os.environ.get("KFARM_SHARED", ROOT.parent / "shared"))
WEEK /= "traces/farm-week/farm-week.swf.gz"
SIZES = np.array([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024])
SHARES = np.array([0.35, 0.10, 0.10, 0.20, 0.08, 0.06, 0.05, 0.03, 0.02, 0.008, 0.002])
"""Devices of jobs and how often, as in the public farm week."""
NODES, DEVICES, JOBS = 1642, 8, 35_000
WEEK_S = 7 * 86_400
REPEATS = 5
LEVELS: dict[str, Any] = {"nodes_per_rack": 4, "nodes_per_unit": 32}
FARMS = {"1k": 1024, "4k": 4096, "16k": 16_384, "64k": 65_536}
MILLION = 1_000_000
DECIDED = 20_000
"""Jobs from which the cost of a decision is taken."""
FUTURES = 8
"""Futures with failures from which the cost of one is taken."""
FAILING = ("FCFS, best fit", "EASY, best fit", "EASY, best fit, few racks")


def drawn(jobs: int, nodes: int, seed: int, span_s: int = WEEK_S) -> Jobs:
    """Jobs of the farm week's mix on whole nodes, thinned to load `nodes` as the week does its."""
    rng = np.random.default_rng(seed)
    submit = np.sort(rng.integers(0, int(span_s * NODES / nodes * jobs / JOBS), jobs))
    gpus = rng.choice(SIZES, jobs, p=SHARES / SHARES.sum())
    run = np.clip(rng.lognormal(math.log(2400), 1.5, jobs), 60, 3 * 86_400).astype(np.int64)
    limit = np.clip((run * rng.uniform(1.05, 3, jobs)).astype(np.int64), 120, 7 * 86_400)
    pods = -(-gpus // DEVICES)
    return _jobs(submit, run, limit, pods, np.full(jobs, DEVICES))


def _jobs(submit: Any, run: Any, limit: Any, pods: Any, gpus: Any) -> Jobs:
    nothing = np.zeros(len(submit), np.int64)
    return Jobs(
        submit_ns=np.asarray(submit, np.int64) * 10**9,
        run_ns=np.asarray(run, np.int64) * 10**9,
        limit_ns=np.asarray(limit, np.int64) * 10**9,
        pods=pods,
        gpus=gpus,
        gpu_milli=nothing + 1000,
        cpu_milli=nothing,
        memory_mib=nothing,
        priority=nothing,
        queue=nothing,
        models=nothing,
    )


def week() -> Jobs:
    """The farm week."""
    if not WEEK.exists():
        return drawn(JOBS, NODES, 20261)
    from kfarm_twin.traces import TraceFormat, read_trace  # noqa: PLC0415 - only where it is

    return read_trace(WEEK, TraceFormat.SWF, gpus_per_node=DEVICES).jobs


def _cpu_seconds(function: Callable[[], object], repeats: int = 1) -> float:
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def _resident_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


DISCIPLINES = {
    "FCFS, counted": Discipline(),
    "EASY, counted": Discipline(backfill=Backfill.EASY),
    "SJF + EASY, counted": Discipline(Order.SJF, Backfill.EASY),
    "SRTF, counted": Discipline(Order.SRTF),
    "conservative, counted": Discipline(backfill=Backfill.CONSERVATIVE),
    "FCFS, best fit": Discipline(placement=Placement.BEST_FIT),
    "EASY, best fit": Discipline(backfill=Backfill.EASY, placement=Placement.BEST_FIT),
    "EASY, best fit, few racks": Discipline(
        backfill=Backfill.EASY, placement=Placement.BEST_FIT, preferred=Level.RACK
    ),
    "EASY, best fit, few units": Discipline(
        backfill=Backfill.EASY, placement=Placement.BEST_FIT, preferred=Level.UNIT
    ),
    "FCFS, FGD on shared devices": Discipline(placement=Placement.FGD),
}


def measure_week(name: str) -> dict[str, float]:
    """Seconds per future, first and warm."""
    jobs, shape, discipline = week(), Shape(NODES, DEVICES, **LEVELS), DISCIPLINES[name]
    first = _cpu_seconds(lambda: replay(jobs, shape, discipline))
    warm = _cpu_seconds(lambda: replay(jobs, shape, discipline), REPEATS)
    wait = summarize(jobs, replay(jobs, shape, discipline), shape).wait
    return {"first_s": first, "warm_s": warm, "mean_wait_s": wait.mean if wait else 0.0}


def measure_openb(_: str) -> dict[str, float]:
    """Alibaba's trace with its times on its own nodes by FGD, first and warm; 0 without it."""
    from kfarm_twin.traces import TraceFormat, read_trace  # noqa: PLC0415 - as above
    from kfarm_twin.traces.openb import read_openb_nodes  # noqa: PLC0415

    folder = WEEK.parents[1] / "openb"
    if not folder.exists():
        return {"first_s": 0.0, "warm_s": 0.0, "jobs": 0}
    trace = read_trace(folder / "openb_pod_list_default.csv.gz", TraceFormat.OPENB, gpus_per_node=8)
    listed = read_openb_nodes(folder / "openb_node_list_gpu_node.csv")
    shape = Shape.of(
        NodeTable(listed.gpus, listed.cpu_milli, listed.memory_mib, listed.model, listed.models)
    )
    rules = Discipline(backfill=Backfill.EASY, placement=Placement.FGD)

    def play() -> object:
        return replay(trace.jobs, shape, rules, models=trace.models)

    first = _cpu_seconds(play)
    return {"first_s": first, "warm_s": _cpu_seconds(play, REPEATS), "jobs": len(trace.ids)}


def textbook(jobs: Jobs, nodes: int) -> float:
    """EASY as a textbook has it, on a number of nodes; the mean wait [s]."""
    submit, run, limit = (column // 10**9 for column in jobs[:3])
    rows = list(zip(submit.tolist(), run.tolist(), limit.tolist(), jobs.pods.tolist(), strict=True))
    ends: list[tuple[int, int]] = []
    running: dict[int, int] = {}
    queue: list[int] = []
    free, at, waits, now = nodes, 0, 0, 0

    def start(job: int) -> None:
        nonlocal free, waits
        waits += now - rows[job][0]
        free -= rows[job][3]
        running[job] = now + rows[job][2]
        heapq.heappush(ends, (now + rows[job][1], job))

    while at < len(rows) or ends:
        now = min(ends[0][0] if ends else 1 << 60, rows[at][0] if at < len(rows) else 1 << 60)
        while ends and ends[0][0] == now:
            job = heapq.heappop(ends)[1]
            free += rows[job][3]
            del running[job]
        while at < len(rows) and rows[at][0] == now:
            queue.append(at)
            at += 1
        while queue and rows[queue[0]][3] <= free:
            start(queue.pop(0))
        if queue and free:
            _backfill(rows, queue, running, free, start, now)
    return waits / len(rows)


def _backfill(
    rows: list[tuple[int, int, int, int]],
    queue: list[int],
    running: dict[int, int],
    free: int,
    start: Callable[[int], None],
    now: int,
) -> None:
    need, have, shadow = rows[queue[0]][3], free, 1 << 60
    for due, job in sorted((due, job) for job, due in running.items()):
        if due > shadow:
            break
        have += rows[job][3]
        if have >= need and shadow == 1 << 60:
            shadow = due
    extra = have - need
    for job in queue[1:]:
        _, _, limit, pods = rows[job]
        if pods <= free and (now + limit <= shadow or pods <= extra):
            if now + limit > shadow:
                extra -= pods
            free -= pods
            start(job)
            queue.remove(job)


def measure_textbook(_: str) -> dict[str, float]:
    """The baseline."""
    jobs, waits = week(), []
    seconds = _cpu_seconds(lambda: waits.append(textbook(jobs, NODES)))
    return {"warm_s": seconds, "mean_wait_s": waits[0]}


def measure_decision(name: str) -> dict[str, float]:
    """Cost of placing one-node jobs on a farm that is nine tenths full, by packing policy."""
    nodes = FARMS[name]
    found: dict[str, float] = {"nodes": nodes}
    rng = np.random.default_rng(7)
    fill = nodes * DEVICES * 9 // 10
    count = fill + DECIDED
    submit = np.concatenate([np.zeros(fill, np.int64), np.arange(1, DECIDED + 1) * 10])
    run = np.where(np.arange(count) < fill, rng.integers(1, DECIDED * 10, count), 10_000)
    one = np.ones(count, np.int64)
    jobs = _jobs(submit, run, run, one, one)
    shape = Shape(nodes, DEVICES, **LEVELS)
    for placement in (Placement.COUNT, Placement.FIRST_FIT, Placement.BEST_FIT, Placement.SPREAD,
                      Placement.RANDOM):  # fmt: skip
        discipline = Discipline(placement=placement)
        replay(_jobs(*(np.ones(1, np.int64) for _ in range(5))), shape, discipline)
        before = _cpu_seconds(lambda d=discipline: replay(jobs, shape, d), 3)  # type: ignore[misc]
        found[f"{placement}_us"] = before / count * 1e6
    found["resident_mib"] = _resident_mib()
    return found


def measure_gang(name: str) -> dict[str, float]:
    """Cost of a gang of 16 whole nodes in one unit, spread over few racks, and its release."""
    nodes = FARMS[name]
    jobs = drawn(DECIDED, nodes, 11)._replace(pods=np.full(DECIDED, 16))
    jobs = jobs._replace(submit_ns=jobs.submit_ns * 16 // 6)
    discipline = Discipline(placement=Placement.BEST_FIT, required=Level.UNIT, preferred=Level.RACK)
    shape = Shape(nodes, DEVICES, **LEVELS)
    seconds = _cpu_seconds(lambda: replay(jobs, shape, discipline), 3)
    return {"gang_us": seconds / DECIDED * 1e6}


def measure_million(name: str) -> dict[str, float]:
    """A million jobs on 4,000 nodes."""
    jobs = drawn(MILLION, 4000, 3)
    base = _resident_mib()
    shape, discipline = Shape(4000, DEVICES, **LEVELS), DISCIPLINES[name]
    replay(drawn(10, 4000, 3), shape, discipline)
    seconds = _cpu_seconds(lambda: replay(jobs, shape, discipline))
    return {"seconds": seconds, "resident_mib": _resident_mib(), "of_that_jobs_mib": base}


def month() -> Jobs:
    """Farm weeks one after another, 30 days of them."""
    jobs, days = week(), 30
    copies = [
        jobs._replace(submit_ns=jobs.submit_ns + at * WEEK_S * 10**9)
        for at in range(-(-days * 86_400 // WEEK_S))
    ]
    joined = Jobs(*(np.concatenate(columns) for columns in zip(*copies, strict=True)))
    keep = joined.submit_ns < days * 86_400 * 10**9
    return Jobs(*(column[keep] for column in joined))


def measure_failing(name: str) -> dict[str, float]:
    """30 days of farm weeks on nodes that fail as in Llama 3's study; jobs save as Young says."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - of this figure only

    from kfarm_api.reliability import Reliability  # noqa: PLC0415
    from kfarm_twin.job_failures import Saving, failing_shape  # noqa: PLC0415
    from kfarm_twin.replay_failures import FailureAccount  # noqa: PLC0415

    jobs, shape, discipline = month(), Shape(NODES, DEVICES, **LEVELS), DISCIPLINES[name]
    until = 30 * 86_400 * 10**9
    failing = failing_shape(shape, Reliability(reference="llama3-h100"), "reliability")
    saving = Saving(None, "Young", 20 * 10**9, 300 * 10**9)

    def play(future: int) -> FailureAccount | None:
        met = failing.failures(jobs, saving, seed=42, future=future, until_ns=until)
        return replay(jobs, shape, discipline, failures=met).failures

    first = _cpu_seconds(lambda: play(0))
    accounts = [play(future) for future in range(FUTURES)]
    warm = _cpu_seconds(lambda: [play(future) for future in range(FUTURES)]) / FUTURES
    plain = _cpu_seconds(lambda: replay(jobs, shape, discipline), 3)
    begin = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(play, range(2 * FUTURES)))
    wall = (time.perf_counter() - begin) / (2 * FUTURES)
    return {
        "jobs": len(jobs.run_ns),
        "first_s": first,
        "warm_s": warm,
        "plain_s": plain,
        "wall_s": wall,
        "stops": float(np.mean([account.stops for account in accounts if account])),
        "goodput": float(np.mean([account.goodput or 0.0 for account in accounts if account])),
    }


MEASURES: dict[str, Callable[[str], dict[str, float]]] = {
    "week": measure_week,
    "textbook": measure_textbook,
    "decision": measure_decision,
    "gang": measure_gang,
    "million": measure_million,
    "openb": measure_openb,
    "failing": measure_failing,
}


def _in_process(measure: str, name: str, cache: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", measure, "--name", name]
    environment = os.environ | {"KFARM_CACHE": str(cache)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def collect(show: Callable[[str], None], short: bool) -> dict[str, Any]:
    """All measurements."""
    found: dict[str, Any] = {"cpus": os.cpu_count(), "load_at_start": os.getloadavg()[0],
                             "trace": "public" if WEEK.exists() else "drawn"}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        show("compiling the kernels from nothing")
        found["cold_s"] = _in_process("week", "EASY, counted", cache)["first_s"]
        show("textbook EASY in plain Python")
        found["textbook"] = _in_process("textbook", "", cache)
        for name in DISCIPLINES:
            show(f"farm week, {name}")
            found[name] = _in_process("week", name, cache)
        show("openb over time, FGD")
        found["openb"] = _in_process("openb", "", cache)
        for name in FAILING[1:2] if short else FAILING:
            show(f"30 days with failures, {name}")
            found[f"failing, {name}"] = _in_process("failing", name, cache)
        if short:
            return found
        for name in FARMS:
            show(f"decisions, {name} nodes")
            decision = _in_process("decision", name, cache)
            found[f"decision {name}"] = decision | _in_process("gang", name, cache)
        for name in ("EASY, counted", "EASY, best fit, few racks"):
            show(f"a million jobs, {name}")
            found[f"million, {name}"] = _in_process("million", name, cache)
    return found


def tables(found: dict[str, Any]) -> list[Table]:
    """The measurements for people."""
    base = found["textbook"]["warm_s"]
    title = f"farm week ({found['trace']}), {NODES:,} nodes, {JOBS:,} jobs; CPU s per future"
    week_table = Table("discipline", "warm", "of textbook", "mean wait, s", title=title)
    for name in ("textbook", *DISCIPLINES):
        row = found[name]
        ratio, wait = row["warm_s"] / base, row["mean_wait_s"]
        week_table.add_row(name, f"{row['warm_s']:.4f}", f"{ratio:.4f}", f"{wait:,.2f}")
    week_table.add_row("cold: compile, then EASY", f"{found['cold_s']:.1f}")
    openb = found["openb"]
    if openb["jobs"]:
        label = f"openb, {openb['jobs']:,} jobs on its own nodes, FGD"
        week_table.add_row(label, f"{openb['warm_s']:.4f}")
    shown = [week_table, _failing_table(found)]
    if "decision 1k" in found:
        keys = [key for key in found["decision 1k"] if key.endswith("_us")]
        labels = [f"{key.removesuffix('_us')}, µs" for key in keys]
        cost = Table("nodes", *labels, "MiB", title="start and end of one job")
        for name in FARMS:
            row = found[f"decision {name}"]
            cells = (f"{row[key]:.2f}" for key in keys)
            cost.add_row(f"{row['nodes']:,.0f}", *cells, f"{row['resident_mib']:.0f}")
        shown.append(cost)
        big = Table("a million jobs, 4,000 nodes", "CPU s", "MiB", "MiB of jobs and code")
        for name in ("EASY, counted", "EASY, best fit, few racks"):
            row = found[f"million, {name}"]
            big.add_row(name, f"{row['seconds']:.2f}", f"{row['resident_mib']:.0f}",
                        f"{row['of_that_jobs_mib']:.0f}")  # fmt: skip
        shown.append(big)
    return shown


def _failing_table(found: dict[str, Any]) -> Table:
    rows = {name: found[f"failing, {name}"] for name in FAILING if f"failing, {name}" in found}
    jobs = next(iter(rows.values()))["jobs"]
    title = f"30 days, {NODES:,} nodes, {jobs:,.0f} jobs, Llama 3's failures; per future"
    table = Table("discipline", "CPU s", "of no failures", "wall s, all cores", "1,000 futures, s",
                  "stops", "goodput", title=title)  # fmt: skip
    for name, row in rows.items():
        cells = (f"{row['warm_s']:.3f}", f"{row['warm_s'] / row['plain_s']:.2f}",
                 f"{row['wall_s']:.3f}", f"{1000 * row['wall_s']:.0f}",
                 f"{row['stops']:.0f}", f"{row['goodput']:.4f}")  # fmt: skip
        table.add_row(name, *cells)
    return table


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--short", action="store_true", help="the farm week only")
    parser.add_argument("--measure", choices=sorted(MEASURES), help=argparse.SUPPRESS)
    parser.add_argument("--name", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        sys.stdout.write(json.dumps(MEASURES[options.measure](options.name)))
        return
    console = Console(width=None if sys.stdout.isatty() else 110)
    found = collect(lambda step: console.print(f"… {step}", highlight=False), options.short)
    for shown in tables(found):
        console.print(shown)
    console.print(f"{found['cpus']} CPUs, load at start {found['load_at_start']:.1f}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
