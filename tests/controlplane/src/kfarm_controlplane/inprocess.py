"""The operator inside the test's own process, so that a test decides when the twin answers."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import kopf
from kfarm_operator.client import KubeClient
from kfarm_operator.drills.predict import Predictor
from kfarm_operator.drills.settings import DrillSettings
from kfarm_operator.handlers import register
from kfarm_operator.parts import Accounts, Role
from kfarm_operator.runner import TwinFailed
from kfarm_operator.service import Service, Timing
from kfarm_twin.drill_request import DrillPrediction, DrillRequest
from kfarm_twin.fleetrun_request import FleetRequest
from kfarm_twin.fleetrun_result import FleetRun
from kfarm_twin.request import InputError, ValidationRequest, Verdict
from kfarm_twin.whatif_request import WhatIfRequest
from kfarm_twin.whatif_result import Played

from kfarm_controlplane.errors import ControlPlaneError
from kfarm_controlplane.installation import Installation

START_S = 60.0
Validate = Callable[[ValidationRequest], Verdict]
Asked = tuple[WhatIfRequest, int]


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


class HeldPlayer:
    """The real player of what-ifs behind a door that a test opens and closes.

    Attributes
    ----------
    door
        Set while replicas may pass.
    asked
        All replicas asked for so far, in order.
    before
        Called with each before it is played; may raise in its place.
    """

    def __init__(self) -> None:
        self.door = threading.Event()
        self.door.set()
        self.asked: list[Asked] = []
        self.before: Callable[[WhatIfRequest, int], None] = lambda *_: None

    async def play(
        self, request: WhatIfRequest, replica: int, *, deadline_s: float, memory_bytes: int
    ) -> Played:
        """Play once the door is open."""
        del memory_bytes
        self.asked.append((request, replica))
        self.before(request, replica)
        played = await asyncio.to_thread(play_one, request, replica)
        if not await asyncio.to_thread(self.door.wait, deadline_s):
            raise ControlPlaneError("the door stayed shut", "open it in the test.")
        return played

    async def play_failures(
        self, request: FleetRequest, *, deadline_s: float, memory_bytes: int
    ) -> FleetRun:
        """Play once the door is open."""
        del memory_bytes
        played = await asyncio.to_thread(play_failures, request)
        if not await asyncio.to_thread(self.door.wait, deadline_s):
            raise ControlPlaneError("the door stayed shut", "open it in the test.")
        return played


class InProcessPredictor:
    """The real prediction of drills, in a thread.

    Attributes
    ----------
    asked
        All questions so far, in order.
    """

    def __init__(self) -> None:
        self.asked: list[DrillRequest] = []

    async def predict_drill(
        self, request: DrillRequest, *, deadline_s: float, memory_bytes: int
    ) -> DrillPrediction:
        """Predict as the fork server's child does."""
        del deadline_s, memory_bytes
        self.asked.append(request)
        return await asyncio.to_thread(predict_drill, request)


def predict_drill(request: DrillRequest) -> DrillPrediction:
    """A drill, as the fork server's child plays it; input at fault fails as there."""
    from kfarm_twin.drill import predict

    try:
        return predict(request)
    except InputError as error:
        raise TwinFailed("BadInput", str(error)) from error


def play_failures(request: FleetRequest) -> FleetRun:
    """A run of failures, as the fork server's child plays it; input at fault fails as there."""
    from kfarm_twin.fleetrun import play

    try:
        return play(request)
    except InputError as error:
        raise TwinFailed("BadInput", str(error)) from error


def play_one(request: WhatIfRequest, replica: int) -> Played:
    """One replica, as the fork server's child plays it; input at fault fails as there."""
    from kfarm_twin.whatif import play_replica, prepare

    try:
        stage = prepare(request)
        return Played(part=play_replica(stage, replica), farm=stage.farm)
    except InputError as error:
        raise TwinFailed("BadInput", str(error)) from error


class InProcessOperator:
    """kopf and the service on an event loop in a thread of their own."""

    def __init__(
        self,
        installation: Installation,
        twin: HeldTwin,
        role: Role = "all",
        connect: Callable[[Path], KubeClient] = KubeClient.connect,
        player: HeldPlayer | None = None,
        timing: Timing | None = None,
        drills: DrillSettings | None = None,
        predictor: Predictor | None = None,
    ) -> None:
        self._installation = installation
        self._drills = drills
        self._predictor = predictor
        self._timing = timing
        self._connect = connect
        self._twin = twin
        self._player = player
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
        return sum(client.writes for client in self._running.accounts.all())

    @property
    def reconciles(self) -> int:
        """Reconciles of farms, plans and what-ifs so far."""
        counted = ("farms", "plans", "twinruns")
        return sum(queue.done for queue in self._running.queues() if queue.name in counted)

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
        self.stop()

    def stop(self) -> None:
        """End it; once more does nothing."""
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._twin.door.set()
            if self._player is not None:
                self._player.door.set()
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        # kopf leaves its watches unclosed when it is stopped; collected later, they would warn in
        # whatever test runs then.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self._failure = error
            self._started.set()

    def _drill_client(self) -> KubeClient | None:
        """The account of drills, where the test has said how far they may go."""
        if self._drills is None or self._installation.drill is None:
            return None
        return self._connect(self._installation.drill)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        installation = self._installation
        accounts = Accounts(
            self._connect(installation.gate),
            self._connect(installation.farm),
            self._connect(installation.whatif) if self._player is not None else None,
            self._drill_client(),
        )
        service = self.service = Service(
            accounts, self._role, self._twin, self._player, self._timing,
            drills=self._drills, predictor=self._predictor,
        )  # fmt: skip
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
