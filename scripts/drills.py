"""Drills on a local control plane: the first one, or the whole library.

``make drill`` sets up 566 simulated nodes, runs the first drill of examples/drills and writes its
report; ``make drills`` runs them all and records predicted beside observed in docs/drills.json.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from kfarm_controlplane import ControlPlaneUnavailable, cache_directory, drillrecord
from kfarm_controlplane.drillhost import CLUSTER_NAME, DrillHost
from kfarm_operator.drillrun.files import read_drill
from kfarm_operator.drillrun.moments import runner_faults

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "examples/drills"
RECORD = ROOT / "docs/drills.json"
FIRST = "01-gpu-off-the-bus"


def main(argv: Sequence[str] | None = None) -> int:
    """Run; the exit code is 0 when all drills passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("first", "all"), help="one drill, or all of them")
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="of all: files whose names begin so"
    )
    parser.add_argument("--record", type=Path, help="of all: write the figures to this file")
    arguments = parser.parse_args(argv)
    work = cache_directory().parent / "drills"
    try:
        return _first(work) if arguments.what == "first" else _all(work, arguments)
    except ControlPlaneUnavailable as error:
        print(f"No control plane can be had: {error}")
        return 3


def drills(only: Sequence[str] | None = None) -> list[Path]:
    """Files of the library, in their order."""
    found = sorted(LIBRARY.glob("[0-9]*.yaml"))
    return [path for path in found if not only or path.name.startswith(tuple(only))]


def _first(work: Path) -> int:
    began = time.monotonic()
    path = LIBRARY / f"{FIRST}.yaml"
    with _host(began, work) as host:
        _step(began, "the chart is installed; nodes are made, and pods wait for the gate's verdict")
        host.prepare(LIBRARY / "ground.yaml")
        _step(began, "566 nodes are Ready and agree to drills; 112 pods of three plans run")
        print(read_drill([path]).runbook, flush=True)
        _step(began, f"kfarm drill run -f {path.relative_to(ROOT)} --confirm {CLUSTER_NAME}")
        saved = work / f"{FIRST}.yaml"
        code = subprocess.run(host.command([path], saved), check=False).returncode
    page = work / f"{FIRST}.html"
    if saved.exists() and _report(["-f", str(saved)], page):
        _step(began, f"the report: {page}")
    print(
        "Next: make drills runs the whole library; docs/drills.md says how to write a drill of"
        f" your own;\n{path.relative_to(ROOT)} is the one that you have just seen."
    )
    return code


def _all(work: Path, arguments: argparse.Namespace) -> int:
    began = time.monotonic()
    results = work / "results"
    results.mkdir(parents=True, exist_ok=True)
    for old in results.glob("*.json"):
        old.unlink()
    with _host(began, work, kueue=True) as host:
        host.prepare(LIBRARY / "ground.yaml", LIBRARY / "kueue/ground.yaml")
        library = Library(host, results, began)
        code = library.run(drills(arguments.only))
    if arguments.record is not None:
        command = "make drills" if arguments.record.resolve() == RECORD else " ".join(sys.argv)
        rows = [library.rows[name] for name in sorted(library.rows)]
        drillrecord.write(arguments.record, command, rows)
        _step(began, f"{len(rows)} drills recorded in {arguments.record}")
    page = work / "library.html"
    if library.rows and _report(["--all", str(results)], page):
        _step(began, f"the report of all: {page}")
    return code


class Library:
    """The drills of the library on one host: side by side where they touch different nodes."""

    def __init__(self, host: DrillHost, results: Path, began: float) -> None:
        self._host, self._results, self._began = host, results, began
        self._nodes = len(host.cluster.get("nodes")["items"])
        self._interrupted = threading.Event()
        self.rows: dict[str, dict[str, Any]] = {}

    def run(self, paths: Sequence[Path]) -> int:
        """Run them; the worst exit code. What stops the API server or the operator comes last."""
        lanes: dict[tuple[str, ...], list[Path]] = {}
        alone = []
        for path in paths:
            drill = read_drill([path]).drill
            if runner_faults(drill):
                alone.append(path)
            else:
                lane = ("tune",) if drill.spec.plans == ["tune"] else (drill.spec.farm.name,)
                lanes.setdefault(lane, []).append(path)
        pool = ThreadPoolExecutor(len(lanes) or 1)
        try:
            ended = list(pool.map(self._one_by_one, lanes.values()))
        except KeyboardInterrupt:  # the drills that run have it from the terminal, and abort
            self._interrupted.set()
            raise
        finally:
            pool.shutdown()
        return max([*(code for lane in ended for code in lane), *self._one_by_one(alone)])

    def _one_by_one(self, paths: Sequence[Path]) -> list[int]:
        return [self._one(path) for path in paths if not self._interrupted.is_set()] or [0]

    def _one(self, path: Path) -> int:
        since = time.monotonic()
        code, body, text = self._host.run(path)
        _step(self._began, f"{path.name}, begun {since - self._began:.0f} s\n{text}")
        if body:
            self.rows[path.name] = drillrecord.row(body, self._nodes, time.monotonic() - since)
            (self._host.work / f"{path.stem}.json").rename(self._results / f"{path.stem}.json")
        return code


def _host(began: float, work: Path, *, kueue: bool = False) -> DrillHost:
    _step(began, "starting a control plane; the first time, kernels are compiled meanwhile")
    return DrillHost(ROOT / "charts/kfarm", work, kueue=kueue)


def _report(what: Sequence[str], page: Path) -> bool:
    kfarm = Path(sys.executable).parent / "kfarm"
    command = [str(kfarm), "drill", "report", *what, "--html", str(page)]
    # 1: it was written, and a drill in it did not pass
    return subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode in (0, 1)


def _step(began: float, text: str) -> None:
    print(f"==> {time.monotonic() - began:6.1f} s  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
