"""The law by which a device warms, in closed form between samples.

Device at position i of a node, die temperature Td, sink temperature Ts, power P, flow f (fan speed
as a share of full speed), node inlet T_in, heat of the whole node Q = sum of P + overhead::

    tau_s(f) dTs/dt = T_in + rise (F + share_i (Q - F)) / f + sink_i f^-n P - Ts
    tau_d    dTd/dt = Ts + die_i P - Td                             tau_s(f) = sink_time_i f^-n

with F the power of the fans, which stand before the devices, and share_i the part of the other heat
that the air has met at the position.

Inputs are held between samples, so both exponentials are exact (Incropera and DeWitt, Fundamentals
of Heat and Mass Transfer, 5.1-5.3, lumped capacitance; air's rise Q / (m cp), 1.1.2). Power changes
somewhere between two samples; it is taken to change in the middle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kfarm_twin.arrays import Floats

LEAST_FLOW = 0.01
"""Share of full flow below which natural convection carries on."""


@dataclass(frozen=True)
class ThermalLaw:
    """Parameters; one position each in arrays, with any leading axes [..., D].

    Attributes
    ----------
    die, sink
        Resistances [K/W], `sink` at full flow.
    rise, share
        What the air of the node warms per watt at full flow [K/W]; the part of the node's heat,
        without fans, that it has met at the position.
    offset
        What the sensor shows above the law [K].
    sink_time
        Of the sink at full flow [s].
    exponent, die_time
        [...] or numbers; time in s.
    """

    die: Floats
    sink: Floats
    rise: Floats
    share: Floats
    offset: Floats
    exponent: Floats
    die_time: Floats
    sink_time: Floats

    def steady(
        self, power_w: Floats, inlet_c: float, flow: float, fans_w: float, other_w: float
    ) -> Floats:
        """Die temperatures [D] after all has settled [degC]."""
        flow = max(flow, LEAST_FLOW)
        resistance = self.die + self.sink * flow ** -float(self.exponent)
        warmed = self.rise * (fans_w + self.share * other_w) / flow
        return np.asarray(inlet_c + self.offset + warmed + resistance * power_w)

    def without_offsets(self) -> ThermalLaw:
        """The law of another node of this kind."""
        return replace(self, offset=np.zeros_like(self.offset))


@dataclass(frozen=True)
class Drive:
    """What drives the temperatures of a run.

    Attributes
    ----------
    time_s
        [T]
    power_w
        [D, T]
    inlet_c, flow, fans_w, other_w
        [T]; heat of the fans and all other heat of the node; inlet may have leading axes.
    """

    time_s: Floats
    power_w: Floats
    inlet_c: Floats
    flow: Floats
    fans_w: Floats
    other_w: Floats


def respond(law: ThermalLaw, drive: Drive, first_c: Floats | None = None) -> Floats:
    """Die temperatures [..., D, T].

    Parameters
    ----------
    first_c
        Die temperatures at the first sample [D]; without it those at which the first power holds
        steady. The sink stands below by what the first power drops over the die.
    """
    flow = np.maximum(drive.flow, LEAST_FLOW)
    slower = flow ** -np.asarray(law.exponent)[..., None]  # [..., T]
    sink = law.sink[..., None] * slower[..., None, :]
    met = drive.fans_w + law.share[..., None] * drive.other_w  # [..., D, T]
    air = drive.inlet_c[..., None, :] + np.asarray(law.rise)[..., None, None] * met / flow
    sink_end = law.offset[..., None] + air + sink * drive.power_w  # where the sink would settle
    drop = law.die[..., None] * drive.power_w
    slow = 1.0 / (law.sink_time[..., None] * slower[..., None, :])
    fast = 1.0 / np.broadcast_to(np.asarray(law.die_time)[..., None], slow.shape[:-1])
    half = np.diff(drive.time_s) / 2
    before, after = (_step(fast, slow[..., at], half) for at in (slice(None, -1), slice(1, None)))
    start = sink_end[..., 0] if first_c is None else first_c - drop[..., 0]
    ts = np.broadcast_to(start, np.broadcast_shapes(start.shape, drop.shape[:-1])).copy()
    td = ts + drop[..., 0]
    out = np.empty(np.broadcast_shapes(sink_end.shape, drop.shape))
    out[..., 0] = td
    for i in range(drive.time_s.size - 1):
        for decay, at in ((before, i), (after, i + 1)):
            keep, mix, stay = (part[..., i] for part in decay)
            gap = ts - sink_end[..., at]
            end = sink_end[..., at] + drop[..., at]
            td = end + gap * mix + (td - end) * stay
            ts = sink_end[..., at] + gap * keep
        out[..., i + 1] = td
    return out


def _step(fast: Floats, slow: Floats, dt: Floats) -> tuple[Floats, Floats, Floats]:
    """Factors over `dt`: of the sink's gap on itself, of it on the die, of the die's on itself.

    The mix is fast (exp(-slow dt) - exp(-fast dt)) / (fast - slow), written so that it holds when
    the rates are equal.
    """
    rate = np.broadcast_to(np.asarray(fast)[..., None], slow.shape)
    apart = np.abs(rate - slow)
    share = np.where(
        apart * dt > 1e-12, -np.expm1(-apart * dt) / np.where(apart > 0, apart, 1.0), dt
    )
    mix = rate * np.exp(-np.minimum(rate, slow) * dt) * share
    return np.exp(-slow * dt), mix, np.exp(-rate * dt)
