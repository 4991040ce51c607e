"""The next step of a drill. Pure: looks at a `Situation` and nothing else.

Order of a run: finalizer, lock, start, and per wave: written down, applied, taken back; at the end
lock and finalizer go. Whatever is asked for here is decided again from a fresh look afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from kfarm_api.drill_status import DrillPhase, FailureDrillStatus, JournalEntry

from kfarm_operator.drills import status as said
from kfarm_operator.drills.begin import before
from kfarm_operator.drills.clock import after, moment
from kfarm_operator.drills.faults import advance, all_over, last_end, left_out
from kfarm_operator.drills.inject import refusal
from kfarm_operator.drills.measure import judged, recovered, violated
from kfarm_operator.drills.observe import observe
from kfarm_operator.drills.remedies import next_due, remedy
from kfarm_operator.drills.schedule import scheduled
from kfarm_operator.drills.situation import Situation
from kfarm_operator.drills.steps import (
    Apply,
    Decision,
    DropLock,
    Finalize,
    Plan,
    Report,
    Rest,
    Undo,
)
from kfarm_operator.drills.waves import next_change, over, unwritten, waves

SOON_S = 0.5
LOOK_S = 2.0
"""How often a drill that is on is looked at, for the kill switch and the clock."""


def decide(s: Situation) -> Decision:
    """The next step."""
    if s.status.started_at is None or s.status.phase == "Completed":
        return _idle(s)
    seen = observe(s)
    if seen is not s.status:
        return Report(seen)
    cause = _cause(s)
    if cause is not None and s.status.phase != "Restoring":
        return Report(_restoring(s, *cause))
    if s.status.phase == "Restoring":
        return _restore(s)
    return _run(s)


def _idle(s: Situation) -> Decision:
    """Nothing is injected: before the start and after the end."""
    if s.open:
        return _back(s, s.open)
    schedule = s.drill.spec.schedule
    if schedule is not None and not s.deleting:
        return scheduled(s, schedule)
    if s.deleting or s.status.phase == "Completed":
        for lock in s.locks.values():
            if lock is not None and lock.drill == s.key:
                return DropLock(lock)
        if s.finalized:
            return Finalize(on=False)
        return Rest(s.status)
    return before(s)


def _cause(s: Situation) -> tuple[str, str] | None:
    """Why a drill that is on must be taken back at once: reason and sentence."""
    if s.deleting:
        return "Deleted", "the drill is being deleted"
    if s.drill.spec.abort:
        return "Aborted", "spec.abort is set"
    if s.stopped:
        return "KillSwitch", "the ConfigMap kfarm-drills-off is there: all drills are off"
    if s.until is not None and s.now >= s.until:
        return "TimeToLive", f"its time to live of {s.drill.spec.limits.time_to_live} is over"
    failed = violated(s)
    return None if failed is None else ("ExpectationViolated", failed)


def _restoring(s: Situation, reason: str, message: str) -> FailureDrillStatus:
    event = "Violated" if reason == "ExpectationViolated" else "Aborted"
    line = said.entry(s.now, event, message=message)
    status = said.phase(s, "Restoring", reason, f"{message}; everything is taken back")
    return status.model_copy(update={"timeline": said.told(status.timeline, line)})


def _restore(s: Situation) -> Decision:
    if s.open:
        return _back(s, s.open)
    return Report(_ended(s))


def _back(s: Situation, entries: Sequence[JournalEntry]) -> Decision:
    """Take back what a step is due for; what waits for others is looked at again soon."""
    due = [entry for entry in reversed(entries) if entry.id not in s.waiting]
    return Undo(tuple(due)) if due else Rest(s.status, SOON_S)


def _ended(s: Situation) -> FailureDrillStatus:
    """The end of a drill that began: metrics, expectations and the verdict."""
    aborted = s.status.phase == "Restoring"
    line = said.entry(s.now, "Ended")
    judged_ = judged(s)
    verdict: said.Verdict = "Passed"
    reason, message = "Passed", "all expectations hold"
    failed = [one for one in judged_.expectations if one.result != "Passed"]
    missed = left_out(s)
    if missed:
        verdict, reason, message = "Failed", "FaultsLeftOut", "; ".join(missed)
    elif failed:
        verdict, reason = "Failed", "ExpectationsFailed"
        message = "; ".join(f"{one.name}: {one.message}" for one in failed)
    elif not judged_.expectations:
        message = "done; nothing was expected of it"
    if aborted:
        verdict = "Failed" if s.status.reason == "ExpectationViolated" else "Aborted"
        reason = s.status.reason or "Aborted"
        message = (s.status.message or "").removesuffix("; everything is taken back")
    return said.phase(
        s, "Completed", reason, message,
        verdict=verdict,
        completed_at=moment(s.now),
        faults=[
            one if one.state in ("Ended", "Skipped") else one.model_copy(
                update={"state": "Ended" if one.state == "Active" else "Skipped",
                        "ended_at": moment(s.now) if one.state == "Active" else None}
            )
            for one in s.status.faults
        ],
        timeline=said.told(s.status.timeline, line),
        metrics=judged_.metrics,
        expectations=judged_.expectations,
    )  # fmt: skip


def _run(s: Situation) -> Decision:
    """A drill that is on: what is over goes, what is due comes, then pods are waited for."""
    gone = [entry for entry in over(s) if entry.id not in s.waiting]
    if gone:
        return _back(s, gone)
    planned = tuple(entry for entry in s.open if entry.state == "Planned")
    if planned:
        return Apply(planned)
    advanced = advance(s)
    if advanced is not None:
        return Report(advanced)
    injection = None if s.drill.spec.suspend else _due(s)
    if injection is not None:
        return injection
    wanted = remedy(s)
    if wanted is not None:
        return wanted
    return _wait(s)


def _due(s: Situation) -> Decision | None:
    """The first wave that is on and not written down: written down, or skipped with its fault."""
    for fault in s.drill.spec.faults:
        known = s.progress.get(fault.name)
        if known is not None and known.state in ("Skipped", "Ended"):
            continue
        for wave in unwritten(s, waves(s, fault)):
            why = refusal(s, wave)
            if why is None:
                return Plan(wave)
            skipped = said.skipped(s, fault.name, why)
            return Report(skipped)
    return None


def _wait(s: Situation) -> Decision:
    if not all_over(s):
        status = s.status
        name, reason, message = _how_it_goes(s)
        if (status.phase, status.reason) != (name, reason):
            status = said.phase(s, name, reason, message)
        due = [at for at in (next_change(s), next_due(s)) if at is not None]
        again = _until(s, min(due, default=None))
        return Rest(status, min(again, SOON_S) if s.waiting else again)
    ended = last_end(s)
    give_up = after(ended, s.drill.spec.observe)
    if recovered(s) or s.now >= give_up:
        return Report(_ended(s))
    status = s.status
    if status.phase != "Recovering":
        message = f"all faults are over; recovery is waited for until {moment(give_up)}"
        status = said.phase(s, "Recovering", "Recovering", message)
    return Rest(status, _until(s, give_up))


def _how_it_goes(s: Situation) -> tuple[DrillPhase, str, str]:
    """Phase, reason and sentence of a drill whose faults are not over."""
    if s.drill.spec.suspend and not s.open:
        return "Suspended", "Suspended", "spec.suspend is set: no further fault begins"
    left = [one for one in s.status.faults if one.state not in ("Ended", "Skipped")]
    if left and all(one.state == "Waiting" and one.message for one in left):
        told = "; ".join(f"fault {one.fault} {one.message}" for one in left)
        return "Waiting", "WaitingForFaults", told
    return "Running", "Running", f"faults are made until {s.status.until} at the latest"


def _until(s: Situation, at: datetime | None) -> float:
    """Seconds to a moment, at most `LOOK_S`."""
    if at is None:
        return LOOK_S
    return min(LOOK_S, max(0.02, (at - s.now).total_seconds()))
