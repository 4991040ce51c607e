"""The operator inside the test's own process, so that a test decides when the twin answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import kopf
from kfarm_operator.client import KubeClient
from kfarm_operator.handlers import register
from kfarm_operator.service import Accounts, Role, Service
from kfarm_twin.request import ValidationRequest, Verdict

from kfarm_controlplane.errors import ControlPlaneError
from kfarm_controlplane.installation import Installation

START_S = 60.0
Validate = Callable[[ValidationRequest], Verdict]


class HeldTwin:
    """The real twin behind a door that a test opens and closes.

    Attributes
    ----------
    door
        Set while verdicts may pass.
    asked
        All questions so far, in order.
    before
        Called with each question before the twin is asked; may raise in its place.
    """

    def __init__(self, validate: Validate) -> None:
        self._validate = validate
        self.door = threading.Event()
        self.door.set()
        self.asked: list[ValidationRequest] = []
        self.before: Callable[[ValidationRequest], None] = lambda _: None

    async def run(
        self, request: ValidationRequest, *, deadline_s: float, memory_bytes: int
    ) -> Verdict:
        """Answer once the door is open."""
        del memory_bytes
        self.asked.append(request)
        self.before(request)
        verdict = await asyncio.to_thread(self._validate, request)
        opened = await asyncio.to_thread(self.door.wait, deadline_s)
        if not opened:
            raise ControlPlaneError("the door stayed shut", "open it in the test.")
        return verdict


class InProcessOperator:
    """kopf and the service on an event loop in a thread of their own."""

    def __init__(
        self,
        installation: Installation,
        twin: HeldTwin,
        role: Role = "all",
        connect: Callable[[Path], KubeClient] = KubeClient.connect,
    ) -> None:
        self._installation = installation
        self._connect = connect
        self._twin = twin
        self._role = role
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self.service: Service | None = None
        self._thread = threading.Thread(target=self._run, name="operator", daemon=True)

    @property
    def writes(self) -> int:
        """Writes that the API server accepted from this operator."""
        accounts = self._running.accounts
        return accounts.gate.writes + accounts.farm.writes

    @property
    def reconciles(self) -> int:
        """Reconciles of farms and plans so far."""
        return self._running.farm_queue.done + self._running.plan_queue.done

    @property
    def _running(self) -> Service:
        if self.service is None:
            raise ControlPlaneError("the operator does not run", "use it in a with.")
        return self.service

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(START_S) or self._failure is not None:
            raise ControlPlaneError(f"the operator did not start: {self._failure}", "read its log.")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._loop is not None and self._stop is not None:
            self._twin.door.set()
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self._failure = error
            self._started.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        accounts = Accounts(
            self._connect(self._installation.gate), self._connect(self._installation.farm)
        )
        service = self.service = Service(accounts, self._role, self._twin)
        registry = kopf.OperatorRegistry()
        register(registry, service)
        await service.start()
        ready = asyncio.Event()
        operator: Coroutine[Any, Any, None] = kopf.operator(
            registry=registry, clusterwide=True, standalone=True,
            stop_flag=self._stop, ready_flag=ready,
        )  # fmt: skip
        task = asyncio.create_task(operator)
        await ready.wait()
        self._started.set()
        try:
            await task
        finally:
            await service.stop()
