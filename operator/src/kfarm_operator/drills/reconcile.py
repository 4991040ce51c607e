"""Drills: gather, decide, apply, status; one step at a time from a fresh look."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from kfarm_api.drill_marks import FINALIZER
from kfarm_api.drill_status import FailureDrillStatus, JournalEntry, TimelineEntry

from kfarm_operator.client import ApiError, KubeClient
from kfarm_operator.drills import status as said
from kfarm_operator.drills.clock import read_moment
from kfarm_operator.drills.decide import decide
from kfarm_operator.drills.gather import DRILLS, LEASES, Gatherer, Key
from kfarm_operator.drills.inject import entries, out_of_service
from kfarm_operator.drills.locks import lock_body
from kfarm_operator.drills.predict import RETRY_S, Asked, Predictor
from kfarm_operator.drills.recorder import Recorder
from kfarm_operator.drills.remedies import evicted
from kfarm_operator.drills.request import build_request, predicted
from kfarm_operator.drills.settings import DrillSettings
from kfarm_operator.drills.situation import Situation
from kfarm_operator.drills.steps import (
    Apply,
    Decision,
    DropLock,
    Evict,
    Finalize,
    Plan,
    PlanRemedy,
    Predict,
    Prune,
    Report,
    Rest,
    Spawn,
    TakeLock,
    Undo,
)
from kfarm_operator.drills.touch import Outcome, Toucher
from kfarm_operator.drills.views import DrillPod
from kfarm_operator.events import Events
from kfarm_operator.plans.status import same
from kfarm_operator.runner import TwinFailed

STEPS = 40
JSON = dict[str, Any]
_LOG = logging.getLogger(__name__)


class DrillReconciler:
    """Brings drills to their end, under the drill account."""

    def __init__(
        self,
        client: KubeClient,
        gatherer: Gatherer,
        recorder: Recorder,
        threads: ThreadPoolExecutor,
        settings: DrillSettings,
        predictor: Predictor | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._gather = gatherer
        self._recorder = recorder
        self._settings = settings
        self._clock = clock
        self._toucher = Toucher(client, threads, clock)
        self._events = Events(client)
        self._waits: dict[Key, dict[str, datetime]] = {}
        self._twin = Asked(predictor) if predictor is not None else None

    async def reconcile(self, key: Key) -> float | None:
        """Take steps for one drill until there is nothing to do for a while."""
        for _ in range(STEPS):
            try:
                done, again_s = await self._step(key)
            except ApiError as error:
                if not error.conflict:
                    raise
                _LOG.debug("drill %s/%s changed meanwhile: %s", *key, error)
                continue
            if done:
                return again_s
        return 0.05

    async def _step(self, key: Key) -> tuple[bool, float | None]:
        found = await asyncio.to_thread(self._gather.read, key)
        if found is None:
            self._recorder.forget(key)
            self._waits.pop(key, None)
            return True, None
        drill, body = found
        s = await asyncio.to_thread(self._gather.situation, key, drill, body)
        s = replace(s, waiting=self._waiting(key, s.now))
        step = await asyncio.to_thread(decide, s)
        if isinstance(step, Predict):
            return await self._predict(key, s, step, body)
        return await asyncio.to_thread(self._apply, key, s, step, body)

    async def _predict(
        self, key: Key, s: Situation, step: Predict, body: JSON
    ) -> tuple[bool, float | None]:
        """Ask the twin; its answer is written on the drill as it was when the twin was asked."""
        if self._twin is None:
            return True, None
        tried = (s.status.reason or "").startswith("Prediction")
        if step.status.phase != s.status.phase and not tried:
            await asyncio.to_thread(self._write, key, s, step.status, body)
            return False, None
        around = await asyncio.to_thread(self._gather.surroundings, key, s)
        request = await asyncio.to_thread(build_request, s, around)
        try:
            answer = await self._twin.predict(request)
        except TwinFailed as error:
            message = f"the twin gave no prediction: {error.message}"
            status = said.phase(s, "Pending", f"Prediction{error.reason}", message)
            await asyncio.to_thread(self._write, key, s, status, body)
            return True, RETRY_S
        await asyncio.to_thread(self._write, key, s, predicted(s, answer), body)
        return False, None

    def _apply(
        self, key: Key, s: Situation, step: Decision, body: JSON
    ) -> tuple[bool, float | None]:
        """Carry out one step; returns whether it was the last, and when to look again [s]."""
        match step:
            case Report(status):
                self._write(key, s, status, body)
            case Rest(status, again_s):
                self._write(key, s, status, body)
                if status.phase == "Completed" and not s.finalized:
                    self._recorder.forget(key)
                return True, again_s
            case Plan():
                self._plan(key, s, step, body)
            case PlanRemedy():
                self._plan_remedy(key, s, step, body)
            case Apply(planned):
                return self._inject(key, s, planned, body)
            case Undo(written):
                return self._undo(key, s, written, body)
            case Evict():
                return self._evict(key, s, step, body)
            case _:
                return self._keep(key, s, step, body)
        return False, None

    def _keep(
        self, key: Key, s: Situation, step: Decision, body: JSON
    ) -> tuple[bool, float | None]:
        """Finalizer, lock and runs of a schedule."""
        match step:
            case Finalize(on):
                self._finalize(key, body, on=on)
            case TakeLock(name, before):
                self._lock(s, name, before)
            case DropLock(lock):
                self._client.delete(
                    LEASES, lock.name, uid=lock.uid, namespace=self._settings.namespace
                )
            case Spawn():
                self._spawn(key, s, step, body)
            case Prune(run):
                self._client.delete(DRILLS, run.name, uid=run.uid, namespace=key[0])
                return True, 1.0
        return False, None

    def _write(self, key: Key, s: Situation, status: FailureDrillStatus, body: JSON) -> None:
        """Write the status if it differs, and tell what turned."""
        wanted = said.body_of(status)
        if same(body.get("status"), wanted):
            self._note_told(key, s)
            return
        meta = {k: body["metadata"][k] for k in ("uid", "resourceVersion")}
        self._client.patch(
            DRILLS, key[1], {"metadata": meta, "status": wanted}, namespace=key[0], sub="status"
        )
        self._note_told(key, s)
        self._tell(s, status)

    def _note_told(self, key: Key, s: Situation) -> None:
        if s.seen:
            self._recorder.told(key, s.seen[-1].number)

    def _tell(self, s: Situation, status: FailureDrillStatus) -> None:
        """Events on transitions."""
        if (status.phase, status.reason) == (s.status.phase, s.status.reason):
            return
        good = status.reason in ("Passed", "Running", "Recovering", "TargetsChosen", "Predicting")
        reason = status.reason or status.phase or "Drill"
        self._events.post(
            s.drill, "Normal" if good else "Warning", reason, status.message or reason
        )

    def _finalize(self, key: Key, body: JSON, *, on: bool) -> None:
        meta = body["metadata"]
        kept = [name for name in meta.get("finalizers") or () if name != FINALIZER]
        wanted = [*kept, FINALIZER] if on else kept
        patch = {
            "metadata": {
                "uid": meta["uid"],
                "resourceVersion": meta["resourceVersion"],
                "finalizers": wanted,
            }
        }
        self._client.patch(DRILLS, key[1], patch, namespace=key[0])

    def _lock(self, s: Situation, name: str, before: Any) -> None:
        body = lock_body(s, name)
        where = self._settings.namespace
        if before is None:
            self._client.create(LEASES, body, where)
            return
        body["metadata"] |= {"uid": before.uid, "resourceVersion": before.resource_version}
        self._client.patch(LEASES, name, body, namespace=where)

    def _spawn(self, key: Key, s: Situation, step: Spawn, body: JSON) -> None:
        """Make a run; one that is there already was made before a crash."""
        try:
            self._client.create(DRILLS, dict(step.body), key[0])
        except ApiError as error:
            if not error.conflict:
                raise
        self._write(key, s, step.status, body)

    def _plan(self, key: Key, s: Situation, step: Plan, body: JSON) -> None:
        wave = step.wave
        bodies = self._gather.targets_of(wave.kind, wave.nodes)
        try:
            new = entries(s, wave, bodies, self._clock())
        except LookupError as error:
            self._write(key, s, said.skipped(s, wave.fault.name, str(error)), body)
            return
        self._toucher.planned(new)
        self._write(key, s, said.with_entries(s.status, new), body)

    def _plan_remedy(self, key: Key, s: Situation, step: PlanRemedy, body: JSON) -> None:
        bodies = self._gather.targets_of("Node", step.nodes)
        new = [out_of_service(s, step.fault, node) for node in bodies.values() if node]
        self._toucher.planned(new)
        self._write(key, s, said.with_entries(s.status, new), body)

    def _inject(
        self, key: Key, s: Situation, planned: Sequence[JournalEntry], body: JSON
    ) -> tuple[bool, float | None]:
        until = s.status.until or ""
        outcomes = self._toucher.apply(
            planned, s.status.journal, s.key, until, lambda entry: self._still(key, s, entry)
        )
        lines = [said.injected(s, one.entry) for one in outcomes if one.entry.state == "Applied"]
        return self._noted(key, s, outcomes, lines, body)

    def _still(self, key: Key, s: Situation, entry: JournalEntry) -> bool:
        """Whether the drill as it is now wants an entry made."""
        found = self._gather.read(key)
        if found is None or found[0].metadata.uid != s.drill.metadata.uid:
            return False
        drill, status = found[0], found[0].status
        if status is None or status.phase in ("Restoring", "Completed"):
            return False
        if drill.spec.abort or drill.metadata.deletion_timestamp is not None:
            return False
        return any(
            (one.id, one.state, one.planned_at) == (entry.id, "Planned", entry.planned_at)
            for one in status.journal
        )

    def _undo(
        self, key: Key, s: Situation, written: Sequence[JournalEntry], body: JSON
    ) -> tuple[bool, float | None]:
        until = s.status.until or ""
        outcomes = self._toucher.undo(written, s.status.journal, s.key, until)
        lines = [
            said.entry(
                read_moment(one.entry.restored_at), "Restored", fault=one.entry.fault,
                about=one.entry.name,
                message="" if one.entry.state == "Restored" else f"{one.entry.state}",
            )
            for one in outcomes
            if one.entry.restored_at
        ]  # fmt: skip
        return self._noted(key, s, outcomes, lines, body)

    def _noted(
        self, key: Key, s: Situation, outcomes: Sequence[Outcome],
        lines: Sequence[TimelineEntry], body: JSON,
    ) -> tuple[bool, float | None]:  # fmt: skip
        """Write down what came of entries; raise the first refusal afterwards."""
        status = said.with_entries(s.status, [one.entry for one in outcomes])
        status = status.model_copy(update={"timeline": said.told(status.timeline, *lines)})
        self._write(key, s, status, body)
        errors = [one.error for one in outcomes if one.error]
        if errors:
            raise errors[0]
        waits = {
            one.entry.id: s.now + timedelta(seconds=one.again_s) for one in outcomes if one.again_s
        }
        self._waits[key] = {**self._waits.get(key, {}), **waits}
        return False, None

    def _waiting(self, key: Key, now: datetime) -> frozenset[str]:
        """Entries that need no step of ours as yet."""
        left = {name: at for name, at in self._waits.pop(key, {}).items() if at > now}
        if left:
            self._waits[key] = left
        return frozenset(left)

    def _evict(self, key: Key, s: Situation, step: Evict, body: JSON) -> tuple[bool, float | None]:
        """Ask for evictions; a budget that forbids one for now is asked again."""
        refused: list[str] = []
        for pod in step.pods:
            if not self._ask(pod):
                refused.append(pod.uid)
        self._write(key, s, evicted(s, step.fault, step.pods, refused), body)
        return bool(refused), 1.0 if refused else None

    def _ask(self, pod: DrillPod) -> bool:
        try:
            self._client.evict(pod.namespace, pod.name, pod.uid)
        except ApiError as error:
            if error.status != 429:
                raise
            return False
        return True
