"""A real Dask cluster on loopback: a scheduler and workers, each a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PATIENCE_S = 120.0


class DaskCluster:
    """Starts processes in `folder` and ends them by their numbers.

    Parameters
    ----------
    path
        Folders that the workers import from, before others.
    """

    def __init__(self, folder: Path, path: tuple[Path, ...] = ()) -> None:
        self._folder = folder
        self._path = path
        self._processes: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.address = ""

    def start(self, workers: int = 2) -> None:
        self.start_scheduler()
        for _ in range(workers):
            self.start_worker(wait=False)
        self.wait_for_workers(workers)

    def start_scheduler(self, port: int = 0) -> None:
        file = self._folder / f"scheduler-{len(self._processes)}.json"
        self.scheduler = self._run(
            "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port),
            "--scheduler-file", str(file),
        )  # fmt: skip
        self._until(file.exists)
        self.address = json.loads(file.read_text())["address"]

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def start_worker(
        self, path: tuple[Path, ...] | None = None, *, wait: bool = True
    ) -> subprocess.Popen[bytes]:
        worker = self._run(
            "distributed.cli.dask_worker", self.address, "--host", "127.0.0.1", "--no-nanny",
            "--nthreads", "1", "--local-directory", str(self._folder), path=path,
        )  # fmt: skip
        self.workers.append(worker)
        if wait:
            self.wait_for_workers(sum(w.poll() is None for w in self.workers))
        return worker

    def _run(
        self, module: str, *arguments: str, path: tuple[Path, ...] | None = None
    ) -> subprocess.Popen[bytes]:
        folders = self._path if path is None else path
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
        with (self._folder / f"log-{len(self._processes)}").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, "--no-dashboard", *arguments],
                env=environment, cwd=self._folder, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._processes.append(process)
        return process

    def wait_for_workers(self, count: int) -> None:
        """Until as many are registered: each logs that its connection stands."""

        def registered() -> bool:
            logs = [path.read_text(errors="replace") for path in self._folder.glob("log-*")]
            return sum("Registered to:" in log for log in logs) >= count

        self._until(registered)

    def _until(self, condition: object) -> None:
        """Poll; the limit only turns a hang into a failure."""
        end = time.monotonic() + PATIENCE_S
        while not condition():  # type: ignore[operator]
            dead = [p for p in self._processes if p.poll() is not None and p is self.scheduler]
            if dead or time.monotonic() > end:
                logs = {p.name: p.read_text() for p in self._folder.glob("log-*")}
                raise AssertionError(f"the Dask cluster does not start: {logs}")
            time.sleep(0.02)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()

    def close(self) -> None:
        for process in reversed(self._processes):
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()


@contextlib.contextmanager
def running(folder: Path, path: tuple[Path, ...] = (), workers: int = 2) -> Iterator[DaskCluster]:
    """A cluster that ends with the block."""
    cluster = DaskCluster(folder, path)
    try:
        cluster.start(workers)
        yield cluster
    finally:
        cluster.close()
