"""What converters (power supplies, rectifiers, UPS, transformers) draw for what they deliver.

Between two points of a converter's efficiency a straight line is drawn: at output x it is a + b x,
and the input x / (a + b x), written 1 / (a / x + b). With a > 0, which `electric` sees to, each of
these steps keeps order when it is rounded, and what is drawn at the points bounds what is drawn
between them: the input never falls when the output rises, to the last bit.
"""

from __future__ import annotations

from typing import NamedTuple

from kfarm_twin._jit import inner, kernel
from kfarm_twin.arrays import Floats, Ints

OUTPUT, INPUT, SHARE, SLOPE, LOSS = range(5)
"""Columns of `Converters.point`: delivered where it stands [mW] (0 at a stage's first); drawn there
without the constant loss [mW]; a and b [1/mW] up to the next point; the constant loss [mW]."""


class Converters(NamedTuple):
    """Stages [S] in chains, and the points of their efficiency [P]."""

    first: Ints  # [S + 1] first point of each stage
    point: Floats  # [P, 5]


@inner
def chain_input(stages: Converters, first: int, count: int, output: float) -> float:
    """What a chain of stages draws, from the one nearest to the load outwards [mW]."""
    for stage in range(first, first + count):
        at, last = stages.first[stage], stages.first[stage + 1] - 1
        drawn = 0.0
        if output > 0.0:
            while at < last and output >= stages.point[at + 1, OUTPUT]:
                at += 1
            point = stages.point[at]
            drawn = max(1.0 / (point[SHARE] / output + point[SLOPE]), point[INPUT])
            if at < last:
                drawn = min(drawn, stages.point[at + 1, INPUT])
        output = drawn + stages.point[at, LOSS]
    return output


@inner
def drawn_mw(stages: Converters, first: int, count: int, units: int, output_mw: int) -> int:
    """As `chain_input` in whole mW, for `units` chains alike that share the output evenly."""
    if count == 0:
        return output_mw
    each = chain_input(stages, first, count, float(output_mw) / float(units))
    return int(each * float(units) + 0.5)


@kernel
def chain_inputs(
    stages: Converters, first: Ints, count: Ints, outputs: Floats, inputs: Floats
) -> None:
    """`chain_input` of each output into `inputs` [mW], each through a chain of its own."""
    for index in range(outputs.shape[0]):
        inputs[index] = chain_input(stages, first[index], count[index], outputs[index])
