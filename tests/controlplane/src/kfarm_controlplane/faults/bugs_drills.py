"""Bugs in the controller of failure drills, and in the sweeper."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from typing import Any

from kfarm_api.drill_marks import ANNOTATION_UNTIL
from kfarm_api.drill_targets import choose
from kfarm_operator import sweeper
from kfarm_operator.client import NODES, ApiError, KubeClient
from kfarm_operator.drills import begin, inject, touch, undoing
from kfarm_operator.drills import decide as decide_module
from kfarm_operator.drills import reconcile as drills
from kfarm_operator.drills.clock import read_moment, whole
from kfarm_operator.drills.gather import DRILLS
from kfarm_operator.drills.journal import Undone, marks_of
from kfarm_operator.drills.steps import DropLock, Report
from kfarm_operator.drills.undoing import Step

from kfarm_controlplane.faults.bugs_writing import vars_of
from kfarm_controlplane.faults.drill_marks import owner


def touch_before_journal() -> None:
    """Touch the nodes of a wave, then write them down."""
    whole_plan = drills.DrillReconciler._plan

    def _plan(self: Any, key: Any, s: Any, step: Any, body: Any) -> None:
        bodies = self._gather.targets_of(step.wave.kind, step.wave.nodes)
        new = inject.entries(s, step.wave, bodies, self._clock())
        journal, until = [*s.status.journal, *new], s.status.until or ""
        self._toucher.apply(new, journal, s.key, until, lambda _: True)
        whole_plan(self, key, s, step, body)

    vars_of(drills.DrillReconciler, "_plan", _plan)


def undo_blindly() -> None:
    """Set back what was there before, whatever is there now."""

    def undo(entry: Any, body: Any) -> Undone:
        del body
        return Undone({change.field: change.before for change in entry.changes}, "Restored")

    vars_of(undoing, "undo", undo)


def undo_by_name() -> None:
    """Take a node of the same name for the one that was touched."""
    whole_step = undoing.step

    def step(entry: Any, body: Any, *more: Any) -> Step:
        if body is not None:
            entry = entry.model_copy(update={"uid": body["metadata"]["uid"]})
        return whole_step(entry, body, *more)

    vars_of(undoing, "step", step)


def end_too_late() -> None:
    """Mark what is touched with an end long after the drill's."""

    def marks(entries: Any, drill: Any, until: str) -> dict[str, str | None]:
        found = marks_of(entries, drill, until)
        if found[ANNOTATION_UNTIL]:
            later = read_moment(until) + timedelta(days=1)
            found[ANNOTATION_UNTIL] = whole(later)
        return found

    vars_of(touch, "marks_of", marks)


def status_left() -> None:
    """Take back what is in the spec, and forget the status subresource."""
    whole_write = touch.Toucher._write

    def _write(self: Any, entry: Any, body: Any, wanted: Any, *, status_first: bool = False) -> Any:
        kept = replace(wanted, status=None) if status_first else wanted
        return whole_write(self, entry, body, kept, status_first=status_first)

    vars_of(touch.Toucher, "_write", _write)


def lock_kept() -> None:
    """Never give a lock back."""
    whole_decide = decide_module.decide

    def decide(s: Any) -> Any:
        found = whole_decide(s)
        if not isinstance(found, DropLock):
            return found
        return whole_decide(replace(s, locks={}))

    vars_of(drills, "decide", decide)


def lock_ignored() -> None:
    """Begin whoever holds the lock."""
    vars_of(begin, "lock_names", lambda _: [])


def redrawn() -> None:
    """Choose targets anew when the operator comes back."""
    whole_decide = decide_module.decide
    known: set[str] = set()

    def decide(s: Any) -> Any:
        uid, begun = s.drill.metadata.uid, s.status.started_at is not None
        if begun and uid not in known and s.status.phase == "Running":
            simulation = s.drill.spec.simulation.model_copy(update={"seed": os.getpid()})
            spec = s.drill.spec.model_copy(update={"simulation": simulation})
            chosen = list(choose(spec, s.farm, list(s.candidates)).targets)
            if chosen and chosen != s.status.targets:
                return Report(s.status.model_copy(update={"targets": chosen}))
        known.add(uid)
        return whole_decide(s)

    vars_of(drills, "decide", decide)


def health_ignored() -> None:
    """Do not look how many nodes are healthy."""
    for module in (begin, inject):
        vars_of(module, "unhealthy", lambda *_: None)


def done_before_it_is() -> None:
    """Write down that entries are taken back, then take them back."""
    whole_undo = drills.DrillReconciler._undo

    def _undo(self: Any, key: Any, s: Any, written: Any, body: Any) -> Any:
        closed = [self._toucher._closed(entry, "Restored") for entry in written]
        self._noted(key, s, closed, [], body)
        return whole_undo(self, key, s, written, self._gather.read(key)[1])

    vars_of(drills.DrillReconciler, "_undo", _undo)


def no_finalizer() -> None:
    """Let a drill go whatever it has touched."""
    whole_decide = decide_module.decide
    vars_of(drills, "decide", lambda s: whole_decide(replace(s, finalized=True)))
    vars_of(drills.DrillReconciler, "_finalize", lambda *_, **__: None)


def stale_entry() -> None:
    """After a conflict read the node again, but not the drill."""
    vars_of(drills.DrillReconciler, "_still", lambda *_: True)


def blind_touch() -> None:
    """Write to nodes and Leases without uid and resourceVersion."""
    whole_patch = KubeClient.patch

    def patch(self: Any, resource: Any, name: str, body: Any, **more: Any) -> Any:
        if resource == NODES:
            meta = {
                k: v for k, v in body["metadata"].items() if k not in ("uid", "resourceVersion")
            }
            body = {**body, "metadata": meta}
        return whole_patch(self, resource, name, body, **more)

    vars_of(KubeClient, "patch", patch)


def sweeper_asks() -> None:
    """Take back what is overdue only where its drill is gone or has ended."""
    whole_left = sweeper.Sweeper._left

    def _left(self: Any, now: Any) -> Any:
        for resource, where, body in whole_left(self, now):
            by = owner(body)
            try:
                drill = self._client.get(DRILLS, by.name, by.namespace) if by else None
            except ApiError:
                continue
            if drill is None or (drill.get("status") or {}).get("phase") == "Completed":
                yield resource, where, body

    vars_of(sweeper.Sweeper, "_left", _left)
