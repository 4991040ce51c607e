"""Temperatures and powers of a node over time, as arrays."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from kfarm_twin.arrays import Floats

STEP_SHARE = 0.5
"""Where between idle and loaded power a device counts as loaded."""


@dataclass(frozen=True)
class Run:
    """One node of one file.

    Attributes
    ----------
    file
        Name of the file.
    node
        Name of the node, empty where the file has none.
    devices
        Names of the devices, in the order of their positions.
    time_s
        Samples [T], from 0, growing.
    power_w, temperature_c
        [D, T]; power without gaps, temperature NaN where it was not sampled.
    inlet_c, fan, node_power_w
        [T] or None where the file has none; fan in rpm, or in percent where `fan_percent`.
    device_name
        Model of the device where the file names it.
    """

    file: str
    node: str
    devices: tuple[str, ...]
    time_s: Floats
    power_w: Floats
    temperature_c: Floats
    inlet_c: Floats | None = None
    fan: Floats | None = None
    node_power_w: Floats | None = None
    fan_percent: bool = False
    device_name: str = ""
    memory_mb: float | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def samples(self) -> int:
        """Number of samples in time."""
        return int(self.time_s.size)

    @property
    def name(self) -> str:
        """File and node."""
        return f"{self.file} {self.node}".strip()

    @property
    def step_s(self) -> float:
        """Median time between samples [s]."""
        return float(np.median(np.diff(self.time_s)))

    def with_fan(self, speed: float, percent: bool) -> Run:
        """The same with fans of one speed."""
        return replace(self, fan=np.full(self.samples, speed), fan_percent=percent)


def filled(values: Floats) -> Floats:
    """Without gaps along the last axis: the value before, or the first that there is."""
    out = np.array(values, dtype=float, copy=True)
    flat = out.reshape(-1, out.shape[-1])
    for row in flat:
        good = np.flatnonzero(np.isfinite(row))
        if good.size:
            at = np.maximum(np.searchsorted(good, np.arange(row.size), side="right") - 1, 0)
            row[:] = row[good[at]]
    return out


@dataclass(frozen=True)
class Step:
    """A device's step from little to much power, and the time that it held.

    Attributes
    ----------
    at
        First sample under load.
    end
        First sample after it, or the number of samples.
    onset_s
        When power crossed the middle, between the samples around it.
    """

    at: int
    end: int
    onset_s: float


def find_step(time_s: Floats, power_w: Floats) -> Step | None:
    """The longest time under load that starts within the series; None where power is even.

    A device is loaded while its power is above the middle between the 5th and 95th percentile of
    its samples; these must lie 10 % of the higher one apart.
    """
    low, high = float(np.percentile(power_w, 5)), float(np.percentile(power_w, 95))
    if power_w[0] > (low + high) / 2:
        low = min(low, float(power_w.min()))
    low = min(low, float(power_w[: max(2, power_w.size // 50)].min()))
    if high - low < 0.1 * high:
        return None
    level = low + STEP_SHARE * (high - low)
    loaded = power_w > level
    edges = np.flatnonzero(np.diff(loaded.astype(np.int8)))
    best: Step | None = None
    for edge in edges[~loaded[edges]]:
        at = int(edge) + 1
        later = edges[edges >= at]
        end = int(later[0]) + 1 if later.size else int(power_w.size)
        if best is None or time_s[end - 1] - time_s[at] > time_s[best.end - 1] - time_s[best.at]:
            best = Step(at, end, float((time_s[at - 1] + time_s[at]) / 2))
    return best
