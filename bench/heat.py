"""Cost of the heat of a farm against the number of devices, beside a loop of fixed steps.

``python bench/heat.py [--json FILE] [--short]`` prints a table; nothing is asserted. Each figure
comes from a process of its own, with kernels cached in a temporary directory. A week with 100,000
changes of a node's power: `liquid` keeps all below their limits, `air` has automatic fans and racks
that breathe their own air, `short` a loop with too few pumps, so that devices throttle for an hour.
The baseline is numpy: all devices advanced by exact steps of 15 s.
"""

from __future__ import annotations

import argparse
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
from rich.console import Console
from rich.table import Table

WEEK_S = 7 * 86_400.0
SIZES = (1_024, 4_096, 16_384, 65_536)
CHANGES = 100_000
PER_NODE, PER_LOOP, PER_RACK = 8, 64, 4
ROUNDS = 3
MEBI = 1024.0
STEP_S = 15.0
KINDS = ("liquid", "air", "short")


def _cpu_s(function: Callable[[], object]) -> float:
    """Least CPU time of some calls [s]."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def _resident_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEBI


def _farm(nodes: int, kind: str) -> Any:
    from kfarm_twin import heat_tables as t  # noqa: PLC0415 - numba

    loops, number = max(nodes // PER_LOOP, 1), np.arange(nodes)
    air = kind == "air"
    zones = [t.HeatZone("room", 0, 20.0, nodes * 12_000 / 6.0, nodes * 2e5)]
    watts = min(nodes, PER_LOOP) * PER_NODE * 1_000.0
    zones += [
        t.HeatZone(f"loop{index}", 0, 30.0, watts / 4.0, watts * 15.0, 2, 2)
        for index in range(0 if air else loops)
    ]
    fans = t.HeatFans(800.0, tuple(np.linspace(0.2, 1.0, 9).tolist()), 72.0) if air else None
    cluster = t.HeatCluster(
        "c", PER_NODE, not air, 0.02, 0.03, 5.0, 60.0 if air else 12.0, 100.0,
        air_zone=np.zeros(nodes, np.int64),
        liquid_zone=np.full(nodes, -1) if air else np.minimum(number // PER_LOOP, loops - 1) + 1,
        rack=number // PER_RACK, overhead_w=1_000.0, throttle_c=85.0, shutdown_c=95.0, fans=fans,
    )  # fmt: skip
    racks = [t.HeatRack(0.1 if air else 0.0, 3.0)] * (-(-nodes // PER_RACK))
    faults = [t.HeatFault(86_400.0, False, 1, 1, 3_600.0)] if kind == "short" else []
    return t.compile_heat(t.HeatFarm([cluster], racks, zones, [t.HeatPlant("w", 14.0)], faults))


def _schedule(nodes: int) -> Any:
    from kfarm_twin.kernels import heat_alone as alone  # noqa: PLC0415 - numba

    draw = np.random.default_rng(1)
    rows = np.zeros((CHANGES, alone.ROW), np.int64)
    rows[:, 0] = np.sort(draw.uniform(1.0, WEEK_S, CHANGES)) * 1e9
    rows[:, 1] = alone.POWER
    rows[:, 2] = draw.integers(0, nodes, CHANGES)
    rows[:, 4] = PER_NODE
    rows[:, 5] = np.where(draw.integers(0, 2, CHANGES) == 1, 900_000, 100_000)
    return rows


def measure_engine(devices: int, kind: str) -> dict[str, float]:
    """A week by the engine."""
    from kfarm_twin.heat import new_state  # noqa: PLC0415 - numba
    from kfarm_twin.kernels import heat_columns as c  # noqa: PLC0415
    from kfarm_twin.kernels.heat_alone import LOG, run_heat  # noqa: PLC0415

    nodes = devices // PER_NODE
    compiled, rows = _farm(nodes, kind), _schedule(nodes)
    before = _resident_mib()
    hs, zones = new_state(compiled), len(compiled.tables.zones)
    none = np.zeros(0, np.int64)

    def run() -> Any:
        return run_heat(
            compiled.tables, hs, rows, none, np.zeros((0, 0, PER_NODE)),
            np.zeros((0, 0), np.int64), np.zeros((0, 0)), np.zeros((0, zones)), np.zeros((0, 1)),
            np.zeros((0, LOG), np.int64), 1, 0, round(WEEK_S * 1e9), 0, 0,
        )  # fmt: skip

    start = time.process_time()
    run()
    first = time.process_time() - start
    seconds = _cpu_s(run)
    return {
        "future_s": seconds,
        "us_per_change": seconds / CHANGES * 1e6,
        "events": float(hs.now[c.EVENTS]),
        "searches": float(hs.now[c.SEARCHES]),
        "throttled_max": float(hs.cluster[0, c.THROTTLED_MAX]),
        "state_mib": sum(column.nbytes for column in hs) / MEBI**2,
        "growth_mib": _resident_mib() - before,
        "resident_mib": _resident_mib(),
        "first_call_cpu_s": first,
    }


def measure_steps(devices: int, kind: str) -> dict[str, float]:
    """An hour of fixed steps with numpy, as a week."""
    sink, die, power = (np.full(devices, x) for x in (40.0, 50.0, 900.0))
    slow, fast = math.exp(-STEP_S / 12.0), math.exp(-STEP_S / 5.0)
    steps = int(3_600.0 / STEP_S)

    def run() -> float:
        nonlocal sink, die
        hottest = 0.0
        for _ in range(steps):
            rest = 30.0 + 0.03 * power
            away = sink - rest
            mixed = (slow - fast) / (12.0 / 5.0 - 1.0) * 12.0 / 5.0
            die = rest + 0.02 * power + (die - rest - 0.02 * power) * fast + away * mixed
            sink = rest + away * slow
            hottest = max(hottest, float(die.max()))
        return hottest

    return {"future_s": _cpu_s(run) * WEEK_S / 3_600.0}


MEASURES = {"engine": measure_engine, "steps": measure_steps}


def _in_process(measure: str, devices: int, kind: str, cache: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", measure, "--devices", str(devices)]
    environment = os.environ | {"KFARM_CACHE": str(cache), "PYTHONPYCACHEPREFIX": str(cache)}
    done = subprocess.run(
        [*command, "--kind", kind], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def collect(show: Callable[[str], None], sizes: tuple[int, ...]) -> dict[str, Any]:
    """All measurements."""
    found: dict[str, Any] = {"cpus": os.cpu_count(), "load_at_start": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        show("compiling from nothing")
        cold = _in_process("engine", sizes[0], "liquid", cache)
        found["cold_cpu_s"] = cold["first_call_cpu_s"]
        for devices in sizes:
            show(f"{devices:,} devices")
            found[str(devices)] = {"steps": _in_process("steps", devices, "", cache)} | {
                kind: _in_process("engine", devices, kind, cache) for kind in KINDS
            }
    return found


def table(found: dict[str, Any], sizes: tuple[int, ...]) -> Table:
    """The measurements for people."""
    title = f"a week with {CHANGES:,} changes of a node's power"
    shown = Table("devices", *(f"{size:,}" for size in sizes), title=title)

    def row(label: str, part: str, key: str, form: str) -> None:
        shown.add_row(label, *(form.format(found[str(size)][part][key]) for size in sizes))

    for kind in KINDS:
        row(f"{kind}, CPU s", kind, "future_s", "{:.3f}")
        row(f"{kind}, us per change", kind, "us_per_change", "{:.2f}")
        row(f"{kind}, events of the engine", kind, "events", "{:,.0f}")
    row("short, devices slowed at once, at most", "short", "throttled_max", "{:,.0f}")
    row("liquid, tables of a future, MiB", "liquid", "state_mib", "{:.1f}")
    row("liquid, resident, MiB", "liquid", "resident_mib", "{:.0f}")
    row(f"numpy in steps of {STEP_S:.0f} s, CPU s", "steps", "future_s", "{:.1f}")
    shown.add_row(
        "faster than steps (liquid)",
        *(
            f"{found[str(n)]['steps']['future_s'] / found[str(n)]['liquid']['future_s']:.0f}"
            for n in sizes
        ),
    )
    shown.add_section()
    shown.add_row("cold: CPU s", f"{found['cold_cpu_s']:.1f}")
    shown.add_row("CPUs, load at start", f"{found['cpus']}, {found['load_at_start']:.1f}")
    return shown


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--short", action="store_true", help="two sizes")
    parser.add_argument("--measure", choices=sorted(MEASURES), help=argparse.SUPPRESS)
    parser.add_argument("--devices", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--kind", default="liquid", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        found = MEASURES[options.measure](options.devices, options.kind)
        sys.stdout.write(json.dumps(found))
        return
    console = Console()
    sizes = SIZES[:2] if options.short else SIZES

    def show(step: str) -> None:
        console.print(f"… {step}", highlight=False)

    found = collect(show, sizes)
    console.print(table(found, sizes))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
