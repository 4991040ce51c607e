"""Asking the twin about a drill, outside the event loop and once per question."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Protocol, TypeVar

from kfarm_twin.drill_request import DrillPrediction, DrillRequest

from kfarm_operator.runner import TwinFailed

Kept = TypeVar("Kept")
DEADLINE_S = 300.0
MEMORY_BYTES = 2 << 30
REMEMBERED = 32
RETRY_S = 30.0
LASTING_S = 3600.0
"""How long a failure that is the request's own fault is remembered."""


class Predictor(Protocol):
    """Where predictions are made: a process of its own per drill."""

    async def predict_drill(
        self, request: DrillRequest, *, deadline_s: float, memory_bytes: int
    ) -> DrillPrediction:
        """Ask the twin; raises TwinFailed."""


class Asked:
    """Answers by question, so that a write that was lost does not cost another run."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._answers: OrderedDict[str, DrillPrediction] = OrderedDict()
        self._failures: OrderedDict[str, tuple[float, TwinFailed]] = OrderedDict()

    async def predict(self, request: DrillRequest) -> DrillPrediction:
        """The answer, from memory where the same was asked before; raises TwinFailed."""
        digest = request.digest()
        if digest in self._answers:
            return self._answers[digest]
        until, failure = self._failures.get(digest, (0.0, None))
        if failure is not None and time.monotonic() < until:
            raise failure
        try:
            answer = await self._predictor.predict_drill(
                request, deadline_s=DEADLINE_S, memory_bytes=MEMORY_BYTES
            )
        except TwinFailed as error:
            lasts = LASTING_S if error.reason in ("BadInput", "TooLarge") else RETRY_S
            self._failures[digest] = (time.monotonic() + lasts, error)
            _forget_oldest(self._failures)
            raise
        self._answers[digest] = answer
        _forget_oldest(self._answers)
        return answer


def _forget_oldest(known: OrderedDict[str, Kept]) -> None:
    while len(known) > REMEMBERED:
        known.popitem(last=False)
