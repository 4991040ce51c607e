"""Failures in the farm driver: what jobs save and pay, and what a run says about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.disciplines import Placement
from kfarm_twin.jobs import Jobs
from kfarm_twin.kernels import columns as at
from kfarm_twin.kernels import fleet_columns, replay_state
from kfarm_twin.kernels.rng import FAR_NS

if TYPE_CHECKING:
    from kfarm_twin.fleet_record import FleetRecord
    from kfarm_twin.replay import Discipline, Shape

AFTER_NS = 30 * 86_400 * 10**9
"""How long a run goes on at most after the last submission and the longest limit [ns]: a job may be
too large, or save too seldom, ever to end."""
OVERHEAT = "overheat"
"""Stands for a class of failures where a node went off by heat."""
MOST_STRETCH = 1 << 60


@dataclass(frozen=True)
class Failures:
    """The failures that jobs meet.

    Attributes
    ----------
    record
        What happens to the nodes; the run is broken off where it ends.
    interval_ns
        Work of each job between saves [J ns]; None: no job saves, and a stop costs all its work.
    save_ns
        How long a save blocks [ns].
    restart_ns
        What a job spends, on its devices, before its work goes on after any stop [ns].
    """

    record: FleetRecord
    interval_ns: Ints | None = None
    save_ns: int = 0
    restart_ns: int = 0


@dataclass(frozen=True)
class FailureAccount:
    """What failures did to the jobs of a run; times are device time [s].

    Attributes
    ----------
    span_s
        From 0 to the end of the run.
    interruptions
        Stops by failures and drains [J].
    by_class
        How many of them by class of failure; `drain` for drains, `overheat` for heat.
    unfinished
        Jobs that could run and had not ended when the run was broken off.
    held_s
        All time on devices: what is retained and what is lost but for `down`.
    retained_s
        Work of jobs that ended, and that others had kept at the end.
    lost_s
        By cause: `rework` (work since the last save), `saves`, `restart`, `detection` (held after a
        stop until it was known), `slow` (more time than at full speed), and `down` (devices out of
        service).
    recover_mean_s
        Mean time from a stop to the next start; None without any [s].
    """

    span_s: float
    interruptions: Ints
    by_class: Mapping[str, int]
    unfinished: int
    held_s: float
    retained_s: float
    lost_s: Mapping[str, float]
    recover_mean_s: float | None

    @property
    def goodput(self) -> float | None:
        """Share of the device time held that is retained."""
        return self.retained_s / self.held_s if self.held_s > 0 else None

    @property
    def stops(self) -> int:
        """Interruptions of all jobs."""
        return int(self.interruptions.sum())

    @property
    def mtti_s(self) -> float:
        """Mean time between interruptions of any job; with none, the whole span, a lower bound."""
        return self.span_s / max(self.stops, 1)

    @property
    def jobs_interrupted(self) -> int:
        """Jobs that were stopped at least once."""
        return int(np.count_nonzero(self.interruptions))


def last_instant(jobs: Jobs) -> int:
    """When a run with failures is broken off if nobody says otherwise [ns]."""
    if not len(jobs.run_ns):
        return AFTER_NS
    longest = int(np.maximum(jobs.limit_ns, jobs.run_ns).max())
    return int(jobs.submit_ns[-1]) + longest + AFTER_NS


def problem_of(failures: Failures, jobs: Jobs, shape: Shape, discipline: Discipline) -> str | None:
    """Why failures cannot be played so, or None."""
    if discipline.placement is Placement.COUNT:
        return (
            "failures hit nodes, and placement count knows none; choose placement first-fit, "
            "best-fit, spread or random"
        )
    devices = failures.record.fleet.tables.nodes[:, fleet_columns.DEVICES]
    if len(devices) != shape.nodes or np.any(devices != shape.gpus_per_node):
        return (
            f"failures of {len(devices)} nodes for a farm of {shape.nodes} nodes of "
            f"{shape.gpus_per_node} devices"
        )
    if not (0 <= failures.save_ns < 1 << 58 and 0 <= failures.restart_ns < 1 << 58):
        return "a save and a restart take from 0 to less than nine years"
    interval = failures.interval_ns
    if interval is not None:
        if interval.shape != jobs.run_ns.shape or np.any(interval < 1):
            return "each job needs an interval between saves of at least 1 ns"
        saves = np.maximum(jobs.run_ns, jobs.limit_ns) // interval
        if np.any(saves.astype(float) * failures.save_ns >= MOST_STRETCH):
            return "so many saves take decades; give a longer interval between saves"
    return None


def intervals(failures: Failures | None, jobs: Jobs) -> Ints:
    """Work between saves [J ns]; so long that nobody saves where there are none."""
    if failures is None or failures.interval_ns is None:
        return np.full(len(jobs.run_ns), FAR_NS, np.int64)
    return failures.interval_ns


def stretched(work: Ints, interval: Ints, save_ns: int) -> Ints:
    """Work with its saves [ns], as `kernels.replay_saves.stretched`."""
    return work + np.maximum(work - 1, 0) // interval * save_ns


def fleet_rows(record: FleetRecord) -> Ints:
    """The record as the driver's changes [H, CHANGE_COLUMNS]."""
    rows = record.rows
    changes = np.zeros((len(rows), replay_state.CHANGE_COLUMNS), np.int64)
    for column, source in (
        (replay_state.WHEN, 0),
        (replay_state.WHAT, 1),
        (replay_state.WHERE, 2),
        (replay_state.CLASS, 3),
        (replay_state.DETAIL, 4),
        (replay_state.DETECTION, 5),
    ):
        changes[:, column] = rows[:, source]
    return changes


def account(table: Ints, changes: Ints, time_ns: int, failures: Failures) -> FailureAccount:
    """What a run with failures says, from the driver's table of jobs and changes of the fleet."""
    from kfarm_twin.fleet_record import down_device_s  # noqa: PLC0415 - numba

    weight = table[:, at.WEIGHT] / 1e9

    def devices(values: NDArray[np.int64]) -> float:
        return float((weight * values).sum())

    runs = table[:, at.RUNS] == 1
    kept = table[:, at.RUN] - table[:, at.WORK]
    rework, saved, restarted = (table[:, column] for column in (at.REWORK, at.SAVED, at.RESTARTED))
    detection = float(table[:, at.DETECTED].sum()) / 1e6
    interrupted = table[:, at.INTERRUPTED].copy()
    starts = int(interrupted.sum()) - int(np.count_nonzero(_away(table)))
    out: Floats = table[:, at.OUT] / 1e9
    return FailureAccount(
        span_s=time_ns / 1e9,
        interruptions=interrupted,
        by_class=_by_class(table, changes, failures.record.fleet.classes),
        unfinished=int(np.count_nonzero(runs & (table[:, at.END] < 0))),
        held_s=devices(table[:, at.HELD]) + detection,
        retained_s=devices(kept),
        lost_s={
            "down": down_device_s(failures.record, time_ns),
            "rework": devices(rework),
            "saves": devices(saved),
            "restart": devices(restarted),
            "detection": detection,
            "slow": devices(table[:, at.HELD] - kept - rework - saved - restarted),
        },
        recover_mean_s=float(out.sum()) / starts if starts > 0 else None,
    )


def _away(table: Ints) -> NDArray[np.bool_]:
    """Jobs that were stopped by the fleet and have not started again."""
    return np.asarray(table[:, at.HOLDS] != -1)


def _by_class(table: Ints, changes: Ints, names: tuple[str, ...]) -> dict[str, int]:
    """Interruptions by the class to blame, most first; those by heat are `OVERHEAT`."""
    stopped = changes[:, replay_state.STOPPED]
    found: dict[str, int] = {}
    for row in np.flatnonzero(stopped).tolist():
        failed = int(changes[row, replay_state.CLASS])
        name = names[failed] if failed >= 0 else "drain"
        found[name] = found.get(name, 0) + int(stopped[row])
    by_heat = int(table[:, at.HEATED].sum()) if table.shape[1] > at.HEATED else 0
    if by_heat:
        found[OVERHEAT] = found.get(OVERHEAT, 0) + by_heat
    return dict(sorted(found.items(), key=lambda entry: (-entry[1], entry[0])))
