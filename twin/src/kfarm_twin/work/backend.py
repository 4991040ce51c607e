"""The one interface of twin work, and how a run fails. Light: no kernels, no Dask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from kfarm_twin import wire

FailureReason = Literal[
    "DeadlineExceeded",
    "MemoryExceeded",
    "Crashed",
    "BadInput",
    "TooLarge",
    "SchedulerLost",
    "WorkerLost",
    "WorkerMismatch",
]
REASONS: dict[wire.ErrorKind, FailureReason] = {
    "InputError": "BadInput",
    "Crash": "Crashed",
    "Memory": "MemoryExceeded",
    "TooLarge": "TooLarge",
}
"""What an error in a reply means."""
ELSEWHERE: frozenset[FailureReason] = frozenset(("SchedulerLost", "WorkerLost", "WorkerMismatch"))
"""Reasons that speak of a cluster of workers and never of the request."""


class TwinFailed(Exception):
    """A run gave no verdict.

    Attributes
    ----------
    reason
        CamelCase word for a condition. Only ``BadInput`` and ``TooLarge`` say something about the
        request; the others may pass on another attempt.
    message
        A sentence for a person.
    """

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason: FailureReason = reason
        self.message = message


@dataclass(frozen=True)
class Entry:
    """What a run calls, each as ``module:function``.

    Attributes
    ----------
    entry
        From the bytes of a request to the bytes of a result; a pure function, so that a run that
        was lost may simply be done again.
    warm
        Called once before the first run; empty for nothing.
    """

    entry: str = "kfarm_twin.forkserver:validate_json"
    warm: str = "kfarm_twin.warm:warm"


class Backend(Protocol):
    """Runs an entry on requests, each in a process of its own, wherever that may be."""

    async def start(self) -> None:
        """Get ready; raises TwinFailed when that cannot be."""

    async def width(self) -> int:
        """Runs that make progress at a time."""

    async def exchange(self, body: bytes, *, deadline_s: float, memory_bytes: int) -> bytes:
        """Do one run and return its reply, as `kfarm_twin.wire` frames it, without the length.

        Parameters
        ----------
        deadline_s
            Wall-clock time from the start of the run's process to its reply [s]; waiting for a
            place does not count.
        memory_bytes
            Address space that the run may use beyond a warm process's own [B].

        Raises
        ------
        TwinFailed
            When there is no reply. Cancelling the caller ends the run.
        """

    async def close(self) -> None:
        """End every run; runs under way fail. A closed backend stays closed."""


def check_size(body: bytes) -> None:
    """Refuse a request that no run takes.

    Raises
    ------
    TwinFailed
        With reason ``TooLarge``.
    """
    if len(body) > wire.MAX_REQUEST_BYTES:
        raise TwinFailed(
            "TooLarge",
            f"the request has {len(body)} bytes; at most {wire.MAX_REQUEST_BYTES} are taken: "
            "name fewer farms in one plan",
        )
