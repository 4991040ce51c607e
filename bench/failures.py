"""Cost of futures with failures against the size of the fleet, beside a plain-Python event loop.

``python bench/failures.py [--json FILE] [--short]`` prints a table; nothing is asserted. Each
figure comes from a process of its own, with kernels cached in a temporary directory. The baseline
is `plain_events_per_s`: a loop of `heapq` and `random` that only draws faults and repairs.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfarm_api.parse import parse
from kfarm_api.reliability import Reliability
from kfarm_api.snapshot import synthetic_snapshot
from kfarm_api.v1alpha1 import AcceleratorProfile, GPUFarm, PlacementPlan
from kfarm_twin.load import load_files
from kfarm_twin.reliability import references
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
DAY_NS = 86_400 * 10**9
DAYS = 30
SIZES = (1_024, 4_096, 16_384, 65_536)
GOAL_NODES, GOAL_FUTURES = 1_642, 1_000
ROUNDS = 3
MEBI = 1024.0
RULES: dict[str, dict[str, Any]] = {
    "plain": {},
    "full": {
        "frailty": {"shape": "0.93"},
        "bursts": {"share": 25, "size": "3", "window": "1h"},
        "unrest": {"share": 20, "factor": "4", "spell": "240h"},
        "crews": {"count": 40},
        "quarantine": {"faults": 3, "within": "168h", "hold": "24h"},
        "drains": {"every": "4320h", "duration": "4h", "atOnce": 16},
    },
}


def _seconds(function: Callable[[], object]) -> float:
    """Least time of some calls [s]."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def _resident_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEBI


def measure_plain(nodes: int, rules: str) -> dict[str, float]:
    """A loop of faults and repairs in plain Python: events per second."""
    draw = random.Random(1)  # noqa: S311 - not for secrets
    rate, mean = 3.789e-3, 0.6

    def run() -> int:
        queue = [(draw.expovariate(rate), node, False) for node in range(nodes)]
        heapq.heapify(queue)
        events = 0
        while queue[0][0] < DAYS:
            now, node, down = queue[0]
            span = draw.expovariate(rate) if down else draw.expovariate(1.0 / mean)
            heapq.heapreplace(queue, (now + span, node, not down))
            events += 1
        return events

    events = run()
    seconds = _seconds(run)
    return {"events": events, "future_s": seconds, "events_per_s": events / seconds}


def measure_alone(nodes: int, rules: str) -> dict[str, float]:
    """Futures of a fleet without work."""
    from kfarm_twin.fleet import play  # noqa: PLC0415 - numba
    from kfarm_twin.fleet_classes import plain_cluster  # noqa: PLC0415
    from kfarm_twin.fleet_tables import compile_fleet  # noqa: PLC0415

    own = Reliability.model_validate({"reference": "llama3-h100"} | RULES[rules])
    modes = references()["llama3-h100"].modes
    fleet = compile_fleet([plain_cluster(modes, own, nodes, per_rack=4, per_unit=32)])
    futures = max(400_000 // nodes, 6)

    def run() -> Any:
        return play(fleet, seed=1, futures=futures, horizon_ns=DAYS * DAY_NS, workers=1)

    start = time.process_time()
    logged = play(fleet, seed=1, futures=1, horizon_ns=DAYS * DAY_NS, log=1 << 20)
    first = time.process_time() - start
    before = _resident_mib()
    seconds = _seconds(run)
    played = (DAYS * DAY_NS + fleet.warm_ns) / DAY_NS
    events = len(logged.log) * played / DAYS
    return {
        "futures": futures,
        "future_s": seconds / futures,
        "changes_per_future": len(logged.log),
        "events_per_s": events * futures / seconds,
        "days_played": played,
        "first_call_cpu_s": first,
        "resident_mib": _resident_mib(),
        "growth_mib": _resident_mib() - before,
    }


def _farm(nodes: int) -> GPUFarm:
    """The cluster of 510 nodes of the examples, with another number of nodes."""
    documents = [document.object for document in load_files([EXAMPLES / "farms"])]
    farm = next(o for o in documents if isinstance(o, GPUFarm) and o.metadata.name == "nhn-cloud")
    body = farm.as_manifest()
    cluster = next(c for c in body["spec"]["clusters"] if c["name"] == "b200-510")
    body["spec"]["clusters"] = [cluster | {"nodes": nodes}]
    body["spec"].pop("shares", None)
    cluster.pop("share", None)
    body["spec"]["clusters"][0].pop("share", None)
    return GPUFarm.model_validate(body)


def measure_gang(nodes: int, rules: str) -> dict[str, float]:
    """Futures of a farm with one gang of 255 nodes: saves, restarts, spares, heat, power."""
    from kfarm_twin.compile import compile_farm  # noqa: PLC0415 - numba
    from kfarm_twin.place import Shortfall, place  # noqa: PLC0415
    from kfarm_twin.simulate import Simulator  # noqa: PLC0415

    objects = [d.object for d in load_files([EXAMPLES / "catalogue", EXAMPLES / "plans"])]
    profiles = [o for o in objects if isinstance(o, AcceleratorProfile)]
    plan = next(
        o for o in objects if isinstance(o, PlacementPlan) and o.metadata.name == "pretrain"
    )
    body = plan.as_manifest()
    body["spec"]["farms"] = [{"kind": "GPUFarm", "name": "nhn-cloud"}]
    asked = parse(body, strict=True)
    if not isinstance(asked, PlacementPlan):
        raise SystemExit("the plan of the examples is no plan")
    farm = _farm(nodes)
    model = compile_farm([farm], profiles, asked, synthetic_snapshot([farm]))
    placed = place(model)
    if isinstance(placed, Shortfall):
        raise SystemExit(placed.message)
    simulator = Simulator(model, placed, 42, DAYS * DAY_NS)
    start = time.process_time()
    simulator.play(0, 1)
    first = time.process_time() - start
    goal = nodes == GOAL_NODES
    futures = GOAL_FUTURES if goal else max(100_000 // nodes, 2)
    before = _resident_mib()
    seconds = _seconds(lambda: simulator.play(0, futures))
    return {
        "futures": futures,
        "future_s": seconds / futures,
        "all_s": seconds,
        "first_call_cpu_s": first,
        "resident_mib": _resident_mib(),
        "growth_mib": _resident_mib() - before,
    }


MEASURES = {"plain": measure_plain, "alone": measure_alone, "gang": measure_gang}


def _in_process(measure: str, nodes: int, rules: str, cache: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", measure, "--nodes", str(nodes)]
    environment = os.environ | {"KFARM_CACHE": str(cache), "PYTHONPYCACHEPREFIX": str(cache)}
    done = subprocess.run(
        [*command, "--rules", rules], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def collect(show: Callable[[str], None], sizes: tuple[int, ...], gang: bool) -> dict[str, Any]:
    """All measurements."""
    found: dict[str, Any] = {"cpus": os.cpu_count(), "load_at_start": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        show("compiling from nothing")
        parts = ("alone", "gang") if gang else ("alone",)
        cold = [_in_process(name, sizes[0], "plain", cache) for name in parts]
        found["cold_cpu_s"] = [part["first_call_cpu_s"] for part in cold]
        for nodes in sizes:
            show(f"{nodes:,} nodes")
            found[str(nodes)] = {
                "plain": _in_process("plain", nodes, "plain", cache),
                "alone": _in_process("alone", nodes, "plain", cache),
                "full": _in_process("alone", nodes, "full", cache),
            }
            if gang:
                found[str(nodes)]["gang"] = _in_process("gang", nodes, "plain", cache)
        if not gang:
            return found
        show(f"{GOAL_FUTURES:,} futures of {GOAL_NODES:,} nodes and a gang of 255")
        found["goal"] = _in_process("gang", GOAL_NODES, "plain", cache)
    return found


def table(found: dict[str, Any], sizes: tuple[int, ...]) -> Table:
    """The measurements for people."""
    title = f"futures of {DAYS} days, failures as llama3-h100"
    shown = Table("nodes", *(f"{size:,}" for size in sizes), title=title)
    rows = (
        ("alone, one future, ms", "alone", "future_s", 1e3, "{:.2f}"),
        ("alone, us per node", "alone", "future_s", 0.0, "{:.2f}"),
        ("alone, events per second", "alone", "events_per_s", 1.0, "{:,.0f}"),
        ("plain Python, events per second", "plain", "events_per_s", 1.0, "{:,.0f}"),
        ("bursts, unrest, crews, drains, with 90 d before, ms", "full", "future_s", 1e3, "{:.2f}"),
        ("with a gang of 255 nodes, ms", "gang", "future_s", 1e3, "{:.2f}"),
        ("resident, alone, MiB", "alone", "resident_mib", 1.0, "{:.0f}"),
        ("resident, with a gang, MiB", "gang", "resident_mib", 1.0, "{:.0f}"),
    )
    for label, part, key, factor, form in rows:
        if part not in found[str(sizes[0])]:
            continue
        values = [
            found[str(size)][part][key] * (factor if factor else 1e6 / size) for size in sizes
        ]
        shown.add_row(label, *(form.format(value) for value in values))
    shown.add_row(
        "faster per event than plain Python",
        *(
            f"{found[str(n)]['alone']['events_per_s'] / found[str(n)]['plain']['events_per_s']:.0f}"
            for n in sizes
        ),
    )
    shown.add_section()
    if "goal" in found:
        goal = found["goal"]
        label = f"{GOAL_FUTURES:,} futures, {GOAL_NODES:,} nodes, gang, s"
        shown.add_row(label, f"{goal['all_s']:.2f}")
        shown.add_row("growth while playing them, MiB", f"{goal['growth_mib']:.1f}")
    cold = ", ".join(f"{seconds:.1f}" for seconds in found["cold_cpu_s"])
    shown.add_row("cold: CPU s alone, with work", cold)
    shown.add_row("CPUs, load at start", f"{found['cpus']}, {found['load_at_start']:.1f}")
    return shown


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--short", action="store_true", help="two sizes, no gang")
    parser.add_argument("--measure", choices=sorted(MEASURES), help=argparse.SUPPRESS)
    parser.add_argument("--nodes", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--rules", choices=sorted(RULES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        found = MEASURES[options.measure](options.nodes, options.rules)
        sys.stdout.write(json.dumps(found))
        return
    console = Console()
    sizes = SIZES[:2] if options.short else SIZES

    def show(step: str) -> None:
        console.print(f"… {step}", highlight=False)

    found = collect(show, sizes, gang=not options.short)
    console.print(table(found, sizes))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
