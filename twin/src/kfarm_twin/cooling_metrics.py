"""Metrics of a verdict that come from the faults of the cooling: the same in each future."""

from __future__ import annotations

from kfarm_api.policy import FaultLimits

from kfarm_twin.arrays import METRIC_ORDER, Ints
from kfarm_twin.compile import Model
from kfarm_twin.cooling import CoolingRow, CoolingStudy
from kfarm_twin.cooling_text import sentence
from kfarm_twin.steady import running_nodes
from kfarm_twin.survive_cooling import CoolingInjector

THROTTLE, SHUTDOWN = "time_to_throttle_min", "time_to_shutdown_min"
COLUMNS = tuple(METRIC_ORDER.index(name) for name in (THROTTLE, SHUTDOWN))
"""Columns of the two metrics."""


def cooling_study(model: Model, slot_node: Ints) -> CoolingStudy:
    """All single faults of the cooling with all workloads running."""
    return CoolingInjector(model, slot_node, running_nodes(model), FaultLimits()).player.study()


def _first(study: CoolingStudy, of: str) -> CoolingRow | None:
    """The row that decides a metric."""
    seconds = {THROTTLE: "throttle_s", SHUTDOWN: "shutdown_s"}[of]
    timed = [row for row in study.rows if getattr(row, seconds) is not None]
    return min(timed, key=lambda row: float(getattr(row, seconds)), default=None)


def cooling_notes(study: CoolingStudy) -> dict[str, str]:
    """Which fault is behind each of the metrics, in words."""
    notes = {}
    for metric, what in ((THROTTLE, "throttles anything"), (SHUTDOWN, "shuts anything down")):
        row = _first(study, metric)
        if row is None:
            notes[metric] = f"no single fault of the cooling {what} within a day"
        else:
            notes[metric] = f"{row.fault} of {row.instances[0]}: {sentence(row)}"
    return notes
