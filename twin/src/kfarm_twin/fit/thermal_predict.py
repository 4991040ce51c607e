"""Temperatures and node power of a run from its power series and a profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kfarm_twin.arrays import Floats
from kfarm_twin.fit.thermal_judge import DeviceErrors, judge, steady_window
from kfarm_twin.fit.thermal_law import Drive, ThermalLaw, respond
from kfarm_twin.fit.thermal_overhead import OverheadLaw
from kfarm_twin.fit.thermal_profile import Calibrated, FanLaw
from kfarm_twin.fit.thermal_runs import Run, find_step

DEFAULT_INLET_C = 24.0
HYSTERESIS_K = 1.0
DEFAULT_DWELL_S = 10.0
LEAST_CHANGE = 0.1
"""Of fan speed, from which its delay can be seen."""


@dataclass(frozen=True)
class Prediction:
    """What a profile says of a run.

    Attributes
    ----------
    temperature_c
        [D, T]
    node_power_w, flow, inlet_c
        [T]
    inlet_from, fan_from
        Where they come from: the file, an option, the profile.
    together
        Of the mean of all devices, in which whole degrees matter less.
    """

    run: Run
    temperature_c: Floats
    node_power_w: Floats
    flow: Floats
    inlet_c: Floats
    inlet_from: str
    fan_from: str
    devices: tuple[DeviceErrors, ...]
    together: DeviceErrors
    node: NodeErrors


@dataclass(frozen=True)
class NodeErrors:
    """Node power in the steady state and over all samples [W]; None where not measured."""

    measured_w: float | None
    predicted_w: float
    rmse_w: float | None

    @property
    def error(self) -> float | None:
        """Of the measured steady power, as a share."""
        return None if self.measured_w is None else self.predicted_w / self.measured_w - 1.0


def predict(
    run: Run, profile: Calibrated, *, inlet_c: float | None = None, fan: float | None = None,
    from_first: bool = True, with_offsets: bool = True,
) -> Prediction:  # fmt: skip
    """Predict a run.

    Parameters
    ----------
    inlet_c, fan
        For all samples, instead of what the file or the profile says; fan in the file's unit.
    from_first
        Whether devices start at the first measured temperature, else steady at the first power.
    with_offsets
        Whether sensors' offsets of the measured node count.
    """
    law, overhead = profile.for_devices(len(run.devices))
    if not with_offsets:
        law = law.without_offsets()
    inlet, inlet_from = _inlet(run, profile, inlet_c)
    flow, fan_from = _flow(run, profile, law, overhead, inlet, fan)
    devices_w = run.power_w.sum(axis=0)
    fans, other = overhead.air_heat(devices_w, flow)
    drive = Drive(run.time_s, run.power_w, inlet, flow, fans, other)
    first = _first(run) if from_first else None
    said = respond(law, drive, first)
    node = devices_w + overhead(devices_w, flow)
    return Prediction(
        run, said, node, flow, inlet, inlet_from, fan_from, tuple(judge(run, said)),
        _together(run, said), _node_errors(run, node),
    )  # fmt: skip


def _together(run: Run, said: Floats) -> DeviceErrors:
    mean = replace(
        run, devices=("mean",), power_w=run.power_w.mean(axis=0)[None],
        temperature_c=run.temperature_c.mean(axis=0)[None],
    )  # fmt: skip
    return judge(mean, said.mean(axis=0)[None])[0]


def _first(run: Run) -> Floats | None:
    first = run.temperature_c[:, 0]
    return first if bool(np.isfinite(first).all()) else None


def _inlet(run: Run, profile: Calibrated, given: float | None) -> tuple[Floats, str]:
    if given is not None:
        return np.full(run.samples, given), "option"
    if run.inlet_c is not None:
        return run.inlet_c, "file"
    if profile.inlet_c is not None:
        return np.full(run.samples, profile.inlet_c), "profile"
    return np.full(run.samples, DEFAULT_INLET_C), "default"


def _flow(
    run: Run, profile: Calibrated, law: ThermalLaw, overhead: OverheadLaw, inlet: Floats,
    given: float | None,
) -> tuple[Floats, str]:  # fmt: skip
    fans = profile.fans
    if fans is None:
        return np.ones(run.samples), "none"
    full = 100.0 if run.fan_percent and given is None else fans.full_speed
    if given is not None:
        return np.full(run.samples, given / (full or 100.0)), "option"
    if run.fan is not None and full is not None:
        return run.fan / full, "file"
    if fans.is_fixed:
        return np.full(run.samples, fans.speed), "profile"
    return governed(run, fans, law, overhead, inlet), "profile"


def governed(
    run: Run, fans: FanLaw, law: ThermalLaw, overhead: OverheadLaw, inlet: Floats
) -> Floats:
    """Automatic fans [T]: the least level at which the hottest device settles within the target.

    A level is taken `dwell` after the need for it arose, one more only `HYSTERESIS_K` below.
    """
    devices_w = run.power_w.sum(axis=0)
    levels = np.array(fans.levels)
    hottest = np.array(
        [
            _steady(law, overhead, run.power_w, devices_w, inlet, level).max(axis=0)
            for level in levels
        ]
    )  # [L, T]
    up = np.minimum((hottest > fans.target_c).sum(axis=0), levels.size - 1)
    down = np.minimum((hottest > fans.target_c - HYSTERESIS_K).sum(axis=0), levels.size - 1)
    level = int(up[0])
    out, since = np.empty(run.samples), -1.0
    for i, now in enumerate(run.time_s):
        wanted = int(up[i]) if up[i] > level else int(min(level, down[i]))
        if wanted == level:
            since = -1.0
        elif since < 0:
            since = float(now)
        if since >= 0 and now - since >= fans.dwell_s:
            level, since = wanted, -1.0
        out[i] = levels[level]
    return out


def _steady(
    law: ThermalLaw, overhead: OverheadLaw, power_w: Floats, devices_w: Floats, inlet: Floats,
    flow: float,
) -> Floats:  # fmt: skip
    fans, other = overhead.air_heat(devices_w, np.full_like(devices_w, flow))
    met = fans + law.share[:, None] * other
    resistance = law.die + law.sink * flow ** -float(law.exponent)
    warmed = inlet + float(law.rise) * met / flow
    return np.asarray(warmed + law.offset[:, None] + resistance[:, None] * power_w)


def _node_errors(run: Run, said: Floats) -> NodeErrors:
    begin, end = steady_window(run)
    predicted = float(said[begin:end].mean())
    if run.node_power_w is None:
        return NodeErrors(None, predicted, None)
    rest = said - run.node_power_w
    return NodeErrors(
        float(run.node_power_w[begin:end].mean()), predicted, float(np.sqrt(np.mean(rest**2)))
    )


def fit_fan_law(
    runs: tuple[Run, ...], law: ThermalLaw, overhead: OverheadLaw, full: float | None,
    is_fixed: bool,
) -> FanLaw:  # fmt: skip
    """The profile's fan law from measured speeds; without any, one speed that is not known.

    The target is that under which the law's mean speed in the steady windows, as a logarithm, comes
    closest to the measured ones.
    """
    known = [run for run in runs if run.fan is not None]
    if full is None or not known:
        return FanLaw(True, 1.0, 1.0, 0.0, full)
    every = np.concatenate([run.fan for run in known if run.fan is not None]) / full
    if is_fixed:
        return FanLaw(True, float(np.median(every)), float(np.median(every)), 0.0, full)
    least, dwell = float(np.percentile(every, 2)), _fan_dwell(known)
    best, best_miss = FanLaw(False, 1.0, least, 60.0, full, dwell), np.inf
    for target in np.arange(30.0, 95.0, 0.5):
        trial = replace(best, target_c=float(target))
        miss = sum(_speed_miss(run, trial, law, overhead, full) ** 2 for run in known)
        if miss < best_miss:
            best, best_miss = trial, miss
    return best


def _fan_dwell(runs: Sequence[Run]) -> float:
    """Median time from the step of power until fans are half-way to their new speed [s]."""
    delays = []
    for run in runs:
        step = find_step(run.time_s, run.power_w.sum(axis=0))
        if step is None or run.fan is None:
            continue
        begin, end = steady_window(run)
        before, after = run.fan[: step.at].mean(), run.fan[begin:end].mean()
        if after < (1 + LEAST_CHANGE) * before:
            continue
        there = np.flatnonzero(run.fan[step.at : end] >= (before + after) / 2)
        if there.size:
            delays.append(run.time_s[step.at + there[0]] - step.onset_s)
    return float(np.clip(np.median(delays), 1.0, 600.0)) if delays else DEFAULT_DWELL_S


def _speed_miss(
    run: Run, fans: FanLaw, law: ThermalLaw, overhead: OverheadLaw, full: float
) -> float:
    begin, end = steady_window(run)
    inlet = run.inlet_c if run.inlet_c is not None else np.full(run.samples, DEFAULT_INLET_C)
    seen = run.fan if run.fan is not None else np.full(run.samples, full)
    said = governed(run, fans, law, overhead, inlet)[begin:end].mean()
    return float(np.log(said / (seen[begin:end].mean() / full)))
