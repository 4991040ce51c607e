"""Resistances, times and the air's rise from measured temperatures: maximum of the posterior.

What a regime of fans cannot tell (how the sink's resistance falls with the flow when the flow never
changed) comes from priors, each with its source, and the intervals say so: they are those of the
posterior's curvature (Gauss-Newton), priors included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.fit.thermal_law import Drive, ThermalLaw, respond
from kfarm_twin.fit.thermal_overhead import (
    FAN_SHARE,
    Node,
    OverheadFit,
    Prior,
    fit_overhead,
    fixed_speed,
)
from kfarm_twin.fit.thermal_runs import Run

NOISE_K = 0.6
"""Rounding to whole degrees (0.29 K) and what the law does not describe [K]."""
CORRELATED_S = 100.0
CORRELATED_LEAST_S = 8.0
"""Samples closer than this tell the same thing: the first once settled, less after a step."""
JUMP_SHARE = 0.3
"""Of a device's range of power: a change that counts as a step."""
ONSET_SHARE = 0.3
"""Of the die's step: what not knowing when power changed between two samples leaves open."""
EXPONENT = Prior(
    0.5, 0.1,
    "laminar boundary layer between fins, Nu ~ Re^1/2 (Incropera and DeWitt, 7.2), within 1/3"
    " (Sieder and Tate) and 4/5 (Dittus and Boelter)",
)  # fmt: skip
DESIGN_RISE_K = Prior(
    14.0, 0.3,
    "energy balance: air warms by 12 to 17 K through a node at greatest power and full fan speed"
    " (0.0691 m3/s per kW is 12 K)",
)  # fmt: skip
SHARE = Prior(0.5, 0.3, "between the first thing that the node's air meets, 0, and the last, 1")
SPREADS = {
    "die": 0.15,
    "sink": 0.1,
    "share": SHARE.spread,
    "offset": 1.0,
    "time": 0.35,
}
"""Between positions of a node: logarithms of die, sink and share; sensors' offsets [K]."""
INLET_SPREAD = 0.4
"""Of a run's inlet: a sensor in whole degrees that stands elsewhere than the device's air [K]."""
ASSUMED_INLET = Prior(24.0, 3.0, "ASHRAE TC 9.9 recommends 18 to 27 degC; no file has the inlet")
_GLOBAL = 6
MOST_STEPS = 40
TOLERANCE = 1e-5
MOST_DAMPING = 1e8
_BLOCKS = len(SPREADS)
LABELS = ("die", "sink", "flowExponent", "dieTime", "sinkTime", "inletRise")


@dataclass(frozen=True)
class Prepared:
    """A run with what drives it, before the law is known."""

    run: Run
    drive: Drive
    weight: Floats  # [D, T], 0 where not sampled
    first_c: Floats
    inlet_spread: float


@dataclass(frozen=True)
class ThermalFit:
    """The law, the node's overhead and what is open about them.

    Attributes
    ----------
    mean
        Parameters at the maximum; `covariance` theirs.
    full_speed
        Fan speed that counts as full flow, in the unit of the files; None without fan speeds.
    inlet_c, fan
        Means over the runs, for files that lack them.
    """

    law: ThermalLaw
    overhead: OverheadFit
    node: Node
    runs: tuple[Run, ...]
    mean: Floats
    covariance: Floats
    full_speed: float | None
    is_fixed: bool
    inlet_c: float
    inlet_measured: bool
    rmse_k: float
    notes: tuple[str, ...] = field(default=())

    def spread(self, part: Callable[[Floats], Floats]) -> Floats:
        """Standard deviations of what `part` makes of the parameters (linearised)."""
        at = part(self.mean)
        columns = []
        for i, step in enumerate(1e-4 * np.sqrt(np.diag(self.covariance))):
            moved = self.mean.copy()
            moved[i] += step
            columns.append((part(moved) - at) / step)
        slope = np.array(columns).T
        return np.asarray(np.sqrt(np.einsum("ij,jk,ik->i", slope, self.covariance, slope)))


def law_of(x: Floats, devices: int) -> ThermalLaw:
    """Parameters as a law; `x` may have leading axes."""
    part = x[..., _GLOBAL : _GLOBAL + _BLOCKS * devices].reshape(*x.shape[:-1], _BLOCKS, devices)
    own = np.exp(part[..., :2, :])
    return ThermalLaw(
        die=np.exp(x[..., 0, None]) * own[..., 0, :],
        sink=np.exp(x[..., 1, None]) * own[..., 1, :],
        rise=np.exp(x[..., 5]),
        share=part[..., 2, :],
        offset=part[..., 3, :],
        exponent=x[..., 2],
        die_time=np.exp(x[..., 3]),
        sink_time=np.exp(x[..., 4, None] + part[..., 4, :]),
    )


def fit_thermal(
    runs: Sequence[Run],
    node: Node,
    *,
    full_speed: float | None = None,
    inlet_c: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ThermalFit:
    """Fit one kind of node to its runs.

    Parameters
    ----------
    full_speed
        Of the fans, in the unit of the files; without it the highest that was seen.
    inlet_c
        For files without an inlet column.
    """
    runs, full, notes = _with_fans(runs, full_speed)
    fixed = fixed_speed(runs)
    if full is not None and full_speed is None and not fixed:
        full = _probable_full_speed(runs, full, node)
    flows = [flow_of(run, full) for run in runs]
    overhead = fit_overhead(runs, flows, node, full_speed_known=fixed or full_speed is not None)
    inlet = _inlet(runs, inlet_c)
    cases = [_prepare(r, f, overhead, inlet) for r, f in zip(runs, flows, strict=True)]
    devices = len(runs[0].devices)
    start, spread = _priors(devices, cases, node)
    problem = _Problem(cases, devices, start, spread, progress)
    mean, covariance = problem.solve()
    measured = any(run.inlet_c is not None for run in runs)
    shift = 0.0 if measured else float(mean[_GLOBAL + _BLOCKS * devices :].mean())
    return ThermalFit(
        law_of(mean, devices), overhead, node, tuple(runs), mean, covariance, full, fixed,
        inlet.value + shift, measured, problem.rmse(mean), notes,
    )  # fmt: skip


def flow_of(run: Run, full: float | None) -> Floats:
    """Share of full flow at each sample; 1 where speeds are not known."""
    if run.fan is None or full is None:
        return np.ones(run.samples)
    return run.fan / full


def _probable_full_speed(runs: Sequence[Run], seen: float, node: Node) -> float:
    """Where automatic fans never ran full: the speed at which their law reaches `FAN_SHARE`."""
    flows = [flow_of(run, seen) for run in runs]
    law = fit_overhead(runs, flows, node, full_speed_known=False).law
    ratio = FAN_SHARE.value * node.most_w / max(law.fan_w, 1.0)
    return seen * float(np.clip(ratio ** (1 / law.exponent), 1.0, 4.0))


def _with_fans(
    runs: Sequence[Run], full_speed: float | None
) -> tuple[list[Run], float | None, tuple[str, ...]]:
    """Runs with fan speeds where some have them; others are at the one speed, or left out."""
    known = [run for run in runs if run.fan is not None]
    if not known:
        return list(runs), full_speed, ()
    seen = float(max(run.fan.max() for run in known if run.fan is not None))
    without = len(runs) - len(known)
    if not fixed_speed(known):
        note = f"{without} runs without fan speed left out, since fans are automatic"
        return known, full_speed or seen, (note,) if without else ()
    speed = float(np.median(np.concatenate([run.fan for run in known if run.fan is not None])))
    out = [run if run.fan is not None else run.with_fan(speed, known[0].fan_percent)
           for run in runs]  # fmt: skip
    note = f"{without} runs have no fan speed: taken as {speed:,.0f}, as in the others"
    return out, full_speed or seen, (note,) if without else ()


def _inlet(runs: Sequence[Run], given: float | None) -> Prior:
    seen = [run.inlet_c.mean() for run in runs if run.inlet_c is not None]
    if given is not None:
        return Prior(given, 0.5, "--inlet")
    if seen:
        return Prior(float(np.mean(seen)), 1.0, "mean of the runs that have it")
    return ASSUMED_INLET


def _prepare(run: Run, flow: Floats, overhead: OverheadFit, inlet: Prior) -> Prepared:
    devices_w = run.power_w.sum(axis=0)
    fans, other = overhead.law.air_heat(devices_w, flow)
    air = run.inlet_c if run.inlet_c is not None else np.full(run.samples, inlet.value)
    seen = np.isfinite(run.temperature_c)
    # Where power jumped since the sample before, the die may be anywhere within its own step.
    total = (np.nanmax(run.temperature_c, axis=1) - np.nanmin(run.temperature_c, axis=1))[:, None]
    span = np.maximum(np.ptp(run.power_w, axis=1), 1e-9)[:, None]
    jump = np.abs(np.diff(run.power_w, axis=1, prepend=run.power_w[:, :1]))
    open_k = np.hypot(NOISE_K, ONSET_SHARE * total * jump / span)
    thin = np.sqrt(np.minimum(1.0, run.step_s / _correlated(run.time_s, jump / span)))
    first = np.array([row[np.isfinite(row)][0] for row in run.temperature_c])
    drive = Drive(run.time_s, run.power_w, air, flow, fans, other)
    spread = INLET_SPREAD if run.inlet_c is not None else inlet.spread
    return Prepared(run, drive, np.where(seen, thin / open_k, 0.0), first, spread)


def _correlated(time_s: Floats, jump: Floats) -> Floats:
    """How long what the law leaves out lasts [D, T]: as long as since the last step of power."""
    last = np.maximum.accumulate(np.where(jump > JUMP_SHARE, time_s, -np.inf), axis=1)
    return np.clip(time_s - last, CORRELATED_LEAST_S, CORRELATED_S)


def _priors(devices: int, cases: Sequence[Prepared], node: Node) -> tuple[Floats, Floats]:
    """Mean and spread of every parameter; wide where the data decide."""
    whole = _whole_resistance(cases)
    mean = [np.log(0.6 * whole), np.log(0.3 * whole), EXPONENT.value, np.log(1.0), np.log(20.0),
            np.log(DESIGN_RISE_K.value / node.most_w)]  # fmt: skip
    spread = [1.0, 1.0, EXPONENT.spread, 1.2, 1.0, DESIGN_RISE_K.spread]
    for name, value in SPREADS.items():
        mean += [SHARE.value if name == "share" else 0.0] * devices
        spread += [value] * devices
    mean += [0.0] * len(cases)
    spread += [case.inlet_spread for case in cases]
    return np.array(mean), np.array(spread)


def _whole_resistance(cases: Sequence[Prepared]) -> float:
    """Hottest rise over the power then [K/W]: an order of magnitude to start from."""
    best = 1e-3
    for case in cases:
        above = np.nanmean(np.nanmax(case.run.temperature_c, axis=1)) - case.drive.inlet_c.mean()
        best = max(best, float(above / max(case.run.power_w.max(axis=1).mean(), 1.0)))
    return best


class _Problem:
    """Misses of data and priors, and their slopes by differences, all at once."""

    def __init__(
        self, cases: Sequence[Prepared], devices: int, mean: Floats, spread: Floats,
        progress: Callable[[int, int], None] | None,
    ) -> None:  # fmt: skip
        self.cases, self.devices, self.mean, self.spread = cases, devices, mean, spread
        self.progress, self.done = progress, 0
        self._group, self._is_own = self._groups()

    def solve(self) -> tuple[Floats, Floats]:
        """Maximum of the posterior and the covariance there (Levenberg and Marquardt)."""
        x, damping = self.mean.copy(), 1e-3
        miss = self.misses(x)
        for _ in range(MOST_STEPS):
            slopes = self.jacobian(x)
            normal, down = slopes.T @ slopes, slopes.T @ miss
            gain = 0.0
            while damping < MOST_DAMPING:
                matrix = normal + damping * np.diag(np.diag(normal))
                moved = x - np.clip(np.linalg.solve(matrix, down), -self.spread, self.spread)
                new = self.misses(moved)
                gain = float(miss @ miss - new @ new)
                damping = damping / 5 if gain > 0 else damping * 5
                if gain > 0:
                    x, miss = moved, new
                    break
            if gain <= TOLERANCE * float(miss @ miss):
                break
        slopes = self.jacobian(x)
        return x, np.asarray(np.linalg.inv(slopes.T @ slopes), dtype=float)

    def predicted(self, x: Floats) -> list[Floats]:
        """Temperatures [..., D, T] of each run; `x` may have leading axes."""
        law = law_of(x, self.devices)
        out = []
        for at, case in enumerate(self.cases):
            shift = x[..., _GLOBAL + _BLOCKS * self.devices + at, None]
            drive = replace(case.drive, inlet_c=case.drive.inlet_c + shift)
            out.append(respond(law, drive, case.first_c))
        return out

    def misses(self, x: Floats) -> Floats:
        """Weighted misses of priors and data [N]."""
        return np.concatenate([(x - self.mean) / self.spread, self._of_data(x)])

    def _of_data(self, x: Floats) -> Floats:
        """Weighted misses [..., N] in the order of runs, devices and samples."""
        rows = []
        for case, said in zip(self.cases, self.predicted(x), strict=True):
            seen = np.where(case.weight > 0, case.run.temperature_c, 0.0)
            miss = np.where(case.weight > 0, said - seen, 0.0) * case.weight
            rows.append(miss.reshape(*x.shape[:-1], -1))
        return np.concatenate(rows, axis=-1)

    def jacobian(self, x: Floats) -> Floats:
        """Slopes of the misses [N, K] by one-sided differences.

        A parameter of one device or run moves only its own misses, so those of all devices, and of
        all runs, are moved at once.
        """
        steps = 1e-5 * np.maximum(self.spread, 1e-3)
        apart = np.zeros((_GLOBAL + _BLOCKS + 1, x.size))
        apart[self._group, np.arange(x.size)] = steps
        moved = self._of_data(np.vstack([x, x + apart]))
        change = (moved[1:] - moved[0])[self._group] / steps[:, None]
        change = np.where(self._is_own, change, 0.0)
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, MOST_STEPS)
        return np.concatenate([np.diag(1.0 / self.spread), change.T])

    def _groups(self) -> tuple[Ints, NDArray[np.bool_]]:
        """Group of each parameter [K], and which misses it moves [K, N]."""
        shapes = [case.weight.shape for case in self.cases]
        device = np.concatenate([np.repeat(np.arange(d), t) for d, t in shapes])
        run = np.repeat(np.arange(len(shapes)), [d * t for d, t in shapes])
        size = _GLOBAL + _BLOCKS * self.devices
        at = np.arange(size + len(shapes))
        block = (at - _GLOBAL) // self.devices
        group = np.where(at < _GLOBAL, at, np.where(at < size, _GLOBAL + block, _GLOBAL + _BLOCKS))
        own = np.where(at < size, (at - _GLOBAL) % self.devices, at - size)
        mine = np.where(
            (at < size)[:, None], own[:, None] == device[None], own[:, None] == run[None]
        )
        return group, mine | (at < _GLOBAL)[:, None]

    def rmse(self, x: Floats) -> float:
        """Root of the mean square of all misses [K], unweighted."""
        total, count = 0.0, 0
        for case, said in zip(self.cases, self.predicted(x), strict=True):
            seen = case.weight > 0
            total += float(np.sum((said - case.run.temperature_c)[seen] ** 2))
            count += int(seen.sum())
        return float(np.sqrt(total / max(count, 1)))
