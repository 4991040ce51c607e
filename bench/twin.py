"""Speed and memory of the twin, beside the plain-Python reference in the same run.

``python bench/twin.py [--json FILE]`` prints a table; nothing is asserted. Each figure comes from a
process of its own; kernels and bytecode are cached in a temporary directory, so that cold means
cold and warm is what an installed package gives.
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
from typing import Any

from kfarm_api.parse import parse
from kfarm_api.snapshot import synthetic_snapshot
from kfarm_api.v1alpha1 import AcceleratorProfile, GPUFarm, PlacementPlan, ValidationPolicy
from kfarm_twin.load import load_files
from kfarm_twin.request import ValidationRequest
from rich.console import Console
from rich.markup import escape
from rich.table import Table

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
HORIZON_NS = 90 * 86_400 * 10**9
FUTURES = 100
MONTH_NS = 30 * 86_400 * 10**9
MONTHS = 1000
"""Futures of 30 days: the goal is 5 s for 1,642 nodes on two cores."""
REPEATS = 5
FARMS = {
    "510 nodes": ("nhn-cloud",),
    "1,642 nodes": ("nhn-cloud", "naver-cloud", "kakao"),
    "largest example": ("national-ai-computing-center",),
}
MEBI = 1024.0


def example_request(size: str) -> ValidationRequest:
    """The training of 2,040 GPUs of the examples, on farms of this size."""
    folders = [EXAMPLES / name for name in ("catalogue", "farms", "policies", "plans")]
    objects = [document.object for document in load_files(folders)]
    farms = [o for o in objects if isinstance(o, GPUFarm) and o.metadata.name in FARMS[size]]
    if size == "510 nodes":
        farms = [_only_cluster(farm, "b200-510") for farm in farms]
    plan = next(
        o for o in objects if isinstance(o, PlacementPlan) and o.metadata.name == "pretrain"
    )
    body = plan.as_manifest()
    body["spec"]["farms"] = [{"kind": "GPUFarm", "name": farm.metadata.name} for farm in farms]
    accelerators = {cluster.accelerator for farm in farms for cluster in farm.spec.clusters}
    if "b200" not in accelerators:
        body["spec"]["workloads"][0]["accelerators"] = ["b300"]
    policy = next(
        o for o in objects if isinstance(o, ValidationPolicy) and o.metadata.name == "standard"
    )
    built = parse(body, strict=True)
    assert isinstance(built, PlacementPlan)  # noqa: S101 - what parse was given
    return ValidationRequest(
        farms=list(farms),
        profiles=[o for o in objects if isinstance(o, AcceleratorProfile)],
        policy=policy,
        plan=built,
        snapshot=synthetic_snapshot(list(farms)),
    )


def _only_cluster(farm: GPUFarm, name: str) -> GPUFarm:
    body = farm.as_manifest()
    body["spec"]["clusters"] = [c for c in body["spec"]["clusters"] if c["name"] == name]
    return GPUFarm.model_validate(body)


def _seconds(function: Callable[[], object], repeats: int = 1) -> float:
    """Least time of some calls [s]: what the work takes when nothing else disturbs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def _resident_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEBI


def measure_futures(size: str) -> dict[str, float]:
    """Time and memory of 100 futures of 90 days, first and warm; time of 1,000 of 30 days."""
    from kfarm_twin.compile import compile_farm  # noqa: PLC0415 - numba
    from kfarm_twin.place import Shortfall, place  # noqa: PLC0415
    from kfarm_twin.simulate import Simulator  # noqa: PLC0415

    asked = example_request(size)
    farms = list(asked.farms)
    model = compile_farm(farms, asked.profiles, asked.plan, asked.snapshot)
    placed = place(model)
    if isinstance(placed, Shortfall):
        raise SystemExit(placed.message)
    simulator = Simulator(model, placed, 42, HORIZON_NS)
    first = _seconds(lambda: simulator.play(0, 1))
    before = _resident_mib()
    warm = _seconds(lambda: simulator.play(0, FUTURES), REPEATS)
    events = simulator.replay(0).events.num_rows
    outcome = simulator.play(0, FUTURES)
    month = Simulator(model, placed, 42, MONTH_NS)
    return {
        "thousand_months_s": _seconds(lambda: month.play(0, MONTHS)),
        "nodes": model.nodes,
        "first_future_s": first,
        "futures_100_s": warm,
        "future_s": warm / FUTURES,
        "log_entries_per_future": events,
        "memory_of_100_futures_mib": sum(column.nbytes for column in outcome) / MEBI**2,
        "growth_while_playing_mib": _resident_mib() - before,
        "resident_mib": _resident_mib(),
    }


def measure_naive(size: str) -> dict[str, float]:
    """Time of one future of the plain-Python reference."""
    from kfarm_twin.compile import compile_farm  # noqa: PLC0415 - numba
    from kfarm_twin.place import place  # noqa: PLC0415

    asked = example_request(size)
    model = compile_farm(list(asked.farms), asked.profiles, asked.plan, asked.snapshot)
    reference = runpy.run_path(str(ROOT / "tests/naive.py"))["Future"]
    power = runpy.run_path(str(ROOT / "tests/naive_power.py"))["Power"]
    script = runpy.run_path(str(ROOT / "tests/fleet_script.py"))["script"]
    placed = place(model)
    changes = script(model, placed, 42, 0, HORIZON_NS)
    future = reference(model.columns, placed, changes, HORIZON_NS, power(model))
    return {"future_s": _seconds(future.run)}


def measure_start(size: str) -> dict[str, float]:
    """One verdict and no more; the time of the process counts."""
    from kfarm_twin.validate import validate  # noqa: PLC0415 - numba

    return {"futures": validate(example_request(size)).futures}


def measure_validate(size: str) -> dict[str, float]:
    """Time of a whole validation with its imports, and again in the same process."""
    start = time.perf_counter()
    from kfarm_twin.validate import validate  # noqa: PLC0415 - numba

    asked = example_request(size)
    built = time.perf_counter() - start
    first = _seconds(lambda: validate(asked))
    again = _seconds(lambda: validate(asked), REPEATS)
    verdict = validate(asked)
    return {
        "import_and_read_s": built,
        "first_s": first,
        "start_to_verdict_s": built + first,
        "again_s": again,
        "futures": verdict.futures,
        "resident_mib": _resident_mib(),
    }


MEASURES: dict[str, Callable[[str], dict[str, float]]] = {
    "futures": measure_futures,
    "naive": measure_naive,
    "start": measure_start,
    "validate": measure_validate,
}


def _in_process(measure: str, size: str, cache: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", measure, "--size", size]
    environment = os.environ | {"KFARM_CACHE": str(cache), "PYTHONPYCACHEPREFIX": str(cache)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found | {"process_s": time.perf_counter() - start}


def collect(show: Callable[[str], None]) -> dict[str, Any]:
    """All measurements."""
    found: dict[str, Any] = {"cpus": os.cpu_count(), "load_at_start": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        show("compiling the kernels from nothing")
        found["cold"] = _in_process("start", "510 nodes", cache)
        for size in FARMS:
            show(f"warm, {size}")
            found[size] = {
                name: _in_process(name, size, cache) for name in ("futures", "start", "validate")
            }
        show("plain-Python reference")
        found["naive"] = _in_process("naive", "510 nodes", cache)
    found["times_faster_than_naive"] = (
        found["naive"]["future_s"] / found["510 nodes"]["futures"]["future_s"]
    )
    return found


def table(found: dict[str, Any]) -> Table:
    """The measurements for people."""
    shown = Table("twin", *FARMS, title=f"{FUTURES} futures of 90 days, gang of 255 nodes")
    rows = (
        ("nodes", "futures", "nodes", "{:.0f}"),
        ("100 futures, warm [s]", "futures", "futures_100_s", "{:.3f}"),
        ("1,000 futures of 30 days, warm [s]", "futures", "thousand_months_s", "{:.2f}"),
        ("memory of 100 futures [MiB]", "futures", "memory_of_100_futures_mib", "{:.2f}"),
        ("growth while playing [MiB]", "futures", "growth_while_playing_mib", "{:.1f}"),
        ("resident, validate [MiB]", "validate", "resident_mib", "{:.0f}"),
        ("validate: import and read [s]", "validate", "import_and_read_s", "{:.2f}"),
        ("validate: first verdict [s]", "validate", "first_s", "{:.2f}"),
        ("validate: next verdict [s]", "validate", "again_s", "{:.3f}"),
        ("validate: whole process [s]", "start", "process_s", "{:.2f}"),
        ("futures until decided", "validate", "futures", "{:.0f}"),
    )
    for label, part, key, form in rows:
        shown.add_row(escape(label), *(form.format(found[size][part][key]) for size in FARMS))
    shown.add_section()
    shown.add_row("cold: verdict with compilation [s]", f"{found['cold']['process_s']:.1f}")
    shown.add_row(
        escape("plain-Python reference, one future [s]"), f"{found['naive']['future_s']:.2f}"
    )
    shown.add_row("kernels are faster by", f"{found['times_faster_than_naive']:.0f} x")
    shown.add_row("CPUs, load at start", f"{found['cpus']}, {found['load_at_start']:.1f}")
    return shown


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--measure", choices=sorted(MEASURES), help=argparse.SUPPRESS)
    parser.add_argument("--size", choices=list(FARMS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        sys.stdout.write(json.dumps(MEASURES[options.measure](options.size)))
        return
    console = Console()
    found = collect(lambda step: console.print(f"… {step}", highlight=False))
    console.print(table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
