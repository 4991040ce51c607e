"""Writes to Nodes and Leases: what the journal has as planned, and its way back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kfarm_api.drill_marks import ANNOTATION_DRILL
from kfarm_api.drill_status import JournalEntry

from kfarm_operator.client import NODES, ApiError, KubeClient
from kfarm_operator.drills import undoing
from kfarm_operator.drills.clock import moment, read_moment
from kfarm_operator.drills.gather import LEASES, NODE_LEASES
from kfarm_operator.drills.inject import held, outlives
from kfarm_operator.drills.journal import OPEN, Patches, marks_of, patches, redo

JSON = dict[str, Any]
TRIES = 5


@dataclass(frozen=True)
class Outcome:
    """What became of an entry: as it stands now, or the error that stopped it.

    Attributes
    ----------
    again_s
        When to go on with an entry that is not yet taken back [s].
    """

    entry: JournalEntry
    again_s: float = 0.0
    error: ApiError | None = None


class Toucher:
    """Applies and takes back journal entries, side by side, each write with its preconditions."""

    def __init__(
        self, client: KubeClient, threads: ThreadPoolExecutor, clock: Callable[[], datetime]
    ) -> None:
        self._client = client
        self._threads = threads
        self._clock = clock
        self._unsent: set[str] = set()
        self._met: dict[str, datetime] = {}

    def planned(self, entries: Iterable[JournalEntry]) -> None:
        """Take note of entries that this process has written down and not tried to apply."""
        self._unsent.update(_identity(entry) for entry in entries)

    def apply(
        self, entries: Iterable[JournalEntry], journal: Sequence[JournalEntry], drill: str,
        until: str, still: Callable[[JournalEntry], bool],
    ) -> list[Outcome]:  # fmt: skip
        """Make what is planned; an object that is gone, or another of its name, is passed over.

        Parameters
        ----------
        still
            Whether the drill, read afresh, still wants an entry made. Asked after the object was
            read, so that whoever ends the drill in between has moved the object's version on.
        """

        def one(entry: JournalEntry) -> Outcome:
            marks = marks_of(_open_on(journal, entry), drill, until)
            self._unsent.discard(_identity(entry))
            return self._retried(entry, lambda: self._apply(entry, marks, until, still))

        return list(self._threads.map(one, entries))

    def undo(
        self, entries: Sequence[JournalEntry], journal: Sequence[JournalEntry], drill: str,
        until: str,
    ) -> list[Outcome]:  # fmt: skip
        """Take entries back; those of one object one after the other, the last first."""
        groups: dict[tuple[str, str], list[JournalEntry]] = {}
        for entry in entries:
            groups.setdefault((entry.kind, entry.name), []).append(entry)

        def all_of(group: list[JournalEntry]) -> list[Outcome]:
            done: list[Outcome] = []
            gone: set[str] = set()
            for entry in group:
                left = [
                    e for e in _open_on(journal, entry) if e.id not in gone and e.id != entry.id
                ]
                marks = marks_of(left, drill, until)
                found = self._retried(entry, lambda e=entry, m=marks: self._undo(e, m, drill))  # type: ignore[misc]
                done.append(found)
                if found.error or found.again_s:
                    break
                gone.add(entry.id)
            return done

        return [found for group in self._threads.map(all_of, groups.values()) for found in group]

    def _retried(self, entry: JournalEntry, work: Callable[[], Outcome]) -> Outcome:
        """Heartbeats change objects all the time: on a conflict start over from a fresh look."""
        error: ApiError | None = None
        for _ in range(TRIES):
            try:
                return work()
            except ApiError as failure:
                error = failure
                if not failure.conflict:
                    break
        return Outcome(entry, error=error)

    def _read(self, entry: JournalEntry) -> JSON | None:
        if entry.kind == "Node":
            return self._client.get(NODES, entry.name)
        return self._client.get(LEASES, entry.name, NODE_LEASES)

    def _apply(
        self, entry: JournalEntry, marks: Mapping[str, str | None], until: str,
        still: Callable[[JournalEntry], bool],
    ) -> Outcome:  # fmt: skip
        body = self._read(entry)
        if body is None or body["metadata"]["uid"] != entry.uid:
            return Outcome(entry.model_copy(update={"state": "Gone"}))
        # what follows may be seen before the answer to the write is
        began = self._clock()
        if not entry.changes:
            return _applied(entry, began)
        if not still(entry):
            raise ApiError(409, "Conflict", f"{entry.id} is not to be made any more")
        shorter = outlives(entry, body, until)
        if shorter is not None:
            return Outcome(shorter)
        self._write(entry, body, patches(body, redo(entry, body), marks))
        return _applied(entry, began)

    def _undo(self, entry: JournalEntry, marks: Mapping[str, str | None], drill: str) -> Outcome:
        body = self._read(entry)
        if not entry.changes:
            return self._closed(entry, "Restored")
        if body is not None and entry.state == "Planned":
            if not self._renewed(entry, body):
                return Outcome(entry, again_s=undoing.AGAIN_S)
            body = self._fenced(entry, body, drill)
        step = undoing.step(entry, body, marks, self._clock())
        if body is not None:
            self._write(entry, body, step.patches, status_first=True)
        if step.state is None:
            return Outcome(entry, again_s=step.again_s)
        return self._closed(entry, step.state)

    def _renewed(self, entry: JournalEntry, body: JSON) -> bool:
        """Whether a Lease was written since it was met here, so that older writes come too late."""
        identity = _identity(entry)
        text = (body.get("spec") or {}).get("renewTime")
        if entry.kind != "Lease" or identity in self._unsent or not text or held(entry, body):
            return True
        now = self._clock()
        met = self._met.setdefault(identity, now)
        waited = (now - met).total_seconds()
        done = read_moment(text) > met or waited > undoing.patience_s(entry)
        if done:
            self._met.pop(identity, None)
        return done

    def _fenced(self, entry: JournalEntry, body: JSON, drill: str) -> JSON:
        """Make sure that a write which is still on its way comes too late.

        An entry that is planned may have been sent by another process that was stopped since. Its
        resourceVersion must not match any more, so a Node without our marks gets one for a moment.
        """
        marks = body["metadata"].get("annotations") or {}
        ours = marks.get(ANNOTATION_DRILL) == drill or _identity(entry) in self._unsent
        if entry.kind != "Node" or ours:
            return body
        if body["metadata"].get("uid") != entry.uid or marks.get(ANNOTATION_DRILL):
            return body
        until = moment(self._clock())[:19] + "Z"
        change = marks_of([entry], drill, until)
        try:
            return self._patch(entry, body, {"metadata": {"annotations": change}})
        except ApiError as error:
            # without consent the write that is feared would be refused as well
            if error.status != 403:
                raise
            return body

    def _closed(self, entry: JournalEntry, state: str) -> Outcome:
        self._unsent.discard(_identity(entry))
        update = {"state": state, "restored_at": moment(self._clock())}
        return Outcome(entry.model_copy(update=update))

    def _write(
        self, entry: JournalEntry, body: JSON, wanted: Patches, *, status_first: bool = False
    ) -> None:
        """Marks come before the status changes, and go after it is back."""
        if status_first and wanted.status is not None:
            body = self._patch(entry, body, wanted.status, "status")
        if wanted.main is not None:
            body = self._patch(entry, body, wanted.main)
        if not status_first and wanted.status is not None:
            self._patch(entry, body, wanted.status, "status")

    def _patch(self, entry: JournalEntry, body: JSON, patch: JSON, sub: str = "") -> JSON:
        meta = body["metadata"]
        pinned = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
        full = {**patch, "metadata": {**(patch.get("metadata") or {}), **pinned}}
        if entry.kind == "Node":
            return self._client.patch(NODES, entry.name, full, sub=sub)
        return self._client.patch(LEASES, entry.name, full, namespace=NODE_LEASES)


def _identity(entry: JournalEntry) -> str:
    return f"{entry.uid}/{entry.id}/{entry.planned_at}"


def _applied(entry: JournalEntry, at: datetime) -> Outcome:
    return Outcome(entry.model_copy(update={"state": "Applied", "applied_at": moment(at)}))


def _open_on(journal: Sequence[JournalEntry], entry: JournalEntry) -> list[JournalEntry]:
    """Entries of the same object that are not taken back."""
    return [
        one
        for one in journal
        if one.state in OPEN
        and (one.kind, one.name, one.uid) == (entry.kind, entry.name, entry.uid)
    ]
