"""Asks the twin how far off it was, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from kfarm_twin.live_request import Compared, CompareRequest
from pydantic import ValidationError

DEADLINE_S = 180.0
"""Long enough to compile the heat kernels once on a slow machine."""
MAX_SAID = 300


class CompareFailed(Exception):
    """The twin gave no answer; says why."""


async def compare(request: CompareRequest, deadline_s: float = DEADLINE_S) -> Compared:
    """Predicted beside observed.

    Raises
    ------
    CompareFailed
        When there is no answer. Cancelling the caller kills the process.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kfarm_twin.live_compare",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    body = request.model_dump_json(by_alias=True).encode()
    try:
        async with asyncio.timeout(deadline_s):
            out, said = await process.communicate(body)
    except TimeoutError as error:
        raise CompareFailed(f"no answer within {deadline_s:g} s") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        words = " ".join(said.decode("utf-8", "replace").split())[-MAX_SAID:]
        raise CompareFailed(words or f"it ended with code {process.returncode}")
    try:
        return Compared.model_validate_json(out)
    except ValidationError as error:
        raise CompareFailed("its answer cannot be read") from error
