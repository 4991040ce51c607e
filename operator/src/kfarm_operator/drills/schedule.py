"""A drill with a schedule makes drills of its own: when, under which name, and how many stay. Pure.

The moment of the next run stands in status, so that a restart neither loses nor doubles one: a run
is named after its moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from kfarm_api.base import API_VERSION
from kfarm_api.drill import DrillSchedule
from kfarm_api.drill_status import DrillRun

from kfarm_operator.drills import status as said
from kfarm_operator.drills.clock import read_moment, seconds, whole
from kfarm_operator.drills.situation import Situation
from kfarm_operator.drills.steps import Decision, Prune, Rest, Spawn
from kfarm_operator.drills.views import DrillView

MINUTE_S = 60
LONGEST_S = 300.0
NAME_LIMIT = 230
OVER = frozenset({"Completed", "DryRun"})


def scheduled(s: Situation, schedule: DrillSchedule) -> Decision:
    """The next step of a drill that only makes runs."""
    spare = _spare(s, schedule)
    if spare is not None:
        return Prune(spare)
    if s.drill.spec.suspend:
        return Rest(
            said.phase(s, "Suspended", "Suspended", "spec.suspend is set", next_run=None,
                       runs=_runs(s))
        )  # fmt: skip
    try:
        following = after(schedule, s.now)
    except ValueError as error:
        return Rest(
            said.phase(s, "Pending", "BadSchedule", str(error), next_run=None, runs=_runs(s))
        )
    due = read_moment(s.status.next_run) if s.status.next_run else None
    if due is None or s.status.observed_generation != s.drill.metadata.generation:
        return _wait(s, following)
    if s.now < due:
        return _wait(s, due)
    late = (s.now - due).total_seconds() > seconds(schedule.starting_deadline)
    on = any(run.phase not in OVER for run in s.runs)
    if late or on:
        why = "came too late" if late else "came while another run was on"
        return _wait(s, following, f"the run of {whole(due)} was left out: it {why}; ")
    wanted = _wait(s, following)
    return Spawn(run_body(s, due), wanted.status)


def after(schedule: DrillSchedule, now: datetime) -> datetime:
    """The next moment of a schedule.

    Raises
    ------
    ValueError
        When the expression or the zone is none, or no moment is left.
    """
    try:
        zone = ZoneInfo(schedule.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"schedule.timeZone: {schedule.time_zone} is not known; use a name such as Asia/Seoul"
        ) from error
    if len(schedule.cron.split()) != 5:
        raise ValueError(f"schedule.cron: {schedule.cron}: five fields are needed, as 0 3 * * MON")
    try:
        return next(CronSim(schedule.cron, now.astimezone(zone))).astimezone(UTC)
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"schedule.cron: {schedule.cron}: {error or 'it never comes'}") from error


def _wait(s: Situation, until: datetime, note: str = "") -> Rest:
    status = said.phase(
        s, "Scheduled", "Scheduled", f"{note}the next run is at {whole(until)}",
        next_run=whole(until), runs=_runs(s),
    )  # fmt: skip
    left = (until - s.now) / timedelta(seconds=1)
    return Rest(status, min(LONGEST_S, max(0.05, left)))


def run_name(drill: str, at: datetime) -> str:
    """Name of the run of a moment."""
    return f"{drill[:NAME_LIMIT]}-{int(at.timestamp()) // MINUTE_S}"


def run_body(s: Situation, at: datetime) -> dict[str, object]:
    """The drill of one moment: the same spec without the schedule, owned by this drill."""
    meta = s.drill.metadata
    spec = s.drill.spec.as_manifest()
    for name in ("schedule", "suspend", "abort"):
        spec.pop(name, None)
    return {
        "apiVersion": API_VERSION,
        "kind": "FailureDrill",
        "metadata": {
            "name": run_name(meta.name, at),
            "namespace": meta.namespace,
            "annotations": {k: v for k, v in meta.annotations.items() if k == RUNBOOK},
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": "FailureDrill",
                    "name": meta.name,
                    "uid": meta.uid,
                    "controller": True,
                }
            ],
        },
        "spec": spec,
    }


RUNBOOK = "kfarm.dev/runbook"


def _moment_of(run: DrillView) -> int:
    digits = run.name.rpartition("-")[2]
    return int(digits) * MINUTE_S if digits.isascii() and digits.isdigit() else 0


def _sorted(runs: Sequence[DrillView]) -> list[DrillView]:
    return sorted(runs, key=_moment_of)


def _runs(s: Situation) -> list[DrillRun]:
    """The runs that there are, the oldest first."""
    return [
        DrillRun(
            name=run.name,
            scheduled_for=whole(datetime.fromtimestamp(_moment_of(run), UTC)),
            verdict=run.verdict or None,  # type: ignore[arg-type]
        )
        for run in _sorted(s.runs)[-64:]
    ]


def _spare(s: Situation, schedule: DrillSchedule) -> DrillView | None:
    """The oldest run that has ended, where there are more than the history keeps."""
    ended = [run for run in _sorted(s.runs) if run.phase in OVER and not run.deleting]
    return ended[0] if len(ended) > schedule.history_limit else None
