"""Counts what goes to the twin and what comes back, whoever runs it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from kfarm_twin.drill_request import DrillPrediction, DrillRequest
from kfarm_twin.fleetrun_request import FleetRequest
from kfarm_twin.fleetrun_result import FleetRun
from kfarm_twin.request import ValidationRequest, Verdict
from kfarm_twin.whatif_request import WhatIfRequest
from kfarm_twin.whatif_result import Played

from kfarm_operator.asking import Runner
from kfarm_operator.drills.predict import Predictor
from kfarm_operator.instruments import Instruments, Sample
from kfarm_operator.runner import TwinFailed
from kfarm_operator.twinruns.reconcile import Player

T = TypeVar("T")


class _Meter:
    """Asks under way of one kind of work."""

    def __init__(self, instruments: Instruments, work: str, width: Callable[[], int]) -> None:
        self._instruments = instruments
        self._work = work
        self._width = width
        self._asked = 0
        instruments.read(self._samples)

    def _samples(self) -> list[Sample]:
        running = min(self._asked, self._width())
        states = (("running", running), ("waiting", self._asked - running))
        return [("kfarm_twin_runs", (self._work, state), float(n)) for state, n in states]

    async def meter(self, run: Awaitable[T]) -> T:
        """Await a run, and count it."""
        began = time.monotonic()
        self._asked += 1
        try:
            return await run
        except TwinFailed as error:
            self._instruments.count("kfarm_twin_failures_total", self._work, error.reason)
            raise
        finally:
            self._asked -= 1
            seconds = time.monotonic() - began
            self._instruments.took("kfarm_twin_run_seconds", self._work, seconds=seconds)


class MeteredRunner:
    """A runner of validations that is counted."""

    def __init__(self, runner: Runner, instruments: Instruments, width: Callable[[], int]) -> None:
        self._runner = runner
        self._meter = _Meter(instruments, "validation", width)

    async def run(
        self, request: ValidationRequest, *, deadline_s: float, memory_bytes: int
    ) -> Verdict:
        """Ask the twin; raises TwinFailed."""
        return await self._meter.meter(
            self._runner.run(request, deadline_s=deadline_s, memory_bytes=memory_bytes)
        )


class MeteredPlayer:
    """A player of what-ifs that is counted."""

    def __init__(self, player: Player, instruments: Instruments, width: Callable[[], int]) -> None:
        self._player = player
        self._meter = _Meter(instruments, "what-if", width)

    async def play(
        self, request: WhatIfRequest, replica: int, *, deadline_s: float, memory_bytes: int
    ) -> Played:
        """Play one replica; raises TwinFailed."""
        return await self._meter.meter(
            self._player.play(request, replica, deadline_s=deadline_s, memory_bytes=memory_bytes)
        )

    async def play_failures(
        self, request: FleetRequest, *, deadline_s: float, memory_bytes: int
    ) -> FleetRun:
        """Play a run of failures; raises TwinFailed."""
        return await self._meter.meter(
            self._player.play_failures(request, deadline_s=deadline_s, memory_bytes=memory_bytes)
        )


class MeteredPredictor:
    """A predictor of drills that is counted."""

    def __init__(
        self, predictor: Predictor, instruments: Instruments, width: Callable[[], int]
    ) -> None:
        self._predictor = predictor
        self._meter = _Meter(instruments, "drill", width)

    async def predict_drill(
        self, request: DrillRequest, *, deadline_s: float, memory_bytes: int
    ) -> DrillPrediction:
        """Ask the twin; raises TwinFailed."""
        return await self._meter.meter(
            self._predictor.predict_drill(request, deadline_s=deadline_s, memory_bytes=memory_bytes)
        )
