"""An exporter that replays recorded powers of accelerators, and servers that only seem to be one.

The temperature of a device is written down here without the twin: air at the inlet plus thermal
resistance times power, and whatever a test adds.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DEVICES = 8
POWER_STEPS = Path(__file__).parent / "data/power-steps.csv"


@cache
def recorded_powers() -> list[list[float]]:
    """Rows of powers [W] of eight devices: recorded where ``KFARM_SHARED`` has them, or made up."""
    folder = Path(os.environ.get("KFARM_SHARED", "/nonexistent")) / "traces/b200-power-steps"
    recorded = sorted(folder.glob("fixed-fans-node/*_pl600w.csv.gz"))
    return _of_run(recorded[0]) if recorded else made_up_powers()


def made_up_powers() -> list[list[float]]:
    """Rows of powers [W] of eight devices that differ by 30 W each under load."""
    with POWER_STEPS.open(encoding="utf-8", newline="") as file:
        return [[float(value) for value in row.values()] for row in csv.DictReader(file)]


def _of_run(path: Path) -> list[list[float]]:
    """Every third sample of a run with one line for each device and time."""
    rows: dict[str, dict[int, float]] = {}
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            power = float(line["gpu_power_w"])
            rows.setdefault(line["elapsed_seconds"], {})[int(line["gpu_id"])] = power
    whole = [[row[d] for d in sorted(row)] for row in rows.values() if len(row) == DEVICES]
    return whole[::3]


@dataclass
class Device:
    """How an exporter names things: templates of lines for a node `n` and a device `d`."""

    temperature: str
    power: str
    utilization: str
    healthy: str
    health: tuple[int, int]  # value when sound, value when bad


DCGM = Device(
    'DCGM_FI_DEV_GPU_TEMP{{gpu="{d}",UUID="GPU-{n}-{d}",device="nvidia{d}",Hostname="{n}"}}',
    'DCGM_FI_DEV_POWER_USAGE{{gpu="{d}",UUID="GPU-{n}-{d}",device="nvidia{d}",Hostname="{n}"}}',
    'DCGM_FI_DEV_GPU_UTIL{{gpu="{d}",UUID="GPU-{n}-{d}",device="nvidia{d}",Hostname="{n}"}}',
    'DCGM_FI_DEV_XID_ERRORS{{gpu="{d}",UUID="GPU-{n}-{d}",device="nvidia{d}",Hostname="{n}"}}',
    (0, 79),
)
RBLN = Device(
    'rbln_npu_temperature{{card="RBLN-CA25",name="rbln{d}",uuid="{n}-{d}",hostname="{n}"}}',
    'rbln_npu_power{{card="RBLN-CA25",name="rbln{d}",uuid="{n}-{d}",hostname="{n}"}}',
    'rbln_npu_utilization{{card="RBLN-CA25",name="rbln{d}",uuid="{n}-{d}",hostname="{n}"}}',
    'rbln_npu_health{{card="RBLN-CA25",name="rbln{d}",uuid="{n}-{d}",hostname="{n}"}}',
    (0, 1),
)
FURIOSA = Device(
    'furiosa_npu_hw_temperature{{arch="rngd",core="0-7",device="npu{d}",label="peak",'
    'uuid="{n}-{d}",hostname="{n}"}}',
    'furiosa_npu_hw_power{{arch="rngd",core="0-7",device="npu{d}",label="rms",uuid="{n}-{d}",'
    'hostname="{n}"}}',
    "",
    'furiosa_npu_alive{{arch="rngd",core="0-7",device="npu{d}",uuid="{n}-{d}",hostname="{n}"}}',
    (1, 0),
)
AMBIENT = (
    'furiosa_npu_hw_temperature{{arch="rngd",core="0-7",device="npu{d}",label="ambient",'
    'uuid="{n}-{d}",hostname="{n}"}}'
)


@dataclass
class Exporter:
    """Devices of some nodes under the names of one vendor; a scrape shows the next sample.

    Attributes
    ----------
    scale
        On recorded powers, for devices that draw less than those recorded.
    hotter_k
        Added to every temperature.
    card
        Devices whose power is shown as one.
    altered
        Called with each line and its value; what it returns is shown in its place.
    """

    names: Device
    nodes: Sequence[str]
    inlet_c: float
    resistance_k_per_w: float
    scale: float = 1.0
    hotter_k: float = 0.0
    tdp_w: float = 1000.0
    idle_w: float = 139.0
    card: int = 1
    bad: set[tuple[str, int]] = field(default_factory=set)
    altered: Callable[[str, str], str] = lambda _, value: value
    rows: list[list[float]] = field(default_factory=recorded_powers)
    scrapes: int = 0

    def page(self) -> str:
        """What the next scrape shows."""
        row = self.rows[self.scrapes % len(self.rows)]
        self.scrapes += 1
        lines: list[str] = []
        for n in self.nodes:
            for d, recorded in enumerate(row):
                watts = max(recorded * self.scale, self.idle_w)
                lines += self._lines(n, d, watts)
        return "\n".join(lines) + "\n"

    def _lines(self, n: str, d: int, watts: float) -> list[str]:
        die = self.inlet_c + self.resistance_k_per_w * watts + self.hotter_k
        busy = 100.0 * (watts - self.idle_w) / (self.tdp_w - self.idle_w)
        sound = self.names.health[int((n, d) in self.bad)]
        pairs = [(self.names.temperature, die), (self.names.power, watts * self.card)]
        pairs += [(self.names.utilization, busy), (self.names.healthy, float(sound))]
        if self.names is FURIOSA:
            pairs.append((AMBIENT, self.inlet_c))
        named = [(name.format(n=n, d=d), f"{value:.3f}") for name, value in pairs if name]
        return [f"{line} {self.altered(line, value)}" for line, value in named]


@contextlib.contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A server on loopback that answers GET by `answer`; yields its address ``host:port``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(OSError):
                answer(self)

        def log_message(self, *_: object) -> None:
            """Requests are not logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(
        target=server.serve_forever, args=(0.02,), name="serving", daemon=True
    )
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def exporting(exporter: Exporter) -> contextlib.AbstractContextManager[str]:
    """The exporter's page on loopback."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        body = exporter.page().encode()
        request.send_response(200)
        request.send_header("Content-Type", "text/plain; version=0.0.4")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return serving(answer)


def saying(body: bytes, status: int = 200, **headers: str) -> Callable[..., None]:
    """Answers every request alike."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


@contextlib.contextmanager
def silent_port() -> Iterator[str]:
    """A port that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield f"127.0.0.1:{listener.getsockname()[1]}"
