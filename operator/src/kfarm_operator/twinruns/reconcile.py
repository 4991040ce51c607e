"""TwinRuns: gather, decide, play, keep the result, write the status; level-based."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, get_args

from kfarm_api.farm import Farm
from kfarm_api.parse import InvalidObject, parse
from kfarm_api.twinrun import TwinRun
from kfarm_api.twinrun_status import RunState
from kfarm_twin.whatif_conclude import conclude
from kfarm_twin.whatif_request import WhatIfRequest, source_key
from kfarm_twin.whatif_result import Played, WhatIf

from kfarm_operator.client import CONFIG_MAPS, ApiError, KubeClient, kfarm_resource
from kfarm_operator.events import Events
from kfarm_operator.index import Index
from kfarm_operator.plans.status import same
from kfarm_operator.runner import TwinFailed
from kfarm_operator.twinruns import status as wanted_status
from kfarm_operator.twinruns.artifact import (
    MAX_BYTES,
    artifact_body,
    artifact_name,
    describe,
    is_ours,
    packed,
)
from kfarm_operator.twinruns.decide import (
    MAX_ATTEMPTS,
    RETRY_S,
    Finish,
    Gathered,
    Play,
    Ready,
    Rest,
    decide,
    resolve,
)

TWIN_RUNS = kfarm_resource("twinruns")
STEPS = 8
CANCEL_CHECK_S = 0.25
PROGRESS_S = 3.0
RECHECK_S = 300.0
"""How often the inputs and the artifact of a completed run are read again."""
_LOG = logging.getLogger(__name__)
Key = tuple[str, str]
JSON = dict[str, Any]
_STATES: frozenset[str] = frozenset(get_args(RunState))


class Player(Protocol):
    """Where replicas are played: a process of its own per replica."""

    async def play(
        self, request: WhatIfRequest, replica: int, *, deadline_s: float, memory_bytes: int
    ) -> Played:
        """Play one replica; raises TwinFailed."""


class Superseded(Exception):
    """The run was edited or deleted while it was played."""


@dataclass(frozen=True)
class Settled:
    """What of a completed run was last seen to be in order, and when."""

    uid: str
    generation: int
    farms: tuple[tuple[str | None, int], ...]
    at: float


class TwinRunReconciler:
    """Brings TwinRuns to a result, under the what-if account."""

    def __init__(
        self,
        client: KubeClient,
        index: Index,
        player: Player,
        latest: Callable[[Key], tuple[str, int] | None],
        *,
        deadline_s: float = 600.0,
        memory_bytes: int = 2 << 30,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._index = index
        self._player = player
        self._latest = latest
        self._deadline_s = deadline_s
        self._memory_bytes = memory_bytes
        self._clock = clock
        self._events = Events(client)
        self._settled: dict[Key, Settled] = {}
        self._width = len(os.sched_getaffinity(0))

    async def reconcile(self, key: Key) -> float | None:
        """Take one run as far as it goes."""
        for _ in range(STEPS):
            run, body = await asyncio.to_thread(self._read, key)
            if run is None or body is None:
                self._settled.pop(key, None)
                return None
            if self._is_settled(key, run):
                return None
            try:
                return await self._step(key, run, body)
            except Superseded:
                _LOG.info("%s/%s was edited or deleted; what was played is dropped", *key)
            except ApiError as error:
                if not error.conflict:
                    raise
                _LOG.debug("%s/%s changed meanwhile: %s", *key, error)
        return 0.2

    def _read(self, key: Key) -> tuple[TwinRun | None, JSON | None]:
        body = self._client.get(TWIN_RUNS, key[1], key[0])
        if body is None or "deletionTimestamp" in body["metadata"]:
            return None, None
        full = {**body, "kind": "TwinRun", "apiVersion": "kfarm.dev/v1alpha1"}
        try:
            run = parse(full, strict=False)
        except InvalidObject as error:
            _LOG.warning("TwinRun %s/%s cannot be read: %s", *key, error)
            return None, None
        return (run, body) if isinstance(run, TwinRun) else (None, None)

    def _farms(self, run: TwinRun) -> tuple[Farm | None, ...]:
        return tuple(self._index.farm(ref.kind, ref.name) for ref in run.spec.farms)

    def _farm_marks(self, run: TwinRun) -> tuple[tuple[str | None, int], ...]:
        farms = self._farms(run)
        return tuple((f.metadata.uid, f.metadata.generation) if f else ("", 0) for f in farms)

    def _is_settled(self, key: Key, run: TwinRun) -> bool:
        known, status = self._settled.get(key), run.status
        if known is None or status is None or status.state != "Completed":
            return False
        now = Settled(
            run.metadata.uid or "", run.metadata.generation, self._farm_marks(run), known.at
        )
        return known == now and time.monotonic() - known.at < RECHECK_S

    async def _step(self, key: Key, run: TwinRun, body: JSON) -> float | None:
        farms = self._farms(run)
        source = None
        wanted = None if run.spec.suspend else source_key(run.spec)
        if wanted is not None:
            source = await asyncio.to_thread(
                self._client.get, CONFIG_MAPS, wanted.name, run.metadata.namespace
            )
        resolved = await asyncio.to_thread(resolve, Gathered(run, farms, source))
        if isinstance(resolved, Rest):
            return await self._rest(run, body, resolved)
        found = await asyncio.to_thread(
            self._client.get,
            CONFIG_MAPS,
            artifact_name(run, resolved.digest),
            run.metadata.namespace,
        )
        match await asyncio.to_thread(decide, run, resolved.digest, found):
            case Rest() as rest:
                return await self._rest(run, body, rest)
            case Finish() as finish:
                await self._finish(key, run, body, finish)
                return None
            case Play(attempts):
                return await self._play(key, run, resolved, attempts)

    async def _rest(self, run: TwinRun, body: JSON, rest: Rest) -> float | None:
        state: Any = rest.state if rest.state in _STATES else "Pending"
        status = wanted_status.resting(run, state, rest.reason, rest.message, self._clock())
        kind: Literal["Normal", "Warning"] = "Normal" if state == "Suspended" else "Warning"
        await self._transition(run, body, status, kind, rest.reason, rest.message)
        return rest.again_s

    async def _transition(
        self,
        run: TwinRun,
        body: JSON,
        status: JSON,
        kind: Literal["Normal", "Warning"],
        reason: str,
        message: str,
    ) -> None:
        """Write a status that says something new; an Event where the reason is new."""
        if same(body.get("status"), status):
            return
        before = (
            [c.reason for c in run.status.conditions if c.type == "Ready"] if run.status else []
        )
        await asyncio.to_thread(self._write, run, status)
        if before != [reason]:
            await asyncio.to_thread(self._events.post, run, kind, reason, message)

    def _write(self, run: TwinRun, status: JSON) -> TwinRun:
        """Write the status of this very version; returns the run as it stands afterwards."""
        meta = run.metadata
        patch = {
            "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
            "status": status,
        }
        answer = self._client.patch(
            TWIN_RUNS, meta.name, patch, namespace=meta.namespace, sub="status"
        )
        full = {**answer, "kind": "TwinRun", "apiVersion": "kfarm.dev/v1alpha1"}
        written = parse(full, strict=False)
        return written if isinstance(written, TwinRun) else run

    async def _finish(self, key: Key, run: TwinRun, body: JSON, finish: Finish) -> None:
        await asyncio.to_thread(self._drop_old, run, finish.artifact.config_map)
        status = wanted_status.completed(run, finish.result, finish.artifact, self._clock())
        message = finish.result.headline[0]
        await self._transition(run, body, status, "Normal", "Completed", message)
        meta = run.metadata
        self._settled[key] = Settled(
            meta.uid or "", meta.generation, self._farm_marks(run), time.monotonic()
        )

    def _drop_old(self, run: TwinRun, name: str) -> None:
        """Delete the artifact that the status still names, before it names the new one."""
        old = run.status.artifact if run.status else None
        if old is None or old.config_map == name:
            return
        body = self._client.get(CONFIG_MAPS, old.config_map, run.metadata.namespace)
        if body is not None and is_ours(body, run):
            self._client.delete(
                CONFIG_MAPS,
                old.config_map,
                uid=body["metadata"]["uid"],
                namespace=run.metadata.namespace,
            )

    async def _play(self, key: Key, run: TwinRun, ready: Ready, attempts: int) -> float | None:
        now, digest = self._clock(), ready.digest
        begun = wanted_status.running(run, digest, done=0, attempts=attempts, now=now)
        run = await asyncio.to_thread(self._write, run, begun)
        _LOG.info("%s/%s: playing %d replicas", *key, run.spec.replicas)
        try:
            run, result = await self._played(key, run, ready, attempts)
            await asyncio.to_thread(self._store, run, digest, result)
        except TwinFailed as error:
            return await self._failed(run, digest, error, attempts)
        return 0.0

    async def _failed(
        self, run: TwinRun, digest: str, error: TwinFailed, attempts: int
    ) -> float | None:
        """Inputs at fault: rest until they change. Else try again, a bounded number of times."""
        fresh, _ = await asyncio.to_thread(
            self._read, (run.metadata.namespace or "", run.metadata.name)
        )
        if fresh is None or fresh.metadata.uid != run.metadata.uid:
            return None
        if fresh.metadata.generation != run.metadata.generation:
            return 0.0
        final = error.reason in ("BadInput", "TooLarge")
        tried = attempts + 1
        if final or tried >= MAX_ATTEMPTS:
            more = "" if final else f" (tried {tried} times; edit the TwinRun to try again)"
            status = wanted_status.failed(
                fresh, digest, error.reason, error.message + more,
                attempts=0 if final else tried, now=self._clock(),
            )  # fmt: skip
            await self._transition(fresh, {}, status, "Warning", error.reason, error.message + more)
            return None
        pause = RETRY_S[min(tried, len(RETRY_S)) - 1]
        text = f"attempt {tried} of {MAX_ATTEMPTS} failed ({error.reason}): {error.message}"
        status = wanted_status.running(
            fresh, digest, done=0, attempts=tried, now=self._clock(), retry=text
        )
        await self._transition(fresh, {}, status, "Warning", "Retrying", text)
        return pause

    async def _played(
        self, key: Key, run: TwinRun, ready: Ready, attempts: int
    ) -> tuple[TwinRun, WhatIf]:
        """Play all replicas, some at a time; progress goes to the status now and then."""
        played: dict[int, Played] = {}
        todo = iter(range(run.spec.replicas))
        marks = self._farm_marks(run)
        work = [
            asyncio.ensure_future(self._worker(ready, todo, played)) for _ in range(self._width)
        ]
        said, said_at = 0, time.monotonic()
        try:
            pending = set(work)
            while pending:
                done, pending = await asyncio.wait(
                    pending, timeout=CANCEL_CHECK_S, return_when=asyncio.FIRST_EXCEPTION
                )
                for task in done:
                    task.result()
                self._check_current(key, run, marks)
                if len(played) != said and time.monotonic() - said_at > PROGRESS_S:
                    said, said_at = len(played), time.monotonic()
                    run = await self._progress(run, ready.digest, said, attempts)
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
        farm = played[0].farm
        parts = [item.part for item in played.values()]
        return run, await asyncio.to_thread(conclude, ready.request, farm, parts)

    async def _worker(self, ready: Ready, todo: Any, played: dict[int, Played]) -> None:
        for replica in todo:
            played[replica] = await self._player.play(
                ready.request,
                replica,
                deadline_s=self._deadline_s,
                memory_bytes=self._memory_bytes,
            )

    def _check_current(self, key: Key, run: TwinRun, marks: object) -> None:
        """Raise Superseded when what is played is not what is asked for any more."""
        latest = self._latest(key)
        mine = (run.metadata.uid or "", run.metadata.generation)
        gone = latest is None
        newer = latest is not None and (latest[0] != mine[0] or latest[1] > mine[1])
        if gone or newer or self._farm_marks(run) != marks:
            raise Superseded

    async def _progress(self, run: TwinRun, digest: str, done: int, attempts: int) -> TwinRun:
        """Say how far it is; another writer's word is no reason to stop."""
        status = wanted_status.running(run, digest, done=done, attempts=attempts, now=self._clock())
        with contextlib.suppress(ApiError):
            return await asyncio.to_thread(self._write, run, status)
        return run

    def _store(self, run: TwinRun, digest: str, result: WhatIf) -> None:
        """Create the artifact of a run that still is; there already is as good."""
        raw, left = packed(result)
        if len(raw) > MAX_BYTES:
            raise TwinFailed("TooLarge", f"the result has {len(raw)} bytes: ask for fewer replicas")
        if left:
            _LOG.info("%s: left out of the artifact: %s", run.metadata.name, ", ".join(left))
        fresh, _ = self._read((run.metadata.namespace or "", run.metadata.name))
        mine = (run.metadata.uid, run.metadata.generation)
        if fresh is None or (fresh.metadata.uid, fresh.metadata.generation) != mine:
            raise Superseded
        body = artifact_body(run, digest, raw)
        try:
            self._client.create(CONFIG_MAPS, body, run.metadata.namespace)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        _LOG.debug("%s", describe(body["metadata"]["name"], raw))
