"""What the farm driver refuses before it plays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kfarm_twin.jobs import Jobs
from kfarm_twin.replay import MOST_NS, ReplayError
from kfarm_twin.replay_failures import Failures, problem_of

if TYPE_CHECKING:
    from kfarm_twin.replay import Discipline, Shape, SpeedChanges
    from kfarm_twin.replay_heat import JobHeat


def check_jobs(jobs: Jobs) -> None:
    """Refuse what kernels do not look at."""
    for name, least in (("submit_ns", 0), ("run_ns", 1), ("limit_ns", 0), ("pods", 1), ("gpus", 0)):
        column = getattr(jobs, name)
        wrong = np.flatnonzero((column < least) | (column >= MOST_NS))
        if len(wrong):
            row = int(wrong[0])
            raise ReplayError(
                f"job {row}: {name} is {int(column[row])}; give {least} to less than {MOST_NS}"
            )
    if np.any(np.diff(jobs.submit_ns) < 0):
        row = int(np.flatnonzero(np.diff(jobs.submit_ns) < 0)[0]) + 1
        raise ReplayError(f"job {row} was submitted before the job in front of it; sort by time")


def check_failures(
    failures: Failures,
    jobs: Jobs,
    shape: Shape,
    discipline: Discipline,
    speeds: SpeedChanges | None,
) -> None:
    """Refuse failures that cannot be played so."""
    if speeds is not None:
        raise ReplayError("changes of speed are not played together with failures; leave one out")
    problem = problem_of(failures, jobs, shape, discipline)
    if problem is not None:
        raise ReplayError(problem)


def check_heat(
    heat: JobHeat | None,
    jobs: Jobs,
    shape: Shape,
    discipline: Discipline,
    speeds: SpeedChanges | None,
) -> None:
    """Refuse heat that cannot be played so."""
    if heat is None:
        return
    if speeds is not None:
        raise ReplayError("changes of speed are not played together with heat; leave one out")
    problem = heat.problem_of(jobs, shape, discipline)
    if problem is not None:
        raise ReplayError(problem)


def too_large(jobs: Jobs, row: int, shape: Shape, where: str) -> str:
    """Why a job can never run on a farm."""
    pods, gpus = int(jobs.pods[row]), int(jobs.gpus[row])
    return (
        f"asks for {pods} pods of {gpus} devices{where}; the farm has {shape.nodes} nodes of "
        f"{shape.gpus_per_node}"
    )
