"""The Job controller's back-off in all futures at once: when successors of failed pods are made.

Rules are those of ``pkg/controller/job``; figures and sources are in `drill_delays`. Arrays are
[k, F], one row for each pod: when its failure is counted, and when it failed; infinite: never.
"""

from __future__ import annotations

import numpy as np

from kfarm_twin.arrays import Floats
from kfarm_twin.drill_delays import BACKOFF_MOST_S, BACKOFF_S, JOB_BATCH_S

NEVER = np.inf


def retried(counted: Floats, failed: Floats, per_index: bool) -> Floats:
    """[k, F] when the successors of a Job's failed pods are made; see `backed_off`."""
    if per_index:
        return np.maximum(counted + JOB_BATCH_S, failed + BACKOFF_S)
    return backed_off(counted, failed)


def backoff_over(counted: Floats, failed: Floats, at: Floats) -> Floats:
    """When the back-off from a Job's failures that are counted at some time is over."""
    number, last = _failures(counted, failed, at)
    return last + np.minimum(BACKOFF_S * 2.0 ** np.minimum(number - 1.0, 20.0), BACKOFF_MOST_S)


def backed_off(counted: Floats, failed: Floats) -> Floats:
    """[k, F] when the successors of a Job's failed pods are made.

    The controller looks `JOB_BATCH_S` after a failure, at all failures up to then, and backs off
    from the last by their number. One that is counted meanwhile makes all wait for the longer
    back-off. When it has run out all that is missing is made at once.
    """
    made = np.full_like(counted, NEVER)
    for looked in counted + JOB_BATCH_S:
        number, _ = _failures(counted, failed, looked)
        over = np.maximum(looked, backoff_over(counted, failed, looked))
        due = np.where(np.isfinite(looked), over, NEVER)
        held_up = _failures(counted, failed, due)[0] > number
        made = np.where((counted <= due) & ~held_up, np.minimum(made, due), made)
    return made


def _failures(counted: Floats, failed: Floats, until: Floats) -> tuple[Floats, Floats]:
    """How many failures are counted until some time, and when the last of them was."""
    known = (counted <= until) & np.isfinite(counted)
    last = np.where(known, failed, -NEVER).max(axis=0)
    return known.sum(axis=0).astype(np.float64), last
