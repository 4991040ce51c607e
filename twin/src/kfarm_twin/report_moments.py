"""The worst future rack by rack, as the page shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kfarm_twin.pictures.moments import Moments, worst_moment
from kfarm_twin.report_view import Line

if TYPE_CHECKING:
    from kfarm_twin.results import Replay

SECONDS_PER_HOUR = 3600.0
ABSENT_C = -273.15
"""Stands for a rack in which no node is up."""


def moments(replay: Replay, labels: Sequence[str], seed: int, lines: Sequence[Line]) -> Moments:
    """States of racks `labels` in a replay; the worst moment comes first.

    Parameters
    ----------
    labels
        Racks as the page orders them, of the model.
    lines
        Timelines of the same future; the hottest accelerator is drawn above the slider.
    """
    row = {label: at for at, label in enumerate(replay.rack_labels)}
    order = np.array([row[label] for label in labels])
    hottest = replay.rack_hottest_c[:, order]
    hottest = np.where(hottest > ABSENT_C, hottest, np.nan)
    power = replay.rack_power_w[:, order]
    values = {"hottest_c": hottest, "inlet_c": replay.rack_inlet_c[:, order], "power_w": power}
    if np.isfinite(hottest).any():
        values["throttled"] = replay.rack_throttled[:, order].astype(float)
    start, why = worst_moment(hottest, power)
    return Moments(
        title="Worst future",
        note=f"Future {replay.future} of seed {seed}, seen at {len(replay.moment_s):,} moments.",
        time_s=replay.moment_s.tolist(),
        values=values,
        start=start,
        worst=why,
        curve=_curve(lines, "degC" if np.isfinite(hottest).any() else "W"),
    )


def _curve(
    lines: Sequence[Line], unit: str
) -> tuple[Sequence[float], Sequence[float | None]] | None:
    """The first timeline in this unit, by seconds."""
    for line in lines:
        if line.unit == unit and any(value is not None for value in line.values):
            return [hour * SECONDS_PER_HOUR for hour in line.hours], line.values
    return None
