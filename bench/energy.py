"""Speed of the facility: cost of a future-year, beside plain Python on the same hours.

``python bench/energy.py [--json FILE]`` prints a table; nothing is asserted. Each figure comes from
a process of its own; times are CPU seconds of one core. The farm is examples/farms/nhn-cloud.yaml
(three clusters); the reference is the scalar account of the tests, timed on some hours only.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import runpy
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
HOURS = 8760
SPANS = {"day": 24, "quarter": 2160, "year": HOURS}
WORK = 876_000
"""Future-hours of a measurement."""
NAIVE_HOURS = 2000
REPEATS = 3
MEBI = 1024.0


def _facility() -> Any:
    from kfarm_twin.cli_inputs import read_inputs  # noqa: PLC0415
    from kfarm_twin.facility_describe import facility_of  # noqa: PLC0415 - numba

    inputs = read_inputs([ROOT / "examples/farms/nhn-cloud.yaml", ROOT / "examples/catalogue"])
    return facility_of(inputs.farms()[0], inputs.profiles()), inputs


def _power(facility: Any, futures: int, hours: int) -> Any:
    plate = np.array([cluster.nameplate_w for cluster in facility.clusters])
    shape = 0.7 + 0.3 * np.random.default_rng(0).random((futures, hours, 1))
    return shape * plate


def _least(function: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def measure_batch(span: str) -> dict[str, float]:
    """Metrics of a batch of futures of one length."""
    from kfarm_twin.facility_metrics import facility_metrics  # noqa: PLC0415 - numba

    facility, _ = _facility()
    hours = SPANS[span]
    futures = WORK // hours
    it = [_power(facility, futures, hours)]
    worked = np.ones(futures)
    seconds = _least(lambda: facility_metrics([facility], it, hours * 3600.0, worked))
    return {
        "futures": futures,
        "future_ms": seconds / futures * 1e3,
        "hour_us": seconds / (futures * hours) * 1e6,
        "resident_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEBI,
    }


def measure_naive() -> dict[str, float]:
    """The scalar account, hour by hour."""
    naive = runpy.run_path(str(ROOT / "tests/facility_naive.py"))["hour"]
    facility, _ = _facility()
    power = _power(facility, 1, NAIVE_HOURS)[0].tolist()
    air = list(zip(facility.climate.dry_c.tolist(), facility.climate.wet_c.tolist(), strict=True))

    def play() -> None:
        for h in range(NAIVE_HOURS):
            naive(facility, power[h], *air[h])

    return {"hour_us": _least(play) / NAIVE_HOURS * 1e6}


def measure_year() -> dict[str, float]:
    """A typical year of a farm as ``kfarm energy`` plays it, with the start of Python."""
    start = time.process_time()
    from kfarm_twin.energy import energy_year  # noqa: PLC0415 - numba
    from kfarm_twin.energy_result import Work  # noqa: PLC0415

    facility, inputs = _facility()
    farm, profiles = inputs.farms()[0], inputs.profiles()
    energy_year(farm, profiles, Work.steady(85.0), facility)
    first = time.process_time() - start
    return {
        "first_s": first,
        "year_s": _least(lambda: energy_year(farm, profiles, Work.steady(85.0), facility)),
    }


def _in_process(*arguments: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def collect(show: Callable[[str], None]) -> dict[str, Any]:
    """All measurements."""
    found: dict[str, Any] = {"cpus": os.cpu_count(), "load_at_start": os.getloadavg()[0]}
    for span in SPANS:
        show(f"futures of a {span}")
        found[span] = _in_process("batch", span)
    show("plain Python")
    found["naive"] = _in_process("naive")
    show("a farm's year")
    found["year of a farm"] = _in_process("year")
    return found


def table(found: dict[str, Any]) -> Table:
    """Cost of a future, and of an hour beside plain Python."""
    shown = Table(
        "futures of a", "each [ms]", "hour [us]", "plain Python [us]", "faster by", "MiB",
        title="facility of nhn-cloud (three clusters), CPU time",
    )  # fmt: skip
    naive = found["naive"]["hour_us"]
    for span in SPANS:
        row = found[span]
        shown.add_row(
            span,
            f"{row['future_ms']:.3g}",
            f"{row['hour_us']:.3g}",
            f"{naive:.3g}",
            f"{naive / row['hour_us']:.0f}",
            f"{row['resident_mib']:.0f}",
        )
    return shown


def main() -> None:
    """Print or measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        kind, *rest = options.measure
        measures: dict[str, Callable[..., dict[str, float]]] = {
            "batch": measure_batch, "naive": measure_naive, "year": measure_year,
        }  # fmt: skip
        sys.stdout.write(json.dumps(measures[kind](*rest)))
        return
    console = Console()
    found = collect(lambda what: console.print(f"[dim]{what}"))
    console.print(table(found))
    year = found["year of a farm"]
    console.print(
        f"kfarm energy's year of the farm: {year['first_s']:.2f} s from the start of Python, "
        f"{year['year_s']:.3f} s again"
    )
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
