"""Runs the twin for the operator: a request in, a verdict out, and one harm for one run only."""

from __future__ import annotations

from kfarm_api.base import Strict
from kfarm_twin import wire
from kfarm_twin.drill_request import DrillPrediction, DrillRequest
from kfarm_twin.fleetrun_request import FleetOrder, FleetRequest
from kfarm_twin.fleetrun_result import FleetRun
from kfarm_twin.request import ValidationRequest, Verdict
from kfarm_twin.whatif_request import PlayOrder, WhatIfRequest
from kfarm_twin.whatif_result import Played
from kfarm_twin.work.backend import REASONS, Backend, Entry, FailureReason, TwinFailed
from kfarm_twin.work.forkclient import ServerCommand
from kfarm_twin.work.forked import ForkBackend
from pydantic import ValidationError

__all__ = ["DrillRunner", "FailureReason", "TwinFailed", "TwinRunner", "WhatIfRunner"]

VERDICTS = Entry()
WHATIFS = Entry("kfarm_twin.whatif_play:play_json", "kfarm_twin.whatif_play:warm")
DRILLS = Entry("kfarm_twin.drill:predict_json", "kfarm_twin.warm:warm")
"""What runs do, for whoever makes the backend."""


class ReplyError(Strict):
    """Why a child has no verdict."""

    kind: wire.ErrorKind
    message: str


class Reply(Strict):
    """What a child says: exactly one of the two."""

    verdict: Verdict | None = None
    error: ReplyError | None = None


class TwinRunner:
    """Runs validations, each in a process of its own. Once closed, a runner stays closed.

    Parameters
    ----------
    concurrency
        Runs at once in the fork server; the number of cores when left out. Further ones wait;
        waiting does not count towards their deadline.
    command
        What the fork server runs.
    backend
        Where runs go instead of a fork server, for example a Dask scheduler.
    """

    def __init__(
        self,
        concurrency: int | None = None,
        command: ServerCommand | None = None,
        *,
        backend: Backend | None = None,
    ) -> None:
        self._backend: Backend = backend or ForkBackend(concurrency, command)

    @property
    def server_pid(self) -> int | None:
        """Process number of the running fork server; None where there is none."""
        return self._backend.server_pid if isinstance(self._backend, ForkBackend) else None

    async def start(self) -> None:
        """Get ready: a warm fork server, or a scheduler that answers.

        Raises
        ------
        TwinFailed
            When that cannot be.
        """
        await self._backend.start()

    async def close(self) -> None:
        """End every run; runs under way fail."""
        await self._backend.close()

    async def run(
        self, request: ValidationRequest, *, deadline_s: float, memory_bytes: int
    ) -> Verdict:
        """Ask the twin.

        Parameters
        ----------
        deadline_s
            Wall-clock time from the start of the child to its verdict [s].
        memory_bytes
            Address space that the child may use beyond the warm server's own [B].

        Raises
        ------
        TwinFailed
            When there is no verdict. Cancelling the caller kills the child.
        """
        body = request.model_dump_json(by_alias=True).encode()
        reply = await self.run_bytes(body, deadline_s=deadline_s, memory_bytes=memory_bytes)
        if reply.verdict is None:
            raise _told(reply.error)
        return reply.verdict

    async def run_bytes(self, body: bytes, *, deadline_s: float, memory_bytes: int) -> Reply:
        """Do one run on a request that is already JSON; see `run`."""
        raw = await self.exchange(body, deadline_s=deadline_s, memory_bytes=memory_bytes)
        try:
            return Reply.model_validate_json(raw)
        except ValidationError as error:
            raise TwinFailed("Crashed", f"the run's answer is not a verdict: {error}") from error

    async def exchange(self, body: bytes, *, deadline_s: float, memory_bytes: int) -> bytes:
        """Send bytes to a process of its own and return what it answers."""
        return await self._backend.exchange(body, deadline_s=deadline_s, memory_bytes=memory_bytes)


WHATIF_COMMAND = ServerCommand(entry=WHATIFS.entry, warm=WHATIFS.warm)


class PlayedReply(Strict):
    """What a child that played a replica says: exactly one of the two."""

    verdict: Played | None = None
    error: ReplyError | None = None


class FleetReply(Strict):
    """What a child that played a run of failures says: exactly one of the two."""

    verdict: FleetRun | None = None
    error: ReplyError | None = None


class WhatIfRunner(TwinRunner):
    """Plays TwinRuns, each replica in a process of its own."""

    def __init__(
        self,
        concurrency: int | None = None,
        command: ServerCommand = WHATIF_COMMAND,
        *,
        backend: Backend | None = None,
    ) -> None:
        super().__init__(concurrency, command, backend=backend)

    async def play(
        self, request: WhatIfRequest, replica: int, *, deadline_s: float, memory_bytes: int
    ) -> Played:
        """Play one replica; limits and failures as in `TwinRunner.run`."""
        body = PlayOrder(request=request, replica=replica).model_dump_json(by_alias=True).encode()
        raw = await self.exchange(body, deadline_s=deadline_s, memory_bytes=memory_bytes)
        try:
            reply = PlayedReply.model_validate_json(raw)
        except ValidationError as error:
            raise TwinFailed("Crashed", f"the run's answer is no replica: {error}") from error
        if reply.verdict is None:
            raise _told(reply.error)
        return reply.verdict

    async def play_failures(
        self, request: FleetRequest, *, deadline_s: float, memory_bytes: int
    ) -> FleetRun:
        """Play a run of failures; limits and failures as in `TwinRunner.run`."""
        body = FleetOrder(failures=request).model_dump_json(by_alias=True).encode()
        raw = await self.exchange(body, deadline_s=deadline_s, memory_bytes=memory_bytes)
        try:
            reply = FleetReply.model_validate_json(raw)
        except ValidationError as error:
            raise TwinFailed("Crashed", f"the run's answer is no result: {error}") from error
        if reply.verdict is None:
            raise _told(reply.error)
        return reply.verdict


DRILL_COMMAND = ServerCommand(entry=DRILLS.entry, warm=DRILLS.warm)


class DrillReply(Strict):
    """What a child that played a drill says: exactly one of the two."""

    verdict: DrillPrediction | None = None
    error: ReplyError | None = None


class DrillRunner(TwinRunner):
    """Predicts drills, each in a process of its own."""

    def __init__(
        self,
        concurrency: int | None = None,
        command: ServerCommand = DRILL_COMMAND,
        *,
        backend: Backend | None = None,
    ) -> None:
        super().__init__(concurrency, command, backend=backend)

    async def predict_drill(
        self, request: DrillRequest, *, deadline_s: float, memory_bytes: int
    ) -> DrillPrediction:
        """Play all futures of a drill; limits and failures as in `TwinRunner.run`."""
        body = request.model_dump_json(by_alias=True).encode()
        raw = await self.exchange(body, deadline_s=deadline_s, memory_bytes=memory_bytes)
        try:
            reply = DrillReply.model_validate_json(raw)
        except ValidationError as error:
            raise TwinFailed("Crashed", f"the run's answer is no prediction: {error}") from error
        if reply.verdict is None:
            raise _told(reply.error)
        return reply.verdict


def _told(error: ReplyError | None) -> TwinFailed:
    """The failure that a reply tells of."""
    if error is None:
        return TwinFailed("Crashed", "the reply is empty")
    return TwinFailed(REASONS[error.kind], error.message)
