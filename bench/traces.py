"""Speed and memory of trace readers, beside plain readers of the same files in the same run.

``python bench/traces.py [--jobs N] [--json FILE]`` prints a table; nothing is asserted. The traces
are generated in a temporary directory. Each figure comes from a process of its own. The baselines
read the same columns and check nothing: ``numpy.loadtxt`` for SWF, the csv module with ``int`` for
CSV, ``pyarrow.parquet.read_table`` for Parquet.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

MEBI = 1024.0
FORMS = {"swf": "t.swf", "swf.gz": "t.swf.gz", "csv": "t.csv", "parquet": "t.parquet"}


def write_files(folder: Path, jobs: int) -> dict[str, float]:
    """Generate jobs and write them in each form; the time of each step [s]."""
    from kfarm_twin.traces import Target  # noqa: PLC0415 - only this process needs them
    from kfarm_twin.traces.generate import generate  # noqa: PLC0415
    from kfarm_twin.traces.model import default_model  # noqa: PLC0415
    from kfarm_twin.traces.write import write_trace  # noqa: PLC0415

    start = time.perf_counter()
    trace = generate(default_model(), jobs, 1)
    found = {"generate": time.perf_counter() - start}
    targets = {"swf": Target.SWF, "swf.gz": Target.SWF, "csv": Target.CSV, "parquet": Target.KFARM}
    for form, target in targets.items():
        start = time.perf_counter()
        write_trace(trace, folder / FORMS[form], target)
        found[form] = time.perf_counter() - start
    return found


def by_kfarm(path: Path) -> int:
    """Read as the twin does."""
    from kfarm_twin.traces import read  # noqa: PLC0415

    return len(read(path, gpus_per_node=8).trace.ids)


def by_loadtxt(path: Path) -> int:
    """The columns of SWF that the twin uses, by numpy."""
    import numpy as np  # noqa: PLC0415

    used = (0, 1, 3, 4, 7, 8, 10, 14)
    return len(np.loadtxt(path, dtype=np.int64, comments=";", usecols=used))


def by_csv(path: Path) -> int:
    """Rows of CSV with whole numbers, by the csv module."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        return len([(row[0], *map(int, row[1:10]), row[10], row[11]) for row in rows])


def by_read_table(path: Path) -> int:
    """All columns, by Arrow."""
    from pyarrow import parquet  # noqa: PLC0415

    return int(parquet.read_table(path).num_rows)


BASELINES: dict[str, Callable[[Path], int]] = {
    "swf": by_loadtxt,
    "swf.gz": by_loadtxt,
    "csv": by_csv,
    "parquet": by_read_table,
}


def measure(reader: Callable[[Path], int], path: Path) -> dict[str, float]:
    """Time of one reading, imports included, and peak memory of this process."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    jobs = reader(path)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"jobs": jobs, "wall_s": wall, "cpu_s": cpu, "peak_mib": after.ru_maxrss / MEBI}


def _in_process(*arguments: str) -> dict[str, float]:
    """What a process of its own measures; this one stays small, since memory is inherited."""
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def collect(jobs: int, show: Callable[[str], None]) -> dict[str, Any]:
    """All measurements."""
    found: dict[str, Any] = {"cpus": os.cpu_count(), "load_at_start": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        show(f"generating {jobs:,} jobs")
        found["write_s"] = _in_process("--write", str(folder), "--jobs", str(jobs))
        for form, file in FORMS.items():
            show(f"reading {form}")
            read = ("--read", str(folder / file), "--form", form, "--by")
            ours, plain = _in_process(*read, "kfarm"), _in_process(*read, "baseline")
            found[form] = {
                "file_mib": (folder / file).stat().st_size / MEBI**2,
                "kfarm": ours,
                "baseline": plain,
                "cpu_baseline_over_kfarm": plain["cpu_s"] / ours["cpu_s"],
            }
    return found


def table(found: dict[str, Any], jobs: int) -> Table:
    """The measurements for people."""
    shown = Table("reader", *FORMS, title=f"{jobs:,} jobs, each reading in a process of its own")
    shown.add_row(escape("file [MiB]"), *(f"{found[form]['file_mib']:.1f}" for form in FORMS))
    shown.add_row(escape("write [s]"), *(f"{found['write_s'][form]:.2f}" for form in FORMS))
    shown.add_section()
    for who in ("kfarm", "baseline"):
        for label, key, form_text in (
            ("read [s]", "wall_s", "{:.2f}"),
            ("read, CPU [s]", "cpu_s", "{:.2f}"),
            ("peak memory [MiB]", "peak_mib", "{:.0f}"),
        ):
            cells = (form_text.format(found[form][who][key]) for form in FORMS)
            shown.add_row(escape(f"{who}: {label}"), *cells)
    shown.add_section()
    ratios = (f"{found[form]['cpu_baseline_over_kfarm']:.2f}" for form in FORMS)
    shown.add_row("CPU time, baseline / kfarm", *ratios)
    shown.add_row(escape("generate the jobs [s]"), f"{found['write_s']['generate']:.2f}")
    shown.add_row("CPUs, load at start", f"{found['cpus']}, {found['load_at_start']:.1f}")
    return shown


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--form", choices=list(FORMS), help=argparse.SUPPRESS)
    parser.add_argument("--by", choices=("kfarm", "baseline"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        sys.stdout.write(json.dumps(write_files(options.write, options.jobs)))
        return
    if options.read:
        reader = by_kfarm if options.by == "kfarm" else BASELINES[options.form]
        sys.stdout.write(json.dumps(measure(reader, options.read)))
        return
    console = Console()
    found = collect(options.jobs, lambda step: console.print(f"… {step}", highlight=False))
    console.print(table(found, options.jobs))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
