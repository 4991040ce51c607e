"""A node that warms, stepped in plain Python: shares no code with the twin.

Die and sink of each device, the air's rise on its way through the node, fans and overhead, in steps
of `STEP_S` (explicit Euler), sampled as monitoring does: whole degrees, a power that holds from
somewhere between two samples on.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

STEP_S = 0.02


@dataclass(frozen=True)
class NaiveNode:
    """Parameters of the truth; one entry each for the devices' positions."""

    die: tuple[float, ...] = (0.022, 0.026, 0.025, 0.023)
    sink: float = 0.012
    share: tuple[float, ...] = (0.1, 0.6, 0.65, 0.15)
    rise: float = 0.0018
    exponent: float = 0.5
    die_time: float = 1.0
    sink_time: float = 22.0
    idle_w: float = 140.0
    overhead_w: float = 1000.0
    slope: float = 0.03
    fan_w: float = 1000.0
    fan_exponent: float = 2.5
    full_rpm: float = 12_000.0


@dataclass
class NaiveRun:
    """What a monitor wrote down."""

    rows: list[tuple[float, list[float], list[float], float, float, float]] = field(
        default_factory=list
    )
    """Time, temperatures, powers, inlet, fan speed, node power."""

    def csv(self, *, end: str = "\n") -> str:
        """As gpuburntool writes it."""
        head = (
            "timestamp,elapsed_seconds,gpu_id,gpu_name,gpu_temp_c,gpu_power_w,dcmi_power_w,"
            "inlet_temp_c,fan_sys_avg_rpm"
        )
        lines = [head]
        for time, temperatures, powers, inlet, rpm, node in self.rows:
            for at, (c, w) in enumerate(zip(temperatures, powers, strict=True)):
                lines.append(
                    f"x,{time:.2f},{at},NVIDIA H100 80GB HBM3,{c},{w:.2f},{node:.1f},{inlet},{rpm}"
                )
        return end.join(lines) + end


def play(
    node: NaiveNode, load_w: float, rpm: float | tuple[float, float], *, seed: int = 0,
    inlet: float = 23.0, step_s: float = 2.0, length_s: float = 340.0, rounded: bool = True,
    noise_k: float = 0.2,
) -> NaiveRun:  # fmt: skip
    """Idle, `load_w` from 20 s on until 10 s before the end; fans go slowly from speed to speed."""
    chance = random.Random(seed)  # noqa: S311 - no secrets here
    first, second = rpm if isinstance(rpm, tuple) else (rpm, rpm)
    devices = len(node.die)
    dies, sinks = _steady(node, node.idle_w, first / node.full_rpm, inlet)
    run, sample = NaiveRun(), 0.0
    for count in range(int(length_s / STEP_S)):
        now = count * STEP_S
        power = load_w if 20.0 <= now < length_s - 10.0 else node.idle_w
        speed = first + (second - first) * min(1.0, max(0.0, (now - 50.0) / 30.0))
        flow = speed / node.full_rpm
        fans = node.fan_w * flow**node.fan_exponent
        others = devices * power + node.overhead_w
        others += node.slope * devices * (power - node.idle_w)
        if now >= sample:
            shown = [die + chance.gauss(0.0, noise_k) for die in dies]
            run.rows.append(
                (now, [float(round(c)) if rounded else c for c in shown],
                 [power + chance.gauss(0.0, 0.5) for _ in dies], float(round(inlet)), round(speed),
                 others + fans + chance.gauss(0.0, 5.0))
            )  # fmt: skip
            sample += step_s
        slower = flow**-node.exponent
        for at in range(devices):
            air = inlet + node.rise * (fans + node.share[at] * others) / flow
            to_sink = air + node.sink * slower * power - sinks[at]
            to_die = sinks[at] + node.die[at] * power - dies[at]
            sinks[at] += STEP_S * to_sink / (node.sink_time * slower)
            dies[at] += STEP_S * to_die / node.die_time
    return run


def _steady(
    node: NaiveNode, power: float, flow: float, inlet: float
) -> tuple[list[float], list[float]]:
    fans = node.fan_w * flow**node.fan_exponent
    others = len(node.die) * power + node.overhead_w
    sinks = [
        inlet + node.rise * (fans + share * others) / flow
        + node.sink * math.pow(flow, -node.exponent) * power
        for share in node.share
    ]  # fmt: skip
    return [s + die * power for s, die in zip(sinks, node.die, strict=True)], sinks
