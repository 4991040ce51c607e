"""``kfarm-operator``: start kopf, the service beside it, and the probes."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import kopf
from kfarm_twin.work.backend import ELSEWHERE
from kfarm_twin.work.daskclient import DaskBackend
from kfarm_twin.work.dasklink import check_address

from kfarm_operator.client import KubeClient
from kfarm_operator.drills.settings import add_drill_arguments, drill_settings
from kfarm_operator.handlers import register
from kfarm_operator.logs import set_up
from kfarm_operator.parts import Accounts
from kfarm_operator.probes import serve
from kfarm_operator.runner import (
    DRILLS,
    VERDICTS,
    WHATIFS,
    DrillRunner,
    TwinFailed,
    TwinRunner,
    WhatIfRunner,
)
from kfarm_operator.service import Service

EXIT_S = 8.0
"""From being told to stop to the end of the process at the latest."""
KOPF_S = 4.0
_LOG = logging.getLogger(__name__)


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="kfarm-operator", description=__doc__)
    parser.add_argument(
        "--role",
        choices=("gate", "farm", "whatif", "drill", "all"),
        default="all",
        help="what to reconcile: plans (gate), farms, what-ifs (whatif), drills (drill), or all",
    )
    parser.add_argument("--gate-kubeconfig", type=Path, help="account that lifts gates")
    parser.add_argument("--farm-kubeconfig", type=Path, help="account that writes nodes")
    parser.add_argument("--whatif-kubeconfig", type=Path, help="account that keeps results")
    parser.add_argument("--drill-kubeconfig", type=Path, help="account that carries out drills")
    add_drill_arguments(parser)
    parser.add_argument("--context", help="context in the kubeconfigs")
    parser.add_argument(
        "--probes", default="127.0.0.1:0", help="host:port of /healthz, /readyz, /metrics"
    )
    parser.add_argument("--runs", type=int, default=0, help="twin runs at a time; 0: one per core")
    parser.add_argument(
        "--log-format", choices=("text", "json"), default="text", help="json: one object a line"
    )
    parser.add_argument(
        "--scheduler", help="Dask scheduler that plays verdicts and what-ifs: tcp://host:port"
    )
    parser.add_argument(
        "--policies", type=Path, help="file of the chart with what its admission policies say"
    )
    parser.add_argument("--verbose", action="store_true", help="log every decision")
    arguments = parser.parse_args(argv)
    try:
        drill_settings(arguments)
    except ValueError as error:
        parser.error(str(error))
    if arguments.scheduler:
        try:
            check_address(arguments.scheduler)
        except ValueError as error:
            parser.error(f"--scheduler: {error}")
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Run until told to stop; exit code 1 when a watch ended for good."""
    arguments = parse_arguments(argv)
    set_up(arguments.log_format, verbose=arguments.verbose)
    sys.exit(asyncio.run(_run(arguments)))


async def _run(arguments: argparse.Namespace) -> int:
    accounts = _accounts(arguments)
    runner = make_runner(arguments)
    player = make_player(arguments) if accounts.whatif and arguments.role != "drill" else None
    predictor = make_predictor(arguments) if accounts.drill and arguments.role != "whatif" else None
    service = Service(
        accounts, arguments.role, runner, player, policies=arguments.policies,
        drills=drill_settings(arguments), predictor=predictor,
    )  # fmt: skip
    stop = asyncio.Event()
    _heed_signals(stop)
    probes = serve(arguments.probes, service)
    if arguments.role in ("gate", "all"):
        await _begin(runner, arguments)
    if arguments.role == "whatif" and player is not None:
        await _begin(player, arguments)
    if arguments.role == "drill" and predictor is not None:
        await _begin(predictor, arguments)
    try:
        return await _serve(service, stop)
    finally:
        probes.shutdown()
        await service.stop()
        await runner.close()
        for further in (player, predictor):
            if further is not None:
                await further.close()


def _heed_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _told_to_stop, stop)


def _told_to_stop(stop: asyncio.Event) -> None:
    """Stop in good order; after `EXIT_S` leave all the same.

    A thread that waits for a silent API server cannot be interrupted. To leave it behind is safe:
    every write carries preconditions, and the fork servers end with this process.
    """
    if stop.is_set():
        return
    _LOG.info("told to stop")
    stop.set()
    last = threading.Timer(EXIT_S, _leave)
    last.daemon = True
    last.start()


def _leave() -> None:
    _LOG.warning("work did not end within %g s; leaving it behind", EXIT_S)
    logging.shutdown()
    os._exit(0)


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


def make_predictor(arguments: argparse.Namespace) -> DrillRunner:
    """What predicts drills; the same choice."""
    runs = arguments.runs or None
    if not arguments.scheduler:
        return DrillRunner(concurrency=runs)
    return DrillRunner(backend=DaskBackend(arguments.scheduler, DRILLS, runs))


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
    if arguments.role in ("whatif", "drill"):
        given = getattr(arguments, f"{arguments.role}_kubeconfig")
        own = KubeClient.connect(given, arguments.context)
        return Accounts(own, own, own, own)
    gate = KubeClient.connect(arguments.gate_kubeconfig, arguments.context)
    farm = KubeClient.connect(
        arguments.farm_kubeconfig or arguments.gate_kubeconfig, arguments.context
    )
    whatif = None
    if arguments.role == "all" and arguments.whatif_kubeconfig is not None:
        whatif = KubeClient.connect(arguments.whatif_kubeconfig, arguments.context)
    elif arguments.role == "all":
        _LOG.info("TwinRuns are not played: give --whatif-kubeconfig")
    drill = None
    if arguments.role == "all" and arguments.drill_kubeconfig is not None:
        drill = KubeClient.connect(arguments.drill_kubeconfig, arguments.context)
    return Accounts(gate, farm, whatif, drill)


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
                await asyncio.wait_for(operator, timeout=KOPF_S)
            return 0
        error = None if operator.cancelled() else operator.exception()
        if error is None:
            _LOG.info("kopf was told to stop")
            return 0
        _LOG.error("kopf ended: %s", error)
        return 1
    finally:
        for task in (stopping, operator):
            task.cancel()
        await asyncio.gather(stopping, operator, return_exceptions=True)


async def _start(service: Service, registry: kopf.OperatorRegistry, stop: asyncio.Event) -> None:
    """List everything first, so that our kinds are served by the time kopf looks for them."""
    await service.start()
    ready = asyncio.Event()
    heeding = asyncio.create_task(_heed_again(ready, stop))
    try:
        await kopf.operator(
            registry=registry, clusterwide=True, standalone=True, stop_flag=stop, ready_flag=ready
        )
    finally:
        heeding.cancel()


async def _heed_again(ready: asyncio.Event, stop: asyncio.Event) -> None:
    """Take signals back from kopf, which takes them for itself when it starts."""
    await ready.wait()
    _heed_signals(stop)


if __name__ == "__main__":
    main()
