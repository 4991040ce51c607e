"""What a node draws beside its devices, and its fans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kfarm_twin.arrays import Floats
from kfarm_twin.fit.thermal_runs import Run

STEADY_SPEED = 0.05
"""Fans whose speed varies less than this are fixed."""


@dataclass(frozen=True)
class Node:
    """What is known of the node before it is measured.

    Attributes
    ----------
    devices
        Devices of the node.
    idle_w, tdp_w
        Of one device.
    loaded_w
        Overhead at full load with fans at full speed, of a data sheet.
    """

    devices: int
    idle_w: float
    tdp_w: float
    loaded_w: float
    source: str

    @property
    def most_w(self) -> float:
        """Node power that the data sheet allows."""
        return self.loaded_w + self.devices * self.tdp_w


@dataclass(frozen=True)
class OverheadLaw:
    """Node power beside the devices: idle + slope (P - idle of devices) + fan power f^exponent.

    Attributes
    ----------
    idle_w
        Without fans, devices idle.
    slope
        Watts per watt of devices above idle.
    fan_w
        Fans at full speed.
    devices_idle_w
        Devices' idle power, all together.
    warms
        Whether its heat, with the fans', warms the devices' air; else only that of the devices.
    """

    idle_w: float
    slope: float
    fan_w: float
    exponent: float
    devices_idle_w: float
    warms: bool = True

    def air_heat(self, devices_w: Floats, flow: Floats) -> tuple[Floats, Floats]:
        """Heat of fans and of all else that devices' air may have met [W]."""
        if not self.warms:
            return np.zeros_like(devices_w), devices_w
        return self.fans(flow), devices_w + self.others(devices_w)

    def fans(self, flow: Floats) -> Floats:
        """Power of the fans [W] at a share of full speed."""
        return np.asarray(self.fan_w * flow**self.exponent)

    def others(self, devices_w: Floats) -> Floats:
        """Overhead without fans [W] at a power of all devices."""
        load = np.maximum(devices_w - self.devices_idle_w, 0.0)
        return np.asarray(self.idle_w + self.slope * load)

    def __call__(self, devices_w: Floats, flow: Floats) -> Floats:
        """Overhead [W] at a power of all devices and a share of full fan speed."""
        return self.others(devices_w) + self.fans(flow)


@dataclass(frozen=True)
class Prior:
    """A normal distribution of one parameter, with where it comes from."""

    value: float
    spread: float
    source: str


IDLE_SHARE = Prior(
    0.31, 0.06,
    "idle node of A100 draws 31 % of what it has beside devices at full load (AcmeTrace)",
)  # fmt: skip
FAN_SHARE = Prior(
    0.15, 0.05,
    "fans take 10 to 15 % or more of a server's power (J. Neudorfer, eWeek, 2009-03-05)",
)  # fmt: skip
FAN_EXPONENT = Prior(
    2.5, 0.3,
    "affinity says 3; in practice 2.x, since losses of motor and drive do not fall as fast"
    " (Engineered Systems magazine, article 83712)",
)  # fmt: skip
SLOPE = Prior(0.04, 0.03, "losses of 80 PLUS Titanium power supplies near half load, 4 %")
UNKNOWN_FULL_SPEED = 0.7
"""Spread of the logarithm of fan power where the speed taken as full may not be the full one."""
NOISE_W = 40.0
"""What a node's meter and idle processes leave open [W]; correlated over `CORRELATED_S`."""
CORRELATED_S = 60.0


@dataclass(frozen=True)
class OverheadFit:
    """Fitted law and the covariance of (idle, slope, log fan, exponent)."""

    law: OverheadLaw
    covariance: Floats
    rmse_w: float | None
    samples: int


def fixed_speed(runs: Sequence[Run]) -> bool:
    """Whether fans turn at one speed in all runs that tell it."""
    speeds = [run.fan for run in runs if run.fan is not None]
    if not speeds:
        return False
    every = np.concatenate(speeds)
    return bool(np.ptp(np.percentile(every, [2, 98])) < STEADY_SPEED * np.median(every))


def fit_overhead(
    runs: Sequence[Run], flows: Sequence[Floats], node: Node, *, full_speed_known: bool
) -> OverheadFit:
    """Maximum of the posterior, with priors where a regime leaves a parameter open."""
    from scipy.optimize import least_squares  # noqa: PLC0415 - scipy loads slowly

    devices_w, flow, overhead_w, weight = _samples(runs, flows)
    start, spread = _priors(node, full_speed_known)

    def law(x: Floats) -> OverheadLaw:
        return OverheadLaw(float(x[0]), float(x[1]), float(np.exp(x[2])), float(x[3]),
                           node.devices * node.idle_w)  # fmt: skip

    def misses(x: Floats) -> Floats:
        data = (law(x)(devices_w, flow) - overhead_w) * weight
        return np.concatenate([data, (x - start) / spread])

    found = least_squares(misses, start, x_scale=spread, bounds=([0, 0, 0, 1], np.inf))
    slopes = np.asarray(found.jac)
    covariance = np.linalg.inv(slopes.T @ slopes)
    rest = law(found.x)(devices_w, flow) - overhead_w
    rmse = float(np.sqrt(np.mean(rest**2))) if rest.size else None
    return OverheadFit(law(found.x), covariance, rmse, int(rest.size))


def _priors(node: Node, full_speed_known: bool) -> tuple[Floats, Floats]:
    """Mean and spread of idle, slope, log of fan power, exponent."""
    fan = FAN_SHARE.value * node.most_w
    fan_spread = np.hypot(
        FAN_SHARE.spread / FAN_SHARE.value, 0.0 if full_speed_known else UNKNOWN_FULL_SPEED
    )
    mean = [IDLE_SHARE.value * node.loaded_w, SLOPE.value, np.log(fan), FAN_EXPONENT.value]
    spread = [IDLE_SHARE.spread * node.loaded_w, SLOPE.spread, fan_spread, FAN_EXPONENT.spread]
    return np.array(mean), np.array(spread, dtype=float)


def _samples(runs: Sequence[Run], flows: Sequence[Floats]) -> tuple[Floats, Floats, Floats, Floats]:
    """Devices' power, flow, overhead and weight of each sample at which the power is even."""
    columns: list[Floats] = []
    for run, flow in zip(runs, flows, strict=True):
        if run.node_power_w is None:
            continue
        devices = run.power_w.sum(axis=0)
        jump = np.abs(np.diff(devices, prepend=devices[:1])) / np.maximum(devices, 1.0)
        even = (jump < 0.02) & (np.abs(np.diff(flow, prepend=flow[:1])) < 0.02)
        weight = np.full(devices.size, min(1.0, np.sqrt(run.step_s / CORRELATED_S)) / NOISE_W)
        columns.append(np.array([devices, flow, run.node_power_w - devices, weight])[:, even])
    every = np.concatenate(columns, axis=1) if columns else np.empty((4, 0))
    return every[0], every[1], every[2], every[3]
