"""Asking the twin for a verdict, for as long as somebody wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from kfarm_twin.request import ValidationRequest, Verdict

CHECK_S = 0.25
DEADLINE_S = 120.0
MEMORY_BYTES = 1 << 30


class Runner(Protocol):
    """Where twin work goes: a process of its own per run."""

    async def run(
        self, request: ValidationRequest, *, deadline_s: float, memory_bytes: int
    ) -> Verdict:
        """Ask the twin; raises TwinFailed."""


async def ask(
    runner: Runner, request: ValidationRequest, pointless: Callable[[], bool]
) -> Verdict | None:
    """The twin's verdict; None, and the run ended, once `pointless` says so.

    Raises
    ------
    TwinFailed
        When there is no verdict.
    InputError
        When the manifests cannot be put to the twin.
    """
    run = asyncio.ensure_future(
        runner.run(request, deadline_s=DEADLINE_S, memory_bytes=MEMORY_BYTES)
    )
    try:
        while not (await asyncio.wait({run}, timeout=CHECK_S))[0]:
            if pointless():
                return None
        return run.result()
    finally:
        if not run.done():
            run.cancel()
