"""A real Prometheus server for tests: Debian's package, unpacked into the cache, never installed.

``$PATH`` is looked at first.
"""

from __future__ import annotations

import json
import os
import shutil
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
from kfarm_controlplane.debian import unpack
from kfarm_controlplane.ports import PortReservation
from kfarm_controlplane.process import Component

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
    unpack(["prometheus"], folder, "usr/bin/prometheus")
    return folder / "usr/bin/prometheus"


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
