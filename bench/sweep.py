"""What a point of a sweep costs beyond its own work: in this process, forked, on Dask.

``python bench/sweep.py [--points N] [--json FILE]`` prints a table; nothing is asserted. The
baseline is a plain loop in this process over the same requests, kernels warm: the small farm of the
warm-up with seeds 1 to N. Beside it an entry that does nothing (``builtins:bytes``), one run after
the other: what is left is the way there and back. Dask is a scheduler and as many workers of one
thread as there are cores, all on this machine; wall-clock times, so look at them on an idle one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kfarm_twin.forkserver import validate_json
from kfarm_twin.warm import warm, warm_request
from kfarm_twin.work.backend import Backend, Entry
from kfarm_twin.work.daskclient import DaskBackend
from kfarm_twin.work.forkclient import ServerCommand
from kfarm_twin.work.forked import ForkBackend
from rich.console import Console
from rich.table import Table

CORES = len(os.sched_getaffinity(0))
NOTHING = Entry("builtins:bytes", "")
TWIN = Entry()
EMPTY_RUNS = 60
LIMITS: dict[str, Any] = {"deadline_s": 300.0, "memory_bytes": 2 << 30}


def requests(points: int) -> list[bytes]:
    """One request for each point."""
    asked = warm_request()
    seeds = range(1, points + 1)
    made = (asked.model_copy(update={"seed": seed}) for seed in seeds)
    return [request.model_dump_json(by_alias=True).encode() for request in made]


@contextmanager
def cluster() -> Iterator[str]:
    """A scheduler with a worker for each core; their address."""
    module = "distributed.cli.dask_"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        common = ["--host", "127.0.0.1", "--no-dashboard"]
        place = ["--port", "0", "--scheduler-file", str(file)]
        started = [_start(folder, f"{module}scheduler", *common, *place)]
        try:
            while not file.exists():
                time.sleep(0.05)
            address: str = json.loads(file.read_text())["address"]
            worker = ["--nthreads", "1", "--no-nanny", "--local-directory", folder]
            for _ in range(CORES):
                started.append(_start(folder, f"{module}worker", address, *common, *worker))
            yield address
        finally:
            for process in reversed(started):
                process.kill()
                process.wait()


def _start(folder: str, module: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


async def one_by_one(backend: Backend) -> float:
    """Median time of a run that does nothing [s]."""
    times = []
    for number in range(EMPTY_RUNS + 5):
        start = time.perf_counter()
        await backend.exchange(b'{"n":%d}' % number, **LIMITS)
        times.append(time.perf_counter() - start)
    return statistics.median(times[5:])


async def all_at_once(backend: Backend, bodies: list[bytes]) -> float:
    """Time for all points, backend warm [s]."""
    await asyncio.gather(*(backend.exchange(bodies[0], **LIMITS) for _ in range(2 * CORES)))
    start = time.perf_counter()
    await asyncio.gather(*(backend.exchange(body, **LIMITS) for body in bodies))
    return time.perf_counter() - start


def in_this_process(bodies: list[bytes]) -> float:
    """Time of a plain loop [s]."""
    warm()
    validate_json(bodies[0])
    start = time.perf_counter()
    for body in bodies:
        validate_json(body)
    return time.perf_counter() - start


async def measured(make: Any, entry: Entry, bodies: list[bytes] | None) -> float:
    """One figure of one backend, which is closed afterwards."""
    backend: Backend = make(entry)
    try:
        await backend.start()
        return await (one_by_one(backend) if bodies is None else all_at_once(backend, bodies))
    finally:
        await backend.close()


def collect(points: int) -> dict[str, dict[str, float]]:
    """Seconds per point of each way, and of a run that does nothing."""
    bodies = requests(points)

    def forked(width: int) -> Any:
        return lambda e: ForkBackend(width, ServerCommand(entry=e.entry, warm=e.warm))

    found = {"loop": {"point_s": in_this_process(bodies) / points}}
    empty = asyncio.run(measured(forked(1), NOTHING, None))
    for width in sorted({1, CORES}):
        spent = asyncio.run(measured(forked(width), TWIN, bodies))
        found[f"fork server, {width} at a time"] = {"point_s": spent / points, "empty_s": empty}
    with cluster() as address:

        def on_dask(entry: Entry) -> Backend:
            return DaskBackend(address, entry, 2 * CORES)

        empty = asyncio.run(measured(on_dask, NOTHING, None))
        spent = asyncio.run(measured(on_dask, TWIN, bodies))
    found[f"Dask, {CORES} workers"] = {"point_s": spent / points, "empty_s": empty}
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = collect(options.points)
    table = Table("where", "a point [ms]", "against the loop", "an empty run [ms]")
    base = found["loop"]["point_s"]
    for name, row in found.items():
        empty = f"{1e3 * row['empty_s']:.1f}" if "empty_s" in row else ""
        ratio = f"{row['point_s'] / base:.2f}"
        table.add_row(name, f"{1e3 * row['point_s']:.1f}", ratio, empty)
    Console().print(table)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
