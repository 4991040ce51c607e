"""A real Prometheus server for tests: Debian's package, unpacked into the cache, never installed.

``$PATH`` is looked at first. The package is downloaded by apt with its checks of signatures and
unpacked by dpkg-deb; nothing is started by it and no root is needed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import yaml

from kfarm_controlplane.build import cache_directory
from kfarm_controlplane.cluster import wait_until
from kfarm_controlplane.errors import ControlPlaneUnavailable
from kfarm_controlplane.ports import PortReservation
from kfarm_controlplane.process import Component

DOWNLOAD_S = 300
START_S = 60.0


def prometheus_binary() -> Path:
    """The server's binary, downloaded where it is missing.

    Raises
    ------
    ControlPlaneUnavailable
        When it is neither there nor to be had.
    """
    if installed := shutil.which("prometheus"):
        return Path(installed)
    folder = cache_directory().parent / "prometheus"
    binary = folder / "usr/bin/prometheus"
    if not binary.is_file():
        _unpack(folder)
    return binary


def _unpack(folder: Path) -> None:
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise ControlPlaneUnavailable(
            f"no prometheus on PATH, and no {missing[0]} to get Debian's.",
            "install Prometheus, or run on Debian or Ubuntu.",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="prometheus-") as made:
        work = Path(made)
        package = _download(work)
        _run(["dpkg-deb", "-x", package.name, "tree"], work)
        # another process may have been faster: whose rename comes first does not matter
        if not (folder / "usr/bin/prometheus").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            (work / "tree").rename(folder)


def _download(folder: Path) -> Path:
    """Debian's package; apt's own lists are fetched into the folder where the system's are old."""
    try:
        _run(["apt-get", "download", "prometheus"], folder)
    except ControlPlaneUnavailable:
        (folder / "lists/partial").mkdir(parents=True)
        (folder / "cache/archives/partial").mkdir(parents=True)
        own = [f"Dir::State::Lists={folder / 'lists'}", f"Dir::Cache={folder / 'cache'}"]
        options = [part for option in own for part in ("-o", option)]
        _run(["apt-get", *options, "update"], folder)
        _run(["apt-get", *options, "download", "prometheus"], folder)
    package = next(folder.glob("prometheus_*.deb"), None)
    if package is None:
        raise ControlPlaneUnavailable("apt-get download left no package.", "run it by hand.")
    return package


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=DOWNLOAD_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ControlPlaneUnavailable(
            f"{' '.join(command)} took more than {DOWNLOAD_S} s.", "check the package mirror."
        ) from error
    if done.returncode:
        said = " ".join(done.stderr.split())[-300:]
        raise ControlPlaneUnavailable(
            f"{' '.join(command)} failed: {said}.", "run apt-get update, check the package mirror."
        )


class PrometheusServer:
    """A Prometheus on loopback with data of its own, to be used in a ``with``.

    Parameters
    ----------
    targets
        Addresses ``host:port`` of exporters by job.
    """

    def __init__(self, targets: Mapping[str, Sequence[str]], interval: str = "1s") -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="kfarm-prometheus-")
        self._ports = PortReservation()
        self.port = self._ports.take()
        folder = Path(self._folder.name)
        config = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval},
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": list(addresses)}]}
                for job, addresses in targets.items()
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        self._part = Component(
            "prometheus",
            [
                str(prometheus_binary()),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--log.level=warn",
            ],
            folder / "prometheus.log",
            {"GOMAXPROCS": "1"},
        )

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._part.start()
        wait_until(self._ready, START_S, "Prometheus answers")

    def stop(self) -> None:
        """Stop it; its data stays for another start."""
        self._part.stop()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Series of an instant query."""
        address = f"{self.url}/api/v1/query?query={quote(expression)}"
        with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310 - loopback
            return list(json.load(answer)["data"]["result"])

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except OSError:
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._part.stop()
        self._ports.release()
        self._folder.cleanup()


def required() -> bool:
    """Whether leaving out what cannot be had is a failure."""
    return os.environ.get("KFARM_REQUIRE_CLUSTER") == "1"
