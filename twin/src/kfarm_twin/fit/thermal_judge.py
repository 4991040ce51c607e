"""How far predicted temperatures and node powers lie from measured ones.

Steady state: means over the last `STEADY_SHARE` of the longest time under load. Rise time: from the
middle between the samples around the step of power until the temperature has gone 90 % of the way
from its mean before the step to its steady state, by straight lines between means of three
neighbouring samples (whole degrees move a single crossing by a sixth: runs repeat within 11 to 26 %
so, 16 to 33 % without); measured and predicted alike, each with its own ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kfarm_twin.arrays import Floats
from kfarm_twin.fit.thermal_runs import Run, Step, find_step

STEADY_SHARE = 0.3
RISE_SHARE = 0.9
NEIGHBOURS = 3
LEAST_RISE_K = 4.0
"""A smaller rise, in whole degrees, has no rise time worth the name."""


@dataclass(frozen=True)
class DeviceErrors:
    """Of one device; None where the series does not tell it."""

    device: str
    steady_measured_c: float | None
    steady_predicted_c: float | None
    rise_measured_s: float | None
    rise_predicted_s: float | None
    rmse_k: float | None
    power_w: float

    @property
    def steady_error_k(self) -> float | None:
        """Predicted less measured."""
        if self.steady_measured_c is None or self.steady_predicted_c is None:
            return None
        return self.steady_predicted_c - self.steady_measured_c

    @property
    def rise_error(self) -> float | None:
        """Of the measured time, as a share."""
        if not self.rise_measured_s or self.rise_predicted_s is None:
            return None
        return self.rise_predicted_s / self.rise_measured_s - 1.0


def judge(run: Run, predicted_c: Floats) -> list[DeviceErrors]:
    """Errors of each device of a run; `predicted_c` [D, T]."""
    return [_judge(run, at, predicted_c[at]) for at in range(len(run.devices))]


def steady_window(run: Run) -> tuple[int, int]:
    """Samples over which the node is judged: the end of the load of all devices together."""
    step = find_step(run.time_s, run.power_w.sum(axis=0))
    return _window(run.time_s, step)


def _window(time_s: Floats, step: Step | None) -> tuple[int, int]:
    first, end = (step.at, step.end) if step else (0, int(time_s.size))
    last = end - 1 if step and end - first > 2 else end  # the sample at which load ends
    begin = time_s[last - 1] - STEADY_SHARE * (time_s[last - 1] - time_s[first])
    return int(np.searchsorted(time_s, begin)), last


def _judge(run: Run, at: int, said: Floats) -> DeviceErrors:
    seen, power = run.temperature_c[at], run.power_w[at]
    step = find_step(run.time_s, power)
    begin, end = _window(run.time_s, step)
    good = np.isfinite(seen)
    window = np.zeros(seen.size, dtype=bool)
    window[begin:end] = True
    steady = (
        _mean(seen[window & good]), float(said[window].mean()) if window.any() else None
    )  # fmt: skip
    rises: tuple[float | None, float | None] = (None, None)
    if step is not None and good.sum() > 2 and steady[0] is not None:
        rises = (
            rise_time(run.time_s[good], seen[good], step.onset_s, steady[0], run.time_s[end - 1]),
            rise_time(run.time_s, said, step.onset_s, steady[1], run.time_s[end - 1]),
        )
    rmse = float(np.sqrt(np.mean((said - seen)[good] ** 2))) if good.any() else None
    return DeviceErrors(
        run.devices[at], *steady, *rises, rmse, float(power[window].mean())
    )  # fmt: skip


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if values.size else None


def _smoothed(time_s: Floats, values: Floats, onset_s: float) -> Floats:
    """Means of three neighbouring samples after the step; the first and last stay."""
    out = values.copy()
    after = np.flatnonzero(time_s > onset_s)
    if after.size > NEIGHBOURS:
        inner = after[1:-1]
        out[inner] = (values[inner - 1] + values[inner] + values[inner + 1]) / NEIGHBOURS
    return out


def rise_time(
    time_s: Floats, values: Floats, onset_s: float, steady: float | None, last_s: float
) -> float | None:
    """Seconds from `onset_s` until 90 % of the way to `steady`; None where there is no way."""
    before = values[time_s <= onset_s]
    if steady is None or before.size == 0:
        return None
    base = float(before[-3:].mean())
    if steady - base < LEAST_RISE_K:
        return None
    values = _smoothed(time_s, values, onset_s)
    goal = base + RISE_SHARE * (steady - base)
    after = np.flatnonzero((time_s > onset_s) & (time_s <= last_s) & (values >= goal))
    if after.size == 0:
        return None
    at = int(after[0])
    t0, v0 = (time_s[at - 1], values[at - 1]) if time_s[at - 1] > onset_s else (onset_s, base)
    share = (goal - v0) / (values[at] - v0) if values[at] > v0 else 1.0
    return float(t0 + np.clip(share, 0.0, 1.0) * (time_s[at] - t0) - onset_s)
