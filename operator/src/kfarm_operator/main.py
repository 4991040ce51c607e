"""``kfarm-operator``: start kopf, the service beside it, and the probes."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import kopf
from kfarm_twin.work.backend import ELSEWHERE
from kfarm_twin.work.daskclient import DaskBackend
from kfarm_twin.work.dasklink import check_address

from kfarm_operator.client import KubeClient
from kfarm_operator.handlers import register
from kfarm_operator.runner import VERDICTS, WHATIFS, TwinFailed, TwinRunner, WhatIfRunner
from kfarm_operator.service import Accounts, Service

_LOG = logging.getLogger(__name__)


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="kfarm-operator", description=__doc__)
    parser.add_argument(
        "--role",
        choices=("gate", "farm", "whatif", "all"),
        default="all",
        help="what to reconcile: plans (gate), farms (farm), what-ifs (whatif), or all",
    )
    parser.add_argument("--gate-kubeconfig", type=Path, help="account that lifts gates")
    parser.add_argument("--farm-kubeconfig", type=Path, help="account that writes nodes")
    parser.add_argument("--whatif-kubeconfig", type=Path, help="account that keeps results")
    parser.add_argument("--context", help="context in the kubeconfigs")
    parser.add_argument("--probes", default="127.0.0.1:0", help="host:port of /healthz and /readyz")
    parser.add_argument("--runs", type=int, default=0, help="twin runs at a time; 0: one per core")
    parser.add_argument(
        "--scheduler", help="Dask scheduler that plays verdicts and what-ifs: tcp://host:port"
    )
    parser.add_argument("--verbose", action="store_true", help="log every decision")
    arguments = parser.parse_args(argv)
    if arguments.scheduler:
        try:
            check_address(arguments.scheduler)
        except ValueError as error:
            parser.error(f"--scheduler: {error}")
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Run until told to stop; exit code 1 when a watch ended for good."""
    arguments = parse_arguments(argv)
    logging.basicConfig(
        level=logging.DEBUG if arguments.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    for noisy in ("kopf", "urllib3", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    sys.exit(asyncio.run(_run(arguments)))


async def _run(arguments: argparse.Namespace) -> int:
    accounts = _accounts(arguments)
    runner = make_runner(arguments)
    player = make_player(arguments) if accounts.whatif else None
    service = Service(accounts, arguments.role, runner, player)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    probes = _serve_probes(arguments.probes, service)
    if arguments.role in ("gate", "all"):
        await _begin(runner, arguments)
    if arguments.role == "whatif" and player is not None:
        await _begin(player, arguments)
    try:
        return await _serve(service, stop)
    finally:
        probes.shutdown()
        await service.stop()
        await runner.close()
        if player is not None:
            await player.close()


def make_runner(arguments: argparse.Namespace) -> TwinRunner:
    """What asks the twin for verdicts: a fork server, or a Dask scheduler where one is named."""
    runs = arguments.runs or None
    if not arguments.scheduler:
        return TwinRunner(concurrency=runs)
    return TwinRunner(backend=DaskBackend(arguments.scheduler, VERDICTS, runs))


def make_player(arguments: argparse.Namespace) -> WhatIfRunner:
    """What plays TwinRuns; the same choice."""
    runs = arguments.runs or None
    if not arguments.scheduler:
        return WhatIfRunner(concurrency=runs)
    return WhatIfRunner(backend=DaskBackend(arguments.scheduler, WHATIFS, runs))


async def _begin(runner: TwinRunner, arguments: argparse.Namespace) -> None:
    """Get ready; a scheduler that does not answer yet keeps nobody from starting."""
    try:
        await runner.start()
    except TwinFailed as error:
        if not arguments.scheduler or error.reason not in ELSEWHERE:
            raise
        _LOG.warning("verdicts wait for their scheduler: %s", error.message)


def _accounts(arguments: argparse.Namespace) -> Accounts:
    """The accounts that the role needs; in a pod each role has its own alone."""
    if arguments.role == "whatif":
        own = KubeClient.connect(arguments.whatif_kubeconfig, arguments.context)
        return Accounts(own, own, own)
    gate = KubeClient.connect(arguments.gate_kubeconfig, arguments.context)
    farm = KubeClient.connect(
        arguments.farm_kubeconfig or arguments.gate_kubeconfig, arguments.context
    )
    whatif = None
    if arguments.role == "all" and arguments.whatif_kubeconfig is not None:
        whatif = KubeClient.connect(arguments.whatif_kubeconfig, arguments.context)
    elif arguments.role == "all":
        _LOG.info("TwinRuns are not played: give --whatif-kubeconfig")
    return Accounts(gate, farm, whatif)


async def _serve(service: Service, stop: asyncio.Event) -> int:
    """Run kopf until it is told to stop (0) or ends by itself (1)."""
    registry = kopf.OperatorRegistry()
    register(registry, service)
    stopping = asyncio.create_task(stop.wait())
    operator = asyncio.create_task(_start(service, registry, stop))
    try:
        await asyncio.wait({operator, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(operator, timeout=8)
            return 0
        _LOG.error("kopf ended: %s", operator.exception() if not operator.cancelled() else "")
        return 1
    finally:
        for task in (stopping, operator):
            task.cancel()
        await asyncio.gather(stopping, operator, return_exceptions=True)


async def _start(service: Service, registry: kopf.OperatorRegistry, stop: asyncio.Event) -> None:
    """List everything first, so that our kinds are served by the time kopf looks for them."""
    await service.start()
    await kopf.operator(registry=registry, clusterwide=True, standalone=True, stop_flag=stop)


def _serve_probes(address: str, service: Service) -> ThreadingHTTPServer:
    split = urlsplit(f"//{address}")

    class Probe(BaseHTTPRequestHandler):
        """Answers liveness and readiness."""

        def do_GET(self) -> None:
            """Answer 200 or 503."""
            good = {"/healthz": service.alive, "/readyz": service.ready.is_set}.get(self.path)
            self.send_response(404 if good is None else 200 if good() else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Probes are not logged."""

    server = ThreadingHTTPServer((split.hostname or "127.0.0.1", split.port or 0), Probe)
    Thread(target=server.serve_forever, name="probes", daemon=True).start()
    return server


if __name__ == "__main__":
    main()
